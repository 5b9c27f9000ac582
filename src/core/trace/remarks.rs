//! PURE. What was noticed on the way: each remark says only what was seen.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::report::{Counted, Hop, Node, Remark, Report, Verdict};
use super::{Kind, Sent, Trace};
use crate::text::counted;

/// Difference of the hops there and back from which on a path is told to be asymmetric: routers differ in where they
/// count their own hop.
const ASYMMETRY: u8 = 2;

/// Least number of TTLs for which one router answers that sets the TTL: one that passes packets with a TTL of 0 on makes
/// the next one answer for two.
const SAME: usize = 3;

/// Returns all remarks, those of the whole path first.
pub(super) fn of(trace: &Trace, report: &Report) -> Vec<Remark> {
    let mut all = Vec::new();
    unsent(trace, &mut all);
    // From there on TTLs are no places on the path.
    let is_spread = report
        .hops
        .iter()
        .any(|hop| !trace.spread(hop.hop).is_empty());
    let mixed_up =
        repeated(trace, is_spread, &mut all).or_else(|| raised(trace, is_spread, &mut all));
    if mixed_up.is_none() {
        end(trace, report, &mut all);
    }
    losses(trace, report, &mut all);
    spread(trace, report, &mut all);
    for (hop, node) in nodes(report) {
        refusal(report, hop, node, &mut all);
        extensions(hop, node, &mut all);
    }
    changes(trace, report, &mut all);
    other_addresses(trace, report, &mut all);
    asymmetry(report, mixed_up, &mut all);
    all
}

fn remark(id: &'static str, hop: Option<u8>, text: String) -> Remark {
    Remark { id, hop, text }
}

fn nodes(report: &Report) -> impl Iterator<Item = (&Hop, &Node)> {
    report
        .hops
        .iter()
        .flat_map(|hop| hop.nodes.iter().map(move |node| (hop, node)))
}

/// Probes that did not leave this host, by reason.
fn unsent(trace: &Trace, all: &mut Vec<Remark>) {
    let mut reasons: BTreeMap<String, u32> = BTreeMap::new();
    for sent in &trace.sent {
        if let Some((Kind::Unsent, _, answer)) = &sent.outcome {
            let why = answer.last_seen.clone();
            *reasons
                .entry(why.unwrap_or_else(|| answer.fate.clone()))
                .or_default() += 1;
        }
    }
    for (why, count) in reasons {
        let text = format!("{} did not leave this host: {why}", counted(count, "probe"));
        all.push(remark("not-sent", Some(0), text));
    }
}

/// Where the path ends, if the target does not answer.
fn end(trace: &Trace, report: &Report, all: &mut Vec<Remark>) {
    let has_left = trace
        .sent
        .iter()
        .any(|sent| sent.kind() != Some(Kind::Unsent));
    if report.is_reached || !has_left {
        return;
    }
    let last = report.hops.iter().rev().find(|hop| !hop.nodes.is_empty());
    let refuses = last.is_some_and(|hop| hop.nodes.iter().any(|node| node.error.is_some()));
    if refuses {
        return;
    }
    let target = trace.settings.target;
    let lost = trace.sent.iter().find_map(|sent| match &sent.outcome {
        Some((Kind::Lost, _, answer)) => answer.hop.clone().or_else(|| answer.link.clone()),
        _ => None,
    });
    let text = match last {
        Some(hop) => format!(
            "{target} did not answer; hop {} is the last that did, probes went up to a TTL of {}",
            hop.hop, trace.frontier
        ),
        None => {
            let why = lost.map_or_else(String::new, |why| format!(": {why}"));
            format!("the probes left this host, and nothing answered{why}")
        }
    };
    all.push(remark("path-ends", last.map(|hop| hop.hop), text));
}

