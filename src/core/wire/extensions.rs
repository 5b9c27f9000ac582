//! PURE. Extensions of ICMP errors (RFC 4884): MPLS label stacks (RFC 4950) and interface information
//! (RFC 5837). The number of objects read is limited by their least length, and each list by the constants here.

use std::net::IpAddr;

use super::cursor::{Cursor, sum};

/// Maximum number of labels that are kept: stacks of real networks have up to about ten.
const MAX_LABELS: usize = 16;
/// Maximum number of interfaces that are kept: RFC 5837 has four roles.
const MAX_INTERFACES: usize = 8;
/// Bytes of a quoted packet from which on extensions may follow without a length (RFC 4884, section 5.5).
const CLASSIC_QUOTE: usize = 128;

/// An entry of an MPLS label stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Label {
    /// Label, 20 bits.
    pub label: u32,
    /// Traffic class, 3 bits.
    pub class: u8,
    /// Whether it is the last one of the stack.
    pub is_bottom: bool,
    /// TTL.
    pub ttl: u8,
}

/// What an interface is to the packet that caused the error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The packet came in on it.
    Incoming,
    /// It is below the one on which the packet came in.
    IncomingBelow,
    /// The packet would have left on it.
    Outgoing,
    /// It is the next hop to which the packet would have been sent.
    NextHop,
}

impl Role {
    /// Name for users and programs.
    pub fn name(self) -> &'static str {
        match self {
            Role::Incoming => "incoming",
            Role::IncomingBelow => "below incoming",
            Role::Outgoing => "outgoing",
            Role::NextHop => "next hop",
        }
    }
}

/// An interface of the router that sent the error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// Its role.
    pub role: Role,
    /// Its index (ifIndex).
    pub index: Option<u32>,
    /// Its address.
    pub address: Option<IpAddr>,
    /// Its name, at most 63 bytes; bytes that are not UTF-8 are replaced.
    pub name: Option<String>,
    /// Its MTU in bytes.
    pub mtu: Option<u32>,
}

/// The extensions of an error.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Extensions {
    /// MPLS label stack, outermost first.
    pub labels: Vec<Label>,
    /// Interfaces.
    pub interfaces: Vec<Interface>,
}

impl Extensions {
    /// Returns whether there are none.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty() && self.interfaces.is_empty()
    }
}

/// Returns the extensions of an ICMP (`v6` false) or ICMPv6 error, which starts at its type. The length field tells
/// where they begin; without it, as of routers older than RFC 4884, they follow 128 bytes of the quoted packet and
/// count only with a right checksum.
pub fn of_error(message: &[u8], v6: bool) -> Extensions {
    let Some((&[kind, _, _, _, length6, length4, _, _], rest)) = message.split_first_chunk() else {
        return Extensions::default();
    };
    let length = match (v6, kind) {
        (false, 3 | 11 | 12) => usize::from(length4).saturating_mul(4),
        (true, 1 | 3) => usize::from(length6).saturating_mul(8),
        _ => return Extensions::default(),
    };
    let at = if length == 0 { CLASSIC_QUOTE } else { length };
    let after = rest.get(at..).unwrap_or_default();
    if length == 0 && (after.len() < 8 || sum(after, 0) != 0xffff) {
        return Extensions::default();
    }
    read(after)
}

/// Reads the extension structure that follows the quoted packet. What is damaged ends it.
pub fn read(bytes: &[u8]) -> Extensions {
    let mut all = Extensions::default();
    let mut from = Cursor::new(bytes, 0);
    if !matches!(from.u32(), Ok(head) if head >> 28 == 2) {
        return all;
    }
    while let (Ok(length), Ok(class), Ok(kind)) = (from.u16(), from.u8(), from.u8()) {
        let object = usize::from(length).checked_sub(4);
        let Some(Ok(object)) = object.map(|length| from.sub(length)) else {
            break;
        };
        match (class, kind) {
            (1, 1) => labels(object, &mut all.labels),
            (2, kind) if all.interfaces.len() < MAX_INTERFACES => {
                all.interfaces.extend(interface(kind, object));
            }
            _ => {}
        }
    }
    all
}

fn labels(mut object: Cursor<'_>, all: &mut Vec<Label>) {
    while let (Ok(word), true) = (object.u32(), all.len() < MAX_LABELS) {
        all.push(Label {
            label: word >> 12,
            class: (word >> 9 & 7) as u8,
            is_bottom: word >> 8 & 1 == 1,
            ttl: word as u8,
        });
    }
}

/// Reads an interface information object (RFC 5837, section 4.1). `kind`: role in the upper two bits, and which fields
/// are present in the lower four.
fn interface(kind: u8, mut object: Cursor<'_>) -> Option<Interface> {
    let role = match kind >> 6 {
        0 => Role::Incoming,
        1 => Role::IncomingBelow,
        2 => Role::Outgoing,
        _ => Role::NextHop,
    };
    let index = match kind & 8 {
        0 => None,
        _ => Some(object.u32().ok()?),
    };
    let address = match kind & 4 {
        0 => None,
        _ => Some(match object.u32().ok()? >> 16 {
            1 => IpAddr::V4(object.ipv4().ok()?),
            2 => IpAddr::V6(object.ipv6().ok()?),
            _ => return None,
        }),
    };
    let name = match kind & 2 {
        0 => None,
        _ => {
            // The length includes its own byte and the padding.
            let length = usize::from(object.u8().ok()?);
            let bytes = object.take(length.checked_sub(1)?.min(63)).ok()?;
            let name = bytes.split(|byte| *byte == 0).next().unwrap_or_default();
            Some(String::from_utf8_lossy(name).into_owned())
        }
    };
    let mtu = match kind & 1 {
        0 => None,
        _ => Some(object.u32().ok()?),
    };
    Some(Interface {
        role,
        index,
        address,
        name,
        mtu,
    })
}

