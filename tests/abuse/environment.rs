//! The environment: E1 to E14.

use std::net::Ipv4Addr;
use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use netsonde::client::files::capture_file::{CaptureFile, Item};
use netsonde::lab::{self, traffic, wait_until};
use nix::mount::{MsFlags, mount, umount};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use super::Outcome;
use super::watch::{Watch, hits, settled, store, sum};
use crate::support::inside;
use crate::support::{PATIENCE, Service, Test, client, entry, number, pair, program};

pub const TESTS: &[(&str, Test)] = &[
    ("flapping_interface", flapping_interface as Test),
    (
        "interface_moves_between_namespaces",
        interface_moves_between_namespaces,
    ),
    ("full_disk", full_disk),
    (
        "netlink_overrun_resynchronizes",
        netlink_overrun_resynchronizes,
    ),
    (
        "memberships_leave_descriptors_for_engines",
        memberships_leave_descriptors_for_engines,
    ),
    ("stopped_processes_resume", stopped_processes_resume),
    (
        "stale_socket_files_are_replaced",
        stale_socket_files_are_replaced,
    ),
    ("old_kernel", old_kernel),
];

const TO: &str = "10.0.0.1:5000";

fn named(status: &Value, name: &str) -> Value {
    let all = status["interfaces"].as_array().unwrap().iter();
    let mut there = all.filter(|one| one["interface"] == name && one["state"] != "gone");
    there.next_back().cloned().unwrap_or(Value::Null)
}

/// E1.
fn flapping_interface() -> Outcome {
    const FLAPS: u64 = 200;
    let (a, b) = pair();
    // More gaps than a reply names are summed up there.
    let service = Service::start(&a, &[]);
    let watch = Watch::begin("E1", &service);
    let before = number(&service.status()["gaps_total"]);
    let start = Instant::now();
    let sent = std::thread::scope(|scope| {
        let traffic = scope
            .spawn(|| b.run(|| traffic::numbered_udp(TO.parse().unwrap(), 10_000, 18, Some(2000))));
        for _ in 0..FLAPS {
            a.down("e0").unwrap();
            a.up("e0").unwrap();
        }
        traffic.join().unwrap()
    });
    // While the link was down there was no way, and the kernel says so or drops.
    let sent = sent.map_or(0, |sent| sent.packets);
    let took = start.elapsed();
    let status = service.until("it is up", |status| {
        named(status, "e0")["state"] == "up" && settled(status)
    });
    let gaps = number(&status["gaps_total"]) - before;
    // A pair of them may be one piece of news, if the engine reads both at once: the newest state counts.
    assert!(gaps > 0 && gaps <= FLAPS, "{gaps}");
    let slots = status["interfaces"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|one| one["interface"] == "e0");
    assert_eq!(slots.count(), 1, "it is one interface: {status:#}");
    let end = |gap: &Value, key: &str| {
        gap[key]
            .as_str()
            .unwrap()
            .parse::<jiff::Timestamp>()
            .unwrap()
    };
    for gap in status["gaps"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|gap| gap["kind"] == "interface_down")
    {
        assert!(end(gap, "from") <= end(gap, "to"), "{gap}");
    }
    let down: f64 = status["gaps"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|gap| gap["kind"] == "interface_down")
        .map(|gap| {
            end(gap, "to")
                .duration_since(end(gap, "from"))
                .as_secs_f64()
        })
        .sum();
    assert!(
        down <= took.as_secs_f64() + 1.0,
        "{down} s down in {took:?}"
    );
    let reaches = || {
        b.run(|| traffic::ping("10.0.0.1".parse().unwrap(), Duration::from_millis(200)))
            .is_ok_and(|rtt| rtt.is_some())
    };
    assert!(wait_until(PATIENCE, reaches));
    // Memberships of the listeners are those of a fresh start.
    let own: Value = serde_json::from_str(&service.ask(&["interfaces", "--json", "e0"]))?;
    assert_eq!(
        entry(&own["interfaces"][0]["memberships"], "group", "224.0.0.2")["users"],
        1,
        "{own}"
    );
    watch.end(&service, &format!("{FLAPS} times down and up in {:.1} s beside {sent} packets: {gaps} gaps, {down:.3} s in those that are named", took.as_secs_f64()));
    Ok(())
}

