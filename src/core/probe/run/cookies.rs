//! PURE. Probes by cookie: a reply may come from another address than the probe's target (address
//! translation, anycast, a host with several addresses), and then only its cookie says which probe it
//! answers.

use std::collections::HashMap;

use super::Run;
use crate::probe::identity::{Identity, TOKEN};
use crate::probe::sight::Echo;

/// Probes by cookie, filled only when a message from an address that is no target comes in: healthy
/// runs pay nothing for it, and a flood of forged replies costs one look-up each.
#[derive(Debug, Default)]
pub(super) struct CookieIndex {
    /// Serial numbers by cookie. Entries of probes that are no longer kept are removed when they are
    /// the majority, so there are at most twice as many as probes.
    serials: HashMap<u64, u64, foldhash::quality::RandomState>,
    /// Serial of the first probe that has not been entered.
    next: u64,
}

fn cookie(token: &[u8; TOKEN]) -> u64 {
    let mut bytes = [0; 8];
    bytes.copy_from_slice(&token[TOKEN - 8..]);
    u64::from_be_bytes(bytes)
}

impl Run {
    /// Returns the serial of the probe whose token a message carries. Only a complete token counts:
    /// a part of it could match by chance.
    pub(super) fn find_by_cookie(&mut self, echo: &Echo, identity: &Identity) -> Option<u64> {
        let carried: [u8; TOKEN] = echo.token().try_into().ok()?;
        if self.settings.size < TOKEN {
            return None;
        }
        let mut index = std::mem::take(&mut self.cookies);
        for serial in index.next.max(self.base)..self.next() {
            index
                .serials
                .insert(cookie(&self.token(serial, identity)), serial);
        }
        index.next = self.next();
        if index.serials.len() > 2 * self.probes.len() {
            index.serials.retain(|_, serial| *serial >= self.base);
        }
        let found = index.serials.get(&cookie(&carried)).copied();
        self.cookies = index;
        let serial = found.filter(|serial| *serial >= self.base)?;
        let (_, sequence) = self.target_and_sequence(serial);
        let is_same = sequence as u16 == echo.sequence && self.token(serial, identity) == carried;
        is_same.then_some(serial)
    }

    /// Returns the token of a probe.
    fn token(&self, serial: u64, identity: &Identity) -> [u8; TOKEN] {
        let (place, sequence) = self.target_and_sequence(serial);
        identity.token(self.number, self.targets[place].address, sequence)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::{Settings, Target};
    use std::net::{IpAddr, Ipv4Addr};

    const ELSEWHERE: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));

    fn run(size: usize) -> Run {
        let targets = (1..=3).map(|last| Target {
            address: Ipv4Addr::new(10, 0, 0, last).into(),
            scope: 0,
            is_group: false,
        });
        let settings = Settings {
            interval_ns: 0,
            timeout_ns: 1,
            size,
            rate: 1_000_000_000,
            quiet: true,
            ..Settings::of_test()
        };
        Run::new(1, 7, settings, targets.collect(), 0)
    }

    /// Sends probes; the echo fields of their replies.
    fn send(run: &mut Run, identity: &Identity, count: u64) -> Vec<Echo> {
        (0..count)
            .map(|_| {
                let probe = run.take_next(identity, 1);
                let length = run.settings.size.min(TOKEN) as u8;
                Echo {
                    id: run.id,
                    sequence: probe.sequence,
                    token: (probe.token, length),
                }
            })
            .collect()
    }

    #[test]
    fn a_complete_cookie_identifies_the_probe_from_anywhere() {
        let (identity, mut run) = (Identity::new(1), run(56));
        let replies = send(&mut run, &identity, 9);
        for (serial, echo) in replies.iter().enumerate() {
            // From an unknown address, and from each of the targets.
            let sources = (1..=3).map(|last| Ipv4Addr::new(10, 0, 0, last).into());
            for from in sources.chain([ELSEWHERE]) {
                let found = run.find(from, 0, echo, &identity);
                assert_eq!(found, Some(serial as u64), "from {from}");
            }
            let mut other = *echo;
            other.token.0[TOKEN - 1] ^= 1;
            assert_eq!(run.find(ELSEWHERE, 0, &other, &identity), None);
            let mut other = *echo;
            other.sequence += 1;
            assert_eq!(run.find(ELSEWHERE, 0, &other, &identity), None);
        }
    }

    #[test]
    fn an_incomplete_cookie_needs_the_address() {
        let (identity, mut run) = (Identity::new(1), run(TOKEN - 1));
        let replies = send(&mut run, &identity, 3);
        assert_eq!(run.find(ELSEWHERE, 0, &replies[1], &identity), None);
        let target = Ipv4Addr::new(10, 0, 0, 2).into();
        assert_eq!(run.find(target, 0, &replies[1], &identity), Some(1));
    }

    #[test]
    fn the_index_holds_what_is_kept() {
        let (identity, mut run) = (Identity::new(1), run(56));
        for _ in 0..100 {
            let replies = send(&mut run, &identity, 30);
            let last = run.next() - 1;
            assert_eq!(run.find(ELSEWHERE, 0, &replies[29], &identity), Some(last));
            // The oldest are forgotten.
            while run.probes.len() > 10 {
                run.probes.pop_front();
                run.base += 1;
            }
            assert_eq!(run.find(ELSEWHERE, 0, &replies[0], &identity), None);
            assert!(run.cookies.serials.len() <= 2 * 40);
        }
    }
}
