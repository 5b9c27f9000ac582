//! Permission tiers for real other users of this machine, which needs root in the initial user namespace, and
//! the reload of the configuration while the service runs.
//!
//! ```text
//!   a  e0 10.0.0.1 ---------- 10.0.0.2 e0  b, netsonded
//! ```
//!
//! The judge is the client, run by setpriv(1) as these users.
#![allow(missing_docs, clippy::unwrap_used)]

#[path = "support/monitored.rs"]
mod monitored;
mod support;

use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::os::unix::fs::PermissionsExt;
use std::process::{ExitCode, Output, Stdio};

use netsonde::client::files::capture_file::{CaptureFile, FilePacket, Item};
use netsonde::lab::{Host, traffic, wait_until};
use nix::sys::signal::{Signal, kill};
use serde_json::{Value, json};
use support::{PATIENCE, Service, Test, entry, number, pair};

type Outcome = Result<(), Box<dyn std::error::Error>>;

fn main() -> ExitCode {
    support::main(&[
        ("permission_tiers", permission_tiers as Test),
        (
            "payload_is_cut_without_permission",
            payload_is_cut_without_permission,
        ),
        ("connections_show_no_payload", connections_show_no_payload),
        ("disk_gives_what_memory_gives", disk_gives_what_memory_gives),
        ("doctor_needs_no_payload", doctor_needs_no_payload),
        ("reload_is_atomic", reload_is_atomic),
        (
            "permission_is_checked_per_request",
            permission_is_checked_per_request,
        ),
    ])
}

/// Numbers that no user or group of a usual machine has.
const MAY_CONNECT: u32 = 64_100;
const MAY_PROBE: u32 = 64_101;
const SOMEBODY: u32 = 64_200;
const ANALYST: u32 = 64_201;

const CONFIG: &str = "[control]\ngroup = \"64100\"\n\
    [permission]\nprobe = [\"@64101\"]\npayload = [\"64201\"]\n";

const TO: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(10, 0, 0, 2), 5000);

fn service(host: &Host) -> Service {
    let service = Service::with_config(host, CONFIG, &[]);
    service.open_directory();
    service
}

/// Runs the client as somebody.
fn netsonde(service: &Service, uid: u32, groups: &[u32], arguments: &[&str]) -> Output {
    let groups: Vec<String> = groups.iter().map(u32::to_string).collect();
    support::program("setpriv")
        .args([format!("--reuid={uid}"), format!("--regid={MAY_CONNECT}")])
        .arg(format!("--groups={MAY_CONNECT},{}", groups.join(",")).trim_end_matches(','))
        .arg(env!("CARGO_BIN_EXE_netsonde"))
        .arg("--socket")
        .arg(service.socket())
        .args(arguments)
        .output()
        .unwrap()
}

