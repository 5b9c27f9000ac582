//! The control socket: L1 to L20.

use std::io::{Read, Write};
use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use netsonde::lab::{self, Host, traffic, wait_until};
use netsonde::varlink::client::Connection;
use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};
use serde_json::{Value, json};

use super::Outcome;
use super::attackers::{self, Attacker, let_in};
use super::watch::{Watch, call, connect, hits, idle_cpu, read, send, store, ticks};
use crate::support::{PATIENCE, Service, Test, entry, has_users, number, pair, program};

pub const TESTS: &[(&str, Test)] = &[
    ("idle_connection_flood", idle_connection_flood as Test),
    ("idle_connections_give_way", idle_connections_give_way),
    ("slow_requests_time_out", slow_requests_time_out),
    ("out_of_range_numbers", out_of_range_numbers),
    (
        "requests_without_an_end_are_refused",
        requests_without_an_end_are_refused,
    ),
    (
        "full_pipes_and_closed_connections",
        full_pipes_and_closed_connections,
    ),
    ("blocked_readers", blocked_readers),
    ("malformed_json", malformed_json),
    ("terminal_escapes_in_names", terminal_escapes_in_names),
    (
        "unrequested_descriptors_are_closed",
        unrequested_descriptors_are_closed,
    ),
    (
        "unusable_passed_sockets_are_refused",
        unusable_passed_sockets_are_refused,
    ),
    (
        "identity_comes_from_peer_credentials",
        identity_comes_from_peer_credentials,
    ),
    ("symlinks_instead_of_files", symlinks_instead_of_files),
    ("filter_size_limits", filter_size_limits),
    (
        "probe_rate_is_limited_per_user",
        probe_rate_is_limited_per_user,
    ),
    (
        "pipelined_requests_of_a_killed_client",
        pipelined_requests_of_a_killed_client,
    ),
    (
        "cancelled_calls_leave_nothing_behind",
        cancelled_calls_leave_nothing_behind,
    ),
    (
        "unknown_methods_and_reply_order",
        unknown_methods_and_reply_order,
    ),
    (
        "descriptor_limit_bounds_clients",
        descriptor_limit_bounds_clients,
    ),
    ("descriptor_exhaustion", descriptor_exhaustion),
];

const BAD: &str = "io.netsonde.Service.BadRequest";
const STATUS: &str = "io.netsonde.Service.Status";

fn status_call() -> Value {
    json!({ "method": STATUS })
}

/// A ping without an end, which tells nothing while it runs.
fn endless_ping(target: &str) -> Value {
    let options = json!({ "interval_ns": 10_000_000, "quiet": true });
    json!({ "method": "io.netsonde.Ping.Ping", "more": true,
        "parameters": { "targets": [target], "options": options } })
}

/// Echo requests that a host has received (Icmp: InEchos of /proc/net/snmp).
pub fn echoes(host: &Host) -> u64 {
    let text = host.proc_net("snmp");
    let mut lines = text.lines().filter_map(|line| line.strip_prefix("Icmp: "));
    let names = lines.next().unwrap_or_default().split(' ');
    let values = lines.next().unwrap_or_default().split(' ');
    let found = names.zip(values).find(|(name, _)| *name == "InEchos");
    found.and_then(|(_, value)| value.parse().ok()).unwrap_or(0)
}

/// Waits until no more echo requests come.
fn until_quiet(host: &Host) -> bool {
    wait_until(PATIENCE, || {
        let before = echoes(host);
        std::thread::sleep(Duration::from_millis(300));
        echoes(host) == before
    })
}

fn alone(service: &Service) -> Value {
    service.until("all are gone", |status| {
        number(&status["clients"]["connected"]) <= 2
    })
}

/// L1.
fn idle_connection_flood() -> Outcome {
    let (a, _b) = pair();
    let service = Service::start(&a, &[]);
    let watch = Watch::begin("L1", &service);
    let start = Instant::now();
    let mut attacker = Attacker::start(&service, "connects");
    let printed = attacker.says();
    let took = start.elapsed();
    let status = service.status();
    let (of_one, connected) = (
        number(&status["clients"]["limit_per_uid"]),
        number(&status["clients"]["connected"]),
    );
    assert!(connected <= of_one + 2, "{connected} of {of_one}");
    let (closed, refused) = (
        watch.hits(&service, "clients of one user"),
        watch.hits(&service, "clients refused"),
    );
    assert!(
        closed + refused >= 9_500,
        "{closed} {refused} {printed} {}",
        service.status()["clients"]
    );
    // All that was closed was told why.
    assert_eq!(printed["closed_without_a_word"], 0, "{printed}");
    assert!(number(&printed["told"]) >= 9_500, "{printed}");
    attacker.kill();
    alone(&service);
    let figures = format!(
        "10000 connections of one user in {:.1} s, {connected} kept, {closed} closed for newer ones, \
         {refused} refused, {} read why",
        took.as_secs_f64(),
        printed["told"]
    );
    watch.end(&service, &figures);
    Ok(())
}

/// L2.
fn idle_connections_give_way() -> Outcome {
    let (a, _b) = pair();
    let service = Service::start(&a, &[]);
    let watch = Watch::begin("L2", &service);
    let mut attacker = Attacker::start(&service, "half open");
    let printed = attacker.says();
    let slow = watch.hits(&service, "request seconds");
    let evicted =
        watch.hits(&service, "clients of one user") + watch.hits(&service, "clients refused");
    // The sixteen that were left had their five seconds; with a single user some of these went to the asker.
    assert!(slow >= 8 && evicted >= 16, "{slow} {evicted} {printed}");
    let all: u64 = printed.as_object().unwrap().values().map(number).sum();
    assert_eq!(all, 32, "{printed}");
    watch.end(
        &service,
        &format!("of 32 half-open {evicted} made room, {slow} ran out of time; {printed}"),
    );
    Ok(())
}

/// L3.
fn slow_requests_time_out() -> Outcome {
    let (a, _b) = pair();
    let service = Service::start(&a, &[]);
    let watch = Watch::begin("L3", &service);
    let mut stream = connect(&service.socket());
    stream.set_read_timeout(Some(Duration::from_millis(200)))?;
    let start = Instant::now();
    let mut bytes = 0;
    let word = loop {
        let _ = stream.write_all(b" ");
        bytes += 1;
        match read(&mut stream) {
            Ok(word) => break word,
            Err(error) if start.elapsed() > PATIENCE => return Err(error.into()),
            Err(_) => {}
        }
    };
    let took = start.elapsed();
    assert_eq!(word["error"], BAD);
    assert!(word.to_string().contains("within 5 s"), "{word}");
    assert!(took >= Duration::from_secs(5), "{took:?}");
    assert_eq!(watch.hits(&service, "request seconds"), 1);
    watch.end(
        &service,
        &format!("closed after {:.1} s and {bytes} bytes", took.as_secs_f64()),
    );
    Ok(())
}

