//! SHELL. Times of `--since` and `--until`, the same in every command.

use jiff::civil::{Date, DateTime, Time};
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan, Zoned};

use super::values::parse_duration;

/// Parses a time: `-2h` before now, `now`, 03:14 (today), `yesterday 03:00`, a date with or without a time
/// of day, all in local time, or RFC 3339 with a zone. Returns nanoseconds since 1970.
///
/// # Errors
///
/// The message, with examples of what is accepted.
pub fn parse_time(text: &str) -> Result<u64, String> {
    parse_time_at(text, &Zoned::now())
}

fn parse_time_at(text: &str, now: &Zoned) -> Result<u64, String> {
    let wrong = || {
        format!(
            "invalid time {text:?}: expected for example -2h, 21:40:12, yesterday 21:40, \
             '2026-11-21 21:40:12' or 2026-11-21T21:40:12Z, of the years 1970 to 2500"
        )
    };
    let at = match text.strip_prefix('-') {
        Some(ago) => {
            let ago = parse_duration(ago).map_err(|_| wrong())?;
            let ago = i128::from(ago);
            Timestamp::from_nanosecond(now.timestamp().as_nanosecond() - ago).ok()
        }
        None => absolute(text.trim(), now),
    };
    at.and_then(|at| u64::try_from(at.as_nanosecond()).ok())
        .ok_or_else(wrong)
}

fn absolute(text: &str, now: &Zoned) -> Option<Timestamp> {
    if text == "now" {
        return Some(now.timestamp());
    }
    if let Ok(at) = text.parse() {
        return Some(at);
    }
    let today = now.date();
    let (word, rest) = text.split_once(' ').unwrap_or((text, ""));
    let day = match word {
        "today" => Some(today),
        "yesterday" => today.checked_sub(1.day()).ok(),
        _ => None,
    };
    let at = match day {
        Some(day) if rest.is_empty() => day.to_datetime(Time::midnight()),
        Some(day) => day.to_datetime(time_of_day(rest.trim())?),
        None => match time_of_day(text) {
            Some(time) => today.to_datetime(time),
            None => date_and_time(text)?,
        },
    };
    let zone: TimeZone = now.time_zone().clone();
    Some(at.to_zoned(zone).ok()?.timestamp())
}

fn time_of_day(text: &str) -> Option<Time> {
    // A date alone would be read as midnight.
    text.contains(':').then(|| text.parse().ok()).flatten()
}

fn date_and_time(text: &str) -> Option<DateTime> {
    let parsed: Option<DateTime> = text.parse().ok();
    parsed.or_else(|| Some(text.parse::<Date>().ok()?.to_datetime(Time::midnight())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_relative_local_or_absolute() {
        let now: Zoned = "2026-11-21T10:30:00+01:00[+01:00]".parse().unwrap();
        let read = |text: &str| {
            let ns = parse_time_at(text, &now).ok()?;
            Some(Timestamp::from_nanosecond(ns.into()).unwrap().to_string())
        };
        for (text, time) in [
            ("-2h", Some("2026-11-21T07:30:00Z")),
            ("-90s", Some("2026-11-21T09:28:30Z")),
            ("-1h30m", Some("2026-11-21T08:00:00Z")),
            ("now", Some("2026-11-21T09:30:00Z")),
            ("03:14", Some("2026-11-21T02:14:00Z")),
            ("03:14:15.5", Some("2026-11-21T02:14:15.5Z")),
            ("today 03:14", Some("2026-11-21T02:14:00Z")),
            ("yesterday 03:00", Some("2026-11-20T02:00:00Z")),
            ("yesterday", Some("2026-11-19T23:00:00Z")),
            ("2026-11-01", Some("2026-10-31T23:00:00Z")),
            ("2026-11-21 09:00", Some("2026-11-21T08:00:00Z")),
            ("2026-11-21T21:40:12Z", Some("2026-11-21T21:40:12Z")),
            ("2026-11-21T21:40:12+02:00", Some("2026-11-21T19:40:12Z")),
            ("25:00", None),
            ("yesterday 25:00", None),
            ("tomorrow", None),
            ("1969-01-01", None),
            ("-2x", None),
            ("-", None),
            ("2h", None),
            ("", None),
        ] {
            assert_eq!(read(text).as_deref(), time, "{text}");
        }
    }
}
