//! SHELL. Color, width, and the formats of sizes and durations.
//!
//! Color is used on a terminal unless it is turned off.

use clap::ValueEnum;

use crate::client::screen::allow_styles;
use netsonde_core::screen::is_unsafe;

/// When to use color.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Color {
    /// If standard output is a terminal and NO_COLOR is not set.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// Whether output is colored, and how wide it may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Style {
    on: bool,
    /// Width in columns; `None` for unlimited.
    width: Option<usize>,
}

impl Style {
    /// Uses the option, or for `auto` NO_COLOR and whether standard output is a terminal. The width is
    /// unlimited.
    pub fn new(color: Color) -> Style {
        let on = match color {
            Color::Always => true,
            Color::Never => false,
            Color::Auto => {
                std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
                    && std::io::IsTerminal::is_terminal(&std::io::stdout())
            }
        };
        if on {
            allow_styles();
        }
        Style { on, width: None }
    }

    /// Limits the width of the output, in columns; `None` for unlimited.
    pub fn with_width(self, width: Option<usize>) -> Style {
        Style { width, ..self }
    }

    /// Maximum width of the output in columns; `None` if it is unlimited.
    pub fn width(self) -> Option<usize> {
        self.width
    }

    fn paint(self, style: anstyle::Style, text: &str) -> String {
        let mut painted = String::with_capacity(text.len());
        self.paint_to(&mut painted, style, |to| to.push_str(text));
        painted
    }

    /// Formats less important text.
    pub fn dim(self, text: &str) -> String {
        self.paint(anstyle::Style::new().dimmed(), text)
    }

    /// Adds less important text that `write` writes.
    pub fn dim_to(self, to: &mut String, write: impl FnOnce(&mut String)) {
        self.paint_to(to, anstyle::Style::new().dimmed(), write);
    }

    /// Adds more important text that `write` writes.
    pub fn bold_to(self, to: &mut String, write: impl FnOnce(&mut String)) {
        self.paint_to(to, anstyle::Style::new().bold(), write);
    }

    fn paint_to(self, to: &mut String, style: anstyle::Style, write: impl FnOnce(&mut String)) {
        if self.on {
            to.push_str(&style.render().to_string());
        }
        write(to);
        if self.on {
            to.push_str(&style.render_reset().to_string());
        }
    }

    /// Formats more important text.
    pub fn bold(self, text: &str) -> String {
        self.paint(anstyle::Style::new().bold(), text)
    }

    /// Formats text about a problem.
    pub fn warn(self, text: &str) -> String {
        self.paint(anstyle::AnsiColor::Red.on_default(), text)
    }

    /// Formats text about a good state.
    pub fn good(self, text: &str) -> String {
        self.paint(anstyle::AnsiColor::Green.on_default(), text)
    }
}

/// Escapes text of other programs (process names, paths) that stands in a line: as on the way to the screen, and
/// line feeds and backslashes, so that the escapes are certain.
pub fn safe(text: &str) -> String {
    let shown = |letter: char| match is_unsafe(letter) || letter == '\\' {
        true => letter.escape_default().to_string(),
        false => letter.to_string(),
    };
    text.chars().map(shown).collect()
}

/// Formats a size in bytes for people.
pub fn bytes(count: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut value = count as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit < UNITS.len() - 1 {
        value /= 1024.0;
        unit += 1;
    }
    if unit == 0 {
        format!("{count} B")
    } else {
        format!("{value:.1} {}", UNITS[unit])
    }
}

/// Formats a duration in nanoseconds for people.
pub fn duration(ns: u64) -> String {
    let seconds = ns / 1_000_000_000;
    match seconds {
        0 => format!("{} ms", ns / 1_000_000),
        1..60 => format!("{:.1} s", ns as f64 / 1e9),
        60..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        3600..86_400 => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
        _ => format!("{} d {} h", seconds / 86_400, seconds % 86_400 / 3600),
    }
}

/// Formats nanoseconds as milliseconds without unit, as ping(8) does: three significant digits, down to
/// microseconds.
pub fn ms(ns: u64) -> String {
    let value = ns as f64 / 1e6;
    match value {
        v if v >= 100.0 => format!("{v:.0}"),
        v if v >= 10.0 => format!("{v:.1}"),
        v if v >= 1.0 => format!("{v:.2}"),
        v => format!("{v:.3}"),
    }
}

/// Formats a share in percent: never 0 or 100 % unless it is none or all.
pub fn share(part: u64, whole: u64) -> String {
    if part == 0 || whole == 0 {
        return "0".into();
    }
    if part >= whole {
        return "100%".into();
    }
    match part as f64 * 100.0 / whole as f64 {
        share if share < 0.1 => "< 0.1%".into(),
        share if share > 99.9 => "> 99.9%".into(),
        share => format!("{share:.1}%"),
    }
}

/// Formats a duration in nanoseconds as options take it: 90s, 5m, 1.5s.
pub fn short_duration(ns: u64) -> String {
    let seconds = ns / 1_000_000_000;
    match seconds {
        _ if !ns.is_multiple_of(1_000_000_000) => format!("{}s", ns as f64 / 1e9),
        0 => "0s".into(),
        _ if seconds.is_multiple_of(86_400) => format!("{}d", seconds / 86_400),
        _ if seconds.is_multiple_of(3600) => format!("{}h", seconds / 3600),
        _ if seconds.is_multiple_of(60) => format!("{}m", seconds / 60),
        _ => format!("{seconds}s"),
    }
}

/// Formats nanoseconds since 1970 as local time to the second.
pub fn local_time_ns(ns: u64) -> String {
    let at = jiff::Timestamp::from_nanosecond(ns.into()).unwrap_or_default();
    let at = at.to_zoned(jiff::tz::TimeZone::system());
    at.strftime("%Y-%m-%d %H:%M:%S").to_string()
}

/// Formats a time of RFC 3339 for people: local, to the microsecond, as the times of packets are.
pub fn local_time(text: &str) -> String {
    local(text, "%Y-%m-%d %H:%M:%S.%6f")
}

/// Formats a time of RFC 3339 for people: local, to the second.
pub fn local_second(text: &str) -> String {
    local(text, "%Y-%m-%d %H:%M:%S")
}

fn local(text: &str, format: &str) -> String {
    let shown = |at: jiff::Timestamp| {
        let at = at.to_zoned(jiff::tz::TimeZone::system());
        at.strftime(format).to_string()
    };
    text.parse().map_or_else(|_| text.to_owned(), shown)
}

/// Parses a time of RFC 3339, in nanoseconds since 1970.
pub fn time_ns(text: &str) -> Option<u64> {
    let time = text.parse::<jiff::Timestamp>().ok()?;
    u64::try_from(time.as_nanosecond()).ok()
}

/// Formats the time before `now`.
pub fn age(now: &str, then: &str) -> String {
    let read = |text: &str| text.parse::<jiff::Timestamp>().ok();
    match (read(now), read(then)) {
        (Some(now), Some(then)) => {
            let ns = now.as_nanosecond().saturating_sub(then.as_nanosecond());
            duration(u64::try_from(ns).unwrap_or(0))
        }
        _ => then.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terminal_escapes_in_names() {
        assert_eq!(safe("a b\u{e4}/c"), "a b\u{e4}/c");
        assert_eq!(safe("e\u{1b}[31m0\n"), "e\\u{1b}[31m0\\n");
        assert_eq!(safe("\u{202e}x\\"), "\\u{202e}x\\\\");
    }
}
