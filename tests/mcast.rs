//! `netsonde mcast` on real IGMP and MLD: memberships, queriers, streams, test receiver and test source.
//!
//! ```text
//!   a 10.0.0.1, netsonded --+
//!   b 10.0.0.2 -------------+-- br0 10.0.0.254 (switch, snooping)
//!   c 10.0.0.3 -------------+
//! ```
//!
//! The judges are /proc/net/igmp and the bridge's group table, compared step by step.
#![allow(missing_docs, clippy::unwrap_used)]

mod support;

use std::net::Ipv4Addr;
use std::process::{Command, ExitCode, Stdio};

use netsonde::lab::wire::{Wire, every};
use netsonde::lab::{self, BridgeOptions, Host, bridge_port, traffic, wait_until};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use support::link::{Link, link};
use support::{PATIENCE, Service, Test, entry, number, wired};
use support::{inside, program};

type Outcome = Result<(), Box<dyn std::error::Error>>;

fn main() -> ExitCode {
    support::main_with(
        &[
            (
                "memberships_match_the_kernels",
                memberships_match_the_kernels as Test,
            ),
            ("querier_elections", querier_elections),
            ("random_changes_on_a_bridge", random_changes_on_a_bridge),
            (
                "new_engine_restores_memberships",
                new_engine_restores_memberships,
            ),
            (
                "group_floods_keep_known_groups",
                group_floods_keep_known_groups,
            ),
            ("streams_and_rtp_loss", streams_and_rtp_loss),
            (
                "transport_streams_with_known_losses",
                transport_streams_with_known_losses,
            ),
            ("routers_and_group_members", routers_and_group_members),
            (
                "wire_loss_and_socket_loss_are_distinguished",
                wire_loss_and_socket_loss_are_distinguished,
            ),
        ],
        4,
    )
}

fn snooping_link() -> Result<Link, Box<dyn std::error::Error>> {
    link(BridgeOptions {
        snooping: true,
        querier: false,
        ..BridgeOptions::default()
    })
}

fn ask(service: &Service, command: &str) -> Value {
    let text = service.ask(&["--json", "mcast", command, "-I", "e0"]);
    serde_json::from_str(&text).unwrap()
}

/// The hosts that are members of a group by the wire, in order.
fn hosts(service: &Service, group: &str) -> Vec<String> {
    let report = ask(service, "groups");
    let found = entry(&report["groups"], "group", group);
    let members = found["members"].as_array().cloned().unwrap_or_default();
    members
        .iter()
        .filter(|member| member["current"] == true)
        .map(|member| member["host"].as_str().unwrap().to_owned())
        .collect()
}

fn until(what: &str, service: &Service, mut condition: impl FnMut() -> bool) {
    let groups = || ask(service, "groups").to_string();
    assert!(
        wait_until(PATIENCE, &mut condition),
        "{what}: {} {}",
        ask(service, "queriers"),
        groups()
    );
}

/// Does the bridge's own table have a group?
fn in_mdb(switch: &Host, group: &str) -> bool {
    let mut command = program("bridge");
    let shown = switch.run(|| command.args(["mdb", "show"]).output().unwrap());
    let text = String::from_utf8_lossy(&shown.stdout).into_owned();
    text.contains(&format!("grp {group} "))
}

fn set_bridge(switch: &Host, settings: &str) {
    let mut words = vec!["link", "set", "br0", "type", "bridge"];
    words.extend(settings.split(' '));
    inside(switch, "ip", &words);
}

fn join(host: &Host, group: &str, of: &str) -> std::net::UdpSocket {
    let (group, of): (Ipv4Addr, Ipv4Addr) = (group.parse().unwrap(), of.parse().unwrap());
    host.run(|| traffic::join(group, of)).unwrap()
}

/// The last column but two of a group's line in /proc/net/igmp: its users, of interface e0.
fn kernel_users(host: &Host, group: &str) -> u64 {
    let address: Ipv4Addr = group.parse().unwrap();
    let wanted = format!("{:08X}", u32::from_ne_bytes(address.octets()));
    let text = host.proc_net("igmp");
    let mut is_e0 = false;
    for line in text.lines().skip(1) {
        if !line.starts_with('\t') {
            is_e0 = line.contains("\te0 ");
        } else if is_e0 && line.contains(&wanted) {
            return line.split_whitespace().nth(1).unwrap().parse().unwrap();
        }
    }
    0
}

