//! Real capture files, a third of them malformed on purpose: no panic, no endless loop, each within a
//! second; and where they are well-formed, what is read agrees with tshark. The files are not part of
//! this repository, but in the folder `NETSONDE_CAPTURES` or next to it; where they are missing the test says so and
//! passes.
#![allow(missing_docs, clippy::unwrap_used)]

#[path = "support/tools.rs"]
mod tools;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use netsonde::client::files::capture_file::{CaptureFile, FilePacket, Item};
use netsonde_core::wire::{Packet, decode};

fn captures() -> Vec<PathBuf> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folder = std::env::var_os("NETSONDE_CAPTURES");
    let folder = folder.map_or_else(|| here.join("../shared/captures"), PathBuf::from);
    let mut files: Vec<PathBuf> = std::fs::read_dir(&folder)
        .map(|entries| entries.map(|entry| entry.unwrap().path()).collect())
        .unwrap_or_default();
    files.retain(|path| {
        path.extension()
            .is_some_and(|end| end == "pcap" || end == "pcapng")
    });
    files.sort();
    if files.is_empty() {
        tools::report(
            "capture files",
            &format!("there are none in {}", folder.display()),
        );
    }
    files
}

/// All packets, and whether the file could be read to its end.
fn read(path: &Path) -> (Vec<FilePacket>, bool) {
    let mut packets = Vec::new();
    let Ok(mut file) = CaptureFile::new(std::fs::File::open(path).unwrap()) else {
        return (packets, false);
    };
    loop {
        match file.next() {
            Ok(Some(Item::Packet(packet))) => packets.push(packet),
            Ok(Some(Item::Note(_))) => {}
            Ok(None) => return (packets, true),
            Err(_) => return (packets, false),
        }
    }
}

#[test]
fn capture_files_are_decoded_within_a_second() {
    let files = captures();
    let mut packets = 0;
    for path in &files {
        let start = Instant::now();
        for packet in read(path).0 {
            let decoded = decode(&packet.frame());
            assert!(
                !decoded.summary.contains('\x1b') && !decoded.summary.contains('\n'),
                "{path:?}"
            );
            packets += 1;
        }
        assert!(
            start.elapsed() < Duration::from_secs(1),
            "{path:?} took {:?}",
            start.elapsed()
        );
    }
    println!("{} files, {packets} packets", files.len());
}

#[test]
fn truncated_packets_do_not_panic() {
    for path in captures() {
        let (packets, _) = read(&path);
        for packet in packets.iter().take(10) {
            for end in (0..packet.bytes.len().min(400)).step_by(3) {
                let mut frame = packet.frame();
                frame.bytes = &packet.bytes[..end];
                decode(&frame);
            }
        }
    }
}

/// Names of protocols where tshark has others; empty for parts that are no protocol here.
const NAMES: [(&str, &str); 27] = [
    ("ethertype", ""),
    ("data", ""),
    ("ipv6", "ip6"),
    ("ipv6.routing", ""),
    ("icmpv6", "icmp6"),
    ("udpencap", ""),
    ("isakmp", "ike"),
    ("wg", "wireguard"),
    ("pgsql", "postgresql"),
    ("resp", "redis"),
    ("nbss", ""),
    ("mbtcp", ""),
    ("bvlc", ""),
    ("bacapp", ""),
    ("cflow", "netflow"),
    ("pppoes", "pppoe"),
    ("pn_rt", "profinet"),
    ("pn_dcp", ""),
    ("wlan_radio", ""),
    ("pcap_pktdata", ""),
    ("raw", ""),
    // Ours has a name of its own for the header behind the service access points.
    ("llc", "llc:snap"),
    ("pwethheuristic", "pw"),
    ("pwethnocw", ""),
    ("null", "null"),
    ("loop", "loop"),
    ("mptcp", ""),
];

/// Frames that tshark reads otherwise: what is read here, and why.
const OTHERWISE: [(&str, usize, &str, &str); 6] = [
    (
        "applications-tcp.pcap",
        5,
        "eth:ip:tcp:http",
        "a status line begins a response (RFC 9112, section 4); tshark waits for the rest",
    ),
    (
        "applications-tcp.pcap",
        7,
        "eth:ip:tcp:ssh",
        "the identification string (RFC 4253, section 4.2) is the same on each port",
    ),
    (
        "applications-tcp.pcap",
        17,
        "eth:ip:tcp:opcua",
        "a hello (OPC 10000-6, section 7.1.2); tshark waits for the rest",
    ),
    (
        "fragments.pcap",
        1,
        "eth:ip:icmp",
        "a first fragment has the header of its message (RFC 791, section 3.2)",
    ),
    (
        "link-layer.pcap",
        5,
        "eth:macsec",
        "a SecTAG (IEEE 802.1AE); tshark shows its number only",
    ),
    (
        "mpls.pcap",
        5,
        "eth:mpls:pw:eth:ip:icmp",
        "four zero bits begin a control word (RFC 4385, section 3)",
    ),
];

