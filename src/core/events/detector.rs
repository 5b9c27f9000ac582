//! PURE. All that is watched, and what of it is told.

use std::net::IpAddr;

use super::limit::Limit;
use super::{Event, Kind, duration, links, multicast, neighbors, service};
use crate::neighbors::News;
use crate::probe::run;

/// Probes that show a loss are looked for from this long before it.
const PROBES_NS: u64 = 3_000_000_000;

/// Everything that is watched.
#[derive(Debug, Default)]
pub struct Detector {
    /// Links and addresses.
    pub links: links::Links,
    /// Queriers.
    pub queriers: multicast::Queriers,
    /// Streams.
    pub streams: multicast::Streams,
    /// Sniffers.
    pub sniffers: service::Sniffers,
    /// Limits.
    pub limits: service::Limits,
    /// Clocks.
    pub clocks: service::ClockMonitor,
    /// What has happened and was not taken yet.
    pub pending: Vec<Event>,
    limit: Limit,
}

/// Probes to a target that are lost, or no longer.
#[derive(Clone, Debug, PartialEq)]
pub struct ProbeLoss {
    /// The target.
    pub target: IpAddr,
    /// What the run has to say.
    pub loss: run::Loss,
}

/// A gap of the record.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RecordGap<'a> {
    /// As status calls it.
    pub kind: &'a str,
    /// Of what, if of one thing.
    pub subject: &'a str,
    /// From when.
    pub from_ns: u64,
    /// Until when.
    pub to_ns: u64,
    /// Packets.
    pub count: u64,
}

impl Detector {
    /// Events that were not told one by one, ever.
    pub fn suppressed(&self) -> u64 {
        self.limit.suppressed
    }

    /// Something is new on a link.
    pub fn on_neighbor_event(&mut self, interface: &str, time_ns: u64, news: &News) {
        self.pending
            .push(neighbors::event(interface, time_ns, news));
    }

    /// A probing run loses, or does not any more.
    pub fn on_probe_loss(&mut self, loss: &ProbeLoss) {
        let ProbeLoss { target, loss } = loss;
        self.pending.push(match loss {
            run::Loss::Begun {
                since_ns,
                at_ns,
                fate,
                last_seen,
                ..
            } => Event::new(Kind::LossBegun, *at_ns, "", target)
                .with_text(format!(
                    "{} probes in a row to {target} {}: {last_seen}",
                    run::MISSES_TOLD,
                    fate.name().replace('_', " ")
                ))
                .with_packet_filter(
                    format!("host {target} or arp or icmp6"),
                    at_ns.saturating_sub(*since_ns) + PROBES_NS,
                    PROBES_NS,
                ),
            run::Loss::Ended {
                since_ns,
                at_ns,
                misses,
                ..
            } => Event::new(Kind::LossEnded, *at_ns, "", target)
                .with_text(format!(
                    "{target} answers again, after {misses} probes within {}",
                    duration(at_ns.saturating_sub(*since_ns))
                ))
                .with_packet_filter(
                    format!("host {target} or arp or icmp6"),
                    PROBES_NS,
                    PROBES_NS,
                ),
        });
    }

    /// A gap was declared. Interfaces that are down or gone are told as that.
    pub fn on_gap(&mut self, gap: RecordGap<'_>) {
        let lasted = duration(gap.to_ns.saturating_sub(gap.from_ns));
        let of = match gap.subject {
            "" => String::new(),
            subject => format!(" ({subject})"),
        };
        let event = |kind, text: String| Event::new(kind, gap.to_ns, "", gap.kind).with_text(text);
        self.pending.push(match gap.kind {
            "interface_down" | "interface_gone" => return,
            "engine_restart" if gap.count == 0 => event(
                Kind::EngineRestart,
                "the engine ended and the next one took over: rings and record were kept".into(),
            ),
            "recorder_reset" => event(
                Kind::RecorderGap,
                "an older record could not be gone on with, and was given up".into(),
            ),
            kind => event(
                Kind::RecorderGap,
                format!(
                    "{} packets within {lasted} are not in the record: {}{of}",
                    gap.count,
                    kind.replace('_', " ")
                ),
            ),
        });
    }

    /// What is to be told, oldest first.
    pub fn drain(&mut self, now_ns: u64) -> Vec<Event> {
        let mut pending = std::mem::take(&mut self.pending);
        pending.retain(|event| self.limit.admits(event));
        pending.extend(self.limit.expired(now_ns));
        pending.sort_by_key(|event| event.time_ns);
        pending
    }
}
