//! Options that write a file: `capture -w`, `watch -w` and `ping --evidence`. Whatever makes one of them
//! fail, an existing file keeps its bytes; and what is complete replaces it.
//!
//! ```text
//!   a  e0 10.0.0.1 ---------- 10.0.0.2 e0  b, netsonded
//! ```
//!
//! The judges are the bytes of the file, and tcpdump and tshark.
#![allow(missing_docs, clippy::unwrap_used)]
// Where a test fails before it waits for a client, the client ends with its service.
#![allow(clippy::zombie_processes)]

mod support;

use std::fs::{self, File, Permissions};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Output, Stdio};

use netsonde::client::files::capture_file::{CaptureFile, Item};
use netsonde::lab::{Host, traffic, wait_until};
use netsonde_core::recorder::pcapng::Writer;
use netsonde_core::wire::{Checksum, Direction};
use nix::mount::{MsFlags, mount};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, mkfifo};
use support::{PATIENCE, Service, Test, pair};

type Outcome = Result<(), Box<dyn std::error::Error>>;

fn main() -> ExitCode {
    support::main(&[
        (
            "failures_keep_existing_files",
            failures_keep_existing_files as Test,
        ),
        ("inputs_are_not_overwritten", inputs_are_not_overwritten),
        (
            "full_disks_keep_existing_files",
            full_disks_keep_existing_files,
        ),
        (
            "unwritable_directories_are_named",
            unwritable_directories_are_named,
        ),
        (
            "killed_clients_keep_existing_files",
            killed_clients_keep_existing_files,
        ),
        (
            "interrupted_captures_are_complete",
            interrupted_captures_are_complete,
        ),
        (
            "lost_services_keep_existing_files",
            lost_services_keep_existing_files,
        ),
        ("closed_pipes_are_no_failure", closed_pipes_are_no_failure),
        (
            "complete_files_replace_others",
            complete_files_replace_others,
        ),
        (
            "devices_and_pipes_are_written_directly",
            devices_and_pipes_are_written_directly,
        ),
        ("link_types_are_kept", link_types_are_kept),
        ("empty_files_are_accepted", empty_files_are_accepted),
    ])
}

const TO: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(10, 0, 0, 2), 5000);
/// More than a FIFO or a small disk holds: each has some 170 bytes in a file.
const PACKETS: u64 = 1000;
const OLD: &[u8] = b"an older file, which is not to be lost";

/// A network with a service that has recorded packets, and a folder for files.
struct Place {
    /// Keeps the other end of the link.
    a: Host,
    _b: Host,
    service: Service,
    folder: tempfile::TempDir,
}

impl Place {
    fn new() -> Place {
        let (a, b) = pair();
        let service = Service::start(&b, &[]);
        a.run(|| traffic::numbered_udp(TO, PACKETS, 200, Some(20_000)))
            .unwrap();
        let count = PACKETS.to_string();
        let watch = ["watch", "--last", "all", "-c", &count, "--port", "5000"];
        let recorded = || service.ask(&watch).lines().count() as u64 >= PACKETS;
        assert!(wait_until(PATIENCE, recorded), "{}", service.log());
        let folder = support::folder().unwrap();
        Place {
            a,
            _b: b,
            service,
            folder,
        }
    }

