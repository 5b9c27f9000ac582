//! PURE. Decisions of a run: the fate of each probe, its event and its statistics.

use super::{
    DECISION_DELAY_NS, Event, EventContext, KEPT_NS, MAX_KEPT_PROBES, MAX_LOSSES,
    MAX_TARGETS_WITH_WINDOWS, Probe, Run, Settings, State, Target, Way,
};
use crate::probe::Clock;
use crate::probe::fate::{self, Fate, HostContext, ProbeEvidence, Verdict};
use crate::probe::fragments::{FragmentTracker, FragmentedReply};
use crate::probe::identity::{self, HEADER};
use crate::probe::sight::Echo;
use crate::probe::transport::Transport;

impl Way {
    fn of(around: &HostContext) -> Way {
        Way {
            interface: around.interface.clone(),
            next_hop: around.next_hop,
            link_problem: around.link_problem,
            hop_problem: (around.hop_remark.as_ref())
                .filter(|remark| remark.is_fault)
                .map(|remark| remark.words.clone()),
        }
    }
}

impl Run {
    /// Decides a probe that the kernel refused to send, for a known cause.
    pub fn not_sent(&mut self, serial: u64, errno: i32, cause: &str, clock: &Clock) {
        let (name, _) = fate::describe_errno(errno);
        self.flood_ready = false;
        let verdict = Verdict {
            fate: Fate::NotSent,
            last_seen: format!("{name}: {cause}"),
        };
        let mut event = self.event(serial, verdict.fate, clock);
        event.errno = Some(errno);
        event.last_seen = Some(verdict.last_seen);
        self.decide(serial, event);
    }

    /// Takes the next probe, which must be due, and decides it without sending it. `around`: the state of
    /// this host that keeps probes from leaving.
    pub fn withhold(&mut self, around: &HostContext, at: &EventContext<'_>) {
        let serial = self.take_next(at.identity, at.now_ns).serial;
        if let Some(probe) = self.probe(serial) {
            probe.is_withheld = true;
        }
        let verdict = fate::withheld(around);
        let mut event = self.event(serial, verdict.fate, at.clock);
        event.last_seen = Some(verdict.last_seen);
        event.way = Some(Way::of(around));
        self.decide(serial, event);
    }

    /// Decides a late probe. `before`: fate reported earlier.
    pub(super) fn late(&mut self, serial: u64, before: Option<Fate>, at: &EventContext<'_>) {
        let mut event = self.measured(serial, Fate::Late, at);
        event.replaces_fate = before;
        self.decide(serial, event);
    }

    /// Returns up to `most` probes whose time is up and whose fate depends on the state of the
    /// host, to be passed to [`Run::judge`]: serial, target and monotonic send time.
    pub fn overdue(&mut self, at: &EventContext<'_>, most: usize) -> Vec<(u64, Target, u64)> {
        let mut overdue = Vec::new();
        while self.undecided < self.next() && overdue.len() < most {
            let serial = self.undecided;
            let timeout_ns = self.settings.timeout_ns;
            let Some(probe) = self.probe(serial) else {
                self.undecided = self.base;
                continue;
            };
            if matches!(probe.state, State::Decided(_)) {
                self.undecided += 1;
                continue;
            }
            if at.now_ns < probe.sent_ns + timeout_ns + DECISION_DELAY_NS {
                break;
            }
            if probe.state == State::Waiting {
                let sent_ns = probe.sent_ns;
                let (place, _) = self.target_and_sequence(serial);
                overdue.push((serial, self.targets[place], sent_ns));
            } else if at.now_ns < probe.heard_ns() + DECISION_DELAY_NS {
                break;
            }
            self.undecided += 1;
        }
        overdue
    }

    /// Returns the evidence about a probe so far.
    pub fn evidence(
        &self,
        serial: u64,
        fragments: &mut FragmentTracker,
        at: &EventContext<'_>,
    ) -> ProbeEvidence {
        let Some(probe) = self.probes.get((serial - self.base) as usize) else {
            return ProbeEvidence::default();
        };
        let target = self.targets[self.target_and_sequence(serial).0].address;
        ProbeEvidence {
            answered_by: probe.from.filter(|from| *from != target),
            is_fragmented: probe.is_fragmented,
            is_tcp: matches!(self.settings.transport, Transport::Tcp { .. }),
            fragments: match self.settings.transport {
                Transport::Echo => self.fragments(serial, probe, fragments, at),
                _ => None,
            },
            stamped: self.settings.stamped,
            scheduled: probe.scheduled_ns != 0,
            handed: probe.tx_software_ns != 0,
            out: (probe.request_wire_ns != 0).then_some(probe.request_ifindex),
            back: (probe.reply_wire_ns != 0)
                .then_some((probe.reply_ifindex, probe.reply_checksum_ok)),
        }
    }

