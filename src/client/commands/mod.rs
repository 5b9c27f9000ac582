//! SHELL. The commands: a file each, or a folder where a command has parts.

pub mod capture;
pub mod connections;
pub mod counters;
pub mod demo;
pub mod doctor;
pub mod drops;
pub mod events;
pub mod families;
pub mod history;
pub mod interfaces;
pub mod keep;
pub mod mcast;
pub mod monitor;
pub mod neighbors;
pub mod outages;
pub mod ping;
mod recorded_neighbors;
pub mod sockets;
pub mod status;
pub mod talkers;
pub mod trace;
pub mod watch;
