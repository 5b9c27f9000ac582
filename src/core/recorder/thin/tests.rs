//! PURE. Simulated traffic: the rules of thinning, without a wire.

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr};

use bytemuck::Zeroable;
use proptest::prelude::*;

use super::*;
use crate::wire::LinkType;
use crate::wire::glance::glance;

const MIB: u64 = 1 << 20;
const START: u64 = 1_000_000 * SECOND;
/// Bytes of a minimal frame in a store.
const COST: u32 = 88;

/// A store under test, with every admitted packet of the last target.
struct Store1 {
    thinner: Thinner,
    pace: Pace,
    store: Store,
    target_ns: u64,
    usable: u64,
    admitted: VecDeque<(u64, u32)>,
    bytes: u64,
    most: u64,
}

fn udp(from: [u8; 4], ports: (u16, u16), to: [u8; 4]) -> Vec<u8> {
    let mut frame = vec![2; 12];
    frame.extend_from_slice(&[8, 0, 0x45, 0, 0, 46, 0, 0, 0, 0, 64, 17, 0, 0]);
    frame.extend_from_slice(&from);
    frame.extend_from_slice(&to);
    frame.extend_from_slice(&ports.0.to_be_bytes());
    frame.extend_from_slice(&ports.1.to_be_bytes());
    frame.extend_from_slice(&[0, 26, 0, 0]);
    frame
}

const OWN: [u8; 4] = [10, 0, 0, 2];
const GATEWAY: [u8; 4] = [10, 0, 0, 1];
const OTHER: [u8; 4] = [10, 0, 0, 99];

fn number(n: u64) -> [u8; 4] {
    let mixed = n.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    [
        11,
        (mixed >> 56) as u8,
        (mixed >> 48) as u8,
        (mixed >> 40) as u8,
    ]
}

impl Store1 {
    fn new(store: Store, usable: u64, target_s: u64) -> Store1 {
        let mut made = Store1 {
            thinner: Thinner::default(),
            pace: Pace::zeroed(),
            store,
            target_ns: target_s * SECOND,
            usable,
            admitted: VecDeque::new(),
            bytes: 0,
            most: 0,
        };
        made.restart();
        made
    }

    /// Another engine: the pace stays.
    fn restart(&mut self) {
        self.thinner = Thinner::default();
        self.thinner
            .set_targets([self.target_ns; 7], [self.usable; 7], [2072; 7]);
        let ip = |address: [u8; 4]| IpAddr::V4(Ipv4Addr::from(address));
        self.thinner.set_concerns([ip(OWN)], [ip(GATEWAY)]);
    }

    fn put(&mut self, time_ns: u64, bytes: &[u8], cost: u32) -> Decision {
        self.put_probe(time_ns, bytes, cost, None)
    }

    fn put_probe(
        &mut self,
        time_ns: u64,
        bytes: &[u8],
        cost: u32,
        probe: Option<[u8; 12]>,
    ) -> Decision {
        let seen = glance(LinkType::Ethernet, bytes);
        let flow = Flow::from_packet(&seen, bytes, 2, false);
        let candidate = Candidate {
            store: self.store,
            time_ns,
            cost,
            flow: &flow,
            seen: &seen,
            station: 7,
            probe,
            least: Concern::None,
            is_next: false,
        };
        let decision = self.thinner.decide(&mut self.pace, &candidate);
        if decision != Decision::Thin {
            self.admitted.push_back((time_ns, cost));
            self.bytes += u64::from(cost);
        }
        while let Some((at, cost)) = self.admitted.front()
            && *at + self.target_ns < time_ns
        {
            self.bytes -= u64::from(*cost);
            self.admitted.pop_front();
        }
        self.most = self.most.max(self.bytes);
        decision
    }
}

fn stands_for(decision: Decision) -> u64 {
    match decision {
        Decision::Keep(shift) => 1 << shift,
        Decision::Thin => 0,
    }
}

/// A thousand packets a second of the largest size that `bulk` stores, in one flow of others: nothing is thinned, in
/// the default configuration.
#[test]
fn quiet_hosts_thin_nothing() {
    let mut bulk = Store1::new(Store::Bulk, 114 * (256 * 1024 - 200), 120);
    let frame = udp(OTHER, (1000, 5000), [10, 0, 0, 98]);
    for n in 0..300_000 {
        let decision = bulk.put(START + n * SECOND / 1000, &frame, 152);
        assert_eq!(decision, Decision::Keep(0), "packet {n}");
    }
}

