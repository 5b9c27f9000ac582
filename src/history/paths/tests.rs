//! PURE. Tests of the memory of paths.

use super::*;
use netsonde_core::trace::path::Count;

const SECOND: u64 = 1_000_000_000;
const START: u64 = 1_800_000_000 * SECOND;
const MINUTE: u64 = 60 * SECOND;

fn hop(hop: u8, addresses: &[&str]) -> HopAnswers {
    let count = Count {
        answers: 6,
        missed: 0,
    };
    HopAnswers {
        hop,
        addresses: (addresses.iter())
            .map(|address| (address.parse().unwrap(), count))
            .collect(),
    }
}

fn networks(count: u32) -> BTreeMap<String, Target> {
    let one = |series: u32| {
        let address = format!("10.{}.{}.1", series / 256, series % 256);
        (network(&address).unwrap(), Target { series, address })
    };
    (0..count).map(one).collect()
}

/// A memory of one network, whose path is known.
fn learned(second: &[&str]) -> (Paths, String) {
    let mut paths = Paths::restore(MINUTE, std::iter::empty(), std::iter::empty());
    paths.set_networks(networks(1), START);
    let [(key, target, Job::Trace)] = &paths.due(START)[..] else {
        panic!("a path that is not known is traced");
    };
    let hops = [hop(1, &["10.0.0.254"]), hop(2, second)];
    let found = paths.traced(key, &target.address, &hops, true, START);
    assert_eq!(found, None);
    (paths, key.clone())
}

fn answer(hop: u8, address: &str, sent_ns: u64) -> (u8, IpAddr, u64) {
    (hop, address.parse().unwrap(), sent_ns)
}

#[test]
fn networks_are_named_by_their_prefix() {
    for (address, expected) in [
        ("10.9.0.77", Some("10.9.0.0/24")),
        ("2001:db8:1:2:3::4", Some("2001:db8:1:2::/64")),
        ("fe80::1%e0", Some("fe80::%e0/64")),
        ("host", None),
    ] {
        assert_eq!(network(address).as_deref(), expected);
    }
}

/// Sixty networks behind one gateway, looked at one after the other.
#[test]
fn a_router_of_many_paths_is_asked_seldom() {
    let mut paths = Paths::restore(MINUTE, std::iter::empty(), std::iter::empty());
    paths.set_networks(networks(60), START);
    let (mut asked, mut looks) = (0, 0);
    let mut by_network: BTreeMap<String, usize> = BTreeMap::new();
    for second in 0..20 * 60 {
        let now = START + second * SECOND;
        for (key, target, job) in paths.due(now) {
            let own: IpAddr = target.address.parse().unwrap();
            let gateway = "10.0.0.254".parse().unwrap();
            match job {
                Job::Trace => {
                    let hops = [hop(1, &["10.0.0.254"]), hop(2, &[&target.address])];
                    paths.traced(&key, &target.address, &hops, true, now);
                }
                Job::Look(hops) => {
                    assert!(hops.contains(&2), "{hops:?}");
                    looks += 1;
                    asked += usize::from(hops.contains(&1));
                    *by_network.entry(key.clone()).or_default() += usize::from(hops.contains(&1));
                    let all = hops
                        .iter()
                        .map(|hop| (*hop, if *hop == 1 { gateway } else { own }, now));
                    let answers: Vec<_> = all.collect();
                    paths.looked(&key, &answers, now);
                }
            }
        }
    }
    assert!(looks > 700, "{looks}");
    // Four in ten seconds, and one of eight of the others.
    assert!(asked * 100 < looks * 55, "{asked} of {looks}");
    assert_eq!(by_network.len(), 60);
    assert!(
        by_network.values().all(|count| *count >= 2),
        "{by_network:?}"
    );
}

#[test]
fn a_change_is_told_once_with_its_second() {
    let (mut paths, key) = learned(&["10.1.0.2"]);
    assert_eq!(paths.due(START + SECOND), []);
    let now = START + MINUTE;
    let jobs = paths.due(now);
    assert_eq!(jobs[0].2, Job::Look(vec![1, 2]));
    // Silence is no change.
    paths.looked(&key, &[answer(1, "10.0.0.254", now)], now);
    assert_eq!(paths.due(now + SECOND), []);
    let now = START + 2 * MINUTE;
    assert_eq!(paths.due(now).len(), 1);
    paths.looked(&key, &[answer(2, "10.2.0.2", now + 5)], now + SECOND);
    // At once, and by a trace.
    let jobs = paths.due(now + SECOND);
    assert_eq!(jobs[0].2, Job::Trace);
    let hops = [hop(1, &["10.0.0.254"]), hop(2, &["10.2.0.2"])];
    let target = jobs[0].1.address.clone();
    let change = paths
        .traced(&key, &target, &hops, true, now + 3 * SECOND)
        .unwrap();
    assert_eq!(change.time_ns, now + 5);
    assert_eq!(change.words, "hop 2 was 10.1.0.2, is 10.2.0.2");
    assert_eq!(change.before.hops[1].addresses, ["10.1.0.2"]);
    assert_eq!(change.after.hops[1].addresses, ["10.2.0.2"]);
    // Both are there, each at its time.
    let (path, later) = paths.at(&key, START + MINUTE).unwrap();
    assert_eq!((path.hops()[1].addresses.len(), later.len()), (1, 1));
    assert!(paths.at(&key, START - 1).is_none());
    assert_eq!(paths.first_ns(&key), Some(START));
    let (known, former) = paths.take_changes();
    let known = known.into_iter().map(|(key, path)| (key, path.unwrap()));
    let former = former
        .into_iter()
        .filter_map(|(key, all)| Some((key, all?)));
    let again = Paths::restore(MINUTE, known, former);
    let (path, _) = again.at(&key, START + MINUTE).unwrap();
    assert_eq!(path.traced().hops, change.before.hops);
}

