//! Filters select what `tcpdump -r` selects: a list of expressions over a file of Ethernet frames, made of the captures
//! in tests/field, and over files of other link types.
#![allow(missing_docs, clippy::unwrap_used)]

#[path = "support/tools.rs"]
mod tools;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use netsonde::client::files::capture_file::{CaptureFile, FilePacket, Item};
use netsonde::client::filter::Filter;

/// Expressions that select the same packets.
const SAME: &[&str] = &[
    "ip",
    "ip6",
    "arp",
    "tcp",
    "udp",
    "icmp",
    "sctp",
    "igmp",
    "pim",
    "vrrp",
    "esp",
    "ah",
    "not ip",
    "not ip6",
    "not tcp",
    "not udp",
    "ip and not tcp",
    "ip or ip6",
    "tcp or udp or icmp",
    "host 192.0.2.1",
    "host 198.51.100.7",
    "not host 192.0.2.1",
    "src host 192.0.2.1",
    "dst host 192.0.2.1",
    "src host 198.51.100.7 or dst host 224.0.0.18",
    "host 2001:db8::1",
    "ip6 host 2001:db8:1::7",
    "net 192.0.2.0/24",
    "net 198.51.100.0/24",
    "src net 192.0.2.0/24 and dst net 198.51.100.0/24",
    "dst net 224.0.0.0/4",
    "ip6 net 2001:db8::/32",
    "net 192.0.2.0 mask 255.255.255.0",
    "port 53",
    "port 443",
    "tcp port 443",
    "udp port 443",
    "src port 443",
    "dst port 443",
    "port 80 or port 443",
    "portrange 1-1023",
    "portrange 40000-41000",
    "tcp portrange 41000-41005",
    "udp src portrange 40000-40010",
    "not port 53",
    "udp and not port 53",
    "port domain",
    "tcp port http",
    "udp port snmp",
    "ether host 02:00:00:00:00:01",
    "ether src 02:00:00:00:00:01",
    "ether dst ff:ff:ff:ff:ff:ff",
    "ether broadcast",
    "ether multicast",
    "broadcast",
    "multicast",
    "ip multicast",
    "ip6 multicast",
    "ip broadcast",
    "not ether multicast",
    "ether proto 0x0800",
    "ether proto 0x88f7",
    "ether proto \\arp",
    "ether[12:2] = 0x888e",
    "ether[0] & 1 = 1",
    "ip proto 47",
    "ip proto 4",
    "ip proto 41",
    "ip proto \\udp",
    "ip6 proto 58",
    "proto 47",
    "ip protochain 17",
    "ip protochain 1",
    "ip6 protochain 58",
    "ip6 protochain 17",
    "ip6 protochain 43",
    "ip protochain 51",
    "ip[8] < 64",
    "ip[9] = 17",
    "ip[6:2] & 0x1fff != 0",
    "ip[0] & 0xf > 5",
    "ip6[6] = 43",
    "ip6[7] = 64",
    "tcp[tcpflags] & tcp-syn != 0",
    "tcp[tcpflags] & (tcp-syn|tcp-fin) != 0",
    "tcp[13] & 8 != 0",
    "tcp[12] >> 4 = 5",
    "udp[4:2] > 100",
    "udp[8] = 0x30",
    "icmp[icmptype] = icmp-echo",
    "icmp[0] = 8",
    "icmp[icmptype] = icmp-echoreply",
    "less 64",
    "less 100",
    "greater 100",
    "greater 1000",
    "len = 62",
    "len > 60 and len < 90",
    "ip[2:2] = 44",
    "ip[2:2] > 1000",
    "(tcp or udp) and port 443",
    "tcp and (port 80 or port 8080)",
    "not (tcp or udp)",
    "ip and (udp or tcp) and not port 443",
    "src 192.0.2.1 and not dst port 443",
    "udp[0:2] = 4500 or udp[2:2] = 4500",
    "iso",
    "isis",
    "stp",
    "ip[8] = 64 and ip[9] = 6",
    "(ip[12:4] = 0xc0000201)",
    "tcp src port 41000 or 41001",
    "tcp[2:2] = 443",
    "ip6[40] = 128",
    "mpls",
    "pppoed",
    "pppoes",
    "geneve",
];