fn printed(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// An ordinary user can only start the client where the way to it is open.
fn can_try() -> bool {
    let program = env!("CARGO_BIN_EXE_netsonde");
    support::has_users()
        && support::program("setpriv")
            .args(["--reuid=64200", "--regid=64100", "--clear-groups"])
            .args([program, "--version"])
            .output()
            .is_ok_and(|output| output.status.success())
}

fn permission_tiers() -> Outcome {
    if !can_try() {
        support::skip_here("it takes root, setpriv, and programs that all may reach");
    }
    let (_a, b) = pair();
    let service = service(&b);
    // Whoever may connect has the status, and reads what else is allowed.
    let output = netsonde(&service, SOMEBODY, &[], &["--json", "status"]);
    let status: Value = serde_json::from_slice(&output.stdout)?;
    assert_eq!(status["may"], json!(["status"]));
    for refused in [
        &["mcast", "groups"][..],
        &["neighbors"],
        &["connections"],
        &["ping", "-c", "1", "10.0.0.1"],
        &["watch", "-c", "1", "--last", "1m"],
        &["capture", "-w", "/dev/null"],
        &["mcast", "doctor", "--duration", "10ms", "239.1.1.1"],
    ] {
        let output = b.run(|| netsonde(&service, SOMEBODY, &[], refused));
        assert_eq!(output.status.code(), Some(2), "{refused:?}");
        let printed = printed(&output);
        assert!(
            printed.contains("root, @64101, 64201"),
            "{refused:?}: {printed}"
        );
    }
    // Without permission nothing is written: an existing file keeps its bytes.
    let folder = support::folder()?;
    let out = folder.path().join("out.pcapng");
    std::fs::write(&out, "old")?;
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o777))?;
    std::fs::set_permissions(&out, std::fs::Permissions::from_mode(0o666))?;
    let shown = out.to_str().unwrap();
    for groups in [&[][..], &[MAY_PROBE]] {
        for arguments in [&["capture", "-w", shown][..], &["watch", "-w", shown]] {
            let output = netsonde(&service, SOMEBODY, groups, arguments);
            assert_eq!(output.status.code(), Some(2), "{}", printed(&output));
            assert_eq!(std::fs::read(&out)?, b"old");
            assert_eq!(std::fs::read_dir(folder.path())?.count(), 1);
        }
    }
    let arguments = ["ping", "-c", "1", "10.0.0.1", "--evidence", shown];
    let output = netsonde(&service, SOMEBODY, &[], &arguments);
    assert_eq!(output.status.code(), Some(2), "{}", printed(&output));
    assert_eq!(std::fs::read(&out)?, b"old");
    // A further group counts, not only the first.
    let output = netsonde(&service, SOMEBODY, &[MAY_PROBE], &["mcast", "groups"]);
    assert!(output.status.success(), "{}", printed(&output));
    let output = netsonde(
        &service,
        SOMEBODY,
        &[MAY_PROBE],
        &["ping", "-c", "1", "10.0.0.1"],
    );
    assert!(output.status.success(), "{}", printed(&output));
    let output = netsonde(
        &service,
        SOMEBODY,
        &[MAY_PROBE],
        &["capture", "-w", "/dev/null", "arp"],
    );
    assert_eq!(output.status.code(), Some(2));
    assert!(
        printed(&output).contains("root, 64201 may"),
        "{}",
        printed(&output)
    );
    // Payload includes the rest.
    let last = ["capture", "-w", "/dev/null", "--last", "1m", "icmp"];
    let output = netsonde(&service, ANALYST, &[], &last);
    assert!(output.status.success(), "{}", printed(&output));
    let output = netsonde(&service, ANALYST, &[], &["mcast", "groups"]);
    assert!(output.status.success(), "{}", printed(&output));
    // All of it is written down: who, what, and with which filter.
    let log = service.log();
    let has = |words: &[&str]| {
        log.lines()
            .any(|line| words.iter().all(|word| line.contains(word)))
    };
    assert!(
        has(&["refused", "uid=64200", "io.netsonde.Ping.", "probe"]),
        "{log}"
    );
    assert!(has(&["refused", "uid=64200", "payload", "arp"]), "{log}");
    assert!(has(&["payload exported", "uid=64201", "icmp"]), "{log}");
    let status = service.status();
    let denied = entry(
        &status["limits"],
        "name",
        "requests refused for lack of permission",
    );
    assert!(number(&denied["hits"]) >= 6, "{denied}");
    Ok(())
}

const SECRET: &[u8] = b"secret: what only the two should know";
const SECOND: &[u8] = b"secret, too, and just as long as that";

