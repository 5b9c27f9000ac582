//! PURE. Probing: when each probe is due, whose a reply is, what became of a probe and by which
//! evidence, and what a run adds up to. Sockets, clocks and netlink are the engine's
//! (`engine/prober`); time is an argument everywhere.
//!
//! | file | what it holds |
//! |---|---|
//! | `identity` | marks and cookies: what is ours |
//! | `sight` | what a frame or a message says of probes |
//! | `clock` | wall clock stamps on the monotonic time line |
//! | `neighbours` | ARP and neighbour discovery around the probes |
//! | `run` | one run: its schedule, its probes, its targets |
//! | `fate` | from evidence to a fate |
//! | `statistics` | percentiles, jitter, reordering, windows |
//! | `bucket` | rates |

pub mod bucket;
pub mod clock;
pub mod fate;
pub mod identity;
pub mod neighbors;
pub mod run;
pub mod sight;
pub mod statistics;

pub use bucket::TokenBucket;
pub use clock::Clock;
pub use fate::{Fate, HostContext, NeighborState, ProbeEvidence, Verdict};
pub use identity::Identity;
pub use neighbors::ResolutionTracker;
pub use run::{Event, Run, Settings, Target};
pub use sight::{Sighting, SightingKind};
