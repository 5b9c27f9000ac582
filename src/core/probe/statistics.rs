//! PURE. Statistics of a run: distributions of round trips, and loss per time window.

use hdrhistogram::Histogram;

/// Values kept exactly; beyond that a histogram takes over. Most targets of a large run have only a
/// few values.
const EXACT_SAMPLES: usize = 64;
/// Upper bound of the histogram, in nanoseconds: one hour.
const MAX_TRACKED_NS: u64 = 3_600_000_000_000;

/// Resolution of a histogram, which decides what it costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Precision {
    /// Percentiles are accurate to 1 percent: two significant digits.
    Fine,
    /// Percentiles are accurate to 7 percent: one significant digit.
    Coarse,
}

impl Precision {
    /// Returns the memory of a distribution of `values` values beyond [`Durations`] itself, in bytes.
    pub fn bytes(self, values: u64) -> u64 {
        if values <= EXACT_SAMPLES as u64 {
            return values.next_power_of_two().max(4) * 8;
        }
        // Each power of two of the range has half as many counters of 4 bytes as the smallest has values.
        let counters = match self {
            Precision::Fine => 128 * (42 - 7 + 1),
            Precision::Coarse => 16 * (42 - 4 + 1),
        };
        counters * 4 + size_of::<Histogram<u32>>() as u64
    }

    fn digits(self) -> u8 {
        match self {
            Precision::Fine => 2,
            Precision::Coarse => 1,
        }
    }
}

/// Distribution of durations, in nanoseconds.
#[derive(Clone, Debug, Default)]
pub struct Durations {
    count: u64,
    min: u64,
    max: u64,
    mean: f64,
    /// Sum of squared differences from the mean (Welford).
    squares: f64,
    values: Values,
}

#[derive(Clone, Debug)]
enum Values {
    Few(Vec<u64>),
    Many(Box<Histogram<u32>>),
}

impl Default for Values {
    fn default() -> Values {
        Values::Few(Vec::new())
    }
}

/// Summary of a distribution, in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Figures {
    /// Smallest value.
    pub min: u64,
    /// Arithmetic mean.
    pub mean: u64,
    /// Median.
    pub p50: u64,
    /// 90th percentile.
    pub p90: u64,
    /// 99th percentile.
    pub p99: u64,
    /// Largest value.
    pub max: u64,
    /// Standard deviation of the population.
    pub stddev: u64,
}

impl Durations {
    /// Adds a duration. `precision` counts when there are too many values to keep each.
    pub fn add(&mut self, ns: u64, precision: Precision) {
        self.min = if self.count == 0 {
            ns
        } else {
            self.min.min(ns)
        };
        self.max = self.max.max(ns);
        self.count += 1;
        let difference = ns as f64 - self.mean;
        self.mean += difference / self.count as f64;
        self.squares += difference * (ns as f64 - self.mean);
        match &mut self.values {
            Values::Few(values) if values.len() < EXACT_SAMPLES => values.push(ns),
            Values::Few(values) => {
                let mut many = Histogram::new_with_bounds(1, MAX_TRACKED_NS, precision.digits())
                    .expect("the bounds are constants, and right");
                for value in values.iter() {
                    many.saturating_record(*value);
                }
                many.saturating_record(ns);
                self.values = Values::Many(Box::new(many));
            }
            Values::Many(many) => many.saturating_record(ns),
        }
    }

    /// Returns the number of durations.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Returns the median in nanoseconds; `None` if there are no values.
    pub fn median(&self) -> Option<u64> {
        match &self.values {
            Values::Few(values) if values.len() <= 1 => values.first().copied(),
            _ => self.figures().map(|figures| figures.p50),
        }
    }

    /// Returns the summary; `None` if there are no values. A percentile is the smallest value that
    /// at least that share of all values does not exceed.
    pub fn figures(&self) -> Option<Figures> {
        if self.count == 0 {
            return None;
        }
        let at: Box<dyn Fn(f64) -> u64> = match &self.values {
            Values::Few(values) => {
                let mut sorted = values.clone();
                sorted.sort_unstable();
                Box::new(move |part: f64| {
                    let rank = (part * sorted.len() as f64).ceil() as usize;
                    sorted[rank.clamp(1, sorted.len()) - 1]
                })
            }
            Values::Many(many) => {
                Box::new(|part| many.value_at_quantile(part).clamp(self.min, self.max))
            }
        };
        Some(Figures {
            min: self.min,
            mean: self.mean as u64,
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            max: self.max,
            stddev: (self.squares / self.count as f64).sqrt() as u64,
        })
    }
}

/// Interarrival jitter (RFC 3550, section 6.4.1), over round trips instead of one-way times.
#[derive(Clone, Copy, Debug, Default)]
pub struct Jitter {
    last: Option<u64>,
    jitter: f64,
}

impl Jitter {
    /// Takes the next round trip in, in nanoseconds.
    pub fn add(&mut self, ns: u64) {
        if let Some(last) = self.last.replace(ns) {
            self.jitter += (ns.abs_diff(last) as f64 - self.jitter) / 16.0;
        }
    }

    /// Nanoseconds; `None` before there are two.
    pub fn ns(&self, count: u64) -> Option<u64> {
        (count > 1).then_some(self.jitter as u64)
    }
}

/// Exponentially weighted moving average of round trips with a weight of 1/8 (RFC 6298, section 2), which
/// ping(8) prints as ewma.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ewma {
    /// Eight times the average, in nanoseconds; 0 before the first value.
    eightfold: u64,
}

impl Ewma {
    /// Adds a round trip, in nanoseconds.
    pub fn add(&mut self, ns: u64) {
        self.eightfold = match self.eightfold {
            0 => ns * 8,
            old => old + ns - old / 8,
        };
    }

