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
    (
        "router-not-routing",
        "router_with_a_bridge_that_queries",
        router_with_a_bridge_that_queries,
    ),
    (
        "router-not-routing",
        "router_with_a_bridge",
        router_with_a_bridge,
    ),
    (
        "router-not-routing",
        "router_that_is_a_member_itself",
        router_that_is_a_member_itself,
    ),
    (
        "router-not-routing",
        "router_that_forgets_a_link",
        router_that_forgets_a_link,
    ),
    (
        "ttl-too-small",
        "ttl_1_without_a_routing_daemon",
        ttl_1_without_a_routing_daemon,
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

/// The receiver is behind a bridge of the router.
/// ```text
///   s 10.0.0.1 ---- 10.0.0.254 ms m br0 10.1.0.254 mr ---- 10.1.0.2 r
/// ```
fn behind_a_bridge(querier: bool) -> Outcome {
    let (s, m, r) = (Host::new("s")?, Host::new("m")?, Host::new("r")?);
    lab::veth(&s, "e0", &m, "ms")?;
    let options = BridgeOptions {
        snooping: true,
        querier: false,
        ..BridgeOptions::default()
    };
    bridge(&m, "br0", options)?;
    lab::veth(&r, "e0", &m, "mr")?;
    bridge_port(&m, "br0", "mr")?;
    address(&s, "e0", 0, 1);
    address(&m, "ms", 0, 254);
    address(&m, "br0", 1, 254);
    address(&r, "e0", 1, 2);
    m.sysctl("net/ipv4/ip_forward", "1")?;
    if querier {
        // Queries of version 2, as is the default: their reports are for routers only, and not passed up.
        set_bridge(&m, "mcast_query_response_interval 50");
        set_bridge(&m, "mcast_query_interval 100");
        set_bridge(&m, "mcast_startup_query_interval 100");
        set_bridge(&m, "mcast_querier 1");
        let is_old = || r.proc_net("igmp").contains("V2");
        assert!(wait_until(support::PATIENCE, is_old));
    }
    let service = Service::start(&m, &[]);
    if querier {
        // For a moment after the first query the bridge still passes everything up.
        until_shown(&service, "queriers", "0.0.0.0");
    }
    let _receiver = receive(&r, GROUP, "e0");
    until_shown(&service, "groups", GROUP);
    let _sender = send(&s, GROUP, ttl(5));
    let report = doctor(&m, &service, &[&channel()]);
    report.fault("router-not-routing");
    report.proved();
    assert!(report.text.contains("10.1.0.2 on br0"), "{}", report.text);
    Ok(())
}

fn router_with_a_bridge_that_queries() -> Outcome {
    behind_a_bridge(true)
}

fn router_with_a_bridge() -> Outcome {
    behind_a_bridge(false)
}

/// The router receives the group itself, and a neighbor of the source as well: the other link starves.
fn router_that_is_a_member_itself() -> Outcome {
    let Routed { s, m, r } = routed();
    let service = Service::start(&m, &[]);
    let own = receive(&m, GROUP, "ms");
    let _other = receive(&s, GROUP, "e0");
    let starving = receive(&r, GROUP, "e0");
    until_shown(&service, "groups", "10.1.0.2");
    let _sender = send(&s, GROUP, ttl(5));
    flows("at the router", &own, true);
    let report = doctor(&m, &service, &[&channel()]);
    report.fault("router-not-routing");
    report.proved();
    assert_eq!(starving.count(), 0);
    Ok(())
}

/// Its daemon forwards to one link with members, and not to another.
fn router_that_forgets_a_link() -> Outcome {
    let Routed { s, m, r } = routed();
    let q = Host::new("q")?;
    lab::veth(&q, "e0", &m, "mq")?;
    address(&m, "mq", 2, 254);
    address(&q, "e0", 2, 2);
    let routing = routing(&m);
    routing.vif(2, index(&m, "mq"), 1);
    routing.route("10.0.0.1", GROUP, 0, 1);
    let service = Service::start(&m, &[]);
    let content = receive(&r, GROUP, "e0");
    let starving = receive(&q, GROUP, "e0");
    until_shown(&service, "groups", "10.2.0.2");
    let _sender = send(&s, GROUP, ttl(5));
    flows("where it is forwarded to", &content, true);
    let report = doctor(&m, &service, &[&channel()]);
    report.fault("router-not-routing");
    report.proved();
    assert!(report.text.contains("10.2.0.2 on mq"), "{}", report.text);
    assert_eq!(starving.count(), 0);
    Ok(())
}

/// A routing daemon would not help.
fn ttl_1_without_a_routing_daemon() -> Outcome {
    let Routed { s, m, r } = routed();
    let service = Service::start(&m, &[]);
    let _receiver = receive(&r, GROUP, "e0");
    until_shown(&service, "groups", GROUP);
    let sender = send(&s, GROUP, ttl(1));
    let report = doctor(&m, &service, &[&channel()]);
    report.fault("ttl-too-small");
    report.proved();
    drop(sender);
    let _sender = send(&s, GROUP, ttl(5));
    doctor(&m, &service, &[&channel()]).fault("router-not-routing");
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
