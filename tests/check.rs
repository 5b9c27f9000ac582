//! `netsonded --check`: what is said of a configuration file, whatever it is, and that it never hangs.
#![allow(missing_docs, clippy::unwrap_used)]

mod support;

use std::io::Read;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};

use netsonde::lab::{Host, wait_until};
use netsonde_core::config::MAX_FILE_BYTES;
use support::{PATIENCE, Test};

type Outcome = Result<(), Box<dyn std::error::Error>>;

fn main() -> ExitCode {
    support::main(&[
        ("valid_files_are_accepted", valid_files_are_accepted as Test),
        (
            "all_errors_are_reported_at_once",
            all_errors_are_reported_at_once,
        ),
        (
            "configuration_is_checked_without_privilege",
            configuration_is_checked_without_privilege,
        ),
        (
            "special_files_do_not_block_the_check",
            special_files_do_not_block_the_check,
        ),
        ("file_contents_are_escaped", file_contents_are_escaped),
    ])
}

struct Said {
    status: Option<i32>,
    out: String,
    err: String,
}

/// Runs a command that must end by itself.
fn ends(command: &mut Command) -> Said {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let ended = wait_until(PATIENCE, || child.try_wait().unwrap().is_some());
    if !ended {
        child.kill().unwrap();
    }
    let status = child.wait().unwrap();
    assert!(ended, "it hangs: {command:?}");
    let (mut out, mut err) = (String::new(), String::new());
    child.stdout.unwrap().read_to_string(&mut out).unwrap();
    child.stderr.unwrap().read_to_string(&mut err).unwrap();
    Said {
        status: status.code(),
        out,
        err,
    }
}

fn command(path: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_netsonded"));
    command
        .args(["--allow-root", "--check", "--config"])
        .arg(path);
    command
}

fn valid_files_are_accepted() -> Outcome {
    let host = Host::new("a")?;
    let directory = support::folder()?;
    let path = directory.path().join("netsonde.toml");
    std::fs::write(&path, netsonde_core::config::default_file())?;
    let printed = host.run(|| ends(&mut command(&path)));
    assert_eq!(
        (printed.status, printed.err.as_str()),
        (Some(0), ""),
        "{}",
        printed.out
    );
    let first = format!("configuration  {}: valid\n", path.display());
    assert!(printed.out.starts_with(&first), "{}", printed.out);
    Ok(())
}

fn all_errors_are_reported_at_once() -> Outcome {
    let directory = support::folder()?;
    let path = directory.path().join("netsonde.toml");
    std::fs::write(
        &path,
        "[recorder.budget]\nblk = 1\n[ping]\nrate = 0\ntargets = \"all\"\n",
    )?;
    let printed = ends(&mut command(&path));
    assert_eq!(
        (printed.status, printed.out.as_str()),
        (Some(2), ""),
        "{}",
        printed.err
    );
    let file = path.display();
    let expected = [
        format!(
            "netsonded: {file}:2:1: recorder.budget.blk: unknown key; did you mean `recorder.budget.bulk`?"
        ),
        format!("netsonded: {file}:4:8: ping.rate = 0: must be from 1 to 10000000"),
        format!(
            "netsonded: {file}:5:11: ping.targets = \"all\": must be a whole number, like 131072"
        ),
    ];
    assert_eq!(printed.err.lines().collect::<Vec<_>>(), expected);
    // A start says the same.
    let mut start = Command::new(env!("CARGO_BIN_EXE_netsonded"));
    assert_eq!(ends(start.arg("--config").arg(&path)).err, printed.err);
    Ok(())
}