    /// Path of a file with the old bytes.
    fn old(&self) -> PathBuf {
        let path = self.path("out.pcapng");
        fs::write(&path, OLD).unwrap();
        path
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A capture file with all packets, to be read.
    fn input(&self) -> PathBuf {
        let path = self.path("in.pcapng");
        let shown = path.to_str().unwrap().to_owned();
        self.service
            .ask(&["capture", "--last", "all", "--port", "5000", "-w", &shown]);
        path
    }

    /// Runs the client, with standard input from `input`.
    fn run(&self, arguments: &[&str], input: Stdio) -> Output {
        self.command(arguments).stdin(input).output().unwrap()
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_netsonde"));
        command.arg("--socket").arg(self.service.socket());
        command.args(arguments).stdin(Stdio::null());
        command
    }

    /// Starts the client and waits until it has a temporary file of at least that size.
    fn start(&self, arguments: &[&str], bytes: u64) -> Child {
        let child = self
            .command(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let begun = || {
            let all = partial(self.folder.path());
            all.iter()
                .any(|path| fs::metadata(path).is_ok_and(|it| it.len() >= bytes))
        };
        assert!(wait_until(PATIENCE, begun), "{arguments:?}");
        child
    }
}

/// Temporary files in a folder.
fn partial(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let is_partial = |path: &PathBuf| path.extension().is_some_and(|end| end == "partial");
    entries.filter(is_partial).collect()
}

fn printed(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Requires status 2, one line of words, the old bytes, and nothing left over.
fn refused(what: &str, output: &Output, old: &Path, words: &str) {
    let text = printed(output);
    assert_eq!(output.status.code(), Some(2), "{what}: {text}");
    assert!(text.contains(words), "{what}: {text}");
    assert_eq!(fs::read(old).unwrap(), OLD, "{what}: {text}");
    let left_over = partial(old.parent().unwrap());
    assert_eq!(left_over, Vec::<PathBuf>::new(), "{what}: {text}");
}

/// Number of packets in a complete file.
fn packets(path: &Path) -> usize {
    let mut file = CaptureFile::new(File::open(path).unwrap()).unwrap();
    let mut count = 0;
    while let Some(item) = file.next().unwrap() {
        count += usize::from(matches!(item, Item::Packet(_)));
    }
    count
}

/// Each option that writes, with arguments that would succeed.
fn writers<'a>(out: &'a str, input: &'a str) -> Vec<(&'static str, Vec<&'a str>)> {
    vec![
        ("capture", vec!["capture", "--last", "all", "-w", out]),
        (
            "capture --read",
            vec!["capture", "--read", input, "-w", out],
        ),
        ("watch", vec!["watch", "--last", "all", "-w", out]),
        ("watch --read", vec!["watch", "--read", input, "-w", out]),
        (
            "ping",
            vec![
                "ping",
                "-c",
                "1",
                "-W",
                "0.1",
                "10.0.0.2",
                "--evidence",
                out,
            ],
        ),
    ]
}

/// Every writer succeeds; so what makes it fail below is what was changed.
fn all_succeed(place: &Place, out: &str, input: &str) {
    for (name, arguments) in writers(out, input) {
        let output = place.run(&arguments, Stdio::null());
        // Nobody but this process is in the network of the client; a probe of the service is answered.
        assert_eq!(
            output.status.code(),
            Some(0),
            "{name}: {}",
            printed(&output)
        );
        assert!(packets(Path::new(out)) > 0, "{name}");
    }
}

fn failures_keep_existing_files() -> Outcome {
    let place = Place::new();
    let (out, input) = (place.old(), place.input());
    let (shown, read) = (out.to_str().unwrap(), input.to_str().unwrap());
    all_succeed(&place, shown, read);
    let missing = place.path("missing");
    let missing = missing.to_str().unwrap();
    for (name, arguments) in writers(shown, read) {
        fs::write(&out, OLD)?;
        if name == "ping" {
            let mut wrong = arguments.clone();
            wrong[5] = "@missing";
            let output = place.run(&wrong, Stdio::null());
            refused("no list", &output, &out, "cannot read missing");
        } else {
            if support::has_libpcap() {
                let mut wrong = arguments.clone();
                wrong.extend(["udp", "prot", "5000"]);
                refused(
                    name,
                    &place.run(&wrong, Stdio::null()),
                    &out,
                    "filter \"udp prot 5000\"",
                );
            }
            let mut wrong = arguments.clone();
            wrong.extend(["--proto", "nonsense"]);
            refused(name, &place.run(&wrong, Stdio::null()), &out, "nonsense");
        }
        if name.ends_with("--read") {
            let mut wrong = arguments.clone();
            wrong[2] = missing;
            refused(name, &place.run(&wrong, Stdio::null()), &out, "cannot read");
            // The input is no capture file, or damaged in its first packet.
            let damaged = place.path("damaged");
            let damaged = damaged.to_str().unwrap();
            wrong[2] = damaged;
            fs::write(damaged, "no capture file, but longer than a header")?;
            refused(name, &place.run(&wrong, Stdio::null()), &out, "not a pcap");
            fs::write(damaged, &fs::read(&input)?[..200])?;
            refused(
                name,
                &place.run(&wrong, Stdio::null()),
                &out,
                "truncated file",
            );
            fs::remove_file(damaged)?;
        } else {
            let output = Command::new(env!("CARGO_BIN_EXE_netsonde"))
                .args(["--socket", missing])
                .args(&arguments)
                .output()?;
            refused(name, &output, &out, "netsonded");
        }
    }
    // What was read of a damaged input is kept, under a name that says so.
    let half = place.path("half.pcapng");
    let bytes = fs::read(&input)?;
    fs::write(&half, &bytes[..bytes.len() / 2])?;
    let output = place.run(
        &["capture", "--read", half.to_str().unwrap(), "-w", shown],
        Stdio::null(),
    );
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(fs::read(&out)?, OLD);
    let [kept] = &partial(place.folder.path())[..] else {
        panic!("{}", printed(&output));
    };
    let words = format!(
        "{shown} is unchanged; the packets until then are in {}",
        kept.display()
    );
    assert!(printed(&output).contains(&words), "{}", printed(&output));
    assert!((1..1000).contains(&packets(kept)));
    Ok(())
}

fn inputs_are_not_overwritten() -> Outcome {
    let place = Place::new();
    let input = place.input();
    let bytes = fs::read(&input)?;
    let (link, hard) = (place.path("symlink"), place.path("hardlink"));
    symlink(&input, &link)?;
    fs::hard_link(&input, &hard)?;
    for command in ["capture", "watch"] {
        for other in [&input, &link, &hard] {
            for (from, to) in [(&input, other), (other, &input)] {
                let (from, to) = (from.to_str().unwrap(), to.to_str().unwrap());
                let output = place.run(&[command, "--read", from, "-w", to], Stdio::null());
                let text = printed(&output);
                assert_eq!(output.status.code(), Some(2), "{text}");
                assert!(text.contains("is the input as well"), "{text}");
            }
        }
        // Standard input and standard output are files, too.
        let shown = input.to_str().unwrap();
        let from = || Stdio::from(File::open(&input).unwrap());
        let output = place.run(&[command, "--read", "-", "-w", shown], from());
        assert!(
            printed(&output).contains("is the input as well"),
            "{}",
            printed(&output)
        );
        let both = File::options().append(true).open(&input)?;
        let mut onto = place.command(&[command, "--read", shown, "-w", "-"]);
        let output = onto
            .stdout(both)
            .stderr(Stdio::piped())
            .spawn()?
            .wait_with_output()?;
        assert!(
            printed(&output).contains("is the input file"),
            "{}",
            printed(&output)
        );
        assert_eq!(fs::read(&input)?, bytes);
    }
    let list = place.path("targets");
    fs::write(&list, "10.0.0.1\n")?;
    let (targets, shown) = (format!("@{}", list.display()), list.to_str().unwrap());
    let output = place.run(
        &["ping", "-c", "1", &targets, "--evidence", shown],
        Stdio::null(),
    );
    assert_eq!(output.status.code(), Some(2));
    assert!(
        printed(&output).contains("is the input as well"),
        "{}",
        printed(&output)
    );
    assert_eq!(fs::read(&list)?, b"10.0.0.1\n");
    assert_eq!(partial(place.folder.path()), Vec::<PathBuf>::new());
    Ok(())
}

/// Mounts a tmpfs of 64 KiB in this process's mount namespace.
fn small_disk(at: &Path) {
    fs::create_dir(at).unwrap();
    let size = Some("size=64k,mode=755");
    mount(Some("tmpfs"), at, Some("tmpfs"), MsFlags::empty(), size).unwrap();
}

fn full_disks_keep_existing_files() -> Outcome {
    let place = Place::new();
    let input = place.input();
    assert!(fs::metadata(&input)?.len() > 80_000);
    let disk = place.path("disk");
    small_disk(&disk);
    let out = disk.join("out.pcapng");
    fs::write(&out, OLD)?;
    let (shown, read) = (out.to_str().unwrap(), input.to_str().unwrap());
    for (name, arguments) in writers(shown, read) {
        if name == "ping" {
            // Its file is small: nothing at all is free.
            fs::write(disk.join("rest"), vec![1; 64 << 10]).unwrap_err();
        }
        let output = place.run(&arguments, Stdio::null());
        let text = printed(&output);
        assert_eq!(output.status.code(), Some(2), "{name}: {text}");
        let words = format!("cannot write {shown}: no space left on device");
        assert!(text.contains(&words), "{name}: {text}");
        assert!(!text.contains("os error"), "{name}: {text}");
        assert_eq!(fs::read(&out)?, OLD, "{name}: {text}");
        // Packets of the record come only once: they are kept. Those of a file are still there.
        let kept = partial(&disk);
        assert_eq!(
            kept.len(),
            usize::from(["capture", "watch"].contains(&name)),
            "{name}: {text}"
        );
        for kept in kept {
            assert!(text.contains(kept.to_str().unwrap()), "{name}: {text}");
            fs::remove_file(kept)?;
        }
    }
    // Standard output on a full disk.
    let onto = File::options().append(true).open(&out)?;
    let mut command = place.command(&["capture", "--last", "all", "-w", "-"]);
    let output = command
        .stdout(onto)
        .stderr(Stdio::piped())
        .spawn()?
        .wait_with_output()?;
    assert_eq!(output.status.code(), Some(2));
    drop(command);
    let words = "cannot write standard output: no space left on device";
    assert!(printed(&output).contains(words), "{}", printed(&output));
    nix::mount::umount(&disk)?;
    Ok(())
}

/// Directories in which nothing can be created: read-only, missing, or without permission.
fn unwritable_directories_are_named() -> Outcome {
    let place = Place::new();
    let input = place.input();
    let read = input.to_str().unwrap();
    let disk = place.path("disk");
    small_disk(&disk);
    fs::write(disk.join("out.pcapng"), OLD)?;
    let remount = MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY;
    mount(None::<&str>, &disk, None::<&str>, remount, None::<&str>)?;
    let locked = place.path("locked");
    fs::create_dir(&locked)?;
    fs::write(locked.join("out.pcapng"), OLD)?;
    fs::set_permissions(&locked, Permissions::from_mode(0o555))?;
    let own = place.path("own");
    fs::create_dir(&own)?;
    fs::write(own.join("out.pcapng"), OLD)?;
    fs::set_permissions(own.join("out.pcapng"), Permissions::from_mode(0o444))?;
    let powerless = support::find("setpriv").is_some();
    let by_permission = "no permission to create a file in";
    for (folder, words, without_capabilities) in [
        (&disk, "read-only file system", false),
        (&locked, by_permission, true),
        (&own, "permission denied", true),
    ] {
        let out = folder.join("out.pcapng");
        for (name, arguments) in writers(out.to_str().unwrap(), read) {
            let output = if without_capabilities {
                if !powerless {
                    continue;
                }
                let mut command = support::program("setpriv");
                command.args(["--bounding-set=-all", "--inh-caps=-all"]);
                command.arg(env!("CARGO_BIN_EXE_netsonde"));
                command.arg("--socket").arg(place.service.socket());
                command.args(&arguments).stdin(Stdio::null()).output()?
            } else {
                place.run(&arguments, Stdio::null())
            };
            refused(name, &output, &out, words);
            if words == by_permission {
                let advice = "choose another directory, or standard output";
                assert!(printed(&output).contains(advice), "{}", printed(&output));
            }
        }
    }
    let nowhere = place.path("nowhere/out.pcapng");
    let output = place.run(
        &["capture", "-r", read, "-w", nowhere.to_str().unwrap()],
        Stdio::null(),
    );
    assert!(
        printed(&output).contains("there is no directory"),
        "{}",
        printed(&output)
    );
    let folder = place.folder.path().to_str().unwrap();
    let output = place.run(&["capture", "-r", read, "-w", folder], Stdio::null());
    assert!(
        printed(&output).contains("it is a directory"),
        "{}",
        printed(&output)
    );
    nix::mount::umount(&disk)?;
    Ok(())
}

/// Writers that go on until they are stopped, with the size from which on they are at work.
fn running<'a>(out: &'a str, fifo: &'a str) -> Vec<(&'static str, Vec<&'a str>, u64)> {
    vec![
        (
            "capture",
            vec!["capture", "--last", "all", "-f", "-w", out],
            50_000,
        ),
        (
            "watch",
            vec!["watch", "--last", "all", "-f", "-w", out],
            50_000,
        ),
        (
            "capture --read",
            vec!["capture", "--read", fifo, "-w", out],
            0,
        ),
        (
            "ping",
            vec!["ping", "-i", "0.1", "10.0.0.2", "--evidence", out],
            0,
        ),
    ]
}

/// Feeds a FIFO with a part of a capture file, and leaves it open.
fn feed(fifo: &Path, input: &Path) -> File {
    let mut file = File::options().read(true).write(true).open(fifo).unwrap();
    // A FIFO holds 64 KiB; the cut is within a packet.
    file.write_all(&fs::read(input).unwrap()[..40_000]).unwrap();
    file
}

fn killed_clients_keep_existing_files() -> Outcome {
    let place = Place::new();
    let (out, input, fifo) = (place.old(), place.input(), place.path("fifo"));
    mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU)?;
    let _open = feed(&fifo, &input);
    for (name, arguments, bytes) in running(out.to_str().unwrap(), fifo.to_str().unwrap()) {
        let mut child = place.start(&arguments, bytes);
        assert_eq!(fs::read(&out)?, OLD, "{name}");
        child.kill()?;
        child.wait()?;
        assert_eq!(fs::read(&out)?, OLD, "{name}");
        let expected = format!("out.pcapng.netsonde-{}.partial", child.id());
        assert_eq!(
            partial(place.folder.path()),
            [place.path(&expected)],
            "{name}"
        );
        fs::remove_file(place.path(&expected))?;
    }
    Ok(())
}

