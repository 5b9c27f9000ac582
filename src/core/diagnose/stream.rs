//! PURE. Failure modes that show in sequence numbers: loss on the path, and sources that collide.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::case::{Case, SECOND_NS, list};
use super::{Certainty, FailureMode, FindingDraft};
use crate::multicast::{Key, Stream, Streams};
use crate::text::counted;

/// Streams of the group received during the window where it is joined (in a file: anywhere).
fn streams<'a>(case: &Case<'a>, of: &'a Streams) -> Vec<(&'a Key, &'a Stream)> {
    of.sorted()
        .into_iter()
        .filter(|(key, stream)| {
            key.group == case.group
                && (!stream.outbound || case.host.is_none())
                && case
                    .evidence
                    .subject
                    .port
                    .is_none_or(|port| key.port == port)
                && case
                    .evidence
                    .subject
                    .source
                    .is_none_or(|source| key.source == source)
                && (case.received.contains_key(&key.ifindex) || case.host.is_none())
        })
        .collect()
}

/// Sequence numbers of a stream: kind, packets, lost, and lost after the end of the first gap (a
/// loss at the beginning has nothing after it).
fn loss(stream: &Stream) -> Option<(&'static str, u64, u64)> {
    if let Some(test) = &stream.test {
        return Some(("netsonde's own sequence numbers", test.packets, test.lost()));
    }
    if let Some(ts) = &stream.ts
        && stream.rtp.is_none()
    {
        return Some(("MPEG-TS", ts.packets, ts.lost));
    }
    let rtp = stream.rtp.as_ref()?;
    Some(("RTP", rtp.numbers.packets, rtp.lost()))
}

pub static TWO_SENDERS: FailureMode = FailureMode {
    id: "two-senders",
    title: "two sources send different streams to the same group and port",
    symptoms: "Decoders report continuous errors, although no packet is lost.",
    cause: "A spare sender runs alongside the main one, a test was left running, or a group was \
        assigned twice.",
    proof: "MPEG transport streams (alone or in RTP) from several addresses or ports to the same \
        group and port at the same time.",
    fix: "Give one of them another group, or join for one source only (source-specific).",
    implies: &["loss-on-wire"],
    rule: |case| {
        let mut by: BTreeMap<(u32, u16), BTreeSet<(IpAddr, u16)>> = BTreeMap::new();
        for (key, stream) in streams(case, &case.evidence.wire.recent) {
            // Several speakers in a conference are not a collision; two video streams are.
            let picture = |rtp: &crate::multicast::Rtp| rtp.payload_type == 33;
            if !case.accepts(key.ifindex, key.source) {
                continue;
            }
            let numbered = stream.ts.is_some() || stream.rtp.as_deref().is_some_and(picture);
            if numbered && stream.packets >= 3 {
                by.entry((key.ifindex, key.port))
                    .or_default()
                    .insert((key.source, key.source_port));
            }
        }
        let measured = case.evidence.measured.iter();
        for one in measured.filter(|one| one.packets >= 3 && one.kind == "MPEG-TS") {
            let key = &one.key;
            if !case.accepts(key.ifindex, key.source) {
                continue;
            }
            by.entry((key.ifindex, key.port))
                .or_default()
                .insert((key.source, key.source_port));
        }
        let ((ifindex, port), senders) = by.into_iter().find(|(_, senders)| senders.len() > 1)?;
        let who = list(
            senders
                .iter()
                .map(|(source, port)| std::net::SocketAddr::new(*source, *port)),
        );
        Some(
            FindingDraft::fault(
                Certainty::Proved,
                format!(
                    "{} send separate streams to {} port {port} on {}: {who}: the apparent \
                        loss is a collision",
                    counted(senders.len(), "source"),
                    case.group,
                    case.name(ifindex)
                ),
            )
            .fix("give one of them another group, or join for one source only")
            .with_evidence("wire", format!("numbered streams from {who}")),
        )
    },
};

