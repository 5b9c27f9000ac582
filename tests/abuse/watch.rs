//! What must hold in every case: nothing ends, others are answered meanwhile, the ledger closes, and afterwards
//! descriptors and memory are what they were.

use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use netsonde::lab::wait_until;
use serde_json::{Value, json};

use crate::support::{PATIENCE, Service, entry, number};
pub use crate::support::{raw_call as call, read_reply as read, send_call as send, settled};

/// Between two questions of the well-behaved client.
const PACE: Duration = Duration::from_millis(20);
/// What an engine may have grown by in KiB: what the allocator keeps of buffers that were needed once.
const GROWN: u64 = 16 * 1024;

/// What a process holds.
#[derive(Clone, Copy, Debug)]
pub struct Held {
    pub pid: u64,
    /// Private memory in KiB.
    pub memory: u64,
    /// Open descriptors; `None`: not for us to see.
    pub descriptors: Option<usize>,
}

pub fn held(pid: u64) -> Held {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let memory = status
        .lines()
        .find_map(|line| line.strip_prefix("RssAnon:"))
        .and_then(|text| text.split_whitespace().next()?.parse().ok());
    let entries = std::fs::read_dir(format!("/proc/{pid}/fd"));
    Held {
        pid,
        memory: memory.unwrap_or(0),
        descriptors: entries.ok().map(Iterator::count),
    }
}

/// CPU time of a process, in clock ticks (a hundredth of a second).
pub fn ticks(pid: u64) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let behind_name = stat.rsplit(')').next().unwrap_or_default();
    let fields: Vec<&str> = behind_name.split_whitespace().collect();
    // utime and stime are fields 14 and 15, and the third is the first behind the name.
    let field = |at: usize| {
        fields
            .get(at - 3)
            .and_then(|text| text.parse().ok())
            .unwrap_or(0u64)
    };
    field(14) + field(15)
}

/// Share of a processor that a process uses while nothing is asked of it, in percent, over one second. A busy
/// machine makes it less, never more.
pub fn idle_cpu(pid: u64) -> u64 {
    let (start, before) = (Instant::now(), ticks(pid));
    std::thread::sleep(Duration::from_secs(1));
    // Ten milliseconds each.
    (ticks(pid) - before) * 1000 / start.elapsed().as_millis() as u64
}

