//! What the figures prove, in plain words.

pub(super) mod stats;
mod words;

use crate::compare::cell::{BUSY, Sample};
use crate::compare::load::Point;
use stats::{Interval, Random, intervals};
use std::fmt;

/// What strategies are compared by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Metric {
    /// Responses in a second. More is better.
    Throughput,
    /// The 99th percentile of the latencies. Less is better.
    P99,
    /// CPU time of the server for each request. Less is better.
    Cpu,
}

impl Metric {
    /// All of them.
    pub const ALL: [Metric; 3] = [Metric::Throughput, Metric::P99, Metric::Cpu];

    fn value(self, sample: &Sample) -> Option<f64> {
        let value = match self {
            Metric::Throughput => sample.throughput,
            Metric::P99 => sample.nearest_p99.as_secs_f64(),
            Metric::Cpu => sample.cpu?.as_secs_f64(),
        };
        (value > 0.0).then_some(value)
    }

    /// Whether it was measured well enough to be compared. A round with fewer latencies than a 99th
    /// percentile needs counts with the longest of them, since it may have been a bad one; but most
    /// rounds must have enough.
    fn is_known(self, rounds: &[Sample]) -> bool {
        let enough = rounds.iter().filter(|round| round.p99.is_some()).count();
        self != Metric::P99 || 4 * enough >= 3 * rounds.len()
    }

    /// Whether the load has a part in it.
    fn depends_on_the_load(self) -> bool {
        self != Metric::Cpu
    }
}

impl fmt::Display for Metric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Metric::Throughput => "throughput",
            Metric::P99 => "p99 latency",
            Metric::Cpu => "CPU per request",
        })
    }
}

/// What is proven of two strategies by one metric at one setting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome {
    /// The first is better, and most likely by more than the margin.
    Better,
    /// The first is worse, and most likely by more than the margin.
    Worse,
    /// They differ by less than the margin.
    Same,
    /// The rounds do not tell.
    CannotTell,
}

/// Two strategies, compared by one metric at one setting.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct Finding {
    /// By what.
    pub metric: Metric,
    /// The place of the setting in the case's points.
    pub point: usize,
    /// The place of the first strategy in the case's contenders.
    pub first: usize,
    /// The place of the second, which comes after the first.
    pub second: usize,
    /// What is proven.
    pub outcome: Outcome,
    /// The first's value divided by the second's: most likely, and from where to where it may be
    /// with the report's confidence. The ends are 0 and infinite where there are too few rounds.
    pub ratio: f64,
    /// The lower end.
    pub low: f64,
    /// The upper end.
    pub high: f64,
    /// The load was the bottleneck for both, so that it is not the servers that were compared.
    pub is_load_bound: bool,
}

/// What a case proves. It prints as sentences.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Verdict {
    /// What is said, a sentence each.
    pub sentences: Vec<String>,
    /// Every pair by every metric at every setting.
    pub findings: Vec<Finding>,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.sentences.iter().try_for_each(|sentence| writeln!(f, "{sentence}"))
    }
}

/// How sure a verdict must be.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Demands {
    /// The probability of any wrong claim of a difference, in all of a case.
    pub(crate) alpha: f64,
    /// Ratios up to 1 + margin do not matter.
    pub(crate) margin: f64,
    pub(crate) seed: u64,
}

/// The rounds of a case: by contender, then point, then round.
pub(crate) struct Measured<'a> {
    pub(crate) contenders: &'a [String],
    pub(crate) points: &'a [Point],
    pub(crate) samples: Vec<Vec<&'a [Sample]>>,
}

impl Verdict {
    pub(crate) fn of(measured: &Measured<'_>, demands: Demands) -> Self {
        let findings = findings(measured, demands);
        let sentences = words::sentences(measured, &findings, demands);
        Self { sentences, findings }
    }

    /// Whether any difference is claimed.
    pub fn claims_a_difference(&self) -> bool {
        let is_claim = |f: &Finding| matches!(f.outcome, Outcome::Better | Outcome::Worse);
        self.findings.iter().any(is_claim)
    }

