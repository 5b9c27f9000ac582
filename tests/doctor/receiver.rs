//! Modes of a receiving host and its sockets.

use std::net::{Ipv4Addr, SocketAddr};

use socket2::SockFilter;

use super::*;

pub const SCENARIOS: &[Scenario] = &[
    ("rp-filter-strict", "rp_filter_strict", rp_filter_strict),
    (
        "rp-filter-no-route",
        "rp_filter_no_route",
        rp_filter_no_route,
    ),
    (
        "joined-on-other-interface",
        "joined_on_other_interface",
        joined_on_other_interface,
    ),
    (
        "joined-on-other-interface",
        "joined_on_other_interface_v6",
        joined_on_other_interface_v6,
    ),
    (
        "no-interface-for-group",
        "no_interface_for_group",
        no_interface_for_group,
    ),
    ("membership-limit", "membership_limit", membership_limit),
    (
        "no-matching-socket",
        "bound_to_a_unicast_address",
        bound_to_a_unicast_address,
    ),
    (
        "no-matching-socket",
        "bound_to_another_port",
        bound_to_another_port,
    ),
    (
        "no-matching-socket",
        "bound_to_another_device",
        bound_to_another_device,
    ),
    (
        "multicast-all-crosstalk",
        "multicast_all_crosstalk",
        multicast_all_crosstalk,
    ),
    (
        "firewall-drops-data",
        "firewall_drops_data",
        firewall_drops_data,
    ),
    (
        "firewall-drops-data",
        "firewall_drops_data_v6",
        firewall_drops_data_v6,
    ),
    (
        "receive-buffer-overrun",
        "receive_buffer_overrun",
        receive_buffer_overrun,
    ),
    ("loss-in-socket", "loss_in_socket", loss_in_socket),
    (
        "duplicate-two-interfaces",
        "duplicate_two_interfaces",
        duplicate_two_interfaces,
    ),
    ("two-senders", "two_senders", two_senders),
    (
        "source-filter-mismatch",
        "source_filter_mismatch",
        source_filter_mismatch,
    ),
    ("source-filter-mismatch", "source_excluded", source_excluded),
    (
        "multicast-echo-ignored",
        "multicast_echo_ignored",
        multicast_echo_ignored,
    ),
    (
        "own-source-martian",
        "own_source_martian",
        own_source_martian,
    ),
    (
        "sender-loopback-off",
        "sender_loopback_off",
        sender_loopback_off,
    ),
    ("fragments-lost", "fragments_lost", fragments_lost),
    (
        "interface-not-multicast",
        "interface_not_multicast",
        interface_not_multicast,
    ),
    (
        "report-without-address",
        "report_without_address",
        report_without_address,
    ),
    ("needs-promiscuous", "needs_promiscuous", needs_promiscuous),
    ("dropped-before-ip", "dropped_before_ip", dropped_before_ip),
    (
        "dropped-before-ip",
        "dropped_before_ip_v6",
        dropped_before_ip_v6,
    ),
    (
        "wrong-destination-mac",
        "wrong_destination_mac",
        wrong_destination_mac,
    ),
    ("unicast-mac", "unicast_mac", unicast_mac),
    ("bad-udp-checksum", "bad_udp_checksum", bad_udp_checksum),
    ("loss-on-wire", "loss_on_wire", loss_on_wire),
    ("source-stopped", "source_stopped", source_stopped),
    (
        "source-stopped",
        "source_stopped_again",
        source_stopped_again,
    ),
    ("not-arriving", "not_arriving", not_arriving),
    ("not-joined", "not_joined", not_joined),
    (
        "not-joined",
        "not_joined_without_a_route",
        not_joined_without_a_route,
    ),
    ("mac-alias", "mac_alias", mac_alias),
    (
        "mac-alias",
        "link_local_group_alias",
        link_local_group_alias,
    ),
];

fn sending(by: &'static str) -> Sending {
    Sending {
        by: Some(by),
        ..Sending::default()
    }
}

/// Sets the reverse path filter of all interfaces.
fn reverse_path(host: &Host, value: &str) {
    for interface in ["all", "e0"] {
        host.sysctl(&format!("net/ipv4/conf/{interface}/rp_filter"), value)
            .unwrap();
    }
}