/// Addresses that the same flow met again, which only a loop, or a router that does not decrement the TTL as it should,
/// explains. `is_spread`: packets of one flow take several ways, maybe of different lengths. Returns the TTL from which on
/// packets go round or have another TTL.
fn repeated(trace: &Trace, is_spread: bool, all: &mut Vec<Remark>) -> Option<u8> {
    let target = trace.settings.target;
    let mut seen: BTreeMap<IpAddr, Vec<u8>> = BTreeMap::new();
    for hop in trace.settings.first..=trace.frontier {
        let router = trace
            .at(hop)
            .find(|sent| sent.step.flow == 0 && sent.kind() == Some(Kind::Router));
        if let Some(from) = router
            .and_then(Sent::answerer)
            .filter(|from| *from != target)
        {
            seen.entry(from).or_default().push(hop);
        }
    }
    let again: Vec<(IpAddr, Vec<u8>)> = seen
        .into_iter()
        .filter(|(_, hops)| hops.len() > 1)
        .collect();
    let is_loop = again
        .iter()
        .filter(|(_, hops)| hops.windows(2).any(|pair| pair[1] - pair[0] > 1));
    let mut looping: Vec<&(IpAddr, Vec<u8>)> = is_loop.collect();
    looping.sort_by_key(|(_, hops)| hops[0]);
    if let Some((_, hops)) = looping.first() {
        let names: Vec<String> = looping
            .iter()
            .map(|(address, _)| address.to_string())
            .collect();
        let text = format!(
            "packets go round between {}: each answers at several TTLs",
            names.join(", ")
        );
        all.push(remark("loop", Some(hops[0]), text));
        return Some(hops[0]);
    }
    let mut mixed_up = None;
    for (address, hops) in again {
        if is_spread && hops.len() < SAME {
            continue;
        }
        let (first, last) = (hops[0], hops[hops.len() - 1]);
        if hops.len() >= SAME {
            let text = format!(
                "{address} answers for every TTL from {first} to {last}: a router before it sets the TTL of what it \
                 passes on"
            );
            all.push(remark("ttl-changed", Some(first), text));
            mixed_up = Some(first);
            continue;
        }
        let text = format!(
            "{address} answers for hop {first} and hop {last}: a router before it passes packets with a TTL of 0 on, or \
             does not decrement it"
        );
        all.push(remark("ttl-not-decremented", Some(first), text));
    }
    mixed_up
}

/// A TTL that is set on the way: where a router says that it ended, a quote of more than 1; where the target or a
/// refusal answers, a quote of more than was sent, or of the same for different TTLs. Returns where it shows.
fn raised(trace: &Trace, is_spread: bool, all: &mut Vec<Remark>) -> Option<u8> {
    let mut quoted: BTreeMap<(IpAddr, u16), (u8, u8)> = BTreeMap::new();
    let mut probes: Vec<&Sent> = trace.sent.iter().collect();
    probes.sort_by_key(|sent| sent.step.hop_limit);
    for sent in probes {
        let Some((kind, Some(from), answer)) = &sent.outcome else {
            continue;
        };
        let Some(quote) = &answer.quote else {
            continue;
        };
        let (ttl, hop) = (quote.ttl, sent.step.hop_limit);
        let before = *quoted.entry((*from, sent.step.flow)).or_insert((hop, ttl));
        let is_same = before.0 != hop && before.1 == ttl && !is_spread;
        let text = match kind {
            // It gets a packet with a TTL of 1, and may quote it decremented.
            Kind::Router if ttl > 1 => {
                format!(
                    "{from} quotes a TTL of {ttl} where 0 or 1 is left: it was changed on the way"
                )
            }
            Kind::Target | Kind::Refuser if ttl > hop => format!(
                "probes with a TTL of {hop} arrived at {from} with {ttl}: a router before it sets the TTL"
            ),
            Kind::Target | Kind::Refuser if is_same => format!(
                "probes with a TTL of {} and {hop} arrived at {from} with {ttl}: a router before it sets the TTL",
                before.0
            ),
            _ => continue,
        };
        let first = if is_same { before.0 } else { hop };
        all.push(remark("ttl-changed", Some(first), text));
        return Some(first);
    }
    None
}

/// Hops that miss answers, and loss.
fn losses(trace: &Trace, report: &Report, all: &mut Vec<Remark>) {
    let lossy = report.hops.iter().find(|hop| hop.verdict == Verdict::Lossy);
    for hop in &report.hops {
        let lost = hop.counted.sent - hop.counted.answered;
        let missing = format!("{lost} of {}", counted(hop.counted.sent, "probe"));
        let pinged: Vec<String> = hop.nodes.iter().filter_map(pinged).collect();
        let pinged = pinged.concat();
        match hop.verdict {
            Verdict::LimitsAnswers => {
                let [fast, slow] = hop.rates.unwrap_or_default();
                let text = format!(
                    "hop {} limits its answers: {} of {} at once, {} of {} at one a second; nothing is lost there{pinged}",
                    hop.hop, fast.answered, fast.sent, slow.answered, slow.sent
                );
                all.push(remark("limits-answers", Some(hop.hop), text));
            }
            Verdict::MissesAnswers => {
                let text = format!(
                    "hop {} did not answer {missing}, and later hops lose nothing: no packet that goes on is lost there{pinged}",
                    hop.hop
                );
                all.push(remark("misses-answers", Some(hop.hop), text));
            }
            _ => {}
        }
    }
    let Some(hop) = lossy else {
        return;
    };
    let before = report.hops.iter().rev().find(|other| {
        other.hop < hop.hop && matches!(other.verdict, Verdict::Answers | Verdict::LimitsAnswers)
    });
    let lost = hop.counted.sent - hop.counted.answered;
    let later = match report.hops.last() {
        Some(last) if last.hop > hop.hop => {
            let lost = last.counted.sent - last.counted.answered;
            format!(", hop {} {lost} of {}", last.hop, last.counted.sent)
        }
        _ => String::new(),
    };
    let place = match before {
        Some(before) => format!("behind hop {}", before.hop),
        None => "from this host on, there or back".into(),
    };
    let text = format!(
        "packets are lost {place}: hop {} misses {lost} of {}{later}{}",
        hop.hop,
        hop.counted.sent,
        lossy_way(trace, report, hop.hop).unwrap_or_default()
    );
    all.push(remark("loss", Some(hop.hop), text));
}

