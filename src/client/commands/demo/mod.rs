//! SHELL. The demonstration: a small private network, the service in it, real traffic, and the
//! commands at work, with a sentence of explanation each. It ends by itself, leaves nothing behind,
//! and its exit status is 0 only when what it showed is what it promised.
//!
//! ```text
//!   client  e0 10.0.0.1 --- 10.0.0.254 p1
//!   netsonded runs here                     router
//!           e1 10.1.0.1 --- 10.1.0.254 p2          --- p3 10.9.0.254 --- 10.9.0.9 e0  server
//! ```
//!
//! | file | contents |
//! |---|---|
//! | `mod` | the network, and scenes about this host and its record |
//! | `multicast` | memberships, and groups that do not arrive |
//! | `path` | faults between routers |

mod multicast;
mod path;

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener, TcpStream, UdpSocket};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use clap::ValueEnum;

use crate::client::cli::args::{COLUMNS, DemoArgs, DemoScene, Global};
use crate::client::failure::Failure;
use crate::client::render::style::Style;
use crate::client::render::wrap::fit;
use crate::client::screen;
use crate::client::standalone::Standalone;
use crate::lab::{self, Host, messages, traffic, veth, wait_until};
use netsonde_core::text::counted;

/// Maximum time to wait for anything.
const PATIENCE: Duration = Duration::from_secs(10);

const SERVER: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 9);
const CLIENT: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
const GROUP: Ipv4Addr = Ipv4Addr::new(239, 1, 1, 1);

/// Time between two questions while waiting: the service logs each export of payload, and the log takes 200
/// such lines of a user in ten seconds.
const ASK_INTERVAL: Duration = Duration::from_millis(100);
/// Indentation of the output of a command.
const INDENT: usize = 4;

/// A scene: shows something and returns whether the expected result appeared.
type Scene = fn(&Demo) -> Result<bool, Failure>;

fn scene(of: DemoScene) -> Scene {
    match of {
        DemoScene::Status => Demo::health,
        DemoScene::Past => Demo::past,
        DemoScene::Errors => Demo::unreachable,
        DemoScene::Ping => Demo::ping,
        DemoScene::Doctor => Demo::doctor_of_host,
        DemoScene::Fates => Demo::lost,
        DemoScene::Path => Demo::filtered_port,
        DemoScene::BlackHole => Demo::black_hole,
        DemoScene::Neighbors => Demo::neighbors,
        DemoScene::Groups => Demo::group,
        DemoScene::Interface => Demo::wrong_interface,
        DemoScene::Firewall => Demo::firewall,
        DemoScene::Querier => Demo::querier_gone,
        DemoScene::Drops => Demo::drops,
        DemoScene::Restart => Demo::killed,
        DemoScene::Events => Demo::events,
        DemoScene::Outage => Demo::outage,
        DemoScene::Capture => Demo::file,
    }
}

/// Returns the name of a scene, and its title.
fn words(of: DemoScene) -> (String, String) {
    let value = of.to_possible_value();
    let help = value.as_ref().and_then(|value| value.get_help());
    (
        value
            .as_ref()
            .map_or("", |value| value.get_name())
            .to_owned(),
        help.map(ToString::to_string).unwrap_or_default(),
    )
}

/// Prints the scenes.
fn list() -> Result<u8, Failure> {
    let mut out = screen::stdout();
    for one in DemoScene::value_variants() {
        let (name, title) = words(*one);
        writeln!(out, "{name:<10} {title}")?;
    }
    Ok(0)
}

