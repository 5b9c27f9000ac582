//! PURE. Fates of probes, from evidence. Each rung of the ladder has its own vantage point: the
//! result of the send call, ARP or neighbor discovery on the wire, the scheduled stamp, the frame
//! on the wire, an ICMP error that quotes it, the reply on the wire, the reply at the socket. A
//! probe died between the last rung that saw it and the first that did not.

use std::net::IpAddr;

use super::fragments::FragmentedReply;
use super::hop::HopRemark;
use super::sight::Quoted;
use crate::text::{counted, is_or_are};
use crate::wire::icmp::{meaning_v4, meaning_v6};

/// Final classification of a probe.
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
    /// Never sent: no answer to ARP or neighbor discovery.
    Unresolved,
    /// The kernel refused to send it, or it was withheld because its interface cannot carry packets.
    NotSent,
    /// Accepted by the kernel, but never seen on the wire.
    DroppedOutbound,
    /// Sent on the wire, without any reply or error.
    Unanswered,
    /// The reply reached the wire of this host, but not the socket.
    DroppedInbound,
}

impl Fate {
    /// All fates, in the order of the API.
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

    /// Returns the number of the fate in stored and packed fates, 0 to 8, which never changes.
    pub fn number(self) -> u8 {
        match self {
            Fate::Replied => 0,
            Fate::Late => 1,
            Fate::Refused => 2,
            Fate::Corrupted => 3,
            Fate::Unresolved => 4,
            Fate::NotSent => 5,
            Fate::DroppedOutbound => 6,
            Fate::Unanswered => 7,
            Fate::DroppedInbound => 8,
        }
    }

    /// Returns the fate with a number; `None` from 9 on.
    pub fn of_number(number: u8) -> Option<Fate> {
        Fate::ALL.into_iter().find(|fate| fate.number() == number)
    }

    /// Returns whether a late reply or error may still replace this fate.
    pub fn may_change(self) -> bool {
        matches!(self, Fate::Unanswered | Fate::DroppedInbound)
    }

    /// Returns the name used in text and JSON.
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

/// State of an entry of the kernel's neighbor table (NUD_ in linux/neighbour.h), reduced to two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NeighborState {
    /// Resolution is in progress or has failed.
    Unresolved,
    /// The link-layer address is known.
    Known,
}

/// Evidence about one probe when its time is up.
#[derive(Clone, Debug, Default)]
pub struct ProbeEvidence {
    /// The kernel was asked for send stamps of this probe.
    pub stamped: bool,
    /// The scheduled stamp arrived (SOF_TIMESTAMPING_TX_SCHED): the probe was routed, resolved,
    /// past netfilter and given to the queueing discipline.
    pub scheduled: bool,
    /// The sent stamp arrived (SOF_TIMESTAMPING_TX_SOFTWARE): the probe was handed to the device.
    pub handed: bool,
    /// Interface index on which the request was seen leaving.
    pub out: Option<u32>,
    /// Interface index on which the reply was seen, and whether its checksum was right (`None` if
    /// it could not be checked).
    pub back: Option<(u32, Option<bool>)>,
    /// Source address of the reply on the wire, if it is not the target's.
    pub answered_by: Option<IpAddr>,
    /// Whether the request left in fragments.
    pub is_fragmented: bool,
    /// Whether it is a probe by TCP, whose reply shows its arrival by the RST of this host's kernel.
    pub is_tcp: bool,
    /// Fragments of the reply, if it came in fragments.
    pub fragments: Option<FragmentedReply>,
}

/// State of this host during the life of a probe.
#[derive(Clone, Debug, Default)]
pub struct HostContext {
    /// Name of the outgoing interface of the route to the target.
    pub interface: String,
    /// Next hop of the route: a router, or the target itself.
    pub next_hop: Option<IpAddr>,
    /// Requests for the next hop's link-layer address seen on the wire since its last answer.
    pub asked: u32,
    /// Kernel neighbor state of the next hop; `None` if unknown.
    pub neighbor: Option<NeighborState>,
    /// Packets dropped by netsonde's own rings in the meantime: their silence then proves nothing.
    pub ring_drops: u64,
    /// Packets dropped at the probe's own socket in the meantime.
    pub socket_drops: u64,
    /// Counters of this host that increased since before the probe was sent, with the difference.
    pub moved: Vec<(String, u64)>,
    /// Packets in the interface's queueing discipline now.
    pub queued: u64,
    /// Why no packet can cross the interface, in words that follow its name; `None` if packets can.
    pub link_problem: Option<&'static str>,
    /// What is known of the next hop that can explain a missing reply.
    pub hop_remark: Option<HopRemark>,
}