/// The small captures in tests/field are read as tshark reads them, frame by frame: protocols, addresses, VLANs and
/// server names.
#[test]
fn everyday_protocols_are_read_as_tshark_reads_them() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/field");
    let expected = std::fs::read_to_string(folder.join("expected.tsv")).unwrap();
    let names: BTreeMap<&str, &str> = NAMES.into_iter().collect();
    let mut files: BTreeMap<String, Vec<FilePacket>> = BTreeMap::new();
    let mut compared = 0;
    let mut wrong = Vec::new();
    for row in expected.lines() {
        let cells: Vec<&str> = row.split('\t').collect();
        let [
            file,
            number,
            stack,
            v4_from,
            v4_to,
            v6_from,
            v6_to,
            vlan,
            server,
        ] = cells[..]
        else {
            panic!("not nine cells: {row}");
        };
        let packets = (files.entry(file.to_owned())).or_insert_with(|| {
            let (packets, whole) = read(&folder.join(file));
            assert!(whole, "{file}");
            packets
        });
        let number: usize = number.parse().unwrap();
        let packet = &packets[number - 1];
        let decoded = decode(&packet.frame());
        let other = (OTHERWISE.iter()).find(|(of, at, _, _)| (*of, *at) == (file, number));
        let stack: Vec<&str> = match other {
            Some((_, _, stack, _)) => stack.split(':').collect(),
            None => (stack.split(':'))
                .flat_map(|name| names.get(name).unwrap_or(&name).split(':'))
                .filter(|name| !name.is_empty())
                .collect(),
        };
        let headers = decoded.network.into_iter();
        let headers: Vec<_> = headers
            .chain(decoded.inner.iter().map(|inner| inner.network))
            .collect();
        let of = |v6: bool, source: bool| {
            let all = headers
                .iter()
                .filter(|header| header.source.is_ipv6() == v6);
            let all = all.map(|header| {
                if source {
                    header.source
                } else {
                    header.destination
                }
            });
            let all: Vec<String> = all.map(|address| address.to_string()).collect();
            all.join(" ")
        };
        let vlans: Vec<String> = decoded.vlans.iter().map(u16::to_string).collect();
        let ours = (
            decoded.protocols.clone(),
            [
                of(false, true),
                of(false, false),
                of(true, true),
                of(true, false),
            ],
            vlans.join(" "),
            decoded.server_name.clone().unwrap_or_default(),
        );
        let mut theirs = [v4_from, v4_to, v6_from, v6_to].map(str::to_owned);
        if other.is_some_and(|(file, ..)| *file == "mpls.pcap") {
            // The addresses behind the control word.
            theirs = ours.1.clone();
        }
        let theirs = (stack, theirs, vlan.to_owned(), server.to_owned());
        if ours != theirs {
            wrong.push(format!(
                "{file} {number}: ours {ours:?}, expected {theirs:?}"
            ));
        }
        compared += 1;
    }
    assert!(compared >= 90, "{compared}");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// What is compared for each packet.
#[derive(Debug, PartialEq, Eq, Clone, Default)]
struct Facts {
    length: String,
    captured: String,
    link_source: String,
    link_destination: String,
    source: String,
    destination: String,
    source_port: String,
    destination_port: String,
    icmp: String,
    igmp: String,
    arp: String,
    /// Of each IP header, outermost first: source > destination, TTL or hop limit, bytes behind the header.
    headers: Vec<(String, String, String)>,
    /// Source and destination port of each transport header.
    ports: Vec<(String, String)>,
    vlans: String,
    labels: String,
    server_name: String,
    /// What follows each transport header, by the names of this project.
    applications: Vec<String>,
}

const FIELDS: [&str; 32] = [
    "frame.len",
    "frame.cap_len",
    "eth.src",
    "eth.dst",
    "ip.src",
    "ip.dst",
    "ipv6.src",
    "ipv6.dst",
    "udp.srcport",
    "udp.dstport",
    "tcp.srcport",
    "tcp.dstport",
    "icmp.type",
    "icmpv6.type",
    "igmp.type",
    "arp.opcode",
    "ip.proto",
    "frame.protocols",
    "ip.frag_offset",
    "sctp.srcport",
    "sctp.dstport",
    "wlan.sa",
    "wlan.da",
    "ip.ttl",
    "ip.len",
    "ip.hdr_len",
    "ipv6.hlim",
    "ipv6.plen",
    "vlan.id",
    "mpls.label",
    "tls.handshake.extensions_server_name",
    "ieee8021ad.id",
];

/// The first of several values: tunnels and quoted packets repeat a field.
fn first(text: &str) -> String {
    text.split(',').next().unwrap_or_default().to_owned()
}

