//! What a user sees on a terminal: tables fit its width; a pipe gets all of them.
//!
//! ```text
//!   a  e0 10.0.0.1 ---------- 10.0.0.2 e0  b
//!         fd00::1             fd00::2
//! ```
//!
//! The judge is the width that the kernel knows of the terminal.
#![allow(missing_docs, clippy::unwrap_used)]

mod support;

use std::process::{Command, ExitCode, Stdio};

use netsonde::lab::{Host, messages, wait_until};
use support::mcast::{Background, Sending, receive, send, send_frame};
use support::terminal::shown;
use support::{PATIENCE, Service, Test, pair};

type Outcome = Result<(), Box<dyn std::error::Error>>;

fn main() -> ExitCode {
    support::main(&[
        ("tables_fit_the_terminal", tables_fit_the_terminal as Test),
        ("files_have_no_progress_lines", files_have_no_progress_lines),
        ("scenes_can_be_chosen", scenes_can_be_chosen),
    ])
}

/// Name of a host that no narrow table has room for.
const NAME: &str = "printer-in-the-large-office-next-to-the-kitchen";

/// A datagram of mDNS: the name has the address of its sender.
fn mdns(from: &str) -> Vec<u8> {
    let mut message = vec![0, 0, 0x84, 0, 0, 0, 0, 1, 0, 0, 0, 0, NAME.len() as u8];
    message.extend_from_slice(NAME.as_bytes());
    message.extend_from_slice(b"\x05local\0\0\x01\x80\x01\0\0\0\x78\0\x04");
    message.extend_from_slice(&from.parse::<std::net::Ipv4Addr>().unwrap().octets());
    message
}

/// Rows for every table: hosts, groups, a querier, streams.
fn traffic(a: &Host, b: &Host) -> Result<Vec<Background>, Box<dyn std::error::Error>> {
    let asks = messages::QueryParams {
        version: 3,
        max_response: 100,
        interval: 125,
    };
    send_frame(a, "e0", &messages::query("10.0.0.1", None, asks, 1));
    a.run(|| {
        let socket = std::net::UdpSocket::bind("10.0.0.1:5353")?;
        socket.send_to(&mdns("10.0.0.1"), "224.0.0.251:5353")
    })?;
    let mut running = vec![];
    for group in ["239.1.1.1", "ff15::1234:5678:9abc:def0"] {
        running.push(receive(b, group, "e0"));
        running.push(send(a, group, Sending::default()));
    }
    Ok(running)
}

/// Commands that print tables.
const COMMANDS: &[&str] = &[
    "status",
    "-v status",
    "interfaces",
    "neighbors",
    "-v neighbors",
    "talkers",
    "-v talkers",
    "connections",
    "-v connections",
    "sockets",
    "-v sockets",
    "sockets --sniff",
    "families",
    "-v families",
    "mcast groups",
    "-v mcast groups",
    "mcast queriers",
    "-v mcast queriers",
    "mcast streams",
    "-v mcast streams",
    "mcast join -q -c 20 -I e0 239.1.1.1:5000",
    "drops --total",
    "events",
    "explain",
    "explain querier-lost",
    "families unix",
    "talkers --by-interface",
    "doctor --duration 1s",
    "-v doctor --duration 1s",
    "ping -c 1 ff02::1%e0",
];

fn tables_fit_the_terminal() -> Outcome {
    let (a, b) = pair();
    let service = Service::start(&b, &[]);
    let _running = traffic(&a, &b)?;
    for target in ["10.0.0.1", "fd00::1"] {
        service.ask(&["ping", "-c", "1", "-W", "5", target]);
    }
    let client = |arguments: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_netsonde"));
        command
            .arg("--socket")
            .arg(service.socket())
            .args(arguments.split(' '));
        command
    };
    for (command, words) in [
        ("neighbors", NAME),
        ("mcast streams", "[ff15::1234:5678:9abc:def0]:5000"),
        ("mcast streams", "239.1.1.1:5000"),
        ("mcast queriers", "10.0.0.1"),
    ] {
        let is_there = || {
            service
                .ask(&command.split(' ').collect::<Vec<_>>())
                .contains(words)
        };
        assert!(wait_until(PATIENCE, is_there), "{command}: {words}");
    }
    for command in COMMANDS {
        for columns in [80, 100, 120] {
            let text = b.run(|| shown(&mut client(command), columns))?;
            if std::env::var_os("NETSONDE_SHOW").is_some() {
                eprintln!("$ netsonde {command}  # {columns} columns\n{text}");
            }
            for line in text.lines() {
                let width = line.chars().count();
                assert!(
                    width <= usize::from(columns),
                    "{command}: {width} of {columns} columns: {line}\n{text}"
                );
            }
        }
    }
    // -l of `sockets` is ss's; before the command it is the global one.
    for (arguments, is_wide) in [("-l sockets -v", true), ("sockets -l", false)] {
        let text = b.run(|| shown(&mut client(arguments), 80))?;
        let widest = text.lines().map(|line| line.chars().count()).max();
        assert_eq!(widest > Some(80), is_wide, "{arguments}: {text}");
    }
    // A pipe and -l have everything.
    let wide = b.run(|| shown(&mut client("-l neighbors"), 80))?;
    let mut piped = client("neighbors");
    let piped = b.run(|| piped.stdin(Stdio::null()).output())?;
    let piped = String::from_utf8(piped.stdout)?;
    for text in [&wide, &piped] {
        assert!(text.contains(&format!("{NAME}.local (mdns)")), "{text}");
        assert!(text.contains("HEARD BY") && !text.contains('…'), "{text}");
        assert!(
            text.lines().any(|line| line.chars().count() > 120),
            "{text}"
        );
    }
    // Rows are cut, and not lost; columns stay below their headings.
    let narrow = b.run(|| shown(&mut client("neighbors"), 80))?;
    let head = narrow
        .lines()
        .find(|line| line.starts_with("ADDRESS"))
        .unwrap();
    let row = narrow
        .lines()
        .find(|line| line.starts_with("10.0.0.1 "))
        .unwrap();
    assert!(row.contains("printer"), "{narrow}");
    let rest: String = row.chars().skip(head.find("NAME").unwrap()).collect();
    assert!(rest.starts_with("printer"), "{narrow}");
    Ok(())
}

