//! PURE. Errors in a configuration file, all of them at once, each with its place.

use std::fmt;

/// Maximum size of a configuration file in bytes. Every key written out, with as many rules as there may be,
/// takes less than 20 KB: a larger file was named by mistake.
pub const MAX_FILE_BYTES: usize = 1 << 20;
/// Maximum number of reported problems: a file of another kind has one in every line.
pub(super) const MAX_PROBLEMS: usize = 20;
/// Maximum characters of a value that a message quotes.
const MAX_QUOTED_CHARS: usize = 40;

/// A problem, and where it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Line and column, from 1, the column in characters; `None` for the file as a whole.
    pub place: Option<(usize, usize)>,
    /// What is wrong, and what it must be.
    pub what: String,
}

/// All problems of a configuration, in the order of the file. Never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problems {
    pub(super) reported: Vec<Problem>,
    /// Number of further problems.
    pub(super) more: usize,
}

impl Problems {
    /// Problems that are reported, and the number of further ones.
    pub(crate) fn new(reported: Vec<Problem>, more: usize) -> Problems {
        Problems { reported, more }
    }

    /// A single problem of the file as a whole.
    pub fn for_file(what: impl Into<String>) -> Problems {
        Problems::single(None, what.into())
    }

    pub(super) fn single(place: Option<(usize, usize)>, what: String) -> Problems {
        Problems {
            reported: vec![Problem { place, what }],
            more: 0,
        }
    }

    /// One line per problem, as FILE:LINE:COLUMN and the message.
    pub fn lines(&self, file: &str) -> Vec<String> {
        let reported = self.reported.iter().map(|problem| match problem.place {
            Some((line, column)) => format!("{file}:{line}:{column}: {}", problem.what),
            None => format!("{file}: {}", problem.what),
        });
        let more = (self.more > 0).then(|| format!("{file}: {} further errors", self.more));
        reported.chain(more).collect()
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str(&self.lines("configuration").join("\n"))
    }
}

impl std::error::Error for Problems {}

/// Converts a byte offset to line and column.
pub(crate) fn place(text: &str, at: usize) -> (usize, usize) {
    let at = (0..=at.min(text.len()))
        .rev()
        .find(|at| text.is_char_boundary(*at))
        .unwrap_or(0);
    let before = &text[..at];
    let begin = before.rfind('\n').map_or(0, |end| end + 1);
    let line = before.matches('\n').count() + 1;
    (line, before[begin..].chars().count() + 1)
}

