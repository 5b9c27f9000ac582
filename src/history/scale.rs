//! PURE. The scale of durations: buckets whose bounds grow by 6 %, so that the value that stands for
//! a bucket is within 3 % of each duration in it.
//!
//! Chunks of probes and histograms share this scale. A histogram made from a chunk is therefore
//! exactly the histogram of the probes that were put into the chunk: compaction rounds nothing twice.

/// Number of buckets: from 100 ns to more than ten minutes, the longest time limit of a probe.
pub const BUCKETS: usize = 393;
/// Upper bound of the first bucket: below any round trip that a kernel reports.
const FIRST_NS: u64 = 100;

/// Lower bounds of the buckets, in nanoseconds. Integers, so that all machines agree.
const BOUNDS: [u64; BUCKETS] = bounds();

const fn bounds() -> [u64; BUCKETS] {
    let mut bounds = [0; BUCKETS];
    let mut bound = FIRST_NS;
    let mut at = 1;
    while at < BUCKETS {
        bounds[at] = bound;
        bound = bound * 106 / 100;
        at += 1;
    }
    bounds
}

/// Returns the bucket of a duration; the last one has no upper bound.
pub fn bucket_of(duration_ns: u64) -> u16 {
    (BOUNDS.partition_point(|bound| *bound <= duration_ns) - 1) as u16
}

/// Values that stand for the buckets, in nanoseconds: a history of a week has half a million probes a target, so that
/// none is worth a division.
const VALUES: [u64; BUCKETS] = values();

const fn values() -> [u64; BUCKETS] {
    let mut values = [0; BUCKETS];
    let mut at = 0;
    while at < BUCKETS {
        values[at] = middle(at);
        at += 1;
    }
    values
}

/// Returns the duration that stands for a bucket, in nanoseconds. It lies in the bucket, within 3 % of
/// every duration there, except in the first (below 100 ns) and the last (above 10 min).
pub fn value_of(bucket: u16) -> u64 {
    VALUES[usize::from(bucket).min(BUCKETS - 1)]
}

/// The value whose relative distance from both ends of a bucket is the same: the harmonic mean.
const fn middle(bucket: usize) -> u64 {
    let low = BOUNDS[bucket];
    if bucket + 1 == BUCKETS {
        return low;
    }
    let end = BOUNDS[bucket + 1];
    if low == 0 {
        return end / 2;
    }
    let (low, high) = (low as u128, (end - 1) as u128);
    ((2 * low * high + (low + high) / 2) / (low + high)) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_within_three_percent_and_stay_in_their_bucket() {
        assert!(
            BOUNDS[BUCKETS - 1] > 600_000_000_000,
            "{}",
            BOUNDS[BUCKETS - 1]
        );
        let mut duration = FIRST_NS;
        while duration < 600_000_000_000 {
            let value = value_of(bucket_of(duration));
            let error = value.abs_diff(duration) as f64 / duration as f64;
            assert!(error <= 0.03, "{duration}: {value}");
            duration += duration / 97 + 1;
        }
        for bucket in 0..BUCKETS as u16 {
            assert_eq!(bucket_of(value_of(bucket)), bucket);
        }
        assert_eq!(bucket_of(u64::MAX), BUCKETS as u16 - 1);
    }
}
