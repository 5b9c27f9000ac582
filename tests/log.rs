//! The log: what reaches the journal and standard error, and that neither ever holds up the service.
#![allow(missing_docs, clippy::unwrap_used)]

mod support;

use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use netsonde::lab::{self, Host, wait_until};
use netsonde::log::limit::{AUDITS, LINES};
use netsonde::log::line::LINE_BYTES;
use netsonde::log::outlet::Outlet;
use netsonde::log::{Counts, Log};
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::signal::{Signal, kill};
use serde_json::{Value, json};
use support::{PATIENCE, Service, Test, entry, number, pair};

type Outcome = Result<(), Box<dyn std::error::Error>>;

/// What systemd calls it; /run is this test's own.
const JOURNAL: &str = "/run/systemd/journal/socket";

/// What a process in the engine's place panics with.
const PANIC: &str = "NETSONDE_TEST_PANIC";

fn main() -> ExitCode {
    if let Ok(message) = std::env::var(PANIC) {
        netsonde::log::start("engine");
        netsonde::daemon::keeper::privilege::give_up().unwrap();
        netsonde::daemon::engine::sandbox::enter(netsonde_core::config::Violation::Kill).unwrap();
        panic!("{message}");
    }
    // One at a time, since there is one place for a journal.
    support::main_with(
        &[
            (
                "journal_fields_round_trip",
                journal_fields_round_trip as Test,
            ),
            (
                "names_of_interfaces_command_no_terminal",
                names_of_interfaces_command_no_terminal,
            ),
            ("log_lines_are_truncated", log_lines_are_truncated),
            ("log_floods_are_summarized", log_floods_are_summarized),
            ("full_journal_drops_log_lines", full_journal_drops_log_lines),
            ("full_pipe_drops_log_lines", full_pipe_drops_log_lines),
            ("full_socket_drops_log_lines", full_socket_drops_log_lines),
            ("full_disk_drops_log_lines", full_disk_drops_log_lines),
            ("journal_restart_is_survived", journal_restart_is_survived),
            ("service_logs_to_the_journal", service_logs_to_the_journal),
            (
                "service_survives_a_full_journal",
                service_survives_a_full_journal,
            ),
            ("service_survives_a_full_pipe", service_survives_a_full_pipe),
            (
                "panics_in_the_sandbox_are_logged",
                panics_in_the_sandbox_are_logged,
            ),
            ("start_errors_are_escaped", start_errors_are_escaped),
        ],
        1,
    )
}

/// A journal that is read when the test wants to.
struct Journal(UnixDatagram);

impl Journal {
    fn bind(path: &Path) -> Journal {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        let _ = std::fs::remove_file(path);
        let socket = UnixDatagram::bind(path).unwrap();
        socket.set_nonblocking(true).unwrap();
        Journal(socket)
    }

    /// The next datagram, as names and values, read as the journal's protocol says: a line `NAME=value`, or
    /// a line with the name, 64 bits with the length, and that many bytes.
    fn next(&self) -> Option<Vec<(String, String)>> {
        let mut bytes = vec![0; 1 << 18];
        let length = self.0.recv(&mut bytes).ok()?;
        let mut rest = &bytes[..length];
        let mut fields = Vec::new();
        while !rest.is_empty() {
            let end = rest.iter().position(|byte| *byte == b'\n').unwrap();
            let line = std::str::from_utf8(&rest[..end]).unwrap();
            rest = &rest[end + 1..];
            if let Some((name, value)) = line.split_once('=') {
                fields.push((name.to_owned(), value.to_owned()));
            } else {
                let (length, after) = rest.split_at(8);
                let length = u64::from_le_bytes(length.try_into().unwrap()) as usize;
                let value = String::from_utf8(after[..length].to_vec()).unwrap();
                assert_eq!(after[length], b'\n');
                rest = &after[length + 1..];
                fields.push((line.to_owned(), value));
            }
        }
        for (name, _) in &fields {
            let valid = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_';
            assert!(
                name.len() <= 64 && name.chars().all(valid) && !name.starts_with('_'),
                "{name}"
            );
        }
        Some(fields)
    }

    fn all(&self) -> Vec<Vec<(String, String)>> {
        std::iter::from_fn(|| self.next()).collect()
    }

    /// Sends what fits, as others would.
    fn fill(&self, path: &Path) {
        let other = UnixDatagram::unbound().unwrap();
        other.set_nonblocking(true).unwrap();
        while other.send_to(b"MESSAGE=x\n", path).is_ok() {}
    }
}

