//! The engine's sandbox: a program in the engine's place, in the same sandbox, makes the calls that a
//! compromised engine would make. Each call has a process of its own, which must be killed or refused; the
//! judge is its exit status. No network is needed.
#![allow(missing_docs, unsafe_code, clippy::unwrap_used)]

mod support;

use std::io::Write;
use std::os::fd::AsRawFd;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, ExitCode, Stdio};

use netsonde::daemon::engine::sandbox;
use netsonde::daemon::keeper::{confine, privilege};
use netsonde::lab::Host;
use netsonde_core::config::Violation;
use support::{Service, Test};

type Outcome = Result<(), Box<dyn std::error::Error>>;

/// Not in the libc crate for every architecture (linux/fcntl.h).
const F_SETSIG: usize = 10;
const F_SETOWN_EX: usize = 15;

/// What a process shall try; in whose place; and what its calls shall come to.
const ATTEMPT: &str = "NETSONDE_TEST_ATTEMPT";
const KEEPER: &str = "NETSONDE_TEST_IS_KEEPER";
const STARTED: &str = "NETSONDE_TEST_IS_STARTED_BY_KEEPER";
const REFUSE: &str = "NETSONDE_TEST_REFUSES";

fn main() -> ExitCode {
    if let Ok(attempt) = std::env::var(ATTEMPT) {
        return child(&attempt);
    }
    support::main(&[
        ("sandbox_kills_on_escapes", sandbox_kills_on_escapes as Test),
        (
            "sandbox_refuses_escapes_with_errno",
            sandbox_refuses_escapes_with_errno,
        ),
        ("sandbox_refuses_files", sandbox_refuses_files),
        ("sandbox_allows_needed_calls", sandbox_allows_needed_calls),
        (
            "engine_is_sandboxed_and_status_shows_it",
            engine_is_sandboxed_and_status_shows_it,
        ),
    ])
}

/// The result of a raw system call, as an exit status: 0 it worked, else the errno.
fn errno(result: libc::c_long) -> i32 {
    if result < 0 {
        std::io::Error::last_os_error()
            .raw_os_error()
            .unwrap_or(255)
    } else {
        0
    }
}

fn call(number: libc::c_long, arguments: [usize; 5]) -> i32 {
    let [a, b, c, d, e] = arguments;
    // SAFETY: the sandbox must not let it happen; where it does, this process has nothing to lose.
    errno(unsafe { libc::syscall(number, a, b, c, d, e) })
}

fn text(of: &'static std::ffi::CStr) -> usize {
    of.as_ptr() as usize
}