/// L4. There is no length prefix here; what would be one is a request that is none, and numbers that lie stand
/// in parameters.
fn out_of_range_numbers() -> Outcome {
    let (a, _b) = pair();
    let service = Service::start(&a, &[]);
    let watch = Watch::begin("L4", &service);
    let before = watch.engine().memory;
    let mut bad = 0;
    for length in [
        &(1u32 << 30).to_be_bytes()[..],
        &u64::MAX.to_be_bytes(),
        &[0; 8],
        &[0; 4],
    ] {
        let mut stream = connect(&service.socket());
        stream.write_all(&[length, b"{\0"].concat())?;
        assert_eq!(read(&mut stream)?["error"], BAD, "{length:?}");
        bad += 1;
    }
    let numbers = [
        "0",
        "1",
        "-1",
        "255",
        "65535",
        "65536",
        "4294967295",
        "4294967296",
        "9223372036854775807",
        "9223372036854775808",
        "18446744073709551615",
        "1e18",
        "1e308",
        "-9223372036854775808",
        "0.5",
    ];
    let mut answers = std::collections::BTreeMap::<String, u32>::new();
    let mut ask = |text: &str| {
        let mut stream = connect(&service.socket());
        stream.write_all(text.as_bytes()).unwrap();
        stream.write_all(&[0]).unwrap();
        let answer =
            read(&mut stream).unwrap_or_else(|error| panic!("{text}: {error}\n{}", service.log()));
        let word = answer["error"].as_str().unwrap_or("answered").to_owned();
        *answers.entry(word).or_default() += 1;
    };
    for number in numbers {
        for key in ["last_ns", "since_ns", "until_ns", "limit"] {
            ask(&format!(
                "{{\"method\":\"io.netsonde.Capture.Capture\",\"parameters\":{{\"selection\":{{\"{key}\":{number}}}}}}}"
            ));
        }
        for key in ["ports", "vlans"] {
            ask(&format!(
                "{{\"method\":\"io.netsonde.Capture.Capture\",\"parameters\":{{\"selection\":{{\"{key}\":[{number}]}}}}}}"
            ));
        }
        for key in [
            "count",
            "interval_ns",
            "timeout_ns",
            "deadline_ns",
            "size",
            "ttl",
            "tos",
            "rate",
        ] {
            ask(&format!(
                "{{\"method\":\"io.netsonde.Ping.Ping\",\"more\":true,\"parameters\":{{\"targets\":[\"10.0.0.2\"],\"options\":{{\"{key}\":{number}}}}}}}"
            ));
        }
        ask(&format!(
            "{{\"method\":\"io.netsonde.Ping.Ping\",\"more\":true,\"parameters\":{{\"targets\":[\"10.0.0.2\"],\"options\":{{\"count\":3,\"flood\":true,\"deadline_ns\":{number},\"timeout_ns\":3600000000000}}}}}}"
        ));
        ask(&format!(
            "{{\"method\":\"io.netsonde.Ping.Ping\",\"more\":true,\"parameters\":{{\"list\":{number}}}}}"
        ));
        ask(&format!(
            "{{\"method\":\"io.netsonde.Ping.Stop\",\"parameters\":{{\"run\":{number}}}}}"
        ));
    }
    for range in [
        "0.0.0.0/0",
        "::/0",
        "::/64",
        "255.255.255.255/32",
        "0.0.0.0/31",
        "10.0.0.0/-1",
        "10.0.0.0/4294967296",
    ] {
        ask(
            &json!({ "method": "io.netsonde.Ping.Targets", "parameters": { "targets": [range] } })
                .to_string(),
        );
    }
    alone(&service);
    let most = watch.engine().memory;
    assert!(most < before + 16 * 1024, "{before} KiB, then {most} KiB");
    watch.end(
        &service,
        &format!("{bad} lengths refused; numbers: {}", json!(answers)),
    );
    Ok(())
}

/// L5.
fn requests_without_an_end_are_refused() -> Outcome {
    let (a, _b) = pair();
    let service = Service::start(&a, &[]);
    let watch = Watch::begin("L5", &service);
    let mut stream = connect(&service.socket());
    let chunk = vec![b'x'; 1 << 16];
    let mut written = 0u64;
    while written < 1 << 30 {
        match stream.write(&chunk) {
            Ok(more) => written += more as u64,
            Err(_) => break,
        }
    }
    // What the kernel's queue of the socket takes besides is not the service's.
    assert!(written < 2 << 20, "{written} bytes were taken");
    let printed =
        read(&mut stream).map_or_else(|error| error.kind().to_string(), |word| word.to_string());
    assert_eq!(watch.hits(&service, "request bytes"), 1);
    drop(stream);
    watch.end(
        &service,
        &format!("closed after {written} bytes of 1 GiB were written: {printed}"),
    );
    Ok(())
}

/// L6. A client that can't be heard any more, since its inbox is full or it has said that it says no more, and
/// goes: what was done for it ends.
fn full_pipes_and_closed_connections() -> Outcome {
    let (a, b) = pair();
    let service = Service::start(&a, &[]);
    let watch = Watch::begin("L6", &service);
    let mut figures = vec![];
    for (what, fills, halves) in [
        ("no call, 64 KiB", true, false),
        ("a call, then 100 KiB", true, false),
        ("a call, then half closed", false, true),
        ("a call, 100 KiB, half closed", true, true),
    ] {
        let mut stream = connect(&service.socket());
        if what.starts_with("a call") {
            let report = call(&mut stream, &endless_ping("10.0.0.2"))?;
            assert!(report["parameters"]["run"].is_u64(), "{report}");
            let before = echoes(&b);
            assert!(wait_until(PATIENCE, || echoes(&b) > before + 5));
        }
        if fills {
            stream.set_nonblocking(true)?;
            let _ = stream.write(&[b'x'; 65_536]);
            let _ = stream.write(&[b'x'; 40_000]);
        }
        if halves {
            stream.shutdown(std::net::Shutdown::Write)?;
        }
        if what.starts_with("a call") {
            // It goes on for as long as somebody may be waiting for it.
            let before = echoes(&b);
            assert!(wait_until(PATIENCE, || echoes(&b) > before + 5), "{what}");
        }
        drop(stream);
        let gone = Instant::now();
        alone(&service);
        figures.push(format!("{what}: {} ms", gone.elapsed().as_millis()));
        assert!(until_quiet(&b), "{what}: it goes on probing for nobody");
    }
    let cpu = idle_cpu(watch.engine().pid);
    assert!(
        cpu < 30,
        "{cpu} % of a processor while only status is asked for"
    );
    watch.end(
        &service,
        &format!("ended after {}; then {cpu} % CPU", figures.join(", ")),
    );
    Ok(())
}