/// Expressions that select others, and why: netsonde's filters see frames without their VLAN tags.
const OTHERS: &[(&str, &str)] = &[
    (
        "vlan",
        "asks for a tag, and leaves the offsets behind it alone: as many packets, but see the next",
    ),
    (
        "vlan and ip",
        "netsonde sees IP behind each tag, also with MPLS or PPPoE between",
    ),
];

const LINK_TYPES: &[&str] = &[
    "linktype-ppp",
    "linktype-chdlc",
    "linktype-null",
    "linktype-loop",
    "linktype-raw6",
    "linktype-ipnet-raw4",
];

/// Expressions for link types that have no Ethernet addresses.
const ANY_LINK: &[&str] = &[
    "ip",
    "ip6",
    "icmp",
    "tcp",
    "not ip",
    "host 192.0.2.1",
    "host 2001:db8::1",
    "src net 192.0.2.0/24",
    "ip[8] = 64",
    "icmp[icmptype] = icmp-echo",
    "less 50",
    "greater 60",
    "ip protochain 1",
];

fn field(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/field");
    folder.join(format!("{name}.pcap"))
}

fn read(path: &Path) -> Vec<FilePacket> {
    let mut file = CaptureFile::new(std::fs::File::open(path).unwrap()).unwrap();
    let mut packets = Vec::new();
    while let Some(item) = file.next().unwrap() {
        if let Item::Packet(packet) = item {
            packets.push(packet);
        }
    }
    packets
}

/// Writes packets as pcap, each with its number as its time.
fn write(path: &Path, link_number: u32, packets: &[FilePacket]) {
    let mut bytes = vec![
        0xd4, 0xc3, 0xb2, 0xa1, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4, 0,
    ];
    bytes.extend_from_slice(&link_number.to_le_bytes());
    for (number, packet) in packets.iter().enumerate() {
        for word in [
            number as u32,
            0,
            packet.bytes.len() as u32,
            packet.original_length,
        ] {
            bytes.extend_from_slice(&word.to_le_bytes());
        }
        bytes.extend_from_slice(&packet.bytes);
    }
    std::fs::write(path, bytes).unwrap();
}

/// The numbers of the packets that tcpdump selects, or its complaint.
fn theirs(path: &Path, expression: &str) -> Result<BTreeSet<u64>, String> {
    let mut command = Command::new(tools::find("tcpdump").unwrap());
    let output = command
        .arg("-r")
        .arg(path)
        .args(["-n", "-w", "-"])
        .arg(expression)
        .output()
        .unwrap();
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned());
    }
    let mut times = BTreeSet::new();
    let mut file = CaptureFile::new(&output.stdout[..]).unwrap();
    while let Some(item) = file.next().unwrap() {
        if let Item::Packet(FilePacket { time_ns, .. }) = item {
            times.insert((time_ns.unwrap() / 1_000_000_000) as u64);
        }
    }
    Ok(times)
}

fn ours(packets: &[FilePacket], expression: &str) -> BTreeSet<u64> {
    let filter = Filter::new(expression).unwrap();
    // An expression that does not compile for a link type selects nothing there.
    let Some(local) = filter.local(packets[0].link_number).unwrap() else {
        return BTreeSet::new();
    };
    let numbered = packets.iter().enumerate();
    let chosen = numbered.filter(|(_, packet)| local.matches(&packet.frame(), packet.direction));
    chosen.map(|(number, _)| number as u64).collect()
}

fn is_installed() -> bool {
    let all = tools::has("tcpdump") && Filter::new("ip").is_ok();
    if !all {
        tools::report("filters", "tcpdump or libpcap is not installed");
    }
    all
}

