//! SHELL. The client, `netsonde`: asks the service and the kernel, and renders the answers.
//!
//! | module | contents |
//! |---|---|
//! | [`cli`] | the command line, and the way from arguments to an exit status |
//! | [`commands`] | one file or folder per command |
//! | [`render`] | tables, packet lines, styles, durations |
//! | [`files`] | capture files |
//! | [`filter`] | pcap-filter expressions, compiled by libpcap |
//! | `historian` | what netsonde-historian is asked for |
//! | `packets` | packets from the service or from a file, as selected by options |
//! | `quoted` | ICMP errors that quote TCP or UDP |
//! | `chosen` | the selection among packets that the client decodes itself |
//! | `joined` | packets of the historian's disk and of the service's memory as one stream |
//! | `standalone`, `guard` | a private service for one command, and the process that ends it with the command |
//! | `namespace` | whether the client is in the network namespace of the service |
//! | `interrupt` | Ctrl-C, and waiting that it ends |
//! | `screen` | the one place that output passes: characters that change a terminal are escaped |
//! | `output` | a report on standard output, as JSON or text |
//! | `failure` | why a command failed |

/// Prints on standard error, as the macro of the standard library of this name, but does not panic where that
/// is closed or full: what is said there is not what was asked for.
macro_rules! eprintln {
    ($($words:tt)*) => {{
        use std::io::Write as _;
        let _ = writeln!($crate::client::screen::stderr(), $($words)*);
    }};
}

mod chosen;
pub mod cli;
pub mod commands;
mod failure;
pub mod files;
pub mod filter;
mod guard;
mod historian;
mod interrupt;
mod joined;
mod namespace;
mod output;
pub(crate) mod packets;
mod quoted;
pub mod render;
mod screen;
mod standalone;
