//! Modes of senders and routers.

use std::time::Duration;

use super::*;

pub const SCENARIOS: &[Scenario] = &[
    ("ttl-too-small", "ttl_too_small", ttl_too_small),
    ("ttl-threshold", "ttl_threshold", ttl_threshold),
    (
        "router-not-routing",
        "router_not_routing",
        router_not_routing,
    ),
    ("rpf-failure", "rpf_failure", rpf_failure),
    ("router-rp-filter", "router_rp_filter", router_rp_filter),
    (
        "link-local-group-routed",
        "link_local_group_routed",
        link_local_group_routed,
    ),
    (
        "mroute-socket-busy",
        "mroute_socket_busy",
        mroute_socket_busy,
    ),
    (
        "sent-on-other-interface",
        "sent_on_other_interface",
        sent_on_other_interface,
    ),
    (
        "first-packets-lost",
        "first_packets_lost",
        first_packets_lost,
    ),
    (
        "upstream-source-filter",
        "upstream_source_filter",
        upstream_source_filter,
    ),
];

fn ttl(ttl: u32) -> Sending {
    Sending {
        ttl,
        ..Sending::default()
    }
}

/// A router with both interfaces.
fn routing(m: &Host) -> Routing {
    let routing = Routing::start(m).unwrap();
    routing.vif(0, index(m, "ms"), 1);
    routing.vif(1, index(m, "mr"), 1);
    routing
}

fn ttl_too_small() -> Outcome {
    let Routed { s, m, r } = routed();
    let routing = routing(&m);
    routing.route("10.0.0.1", GROUP, 0, 1);
    let service = Service::start(&m, &[]);
    let receiver = receive(&r, GROUP, "e0");
    let sender = send(&s, GROUP, ttl(1));
    let report = doctor(&m, &service, &[&channel()]);
    report.fault("ttl-too-small");
    report.proved();
    assert_eq!(receiver.count(), 0);
    drop(sender);
    let _sender = send(&s, GROUP, ttl(5));
    flows("with TTL 5", &receiver, true);
    doctor(&m, &service, &[&channel()]).healthy();
    Ok(())
}

fn ttl_threshold() -> Outcome {
    let Routed { s, m, r } = routed();
    let routing = Routing::start(&m)?;
    routing.vif(0, index(&m, "ms"), 1);
    routing.vif(1, index(&m, "mr"), 8);
    routing.route("10.0.0.1", GROUP, 0, 8);
    let service = Service::start(&m, &[]);
    let receiver = receive(&r, GROUP, "e0");
    let _sender = send(&s, GROUP, ttl(5));
    let report = doctor(&m, &service, &[&channel()]);
    report.fault("ttl-threshold");
    report.proved();
    assert_eq!(receiver.count(), 0);
    Ok(())
}

fn router_not_routing() -> Outcome {
    let Routed { s, m, r } = routed();
    let service = Service::start(&m, &[]);
    let _receiver = receive(&r, GROUP, "e0");
    until_shown(&service, "groups", GROUP);
    let _sender = send(&s, GROUP, ttl(5));
    let report = doctor(&m, &service, &[&channel()]);
    report.fault("router-not-routing");
    report.proved();
    Ok(())
}

fn rpf_failure() -> Outcome {
    let Routed { s, m, r } = routed();
    let routing = routing(&m);
    routing.route("10.0.0.1", GROUP, 1, 1);
    let service = Service::start(&m, &[]);
    let _receiver = receive(&r, GROUP, "e0");
    let _sender = send(&s, GROUP, ttl(5));
    let report = doctor(&m, &service, &[&channel()]);
    report.fault("rpf-failure");
    report.proved();
    Ok(())
}

fn router_rp_filter() -> Outcome {
    let Routed { s, m, r } = routed();
    let routing = routing(&m);
    routing.route("10.0.0.1", GROUP, 0, 1);
    m.sysctl("net/ipv4/conf/ms/rp_filter", "1")?;
    m.route("10.0.0.1/32", "10.1.0.2")?;
    let service = Service::start(&m, &[]);
    let _receiver = receive(&r, GROUP, "e0");
    let _sender = send(&s, GROUP, ttl(5));
    let report = doctor(&m, &service, &[&channel()]);
    report.fault("router-rp-filter");
    report.proved();
    Ok(())
}