fn memberships_match_the_kernels() -> Outcome {
    let Link { a, b, c, switch } = snooping_link()?;
    let service = Service::start(&a, &[]);
    let group = "239.1.1.1";
    // Version 3, then 2: other messages, the same table.
    for version in ["3", "2"] {
        for host in [&a, &b, &c] {
            host.sysctl("net/ipv4/conf/e0/force_igmp_version", version)?;
        }
        let of_b = join(&b, group, "10.0.0.2");
        until("b joined", &service, || {
            hosts(&service, group) == ["10.0.0.2"]
        });
        assert!(wait_until(PATIENCE, || in_mdb(&switch, group)));
        let of_c = join(&c, group, "10.0.0.3");
        until("c joined", &service, || {
            hosts(&service, group) == ["10.0.0.2", "10.0.0.3"]
        });
        let own = join(&a, group, "10.0.0.1");
        // A message of the version before may still be under way: the kernel sends changes twice.
        until("a joined", &service, || {
            let found = entry(&ask(&service, "groups")["groups"], "group", group);
            hosts(&service, group).len() == 3
                && entry(&found["members"], "host", "10.0.0.1")["version"].as_u64()
                    == version.parse().ok()
        });
        let found = entry(&ask(&service, "groups")["groups"], "group", group);
        assert_eq!(number(&found["kernel_users"]), kernel_users(&a, group));
        assert_eq!(found["mac"], "01:00:5e:01:01:01");
        let me = entry(&found["members"], "host", "10.0.0.1");
        assert_eq!(
            (&me["own"], me["version"].to_string()),
            (&true.into(), version.to_owned())
        );
        drop(own);
        until("a left", &service, || {
            hosts(&service, group) == ["10.0.0.2", "10.0.0.3"]
        });
        let found = entry(&ask(&service, "groups")["groups"], "group", group);
        assert_eq!(
            (number(&found["kernel_users"]), kernel_users(&a, group)),
            (0, 0)
        );
        // In version 2 only who reported last says that it leaves (RFC 2236, section 3).
        drop(of_c);
        if version == "3" {
            until("c left", &service, || {
                hosts(&service, group) == ["10.0.0.2"]
            });
            drop(of_b);
            until("all left", &service, || hosts(&service, group).is_empty());
        } else {
            drop(of_b);
        }
        for host in [&a, &b, &c] {
            assert_eq!(kernel_users(host, group), 0);
        }
    }
    // What the kernel holds and what it reports of its own are the same groups.
    let report = ask(&service, "groups");
    for held in report["groups"].as_array().unwrap() {
        let address = held["group"].as_str().unwrap();
        if address.parse::<Ipv4Addr>().is_ok() {
            assert_eq!(
                number(&held["kernel_users"]),
                kernel_users(&a, address),
                "{held}"
            );
        }
    }
    // An alias shares the address of the first.
    let (_one, _two) = (
        join(&b, group, "10.0.0.2"),
        join(&b, "239.129.1.1", "10.0.0.2"),
    );
    until("both joined", &service, || {
        let found = entry(&ask(&service, "groups")["groups"], "group", "239.129.1.1");
        found["aliases"] == serde_json::json!([group])
    });
    // As text; c, which left without a word, is still counted in, as at any router.
    let text = service.ask(&["mcast", "groups", "-I", "e0"]);
    let line = |group: &str| {
        text.lines()
            .find(|line| line.contains(group))
            .unwrap_or("")
            .to_owned()
    };
    assert!(
        line("224.0.0.1 ").contains("+ netsonde") && line("224.0.0.1 ").ends_with("all systems"),
        "{text}"
    );
    assert!(
        line("239.1.1.1").split_whitespace().nth(3) == Some("2"),
        "{text}"
    );
    let text = service.ask(&["-v", "mcast", "groups", group]);
    assert!(
        text.contains("10.0.0.2 IGMPv2 joined any source") && text.contains("01:00:5e:01:01:01"),
        "{text}"
    );
    let refused = service.netsonde(&["mcast", "groups", "-I", "nope"]);
    assert_eq!(refused.status.code(), Some(2));
    Ok(())
}

fn querier(service: &Service, address: &str) -> Value {
    entry(&ask(service, "queriers")["queriers"], "address", address)
}