fn value<'a>(fields: &'a [(String, String)], name: &str) -> &'a str {
    let mut found = fields.iter().filter(|(known, _)| known == name);
    let value = found.next().map_or("", |(_, value)| value);
    assert!(found.next().is_none(), "{name} twice: {fields:?}");
    value
}

/// A log to a journal of the test's own.
fn to_journal() -> (tempfile::TempDir, Journal, Arc<Log>) {
    let directory = support::folder().unwrap();
    let path = directory.path().join("socket");
    let journal = Journal::bind(&path);
    let log = Arc::new(Log::new(Outlet::journal(&path).unwrap(), "engine"));
    (directory, journal, log)
}

fn with(log: &Arc<Log>, what: impl FnOnce()) {
    tracing::subscriber::with_default(log.clone(), what);
}

/// Lines of an audit, of which many are let through.
fn many(log: &Arc<Log>, lines: u32) {
    let long = "x".repeat(3000);
    with(log, || {
        for number in 0..lines {
            tracing::info!(target: "netsonde::audit", number, "many {long}");
        }
    });
}

fn journal_fields_round_trip() -> Outcome {
    let (_directory, journal, log) = to_journal();
    with(&log, || {
        tracing::warn!(
            uid = 1000u32,
            less = -5i64,
            yes = true,
            text = "two words",
            empty = "",
            error = %std::io::Error::from_raw_os_error(2),
            hostile = "\u{1b}[2J\nPRIORITY=0\n\u{202e}",
            audit = "a name of the log's own",
            "said {}",
            "with\nnewline"
        );
        tracing::error!(target: "netsonde::audit", uid = 7u32, "refused");
        tracing::debug!("not of interest");
    });
    let fields = journal.next().unwrap();
    for (name, expected) in [
        ("PRIORITY", "4"),
        ("SYSLOG_IDENTIFIER", "netsonded"),
        ("CODE_FILE", "tests/log.rs"),
        ("NETSONDE_PROCESS", "engine"),
        ("NETSONDE_UID", "1000"),
        ("NETSONDE_LESS", "-5"),
        ("NETSONDE_YES", "true"),
        ("NETSONDE_TEXT", "two words"),
        ("NETSONDE_EMPTY", ""),
        ("NETSONDE_ERROR", "No such file or directory (os error 2)"),
        ("NETSONDE_HOSTILE", "\\u{1b}[2J\\nPRIORITY=0\\n\\u{202e}"),
        ("NETSONDE_AUDIT_", "a name of the log's own"),
        ("NETSONDE_AUDIT", ""),
        (
            "MESSAGE",
            "said with\\nnewline uid=1000 less=-5 yes=true text=\"two words\" empty=\"\" \
             error=\"No such file or directory (os error 2)\" \
             hostile=\"\\u{1b}[2J\\nPRIORITY=0\\n\\u{202e}\" audit=\"a name of the log's own\"",
        ),
    ] {
        assert_eq!(value(&fields, name), expected, "{name}");
    }
    assert!(value(&fields, "CODE_LINE").parse::<u32>()? > 0);
    let audit = journal.next().unwrap();
    assert_eq!(value(&audit, "NETSONDE_AUDIT"), "1");
    assert_eq!(value(&audit, "PRIORITY"), "3");
    assert_eq!(journal.next(), None);
    assert_eq!(log.counts(), Counts::default());
    Ok(())
}

/// The kernel takes ESC in a name of an interface.
fn names_of_interfaces_command_no_terminal() -> Outcome {
    let (a, b) = (Host::new("a")?, Host::new("b")?);
    let name = "e\u{1b}[31m0";
    lab::veth(&a, name, &b, "e0")?;
    let names = a.run(|| {
        let all = nix::net::if_::if_nameindex().unwrap();
        let names = all
            .iter()
            .map(|one| one.name().to_string_lossy().into_owned());
        names.collect::<Vec<_>>()
    });
    assert!(names.iter().any(|known| known == name), "{names:?}");
    let (_directory, journal, to_journal) = to_journal();
    let (reader, writer) = nix::unistd::pipe()?;
    let to_pipe = Arc::new(Log::new(Outlet::stream(writer), "engine"));
    for log in [&to_journal, &to_pipe] {
        with(log, || {
            tracing::info!(interface = name, "{name} came");
        });
    }
    let fields = journal.next().unwrap();
    assert_eq!(value(&fields, "NETSONDE_INTERFACE"), "e\\u{1b}[31m0");
    drop(to_pipe);
    let mut text = String::new();
    std::fs::File::from(reader).read_to_string(&mut text)?;
    assert!(
        text.ends_with(" INFO  engine: e\\u{1b}[31m0 came interface=e\\u{1b}[31m0\n"),
        "{text:?}"
    );
    assert!(!value(&fields, "MESSAGE").contains('\u{1b}'));
    Ok(())
}

