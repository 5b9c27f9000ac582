//! Addresses: taken twice, not ready, missing, two in one network.

use super::*;

pub const SCENARIOS: &[Scenario] = &[
    ("address-conflict", "own_address", own_address),
    (
        "address-conflict",
        "address_of_another_host",
        address_of_another_host,
    ),
    ("address-conflict", "two_real_hosts", two_real_hosts),
    ("duplicate-address", "duplicate_address", duplicate_address),
    ("address-tentative", "address_tentative", address_tentative),
    ("no-address", "no_address", no_address),
    ("no-address", "no_address_of_ipv6", no_address_of_ipv6),
    ("arp-flux", "arp_flux", arp_flux),
];

fn own_address() -> Outcome {
    let Switched { h, g: _g, o, b: _b } = switched();
    let service = Service::start(&h, &[]);
    links::until_healthy(&h, &service);
    send_frame(&o, "e0", &arp_request("10.0.0.1", "10.0.0.254"));
    let report = until_found(&h, &service, "address-conflict");
    report.fault("address-conflict");
    report.proved();
    assert_eq!(report.findings[0]["interface"], "e0");
    Ok(())
}

/// Both have the address configured, and each talks to the gateway.
fn two_real_hosts() -> Outcome {
    let Switched { h, g: _g, o, b: _b } = switched();
    inside(&o, "ip", &["address", "flush", "dev", "e0"]);
    o.address("e0", "10.0.0.1/24")?;
    let (service, at_o) = (Service::start(&h, &[]), Service::start(&o, &[]));
    let met = wait_until(PATIENCE, || {
        inside(&o, "ip", &["neigh", "flush", "dev", "e0"]);
        ping(&at_o, &["-c", "1", "-W", "0.2", "10.0.0.254"]);
        service.netsonde(&["neighbors"]).status.code() == Some(1)
    });
    assert!(met);
    let report = doctor(&h, &service);
    assert_eq!(report.ids()[0], "address-conflict", "{}", report.text);
    report.proved();
    assert_eq!(
        (report.findings[0]["severity"].as_str(), report.code),
        (Some("fault"), 1)
    );
    Ok(())
}

/// Of two others, neither of whom is the gateway: worth a warning.
fn address_of_another_host() -> Outcome {
    let Switched { h, g, o, b: _b } = switched();
    let service = Service::start(&h, &[]);
    links::until_healthy(&h, &service);
    for host in [&g, &o] {
        host.address("e0", "10.0.0.9/32")?;
    }
    let met = wait_until(PATIENCE, || {
        inside(&h, "ip", &["neigh", "flush", "dev", "e0"]);
        let _ = ping(&service, &["-c", "1", "-W", "0.2", "10.0.0.9"]);
        doctor(&h, &service).ids().contains(&"address-conflict")
    });
    assert!(met);
    doctor(&h, &service).healthy_but("warning", "address-conflict");
    Ok(())
}

fn duplicate_address() -> Outcome {
    let Switched {
        h,
        g: _g,
        o: _o,
        b: _b,
    } = switched();
    let service = Service::start(&h, &[]);
    links::until_healthy(&h, &service);
    inside(&h, "ip", &["address", "add", "fd00:0::3/64", "dev", "e0"]);
    let report = until_found(&h, &service, "duplicate-address");
    report.fault("duplicate-address");
    report.proved();
    Ok(())
}

fn address_tentative() -> Outcome {
    let Net { h, g: _g } = net();
    let service = Service::start(&h, &[]);
    // The fifth column are the flags of an address.
    let is_tentative = |line: &str| {
        let flags = line.split_whitespace().nth(4);
        flags.is_some_and(|flags| u32::from_str_radix(flags, 16).unwrap() & 0x40 != 0)
    };
    let all_ready = || !h.proc_net("if_inet6").lines().any(is_tentative);
    assert!(wait_until(PATIENCE, all_ready));
    h.sysctl("net/ipv6/neigh/e0/retrans_time_ms", "100000")?;
    inside(&h, "ip", &["address", "add", "fd00:0::7/64", "dev", "e0"]);
    doctor(&h, &service).healthy();
    let report = until_found(&h, &service, "address-tentative");
    report.healthy_but("warning", "address-tentative");
    Ok(())
}

fn no_address() -> Outcome {
    let Net { h, g: _g } = net();
    inside(&h, "ip", &["-4", "address", "flush", "dev", "e0"]);
    inside(
        &h,
        "ip",
        &[
            "route",
            "add",
            "default",
            "via",
            "10.0.0.254",
            "dev",
            "e0",
            "onlink",
        ],
    );
    let service = Service::start(&h, &[]);
    let report = doctor(&h, &service);
    report.fault("no-address");
    report.proved();
    Ok(())
}

/// A router announces itself, and nobody gives out addresses.
fn no_address_of_ipv6() -> Outcome {
    let Net { h, g: _g } = net();
    inside(&h, "ip", &["address", "del", "fd00:0::1/64", "dev", "e0"]);
    inside(
        &h,
        "ip",
        &[
            "-6", "route", "replace", "default", "via", "fe80::1", "dev", "e0",
        ],
    );
    let service = Service::start(&h, &[]);
    doctor(&h, &service).healthy_but("warning", "no-address");
    Ok(())
}

fn arp_flux() -> Outcome {
    let Switched { h, g: _g, o: _o, b } = switched();
    lab::veth(&h, "e1", &b, "p1")?;
    bridge_port(&b, "br0", "p1")?;
    let service = Service::start(&h, &[]);
    links::until_healthy(&h, &service);
    h.address("e1", "10.0.0.2/24")?;
    // Each answers for the other's address to whoever asks.
    let at_o = Service::start(&switched_other(&b)?, &[]);
    let met = wait_until(PATIENCE, || {
        ping(&at_o, &["-c", "1", "-W", "0.2", "10.0.0.2"]).fates() == ["replied"]
    });
    assert!(met);
    doctor(&h, &service).healthy_but("warning", "arp-flux");
    h.sysctl("net/ipv4/conf/all/arp_ignore", "1")?;
    doctor(&h, &service).healthy();
    Ok(())
}

/// A fourth station of the switch.
fn switched_other(b: &Host) -> Result<Host, lab::Error> {
    let host = Host::new("p")?;
    lab::veth(&host, "e0", b, "p9")?;
    bridge_port(b, "br0", "p9")?;
    host.address("e0", "10.0.0.9/24")?;
    Ok(host)
}
