//! This host: links, sources, routes and rules, next hops, and its own filters.

use super::*;

pub const SCENARIOS: &[Scenario] = &[
    (
        "interface-down",
        "interface_without_carrier",
        interface_without_carrier,
    ),
    ("interface-down", "interface_set_down", interface_set_down),
    ("source-invalid", "source_invalid", source_invalid),
    ("blackhole-route", "blackhole_route", blackhole_route),
    ("blackhole-route", "blackhole_rule", blackhole_rule),
    ("prohibit-route", "prohibit_route", prohibit_route),
    ("prohibit-route", "prohibit_rule", prohibit_rule),
    ("unreachable-route", "unreachable_route", unreachable_route),
    ("no-route", "no_route", no_route),
    (
        "next-hop-silent",
        "router_does_not_answer_arp",
        router_does_not_answer_arp,
    ),
    (
        "next-hop-silent",
        "target_on_the_link_is_not_there",
        target_on_the_link_is_not_there,
    ),
    (
        "neighbour-entry-wrong",
        "static_entry_of_the_router",
        static_entry_of_the_router,
    ),
    (
        "address-conflict",
        "two_stations_have_the_routers_address",
        two_stations_have_the_routers_address,
    ),
    ("rp-filter-strict", "rp_filter_strict", rp_filter_strict),
    ("output-firewall", "output_drop", output_drop),
    ("output-firewall", "output_reject", output_reject),
    ("output-firewall", "output_of_one_port", output_of_one_port),
    (
        "output-firewall",
        "output_at_the_interface",
        output_at_the_interface,
    ),
    ("input-firewall", "input_of_echoes", input_of_echoes),
    ("input-firewall", "input_of_one_port", input_of_one_port),
];

fn interface_without_carrier() -> Outcome {
    let net = net();
    net.r1.down("e0")?;
    for target in [T4, "10.3.0.9:443", T6, "10.1.0.254"] {
        let report = net.fault(target, "interface-down");
        report.proved();
    }
    Ok(())
}

/// Its routes went with it; a demanded interface tells which one is meant.
fn interface_set_down() -> Outcome {
    let net = net();
    net.h.down("e0")?;
    net.doctor(&[T4, "--interface", "e0"])
        .fault("interface-down");
    net.fault(T4, "no-route");
    Ok(())
}

fn source_invalid() -> Outcome {
    let net = net();
    for (target, source) in [
        (T4, "10.1.0.77"),
        (T6, "fd00:1::77"),
        ("10.3.0.9:443", "10.1.0.77"),
    ] {
        net.doctor(&[target, "--source", source])
            .fault("source-invalid");
    }
    Ok(())
}

/// A route of a type of both families.
fn route_of_type(kind: &str) -> Net {
    let net = net();
    inside(&net.h, "ip", &["route", "add", kind, "10.3.0.0/24"]);
    inside(&net.h, "ip", &["-6", "route", "add", kind, "fd00:3::/64"]);
    net
}

fn of_route(kind: &str, id: &str) {
    let net = route_of_type(kind);
    for target in [T4, T6, "10.3.0.9:443", "[fd00:3::9]:443"] {
        net.fault(target, id).proved();
    }
}

fn of_rule(kind: &str, id: &str) {
    let net = net();
    for family in ["-4", "-6"] {
        let to = if family == "-4" { T4 } else { T6 };
        inside(&net.h, "ip", &[family, "rule", "add", "to", to, kind]);
        net.fault(to, id);
    }
}

fn blackhole_route() -> Outcome {
    of_route("blackhole", "blackhole-route");
    Ok(())
}

fn blackhole_rule() -> Outcome {
    of_rule("blackhole", "blackhole-route");
    Ok(())
}

fn prohibit_route() -> Outcome {
    of_route("prohibit", "prohibit-route");
    Ok(())
}

fn prohibit_rule() -> Outcome {
    of_rule("prohibit", "prohibit-route");
    Ok(())
}

fn unreachable_route() -> Outcome {
    of_route("unreachable", "unreachable-route");
    Ok(())
}

fn no_route() -> Outcome {
    let net = net();
    inside(&net.h, "ip", &["route", "del", "default"]);
    inside(&net.h, "ip", &["-6", "route", "del", "default"]);
    for target in [T4, T6, "10.3.0.9:443", "[fd00:3::9]:53/udp"] {
        net.fault(target, "no-route").proved();
    }
    Ok(())
}

fn router_does_not_answer_arp() -> Outcome {
    let net = net();
    inside(
        &net.h,
        "ip",
        &["route", "replace", "default", "via", "10.1.0.77"],
    );
    for target in [T4, "10.3.0.9:443"] {
        let report = net.fault(target, "next-hop-silent");
        report.proved();
        let summary = report.findings[0]["summary"].to_string();
        assert!(summary.contains("the router 10.1.0.77"), "{summary}");
    }
    Ok(())
}

fn target_on_the_link_is_not_there() -> Outcome {
    let net = net();
    for target in ["10.1.0.99", "fd00:1::99", "10.1.0.98:22"] {
        net.fault(target, "next-hop-silent").proved();
    }
    Ok(())
}

/// A MAC address that no station of these networks has.
const REPLACED: &str = "02:00:00:00:00:99";

fn neighbor(h: &Host, address: &str, mac: &str, state: &str) {
    let entry = [
        "neigh", "replace", address, "lladdr", mac, "dev", "e0", "nud", state,
    ];
    inside(h, "ip", &entry);
}