/// Fate of a probe, with a description of its last sighting and likely cause.
#[derive(Clone, Debug, PartialEq)]
pub struct Verdict {
    /// The fate.
    pub fate: Fate,
    /// Last vantage point that saw the probe, and the likely cause of the loss.
    pub last_seen: String,
}

impl Verdict {
    /// Adds the state of the link, and what is known of the next hop, where they can be the cause.
    fn with_circumstances(mut self, context: &HostContext) -> Verdict {
        let words = &mut self.last_seen;
        let is_sent = self.fate == Fate::Unanswered;
        let is_stuck = matches!(self.fate, Fate::Unresolved | Fate::DroppedOutbound);
        if let Some(problem) = context.link_problem {
            let interface = &context.interface;
            if is_stuck {
                words.insert_str(0, &format!("{interface} {problem}; "));
            } else if is_sent {
                words.push_str(&format!("; {interface} {problem} now"));
            }
        }
        if let Some(remark) = context.hop_remark.as_ref().filter(|_| is_sent) {
            words.push_str(&format!("; {}", remark.words));
        }
        self
    }
}

fn verdict(fate: Fate, last_seen: impl Into<String>) -> Verdict {
    Verdict {
        fate,
        last_seen: last_seen.into(),
    }
}

/// Formats the matching counters: "IpReversePathFilter +1, ..."; `None` if there are none.
fn moved(counters: &[(String, u64)], of: impl Fn(&str) -> bool) -> Option<String> {
    let words: Vec<String> = counters
        .iter()
        .filter(|(name, _)| of(name))
        .map(|(name, by)| format!("{name} +{by}"))
        .collect();
    (!words.is_empty()).then(|| words.join(", "))
}

/// Words of a verdict that no counter explains, so that a rule of a firewall may.
pub const UNEXPLAINED: &str = "drop counter increased: consistent with a";

/// Names of counters; some are prefixes or parts of the full name.
pub mod counter {
    /// Reverse path filter (TcpExt in /proc/net/netstat).
    pub const REVERSE_PATH: &str = "TcpExtIPReversePathFilter";
    /// Drops of a queueing discipline; the interface name follows.
    pub const QUEUE: &str = "queue drops of";
    /// IP output discards.
    pub const OUT_DISCARDS: &str = "OutDiscards";
    /// IP input discards and errors.
    pub const IN: &str = "In";
    /// Failures and timeouts of reassembly: IpReasmFails, Ip6ReasmTimeout, ...
    pub const REASSEMBLY: &str = "Reasm";
}

/// Judges a probe whose time is up without a reply at the socket and without an error.
pub fn judge(
    evidence: &ProbeEvidence,
    context: &HostContext,
    name: impl Fn(u32) -> String,
) -> Verdict {
    judge_by_sightings(evidence, context, name).with_circumstances(context)
}

fn judge_by_sightings(
    evidence: &ProbeEvidence,
    context: &HostContext,
    name: impl Fn(u32) -> String,
) -> Verdict {
    if let Some(fragments) = &evidence.fragments
        && let Some(verdict) = judge_fragments(fragments, evidence, context, &name)
    {
        return verdict;
    }
    if let Some((ifindex, intact)) = evidence.back {
        return judge_inbound(&name(ifindex), intact, evidence, context);
    }
    if let Some(ifindex) = evidence.out {
        return verdict(
            Fate::Unanswered,
            format!(
                "{}; no reply or error received",
                sent_on(&name(ifindex), evidence)
            ),
        );
    }
    let interface = &context.interface;
    if evidence.handed {
        return verdict(
            Fate::Unanswered,
            format!("handed to the driver of {interface}; no reply or error received"),
        );
    }
    if evidence.scheduled {
        return judge_queue(context);
    }
    let is_unresolved = context.neighbor == Some(NeighborState::Unresolved);
    if let Some(next_hop) = context.next_hop
        && (is_unresolved || (context.asked > 0 && context.neighbor.is_none()))
    {
        return unresolved(next_hop, context);
    }
    if context.ring_drops > 0 {
        return verdict(
            Fate::Unanswered,
            format!(
                "accepted by the kernel; whether it was sent is unknown, because netsonde's rings dropped {} in the meantime",
                counted(context.ring_drops, "packet")
            ),
        );
    }
    if let Some(words) = moved(&context.moved, |name| name.starts_with(counter::QUEUE)) {
        return verdict(
            Fate::DroppedOutbound,
            format!("accepted by the kernel, never sent on {interface}: {words}"),
        );
    }
    let counters = moved(&context.moved, |name| name.contains(counter::OUT_DISCARDS));
    verdict(
        Fate::DroppedOutbound,
        match counters {
            Some(words) => format!("accepted by the kernel, never sent on {interface}: {words}"),
            None => format!(
                "accepted by the kernel, never sent on {interface}; no {UNEXPLAINED} firewall or a tc filter on egress"
            ),
        },
    )
}

