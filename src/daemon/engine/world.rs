//! SHELL. Everything that the engine knows, and what changes it: packets, news of links, packets
//! that were heard, time.

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

/// Bytes of each list of routes that are looked at for gateways and networks: some hundred routes, those of
/// the shortest prefixes first. A router's list may have a million.
const ROUTES_BYTES: u64 = 32 * 1024;

/// How long a full channel to the keeper is waited for: the rings bridge a hundred times that.
const KEEPER_BUSY_MS: u16 = 20;

/// What the engine knows.
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
    /// Rung after every turn that took packets in.
    pub(super) packets: Rc<Notify>,
    /// Packets that listeners had no room for.
    pub(super) listener_overflows: [u64; 3],
    /// Requests to the keeper that could not be sent.
    pub(super) unasked: u64,
    /// Readers of packets that were cut off because they did not read.
    pub(super) readers_cut: u64,
    /// Who may do what.
    pub(super) permissions: Permissions,
    /// Requests that were refused for want of permission.
    pub(super) denials: u64,
    /// What this process is confined by.
    pub(super) sandbox: Option<Sandbox>,
    /// What the table of neighbours was last told of links.
    networks: Vec<LinkFacts>,
    /// What happens.
    pub(super) watch: Detector,
    /// How often it was looked around.
    pub(super) looks: u64,
    /// Sockets that the keeper opened, by inode number.
    pub(super) own_sockets: Vec<u64>,
    /// Rung when something has happened.
    pub(super) happened: Rc<Notify>,
}

impl World {
    /// Puts the parts together.
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

    /// Takes new settings: whoever is connected stays so, and what runs goes on.
    pub fn settle(&mut self, settings: Settings) {
        self.prober.set_limits(settings.config.ping.clone());
        self.config = settings.config;
        self.permissions = settings.permissions;
        let event = Event::new(Kind::SettingsReloaded, wall_ns(), "", "configuration");
        let event = event.with_text("a new configuration is in force");
        self.watch.pending.push(event);
        // Which interfaces are recorded, and which groups joined.
        self.take_links();
    }

    /// The channel to the keeper.
    pub fn channel(&self) -> BorrowedFd<'_> {
        self.channel.as_fd()
    }

    /// Does netsonde join its groups on this link?
    pub fn joins(&self, link: &Known) -> bool {
        self.config.interfaces.records(&link.name).0
            && self.config.listeners.join
            && link.flags & libc::IFF_MULTICAST as u32 != 0
    }

    /// A descriptor to wait for news of links with.
    pub fn links_descriptor(&self) -> io::Result<OwnedFd> {
        self.links.descriptor()
    }

    /// Takes packets in for one turn. `true`: more is waiting.
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
            // Its news is on the way or already here; what fails will be tried again by netlink.
            let _ = self.read_links();
        }
        self.packets.notify_waiters();
        more
    }

    /// At the start: brings the record's interfaces in line with those that are there.
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
        // The keeper knows which memberships it holds, and wants to be told which are still wanted.
        self.taking_over = true;
        self.apply(links.into_iter().map(News::Link).collect());
        self.taking_over = false;
    }

    /// Reads news of links.
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
                    // One of the same index may come, and look the same.
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
        // Thousands of links at once are more than the channel holds: the keeper needs a moment to read.
        if (asked.as_ref()).is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock) {
            let mut room = [PollFd::new(self.channel.as_fd(), PollFlags::POLLOUT)];
            let _ = poll(&mut room, PollTimeout::from(KEEPER_BUSY_MS));
            asked = ask(&self.channel, what, argument);
        }
        if let Err(error) = asked {
            self.unasked += 1;
            tracing::warn!(?what, argument, %error, "cannot ask the keeper");
        }
    }

    /// Reads a listener and counts what it heard beside what the wire carried. What this host sent
    /// itself and heard by loopback of its own multicast is left out: the ring shows it as sent, not
    /// as received.
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

    /// One turn of the prober. Returns when the next is due, by the monotonic clock; `None`: when
    /// somebody begins to probe.
    pub fn probe(&mut self) -> io::Result<Option<u64>> {
        let around = Around {
            links: &self.links,
            intake: &self.intake,
        };
        let next = self.prober.turn(&around);
        // What the prober heard, the IP layer let through.
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

    /// Tells the table of neighbours which addresses, networks and gateways each link has. Neither netlink
    /// nor anything else tells of routes here: a router's would be too many.
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
            // What stands behind a port is of its bridge's networks.
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
            self.intake.neighbors.links_are(&all, wall_ns());
            self.networks = all;
        }
    }

    /// What the kernel believes of its neighbours.
    pub fn kernel_neighbors(&mut self) -> io::Result<Vec<KernelNeighbor>> {
        self.prober.kernel_neighbors()
    }

    /// What has no event of its own.
    pub fn keep_house(&mut self) {
        self.take_networks();
        self.intake.neighbors.keep_house(wall_ns());
        // Closes a gap after which nothing has come, and commits what only was counted.
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

    /// The last act: everything that was taken in is made last.
    pub fn end(&mut self) {
        while self.turn() {}
        self.look_around(&[]);
        self.intake.recorder.commit();
    }
}
