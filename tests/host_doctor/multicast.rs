//! Multicast without a group: queriers, versions, bridges, limits.

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use super::*;

pub const SCENARIOS: &[Scenario] = &[
    (
        "bridge-querier-default",
        "bridge_querier_default",
        bridge_querier_default,
    ),
    (
        "no-querier",
        "bridge_without_querier",
        bridge_without_querier,
    ),
    ("mdb-full", "mdb_full", mdb_full),
    (
        "igmp-version-forced",
        "igmp_version_forced",
        igmp_version_forced,
    ),
    (
        "suspicious-igmp-query",
        "suspicious_igmp_query",
        suspicious_igmp_query,
    ),
    ("illegal-mld-query", "illegal_mld_query", illegal_mld_query),
    (
        "querier-version-flapping",
        "querier_version_flapping",
        querier_version_flapping,
    ),
    (
        "igmpv2-querier-breaks-ssm",
        "igmpv2_querier_breaks_ssm",
        igmpv2_querier_breaks_ssm,
    ),
    (
        "report-suppression",
        "report_suppression",
        report_suppression,
    ),
    (
        "firewall-drops-igmp",
        "firewall_drops_igmp",
        firewall_drops_igmp,
    ),
    (
        "firewall-drops-mld",
        "firewall_drops_mld",
        firewall_drops_mld,
    ),
    ("querier-lost", "querier_lost", querier_lost),
    (
        "query-interval-too-long",
        "query_interval_too_long",
        query_interval_too_long,
    ),
    ("two-queriers", "two_queriers", two_queriers),
    ("querier-changed", "querier_changed", querier_changed),
    (
        "querier-without-address",
        "querier_without_address",
        querier_without_address,
    ),
    ("membership-limit", "membership_limit", membership_limit),
];

/// A querier that asks slowly enough to be waited for by nobody.
const SLOW: QueryParams = QueryParams {
    interval: 125,
    ..Q3
};

/// A host that is a bridge, with a gateway and another host behind it.
fn bridged(settings: &str) -> (Switched, Service) {
    let net = switched();
    addresses(&net.b, "br0", 0, 9);
    routes(&net.b, 0);
    set_bridge(&net.b, settings);
    let service = Service::start(&net.b, &[]);
    (net, service)
}

pub fn set_bridge(host: &Host, settings: &str) {
    let mut words = vec!["link", "set", "br0", "type", "bridge"];
    words.extend(settings.split(' '));
    inside(host, "ip", &words);
}

fn bridge_querier_default() -> Outcome {
    let (net, service) = bridged("mcast_snooping 1 mcast_querier 0");
    links::until_healthy(&net.b, &service);
    set_bridge(&net.b, "mcast_querier 1");
    // One of IGMP, one of MLD.
    let diagnosis = until_found(&net.b, &service, "bridge-querier-default");
    assert_eq!(
        diagnosis.ids(),
        ["bridge-querier-default"; 2],
        "{}",
        diagnosis.text
    );
    assert_eq!(diagnosis.code, 0, "{}", diagnosis.text);
    Ok(())
}

fn bridge_without_querier() -> Outcome {
    let (net, service) = bridged("mcast_snooping 1 mcast_querier 0 mcast_querier_interval 100");
    links::until_healthy(&net.b, &service);
    let _receiver = receive(&net.b, GROUP, "br0");
    until_found(&net.b, &service, "no-querier").healthy_but("note", "no-querier");
    Ok(())
}

fn mdb_full() -> Outcome {
    let (net, service) = bridged("mcast_snooping 1 mcast_hash_max 2");
    let _receivers: Vec<Background> = (1..5)
        .map(|number| receive(&net.o, &format!("239.3.3.{number}"), "e0"))
        .collect();
    until_shown(&service, "groups", "239.3.3.4");
    until_found(&net.b, &service, "mdb-full").healthy_but("warning", "mdb-full");
    Ok(())
}

fn igmp_version_forced() -> Outcome {
    let Net { h, g: _g } = net();
    let service = Service::start(&h, &[]);
    h.sysctl("net/ipv4/conf/e0/force_igmp_version", "3")?;
    doctor(&h, &service).healthy();
    h.sysctl("net/ipv4/conf/e0/force_igmp_version", "2")?;
    doctor(&h, &service).healthy_but("note", "igmp-version-forced");
    Ok(())
}

/// Frames of the gateway, one after the other, after which the doctor finds exactly that.
fn after(frames: &[Vec<u8>], severity: &str, id: &str) -> Outcome {
    let Net { h, g } = net();
    let service = Service::start(&h, &[]);
    doctor(&h, &service).healthy();
    let _receivers = (receive(&h, GROUP, "e0"), receive(&h, GROUP6, "e0"));
    for (number, frame) in frames.iter().enumerate() {
        send_frame(&g, "e0", frame);
        // One after the other, also in the record.
        let asked = |status: &serde_json::Value| {
            support::number(&support::entry(&status["recorder"], "store", "group")["recorded"])
        };
        service.until("the query is recorded", |status| {
            asked(status) > number as u64
        });
    }
    until_found(&h, &service, id).healthy_but(severity, id);
    Ok(())
}

fn suspicious_igmp_query() -> Outcome {
    let how = |ttl| query("10.0.0.254", None, SLOW, ttl);
    after(&[how(64)], "warning", "suspicious-igmp-query")
}

fn illegal_mld_query() -> Outcome {
    after(&[mld_query("fd00:0::fe")], "warning", "illegal-mld-query")
}

