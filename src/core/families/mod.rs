//! PURE. Every address family and socket type that Linux has: what it is for, where it is met, and what
//! other systems have in its stead. The client's `families`, its manual page and the names that `sockets`
//! shows come from here.
//!
//! | file | what it holds |
//! |---|---|
//! | `mod` | what there is to say of a family, a type, a flag; finding one; what an errno means |
//! | `table` | the families |
//! | `modules` | which kernel module an attempt would load |

pub mod modules;
mod table;

pub use table::FAMILIES;

/// Numbers that the client tries beyond the table: the next kernel may have more. The kernel refuses what
/// is beyond its own limit (NPROTO) without looking for a module.
pub const PROBED_NUMBERS: u8 = 64;

/// An address family.
#[derive(Clone, Copy, Debug)]
pub struct Family {
    /// Its number, the first argument of socket(2).
    pub number: u8,
    /// `AF_UNIX`.
    pub name: &'static str,
    /// Other names of the same number.
    pub aliases: &'static [&'static str],
    /// In a few words, for a table.
    pub title: &'static str,
    /// What it is for and where it is met: one plain sentence.
    pub purpose: &'static str,
    /// Is it of the past? New programs should not use it.
    pub legacy: bool,
    /// Why no kernel of today makes sockets of it, if so.
    pub absent: Option<&'static str>,
    /// What BSD, macOS and Windows have in its stead.
    pub elsewhere: &'static str,
    /// What its protocols are called in /proc/net/protocols.
    pub registered: &'static [&'static str],
    /// Protocols that a type needs where 0 does not do.
    pub protocol: &'static [(u8, u16)],
    /// Its protocols, as far as each is tried by itself: name, type, number.
    pub protocols: &'static [(&'static str, u8, u16)],
}

impl Family {
    /// Which protocol a socket of this type is tried with.
    pub fn protocol_of(&self, kind: u8) -> u16 {
        let of = |(one, _): &&(u8, u16)| *one == kind;
        let found = self.protocol.iter().find(of);
        found.map_or(0, |(_, protocol)| *protocol)
    }
}

/// A socket type, or a flag that goes with it.
#[derive(Clone, Copy, Debug)]
pub struct SocketType {
    /// Its number on all architectures but MIPS, which has 1 and 2 the other way round.
    pub number: u32,
    /// `SOCK_STREAM`.
    pub name: &'static str,
    /// What it is: one plain sentence.
    pub purpose: &'static str,
}

/// The types: second argument of socket(2).
pub const SOCKET_TYPES: &[SocketType] = &[
    SocketType {
        number: STREAM,
        name: "SOCK_STREAM",
        purpose: "A connection that carries bytes in order and without loss, and keeps no borders of \
                  messages: TCP.",
    },
    SocketType {
        number: DGRAM,
        name: "SOCK_DGRAM",
        purpose: "Single messages with their borders, each by itself, which may be lost or overtake each \
                  other (between processes of one host they are not): UDP.",
    },
    SocketType {
        number: RAW,
        name: "SOCK_RAW",
        purpose: "What lies below the transport, headers included, mostly for programs with CAP_NET_RAW: \
                  ping, routing daemons, capture.",
    },
    SocketType {
        number: RDM,
        name: "SOCK_RDM",
        purpose: "Single messages that are not lost but may overtake each other; TIPC has it.",
    },
    SocketType {
        number: SEQPACKET,
        name: "SOCK_SEQPACKET",
        purpose: "A connection that carries messages in order, without loss and with their borders: SCTP, \
                  Bluetooth, services on one host.",
    },
    SocketType {
        number: DCCP,
        name: "SOCK_DCCP",
        purpose: "Single messages with congestion control (RFC 4340); removed in Linux 6.16.",
    },
    SocketType {
        number: PACKET,
        name: "SOCK_PACKET",
        purpose: "The way to capture that Linux 2.0 had, superseded by AF_PACKET; with AF_INET it makes an \
                  AF_PACKET socket, and the kernel logs that it is obsolete.",
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

/// Flags that are added to a type.
pub const TYPE_FLAGS: &[SocketType] = &[
    SocketType {
        number: 0o4000,
        name: "SOCK_NONBLOCK",
        purpose: "Calls on the socket return EAGAIN instead of waiting.",
    },
    SocketType {
        number: 0o200_0000,
        name: "SOCK_CLOEXEC",
        purpose: "The socket is closed when the process starts another program, so that none inherits it \
                  by mistake.",
    },
];

/// The family of a number.
pub fn by_number(number: u8) -> Option<&'static Family> {
    FAMILIES.get(usize::from(number))
}

/// The family of a number, an exact name, or a name without its AF_ or PF_, in any case.
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
    (FAMILIES.iter()).find(|family| {
        let mut names = std::iter::once(&family.name).chain(family.aliases);
        names.any(|name| bare(name) == wanted)
    })
}