/// Every attempt by its name.
fn attempt(name: &str, held: &std::net::UdpSocket) -> i32 {
    let (here, held) = (libc::AT_FDCWD as usize, held.as_raw_fd() as usize);
    let socket = |family: i32, kind: i32, protocol: i32| {
        call(
            libc::SYS_socket,
            [family as usize, kind as usize, protocol as usize, 0, 0],
        )
    };
    let option = |level: i32, name: i32| {
        let value = [0u64; 2];
        let at = value.as_ptr() as usize;
        call(
            libc::SYS_setsockopt,
            [held, level as usize, name as usize, at, 16],
        )
    };
    match name {
        "a packet socket" => socket(libc::AF_PACKET, libc::SOCK_RAW, 0),
        "a raw socket" => socket(libc::AF_INET, libc::SOCK_RAW, libc::IPPROTO_ICMP),
        "a TCP socket" => socket(libc::AF_INET, libc::SOCK_STREAM, 0),
        "a Unix socket" => socket(libc::AF_UNIX, libc::SOCK_STREAM, 0),
        "a netlink socket" => socket(libc::AF_NETLINK, libc::SOCK_RAW, 0),
        "binding" => call(libc::SYS_bind, [held, 0, 0, 0, 0]),
        "connecting" => call(libc::SYS_connect, [held, 0, 0, 0, 0]),
        "listening" => call(libc::SYS_listen, [held, 1, 0, 0, 0]),
        "attaching a filter" => option(libc::SOL_SOCKET, libc::SO_ATTACH_FILTER),
        "detaching a filter" => option(libc::SOL_SOCKET, libc::SO_DETACH_FILTER),
        "joining a group" => option(libc::IPPROTO_IP, libc::IP_ADD_MEMBERSHIP),
        "executing" => call(libc::SYS_execve, [text(c"/bin/true"), 0, 0, 0, 0]),
        "forking" => call(libc::SYS_clone, [libc::SIGCHLD as usize, 0, 0, 0, 0]),
        "forking anew" => call(libc::SYS_clone3, [0, 0, 0, 0, 0]),
        "tracing" => call(
            libc::SYS_ptrace,
            [libc::PTRACE_TRACEME as usize, 0, 0, 0, 0],
        ),
        "reading another's memory" => call(libc::SYS_process_vm_readv, [1, 0, 0, 0, 0]),
        "taking another's descriptor" => call(libc::SYS_pidfd_open, [1, 0, 0, 0, 0]),
        "signals" => call(
            libc::SYS_kill,
            [std::os::unix::process::parent_id() as usize, 0, 0, 0, 0],
        ),
        "mounting" => call(libc::SYS_mount, [0, 0, 0, 0, 0]),
        "new namespaces" => call(
            libc::SYS_unshare,
            [libc::CLONE_NEWUSER as usize, 0, 0, 0, 0],
        ),
        "another namespace" => call(libc::SYS_setns, [0, 0, 0, 0, 0]),
        "changing root" => call(libc::SYS_chroot, [text(c"/proc"), 0, 0, 0, 0]),
        "bpf" => call(libc::SYS_bpf, [0, 0, 0, 0, 0]),
        "io_uring" => call(libc::SYS_io_uring_setup, [1, 0, 0, 0, 0]),
        "perf events" => call(libc::SYS_perf_event_open, [0, 0, 0, 0, 0]),
        "userfaultfd" => call(libc::SYS_userfaultfd, [0, 0, 0, 0, 0]),
        "kernel keys" => call(libc::SYS_keyctl, [0, 0, 0, 0, 0]),
        "kernel modules" => call(libc::SYS_init_module, [0, 0, 0, 0, 0]),
        "another user" => call(libc::SYS_setuid, [0, 0, 0, 0, 0]),
        "capabilities" => call(libc::SYS_capset, [0, 0, 0, 0, 0]),
        "executable memory" => call(
            libc::SYS_mmap,
            [
                0,
                4096,
                (libc::PROT_READ | libc::PROT_EXEC) as usize,
                (libc::MAP_PRIVATE | libc::MAP_ANONYMOUS) as usize,
                usize::MAX,
            ],
        ),
        "a file in memory" => call(libc::SYS_memfd_create, [text(c"x"), 0, 0, 0, 0]),
        "writing a file" => {
            let flags = (libc::O_WRONLY | libc::O_CREAT) as usize;
            call(
                libc::SYS_openat,
                [here, text(c"/tmp/netsonde-escape"), flags, 0o600, 0],
            )
        }
        "deleting a file" => call(libc::SYS_unlinkat, [here, text(c"/tmp/x"), 0, 0, 0]),
        "making a directory" => call(libc::SYS_mkdirat, [here, text(c"/tmp/x"), 0, 0, 0]),
        "changing a mode" => call(
            libc::SYS_fchmodat,
            [here, text(c"/etc/shadow"), 0o666, 0, 0],
        ),
        "making a shared description blocking" => {
            call(libc::SYS_fcntl, [held, libc::F_SETFL as usize, 0, 0, 0])
        }
        "signals from a description" => {
            call(libc::SYS_fcntl, [held, libc::F_SETOWN as usize, 1, 0, 0])
        }
        "another signal from a description" => call(
            libc::SYS_fcntl,
            [held, F_SETSIG, libc::SIGKILL as usize, 0, 0],
        ),
        "an extended owner of a description" => {
            let owner = [0u32, 1];
            let at = owner.as_ptr() as usize;
            call(libc::SYS_fcntl, [held, F_SETOWN_EX, at, 0, 0])
        }
        "sealing" => call(
            libc::SYS_fcntl,
            [
                held,
                libc::F_ADD_SEALS as usize,
                libc::F_SEAL_WRITE as usize,
                0,
                0,
            ],
        ),
        "a lease" => call(
            libc::SYS_fcntl,
            [
                held,
                libc::F_SETLEASE as usize,
                libc::F_RDLCK as usize,
                0,
                0,
            ],
        ),
        "a lock" => {
            let lock = [0u64; 4];
            let at = lock.as_ptr() as usize;
            call(
                libc::SYS_fcntl,
                [held, libc::F_OFD_SETLK as usize, at, 0, 0],
            )
        }
        "a smaller pipe" => call(
            libc::SYS_fcntl,
            [2, libc::F_SETPIPE_SZ as usize, 4096, 0, 0],
        ),
        "blocking by ioctl" => {
            let off = 0i32;
            let at = std::ptr::from_ref(&off) as usize;
            call(libc::SYS_ioctl, [held, libc::FIONBIO as usize, at, 0, 0])
        }
        "typing on the terminal" => {
            let key = c"x".as_ptr() as usize;
            call(libc::SYS_ioctl, [2, libc::TIOCSTI as usize, key, 0, 0])
        }
        "shutting a socket down" => call(
            libc::SYS_shutdown,
            [held, libc::SHUT_RDWR as usize, 0, 0, 0],
        ),
        "moving the position of a file" => {
            call(libc::SYS_lseek, [2, 0, libc::SEEK_SET as usize, 0, 0])
        }
        "skipping in a file" => call(libc::SYS_lseek, [2, 1 << 40, libc::SEEK_CUR as usize, 0, 0]),
        "overwriting the log" => {
            let text = [0usize; 2];
            let (at, flags) = (text.as_ptr() as usize, libc::RWF_NOWAIT as usize);
            // SAFETY: an empty write, with an offset.
            errno(unsafe { libc::syscall(libc::SYS_pwritev2, 2, at, 1, 0, 0, flags) })
        }
        "truncating a file" => call(libc::SYS_ftruncate, [2, 0, 0, 0, 0]),
        "holding back data in a socket" => {
            let flags = libc::MSG_MORE as usize;
            call(libc::SYS_sendto, [held, text(c"x"), 1, flags, 0])
        }
        "holding back a message in a socket" => {
            let message = [0u64; 7];
            let (at, flags) = (message.as_ptr() as usize, libc::MSG_MORE as usize);
            call(libc::SYS_sendmsg, [held, at, flags, 0, 0])
        }
        "holding back messages in a socket" => {
            let message = [0u64; 8];
            let (at, flags) = (message.as_ptr() as usize, libc::MSG_MORE as usize);
            call(libc::SYS_sendmmsg, [held, at, 1, flags, 0])
        }
        "including headers" => option(libc::IPPROTO_IP, libc::IP_HDRINCL),
        "corking" => option(libc::IPPROTO_UDP, libc::UDP_CORK),
        "a small queue" => option(libc::SOL_SOCKET, libc::SO_RCVBUF),
        "another device" => option(libc::SOL_SOCKET, libc::SO_BINDTODEVICE),
        "duplicating onto a descriptor" => call(libc::SYS_dup3, [held, 0, 0, 0, 0]),
        "moving data between descriptors" => call(libc::SYS_splice, [held, 0, 2, 0, 1]),
        "outliving the keeper" => call(
            libc::SYS_prctl,
            [libc::PR_SET_PDEATHSIG as usize, 0, 0, 0, 0],
        ),
        "a session of its own" => call(libc::SYS_setsid, [0, 0, 0, 0, 0]),
        "timers" => call(libc::SYS_timer_create, [0, 0, 0, 0, 0]),
        "message queues" => call(
            libc::SYS_mq_open,
            [text(c"x"), libc::O_CREAT as usize, 0, 0, 0],
        ),
        "System V memory" => call(libc::SYS_shmget, [0, 4096, libc::IPC_CREAT as usize, 0, 0]),
        "raising limits" => {
            let limit = [u64::MAX; 2];
            let at = limit.as_ptr() as usize;
            call(
                libc::SYS_prlimit64,
                [0, libc::RLIMIT_NOFILE as usize, at, 0, 0],
            )
        }
        other => panic!("no such attempt: {other}"),
    }
}