fn rp_filter_strict() -> Outcome {
    let Pair { s, r } = two_links();
    reverse_path(&r, "1");
    let service = Service::start(&r, &[]);
    let _receiver = receive(&r, GROUP, "e0");
    let how = Sending {
        from: Some("10.1.0.1".parse()?),
        ..Sending::default()
    };
    let _sender = send(&s, GROUP, how);
    let report = doctor(&r, &service, &[&channel()]);
    report.fault("rp-filter-strict");
    report.proved();
    Ok(())
}

fn rp_filter_no_route() -> Outcome {
    let Pair { s, r } = pair();
    reverse_path(&r, "2");
    s.address("e0", "192.0.2.1/32")?;
    let service = Service::start(&r, &[]);
    let _receiver = receive(&r, GROUP, "e0");
    let how = Sending {
        from: Some("192.0.2.1".parse()?),
        ..Sending::default()
    };
    let _sender = send(&s, GROUP, how);
    let report = doctor(&r, &service, &[&channel()]);
    report.fault("rp-filter-no-route");
    report.proved();
    Ok(())
}

fn joined_on_other_interface() -> Outcome {
    let Pair { s, r } = two_links();
    let service = Service::start(&r, &[]);
    let _receiver = receive(&r, GROUP, "e1");
    let _sender = send(&s, GROUP, sending("e0"));
    doctor(&r, &service, &[&channel()]).fault("joined-on-other-interface");
    Ok(())
}

fn joined_on_other_interface_v6() -> Outcome {
    let Pair { s, r } = two_links();
    let service = Service::start(&r, &[]);
    let _receiver = receive(&r, GROUP6, "e1");
    let _sender = send(&s, GROUP6, sending("e0"));
    doctor(&r, &service, &[GROUP6]).fault("joined-on-other-interface");
    Ok(())
}

fn no_interface_for_group() -> Outcome {
    let Pair { s, r } = pair();
    let service = Service::start(&r, &[]);
    let _sender = send(&s, GROUP, sending("e0"));
    let waiting = socket(&r, true);
    waiting.bind(&format!("{GROUP}:{PORT}").parse::<SocketAddr>()?.into())?;
    let refused = join_on(&waiting, GROUP.parse()?, 0).unwrap_err();
    assert_eq!(refused.raw_os_error(), Some(libc::ENODEV));
    doctor(&r, &service, &[&channel()]).fault("no-interface-for-group");
    Ok(())
}

fn membership_limit() -> Outcome {
    let Pair { s, r } = pair();
    r.route("0.0.0.0/0", "10.0.0.1")?;
    let service = Service::start(&r, &[]);
    let full = socket(&r, true);
    full.bind(&format!("0.0.0.0:{PORT}").parse::<SocketAddr>()?.into())?;
    for number in 1..=20u8 {
        join_on(
            &full,
            Ipv4Addr::new(239, 7, 7, number).into(),
            index(&r, "e0"),
        )?;
    }
    let refused = join_on(&full, GROUP.parse()?, index(&r, "e0")).unwrap_err();
    assert_eq!(refused.raw_os_error(), Some(libc::ENOBUFS));
    let _sender = send(&s, GROUP, sending("e0"));
    doctor(&r, &service, &[&channel()]).fault("membership-limit");
    Ok(())
}

/// Joined on e0, and bound as told: nothing reaches the socket.
fn bound(to: &str, device: Option<&str>) -> Outcome {
    let Pair { s, r } = two_links();
    let service = Service::start(&r, &[]);
    let joined = socket(&r, true);
    joined.bind(&to.parse::<SocketAddr>()?.into())?;
    if let Some(device) = device {
        joined.bind_device(Some(device.as_bytes()))?;
    }
    join_on(&joined, GROUP.parse()?, index(&r, "e0"))?;
    let receiver = read(joined);
    let _sender = send(&s, GROUP, sending("e0"));
    let report = doctor(&r, &service, &[&channel()]);
    report.fault("no-matching-socket");
    report.proved();
    assert_eq!(receiver.count(), 0);
    Ok(())
}

fn bound_to_a_unicast_address() -> Outcome {
    bound("10.0.0.2:5000", None)
}

fn bound_to_another_port() -> Outcome {
    bound("0.0.0.0:5001", None)
}

fn bound_to_another_device() -> Outcome {
    bound("0.0.0.0:5000", Some("e1"))
}

