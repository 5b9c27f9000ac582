//! PURE. Addresses and prefixes as users write them, with the reason where they are none.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Parses an address without a scope.
///
/// # Errors
///
/// The text, and why it is not an address, for a message.
pub fn parse_address(text: &str) -> Result<IpAddr, String> {
    if let Ok(address) = text.parse() {
        return Ok(address);
    }
    if text.is_empty() {
        return Err("the address is empty".into());
    }
    if looks_like_ipv4(text) {
        return Err(format!(
            "{text} is not an IPv4 address: {}",
            ipv4_fault(text)
        ));
    }
    if let Some(address) = without_port(text) {
        return Err(format!(
            "{text} has a port: give the address alone, {address}"
        ));
    }
    if let Some((address, _)) = text.split_once('%')
        && address.parse::<Ipv6Addr>().is_ok()
    {
        return Err(format!(
            "{text} has an interface: give the address alone, {address}"
        ));
    }
    if looks_like_ipv6(text) {
        return Err(format!(
            "{text} is not an IPv6 address: {}",
            ipv6_fault(text)
        ));
    }
    Err(format!("{text:?} is not an IPv4 or IPv6 address"))
}

/// Parses an address with an optional prefix length, as 192.0.2.0/24. Returns the address as written, and
/// the length, for an address alone its full width.
///
/// # Errors
///
/// As for [`parse_address`].
pub fn parse_prefix(text: &str) -> Result<(IpAddr, u8), String> {
    let (address, length) = match text.split_once('/') {
        Some((address, length)) => (address, Some(length)),
        None => (text, None),
    };
    let address = parse_address(address)?;
    let (family, width) = match address {
        IpAddr::V4(_) => ("IPv4", 32),
        IpAddr::V6(_) => ("IPv6", 128),
    };
    let Some(length) = length else {
        return Ok((address, width));
    };
    let number: Option<u32> = length
        .bytes()
        .all(|byte| byte.is_ascii_digit())
        .then(|| length.parse().ok())
        .flatten();
    match number {
        Some(number) if number <= u32::from(width) => Ok((address, number as u8)),
        Some(_) => Err(format!(
            "{text} is not a prefix: {length} is more than {width}, the length of an {family} address"
        )),
        None => Err(format!(
            "{text} is not a prefix: the length after / must be 0 to {width}"
        )),
    }
}

/// Parses a multicast group.
///
/// # Errors
///
/// As for [`parse_address`].
pub fn parse_group(text: &str) -> Result<IpAddr, String> {
    let group = parse_address(text)?;
    match group.is_multicast() {
        true => Ok(group),
        false => Err(format!(
            "{group} is not a multicast address (224.0.0.0/4 or ff00::/8)"
        )),
    }
}

/// Parses the short forms of inet_aton(3) of two or three numbers, such as 127.1, as ping accepts them.
pub fn parse_short_ipv4(text: &str) -> Option<Ipv4Addr> {
    let parts: Vec<&str> = text.split('.').collect();
    if !looks_like_ipv4(text) || !(2..=3).contains(&parts.len()) {
        return None;
    }
    let (last, first) = parts.split_last()?;
    let mut bits = 0u32;
    for part in first {
        bits = bits << 8 | u32::from(part.parse::<u8>().ok()?);
    }
    // The last number fills the bytes that are left.
    let width = 32 - 8 * first.len() as u32;
    let last: u32 = last
        .parse()
        .ok()
        .filter(|last| u64::from(*last) < 1 << width)?;
    Some(Ipv4Addr::from(bits << width | last))
}

/// Returns whether a text can only be meant as an IPv4 address: digits and dots. No name ends with a label
/// of digits (RFC 1123, section 2.1), so a query to the DNS would be in vain.
pub fn looks_like_ipv4(text: &str) -> bool {
    text.contains('.')
        && text
            .bytes()
            .all(|byte| byte == b'.' || byte.is_ascii_digit())
}

/// Returns whether a text can only be meant as an IPv6 address, since no name has a colon.
pub fn looks_like_ipv6(text: &str) -> bool {
    text.contains(':')
}

/// Returns the address of an address with a port.
fn without_port(text: &str) -> Option<IpAddr> {
    let both: std::net::SocketAddr = text.parse().ok()?;
    Some(both.ip())
}

fn ipv4_fault(text: &str) -> String {
    let parts: Vec<&str> = text.split('.').collect();
    for part in &parts {
        if part.is_empty() {
            return "a number is missing next to a dot".into();
        }
        if part.trim_start_matches('0').len() > 3 || part.parse::<u64>().is_ok_and(|n| n > 255) {
            return format!("{part} is more than 255");
        }
    }
    if parts.len() != 4 {
        return format!("it has {} numbers instead of 4", parts.len());
    }
    match parts
        .iter()
        .find(|part| part.len() > 1 && part.starts_with('0'))
    {
        Some(part) => format!("{part} begins with 0, which some programs read as octal"),
        None => "expected four numbers with dots".into(),
    }
}