/// What neither keeper nor engine may do.
const ESCAPES: &[&str] = &[
    "a packet socket",
    "a raw socket",
    "listening",
    "attaching a filter",
    "detaching a filter",
    "tracing",
    "reading another's memory",
    "taking another's descriptor",
    "mounting",
    "new namespaces",
    "another namespace",
    "changing root",
    "bpf",
    "io_uring",
    "perf events",
    "userfaultfd",
    "kernel keys",
    "kernel modules",
    "another user",
    "capabilities",
    "making a directory",
    "changing a mode",
    "typing on the terminal",
    "shutting a socket down",
    "moving data between descriptors",
    "a session of its own",
    "timers",
    "message queues",
    "System V memory",
];

/// What only an engine must not do: with a description that it shares, or with a call that a keeper needs.
const ENGINE_ESCAPES: &[&str] = &[
    "raising limits",
    "a TCP socket",
    "a Unix socket",
    "a netlink socket",
    "binding",
    "connecting",
    "joining a group",
    "executing",
    "forking",
    "forking anew",
    "signals",
    "executable memory",
    "a file in memory",
    "writing a file",
    "deleting a file",
    "making a shared description blocking",
    "signals from a description",
    "another signal from a description",
    "an extended owner of a description",
    "sealing",
    "a lease",
    "a lock",
    "a smaller pipe",
    "blocking by ioctl",
    "moving the position of a file",
    "skipping in a file",
    "overwriting the log",
    "truncating a file",
    "holding back data in a socket",
    "holding back a message in a socket",
    "holding back messages in a socket",
    "including headers",
    "corking",
    "a small queue",
    "another device",
    "duplicating onto a descriptor",
    "outliving the keeper",
];

