//! PURE. From evidence to the fate of a probe. Each rung of the ladder has its own witness: the
//! kernel's answer to the send call, ARP or neighbour discovery on the wire, the scheduled stamp,
//! the frame on the wire, an ICMP error that quotes it, the reply on the wire, the reply at the
//! socket. A probe died between the last rung that saw it and the first that did not.

use std::net::IpAddr;

use super::sight::Quoted;
use crate::wire::icmp::{meaning_v4, meaning_v6};

/// What became of a probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Fate {
    /// Answered in time.
    Replied,
    /// Answered after the time limit.
    Late,
    /// An ICMP error came back.
    Refused,
    /// Answered, with a wrong checksum or payload.
    Corrupted,
    /// Never left: no ARP or neighbour discovery answer.
    Unresolved,
    /// The kernel refused to send.
    NotSent,
    /// The kernel took it, and the wire never saw it.
    DroppedOutbound,
    /// Left this host, and nothing came back.
    Unanswered,
    /// The answer reached this host's wire, and not the socket.
    DroppedInbound,
}

impl Fate {
    /// All of them, in the order of the contract.
    pub const ALL: [Fate; 9] = [
        Fate::Replied,
        Fate::Late,
        Fate::Refused,
        Fate::Corrupted,
        Fate::Unresolved,
        Fate::NotSent,
        Fate::DroppedOutbound,
        Fate::Unanswered,
        Fate::DroppedInbound,
    ];

    /// The word for it.
    pub fn name(self) -> &'static str {
        match self {
            Fate::Replied => "replied",
            Fate::Late => "late",
            Fate::Refused => "refused",
            Fate::Corrupted => "corrupted",
            Fate::Unresolved => "unresolved",
            Fate::NotSent => "not_sent",
            Fate::DroppedOutbound => "dropped_outbound",
            Fate::Unanswered => "unanswered",
            Fate::DroppedInbound => "dropped_inbound",
        }
    }
}

/// State of a neighbour in the kernel's table (NUD_ in linux/neighbour.h), as far as it matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NeighborState {
    /// Being asked for, or asked for in vain.
    Unresolved,
    /// Its address is known.
    Known,
}

/// What is known of one probe when its time is up.
#[derive(Clone, Copy, Debug, Default)]
pub struct ProbeEvidence {
    /// Was the kernel asked for stamps of this one?
    pub stamped: bool,
    /// The scheduled stamp came (SOF_TIMESTAMPING_TX_SCHED): routed, resolved, past netfilter, given
    /// to the queueing discipline.
    pub scheduled: bool,
    /// The sent stamp came (SOF_TIMESTAMPING_TX_SOFTWARE): given to the device.
    pub handed: bool,
    /// Seen leaving on that interface.
    pub out: Option<u32>,
    /// Its reply seen coming in on that interface, and whether its checksum was right.
    pub back: Option<(u32, Option<bool>)>,
}

/// What else is known of this host around the life of a probe.
#[derive(Clone, Debug, Default)]
pub struct HostContext {
    /// Name of the interface that the route to the target leads out of.
    pub interface: String,
    /// The neighbour that the route leads to: a router, or the target itself.
    pub next_hop: Option<IpAddr>,
    /// How often it was asked for, as the wire shows, since it last told its address.
    pub asked: u32,
    /// What the kernel's neighbour table says of it.
    pub neighbour: Option<NeighborState>,
    /// Packets that our own rings had no room for meanwhile: what they did not show proves nothing.
    pub ring_drops: u64,
    /// Packets that the probe's own socket had no room for meanwhile.
    pub socket_drops: u64,
    /// Counters of this host that moved since before the probe was sent, and by how much.
    pub moved: Vec<(String, u64)>,
    /// Packets that wait in the interface's queueing discipline now.
    pub queued: u64,
}

/// A fate, and in words where the probe was last seen and what is known of the cause.
#[derive(Clone, Debug, PartialEq)]
pub struct Verdict {
    /// What became of it.
    pub fate: Fate,
    /// Where it was last seen.
    pub last_seen: String,
}

fn verdict(fate: Fate, last_seen: impl Into<String>) -> Verdict {
    Verdict {
        fate,
        last_seen: last_seen.into(),
    }
}

/// "; IpReversePathFilter +1"
fn moved(counters: &[(String, u64)], of: impl Fn(&str) -> bool) -> Option<String> {
    let words: Vec<String> = counters
        .iter()
        .filter(|(name, _)| of(name))
        .map(|(name, by)| format!("{name} +{by}"))
        .collect();
    (!words.is_empty()).then(|| words.join(", "))
}

