//! Healthy hosts of every kind: no finding at all. And what the doctor says where it cannot tell.

use std::process::Command;
use std::time::{Duration, Instant};

use super::*;

pub const SCENARIOS: &[Scenario] = &[
    ("", "healthy_pair", healthy_pair),
    (
        "",
        "healthy_bridge_with_querier",
        healthy_bridge_with_querier,
    ),
    ("", "healthy_two_links", healthy_two_links),
    ("", "healthy_without_ipv6", healthy_without_ipv6),
    ("", "healthy_link_local_gateway", healthy_link_local_gateway),
    (
        "",
        "healthy_with_an_idle_bridge",
        healthy_with_an_idle_bridge,
    ),
    ("", "healthy_router", healthy_router),
    ("", "healthy_under_load", healthy_under_load),
    ("", "healthy_busy_link", healthy_busy_link),
    ("", "only_loopback", only_loopback),
    (
        "",
        "missing_service_is_reported",
        missing_service_is_reported,
    ),
    (
        "",
        "skipped_checks_without_probe_permission",
        skipped_checks_without_probe_permission,
    ),
    ("", "dry_run_sends_nothing", dry_run_sends_nothing),
    ("", "sent_probes_are_reported", sent_probes_are_reported),
];

fn twice(host: &Host, service: &Service) {
    for _ in 0..2 {
        doctor_of_host(host, service, &[]).healthy();
    }
}

fn healthy_pair() -> Outcome {
    let Net { h, g: _g } = net();
    let service = Service::start(&h, &[]);
    twice(&h, &service);
    // One line, and what was looked at only when asked for.
    let report = h.run(|| service.netsonde(&["-q", "doctor", "--duration", "300ms"]));
    let text = String::from_utf8_lossy(&report.stdout).into_owned();
    assert_eq!(text.lines().count(), 1, "{text}");
    assert!(
        text.starts_with("healthy: ") && text.contains("1 interface"),
        "{text}"
    );
    assert!(report.stderr.is_empty());
    let report = h.run(|| service.netsonde(&["-v", "doctor", "--duration", "300ms"]));
    let text = String::from_utf8_lossy(&report.stdout).into_owned();
    assert!(text.contains("10.0.0.254 answered 4 of 4"), "{text}");
    Ok(())
}

/// Many announcements, a scan of addresses, and a stream without numbers: all at high rates, none a loop.
fn healthy_busy_link() -> Outcome {
    let Switched { h, g, o, b: _b } = switched();
    let service = Service::start(&h, &[]);
    links::until_healthy(&h, &service);
    let _names = loops::flood(&g, "e0", |number| {
        let question = format!("host-{:05}.local", number % 997);
        loops::mdns("10.0.0.254", (number as u16, 255), question.as_bytes())
    });
    let _scan = loops::flood(&o, "e0", |number| {
        arp_request(
            "10.0.0.3",
            &format!("10.0.{}.{}", number / 250 % 250, number % 250),
        )
    });
    let _stream = send(&o, GROUP, Sending::default());
    std::thread::sleep(Duration::from_millis(300));
    for _ in 0..2 {
        doctor(&h, &service).healthy();
    }
    Ok(())
}

/// A gateway, both families, a snooping bridge, members and a querier that goes on asking; at the host and
/// at the bridge.
fn healthy_bridge_with_querier() -> Outcome {
    let Switched { h, g, o, b } = switched();
    addresses(&b, "br0", 0, 9);
    routes(&b, 0);
    multicast::set_bridge(&b, "mcast_snooping 1");
    let mut last = Instant::now() - Duration::from_secs(9);
    let mut is_mld = false;
    let _querier = send_frames(&g, "e0", move |_| {
        if last.elapsed() < Duration::from_millis(500) {
            return ethernet([2, 0, 0, 0, 0, 9], 0x88b5, &[0; 46]);
        }
        last = Instant::now();
        is_mld = !is_mld;
        if is_mld {
            mld_query("fe80::1")
        } else {
            query("10.0.0.254", None, Q3, 1)
        }
    });
    let (at_h, at_b) = (Service::start(&h, &[]), Service::start(&b, &[]));
    let _receivers = (
        receive(&h, GROUP, "e0"),
        receive(&h, GROUP6, "e0"),
        receive(&o, GROUP, "e0"),
    );
    let _sender = send(&o, GROUP, Sending::default());
    until_shown(&at_h, "queriers", "10.0.0.254");
    links::until_healthy(&h, &at_h);
    twice(&h, &at_h);
    links::until_healthy(&b, &at_b);
    twice(&b, &at_b);
    Ok(())
}

