//! Senders, receivers, queriers and routers for multicast scenarios, and runs of the doctor.
#![allow(dead_code, clippy::unwrap_used, missing_docs)]

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

pub use netsonde::lab::messages::*;
use netsonde::lab::{Host, wait_until};
use netsonde::linux::option::set_option;
use serde_json::Value;
use socket2::{Domain, InterfaceIndexOrAddress, Protocol, Socket, Type};

use super::{PATIENCE, Service};

pub const GROUP: &str = "239.1.1.1";
pub const GROUP6: &str = "ff15::1:1";
/// Interval between two packets of a sender.
const PACE: Duration = Duration::from_millis(10);

pub fn index(host: &Host, interface: &str) -> u32 {
    host.run(|| nix::net::if_::if_nametoindex(interface))
        .unwrap()
}

/// A step repeated by a thread of its own until this value is dropped, and how often it succeeded.
pub struct Background {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
    pub count: Arc<AtomicU64>,
}

impl Background {
    fn start(mut step: impl FnMut(u64) -> bool + Send + 'static) -> Background {
        let stop = Arc::new(AtomicBool::new(false));
        let count = Arc::new(AtomicU64::new(0));
        let (ended, counted) = (stop.clone(), count.clone());
        let thread = std::thread::spawn(move || {
            let mut number = 0;
            while !ended.load(Ordering::Relaxed) {
                if step(number) {
                    counted.fetch_add(1, Ordering::Relaxed);
                }
                number += 1;
            }
        });
        Background {
            stop,
            thread: Some(thread),
            count,
        }
    }

    /// Counts how often a closure, called every millisecond, returns true.
    pub fn counting(mut found: impl FnMut() -> bool + Send + 'static) -> Background {
        Background::start(move |_| {
            let is_found = found();
            if !is_found {
                std::thread::sleep(Duration::from_millis(1));
            }
            is_found
        })
    }

    pub fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// A UDP socket in a host.
pub fn socket(host: &Host, is_ipv4: bool) -> Socket {
    let domain = if is_ipv4 { Domain::IPV4 } else { Domain::IPV6 };
    let socket = host
        .run(|| Socket::new(domain, Type::DGRAM, Some(Protocol::UDP)))
        .unwrap();
    socket.set_reuse_address(true).unwrap();
    socket
}

/// Settings of a sender.
pub struct Sending {
    pub from: Option<IpAddr>,
    pub by: Option<&'static str>,
    pub ttl: u32,
    pub looped: bool,
    pub payload: fn(u64) -> Vec<u8>,
}

impl Default for Sending {
    fn default() -> Sending {
        Sending {
            from: None,
            by: Some("e0"),
            ttl: 1,
            looped: true,
            payload: |number| format!("packet {number} of a stream").into_bytes(),
        }
    }
}

/// Sends to a group and port until the result is dropped.
pub fn send(host: &Host, group: &str, how: Sending) -> Background {
    let group: IpAddr = group.parse().unwrap();
    let socket = socket(host, group.is_ipv4());
    if let Some(from) = how.from {
        socket.bind(&SocketAddr::new(from, 0).into()).unwrap();
    }
    let by = how.by.map_or(0, |name| index(host, name));
    if group.is_ipv4() {
        let request = libc::ip_mreqn {
            imr_multiaddr: libc::in_addr { s_addr: 0 },
            imr_address: libc::in_addr { s_addr: 0 },
            imr_ifindex: by as i32,
        };
        if by != 0 {
            set_option(&socket, libc::IPPROTO_IP, libc::IP_MULTICAST_IF, &request).unwrap();
        }
        socket.set_multicast_ttl_v4(how.ttl).unwrap();
        socket.set_multicast_loop_v4(how.looped).unwrap();
    } else {
        socket.set_multicast_if_v6(by).unwrap();
        socket.set_multicast_hops_v6(how.ttl).unwrap();
        socket.set_multicast_loop_v6(how.looped).unwrap();
    }
    let to = SocketAddr::new(group, PORT).into();
    Background::start(move |number| {
        std::thread::sleep(PACE);
        socket.send_to(&(how.payload)(number), &to).is_ok()
    })
}

/// Sends frames on an interface until the result is dropped.
pub fn send_frames(
    host: &Host,
    interface: &str,
    mut make: impl FnMut(u64) -> Vec<u8> + Send + 'static,
) -> Background {
    let mut port = host.port(interface).unwrap();
    Background::start(move |number| {
        std::thread::sleep(PACE);
        port.write_all(&make(number)).is_ok()
    })
}

/// Sends one frame.
pub fn send_frame(host: &Host, interface: &str, frame: &[u8]) {
    host.port(interface).unwrap().write_all(frame).unwrap();
}

pub fn join_on(socket: &Socket, group: IpAddr, ifindex: u32) -> io::Result<()> {
    match group {
        IpAddr::V4(group) => {
            socket.join_multicast_v4_n(&group, &InterfaceIndexOrAddress::Index(ifindex))
        }
        IpAddr::V6(group) => socket.join_multicast_v6(&group, ifindex),
    }
}

/// A receiver: joined on an interface, bound to the group and port, reading.
pub fn receive(host: &Host, group: &str, interface: &str) -> Background {
    let address: IpAddr = group.parse().unwrap();
    let socket = socket(host, address.is_ipv4());
    socket.bind(&SocketAddr::new(address, PORT).into()).unwrap();
    join_on(&socket, address, index(host, interface)).unwrap();
    read(socket)
}

/// Reads from a socket until the result is dropped, which also leaves the groups.
pub fn read(mut socket: Socket) -> Background {
    socket
        .set_read_timeout(Some(Duration::from_millis(20)))
        .unwrap();
    let mut room = [0; 2048];
    Background::start(move |_| socket.read(&mut room).is_ok())
}

/// Waits until a count increases, or if it should not, until it was unchanged for 300 ms.
pub fn flows(what: &str, counted: &Background, should: bool) {
    let mut last = counted.count();
    let mut same_since = std::time::Instant::now();
    let met = wait_until(PATIENCE, || {
        let now = counted.count();
        if now != last {
            last = now;
            same_since = std::time::Instant::now();
            should
        } else {
            !should && same_since.elapsed() > Duration::from_millis(300)
        }
    });
    assert!(met, "{what}: {last}");
}

/// Result of a run of the doctor.
pub struct Diagnosis {
    pub code: i32,
    pub verdict: String,
    pub findings: Vec<Value>,
    pub text: String,
}

impl Diagnosis {
    pub fn ids(&self) -> Vec<&str> {
        self.findings
            .iter()
            .map(|one| one["id"].as_str().unwrap())
            .collect()
    }

