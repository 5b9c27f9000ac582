//! SHELL. Values of arguments: numbers, durations, addresses, names. Each parser returns the message for a
//! value that cannot be, without the name of the option, which [`super::super::usage`] adds.

use std::net::IpAddr;
use std::ops::RangeInclusive;

use netsonde_core::address::{parse_address, parse_group, parse_prefix};
use netsonde_core::families;
use netsonde_core::recorder::Store;
use netsonde_core::recorder::select::{PROTOCOLS, unknown_protocol};
use netsonde_core::text::unknown;

/// One hour, in nanoseconds: the service's limit of intervals and timeouts.
pub(super) const HOUR_NS: u64 = 3_600_000_000_000;

/// How far into the past a selection reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lookback {
    /// To the beginning of the record.
    All,
    /// This long, in nanoseconds.
    Ns(u64),
}

/// Returns the parser of a whole number in a range.
pub(super) fn number<T: TryFrom<u64>>(
    range: RangeInclusive<u64>,
) -> impl Fn(&str) -> Result<T, String> + Clone + Send + Sync + 'static {
    move |text: &str| {
        let (first, last) = (*range.start(), *range.end());
        // Numbers of two words have no limit that a user would meet.
        let wanted = match last {
            u64::MAX | 0xffff_ffff => format!("at least {first}"),
            _ => format!("{first} to {last}"),
        };
        let digits = text.strip_prefix('-').unwrap_or(text);
        let is_whole = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
        if !is_whole {
            return Err(format!("must be a whole number, {wanted}, not {text:?}"));
        }
        let given: Option<u64> = text.parse().ok();
        given
            .filter(|given| range.contains(given))
            .and_then(|given| T::try_from(given).ok())
            .ok_or_else(
                || match digits.len() == text.len() && given.is_none_or(|n| n > last) {
                    true => format!("must be at most {last}, not {text}"),
                    false => format!("must be {wanted}, not {text}"),
                },
            )
    }
}

/// Parses the name of an address family, or its number.
pub(super) fn parse_family(text: &str) -> Result<u8, String> {
    let found = families::find(text).map(|family| family.number);
    found.ok_or_else(|| families::unknown_family(text))
}

/// Parses a socket type, by name.
pub(super) fn parse_socket_type(text: &str) -> Result<u32, String> {
    let found = families::find_type(text)
        .map(|kind| kind.number)
        .filter(|number| *number < 16);
    found.ok_or_else(|| families::unknown_type(text))
}

/// Parses the name of a store of the recorder.
pub(super) fn parse_store(text: &str) -> Result<String, String> {
    match Store::from_name(text) {
        Some(_) => Ok(text.to_owned()),
        None => Err(unknown("store", text, Store::ALL.map(Store::name))),
    }
}

/// Parses the name of a protocol.
pub(super) fn parse_protocol(text: &str) -> Result<String, String> {
    match PROTOCOLS.iter().any(|(name, _)| *name == text) {
        true => Ok(text.to_owned()),
        false => Err(unknown_protocol(text)),
    }
}

/// Parses an address, or a prefix such as 192.0.2.0/24. Returns it as written.
pub(super) fn parse_host(text: &str) -> Result<String, String> {
    parse_prefix(text).map(|_| text.to_owned())
}

/// Parses an address.
pub(super) fn parse_one_address(text: &str) -> Result<IpAddr, String> {
    parse_address(text)
}

/// Parses a multicast group.
pub(super) fn parse_one_group(text: &str) -> Result<IpAddr, String> {
    parse_group(text)
}

/// Parses text that must not be empty.
pub(super) fn parse_not_empty(text: &str) -> Result<String, String> {
    match text.is_empty() {
        true => Err("must not be empty".into()),
        false => Ok(text.to_owned()),
    }
}

/// Parses a type of service, decimal or with 0x in hexadecimal.
pub(super) fn parse_tos(text: &str) -> Result<u8, String> {
    let number = match text.strip_prefix("0x") {
        // A sign is accepted by the standard library.
        Some(digits) if !digits.starts_with('+') => u8::from_str_radix(digits, 16).ok(),
        _ => number(0..=255)(text).ok(),
    };
    number.ok_or_else(|| format!("must be 0 to 255, or 0x0 to 0xff, not {text:?}"))
}

/// Parses hexadecimal digits, up to 16 bytes, as for ping.
pub(super) fn parse_pattern(text: &str) -> Result<String, String> {
    let is_hex = text.bytes().all(|byte| byte.is_ascii_hexdigit());
    match is_hex && (1..=32).contains(&text.len()) {
        true => Ok(text.to_owned()),
        false => Err(format!(
            "must be 1 to 16 bytes in hexadecimal, such as ff00, not {text:?}"
        )),
    }
}

/// Parses `all` or a duration.
pub(super) fn parse_lookback(text: &str) -> Result<Lookback, String> {
    if text == "all" {
        return Ok(Lookback::All);
    }
    parse_some_time(text).map(Lookback::Ns)
}