/// Two networks, two gateways, one of them spare.
fn healthy_two_links() -> Outcome {
    let Net { h, g } = net();
    lab::veth(&h, "e1", &g, "e1")?;
    addresses(&h, "e1", 1, 1);
    gateway_addresses(&g, "e1", 1);
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
    let service = Service::start(&h, &[]);
    twice(&h, &service);
    Ok(())
}

fn healthy_without_ipv6() -> Outcome {
    let (h, g) = (Host::new("h")?, Host::new("g")?);
    for host in [&h, &g] {
        host.sysctl("net/ipv6/conf/all/disable_ipv6", "1")?;
        host.sysctl("net/ipv6/conf/default/disable_ipv6", "1")?;
    }
    lab::veth(&h, "e0", &g, "e0")?;
    h.address("e0", "10.0.0.1/24")?;
    g.address("e0", "10.0.0.254/24")?;
    h.route("0.0.0.0/0", "10.0.0.254")?;
    let service = Service::start(&h, &[]);
    twice(&h, &service);
    Ok(())
}

/// As router announcements make it.
fn healthy_link_local_gateway() -> Outcome {
    let Net { h, g } = net();
    let own = |line: &str| {
        let digits = line
            .strip_prefix("fe80")
            .map(|rest| format!("fe80{}", &rest[..28]))?;
        let number = u128::from_str_radix(&digits, 16).ok()?;
        Some(std::net::Ipv6Addr::from(number).to_string())
    };
    let of = |line: &str| line.contains("e0").then(|| own(line)).flatten();
    let local = g.proc_net("if_inet6").lines().find_map(of).unwrap();
    let route = [
        "-6", "route", "replace", "default", "via", &local, "dev", "e0",
    ];
    inside(&h, "ip", &route);
    let service = Service::start(&h, &[]);
    links::until_healthy(&h, &service);
    twice(&h, &service);
    let report = h.run(|| service.netsonde(&["-v", "doctor", "--duration", "300ms"]));
    let text = String::from_utf8_lossy(&report.stdout).into_owned();
    assert!(text.contains(&format!("{local} answered 4 of 4")), "{text}");
    Ok(())
}

/// As Docker leaves it when no container runs, and with one that does.
fn healthy_with_an_idle_bridge() -> Outcome {
    let Net { h, g: _g } = net();
    let options = BridgeOptions {
        snooping: true,
        ..BridgeOptions::default()
    };
    bridge(&h, "docker0", options)?;
    h.address("docker0", "172.17.0.1/16")?;
    h.sysctl("net/ipv4/ip_forward", "1")?;
    let service = Service::start(&h, &[]);
    twice(&h, &service);
    let container = Host::new("container")?;
    lab::veth(&container, "eth0", &h, "veth0")?;
    bridge_port(&h, "docker0", "veth0")?;
    container.address("eth0", "172.17.0.2/16")?;
    container.route("0.0.0.0/0", "172.17.0.1")?;
    twice(&h, &service);
    // Inside of the container, too.
    let inside = Service::start(&container, &[]);
    links::until_healthy(&container, &inside);
    twice(&container, &inside);
    Ok(())
}

fn healthy_router() -> Outcome {
    let Net { h, g } = net();
    let far = Host::new("far")?;
    lab::veth(&g, "e1", &far, "e0")?;
    gateway_addresses(&g, "e1", 9);
    addresses(&far, "e0", 9, 9);
    routes(&far, 9);
    g.sysctl("net/ipv4/ip_forward", "1")?;
    g.sysctl("net/ipv6/conf/all/forwarding", "1")?;
    inside(&g, "ip", &["route", "add", "default", "via", "10.9.0.9"]);
    let (at_g, at_far) = (Service::start(&g, &[]), Service::start(&far, &[]));
    ping(&at_far, &["-c", "1", "10.0.0.1"]).only("replied", 1);
    twice(&g, &at_g);
    twice(&far, &at_far);
    drop(h);
    Ok(())
}

/// Traffic that is read by whom it is for.
fn healthy_under_load() -> Outcome {
    let Net { h, g } = net();
    let service = Service::start(&h, &[]);
    let reader = socket(&h, true);
    reader.bind(&"10.0.0.1:5000".parse::<std::net::SocketAddr>()?.into())?;
    let reader = read(reader);
    let sender = g.run(|| std::net::UdpSocket::bind("10.0.0.254:0"))?;
    let _sender = Background::counting(move || {
        // At this rate the reader may be away for a second.
        std::thread::sleep(Duration::from_millis(10));
        let _ = sender.send_to(&[0; 1400], ("10.0.0.1", PORT));
        false
    });
    flows("under load", &reader, true);
    twice(&h, &service);
    Ok(())
}

