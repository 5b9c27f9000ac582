//! PURE. Schedule of a run: when the next probe is due, and when sending pauses.

use super::{
    DECISION_DELAY_NS, FLOOD_NS, LINGER_NS, MAX_SCHEDULE_LAG_NS, MAX_UNRESOLVED_PER_HOP, Outgoing,
    Probe, Run, STUCK_AFTER_NS, State, Target,
};
use crate::probe::fate::Fate;
use crate::probe::identity::Identity;

/// Number of stuck probes from which they are checked again at intervals, since each is looked at: thousands
/// may be where the kernel drops all packets of a run without a word.
const MANY_STUCK: usize = 1024;
const RECHECK_NS: u64 = 10_000_000;

impl Run {
    /// Returns whether all probes have been sent.
    pub(super) fn is_sent(&self, now_ns: u64) -> bool {
        let counted = self
            .settings
            .count
            .is_some_and(|count| self.next() >= u64::from(count) * self.target_count());
        let over = self
            .settings
            .deadline_ns
            .is_some_and(|deadline| now_ns.saturating_sub(self.started_ns) >= deadline);
        self.stopped || counted || over
    }

    /// Interval between two probes of different targets, in nanoseconds.
    pub(super) fn gap_ns(&self) -> u64 {
        let least = 1_000_000_000 / self.settings.rate.max(1);
        match self.settings.spread {
            true => least.max(self.settings.interval_ns / self.target_count().max(1)),
            false => least,
        }
    }

    /// Returns the monotonic time at which the next probe is due; `None` if all were sent.
    pub fn due_ns(&self, now_ns: u64) -> Option<u64> {
        if self.is_sent(now_ns) {
            return None;
        }
        if self.settings.flood && self.target_count() == 1 {
            let floor = self.last_sent_ns + self.gap_ns();
            let due = if self.flood_ready {
                floor
            } else {
                self.last_sent_ns + FLOOD_NS
            };
            return Some(due.max(self.started_ns));
        }
        let (round, at) = (
            self.next() / self.target_count(),
            self.next() % self.target_count(),
        );
        let whole = self.target_count() * self.gap_ns();
        let round_ns = if self.settings.flood {
            whole
        } else {
            self.settings.interval_ns.max(whole)
        };
        Some(self.schedule_ns + round * round_ns + at * self.gap_ns())
    }

    /// Returns the number of probes that are stuck in this host.
    pub fn stuck_count(&mut self, now_ns: u64) -> usize {
        // Each probe is checked once when it is old enough; stuck ones are checked again.
        self.first_unaged_serial = self.first_unaged_serial.max(self.base);
        while let Some(probe) = self
            .probes
            .get((self.first_unaged_serial - self.base) as usize)
            && probe.sent_ns + STUCK_AFTER_NS <= now_ns
        {
            if probe.is_stuck(now_ns) {
                self.unsent_on_wire.push(self.first_unaged_serial);
            }
            self.first_unaged_serial += 1;
        }
        if self.unsent_on_wire.len() > MANY_STUCK && now_ns < self.stuck_checked_ns + RECHECK_NS {
            return self.unsent_on_wire.len();
        }
        self.stuck_checked_ns = now_ns;
        let (base, probes) = (self.base, &self.probes);
        self.unsent_on_wire.retain(|serial| {
            let at = serial.checked_sub(base);
            at.and_then(|at| probes.get(at as usize))
                .is_some_and(|probe| probe.is_stuck(now_ns))
        });
        self.unsent_on_wire.len()
    }

    /// Returns the target of the next probe.
    pub fn next_target(&self) -> Target {
        self.targets[self.target_and_sequence(self.next()).0]
    }

