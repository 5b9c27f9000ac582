//! Compares the types of the protocol with the `.varlink` files, field by field.
#![allow(missing_docs, clippy::unwrap_used)]

#[path = "support/sample.rs"]
mod sample;

use netsonde_core::protocol::{
    CAPTURE, HISTORY, INVENTORY, MULTICAST, PING, SERVICE, TRACE, VARLINK, capture, history,
    inventory, multicast, ping, service, trace,
};
use sample::sample;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, to_value};
use varlink_parser::{IDL, VStructOrEnum, VType, VTypeExt};

fn listened() -> service::ListenerCounts {
    service::ListenerCounts::default()
}

/// Checks a value against the fields of a struct of the interface.
fn check(idl: &IDL<'_>, what: &str, fields: &[varlink_parser::Argument<'_>], value: &Value) {
    let object = value
        .as_object()
        .unwrap_or_else(|| panic!("{what} is not an object"));
    for field in fields {
        let Some(found) = object.get(field.name) else {
            panic!(
                "{what}.{} is in the interface but not in the type",
                field.name
            );
        };
        check_type(idl, &format!("{what}.{}", field.name), &field.vtype, found);
    }
    for key in object.keys() {
        assert!(
            fields.iter().any(|field| field.name == key),
            "{what}.{key} is not in the interface"
        );
    }
}

fn check_type(idl: &IDL<'_>, what: &str, kind: &VTypeExt<'_>, value: &Value) {
    match kind {
        VTypeExt::Option(inner) => check_type(idl, what, inner, value),
        VTypeExt::Array(inner) => {
            let all = value
                .as_array()
                .unwrap_or_else(|| panic!("{what} is not a list"));
            assert!(!all.is_empty(), "{what}: the sample must not be empty");
            all.iter().for_each(|one| check_type(idl, what, inner, one));
        }
        VTypeExt::Dict(inner) => {
            let all = value
                .as_object()
                .unwrap_or_else(|| panic!("{what} is not a dictionary"));
            assert!(!all.is_empty(), "{what}: the sample must not be empty");
            all.values()
                .for_each(|one| check_type(idl, what, inner, one));
        }
        VTypeExt::Plain(VType::Bool) => assert!(value.is_boolean(), "{what}"),
        VTypeExt::Plain(VType::Int) => assert!(value.is_i64(), "{what}"),
        VTypeExt::Plain(VType::Float) => assert!(value.is_f64(), "{what}"),
        VTypeExt::Plain(VType::String) => assert!(value.is_string(), "{what}"),
        VTypeExt::Plain(VType::Typename(name)) => {
            let found = idl
                .typedefs
                .get(name)
                .unwrap_or_else(|| panic!("{what}: no type {name}"));
            match &found.elt {
                VStructOrEnum::VStruct(fields) => check(idl, what, &fields.elts, value),
                VStructOrEnum::VEnum(_) => assert!(value.is_string(), "{what}"),
            }
        }
        VTypeExt::Plain(_) => panic!("{what}: this kind of type is not used"),
    }
}

fn reply<'i>(idl: &'i IDL<'i>, method: &str) -> &'i [varlink_parser::Argument<'i>] {
    &idl.methods
        .get(method)
        .unwrap_or_else(|| panic!("no method {method}"))
        .output
        .elts
}