fn payload_is_cut_without_permission() -> Outcome {
    if !can_try() {
        support::skip_here("it takes root, setpriv, and programs that all may reach");
    }
    let (a, b) = pair();
    let service = service(&b);
    let socket = a.run(|| UdpSocket::bind("10.0.0.1:0"))?;
    socket.send_to(SECRET, TO)?;
    service.until("it is recorded", |status| {
        number(&entry(&status["recorder"], "store", "bulk")["packets"]) >= 1
    });
    let packets = |uid: u32, groups: &[u32], more: &[&str]| -> Result<Vec<Vec<u8>>, String> {
        let mut arguments = vec!["capture", "-w", "-", "--last", "all"];
        arguments.extend_from_slice(more);
        let output = netsonde(&service, uid, groups, &arguments);
        // Status 1: it was permitted, and nothing matched.
        if output.status.code() == Some(2) {
            return Err(printed(&output));
        }
        let mut file = CaptureFile::new(&output.stdout[..]).unwrap();
        let mut all = vec![];
        while let Some(item) = file.next().unwrap() {
            if let Item::Packet(packet) = item {
                assert_eq!(packet.original_length as usize, 42 + SECRET.len());
                all.push(packet.bytes);
            }
        }
        Ok(all)
    };
    let whole = packets(ANALYST, &[], &["udp port 5000"])?;
    assert_eq!(&whole[0][42..], SECRET);
    let headers = packets(SOMEBODY, &[MAY_PROBE], &["--headers", "udp port 5000"])?;
    assert_eq!(headers, vec![whole[0][..42].to_vec()]);
    // Nor can a filter be asked what the payload is: 0x73656372 is "secr".
    let guess = "udp[8:4] = 0x73656372";
    assert_eq!(packets(ANALYST, &[], &[guess])?.len(), 1);
    assert_eq!(
        packets(SOMEBODY, &[MAY_PROBE], &["--headers", guess])?,
        Vec::<Vec<u8>>::new()
    );
    // Nor what is within a tunnel, where headers do not show it.
    let (_, frames) = support::field("tunnels");
    let count = frames.len() as u64;
    a.run(|| {
        traffic::frames("e0", count, None, |at, frame| {
            frame.clone_from(&frames[at as usize])
        })
    })?;
    let seen = |uid: u32, groups: &[u32], options: &[&str]| {
        let mut arguments = vec!["--json", "watch", "--last", "all"];
        arguments.extend_from_slice(options);
        let output = netsonde(&service, uid, groups, &arguments);
        // A note is no packet.
        let lines = String::from_utf8_lossy(&output.stdout).into_owned();
        lines
            .lines()
            .filter(|line| line.contains("\"protocol\""))
            .count()
    };
    let outer = ["--host", "192.0.2.1", "--host", "2001:db8::1"];
    service.until("the tunnels are recorded", |_| {
        seen(ANALYST, &[], &outer) == frames.len()
    });
    assert_eq!(seen(SOMEBODY, &[MAY_PROBE], &outer), frames.len());
    let within = ["--inner", "--host", "10.2.0.2"];
    assert_eq!(seen(ANALYST, &[], &within), 7);
    // Four tunnels of IP and GRE show the headers within; of VXLAN, GENEVE and GTP-U that is payload.
    assert_eq!(seen(SOMEBODY, &[MAY_PROBE], &within), 4);
    // watch shows what one may see, and says what is left out.
    let output = netsonde(
        &service,
        SOMEBODY,
        &[MAY_PROBE],
        &["watch", "--last", "all", "--port", "5000"],
    );
    let shown = String::from_utf8(output.stdout.clone())?;
    assert!(
        shown.contains("10.0.0.1") && !shown.contains("bad"),
        "{shown}"
    );
    assert!(
        printed(&output).contains("headers only"),
        "{}",
        printed(&output)
    );
    Ok(())
}

/// All packets of a capture, as a reader sees them; and no payload within its bytes, wherever.
fn headers_of(output: &Output) -> Vec<FilePacket> {
    assert_eq!(output.status.code(), Some(0), "{}", printed(output));
    for secret in [SECRET, SECOND] {
        let mut parts = output.stdout.windows(8);
        assert!(!parts.any(|part| part == &secret[..8]), "payload is given");
    }
    let mut file = CaptureFile::new(&output.stdout[..]).unwrap();
    let mut all = vec![];
    while let Some(item) = file.next().unwrap() {
        match item {
            Item::Packet(packet) => all.push(packet),
            Item::Note(_) => {}
        }
    }
    all
}

