//! PURE. Names in DNS messages (RFC 1035, section 4.1.4), with compression.

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
