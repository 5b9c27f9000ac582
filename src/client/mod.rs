//! SHELL. The client: arguments, connection, rendering.
//!
//! | file | what it holds |
//! |---|---|
//! | `args` | the command line: one definition for help, manual page and completion |
//! | `run` | from arguments to an exit status |
//! | `failure` | why a command could not tell |
//! | `connection` | the control socket |
//! | `filter`, `libpcap` | from tcpdump's language to programs |
//! | `capture_file` | reading pcap and pcapng, files and pipes |
//! | `packet_line` | one packet as a line of text or JSON |
//! | `packets` | `watch` and `capture` |
//! | `ping`, `ping_text`, `ping_evidence` | `ping`: what is asked and told; its lines and tables; its packets |
//! | `mcast` | `mcast groups` and `queriers` |
//! | `mcast_test`, `group_socket` | `mcast join` and `send` |
//! | `doctor` | `doctor`, `mcast doctor` and `explain` |
//! | `families` | `families`: tries what the table of families says |
//! | `sockets`, `sockets_text` | `sockets`: gathered and told; its tables |
//! | `neighbors`, `oui` | `neighbors`; who made a network card |
//! | `events` | `events`: what happened, and what happens |
//! | `interrupt` | Ctrl-C |
//! | `health` | `status` and `interfaces` |
//! | `style` | colour and columns |
//! | `talkers` | who sends most |
//! | `standalone` | a private service for one command |
//! | `demo` | the demonstration |

pub mod args;
pub mod capture_file;
pub mod connection;
mod demo;
pub mod doctor;
mod drop_reasons;
mod drops;
mod events;
mod failure;
mod families;
pub mod filter;
mod health;
mod interrupt;
mod libpcap;
mod mcast;
pub mod mcast_test;
mod neighbors;
mod oui;
pub mod packet_line;
mod packets;
mod ping;
mod ping_evidence;
mod ping_text;
pub mod run;
mod sockets;
mod sockets_text;
mod standalone;
pub mod style;
mod talkers;
