//! netsonde: a resident witness for Linux networks, which says where a packet died, with the
//! evidence. This page is the table of contents; `ARCHITECTURE.md` is the map behind it.
//!
//! | module | kind | what it is |
//! |---|---|---|
//! | [`wire`] | PURE | bytes to meaning: every protocol that netsonde decodes |
//! | [`recorder`] | PURE | the bounded past: stores, time index, queries, filter machine, pcapng |
//! | [`host`] | PURE | what the files of /proc/net say of a host |
//! | [`families`] | PURE | address families and socket types: what each is for |
//! | [`sockets`] | PURE | sockets as the kernel lists them, by sock_diag and /proc/net |
//! | [`multicast`] | PURE | queriers, memberships and streams as the wire shows them |
//! | [`talkers`] | PURE | who sends most, in a memory of fixed size |
//! | [`neighbors`] | PURE | hosts heard on each link: addresses, names, roles, conflicts |
//! | [`events`] | PURE | what happened: a bounded log, and what is watched for it |
//! | [`diagnose`] | PURE | evidence in, findings out: every failure mode with its rule and its text |
//! | [`probe`] | PURE | probing: schedule, identity, matching, the fate of each probe |
//! | [`protocol`] | PURE | the Varlink interfaces and their types |
//! | [`config`] | PURE | the configuration: its keys, defaults and limits |
//! | `kernel` | SHELL | questions to the kernel that service and client both ask |
//! | `keeper` | PRIVILEGED | the only code that ever holds a capability |
//! | `engine` | SHELL | rings, sockets, netlink, clock and control server around the pure parts |
//! | `log` | SHELL | the service's log: journal or standard error, escaped, limited, never waiting |
//! | `client` | SHELL | arguments, connection, rendering |
//! | `lab` | SHELL | hosts, bridges and wires in namespaces, for the demo and the tests |
//!
//! PURE means: no socket, no file, no thread, no clock; time is an argument. `tests/invariants.rs`
//! keeps that, and keeps `unsafe` in the few files that are named there.

pub mod config;
pub mod diagnose;
pub mod events;
pub mod families;
pub mod host;
#[cfg(any(feature = "daemon", feature = "client"))]
pub mod kernel;
#[cfg(feature = "daemon")]
mod mapping;
pub mod multicast;
pub mod neighbors;
pub mod probe;
pub mod protocol;
pub mod recorder;
pub mod sockets;
pub mod talkers;
pub mod wire;

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