/// The type of a number, or of a name with or without its SOCK_, in any case.
pub fn find_type(text: &str) -> Option<&'static SocketType> {
    if let Ok(number) = text.parse::<u32>() {
        return SOCKET_TYPES.iter().find(|kind| kind.number == number);
    }
    let upper = text.to_ascii_uppercase();
    let wanted = upper.strip_prefix("SOCK_").unwrap_or(&upper);
    let mut all = SOCKET_TYPES.iter().chain(TYPE_FLAGS);
    all.find(|kind| kind.name.strip_prefix("SOCK_") == Some(wanted))
}

/// The name of a family, or its number where this table does not have it.
pub fn family_name(number: u8) -> String {
    by_number(number).map_or_else(|| format!("AF_{number}"), |family| family.name.into())
}

/// The name of a type, or its number.
pub fn type_name(number: u32) -> String {
    let found = SOCKET_TYPES.iter().find(|kind| kind.number == number);
    found.map_or_else(|| format!("SOCK_{number}"), |kind| kind.name.into())
}

/// What came of an attempt to open a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Support {
    /// A socket, or an error that only what exists can give.
    Yes,
    /// The kernel has no such thing.
    No,
    /// The kernel has the family, and says nothing of the type.
    Unknown,
}

/// What the error of socket(2) says of the type that was tried, and what it means. `None`: it worked.
pub fn explain_error(error: Option<&str>) -> (Support, &'static str) {
    let Some(error) = error else {
        return (Support::Yes, "it works");
    };
    match error {
        "EAFNOSUPPORT" => (
            Support::No,
            "the kernel has no such family, or not in this network namespace",
        ),
        "ESOCKTNOSUPPORT" => (Support::No, "the family does not have this type"),
        "EPROTONOSUPPORT" => (
            Support::No,
            "no such protocol in this family, or not of this type",
        ),
        "EPROTOTYPE" => (Support::No, "the protocol does not go with this type"),
        "EINVAL" => (
            Support::No,
            "the family does not take this type or protocol",
        ),
        "EPERM" | "EACCES" => (
            Support::Unknown,
            "it takes privilege (CAP_NET_RAW or CAP_NET_ADMIN), or a sandbox forbids it",
        ),
        "ENODEV" | "ENXIO" => (
            Support::Yes,
            "the family is there, and no device or transport for it",
        ),
        "EMFILE" | "ENFILE" | "ENOBUFS" | "ENOMEM" => {
            (Support::Unknown, "this host is short of room for sockets")
        }
        _ => (Support::Unknown, "an error that no family gives by custom"),
    }
}

/// Does the error of one type prove that the family is there? Only EAFNOSUPPORT, and an error that comes
/// before the kernel looks at the family, do not.
pub fn proves_family(error: Option<&str>) -> bool {
    !matches!(
        error,
        Some("EAFNOSUPPORT" | "EMFILE" | "ENFILE" | "ENOBUFS" | "ENOMEM")
    )
}

/// Protocols of AF_NETLINK (linux/netlink.h): what each is asked about.
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
    fn the_table_has_every_number_once_and_says_something_of_each() {
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
    fn one_is_found_as_people_write_it() {
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
    fn errors_are_told_apart() {
        assert_eq!(explain_error(None).0, Support::Yes);
        assert_eq!(explain_error(Some("EPERM")).0, Support::Unknown);
        assert_eq!(explain_error(Some("ESOCKTNOSUPPORT")).0, Support::No);
        assert!(proves_family(Some("ESOCKTNOSUPPORT")) && proves_family(None));
        assert!(!proves_family(Some("EAFNOSUPPORT")) && !proves_family(Some("EMFILE")));
    }
}
