//! What was measured of one strategy at one setting of the load.

use super::latency::histogram;
use hdrhistogram::Histogram;
use std::time::Duration;

/// The share of its time that a load thread may work. Above it, the load itself counts as the
/// bottleneck: it would have had to send and read faster.
pub(crate) const BUSY: f64 = 0.95;

/// Below so many latencies there is no 99th percentile worth its name, and below ten times as many
/// no 99.9th.
const ENOUGH: u64 = 100;

/// One round of one cell.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct Sample {
    /// Responses that came within the window; each was checked.
    pub requests: u64,
    /// Responses in a second.
    pub throughput: f64,
    /// The median of the latencies.
    pub p50: Duration,
    /// The 99th percentile of the latencies. `None` if there were fewer than 100.
    pub p99: Option<Duration>,
    /// The same by the nearest rank, which of fewer than 100 is the longest.
    pub(crate) nearest_p99: Duration,
    /// CPU time of the server for each request, in the kernel and out of it. `None` where the
    /// system does not tell.
    pub cpu: Option<Duration>,
    /// The share of the window in which the busiest load thread did not wait for the server.
    pub load_busy: f64,
    /// Requests of an open loop that were due within the window and not answered in time.
    pub unanswered: u64,
    /// Threads of the server's process, if it has one of its own and the system tells.
    pub threads: Option<u64>,
    /// The most memory that the server ever had resident, in bytes. As for `threads`.
    pub peak_memory: Option<u64>,
}

/// All rounds of one strategy at one setting of the load.
#[derive(Debug, Clone)]
pub struct Cell {
    pub(crate) rounds: Vec<Sample>,
    pub(crate) latency: Histogram<u64>,
    pub(crate) syscalls: Option<f64>,
}

impl Cell {
    pub(crate) fn new() -> Self {
        Self { rounds: Vec::new(), latency: histogram(), syscalls: None }
    }

    pub(crate) fn add(&mut self, sample: Sample, latency: &Histogram<u64>) {
        self.rounds.push(sample);
        self.latency.add(latency).expect("all histograms have the same bounds");
    }

    /// The rounds, in the order in which they were run.
    pub fn rounds(&self) -> &[Sample] {
        &self.rounds
    }

    /// All responses of all rounds.
    pub fn requests(&self) -> u64 {
        self.rounds.iter().map(|round| round.requests).sum()
    }

    /// Responses in a second: the median of the rounds.
    pub fn throughput(&self) -> f64 {
        self.median(|round| Some(round.throughput)).unwrap_or(0.0)
    }

    /// A quantile of all latencies of all rounds: 0.5 is their median, 1.0 the longest. `None` if
    /// there are too few beyond it: at least one must be expected there.
    ///
    /// In an open loop a latency counts from when the request was due.
    pub fn latency(&self, quantile: f64) -> Option<Duration> {
        let needed = match quantile {
            q if q > 0.99 && q < 1.0 => 1.0 / (1.0 - q),
            q if q > 0.5 && q < 1.0 => ENOUGH as f64,
            _ => 1.0,
        };
        // 1 / (1 - 0.999) is not quite 1,000 in floating point.
        let is_enough = self.latency.len() as f64 >= needed - 0.5;
        is_enough.then(|| Duration::from_nanos(self.latency.value_at_quantile(quantile)))
    }

    /// CPU time of the server for each request: the median of the rounds.
    pub fn cpu(&self) -> Option<Duration> {
        let nanos = self.median(|round| Some(round.cpu?.as_nanos() as f64))?;
        Some(Duration::from_nanos(nanos as u64))
    }

    /// System calls of the server for each request. They are counted after the rounds, so that the
    /// counting slows none of them down. `None` if the server has no process of its own, or there
    /// is no `perf` that may count (Linux only).
    pub fn syscalls(&self) -> Option<f64> {
        self.syscalls
    }

    /// The most threads that the server had.
    pub fn threads(&self) -> Option<u64> {
        self.rounds.iter().filter_map(|round| round.threads).max()
    }

    /// The most memory that the server had resident, in bytes. A server is used for all settings
    /// of a round one after the other, so it counts those before as well.
    pub fn peak_memory(&self) -> Option<u64> {
        self.rounds.iter().filter_map(|round| round.peak_memory).max()
    }

    /// Requests of an open loop that were not answered in time, in all rounds.
    pub fn unanswered(&self) -> u64 {
        self.rounds.iter().map(|round| round.unanswered).sum()
    }

    /// The share of its time that the busiest load thread did not wait: the median of the rounds.
    pub fn load_busy(&self) -> f64 {
        self.median(|round| Some(round.load_busy)).unwrap_or(0.0)
    }

    /// Whether the load was the bottleneck: in most rounds it was busy for more than 95 % of the
    /// time. Throughput and latency are those of the load then as much as of the server; CPU time
    /// and system calls are still those of the server.
    pub fn is_load_bound(&self) -> bool {
        self.load_busy() > BUSY
    }

    fn median(&self, of: impl Fn(&Sample) -> Option<f64>) -> Option<f64> {
        let values: Vec<f64> = self.rounds.iter().filter_map(of).collect();
        median(values)
    }
}

impl Sample {
    pub(crate) fn nearest_p99_of(latency: &Histogram<u64>) -> Duration {
        Duration::from_nanos(latency.value_at_quantile(0.99))
    }

    /// What a histogram says of the 99th percentile.
    pub(crate) fn p99_of(latency: &Histogram<u64>) -> Option<Duration> {
        let is_enough = latency.len() >= ENOUGH;
        is_enough.then(|| Self::nearest_p99_of(latency))
    }
}

fn median(mut values: Vec<f64>) -> Option<f64> {
    if values.is_empty() {
        return None;
    }
    values.sort_by(f64::total_cmp);
    let n = values.len();
    Some((values[(n - 1) / 2] + values[n / 2]) / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantile_needs_latencies_beyond_it() {
        let mut cell = Cell::new();
        let with = |n: u64| {
            let mut latency = histogram();
            (0..n).for_each(|at| latency.record(1_000 * (at + 1)).unwrap());
            latency
        };
        cell.latency = with(99);
        assert_eq!(cell.latency(0.99), None);
        assert!(cell.latency(0.5).is_some() && cell.latency(1.0).is_some());
        cell.latency = with(999);
        assert!(cell.latency(0.99).is_some());
        assert_eq!(cell.latency(0.999), None);
        cell.latency = with(1_000);
        assert!(cell.latency(0.999).is_some());
    }

    #[test]
    fn medians_are_of_the_rounds_that_have_a_value() {
        assert_eq!(median(vec![]), None);
        assert_eq!(median(vec![3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(vec![4.0, 1.0]), Some(2.5));
    }
}