/// In the place of an engine or a keeper.
fn child(name: &str) -> ExitCode {
    let held = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    // A keeper has given it up for the engines that it starts.
    if std::env::var_os(STARTED).is_none() {
        privilege::give_up().unwrap();
    }
    let violation = if std::env::var_os(REFUSE).is_some() {
        Violation::Refuse
    } else {
        Violation::Kill
    };
    let is_keeper = std::env::var_os(KEEPER).is_some();
    if is_keeper {
        confine::enter(violation).unwrap();
    } else {
        sandbox::enter(violation).unwrap();
    }
    println!("confined");
    let status = match name {
        "nothing" if is_keeper => keeper_needs(),
        "nothing" => needs(),
        file if file.starts_with('/') => match std::fs::File::open(file) {
            Ok(_) => 0,
            Err(error) => error.raw_os_error().unwrap_or(255),
        },
        name => attempt(name, &held),
    };
    // Not through the destructors of a process that is in doubt.
    std::process::exit(status)
}

/// What an engine does all day.
fn needs() -> i32 {
    assert!(
        std::fs::read_to_string("/proc/thread-self/net/snmp")
            .unwrap()
            .contains("Udp:")
    );
    let (read, write) = nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC).unwrap();
    nix::unistd::write(&write, b"x").unwrap();
    nix::unistd::read(&read, &mut [0]).unwrap();
    let much = vec![1u8; 64 << 20];
    std::io::stderr()
        .write_all(format!("{} bytes\n", much.len()).as_bytes())
        .unwrap();
    std::thread::sleep(std::time::Duration::from_millis(1));
    0
}

/// What a keeper does after its start.
fn keeper_needs() -> i32 {
    assert!(nix::net::if_::if_indextoname(1).is_ok());
    assert!(std::net::UdpSocket::bind("127.0.0.1:0").is_ok());
    nix::unistd::User::from_name("root").unwrap();
    let engine = Command::new("/proc/self/exe")
        .env(ATTEMPT, "nothing")
        .env_remove(KEEPER)
        .env(STARTED, "1")
        .stdout(Stdio::null())
        .status()
        .unwrap();
    assert!(engine.success(), "an engine cannot start: {engine}");
    0
}

