//! PURE. Claims of an address, and the consequences of more than one claimant: a conflict, a move,
//! or a hit of duplicate address detection (RFC 826, RFC 4861, RFC 4862, RFC 5227).
//!
//! A changed link-layer address alone is not a conflict: a standby took over, a bond changed its
//! port, a lease moved to another host. It is a conflict when both continue: both answer the same
//! request, or the displaced one claims the address again without announcing it, and is displaced
//! again.

use std::collections::HashSet;

use foldhash::quality::RandomState;

use super::mac::shared;
use super::table::Kept;
use crate::wire::cursor::Mac;

/// Maximum claimants tracked per address; more are counted.
const MAX_CLAIMANTS: usize = 4;
/// Two answers this close belong to the same request, since hosts answer at once.
pub(super) const ANSWER_NS: u64 = 1_000_000_000;
/// Time within which returns belong together: a host in use sends requests or answers more often
/// than this.
const FLAP_NS: u64 = 600_000_000_000;
/// This many changes within [`CHANGES_NS`] are a conflict, announced or not: no standby takes over
/// that often.
const MAX_CHANGES: usize = 6;
const CHANGES_NS: u64 = 60_000_000_000;
/// A conflict is over when one of the two has not claimed the address for this long.
const CONFLICT_ACTIVE_NS: u64 = 3600 * 1_000_000_000;
/// Resolved conflicts and moves stay visible for 24 hours; DHCP leases change owners routinely.
const RESOLVED_VISIBLE_NS: u64 = 24 * 3600 * 1_000_000_000;
/// Time a host waits for replies to its address probe (RFC 5227, section 1.1: ANNOUNCE_WAIT of 2 s;
/// RFC 4862, section 5.4: RetransTimer of 1 s), with a margin of one second.
const DAD_WAIT_NS: u64 = 3_000_000_000;

/// Claim of a station to own an address.
#[derive(Clone, Copy, Debug)]
pub struct Claim {
    /// Link-layer address that the claim names.
    pub mac: Mac,
    /// Source of the frame, which may differ.
    pub frame: Mac,
    /// Time of the claim, in nanoseconds since 1970.
    pub time_ns: u64,
    /// Whether it is an announcement: sent to all without a request (gratuitous ARP, unsolicited
    /// neighbor advertisement).
    pub announced: bool,
    /// Whether it answers a request.
    pub answer: bool,
}

/// How an address was seen without a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Traffic {
    /// As the source of a packet with an initial TTL.
    Direct,
    /// As the source of a packet with a decremented TTL.
    Relayed,
    /// In an answer of a proxy, or for an anycast address.
    ByProxy,
}

/// Station that uses or claims an address. Times are nanoseconds since 1970.
#[derive(Clone, Debug, PartialEq)]
pub struct Claimant {
    /// Link-layer address.
    pub mac: Mac,
    /// Time of the first sighting with the address.
    pub first_ns: u64,
    /// Time of the latest sighting with it, including traffic.
    pub last_ns: u64,
    /// Time of the latest claim; 0 if it was only seen in traffic.
    pub claimed_ns: u64,
    /// Number of claims: requests, answers and announcements.
    pub claims: u64,
    /// Number of announcements.
    pub announcements: u64,
    /// Number of answers to requests.
    pub answers: u64,
    /// Time of the latest answer; 0 without any.
    pub answered_ns: u64,
    /// Source of the frames that carried its claims, if it differs.
    pub frames_from: Option<Mac>,
    /// Number of seconds in which it sent packets with the address as a host does, with an initial TTL.
    pub direct: u64,
    /// Number of seconds in which it sent packets with the address that it had forwarded: their TTL was
    /// decremented.
    pub relayed: u64,
    /// Number of neighbor advertisements for the address without the override flag, as a proxy sends them
    /// (RFC 4861, section 7.2.8).
    pub proxied: u64,
}

/// Whether a station answers for an address of another host (RFC 1027; RFC 4861, section 7.2.8).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proxy {
    /// It answers, and forwards the packets of the host that has the address.
    Forwards,
    /// It answers, and nothing else was seen of the address.
    AnswersOnly,
}

