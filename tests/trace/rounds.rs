//! `netsonde trace --continuous` on real kernels: loss, limits and changes as the test made them, for as long as it runs.

use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Instant;

use crate::support::path::{chain, ways};
use crate::support::{Service, Test, inside};
use netsonde::lab::Host;
use serde_json::Value;

type Outcome = Result<(), Box<dyn std::error::Error>>;

pub const TESTS: &[(&str, Test)] = &[
    ("rounds_show_loss_and_limits", rounds_show_loss_and_limits),
    ("rounds_show_changes", rounds_show_changes),
    ("rounds_outlive_the_engine", rounds_outlive_the_engine),
    ("rounds_are_drawn_in_place", rounds_are_drawn_in_place),
    ("rounds_cost_little", rounds_cost_little),
    ("rounds_go_on_and_on", rounds_go_on_and_on),
];

/// A trace that goes on, by its documents.
struct Rounds {
    child: Child,
    lines: std::io::Lines<BufReader<ChildStdout>>,
}

fn rounds(host: &Host, service: &Service, arguments: &[&str]) -> Rounds {
    let mut command = Command::new(env!("CARGO_BIN_EXE_netsonde"));
    command.arg("--socket").arg(service.socket());
    command.args(["--json", "trace", "-n", "--continuous"]);
    command.args(arguments).stdout(Stdio::piped());
    let mut child = host.run(|| command.spawn()).unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    Rounds { child, lines }
}

impl Rounds {
    fn next(&mut self) -> Option<Value> {
        let line = self.lines.next()?.unwrap();
        Some(serde_json::from_str(&line).unwrap())
    }

    /// Reads rounds until a condition holds.
    fn until(&mut self, what: &str, holds: impl Fn(&Value) -> bool) -> Value {
        let start = Instant::now();
        loop {
            let round = self
                .next()
                .unwrap_or_else(|| panic!("{what}: it has ended"));
            if holds(&round) {
                return round;
            }
            assert!(
                start.elapsed() < crate::support::PATIENCE,
                "{what}: {round:#}"
            );
        }
    }

    /// Interrupts it, and returns its exit status with the last document, if there is a further one.
    fn end(mut self) -> (Option<i32>, Option<Value>) {
        let pid = nix::unistd::Pid::from_raw(self.child.id() as i32);
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGINT).unwrap();
        let mut last = None;
        while let Some(round) = self.next() {
            last = Some(round);
        }
        (self.child.wait().unwrap().code(), last)
    }
}

fn states(round: &Value) -> Vec<&str> {
    let hops = round["hops"].as_array().unwrap();
    hops.iter()
        .map(|hop| hop["state"].as_str().unwrap())
        .collect()
}

/// A router that limits its errors misses many answers and loses nothing; a wire that loses three of ten is lossy from
/// there on, for as long as it runs.
fn rounds_show_loss_and_limits() -> Outcome {
    let chain = chain(4, Some(4));
    for (setting, value) in [("icmp_ratelimit", "1000"), ("icmp_ratemask", "6168")] {
        chain.routers[1].sysctl(&format!("net/ipv4/{setting}"), value)?;
    }
    let target = chain.target();
    let count = 100;
    let arguments = ["-c", &count.to_string(), "-i", "0.1", &target];
    let mut all = rounds(&chain.h, &chain.service, &arguments);
    for number in 1..=count {
        let round = all.next().unwrap();
        assert_eq!(round["round"], number);
        assert_eq!(round["drawn"].is_array(), number == 1, "{round}");
        let states = states(&round);
        assert!(!states.contains(&"lossy"), "{round:#}");
        if number == count {
            println!("{round:#}");
            let hop = &round["hops"][1];
            assert!(hop["unanswered_percent"].as_f64() > Some(50.0), "{hop:#}");
            assert_eq!(hop["loss_percent"], 0.0, "{hop:#}");
            assert!(["misses_answers", "now_silent"].contains(&states[1]));
            for at in [0, 2, 3, 4] {
                assert_eq!(states[at], "answers", "{round:#}");
                let rtt = &round["hops"][at]["wire_rtt_ns"];
                let [min, avg, max] = ["min", "avg", "max"].map(|key| rtt[key].as_u64().unwrap());
                assert!(0 < min && min <= avg && avg <= max, "{rtt}");
            }
            assert_eq!(round["hops"][0]["sent"], count);
        }
    }
    assert_eq!(all.end().0, Some(0));
    let mut random = 1u64;
    chain.wires[0].a_to_b(|way| {
        way.drop = Some(Box::new(move |frame| {
            random = random
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            frame.get(12..14) == Some(&[8, 0]) && (random >> 33) % 10 < 3
        }));
    });
    let arguments = ["-c", "200", "-i", "0.1", &target];
    let mut all = rounds(&chain.h, &chain.service, &arguments);
    let last = all.until("200 rounds", |round| round["round"] == 200);
    let loss = |at: usize| last["hops"][at]["loss_percent"].as_f64().unwrap();
    println!("loss: {:?}", (0..5).map(loss).collect::<Vec<_>>());
    assert_eq!((loss(0), loss(1), loss(2)), (0.0, 0.0, 0.0), "{last:#}");
    for at in [3, 4] {
        assert!((18.0..42.0).contains(&loss(at)), "{last:#}");
        assert!(
            ["lossy", "misses_answers"].contains(&states(&last)[at]),
            "{last:#}"
        );
    }
    assert_eq!(states(&last)[3], "lossy");
    assert_eq!(all.end().0, Some(0));
    Ok(())
}

