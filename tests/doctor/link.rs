//! Modes of the link: queriers, switches and bridges, and devices that carry no multicast.

use std::io::{Read, Write};
use std::path::Path;
use std::time::Duration;

use netsonde::client::files::capture_file::{CaptureFile, Item};
use netsonde_core::recorder::pcapng::{Counts, Writer};

use super::*;

pub const SCENARIOS: &[Scenario] = &[
    ("no-querier", "no_querier", no_querier),
    (
        "only-link-local-works",
        "only_link_local_works",
        only_link_local_works,
    ),
    ("querier-lost", "querier_lost", querier_lost),
    ("querier-lost", "querier_lost_v6", querier_lost_v6),
    (
        "querier-lost",
        "querier_lost_and_not_yet_felt",
        querier_lost_and_not_yet_felt,
    ),
    (
        "silent-receiver-pruned",
        "silent_receiver_pruned",
        silent_receiver_pruned,
    ),
    (
        "query-interval-too-long",
        "query_interval_too_long",
        query_interval_too_long,
    ),
    ("querier-changed", "querier_changed", querier_changed),
    ("two-queriers", "two_queriers", two_queriers),
    (
        "fast-leave-shared-port",
        "fast_leave_shared_port",
        fast_leave_shared_port,
    ),
    (
        "group-query-missing",
        "group_query_missing",
        group_query_missing,
    ),
    (
        "no-report-after-failover",
        "no_report_after_failover",
        no_report_after_failover,
    ),
    (
        "bridge-netfilter-drop",
        "bridge_netfilter_drop",
        bridge_netfilter_drop,
    ),
    ("isolated-port", "isolated_port", isolated_port),
    (
        "not-arriving",
        "bridge_without_a_source",
        bridge_without_a_source,
    ),
    (
        "not-joined",
        "bridge_without_members",
        bridge_without_members,
    ),
    ("mdb-full", "mdb_full", mdb_full),
    (
        "macvlan-parent-child",
        "macvlan_parent_child",
        macvlan_parent_child,
    ),
    (
        "network-without-multicast",
        "network_without_multicast",
        network_without_multicast,
    ),
];

/// A querier that asks slowly enough to be waited for by nobody.
const SLOW: QueryParams = QueryParams {
    interval: 125,
    ..Q3
};

/// Copies the record of a service into a file, with its time stretched, so that the four seconds of a
/// membership become as many minutes and more.
fn stretched(service: &Service, by: u64, to: &Path) -> Outcome {
    let raw = to.with_extension("raw");
    service.ask(&[
        "-q",
        "capture",
        "--last",
        "all",
        "-w",
        raw.to_str().unwrap(),
    ]);
    let mut file = CaptureFile::new(std::fs::File::open(&raw)?)?;
    let mut writer = Writer::default();
    writer.section("a test", "Linux", &[]);
    let mut first = None;
    let mut packets = vec![];
    while let Some(item) = file.next()? {
        if let Item::Packet(packet) = item {
            packets.push(packet);
        }
    }
    packets.sort_by_key(|packet| packet.time_ns);
    writer.interface(packets[0].link.to_linktype(), 0, Some("e0"), None);
    for packet in &packets {
        let time = packet.time_ns.unwrap() as u64;
        let begin = *first.get_or_insert(time);
        writer.packet_with(
            0,
            begin + (time - begin) * by,
            &packet.bytes,
            packet.original_length,
            packet.direction,
            packet.checksum,
            Counts::default(),
            &[],
        );
    }
    std::fs::File::create(to)?.write_all(&writer.buffer)?;
    Ok(())
}

/// A bridge without an address forwards what it gets: nothing is missing on it but the stream.
fn bridge_without_a_source() -> Outcome {
    let Switched { s, r, r2: _r2, b } = switched();
    let service = Service::start(&b, &[]);
    let receiver = receive(&r, GROUP, "e0");
    until_shown(&service, "groups", GROUP);
    let report = doctor(&b, &service, &[&channel()]);
    report.fault("not-arriving");
    assert!(report.text.contains("behind br0"), "{}", report.text);
    let _sender = send(&s, GROUP, Sending::default());
    flows("with a source", &receiver, true);
    doctor(&b, &service, &[&channel()]).healthy();
    Ok(())
}

