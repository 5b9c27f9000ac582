//! SHELL. Capture files: pcap and pcapng, from files and pipes.

pub mod capture_file;
mod input;
pub(crate) mod output_file;
pub(crate) mod packet_file;
pub mod target_file;