    /// Returns the average in nanoseconds; `None` before the first value.
    pub fn ns(&self) -> Option<u64> {
        (self.eightfold > 0).then_some(self.eightfold / 8)
    }
}

/// Width of a window, in nanoseconds.
const WINDOW_NS: u64 = 10_000_000_000;
/// Windows that make up the last minute.
const WINDOWS_PER_MINUTE: usize = 6;

/// Loss per window of ten seconds, by the time at which probes were sent.
#[derive(Clone, Debug, Default)]
pub struct Windows {
    /// Window number, probes and lost probes, newest last.
    windows: Vec<(u64, u32, u32)>,
    worst: Option<(u32, u32)>,
    /// Number of complete windows.
    closed: u64,
}

/// Loss as a fraction from 0 to 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct WindowLoss {
    /// Loss in the last complete window of ten seconds.
    pub last_10s: f64,
    /// Loss in the last minute.
    pub last_60s: f64,
    /// Loss in the worst window of the run.
    pub worst_10s: f64,
}

impl Windows {
    /// Memory of the windows, in bytes: there are at most eight, and a vector doubles.
    pub const BYTES: u64 = 8 * size_of::<(u64, u32, u32)>() as u64;

    /// Adds a decided probe. Probes are added in the order in which they were sent.
    pub fn add(&mut self, since_start_ns: u64, lost: bool) {
        let number = since_start_ns / WINDOW_NS;
        match self.windows.last_mut() {
            Some((last, probes, gone)) if *last == number => {
                *probes += 1;
                *gone += u32::from(lost);
            }
            _ => {
                self.close();
                self.windows.push((number, 1, u32::from(lost)));
                if self.windows.len() > WINDOWS_PER_MINUTE + 1 {
                    self.windows.remove(0);
                }
            }
        }
    }

    fn close(&mut self) {
        if let Some((_, probes, lost)) = self.windows.last() {
            self.closed += 1;
            let is_worse = self.worst.is_none_or(|(worst_probes, worst_lost)| {
                u64::from(*lost) * u64::from(worst_probes)
                    > u64::from(worst_lost) * u64::from(*probes)
            });
            if is_worse {
                self.worst = Some((*probes, *lost));
            }
        }
    }

    /// Returns the loss; `None` before the first window is complete.
    pub fn loss(&self) -> Option<WindowLoss> {
        let (worst_probes, worst_lost) = self.worst?;
        let over = &self.windows[..self.windows.len() - 1];
        let part = |probes: u32, lost: u32| f64::from(lost) / f64::from(probes.max(1));
        let (_, probes, lost) = over.last()?;
        let all = over.iter().fold((0, 0), |sum, (_, probes, lost)| {
            (sum.0 + probes, sum.1 + lost)
        });
        Some(WindowLoss {
            last_10s: part(*probes, *lost),
            last_60s: part(all.0, all.1),
            worst_10s: part(worst_probes, worst_lost),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exact_and_histogram_percentiles_agree() {
        let mut few = Durations::default();
        for ns in [50, 10, 40, 20, 30] {
            few.add(ns, Precision::Fine);
        }
        let figures = few.figures().unwrap();
        assert_eq!(
            (figures.min, figures.p50, figures.max, figures.mean),
            (10, 30, 50, 30)
        );
        assert_eq!((figures.p90, figures.p99, figures.stddev), (50, 50, 14));
        let mut many = Durations::default();
        for ns in 1..=100_000 {
            many.add(ns, Precision::Fine);
        }
        let figures = many.figures().unwrap();
        for (value, exact) in [
            (figures.p50, 50_000),
            (figures.p90, 90_000),
            (figures.p99, 99_000),
        ] {
            assert!(value.abs_diff(exact) * 100 <= exact, "{value} {exact}");
        }
        assert_eq!((figures.min, figures.max), (1, 100_000));
        assert!(Durations::default().figures().is_none());
    }

    #[test]
    fn the_cost_of_a_histogram_is_known() {
        for (precision, percent) in [(Precision::Fine, 1), (Precision::Coarse, 7)] {
            let new = Histogram::<u32>::new_with_bounds(1, MAX_TRACKED_NS, precision.digits());
            let bytes = new.unwrap().distinct_values() * 4 + size_of::<Histogram<u32>>();
            assert_eq!(precision.bytes(65), bytes as u64, "{precision:?}");
            let mut durations = Durations::default();
            (1..=100_000).for_each(|ns| durations.add(ns, precision));
            let median = durations.figures().unwrap().p50;
            assert!(
                median.abs_diff(50_000) * 100 <= 50_000 * percent,
                "{median}"
            );
        }
    }

    #[test]
    fn jitter_follows_rfc_3550() {
        let mut jitter = Jitter::default();
        jitter.add(100);
        assert_eq!(jitter.ns(1), None);
        jitter.add(116);
        assert_eq!(jitter.ns(2), Some(1));
        jitter.add(100);
        assert_eq!(jitter.ns(3), Some(1), "1 + (16 - 1) / 16");
    }

    #[test]
    fn moving_average_has_a_weight_of_an_eighth() {
        let mut average = Ewma::default();
        assert_eq!(average.ns(), None);
        for (ns, expected) in [(800, 800), (1600, 900), (900, 900)] {
            average.add(ns);
            assert_eq!(average.ns(), Some(expected));
        }
    }

    #[test]
    fn worst_window_is_kept() {
        let mut windows = Windows::default();
        for second in 0..100u64 {
            windows.add(second * 1_000_000_000, (20..25).contains(&second));
        }
        let loss = windows.loss().unwrap();
        assert_eq!(
            (loss.worst_10s, loss.last_10s, loss.last_60s),
            (0.5, 0.0, 0.0)
        );
    }
}
