//! SHELL. Event detection: polls state once per second, and records and logs changes.

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt};

use nix::time::ClockId;

use super::links::{KernelLink, Links};
use super::service::status;
use super::state::EngineState;
use crate::linux::wall_ns;
use crate::linux::{clock_ns, monotonic_ns, proc_net_start};
use netsonde_core::events::links::LinkSnapshot;
use netsonde_core::events::multicast::{Querier, Stream};
use netsonde_core::events::service::{Clocks, Sniffer};
use netsonde_core::events::{Category, Event, Kind, RecordGap, Severity, decode, encode};
use netsonde_core::multicast::QuerierState;
use netsonde_core::protocol::service::Limit;
use netsonde_core::recorder::interfaces::State;
use netsonde_core::sockets::listed;
use netsonde_core::wire::cursor::Mac;

/// Target of log lines that are events.
pub const EVENT: &str = "netsonde::event";
/// Number of housekeeping runs between two checks of the limits, which allocate their names.
const LIMITS_EVERY: u64 = 5;
/// Maximum size read: the file lists packet sockets with about 80 bytes each, and a host has a
/// handful.
const SNIFFERS_BYTES: u64 = 64 * 1024;

/// Returns the inode numbers of those descriptors that are sockets, by which /proc/net and
/// sock_diag identify them.
pub fn sockets<'a>(descriptors: impl Iterator<Item = &'a OwnedFd>) -> Vec<u64> {
    let inode = |descriptor: &OwnedFd| {
        let file = File::from(descriptor.as_fd().try_clone_to_owned().ok()?);
        let metadata = file.metadata().ok()?;
        metadata.file_type().is_socket().then(|| metadata.ino())
    };
    descriptors.filter_map(inode).collect()
}

/// Returns the name of an interface, or an empty string.
fn name(links: &Links, ifindex: u32) -> &str {
    links.get(ifindex).map_or("", |link| &link.name[..])
}

impl EngineState {
    /// Restores since when this host has had its addresses from the event log, before the record is
    /// read again. Claims before that time are not conflicts, later ones are.
    pub fn remember_addresses(&mut self) {
        let events = self.events();
        for link in self.links.iter() {
            for (address, _) in &link.addresses {
                let subject = address.to_string();
                let added = events
                    .iter()
                    .rev()
                    .find(|event| event.kind == Kind::AddressAdded && event.subject == subject);
                let since_ns = added.map_or(0, |event| event.time_ns);
                self.recording
                    .neighbors
                    .set_address_since(link.ifindex, *address, since_ns);
            }
        }
    }

    /// Restores the links as the last engine left them, before links are reported.
    pub fn remember_links(&mut self) {
        for (_, slot) in self.recording.recorder.interfaces().iter() {
            if slot.name[0] != 0 && matches!(slot.state(), State::Up | State::Down) {
                let running = slot.state() == State::Up;
                self.monitor.detector.links.restore(
                    slot.ifindex,
                    &slot.name(),
                    running,
                    slot.changed_ns,
                );
            }
        }
        if self.recording.recorder.engine_starts() == 1 {
            let event = Event::new(Kind::RecordBegun, wall_ns(), "", "record");
            self.monitor
                .detector
                .pending
                .push(event.with_text("a new record begins; earlier packets are not available"));
        }
        // What was rebuilt from the record raises no events.
        self.recording.neighbors.drain_events();
    }

    /// Passes a link's current state to the event tracker.
    pub(super) fn watch_link(&mut self, known: &KernelLink, now: u64) {
        let link = LinkSnapshot {
            ifindex: known.ifindex,
            name: known.name.clone(),
            up: known.is_up(),
            carrier: known.has_carrier(),
            running: known.is_running(),
            mtu: known.mtu,
            mac: known.mac.map(|mac| Mac(mac).to_string()),
            master: known.master.map(|index| self.links.name(index)),
            promiscuity: known.promiscuity,
            addresses: known.addresses.clone(),
        };
        self.monitor
            .detector
            .links
            .update(link, now, &mut self.monitor.detector.pending);
    }