fn multicast_all_crosstalk() -> Outcome {
    let Pair { s, r } = pair();
    let service = Service::start(&r, &[]);
    let _receiver = receive(&r, GROUP, "e0");
    let other = socket(&r, true);
    other.bind(&"0.0.0.0:5000".parse::<SocketAddr>()?.into())?;
    join_on(&other, "239.2.2.2".parse()?, index(&r, "e0"))?;
    let victim = read(other);
    let _sender = send(&s, GROUP, sending("e0"));
    flows("the other socket gets it", &victim, true);
    doctor(&r, &service, &[&channel()]).healthy_but("warning", "multicast-all-crosstalk");
    Ok(())
}

fn firewall_drops_data() -> Outcome {
    let Pair { s, r } = pair();
    firewall(&r, "input", "udp dport 5000 drop");
    let service = Service::start(&r, &[]);
    let receiver = receive(&r, GROUP, "e0");
    let _sender = send(&s, GROUP, sending("e0"));
    let report = doctor(&r, &service, &[&channel()]);
    report.fault("firewall-drops-data");
    report.proved();
    assert_eq!(receiver.count(), 0);
    firewall(&r, "input", "");
    flows("without the firewall", &receiver, true);
    doctor(&r, &service, &[&channel()]).healthy();
    Ok(())
}

fn firewall_drops_data_v6() -> Outcome {
    let Pair { s, r } = pair();
    firewall(&r, "input", "udp dport 5000 drop");
    let service = Service::start(&r, &[]);
    let _receiver = receive(&r, GROUP6, "e0");
    let _sender = send(&s, GROUP6, sending("e0"));
    doctor(&r, &service, &[GROUP6]).fault("firewall-drops-data");
    Ok(())
}

fn receive_buffer_overrun() -> Outcome {
    let Pair { s, r } = pair();
    let service = Service::start(&r, &[]);
    let slow = socket(&r, true);
    slow.set_recv_buffer_size(1)?;
    slow.bind(&format!("{GROUP}:{PORT}").parse::<SocketAddr>()?.into())?;
    join_on(&slow, GROUP.parse()?, index(&r, "e0"))?;
    let how = Sending {
        payload: |_| vec![0; 1000],
        ..Sending::default()
    };
    let _sender = send(&s, GROUP, how);
    let report = doctor(&r, &service, &[&channel()]);
    report.fault("receive-buffer-overrun");
    report.proved();
    assert!(report.text.contains("2304 bytes"), "{}", report.text);
    Ok(())
}

fn loss_in_socket() -> Outcome {
    let Pair { s, r } = pair();
    let service = Service::start(&r, &[]);
    let filtered = socket(&r, true);
    // "ret #0": nothing passes.
    filtered.attach_filter(&[SockFilter::new(6, 0, 0, 0)])?;
    filtered.bind(&format!("{GROUP}:{PORT}").parse::<SocketAddr>()?.into())?;
    join_on(&filtered, GROUP.parse()?, index(&r, "e0"))?;
    let _sender = send(&s, GROUP, sending("e0"));
    let report = doctor(&r, &service, &[&channel()]);
    report.fault("loss-in-socket");
    report.proved();
    Ok(())
}

/// T4: both interfaces of r are on one link.
fn duplicate_two_interfaces() -> Outcome {
    let Switched { s, r, r2: _r2, b } = switched();
    set_bridge(&b, "mcast_snooping 0");
    lab::veth(&r, "e1", &b, "pr1")?;
    bridge_port(&b, "br0", "pr1")?;
    r.address("e1", "10.0.0.12/24")?;
    let service = Service::start(&r, &[]);
    let twice = socket(&r, true);
    twice.bind(&format!("{GROUP}:{PORT}").parse::<SocketAddr>()?.into())?;
    for interface in ["e0", "e1"] {
        join_on(&twice, GROUP.parse()?, index(&r, interface))?;
    }
    let _receiver = read(twice);
    for interface in ["all", "e0", "e1"] {
        r.sysctl(&format!("net/ipv4/conf/{interface}/rp_filter"), "0")?;
    }
    let _sender = send(&s, GROUP, sending("e0"));
    let report = doctor(&r, &service, &[&channel()]);
    report.fault("duplicate-two-interfaces");
    report.proved();
    Ok(())
}

