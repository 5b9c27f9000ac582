//! Modes of IGMP and MLD.

use std::io::Read;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use super::*;

pub const SCENARIOS: &[Scenario] = &[
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
    (
        "igmpv2-querier-breaks-ssm",
        "igmpv2_querier_breaks_ssm",
        igmpv2_querier_breaks_ssm,
    ),
    (
        "bridge-querier-default",
        "bridge_querier_default",
        bridge_querier_default,
    ),
    (
        "switch-ignores-igmpv3",
        "switch_ignores_igmpv3",
        switch_ignores_igmpv3,
    ),
    (
        "querier-version-flapping",
        "querier_version_flapping",
        querier_version_flapping,
    ),
    (
        "report-suppression",
        "report_suppression",
        report_suppression,
    ),
    ("illegal-mld-query", "illegal_mld_query", illegal_mld_query),
    (
        "suspicious-igmp-query",
        "suspicious_igmp_query",
        suspicious_igmp_query,
    ),
    (
        "querier-without-address",
        "querier_without_address",
        querier_without_address,
    ),
    ("reports-lost", "reports_lost", reports_lost),
    (
        "link-local-reports",
        "link_local_reports",
        link_local_reports,
    ),
    ("rejoin-hack", "rejoin_hack", rejoin_hack),
];

/// Long enough for every answer to a query of half a second, as the doctor counts it.
const ANSWERED: Duration = Duration::from_millis(1100);

/// The stream works, then dies at a snooping switch since this host does not answer queries.
fn silenced(group: &str, query: Vec<u8>, rule: &str, id: &str) -> Outcome {
    let Switched {
        s,
        r,
        r2: _r2,
        b: _b,
    } = switched();
    firewall(&r, "input", rule);
    let service = Service::start(&r, &[]);
    send_frame(&s, "e0", &query);
    let receiver = receive(&r, group, "e0");
    let _sender = send(&s, group, Sending::default());
    flows("after joining", &receiver, true);
    let again = query.clone();
    let mut last = Instant::now();
    let port = s.port("e0")?;
    let _querier = send_frames(&s, "e0", move |_| {
        // A query a second, and else something that nobody cares about.
        if last.elapsed() > Duration::from_secs(1) {
            last = Instant::now();
            again.clone()
        } else {
            ethernet([2, 0, 0, 0, 0, 9], 0x88b5, &[0; 46])
        }
    });
    drop(port);
    flows("when the membership has run out", &receiver, false);
    doctor(&r, &service, &[group]).fault(id);
    Ok(())
}

fn firewall_drops_igmp() -> Outcome {
    silenced(
        GROUP,
        query("10.0.0.1", None, Q3, 1),
        "meta l4proto igmp drop",
        "firewall-drops-igmp",
    )
}

fn firewall_drops_mld() -> Outcome {
    silenced(
        GROUP6,
        mld_query("fe80::1"),
        "icmpv6 type mld-listener-query drop",
        "firewall-drops-mld",
    )
}

fn igmpv2_querier_breaks_ssm() -> Outcome {
    let Pair { s, r } = pair();
    let service = Service::start(&r, &[]);
    let only = socket(&r, true);
    only.join_ssm_v4(
        &Ipv4Addr::new(10, 0, 0, 1),
        &Ipv4Addr::new(232, 1, 1, 1),
        &Ipv4Addr::new(10, 0, 0, 2),
    )?;
    send_frame(&s, "e0", &query("10.0.0.1", None, Q2, 1));
    until_shown(&service, "groups", "IGMPv2 joined");
    let diagnosis = doctor(&r, &service, &["232.1.1.1"]);
    diagnosis.fault("igmpv2-querier-breaks-ssm");
    diagnosis.proved();
    Ok(())
}

fn bridge_querier_default() -> Outcome {
    let Switched { s, r, r2: _r2, b } = switched();
    set_bridge(&b, "mcast_querier 1");
    let service = Service::start(&b, &[]);
    let receiver = receive(&r, GROUP, "e0");
    let _sender = send(&s, GROUP, Sending::default());
    flows("over the bridge", &receiver, true);
    doctor(&b, &service, &[GROUP]).healthy_but("warning", "bridge-querier-default");
    Ok(())
}