#[test]
fn service_types_agree() {
    let idl = IDL::try_from(SERVICE).unwrap();
    let store = service::Store {
        store: "bulk".into(),
        capacity_bytes: 1,
        used_bytes: 1,
        packets: 1,
        recorded: 1,
        evicted: 0,
        evicted_bytes: 0,
        snap_bytes: 128,
        oldest: Some("t".into()),
        newest: Some("t".into()),
        seen: Some(2),
        thinned: Some(1),
        target_ns: Some(1),
    };
    let status = service::Status {
        may: vec!["status".into()],
        listening: vec!["unix".into()],
        sockets: vec![1],
        network: Some(service::Namespace {
            device: 4,
            inode: 1,
        }),
        version: "0".into(),
        time: "t".into(),
        started: "t".into(),
        uptime_ns: 1,
        keeper_pid: 1,
        engine: service::Engine {
            pid: 1,
            starts: 1,
            started: "t".into(),
            uptime_ns: 1,
        },
        recorder_bytes: 1,
        promiscuous: false,
        rings: vec![service::Ring {
            name: "bulk".into(),
            packets: 1,
            drops: 0,
            freezes: 0,
            processed: 1,
            capacity_bytes: 1,
        }],
        recorder: vec![store],
        interfaces: vec![service::InterfaceCounts {
            interface: "e0".into(),
            ifindex: 2,
            state: "up".into(),
            recording: true,
            packets: 1,
            bytes: 1,
            packets_out: 0,
            bytes_out: 0,
            skipped: 0,
            listened: listened(),
            stores: vec![service::StoreCounts::default()],
        }],
        former: vec![service::StoreCounts::default()],
        gaps: vec![service::Gap {
            kind: "ring_drop".into(),
            from: "t".into(),
            to: "t".into(),
            count: 1,
            subject: Some("bulk ring".into()),
            open: Some(true),
        }],
        gaps_total: 1,
        clients: service::Clients {
            connected: 1,
            limit: 1,
            limit_per_uid: 1,
            served: 1,
        },
        limits: vec![service::Limit {
            name: "clients".into(),
            limit: 1,
            hits: 0,
        }],
        sandbox: Some(service::Sandbox::default()),
    };
    check(
        &idl,
        "Status",
        reply(&idl, "Status"),
        &to_value(&status).unwrap(),
    );
    let interfaces = service::Interfaces {
        interfaces: vec![service::Interface {
            interface: "e0".into(),
            ifindex: 2,
            link: "ether".into(),
            mac: Some("m".into()),
            mtu: 1500,
            flags: vec!["UP".into()],
            up: true,
            running: true,
            promiscuity: 0,
            allmulti: 0,
            master: Some("br0".into()),
            addresses: vec!["10.0.0.1/24".into()],
            memberships: vec![service::Membership {
                group: "224.0.0.1".into(),
                users: 1,
                ours: true,
            }],
            recording: true,
            why: "w".into(),
            packets: 1,
            bytes: 1,
            listened: listened(),
        }],
    };
    check(
        &idl,
        "Interfaces",
        reply(&idl, "Interfaces"),
        &to_value(&interfaces).unwrap(),
    );
}

#[test]
fn capture_types_agree() {
    let idl = IDL::try_from(CAPTURE).unwrap();
    let text = || Some(vec!["x".to_owned()]);
    let selection = capture::Selection {
        content: Some(capture::Content::Permitted),
        last_ns: Some(1),
        since_ns: Some(1),
        until_ns: Some(1),
        follow: Some(true),
        interfaces: text(),
        direction: Some("in".into()),
        stores: text(),
        programs: Some(vec![capture::Program {
            link_type: "ethernet".into(),
            tags: "wire".into(),
            code: vec![6, 0, 0, 1],
        }]),
        filter: Some("udp".into()),
        hosts: text(),
        ports: Some(vec![53]),
        protocols: text(),
        inner: Some(true),
        groups: text(),
        vlans: Some(vec![1]),
        limit: Some(1),
        numbered: Some(true),
        record: Some(1),
        next: Some([("icmp".to_owned(), 1)].into()),
    };
    let call = to_value(capture::CaptureCall { selection }).unwrap();
    check(&idl, "Capture", &idl.methods["Capture"].input.elts, &call);
    let opened = capture::CaptureReply {
        content: Some(capture::Content::Headers),
        fd: Some(0),
        packets: Some(1),
        missed: Some(0),
        cut: Some("why".into()),
        record: Some(1),
    };
    check(
        &idl,
        "Capture",
        reply(&idl, "Capture"),
        &to_value(opened).unwrap(),
    );
}

