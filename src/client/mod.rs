//! SHELL. The client.

pub mod capture_file;
pub mod connection;
pub mod filter;
pub mod packet_line;