/// On a terminal a user learns what takes so long; a file has the results only.
fn files_have_no_progress_lines() -> Outcome {
    let (_a, b) = pair();
    let service = Service::start(&b, &[]);
    let command = |arguments: &str| {
        let mut command = Command::new("sh");
        command.arg("-c").arg(format!(
            "exec '{}' --socket '{}' {arguments}",
            env!("CARGO_BIN_EXE_netsonde"),
            service.socket().display()
        ));
        command
    };
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("all");
    for arguments in ["doctor --duration 1s", "drops --duration 1s"] {
        let text = b.run(|| shown(&mut command(arguments), 80))?;
        assert!(
            text.starts_with("watching for 1.0 s\n"),
            "{arguments}: {text}"
        );
        let redirected = format!("{arguments} >{} 2>&1", file.display());
        b.run(|| command(&redirected).status())?;
        let text = std::fs::read_to_string(&file)?;
        assert!(
            !text.is_empty() && !text.contains("watching"),
            "{arguments}: {text}"
        );
    }
    Ok(())
}

/// The demonstration, with a service whose log is kept: started by a script in the place of netsonded.
fn scenes_can_be_chosen() -> Outcome {
    let folder = tempfile::tempdir()?;
    let path = |name: &str| folder.path().join(name);
    let netsonde = env!("CARGO_BIN_EXE_netsonde");
    if std::fs::hard_link(netsonde, path("netsonde")).is_err() {
        std::fs::copy(netsonde, path("netsonde"))?;
    }
    let script = format!(
        "#!/bin/sh\nexec '{}' \"$@\" 2>'{}'\n",
        env!("CARGO_BIN_EXE_netsonded"),
        path("log").display()
    );
    std::fs::write(path("netsonded"), script)?;
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(path("netsonded"), mode)?;
    let demo = |arguments: &[&str]| {
        let mut command = Command::new(path("netsonde"));
        command.arg("demo").args(arguments).stdin(Stdio::null());
        command
    };
    let listed = String::from_utf8(demo(&["--list"]).output()?.stdout)?;
    assert_eq!(listed.lines().count(), 18, "{listed}");
    assert!(
        listed.contains("ping       Ping, with the time on the wire\n"),
        "{listed}"
    );
    let unknown = demo(&["pong"]).output()?;
    assert_eq!(unknown.status.code(), Some(2));
    assert!(String::from_utf8(unknown.stderr)?.contains("pong"));
    // Everything in one file, in the order in which it is said.
    let out = std::fs::File::create(path("out"))?;
    let scenes = ["status", "errors", "doctor", "events"];
    let status = demo(&scenes)
        .stdout(out.try_clone()?)
        .stderr(out)
        .status()?;
    let text = std::fs::read_to_string(path("out"))?;
    let log = std::fs::read_to_string(path("log"))?;
    assert_eq!(status.code(), Some(0), "{text}\n{log}");
    let mut rest = &text[..];
    for words in [
        "\n1. The service is up",
        "$ netsonde status\n",
        "STORE",
        "-> as expected\n",
        "\n2. A lost packet",
        "$ netsonde watch --last 1m --proto icmp",
        "host unreachable",
        "-> as expected\n",
        "\n3. Diagnosing",
        "$ netsonde doctor --duration 1s\n    healthy",
        "$ netsonde doctor --duration 1s\n    fault",
        "-> as expected\n",
        "\n4. The log",
        "lost its carrier",
        "4 of 4 scenes",
    ] {
        let at = rest
            .find(words)
            .unwrap_or_else(|| panic!("{words:?} is missing or too early: {text}"));
        rest = &rest[at + words.len()..];
    }
    assert!(!text.contains("watching for"), "{text}");
    // The first table has packets, and the log no storm.
    let zeros = text
        .lines()
        .filter(|line| line.contains(" MiB") && line.contains(" 0%        0 "));
    assert!(zeros.count() <= 3, "{text}");
    let audits = log
        .lines()
        .filter(|line| line.contains("payload exported"))
        .count();
    assert!((1..100).contains(&audits), "{audits} exports");
    assert!(!log.contains(" more of these in the last "), "{log}");
    Ok(())
}