impl Claimant {
    /// Returns whether it seems to be a proxy for the address. A host that has the address itself also uses
    /// it: in requests, announcements or packets.
    pub fn proxy(&self) -> Option<Proxy> {
        let answers = self.answers + self.proxied;
        if answers == 0 || self.claims > self.answers || self.direct > 0 {
            return None;
        }
        if self.relayed > 0 {
            return Some(Proxy::Forwards);
        }
        Some(Proxy::AnswersOnly)
    }
}

/// Move of an address from one station to another.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Change {
    /// Previous holder.
    pub from: Mac,
    /// New holder.
    pub to: Mac,
    /// Time of the move, in nanoseconds since 1970.
    pub time_ns: u64,
    /// Whether the new holder announced it.
    pub announced: bool,
    /// Number of moves so far.
    pub times: u64,
}

/// Ownership of an address by this host.
#[derive(Clone, Copy, Debug)]
pub struct Own<'a> {
    /// Time since which it is known, in nanoseconds since 1970.
    pub since_ns: u64,
    /// Link-layer address of the interface.
    pub mac: Option<Mac>,
    /// Link-layer addresses of all interfaces of this host.
    pub macs: &'a HashSet<Mac, RandomState>,
}

/// Conflict: two stations own the same address.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Conflict {
    /// Time at which it was detected, in nanoseconds since 1970.
    pub since_ns: u64,
    /// Time of the latest sign of it.
    pub last_ns: u64,
    /// The two latest claimants.
    pub between: (Mac, Mac),
    /// Number of requests that both answered.
    pub both_answered: u64,
    /// Number of times that a displaced station claimed the address again without announcing it.
    pub returned: u64,
    /// Whether the address belongs to this host.
    pub own: bool,
    /// Whether the conflict continues.
    pub current: bool,
}

/// Hit of duplicate address detection: a station wanted an address that is in use. Times are
/// nanoseconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Duplicate {
    /// Station that wanted the address.
    pub prober: Mac,
    /// Holder of the address; if both wanted it at the same time, the other prober.
    pub by: Mac,
    /// Whether the holder was seen to answer; otherwise it is only known to have the address.
    pub answered: bool,
    /// Whether both were probing.
    pub both_probed: bool,
    /// Time of the first hit.
    pub first_ns: u64,
    /// Time of the latest hit.
    pub last_ns: u64,
    /// Number of attempts.
    pub times: u64,
}

/// State of one address on a link. Times are nanoseconds since 1970.
#[derive(Clone, Debug, Default)]
pub struct Address {
    /// Time of the first sighting.
    pub first_ns: u64,
    /// Time of the latest sighting.
    pub last_ns: u64,
    /// Stations with the address, in the order of their first sighting.
    pub claimants: Vec<Claimant>,
    /// Claims of further stations, which are not tracked because of the limit.
    pub more: u64,
    pub(super) pinned: bool,
    /// Counted among the pinned conflicts of its link.
    pub(super) kept: bool,
    holder: Option<Mac>,
    change: Option<Change>,
    changes: Vec<u64>,
    question: Option<(u64, Option<Mac>)>,
    both_answered: u64,
    returned: u64,
    returned_ns: u64,
    disputed: Option<(u64, u64)>,
    probing: Option<(Mac, u64)>,
    duplicate: Option<Duplicate>,
    /// A continuing conflict has been reported as an event.
    pub(super) reported: bool,
    /// Number of hits of duplicate address detection already reported.
    reported_times: u64,
}

impl Address {
    pub(super) fn new(time_ns: u64) -> Address {
        Address {
            first_ns: time_ns,
            last_ns: time_ns,
            ..Address::default()
        }
    }

    /// Returns the holder: the latest claimant, otherwise the station seen last.
    pub fn holder(&self) -> Option<Mac> {
        let heard = || self.claimants.iter().max_by_key(|one| one.last_ns);
        self.holder.or_else(|| heard().map(|one| one.mac))
    }