fn ipv6_fault(text: &str) -> String {
    let is_known = |c: char| c.is_ascii_hexdigit() || c == ':' || c == '.';
    if let Some(other) = text.chars().find(|c| !is_known(*c)) {
        return format!("{other:?} is not a hexadecimal digit");
    }
    if text.matches("::").count() > 1 || text.contains(":::") {
        return ":: may stand only once".into();
    }
    let parts: Vec<&str> = text.split(':').filter(|part| !part.is_empty()).collect();
    let (groups, tail) = match parts.split_last() {
        Some((last, groups)) if last.contains('.') => (groups, Some(*last)),
        _ => (&parts[..], None),
    };
    if let Some(tail) = tail.filter(|tail| tail.parse::<Ipv4Addr>().is_err()) {
        return format!("{tail} is not an IPv4 address: {}", ipv4_fault(tail));
    }
    if let Some(long) = groups.iter().find(|group| group.len() > 4) {
        return match long.contains('.') {
            true => format!("{long} may only stand at the end"),
            false => format!("{long} has more than four digits"),
        };
    }
    let count = groups.len() + if tail.is_some() { 2 } else { 0 };
    match (text.contains("::"), count) {
        (true, 8..) => format!("it has {count} groups and ::, and 8 is the most"),
        (false, count) if count != 8 => format!("it has {count} groups instead of 8, and no ::"),
        _ => "a group is missing next to a colon".into(),
    }
}

/// Returns whether `source` can be the sender of packets to `group`: one address of the same family.
///
/// # Errors
///
/// Why it cannot.
pub fn check_source(group: IpAddr, source: IpAddr) -> Result<(), String> {
    let is_one_host = match source {
        IpAddr::V4(v4) => !v4.is_broadcast(),
        IpAddr::V6(v6) => v6 != Ipv6Addr::UNSPECIFIED,
    };
    if source.is_multicast() || source.is_unspecified() || !is_one_host {
        return Err(format!("{source} is not the address of one host"));
    }
    if source.is_ipv4() != group.is_ipv4() {
        let family = |address: IpAddr| if address.is_ipv4() { "IPv4" } else { "IPv6" };
        return Err(format!(
            "{source} is an {} address and the group {group} an {} one",
            family(source),
            family(group)
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_with_an_address_is_said() {
        for (text, words) in [
            (
                "10.999.1.1",
                "10.999.1.1 is not an IPv4 address: 999 is more than 255",
            ),
            (
                "10.99999999999999999999.1.1",
                "10.99999999999999999999.1.1 is not an IPv4 address: 99999999999999999999 is more \
                 than 255",
            ),
            (
                "10.1.1",
                "10.1.1 is not an IPv4 address: it has 3 numbers instead of 4",
            ),
            (
                "10..1.1",
                "10..1.1 is not an IPv4 address: a number is missing next to a dot",
            ),
            (
                "10.0.0.010",
                "10.0.0.010 is not an IPv4 address: 010 begins with 0, which some programs read as \
                 octal",
            ),
            (
                "10.0.0.1:80",
                "10.0.0.1:80 has a port: give the address alone, 10.0.0.1",
            ),
            (
                "fe80::1%e0",
                "fe80::1%e0 has an interface: give the address alone, fe80::1",
            ),
            (
                "fe80::1::2",
                "fe80::1::2 is not an IPv6 address: :: may stand only once",
            ),
            (
                "fe80::12345",
                "fe80::12345 is not an IPv6 address: 12345 has more than four digits",
            ),
            (
                "fe80::xyz",
                "fe80::xyz is not an IPv6 address: 'x' is not a hexadecimal digit",
            ),
            (
                "1:2:3",
                "1:2:3 is not an IPv6 address: it has 3 groups instead of 8, and no ::",
            ),
            (
                "::ffff:10.0.0.256",
                "::ffff:10.0.0.256 is not an IPv6 address: 10.0.0.256 is not an IPv4 address: 256 \
                 is more than 255",
            ),
            ("", "the address is empty"),
            ("e0", "\"e0\" is not an IPv4 or IPv6 address"),
        ] {
            assert_eq!(parse_address(text).unwrap_err(), words);
        }
        assert!(parse_address("10.0.0.1").is_ok() && parse_address("fe80::1").is_ok());
    }

    #[test]
    fn prefixes_have_the_width_of_their_family() {
        assert_eq!(parse_prefix("10.0.0.0/8").unwrap().1, 8);
        assert_eq!(parse_prefix("fe80::").unwrap().1, 128);
        assert_eq!(
            parse_prefix("10.0.0.0/33").unwrap_err(),
            "10.0.0.0/33 is not a prefix: 33 is more than 32, the length of an IPv4 address"
        );
        assert!(parse_prefix("fe80::/129").unwrap_err().contains("128"));
        for text in ["10.0.0.0/", "10.0.0.0/-1", "10.0.0.0/+8", "10.0.0.0/8/8"] {
            let words = parse_prefix(text).unwrap_err();
            assert!(words.contains("must be 0 to 32"), "{words}");
        }
    }

    #[test]
    fn short_forms_are_those_of_inet_aton() {
        let short = |text: &str| parse_short_ipv4(text).map(|address| address.to_string());
        assert_eq!(short("127.1").as_deref(), Some("127.0.0.1"));
        assert_eq!(short("10.1.258").as_deref(), Some("10.1.1.2"));
        assert_eq!(short("10.16777215").as_deref(), Some("10.255.255.255"));
        for text in ["10.16777216", "300.1", "10.1.1.1", "10.", "1"] {
            assert_eq!(short(text), None, "{text}");
        }
    }

    #[test]
    fn sources_are_hosts_of_the_family_of_the_group() {
        let check = |group: &str, source: &str| {
            check_source(group.parse().unwrap(), source.parse().unwrap())
        };
        assert!(check("239.1.1.1", "10.0.0.1").is_ok());
        for source in ["239.1.1.2", "0.0.0.0", "255.255.255.255", "fe80::1"] {
            assert!(check("239.1.1.1", source).is_err(), "{source}");
        }
        assert!(check("ff15::1", "10.0.0.1").unwrap_err().contains("IPv4"));
    }
}