#[test]
fn trace_types_agree() {
    let idl = IDL::try_from(TRACE).unwrap();
    let sides = |method: &str, call: Value, reply: Option<Value>| {
        let of = &idl.methods[method];
        check(&idl, method, &of.input.elts, &call);
        if let Some(reply) = reply {
            check(&idl, method, &of.output.elts, &reply);
        }
    };
    let text = || Some("x".to_owned());
    let connection = trace::Connection {
        source_port: 1,
        flow_label: Some(1),
        sequence: Some(1),
    };
    let options = trace::Options {
        connection: Some(connection),
        timeout_ns: Some(1),
        interval_ns: Some(1),
        size: Some(14),
        tos: Some(1),
        pmtu_discovery: text(),
        interface: text(),
        source: text(),
        transport: text(),
        port: Some(1),
    };
    let call = trace::ProbeCall {
        target: "10.0.0.1".into(),
        probes: vec![trace::Step::default()],
        options: Some(options),
        open: Some(true),
    };
    let answer = trace::Answer {
        instead_of: text(),
        from: text(),
        ttl: Some(64),
        rtt_ns: Some(1),
        wire_rtt_ns: Some(1),
        error: Some(trace::IcmpError {
            kind: 11,
            code: 0,
            from: "10.0.0.1".into(),
            meaning: "m".into(),
            mtu: Some(1400),
        }),
        quote: Some(trace::Quote {
            ip_id: Some(1),
            source: text(),
            destination: text(),
            checksum: Some(1),
            ..Default::default()
        }),
        labels: Some(vec![trace::Label::default()]),
        interfaces: Some(vec![trace::Interface {
            index: Some(1),
            address: text(),
            name: text(),
            mtu: Some(1500),
            ..Default::default()
        }]),
        reset: Some(true),
        errno: text(),
        last_seen: text(),
        interface: text(),
        next_hop: text(),
        link: text(),
        hop: text(),
        ..Default::default()
    };
    let reply = trace::ProbeReply {
        run: Some(1),
        id: Some(1),
        answers: Some(vec![answer]),
        forged: Some(1),
    };
    sides(
        "Probe",
        to_value(call).unwrap(),
        Some(to_value(reply).unwrap()),
    );
    let add = trace::AddCall {
        run: 1,
        probes: vec![trace::Step::default()],
    };
    sides("Add", to_value(add).unwrap(), None);
    let close = to_value(trace::CloseCall { run: 1 }).unwrap();
    sides("Close", close, None);
    let ports = trace::PortsReply {
        tcp: vec![1],
        udp: vec![1],
    };
    let none = to_value(std::collections::BTreeMap::<u8, u8>::new()).unwrap();
    sides("Ports", none, Some(to_value(ports).unwrap()));
}

#[test]
fn ping_types_agree() {
    let idl = IDL::try_from(PING).unwrap();
    let sides = |method: &str, call: Value, reply: Option<Value>| {
        let of = &idl.methods[method];
        check(&idl, method, &of.input.elts, &call);
        if let Some(reply) = reply {
            check(&idl, method, &of.output.elts, &reply);
        }
    };
    let text = || Some("x".to_owned());
    let figures = Some(ping::Distribution::default());
    let fates = std::collections::BTreeMap::from([("replied".to_owned(), 1)]);
    let probe = ping::Probe {
        instead_of: text(),
        duplicate: Some(true),
        from: text(),
        ttl: Some(64),
        rtt_ns: Some(1),
        wire_rtt_ns: Some(1),
        resolve_ns: Some(1),
        queue_ns: Some(1),
        wake_ns: Some(1),
        error: Some(ping::IcmpError {
            kind: 3,
            code: 4,
            from: "10.0.0.1".into(),
            meaning: "m".into(),
            mtu: Some(1400),
        }),
        reset: Some(true),
        errno: text(),
        last_seen: text(),
        fragmented: Some(true),
        interface: Some("e0".into()),
        next_hop: Some("10.0.0.1".into()),
        link: Some("is down".into()),
        hop: Some("address conflict".into()),
        is_final: Some(true),
        ..Default::default()
    };
    let remarks = Some(vec![ping::Remark::default()]);
    let summary = ping::Summary {
        fates: fates.clone(),
        rtt_ns: figures,
        wire_rtt_ns: figures,
        jitter_ns: Some(1),
        windows: Some(ping::LossWindows::default()),
        responders: Some(vec![ping::Responder {
            mac: text(),
            rtt_ns: figures,
            ..Default::default()
        }]),
        responders_left_out: Some(1),
        rtt_ewma_ns: Some(1),
        remarks: remarks.clone(),
        ..Default::default()
    };
    let row = ping::TargetRow {
        fates: Some(fates.clone()),
        rtt_ns: Some(1),
        wire_rtt_ns: Some(1),
        remarks,
        ..Default::default()
    };
    let total = ping::Total {
        fates,
        ..Default::default()
    };
    let progress = ping::ProgressReply {
        summaries: Some(vec![summary.clone()]),
        total: total.clone(),
    };
    sides(
        "Progress",
        to_value(ping::ProgressCall { run: 1 }).unwrap(),
        Some(to_value(progress).unwrap()),
    );
    let report = ping::PingReply {
        run: Some(1),
        id: Some(1),
        targets: Some(1),
        interval_ns: Some(1),
        fd: Some(0),
        slots: Some(vec!["10.0.0.1".into()]),
        probes: Some(vec![probe]),
        summaries: Some(vec![summary]),
        rows: Some(vec![row]),
        total: Some(total),
        lost: Some(1),
    };
    let options = ping::Options {
        count: Some(1),
        interval_ns: Some(1),
        timeout_ns: Some(1),
        deadline_ns: Some(1),
        transport: text(),
        port: Some(443),
        size: Some(1),
        pattern: text(),
        ttl: Some(1),
        tos: Some(1),
        pmtu_discovery: text(),
        interface: text(),
        source: text(),
        rate: Some(1),
        flood: Some(true),
        broadcast: Some(true),
        quiet: Some(true),
        rows: Some(true),
        evidence: Some(true),
        packed: Some(true),
        spread: Some(true),
    };
    let call = ping::PingCall {
        targets: Some(vec!["10.0.0.1".into()]),
        list: Some(1),
        options: Some(options),
    };
    sides(
        "Ping",
        to_value(&call).unwrap(),
        Some(to_value(&report).unwrap()),
    );
    let call = ping::TargetsCall {
        targets: vec!["10.0.0.1".into()],
        list: Some(1),
    };
    sides(
        "Targets",
        to_value(&call).unwrap(),
        Some(to_value(ping::TargetsReply::default()).unwrap()),
    );
    sides("Stop", to_value(ping::StopCall { run: 1 }).unwrap(), None);
}

