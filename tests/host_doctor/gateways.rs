//! Gateways: none, not there, silent, kept away by this host itself, moved; and neighbours.

use super::*;

pub const SCENARIOS: &[Scenario] = &[
    ("no-default-route", "no_default_route", no_default_route),
    ("gateway-off-link", "gateway_off_link", gateway_off_link),
    (
        "gateway-unresolved",
        "gateway_unresolved",
        gateway_unresolved,
    ),
    (
        "gateway-unresolved",
        "no_host_on_the_link",
        no_host_on_the_link,
    ),
    (
        "gateway-unresolved",
        "spare_gateway_unreachable",
        spare_gateway_unreachable,
    ),
    (
        "gateway-unresolved",
        "gateway_just_returned",
        gateway_just_returned,
    ),
    (
        "gateway-unresolved",
        "arp_replies_are_dropped",
        arp_replies_are_dropped,
    ),
    (
        "gateway-unresolved",
        "arp_requests_are_dropped",
        arp_requests_are_dropped,
    ),
    (
        "gateway-unresolved",
        "gateway_of_another_route",
        gateway_of_another_route,
    ),
    ("gateway-silent", "gateway_silent", gateway_silent),
    ("gateway-loss", "gateway_loss", gateway_loss),
    (
        "firewall-drops-icmp",
        "firewall_drops_echo_replies",
        firewall_drops_echo_replies,
    ),
    (
        "firewall-drops-icmp",
        "firewall_drops_echo_requests",
        firewall_drops_echo_requests,
    ),
    ("gateway-not-sent", "gateway_not_sent", gateway_not_sent),
    ("rp-filter-strict", "rp_filter_strict", rp_filter_strict),
    (
        "rp-filter-strict",
        "strict_filter_with_two_routes",
        strict_filter_with_two_routes,
    ),
    ("gateway-moved", "gateway_moved", gateway_moved),
    ("neighbours-failed", "neighbors_failed", neighbors_failed),
    (
        "neighbour-entry-wrong",
        "static_entry_of_the_gateway",
        static_entry_of_the_gateway,
    ),
    (
        "neighbour-entry-wrong",
        "static_entry_of_another_host",
        static_entry_of_another_host,
    ),
    (
        "neighbour-entry-wrong",
        "stale_entry_of_a_moved_host",
        stale_entry_of_a_moved_host,
    ),
];

fn no_default_route() -> Outcome {
    let Net { h, g: _g } = net();
    inside(&h, "ip", &["route", "del", "default"]);
    let service = Service::start(&h, &[]);
    // One of IPv6 is one.
    doctor(&h, &service).healthy();
    inside(&h, "ip", &["-6", "route", "del", "default"]);
    doctor(&h, &service).healthy_but("note", "no-default-route");
    Ok(())
}

fn replace_default(h: &Host, gateway: &str) {
    let route = [
        "route", "replace", "default", "via", gateway, "dev", "e0", "onlink",
    ];
    inside(h, "ip", &route);
}

fn gateway_off_link() -> Outcome {
    let Net { h, g: _g } = net();
    replace_default(&h, "192.168.77.1");
    let service = Service::start(&h, &[]);
    let report = doctor(&h, &service);
    report.fault("gateway-off-link");
    assert!(report.text.contains("10.0.0.1/24"), "{}", report.text);
    Ok(())
}

/// Others on the link answer.
fn gateway_unresolved() -> Outcome {
    let Switched {
        h,
        g: _g,
        o: _o,
        b: _b,
    } = switched();
    let service = Service::start(&h, &[]);
    links::until_healthy(&h, &service);
    ping(&service, &["-c", "1", "10.0.0.3"]).only("replied", 1);
    replace_default(&h, "10.0.0.77");
    doctor(&h, &service).fault("gateway-unresolved");
    // Also when the kernel has given it up.
    let given_up = || {
        let output = h.run(|| {
            support::program("ip")
                .args(["neigh", "show", "10.0.0.77"])
                .output()
        });
        String::from_utf8_lossy(&output.unwrap().stdout).contains("FAILED")
    };
    assert!(wait_until(PATIENCE, given_up));
    let report = doctor(&h, &service);
    report.fault("gateway-unresolved");
    report.proved();
    assert!(report.text.contains("check the router"), "{}", report.text);
    Ok(())
}

