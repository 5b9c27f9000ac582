//! PURE. Bounded table that protects established entries. New entries wait in a queue that evicts
//! its oldest; entries that are seen again later are established, and are replaced only after a
//! long silence when space is needed. A flood of entries seen once evicts only itself, at a cost
//! independent of the table size.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;

/// Silence after which an established entry may be replaced: a running host sends something in that
/// time, at least ARP.
const SILENT_NS: u64 = 600_000_000_000;
/// Minimum interval between unsuccessful searches for an entry to replace.
const SEARCH_NS: u64 = 1_000_000_000;

/// Limits of a table.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Maximum number of unconfirmed entries in this table.
    pub newcomers: usize,
    /// Maximum number of established entries in this table.
    pub established: usize,
    /// Maximum number of entries in all tables of this kind.
    pub in_all: usize,
}

/// Value that a table can hold.
pub trait Kept {
    /// Time of the latest sighting, in nanoseconds since 1970.
    fn last_ns(&self) -> u64;
    /// Returns whether the entry must not be evicted.
    fn is_pinned(&self) -> bool;
}

#[derive(Debug)]
struct Entry<V> {
    value: V,
    established: bool,
}

/// Bounded table.
#[derive(Debug)]
pub struct Table<K, V> {
    all: HashMap<K, Entry<V>, foldhash::quality::RandomState>,
    newcomers: VecDeque<K>,
    established: usize,
    searched_ns: u64,
}

impl<K, V> Default for Table<K, V> {
    fn default() -> Table<K, V> {
        Table {
            all: HashMap::default(),
            newcomers: VecDeque::new(),
            established: 0,
            searched_ns: 0,
        }
    }
}

impl<K: Copy + Eq + Hash, V: Kept> Table<K, V> {
    /// Returns the number of entries.
    pub fn len(&self) -> usize {
        self.all.len()
    }

    /// Returns an entry.
    pub fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        self.all.get_mut(key).map(|entry| &mut entry.value)
    }

    /// Returns an entry for reading.
    pub fn get(&self, key: &K) -> Option<&V> {
        self.all.get(key).map(|entry| &entry.value)
    }

    /// Returns an entry, and whether it is established.
    pub fn find(&mut self, key: &K) -> Option<(&mut V, bool)> {
        let entry = self.all.get_mut(key)?;
        Some((&mut entry.value, entry.established))
    }

    /// Returns all entries.
    pub fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.all.iter().map(|(key, entry)| (key, &entry.value))
    }

    /// Returns all entries for modification.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (&K, &mut V)> {
        self.all
            .iter_mut()
            .map(|(key, entry)| (key, &mut entry.value))
    }

    /// Adds an unconfirmed entry whose key is not in the table. `in_all` counts the entries of all
    /// tables. Returns the number of evicted entries, which may include the new one.
    pub fn add(&mut self, key: K, value: V, limits: Limits, in_all: &mut usize) -> u64 {
        let mut evicted = 0;
        while self.newcomers.len() >= limits.newcomers || *in_all >= limits.in_all {
            let Some(oldest) = self.newcomers.pop_front() else {
                // Other tables have taken all space.
                return evicted + 1;
            };
            // Established in the meantime, or gone: only its position in the queue was left.
            if self
                .all
                .get(&oldest)
                .is_some_and(|entry| !entry.established)
            {
                self.all.remove(&oldest);
                *in_all -= 1;
                evicted += 1;
            }
        }
        let entry = Entry {
            value,
            established: false,
        };
        self.all.insert(key, entry);
        self.newcomers.push_back(key);
        *in_all += 1;
        evicted
    }

    /// Establishes an entry if there is space; `must` makes space in any case. Returns the number
    /// of evicted entries.
    pub fn establish(
        &mut self,
        key: &K,
        now_ns: u64,
        must: bool,
        limits: Limits,
        in_all: &mut usize,
    ) -> u64 {
        if self.all.get(key).is_none_or(|entry| entry.established) {
            return 0;
        }
        let mut evicted = 0;
        if self.established >= limits.established {
            if !must && now_ns < self.searched_ns.saturating_add(SEARCH_NS) {
                return 0;
            }
            let oldest = self
                .all
                .iter()
                .filter(|(_, entry)| entry.established && !entry.value.is_pinned())
                .map(|(key, entry)| (entry.value.last_ns(), *key))
                .min_by_key(|(last_ns, _)| *last_ns)
                .filter(|(last_ns, _)| must || last_ns.saturating_add(SILENT_NS) < now_ns);
            let Some((_, oldest)) = oldest else {
                self.searched_ns = now_ns;
                return 0;
            };
            self.all.remove(&oldest);
            self.established -= 1;
            *in_all -= 1;
            evicted = 1;
        }
        if let Some(entry) = self.all.get_mut(key) {
            entry.established = true;
            self.established += 1;
        }
        evicted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Value(u64, bool);

    impl Kept for Value {
        fn last_ns(&self) -> u64 {
            self.0
        }
        fn is_pinned(&self) -> bool {
            self.1
        }
    }

    const LIMITS: Limits = Limits {
        newcomers: 4,
        established: 3,
        in_all: 100,
    };

    fn keys(table: &Table<u32, Value>) -> Vec<u32> {
        let mut keys: Vec<u32> = table.iter().map(|(key, _)| *key).collect();
        keys.sort_unstable();
        keys
    }

    #[test]
    fn a_flood_evicts_only_itself() {
        let (mut table, mut in_all) = (Table::default(), 0);
        for key in 1..=3 {
            table.add(key, Value(key.into(), false), LIMITS, &mut in_all);
            table.establish(&key, 5, false, LIMITS, &mut in_all);
        }
        let evicted: u64 = (1000..2000)
            .map(|key| table.add(key, Value(10, false), LIMITS, &mut in_all))
            .sum();
        assert_eq!(keys(&table), [1, 2, 3, 1996, 1997, 1998, 1999]);
        assert_eq!((evicted, in_all), (996, 7));
        // An entry is established only in place of a silent one, never of a pinned one.
        assert_eq!(table.establish(&1999, 20, false, LIMITS, &mut in_all), 0);
        table.get_mut(&1).unwrap().1 = true;
        let later = SILENT_NS + 100;
        assert_eq!(table.establish(&1999, later, false, LIMITS, &mut in_all), 1);
        assert_eq!(keys(&table), [1, 3, 1996, 1997, 1998, 1999]);
        // A required entry gets space at once.
        table.get_mut(&3).unwrap().0 = later;
        assert_eq!(table.establish(&1998, later, true, LIMITS, &mut in_all), 1);
        assert_eq!((keys(&table).len(), in_all), (5, 5));
    }

    #[test]
    fn full_total_refuses_new_entries() {
        let (mut table, mut in_all) = (Table::default(), 100);
        assert_eq!(table.add(1, Value(0, false), LIMITS, &mut in_all), 1);
        in_all = 99;
        assert_eq!(table.add(1, Value(0, false), LIMITS, &mut in_all), 0);
        assert_eq!(table.add(2, Value(0, false), LIMITS, &mut in_all), 1);
        assert_eq!((keys(&table), in_all), (vec![2], 100));
    }
}
