//! PURE. Event detection: collects what the parts of this module detect, and applies the rate limit.

use std::net::IpAddr;

use super::limit::RateLimit;
use super::{Event, Kind, duration, links, multicast, neighbors, service};
use crate::neighbors::NeighborEvent;
use crate::probe::run;
use crate::text::counted;

/// Margin around an event of a probe run in which its probes are found.
const PROBE_MARGIN_NS: u64 = 3_000_000_000;

/// State of everything that is observed for events.
#[derive(Debug, Default)]
pub struct Detector {
    /// Links and this host's addresses.
    pub links: links::Links,
    /// IGMP and MLD queriers.
    pub queriers: multicast::Queriers,
    /// Multicast streams.
    pub streams: multicast::Streams,
    /// Packet sockets of other programs.
    pub sniffers: service::Sniffers,
    /// Limits of the service.
    pub limits: service::Limits,
    /// The machine's clocks.
    pub clocks: service::ClockMonitor,
    /// Detected events that [`drain`](Detector::drain) has not returned yet.
    pub pending: Vec<Event>,
    limit: RateLimit,
}

/// Begin or end of a loss of probes to one target.
#[derive(Clone, Debug, PartialEq)]
pub struct ProbeLoss {
    /// Address of the target.
    pub target: IpAddr,
    /// Report of the probe run.
    pub loss: run::Loss,
}

/// A gap of the record, as `status` reports it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RecordGap<'a> {
    /// Kind of the gap, as `status` names it.
    pub kind: &'a str,
    /// Interface or ring that it concerns; empty if it concerns no single one.
    pub subject: &'a str,
    /// Start, in nanoseconds since 1970.
    pub from_ns: u64,
    /// End, in nanoseconds since 1970.
    pub to_ns: u64,
    /// Packets that are missing.
    pub count: u64,
}

impl Detector {
    /// Number of events that the rate limit suppressed since the start.
    pub fn suppressed(&self) -> u64 {
        self.limit.suppressed
    }

    /// Adds an event for a change in the neighbor table.
    pub fn on_neighbor_event(&mut self, interface: &str, time_ns: u64, news: &NeighborEvent) {
        self.pending
            .push(neighbors::event(interface, time_ns, news));
    }

    /// Adds an event for the begin or end of a loss of probes.
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
                    "{} consecutive probes to {target} {}: {last_seen}",
                    run::UNRESPONSIVE_AFTER,
                    fate.name().replace('_', " ")
                ))
                .with_packet_filter(
                    format!("host {target} or arp or icmp6"),
                    at_ns.saturating_sub(*since_ns) + PROBE_MARGIN_NS,
                    PROBE_MARGIN_NS,
                ),
            run::Loss::Ended {
                since_ns,
                at_ns,
                misses,
                ..
            } => Event::new(Kind::LossEnded, *at_ns, "", target)
                .with_text(format!(
                    "{target} answers again, after {misses} in {}",
                    duration(at_ns.saturating_sub(*since_ns)),
                    misses = counted(misses, "failed probe")
                ))
                .with_packet_filter(
                    format!("host {target} or arp or icmp6"),
                    PROBE_MARGIN_NS,
                    PROBE_MARGIN_NS,
                ),
        });
    }

    /// Adds an event for a declared gap. Interfaces that are down or gone have link events instead.
    pub fn on_gap(&mut self, gap: RecordGap<'_>) {
        let lasted = duration(gap.to_ns.saturating_sub(gap.from_ns));
        let subject = match gap.subject {
            "" => String::new(),
            subject => format!(" ({subject})"),
        };
        let event = |kind, text: String| Event::new(kind, gap.to_ns, "", gap.kind).with_text(text);
        self.pending.push(match gap.kind {
            "interface_down" | "interface_gone" => return,
            "engine_restart" if gap.count == 0 => event(
                Kind::EngineRestart,
                "the engine ended and a new one took over: rings and record were kept".into(),
            ),
            "recorder_reset" => event(
                Kind::RecorderGap,
                "previous record discarded: incompatible layout or sizes".into(),
            ),
            kind => event(
                Kind::RecorderGap,
                format!(
                    "{} in {lasted} not recorded: {}{subject}",
                    counted(gap.count, "packet"),
                    kind.replace('_', " ")
                ),
            ),
        });
    }

    /// Returns the pending events that the rate limit admits, oldest first.
    pub fn drain(&mut self, now_ns: u64) -> Vec<Event> {
        let mut pending = std::mem::take(&mut self.pending);
        pending.retain(|event| self.limit.admits(event));
        pending.extend(self.limit.expired(now_ns));
        pending.sort_by_key(|event| event.time_ns);
        pending
    }
}