fn log_lines_are_truncated() -> Outcome {
    let (_directory, journal, to_journal) = to_journal();
    let (reader, writer) = nix::unistd::pipe()?;
    let to_pipe = Arc::new(Log::new(Outlet::stream(writer), "engine"));
    let long = "\u{1b}".repeat(1 << 20);
    for log in [&to_journal, &to_pipe] {
        with(log, || {
            tracing::error!(long, also = long, "{long}");
        });
        assert_eq!(log.counts(), Counts::default());
    }
    let fields = journal.next().unwrap();
    assert!(value(&fields, "MESSAGE").len() <= LINE_BYTES);
    let of_field = value(&fields, "NETSONDE_LONG");
    assert!(of_field.len() <= 1024 && of_field.ends_with('…'));
    drop(to_pipe);
    let mut text = String::new();
    std::fs::File::from(reader).read_to_string(&mut text)?;
    assert!(text.len() <= LINE_BYTES && text.ends_with('\n'), "{text}");
    assert_eq!(text.lines().count(), 1);
    Ok(())
}

fn log_floods_are_summarized() -> Outcome {
    let (_directory, journal, log) = to_journal();
    const FLOOD: u64 = 5000;
    let mut report = Vec::new();
    with(&log, || {
        for number in 0..FLOOD {
            tracing::info!(number, "flood");
            report.extend(journal.all());
        }
    });
    let alone = report.len();
    with(&log, || tracing::error!("something else"));
    log.end();
    report.extend(journal.all());
    assert!(report.len() > alone + 1 && value(&report[alone], "MESSAGE") == "something else");
    // However long this machine took for it, so that there may have been several windows: each has its
    // lines, and what they do not hold is summed up.
    let printed = |message: &str| {
        let lines = report.iter().map(|fields| value(fields, "MESSAGE"));
        lines.filter(|line| line.starts_with(message)).count() as u64
    };
    let summed_up: u64 = report
        .iter()
        .filter_map(|fields| value(fields, "NETSONDE_HELD_BACK").parse::<u64>().ok())
        .sum();
    assert_eq!(printed("flood number=") + summed_up, FLOOD);
    assert_eq!(
        log.counts(),
        Counts {
            held_back: summed_up,
            lost: 0
        }
    );
    assert!(printed("flood number=") >= LINES.into(), "{report:?}");
    let summary = report
        .iter()
        .map(|fields| value(fields, "MESSAGE"))
        .next_back();
    let end = format!(
        " more of these in the last 10 s, the last: flood number={}",
        FLOOD - 1
    );
    assert!(summary.unwrap().ends_with(&end), "{summary:?}");
    Ok(())
}

fn full_journal_drops_log_lines() -> Outcome {
    let (_directory, journal, log) = to_journal();
    many(&log, AUDITS);
    let lost = log.counts().lost;
    let there = journal.all();
    assert!(lost > 0, "{} lines fit", there.len());
    assert_eq!(there.len() as u64 + lost, u64::from(AUDITS));
    with(&log, || tracing::info!("after"));
    let next = journal.next().unwrap();
    let expected = format!("after ({lost} log lines before this were lost)");
    assert_eq!(value(&next, "MESSAGE"), expected);
    assert_eq!(value(&next, "NETSONDE_LOST"), lost.to_string());
    // It is told once.
    with(&log, || tracing::info!("later"));
    assert_eq!(value(&journal.next().unwrap(), "MESSAGE"), "later");
    assert_eq!(log.counts().lost, lost);
    Ok(())
}

/// Reads what is there.
fn drain(reader: impl AsFd) -> String {
    let mut all = Vec::new();
    let mut bytes = [0; 4096];
    while let Ok(length @ 1..) = nix::unistd::read(&reader, &mut bytes) {
        all.extend_from_slice(&bytes[..length]);
    }
    String::from_utf8(all).unwrap()
}