    /// Creates the next probe, which must be due.
    pub fn take_next(&mut self, identity: &Identity, now_ns: u64) -> Outgoing {
        if let Some(due) = self.due_ns(now_ns)
            && now_ns > due + MAX_SCHEDULE_LAG_NS
        {
            self.schedule_ns += now_ns - due;
        }
        let serial = self.next();
        let (at, sequence) = self.target_and_sequence(serial);
        self.flood_ready = false;
        self.last_sent_ns = now_ns;
        self.probes.push_back(Probe {
            state: State::Waiting,
            sent_ns: now_ns,
            batch_ns: now_ns,
            call_ns: 0,
            scheduled_ns: 0,
            tx_software_ns: 0,
            request_wire_ns: 0,
            request_ifindex: 0,
            is_fragmented: false,
            reply_wire_ns: 0,
            reply_ifindex: 0,
            reply_checksum_ok: None,
            reply_socket_ns: 0,
            reply_read_ns: 0,
            ttl: 0,
            altered: false,
            is_withheld: false,
            is_unconfirmed: true,
            is_reset: false,
            ip_id: None,
            from: None,
            refusal: None,
        });
        self.unconfirmed_sends += 1;
        let target = self.targets[at];
        let token = self.token_to(target.address, sequence, identity);
        self.index_segment(serial, &token);
        Outgoing {
            serial,
            target,
            sequence: sequence as u16,
            token,
            special: self.special(sequence, identity),
            flow: self.flow(sequence),
        }
    }

    /// Returns whether more probes would exceed the queues of unresolved neighbors. Applies until
    /// the wire has shown a probe of this run: then its next hop is resolved.
    pub fn must_wait_for_neighbors(&self, unanswered_count: impl FnOnce() -> usize) -> bool {
        self.unconfirmed_sends >= MAX_UNRESOLVED_PER_HOP
            && self.unconfirmed_sends as u64 == self.next()
            && self.unconfirmed_sends >= MAX_UNRESOLVED_PER_HOP * unanswered_count().max(1)
    }

    /// Records that a probe left, or that it never will.
    pub(super) fn confirm_send(&mut self, serial: u64) {
        if let Some(probe) = self.probe(serial)
            && std::mem::take(&mut probe.is_unconfirmed)
        {
            self.unconfirmed_sends -= 1;
        }
    }

    /// Returns the newest probe to the schedule because the kernel had no space; it is sent later.
    pub fn return_to_schedule(&mut self) {
        self.unconfirmed_sends -= 1;
        self.probes.pop_back();
        self.flood_ready = true;
    }

    /// Sets the send time of a probe, estimated if the call sends a batch, and the begin and duration of the
    /// call.
    pub fn mark_sending(&mut self, serial: u64, sent_ns: u64, (begin_ns, call_ns): (u64, u64)) {
        if let Some(probe) = self.probe(serial) {
            (probe.sent_ns, probe.batch_ns) = (sent_ns, begin_ns);
            probe.call_ns = u32::try_from(call_ns).unwrap_or(u32::MAX);
        }
    }

    /// Takes the time at which a probe left as that from which the next one of its call was sent: the kernel sends
    /// them one by one. Not if it left after the call, since then it had waited in a queue.
    pub(super) fn follow(&mut self, serial: u64, left_ns: u64) {
        let Some(call) = (self.probe(serial)).map(|probe| (probe.batch_ns, probe.call_ns)) else {
            return;
        };
        if let Some(next) = self.probe(serial + 1)
            && (next.batch_ns, next.call_ns) == call
            && (call.0..=call.0 + u64::from(call.1)).contains(&left_ns)
        {
            next.sent_ns = left_ns;
        }
    }

    /// Returns whether everything is reported. A run with lost probes waits a little for late
    /// replies.
    pub fn is_over(&self, now_ns: u64) -> bool {
        if self.stopped {
            return self.answered.is_empty();
        }
        let is_open = self.is_open();
        if is_open
            || !self.is_sent(now_ns)
            || self.undecided < self.next()
            || !self.answered.is_empty()
        {
            return false;
        }
        let unanswered = self.probes.iter().rev().take(1024).any(|probe| {
            matches!(
                probe.state,
                State::Decided(Fate::Unanswered | Fate::DroppedInbound)
            ) && now_ns
                < probe.sent_ns
                    + self.settings.timeout_ns
                    + DECISION_DELAY_NS
                    + self.settings.timeout_ns.min(LINGER_NS)
        });
        !unanswered
    }