#[cfg(test)]
#[allow(clippy::indexing_slicing, clippy::arithmetic_side_effects)]
mod tests {
    use super::*;
    use std::net::{Ipv4Addr, Ipv6Addr};

    /// An extension structure with these objects: class, type and contents.
    fn structure(objects: &[(u8, u8, Vec<u8>)]) -> Vec<u8> {
        let mut bytes = vec![0x20, 0, 0, 0];
        for (class, kind, contents) in objects {
            bytes.extend((contents.len() as u16 + 4).to_be_bytes());
            bytes.extend([*class, *kind]);
            bytes.extend(contents);
        }
        let check = !(sum(&bytes, 0) as u16);
        bytes[2..4].copy_from_slice(&check.to_be_bytes());
        bytes
    }

    fn error(kind: u8, length: (usize, u8), quoted: usize, after: &[u8]) -> Vec<u8> {
        let mut message = vec![kind, 0, 0, 0, 0, 0, 0, 0];
        message[length.0] = length.1;
        message.resize(8 + quoted, 0x45);
        message.extend(after);
        message
    }

    fn stack() -> (u8, u8, Vec<u8>) {
        let top: u32 = 24_005 << 12 | 5 << 9 | 254;
        let bottom: u32 = 17 << 12 | 1 << 8 | 1;
        (1, 1, [top.to_be_bytes(), bottom.to_be_bytes()].concat())
    }

    fn incoming() -> (u8, u8, Vec<u8>) {
        let mut contents = 7u32.to_be_bytes().to_vec();
        contents.extend([0, 1, 0, 0, 192, 0, 2, 9]);
        contents.extend(b"\x08ge-0/0\0");
        contents.extend(9000u32.to_be_bytes());
        (2, 0x0f, contents)
    }

    #[test]
    fn labels_and_interfaces() {
        let found = read(&structure(&[
            stack(),
            (99, 1, vec![1, 2, 3, 4]),
            incoming(),
        ]));
        let label = |label, class, is_bottom, ttl| Label {
            label,
            class,
            is_bottom,
            ttl,
        };
        assert_eq!(
            found.labels,
            [label(24_005, 5, false, 254), label(17, 0, true, 1)]
        );
        let [one] = &found.interfaces[..] else {
            panic!("{found:?}")
        };
        assert_eq!(one.role, Role::Incoming);
        assert_eq!(one.index, Some(7));
        assert_eq!(one.address, Some(Ipv4Addr::new(192, 0, 2, 9).into()));
        assert_eq!(one.name.as_deref(), Some("ge-0/0"));
        assert_eq!(one.mtu, Some(9000));
        let next_hop = (2, 0xc4, [&[0, 2, 0, 0][..], &[0xfe; 16]].concat());
        let found = read(&structure(&[next_hop]));
        assert_eq!(found.interfaces[0].role, Role::NextHop);
        assert_eq!(
            found.interfaces[0].address,
            Some(Ipv6Addr::from([0xfe; 16]).into())
        );
        assert_eq!(found.interfaces[0].index, None);
    }

    #[test]
    fn they_follow_the_length_or_128_bytes_with_a_checksum() {
        let after = structure(&[stack()]);
        for (message, v6) in [
            (error(11, (5, 8), 32, &after), false),
            (error(3, (4, 6), 48, &after), true),
            (error(11, (5, 0), 128, &after), false),
            (error(3, (4, 0), 128, &after), true),
        ] {
            assert_eq!(of_error(&message, v6).labels.len(), 2, "{message:?}");
        }
        let mut damaged = after.clone();
        damaged[3] ^= 1;
        assert!(of_error(&error(11, (5, 0), 128, &damaged), false).is_empty());
        assert!(of_error(&error(11, (5, 0), 100, &after), false).is_empty());
        assert!(
            of_error(&error(8, (5, 8), 32, &after), false).is_empty(),
            "echo"
        );
    }

    #[test]
    fn no_bytes_make_it_panic_or_grow() {
        let whole = structure(&[stack(), incoming(), (2, 0xc4, vec![0, 2, 0, 0])]);
        for length in 0..whole.len() {
            let _ = read(&whole[..length]);
        }
        for at in 0..whole.len() {
            for value in [0, 1, 3, 0x7f, 0xff] {
                let mut other = whole.clone();
                other[at] = value;
                let found = read(&other);
                assert!(found.labels.len() <= MAX_LABELS);
            }
        }
        let many = structure(&vec![stack(); 300]);
        assert_eq!(read(&many).labels.len(), MAX_LABELS);
        let many = structure(&vec![incoming(); 300]);
        assert_eq!(read(&many).interfaces.len(), MAX_INTERFACES);
    }
}