fn no_host_on_the_link() -> Outcome {
    let (h, b) = (Host::new("h")?, Host::new("b")?);
    bridge(&b, "br0", BridgeOptions::default())?;
    lab::veth(&h, "e0", &b, "ph")?;
    // A switch that is silent itself.
    for setting in [
        "net/ipv6/conf/br0/disable_ipv6",
        "net/ipv6/conf/ph/disable_ipv6",
    ] {
        b.sysctl(setting, "1")?;
    }
    bridge_port(&b, "br0", "ph")?;
    h.address("e0", "10.0.0.1/24")?;
    h.route("0.0.0.0/0", "10.0.0.254")?;
    let service = Service::start(&h, &[]);
    let report = doctor(&h, &service);
    report.fault("gateway-unresolved");
    assert!(
        report.text.contains("no other host was seen"),
        "{}",
        report.text
    );
    Ok(())
}

/// The wire shows what the kernel does not get.
fn arp_replies_are_dropped() -> Outcome {
    let Net { h, g: _g } = net();
    let rules = "table arp t {\nchain c {\ntype filter hook input priority 0;\n\
        arp operation reply drop\n}\n}\n";
    support::load_rules(&h, rules);
    let service = Service::start(&h, &[]);
    let report = doctor(&h, &service);
    report.fault("gateway-unresolved");
    report.proved();
    assert!(
        report.text.contains("it answers ARP on the wire"),
        "{}",
        report.text
    );
    Ok(())
}

fn arp_requests_are_dropped() -> Outcome {
    let Net { h, g: _g } = net();
    firewall(&h, "egress device \"e0\"", "arp operation request drop");
    let service = Service::start(&h, &[]);
    let report = doctor(&h, &service);
    report.fault("gateway-unresolved");
    assert!(
        report.text.contains("request for it was seen on the wire"),
        "{}",
        report.text
    );
    Ok(())
}

/// Of a network, and of a table that a rule selects: a warning each, also beside a conflict of others.
fn gateway_of_another_route() -> Outcome {
    let Switched { h, g, o, b: _b } = switched();
    let service = Service::start(&h, &[]);
    links::until_healthy(&h, &service);
    for words in [
        "10.9.0.0/16 via 10.0.0.77",
        "default via 10.0.0.78 table 100",
    ] {
        let route: Vec<&str> = format!("route add {words}").leak().split(' ').collect();
        inside(&h, "ip", &route);
        let report = doctor(&h, &service);
        report.healthy_but("warning", "gateway-unresolved");
        let output = h.run(|| service.netsonde(&["-v", "doctor", "--duration", "300ms"]));
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let line = text
            .lines()
            .find(|line| line.contains("gateways: resolved"));
        assert!(line.unwrap().starts_with("found"), "{text}");
        let route: Vec<&str> = format!("route del {words}").leak().split(' ').collect();
        inside(&h, "ip", &route);
    }
    for host in [&g, &o] {
        host.address("e0", "10.0.0.9/32")?;
    }
    ping(&service, &["-c", "1", "10.0.0.9"]);
    inside(
        &h,
        "ip",
        &["route", "add", "10.9.0.0/16", "via", "10.0.0.77"],
    );
    let met = wait_until(PATIENCE, || {
        doctor(&h, &service).ids() == ["address-conflict", "gateway-unresolved"]
    });
    assert!(met, "{}", doctor(&h, &service).text);
    Ok(())
}

