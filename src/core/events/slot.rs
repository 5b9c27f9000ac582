//! PURE. An event as stored in the record: numbers, then four texts without separators, each cut to its
//! maximum. Memory that does not decode yields no event, and never a panic.

use bytemuck::{Pod, Zeroable, bytes_of, pod_read_unaligned};

use super::{Event, Kind, PacketQuery, Severity};
use crate::recorder::layout::{EVENT_BYTES, TIME_MAX};

/// Size of an encoded event, without the eight bytes that the record adds.
pub const SLOT_BYTES: usize = EVENT_BYTES - 8;

/// Maximum bytes of each text: an interface name (IFNAMSIZ), two addresses, a filter of two addresses with
/// their keywords, a sentence of two lines.
const MAX_TEXT_BYTES: [usize; 4] = [15, 64, 96, 152];

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Header {
    number: u64,
    time_ns: u64,
    from_ns: u64,
    to_ns: u64,
    kind: u16,
    severity: u8,
    lengths: [u8; 4],
    reserved: u8,
}

const HEADER_BYTES: usize = size_of::<Header>();
const _: () = assert!(
    HEADER_BYTES + MAX_TEXT_BYTES[0] + MAX_TEXT_BYTES[1] + MAX_TEXT_BYTES[2] + MAX_TEXT_BYTES[3]
        <= SLOT_BYTES
);
const _: () = assert!(super::Category::COUNT == crate::recorder::layout::EVENT_CATEGORIES);

/// Returns the longest start of `text` that ends at a character boundary and has at most `max` bytes.
fn truncate(text: &str, max: usize) -> &str {
    let mut end = text.len().min(max);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

/// Encodes an event. Texts that are too long are cut; a filter that is too long is left out.
pub fn encode(event: &Event) -> [u8; SLOT_BYTES] {
    let no_packets = PacketQuery {
        from_ns: 0,
        to_ns: 0,
        filter: String::new(),
    };
    let packets = event.packets.as_ref().unwrap_or(&no_packets);
    let texts = [
        truncate(&event.interface, MAX_TEXT_BYTES[0]),
        truncate(&event.subject, MAX_TEXT_BYTES[1]),
        // Half a filter would match other packets.
        if packets.filter.len() <= MAX_TEXT_BYTES[2] {
            &packets.filter
        } else {
            ""
        },
        truncate(&event.text, MAX_TEXT_BYTES[3]),
    ];
    let header = Header {
        number: event.number,
        time_ns: event.time_ns,
        from_ns: packets.from_ns,
        to_ns: packets.to_ns,
        kind: event.kind as u16,
        severity: event.severity as u8,
        lengths: texts.map(|text| text.len() as u8),
        reserved: 0,
    };
    let mut slot = [0; SLOT_BYTES];
    slot[..HEADER_BYTES].copy_from_slice(bytes_of(&header));
    let mut at = HEADER_BYTES;
    for text in texts {
        slot[at..at + text.len()].copy_from_slice(text.as_bytes());
        at += text.len();
    }
    slot
}

/// Decodes an event. `None` if the bytes are not one.
pub fn decode(slot: &[u8]) -> Option<Event> {
    let header: Header = pod_read_unaligned(slot.get(..HEADER_BYTES)?);
    if [header.time_ns, header.from_ns, header.to_ns]
        .into_iter()
        .any(|time| time > TIME_MAX)
    {
        return None;
    }
    let mut at = HEADER_BYTES;
    let mut next = |length: u8| -> Option<String> {
        let bytes = slot.get(at..at + usize::from(length))?;
        at += bytes.len();
        Some(std::str::from_utf8(bytes).ok()?.to_owned())
    };
    let [interface, subject, filter, text] = header.lengths.map(&mut next);
    Some(Event {
        number: header.number,
        time_ns: header.time_ns,
        kind: Kind::from_number(header.kind)?,
        severity: Severity::ALL
            .into_iter()
            .find(|severity| *severity as u8 == header.severity)?,
        interface: interface?,
        subject: subject?,
        text: text?,
        packets: filter
            .filter(|_| header.from_ns > 0)
            .map(|filter| PacketQuery {
                from_ns: header.from_ns,
                to_ns: header.to_ns,
                filter,
            }),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn short_events_round_trip(time_ns in 1..TIME_MAX, interface in "[a-z0-9]{0,15}", subject in ".{0,16}", text in ".{0,38}", filter in proptest::option::of("[a-z ]{0,96}")) {
            let event = Event {
                number: 7,
                severity: Severity::Notice,
                packets: filter.map(|filter| PacketQuery { from_ns: time_ns, to_ns: time_ns, filter }),
                ..Event::new(Kind::LinkDown, time_ns, &interface, subject).with_text(text)
            };
            prop_assert_eq!(decode(&encode(&event)), Some(event));
        }

        #[test]
        fn long_fields_are_truncated(interface in ".{0,40}", subject in ".{0,100}", text in ".{0,400}") {
            let event = Event::new(Kind::Suppressed, 5, &interface, &subject).with_text(&text);
            let decoded = decode(&encode(&event)).unwrap();
            prop_assert!(interface.starts_with(&decoded.interface));
            prop_assert!(subject.starts_with(&decoded.subject));
            prop_assert!(text.starts_with(&decoded.text) && (text.len() <= 152) == (text == decoded.text));
        }

        #[test]
        fn arbitrary_bytes_do_not_panic(bytes in proptest::collection::vec(any::<u8>(), 0..SLOT_BYTES + 1)) {
            let _ = decode(&bytes);
        }
    }
}
