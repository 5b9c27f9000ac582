//! SHELL. All sockets of this thread's network namespace, from sock_diag(7), or from /proc/net if a
//! kernel has no sock_diag for a family. None of it needs privilege; CAP_NET_ADMIN adds the filters
//! of packet sockets.

use std::collections::HashSet;
use std::io;
use std::net::SocketAddr;

use serde::Serialize;

use super::netlink::Netlink;
use super::{proc_net, reason};
use netsonde_core::sockets::diag::{DiagRequest, SOCK_DIAG_BY_FAMILY, tcp_connection};
use netsonde_core::sockets::{
    INET, INET6, MPTCP, NETLINK, PACKET, SCTP, Socket, State, TCP, UDP, UDPLITE, UNIX, VSOCK, XDP,
    listed,
};

/// NETLINK_SOCK_DIAG (linux/netlink.h).
const SOCK_DIAG: isize = 4;
/// Maximum number of attempts for a list that changes while it is dumped. After that the last one
/// is used, and reported as possibly incomplete.
const TRIES: u32 = 5;

/// Parses a file of /proc/net.
type Reader = fn(&str) -> Vec<Socket>;

/// A list of sockets: its name, the request, and the files with the same content.
struct List {
    name: &'static str,
    question: Option<DiagRequest>,
    files: &'static [(&'static str, Reader)],
}

const fn of(family: u8, protocol: u16) -> Option<DiagRequest> {
    Some(DiagRequest { family, protocol })
}

/// A sock_diag request.
const LISTS: &[List] = &[
    List {
        name: "unix",
        question: of(UNIX, 0),
        files: &[("unix", listed::unix)],
    },
    List {
        name: "tcp",
        question: of(INET, TCP),
        files: &[("tcp", |text| listed::inet(text, TCP))],
    },
    List {
        name: "tcp6",
        question: of(INET6, TCP),
        files: &[("tcp6", |text| listed::inet(text, TCP))],
    },
    List {
        name: "mptcp",
        question: of(INET, MPTCP),
        files: &[],
    },
    List {
        name: "mptcp6",
        question: of(INET6, MPTCP),
        files: &[],
    },
    List {
        name: "udp",
        question: of(INET, UDP),
        files: &[("udp", |text| listed::inet(text, UDP))],
    },
    List {
        name: "udp6",
        question: of(INET6, UDP),
        files: &[("udp6", |text| listed::inet(text, UDP))],
    },
    List {
        name: "udplite",
        question: of(INET, UDPLITE),
        files: &[("udplite", |text| listed::inet(text, UDPLITE))],
    },
    List {
        name: "udplite6",
        question: of(INET6, UDPLITE),
        files: &[("udplite6", |text| listed::inet(text, UDPLITE))],
    },
    List {
        name: "sctp",
        question: of(INET, SCTP),
        files: &[],
    },
    List {
        name: "sctp6",
        question: of(INET6, SCTP),
        files: &[],
    },
    List {
        name: "dccp",
        question: of(INET, 33),
        files: &[],
    },
    List {
        name: "dccp6",
        question: of(INET6, 33),
        files: &[],
    },
    List {
        name: "raw",
        question: of(INET, 255),
        files: &[("raw", |text| listed::inet(text, 255))],
    },
    List {
        name: "raw6",
        question: of(INET6, 255),
        files: &[("raw6", |text| listed::inet(text, 255))],
    },
    // Unprivileged ping sockets, for which there is no sock_diag.
    List {
        name: "ping",
        question: None,
        files: &[("icmp", |text| listed::inet(text, 1))],
    },
    List {
        name: "ping6",
        question: None,
        files: &[("icmp6", |text| listed::inet(text, 58))],
    },
    List {
        name: "netlink",
        question: of(NETLINK, 0),
        files: &[("netlink", listed::netlink)],
    },
    List {
        name: "packet",
        question: of(PACKET, 0),
        files: &[("packet", listed::packet)],
    },
    List {
        name: "vsock",
        question: of(VSOCK, 0),
        files: &[],
    },
    List {
        name: "xdp",
        question: of(XDP, 0),
        files: &[],
    },
];

