//! SHELL. Probes by TCP and UDP: requests to the keeper, which sends them, its answers, and the datagrams that
//! come to the reserved ports.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, OwnedFd};

use bytemuck::Zeroable;

use super::batch::{RECEIVE_BATCH, SendOptions};
use super::rate::probe_bytes;
use super::send::{HELD_NS, StampIds};
use super::{PollContext, Prober, sample};
use crate::daemon::channel::sending::{
    self, LIMITED, MAX_REQUESTS, Message, ProbeAnswer, ProbeRequest, address_bytes,
};
use crate::daemon::engine::links::Links;
use crate::linux::monotonic_ns;
use netsonde_core::probe::run::{EventContext, HeardDatagram, ReceivedError, SeenSegment};
use netsonde_core::probe::transport::{PortSet, SourcePorts, UDP_HEADER};
use netsonde_core::probe::{Sighting, SightingKind, Transport};
use netsonde_core::protocol::trace::PortsReply;
use netsonde_core::sockets::Socket;
use netsonde_core::wire::Direction;
use netsonde_core::wire::glance::ip_protocol;

/// Age of a source address in nanoseconds, from which the route is looked up again.
const SOURCE_NS: u64 = 1_000_000_000;
/// Messages of answers per iteration.
const MAX_ANSWERS_PER_POLL: usize = 64;

/// What the keeper passes for probes by TCP and UDP.
pub struct SegmentChannel {
    /// Requests and answers.
    pub channel: OwnedFd,
    /// Source ports, by flow.
    pub ports: SourcePorts,
    /// Sockets of the UDP ports, by flow.
    pub datagrams: Vec<OwnedFd>,
}

/// Probes by TCP and UDP of all runs.
pub(super) struct Segments {
    keeper: SegmentChannel,
    /// Probes that wait for their answer.
    numbers: StampIds,
}

impl Segments {
    pub(super) fn new(keeper: SegmentChannel) -> Segments {
        Segments {
            keeper,
            numbers: StampIds::new(),
        }
    }

    /// Returns the descriptors to wait for.
    pub(super) fn descriptors(&self) -> impl Iterator<Item = &OwnedFd> {
        self.keeper.datagrams.iter().chain([&self.keeper.channel])
    }

    /// Returns the reserved ports.
    pub(super) fn ports(&self) -> &SourcePorts {
        &self.keeper.ports
    }

    /// Returns the ports whose packets are sighted.
    pub(super) fn port_set(&self) -> PortSet {
        let mut set = PortSet::default();
        let ports = &self.keeper.ports;
        for port in ports
            .tcp
            .iter()
            .chain(&ports.udp)
            .filter(|port| **port != 0)
        {
            set.insert(*port);
        }
        set
    }
}

/// Returns the request for a probe.
fn request(
    number: u32,
    transport: Transport,
    (source, target): (IpAddr, IpAddr),
    options: &SendOptions,
) -> ProbeRequest {
    ProbeRequest {
        number,
        ifindex: options.ifindex,
        target: address_bytes(target),
        source: address_bytes(source),
        port: transport.port().unwrap_or(0),
        family: if target.is_ipv4() { 4 } else { 6 },
        protocol: match transport {
            Transport::Tcp { .. } => ip_protocol::TCP,
            _ => ip_protocol::UDP,
        },
        hop_limit: options.ttl.unwrap_or(0),
        traffic_class: options.tos.unwrap_or(0),
        ..ProbeRequest::zeroed()
    }
}

impl Prober {
    /// Returns whether runs send probes by TCP or UDP.
    pub fn has_segments(&self) -> bool {
        let mut runs = self.runs.values();
        runs.any(|active| active.run.settings.transport != Transport::Echo)
    }

    /// Returns the source ports of probes by TCP and UDP, without those that could not be reserved.
    pub fn source_ports(&self) -> PortsReply {
        let ports = self.segments.ports();
        let all = |ports: &[u16]| ports.iter().copied().filter(|port| *port != 0).collect();
        PortsReply {
            tcp: all(&ports.tcp),
            udp: all(&ports.udp),
        }
    }

    /// Returns the ports whose packets are sighted while there are such runs.
    pub fn segment_ports(&self) -> PortSet {
        let mut ports = self.segments.port_set();
        ports.set_living(self.living_ports().collect());
        ports
    }

    /// Returns the ports of connections along which probes go.
    pub fn living_ports(&self) -> impl Iterator<Item = u16> {
        let runs = self.runs.values();
        runs.filter_map(|active| active.run.living().map(|living| living.source_port))
    }