/// Words on the echo requests to an address itself.
fn pinged(node: &Node) -> Option<String> {
    let Counted { sent, answered } = node.pinged?.counted;
    Some(match answered {
        0 => format!("; {} answers no echo requests", node.address),
        _ => format!(
            "; {} itself answers {answered} of {}",
            node.address,
            counted(sent, "echo request")
        ),
    })
}

/// Hops at which the packets of one flow take several ways.
fn spread(trace: &Trace, report: &Report, all: &mut Vec<Remark>) {
    let mut was_wide = false;
    for hop in &report.hops {
        let addresses = trace.spread(hop.hop);
        // The hops behind show no more than the first.
        if !was_wide && !addresses.is_empty() {
            let names: Vec<String> = addresses.iter().map(IpAddr::to_string).collect();
            let text = format!(
                "packets of one flow are answered by {} at hop {}: a router before it sends packet by packet over \
                 several ways, or the hop has several addresses",
                names.join(", "),
                hop.hop
            );
            all.push(remark("per-packet", Some(hop.hop), text));
        }
        was_wide = hop.nodes.len() > 1;
    }
}

/// Words on the only one of several ways that loses packets, at the hop with several addresses that is next to a lossy
/// one: the flows of this way lose, and those of the others would have shown it with 95 %.
fn lossy_way(trace: &Trace, report: &Report, lossy: u8) -> Option<String> {
    let wide = report
        .hops
        .iter()
        .rev()
        .find(|hop| hop.hop <= lossy && hop.nodes.len() > 1)?;
    if !trace.spread(wide.hop).is_empty() {
        return None;
    }
    let counted = |node: &Node| {
        let behind = trace
            .sent
            .iter()
            .filter(|sent| sent.step.hop_limit >= lossy);
        let own = behind.filter(|sent| node.flows.binary_search(&sent.step.flow).is_ok());
        Counted::of(own)
    };
    let (lossy, clean): (Vec<_>, Vec<_>) = (wide.nodes.iter())
        .map(|node| (node.address, counted(node)))
        .partition(|(_, counted)| counted.answered < counted.sent);
    let [(address, own)] = lossy[..] else {
        return None;
    };
    let others: u32 = clean.iter().map(|(_, counted)| counted.sent).sum();
    let share = f64::from(own.answered) / f64::from(own.sent);
    (share.powi(others as i32) < 0.05).then(|| {
        format!(
            "; of the ways at hop {} only that of {address} loses, {} of {}",
            wide.hop,
            own.sent - own.answered,
            own.sent
        )
    })
}

fn refusal(report: &Report, hop: &Hop, node: &Node, all: &mut Vec<Remark>) {
    if let Some(error) = &node.error {
        // A router sees that the TTL ended before it looks at what it does not let pass.
        let is_here = |other: &&Hop| other.nodes.iter().any(|one| one.address == node.address);
        let hop = report.hops.iter().find(is_here).unwrap_or(hop);
        let mtu = node
            .mtu
            .map_or_else(String::new, |mtu| format!(", MTU {mtu}"));
        let text = format!("{} at hop {} refuses: {error}{mtu}", node.address, hop.hop);
        all.push(remark("refused", Some(hop.hop), text));
    }
}

