//! PURE. Probes by TCP and UDP of a run: their flows, and what the wire and the sockets show of them.

use std::collections::HashMap;
use std::net::IpAddr;

use super::{EventContext, ReceivedError, Run, State};
use crate::probe::fate::Fate;
use crate::probe::identity::{Identity, TOKEN};
use crate::probe::sight::Quoted;
use crate::probe::transport::{
    Answer, Segment, SegmentKind, SourcePorts, Transport, UDP_FLOWS, checksum_of, is_quote_of,
    sequence_of, tcp_answer,
};
use crate::wire::segment::tcp_flag;

/// Maximum number of errors of a run that wait until their probe was seen leaving; the rings show it up to 20 ms
/// later than the socket shows the error.
const MAX_PENDING: usize = 256;

/// Probes by what identifies them in eight bytes, and errors that wait for them.
#[derive(Debug, Default)]
pub(super) struct SegmentIndex {
    /// Serial numbers by sequence number (TCP), or flow and checksum (UDP). At most twice as many as probes.
    serials: HashMap<u32, u64, foldhash::quality::RandomState>,
    pending: Vec<(u64, IpAddr, Quoted, u64)>,
}

/// A segment or datagram that crossed an interface.
#[derive(Clone, Copy, Debug)]
pub struct SeenSegment {
    /// Source address.
    pub from: IpAddr,
    /// Destination address.
    pub to: IpAddr,
    /// Its fields.
    pub segment: Segment,
    /// Whether the checksum is right; `None` if it is not known.
    pub intact: Option<bool>,
    /// TTL or hop limit.
    pub ttl: u8,
    /// Interface index.
    pub ifindex: u32,
    /// Wall-clock time, in nanoseconds since 1970.
    pub time_ns: u64,
    /// Whether it left this host.
    pub is_outbound: bool,
    /// Whether it came to this host; both on the loopback interface.
    pub is_inbound: bool,
}

/// A datagram received at the socket of a flow.
#[derive(Clone, Copy, Debug)]
pub struct HeardDatagram<'a> {
    /// Number of the flow.
    pub flow: usize,
    /// Source address.
    pub from: IpAddr,
    /// Source port.
    pub port: u16,
    /// Start of the payload.
    pub payload: &'a [u8],
    /// Receive stamp of the kernel, wall-clock time in nanoseconds since 1970; 0 if missing.
    pub stamp_ns: u64,
}

fn key(transport: Transport, flow: usize, token: &[u8; TOKEN]) -> u32 {
    match transport {
        Transport::Udp { .. } => (flow as u32) << 16 | u32::from(checksum_of(token)),
        _ => sequence_of(token),
    }
}

impl Run {
    /// Returns the flow of the probe with a sequence number.
    pub fn flow(&self, sequence: u32) -> usize {
        let flow = match self.listed(sequence) {
            Some(probe) => probe.flow.into(),
            None => (sequence as usize).wrapping_add(self.first_flow),
        };
        flow % self.settings.transport.flows()
    }

    /// Returns the destination port of the probe with a sequence number; 0 for echo.
    pub fn port(&self, sequence: u32) -> u16 {
        let port = self.settings.transport.port().unwrap_or(0);
        match (self.listed(sequence), self.has_port_per_flow()) {
            (Some(probe), true) => port.saturating_add(probe.flow / UDP_FLOWS as u16),
            _ => port,
        }
    }

    fn has_port_per_flow(&self) -> bool {
        let listed = self.settings.listed.as_ref();
        listed.is_some_and(|listed| listed.has_port_per_flow)
    }

    /// Returns whether probes of this run may be sent to a port.
    fn has_port(&self, port: u16) -> bool {
        let first = self.settings.transport.port();
        match self.has_port_per_flow() {
            false => first == Some(port),
            true => first.is_some_and(|first| port >= first),
        }
    }

    /// Returns whether a segment has the protocol and a destination port of this run's probes.
    fn is_own(&self, segment: &Segment) -> bool {
        let protocol = |of: Transport| std::mem::discriminant(&of);
        let is_same = protocol(segment.transport()) == protocol(self.settings.transport);
        is_same && self.has_port(segment.destination_port)
    }

    /// Sets the send time of a probe that another process has sent, unless it is decided.
    pub fn mark_requested(&mut self, serial: u64, sent_ns: u64) {
        if let Some(probe) = self.probe(serial)
            && probe.sent_ns < sent_ns
            && probe.state == State::Waiting
        {
            probe.sent_ns = sent_ns;
        }
    }

    /// Returns the index of a target by its address.
    fn place(&self, address: IpAddr) -> Option<usize> {
        match self.target_by_key.get(&super::target_key(address, 0)) {
            Some(place) => Some(*place as usize),
            // Those of a link are found by their interface only.
            None if matches!(address, IpAddr::V6(v6) if v6.is_unicast_link_local()) => self
                .targets
                .iter()
                .position(|target| target.address == address),
            None => None,
        }
    }