/// L7 and L8. Readers of packets that read nothing, or a byte at a time, while packets are recorded.
fn blocked_readers() -> Outcome {
    const MANY: u64 = 200_000;
    const DEAF: usize = 10;
    const SLOW: usize = 3;
    let (a, b) = pair();
    let service = Service::start(&a, &[]);
    let watch = Watch::begin("L7", &service);
    let before = watch.engine().memory;
    let follow = json!({ "selection": { "follow": true } });
    let mut readers: Vec<(Connection, std::fs::File)> = (0..DEAF + SLOW)
        .map(|_| {
            let mut connection = Connection::open(&service.socket()).unwrap();
            connection
                .call_more("io.netsonde.Capture.Capture", &follow)
                .unwrap();
            let reply = connection.reply().unwrap();
            let pipe: OwnedFd = reply.descriptors.into_iter().next().unwrap();
            (connection, std::fs::File::from(pipe))
        })
        .collect();
    let slow: Vec<std::fs::File> = readers[DEAF..]
        .iter()
        .map(|(_, pipe)| pipe.try_clone().unwrap())
        .collect();
    // They end with their pipes.
    let dribbles: Vec<_> = slow
        .into_iter()
        .map(|mut pipe| {
            std::thread::spawn(move || {
                let mut bytes = 0;
                while bytes < 400 && pipe.read(&mut [0]).is_ok_and(|length| length == 1) {
                    bytes += 1;
                    std::thread::sleep(Duration::from_millis(100));
                }
                bytes
            })
        })
        .collect();
    let mac = a.mac("e0")?;
    let ends = (Ipv4Addr::new(10, 0, 0, 2), "10.0.0.1:5000".parse()?);
    let sent = b.run(|| traffic::numbered_frames("e0", mac, ends, MANY, 18, Some(40_000)))?;
    let status = service.until("all is taken in", super::watch::settled);
    let drops = super::watch::sum(&status["rings"], "drops");
    assert!(store(&status, "bulk", "seen") + drops >= MANY, "{status:#}");
    let most = watch.engine().memory;
    // Nothing is queued for a reader but what is being written: a quarter of a MiB each, and not one copy of
    // the record.
    assert!(most < before + 16 * 1024, "{before} KiB, then {most} KiB");
    let cut = || watch.hits(&service, "slow packet readers");
    assert!(
        wait_until(2 * PATIENCE, || cut() == (DEAF + SLOW) as u64),
        "{}",
        cut()
    );
    // Each was told so at the end.
    for (connection, _) in &mut readers {
        let last = connection.reply().unwrap();
        assert!(
            last.parameters
                .to_string()
                .contains("nothing was read for 30 s"),
            "{last:?}"
        );
    }
    drop(readers);
    let dribbled: Vec<u32> = dribbles
        .into_iter()
        .map(|one| one.join().unwrap())
        .collect();
    let figures = format!(
        "{DEAF} deaf and {SLOW} slow readers ({dribbled:?} bytes), {MANY} packets at {:.0} a second, {drops} dropped by the ring, \
         all cut off, at most {most} KiB",
        sent.rate()
    );
    watch.end(&service, &figures);
    Ok(())
}

/// L9.
fn malformed_json() -> Outcome {
    let (a, _b) = pair();
    let service = Service::start(&a, &[]);
    let watch = Watch::begin("L9", &service);
    let keys: String = (0..6000)
        .map(|number| format!("\"k{number}\":1,"))
        .collect();
    let with =
        |parameters: &str| format!("{{\"method\":\"{STATUS}\",\"parameters\":{parameters}}}");
    let capture = |selection: &str| {
        format!(
            "{{\"method\":\"io.netsonde.Capture.Capture\",\"parameters\":{{\"selection\":{selection}}}}}"
        )
    };
    let (depth, invalid) = (30_000, "org.varlink.service.InvalidParameter");
    // Request, the error; none: it is answered, since parameters of a method without any say nothing.
    let cases: Vec<(&str, String, Option<&str>)> = vec![
        ("lists in lists", "[".repeat(60_000), Some(BAD)),
        (
            "closed lists in parameters",
            with(&format!("{}{}", "[".repeat(depth), "]".repeat(depth))),
            None,
        ),
        (
            "objects in parameters",
            with(&format!(
                "{}1{}",
                "{\"a\":".repeat(10_000),
                "}".repeat(10_000)
            )),
            None,
        ),
        (
            "lists in a selection",
            capture(&format!("{}{}", "[".repeat(depth), "]".repeat(depth))),
            Some(invalid),
        ),
        (
            "lists as a host",
            capture(&format!(
                "{{\"hosts\":{}{}}}",
                "[".repeat(depth),
                "]".repeat(depth)
            )),
            Some(invalid),
        ),
        (
            "thousands of keys",
            format!("{{{keys}\"method\":\"{STATUS}\"}}"),
            None,
        ),
        (
            "thousands of keys in a selection",
            capture(&format!("{{{keys}\"limit\":1}}")),
            Some(invalid),
        ),
        (
            "a method twice",
            format!("{{\"method\":\"{STATUS}\",\"method\":\"x.Y\"}}"),
            Some(BAD),
        ),
        (
            "a key twice",
            capture("{\"limit\":1,\"limit\":2}"),
            Some(invalid),
        ),
        ("1e309", capture("{\"limit\":1e309}"), Some(invalid)),
        ("NaN", capture("{\"limit\":NaN}"), Some(BAD)),
        (
            "2^64",
            capture("{\"limit\":18446744073709551616}"),
            Some(invalid),
        ),
        (
            "a text for a number",
            capture("{\"limit\":\"1\"}"),
            Some(invalid),
        ),
        ("null for a method", "{\"method\":null}".into(), Some(BAD)),
        ("a number for a method", "{\"method\":7}".into(), Some(BAD)),
        (
            "a text for more",
            format!("{{\"method\":\"{STATUS}\",\"more\":\"yes\"}}"),
            Some(BAD),
        ),
        (
            "two values",
            format!("{{\"method\":\"{STATUS}\"}} {{}}"),
            Some(BAD),
        ),
        (
            "a comment",
            format!("{{\"method\":\"{STATUS}\"}} // no"),
            Some(BAD),
        ),
        (
            "a byte order mark",
            format!("\u{feff}{{\"method\":\"{STATUS}\"}}"),
            Some(BAD),
        ),
        (
            "a lone surrogate",
            "{\"method\":\"\\ud800\"}".into(),
            Some(BAD),
        ),
        ("nothing", String::new(), Some(BAD)),
    ];
    let mut longest = (Duration::ZERO, "");
    for (what, text, expected) in &cases {
        let mut stream = connect(&service.socket());
        let start = Instant::now();
        stream.write_all(text.as_bytes())?;
        stream.write_all(&[0])?;
        let answer = read(&mut stream).map_err(|error| format!("{what}: {error}"))?;
        longest = longest.max((start.elapsed(), what));
        assert_eq!(answer["error"].as_str(), *expected, "{what}: {answer:.300}");
    }
    let figures = format!(
        "{} requests, the longest answer took {:.1} ms ({})",
        cases.len(),
        longest.0.as_secs_f64() * 1e3,
        longest.1
    );
    watch.end(&service, &figures);
    Ok(())
}