/// Runs `netsonde demo`.
pub fn run(global: &Global, args: &DemoArgs) -> Result<u8, Failure> {
    if args.list {
        return list();
    }
    let start = Instant::now();
    lab::enter()?;
    let scenes = match args.scenes.is_empty() {
        true => DemoScene::value_variants().to_vec(),
        false => args.scenes.clone(),
    };
    let demo = Demo::build(global.style(), scenes.clone())?;
    let mut kept = 0;
    for (number, one) in scenes.iter().enumerate() {
        let (_, title) = words(*one);
        demo.print(&format!(
            "\n{}",
            demo.style.bold(&format!("{}. {title}", number + 1))
        ))?;
        let promised = scene(*one)(&demo)?;
        kept += usize::from(promised);
        let verdict = if promised {
            demo.style.good("as expected")
        } else {
            demo.style.warn("NOT as expected")
        };
        demo.print(&format!("  -> {verdict}"))?;
    }
    demo.print(&format!(
        "\n{kept} of {} showed the expected result, in {:.1} s. This host's network was \
            not touched.",
        counted(scenes.len(), "scene"),
        start.elapsed().as_secs_f64()
    ))?;
    Ok(if kept == scenes.len() { 0 } else { 1 })
}

impl From<lab::Error> for Failure {
    fn from(error: lab::Error) -> Failure {
        Failure::Other(error.to_string())
    }
}

struct Demo {
    client: Host,
    router: Host,
    server: Host,
    service: Standalone,
    style: Style,
    /// The scenes that are shown.
    scenes: Vec<DemoScene>,
}

impl Demo {
    fn build(style: Style, scenes: Vec<DemoScene>) -> Result<Demo, Failure> {
        let (client, router, server) = (
            Host::new("client")?,
            Host::new("router")?,
            Host::new("server")?,
        );
        veth(&client, "e0", &router, "p1")?;
        veth(&client, "e1", &router, "p2")?;
        veth(&server, "e0", &router, "p3")?;
        for (host, interface, address) in [
            (&client, "e0", "10.0.0.1/24"),
            (&router, "p1", "10.0.0.254/24"),
            (&client, "e1", "10.1.0.1/24"),
            (&router, "p2", "10.1.0.254/24"),
            (&router, "p3", "10.9.0.254/24"),
            (&server, "e0", "10.9.0.9/24"),
        ] {
            host.address(interface, address)?;
        }
        router.sysctl("net/ipv4/ip_forward", "1")?;
        client.route("0.0.0.0/0", "10.0.0.254")?;
        server.route("0.0.0.0/0", "10.9.0.254")?;
        let service = client.run(|| Standalone::start(None))?;
        let demo = Demo {
            client,
            router,
            server,
            service,
            style,
            scenes,
        };
        demo.print(
            "A private network of three hosts in network namespaces. netsonded runs on the first:",
        )?;
        demo.print("")?;
        demo.print(
            "  client e0 10.0.0.1 ---- 10.0.0.254  router  10.9.0.254 ---- 10.9.0.9 server",
        )?;
        demo.print("         e1 10.1.0.1 ---- 10.1.0.254")?;
        Ok(demo)
    }

    fn print(&self, text: &str) -> Result<(), Failure> {
        writeln!(screen::stdout(), "{}", fit(text, self.style))?;
        Ok(())
    }

    /// Runs the client and shows its output.
    fn show(&self, arguments: &[&str]) -> Result<String, Failure> {
        self.print(&format!(
            "  {} netsonde {}",
            self.style.dim("$"),
            arguments.join(" ")
        ))?;
        let text = self.printed(arguments)?;
        for line in text.lines() {
            self.print(&format!("{:INDENT$}{line}", ""))?;
        }
        Ok(text)
    }

