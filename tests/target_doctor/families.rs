//! Names with addresses of both families, of which one fails.

use super::*;

pub const SCENARIOS: &[Scenario] = &[
    ("ipv6-broken", "ipv6_broken", ipv6_broken),
    (
        "ipv6-broken",
        "port_closed_over_ipv6",
        port_closed_over_ipv6,
    ),
    ("ipv4-broken", "ipv4_broken", ipv4_broken),
    (
        "address-broken",
        "one_address_of_several_broken",
        one_address_of_several_broken,
    ),
    ("no-route", "only_ipv6_and_no_route", only_ipv6_and_no_route),
    ("path-ends", "both_families_broken", both_families_broken),
];

/// Both families; the cause is the first item of evidence.
fn broken(target: &str, rule: &str, id: &str, cause: &str) -> Outcome {
    let net = net();
    let _names = names_of(&net.t, &[T4, T6]);
    let _server = patient(&net.t, 443);
    firewall(&net.r2, "forward", rule);
    let report = net.doctor_with(&Resolver::of_t(), &[target]);
    report.healthy_but("warning", id);
    let first = report.findings[0]["evidence"][0]["text"].to_string();
    assert!(first.contains(cause), "{first}");
    Ok(())
}

fn ipv6_broken() -> Outcome {
    broken(NAME, "ip6 daddr fd00:3::9 drop", "ipv6-broken", "path-ends")
}

fn port_closed_over_ipv6() -> Outcome {
    let target = format!("{NAME}:443");
    broken(
        &target,
        "ip6 daddr fd00:3::9 tcp dport 443 reject with tcp reset",
        "ipv6-broken",
        "port-closed",
    )
}

fn ipv4_broken() -> Outcome {
    // Its questions have to pass.
    let rule = "ip daddr 10.3.0.9 udp dport 53 accept\nip daddr 10.3.0.9 drop";
    broken(NAME, rule, "ipv4-broken", "path-ends")
}

/// The one that is tried first by programs, and then another one.
fn one_address_of_several_broken() -> Outcome {
    let net = net();
    net.t.address("e0", "10.3.0.10/24")?;
    net.t.address("e0", "10.3.0.11/24")?;
    let _server = patient(&net.t, 443);
    let target = format!("{NAME}:443");
    for (broken, id) in [("10.3.0.10", "port-closed"), ("10.3.0.11", "port-closed")] {
        let rule = format!("ip daddr {broken} tcp dport 443 reject with tcp reset");
        firewall(&net.r2, "forward", &rule);
        let _names = names_of(&net.t, &["10.3.0.10", T4, "10.3.0.11", T6]);
        let report = net.doctor_with(&Resolver::of_t(), &[&target]);
        report.healthy_but("warning", "address-broken");
        let finding = &report.findings[0];
        let summary = finding["summary"].to_string();
        let words = format!("at 1 of its 3 IPv4 addresses that were tried ({broken})");
        assert!(summary.contains(&words), "{summary}");
        let cause = finding["evidence"][0]["text"].to_string();
        assert!(cause.contains(&format!("{broken}: {id}")), "{cause}");
        inside(&net.r2, "nft", &["flush", "ruleset"]);
    }
    Ok(())
}

fn only_ipv6_and_no_route() -> Outcome {
    let net = net();
    let _names = names_of(&net.t, &[T6]);
    inside(&net.h, "ip", &["-6", "route", "del", "default"]);
    let report = net.doctor_with(&Resolver::of_t(), &[NAME]);
    report.fault("no-route");
    assert!(report.text.contains(T6), "{}", report.text);
    Ok(())
}

/// The cause of the family that is tried first is the only one.
fn both_families_broken() -> Outcome {
    let net = net();
    let _names = names_of(&net.t, &[T4, T6]);
    firewall(
        &net.r2,
        "forward",
        "udp dport 53 accept\nip daddr 10.3.0.9 drop\nip6 daddr fd00:3::9 drop",
    );
    let report = net.doctor_with(&Resolver::of_t(), &[NAME]);
    report.fault("path-ends");
    let summary = report.findings[0]["summary"].to_string();
    assert!(summary.contains(":2::2 (hop 2)"), "{summary}");
    Ok(())
}
