//! Ports: closed, filtered, prohibited, and servers that do not serve.

use std::os::fd::AsRawFd;

use socket2::{Domain, SockRef, Socket, Type};

use super::*;

pub const SCENARIOS: &[Scenario] = &[
    ("port-closed", "port_closed", port_closed),
    ("port-closed", "udp_port_closed", udp_port_closed),
    ("port-closed", "own_port_closed", own_port_closed),
    (
        "port-closed",
        "port_rejected_with_a_reset",
        port_rejected_with_a_reset,
    ),
    (
        "port-filtered",
        "port_filtered_by_the_target",
        port_filtered_by_the_target,
    ),
    (
        "port-filtered",
        "port_filtered_by_a_router",
        port_filtered_by_a_router,
    ),
    (
        "port-prohibited",
        "port_prohibited_by_a_router",
        port_prohibited_by_a_router,
    ),
    (
        "port-prohibited",
        "port_prohibited_by_the_target",
        port_prohibited_by_the_target,
    ),
    ("accept-queue-full", "accept_queue_full", accept_queue_full),
    ("syn-queue-full", "syn_queue_full", syn_queue_full),
    ("syn-cookies", "syn_cookies", syn_cookies),
    (
        "reset-after-accept",
        "reset_after_accept",
        reset_after_accept,
    ),
    (
        "accepted-then-silent",
        "accepted_then_silent",
        accepted_then_silent,
    ),
];

const WEB: [&str; 2] = ["10.3.0.9:443", "[fd00:3::9]:443"];

fn port_closed() -> Outcome {
    let net = net();
    for target in WEB {
        net.fault(target, "port-closed").proved();
    }
    // Also of a host that does not answer echo requests.
    firewall(&net.t, "input", "icmp type echo-request drop");
    net.fault(WEB[0], "port-closed").proved();
    Ok(())
}

fn udp_port_closed() -> Outcome {
    let net = net();
    for target in ["10.3.0.9:53/udp", "[fd00:3::9]:5000/udp"] {
        net.fault(target, "port-closed").proved();
    }
    Ok(())
}

fn own_port_closed() -> Outcome {
    let net = net();
    for target in ["10.1.0.1:443", "[::1]:443", "127.0.0.1:53/udp"] {
        net.fault(target, "port-closed");
    }
    Ok(())
}

/// A firewall in front of the target, which answers for it.
fn port_rejected_with_a_reset() -> Outcome {
    let net = net();
    let _server = patient(&net.t, 443);
    firewall(&net.r1, "forward", "tcp dport 443 reject with tcp reset");
    let report = net.fault(WEB[0], "port-closed");
    assert!(
        report.text.contains("a firewall in front of the target"),
        "{}",
        report.text
    );
    Ok(())
}

fn port_filtered_by_the_target() -> Outcome {
    let net = net();
    let _server = patient(&net.t, 443);
    firewall(&net.t, "input", "tcp dport 443 drop");
    for target in WEB {
        net.fault(target, "port-filtered");
    }
    Ok(())
}

fn port_filtered_by_a_router() -> Outcome {
    let net = net();
    let _server = patient(&net.t, 443);
    firewall(&net.r2, "forward", "tcp dport 443 drop");
    let summary = |report: Diagnosis| report.findings[0]["summary"].to_string();
    for (target, router) in [(WEB[0], "10.2.0.2"), (WEB[1], "fd00:2::2")] {
        let summary = summary(net.fault(target, "port-filtered"));
        let words = format!("SYNs reach {router} (hop 2), the last router that answers");
        assert!(summary.contains(&words), "{summary}");
    }
    // The first one, which answers them itself before it looks at its rules.
    firewall(&net.r2, "forward", "");
    firewall(&net.r1, "forward", "tcp dport 443 drop");
    let report = summary(net.fault(WEB[0], "port-filtered"));
    let words = "SYNs reach 10.1.0.254 (hop 1), and none is answered by 10.2.0.2 (hop 2)";
    assert!(report.contains(words), "{report}");
    firewall(&net.r1, "forward", "");
    // And the answers only.
    firewall(&net.r2, "forward", "tcp sport 443 drop");
    net.fault(WEB[1], "port-filtered");
    Ok(())
}

fn port_prohibited_by_a_router() -> Outcome {
    let net = net();
    let _server = patient(&net.t, 443);
    for kind in ["admin-prohibited", "host-unreachable", "port-unreachable"] {
        firewall(
            &net.r2,
            "forward",
            &format!("meta l4proto {{ tcp, udp }} th dport 443 reject with icmpx {kind}"),
        );
        let report = net.fault(WEB[0], "port-prohibited");
        report.proved();
        let summary = report.findings[0]["summary"].to_string();
        assert!(summary.contains("10.2.0.2 rejects"), "{summary}");
    }
    net.fault(WEB[1], "port-prohibited");
    net.fault("10.3.0.9:443/udp", "port-prohibited");
    Ok(())
}