fn two_senders() -> Outcome {
    let Pair { s, r } = pair();
    s.address("e0", "10.0.0.9/24")?;
    let service = Service::start(&r, &[]);
    let _receiver = receive(&r, GROUP, "e0");
    let from = |address: &str| Sending {
        from: Some(address.parse().unwrap()),
        payload: rtp,
        ..Sending::default()
    };
    let _one = send(&s, GROUP, from("10.0.0.1"));
    let _other = send(&s, GROUP, from("10.0.0.9"));
    let report = doctor(&r, &service, &[&channel()]);
    report.fault("two-senders");
    report.proved();
    Ok(())
}

/// Joined for one source only (MCAST_JOIN_SOURCE_GROUP), or for all but one.
fn join_source(host: &Host, group: &str, source: &str) -> socket2::Socket {
    let only = socket(host, true);
    only.bind(
        &format!("0.0.0.0:{PORT}")
            .parse::<SocketAddr>()
            .unwrap()
            .into(),
    )
    .unwrap();
    only.join_ssm_v4(
        &source.parse().unwrap(),
        &group.parse().unwrap(),
        &host_address(host),
    )
    .unwrap();
    only
}

fn host_address(host: &Host) -> Ipv4Addr {
    let _ = host;
    Ipv4Addr::new(10, 0, 0, 2)
}

fn source_filter_mismatch() -> Outcome {
    let Pair { s, r } = pair();
    let service = Service::start(&r, &[]);
    let receiver = read(join_source(&r, GROUP, "10.0.0.99"));
    let _sender = send(&s, GROUP, sending("e0"));
    let report = doctor(&r, &service, &[&channel()]);
    report.fault("source-filter-mismatch");
    assert_eq!(receiver.count(), 0);
    Ok(())
}

/// struct ip_mreq_source (linux/in.h).
#[repr(C)]
#[derive(Clone, Copy)]
struct SourceRequest {
    group: [u8; 4],
    interface: [u8; 4],
    source: [u8; 4],
}

fn source_excluded() -> Outcome {
    let Pair { s, r } = pair();
    let service = Service::start(&r, &[]);
    let all_but = socket(&r, true);
    all_but.bind(&format!("0.0.0.0:{PORT}").parse::<SocketAddr>()?.into())?;
    join_on(&all_but, GROUP.parse()?, index(&r, "e0"))?;
    let request = SourceRequest {
        group: GROUP.parse::<Ipv4Addr>()?.octets(),
        interface: [10, 0, 0, 2],
        source: [10, 0, 0, 1],
    };
    // IP_BLOCK_SOURCE.
    netsonde::linux::option::set_option(&all_but, libc::IPPROTO_IP, 38, &request)?;
    let receiver = read(all_but);
    let _sender = send(&s, GROUP, sending("e0"));
    doctor(&r, &service, &[&channel()]).fault("source-filter-mismatch");
    assert_eq!(receiver.count(), 0);
    Ok(())
}

fn multicast_echo_ignored() -> Outcome {
    let Pair { s, r } = pair();
    let service = Service::start(&r, &[]);
    let _receiver = receive(&r, GROUP, "e0");
    let (from, to) = ("10.0.0.1".parse()?, GROUP.parse()?);
    let _pings = send_frames(&s, "e0", move |number| {
        let request = lab::traffic::echo_request(7, number as u16, b"ping of a group");
        ethernet(
            mac_of(GROUP),
            0x0800,
            &ipv4((from, to), (1, 1), (number as u16, 0), &[], &request),
        )
    });
    doctor(&r, &service, &[GROUP]).healthy_but("note", "multicast-echo-ignored");
    Ok(())
}

fn own_source_martian() -> Outcome {
    let Pair { s, r } = pair();
    let service = Service::start(&r, &[]);
    let receiver = receive(&r, GROUP, "e0");
    let _sender = send_frames(&s, "e0", |number| {
        stream_frame(mac_of(GROUP), "10.0.0.2", GROUP, number, true)
    });
    doctor(&r, &service, &[&channel()]).fault("own-source-martian");
    assert_eq!(receiver.count(), 0);
    Ok(())
}

fn sender_loopback_off() -> Outcome {
    let Pair { s: _s, r } = pair();
    let service = Service::start(&r, &[]);
    let receiver = receive(&r, GROUP, "e0");
    let how = Sending {
        looped: false,
        ..Sending::default()
    };
    let _sender = send(&r, GROUP, how);
    doctor(&r, &service, &[&channel()]).fault("sender-loopback-off");
    assert_eq!(receiver.count(), 0);
    Ok(())
}

