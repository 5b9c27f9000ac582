//! netsonde: a resident witness for Linux networks, which says where a packet died, with the
//! evidence. This page is the table of contents; `ARCHITECTURE.md` is the map behind it.
//!
//! | module | kind | what it is |
//! |---|---|---|
//! | `kernel` | SHELL | questions to the kernel that service and client both ask |
//! | `keeper` | PRIVILEGED | the only code that ever holds a capability |
//! | `engine` | SHELL | rings, sockets, netlink, clock and control server around the pure parts |
//! | `log` | SHELL | the service's log: journal or standard error, escaped, limited, never waiting |
//! | `client` | SHELL | arguments, connection, rendering |
//! | `lab` | SHELL | hosts, bridges and wires in namespaces, for the demo and the tests |
//!
//! PURE means: no socket, no file, no thread, no clock; time is an argument. `tests/invariants.rs`
//! keeps that, and keeps `unsafe` in the few files that are named there.

#[cfg(any(feature = "daemon", feature = "client"))]
pub mod kernel;
#[cfg(feature = "daemon")]
mod mapping;

#[cfg(feature = "daemon")]
pub mod engine;
#[cfg(feature = "daemon")]
pub mod keeper;
#[cfg(feature = "daemon")]
pub mod log;

#[cfg(feature = "client")]
pub mod client;
#[cfg(feature = "client")]
pub mod lab;
