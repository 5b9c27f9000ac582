//! SHELL. Connected clients, and which of them are closed when there are too many.

use std::collections::HashMap;
use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::Limits;
use crate::varlink::server::memory::Memory;
use crate::varlink::server::user::User;
use netsonde_core::protocol::service as reply;

/// Minimum age of a connection before it may be closed for a new one: the client must have had time
/// to send a request.
const MIN_IDLE_BEFORE_CLOSE: Duration = Duration::from_millis(20);

struct Client {
    user: User,
    /// Since when it has been idle; `None` while a request is being answered.
    idle_since: Option<Instant>,
    /// Whether it has ever sent a request.
    asked: bool,
    /// Notified when the connection must close.
    leave: Rc<Notify>,
}

/// Why a connection was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// `uid` or `all`.
    pub scope: &'static str,
    /// The limit that was reached.
    pub limit: usize,
}

/// The slot of a connection.
pub struct ClientSlot {
    /// Number of the connection.
    pub number: u64,
    /// Notified when the connection must close.
    pub leave: Rc<Notify>,
}

/// All connections, and the counters of their limits.
pub struct Clients {
    /// The limits.
    pub limits: Limits,
    /// Memory of all users.
    pub memory: Memory,
    /// Users without a limit of their own.
    pub full: Vec<u32>,
    clients: HashMap<u64, Client>,
    next: u64,
    closed_for_uid: u64,
    closed_for_all: u64,
    refused: u64,
    /// Requests that were too large or invalid.
    pub bad_requests: u64,
    /// Requests that did not arrive in time.
    pub slow_requests: u64,
    /// Clients that did not read their reply in time.
    pub slow_readers: u64,
    /// Number of times that no descriptor was available.
    pub out_of_descriptors: u64,
    /// Number of times that a connection could not be accepted for another reason.
    pub failed_accepts: u64,
}

impl Clients {
    /// Creates an empty table.
    pub fn new(limits: Limits, memory: Memory) -> Clients {
        Clients {
            limits,
            memory,
            full: vec![],
            clients: HashMap::new(),
            next: 0,
            closed_for_uid: 0,
            closed_for_all: 0,
            refused: 0,
            bad_requests: 0,
            slow_requests: 0,
            slow_readers: 0,
            out_of_descriptors: 0,
            failed_accepts: 0,
        }
    }

    /// Admits a user. If there are too many connections, an idle one is closed: of the same user if
    /// that user has too many, else of the user with the most. Those that never sent a request are
    /// closed first, so that a flood does not displace working clients, then the longest idle.
    pub fn admit(&mut self, user: User) -> Result<ClientSlot, Refusal> {
        if user.is_anonymous() && self.anonymous() >= (self.limits.clients / 2).max(1) {
            // One person can be any number of these: they get half of the connections.
            let longest = self.close_idle(|one| one.is_anonymous());
            if !longest {
                self.refused += 1;
                return Err(Refusal {
                    scope: "all",
                    limit: self.limits.clients,
                });
            }
            self.closed_for_all += 1;
        } else if self.of(user) >= self.limit_of(user) {
            if !self.close_idle(|one| one == user) {
                self.refused += 1;
                return Err(Refusal {
                    scope: "uid",
                    limit: self.limits.clients_per_uid,
                });
            }
            self.closed_for_uid += 1;
        } else if self.clients.len() >= self.limits.clients {
            if !self
                .busiest()
                .is_some_and(|busiest| self.close_idle(|one| one == busiest))
            {
                self.refused += 1;
                return Err(Refusal {
                    scope: "all",
                    limit: self.limits.clients,
                });
            }
            self.closed_for_all += 1;
        }
        let number = self.next;
        self.next += 1;
        let leave = Rc::new(Notify::new());
        self.clients.insert(
            number,
            Client {
                user,
                idle_since: Some(Instant::now()),
                asked: false,
                leave: leave.clone(),
            },
        );
        Ok(ClientSlot { number, leave })
    }

    fn limit_of(&self, user: User) -> usize {
        match user {
            User::Uid(uid) if self.full.contains(&uid) => self.limits.clients,
            _ => self.limits.clients_per_uid,
        }
    }

    fn of(&self, user: User) -> usize {
        self.clients
            .values()
            .filter(|client| client.user == user)
            .count()
    }

    fn anonymous(&self) -> usize {
        let users = self.clients.values().map(|client| client.user);
        users.filter(|user| user.is_anonymous()).count()
    }

    fn busiest(&self) -> Option<User> {
        let mut counts: HashMap<User, usize> = HashMap::new();
        for client in self.clients.values() {
            *counts.entry(client.user).or_default() += 1;
        }
        counts
            .into_iter()
            .max_by_key(|(_, count)| *count)
            .map(|(user, _)| user)
    }

