//! PURE. Address families and socket types of Linux: purpose, users, and equivalents on other systems. Source of
//! the command `families`, of netsonde-families(7), and of the names that `sockets` shows.
//!
//! | file | contents |
//! |---|---|
//! | `mod` | families, types and flags: structures, lookup; meaning of errors |
//! | `table` | table of the families |
//! | `modules` | which kernel module opening a socket would load |

pub mod modules;
mod table;

pub use table::FAMILIES;

use crate::text::unknown;

/// Family numbers below this are tried, including those after the table, since later kernels may have more. The
/// kernel rejects numbers beyond its limit (NPROTO) without looking for a module.
pub const PROBED_NUMBERS: u8 = 64;

/// An address family.
#[derive(Clone, Copy, Debug)]
pub struct Family {
    /// Number, the first argument of socket(2).
    pub number: u8,
    /// Name, for example `AF_UNIX`.
    pub name: &'static str,
    /// Other names of the same number.
    pub aliases: &'static [&'static str],
    /// Short description for a table, at most 44 characters.
    pub title: &'static str,
    /// Purpose and typical users, in one sentence.
    pub purpose: &'static str,
    /// Whether it is obsolete: new programs should not use it.
    pub legacy: bool,
    /// Reason why current kernels have no sockets of it, if so.
    pub absent: Option<&'static str>,
    /// Equivalents on BSD, macOS and Windows.
    pub elsewhere: &'static str,
    /// Names of its protocols in /proc/net/protocols.
    pub registered: &'static [&'static str],
    /// Protocol to try with a type for which 0 is invalid: type, protocol.
    pub protocol: &'static [(u8, u16)],
    /// Protocols that are tried one by one: name, type, number.
    pub protocols: &'static [(&'static str, u8, u16)],
}

impl Family {
    /// Returns the protocol to try with a type.
    pub fn protocol_of(&self, kind: u8) -> u16 {
        let matches = |(of_kind, _): &&(u8, u16)| *of_kind == kind;
        let found = self.protocol.iter().find(matches);
        found.map_or(0, |(_, protocol)| *protocol)
    }
}

/// A socket type, or a flag that is combined with it.
#[derive(Clone, Copy, Debug)]
pub struct SocketType {
    /// Number on all architectures except MIPS, where 1 and 2 are swapped.
    pub number: u32,
    /// Name, for example `SOCK_STREAM`.
    pub name: &'static str,
    /// Purpose, in one sentence.
    pub purpose: &'static str,
}

/// All socket types, the second argument of socket(2).
pub const SOCKET_TYPES: &[SocketType] = &[
    SocketType {
        number: STREAM,
        name: "SOCK_STREAM",
        purpose: "A connection that carries bytes in order and without loss, without message boundaries: TCP.",
    },
    SocketType {
        number: DGRAM,
        name: "SOCK_DGRAM",
        purpose: "Single messages with boundaries, which may be lost or reordered (but not between processes of one host): UDP.",
    },
    SocketType {
        number: RAW,
        name: "SOCK_RAW",
        purpose: "Packets below the transport layer, including headers, mostly for programs with CAP_NET_RAW: ping, \
                  routing daemons, capture.",
    },
    SocketType {
        number: RDM,
        name: "SOCK_RDM",
        purpose: "Single messages that are not lost but may be reordered; TIPC has it.",
    },
    SocketType {
        number: SEQPACKET,
        name: "SOCK_SEQPACKET",
        purpose: "A connection that carries messages in order, without loss and with boundaries: SCTP, Bluetooth, \
                  services on one host.",
    },
    SocketType {
        number: DCCP,
        name: "SOCK_DCCP",
        purpose: "Single messages with congestion control (RFC 4340); removed in Linux 6.16.",
    },
    SocketType {
        number: PACKET,
        name: "SOCK_PACKET",
        purpose: "The capture interface of Linux 2.0, superseded by AF_PACKET; with AF_INET it creates an AF_PACKET \
                  socket, and the kernel logs that it is obsolete.",
    },
];

/// SOCK_STREAM.
pub const STREAM: u32 = 1;
/// SOCK_DGRAM.
pub const DGRAM: u32 = 2;
/// SOCK_RAW.
pub const RAW: u32 = 3;
/// SOCK_RDM.
pub const RDM: u32 = 4;
/// SOCK_SEQPACKET.
pub const SEQPACKET: u32 = 5;
/// SOCK_DCCP.
pub const DCCP: u32 = 6;
/// SOCK_PACKET.
pub const PACKET: u32 = 10;

