//! PURE. The core of netsonde: everything that needs no kernel. Packets, kernel text and time are
//! arguments, so the same code serves the live host, a capture file and a test case.
//!
//! | module | contents |
//! |---|---|
//! | [`wire`] | protocol decoders: bytes to meaning |
//! | [`recorder`] | bounded packet stores, cursors, selection, the filter machine, pcapng |
//! | [`probe`] | probes: schedule, identity, matching, fates, statistics |
//! | [`multicast`] | queriers, memberships, routers and streams, as observed on the wire |
//! | [`neighbors`] | hosts on each link: addresses, names, roles, conflicts |
//! | [`connections`] | TCP connections and DNS, as the record shows them |
//! | [`talkers`] | top flows, in a fixed amount of memory |
//! | [`events`] | event kinds, detection and rate limits |
//! | [`host`] | parsers for /proc/net, and the table of drop counters |
//! | [`families`] | address families and socket types, with their purpose |
//! | [`screen`] | characters that would change a terminal, and their escapes |
//! | [`sockets`] | socket lists, from sock_diag and /proc/net |
//! | [`diagnose`] | failure modes: evidence in, findings out |
//! | [`protocol`] | the Varlink interfaces and their types |
//! | [`config`] | configuration keys, defaults and limits |
//! | [`monitor`] | monitors as they are configured |
//! | [`address`] | addresses and prefixes as users write them |
//! | [`text`] | words that all messages share: counts, lists, similar names |
//!
//! Purity is kept three ways: the crate depends on nothing that does I/O, clippy rejects the
//! standard library's own I/O types (`clippy.toml`), and `tests/invariants.rs` reads the source.

#![forbid(unsafe_code)]

pub mod address;
pub mod config;
pub mod connections;
pub mod diagnose;
pub mod events;
pub mod families;
pub mod host;
pub mod monitor;
pub mod multicast;
pub mod neighbors;
pub mod probe;
pub mod protocol;
pub mod recorder;
pub mod screen;
pub mod sockets;
pub mod talkers;
pub mod text;
pub mod trace;
pub mod wire;
