//! SHELL. A trace beside the path that the historian remembers of an earlier time.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::Path;

use serde::Serialize;

use crate::client::failure::Failure;
use crate::client::historian;
use crate::client::render::style::{Style, local_second};
use crate::client::render::table::{Column, table};
use netsonde_core::protocol::history::{PathCall, PathReply, TracedPath};
use netsonde_core::trace::Report;
use netsonde_core::trace::path::{Compared, Relation, compare, from_traced};

/// A hop that differs, or that is the same.
#[derive(Debug, Serialize)]
pub(super) struct Hop {
    /// TTL.
    hop: u8,
    /// How it is related to what it was: `same`, `changed`, `uncertain`, `silent_now` or `silent_before`.
    relation: &'static str,
    /// Addresses before.
    before: Vec<String>,
    /// Addresses now.
    now: Vec<String>,
    /// Since when the historian knows the present addresses, for one that changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    since: Option<String>,
}

/// A comparison.
#[derive(Debug, Serialize)]
pub(super) struct Comparison {
    /// Target of the remembered path.
    target: String,
    /// Addresses that it stands for.
    network: String,
    /// Since when the path was known as it is compared.
    since: String,
    /// Until when.
    until: String,
    /// Whether the target answered then.
    reached: bool,
    /// Hops of either.
    hops: Vec<Hop>,
}

/// Asks for the path to an address at a time in nanoseconds since 1970.
pub(super) fn ask(history: &Path, address: &str, time_ns: u64) -> Result<PathReply, Failure> {
    let call = PathCall {
        target: address.into(),
        time_ns: Some(time_ns),
    };
    Ok(historian::ask(history, "Path", &call)?)
}

/// Returns since when a hop has had its present addresses: the begin of the path from which on all that are known have
/// one of them.
fn since(one: &Compared, later: &[TracedPath]) -> Option<String> {
    let now: BTreeSet<String> = one.now.iter().map(IpAddr::to_string).collect();
    let has_it = |path: &&TracedPath| {
        let at = path.hops.iter().find(|hop| hop.hop == u64::from(one.hop));
        at.is_some_and(|hop| hop.addresses.iter().any(|address| now.contains(address)))
    };
    let last = later.iter().rev().take_while(has_it).last();
    last.map(|path| path.since.clone())
}

impl Comparison {
    /// Compares what was known with what a trace to an address shows.
    pub(super) fn new(known: &PathReply, address: IpAddr, report: &Report) -> Comparison {
        let path = &known.path;
        // The target of the network whose path is known stands for this one.
        let own = path.target.split('%').next().unwrap_or_default();
        let own = own.parse::<IpAddr>().ok().map(|own| (own, address));
        let compared = compare(&from_traced(&path.hops, own), &report.answers());
        let text = |all: &[IpAddr]| all.iter().map(IpAddr::to_string).collect();
        let hops = compared.iter().map(|one| {
            let since = match one.relation {
                Relation::Changed | Relation::Uncertain => since(one, &known.later),
                _ => None,
            };
            Hop {
                hop: one.hop,
                relation: match one.relation {
                    Relation::Same => "same",
                    Relation::Changed => "changed",
                    // The historian has had more answers.
                    Relation::Uncertain if since.is_some() => "changed",
                    Relation::Uncertain => "uncertain",
                    Relation::SilentNow => "silent_now",
                    Relation::SilentBefore => "silent_before",
                },
                before: text(&one.before),
                now: text(&one.now),
                since,
            }
        });
        Comparison {
            target: path.target.clone(),
            network: known.network.clone(),
            since: path.since.clone(),
            until: path.until.clone(),
            reached: path.reached,
            hops: hops.collect(),
        }
    }

    /// Renders the hops that differ.
    pub(super) fn text(&self, style: Style) -> String {
        let (network, target) = (&self.network, &self.target);
        let (since, until) = (local_second(&self.since), local_second(&self.until));
        let not = if self.reached {
            ""
        } else {
            ", which did not answer"
        };
        let mut text = style.bold(&format!(
            "COMPARED with the path to {network} from {since} to {until}, traced to {target}{not}"
        ));
        let differs = |hop: &&Hop| hop.relation != "same";
        let rows: Vec<Vec<String>> = self.hops.iter().filter(differs).map(row).collect();
        text.push('\n');
        if rows.is_empty() {
            text.push_str("the same at every hop\n");
            return text;
        }
        let columns = [
            Column::number("HOP"),
            Column::text("BEFORE"),
            Column::text("NOW"),
            Column::text("DIFFERENCE").shrinks(16),
        ];
        text.push_str(&table(style, &columns, &rows));
        text.push('\n');
        text
    }
}

fn row(hop: &Hop) -> Vec<String> {
    let joined = |all: &[String]| match all.is_empty() {
        true => "*".to_owned(),
        false => all.join(", "),
    };
    let words = match (hop.relation, &hop.since) {
        ("changed", Some(since)) => format!("changed, known since {}", local_second(since)),
        ("changed", None) => "changed, not known before this trace".into(),
        ("uncertain", _) => "may be an equal way that was not seen".into(),
        ("silent_now", _) => "does not answer now".into(),
        ("silent_before", _) => "did not answer before".into(),
        (other, _) => other.into(),
    };
    vec![
        hop.hop.to_string(),
        joined(&hop.before),
        joined(&hop.now),
        words,
    ]
}
