//! SHELL. Routers in user space between a host and a target, for what routers of the kernel lack: limits of errors,
//! MPLS labels, equal ways by several hashes, address translation, silent MTUs, changed TTLs, another way back.
//!
//! ```text
//!   h  e0 10.1.0.2 ---- veth ---- p0  routers  p1 ---- veth ---- e0 10.255.0.2  t
//!         fd00:1::2               packet sockets                    fd00:255::2
//!
//!   router of hop 3, way 1: 10.3.1.1, fd00:3:1::1
//! ```
//!
//! | file | contents |
//! |---|---|
//! | `mod` | the thread that passes packets from router to router; ARP and neighbor discovery |
//! | `hop` | a router |
//! | `packet` | IP packets |
//! | `errors` | ICMP errors |

pub mod errors;
pub mod hop;
pub mod packet;

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fs::File;
use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::sys::{finish_checksums, read_stamped};
use super::{Error, Host, step, veth};
use hop::{Leaving, Next, Router, Way};
use packet::{ICMPV6, Packet, octets};

/// Addresses of the host.
pub const HOST: [&str; 2] = ["10.1.0.2", "fd00:1::2"];
/// Addresses of the target.
pub const TARGET: [&str; 2] = ["10.255.0.2", "fd00:255::2"];
/// Interval at which the thread checks for its end.
const STOP_CHECK_INTERVAL: Duration = Duration::from_millis(20);
/// Largest frame, in bytes.
const MAX_FRAME_BYTES: usize = 65_600;
/// Routers that a packet passes at most: more than its TTL allows, for routers that do not decrement it.
const MAX_PASSED: u16 = 600;

/// Returns the addresses of a router by its hop, from 1, and its way.
pub fn addresses(hop: u8, way: u8) -> [IpAddr; 2] {
    let six = Ipv6Addr::new(0xfd00, hop.into(), way.into(), 0, 0, 0, 0, 1);
    [Ipv4Addr::new(10, hop, way, 1).into(), six.into()]
}

/// Returns routers one behind the other.
pub fn chain(count: usize) -> Vec<Router> {
    layers(&vec![1; count])
}

/// Returns routers in layers, each as wide as given, whose routers know all of the next layer: equal ways of one router
/// each. The routers of one layer have consecutive indexes. The first layer has one. Answers go back through the first
/// router of each layer.
pub fn layers(widths: &[usize]) -> Vec<Router> {
    let mut all = Vec::new();
    let mut before = 0;
    for (at, width) in widths.iter().enumerate() {
        let first = all.len();
        for way in 0..*width {
            let mut router = Router::new(addresses(at as u8 + 1, way as u8));
            router.next[Way::There as usize] = match widths.get(at + 1) {
                None => vec![Next::Target],
                Some(next) => (first + width..first + width + next)
                    .map(Next::Router)
                    .collect(),
            };
            router.next[Way::Back as usize] = match at {
                0 => vec![Next::Host],
                _ => vec![Next::Router(before)],
            };
            all.push(router);
        }
        before = first;
    }
    all
}

/// Running routers; they end on drop.
pub struct Network {
    routers: Arc<Mutex<Vec<Router>>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
    _middle: Host,
}

impl Network {
    /// Connects a new interface `e0` of each host by routers, of which the first is the host's next hop, and gives both
    /// their addresses and routes. The target is connected to each router that has it as a neighbor.
    pub fn new(h: &Host, t: &Host, routers: Vec<Router>) -> Result<Network, Error> {
        let middle = Host::new("routers")?;
        let end =
            |host: &Host, port: &str, own: [&str; 2], router: [&str; 2]| -> Result<End, Error> {
                veth(host, "e0", &middle, port)?;
                let what = format!("attaching routers to {}", host.name());
                host.run(|| finish_checksums("e0")).map_err(step(what))?;
                for ((own, router), (length, all)) in own
                    .into_iter()
                    .zip(router)
                    .zip([(16, "0.0.0.0/0"), (32, "::/0")])
                {
                    host.address("e0", &format!("{own}/{length}"))?;
                    host.route(all, router)?;
                }
                Ok(End {
                    port: middle.port(port)?,
                    own: middle.mac(port)?,
                    host: host.mac("e0")?,
                    addresses: own
                        .map(|own| own.parse().unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED))),
                })
            };
        let ends = [
            end(h, "p0", HOST, ["10.1.0.1", "fd00:1::1"])?,
            end(t, "p1", TARGET, ["10.255.0.1", "fd00:255::1"])?,
        ];
        let routers = Arc::new(Mutex::new(routers));
        let stop = Arc::new(AtomicBool::new(false));
        let (shared, stopped) = (routers.clone(), stop.clone());
        let thread = std::thread::spawn(move || Passing::new(ends, shared).run(&stopped));
        Ok(Network {
            routers,
            stop,
            thread: Some(thread),
            _middle: middle,
        })
    }

    /// Changes a router while it runs, or reads its counts.
    ///
    /// # Panics
    /// If there is no router with this index.
    pub fn change<T>(&self, at: usize, change: impl FnOnce(&mut Router) -> T) -> T {
        change(&mut lock(&self.routers)[at])
    }
}