/// Names of counters: the start says of what.
pub mod counter {
    /// Reverse path filter (TcpExt in /proc/net/netstat).
    pub const REVERSE_PATH: &str = "TcpExtIPReversePathFilter";
    /// What a queueing discipline dropped; the interface follows.
    pub const QUEUE: &str = "queue drops of";
    /// What IP dropped on the way out.
    pub const OUT_DISCARDS: &str = "OutDiscards";
    /// What IP dropped on the way in.
    pub const IN: &str = "In";
}

/// Judges a probe whose time is up without a reply at the socket and without an error.
pub fn judge(facts: &ProbeEvidence, around: &HostContext, name: impl Fn(u32) -> String) -> Verdict {
    if let Some((ifindex, intact)) = facts.back {
        return judge_inbound(&name(ifindex), intact, around);
    }
    if let Some(ifindex) = facts.out {
        return verdict(
            Fate::Unanswered,
            format!("sent on {}; no reply or error received", name(ifindex)),
        );
    }
    let interface = &around.interface;
    if facts.handed {
        return verdict(
            Fate::Unanswered,
            format!("handed to the driver of {interface}; no reply or error received"),
        );
    }
    if facts.scheduled {
        return judge_queue(around);
    }
    let in_vain = around.neighbour == Some(NeighborState::Unresolved);
    if let Some(next_hop) = around.next_hop
        && (in_vain || (around.asked > 0 && around.neighbour.is_none()))
    {
        return unresolved(next_hop, around);
    }
    if around.ring_drops > 0 {
        return verdict(
            Fate::Unanswered,
            format!(
                "accepted by the kernel; whether it was sent is unknown, because netsonde's rings dropped {} packets in the meantime",
                around.ring_drops
            ),
        );
    }
    if let Some(words) = moved(&around.moved, |name| name.starts_with(counter::QUEUE)) {
        return verdict(
            Fate::DroppedOutbound,
            format!("accepted by the kernel, never sent on {interface}: {words}"),
        );
    }
    let counters = moved(&around.moved, |name| name.contains(counter::OUT_DISCARDS));
    verdict(
        Fate::DroppedOutbound,
        match counters {
            Some(words) => format!("accepted by the kernel, never sent on {interface}: {words}"),
            None => format!(
                "accepted by the kernel, never sent on {interface}; no drop counter increased: consistent with a firewall or a tc filter on egress"
            ),
        },
    )
}

fn judge_inbound(interface: &str, intact: Option<bool>, around: &HostContext) -> Verdict {
    if intact == Some(false) {
        return verdict(
            Fate::Corrupted,
            format!(
                "its reply arrived on {interface} with a wrong checksum and was dropped by the kernel"
            ),
        );
    }
    if around.socket_drops > 0 {
        return verdict(
            Fate::Replied,
            format!(
                "its reply arrived on {interface}; the receive buffer of netsonde's own socket was full ({} packets dropped)",
                around.socket_drops
            ),
        );
    }
    let seen = format!("its reply arrived on {interface} but did not reach the socket");
    if let Some(words) = moved(&around.moved, |name| name == counter::REVERSE_PATH) {
        return verdict(
            Fate::DroppedInbound,
            format!(
                "{seen}: reverse path filter ({words}); see net.ipv4.conf.{interface}.rp_filter"
            ),
        );
    }
    let words = moved(&around.moved, |name| name.contains(counter::IN));
    verdict(
        Fate::DroppedInbound,
        match words {
            Some(words) => format!("{seen}: {words}"),
            None => format!(
                "{seen}; no drop counter increased: consistent with a firewall (netfilter INPUT or PREROUTING)"
            ),
        },
    )
}

fn judge_queue(around: &HostContext) -> Verdict {
    let interface = &around.interface;
    let seen = format!("given to the queue of {interface}, never sent");
    let drops = moved(&around.moved, |name| name.starts_with(counter::QUEUE));
    let words = match drops {
        Some(words) => format!("{seen}: {words}"),
        None if around.queued > 0 => format!("{seen}: {} packets are still queued", around.queued),
        None => {
            format!(
                "{seen}; no queue drop counter increased: consistent with a filter after the queue"
            )
        }
    };
    verdict(Fate::DroppedOutbound, words)
}

/// The next hop has not told its link-layer address.
pub fn unresolved(next_hop: IpAddr, around: &HostContext) -> Verdict {
    let what = if next_hop.is_ipv4() {
        "ARP"
    } else {
        "neighbor discovery"
    };
    let times = match around.asked {
        0 => String::new(),
        1 => ", asked once".into(),
        n => format!(", asked {n} times"),
    };
    verdict(
        Fate::Unresolved,
        format!(
            "{next_hop} does not answer {what} on {}{times}",
            around.interface
        ),
    )
}