/// Nobody has joined, neither with nor without a stream.
fn bridge_without_members() -> Outcome {
    let Switched {
        s,
        r: _r,
        r2: _r2,
        b,
    } = switched();
    let service = Service::start(&b, &[]);
    doctor(&b, &service, &[&channel()]).undetermined("not-joined");
    set_bridge(&b, "mcast_membership_interval 26000");
    send_frame(&s, "e0", &query("10.0.0.1", None, SLOW, 1));
    let sender = send(&s, GROUP, Sending::default());
    assert!(wait_until(support::PATIENCE, || sender.count() > 20));
    let mut last = None;
    let met = wait_until(support::PATIENCE, || {
        let report = doctor(&b, &service, &[&channel()]);
        let is_met = report.text.contains("forwards it to nobody");
        last = Some(report);
        is_met
    });
    let last = last.unwrap();
    assert!(met, "{}", last.text);
    last.undetermined("not-joined");
    Ok(())
}

/// The switch heard a querier once, before this host began to record; then the membership runs out.
fn no_querier() -> Outcome {
    let Switched {
        s,
        r,
        r2: _r2,
        b: _b,
    } = switched();
    send_frame(&s, "e0", &query("10.0.0.1", None, Q3, 1));
    std::thread::sleep(Duration::from_millis(700));
    let service = Service::start(&r, &[]);
    let receiver = receive(&r, GROUP, "e0");
    let sender = send(&s, GROUP, Sending::default());
    flows("after joining", &receiver, true);
    flows("when the membership has run out", &receiver, false);
    // The source goes on, which this host does not see; other traffic goes on, too.
    std::thread::sleep(Duration::from_millis(500));
    send_frame(&s, "e0", &ethernet([0xff; 6], 0x88b5, &[0; 46]));
    std::thread::sleep(Duration::from_millis(100));
    let directory = support::folder()?;
    let file = directory.path().join("stretched.pcapng");
    stretched(&service, 65, &file)?;
    drop((sender, receiver));
    doctor_of_file(&file, GROUP).fault("no-querier");
    Ok(())
}

fn only_link_local_works() -> Outcome {
    let Switched {
        s,
        r,
        r2: _r2,
        b: _b,
    } = switched();
    // The other host's membership has run out long ago, and ours too.
    let receiver = receive(&r, "224.0.10.18", "e0");
    send_frame(
        &s,
        "e0",
        &query(
            "10.0.0.1",
            None,
            QueryParams {
                max_response: 1,
                ..Q3
            },
            1,
        ),
    );
    std::thread::sleep(Duration::from_millis(6500));
    let service = Service::start(&r, &[]);
    let advertisement = |group: &'static str| {
        send_frames(&s, "e0", move |number| {
            let mut vrrp = vec![0x21, 1, 100, 0, 0, 1, 0, 0];
            vrrp.extend_from_slice(&(number as u32).to_be_bytes());
            let addresses = ("10.0.0.1".parse().unwrap(), group.parse().unwrap());
            let packet = ipv4(addresses, (112, 255), (number as u16, 0), &[], &vrrp);
            ethernet(mac_of(group), 0x0800, &packet)
        })
    };
    let _usual = advertisement("224.0.0.18");
    let _own = advertisement("224.0.10.18");
    std::thread::sleep(Duration::from_millis(4500));
    assert_eq!(receiver.count(), 0);
    let directory = support::folder()?;
    let file = directory.path().join("stretched.pcapng");
    stretched(&service, 65, &file)?;
    doctor_of_file(&file, "224.0.10.18").fault("only-link-local-works");
    Ok(())
}

/// One query, after which the querier is silent; its own timers say when it is missed.
fn dying(group: &str, query: &[u8]) -> Outcome {
    let Switched {
        s,
        r,
        r2: _r2,
        b: _b,
    } = switched();
    let service = Service::start(&r, &[]);
    let receiver = receive(&r, group, "e0");
    send_frame(&s, "e0", query);
    let _sender = send(&s, group, Sending::default());
    flows("after joining", &receiver, true);
    flows("when the membership has run out", &receiver, false);
    doctor(&r, &service, &[group]).fault("querier-lost");
    drop(receiver);
    // What forums advise, and why it seems to help.
    let again = receive(&r, group, "e0");
    flows("after joining again", &again, true);
    Ok(())
}

