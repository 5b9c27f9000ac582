//! PURE. Send stamps, sightings, replies and errors of a run, matched to its probes.

use std::net::IpAddr;

use super::{
    EventContext, MAX_RESPONDERS, MAX_RESPONDERS_PER_RUN, ReceivedError, Responder, Run,
    SocketReply, State, target_key,
};
use crate::probe::Clock;
use crate::probe::fate::Fate;
use crate::probe::identity::{self, Identity, Payload, TOKEN};
use crate::probe::sight::Echo;
use crate::probe::statistics::Precision;

impl Run {
    /// Records a send stamp of the kernel, in wall-clock time: of the queueing discipline or of the
    /// device.
    pub fn on_send_stamp(
        &mut self,
        serial: u64,
        is_scheduled: bool,
        stamp_ns: u64,
        clock: &Clock,
        now_ns: u64,
    ) {
        if let Some(probe) = self.probe(serial)
            && let Some(at) = clock.monotonic(stamp_ns, probe.batch_ns, now_ns)
        {
            if is_scheduled {
                probe.scheduled_ns = at;
            } else {
                probe.tx_software_ns = at;
            }
        }
    }

    /// Returns the serial of the probe that an echo message belongs to. `address` is the target's if
    /// nothing between translates addresses; otherwise the cookie decides.
    pub(super) fn find(
        &mut self,
        address: IpAddr,
        ifindex: u32,
        echo: &Echo,
        identity: &Identity,
    ) -> Option<u64> {
        let at = self.target_by_key.get(&target_key(address, ifindex));
        let by_address = at.and_then(|at| self.find_at(*at, echo, identity));
        by_address.or_else(|| self.find_by_cookie(echo, identity))
    }

    pub(super) fn find_at(&self, at: u32, echo: &Echo, identity: &Identity) -> Option<u64> {
        let next = self.next();
        let width = self.target_count();
        // Sequence number of the newest probe of this target.
        let newest = (next + width - 1 - u64::from(at)) / width;
        if newest == 0 {
            return None;
        }
        // The newest sequence number with these low 16 bits that has been sent.
        let back = (newest as u16).wrapping_sub(echo.sequence);
        let mut sequence = newest.checked_sub(back.into())?;
        loop {
            // Sequence numbers start at 1.
            let serial = sequence.checked_sub(1)? * width + u64::from(at);
            if serial < self.base || sequence > newest {
                return None;
            }
            let target = self.targets[at as usize];
            let token = identity.token(self.number, target.address, sequence as u32);
            if identity::has_token(echo.token(), &token, self.settings.size) {
                return Some(serial);
            }
            sequence = sequence.checked_sub(65_536)?;
        }
    }

    /// Records a request seen leaving. If it crosses several interfaces (bridge and port), the last
    /// sighting counts.
    pub fn on_wire_request(
        &mut self,
        (to, is_fragmented): (IpAddr, bool),
        ifindex: u32,
        echo: &Echo,
        stamp_ns: u64,
        at: &EventContext<'_>,
    ) {
        let Some(serial) = self.find(to, ifindex, echo, at.identity) else {
            return;
        };
        self.confirm_send(serial);
        if let Some(probe) = self.probe(serial)
            && probe.reply_wire_ns == 0
            && let Some(out) = at.clock.monotonic(stamp_ns, probe.batch_ns, at.now_ns)
        {
            probe.request_wire_ns = out;
            probe.request_ifindex = ifindex;
            probe.is_fragmented = is_fragmented;
            self.follow(serial, out);
        }
    }