/// A way that changes while it is watched is told with both addresses and the time, once.
fn rounds_show_changes() -> Outcome {
    let ways = ways(2, 1);
    let a = &ways.others[ways.others.len() - 3];
    inside(
        a,
        "ip",
        &["route", "replace", "10.0.2.0/24", "via", "10.1.1.2"],
    );
    let mut all = rounds(&ways.h, &ways.service, &["-i", "0.1", "10.0.2.2"]);
    let before = all.until("ten rounds", |round| round["round"] == 10);
    assert_eq!(before["hops"][1]["address"], "10.1.1.2");
    assert_eq!(before["changes"], serde_json::json!([]), "{before:#}");
    let from = jiff::Timestamp::now();
    inside(
        a,
        "ip",
        &["route", "replace", "10.0.2.0/24", "via", "10.2.1.2"],
    );
    let has_changed = |round: &Value| round["change_count"] != 0;
    let after = all.until("the change", has_changed);
    let change = &after["changes"][0];
    println!("{change}");
    assert_eq!(change["text"], "hop 2 changed from 10.1.1.2 to 10.2.1.2");
    assert_eq!(
        (&change["id"], &change["hop"]),
        (&"hop-changed".into(), &2.into())
    );
    let at: jiff::Timestamp = change["time"].as_str().unwrap().parse()?;
    assert!(at >= from && at <= jiff::Timestamp::now(), "{at} {from}");
    let number = after["round"].as_u64().unwrap() + 5;
    let later = all.until("five more", |round| round["round"] == number);
    assert_eq!(later["change_count"], 1, "{later:#}");
    // Now the target is away for a while.
    crate::support::firewall(
        &ways.others[ways.others.len() - 1],
        "prerouting",
        "ip daddr 10.0.2.2 drop",
    );
    let gone = all.until("silence", |round| round["change_count"] == 2);
    assert_eq!(gone["changes"][1]["id"], "target-silent", "{gone:#}");
    assert_eq!(states(&gone)[3], "now_silent", "{gone:#}");
    crate::support::firewall(&ways.others[ways.others.len() - 1], "prerouting", "");
    let back = all.until("its return", |round| round["change_count"] == 3);
    assert_eq!(back["changes"][2]["id"], "target-answers", "{back:#}");
    assert_eq!(all.end().0, Some(0));
    Ok(())
}

/// An engine that dies ends the run, not the trace.
fn rounds_outlive_the_engine() -> Outcome {
    let chain = chain(2, None);
    let mut all = rounds(&chain.h, &chain.service, &["-i", "0.1", &chain.target()]);
    let before = all.until("five rounds", |round| round["round"] == 5);
    assert_eq!(states(&before), ["answers"; 3]);
    nix::sys::signal::kill(chain.service.engine(), nix::sys::signal::Signal::SIGKILL)?;
    let has_resumed = |round: &Value| {
        let changes = round["changes"].as_array().unwrap();
        changes.iter().any(|change| change["id"] == "resumed")
    };
    let after = all.until("another engine", has_resumed);
    println!("{:#}", after["changes"]);
    let sent = after["hops"][2]["sent"].as_u64();
    let later = all.until("answers", |round| round["hops"][2]["sent"].as_u64() > sent);
    assert_eq!(later["hops"][2]["address"], chain.target());
    assert_eq!(all.end().0, Some(0));
    Ok(())
}

/// CPU time of a process so far, in nanoseconds.
fn cpu_ns(pid: i32) -> u64 {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let of_task = |task: std::io::Result<std::fs::DirEntry>| -> u64 {
        let text = std::fs::read_to_string(task.unwrap().path().join("schedstat")).unwrap();
        text.split(' ').next().unwrap().parse().unwrap()
    };
    tasks.map(of_task).sum()
}