/// Quotes a part of the file in one short line. Control characters are escaped where it is printed.
pub(super) fn quote(text: &str) -> String {
    let first = text.lines().next().unwrap_or_default();
    let mut short: String = first.chars().take(MAX_QUOTED_CHARS).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    short
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn wrong(text: &str) -> Vec<String> {
        let problems = Config::parse(text).expect_err(text);
        problems.lines("f")
    }

    #[test]
    fn single_problems_have_place_and_fix() {
        for (text, expected) in [
            // Unknown keys.
            (
                "[recorder.budget]\nblk = 1\n",
                "f:2:1: recorder.budget.blk: unknown key; did you mean `recorder.budget.bulk`?",
            ),
            (
                "recorder.budget.blk = 1\n",
                "f:1:17: recorder.budget.blk: unknown key; did you mean `recorder.budget.bulk`?",
            ),
            (
                "recorder = { budget = { blk = 1 } }",
                "f:1:25: recorder.budget.blk: unknown key; did you mean `recorder.budget.bulk`?",
            ),
            (
                "[pnig]\nrate = 1\n",
                "f:1:2: pnig: unknown key; did you mean `ping`?",
            ),
            (
                "[recorder]\nbulk = 1\n",
                "f:2:1: recorder.bulk: unknown key; did you mean `recorder.snap.bulk` or `recorder.budget.bulk` or `rings.bulk`?",
            ),
            (
                "rate_per_uid = 7\n",
                "f:1:1: rate_per_uid: unknown key; did you mean `ping.rate_per_uid`?",
            ),
            (
                "[control]\nnothing_like_it = 1\n",
                "f:2:1: control.nothing_like_it: unknown key; [control] has group, clients, clients_per_uid, memory, \
                 memory_per_uid",
            ),
            (
                "[[recorder.rule]]\nstore = \"bulk\"\nudp_port = [1]\n",
                "f:3:1: recorder.rule.udp_port: unknown key; did you mean `udp_ports`?",
            ),
            (
                "[[recorder.rules]]\nstore = \"bulk\"\n",
                "f:1:12: recorder.rules: unknown key; did you mean `recorder.rule`?",
            ),
            // Wrong types.
            (
                "[ping]\nrate = \"fast\"\n",
                "f:2:8: ping.rate = \"fast\": must be a whole number, like 100000",
            ),
            (
                "[recorder.snap]\nlink = -1\n",
                "f:2:8: recorder.snap.link = -1: must be a whole number from 0 to 4294967295, like 2048",
            ),
            (
                "[ping]\nrate = 1.5\n",
                "f:2:8: ping.rate = 1.5: must be a whole number, like 100000",
            ),
            (
                "[listeners]\njoin = \"no\"\n",
                "f:2:8: listeners.join = \"no\": must be true or false",
            ),
            (
                "[control]\ngroup = 7\n",
                "f:2:9: control.group = 7: must be a string in quotes, like \"netsonde\"",
            ),
            (
                "[interfaces]\nrecord = \"eth0\"\n",
                "f:2:10: interfaces.record = \"eth0\": must be a list in brackets",
            ),
            (
                "[interfaces]\nrecord = [\"eth0\",\n  7]\n",
                "f:3:3: interfaces.record = 7: must be a string in quotes",
            ),
            (
                "[sandbox]\nviolation = \"shout\"\n",
                "f:2:13: sandbox.violation = \"shout\": must be `kill` or `refuse`",
            ),
            (
                "[rings]\nbulk = true\n",
                "f:2:8: rings.bulk = true: must be a size: a number of bytes, or \"64 MiB\", \"512 KiB\", \"1 GiB\", like \"32 MiB\"",
            ),
            (
                "ping = 5\n",
                "f:1:1: ping = 5: must be a table with the keys rate, rate_per_uid, byte_rate, byte_rate_per_uid, interval_ms, \
                 targets, runs_per_uid, in_flight",
            ),
            (
                "[recorder]\nrule = 5\n",
                "f:2:8: recorder.rule: must be an array of tables: write [[recorder.rule]] before each rule",
            ),
            (
                "[[recorder.rule]]\nstore = \"bulk\"\nudp_ports = [1, 70000]\n",
                "f:3:17: recorder.rule.udp_ports = 70000: must be a whole number from 0 to 65535",
            ),
            // Out of range.
            (
                "[recorder.budget]\nbulk = \"1 KiB\"\n",
                "f:2:8: recorder.budget.bulk = 1024: must be from 256 KiB to 64 GiB",
            ),
            (
                "# \u{e4}\u{4e2d}\n[ping]\n  rate = 0 # \u{e4}\n",
                "f:3:10: ping.rate = 0: must be from 1 to 10000000",
            ),
            (
                "[[recorder.rule]]\nstore = \"bulk\"\n[[recorder.rule]]\nstore = \"x\"\n",
                "f:4:9: recorder.rule.store = x: must be one of link, group, icmp, names, routing, connections, bulk",
            ),
            (
                "[[recorder.rule]]\nstore = \"bulk\"\nethertypes = [0x800, 5]\n",
                "f:3:14: recorder.rule.ethertypes = 5: must be 0x0600 or more",
            ),
            (
                "[ping]\nrate = 100\nrate_per_uid = 101\n",
                "f:3:16: ping.rate_per_uid = 101: must be from 1 to 100",
            ),
            (
                "[control]\nclients_per_uid = 257\n",
                "f:2:19: control.clients_per_uid = 257: must be from 1 to control.clients",
            ),
        ] {
            assert_eq!(wrong(text), [expected], "{text}");
        }
        let unit = wrong("[rings]\nbulk = \"1 furlong\"\n").join("\n");
        assert!(
            unit.starts_with("f:2:8: rings.bulk = \"1 furlong\"") && unit.contains("MiB"),
            "{unit}"
        );
        let store = wrong("[[recorder.rule]]\nudp_ports = [1]\n").join("\n");
        assert!(
            store.starts_with("f:1:") && store.contains("missing key `store`"),
            "{store}"
        );
    }

    /// One of two related keys is enough: the default of the other is lowered to it.
    #[test]
    fn defaults_are_lowered_to_given_limits() {
        let read =
            |text: &str| Config::parse(text).unwrap_or_else(|wrong| panic!("{text}: {wrong}"));
        let slow = read("[ping]\nrate = 100\n").ping;
        assert_eq!((slow.rate, slow.rate_per_uid), (100, 100));
        let fast = read("[ping]\nrate = 1000000\n").ping;
        assert_eq!((fast.rate, fast.rate_per_uid), (1_000_000, 20_000));
        let given = read("[ping]\nrate = 100\nrate_per_uid = 7\n").ping;
        assert_eq!((given.rate, given.rate_per_uid), (100, 7));
        let few = read("[control]\nclients = 4\n").control;
        assert_eq!((few.clients, few.clients_per_uid), (4, 4));
        // Only keys in the file are reported.
        assert_eq!(wrong("[ping]\nrate = 0\n[control]\nclients = 0\n").len(), 2);
    }

    #[test]
    fn all_problems_are_reported_in_file_order() {
        let text = "[ping]\nrate = 0\ntarget = 5\nin_flight = \"x\"\n\n[rings]\nbulk = 7\n\n\
                    [recorder.budget]\nlink = 1\nbulk = 2\n\n[[recorder.rule]]\nstore = \"x\"\ntcp_ports = 5\n\n\
                    [nonsense]\n";
        let lines = wrong(text);
        let places: Vec<&str> = lines
            .iter()
            .map(|line| line.rsplit(": ").last().unwrap())
            .collect();
        let expected = [
            "f:2:8", "f:3:1", "f:4:13", "f:7:8", "f:10:8", "f:11:8", "f:14:9", "f:15:13", "f:17:2",
        ];
        assert_eq!(places, expected, "{lines:#?}");
    }

    #[test]
    fn too_many_rules_are_reported_at_the_rules() {
        let ports: Vec<String> = (1..=300).map(|port: u16| port.to_string()).collect();
        let text = format!(
            "[[recorder.rule]]\nstore = \"bulk\"\nudp_ports = [{}]\n",
            ports.join(",")
        );
        let lines = wrong(&text).join("\n");
        assert!(
            lines.starts_with("f:1:") && lines.contains("recorder.rule = 300: at most 256"),
            "{lines}"
        );
    }

    #[test]
    fn syntax_errors_have_a_place() {
        for (text, start) in [
            ("[ping\nrate = 5\n", "f:1:6: "),
            ("[ping]\nrate = \n", "f:2:"),
            ("[ping]\nrate = 1\nrate = 2\n", "f:3:1: duplicate key"),
            ("x = \"\u{0}\"\n", "f:1:6: "),
        ] {
            let lines = wrong(text);
            assert!(lines[0].starts_with(start), "{text:?}: {lines:#?}");
        }
        let many = wrong(&"nonsense\n".repeat(1000));
        assert_eq!(many.len(), MAX_PROBLEMS + 1);
        assert!(
            many[MAX_PROBLEMS].contains("further errors"),
            "{}",
            many[MAX_PROBLEMS]
        );
    }

    #[test]
    fn bytes_that_are_not_utf8_are_reported() {
        for (bytes, expected) in [
            (
                &b"\xef\xbb\xbf[ping]"[..],
                "f:1:1: starts with a UTF-8 byte-order mark",
            ),
            (
                b"\xff\xfe[\0p\0",
                "f:1:1: starts with a UTF-16 byte-order mark",
            ),
            (
                b"[ping]\nrate\xe9 = 5",
                "f:2:5: byte 0xe9 is not valid UTF-8",
            ),
            (b"# \xc3\xa4\xff", "f:1:4: byte 0xff is not valid UTF-8"),
        ] {
            let lines = Config::read(bytes).unwrap_err().lines("f");
            assert!(
                lines.len() == 1 && lines[0].starts_with(expected),
                "{lines:?}"
            );
        }
        let large = Config::read(&vec![b'#'; MAX_FILE_BYTES + 1])
            .unwrap_err()
            .lines("f");
        assert!(large[0].contains("more than 1048576 bytes"), "{large:?}");
        assert!(Config::read(&vec![b'#'; MAX_FILE_BYTES]).is_ok());
    }

    /// The largest files that are read. Quadratic time would take minutes.
    #[test]
    fn large_files_are_checked_in_linear_time() {
        let times = |text: &str| text.repeat(MAX_FILE_BYTES / text.len());
        for text in [
            times("[[recorder.rule]]\nstore = \"x\"\n"),
            times("[[recorder.rule]]\nstore = \"bulk\"\nudp_ports = [1]\n"),
            times("nonsense\n"),
            times("["),
            times("a."),
            format!("{} = 1\n", times("a").split_at(MAX_FILE_BYTES - 10).0),
            (0..MAX_FILE_BYTES / 16)
                .map(|n| format!("rate{n} = 1\n"))
                .collect(),
            (0..MAX_FILE_BYTES / 24)
                .map(|n| format!("[ping.rate{n}]\n"))
                .collect(),
            format!(
                "interfaces.record = [{}]",
                times("7,").split_at(MAX_FILE_BYTES - 30).0
            ),
        ] {
            let lines = Config::read(text.as_bytes()).unwrap_err().lines("f");
            assert!((1..=MAX_PROBLEMS + 1).contains(&lines.len()));
            assert!(lines.iter().all(|line| line.len() < 1000), "{lines:?}");
        }
    }

    proptest::proptest! {
        /// Every text yields a configuration or problems with places in the file.
        #[test]
        fn arbitrary_text_does_not_panic(text in "[a-z\\[\\]=.\"'{},0-9\n\u{e4} #-]{0,80}") {
            let mut text = text;
            for _ in 0..2 {
                if let Err(Problems { reported, .. }) = Config::parse(&text) {
                    let lines = text.split('\n').count();
                    proptest::prop_assert!(!reported.is_empty());
                    proptest::prop_assert!(reported.iter().all(|problem| problem.place.is_none_or(|(line, _)| line <= lines)));
                }
                text = format!("[ping]\nrate = {text}");
            }
        }
    }
}