fn link_local_group_routed() -> Outcome {
    let Routed { s, m, r } = routed();
    let _routing = routing(&m);
    let service = Service::start(&m, &[]);
    let _receiver = receive(&r, "224.0.0.200", "e0");
    until_shown(&service, "groups", "224.0.0.200");
    let _sender = send(&s, "224.0.0.200", ttl(5));
    doctor(&m, &service, &["224.0.0.200"]).fault("link-local-group-routed");
    Ok(())
}

fn mroute_socket_busy() -> Outcome {
    let Routed { s, m, r } = routed();
    let _routing = routing(&m);
    let igmp = || {
        socket2::Socket::new(
            socket2::Domain::IPV4,
            socket2::Type::RAW,
            Some(socket2::Protocol::from(2)),
        )
    };
    let other = m.run(igmp)?;
    // A daemon of its own, which has such a socket open.
    let mut daemon = std::process::Command::new(std::env::current_exe()?);
    daemon
        .env(super::HOLD_IGMP, "1")
        .stdout(std::process::Stdio::piped());
    let mut daemon = m.spawn(&mut daemon)?;
    std::io::Read::read_exact(daemon.child().stdout.as_mut().unwrap(), &mut [0])?;
    // MRT_INIT.
    let refused = netsonde::linux::option::set_option(&other, libc::IPPROTO_IP, 200, &1i32);
    assert_eq!(refused.unwrap_err().raw_os_error(), Some(libc::EADDRINUSE));
    let service = Service::start(&m, &[]);
    let _receiver = receive(&r, GROUP, "e0");
    let _sender = send(&s, GROUP, ttl(5));
    doctor(&m, &service, &[&channel()]).fault("mroute-socket-busy");
    Ok(())
}

/// The default route leads out of e1, the receiver is on e0.
fn sent_on_other_interface() -> Outcome {
    let Pair { s, r } = two_links();
    s.route("0.0.0.0/0", "10.1.0.2")?;
    let service = Service::start(&s, &[]);
    let _receiver = receive(&r, GROUP, "e0");
    until_shown(&service, "groups", GROUP);
    let how = Sending {
        by: None,
        ..Sending::default()
    };
    let _sender = send(&s, GROUP, how);
    let report = doctor(&s, &service, &[&channel()]);
    report.fault("sent-on-other-interface");
    report.proved();
    Ok(())
}

/// The stream begins before the router has a route for it.
fn first_packets_lost() -> Outcome {
    let Routed { s, m, r } = routed();
    let routing = routing(&m);
    let service = Service::start(&r, &[]);
    std::thread::sleep(Duration::from_millis(1100));
    let receiver = receive(&r, GROUP, "e0");
    let how = Sending {
        ttl: 5,
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
    let sender = send(&s, GROUP, how);
    assert!(wait_until(support::PATIENCE, || sender.count() > 20));
    routing.route("10.0.0.1", GROUP, 0, 1);
    flows("with a route", &receiver, true);
    assert!(wait_until(support::PATIENCE, || receiver.count() > 100));
    doctor(&r, &service, &[&channel()]).healthy_but("note", "first-packets-lost");
    Ok(())
}

fn upstream_source_filter() -> Outcome {
    let Routed { s, m, r } = routed();
    s.address("e0", "62.71.245.130/32")?;
    m.route("62.71.245.0/24", "10.0.0.1")?;
    let routing = routing(&m);
    routing.route("10.0.0.1", "239.5.5.5", 0, 1);
    let service = Service::start(&m, &[]);
    let _receiver = receive(&r, GROUP, "e0");
    until_shown(&service, "groups", GROUP);
    let how = Sending {
        from: Some("62.71.245.130".parse()?),
        ..ttl(5)
    };
    let _sender = send(&s, GROUP, how);
    doctor(&m, &service, &[&channel()]).fault("upstream-source-filter");
    Ok(())
}