    fn claimant(&mut self, mac: Mac, time_ns: u64) -> Option<&mut Claimant> {
        if let Some(at) = self.claimants.iter().position(|one| one.mac == mac) {
            return self.claimants.get_mut(at);
        }
        if self.claimants.len() >= MAX_CLAIMANTS {
            // Keep the holder and the previous holder; of the others, remove the one with the
            // fewest claims.
            let holder = self.holder;
            let before = self.change.map(|change| change.from);
            let least = (0..self.claimants.len())
                .filter(|at| {
                    let mac = Some(self.claimants[*at].mac);
                    mac != holder && mac != before
                })
                .min_by_key(|at| (self.claimants[*at].claims, self.claimants[*at].last_ns))?;
            self.more = self
                .more
                .saturating_add(self.claimants[least].claims.max(1));
            self.claimants.remove(least);
        }
        self.claimants.push(Claimant {
            mac,
            first_ns: time_ns,
            last_ns: time_ns,
            claimed_ns: 0,
            claims: 0,
            announcements: 0,
            answers: 0,
            answered_ns: 0,
            frames_from: None,
            direct: 0,
            relayed: 0,
            proxied: 0,
        });
        self.claimants.last_mut()
    }

    /// Records that it was seen as the source of a packet. Traffic is weak evidence: routers
    /// forward packets of others, and any source can be forged. It counts only while no station has
    /// claimed the address. Its TTL shows whether the station forwarded it.
    pub(super) fn heard(&mut self, mac: Mac, time_ns: u64, traffic: Traffic) {
        self.last_ns = time_ns;
        if self.holder.is_some() && !self.claimants.iter().any(|one| one.mac == mac) {
            return;
        }
        let is_new = !self.claimants.iter().any(|one| one.mac == mac);
        if is_new && self.claimants.len() >= MAX_CLAIMANTS {
            // Of stations without claims, the first stays until it is silent.
            let silent = self
                .claimants
                .iter()
                .position(|one| time_ns >= one.last_ns.saturating_add(FLAP_NS));
            match silent {
                Some(at) => drop(self.claimants.remove(at)),
                None => {
                    self.more = self.more.saturating_add(1);
                    return;
                }
            }
        }
        if let Some(claimant) = self.claimant(mac, time_ns) {
            claimant.last_ns = time_ns;
            match traffic {
                Traffic::Direct => claimant.direct += 1,
                Traffic::Relayed => claimant.relayed += 1,
                Traffic::ByProxy => claimant.proxied += 1,
            }
        }
    }

    /// Records a request for the address.
    pub(super) fn asked(&mut self, time_ns: u64) {
        let is_open = |(asked_ns, _): (u64, _)| time_ns < asked_ns.saturating_add(ANSWER_NS);
        if !self.question.is_some_and(is_open) {
            self.question = Some((time_ns, None));
        }
    }

    /// Records a probe of a station that wants to take the address.
    pub(super) fn probed(&mut self, mac: Mac, time_ns: u64) {
        self.last_ns = time_ns;
        let other = self.probing.filter(|(prober, at_ns)| {
            *prober != mac && time_ns < at_ns.saturating_add(DAD_WAIT_NS)
        });
        if let Some((prober, _)) = other {
            self.hit(mac, prober, time_ns, (false, true));
        } else if let Some(holder) = self.known_holder(mac, time_ns) {
            self.hit(mac, holder, time_ns, (false, false));
        }
        self.probing = Some((mac, time_ns));
        self.asked(time_ns);
    }

    /// Returns the other station that holds the address and was seen lately.
    fn known_holder(&self, prober: Mac, time_ns: u64) -> Option<Mac> {
        let holder = self.holder.filter(|holder| *holder != prober)?;
        let known = self.claimants.iter().find(|one| one.mac == holder)?;
        (time_ns < known.last_ns.saturating_add(FLAP_NS)).then_some(holder)
    }

    fn hit(&mut self, prober: Mac, by: Mac, time_ns: u64, (answered, both_probed): (bool, bool)) {
        if let Some(known) = self
            .duplicate
            .as_mut()
            .filter(|known| known.prober == prober)
        {
            // Several probes are one attempt, and so are their answers.
            if time_ns >= known.last_ns.saturating_add(DAD_WAIT_NS) {
                known.times += 1;
            }
            known.last_ns = time_ns;
            known.answered |= answered;
            known.both_probed = both_probed && !known.answered;
            known.by = by;
            return;
        }
        self.reported_times = 0;
        self.duplicate = Some(Duplicate {
            prober,
            by,
            answered,
            both_probed,
            first_ns: time_ns,
            last_ns: time_ns,
            times: 1,
        });
    }