#[test]
fn talkers_types_agree() {
    let idl = IDL::try_from(INVENTORY).unwrap();
    let text = || Some("x".to_owned());
    let call = inventory::TalkersCall {
        window_ns: Some(1),
        by: text(),
        interface: text(),
        limit: Some(1),
        joined: Some(true),
    };
    let talker = inventory::Talker {
        ways: Some(vec![inventory::Way::default()]),
        forwarded: Some(true),
        source: text(),
        source_port: Some(1),
        destination: text(),
        destination_port: Some(1),
        ..Default::default()
    };
    let report = inventory::Talkers {
        talkers: vec![talker],
        ..Default::default()
    };
    let method = "Talkers";
    check(
        &idl,
        method,
        &idl.methods[method].input.elts,
        &to_value(call).unwrap(),
    );
    check(
        &idl,
        method,
        reply(&idl, method),
        &to_value(report).unwrap(),
    );
}

#[test]
fn multicast_types_agree() {
    let idl = IDL::try_from(MULTICAST).unwrap();
    let text = || Some("x".to_owned());
    let member = multicast::Member {
        sources: vec!["10.0.0.1".into()],
        sources_left_out: Some(1),
        left: text(),
        expires: text(),
        ..Default::default()
    };
    let group = multicast::Group {
        name: text(),
        aliases: Some(vec!["x".into()]),
        kernel_include: Some(vec!["x".into()]),
        kernel_exclude: Some(vec!["x".into()]),
        members: vec![member],
        ..Default::default()
    };
    let groups = multicast::Groups {
        groups: vec![group],
        ..Default::default()
    };
    let querier = multicast::Querier {
        next: text(),
        ..Default::default()
    };
    let queriers = multicast::Queriers {
        queriers: vec![querier],
        unasked: vec![multicast::LinkWithoutQuerier::default()],
        routers: Some(vec![multicast::Router {
            priority: Some(1),
            expires: text(),
            ..Default::default()
        }]),
        ..Default::default()
    };
    let stream = multicast::Stream {
        ts: Some(multicast::MpegTs::default()),
        rtp: Some(multicast::Rtp {
            jitter_ns: Some(1),
            ..Default::default()
        }),
        ..Default::default()
    };
    let streams = multicast::Streams {
        streams: vec![stream],
        ..Default::default()
    };
    let call = to_value(multicast::InterfaceCall { interface: text() }).unwrap();
    for (method, report) in [
        ("Groups", to_value(groups).unwrap()),
        ("Queriers", to_value(queriers).unwrap()),
        ("Streams", to_value(streams).unwrap()),
    ] {
        check(&idl, method, &idl.methods[method].input.elts, &call);
        check(&idl, method, reply(&idl, method), &report);
    }
}

