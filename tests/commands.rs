//! Every command where something is not as it should be: nothing matches, a name does not exist, a value cannot
//! be, the service does not run or may not be asked, the reader is gone, the disk is full. The exit status and
//! the words are in `tests/COMMANDS.md`, which this test writes and checks.
//!
//! ```text
//!   a  e0 10.0.0.1, netsonded ---------- 10.0.0.2 e0  b
//! ```
#![allow(missing_docs, clippy::unwrap_used)]

#[path = "support/monitored.rs"]
mod monitored;
mod support;

use std::collections::BTreeSet;
use std::fs::{File, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};

use netsonde::lab::{Host, Running, wait_until};
use serde_json::json;
use support::{PATIENCE, Service, Test, pair};

type Outcome = Result<(), Box<dyn std::error::Error>>;

fn main() -> ExitCode {
    support::main(&[
        ("table_is_up_to_date", table_is_up_to_date as Test),
        (
            "impossible_values_are_refused",
            impossible_values_are_refused,
        ),
        ("events_are_selected_by_time", events_are_selected_by_time),
        (
            "letters_of_ss_select_as_in_ss",
            letters_of_ss_select_as_in_ss,
        ),
    ])
}

/// Command, arguments that match nothing, that name what does not exist, and that cannot be (`""`: there are
/// none), and arguments that are right.
type Row = (
    &'static str,
    &'static str,
    &'static str,
    &'static str,
    &'static str,
);

const ROWS: &[Row] = &[
    ("status", "", "", "status x", "status"),
    ("interfaces", "", "interfaces eo", "", "interfaces"),
    (
        "watch",
        "watch --last 1m --port 9 --vlan 7",
        "watch -I nope0",
        "watch --vlan 5000",
        "watch --last all",
    ),
    (
        "capture",
        "capture --last 1m --port 9 --vlan 7 -w out.pcap",
        "capture -w out.pcap --store lnik",
        "capture -w out.pcap --since 2500-01-01",
        "capture --last all -w -",
    ),
    (
        "mcast groups",
        "mcast groups 239.9.9.9",
        "mcast groups -I nope0",
        "mcast groups 10.0.0.1",
        "mcast groups",
    ),
    (
        "mcast streams",
        "mcast streams 239.9.9.9",
        "mcast streams -I nope0",
        "mcast streams 239.1.1",
        "mcast streams",
    ),
    (
        "mcast doctor",
        "",
        "mcast doctor 239.9.9.9 -I nope0",
        "mcast doctor 239.1.1.1:0",
        "mcast doctor 239.9.9.9 --duration 100ms",
    ),
    (
        "mcast join",
        "mcast join 239.9.9.9 -I e0 --duration 100ms",
        "mcast join 239.9.9.9 -I nope0",
        "mcast join 239.9.9.9 --source 239.1.1.1",
        "mcast join 239.9.9.9 -I e0 --duration 100ms",
    ),
    (
        "mcast send",
        "",
        "mcast send 239.9.9.9 -I nope0",
        "mcast send 239.9.9.9 --pps 0",
        "mcast send 239.9.9.9 -I e0 -c 1",
    ),
    (
        "mcast queriers",
        "mcast queriers -I e0",
        "mcast queriers -I nope0",
        "mcast queriers x",
        "mcast queriers",
    ),
    (
        "drops",
        "",
        "drops --totals",
        "drops --duration 0",
        "drops --duration 100ms",
    ),
    (
        "talkers",
        "talkers -I lo",
        "talkers -I nope0",
        "talkers -n 0",
        "talkers",
    ),
    (
        "connections",
        "connections --host 192.0.2.99",
        "connections --read nope.pcap",
        "connections --port 70000",
        "connections",
    ),
    (
        "events",
        "events link_down -I e0",
        "events -I nope0",
        "events -n 0",
        "events",
    ),
    (
        "monitor add",
        "",
        "monitor add x @nope",
        "monitor add x 10.0.0.2 -i 50ms",
        "monitor add x 10.0.0.2 --replace",
    ),
    (
        "monitor list",
        "monitor list --tag nope",
        "monitor list nope",
        "monitor list --tag=",
        "monitor list",
    ),
    (
        "monitor remove",
        "",
        "monitor remove nope",
        "",
        "monitor remove gone",
    ),
    (
        "monitor pause",
        "",
        "monitor pause nope",
        "monitor pause wan --for 0",
        "monitor pause wan --maintenance",
    ),
    (
        "monitor resume",
        "",
        "monitor resume nope",
        "",
        "monitor resume wan",
    ),
    (
        "outages",
        "outages wan",
        "outages 99",
        "outages --since 2500-01-01",
        "--json outages",
    ),
    (
        "history",
        "history wan --at 2020-01-01",
        "history 10.0.0.77",
        "history wan --step 0",
        "history wan",
    ),
    ("keep", "", "", "keep --last 0", "keep"),
    ("kept", "", "", "kept 0", "kept"),
    (
        "neighbors",
        "neighbors zz",
        "neighbors -I nope0",
        "neighbors 10.999.1.1",
        "neighbors",
    ),
    (
        "ping",
        "",
        "ping -I nope0 10.0.0.2",
        "ping -W 0 10.0.0.2",
        "ping -c 1 10.0.0.2",
    ),
    (
        "trace",
        "",
        "trace -I nope0 10.0.0.2",
        "trace -W 0 10.0.0.2",
        "trace 10.0.0.2",
    ),
    ("families", "", "families vsokc", "", "families"),
    (
        "sockets",
        "sockets --process nope",
        "sockets --family inte",
        "sockets --port 99999",
        "sockets",
    ),
    (
        "doctor",
        "",
        "doctor -I nope0",
        "doctor --duration -1s",
        "doctor --duration 100ms",
    ),
    ("demo", "", "demo x", "", "demo"),
    (
        "explain",
        "",
        "explain two-sendres",
        "explain rp",
        "explain",
    ),
    ("completions", "", "completions bsh", "", "completions bash"),
];

