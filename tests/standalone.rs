//! The private service of `--standalone`: its history, with and without a directory that outlives the command, and
//! that nothing of it is left behind, in whatever way the command ends.
//!
//! ```text
//!   a  e0 10.0.0.1 ---------- 10.0.0.2 e0  b, the client with its service
//! ```
#![allow(missing_docs, clippy::unwrap_used)]

#[path = "support/monitored.rs"]
mod monitored;
mod support;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Output, Stdio};

use netsonde::lab::{Host, Running, wait_until};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use support::{PATIENCE, Test, pair};

type Outcome = Result<(), Box<dyn std::error::Error>>;

fn main() -> ExitCode {
    support::main(&[
        ("it_has_a_history", it_has_a_history as Test),
        ("nothing_is_left_behind", nothing_is_left_behind),
        ("it_works_without_a_historian", it_works_without_a_historian),
        (
            "the_demo_has_an_outage_and_ends_with_all",
            the_demo_has_an_outage_and_ends_with_all,
        ),
    ])
}

fn command(program: &Path, temporary: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(program);
    command
        .arg("--standalone")
        .args(arguments)
        .env("TMPDIR", temporary)
        // That of another service.
        .env("NETSONDE_HISTORY_SOCKET", "/nonexistent/history.sock")
        .stdin(Stdio::null());
    command
}

fn netsonde() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_netsonde"))
}

