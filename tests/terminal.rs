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
    support::main(&[("tables_fit_the_terminal", tables_fit_the_terminal as Test)])
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
    "doctor --duration 1s",
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
