//! Engine and keeper killed and restarted at random moments under traffic: every packet is kept or declared,
//! and the service answers again at once. Also under a real systemd, which starts the service and keeps its
//! descriptors, where `.ci/systemd` runs this program with NETSONDE_SYSTEMD=1.
//!
//! ```text
//!   a  e0 10.0.0.1, netsonded ---------- 10.0.0.2 e0  b (sends numbered packets)
//! ```
//!
//! The judge is the number in each packet.
#![allow(missing_docs, clippy::unwrap_used)]

mod support;

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use netsonde::lab::{self, Host, Running, traffic, wait_until};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use support::{PATIENCE, StopOnDrop, Test, drops, entry, number, pair, settled};

type Outcome = Result<(), Box<dyn std::error::Error>>;

const TO: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(10, 0, 0, 2), 5000);
/// Room for all packets of a test.
const LARGE: &str = "[recorder.budget]\nbulk = \"256 MiB\"\n[recorder.retention]\nbulk = 0\n";

/// How often something is killed.
fn kills() -> usize {
    let wanted = std::env::var("NETSONDE_KILLS").ok();
    wanted.and_then(|text| text.parse().ok()).unwrap_or(100)
}

fn main() -> ExitCode {
    let with_systemd = std::env::var_os("NETSONDE_SYSTEMD").is_some();
    if !with_systemd {
        return support::main(&[(
            "random_kills_lose_nothing",
            random_kills_lose_nothing as Test,
        )]);
    }
    let tests: [(&str, Test); 3] = [
        (
            "restarts_under_load_lose_nothing",
            restarts_under_load_lose_nothing,
        ),
        (
            "random_kills_with_systemd_lose_nothing",
            random_kills_with_systemd_lose_nothing,
        ),
        ("overflow_is_declared", overflow_is_declared),
    ];
    // One after another: it is one service.
    for (name, test) in tests {
        if let Err(error) = test() {
            eprintln!("test {name} ... FAILED: {error}");
            return ExitCode::FAILURE;
        }
        println!("test {name} ... ok");
    }
    ExitCode::SUCCESS
}

/// Whatever starts the service again.
trait Supervisor {
    fn socket(&self) -> PathBuf;
    /// Is called when the keeper was killed.
    fn start_again(&mut self);
}

struct Ours {
    host: Host,
    directory: tempfile::TempDir,
    keeper: Option<Running>,
}

impl Ours {
    fn start(host: Host) -> Ours {
        let mut ours = Ours {
            host,
            directory: support::folder().unwrap(),
            keeper: None,
        };
        std::fs::write(ours.directory.path().join("netsonde.toml"), LARGE).unwrap();
        ours.start_again();
        ours
    }
}

impl Supervisor for Ours {
    fn socket(&self) -> PathBuf {
        self.directory.path().join("control.sock")
    }

    fn start_again(&mut self) {
        let path = self.directory.path();
        let mut log = std::fs::File::options();
        let log = log.create(true).append(true).open(path.join("log"));
        let mut command = Command::new(env!("CARGO_BIN_EXE_netsonded"));
        command.arg("--allow-root");
        command.arg("--socket").arg(self.socket());
        command.arg("--config").arg(path.join("netsonde.toml"));
        command.stdin(Stdio::null()).stderr(log.unwrap());
        // The dead one is reaped before.
        self.keeper = None;
        self.keeper = Some(self.host.spawn(&mut command).unwrap());
    }
}

struct Systemd;

impl Supervisor for Systemd {
    fn socket(&self) -> PathBuf {
        netsonde_core::config::SOCKET.into()
    }

    fn start_again(&mut self) {}
}

/// `Status`, by a connection of its own; `None` while nobody answers.
fn try_status(socket: &Path) -> Option<Value> {
    let mut stream = UnixStream::connect(socket).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).ok()?;
    let call = json!({ "method": "io.netsonde.Service.Status" });
    stream.write_all(format!("{call}\0").as_bytes()).ok()?;
    let mut text = Vec::new();
    let mut room = [0; 65536];
    while text.last() != Some(&0) {
        match stream.read(&mut room).ok()? {
            0 => return None,
            length => text.extend_from_slice(&room[..length]),
        }
    }
    text.pop();
    let reply: Value = serde_json::from_slice(&text).ok()?;
    Some(reply["parameters"].clone())
}

fn until(socket: &Path, what: &str, condition: impl Fn(&Value) -> bool) -> Value {
    let mut last = Value::Null;
    let met = wait_until(PATIENCE, || match try_status(socket) {
        Some(status) => {
            last = status;
            condition(&last)
        }
        None => false,
    });
    assert!(met, "{what}: {last:#}");
    last
}

fn gaps(status: &Value, kind: &str) -> usize {
    let all = status["gaps"].as_array().unwrap();
    all.iter().filter(|gap| gap["kind"] == kind).count()
}

/// Numbers of all recorded packets to port 5000, in their order; each file that the recorder gives after
/// kills must be sound from end to end.
fn numbers(socket: &Path, client: &Path) -> Vec<u64> {
    let directory = support::folder().unwrap();
    let file = directory.path().join("x.pcapng");
    let output = Command::new(client)
        .arg("--socket")
        .arg(socket)
        .args(["capture", "--last", "all", "--port", "5000", "-w"])
        .arg(&file)
        .output()
        .unwrap();
    let printed = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{printed}");
    support::numbers(&file)
}

