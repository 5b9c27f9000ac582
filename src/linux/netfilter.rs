//! SHELL. Rules of nf_tables that drop packets, with their counters, in this thread's network namespace. iptables
//! keeps its rules there, too, unless it is the legacy one. Reading them needs CAP_NET_ADMIN.
//!
//! The kernel is asked directly: nft(8) may be missing, or built without JSON.

use std::collections::HashMap;
use std::{fs, io};

use netlink_sys::protocols::NETLINK_NETFILTER;

use super::netlink::Netlink;

/// Maximum number of dropping rules kept; the lists of an address per rule that exist have some thousands.
const MAX_RULES: usize = 16_384;

// linux/netfilter/nfnetlink.h and nf_tables.h: the subsystem, and requests for lists.
const SUBSYSTEM: u16 = 10 << 8;
const GET_CHAIN: u16 = SUBSYSTEM | 4;
const GET_RULE: u16 = SUBSYSTEM | 7;
/// Bytes of `struct nfgenmsg`: family, version, resource.
const HEADER: usize = 4;

// NFTA_CHAIN_: attributes of a chain.
const CHAIN_TABLE: u16 = 1;
const CHAIN_NAME: u16 = 3;
const CHAIN_HOOK: u16 = 4;
const CHAIN_POLICY: u16 = 5;
const HOOK_NUMBER: u16 = 1;
// NFTA_RULE_: attributes of a rule.
const RULE_TABLE: u16 = 1;
const RULE_CHAIN: u16 = 2;
const RULE_HANDLE: u16 = 3;
const RULE_EXPRESSIONS: u16 = 4;
// NFTA_EXPR_, NFTA_COUNTER_, NFTA_IMMEDIATE_, NFTA_DATA_, NFTA_VERDICT_.
const EXPRESSION_NAME: u16 = 1;
const EXPRESSION_DATA: u16 = 2;
const COUNTER_PACKETS: u16 = 2;
const IMMEDIATE_DATA: u16 = 2;
const DATA_VERDICT: u16 = 2;
const VERDICT_CODE: u16 = 1;
/// NF_DROP.
const DROP: u32 = 0;

/// Direction of the packets that a chain sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Path {
    /// Packets that come in.
    Inbound,
    /// Packets that leave.
    Outbound,
    /// Packets that this host forwards.
    Forwarded,
    /// Unknown: the chain has no hook, and others jump to it.
    Any,
}

/// A rule that drops or rejects packets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DropRule {
    /// Family of its table, as nft(8) names it.
    pub family: &'static str,
    /// Name of the table.
    pub table: String,
    /// Name of the chain.
    pub chain: String,
    /// Handle of the rule; 0 for the policy of the chain.
    pub handle: u64,
    /// Direction of the packets that the chain sees.
    pub path: Path,
    /// Packets that it dropped; `None` without a counter behind all of its conditions.
    pub packets: Option<u64>,
}

fn family_name(number: u8) -> &'static str {
    match number {
        1 => "inet",
        2 => "ip",
        3 => "arp",
        5 => "netdev",
        7 => "bridge",
        10 => "ip6",
        _ => "family unknown",
    }
}

/// Calls `each` for every attribute: type without flags, value.
fn attributes(mut bytes: &[u8], mut each: impl FnMut(u16, &[u8])) {
    while let [a, b, c, d, ..] = *bytes {
        let length = usize::from(u16::from_ne_bytes([a, b]));
        let Some(value) = bytes.get(4..length) else {
            return;
        };
        each(u16::from_ne_bytes([c, d]) & 0x3fff, value);
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or(&[]);
    }
}

fn attribute(bytes: &[u8], wanted: u16) -> Option<&[u8]> {
    let mut rest = bytes;
    while let [a, b, c, d, ..] = *rest {
        let length = usize::from(u16::from_ne_bytes([a, b]));
        let value = rest.get(4..length)?;
        if u16::from_ne_bytes([c, d]) & 0x3fff == wanted {
            return Some(value);
        }
        rest = rest.get(length.next_multiple_of(4)..)?;
    }
    None
}

fn text(value: Option<&[u8]>) -> String {
    let value = value.unwrap_or_default();
    let value = value.split(|byte| *byte == 0).next().unwrap_or_default();
    // Any byte is allowed in a name.
    let text = String::from_utf8_lossy(value);
    text.chars()
        .map(|c| if c.is_control() { '?' } else { c })
        .collect()
}

fn be32(value: Option<&[u8]>) -> Option<u32> {
    Some(u32::from_be_bytes(value?.try_into().ok()?))
}

fn be64(value: Option<&[u8]>) -> Option<u64> {
    Some(u64::from_be_bytes(value?.try_into().ok()?))
}

/// Returns the direction of a hook: NF_INET_ numbers, or NF_NETDEV_ for the family netdev.
fn path(family: u8, hook: Option<u32>) -> Path {
    match (family, hook) {
        (5, Some(0)) => Path::Inbound,
        (5, Some(1)) => Path::Outbound,
        // Prerouting, input, and ingress of the family inet.
        (_, Some(0 | 1 | 5)) => Path::Inbound,
        (_, Some(3 | 4)) => Path::Outbound,
        (_, Some(_)) => Path::Forwarded,
        (_, None) => Path::Any,
    }
}

