//! PURE. A rate that may not be exceeded: a token bucket.

/// Tokens that a full bucket holds, in nanoseconds of its rate: what the engine's turns, which are
/// some milliseconds apart, may send at once.
const BURST_NS: u64 = 10_000_000;

/// Lets so many through a second.
#[derive(Clone, Copy, Debug)]
pub struct TokenBucket {
    rate: u64,
    tokens: f64,
    filled_ns: u64,
    /// How often something had to wait.
    pub waits: u64,
}

impl TokenBucket {
    /// Full at first. `rate` is a second's worth, at least one.
    pub fn new(rate: u64, now_ns: u64) -> TokenBucket {
        let mut bucket = TokenBucket {
            rate: rate.max(1),
            tokens: 0.0,
            filled_ns: now_ns,
            waits: 0,
        };
        bucket.tokens = bucket.depth();
        bucket
    }

    fn depth(&self) -> f64 {
        (self.rate as f64 * BURST_NS as f64 / 1e9).max(1.0)
    }

    /// How many may go now.
    pub fn available(&mut self, now_ns: u64) -> usize {
        let passed = now_ns.saturating_sub(self.filled_ns);
        self.filled_ns = self.filled_ns.max(now_ns);
        self.tokens = (self.tokens + self.rate as f64 * passed as f64 / 1e9).min(self.depth());
        self.tokens as usize
    }

    /// So many went.
    pub fn consume(&mut self, count: usize) {
        self.tokens -= count as f64;
    }

    /// When the next may go.
    pub fn next_ns(&self) -> u64 {
        let missing = (1.0 - self.tokens).max(0.0);
        self.filled_ns + (missing * 1e9 / self.rate as f64).ceil() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_holds_its_rate_and_no_more() {
        let mut bucket = TokenBucket::new(1000, 0);
        let mut gone = 0;
        for ms in 0..1000u64 {
            let may = bucket.available(ms * 1_000_000);
            bucket.consume(may);
            gone += may;
        }
        assert!((990..=1010).contains(&gone), "{gone}");
        bucket.available(1_000_000_000);
        let next = bucket.next_ns();
        let mut later = bucket;
        assert!(later.available(next) >= 1);
    }
}