/// What a terminal would take for a command, or that is no text.
fn is_plain(what: &str, bytes: &[u8]) {
    let text = std::str::from_utf8(bytes).unwrap_or_else(|_| panic!("{what}: no UTF-8: {bytes:?}"));
    let odd = text.chars().find(|c| c.is_control() && *c != '\n');
    assert_eq!(odd, None, "{what}: {text:?}");
}

/// L10.
fn terminal_escapes_in_names() -> Outcome {
    let (a, b) = pair();
    let service = Service::start(&a, &[]);
    let watch = Watch::begin("L10", &service);
    let names: [&[u8]; 5] = [
        b"\x1b[2J\x1b[31mx",
        b"t\x1b]0;hi\x07",
        b"u\xff\xfe",
        b"c\xc2\x9b31m",
        b"d\x7f\x08",
    ];
    for (number, name) in names.iter().enumerate() {
        let interface = format!("v{number}");
        lab::veth(&a, &interface, &b, &interface)?;
        a.address(&interface, &format!("10.2.{number}.1/24"))?;
        b.address(&interface, &format!("10.2.{number}.2/24"))?;
        a.down(&interface)?;
        let mut rename = program("ip");
        rename
            .args(["link", "set", &interface, "name"])
            .arg(std::ffi::OsStr::from_bytes(name));
        let renamed = a.run(|| rename.status())?;
        assert!(renamed.success(), "{name:?}");
        rename = program("ip");
        rename
            .args(["link", "set", "dev"])
            .arg(std::ffi::OsStr::from_bytes(name))
            .arg("up");
        assert!(a.run(|| rename.status())?.success());
    }
    let shown = |status: &Value| -> Vec<String> {
        let all = status["interfaces"].as_array().unwrap().iter();
        all.map(|one| one["interface"].as_str().unwrap().to_owned())
            .collect()
    };
    let status = service.until("all names are known", |status| {
        let known = shown(status);
        ["?[2J?[31mx", "t?]0;hi?", "u??", "c??31m", "d??"]
            .iter()
            .all(|name| known.iter().any(|one| one == name))
    });
    for number in 0..names.len() {
        let to = Ipv4Addr::new(10, 2, number as u8, 1);
        let answers = || {
            b.run(|| traffic::ping(to.into(), Duration::from_millis(200)))
                .is_ok_and(|rtt| rtt.is_some())
        };
        assert!(wait_until(PATIENCE, answers));
    }
    let _member =
        b.run(|| traffic::join("239.1.1.1".parse().unwrap(), "10.2.0.2".parse().unwrap()))?;
    let mut lines = 0;
    for arguments in [
        &["status"][..],
        &["-v", "status"],
        &["interfaces"],
        &["--json", "status"],
        &["--json", "interfaces"],
        &["watch", "--last", "all"],
        &["watch", "--last", "all", "--json"],
        &["-v", "mcast", "groups"],
        &["mcast", "queriers"],
        &["mcast", "streams"],
        &["watch", "--last", "all", "-I", "\x1b[31m"],
        &["interfaces", "\x1b[31m"],
        &["ping", "-c", "1", "-I", "\x1b[31m", "10.0.0.2"],
        &["ping", "-c", "1", "fe80::1%\x1b[31m"],
        &["mcast", "groups", "-I", "\x1b[31m"],
        &["explain", "\x1b[31m"],
        &["watch", "--last", "all", "--store", "\x1b[31m"],
        &["watch", "--last", "all", "--host", "\x1b[31m"],
        &["watch", "--last", "all", "\x1b[31m"],
        &["watch", "--read", "/nowhere/\x1b[31m"],
        &["capture", "--last", "all", "-w", "/nowhere/\x1b[31m"],
    ] {
        let output = service.netsonde(arguments);
        is_plain(&format!("{arguments:?}"), &output.stdout);
        is_plain(&format!("{arguments:?}"), &output.stderr);
        lines += output.stdout.iter().filter(|byte| **byte == b'\n').count();
    }
    // What a request holds goes into the log, and into the error.
    let mut stream = connect(&service.socket());
    let filter =
        json!({ "selection": { "filter": "\x1b[31m\n\u{9b}x", "limit": 1, "hosts": ["\x1b"] } });
    let asked = json!({ "method": "io.netsonde.Capture.Capture", "parameters": filter });
    let report = call(&mut stream, &asked)?;
    assert_eq!(
        report["error"], "org.varlink.service.InvalidParameter",
        "{report}"
    );
    let report = call(
        &mut stream,
        &json!({ "method": "io.netsonde.\x1b[31m.X\u{0}" }),
    )?;
    assert_eq!(
        report["error"], "org.varlink.service.MethodNotFound",
        "{report}"
    );
    for (bytes, _) in [
        (&b"{\"method\":\"\xff\xfe\"}\0"[..], ()),
        (b"\xc0\x80\0", ()),
        (b"{\"method\":\"a\tb\"}\0", ()),
    ] {
        let mut stream = connect(&service.socket());
        stream.write_all(bytes)?;
        assert_eq!(read(&mut stream)?["error"], BAD, "{bytes:?}");
    }
    is_plain("the log", service.log().as_bytes());
    drop(stream);
    // The keeper holds memberships on each link that is there.
    let links = shown(&status);
    for number in 0..names.len() {
        b.delete(&format!("v{number}"))?;
    }
    service.until("all are gone", |status| {
        let all = status["interfaces"].as_array().unwrap().iter();
        all.filter(|one| one["state"] != "gone").count() == 2
    });
    watch.end(
        &service,
        &format!(
            "{} links with odd names, {lines} lines shown without a control character: {:?}",
            names.len(),
            links
        ),
    );
    Ok(())
}

