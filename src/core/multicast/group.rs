//! PURE. Group memberships as reported by hosts (RFC 2236, RFC 3376, RFC 2710, RFC 3810): the
//! knowledge of a router or snooping switch on the link.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

use super::ObservedMessage;
use crate::wire::igmp::RecordKind;

/// Maximum number of members: about 5 MB, and with 64 sources each three times as much.
const MOST: usize = 16_384;
/// Maximum memberships of one host on one link: enough for a receiver of hundreds of channels.
const MAX_PER_HOST: usize = 1024;
/// Sources kept per membership; Linux accepts 10 (IPv4) or 64 (IPv6) per socket.
const MAX_SOURCES: usize = 64;
/// How long a former member remains listed.
const LEFT_NS: u64 = 60_000_000_000;
/// Minimum interval between sweeps for expired members when the table is full.
const SWEEP_NS: u64 = 1_000_000_000;

/// Filter mode of a membership.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// The listed sources only.
    Include,
    /// All sources except the listed ones.
    Exclude,
}

impl Mode {
    /// Returns the name used in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Mode::Include => "include",
            Mode::Exclude => "exclude",
        }
    }
}

/// Membership of one host in one group. Times are nanoseconds since 1970.
#[derive(Clone, Debug, PartialEq)]
pub struct Member {
    /// Protocol version of its latest report.
    pub version: u8,
    /// Filter mode.
    pub mode: Mode,
    /// Listed sources.
    pub sources: Vec<IpAddr>,
    /// Sources that were not kept because of the limit.
    pub sources_left_out: u32,
    /// Time of the first report.
    pub first_ns: u64,
    /// Time of the latest report.
    pub last_ns: u64,
    /// Number of reports.
    pub reports: u64,
    /// Time at which it left; `None` if it has not announced that.
    pub left_ns: Option<u64>,
    /// Whether the member is this host.
    pub own: bool,
}

impl Member {
    /// Returns whether a router that keeps memberships for `kept_ns` would still count this one.
    pub fn is_current(&self, now_ns: u64, kept_ns: u64) -> bool {
        self.left_ns.is_none() && now_ns.saturating_sub(self.last_ns) <= kept_ns
    }
}

/// Change of a membership, from one group record of a report.
#[derive(Clone, Debug)]
pub struct Change {
    /// Protocol version of the report.
    pub version: u8,
    /// Group address.
    pub group: IpAddr,
    /// Kind of record.
    pub kind: RecordKind,
    /// Sources of the record.
    pub sources: Vec<IpAddr>,
}

/// All memberships, by interface, group and host.
#[derive(Debug, Default)]
pub struct Groups {
    members: BTreeMap<(u32, IpAddr, IpAddr), Member>,
    /// Number of memberships per interface and host.
    of_hosts: HashMap<(u32, IpAddr), usize>,
    swept_ns: u64,
    /// Reports that were not recorded because of the limits.
    pub overflows: u64,
}

impl Groups {
    /// Maximum number of members.
    pub const MOST: usize = MOST;

    /// Returns the number of members, including former ones that are still listed.
    pub fn len(&self) -> usize {
        self.members.len()
    }

    /// Returns whether there are no members.
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// Returns interface index, group, host and membership of all members, in this order.
    pub fn iter(&self) -> impl Iterator<Item = (u32, IpAddr, IpAddr, &Member)> {
        self.members
            .iter()
            .map(|((ifindex, group, host), member)| (*ifindex, *group, *host, member))
    }

    /// Returns the membership of a host.
    pub fn get(&self, ifindex: u32, group: IpAddr, host: IpAddr) -> Option<&Member> {
        self.members.get(&(ifindex, group, host))
    }

    pub(super) fn changed(&mut self, seen: &ObservedMessage<'_>, change: Change, kept_ns: u64) {
        // Records for unicast addresses are invalid, or an attack on this table.
        if !change.group.is_multicast() || matches!(change.kind, RecordKind::Unknown(_)) {
            return;
        }
        // Before duplicate address detection is complete, IPv6 hosts report without an address.
        // Routers drop such reports (RFC 3810, section 5.2.13), and the host reports again with an
        // address.
        if seen.source.is_ipv6() && seen.source.is_unspecified() {
            return;
        }
        let key = (seen.ifindex, change.group, seen.source);
        if !self.members.contains_key(&key) {
            // A leave of an unknown member adds nothing.
            if is_end(&change) || !self.make_room(seen, kept_ns) {
                return;
            }
            *self
                .of_hosts
                .entry((seen.ifindex, seen.source))
                .or_default() += 1;
        }
        let member = self.members.entry(key).or_insert_with(|| Member {
            version: change.version,
            mode: Mode::Include,
            sources: vec![],
            sources_left_out: 0,
            first_ns: seen.time_ns,
            last_ns: seen.time_ns,
            reports: 0,
            left_ns: None,
            own: seen.outbound,
        });
        member.last_ns = seen.time_ns;
        member.reports += 1;
        apply(member, seen.time_ns, change);
    }