fn set_nonblocking(of: impl AsFd, on: bool) {
    let flags = OFlag::from_bits_retain(fcntl(&of, FcntlArg::F_GETFL).unwrap());
    let mut wanted = flags;
    wanted.set(OFlag::O_NONBLOCK, on);
    fcntl(&of, FcntlArg::F_SETFL(wanted)).unwrap();
}

fn is_nonblocking(of: impl AsFd) -> bool {
    let flags = fcntl(&of, FcntlArg::F_GETFL).unwrap();
    OFlag::from_bits_retain(flags).contains(OFlag::O_NONBLOCK)
}

fn full_pipe_drops_log_lines() -> Outcome {
    let (reader, writer) = nix::unistd::pipe()?;
    set_nonblocking(&reader, true);
    let log = Arc::new(Log::new(Outlet::stream(&writer), "keeper"));
    many(&log, AUDITS);
    let lost = log.counts().lost;
    let there = drain(&reader);
    assert!(lost > 0, "{} bytes fit", there.len());
    assert_eq!(there.lines().count() as u64 + lost, u64::from(AUDITS));
    for line in there.lines() {
        assert!(
            line.contains(" INFO  keeper audit: many x") && line.contains("x number="),
            "{line}"
        );
    }
    // Once a second the log looks whether it can go on, also if nothing else happens.
    log.sum_up();
    let next = drain(&reader);
    let expected = format!("logging resumed ({lost} log lines before this were lost)\n");
    assert!(next.ends_with(&expected), "{next}");
    assert!(!is_nonblocking(&writer), "others share it");
    drop(reader);
    // Nobody reads any more: no signal, no error, one line more that is lost.
    with(&log, || tracing::info!("into the void"));
    assert_eq!(log.counts().lost, lost + 1);
    Ok(())
}

fn full_socket_drops_log_lines() -> Outcome {
    let (reader, writer) = UnixStream::pair()?;
    reader.set_nonblocking(true)?;
    let log = Arc::new(Log::new(Outlet::stream(&writer), "keeper"));
    many(&log, AUDITS);
    let there = drain(&reader);
    assert!(log.counts().lost > 0, "{} bytes fit", there.len());
    with(&log, || tracing::info!("after"));
    let next = drain(&reader);
    let line = next.lines().last().unwrap();
    assert!(line.contains(" INFO  keeper: after ("), "{next}");
    assert!(line.starts_with("20"), "begins with its time: {next}");
    assert!(!is_nonblocking(&writer), "others share it");
    Ok(())
}

/// A disk may take a part of a line, and the next line must not go on in it.
fn full_disk_drops_log_lines() -> Outcome {
    let directory = support::folder()?;
    let (tmpfs, none) = (Some("tmpfs"), nix::mount::MsFlags::empty());
    let size = Some("size=64k");
    nix::mount::mount(tmpfs, directory.path(), tmpfs, none, size)?;
    let path = directory.path().join("log");
    let file = std::fs::File::create(&path)?;
    let log = Arc::new(Log::new(Outlet::stream(&file), "keeper"));
    many(&log, AUDITS);
    assert!(log.counts().lost > 0);
    let there = std::fs::read_to_string(&path)?;
    assert!(!there.ends_with('\n'), "the last line is whole: {there}");
    // As log rotation does it.
    file.set_len(0)?;
    with(&log, || tracing::info!("after"));
    let next = std::fs::read_to_string(&path)?;
    let line = next.lines().last().unwrap();
    assert!(
        line.starts_with("20") && line.contains(" keeper: after ("),
        "{next:?}"
    );
    drop((file, log));
    nix::mount::umount(directory.path())?;
    Ok(())
}

fn journal_restart_is_survived() -> Outcome {
    let (directory, journal, log) = to_journal();
    with(&log, || tracing::info!("before"));
    assert!(journal.next().is_some());
    drop(journal);
    with(&log, || tracing::info!("meanwhile"));
    assert_eq!(log.counts().lost, 1);
    let journal = Journal::bind(&directory.path().join("socket"));
    with(&log, || tracing::info!("after"));
    let next = journal.next().unwrap();
    assert_eq!(
        value(&next, "MESSAGE"),
        "after (1 log lines before this were lost)"
    );
    Ok(())
}