    /// Returns what a command prints, on standard output and standard error, in the order in which it prints
    /// it.
    fn printed(&self, arguments: &[&str]) -> Result<String, Failure> {
        let (mut reader, writer) = std::io::pipe()?;
        let mut command = self.command(arguments)?;
        command.stdout(writer.try_clone()?).stderr(writer);
        if let Some(width) = self.style.width() {
            command.env(COLUMNS, width.saturating_sub(INDENT).to_string());
        }
        let mut child = self.client.run(|| command.spawn())?;
        // Its ends of the pipe: the output is over when the child has ended.
        drop(command);
        let mut bytes = Vec::new();
        reader.read_to_end(&mut bytes)?;
        child.wait()?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Runs on the host of the service, because the doctor queries that host's kernel.
    fn netsonde(&self, arguments: &[&str]) -> Result<Output, Failure> {
        let mut command = self.command(arguments)?;
        Ok(self.client.run(|| command.output())?)
    }

    fn command(&self, arguments: &[&str]) -> Result<Command, Failure> {
        let me = std::env::current_exe()?;
        let mut command = Command::new(me);
        command
            .arg("--socket")
            .arg(self.service.socket())
            .args(arguments)
            .stdin(Stdio::null());
        Ok(command)
    }

    /// Returns the output of a command without showing it.
    fn ask(&self, arguments: &[&str]) -> String {
        let output = self.netsonde(arguments);
        output
            .map(|output| String::from_utf8_lossy(&output.stdout).into_owned())
            .unwrap_or_default()
    }

    /// Waits until a command prints all of these words on one line.
    fn until(&self, arguments: &[&str], words: &[&str]) -> bool {
        self.asked_until(|| {
            self.ask(arguments)
                .lines()
                .any(|line| words.iter().all(|word| line.contains(word)))
        })
    }

    /// Waits for a condition that asks the service.
    fn asked_until(&self, condition: impl Fn() -> bool) -> bool {
        wait_until(PATIENCE, || {
            let is_met = condition();
            if !is_met {
                std::thread::sleep(ASK_INTERVAL);
            }
            is_met
        })
    }

    /// Returns whether a line has all words. A narrow terminal may have broken it: continuations are indented.
    fn has(text: &str, words: &[&str]) -> bool {
        let mut lines: Vec<String> = Vec::new();
        for line in text.lines() {
            match lines.last_mut() {
                Some(last) if line.starts_with("    ") => {
                    last.push(' ');
                    last.push_str(line.trim_start());
                }
                _ => lines.push(line.to_owned()),
            }
        }
        let has_all = |line: &String| words.iter().all(|word| line.contains(word));
        lines.iter().any(has_all)
    }

    fn health(&self) -> Result<bool, Failure> {
        let is_recorded = self.exchange()?;
        self.print(
            "  `status` shows what is recorded, how far back the record reaches, and what was \
                dropped.",
        )?;
        let text = self.show(&["status"])?;
        Ok(is_recorded
            && Demo::has(&text, &["e0", "up", "yes"])
            && Demo::has(&text, &["e1", "up", "yes"])
            && Demo::has(&text, &["dropped by the rings 0"]))
    }

    /// Exchanges some packets with the router. Returns whether all of them are in the record.
    fn exchange(&self) -> Result<bool, Failure> {
        let router = Ipv4Addr::new(10, 1, 0, 254);
        let _listener = self.router.run(|| TcpListener::bind((router, 80)))?;
        let _resolver = self.router.run(|| UdpSocket::bind((router, 53)))?;
        let _receiver = self.router.run(|| UdpSocket::bind((router, 5000)))?;
        self.client.run(|| -> std::io::Result<()> {
            drop(TcpStream::connect((router, 80))?);
            traffic::dns_flood(router, 5)?;
            traffic::numbered_udp(SocketAddrV4::new(router, 5000), 200, 18, None)?;
            Ok(())
        })?;
        let is_recorded = || {
            let status = self.ask(&["status", "--json"]);
            let status = serde_json::from_str::<serde_json::Value>(&status).unwrap_or_default();
            let bulk = status["recorder"].as_array().into_iter().flatten();
            let mut bulk = bulk.filter(|store| store["store"] == "bulk");
            bulk.any(|store| store["packets"].as_u64() >= Some(200))
        };
        Ok(self.asked_until(is_recorded))
    }

    fn doctor_of_host(&self) -> Result<bool, Failure> {
        self.print("  `doctor` checks the whole host. Then the cable of e0 is pulled.")?;
        let words = ["doctor", "--duration", "1s"];
        let healthy = self.show(&words)?;
        self.router.down("p1")?;
        let is_known = self.until(&["status"], &["e0", "down"]);
        let fault = self.show(&words)?;
        self.router.up("p1")?;
        // The time without the cable may have left a warning.
        let is_back = self.until(&["--json", "doctor", "--duration", "1s"], &["\"healthy\""]);
        Ok(is_known
            && is_back
            && healthy.starts_with("healthy:")
            && Demo::has(&fault, &["fault: link-down", "proved"])
            && !fault.contains("gateway-unresolved"))
    }

    fn past(&self) -> Result<bool, Failure> {
        self.print(
            "  A TCP connection and a DNS query have just taken place, before anyone looked.",
        )?;
        let listener = self.server.run(|| TcpListener::bind((SERVER, 80)))?;
        let resolver = self.server.run(|| UdpSocket::bind((SERVER, 53)))?;
        self.client.run(|| -> std::io::Result<()> {
            drop(TcpStream::connect((SERVER, 80))?);
            traffic::dns_flood(SERVER, 1)?;
            Ok(())
        })?;
        drop((listener, resolver));
        let command = [
            "watch",
            "--last",
            "1m",
            "--store",
            "link",
            "--store",
            "connections",
            "--store",
            "names",
            "-I",
            "e0",
        ];
        let there = self.until(&command, &["FIN"]) && self.until(&command, &["n0.example.org"]);
        let text = self.show(&command)?;
        Ok(there
            && Demo::has(&text, &["arp", "who has 10.0.0.254?"])
            && Demo::has(&text, &["10.9.0.9:80", "SYN"])
            && Demo::has(&text, &["DNS query", "n0.example.org"]))
    }

    fn unreachable(&self) -> Result<bool, Failure> {
        self.print(
            "  A packet to a closed port of the server, and one to an address that does not \
                exist.",
        )?;
        self.client.run(|| -> std::io::Result<()> {
            traffic::numbered_udp(SocketAddrV4::new(SERVER, 5000), 1, 18, None)?;
            traffic::numbered_udp(
                SocketAddrV4::new(Ipv4Addr::new(10, 9, 0, 77), 5000),
                1,
                18,
                None,
            )?;
            Ok(())
        })?;
        let command = [
            "watch",
            "--last",
            "1m",
            "--proto",
            "icmp",
            "--direction",
            "in",
        ];
        let there = self.until(&command, &["port unreachable"])
            && self.until(&command, &["host unreachable"]);
        let text = self.show(&command)?;
        self.print(
            "  The first error came from the server itself, the second from the router before it.",
        )?;
        Ok(there
            && Demo::has(
                &text,
                &["10.9.0.9 > 10.0.0.1", "port unreachable", "port", "5000"],
            )
            && Demo::has(
                &text,
                &["10.0.0.254 > 10.0.0.1", "host unreachable", "10.9.0.77"],
            ))
    }

    fn ping(&self) -> Result<bool, Failure> {
        self.print("  `time` is what ping prints; `wire` is the part spent outside of this host.")?;
        let text = self.show(&["ping", "-c", "3", "-i", "0.1", "10.9.0.9"])?;
        Ok(
            Demo::has(&text, &["from 10.9.0.9: icmp_seq=3", "time=", "wire="])
                && Demo::has(&text, &["3 received, 0% packet loss"]),
        )
    }

    fn lost(&self) -> Result<bool, Failure> {
        self.print(
            "  ping shows three of these four in the same way: no answer. A host that does not \
                exist:",
        )?;
        let quick = ["ping", "-c", "1", "-W", "0.5"];
        let show = |more: &[&str]| self.show(&[&quick[..], more].concat());
        let absent = show(&["10.0.0.77"])?;
        self.print("\n  A packet whose TTL expires at the router:")?;
        let expired = show(&["-t", "1", "10.9.0.9"])?;
        self.print(
            "\n  A server that ignores pings: the probe left this host and was not answered:",
        )?;
        let ignore = "net/ipv4/icmp_echo_ignore_all";
        self.server.sysctl(ignore, "1")?;
        let ignored = show(&["10.9.0.9"])?;
        self.server.sysctl(ignore, "0")?;
        self.print(
            "\n  The reply to 10.1.0.1 comes back on e1, while the route to the server uses e0. \
                This host drops it\n  without a message:",
        )?;
        for (host, interface, value) in [
            (&self.router, "all", "0"),
            (&self.router, "p1", "0"),
            (&self.client, "all", "0"),
            (&self.client, "e1", "1"),
        ] {
            host.sysctl(&format!("net/ipv4/conf/{interface}/rp_filter"), value)?;
        }
        let filtered = show(&["-I", "10.1.0.1", "10.9.0.9"])?;
        self.client.sysctl("net/ipv4/conf/e1/rp_filter", "0")?;
        Ok(Demo::has(
            &absent,
            &["unresolved", "10.0.0.77 does not answer ARP on e0"],
        ) && Demo::has(&expired, &["From 10.0.0.254", "refused: time exceeded"])
            && Demo::has(
                &ignored,
                &["unanswered", "sent on e0; no reply or error received"],
            )
            && Demo::has(
                &filtered,
                &["dropped_inbound", "arrived on e1", "reverse path filter"],
            ))
    }

    fn neighbors(&self) -> Result<bool, Failure> {
        self.print("  Another host on the link of e0 claims the client's address.")?;
        let mut port = self.router.port("p1")?;
        port.write_all(&messages::arp_request("10.0.0.1", "10.0.0.254"))?;
        let command = ["neighbors", "-I", "e0"];
        let there = self.until(&command, &["conflict: 10.0.0.1, an address of this host"]);
        let text = self.show(&command)?;
        Ok(there && Demo::has(&text, &["10.0.0.254", "gateway"]))
    }

    fn drops(&self) -> Result<bool, Failure> {
        self.print("  The server sends to a program that does not read, and to a closed port.")?;
        let deaf = self.client.run(|| UdpSocket::bind((CLIENT, 5000)))?;
        nix::sys::socket::setsockopt(&deaf, nix::sys::socket::sockopt::RcvBuf, &4096)
            .map_err(std::io::Error::from)?;
        let stop = std::sync::atomic::AtomicBool::new(false);
        let text = std::thread::scope(|scope| {
            let sending = scope.spawn(|| -> std::io::Result<()> {
                let socket = self.server.run(|| UdpSocket::bind((SERVER, 4000)))?;
                while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                    // An error of the second packet is reported with a later one.
                    let _ = socket.send_to(&[7; 500], (CLIENT, 5000));
                    let _ = socket.send_to(&[7; 100], (CLIENT, 5001));
                    std::thread::sleep(Duration::from_millis(10));
                }
                Ok(())
            });
            let text = self.show(&["drops", "--duration", "1s"]);
            stop.store(true, std::sync::atomic::Ordering::Relaxed);
            let sent = sending.join();
            sent.map_err(|_| Failure::Other("the sender panicked".into()))??;
            text
        })?;
        let talkers = self.show(&["talkers", "--window", "3s", "-n", "3"])?;
        drop(deaf);
        Ok(Demo::has(&text, &["udp", "UdpRcvbufErrors"])
            && Demo::has(&text, &["udp", "UdpNoPorts"])
            && Demo::has(&text, &["socket", "10.0.0.1:5000"])
            && Demo::has(&talkers, &["10.9.0.9:4000", "10.0.0.1:5000"]))
    }

