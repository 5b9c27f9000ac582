//! Sysctls, drops, and the service itself.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use netsonde::lab::traffic;
use nix::sys::signal::{Signal, kill};

use super::*;

pub const SCENARIOS: &[Scenario] = &[
    ("forwarding-off", "forwarding_off", forwarding_off),
    ("ttl-low", "ttl_low", ttl_low),
    ("ra-ignored", "ra_ignored", ra_ignored),
    ("drops-grow", "drops_grow", drops_grow),
    (
        "receive-buffer-overrun",
        "receive_buffer_overrun",
        receive_buffer_overrun,
    ),
    ("recorder-gaps", "recorder_gaps", recorder_gaps),
    ("service-limits", "service_limits", service_limits),
    ("sandbox-partly", "sandbox_partly", sandbox_partly),
    ("historian-silent", "historian_silent", historian_silent),
    ("historian-trouble", "historian_trouble", historian_trouble),
];

/// The other host takes this one for its router.
fn forwarding_off() -> Outcome {
    let Net { h, g } = net();
    g.route("10.9.0.0/16", "10.0.0.1")?;
    let service = Service::start(&h, &[]);
    doctor(&h, &service).healthy();
    let socket = g.run(|| UdpSocket::bind("10.0.0.254:0"))?;
    let _sender = Background::counting(move || {
        let _ = socket.send_to(b"through you", "10.9.0.9:9");
        false
    });
    let report = doctor(&h, &service);
    report.healthy_but("warning", "forwarding-off");
    report.proved();
    drop(_sender);
    g.route("fd00:9::/64", "fd00:0::1")?;
    let socket = g.run(|| UdpSocket::bind("[fd00:0::fe]:0"))?;
    let _sender = Background::counting(move || {
        let _ = socket.send_to(b"through you", "[fd00:9::9]:9");
        false
    });
    let report = doctor(&h, &service);
    report.healthy_but("warning", "forwarding-off");
    assert!(report.text.contains("Ip6InAddrErrors"), "{}", report.text);
    Ok(())
}

fn ttl_low() -> Outcome {
    let Net { h, g: _g } = net();
    let service = Service::start(&h, &[]);
    h.sysctl("net/ipv4/ip_default_ttl", "8")?;
    doctor(&h, &service).healthy_but("warning", "ttl-low");
    h.sysctl("net/ipv4/ip_default_ttl", "64")?;
    h.sysctl("net/ipv6/conf/e0/hop_limit", "8")?;
    doctor(&h, &service).healthy_but("warning", "ttl-low");
    Ok(())
}

/// A router announcement (RFC 4861) without a prefix; its lifetime is 1800 s.
fn announcement(from: &str) -> Vec<u8> {
    use netsonde_core::wire::cursor::sum;
    let (from, to): (std::net::Ipv6Addr, std::net::Ipv6Addr) =
        (from.parse().unwrap(), "ff02::1".parse().unwrap());
    let mut message = vec![134, 0, 0, 0, 64, 0, 7, 8, 0, 0, 0, 0, 0, 0, 0, 0];
    // Its link-layer address.
    message.extend_from_slice(&[1, 1, 2, 0, 0, 0, 0, 0x55]);
    let pseudo = sum(&to.octets(), sum(&from.octets(), 58 + message.len() as u32));
    let check = !(sum(&message, pseudo) as u16);
    message[2..4].copy_from_slice(&check.to_be_bytes());
    let mut packet = vec![0x60, 0, 0, 0];
    packet.extend_from_slice(&(message.len() as u16).to_be_bytes());
    packet.extend_from_slice(&[58, 255]);
    packet.extend_from_slice(&from.octets());
    packet.extend_from_slice(&to.octets());
    packet.extend_from_slice(&message);
    ethernet(mac_of("ff02::1"), 0x86dd, &packet)
}

fn ra_ignored() -> Outcome {
    let Net { h, g } = net();
    inside(&h, "ip", &["-6", "route", "del", "default"]);
    h.sysctl("net/ipv6/conf/e0/accept_ra", "1")?;
    h.sysctl("net/ipv6/conf/e0/forwarding", "1")?;
    let service = Service::start(&h, &[]);
    doctor(&h, &service).healthy();
    send_frame(&g, "e0", &announcement("fe80::55"));
    let report = until_found(&h, &service, "ra-ignored");
    report.healthy_but("warning", "ra-ignored");
    // And what the doctor advises helps.
    h.sysctl("net/ipv6/conf/e0/accept_ra", "2")?;
    send_frame(&g, "e0", &announcement("fe80::55"));
    let routed = || {
        h.proc_net("ipv6_route")
            .contains("fe800000000000000000000000000055")
    };
    assert!(wait_until(PATIENCE, routed));
    assert!(!doctor(&h, &service).ids().contains(&"ra-ignored"));
    Ok(())
}

/// A program that listens and does not accept.
fn drops_grow() -> Outcome {
    let Net { h, g: _g } = net();
    let service = Service::start(&h, &[]);
    doctor(&h, &service).healthy();
    let listener = h.run(|| {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None)?;
        socket.bind(
            &"127.0.0.1:5001"
                .parse::<std::net::SocketAddr>()
                .unwrap()
                .into(),
        )?;
        socket.listen(1)?;
        Ok::<TcpListener, std::io::Error>(socket.into())
    })?;
    let address = listener.local_addr()?;
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| -> Outcome {
        scope.spawn(|| {
            h.run(|| {
                let mut kept: Vec<std::io::Result<TcpStream>> = Vec::new();
                while !stop.load(Ordering::Relaxed) {
                    let wait = Duration::from_millis(20);
                    kept.push(TcpStream::connect_timeout(&address, wait));
                }
            });
        });
        let _stop = StopOnDrop(&stop);
        let report = until_found(&h, &service, "drops-grow");
        assert!(report.text.contains("ListenOverflows"), "{}", report.text);
        assert_eq!(
            (report.code, report.verdict.as_str()),
            (0, "healthy"),
            "{}",
            report.text
        );
        assert!(
            report.ids().iter().all(|id| *id == "drops-grow"),
            "{}",
            report.text
        );
        Ok(())
    })
}