    /// Records a claim. Returns `true` if it shows that two stations have the address.
    pub(super) fn claim(&mut self, claim: &Claim) -> bool {
        let Claim { mac, time_ns, .. } = *claim;
        self.last_ns = time_ns;
        let before = self.holder.filter(|before| *before != mac);
        let Some(claimant) = self.claimant(mac, time_ns) else {
            self.more = self.more.saturating_add(1);
            return false;
        };
        let had_claimed = claimant.claims > 0;
        claimant.last_ns = time_ns;
        claimant.claimed_ns = time_ns;
        claimant.claims += 1;
        claimant.announcements += u64::from(claim.announced);
        claimant.answers += u64::from(claim.answer);
        if claim.answer {
            claimant.answered_ns = time_ns;
        }
        if claim.frame != mac {
            claimant.frames_from = Some(claim.frame);
        }
        self.holder = Some(mac);
        let mut disputed = false;
        if let Some(from) = before {
            self.changes
                .retain(|at| time_ns < at.saturating_add(CHANGES_NS));
            if self.changes.len() >= MAX_CHANGES {
                self.changes.remove(0);
            }
            self.changes.push(time_ns);
            self.change = Some(Change {
                from,
                to: mac,
                time_ns,
                announced: claim.announced,
                times: self.change.map_or(0, |change| change.times) + 1,
            });
            disputed |= self.changes.len() >= MAX_CHANGES && !are_shared(from, mac);
            if had_claimed && !claim.announced && !is_plausible(from, mac, claim.answer) {
                let again = time_ns < self.returned_ns.saturating_add(FLAP_NS);
                disputed |= self.returned > 0 && again;
                self.returned += 1;
                self.returned_ns = time_ns;
            }
        }
        disputed |= self.answered(claim);
        self.probe_answered(claim);
        if disputed {
            let since_ns = self.disputed.map_or(time_ns, |(since_ns, _)| since_ns);
            self.disputed = Some((since_ns, time_ns));
        }
        disputed
    }

    /// Returns whether another station answered the same request.
    fn answered(&mut self, claim: &Claim) -> bool {
        let Some((asked_ns, first)) = self.question else {
            return false;
        };
        if claim.announced {
            // After an announcement, another station may rightly answer.
            self.question = None;
            return false;
        }
        if !claim.answer || claim.time_ns >= asked_ns.saturating_add(ANSWER_NS) {
            return false;
        }
        match first {
            None => {
                self.question = Some((asked_ns, Some(claim.mac)));
                false
            }
            Some(first) if first != claim.mac && !are_shared(first, claim.mac) => {
                self.both_answered += 1;
                self.question = None;
                true
            }
            Some(_) => false,
        }
    }

    fn probe_answered(&mut self, claim: &Claim) {
        let Some((prober, at_ns)) = self.probing else {
            return;
        };
        if prober == claim.mac {
            // It took the address, so the presumed holder no longer has it.
            self.probing = None;
            if self
                .duplicate
                .is_some_and(|one| one.prober == prober && !one.answered)
            {
                self.duplicate = None;
            }
        } else if claim.time_ns < at_ns.saturating_add(DAD_WAIT_NS)
            && (claim.answer || claim.announced)
        {
            self.hit(prober, claim.mac, claim.time_ns, (true, false));
        }
    }

    /// Removes claims made with a former link-layer address of this host.
    pub(super) fn disown(&mut self, former: Mac) {
        self.claimants.retain(|one| one.mac != former);
        self.holder = self.holder.filter(|holder| *holder != former);
    }

