//! PURE. Routes and rules that make the kernel refuse a packet: blackhole, prohibit, unreachable and
//! throw routes, and rules with such an action (ip-route(8), ip-rule(8)). A lookup that fails returns
//! an error number only (fib_props in net/ipv4/fib_semantics.c, fib_rule_action in net/*/fib*rules.c),
//! so the lookup is repeated here, over the entries that can cause that error.

use std::fmt;
use std::net::IpAddr;

/// Bits of the type of service that routes and rules depend on: without those of ECN (RFC 3168).
const DSCP_MASK: u8 = 0xfc;

const EACCES: i32 = 13;
const EINVAL: i32 = 22;
const ENETUNREACH: i32 = 101;
const EHOSTUNREACH: i32 = 113;

/// Route type without a next hop, or the action of such a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// Discards silently: EINVAL for senders on this host.
    Blackhole,
    /// EACCES.
    Prohibit,
    /// EHOSTUNREACH from a route, ENETUNREACH from a rule.
    Unreachable,
    /// Ends the lookup in its table; ENETUNREACH if no later rule finds a route.
    Throw,
}

impl Refusal {
    /// Returns the name used by ip-route(8).
    pub fn name(self) -> &'static str {
        match self {
            Refusal::Blackhole => "blackhole",
            Refusal::Prohibit => "prohibit",
            Refusal::Unreachable => "unreachable",
            Refusal::Throw => "throw",
        }
    }

    /// Returns the route type that can make a lookup fail with this error; `None` if no type does.
    pub fn of_errno(errno: i32) -> Option<Refusal> {
        match errno {
            EINVAL => Some(Refusal::Blackhole),
            EACCES => Some(Refusal::Prohibit),
            ENETUNREACH | EHOSTUNREACH => Some(Refusal::Unreachable),
            _ => None,
        }
    }
}

/// Prefix; the length is in bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prefix {
    /// First address.
    pub address: IpAddr,
    /// Length, 0 to 32 or 128.
    pub bits: u8,
}

impl Prefix {
    /// Returns whether the address is of the same family and within the prefix.
    pub fn contains(&self, address: IpAddr) -> bool {
        let (own, other, width) = match (self.address, address) {
            (IpAddr::V4(own), IpAddr::V4(other)) => {
                (u32::from(own).into(), u32::from(other).into(), 32)
            }
            (IpAddr::V6(own), IpAddr::V6(other)) => (u128::from(own), u128::from(other), 128),
            _ => return false,
        };
        let free = u32::saturating_sub(width, self.bits.into());
        u128::checked_shr(own ^ other, free).unwrap_or(0) == 0
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = if self.address.is_ipv4() { 32 } else { 128 };
        match self.bits {
            0 => to.write_str("default"),
            bits if bits == width => write!(to, "{}", self.address),
            bits => write!(to, "{}/{bits}", self.address),
        }
    }
}

/// Returns the name of a routing table, as in /etc/iproute2/rt_tables; other tables have a number.
pub fn table_name(table: u32) -> String {
    match table {
        253 => "default".into(),
        254 => "main".into(),
        255 => "local".into(),
        other => other.to_string(),
    }
}

/// Route that refuses packets.
#[derive(Clone, Debug, PartialEq)]
pub struct RefusingRoute {
    /// Its type.
    pub kind: Refusal,
    /// Destinations.
    pub destination: Prefix,
    /// Sources (IPv6 only); `None` for all.
    pub source: Option<Prefix>,
    /// Number of its table.
    pub table: u32,
    /// Metric; of equal prefixes the lowest counts.
    pub metric: u32,
    /// Type of service (IPv4 only); 0 for all.
    pub tos: u8,
}

/// Action of a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RuleAction {
    /// Looks up a table, unless all it has is a prefix of at most that many bits.
    Table(u32, Option<u32>),
    /// Continues at the rule with that priority.
    Goto(u32),
    /// Continues with the next rule.
    Nop,
    /// Refuses the packet.
    Refuse(Refusal),
}