/// What the historian has on disk, in the record, of an outage and of what was kept, is given without payload and
/// without a gap at the seam, and no filter is evaluated on more.
fn disk_gives_what_memory_gives() -> Outcome {
    if !can_try() {
        support::skip_here("it takes root, setpriv, and programs that all may reach");
    }
    let (a, b) = pair();
    let config = format!("{CONFIG}[history]\nbulk = true\n");
    let service = Service::with_config(&b, &config, &[]);
    service.open_directory();
    let file = service.directory.path().join("netsonde.toml");
    let control = service.socket();
    let _historian = monitored::historian_with(&b, &control, &["--config", file.to_str().unwrap()]);
    let target = json!({ "name": "gone", "targets": ["10.0.0.77"], "interval_ns": 100_000_000 });
    monitored::call(&control, "AddMonitor", &json!({ "monitor": target }))?;
    // Two datagrams that differ in their payload only.
    let socket = a.run(|| UdpSocket::bind("10.0.0.1:4000"))?;
    socket.send_to(SECRET, TO)?;
    socket.send_to(SECOND, TO)?;
    let (_, frames) = support::field("tunnels");
    let count = frames.len() as u64;
    a.run(|| {
        traffic::frames("e0", count, None, |at, frame| {
            frame.clone_from(&frames[at as usize])
        })
    })?;
    let send = |ports: std::ops::Range<u16>| -> Outcome {
        for port in ports {
            socket.send_to(b"number", SocketAddrV4::new(*TO.ip(), port))?;
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        Ok(())
    };
    send(20_000..20_200)?;
    // Another service, which has recorded nothing of that: its memory begins now.
    let other = Service::with_config(&b, &config, &[]);
    other.open_directory();
    let history = control.with_file_name("history.sock");
    let history = history.to_str().unwrap();
    let ask = |service: &Service, uid: u32, arguments: &[&str]| {
        let groups = if uid == SOMEBODY {
            &[MAY_PROBE][..]
        } else {
            &[]
        };
        let arguments = [&["--history-socket", history], arguments].concat();
        netsonde(service, uid, groups, &arguments)
    };
    let ports = |output: &Output| -> Vec<u64> {
        let lines = String::from_utf8_lossy(&output.stdout).into_owned();
        let lines = lines
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).unwrap());
        lines
            .filter_map(|packet| packet["destination_port"].as_u64())
            .filter(|port| *port >= 20_000)
            .collect()
    };
    let watch = [
        "--json",
        "watch",
        "--last",
        "all",
        "--direction",
        "in",
        "--proto",
        "udp",
    ];
    let sent: Vec<u64> = (20_000..20_200).collect();
    let is_on_disk = || ports(&ask(&other, ANALYST, &watch)) == sent;
    assert!(
        wait_until(PATIENCE, is_on_disk),
        "{}",
        printed(&ask(&other, ANALYST, &watch))
    );
    assert_eq!(ports(&ask(&other, SOMEBODY, &watch)), sent);

    // Disk and memory, while the disk has not got all of them.
    for round in 1..4u16 {
        let end = 20_200 + 100 * round;
        send(end - 100..end)?;
        let sent: Vec<u64> = (20_000..u64::from(end)).collect();
        let output = ask(&service, SOMEBODY, &watch);
        assert_eq!(ports(&output), sent, "{}", printed(&output));
    }

    // The same bytes from disk and from memory; and nothing differs but the time.
    let to = ["--port", "5000", "--headers", "--last", "all"];
    let capture = [&["capture", "-w", "-"], &to[..]].concat();
    let from_disk = headers_of(&ask(&other, SOMEBODY, &capture));
    let without = netsonde(
        &service,
        SOMEBODY,
        &[MAY_PROBE],
        &[&["--history-socket", "/nonexistent"], &capture[..]].concat(),
    );
    let from_memory = headers_of(&without);
    assert_eq!(from_disk, from_memory);
    let [first, second] = &from_disk[..] else {
        panic!("{from_disk:?}");
    };
    assert_eq!(first.bytes.len(), 42);
    assert_eq!(first.original_length as usize, 42 + SECRET.len());
    let identification = 18..20;
    let same = |packet: &FilePacket| {
        let mut packet = packet.clone();
        packet.time_ns = None;
        // The kernel numbers packets, so its checksum of the header differs, too; that of UDP covers the payload.
        for at in identification.clone().chain(24..26).chain(40..42) {
            packet.bytes[at] = 0;
        }
        packet
    };
    assert_eq!(same(first), same(second));
    // Without --headers it is refused, as from memory.
    let whole = ["capture", "-w", "-", "--port", "5000", "--last", "all"];
    let refused = ask(&other, SOMEBODY, &whole);
    assert_eq!(refused.status.code(), Some(2));
    let words = printed(&refused);
    assert!(
        words.contains("--headers shows the headers") && words.lines().count() == 1,
        "{words}"
    );
    let whole = ask(&other, ANALYST, &whole).stdout;
    assert!(whole.windows(SECRET.len()).any(|part| part == SECRET));
    // Filters see headers only: 0x73656372 is "secr".
    let count = |uid: u32, filter: &[&str]| {
        let arguments = [
            &["capture", "-w", "-", "--headers", "--last", "all"],
            filter,
        ]
        .concat();
        let whole: Vec<&str> = arguments
            .iter()
            .copied()
            .filter(|one| *one != "--headers")
            .collect();
        let output = ask(
            &other,
            uid,
            if uid == ANALYST { &whole } else { &arguments },
        );
        assert_ne!(output.status.code(), Some(2), "{}", printed(&output));
        let mut file = CaptureFile::new(&output.stdout[..]).unwrap();
        let mut count = 0;
        while let Some(item) = file.next().unwrap() {
            count += usize::from(matches!(item, Item::Packet(_)));
        }
        count
    };
    let guess = ["udp[8:4] = 0x73656372"];
    assert_eq!((count(ANALYST, &guess), count(SOMEBODY, &guess)), (2, 0));
    let outer = ["--host", "192.0.2.1", "--host", "2001:db8::1"];
    assert_eq!(
        (count(ANALYST, &outer), count(SOMEBODY, &outer)),
        (frames.len(), frames.len())
    );
    let within = ["--inner", "--host", "10.2.0.2"];
    assert_eq!((count(ANALYST, &within), count(SOMEBODY, &within)), (7, 4));

    // What was kept, and the evidence of an outage.
    let kept = ask(&service, SOMEBODY, &["keep", "a", "glitch"]);
    assert!(kept.status.success(), "{}", printed(&kept));
    monitored::until_outage(&control, "10.0.0.77");
    let has_packets = || {
        let reply = monitored::call(&control, "Outages", &json!({})).unwrap();
        let packets = reply["outages"][0]["evidence"]["packets"].as_u64();
        packets.is_some_and(|packets| packets > 0)
    };
    assert!(wait_until(PATIENCE, has_packets));
    for command in ["kept", "outages"] {
        let refused = ask(&service, SOMEBODY, &[command, "1", "-w", "-"]);
        assert_eq!(refused.status.code(), Some(2), "{command}");
        assert!(
            printed(&refused).contains("--headers shows the headers"),
            "{}",
            printed(&refused)
        );
        let nothing = netsonde(
            &service,
            SOMEBODY,
            &[],
            &[command, "1", "-w", "-", "--headers"],
        );
        assert_eq!(nothing.status.code(), Some(2), "{command}");
        let found = headers_of(&ask(
            &service,
            SOMEBODY,
            &[command, "1", "-w", "-", "--headers"],
        ));
        assert!(!found.is_empty(), "{command}");
        if command == "kept" {
            let is_to = |packet: &&FilePacket| packet.bytes.get(36..38) == Some(&[0x13, 0x88]);
            let twins: Vec<FilePacket> = found.iter().filter(is_to).cloned().collect();
            assert_eq!(twins, from_memory);
        }
    }
    // Payload from disk is written down, too.
    let log = control.with_file_name("historian.log");
    let log = std::fs::read_to_string(log)?;
    let lines = |words: &[&str]| {
        let mut lines = log.lines();
        lines.any(|line| words.iter().all(|word| line.contains(word)))
    };
    assert!(lines(&["granted", "uid=64201", "History.Record"]), "{log}");
    assert!(
        lines(&["refused", "uid=64200", "History.Packets", "payload"]),
        "{log}"
    );
    Ok(())
}