    /// Returns the conflict, if there is one. `own`: this host has the address.
    pub fn conflict(&self, now_ns: u64, own: Option<Own<'_>>) -> Option<Conflict> {
        let lately = |at_ns: u64| now_ns < at_ns.saturating_add(CONFLICT_ACTIVE_NS);
        if let Some(own) = own {
            let (ours, others): (Vec<&Claimant>, Vec<&Claimant>) = self
                .claimants
                .iter()
                .partition(|one| own.macs.contains(&one.mac));
            // Claims from before this host had the address are a takeover by this host.
            let since_ns = ours
                .iter()
                .map(|one| one.first_ns)
                .fold(own.since_ns, u64::min);
            let other = others
                .iter()
                .filter(|one| one.claims > 0 && one.claimed_ns >= since_ns)
                .filter(|one| is_visible(one.claimed_ns, now_ns))
                .max_by_key(|one| one.claimed_ns)?;
            let mine = ours.first().map(|one| one.mac).or(own.mac);
            return Some(Conflict {
                since_ns: other.first_ns.max(since_ns),
                last_ns: other.claimed_ns,
                between: (mine?, other.mac),
                both_answered: self.both_answered,
                returned: self.returned,
                own: true,
                current: lately(other.claimed_ns),
            });
        }
        let (since_ns, last_ns) = self
            .disputed
            .filter(|(_, last_ns)| is_visible(*last_ns, now_ns))?;
        let mut newest: Vec<&Claimant> =
            self.claimants.iter().filter(|one| one.claims > 0).collect();
        newest.sort_by_key(|one| std::cmp::Reverse(one.claimed_ns));
        let [one, other, ..] = newest[..] else {
            return None;
        };
        Some(Conflict {
            since_ns,
            last_ns,
            between: (one.mac.min(other.mac), one.mac.max(other.mac)),
            both_answered: self.both_answered,
            returned: self.returned,
            own: false,
            current: lately(last_ns) && lately(other.claimed_ns),
        })
    }

    /// Returns the latest move within 24 hours.
    pub fn moved(&self, now_ns: u64) -> Option<Change> {
        self.change
            .filter(|change| is_visible(change.time_ns, now_ns))
    }

    /// Returns the latest hit of duplicate address detection. Without a visible answer, only after
    /// the prober's wait, since it may still take the address.
    pub fn duplicate(&self, now_ns: u64) -> Option<Duplicate> {
        self.duplicate
            .filter(|hit| hit.answered || now_ns >= hit.last_ns.saturating_add(DAD_WAIT_NS))
            .filter(|hit| is_visible(hit.last_ns, now_ns))
    }

    /// Returns the move caused by this claim, if there was one.
    pub(super) fn changed_by(&self, claim: &Claim) -> Option<Change> {
        self.change
            .filter(|change| change.to == claim.mac && change.time_ns == claim.time_ns)
    }

    /// Returns a confirmed hit of duplicate address detection that has not been reported.
    pub(super) fn new_duplicate(&mut self) -> Option<Duplicate> {
        let hit = self
            .duplicate
            .filter(|hit| hit.answered || hit.both_probed)?;
        let is_new = hit.times > self.reported_times;
        self.reported_times = hit.times;
        is_new.then_some(hit)
    }

    /// Returns whether a conflict continues.
    pub(super) fn is_disputed(&self, now_ns: u64) -> bool {
        self.disputed
            .is_some_and(|(_, last_ns)| now_ns < last_ns.saturating_add(CONFLICT_ACTIVE_NS))
    }
}

fn is_visible(last_ns: u64, now_ns: u64) -> bool {
    now_ns < last_ns.saturating_add(RESOLVED_VISIBLE_NS)
}

/// Several routers may rightly answer for the address of a virtual router (GLBP does, in turn).
fn are_shared(one: Mac, other: Mac) -> bool {
    shared(one).is_some() && shared(other).is_some()
}

/// Returns whether a change of the link-layer address is normal for a virtual router. A router that owns
/// the virtual address sends requests with its own MAC and answers with the virtual one (RFC 9568,
/// section 8.1.2).
fn is_plausible(from: Mac, to: Mac, answer: bool) -> bool {
    are_shared(from, to) || (shared(from).is_some() != shared(to).is_some() && !answer)
}

impl Kept for Address {
    fn last_ns(&self) -> u64 {
        self.last_ns
    }

