//! PURE. The bounded past: stores, time index, queries, filter machine, pcapng.
//!
//! | file | what it holds |
//! |---|---|
//! | `class` | which store a packet belongs in, and the rules for it |
//! | `layout` | how the memory is laid out, and why a killed writer leaves no torn state |
//! | `store` | the [`Recorder`]: append, evict, commit, take over |
//! | `cursor` | reading all stores merged in time order, while they go on changing |
//! | `interfaces` | which interface a packet crossed, over renames and reuse |
//! | `select` | which packets a query wants |
//! | `headers` | how much of a packet are headers |
//! | `filter` | the classic BPF machine |
//! | `pcapng` | the format that packets leave in |

pub mod class;
pub mod cursor;
pub mod filter;
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