/// L11.
fn unrequested_descriptors_are_closed() -> Outcome {
    const MESSAGES: usize = 1000;
    let (a, _b) = pair();
    let service = Service::start(&a, &[]);
    let watch = Watch::begin("L11", &service);
    let file = std::fs::File::open("/dev/null")?;
    let mut stream = connect(&service.socket());
    let call = format!("{}\0", status_call());
    let send = |stream: &UnixStream, count: usize| {
        let all = vec![file.as_raw_fd(); count];
        sendmsg::<()>(
            stream.as_raw_fd(),
            &[std::io::IoSlice::new(call.as_bytes())],
            &[ControlMessage::ScmRights(&all)],
            MsgFlags::empty(),
            None,
        )
    };
    let mut most = 0;
    for number in 0..MESSAGES {
        send(&stream, 253)?;
        assert!(read(&mut stream)?["parameters"]["engine"].is_object());
        if number % 50 == 0 {
            most = most.max(watch.engine().descriptors.unwrap_or(0));
        }
    }
    assert_eq!(send(&stream, 254), Err(nix::errno::Errno::EINVAL));
    // With none received, there are those of a few connections, and twice those of the ports of probes by UDP.
    assert!(most < 96, "{most} descriptors are open");
    drop(stream);
    watch.end(
        &service,
        &format!("{} descriptors sent, at most {most} open", MESSAGES * 253),
    );
    Ok(())
}

/// L12. A starter may pass the control socket; anything else is refused before anything is opened.
fn unusable_passed_sockets_are_refused() -> Outcome {
    use std::os::unix::net::{UnixDatagram, UnixListener};
    let directory = crate::support::folder()?;
    let at = |name: &str| directory.path().join(name);
    nix::unistd::mkfifo(&at("fifo"), nix::sys::stat::Mode::S_IRWXU)?;
    std::fs::write(at("file"), "x")?;
    let path_only = std::fs::File::from(nix::fcntl::open(
        &at("file"),
        nix::fcntl::OFlag::O_PATH,
        nix::sys::stat::Mode::empty(),
    )?);
    let fifo = std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open(at("fifo"))?;
    let tcp = std::net::TcpListener::bind("127.0.0.1:0")?;
    let (one, _other) = UnixStream::pair()?;
    let passed: Vec<(&str, OwnedFd)> = vec![
        ("a directory", std::fs::File::open(directory.path())?.into()),
        ("a FIFO", fifo.into()),
        ("a file", std::fs::File::open(at("file"))?.into()),
        ("a path only", path_only.into()),
        ("a device", std::fs::File::open("/dev/null")?.into()),
        (
            "a datagram socket",
            UnixDatagram::bind(at("datagram"))?.into(),
        ),
        ("a TCP listener", tcp.into()),
        ("a connected socket", one.into()),
    ];
    let start = |passed: OwnedFd| {
        let mut command = Command::new("sh");
        command
            .args([
                "-c",
                "LISTEN_PID=$$ LISTEN_FDS=1 exec \"$0\" --allow-root --socket /nowhere/s 3<&0",
                env!("CARGO_BIN_EXE_netsonded"),
            ])
            .stdin(Stdio::from(passed))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command.spawn().unwrap()
    };
    for (what, passed) in passed {
        let output = start(passed).wait_with_output()?;
        let printed = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{what}: {printed}");
        assert!(
            printed.contains("listening stream socket") || printed.contains("TCP is not supported"),
            "{what}: {printed}"
        );
    }
    // And what it should be is served.
    let listener = UnixListener::bind(at("control.sock"))?;
    let mut served = start(listener.into());
    let answers = || {
        crate::support::client(&at("control.sock"), &["status"])
            .status
            .success()
    };
    let answered = wait_until(PATIENCE, answers);
    let _ = served.kill();
    let _ = served.wait();
    assert!(answered);
    println!("L12: 8 kinds of descriptors refused, the right one served");
    Ok(())
}

/// The other user of these tests has the number that no entry for a user means.
const ALL_MAY_PROBE: &str = "[permission]\nprobe = [\"*\"]\n";

/// L14.
fn identity_comes_from_peer_credentials() -> Outcome {
    if !has_users() {
        crate::support::skip_here("this machine has one user to give");
    }
    let (a, _b) = pair();
    let service = Service::with_config(&a, ALL_MAY_PROBE, &[]);
    let watch = Watch::begin("L14", &service);
    let printed = Attacker::start(&service, "forges").says();
    assert!(
        printed["forged"]
            .as_str()
            .is_some_and(|why| why.contains("EPERM")),
        "{printed}"
    );
    assert_eq!(
        printed["asked"]["error"], "io.netsonde.Ping.NotPermitted",
        "{printed}"
    );
    // The same question from root.
    let mut stream = connect(&service.socket());
    let options = json!({ "count": 1, "broadcast": true, "timeout_ns": 1_000_000 });
    let parameters = json!({ "targets": ["10.0.0.255"], "options": options });
    let asked =
        json!({ "method": "io.netsonde.Ping.Ping", "more": true, "parameters": parameters });
    assert!(call(&mut stream, &asked)?["error"].is_null());
    drop(stream);
    // A client with another user's rights does not let the caller's environment choose its service.
    let own = service.directory.path().join("setuid");
    std::fs::copy(env!("CARGO_BIN_EXE_netsonde"), &own)?;
    std::fs::set_permissions(&own, PermissionsExt::from_mode(0o4755))?;
    let run = |program: &std::path::Path| {
        let mut command = Command::new(program);
        command.env("NETSONDE_SOCKET", "/evil/s").arg("status");
        command.uid(attackers::OTHER).gid(attackers::OTHER);
        let output = command.output().unwrap();
        String::from_utf8(output.stderr).unwrap()
    };
    let nosuid = nix::sys::statvfs::statvfs(&own)?
        .flags()
        .contains(nix::sys::statvfs::FsFlags::ST_NOSUID);
    let of_env = if nosuid {
        "not tried: /tmp is mounted nosuid"
    } else {
        let printed = run(&own);
        assert!(
            !printed.contains("/evil") && printed.contains("/run/netsonde/control.sock"),
            "{printed}"
        );
        "ignored by a setuid client"
    };
    watch.end(
        &service,
        &format!(
            "forged credentials: {}, then asked: NotPermitted; environment {of_env}",
            printed["forged"]
        ),
    );
    Ok(())
}

