//! PURE. The one way in which bytes are read: bounded, and with the offset of everything.

use std::net::{Ipv4Addr, Ipv6Addr};

/// There were fewer bytes than a field needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnexpectedEnd {
    /// Offset in the frame at which the field begins.
    pub offset: usize,
}

/// Reads forward through a stretch of the frame.
#[derive(Clone, Copy, Debug)]
pub struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
    base: usize,
}

impl<'a> Cursor<'a> {
    /// `bytes` begin at offset `base` of the frame.
    pub fn new(bytes: &'a [u8], base: usize) -> Cursor<'a> {
        Cursor { bytes, at: 0, base }
    }

    /// Offset of the next byte in the frame.
    pub fn offset(&self) -> usize {
        self.base.saturating_add(self.at)
    }

    /// Bytes that are left.
    pub fn left(&self) -> usize {
        self.bytes.len().saturating_sub(self.at)
    }

    /// Has everything been read?
    pub fn is_empty(&self) -> bool {
        self.left() == 0
    }

    /// The next `length` bytes.
    pub fn take(&mut self, length: usize) -> Result<&'a [u8], UnexpectedEnd> {
        let short = UnexpectedEnd {
            offset: self.offset(),
        };
        let end = self.at.checked_add(length).ok_or(short)?;
        let taken = self.bytes.get(self.at..end).ok_or(short)?;
        self.at = end;
        Ok(taken)
    }

    /// Everything that is left.
    pub fn rest(&mut self) -> &'a [u8] {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        self.at = self.bytes.len();
        rest
    }

    /// A cursor over the next `length` bytes alone.
    pub fn sub(&mut self, length: usize) -> Result<Cursor<'a>, UnexpectedEnd> {
        let base = self.offset();
        Ok(Cursor::new(self.take(length)?, base))
    }

    /// The next `N` bytes.
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], UnexpectedEnd> {
        let short = UnexpectedEnd {
            offset: self.offset(),
        };
        self.take(N)?.try_into().map_err(|_| short)
    }

    /// The next byte.
    pub fn u8(&mut self) -> Result<u8, UnexpectedEnd> {
        Ok(u8::from_be_bytes(self.array()?))
    }

    /// The next two bytes, in network order.
    pub fn u16(&mut self) -> Result<u16, UnexpectedEnd> {
        Ok(u16::from_be_bytes(self.array()?))
    }

    /// The next four bytes.
    pub fn u32(&mut self) -> Result<u32, UnexpectedEnd> {
        Ok(u32::from_be_bytes(self.array()?))
    }

    /// The next eight bytes.
    pub fn u64(&mut self) -> Result<u64, UnexpectedEnd> {
        Ok(u64::from_be_bytes(self.array()?))
    }

    /// An IPv4 address.
    pub fn ipv4(&mut self) -> Result<Ipv4Addr, UnexpectedEnd> {
        Ok(Ipv4Addr::from(self.array::<4>()?))
    }

    /// An IPv6 address.
    pub fn ipv6(&mut self) -> Result<Ipv6Addr, UnexpectedEnd> {
        Ok(Ipv6Addr::from(self.array::<16>()?))
    }

    /// A MAC address.
    pub fn mac(&mut self) -> Result<Mac, UnexpectedEnd> {
        Ok(Mac(self.array()?))
    }

    /// Passes over bytes.
    pub fn skip(&mut self, length: usize) -> Result<(), UnexpectedEnd> {
        self.take(length).map(|_| ())
    }
}

/// An IEEE 802 MAC address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Mac(pub [u8; 6]);

impl Mac {
    /// To all stations of a link.
    pub fn is_broadcast(self) -> bool {
        self.0 == [0xff; 6]
    }

    /// To a group of stations: the lowest bit of the first byte.
    pub fn is_multicast(self) -> bool {
        self.0[0] & 1 == 1 && !self.is_broadcast()
    }
}

impl std::fmt::Display for Mac {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [a, b, c, d, e, f] = self.0;
        write!(to, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x}")
    }
}

/// The Internet checksum's sum (RFC 1071) of `bytes`, on top of `sum`. 0xffff when a whole message
/// with its checksum field is right.
pub fn sum(bytes: &[u8], sum: u32) -> u32 {
    let mut sum = u64::from(sum);
    for pair in bytes.chunks(2) {
        let value = match pair {
            [high, low] => u16::from_be_bytes([*high, *low]),
            [high] => u16::from_be_bytes([*high, 0]),
            _ => 0,
        };
        sum = sum.saturating_add(value.into());
    }
    while sum > 0xffff {
        sum = (sum & 0xffff).saturating_add(sum >> 16);
    }
    sum as u32
}

/// Text from the wire, fit for a terminal and for a log: control characters, other than ASCII and the
/// backslash are escaped, and it is cut at `most` characters.
pub fn text(bytes: &[u8], most: usize) -> String {
    let mut text = String::new();
    for byte in bytes.iter().take(most) {
        match byte {
            b' '..=b'~' if *byte != b'\\' => text.push(char::from(*byte)),
            other => text.push_str(&format!("\\x{other:02x}")),
        }
    }
    if bytes.len() > most {
        text.push_str("...");
    }
    text
}

/// The first line of a text protocol, printable, at most 80 characters.
pub(super) fn first_line(bytes: &[u8]) -> String {
    let line = bytes
        .split(|byte| matches!(byte, b'\r' | b'\n'))
        .next()
        .unwrap_or_default();
    text(line, 80)
}
