//! SHELL. Memory that clients make this process take: runs, target lists, events that wait for their
//! reader, exports, requests and replies. All of it is reserved here before it is allocated, for the user
//! who causes it; what would exceed the sum of one user or of all is refused.
//!
//! The sums are of computed sizes, at worst, and not of the allocator's: the resident memory stays below
//! them. What does not depend on clients (the record, the tables of the trackers) has limits of its own.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use super::user::User;
use netsonde_core::config::ControlSettings;

/// Memory that each user may take although others have used up the sum of all: enough for a connection
/// that queries the status, so that no two users lock a third out.
const FLOOR: u64 = 1 << 20;

/// Maximum memory of clients, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryLimits {
    /// Sum of all users.
    pub all: u64,
    /// Sum of one user.
    pub per_user: u64,
}

impl MemoryLimits {
    /// Returns the configured limits.
    pub fn new(control: &ControlSettings) -> MemoryLimits {
        MemoryLimits {
            all: control.memory.0,
            per_user: control.memory_per_uid.0,
        }
    }
}

/// A sum that a reservation would exceed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exceeded {
    /// Name of the limit.
    pub limit: &'static str,
    /// Its value in bytes.
    pub most: u64,
}

/// Name of the limit of each user, in errors and in the status.
pub const OF_ONE: &str = "bytes of memory of one user";
/// Name of the limit of all users together.
pub const OF_ALL: &str = "bytes of memory of all users";

#[derive(Debug)]
struct Sums {
    limits: MemoryLimits,
    all: u64,
    /// Of users that may be one person: they have half of all.
    anonymous: u64,
    users: HashMap<User, u64>,
    /// Users without a limit of their own.
    full: Vec<u32>,
    /// Refusals for the limit of one user, and for that of all.
    refused: [u64; 2],
}

impl Sums {
    fn add(&mut self, user: User, bytes: u64) -> Result<(), Exceeded> {
        let own = self.users.get(&user).map_or(0, |own| *own) + bytes;
        let is_full = matches!(user, User::Uid(uid) if self.full.contains(&uid));
        if own > self.limits.per_user && !is_full {
            self.refused[0] += 1;
            return Err(Exceeded {
                limit: OF_ONE,
                most: self.limits.per_user,
            });
        }
        let anonymous = self.anonymous + if user.is_anonymous() { bytes } else { 0 };
        let is_too_much = self.all + bytes > self.limits.all
            || (user.is_anonymous() && anonymous > self.limits.all / 2);
        if own > FLOOR && is_too_much {
            self.refused[1] += 1;
            return Err(Exceeded {
                limit: OF_ALL,
                most: self.limits.all,
            });
        }
        self.all += bytes;
        self.anonymous = anonymous;
        self.users.insert(user, own);
        Ok(())
    }

    fn remove(&mut self, user: User, bytes: u64) {
        self.all = self.all.saturating_sub(bytes);
        if user.is_anonymous() {
            self.anonymous = self.anonymous.saturating_sub(bytes);
        }
        if let Some(own) = self.users.get_mut(&user) {
            *own = own.saturating_sub(bytes);
            if *own == 0 {
                self.users.remove(&user);
            }
        }
    }
}

/// The sums of all users. Clones are handles of the same sums.
#[derive(Clone, Debug)]
pub struct Memory(Rc<RefCell<Sums>>);

impl Memory {
    /// Creates the sums, with nothing reserved.
    pub fn new(limits: MemoryLimits) -> Memory {
        Memory(Rc::new(RefCell::new(Sums {
            limits,
            all: 0,
            anonymous: 0,
            users: HashMap::new(),
            full: vec![],
            refused: [0; 2],
        })))
    }

    /// Applies new limits. What is reserved stays so.
    pub fn set_limits(&self, limits: MemoryLimits) {
        self.0.borrow_mut().limits = limits;
    }

    /// Sets which users have only the limit of all together.
    pub fn set_full(&self, uids: &[u32]) {
        self.0.borrow_mut().full = uids.to_vec();
    }

