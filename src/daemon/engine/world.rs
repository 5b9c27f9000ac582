//! SHELL. The state of the engine, and the inputs that change it: packets, link notifications,
//! packets of the listeners, time.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;
use std::time::Instant;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use tokio::sync::Notify;

use super::intake::{Intake, count_listened};
use super::links::{Known, Links, News};
use super::listen::{Heard, Listener};
use super::prober::{Around, Prober};
use super::sandbox::Sandbox;
use crate::daemon::channel::handover::{Ask, Hello, ask};
use crate::daemon::channel::settings::Settings;
use crate::linux::netlink::KernelNeighbor;
use crate::linux::proc_net_start;
use crate::linux::wall_ns;
use netsonde_core::config::{Config, Permissions};
use netsonde_core::events::{Detector, Event, Kind};
use netsonde_core::host::route::{Route, routes};
use netsonde_core::neighbors::LinkFacts;
use netsonde_core::recorder::interfaces::{Link, State};
use netsonde_core::wire::cursor::Mac;

/// Bytes read of each list of routes for gateways and networks: some hundred routes, those with the
/// shortest prefixes first. A router's list may have a million.
const ROUTES_BYTES: u64 = 32 * 1024;

/// Maximum time to wait for a full channel to the keeper: the rings bridge a hundred times that.
const KEEPER_BUSY_MS: u16 = 20;

/// The state of the engine.
pub struct World {
    pub(super) intake: Intake,
    pub(super) links: Links,
    pub(super) prober: Prober,
    pub(super) config: Config,
    pub(super) hello: Hello,
    channel: OwnedFd,
    taking_over: bool,
    pub(super) started_ns: u64,
    pub(super) started: Instant,
    /// Notified after every iteration that recorded packets.
    pub(super) packets: Rc<Notify>,
    /// Packets dropped at full listener queues.
    pub(super) listener_overflows: [u64; 3],
    /// Requests to the keeper that could not be sent.
    pub(super) unasked: u64,
    /// Readers of packets that were disconnected because they did not read.
    pub(super) readers_cut: u64,
    /// Permissions of users.
    pub(super) permissions: Permissions,
    /// Requests refused for lack of permission.
    pub(super) denials: u64,
    /// The sandbox of this process.
    pub(super) sandbox: Option<Sandbox>,
    /// Link data last passed to the neighbor table.
    networks: Vec<LinkFacts>,
    /// Event detection.
    pub(super) watch: Detector,
    /// Number of polls since the engine started.
    pub(super) looks: u64,
    /// Sockets opened by the keeper, by inode number.
    pub(super) own_sockets: Vec<u64>,
    /// Notified when an event was recorded.
    pub(super) happened: Rc<Notify>,
}

impl World {
    /// Creates the engine state from its components.
    pub fn new(
        intake: Intake,
        links: Links,
        prober: Prober,
        settings: Settings,
        hello: Hello,
        channel: OwnedFd,
    ) -> World {
        World {
            intake,
            links,
            prober,
            config: settings.config,
            permissions: settings.permissions,
            denials: 0,
            hello,
            channel,
            taking_over: false,
            started_ns: wall_ns(),
            started: Instant::now(),
            packets: Rc::new(Notify::new()),
            listener_overflows: [0; 3],
            unasked: 0,
            readers_cut: 0,
            sandbox: None,
            networks: vec![],
            watch: Detector::default(),
            looks: 0,
            own_sockets: vec![],
            happened: Rc::new(Notify::new()),
        }
    }

    /// Applies new settings. Open connections and running probes are kept.
    pub fn settle(&mut self, settings: Settings) {
        self.prober.set_limits(settings.config.ping.clone());
        self.config = settings.config;
        self.permissions = settings.permissions;
        let event = Event::new(Kind::SettingsReloaded, wall_ns(), "", "configuration");
        let event = event.with_text("new configuration applied");
        self.watch.pending.push(event);
        // The recorded interfaces and the joined groups may change.
        self.take_links();
    }