/// E2. Rename, deletion and reuse of an index are `interfaces_come_and_go` of tests/live.rs.
fn interface_moves_between_namespaces() -> Outcome {
    const ROUNDS: usize = 20;
    let (a, b) = pair();
    crate::support::need("ip");
    lab::veth(&a, "v0", &b, "v0")?;
    b.address("v0", "10.5.0.2/24")?;
    let service = Service::start(&a, &[]);
    let watch = Watch::begin("E2", &service);
    let other = lab::Host::new("c")?;
    let namespace = |host: &lab::Host| host.run(|| std::fs::File::open("/proc/thread-self/ns/net"));
    let (here, there) = (namespace(&a)?, namespace(&other)?);
    let to = |file: &std::fs::File| format!("/proc/{}/fd/{}", std::process::id(), file.as_raw_fd());
    let mut sent = 0;
    for round in 0..ROUNDS {
        a.address("v0", "10.5.0.1/24")?;
        let reaches = || {
            b.run(|| traffic::ping("10.5.0.1".parse().unwrap(), Duration::from_millis(200)))
                .is_ok_and(|rtt| rtt.is_some())
        };
        assert!(wait_until(PATIENCE, reaches), "{round}");
        b.run(|| traffic::numbered_udp("10.5.0.1:5000".parse().unwrap(), 20, 18, None))?;
        sent += 20;
        inside(&a, "ip", &["link", "set", "v0", "netns", &to(&there)]);
        service.until("it is gone", |status| named(status, "v0").is_null());
        inside(&other, "ip", &["link", "set", "v0", "netns", &to(&here)]);
        service.until("it is back", |status| !named(status, "v0").is_null());
    }
    let found = || {
        service
            .packets(&["-I", "v0", "--port", "5000", "--direction", "in"])
            .len()
    };
    assert!(
        wait_until(PATIENCE, || found() == sent),
        "{} of {sent}",
        found()
    );
    let status = service.status();
    let lives = status["interfaces"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|one| one["interface"] == "v0")
        .count();
    // Each life that had packets is told of by itself.
    assert!(lives >= ROUNDS, "{lives}");
    watch.end(
        &service,
        &format!(
            "away and back {ROUNDS} times: {lives} lives, each with its packets, {sent} in all"
        ),
    );
    Ok(())
}

/// Packets that can be read of a file before its end, or before it breaks off.
fn readable(path: &std::path::Path) -> u64 {
    let mut file = CaptureFile::new(std::fs::File::open(path).unwrap()).unwrap();
    let mut packets = 0;
    while let Ok(Some(item)) = file.next() {
        packets += u64::from(matches!(item, Item::Packet(_)));
    }
    packets
}

/// E3. A tmpfs of 256 KiB, a read-only one, a device that is always full, a directory.
fn full_disk() -> Outcome {
    let (a, b) = pair();
    let service = Service::start(&a, &[]);
    let mac = a.mac("e0")?;
    let ends = (Ipv4Addr::new(10, 0, 0, 2), TO.parse()?);
    b.run(|| traffic::numbered_frames("e0", mac, ends, 20_000, 18, Some(20_000)))?;
    service.until("all is recorded", |status| {
        store(status, "bulk", "seen") + sum(&status["rings"], "drops") >= 20_000
    });
    let watch = Watch::begin("E3", &service);
    let disk = crate::support::folder()?;
    let at = |options: &str, flags| {
        mount(
            Some("tmpfs"),
            disk.path(),
            Some("tmpfs"),
            flags,
            Some(options),
        )
    };
    at("size=256k", MsFlags::empty())?;
    let mut figures = vec![];
    let mut fails = |path: &std::path::Path, words: &str| -> String {
        let output = service.netsonde(&["capture", "--last", "all", "-w", path.to_str().unwrap()]);
        let printed = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(
            output.status.code(),
            Some(2),
            "{}: {printed}",
            path.display()
        );
        assert!(printed.contains(words), "{printed}");
        let words = printed.trim().trim_start_matches("netsonde: ").to_owned();
        figures.push(words.clone());
        words
    };
    let file = disk.path().join("x.pcapng");
    // The packets came only once, and what fitted is kept beside the file that was to be written.
    let words = fails(&file, "no space left");
    assert!(!file.exists(), "{words}");
    let (_, partial) = words.split_once("the packets until then are in ").unwrap();
    let packets = readable(std::path::Path::new(partial));
    let length = std::fs::metadata(partial)?.len();
    assert!(
        packets > 500 && length > 128 << 10,
        "{packets} packets in {length} bytes can be read"
    );
    fails(std::path::Path::new("/dev/full"), "no space left");
    umount(disk.path())?;
    at("size=1m", MsFlags::MS_RDONLY)?;
    fails(&file, "read-only");
    umount(disk.path())?;
    fails(disk.path(), "directory");
    // Into memory it goes on.
    b.run(|| traffic::ping("10.0.0.1".parse().unwrap(), PATIENCE))?
        .unwrap();
    watch.end(
        &service,
        &format!(
            "{packets} packets can be read of what fitted; {}",
            figures.join("; ")
        ),
    );
    Ok(())
}

