//! SHELL. Lists of policy routing rules, of routes that refuse packets, and of addresses, from rtnetlink.

use std::io;
use std::net::IpAddr;

use netlink_packet_core::{NLM_F_DUMP, Nla};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::address::{AddressAttribute, AddressFlags, AddressMessage};
use netlink_packet_route::route::{RouteAttribute, RouteMessage, RouteType};
use netlink_packet_route::rule::{
    RuleAction as KernelAction, RuleAttribute, RuleFlags, RuleMessage,
};
use netsonde_core::host::attributes::{attributes, u32_at};
use netsonde_core::probe::routing::{Prefix, Refusal, RefusingRoute, Rule, RuleAction};

use super::netlink::{Netlink, family, prefix};

/// RTM_GETNEXTHOP (linux/rtnetlink.h).
const RTM_GETNEXTHOP: u16 = 106;
/// Bytes of `struct nhmsg` (linux/nexthop.h): family, scope, protocol, reserved, flags.
const NEXTHOP_HEADER: usize = 8;
/// NHA_ID and NHA_BLACKHOLE.
const NEXTHOP_ID: u16 = 1;
const NEXTHOP_BLACKHOLE: u16 = 4;

impl Netlink {
    /// Returns all routes of a type that refuses packets. The socket must be [`strict`](Self::strict):
    /// otherwise the kernel would return all routes, of which a router may have a million.
    pub fn refusing_routes(
        &mut self,
        is_ipv4: bool,
        kind: Refusal,
        max: usize,
    ) -> io::Result<Vec<RefusingRoute>> {
        let mut message = RouteMessage::default();
        message.header.address_family = family(is_ipv4);
        message.header.kind = match kind {
            Refusal::Blackhole => RouteType::BlackHole,
            Refusal::Prohibit => RouteType::Prohibit,
            Refusal::Unreachable => RouteType::Unreachable,
            Refusal::Throw => RouteType::Throw,
        };
        let wanted = message.header.kind;
        let mut all = Vec::new();
        let message = RouteNetlinkMessage::GetRoute(message);
        self.ask(message, NLM_F_DUMP, |answer| {
            if let RouteNetlinkMessage::NewRoute(route) = answer
                && route.header.kind == wanted
                && all.len() < max
            {
                all.push(take_refusing(&route, is_ipv4, kind));
            }
        })?;
        Ok(all)
    }

    /// Returns the policy routing rules, in order of priority, at most `max`.
    ///
    /// # Errors
    /// `EOPNOTSUPP` from a kernel without policy routing, or `TimedOut`.
    pub fn rules(&mut self, is_ipv4: bool, max: usize) -> io::Result<Vec<Rule>> {
        let mut message = RuleMessage::default();
        message.header.family = family(is_ipv4);
        let mut all = Vec::new();
        let message = RouteNetlinkMessage::GetRule(message);
        self.ask(message, NLM_F_DUMP, |answer| {
            if let RouteNetlinkMessage::NewRule(rule) = answer
                && all.len() < max
            {
                all.push(take_rule(&rule, is_ipv4));
            }
        })?;
        all.sort_by_key(|rule| rule.priority);
        Ok(all)
    }

    /// Returns the numbers of the blackhole next hops of a family (ip-nexthop(8)), at most `max`.
    ///
    /// # Errors
    /// `EOPNOTSUPP` before Linux 5.3, or `TimedOut`.
    pub fn blackhole_hops(&mut self, is_ipv4: bool, max: usize) -> io::Result<Vec<u32>> {
        let wanted = u8::from(family(is_ipv4));
        let mut all = Vec::new();
        // The kernel accepts no family in a request for a list.
        self.list(RTM_GETNEXTHOP, &[0; NEXTHOP_HEADER], |body| {
            let mut number = None;
            let mut is_blackhole = false;
            for (kind, value) in attributes(body.get(NEXTHOP_HEADER..).unwrap_or_default()) {
                match kind {
                    NEXTHOP_ID => number = u32_at(value, 0),
                    NEXTHOP_BLACKHOLE => is_blackhole = true,
                    _ => {}
                }
            }
            if is_blackhole && body.first() == Some(&wanted) && all.len() < max {
                all.extend(number);
            }
        })?;
        Ok(all)
    }

    /// Calls `each` for the addresses of this host: interface index, address with the length of its
    /// network, flags.
    pub fn addresses(
        &mut self,
        is_ipv4: bool,
        mut each: impl FnMut(u32, Prefix, AddressFlags),
    ) -> io::Result<()> {
        let mut message = AddressMessage::default();
        message.header.family = family(is_ipv4);
        let message = RouteNetlinkMessage::GetAddress(message);
        self.ask(message, NLM_F_DUMP, |answer| {
            let RouteNetlinkMessage::NewAddress(message) = answer else {
                return;
            };
            let mut flags = AddressFlags::from_bits_retain(message.header.flags.bits().into());
            let (mut local, mut address) = (None, None);
            for attribute in &message.attributes {
                match attribute {
                    AddressAttribute::Local(own) => local = Some(*own),
                    AddressAttribute::Address(other) => address = Some(*other),
                    AddressAttribute::Flags(all) => flags = *all,
                    _ => {}
                }
            }
            if let Some(address) = local.or(address) {
                let bits = message.header.prefix_len;
                each(message.header.index, Prefix { address, bits }, flags);
            }
        })
    }
}

