//! What a capture costs the host's own traffic: bulk TCP between two hosts, alone and beside each tap in turn.
//!
//! ```text
//!   a  e0 10.0.0.1 ---------- 10.0.0.2 e0  b: the tap
//!         sender                    receiver
//! ```
//! `cargo bench --bench tax [-- SECONDS ROUNDS] [NETSONDED...]`; two seconds, five rounds. Further builds of the service,
//! by their paths, run in the same rounds. CPU is that of sender, receiver and the kernel's side of the taps, which runs
//! in their context; it depends less on what else the machine does than the throughput. The small datagrams show the
//! price of a packet, of which bulk TCP has few.
#![allow(clippy::unwrap_used)]

mod support;

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use netsonde::daemon::engine::ring::Ring as Reader;
use netsonde::daemon::keeper::filter::{Code, Ring, program};
use netsonde::lab::{self, Host, Running, traffic, wait_until};
use netsonde::linux::mapping::Mapping;
use netsonde::linux::option::set_option;
use netsonde_core::config::Config;
use netsonde_core::recorder::RingMark;
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use socket2::{Domain, Protocol, SockFilter, Socket, Type};
use support::{has, median};

const ROUNDS: usize = 5;
/// Bytes of a read or write: few system calls, so that the kernel's side dominates.
const CHUNK: usize = 256 * 1024;
const DATAGRAMS: u64 = 200_000;
const TO: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(10, 0, 0, 2), 5000);

/// A tap.
enum Tap {
    None,
    /// A program, and the file that shows that it is ready; without one, its packet socket does.
    Program(Vec<String>, Option<String>),
    /// Two rings with these filters, bytes of a block and blocks, and nothing else. In a group they share one tap.
    Rings([(Code, u32, u32); 2], bool),
}

/// ARP, ICMP and IGMP in one ring, all others in the other.
fn simple(is_control: bool) -> Code {
    let (control, other) = if is_control { (2048, 0) } else { (0, 128) };
    vec![
        // EtherType, then the protocol of IPv4.
        (0x28, 0, 0, 12),
        (0x15, 4, 0, 0x0806),
        (0x15, 0, 4, 0x0800),
        (0x30, 0, 0, 23),
        (0x15, 1, 0, 1),
        (0x15, 0, 1, 2),
        (0x06, 0, 0, control),
        (0x06, 0, 0, other),
    ]
}

/// Opens a ring on all interfaces.
fn open(code: &Code, block_bytes: u32, blocks: u32) -> std::io::Result<(Socket, Reader)> {
    let all = Protocol::from(i32::from((libc::ETH_P_ALL as u16).to_be()));
    let socket = Socket::new(Domain::PACKET, Type::RAW, Some(all))?;
    let version = libc::tpacket_versions::TPACKET_V3 as libc::c_int;
    set_option(&socket, libc::SOL_PACKET, libc::PACKET_VERSION, &version)?;
    let request = libc::tpacket_req3 {
        tp_block_size: block_bytes,
        tp_block_nr: blocks,
        tp_frame_size: 2048,
        tp_frame_nr: blocks * (block_bytes / 2048),
        tp_retire_blk_tov: 20,
        tp_sizeof_priv: 0,
        tp_feature_req_word: 0,
    };
    set_option(&socket, libc::SOL_PACKET, libc::PACKET_RX_RING, &request)?;
    let code: Vec<SockFilter> = code
        .iter()
        .map(|(code, jt, jf, k)| SockFilter::new(*code, *jt, *jf, *k))
        .collect();
    socket.attach_filter(&code)?;
    let mapping = Mapping::new(&socket, block_bytes as usize * blocks as usize)?;
    let mark = RingMark::default();
    Ok((socket, Reader::new(mapping, block_bytes, blocks, &mark)))
}

/// Puts two sockets into a group, in which ARP, ICMP and IGMP are the first one's (packet(7), PACKET_FANOUT_CBPF).
fn group(sockets: [&Socket; 2]) -> std::io::Result<()> {
    const CBPF: i32 = 6;
    for socket in sockets {
        set_option(
            socket,
            libc::SOL_PACKET,
            libc::PACKET_FANOUT,
            &(CBPF << 16 | 7),
        )?;
    }
    let mut code: Vec<libc::sock_filter> = simple(true)
        .iter()
        .map(|(code, jt, jf, k)| libc::sock_filter {
            code: *code,
            jt: *jt,
            jf: *jf,
            k: if *code == 6 { u32::from(*k == 0) } else { *k },
        })
        .collect();
    let program = libc::sock_fprog {
        len: code.len() as u16,
        filter: code.as_mut_ptr(),
    };
    set_option(
        sockets[0],
        libc::SOL_PACKET,
        libc::PACKET_FANOUT_DATA,
        &program,
    )
}

