//! PURE. The bounded past: stores, time index, queries, filter machine, pcapng.

pub mod filter;
pub mod pcapng;