/// Where the output of a command goes.
#[derive(Clone, Copy, PartialEq)]
enum Output {
    Kept,
    ClosedPipe,
    FullDisk,
}

/// A way to go wrong: its name, the exit status that it must have, and if it needs the service to be reached
/// in another way, the socket.
struct Way {
    name: &'static str,
    status: i32,
    arguments: fn(&Row) -> &'static str,
    socket: Option<&'static str>,
    output: Output,
}

const WAYS: &[Way] = &[
    Way {
        name: "no match",
        status: 1,
        arguments: |row| row.1,
        socket: None,
        output: Output::Kept,
    },
    Way {
        name: "unknown name",
        status: 2,
        arguments: |row| row.2,
        socket: None,
        output: Output::Kept,
    },
    Way {
        name: "impossible value",
        status: 2,
        arguments: |row| row.3,
        socket: None,
        output: Output::Kept,
    },
    Way {
        name: "no service",
        status: 2,
        arguments: |row| row.4,
        socket: Some("nothing.sock"),
        output: Output::Kept,
    },
    Way {
        name: "no permission",
        status: 2,
        arguments: |row| row.4,
        socket: Some("closed/control.sock"),
        output: Output::Kept,
    },
    Way {
        name: "closed pipe",
        status: 0,
        arguments: |row| row.4,
        socket: None,
        output: Output::ClosedPipe,
    },
    Way {
        name: "full disk",
        status: 2,
        arguments: |row| row.4,
        socket: None,
        output: Output::FullDisk,
    },
];

/// Commands that do not ask the service, or can do without.
const WITHOUT_SERVICE: &[&str] = &[
    "mcast join",
    "mcast send",
    "drops",
    "families",
    "sockets",
    "demo",
    "explain",
    "completions",
];

/// Commands that print nothing on standard output, or only with packets on disk.
const WITHOUT_OUTPUT: &[&str] = &[
    "monitor add",
    "monitor remove",
    "monitor pause",
    "monitor resume",
    "keep",
    "kept",
];

struct Bench {
    a: Host,
    _b: Host,
    service: Service,
    _historian: Running,
    folder: tempfile::TempDir,
}

/// What a command did.
struct Done {
    status: Option<i32>,
    out: String,
    words: String,
}

impl Bench {
    fn new() -> Result<Bench, Box<dyn std::error::Error>> {
        let (a, b) = pair();
        let service = Service::start(&a, &[]);
        let historian = monitored::historian(&a, &service.socket());
        let folder = support::folder()?;
        let closed = folder.path().join("closed");
        std::fs::create_dir(&closed)?;
        std::fs::set_permissions(closed, Permissions::from_mode(0o000))?;
        Ok(Bench {
            a,
            _b: b,
            service,
            _historian: historian,
            folder,
        })
    }