    /// Returns the channel to the keeper.
    pub fn channel(&self) -> BorrowedFd<'_> {
        self.channel.as_fd()
    }

    /// Returns whether netsonde joins its groups on this link.
    pub fn joins(&self, link: &Known) -> bool {
        self.config.interfaces.records(&link.name).0
            && self.config.listeners.join
            && link.flags & libc::IFF_MULTICAST as u32 != 0
    }

    /// Returns a descriptor for waiting for link notifications.
    pub fn links_descriptor(&self) -> io::Result<OwnedFd> {
        self.links.descriptor()
    }

    /// Records packets for one poll iteration. Returns `true` if more are waiting.
    pub fn turn(&mut self) -> bool {
        if self.prober.is_active() {
            self.intake.sightings.get_or_insert_default();
        } else {
            self.intake.sightings = None;
        }
        let more = self.intake.turn(wall_ns());
        if let Some(sightings) = &mut self.intake.sightings
            && !sightings.is_empty()
        {
            self.prober.sighted(sightings, &self.links);
            sightings.clear();
            self.prober.wake.notify_one();
        }
        if std::mem::take(&mut self.intake.unknown_interface) {
            // The notification is on its way or already here. If that fails, netlink is queried
            // again.
            let _ = self.read_links();
        }
        self.packets.notify_waiters();
        more
    }

    /// At the start: reconciles the interfaces of the record with those present.
    pub fn take_links(&mut self) {
        let links: Vec<Known> = self.links.iter().cloned().collect();
        let there: Vec<u32> = links.iter().map(|link| link.ifindex).collect();
        let gone: Vec<News> = (self
            .intake
            .recorder
            .interfaces()
            .present_indices()
            .into_iter())
        .filter(|index| !there.contains(index))
        .map(News::Gone)
        .collect();
        self.apply(gone);
        // Repeats the join requests: the keeper drops memberships that are not requested again.
        self.taking_over = true;
        self.apply(links.into_iter().map(News::Link).collect());
        self.taking_over = false;
    }

    /// Processes link notifications.
    pub fn read_links(&mut self) -> io::Result<()> {
        let news = self.links.read_news()?;
        self.apply(news);
        Ok(())
    }

    fn apply(&mut self, news: Vec<News>) {
        if news.is_empty() {
            return;
        }
        let now = wall_ns();
        for item in news {
            match item {
                News::Link(known) => self.link_is(&known, now),
                News::Addresses(known) => self.watch_link(&known, now),
                News::Gone(index) => {
                    let interfaces = self.intake.recorder.interfaces_mut();
                    if let Some(outage) = interfaces.link_gone(index, now) {
                        self.intake.recorder.declare_outage(&outage);
                    }
                    self.watch.links.remove(index, now, &mut self.watch.pending);
                    self.watch.queriers.remove_interface(index);
                    self.intake.multicast.forget(index);
                    self.intake.neighbors.forget(index);
                    // An interface with the same index may appear, and look the same.
                    self.networks.clear();
                    self.ask(Ask::Leave, index);
                }
            }
        }
        self.intake.recorder.commit();
        self.tell_events(now);
    }

    fn link_is(&mut self, known: &Known, now: u64) {
        self.watch_link(known, now);
        let (recorded, _) = self.config.interfaces.records(&known.name);
        let link = Link {
            ifindex: known.ifindex,
            name: known.name.clone(),
            hardware: known.hardware,
            up: known.is_running(),
            recorded,
        };
        let is_new = self
            .intake
            .recorder
            .interfaces()
            .present(known.ifindex)
            .is_none();
        if let Some(outage) = self.intake.recorder.interfaces_mut().link_is(&link, now) {
            self.intake.recorder.declare_outage(&outage);
        }
        let first_time = is_new || self.taking_over;
        if recorded && first_time && known.flags & libc::IFF_MULTICAST as u32 != 0 {
            self.ask(Ask::Join, known.ifindex);
        }
        if first_time && self.config.interfaces.is_promiscuous(&known.name) {
            self.ask(Ask::Promiscuous, known.ifindex);
        }
    }

    fn ask(&mut self, what: Ask, argument: u32) {
        let mut asked = ask(&self.channel, what, argument);
        // Thousands of requests exceed the channel: the keeper needs a moment to read them.
        if (asked.as_ref()).is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock) {
            let mut room = [PollFd::new(self.channel.as_fd(), PollFlags::POLLOUT)];
            let _ = poll(&mut room, PollTimeout::from(KEEPER_BUSY_MS));
            asked = ask(&self.channel, what, argument);
        }
        if let Err(error) = asked {
            self.unasked += 1;
            tracing::warn!(?what, argument, %error, "cannot send a request to the keeper");
        }
    }

    /// Reads a listener and counts its packets next to those on the wire. This host's own multicast
    /// received by loopback is excluded: the ring shows it as sent, not as received.
    pub fn listen(&mut self, listener: &mut Listener) -> io::Result<bool> {
        let mut heard: Vec<Heard> = Vec::new();
        let more = listener.read(|packet| heard.push(packet))?;
        let at = listener.counter();
        self.listener_overflows[at] = listener.overflows;
        for packet in heard {
            let loopback = self
                .links
                .get(packet.ifindex)
                .is_some_and(|link| link.hardware == 772);
            if !loopback && self.links.has_address(packet.ifindex, packet.source) {
                continue;
            }
            let interfaces = self.intake.recorder.interfaces_mut();
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
        let around = Around {
            links: &self.links,
            intake: &self.intake,
        };
        let next = self.prober.turn(&around);
        // Packets received by the prober were delivered by the IP layer.
        let heard = std::mem::take(&mut self.prober.heard);
        for (ifindex, [icmp, icmp6]) in heard {
            let interfaces = self.intake.recorder.interfaces_mut();
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
        let networks = |link: &Known| -> Vec<(std::net::IpAddr, u8)> {
            let routes = by_link.get(&link.name).into_iter().flatten();
            let routed = (routes.filter(|route| route.gateway.is_none()))
                .map(|route| (route.network, route.bits));
            link.addresses.iter().copied().chain(routed).collect()
        };
        let facts = |link: &Known| {
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
            self.intake.neighbors.set_links(&all, wall_ns());
            self.networks = all;
        }
    }

    /// Returns the kernel's neighbor entries.
    pub fn kernel_neighbors(&mut self) -> io::Result<Vec<KernelNeighbor>> {
        self.prober.kernel_neighbors()
    }

    /// Runs periodic work without notifications.
    pub fn keep_house(&mut self) {
        self.take_networks();
        self.intake.neighbors.expire(wall_ns());
        // Closes a gap that no packet followed, and commits counters.
        self.turn();
        if std::mem::take(&mut self.intake.wants_count) {
            self.ask(Ask::Count, 0);
        }
        let nameless =
            self.intake.recorder.interfaces().iter().any(|(_, slot)| {
                slot.name[0] == 0 && matches!(slot.state(), State::Up | State::Down)
            });
        if (nameless || !self.links.is_whole)
            && let Ok(mut news) = self.links.resync()
        {
            let there: Vec<u32> = self.links.iter().map(|link| link.ifindex).collect();
            let present = self.intake.recorder.interfaces().present_indices();
            news.extend(
                present
                    .into_iter()
                    .filter(|index| !there.contains(index))
                    .map(News::Gone),
            );
            self.apply(news);
        }
    }

    /// Drains the rings and commits the record before exit.
    pub fn end(&mut self) {
        while self.turn() {}
        self.look_around(&[]);
        self.intake.recorder.commit();
    }
}