fn spare_gateway_unreachable() -> Outcome {
    let Net { h, g: _g } = net();
    let service = Service::start(&h, &[]);
    let spare = [
        "route",
        "add",
        "default",
        "via",
        "10.0.0.77",
        "metric",
        "500",
    ];
    inside(&h, "ip", &spare);
    doctor(&h, &service).healthy_but("warning", "gateway-unresolved");
    Ok(())
}

/// The kernel has asked three times, and asks nobody any more: what it believes is of before.
fn gateway_just_returned() -> Outcome {
    let Net { h, g } = net();
    let service = Service::start(&h, &[]);
    inside(&h, "ip", &["-6", "route", "del", "default"]);
    inside(&g, "ip", &["addr", "del", "10.0.0.254/24", "dev", "e0"]);
    let sender = h.run(|| std::net::UdpSocket::bind("0.0.0.0:0"))?;
    sender.send_to(b"hello", "10.0.0.254:9")?;
    let asked = || {
        let filter = "arp[6:2] = 1 and arp dst host 10.0.0.254";
        service.packets(&[filter]).len() >= 3
    };
    assert!(wait_until(PATIENCE, asked), "{}", service.log());
    g.address("e0", "10.0.0.254/24")?;
    doctor(&h, &service).healthy();
    Ok(())
}

fn gateway_silent() -> Outcome {
    let Net { h, g } = net();
    let service = Service::start(&h, &[]);
    doctor(&h, &service).healthy();
    g.sysctl("net/ipv4/icmp_echo_ignore_all", "1")?;
    let report = doctor(&h, &service);
    report.healthy_but("warning", "gateway-silent");
    assert!(
        report.text.contains("nothing that it forwarded was seen"),
        "{}",
        report.text
    );
    // A packet from beyond: its TTL has been decremented.
    let addresses = ("192.0.2.9".parse()?, "10.0.0.1".parse()?);
    let packet = ipv4(addresses, (17, 63), (0, 0), &[], &[0; 8]);
    let mut frame = ethernet(h.mac("e0")?, 0x0800, &packet);
    frame[6..12].copy_from_slice(&g.mac("e0")?);
    send_frame(&g, "e0", &frame);
    let met = wait_until(PATIENCE, || {
        doctor(&h, &service).findings[0]["severity"] == "note"
    });
    assert!(met);
    let report = doctor(&h, &service);
    report.healthy_but("note", "gateway-silent");
    assert!(
        report.text.contains("since it forwarded packets"),
        "{}",
        report.text
    );
    Ok(())
}

fn gateway_loss() -> Outcome {
    let (h, g, wire) = support::wired();
    h.route("0.0.0.0/0", "10.0.0.2")?;
    let service = Service::start(&h, &[]);
    doctor(&h, &service).healthy();
    // Every second ICMP.
    let mut count = 0;
    wire.a_to_b(|way| {
        way.drop = Some(Box::new(move |frame| {
            let is_icmp = frame.get(12..14) == Some(&[8, 0]) && frame.get(23) == Some(&1);
            count += u64::from(is_icmp);
            is_icmp && count % 2 == 0
        }));
    });
    let report = doctor(&h, &service);
    report.healthy_but("warning", "gateway-loss");
    assert!(report.text.contains("answered 2 of 4"), "{}", report.text);
    drop(g);
    Ok(())
}

fn firewall_drops_echo_replies() -> Outcome {
    let Net { h, g: _g } = net();
    let service = Service::start(&h, &[]);
    firewall(&h, "input", "icmp type echo-reply drop");
    let report = doctor(&h, &service);
    report.fault("firewall-drops-icmp");
    assert!(
        report.text.contains("of its answers inbound"),
        "{}",
        report.text
    );
    firewall(&h, "input", "");
    doctor(&h, &service).healthy();
    Ok(())
}

fn firewall_drops_echo_requests() -> Outcome {
    let Net { h, g: _g } = net();
    let service = Service::start(&h, &[]);
    firewall(&h, "output", "icmp type echo-request drop");
    let report = doctor(&h, &service);
    report.fault("firewall-drops-icmp");
    assert!(
        report.text.contains("before they were sent"),
        "{}",
        report.text
    );
    Ok(())
}

