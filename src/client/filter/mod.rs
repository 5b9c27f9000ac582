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

/// DLT_EN10MB and DLT_RAW.
const ETHERNET: i32 = 1;
const RAW: i32 = 12;

const MLD: &str =
    "(ip6[6] = 0 and ip6[40] = 58 and (ip6[48] >= 130 and ip6[48] <= 132 or ip6[48] = 143))";
const ICMP6: &str = "(icmp6 or (ip6[6] = 0 and ip6[40] = 58))";

/// What is wrong with a filter.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The compiler is not there.
    #[error(
        "filter expressions need libpcap at run time: install it (Debian: libpcap0.8, Fedora: \
         libpcap), or use --host, --port, --proto, --group and --vlan, which do not"
    )]
    NoLibpcap,
    /// It does not compile.
    #[error("filter {expression:?}: {why}")]
    Syntax {
        /// As it was given.
        expression: String,
        /// libpcap's word.
        why: String,
    },
    /// What libpcap made is refused.
    #[error("filter {expression:?}: compiled to a program that is not valid: {why}")]
    Program {
        /// As it was given.
        expression: String,
        /// Where and why.
        why: String,
    },
}

/// A filter that has been read.
pub struct Filter {
    libpcap: Libpcap,
    expression: String,
}

impl Filter {
    /// Reads an expression; whether it compiles shows when it is compiled.
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
                why,
            })
    }

    /// The programs that the service is sent. One that asks for Ethernet addresses, say, does not
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

    /// The filter for frames of a file.
    pub fn local(&self, link: LinkType) -> Result<LocalFilter, Error> {
        let dlt = match link {
            LinkType::RawIp => RAW,
            other => i32::from(other.to_linktype()),
        };
        let program = Program::verify(self.compile(dlt)?).map_err(|invalid| Error::Program {
            expression: self.expression.clone(),
            why: invalid.to_string(),
        })?;
        let view = if link == LinkType::Ethernet {
            View::Stripped
        } else {
            View::Wire
        };
        Ok(LocalFilter { program, view })
    }
}

/// A filter for frames of one link type.
pub struct LocalFilter {
    program: Program,
    view: View,
}

impl LocalFilter {
    /// Does the frame match?
    pub fn matches(&self, frame: &Frame<'_>) -> bool {
        self.program
            .run_view(frame.bytes, frame.original_length, self.view)
            != 0
    }
}

/// Words (letters, digits and what names, addresses and numbers are made of), and everything else a
/// character at a time.
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

/// A tag that is there, with that identifier or with any.
fn vlan(identifier: Option<&str>) -> String {
    let tag = |at: u64| {
        let same = identifier.map(|number| format!(" and ether[{}:2] & 0xfff = {number}", at + 2));
        format!("(ether[{at}:2] != 0{})", same.unwrap_or_default())
    };
    format!("({} or {})", tag(TAGS_AT), tag(TAGS_AT + 4))
}

/// Puts our meaning of `vlan`, `mld` and `icmp6` in; an accessor like `icmp6[0]` and a name behind
/// `proto` stay as they are.
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
