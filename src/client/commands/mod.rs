//! SHELL. The commands: a file each, or a folder where a command has parts.

pub mod capture;
pub mod demo;
pub mod doctor;
pub mod drops;
pub mod events;
pub mod families;
pub mod interfaces;
pub mod mcast;
pub mod neighbors;
pub mod ping;
mod recorded_neighbors;
pub mod sockets;
pub mod status;
pub mod talkers;
pub mod watch;
