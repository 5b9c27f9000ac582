//! What a user of the control socket can take from the others: memory, bandwidth, broadcasts, and each other's
//! runs where the kernel gives them one number.
//!
//! ```text
//!   a  e0 10.0.0.1 ---------- 10.0.0.2 e0  b, netsonded
//! ```
//!
//! The judges are the kernel's counters of memory and of the interface.
#![allow(missing_docs, clippy::unwrap_used, unsafe_code)]

mod support;

use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, ExitCode, Output, Stdio};
use std::time::{Duration, Instant};

use netsonde::lab::{Host, wait_until};
use serde_json::{Value, json};
use support::{
    PATIENCE, Service, Test, entry, has_users, inside, number, pair, raw_call, read_reply,
    send_call,
};

type Outcome = Result<(), Box<dyn std::error::Error>>;

/// Environment of this program when it is another process, which appends to a list: the socket, and the list.
const ANOTHER: &str = "NETSONDE_TEST_SOCKET";
const LIST: &str = "NETSONDE_TEST_LIST";

fn main() -> ExitCode {
    if let Some(socket) = std::env::var_os(ANOTHER) {
        let list: u64 = std::env::var(LIST).unwrap().parse().unwrap();
        let mut stream = UnixStream::connect(socket).unwrap();
        let list = json!({ "targets": ["10.0.0.1"], "list": list });
        println!(
            "{}",
            call(&mut stream, "io.netsonde.Ping.Targets", list, false)
        );
        return ExitCode::SUCCESS;
    }
    support::main(&[
        (
            "memory_is_counted_before_it_is_taken",
            memory_is_counted_before_it_is_taken as Test,
        ),
        (
            "two_users_at_all_limits_leave_room_for_a_third",
            two_users_at_all_limits_leave_room_for_a_third,
        ),
        (
            "some_users_have_the_limits_of_all",
            some_users_have_the_limits_of_all,
        ),
        (
            "broadcast_is_what_the_kernel_routes_as_such",
            broadcast_is_what_the_kernel_routes_as_such,
        ),
        ("bytes_have_a_rate", bytes_have_a_rate),
        ("ports_have_the_rates_of_ping", ports_have_the_rates_of_ping),
        (
            "a_private_service_has_a_private_directory",
            a_private_service_has_a_private_directory,
        ),
        (
            "peers_without_a_number_of_their_own_are_apart",
            peers_without_a_number_of_their_own_are_apart,
        ),
    ])
}

/// Numbers that no user or group of a usual machine has.
const GROUP: u32 = 64_100;
const ONE: u32 = 64_201;
const TWO: u32 = 64_202;
const THREE: u32 = 64_203;
const NOBODY: u32 = 65_534;

/// Everybody may probe. The socket gets a group where there are groups.
fn config(control: &str, more: &str) -> String {
    let group = if has_users() {
        "group = \"64100\"\n"
    } else {
        ""
    };
    format!("[control]\n{group}{control}[permission]\nprobe = [\"*\"]\n{more}")
}

const MIB: u64 = 1 << 20;

fn need_users() {
    if !has_users() {
        support::skip_here("it takes root, for there is one user only here");
    }
}

fn service(host: &Host, more: &str) -> Service {
    let service = Service::with_config(host, &config("", more), &[]);
    service.open_directory();
    service
}