/// Policy routing rule. Unset selectors match all packets.
#[derive(Clone, Debug, PartialEq)]
pub struct Rule {
    /// Priority; lower ones are evaluated first.
    pub priority: u32,
    /// Sources.
    pub source: Option<Prefix>,
    /// Destinations.
    pub destination: Option<Prefix>,
    /// Mark and its mask.
    pub mark: Option<(u32, u32)>,
    /// Type of service or traffic class; 0 for all.
    pub tos: u8,
    /// Incoming interface; `lo` for packets of this host.
    pub incoming: Option<String>,
    /// Outgoing interface that the socket demands.
    pub outgoing: Option<String>,
    /// First and last user ID.
    pub users: Option<(u32, u32)>,
    /// IP protocol; 0 for all.
    pub protocol: u8,
    /// Whether it has a selector that no echo request matches, such as a port.
    pub is_for_others: bool,
    /// Whether it applies to the packets that do not match.
    pub is_inverted: bool,
    /// Its action.
    pub action: RuleAction,
}

/// Packet that is looked up.
#[derive(Clone, Debug)]
pub struct Lookup {
    /// Destination.
    pub target: IpAddr,
    /// Possible sources: the one demanded; none if the kernel looks up before it chooses one (IPv4),
    /// otherwise those that it may choose (IPv6).
    pub sources: Vec<IpAddr>,
    /// Type of service or traffic class.
    pub tos: u8,
    /// Interface that is demanded.
    pub outgoing: Option<String>,
    /// User ID of the socket.
    pub user: u32,
}

impl Rule {
    /// Returns whether the rule applies to an echo request of this host.
    fn applies(&self, packet: &Lookup) -> bool {
        let is_from = self.source.is_none_or(|prefix| {
            prefix.bits == 0 || packet.sources.iter().any(|source| prefix.contains(*source))
        });
        let echo = if packet.target.is_ipv4() { 1 } else { 58 };
        let matches = is_from
            && !self.is_for_others
            && self
                .destination
                .is_none_or(|prefix| prefix.contains(packet.target))
            // Probes have no mark.
            && self.mark.is_none_or(|(mark, mask)| mark & mask == 0)
            && (self.tos == 0 || self.tos == packet.tos & DSCP_MASK)
            && self.incoming.as_deref().is_none_or(|name| name == "lo")
            && self
                .outgoing
                .as_ref()
                .is_none_or(|name| packet.outgoing.as_ref() == Some(name))
            && self
                .users
                .is_none_or(|(first, last)| (first..=last).contains(&packet.user))
            && (self.protocol == 0 || self.protocol == echo);
        matches != self.is_inverted
    }
}

impl fmt::Display for Rule {
    /// Formats the rule as ip-rule(8) does.
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(to, "rule {}: ", self.priority)?;
        if self.is_inverted {
            to.write_str("not ")?;
        }
        match self.source {
            Some(prefix) if prefix.bits > 0 => write!(to, "from {prefix}")?,
            _ => to.write_str("from all")?,
        }
        if let Some(prefix) = self.destination {
            write!(to, " to {prefix}")?;
        }
        if self.tos != 0 {
            write!(to, " tos {:#04x}", self.tos)?;
        }
        if let Some((mark, mask)) = self.mark {
            write!(to, " fwmark {mark:#x}/{mask:#x}")?;
        }
        if let Some(name) = &self.incoming {
            write!(to, " iif {name}")?;
        }
        if let Some(name) = &self.outgoing {
            write!(to, " oif {name}")?;
        }
        if let Some((first, last)) = self.users {
            write!(to, " uidrange {first}-{last}")?;
        }
        match self.protocol {
            0 => {}
            1 => to.write_str(" ipproto icmp")?,
            58 => to.write_str(" ipproto ipv6-icmp")?,
            other => write!(to, " ipproto {other}")?,
        }
        match self.action {
            RuleAction::Table(table, _) => write!(to, " lookup {}", table_name(table)),
            RuleAction::Goto(priority) => write!(to, " goto {priority}"),
            RuleAction::Nop => to.write_str(" nop"),
            RuleAction::Refuse(kind) => write!(to, " {}", kind.name()),
        }
    }
}

impl fmt::Display for RefusingRoute {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(to, "{} route {}", self.kind.name(), self.destination)?;
        if let Some(source) = self.source {
            write!(to, " from {source}")?;
        }
        if self.tos != 0 {
            write!(to, " tos {:#04x}", self.tos)?;
        }
        write!(to, " (table {})", table_name(self.table))
    }
}

/// Entry that refuses a packet.
#[derive(Clone, Debug, PartialEq)]
pub enum Refuser {
    /// A rule's action.
    Rule(Rule),
    /// A route, with the rule that led to its table if that is not one of the default rules.
    Route(RefusingRoute, Option<Rule>),
}