    /// Returns the socket at this host's end of a TCP connection.
    ///
    /// # Errors
    /// The error of the kernel, also if it cannot look sockets up.
    pub fn find_connection(
        &mut self,
        ends: (SocketAddr, SocketAddr),
        ifindex: u32,
    ) -> io::Result<Option<Socket>> {
        match &mut self.connections {
            Some(connections) => connections.find(ends, ifindex),
            None => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    /// Requests up to `max` due probes of a run from the keeper. Returns their number, or `None` if the channel is
    /// full.
    pub(super) fn send_segments(
        &mut self,
        number: u64,
        max: usize,
        context: &PollContext<'_>,
    ) -> io::Result<Option<usize>> {
        let mut count = 0;
        let mut is_full = false;
        let mut requests: Vec<ProbeRequest> = Vec::with_capacity(max.min(MAX_REQUESTS));
        while count < max && !is_full {
            requests.clear();
            let now_ns = monotonic_ns();
            let mut refused = None;
            while requests.len() < MAX_REQUESTS.min(max - count) {
                let Some(active) = self.runs.get(&number) else {
                    return Ok(Some(count));
                };
                let run = &active.run;
                if run.due_ns(now_ns).is_none_or(|due| due > now_ns) {
                    break;
                }
                let (target, transport) = (run.next_target(), run.settings.transport);
                let options = active.options.send.to(target.scope);
                let source = match options.source {
                    Some(source) => Ok(source),
                    None => self.source(target.address, &options, now_ns),
                };
                let source = match source {
                    Ok(source) => source,
                    Err(errno) => {
                        refused = Some(errno);
                        break;
                    }
                };
                let Some(active) = self.runs.get_mut(&number) else {
                    return Ok(Some(count));
                };
                let run = &mut active.run;
                let probe = run.take_next(&self.identity, now_ns);
                let id = self.segments.numbers.assign(number, probe.serial);
                let addresses = (source, target.address);
                let living = run.living();
                requests.push(ProbeRequest {
                    token: probe.token,
                    port: run.port(probe.sequence.into()),
                    flow: living.map_or(probe.flow as u16, |living| living.source_port),
                    lives: living.is_some().into(),
                    flow_label: living.map_or(0, |living| living.flow_label),
                    size: match transport {
                        Transport::Udp { .. } => run.settings.size as u16,
                        _ => 0,
                    },
                    hop_limit: probe
                        .special
                        .map_or(options.ttl.unwrap_or(0), |(limit, _)| limit),
                    ..request(id, transport, addresses, &options)
                });
            }
            if !requests.is_empty() {
                match sending::send_all(&self.segments.keeper.channel, &requests) {
                    Ok(()) => count += requests.len(),
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                        is_full = true;
                        if let Some(active) = self.runs.get_mut(&number) {
                            requests
                                .iter()
                                .for_each(|_| active.run.return_to_schedule());
                        }
                        continue;
                    }
                    Err(error) => return Err(error),
                }
            }
            match refused {
                Some(errno) => {
                    self.refuse_segment(number, errno, context);
                    count += 1;
                }
                None if requests.is_empty() => break,
                None => {}
            }
        }
        self.account(number, count);
        if is_full {
            self.hits.full += 1;
            self.full_until_ns = monotonic_ns() + HELD_NS;
            return Ok((count > 0).then_some(count));
        }
        Ok(Some(count))
    }

    fn account(&mut self, number: u64, count: usize) {
        let Some(active) = self.runs.get(&number) else {
            return;
        };
        let bytes = probe_bytes(active.run.settings.size);
        if let Some(user) = self.users.get_mut(&active.owner) {
            user.consume(count, bytes);
        }
        if active.owner.is_anonymous() {
            self.anonymous.consume(count, bytes);
        }
        self.all.consume(count, bytes);
    }

    /// Returns the source address of packets to a target, or the error number of the look-up.
    fn source(
        &mut self,
        target: IpAddr,
        options: &SendOptions,
        now_ns: u64,
    ) -> Result<IpAddr, i32> {
        let cached = self.cached_route(target, options, SOURCE_NS, now_ns);
        if let Some(source) = cached.and_then(|route| route.source) {
            return Ok(source);
        }
        match self.host.route(target, &options.query()) {
            // EADDRNOTAVAIL: a way, and no address to send from.
            Ok(route) => route.source.ok_or(libc::EADDRNOTAVAIL),
            Err(error) => Err(error.raw_os_error().unwrap_or(libc::ENETUNREACH)),
        }
    }

    /// Decides the next probe of a run, for which there is no way.
    fn refuse_segment(&mut self, number: u64, errno: i32, context: &PollContext<'_>) {
        let now_ns = monotonic_ns();
        let Some(active) = self.runs.get_mut(&number) else {
            return;
        };
        let serial = active.run.take_next(&self.identity, now_ns).serial;
        self.not_sent(number, serial, errno, context);
    }

    fn not_sent(&mut self, number: u64, serial: u64, errno: i32, context: &PollContext<'_>) {
        let Some(active) = self.runs.get_mut(&number) else {
            return;
        };
        let target = active.run.target_of(serial);
        let headers = match active.run.settings.transport {
            Transport::Tcp { .. } => netsonde_core::probe::transport::TCP_HEADER - UDP_HEADER,
            _ => 0,
        };
        let (options, size) = (active.options.clone(), active.run.settings.size + headers);
        let (host, causes) = (&mut self.host, &mut self.causes);
        let why = match errno {
            LIMITED => "the keeper's own limit of probes a second was reached".into(),
            _ => causes.explain(host, context, errno, target, &options, size),
        };
        active.run.not_sent(serial, errno, &why, &self.clock);
    }

    /// Receives what the keeper answered.
    pub(super) fn receive_answers(&mut self, context: &PollContext<'_>) -> io::Result<()> {
        for _ in 0..MAX_ANSWERS_PER_POLL {
            match sending::receive::<ProbeAnswer>(&self.segments.keeper.channel) {
                Message::Some(count, answers) => {
                    for answer in &answers[..count] {
                        self.on_answer(answer, context);
                    }
                }
                Message::Nothing => return Ok(()),
                Message::Closed | Message::Nonsense => {
                    return Err(io::Error::other("the keeper answers no more"));
                }
            }
        }
        self.wake.notify_one();
        Ok(())
    }

    fn on_answer(&mut self, answer: &ProbeAnswer, context: &PollContext<'_>) {
        let Some((number, serial)) = self.segments.numbers.find(answer.number) else {
            return;
        };
        if let Some(active) = self.runs.get_mut(&number) {
            active.run.mark_requested(serial, answer.sent_ns);
        }
        match answer.errno {
            // For IPv6 a queue or an egress filter dropped it. The wire decides, as for IPv4.
            0 | libc::ENOBUFS => {}
            errno => self.not_sent(number, serial, errno, context),
        }
    }

    /// Discards what came to the reserved ports while there was no run that could have asked for it.
    pub(super) fn discard_datagrams(&mut self) {
        if self.has_segments() {
            return;
        }
        // A flood goes on; its datagrams have other senders than the targets.
        for _ in 0..MAX_ANSWERS_PER_POLL {
            if !self.receive_datagrams().unwrap_or(false) {
                return;
            }
        }
    }

    /// Receives the datagrams that came to the reserved ports.
    pub(super) fn receive_datagrams(&mut self) -> io::Result<bool> {
        let mut may_have_more = false;
        for flow in 0..self.segments.keeper.datagrams.len() {
            may_have_more |= self.receive_flow(flow)? >= RECEIVE_BATCH;
        }
        Ok(may_have_more)
    }

    fn receive_flow(&mut self, flow: usize) -> io::Result<usize> {
        let now_ns = sample(&mut self.clock);
        let Prober {
            segments,
            receive_batch,
            runs,
            identity,
            clock,
            resolutions,
            hits,
            ..
        } = self;
        let at = EventContext {
            now_ns,
            clock,
            identity,
            resolutions,
        };
        let socket = segments.keeper.datagrams[flow].as_fd();
        receive_batch.receive(socket, |packet| {
            let heard = HeardDatagram {
                flow,
                from: packet.from.to_canonical(),
                port: packet.port,
                payload: packet.bytes,
                stamp_ns: packet.stamp_ns,
            };
            let is_known = (runs.values_mut()).any(|active| active.run.on_datagram(&heard, &at));
            hits.unmatched += u64::from(!is_known);
        })
    }

    /// Passes a segment, or an error that quotes one, to the runs that it may concern.
    pub(super) fn on_segment_sighting(&mut self, sighting: &Sighting, links: &Links, now_ns: u64) {
        let at = EventContext {
            now_ns,
            clock: &self.clock,
            identity: &self.identity,
            resolutions: &self.resolutions,
        };
        let ports = &self.segments.keeper.ports;
        // A packet on the loopback interface appears once, as received.
        let is_loopback = links
            .get(sighting.ifindex)
            .is_some_and(|link| link.hardware == libc::ARPHRD_LOOPBACK);
        let is_inbound = sighting.direction.is_inbound();
        match sighting.what {
            SightingKind::Segment {
                from,
                to,
                segment,
                intact,
                ttl,
            } => {
                let seen = SeenSegment {
                    from,
                    to,
                    segment,
                    intact,
                    ttl,
                    ifindex: sighting.ifindex,
                    time_ns: sighting.time_ns,
                    is_outbound: sighting.direction == Direction::Outbound || is_loopback,
                    is_inbound,
                };
                for active in self.runs.values_mut() {
                    active.run.on_segment(&seen, ports, &at);
                }
            }
            SightingKind::Error { from, quoted } if is_inbound => {
                let error = ReceivedError {
                    from,
                    is_local: links.is_own(from),
                    ifindex: sighting.ifindex,
                    quoted: &quoted,
                    stamp_ns: sighting.time_ns,
                    message: None,
                };
                for active in self.runs.values_mut() {
                    active.run.on_segment_error(&error, ports, &at);
                }
            }
            _ => {}
        }
    }
}