    /// Runs a command line without the rights of root over files.
    fn run(&self, line: &str, socket: &Path, output: Output) -> std::io::Result<Done> {
        let mut command = support::program("setpriv");
        command
            .args(["--bounding-set", "-dac_override,-dac_read_search"])
            .args(["--inh-caps", "-dac_override,-dac_read_search"])
            .args([env!("CARGO_BIN_EXE_netsonde"), "--socket"])
            .arg(socket)
            .args(line.split(' '))
            .current_dir(self.folder.path())
            .env("TZ", "UTC")
            .stdin(Stdio::null());
        let done = self.a.run(|| complete(&mut command, output))?;
        let words = String::from_utf8_lossy(&done.stderr).into_owned();
        Ok(Done {
            status: done.status.code(),
            out: String::from_utf8_lossy(&done.stdout).into_owned(),
            words,
        })
    }

    fn ask(&self, line: &str) -> std::io::Result<Done> {
        self.run(line, &self.service.socket(), Output::Kept)
    }

    /// The words without what differs between machines and runs.
    fn normal(&self, words: &str) -> String {
        let folder = self.folder.path().display().to_string();
        let mut words = words.trim_end().replace(&folder, "DIR");
        for (from, to) in [("; ", " without the filter"), (" (lo", ")")] {
            let Some(at) = words.find(from) else { continue };
            let Some(end) = words[at..].find(to) else {
                continue;
            };
            let keep = from.trim_end_matches("lo");
            words.replace_range(at..at + end, &format!("{keep}..."));
        }
        words
    }
}

fn complete(command: &mut Command, output: Output) -> std::io::Result<std::process::Output> {
    match output {
        Output::Kept => {}
        Output::ClosedPipe => {
            let (reader, writer) = std::io::pipe()?;
            drop(reader);
            command.stdout(writer);
        }
        Output::FullDisk => {
            command.stdout(File::options().write(true).open("/dev/full")?);
        }
    }
    command.output()
}

/// Texts of libraries and of the protocol, and signs of a crash.
const RAW: &[&str] = &[
    "os error",
    "invalid digit",
    "options.",
    "selection.",
    "_ns",
    "panicked",
    "Usage:",
    "error:",
    "InvalidParameter",
];

