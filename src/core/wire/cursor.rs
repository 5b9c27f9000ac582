//! PURE. The cursor that every decoder reads with: bounded by the captured bytes, and aware of the
//! offset in the frame, so that a problem can be located.

use std::net::{Ipv4Addr, Ipv6Addr};

/// The bytes ended within a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnexpectedEnd {
    /// Offset of the field in the frame, in bytes.
    pub offset: usize,
}

/// A read position within a part of the frame.
#[derive(Clone, Copy, Debug)]
pub struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
    base: usize,
}

impl<'a> Cursor<'a> {
    /// Creates a cursor over `bytes`, which begin at offset `base` of the frame.
    pub fn new(bytes: &'a [u8], base: usize) -> Cursor<'a> {
        Cursor { bytes, at: 0, base }
    }

    /// Returns the offset of the next byte in the frame.
    pub fn offset(&self) -> usize {
        self.base.saturating_add(self.at)
    }

    /// Returns the number of unread bytes.
    pub fn left(&self) -> usize {
        self.bytes.len().saturating_sub(self.at)
    }

    /// Returns whether all bytes have been read.
    pub fn is_empty(&self) -> bool {
        self.left() == 0
    }

    /// Reads `length` bytes.
    pub fn take(&mut self, length: usize) -> Result<&'a [u8], UnexpectedEnd> {
        let short = UnexpectedEnd {
            offset: self.offset(),
        };
        let end = self.at.checked_add(length).ok_or(short)?;
        let taken = self.bytes.get(self.at..end).ok_or(short)?;
        self.at = end;
        Ok(taken)
    }

    /// Reads all remaining bytes.
    pub fn rest(&mut self) -> &'a [u8] {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        self.at = self.bytes.len();
        rest
    }

    /// Reads `length` bytes and returns a cursor over them.
    pub fn sub(&mut self, length: usize) -> Result<Cursor<'a>, UnexpectedEnd> {
        let base = self.offset();
        Ok(Cursor::new(self.take(length)?, base))
    }

    /// Reads `N` bytes.
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], UnexpectedEnd> {
        let short = UnexpectedEnd {
            offset: self.offset(),
        };
        self.take(N)?.try_into().map_err(|_| short)
    }

    /// Reads one byte.
    pub fn u8(&mut self) -> Result<u8, UnexpectedEnd> {
        Ok(u8::from_be_bytes(self.array()?))
    }

    /// Reads a 16-bit number in network byte order.
    pub fn u16(&mut self) -> Result<u16, UnexpectedEnd> {
        Ok(u16::from_be_bytes(self.array()?))
    }

    /// Reads a 32-bit number in network byte order.
    pub fn u32(&mut self) -> Result<u32, UnexpectedEnd> {
        Ok(u32::from_be_bytes(self.array()?))
    }

    /// Reads a 64-bit number in network byte order.
    pub fn u64(&mut self) -> Result<u64, UnexpectedEnd> {
        Ok(u64::from_be_bytes(self.array()?))
    }

    /// Reads an IPv4 address.
    pub fn ipv4(&mut self) -> Result<Ipv4Addr, UnexpectedEnd> {
        Ok(Ipv4Addr::from(self.array::<4>()?))
    }

    /// Reads an IPv6 address.
    pub fn ipv6(&mut self) -> Result<Ipv6Addr, UnexpectedEnd> {
        Ok(Ipv6Addr::from(self.array::<16>()?))
    }

    /// Reads a MAC address.
    pub fn mac(&mut self) -> Result<Mac, UnexpectedEnd> {
        Ok(Mac(self.array()?))
    }

    /// Skips `length` bytes.
    pub fn skip(&mut self, length: usize) -> Result<(), UnexpectedEnd> {
        self.take(length).map(|_| ())
    }
}

/// An IEEE 802 MAC address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Mac(pub [u8; 6]);

impl Mac {
    /// Returns whether this is the broadcast address, ff:ff:ff:ff:ff:ff.
    pub fn is_broadcast(self) -> bool {
        self.0 == [0xff; 6]
    }

    /// Returns whether this is a group address (lowest bit of the first byte) other than broadcast.
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

/// Adds `bytes` to the one's complement sum `sum` of the Internet checksum (RFC 1071). The result is
/// 0xffff for a whole message with a correct checksum field.
pub fn sum(bytes: &[u8], sum: u32) -> u32 {
    // The sum does not depend on the byte order, except that its own bytes are swapped (RFC 1071, section 2 (B)):
    // so words of 32 bits are added as they lie in memory, several at once. 2^32 of them would overflow.
    let words = bytes.chunks_exact(4);
    let rest = words.remainder();
    let add = |sum: u64, word: &[u8]| {
        let word = word.try_into().map_or(0, u32::from_ne_bytes);
        sum.wrapping_add(word.into())
    };
    let mut own = words.fold(0, add);
    let mut last = [0; 4];
    for (to, from) in last.iter_mut().zip(rest) {
        *to = *from;
    }
    own = add(own, &last);
    let network = u16::from_be_bytes(fold(own).to_ne_bytes());
    fold(u64::from(network).wrapping_add(sum.into())).into()
}

/// Adds the carries of a one's complement sum to its low 16 bits.
fn fold(mut sum: u64) -> u16 {
    while sum > 0xffff {
        sum = (sum & 0xffff).wrapping_add(sum >> 16);
    }
    sum as u16
}

/// Makes text from the wire safe for terminals and logs: everything but printable ASCII, and the
/// backslash, is escaped as \\xNN. At most `max` bytes are shown.
pub fn text(bytes: &[u8], max: usize) -> String {
    let mut text = String::new();
    for byte in bytes.iter().take(max) {
        match byte {
            b' '..=b'~' if *byte != b'\\' => text.push(char::from(*byte)),
            other => text.push_str(&format!("\\x{other:02x}")),
        }
    }
    if bytes.len() > max {
        text.push_str("...");
    }
    text
}

/// Formats at most `max` bytes as hexadecimal digits, `-` for none.
pub(super) fn hex(bytes: &[u8], max: usize) -> String {
    if bytes.is_empty() {
        return "-".into();
    }
    let shown = bytes.iter().take(max);
    shown.map(|byte| format!("{byte:02x}")).collect()
}

/// The first line of a text protocol, printable, at most 80 characters.
pub(super) fn first_line(bytes: &[u8]) -> String {
    let line = bytes
        .split(|byte| matches!(byte, b'\r' | b'\n'))
        .next()
        .unwrap_or_default();
    // Some senders end a message with a zero byte, as a string.
    text(line.strip_suffix(b"\0").unwrap_or(line), 80)
}
