//! Every example of the manual pages runs here, on hosts that have its addresses, and the documented
//! columns and JSON keys are compared with real output.
//!
//! ```text
//!   a 192.0.2.1 --+           netsonded, a receiver of 239.1.1.1:5000, a DNS port
//!   b 192.0.2.7 --+-- br0     gateway of a, querier, sends 239.1.1.1:5000 and 232.2.2.2:5000
//!   c 192.0.2.8 --+           2001:db8:: and fe80:: with the same ends
//! ```
#![allow(clippy::unwrap_used, missing_docs)]

#[path = "support/monitored.rs"]
mod monitored;
mod support;
#[path = "support/varlink.rs"]
mod varlink;

use std::collections::BTreeSet;
use std::fs::File;
use std::net::UdpSocket;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::sync::{RwLock, RwLockReadGuard};
use std::time::Duration;

use netsonde::client::cli::manual::{Json, Page, Run, pages};

use netsonde::lab::{self, Host, Running, messages, traffic, wait_until};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use support::link::{Link, link_of_manual};
use support::{PATIENCE, Service};

type Outcome = Result<(), Box<dyn std::error::Error>>;

fn main() -> ExitCode {
    support::main_with(
        &[
            (
                "examples_of_the_manual_work",
                examples_of_the_manual_work as support::Test,
            ),
            ("examples_of_multicast_work", examples_of_multicast_work),
            (
                "columns_are_those_of_the_output",
                columns_are_those_of_the_output,
            ),
            (
                "json_keys_are_those_of_the_output",
                json_keys_are_those_of_the_output,
            ),
        ],
        4,
    )
}

/// Held by hosts with a neighbor that does not answer: the kernel's counters of these are of the whole machine.
static NEIGHBORS: RwLock<()> = RwLock::new(());

/// Network and service of the drawing above, and a folder to run commands in.
struct Manual {
    a: Host,
    /// MAC address of c, as it is printed.
    mac_of_c: String,
    _others: [Host; 3],
    service: Service,
    folder: tempfile::TempDir,
    _running: Vec<Running>,
    _dns: UdpSocket,
    /// While it has a neighbor that does not answer.
    unresolved: Option<RwLockReadGuard<'static, ()>>,
}

/// Output of a command.
struct Printed {
    status: Option<i32>,
    text: String,
    errors: String,
}

impl Manual {
    /// Waits until the historian has counters of a minute: of the one that is running, and until its next end.
    fn wait_for_a_minute(&self) {
        let is_measured = || {
            let shown = self.run("netsonde interfaces --since -1h");
            shown.is_ok_and(|one| one.status == Some(0))
        };
        assert!(wait_until(Duration::from_secs(80), is_measured));
    }