    /// Requires exactly this fault.
    pub fn fault(&self, id: &str) {
        assert_eq!(self.ids(), [id], "{}", self.text);
        assert_eq!(self.findings[0]["severity"], "fault", "{}", self.text);
        assert_eq!(
            (self.verdict.as_str(), self.code),
            ("fault", 1),
            "{}",
            self.text
        );
    }

    /// Requires the verdict healthy with exactly this warning or note.
    pub fn healthy_but(&self, severity: &str, id: &str) {
        assert_eq!(self.ids(), [id], "{}", self.text);
        assert_eq!(self.findings[0]["severity"], severity, "{}", self.text);
        assert_eq!(
            (self.verdict.as_str(), self.code),
            ("healthy", 0),
            "{}",
            self.text
        );
    }

    /// Requires the verdict undetermined with exactly this finding.
    pub fn undetermined(&self, id: &str) {
        assert_eq!(self.ids(), [id], "{}", self.text);
        assert_eq!(
            (self.verdict.as_str(), self.code),
            ("undetermined", 2),
            "{}",
            self.text
        );
    }

    pub fn healthy(&self) {
        assert_eq!(self.ids(), [""; 0], "{}", self.text);
        assert_eq!(
            (self.verdict.as_str(), self.code),
            ("healthy", 0),
            "{}",
            self.text
        );
    }

    pub fn consistent(&self) {
        assert_eq!(self.findings[0]["certainty"], "consistent", "{}", self.text);
    }