    /// Returns the flow after the last one of a target's probes so far: where the next run begins. A server may
    /// still wait for the end of a handshake on those before, and late datagrams come to their ports.
    pub fn next_flow(&self) -> usize {
        let rounds = self.next().div_ceil(self.target_count().max(1));
        self.first_flow.wrapping_add(rounds as usize)
    }

    /// Enters a probe that is about to be sent.
    pub(super) fn index_segment(&mut self, serial: u64, token: &[u8; TOKEN]) {
        let transport = self.settings.transport;
        if transport == Transport::Echo {
            return;
        }
        let (_, sequence) = self.target_and_sequence(serial);
        let key = key(transport, self.flow(sequence), token);
        let base = self.base;
        let serials = &mut self.segments.serials;
        serials.insert(key, serial);
        if serials.len() > 2 * self.probes.len() + 64 {
            serials.retain(|_, serial| *serial >= base);
        }
    }

    /// Returns the serial number of the probe to `address` with this key.
    fn find_key(&self, key: u32, flow: usize, address: IpAddr) -> Option<u64> {
        let serial = self.segments.serials.get(&key).copied()?;
        let (place, sequence) = self.target_and_sequence(serial);
        let is_kept = serial >= self.base;
        (is_kept && self.targets[place].address == address && self.flow(sequence) == flow)
            .then_some(serial)
    }

    /// Returns the newest probe of a flow to `address`, if it `may_be` what a datagram answers. At most as many
    /// probes of a target wait as there are flows, so older ones of this flow are past their time limit.
    fn find_newest(
        &self,
        address: IpAddr,
        flow: usize,
        may_be: impl Fn(&super::Probe) -> bool,
    ) -> Option<u64> {
        let place = self.place(address)? as u64;
        let width = self.target_count();
        let count = (self.next() + width - 1 - place) / width;
        let flows = self.settings.transport.flows() as u64;
        let serial = (count.saturating_sub(flows)..count)
            .rev()
            .map(|round| round * width + place)
            .find(|serial| self.flow(self.target_and_sequence(*serial).1) == flow)?;
        let at = serial.checked_sub(self.base)?;
        let probe = self.probes.get(at as usize)?;
        may_be(probe).then_some(serial)
    }

    fn token_of(&self, serial: u64, at: &EventContext<'_>) -> [u8; TOKEN] {
        let (place, sequence) = self.target_and_sequence(serial);
        self.token_to(self.targets[place].address, sequence, at.identity)
    }

    /// Returns the token of the probe to `address` with a sequence number.
    pub(super) fn token_to(
        &self,
        address: IpAddr,
        sequence: u32,
        identity: &Identity,
    ) -> [u8; TOKEN] {
        let token = identity.token(self.number, address, sequence);
        match self.living() {
            Some(living) => living.token(token),
            None => token,
        }
    }

    /// Returns the flow of a source port of this run's probes.
    fn flow_of(&self, ports: &SourcePorts, port: u16) -> Option<usize> {
        match self.living() {
            Some(living) => (port == living.source_port).then_some(0),
            None => ports.flow(self.settings.transport, port),
        }
    }

    /// Records a segment or datagram that was seen on the wire.
    pub fn on_segment(&mut self, seen: &SeenSegment, ports: &SourcePorts, at: &EventContext<'_>) {
        let segment = &seen.segment;
        if seen.is_outbound && self.is_own(segment) {
            if let Some(flow) = self.flow_of(ports, segment.source_port) {
                self.on_segment_out(seen, flow, at);
            }
        } else if seen.is_inbound
            && self.has_port(segment.source_port)
            // What comes along a connection is the connection's.
            && self.living().is_none()
            && let Some(flow) = self.flow_of(ports, segment.destination_port)
        {
            self.on_segment_back(seen, flow, at);
        }
    }