impl fmt::Display for Refuser {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refuser::Rule(rule) => rule.fmt(to),
            Refuser::Route(route, None) => route.fmt(to),
            Refuser::Route(route, Some(rule)) => write!(to, "{route}, found by {rule}"),
        }
    }
}

/// Returns the rules of a kernel without policy routing, which are also the default.
pub fn default_rules() -> Vec<Rule> {
    [(0, 255), (32_766, 254), (32_767, 253)]
        .map(|(priority, table)| Rule {
            priority,
            source: None,
            destination: None,
            mark: None,
            tos: 0,
            incoming: None,
            outgoing: None,
            users: None,
            protocol: 0,
            is_for_others: false,
            is_inverted: false,
            action: RuleAction::Table(table, None),
        })
        .to_vec()
}

/// Finds the entry that makes the kernel's lookup of a packet fail with `errno`. `rules` are in order
/// of priority. `routes` are all routes of the type that gives this error, and all throw routes:
/// others that cover the packet would have given another result.
pub fn find_refuser(
    rules: &[Rule],
    routes: &[RefusingRoute],
    packet: &Lookup,
    errno: i32,
) -> Option<Refuser> {
    let wanted = Refusal::of_errno(errno)?;
    let mut thrown = None;
    let mut at = 0;
    while let Some(rule) = rules.get(at) {
        at += 1;
        if !rule.applies(packet) {
            continue;
        }
        match rule.action {
            RuleAction::Nop => {}
            RuleAction::Goto(priority) => {
                // Only forward (fib_nl_newrule in net/core/fib_rules.c).
                let target = rules.iter().position(|rule| rule.priority == priority)?;
                at = at.max(target);
            }
            RuleAction::Refuse(kind) => {
                let is_cause = kind == wanted && errno != EHOSTUNREACH;
                return is_cause.then(|| Refuser::Rule(rule.clone()));
            }
            RuleAction::Table(table, suppressed) => {
                let Some(route) = best(routes, table, packet) else {
                    continue;
                };
                if suppressed.is_some_and(|bits| u32::from(route.destination.bits) <= bits) {
                    continue;
                }
                let is_default = matches!(rule.priority, 0 | 32_766 | 32_767);
                let by = (!is_default).then(|| rule.clone());
                let found = Refuser::Route(route.clone(), by);
                if route.kind == wanted {
                    return (errno != ENETUNREACH).then_some(found);
                }
                thrown = Some(found);
            }
        }
    }
    thrown.filter(|_| errno == ENETUNREACH)
}