#[test]
fn neighbors_types_agree() {
    let idl = IDL::try_from(INVENTORY).unwrap();
    let text = || Some("x".to_owned());
    let neighbor = inventory::Neighbor {
        shared: text(),
        addresses: vec![inventory::Address {
            answered: text(),
            ..Default::default()
        }],
        proxy_for: vec!["x".into()],
        names: vec![inventory::Name::default()],
        roles: vec!["x".into()],
        heard_by: vec!["x".into()],
        last_forwarded: text(),
        ..Default::default()
    };
    let claimant = inventory::Claimant {
        claimed: text(),
        frames_from: text(),
        ..Default::default()
    };
    let finding = inventory::Finding {
        between: Some(vec!["x".into()]),
        both_answered: Some(1),
        returned: Some(1),
        from: text(),
        to: text(),
        announced: Some(true),
        times: Some(1),
        prober: text(),
        by: text(),
        answered: Some(true),
        both_probed: Some(true),
        claimants: vec![claimant],
        ..Default::default()
    };
    let neighbors = inventory::Neighbors {
        neighbors: vec![neighbor],
        findings: vec![finding],
        kernel: vec![inventory::KernelNeighbor {
            mac: text(),
            ..Default::default()
        }],
        virtual_routers: Some(vec![inventory::VirtualRouter {
            addresses: vec!["x".into()],
            masters: vec![inventory::Master::default()],
            two_masters: Some(vec!["x".into()]),
            since: text(),
            last: text(),
            ..Default::default()
        }]),
        ..Default::default()
    };
    let call = to_value(inventory::InterfaceCall { interface: text() }).unwrap();
    check(
        &idl,
        "Neighbors",
        &idl.methods["Neighbors"].input.elts,
        &call,
    );
    let report = to_value(neighbors).unwrap();
    check(&idl, "Neighbors", reply(&idl, "Neighbors"), &report);
}

#[test]
fn kernel_types_agree() {
    let idl = IDL::try_from(INVENTORY).unwrap();
    let (counters, paths) = (&idl.methods["Counters"], &idl.methods["Paths"]);
    passes::<inventory::Counters>(&idl, "Counters", &counters.output.elts);
    passes::<inventory::PathsCall>(&idl, "Paths", &paths.input.elts);
    passes::<inventory::Paths>(&idl, "Paths", &paths.output.elts);
}

/// A value with every field of the interface passes the type unchanged, and one without a required field has
/// all others.
fn passes<T: DeserializeOwned + Serialize>(
    idl: &IDL<'_>,
    what: &str,
    fields: &[varlink_parser::Argument<'_>],
) {
    let whole = sample(idl, fields);
    let read: T = serde_json::from_value(whole.clone())
        .unwrap_or_else(|error| panic!("{what}: {error}: {whole}"));
    assert_eq!(to_value(read).unwrap(), whole, "{what}");
    // What is optional is absent, not null.
    let is_optional = |name: &str| {
        let found = fields.iter().find(|field| field.name == name).unwrap();
        matches!(found.vtype, VTypeExt::Option(_))
    };
    let mut least = whole;
    let object = least.as_object_mut().unwrap();
    object.retain(|name, _| !is_optional(name));
    let read: T = serde_json::from_value(least.clone())
        .unwrap_or_else(|error| panic!("{what}: {error}: {least}"));
    assert_eq!(to_value(read).unwrap(), least, "{what}");
}

/// No parameters.
type Nothing = std::collections::BTreeMap<String, Value>;

#[test]
fn history_types_agree() {
    let idl = IDL::try_from(HISTORY).unwrap();
    let mut checked = Vec::new();
    macro_rules! methods {
        ($($name:literal: $call:ty => $reply:ty,)*) => {$(
            let method = idl.methods.get($name).unwrap_or_else(|| panic!("no method {}", $name));
            passes::<$call>(&idl, concat!("call of ", $name), &method.input.elts);
            passes::<$reply>(&idl, concat!("reply of ", $name), &method.output.elts);
            checked.push($name);
        )*};
    }
    methods! {
        "AddMonitor": history::AddMonitorCall => history::AddMonitorReply,
        "At": history::AtCall => history::AtReply,
        "Counters": history::CountersCall => history::CountersReply,
        "Discard": history::DiscardCall => Nothing,
        "Events": history::EventsCall => history::EventsReply,
        "History": history::HistoryCall => history::HistoryReply,
        "Keep": history::KeepCall => history::KeepReply,
        "Kept": Nothing => history::KeptReply,
        "Monitors": history::MonitorsCall => history::MonitorsReply,
        "Outage": history::OutageCall => history::OutageReply,
        "Outages": history::OutagesCall => history::OutagesReply,
        "Packets": history::PacketsCall => history::PacketsReply,
        "Path": history::PathCall => history::PathReply,
        "Pause": history::PauseCall => Nothing,
        "Record": history::RecordCall => history::RecordReply,
        "RemoveMonitor": history::RemoveMonitorCall => Nothing,
        "Resume": history::ResumeCall => Nothing,
        "Status": Nothing => history::StatusReply,
        "Watch": Nothing => history::WatchReply,
    }
    let all: Vec<&str> = idl.methods.keys().copied().collect();
    assert_eq!(checked, all, "a method is missing");
}

#[test]
fn standard_interface_parses() {
    let idl = IDL::try_from(VARLINK).unwrap();
    assert_eq!(idl.name, "org.varlink.service");
}
