//! SHELL. The state of the engine, and the inputs that change it: packets, link notifications,
//! packets of the listeners, time.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;
use std::time::Instant;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use tokio::sync::Notify;

use super::links::{KernelLink, LinkChange, Links};
use super::listen::{Listener, ReceivedPacket};
use super::prober::{PollContext, Prober};
use super::recording::{Recording, count_listened};
use super::sandbox::Sandbox;
use crate::daemon::channel::handover::{EngineRequest, HandoverHeader, send_request};
use crate::daemon::channel::settings::Settings;
use crate::linux::netlink::KernelNeighbor;
use crate::linux::proc_net_start;
use crate::linux::wall_ns;
use crate::varlink::server::memory::{Memory, MemoryLimits};
use netsonde_core::config::{Config, Permissions};
use netsonde_core::events::{Detector, Event, Kind};
use netsonde_core::host::route::{Route, routes};
use netsonde_core::neighbors::LinkFacts;
use netsonde_core::probe::transport::PortSet;
use netsonde_core::protocol::service::Namespace;
use netsonde_core::recorder::interfaces::{Link, State};
use netsonde_core::wire::cursor::Mac;

/// Bytes read of each list of routes for gateways and networks: some hundred routes, those with the
/// shortest prefixes first. A router's list may have a million.
const ROUTES_BYTES: u64 = 32 * 1024;

/// Maximum time to wait for a full channel to the keeper: the rings bridge a hundred times that.
const KEEPER_BUSY_MS: u16 = 20;

/// The state of the engine.
pub struct EngineState {
    pub(super) recording: Recording,
    pub(super) links: Links,
    pub(super) prober: Prober,
    pub(super) config: Config,
    pub(super) keeper: KeeperLink,
    pub(super) access: Access,
    /// Memory of clients.
    pub(super) memory: Memory,
    pub(super) monitor: Monitor,
    pub(super) started_ns: u64,
    pub(super) started: Instant,
    /// Notified after every iteration that recorded packets.
    pub(super) packets_ready: Rc<Notify>,
    /// Packets dropped at full listener queues.
    pub(super) listener_overflows: [u64; 3],
    /// Readers of packets that were disconnected because they did not read.
    pub(super) readers_disconnected: u64,
    /// The sandbox of this process.
    pub(super) sandbox: Option<Sandbox>,
    /// Link data last passed to the neighbor table.
    networks: Vec<LinkFacts>,
}

/// The engine's end of the channel to the keeper.
pub struct KeeperLink {
    /// Header of the handover: facts about the keeper and the rings.
    pub(super) header: HandoverHeader,
    channel: OwnedFd,
    /// Whether the engine has just taken over, so that all join requests are repeated.
    is_taking_over: bool,
    /// Requests to the keeper that could not be sent.
    pub(super) requests_dropped: u64,
}

/// Permissions of users, and what they cost.
pub struct Access {
    /// Permissions of users.
    pub(super) permissions: Permissions,
    /// Requests refused for lack of permission.
    pub(super) denials: u64,
}

/// Event detection, and the clients that follow it.
#[derive(Default)]
pub struct Monitor {
    /// Event detection.
    pub(super) detector: Detector,
    /// Number of polls since the engine started.
    pub(super) poll_count: u64,
    /// Sockets opened by the keeper, by inode number.
    pub(super) own_sockets: Vec<u64>,
    /// Network namespace of the service; `None` if /proc does not show it.
    pub(super) network: Option<Namespace>,
    /// Notified when an event was recorded.
    pub(super) events_ready: Rc<Notify>,
}

impl EngineState {
    /// Creates the engine state from its components.
    pub fn new(
        recording: Recording,
        links: Links,
        prober: Prober,
        settings: Settings,
        header: HandoverHeader,
        channel: OwnedFd,
    ) -> EngineState {
        let memory = Memory::new(MemoryLimits::new(&settings.config.control));
        memory.set_full(&settings.permissions.full_limits.uids);
        EngineState {
            recording,
            links,
            prober,
            memory,
            config: settings.config,
            keeper: KeeperLink {
                header,
                channel,
                is_taking_over: false,
                requests_dropped: 0,
            },
            access: Access {
                permissions: settings.permissions,
                denials: 0,
            },
            monitor: Monitor::default(),
            started_ns: wall_ns(),
            started: Instant::now(),
            packets_ready: Rc::new(Notify::new()),
            listener_overflows: [0; 3],
            readers_disconnected: 0,
            sandbox: None,
            networks: vec![],
        }
    }