/// What a store admits within its target never exceeds it, whatever the traffic, so nothing of that time is evicted:
/// also if engines are killed and start with empty tables.
#[test]
fn no_flood_admits_more_than_the_store_holds() {
    for kills in [false, true] {
        for kind in 0..4 {
            let mut store = Store1::new(Store::Bulk, MIB / 2, 12);
            for n in 0..100_000u64 {
                let time = START + n * SECOND / 4_000;
                let frame = match kind {
                    0 => udp(OTHER, (1000, 5000), OWN),
                    1 => udp(number(n), (1000, 5000), OWN),
                    2 => udp(number(n), (n as u16, 5000), OTHER),
                    _ => udp(GATEWAY, (n as u16, 5000), OWN),
                };
                if kills && n % 4_000 == 0 {
                    store.restart();
                }
                store.put(time, &frame, COST);
            }
            assert!(store.most <= store.usable, "{kind}: {}", store.most);
            assert!(store.most > store.usable / 3, "{kind}: {}", store.most);
        }
    }
}

/// A flow of 25,000 packets a second beside small ones of ten: the large one is a sample that stands for all of it,
/// of the small ones the first packets are whole, and later ones are no rarer than those of the large one.
#[test]
fn a_large_conversation_does_not_crowd_out_small_ones() {
    let mut store = Store1::new(Store::Bulk, 3 * MIB, 12);
    let large = udp(OTHER, (1000, 5000), [10, 0, 0, 98]);
    let mut estimates = [0u64; 2];
    let mut counts = [0u64; 2];
    let mut small_kept = 0;
    for n in 0..1_000_000u64 {
        let time = START + n * SECOND / 25_000;
        let is_small = n % 100 == 0;
        let small = udp([10, 0, 1, (n / 100 % 25) as u8], (7, 8), [10, 0, 0, 98]);
        let frame = if is_small { &small } else { &large };
        let decision = store.put(time, frame, COST);
        // After the flood has got its rate.
        if n > 200_000 {
            counts[usize::from(is_small)] += 1;
            estimates[usize::from(is_small)] += stands_for(decision);
            small_kept += u64::from(is_small && decision != Decision::Thin);
        }
    }
    for (estimate, count) in estimates.iter().zip(counts) {
        let ratio = *estimate as f64 / count as f64;
        assert!((0.75..1.25).contains(&ratio), "{estimates:?} {counts:?}");
    }
    assert!(small_kept * 2 > counts[1], "{small_kept} of {}", counts[1]);
}

/// While a flood of ever new senders claims everything, packets of the gateway and the first ones of a connection
/// are kept.
#[test]
fn what_concerns_this_host_is_kept_within_floods() {
    for target in [OTHER, OWN] {
        let mut store = Store1::new(Store::Bulk, 3 * MIB, 12);
        let mut kept = 0;
        for n in 0..500_000u64 {
            let time = START + n * SECOND / 25_000;
            if n % 5_000 == 0 {
                let frame = udp(GATEWAY, (53, 5000), OWN);
                kept += u64::from(store.put(time, &frame, COST) == Decision::Keep(0));
            }
            store.put(time, &udp(number(n), (n as u16, 5000), target), COST);
        }
        assert_eq!(kept, 100, "flood to {target:?}");
    }
}

/// 300,000 packets a second of 1,000 flows, of which some begin later: the first 24 of each are kept. A tenth of the
/// size, rate and number.
#[test]
fn first_packets_of_each_flow_are_kept() {
    let mut store = Store1::new(Store::Bulk, 3 * MIB, 120);
    let mut firsts = vec![(0u32, 0u32); 100];
    for n in 0..1_800_000u64 {
        let time = START + n * SECOND / 30_000;
        let flow = n % 100;
        // One more flow each half a second.
        if n < flow * 15_000 {
            continue;
        }
        let frame = udp([10, 0, 3, flow as u8], (9, 5000), OWN);
        let decision = store.put(time, &frame, COST);
        let (seen, kept) = &mut firsts[flow as usize];
        *seen += 1;
        *kept += u32::from(*seen <= 24 && decision == Decision::Keep(0));
    }
    let whole = firsts.iter().filter(|(_, kept)| *kept == 24).count();
    assert_eq!(whole, 100, "{firsts:?}");
    assert!(store.most <= store.usable);
}