fn querier_version_flapping() -> Outcome {
    let old = QueryParams { version: 2, ..SLOW };
    let (a, b) = (
        query("10.0.0.254", None, SLOW, 1),
        query("10.0.0.9", None, old, 1),
    );
    let frames = [a.clone(), b.clone(), a, b];
    after(&frames, "warning", "querier-version-flapping")
}

fn querier_lost() -> Outcome {
    after(
        &[query("10.0.0.254", None, Q3, 1)],
        "warning",
        "querier-lost",
    )
}

/// 0x93: 304 s in the floating-point form.
fn query_interval_too_long() -> Outcome {
    let how = QueryParams {
        interval: 0x93,
        ..Q3
    };
    after(
        &[query("10.0.0.254", None, how, 1)],
        "warning",
        "query-interval-too-long",
    )
}

fn querier_changed() -> Outcome {
    let of = |from: &str| query(from, None, SLOW, 1);
    after(
        &[of("10.0.0.254"), of("10.0.0.20")],
        "warning",
        "querier-changed",
    )
}

fn querier_without_address() -> Outcome {
    after(
        &[query("0.0.0.0", None, SLOW, 1)],
        "warning",
        "querier-without-address",
    )
}

/// Both go on asking for longer than one should put up with the other.
fn two_queriers() -> Outcome {
    let Net { h, g } = net();
    let service = Service::start(&h, &[]);
    let _receiver = receive(&h, GROUP, "e0");
    let mut last = Instant::now() - Duration::from_secs(1);
    let mut turn = false;
    let _queriers = send_frames(&g, "e0", move |_| {
        if last.elapsed() < Duration::from_millis(250) {
            return ethernet([2, 0, 0, 0, 0, 9], 0x88b5, &[0; 46]);
        }
        last = Instant::now();
        turn = !turn;
        query(if turn { "10.0.0.254" } else { "10.0.0.20" }, None, Q3, 1)
    });
    until_found(&h, &service, "two-queriers").healthy_but("warning", "two-queriers");
    Ok(())
}

fn igmpv2_querier_breaks_ssm() -> Outcome {
    let Net { h, g } = net();
    let service = Service::start(&h, &[]);
    let only = socket(&h, true);
    only.join_ssm_v4(
        &Ipv4Addr::new(10, 0, 0, 254),
        &Ipv4Addr::new(232, 1, 1, 1),
        &Ipv4Addr::new(10, 0, 0, 1),
    )?;
    doctor(&h, &service).healthy();
    let how = QueryParams { version: 2, ..SLOW };
    send_frame(&g, "e0", &query("10.0.0.254", None, how, 1));
    let diagnosis = until_found(&h, &service, "igmpv2-querier-breaks-ssm");
    diagnosis.healthy_but("warning", "igmpv2-querier-breaks-ssm");
    diagnosis.proved();
    Ok(())
}

fn report_suppression() -> Outcome {
    let Net { h, g } = net();
    let service = Service::start(&h, &[]);
    let _receiver = receive(&h, GROUP, "e0");
    until_shown(&service, "groups", "this host");
    // The switch leaks another host's report right behind the query.
    let asks = QueryParams {
        max_response: 20,
        interval: 125,
        ..Q2
    };
    let mut port = g.port("e0")?;
    std::io::Write::write_all(&mut port, &query("10.0.0.254", None, asks, 1))?;
    std::io::Write::write_all(&mut port, &report("10.0.0.77", GROUP))?;
    until_found(&h, &service, "report-suppression").healthy_but("warning", "report-suppression");
    Ok(())
}

/// A firewall keeps from this host what a querier asks every second.
fn silenced(group: &str, rule: &str, frame: Vec<u8>, id: &str) -> Outcome {
    let Net { h, g } = net();
    firewall(&h, "input", rule);
    let service = Service::start(&h, &[]);
    let _receiver = receive(&h, group, "e0");
    until_shown(&service, "groups", "this host");
    let mut last = Instant::now() - Duration::from_secs(1);
    let _querier = send_frames(&g, "e0", move |_| {
        if last.elapsed() < Duration::from_secs(1) {
            return ethernet([2, 0, 0, 0, 0, 9], 0x88b5, &[0; 46]);
        }
        last = Instant::now();
        frame.clone()
    });
    until_found(&h, &service, id).healthy_but("warning", id);
    Ok(())
}

fn firewall_drops_igmp() -> Outcome {
    silenced(
        GROUP,
        "meta l4proto igmp drop",
        query("10.0.0.254", None, Q3, 1),
        "firewall-drops-igmp",
    )
}

fn firewall_drops_mld() -> Outcome {
    silenced(
        GROUP6,
        "icmpv6 type mld-listener-query drop",
        mld_query("fe80::1"),
        "firewall-drops-mld",
    )
}

fn membership_limit() -> Outcome {
    let Net { h, g: _g } = net();
    let service = Service::start(&h, &[]);
    let full = socket(&h, true);
    // A socket that is not bound is in no list.
    full.bind(&"0.0.0.0:5000".parse::<std::net::SocketAddr>()?.into())?;
    for number in 1..=20u8 {
        let group = Ipv4Addr::new(239, 7, 7, number);
        join_on(&full, group.into(), index(&h, "e0"))?;
        if number == 19 {
            doctor(&h, &service).healthy();
        }
    }
    let diagnosis = doctor(&h, &service);
    diagnosis.healthy_but("warning", "membership-limit");
    diagnosis.proved();
    Ok(())
}
