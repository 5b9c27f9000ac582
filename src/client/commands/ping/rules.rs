//! SHELL. Firewall rules of this host that dropped probes or replies: their counters before and after the
//! run. Only a caller with CAP_NET_ADMIN may read them, so this is done here and not in the service.

use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::process::Command;

use crate::client::namespace::{Network, network};
use crate::linux::netfilter::{self, DropRule};
use netsonde_core::probe::fate::UNEXPLAINED;
use netsonde_core::protocol::ping::{Probe, Remark};
use netsonde_core::text;

/// Maximum number of rules named in a remark.
const MAX_NAMED: usize = 3;

/// Why the rules could not be read.
#[derive(Clone, Debug, PartialEq)]
enum Unreadable {
    /// Without CAP_NET_ADMIN.
    NotPermitted,
    /// The service is in another network namespace, or that could not be found out.
    OtherNamespace,
    /// The kernel has no nf_tables, or refuses.
    Failed(String),
}

/// The rules before the run, and the drops that they may explain.
pub struct Rules {
    before: Result<Vec<DropRule>, Unreadable>,
    /// The rules after the run, read when they are first needed.
    after: OnceCell<Result<Vec<DropRule>, Unreadable>>,
    /// Probes by target that a firewall may have dropped: inbound, outbound.
    suspected: BTreeMap<String, (u64, u64)>,
}

type Key<'a> = (&'a str, &'a str, &'a str, u64);

fn key(rule: &DropRule) -> Key<'_> {
    (rule.family, &rule.table, &rule.chain, rule.handle)
}

fn read() -> Result<Vec<DropRule>, Unreadable> {
    netfilter::drop_rules().map_err(|error| match error.kind() {
        io::ErrorKind::PermissionDenied => Unreadable::NotPermitted,
        _ => Unreadable::Failed(error.to_string()),
    })
}

/// Text of a rule as nft(8) prints it, if nft is installed. It may be outside of PATH after su(1).
fn text(rule: &DropRule) -> Option<String> {
    let arguments = ["-a", "list", "chain", rule.family, &rule.table, &rule.chain];
    let listed = (["nft", "/usr/sbin/nft"].iter())
        .find_map(|nft| Command::new(nft).args(arguments).output().ok())?;
    let end = format!("# handle {}", rule.handle);
    let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
    let line = listed.lines().find_map(|line| line.strip_suffix(&end))?;
    Some(line.trim().to_owned())
}

fn named(rule: &DropRule) -> String {
    let DropRule {
        family,
        table,
        chain,
        handle,
        ..
    } = rule;
    if *handle == 0 {
        return format!("policy of table {family} {table}, chain {chain}");
    }
    let text = text(rule).map_or(String::new(), |text| format!(": {text}"));
    format!("rule of table {family} {table}, chain {chain}, handle {handle}{text}")
}

fn listed(rules: &[&DropRule]) -> String {
    let mut names: Vec<String> = rules
        .iter()
        .take(MAX_NAMED)
        .map(|rule| named(rule))
        .collect();
    if rules.len() > MAX_NAMED {
        names.push(format!("and {} more", rules.len() - MAX_NAMED));
    }
    names.join("; ")
}

impl Rules {
    /// Reads the rules before a run.
    pub fn before(socket: &Path) -> Rules {
        let before = read();
        let before = match before {
            Ok(_) if !matches!(network(socket), Ok(Network::Same)) => {
                Err(Unreadable::OtherNamespace)
            }
            other => other,
        };
        Rules {
            before,
            after: OnceCell::new(),
            suspected: BTreeMap::new(),
        }
    }

    /// Records the fate of a probe.
    pub fn add(&mut self, probe: &Probe) {
        let last_seen = probe.last_seen.as_deref().unwrap_or_default();
        let is_outbound = match probe.fate.as_str() {
            "dropped_inbound" if last_seen.contains(UNEXPLAINED) => false,
            "dropped_outbound" if last_seen.contains(UNEXPLAINED) => true,
            "not_sent" if probe.errno.as_deref() == Some("EPERM") => true,
            _ => return,
        };
        let (inbound, outbound) = self.suspected.entry(probe.target.clone()).or_default();
        *(if is_outbound { outbound } else { inbound }) += 1;
    }

    /// Records the drops of a run of which no probe was reported.
    pub fn add_quiet(&mut self, target: &str, fates: &BTreeMap<String, u64>) {
        let count = |fate: &str| fates.get(fate).copied().unwrap_or(0);
        let (inbound, outbound) = (count("dropped_inbound"), count("dropped_outbound"));
        if (inbound, outbound) != (0, 0) {
            let sums = self.suspected.entry(target.to_owned()).or_default();
            *sums = (sums.0 + inbound, sums.1 + outbound);
        }
    }

    /// Returns the remark about a target whose packets a firewall of this host may have dropped.
    pub fn remark(&self, target: &str) -> Option<Remark> {
        let (inbound, outbound) = *self.suspected.get(target)?;
        let remark = |text: String| {
            Some(Remark {
                id: "firewall-rules".into(),
                text,
            })
        };
        let before = match &self.before {
            Ok(before) => before,
            Err(why) => {
                return remark(format!(
                    "the firewall rules of this host were not compared: {}",
                    match why {
                        Unreadable::NotPermitted => "they can be read by root only",
                        Unreadable::OtherNamespace => "netsonded runs in another network namespace",
                        Unreadable::Failed(error) => error,
                    }
                ));
            }
        };
        let after = self.after.get_or_init(read).as_ref().ok()?;
        let concerns = |rule: &&DropRule| match rule.path {
            netfilter::Path::Inbound => inbound > 0,
            netfilter::Path::Outbound => outbound > 0,
            netfilter::Path::Forwarded => false,
            netfilter::Path::Any => true,
        };
        let after: Vec<&DropRule> = after.iter().filter(concerns).collect();
        let counted: Vec<(&DropRule, u64)> = (after.iter())
            .filter_map(|rule| {
                let old = before.iter().find(|old| key(old) == key(rule));
                let old = old.map_or(0, |old| old.packets.unwrap_or(0));
                let more = rule.packets?.saturating_sub(old);
                (more > 0).then_some((*rule, more))
            })
            .collect();
        if !counted.is_empty() {
            let names: Vec<String> = (counted.iter().take(MAX_NAMED))
                .map(|(rule, more)| {
                    format!("{} by the {}", text::counted(*more, "packet"), named(rule))
                })
                .collect();
            return remark(format!(
                "dropped by this host's firewall during the run: {}",
                names.join("; ")
            ));
        }
        let without: Vec<&DropRule> = (after.into_iter())
            .filter(|rule| rule.packets.is_none())
            .collect();
        remark(if without.is_empty() {
            "no nftables rule of this host counted a drop: check `tc filter show` and iptables-legacy".into()
        } else {
            format!(
                "no counter of an nftables rule increased; these drop packets without a counter: {}",
                listed(&without)
            )
        })
    }
}