    fn on_segment_out(&mut self, seen: &SeenSegment, flow: usize, at: &EventContext<'_>) {
        let key = match seen.segment.kind {
            SegmentKind::Tcp {
                sequence, flags, ..
            } if flags & tcp_flag::RST != 0 => {
                // The kernel resets a connection that no socket asked for: the reply had reached it.
                let probe = sequence.wrapping_sub(1);
                if let Some(serial) = self.find_key(probe, flow, seen.to) {
                    self.on_delivered(serial, at);
                }
                return;
            }
            SegmentKind::Tcp { sequence, .. } => sequence,
            SegmentKind::Udp { checksum, .. } => (flow as u32) << 16 | u32::from(checksum),
        };
        let Some(serial) = self.find_key(key, flow, seen.to) else {
            return;
        };
        self.confirm_send(serial);
        // The ring of errors may have been read before that of segments.
        if let Some(probe) = self.probe(serial)
            && let Some(out) = at.clock.monotonic(seen.time_ns, probe.batch_ns, at.now_ns)
            && (probe.reply_wire_ns == 0
                || probe.request_wire_ns == 0 && out <= probe.reply_wire_ns)
        {
            probe.request_wire_ns = out;
            probe.request_ifindex = seen.ifindex;
            probe.ip_id = seen.segment.ip_id;
        }
        // Errors that came before their probe was seen.
        let index = &mut self.segments.pending;
        for (_, from, quoted, stamp_ns) in index
            .extract_if(.., |one| one.0 == serial)
            .collect::<Vec<_>>()
        {
            let received = ReceivedError {
                from,
                is_local: false,
                ifindex: seen.ifindex,
                quoted: &quoted,
                stamp_ns,
                message: None,
            };
            self.segment_error(&received, at);
        }
    }

    fn on_segment_back(&mut self, seen: &SeenSegment, flow: usize, at: &EventContext<'_>) {
        let (serial, answer) = match seen.segment.kind {
            SegmentKind::Tcp { .. } => {
                let Some((answer, probe)) = tcp_answer(&seen.segment) else {
                    return;
                };
                // Others answer probes of runs that have ended: a server repeats its SYN-ACK for a minute.
                let serial = self.find_key(probe, flow, seen.from);
                let Some(serial) = serial else {
                    return;
                };
                (serial, answer)
            }
            SegmentKind::Udp {
                token: (token, count),
                ..
            } => {
                let payload = &token[..usize::from(count)];
                let found = self.find_datagram(payload, flow, seen.from, at, |probe| {
                    probe.reply_wire_ns == 0
                });
                let Some(serial) = found else {
                    return;
                };
                (serial, Answer::Open)
            }
        };
        let Some(probe) = self.probe(serial) else {
            return;
        };
        if probe.reply_wire_ns == 0
            && let Some(back) = at.clock.monotonic(seen.time_ns, probe.batch_ns, at.now_ns)
        {
            probe.reply_wire_ns = back;
            probe.reply_ifindex = seen.ifindex;
            probe.reply_checksum_ok = seen.intact;
            if probe.from.is_none() {
                probe.from = Some(seen.from);
            }
            probe.ttl = seen.ttl;
            probe.is_reset = answer == Answer::Reset;
        } else if answer == Answer::Reset {
            // A connection that was accepted, or a further reset.
            return;
        }
        if answer == Answer::Reset && seen.intact != Some(false) {
            self.on_reset(serial, at);
        }
    }

    /// Decides a probe whose connection the target, or something that poses as it, has refused.
    fn on_reset(&mut self, serial: u64, at: &EventContext<'_>) {
        let Some(probe) = self.probe(serial) else {
            return;
        };
        let before = match probe.state {
            State::Waiting => None,
            State::Decided(before) if before.may_change() => Some(before),
            _ => return,
        };
        let (from, ttl) = (probe.from, probe.ttl);
        let mut event = self.measured(serial, Fate::Refused, at);
        let who = from.map_or_else(|| "the target".into(), |from| from.to_string());
        event.is_reset = true;
        event.last_seen = Some(format!("connection refused: RST from {who}, TTL {ttl}"));
        event.replaces_fate = before;
        self.decide(serial, event);
        self.flood_ready = true;
    }

    /// Records that a reply which the wire carried has reached this host's kernel.
    fn on_delivered(&mut self, serial: u64, at: &EventContext<'_>) {
        let timeout_ns = self.settings.timeout_ns;
        let Some(probe) = self.probe(serial) else {
            return;
        };
        if probe.reply_wire_ns == 0 || probe.reply_socket_ns != 0 || probe.is_reset {
            return;
        }
        let (state, sent_ns) = (probe.state, probe.sent_at());
        probe.reply_socket_ns = probe.reply_wire_ns;
        probe.reply_read_ns = probe.reply_wire_ns;
        let is_late = probe.reply_socket_ns.saturating_sub(sent_ns) > timeout_ns;
        match state {
            State::Waiting if is_late => self.late(serial, None, at),
            State::Waiting => self.answer(serial),
            State::Decided(before) if before.may_change() => {
                self.late(serial, Some(before), at);
            }
            _ => {}
        }
    }

    fn answer(&mut self, serial: u64) {
        if let Some(probe) = self.probe(serial) {
            probe.state = State::Answered;
        }
        self.confirm_send(serial);
        self.answered.push_back(serial);
        self.flood_ready = true;
    }

