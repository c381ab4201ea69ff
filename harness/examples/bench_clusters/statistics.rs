//! Percentiles, and what of a difference is noise. Pure functions.

use crate::bench::median;

/// The smallest of the values that `percent` of them do not exceed: a value that was measured.
pub(crate) fn percentile(percent: usize, values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    let rank = (values.len() * percent).div_ceil(100);
    values[rank.saturating_sub(1)]
}

/// How far the medians of two runs lie apart by chance: 5 % of the old one, or twice the median
/// distance of all values from their own run's median if that is more.
pub(crate) fn noise(old: &[f64], new: &[f64]) -> f64 {
    let distances = |values: &[f64]| {
        let middle = median(values.iter().copied());
        let distances = values.iter().map(|value| (value - middle).abs());
        distances.collect::<Vec<_>>()
    };
    let pooled = [distances(old), distances(new)].concat();
    let share = 0.05 * median(old.iter().copied());
    share.max(2.0 * median(pooled.into_iter()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn percentile_of(percent: usize, last: usize) -> f64 {
        percentile(percent, (1..=last).rev().map(|value| value as f64))
    }

    #[test]
    fn a_percentile_is_one_of_the_values() {
        assert_eq!(percentile_of(95, 100), 95.0);
        assert_eq!(percentile_of(95, 20), 19.0);
        assert_eq!(percentile_of(95, 10), 10.0);
        assert_eq!(percentile_of(95, 1), 1.0);
    }

    #[test]
    fn a_median_is_the_middle_or_the_mean_of_the_middle_two() {
        assert_eq!(median([3.0, 1.0, 2.0].into_iter()), 2.0);
        assert_eq!(median([4.0, 1.0, 2.0, 3.0].into_iter()), 2.5);
    }

    #[test]
    fn calm_runs_have_a_noise_of_a_twentieth() {
        assert_eq!(noise(&[10.0, 10.0, 10.1], &[10.0, 10.0, 10.1]), 0.5);
    }

    #[test]
    fn the_spread_of_either_run_is_noise() {
        let (calm, spread) = ([10.0, 10.0, 10.0], [8.0, 10.0, 12.0, 14.0, 6.0]);
        // Distances: 0, 0, 0 and 2, 0, 2, 4, 4, whose median is 1.
        assert_eq!(noise(&calm, &spread), 2.0);
        assert_eq!(noise(&spread, &calm), 2.0);
    }

    #[test]
    fn one_slow_boot_is_no_noise() {
        assert_eq!(noise(&[10.0, 10.0, 10.0, 10.0, 60.0], &[10.0; 5]), 0.5);
    }
}
