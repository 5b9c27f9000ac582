//! Links: carrier, flapping, drops, lengths.

use std::net::UdpSocket;

use super::*;

pub const SCENARIOS: &[Scenario] = &[
    ("link-down", "no_carrier", no_carrier),
    ("link-down", "set_down", set_down),
    ("link-down", "spare_link_is_down", spare_link_is_down),
    ("link-down", "tun_without_program", tun_without_program),
    (
        "link-down",
        "peer_in_this_namespace",
        peer_in_this_namespace,
    ),
    (
        "link-down",
        "parent_without_carrier",
        parent_without_carrier,
    ),
    ("link-down", "bridge_without_ports", bridge_without_ports),
    ("link-down", "bond_without_slaves", bond_without_slaves),
    ("link-down", "dormant_link", dormant_link),
    ("link-flapping", "link_flapping", link_flapping),
    ("link-drops", "link_drops", link_drops),
    (
        "mtu-mismatch",
        "packets_above_the_mtu",
        packets_above_the_mtu,
    ),
    (
        "mtu-mismatch",
        "bridge_ports_with_different_mtus",
        bridge_ports_with_different_mtus,
    ),
    ("path-mtu", "path_mtu", path_mtu),
];

/// The gateway does not answer, has no route and resolves nobody: one fault.
fn no_carrier() -> Outcome {
    let Net { h, g } = net();
    let service = Service::start(&h, &[]);
    g.down("e0")?;
    let report = until_found(&h, &service, "link-down");
    report.fault("link-down");
    report.proved();
    let words = "no carrier: its peer, in another network namespace, is set down; routes use it";
    assert!(report.text.contains(words), "{}", report.text);
    assert!(!report.text.contains("cable"), "{}", report.text);
    let states = "e0: administratively up, carrier off, operational state DOWN";
    assert!(report.text.contains(states), "{}", report.text);
    g.up("e0")?;
    Ok(())
}

fn set_down() -> Outcome {
    let Net { h, g: _g } = net();
    let service = Service::start(&h, &[]);
    h.down("e0")?;
    let report = doctor(&h, &service);
    report.fault("link-down");
    assert!(report.text.contains("ip link set e0 up"), "{}", report.text);
    Ok(())
}

fn spare_link_is_down() -> Outcome {
    let Net { h, g } = net();
    lab::veth(&h, "e1", &g, "e1")?;
    h.address("e1", "10.1.0.1/24")?;
    g.down("e1")?;
    let service = Service::start(&h, &[]);
    let report = until_found(&h, &service, "link-down");
    report.healthy_but("warning", "link-down");
    doctor_of_host(&h, &service, &["--duration", "300ms", "-I", "e0"]).healthy();
    Ok(())
}

/// Runs ip(8) with these words.
fn ip(host: &Host, words: &str) {
    let words: Vec<&str> = words.split(' ').collect();
    inside(host, "ip", &words);
}

/// Requires a link-down of this severity, with this cause and this fix.
fn down_with(report: &Diagnosis, severity: &str, cause: &str, fix: &str) {
    match severity {
        "fault" => report.fault("link-down"),
        _ => report.healthy_but(severity, "link-down"),
    }
    let words = |key: &str| report.findings[0][key].as_str().unwrap().to_owned();
    assert!(words("summary").contains(cause), "{}", report.text);
    assert!(words("fix").contains(fix), "{}", report.text);
    assert!(!words("fix").contains("cable"), "{}", report.text);
}

fn tun_without_program() -> Outcome {
    let Net { h, g: _g } = net();
    let service = Service::start(&h, &[]);
    doctor(&h, &service).healthy();
    let mut may_open = std::fs::File::options();
    if may_open
        .read(true)
        .write(true)
        .open("/dev/net/tun")
        .is_err()
    {
        crate::support::skip_here("there is no /dev/net/tun, or not for this user");
    }
    ip(&h, "tuntap add dev t0 mode tun");
    h.address("t0", "10.8.0.1/24")?;
    h.up("t0")?;
    let report = until_found(&h, &service, "link-down");
    let cause = "no carrier: probably no program has it open";
    down_with(&report, "warning", cause, "start the program that uses t0");
    ip(&h, "route add 10.9.0.0/16 via 10.8.0.2 dev t0");
    let report = doctor(&h, &service);
    down_with(&report, "fault", cause, "start the program that uses t0");
    Ok(())
}

