//! A compromised or broken engine: C5 and C7. What it may try inside its sandbox is in tests/sandbox.rs.

use std::io::IoSlice;
use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use netsonde::daemon::channel::handover::{EngineRequest, send_request};
use netsonde::lab::{traffic, wait_until};
use nix::errno::Errno;
use nix::sys::resource::{Resource, getrlimit};
use nix::sys::signal::{Signal, kill};
use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};
use nix::unistd::Pid;
use serde_json::{Value, json};

use super::Outcome;
use super::watch::{Watch, call, connect, settled, store, sum};
use crate::support::taken::Taken;
use crate::support::{PATIENCE, Service, Test, entry, number, pair};

pub const TESTS: &[(&str, Test)] = &[
    (
        "forged_requests_on_the_keeper_channel",
        forged_requests_on_the_keeper_channel as Test,
    ),
    (
        "engine_out_of_memory_is_replaced",
        engine_out_of_memory_is_replaced,
    ),
    ("crash_loops_are_quarantined", crash_loops_are_quarantined),
];

/// The engine's end of its channel to the keeper, as somebody in the engine would have it: its standard input.
fn channel(engine: Pid) -> std::io::Result<OwnedFd> {
    Taken::open(engine)?.descriptor(0)
}

fn restarted(service: &Service, engine: Pid) -> Value {
    let status = service.until("another engine", |status| {
        status["engine"]["pid"].as_i64() != Some(engine.as_raw().into())
    });
    assert!(status["engine"].is_object());
    status
}

/// Descriptors that one message carries: at most 253 (SCM_MAX_FD), and few enough that several messages are
/// below the limit of descriptors in flight, which is RLIMIT_NOFILE for all processes of a user that have
/// neither CAP_SYS_RESOURCE nor CAP_SYS_ADMIN (net/core/scm.c, too_many_unix_fds).
fn descriptors_per_message() -> usize {
    let (soft, _) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    usize::try_from(soft / 8).map_or(100, |limit| limit.clamp(1, 100))
}

/// Bytes that the other end of a Unix socket has not read yet (SIOCOUTQ, unix(7)).
fn unread(socket: &impl AsRawFd) -> libc::c_int {
    let mut bytes = 0;
    // SAFETY: the request writes one int.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), libc::TIOCOUTQ, &mut bytes) };
    assert_eq!(result, 0, "{}", std::io::Error::last_os_error());
    bytes
}