    /// Reserves memory for a user, until the reservation is dropped.
    ///
    /// # Errors
    /// The limit that would be exceeded; nothing is reserved then.
    pub fn reserve(&self, user: User, bytes: u64) -> Result<Reservation, Exceeded> {
        let mut reservation = self.nothing(user);
        reservation.resize(bytes)?;
        Ok(reservation)
    }

    /// Returns a reservation of 0 bytes, to be resized.
    pub fn nothing(&self, user: User) -> Reservation {
        Reservation {
            sums: self.0.clone(),
            user,
            bytes: 0,
        }
    }

    /// Returns the limits for `Status`: name, limit, number of times that it was reached.
    pub fn limits(&self) -> [(&'static str, u64, u64); 2] {
        let sums = self.0.borrow();
        [
            (OF_ONE, sums.limits.per_user, sums.refused[0]),
            (OF_ALL, sums.limits.all, sums.refused[1]),
        ]
    }
}

/// Memory reserved for a user.
#[derive(Debug)]
pub struct Reservation {
    sums: Rc<RefCell<Sums>>,
    user: User,
    bytes: u64,
}

impl Reservation {
    /// Changes the size.
    ///
    /// # Errors
    /// The limit that would be exceeded; the size is the old one then.
    pub fn resize(&mut self, bytes: u64) -> Result<(), Exceeded> {
        let mut sums = self.sums.borrow_mut();
        if bytes > self.bytes {
            sums.add(self.user, bytes - self.bytes)?;
        } else {
            sums.remove(self.user, self.bytes - bytes);
        }
        self.bytes = bytes;
        Ok(())
    }

    /// Returns the size in bytes.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.sums.borrow_mut().remove(self.user, self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn memory() -> Memory {
        Memory::new(MemoryLimits {
            all: 10 * MIB,
            per_user: 6 * MIB,
        })
    }

    #[test]
    fn sums_are_of_one_user_and_of_all() {
        let (memory, [one, two, three]) = (memory(), [1, 2, 3].map(User::Uid));
        let first = memory.reserve(one, 5 * MIB).unwrap();
        let refused = memory.reserve(one, 2 * MIB).unwrap_err();
        assert_eq!((refused.limit, refused.most), (OF_ONE, 6 * MIB));
        let mut second = memory.reserve(two, 5 * MIB).unwrap();
        let refused = second.resize(5 * MIB + 1).unwrap_err();
        assert_eq!((refused.limit, second.bytes()), (OF_ALL, 5 * MIB));
        // A little is left for others.
        let little = memory.reserve(three, MIB).unwrap();
        assert_eq!(memory.reserve(three, 1).unwrap_err().limit, OF_ALL);
        drop((first, little));
        assert!(memory.reserve(three, 5 * MIB).is_ok());
        assert_eq!(memory.limits().map(|(_, _, hits)| hits), [1, 2]);
    }

    #[test]
    fn some_users_have_the_limit_of_all() {
        let memory = memory();
        memory.set_full(&[1]);
        let most = memory.reserve(User::Uid(1), 9 * MIB).unwrap();
        assert_eq!(
            memory.reserve(User::Uid(1), 2 * MIB).unwrap_err().limit,
            OF_ALL
        );
        drop(most);
        assert_eq!(
            memory.reserve(User::Uid(2), 9 * MIB).unwrap_err().limit,
            OF_ONE
        );
    }

    #[test]
    fn anonymous_users_share_half() {
        let memory = memory();
        let _first = memory.reserve(User::Process(1), 3 * MIB).unwrap();
        let mut second = memory.reserve(User::Process(2), 2 * MIB).unwrap();
        assert_eq!(second.resize(3 * MIB).unwrap_err().limit, OF_ALL);
        assert!(memory.reserve(User::Uid(1), 5 * MIB).is_ok());
    }

    #[test]
    fn nothing_is_left_behind() {
        let memory = memory();
        let mut kept = memory.reserve(User::Uid(1), MIB).unwrap();
        kept.resize(3 * MIB).unwrap();
        kept.resize(2 * MIB).unwrap();
        drop(kept);
        let sums = memory.0.borrow();
        assert!(sums.all == 0 && sums.users.is_empty());
    }
}