/// The switch does not take version 3 reports in; an older device behind the same port does better.
fn switch_ignores_igmpv3() -> Outcome {
    let net = super::link::shared();
    let rules = "table netdev t {\nchain c {\ntype filter hook ingress device \"pr\" priority 0;\nip daddr 224.0.0.22 drop\n}\n}\n";
    support::load_rules(&net.b, rules);
    net.r.sysctl("net/ipv4/conf/e0/force_igmp_version", "0")?;
    let service = Service::start(&net.r, &[]);
    let slow = QueryParams {
        interval: 125,
        ..Q3
    };
    send_frame(&net.s, "e0", &query("10.0.0.1", None, slow, 1));
    until_shown(&service, "queriers", "10.0.0.1");
    std::thread::sleep(ANSWERED);
    let _older = receive(&net.r2, "239.8.8.8", "e0");
    let receiver = receive(&net.r, GROUP, "e0");
    until_shown(&service, "groups", "239.8.8.8");
    until_shown(&service, "groups", GROUP);
    let _sender = send(&net.s, GROUP, Sending::default());
    doctor(&net.r, &service, &[&channel()]).fault("switch-ignores-igmpv3");
    assert_eq!(receiver.count(), 0);
    // And what the doctor advises helps.
    drop(receiver);
    net.r.sysctl("net/ipv4/conf/e0/force_igmp_version", "2")?;
    let receiver = receive(&net.r, GROUP, "e0");
    flows("in version 2", &receiver, true);
    Ok(())
}

fn querier_version_flapping() -> Outcome {
    let Pair { s, r } = pair();
    let service = Service::start(&r, &[]);
    let _receiver = receive(&r, GROUP, "e0");
    let _sender = send(&s, GROUP, Sending::default());
    let slow = QueryParams {
        interval: 125,
        ..Q3
    };
    for _ in 0..2 {
        for (from, how) in [
            ("10.0.0.1", slow),
            ("10.0.0.9", QueryParams { version: 2, ..slow }),
        ] {
            send_frame(&s, "e0", &query(from, None, how, 1));
            std::thread::sleep(Duration::from_millis(150));
        }
    }
    until_shown(&service, "queriers", "10.0.0.9");
    doctor(&r, &service, &[&channel()]).healthy_but("warning", "querier-version-flapping");
    Ok(())
}

fn report_suppression() -> Outcome {
    let Pair { s, r } = pair();
    let service = Service::start(&r, &[]);
    let _receiver = receive(&r, GROUP, "e0");
    until_shown(&service, "groups", "this host");
    // The switch leaks another host's report right behind the query.
    let asks = QueryParams {
        max_response: 20,
        ..Q2
    };
    let mut port = s.port("e0")?;
    std::io::Write::write_all(&mut port, &query("10.0.0.1", None, asks, 1))?;
    std::io::Write::write_all(&mut port, &report("10.0.0.77", GROUP))?;
    until_shown(&service, "groups", "10.0.0.77");
    std::thread::sleep(Duration::from_millis(2600));
    let diagnosis = doctor(&r, &service, &[&channel()]);
    diagnosis.fault("report-suppression");
    diagnosis.consistent();
    Ok(())
}

fn illegal_mld_query() -> Outcome {
    let Pair { s, r } = pair();
    let service = Service::start(&r, &[]);
    let _receiver = receive(&r, GROUP6, "e0");
    send_frame(&s, "e0", &mld_query("fd00::1"));
    let diagnosis = doctor(&r, &service, &[GROUP6]);
    diagnosis.fault("illegal-mld-query");
    diagnosis.proved();
    Ok(())
}