/// Name of an error number of Linux (asm-generic/errno.h; a few architectures number some of them
/// otherwise) and what it means for a probe.
pub fn describe_errno(errno: i32) -> (&'static str, &'static str) {
    match errno {
        1 => (
            "EPERM",
            "rejected by a firewall rule on this host (netfilter OUTPUT or POSTROUTING)",
        ),
        13 => (
            "EACCES",
            "prohibited by a route, or the target is a broadcast address",
        ),
        19 => ("ENODEV", "no such interface"),
        22 => ("EINVAL", "invalid address or route"),
        90 => (
            "EMSGSIZE",
            "larger than the path MTU, and must not be fragmented",
        ),
        97 => ("EAFNOSUPPORT", "this kernel lacks the address family"),
        99 => (
            "EADDRNOTAVAIL",
            "the source address does not belong to this host",
        ),
        100 => ("ENETDOWN", "the interface is down"),
        101 => ("ENETUNREACH", "no route to the target"),
        105 => ("ENOBUFS", "the local queue is full"),
        113 => ("EHOSTUNREACH", "the route is of type unreachable"),
        _ => ("E?", "rejected by the kernel"),
    }
}

/// What an ICMP error means.
pub fn describe_error(quoted: &Quoted) -> String {
    let known = if quoted.to.is_ipv4() {
        meaning_v4(quoted.kind, quoted.code)
    } else {
        meaning_v6(quoted.kind, quoted.code)
    };
    let words = known.map_or_else(
        || format!("type {} code {}", quoted.kind, quoted.code),
        str::to_owned,
    );
    match quoted.mtu {
        Some(mtu) => format!("{words} (mtu {mtu})"),
        None => words,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    fn around() -> HostContext {
        HostContext {
            interface: "e0".into(),
            next_hop: Some(IpAddr::V4(Ipv4Addr::new(10, 0, 0, 9))),
            neighbour: Some(NeighborState::Known),
            ..HostContext::default()
        }
    }

    fn fate(facts: ProbeEvidence, around: &HostContext) -> (Fate, String) {
        let verdict = judge(&facts, around, |index| format!("e{index}"));
        (verdict.fate, verdict.last_seen)
    }

    #[test]
    fn each_rung_has_its_witness() {
        let facts = ProbeEvidence {
            stamped: true,
            ..ProbeEvidence::default()
        };
        let healthy = around();
        assert_eq!(fate(facts, &healthy).0, Fate::DroppedOutbound);
        let in_vain = HostContext {
            neighbour: Some(NeighborState::Unresolved),
            asked: 3,
            ..around()
        };
        let (unresolved, words) = fate(facts, &in_vain);
        assert_eq!(unresolved, Fate::Unresolved);
        assert_eq!(words, "10.0.0.9 does not answer ARP on e0, asked 3 times");
        let scheduled = ProbeEvidence {
            scheduled: true,
            ..facts
        };
        assert_eq!(fate(scheduled, &in_vain).0, Fate::DroppedOutbound);
        let full = HostContext {
            moved: vec![("queue drops of e0".into(), 5)],
            ..around()
        };
        assert!(fate(scheduled, &full).1.ends_with("queue drops of e0 +5"));
        let out = ProbeEvidence {
            out: Some(0),
            ..scheduled
        };
        assert_eq!(
            fate(out, &healthy),
            (
                Fate::Unanswered,
                "sent on e0; no reply or error received".into()
            )
        );
        let back = ProbeEvidence {
            back: Some((0, Some(true))),
            ..out
        };
        let (inbound, words) = fate(back, &healthy);
        assert!(inbound == Fate::DroppedInbound && words.contains("consistent with a firewall"));
        let filtered = HostContext {
            moved: vec![("TcpExtIPReversePathFilter".into(), 1)],
            ..around()
        };
        assert!(fate(back, &filtered).1.contains("reverse path filter"));
        let bad = ProbeEvidence {
            back: Some((0, Some(false))),
            ..out
        };
        assert_eq!(fate(bad, &healthy).0, Fate::Corrupted);
    }

    #[test]
    fn our_own_losses_blame_nobody_else() {
        let back = ProbeEvidence {
            out: Some(0),
            back: Some((0, Some(true))),
            ..ProbeEvidence::default()
        };
        let ours = HostContext {
            socket_drops: 7,
            ..around()
        };
        assert_eq!(fate(back, &ours).0, Fate::Replied);
        let blind = HostContext {
            ring_drops: 7,
            ..around()
        };
        let (unknown, words) = fate(ProbeEvidence::default(), &blind);
        assert!(
            unknown == Fate::Unanswered && words.contains("is unknown"),
            "{words}"
        );
    }
}