fn querier_lost() -> Outcome {
    dying(GROUP, &query("10.0.0.1", None, Q3, 1))
}

fn querier_lost_v6() -> Outcome {
    dying(GROUP6, &mld_query("fe80::1"))
}

/// The stream still comes: a warning that says when it will stop.
fn querier_lost_and_not_yet_felt() -> Outcome {
    let Switched { s, r, r2: _r2, b } = switched();
    set_bridge(&b, "mcast_membership_interval 26000");
    let service = Service::start(&r, &[]);
    send_frame(&s, "e0", &query("10.0.0.1", None, Q3, 1));
    std::thread::sleep(Duration::from_millis(1600));
    let receiver = receive(&r, GROUP, "e0");
    let _sender = send(&s, GROUP, Sending::default());
    flows("after joining", &receiver, true);
    std::thread::sleep(Duration::from_millis(300));
    doctor(&r, &service, &[&channel()]).healthy_but("warning", "querier-lost");
    Ok(())
}

/// Packets of the group that a host's wire gets, whether it has joined or not.
fn overhear(host: &Host, interface: &str) -> Background {
    let mut port = host.port(interface).unwrap();
    let mac = mac_of(GROUP);
    let mut room = [0; 2048];
    Background::counting(
        move || matches!(port.read(&mut room), Ok(length) if length > 6 && room[..6] == mac),
    )
}

fn silent_receiver_pruned() -> Outcome {
    let Switched { s, r, r2, b: _b } = switched();
    r2.route("0.0.0.0/0", "10.0.0.1")?;
    let service = Service::start(&r2, &[]);
    let silent = overhear(&r2, "e0");
    let receiver = receive(&r, GROUP, "e0");
    let _sender = send(&s, GROUP, Sending::default());
    flows("flooded", &silent, true);
    send_frame(&s, "e0", &query("10.0.0.1", None, SLOW, 1));
    flows("pruned", &silent, false);
    flows("who reports still gets it", &receiver, true);
    std::thread::sleep(Duration::from_millis(500));
    doctor(&r2, &service, &[&channel()]).fault("silent-receiver-pruned");
    Ok(())
}

fn works_with(queries: &[Vec<u8>], times: usize, id: &str) -> Outcome {
    let Pair { s, r } = pair();
    let service = Service::start(&r, &[]);
    let _receiver = receive(&r, GROUP, "e0");
    let _sender = send(&s, GROUP, Sending::default());
    for _ in 0..times {
        for query in queries {
            send_frame(&s, "e0", query);
            std::thread::sleep(Duration::from_millis(250));
        }
    }
    std::thread::sleep(Duration::from_millis(700));
    doctor(&r, &service, &[&channel()]).healthy_but("warning", id);
    Ok(())
}

/// 0x93: 304 s in the floating-point form.
fn query_interval_too_long() -> Outcome {
    let how = QueryParams {
        interval: 0x93,
        ..Q3
    };
    works_with(
        &[query("10.0.0.1", None, how, 1)],
        1,
        "query-interval-too-long",
    )
}

fn querier_changed() -> Outcome {
    let of = |from: &str| query(from, None, SLOW, 1);
    works_with(&[of("10.0.0.254"), of("10.0.0.20")], 1, "querier-changed")
}

fn two_queriers() -> Outcome {
    let of = |from: &str| query(from, None, Q3, 1);
    works_with(&[of("10.0.0.254"), of("10.0.0.20")], 8, "two-queriers")
}

/// ```text
///   s ---ps-+- b br0 -+-pr--- h hub -+--- r
///                                    +--- r2
/// ```
pub struct Shared {
    pub s: Host,
    pub b: Host,
    pub _h: Host,
    pub r: Host,
    pub r2: Host,
}