/// Returns the CPU time of this process.
fn own_cpu() -> Duration {
    let usage = getrusage(UsageWho::RUSAGE_SELF).unwrap();
    let part = |time: nix::sys::time::TimeVal| {
        Duration::from_secs(time.tv_sec() as u64) + Duration::from_micros(time.tv_usec() as u64)
    };
    part(usage.user_time()) + part(usage.system_time())
}

/// What was measured beside a tap: Gbit/s of bulk TCP, its CPU in milliseconds per gigabyte, and that of small
/// datagrams in nanoseconds each.
type Measured = [f64; 3];

/// Sends small datagrams, and bulk TCP for a time.
fn measure(a: &Host, b: &Host, seconds: f64) -> Measured {
    let before = own_cpu();
    a.run(|| traffic::numbered_udp(TO, DATAGRAMS, 18, None))
        .unwrap();
    let datagram = (own_cpu() - before).as_nanos() as f64 / DATAGRAMS as f64;
    let (rate, cpu) = bulk(a, b, seconds);
    [rate, cpu, datagram]
}

/// Returns Gbit/s, and CPU milliseconds per gigabyte.
fn bulk(a: &Host, b: &Host, seconds: f64) -> (f64, f64) {
    let listener = b.run(|| TcpListener::bind("10.0.0.2:0")).unwrap();
    let to = listener.local_addr().unwrap();
    let mut sender = a.run(|| TcpStream::connect(to)).unwrap();
    let mut receiver = listener.accept().unwrap().0;
    let (start, before) = (Instant::now(), own_cpu());
    let received = std::thread::scope(|scope| {
        let received = scope.spawn(move || {
            let mut room = vec![0; CHUNK];
            let mut sum = 0u64;
            loop {
                match receiver.read(&mut room).unwrap() {
                    0 => return sum,
                    some => sum += some as u64,
                }
            }
        });
        scope.spawn(move || {
            let chunk = vec![7; CHUNK];
            while start.elapsed().as_secs_f64() < seconds {
                sender.write_all(&chunk).unwrap();
            }
        });
        received.join().unwrap()
    });
    let (took, cpu) = (start.elapsed(), own_cpu() - before);
    let gigabytes = received as f64 / 1e9;
    (
        gigabytes * 8.0 / took.as_secs_f64(),
        cpu.as_secs_f64() * 1e3 / gigabytes,
    )
}

/// As [`measure`], beside a tap.
fn beside(tap: &Tap, a: &Host, b: &Host, seconds: f64) -> Measured {
    match tap {
        Tap::None => measure(a, b, seconds),
        Tap::Program(command, ready) => {
            let mut program = Command::new(&command[0]);
            program
                .args(&command[1..])
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null());
            let mut running = b.spawn(&mut program).unwrap();
            let is_ready = || match ready {
                Some(path) => fs::metadata(path).is_ok(),
                None => b.proc_net("packet").lines().count() > 1,
            };
            assert!(wait_until(Duration::from_secs(10), is_ready), "{command:?}");
            std::thread::sleep(Duration::from_millis(300));
            let result = measure(a, b, seconds);
            stop(&mut running);
            result
        }
        Tap::Rings(rings, is_group) => {
            let mut opened: Vec<(Socket, Reader)> = b.run(|| {
                rings
                    .iter()
                    .map(|(code, bytes, blocks)| open(code, *bytes, *blocks).unwrap())
                    .collect()
            });
            if *is_group {
                group([&opened[0].0, &opened[1].0]).unwrap();
            }
            let is_over = AtomicBool::new(false);
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    while !is_over.load(Ordering::Relaxed) {
                        for (_, reader) in &mut opened {
                            while reader.block().is_some() {
                                reader.release();
                            }
                        }
                        std::thread::sleep(Duration::from_millis(10));
                    }
                });
                let result = measure(a, b, seconds);
                is_over.store(true, Ordering::Relaxed);
                result
            })
        }
    }
}