    /// Returns the fragments of a probe's reply, if it came in fragments.
    fn fragments(
        &self,
        serial: u64,
        probe: &Probe,
        fragments: &mut FragmentTracker,
        at: &EventContext<'_>,
    ) -> Option<FragmentedReply> {
        let (place, sequence) = self.target_and_sequence(serial);
        let target = self.targets[place].address;
        let token = at.identity.token(self.number, target, sequence);
        let is_own = |echo: &Echo| {
            echo.id == self.id
                && echo.sequence == sequence as u16
                && identity::has_token(echo.token(), &token, self.settings.size)
        };
        let left_ns = at.clock.wall(probe.sent_ns.max(probe.request_wire_ns));
        let window_ns = (left_ns, left_ns + self.settings.timeout_ns);
        let expected = (HEADER + self.settings.size) as u32;
        fragments.of_reply((self.number, serial), is_own, target, window_ns, expected)
    }

    /// Decides a probe whose time is up, by the evidence and the state of the host.
    pub fn judge(
        &mut self,
        serial: u64,
        evidence: &ProbeEvidence,
        around: &HostContext,
        name: impl Fn(u32) -> String,
        at: &EventContext<'_>,
    ) {
        let verdict = fate::judge(evidence, around, name);
        let mut event = self.measured(serial, verdict.fate, at);
        if event.fate != Fate::Replied {
            (event.rtt_ns, event.wake_ns) = (None, None);
        }
        if event.fate == Fate::Replied {
            // Measured on the wire alone.
            event.rtt_ns = self
                .probe(serial)
                .map(|probe| probe.reply_wire_ns.saturating_sub(probe.sent_at()));
        }
        event.last_seen = Some(verdict.last_seen);
        event.way = (event.fate != Fate::Replied).then(|| Way::of(around));
        self.decide(serial, event);
    }

    /// Reports answered probes once their sightings on the wire are complete or overdue.
    pub fn complete(&mut self, at: &EventContext<'_>) {
        while let Some(serial) = self.answered.front().copied() {
            let probe = self
                .probes
                .get(serial.saturating_sub(self.base) as usize)
                .filter(|_| serial >= self.base);
            let Some(probe) = probe else {
                self.answered.pop_front();
                continue;
            };
            let seen = probe.request_wire_ns != 0
                && probe.reply_wire_ns != 0
                && probe.reply_socket_ns != 0;
            if !seen && at.now_ns < probe.heard_ns() + DECISION_DELAY_NS && !self.stopped {
                return;
            }
            let altered = probe.altered;
            let is_refused = probe.refusal.is_some();
            self.answered.pop_front();
            if is_refused {
                self.report_refusal(serial, None, at);
                continue;
            }
            let fate = if altered {
                Fate::Corrupted
            } else {
                Fate::Replied
            };
            let mut event = self.measured(serial, fate, at);
            if altered {
                event.last_seen =
                    Some("its reply reached the socket with a wrong checksum or payload".into());
            }
            self.decide(serial, event);
        }
    }

    pub(super) fn event(&self, serial: u64, fate: Fate, clock: &Clock) -> Event {
        let (target, sequence) = self.target_and_sequence(serial);
        let probe = self.probes.get(serial.saturating_sub(self.base) as usize);
        let sent_ns = probe.map_or(0, Probe::sent_at);
        Event {
            target: target as u32,
            sequence,
            time_ns: clock.wall(sent_ns),
            fate,
            replaces_fate: None,
            duplicate: false,
            from: None,
            ttl: None,
            rtt_ns: None,
            wire_rtt_ns: None,
            resolve_ns: None,
            queue_ns: None,
            wake_ns: None,
            error: None,
            extensions: None,
            is_reset: false,
            errno: None,
            last_seen: None,
            is_fragmented: probe.is_some_and(|probe| probe.is_fragmented),
            way: None,
        }
    }