/// Source of a list.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Source {
    /// Name of the list: `tcp`, `unix` and so on.
    pub list: &'static str,
    /// Address family.
    pub family: u8,
    /// `sock_diag`, or the file.
    pub from: Option<String>,
    /// Why there is no list, or no sock_diag.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Whether it changed during every attempt, so that entries may be missing.
    pub incomplete: bool,
}

/// Returns all sockets except the one used for the queries, and their sources. Lists that this
/// kernel lacks are reported with their error.
pub fn sockets() -> (Vec<Socket>, Vec<Source>) {
    let mut netlink = Netlink::open_for(SOCK_DIAG).map(Netlink::patient);
    let (mut all, mut sources) = (Vec::new(), Vec::new());
    for list in LISTS {
        let mut source = Source {
            list: list.name,
            family: list
                .question
                .map_or(if list.name == "ping" { INET } else { INET6 }, |of| {
                    of.family
                }),
            from: None,
            error: None,
            incomplete: false,
        };
        let asked = match (&mut netlink, list.question) {
            (Ok(netlink), Some(question)) => Some(ask(netlink, question)),
            (Err(error), Some(_)) => Some(Err(io::Error::from(error.kind()))),
            (_, None) => None,
        };
        match asked {
            Some(Ok((sockets, is_whole))) => {
                source.from = Some("sock_diag".into());
                source.incomplete = !is_whole;
                all.extend(sockets);
            }
            other => {
                if let Some(Err(error)) = other {
                    source.error = Some(match error.raw_os_error() {
                        Some(libc::ENOENT) => "this kernel has no sock_diag for it".into(),
                        _ => reason(&error),
                    });
                }
                for (file, read) in list.files {
                    if let Some(text) = try_proc_net(file) {
                        source.from = Some(format!("/proc/net/{file}"));
                        all.extend(read(&text));
                    }
                }
            }
        }
        sources.push(source);
    }
    if let Some(own) = netlink.ok().and_then(|netlink| netlink.inode()) {
        all.retain(|socket| socket.inode != own);
    }
    (all, sources)
}

/// Reads the file, if it exists.
fn try_proc_net(file: &str) -> Option<String> {
    let text = proc_net(file);
    (!text.is_empty()).then_some(text)
}

/// Repeats the request until a list did not change meanwhile, a few times.
fn ask(netlink: &mut Netlink, question: DiagRequest) -> io::Result<(Vec<Socket>, bool)> {
    let mut found: Vec<Socket> = Vec::new();
    for _ in 0..TRIES {
        found.clear();
        let is_whole = netlink.list(SOCK_DIAG_BY_FAMILY, &question.bytes(), |body| {
            found.extend(question.decode(body));
        })?;
        // Netlink sockets with groups are listed twice (netlink_diag of 6.18).
        let mut seen = HashSet::new();
        found.retain(|socket| socket.inode == 0 || seen.insert(socket.inode));
        if is_whole {
            return Ok((found, true));
        }
    }
    Ok((found, false))
}

/// Looks TCP connections up, one by one.
pub struct Connections(Netlink);

impl Connections {
    /// Opens the socket for the requests.
    ///
    /// # Errors
    /// The error of the kernel.
    pub fn open() -> io::Result<Connections> {
        Netlink::open_for(SOCK_DIAG).map(Connections)
    }

    /// Returns the socket at this end of a connection, also of one that is bound to the interface; `None` if there is
    /// none. A connection without a process, and one that waits for late packets, has no user.
    ///
    /// # Errors
    /// The error of the kernel, or `TimedOut`.
    pub fn find(
        &mut self,
        (local, remote): (SocketAddr, SocketAddr),
        ifindex: u32,
    ) -> io::Result<Option<Socket>> {
        let request = DiagRequest {
            family: INET,
            protocol: TCP,
        };
        for ifindex in [0, ifindex] {
            let mut found = None;
            let body = tcp_connection(local, remote, ifindex);
            let asked = self.0.ask_raw(SOCK_DIAG_BY_FAMILY, 0, &body, |_, reply| {
                found = request.decode(reply);
            });
            match asked {
                Err(error) if error.raw_os_error() == Some(libc::ENOENT) => continue,
                Err(error) => return Err(error),
                // Without a connection the kernel returns a socket that listens there.
                Ok(()) => found = found.filter(|socket| socket.state != State::Listening),
            }
            if found.is_some() {
                return Ok(found);
            }
        }
        Ok(None)
    }
}