fn interrupted_captures_are_complete() -> Outcome {
    let place = Place::new();
    let (out, input, fifo) = (place.old(), place.input(), place.path("fifo"));
    mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU)?;
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
        let open = feed(&fifo, &input);
        for (name, arguments, bytes) in running(out.to_str().unwrap(), fifo.to_str().unwrap()) {
            fs::write(&out, OLD)?;
            let child = place.start(&arguments, bytes);
            if name == "capture --read" {
                // Until it has read what the FIFO holds.
                let is_empty = || {
                    nix::poll::poll(
                        &mut [nix::poll::PollFd::new(
                            std::os::fd::AsFd::as_fd(&open),
                            nix::poll::PollFlags::POLLIN,
                        )],
                        nix::poll::PollTimeout::ZERO,
                    ) == Ok(0)
                };
                assert!(wait_until(PATIENCE, is_empty));
            }
            if name == "ping" {
                // A second probe follows the first one's answer.
                std::thread::sleep(std::time::Duration::from_millis(300));
            }
            kill(Pid::from_raw(child.id() as i32), signal)?;
            let output = child.wait_with_output()?;
            let text = printed(&output);
            assert_eq!(output.status.code(), Some(0), "{name} {signal}: {text}");
            assert!(packets(&out) > 1, "{name} {signal}: {text}");
            assert_eq!(
                partial(place.folder.path()),
                Vec::<PathBuf>::new(),
                "{name} {signal}"
            );
        }
    }
    Ok(())
}