fn tshark(path: &Path) -> Option<Vec<(Facts, String)>> {
    let mut command = Command::new(tools::find("tshark")?);
    command
        .arg("-n")
        .arg("-r")
        .arg(path)
        .args(["-T", "fields", "-E", "occurrence=a"]);
    // Reassembly would move what a fragment or segment holds into its last one.
    for option in [
        "ip.defragment:FALSE",
        "ipv6.defragment:FALSE",
        "tcp.desegment_tcp_streams:FALSE",
    ] {
        command.args(["-o", option]);
    }
    for field in FIELDS {
        command.args(["-e", field]);
    }
    let output = command.output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let rows = text.lines().map(|line| {
        let cells: Vec<&str> = line.split('\t').collect();
        let cell = |name: &str| {
            let at = FIELDS.iter().position(|field| *field == name).unwrap();
            cells.get(at).copied().unwrap_or_default()
        };
        let either = |one: &str, other: &str| match cell(one) {
            "" => cell(other).to_owned(),
            value => value.to_owned(),
        };
        let protocols = cell("frame.protocols").to_owned();
        // The outermost network header is the one that comes first in the chain.
        let chain: Vec<&str> = protocols.split(':').collect();
        let six = chain.iter().position(|p| *p == "ipv6");
        let four = chain.iter().position(|p| *p == "ip");
        let v6_first = match (six, four) {
            (Some(six), Some(four)) => six < four,
            (Some(_), None) => true,
            _ => false,
        };
        let (source, destination) = if v6_first {
            (cell("ipv6.src"), cell("ipv6.dst"))
        } else {
            (cell("ip.src"), cell("ip.dst"))
        };
        // The outermost transport header, unless it is only quoted or registered.
        let place = |name: &str| {
            chain
                .iter()
                .position(|part| *part == name)
                .unwrap_or(usize::MAX)
        };
        let quoting = place("icmp").min(place("icmpv6")).min(place("pim"));
        let transport = ["udp", "tcp", "sctp"]
            .into_iter()
            .min_by_key(|name| place(name))
            .unwrap();
        let (from, to) = match transport {
            _ if place(transport) > quoting => ("", ""),
            "udp" => (cell("udp.srcport"), cell("udp.dstport")),
            "tcp" => (cell("tcp.srcport"), cell("tcp.dstport")),
            _ => (cell("sctp.srcport"), cell("sctp.dstport")),
        };
        let icmp = if cell("icmp.type").is_empty() {
            cell("icmpv6.type")
        } else {
            cell("icmp.type")
        };
        let list = |name: &str| -> Vec<String> {
            let all = cell(name).split(',').filter(|one| !one.is_empty());
            all.map(str::to_owned).collect()
        };
        // What an error quotes or a router registers is no header of this packet.
        let own = &chain[..quoting
            .min(place("sflow").saturating_add(1))
            .min(chain.len())];
        let (mut four, mut six, mut inner_tags, mut outer_tags) = (0, 0, 0, 0);
        let mut vlans = Vec::new();
        let at = |name: &str, index: usize| list(name).get(index).cloned().unwrap_or_default();
        let mut headers = Vec::new();
        let mut ports = Vec::new();
        let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
        for name in own {
            match *name {
                "ieee8021ad" => {
                    vlans.push(at("ieee8021ad.id", outer_tags));
                    outer_tags += 1;
                }
                "vlan" => {
                    vlans.push(at("vlan.id", inner_tags));
                    inner_tags += 1;
                }
                // An impossible version or header length (RFC 791, section 3.1): nothing behind it can be found.
                "ip" if at("ip.src", four).is_empty() => break,
                "ip" => {
                    let ends = format!("{} > {}", at("ip.src", four), at("ip.dst", four));
                    let number = |name: &str| at(name, four).parse::<u32>().unwrap_or(0);
                    let behind = number("ip.len").saturating_sub(number("ip.hdr_len"));
                    headers.push((ends, at("ip.ttl", four), behind.to_string()));
                    four += 1;
                }
                "ipv6" => {
                    let ends = format!("{} > {}", at("ipv6.src", six), at("ipv6.dst", six));
                    headers.push((ends, at("ipv6.hlim", six), at("ipv6.plen", six)));
                    six += 1;
                }
                "udp" | "tcp" | "sctp" => {
                    let index = seen.entry(name).or_default();
                    let port = |side: &str| at(&format!("{name}.{side}port"), *index);
                    ports.push((port("src"), port("dst")));
                    *index += 1;
                }
                _ => {}
            }
        }
        let facts = Facts {
            headers,
            ports,
            vlans: vlans.join(" "),
            labels: list("mpls.label").join(" "),
            // Within the encrypted payload of QUIC (RFC 9001, section 5.2), which is not decrypted here.
            server_name: match chain.contains(&"quic") {
                true => String::new(),
                false => cell("tls.handshake.extensions_server_name").into(),
            },
            applications: applications(own),
            length: cell("frame.len").into(),
            captured: cell("frame.cap_len").into(),
            link_source: first(&either("eth.src", "wlan.sa")),
            link_destination: first(&either("eth.dst", "wlan.da")),
            source: first(source),
            destination: first(destination),
            source_port: first(from),
            destination_port: first(to),
            icmp: first(icmp),
            igmp: first(cell("igmp.type")),
            arp: first(cell("arp.opcode")),
        };
        (facts, protocols)
    });
    Some(rows.collect())
}