    pub fn proved(&self) {
        assert_eq!(self.findings[0]["certainty"], "proved", "{}", self.text);
    }
}

/// Runs a doctor that prints JSON. `log` is shown with its output where that is not as required.
pub fn diagnosis(command: &mut Command, log: &str) -> Diagnosis {
    let output = command.stdin(Stdio::null()).output().unwrap();
    let text = format!(
        "{command:?}\n{}{}\n{log}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    let printed: Value =
        serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{text}"));
    Diagnosis {
        code: output.status.code().unwrap(),
        verdict: printed["verdict"].as_str().unwrap().to_owned(),
        findings: printed["findings"].as_array().unwrap().clone(),
        text,
    }
}

/// Runs `mcast doctor` in a host.
pub fn doctor(host: &Host, service: &Service, arguments: &[&str]) -> Diagnosis {
    let mut command = Command::new(env!("CARGO_BIN_EXE_netsonde"));
    command.arg("--socket").arg(service.socket());
    command
        .args(["--json", "mcast", "doctor", "--duration", "800ms"])
        .args(arguments);
    host.run(|| diagnosis(&mut command, ""))
}

/// Runs `doctor` for a whole host.
pub fn doctor_of_host(host: &Host, service: &Service, arguments: &[&str]) -> Diagnosis {
    let mut command = Command::new(env!("CARGO_BIN_EXE_netsonde"));
    command.arg("--socket").arg(service.socket());
    command.args(["--json", "doctor"]).args(arguments);
    let mut diagnosis = host.run(|| diagnosis(&mut command, ""));
    // These counters are shared by all namespaces of the machine, so that other tests change them.
    let shared = ["backlog-drops", "neighbour-table-full"];
    diagnosis
        .findings
        .retain(|one| !shared.iter().any(|id| one["id"] == *id));
    diagnosis
}

/// Runs the doctor on a capture file.
pub fn doctor_of_file(path: &std::path::Path, group: &str) -> Diagnosis {
    let mut command = Command::new(env!("CARGO_BIN_EXE_netsonde"));
    command
        .args(["--json", "mcast", "doctor", group, "--read"])
        .arg(path);
    diagnosis(&mut command, "")
}

/// A minimal multicast routing daemon: the routing socket, on which interfaces and routes are set. Routing
/// ends when it is dropped.
pub struct Routing {
    pub socket: Socket,
}

/// MRT_INIT, MRT_ADD_VIF, MRT_ADD_MFC (linux/mroute.h).
const INIT: i32 = 200;
const ADD_VIF: i32 = 202;
const ADD_MFC: i32 = 204;

#[repr(C)]
#[derive(Clone, Copy)]
struct Vifctl {
    number: u16,
    flags: u8,
    threshold: u8,
    rate: u32,
    ifindex: u32,
    remote: u32,
}

#[repr(C)]
#[derive(Clone, Copy)]
struct Mfcctl {
    origin: [u8; 4],
    group: [u8; 4],
    parent: u16,
    ttls: [u8; 32],
    counts: [u32; 3],
    expire: i32,
}

impl Routing {
    pub fn start(host: &Host) -> io::Result<Routing> {
        let socket = host.run(|| Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::from(2))))?;
        set_option(&socket, libc::IPPROTO_IP, INIT, &1i32)?;
        Ok(Routing { socket })
    }

    pub fn vif(&self, number: u16, ifindex: u32, threshold: u8) {
        // VIFF_USE_IFINDEX.
        let request = Vifctl {
            number,
            flags: 8,
            threshold,
            rate: 0,
            ifindex,
            remote: 0,
        };
        set_option(&self.socket, libc::IPPROTO_IP, ADD_VIF, &request).unwrap();
    }

    /// Adds a route from an origin to a group: in on `parent`, out on vif 1 (vif 0 if `parent` is 1) with this
    /// threshold.
    pub fn route(&self, origin: &str, group: &str, parent: u16, threshold: u8) {
        let mut ttls = [0; 32];
        ttls[if parent == 1 { 0 } else { 1 }] = threshold;
        let (origin, group): (Ipv4Addr, Ipv4Addr) =
            (origin.parse().unwrap(), group.parse().unwrap());
        let request = Mfcctl {
            origin: origin.octets(),
            group: group.octets(),
            parent,
            ttls,
            counts: [0; 3],
            expire: 0,
        };
        set_option(&self.socket, libc::IPPROTO_IP, ADD_MFC, &request).unwrap();
    }
}

/// The same for IPv6.
pub struct Routing6 {
    socket: Socket,
}

/// struct mif6ctl (linux/mroute6.h).
#[repr(C)]
#[derive(Clone, Copy)]
struct Mif6ctl {
    number: u16,
    flags: u8,
    threshold: u8,
    ifindex: u16,
    rate: u32,
}

/// struct mf6cctl: addresses are sockaddr_in6.
#[repr(C)]
#[derive(Clone, Copy)]
struct Mf6cctl {
    origin: [u8; 28],
    group: [u8; 28],
    parent: u16,
    outputs: [u32; 8],
}

impl Routing6 {
    pub fn start(host: &Host) -> io::Result<Routing6> {
        let icmp = Some(Protocol::ICMPV6);
        let socket = host.run(|| Socket::new(Domain::IPV6, Type::RAW, icmp))?;
        set_option(&socket, libc::IPPROTO_IPV6, INIT, &1i32)?;
        Ok(Routing6 { socket })
    }

    pub fn mif(&self, number: u16, ifindex: u32) {
        let request = Mif6ctl {
            number,
            flags: 0,
            threshold: 1,
            ifindex: ifindex as u16,
            rate: 0,
        };
        set_option(&self.socket, libc::IPPROTO_IPV6, ADD_VIF, &request).unwrap();
    }

    /// Adds a route from an origin to a group: in on interface 0, out on interface 1.
    pub fn route(&self, origin: &str, group: &str) {
        let address = |text: &str| {
            let mut bytes = [0; 28];
            bytes[..2].copy_from_slice(&(libc::AF_INET6 as u16).to_ne_bytes());
            let of: std::net::Ipv6Addr = text.parse().unwrap();
            bytes[8..24].copy_from_slice(&of.octets());
            bytes
        };
        let request = Mf6cctl {
            origin: address(origin),
            group: address(group),
            parent: 0,
            outputs: [2, 0, 0, 0, 0, 0, 0, 0],
        };
        set_option(&self.socket, libc::IPPROTO_IPV6, ADD_MFC, &request).unwrap();
    }
}
