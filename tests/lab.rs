//! The laboratory itself: what it builds is what it says.
#![allow(missing_docs, clippy::unwrap_used)]

mod support;

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener, TcpStream, UdpSocket};
use std::process::ExitCode;
use std::time::Duration;

use netsonde::lab::router::hop::{Counts, Quotes, Translation};
use netsonde::lab::router::{self, Network, TARGET};
use netsonde::lab::wire::{Wire, every};
use netsonde::lab::{BridgeOptions, Host, bridge, bridge_port, traffic, veth, wait_until};
use support::{PATIENCE, Test, pair};

type Outcome = Result<(), Box<dyn std::error::Error>>;

fn main() -> ExitCode {
    support::main(&[
        (
            "two_hosts_ping_each_other",
            two_hosts_ping_each_other as Test,
        ),
        ("three_hosts_on_a_bridge", three_hosts_on_a_bridge),
        ("wire_applies_its_settings", wire_applies_its_settings),
        (
            "numbered_packets_arrive_in_order",
            numbered_packets_arrive_in_order,
        ),
        ("routers_carry_connections", routers_carry_connections),
        ("routers_count_hops_and_loss", routers_count_hops_and_loss),
        (
            "shutdown_leaves_nothing_behind",
            shutdown_leaves_nothing_behind,
        ),
    ])
}

fn reaches(from: &Host, to: &str) -> bool {
    let to: IpAddr = to.parse().unwrap();
    wait_until(PATIENCE, || {
        from.run(|| traffic::ping(to, Duration::from_millis(500)))
            .unwrap()
            .is_some()
    })
}

fn two_hosts_ping_each_other() -> Outcome {
    let (a, b) = pair();
    assert!(reaches(&a, "10.0.0.2") && reaches(&b, "10.0.0.1"));
    b.down("e0")?;
    let gone = a.run(|| traffic::ping("10.0.0.2".parse().unwrap(), Duration::from_millis(50)))?;
    assert_eq!(gone, None);
    Ok(())
}

/// ```text
///   h1 10.0.0.1 --+
///   h2 10.0.0.2 --+-- br0 (b)
///   h3 10.0.0.3 --+
/// ```
fn three_hosts_on_a_bridge() -> Outcome {
    let b = Host::new("b")?;
    bridge(
        &b,
        "br0",
        BridgeOptions {
            snooping: true,
            querier: false,
            ..BridgeOptions::default()
        },
    )?;
    let mut hosts = Vec::new();
    for number in 1..=3 {
        let host = Host::new(&format!("h{number}"))?;
        let port = format!("p{number}");
        veth(&host, "e0", &b, &port)?;
        bridge_port(&b, "br0", &port)?;
        host.address("e0", &format!("10.0.0.{number}/24"))?;
        hosts.push(host);
    }
    for host in &hosts {
        for number in 1..=3 {
            assert!(
                reaches(host, &format!("10.0.0.{number}")),
                "{} to {number}",
                host.name()
            );
        }
    }
    Ok(())
}

/// ```text
///   a  e0 10.0.0.1 --- wire --- 10.0.0.2 e0  b
/// ```
fn wire_applies_its_settings() -> Outcome {
    let (a, b) = (Host::new("a")?, Host::new("b")?);
    let wire = Wire::new(&a, "e0", &b, "e0")?;
    a.address("e0", "10.0.0.1/24")?;
    b.address("e0", "10.0.0.2/24")?;
    assert!(reaches(&a, "10.0.0.2"));
    wire.a_to_b(|way| way.delay = Duration::from_millis(40));
    let took = a.run(|| traffic::ping("10.0.0.2".parse().unwrap(), Duration::from_secs(5)))?;
    assert!(took.unwrap() >= Duration::from_millis(40));
    wire.a_to_b(|way| way.delay = Duration::ZERO);

    let numbered = |frame: &[u8]| frame.len() == 14 + 20 + 8 + 100 && frame[23] == 17;
    let only = |n: u64| {
        let mut nth = every(n);
        Box::new(move |frame: &[u8]| numbered(frame) && nth(frame)) as netsonde::lab::wire::Choose
    };
    wire.a_to_b(|way| {
        way.drop = Some(only(3));
        way.duplicate = Some(only(4));
    });
    let receiver = b.run(|| UdpSocket::bind("10.0.0.2:5000"))?;
    receiver.set_read_timeout(Some(Duration::from_secs(5)))?;
    let to = SocketAddrV4::new(Ipv4Addr::new(10, 0, 0, 2), 5000);
    a.run(|| traffic::numbered_udp(to, 24, 100, None))?;
    let mut expected = Vec::new();
    let mut passed = 0;
    for number in 0..24u64 {
        if (number + 1).is_multiple_of(3) {
            continue;
        }
        passed += 1;
        expected.push(number);
        if passed % 4 == 0 {
            expected.push(number);
        }
    }
    let mut got = Vec::new();
    let mut room = [0; 200];
    while got.len() < expected.len() {
        assert_eq!(receiver.recv(&mut room)?, 100);
        got.push(u64::from_be_bytes(room[..8].try_into()?));
    }
    assert_eq!(got, expected);
    let counts = wire.a_to_b(|way| way.counts);
    assert_eq!((counts.dropped, counts.duplicated), (8, 4));

    wire.a_to_b(|way| {
        way.drop = None;
        way.duplicate = None;
        way.corrupt = Some(only(1));
    });
    receiver.set_read_timeout(Some(Duration::from_millis(100)))?;
    a.run(|| traffic::numbered_udp(to, 5, 100, None))?;
    assert!(wait_until(PATIENCE, || wire
        .a_to_b(|way| way.counts.corrupted)
        == 5));
    assert!(
        receiver.recv(&mut room).is_err(),
        "the kernel drops what is corrupted"
    );
    Ok(())
}