/// L15. The service opens no path that a client names; what it makes itself is made in no other place.
fn symlinks_instead_of_files() -> Outcome {
    let directory = crate::support::folder()?;
    let at = |name: &str| directory.path().join(name);
    let target = at("target");
    std::fs::write(&target, "precious")?;
    let host = Host::new("a")?;
    let refused = |socket: &std::path::Path, words: &str| -> Outcome {
        let mut command = Command::new(env!("CARGO_BIN_EXE_netsonded"));
        command.arg("--allow-root");
        command.arg("--socket").arg(socket).stderr(Stdio::piped());
        let mut started = host.spawn(&mut command)?;
        let ended = || started.child().try_wait().unwrap().is_some();
        assert!(wait_until(PATIENCE, ended), "{}", socket.display());
        let mut printed = String::new();
        let errors = started.child().stderr.as_mut().unwrap();
        errors.read_to_string(&mut printed)?;
        assert_eq!(started.child().wait()?.code(), Some(2), "{printed}");
        assert!(printed.contains(words), "{printed}");
        Ok(())
    };
    // The lock's place: a link to a file, and to one that would be made.
    for (socket, to) in [("a", "target"), ("b", "made")] {
        std::os::unix::fs::symlink(at(to), at(&format!("{socket}.lock")))?;
        refused(&at(socket), "lock file")?;
    }
    assert!(!at("made").exists());
    // The socket's place: links to a file, to nothing, to a socket.
    let _listener = std::os::unix::net::UnixListener::bind(at("other"))?;
    for (socket, to) in [("c", "target"), ("d", "nothing"), ("e", "other")] {
        std::os::unix::fs::symlink(at(to), at(socket))?;
        refused(&at(socket), "not a socket is in its place")?;
        assert!(
            std::fs::symlink_metadata(at(socket))?
                .file_type()
                .is_symlink()
        );
    }
    // A hard link to a file, a directory, a FIFO.
    std::fs::hard_link(&target, at("f"))?;
    std::fs::create_dir(at("g"))?;
    nix::unistd::mkfifo(&at("h"), nix::sys::stat::Mode::S_IRWXU)?;
    for socket in ["f", "g", "h"] {
        refused(&at(socket), "not a socket is in its place")?;
    }
    assert!(!at("nothing").exists());
    assert_eq!(std::fs::read_to_string(&target)?, "precious");
    println!("L15: 8 links and files in the way refused, nothing changed");
    Ok(())
}

/// L16.
fn filter_size_limits() -> Outcome {
    const MANY: u64 = 15_000;
    let (a, b) = pair();
    let service = Service::start(&a, &[]);
    let mac = a.mac("e0")?;
    let ends = (Ipv4Addr::new(10, 0, 0, 2), "10.0.0.1:5000".parse()?);
    b.run(|| traffic::numbered_frames("e0", mac, ends, MANY, 18, Some(40_000)))?;
    service.until("all is recorded", |status| {
        store(status, "bulk", "seen") + super::watch::sum(&status["rings"], "drops") >= MANY
    });
    let watch = Watch::begin("L16", &service);
    // Code, jump if true, jump if false, operand, as in sock_filter.
    let ret = [6u64, 0, 0, 65_535];
    let of = |instructions: &[[u64; 4]]| {
        let code: Vec<u64> = instructions.concat();
        json!({ "method": "io.netsonde.Capture.Capture", "parameters": { "selection": {
            "programs": [{ "link_type": "ethernet", "tags": "wire", "code": code }] } } })
    };
    let with = |one: [u64; 4], count: usize| [vec![one; count], vec![ret]].concat();
    let bad = "io.netsonde.Capture.BadFilter";
    let load = [0x30, 0, 0, 12];
    // What it is, the program, and the error; empty: any.
    type Case = (&'static str, Vec<[u64; 4]>, Option<&'static str>);
    let cases: Vec<Case> = vec![
        ("the longest", with(load, 2047), None),
        ("one more than the longest", with(load, 2048), Some(bad)),
        ("none", vec![], Some(bad)),
        ("no end", vec![load], Some(bad)),
        (
            "a jump behind the end",
            vec![[5, 0, 0, u64::from(u32::MAX)], ret],
            Some(bad),
        ),
        (
            "a conditional jump behind the end",
            vec![[0x15, 255, 255, 1], ret],
            Some(bad),
        ),
        ("an unknown code", vec![[0xffff, 0, 0, 0], ret], Some(bad)),
        ("division by zero", vec![[0x34, 0, 0, 0], ret], Some(bad)),
        ("a shift too far", vec![[0x64, 0, 0, 32], ret], Some(bad)),
        (
            "memory that is not there",
            vec![[0x60, 0, 0, 16], ret],
            Some(bad),
        ),
        (
            "a load behind the end",
            vec![[0x20, 0, 0, 100_000], ret],
            None,
        ),
        (
            "numbers that do not fit",
            vec![[1 << 16, 0, 0, 0], ret],
            Some(""),
        ),
        ("2^40", vec![[6, 0, 0, 1 << 40]], Some("")),
    ];
    let mut longest = Duration::ZERO;
    for (what, program, expected) in &cases {
        let start = Instant::now();
        let mut connection = connect(&service.socket());
        // Answers come without their descriptor, since this reads plainly: the service sees a closed pipe.
        let report =
            call(&mut connection, &of(program)).map_err(|error| format!("{what}: {error}"))?;
        longest = longest.max(start.elapsed());
        match expected {
            Some("") => assert!(report["error"].is_string(), "{what}: {report}"),
            expected => assert_eq!(report["error"].as_str(), *expected, "{what}: {report}"),
        }
    }
    // 64 KiB of one, and the longest over all packets, several at a time.
    let mut connection = connect(&service.socket());
    send(&mut connection, &of(&with(load, 8000)))?;
    assert!(read(&mut connection)?["error"].is_string());
    let before = watch.answered();
    let selection = of(&with(load, 2047))["parameters"].clone();
    let start = Instant::now();
    let readers: Vec<_> = (0..4)
        .map(|_| {
            let (socket, selection) = (service.socket(), selection.clone());
            std::thread::spawn(move || {
                let mut connection = Connection::open(&socket).unwrap();
                connection
                    .call_more("io.netsonde.Capture.Capture", &selection)
                    .unwrap();
                let reply = connection.reply().unwrap();
                let mut pipe = std::fs::File::from(reply.descriptors.into_iter().next().unwrap());
                std::io::copy(&mut pipe, &mut std::io::sink()).unwrap();
                drop(pipe);
                number(&connection.reply().unwrap().parameters["packets"])
            })
        })
        .collect();
    let packets: u64 = readers.into_iter().map(|one| one.join().unwrap()).sum();
    assert!(packets >= 4 * MANY * 4 / 5, "{packets}");
    // Each answer waits for one turn of each reader, which is bounded by time: so many packets of this filter are
    // far more than that, on any machine.
    let answers = watch.answered() - before;
    assert!(
        answers * 5000 >= packets,
        "{answers} answers beside {packets} packets"
    );
    drop(connection);
    let figures = format!(
        "{} programs, the longest answer {:.1} ms; 4 times 2,048 instructions for {} packets took {:.1} s",
        cases.len(),
        longest.as_secs_f64() * 1e3,
        packets / 4,
        start.elapsed().as_secs_f64()
    );
    watch.end(&service, &figures);
    Ok(())
}