fn only_loopback() -> Outcome {
    let h = Host::new("h")?;
    let service = Service::start(&h, &[]);
    let report = doctor(&h, &service);
    assert_eq!(
        (report.code, report.verdict.as_str()),
        (2, "undetermined"),
        "{}",
        report.text
    );
    assert!(report.text.contains("no interface other than loopback"));
    Ok(())
}

fn missing_service_is_reported() -> Outcome {
    let Net { h, g: _g } = net();
    let nowhere = std::path::Path::new("/nonexistent/control.sock");
    let output = h.run(|| support::client(nowhere, &["doctor"]));
    assert_eq!(output.status.code(), Some(2));
    let printed = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(printed.contains("systemctl start netsonded"), "{printed}");
    let service = Service::start(&h, &[]);
    let output = h.run(|| service.netsonde(&["doctor", "-I", "nope0"]));
    assert_eq!(output.status.code(), Some(2));
    let printed = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(printed.contains("unknown interface \"nope0\""), "{printed}");
    Ok(())
}

/// What could not be looked at is told, and is not well; what could be is told all the same.
fn skipped_checks_without_probe_permission() -> Outcome {
    let program = env!("CARGO_BIN_EXE_netsonde");
    let as_somebody = ["--reuid=64200", "--regid=64100", "--clear-groups", program];
    let tried = support::program("setpriv")
        .args(as_somebody)
        .arg("--version")
        .output();
    if !tried.is_ok_and(|output| output.status.success()) {
        support::skip_here("it takes root, setpriv, and programs that all may reach");
    }
    let Net { h, g } = net();
    let service = Service::with_config(&h, "[control]\ngroup = \"64100\"\n", &[]);
    service.open_directory();
    let ask = || {
        let mut command = support::program("setpriv");
        command
            .args(as_somebody)
            .arg("--socket")
            .arg(service.socket());
        h.run(|| command.args(["doctor", "--duration", "300ms"]).output())
    };
    let output = ask()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let printed = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{text}{printed}");
    assert!(text.starts_with("undetermined: "), "{text}");
    assert!(text.contains("skipped: gateways: answers"), "{text}");
    assert!(
        printed.contains("[permission] in netsonde.toml(5)"),
        "{printed}"
    );
    let mut command = support::program("setpriv");
    command
        .args(as_somebody)
        .arg("--socket")
        .arg(service.socket());
    command.args(["--json", "doctor", "--duration", "300ms"]);
    let report: serde_json::Value = serde_json::from_slice(&h.run(|| command.output())?.stdout)?;
    assert_eq!(report["sent"], serde_json::json!([]));
    assert!(
        report["checks"].to_string().contains("not_made"),
        "{report}"
    );
    g.down("e0")?;
    let met = wait_until(PATIENCE, || {
        let output = ask().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        output.status.code() == Some(1) && text.contains("fault: link-down")
    });
    assert!(met);
    Ok(())
}

fn echo_requests(service: &Service) -> usize {
    let packets = service.packets(&["--proto", "icmp", "--direction", "out"]);
    packets.len()
}

/// Neither is a service needed.
fn dry_run_sends_nothing() -> Outcome {
    let Net { h, g: _g } = net();
    let service = Service::start(&h, &[]);
    let mut command = Command::new(env!("CARGO_BIN_EXE_netsonde"));
    command.args(["--socket", "/nonexistent", "--json", "doctor", "--dry-run"]);
    let output = h.run(|| command.output())?;
    assert_eq!(output.status.code(), Some(0));
    let report: serde_json::Value = serde_json::from_slice(&output.stdout)?;
    let targets: Vec<&str> = report["would_send"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["target"].as_str().unwrap())
        .collect();
    assert_eq!(targets, ["10.0.0.254", "fd00::fe"]);
    assert_eq!(echo_requests(&service), 0);
    Ok(())
}

/// Exactly that leaves.
fn sent_probes_are_reported() -> Outcome {
    let Net { h, g: _g } = net();
    let service = Service::start(&h, &[]);
    let output = h.run(|| service.netsonde(&["--json", "doctor", "--duration", "300ms"]));
    let report: serde_json::Value = serde_json::from_slice(&output.stdout)?;
    let sent: u64 = report["sent"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|one| one["target"] == "10.0.0.254")
        .map(|one| support::number(&one["count"]))
        .sum();
    assert!(sent > 0);
    let met = wait_until(PATIENCE, || echo_requests(&service) as u64 == sent);
    assert!(met, "{} instead of {sent}", echo_requests(&service));
    Ok(())
}