fn lock(routers: &Mutex<Vec<Router>>) -> std::sync::MutexGuard<'_, Vec<Router>> {
    routers.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Drop for Network {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// A link to the host or to the target.
struct End {
    port: File,
    own: [u8; 6],
    host: [u8; 6],
    addresses: [IpAddr; 2],
}

impl End {
    fn send(&mut self, ethertype: u16, body: &[u8]) {
        let mut frame = self.host.to_vec();
        frame.extend(self.own);
        frame.extend(ethertype.to_be_bytes());
        frame.extend(body);
        // A host that is down loses the frame, as on any link.
        let _ = self.port.write(&frame);
    }

    fn send_packet(&mut self, packet: &Packet) {
        let ethertype = if packet.is_ipv4() { 0x0800 } else { 0x86dd };
        self.send(ethertype, packet.bytes());
    }

    /// Answers a request for a link-layer address: every address but the host's is behind this end. Returns whether the
    /// frame was one.
    fn resolve(&mut self, frame: &[u8]) -> bool {
        let ethertype = frame.get(12..14).unwrap_or_default();
        let body = frame.get(14..).unwrap_or_default();
        match (ethertype, body) {
            // ARP: a request, of whom, for what (RFC 826).
            ([8, 6], [_, _, _, _, _, _, 0, 1, asker @ ..]) if asker.len() >= 20 => {
                let (sender, target) = (&asker[..10], &asker[16..20]);
                if octets(self.addresses[0]) != target {
                    let mut reply = vec![0, 1, 8, 0, 6, 4, 0, 2];
                    reply.extend(self.own);
                    reply.extend(target);
                    reply.extend(sender);
                    self.send(0x0806, &reply);
                }
                true
            }
            ([0x86, 0xdd], body) => self.resolve_v6(body),
            _ => false,
        }
    }

    /// The same for a neighbor solicitation (RFC 4861, section 4.3).
    fn resolve_v6(&mut self, body: &[u8]) -> bool {
        let Some(asked) = Packet::read(body).filter(|packet| packet.protocol() == ICMPV6) else {
            return false;
        };
        let Some((&[135, ..], target)) = asked.payload().split_first_chunk::<8>() else {
            return false;
        };
        let Some(target) = target.first_chunk::<16>().copied().map(Ipv6Addr::from) else {
            return true;
        };
        if IpAddr::V6(target) != self.addresses[1] {
            // From a router, solicited, with its link-layer address.
            let mut message = vec![136, 0, 0, 0, 0xe0, 0, 0, 0];
            message.extend(target.octets());
            message.extend([2, 1]);
            message.extend(self.own);
            let reply = Packet::new(target.into(), asked.source(), 255, ICMPV6, &message);
            self.send_packet(&reply);
        }
        true
    }
}

/// A packet on its way: due time, serial number to keep the order, routers passed.
type Due = Reverse<(Instant, u64, u16, Way, Next, Vec<u8>)>;

/// The thread that passes packets on.
struct Passing {
    ends: [End; 2],
    routers: Arc<Mutex<Vec<Router>>>,
    due: BinaryHeap<Due>,
    number: u64,
    started: Instant,
}

impl Passing {
    fn new(ends: [End; 2], routers: Arc<Mutex<Vec<Router>>>) -> Passing {
        Passing {
            ends,
            routers,
            due: BinaryHeap::new(),
            number: 0,
            started: Instant::now(),
        }
    }

    fn run(mut self, stop: &AtomicBool) {
        let mut buffer = vec![0; MAX_FRAME_BYTES];
        while !stop.load(Ordering::Relaxed) {
            self.wait();
            for at in 0..2 {
                while let Ok((length, _)) = read_stamped(&self.ends[at].port, &mut buffer) {
                    self.receive(at, &buffer[..length]);
                }
            }
            while self
                .due
                .peek()
                .is_some_and(|Reverse((at, ..))| *at <= Instant::now())
            {
                if let Some(Reverse((_, _, passed, way, next, bytes))) = self.due.pop()
                    && let Some(packet) = Packet::read(&bytes)
                {
                    self.arrive(passed, (packet, way, next));
                }
            }
        }
    }

    /// Waits for a frame, or until a packet is due.
    fn wait(&self) {
        let wait = self
            .due
            .peek()
            .map_or(STOP_CHECK_INTERVAL, |Reverse((at, ..))| {
                let left = at.saturating_duration_since(Instant::now());
                left.min(STOP_CHECK_INTERVAL)
            });
        // Rounded up: a timer that ends a little early would only be set again.
        let ms = u16::try_from(wait.as_micros().div_ceil(1000)).unwrap_or(u16::MAX);
        let mut wanted = [
            PollFd::new(self.ends[0].port.as_fd(), PollFlags::POLLIN),
            PollFd::new(self.ends[1].port.as_fd(), PollFlags::POLLIN),
        ];
        let _ = poll(&mut wanted, PollTimeout::from(ms));
    }

    /// Takes a frame of an end.
    fn receive(&mut self, at: usize, frame: &[u8]) {
        if self.ends[at].resolve(frame) {
            return;
        }
        let is_unicast = frame.first().is_some_and(|byte| byte & 1 == 0);
        let packet = frame
            .get(14..)
            .filter(|_| is_unicast)
            .and_then(Packet::read);
        let Some(packet) = packet else {
            return;
        };
        let is_link_local =
            matches!(packet.destination(), IpAddr::V6(to) if to.is_unicast_link_local());
        if is_link_local {
            return;
        }
        match at {
            0 => self.arrive(0, (packet, Way::There, Next::Router(0))),
            _ => {
                let first = self.behind_target();
                self.arrive(0, (packet, Way::Back, first));
            }
        }
    }

    /// Returns the router that the target's packets come to: the first that has it as a neighbor.
    fn behind_target(&self) -> Next {
        let routers = lock(&self.routers);
        let is_last = |router: &Router| router.next[Way::There as usize].contains(&Next::Target);
        let at = routers.iter().position(is_last);
        at.map_or(Next::Host, Next::Router)
    }

    /// Lets a packet arrive.
    fn arrive(&mut self, passed: u16, (packet, way, next): Leaving) {
        let at = match next {
            Next::Host => return self.ends[0].send_packet(&packet),
            Next::Target => return self.ends[1].send_packet(&packet),
            Next::Router(_) if passed >= MAX_PASSED => return,
            Next::Router(at) => at,
        };
        let now_ns = self.started.elapsed().as_nanos() as u64;
        let (leaving, delay) = {
            let mut routers = lock(&self.routers);
            let usable = usable(&routers, at, way, packet.destination());
            let Some(router) = routers.get_mut(at) else {
                return;
            };
            (router.pass(packet, way, &usable, now_ns), router.delay)
        };
        let Some((packet, way, next)) = leaving else {
            return;
        };
        self.number += 1;
        let bytes = packet.bytes().to_vec();
        let at = Instant::now() + delay;
        let one = (at, self.number, passed + 1, way, next, bytes);
        self.due.push(Reverse(one));
    }
}

/// Neighbors of a router to choose from: those on the way to another router, if the packet is for one.
fn usable(routers: &[Router], at: usize, way: Way, to: IpAddr) -> Vec<Next> {
    let all = &routers[at].next[way as usize];
    let wanted = routers
        .iter()
        .position(|router| router.addresses.contains(&to));
    let Some(wanted) = wanted.filter(|_| way == Way::There && all.len() > 1) else {
        return all.clone();
    };
    let leads = all
        .iter()
        .filter(|next| leads(routers, **next, wanted, routers.len()));
    let leads: Vec<Next> = leads.copied().collect();
    if leads.is_empty() { all.clone() } else { leads }
}

/// Whether packets to the target may pass a router behind `next`; over at most `steps` routers.
fn leads(routers: &[Router], next: Next, wanted: usize, steps: usize) -> bool {
    let Next::Router(at) = next else {
        return false;
    };
    let behind = routers
        .get(at)
        .map(|router| &router.next[Way::There as usize]);
    at == wanted
        || steps > 0
            && behind.is_some_and(|all| {
                all.iter()
                    .any(|next| leads(routers, *next, wanted, steps - 1))
            })
}