/// A service whose standard error is said to be the journal's.
fn with_journal(host: &Host, config: &str) -> Service {
    Service::prepared(host, config, &[], |command, log| {
        let stat = std::fs::metadata(log).unwrap();
        command.env("JOURNAL_STREAM", format!("{}:{}", stat.dev(), stat.ino()));
    })
}

fn log_limit(status: &Value) -> u64 {
    let limit = entry(&status["limits"], "name", "log lines");
    assert_eq!(limit["limit"], LINES);
    number(&limit["hits"])
}

/// Asks for packets with a filter's text as a client may send it.
fn ask_with_filter(service: &Service, text: &str) -> Outcome {
    let mut stream = UnixStream::connect(service.socket())?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let call = json!({ "method": "io.netsonde.Capture.Capture",
        "parameters": { "selection": { "filter": text } } });
    let mut bytes = serde_json::to_vec(&call)?;
    bytes.push(0);
    stream.write_all(&bytes)?;
    // An answer came: so the line was logged, which comes first.
    assert_eq!(stream.read(&mut [0])?, 1);
    Ok(())
}

fn service_logs_to_the_journal() -> Outcome {
    let journal = Journal::bind(Path::new(JOURNAL));
    let (a, b) = (Host::new("a")?, Host::new("b")?);
    lab::veth(&a, "e\u{1b}[31m0", &b, "e0")?;
    a.address("e\u{1b}[31m0", "10.0.0.1/24")?;
    b.address("e0", "10.0.0.2/24")?;
    // What waits for this test to read must not be lost, so the journal is read all the time.
    let reader = journal.0.try_clone()?;
    let (stop, stopped) = std::sync::mpsc::channel::<()>();
    let reading = std::thread::spawn(move || {
        let journal = Journal(reader);
        let mut all = Vec::new();
        while stopped.try_recv() == Err(std::sync::mpsc::TryRecvError::Empty) {
            all.extend(journal.next());
            std::thread::yield_now();
        }
        all.extend(journal.all());
        all
    });
    let service = with_journal(&a, "");
    ask_with_filter(&service, "host \u{1b}]0;x\u{7} or\nPRIORITY=0\u{202e}")?;
    let mut asked = 1;
    let status = loop {
        ask_with_filter(&service, "again")?;
        asked += 1;
        let status = service.status();
        if log_limit(&status) > 0 {
            break status;
        }
        assert!(asked < 10_000, "{:#}", status["limits"]);
    };
    let (keeper, engine) = (
        status["keeper_pid"].to_string(),
        status["engine"]["pid"].to_string(),
    );
    assert_ne!(keeper, engine);
    let on_stderr = service.log();
    service.stop();
    drop(stop);
    let all = reading.join().unwrap();
    let find = |message: &str| {
        let found = all
            .iter()
            .find(|fields| value(fields, "MESSAGE").starts_with(message));
        found.unwrap_or_else(|| panic!("no {message}: {all:#?}"))
    };
    assert_eq!(value(find("engine started"), "NETSONDE_PROCESS"), "keeper");
    assert_eq!(value(find("engine started"), "NETSONDE_PID"), engine);
    // Told by the engine from within its sandbox.
    assert_eq!(value(find("sandboxed"), "NETSONDE_PROCESS"), "engine");
    assert_eq!(value(find("sandboxed"), "NETSONDE_SECCOMP"), "enforced");
    let first = find("payload exported");
    assert_eq!(
        value(first, "NETSONDE_FILTER"),
        "host \\u{1b}]0;x\\u{7} or\\nPRIORITY=0\\u{202e}"
    );
    assert_eq!(value(first, "PRIORITY"), "6");
    let logged = all
        .iter()
        .filter(|fields| value(fields, "MESSAGE").starts_with("payload exported"));
    let summed_up = all.iter().filter_map(|fields| {
        let more =
            value(fields, "MESSAGE").contains("more of these in the last 10 s, the last: payload");
        more.then(|| value(fields, "NETSONDE_HELD_BACK").parse::<u64>().unwrap())
    });
    assert_eq!(
        logged.count() as u64 + summed_up.sum::<u64>(),
        asked,
        "what is not there is told at the latest when the engine ends: {all:#?}"
    );
    for fields in &all {
        for (name, text) in fields {
            assert!(!text.contains('\u{1b}'), "{name}: {text:?}");
        }
    }
    assert_eq!(on_stderr, "", "all of it is in the journal");
    std::fs::remove_file(JOURNAL)?;
    Ok(())
}