fn lost_services_keep_existing_files() -> Outcome {
    let mut place = Place::new();
    let out = place.old();
    let shown = out.to_str().unwrap().to_owned();
    let child = place.start(&["capture", "--last", "all", "-f", "-w", &shown], 50_000);
    kill(place.service.keeper(), Signal::SIGKILL)?;
    let output = child.wait_with_output()?;
    let text = printed(&output);
    assert_eq!(output.status.code(), Some(2), "{text}");
    assert_eq!(fs::read(&out)?, OLD, "{text}");
    let [kept] = &partial(place.folder.path())[..] else {
        panic!("{text}");
    };
    let words = format!(
        "{shown} is unchanged; the packets until then are in {}",
        kept.display()
    );
    assert!(text.contains(&words), "{text}");
    assert!(packets(kept) >= 250, "{text}");
    Ok(())
}

fn closed_pipes_are_no_failure() -> Outcome {
    let place = Place::new();
    let (out, input) = (place.old(), place.input());
    let (shown, read) = (out.to_str().unwrap(), input.to_str().unwrap());
    let closed = || {
        let (reader, writer) = nix::unistd::pipe().unwrap();
        drop(reader);
        Stdio::from(writer)
    };
    for to in ["-", "/dev/stdout"] {
        for (name, arguments) in writers(to, read) {
            let mut command = place.command(&arguments);
            let output = command
                .stdout(closed())
                .stderr(Stdio::piped())
                .spawn()?
                .wait_with_output()?;
            assert_eq!(
                output.status.code(),
                Some(0),
                "{name} {to}: {}",
                printed(&output)
            );
        }
    }
    // Nobody reads what is said: the file is complete all the same.
    for (name, arguments) in writers(shown, read) {
        fs::write(&out, OLD)?;
        let status = place
            .command(&arguments)
            .stdout(Stdio::null())
            .stderr(closed())
            .status()?;
        assert_eq!(status.code(), Some(0), "{name}");
        assert!(packets(&out) > 0, "{name}");
    }
    // A FIFO whose reader leaves.
    let fifo = place.path("fifo");
    mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU)?;
    let mut command = place.command(&["capture", "-r", read, "-w", fifo.to_str().unwrap()]);
    let child = command.stderr(Stdio::piped()).spawn()?;
    let mut reader = File::open(&fifo)?;
    reader.read_exact(&mut [0; 4])?;
    drop(reader);
    let output = child.wait_with_output()?;
    assert_eq!(output.status.code(), Some(0), "{}", printed(&output));
    assert_eq!(partial(place.folder.path()), Vec::<PathBuf>::new());
    Ok(())
}