/// Sends numbered packets until told to stop, `pace` a second.
fn send(to: SocketAddrV4, pace: u64, sent: &AtomicU64, stop: &AtomicBool) {
    let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
    socket.connect(to).unwrap();
    let start = Instant::now();
    let mut number = 0u64;
    while !stop.load(Ordering::Relaxed) {
        let due = (start.elapsed().as_secs_f64() * pace as f64) as u64;
        while number < due {
            let mut packet = [0; 18];
            packet[..8].copy_from_slice(&number.to_be_bytes());
            // A refusal that came back for an earlier one is no reason to leave one out.
            while socket.send(&packet).is_err() {}
            number += 1;
            sent.store(number, Ordering::Release);
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Kills `rounds` times what chance says. Returns how long the service was away each time, until it
/// answered again, and how often its keeper was among what was killed.
fn kill_at_random(supervisor: &mut impl Supervisor, rounds: usize) -> (Vec<Duration>, usize) {
    let socket = supervisor.socket();
    let mut seed = std::process::id();
    println!("seed {seed}");
    let mut away = Vec::new();
    let mut keepers = 0;
    for _ in 0..rounds {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        // At no moment that the service knows: also while it is still starting.
        let moment = Instant::now() + Duration::from_micros(u64::from(seed >> 16));
        wait_until(PATIENCE, || Instant::now() >= moment);
        let status = until(&socket, "it answers", |_| true);
        let pid = |of: &Value| of.as_i64().unwrap() as i32;
        let (engine, keeper) = (pid(&status["engine"]["pid"]), pid(&status["keeper_pid"]));
        let which = (seed >> 8) % 3;
        let start = Instant::now();
        if which != 1 {
            let _ = kill(Pid::from_raw(engine), Signal::SIGKILL);
        }
        if which != 0 {
            kill(Pid::from_raw(keeper), Signal::SIGKILL).unwrap();
            keepers += 1;
            supervisor.start_again();
        }
        until(&socket, "it is there again", |status| {
            pid(&status["engine"]["pid"]) != engine
                && (which == 0 || pid(&status["keeper_pid"]) != keeper)
        });
        away.push(start.elapsed());
    }
    away.sort();
    (away, keepers)
}

fn tell(away: &[Duration], keepers: usize) {
    let at = |percent: usize| away[(away.len() - 1) * percent / 100];
    let late = away
        .iter()
        .filter(|took| **took > Duration::from_millis(200));
    println!(
        "{} kills, {keepers} of them of the keeper: away for {:?} (median), {:?} (90 %), {:?} (longest); {} for more than 200 ms",
        away.len(),
        at(50),
        at(90),
        at(100),
        late.count()
    );
}

fn random_kills_lose_nothing() -> Outcome {
    let (a, b) = pair();
    let mut ours = Ours::start(b);
    let socket = ours.socket();
    until(&socket, "it answers", |_| true);
    let (sent, stop) = (AtomicU64::new(0), AtomicBool::new(false));
    let mut from = 0;
    std::thread::scope(|scope| {
        scope.spawn(|| a.run(|| send(TO, 20_000, &sent, &stop)));
        let _stop = StopOnDrop(&stop);
        let (away, keepers) = kill_at_random(&mut ours, kills());
        tell(&away, keepers);
        from = sent.load(Ordering::Acquire);
        wait_until(PATIENCE, || sent.load(Ordering::Acquire) > from + 2_000);
    });
    let total = sent.load(Ordering::Acquire);
    let status = until(&socket, "all taken in", settled);
    let kept = numbers(&socket, Path::new(env!("CARGO_BIN_EXE_netsonde")));
    assert!(kept.is_sorted_by(|one, next| one < next), "none twice");
    // History begins with the last keeper, and from there on it is whole.
    let expected = (from..total).count() as u64;
    let since = kept.iter().filter(|number| **number >= from).count() as u64;
    assert_eq!(since + drops(&status), expected, "{}", status["gaps"]);
    Ok(())
}

/// A network for the service that systemd has started.
fn network() -> (Host, Host) {
    let (a, b) = (Host::new("a").unwrap(), Host::here("b").unwrap());
    lab::veth(&a, "e0", &b, "t0").unwrap();
    a.address("e0", "10.0.0.1/24").unwrap();
    b.address("t0", "10.0.0.2/24").unwrap();
    (a, b)
}

fn systemctl(arguments: &[&str]) {
    let output = Command::new("systemctl").args(arguments).output().unwrap();
    let printed = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "systemctl {arguments:?}: {printed}"
    );
}

/// Begins with a large and empty record.
fn begin_anew() -> Value {
    std::fs::create_dir_all("/etc/netsonde").unwrap();
    std::fs::write(netsonde_core::config::PATH, LARGE).unwrap();
    systemctl(&["stop", "netsonded.service"]);
    systemctl(&["start", "netsonded.service"]);
    let status = until(&Systemd.socket(), "it answers", |_| true);
    assert_eq!(entry(&status["recorder"], "store", "bulk")["recorded"], 0);
    status
}

/// Every number from 0 on, once, or declared.
fn assert_whole(total: u64) {
    let socket = Systemd.socket();
    let status = until(&socket, "all taken in", settled);
    let kept = numbers(&socket, Path::new("/usr/bin/netsonde"));
    assert!(kept.is_sorted_by(|one, next| one < next), "none twice");
    println!(
        "{total} sent, {} kept, {} dropped by the rings",
        kept.len(),
        drops(&status)
    );
    assert_eq!(
        kept.len() as u64 + drops(&status),
        total,
        "{}",
        status["gaps"]
    );
    assert_eq!(gaps(&status, "recorder_reset"), 0, "{}", status["gaps"]);
}

const PACKETS: u64 = 600_000;
const RESTARTS: usize = 3;

fn restarts_under_load_lose_nothing() -> Outcome {
    let (a, b) = network();
    let before = begin_anew();
    let mac = b.mac("t0")?;
    let ends = (Ipv4Addr::new(10, 0, 0, 1), TO);
    std::thread::scope(|scope| -> Outcome {
        let sender = scope.spawn(|| {
            a.run(|| traffic::numbered_frames("e0", mac, ends, PACKETS, 18, Some(100_000)))
        });
        let socket = Systemd.socket();
        for round in 1..=RESTARTS {
            let so_far = PACKETS * round as u64 / (RESTARTS as u64 + 2);
            until(&socket, "packets come", |status| {
                number(&entry(&status["recorder"], "store", "bulk")["recorded"]) >= so_far
            });
            let start = Instant::now();
            systemctl(&["restart", "netsonded.service"]);
            println!("restarted in {:?}", start.elapsed());
        }
        let sent = sender.join().unwrap()?;
        println!("{} packets at {:.0} a second", sent.packets, sent.rate());
        Ok(())
    })?;
    let status = until(&Systemd.socket(), "all taken in", settled);
    assert_ne!(status["keeper_pid"], before["keeper_pid"]);
    assert_eq!(drops(&status), 0, "the rings bridge a restart");
    assert_whole(PACKETS);
    b.delete("t0")?;
    Ok(())
}

fn random_kills_with_systemd_lose_nothing() -> Outcome {
    let (a, b) = network();
    begin_anew();
    let (sent, stop) = (AtomicU64::new(0), AtomicBool::new(false));
    std::thread::scope(|scope| {
        scope.spawn(|| a.run(|| send(TO, 20_000, &sent, &stop)));
        let _stop = StopOnDrop(&stop);
        let (away, keepers) = kill_at_random(&mut Systemd, kills());
        tell(&away, keepers);
    });
    assert_whole(sent.load(Ordering::Acquire));
    b.delete("t0")?;
    Ok(())
}

/// Other rings: the history stays, and what the old ones still held is declared. Another record: it begins
/// anew, and says so.
fn overflow_is_declared() -> Outcome {
    let (a, b) = network();
    begin_anew();
    let socket = Systemd.socket();
    let (sent, stop) = (AtomicU64::new(0), AtomicBool::new(false));
    std::thread::scope(|scope| {
        scope.spawn(|| a.run(|| send(TO, 20_000, &sent, &stop)));
        let _stop = StopOnDrop(&stop);
        wait_until(PATIENCE, || sent.load(Ordering::Acquire) > 5_000);
        let config = format!("{LARGE}[rings]\nbulk = \"16 MiB\"\n");
        std::fs::write(netsonde_core::config::PATH, config).unwrap();
        systemctl(&["restart", "netsonded.service"]);
        let from = sent.load(Ordering::Acquire);
        wait_until(PATIENCE, || sent.load(Ordering::Acquire) > from + 5_000);
    });
    let total = sent.load(Ordering::Acquire);
    let status = until(&socket, "all taken in", settled);
    assert_eq!(
        entry(&status["rings"], "name", "bulk")["capacity_bytes"],
        16 << 20
    );
    let kept = numbers(&socket, Path::new("/usr/bin/netsonde"));
    assert!(kept.is_sorted_by(|one, next| one < next), "none twice");
    assert_eq!(kept.first(), Some(&0), "history from before");
    let declared: u64 = status["gaps"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|gap| gap["kind"] == "engine_restart")
        .map(|gap| number(&gap["count"]))
        .sum();
    let missing = total - kept.len() as u64;
    println!("{total} sent, {missing} missing, {declared} declared with other rings");
    // Both rings counted what came between opening the one and closing the other.
    assert!(declared >= missing, "{}", status["gaps"]);
    assert_eq!(gaps(&status, "recorder_reset"), 0);
    std::fs::write(
        netsonde_core::config::PATH,
        "[recorder.budget]\nbulk = \"8 MiB\"\n",
    )?;
    systemctl(&["restart", "netsonded.service"]);
    let status = until(&socket, "it answers", |_| true);
    assert_eq!(gaps(&status, "recorder_reset"), 1, "{}", status["gaps"]);
    b.delete("t0")?;
    Ok(())
}
