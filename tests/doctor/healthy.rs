//! Healthy networks of every topology, IPv4 and IPv6: no finding at all. NETSONDE_HEALTHY_RUNS says how
//! often each is asked (20 for a release).

use std::time::{Duration, Instant};

use super::*;

pub const SCENARIOS: &[Scenario] = &[
    ("", "healthy_pair", healthy_pair),
    ("", "healthy_two_links", healthy_two_links),
    ("", "healthy_switch", healthy_switch),
    ("", "healthy_router", healthy_router),
    ("", "healthy_router_v6", healthy_router_v6),
    (
        "",
        "healthy_two_ports_of_one_link",
        healthy_two_ports_of_one_link,
    ),
    ("", "healthy_announcements", healthy_announcements),
    ("", "healthy_macvlan", healthy_macvlan),
    ("", "healthy_sender", healthy_sender),
    ("", "healthy_join_of_the_doctor", healthy_join_of_the_doctor),
    ("", "healthy_late_receiver", healthy_late_receiver),
    ("", "healthy_large_datagrams", healthy_large_datagrams),
    ("", "healthy_two_filters", healthy_two_filters),
];

fn runs() -> usize {
    let wanted = std::env::var("NETSONDE_HEALTHY_RUNS").ok();
    wanted.and_then(|text| text.parse().ok()).unwrap_or(2)
}

fn asked(host: &Host, service: &Service, arguments: &[&str]) {
    for _ in 0..runs() {
        doctor(host, service, arguments).healthy();
    }
}

fn both(s: &Host, r: &Host, asked_at: &Host, interface: &str) -> Outcome {
    let service = Service::start(asked_at, &[]);
    for group in [GROUP, GROUP6] {
        let receiver = receive(r, group, interface);
        let sender = send(s, group, Sending::default());
        flows("healthy", &receiver, true);
        asked(asked_at, &service, &[group]);
        drop((sender, receiver));
    }
    Ok(())
}

fn healthy_pair() -> Outcome {
    let Pair { s, r } = pair();
    both(&s, &r, &r, "e0")
}

fn healthy_two_links() -> Outcome {
    let Pair { s, r } = two_links();
    r.route("0.0.0.0/0", "10.1.0.1")?;
    both(&s, &r, &r, "e0")
}

fn healthy_sender() -> Outcome {
    let Pair { s, r } = pair();
    both(&s, &r, &s, "e0")
}

/// A numbered stream that has been running since before anybody joined, at a switch that prunes.
fn running_stream() -> (Switched, Service, [Background; 2]) {
    let switched = switched();
    set_bridge(&switched.b, "mcast_membership_interval 26000");
    let service = Service::start(&switched.r, &[]);
    let mut asked = false;
    let querier = send_frames(&switched.s, "e0", move |_| {
        if std::mem::replace(&mut asked, true) {
            return ethernet([2, 0, 0, 0, 0, 9], 0x88b5, &[0; 46]);
        }
        let slow = QueryParams {
            interval: 125,
            ..Q3
        };
        query("10.0.0.1", None, slow, 1)
    });
    std::thread::sleep(Duration::from_millis(1200));
    let how = Sending {
        payload: |number| {
            let mut packet = vec![0; 64];
            let test = netsonde_core::multicast::test_packet::TestPacket {
                run: 1,
                number,
                sent_ns: 0,
            };
            test.write(&mut packet);
            packet
        },
        ..Sending::default()
    };
    let sender = send(&switched.s, GROUP, how);
    assert!(wait_until(support::PATIENCE, || sender.count() > 100));
    (switched, service, [querier, sender])
}

/// The doctor's own membership begins in the middle of the stream: what it missed is not lost.
fn healthy_join_of_the_doctor() -> Outcome {
    let (
        Switched {
            s: _s,
            r,
            r2: _r2,
            b: _b,
        },
        service,
        _background,
    ) = running_stream();
    r.route("0.0.0.0/0", "10.0.0.1")?;
    asked(&r, &service, &["--join", &channel()]);
    Ok(())
}

/// So does that of any receiver.
fn healthy_late_receiver() -> Outcome {
    let (
        Switched {
            s: _s,
            r,
            r2: _r2,
            b: _b,
        },
        service,
        _background,
    ) = running_stream();
    let receiver = receive(&r, GROUP, "e0");
    assert!(wait_until(support::PATIENCE, || receiver.count() > 100));
    asked(&r, &service, &[&channel()]);
    Ok(())
}

/// Seven fragments each: the IP layer counts each as multicast, and delivers one datagram.
fn healthy_large_datagrams() -> Outcome {
    let Pair { s, r } = pair();
    let service = Service::start(&r, &[]);
    let receiver = receive(&r, GROUP, "e0");
    let how = Sending {
        payload: |number| vec![number as u8; 9000],
        ..Sending::default()
    };
    let _sender = send(&s, GROUP, how);
    flows("large datagrams", &receiver, true);
    asked(&r, &service, &[&channel()]);
    Ok(())
}