/// What follows each header of UDP and TCP, by the names of this project; empty if it is not known.
fn applications(chain: &[&str]) -> Vec<String> {
    let mut found = Vec::new();
    for (at, name) in chain.iter().enumerate() {
        if !matches!(*name, "udp" | "tcp") {
            continue;
        }
        let behind = chain[at + 1..].iter().map(|name| {
            let known = NAMES.iter().find(|(theirs, _)| theirs == name);
            known.map_or(*name, |(_, ours)| *ours)
        });
        let next = behind.into_iter().find(|name| !name.is_empty());
        found.push(format!("{name} {}", next.unwrap_or_default()));
    }
    found
}

fn words<T: ToString>(all: &[T]) -> String {
    let all: Vec<String> = all.iter().map(T::to_string).collect();
    all.join(" ")
}

fn ours(packet: &FilePacket, decoded: &Packet<'_>) -> Facts {
    use netsonde_core::wire::Meaning;
    use netsonde_core::wire::igmp::Igmp;
    let text = |value: Option<String>| value.unwrap_or_default();
    let mut facts = Facts {
        length: packet.original_length.to_string(),
        captured: packet.bytes.len().to_string(),
        link_source: text(decoded.link.map(|(from, _)| from.to_string())),
        link_destination: text(decoded.link.map(|(_, to)| to.to_string())),
        source: text(decoded.network.map(|network| network.source.to_string())),
        destination: text(
            decoded
                .network
                .map(|network| network.destination.to_string()),
        ),
        source_port: text(decoded.ports.map(|(from, _)| from.to_string())),
        destination_port: text(decoded.ports.map(|(_, to)| to.to_string())),
        vlans: words(&decoded.vlans),
        labels: words(&decoded.labels),
        server_name: text(decoded.server_name.clone()),
        ..Facts::default()
    };
    facts.applications = applications(&decoded.protocols);
    let outer = decoded.network.map(|network| (network, decoded.ports));
    let inner = decoded
        .inner
        .iter()
        .map(|inner| (inner.network, inner.ports));
    for (network, ports) in outer.into_iter().chain(inner) {
        facts.headers.push((
            format!("{} > {}", network.source, network.destination),
            network.ttl.to_string(),
            network.payload_length.to_string(),
        ));
        facts
            .ports
            .extend(ports.map(|(from, to)| (from.to_string(), to.to_string())));
    }
    if let Some(meaning) = decoded.meanings.first() {
        match meaning {
            Meaning::Icmp(icmp) => facts.icmp = icmp.kind.to_string(),
            Meaning::Nd(nd) => facts.icmp = nd.kind.to_string(),
            Meaning::Mld(mld) => {
                use netsonde_core::wire::mld::Mld;
                facts.icmp = match mld {
                    Mld::Query(_) => "130".into(),
                    Mld::Report { .. } => "131".into(),
                    Mld::Done { .. } => "132".into(),
                    Mld::ReportV2 { .. } => "143".into(),
                    Mld::Router(kind) => kind.to_string(),
                };
            }
            Meaning::Igmp(igmp) => {
                facts.igmp = match igmp {
                    Igmp::Query(_) => "0x11",
                    Igmp::Report { version: 1, .. } => "0x12",
                    Igmp::Report { .. } => "0x16",
                    Igmp::Leave { .. } => "0x17",
                    Igmp::ReportV3 { .. } => "0x22",
                    Igmp::RouterAdvertisement { .. } => "0x30",
                    Igmp::RouterSolicitation => "0x31",
                    Igmp::RouterTermination => "0x32",
                }
                .into();
            }
            Meaning::Arp(arp) => facts.arp = arp.operation.to_string(),
            Meaning::Pim(_) | Meaning::Identity(_) => {}
        }
    }
    facts
}

type Both = (PathBuf, Vec<FilePacket>, bool, Vec<(Facts, String)>);

/// What we and tshark read of each file; tshark takes its time, so two run at once.
fn both() -> Vec<Both> {
    let files = captures();
    let next = std::sync::atomic::AtomicUsize::new(0);
    let work = || {
        let mut done: Vec<Both> = Vec::new();
        while let Some(path) = files.get(next.fetch_add(1, std::sync::atomic::Ordering::Relaxed)) {
            let (mine, whole) = read(path);
            if mine
                .iter()
                .any(|packet| packet.link != netsonde_core::wire::LinkType::Other)
                && let Some(theirs) = tshark(path)
            {
                done.push((path.clone(), mine, whole, theirs));
            }
        }
        done
    };
    std::thread::scope(|scope| {
        let workers = [scope.spawn(work), scope.spawn(work)];
        workers
            .into_iter()
            .flat_map(|worker| worker.join().unwrap())
            .collect()
    })
}

/// Protocols that are decoded here: a packet whose outermost protocols are others is not compared.
const DECODED: [&str; 18] = [
    "eth",
    "ethertype",
    "ip",
    "ipv6",
    "udp",
    "tcp",
    "icmp",
    "icmpv6",
    "igmp",
    "arp",
    "sll",
    "raw",
    "null",
    "vlan",
    "ppp",
    "chdlc",
    "radiotap",
    "nflog",
];

