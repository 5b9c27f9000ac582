//! SHELL. What the prober receives: replies and errors at its sockets, send timestamps of the kernel, and
//! sightings of its packets on the wire.

use std::io;
use std::os::fd::AsFd;

use super::batch::{RECEIVE_BATCH, ReceivedPacket};
use super::{PollContext, Prober, sample};
use crate::daemon::engine::links::Links;
use crate::linux::monotonic_ns;
use netsonde_core::probe::identity::HEADER;
use netsonde_core::probe::run::{EventContext, ReceivedError, SocketReply};
use netsonde_core::probe::sight::{from_socket_v4, from_socket_v6};
use netsonde_core::probe::{Sighting, SightingKind};
use netsonde_core::wire::Direction;

/// Batches received from one socket per iteration.
const MAX_BATCHES_PER_POLL: usize = 16;

/// Receives batches until one is not full. Returns false then; true if there were too many.
fn is_full(mut receive: impl FnMut() -> io::Result<usize>) -> io::Result<bool> {
    for _ in 0..MAX_BATCHES_PER_POLL {
        if receive()? < RECEIVE_BATCH {
            return Ok(false);
        }
    }
    Ok(true)
}

impl Prober {
    /// Processes sightings of probes, replies and address resolution on the wire.
    pub fn on_sightings(&mut self, sightings: &[Sighting], links: &Links) {
        let now_ns = sample(&mut self.clock);
        for sighting in sightings {
            let echo = match &sighting.what {
                SightingKind::NeighborSolicited(address) => {
                    if sighting.direction == Direction::Outbound {
                        let (ifindex, time_ns) = (sighting.ifindex, sighting.time_ns);
                        self.resolutions.on_solicitation(ifindex, *address, time_ns);
                    }
                    continue;
                }
                SightingKind::NeighborAnswered(address) => {
                    if sighting.direction != Direction::Outbound {
                        let (ifindex, time_ns) = (sighting.ifindex, sighting.time_ns);
                        self.resolutions.on_answer(ifindex, *address, time_ns);
                    }
                    continue;
                }
                SightingKind::LaterFragment { from, fragment } => {
                    if sighting.direction.is_inbound() {
                        let (ifindex, time_ns) = (sighting.ifindex, sighting.time_ns);
                        self.fragments
                            .on_fragment(ifindex, *from, fragment, None, time_ns);
                    }
                    continue;
                }
                SightingKind::Request { echo, .. } | SightingKind::Reply { echo, .. } => echo,
                SightingKind::Error { quoted, .. } => match quoted.echo() {
                    Some(echo) => echo,
                    None => {
                        self.on_segment_sighting(sighting, links, now_ns);
                        continue;
                    }
                },
                SightingKind::Segment { .. } => {
                    self.on_segment_sighting(sighting, links, now_ns);
                    continue;
                }
            };
            let Some(active) = self
                .by_id
                .get(&echo.id)
                .and_then(|number| self.runs.get_mut(number))
            else {
                continue;
            };
            let at = EventContext {
                now_ns,
                clock: &self.clock,
                identity: &self.identity,
                resolutions: &self.resolutions,
            };
            // A packet on the loopback interface appears once, as received.
            let is_loopback = links
                .get(sighting.ifindex)
                .is_some_and(|link| link.hardware == libc::ARPHRD_LOOPBACK);
            let (ifindex, time_ns) = (sighting.ifindex, sighting.time_ns);
            let run = &mut active.run;
            match sighting.what {
                SightingKind::Request {
                    to,
                    echo,
                    is_fragmented,
                } if sighting.direction == Direction::Outbound || is_loopback => {
                    let request = (to, is_fragmented);
                    run.on_wire_request(request, ifindex, &echo, time_ns, &at);
                }
                SightingKind::Reply {
                    from,
                    echo,
                    intact,
                    ttl,
                    fragment,
                } if sighting.direction.is_inbound() => {
                    if let Some(fragment) = &fragment {
                        self.fragments
                            .on_fragment(ifindex, from, fragment, Some(&echo), time_ns);
                    }
                    let responder = (from, sighting.mac, ttl);
                    run.on_wire_reply(responder, ifindex, &echo, intact, time_ns, &at);
                }
                SightingKind::Error { from, quoted } if sighting.direction.is_inbound() => {
                    let error = ReceivedError {
                        from,
                        is_local: links.is_own(from),
                        ifindex,
                        quoted: &quoted,
                        stamp_ns: time_ns,
                        message: None,
                    };
                    run.error(&error, &at);
                }
                _ => {}
            }
        }
    }