pub fn shared() -> Shared {
    let (s, b, h) = (
        Host::new("s").unwrap(),
        Host::new("b").unwrap(),
        Host::new("h").unwrap(),
    );
    let snooping = |snooping| BridgeOptions {
        snooping,
        querier: false,
        ..BridgeOptions::default()
    };
    bridge(&b, "br0", snooping(true)).unwrap();
    bridge(&h, "hub", snooping(false)).unwrap();
    lab::veth(&s, "e0", &b, "ps").unwrap();
    lab::veth(&h, "up", &b, "pr").unwrap();
    for port in ["ps", "pr"] {
        bridge_port(&b, "br0", port).unwrap();
    }
    bridge_port(&h, "hub", "up").unwrap();
    address(&s, "e0", 0, 1);
    let host = |name: &str, port: &str, number: u8| {
        let host = Host::new(name).unwrap();
        lab::veth(&host, "e0", &h, port).unwrap();
        bridge_port(&h, "hub", port).unwrap();
        address(&host, "e0", 0, number);
        host.sysctl("net/ipv4/conf/e0/force_igmp_version", "2")
            .unwrap();
        host
    };
    let (r, r2) = (host("r", "h1", 2), host("r2", "h2", 3));
    Shared { s, b, _h: h, r, r2 }
}

/// Both receive; the one that joined last leaves.
fn neighbour_leaves(net: &Shared) -> (Service, Background, Background) {
    let asks = QueryParams {
        interval: 125,
        ..Q2
    };
    let service = Service::start(&net.r, &[]);
    send_frame(&net.s, "e0", &query("10.0.0.1", None, asks, 1));
    std::thread::sleep(Duration::from_millis(700));
    let receiver = receive(&net.r, GROUP, "e0");
    let sender = send(&net.s, GROUP, Sending::default());
    flows("the first", &receiver, true);
    until_shown(&service, "groups", "this host");
    let other = receive(&net.r2, GROUP, "e0");
    flows("the second", &other, true);
    until_shown(&service, "groups", "10.0.0.3");
    drop(other);
    (service, receiver, sender)
}

fn fast_leave_shared_port() -> Outcome {
    let net = shared();
    inside(
        &net.b,
        "bridge",
        &["link", "set", "dev", "pr", "fastleave", "on"],
    );
    let (service, receiver, _sender) = neighbour_leaves(&net);
    flows("frozen", &receiver, false);
    doctor(&net.r, &service, &[&channel()]).fault("fast-leave-shared-port");
    Ok(())
}

/// The querier asks after the leave, and its question is filtered on the way to the port.
fn group_query_missing() -> Outcome {
    let net = shared();
    let rules = "table bridge t {\nchain c {\ntype filter hook forward priority 0;\noifname \"pr\" ip daddr 239.1.1.1 ip protocol igmp drop\n}\n}\n";
    support::load_rules(&net.b, rules);
    let (service, receiver, _sender) = neighbour_leaves(&net);
    let asks = QueryParams {
        max_response: 10,
        ..Q2
    };
    send_frame(&net.s, "e0", &query("10.0.0.1", Some(GROUP), asks, 1));
    flows("frozen", &receiver, false);
    doctor(&net.r, &service, &[&channel()]).fault("group-query-missing");
    Ok(())
}

/// ```text
///   s ---ps-+- b br0 -+-p1---u1-+- r brx 10.0.0.2
///                     +-p2---u2-+   (u2 is down at first)
/// ```
fn no_report_after_failover() -> Outcome {
    let (s, b, r) = (Host::new("s")?, Host::new("b")?, Host::new("r")?);
    let snooping = BridgeOptions {
        snooping: true,
        querier: false,
        ..BridgeOptions::default()
    };
    bridge(&b, "br0", snooping)?;
    bridge(&r, "brx", BridgeOptions::default())?;
    lab::veth(&s, "e0", &b, "ps")?;
    lab::veth(&r, "u1", &b, "p1")?;
    lab::veth(&r, "u2", &b, "p2")?;
    r.down("u2")?;
    for port in ["ps", "p1", "p2"] {
        bridge_port(&b, "br0", port)?;
    }
    for port in ["u1", "u2"] {
        bridge_port(&r, "brx", port)?;
    }
    address(&s, "e0", 0, 1);
    address(&r, "brx", 0, 2);
    // Both reports of a join at once, so that none is left for the time behind the change.
    r.sysctl("net/ipv4/conf/brx/igmpv3_unsolicited_report_interval", "10")?;
    let service = Service::start(&r, &[]);
    let receiver = receive(&r, GROUP, "brx");
    let _sender = send(&s, GROUP, Sending::default());
    flows("by the first link", &receiver, true);
    send_frame(&s, "e0", &query("10.0.0.1", None, SLOW, 1));
    until_shown(&service, "groups", "this host");
    std::thread::sleep(Duration::from_millis(700));
    r.down("u1")?;
    service.until("the link is known to be down", |status| {
        status["gaps"].to_string().contains("interface_down")
    });
    r.up("u2")?;
    flows("by the second link", &receiver, false);
    doctor(&r, &service, &[&channel(), "-I", "brx"]).fault("no-report-after-failover");
    Ok(())
}

