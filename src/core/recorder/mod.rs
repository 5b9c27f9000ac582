//! PURE. The record of recent packets, bounded in size: stores, time index, queries, filter machine,
//! pcapng.
//!
//! | file | contents |
//! |---|---|
//! | `class` | assigns packets to stores |
//! | `layout` | layout of the memory, and why a killed writer leaves no torn state |
//! | `store` | the [`Recorder`]: append, evict, commit, reopen |
//! | `cursor` | reads all stores merged in time order, while they change |
//! | `thin` | which packets are kept when not all can be |
//! | `samples` | intervals in which packets were thinned |
//! | `gaps` | declared gaps: begin, end, and packets that end them |
//! | `interfaces` | identity of interfaces across renames and reuse of indices |
//! | `select` | selection of packets by a query |
//! | `headers` | length of the headers of a packet |
//! | `filter` | classic BPF interpreter with a verifier |
//! | `pcapng` | pcapng writer |
//! | `blocks` | the written blocks again, to pass them on |

pub mod blocks;
pub mod class;
pub mod cursor;
pub mod filter;
mod gaps;
pub mod headers;
pub mod interfaces;
pub mod layout;
pub mod pcapng;
mod samples;
pub mod select;
mod store;
pub mod thin;

pub use class::{Classifier, Rule, Store};
pub use cursor::{Cursor, From, Record};
pub use layout::{Gap, GapKind, RingMark, SampleInterval, StoreCounts, memory_needed};
pub use samples::period;
pub use store::{Meta, Opened, Recorder, StoreState};