    fn close_idle(&mut self, is_meant: impl Fn(User) -> bool) -> bool {
        let longest = self
            .clients
            .iter()
            .filter(|(_, client)| is_meant(client.user))
            .filter_map(|(number, client)| Some((client.asked, client.idle_since?, *number)))
            .filter(|(_, since, _)| since.elapsed() >= MIN_IDLE_BEFORE_CLOSE)
            .min();
        let Some((_, _, number)) = longest else {
            return false;
        };
        if let Some(client) = self.clients.remove(&number) {
            client.leave.notify_one();
        }
        true
    }

    /// Marks whether a request is being answered.
    pub fn set_busy(&mut self, slot: &ClientSlot, busy: bool) {
        if let Some(client) = self.clients.get_mut(&slot.number) {
            client.idle_since = (!busy).then(Instant::now);
            client.asked = true;
        }
    }

    /// Removes a connection that has ended.
    pub fn gone(&mut self, slot: &ClientSlot) {
        self.clients.remove(&slot.number);
    }

    /// Returns the connections for `Status`.
    pub fn counts(&self) -> reply::Clients {
        reply::Clients {
            connected: self.clients.len() as u64,
            limit: self.limits.clients as u64,
            limit_per_uid: self.limits.clients_per_uid as u64,
            served: self.next,
        }
    }

    /// Returns the counters of the limits for `Status`.
    pub fn limits(&self) -> Vec<reply::Limit> {
        [
            ("clients", self.limits.clients, self.closed_for_all),
            (
                "clients of one user",
                self.limits.clients_per_uid,
                self.closed_for_uid,
            ),
            ("clients refused", self.limits.clients_per_uid, self.refused),
            (
                "request bytes",
                self.limits.request_bytes,
                self.bad_requests,
            ),
            (
                "request seconds",
                self.limits.request_wait.as_secs() as usize,
                self.slow_requests,
            ),
            (
                "reply seconds",
                self.limits.reply_wait.as_secs() as usize,
                self.slow_readers,
            ),
            ("descriptors", 0, self.out_of_descriptors),
            ("accept", 0, self.failed_accepts),
        ]
        .map(|(name, limit, hits)| reply::Limit {
            name: name.into(),
            limit: limit as u64,
            hits,
        })
        .into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::varlink::server::memory::MemoryLimits;

    fn memory() -> Memory {
        let (all, per_user) = (1 << 30, 1 << 30);
        Memory::new(MemoryLimits { all, per_user })
    }

    #[test]
    fn anonymous_users_share_half_of_the_connections() {
        let mut clients = Clients::new(Limits::new(4, 4), memory());
        for pid in 1..=2 {
            assert!(clients.admit(User::Process(pid)).is_ok());
        }
        assert!(clients.admit(User::Process(3)).is_err());
        std::thread::sleep(MIN_IDLE_BEFORE_CLOSE);
        assert!(clients.admit(User::Uid(1)).is_ok());
        assert!(clients.admit(User::Process(3)).is_ok());
        assert_eq!((clients.anonymous(), clients.clients.len()), (2, 3));
    }

    #[test]
    fn some_users_have_the_limit_of_all() {
        let mut clients = Clients::new(Limits::new(4, 1), memory());
        clients.full = vec![1];
        for _ in 0..4 {
            assert!(clients.admit(User::Uid(1)).is_ok());
        }
        assert!(clients.admit(User::Uid(1)).is_err());
    }

    #[test]
    fn the_longest_idle_of_the_same_user_goes() {
        let mut clients = Clients::new(Limits::new(4, 2), memory());
        let first = clients.admit(User::Uid(1)).ok().unwrap();
        let second = clients.admit(User::Uid(1)).ok().unwrap();
        let refusal = clients.admit(User::Uid(1)).err().unwrap();
        assert_eq!(refusal.scope, "uid", "both have not had their chance yet");
        std::thread::sleep(MIN_IDLE_BEFORE_CLOSE);
        clients.set_busy(&first, true);
        let third = clients.admit(User::Uid(1)).ok().unwrap();
        assert!(!clients.clients.contains_key(&second.number));
        assert!(clients.clients.contains_key(&first.number));
        assert!(
            clients.admit(User::Uid(2)).is_ok() && clients.admit(User::Uid(2)).is_ok(),
            "others are not hit"
        );
        assert_eq!(clients.admit(User::Uid(3)).err().unwrap().scope, "all");
        std::thread::sleep(MIN_IDLE_BEFORE_CLOSE);
        assert!(clients.admit(User::Uid(3)).is_ok());
        clients.gone(&third);
        assert_eq!(clients.counts().served, 6);
    }
}