fn querier_elections() -> Outcome {
    let Link { a, b, c, switch } = snooping_link()?;
    let service = Service::start(&a, &[]);
    let _member = join(&a, "239.1.1.1", "10.0.0.1");
    until("nobody asks", &service, || {
        let report = ask(&service, "queriers");
        let found = entry(&report["unasked"], "protocol", "IGMP");
        report["queriers"].as_array().unwrap().is_empty() && found["groups"] == 1
    });
    // The switch asks, as Linux does by default: version 2, without an address.
    let fast = "mcast_query_interval 200 mcast_startup_query_interval 100 mcast_query_response_interval 100";
    set_bridge(&switch, fast);
    set_bridge(&switch, "mcast_querier 1");
    until("a querier without an address", &service, || {
        let found = querier(&service, "0.0.0.0");
        found["standing"] == "elected"
            && found["version"] == 2
            && found["interval_from"] == "observed"
    });
    assert!(entry(&ask(&service, "queriers")["unasked"], "protocol", "IGMP").is_null());
    // The kernel has taken notice, and answers in the same version.
    assert!(wait_until(PATIENCE, || a.proc_net("igmp").contains("V2")));
    until("our report is of version 2", &service, || {
        let found = entry(&ask(&service, "groups")["groups"], "group", "239.1.1.1");
        entry(&found["members"], "host", "10.0.0.1")["version"] == 2
    });
    // Then with its address and version 3: one that announces its interval.
    set_bridge(
        &switch,
        "mcast_igmp_version 3 mcast_mld_version 2 mcast_query_use_ifaddr 1",
    );
    until("a querier of version 3", &service, || {
        let found = querier(&service, "10.0.0.254");
        found["standing"] == "elected"
            && found["version"] == 3
            && found["interval_from"] == "announced"
            && found["interval_ns"] == 2_000_000_000u64
            && querier(&service, "0.0.0.0")["standing"] != "elected"
    });
    until("MLD has a querier, too", &service, || {
        let report = ask(&service, "queriers");
        entry(&report["queriers"], "protocol", "MLD")["standing"] == "elected"
    });
    // b asks from a lower address and wins, here and at the switch, which falls silent.
    let query = |from: &Host| {
        // Version 3, ten tenths of a second to answer, robustness 2, every 2 s (RFC 3376, section 4.1).
        let mut message = vec![0x11, 10, 0, 0, 0, 0, 0, 0, 2, 2, 0, 0];
        let sum = !(netsonde_core::wire::cursor::sum(&message, 0) as u16);
        message[2..4].copy_from_slice(&sum.to_be_bytes());
        let all: Ipv4Addr = "224.0.0.1".parse().unwrap();
        from.run(|| traffic::raw_ipv4(all, 2, 1, None, |_, packet| packet.clone_from(&message)))
            .unwrap();
    };
    inside(&b, "ip", &["route", "add", "224.0.0.0/4", "dev", "e0"]);
    query(&b);
    until("b is elected", &service, || {
        querier(&service, "10.0.0.2")["standing"] == "elected"
            && querier(&service, "10.0.0.254")["standing"] == "other"
    });
    inside(&c, "ip", &["route", "add", "224.0.0.0/4", "dev", "e0"]);
    query(&c);
    until("c is not", &service, || {
        querier(&service, "10.0.0.3")["standing"] == "other"
    });
    // b dies: overdue after 2 s and one for answers, gone after 4.5 s. The switch takes over again, or
    // is stopped, and then nobody asks.
    set_bridge(&switch, "mcast_querier 0");
    let mut was_overdue = false;
    until("b is gone", &service, || {
        let standing = querier(&service, "10.0.0.2")["standing"].clone();
        was_overdue |= standing == "overdue";
        standing == "gone"
    });
    assert!(was_overdue);
    until("nobody asks any more", &service, || {
        entry(&ask(&service, "queriers")["unasked"], "protocol", "IGMP")["groups"] == 1
    });
    let text = service.ask(&["mcast", "queriers"]);
    assert!(text.contains("no IGMP querier seen"), "{text}");
    Ok(())
}

/// The ports to which the bridge forwards a group.
fn ports_of(switch: &Host, group: &str) -> std::collections::BTreeSet<String> {
    let mut command = program("bridge");
    let show = || command.args(["mdb", "show"]).output();
    let text = String::from_utf8_lossy(&switch.run(show).unwrap().stdout).into_owned();
    let wanted = format!(" grp {group} ");
    text.lines()
        .filter(|line| format!("{line} ").contains(&wanted))
        .filter_map(|line| line.split(" port ").nth(1)?.split(' ').next())
        .map(str::to_owned)
        .collect()
}