fn doctor_needs_no_payload() -> Outcome {
    if !can_try() {
        support::skip_here("it takes root, setpriv, and programs that all may reach");
    }
    let (a, b) = pair();
    let service = service(&b);
    let judge =
        |output: Output| -> Result<(Option<i32>, Value, Value), Box<dyn std::error::Error>> {
            let report: Value = serde_json::from_slice(&output.stdout)
                .map_err(|error| format!("{error}: {}", printed(&output)))?;
            let ids = report["findings"].as_array().unwrap();
            let ids = ids.iter().map(|finding| finding["id"].clone()).collect();
            Ok((output.status.code(), report["verdict"].clone(), ids))
        };
    // Somebody sends to the group, and nobody here has joined it.
    let socket = a.run(|| UdpSocket::bind("10.0.0.1:0"))?;
    socket.connect("239.1.1.1:5000")?;
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| -> Outcome {
        scope.spawn(|| {
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                let _ = socket.send(SECRET);
                std::thread::sleep(std::time::Duration::from_millis(5));
            }
        });
        let _stop = support::StopOnDrop(&stop);
        let arguments = [
            "--json",
            "mcast",
            "doctor",
            "--duration",
            "500ms",
            "239.1.1.1:5000",
        ];
        let all = judge(b.run(|| netsonde(&service, 0, &[], &arguments)));
        let headers = judge(b.run(|| netsonde(&service, SOMEBODY, &[MAY_PROBE], &arguments)));
        assert_eq!(all?, headers?);
        Ok(())
    })
}

