//! `netsonde mcast` on real IGMP and MLD: the trackers against the kernel's own tables, step by step.
#![allow(missing_docs, clippy::unwrap_used)]

mod support;

use std::net::Ipv4Addr;
use std::process::{Command, ExitCode};

use netsonde::lab::{self, BridgeOptions, Host, bridge, bridge_port, traffic, wait_until};
use nix::sys::signal::{Signal, kill};
use serde_json::Value;
use support::ping::inside;
use support::{PATIENCE, Service, Test, entry, number};

type Outcome = Result<(), Box<dyn std::error::Error>>;

fn main() -> ExitCode {
    support::main(&[
        (
            "memberships_agree_with_the_kernels",
            memberships_agree_with_the_kernels as Test,
        ),
        ("queriers_come_win_and_go", queriers_come_win_and_go),
        (
            "a_new_engine_knows_what_the_last_one_saw",
            a_new_engine_knows_what_the_last_one_saw,
        ),
        (
            "a_flood_of_groups_costs_no_known_one",
            a_flood_of_groups_costs_no_known_one,
        ),
    ])
}

/// ```text
///   a 10.0.0.1, netsonded --+
///   b 10.0.0.2 -------------+-- br0 10.0.0.254 (switch, snooping)
///   c 10.0.0.3 -------------+
/// ```
struct Link {
    a: Host,
    b: Host,
    c: Host,
    switch: Host,
}

fn link() -> Result<Link, Box<dyn std::error::Error>> {
    let switch = Host::new("switch")?;
    let options = BridgeOptions {
        snooping: true,
        querier: false,
    };
    bridge(&switch, "br0", options)?;
    switch.address("br0", "10.0.0.254/24")?;
    let host = |name: &str, number: u8| -> Result<Host, Box<dyn std::error::Error>> {
        let host = Host::new(name)?;
        let port = format!("p{number}");
        lab::veth(&host, "e0", &switch, &port)?;
        bridge_port(&switch, "br0", &port)?;
        host.address("e0", &format!("10.0.0.{number}/24"))?;
        host.address("e0", &format!("fd00::{number}/64"))?;
        Ok(host)
    };
    let (a, b, c) = (host("a", 1)?, host("b", 2)?, host("c", 3)?);
    Ok(Link { a, b, c, switch })
}

fn ask(service: &Service, command: &str) -> Value {
    let text = service.ask(&["--json", "mcast", command, "-I", "e0"]);
    serde_json::from_str(&text).unwrap()
}

/// The hosts that are members of a group by the wire, in order.
fn hosts(service: &Service, group: &str) -> Vec<String> {
    let told = ask(service, "groups");
    let found = entry(&told["groups"], "group", group);
    let members = found["members"].as_array().cloned().unwrap_or_default();
    (members.iter())
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
    let shown = switch.run(|| {
        Command::new("bridge")
            .args(["mdb", "show"])
            .output()
            .unwrap()
    });
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

fn memberships_agree_with_the_kernels() -> Outcome {
    let Link { a, b, c, switch } = link()?;
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
        until("a joined", &service, || hosts(&service, group).len() == 3);
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
    let told = ask(&service, "groups");
    for held in told["groups"].as_array().unwrap() {
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
        text.contains("10.0.0.2 IGMPv2 wants any source") && text.contains("01:00:5e:01:01:01"),
        "{text}"
    );
    let refused = service.netsonde(&["mcast", "groups", "-I", "nope"]);
    assert_eq!(refused.status.code(), Some(2));
    Ok(())
}

fn querier(service: &Service, address: &str) -> Value {
    entry(&ask(service, "queriers")["queriers"], "address", address)
}

fn queriers_come_win_and_go() -> Outcome {
    let Link { a, b, c, switch } = link()?;
    let service = Service::start(&a, &[]);
    let _member = join(&a, "239.1.1.1", "10.0.0.1");
    until("nobody asks", &service, || {
        let told = ask(&service, "queriers");
        let found = entry(&told["unasked"], "protocol", "IGMP");
        told["queriers"].as_array().unwrap().is_empty() && found["groups"] == 1
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
        let told = ask(&service, "queriers");
        entry(&told["queriers"], "protocol", "MLD")["standing"] == "elected"
    });
    // b asks from a lower address and wins, here and at the switch, which falls silent.
    let query = |from: &Host| {
        // Version 3, ten tenths of a second to answer, robustness 2, every 2 s (RFC 3376, section 4.1).
        let mut message = vec![0x11, 10, 0, 0, 0, 0, 0, 0, 2, 2, 0, 0];
        let sum = !(netsonde::wire::cursor::sum(&message, 0) as u16);
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
    assert!(
        text.contains("nobody has asked for IGMP memberships"),
        "{text}"
    );
    Ok(())
}

fn a_new_engine_knows_what_the_last_one_saw() -> Outcome {
    let Link { a, b, switch, .. } = link()?;
    let service = Service::start(&a, &[]);
    set_bridge(&switch, "mcast_query_interval 3000 mcast_querier 1");
    let _member = join(&b, "239.1.1.1", "10.0.0.2");
    until("all is seen", &service, || {
        hosts(&service, "239.1.1.1") == ["10.0.0.2"] && !querier(&service, "0.0.0.0").is_null()
    });
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
    Ok(())
}

/// More groups than there is room for, from as many senders as the attacker likes.
fn a_flood_of_groups_costs_no_known_one() -> Outcome {
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
    } = link()?;
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
                let sum = !(netsonde::wire::cursor::sum(&frame[from..until], 0) as u16);
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