/// Joins and leaves in both versions, an election, and a querier's death, at random, for as many seconds
/// as NETSONDE_LIFE_SECONDS says (300 for a release). After each step the memberships by the wire are
/// those of the bridge's table, and those by the kernel are those of /proc/net/igmp.
fn random_changes_on_a_bridge() -> Outcome {
    const GROUPS: [&str; 4] = ["239.1.1.1", "239.1.1.2", "239.1.1.3", "239.1.1.4"];
    let seconds = std::env::var("NETSONDE_LIFE_SECONDS").ok();
    let seconds = seconds.and_then(|text| text.parse().ok()).unwrap_or(20);
    let Link { a, b, c, switch } = snooping_link()?;
    // The other querier, which is no receiver: nobody answers his own questions.
    let d = Host::new("d")?;
    lab::veth(&d, "e0", &switch, "p4")?;
    bridge_port(&switch, "br0", "p4")?;
    // Interval 2 s, 1 s to answer: memberships last 6 s, and another querier is missed after 4.5 s.
    set_bridge(
        &switch,
        "mcast_query_interval 200 mcast_startup_query_interval 100 mcast_query_response_interval 100 \
         mcast_membership_interval 600 mcast_querier_interval 450 mcast_igmp_version 3 mcast_query_use_ifaddr 1",
    );
    set_bridge(&switch, "mcast_querier 1");
    // The switch hears all reports; hosts hear those of version 3 only, which go to 224.0.0.22.
    let (service, at_switch) = (Service::start(&a, &[]), Service::start(&switch, &[]));
    let by_wire = |group: &str| -> Vec<String> {
        let report: Value =
            serde_json::from_str(&at_switch.ask(&["--json", "mcast", "groups", group])).unwrap();
        let of_ports = report["groups"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|one| one["interface"].as_str().unwrap().starts_with('p'))
            .flat_map(|one| one["members"].as_array().unwrap().clone());
        of_ports
            .filter(|member| member["current"] == true)
            .map(|member| member["host"].as_str().unwrap().to_owned())
            .collect()
    };
    until("the switch is the querier", &service, || {
        querier(&service, "10.0.0.254")["standing"] == "elected"
    });
    let hosts_of = [
        (&a, "10.0.0.1", "p1"),
        (&b, "10.0.0.2", "p2"),
        (&c, "10.0.0.3", "p3"),
    ];
    let mut members: std::collections::BTreeMap<(usize, &str), std::net::UdpSocket> =
        Default::default();
    let mut other: Option<support::mcast::Background> = None;
    let mut random: u64 = 0x5eed;
    let mut next = move |below: u64| {
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (random >> 33) % below
    };
    let (start, mut steps) = (std::time::Instant::now(), [0u32; 5]);
    while start.elapsed().as_secs() < seconds {
        let (at, group) = (next(3) as usize, GROUPS[next(4) as usize]);
        let (host, address, _) = hosts_of[at];
        match next(12) {
            0 => {
                let version = if next(2) == 0 { "2" } else { "0" };
                host.sysctl("net/ipv4/conf/e0/force_igmp_version", version)?;
                steps[0] += 1;
            }
            // Another querier with a lower address comes, or dies.
            1 => match other.take() {
                None => {
                    let frame = netsonde::lab::messages::query(
                        "10.0.0.4",
                        None,
                        netsonde::lab::messages::QueryParams {
                            version: 3,
                            max_response: 10,
                            interval: 2,
                        },
                        1,
                    );
                    let mut last = None;
                    other = Some(support::mcast::send_frames(&d, "e0", move |_| {
                        let due = last
                            .is_none_or(|last: std::time::Instant| last.elapsed().as_secs() >= 2);
                        if due {
                            last = Some(std::time::Instant::now());
                            return frame.clone();
                        }
                        netsonde::lab::messages::ethernet([2, 0, 0, 0, 0, 9], 0x88b5, &[0; 46])
                    }));
                    until("the lower address wins", &service, || {
                        querier(&service, "10.0.0.4")["standing"] == "elected"
                            && querier(&service, "10.0.0.254")["standing"] != "elected"
                    });
                    steps[1] += 1;
                }
                Some(alive) => {
                    drop(alive);
                    until("it is gone, and the switch takes over", &service, || {
                        querier(&service, "10.0.0.4")["standing"] == "gone"
                            && querier(&service, "10.0.0.254")["standing"] == "elected"
                    });
                    steps[2] += 1;
                }
            },
            2..=7 => {
                members
                    .entry((at, group))
                    .or_insert_with(|| join(host, group, address));
                steps[3] += 1;
            }
            _ => {
                members.remove(&(at, group));
                steps[4] += 1;
            }
        }
        for group in GROUPS {
            let mut shown = (vec![], std::collections::BTreeSet::new());
            let agree = wait_until(PATIENCE, || {
                let by_wire = by_wire(group);
                let ports = ports_of(&switch, group);
                let same = hosts_of.iter().all(|(_, address, port)| {
                    by_wire.iter().any(|one| one == address) == ports.contains(*port)
                });
                shown = (by_wire, ports);
                same
            });
            assert!(agree, "{group} after {steps:?}: {shown:?}");
            // What is joined is there; what has left in version 2 may take its time.
            for (at, (host, address, _)) in hosts_of.iter().enumerate() {
                let is_member = members.contains_key(&(at, group));
                assert_eq!(kernel_users(host, group) > 0, is_member);
                if is_member {
                    let known =
                        wait_until(PATIENCE, || by_wire(group).iter().any(|one| one == address));
                    assert!(
                        known,
                        "{address} has joined {group} after {steps:?}: {:?}",
                        by_wire(group)
                    );
                }
            }
            let held = entry(&ask(&service, "groups")["groups"], "group", group);
            assert_eq!(
                held["kernel_users"].as_u64().unwrap_or(0),
                kernel_users(&a, group),
                "{held}"
            );
        }
    }
    println!(
        "{} s: {} changes of version, {} elections, {} deaths, {} joins, {} leaves",
        start.elapsed().as_secs(),
        steps[0],
        steps[1],
        steps[2],
        steps[3],
        steps[4]
    );
    Ok(())
}

fn new_engine_restores_memberships() -> Outcome {
    let Link { a, b, switch, .. } = snooping_link()?;
    let service = Service::start(&a, &[]);
    // Reports go to ports of routers only, as soon as there is a querier.
    let router = [
        "link",
        "set",
        "p1",
        "type",
        "bridge_slave",
        "mcast_router",
        "2",
    ];
    inside(&switch, "ip", &router);
    let fast = "mcast_query_interval 100 mcast_startup_query_interval 100 mcast_query_response_interval 50";
    set_bridge(&switch, fast);
    set_bridge(&switch, "mcast_querier 1");
    let _member = join(&b, "239.1.1.1", "10.0.0.2");
    until("all is seen", &service, || {
        hosts(&service, "239.1.1.1") == ["10.0.0.2"] && !querier(&service, "0.0.0.0").is_null()
    });
    // What is asked again has a later time.
    let first = || {
        let report = ask(&service, "groups");
        let found = entry(&report["groups"], "group", "239.1.1.1");
        let member = entry(&found["members"], "host", "10.0.0.2");
        (
            member["first"].clone(),
            querier(&service, "0.0.0.0")["first"].clone(),
        )
    };
    let known = first();
    let before = service.engine();
    kill(before, Signal::SIGKILL)?;
    let again = || {
        service
            .try_status()
            .is_some_and(|status| status["engine"]["pid"].as_i64() != Some(before.as_raw().into()))
    };
    assert!(wait_until(PATIENCE, again));
    assert_eq!(hosts(&service, "239.1.1.1"), ["10.0.0.2"]);
    assert_eq!(querier(&service, "0.0.0.0")["standing"], "elected");
    assert_eq!(first(), known);
    Ok(())
}