    /// What is proven of two strategies, given by their places, by one metric at one setting.
    /// `None` if it was not measured.
    pub fn outcome(&self, metric: Metric, point: usize, of: usize, to: usize) -> Option<Outcome> {
        let (first, second) = (of.min(to), of.max(to));
        let is_it =
            |f: &&Finding| (f.metric, f.point, f.first, f.second) == (metric, point, first, second);
        let outcome = self.findings.iter().find(is_it)?.outcome;
        Some(if of == first { outcome } else { outcome.reversed() })
    }
}

impl Outcome {
    fn reversed(self) -> Self {
        match self {
            Outcome::Better => Outcome::Worse,
            Outcome::Worse => Outcome::Better,
            other => other,
        }
    }
}

fn findings(measured: &Measured<'_>, demands: Demands) -> Vec<Finding> {
    let n = measured.contenders.len();
    let pairs: Vec<_> = (0..n).flat_map(|a| (a + 1..n).map(move |b| (a, b))).collect();
    // Each pair has its share of the errors that are allowed (Bonferroni); within a pair, all
    // metrics and settings are looked at together.
    let alpha = demands.alpha / pairs.len().max(1) as f64;
    let mut random = Random::new(demands.seed);
    let of = |pair: &(usize, usize)| of_pair(measured, *pair, alpha, demands.margin, &mut random);
    pairs.iter().flat_map(of).collect()
}

/// Two strategies, by all metrics at all settings.
fn of_pair(
    measured: &Measured<'_>,
    (first, second): (usize, usize),
    alpha: f64,
    margin: f64,
    random: &mut Random,
) -> Vec<Finding> {
    let mut compared = Vec::new();
    let mut differences = Vec::new();
    for metric in Metric::ALL {
        for point in 0..measured.points.len() {
            let samples = &measured.samples;
            if let Some(ratios) = log_ratios(metric, samples[first][point], samples[second][point])
            {
                compared.push((metric, point));
                differences.push(ratios);
            }
        }
    }
    let found = intervals(&differences, alpha, random);
    let finding = |((metric, point), interval): ((Metric, usize), Interval)| {
        let Interval { low, estimate, high } = interval;
        let is_bound = |at: usize| is_load_bound(measured.samples[at][point]);
        let is_load_bound = metric.depends_on_the_load() && is_bound(first) && is_bound(second);
        let outcome = match is_load_bound {
            true => Outcome::CannotTell,
            false => judge(metric, interval, margin),
        };
        let (ratio, low, high) = (estimate.exp(), low.exp(), high.exp());
        Finding { metric, point, first, second, outcome, ratio, low, high, is_load_bound }
    };
    compared.into_iter().zip(found).map(finding).collect()
}

/// The logarithm of the ratio in each round. `None` if it was not measured in all of them.
fn log_ratios(metric: Metric, a: &[Sample], b: &[Sample]) -> Option<Vec<f64>> {
    if !metric.is_known(a) || !metric.is_known(b) {
        return None;
    }
    let log_ratio = |(a, b)| Some((metric.value(a)? / metric.value(b)?).ln());
    a.iter().zip(b).map(log_ratio).collect()
}

fn is_load_bound(rounds: &[Sample]) -> bool {
    let busy = rounds.iter().filter(|round| round.load_busy > BUSY).count();
    2 * busy > rounds.len()
}

/// A difference must be there for sure, and most likely matter; to be the same, no difference that
/// matters may be possible.
fn judge(metric: Metric, interval: Interval, margin: f64) -> Outcome {
    let margin = margin.ln_1p();
    let Interval { low, estimate, high } = interval;
    if -margin <= low && high <= margin {
        return Outcome::Same;
    }
    let (is_more, is_less) = (low > 0.0 && estimate >= margin, high < 0.0 && estimate <= -margin);
    match (is_more, is_less, metric == Metric::Throughput) {
        (true, _, true) | (_, true, false) => Outcome::Better,
        (true, _, false) | (_, true, true) => Outcome::Worse,
        (false, false, _) => Outcome::CannotTell,
    }
}

#[cfg(test)]
mod tests;