/// L17. Runs the client as another user, where there is one.
fn probe_rate_is_limited_per_user() -> Outcome {
    const RATE: u64 = 500;
    let (a, b) = pair();
    let config = format!(
        "{ALL_MAY_PROBE}[ping]\nrate = {}\nrate_per_uid = {RATE}\n",
        2 * RATE
    );
    let service = Service::with_config(&a, &config, &[]);
    let_in(&service);
    let watch = Watch::begin("L17", &service);
    let client = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_netsonde"));
        command
            .arg("--socket")
            .arg(service.socket())
            .args(arguments);
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    };
    let mut figures = String::new();
    if has_users() {
        for (arguments, words) in [
            (&["ping", "-c", "1", "-b", "10.0.0.255"][..], "root may"),
            (&["ping", "-c", "1", "-b", "255.255.255.255"], "root may"),
            (
                &["ping", "-c", "1", "--rate", "1000", "10.0.0.2"],
                "only root may use more probes a second",
            ),
            (
                &["ping", "-c", "1", "-i", "0.001", "10.0.0.2"],
                "only root may use shorter intervals",
            ),
            // The kernel lets nobody send from another's address.
            (&["ping", "-c", "1", "-I", "10.0.0.77", "10.0.0.2"], ""),
        ] {
            let mut command = client(arguments);
            attackers::as_other(&mut command);
            let output = command.output()?;
            let printed = String::from_utf8_lossy(&output.stderr);
            assert_ne!(output.status.code(), Some(0), "{arguments:?}: {printed}");
            assert!(printed.contains(words), "{arguments:?}: {printed}");
        }
    } else {
        figures = "one user only, so nothing is forbidden; ".into();
    }
    // Four floods at once, and a sweep with small TTLs: together no more than one user may. As root, all
    // users' rate is the bound.
    let most = if has_users() { RATE } else { 2 * RATE };
    let (start, before) = (Instant::now(), echoes(&b));
    let floods: Vec<_> = ["1", "1", "64", "64", "64"]
        .iter()
        .map(|ttl| {
            let mut command = client(&["-q", "ping", "-f", "-c", "100000", "-t", ttl, "10.0.0.2"]);
            attackers::as_other(&mut command);
            a.spawn(&mut command)
        })
        .collect::<Result<_, _>>()?;
    assert!(
        wait_until(PATIENCE, || echoes(&b) - before > most * 3),
        "{}",
        echoes(&b) - before
    );
    let (sent, took) = (echoes(&b) - before, start.elapsed().as_secs_f64());
    drop(floods);
    // What may go out at once is ten milliseconds' worth of each bucket.
    assert!(
        (sent as f64) < most as f64 * (took + 0.1),
        "{sent} in {took} s"
    );
    alone(&service);
    assert!(until_quiet(&b));
    watch.end(&service, &format!("{figures}five floods at once sent {sent} probes in {took:.1} s, {most} a second are allowed"));
    Ok(())
}

/// L18.
fn pipelined_requests_of_a_killed_client() -> Outcome {
    let (a, b) = pair();
    let service = Service::start(&a, &[]);
    let watch = Watch::begin("L18", &service);
    let mut attacker = Attacker::start(&service, "pipelines");
    attacker.says();
    // Packets are taken in meanwhile, and a person's question is answered.
    let mac = a.mac("e0")?;
    let ends = (Ipv4Addr::new(10, 0, 0, 2), "10.0.0.1:5000".parse()?);
    let sent = b.run(|| traffic::numbered_frames("e0", mac, ends, 20_000, 18, Some(10_000)))?;
    let status = service.until("all is taken in", |status| {
        super::watch::settled(status)
            && store(status, "bulk", "seen") + super::watch::sum(&status["rings"], "drops")
                >= 20_000
    });
    let drops = super::watch::sum(&status["rings"], "drops");
    let engine = watch.engine().pid;
    attacker.kill();
    let (killed, before) = (Instant::now(), ticks(engine));
    alone(&service);
    let ended = killed.elapsed();
    // By the engine's own time, which a busy machine does not stretch: less than a second, where answering all that
    // was left in the queues takes several.
    let worked = ticks(engine) - before;
    assert!(worked < 100, "{worked} hundredths of a second for the dead");
    let figures = format!(
        "8 connections full of requests, {} packets beside them, {drops} dropped by the ring; alone {} ms after the kill",
        sent.packets,
        ended.as_millis()
    );
    watch.end(&service, &figures);
    Ok(())
}