fn peer_in_this_namespace() -> Outcome {
    let Net { h, g: _g } = net();
    let service = Service::start(&h, &[]);
    ip(&h, "link add v0 type veth peer name v1");
    h.address("v0", "10.7.0.1/24")?;
    h.up("v0")?;
    let report = until_found(&h, &service, "link-down");
    let cause = "no carrier: its peer v1 is set down";
    down_with(&report, "warning", cause, "ip link set v1 up");
    h.up("v1")?;
    doctor(&h, &service).healthy();
    Ok(())
}

/// Whether this kernel makes links of a kind; they go with their host.
fn can_make(words: &str) -> bool {
    let host = Host::new("tried").unwrap();
    ip(&host, "link add v0 type veth peer name v1");
    let made = host.run(|| {
        let mut command = support::program("ip");
        command
            .args(["link", "add"])
            .args(words.split(' '))
            .output()
    });
    made.unwrap().status.success()
}

/// What is above e0, which has no address and no cable.
fn parent_without_carrier() -> Outcome {
    let mut tried = 0;
    for kind in ["macvlan mode bridge", "vlan id 5", "ipvlan"] {
        if !can_make(&format!("link v0 name u0 type {kind}")) {
            continue;
        }
        tried += 1;
        let Net { h, g } = net();
        let service = Service::start(&h, &[]);
        doctor(&h, &service).healthy();
        ip(&h, &format!("link add link e0 name u0 type {kind}"));
        ip(&h, "address flush dev e0");
        ip(&h, "-6 route flush default");
        h.address("u0", "10.0.0.1/24")?;
        h.up("u0")?;
        h.route("0.0.0.0/0", "10.0.0.254")?;
        g.down("e0")?;
        let report = until_found(&h, &service, "link-down");
        let cause = "no carrier: its parent e0 has no carrier";
        down_with(&report, "fault", cause, "mend e0 first");
        g.up("e0")?;
    }
    if tried == 0 {
        support::skip_here("this kernel has none of macvlan, VLAN and ipvlan");
    }
    Ok(())
}

/// Idle is a bridge only as long as no route needs it.
fn bridge_without_ports() -> Outcome {
    let Net { h, g } = net();
    bridge(&h, "br0", BridgeOptions::default())?;
    h.address("br0", "10.6.0.1/24")?;
    let service = Service::start(&h, &[]);
    doctor(&h, &service).healthy();
    h.route("10.9.0.0/16", "10.6.0.254")?;
    let report = until_found(&h, &service, "link-down");
    let cause = "br0 has 10.6.0.1 and no port; routes use it";
    down_with(&report, "fault", cause, "ip link set IF master br0");
    lab::veth(&h, "p0", &g, "e9")?;
    bridge_port(&h, "br0", "p0")?;
    h.down("p0")?;
    let report = doctor(&h, &service);
    let cause = "none of its ports works: p0 is set down";
    down_with(&report, "fault", cause, "ip link set p0 up");
    Ok(())
}

fn bond_without_slaves() -> Outcome {
    let Net { h, g } = net();
    if !can_make("name bond0 type bond") {
        support::skip_here("this kernel has no bonding driver");
    }
    ip(&h, "link add bond0 type bond");
    h.address("bond0", "10.5.0.1/24")?;
    h.up("bond0")?;
    let service = Service::start(&h, &[]);
    let report = until_found(&h, &service, "link-down");
    let cause = "no carrier, because it has no slave";
    down_with(&report, "warning", cause, "ip link set IF master bond0");
    lab::veth(&h, "s0", &g, "e9")?;
    h.down("s0")?;
    ip(&h, "link set s0 master bond0");
    g.down("e9")?;
    let report = doctor(&h, &service);
    let cause = "none of its slaves works: s0 has no carrier";
    down_with(&report, "warning", cause, "check the link of s0");
    Ok(())
}

/// As 802.1X leaves it before the switch has accepted this host.
fn dormant_link() -> Outcome {
    let Net { h, g } = net();
    let service = Service::start(&h, &[]);
    doctor(&h, &service).healthy();
    ip(&h, "link set e0 mode dormant");
    // The state follows the next time that the carrier comes.
    g.down("e0")?;
    until_found(&h, &service, "link-down").fault("link-down");
    g.up("e0")?;
    gateway_again(&g);
    let cause = "has a carrier, but waits in state DORMANT";
    let mut last = doctor(&h, &service);
    let met = wait_until(PATIENCE, || {
        last = doctor(&h, &service);
        last.text.contains(cause)
    });
    assert!(met, "{}", last.text);
    let report = last;
    report.fault("link-down");
    Ok(())
}

