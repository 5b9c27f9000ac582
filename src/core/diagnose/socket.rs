//! PURE. Failure modes of sockets: packets that the IP layer delivered, and memberships of sockets.

use super::case::{Case, about_equal, accounts_for, for_us};
use super::receiver::is_udp;
use super::{Certainty, FailureMode, FindingDraft};
use crate::host::socket::ProcSocket;
use crate::text::counted;

/// Number of packets of the group received where it is joined.
fn came_in(case: &Case<'_>) -> usize {
    case.joined
        .iter()
        .filter_map(|at| case.received.get(at))
        .map(|all| {
            for_us(all)
                .iter()
                .filter(|packet| packet.is_first())
                .count()
        })
        .sum()
}

/// A socket that dropped packets during the window, and how many.
fn dropping<'a>(case: &Case<'a>) -> Option<(&'a ProcSocket, u64)> {
    case.sockets()
        .into_iter()
        .filter_map(|socket| {
            let before = case.before(socket)?;
            Some((socket, socket.drops.saturating_sub(before.drops)))
        })
        .find(|(_, drops)| *drops > 0)
}

/// Returns whether drops of a socket can only be packets of the group: it is bound to the group, or has joined
/// no other.
fn is_for_group(case: &Case<'_>, socket: &ProcSocket) -> bool {
    let holder = case.holder(socket.inode);
    socket.local.ip() == case.group || holder.is_some_and(|holder| holder.groups <= 1)
}

/// Returns the drops of all UDP sockets during the window.
fn drops_of_all(case: &Case<'_>) -> u64 {
    let all = case.host.into_iter().flat_map(|host| &host.udp.after);
    all.filter_map(|socket| Some(socket.drops.saturating_sub(case.before(socket)?.drops)))
        .sum()
}

pub static NO_MATCHING_SOCKET: FailureMode = FailureMode {
    id: "no-matching-socket",
    title: "the host has joined the group, but no socket accepts the packets",
    symptoms: "The group is joined, tcpdump shows the stream, the application gets nothing.",
    cause: "A socket accepts a multicast packet if it is bound to the group or to no address, to \
        the right port, and to no other interface. On Linux a socket bound to a unicast address \
        never matches.",
    proof: "UdpIgnoredMulti increases with the packets, and /proc/net/udp has no socket that \
        accepts them.",
    fix: "Bind to the group (or 0.0.0.0, ::) and the stream's port, and to no interface other than \
        the receiving one.",
    implies: &[],
    rule: |case| {
        let host = case.host?;
        let packets = came_in(case);
        let ignored = case.moved("UdpIgnoredMulti");
        if !is_udp(case) || !accounts_for(ignored, packets) {
            return None;
        }
        let ports = case.ports();
        let takers = case.sockets();
        // The doctor joined it to see whether it arrives, and does not use it.
        if case.evidence.subject.joined_here && takers.is_empty() {
            return None;
        }
        let arrives = |device: &str| case.received.keys().any(|at| case.name(*at) == device);
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
                // The owner may not be known; then nothing contradicts it.
                None => return None,
            }
        }
        let why = why.or_else(|| {
            let unicast = host.udp.after.iter().find(|socket| {
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
                    "{}, which joined it, listens on port {}",
                    case.socket_text(socket),
                    socket.local.port()
                ),
                None => "no socket is bound to that port".into(),
            }
        });
        Some(
            FindingDraft::fault(
                Certainty::Proved,
                format!(
                    "this host receives {} on port {} but no socket accepts it: {why}",
                    case.group,
                    super::case::list(&ports)
                ),
            )
            .fix(format!(
                "bind to {} or to no address, and to port {}",
                case.group,
                super::case::list(&ports)
            ))
            .with_evidence(
                "wire",
                format!("{packets} came in", packets = counted(packets, "packet")),
            )
            .with_evidence("counters", format!("UdpIgnoredMulti +{ignored}"))
            .with_evidence("socket", why),
        )
    },
};

pub static RECEIVE_BUFFER_OVERRUN: FailureMode = FailureMode {
    id: "receive-buffer-overrun",
    title: "the socket's receive buffer overflows",
    symptoms: "The application sees gaps, the wire does not.",
    cause: "The application reads more slowly than packets arrive, or a burst is larger than the \
        buffer. The kernel drops the excess.",
    proof: "The socket's drops (last column of /proc/net/udp) and UdpRcvbufErrors increase.",
    fix: "Raise SO_RCVBUF and net.core.rmem_max; read faster, or in a separate thread.",
    implies: &["loss-in-socket"],
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
        // The counter is of all sockets: it explains these drops if it explains all. Both are read one after
        // the other.
        let all = drops_of_all(case);
        let explains_all = errors >= all || about_equal(errors, all as usize);
        let certainty = match explains_all && is_for_group(case, socket) {
            true => Certainty::Proved,
            false => Certainty::Consistent,
        };
        let mut found = FindingDraft::fault(
            certainty,
            format!(
                "{drops} of {} received packets were dropped at {}{size}: its receive buffer is \
                    full",
                came_in(case),
                case.socket_text(socket)
            ),
        )
        .fix("raise its SO_RCVBUF (and net.core.rmem_max), or read faster")
        .with_evidence("socket", format!("drops of {} +{drops}", socket.local))
        .with_evidence("counters", format!("UdpRcvbufErrors +{errors}"));
        if let Some(bytes) = buffer {
            found = found.with_evidence(
                "socket",
                format!("SO_RCVBUF {bytes} bytes, {} waiting", socket.queued),
            );
        }
        Some(found)
    },
};