    /// Records a reply seen arriving. If it crosses several interfaces, the first sighting counts.
    pub fn on_wire_reply(
        &mut self,
        (from, mac, ttl): (IpAddr, Option<[u8; 6]>, u8),
        ifindex: u32,
        echo: &Echo,
        intact: Option<bool>,
        stamp_ns: u64,
        at: &EventContext<'_>,
    ) {
        let found = self.find(from, ifindex, echo, at.identity);
        let Some(serial) = found.or_else(|| self.find_group(echo, at.identity)) else {
            return;
        };
        let (place, _) = self.target_and_sequence(serial);
        let is_group = self.targets[place].is_group;
        // Frames on the loopback interface have the address 0.
        if is_group
            && let Some(mac) = mac.filter(|mac| *mac != [0; 6])
            && let Some(responder) = self.responder(place, from)
        {
            responder.mac = Some(mac);
        }
        if let Some(probe) = self.probe(serial)
            && probe.reply_wire_ns == 0
            && let Some(back) = at.clock.monotonic(stamp_ns, probe.batch_ns, at.now_ns)
        {
            probe.reply_wire_ns = back;
            probe.reply_ifindex = ifindex;
            probe.reply_checksum_ok = intact;
            if probe.from.is_none() {
                probe.from = Some(from);
                probe.ttl = ttl;
            }
        }
    }

    /// Finds the probe of a reply among the group and broadcast targets, where its payload is too short
    /// for a complete cookie.
    pub(super) fn find_group(&self, echo: &Echo, identity: &Identity) -> Option<u64> {
        if self.settings.size >= TOKEN {
            return None;
        }
        (0..self.targets.len() as u32)
            .filter(|at| self.targets[*at as usize].is_group)
            .find_map(|at| self.find_at(at, echo, identity))
    }

    pub(super) fn responder(&mut self, place: usize, from: IpAddr) -> Option<&mut Responder> {
        let more = self.stats[place].more.get_or_insert_default();
        if !more.responders.contains_key(&from) {
            let is_full = more.responders.len() >= MAX_RESPONDERS
                || self.responder_count >= MAX_RESPONDERS_PER_RUN;
            if is_full {
                more.responders_left_out += 1;
                return None;
            }
            self.responder_count += 1;
        }
        Some(more.responders.entry(from).or_default())
    }

    /// Records a reply received on the socket.
    pub fn on_socket_reply(&mut self, heard: &SocketReply<'_>, at: &EventContext<'_>) {
        let found = self.find(heard.from, heard.ifindex, &heard.echo, at.identity);
        let Some(serial) = found.or_else(|| self.find_group(&heard.echo, at.identity)) else {
            self.not_found(heard, at.identity);
            return;
        };
        let (place, sequence) = self.target_and_sequence(serial);
        let target = self.targets[place];
        let is_group = target.is_group;
        let token = at.identity.token(self.number, target.address, sequence);
        let settings = &self.settings;
        let checked = match settings.listed {
            None => identity::check(heard.payload, &token, settings.size, &settings.pattern),
            Some(_) => identity::check_balanced(heard.payload, &token, settings.size),
        };
        if checked == Payload::Forged {
            self.forged += 1;
            return;
        }
        let altered = checked == Payload::Altered || !heard.intact;
        let timeout_ns = self.settings.timeout_ns;
        let Some(probe) = self.probe(serial) else {
            return;
        };
        let stamp = at
            .clock
            .monotonic(heard.stamp_ns, probe.batch_ns, at.now_ns);
        let reply_socket_ns = stamp.unwrap_or(at.now_ns);
        let state = probe.state;
        let sent_ns = match probe.sent_at() {
            estimate if reply_socket_ns <= estimate => probe.batch_ns,
            estimate => estimate,
        };
        let rtt = reply_socket_ns.saturating_sub(sent_ns);
        if is_group && !altered {
            let is_new = match self.responder(place, heard.from) {
                Some(responder) => {
                    let is_new = responder.is_new(sequence);
                    if is_new {
                        responder.replies += 1;
                        responder.rtt.add(rtt, Precision::Coarse);
                    } else {
                        responder.duplicates += 1;
                    }
                    is_new
                }
                None => true,
            };
            if !is_new {
                self.stats[place].duplicates += 1;
            }
            if state != State::Waiting {
                return;
            }
        }
        match state {
            State::Waiting => {
                let Some(probe) = self.probe(serial) else {
                    return;
                };
                probe.reply_socket_ns = reply_socket_ns;
                probe.reply_read_ns = at.now_ns;
                probe.ttl = heard.ttl;
                probe.from = Some(heard.from);
                probe.altered = altered;
                if rtt > timeout_ns {
                    // Not decided yet, but already too late.
                    self.late(serial, None, at);
                } else {
                    probe.state = State::Answered;
                    self.confirm_send(serial);
                    self.answered.push_back(serial);
                    self.flood_ready = true;
                }
            }
            State::Decided(before) if before.may_change() && !altered => {
                let Some(probe) = self.probe(serial) else {
                    return;
                };
                probe.reply_socket_ns = reply_socket_ns;
                probe.reply_read_ns = at.now_ns;
                probe.ttl = heard.ttl;
                probe.from = Some(heard.from);
                self.late(serial, Some(before), at);
            }
            State::Decided(Fate::Replied | Fate::Late | Fate::Corrupted) | State::Answered => {
                self.stats[place].duplicates += 1;
                let (target, sequence) = self.target_and_sequence(serial);
                self.note(target as u32, sequence);
                if !self.settings.quiet && !self.settings.packed {
                    let mut event = self.event(serial, Fate::Replied, at.clock);
                    event.duplicate = true;
                    event.from = Some(heard.from);
                    event.ttl = Some(heard.ttl);
                    event.rtt_ns = Some(rtt);
                    self.push_event(event);
                }
            }
            State::Decided(_) => {}
        }
    }

