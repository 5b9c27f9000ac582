//! SHELL. Sending of due probes, within the limits of users and of the whole service.

use std::io;
use std::os::fd::AsFd;

use super::batch::{SEND_BATCH, SendBatch, SendOptions, set_pmtu_discovery};
use super::rate::probe_bytes;
use super::{ActiveRun, MAX_SENDS_PER_POLL, PollContext, Prober, Socket, StampSupport};
use crate::linux::monotonic_ns;
use netsonde_core::probe::identity::{balance, write_request};
use netsonde_core::probe::run::Outgoing;
use netsonde_core::probe::{Clock, Identity, Target, Transport};

/// Number of probes that can wait for their send timestamps.
const STAMP_SLOTS: usize = 16_384;
/// Pause in sending after the kernel had no buffer space, in nanoseconds.
const FULL_NS: u64 = 1_000_000;
/// Time after which a run whose probes are held inside this host checks again, in nanoseconds.
pub(super) const HELD_NS: u64 = 1_000_000;

/// The probes that wait for a send timestamp, by the ID that the kernel reports with it.
pub(super) struct StampIds {
    /// ID, run and serial number of each probe. The slot is the ID modulo the number of slots.
    slots: Vec<(u32, u64, u64)>,
    next: u32,
}

impl StampIds {
    pub(super) fn new() -> StampIds {
        StampIds {
            slots: vec![(0, 0, 0); STAMP_SLOTS],
            next: 1,
        }
    }

    /// Assigns an ID, which is never 0, to a probe of a run.
    pub(super) fn assign(&mut self, run: u64, serial: u64) -> u32 {
        let id = self.next;
        self.next = self.next.wrapping_add(1).max(1);
        self.slots[id as usize % STAMP_SLOTS] = (id, run, serial);
        id
    }

    /// Returns the run and the serial number of an ID, unless the slot has been reused.
    pub(super) fn find(&self, id: u32) -> Option<(u64, u64)> {
        let (assigned, run, serial) = self.slots[id as usize % STAMP_SLOTS];
        (assigned == id).then_some((run, serial))
    }
}

/// What became of a batch.
struct Submitted {
    /// Number of probes that left the schedule.
    count: usize,
    /// Whether the kernel had buffer space for all of them.
    has_room: bool,
}

impl Prober {
    /// Sends the probes that are due. Returns their number.
    pub(super) fn send(&mut self, now_ns: u64, context: &PollContext<'_>) -> io::Result<usize> {
        if now_ns < self.full_until_ns {
            return Ok(0);
        }
        let mut sent = 0;
        let mut in_flight = self.in_flight();
        let numbers: Vec<u64> = self.runs.keys().copied().collect();
        // Each run gets an equal share of an iteration, so that none waits for a large one.
        let share = (MAX_SENDS_PER_POLL / numbers.len().max(1)).clamp(1, SEND_BATCH);
        loop {
            let mut any = false;
            for number in &numbers {
                if in_flight >= self.limits.in_flight as usize {
                    self.hits.in_flight += 1;
                    self.full_until_ns = now_ns + FULL_NS;
                    return Ok(sent);
                }
                let max = share.min(self.limits.in_flight as usize - in_flight);
                match self.send_run(*number, max, context)? {
                    None => return Ok(sent),
                    Some(0) => {}
                    Some(count) => {
                        any = true;
                        sent += count;
                        in_flight += count;
                    }
                }
            }
            if !any || sent >= MAX_SENDS_PER_POLL {
                return Ok(sent);
            }
        }
    }

    /// Sends up to `max` due probes of a run, or withholds them. Returns their number, or `None` if the kernel has no
    /// buffer space.
    fn send_run(
        &mut self,
        number: u64,
        max: usize,
        context: &PollContext<'_>,
    ) -> io::Result<Option<usize>> {
        let now_ns = monotonic_ns();
        let max = self.allowance(number, max, now_ns);
        if max == 0 {
            return Ok(Some(0));
        }
        let (withheld, max) = self.pass_stuck(number, max, now_ns, context);
        if max == 0 {
            return Ok(Some(withheld));
        }
        let Some(active) = self.runs.get_mut(&number) else {
            return Ok(Some(0));
        };
        if active.run.settings.transport != Transport::Echo {
            let sent = self.send_segments(number, max, context)?;
            return Ok(sent.map(|sent| withheld + sent));
        }
        let is_ipv4 = active.run.targets[0].address.is_ipv4();
        let Some(socket) = &mut self.sockets[usize::from(!is_ipv4)] else {
            return Ok(Some(0));
        };
        if socket.pmtu != active.options.pmtu {
            set_pmtu_discovery(socket.descriptor.as_fd(), is_ipv4, active.options.pmtu)?;
            socket.pmtu = active.options.pmtu;
        }
        let can_stamp = matches!(
            socket.stamps,
            StampSupport::Untried | StampSupport::Supported
        );
        let ids = can_stamp.then_some(&mut self.stamps);
        let batch = &mut self.send_batch;
        let outgoing = fill(batch, active, number, &self.identity, ids, max, now_ns);
        let (host, causes) = (&mut self.host, &mut self.causes);
        let (options, size) = (active.options.clone(), active.run.settings.size);
        let explain = |errno, target| causes.explain(host, context, errno, target, &options, size);
        let submitted = submit(batch, outgoing, active, socket, &self.clock, explain);
        let bytes = probe_bytes(size);
        if let Some(user) = self.users.get_mut(&active.owner) {
            user.consume(submitted.count, bytes);
        }
        if active.owner.is_anonymous() {
            self.anonymous.consume(submitted.count, bytes);
        }
        self.all.consume(submitted.count, bytes);
        if !submitted.has_room {
            self.hits.full += 1;
            self.full_until_ns = monotonic_ns() + FULL_NS;
            return Ok(None);
        }
        Ok(Some(withheld + submitted.count))
    }