fn ask(host: &Host, temporary: &Path, arguments: &[&str]) -> Output {
    let mut command = command(netsonde(), temporary, arguments);
    host.run(|| command.output()).unwrap()
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn printed(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Starts a command that lasts, and returns its control socket when both services answer.
fn begin(host: &Host, temporary: &Path, arguments: &[&str]) -> (Running, PathBuf) {
    let mut command = command(netsonde(), temporary, arguments);
    let running = host.spawn(command.stdout(Stdio::null())).unwrap();
    let control = || {
        let mut all = std::fs::read_dir(temporary).unwrap().flatten();
        Some(all.next()?.path().join("control.sock"))
    };
    let answers = || {
        control().is_some_and(|control| {
            monitored::call(&control, "Status", &serde_json::json!({})).is_ok()
        })
    };
    assert!(wait_until(PATIENCE, answers));
    (running, control().unwrap())
}

/// Number of processes whose command line names something in a directory.
fn processes(directory: &Path) -> usize {
    let all = std::fs::read_dir("/proc").unwrap().flatten();
    let lines = all.filter_map(|process| std::fs::read(process.path().join("cmdline")).ok());
    let wanted = directory.to_str().unwrap().as_bytes();
    lines
        .filter(|line| line.windows(wanted.len()).any(|part| part == wanted))
        .count()
}

fn it_has_a_history() -> Outcome {
    let (_a, b) = pair();
    let folder = support::folder()?;
    let (temporary, state) = (folder.path().join("tmp"), folder.path().join("state"));
    std::fs::create_dir(&temporary)?;
    // Without a directory there is one for each command.
    let output = ask(&b, &temporary, &["outages"]);
    assert_eq!(output.status.code(), Some(0), "{}", printed(&output));
    assert!(printed(&output).contains("no outage"));
    let add = ["monitor", "add", "gone", "10.0.0.77", "-i", "0.1"];
    let output = ask(&b, &temporary, &add);
    assert_eq!(output.status.code(), Some(0), "{}", printed(&output));
    assert!(printed(&output).contains("--state DIR keeps it"));
    let output = ask(&b, &temporary, &["monitor", "list"]);
    assert!(
        printed(&output).contains("no monitor"),
        "{}",
        printed(&output)
    );
    let output = ask(&b, &temporary, &["status"]);
    assert!(
        text(&output).contains("netsonde-historian "),
        "{}",
        text(&output)
    );
    // With one, each command finds what the former ones left.
    let kept = ["--state", state.to_str().unwrap()];
    let output = ask(&b, &temporary, &[&kept[..], &add].concat());
    assert_eq!(output.status.code(), Some(0), "{}", printed(&output));
    assert!(
        !printed(&output).contains("--state"),
        "{}",
        printed(&output)
    );
    let (mut running, control) = begin(&b, &temporary, &[&kept[..], &["watch"]].concat());
    monitored::until_outage(&control, "10.0.0.77");
    // Another one at a time has no history, and says why; all else works.
    let output = ask(
        &b,
        &temporary,
        &[&kept[..], &["watch", "--last", "1m"]].concat(),
    );
    assert_ne!(output.status.code(), Some(2), "{}", printed(&output));
    assert!(
        printed(&output).contains("no history: "),
        "{}",
        printed(&output)
    );
    kill(Pid::from_raw(running.child().id() as i32), Signal::SIGTERM)?;
    running.child().wait()?;
    let output = ask(&b, &temporary, &[&kept[..], &["outages"]].concat());
    assert!(text(&output).contains("10.0.0.77"), "{}", text(&output));
    let since = [
        "watch",
        "--last",
        "1h",
        "--proto",
        "arp",
        "--direction",
        "out",
    ];
    let output = ask(&b, &temporary, &[&kept[..], &since].concat());
    assert!(
        text(&output).contains("who has 10.0.0.77?"),
        "{}{}",
        text(&output),
        printed(&output)
    );
    assert_eq!(std::fs::read_dir(&temporary)?.count(), 0);
    // An option that has no effect is refused.
    let output = Command::new(netsonde()).args(kept).arg("status").output()?;
    assert_eq!(output.status.code(), Some(2));
    assert!(printed(&output).contains("--state needs --standalone"));
    Ok(())
}

fn nothing_is_left_behind() -> Outcome {
    let (_a, b) = pair();
    let folder = support::folder()?;
    let is_clean = || {
        let is_empty = std::fs::read_dir(folder.path()).unwrap().next().is_none();
        is_empty && processes(folder.path()) == 0
    };
    for signal in [
        Signal::SIGINT,
        Signal::SIGTERM,
        Signal::SIGHUP,
        Signal::SIGKILL,
    ] {
        let (mut running, _) = begin(&b, folder.path(), &["watch"]);
        assert!(processes(folder.path()) >= 3);
        kill(Pid::from_raw(running.child().id() as i32), signal)?;
        running.child().wait()?;
        assert!(wait_until(PATIENCE, is_clean), "{signal}");
    }
    // Nor is anything removed that was not made for it.
    let precious = support::folder()?;
    std::fs::write(precious.path().join("file"), "content")?;
    let output = Command::new(netsonde())
        .arg("--guard-of-a-private-service")
        .args([precious.path(), precious.path()])
        .output()?;
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(std::fs::read(precious.path().join("file"))?, b"content");
    // Without a signal all is gone when the command has ended.
    let output = ask(&b, folder.path(), &["status"]);
    assert!(output.status.success() && is_clean());
    // At any moment, also before it is ready.
    for delay_ms in [0, 3, 10, 20, 30, 50, 70, 100, 150] {
        let mut command = command(netsonde(), folder.path(), &["status"]);
        let mut running = b.spawn(command.stdout(Stdio::null()))?;
        assert!(wait_until(PATIENCE, || processes(folder.path()) > 0));
        std::thread::sleep(std::time::Duration::from_millis(delay_ms));
        let _ = running.child().kill();
        running.child().wait()?;
        assert!(wait_until(PATIENCE, is_clean), "{delay_ms} ms");
    }
    Ok(())
}

fn the_demo_has_an_outage_and_ends_with_all() -> Outcome {
    let folder = support::folder()?;
    let demo = |arguments: &[&str]| {
        let mut command = Command::new(netsonde());
        command
            .arg("demo")
            .args(arguments)
            .env("TMPDIR", folder.path())
            .stdin(Stdio::null());
        command
    };
    let output = demo(&["outage"]).output()?;
    let text = text(&output);
    assert_eq!(output.status.code(), Some(0), "{text}{}", printed(&output));
    let mut lines = text.lines();
    let listed = lines.any(|line| line.starts_with("     1  ") && line.contains("10.9.0.9"));
    assert!(listed && text.contains("-> as expected"), "{text}");
    assert_eq!(processes(folder.path()), 0);
    // Killed in the middle, it leaves nothing either.
    let mut running = demo(&[]).stdout(Stdio::null()).spawn()?;
    assert!(wait_until(PATIENCE, || processes(folder.path()) >= 3));
    running.kill()?;
    running.wait()?;
    let is_clean = || {
        let is_empty = std::fs::read_dir(folder.path()).unwrap().next().is_none();
        is_empty && processes(folder.path()) == 0
    };
    assert!(wait_until(PATIENCE, is_clean));
    Ok(())
}

fn it_works_without_a_historian() -> Outcome {
    let (_a, b) = pair();
    let folder = support::folder()?;
    let (programs, temporary) = (folder.path().join("bin"), folder.path().join("tmp"));
    std::fs::create_dir(&programs)?;
    std::fs::create_dir(&temporary)?;
    for program in [netsonde(), Path::new(env!("CARGO_BIN_EXE_netsonded"))] {
        std::fs::copy(program, programs.join(program.file_name().unwrap()))?;
    }
    let run = |arguments: &[&str]| {
        let mut command = command(&programs.join("netsonde"), &temporary, arguments);
        command.env("PATH", &programs);
        b.run(|| command.output()).unwrap()
    };
    let words = "netsonde: no history: cannot start netsonde-historian: No such file or directory: \
                 install it beside netsonde\n";
    let output = run(&["watch", "--last", "1m", "--proto", "igmp"]);
    assert_ne!(output.status.code(), Some(2), "{}", printed(&output));
    assert!(printed(&output).contains(words), "{}", printed(&output));
    let output = run(&["outages"]);
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(printed(&output), words);
    let output = run(&["interfaces"]);
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(printed(&output), "");
    // Without netsonded there is nothing.
    std::fs::remove_file(programs.join("netsonded"))?;
    let output = run(&["interfaces"]);
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(
        printed(&output),
        "netsonde: the private service did not start: cannot start netsonded: No such file or directory: \
         install it beside netsonde\n"
    );
    assert_eq!(std::fs::read_dir(&temporary)?.count(), 0);
    Ok(())
}