#[test]
fn well_formed_files_agree_with_tshark() {
    if !tools::has("tshark") {
        tools::report(
            "well_formed_files_agree_with_tshark",
            "tshark is not installed",
        );
        return;
    }
    let exceptions: BTreeMap<&str, &str> = EXCEPTIONS.iter().copied().collect();
    let (mut files, mut agreeing, mut packets, mut excepted) = (0, 0, 0, 0);
    let mut wrong: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut needless = Vec::new();
    let mut pairs: BTreeMap<(String, String), Vec<String>> = BTreeMap::new();
    for (path, mine, whole, theirs) in both() {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if !whole || mine.len() != theirs.len() {
            continue; // Not well-formed as a file.
        }
        let mut compared = 0;
        for (number, (packet, (facts, protocols))) in mine.iter().zip(&theirs).enumerate() {
            let chain: Vec<&str> = protocols.split(':').collect();
            let known = chain.first().is_some_and(|first| DECODED.contains(first));
            if !known || protocols.contains("malformed") || protocols.contains("_ws.") {
                continue;
            }
            let decoded = decode(&packet.frame());
            if decoded
                .problem
                .as_ref()
                .is_some_and(|p| p.kind == netsonde_core::wire::ProblemKind::Truncated)
            {
                continue;
            }
            compared += 1;
            let mine = ours(packet, &decoded);
            let blank = |ours: &str, theirs: &mut String| {
                if ours.is_empty() {
                    theirs.clear();
                }
            };
            let mut facts = facts.clone();
            // Types of messages that are "unknown" here, and have no meaning, are not claimed.
            blank(&mine.icmp, &mut facts.icmp);
            blank(&mine.igmp, &mut facts.igmp);
            blank(&mine.arp, &mut facts.arp);
            // The length of a jumbogram is in an option (RFC 2675, section 2).
            for (ours, theirs) in mine.headers.iter().zip(&mut facts.headers) {
                if theirs.2 == "0" {
                    theirs.2.clone_from(&ours.2);
                }
            }
            let (of_us, of_them) = (mine.applications.clone(), facts.applications.clone());
            if of_us.len() == of_them.len() {
                for pair in of_us.into_iter().zip(of_them) {
                    let places = pairs.entry(pair).or_default();
                    places.push(format!("{name} {}", number + 1));
                }
            }
            facts.applications.clone_from(&mine.applications);
            if mine != facts {
                wrong.entry(name.clone()).or_default().push(format!(
                    "packet {}: ours {mine:?}\n      tshark {facts:?} ({protocols})",
                    number + 1
                ));
            }
        }
        if compared == 0 {
            continue;
        }
        files += 1;
        packets += compared;
        if !wrong.contains_key(&name) {
            agreeing += 1;
            if exceptions.contains_key(name.as_str()) {
                needless.push(name);
            }
        } else if exceptions.contains_key(name.as_str()) {
            excepted += 1;
            wrong.remove(&name);
        }
    }
    println!(
        "{agreeing} of {files} files agree ({packets} packets compared), {excepted} known exceptions"
    );
    let (mut same, mut apart) = (0, 0);
    for ((ours, theirs), places) in &pairs {
        for place in places {
            if ours == theirs {
                same += 1;
            } else if explained(ours, theirs, place) {
                apart += 1;
            } else {
                let what = format!("{place}: {ours:?}, tshark {theirs:?}");
                wrong.entry("applications".into()).or_default().push(what);
            }
        }
    }
    println!("{same} applications agree, {apart} differ as explained");
    for (name, differences) in &wrong {
        println!(
            "{name}: {} differences, first:\n   {}",
            differences.len(),
            differences[..differences.len().min(12)].join("\n   ")
        );
    }
    assert!(wrong.is_empty(), "{} files disagree", wrong.len());
    assert!(needless.is_empty(), "no longer exceptions: {needless:?}");
}

/// Applications over UDP that are not decoded here.
const NOT_DECODED: [&str; 8] = [
    "aodv",
    "babel",
    "lisp",
    "lwres",
    "mpls-echo",
    "olsr",
    "rx",
    "tsp",
];

/// Messages over UDP that tshark names by their port although they are not sound, or by others of their conversation.
const UNSOUND: &[(&str, &str, &str)] = &[
    (
        "rx_serviceid_oobr.pcap",
        "dhcp",
        "28 bytes: RFC 2131, section 2 has 236",
    ),
    (
        "ikev2-id-short.pcap",
        "ike",
        "the initiator's SPI is 0: RFC 7296, section 3.1 forbids it",
    ),
    (
        "isakmp-delete-segfault.pcap",
        "ike",
        "version 11: RFC 2408, section 3.1 has 1",
    ),
    (
        "ldp-infinite-loop.pcap",
        "ldp",
        "longer than the datagram: RFC 5036, section 3.1",
    ),
    (
        "ldp_tlv_print-oobr.pcap",
        "ldp",
        "longer than the datagram: RFC 5036, section 3.1",
    ),
    (
        "hoobr_ripng_print.pcap",
        "ripng",
        "version 48: RFC 2080, section 2.1 has 1",
    ),
    (
        "radius_rfc5447_invalid_length.pcap",
        "radius",
        "longer than the datagram: RFC 2865, section 3",
    ),
    (
        "upper.pcap",
        "dns",
        "8 bytes of a first fragment: RFC 1035, section 4.1.1 has 12",
    ),
    (
        "zephyr-oobr.pcap",
        "syslog",
        "a priority is a number: RFC 3164, section 4.1.1",
    ),
    (
        "tftp.pcap",
        "tftp",
        "data between ports that only the request before names: RFC 1350, section 4",
    ),
];