/// Connects as a user, whose number the kernel notes at this moment. The C library would change all threads.
fn connect(service: &Service, uid: Option<u32>) -> UnixStream {
    let path = service.socket();
    let connecting = std::thread::spawn(move || {
        if let Some(uid) = uid {
            let groups = [GROUP];
            // SAFETY: the numbers are plain, and the list outlives the call.
            let failed = unsafe {
                libc::syscall(libc::SYS_setgroups, 1, groups.as_ptr()) != 0
                    || libc::syscall(libc::SYS_setresgid, GROUP, GROUP, GROUP) != 0
                    || libc::syscall(libc::SYS_setresuid, uid, uid, uid) != 0
            };
            assert!(!failed, "{}", std::io::Error::last_os_error());
        }
        UnixStream::connect(path)
    });
    let stream = connecting.join().unwrap().unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// Runs the client as a user.
fn client(service: &Service, uid: u32, arguments: &[&str]) -> Command {
    let mut command = support::program("setpriv");
    command
        .args([format!("--reuid={uid}"), format!("--regid={GROUP}")])
        .arg("--clear-groups")
        .arg(env!("CARGO_BIN_EXE_netsonde"))
        .arg("--socket")
        .arg(service.socket())
        .args(arguments)
        .stdin(Stdio::null());
    command
}

fn printed(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Resident memory of a process in bytes.
fn resident(pid: i32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let kib = line.and_then(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok());
    kib.unwrap_or(0) * 1024
}

fn call(stream: &mut UnixStream, method: &str, parameters: Value, more: bool) -> Value {
    let call = json!({ "method": method, "parameters": parameters, "more": more });
    raw_call(stream, &call).unwrap()
}

/// Starts a run that does not end, of targets that this host answers itself. Returns its connection, or the
/// limit that is in the way.
fn start_run(service: &Service, uid: Option<u32>, range: &str) -> Result<UnixStream, Value> {
    let mut stream = connect(service, uid);
    let options = json!({ "rate": 20_000, "interval_ns": 1_000_000_000, "count": 60 });
    let parameters = json!({ "targets": [range], "options": options });
    let reply = call(&mut stream, "io.netsonde.Ping.Ping", parameters, true);
    match reply["error"].as_str() {
        None => Ok(stream),
        Some(error) => {
            // Of the run, or of the request or its reply, whichever comes first when the sum is nearly used up.
            assert!(error.ends_with(".LimitReached"), "{reply}");
            Err(reply["parameters"].clone())
        }
    }
}

fn some_users_have_the_limits_of_all() -> Outcome {
    need_users();
    let (_a, b) = pair();
    let limits = "full_limits = [\"64201\"]\n[ping]\nruns_per_uid = 1\nrate_per_uid = 50\n";
    let sums = "clients_per_uid = 2\nmemory_per_uid = \"16 MiB\"\n";
    let service = Service::with_config(&b, &config(sums, limits), &[]);
    service.open_directory();
    let start = |uid: u32, range: &str, rate: u64| {
        let mut stream = connect(&service, Some(uid));
        let options = json!({ "rate": rate });
        let parameters = json!({ "targets": [range], "options": options });
        let reply = call(&mut stream, "io.netsonde.Ping.Ping", parameters, true);
        (stream, reply)
    };
    // A run of 4,094 targets without an end takes more memory than others may have, at more than their rate.
    let runs: Vec<_> = (0..3).map(|_| start(ONE, "127.0.0.0/20", 10_000)).collect();
    assert!(runs.iter().all(|(_, reply)| reply["error"].is_null()));
    let refusals = [
        ("127.0.0.0/20", 50, json!("bytes of memory of one user")),
        ("127.0.0.1", 51, Value::Null),
    ];
    for (range, rate, limit) in refusals {
        let (_, reply) = start(TWO, range, rate);
        assert!(reply["error"].is_string(), "{reply}");
        assert_eq!(
            reply["parameters"]["limit"] == limit,
            limit.is_string(),
            "{reply}"
        );
    }
    let (_first, reply) = start(TWO, "127.0.0.1", 50);
    assert!(reply["error"].is_null(), "{reply}");
    let (_, reply) = start(TWO, "127.0.0.1", 50);
    assert_eq!(reply["parameters"]["limit"], "runs of one user", "{reply}");
    // It is no permission: a broadcast address, or an interval below the limit, takes more.
    let mut stream = connect(&service, Some(ONE));
    let options = json!({ "interval_ns": 1_000_000 });
    let parameters = json!({ "targets": ["127.0.0.1"], "options": options });
    let reply = call(&mut stream, "io.netsonde.Ping.Ping", parameters, true);
    assert_eq!(reply["error"], "io.netsonde.Ping.NotPermitted", "{reply}");
    Ok(())
}

fn memory_is_counted_before_it_is_taken() -> Outcome {
    let (_a, b) = pair();
    let sums = "memory = \"64 MiB\"\nmemory_per_uid = \"32 MiB\"\n";
    let service = Service::with_config(&b, &config(sums, ""), &[]);
    let engine = service.engine().as_raw();
    let before = resident(engine);
    // A run of this many targets takes more than a user may have, though fewer than a run may have.
    let limit = json!({ "limit": "bytes of memory of one user", "most": 32 * MIB });
    assert_eq!(
        start_run(&service, None, "127.0.0.0/15").err(),
        Some(limit.clone())
    );
    // It was refused before: what came and went leaves no trace of its size.
    let grown = resident(engine).saturating_sub(before);
    assert!(grown < 16 * MIB, "{grown}");
    // Several runs take as much as one.
    let mut runs = Vec::new();
    let refused = loop {
        match start_run(&service, None, "127.0.0.0/22") {
            Ok(run) => runs.push(run),
            Err(limit) => break limit,
        }
        assert!(runs.len() < 16);
    };
    assert_eq!(refused, limit);
    assert!(runs.len() >= 2, "{}", runs.len());
    // So do lists, of which there are few.
    let mut stream = connect(&service, None);
    let list = json!({ "targets": ["127.0.0.0/15"] });
    let listed =
        |stream: &mut UnixStream| call(stream, "io.netsonde.Ping.Targets", list.clone(), false);
    let refused = (0..8)
        .map(|_| listed(&mut stream))
        .find(|reply| reply["error"].is_string());
    let refused = refused.expect("all lists were accepted");
    assert_eq!(refused["parameters"], limit);
    // The client says it in words, and the status counts it.
    let output = service.netsonde(&["ping", "-c", "1", "127.0.0.0/16"]);
    assert_eq!(output.status.code(), Some(2));
    let words = "limit is reached (bytes of memory of one user: 33554432); see [control]";
    assert!(printed(&output).contains(words), "{}", printed(&output));
    let status = service.status();
    let counted = entry(&status["limits"], "name", "bytes of memory of one user");
    assert!(
        number(&counted["hits"]) >= 4 && number(&counted["limit"]) == 32 * MIB,
        "{counted}"
    );
    // What ends is given back.
    drop(runs);
    let again = wait_until(PATIENCE, || {
        start_run(&service, None, "127.0.0.0/22").is_ok()
    });
    assert!(again);
    Ok(())
}

/// Everything that a user can make the service hold. The connections have to be kept.
fn take_all(service: &Service, uid: u32) -> (Vec<UnixStream>, u64) {
    let mut held = Vec::new();
    let mut refused = 0;
    // Lists of targets.
    let mut stream = connect(service, Some(uid));
    for _ in 0..8 {
        let list = json!({ "targets": ["127.0.0.0/15"] });
        let reply = call(&mut stream, "io.netsonde.Ping.Targets", list, false);
        refused += u64::from(reply["error"].is_string());
    }
    held.push(stream);
    // Exports of all packets that nobody reads, with the longest filter that is allowed.
    for _ in 0..3 {
        let mut stream = connect(service, Some(uid));
        let selection = json!({ "selection": { "content": "headers", "follow": true, "last_ns": u64::MAX >> 2 } });
        let reply = call(&mut stream, "io.netsonde.Capture.Capture", selection, true);
        refused += u64::from(reply["error"].is_string());
        held.push(stream);
    }
    // Streams of events, and replies that nobody reads.
    for method in [
        "io.netsonde.Inventory.Events",
        "io.netsonde.Inventory.Neighbors",
    ] {
        let mut stream = connect(service, Some(uid));
        for _ in 0..64 {
            let call = json!({ "method": method, "parameters": {}, "more": true });
            let _ = send_call(&mut stream, &call);
        }
        held.push(stream);
    }
    // Requests that do not end, and long ones.
    for _ in 0..2 {
        let stream = connect(service, Some(uid));
        let _ = std::io::Write::write_all(&mut &stream, &vec![b'x'; 60_000]);
        held.push(stream);
    }
    // Runs, from the largest that is allowed on, whose events nobody reads.
    let mut ranges = vec![
        "127.0.0.0/15",
        "127.0.0.0/16",
        "127.0.0.0/18",
        "127.0.0.0/20",
    ];
    while held.len() < 16 {
        match start_run(service, Some(uid), ranges[0]) {
            Ok(stream) => held.push(stream),
            Err(limit) => {
                let name = limit["limit"].as_str().unwrap_or_default();
                assert!(name.starts_with("bytes of memory of"), "{limit}");
                refused += 1;
                if ranges.len() == 1 {
                    break;
                }
                ranges.remove(0);
            }
        }
    }
    (held, refused)
}

fn two_users_at_all_limits_leave_room_for_a_third() -> Outcome {
    need_users();
    let (_a, b) = pair();
    let mut service = service(&b, "");
    let (keeper, engine) = (service.keeper().as_raw(), service.engine().as_raw());
    let before = resident(engine);
    let (first, refused) = take_all(&service, ONE);
    let (second, refused_two) = take_all(&service, TWO);
    assert!(refused > 0 && refused_two > 0, "{refused} {refused_two}");
    // A third user asks for the status all the time, on new connections.
    let (mut largest, mut waits) = (0, Vec::new());
    let end = Instant::now() + Duration::from_secs(12);
    while Instant::now() < end {
        let start = Instant::now();
        let mut stream = connect(&service, Some(THREE));
        let reply = call(&mut stream, "io.netsonde.Service.Status", json!({}), false);
        assert!(reply["parameters"]["version"].is_string(), "{reply}");
        waits.push(start.elapsed());
        largest = largest.max(resident(engine) + resident(keeper));
        std::thread::sleep(Duration::from_millis(20));
    }
    let status = service.status();
    assert_eq!(
        number(&status["engine"]["starts"]),
        1,
        "the engine was replaced"
    );
    waits.sort_unstable();
    let within = |percent: usize| waits[(waits.len() - 1) * percent / 100];
    println!(
        "two users at all their limits: {} MiB resident, {} before; {} queries of a third, half within {:.1} ms, \
         99 % {:.1} ms, longest {:.1} ms",
        largest / MIB,
        before / MIB,
        waits.len(),
        within(50).as_secs_f64() * 1e3,
        within(99).as_secs_f64() * 1e3,
        within(100).as_secs_f64() * 1e3
    );
    // MemoryMax of netsonded.service, of which the record and the rings take a part.
    let unit = include_str!("../systemd/netsonded.service");
    assert!(unit.contains("\nMemoryMax=1G\n"));
    assert!(largest < 1024 * MIB, "{} MiB", largest / MIB);
    assert!(
        largest - before < 400 * MIB,
        "{} MiB more",
        (largest - before) / MIB
    );
    // Without optimization, sending alone takes all of a core. On a busy machine one may be late.
    let most = if cfg!(debug_assertions) { 3000 } else { 100 };
    assert!(within(99) < Duration::from_millis(most));
    drop((first, second));
    Ok(())
}

fn broadcast_is_what_the_kernel_routes_as_such() -> Outcome {
    let (_a, b) = pair();
    let service = service(&b, "");
    let ip = |words: &str| inside(&b, "ip", &words.split(' ').collect::<Vec<_>>());
    ip("addr add 10.7.0.2/24 brd 10.7.0.77 dev e0");
    ip("route add broadcast 10.8.0.88 dev e0 table local");
    ip("route add broadcast 10.9.0.0/24 dev e0 table main");
    let sent = || {
        let counted = b.proc_net("snmp");
        let icmp = counted
            .lines()
            .filter(|line| line.starts_with("Icmp:"))
            .nth(1);
        let all = icmp.map(|line| line.split_whitespace().collect::<Vec<_>>());
        all.unwrap()
            .get(15)
            .and_then(|sent| sent.parse::<u64>().ok())
    };
    service.until("the address is known", |_| {
        service.ask(&["interfaces"]).contains("10.7.0.2")
    });
    let before = sent();
    let far = "10.9.0.0/24";
    for target in [
        "10.0.0.255",
        "10.7.0.77",
        "10.8.0.88",
        "10.9.0.9",
        far,
        "255.255.255.255",
    ] {
        let output = service.netsonde(&["ping", "-c", "1", "-W", "0.2", target]);
        let words = printed(&output);
        assert_eq!(output.status.code(), Some(2), "{target}: {words}");
        assert!(
            words.contains("a broadcast address: use -b"),
            "{target}: {words}"
        );
        if has_users() {
            let arguments = ["ping", "-c", "1", "-W", "0.2", "-b", target];
            let output = client(&service, ONE, &arguments).output()?;
            let words = printed(&output);
            assert_eq!(output.status.code(), Some(2), "{target}: {words}");
            assert!(
                words.contains("only root may use broadcast"),
                "{target}: {words}"
            );
        }
    }
    // Nothing was sent. An address that only looks like one is a host's.
    assert_eq!(sent(), before);
    let output = service.netsonde(&["ping", "-c", "1", "-W", "0.2", "10.8.0.255"]);
    assert!(
        !printed(&output).contains("broadcast"),
        "{}",
        printed(&output)
    );
    Ok(())
}

/// Bytes that an interface has sent.
fn bytes_sent(host: &Host) -> u64 {
    let text = host.proc_net("dev");
    let line = text
        .lines()
        .find(|line| line.trim_start().starts_with("e0:"));
    line.and_then(|line| line.split_whitespace().nth(9)?.parse().ok())
        .unwrap()
}

fn bytes_have_a_rate() -> Outcome {
    let (_a, b) = pair();
    let rates = "[ping]\nbyte_rate = \"2 MiB\"\nbyte_rate_per_uid = \"512 KiB\"\n";
    let service = service(&b, rates);
    // Privileged users have the rate of all.
    let mut cases = vec![(None, 2 * MIB)];
    if has_users() {
        cases.push((Some(ONE), MIB / 2));
    }
    for (uid, rate) in cases {
        let arguments = ["ping", "-q", "-f", "-w", "2", "-s", "65507", "10.0.0.1"];
        let before = bytes_sent(&b);
        let start = Instant::now();
        let output = match uid {
            None => service.netsonde(&arguments),
            Some(uid) => client(&service, uid, &arguments).output()?,
        };
        let took = start.elapsed().as_secs_f64();
        assert!(output.status.success(), "{}", printed(&output));
        let sent = (bytes_sent(&b) - before) as f64;
        // The burst at the start, and headers of fragments.
        let most = rate as f64 * took * 1.05 + 2.0 * 65_555.0;
        assert!(sent <= most, "{sent} of {most} bytes as {uid:?}");
        // From the start of the run on, without the time at its end.
        assert!(sent >= rate as f64 * 2.0 * 0.7, "{sent} bytes as {uid:?}");
    }
    let status = service.status();
    let waited = entry(&status["limits"], "name", "bytes of probes a second");
    assert!(
        number(&waited["hits"]) > 0 && number(&waited["limit"]) == 2 * MIB,
        "{waited}"
    );
    // Small probes do not notice.
    let output = service.netsonde(&["ping", "-q", "-f", "-c", "500", "10.0.0.1"]);
    assert!(output.status.success(), "{}", printed(&output));
    Ok(())
}

/// Nobody scans faster than ping lets them: ports are probed within the same rates, one port a run.
fn ports_have_the_rates_of_ping() -> Outcome {
    need_users();
    let (_a, b) = pair();
    let service = service(&b, "[ping]\nrate_per_uid = 50\n");
    for (arguments, words) in [
        (&["-i", "0", "10.0.0.1"][..], "shorter intervals"),
        (&["--rate", "1000", "10.0.0.1"], "more probes a second"),
        (&["10.0.0.255"], "broadcast"),
    ] {
        for transport in [["--tcp", "443"], ["--udp", "9"]] {
            // With udp the interval limits the timeout, which is checked first.
            let quick = ["-c", "1", "-W", "0.000000001"];
            let all = [&["ping"][..], &transport, &quick, arguments].concat();
            let output = client(&service, ONE, &all).output()?;
            let printed = printed(&output);
            let is_refused = output.status.code() == Some(2);
            let is_named = printed.contains(words) || arguments[0] == "-i";
            assert!(is_refused && is_named, "{all:?}: {printed}");
        }
    }
    let sweep = [
        "--json", "ping", "--tcp", "443", "-c", "100", "-i", "0.1", "-W", "0.2",
    ];
    let sweep = [&sweep[..], &["-w", "2", "10.0.0.0/25"]].concat();
    let output = client(&service, ONE, &sweep).output()?;
    let text = String::from_utf8(output.stdout)?;
    let total: Value = serde_json::from_str(text.lines().last().unwrap())?;
    let sent = number(&total["sent"]);
    assert!((1..=102).contains(&sent), "{sent} probes in 2 s: {total}");
    Ok(())
}

fn a_private_service_has_a_private_directory() -> Outcome {
    let (_a, b) = pair();
    let folder = support::folder()?;
    let standalone = |temporary: &Path| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_netsonde"));
        command
            .args(["--standalone", "status"])
            .env("TMPDIR", temporary)
            .stdin(Stdio::null());
        command
    };
    let mut running = b.spawn(standalone(folder.path()).stdout(Stdio::null()))?;
    let pid = running.child().id();
    let mut modes = std::collections::BTreeSet::new();
    // From the moment on at which it is there until it is removed, at short intervals.
    let ended = wait_until(PATIENCE, || {
        for found in std::fs::read_dir(folder.path()).unwrap().flatten() {
            let name = found.file_name().to_string_lossy().into_owned();
            assert!(!name.contains(&pid.to_string()), "{name} can be guessed");
            modes.extend(
                found
                    .metadata()
                    .map(|metadata| metadata.permissions().mode() & 0o777),
            );
        }
        running.child().try_wait().unwrap().is_some()
    });
    assert!(ended && modes.into_iter().eq([0o700]));
    assert_eq!(std::fs::read_dir(folder.path())?.count(), 0);
    // Errors name the path.
    let missing = folder.path().join("missing");
    let output = standalone(&missing).output()?;
    let words = format!("cannot create a directory in {}: ", missing.display());
    assert_eq!(output.status.code(), Some(2));
    assert!(printed(&output).contains(&words), "{}", printed(&output));
    Ok(())
}

fn peers_without_a_number_of_their_own_are_apart() -> Outcome {
    need_users();
    let (_a, b) = pair();
    let service = service(&b, "[ping]\nruns_per_uid = 1\n");
    // One process of nobody probes.
    let mut command = client(&service, NOBODY, &["ping", "-i", "0.2", "10.0.0.1"]);
    let mut other = b.spawn(command.stdout(Stdio::null()))?;
    service.until("the run has started", |_| {
        let mut stream = connect(&service, None);
        let reply = call(
            &mut stream,
            "io.netsonde.Ping.Progress",
            json!({ "run": 1 }),
            false,
        );
        reply["parameters"]["total"]["sent"].as_u64() > Some(0)
    });
    // This process, as nobody, is another peer: it neither sees nor stops that run, nor do they share a limit.
    let mut stream = connect(&service, Some(NOBODY));
    for method in ["io.netsonde.Ping.Progress", "io.netsonde.Ping.Stop"] {
        let reply = call(&mut stream, method, json!({ "run": 1 }), false);
        assert_eq!(reply["error"], "io.netsonde.Ping.NoSuchRun", "{reply}");
    }
    let own = json!({ "targets": ["10.0.0.1"], "options": { "interval_ns": 200_000_000 } });
    let mut running = connect(&service, Some(NOBODY));
    let reply = call(&mut running, "io.netsonde.Ping.Ping", own.clone(), true);
    let run = number(&reply["parameters"]["run"]);
    // A second connection of one process is the same peer.
    let reply = call(
        &mut stream,
        "io.netsonde.Ping.Progress",
        json!({ "run": run }),
        false,
    );
    assert!(reply["error"].is_null(), "{reply}");
    let mut more = connect(&service, Some(NOBODY));
    let reply = call(&mut more, "io.netsonde.Ping.Ping", own, true);
    assert_eq!(reply["error"], "io.netsonde.Ping.LimitReached", "{reply}");
    // Lists are of one peer as well.
    let list = call(
        &mut stream,
        "io.netsonde.Ping.Targets",
        json!({ "targets": ["10.0.0.1"] }),
        false,
    );
    let list = number(&list["parameters"]["list"]);
    let mut setpriv = support::program("setpriv");
    let another = setpriv
        .args(["--reuid=65534", "--regid=64100", "--clear-groups"])
        .arg(std::env::current_exe()?)
        .env(ANOTHER, service.socket())
        .env(LIST, list.to_string());
    let output = another.output()?;
    let answer = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        answer.contains("io.netsonde.Ping.NoSuchList"),
        "{answer}{}",
        printed(&output)
    );
    let reply = call(
        &mut stream,
        "io.netsonde.Ping.Stop",
        json!({ "run": run }),
        false,
    );
    assert!(reply["error"].is_null(), "{reply}");
    while !read_reply(&mut running)?["parameters"]["total"].is_object() {}
    let ended = other.child().try_wait()?;
    assert!(ended.is_none(), "the other run was stopped");
    let _ = other.child().kill();
    Ok(())
}
