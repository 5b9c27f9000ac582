//! A service that lies: a proxy between client and service puts escape sequences, marks of the direction of
//! writing and line feeds into each string of real replies. Nothing of it reaches a terminal, for every command,
//! as text and as JSON, and in errors.
//!
//! ```text
//!   a  e0 10.0.0.1 ---------- 10.0.0.2 e0  b, netsonded, proxy, netsonde
//! ```
#![allow(missing_docs, clippy::unwrap_used)]

mod support;

use std::collections::BTreeSet;
use std::io::{IoSlice, IoSliceMut, Write};
use std::net::UdpSocket;
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{ExitCode, Output};
use std::sync::{Arc, Mutex};

use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, recvmsg, sendmsg};
use serde_json::{Value, json};
use support::{Service, Test, client, pair};

type Outcome = Result<(), Box<dyn std::error::Error>>;

fn main() -> ExitCode {
    support::main(&[
        (
            "strings_of_replies_are_escaped",
            strings_of_replies_are_escaped as Test,
        ),
        ("errors_are_escaped", errors_are_escaped),
        (
            "comments_of_files_are_escaped",
            comments_of_files_are_escaped,
        ),
    ])
}

/// Start of a line that nobody wrote.
const LINE: &str = "FORGED";

/// A string that would color, clear, reorder, and add a line.
fn evil(text: &str) -> String {
    format!("{text}\u{1b}[31m\u{9b}2J\u{202e}\r\n{LINE}\u{7f}\u{200b}")
}

/// What the proxy does to replies.
#[derive(Clone, Default)]
enum Lie {
    /// Nothing, but notes the keys of all strings.
    #[default]
    None,
    /// Changes every string.
    All,
    /// Changes the strings below a key.
    Below(String),
    /// Answers with an error.
    Error(Value),
}

#[derive(Default)]
struct State {
    lie: Lie,
    keys: BTreeSet<String>,
}

/// The proxy, at a socket of its own.
struct Proxy {
    path: PathBuf,
    state: Arc<Mutex<State>>,
}

impl Proxy {
    fn start(service: &Service) -> Proxy {
        let path = service.directory.path().join("proxy.sock");
        let listener = UnixListener::bind(&path).unwrap();
        let (to, state) = (service.socket(), Arc::<Mutex<State>>::default());
        let shared = state.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (to, state) = (to.clone(), shared.clone());
                std::thread::spawn(move || relay(&stream, &to, &state));
            }
        });
        Proxy { path, state }
    }

    fn run(&self, lie: Lie, arguments: &[&str]) -> Output {
        self.state.lock().unwrap().lie = lie;
        client(&self.path, arguments)
    }
}

fn relay(client: &UnixStream, to: &Path, state: &Mutex<State>) {
    let service = UnixStream::connect(to).unwrap();
    let (mut requests, mut forward) = (client.try_clone().unwrap(), service.try_clone().unwrap());
    std::thread::spawn(move || {
        let _ = std::io::copy(&mut requests, &mut forward);
        let _ = forward.shutdown(std::net::Shutdown::Write);
    });
    let mut pending = Vec::new();
    let mut room = vec![0; 1 << 16];
    loop {
        let mut control = nix::cmsg_space!([RawFd; 4]);
        let mut data = [IoSliceMut::new(&mut room)];
        let flags = MsgFlags::MSG_CMSG_CLOEXEC;
        let Ok(message) = recvmsg::<()>(service.as_raw_fd(), &mut data, Some(&mut control), flags)
        else {
            return;
        };
        let passed: Vec<RawFd> = message
            .cmsgs()
            .unwrap()
            .filter_map(|item| match item {
                ControlMessageOwned::ScmRights(raw) => Some(raw),
                _ => None,
            })
            .flatten()
            .collect();
        let length = message.bytes;
        if length == 0 {
            let _ = client.shutdown(std::net::Shutdown::Both);
            return;
        }
        pending.extend_from_slice(&room[..length]);
        let mut changed = Vec::new();
        while let Some(end) = pending.iter().position(|byte| *byte == 0) {
            let reply: Vec<u8> = pending.drain(..=end).collect();
            changed.extend(change(&reply[..end], state));
            changed.push(0);
        }
        let slices = [IoSlice::new(&changed)];
        let rights = [ControlMessage::ScmRights(&passed)];
        let rights = if passed.is_empty() { &[][..] } else { &rights };
        if sendmsg::<()>(
            client.as_raw_fd(),
            &slices,
            rights,
            MsgFlags::MSG_NOSIGNAL,
            None,
        )
        .is_err()
        {
            return;
        }
        for raw in passed {
            let _ = nix::unistd::close(raw);
        }
    }
}