fn static_entry_of_the_router() -> Outcome {
    let net = net();
    net.doctor(&[T4]).healthy();
    net.doctor(&[T6]).healthy();
    neighbor(&net.h, "10.1.0.254", REPLACED, "permanent");
    neighbor(&net.h, "fd00:1::fe", REPLACED, "permanent");
    for target in [T4, T6, "10.3.0.9:443"] {
        let report = net.fault(target, "neighbour-entry-wrong");
        assert!(report.text.contains(REPLACED), "{}", report.text);
    }
    Ok(())
}

/// ```text
///   h  e0 10.1.0.1   ---ph-+
///   r  e0 10.1.0.254 ---pr-+-- b br0 (switch)
///   x  e0 10.1.0.254 ---px-+
/// ```
/// r is the router, x does not forward.
fn two_stations_have_the_routers_address() -> Outcome {
    let b = Host::new("b")?;
    bridge(&b, "br0", BridgeOptions::default())?;
    let host = |name: &str, port: &str, number: &str| {
        let host = Host::new(name).unwrap();
        lab::veth(&host, "e0", &b, port).unwrap();
        bridge_port(&b, "br0", port).unwrap();
        addresses(&host, "e0", 1, number);
        host
    };
    let (h, r) = (host("h", "ph", "1"), host("r", "pr", "fe"));
    default_routes(&h, "10.1.0.254", "fd00:1::fe");
    forward(&r);
    let x = host("x", "px", "7");
    x.address("e0", "10.1.0.254/24")?;
    let service = Service::start(&h, &[]);
    // Both answer a request.
    ping(&service, &["-c", "1", "10.1.0.254"]);
    let known = || {
        let output = service.netsonde(&["neighbors", "--json"]);
        String::from_utf8_lossy(&output.stdout).contains("conflict")
    };
    assert!(wait_until(PATIENCE, known), "{}", service.log());
    let mac = x.mac("e0")?.map(|byte| format!("{byte:02x}")).join(":");
    neighbor(&h, "10.1.0.254", &mac, "stale");
    doctor(&h, &service, &[T4]).fault("address-conflict");
    Ok(())
}

/// h has a second link to r1, on which the answers come:
/// ```text
///   h  e1 10.4.0.1 ---- 10.4.0.254 e2  r1
/// ```
fn rp_filter_strict() -> Outcome {
    let net = net();
    lab::veth(&net.h, "e1", &net.r1, "e2")?;
    addresses(&net.h, "e1", 4, "1");
    addresses(&net.r1, "e2", 4, "fe");
    inside(
        &net.r1,
        "ip",
        &["route", "add", "10.1.0.1/32", "via", "10.4.0.1"],
    );
    let _server = patient(&net.t, 443);
    // Answers on another interface are none the worse for that.
    for name in ["all", "e0", "e1"] {
        net.h
            .sysctl(&format!("net/ipv4/conf/{name}/rp_filter"), "0")?;
    }
    let report = net.doctor(&["10.3.0.9:443"]);
    report.healthy();
    let words = "the answer came in on e1, not on e0";
    assert!(report.text.contains(words), "{}", report.text);
    net.h.sysctl("net/ipv4/conf/e1/rp_filter", "1")?;
    for target in [T4, "10.3.0.9:443"] {
        let report = net.fault(target, "rp-filter-strict");
        report.proved();
        let summary = report.findings[0]["summary"].to_string();
        assert!(summary.contains("come in on e1"), "{summary}");
    }
    Ok(())
}

fn output_drop() -> Outcome {
    let net = net();
    let _server = patient(&net.t, 443);
    firewall(
        &net.h,
        "output",
        "ip daddr 10.3.0.9 drop\nip6 daddr fd00:3::9 drop",
    );
    for target in [T4, T6, "10.3.0.9:443", "10.3.0.9:53/udp"] {
        net.fault(target, "output-firewall");
    }
    Ok(())
}

fn output_reject() -> Outcome {
    let net = net();
    let _server = patient(&net.t, 443);
    firewall(
        &net.h,
        "output",
        "ip daddr 10.3.0.9 reject\nip6 daddr fd00:3::9 reject",
    );
    for target in [T4, T6, "10.3.0.9:443", "10.3.0.9:53/udp"] {
        net.fault(target, "output-firewall");
    }
    Ok(())
}

fn output_of_one_port() -> Outcome {
    let net = net();
    let _servers = (patient(&net.t, 443), patient(&net.t, 80));
    for verdict in ["drop", "reject", "reject with tcp reset"] {
        firewall(&net.h, "output", &format!("tcp dport 443 {verdict}"));
        net.fault("10.3.0.9:443", "output-firewall");
        net.doctor(&["10.3.0.9:80"]).healthy();
    }
    Ok(())
}

fn output_at_the_interface() -> Outcome {
    let net = net();
    firewall(&net.h, "egress device \"e0\"", "ip daddr 10.3.0.9 drop");
    net.fault(T4, "output-firewall");
    Ok(())
}

fn input_of_echoes() -> Outcome {
    let net = net();
    let _server = patient(&net.t, 443);
    firewall(
        &net.h,
        "input",
        "icmp type echo-reply drop\nicmpv6 type echo-reply drop",
    );
    net.fault(T4, "input-firewall");
    net.fault(T6, "input-firewall");
    net.doctor(&["10.3.0.9:443"]).healthy();
    Ok(())
}

fn input_of_one_port() -> Outcome {
    let net = net();
    let _server = patient(&net.t, 443);
    firewall(&net.h, "input", "tcp sport 443 drop");
    for target in ["10.3.0.9:443", "[fd00:3::9]:443"] {
        let report = net.fault(target, "input-firewall");
        let summary = report.findings[0]["summary"].to_string();
        assert!(summary.contains("comes in on e0"), "{summary}");
    }
    Ok(())
}