/// A round a second over twelve hops takes at most half a percent of a core, client and service together; five times as
/// much without optimization.
fn rounds_cost_little() -> Outcome {
    let mut chain = chain(11, None);
    let mut all = rounds(&chain.h, &chain.service, &[&chain.target()]);
    let pids = [
        all.child.id() as i32,
        chain.service.engine().as_raw(),
        chain.service.keeper().as_raw(),
    ];
    all.until("the first rounds", |round| round["round"] == 3);
    let (before, start) = (pids.map(cpu_ns), Instant::now());
    all.until("ten more", |round| round["round"] == 13);
    let (after, took) = (pids.map(cpu_ns), start.elapsed());
    let each: Vec<f64> = (0..3)
        .map(|at| (after[at] - before[at]) as f64 * 100.0 / took.as_nanos() as f64)
        .collect();
    let percent: f64 = each.iter().sum();
    println!("client, engine, keeper: {each:.3?} % of a core, {percent:.3} % in all");
    assert!(
        percent < if cfg!(debug_assertions) { 2.5 } else { 0.5 },
        "{percent}"
    );
    assert_eq!(all.end().0, Some(0));
    Ok(())
}

/// One run carries more probes than it keeps at a time: 4096.
fn rounds_go_on_and_on() -> Outcome {
    if std::env::var_os("NETSONDE_LONG").is_none() {
        crate::support::skip_here("it takes 40 s: set NETSONDE_LONG=1");
    }
    let chain = chain(11, None);
    let arguments = ["-c", "400", "-i", "0.1", &chain.target()];
    let mut all = rounds(&chain.h, &chain.service, &arguments);
    let mut last = Value::Null;
    for round in 1..=400 {
        last = all.next().unwrap();
        assert_eq!(last["round"], round);
    }
    let sum = |key: &str| -> u64 {
        let hops = last["hops"].as_array().unwrap();
        hops.iter().map(|hop| hop[key].as_u64().unwrap()).sum()
    };
    println!("{} probes, {} answered", sum("sent"), sum("answered"));
    assert_eq!((sum("sent"), sum("answered")), (4800, 4800), "{last:#}");
    assert_eq!(last["changes"], serde_json::json!([]), "{last:#}");
    assert_eq!(all.end().0, Some(0));
    Ok(())
}

fn rounds_are_drawn_in_place() -> Outcome {
    let chain = chain(3, None);
    let client = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_netsonde"));
        command.arg("--socket").arg(chain.service.socket());
        command.args(["trace", "-n", "--continuous"]);
        command.args(arguments).arg(chain.target());
        command
    };
    let shown = chain.h.run(|| {
        crate::support::terminal::shown_raw_until(&mut client(&["-i", "0.1"]), 80, |text| {
            text.contains("12 rounds since")
        })
    })?;
    assert!(shown.matches("\u{1b}[2J").count() == 1, "{shown:?}");
    assert!(shown.matches("\u{1b}[H").count() >= 12, "{shown:?}");
    let mut last = shown.rsplit("\u{1b}[H").next().unwrap().to_owned();
    for sequence in ["\u{1b}[K", "\u{1b}[J", "\u{1b}[1m", "\u{1b}[0m", "\r"] {
        last = last.replace(sequence, "");
    }
    println!("{last}");
    assert!(
        last.lines().all(|line| line.chars().count() <= 80),
        "{last}"
    );
    assert!(last.starts_with("10.4.0.2 over UDP; 1"), "{last}");
    assert_eq!(last.matches("10.4.0.2").count(), 2, "{last}");
    // Without a terminal there is one table, at the end.
    let output = chain.h.run(|| client(&["-c", "3", "-i", "0.1"]).output())?;
    let text = String::from_utf8(output.stdout)?;
    println!("{text}");
    assert_eq!(text.matches("HOP").count(), 1, "{text}");
    assert!(
        text.starts_with("10.4.0.2 over UDP; 3 rounds since"),
        "{text}"
    );
    assert!(!text.contains('\u{1b}'), "{text:?}");
    for (arguments, why) in [
        (&["--flows", "2"][..], "cannot be used with"),
        (&["-W", "60", "-i", "0.1"], "choose a longer -i"),
        (&["-i", "0.01"], "0.1 s to one hour"),
    ] {
        let output = chain.h.run(|| client(arguments).output())?;
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{errors}");
        assert!(errors.contains(why), "{arguments:?}: {errors}");
    }
    Ok(())
}