    /// Returns how many probes a run may send now, at most `max`.
    fn allowance(&mut self, number: u64, max: usize, now_ns: u64) -> usize {
        let Some(active) = self.runs.get_mut(&number) else {
            return 0;
        };
        let run = &mut active.run;
        let mut allowed = max.min(SEND_BATCH);
        if run.due_ns(now_ns).is_none_or(|due| due > now_ns) {
            return 0;
        }
        let bytes = probe_bytes(run.settings.size);
        if let Some(user) = self.users.get_mut(&active.owner) {
            allowed = user.allowed(allowed, bytes, now_ns, &mut self.hits.rates);
        }
        if active.owner.is_anonymous() {
            let waits = &mut self.hits.rates;
            allowed = self.anonymous.allowed(allowed, bytes, now_ns, waits);
        }
        allowed = self
            .all
            .allowed(allowed, bytes, now_ns, &mut self.hits.rates);
        if allowed == 0 {
            return 0;
        }
        if now_ns < active.held_until_ns {
            return 0;
        }
        let unanswered_count = || self.resolutions.unanswered_count(self.clock.wall(now_ns));
        if run.must_wait_for_neighbors(unanswered_count) {
            active.held_until_ns = now_ns + HELD_NS;
            return 0;
        }
        allowed
    }
}

/// Writes up to `max` due probes of a run into the batch. `ids`: source of the IDs for send
/// timestamps, if the kernel can report them by ID.
fn fill(
    batch: &mut SendBatch,
    active: &mut ActiveRun,
    number: u64,
    identity: &Identity,
    mut ids: Option<&mut StampIds>,
    max: usize,
    now_ns: u64,
) -> Vec<Outgoing> {
    let run = &mut active.run;
    let mut outgoing: Vec<Outgoing> = Vec::with_capacity(max);
    batch.clear(&run.settings.pattern);
    while outgoing.len() < max && run.due_ns(now_ns).is_some_and(|due| due <= now_ns) {
        let probe = run.take_next(identity, now_ns);
        let stamp = ids
            .as_mut()
            .filter(|_| run.settings.stamped)
            .map(|ids| ids.assign(number, probe.serial));
        let target = probe.target;
        let options = match probe.special {
            None => active.options.send,
            Some((hop_limit, _)) => SendOptions {
                ttl: Some(hop_limit),
                ..active.options.send
            },
        };
        let packet = batch.push(target.address, target.scope, &options, stamp);
        write_request(
            packet,
            target.address.is_ipv4(),
            (run.id, probe.sequence),
            &probe.token,
            run.settings.size,
            &run.settings.pattern,
        );
        if let Some((_, checksum)) = probe.special {
            balance(packet, checksum);
        }
        outgoing.push(probe);
    }
    outgoing
}

/// Passes the batch to the kernel and reports to the run what became of each probe. `explain` is called
/// with the error of a refused probe and its target.
fn submit(
    batch: &mut SendBatch,
    outgoing: Vec<Outgoing>,
    active: &mut ActiveRun,
    socket: &mut Socket,
    clock: &Clock,
    mut explain: impl FnMut(i32, Target) -> String,
) -> Submitted {
    let run = &mut active.run;
    let is_stamped = run.settings.stamped
        && matches!(
            socket.stamps,
            StampSupport::Untried | StampSupport::Supported
        );
    let mut at = 0;
    while at < batch.len() {
        let before = monotonic_ns();
        let error = match batch.send(socket.descriptor.as_fd(), at) {
            Ok(count) => {
                // One system call for many packets: each is assumed to have left when its share of
                // the time was over, until the wire says more.
                let call_ns = monotonic_ns() - before;
                let each = call_ns / count.max(1) as u64;
                for (offset, probe) in outgoing[at..at + count].iter().enumerate() {
                    let sent_ns = before + each * offset as u64;
                    run.mark_sending(probe.serial, sent_ns, (before, call_ns));
                }
                if is_stamped {
                    socket.stamps = StampSupport::Supported;
                } else if socket.stamps == StampSupport::Suspected {
                    socket.stamps = StampSupport::Unsupported;
                }
                at += count;
                continue;
            }
            Err(error) => error,
        };
        match error.raw_os_error() {
            Some(libc::EINTR) => {}
            Some(libc::EAGAIN) => {
                for _ in at..outgoing.len() {
                    run.return_to_schedule();
                }
                return Submitted {
                    count: at,
                    has_room: false,
                };
            }
            // A timestamp without an ID cannot be assigned to a probe.
            Some(libc::EINVAL) if is_stamped && socket.stamps == StampSupport::Untried => {
                socket.stamps = StampSupport::Suspected;
                for _ in at..outgoing.len() {
                    run.return_to_schedule();
                }
                break;
            }
            // IPv6 reports that a queue or a filter below the IP layer dropped the packet, IPv4 does
            // not (raw_sendmsg in net/ipv4/raw.c). For both, the wire decides.
            Some(libc::ENOBUFS) => {
                run.mark_sending(outgoing[at].serial, before, (before, 0));
                at += 1;
            }
            errno => {
                if socket.stamps == StampSupport::Suspected {
                    // It fails without as well.
                    socket.stamps = StampSupport::Untried;
                }
                let (errno, probe) = (errno.unwrap_or(0), &outgoing[at]);
                run.mark_sending(probe.serial, before, (before, 0));
                run.not_sent(probe.serial, errno, &explain(errno, probe.target), clock);
                at += 1;
            }
        }
    }
    Submitted {
        count: at,
        has_room: true,
    }
}
