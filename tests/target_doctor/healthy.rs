//! Healthy ways of every kind: no finding at all. NETSONDE_HEALTHY_RUNS says how often each is asked for.

use std::io::Write;

use super::*;

pub const SCENARIOS: &[Scenario] = &[
    ("", "healthy_on_the_link", healthy_on_the_link),
    ("", "healthy_behind_routers", healthy_behind_routers),
    ("", "healthy_own_addresses", healthy_own_addresses),
    ("", "healthy_name", healthy_name),
    (
        "",
        "healthy_name_with_several_addresses",
        healthy_name_with_several_addresses,
    ),
    ("", "healthy_tcp_ports", healthy_tcp_ports),
    ("", "healthy_udp_ports", healthy_udp_ports),
    ("", "healthy_reported_mtu", healthy_reported_mtu),
    ("", "healthy_policy_rule", healthy_policy_rule),
    ("", "healthy_without_echo", healthy_without_echo),
    ("", "healthy_without_ipv6", healthy_without_ipv6),
    (
        "",
        "healthy_with_source_and_interface",
        healthy_with_source_and_interface,
    ),
];

fn runs() -> usize {
    let wanted = std::env::var("NETSONDE_HEALTHY_RUNS").ok();
    wanted.and_then(|text| text.parse().ok()).unwrap_or(1)
}

fn reached(net: &Net, targets: &[&str]) -> Outcome {
    for _ in 0..runs() {
        for target in targets {
            net.doctor(&[target]).healthy();
        }
    }
    Ok(())
}

fn reached_by_name(net: &Net, targets: &[&str]) -> Outcome {
    let resolver = Resolver::of_t();
    for _ in 0..runs() {
        for target in targets {
            net.doctor_with(&resolver, &[target]).healthy();
        }
    }
    Ok(())
}

fn healthy_on_the_link() -> Outcome {
    let net = net();
    let of_r1 = |line: &str| {
        let digits = line
            .strip_prefix("fe80")
            .filter(|_| line.ends_with(" e0"))?;
        let number = u128::from_str_radix(&format!("fe80{}", &digits[..28]), 16).ok()?;
        Some(std::net::Ipv6Addr::from(number).to_string())
    };
    // The kernel gives it when the link is up.
    let local = || net.r1.proc_net("if_inet6").lines().find_map(of_r1);
    assert!(wait_until(PATIENCE, || local().is_some()));
    let local = local().unwrap();
    // Its own link-local address has to be unique first.
    let is_usable = || !support::printed(&net.r1, "ip", &["addr"]).contains("tentative");
    assert!(wait_until(PATIENCE, is_usable));
    let local = format!("{local}%e0");
    reached(&net, &["10.1.0.254", "fd00:1::fe", &local])
}

fn healthy_behind_routers() -> Outcome {
    let net = net();
    reached(&net, &["10.2.0.2", T4, T6])
}

fn healthy_own_addresses() -> Outcome {
    let net = net();
    let _server = patient(&net.h, 8080);
    let targets = [
        "10.1.0.1",
        "fd00:1::1",
        "127.0.0.1",
        "::1",
        "10.1.0.1:8080",
        "[::1]:8080",
    ];
    reached(&net, &targets)
}

fn healthy_name() -> Outcome {
    let net = net();
    let _names = names_of(&net.t, &[T4, T6]);
    let _server = patient(&net.t, 443);
    reached_by_name(&net, &[NAME, &format!("{NAME}:https")])
}

/// As services with several servers have.
fn healthy_name_with_several_addresses() -> Outcome {
    let net = net();
    net.t.address("e0", "10.3.0.10/24")?;
    net.t.address("e0", "10.3.0.11/24")?;
    let _names = names_of(&net.t, &[T4, "10.3.0.10", T6, "10.3.0.11"]);
    let _server = patient(&net.t, 443);
    reached_by_name(&net, &[NAME, &format!("{NAME}:https")])
}

/// A server that waits, one that closes at once, and one that speaks first.
fn healthy_tcp_ports() -> Outcome {
    let net = net();
    let _servers = (
        patient(&net.t, 443),
        tcp(&net.t, 80, drop),
        tcp(&net.t, 22, |mut stream| {
            let _ = stream.write_all(b"SSH-2.0-test\r\n");
        }),
    );
    let targets = [
        "10.3.0.9:443",
        "[fd00:3::9]:443",
        "10.3.0.9:80",
        "10.3.0.9:22",
    ];
    reached(&net, &targets)
}

/// One that answers, and one that takes what it gets.
fn healthy_udp_ports() -> Outcome {
    let net = net();
    let _names = names_of(&net.t, &[T4]);
    let _silent = udp_socket(&net.t, "::", 514);
    reached(
        &net,
        &["10.3.0.9:53/udp", "10.3.0.9:514/udp", "[fd00:3::9]:514/udp"],
    )
}

/// A router that reports it.
fn healthy_reported_mtu() -> Outcome {
    let net = net();
    paths::narrow(&net);
    let _server = patient(&net.t, 443);
    reached(&net, &[T4, T6, "10.3.0.9:443"])
}

/// The main table has no way there.
fn healthy_policy_rule() -> Outcome {
    let net = net();
    for (family, to, gateway) in [("-4", T4, "10.1.0.254"), ("-6", T6, "fd00:1::fe")] {
        let ip = |words: &[&str]| inside(&net.h, "ip", &[&[family], words].concat());
        ip(&["route", "del", "default"]);
        ip(&["route", "add", "default", "via", gateway, "table", "100"]);
        ip(&["rule", "add", "to", to, "lookup", "100"]);
    }
    let _server = patient(&net.t, 443);
    reached(&net, &[T4, T6, "10.3.0.9:443"])
}

/// What has a port open need not answer echo requests.
fn healthy_without_echo() -> Outcome {
    let net = net();
    net.t.sysctl("net/ipv4/icmp_echo_ignore_all", "1")?;
    net.t.sysctl("net/ipv6/icmp/echo_ignore_all", "1")?;
    let _server = patient(&net.t, 443);
    reached(&net, &["10.3.0.9:443", "[fd00:3::9]:443"])
}

/// Names promise it, and this host does not have it at all, or not to anywhere else.
fn healthy_without_ipv6() -> Outcome {
    let net = net();
    let _names = names_of(&net.t, &[T4, T6]);
    let _server = patient(&net.t, 443);
    let targets = [NAME, &format!("{NAME}:443")];
    inside(&net.h, "ip", &["-6", "route", "del", "default"]);
    reached_by_name(&net, &targets)?;
    for name in ["all", "default", "e0", "lo"] {
        net.h
            .sysctl(&format!("net/ipv6/conf/{name}/disable_ipv6"), "1")?;
    }
    reached_by_name(&net, &targets)
}

fn healthy_with_source_and_interface() -> Outcome {
    let net = net();
    net.h.address("e0", "10.1.0.2/24")?;
    let _server = patient(&net.t, 443);
    for _ in 0..runs() {
        for by in [
            &["--source", "10.1.0.2"][..],
            &["--interface", "e0"],
            &["--interface", "e0", "--source", "10.1.0.1"],
        ] {
            for target in [T4, "10.3.0.9:443"] {
                net.doctor(&[&[target], by].concat()).healthy();
            }
        }
    }
    Ok(())
}