/// Frames of everyday protocols, frames cut short, and frames of the smallest length.
fn ethernet() -> Vec<FilePacket> {
    let files = [
        "applications-tcp",
        "applications-udp",
        "fragments",
        "link-layer",
        "mpls",
        "pppoe",
        "tunnels",
        "ipv6-routing-header",
    ];
    let mut packets: Vec<FilePacket> = files.iter().flat_map(|name| read(&field(name))).collect();
    let mut cut = Vec::new();
    for packet in packets.iter().step_by(3) {
        for length in [10, 14, 20, 34, 40, 54] {
            let mut shorter = packet.clone();
            shorter.bytes.truncate(length);
            cut.push(shorter);
        }
    }
    packets.extend(cut);
    packets
}

#[test]
fn filters_select_what_tcpdump_selects() {
    if !is_installed() {
        return;
    }
    // Tags are the difference, and stand in a test of their own.
    let packets: Vec<FilePacket> = ethernet().into_iter().filter(has_no_tag).collect();
    let selected = compare(&packets);
    assert!(
        SAME.len() >= 100 && selected > 1000,
        "{} {selected}",
        SAME.len()
    );
}

fn has_no_tag(packet: &FilePacket) -> bool {
    !matches!(
        packet.bytes.get(12..14),
        Some([0x81, 0] | [0x88, 0xa8] | [0x91, 0])
    )
}