fn service_survives_a_full_journal() -> Outcome {
    let journal = Journal::bind(Path::new(JOURNAL));
    journal.fill(Path::new(JOURNAL));
    let (a, _b) = pair();
    let service = with_journal(&a, "");
    let first = service.engine();
    kill(first, Signal::SIGKILL)?;
    let replaced = |status: &Value| status["engine"]["pid"] != first.as_raw();
    let status = service.until("the engine is replaced", |status| {
        replaced(status) && log_limit(status) > 4
    });
    println!("{} lines lost", log_limit(&status));
    // As soon as the journal reads again, both processes tell what was lost.
    let mut report = Vec::new();
    let both = wait_until(PATIENCE, || {
        report.extend(journal.all());
        ["keeper", "engine"].iter().all(|process| {
            report.iter().any(|fields| {
                value(fields, "NETSONDE_PROCESS") == *process
                    && value(fields, "NETSONDE_LOST")
                        .parse::<u64>()
                        .is_ok_and(|lost| lost > 0)
            })
        })
    });
    assert!(both, "{report:#?}");
    std::fs::remove_file(JOURNAL)?;
    Ok(())
}

fn service_survives_a_full_pipe() -> Outcome {
    let (reader, writer) = nix::unistd::pipe()?;
    set_nonblocking(&writer, true);
    while nix::unistd::write(&writer, &[b'x'; 4096]).is_ok() {}
    while nix::unistd::write(&writer, b"x").is_ok() {}
    set_nonblocking(&writer, false);
    let (a, _b) = pair();
    let ours: OwnedFd = writer.try_clone()?;
    let service = Service::prepared(&a, "", &[], |command, _| {
        command.stderr(writer);
    });
    let first = service.engine();
    kill(first, Signal::SIGKILL)?;
    for _ in 0..50 {
        ask_with_filter(&service, "again")?;
    }
    service.until("the engine is replaced", |status| {
        status["engine"]["pid"] != first.as_raw() && log_limit(status) > 4
    });
    assert!(!is_nonblocking(&ours), "others share it");
    set_nonblocking(&reader, true);
    let mut report = String::new();
    let goes_on = wait_until(PATIENCE, || {
        report.push_str(&drain(&reader));
        report.contains(" keeper: logging resumed (")
            && report.contains(" log lines before this were lost)")
    });
    assert!(goes_on, "{}", &report[report.len().saturating_sub(1000)..]);
    assert_eq!(service.stop(), Some(0));
    Ok(())
}

fn panics_in_the_sandbox_are_logged() -> Outcome {
    let journal = Journal::bind(Path::new(JOURNAL));
    let file = tempfile::NamedTempFile::new()?;
    let stat = file.as_file().metadata()?;
    let status = std::process::Command::new(std::env::current_exe()?)
        .env(PANIC, "at the \u{1b}[31mwire\nPRIORITY=7")
        .env("JOURNAL_STREAM", format!("{}:{}", stat.dev(), stat.ino()))
        .stderr(file.reopen()?)
        .status()?;
    let on_stderr = std::fs::read_to_string(file.path())?;
    // By the panic, and not by a forbidden call.
    assert_eq!(status.code(), Some(101), "{status}: {on_stderr}");
    // Before it there may be a word on a user that this machine has not.
    let fields = loop {
        let fields = journal.next().unwrap();
        if value(&fields, "PRIORITY") == "3" {
            break fields;
        }
    };
    let message = value(&fields, "MESSAGE");
    assert!(
        message.contains("panicked at tests/log.rs")
            && message.ends_with("\\nat the \\u{1b}[31mwire\\nPRIORITY=7"),
        "{message}"
    );
    assert_eq!(on_stderr, "");
    std::fs::remove_file(JOURNAL)?;
    Ok(())
}

/// What is said of a start that fails comes from files and arguments.
fn start_errors_are_escaped() -> Outcome {
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_netsonded"))
        .args(["--config", "/nowhere/\u{1b}[31m\n"])
        .output()?;
    assert_eq!(output.status.code(), Some(2));
    let printed = String::from_utf8(output.stderr)?;
    assert!(
        !printed.contains('\u{1b}') && printed.contains("\\u{1b}"),
        "{printed:?}"
    );
    assert!(printed.starts_with("netsonded: "), "{printed:?}");
    Ok(())
}