fn complete_files_replace_others() -> Outcome {
    let place = Place::new();
    let (out, input) = (place.old(), place.input());
    let read = input.to_str().unwrap();
    fs::set_permissions(&out, Permissions::from_mode(0o640))?;
    let (link, dangling, target) = (
        place.path("link"),
        place.path("dangling"),
        place.path("new"),
    );
    symlink("out.pcapng", &link)?;
    symlink(&target, &dangling)?;
    let output = place.run(
        &["capture", "-r", read, "-w", link.to_str().unwrap()],
        Stdio::null(),
    );
    assert_eq!(
        printed(&output),
        format!("1000 packets to {}\n", link.display())
    );
    assert!(fs::symlink_metadata(&link)?.is_symlink());
    assert_eq!(packets(&out), 1000);
    assert_eq!(fs::metadata(&out)?.mode() & 0o777, 0o640);
    place.run(
        &["capture", "-r", read, "-w", dangling.to_str().unwrap()],
        Stdio::null(),
    );
    assert_eq!(packets(&target), 1000);
    // A new file is its owner's, even if the umask leaves more to others.
    assert_eq!(fs::metadata(&target)?.mode() & 0o777, 0o600);
    // The longest name that a file can have, and one without a folder.
    let long = place.path(&"n".repeat(255));
    let output = place.run(
        &["capture", "-r", read, "-w", long.to_str().unwrap()],
        Stdio::null(),
    );
    assert!(output.status.success(), "{}", printed(&output));
    assert_eq!(packets(&long), 1000);
    let mut here = place.command(&["capture", "-q", "-r", "in.pcapng", "-w", "here"]);
    let output = here.current_dir(place.folder.path()).output()?;
    assert_eq!(
        (output.status.code(), printed(&output)),
        (Some(0), String::new())
    );
    assert_eq!(packets(&place.path("here")), 1000);
    // -c is reached: complete.
    let shown = out.to_str().unwrap();
    let output = place.run(
        &["capture", "--last", "all", "-c", "1", "-w", shown],
        Stdio::null(),
    );
    assert!(
        printed(&output).starts_with("1 packet, "),
        "{}",
        printed(&output)
    );
    assert_eq!(packets(&out), 1);
    assert_eq!(partial(place.folder.path()), Vec::<PathBuf>::new());
    Ok(())
}