fn link_flapping() -> Outcome {
    let Net { h, g } = net();
    let service = Service::start(&h, &[]);
    for times in 1..=3 {
        g.down("e0")?;
        let gaps = |status: &serde_json::Value| {
            status["gaps"].to_string().matches("interface_down").count()
        };
        service.until("the link is known to be down", |status| {
            gaps(status) >= times
        });
        g.up("e0")?;
        service.until("the link is up again", |status| {
            support::entry(&status["interfaces"], "interface", "e0")["state"] == "up"
        });
    }
    // The gateway's addresses of IPv6 went with its link.
    gateway_again(&g);
    let report = doctor(&h, &service);
    report.healthy_but("warning", "link-flapping");
    report.proved();
    Ok(())
}

/// What an interface loses when it is set down.
fn gateway_again(g: &Host) {
    let _ = g.address("e0", "fd00:0::fe/64");
}

/// The other end has a longer MTU, and uses it.
fn link_drops() -> Outcome {
    let Net { h, g } = net();
    inside(&h, "ip", &["link", "set", "e0", "mtu", "1300"]);
    let service = Service::start(&h, &[]);
    let socket = g.run(|| UdpSocket::bind("10.0.0.254:0"))?;
    let _sender = Background::counting(move || {
        let _ = socket.send_to(&[0; 1400], ("10.0.0.1", PORT));
        false
    });
    let report = doctor(&h, &service);
    report.healthy_but("warning", "link-drops");
    assert!(report.text.contains("rx_dropped +"), "{}", report.text);
    Ok(())
}

fn packets_above_the_mtu() -> Outcome {
    let Net { h, g } = net();
    let at_g = Service::start(&g, &[]);
    let service = Service::start(&h, &[]);
    doctor(&h, &service).healthy();
    ping(&at_g, &["-c", "1", "-s", "1400", "10.0.0.1"]).only("replied", 1);
    inside(&h, "ip", &["link", "set", "e0", "mtu", "1300"]);
    let report = doctor(&h, &service);
    report.healthy_but("warning", "mtu-mismatch");
    assert_eq!(report.findings[0]["certainty"], "consistent");
    assert!(report.text.contains("1428 bytes"), "{}", report.text);
    Ok(())
}

fn bridge_ports_with_different_mtus() -> Outcome {
    let Switched {
        h: _h,
        g: _g,
        o: _o,
        b,
    } = switched();
    addresses(&b, "br0", 0, 9);
    routes(&b, 0);
    let service = Service::start(&b, &[]);
    until_healthy(&b, &service);
    inside(&b, "ip", &["link", "set", "po", "mtu", "1400"]);
    let report = doctor(&b, &service);
    report.healthy_but("warning", "mtu-mismatch");
    report.proved();
    Ok(())
}

/// A bridge forwards a moment after its ports are up.
pub fn until_healthy(host: &Host, service: &Service) {
    let mut last = None;
    let met = wait_until(PATIENCE, || {
        let report = doctor(host, service);
        let healthy = report.ids().is_empty();
        last = Some(report);
        healthy
    });
    assert!(met, "{}", last.unwrap().text);
}

/// ```text
///   h ---- 10.0.0.254 g 10.9.0.254 (MTU 1300) ---- 10.9.0.9 far
/// ```
fn path_mtu() -> Outcome {
    let Net { h, g } = net();
    let far = Host::new("far")?;
    lab::veth(&g, "e1", &far, "e0")?;
    g.address("e1", "10.9.0.254/24")?;
    far.address("e0", "10.9.0.9/24")?;
    far.route("0.0.0.0/0", "10.9.0.254")?;
    g.sysctl("net/ipv4/ip_forward", "1")?;
    inside(&g, "ip", &["link", "set", "e1", "mtu", "1300"]);
    let service = Service::start(&h, &[]);
    ping(&service, &["-c", "1", "-s", "56", "10.9.0.9"]).only("replied", 1);
    doctor(&h, &service).healthy();
    ping(
        &service,
        &["-c", "1", "-M", "probe", "-s", "1400", "10.9.0.9"],
    )
    .only("refused", 1);
    let report = doctor(&h, &service);
    report.healthy_but("note", "path-mtu");
    assert!(
        report
            .text
            .contains("a limit of 1300 bytes for packets on the way to 10.9.0.9"),
        "{}",
        report.text
    );
    Ok(())
}