/// C5.
fn forged_requests_on_the_keeper_channel() -> Outcome {
    /// Below the rate at which an engine is replaced, which is tested in tests/boundary.rs.
    const MANY: u64 = 10_000;
    const FORGED: [EngineRequest; 3] = [
        EngineRequest::Join,
        EngineRequest::Leave,
        EngineRequest::Promiscuous,
    ];
    const DESCRIPTORS: usize = 10_000;
    let (a, b) = pair();
    let mut service = Service::start(&a, &[]);
    let keeper = service.keeper();
    let mut engine = service.engine();
    let forge = match channel(engine) {
        Ok(forge) => forge,
        Err(error) => {
            crate::support::skip_here(&format!("pidfd_getfd: {error}"));
        }
    };
    let watch = Watch::begin("C5", &service);
    // By the thousand, with arguments that are no interface's: packets are counted and taken in meanwhile.
    let mac = a.mac("e0")?;
    let ends = (Ipv4Addr::new(10, 0, 0, 2), "10.0.0.1:5000".parse()?);
    let (mut taken, mut full) = (0u64, 0u64);
    std::thread::scope(|scope| {
        let flood = scope.spawn(|| {
            b.run(|| traffic::numbered_frames("e0", mac, ends, 50_000, 18, Some(20_000)))
        });
        for number in 0..MANY {
            let argument = (number as u32).wrapping_mul(0x9e37_79b9) | 0x1000;
            match send_request(&forge, FORGED[number as usize % FORGED.len()], argument) {
                Ok(()) => taken += 1,
                Err(_) => full += 1,
            }
        }
        flood.join().unwrap()
    })?;
    let status = service.until("all is taken in", |status| {
        settled(status) && store(status, "bulk", "seen") + sum(&status["rings"], "drops") >= 50_000
    });
    let drops = sum(&status["rings"], "drops");
    assert_eq!(
        status["promiscuous"], false,
        "only the configuration says so"
    );
    watch.end(&service, &format!("{taken} of {MANY} forged requests read, {full} found the queue full; 50000 packets beside them, {drops} dropped"));
    // A request with a descriptor: it is read, and the descriptor is not taken.
    let descriptors = || {
        std::fs::read_dir(format!("/proc/{keeper}/fd"))
            .map(Iterator::count)
            .unwrap_or(0)
    };
    let before = descriptors();
    let begun = Instant::now();
    let file = std::fs::File::open("/dev/null")?;
    let message = [EngineRequest::Leave as u32, 0x1000]
        .map(u32::to_ne_bytes)
        .concat();
    let passed = vec![file.as_raw_fd(); descriptors_per_message()];
    let mut sent = 0;
    while sent < DESCRIPTORS {
        // Other tests run at the same time, and their keepers pass descriptors too: this one must not use up
        // the limit of their user.
        assert!(wait_until(PATIENCE, || unread(&forge) == 0), "not read");
        let result = sendmsg::<()>(
            forge.as_raw_fd(),
            &[IoSlice::new(&message)],
            &[ControlMessage::ScmRights(&passed)],
            MsgFlags::empty(),
            None,
        );
        match result {
            Ok(_) => sent += passed.len(),
            // So many of this user's descriptors are in flight; the keeper reads them.
            Err(Errno::ETOOMANYREFS) if begun.elapsed() < PATIENCE => {
                std::thread::sleep(Duration::from_millis(1));
            }
            Err(error) => return Err(error.into()),
        }
    }
    assert!(
        wait_until(PATIENCE, || descriptors() <= before),
        "{} of {before}",
        descriptors()
    );
    assert_eq!(service.engine(), engine, "that is no reason to end it");
    // What is no request: the engine that sent it ends, the next one goes on where it stopped.
    drop(forge);
    let mut ended = 0;
    for nonsense in [
        &[1u8, 2, 3][..],
        &[0; 8],
        &[0xff; 8],
        &[1; 9],
        &[8, 0, 0, 0, 0, 0, 0, 0],
        &[1; 60_000],
    ] {
        let forge = channel(engine)?;
        nix::sys::socket::send(forge.as_raw_fd(), nonsense, MsgFlags::empty())?;
        drop(forge);
        restarted(&service, engine);
        engine = service.engine();
        ended += 1;
    }
    let printed = service
        .log()
        .matches("invalid request from the engine")
        .count();
    assert_eq!(printed, ended, "{}", service.log());
    // The groups are held by who comes after, and no packet is missing.
    service.until("the groups are joined", |_| {
        let own: Value =
            serde_json::from_str(&service.ask(&["interfaces", "--json", "e0"])).unwrap();
        entry(&own["interfaces"][0]["memberships"], "group", "224.0.0.2")["ours"] == true
    });
    let status = service.until("the ledger closes", settled);
    assert_eq!(number(&status["engine"]["starts"]), 1 + ended as u64);
    assert!(store(&status, "bulk", "seen") + sum(&status["rings"], "drops") >= 50_000);
    super::watch::balance(&status);
    assert!(kill(keeper, None).is_ok(), "the keeper is there");
    println!(
        "C5: {ended} engines that spoke nonsense ended, each replaced; {sent} descriptors sent with requests, none taken"
    );
    Ok(())
}