fn sent_on(interface: &str, evidence: &ProbeEvidence) -> String {
    let parts = if evidence.is_fragmented {
        " in fragments"
    } else {
        ""
    };
    format!("sent on {interface}{parts}")
}

/// Judges a reply that came in fragments; `None` if nothing is wrong with them.
fn judge_fragments(
    fragments: &FragmentedReply,
    evidence: &ProbeEvidence,
    context: &HostContext,
    name: impl Fn(u32) -> String,
) -> Option<Verdict> {
    let interface = name(fragments.ifindex);
    let counters = moved(&context.moved, |name| name.contains(counter::REASSEMBLY));
    if fragments.is_complete() {
        let has_other_cause = context.socket_drops > 0
            || moved(&context.moved, |name| name == counter::REVERSE_PATH).is_some();
        let words = counters.filter(|_| !has_other_cause)?;
        return Some(verdict(
            Fate::DroppedInbound,
            format!(
                "all {} fragments of its reply arrived on {interface}, and this host did not reassemble them: {words}; see net.ipv4.ipfrag_high_thresh, net.ipv6.ip6frag_high_thresh",
                fragments.of
            ),
        ));
    }
    let sent = evidence.out.map_or_else(
        || "accepted by the kernel".into(),
        |ifindex| sent_on(&name(ifindex), evidence),
    );
    let ranges: Vec<String> = (fragments.ranges.iter())
        .map(|(first, last)| format!("{first}-{last}"))
        .collect();
    // Without the first fragment nothing ties the others to the probe.
    let reply = if fragments.has_first {
        "its reply"
    } else {
        "what seems to be its reply"
    };
    let mut words = format!(
        "{sent}; {} of {} fragments of {reply} came in on {interface} (bytes {} of {})",
        fragments.came,
        fragments.of,
        ranges.join(", "),
        fragments.length
    );
    if let Some(counters) = counters {
        words.push_str(&format!(": {counters}"));
    }
    if context.ring_drops > 0 {
        words.push_str(&format!(
            "; netsonde's rings dropped {} in the meantime, so more may have come",
            counted(context.ring_drops, "packet")
        ));
    }
    Some(verdict(Fate::Unanswered, words))
}

fn judge_inbound(
    interface: &str,
    intact: Option<bool>,
    evidence: &ProbeEvidence,
    context: &HostContext,
) -> Verdict {
    let reply = match evidence.answered_by {
        Some(from) => format!("its reply, from {from},"),
        None => "its reply".into(),
    };
    if intact == Some(false) {
        return verdict(
            Fate::Corrupted,
            format!(
                "{reply} arrived on {interface} with a wrong checksum and was dropped by the kernel"
            ),
        );
    }
    if context.socket_drops > 0 {
        return verdict(
            Fate::Replied,
            format!(
                "{reply} arrived on {interface}; the receive buffer of netsonde's own socket was full ({} dropped)",
                counted(context.socket_drops, "packet")
            ),
        );
    }
    if evidence.is_tcp && context.ring_drops > 0 {
        return verdict(
            Fate::Replied,
            format!(
                "{reply} arrived on {interface}; whether this host took it is unknown, because netsonde's rings dropped {} in the meantime",
                counted(context.ring_drops, "packet")
            ),
        );
    }
    let seen = match evidence.is_tcp {
        true => format!(
            "{reply} arrived on {interface}, but no RST of this host's kernel left, as one does for each that it takes"
        ),
        false => format!("{reply} arrived on {interface} but did not reach the socket"),
    };
    if let Some(words) = moved(&context.moved, |name| name == counter::REVERSE_PATH) {
        return verdict(
            Fate::DroppedInbound,
            format!(
                "{seen}: reverse path filter ({words}); see net.ipv4.conf.{interface}.rp_filter"
            ),
        );
    }
    let words = moved(&context.moved, |name| name.contains(counter::IN));
    verdict(
        Fate::DroppedInbound,
        match words {
            Some(words) => format!("{seen}: {words}"),
            None if evidence.is_tcp => format!(
                "{seen}; no {UNEXPLAINED} firewall (netfilter INPUT or PREROUTING), or with one that drops the RST (OUTPUT)"
            ),
            None => format!("{seen}; no {UNEXPLAINED} firewall (netfilter INPUT or PREROUTING)"),
        },
    )
}

