//! SHELL. Times of `--since` and `--until`, the same in every command.

use jiff::civil::{Date, DateTime, Time};
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan, Zoned};

use super::values::parse_duration;

/// Parses a time: `-2h` or `2 hours ago`, `now`, 03:14 (the last one that was), `yesterday 03:00`, a date with or
/// without a time of day, all in local time, or RFC 3339 with a zone. Returns nanoseconds since 1970.
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
            "invalid time {text:?}: expected for example -2h, '2 hours ago', 21:40:12, yesterday 21:40, \
             '2026-11-21 21:40:12' or 2026-11-21T21:40:12Z, of the years 1970 to 2500"
        )
    };
    let text = text.trim();
    let at = match text.strip_prefix('-') {
        Some(ago) => before(parse_duration(ago).ok(), now),
        None => match text.strip_suffix(" ago") {
            Some(words) => before(in_words(words), now),
            None => absolute(text, now),
        },
    };
    at.and_then(|at| u64::try_from(at.as_nanosecond()).ok())
        .ok_or_else(wrong)
}

fn before(ago_ns: Option<u64>, now: &Zoned) -> Option<Timestamp> {
    let at = now.timestamp().as_nanosecond() - i128::from(ago_ns?);
    Timestamp::from_nanosecond(at).ok()
}

/// Parses `2h`, `90 seconds` or `2 hours 30 min` in nanoseconds: numbers and units in turn.
fn in_words(words: &str) -> Option<u64> {
    let mut short = String::new();
    for word in words.split_whitespace() {
        short.push_str(match word {
            "second" | "seconds" | "secs" => "s",
            "minute" | "minutes" | "mins" => "m",
            "hour" | "hours" => "h",
            "day" | "days" => "d",
            other => other,
        });
    }
    parse_duration(&short).ok()
}

fn absolute(text: &str, now: &Zoned) -> Option<Timestamp> {
    if text == "now" {
        return Some(now.timestamp());
    }
    if let Ok(at) = text.parse() {
        return Some(at);
    }
    let zone: TimeZone = now.time_zone().clone();
    let local = |at: DateTime| Some(at.to_zoned(zone.clone()).ok()?.timestamp());
    let today = now.date();
    let yesterday = today.checked_sub(1.day()).ok()?;
    let (word, rest) = text.split_once(' ').unwrap_or((text, ""));
    let day = match word {
        "today" => Some(today),
        "yesterday" => Some(yesterday),
        _ => None,
    };
    match day {
        Some(day) if rest.is_empty() => local(day.to_datetime(Time::midnight())),
        Some(day) => local(day.to_datetime(time_of_day(rest.trim())?)),
        None => match time_of_day(text) {
            // Nothing has been recorded later today.
            Some(time) => local(today.to_datetime(time))
                .filter(|at| *at <= now.timestamp())
                .or_else(|| local(yesterday.to_datetime(time))),
            None => local(date_and_time(text)?),
        },
    }
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
            ("2h ago", Some("2026-11-21T07:30:00Z")),
            ("2 hours ago", Some("2026-11-21T07:30:00Z")),
            ("1 hour 30 minutes ago", Some("2026-11-21T08:00:00Z")),
            // It is 10:30: that of yesterday.
            ("22:15", Some("2026-11-20T21:15:00Z")),
            ("10:30", Some("2026-11-21T09:30:00Z")),
            ("10:31", Some("2026-11-20T09:31:00Z")),
            ("today 22:15", Some("2026-11-21T21:15:00Z")),
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
            ("ago", None),
            (" ago", None),
            ("two hours ago", None),
            ("", None),
        ] {
            assert_eq!(read(text).as_deref(), time, "{text}");
        }
    }

    #[test]
    fn times_of_day_are_those_of_the_wall() {
        // In Berlin clocks were set back at 03:00 to 02:00 on 2026-10-25.
        let zone = TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap();
        let now: Timestamp = "2026-10-25T09:30:00Z".parse().unwrap();
        let now = now.to_zoned(zone);
        let read = |text: &str| {
            let ns = parse_time_at(text, &now).unwrap();
            Timestamp::from_nanosecond(ns.into()).unwrap().to_string()
        };
        assert_eq!(read("01:30"), "2026-10-24T23:30:00Z");
        assert_eq!(read("03:30"), "2026-10-25T02:30:00Z");
        assert_eq!(read("yesterday 03:30"), "2026-10-24T01:30:00Z");
        assert_eq!(read("-24h"), "2026-10-24T09:30:00Z");
    }
}
