//! Latencies, counted.

use hdrhistogram::Histogram;
use std::time::Duration;

/// The shortest and the longest latency that are told apart from others, in nanoseconds.
pub(crate) const LATENCIES: (u64, u64) = (1, 100_000_000_000);

/// An empty histogram of latencies, of three digits.
pub(crate) fn histogram() -> Histogram<u64> {
    let (shortest, longest) = LATENCIES;
    Histogram::new_with_bounds(shortest, longest, 3).expect("the bounds are constant, and right")
}

pub(crate) fn record(latency: &mut Histogram<u64>, took: Duration) {
    latency.saturating_record(took.as_nanos().try_into().unwrap_or(u64::MAX));
}