fn change(reply: &[u8], state: &Mutex<State>) -> Vec<u8> {
    let mut value: Value = serde_json::from_slice(reply).unwrap();
    let mut state = state.lock().unwrap();
    match state.lie.clone() {
        Lie::None => note("", &value, &mut state.keys),
        Lie::All => lie(&mut value, true, ""),
        Lie::Below(key) => lie(&mut value, false, &key),
        Lie::Error(error) => value = error,
    }
    value.to_string().into_bytes()
}

fn note(key: &str, value: &Value, keys: &mut BTreeSet<String>) {
    match value {
        Value::String(_) => drop(keys.insert(key.to_owned())),
        Value::Array(all) => all.iter().for_each(|one| note(key, one, keys)),
        Value::Object(all) => all.iter().for_each(|(key, one)| note(key, one, keys)),
        _ => {}
    }
}

fn lie(value: &mut Value, is_meant: bool, wanted: &str) {
    match value {
        Value::String(text) if is_meant => *text = evil(text),
        Value::Array(all) => all.iter_mut().for_each(|one| lie(one, is_meant, wanted)),
        Value::Object(all) => {
            for (key, one) in all {
                lie(one, is_meant || key == wanted, wanted);
            }
        }
        _ => {}
    }
}

/// Returns the raw sequences in the output, with what is around them.
fn raw_sequences(output: &Output) -> Vec<String> {
    let mut found = Vec::new();
    for stream in [&output.stdout, &output.stderr] {
        let text = String::from_utf8(stream.clone()).unwrap();
        let is_raw = |letter: char| {
            (letter.is_control() && letter != '\n') || matches!(letter, '\u{200b}' | '\u{202e}')
        };
        let lines = text
            .lines()
            .filter(|line| line.starts_with(LINE) || line.contains(is_raw));
        found.extend(lines.map(|line| format!("{line:?}")));
    }
    found
}

fn is_json(output: &Output) -> bool {
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    let is = |text: &str| serde_json::from_str::<Value>(text).is_ok();
    is(&text) || text.lines().all(is)
}

/// Commands that ask the service, with something to report.
const COMMANDS: [&[&str]; 17] = [
    &["status"],
    &["status", "-v"],
    &["interfaces"],
    &["interfaces", "-v"],
    &["neighbors"],
    &["neighbors", "-v"],
    &["events"],
    &["events", "-v"],
    &["talkers"],
    &["connections"],
    &["connections", "--names"],
    &["mcast", "groups"],
    &["mcast", "queriers"],
    &["mcast", "streams"],
    &[
        "ping", "-c", "2", "-i", "0.01", "-W", "0.05", "10.0.0.1", "10.0.0.9",
    ],
    &["mcast", "doctor", "--duration", "100ms", "239.1.1.1"],
    &["doctor"],
];

/// Commands with packets, which are real.
const PACKETS: [&[&str]; 3] = [
    &["watch", "--last", "1m", "-c", "3"],
    &["watch", "--last", "1m", "-c", "3", "--host", "10.0.0.77"],
    &["capture", "-w", "/dev/null", "--last", "1m"],
];

fn begin() -> (netsonde::lab::Host, netsonde::lab::Host, Service, Proxy) {
    let (a, b) = pair();
    let service = Service::start(&b, &[]);
    let socket = a.run(|| UdpSocket::bind("10.0.0.1:0")).unwrap();
    for _ in 0..5 {
        let _ = socket.send_to(b"x", "10.0.0.2:5000");
        let _ = socket.send_to(b"\x80x", "239.1.1.1:5000");
    }
    service.ask(&["ping", "-c", "2", "-i", "0.01", "10.0.0.1"]);
    let proxy = Proxy::start(&service);
    (a, b, service, proxy)
}

fn strings_of_replies_are_escaped() -> Outcome {
    let (_a, b, _service, proxy) = begin();
    let mut runs = 0;
    for arguments in COMMANDS.iter().chain(&PACKETS) {
        proxy.state.lock().unwrap().keys.clear();
        let honest = b.run(|| proxy.run(Lie::None, arguments));
        let has_output = !honest.stdout.is_empty() || !honest.stderr.is_empty();
        assert!(has_output, "{arguments:?}: {honest:?}");
        let keys = proxy.state.lock().unwrap().keys.clone();
        assert!(
            !keys.is_empty() || arguments[0] == "capture",
            "{arguments:?}"
        );
        // The doctors take seconds, and read what the other commands do.
        let is_slow = arguments.contains(&"doctor");
        let lies = keys.into_iter().filter(|_| !is_slow).map(Lie::Below);
        for one in lies.chain([Lie::All]) {
            let what = match &one {
                Lie::Below(key) => format!("{arguments:?}, {key}"),
                _ => format!("{arguments:?}, all"),
            };
            let output = b.run(|| proxy.run(one.clone(), arguments));
            assert_eq!(raw_sequences(&output), Vec::<String>::new(), "{what}");
            let as_json: Vec<&str> = ["--json"].iter().chain(*arguments).copied().collect();
            let output = b.run(|| proxy.run(one, &as_json));
            assert_eq!(
                raw_sequences(&output),
                Vec::<String>::new(),
                "{what} as JSON"
            );
            let printed = String::from_utf8_lossy(&output.stdout).into_owned();
            assert!(is_json(&output), "{what}: {printed}");
            runs += 2;
        }
    }
    println!("{runs} runs with lies");
    Ok(())
}

