//! `netsonde doctor TARGET`: a scenario for each failure mode of a target, on a real kernel, which requires exactly
//! that finding, and healthy ways, which must have none.
//!
//! ```text
//!   h  e0 10.1.0.1, netsonded ---- 10.1.0.254 e0  r1  e1 10.2.0.1 ---- 10.2.0.2 e0  r2  e1 10.3.0.254 ---- 10.3.0.9 e0  t
//!         fd00:1::1                fd00:1::fe            fd00:2::1     fd00:2::2           fd00:3::fe      fd00:3::9
//! ```
//!
//! The scenario that the test made is the judge. The table of both kinds is in `tests/SCENARIOS.md`.
#![allow(missing_docs, clippy::unwrap_used)]

mod support;

use std::fs;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Duration;

use netsonde::lab::{self, BridgeOptions, Host, bridge, bridge_port, wait_until};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use support::mcast::*;
use support::ping::ping;
use support::{PATIENCE, Service};
use support::{firewall, inside};

#[path = "target_doctor/client.rs"]
mod client;
#[path = "target_doctor/families.rs"]
mod families;
#[path = "target_doctor/healthy.rs"]
mod healthy;
#[path = "target_doctor/local.rs"]
mod local;
#[path = "target_doctor/names.rs"]
mod names;
#[path = "target_doctor/paths.rs"]
mod paths;
#[path = "target_doctor/ports.rs"]
mod ports;
#[path = "target_doctor/table.rs"]
mod table;

type Outcome = Result<(), Box<dyn std::error::Error>>;

/// A scenario: the finding that it must have, and what it is called.
pub type Scenario = (&'static str, &'static str, support::Test);

/// Addresses of t.
const T4: &str = "10.3.0.9";
const T6: &str = "fd00:3::9";
/// A name that the name servers of the tests know.
const NAME: &str = "www.example.test";