/// Returns the route of a table that a packet matches: the longest prefix, then the lowest metric.
fn best<'a>(routes: &'a [RefusingRoute], table: u32, packet: &Lookup) -> Option<&'a RefusingRoute> {
    routes
        .iter()
        .filter(|route| {
            route.table == table
                && route.destination.contains(packet.target)
                && (route.tos == 0 || route.tos == packet.tos & DSCP_MASK)
                && route.source.is_none_or(|prefix| {
                    packet.sources.iter().any(|source| prefix.contains(*source))
                })
        })
        .max_by_key(|route| {
            let source_bits = route.source.map_or(0, |prefix| prefix.bits);
            (
                route.destination.bits,
                source_bits,
                std::cmp::Reverse(route.metric),
            )
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prefix(text: &str) -> Prefix {
        let (address, bits) = text.split_once('/').unwrap();
        Prefix {
            address: address.parse().unwrap(),
            bits: bits.parse().unwrap(),
        }
    }

    fn route(kind: Refusal, destination: &str, table: u32, metric: u32) -> RefusingRoute {
        RefusingRoute {
            kind,
            destination: prefix(destination),
            source: None,
            table,
            metric,
            tos: 0,
        }
    }

    fn rule(priority: u32, action: RuleAction) -> Rule {
        Rule {
            priority,
            action,
            ..default_rules().remove(0)
        }
    }

    fn packet(target: &str) -> Lookup {
        Lookup {
            target: target.parse().unwrap(),
            sources: vec![],
            tos: 0,
            outgoing: None,
            user: 0,
        }
    }

    fn found(rules: &[Rule], routes: &[RefusingRoute], packet: &Lookup, errno: i32) -> String {
        find_refuser(rules, routes, packet, errno).map_or(String::new(), |one| one.to_string())
    }

    #[test]
    fn longest_prefix_and_lowest_metric_count() {
        use Refusal::*;
        let rules = default_rules();
        let routes = [
            route(Blackhole, "10.0.0.0/8", 254, 0),
            route(Blackhole, "10.9.3.0/24", 254, 20),
            route(Throw, "10.9.3.0/24", 254, 30),
            route(Blackhole, "10.9.3.0/25", 7, 0),
            route(Blackhole, "0.0.0.0/0", 253, 0),
        ];
        for (target, words) in [
            ("10.9.3.1", "blackhole route 10.9.3.0/24 (table main)"),
            ("10.9.4.1", "blackhole route 10.0.0.0/8 (table main)"),
            ("11.0.0.1", "blackhole route default (table default)"),
            ("fd00::1", ""),
        ] {
            assert_eq!(found(&rules, &routes, &packet(target), EINVAL), words);
        }
        assert_eq!(found(&rules, &routes, &packet("10.9.3.1"), EACCES), "");
        // An unreachable route gives another error than a rule, and than no route.
        let unreachable = [route(Unreachable, "0.0.0.0/0", 254, 0)];
        let words = "unreachable route default (table main)";
        let to = packet("10.9.3.1");
        assert_eq!(found(&rules, &unreachable, &to, EHOSTUNREACH), words);
        assert_eq!(found(&rules, &unreachable, &to, ENETUNREACH), "");
    }

    #[test]
    fn rules_are_followed_as_the_kernel_does() {
        use Refusal::*;
        let mut rules = default_rules();
        rules.insert(1, rule(100, RuleAction::Goto(300)));
        let mut hidden = rule(200, RuleAction::Refuse(Prohibit));
        hidden.destination = Some(prefix("10.9.0.0/16"));
        rules.insert(2, hidden.clone());
        let mut seven = rule(300, RuleAction::Table(7, None));
        seven.source = Some(prefix("10.0.0.1/32"));
        rules.insert(3, seven);
        let routes = [
            route(Throw, "10.9.3.0/24", 7, 0),
            route(Prohibit, "10.9.0.0/16", 7, 0),
        ];
        let mut from = packet("10.9.4.1");
        assert_eq!(
            found(&rules, &routes, &from, EACCES),
            "",
            "the source is not chosen yet"
        );
        from.sources = vec!["10.0.0.1".parse().unwrap()];
        let words =
            "prohibit route 10.9.0.0/16 (table 7), found by rule 300: from 10.0.0.1 lookup 7";
        assert_eq!(found(&rules, &routes, &from, EACCES), words);
        from.target = "10.9.3.1".parse().unwrap();
        assert_eq!(found(&rules, &routes, &from, EACCES), "", "thrown");
        assert!(found(&rules, &routes, &from, ENETUNREACH).starts_with("throw route 10.9.3.0/24"));
        rules.remove(1);
        let words = "rule 200: from all to 10.9.0.0/16 prohibit";
        assert_eq!(found(&rules, &routes, &from, EACCES), words);
        for change in [
            |rule: &mut Rule| rule.mark = Some((1, u32::MAX)),
            |rule: &mut Rule| rule.protocol = 17,
            |rule: &mut Rule| rule.users = Some((1000, 1000)),
            |rule: &mut Rule| rule.outgoing = Some("e0".into()),
            |rule: &mut Rule| rule.incoming = Some("e0".into()),
            |rule: &mut Rule| rule.is_for_others = true,
            |rule: &mut Rule| rule.tos = 0x10,
            |rule: &mut Rule| rule.is_inverted = true,
        ] {
            change(&mut rules[1]);
            assert_eq!(found(&rules, &[], &from, EACCES), "", "{}", rules[1]);
            rules[1] = hidden.clone();
        }
    }

    #[test]
    fn prefixes_of_all_lengths() {
        for (text, inside, outside) in [
            ("0.0.0.0/0", "255.1.2.3", "::1"),
            ("10.9.0.0/17", "10.9.127.1", "10.9.128.1"),
            ("10.9.0.1/32", "10.9.0.1", "10.9.0.2"),
            ("::/0", "fd00::1", "10.0.0.1"),
            ("fd09::/64", "fd09::9", "fd09:0:0:1::9"),
            ("fd09::1/128", "fd09::1", "fd09::2"),
        ] {
            let prefix = prefix(text);
            assert!(prefix.contains(inside.parse().unwrap()), "{text}");
            assert!(!prefix.contains(outside.parse().unwrap()), "{text}");
        }
    }
}
