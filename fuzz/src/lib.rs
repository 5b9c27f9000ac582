//! Bodies of the fuzz targets: each takes any bytes, and panics if a promise is broken. libFuzzer calls them in
//! `targets/`, and `tests/fuzz.rs` with the files of `corpus/`, a folder per target.
//!
//! | target | input |
//! |---|---|
//! | `link` | link type, what the capture left out, a frame of it |
//! | `upper` | IP version and protocol, the message that follows the IP header: ICMP, IGMP, PIM, tunnels |
//! | `application` | transport protocol and ports, the payload: TLS, DNS, SNMP and all others of the table |
//! | `ring` | the memory of a ring as the kernel would fill it |
//! | `filter` | a program of the filter machine, and a frame that it runs over |
//! | `file` | pcap, pcapng, snoop, and what gzip, zstd and lz4 make of them |
//! | `control` | requests to the control socket |

pub mod control;
pub mod decoding;
pub mod file;
pub mod machine;

/// A body: it takes any bytes.
pub type Body = fn(&[u8]);

/// The targets by name.
pub const TARGETS: [(&str, Body); 7] = [
    ("link", decoding::link),
    ("upper", decoding::upper),
    ("application", decoding::application),
    ("ring", machine::ring),
    ("filter", machine::filter),
    ("file", file::file),
    ("control", control::control),
];
