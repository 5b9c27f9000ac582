//! PURE. Runs whose probes are listed one by one, with a hop limit and a flow each: what a trace sends.
//!
//! The probes of a flow differ in nothing that a router may use to choose among equal ways: addresses, identifier and
//! ICMP checksum are the same, sequence number and cookie are balanced by a word of the payload. An error that answers
//! a probe is reported with its round trip, when both socket and wire have seen it, and with its extensions.

use std::collections::VecDeque;

use super::{EventContext, ReceivedError, Run, State};
use crate::probe::fate::Fate;
use crate::probe::identity::Identity;
use crate::probe::transport::Living;
use crate::wire::extensions;

/// Maximum number of probes of a run that are kept, so that its memory is known: more than a trace of 30 hops with as many
/// flows as eight ways need takes. Those that no longer matter make place for others.
pub const MAX_LISTED: usize = 4096;

/// A probe of the list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListedProbe {
    /// Number by which the caller knows it.
    pub number: u32,
    /// TTL or hop limit.
    pub hop_limit: u8,
    /// Flow.
    pub flow: u16,
}

/// The probes of a run, in the order of sending.
#[derive(Clone, Debug, Default)]
pub struct Probes {
    /// The probes: the one with sequence number n is at n - 1 - `passed`. At most [`MAX_LISTED`].
    pub list: VecDeque<ListedProbe>,
    /// Number of probes before these, which no reply can concern any more.
    pub passed: u32,
    /// Whether more may follow: the run does not end by itself.
    pub is_open: bool,
    /// Whether flows have destination ports of their own, beyond the source ports: of UDP, from the transport's port on.
    pub has_port_per_flow: bool,
    /// The connection along which they go: by TCP, to its port, all of flow 0.
    pub living: Option<Living>,
}

impl Probes {
    /// Forgets the probes before a serial number.
    fn forget_before(&mut self, serial: u64) {
        while u64::from(self.passed) < serial && self.list.pop_front().is_some() {
            self.passed += 1;
        }
    }
}

impl Run {
    /// Returns whether more probes may be added.
    pub(super) fn is_open(&self) -> bool {
        let listed = self.settings.listed.as_ref();
        listed.is_some_and(|listed| listed.is_open)
    }

    /// Appends probes to the list. `false` if they would be too many, or no more may follow.
    pub fn add(&mut self, more: &[ListedProbe], now_ns: u64) -> bool {
        let next = self.next();
        let (base, is_read) = (self.base, self.events.is_empty());
        let Some(listed) = &mut self.settings.listed else {
            return false;
        };
        // Events that wait for their reader name their probe.
        if is_read {
            listed.forget_before(base);
        }
        let before = u64::from(listed.passed) + listed.list.len() as u64;
        let count = u32::try_from(before + more.len() as u64);
        let is_fitting = listed.list.len() + more.len() <= MAX_LISTED;
        let Some(count) = count.ok().filter(|_| listed.is_open && is_fitting) else {
            return false;
        };
        if before == next {
            // The turns that passed without a probe are not caught up with.
            let turn_ns = self.settings.interval_ns.max(self.gap_ns());
            self.schedule_ns = self.schedule_ns.max(now_ns.saturating_sub(next * turn_ns));
        }
        if let Some(listed) = &mut self.settings.listed {
            listed.list.extend(more);
        }
        self.settings.count = Some(count);
        true
    }

    /// Lets the run end when the fate of each probe is known.
    pub fn close(&mut self) {
        if let Some(listed) = &mut self.settings.listed {
            listed.is_open = false;
        }
    }

    /// Returns the connection along which the probes go.
    pub fn living(&self) -> Option<&Living> {
        self.settings.listed.as_ref()?.living.as_ref()
    }

    /// Returns the listed probe with a sequence number.
    pub fn listed(&self, sequence: u32) -> Option<ListedProbe> {
        let listed = self.settings.listed.as_ref()?;
        let at = sequence.checked_sub(1)?.checked_sub(listed.passed)?;
        listed.list.get(at as usize).copied()
    }

    /// Returns hop limit and checksum of the listed probe with a sequence number.
    pub(super) fn special(&self, sequence: u32, identity: &Identity) -> Option<(u8, u16)> {
        let probe = self.listed(sequence)?;
        Some((probe.hop_limit, identity.checksum(self.number, probe.flow)))
    }

    /// Records an error that quotes a listed probe.
    pub(super) fn listed_error(
        &mut self,
        serial: u64,
        received: &ReceivedError<'_>,
        at: &EventContext<'_>,
    ) {
        let (_, sequence) = self.target_and_sequence(serial);
        // A quote that has no cookie must at least have the checksum, which only this service knows.
        let special = self.special(sequence, at.identity);
        let is_v4 = received.quoted.to.is_ipv4();
        let has_cookie = received
            .quoted
            .echo()
            .is_some_and(|echo| echo.token().len() >= crate::probe::identity::TOKEN);
        let checksum = received.quoted.headers.checksum;
        let is_echo = received.quoted.echo().is_some();
        if is_echo && !has_cookie && is_v4 && special.is_none_or(|(_, sent)| sent != checksum) {
            self.forged += 1;
            return;
        }
        let Some(probe) = self.probe(serial) else {
            return;
        };
        let before = match probe.state {
            State::Waiting => None,
            State::Answered if probe.refusal.is_some() => None,
            State::Decided(before) if before.may_change() => Some(before),
            _ => return,
        };
        // As for other runs, what this host says of its neighbors is judged when the time is up. It may be the target.
        if received.is_local && received.from != received.quoted.to {
            return;
        }
        let is_new = probe.state != State::Answered;
        let stamp = at
            .clock
            .monotonic(received.stamp_ns, probe.batch_ns, at.now_ns);
        let from = Some(received.from);
        if !is_new && probe.from != from {
            return;
        }
        let known = probe.refusal.take().map(|known| known.1);
        let extensions = match received.message {
            Some(message) => {
                if probe.reply_socket_ns == 0 {
                    probe.reply_socket_ns = stamp.unwrap_or(at.now_ns);
                    probe.reply_read_ns = at.now_ns;
                }
                extensions::of_error(message, !is_v4)
            }
            None => {
                if let (0, Some(stamp)) = (probe.reply_wire_ns, stamp) {
                    probe.reply_wire_ns = stamp;
                    probe.reply_ifindex = received.ifindex;
                }
                known.unwrap_or_default()
            }
        };
        probe.from = from;
        probe.ttl = received.quoted.headers.error_ttl;
        probe.refusal = Some(Box::new((*received.quoted, extensions)));
        if before.is_some() {
            self.report_refusal(serial, before, at);
        } else if is_new {
            probe.state = State::Answered;
            self.confirm_send(serial);
            self.answered.push_back(serial);
        }
    }

    /// Reports the error that answered a probe. `before`: fate reported earlier.
    pub(super) fn report_refusal(
        &mut self,
        serial: u64,
        before: Option<Fate>,
        at: &EventContext<'_>,
    ) {
        let mut event = self.measured(serial, Fate::Refused, at);
        event.replaces_fate = before;
        let Some(refusal) = self.probe(serial).and_then(|probe| probe.refusal.take()) else {
            return;
        };
        let (quoted, extensions) = *refusal;
        event.error = event.from.map(|from| (from, quoted));
        event.extensions = (!extensions.is_empty()).then(|| Box::new(extensions));
        self.decide(serial, event);
    }
}