    fn events(&self) -> Result<bool, Failure> {
        self.print("  The cable of e1 is pulled and plugged in again.")?;
        self.router.down("p2")?;
        let down = self.until(&["events", "-I", "e1"], &["link_down", "lost its carrier"]);
        self.router.up("p2")?;
        let up = self.until(&["events", "-I", "e1"], &["link_up"]);
        self.print("  The log, with the events of the earlier scenes:")?;
        let text = self.show(&["events", "-s", "notice"])?;
        let shown = |scene| self.scenes.contains(&scene);
        let conflict = ["address_conflict", "10.0.0.1, an address of this host"];
        Ok(down
            && up
            && Demo::has(&text, &["link_down", "lost its carrier"])
            && (!shown(DemoScene::Neighbors) || Demo::has(&text, &conflict))
            && (!shown(DemoScene::Restart) || Demo::has(&text, &["engine_restart"])))
    }

    fn killed(&self) -> Result<bool, Failure> {
        self.print(
            "  10,000 numbered packets are sent, and the engine is killed meanwhile (SIGKILL).",
        )?;
        let to = SocketAddrV4::new(SERVER, 7777);
        let receiver = self.server.run(|| UdpSocket::bind((SERVER, 7777)))?;
        let engine = |status: &str| -> Option<i32> {
            let status: serde_json::Value = serde_json::from_str(status).ok()?;
            status["engine"]["pid"]
                .as_i64()
                .and_then(|pid| i32::try_from(pid).ok())
        };
        let first = engine(&self.ask(&["status", "--json"]));
        std::thread::scope(|scope| -> Result<(), Failure> {
            let sender = scope.spawn(|| {
                self.client
                    .run(|| traffic::numbered_udp(to, 10_000, 18, Some(20_000)))
            });
            std::thread::sleep(Duration::from_millis(200));
            if let Some(pid) = first {
                let pid = nix::unistd::Pid::from_raw(pid);
                nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL)
                    .map_err(std::io::Error::from)?;
            }
            sender
                .join()
                .map_err(|_| Failure::Other("the sender panicked".into()))??;
            Ok(())
        })?;
        drop(receiver);
        let command = [
            "watch",
            "--last",
            "1m",
            "--json",
            "-I",
            "e0",
            "--port",
            "7777",
            "--direction",
            "out",
        ];
        let count = || {
            self.ask(&command)
                .lines()
                .filter(|line| line.contains("\"destination_port\":7777"))
                .count()
        };
        let there = self.asked_until(|| count() == 10_000);
        let second = engine(&self.ask(&["status", "--json"]));
        self.print(&format!(
            "  Engine {} died, engine {} took over; {} of 10000 packets are in the record.",
            first.unwrap_or(0),
            second.unwrap_or(0),
            count()
        ))?;
        let status = self.ask(&["status"]);
        for line in status
            .lines()
            .filter(|line| line.contains("engine_restart") || line.contains("dropped by"))
        {
            self.print(&format!("    {line}"))?;
        }
        Ok(there && first != second && Demo::has(&status, &["engine_restart"]))
    }

    fn outage(&self) -> Result<bool, Failure> {
        if let Err(why) = self.service.historian() {
            self.print(&format!("  {why}: the outage scene is skipped."))?;
            return Ok(true);
        }
        self.print(
            "  netsonde-historian probes the server ten times a second, and keeps every probe.",
        )?;
        self.show(&[
            "monitor", "add", "server", "10.9.0.9", "-i", "0.1", "-W", "0.5",
        ])?;
        let up = self.until(&["monitor", "list"], &["10.9.0.9", "up"]);
        self.print("  The server's cable is pulled, and put back.")?;
        self.server.down("e0")?;
        let down = self.until(&["monitor", "list"], &["10.9.0.9", "down"]);
        self.server.up("e0")?;
        self.server.route("0.0.0.0/0", "10.9.0.254")?;
        let back = self.until(&["monitor", "list"], &["10.9.0.9", "up"]);
        let listed = self.show(&["outages"])?;
        let told = self.show(&["outages", "1"])?;
        Ok(up
            && down
            && back
            && Demo::has(&listed, &["1", "10.9.0.9"])
            && told.contains("10.9.0.9"))
    }

    fn file(&self) -> Result<bool, Failure> {
        self.print(
            "  pcapng with interface, direction and every gap. It can be read back without \
            the service.",
        )?;
        self.client
            .run(|| traffic::numbered_udp(SocketAddrV4::new(SERVER, 5009), 1, 18, None))?;
        let command = ["watch", "--last", "1m", "--proto", "icmp"];
        let there = self.until(&command, &["port unreachable", "to 5009"]);
        let path = self.service.socket().with_file_name("demo.pcapng");
        let path = path.to_string_lossy().into_owned();
        self.show(&["capture", "--last", "1m", "--proto", "icmp", "-w", &path])?;
        let text = self.show(&["watch", "--read", &path, "--direction", "in"])?;
        Ok(there && Demo::has(&text, &["icmp", "unreachable"]))
    }
}