/// One socket accepts another source only, and another one all of them.
fn healthy_two_filters() -> Outcome {
    let Pair { s, r } = pair();
    let service = Service::start(&r, &[]);
    let only = socket(&r, true);
    only.join_ssm_v4(&"10.0.0.99".parse()?, &GROUP.parse()?, &"10.0.0.2".parse()?)?;
    let receiver = receive(&r, GROUP, "e0");
    let _sender = send(&s, GROUP, Sending::default());
    flows("to the socket without a filter", &receiver, true);
    asked(&r, &service, &[&channel()]);
    Ok(())
}

/// With a querier that goes on asking, at the receiver and at the switch itself.
fn healthy_switch() -> Outcome {
    let Switched { s, r, r2: _r2, b } = switched();
    let mut last = Instant::now() - Duration::from_secs(9);
    let mut is_mld = false;
    let _querier = send_frames(&s, "e0", move |_| {
        if last.elapsed() < Duration::from_millis(500) {
            return ethernet([2, 0, 0, 0, 0, 9], 0x88b5, &[0; 46]);
        }
        last = Instant::now();
        is_mld = !is_mld;
        if is_mld {
            mld_query("fe80::1")
        } else {
            query("10.0.0.1", None, Q3, 1)
        }
    });
    both(&s, &r, &r, "e0")?;
    both(&s, &r, &b, "e0")
}

fn healthy_router() -> Outcome {
    let Routed { s, m, r } = routed();
    let routing = Routing::start(&m)?;
    routing.vif(0, index(&m, "ms"), 1);
    routing.vif(1, index(&m, "mr"), 1);
    routing.route("10.0.0.1", GROUP, 0, 1);
    let (at_r, at_m) = (Service::start(&r, &[]), Service::start(&m, &[]));
    let receiver = receive(&r, GROUP, "e0");
    let how = Sending {
        ttl: 5,
        ..Sending::default()
    };
    let _sender = send(&s, GROUP, how);
    flows("over the router", &receiver, true);
    asked(&m, &at_m, &[&channel()]);
    asked(&r, &at_r, &[&channel()]);
    Ok(())
}

fn healthy_router_v6() -> Outcome {
    let Routed { s, m, r } = routed();
    m.sysctl("net/ipv6/conf/all/forwarding", "1")?;
    let routing = Routing6::start(&m)?;
    routing.mif(0, index(&m, "ms"));
    routing.mif(1, index(&m, "mr"));
    routing.route("fd00:0::1", GROUP6);
    let (at_r, at_m) = (Service::start(&r, &[]), Service::start(&m, &[]));
    r.route("::/0", "fd00:1::254")?;
    let receiver = receive(&r, GROUP6, "e0");
    let how = Sending {
        ttl: 5,
        from: Some("fd00:0::1".parse()?),
        ..Sending::default()
    };
    let _sender = send(&s, GROUP6, how);
    flows("over the router", &receiver, true);
    asked(&m, &at_m, &[GROUP6]);
    asked(&r, &at_r, &[GROUP6]);
    Ok(())
}

/// T4, joined on one of the two only.
fn healthy_two_ports_of_one_link() -> Outcome {
    let Switched { s, r, r2: _r2, b } = switched();
    set_bridge(&b, "mcast_snooping 0");
    lab::veth(&r, "e1", &b, "pr1")?;
    bridge_port(&b, "br0", "pr1")?;
    r.address("e1", "10.0.0.12/24")?;
    both(&s, &r, &r, "e0")
}

/// One packet every second and a half, longer than the doctor watches.
fn healthy_announcements() -> Outcome {
    let Pair { s, r } = pair();
    let service = Service::start(&r, &[]);
    let receiver = receive(&r, GROUP, "e0");
    let mut last = Instant::now();
    let _sender = send_frames(&s, "e0", move |number| {
        if last.elapsed() < Duration::from_millis(1500) {
            return ethernet([2, 0, 0, 0, 0, 9], 0x88b5, &[0; 46]);
        }
        last = Instant::now();
        stream_frame(mac_of(GROUP), "10.0.0.1", GROUP, number, true)
    });
    assert!(wait_until(support::PATIENCE, || receiver.count() >= 3));
    asked(&r, &service, &[&channel()]);
    Ok(())
}

fn healthy_macvlan() -> Outcome {
    let (s, r) = (Host::new("s")?, Host::new("r")?);
    lab::veth(&s, "e0", &r, "par")?;
    address(&s, "e0", 0, 1);
    inside(
        &r,
        "ip",
        &[
            "link", "add", "mv0", "link", "par", "type", "macvlan", "mode", "bridge",
        ],
    );
    address(&r, "mv0", 0, 2);
    both(&s, &r, &r, "mv0")
}
