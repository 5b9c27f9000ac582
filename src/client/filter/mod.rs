//! SHELL. From tcpdump's filter language to programs. libpcap compiles; what it does differently for
//! a file than on a live interface is put right here, so that a filter finds what a user of tcpdump
//! expects:
//!
//! - filters look at frames without their VLAN tags, as Linux shows them on a live interface, so
//!   that `udp port 5000` finds tagged packets too. `vlan` and `vlan 100` ask for the tags (any of
//!   the first two) and, unlike libpcap's, leave the meaning of what stands behind them alone.
//!   Several in a row (`vlan 30 and vlan 100`) ask for the first tag and the second;
//! - `inbound` and `outbound` use the direction that the record and pcapng files have;
//! - `icmp6` also finds what stands behind a hop-by-hop header, which is where all of MLD stands;
//! - `mld` is a word of its own.

mod libpcap;

use crate::client::filter::libpcap::Libpcap;
use netsonde_core::protocol::capture;
use netsonde_core::recorder::filter::{
    DIRECTION_AT, INBOUND, Instruction, OUTBOUND, Program, TAGS_AT, View,
};
use netsonde_core::wire::{Direction, Frame, LinkType};

/// DLT_EN10MB.
const ETHERNET: i32 = 1;
/// DLT_RAW.
const RAW: i32 = 12;
/// Cooked frames carry their direction, and libpcap knows where.
const LINUX_SLL: i32 = 113;
const LINUX_SLL2: i32 = 276;
/// DLT_ATM_RFC1483.
const ATM: i32 = 11;
/// Link types with words of their own: raw IP, 802.11 with and without radiotap, PPP, Linux cooked.
const OTHERS: [i32; 5] = [RAW, 105, 127, 9, LINUX_SLL];

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
        let links = Links {
            has_tags: link_type == ETHERNET,
            has_direction: link_type != LINUX_SLL && link_type != LINUX_SLL2,
        };
        let rewritten = rewrite(&words(&self.expression), links).map_err(|why| Error::Syntax {
            expression: self.expression.clone(),
            why: why.into(),
        })?;
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
        // Behind a loopback header is an IP packet; libpcap would test the header for the family number of this
        // system only.
        let skip = match link {
            LinkType::Null | LinkType::Loop => 4,
            _ => 0,
        };
        // The two numbers that differ from those of the compiler (DLT_).
        let dlt = match (link, number) {
            (LinkType::RawIp | LinkType::Null | LinkType::Loop, _) => RAW,
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
        Ok(Some(LocalFilter {
            program,
            view,
            skip,
        }))
    }
}

/// A filter for frames of one link type.
pub struct LocalFilter {
    program: Program,
    view: View,
    /// Bytes in front of those that the program sees.
    skip: usize,
}