pub fn connect(socket: &Path) -> UnixStream {
    let stream = UnixStream::connect(socket).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// Asks as a client does, which tries again for two seconds where the service is crowded; how long it took.
fn ask(socket: &Path) -> Result<Duration, String> {
    let start = Instant::now();
    let status = json!({ "method": "io.netsonde.Service.Status" });
    loop {
        let answer = UnixStream::connect(socket).and_then(|mut stream| {
            stream.set_read_timeout(Some(PATIENCE))?;
            call(&mut stream, &status)
        });
        match answer {
            Ok(answer) if answer["parameters"]["engine"].is_object() => return Ok(start.elapsed()),
            other if start.elapsed() > PATIENCE => return Err(format!("{other:?}")),
            _ => std::thread::sleep(Duration::from_millis(5)),
        }
    }
}

/// Hits of a limit.
pub fn hits(status: &Value, name: &str) -> u64 {
    number(&entry(&status["limits"], "name", name)["hits"])
}

/// Has everything that passed the rings been taken in?
pub fn sum(list: &Value, key: &str) -> u64 {
    list.as_array()
        .unwrap()
        .iter()
        .map(|one| number(&one[key]))
        .sum()
}

pub fn store(status: &Value, name: &str, key: &str) -> u64 {
    number(&entry(&status["recorder"], "store", name)[key])
}

/// Watches a service while it is abused.
pub struct Watch {
    case: &'static str,
    stop: Arc<AtomicBool>,
    asker: Option<JoinHandle<Result<Vec<Duration>, String>>>,
    answered: Arc<AtomicU64>,
    before: Value,
    keeper: Held,
    engine: Held,
}

impl Watch {
    pub fn begin(case: &'static str, service: &Service) -> Watch {
        // What the first client made it set up is not of the abuse.
        service.status();
        let before = service.until("the asker is gone", |status| {
            number(&status["clients"]["connected"]) == 1
        });
        let keeper = held(number(&before["keeper_pid"]));
        let engine = held(number(&before["engine"]["pid"]));
        let stop = Arc::new(AtomicBool::new(false));
        let answered = Arc::new(AtomicU64::new(0));
        let (stopped, answers) = (stop.clone(), answered.clone());
        let socket: PathBuf = service.socket();
        let asker = std::thread::spawn(move || {
            let mut took = vec![ask(&socket)?];
            while !stopped.load(Ordering::Relaxed) {
                std::thread::sleep(PACE);
                took.push(ask(&socket)?);
                answers.fetch_add(1, Ordering::Relaxed);
            }
            Ok(took)
        });
        Watch {
            case,
            stop,
            asker: Some(asker),
            answered,
            before,
            keeper,
            engine,
        }
    }

    /// What the engine holds now.
    pub fn engine(&self) -> Held {
        held(self.engine.pid)
    }

    /// Answers that the well-behaved client has had so far.
    pub fn answered(&self) -> u64 {
        self.answered.load(Ordering::Relaxed)
    }

    /// How often a limit was hit since the beginning.
    pub fn hits(&self, service: &Service, name: &str) -> u64 {
        hits(&service.status(), name) - hits(&self.before, name)
    }

    /// Waits until a process holds no more descriptors than before, and at most `grown` KiB more memory.
    fn gives_back(&self, who: &str, before: &Held, grown: u64) -> Held {
        let mut after = held(before.pid);
        let back = wait_until(PATIENCE, || {
            after = held(before.pid);
            after.descriptors <= before.descriptors && after.memory <= before.memory + grown
        });
        assert!(
            back,
            "{}: the {who} holds {after:?}, and held {before:?}",
            self.case
        );
        after
    }

    /// The abuse is over: checks all, prints the case's line, and returns the status.
    pub fn end(mut self, service: &Service, figures: &str) -> Value {
        self.stop.store(true, Ordering::Relaxed);
        let asked = self.asker.take().unwrap().join().unwrap();
        let mut took = asked.unwrap_or_else(|why| {
            panic!(
                "{}: status was not answered: {why}\n{}",
                self.case,
                service.log()
            )
        });
        took.sort();
        let status = service.until("the ledger closes", settled);
        for key in ["starts", "pid"] {
            assert_eq!(
                status["engine"][key],
                self.before["engine"][key],
                "{}: an engine ended:\n{}",
                self.case,
                service.log()
            );
        }
        balance(&status);
        let after = self.gives_back("engine", &self.engine, GROWN);
        // The keeper may hold one for a moment, as names of interfaces are asked of a socket.
        self.gives_back("keeper", &self.keeper, 1024);
        assert!(!service.log().contains("panicked"), "{}", service.log());
        let ms = |at: usize| took[at.min(took.len() - 1)].as_secs_f64() * 1e3;
        let shown = |count: Option<usize>| count.map_or("unseen".into(), |count| count.to_string());
        println!(
            "{}: {figures}; status {} times, half within {:.1} ms, 99 % {:.1} ms, longest {:.1} ms; \
             engine {} -> {} KiB, descriptors {} -> {}",
            self.case,
            took.len(),
            ms(took.len() / 2),
            ms(took.len() * 99 / 100),
            ms(took.len() - 1),
            self.engine.memory,
            after.memory,
            shown(self.engine.descriptors),
            shown(after.descriptors),
        );
        status
    }
}

/// What went through the rings is what the stores took in, what was left out as configured, and what is
/// declared as given up.
pub fn balance(status: &Value) {
    let processed = sum(&status["rings"], "processed");
    let seen = sum(&status["recorder"], "seen");
    let skipped = sum(&status["interfaces"], "skipped");
    let given_up: u64 = status["gaps"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|gap| gap["kind"] == "quarantined")
        .map(|gap| number(&gap["count"]))
        .sum();
    assert_eq!(hits(status, "interfaces"), 0);
    assert_eq!(processed, seen + skipped + given_up, "{status:#}");
    for one in status["recorder"].as_array().unwrap() {
        let of = |key: &str| number(&one[key]);
        assert_eq!(of("seen"), of("recorded") + of("thinned"), "{one}");
        assert_eq!(of("recorded"), of("packets") + of("evicted"), "{one}");
        assert!(of("used_bytes") <= of("capacity_bytes"), "{one}");
    }
}