    /// Finds the probe that a datagram answers: by its token, if the target sends it back, else by its flow.
    fn find_datagram(
        &self,
        payload: &[u8],
        flow: usize,
        from: IpAddr,
        at: &EventContext<'_>,
        may_be: impl Fn(&super::Probe) -> bool,
    ) -> Option<u64> {
        if let Some(token) = payload.first_chunk::<TOKEN>()
            && let Some(serial) =
                self.find_key(key(self.settings.transport, flow, token), flow, from)
            && self.token_of(serial, at) == *token
        {
            return Some(serial);
        }
        match self.settings.listed {
            None => self.find_newest(from, flow, may_be),
            // Which TTL it had cannot be told.
            Some(_) => None,
        }
    }

    /// Records a datagram received at the socket of a flow. Returns whether it answers a probe of this run.
    pub fn on_datagram(&mut self, heard: &HeardDatagram<'_>, at: &EventContext<'_>) -> bool {
        let is_udp = matches!(self.settings.transport, Transport::Udp { .. });
        if !is_udp || !self.has_port(heard.port) {
            return false;
        }
        let found = self.find_datagram(heard.payload, heard.flow, heard.from, at, |probe| {
            probe.reply_socket_ns == 0
        });
        let Some(serial) = found else {
            return false;
        };
        let timeout_ns = self.settings.timeout_ns;
        let Some(probe) = self.probe(serial) else {
            return false;
        };
        let stamp = at
            .clock
            .monotonic(heard.stamp_ns, probe.batch_ns, at.now_ns);
        let state = probe.state;
        if probe.reply_socket_ns == 0 {
            probe.reply_socket_ns = stamp.unwrap_or(at.now_ns);
            probe.reply_read_ns = at.now_ns;
            probe.from = Some(heard.from);
        }
        let sent_ns = match probe.sent_at() {
            estimate if probe.reply_socket_ns <= estimate => probe.batch_ns,
            estimate => estimate,
        };
        let is_late = probe.reply_socket_ns.saturating_sub(sent_ns) > timeout_ns;
        match state {
            State::Waiting if is_late => self.late(serial, None, at),
            State::Waiting => self.answer(serial),
            State::Decided(before) if before.may_change() => self.late(serial, Some(before), at),
            _ => {
                let (place, _) = self.target_and_sequence(serial);
                self.stats[place].duplicates += 1;
            }
        }
        true
    }

    /// Records an ICMP error that quotes a segment or datagram from one of the reserved ports.
    pub fn on_segment_error(
        &mut self,
        received: &ReceivedError<'_>,
        ports: &SourcePorts,
        at: &EventContext<'_>,
    ) {
        let Some(segment) = received.quoted.segment() else {
            return;
        };
        let flow = self.flow_of(ports, segment.source_port);
        if !self.is_own(segment) || flow.is_none() {
            return;
        }
        self.segment_error(received, at);
    }

    fn segment_error(&mut self, received: &ReceivedError<'_>, at: &EventContext<'_>) {
        let ReceivedError {
            from,
            is_local,
            quoted,
            ..
        } = *received;
        let Some(segment) = quoted.segment() else {
            return;
        };
        let flows = self.settings.transport.flows();
        let by_sum = |checksum: u16| {
            (0..flows).find_map(|flow| {
                let key = (flow as u32) << 16 | u32::from(checksum);
                self.find_key(key, flow, quoted.to)
            })
        };
        // Where addresses are translated on the way, the quote has others, and another checksum: what this service alone
        // knows must then be whole. Of TCP the sequence number always is.
        let by_token = |token: [u8; TOKEN]| {
            (0..flows).find_map(|flow| {
                let key = key(self.settings.transport, flow, &token);
                let serial = self.segments.serials.get(&key).copied()?;
                let is_kept = serial >= self.base;
                (is_kept && self.token_of(serial, at) == token).then_some(serial)
            })
        };
        let found = match segment.kind {
            SegmentKind::Tcp { sequence, .. } => self.segments.serials.get(&sequence).copied(),
            SegmentKind::Udp { checksum, .. } => {
                let found = segment.whole_token().and_then(by_token);
                found.or_else(|| by_sum(checksum))
            }
        };
        let found = found.filter(|serial| *serial >= self.base);
        let size = self.settings.size;
        let probe = found.and_then(|serial| {
            self.probe(serial)
                .map(|probe| (serial, probe.ip_id, probe.request_wire_ns))
        });
        // Others may quote a probe of a run that has ended.
        let Some((serial, ip_id, request_wire_ns)) = probe else {
            return;
        };
        let token = self.token_of(serial, at);
        if is_quote_of(segment, &token, size, ip_id) {
            self.refuse(serial, received, at);
        } else if request_wire_ns == 0 && is_quote_of(segment, &token, size, segment.ip_id) {
            // What is missing is how it left.
            let pending = &mut self.segments.pending;
            if pending.len() < MAX_PENDING && !is_local {
                pending.push((serial, from, *quoted, received.stamp_ns));
            }
        } else {
            self.forged += 1;
        }
    }
}