impl LocalFilter {
    /// Returns whether the frame matches.
    pub fn matches(&self, frame: &Frame<'_>, direction: Direction) -> bool {
        let length = frame.original_length;
        let bytes = frame.bytes.get(self.skip..).unwrap_or_default();
        self.program.run_view(bytes, length, direction, self.view) != 0
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

/// What frames of a link type have for netsonde's definitions to test.
#[derive(Clone, Copy)]
struct Links {
    has_tags: bool,
    has_direction: bool,
}

/// Expression for a VLAN tag, with this ID or with any: `place` 0 or 1, or without it either.
fn vlan(identifier: Option<&str>, place: Option<u64>) -> String {
    let tag = |place: u64| {
        let at = TAGS_AT + place * 4;
        let same = identifier.map(|number| format!(" and ether[{}:2] & 0xfff = {number}", at + 2));
        format!("(ether[{at}:2] != 0{})", same.unwrap_or_default())
    };
    match place {
        Some(place) => tag(place),
        None => format!("({} or {})", tag(0), tag(1)),
    }
}

/// Replaces `vlan`, `mld`, `icmp6`, `inbound` and `outbound` by netsonde's definitions. An accessor such as
/// `icmp6[0]` and a name after `proto` are kept.
fn rewrite(words: &[&str], links: Links) -> Result<String, &'static str> {
    let mut text = String::new();
    let solid = |at: &usize| !words[*at].trim().is_empty();
    let mut skip_to = 0;
    let places = vlan_places(words)?;
    for (at, word) in words.iter().enumerate() {
        if at < skip_to {
            continue;
        }
        let next = (at + 1..words.len()).find(solid);
        match *word {
            "vlan" if !is_name(words, at) => {
                let number = next.filter(|at| words[*at].starts_with(|c: char| c.is_ascii_digit()));
                if let Some(at) = number {
                    skip_to = at + 1;
                }
                if links.has_tags {
                    let place = places.get(&at).copied().flatten();
                    text.push_str(&vlan(number.map(|at| words[at]), place));
                } else {
                    // Other links have no tags.
                    text.push_str("(len < 0)");
                }
            }
            "mld" if !is_name(words, at) => text.push_str(MLD),
            "icmp6" if !is_name(words, at) && next.map(|at| words[at]) != Some("[") => {
                text.push_str(ICMP6);
            }
            "inbound" | "outbound" if links.has_direction && !is_name(words, at) => {
                let value = if *word == "inbound" {
                    INBOUND
                } else {
                    OUTBOUND
                };
                text.push_str(&format!("(link[{DIRECTION_AT}:1] = {value})"));
            }
            other => text.push_str(other),
        }
    }
    Ok(text)
}

/// Returns whether the word at `at` is a name, such as that of a host or protocol.
fn is_name(words: &[&str], at: usize) -> bool {
    let before = words[..at]
        .iter()
        .rev()
        .find(|word| !word.trim().is_empty());
    let names = ["proto", "protochain", "\\", "port", "host", "gateway"];
    before.is_some_and(|word| names.contains(word))
}

/// The tag that each `vlan` tests, by the index of its word: `None` for either of the first two, or a place where
/// several are joined by `and` alone, since each then stands for the next tag.
fn vlan_places(
    words: &[&str],
) -> Result<std::collections::BTreeMap<usize, Option<u64>>, &'static str> {
    let mut chains: Vec<Vec<usize>> = Vec::new();
    let mut joined = false;
    for (at, word) in words.iter().enumerate() {
        match *word {
            "vlan" if !is_name(words, at) => {
                match chains.last_mut().filter(|_| joined) {
                    Some(chain) => chain.push(at),
                    None => chains.push(vec![at]),
                }
                joined = true;
            }
            "or" | "not" | "|" | "!" | "(" | ")" => joined = false,
            _ => {}
        }
    }
    let mut places = std::collections::BTreeMap::new();
    for chain in chains {
        if chain.len() > 2 {
            return Err("a filter can ask for at most two VLAN tags of one packet");
        }
        let single = chain.len() == 1;
        for (place, at) in (0u64..).zip(chain) {
            places.insert(at, (!single).then_some(place));
        }
    }
    Ok(places)
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
            (
                "vlan 7 and udp",
                format!("{} and udp", vlan(Some("7"), None)),
            ),
            ("not vlan", format!("not {}", vlan(None, None))),
            (
                "vlan 30 and udp and vlan",
                format!(
                    "{} and udp and {}",
                    vlan(Some("30"), Some(0)),
                    vlan(None, Some(1))
                ),
            ),
            (
                "vlan 30 or vlan 7",
                format!("{} or {}", vlan(Some("30"), None), vlan(Some("7"), None)),
            ),
            (
                "inbound and not host outbound",
                format!("(link[{DIRECTION_AT}:1] = 1) and not host outbound"),
            ),
            ("mld or host mld", format!("{MLD} or host mld")),
        ] {
            let links = Links {
                has_tags: true,
                has_direction: true,
            };
            assert_eq!(rewrite(&words(from), links).unwrap(), to, "{from}");
        }
    }
}