fn main() -> ExitCode {
    let families = [
        names::SCENARIOS,
        local::SCENARIOS,
        paths::SCENARIOS,
        ports::SCENARIOS,
        families::SCENARIOS,
        healthy::SCENARIOS,
    ];
    let mut tests: Vec<(&'static str, support::Test)> = families
        .iter()
        .flat_map(|family| family.iter().map(|(_, name, test)| (*name, *test)))
        .collect();
    tests.extend(client::TESTS);
    tests.push(("table_is_up_to_date", table::table_is_up_to_date));
    support::main_with(&tests, 10)
}

/// The hosts of the drawing above.
struct Net {
    service: Service,
    h: Host,
    r1: Host,
    r2: Host,
    t: Host,
}

fn net() -> Net {
    let host = |name: &str| {
        let host = Host::new(name).unwrap();
        // Addresses are usable at once, also those of interfaces that are created later.
        host.sysctl("net/ipv6/conf/default/accept_dad", "0")
            .unwrap();
        host
    };
    let (h, r1, r2, t) = (host("h"), host("r1"), host("r2"), host("t"));
    lab::veth(&h, "e0", &r1, "e0").unwrap();
    lab::veth(&r1, "e1", &r2, "e0").unwrap();
    lab::veth(&r2, "e1", &t, "e0").unwrap();
    for (host, interface, network, number) in [
        (&h, "e0", 1, "1"),
        (&r1, "e0", 1, "fe"),
        (&r1, "e1", 2, "1"),
        (&r2, "e0", 2, "2"),
        (&r2, "e1", 3, "fe"),
        (&t, "e0", 3, "9"),
    ] {
        addresses(host, interface, network, number);
    }
    for router in [&r1, &r2] {
        forward(router);
    }
    default_routes(&h, "10.1.0.254", "fd00:1::fe");
    default_routes(&r1, "10.2.0.2", "fd00:2::2");
    // None to anywhere else.
    r2.route("10.1.0.0/24", "10.2.0.1").unwrap();
    r2.route("fd00:1::/64", "fd00:2::1").unwrap();
    default_routes(&t, "10.3.0.254", "fd00:3::fe");
    let service = Service::start(&h, &[]);
    Net {
        service,
        h,
        r1,
        r2,
        t,
    }
}

/// Addresses of both families; `number` is hexadecimal.
fn addresses(host: &Host, interface: &str, network: u8, number: &str) {
    let decimal = u8::from_str_radix(number, 16).unwrap();
    host.address(interface, &format!("10.{network}.0.{decimal}/24"))
        .unwrap();
    host.address(interface, &format!("fd00:{network}::{number}/64"))
        .unwrap();
}

fn default_routes(host: &Host, gateway: &str, gateway6: &str) {
    host.route("0.0.0.0/0", gateway).unwrap();
    host.route("::/0", gateway6).unwrap();
}

/// Makes a router, which reports as many errors as there are.
fn forward(router: &Host) {
    for (setting, value) in [
        ("net/ipv4/ip_forward", "1"),
        ("net/ipv4/icmp_ratelimit", "0"),
        ("net/ipv4/icmp_ratemask", "0"),
        ("net/ipv6/conf/all/forwarding", "1"),
        ("net/ipv6/icmp/ratelimit", "0"),
    ] {
        router.sysctl(setting, value).unwrap();
    }
}

impl Net {
    /// Asks the doctor of h for an address.
    fn doctor(&self, arguments: &[&str]) -> Diagnosis {
        doctor(&self.h, &self.service, arguments)
    }

    /// The same for a name, with a configuration of the resolver.
    fn doctor_with(&self, resolver: &Resolver, arguments: &[&str]) -> Diagnosis {
        doctor_with(&self.h, &self.service, resolver, arguments)
    }

    /// The finding of a target is this fault, and there is no other.
    fn fault(&self, target: &str, id: &str) -> Diagnosis {
        let report = self.doctor(&[target]);
        report.fault(id);
        report
    }
}

fn command(service: &Service, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_netsonde"));
    command.arg("--socket").arg(service.socket());
    command.args(["--json", "doctor"]).args(arguments);
    command
}

fn doctor(host: &Host, service: &Service, arguments: &[&str]) -> Diagnosis {
    host.run(|| diagnosis(&mut command(service, arguments), ""))
}

fn doctor_with(
    host: &Host,
    service: &Service,
    resolver: &Resolver,
    arguments: &[&str],
) -> Diagnosis {
    host.run(|| {
        resolver.enter().unwrap();
        diagnosis(&mut command(service, arguments), "")
    })
}

/// A configuration of the resolver: resolv.conf(5) and nsswitch.conf(5).
struct Resolver(tempfile::TempDir);

impl Resolver {
    fn new(resolv: &str) -> Resolver {
        Resolver::with_sources(resolv, "files dns")
    }

    /// With other sources of names than hosts(5) and name servers.
    fn with_sources(resolv: &str, sources: &str) -> Resolver {
        let directory = support::folder().unwrap();
        fs::write(directory.path().join("resolv.conf"), resolv).unwrap();
        let sources = format!("hosts: {sources}\n");
        fs::write(directory.path().join("nsswitch.conf"), sources).unwrap();
        Resolver(directory)
    }

    /// Asks t once for each question, for two seconds.
    fn of_t() -> Resolver {
        Resolver::new(&format!("nameserver {T4}\noptions timeout:2 attempts:1\n"))
    }

    /// Gives this thread, and what it starts, mounts of its own with these files.
    fn enter(&self) -> io::Result<()> {
        unshare(CloneFlags::CLONE_NEWNS)?;
        let none: Option<&str> = None;
        for name in ["resolv.conf", "nsswitch.conf"] {
            let at = mount_point(&Path::new("/etc").join(name))?;
            let own = self.0.path().join(name);
            mount(Some(&own), &at, none, MsFlags::MS_BIND, none)?;
        }
        Ok(())
    }
}

/// Where a file is mounted on: itself, or what it is a link to. That may be in /run, which is empty here.
fn mount_point(path: &Path) -> io::Result<PathBuf> {
    let Ok(link) = fs::read_link(path) else {
        return Ok(path.to_owned());
    };
    let at = Path::new("/etc").join(link);
    if !at.exists() {
        if let Some(folder) = at.parent() {
            fs::create_dir_all(folder)?;
        }
        fs::write(&at, "")?;
    }
    at.canonicalize()
}

/// A question to a name server of a test.
struct Question {
    name: String,
    /// 1 is A, 28 is AAAA.
    kind: u16,
    /// End of the question in the message.
    end: usize,
}

impl Question {
    fn read(message: &[u8]) -> Option<Question> {
        let (mut labels, mut at) = (Vec::new(), 12);
        loop {
            let length = usize::from(*message.get(at)?);
            let label = message.get(at + 1..at + 1 + length)?;
            at += 1 + length;
            if length == 0 {
                break;
            }
            labels.push(String::from_utf8_lossy(label).into_owned());
        }
        let kind = u16::from_be_bytes(message.get(at..at + 2)?.try_into().ok()?);
        Some(Question {
            name: labels.join("."),
            kind,
            end: at + 4,
        })
    }
}

/// What a name server of a test answers: nothing, or a code and addresses.
type Answer = Option<(u8, Vec<IpAddr>)>;

/// Serves names at an address of a host until the result is dropped.
fn dns(
    host: &Host,
    address: &str,
    answer: impl FnMut(&Question) -> Answer + Send + 'static,
) -> Background {
    let socket = udp_socket(host, address, 53);
    serve_names(socket.try_clone().unwrap(), socket, answer)
}

/// The same, with a socket of its own for answers.
fn serve_names(
    socket: UdpSocket,
    sender: UdpSocket,
    mut answer: impl FnMut(&Question) -> Answer + Send + 'static,
) -> Background {
    socket
        .set_read_timeout(Some(Duration::from_millis(20)))
        .unwrap();
    let mut room = [0; 2048];
    Background::counting(move || {
        let Ok((length, from)) = socket.recv_from(&mut room) else {
            return false;
        };
        let Some(question) = Question::read(&room[..length]) else {
            return false;
        };
        let Some((code, addresses)) = answer(&question) else {
            return false;
        };
        let of_kind: Vec<IpAddr> = addresses
            .into_iter()
            .filter(|one| question.kind == if one.is_ipv4() { 1 } else { 28 })
            .collect();
        let mut message = room[..2].to_vec();
        message.extend_from_slice(&[0x81, 0x80 | code, 0, 1, 0, of_kind.len() as u8, 0, 0, 0, 0]);
        message.extend_from_slice(&room[12..question.end]);
        for address in of_kind {
            let bytes = match address {
                IpAddr::V4(address) => address.octets().to_vec(),
                IpAddr::V6(address) => address.octets().to_vec(),
            };
            // The name is that at byte 12, the class IN, valid for a minute.
            message.extend_from_slice(&[0xc0, 12, 0, question.kind as u8, 0, 1, 0, 0, 0, 60, 0]);
            message.push(bytes.len() as u8);
            message.extend_from_slice(&bytes);
        }
        sender.send_to(&message, from).is_ok()
    })
}

/// Serves [`NAME`] with these addresses at t.
fn names_of(t: &Host, addresses: &[&str]) -> Background {
    let addresses: Vec<IpAddr> = addresses.iter().map(|one| one.parse().unwrap()).collect();
    dns(t, T4, move |question| match question.name == NAME {
        true => Some((0, addresses.clone())),
        false => Some((3, Vec::new())),
    })
}

fn socket_address(address: &str, port: u16) -> SocketAddr {
    SocketAddr::new(address.parse().unwrap(), port)
}

fn udp_socket(host: &Host, address: &str, port: u16) -> UdpSocket {
    let at = socket_address(address, port);
    host.run(|| UdpSocket::bind(at)).unwrap()
}

/// Accepts connections to all addresses of a host until the result is dropped.
fn tcp(host: &Host, port: u16, mut each: impl FnMut(TcpStream) + Send + 'static) -> Background {
    let listener = host
        .run(|| TcpListener::bind(socket_address("::", port)))
        .unwrap();
    listener.set_nonblocking(true).unwrap();
    Background::counting(move || match listener.accept() {
        Ok((stream, _)) => {
            each(stream);
            true
        }
        Err(_) => false,
    })
}

/// A server that keeps its connections and waits for a request.
fn patient(host: &Host, port: u16) -> Background {
    let mut held = Vec::new();
    tcp(host, port, move |stream| held.push(stream))
}