/// The prefix of all addresses, which messages leave out.
fn everything(is_ipv4: bool) -> Prefix {
    let address = if is_ipv4 {
        IpAddr::from([0; 4])
    } else {
        IpAddr::from([0; 16])
    };
    Prefix { address, bits: 0 }
}

fn take_refusing(route: &RouteMessage, is_ipv4: bool, kind: Refusal) -> RefusingRoute {
    let mut taken = RefusingRoute {
        kind,
        destination: everything(is_ipv4),
        source: None,
        table: route.header.table.into(),
        metric: 0,
        tos: route.header.tos,
    };
    for attribute in &route.attributes {
        match attribute {
            RouteAttribute::Table(table) => taken.table = *table,
            RouteAttribute::Priority(metric) => taken.metric = *metric,
            RouteAttribute::Destination(address) => {
                if let Some(prefix) = prefix(address, route.header.destination_prefix_length) {
                    taken.destination = prefix;
                }
            }
            RouteAttribute::Source(address) => {
                taken.source = prefix(address, route.header.source_prefix_length);
            }
            _ => {}
        }
    }
    taken
}

/// FRA_DSCP and FRA_DSCP_MASK (linux/fib_rules.h): type of service in a kernel's newer form.
const RULE_DSCP: u16 = 25;

fn take_rule(rule: &RuleMessage, is_ipv4: bool) -> Rule {
    let header = &rule.header;
    let mut taken = Rule {
        priority: 0,
        source: None,
        destination: None,
        mark: None,
        tos: header.tos,
        incoming: None,
        outgoing: None,
        users: None,
        protocol: 0,
        is_for_others: false,
        is_inverted: header.flags.contains(RuleFlags::Invert),
        action: RuleAction::Nop,
    };
    let (mut mark, mut mask) = (None, u32::MAX);
    let (mut table, mut suppressed) = (u32::from(header.table), None);
    let (mut goto, mut is_vrf) = (0, false);
    for attribute in &rule.attributes {
        match attribute {
            RuleAttribute::Priority(priority) => taken.priority = *priority,
            RuleAttribute::Source(address) => {
                taken.source = Some(Prefix {
                    address: *address,
                    bits: header.src_len,
                });
            }
            RuleAttribute::Destination(address) => {
                taken.destination = Some(Prefix {
                    address: *address,
                    bits: header.dst_len,
                });
            }
            RuleAttribute::FwMark(value) => mark = Some(*value),
            RuleAttribute::FwMask(value) => mask = *value,
            RuleAttribute::Iifname(name) => taken.incoming = Some(shown(name)),
            RuleAttribute::Oifname(name) => taken.outgoing = Some(shown(name)),
            RuleAttribute::UidRange(range) => taken.users = Some((range.start, range.end)),
            RuleAttribute::IpProtocol(protocol) => taken.protocol = i32::from(*protocol) as u8,
            RuleAttribute::Table(number) => table = *number,
            RuleAttribute::SuppressPrefixLen(bits) => suppressed = Some(*bits),
            RuleAttribute::Goto(priority) => goto = *priority,
            RuleAttribute::L3MDev(enabled) => is_vrf = *enabled,
            RuleAttribute::SourcePortRange(_) | RuleAttribute::DestinationPortRange(_) => {
                taken.is_for_others = true;
            }
            RuleAttribute::Other(other) if other.kind() == RULE_DSCP => {
                let mut dscp = [0; 1];
                if other.value_len() == 1 {
                    other.emit_value(&mut dscp);
                }
                taken.tos = dscp[0] << 2;
            }
            _ => {}
        }
    }
    taken.mark = mark.filter(|_| mask != 0).map(|mark| (mark, mask));
    // All bits set: nothing is suppressed.
    let suppressed = suppressed.filter(|bits| *bits != u32::MAX);
    taken.action = match header.action {
        // Which table a VRF has depends on the interface; its own lookup decides.
        KernelAction::ToTable if is_vrf => RuleAction::Nop,
        KernelAction::ToTable => RuleAction::Table(table, suppressed),
        KernelAction::Goto => RuleAction::Goto(goto),
        KernelAction::Blackhole => RuleAction::Refuse(Refusal::Blackhole),
        KernelAction::Unreachable => RuleAction::Refuse(Refusal::Unreachable),
        KernelAction::Prohibit => RuleAction::Refuse(Refusal::Prohibit),
        _ => RuleAction::Nop,
    };
    if taken.source.is_none() && header.src_len == 0 {
        taken.source = Some(everything(is_ipv4));
    }
    taken
}

/// An interface name of a rule, fit to be shown: it may be that of no interface.
fn shown(name: &str) -> String {
    let is_plain = |one: char| if one.is_control() { '?' } else { one };
    name.chars().map(is_plain).collect()
}
