//! SHELL. From tcpdump's filter language to programs. libpcap compiles; what it does differently for
//! a file than on a live interface is put right here, so that a filter finds what a user of tcpdump
//! expects:
//!
//! - filters look at frames without their VLAN tags, as Linux shows them on a live interface, so
//!   that `udp port 5000` finds tagged packets too. `vlan` and `vlan 100` ask for the tags (any of
//!   the first two) and, unlike libpcap's, leave the meaning of what stands behind them alone;
//! - `icmp6` also finds what stands behind a hop-by-hop header, which is where all of MLD stands;
//! - `mld` is a word of its own.

mod libpcap;

use crate::client::filter::libpcap::Libpcap;
use netsonde_core::protocol::capture;
use netsonde_core::recorder::filter::{Instruction, Program, TAGS_AT, View};
use netsonde_core::wire::{Frame, LinkType};

/// DLT_EN10MB.
const ETHERNET: i32 = 1;
/// DLT_RAW.
const RAW: i32 = 12;
/// DLT_ATM_RFC1483.
const ATM: i32 = 11;
/// Link types with words of their own: raw IP, 802.11 with and without radiotap, PPP, Linux cooked.
const OTHERS: [i32; 5] = [RAW, 105, 127, 9, 113];

const MLD: &str =
    "(ip6[6] = 0 and ip6[40] = 58 and (ip6[48] >= 130 and ip6[48] <= 132 or ip6[48] = 143))";
const ICMP6: &str = "(icmp6 or (ip6[6] = 0 and ip6[40] = 58))";

/// Why a filter was rejected.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// libpcap is not installed.
    #[error(
        "filter expressions need libpcap at run time: install it (Debian: libpcap0.8, Fedora: \
            libpcap), or use --host, --port, --proto, --group and --vlan, which work without it"
    )]
    NoLibpcap,
    /// The expression does not compile.
    #[error("filter {expression:?}: {why}")]
    Syntax {
        /// The expression.
        expression: String,
        /// The message of libpcap.
        why: String,
    },
    /// libpcap compiled it to a program that is rejected.
    #[error("filter {expression:?}: compiled to an invalid program: {why}")]
    Program {
        /// The expression.
        expression: String,
        /// The first invalid instruction.
        why: String,
    },
}

/// A parsed filter.
pub struct Filter {
    libpcap: Libpcap,
    expression: String,
}

impl Filter {
    /// Parses an expression. Errors of the compiler appear when it is compiled.
    pub fn new(expression: &str) -> Result<Filter, Error> {
        Ok(Filter {
            libpcap: Libpcap::load().ok_or(Error::NoLibpcap)?,
            expression: expression.into(),
        })
    }

    fn compile(&self, link_type: i32) -> Result<Vec<Instruction>, Error> {
        let rewritten = rewrite(&words(&self.expression), link_type == ETHERNET);
        self.libpcap
            .compile(link_type, &rewritten)
            .map_err(|why| Error::Syntax {
                expression: self.expression.clone(),
                why: match option(&self.expression) {
                    Some(option) => format!("{why} ({option}: options precede the filter)"),
                    None => why,
                },
            })
    }

    /// Returns the programs for the service. An expression that tests Ethernet addresses does not
    /// compile for links without them, and no packet of such a link can match it.
    pub fn programs(&self) -> Result<Vec<capture::Program>, Error> {
        let program = |link_type: &str, code: Vec<Instruction>| capture::Program {
            link_type: link_type.into(),
            tags: "stripped".into(),
            code: code
                .iter()
                .flat_map(|i| [i.code.into(), i.jt.into(), i.jf.into(), i.k])
                .collect(),
        };
        let mut programs = vec![program("ethernet", self.compile(ETHERNET)?)];
        if let Ok(code) = self.compile(RAW) {
            programs.push(program("raw", code));
        }
        Ok(programs)
    }

    /// Checks the expression for files, whose link types are not known before they are read: it must
    /// compile for one of the usual ones.
    pub fn check(&self) -> Result<(), Error> {
        let first = self.compile(ETHERNET);
        let others = || OTHERS.iter().any(|dlt| self.compile(*dlt).is_ok());
        match first {
            Err(error) if !others() => Err(error),
            _ => Ok(()),
        }
    }

