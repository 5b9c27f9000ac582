//! PURE. Probing: schedules of probes, tokens that match replies to them, fates with their evidence,
//! and statistics of runs. Sockets, clocks and netlink belong to the engine (`engine/prober`); time is
//! always an argument.
//!
//! | file | contents |
//! |---|---|
//! | `identity` | tokens of probes |
//! | `sight` | sightings of probes in frames and ICMP messages |
//! | `clock` | wall-clock stamps on the monotonic time line |
//! | `fragments` | fragments of replies |
//! | `neighbors` | ARP and neighbor discovery around the probes |
//! | `run` | one run: schedule, probes, targets, statistics |
//! | `fate` | fates of probes, from evidence |
//! | `cause` | errors of the send call, explained by the state of this host |
//! | `hop` | peculiarities of a next hop |
//! | `routing` | routes and rules that refuse packets |
//! | `packed` | fates as bytes |
//! | `statistics` | percentiles, jitter, loss windows |
//! | `transport` | probes by TCP and UDP |
//! | `bucket` | rate limits |

pub mod bucket;
pub mod cause;
pub mod clock;
pub mod fate;
pub mod fragments;
pub mod hop;
pub mod identity;
pub mod neighbors;
pub mod packed;
pub mod routing;
pub mod run;
pub mod sight;
pub mod statistics;
pub mod transport;

pub use bucket::TokenBucket;
pub use clock::Clock;
pub use fate::{Fate, HostContext, NeighborState, ProbeEvidence, Verdict};
pub use fragments::FragmentTracker;
pub use identity::Identity;
pub use neighbors::ResolutionTracker;
pub use run::{Event, Run, Settings, Target};
pub use sight::{Sighting, SightingKind};
pub use transport::Transport;
