//! PURE. The number of probes after which a further way would have shown.

/// Probability with which all ways of a hop are found, if they are equally likely.
pub const CONFIDENCE: f64 = 0.95;

/// Returns how many probes of different flows a hop with `known` addresses must have answered, so that a further address
/// as likely as each of them would have shown with the probability [`CONFIDENCE`]: 6, 11, 16, 21, ...
pub fn probes_needed(known: usize) -> usize {
    let ways = known.max(1) + 1;
    let mut probes = ways;
    while miss(ways, probes) > 1.0 - CONFIDENCE {
        probes += 1;
    }
    probes
}

/// Probability that so many probes do not hit each of the ways: inclusion and exclusion over the ways that are missed.
fn miss(ways: usize, probes: usize) -> f64 {
    let mut total = 0.0;
    let mut choices = 1.0;
    for missed in 1..ways {
        choices *= (ways - missed + 1) as f64 / missed as f64;
        let share = 1.0 - missed as f64 / ways as f64;
        let term = choices * share.powi(probes as i32);
        total += if missed % 2 == 1 { term } else { -term };
    }
    total
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_are_the_published_ones() {
        // Table 1 of Veitch, Augustin, Teixeira and Friedman (INFOCOM 2009), for 95 %.
        let all: Vec<usize> = (1..=8).map(probes_needed).collect();
        assert_eq!(all, [6, 11, 16, 21, 27, 33, 38, 44]);
        assert_eq!(probes_needed(0), 6);
        assert!(probes_needed(64) < 500);
    }
}