    /// Gateways, addresses of this host, and conflicts.
    fn is_pinned(&self) -> bool {
        self.pinned || self.kept
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: u64 = 1_000_000_000;
    const A: Mac = Mac([2, 0, 0, 0, 0, 0xa]);
    const B: Mac = Mac([2, 0, 0, 0, 0, 0xb]);
    const VIRTUAL: Mac = Mac([0, 0, 0x5e, 0, 1, 7]);

    #[derive(Clone, Copy)]
    enum Says {
        Asks,
        Answers,
        Announces,
        Probes,
        /// A request.
        Question,
    }
    use Says::*;

    fn after(steps: &[(u64, Mac, Says)]) -> Address {
        let mut address = Address::new(steps[0].0 * S);
        for (at, mac, says) in steps {
            let claim = Claim {
                mac: *mac,
                frame: *mac,
                time_ns: at * S,
                announced: matches!(says, Announces),
                answer: matches!(says, Answers),
            };
            match says {
                Probes => address.probed(*mac, at * S),
                Question => address.asked(at * S),
                _ => {
                    address.claim(&claim);
                }
            }
        }
        address
    }

    /// Expected state: conflict, move (announced or not), or nothing.
    fn verdict(steps: &[(u64, Mac, Says)]) -> &'static str {
        let address = after(steps);
        let now = steps.last().unwrap().0 * S + S;
        match (address.conflict(now, None), address.moved(now)) {
            (Some(conflict), _) if conflict.current => "conflict",
            (Some(_), _) => "over",
            (None, Some(change)) if change.announced => "announced",
            (None, Some(_)) => "moved",
            (None, None) => "",
        }
    }

    #[test]
    fn conflict_needs_two_continuing_claimants() {
        for (steps, expected) in [
            (&[(1, A, Answers), (50, A, Asks)][..], ""),
            // A standby takes over and returns the address.
            (
                &[(1, A, Asks), (5, B, Announces), (9, B, Answers)],
                "announced",
            ),
            (
                &[
                    (1, A, Asks),
                    (5, B, Announces),
                    (9, A, Announces),
                    (10, A, Asks),
                ],
                "announced",
            ),
            // A lease moves to another host; the first one is not seen again.
            (&[(1, A, Asks), (900, B, Asks), (901, B, Answers)], "moved"),
            // The first one returns once, much later.
            (&[(1, A, Asks), (900, B, Asks), (5000, A, Asks)], "moved"),
            // Both send requests to others, and so claim it in turn.
            (
                &[(1, A, Asks), (2, B, Asks), (3, A, Asks), (4, B, Asks)],
                "conflict",
            ),
            // Both answer one request; the second is not displaced by an announcement in between.
            (
                &[(1, A, Question), (1, A, Answers), (1, B, Answers)],
                "conflict",
            ),
            (
                &[
                    (1, A, Question),
                    (1, A, Answers),
                    (1, B, Announces),
                    (1, B, Answers),
                ],
                "announced",
            ),
            // Answers to two requests.
            (
                &[
                    (1, A, Question),
                    (1, A, Answers),
                    (5, A, Question),
                    (5, B, Answers),
                ],
                "moved",
            ),
            // Both announce, again and again.
            (
                &[
                    (1, A, Announces),
                    (5, B, Announces),
                    (10, A, Announces),
                    (15, B, Announces),
                    (20, A, Announces),
                    (25, B, Announces),
                    (30, A, Announces),
                ],
                "conflict",
            ),
            // Over after an hour in which only one of them claims it.
            (
                &[
                    (1, A, Asks),
                    (2, B, Asks),
                    (3, A, Asks),
                    (4, B, Asks),
                    (3700, A, Asks),
                ],
                "over",
            ),
            // The owner of a virtual router's address sends requests with its own MAC.
            (
                &[
                    (1, VIRTUAL, Answers),
                    (2, A, Asks),
                    (3, VIRTUAL, Answers),
                    (4, A, Asks),
                    (5, A, Asks),
                ],
                "moved",
            ),
        ] {
            let reported: Vec<u64> = steps.iter().map(|(at, ..)| *at).collect();
            assert_eq!(verdict(steps), expected, "{reported:?}");
        }
    }

