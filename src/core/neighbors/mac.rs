//! PURE. Link-layer addresses with a special meaning.

use crate::wire::cursor::Mac;

/// Parses a MAC address with colons, hyphens, dots or no separators.
pub fn parse(text: &str) -> Option<Mac> {
    let is_written = |one: char| one.is_ascii_hexdigit() || [':', '-', '.'].contains(&one);
    let digits: String = text.chars().filter(char::is_ascii_hexdigit).collect();
    if !text.chars().all(is_written) || digits.len() != 12 {
        return None;
    }
    let number = u64::from_str_radix(&digits, 16).ok()?;
    let [_, _, a, b, c, d, e, f] = number.to_be_bytes();
    Some(Mac([a, b, c, d, e, f]))
}

/// Returns the protocol of an address that several routers or servers share. Such an address moves
/// between them, and more than one may answer for the addresses that use it.
pub fn shared(mac: Mac) -> Option<&'static str> {
    match mac.0 {
        // RFC 9568, section 7.3; CARP uses the same.
        [0, 0, 0x5e, 0, 1, _] => Some("VRRP for IPv4"),
        [0, 0, 0x5e, 0, 2, _] => Some("VRRP for IPv6"),
        [0, 0, 0x0c, 0x07, 0xac, _] => Some("HSRP"),
        [0, 0, 0x0c, 0x9f, 0xf0..=0xff, _] => Some("HSRPv2"),
        [0, 0x05, 0x73, 0xa0, 0..=0x0f, _] => Some("HSRP for IPv6"),
        [0, 0x07, 0xb4, 0, _, _] => Some("GLBP"),
        _ => None,
    }
}

/// Returns whether an administrator or a program assigned it, not the manufacturer (IEEE 802,
/// section 8.4).
pub fn is_local(mac: Mac) -> bool {
    mac.0[0] & 2 != 0
}

/// Returns whether it may be a source address: neither a group nor 0.
pub fn is_station(mac: Mac) -> bool {
    mac.0[0] & 1 == 0 && mac.0 != [0; 6]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn special_addresses() {
        assert_eq!(shared(Mac([0, 0, 0x5e, 0, 1, 7])), Some("VRRP for IPv4"));
        assert_eq!(shared(Mac([0, 0, 0x0c, 7, 0xac, 1])), Some("HSRP"));
        assert_eq!(shared(Mac([0, 0, 0x5e, 0, 3, 7])), None);
        assert!(is_local(Mac([0x52, 0x54, 0, 1, 2, 3])) && !is_local(Mac([0; 6])));
        assert!(!is_station(Mac([0; 6])) && !is_station(Mac([0xff; 6])));
    }

    #[test]
    fn notations() {
        let mac = Some(Mac([0, 0x1b, 0xc5, 1, 2, 3]));
        for text in [
            "00:1b:c5:01:02:03",
            "00-1B-C5-01-02-03",
            "001b.c501.0203",
            "001bc5010203",
        ] {
            assert_eq!(parse(text), mac, "{text}");
        }
        for text in ["00:1b:c5:01:02", "fd00::1", "host", "00:1b:c5:01:02:0g", ""] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
