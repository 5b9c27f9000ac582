//! PURE. Modes of the sockets of a host: packets that the IP layer has delivered, and memberships that
//! sockets hold.

use super::case::{Case, covers, for_us};
use super::receiver::is_udp;
use super::{Certainty, Found, Mode};
use crate::host::socket::ProcSocket;

/// Packets of the group that came in where it is held.
fn came_in(case: &Case<'_>) -> usize {
    (case.joined.iter())
        .filter_map(|at| case.arrivals.get(at))
        .map(|all| for_us(all).iter().filter(|datum| datum.is_first()).count())
        .sum()
}

/// A socket that dropped packets during the window, and how many.
fn dropping<'a>(case: &Case<'a>) -> Option<(&'a ProcSocket, u64)> {
    (case.sockets().into_iter())
        .filter_map(|socket| {
            let before = case.before(socket)?;
            Some((socket, socket.drops.saturating_sub(before.drops)))
        })
        .find(|(_, drops)| *drops > 0)
}

pub static NO_MATCHING_SOCKET: Mode = Mode {
    id: "no-matching-socket",
    title: "the host is a member, and no socket takes the packets",
    seen: "The group is joined, tcpdump shows the stream, the application is silent.",
    cause: "A socket takes a packet of a group if it is bound to the group or to no address, to \
        the right port, and to no other interface. On Linux a socket bound to a unicast address \
        never matches.",
    proof: "UdpIgnoredMulti moves with the packets, and /proc/net/udp has no socket that would \
        take them.",
    fix: "Bind to the group (or 0.0.0.0, ::) and the stream's port, and to no interface other \
        than the one it comes by.",
    covers: &[],
    rule: |case| {
        let host = case.host?;
        let packets = came_in(case);
        let ignored = case.moved("UdpIgnoredMulti");
        if !is_udp(case) || !covers(ignored, packets) {
            return None;
        }
        let ports = case.ports();
        let takers = case.sockets();
        // Whoever asked joined it to see whether it comes, and has no use for it.
        if case.all.subject.joined_here && takers.is_empty() {
            return None;
        }
        let arrives = |device: &str| case.arrivals.keys().any(|at| case.name(*at) == device);
        let mut why = None;
        for socket in &takers {
            match case
                .holder(socket.inode)
                .map(|holder| (&holder.device, holder))
            {
                Some((Some(device), _)) if !arrives(device) => {
                    why = Some(format!("{} is bound to {device}", case.socket_text(socket)));
                }
                Some((_, holder)) if !holder.takes_all && holder.joined.is_empty() => {
                    why = Some(format!(
                        "{} has not joined the group itself (IP_MULTICAST_ALL=0)",
                        case.socket_text(socket)
                    ));
                }
                Some(_) => return None,
                // Whose it is may not be known; then nothing speaks against it.
                None => return None,
            }
        }
        let why = why.or_else(|| {
            let unicast = (host.udp.after.iter()).find(|socket| {
                let local = socket.local.ip();
                ports.contains(&socket.local.port())
                    && !local.is_unspecified()
                    && !local.is_multicast()
            });
            unicast.map(|socket| {
                format!(
                    "{} is bound to a unicast address, which never matches a group on Linux",
                    case.socket_text(socket)
                )
            })
        });
        let why = why.unwrap_or_else(|| {
            let holder = host
                .holders
                .iter()
                .flatten()
                .find(|holder| !holder.joined.is_empty());
            let socket = holder.and_then(|holder| {
                host.udp
                    .after
                    .iter()
                    .find(|socket| socket.inode == holder.inode)
            });
            match socket {
                Some(socket) => format!(
                    "{}, which joined it, listens to port {}",
                    case.socket_text(socket),
                    socket.local.port()
                ),
                None => "no socket is bound to that port".into(),
            }
        });
        Some(
            Found::fault(
                Certainty::Proved,
                format!(
                    "this host receives {} to port {} and no socket takes it: {why}",
                    case.group,
                    super::case::list(&ports)
                ),
            )
            .fix(format!(
                "bind to {} or to no address, and to port {}",
                case.group,
                super::case::list(&ports)
            ))
            .because("wire", format!("{packets} packets came in"))
            .because("counters", format!("UdpIgnoredMulti +{ignored}"))
            .because("socket", why),
        )
    },
};

pub static RECEIVE_BUFFER_OVERRUN: Mode = Mode {
    id: "receive-buffer-overrun",
    title: "the socket's receive buffer overflows",
    seen: "Gaps in the application, and none on the wire.",
    cause: "The application reads more slowly than packets come, or a burst is larger than the \
        buffer. The kernel drops what does not fit.",
    proof: "The socket's drops (last column of /proc/net/udp) and UdpRcvbufErrors move.",
    fix: "Raise SO_RCVBUF and net.core.rmem_max; read faster, or in a thread of its own.",
    covers: &["loss-in-socket"],
    rule: |case| {
        let errors = case.moved("UdpRcvbufErrors");
        let (socket, drops) = dropping(case)?;
        if errors == 0 {
            return None;
        }
        let buffer = case
            .holder(socket.inode)
            .map(|holder| holder.receive_buffer);
        let size = buffer.map_or(String::new(), |bytes| {
            format!(", whose buffer is {bytes} bytes")
        });
        let mut found = Found::fault(
            Certainty::Proved,
            format!(
                "{drops} of {} packets that came in were dropped at {}{size}: it is full",
                came_in(case),
                case.socket_text(socket)
            ),
        )
        .fix("raise its SO_RCVBUF (and net.core.rmem_max), or read faster")
        .because("socket", format!("drops of {} +{drops}", socket.local))
        .because("counters", format!("UdpRcvbufErrors +{errors}"));
        if let Some(bytes) = buffer {
            found = found.because(
                "socket",
                format!("SO_RCVBUF {bytes} bytes, {} waiting", socket.queued),
            );
        }
        Some(found)
    },
};