/// Flags that can be combined with a type.
pub const TYPE_FLAGS: &[SocketType] = &[
    SocketType {
        number: 0o4000,
        name: "SOCK_NONBLOCK",
        purpose: "Calls on the socket return EAGAIN instead of waiting.",
    },
    SocketType {
        number: 0o200_0000,
        name: "SOCK_CLOEXEC",
        purpose: "The socket is closed when the process executes another program, which so does not inherit it.",
    },
];

/// Finds a family by number.
pub fn by_number(number: u8) -> Option<&'static Family> {
    FAMILIES.get(usize::from(number))
}

/// Finds a family by number or name, with or without AF_ or PF_, in any case.
pub fn find(text: &str) -> Option<&'static Family> {
    if let Ok(number) = text.parse() {
        return by_number(number);
    }
    let upper = text.to_ascii_uppercase();
    let bare = |name: &str| {
        let name = name.to_ascii_uppercase();
        let short = name.strip_prefix("AF_").or(name.strip_prefix("PF_"));
        short.map_or(name.clone(), str::to_owned)
    };
    let wanted = bare(&upper);
    FAMILIES.iter().find(|family| {
        let mut names = std::iter::once(&family.name).chain(family.aliases);
        names.any(|name| bare(name) == wanted)
    })
}

/// Finds a type or flag by number or name, with or without SOCK_, in any case. Numbers of flags are not found.
pub fn find_type(text: &str) -> Option<&'static SocketType> {
    if let Ok(number) = text.parse::<u32>() {
        return SOCKET_TYPES.iter().find(|kind| kind.number == number);
    }
    let upper = text.to_ascii_uppercase();
    let wanted = upper.strip_prefix("SOCK_").unwrap_or(&upper);
    let mut all = SOCKET_TYPES.iter().chain(TYPE_FLAGS);
    all.find(|kind| kind.name.strip_prefix("SOCK_") == Some(wanted))
}

/// Returns the message for a name that is not among the names of families or socket types: the most similar
/// one and a list, in the form that was given, with AF_ and SOCK_ or without.
fn unknown_name(text: &str, kind: &str, names: &[&'static str]) -> String {
    let upper = text.to_ascii_uppercase();
    let is_full = ["AF_", "PF_", "SOCK_"]
        .iter()
        .any(|start| upper.starts_with(start));
    let short: Vec<String> = names
        .iter()
        .map(|name| match name.split_once('_') {
            Some((_, rest)) if !is_full => rest.to_ascii_lowercase(),
            _ => (*name).to_owned(),
        })
        .collect();
    unknown(kind, text, short.iter().map(String::as_str))
}

/// Returns the message for an unknown family.
pub fn unknown_family(text: &str) -> String {
    let names: Vec<&str> = FAMILIES.iter().map(|family| family.name).collect();
    unknown_name(text, "address family", &names)
}

/// Returns the message for an unknown socket type.
pub fn unknown_type(text: &str) -> String {
    let names: Vec<&str> = SOCKET_TYPES.iter().map(|kind| kind.name).collect();
    unknown_name(text, "socket type", &names)
}

/// Returns the message for a name that is neither a family nor a socket type.
pub fn unknown_family_or_type(text: &str) -> String {
    let kinds = SOCKET_TYPES.iter().chain(TYPE_FLAGS).map(|kind| kind.name);
    let names: Vec<&str> = FAMILIES
        .iter()
        .map(|family| family.name)
        .chain(kinds)
        .collect();
    unknown_name(text, "address family or socket type", &names)
}

/// Returns the name of a family; `AF_` and its number if unknown.
pub fn family_name(number: u8) -> String {
    by_number(number).map_or_else(|| format!("AF_{number}"), |family| family.name.into())
}

/// Returns the name of a type; `SOCK_` and its number if unknown.
pub fn type_name(number: u32) -> String {
    let found = SOCKET_TYPES.iter().find(|kind| kind.number == number);
    found.map_or_else(|| format!("SOCK_{number}"), |kind| kind.name.into())
}

/// Support by the running kernel, from an attempt to open a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Support {
    /// The attempt succeeded, or failed with an error that implies support.
    Yes,
    /// Not supported.
    No,
    /// The error does not show whether the type is supported.
    Unknown,
}