/// More groups than there is room for, from as many senders as the attacker likes.
fn group_floods_keep_known_groups() -> Outcome {
    const REPORTS: u64 = if cfg!(debug_assertions) {
        40_000
    } else {
        1_000_000
    };
    let Link {
        a,
        b,
        c,
        switch: _switch,
    } = snooping_link()?;
    let service = Service::start(&a, &[]);
    let _member = join(&b, "239.1.1.1", "10.0.0.2");
    until("b joined", &service, || {
        hosts(&service, "239.1.1.1") == ["10.0.0.2"]
    });
    let memory = |service: &Service| -> u64 {
        let text = std::fs::read_to_string(format!("/proc/{}/status", service.engine())).unwrap();
        let line = text
            .lines()
            .find(|line| line.starts_with("RssAnon:"))
            .unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    };
    let before = memory(&service);
    // A flood of frames: reports of version 2, each from another host for another group.
    let to = [0x01, 0x00, 0x5e, 0x01, 0x01, 0x02];
    let sent = c.run(|| {
        traffic::frames("e0", REPORTS, Some(50_000), |number, frame| {
            let [_, x, y, z] = (number as u32).to_be_bytes();
            let group = [238, x, y, z];
            frame.clear();
            frame.extend_from_slice(&to);
            frame.extend_from_slice(&[2, 0, 0, 0, 0, 3, 8, 0]);
            frame.extend_from_slice(&[0x46, 0xc0, 0, 32, 0, 0, 0, 0, 1, 2, 0, 0, 10, 77, y, z]);
            frame.extend_from_slice(&group);
            frame.extend_from_slice(&[0x94, 4, 0, 0, 0x16, 0, 0, 0]);
            frame.extend_from_slice(&group);
            for (from, until, at) in [(14, 38, 24), (38, 46, 40)] {
                let sum = !(netsonde_core::wire::cursor::sum(&frame[from..until], 0) as u16);
                frame[at..at + 2].copy_from_slice(&sum.to_be_bytes());
            }
        })
    })?;
    let status = service.until("the flood is counted", |status| {
        number(&entry(&status["limits"], "name", "multicast memberships")["hits"]) > REPORTS / 3
    });
    let grown = memory(&service).saturating_sub(before);
    println!(
        "{} reports at {:.0} a second, {grown} KiB more",
        sent.packets,
        sent.rate()
    );
    assert!(grown < 32 * 1024, "{grown} KiB more");
    assert!(
        status["limits"]
            .to_string()
            .contains("multicast memberships")
    );
    assert_eq!(hosts(&service, "239.1.1.1"), ["10.0.0.2"]);
    Ok(())
}

/// What a program of this host prints as JSON.
fn client(service: &Service, host: &Host, arguments: &str) -> std::process::Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_netsonde"));
    command.arg("--socket").arg(service.socket()).arg("--json");
    command.args(arguments.split(' '));
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    host.run(|| command.spawn()).unwrap()
}

fn report(child: std::process::Child) -> (Option<i32>, Value) {
    let output = child.wait_with_output().unwrap();
    let printed = String::from_utf8_lossy(&output.stderr).into_owned();
    let value =
        serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {printed}"));
    (output.status.code(), value)
}

