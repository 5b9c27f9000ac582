//! The decoders, by layer. No input makes one panic, and no text that it writes has a control character.

use netsonde::client::files::capture_file::FilePacket;
use netsonde::client::render::packet_line::{Lines, json};
use netsonde::client::render::style::{Color, Style};
use netsonde_core::multicast::Trackers;
use netsonde_core::neighbors::Neighbors;
use netsonde_core::protocol::capture::Selection;
use netsonde_core::recorder::select::Select;
use netsonde_core::recorder::{Record, Store, headers};
use netsonde_core::wire::glance::glance;
use netsonde_core::wire::{Checksum, Direction, LinkType, decode, details};

/// Maximum length of a frame, in bytes: as long as capture files have them.
const FRAME_MAX: usize = 1 << 16;

/// A frame of any link type.
pub fn link(data: &[u8]) {
    let [number, cut, bytes @ ..] = data else {
        return;
    };
    let packet = packet(LinkType::from_u8(1 + number % 15), bytes, *cut);
    check(&packet);
    // The engine's trackers decode what is theirs.
    let frame = packet.frame();
    let seen = glance(frame.link, frame.bytes);
    Trackers::default().observe_frame(&frame, &seen, 1, 1, false);
    Neighbors::default().observe(&frame, &seen, 1, 1, false);
}

/// A message of any IP protocol behind a sound header.
pub fn upper(data: &[u8]) {
    let [protocol, version, cut, message @ ..] = data else {
        return;
    };
    let message = &message[..message.len().min(FRAME_MAX - 1000)];
    check(&packet(
        LinkType::RawIp,
        &ip(*version & 1 == 1, *protocol, message),
        *cut,
    ));
}

/// A payload of UDP or TCP between any ports.
pub fn application(data: &[u8]) {
    let [kind, high, low, cut, payload @ ..] = data else {
        return;
    };
    let payload = &payload[..payload.len().min(FRAME_MAX - 1000)];
    let (mut from, mut to) = ([0x9c, 0x40], [*high, *low]);
    if kind & 2 == 2 {
        (from, to) = (to, from);
    }
    let mut message = [from, to].concat();
    let protocol = if kind & 1 == 1 {
        message.extend([0, 0, 0, 1, 0, 0, 0, 1, 0x50, 0x18, 0xff, 0xff, 0, 0, 0, 0]);
        6
    } else {
        message.extend((8 + payload.len() as u16).to_be_bytes());
        message.extend([0, 0]);
        17
    };
    message.extend_from_slice(payload);
    check(&packet(
        LinkType::RawIp,
        &ip(kind & 4 == 4, protocol, &message),
        *cut,
    ));
}

fn ip(is_six: bool, protocol: u8, message: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(40 + message.len());
    if is_six {
        bytes.extend([0x60, 0, 0, 0]);
        bytes.extend((message.len() as u16).to_be_bytes());
        bytes.extend([protocol, 64]);
        bytes.extend([0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
        bytes.extend([0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
    } else {
        bytes.extend([0x45, 0]);
        bytes.extend((20 + message.len() as u16).to_be_bytes());
        bytes.extend([
            0, 1, 0, 0, 64, protocol, 0, 0, 192, 0, 2, 1, 198, 51, 100, 7,
        ]);
    }
    bytes.extend_from_slice(message);
    bytes
}

/// A packet of a file. `cut` says whether bytes were left out at its end, and the state of its checksum.
fn packet(link: LinkType, bytes: &[u8], cut: u8) -> FilePacket {
    FilePacket {
        time_ns: Some(1_700_000_000_000_000_000),
        link,
        link_number: link.to_linktype().into(),
        interface: None,
        direction: Direction::ToUs,
        checksum: match cut >> 6 {
            0 => Checksum::Unknown,
            1 => Checksum::NotReady,
            2 => Checksum::Valid,
            _ => Checksum::Bad,
        },
        original_length: bytes.len() as u32 + u32::from(cut & 0x3f),
        bytes: bytes.to_vec(),
        comments: Vec::new(),
        dropped: 0,
        stands_for: 1,
    }
}

/// Decodes a packet in all ways that commands do, and checks what is printed.
pub(crate) fn check(packet: &FilePacket) {
    thread_local! {
        static LINES: Lines = Lines::new(Style::new(Color::Never), true, false);
        static SELECT: Select = select();
    }
    let frame = packet.frame();
    let decoded = decode(&frame);
    printable(&decoded.summary);
    printable(&details::details(&decoded));
    assert!(decoded.protocols.iter().all(|name| !name.is_empty()));
    for (_, at) in decoded.network_headers() {
        assert!(at <= frame.bytes.len());
    }
    printable(&LINES.with(|lines| lines.text(packet)));
    let object = json(packet);
    strings(&object);
    let seen = glance(frame.link, frame.bytes);
    let kept = headers::length(frame.link, frame.bytes, &seen);
    assert!(kept <= frame.bytes.len());
    SELECT.with(|select| select.wants(&record(packet, &frame.bytes[..kept])));
    SELECT.with(|select| select.wants(&record(packet, frame.bytes)));
}

fn record<'a>(packet: &FilePacket, bytes: &'a [u8]) -> Record<'a> {
    Record {
        number: 0,
        store: Store::Bulk,
        time_ns: 1,
        original_length: packet.original_length,
        interface: (0, 0),
        link: packet.link,
        direction: packet.direction,
        checksum: packet.checksum,
        stands_for: 1,
        bytes,
    }
}

/// Options that nothing matches at once, so that tunnels are looked into.
fn select() -> Select {
    let selection = Selection {
        hosts: Some(vec!["203.0.113.9".into(), "2001:db8:9::/64".into()]),
        groups: None,
        inner: Some(true),
        ..Selection::default()
    };
    Select::new(&selection).expect("sound options")
}

fn printable(text: &str) {
    assert!(!text.contains(char::is_control), "{text:?}");
}

/// All texts of a JSON value.
fn strings(value: &serde_json::Value) {
    match value {
        serde_json::Value::String(text) => printable(text),
        serde_json::Value::Array(all) => all.iter().for_each(strings),
        serde_json::Value::Object(all) => all.values().for_each(strings),
        _ => {}
    }
}