#[test]
fn few_answers_are_added_up_before_they_are_judged() {
    let (mut paths, key) = learned(&["10.1.0.2"]);
    let now = START + MINUTE;
    assert_eq!(paths.due(now).len(), 1);
    paths.looked(&key, &[answer(2, "10.2.0.2", now)], now);
    // Routers that limit their answers: two at a time.
    let few = |address: &str| {
        let mut hop = hop(2, &[address]);
        for count in hop.addresses.values_mut() {
            count.answers = 2;
        }
        [hop]
    };
    let jobs = paths.due(now);
    assert_eq!(jobs[0].2, Job::Trace);
    let target = jobs[0].1.address.clone();
    assert_eq!(
        paths.traced(&key, &target, &few("10.2.0.2"), true, now),
        None
    );
    assert_eq!(paths.due(now + SECOND), []);
    let later = now + 5 * SECOND;
    assert_eq!(paths.due(later)[0].2, Job::Trace);
    let change = paths.traced(&key, &target, &few("10.2.0.2"), true, later);
    assert_eq!(change.unwrap().time_ns, now);
    assert_eq!(paths.pending, 0);
    // If the former one answers again, both are ways.
    let (mut paths, key) = learned(&["10.1.0.2"]);
    assert_eq!(paths.due(now).len(), 1);
    paths.looked(&key, &[answer(2, "10.2.0.2", now)], now);
    assert_eq!(paths.due(now).len(), 1);
    assert_eq!(
        paths.traced(&key, &target, &few("10.2.0.2"), true, now),
        None
    );
    assert_eq!(paths.due(later).len(), 1);
    assert_eq!(
        paths.traced(&key, &target, &few("10.1.0.2"), true, later),
        None
    );
    let (path, _) = paths.at(&key, later).unwrap();
    assert_eq!(path.hops()[1].addresses.len(), 2);
    assert_eq!(paths.due(later + SECOND), []);
    assert_eq!(paths.due(later + MINUTE).len(), 1);
}

#[test]
fn looks_come_to_all_hops_and_to_silent_ones_in_turn() {
    let far: Vec<HopAnswers> = [1, 2, 4, 6, 7, 8, 9, 10, 11, 12, 13, 14]
        .map(|ttl| hop(ttl, &["10.0.0.1"]))
        .into();
    let path = Remembered::new(&far);
    let mut seen = BTreeSet::new();
    for number in 0..4 {
        let hops = to_look_at(&path, number);
        assert_eq!(hops.len(), MAX_STEPS);
        seen.extend(hops);
    }
    assert_eq!(seen, (1..=14).collect());
    assert_eq!(to_look_at(&Remembered::new(&far[..2]), 5), [1, 2]);
}

#[test]
fn a_way_that_no_trace_shows_is_one_of_several() {
    let (mut paths, key) = learned(&["10.1.0.2"]);
    let hops = [hop(1, &["10.0.0.254"]), hop(2, &["10.1.0.2"])];
    for round in 1..=3 {
        let now = START + round * MINUTE;
        let jobs = paths.due(now);
        assert!(matches!(jobs[0].2, Job::Look(_)));
        paths.looked(&key, &[answer(2, "10.2.0.2", now)], now);
        let jobs = paths.due(now);
        assert_eq!(jobs[0].2, Job::Trace);
        let target = jobs[0].1.address.clone();
        assert_eq!(paths.traced(&key, &target, &hops, true, now), None);
    }
    let now = START + 4 * MINUTE;
    assert_eq!(paths.due(now).len(), 1);
    paths.looked(&key, &[answer(2, "10.2.0.2", now)], now);
    assert_eq!(paths.due(now + SECOND), []);
}

#[test]
fn many_networks_are_looked_at_in_turn_and_less_often() {
    let mut paths = Paths::restore(MINUTE, std::iter::empty(), std::iter::empty());
    paths.set_networks(networks(5000), START);
    assert_eq!(paths.left_out, 5000 - MAX_PATHS as u64);
    assert_eq!(paths.interval_ns(), 4096 * SECOND);
    let hops = [hop(1, &["10.0.0.254"])];
    let mut seen = BTreeMap::new();
    for second in 0..3 * 4096 {
        let now = START + second * SECOND;
        let jobs = paths.due(now);
        assert!(jobs.len() <= MAX_A_SECOND);
        for (key, target, job) in jobs {
            *seen.entry(key.clone()).or_insert(0) += 1;
            match job {
                Job::Trace => {
                    assert_eq!(paths.traced(&key, &target.address, &hops, true, now), None);
                }
                Job::Look(steps) => {
                    assert!(steps.len() <= MAX_STEPS);
                    paths.looked(&key, &[answer(1, "10.0.0.254", now)], now);
                }
            }
        }
    }
    assert_eq!(seen.len(), MAX_PATHS);
    assert!(seen.values().all(|count| *count == 3));
    // Those that are gone are forgotten after a week, and jobs that are not done hold nothing up for ever.
    paths.set_networks(networks(1), START + 30 * 24 * HOUR_NS);
    assert_eq!(paths.known.len(), 1);
}