/// Returns whether a difference in what follows a transport header has a reason.
fn explained(ours: &str, theirs: &str, place: &str) -> bool {
    let (of_us, of_them) = (ours.split_once(' '), theirs.split_once(' '));
    let (Some((transport, ours)), Some((_, theirs))) = (of_us, of_them) else {
        return false;
    };
    match (transport, ours, theirs) {
        // A later segment: tshark remembers the connection. Or one of a message that spans several: it waits for the rest,
        // where the begin proves what it is (a marker of BGP, RFC 4271, section 4.1).
        // Or on a port that is not its own: the content is the same on each.
        ("tcp", "", _) | ("tcp", "bgp" | "http" | "opcua" | "ssh", "") => true,
        // The port that Linux uses without being asked (drivers/net/vxlan); tshark knows IANA's only.
        ("udp", "vxlan", "") => place.starts_with("vxlan_port_8472.pcap"),
        // tshark asks for the group that HSRP is sent to (RFC 2281, section 3) as well.
        ("udp", "hsrp", "") => true,
        ("udp", "", theirs) if NOT_DECODED.contains(&theirs) => true,
        ("udp", "", theirs) => UNSOUND
            .iter()
            .any(|(file, name, _)| place.starts_with(file) && *name == theirs),
        _ => false,
    }
}

/// Files in which tshark is known to read something else, and why.
const EXCEPTIONS: &[(&str, &str)] = &[
    (
        "arp-oobr.pcap",
        "one packet is ATM ARP, which tshark reads and we call unknown",
    ),
    (
        "bigtcp-ipv6-geneve-ipv6.pcap",
        "tshark stops at a UDP length of 0 in a jumbogram, we read the ports",
    ),
    ("bigtcp-ipv6-vxlan-ipv6.pcap", "as above"),
    ("bigtcp-ipv4-geneve-ipv4.pcap", "as above"),
    ("bigtcp-ipv4-geneve-ipv6.pcap", "as above"),
    ("bigtcp-ipv4-vxlan-ipv4.pcap", "as above"),
    (
        "mpls.pcap",
        "four zero bits begin a control word (RFC 4385, section 3)",
    ),
    (
        "erspan-type-ii-2.pcap",
        "tshark reads the frame inside ERSPAN, which we do not decode",
    ),
    (
        "ieee802.11_meshhdr-oobr.pcap",
        "a damaged mesh frame: tshark names no ends, we those of the frame",
    ),
    (
        "vxlan_port_8472.pcap",
        "we read VXLAN on the port that Linux uses, tshark does not",
    ),
];

/// What tshark calls the fields of IGMP, MLD and PIM.
const GROUP_FIELDS: [&str; 40] = [
    "frame.number",
    "_ws.malformed",
    "igmp.type",
    "igmp.max_resp",
    "igmp.maddr",
    "igmp.s",
    "igmp.qrv",
    "igmp.qqic",
    "igmp.saddr",
    "igmp.record_type",
    "igmp.num_grp_recs",
    "icmpv6.type",
    "icmpv6.mld.maximum_response_delay",
    "icmpv6.mld.maximum_response_code",
    "icmpv6.mld.multicast_address",
    "icmpv6.mld.flag.s",
    "icmpv6.mld.flag.qrv",
    "icmpv6.mld.qqi",
    "icmpv6.mld.source_address",
    "icmpv6.mldr.nb_mcast_records",
    "icmpv6.mldr.mar.record_type",
    "icmpv6.mldr.mar.multicast_address",
    "icmpv6.mldr.mar.source_address",
    "pim.type",
    "pim.holdtime",
    "pim.dr_priority",
    "pim.generation_id",
    "pim.propagation_delay",
    "pim.override_interval",
    "pim.upstream_neighbor",
    "pim.numgroups",
    "pim.join_ip",
    "pim.prune_ip",
    "pim.metric_pref",
    "pim.metric",
    "pim.group",
    "pim.upstream_neighbor_ip6",
    "pim.join_ip6",
    "pim.prune_ip6",
    "pim.group_ip6",
];

fn joined<T: ToString>(all: impl IntoIterator<Item = T>) -> String {
    let words: Vec<String> = all.into_iter().map(|one| one.to_string()).collect();
    words.join(",")
}