pub static LOSS_IN_SOCKET: FailureMode = FailureMode {
    id: "loss-in-socket",
    title: "the socket drops packets although its buffer is not full",
    symptoms: "The application sees gaps, the wire does not.",
    cause: "A filter attached to the socket by the application (or its sandbox) rejects packets, \
        or the kernel's memory for UDP is at its limit.",
    proof: "The socket's drops (last column of /proc/net/udp) increase, and UdpRcvbufErrors does \
        not.",
    fix: "Check the socket's filter (`ss -uamp --bpf`) and net.ipv4.udp_mem.",
    implies: &[],
    rule: |case| {
        let (socket, drops) = dropping(case)?;
        if case.moved("UdpRcvbufErrors") > 0 || case.moved("UdpInCsumErrors") >= drops {
            return None;
        }
        Some(
            FindingDraft::fault(
                match is_for_group(case, socket) {
                    true => Certainty::Proved,
                    false => Certainty::Consistent,
                },
                format!(
                    "{drops} of {} received packets were dropped at {}, whose buffer is not full: \
                        its filter rejects them, or memory for UDP is short",
                    came_in(case),
                    case.socket_text(socket)
                ),
            )
            .fix("check its filter with `ss -uamp --bpf`, and net.ipv4.udp_mem")
            .with_evidence("socket", format!("drops of {} +{drops}", socket.local))
            .with_evidence(
                "counters",
                format!(
                    "UdpInErrors +{}, UdpRcvbufErrors +0",
                    case.moved("UdpInErrors")
                ),
            ),
        )
    },
};

pub static MEMBERSHIP_LIMIT: FailureMode = FailureMode {
    id: "membership-limit",
    title: "a socket has reached its limit of groups",
    symptoms: "\"No buffer space available\" when joining the 21st group of a socket, or its 11th \
        source.",
    cause: "Linux allows 20 groups per IPv4 socket (igmp_max_memberships) and 10 sources per group \
        (igmp_max_msf). The limit applies to the socket, not to the host.",
    proof: "A socket holds exactly as many groups as the limit, and the diagnosed one is not among \
        them.",
    fix: "Raise net.ipv4.igmp_max_memberships before the application starts, or spread groups over \
        several sockets.",
    implies: &["not-joined"],
    rule: |case| {
        let host = case.host?;
        let limit = case.sysctl("net/ipv4/igmp_max_memberships")?;
        if !case.joined.is_empty() || !case.group.is_ipv4() {
            return None;
        }
        let full = host
            .holders
            .iter()
            .flatten()
            .find(|holder| holder.groups as i64 >= limit)?;
        // It may well have all the groups that it wants.
        let waiting = case.waiting_socket();
        let waits = waiting.is_some_and(|socket| socket.inode == full.inode);
        Some(
            FindingDraft::fault_or_warning(
                waits,
                Certainty::Consistent,
                format!(
                    "{} has joined {} on one socket, which is the limit, and {} is not \
                        among them: joining it fails with ENOBUFS",
                    full.process,
                    counted(full.groups, "group"),
                    case.group
                ),
            )
            .fix(format!(
                "sysctl net.ipv4.igmp_max_memberships={}, and restart it; or spread groups over \
                    sockets",
                limit * 10
            ))
            .with_evidence("socket", counted(full.groups, "membership"))
            .with_evidence("sysctl", format!("net.ipv4.igmp_max_memberships = {limit}")),
        )
    },
};

pub static MULTICAST_ALL_CROSSTALK: FailureMode = FailureMode {
    id: "multicast-all-crosstalk",
    title: "a socket receives packets of a group that it never joined",
    symptoms: "Packets of other groups reach an application.",
    cause: "On Linux a socket bound to a port and no address receives every group that any socket \
        on the host has joined, unless IP_MULTICAST_ALL is 0.",
    proof: "The socket is bound to the port alone, has joined other groups but not this one, and \
        IP_MULTICAST_ALL is 1; another socket has joined this one.",
    fix: "Set IP_MULTICAST_ALL to 0 (IPV6_MULTICAST_ALL), or bind to the group.",
    implies: &[],
    rule: |case| {
        let host = case.host?;
        if came_in(case) == 0 {
            return None;
        }
        let holders = host.holders.as_ref()?;
        // The doctor's own membership ends with it.
        let joiner = holders.iter().find(|holder| {
            let is_doctor =
                case.evidence.subject.joined_here && host.own_pids.contains(&holder.process.pid);
            !holder.joined.is_empty() && !is_doctor
        })?;
        let victim = case
            .sockets()
            .into_iter()
            .filter(|socket| socket.local.ip().is_unspecified())
            .filter_map(|socket| case.holder(socket.inode))
            .find(|holder| holder.joined.is_empty() && holder.takes_all && holder.groups > 0)?;
        Some(
            FindingDraft::warning(
                Certainty::Proved,
                format!(
                    "{} receives {} although it never joined it: {} did, and IP_MULTICAST_ALL is \
                        1",
                    victim.process, case.group, joiner.process
                ),
            )
            .fix("make it set IP_MULTICAST_ALL to 0, or bind to its group instead of 0.0.0.0")
            .with_evidence(
                "socket",
                format!(
                    "{} has joined {}, IP_MULTICAST_ALL=1, bound to no address",
                    victim.process,
                    counted(victim.groups, "other group")
                ),
            )
            .with_evidence(
                "socket",
                format!("{} has joined {}", joiner.process, case.group),
            ),
        )
    },
};
