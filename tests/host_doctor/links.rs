//! Links: carrier, flapping, drops, lengths.

use std::net::UdpSocket;

use super::*;

pub const SCENARIOS: &[Scenario] = &[
    ("link-down", "no_carrier", no_carrier),
    ("link-down", "set_down", set_down),
    ("link-down", "spare_link_is_down", spare_link_is_down),
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
    assert!(report.text.contains("no carrier"), "{}", report.text);
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
    report.proved();
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