    /// Receives replies, errors and send timestamps from all sockets. Returns whether there may be more:
    /// sockets report new packets only, not those that are left.
    pub(super) fn receive(&mut self, context: &PollContext<'_>) -> io::Result<bool> {
        let mut may_have_more = false;
        if self.has_segments() {
            self.receive_answers(context)?;
            may_have_more |= self.receive_datagrams()?;
        }
        for family in 0..self.sockets.len() {
            may_have_more |= is_full(|| self.receive_packets(family, context))?;
            may_have_more |= is_full(|| self.receive_stamps(family))?;
        }
        Ok(may_have_more)
    }

    /// Receives a batch of replies and errors. Returns its size.
    fn receive_packets(&mut self, family: usize, context: &PollContext<'_>) -> io::Result<usize> {
        let now_ns = sample(&mut self.clock);
        let Prober {
            sockets,
            receive_batch,
            runs,
            by_id,
            identity,
            clock,
            resolutions,
            hits,
            heard,
            segments,
            ..
        } = self;
        let Some(socket) = &sockets[family] else {
            return Ok(0);
        };
        let at = EventContext {
            now_ns,
            clock,
            identity,
            resolutions,
        };
        receive_batch.receive(socket.descriptor.as_fd(), |packet| {
            let Some((kind, message)) = decode(packet, family == 0) else {
                return;
            };
            let id = match &kind {
                SightingKind::Reply { echo, .. } => {
                    heard.entry(packet.ifindex).or_default()[family] += 1;
                    echo.id
                }
                SightingKind::Error { from, quoted } => match quoted.echo() {
                    Some(echo) => echo.id,
                    None => {
                        let error = ReceivedError {
                            from: *from,
                            is_local: context.links.is_own(*from),
                            ifindex: packet.ifindex,
                            quoted,
                            stamp_ns: packet.stamp_ns,
                            message: Some(message),
                        };
                        let runs = runs.values_mut().map(|active| &mut active.run);
                        // Others take what the wire shows.
                        for run in runs.filter(|run| run.settings.listed.is_some()) {
                            run.on_segment_error(&error, segments.ports(), &at);
                        }
                        return;
                    }
                },
                _ => return,
            };
            let active = by_id.get(&id).and_then(|number| runs.get_mut(number));
            let Some(active) = active else {
                hits.unmatched += 1;
                return;
            };
            match kind {
                SightingKind::Reply {
                    from,
                    echo,
                    intact,
                    ttl,
                    ..
                } => {
                    let reply = SocketReply {
                        from,
                        ifindex: packet.ifindex,
                        echo,
                        payload: message.get(HEADER..).unwrap_or_default(),
                        intact: intact.unwrap_or(true),
                        ttl,
                        stamp_ns: packet.stamp_ns,
                    };
                    active.run.on_socket_reply(&reply, &at);
                }
                SightingKind::Error { from, quoted } => {
                    let error = ReceivedError {
                        from,
                        is_local: context.links.is_own(from),
                        ifindex: packet.ifindex,
                        quoted: &quoted,
                        stamp_ns: packet.stamp_ns,
                        message: Some(message),
                    };
                    active.run.error(&error, &at);
                }
                _ => {}
            }
        })
    }

    /// Receives a batch of send timestamps. Returns its size.
    fn receive_stamps(&mut self, family: usize) -> io::Result<usize> {
        let now_ns = monotonic_ns();
        let Prober {
            sockets,
            receive_batch,
            runs,
            clock,
            stamps,
            ..
        } = self;
        let Some(socket) = &sockets[family] else {
            return Ok(0);
        };
        receive_batch.receive_stamps(socket.descriptor.as_fd(), |stamp| {
            if let Some((number, serial)) = stamps.find(stamp.id)
                && let Some(active) = runs.get_mut(&number)
            {
                let (is_scheduled, stamp_ns) = (stamp.is_scheduled, stamp.stamp_ns);
                active
                    .run
                    .on_send_stamp(serial, is_scheduled, stamp_ns, clock, now_ns);
            }
        })
    }
}

/// Decodes a packet as raw(7) delivers it: its meaning, and the ICMP message.
fn decode<'a>(packet: &ReceivedPacket<'a>, is_ipv4: bool) -> Option<(SightingKind, &'a [u8])> {
    if is_ipv4 {
        from_socket_v4(packet.bytes)
    } else {
        from_socket_v6(packet.bytes, packet.from, packet.hop_limit).map(|kind| (kind, packet.bytes))
    }
}