fn fragments_lost() -> Outcome {
    let Pair { s, r } = pair();
    let service = Service::start(&r, &[]);
    let _receiver = receive(&r, GROUP, "e0");
    let (from, to) = ("10.0.0.1".parse()?, GROUP.parse()?);
    // First fragments only: "more fragments", offset 0.
    let _sender = send_frames(&s, "e0", move |number| {
        let datagram = udp(from, to, &[0; 1464], true);
        let packet = ipv4((from, to), (17, 1), (number as u16, 0x2000), &[], &datagram);
        ethernet(mac_of(GROUP), 0x0800, &packet)
    });
    let report = doctor(&r, &service, &[&channel()]);
    report.fault("fragments-lost");
    report.proved();
    Ok(())
}

fn interface_not_multicast() -> Outcome {
    let Pair { s, r } = pair();
    inside(&r, "ip", &["link", "set", "e0", "multicast", "off"]);
    let service = Service::start(&r, &[]);
    let waiting = socket(&r, true);
    waiting.bind(&format!("{GROUP}:{PORT}").parse::<SocketAddr>()?.into())?;
    let _sender = send(&s, GROUP, sending("e0"));
    doctor(&r, &service, &[&channel()]).fault("interface-not-multicast");
    Ok(())
}

fn report_without_address() -> Outcome {
    let (s, r) = (Host::new("s")?, Host::new("r")?);
    lab::veth(&s, "e0", &r, "e0")?;
    address(&s, "e0", 0, 1);
    let service = Service::start(&r, &[]);
    let _receiver = receive(&r, GROUP, "e0");
    until_shown(&service, "groups", GROUP);
    doctor(&r, &service, &[&channel()]).fault("report-without-address");
    Ok(())
}

/// T5: a macvlan on the link to s, which takes in only what it was told of.
fn needs_promiscuous() -> Outcome {
    let (s, r) = (Host::new("s")?, Host::new("r")?);
    lab::veth(&s, "e0", &r, "par")?;
    address(&s, "e0", 0, 1);
    inside(
        &r,
        "ip",
        &[
            "link", "add", "mv0", "link", "par", "type", "macvlan", "mode", "bridge",
        ],
    );
    address(&r, "mv0", 0, 2);
    inside(&r, "ip", &["link", "set", "mv0", "promisc", "on"]);
    let service = Service::start(&r, &[]);
    let waiting = socket(&r, true);
    waiting.bind(&format!("{GROUP}:{PORT}").parse::<SocketAddr>()?.into())?;
    let _sender = send(&s, GROUP, sending("e0"));
    doctor(&r, &service, &[&channel(), "-I", "mv0"]).fault("needs-promiscuous");
    Ok(())
}

fn dropped_before_ip() -> Outcome {
    let Pair { s, r } = pair();
    let hook = "ingress device \"e0\"";
    firewall(&r, hook, "udp dport 5000 drop");
    let service = Service::start(&r, &[]);
    let _receiver = receive(&r, GROUP, "e0");
    let _sender = send(&s, GROUP, sending("e0"));
    let report = doctor(&r, &service, &[&channel()]);
    report.fault("dropped-before-ip");
    report.proved();
    Ok(())
}

fn dropped_before_ip_v6() -> Outcome {
    let Pair { s, r } = pair();
    firewall(&r, "ingress device \"e0\"", "udp dport 5000 drop");
    let service = Service::start(&r, &[]);
    let _receiver = receive(&r, GROUP6, "e0");
    let _sender = send(&s, GROUP6, sending("e0"));
    doctor(&r, &service, &[GROUP6]).fault("dropped-before-ip");
    Ok(())
}

fn wrong_destination_mac() -> Outcome {
    let Pair { s, r } = pair();
    let service = Service::start(&r, &[]);
    let receiver = receive(&r, GROUP, "e0");
    let _sender = send_frames(&s, "e0", |number| {
        stream_frame([2, 0, 0, 0, 0, 0x77], "10.0.0.1", GROUP, number, true)
    });
    doctor(&r, &service, &[&channel()]).fault("wrong-destination-mac");
    assert_eq!(receiver.count(), 0);
    Ok(())
}

fn unicast_mac() -> Outcome {
    let Pair { s, r } = pair();
    let service = Service::start(&r, &[]);
    let receiver = receive(&r, GROUP, "e0");
    let mac = r.mac("e0")?;
    let _sender = send_frames(&s, "e0", move |number| {
        stream_frame(mac, "10.0.0.1", GROUP, number, true)
    });
    flows("in unicast frames", &receiver, true);
    doctor(&r, &service, &[&channel()]).healthy_but("note", "unicast-mac");
    Ok(())
}