fn put(service: &Service, config: &str) {
    std::fs::write(service.directory.path().join("netsonde.toml"), config).unwrap();
}

fn hang_up(service: &mut Service) -> Outcome {
    kill(service.keeper(), Signal::SIGHUP)?;
    Ok(())
}

fn logged(service: &Service, words: &str) {
    let there = wait_until(PATIENCE, || service.log().contains(words));
    assert!(there, "{words:?} is not in:\n{}", service.log());
}

fn reload_is_atomic() -> Outcome {
    let (_a, b) = pair();
    let mut service = Service::with_config(&b, "[control]\nclients = 100\n", &[]);
    let limit = |service: &Service| number(&service.status()["clients"]["limit"]);
    let before = service.status();
    assert_eq!(limit(&service), 100);
    put(
        &service,
        "[control]\nclients = 50\n[interfaces]\nexclude = [\"e0\"]\n",
    );
    hang_up(&mut service)?;
    let status = service.until("the new limit is in force", |status| {
        status["clients"]["limit"] == 50
    });
    // By the same engine, which has gone on.
    assert_eq!(status["engine"]["pid"], before["engine"]["pid"]);
    let e0 = entry(&status["interfaces"], "interface", "e0");
    assert_eq!(e0["recording"], false, "{e0}");
    logged(&service, "interfaces, control");
    // What is wrong changes nothing, and neither does what takes a restart.
    put(&service, "[control]\nclients = 20\nclents = 3\n");
    hang_up(&mut service)?;
    logged(&service, "nothing was changed");
    put(
        &service,
        "[control]\nclients = 20\n[rings]\nbulk = \"16 MiB\"\n",
    );
    hang_up(&mut service)?;
    logged(&service, "rings cannot change while the service runs");
    assert_eq!(limit(&service), 50);
    // And back.
    put(&service, "[control]\nclients = 60\n");
    hang_up(&mut service)?;
    let status = service.until("the last one is in force", |status| {
        status["clients"]["limit"] == 60
    });
    let e0 = entry(&status["interfaces"], "interface", "e0");
    assert_eq!(e0["recording"], true, "{e0}");
    assert_eq!(status["engine"]["pid"], before["engine"]["pid"]);
    // The next engine begins with what is in force now.
    kill(service.engine(), Signal::SIGKILL)?;
    service.until("the next engine", |status| {
        status["engine"]["pid"] != before["engine"]["pid"] && status["clients"]["limit"] == 60
    });
    Ok(())
}

