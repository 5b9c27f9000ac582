//! Paths: what routers report, where answers end, and lengths that do not pass.

use super::*;

pub const SCENARIOS: &[Scenario] = &[
    (
        "prohibited-by-router",
        "prohibited_by_router",
        prohibited_by_router,
    ),
    (
        "no-route-at-router",
        "no_route_at_router",
        no_route_at_router,
    ),
    (
        "target-unresolved-at-router",
        "target_unresolved_at_router",
        target_unresolved_at_router,
    ),
    ("path-ends", "router_drops_silently", router_drops_silently),
    ("path-ends", "no_way_back", no_way_back),
    (
        "path-ends",
        "proxy_for_what_is_behind_it",
        proxy_for_what_is_behind_it,
    ),
    ("routing-loop", "routing_loop", routing_loop),
    ("mtu-black-hole", "mtu_black_hole", mtu_black_hole),
    ("target-silent", "target_silent", target_silent),
    ("target-loss", "target_loss", target_loss),
];

/// The summary of the only fault, for a target.
fn summary(net: &Net, target: &str, id: &str) -> String {
    net.fault(target, id).findings[0]["summary"].to_string()
}

fn prohibited_by_router() -> Outcome {
    let net = net();
    firewall(
        &net.r2,
        "forward",
        "ip daddr 10.3.0.9 reject with icmpx admin-prohibited\n\
         ip6 daddr fd00:3::9 reject with icmpx admin-prohibited",
    );
    for (target, router) in [(T4, "10.2.0.2 (hop 2)"), (T6, "fd00:2::2 (hop 2)")] {
        let summary = summary(&net, target, "prohibited-by-router");
        assert!(summary.contains(router), "{summary}");
    }
    Ok(())
}

fn no_route_at_router() -> Outcome {
    let net = net();
    for (target, router) in [
        ("10.9.0.9", "10.2.0.2 (hop 2"),
        ("fd00:9::9", "fd00:2::2 (hop 2"),
    ] {
        // A router limits these, so that it may answer a later TTL first.
        let summary = summary(&net, target, "no-route-at-router");
        assert!(summary.contains(router), "{summary}");
    }
    Ok(())
}

fn target_unresolved_at_router() -> Outcome {
    let net = net();
    for target in ["10.3.0.77", "fd00:3::77"] {
        let summary = summary(&net, target, "target-unresolved-at-router");
        assert!(summary.contains("(hop 2"), "{summary}");
    }
    Ok(())
}

fn router_drops_silently() -> Outcome {
    let net = net();
    firewall(
        &net.r2,
        "forward",
        "ip daddr 10.3.0.9 drop\nip6 daddr fd00:3::9 drop",
    );
    for (target, router) in [
        (T4, "10.2.0.2 (hop 2)"),
        (T6, "fd00:2::2 (hop 2)"),
        ("10.3.0.9:443", "10.2.0.2 (hop 2)"),
    ] {
        let summary = summary(&net, target, "path-ends");
        assert!(summary.contains(router), "{summary}");
    }
    // As if r1 were a switch that lost everything: not even it answers.
    firewall(&net.r1, "prerouting", "ip daddr 10.3.0.9 drop");
    let summary = summary(&net, T4, "path-ends");
    assert!(
        summary.contains("not even the router 10.1.0.254"),
        "{summary}"
    );
    Ok(())
}

fn no_way_back() -> Outcome {
    let net = net();
    inside(&net.t, "ip", &["route", "del", "default"]);
    let summary = summary(&net, T4, "path-ends");
    assert!(summary.contains("10.2.0.2 (hop 2)"), "{summary}");
    Ok(())
}

/// By its routes h has t on the link, and r1 answers ARP for it.
fn proxy_for_what_is_behind_it() -> Outcome {
    let net = net();
    net.r1.sysctl("net/ipv4/conf/e0/proxy_arp", "1")?;
    inside(&net.h, "ip", &["route", "add", "10.3.0.0/24", "dev", "e0"]);
    net.doctor(&[T4]).healthy();
    firewall(&net.r2, "forward", "ip daddr 10.3.0.9 drop");
    let summary = summary(&net, T4, "path-ends");
    assert!(summary.contains("10.2.0.2 (hop 2)"), "{summary}");
    Ok(())
}

/// r1 and r2 take each other for the way to everything else.
fn routing_loop() -> Outcome {
    let net = net();
    default_routes(&net.r2, "10.2.0.1", "fd00:2::1");
    for (target, routers) in [
        ("10.9.0.9", ["10.1.0.254", "10.2.0.2"]),
        ("fd00:9::9", ["fd00:2::1", "fd00:2::2"]),
    ] {
        let summary = summary(&net, target, "routing-loop");
        for router in routers {
            assert!(summary.contains(router), "{summary}");
        }
    }
    Ok(())
}

/// Lowers the MTU between the routers.
pub fn narrow(net: &Net) {
    inside(&net.r1, "ip", &["link", "set", "e1", "mtu", "1400"]);
    inside(&net.r2, "ip", &["link", "set", "e0", "mtu", "1400"]);
}

/// The same, and no router says so.
pub fn black_hole(net: &Net) {
    narrow(net);
    firewall(
        &net.r1,
        "output",
        "icmp type destination-unreachable icmp code frag-needed drop\n\
         icmpv6 type packet-too-big drop",
    );
}

fn mtu_black_hole() -> Outcome {
    let net = net();
    let _server = patient(&net.t, 443);
    black_hole(&net);
    for target in [T4, T6, "10.3.0.9:443"] {
        let report = net.fault(target, "mtu-black-hole");
        let summary = report.findings[0]["summary"].to_string();
        assert!(summary.contains("they reach hop 1, and"), "{summary}");
    }
    Ok(())
}

fn target_silent() -> Outcome {
    let net = net();
    firewall(
        &net.r1,
        "input",
        "ip daddr 10.1.0.254 drop\nicmpv6 type echo-request drop",
    );
    for target in ["10.1.0.254", "fd00:1::fe", "10.1.0.254:443"] {
        net.fault(target, "target-silent");
    }
    Ok(())
}

fn target_loss() -> Outcome {
    let (h, _t, wire) = support::wired();
    let service = Service::start(&h, &[]);
    doctor(&h, &service, &["10.0.0.2"]).healthy();
    // Every second echo request.
    let mut count = 0;
    wire.a_to_b(|way| {
        way.drop = Some(Box::new(move |frame| {
            let is_icmp = frame.get(12..14) == Some(&[8, 0]) && frame.get(23) == Some(&1);
            let is_small = frame.len() < 200;
            count += u64::from(is_icmp && is_small);
            is_icmp && is_small && count % 2 == 0
        }));
    });
    let report = doctor(&h, &service, &["10.0.0.2"]);
    report.healthy_but("warning", "target-loss");
    report.proved();
    Ok(())
}