fn gateway_not_sent() -> Outcome {
    let Net { h, g: _g } = net();
    let service = Service::start(&h, &[]);
    doctor(&h, &service).healthy();
    let rule = ["-6", "rule", "add", "to", "fd00:0::fe", "prohibit"];
    inside(&h, "ip", &rule);
    let report = doctor(&h, &service);
    report.fault("gateway-not-sent");
    report.proved();
    Ok(())
}

/// ```text
///   h e0 10.0.0.1 ---- 10.0.0.254 e0 g
///   h e1 10.1.0.1 ---- 10.1.0.254 e1 g
/// ```
fn two_links() -> Net {
    let net = net();
    lab::veth(&net.h, "e1", &net.g, "e1").unwrap();
    net.h.address("e1", "10.1.0.1/24").unwrap();
    net.g.address("e1", "10.1.0.254/24").unwrap();
    net
}

/// The gateway is asked by e1, and a route to it leads by e0.
fn rp_filter_strict() -> Outcome {
    let Net { h, g: _g } = two_links();
    for name in ["all", "e0", "e1"] {
        h.sysctl(&format!("net/ipv4/conf/{name}/rp_filter"), "1")?;
    }
    let service = Service::start(&h, &[]);
    doctor(&h, &service).healthy();
    let far = [
        "route",
        "add",
        "10.9.0.0/16",
        "via",
        "10.1.0.254",
        "dev",
        "e1",
    ];
    inside(&h, "ip", &far);
    doctor(&h, &service).healthy();
    inside(&h, "ip", &["route", "add", "10.1.0.254/32", "dev", "e0"]);
    let report = doctor(&h, &service);
    report.healthy_but("warning", "rp-filter-strict");
    report.proved();
    assert!(
        report.text.contains("TcpExtIPReversePathFilter"),
        "{}",
        report.text
    );
    Ok(())
}

fn strict_filter_with_two_routes() -> Outcome {
    let Net { h, g: _g } = two_links();
    let service = Service::start(&h, &[]);
    for name in ["all", "e0", "e1"] {
        h.sysctl(&format!("net/ipv4/conf/{name}/rp_filter"), "2")?;
    }
    let spare = [
        "route",
        "add",
        "default",
        "via",
        "10.1.0.254",
        "metric",
        "500",
    ];
    inside(&h, "ip", &spare);
    doctor(&h, &service).healthy();
    h.sysctl("net/ipv4/conf/all/rp_filter", "1")?;
    h.sysctl("net/ipv4/conf/e1/rp_filter", "1")?;
    doctor(&h, &service).healthy_but("warning", "rp-filter-strict");
    Ok(())
}

/// A standby takes the gateway's address, and says so.
fn gateway_moved() -> Outcome {
    let Switched { h, g, o, b: _b } = switched();
    let service = Service::start(&h, &[]);
    links::until_healthy(&h, &service);
    inside(&g, "ip", &["address", "del", "10.0.0.254/24", "dev", "e0"]);
    o.address("e0", "10.0.0.254/24")?;
    // From and for its own address, with its own MAC.
    let mut announcement = arp_request("10.0.0.254", "10.0.0.254");
    let mac = o.mac("e0")?;
    announcement[6..12].copy_from_slice(&mac);
    announcement[22..28].copy_from_slice(&mac);
    send_frame(&o, "e0", &announcement);
    let report = until_found(&h, &service, "gateway-moved");
    report.healthy_but("note", "gateway-moved");
    Ok(())
}