fn judge_queue(context: &HostContext) -> Verdict {
    let interface = &context.interface;
    let seen = format!("given to the queue of {interface}, never sent");
    let drops = moved(&context.moved, |name| name.starts_with(counter::QUEUE));
    let words = match drops {
        Some(words) => format!("{seen}: {words}"),
        None if context.queued > 0 => {
            format!(
                "{seen}: {} {} still queued",
                counted(context.queued, "packet"),
                is_or_are(context.queued)
            )
        }
        None => {
            format!("{seen}; no queue {UNEXPLAINED} filter after the queue")
        }
    };
    verdict(Fate::DroppedOutbound, words)
}

/// Verdict for a next hop that has not answered address resolution.
pub fn unresolved(next_hop: IpAddr, context: &HostContext) -> Verdict {
    let what = if next_hop.is_ipv4() {
        "ARP"
    } else {
        "neighbor discovery"
    };
    let times = match context.asked {
        0 => String::new(),
        1 => ", asked once".into(),
        n => format!(", asked {n}", n = counted(n, "time")),
    };
    verdict(
        Fate::Unresolved,
        format!(
            "{next_hop} does not answer {what} on {}{times}",
            context.interface
        ),
    )
}

/// Verdict for a probe that was not passed to the kernel, because many earlier ones are stuck in this
/// host, and its own link or next hop is known to keep packets from leaving. All that are withheld at a
/// time have the same words.
pub fn withheld(context: &HostContext) -> Verdict {
    let why = "not sent, because many earlier probes have not been seen on the wire";
    match (context.next_hop, context.link_problem) {
        (Some(next_hop), None) => {
            let mut verdict = unresolved(next_hop, context);
            verdict.last_seen.push_str(&format!("; {why}"));
            verdict
        }
        (_, problem) => verdict(
            Fate::NotSent,
            format!(
                "{} {}; {why}",
                context.interface,
                problem.unwrap_or("sends nothing")
            ),
        ),
    }
}

/// Returns the name of a Linux error number and its meaning for a probe.
///
/// Numbers are those of asm-generic/errno.h; a few architectures number some of them differently.
pub fn describe_errno(errno: i32) -> (&'static str, &'static str) {
    match errno {
        1 => (
            "EPERM",
            "rejected by a firewall rule on this host (netfilter OUTPUT or POSTROUTING)",
        ),
        6 => ("ENXIO", "no such device or address"),
        11 => ("EAGAIN", "the socket's buffer is full"),
        12 => ("ENOMEM", "the kernel has no memory for it"),
        13 => (
            "EACCES",
            "prohibited by a route, or the target is a broadcast address",
        ),
        19 => ("ENODEV", "no such interface"),
        22 => ("EINVAL", "invalid address or route"),
        64 => ("ENONET", "the host is not on the network"),
        71 => ("EPROTO", "protocol error"),
        90 => (
            "EMSGSIZE",
            "larger than the path MTU, and must not be fragmented",
        ),
        95 => ("EOPNOTSUPP", "not supported by the socket"),
        97 => ("EAFNOSUPPORT", "this kernel lacks the address family"),
        99 => (
            "EADDRNOTAVAIL",
            "the source address does not belong to this host",
        ),
        100 => ("ENETDOWN", "the interface is down"),
        101 => ("ENETUNREACH", "no route to the target"),
        105 => ("ENOBUFS", "the local queue is full"),
        111 => ("ECONNREFUSED", "refused by the target"),
        112 => ("EHOSTDOWN", "the target is down"),
        113 => ("EHOSTUNREACH", "the route is of type unreachable"),
        _ => ("E?", "rejected by the kernel"),
    }
}