/// A receiver that the bridge knows of, and a stream that does not get to it.
fn held_back(b: &Host, s: &Host, r: &Host) -> (Service, Background, Background) {
    let service = Service::start(b, &[]);
    let receiver = receive(r, GROUP, "e0");
    let sender = send(s, GROUP, Sending::default());
    until_shown(&service, "groups", GROUP);
    (service, receiver, sender)
}

fn bridge_netfilter_drop() -> Outcome {
    let Switched { s, r, r2: _r2, b } = switched();
    if b.sysctl("net/bridge/bridge-nf-call-iptables", "1").is_err() {
        support::skip_here("this kernel has no br_netfilter");
    }
    support::load_rules(
        &b,
        "table ip t {\nchain c {\ntype filter hook forward priority 0; policy drop;\n}\n}\n",
    );
    let (service, receiver, _sender) = held_back(&b, &s, &r);
    flows("never", &receiver, false);
    doctor(&b, &service, &[&channel()]).fault("bridge-netfilter-drop");
    b.sysctl("net/bridge/bridge-nf-call-iptables", "0")?;
    flows("without it", &receiver, true);
    doctor(&b, &service, &[&channel()]).healthy();
    Ok(())
}

fn isolated_port() -> Outcome {
    let Switched { s, r, r2: _r2, b } = switched();
    for port in ["ps", "pr"] {
        inside(
            &b,
            "bridge",
            &["link", "set", "dev", port, "isolated", "on"],
        );
    }
    let (service, receiver, _sender) = held_back(&b, &s, &r);
    flows("never", &receiver, false);
    let report = doctor(&b, &service, &[&channel()]);
    report.fault("isolated-port");
    report.proved();
    Ok(())
}

fn mdb_full() -> Outcome {
    let Switched { s, r, r2: _r2, b } = switched();
    set_bridge(&b, "mcast_hash_max 2");
    let (service, receiver, _sender) = held_back(&b, &s, &r);
    let _more: Vec<Background> = (1..4)
        .map(|number| receive(&r, &format!("239.3.3.{number}"), "e0"))
        .collect();
    until_shown(&service, "groups", "239.3.3.3");
    flows("flooded", &receiver, true);
    doctor(&b, &service, &[&channel()]).fault("mdb-full");
    Ok(())
}

/// T5: the parent sends, the child has joined.
fn macvlan_parent_child() -> Outcome {
    let (s, r) = (Host::new("s")?, Host::new("r")?);
    lab::veth(&s, "e0", &r, "par")?;
    address(&r, "par", 0, 2);
    inside(
        &r,
        "ip",
        &[
            "link", "add", "mv0", "link", "par", "type", "macvlan", "mode", "bridge",
        ],
    );
    address(&r, "mv0", 0, 3);
    let service = Service::start(&r, &[]);
    let receiver = receive(&r, GROUP, "mv0");
    let how = Sending {
        by: Some("par"),
        ..Sending::default()
    };
    let _sender = send(&r, GROUP, how);
    doctor(&r, &service, &[&channel()]).fault("macvlan-parent-child");
    assert_eq!(receiver.count(), 0);
    Ok(())
}

fn network_without_multicast() -> Outcome {
    let Pair { s: _s, r } = pair();
    // As flannel makes it: unicast to known hosts, and nobody to send groups to.
    let overlay = "link add vx0 type vxlan id 5 dstport 4789 local 10.0.0.2 dev e0 nolearning";
    inside(&r, "ip", &overlay.split(' ').collect::<Vec<_>>());
    r.address("vx0", "10.9.0.2/24")?;
    let service = Service::start(&r, &[]);
    let _receiver = receive(&r, GROUP, "vx0");
    doctor(&r, &service, &[&channel()]).fault("network-without-multicast");
    Ok(())
}