/// Number of missing packets if all are from the beginning of the stream. Only netsonde's own
/// sequence numbers begin at a known value, and only if the record began before the stream. This host
/// must have been a member before the source began, or it joined a running stream.
fn only_at_start(case: &Case<'_>, ifindex: u32, stream: &Stream) -> Option<u64> {
    let test = stream.test.as_ref()?;
    let (first, last) = test.range()?;
    let missing = first + test.lost();
    let begins = stream.first_ns > case.evidence.data_since_ns + SECOND_NS;
    let settled = test
        .last_gap
        .is_none_or(|gap| (gap - first) * 2 < last - first);
    if case.host.is_some() && case.evidence.subject.joined_here {
        return None;
    }
    // The source's first packet, by the pace of those that arrived.
    let pace_ns = stream.last_ns.saturating_sub(stream.first_ns) / (last - first).max(1);
    let source_began_ns = stream
        .first_ns
        .saturating_sub(first.saturating_mul(pace_ns));
    let was_member = case
        .member_since(ifindex)
        .is_none_or(|since| since <= source_began_ns);
    (missing > 0 && begins && settled && was_member && last - first >= 10).then_some(missing)
}

pub static FIRST_PACKETS_LOST: FailureMode = FailureMode {
    id: "first-packets-lost",
    title: "only the first packets of the stream are missing",
    symptoms: "The first packets of each new stream are lost, later ones are not.",
    cause: "Routers and switches build the forwarding state when a stream begins; Linux queues \
        only a few packets until its route exists.",
    proof: "Packets with the first sequence numbers are missing, and none later.",
    fix: "Nothing: this is normal. Applications that need the first packets should send them \
        again, or wait.",
    implies: &["loss-on-wire"],
    rule: |case| {
        if case.evidence.wire.is_sampled {
            return None;
        }
        for (key, stream) in streams(case, &case.evidence.wire.trackers.streams) {
            let Some(missing) = only_at_start(case, key.ifindex, stream) else {
                continue;
            };
            return Some(
                FindingDraft::note(
                    Certainty::Proved,
                    format!(
                        "the first packets of {} from {} are missing ({missing}), and none since: \
                            normal when a router sets up a new stream",
                        case.group, key.source
                    ),
                )
                .fix("nothing to do; send the first packets twice if they are needed")
                .with_evidence(
                    "wire",
                    format!("{} since without loss", counted(stream.packets, "packet")),
                ),
            );
        }
        None
    },
};

pub static LOSS_ON_WIRE: FailureMode = FailureMode {
    id: "loss-on-wire",
    title: "packets are lost before they reach this host",
    symptoms: "Gaps in picture or sound; decoders report errors.",
    cause: "A full queue or a bad cable on the path, a radio link, a sender that sends in bursts.",
    proof: "The sequence numbers of the stream (RTP, MPEG-TS, netsonde's own) already have gaps on \
        this host's wire.",
    fix: "Check device by device towards the source: the loss is between the last device with loss \
        and the first without.",
    implies: &[],
    rule: |case| {
        // Packets dropped by the rings are missing in the record, but were on the wire.
        if case.host.is_some_and(|host| host.ring_drops > 0) {
            return None;
        }
        // Packets evicted from the record while it was read are missing in it as well.
        let certainty = if case.evidence.data_since_ns > case.evidence.window.0 {
            Certainty::Consistent
        } else {
            Certainty::Proved
        };
        let measured = case
            .evidence
            .measured
            .iter()
            .filter(|one| case.received.contains_key(&one.key.ifindex))
            .map(|one| (&one.key, (one.kind, one.packets, one.lost)));
        let numbered = if case.evidence.is_sampled {
            vec![]
        } else {
            streams(case, &case.evidence.wire.recent)
        };
        let numbered = numbered
            .into_iter()
            .filter_map(|(key, stream)| Some((key, loss(stream)?)));
        for (key, (kind, packets, lost)) in numbered.chain(measured) {
            if lost == 0 {
                continue;
            }
            let percent = lost as f64 * 100.0 / (lost + packets) as f64;
            return Some(
                FindingDraft::fault(
                    certainty,
                    format!(
                        "{lost} of {} ({percent:.2} %) of {} from {} are already missing \
                            on {}: they were lost before this host",
                        counted(lost + packets, "packet"),
                        case.group,
                        key.source,
                        case.name(key.ifindex)
                    ),
                )
                .fix(format!(
                    "check device by device towards {}: the loss is between the last device with \
                        loss and the first without",
                    key.source
                ))
                .with_evidence(
                    "wire",
                    format!("{kind}: {packets} received, {lost} missing"),
                ),
            );
        }
        None
    },
};