fn port_prohibited_by_the_target() -> Outcome {
    let net = net();
    let _server = patient(&net.t, 443);
    firewall(
        &net.t,
        "input",
        "tcp dport 443 reject with icmpx admin-prohibited",
    );
    for target in WEB {
        let report = net.fault(target, "port-prohibited");
        let summary = report.findings[0]["summary"].to_string();
        assert!(summary.contains("the target"), "{summary}");
    }
    Ok(())
}

/// A socket of h that listens on a port with this backlog.
fn listening(h: &Host, port: u16, backlog: i32) -> Socket {
    h.run(|| {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket
            .bind(&socket_address("0.0.0.0", port).into())
            .unwrap();
        socket.listen(backlog).unwrap();
        socket
    })
}

fn accept_queue_full() -> Outcome {
    let net = net();
    let server = listening(&net.h, 8080, 1);
    assert!(server.as_raw_fd() >= 0);
    let clients: Vec<Socket> = net.h.run(|| {
        let connect = |_| {
            let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
            socket.set_nonblocking(true).unwrap();
            // It goes on by itself.
            let _ = socket.connect(&socket_address("10.1.0.1", 8080).into());
            socket
        };
        (0..4).map(connect).collect()
    });
    let full = || {
        let shown = support::printed(&net.h, "ss", &["-Hltn", "sport = :8080"]);
        shown.split_whitespace().nth(1) == Some("2")
    };
    assert!(wait_until(PATIENCE, full));
    let report = net.fault("10.1.0.1:8080", "accept-queue-full");
    report.proved();
    drop(clients);
    Ok(())
}

/// A server of h on port 8080 while `test` runs, whose queue is full of half-open connections from addresses of which no
/// answer comes. `counter` moves then.
fn while_flooded(cookies: &str, counter: &str, test: impl FnOnce(&Net)) -> Outcome {
    let net = net();
    net.h.sysctl("net/ipv4/tcp_syncookies", cookies)?;
    let _server = listening(&net.h, 8080, 8);
    // What h answers gets no farther.
    firewall(&net.r1, "prerouting", "tcp sport 8080 drop");
    let mac = net.h.mac("e0")?;
    let _flood = send_frames(&net.r1, "e0", move |number| {
        let from = [10, 3, 1, (number % 250) as u8];
        ethernet(mac, 0x0800, &syn(from, [10, 1, 0, 1], number as u16, 8080))
    });
    let full = || {
        let counters = net.h.proc_net("netstat");
        let mut lines = counters.lines().filter(|line| line.starts_with("TcpExt:"));
        let (names, values) = (lines.next().unwrap(), lines.next().unwrap());
        let mut both = names.split(' ').zip(values.split(' '));
        both.any(|(name, value)| name == counter && value != "0")
    };
    assert!(wait_until(PATIENCE, full));
    test(&net);
    Ok(())
}

fn syn_queue_full() -> Outcome {
    while_flooded("0", "TCPReqQFullDrop", |net| {
        net.fault("10.1.0.1:8080", "syn-queue-full");
    })
}

/// The connection is accepted all the same.
fn syn_cookies() -> Outcome {
    while_flooded("1", "TCPReqQFullDoCookies", |net| {
        net.doctor(&["10.1.0.1:8080"])
            .healthy_but("warning", "syn-cookies");
    })
}

/// A SYN in an IPv4 packet.
fn syn(from: [u8; 4], to: [u8; 4], number: u16, port: u16) -> Vec<u8> {
    use netsonde_core::wire::cursor::sum;
    let mut segment = (1024 + number % 60_000).to_be_bytes().to_vec();
    segment.extend_from_slice(&port.to_be_bytes());
    segment.extend_from_slice(&[0, 0, 0, 1, 0, 0, 0, 0, 0x50, 2, 0xff, 0xff, 0, 0, 0, 0]);
    let pseudo = sum(&to, sum(&from, 6 + segment.len() as u32));
    let check = !(sum(&segment, pseudo) as u16);
    segment[16..18].copy_from_slice(&check.to_be_bytes());
    ipv4(
        (from.into(), to.into()),
        (6, 63),
        (number, 0),
        &[],
        &segment,
    )
}

fn reset_after_accept() -> Outcome {
    let net = net();
    let _server = tcp(&net.t, 443, |stream| {
        let _ = SockRef::from(&stream).set_linger(Some(Duration::ZERO));
    });
    for target in WEB {
        let report = net.fault(target, "reset-after-accept");
        report.proved();
    }
    Ok(())
}

/// What speaks first is silent; and silence on another port is nothing.
fn accepted_then_silent() -> Outcome {
    let net = net();
    let _servers = (patient(&net.t, 22), patient(&net.t, 80));
    net.fault("10.3.0.9:22", "accepted-then-silent");
    net.doctor(&["10.3.0.9:80"]).healthy();
    Ok(())
}