    /// Returns whether there is space for one more member. Existing members stay, so a flood of
    /// reports costs no known membership.
    fn make_room(&mut self, seen: &ObservedMessage<'_>, kept_ns: u64) -> bool {
        if self.members.len() >= MOST {
            self.sweep(seen.time_ns, kept_ns);
        }
        let of_host = self.of_hosts.get(&(seen.ifindex, seen.source));
        let has_room =
            self.members.len() < MOST && of_host.is_none_or(|count| *count < MAX_PER_HOST);
        if !has_room {
            self.overflows = self.overflows.saturating_add(1);
        }
        has_room
    }

    /// Removes members that have left or expired.
    fn sweep(&mut self, now_ns: u64, kept_ns: u64) {
        if now_ns < self.swept_ns.saturating_add(SWEEP_NS) {
            return;
        }
        self.swept_ns = now_ns;
        self.retain(|_, member| match member.left_ns {
            Some(left) => now_ns.saturating_sub(left) < LEFT_NS,
            None => now_ns.saturating_sub(member.last_ns) <= kept_ns,
        });
    }

    fn retain(&mut self, keep: impl Fn(u32, &Member) -> bool) {
        let of_hosts = &mut self.of_hosts;
        self.members.retain(|(ifindex, _, host), member| {
            let kept = keep(*ifindex, member);
            if !kept && let Some(count) = of_hosts.get_mut(&(*ifindex, *host)) {
                *count -= 1;
            }
            kept
        });
        of_hosts.retain(|_, count| *count > 0);
    }

    pub(super) fn forget(&mut self, ifindex: u32) {
        self.retain(|at, _| at != ifindex);
    }
}

/// "Include nothing" is not a membership.
fn is_end(change: &Change) -> bool {
    let to_nothing = matches!(change.kind, RecordKind::IsInclude | RecordKind::ToInclude);
    (to_nothing && change.sources.is_empty()) || change.kind == RecordKind::Block
}