fn devices_and_pipes_are_written_directly() -> Outcome {
    let place = Place::new();
    let input = place.input();
    let read = input.to_str().unwrap();
    let copy = place.path("copy.pcapng");
    place.run(
        &["capture", "-r", read, "-w", copy.to_str().unwrap()],
        Stdio::null(),
    );
    let length = fs::metadata(&copy)?.len();
    assert_eq!(packets(&copy) as u64, PACKETS);
    for to in [
        "/dev/null",
        "-",
        "/dev/stdout",
        "/dev/fd/1",
        "/proc/self/fd/1",
    ] {
        let output = place.run(&["capture", "-r", read, "-w", to], Stdio::null());
        assert!(output.status.success(), "{to}: {}", printed(&output));
        if to != "/dev/null" {
            assert_eq!(output.stdout.len() as u64, length, "{to}");
        }
    }
    // A file behind a descriptor keeps its place and its bytes.
    let out = place.old();
    let onto = || File::options().append(true).open(&out).unwrap();
    let mut command = place.command(&["capture", "-r", read, "-w", "/dev/stdout"]);
    assert!(command.stdout(onto()).status()?.success());
    assert!(fs::read(&out)?.starts_with(OLD));
    let inode = fs::metadata(&out)?.ino();
    let mut command = place.command(&["capture", "-r", read, "-w", "/dev/fd/2"]);
    assert!(command.arg("-q").stderr(onto()).status()?.success());
    assert_eq!(fs::metadata(&out)?.ino(), inode);
    assert!(fs::read(&out)?.starts_with(OLD));
    assert!(fs::metadata("/dev/null")?.file_type().is_char_device());
    // The reader of a FIFO may come later; an interrupt ends the waiting.
    let fifo = place.path("fifo");
    mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU)?;
    let mut command = place.command(&["capture", "-q", "-r", read, "-w", fifo.to_str().unwrap()]);
    let mut child = command.spawn()?;
    let mut bytes = Vec::new();
    File::open(&fifo)?.read_to_end(&mut bytes)?;
    assert!(child.wait()?.success());
    assert_eq!(bytes.len() as u64, length);
    let child = command.stderr(Stdio::piped()).spawn()?;
    let pid = Pid::from_raw(child.id() as i32);
    let waits = || {
        let stack = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        // SIGINT is blocked, and so taken by the wait.
        stack.lines().any(|line| {
            line.strip_prefix("SigBlk:")
                .is_some_and(|mask| mask.trim().ends_with("4003"))
        })
    };
    assert!(wait_until(PATIENCE, waits));
    kill(pid, Signal::SIGINT)?;
    let output = child.wait_with_output()?;
    assert_eq!(output.status.code(), Some(2), "{}", printed(&output));
    Ok(())
}

