//! Which responses count, how long they took, and how busy the load was.

use super::schedule::Plan;
use crate::compare::host::clock::thread_cpu;
use crate::compare::latency::{histogram, record};
use hdrhistogram::Histogram;
use std::time::{Duration, Instant};

/// What came of a plan.
#[derive(Debug)]
pub(crate) struct Tally {
    /// Responses that came while the plan counted.
    pub(crate) responses: u64,
    /// For how long it counted. If nothing came in time, what came after it counts: a server that is
    /// slow, or a machine that stood still, is no error.
    pub(crate) window: Duration,
    /// All responses: what the server has done since the plan began.
    pub(crate) all: u64,
    /// In nanoseconds. In an open loop also of those that never came, for as long as was waited.
    pub(crate) latency: Histogram<u64>,
    /// Requests of an open loop that were due and not answered.
    pub(crate) unanswered: u64,
    /// The share of the time that this thread did not wait for the server.
    pub(crate) busy: f64,
    /// The CPU time of this thread for the whole plan.
    pub(crate) cpu: Option<Duration>,
}

/// Which responses count, and how long they took.
///
/// For throughput those count that come within the window, and for latency those to requests that
/// were due within it: else a request that takes longer than what is left of the window would be
/// missing, and with it the slowest.
pub(super) struct Score {
    plan: Plan,
    all: u64,
    responses: u64,
    /// What came after the end: since when it was due, and when it came.
    late: Vec<(Instant, Instant)>,
    latency: Histogram<u64>,
    unanswered: u64,
}

impl Score {
    pub(super) fn new(plan: Plan) -> Self {
        Self { plan, all: 0, responses: 0, late: Vec::new(), latency: histogram(), unanswered: 0 }
    }

    /// Responses so far, whether they count or not.
    pub(super) fn all(&self) -> u64 {
        self.all
    }

    /// A response has come to a request that was due then.
    pub(super) fn response(&mut self, due: Instant, now: Instant) {
        self.all += 1;
        if self.counts(now) {
            self.responses += 1;
        }
        if self.counts(due) {
            record(&mut self.latency, now.saturating_duration_since(due));
        }
        if self.plan.window().is_some_and(|(_, end)| now >= end) {
            self.late.push((due, now));
        }
    }

    /// There will be no response any more.
    pub(super) fn give_up(&mut self, due: Instant, now: Instant) {
        if self.counts(due) {
            self.unanswered += 1;
            record(&mut self.latency, now.saturating_duration_since(due));
        }
    }

    fn counts(&self, at: Instant) -> bool {
        self.plan.window().is_none_or(|(begin, end)| begin <= at && at < end)
    }

    pub(super) fn finish(mut self, busy: f64, cpu: Option<Duration>) -> Tally {
        let window = self.window();
        let Self { all, responses, latency, unanswered, .. } = self;
        Tally { responses, window, all, latency, unanswered, busy, cpu }
    }

    /// For how long responses were counted. If none came in time, those are counted that came late.
    fn window(&mut self) -> Duration {
        let Some((begin, end)) = self.plan.window() else { return Duration::ZERO };
        let last = self.late.last().map(|(_, now)| *now);
        let Some(last) = last.filter(|_| self.responses == 0) else { return end - begin };
        self.responses = self.late.len() as u64;
        if !self.latency.is_empty() {
            return last - begin;
        }
        // These were sent before the beginning: their time is that from the first of them.
        let first = self.late.iter().map(|(due, _)| *due).min().unwrap_or(begin);
        for (due, now) in self.late.drain(..) {
            record(&mut self.latency, now.saturating_duration_since(due));
        }
        last - first
    }
}

/// How busy this thread is: between the two instants by the clock, and for the whole plan by CPU.
pub(super) struct Meter {
    cpu_before: Option<Duration>,
    begun: Option<Instant>,
    ended: Option<Instant>,
    waited: Duration,
}

impl Meter {
    pub(super) fn new() -> Self {
        Self { cpu_before: thread_cpu(), begun: None, ended: None, waited: Duration::ZERO }
    }