    /// Counts a reply with this run's identifier that matches no probe: stray if its token is that
    /// of a probe no longer kept, otherwise forged.
    pub(super) fn not_found(&mut self, heard: &SocketReply<'_>, identity: &Identity) {
        let size = self.settings.size;
        let place = self
            .target_by_key
            .get(&target_key(heard.from, heard.ifindex))
            .copied()
            // The source may be another address of the only target.
            .or((self.targets.len() == 1).then_some(0));
        let was_ours = size >= TOKEN
            && place.is_some_and(|at| {
                let (target, width) = (self.targets[at as usize], self.target_count());
                let rounds = self.base / width + 1;
                let back = (rounds as u16).wrapping_sub(heard.echo.sequence);
                // Probes dropped from the queue are recent, so one turn of the 16-bit number is
                // enough.
                rounds.checked_sub(back.into()).is_some_and(|newest| {
                    let token = identity.token(self.number, target.address, newest as u32);
                    identity::has_token(heard.payload, &token, size)
                })
            });
        if was_ours {
            self.stray += 1;
        } else {
            self.forged += 1;
        }
    }

    /// Records an ICMP error that quotes a probe.
    pub fn error(&mut self, received: &ReceivedError<'_>, at: &EventContext<'_>) {
        let (ifindex, quoted) = (received.ifindex, received.quoted);
        let Some(echo) = quoted.echo() else {
            return;
        };
        let Some(serial) = self.find(quoted.to, ifindex, echo, at.identity) else {
            self.forged += u64::from(echo.token().len() >= TOKEN);
            return;
        };
        self.refuse(serial, received, at);
    }

    /// Decides a probe that an error refused.
    pub(super) fn refuse(
        &mut self,
        serial: u64,
        received: &ReceivedError<'_>,
        at: &EventContext<'_>,
    ) {
        if self.settings.listed.is_some() {
            self.listed_error(serial, received, at);
            return;
        }
        let ReceivedError {
            from,
            is_local,
            quoted,
            ..
        } = *received;
        let Some(probe) = self.probe(serial) else {
            return;
        };
        let before = match probe.state {
            State::Waiting => None,
            // A router reports a neighbor that is not there after three seconds.
            State::Decided(Fate::Unanswered) => Some(Fate::Unanswered),
            _ => return,
        };
        // An error of this host about an unresolved neighbor is sent when the kernel gives up; the
        // final judgment uses more evidence.
        if is_local {
            return;
        }
        let mut event = self.measured(serial, Fate::Refused, at);
        event.from = Some(from);
        event.error = Some((from, *quoted));
        event.ttl = None;
        event.replaces_fate = before;
        self.decide(serial, event);
        self.flood_ready = true;
    }
}