#[test]
fn pressure_ends_with_the_flood() {
    let mut store = Store1::new(Store::Bulk, 3 * MIB, 12);
    let frame = udp(OTHER, (1000, 5000), OWN);
    for n in 0..250_000u64 {
        store.put(START + n * SECOND / 25_000, &frame, COST);
    }
    let calm = START + 60 * SECOND;
    for n in 0..60_000u64 {
        let decision = store.put(calm + n * SECOND / 1_000, &frame, COST);
        if n > 5_000 {
            assert_eq!(decision, Decision::Keep(0), "packet {n}");
        }
    }
}

/// Ten thousand probes a second and their replies take little of the store, and the reply of a kept request is kept.
#[test]
fn own_probes_are_counted() {
    let mut store = Store1::new(Store::Icmp, 6 * MIB, 120);
    let frame = udp(OTHER, (0, 0), OWN);
    let mut requests = std::collections::HashSet::new();
    let (mut pairs, mut kept, mut estimate) = (0, 0u64, 0);
    for n in 0..2_000_000u64 {
        let time = START + n * SECOND / 20_000;
        let mut token = [0; 12];
        token[4..].copy_from_slice(&(n / 2).to_be_bytes());
        let decision = store.put_probe(time, &frame, 128, Some(token));
        let is_kept = decision != Decision::Thin;
        kept += u64::from(is_kept);
        estimate += stands_for(decision);
        if is_kept && n % 2 == 0 {
            requests.insert(token);
        }
        pairs += u64::from(n % 2 == 1 && is_kept && requests.contains(&token));
    }
    assert!(kept * 128 < 2 * MIB, "{kept}");
    assert!(pairs * 2 + kept / 10 > kept, "{pairs} pairs of {kept}");
    assert!(estimate > 1_000_000, "{estimate}");
    // A redirect of somebody else is not affected.
    let redirect = store.put(START + 100 * SECOND, &frame, 88);
    assert_eq!(redirect, Decision::Keep(0));
}

#[test]
fn few_probes_are_kept_whole() {
    let mut store = Store1::new(Store::Icmp, 6 * MIB, 120);
    let frame = udp(OTHER, (0, 0), OWN);
    for n in 0..20_000u64 {
        let time = START + n * SECOND / 150;
        let decision = store.put_probe(time, &frame, 128, Some([1; 12]));
        assert_eq!(decision, Decision::Keep(0));
    }
}

#[test]
fn clock_steps_do_no_harm() {
    let mut store = Store1::new(Store::Bulk, 3 * MIB, 12);
    let frame = udp(OTHER, (1000, 5000), OWN);
    for step in [0, 3600, 60, 7200, 1] {
        let mut kept = 0u64;
        for n in 0..250_000u64 {
            let time = START + step * SECOND + n * SECOND / 25_000;
            kept += u64::from(store.put(time, &frame, COST) != Decision::Thin);
        }
        assert!(kept > 100, "{step}: {kept}");
        assert!(kept * u64::from(COST) <= store.usable, "{step}: {kept}");
    }
}

#[test]
fn powers_of_two() {
    let all = [0, 1, 2, 3, 4, 5, u32::MAX].map(log2_ceil);
    assert_eq!(all, [0, 0, 1, 2, 2, 3, 32]);
}

proptest! {
    /// A pace that a compromised engine left behind cannot make the next one panic or admit more.
    #[test]
    fn any_pace_is_limited(bytes in proptest::array::uniform32(any::<u8>()), more in any::<[u64; 4]>()) {
        let mut raw = [0u8; size_of::<Pace>()];
        raw[..32].copy_from_slice(&bytes);
        for (at, word) in more.iter().enumerate() {
            let at = 32 + at * 8;
            raw[at..at + 8].copy_from_slice(&word.to_ne_bytes());
        }
        let mut store = Store1::new(Store::Bulk, 3 * MIB, 12);
        store.pace = bytemuck::pod_read_unaligned(&raw);
        let frame = udp(OTHER, (1000, 5000), OWN);
        for n in 0..20_000u64 {
            store.put(START + n * SECOND / 25_000, &frame, COST);
        }
        prop_assert!(store.most <= store.usable);
    }
}