/// A stream that works, and a query that is strange.
fn works_with(frame: &[u8], id: &str) -> Outcome {
    let Pair { s, r } = pair();
    let service = Service::start(&r, &[]);
    let _receiver = receive(&r, GROUP, "e0");
    let _sender = send(&s, GROUP, Sending::default());
    send_frame(&s, "e0", frame);
    std::thread::sleep(ANSWERED);
    doctor(&r, &service, &[&channel()]).healthy_but("warning", id);
    Ok(())
}

fn suspicious_igmp_query() -> Outcome {
    let how = QueryParams {
        interval: 125,
        ..Q3
    };
    works_with(&query("10.0.0.1", None, how, 64), "suspicious-igmp-query")?;
    works_with(&query("172.16.5.5", None, how, 1), "suspicious-igmp-query")
}

fn querier_without_address() -> Outcome {
    let how = QueryParams {
        interval: 125,
        ..Q3
    };
    works_with(&query("0.0.0.0", None, how, 1), "querier-without-address")
}

/// A hundred groups, and a limit on the way out that lets some reports pass.
fn reports_lost() -> Outcome {
    let Pair { s, r } = pair();
    r.sysctl("net/ipv4/conf/e0/force_igmp_version", "2")?;
    let service = Service::start(&r, &[]);
    let mut sockets = vec![];
    let mut groups = vec![];
    for number in 0..100u8 {
        if number.is_multiple_of(20) {
            sockets.push(socket(&r, true));
        }
        let group = Ipv4Addr::new(239, 9, 9, number);
        join_on(sockets.last().unwrap(), group.into(), index(&r, "e0"))?;
        groups.push(group.to_string());
    }
    until_shown(&service, "groups", "239.9.9.99");
    firewall(
        &r,
        "output",
        "ip protocol igmp limit rate over 20/second burst 5 packets drop",
    );
    // What the switch gets to hear.
    let mut port = s.port("e0")?;
    send_frame(&s, "e0", &query("10.0.0.1", None, Q2, 1));
    std::thread::sleep(ANSWERED);
    let mut heard = vec![];
    let mut room = [0; 2048];
    while let Ok(length) = port.read(&mut room) {
        // Version 2 reports go to the group itself.
        if length >= 34 && room[23] == 2 {
            heard.push(Ipv4Addr::new(room[30], room[31], room[32], room[33]).to_string());
        }
    }
    let lost = groups.iter().find(|group| !heard.contains(group)).unwrap();
    assert!(groups.iter().any(|group| heard.contains(group)));
    let diagnosis = doctor(&r, &service, &[lost]);
    diagnosis.fault("reports-lost");
    diagnosis.proved();
    Ok(())
}

fn link_local_reports() -> Outcome {
    let Pair { s, r } = pair();
    r.sysctl("net/ipv4/igmp_link_local_mcast_reports", "0")?;
    let service = Service::start(&r, &[]);
    let _receiver = receive(&r, "224.0.0.251", "e0");
    let _sender = send(&s, "224.0.0.251", Sending::default());
    doctor(&r, &service, &["224.0.0.251"]).healthy_but("warning", "link-local-reports");
    r.sysctl("net/ipv4/igmp_link_local_mcast_reports", "1")?;
    doctor(&r, &service, &["224.0.0.251"]).healthy();
    Ok(())
}

fn rejoin_hack() -> Outcome {
    let Pair { s, r } = pair();
    r.sysctl("net/ipv4/conf/e0/igmpv3_unsolicited_report_interval", "10")?;
    let service = Service::start(&r, &[]);
    let _receiver = receive(&r, GROUP, "e0");
    let _sender = send(&s, GROUP, Sending::default());
    drop(_receiver);
    for _ in 0..4 {
        let receiver = receive(&r, GROUP, "e0");
        flows("joined again", &receiver, true);
        std::thread::sleep(Duration::from_millis(200));
        drop(receiver);
        std::thread::sleep(Duration::from_millis(200));
    }
    let _receiver = receive(&r, GROUP, "e0");
    doctor(&r, &service, &[&channel()]).healthy_but("warning", "rejoin-hack");
    Ok(())
}
