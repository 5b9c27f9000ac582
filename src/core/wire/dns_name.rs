//! PURE. Names in DNS messages (RFC 1035, section 4.1.4), with compression.

use std::net::IpAddr;

use super::cursor::{Cursor, UnexpectedEnd, text};

/// Maximum number of compression pointers followed in one name (RFC 1035, section 4.1.4). A name has
/// at most 127 labels, and senders compress a name once or twice.
const MAX_POINTERS: usize = 32;
/// Maximum length of a name, in bytes as printed.
const NAME_MAX: usize = 255;
/// Maximum number of questions and of records decoded per message.
pub(super) const MAX_RECORDS: u16 = 64;

/// Returns name and type of the first question of a DNS message (RFC 1035, section 4.1.2); `None` if it has none.
pub fn question(message: &[u8]) -> Option<(String, u16)> {
    const HEADER: usize = 12;
    let whole = Cursor::new(message, 0);
    let mut from = whole;
    from.skip(4).ok()?;
    if from.u16().ok()? == 0 {
        return None;
    }
    let mut from = whole;
    from.skip(HEADER).ok()?;
    let name = name(whole, &mut from).ok()?;
    Some((name, from.u16().ok()?))
}

/// A record of the answer section of a DNS message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DnsRecord {
    /// Type: 1 is A, 5 CNAME, 28 AAAA.
    pub kind: u16,
    /// Time to live in seconds.
    pub ttl_s: u32,
    /// Address of an A or AAAA record.
    pub address: Option<IpAddr>,
    /// Name in a CNAME, NS or PTR record.
    pub name: Option<String>,
}

/// Returns the records of the answer section of a DNS message (RFC 1035, section 4.1.3), at most 64, up to the first that
/// is cut off or malformed.
pub fn answers(message: &[u8]) -> Vec<DnsRecord> {
    let whole = Cursor::new(message, 0);
    let mut from = whole;
    let mut records = Vec::new();
    let _ = read_answers(whole, &mut from, &mut records);
    records
}

fn read_answers<'a>(
    whole: Cursor<'a>,
    from: &mut Cursor<'a>,
    records: &mut Vec<DnsRecord>,
) -> Result<(), UnexpectedEnd> {
    from.skip(4)?;
    let (questions, answers) = (from.u16()?, from.u16()?);
    from.skip(4)?;
    for _ in 0..questions.min(MAX_RECORDS) {
        name(whole, from)?;
        from.skip(4)?;
    }
    for _ in 0..answers.min(MAX_RECORDS) {
        name(whole, from)?;
        let kind = from.u16()?;
        from.skip(2)?;
        let ttl_s = from.u32()?;
        let length = from.u16()?;
        let mut value = from.sub(length.into())?;
        let (mut address, mut named) = (None, None);
        match kind {
            1 => address = Some(IpAddr::V4(value.ipv4()?)),
            28 => address = Some(IpAddr::V6(value.ipv6()?)),
            2 | 5 | 12 => named = Some(name(whole, &mut value)?),
            _ => {}
        }
        records.push(DnsRecord {
            kind,
            ttl_s,
            address,
            name: named,
        });
    }
    Ok(())
}

/// Reads the name at `from`. Compression pointers are followed within `message`, the whole DNS message.
pub(super) fn name<'a>(
    message: Cursor<'a>,
    from: &mut Cursor<'a>,
) -> Result<String, UnexpectedEnd> {
    let mut shown = String::new();
    let mut walker = *from;
    let mut jumped = false;
    for _ in 0..MAX_POINTERS {
        loop {
            let length = walker.u8()?;
            match length >> 6 {
                0 if length == 0 => {
                    if !jumped {
                        *from = walker;
                    }
                    if shown.is_empty() {
                        shown.push('.');
                    }
                    return Ok(shown);
                }
                0 => {
                    let label = walker.take(length.into())?;
                    if !shown.is_empty() {
                        shown.push('.');
                    }
                    shown.push_str(&text(label, 63));
                    if shown.len() > NAME_MAX {
                        shown.push_str("...");
                        if !jumped {
                            *from = walker;
                        }
                        return Err(UnexpectedEnd {
                            offset: walker.offset(),
                        });
                    }
                }
                3 => {
                    let low = walker.u8()?;
                    let target = usize::from(length & 0x3f) << 8 | usize::from(low);
                    if !jumped {
                        *from = walker;
                        jumped = true;
                    }
                    walker = message;
                    walker.skip(target)?;
                    break;
                }
                _ => {
                    return Err(UnexpectedEnd {
                        offset: walker.offset(),
                    });
                }
            }
        }
    }
    Err(UnexpectedEnd {
        offset: from.offset(),
    })
}