/// Returns whether the expressions of a rule drop the packet, and the packets that its counter has. A counter
/// before a condition counts other packets, too, so it does not.
fn dropped(expressions: &[u8]) -> Option<Option<u64>> {
    let (mut drops, mut packets) = (false, None);
    attributes(expressions, |_, expression| {
        let data = attribute(expression, EXPRESSION_DATA).unwrap_or_default();
        match text(attribute(expression, EXPRESSION_NAME)).as_str() {
            "counter" => packets = be64(attribute(data, COUNTER_PACKETS)),
            "reject" => drops = true,
            "immediate" => {
                let verdict = attribute(data, IMMEDIATE_DATA)
                    .and_then(|data| attribute(data, DATA_VERDICT))
                    .and_then(|verdict| be32(attribute(verdict, VERDICT_CODE)));
                drops |= verdict == Some(DROP);
            }
            "log" => {}
            _ => packets = None,
        }
    });
    drops.then_some(packets)
}

/// Returns whether nf_tables is in the kernel. A request for its rules would load the module; without it
/// there are none.
fn is_loaded() -> bool {
    // Absent from kernels that have no modules at all.
    let Ok(modules) = fs::read_to_string("/proc/modules") else {
        return true;
    };
    let is_module = modules.lines().any(|line| line.starts_with("nf_tables "));
    let built_in = || {
        let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        let path = format!("/lib/modules/{}/modules.builtin", release.trim());
        let list = fs::read_to_string(path).unwrap_or_default();
        list.lines().any(|line| line.ends_with("/nf_tables.ko"))
    };
    is_module || built_in()
}

/// Returns the rules and chain policies that drop packets; none if nf_tables is not loaded.
///
/// # Errors
/// `PermissionDenied` without CAP_NET_ADMIN, or another error of the kernel, also if it has no nf_tables.
pub fn drop_rules() -> io::Result<Vec<DropRule>> {
    if !is_loaded() {
        return Ok(Vec::new());
    }
    let mut netlink = Netlink::open_for(NETLINK_NETFILTER)?;
    let mut rules = Vec::new();
    let mut paths: HashMap<(u8, String, String), Path> = HashMap::new();
    // NFPROTO_UNSPEC: of all families.
    let all = [0; HEADER];
    netlink.list(GET_CHAIN, &all, |message| {
        let (Some(family), Some(body)) = (message.first(), message.get(HEADER..)) else {
            return;
        };
        let (table, chain) = (
            text(attribute(body, CHAIN_TABLE)),
            text(attribute(body, CHAIN_NAME)),
        );
        let hook = attribute(body, CHAIN_HOOK).and_then(|hook| be32(attribute(hook, HOOK_NUMBER)));
        let path = path(*family, hook);
        if rules.len() < MAX_RULES && be32(attribute(body, CHAIN_POLICY)) == Some(DROP) {
            rules.push(DropRule {
                family: family_name(*family),
                table: table.clone(),
                chain: chain.clone(),
                handle: 0,
                path,
                packets: None,
            });
        }
        if paths.len() < MAX_RULES {
            paths.insert((*family, table, chain), path);
        }
    })?;
    netlink.list(GET_RULE, &all, |message| {
        let (Some(family), Some(body)) = (message.first(), message.get(HEADER..)) else {
            return;
        };
        let Some(packets) = attribute(body, RULE_EXPRESSIONS).and_then(dropped) else {
            return;
        };
        let key = (
            *family,
            text(attribute(body, RULE_TABLE)),
            text(attribute(body, RULE_CHAIN)),
        );
        if rules.len() < MAX_RULES {
            rules.push(DropRule {
                family: family_name(*family),
                handle: be64(attribute(body, RULE_HANDLE)).unwrap_or(0),
                path: paths.get(&key).copied().unwrap_or(Path::Any),
                table: key.1,
                chain: key.2,
                packets,
            });
        }
    })?;
    Ok(rules)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(kind: u16, value: &[u8]) -> Vec<u8> {
        let mut bytes = ((4 + value.len()) as u16).to_ne_bytes().to_vec();
        bytes.extend_from_slice(&kind.to_ne_bytes());
        bytes.extend_from_slice(value);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    fn expression(name: &str, data: &[u8]) -> Vec<u8> {
        let name = [name.as_bytes(), &[0]].concat();
        put(
            1,
            &[put(EXPRESSION_NAME, &name), put(EXPRESSION_DATA, data)].concat(),
        )
    }

    #[test]
    fn only_a_counter_behind_all_conditions_counts() {
        let condition = expression("cmp", &[]);
        let counter = expression("counter", &put(COUNTER_PACKETS, &7u64.to_be_bytes()));
        let verdict = |code: u32| {
            let code = put(VERDICT_CODE, &code.to_be_bytes());
            let data = put(IMMEDIATE_DATA, &put(DATA_VERDICT, &code));
            expression("immediate", &data)
        };
        let rule = |parts: &[&[u8]]| dropped(&parts.concat());
        assert_eq!(rule(&[&condition, &counter, &verdict(0)]), Some(Some(7)));
        assert_eq!(rule(&[&counter, &condition, &verdict(0)]), Some(None));
        assert_eq!(rule(&[&condition, &verdict(0)]), Some(None));
        assert_eq!(rule(&[&condition, &counter, &verdict(1)]), None);
        assert_eq!(
            rule(&[&condition, &counter, &expression("reject", &[])]),
            Some(Some(7))
        );
        for length in 0..20 {
            // Cut anywhere: no panic.
            let all = [&condition[..], &counter, &verdict(0)].concat();
            let _ = dropped(&all[..length]);
        }
    }
}