    #[test]
    fn resolved_conflicts_stay_visible_for_a_day() {
        let dispute = [(1, A, Asks), (2, B, Asks), (3, A, Asks), (4, B, Asks)];
        let address = after(&dispute);
        let day = RESOLVED_VISIBLE_NS + 4 * S;
        assert!(!address.conflict(day - 1, None).unwrap().current);
        assert_eq!(address.conflict(day, None), None);
        assert!(address.moved(day - 1).is_some() && address.moved(day).is_none());
        let wanted = after(&[(1, A, Asks), (2, B, Probes), (2, A, Answers)]);
        let day = RESOLVED_VISIBLE_NS + 2 * S;
        assert!(wanted.duplicate(day - 1).is_some() && wanted.duplicate(day).is_none());
    }

    #[test]
    fn claim_of_an_own_address_is_a_conflict() {
        let macs = HashSet::from_iter([A]);
        let of = |steps: &[(u64, Mac, Says)]| {
            let now = steps.last().unwrap().0 * S + S;
            after(steps).conflict(
                now,
                Some(Own {
                    since_ns: 4 * S,
                    mac: Some(A),
                    macs: &macs,
                }),
            )
        };
        // Taken over from B.
        assert_eq!(of(&[(1, B, Asks), (5, A, Announces)]), None);
        // One claim of another station is enough.
        let conflict = of(&[(1, A, Asks), (5, B, Asks)]).unwrap();
        assert_eq!((conflict.between, conflict.own), ((A, B), true));
        assert_eq!(of(&[(5, B, Asks)]).unwrap().between, (A, B));
        // B itself was one of this host's addresses.
        let mut address = after(&[(1, B, Asks), (5, A, Asks), (6, B, Asks)]);
        let own = Own {
            since_ns: S,
            mac: Some(A),
            macs: &macs,
        };
        assert!(address.conflict(7 * S, Some(own)).is_some());
        address.disown(B);
        assert_eq!(address.conflict(7 * S, Some(own)), None);
    }

    #[test]
    fn duplicate_address_detection_hits() {
        let of = |steps: &[(u64, Mac, Says)], later: u64| {
            let now = (steps.last().unwrap().0 + later) * S;
            after(steps)
                .duplicate(now)
                .map(|hit| (hit.prober, hit.by, hit.answered, hit.times))
        };
        assert_eq!(
            of(&[(1, A, Probes), (2, A, Probes), (4, A, Announces)], 9),
            None
        );
        // Three probes, each answered: one attempt.
        let attempt = [
            (1, A, Answers),
            (5, B, Probes),
            (5, A, Answers),
            (6, B, Probes),
            (6, A, Answers),
        ];
        assert_eq!(of(&attempt, 0), Some((B, A, true, 1)));
        // The answer went to the prober only. It is a hit only if the prober does not take the
        // address.
        let unseen = [(1, A, Asks), (5, B, Probes), (6, B, Probes)];
        assert_eq!(of(&unseen, 1), None);
        assert_eq!(of(&unseen, 4), Some((B, A, false, 1)));
        assert_eq!(
            of(&[(1, A, Asks), (5, B, Probes), (7, B, Announces)], 9),
            None
        );
        // Both want the address.
        assert_eq!(
            of(&[(1, A, Probes), (2, B, Probes)], 9),
            Some((B, A, false, 1))
        );
        // Much later, it is not an answer.
        assert_eq!(of(&[(1, B, Probes), (9, A, Announces)], 9), None);
    }

    #[test]
    fn extra_claimants_are_counted_and_the_holder_is_kept() {
        let mut address = after(&[(1, A, Asks), (2, A, Asks), (3, A, Answers)]);
        for number in 0..1000u64 {
            let [.., x, y] = number.to_be_bytes();
            for (mac, says) in [(Mac([2, 9, 9, 9, x, y]), false), (A, true)] {
                address.claim(&Claim {
                    mac,
                    frame: mac,
                    time_ns: (4 + number) * S,
                    announced: false,
                    answer: says,
                });
            }
        }
        assert_eq!(address.claimants.len(), MAX_CLAIMANTS);
        assert!(address.more > 900);
        assert_eq!(address.claimants[0].mac, A);
        let conflict = address.conflict(1005 * S, None).unwrap();
        assert!(conflict.current && conflict.returned > 900);
    }
}
