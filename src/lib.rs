//! netsonde: a resident witness for Linux networks, which says where a packet died, with the
//! evidence. This page is the table of contents; `ARCHITECTURE.md` is the map behind it.
//!
//! | module | kind | contents |
//! |---|---|---|
//! | [`netsonde_core`] | PURE | decoding, recording, probing, tracking, diagnosis: a crate of its own |
//! | [`linux`] | SHELL | questions to the kernel that service and client both ask |
//! | [`log`] | SHELL | the log of the services: journal or standard error, escaped, rate-limited |
//! | [`varlink`] | SHELL | Varlink over Unix sockets: the connection of a client, the server of a service |
//! | [`daemon`] | SHELL, PRIVILEGED | the service: keeper, engine, the channel between them |
//! | [`historian`] | SHELL | the service that keeps the history: monitors, outages, the record on disk |
//! | [`client`] | SHELL | the command line, commands, rendering, capture files |
//! | [`lab`] | SHELL | hosts, bridges and wires in namespaces, for the demo and the tests |
//!
//! Arrows point down only: the core uses nothing of the others, `linux` uses the core, `log` and `varlink`
//! use these; `daemon`, `historian` and `client` use them all and never each other.
//!
//! - PURE: no socket, no file, no thread, no clock; time is an argument.
//! - SHELL: the code around the pure parts, which talks to the kernel. It holds no privilege.
//! - PRIVILEGED: code that runs while the process still holds CAP_NET_RAW.
//!
//! `tests/invariants.rs` checks all of this, and keeps `unsafe` in the few files that it lists.

#[cfg(feature = "client")]
pub mod client;
#[cfg(feature = "daemon")]
pub mod daemon;
#[cfg(feature = "historian")]
pub mod historian;
#[cfg(feature = "client")]
pub mod lab;
#[cfg(any(feature = "daemon", feature = "client", feature = "historian"))]
pub mod linux;
#[cfg(any(feature = "daemon", feature = "historian"))]
pub mod log;
#[cfg(any(feature = "daemon", feature = "client", feature = "historian"))]
pub mod varlink;