fn apply(member: &mut Member, now_ns: u64, mut change: Change) {
    member.version = change.version;
    let before = member.left_ns.take();
    if before.is_some() {
        // The membership starts again.
        member.first_ns = now_ns;
        (member.mode, member.sources) = (Mode::Include, vec![]);
    }
    let has = |all: &[IpAddr], one: &IpAddr| all.contains(one);
    match (change.kind, member.mode) {
        (RecordKind::IsInclude | RecordKind::ToInclude, _) => {
            (member.mode, member.sources) = (Mode::Include, change.sources);
        }
        (RecordKind::IsExclude | RecordKind::ToExclude, _) => {
            (member.mode, member.sources) = (Mode::Exclude, change.sources);
        }
        (RecordKind::Allow, Mode::Include) | (RecordKind::Block, Mode::Exclude) => {
            change.sources.retain(|one| !has(&member.sources, one));
            member.sources.append(&mut change.sources);
        }
        (RecordKind::Allow, Mode::Exclude) | (RecordKind::Block, Mode::Include) => {
            member.sources.retain(|one| !has(&change.sources, one));
        }
        (RecordKind::Unknown(_), _) => {}
    }
    let left_out = member.sources.len().saturating_sub(MAX_SOURCES);
    member.sources.truncate(MAX_SOURCES);
    member.sources.shrink_to_fit();
    member.sources_left_out = left_out as u32;
    if member.mode == Mode::Include && member.sources.is_empty() {
        member.left_ns = before.or(Some(now_ns));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Meaning;
    use crate::wire::igmp::Igmp;

    const S: u64 = 1_000_000_000;
    const KEPT: u64 = 260 * S;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn say(
        groups: &mut Groups,
        host: &str,
        at_ns: u64,
        kind: RecordKind,
        group: &str,
        sources: &[&str],
    ) {
        let nothing = Meaning::Igmp(Igmp::RouterSolicitation);
        let seen = ObservedMessage {
            time_ns: at_ns,
            ifindex: 2,
            outbound: false,
            source: ip(host),
            meaning: &nothing,
        };
        let change = Change {
            version: 3,
            group: ip(group),
            kind,
            sources: sources.iter().map(|source| ip(source)).collect(),
        };
        groups.changed(&seen, change, KEPT);
    }

    #[test]
    fn source_lists_follow_the_reports() {
        use RecordKind::*;
        let mut groups = Groups::default();
        let (host, group) = ("10.0.0.2", "232.1.1.1");
        let now = |groups: &Groups| {
            let member = groups.get(2, ip(group), ip(host)).unwrap().clone();
            let sources: Vec<String> = member.sources.iter().map(ToString::to_string).collect();
            (member.mode, sources.join(" "), member.left_ns.is_some())
        };
        say(&mut groups, host, S, Allow, group, &["10.0.0.8"]);
        assert_eq!(now(&groups), (Mode::Include, "10.0.0.8".into(), false));
        say(
            &mut groups,
            host,
            2 * S,
            Allow,
            group,
            &["10.0.0.9", "10.0.0.8"],
        );
        assert_eq!(
            now(&groups),
            (Mode::Include, "10.0.0.8 10.0.0.9".into(), false)
        );
        say(&mut groups, host, 3 * S, Block, group, &["10.0.0.8"]);
        assert_eq!(now(&groups), (Mode::Include, "10.0.0.9".into(), false));
        say(&mut groups, host, 4 * S, ToExclude, group, &[]);
        assert_eq!(now(&groups), (Mode::Exclude, "".into(), false));
        say(&mut groups, host, 5 * S, Block, group, &["10.0.0.7"]);
        assert_eq!(now(&groups), (Mode::Exclude, "10.0.0.7".into(), false));
        say(&mut groups, host, 6 * S, ToInclude, group, &[]);
        assert_eq!(now(&groups), (Mode::Include, "".into(), true));
        say(&mut groups, host, 7 * S, IsExclude, group, &[]);
        assert_eq!(now(&groups), (Mode::Exclude, "".into(), false));
        let member = groups.get(2, ip(group), ip(host)).unwrap();
        assert_eq!((member.first_ns, member.reports), (7 * S, 7));
        assert!(member.is_current(200 * S, KEPT) && !member.is_current(300 * S, KEPT));
    }

    #[test]
    fn flood_of_reports_evicts_no_member() {
        let mut groups = Groups::default();
        say(
            &mut groups,
            "10.0.0.2",
            S,
            RecordKind::ToExclude,
            "239.1.1.1",
            &[],
        );
        for number in 0..100_000u32 {
            let host = format!("10.1.{}.{}", number / 250 % 250, number % 250);
            let group = IpAddr::V4((0xee00_0000 + number).into()).to_string();
            say(
                &mut groups,
                &host,
                2 * S,
                RecordKind::ToExclude,
                &group,
                &[],
            );
        }
        assert_eq!(groups.len(), MOST);
        assert_eq!(groups.overflows, 100_000 - (MOST as u64 - 1));
        assert!(groups.get(2, ip("239.1.1.1"), ip("10.0.0.2")).is_some());
        // One host alone cannot fill the table.
        let mut groups = Groups::default();
        for number in 0..5_000u32 {
            let group = IpAddr::V4((0xee00_0000 + number).into()).to_string();
            say(
                &mut groups,
                "10.0.0.66",
                S,
                RecordKind::ToExclude,
                &group,
                &[],
            );
        }
        assert_eq!(
            (groups.len(), groups.overflows),
            (MAX_PER_HOST, 5_000 - MAX_PER_HOST as u64)
        );
        // Expired members make room.
        for number in 0..20_000u32 {
            let host = format!("10.1.{}.{}", number / 250 % 250, number % 250);
            say(
                &mut groups,
                &host,
                S,
                RecordKind::ToExclude,
                "239.2.2.2",
                &[],
            );
        }
        say(
            &mut groups,
            "10.0.0.3",
            400 * S,
            RecordKind::ToExclude,
            "239.3.3.3",
            &[],
        );
        assert_eq!(groups.len(), 1);
    }
}