/// Compares the selection of each expression. Returns the number of packets selected in all.
fn compare(packets: &[FilePacket]) -> usize {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("all.pcap");
    write(&path, 1, packets);
    let mut wrong = Vec::new();
    let mut selected = 0;
    for expression in SAME {
        let theirs = match theirs(&path, expression) {
            Ok(theirs) => theirs,
            Err(why) => {
                wrong.push(format!("{expression}: {why}"));
                continue;
            }
        };
        let ours = ours(packets, expression);
        selected += ours.len();
        if theirs != ours {
            let missing: Vec<_> = theirs.difference(&ours).take(9).collect();
            let more: Vec<_> = ours.difference(&theirs).take(9).collect();
            wrong.push(format!("{expression}: without {missing:?}, with {more:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    selected
}

/// Ethernet frames of the files of others, next to this repository or in the folder `NETSONDE_CAPTURES`.
fn public() -> Vec<FilePacket> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folder = std::env::var_os("NETSONDE_CAPTURES");
    let folder = folder.map_or_else(|| here.join("../shared/captures"), PathBuf::from);
    let mut paths: Vec<PathBuf> = std::fs::read_dir(&folder)
        .map(|entries| entries.map(|entry| entry.unwrap().path()).collect())
        .unwrap_or_default();
    paths.sort();
    let mut packets = Vec::new();
    for path in &paths {
        let Ok(mut file) = CaptureFile::new(std::fs::File::open(path).unwrap()) else {
            continue;
        };
        // A damaged file has packets up to the damage.
        while let Ok(Some(item)) = file.next() {
            if let Item::Packet(packet) = item
                && packet.link_number == 1
                && packet.bytes.len() <= 262_144
            {
                packets.push(packet);
            }
        }
    }
    if packets.is_empty() {
        let why = format!("there are no captures in {}", folder.display());
        tools::report("filters over a mixed corpus", &why);
    }
    packets
}

#[test]
fn filters_select_what_tcpdump_selects_in_a_mixed_corpus() {
    if !is_installed() {
        return;
    }
    let packets: Vec<FilePacket> = public().into_iter().filter(has_no_tag).collect();
    if packets.is_empty() {
        return;
    }
    let selected = compare(&packets);
    println!(
        "{} expressions over {} packets, {selected} selected",
        SAME.len(),
        packets.len()
    );
}

#[test]
fn other_link_types_are_filtered_as_tcpdump_does() {
    if !is_installed() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let mut wrong = Vec::new();
    for name in LINK_TYPES {
        let mut packets = read(&field(name));
        if *name == "linktype-null" {
            // Its header is in the byte order that the file is not in. It is decoded, and so selected; libpcap
            // compares the header.
            packets.remove(1);
        }
        let path = directory.path().join(name);
        write(&path, packets[0].link_number, &packets);
        for expression in ANY_LINK {
            match theirs(&path, expression) {
                Ok(theirs) => {
                    let ours = ours(&packets, expression);
                    if theirs != ours {
                        wrong.push(format!("{name}, {expression}: {theirs:?}, ours {ours:?}"));
                    }
                }
                // What tcpdump refuses with these words selects nothing here.
                Err(why) if why.contains("rejects all packets") => {
                    let ours = ours(&packets, expression);
                    if !ours.is_empty() {
                        wrong.push(format!("{name}, {expression}: none, ours {ours:?}"));
                    }
                }
                Err(why) => wrong.push(format!("{name}, {expression}: tcpdump says {why}")),
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Double tags, and what netsonde does differently with them on purpose.
#[test]
fn tags_are_asked_for_by_place() {
    if !is_installed() {
        return;
    }
    let plain = read(&field("applications-udp")).remove(0);
    let with = |tags: &[[u8; 4]]| {
        let mut packet = plain.clone();
        let tags = tags.concat();
        packet.original_length += tags.len() as u32;
        packet.bytes.splice(12..12, tags);
        packet
    };
    let packets = [
        with(&[]),
        with(&[[0x81, 0, 0, 30]]),
        with(&[[0x88, 0xa8, 0, 30], [0x81, 0, 0, 100]]),
        with(&[[0x81, 0, 0, 100]]),
    ];
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("tags.pcap");
    write(&path, 1, &packets);
    for expression in [
        "vlan",
        "not vlan",
        "vlan 30",
        "vlan and vlan",
        "vlan 30 and vlan 100",
        "vlan 100 and vlan 30",
        "vlan 30 and vlan 100 and udp port 443",
        "less 1240",
    ] {
        assert_eq!(
            ours(&packets, expression),
            theirs(&path, expression).unwrap(),
            "{expression}"
        );
    }
    assert_eq!(ours(&packets, "vlan and udp"), BTreeSet::from([1, 2, 3]));
    assert_eq!(
        theirs(&path, "vlan and udp").unwrap(),
        BTreeSet::from([1, 3])
    );
    // Any of the first two tags, and what is behind a tag without asking for it.
    assert_eq!(ours(&packets, "vlan 100"), BTreeSet::from([2, 3]));
    assert_eq!(theirs(&path, "vlan 100").unwrap(), BTreeSet::from([3]));
    assert_eq!(ours(&packets, "udp").len(), 4);
    assert_eq!(theirs(&path, "udp").unwrap().len(), 1);
    assert!(
        Filter::new("vlan and vlan and vlan")
            .unwrap()
            .check()
            .is_err()
    );
}

#[test]
fn direction_is_a_word_of_any_expression() {
    if !is_installed() {
        return;
    }
    use netsonde_core::wire::Direction;
    let mut packets = read(&field("applications-udp"));
    for (number, packet) in packets.iter_mut().enumerate() {
        packet.direction = [Direction::ToUs, Direction::Outbound, Direction::Unknown][number % 3];
    }
    let count = |expression: &str| ours(&packets, expression).len();
    let (all, port) = (packets.len(), count("udp port 443"));
    assert_eq!(count("inbound") + count("outbound"), all - all / 3);
    assert_eq!((port, count("inbound and udp port 443")), (1, 1));
    assert_eq!(count("outbound and udp port 443"), 0);
    assert_eq!(count("not (inbound or outbound)"), all / 3);
    for (expression, why) in OTHERS {
        assert!(!why.is_empty() && Filter::new(expression).is_ok());
    }
}
