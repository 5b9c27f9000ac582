//! PRIVILEGED. Rates of an engine's requests. An engine that keeps its work never reaches them; one
//! that does can no longer be trusted, and is replaced.

use std::time::Instant;

use crate::daemon::channel::handover::EngineRequest;

/// Requests about interfaces at once: to join and to set promiscuous, for each of several thousand
/// interfaces at the start and after a reload.
const INTERFACES_AT_ONCE: u32 = 16_384;
/// The same per second, on a host whose interfaces come and go.
const INTERFACES_A_SECOND: u32 = 500;
/// Requests that the engine's clock triggers, once per second each: at once, as many as the channel
/// holds, since they wait there while the keeper is stopped or starved (some 280, by the default
/// of net.core.wmem_default).
const CLOCKED_AT_ONCE: u32 = 320;
/// The same per second.
const CLOCKED_A_SECOND: u32 = 3;

/// A token bucket.
#[derive(Clone, Copy, Debug)]
struct Bucket {
    left: u32,
    at_once: u32,
    a_second: u32,
    filled: Instant,
}

impl Bucket {
    fn new(at_once: u32, a_second: u32, now: Instant) -> Bucket {
        Bucket {
            left: at_once,
            at_once,
            a_second,
            filled: now,
        }
    }

    fn take(&mut self, now: Instant) -> bool {
        let elapsed_ms = now.saturating_duration_since(self.filled).as_millis();
        let earned = elapsed_ms.saturating_mul(self.a_second.into()) / 1000;
        if earned > 0 {
            let earned = u32::try_from(earned).unwrap_or(u32::MAX);
            self.left = self.left.saturating_add(earned).min(self.at_once);
            self.filled = now;
        }
        let has_left = self.left > 0;
        self.left = self.left.saturating_sub(1);
        has_left
    }
}

/// What is left to one engine.
#[derive(Clone, Copy, Debug)]
pub struct Allowance {
    /// One `Ready` for its start, and one for each reload.
    ready: u32,
    interfaces: Bucket,
    counts: Bucket,
    alive: Bucket,
    failures: Bucket,
}

impl Allowance {
    /// The allowance of a new engine.
    pub fn new(now: Instant) -> Allowance {
        let clocked = Bucket::new(CLOCKED_AT_ONCE, CLOCKED_A_SECOND, now);
        Allowance {
            ready: 1,
            interfaces: Bucket::new(INTERFACES_AT_ONCE, INTERFACES_A_SECOND, now),
            counts: clocked,
            alive: clocked,
            failures: clocked,
        }
    }

    /// Takes note that the engine was sent new settings, which it confirms and applies to all
    /// interfaces.
    pub fn settings_sent(&mut self) {
        self.ready = self.ready.saturating_add(1);
        self.interfaces.left = self.interfaces.at_once;
    }

    /// Returns whether the engine has still to confirm its start or a reload.
    pub fn owes_ready(&self) -> bool {
        self.ready > 0
    }

    /// Returns whether a request is within its rate.
    pub fn admits(&mut self, request: EngineRequest, now: Instant) -> bool {
        match request {
            EngineRequest::Ready => {
                let is_due = self.ready > 0;
                self.ready = self.ready.saturating_sub(1);
                is_due
            }
            EngineRequest::Join | EngineRequest::Leave | EngineRequest::Promiscuous => {
                self.interfaces.take(now)
            }
            EngineRequest::Count => self.counts.take(now),
            EngineRequest::Alive => self.alive.take(now),
            EngineRequest::ListenerFailed => self.failures.take(now),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_working_engine_stays_within_its_allowance() {
        let start = Instant::now();
        let mut allowance = Allowance::new(start);
        for _ in 0..3 {
            for _ in 0..5_000 {
                assert!(allowance.admits(EngineRequest::Join, start));
            }
            assert!(allowance.admits(EngineRequest::Ready, start));
            allowance.settings_sent();
        }
        for second in 0..3_600 {
            let now = start + Duration::from_secs(second);
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
        let start = Instant::now();
        for request in EngineRequest::ALL {
            let mut allowance = Allowance::new(start);
            let admitted = (0..100_000u32)
                .take_while(|ms| {
                    let now = start + Duration::from_millis((ms / 100).into());
                    allowance.admits(request, now)
                })
                .count();
            assert!(admitted < 20_000, "{request:?}: {admitted}");
        }
    }
}