/// News that the kernel had to drop at the sockets of a host that are subscribed to links and addresses.
fn lost_news(host: &lab::Host) -> u64 {
    let text = host.proc_net("netlink");
    let rows = text
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>());
    let subscribed = rows.filter(|row| row.len() > 8 && row[1] == "0" && row[3] == "00000111");
    subscribed
        .filter_map(|row| row[8].parse::<u64>().ok())
        .sum()
}

/// E7. The engine is held, so that the kernel has to drop news; then links come and go while it reads.
fn netlink_overrun_resynchronizes() -> Outcome {
    let (a, b) = pair();
    let service = Service::start(&a, &[]);
    let engine = service.engine();
    let watch = Watch::begin("E7", &service);
    let start = Instant::now();
    lab::veth(&a, "x0", &b, "x0")?;
    let batch: String = (0..500)
        .map(|mtu| format!("link set x0 mtu {}\n", 1280 + mtu % 200))
        .collect();
    let file = tempfile::NamedTempFile::new()?;
    std::fs::write(file.path(), batch)?;
    let path = file.path().to_str().unwrap();
    let (mut changes, mut made) = (0, 0);
    crate::support::need("ip");
    kill(engine, Signal::SIGSTOP)?;
    // Until its queue has overflown, and well before the keeper takes it for dead.
    while lost_news(&a) == 0 && start.elapsed() < Duration::from_secs(6) {
        inside(&a, "ip", &["-batch", path]);
        changes += 500;
    }
    let overflown = lost_news(&a) > 0;
    while overflown && made < 40 && start.elapsed() < Duration::from_secs(8) {
        lab::veth(&a, &format!("v{made}"), &b, &format!("v{made}"))?;
        if made % 4 == 3 {
            a.delete(&format!("v{made}"))?;
        }
        if made % 4 == 2 {
            a.down(&format!("v{made}"))?;
        }
        made += 1;
    }
    if made == 0 {
        kill(engine, Signal::SIGCONT)?;
        crate::support::skip_here("this machine is too busy to be too fast for the engine");
    }
    a.rename("v0", "renamed")?;
    kill(engine, Signal::SIGCONT)?;
    let stopped = start.elapsed();
    // It reads while they go on.
    for number in 0..50 {
        lab::veth(&a, "w0", &b, "w0")?;
        a.address("w0", &format!("10.6.{number}.1/24"))?;
        a.delete("w0")?;
    }
    let by_kernel = || -> Vec<(String, bool)> {
        let output = a
            .run(|| program("ip").args(["-json", "link"]).output())
            .unwrap();
        let links: Value = serde_json::from_slice(&output.stdout).unwrap();
        let is_up = |link: &Value| link["flags"].to_string().contains("\"UP\"");
        let mut all: Vec<(String, bool)> = links
            .as_array()
            .unwrap()
            .iter()
            .map(|link| (link["ifname"].as_str().unwrap().to_owned(), is_up(link)))
            .collect();
        all.sort();
        all
    };
    let by_service = || -> Vec<(String, bool)> {
        let report: Value = serde_json::from_str(&service.ask(&["--json", "interfaces"])).unwrap();
        let mut all: Vec<(String, bool)> = report["interfaces"]
            .as_array()
            .unwrap()
            .iter()
            .map(|link| {
                (
                    link["interface"].as_str().unwrap().to_owned(),
                    link["up"] == true,
                )
            })
            .collect();
        all.sort();
        all
    };
    let agree = wait_until(PATIENCE, || by_service() == by_kernel());
    assert!(agree, "{:?}\n{:?}", by_service(), by_kernel());
    let status = service.until("the record knows all", |status| {
        let there = status["interfaces"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|one| one["state"] != "gone");
        there.count() == by_kernel().len()
    });
    let resyncs = hits(&status, "netlink queue");
    assert!(resyncs > 0, "{status:#}");
    // What is made goes again, so that what is held can be compared.
    for (name, _) in by_kernel() {
        if name != "lo" && name != "e0" {
            a.delete(&name)?;
        }
    }
    service.until("all are gone", |_| by_service() == by_kernel());
    watch.end(&service, &format!("{changes} changes and {made} links while it was held for {:.1} s, asked anew {resyncs} times, then as `ip link` has it", stopped.as_secs_f64()));
    Ok(())
}