    pub(super) fn look(&mut self, now: Instant, plan: Plan) {
        let Some((begin, end)) = plan.window() else { return };
        if now >= begin {
            self.begun.get_or_insert(now);
        }
        if now >= end {
            self.ended.get_or_insert(now);
        }
    }

    pub(super) fn waited(&mut self, from: Instant, until: Instant) {
        if self.begun.is_some() && self.ended.is_none() {
            self.waited += until - from;
        }
    }

    pub(super) fn busy(&self) -> f64 {
        let (Some(begun), Some(ended)) = (self.begun, self.ended) else { return 0.0 };
        let all = (ended - begun).as_secs_f64();
        if all > 0.0 { (1.0 - self.waited.as_secs_f64() / all).clamp(0.0, 1.0) } else { 0.0 }
    }

    pub(super) fn cpu(&self) -> Option<Duration> {
        thread_cpu()?.checked_sub(self.cpu_before?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// The window is from 100 ms to 200 ms after the instant that is returned.
    fn closed() -> (Instant, Score) {
        let zero = Instant::now();
        (zero, Score::new(Plan::Closed { begin: zero + 100 * MS, end: zero + 200 * MS }))
    }

    /// Gives the score responses, by when they were due and when they came, in milliseconds.
    fn told(zero: Instant, mut score: Score, responses: &[(u32, u32)]) -> Tally {
        for (due, now) in responses {
            score.response(zero + *due * MS, zero + *now * MS);
        }
        score.finish(0.0, None)
    }

    /// A quantile of the latencies in milliseconds. The histogram knows it to 0.1 %.
    fn millis(tally: &Tally, quantile: f64) -> u64 {
        let tenths = tally.latency.value_at_quantile(quantile) as f64 / 1e7;
        (tenths.round() * 10.0) as u64
    }

    #[test]
    fn throughput_counts_what_comes_and_latency_what_is_sent_within_the_window() {
        let (zero, score) = closed();
        let tally = told(zero, score, &[(80, 95), (95, 110), (110, 190), (190, 490)]);
        assert_eq!((tally.all, tally.responses, tally.window), (4, 2, 100 * MS));
        // The one that outlasts the window is the slowest, and is not left out for that.
        assert_eq!(tally.latency.len(), 2);
        assert_eq!((millis(&tally, 0.5), millis(&tally, 1.0)), (80, 300));
    }

    #[test]
    fn responses_that_all_come_late_are_counted_over_the_time_that_they_took() {
        let (zero, score) = closed();
        let tally = told(zero, score, &[(50, 250), (60, 350)]);
        assert_eq!((tally.responses, tally.window), (2, 300 * MS));
        assert_eq!((millis(&tally, 0.0), millis(&tally, 1.0)), (200, 290));
        let (zero, score) = closed();
        let tally = told(zero, score, &[(50, 250), (150, 400)]);
        assert_eq!((tally.responses, tally.window), (2, 300 * MS));
        assert_eq!((tally.latency.len(), millis(&tally, 1.0)), (1, 250));
    }

    #[test]
    fn what_is_given_up_counts_with_the_time_that_it_waited() {
        let zero = Instant::now();
        let (begin, end) = (zero + 100 * MS, zero + 200 * MS);
        let plan = Plan::Open { start: zero, interval: 10 * MS, begin, end };
        let mut score = Score::new(plan);
        score.response(begin, begin + 3 * MS);
        score.give_up(begin + 50 * MS, end + 500 * MS);
        score.give_up(begin - MS, end + 500 * MS);
        let tally = score.finish(0.0, None);
        assert_eq!((tally.responses, tally.unanswered, tally.latency.len()), (1, 1, 2));
        assert_eq!(millis(&tally, 1.0), 550);
    }

    #[test]
    fn who_does_not_wait_within_the_window_is_busy() {
        let (zero, score) = closed();
        let plan = score.plan;
        let mut meter = Meter::new();
        // Waits before and after the window do not matter; of the 100 ms it waits for 30.
        for (from, until) in [(0, 90), (100, 130), (200, 300)] {
            meter.look(zero + from * MS, plan);
            meter.waited(zero + from * MS, zero + until * MS);
        }
        assert!((meter.busy() - 0.7).abs() < 1e-9, "{}", meter.busy());
    }
}
