//! SHELL. The service, `netsonded`: two processes of one program, and what passes between them.
//!
//! | module | kind | contents |
//! |---|---|---|
//! | [`keeper`] | PRIVILEGED | opens and keeps sockets and memory; the only code that ever holds a capability |
//! | [`channel`] | SHELL | the messages, descriptors and counters that keeper and engine exchange |
//! | [`engine`] | SHELL | rings, sockets, netlink, clock and control server around the pure core |

pub mod channel;
pub mod engine;
pub mod keeper;
