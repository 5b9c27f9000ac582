//! SHELL. Varlink over Unix sockets: the connection of a client, and the server of a service.
//!
//! | module | contents |
//! |---|---|
//! | [`client`] | a connection to netsonded or netsonde-historian, its errors in words |
//! | [`server`] | listening socket, clients, limits, replies: the same for both services |
//! | [`trace`] | a run of `io.netsonde.Trace`, which client and historian both carry out |

#[cfg(any(feature = "client", feature = "historian"))]
pub mod client;
#[cfg(any(feature = "daemon", feature = "historian"))]
pub mod server;
#[cfg(any(feature = "client", feature = "historian"))]
pub mod trace;