/// The fields of a message as tshark would print them; those that it has not are left out.
fn group_fields(meaning: &netsonde_core::wire::Meaning) -> Option<Vec<(&'static str, String)>> {
    use netsonde_core::wire::igmp::{Igmp, Record, RecordKind};
    use netsonde_core::wire::mld::Mld;
    use netsonde_core::wire::pim::{Encoded, Pim};
    use netsonde_core::wire::{Meaning, pim};
    let number = |kind: RecordKind| match kind {
        RecordKind::IsInclude => 1,
        RecordKind::IsExclude => 2,
        RecordKind::ToInclude => 3,
        RecordKind::ToExclude => 4,
        RecordKind::Allow => 5,
        RecordKind::Block => 6,
        RecordKind::Unknown(other) => other,
    };
    fn kinds<A>(records: &[Record<A>], number: impl Fn(RecordKind) -> u8) -> String {
        joined(records.iter().map(|record| number(record.kind)))
    }
    fn sources<A: ToString>(records: &[Record<A>]) -> String {
        joined(
            records
                .iter()
                .flat_map(|record| record.sources.iter().map(ToString::to_string)),
        )
    }
    fn all(encoded: impl IntoIterator<Item = Encoded>) -> String {
        joined(encoded.into_iter().filter_map(|one| one.address))
    }
    let text = |number: &dyn ToString| number.to_string();
    Some(match meaning {
        Meaning::Igmp(Igmp::Query(query)) => {
            let mut fields = vec![
                ("igmp.type", "0x11".into()),
                ("igmp.maddr", text(&query.group)),
                ("max response, ms", text(&query.max_response_ms)),
            ];
            if query.version == 3 {
                fields.extend([
                    ("igmp.s", if query.suppress { "1" } else { "0" }.into()),
                    ("igmp.qrv", text(&query.robustness)),
                    ("interval, s", text(&query.interval_s)),
                    ("igmp.saddr", joined(&query.sources)),
                ]);
            }
            fields
        }
        Meaning::Igmp(Igmp::Report { version, group }) => vec![
            (
                "igmp.type",
                if *version == 1 { "0x12" } else { "0x16" }.into(),
            ),
            ("igmp.maddr", text(group)),
        ],
        Meaning::Igmp(Igmp::Leave { group }) => {
            vec![("igmp.type", "0x17".into()), ("igmp.maddr", text(group))]
        }
        Meaning::Igmp(Igmp::ReportV3 { declared, records }) => vec![
            ("igmp.type", "0x22".into()),
            ("igmp.num_grp_recs", text(declared)),
            ("igmp.record_type", kinds(records, number)),
            (
                "igmp.maddr",
                joined(records.iter().map(|record| record.group)),
            ),
            ("igmp.saddr", sources(records)),
        ],
        Meaning::Mld(Mld::Query(query)) => {
            let mut fields = vec![
                ("icmpv6.type", "130".into()),
                ("icmpv6.mld.multicast_address", text(&query.group)),
                ("max response, ms", text(&query.max_response_ms)),
            ];
            if query.version == 2 {
                fields.extend([
                    (
                        "icmpv6.mld.flag.s",
                        if query.suppress { "1" } else { "0" }.into(),
                    ),
                    ("icmpv6.mld.flag.qrv", text(&query.robustness)),
                    ("interval, s", text(&query.interval_s)),
                    ("icmpv6.mld.source_address", joined(&query.sources)),
                ]);
            }
            fields
        }
        Meaning::Mld(Mld::Report { group }) => vec![
            ("icmpv6.type", "131".into()),
            ("icmpv6.mld.multicast_address", text(group)),
        ],
        Meaning::Mld(Mld::Done { group }) => vec![
            ("icmpv6.type", "132".into()),
            ("icmpv6.mld.multicast_address", text(group)),
        ],
        Meaning::Mld(Mld::ReportV2 { declared, records }) => vec![
            ("icmpv6.type", "143".into()),
            ("icmpv6.mldr.nb_mcast_records", text(declared)),
            ("icmpv6.mldr.mar.record_type", kinds(records, number)),
            (
                "icmpv6.mldr.mar.multicast_address",
                joined(records.iter().map(|record| record.group)),
            ),
            ("icmpv6.mldr.mar.source_address", sources(records)),
        ],
        Meaning::Pim(Pim::Hello(hello)) => vec![
            ("pim.type", "0".into()),
            ("pim.holdtime", joined(hello.hold_s)),
            ("pim.dr_priority", joined(hello.dr_priority)),
            ("pim.generation_id", joined(hello.generation_id)),
            (
                "pim.propagation_delay",
                joined(hello.lan_prune_delay.map(|(_, delay, _)| delay)),
            ),
            (
                "pim.override_interval",
                joined(hello.lan_prune_delay.map(|(.., interval)| interval)),
            ),
        ],
        Meaning::Pim(Pim::JoinPrune {
            upstream,
            hold_s,
            groups,
        }) => {
            let joins = |of: fn(&pim::JoinPruneGroup) -> &Vec<Encoded>| {
                all(groups.iter().flat_map(|group| of(group).iter().copied()))
            };
            vec![
                ("pim.type", "3".into()),
                ("pim.upstream_neighbor", joined(*upstream)),
                ("pim.holdtime", text(hold_s)),
                ("pim.numgroups", text(&groups.len())),
                ("pim.join_ip", joins(|group| &group.joins)),
                ("pim.prune_ip", joins(|group| &group.prunes)),
            ]
        }
        Meaning::Pim(Pim::RegisterStop { group, .. }) => {
            vec![("pim.type", "2".into()), ("group", all([*group]))]
        }
        Meaning::Pim(Pim::Assert {
            group,
            preference,
            metric,
            ..
        }) => vec![
            ("pim.type", "5".into()),
            ("group", all([*group])),
            ("pim.metric_pref", text(preference)),
            ("pim.metric", text(metric)),
        ],
        Meaning::Pim(Pim::Register { .. }) => vec![("pim.type", "1".into())],
        _ => return None,
    })
}

