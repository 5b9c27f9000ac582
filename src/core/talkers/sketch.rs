//! PURE. Sums by key in memory of fixed size: keys with large sums are present with a sum that is exact or has a
//! known error; keys with small sums may be absent. Space-Saving (Metwally, Agrawal and El Abbadi, 2005), with
//! eviction of many keys at once: an evicted key had at most the error bound, so an absent key has at most that,
//! and a key that is added (again) may have had that before.

use std::collections::HashMap;

use bytemuck::{Pod, Zeroable};
use foldhash::fast::RandomState;

/// Sum of one key: lower bounds, with the maximum error.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Sum {
    /// Bytes, at least.
    pub bytes: u64,
    /// Packets, at least.
    pub packets: u64,
    /// Bytes that it may have had in addition.
    pub bytes_error: u64,
    /// Packets that it may have had in addition.
    pub packets_error: u64,
}

impl Sum {
    /// Adds another sum of the same key.
    pub fn add(&mut self, other: &Sum) {
        self.bytes += other.bytes;
        self.packets += other.packets;
        self.bytes_error += other.bytes_error;
        self.packets_error += other.packets_error;
    }
}

/// An amount of traffic.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Volume {
    /// Bytes, as lengths on the wire.
    pub bytes: u64,
    /// Number of packets.
    pub packets: u64,
}

impl Volume {
    /// Raises the bound to what an evicted key may have had.
    fn raise(&mut self, evicted: &Sum) {
        self.bytes = self.bytes.max(evicted.bytes + evicted.bytes_error);
        self.packets = self.packets.max(evicted.packets + evicted.packets_error);
    }
}

/// Sums of one period.
#[derive(Clone, Debug)]
pub struct Sketch<K> {
    sums: HashMap<K, Sum, RandomState>,
    /// Maximum number of keys.
    capacity: usize,
    /// Maximum that an absent key may have had.
    floor: Volume,
    /// Traffic of all keys, including absent ones.
    pub total: Volume,
    /// Number of evictions.
    pub evicted: u64,
}

impl<K: Copy + Eq + std::hash::Hash> Sketch<K> {
    /// Creates an empty sketch and allocates memory for `capacity` keys.
    pub fn new(capacity: usize) -> Sketch<K> {
        Sketch {
            sums: HashMap::with_capacity_and_hasher(capacity, RandomState::default()),
            capacity,
            floor: Volume::default(),
            total: Volume::default(),
            evicted: 0,
        }
    }

    /// Removes all sums and keeps the memory.
    pub fn clear(&mut self) {
        self.sums.clear();
        self.floor = Volume::default();
        self.total = Volume::default();
        self.evicted = 0;
    }

    /// Returns whether nothing was added.
    pub fn is_empty(&self) -> bool {
        self.total == Volume::default()
    }

    /// Adds packets of a key, with their total bytes.
    #[inline]
    pub fn add(&mut self, key: K, bytes: u64, packets: u64) {
        self.total.bytes += bytes;
        self.total.packets += packets;
        if let Some(sum) = self.sums.get_mut(&key) {
            sum.bytes += bytes;
            sum.packets += packets;
            return;
        }
        let sum = Sum {
            bytes,
            packets,
            ..Sum::default()
        };
        self.insert(key, sum);
    }

    /// Adds all sums of another period.
    pub fn merge(&mut self, other: &Sketch<K>) {
        for (key, sum) in &other.sums {
            match self.sums.get_mut(key) {
                Some(known) => known.add(sum),
                None => self.insert(*key, *sum),
            }
        }
        if other.floor != Volume::default() {
            // Keys that are only in this sketch may have been evicted from the other one.
            for (key, sum) in &mut self.sums {
                if !other.sums.contains_key(key) {
                    sum.bytes_error += other.floor.bytes;
                    sum.packets_error += other.floor.packets;
                }
            }
            self.floor.bytes += other.floor.bytes;
            self.floor.packets += other.floor.packets;
        }
        self.total.bytes += other.total.bytes;
        self.total.packets += other.total.packets;
    }

    fn insert(&mut self, key: K, mut sum: Sum) {
        if self.sums.len() >= self.capacity {
            self.shrink(self.capacity / 2);
        }
        sum.bytes_error += self.floor.bytes;
        sum.packets_error += self.floor.packets;
        self.sums.insert(key, sum);
    }

    /// Returns a predicate for the `keep` sums with the largest share of bytes and packets together. It must be
    /// called once per sum.
    fn largest(&self, keep: usize) -> impl FnMut(&Sum) -> bool + use<K> {
        let (bytes, packets) = (
            self.total.bytes.max(1) as f64,
            self.total.packets.max(1) as f64,
        );
        let share = move |sum: &Sum| {
            (sum.bytes + sum.bytes_error) as f64 / bytes
                + (sum.packets + sum.packets_error) as f64 / packets
        };
        let (mut least, mut ties) = (f64::NEG_INFINITY, 0);
        let keep = keep.max(1);
        if self.sums.len() > keep {
            let mut shares: Vec<f64> = self.sums.values().map(share).collect();
            let at = shares.len() - keep;
            let (_, cut, larger) = shares.select_nth_unstable_by(at, f64::total_cmp);
            least = *cut;
            // Not all sums that equal the smallest kept share fit: larger ones come first.
            ties = keep - larger.iter().filter(|share| **share > least).count();
        }
        move |sum| {
            let share = share(sum);
            let tied = share == least && ties > 0;
            ties -= usize::from(tied);
            share > least || tied
        }
    }

