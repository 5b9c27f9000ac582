//! SHELL. Synthetic probes: a LAN, a WAN with waves of a day and spikes, and Wi-Fi with a heavy tail and
//! losses.
#![allow(missing_docs, dead_code)]

use netsonde_core::probe::Fate;
use netsonde_history::chunk::{Entry, Probe};

pub const SECOND: u64 = 1_000_000_000;
pub const DAY: u64 = 86_400 * SECOND;
/// The begin of a day.
pub const START: u64 = 1_800_057_600 * SECOND;
/// Names of the kinds; series have the kind of their number modulo 3.
pub const KINDS: [&str; 3] = ["LAN", "WAN", "Wi-Fi"];

pub struct Random(pub u64);

impl Random {
    pub fn uniform(&mut self) -> f64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as f64 / (1u64 << 53) as f64
    }

    fn normal(&mut self) -> f64 {
        let radius = (-2.0 * self.uniform().max(1e-12).ln()).sqrt();
        radius * (std::f64::consts::TAU * self.uniform()).cos()
    }

    fn exponential(&mut self) -> f64 {
        -self.uniform().max(1e-9).ln()
    }
}

/// Round trip on the wire in nanoseconds.
fn wire_ns(series: u32, at_ns: u64, random: &mut Random) -> f64 {
    match series % 3 {
        0 => 180e3 * (0.085 * random.normal()).exp(),
        1 => {
            let wave = 1.0 + 0.06 * (at_ns as f64 / DAY as f64 * std::f64::consts::TAU).sin();
            let spike = if random.uniform() < 0.002 {
                3e7 * random.uniform()
            } else {
                0.0
            };
            18e6 * wave * (0.01 * random.normal()).exp() + spike
        }
        _ => {
            let tail = if random.uniform() < 0.08 {
                2e7 * random.exponential()
            } else {
                0.0
            };
            2.5e6 * (0.7 * random.normal()).exp() + tail
        }
    }
}

pub fn probe(series: u32, at_ns: u64, random: &mut Random) -> Entry {
    let is_lost = random.uniform() < if series % 3 == 2 { 0.005 } else { 0.0002 };
    let wire = wire_ns(series, at_ns, random);
    let total = wire + 14e3 * (0.35 * random.normal()).exp();
    let hitch = if random.uniform() < 0.005 {
        5e6 * random.uniform()
    } else {
        0.0
    };
    Entry::Probe(Probe {
        sent_ns: at_ns + (80e3 * random.exponential() + hitch) as u64,
        fate: if is_lost {
            Fate::Unanswered
        } else {
            Fate::Replied
        },
        wire_ns: (!is_lost).then_some(wire as u64),
        total_ns: (!is_lost).then_some(total as u64),
    })
}