/// E10.
fn memberships_leave_descriptors_for_engines() -> Outcome {
    const LINKS: usize = 60;
    let (a, b) = pair();
    for number in 0..LINKS {
        lab::veth(&a, &format!("v{number}"), &b, &format!("v{number}"))?;
    }
    let mut shell = Command::new("sh");
    shell.args(["-c", "ulimit -n 200; exec \"$@\"", "sh"]);
    let service = Service::under(&a, shell, "", &[]);
    let status = service.until("some could not be joined", |status| {
        hits(status, "memberships not joined") > 0
    });
    let engine = service.engine();
    kill(engine, Signal::SIGKILL)?;
    let status = service.until("another engine", |now| {
        now["engine"]["pid"].as_i64() != Some(engine.as_raw().into())
            && number(&status["uptime_ns"]) > 0
    });
    b.run(|| traffic::ping("10.0.0.1".parse().unwrap(), PATIENCE))?
        .unwrap();
    let keeper = number(&status["keeper_pid"]);
    let open = super::watch::held(keeper).descriptors;
    println!(
        "E10: NOFILE 200, {} links: {} memberships not joined, the keeper has {open:?} open, and the next engine started",
        LINKS + 2,
        hits(&status, "memberships not joined")
    );
    Ok(())
}

/// E11. The engine, then the keeper is held, under traffic. For how long the rings bridge it follows from the
/// number of their blocks, since a block is handed over after 20 ms however little it holds.
fn stopped_processes_resume() -> Outcome {
    const PACE: u64 = 10_000;
    let (a, b) = pair();
    let service = Service::start(&a, &[]);
    let status = service.status();
    let mac = a.mac("e0")?;
    let ends = (Ipv4Addr::new(10, 0, 0, 2), TO.parse()?);
    let drops = |status: &Value| sum(&status["rings"], "drops");
    let seen = |status: &Value| store(status, "bulk", "seen") + drops(status);
    let mut figures = vec![];
    for (who, pid, pause) in [
        ("engine", &status["engine"]["pid"], 300),
        ("engine", &status["engine"]["pid"], 5000),
        ("keeper", &status["keeper_pid"], 5000),
    ] {
        let before = service.status();
        let pid = Pid::from_raw(number(pid) as i32);
        let count = PACE * pause / 1000;
        kill(pid, Signal::SIGSTOP)?;
        let held = Instant::now();
        let sent = b.run(|| traffic::numbered_frames("e0", mac, ends, count, 18, Some(PACE)));
        kill(pid, Signal::SIGCONT)?;
        let held = held.elapsed();
        assert_eq!(sent?.packets, count);
        let now = service.until("all is taken in", |now| {
            settled(now) && seen(now) >= seen(&before) + count
        });
        let lost = drops(&now) - drops(&before);
        figures.push(format!(
            "{who} held {:.1} s: {lost} of {count} dropped and declared",
            held.as_secs_f64()
        ));
        super::watch::balance(&now);
        if held < Duration::from_secs(9) {
            assert_eq!(now["engine"]["starts"], 1, "{}", service.log());
        }
        let report: u64 = now["gaps"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|gap| gap["kind"] == "ring_drop")
            .map(|gap| number(&gap["count"]))
            .sum();
        assert_eq!(report, drops(&now));
    }
    println!("E11: {}", figures.join(", "));
    Ok(())
}

/// E13. Two services for one socket, and files in its place, are `two_services_do_not_share_a_socket` of tests/live.rs
/// and `symlinks_instead_of_files`.
fn stale_socket_files_are_replaced() -> Outcome {
    let (a, _b) = pair();
    let directory = crate::support::folder()?;
    let socket = directory.path().join("control.sock");
    let start = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_netsonded"));
        command
            .arg("--allow-root")
            .arg("--socket")
            .arg(&socket)
            .stdin(Stdio::null())
            .stderr(Stdio::null());
        a.spawn(&mut command).unwrap()
    };
    let answers = || client(&socket, &["status"]).status.success();
    let mut lives = 0;
    for _ in 0..3 {
        let mut service = start();
        assert!(wait_until(PATIENCE, answers), "{lives}");
        let engine: Value = serde_json::from_slice(&client(&socket, &["--json", "status"]).stdout)?;
        let engine = number(&engine["engine"]["pid"]);
        // The keeper dies without a word: its engine goes with it, the socket stays.
        service.child().kill()?;
        service.child().wait()?;
        assert!(wait_until(PATIENCE, || !std::path::Path::new(&format!(
            "/proc/{engine}/exe"
        ))
        .exists()));
        assert!(socket.exists() && !answers());
        lives += 1;
    }
    // Two at once: one serves, the other says why not.
    let first = start();
    assert!(wait_until(PATIENCE, answers));
    let mut second = start();
    assert_eq!(second.child().wait()?.code(), Some(2));
    assert!(answers());
    drop(first);
    println!(
        "E13: {lives} times killed and started over the socket that was left, a second one refused"
    );
    Ok(())
}

