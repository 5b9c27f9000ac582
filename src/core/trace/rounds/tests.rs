//! PURE. Tests of traces that go on.

use super::*;
use crate::protocol::trace::IcmpError;

const TARGET: [u8; 4] = [10, 9, 0, 2];

fn settings() -> Settings {
    Settings {
        target: TARGET.into(),
        first: 1,
        last: 30,
        queries: 1,
        flows: Some(1),
        most_flows: 1,
        tos: 0,
        timeout_ns: 1_000_000_000,
        tests_rates: false,
    }
}

/// A path whose hops answer or not.
struct Path {
    rounds: Rounds,
    /// Address of each hop; the target is behind the last one.
    routers: Vec<[u8; 4]>,
    probes: usize,
}

impl Path {
    fn new(count: u8) -> Path {
        Path {
            rounds: Rounds::new(settings()),
            routers: (1..=count).map(|hop| [10, hop, 0, 2]).collect(),
            probes: 0,
        }
    }

    /// Carries a round out. `is_lost`: by TTL.
    fn round(&mut self, is_lost: impl Fn(u8) -> bool) {
        let mut steps: VecDeque<Step> = self.rounds.begin().into();
        while let Some(step) = steps.pop_front() {
            self.probes += 1;
            let router = self.routers.get(usize::from(step.hop_limit) - 1);
            let (from, kind, code) = match router {
                Some(router) => (*router, 11, 0),
                None => (TARGET, 3, 3),
            };
            let from = IpAddr::from(from).to_string();
            let mut answer = Answer {
                number: step.number,
                hop_limit: step.hop_limit,
                fate: "unanswered".into(),
                time: "2026-01-01T00:00:00Z".into(),
                ..Answer::default()
            };
            if !is_lost(step.hop_limit) {
                answer.fate = "refused".into();
                answer.from = Some(from.clone());
                answer.rtt_ns = Some(1000);
                answer.is_final = true;
                answer.error = Some(IcmpError {
                    kind,
                    code,
                    from,
                    meaning: String::new(),
                    mtu: None,
                });
            }
            steps.extend(self.rounds.add(&answer));
        }
        assert!(self.rounds.is_complete());
    }

    fn states(&self) -> Vec<HopState> {
        let report = self.rounds.report();
        report.hops.iter().map(|hop| hop.state).collect()
    }

    fn changes(&self) -> Vec<String> {
        let report = self.rounds.report();
        report.changes.into_iter().map(|one| one.text).collect()
    }
}

#[test]
fn each_round_takes_a_probe_for_each_hop() {
    let mut path = Path::new(9);
    path.round(|_| false);
    let first = path.probes;
    assert!(first <= 13, "{first}");
    for _ in 0..100 {
        path.round(|_| false);
    }
    assert_eq!(path.probes, first + 100 * 10);
    let report = path.rounds.report();
    assert_eq!(report.hops.len(), 10);
    assert!(report.is_reached && report.changes.is_empty());
    for hop in &report.hops {
        assert_eq!((hop.state, hop.sent), (HopState::Answers, 101));
    }
    assert!(path.rounds.pending.is_empty());
}

#[test]
fn limits_are_no_loss_and_loss_is() {
    let mut path = Path::new(4);
    for round in 0..100u32 {
        // Hop 2 answers one in ten.
        path.round(|hop| hop == 2 && !round.is_multiple_of(10));
    }
    use HopState::{Answers, Lossy, MissesAnswers};
    let of_limited = path.rounds.report().hops[1].clone();
    assert_eq!(of_limited.loss_percent, 0.0);
    assert!(matches!(
        of_limited.state,
        MissesAnswers | HopState::NowSilent
    ));
    let mut path = Path::new(4);
    for round in 0..100u32 {
        // The link behind hop 2 loses three of ten, and hop 4 half of the rest.
        let is_lost = |hop: u8| {
            hop > 2 && (u32::from(hop) * 3 + round * 7) % 10 < 3
                || hop == 4 && round.is_multiple_of(2)
        };
        path.round(is_lost);
    }
    let states = path.states();
    assert_eq!(states[..4], [Answers, Answers, Lossy, MissesAnswers]);
    assert_eq!(states[4], Lossy);
    let report = path.rounds.report();
    assert_eq!(report.hops[1].loss_percent, 0.0);
    assert!((25.0..35.0).contains(&report.hops[2].loss_percent));
    assert!((25.0..35.0).contains(&report.hops[3].loss_percent));
    assert!(report.hops[3].unanswered_percent > 55.0);
}

#[test]
fn errors_of_the_target_may_be_limited() {
    let mut path = Path::new(4);
    for round in 0..100u32 {
        path.round(|hop| hop == 5 && !round.is_multiple_of(2));
    }
    assert_eq!(
        path.states()[3..],
        [HopState::Answers, HopState::LostOrLimited]
    );
}

#[test]
fn changes_are_told_once() {
    let mut path = Path::new(4);
    for _ in 0..10 {
        path.round(|_| false);
    }
    path.routers[2] = [10, 77, 0, 2];
    for _ in 0..10 {
        path.round(|_| false);
    }
    assert_eq!(path.changes(), ["hop 3 changed from 10.3.0.2 to 10.77.0.2"]);
    // It takes turns from now on.
    for round in 0..20 {
        path.routers[2] = [10, if round % 2 == 0 { 3 } else { 77 }, 0, 2];
        path.round(|_| false);
    }
    assert_eq!(path.changes().len(), 2, "{:?}", path.changes());
    assert_eq!(path.rounds.report().hops[2].changed, 21);
}

#[test]
fn paths_grow_shrink_and_end() {
    let mut path = Path::new(3);
    for _ in 0..10 {
        path.round(|_| false);
    }
    path.routers.push([10, 4, 0, 2]);
    path.routers.push([10, 5, 0, 2]);
    path.round(|_| false);
    let report = path.rounds.report();
    assert_eq!(report.hops.len(), 6, "{report:#?}");
    assert_eq!(path.changes(), ["hop 4 changed from 10.9.0.2 to 10.4.0.2"]);
    path.routers.truncate(2);
    path.round(|_| false);
    path.round(|_| false);
    assert_eq!(path.rounds.report().hops.len(), 3);
    assert_eq!(path.changes().len(), 2, "{:?}", path.changes());
    for _ in 0..7 {
        path.round(|hop| hop == 3);
    }
    path.round(|_| false);
    let changes = path.changes();
    assert_eq!(changes[2], "10.9.0.2 has not answered for 3 rounds");
    assert!(changes[3].starts_with("10.9.0.2 answers again, after 7 rounds"));
    assert_eq!(changes.len(), 4, "{changes:?}");
}

#[test]
fn silent_targets_are_looked_for_and_left() {
    let mut path = Path::new(2);
    for _ in 0..60 {
        path.round(|hop| hop > 2);
    }
    // A window each round, up to 30 once at the start and in two of 60 rounds.
    assert!(path.probes < 60 * 5 + 200, "{}", path.probes);
    let report = path.rounds.report();
    assert!(!report.is_reached);
    assert_eq!(report.hops.len(), 2);
    // It was away.
    path.round(|_| false);
    assert!(path.rounds.report().is_reached);
    assert_eq!(path.rounds.report().hops.len(), 3);
}
