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