fn extensions(hop: &Hop, node: &Node, all: &mut Vec<Remark>) {
    if !node.labels.is_empty() {
        let labels: Vec<String> = (node.labels.iter())
            .map(|label| format!("{} (TTL {})", label.label, label.ttl))
            .collect();
        let text = format!(
            "probes arrived at {} with MPLS labels {}",
            node.address,
            labels.join(", ")
        );
        all.push(remark("mpls", Some(hop.hop), text));
    }
    for interface in &node.interfaces {
        let mut words = Vec::new();
        words.extend(interface.name.clone());
        words.extend(interface.index.map(|index| format!("index {index}")));
        words.extend(interface.address.clone());
        words.extend(interface.mtu.map(|mtu| format!("MTU {mtu}")));
        let text = format!(
            "{} names its {} interface: {}",
            node.address,
            interface.role,
            words.join(", ")
        );
        all.push(remark("interface", Some(hop.hop), text));
    }
}

/// What the quotes show to have been changed, each where it shows first.
fn changes(trace: &Trace, report: &Report, all: &mut Vec<Remark>) {
    let sent_tos = trace.settings.tos;
    let mut tos = sent_tos;
    let (mut is_source, mut is_target, mut is_sum) = (false, false, false);
    for (hop, node) in nodes(report) {
        let Some(quote) = &node.quote else {
            continue;
        };
        let from = node.address;
        if quote.tos != tos {
            let (dscp, ecn) = (quote.tos >> 2, quote.tos & 3);
            let text = format!(
                "probes arrived at {from} with DSCP {dscp}, ECN {ecn}, and had DSCP {}, ECN {} before",
                tos >> 2,
                tos & 3
            );
            all.push(remark("tos-changed", Some(hop.hop), text));
            tos = quote.tos;
        }
        if let Some(source) = &quote.source
            && !is_source
        {
            is_source = true;
            let text = format!("{from} quotes the source {source}: translated before it");
            all.push(remark("source-translated", Some(hop.hop), text));
        }
        if let Some(destination) = &quote.destination
            && !is_target
        {
            is_target = true;
            let text = format!("{from} quotes the destination {destination}: translated before it");
            all.push(remark("destination-translated", Some(hop.hop), text));
        }
        if quote.checksum.is_some()
            && quote.source.is_none()
            && quote.destination.is_none()
            && !is_sum
        {
            is_sum = true;
            let text = format!(
                "{from} quotes another checksum than was sent: addresses or ports were translated before it, and back \
                 in the quote"
            );
            all.push(remark("checksum-changed", Some(hop.hop), text));
        }
    }
}

/// Answers that come from another address than the one that is asked, or from one that cannot be there.
fn other_addresses(trace: &Trace, report: &Report, all: &mut Vec<Remark>) {
    let target = trace.settings.target;
    let other = trace.sent.iter().find_map(|sent| match &sent.outcome {
        Some((Kind::Target, Some(from), _)) if *from != target => Some(*from),
        _ => None,
    });
    if let Some(from) = other {
        let text = format!("the answers of {target} come from {from}");
        all.push(remark("different-address", None, text));
    }
    let expired = trace
        .sent
        .iter()
        .find(|sent| sent.kind() == Some(Kind::Router) && sent.answerer() == Some(target));
    if let Some(sent) = expired {
        let hop = sent.step.hop_limit;
        let text = format!(
            "at hop {hop} {target} answers that the TTL ended: it passes packets on, or a router answers with its address"
        );
        all.push(remark("different-address", Some(hop), text));
    }
    for (hop, node) in nodes(report) {
        if let Some(from) = node.pinged.and_then(|pinged| pinged.from) {
            let text = format!(
                "{} at hop {} answers echo requests from {from}",
                node.address, hop.hop
            );
            all.push(remark("different-address", Some(hop.hop), text));
        }
    }
}

/// The first hop from which answers take another number of hops than probes to it, of those whose place is known.
fn asymmetry(report: &Report, mixed_up: Option<u8>, all: &mut Vec<Remark>) {
    let known = nodes(report).filter(|(hop, _)| mixed_up.is_none_or(|from| hop.hop < from));
    let found = known.into_iter().find_map(|(hop, node)| {
        let back = node.return_hops?;
        (back.abs_diff(hop.hop) >= ASYMMETRY).then_some((hop, node, back))
    });
    if let Some((hop, node, back)) = found {
        let text = format!(
            "answers of {} have a TTL of {}, as after {}, where probes take {}: the way back is another one, or starts \
             with an unusual TTL",
            node.address,
            node.ttl.unwrap_or_default(),
            counted(u32::from(back), "hop"),
            hop.hop
        );
        all.push(remark("asymmetric", Some(hop.hop), text));
    }
}