fn bad_udp_checksum() -> Outcome {
    let Pair { s, r } = pair();
    let service = Service::start(&r, &[]);
    let receiver = receive(&r, GROUP, "e0");
    let _sender = send_frames(&s, "e0", |number| {
        stream_frame(mac_of(GROUP), "10.0.0.1", GROUP, number, false)
    });
    let report = doctor(&r, &service, &[&channel()]);
    report.fault("bad-udp-checksum");
    report.proved();
    assert_eq!(receiver.count(), 0);
    Ok(())
}

fn loss_on_wire() -> Outcome {
    let Pair { s, r } = pair();
    let service = Service::start(&r, &[]);
    let _receiver = receive(&r, GROUP, "e0");
    let how = Sending {
        // Each tenth number is never sent.
        payload: |number| rtp(number + number / 9),
        ..Sending::default()
    };
    let _sender = send(&s, GROUP, how);
    let report = doctor(&r, &service, &[&channel()]);
    report.fault("loss-on-wire");
    report.proved();
    Ok(())
}

fn source_stopped() -> Outcome {
    let Pair { s, r } = pair();
    let service = Service::start(&r, &[]);
    let receiver = receive(&r, GROUP, "e0");
    let sender = send(&s, GROUP, sending("e0"));
    flows("at first", &receiver, true);
    until_shown(&service, "groups", "this host");
    drop(sender);
    doctor(&r, &service, &[&channel()]).fault("source-stopped");
    Ok(())
}

/// It had stopped before, for longer than now: that is not how it usually comes.
fn source_stopped_again() -> Outcome {
    let Pair { s, r } = pair();
    let service = Service::start(&r, &[]);
    let receiver = receive(&r, GROUP, "e0");
    until_shown(&service, "groups", "this host");
    for pause in [2500, 300] {
        let sender = send(&s, GROUP, sending("e0"));
        flows("at first, and again", &receiver, true);
        assert!(wait_until(support::PATIENCE, || sender.count() > 100));
        drop(sender);
        std::thread::sleep(std::time::Duration::from_millis(pause));
    }
    doctor(&r, &service, &[&channel()]).fault("source-stopped");
    Ok(())
}

fn not_arriving() -> Outcome {
    let Pair { s: _s, r } = pair();
    let service = Service::start(&r, &[]);
    let _receiver = receive(&r, GROUP, "e0");
    doctor(&r, &service, &[&channel()]).fault("not-arriving");
    Ok(())
}

/// Nobody receives or tries to: the missing route harms nobody, and is part of the note.
fn not_joined_without_a_route() -> Outcome {
    let Pair { s, r } = pair();
    let service = Service::start(&r, &[]);
    let _sender = send(&s, GROUP, sending("e0"));
    let report = doctor(&r, &service, &[&channel()]);
    report.undetermined("not-joined");
    assert!(report.text.contains("unreachable"), "{}", report.text);
    Ok(())
}

fn not_joined() -> Outcome {
    let Pair { s, r } = pair();
    r.route("0.0.0.0/0", "10.0.0.1")?;
    let service = Service::start(&r, &[]);
    let _sender = send(&s, GROUP, sending("e0"));
    let report = doctor(&r, &service, &[&channel()]);
    report.undetermined("not-joined");
    // With --join it arrives.
    doctor(&r, &service, &["--join", &channel()]).healthy();
    Ok(())
}

fn mac_alias() -> Outcome {
    let Pair { s, r } = pair();
    let service = Service::start(&r, &[]);
    let _receiver = receive(&r, GROUP, "e0");
    let _sender = send(&s, GROUP, sending("e0"));
    let _unwanted = send(&s, "224.1.1.1", sending("e0"));
    until_shown(&service, "streams", "224.1.1.1");
    doctor(&r, &service, &[&channel()]).healthy_but("warning", "mac-alias");
    Ok(())
}

fn link_local_group_alias() -> Outcome {
    let Pair { s, r } = pair();
    let service = Service::start(&r, &[]);
    let _receiver = receive(&r, "230.0.0.7", "e0");
    let _sender = send(&s, "230.0.0.7", sending("e0"));
    doctor(&r, &service, &["230.0.0.7"]).healthy_but("warning", "mac-alias");
    Ok(())
}