fn numbered_packets_arrive_in_order() -> Outcome {
    let (a, b) = pair();
    assert!(reaches(&a, "10.0.0.2"));
    let receiver = b.run(|| UdpSocket::bind("10.0.0.2:5000"))?;
    receiver.set_read_timeout(Some(Duration::from_secs(5)))?;
    let to = SocketAddrV4::new(Ipv4Addr::new(10, 0, 0, 2), 5000);
    let sent = a.run(|| traffic::numbered_udp(to, 150, 64, Some(20_000)))?;
    assert_eq!(sent.packets, 150);
    let mut room = [0; 64];
    for expected in 0..150u64 {
        receiver.recv(&mut room)?;
        assert_eq!(u64::from_be_bytes(room[..8].try_into()?), expected);
    }
    Ok(())
}

/// Two hosts with routers in user space between them; both addresses are translated on the way.
fn routers_carry_connections() -> Outcome {
    let (h, t) = (Host::new("h")?, Host::new("t")?);
    let routers = Network::new(&h, &t, router::layers(&[1, 2, 1]))?;
    let at = |text: &str| text.parse::<IpAddr>().unwrap();
    routers.change(0, |router| {
        router.translation = Some(Translation {
            source: Some([at("192.0.2.7"), at("2001:db8::7")]),
            destination: Some([at("10.255.0.9"), at("fd00:255::9")]),
            quotes: Quotes::Left,
        });
    });
    for (address, inner, seen) in [
        (TARGET[0], "10.255.0.9/16", "192.0.2.7"),
        (TARGET[1], "fd00:255::9/32", "2001:db8::7"),
    ] {
        t.address("e0", inner)?;
        let to = SocketAddr::new(at(address), 7);
        let inner = SocketAddr::new(at(inner.split('/').next().unwrap()), 7);
        let (listener, echo) = t.run(|| (TcpListener::bind(inner), UdpSocket::bind(inner)));
        let (listener, echo) = (listener?, echo?);
        let mut stream = h.run(|| TcpStream::connect_timeout(&to, PATIENCE))?;
        stream.write_all(&[7; 40_000])?;
        let (mut accepted, from) = listener.accept()?;
        assert_eq!(from.ip(), at(seen));
        let mut all = vec![0; 40_000];
        accepted.read_exact(&mut all)?;
        assert!(all.iter().all(|byte| *byte == 7));
        let local = if to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
        let datagrams = h.run(|| UdpSocket::bind(local))?;
        datagrams.set_read_timeout(Some(PATIENCE))?;
        datagrams.send_to(b"hello", to)?;
        let (length, from) = echo.recv_from(&mut all)?;
        assert_eq!((&all[..length], from.ip()), (&b"hello"[..], at(seen)));
        echo.send_to(b"hello", from)?;
        assert_eq!(datagrams.recv_from(&mut all)?, (5, to));
    }
    Ok(())
}

fn routers_count_hops_and_loss() -> Outcome {
    let (h, t) = (Host::new("h")?, Host::new("t")?);
    let mut chain = router::chain(3);
    chain[1].delay = Duration::from_millis(15);
    chain[2].loss = [0.25, 0.0];
    let routers = Network::new(&h, &t, chain)?;
    let ping = || h.run(|| traffic::ping(TARGET[0].parse().unwrap(), Duration::from_secs(5)));
    let mut took = None;
    assert!(wait_until(PATIENCE, || {
        took = ping().unwrap();
        took.is_some()
    }));
    assert!(took.unwrap() >= Duration::from_millis(30), "{took:?}");
    routers.change(1, |router| router.delay = Duration::ZERO);
    routers.change(2, |router| router.counts = Counts::default());
    let receiver = t.run(|| UdpSocket::bind("10.255.0.2:5000"))?;
    let to = SocketAddrV4::new(Ipv4Addr::new(10, 255, 0, 2), 5000);
    // As many as the receiver's buffer holds.
    h.run(|| traffic::numbered_udp(to, 200, 64, Some(5000)))?;
    let counts = || routers.change(2, |router| router.counts);
    assert!(wait_until(PATIENCE, || counts().forwarded + counts().lost == 200));
    assert!((25..75).contains(&counts().lost), "{:?}", counts());
    receiver.set_read_timeout(Some(Duration::from_millis(200)))?;
    let mut room = [0; 64];
    let came = std::iter::from_fn(|| receiver.recv(&mut room).ok()).count();
    assert_eq!(came as u64, counts().forwarded);
    Ok(())
}

fn shutdown_leaves_nothing_behind() -> Outcome {
    let there = |host: &Host| host.proc_net("dev").lines().count();
    let (a, b) = (Host::new("a")?, Host::new("b")?);
    let before = there(&a);
    veth(&a, "e0", &b, "e0")?;
    assert_eq!(there(&a), before + 1);
    drop(b);
    // With the last descriptor of its namespace the peer goes, and so does its end.
    assert!(wait_until(PATIENCE, || there(&a) == before));
    Ok(())
}