/// Set for a process that is to have what an old kernel lacks refused, and then to execute its arguments.
pub const OLD_KERNEL: &str = "NETSONDE_TEST_OLD_KERNEL";

/// System calls that came with 5.3 to 6.x, as a kernel answers that has not heard of them.
pub fn run_as_on_an_old_kernel() -> ExitCode {
    use seccompiler::{
        BpfProgram, SeccompAction, SeccompCmpArgLen as Length, SeccompCmpOp as Is,
        SeccompCondition as Condition, SeccompFilter, SeccompRule, TargetArch,
    };
    let unknown = [
        libc::SYS_pidfd_open,
        libc::SYS_clone3,
        libc::SYS_close_range,
        libc::SYS_openat2,
        libc::SYS_pidfd_getfd,
        libc::SYS_faccessat2,
        libc::SYS_epoll_pwait2,
        libc::SYS_landlock_create_ruleset,
        libc::SYS_landlock_add_rule,
        libc::SYS_landlock_restrict_self,
        libc::SYS_memfd_secret,
        libc::SYS_rseq,
        libc::SYS_io_uring_setup,
    ];
    let mut rules: std::collections::BTreeMap<i64, Vec<SeccompRule>> =
        unknown.into_iter().map(|call| (call, vec![])).collect();
    // SO_PEERGROUPS and SO_PEERPIDFD.
    let option = |name: u64| {
        let is = |argument, value| Condition::new(argument, Length::Dword, Is::Eq, value).unwrap();
        SeccompRule::new(vec![is(1, libc::SOL_SOCKET as u64), is(2, name)]).unwrap()
    };
    rules.insert(libc::SYS_getsockopt, vec![option(59), option(77)]);
    let architecture = TargetArch::try_from(std::env::consts::ARCH).unwrap();
    let filter = SeccompFilter::new(
        rules,
        SeccompAction::Allow,
        SeccompAction::Errno(libc::ENOSYS as u32),
        architecture,
    );
    let program: BpfProgram = filter.unwrap().try_into().unwrap();
    seccompiler::apply_filter(&program).unwrap();
    let mut arguments = std::env::args_os().skip(1);
    let error = Command::new(arguments.next().unwrap())
        .args(arguments)
        .env_remove(OLD_KERNEL)
        .exec();
    eprintln!("{error}");
    ExitCode::FAILURE
}

/// E14.
fn old_kernel() -> Outcome {
    let (a, b) = pair();
    let mut starter = Command::new(std::env::current_exe()?);
    starter.env(OLD_KERNEL, "1");
    let service = Service::under(&a, starter, "", &[]);
    let watch = Watch::begin("E14", &service);
    b.run(|| traffic::ping("10.0.0.1".parse().unwrap(), PATIENCE))?
        .unwrap();
    b.run(|| traffic::numbered_udp(TO.parse().unwrap(), 100, 18, None))?;
    assert!(wait_until(PATIENCE, || service
        .packets(&["--port", "5000", "--direction", "in"])
        .len()
        == 100));
    let report =
        crate::support::ping::ping(&service, &["-c", "3", "-i", "0.01", "-W", "5", "10.0.0.2"]);
    report.only("replied", 3);
    // What is missing is told, where everybody looks.
    let status = service.status();
    assert_eq!(
        status["sandbox"]["landlock"], "not on this kernel",
        "{status}"
    );
    assert_eq!(status["sandbox"]["seccomp"], "enforced", "{status}");
    assert!(
        service
            .ask(&["status"])
            .contains("landlock not on this kernel")
    );
    watch.end(&service, "without landlock, close_range, pidfd, clone3, openat2 and SO_PEERGROUPS: it serves, records and probes, and says what is missing");
    // And an engine that starts later does so, too.
    let engine = service.engine();
    kill(engine, Signal::SIGKILL)?;
    service.until("another engine", |now| {
        now["engine"]["pid"].as_i64() != Some(engine.as_raw().into())
    });
    Ok(())
}