/// L18.
fn cancelled_calls_leave_nothing_behind() -> Outcome {
    const CALLS: usize = 600;
    let (a, b) = pair();
    let service = Service::start(&a, &[]);
    let watch = Watch::begin("L18", &service);
    let follow = json!({ "method": "io.netsonde.Capture.Capture", "more": true,
        "parameters": { "selection": { "follow": true } } });
    for number in 0..CALLS {
        let mut stream = connect(&service.socket());
        let asked = if number % 2 == 0 {
            endless_ping("10.0.0.2")
        } else {
            follow.clone()
        };
        send(&mut stream, &asked)?;
        if number % 3 == 0 {
            let _ = read(&mut stream);
        }
    }
    let last = Instant::now();
    alone(&service);
    let ended = last.elapsed();
    assert!(until_quiet(&b), "probes go on");
    let cpu = idle_cpu(watch.engine().pid);
    assert!(cpu < 30, "{cpu} %");
    watch.end(
        &service,
        &format!(
            "{CALLS} calls begun and left, all ended {} ms after the last; then {cpu} % CPU",
            ended.as_millis()
        ),
    );
    Ok(())
}

/// L19.
fn unknown_methods_and_reply_order() -> Outcome {
    let (a, _b) = pair();
    let service = Service::start(&a, &[]);
    let watch = Watch::begin("L19", &service);
    let mut stream = connect(&service.socket());
    let unknown = "org.varlink.service.MethodNotFound";
    for (method, error) in [
        ("", unknown),
        ("Status", unknown),
        ("io.netsonde.Service.", unknown),
        ("io.netsonde.Service.Nope", unknown),
        ("io.netsonde.Service.status", unknown),
        ("io.netsonde.Service2.Status", unknown),
        ("org.varlink.service.", unknown),
        ("org.varlink.service.Nope", unknown),
        (
            "org.varlink.service.GetInterfaceDescription",
            "org.varlink.service.InvalidParameter",
        ),
        ("io.netsonde.Ping.Ping", "org.varlink.service.ExpectedMore"),
        (
            "io.netsonde.Ping.Stop",
            "org.varlink.service.InvalidParameter",
        ),
    ] {
        let report = call(&mut stream, &json!({ "method": method }))?;
        assert_eq!(report["error"], error, "{method}: {report}");
        // The connection is as good as before.
        assert!(call(&mut stream, &status_call())?["parameters"]["engine"].is_object());
    }
    let upgrade = json!({ "method": STATUS, "upgrade": true });
    assert_eq!(
        call(&mut stream, &upgrade)?["error"],
        "org.varlink.service.InvalidParameter"
    );
    // Varlink has no request ids: replies come in the order of the calls, however many are on their way.
    let methods: Vec<String> = (0..200)
        .map(|number| format!("io.netsonde.No{number}"))
        .collect();
    for method in &methods {
        send(&mut stream, &json!({ "method": method }))?;
        send(&mut stream, &json!({ "method": method, "oneway": true }))?;
    }
    for method in &methods {
        assert_eq!(read(&mut stream)?["parameters"]["method"], method.as_str());
    }
    assert!(call(&mut stream, &status_call())?["error"].is_null());
    drop(stream);
    watch.end(
        &service,
        "12 unknown or wrong calls, 400 in a row, one connection",
    );
    Ok(())
}

const WIDE: &str = "[control]\nclients = 1000\nclients_per_uid = 1000\n";

/// L20. The limit of clients follows from that of descriptors, so that these do not run out.
fn descriptor_limit_bounds_clients() -> Outcome {
    let (a, b) = pair();
    let mut shell = Command::new("sh");
    shell.args(["-c", "ulimit -n 256; exec \"$@\"", "sh"]);
    let service = Service::under(&a, shell, WIDE, &[]);
    let watch = Watch::begin("L20", &service);
    let follow = json!({ "method": "io.netsonde.Capture.Capture", "more": true,
        "parameters": { "selection": { "follow": true } } });
    // Each takes as many descriptors as a client can.
    let mut all: Vec<UnixStream> = vec![];
    let mut refused = 0;
    for _ in 0..300 {
        let mut stream = connect(&service.socket());
        send(&mut stream, &follow)?;
        let report = read(&mut stream)?;
        if report["error"].is_null() {
            all.push(stream);
        } else {
            assert_eq!(
                report["error"], "io.netsonde.Service.TooManyConnections",
                "{report}"
            );
            refused += 1;
        }
        if all.len() >= 60 {
            // The asker of status wants a place now and then.
            break;
        }
    }
    let most = watch.engine().descriptors;
    let idle: Vec<UnixStream> = (0..300).map(|_| connect(&service.socket())).collect();
    let status = service.status();
    assert_eq!(number(&status["clients"]["limit"]), 64);
    assert!(number(&status["clients"]["connected"]) <= 64, "{status}");
    assert_eq!(watch.hits(&service, "descriptors"), 0);
    b.run(|| traffic::ping("10.0.0.1".parse().unwrap(), PATIENCE))?
        .unwrap();
    drop((all, idle));
    alone(&service);
    let shown = most.map_or("unseen".into(), |most| most.to_string());
    watch.end(
        &service,
        &format!(
            "NOFILE 256: 64 clients, {shown} descriptors at most, {refused} refused of the readers"
        ),
    );
    Ok(())
}

/// L20, E10. Should they run out all the same: whoever waits is turned away, without a busy loop.
fn descriptor_exhaustion() -> Outcome {
    crate::support::need("prlimit");
    let (a, b) = pair();
    let service = Service::with_config(&a, WIDE, &[]);
    let status = service.status();
    let engine = number(&status["engine"]["pid"]);
    let Some(open) = super::watch::held(engine).descriptors else {
        crate::support::skip_here("/proc does not show the engine's descriptors");
    };
    let limit = |soft: usize| {
        let to = [format!("--pid={engine}"), format!("--nofile={soft}:")];
        assert!(program("prlimit").args(to).status().unwrap().success());
    };
    limit(open + 4);
    let streams: Vec<UnixStream> = (0..300).map(|_| connect(&service.socket())).collect();
    let cpu = idle_cpu(engine);
    assert!(cpu < 40, "{cpu} % of a processor: it turns in a circle");
    // Packets are recorded as ever.
    b.run(|| traffic::ping("10.0.0.1".parse().unwrap(), PATIENCE))?
        .unwrap();
    limit(1024);
    drop(streams);
    let status = service.until("it answers again", |status| {
        super::watch::settled(status) && store(status, "icmp", "recorded") >= 2
    });
    let turned_away = hits(&status, "descriptors");
    assert!(turned_away > 0);
    assert_eq!(number(&status["engine"]["pid"]), engine);
    let of = entry(&status["limits"], "name", "descriptors");
    println!("L20: no descriptor left {turned_away} times, {cpu} % CPU meanwhile; {of}");
    Ok(())
}