    /// Returns the filter for frames of a file with this LINKTYPE_ number, or `None` if the expression
    /// does not compile for it: then no frame matches.
    pub fn local(&self, number: u32) -> Result<Option<LocalFilter>, Error> {
        let link = LinkType::from_linktype(number);
        // The two numbers that differ from those of the compiler (DLT_).
        let dlt = match (link, number) {
            (LinkType::RawIp, _) => RAW,
            (_, 100) => ATM,
            _ => i32::try_from(number).unwrap_or(i32::MAX),
        };
        let Ok(code) = self.compile(dlt) else {
            return Ok(None);
        };
        let program = Program::verify(code).map_err(|invalid| Error::Program {
            expression: self.expression.clone(),
            why: invalid.to_string(),
        })?;
        let view = if link == LinkType::Ethernet {
            View::Stripped
        } else {
            View::Wire
        };
        Ok(Some(LocalFilter { program, view }))
    }
}

/// A filter for frames of one link type.
pub struct LocalFilter {
    program: Program,
    view: View,
}

impl LocalFilter {
    /// Returns whether the frame matches.
    pub fn matches(&self, frame: &Frame<'_>) -> bool {
        self.program
            .run_view(frame.bytes, frame.original_length, self.view)
            != 0
    }
}

/// Returns the first word of an expression that looks like an option.
fn option(expression: &str) -> Option<&str> {
    let is_option = |word: &&str| {
        let name = word.trim_start_matches('-');
        name.len() < word.len() && name.starts_with(|c: char| c.is_ascii_alphabetic())
    };
    expression.split_whitespace().find(is_option)
}

/// Splits an expression into words (letters, digits and the characters of names, addresses and
/// numbers) and single other characters.
fn words(expression: &str) -> Vec<&str> {
    let part_of_word = |c: char| c.is_alphanumeric() || "-_.:/\\".contains(c);
    let mut words = Vec::new();
    let mut rest = expression;
    while let Some(first) = rest.chars().next() {
        let end = if part_of_word(first) {
            rest.find(|c| !part_of_word(c)).unwrap_or(rest.len())
        } else {
            first.len_utf8()
        };
        words.push(&rest[..end]);
        rest = &rest[end..];
    }
    words
}

/// Expression for a VLAN tag, with this ID or with any.
fn vlan(identifier: Option<&str>) -> String {
    let tag = |at: u64| {
        let same = identifier.map(|number| format!(" and ether[{}:2] & 0xfff = {number}", at + 2));
        format!("(ether[{at}:2] != 0{})", same.unwrap_or_default())
    };
    format!("({} or {})", tag(TAGS_AT), tag(TAGS_AT + 4))
}

/// Replaces `vlan`, `mld` and `icmp6` by netsonde's definitions. An accessor such as `icmp6[0]` and
/// a name after `proto` are kept.
fn rewrite(words: &[&str], tags: bool) -> String {
    let mut text = String::new();
    let solid = |at: &usize| !words[*at].trim().is_empty();
    let mut skip_to = 0;
    for (at, word) in words.iter().enumerate() {
        if at < skip_to {
            continue;
        }
        let next = (at + 1..words.len()).find(solid);
        let before = (0..at).rev().find(solid).map(|at| words[at]);
        let is_name = matches!(
            before,
            Some("proto" | "protochain" | "\\" | "port" | "host" | "gateway")
        );
        match *word {
            "vlan" if !is_name => {
                let number = next.filter(|at| words[*at].starts_with(|c: char| c.is_ascii_digit()));
                if let Some(at) = number {
                    skip_to = at + 1;
                }
                if tags {
                    text.push_str(&vlan(number.map(|at| words[at])));
                } else {
                    // Other links have no tags.
                    text.push_str("(len < 0)");
                }
            }
            "mld" if !is_name => text.push_str(MLD),
            "icmp6" if !is_name && next.map(|at| words[at]) != Some("[") => text.push_str(ICMP6),
            other => text.push_str(other),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_in_expressions_are_found() {
        assert_eq!(option("udp port 53 -c 5"), Some("-c"));
        assert_eq!(option("udp --last 5m"), Some("--last"));
        assert_eq!(option("ip[2:2] - 20 > 5 or len -4 > x-y"), None);
    }

    #[test]
    fn rewrites_words_only() {
        for (from, to) in [
            ("udp port 53", "udp port 53".to_owned()),
            ("icmp6", ICMP6.to_owned()),
            ("not icmp6 and host a", format!("not {ICMP6} and host a")),
            ("icmp6[0] = 1", "icmp6[0] = 1".to_owned()),
            (
                "icmp6 [icmp6type] = icmp6-echo",
                "icmp6 [icmp6type] = icmp6-echo".to_owned(),
            ),
            ("ip6 proto icmp6", "ip6 proto icmp6".to_owned()),
            ("vlan 7 and udp", format!("{} and udp", vlan(Some("7")))),
            ("not vlan", format!("not {}", vlan(None))),
            ("mld or host mld", format!("{MLD} or host mld")),
        ] {
            assert_eq!(rewrite(&words(from), true), to, "{from}");
        }
    }
}