/// A program that does not read.
fn receive_buffer_overrun() -> Outcome {
    let Net { h, g } = net();
    let service = Service::start(&h, &[]);
    let deaf = h.run(|| UdpSocket::bind("10.0.0.1:5000"))?;
    doctor(&h, &service).healthy();
    let socket = g.run(|| UdpSocket::bind("10.0.0.254:0"))?;
    let _sender = Background::counting(move || {
        for _ in 0..20 {
            let _ = socket.send_to(&[0; 1000], ("10.0.0.1", PORT));
        }
        false
    });
    let report = until_found(&h, &service, "receive-buffer-overrun");
    report.healthy_but("warning", "receive-buffer-overrun");
    report.proved();
    let owner = format!("({})", std::process::id());
    assert!(report.text.contains(&owner), "{}", report.text);
    drop(deaf);
    Ok(())
}

/// The engine stands still while more comes than the ring has room for.
fn recorder_gaps() -> Outcome {
    let Net { h, g } = net();
    let service = Service::with_config(&h, "[rings]\nbulk = \"1 MiB\"\n", &[]);
    doctor(&h, &service).healthy();
    let engine = service.engine();
    kill(engine, Signal::SIGSTOP)?;
    let to = "10.0.0.1:9".parse()?;
    let mac = h.mac("e0")?;
    let from = "10.0.0.254".parse()?;
    g.run(|| traffic::numbered_frames("e0", mac, (from, to), 40_000, 1000, None))?;
    kill(engine, Signal::SIGCONT)?;
    service.until("the loss is declared", |status| {
        support::settled(status) && status["gaps"].to_string().contains("ring_drop")
    });
    // The kernel may tell of the last ones only now.
    let report = until_found(&h, &service, "recorder-gaps");
    report.healthy_but("warning", "recorder-gaps");
    assert!(report.text.contains("ring_drop"), "{}", report.text);
    Ok(())
}

/// Somebody sends requests that are too long.
fn service_limits() -> Outcome {
    let Net { h, g: _g } = net();
    let service = Service::start(&h, &[]);
    doctor(&h, &service).healthy();
    let path = service.socket();
    let _client = Background::counting(move || {
        if let Ok(mut stream) = UnixStream::connect(&path) {
            let _ = stream.write_all(&[b'x'; 70_000]);
            let _ = stream.read_to_end(&mut Vec::new());
        }
        std::thread::sleep(Duration::from_millis(50));
        false
    });
    let report = until_found(&h, &service, "service-limits");
    assert!(
        report.ids().iter().all(|id| *id == "service-limits"),
        "{}",
        report.text
    );
    assert!(report.text.contains("request bytes"), "{}", report.text);
    assert_eq!(
        (report.code, report.verdict.as_str()),
        (0, "healthy"),
        "{}",
        report.text
    );
    Ok(())
}

fn sandbox_partly() -> Outcome {
    let Net { h, g: _g } = net();
    let service = Service::with_config(&h, "[sandbox]\nviolation = \"refuse\"\n", &[]);
    doctor(&h, &service).healthy_but("note", "sandbox-partly");
    Ok(())
}

/// A historian that works, and then hangs.
fn historian_silent() -> Outcome {
    let Net { h, g: _g } = net();
    let service = Service::start(&h, &[]);
    let mut historian = monitored::historian(&h, &service.socket());
    let target = serde_json::json!({ "name": "gateway", "targets": ["10.0.0.254"] });
    monitored::call(
        &service.socket(),
        "AddMonitor",
        &serde_json::json!({ "monitor": target }),
    )?;
    let is_connected = || {
        monitored::call(&service.socket(), "Status", &serde_json::json!({}))
            .is_ok_and(|status| status["connected"] == true)
    };
    assert!(wait_until(PATIENCE, is_connected));
    doctor(&h, &service).healthy();
    let pid = nix::unistd::Pid::from_raw(historian.child().id() as i32);
    kill(pid, Signal::SIGSTOP)?;
    let report = doctor(&h, &service);
    let status = service.netsonde(&["status"]);
    kill(pid, Signal::SIGCONT)?;
    report.healthy_but("warning", "historian-silent");
    // Both say how long they waited.
    let waited = "netsonde-historian did not reply for 2 s: is it overloaded or stopped?";
    let status = String::from_utf8(status.stdout)?;
    assert_eq!(status.lines().last(), Some(waited), "{status}");
    assert!(report.text.contains(waited), "{}", report.text);
    assert!(
        report.text.contains("no outage is noticed"),
        "{}",
        report.text
    );
    Ok(())
}

/// Its monitors cannot be read.
fn historian_trouble() -> Outcome {
    let Net { h, g: _g } = net();
    let service = Service::start(&h, &[]);
    let file = service.socket().with_file_name("monitors.toml");
    std::fs::create_dir(&file)?;
    let _historian = monitored::historian(&h, &service.socket());
    let report = doctor(&h, &service);
    report.healthy_but("warning", "historian-trouble");
    assert!(report.text.contains("monitors.toml"), "{}", report.text);
    Ok(())
}