    fn new() -> Result<Manual, Box<dyn std::error::Error>> {
        let Link { a, b, c, switch } = link_of_manual()?;
        a.route("0.0.0.0/0", "192.0.2.7")?;
        let service = Service::start(&a, &[]);
        let start = |host: &Host, arguments: &[&str]| -> Result<Running, lab::Error> {
            let mut command = Command::new(env!("CARGO_BIN_EXE_netsonde"));
            command
                .args(arguments)
                .env("NETSONDE_SOCKET", service.socket())
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null());
            host.spawn(&mut command)
        };
        let member = ["mcast", "join", "239.1.1.1:5000", "-I", "eth0"];
        let mut running = vec![start(&a, &member)?];
        for group in ["239.1.1.1:5000", "232.2.2.2:5000"] {
            let source = ["mcast", "send", group, "-I", "eth0", "--pps", "50"];
            running.push(start(&b, &source)?);
        }
        // ICMP for the examples that wait for it.
        running.push(start(&a, &["ping", "-i", "0.2", "192.0.2.8"])?);
        let asks = messages::QueryParams {
            version: 3,
            max_response: 1,
            interval: 125,
        };
        b.run(|| {
            traffic::frames("eth0", 10, Some(1), |_, frame| {
                *frame = messages::query("192.0.2.7", None, asks, 1);
            })
        })?;
        running.push(monitored::historian(&a, &service.socket()));
        let dns = a.run(|| UdpSocket::bind(("192.0.2.1", 53)))?;
        let folder = tempfile::tempdir()?;
        std::fs::write(
            folder.path().join("hosts.txt"),
            "192.0.2.7  # b\n\n192.0.2.8\n",
        )?;
        let mac_of_c = c.mac("eth0")?.map(|byte| format!("{byte:02x}")).join(":");
        let manual = Manual {
            a,
            mac_of_c,
            _others: [b, c, switch],
            service,
            folder,
            _running: running,
            _dns: dns,
            unresolved: NEIGHBORS.read().ok(),
        };
        for target in [
            "192.0.2.7",
            "192.0.2.8",
            "2001:db8::7",
            "fe80::7%eth0",
            "fe80::8%eth0",
        ] {
            let ping = format!("netsonde ping -c 1 -W 5 {target}");
            let answers = || manual.run(&ping).is_ok_and(|one| one.status == Some(0));
            assert!(wait_until(PATIENCE, answers), "{target}");
        }
        // Until everything that the examples show has been recorded.
        for (command, words) in [
            ("netsonde mcast streams", "239.1.1.1:5000"),
            ("netsonde mcast queriers", "192.0.2.7"),
            ("netsonde mcast groups 239.1.1.1", "239.1.1.1"),
        ] {
            let shows = || {
                manual
                    .run(command)
                    .is_ok_and(|one| one.text.contains(words))
            };
            assert!(
                wait_until(PATIENCE, shows),
                "{command}: {}",
                manual.service.log()
            );
        }
        for monitor in ["gateway 192.0.2.7", "servers 192.0.2.8 192.0.2.9 --tag lan"] {
            let added = manual.run(&format!("netsonde monitor add {monitor} -i 100ms"))?;
            assert_eq!(added.status, Some(0), "{}", added.errors);
        }
        monitored::until_outage(&manual.service.socket(), "192.0.2.9");
        let saved = manual.run("netsonde capture --last all -w trace.pcap")?;
        assert_eq!(saved.status, Some(0), "{}", saved.errors);
        Ok(manual)
    }

    fn shell(&self, line: &str) -> Command {
        let programs = Path::new(env!("CARGO_BIN_EXE_netsonde")).parent().unwrap();
        let path = std::env::var("PATH").unwrap_or_default();
        let mut command = Command::new("timeout");
        command
            // Such as `watch -c` without packets: it fails instead of waiting.
            .args(["--foreground", "60", "sh", "-c", line])
            .env("PATH", format!("{}:{path}", programs.display()))
            .env("HOME", self.folder.path())
            .env("NETSONDE_SOCKET", self.service.socket())
            .current_dir(self.folder.path())
            .stdin(Stdio::null());
        command
    }

    /// Runs a line of a shell on host a.
    fn run(&self, line: &str) -> std::io::Result<Printed> {
        let mut command = self.shell(line);
        let output = self.a.run(|| command.output())?;
        Ok(Printed {
            status: output.status.code(),
            text: String::from_utf8_lossy(&output.stdout).into_owned(),
            errors: String::from_utf8_lossy(&output.stderr).into_owned(),
        })
    }

    /// Runs a command until it has printed something, and then as long again as packets need.
    fn run_until_interrupted(&self, line: &str) -> Result<Printed, Box<dyn std::error::Error>> {
        let path = |name: &str| self.folder.path().join(name);
        let mut command = self.shell(&format!("exec {line}"));
        command
            .stdout(File::create(path("out"))?)
            .stderr(File::create(path("errors"))?);
        let mut running = self.a.spawn(&mut command)?;
        let read = |name: &str| std::fs::read_to_string(path(name)).unwrap_or_default();
        let has_printed = || !read("out").is_empty() || !read("errors").is_empty();
        assert!(wait_until(PATIENCE, has_printed), "{line}");
        std::thread::sleep(Duration::from_millis(500));
        kill(Pid::from_raw(running.child().id() as i32), Signal::SIGINT)?;
        let status = running.child().wait()?;
        Ok(Printed {
            status: status.code(),
            text: read("out"),
            errors: read("errors"),
        })
    }
}

