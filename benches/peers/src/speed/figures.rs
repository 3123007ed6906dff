//! What should be reached, and whether it is.

use super::{Measured, Spread};

/// A bound for one server at one load.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Figure {
    /// Processor time for each request, as a ratio to the baseline's: at most.
    Cpu(f64),
    /// Requests each second, as a ratio to the baseline's: at least.
    Rate(f64),
    /// System calls for each request: at most.
    Calls(f64),
    /// Bytes of user-space memory for each idle connection: at most.
    Idle(f64),
    /// The same, at most so much more than the baseline's.
    IdleMore(f64),
}

/// A figure beside what was measured.
#[derive(Debug, PartialEq)]
pub(super) struct Verdict {
    pub(super) what: &'static str,
    pub(super) measured: String,
    pub(super) wanted: String,
    /// The baseline against itself, where that counts.
    pub(super) noise: String,
    pub(super) outcome: Outcome,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    Met,
    NotMet,
    NotMeasured,
}

impl Outcome {
    fn of(is_met: bool) -> Self {
        if is_met { Outcome::Met } else { Outcome::NotMet }
    }

    pub(super) fn words(self) -> &'static str {
        match self {
            Outcome::Met => "met",
            Outcome::NotMet => "**not met**",
            Outcome::NotMeasured => "**not measured**",
        }
    }
}

impl Figure {
    /// Whether the server at this place reaches it. A ratio may miss its figure by the half of the
    /// interval that the baseline against itself has.
    pub(super) fn verdict(self, all: &[Measured], at: usize) -> Verdict {
        let ours = &all[at];
        let base = &all[ours.entry.baseline];
        let is_again =
            |m: &&Measured| m.entry.is_again() && m.entry.baseline == ours.entry.baseline;
        let noise = all.iter().find(is_again);
        let verdict = match self {
            Figure::Cpu(most) => ratio(&ours.cpu_ratio, noise.map(|m| &m.cpu_ratio), most, true),
            Figure::Rate(least) => {
                ratio(&ours.per_second_ratio, noise.map(|m| &m.per_second_ratio), least, false)
            }
            Figure::Calls(most) => number(ours.calls.map(|calls| calls.all), most, 2),
            Figure::Idle(most) => number(ours.idle_bytes, most, 0),
            Figure::IdleMore(more) => number(
                ours.idle_bytes.zip(base.idle_bytes).map(|(ours, base)| ours - base),
                more,
                0,
            ),
        };
        let what = match self {
            Figure::Cpu(_) => "CPU time, ratio",
            Figure::Rate(_) => "requests each second, ratio",
            Figure::Calls(_) => "system calls",
            Figure::Idle(_) => "bytes, idle connection",
            Figure::IdleMore(_) => "bytes, idle connection, above the baseline's",
        };
        let outcome = match ours.failed {
            Some(_) => Outcome::NotMeasured,
            None => verdict.outcome,
        };
        Verdict { what, outcome, ..verdict }
    }
}

fn ratio(ours: &Spread, noise: Option<&Spread>, bound: f64, is_most: bool) -> Verdict {
    let allowance = noise.map_or(f64::NAN, Spread::half_width);
    let is_known = ours.median.is_finite() && allowance.is_finite();
    let is_met = match is_most {
        true => ours.median <= bound + allowance,
        false => ours.median >= bound - allowance,
    };
    let sign = if is_most { "≤" } else { "≥" };
    Verdict {
        what: "",
        measured: format!("{:.3} ({:.3} to {:.3})", ours.median, ours.low, ours.high),
        wanted: format!("{sign} {bound:.2}"),
        noise: noise.map_or_else(String::new, |s| {
            format!("{:.3} ({:.3} to {:.3}), ± {:.3}", s.median, s.low, s.high, s.half_width())
        }),
        outcome: if is_known { Outcome::of(is_met) } else { Outcome::NotMeasured },
    }
}

/// Counted, not timed: what is printed is what is compared.
fn number(measured: Option<f64>, most: f64, digits: usize) -> Verdict {
    let unit = 10_f64.powi(digits as i32);
    let is_met = |n: f64| (n * unit).round() <= (most * unit).round();
    Verdict {
        what: "",
        measured: measured.map_or_else(|| "-".to_owned(), |n| format!("{n:.digits$}")),
        wanted: format!("≤ {most:.digits$}"),
        noise: String::new(),
        outcome: measured.map_or(Outcome::NotMeasured, |n| Outcome::of(is_met(n))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOISE: Spread = Spread { low: 0.97, median: 1.00, high: 1.03 };

    fn spread(median: f64) -> Spread {
        Spread { low: median - 0.1, median, high: median + 0.1 }
    }

    #[test]
    fn a_ratio_may_miss_by_half_of_the_noise() {
        let outcome = |median, is_most| ratio(&spread(median), Some(&NOISE), 1.05, is_most).outcome;
        assert_eq!(outcome(1.079, true), Outcome::Met);
        assert_eq!(outcome(1.081, true), Outcome::NotMet);
        assert_eq!(outcome(1.021, false), Outcome::Met);
        assert_eq!(outcome(1.019, false), Outcome::NotMet);
    }

    #[test]
    fn nothing_is_met_that_was_not_measured() {
        assert_eq!(ratio(&spread(1.0), None, 1.05, true).outcome, Outcome::NotMeasured);
        assert_eq!(
            ratio(&spread(f64::NAN), Some(&NOISE), 1.05, true).outcome,
            Outcome::NotMeasured
        );
        assert_eq!(number(None, 3.0, 2).outcome, Outcome::NotMeasured);
    }

    #[test]
    fn counts_are_compared_as_they_are_printed() {
        assert_eq!(number(Some(3.004), 3.0, 2).outcome, Outcome::Met);
        assert_eq!(number(Some(3.006), 3.0, 2).outcome, Outcome::NotMet);
        assert_eq!(number(Some(200.4), 200.0, 0).outcome, Outcome::Met);
    }
}