/// C7, E9. An engine that gets no memory any more ends, and the next one has all that it had.
fn engine_out_of_memory_is_replaced() -> Outcome {
    crate::support::need("prlimit");
    let (a, b) = pair();
    let service = Service::start(&a, &[]);
    let mac = a.mac("e0")?;
    let ends = (Ipv4Addr::new(10, 0, 0, 2), "10.0.0.1:5000".parse()?);
    let send = |count| b.run(|| traffic::numbered_frames("e0", mac, ends, count, 18, Some(20_000)));
    send(1000)?;
    service.until("some are kept", |status| {
        store(status, "bulk", "seen") >= 1000
    });
    let engine = service.engine();
    let limited = crate::support::program("prlimit")
        .args([
            format!("--pid={engine}"),
            "--as=1:".into(),
            "--data=1:".into(),
        ])
        .status()?;
    assert!(limited.success());
    // Something that takes memory: targets by the ten thousand.
    let targets = json!({ "method": "io.netsonde.Ping.Targets", "parameters": { "targets": ["10.0.0.0/15"] } });
    let mut asked = 0;
    let gone = || std::fs::read_to_string(format!("/proc/{engine}/stat")).is_err();
    let died = wait_until(PATIENCE, || {
        let mut stream = connect(&service.socket());
        let _ = call(&mut stream, &targets);
        asked += 1;
        gone()
    });
    assert!(died, "{asked} times asked:\n{}", service.log());
    send(1000)?;
    let status = restarted(&service, engine);
    let status = service.until("all is kept", |now| {
        let kept = store(now, "bulk", "seen") + sum(&now["rings"], "drops");
        settled(now)
            && kept >= 2000
            && number(&now["engine"]["starts"]) >= number(&status["engine"]["starts"])
    });
    super::watch::balance(&status);
    let restarts = status["gaps"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|gap| gap["kind"] == "engine_restart")
        .count();
    assert_eq!(restarts as u64 + 1, number(&status["engine"]["starts"]));
    println!(
        "C7: without memory an engine ended after {asked} requests, {restarts} restart declared, {} packets kept",
        store(&status, "bulk", "packets")
    );
    Ok(())
}

/// The child of a process, if it has one.
fn child_of(keeper: Pid) -> Option<Pid> {
    let children =
        std::fs::read_to_string(format!("/proc/{keeper}/task/{keeper}/children")).ok()?;
    children
        .split_whitespace()
        .next()?
        .parse()
        .ok()
        .map(Pid::from_raw)
}

/// C7. Engines that die before they come any further, as they would of a packet: after three of them it is given
/// up, and that is declared.
fn crash_loops_are_quarantined() -> Outcome {
    let (a, b) = pair();
    let mut service = Service::start(&a, &[]);
    let keeper = service.keeper();
    if child_of(keeper).is_none() {
        crate::support::skip_here("this kernel does not tell who is whose child");
    }
    let mac = a.mac("e0")?;
    let ends = (Ipv4Addr::new(10, 0, 0, 2), "10.0.0.1:5000".parse()?);
    let (mut sent, mut kills) = (0, 0);
    let gap = |status: &Value| entry(&status["gaps"], "kind", "quarantined");
    let given_up = wait_until(2 * PATIENCE, || {
        // What waits in the ring while no engine is there: the engine is held until it is killed.
        let engine = service.engine();
        kill(engine, Signal::SIGSTOP).unwrap();
        b.run(|| traffic::numbered_frames("e0", mac, ends, 100, 18, Some(20_000)))
            .unwrap();
        sent += 100;
        let _ = kill(engine, Signal::SIGKILL);
        let mut last = engine;
        for _ in 0..4 {
            // Each next one as soon as it is there, before it has taken anything in.
            wait_until(PATIENCE, || {
                child_of(keeper).is_some_and(|next| next != last)
            });
            let Some(next) = child_of(keeper) else { break };
            // Not at once: it has to have counted its start.
            let (memory, long) = (
                format!("/proc/{next}/maps"),
                std::time::Duration::from_millis(500),
            );
            wait_until(long, || {
                std::fs::read_to_string(&memory)
                    .is_ok_and(|maps| maps.contains("netsonde recorder"))
            });
            kills += i32::from(kill(next, Signal::SIGKILL).is_ok());
            last = next;
        }
        let status = service.until("an engine answers", |status| !status["engine"].is_null());
        gap(&status).is_object()
    });
    let status = service.until("the ledger closes", settled);
    if !given_up {
        return Err(
            format!("{kills} engines were killed, and nothing was given up: {status:#}").into(),
        );
    }
    let lost: u64 = status["gaps"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|gap| gap["kind"] == "quarantined")
        .map(|gap| number(&gap["count"]))
        .sum();
    let kept = store(&status, "bulk", "seen");
    let drops = sum(&status["rings"], "drops");
    super::watch::balance(&status);
    assert!(
        kept + lost + drops >= sent,
        "{kept} {lost} {drops} of {sent}"
    );
    println!(
        "C7: {kills} engines killed as they began; of {sent} packets {kept} kept, {lost} given up and declared, {drops} dropped"
    );
    Ok(())
}