/// A file with a packet on each of several interfaces, and an interface without packets.
fn mixed(links: &[(u16, Option<&str>)]) -> Vec<u8> {
    let mut writer = Writer::default();
    writer.section("a test", "Linux", &[]);
    for (link, name) in links {
        writer.interface(*link, 0, *name, None);
    }
    for number in 0..links.len() as u32 - 1 {
        let bytes = [number as u8; 40];
        let time = 1_700_000_000_000_000_000 + u64::from(number);
        writer.packet(
            number,
            time,
            &bytes,
            40,
            Direction::Unknown,
            Checksum::Unknown,
        );
    }
    writer.buffer
}

/// A pcap file with one packet.
fn pcap(link: u32) -> Vec<u8> {
    let mut bytes = 0xa1b2_c3d4_u32.to_le_bytes().to_vec();
    bytes.extend_from_slice(&[2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    for word in [262_144, link, 1_700_000_000, 0, 40, 40] {
        bytes.extend_from_slice(&word.to_le_bytes());
    }
    bytes.extend_from_slice(&[0; 40]);
    bytes
}

type Interface = (u32, Option<String>);

/// Link type and name of the interface of each packet, and all interfaces.
fn interfaces(path: &Path) -> (Vec<Interface>, Vec<Interface>) {
    let mut file = CaptureFile::new(File::open(path).unwrap()).unwrap();
    let mut seen = Vec::new();
    while let Some(item) = file.next().unwrap() {
        if let Item::Packet(packet) = item {
            seen.push((packet.link_number, packet.interface));
        }
    }
    let all = file.interfaces().into_iter();
    (
        seen,
        all.map(|(link, name)| (link, name.map(str::to_owned)))
            .collect(),
    )
}

fn link_types_are_kept() -> Outcome {
    let folder = support::folder()?;
    let (input, out) = (folder.path().join("in"), folder.path().join("out"));
    let (read, shown) = (input.to_str().unwrap(), out.to_str().unwrap());
    let nowhere = folder.path().join("no service");
    for link in [9, 12, 101, 104, 113, 127, 228, 239, 253, 276, 289, 40_000] {
        fs::write(&input, pcap(link))?;
        let output = support::client(&nowhere, &["capture", "--read", read, "-w", shown]);
        assert!(output.status.success(), "{link}: {}", printed(&output));
        assert_eq!(interfaces(&out).0, [(link, None)]);
    }
    let links = [
        (127, Some("wlan0")),
        (1, Some("e0")),
        (9, Some("ppp0")),
        (253, None),
        (104, Some("e0")),
        (105, Some("mon0")),
    ];
    fs::write(&input, mixed(&links))?;
    let output = support::client(&nowhere, &["capture", "--read", read, "-w", shown]);
    assert!(output.status.success(), "{}", printed(&output));
    let expected: Vec<(u32, Option<String>)> = links
        .iter()
        .map(|(link, name)| (u32::from(*link), name.map(str::to_owned)))
        .collect();
    assert_eq!(interfaces(&out), (expected[..5].to_vec(), expected.clone()));
    let unknown = folder.path().join("unknown");
    fs::write(&unknown, pcap(195))?;
    for json in [&[][..], &["--json"]] {
        let watch = ["watch", "--read", unknown.to_str().unwrap()];
        let output = support::client(&nowhere, &[json, &watch[..]].concat());
        let text = String::from_utf8(output.stdout)?;
        let words = "link type 195 (IEEE802_15_4_WITHFCS) is not decoded";
        assert!(text.contains(words), "{text}");
    }
    // The packet of the interface without a name is always one of them.
    for (name, count) in [("any", 5), ("e0", 3), ("wlan0", 2)] {
        let arguments = ["capture", "--read", read, "-w", shown, "-i", name];
        let output = support::client(&nowhere, &arguments);
        assert!(output.status.success(), "{}", printed(&output));
        assert_eq!(interfaces(&out).0.len(), count, "{name}");
    }
    support::client(&nowhere, &["capture", "--read", read, "-w", shown]);
    if support::has("tshark") {
        let mut tshark = support::program("tshark");
        tshark.args(["-n", "-r", shown, "-T", "fields", "-e", "frame.encap_type"]);
        let text = String::from_utf8(tshark.output()?.stdout)?;
        // Wireshark's numbers for radiotap, Ethernet, PPP, netlink and Cisco HDLC.
        assert_eq!(
            text.split_whitespace().collect::<Vec<_>>(),
            ["23", "1", "4", "158", "28"]
        );
    }
    if support::has_libpcap() {
        // A filter for one link type leaves the packets of those that it does not fit out, and says so.
        let output = support::client(
            &nowhere,
            &[
                "capture",
                "--read",
                read,
                "-w",
                shown,
                "ether",
                "host",
                "01:01:01:01:01:01",
            ],
        );
        assert!(output.status.success(), "{}", printed(&output));
        assert_eq!(interfaces(&out).0, [(1, Some("e0".into()))]);
        let words = "cannot be applied to link type 9 (PPP): its packets are left out";
        assert!(printed(&output).contains(words), "{}", printed(&output));
    }
    Ok(())
}

/// tcpdump and tshark judge a file without packets.
fn judged(path: &Path, link: &str) {
    let shown = path.to_str().unwrap();
    for program in ["tcpdump", "tshark"] {
        if !support::has(program) {
            support::report(program, "not installed");
            continue;
        }
        let mut command = support::program(program);
        command.args(["-n", "-r", shown]);
        if program == "tcpdump" {
            // It gives up its groups, which the namespace of an ordinary user does not allow.
            if fs::read_to_string("/proc/self/setgroups").is_ok_and(|text| text.trim() == "deny") {
                support::report(program, "cannot change its user here");
                continue;
            }
            command.args(["-Z", "root"]);
        }
        let output = command.output().unwrap();
        let text = printed(&output);
        assert!(output.status.success(), "{program} {shown}: {text}");
        assert!(output.stdout.is_empty(), "{program} {shown}");
        if program == "tcpdump" {
            assert!(text.contains(&format!("link-type {link} ")), "{text}");
        }
    }
}

fn empty_files_are_accepted() -> Outcome {
    let place = Place::new();
    let input = place.input();
    let (out, read) = (place.path("empty.pcapng"), input.to_str().unwrap());
    let shown = out.to_str().unwrap();
    for arguments in [
        vec!["capture", "--last", "all", "--port", "9", "-w", shown],
        vec!["capture", "--read", read, "--port", "9", "-w", shown],
        vec!["watch", "--read", read, "--port", "9", "-w", shown],
    ] {
        // The file is complete, and says nothing matched.
        let output = place.run(&arguments, Stdio::null());
        assert_eq!(output.status.code(), Some(1), "{}", printed(&output));
        judged(&out, "EN10MB");
    }
    // The link type is that of the input.
    fs::write(&input, pcap(127))?;
    let output = place.run(
        &["capture", "-r", read, "--port", "9", "-w", shown],
        Stdio::null(),
    );
    assert_eq!(output.status.code(), Some(1), "{}", printed(&output));
    judged(&out, "IEEE802_11_RADIO");
    // Interrupted before the first packet.
    fs::remove_file(&out)?;
    let child = place.start(&["capture", "--port", "9", "-w", shown], 20);
    kill(Pid::from_raw(child.id() as i32), Signal::SIGINT)?;
    let output = child.wait_with_output()?;
    let text = printed(&output);
    assert!(text.starts_with("interrupted: 0 packets, "), "{text}");
    judged(&out, "EN10MB");
    drop(place.a);
    Ok(())
}