pub static LOSS_IN_SOCKET: Mode = Mode {
    id: "loss-in-socket",
    title: "the socket drops packets, and its buffer is not full",
    seen: "Gaps in the application, and none on the wire.",
    cause: "A filter that the application (or its sandbox) attached to the socket rejects \
        packets, or the kernel's memory for UDP is at its limit.",
    proof: "The socket's drops (last column of /proc/net/udp) move, and UdpRcvbufErrors does \
        not.",
    fix: "Look at the socket's filter (`ss -uamp --bpf`) and at net.ipv4.udp_mem.",
    covers: &[],
    rule: |case| {
        let (socket, drops) = dropping(case)?;
        if case.moved("UdpRcvbufErrors") > 0 || case.moved("UdpInCsumErrors") >= drops {
            return None;
        }
        Some(
            Found::fault(
                Certainty::Proved,
                format!(
                    "{drops} of {} packets that came in were dropped at {}, which is not full: \
                        its filter rejects them, or memory for UDP is short",
                    came_in(case),
                    case.socket_text(socket)
                ),
            )
            .fix("see `ss -uamp --bpf` for its filter, and net.ipv4.udp_mem")
            .because("socket", format!("drops of {} +{drops}", socket.local))
            .because(
                "counters",
                format!(
                    "UdpInErrors +{}, UdpRcvbufErrors +0",
                    case.moved("UdpInErrors")
                ),
            ),
        )
    },
};

pub static MEMBERSHIP_LIMIT: Mode = Mode {
    id: "membership-limit",
    title: "a socket holds as many groups as it may",
    seen: "\"No buffer space available\" on joining the 21st group of a socket, or its 11th \
        source.",
    cause: "Linux allows 20 groups for each IPv4 socket (igmp_max_memberships) and 10 sources \
        for each group (igmp_max_msf). It is a limit of the socket, not of the host.",
    proof: "A socket holds exactly that many groups, and the one asked about is not among them.",
    fix: "Raise net.ipv4.igmp_max_memberships before the application starts, or spread groups \
        over several sockets.",
    covers: &["not-joined"],
    rule: |case| {
        let host = case.host?;
        let most = case.sysctl("net/ipv4/igmp_max_memberships")?;
        if !case.joined.is_empty() || !case.group.is_ipv4() {
            return None;
        }
        let full = (host.holders.iter().flatten()).find(|holder| holder.groups as i64 >= most)?;
        Some(
            Found::fault(
                Certainty::Consistent,
                format!(
                    "{} holds {} groups on one socket, which is the limit, and {} is not among \
                        them: joining it fails with ENOBUFS",
                    full.process, full.groups, case.group
                ),
            )
            .fix(format!(
                "sysctl net.ipv4.igmp_max_memberships={}, and restart it; or spread \
                groups over sockets",
                most * 10
            ))
            .because("socket", format!("{} memberships", full.groups))
            .because("sysctl", format!("net.ipv4.igmp_max_memberships = {most}")),
        )
    },
};

pub static MULTICAST_ALL_CROSSTALK: Mode = Mode {
    id: "multicast-all-crosstalk",
    title: "a socket gets packets of a group that it never joined",
    seen: "Packets of other groups turn up in an application.",
    cause: "On Linux a socket that is bound to a port and to no address takes every group that \
        anybody on the host has joined, unless IP_MULTICAST_ALL is 0.",
    proof: "The socket is bound to the port alone, holds other groups and not this one, and \
        IP_MULTICAST_ALL is 1; another socket holds this one.",
    fix: "Set IP_MULTICAST_ALL to 0 (IPV6_MULTICAST_ALL), or bind to the group.",
    covers: &[],
    rule: |case| {
        let host = case.host?;
        if came_in(case) == 0 {
            return None;
        }
        let holders = host.holders.as_ref()?;
        let joiner = holders.iter().find(|holder| !holder.joined.is_empty())?;
        let victim = (case.sockets().into_iter())
            .filter(|socket| socket.local.ip().is_unspecified())
            .filter_map(|socket| case.holder(socket.inode))
            .find(|holder| holder.joined.is_empty() && holder.takes_all && holder.groups > 0)?;
        Some(
            Found::warning(
                Certainty::Proved,
                format!(
                    "{} gets {} although it never joined it: {} did, and IP_MULTICAST_ALL is 1",
                    victim.process, case.group, joiner.process
                ),
            )
            .fix("have it set IP_MULTICAST_ALL to 0, or bind to its group instead of 0.0.0.0")
            .because(
                "socket",
                format!(
                    "{} holds {} other groups, IP_MULTICAST_ALL=1, bound to no address",
                    victim.process, victim.groups
                ),
            )
            .because("socket", format!("{} holds {}", joiner.process, case.group)),
        )
    },
};
