//! SHELL. Values of arguments: durations, times, families, types of service.

use netsonde_core::families;

/// How far into the past a selection reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lookback {
    /// To the beginning of the record.
    All,
    /// This long, in nanoseconds.
    Ns(u64),
}

/// Parses an address family, by name or number.
pub(super) fn parse_family(text: &str) -> Result<u8, String> {
    let found = families::find(text).map(|family| family.number);
    found.ok_or_else(|| format!("unknown address family {text:?} (see `netsonde families`)"))
}

/// Parses a socket type, by name.
pub(super) fn parse_socket_type(text: &str) -> Result<u32, String> {
    let found = families::find_type(text)
        .map(|kind| kind.number)
        .filter(|number| *number < 16);
    found.ok_or_else(|| format!("unknown socket type {text:?} (see `netsonde families -v`)"))
}

/// Parses a type of service, decimal or with 0x in hexadecimal.
pub(super) fn parse_tos(text: &str) -> Result<u8, String> {
    let number = match text.strip_prefix("0x") {
        Some(digits) => u8::from_str_radix(digits, 16),
        None => text.parse(),
    };
    number
        .map_err(|_| format!("invalid type of service {text:?}: expected 0 to 255, or 0x0 to 0xff"))
}

/// Parses `all` or a duration.
pub(super) fn parse_lookback(text: &str) -> Result<Lookback, String> {
    if text == "all" {
        return Ok(Lookback::All);
    }
    parse_duration(text).map(Lookback::Ns)
}

/// Parses a time: RFC 3339, or local time, today if no date is given. Returns nanoseconds since 1970.
pub fn parse_time(text: &str) -> Result<u64, String> {
    let zone = jiff::tz::TimeZone::system();
    let local = |at: jiff::civil::DateTime| Some(at.to_zoned(zone.clone()).ok()?.timestamp());
    let of_today = |at: jiff::civil::Time| local(jiff::Zoned::now().date().to_datetime(at));
    text.parse()
        .ok()
        .or_else(|| text.parse().ok().and_then(of_today))
        .or_else(|| text.parse().ok().and_then(local))
        .and_then(|at: jiff::Timestamp| u64::try_from(at.as_nanosecond()).ok())
        .ok_or_else(|| {
            format!(
                "invalid time {text:?}: expected for example 21:40:12, 2026-11-21 21:40:12 or \
                 2026-11-21T21:40:12Z, not before 1970"
            )
        })
}

/// Parses a duration such as `90s`, `1.5m`, `2h`, `250ms` or `1h30m`; a bare number is seconds, as
/// for ping. Returns nanoseconds.
pub fn parse_duration(text: &str) -> Result<u64, String> {
    let wrong =
        || format!("invalid duration {text:?}: expected for example 90s, 5m, 2h, 1d or 250ms");
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
        Err(wrong())
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
        ] {
            assert_eq!(parse_duration(text).ok(), ns, "{text}");
        }
    }
}