fn stop(running: &mut Running) {
    let _ = kill(Pid::from_raw(running.child().id() as i32), Signal::SIGTERM);
    wait_until(Duration::from_secs(5), || {
        running
            .child()
            .try_wait()
            .is_ok_and(|ended| ended.is_some())
    });
}

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let mut numbers = words.iter().filter_map(|word| word.parse::<f64>().ok());
    let seconds = numbers.next().unwrap_or(2.0);
    let rounds = numbers.next().map_or(ROUNDS, |rounds| rounds as usize);
    if let Err(error) = lab::enter() {
        println!("SKIPPED: {error}");
        return;
    }
    let (a, b) = (Host::new("a").unwrap(), Host::new("b").unwrap());
    lab::veth(&a, "e0", &b, "e0").unwrap();
    a.address("e0", "10.0.0.1/24").unwrap();
    b.address("e0", "10.0.0.2/24").unwrap();
    a.run(|| traffic::ping("10.0.0.2".parse().unwrap(), Duration::from_secs(5)))
        .unwrap();
    fs::create_dir_all("/run/bench").unwrap();
    let split =
        |text: &str| -> Vec<String> { text.split_whitespace().map(str::to_owned).collect() };
    let service = |path: &str, number: usize| {
        let socket = format!("/run/bench/s{number}");
        let command = format!("{path} --allow-root --socket {socket} --state /run/bench");
        Tap::Program(split(&command), Some(socket))
    };
    let config = Config::default();
    let own = |ring| program(ring, config.recorder.snap.bytes(), &config.recorder.rule);
    let rings = |control, bulk, is_group| {
        Tap::Rings([(control, 64 << 10, 128), (bulk, 512 << 10, 64)], is_group)
    };
    let mut taps = vec![
        ("no tap".to_owned(), Tap::None),
        (
            "two bare rings".into(),
            rings(simple(true), simple(false), false),
        ),
        (
            "two bare rings, netsonded's filters".into(),
            rings(own(Ring::Control), own(Ring::Bulk), false),
        ),
        (
            "two bare rings in a group".into(),
            rings(simple(true), simple(false), true),
        ),
        (
            "tcpdump -s 128 -w /dev/null".into(),
            Tap::Program(split("tcpdump -n -i e0 -Z root -s 128 -w /dev/null"), None),
        ),
        (
            "dumpcap -s 128 -w (memory)".into(),
            Tap::Program(
                split("dumpcap -q -i e0 -s 128 -b filesize:100000 -b files:2 -w /run/bench/d"),
                None,
            ),
        ),
        (
            "netsonded".into(),
            service(env!("CARGO_BIN_EXE_netsonded"), 0),
        ),
    ];
    for (word, number) in words.iter().filter(|word| word.contains('/')).zip(1..) {
        taps.push((word.clone(), service(word, number)));
    }
    taps.retain(|(name, tap)| match tap {
        Tap::Program(command, _) if !has(&command[0]) => {
            println!("SKIPPED {name}: not installed");
            false
        }
        _ => true,
    });
    // A socket that takes the datagrams, so that no ICMP errors answer them.
    let _sink = b.run(|| std::net::UdpSocket::bind(TO)).unwrap();
    let mut results: Vec<[Vec<f64>; 3]> = vec![Default::default(); taps.len()];
    for _ in 0..rounds {
        for ((_, tap), result) in taps.iter().zip(&mut results) {
            for (all, one) in result.iter_mut().zip(beside(tap, &a, &b, seconds)) {
                all.push(one);
            }
        }
    }
    println!(
        "bulk TCP for {seconds} s and {DATAGRAMS} datagrams each, {rounds} rounds, ratios to no tap, nothing else \
         changed; the median of Gbit/s, and of CPU the least, which other load disturbs least"
    );
    let results: Vec<Measured> = results
        .into_iter()
        .map(|[mut rate, cpu, datagram]| {
            let least = |all: Vec<f64>| all.into_iter().fold(f64::INFINITY, f64::min);
            [median(&mut rate), least(cpu), least(datagram)]
        })
        .collect();
    let alone = results[0];
    for ((name, _), [rate, cpu, datagram]) in taps.iter().zip(results) {
        println!(
            "{name:36} {rate:5.1} Gbit/s ({:.3}), CPU {cpu:4.0} ms a GB ({:.3}), {datagram:5.0} ns a datagram ({:+.0})",
            rate / alone[0],
            cpu / alone[1],
            datagram - alone[2]
        );
    }
}