fn configuration_is_checked_without_privilege() -> Outcome {
    let directory = support::folder()?;
    let path = directory.path().join("netsonde.toml");
    let check = || {
        let mut command = support::program("setpriv");
        command
            .args([
                "--bounding-set=-all",
                "--inh-caps=-all",
                "--ambient-caps=-all",
            ])
            .arg(env!("CARGO_BIN_EXE_netsonded"))
            .arg("--check")
            .arg("--config")
            .arg(&path);
        ends(&mut command)
    };
    std::fs::write(&path, "[ping]\nrate = 50000\n")?;
    let printed = check();
    assert_eq!(printed.status, Some(2));
    assert_eq!(
        printed.out,
        format!("configuration  {}: valid\n", path.display())
    );
    assert!(printed.err.contains("CAP_NET_RAW"), "{}", printed.err);
    std::fs::write(&path, "[ping]\nraet = 50000\n")?;
    let printed = check();
    assert_eq!((printed.status, printed.out.as_str()), (Some(2), ""));
    assert!(
        printed.err.contains("`ping.rate`") && !printed.err.contains("CAP_NET_RAW"),
        "{}",
        printed.err
    );
    Ok(())
}

fn special_files_do_not_block_the_check() -> Outcome {
    let directory = support::folder()?;
    let at = |name: &str| directory.path().join(name);
    nix::unistd::mkfifo(&at("fifo"), nix::sys::stat::Mode::S_IRWXU)?;
    std::fs::create_dir(at("directory"))?;
    std::fs::write(at("large"), vec![b'#'; MAX_FILE_BYTES + 1])?;
    // A terabyte that takes no room: what is read is bounded, too.
    std::fs::File::create(at("hole"))?.set_len(1 << 40)?;
    std::fs::write(at("mark"), "\u{feff}[ping]\nrate = 5\n")?;
    std::fs::write(at("latin"), b"[control]\ngroup = \"gr\xfcn\"\n")?;
    std::os::unix::fs::symlink("loop", at("loop"))?;
    std::os::unix::net::UnixListener::bind(at("socket"))?;
    for (path, expected) in [
        (
            at("fifo"),
            "is a FIFO: the configuration must be a regular file",
        ),
        (
            at("directory"),
            "is a directory: the configuration must be a regular file",
        ),
        (
            "/dev/zero".into(),
            "is a character device: the configuration must be a regular file",
        ),
        (at("large"), "more than 1048576 bytes"),
        (at("hole"), "more than 1048576 bytes"),
        (at("mark"), ":1:1: starts with a UTF-8 byte-order mark"),
        (at("latin"), ":2:12: byte 0xfc is not valid UTF-8"),
        (at("missing"), "No such file or directory"),
        (at("loop"), "cannot read"),
        (at("socket"), "cannot read"),
    ] {
        let printed = ends(&mut command(&path));
        assert_eq!(
            (printed.status, printed.out.as_str()),
            (Some(2), ""),
            "{path:?}: {}",
            printed.err
        );
        assert!(printed.err.starts_with("netsonded: "), "{}", printed.err);
        assert!(
            printed.err.contains(&path.display().to_string()),
            "{}",
            printed.err
        );
        assert!(
            printed.err.contains(expected),
            "{expected}: {}",
            printed.err
        );
        assert_eq!(printed.err.lines().count(), 1, "{}", printed.err);
    }
    Ok(())
}

/// The file may be anybody's, and what is said of it is read on root's terminal.
fn file_contents_are_escaped() -> Outcome {
    let directory = support::folder()?;
    let path = directory.path().join("netsonde.toml");
    for text in [
        "\"\\u001b[31m\" = 1\n",
        "[ping]\nrate = \"\u{1b}[31m\"\n",
        "[ping]\nrate = \"\u{202e}\u{9b}31m\"\n",
        "[[recorder.rule]]\nstore = \"\\u001b]0;x\\u0007\"\n",
    ] {
        std::fs::write(&path, text)?;
        let printed = ends(&mut command(&path));
        assert_eq!(printed.status, Some(2));
        let hidden = |c: char| c != '\n' && (c.is_control() || c == '\u{202e}');
        assert!(!printed.err.contains(hidden), "{:?}", printed.err);
    }
    Ok(())
}
