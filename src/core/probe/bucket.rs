//! PURE. Token bucket rate limiter.

/// Burst size of a full bucket, in nanoseconds at its rate: the packets that one poll of the engine
/// may send at once. Polls are a few milliseconds apart.
const BURST_NS: u64 = 10_000_000;

/// Limits a rate, given in tokens per second.
#[derive(Clone, Copy, Debug)]
pub struct TokenBucket {
    rate: u64,
    depth: f64,
    tokens: f64,
    filled_ns: u64,
}

impl TokenBucket {
    /// Creates a full bucket that holds the tokens of 10 ms. `rate` is in tokens per second; 0 counts as 1.
    pub fn new(rate: u64, now_ns: u64) -> TokenBucket {
        let depth = rate.max(1) as f64 * BURST_NS as f64 / 1e9;
        TokenBucket::with_depth(rate, depth.max(1.0), now_ns)
    }

    /// Creates a full bucket that holds `depth` tokens.
    pub fn with_depth(rate: u64, depth: f64, now_ns: u64) -> TokenBucket {
        TokenBucket {
            rate: rate.max(1),
            depth,
            tokens: depth,
            filled_ns: now_ns,
        }
    }

    /// Gives it all the tokens that it holds.
    pub fn fill(&mut self) {
        self.tokens = self.depth;
    }

    /// Refills the bucket and returns the number of tokens available now.
    pub fn available(&mut self, now_ns: u64) -> usize {
        let passed = now_ns.saturating_sub(self.filled_ns);
        self.filled_ns = self.filled_ns.max(now_ns);
        self.tokens = (self.tokens + self.rate as f64 * passed as f64 / 1e9).min(self.depth);
        self.tokens as usize
    }

    /// Removes `count` tokens.
    pub fn consume(&mut self, count: usize) {
        self.tokens -= count as f64;
    }

    /// Removes a token. Returns `false` if there is none.
    pub fn take(&mut self, now_ns: u64) -> bool {
        let has_token = self.available(now_ns) > 0;
        self.consume(has_token.into());
        has_token
    }

    /// Returns the monotonic time at which the next token is available.
    pub fn next_ns(&self) -> u64 {
        let missing = (1.0 - self.tokens).max(0.0);
        self.filled_ns + (missing * 1e9 / self.rate as f64).ceil() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rate_is_not_exceeded() {
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