fn neighbors_failed() -> Outcome {
    let Net { h, g: _g } = net();
    let service = Service::start(&h, &[]);
    doctor(&h, &service).healthy();
    let mut targets: Vec<String> = (100..125).map(|last| format!("10.0.0.{last}")).collect();
    let mut arguments = vec![
        "--json".to_owned(),
        "ping".into(),
        "-W".into(),
        "0.1".into(),
    ];
    arguments.append(&mut targets);
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    service.netsonde(&arguments);
    let report = until_found(&h, &service, "neighbours-failed");
    report.healthy_but("note", "neighbours-failed");
    Ok(())
}

/// A device that has been replaced; the entry still names the old one.
const REPLACED: &str = "02:00:00:00:00:99";

fn static_entry(h: &Host, address: &str, mac: &str) {
    let entry = [
        "neigh",
        "replace",
        address,
        "lladdr",
        mac,
        "dev",
        "e0",
        "nud",
        "permanent",
    ];
    inside(h, "ip", &entry);
}

fn mac_of_host(host: &Host) -> String {
    netsonde_core::wire::cursor::Mac(host.mac("e0").unwrap()).to_string()
}

/// Both families. A right entry stays silent.
fn static_entry_of_the_gateway() -> Outcome {
    let Switched { h, g, o: _o, b: _b } = switched();
    let service = Service::start(&h, &[]);
    links::until_healthy(&h, &service);
    for address in ["10.0.0.254", "fd00:0::fe"] {
        static_entry(&h, address, &mac_of_host(&g));
        doctor(&h, &service).healthy();
        static_entry(&h, address, REPLACED);
        let report = doctor(&h, &service);
        report.fault("neighbour-entry-wrong");
        report.proved();
        let summary = report.findings[0]["summary"].as_str().unwrap();
        for word in [
            "the static neighbor entry of the gateway",
            REPLACED,
            &mac_of_host(&g),
        ] {
            assert!(summary.contains(word), "{summary}");
        }
        static_entry(&h, address, &mac_of_host(&g));
        doctor(&h, &service).healthy();
    }
    Ok(())
}

/// A host that is not a gateway claims its address by its own requests.
fn static_entry_of_another_host() -> Outcome {
    let Switched { h, g: _g, o, b: _b } = switched();
    let service = Service::start(&h, &[]);
    links::until_healthy(&h, &service);
    static_entry(&h, "10.0.0.3", REPLACED);
    doctor(&h, &service).healthy();
    let at_o = Service::start(&o, &[]);
    // Its request is a claim; the answer goes to the old MAC.
    let lost = ping(&at_o, &["-c", "1", "-W", "0.5", "10.0.0.1"]);
    assert_ne!(lost.fates(), ["replied"]);
    let report = until_found(&h, &service, "neighbour-entry-wrong");
    report.healthy_but("warning", "neighbour-entry-wrong");
    assert!(report.text.contains(&mac_of_host(&o)), "{}", report.text);
    static_entry(&h, "10.0.0.3", &mac_of_host(&o));
    doctor(&h, &service).healthy();
    Ok(())
}

/// The kernel takes no change of an entry within a second, and so missed this one.
fn stale_entry_of_a_moved_host() -> Outcome {
    let Switched { h, g: _g, o, b: _b } = switched();
    let service = Service::start(&h, &[]);
    links::until_healthy(&h, &service);
    h.sysctl("net/ipv4/neigh/e0/locktime", "100000")?;
    ping(&service, &["-c", "1", "10.0.0.3"]).only("replied", 1);
    let stale = [
        "neigh", "replace", "10.0.0.3", "lladdr", REPLACED, "dev", "e0", "nud", "stale",
    ];
    inside(&h, "ip", &stale);
    let at_o = Service::start(&o, &[]);
    ping(&at_o, &["-c", "1", "-W", "0.5", "10.0.0.254"]).only("replied", 1);
    let report = until_found(&h, &service, "neighbour-entry-wrong");
    report.healthy_but("warning", "neighbour-entry-wrong");
    assert!(
        report.text.contains("the stale neighbor entry of 10.0.0.3"),
        "{}",
        report.text
    );
    Ok(())
}