    /// Evicts all but the `keep` largest sums.
    fn shrink(&mut self, keep: usize) {
        let mut stays = self.largest(keep);
        let mut floor = self.floor;
        let before = self.sums.len();
        self.sums.retain(|_, sum| {
            let stays = stays(sum);
            if !stays {
                floor.raise(sum);
            }
            stays
        });
        self.evicted += (before - self.sums.len()) as u64;
        self.floor = floor;
    }

    /// Returns a copy of the `keep` largest sums, in memory of its size.
    pub fn top(&self, keep: usize) -> Sketch<K> {
        let mut copy = Sketch::new(keep.min(self.sums.len()));
        copy.capacity = keep;
        (copy.floor, copy.total) = (self.floor, self.total);
        let mut stays = self.largest(keep);
        for (key, sum) in &self.sums {
            if stays(sum) {
                copy.sums.insert(*key, *sum);
            } else {
                copy.floor.raise(sum);
            }
        }
        copy
    }

    /// Iterates over the present keys.
    pub fn iter(&self) -> impl Iterator<Item = (&K, &Sum)> {
        self.sums.iter()
    }

    /// Maximum that an absent key may have had.
    pub fn error_bound(&self) -> Volume {
        self.floor
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Zipf's law with exponent 1 over `keys` keys, shuffled by a multiplication.
    fn skewed(state: &mut u64, keys: u64) -> u64 {
        *state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        let uniform = (*state >> 11) as f64 / (1u64 << 53) as f64;
        ((keys as f64).powf(uniform) as u64).min(keys - 1)
    }

    #[test]
    fn largest_of_a_million_are_within_bounds() {
        const KEYS: u64 = 1_000_000;
        let mut exact = vec![(0u64, 0u64); KEYS as usize];
        let mut sketch = Sketch::new(crate::talkers::SKETCH_KEYS);
        let mut state = 1;
        for _ in 0..2_000_000 {
            let key = skewed(&mut state, KEYS);
            let bytes = 60 + (state >> 33) % 1400;
            exact[key as usize].0 += bytes;
            exact[key as usize].1 += 1;
            sketch.add(key, bytes, 1);
        }
        let mut order: Vec<usize> = (0..KEYS as usize).collect();
        order.sort_by_key(|key| std::cmp::Reverse(exact[*key].0));
        let mut found: Vec<(u64, Sum)> = sketch.iter().map(|(key, sum)| (*key, *sum)).collect();
        found.sort_by_key(|(_, sum)| std::cmp::Reverse(sum.bytes));
        // Correct as far as the bounds distinguish them.
        let least = exact[order[99]].0;
        for (key, sum) in found.iter().take(100) {
            assert!(exact[*key as usize].0 + sum.bytes_error >= least);
            assert!(sum.bytes_error * 20 < sum.bytes, "{sum:?}");
        }
        for (key, sum) in &found {
            let (bytes, packets) = exact[*key as usize];
            assert!((sum.bytes..=sum.bytes + sum.bytes_error).contains(&bytes));
            assert!((sum.packets..=sum.packets + sum.packets_error).contains(&packets));
        }
        // Absent keys have at most the error bound, which is a small part.
        let present: std::collections::HashSet<u64> = found.iter().map(|(key, _)| *key).collect();
        for (key, (bytes, _)) in exact.iter().enumerate() {
            assert!(present.contains(&(key as u64)) || *bytes <= sketch.error_bound().bytes);
        }
        assert!(sketch.error_bound().bytes * 1000 < sketch.total.bytes);
    }

    #[test]
    fn merged_sketches_keep_their_bounds() {
        let mut exact = HashMap::new();
        let mut all = Sketch::new(64);
        let mut state = 7;
        for _ in 0..20 {
            let mut part = Sketch::new(64);
            for _ in 0..2_000 {
                let key = skewed(&mut state, 5_000);
                part.add(key, 100, 1);
                *exact.entry(key).or_insert(0) += 100;
            }
            part.shrink(32);
            all.merge(&part);
        }
        assert_eq!(all.total.packets, 40_000);
        for (key, sum) in all.iter() {
            assert!((sum.bytes..=sum.bytes + sum.bytes_error).contains(&exact[key]));
        }
        for (key, bytes) in &exact {
            let is_present = all.iter().any(|(known, _)| known == key);
            assert!(is_present || *bytes <= all.error_bound().bytes);
        }
    }
}