fn errors_are_escaped() -> Outcome {
    let (_a, b, _service, proxy) = begin();
    let names = [
        "org.varlink.service.MethodNotFound",
        "org.varlink.service.InvalidParameter",
        "io.netsonde.Capture.NoSuchInterface",
        "io.netsonde.Capture.BadFilter",
        "io.netsonde.Service.TooManyConnections",
        "io.netsonde.Service.BadRequest",
        "io.netsonde.Service.PermissionDenied",
        "io.netsonde.Service.LimitReached",
        "io.netsonde.Service.Unavailable",
        "io.netsonde.Ping.BadTarget",
        "io.netsonde.Ping.NotPermitted",
        "io.netsonde.Ping.LimitReached",
        "io.netsonde.Ping.NoSuchRun",
        "io.netsonde.Inventory.NoSuchInterface",
    ];
    let mut parameters = json!({ "may": [evil("x")], "tier": evil("probe") });
    for key in [
        "method",
        "parameter",
        "interface",
        "instruction",
        "link_type",
        "reason",
        "scope",
        "limit",
        "most",
        "target",
        "what",
        "run",
    ] {
        parameters[key] = evil(key).into();
    }
    let evil_name = evil("io.netsonde.Unknown");
    for name in names.into_iter().chain([evil_name.as_str()]) {
        let error = json!({ "error": name, "parameters": parameters });
        for arguments in COMMANDS.iter().chain(&PACKETS) {
            // It is asked again for two seconds.
            if name.ends_with("TooManyConnections") && arguments[0] != "status" {
                continue;
            }
            let output = b.run(|| proxy.run(Lie::Error(error.clone()), arguments));
            assert_eq!(
                raw_sequences(&output),
                Vec::<String>::new(),
                "{arguments:?}: {name:?}"
            );
            assert_ne!(output.status.code(), Some(101), "{arguments:?}: {name:?}");
        }
    }
    // Errors about what is no reply at all.
    for reply in [
        json!(evil("x")),
        json!({ "parameters": evil("x") }),
        json!({ evil("x"): 1 }),
    ] {
        for arguments in COMMANDS {
            let output = b.run(|| proxy.run(Lie::Error(reply.clone()), arguments));
            assert_eq!(
                raw_sequences(&output),
                Vec::<String>::new(),
                "{arguments:?}: {reply}"
            );
            assert_ne!(output.status.code(), Some(101), "{arguments:?}: {reply}");
        }
    }
    Ok(())
}

fn comments_of_files_are_escaped() -> Outcome {
    use netsonde_core::recorder::pcapng::{Counts, Writer};
    use netsonde_core::wire::{Checksum, Direction};
    let mut writer = Writer::default();
    writer.section("netsonde", "Linux", &[evil("netsonde: gap")]);
    let number = writer.interface(1, 2048, Some(&evil("e0")), None);
    let frame = [&[0xff; 12][..], &[0x88, 0xb5], evil("x").as_bytes()].concat();
    let length = frame.len() as u32;
    let comments = [evil("x")];
    writer.packet_with(
        number,
        1,
        &frame,
        length,
        Direction::ToUs,
        Checksum::Unknown,
        Counts::default(),
        &comments,
    );
    let folder = support::folder()?;
    let path = folder.path().join("evil.pcapng");
    let mut file = std::fs::File::create(&path)?;
    file.write_all(&writer.buffer)?;
    let path = path.to_str().unwrap();
    let evil_path = folder.path().join(evil("no"));
    for arguments in [
        &["watch", "--read", path][..],
        &["--json", "watch", "--read", path],
        &["watch", "-v", "--read", path],
        &["watch", "--read", evil_path.to_str().unwrap()],
        &[
            "capture",
            "--read",
            path,
            "-w",
            evil_path.join("no").to_str().unwrap(),
        ],
        &["explain", &evil("no")],
        &["--socket", evil_path.to_str().unwrap(), "status"],
        &["ping", &evil("no")],
        &["status", &evil("no")],
        &[&evil("no")],
    ] {
        let output = client(Path::new("/nowhere"), arguments);
        let found: Vec<String> = raw_sequences(&output)
            .into_iter()
            // The lines of a usage error are those of the command line.
            .filter(|line| !line.starts_with(&format!("\"{LINE}")) || line.contains("\\u{1b}"))
            .collect();
        assert_eq!(found, Vec::<String>::new(), "{arguments:?}");
    }
    Ok(())
}