fn permission_is_checked_per_request() -> Outcome {
    if !can_try() {
        support::skip_here("it takes root, setpriv, and programs that all may reach");
    }
    let mut python = support::program("python3");
    let (_a, b) = pair();
    let mut service = service(&b);
    // One connection of somebody, who asks again with each line that is read.
    const ASK: &str = "import json, os, socket, sys
uid, gid = int(sys.argv[2]), int(sys.argv[3])
os.setgroups([])
os.setresgid(gid, gid, gid)
os.setresuid(uid, uid, uid)
stream = socket.socket(socket.AF_UNIX)
stream.connect(sys.argv[1])
for line in sys.stdin:
    stream.sendall(b'{\"method\":\"io.netsonde.Multicast.Groups\"}\\0')
    text = b''
    while not text.endswith(b'\\0'):
        text += stream.recv(65536)
    print(json.dumps(json.loads(text[:-1])), flush=True)
";
    let mut asker = python
        .args(["-c", ASK])
        .arg(service.socket())
        .args([SOMEBODY.to_string(), MAY_CONNECT.to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut questions = asker.stdin.take().unwrap();
    let mut answers = BufReader::new(asker.stdout.take().unwrap()).lines();
    let mut ask = || -> Value {
        writeln!(questions).unwrap();
        serde_json::from_str(&answers.next().unwrap().unwrap()).unwrap()
    };
    let refused = ask();
    assert_eq!(refused["error"], "io.netsonde.Service.PermissionDenied");
    assert_eq!(refused["parameters"]["tier"], "probe");
    put(&service, &CONFIG.replace("@64101", "64200"));
    hang_up(&mut service)?;
    logged(&service, "SIGHUP: configuration applied");
    // The same connection may now.
    let allowed = wait_until(PATIENCE, || ask()["error"].is_null());
    assert!(allowed);
    put(&service, CONFIG);
    hang_up(&mut service)?;
    let refused = wait_until(PATIENCE, || !ask()["error"].is_null());
    assert!(refused);
    drop(questions);
    assert!(asker.wait()?.success());
    Ok(())
}

/// A question to a name server is payload, the fate of a connection is not.
fn connections_show_no_payload() -> Outcome {
    if !can_try() {
        support::skip_here("it takes root, setpriv, and programs that all may reach");
    }
    let (a, b) = pair();
    let service = service(&b);
    a.run(|| {
        let socket = UdpSocket::bind("10.0.0.1:0")?;
        socket.send_to(&traffic::dns_query(1), "10.0.0.2:53")?;
        assert!(std::net::TcpStream::connect("10.0.0.2:5000").is_err());
        std::io::Result::Ok(())
    })?;
    service.until("both are recorded", |status| {
        let packets = |store: &str| number(&entry(&status["recorder"], "store", store)["packets"]);
        packets("names") >= 1 && packets("connections") >= 2
    });
    let report = |uid: u32, groups: &[u32]| -> Value {
        let arguments = ["--json", "connections", "--host", "10.0.0.1"];
        let output = netsonde(&service, uid, groups, &arguments);
        serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", printed(&output)))
    };
    let (whole, headers) = (report(ANALYST, &[]), report(SOMEBODY, &[MAY_PROBE]));
    for report in [&whole, &headers] {
        assert_eq!(report["connections"][0]["fate"], "refused", "{report:#}");
        assert_eq!(report["connections"][0]["reset"]["from"], "10.0.0.2");
    }
    assert_eq!(whole["names"][0]["name"], "n1.example.org");
    assert_eq!(headers["names"], json!([]));
    let left_out = "headers only, without payload: no questions to name servers";
    let notes = headers["not_recorded"].as_array().unwrap();
    assert!(notes.contains(&json!(left_out)), "{notes:?}");
    Ok(())
}