/// ```text
///   a  e0 10.0.0.1, netsonded ====wire==== 10.0.0.2 e0  b
/// ```
fn wire_loss_and_socket_loss_are_distinguished() -> Outcome {
    let (a, b, wire) = wired();
    let service = Service::start(&a, &[]);
    for channel in ["239.1.1.1:5000", "[ff15::1]:5000"] {
        let group = channel.rsplit_once(':').unwrap().0.trim_matches(['[', ']']);
        let is_member = || hosts(&service, group).len() == 1;
        // All comes.
        let receiver = client(
            &service,
            &a,
            &format!("mcast join {channel} -I e0 -c 200 --duration 20s"),
        );
        until("joined", &service, is_member);
        let sender = client(
            &service,
            &b,
            &format!("mcast send {channel} -I e0 -c 200 --pps 2000"),
        );
        let (code, sent) = report(sender);
        assert_eq!((code, &sent["sent"]), (Some(0), &200.into()), "{sent}");
        let (code, all) = report(receiver);
        let source = &all["sources"][0];
        assert_eq!(code, Some(0), "{all}");
        assert_eq!(source["run"], sent["run"]);
        for (key, value) in [
            ("packets", 200),
            ("wire_packets", 200),
            ("lost", 0),
            ("duplicates", 0),
            ("reordered", 0),
        ] {
            assert_eq!(source[key], value, "{key}: {all}");
        }

        // Every fifth is lost on the way, every seventh of the rest comes twice: the counts are exact.
        let numbered = |frame: &[u8]| frame.windows(8).any(|at| at == b"netsonde");
        wire.b_to_a(|back| {
            let (mut fifth, mut seventh) = (every(5), every(7));
            back.drop = Some(Box::new(move |frame| numbered(frame) && fifth(frame)));
            back.duplicate = Some(Box::new(move |frame| numbered(frame) && seventh(frame)));
        });
        let receiver = client(
            &service,
            &a,
            &format!("mcast join {channel} -I e0 --duration 3s"),
        );
        until("joined", &service, is_member);
        report(client(
            &service,
            &b,
            &format!("mcast send {channel} -I e0 -c 201 --pps 1000"),
        ));
        let (_, all) = report(receiver);
        let source = &all["sources"][0];
        for (key, value) in [
            ("lost", 40),
            ("lost_on_wire", 40),
            ("lost_in_host", 0),
            ("duplicates", 23),
        ] {
            assert_eq!(source[key], value, "{key}: {all}");
        }
        wire.b_to_a(|back| (back.drop, back.duplicate) = (None, None));

        // A buffer for a few packets, and a program that does not get to read.
        let receiver = client(
            &service,
            &a,
            &format!("mcast join {channel} -I e0 --duration 4s --receive-buffer 1"),
        );
        until("joined", &service, is_member);
        let pid = Pid::from_raw(receiver.id() as i32);
        kill(pid, Signal::SIGSTOP).unwrap();
        report(client(
            &service,
            &b,
            &format!("mcast send {channel} -I e0 -c 100 --pps 2000 --size 1000"),
        ));
        kill(pid, Signal::SIGCONT).unwrap();
        // What comes when there is room again tells how many were dropped. The fifth column of
        // /proc/net/udp is what waits, in bytes; 1388 is port 5000.
        let file = if group.contains(':') { "udp6" } else { "udp" };
        let is_drained = || {
            let text = a.proc_net(file);
            let mut lines = text.lines().filter(|line| line.contains(":1388 "));
            lines.all(|line| {
                line.split_whitespace()
                    .nth(4)
                    .is_some_and(|all| all.ends_with(":00000000"))
            })
        };
        assert!(wait_until(PATIENCE, is_drained));
        report(client(
            &service,
            &b,
            &format!("mcast send {channel} -I e0 -c 1"),
        ));
        let (_, all) = report(receiver);
        assert!(number(&all["socket_drops"]) > 50, "{all}");
        let first = all["sources"]
            .as_array()
            .unwrap()
            .iter()
            .find(|one| one["wire_packets"] == 100);
        let first = first.unwrap_or_else(|| panic!("{all}"));
        assert!(number(&first["packets"]) < 50, "{all}");
    }
    // Source-specific: only what the source sends comes.
    let receiver = client(
        &service,
        &a,
        "mcast join 232.1.1.1:5000 --source 10.0.0.77 -I e0 --duration 2s",
    );
    until("joined", &service, || {
        let found = entry(&ask(&service, "groups")["groups"], "group", "232.1.1.1");
        found["members"][0]["sources"] == serde_json::json!(["10.0.0.77"])
    });
    report(client(
        &service,
        &b,
        "mcast send 232.1.1.1:5000 -I e0 -c 20 --pps 1000",
    ));
    let (code, all) = report(receiver);
    assert_eq!(
        (
            code,
            &all["sources"][0]["packets"],
            &all["sources"][0]["wire_packets"]
        ),
        (Some(1), &0.into(), &20.into()),
        "{all}"
    );
    // Nothing at all, and what cannot be.
    let output = service.netsonde(&["mcast", "join", "10.0.0.1"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("is not a multicast address"));
    Ok(())
}

/// Sends RTP with payload type 33 (MPEG transport stream, 90 kHz): numbers from 65,000 on, 500 a second.
fn send_rtp(host: &Host, of: &str, count: u32) {
    host.run(|| {
        let socket = std::net::UdpSocket::bind((of, 0)).unwrap();
        socket.set_multicast_ttl_v4(7).unwrap();
        let start = std::time::Instant::now();
        for number in 0..count {
            let due = start + std::time::Duration::from_millis(2) * number;
            std::thread::sleep(due.saturating_duration_since(std::time::Instant::now()));
            let mut packet = vec![0x80, 33];
            packet.extend_from_slice(&(65_000u32.wrapping_add(number) as u16).to_be_bytes());
            packet.extend_from_slice(&(number * 180).to_be_bytes());
            packet.extend_from_slice(&0xfeed_beef_u32.to_be_bytes());
            packet.resize(1328, 0x47);
            socket.send_to(&packet, "239.1.1.1:5004").unwrap();
        }
    });
}

/// Tells the wire to lose every ninth packet of a stream, and to double and swap some others, and to count
/// that anew.
fn harm(wire: &Wire) {
    let is_stream = |frame: &[u8]| frame.len() > 1300;
    wire.b_to_a(|back| {
        let (mut ninth, mut fifth, mut seventh) = (every(9), every(50), every(70));
        back.counts = Default::default();
        back.drop = Some(Box::new(move |frame| is_stream(frame) && ninth(frame)));
        back.duplicate = Some(Box::new(move |frame| is_stream(frame) && fifth(frame)));
        back.swap = Some(Box::new(move |frame| is_stream(frame) && seventh(frame)));
    });
}

/// ```text
///   a  e0 10.0.0.1, netsonded ====wire==== 10.0.0.2 e0  b
/// ```
fn streams_and_rtp_loss() -> Outcome {
    let (a, b, wire) = wired();
    inside(&b, "ip", &["route", "add", "224.0.0.0/4", "dev", "e0"]);
    let service = Service::start(&a, &[]);
    // Without a member here: what the wire carries counts.
    harm(&wire);
    send_rtp(&b, "10.0.0.2", 1000);
    let stream =
        |service: &Service| entry(&ask(service, "streams")["streams"], "group", "239.1.1.1");
    // The wire is a thread of its own, and may still hold the last ones.
    assert!(wait_until(PATIENCE, || wire
        .b_to_a(|back| back.counts)
        .dropped
        == 111));
    let done = wire.b_to_a(|back| back.counts);
    until("all came", &service, || {
        number(&stream(&service)["packets"]) == 889 + done.duplicated
    });
    let report = stream(&service);
    let rtp = &report["rtp"];
    assert_eq!(
        (&rtp["lost"], &rtp["packets"]),
        (&111.into(), &889.into()),
        "{report}"
    );
    assert_eq!(number(&rtp["duplicates"]), done.duplicated, "{report}");
    assert_eq!(number(&rtp["reordered"]), done.swapped, "{report}");
    assert_eq!(
        (&rtp["restarts"], &rtp["ssrc"], &rtp["payload_type"]),
        (&0.into(), &0xfeed_beef_u32.into(), &33.into())
    );
    assert!(rtp["jitter_ns"].as_u64().is_some(), "{report}");
    assert_eq!(
        (&report["ttl"], &report["wrong_mac"], &report["port"]),
        (&7.into(), &0.into(), &5004.into()),
        "{report}"
    );
    assert_eq!(
        (&report["source"], &report["outbound"]),
        (&"10.0.0.2".into(), &false.into())
    );
    let text = service.ask(&["mcast", "streams"]);
    let line = text
        .lines()
        .find(|line| line.contains("239.1.1.1:5004"))
        .unwrap();
    assert!(
        line.contains("10.0.0.2") && line.contains(" 111 "),
        "{text}"
    );
    // A frame for the group in an envelope that is not the group's.
    let mut frame = a.mac("e0")?.to_vec();
    frame.extend_from_slice(&b.mac("e0")?);
    frame.extend_from_slice(&[
        8, 0, 0x45, 0, 0, 32, 0, 0, 0, 0, 1, 17, 0, 0, 10, 0, 0, 2, 239, 2, 2, 2,
    ]);
    frame.extend_from_slice(&[0x10, 0, 0x13, 0x89, 0, 12, 0, 0, 1, 2, 3, 4]);
    let sum = !(netsonde_core::wire::cursor::sum(&frame[14..34], 0) as u16);
    frame[24..26].copy_from_slice(&sum.to_be_bytes());
    b.run(|| traffic::frames("e0", 3, None, |_, room| room.clone_from(&frame)))?;
    until("wrong envelopes are counted", &service, || {
        entry(&ask(&service, "streams")["streams"], "group", "239.2.2.2")["wrong_mac"] == 3
    });
    Ok(())
}

/// Seven packets of MPEG: five of one identifier, two of another. Behind an RTP header where asked for.
fn transport(number: u32, in_rtp: bool) -> Vec<u8> {
    let mut all = vec![];
    if in_rtp {
        all.extend_from_slice(&[0x80, 33]);
        all.extend_from_slice(&(number as u16).to_be_bytes());
        all.extend_from_slice(&(number * 900).to_be_bytes());
        all.extend_from_slice(&7u32.to_be_bytes());
    }
    for at in 0..7u32 {
        let (pid, counter) = if at < 5 {
            (0x100u16, number * 5 + at)
        } else {
            (0x101, number * 2 + at - 5)
        };
        let mut packet = vec![0xff; 188];
        packet[0] = 0x47;
        packet[1..3].copy_from_slice(&pid.to_be_bytes());
        packet[3] = 0x10 | (counter & 0x0f) as u8;
        packet[4..8].copy_from_slice(&number.to_be_bytes());
        all.extend_from_slice(&packet);
    }
    all
}

/// ```text
///   a  e0 10.0.0.1, netsonded ====wire==== 10.0.0.2 e0  b
/// ```
/// Known losses, duplicates and swaps on the wire: the counters of the transport stream tell them
/// exactly, alone and in RTP, although the record keeps only the first 128 bytes of each datagram.
fn transport_streams_with_known_losses() -> Outcome {
    let (a, b, wire) = wired();
    inside(&b, "ip", &["route", "add", "224.0.0.0/4", "dev", "e0"]);
    let service = Service::start(&a, &[]);
    for (group, in_rtp) in [("239.4.4.1", false), ("239.4.4.2", true)] {
        harm(&wire);
        b.run(|| {
            let socket = std::net::UdpSocket::bind("10.0.0.2:0").unwrap();
            let start = std::time::Instant::now();
            for number in 0..1000 {
                let due = start + std::time::Duration::from_millis(3) * number;
                std::thread::sleep(due.saturating_duration_since(std::time::Instant::now()));
                let to = format!("{group}:5004");
                socket.send_to(&transport(number, in_rtp), to).unwrap();
            }
        });
        let stream = || entry(&ask(&service, "streams")["streams"], "group", group);
        // The wire is a thread of its own, and may still hold the last ones.
        let all_done = || wire.b_to_a(|back| back.counts).dropped == 111;
        assert!(wait_until(PATIENCE, all_done));
        let done = wire.b_to_a(|back| back.counts);
        until("all came", &service, || {
            number(&stream()["packets"]) == 889 + done.duplicated
        });
        let report = stream();
        let ts = &report["ts"];
        assert_eq!(
            (number(&ts["lost"]), number(&ts["packets"])),
            (111 * 7, 889 * 7),
            "{report}"
        );
        assert_eq!(number(&ts["duplicates"]), done.duplicated, "{report}");
        assert_eq!(number(&ts["reordered"]), done.swapped, "{report}");
        assert_eq!(number(&ts["restarts"]), 0, "{report}");
        assert_eq!(report["rtp"].is_null(), !in_rtp, "{report}");
        if in_rtp {
            assert_eq!(number(&report["rtp"]["lost"]), 111, "{report}");
        }
    }
    let text = service.ask(&["mcast", "streams"]);
    assert!(text.contains("TS"), "{text}");
    // The record has no more of them than of other streams.
    let packets = service.packets(&["--group", "239.4.4.1", "-c", "5"]);
    for packet in packets {
        assert_eq!(number(&packet["captured_bytes"]), 128, "{packet}");
    }
    Ok(())
}

/// A PIM hello, and an advertisement of multicast router discovery; and the process that has joined.
fn routers_and_group_members() -> Outcome {
    use netsonde::lab::messages::{ethernet, igmp, ipv4, mac_of};
    let (a, b) = support::pair();
    let service = Service::start(&a, &[]);
    let hello = |from: &str, priority: u8| {
        let mut message = vec![0x20, 0, 0, 0];
        message.extend_from_slice(&[0, 1, 0, 2, 0, 105]);
        message.extend_from_slice(&[0, 19, 0, 4, 0, 0, 0, priority]);
        message.extend_from_slice(&[0, 20, 0, 4, 1, 2, 3, 4]);
        let sum = !(netsonde_core::wire::cursor::sum(&message, 0) as u16);
        message[2..4].copy_from_slice(&sum.to_be_bytes());
        let addresses = (from.parse().unwrap(), "224.0.0.13".parse().unwrap());
        let packet = ipv4(addresses, (103, 1), (0, 0), &[], &message);
        ethernet(mac_of("224.0.0.13"), 0x0800, &packet)
    };
    let frames = [
        hello("10.0.0.2", 1),
        hello("10.0.0.7", 9),
        igmp(
            "10.0.0.7",
            "224.0.0.106",
            1,
            vec![0x30, 20, 0, 0, 0, 125, 0, 2],
        ),
    ];
    b.run(|| {
        traffic::frames("e0", 3, None, |number, frame| {
            frame.clone_from(&frames[number as usize]);
        })
    })?;
    let routers = || ask(&service, "queriers")["routers"].clone();
    until("three were heard", &service, || {
        routers().as_array().is_some_and(|all| all.len() == 3)
    });
    let all = routers();
    let of = |address: &str, protocol: &str| {
        let all = all.as_array().unwrap().iter();
        all.filter(|one| one["protocol"] == protocol)
            .find(|one| one["address"] == address)
            .cloned()
            .unwrap()
    };
    assert_eq!(of("10.0.0.7", "PIM")["designated"], true, "{all}");
    assert_eq!(of("10.0.0.2", "PIM")["designated"], false, "{all}");
    assert_eq!(of("10.0.0.7", "MRD")["designated"], false, "{all}");
    let text = service.ask(&["mcast", "queriers"]);
    assert!(text.contains("designated"), "{text}");
    // This very process has joined, and bound its socket.
    let socket = a.run(|| std::net::UdpSocket::bind("0.0.0.0:5000"))?;
    socket.join_multicast_v4(&"239.1.1.1".parse()?, &"10.0.0.1".parse()?)?;
    let mut command = Command::new(env!("CARGO_BIN_EXE_netsonde"));
    command.arg("--socket").arg(service.socket());
    command.args(["--json", "mcast", "groups", "239.1.1.1"]);
    let report: Value = serde_json::from_slice(&a.run(|| command.output())?.stdout)?;
    let held = &report["groups"][0]["processes"][0];
    assert_eq!(
        (number(&held["pid"]), &held["mode"]),
        (std::process::id().into(), &"exclude".into()),
        "{report}"
    );
    Ok(())
}