fn table_is_up_to_date() -> Outcome {
    let named: BTreeSet<String> = ROWS.iter().map(|row| row.0.to_owned()).collect();
    assert_eq!(named, commands(), "a command is missing");
    let bench = Bench::new()?;
    let folder = bench.folder.path();
    let monitor = json!({ "monitor": { "name": "wan", "targets": ["10.0.0.2"] } });
    monitored::call(&bench.service.socket(), "AddMonitor", &monitor)?;
    let is_measured = || {
        bench
            .ask("history wan")
            .is_ok_and(|done| done.status == Some(0))
    };
    assert!(wait_until(PATIENCE, is_measured), "no history of wan");
    let mut text = String::from(
        "# Every command, and what it says when something is wrong\n\n\
         Generated from `tests/commands.rs`; `NETSONDE_BLESS=1 cargo test --test commands table` writes it.\n\n\
         Each line was run as an ordinary user on a host with the interfaces lo and e0. Exit status 1: nothing\n\
         matched; 2: it could not be done. The words are one line on standard error; `...` stands for what differs\n\
         between machines. A command that is missing in a table cannot go wrong in that way. *No permission*:\n\
         the socket cannot be reached; `tests/permission.rs` has the tiers of the service. *Closed pipe*: the reader\n\
         is gone before the first byte, as with `| head`.\n",
    );
    for way in WAYS {
        text.push_str(&format!("\n## {}\n\n", way.name));
        text.push_str("| command line | status | words |\n|---|---|---|\n");
        for row in ROWS {
            let arguments = (way.arguments)(row);
            let is_apart = way.socket.is_some() && WITHOUT_SERVICE.contains(&row.0);
            // It takes half a minute if its output can be written.
            let is_long = arguments == "demo" && way.output == Output::Kept;
            let is_silent = way.output != Output::Kept && WITHOUT_OUTPUT.contains(&row.0);
            if arguments.is_empty() || is_apart || is_long || is_silent {
                continue;
            }
            let socket = match way.socket {
                Some(name) => folder.join(name),
                None => bench.service.socket(),
            };
            let done = bench.run(arguments, &socket, way.output)?;
            let (case, words) = (
                format!("{}: {arguments}", way.name),
                bench.normal(&done.words),
            );
            assert_eq!(done.status, Some(way.status), "{case}: {words}");
            for raw in RAW {
                assert!(!words.contains(raw), "{case}: {words}");
            }
            // Of notes on the way only the last line says why it ended.
            let last = words.lines().last().unwrap_or_default();
            if way.status != 0 {
                assert!(last.starts_with("netsonde: "), "{case}: {words}");
            }
            let shown = if way.status == 0 { "" } else { last };
            let cell = shown.trim_start_matches("netsonde: ").replace('|', "\\|");
            text.push_str(&format!(
                "| `netsonde {arguments}` | {} | {cell} |\n",
                way.status
            ));
        }
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/COMMANDS.md");
    if std::env::var_os("NETSONDE_BLESS").is_some() {
        std::fs::write(&path, &text)?;
    }
    assert_eq!(
        std::fs::read_to_string(&path).unwrap_or_default(),
        text,
        "outdated: regenerate with NETSONDE_BLESS=1"
    );
    Ok(())
}

/// The names of all commands.
fn commands() -> BTreeSet<String> {
    let root = netsonde::client::cli::args::command();
    let mut names = BTreeSet::new();
    for one in root.get_subcommands() {
        let below: Vec<_> = one.get_subcommands().collect();
        if below.is_empty() {
            names.insert(one.get_name().to_owned());
        }
        for two in below {
            names.insert(format!("{} {}", one.get_name(), two.get_name()));
        }
    }
    names
}

/// Values that cannot be, by command line, and the words that must say so.
const IMPOSSIBLE: &[(&str, &str)] = &[
    ("watch -c 0", "-c: must be at least 1, not 0"),
    ("watch -c -1", "-c: must be at least 1, not -1"),
    ("watch --last 0", "--last: must be more than 0"),
    ("watch --last NaN", "--last: invalid duration \"NaN\""),
    ("watch --last -5m", "--last: must not be negative, not -5m"),
    (
        "watch --port 65536",
        "--port: must be at most 65535, not 65536",
    ),
    (
        "watch --port http",
        "--port: must be a whole number, 0 to 65535, not \"http\"",
    ),
    ("watch --vlan=-1", "--vlan: must be 0 to 4095, not -1"),
    (
        "watch --host 10.999.1.1",
        "--host: 10.999.1.1 is not an IPv4 address: 999 is more than 255",
    ),
    (
        "watch --host 10.0.0.0/33",
        "--host: 10.0.0.0/33 is not a prefix: 33 is more than 32",
    ),
    ("watch --host fe80::/129", "129 is more than 128"),
    (
        "watch --host e0",
        "--host: \"e0\" is not an IPv4 or IPv6 address",
    ),
    (
        "watch --group 10.0.0.1",
        "--group: 10.0.0.1 is not a multicast address",
    ),
    (
        "watch --proto mdsn",
        "--proto: unknown protocol \"mdsn\"; did you mean mdns?",
    ),
    (
        "watch --store lnik",
        "--store: unknown store \"lnik\"; did you mean link?",
    ),
    (
        "watch --direction up",
        "--direction: unknown value \"up\" (in, out)",
    ),
    (
        "watch --since 2500-01-01",
        "--since: 2500-01-01 00:00:00 is in the future",
    ),
    (
        "watch --since soon",
        "--since: invalid time \"soon\": expected for example -2h",
    ),
    ("watch --since -1h --until -2h", "is after --until"),
    ("capture -w x --since -1h --until -2h", "is after --until"),
    ("capture -w x -c 0", "-c: must be at least 1, not 0"),
    ("events -n 0", "-n: must be at least 1, not 0"),
    ("events --last 0s", "--last: must be more than 0"),
    (
        "events --since 2500-01-01",
        "--since: 2500-01-01 00:00:00 is in the future",
    ),
    ("events --since -1h --until -2h", "is after --until"),
    (
        "events --last 1h --since -1h",
        "--last cannot be used with --since",
    ),
    (
        "events link_dwon",
        "unknown event kind \"link_dwon\"; did you mean link_down?",
    ),
    (
        "events -s grave",
        "unknown severity \"grave\" (info, notice, warning)",
    ),
    ("talkers --window 0", "--window: must be more than 0"),
    (
        "talkers --window 10m",
        "--window: must be 1s to 5m, not 10m",
    ),
    ("talkers -n 1001", "-n: must be at most 1000, not 1001"),
    ("connections --slow 0s", "--slow: must be more than 0"),
    (
        "connections --host 10.1.2.3.4",
        "it has 5 numbers instead of 4",
    ),
    (
        "connections --read x --last 1m",
        "--read cannot be used with --last",
    ),
    (
        "talkers --by size",
        "--by: unknown value \"size\" (bytes, packets)",
    ),
    (
        "neighbors fe80::12345",
        "fe80::12345 is not an IPv6 address: 12345 has more than four digits",
    ),
    ("neighbors 02:00:00", "02:00:00 is not a MAC address"),
    ("neighbors 10.0.0.0/24", "10.0.0.0/24 is a prefix"),
    (
        "mcast groups 10.0.0.1",
        "10.0.0.1 is not a multicast address",
    ),
    ("mcast streams 239.1.1.1.1", "it has 5 numbers instead of 4"),
    (
        "mcast join 239.1.1.1:99999",
        "the port must be 1 to 65535, not \"99999\"",
    ),
    ("mcast join 239.1.1.1 -c 0", "-c: must be at least 1, not 0"),
    (
        "mcast join 239.1.1.1 --duration 0",
        "--duration: must be more than 0",
    ),
    (
        "mcast join 239.1.1.1 --receive-buffer 0",
        "--receive-buffer: must be 1 to",
    ),
    (
        "mcast join 239.1.1.1 --source fe80::1",
        "--source: fe80::1 is an IPv6 address and the group",
    ),
    (
        "mcast join 239.1.1.1 --source 10.0.0.999",
        "--source: 10.0.0.999 is not an IPv4 address",
    ),
    (
        "mcast send 239.1.1.1 --source 0.0.0.0",
        "--source: 0.0.0.0 is not the address of one host",
    ),
    (
        "mcast send 239.1.1.1 --size 31",
        "--size: must be 32 to 65507, not 31",
    ),
    (
        "mcast send 239.1.1.1 -t 256",
        "-t: must be at most 255, not 256",
    ),
    (
        "mcast send 239.1.1.1 --pps 1000001",
        "--pps: must be at most 1000000, not 1000001",
    ),
    (
        "mcast doctor 239.1.1.1:0",
        "239.1.1.1:0: the port must be 1 to 65535, not \"0\"",
    ),
    (
        "mcast doctor 10.0.0.1",
        "10.0.0.1 is not a multicast address",
    ),
    (
        "mcast doctor 239.1.1.1 --duration 0",
        "--duration: must be more than 0",
    ),
    (
        "drops --duration 1e9",
        "--duration: invalid duration \"1e9\"",
    ),
    ("drops --until -1h", "--since is missing"),
    (
        "drops --since -1h --total",
        "--since cannot be used with --total",
    ),
    ("doctor --duration 0", "--duration: must be more than 0"),
    ("sockets --port 0", "--port: must be at least 1, not 0"),
    (
        "sockets --port 99999",
        "--port: must be 1 to 65535, not 99999",
    ),
    (
        "sockets --family inte",
        "--family: unknown address family \"inte\"; did you mean inet?",
    ),
    (
        "sockets --type steram",
        "--type: unknown socket type \"steram\"; did you mean stream?",
    ),
    ("sockets --process=", "--process: must not be empty"),
    (
        "ping 10.999.1.1",
        "10.999.1.1 is not an IPv4 address: 999 is more than 255",
    ),
    (
        "ping 10.0.0.1:80",
        "10.0.0.1:80 has a port: give the address alone, 10.0.0.1",
    ),
    ("ping fe80::1::2", ":: may stand only once"),
    ("ping 10.0.0.0/33", "33 is more than 32"),
    ("ping -W 0 10.0.0.2", "-W: must be more than 0"),
    (
        "ping --timeout 0 10.0.0.2",
        "--timeout: must be more than 0",
    ),
    (
        "ping -W 2h 10.0.0.2",
        "-W: must be at most one hour, not 2h",
    ),
    ("ping -w 0 10.0.0.2", "-w: must be more than 0"),
    (
        "ping -i 2h 10.0.0.2",
        "-i: must be at most one hour, not 2h",
    ),
    ("ping -c 0 10.0.0.2", "-c: must be at least 1, not 0"),
    (
        "ping -c 4294967296 10.0.0.2",
        "-c: must be at most 4294967295, not 4294967296",
    ),
    (
        "ping -s 65528 10.0.0.2",
        "-s: must be at most 65527, not 65528",
    ),
    ("ping -s 65508 10.0.0.2", "-s: 65508 is more than 65507"),
    ("ping -t 0 10.0.0.2", "-t: must be 1 to 255, not 0"),
    ("trace -m 65 10.0.0.2", "-m: must be at most 64, not 65"),
    ("trace -f 9 -m 3 10.0.0.2", "-f 9 is more than -m 3"),
    (
        "ping -Q 256 10.0.0.2",
        "-Q: must be 0 to 255, or 0x0 to 0xff, not \"256\"",
    ),
    (
        "ping -p xyz 10.0.0.2",
        "-p: must be 1 to 16 bytes in hexadecimal, such as ff00, not \"xyz\"",
    ),
    (
        "ping --rate 0 10.0.0.2",
        "--rate: must be at least 1, not 0",
    ),
    (
        "ping -M never 10.0.0.2",
        "-M: unknown value \"never\" (do, probe, want, dont)",
    ),
    (
        "ping -I fe80::1 10.0.0.2",
        "-I: fe80::1 is not an address of the targets' family",
    ),
];

fn impossible_values_are_refused() -> Outcome {
    let bench = Bench::new()?;
    for (line, words) in IMPOSSIBLE {
        let done = bench.ask(line)?;
        let said = done.words.trim_end();
        assert_eq!(done.status, Some(2), "{line}: {said}");
        assert!(said.contains(words), "{line}: {said}");
        assert!(
            said.starts_with("netsonde: ") && said.lines().count() == 1,
            "{line}: {said}"
        );
        assert!(done.out.is_empty(), "{line}: {}", done.out);
        for raw in RAW {
            assert!(!said.contains(raw), "{line}: {said}");
        }
    }
    Ok(())
}

/// An event is within a time, after it and before it. JSON stays a document where nothing matches.
fn events_are_selected_by_time() -> Outcome {
    let bench = Bench::new()?;
    bench.a.down("e0")?;
    let is_there = || {
        bench
            .ask("events link_down")
            .is_ok_and(|done| done.status == Some(0))
    };
    assert!(wait_until(PATIENCE, is_there), "{}", bench.service.log());
    for (line, status) in [
        ("events link_down --since -1h", 0),
        ("events link_down --since -1h --until now", 0),
        ("events link_down --until -1h", 1),
        ("events link_down --since yesterday --until -1h", 1),
        ("--json events link_down --until -1h", 1),
    ] {
        let done = bench.ask(line)?;
        assert_eq!(done.status, Some(status), "{line}: {}", done.words);
        assert_eq!(done.out.contains("link_down"), status == 0, "{line}");
        if line.starts_with("--json") {
            let report: serde_json::Value = serde_json::from_str(&done.out)?;
            assert_eq!(report["events"], serde_json::json!([]));
        }
    }
    // An interface that is gone has events still; one that never was is an error.
    assert_eq!(bench.ask("events -I e0")?.status, Some(0));
    let never = bench.ask("events -I eo")?;
    assert!(
        never
            .words
            .contains("unknown interface \"eo\"; did you mean"),
        "{}",
        never.words
    );
    assert_eq!(never.status, Some(2));
    Ok(())
}

fn letters_of_ss_select_as_in_ss() -> Outcome {
    let bench = Bench::new()?;
    let (_tcp, _udp) = bench.a.run(|| -> std::io::Result<_> {
        let tcp = std::net::TcpListener::bind(("10.0.0.1", 7001))?;
        Ok((tcp, std::net::UdpSocket::bind(("10.0.0.1", 7002))?))
    })?;
    for (letters, tcp, udp, packet) in [
        ("-t", true, false, false),
        ("-u", false, true, false),
        ("-tu", true, true, false),
        ("-tulpn", true, true, false),
        ("-ta4", true, false, false),
        ("-0", false, false, true),
        ("-lt", true, false, false),
    ] {
        let done = bench.ask(&format!("sockets {letters}"))?;
        assert_eq!(done.status, Some(0), "{letters}: {}", done.words);
        assert_eq!(done.out.contains(":7001"), tcp, "{letters}: {}", done.out);
        assert_eq!(done.out.contains(":7002"), udp, "{letters}: {}", done.out);
        assert_eq!(
            done.out.contains("packet"),
            packet,
            "{letters}: {}",
            done.out
        );
    }
    // The ports that netsonded reserves are of both families.
    assert_eq!(bench.ask("sockets -t6 --port 7001")?.status, Some(1));
    Ok(())
}
