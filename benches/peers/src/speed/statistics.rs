//! Medians, and how far they can be trusted.

/// The median of the rounds, and an interval that holds the true one in 95 of 100 cases.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Spread {
    pub low: f64,
    pub median: f64,
    pub high: f64,
}

impl Spread {
    /// By the order of the values alone, whatever their distribution: the interval between the
    /// `k`th least and the `k`th largest misses the median with twice the chance that a fair coin
    /// falls heads less than `k` times. Below six values that cannot be made to be rare, and the
    /// interval is the whole range.
    pub(super) fn of(mut values: Vec<f64>) -> Self {
        if values.is_empty() {
            return Self { low: f64::NAN, median: f64::NAN, high: f64::NAN };
        }
        values.sort_by(f64::total_cmp);
        let n = values.len();
        let k = rank(n);
        let median = (values[(n - 1) / 2] + values[n / 2]) / 2.0;
        Self { low: values[k - 1], median, high: values[n - k] }
    }

    pub fn half_width(&self) -> f64 {
        (self.high - self.low) / 2.0
    }
}

/// The largest `k` for which 2 P(B(n, 1/2) < k) is at most 5 %, and at least 1.
fn rank(n: usize) -> usize {
    let (mut chance, mut sum) = (0.5_f64.powi(n as i32), 0.0);
    let mut k = 0;
    loop {
        sum += chance;
        if 2.0 * sum > 0.05 || k > n / 2 {
            return k.max(1);
        }
        k += 1;
        chance *= (n + 1 - k) as f64 / k as f64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_interval_is_that_of_the_tables() {
        // Ranks of the 95 % interval of a median, as tables of the sign test have them.
        assert_eq!([5, 6, 9, 15, 20, 30].map(rank), [1, 1, 2, 4, 6, 10]);
    }

    #[test]
    fn the_median_is_in_the_middle() {
        let spread = Spread::of((1..=15).rev().map(f64::from).collect());
        assert_eq!(spread, Spread { low: 4.0, median: 8.0, high: 12.0 });
        assert_eq!(Spread::of(vec![1.0, 2.0]).median, 1.5);
    }
}