    /// Returns the next monotonic time at which there is work other than sending.
    pub fn next_deadline_ns(&self, now_ns: u64) -> Option<u64> {
        let overdue = self
            .probes
            .get(self.undecided.saturating_sub(self.base) as usize)
            .map(|probe| probe.sent_ns + self.settings.timeout_ns + DECISION_DELAY_NS);
        let complete = self.answered.front().and_then(|serial| {
            let probe = self.probes.get(serial.saturating_sub(self.base) as usize)?;
            Some(probe.heard_ns() + DECISION_DELAY_NS)
        });
        let is_ending = self.is_sent(now_ns) && !self.is_open();
        let linger =
            (is_ending && overdue.is_none() && complete.is_none()).then_some(now_ns + 20_000_000);
        [overdue, complete, linger].into_iter().flatten().min()
    }
}

#[cfg(test)]
mod tests {
    use super::super::{EventContext, MAX_STUCK_PROBES, STUCK_FOR_NS, Settings};
    use super::*;
    use crate::probe::fate::HostContext;
    use crate::probe::{Clock, ResolutionTracker};
    use std::net::Ipv4Addr;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn a_probe_of_a_call_is_sent_when_the_one_before_has_left() {
        let target = |last: u32| Target {
            address: Ipv4Addr::from(0x0a00_0000 + last).into(),
            scope: 0,
            is_group: false,
        };
        let settings = Settings::of_test();
        let mut run = Run::new(1, 7, settings, (1..=4).map(target).collect(), 0);
        let identity = Identity::new(1);
        for serial in 0..4 {
            run.take_next(&identity, 1000);
            // The last one has a call of its own.
            let call = if serial < 3 { (1000, 900) } else { (2000, 300) };
            run.mark_sending(serial, call.0 + 300 * (serial % 3), call);
        }
        run.follow(0, 1050);
        // Waited in a queue.
        run.follow(1, 1950);
        run.follow(2, 1700);
        let sent = |serial| run.probes[serial as usize].sent_ns;
        assert_eq!([0, 1, 2, 3].map(sent), [1000, 1050, 1600, 2000]);
    }

    #[test]
    fn withheld_probes_have_a_fate_and_are_not_stuck() {
        let target = |last: u32| Target {
            address: Ipv4Addr::from(0x0a00_0000 + last).into(),
            scope: 0,
            is_group: false,
        };
        let settings = Settings {
            count: Some(1),
            packed: true,
            ..Settings::of_test()
        };
        let sent = MAX_STUCK_PROBES as u32;
        let mut run = Run::new(1, 7, settings, (1..=sent + 2).map(target).collect(), 0);
        let identity = Identity::new(1);
        for _ in 0..sent {
            run.take_next(&identity, 1);
        }
        assert_eq!(run.stuck_count(1), 0, "they are young");
        let now_ns = STUCK_AFTER_NS + 1;
        assert_eq!(run.stuck_count(now_ns), MAX_STUCK_PROBES);

        let clock = Clock::new(1_000 * SECOND, 0);
        let at = EventContext {
            now_ns,
            clock: &clock,
            identity: &identity,
            resolutions: &ResolutionTracker::default(),
        };
        let mut around = HostContext {
            interface: "e0".into(),
            next_hop: Some(Ipv4Addr::new(192, 0, 2, 1).into()),
            asked: 5,
            ..HostContext::default()
        };
        assert_eq!(run.next_target(), target(sent + 1));
        run.withhold(&around, &at);
        around.link_problem = Some("has no carrier");
        run.withhold(&around, &at);
        assert!(run.due_ns(now_ns).is_none(), "none is left");

        let words = |event: super::super::Event| (event.fate, event.last_seen.unwrap());
        let events: Vec<_> = run.events.drain(..).map(words).collect();
        let why = "not sent, because many earlier probes have not been seen on the wire";
        let unresolved = format!("192.0.2.1 does not answer ARP on e0, asked 5 times; {why}");
        assert_eq!(events[0], (Fate::Unresolved, unresolved));
        let no_carrier = format!("e0 has no carrier; {why}");
        assert_eq!(events[1], (Fate::NotSent, no_carrier));
        let (entries, _) = run.take_packed(9);
        assert_eq!(entries.len(), 2);

        let later_ns = now_ns + SECOND;
        assert_eq!(run.stuck_count(later_ns), MAX_STUCK_PROBES);
        assert_eq!(run.stuck_count(1 + STUCK_FOR_NS), 0, "they are gone");
    }
}