/// The floating-point form of codes: in bits of the mantissa (RFC 3376, section 4.1.1; RFC 3810, 5.1.3).
fn float(code: u64, top: u64, mantissa_bits: u32) -> u64 {
    if code < top {
        return code;
    }
    let mantissa = code & ((1 << mantissa_bits) - 1) | 1 << mantissa_bits;
    mantissa << ((code >> mantissa_bits & 7) + 3)
}

#[test]
fn group_management_agrees_with_tshark_field_by_field() {
    let Some(tshark) = tools::find("tshark") else {
        return tools::report(
            "group_management_agrees_with_tshark_field_by_field",
            "tshark is not installed",
        );
    };
    let (mut messages, mut fields) = (0, 0);
    let mut kinds: BTreeMap<String, usize> = BTreeMap::new();
    let mut differ = vec![];
    for path in captures() {
        let (packets, _) = read(&path);
        let concerns = |packet: &FilePacket| {
            decode(&packet.frame())
                .meanings
                .iter()
                .any(|meaning| group_fields(meaning).is_some())
        };
        if !packets.iter().any(concerns) {
            continue;
        }
        let mut command = Command::new(&tshark);
        command.arg("-n").arg("-r").arg(&path);
        command.args(["-Y", "igmp or pim or icmpv6.type in {130,131,132,143}"]);
        command.args(["-T", "fields", "-E", "occurrence=a"]);
        for field in GROUP_FIELDS {
            command.args(["-e", field]);
        }
        let output = command.output().unwrap();
        for line in String::from_utf8_lossy(&output.stdout).lines() {
            let cells: Vec<&str> = line.split('\t').collect();
            let cell = |name: &str| {
                let at = GROUP_FIELDS
                    .iter()
                    .position(|field| *field == name)
                    .unwrap();
                cells.get(at).copied().unwrap_or_default().to_owned()
            };
            let frame: usize = cell("frame.number").parse().unwrap();
            let packet = &packets[frame - 1];
            let decoded = decode(&packet.frame());
            // What one of the two finds malformed is compared elsewhere.
            if !cell("_ws.malformed").is_empty() || decoded.problem.is_some() {
                continue;
            }
            let mine = decoded.meanings.iter().find_map(group_fields);
            let Some(mine) = mine else { continue };
            let either = |name: &str| match GROUP_FIELDS.contains(&format!("{name}_ip6").as_str()) {
                true if cell(name).is_empty() => cell(&format!("{name}_ip6")),
                false if cell(name).is_empty() && name.ends_with("_ip") => {
                    cell(&format!("{name}6"))
                }
                _ => cell(name),
            };
            let theirs = |name: &str| -> String {
                let number = |name: &str| first(&cell(name)).parse::<u64>().unwrap_or(0);
                match name {
                    "max response, ms" if !cell("igmp.type").is_empty() => {
                        let is_long = !cell("igmp.qqic").is_empty();
                        let code = number("igmp.max_resp");
                        // Version 1 has none: ten seconds (RFC 3376, section 7.2.1).
                        match (is_long, code) {
                            (true, code) => (float(code, 128, 4) * 100).to_string(),
                            (false, 0) => "10000".into(),
                            (false, code) => (code * 100).to_string(),
                        }
                    }
                    "max response, ms" if cell("icmpv6.mld.qqi").is_empty() => {
                        number("icmpv6.mld.maximum_response_delay").to_string()
                    }
                    "max response, ms" => {
                        float(number("icmpv6.mld.maximum_response_code"), 32_768, 12).to_string()
                    }
                    "interval, s" if !cell("igmp.type").is_empty() => {
                        float(number("igmp.qqic"), 128, 4).to_string()
                    }
                    "interval, s" => float(number("icmpv6.mld.qqi"), 128, 4).to_string(),
                    "icmpv6.type" | "pim.type" | "pim.numgroups" => first(&cell(name)),
                    // tshark names the group twice.
                    "group" => first(&either("pim.group")),
                    name if name.starts_with("pim.") => either(name),
                    "igmp.s" | "icmpv6.mld.flag.s" => match cell(name).as_str() {
                        "True" | "1" => "1".into(),
                        _ => "0".into(),
                    },
                    // A register quotes a packet that may be group management itself.
                    _ => cell(name),
                }
            };
            messages += 1;
            *kinds
                .entry(format!("{}={}", mine[0].0, mine[0].1))
                .or_default() += 1;
            for (name, value) in &mine {
                fields += 1;
                let place = format!("{} frame {frame}: {name}", path.display());
                if *value != theirs(name) {
                    differ.push(format!("{place}: {value} and {}", theirs(name)));
                }
            }
        }
    }
    assert!(differ.is_empty(), "{}", differ.join("\n"));
    println!("{messages} messages, {fields} fields agree: {kinds:?}");
}