    /// Applies new settings. Open connections and running probes are kept.
    pub fn apply_settings(&mut self, settings: Settings) {
        self.prober.set_limits(settings.config.ping.clone());
        self.memory
            .set_limits(MemoryLimits::new(&settings.config.control));
        self.memory.set_full(&settings.permissions.full_limits.uids);
        self.config = settings.config;
        let targets_ns = self.config.recorder.retention.ns();
        self.recording.set_targets(targets_ns);
        self.access.permissions = settings.permissions;
        let event = Event::new(Kind::SettingsReloaded, wall_ns(), "", "configuration");
        let event = event.with_text("new configuration applied");
        self.monitor.detector.pending.push(event);
        // The recorded interfaces and the joined groups may change.
        self.take_links();
    }

    /// Returns the channel to the keeper.
    pub fn channel(&self) -> BorrowedFd<'_> {
        self.keeper.channel.as_fd()
    }

    /// Returns whether netsonde joins its groups on this link.
    pub fn joins(&self, link: &KernelLink) -> bool {
        self.config.interfaces.records(&link.name).0
            && self.config.listeners.join
            && link.flags & libc::IFF_MULTICAST as u32 != 0
    }

    /// Returns a descriptor for waiting for link notifications.
    pub fn links_descriptor(&self) -> io::Result<OwnedFd> {
        self.links.descriptor()
    }

    /// Records packets for one poll iteration. Returns `true` if more are waiting.
    pub fn poll_once(&mut self) -> bool {
        if self.prober.is_active() {
            self.recording.sightings.get_or_insert_default();
        } else {
            self.recording.sightings = None;
        }
        let (has_segments, is_sighted) = (
            self.prober.has_segments(),
            !self.recording.probe_ports.is_empty(),
        );
        let living = self.recording.probe_ports.living();
        let is_changed = !self.prober.living_ports().eq(living.iter().copied());
        if has_segments != is_sighted || is_changed {
            self.recording.probe_ports = match has_segments {
                true => self.prober.segment_ports(),
                false => PortSet::default(),
            };
        }
        let (tag, evidence_ids) = self.prober.recorded();
        self.recording.set_own_probes(tag, evidence_ids);
        let more = self.recording.poll_once(wall_ns());
        if let Some(sightings) = &mut self.recording.sightings
            && !sightings.is_empty()
        {
            if has_segments {
                // Those of one probe cross both rings.
                sightings.sort_by_key(|sighting| sighting.time_ns);
            }
            self.prober.on_sightings(sightings, &self.links);
            sightings.clear();
            self.prober.wake.notify_one();
        }
        if std::mem::take(&mut self.recording.unknown_interface) {
            // The notification is on its way or already here. If that fails, netlink is queried
            // again.
            let _ = self.read_links();
        }
        self.packets_ready.notify_waiters();
        more
    }

    /// At the start: reconciles the interfaces of the record with those present.
    pub fn take_links(&mut self) {
        let links: Vec<KernelLink> = self.links.iter().cloned().collect();
        let there: Vec<u32> = links.iter().map(|link| link.ifindex).collect();
        let gone: Vec<LinkChange> = self
            .recording
            .recorder
            .interfaces()
            .present_indices()
            .into_iter()
            .filter(|index| !there.contains(index))
            .map(LinkChange::Gone)
            .collect();
        self.apply(gone);
        // Repeats the join requests: the keeper drops memberships that are not requested again.
        self.keeper.is_taking_over = true;
        self.apply(links.into_iter().map(LinkChange::Link).collect());
        self.keeper.is_taking_over = false;
    }

    /// Processes link notifications.
    pub fn read_links(&mut self) -> io::Result<()> {
        let changes = self.links.read_changes()?;
        self.apply(changes);
        Ok(())
    }

    fn apply(&mut self, changes: Vec<LinkChange>) {
        if changes.is_empty() {
            return;
        }
        let now = wall_ns();
        for item in changes {
            match item {
                LinkChange::Link(known) => self.link_is(&known, now),
                LinkChange::Addresses(known) => self.watch_link(&known, now),
                LinkChange::Gone(index) => {
                    let interfaces = self.recording.recorder.interfaces_mut();
                    if let Some(outage) = interfaces.link_gone(index, now) {
                        self.recording.recorder.declare_outage(&outage);
                    }
                    self.monitor.detector.links.remove(
                        index,
                        now,
                        &mut self.monitor.detector.pending,
                    );
                    self.monitor.detector.queriers.remove_interface(index);
                    self.recording.multicast.forget(index);
                    self.recording.neighbors.forget(index);
                    // An interface with the same index may appear, and look the same.
                    self.networks.clear();
                    self.send_request(EngineRequest::Leave, index);
                }
            }
        }
        self.recording.recorder.commit();
        self.record_events(now);
    }

    fn link_is(&mut self, known: &KernelLink, now: u64) {
        self.watch_link(known, now);
        let (recorded, _) = self.config.interfaces.records(&known.name);
        let link = Link {
            ifindex: known.ifindex,
            name: known.name.clone(),
            hardware: known.hardware,
            up: known.is_passing(),
            recorded,
        };
        let is_new = self
            .recording
            .recorder
            .interfaces()
            .present(known.ifindex)
            .is_none();
        if let Some(outage) = self.recording.recorder.interfaces_mut().link_is(&link, now) {
            self.recording.recorder.declare_outage(&outage);
        }
        let first_time = is_new || self.keeper.is_taking_over;
        if recorded && first_time && known.flags & libc::IFF_MULTICAST as u32 != 0 {
            self.send_request(EngineRequest::Join, known.ifindex);
        }
        if first_time && self.config.interfaces.is_promiscuous(&known.name) {
            self.send_request(EngineRequest::Promiscuous, known.ifindex);
        }
    }

    /// Reports that a control socket accepts no connections. The keeper checks it.
    pub fn listener_failed(&mut self) {
        self.send_request(EngineRequest::ListenerFailed, 0);
    }

    fn send_request(&mut self, what: EngineRequest, argument: u32) {
        let mut sent = send_request(&self.keeper.channel, what, argument);
        // Thousands of requests exceed the channel: the keeper needs a moment to read them.
        if sent
            .as_ref()
            .is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
        {
            let mut writable = [PollFd::new(self.keeper.channel.as_fd(), PollFlags::POLLOUT)];
            let _ = poll(&mut writable, PollTimeout::from(KEEPER_BUSY_MS));
            sent = send_request(&self.keeper.channel, what, argument);
        }
        if let Err(error) = sent {
            self.keeper.requests_dropped += 1;
            tracing::warn!(?what, argument, %error, "cannot send a request to the keeper");
        }
    }

    /// Reads a listener and counts its packets next to those on the wire. This host's own multicast
    /// received by loopback is excluded: the ring shows it as sent, not as received.
    pub fn listen(&mut self, listener: &mut Listener) -> io::Result<bool> {
        let mut heard: Vec<ReceivedPacket> = Vec::new();
        let more = listener.read(|packet| heard.push(packet))?;
        let at = listener.counter();
        self.listener_overflows[at] = listener.overflows;
        for packet in heard {
            let loopback = self
                .links
                .get(packet.ifindex)
                .is_some_and(|link| link.hardware == libc::ARPHRD_LOOPBACK);
            if !loopback && self.links.has_address(packet.ifindex, packet.source) {
                continue;
            }
            let interfaces = self.recording.recorder.interfaces_mut();
            if let Some(slot) = interfaces.present(packet.ifindex)
                && let Some(interface) = interfaces.slot_mut(slot)
            {
                count_listened(&mut interface.heard, packet.protocol);
            }
        }
        Ok(more)
    }

    /// Runs one iteration of the prober. Returns when the next is due, on the monotonic clock;
    /// `None` until a run starts.
    pub fn probe(&mut self) -> io::Result<Option<u64>> {
        let context = PollContext {
            links: &self.links,
            recording: &self.recording,
        };
        let next = self.prober.poll_once(&context);
        self.recording.keep_probes(&self.prober.notable);
        self.prober.notable.clear();
        // Packets received by the prober were delivered by the IP layer.
        let heard = std::mem::take(&mut self.prober.heard);
        for (ifindex, [icmp, icmp6]) in heard {
            let interfaces = self.recording.recorder.interfaces_mut();
            if let Some(slot) = interfaces.present(ifindex)
                && let Some(interface) = interfaces.slot_mut(slot)
            {
                interface.heard[0] += icmp;
                interface.heard[1] += icmp6;
            }
        }
        next
    }

    /// Passes the addresses, networks and gateways of each link to the neighbor table. Routes are
    /// not tracked by netlink notifications: a router has too many.
    pub fn take_networks(&mut self) {
        let read = |name: &str| proc_net_start(name, ROUTES_BYTES);
        let mut by_link: std::collections::HashMap<String, Vec<Route>> = Default::default();
        for route in routes(&read("route"), &read("ipv6_route")) {
            by_link
                .entry(route.interface.clone())
                .or_default()
                .push(route);
        }
        let networks = |link: &KernelLink| -> Vec<(std::net::IpAddr, u8)> {
            let routes = by_link.get(&link.name).into_iter().flatten();
            let routed = routes
                .filter(|route| route.gateway.is_none())
                .map(|route| (route.network, route.bits));
            link.addresses.iter().copied().chain(routed).collect()
        };
        let facts = |link: &KernelLink| {
            let mut on_link = networks(link);
            // Hosts behind a port belong to the networks of its bridge.
            if let Some(master) = link.master.and_then(|index| self.links.get(index)) {
                on_link.extend(networks(master));
            }
            let routes = by_link.get(&link.name).into_iter().flatten();
            LinkFacts {
                ifindex: link.ifindex,
                mac: link.mac.map(Mac),
                own: link.addresses.iter().map(|(address, _)| *address).collect(),
                networks: on_link,
                gateways: routes.filter_map(|route| route.gateway).collect(),
            }
        };
        let all: Vec<LinkFacts> = self.links.iter().map(facts).collect();
        if all != self.networks {
            self.recording.neighbors.set_links(&all, wall_ns());
            self.networks = all;
        }
        self.set_concerns();
    }

    /// Passes the addresses that concern this host to the thinner: its own, its groups, its gateways, and the
    /// queriers.
    fn set_concerns(&mut self) {
        let Recording {
            thinner, multicast, ..
        } = &mut self.recording;
        let groups = multicast.groups.iter();
        let groups = groups.filter(|(.., member)| member.own && member.left_ns.is_none());
        let own = self.networks.iter().flat_map(|facts| facts.own.iter());
        let own = own.copied().chain(groups.map(|(_, group, ..)| group));
        let gateways = self.networks.iter().flat_map(|facts| facts.gateways.iter());
        let queriers = multicast.queriers.iter(wall_ns());
        let queriers = queriers.map(|(querier, _)| querier.address);
        thinner.set_concerns(own, gateways.copied().chain(queriers));
    }

    /// Returns the kernel's neighbor entries.
    pub fn kernel_neighbors(&mut self) -> io::Result<Vec<KernelNeighbor>> {
        self.prober.kernel_neighbors()
    }

    /// Runs periodic work without notifications.
    pub fn run_housekeeping(&mut self) {
        self.take_networks();
        self.recording.neighbors.expire(wall_ns());
        self.recording.resync();
        // Closes a gap that no packet followed, and commits counters.
        self.poll_once();
        if std::mem::take(&mut self.recording.wants_count) {
            self.send_request(EngineRequest::Count, 0);
        }
        let nameless = self
            .recording
            .recorder
            .interfaces()
            .iter()
            .any(|(_, slot)| slot.name[0] == 0 && matches!(slot.state(), State::Up | State::Down));
        if (nameless || !self.links.is_whole)
            && let Ok(mut changes) = self.links.resync()
        {
            let there: Vec<u32> = self.links.iter().map(|link| link.ifindex).collect();
            let present = self.recording.recorder.interfaces().present_indices();
            changes.extend(
                present
                    .into_iter()
                    .filter(|index| !there.contains(index))
                    .map(LinkChange::Gone),
            );
            self.apply(changes);
        }
    }

    /// Drains the rings and commits the record before exit.
    pub fn end(&mut self) {
        while self.poll_once() {}
        self.poll_changes(&[]);
        self.recording.recorder.commit();
    }
}
