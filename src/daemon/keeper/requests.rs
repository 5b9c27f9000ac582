//! PRIVILEGED. Rates of an engine's requests. An engine that keeps its work never reaches them; one
//! that does can no longer be trusted, and is replaced.

use netsonde_core::probe::TokenBucket;

use crate::daemon::channel::handover::EngineRequest;

/// Requests about interfaces at once: to join and to set promiscuous, for each of several thousand
/// interfaces at the start and after a reload.
const INTERFACES_AT_ONCE: f64 = 16_384.0;
/// The same per second, on a host whose interfaces come and go.
const INTERFACES_A_SECOND: u64 = 500;
/// Requests that the engine's clock triggers, once per second each: at once, as many as the channel
/// holds, since they wait there while the keeper is stopped or starved (some 280, by the default
/// of net.core.wmem_default).
const CLOCKED_AT_ONCE: f64 = 320.0;
/// The same per second.
const CLOCKED_A_SECOND: u64 = 3;

/// What is left to one engine.
#[derive(Clone, Copy, Debug)]
pub struct Allowance {
    /// One `Ready` for its start, and one for each reload.
    ready: u32,
    interfaces: TokenBucket,
    counts: TokenBucket,
    alive: TokenBucket,
    failures: TokenBucket,
}

impl Allowance {
    /// The allowance of a new engine. Times are monotonic, in nanoseconds.
    pub fn new(now_ns: u64) -> Allowance {
        let clocked = TokenBucket::with_depth(CLOCKED_A_SECOND, CLOCKED_AT_ONCE, now_ns);
        let (rate, depth) = (INTERFACES_A_SECOND, INTERFACES_AT_ONCE);
        Allowance {
            ready: 1,
            interfaces: TokenBucket::with_depth(rate, depth, now_ns),
            counts: clocked,
            alive: clocked,
            failures: clocked,
        }
    }

    /// Takes note that the engine was sent new settings, which it confirms and applies to all
    /// interfaces.
    pub fn settings_sent(&mut self) {
        self.ready = self.ready.saturating_add(1);
        self.interfaces.fill();
    }

    /// Returns whether the engine has still to confirm its start or a reload.
    pub fn owes_ready(&self) -> bool {
        self.ready > 0
    }

    /// Returns whether a request is within its rate.
    pub fn admits(&mut self, request: EngineRequest, now_ns: u64) -> bool {
        match request {
            EngineRequest::Ready => {
                let is_due = self.ready > 0;
                self.ready = self.ready.saturating_sub(1);
                is_due
            }
            EngineRequest::Join | EngineRequest::Leave | EngineRequest::Promiscuous => {
                self.interfaces.take(now_ns)
            }
            EngineRequest::Count => self.counts.take(now_ns),
            EngineRequest::Alive => self.alive.take(now_ns),
            EngineRequest::ListenerFailed => self.failures.take(now_ns),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn a_working_engine_stays_within_its_allowance() {
        let start = 5 * SECOND;
        let mut allowance = Allowance::new(start);
        for _ in 0..3 {
            for _ in 0..5_000 {
                assert!(allowance.admits(EngineRequest::Join, start));
            }
            assert!(allowance.admits(EngineRequest::Ready, start));
            allowance.settings_sent();
        }
        for second in 0..3_600 {
            let now = start + second * SECOND;
            assert!(allowance.admits(EngineRequest::Alive, now));
            assert!(allowance.admits(EngineRequest::Count, now));
            for _ in 0..200 {
                assert!(allowance.admits(EngineRequest::Join, now));
                assert!(allowance.admits(EngineRequest::Leave, now));
            }
        }
    }

    #[test]
    fn every_request_has_a_rate() {
        let start = 5 * SECOND;
        for request in EngineRequest::ALL {
            let mut allowance = Allowance::new(start);
            let admitted = (0..100_000u32)
                .take_while(|ms| {
                    let now = start + u64::from(ms / 100) * 1_000_000;
                    allowance.admits(request, now)
                })
                .count();
            assert!(admitted < 20_000, "{request:?}: {admitted}");
        }
    }
}