    /// Creates an event with all known times.
    pub(super) fn measured(&self, serial: u64, fate: Fate, at: &EventContext<'_>) -> Event {
        let mut event = self.event(serial, fate, at.clock);
        let Some(probe) = self.probes.get(serial.saturating_sub(self.base) as usize) else {
            return event;
        };
        let target = self.targets[event.target as usize].address;
        let out = if probe.request_wire_ns != 0 {
            probe.request_wire_ns
        } else {
            probe.tx_software_ns
        };
        event.from = probe.from;
        event.ttl = probe.from.map(|_| probe.ttl);
        if probe.reply_socket_ns != 0 {
            event.rtt_ns = Some(probe.reply_socket_ns.saturating_sub(probe.sent_at()));
            // A reply by TCP is read from the wire.
            event.wake_ns = (!matches!(self.settings.transport, Transport::Tcp { .. }))
                .then(|| probe.reply_read_ns.saturating_sub(probe.reply_socket_ns));
        }
        let back = if probe.reply_wire_ns != 0 {
            probe.reply_wire_ns
        } else {
            probe.reply_socket_ns
        };
        if out != 0 && back >= out {
            event.wire_rtt_ns = Some(back - out);
        }
        if probe.scheduled_ns != 0 && out >= probe.scheduled_ns {
            event.queue_ns = Some(out - probe.scheduled_ns);
        }
        if probe.request_wire_ns != 0 {
            let (sent, left) = (
                at.clock.wall(probe.sent_at()),
                at.clock.wall(probe.request_wire_ns),
            );
            let told = at
                .resolutions
                .waited_for(probe.request_ifindex, target, sent, left);
            event.resolve_ns = told.map(|told| match probe.scheduled_ns {
                0 => told - sent,
                scheduled => scheduled - probe.sent_at(),
            });
        }
        event
    }

    /// Records the fate of a probe and reports it.
    pub(super) fn decide(&mut self, serial: u64, event: Event) {
        self.confirm_send(serial);
        let width = self.targets.len();
        let precision = (self.settings.keeps_distributions()).then(|| Settings::precision(width));
        let started_ns = self.started_ns;
        let Some(probe) = self.probe(serial) else {
            return;
        };
        let before = probe.state;
        probe.state = State::Decided(event.fate);
        let sent_ns = probe.sent_ns;
        let target = self.targets[event.target as usize];
        let stats = &mut self.stats[event.target as usize];
        if let Some(before) = event.replaces_fate {
            stats.fates[before as usize] -= 1;
        }
        stats.fates[event.fate as usize] += 1;
        stats.collect(&event, &target);
        if event.fate == Fate::Replied {
            if let Some(rtt) = event.rtt_ns {
                stats.jitter.add(rtt);
                stats.ewma.add(rtt);
            }
            let distributions = [
                (&mut stats.rtt, event.rtt_ns),
                (&mut stats.wire, event.wire_rtt_ns),
            ];
            for (durations, ns) in distributions {
                if let (Some(ns), Some(precision)) = (ns, precision) {
                    durations.add(ns, precision);
                }
            }
            if event.sequence < stats.highest {
                stats.reordered += 1;
            }
            stats.highest = stats.highest.max(event.sequence);
        }
        let is_elsewhere = event.from.is_some_and(|from| from != target.address);
        let loss = stats.count_miss(&event);
        if event.fate != Fate::Replied || is_elsewhere && !target.is_group {
            self.note(event.target, event.sequence);
        }
        // Probes of a trace end on the way, and are no losses of the target.
        let is_trace = self.settings.listed.is_some();
        if let Some(loss) = loss.filter(|_| !is_trace && self.losses.len() < MAX_LOSSES) {
            self.losses.push(loss);
        }
        let stats = &mut self.stats[event.target as usize];
        if width <= MAX_TARGETS_WITH_WINDOWS && !matches!(before, State::Decided(_)) {
            let windows = &mut stats.more.get_or_insert_default().windows;
            windows.add(
                sent_ns.saturating_sub(started_ns),
                event.fate != Fate::Replied,
            );
        }
        self.pack(serial, &event);
        let is_packed = self.settings.packed && event.fate == Fate::Replied;
        if !self.settings.quiet && !is_packed {
            self.push_event(event);
        }
    }

    /// Drops probes that were decided long ago.
    pub fn forget(&mut self, now_ns: u64) {
        while let Some(probe) = self.probes.front() {
            let is_old = now_ns > probe.sent_ns + self.settings.timeout_ns + KEPT_NS;
            let is_too_much =
                self.probes.len() - self.in_flight().min(self.probes.len()) > MAX_KEPT_PROBES;
            if self.undecided <= self.base || !(is_old || is_too_much) {
                return;
            }
            self.forget_first();
        }
    }

    /// Drops the first probe that is kept.
    pub(super) fn forget_first(&mut self) {
        self.pack_first();
        self.probes.pop_front();
        self.base += 1;
        self.pack_after_first();
    }
}