/// Describes an ICMP error: its meaning by type and code, and the MTU if it carries one.
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

    fn context() -> HostContext {
        HostContext {
            interface: "e0".into(),
            next_hop: Some(IpAddr::V4(Ipv4Addr::new(10, 0, 0, 9))),
            neighbor: Some(NeighborState::Known),
            ..HostContext::default()
        }
    }

    fn fate(evidence: &ProbeEvidence, context: &HostContext) -> (Fate, String) {
        let verdict = judge(evidence, context, |index| format!("e{index}"));
        (verdict.fate, verdict.last_seen)
    }

    #[test]
    fn each_rung_has_its_fate() {
        let evidence = ProbeEvidence {
            stamped: true,
            ..ProbeEvidence::default()
        };
        let healthy = context();
        assert_eq!(fate(&evidence, &healthy).0, Fate::DroppedOutbound);
        let is_unresolved = HostContext {
            neighbor: Some(NeighborState::Unresolved),
            asked: 3,
            ..context()
        };
        let (unresolved, words) = fate(&evidence, &is_unresolved);
        assert_eq!(unresolved, Fate::Unresolved);
        assert_eq!(words, "10.0.0.9 does not answer ARP on e0, asked 3 times");
        let scheduled = ProbeEvidence {
            scheduled: true,
            ..evidence.clone()
        };
        assert_eq!(fate(&scheduled, &is_unresolved).0, Fate::DroppedOutbound);
        let full = HostContext {
            moved: vec![("queue drops of e0".into(), 5)],
            ..context()
        };
        assert!(fate(&scheduled, &full).1.ends_with("queue drops of e0 +5"));
        let out = ProbeEvidence {
            out: Some(0),
            ..scheduled.clone()
        };
        assert_eq!(
            fate(&out, &healthy),
            (
                Fate::Unanswered,
                "sent on e0; no reply or error received".into()
            )
        );
        let back = ProbeEvidence {
            back: Some((0, Some(true))),
            ..out.clone()
        };
        let (inbound, words) = fate(&back, &healthy);
        assert!(inbound == Fate::DroppedInbound && words.contains("consistent with a firewall"));
        let filtered = HostContext {
            moved: vec![("TcpExtIPReversePathFilter".into(), 1)],
            ..context()
        };
        assert!(fate(&back, &filtered).1.contains("reverse path filter"));
        let bad = ProbeEvidence {
            back: Some((0, Some(false))),
            ..out.clone()
        };
        assert_eq!(fate(&bad, &healthy).0, Fate::Corrupted);
    }

    #[test]
    fn fragments_of_a_reply_are_judged() {
        let fragments = |ranges: &[(u32, u32)], came| FragmentedReply {
            ifindex: 0,
            came,
            of: 3,
            ranges: ranges.to_vec(),
            length: 3008,
            has_first: true,
        };
        let back = |fragments| ProbeEvidence {
            out: Some(0),
            back: Some((0, None)),
            fragments: Some(fragments),
            ..ProbeEvidence::default()
        };
        let lost = back(fragments(&[(0, 1479), (2960, 3007)], 2));
        assert_eq!(
            fate(&lost, &context()),
            (
                Fate::Unanswered,
                "sent on e0; 2 of 3 fragments of its reply came in on e0 (bytes 0-1479, 2960-3007 of 3008)".into()
            )
        );
        let blind = HostContext {
            ring_drops: 7,
            ..context()
        };
        assert!(fate(&lost, &blind).1.contains("more may have come"));
        let all = back(fragments(&[(0, 3007)], 3));
        let words = fate(&all, &context()).1;
        assert!(words.contains("consistent with a firewall"), "{words}");
        let failed = HostContext {
            moved: vec![("IpReasmFails".into(), 3)],
            ..context()
        };
        let (inbound, words) = fate(&all, &failed);
        assert!(inbound == Fate::DroppedInbound && words.contains("IpReasmFails +3"));
        // A failed reassembly elsewhere explains no whole reply.
        let whole = ProbeEvidence {
            fragments: None,
            ..all
        };
        assert!(!fate(&whole, &failed).1.contains("Reasm"));
    }

    #[test]
    fn own_drops_are_not_blamed_on_the_path() {
        let back = ProbeEvidence {
            out: Some(0),
            back: Some((0, Some(true))),
            ..ProbeEvidence::default()
        };
        let ours = HostContext {
            socket_drops: 7,
            ..context()
        };
        assert_eq!(fate(&back, &ours).0, Fate::Replied);
        let blind = HostContext {
            ring_drops: 7,
            ..context()
        };
        let (unknown, words) = fate(&ProbeEvidence::default(), &blind);
        assert!(
            unknown == Fate::Unanswered && words.contains("is unknown"),
            "{words}"
        );
    }
}