/// Exit status of an example on these hosts, and a part of its output.
fn expected(line: &str) -> (i32, &'static str) {
    match line {
        "netsonde status" => (0, "STORE"),
        "netsonde -v status" => (0, "status"),
        "netsonde --json status" => (0, "\"recorder\""),
        "netsonde interfaces eth0 --since -2h" => (0, "RX PACKETS"),
        "netsonde interfaces" | "netsonde interfaces eth0" => (0, "address 192.0.2.1/24"),
        _ if line.starts_with("netsonde --json interfaces") => (0, "239.1.1.1"),
        _ if line.starts_with("mkdir") => (0, ""),
        _ if line.starts_with("netsonde completions") => (0, ""),
        "netsonde watch --last 5m --store link" => (0, "arp"),
        "netsonde watch -c 10 'icmp or arp'" => (0, "icmp"),
        "netsonde watch -c 2 -env -i eth0 'icmp or arp'" => (0, "ethertype"),
        "netsonde watch --last 10m --follow --group 239.1.1.1" => (0, "239.1.1.1:5000 udp"),
        "netsonde watch --last all --proto icmp --direction in" => (0, "echo reply"),
        "netsonde watch --read trace.pcap 'icmp6 or arp'" => (0, "arp"),
        "netsonde watch --last all --inner --host 192.0.2.7" => (0, "192.0.2.7"),
        _ if line.starts_with("netsonde --json watch") => (0, "\"protocol\":\"udp\""),
        _ if line.starts_with("netsonde capture --last") => (0, ""),
        _ if line.starts_with("netsonde capture -c 5") => (0, ""),
        "netsonde events" | "netsonde events --follow" => (0, "info"),
        // Nothing but what the historian found.
        "netsonde events --last 1h -s warning" => (0, "192.0.2.9"),
        _ if line.contains("events --since 'yesterday") => (0, "info"),
        "netsonde -v events neighbor -I eth0" => (0, "netsonde watch --since"),
        "netsonde --json events address_conflict" => (1, "\"events\": []"),
        "netsonde doctor 192.0.2.8:443" => (1, "port-closed"),
        "netsonde -v doctor 192.0.2.7" => (0, "192.0.2.7: echo"),
        "netsonde doctor --dry-run example.org:443" => (0, "would look up example.org"),
        "netsonde monitor list" => (0, "gateway"),
        "netsonde monitor list --tag lan" => (0, "192.0.2.8"),
        "netsonde --json monitor list --down" => (0, "\"target\": \"192.0.2.9\""),
        _ if line.starts_with("netsonde monitor") => (0, ""),
        "netsonde outages 1" => (0, "first lost probe"),
        _ if line.starts_with("netsonde outages") => (0, "192.0.2.9"),
        "netsonde history gateway --at now" => (0, "replied"),
        _ if line.starts_with("netsonde history") => (0, "round trip on the wire"),
        _ if line.starts_with("netsonde --json history") => (0, "\"points\""),
        _ if line.starts_with("netsonde keep") => (0, "packets, "),
        "netsonde kept" => (0, "video froze"),
        _ if line.starts_with("netsonde kept 1") => (0, ""),
        "netsonde neighbors" => (0, "192.0.2.8"),
        "netsonde neighbors 192.0.2.7" => (0, "192.0.2.7"),
        "netsonde -v neighbors -I eth0" => (0, "KERNEL"),
        "netsonde talkers" => (0, "239.1.1.1:5000"),
        "netsonde connections" => (0, "no connections"),
        _ if line.contains("connections --read") => (0, "\"fates\""),
        _ if line.starts_with("netsonde connections") => (1, ""),
        _ if line.starts_with("netsonde talkers --window") => (0, "239.1.1.1:5000"),
        _ if line.starts_with("netsonde --json talkers") => (0, "\"rest_bytes\""),
        "netsonde mcast doctor 239.1.1.1:5000" => (0, "239.1.1.1:5000: healthy"),
        _ if line.contains("--join --duration 10s") => (0, "239.1.1.1:5000: healthy"),
        "netsonde mcast doctor --read trace.pcap 239.1.1.1" => (0, "239.1.1.1: healthy"),
        _ if line.contains("mcast doctor 239.1.1.1 | grep") => (0, "\"healthy\""),
        _ if line.contains("mcast groups") => (0, "239.1.1.1"),
        _ if line.contains("mcast queriers") => (0, "192.0.2.7"),
        "netsonde mcast streams" => (0, "239.1.1.1:5000"),
        "netsonde -v mcast streams 239.1.1.1" => (0, "LONGEST GAP"),
        _ if line.contains("mcast streams | grep") => (1, ""),
        "netsonde --json mcast join 239.1.1.1:5000 -I eth0 -c 20" => (0, "\"lost\": 0"),
        _ if line.contains("mcast join") => (0, "192.0.2.7"),
        _ if line.contains("-c 100 --pps 50") => (0, "100 packets of 100 bytes"),
        _ if line.contains("-c 10 -t 16") => (0, "10 packets of 100 bytes"),
        _ if line.contains("--size 1400") => (0, "packets of 1400 bytes to [ff15::1]:5000"),
        "netsonde families" => (0, "AF_INET6"),
        "netsonde families unix" => (0, "AF_UNIX"),
        "netsonde families SOCK_SEQPACKET" => (0, "SOCK_SEQPACKET (5)"),
        "netsonde --json families" => (0, "\"families\""),
        "netsonde sockets" => (0, "FAMILY"),
        "netsonde sockets -uanp" => (0, "192.0.2.1:53"),
        "netsonde sockets --sniff" => (0, "netsonded"),
        "netsonde sockets --listen --port 53" => (0, "192.0.2.1:53"),
        "netsonde sockets --process netsonded" => (0, "netsonded"),
        "netsonde --json sockets" => (0, "\"unlisted\""),
        "netsonde drops" | "netsonde drops --total" => (0, ""),
        "netsonde --json drops --total" => (0, "\"drops\""),
        "netsonde doctor" | "netsonde doctor --duration 10s" => (0, "healthy:"),
        "netsonde -v doctor -I eth0" => (0, "gateways:"),
        "netsonde doctor --dry-run" => (0, "192.0.2.7"),
        _ if line.contains("doctor | grep") => (0, "\"healthy\""),
        "netsonde demo --list" => (0, "wire"),
        "netsonde explain rp-filter-strict" => (0, "rp-filter-strict"),
        "netsonde explain" => (0, "querier-lost"),
        "netsonde --json explain" => (0, "\"proof\""),
        // The historian of this test knows nothing of yesterday.
        _ if line.contains("trace --compare 'yesterday") => (2, ""),
        _ if line.contains("trace -n --continuous") => (0, "192.0.2.7 over UDP; 10 rounds since"),
        _ if line.contains("--json trace") => (0, "\"is_reached\": true"),
        _ if line.contains(" trace ") => (0, "192.0.2.7 reached in 1 hop"),
        // Hosts b and c exist, no other.
        "netsonde ping 192.0.2.0/28" => (1, "14 targets, 3 answered"),
        _ if line.contains("--evidence") => (1, "192.0.2.9 does not answer ARP on eth0"),
        // No host there listens.
        "netsonde ping --tcp 443 -c 3 192.0.2.7" => (1, "connection refused (RST, TTL 64)"),
        "netsonde ping --tcp 22 192.0.2.0/28" => (1, "refused"),
        "netsonde --json ping -c 10 -i 0.1 192.0.2.7" => (0, r#""fates":{"replied":10}"#),
        _ if line.contains("ping -c 50") => (0, "50 packets transmitted, 50 received"),
        _ if line.contains("-s 1472") => (0, "1480 bytes from 192.0.2.7: icmp_seq=1"),
        _ if line.contains("ping -f") => (0, "0% packet loss"),
        "netsonde ping @hosts.txt" => (0, "2 targets, 2 answered"),
        // Either link-local address of a host may be the source of its reply.
        "netsonde ping ff02::1%eth0" => (0, "fe80::"),
        _ if line.contains("ping 224.") || line.contains("ping -b") => (0, "192.0.2.8"),
        _ if line.contains("fe80::7") => (0, "64 bytes from fe80::7: icmp_seq=3"),
        _ if line.contains("ping") => (0, "64 bytes from 192.0.2.7: icmp_seq=3 ttl=64 time="),
        _ => panic!("no expectation for the example: {line}"),
    }
}

/// All lines of all examples that are run, each with the way to run it.
fn lines(page: &'static Page) -> impl Iterator<Item = (&'static str, Run)> {
    page.examples.iter().flat_map(|example| {
        let lines = example.commands.lines();
        lines.map(|line| (line, example.run))
    })
}

fn has_libpcap() -> bool {
    let paths = ["/lib", "/usr/lib", "/usr/local/lib", "/lib64", "/usr/lib64"];
    let is_libpcap = |entry: std::fs::DirEntry| {
        let name = entry.file_name();
        name.to_string_lossy().starts_with("libpcap.so")
    };
    let folders = paths.iter().flat_map(|path| {
        let below = std::fs::read_dir(path).into_iter().flatten().flatten();
        below.map(|entry| entry.path()).chain([path.into()])
    });
    folders
        .flat_map(|folder: std::path::PathBuf| std::fs::read_dir(folder).into_iter().flatten())
        .flatten()
        .any(is_libpcap)
}

/// Runs the examples of some pages on hosts of their own, and compares what they print.
fn run_examples(
    of: impl Iterator<Item = &'static Page>,
) -> Result<Manual, Box<dyn std::error::Error>> {
    let mut manual = Manual::new()?;
    let has_libpcap = has_libpcap();
    let mut quiet = None;
    // Those that show counters of minutes at last: until then the historian has some.
    let needs_minute = |line: &str| line.contains("--since -2h");
    let mut all: Vec<_> = of.flat_map(lines).collect();
    all.sort_by_key(|(line, _)| needs_minute(line));
    for (line, run) in all {
        // From here on nothing is dropped: the host that is not there is no longer asked for, here and elsewhere.
        if line == "netsonde families" {
            manual.run("netsonde monitor remove servers")?;
            manual.unresolved = None;
            quiet = NEIGHBORS.write().ok();
            std::thread::sleep(UNRESOLVED);
        }
        if needs_minute(line) {
            manual.wait_for_a_minute();
        }
        if line.contains('\'') && line.contains("pcap") && !has_libpcap {
            support::skip(line, "libpcap is not installed")?;
            continue;
        }
        let printed = match run {
            Run::Not(reason) => {
                support::skip(line, reason)?;
                continue;
            }
            Run::Ends => manual.run(line)?,
            Run::UntilInterrupted => manual.run_until_interrupted(line)?,
        };
        let all = format!("$ {line}\n{}{}", printed.text, printed.errors);
        if std::env::var_os("NETSONDE_SHOW").is_some() {
            eprintln!("{all}");
        }
        let (status, part) = expected(line);
        assert_eq!(printed.status, Some(status), "{all}");
        assert!(printed.text.contains(part), "expected {part:?}: {all}");
        if line.contains("ff02::1%") {
            assert!(
                printed.text.contains(&manual.mac_of_c),
                "c did not reply: {all}"
            );
        }
    }
    drop(quiet);
    Ok(manual)
}

fn is_multicast(page: &Page) -> bool {
    page.command.starts_with("mcast")
}

fn examples_of_multicast_work() -> Outcome {
    run_examples(pages().filter(|page| is_multicast(page))).map(drop)
}

fn examples_of_the_manual_work() -> Outcome {
    let manual = run_examples(pages().filter(|page| !is_multicast(page)))?;
    // The files that the examples name.
    for (name, least) in [
        ("lost.pcapng", 500),
        ("stream.pcapng", 5000),
        ("headers.pcapng", 5000),
        (".local/share/bash-completion/completions/netsonde", 1000),
        ("_netsonde", 1000),
    ] {
        let length = std::fs::metadata(manual.folder.path().join(name))?.len();
        assert!(length > least, "{name} has {length} bytes");
    }
    Ok(())
}

/// Time until the kernel gives up a neighbor entry: three requests, a second apart.
const UNRESOLVED: Duration = Duration::from_secs(4);

/// Columns that only appear with traffic or sockets that these hosts do not have.
const OTHER_COLUMNS: &[(&str, &str)] = &[
    ("mcast queriers", "ROUTER"),
    ("mcast queriers", "PROTOCOL"),
    ("mcast queriers", "PRIORITY"),
    ("mcast queriers", "LAST HEARD"),
    ("mcast queriers", "RESTARTS"),
    ("connections", "ASKED"),
    ("connections", "CLIENT"),
    ("connections", "SERVER"),
    ("connections", "TYPE"),
    ("connections", "TOOK"),
    ("connections", "ANSWER"),
    ("sockets", "PROMISC"),
    ("sockets", "SENDQ"),
    ("sockets", "DROPS"),
    ("trace", "BEHIND"),
    ("trace", "TIMES"),
    ("trace", "FROM"),
    ("trace", "ERROR"),
    ("trace", "DRAWN BY"),
];

/// Arguments that make a command print its tables.
fn table_runs(page: &Page) -> Vec<String> {
    let name = page.command;
    match name {
        "ping" => vec![
            "netsonde ping 192.0.2.7 192.0.2.8".into(),
            "netsonde ping ff02::1%eth0".into(),
        ],
        "trace" => vec![
            "netsonde trace --mtu 192.0.2.7".into(),
            "netsonde trace --continuous -c 2 -i 0.1 192.0.2.7".into(),
        ],
        "kept" => vec!["netsonde keep x".into(), "netsonde kept".into()],
        "outages" => vec!["netsonde outages".into(), "netsonde outages 1".into()],
        "history" => vec!["netsonde history gateway".into()],
        "drops" | "interfaces" => vec![format!("netsonde {name} --since -1h")],
        "mcast join" => vec!["netsonde mcast join 239.1.1.1:5000 -I eth0 -c 20".into()],
        "sockets" => ["", "--listen", "--sniff", "--family packet", "--type dgram"]
            .iter()
            .map(|options| format!("netsonde sockets {options}"))
            .collect(),
        "talkers" => vec![
            "netsonde -v talkers".into(),
            "netsonde talkers --by-interface".into(),
        ],
        "connections" => vec![
            "netsonde doctor 192.0.2.8:443".into(),
            "netsonde -v connections".into(),
        ],
        _ => vec![format!("netsonde {name}"), format!("netsonde -v {name}")],
    }
}

fn columns_are_those_of_the_output() -> Outcome {
    let manual = Manual::new()?;
    let mut wrong = Vec::new();
    // At last those that show counters of minutes: until then the historian has some.
    let needs_minute = |line: &str| line.contains("--since -1h");
    let mut with_columns: Vec<_> = pages().filter(|page| !page.columns.is_empty()).collect();
    with_columns.sort_by_key(|page| table_runs(page).iter().any(|line| needs_minute(line)));
    for page in with_columns {
        let mut all = String::new();
        for line in table_runs(page) {
            if needs_minute(&line) {
                manual.wait_for_a_minute();
            }
            all.push_str(&manual.run(&line)?.text);
        }
        for (column, _) in page.columns {
            let is_shown = all.contains(column);
            if !is_shown && !OTHER_COLUMNS.contains(&(page.command, column)) {
                wrong.push(format!(
                    "{}: {column:?} is in no table:\n{all}",
                    page.command
                ));
            }
        }
        for heading in headings(&all) {
            if !page
                .columns
                .iter()
                .any(|(column, _)| heading.contains(column))
            {
                wrong.push(format!("{}: not documented: {heading}", page.command));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}

/// Headings of tables: cells in capitals, of the lines that have nothing else.
fn headings(text: &str) -> Vec<String> {
    let is_capital = |cell: &str| {
        cell.len() > 1
            && cell.chars().any(|one| one.is_ascii_uppercase())
            && !cell
                .chars()
                .any(|one| one.is_ascii_lowercase() || one.is_ascii_digit())
    };
    let mut all = Vec::new();
    for line in text.lines().filter(|line| !line.starts_with(' ')) {
        let cells: Vec<&str> = line.split("  ").map(str::trim).collect();
        let cells: Vec<&str> = cells.into_iter().filter(|cell| !cell.is_empty()).collect();
        if cells.len() > 1 && cells.iter().filter(|cell| is_capital(cell)).count() * 2 > cells.len()
        {
            all.extend(
                cells
                    .into_iter()
                    .filter(|cell| is_capital(cell))
                    .map(str::to_owned),
            );
        }
    }
    all
}

/// Command lines whose JSON is compared with the documented keys.
fn json_runs(page: &Page) -> Vec<String> {
    let arguments: &[&str] = match page.command {
        "watch" => &["--last all"],
        "capture" | "completions" | "demo" | "mcast" | "monitor" => &[],
        "monitor add" => &["router 192.0.2.7"],
        "monitor pause" | "monitor resume" | "monitor remove" => &["router"],
        "outages" => &["", "1"],
        "history" => &["gateway", "gateway --at now"],
        "mcast doctor" => &["239.1.1.1:5000 --duration 1s", "239.9.9.9 --duration 1s"],
        "mcast join" => &["239.1.1.1:5000 -I eth0 -c 20"],
        "mcast send" => &["239.1.1.1:5000 -I eth0 -c 3"],
        "ping" => &[
            "-c 2 192.0.2.7 192.0.2.9",
            "ff02::1%eth0",
            "-c 30 -i 0.01 192.0.2.8",
        ],
        "trace" => &[
            "-n 192.0.2.7",
            "-n --mtu 192.0.2.7",
            "-n --continuous -c 2 -i 0.1 192.0.2.7",
        ],
        "families" => &["", "SOCK_STREAM"],
        "doctor" => &["--duration 1s", "--dry-run"],
        "drops" => &["--total", "--duration 1s"],
        "events" => &["", "link"],
        _ => &[""],
    };
    let line = |arguments: &&str| format!("netsonde --json {} {arguments}", page.command);
    arguments.iter().map(line).collect()
}

/// Adds the path of each key below a value: the object's path, and the key.
fn keys_of(
    value: &Value,
    path: &str,
    maps: &BTreeSet<String>,
    into: &mut BTreeSet<(String, String)>,
) {
    match value {
        Value::Array(all) => {
            for one in all {
                keys_of(one, &format!("{path}[]"), maps, into);
            }
        }
        Value::Object(object) if !maps.contains(path) => {
            for (key, value) in object {
                into.insert((path.into(), key.clone()));
                let below = match path {
                    "" => key.clone(),
                    path => format!("{path}.{key}"),
                };
                keys_of(value, &below, maps, into);
            }
        }
        _ => {}
    }
}

fn json_keys_are_those_of_the_output() -> Outcome {
    let manual = Manual::new()?;
    let mut wrong = Vec::new();
    for page in pages() {
        let objects = varlink::objects(&page.json);
        let maps: BTreeSet<String> = objects
            .iter()
            .filter_map(|object| object.path.strip_suffix("{}").map(str::to_owned))
            .collect();
        let mut real = BTreeSet::new();
        for line in json_runs(page) {
            let printed = manual.run(&line)?;
            let values = serde_json::Deserializer::from_str(&printed.text).into_iter::<Value>();
            let mut documents = 0;
            for value in values {
                keys_of(&value?, "", &maps, &mut real);
                documents += 1;
            }
            assert!(documents > 0, "{line}: {}", printed.errors);
        }
        let mut documented = BTreeSet::new();
        for object in &objects {
            for (key, may_be_absent) in &object.keys {
                let pair = (object.path.clone(), key.clone());
                // Of an object that is not there, as the findings of a healthy host, nothing is known.
                let is_present = real.iter().any(|(path, _)| *path == object.path);
                let is_checked = matches!(page.json, Json::Own(_)) && !may_be_absent;
                if is_checked && is_present && !real.contains(&pair) {
                    wrong.push(format!("{}: not in the output: {pair:?}", page.command));
                }
                documented.insert(pair);
            }
        }
        for pair in real.difference(&documented) {
            wrong.push(format!("{}: not documented: {pair:?}", page.command));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}
