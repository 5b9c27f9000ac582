//! PURE. The record of recent packets, bounded in size: stores, time index, queries, filter machine,
//! pcapng.
//!
//! | file | contents |
//! |---|---|
//! | `class` | assigns packets to stores |
//! | `layout` | layout of the memory, and why a killed writer leaves no torn state |
//! | `store` | the [`Recorder`]: append, evict, commit, reopen |
//! | `cursor` | reads all stores merged in time order, while they change |
//! | `gaps` | declared gaps: begin, end, and packets that end them |
//! | `interfaces` | identity of interfaces across renames and reuse of indices |
//! | `select` | selection of packets by a query |
//! | `headers` | length of the headers of a packet |
//! | `filter` | classic BPF interpreter with a verifier |
//! | `pcapng` | pcapng writer |

pub mod class;
pub mod cursor;
pub mod filter;
mod gaps;
pub mod headers;
pub mod interfaces;
pub mod layout;
pub mod pcapng;
pub mod select;
mod store;

pub use class::{Classifier, Rule, Store};
pub use cursor::{Cursor, From, Record};
pub use layout::{Gap, GapKind, RingMark, memory_needed};
pub use store::{Meta, Opened, Recorder, StoreState};