/// Runs an attempt: the signal that it died of, or its exit status.
fn run(name: &str, refuse: bool) -> (Option<i32>, Option<i32>, String) {
    run_as(name, refuse, false)
}

/// The same in the place of an engine, or of a keeper.
fn run_as(name: &str, refuse: bool, keeper: bool) -> (Option<i32>, Option<i32>, String) {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.env(ATTEMPT, name).stdin(Stdio::null());
    if keeper {
        command.env(KEEPER, "1");
    }
    if refuse {
        command.env(REFUSE, "1");
    }
    let output = command.output().unwrap();
    let printed = format!(
        "{name}: {}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    // It was confined before it tried.
    assert!(printed.contains("confined"), "{printed}");
    (output.status.signal(), output.status.code(), printed)
}

fn sandbox_kills_on_escapes() -> Outcome {
    for name in [ESCAPES, ENGINE_ESCAPES].concat() {
        let (signal, code, printed) = run(name, false);
        assert_eq!((signal, code), (Some(libc::SIGSYS), None), "{printed}");
    }
    for name in ESCAPES {
        let (signal, code, printed) = run_as(name, false, true);
        assert_eq!((signal, code), (Some(libc::SIGSYS), None), "{printed}");
    }
    println!(
        "{} attempts in an engine and {} in a keeper, all ended the process",
        ESCAPES.len() + ENGINE_ESCAPES.len(),
        ESCAPES.len()
    );
    Ok(())
}

fn sandbox_refuses_escapes_with_errno() -> Outcome {
    for name in [ESCAPES, ENGINE_ESCAPES].concat() {
        let (signal, code, printed) = run(name, true);
        assert_eq!((signal, code), (None, Some(libc::EPERM)), "{printed}");
    }
    for name in ESCAPES {
        let (signal, code, printed) = run_as(name, true, true);
        assert_eq!((signal, code), (None, Some(libc::EPERM)), "{printed}");
    }
    Ok(())
}

/// Landlock's share: no file but those of /proc can be read.
fn sandbox_refuses_files() -> Outcome {
    if !std::fs::read_to_string("/sys/kernel/security/lsm")
        .map_or(true, |all| all.contains("landlock"))
    {
        support::skip_here("this kernel has no landlock");
    }
    for name in [
        "/etc/shadow",
        "/etc/passwd",
        "/",
        "/root",
        "/dev/null",
        "/tmp",
    ] {
        let (signal, code, printed) = run(name, false);
        assert_eq!((signal, code), (None, Some(libc::EACCES)), "{printed}");
    }
    Ok(())
}

fn sandbox_allows_needed_calls() -> Outcome {
    for keeper in [false, true] {
        let (signal, code, printed) = run_as("nothing", false, keeper);
        assert_eq!((signal, code), (None, Some(0)), "{printed}");
    }
    Ok(())
}

fn engine_is_sandboxed_and_status_shows_it() -> Outcome {
    let host = Host::new("a")?;
    let mut service = Service::start(&host, &[]);
    let status = service.status();
    assert_eq!(status["sandbox"]["seccomp"], "enforced", "{status}");
    assert_eq!(status["sandbox"]["violation"], "kill", "{status}");
    let of_engine = std::fs::read_to_string(format!("/proc/{}/status", service.engine()))?;
    let is = |line: &str| of_engine.lines().any(|one| one == line);
    assert!(is("Seccomp:\t2") && is("NoNewPrivs:\t1"), "{of_engine}");
    assert!(is("CapEff:\t0000000000000000"), "{of_engine}");
    let of_keeper = std::fs::read_to_string(format!("/proc/{}/status", service.keeper()))?;
    let is = |line: &str| of_keeper.lines().any(|one| one == line);
    // Two: one of them hides clone3.
    assert!(
        is("Seccomp:\t2") && is("Seccomp_filters:\t2"),
        "{of_keeper}"
    );
    assert!(
        service
            .ask(&["-v", "status"])
            .contains("sandbox: seccomp enforced")
    );
    Ok(())
}
