//! SHELL. Limits of probes and bytes per second, of one user or of all.

use netsonde_core::config::PingSettings;
use netsonde_core::probe::TokenBucket;

/// Bytes of a datagram before its payload: an IPv6 header and that of the echo request.
const HEADERS: usize = 40 + 8;

/// Returns the bytes that count for a probe with a payload of `size` bytes.
pub(super) fn probe_bytes(size: usize) -> usize {
    size + HEADERS
}

/// How often senders had to wait.
#[derive(Clone, Copy, Debug, Default)]
pub struct Waits {
    /// For the rate of probes.
    pub probes: u64,
    /// For the rate of bytes.
    pub bytes: u64,
}

/// The rates of a sender.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rates {
    /// Probes.
    probes: TokenBucket,
    /// Bytes of probes. It may be overdrawn by one probe, which is paid for before the next.
    bytes: TokenBucket,
    sender: Sender,
}

/// Whose rates they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sender {
    /// All users together; privileged users have as much.
    All,
    /// All users together that have no number of their own, of which one person can be any number: half of all.
    Anonymous,
    /// One user.
    User,
}

impl Rates {
    /// Returns the rates of a sender.
    pub(super) fn new(sender: Sender, limits: &PingSettings, now_ns: u64) -> Rates {
        let (probes, bytes) = match sender {
            Sender::All => (limits.rate, limits.byte_rate.0),
            Sender::Anonymous => (limits.rate / 2, limits.byte_rate.0 / 2),
            Sender::User => (limits.rate_per_uid, limits.byte_rate_per_uid.0),
        };
        Rates {
            probes: TokenBucket::new(probes, now_ns),
            bytes: TokenBucket::new(bytes, now_ns),
            sender,
        }
    }

    /// Returns the same with new limits.
    pub(super) fn renewed(&self, limits: &PingSettings, now_ns: u64) -> Rates {
        Rates::new(self.sender, limits, now_ns)
    }

    /// Returns how many probes of so many bytes may be sent now, at most `max`. If none may, that is counted.
    pub(super) fn allowed(
        &mut self,
        max: usize,
        bytes: usize,
        now_ns: u64,
        waits: &mut Waits,
    ) -> usize {
        let by_number = max.min(self.probes.available(now_ns));
        if by_number == 0 {
            waits.probes += u64::from(max > 0);
            return 0;
        }
        let available = self.bytes.available(now_ns);
        if available == 0 {
            waits.bytes += 1;
            return 0;
        }
        by_number.min((available / bytes).max(1))
    }

    /// Counts probes that were sent.
    pub(super) fn consume(&mut self, probes: usize, bytes: usize) {
        self.probes.consume(probes);
        self.bytes.consume(probes * bytes);
    }

    /// Returns the monotonic time at which the next probe may be sent.
    pub(super) fn next_ns(&self) -> u64 {
        self.probes.next_ns().max(self.bytes.next_ns())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_probes_are_limited_by_their_bytes() {
        let limits = PingSettings::default();
        for (size, rate) in [
            (56, limits.rate_per_uid),
            (65_507, limits.byte_rate_per_uid.0 / 65_555),
        ] {
            let mut rates = Rates::new(Sender::User, &limits, 0);
            let (mut sent, mut waits) = (0, Waits::default());
            for ms in 0..1000u64 {
                let may = rates.allowed(128, probe_bytes(size), ms * 1_000_000, &mut waits);
                rates.consume(may, probe_bytes(size));
                sent += may as u64;
            }
            let most = rate + rate / 50 + 2;
            assert!(
                (rate * 9 / 10..=most).contains(&sent),
                "{size}: {sent} of {rate}"
            );
        }
    }
}