/// Parses a duration of more than 0.
pub(super) fn parse_some_time(text: &str) -> Result<u64, String> {
    match parse_duration(text)? {
        0 => Err("must be more than 0".into()),
        ns => Ok(ns),
    }
}

/// Returns the parser of a duration in a range of nanoseconds, which `words` describe.
pub(super) fn time_in(
    range: RangeInclusive<u64>,
    words: &'static str,
) -> impl Fn(&str) -> Result<u64, String> + Clone + Send + Sync + 'static {
    move |text: &str| {
        let ns = parse_duration(text)?;
        match range.contains(&ns) {
            true => Ok(ns),
            false if ns == 0 => Err("must be more than 0".into()),
            false => Err(format!("must be {words}, not {text}")),
        }
    }
}

/// Parses a duration such as `90s`, `1.5m`, `2h`, `250ms` or `1h30m`; a bare number is seconds, as
/// for ping. Returns nanoseconds.
pub fn parse_duration(text: &str) -> Result<u64, String> {
    let wrong =
        || format!("invalid duration {text:?}: expected for example 90s, 5m, 2h, 1d or 250ms");
    if let Some(positive) = text.strip_prefix('-')
        && parse_duration(positive).is_ok()
    {
        return Err(format!("must not be negative, not {text}"));
    }
    let mut total = 0.0f64;
    let mut rest = text;
    if rest.is_empty() {
        return Err(wrong());
    }
    while !rest.is_empty() {
        let digits = rest
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .unwrap_or(rest.len());
        let number: f64 = rest[..digits].parse().map_err(|_| wrong())?;
        rest = &rest[digits..];
        let letters = rest
            .find(|c: char| !c.is_ascii_alphabetic())
            .unwrap_or(rest.len());
        let unit = match &rest[..letters] {
            "ns" => 1.0,
            "us" => 1e3,
            "ms" => 1e6,
            "" | "s" | "sec" => 1e9,
            "m" | "min" => 60e9,
            "h" => 3600e9,
            "d" => 86_400e9,
            _ => return Err(wrong()),
        };
        total += number * unit;
        rest = &rest[letters..];
    }
    // About 285 years, so that the sum with the current time still fits u64 nanoseconds.
    if total > 9e18 {
        Err(format!("{text} is too long: at most 285 years"))
    } else {
        Ok(total as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        for (text, ns) in [
            ("90s", Some(90_000_000_000)),
            ("5m", Some(300_000_000_000)),
            ("1.5", Some(1_500_000_000)),
            ("250ms", Some(250_000_000)),
            ("1h30m", Some(5_400_000_000_000)),
            ("", None),
            ("x", None),
            ("5 minutes", None),
            ("9999999d", None),
            ("-5s", None),
            ("NaN", None),
            ("inf", None),
            ("1e9", None),
            ("..", None),
        ] {
            assert_eq!(parse_duration(text).ok(), ns, "{text}");
        }
    }

    #[test]
    fn numbers_name_their_range() {
        let small = number::<u16>(1..=1000);
        let open = number::<u32>(1..=u32::MAX.into());
        assert_eq!(small("7"), Ok(7));
        for (text, words) in [
            ("0", "must be 1 to 1000, not 0"),
            ("-1", "must be 1 to 1000, not -1"),
            ("1001", "must be at most 1000, not 1001"),
            ("x", "must be a whole number, 1 to 1000, not \"x\""),
            ("1.5", "must be a whole number, 1 to 1000, not \"1.5\""),
            ("+1", "must be a whole number, 1 to 1000, not \"+1\""),
            ("", "must be a whole number, 1 to 1000, not \"\""),
            (
                "99999999999999999999",
                "must be at most 1000, not 99999999999999999999",
            ),
        ] {
            assert_eq!(small(text).unwrap_err(), words);
        }
        assert_eq!(open("0").unwrap_err(), "must be at least 1, not 0");
        assert_eq!(
            open("4294967296").unwrap_err(),
            "must be at most 4294967295, not 4294967296"
        );
    }

    #[test]
    fn names_are_suggested() {
        let why = parse_store("icpm").unwrap_err();
        assert!(
            why.contains("did you mean icmp?") && why.contains("bulk"),
            "{why}"
        );
        let why = parse_family("AF_INTE6").unwrap_err();
        assert!(why.contains("did you mean AF_INET6?"), "{why}");
        let why = parse_family("vsokc").unwrap_err();
        assert!(why.contains("did you mean vsock?"), "{why}");
        let why = parse_socket_type("steram").unwrap_err();
        assert!(why.contains("did you mean stream?"), "{why}");
        let why = parse_protocol("mdsn").unwrap_err();
        assert!(why.contains("did you mean mdns?"), "{why}");
        assert!(parse_tos("0x+1").is_err() && parse_tos("256").is_err());
        assert_eq!(parse_tos("0x10"), Ok(16));
        assert!(parse_pattern("").is_err() && parse_pattern("xy").is_err());
    }
}