    /// Polls state for which there is no notification, and emits an event per change.
    pub fn poll_changes(&mut self, clients: &[Limit]) {
        let now = wall_ns();
        for (ifindex, time_ns, news) in self.recording.neighbors.drain_events() {
            let interface = name(&self.links, ifindex);
            self.monitor
                .detector
                .on_neighbor_event(interface, time_ns, &news);
        }
        for loss in std::mem::take(&mut self.prober.losses) {
            self.monitor.detector.on_probe_loss(&loss);
        }
        self.watch_multicast(now);
        self.watch_sniffers(now);
        let clocks = Clocks {
            monotonic_ns: monotonic_ns(),
            wall_ns: wall_ns(),
            boot_ns: clock_ns(ClockId::CLOCK_BOOTTIME),
        };
        self.monitor
            .detector
            .clocks
            .update(clocks, &mut self.monitor.detector.pending);
        // The first time at once: what was reached before raises no event.
        let is_time = self.monitor.poll_count.is_multiple_of(LIMITS_EVERY);
        self.monitor.poll_count += 1;
        if is_time {
            let all = status::own_limits(self);
            // The limits of the event log itself raise no events.
            let all = all
                .iter()
                .chain(clients)
                .filter(|one| !one.name.contains("events"));
            let all = all.map(|one| (&one.name[..], one.limit, one.hits));
            self.monitor
                .detector
                .limits
                .update(all, now, &mut self.monitor.detector.pending);
        }
        for gap in self.recording.recorder.new_gaps() {
            let reply = status::gap(&self.recording.recorder, &gap);
            self.monitor.detector.on_gap(RecordGap {
                kind: &reply.kind,
                subject: reply.subject.as_deref().unwrap_or(""),
                from_ns: gap.from_ns,
                to_ns: gap.to_ns,
                count: gap.count,
            });
        }
        self.record_events(now);
    }

    fn watch_multicast(&mut self, now: u64) {
        let multicast = &self.recording.multicast;
        let queriers = multicast
            .queriers
            .iter(now)
            .filter(|(_, standing)| {
                matches!(standing, QuerierState::Elected | QuerierState::Overdue)
            })
            .map(|(querier, _)| Querier {
                ifindex: querier.ifindex,
                interface: name(&self.links, querier.ifindex).to_owned(),
                address: querier.address,
                version: querier.version,
                last_ns: querier.last_ns,
            });
        let out = &mut self.monitor.detector.pending;
        self.monitor
            .detector
            .queriers
            .update(queriers.collect(), now, out);
        let streams = multicast
            .streams
            .sorted()
            .into_iter()
            .filter(|(_, stream)| !stream.outbound)
            .map(|(key, stream)| Stream {
                key: (
                    key.ifindex,
                    key.source,
                    key.group,
                    key.source_port,
                    key.port,
                ),
                interface: name(&self.links, key.ifindex).to_owned(),
                packets: stream.packets,
                lost: stream
                    .rtp
                    .as_ref()
                    .map(|rtp| rtp.lost())
                    .or_else(|| stream.test.as_ref().map(|test| test.lost())),
                first_ns: stream.first_ns,
                last_ns: stream.last_ns,
                longest_gap_ns: stream.longest_gap_ns,
            });
        self.monitor
            .detector
            .streams
            .update(streams.collect(), now, out);
    }

    fn watch_sniffers(&mut self, now: u64) {
        let text = proc_net_start("packet", SNIFFERS_BYTES);
        let others = (listed::packet(&text).into_iter())
            // A socket with protocol 0 receives nothing: it only sends.
            .filter(|socket| {
                socket.protocol != 0 && !self.monitor.own_sockets.contains(&socket.inode)
            })
            .map(|socket| Sniffer {
                inode: socket.inode,
                uid: socket.uid,
                interface: name(&self.links, socket.ifindex).to_owned(),
                protocol: socket.protocol_name(),
            });
        self.monitor.detector.sniffers.update(
            others.collect(),
            now,
            &mut self.monitor.detector.pending,
        );
    }

    /// Records new events, and wakes clients that follow them.
    pub(super) fn record_events(&mut self, now: u64) {
        let events = self.monitor.detector.drain(now);
        if events.is_empty() {
            return;
        }
        for mut event in events {
            let recorder = &mut self.recording.recorder;
            event.number = recorder.event_totals().0 + 1;
            recorder.keep_event(event.kind.category() as usize, &encode(&event));
            if self.config.events.journal.includes(event.severity) {
                log(&event);
            }
        }
        self.recording.recorder.commit();
        self.monitor.events_ready.notify_waiters();
    }

    /// Returns the stored events, oldest first.
    pub fn events(&self) -> Vec<Event> {
        let recorder = &self.recording.recorder;
        let mut all: Vec<Event> = Category::ALL
            .into_iter()
            .flat_map(|category| recorder.events(category as usize).filter_map(decode))
            .collect();
        all.sort_by_key(|event| event.number);
        all
    }
}

/// Writes an event to the service's own log, with its parts as fields.
fn log(event: &Event) {
    let kind = event.kind.name();
    let (interface, subject) = (&event.interface[..], &event.subject[..]);
    let (severity, number) = (event.severity.name(), event.number);
    let text = &event.text;
    if event.severity == Severity::Warning {
        tracing::warn!(target: EVENT, event = kind, severity, interface, subject, number, "{text}");
    } else {
        tracing::info!(target: EVENT, event = kind, severity, interface, subject, number, "{text}");
    }
}