/// Returns what an error of socket(2) shows about the tried type, and its meaning. `None` means success.
pub fn explain_error(error: Option<&str>) -> (Support, &'static str) {
    let Some(error) = error else {
        return (Support::Yes, "supported");
    };
    match error {
        "EAFNOSUPPORT" => (
            Support::No,
            "the kernel does not have this family, or not in this network namespace",
        ),
        "ESOCKTNOSUPPORT" => (Support::No, "the family does not have this type"),
        "EPROTONOSUPPORT" => (
            Support::No,
            "the family does not have this protocol, or not with this type",
        ),
        "EPROTOTYPE" => (Support::No, "the protocol does not support this type"),
        "EINVAL" => (
            Support::No,
            "the family does not accept this type or protocol",
        ),
        "EPERM" | "EACCES" => (
            Support::Unknown,
            "requires privilege (CAP_NET_RAW or CAP_NET_ADMIN), or a sandbox forbids it",
        ),
        "ENODEV" | "ENXIO" => (
            Support::Yes,
            "the family is supported, but has no device or transport",
        ),
        "EMFILE" | "ENFILE" | "ENOBUFS" | "ENOMEM" => (
            Support::Unknown,
            "this host is out of descriptors or memory for sockets",
        ),
        _ => (Support::Unknown, "an unexpected error"),
    }
}

/// Returns whether the result for one type proves that the kernel has the family. EAFNOSUPPORT does not, nor do
/// errors that occur before the kernel checks the family.
pub fn proves_family(error: Option<&str>) -> bool {
    !matches!(
        error,
        Some("EAFNOSUPPORT" | "EMFILE" | "ENFILE" | "ENOBUFS" | "ENOMEM")
    )
}

/// Names of the protocols of AF_NETLINK (linux/netlink.h).
pub const NETLINK: &[(u16, &str)] = &[
    (0, "route"),
    (1, "unused"),
    (2, "usersock"),
    (3, "firewall"),
    (4, "sock_diag"),
    (5, "nflog"),
    (6, "xfrm"),
    (7, "selinux"),
    (8, "iscsi"),
    (9, "audit"),
    (10, "fib_lookup"),
    (11, "connector"),
    (12, "netfilter"),
    (13, "ip6_fw"),
    (14, "dnrtmsg"),
    (15, "kobject_uevent"),
    (16, "generic"),
    (18, "scsitransport"),
    (19, "ecryptfs"),
    (20, "rdma"),
    (21, "crypto"),
    (22, "smc"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_are_complete_and_described() {
        for (number, family) in FAMILIES.iter().enumerate() {
            assert_eq!(usize::from(family.number), number, "{}", family.name);
            assert!(family.name.starts_with("AF_"));
            for text in [family.purpose, family.elsewhere] {
                assert!(text.ends_with('.') && !text.contains("  "), "{text}");
            }
            assert!(
                !family.title.is_empty() && family.title.len() <= 44,
                "{}",
                family.title
            );
        }
        // AF_MAX of Linux 6.18.
        assert_eq!(FAMILIES.len(), 46);
    }

    #[test]
    fn lookup_accepts_all_spellings() {
        for (text, name) in [
            ("AF_VSOCK", "AF_VSOCK"),
            ("vsock", "AF_VSOCK"),
            ("40", "AF_VSOCK"),
            ("pf_local", "AF_UNIX"),
            ("decnet", "AF_DECnet"),
            ("AF_ROUTE", "AF_NETLINK"),
        ] {
            assert_eq!(find(text).map(|family| family.name), Some(name), "{text}");
        }
        assert!(find("46").is_none() && find("AF_").is_none() && find("tcp").is_none());
        assert_eq!(find_type("seqpacket").map(|kind| kind.number), Some(5));
        assert_eq!(find_type("SOCK_STREAM").map(|kind| kind.number), Some(1));
        assert!(find_type("7").is_none());
    }

    #[test]
    fn errors_are_classified() {
        assert_eq!(explain_error(None).0, Support::Yes);
        assert_eq!(explain_error(Some("EPERM")).0, Support::Unknown);
        assert_eq!(explain_error(Some("ESOCKTNOSUPPORT")).0, Support::No);
        assert!(proves_family(Some("ESOCKTNOSUPPORT")) && proves_family(None));
        assert!(!proves_family(Some("EAFNOSUPPORT")) && !proves_family(Some("EMFILE")));
    }
}
