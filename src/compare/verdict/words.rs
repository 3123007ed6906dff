//! Findings in plain words, never more certain than they are.

use super::stats::least_rounds;
use super::{Demands, Finding, Measured, Metric, Outcome, is_load_bound};
use crate::compare::load::Point;
use std::ops::Range;

/// What is said of a case, a sentence each.
pub(super) fn sentences(
    measured: &Measured<'_>,
    findings: &[Finding],
    demands: Demands,
) -> Vec<String> {
    Words { measured, findings, demands }.all()
}

struct Words<'a> {
    measured: &'a Measured<'a>,
    findings: &'a [Finding],
    demands: Demands,
}

/// How the strategies stand to each other by one metric at one setting.
#[derive(PartialEq, Clone)]
struct Standing {
    /// Those of which none is proven to be worse than another.
    best: Vec<usize>,
    /// They are proven to be the same.
    is_same: bool,
    /// Those that are proven to be worse than one of the others.
    worse: Vec<usize>,
    /// The load was the bottleneck for some of the best.
    bound: bool,
    /// Those that were not compared: they had too few requests in a round.
    unknown: Vec<usize>,
}

impl Words<'_> {
    fn all(&self) -> Vec<String> {
        if self.measured.contenders.len() < 2 {
            return vec!["There is one strategy only, and nothing to compare it with.".to_owned()];
        }
        let says_nothing = self.findings.iter().all(|f| f.outcome == Outcome::CannotTell);
        if let Some(least) = self.rounds_wanted().filter(|_| says_nothing) {
            let sure = percent(1.0 - self.demands.alpha);
            let rounds = self.rounds();
            return vec![format!(
                "{rounds} rounds are too few for claims with {sure} confidence: that takes {least}."
            )];
        }
        let mut sentences: Vec<String> = self.overall().into_iter().collect();
        sentences.extend(Metric::ALL.iter().filter_map(|metric| self.of_metric(*metric)));
        sentences.extend(self.load_bound());
        sentences.push(self.confidence());
        sentences
    }

    /// One sentence, with a part for each stretch of settings at which the strategies stand alike.
    fn of_metric(&self, metric: Metric) -> Option<String> {
        let points = 0..self.measured.points.len();
        let standings: Vec<_> = points.map(|point| self.standing(metric, point)).collect();
        standings.iter().any(Option::is_some).then_some(())?;
        let mut parts = Vec::new();
        let mut from = 0;
        for alike in standings.chunk_by(|a, b| a == b) {
            let points = from..from + alike.len();
            from = points.end;
            parts.push(match &alike[0] {
                Some(standing) => self.part(metric, standing, points),
                None => format!("too few requests to tell {}", self.range(&points)),
            });
        }
        Some(format!("{metric}: {}.", parts.join("; ")))
    }

    /// `None` if nothing was compared there.
    fn standing(&self, metric: Metric, point: usize) -> Option<Standing> {
        let is_here = |f: &&Finding| f.metric == metric && f.point == point;
        let here: Vec<&Finding> = self.findings.iter().filter(is_here).collect();
        if here.is_empty() {
            return None;
        }
        let is_known = |at: &usize| here.iter().any(|f| f.first == *at || f.second == *at);
        let (known, unknown): (Vec<_>, Vec<_>) = self.contenders().partition(is_known);
        let loses = |at: &usize| here.iter().any(|finding| loser(finding) == Some(*at));
        let (worse, best): (Vec<_>, Vec<_>) = known.into_iter().partition(loses);
        let is_among = |f: &&&Finding| best.contains(&f.first) && best.contains(&f.second);
        let among: Vec<_> = here.iter().filter(is_among).collect();
        let is_same = among.iter().all(|f| f.outcome == Outcome::Same);
        let bound = among.iter().any(|f| f.is_load_bound);
        Some(Standing { best, is_same, worse, bound, unknown })
    }

    fn contenders(&self) -> Range<usize> {
        0..self.measured.contenders.len()
    }

    /// What is said of a stretch of settings at which the strategies stand alike.
    fn part(&self, metric: Metric, standing: &Standing, points: Range<usize>) -> String {
        let range = self.range(&points);
        match standing.best.as_slice() {
            [] => format!("the rounds contradict each other {range}"),
            [one] => self.of_one(metric, *one, standing, points, &range),
            many => self.of_many(many, standing, &range),
        }
    }

    /// One strategy that none is proven to be better than.
    fn of_one(
        &self,
        metric: Metric,
        best: usize,
        standing: &Standing,
        points: Range<usize>,
        range: &str,
    ) -> String {
        let name = self.name(best);
        let Standing { worse, unknown, .. } = standing;
        let Some(lead) = self.lead(metric, best, worse, points) else {
            // Each of the others is worse than some other one, and not proven to be than this.
            return format!("nothing is proven better than {name} {range}{}", self.rest(standing));
        };
        let lead = at_least(lead);
        match unknown.is_empty() {
            true => format!("{name} is best {range}{lead}"),
            false => {
                let worse = self.names(worse);
                format!("{name} is better than {worse} {range}{lead}{}", self.unsaid(standing))
            }
        }
    }

    /// Several of which none is proven to be better than another.
    fn of_many(&self, best: &[usize], standing: &Standing, range: &str) -> String {
        let margin = percent(self.demands.margin);
        let (names, rest) = (self.names(best), self.rest(standing));
        let is_all = standing.worse.is_empty() && standing.unknown.is_empty();
        match (standing.is_same, is_all) {
            (true, true) if best.len() > 2 => format!("all are the same within {margin} {range}"),
            (true, true) => format!("{names} are the same within {margin} {range}"),
            (true, false) => format!("{names} are best {range}, the same within {margin}{rest}"),
            _ if standing.bound => format!("the load was the bottleneck {range}, no telling{rest}"),
            (false, true) => {
                format!("no significant difference {}", range.replace("every", "any"))
            }
            (false, false) => {
                format!("no significant difference between {names} {range}{rest}")
            }
        }
    }

    /// Those that are not among the best, in parentheses.
    fn rest(&self, standing: &Standing) -> String {
        let worse = match standing.worse.as_slice() {
            [] => String::new(),
            [one] => format!(" ({} is worse)", self.name(*one)),
            many => format!(" ({} are worse)", self.names(many)),
        };
        worse + &self.unsaid(standing)
    }

    /// Those of which nothing can be said, in parentheses.
    fn unsaid(&self, standing: &Standing) -> String {
        match standing.unknown.as_slice() {
            [] => String::new(),
            some => format!(" (too few requests to tell of {})", self.names(some)),
        }
    }

    /// By how much a strategy is ahead of each of the others at each of these settings, at least.
    /// `None` if that is not proven for one.
    fn lead(
        &self,
        metric: Metric,
        best: usize,
        others: &[usize],
        points: Range<usize>,
    ) -> Option<f64> {
        let mut least = f64::INFINITY;
        for point in points {
            for other in others {
                let (first, second) = (best.min(*other), best.max(*other));
                let found = self.findings.iter().find(|f| {
                    (f.metric, f.point, f.first, f.second) == (metric, point, first, second)
                })?;
                let expected = if best == first { Outcome::Better } else { Outcome::Worse };
                (found.outcome == expected).then_some(())?;
                // The end of the interval that is nearer to no difference.
                let ratio = if found.low > 1.0 { found.low } else { 1.0 / found.high };
                least = least.min(ratio - 1.0);
            }
        }
        Some(least)
    }

    /// What all metrics at all settings come to.
    fn overall(&self) -> Option<String> {
        let loses = |at: &usize| self.findings.iter().any(|finding| loser(finding) == Some(*at));
        let (worse, unbeaten): (Vec<_>, Vec<_>) = self.contenders().partition(loses);
        match unbeaten.as_slice() {
            _ if worse.is_empty() => None,
            [] => Some(
                "Overall: each strategy is proven worse than another one somewhere, so weigh what \
                 matters to you."
                    .to_owned(),
            ),
            [one] => {
                let name = self.name(*one);
                Some(format!("Overall: only {name} is nowhere proven worse than another."))
            }
            some => {
                let names = self.names(some);
                Some(format!("Overall: {names} are nowhere proven worse than another."))
            }
        }
    }

    fn load_bound(&self) -> Option<String> {
        let mut cells = Vec::new();
        for (at, rows) in self.measured.samples.iter().enumerate() {
            let bound = rows.iter().zip(self.measured.points).filter(|(r, _)| is_load_bound(r));
            cells.extend(bound.map(|(_, point)| format!("{} at {}", self.name(at), point.label())));
        }
        (!cells.is_empty()).then(|| {
            format!(
                "The load was the bottleneck for {}. What a server could do beyond that is not seen \
                 in throughput and latency there; CPU per request holds.",
                list(&cells)
            )
        })
    }

    fn rounds(&self) -> usize {
        self.measured.samples.iter().flatten().map(|r| r.len()).min().unwrap_or(0)
    }

    /// How many rounds it takes to be sure to tell a difference, if there were fewer.
    fn rounds_wanted(&self) -> Option<usize> {
        let n = self.measured.contenders.len();
        let pairs = n * (n - 1) / 2;
        let of_each = self.findings.len().div_ceil(pairs).max(1);
        let least = least_rounds(of_each, self.demands.alpha / pairs as f64);
        (self.rounds() < least).then_some(least)
    }

    fn confidence(&self) -> String {
        let sure = percent(1.0 - self.demands.alpha);
        let (rounds, margin) = (self.rounds(), percent(self.demands.margin));
        format!(
            "With {sure} confidence all differences that are claimed here are real ({rounds} paired \
             rounds; differences below {margin} are not claimed)."
        )
    }

    fn name(&self, at: usize) -> &str {
        &self.measured.contenders[at]
    }

    fn names(&self, places: &[usize]) -> String {
        list(&places.iter().map(|at| self.name(*at).to_owned()).collect::<Vec<_>>())
    }

    /// A stretch of settings, in words: never one that was not measured.
    fn range(&self, &Range { start: from, end: to }: &Range<usize>) -> String {
        let points = self.measured.points;
        if to - from == points.len() && points.len() > 1 {
            return "at every load".to_owned();
        }
        let is_closed = points.iter().all(|point| point.rate.is_none());
        let is_ascending = points.windows(2).all(|two| two[0].connections < two[1].connections);
        let (first, last) = (&points[from], &points[to - 1]);
        match to - from {
            1 => format!("at {}", first.label()),
            _ if !is_closed || !is_ascending => {
                let labels: Vec<_> = points[from..to].iter().map(Point::label).collect();
                format!("at {}", list(&labels))
            }
            _ if from == 0 => format!("up to {}", last.label()),
            _ => format!("from {} to {}", first.connections, last.label()),
        }
    }
}

/// Whom a finding proves to be worse, if anyone.
fn loser(finding: &Finding) -> Option<usize> {
    match finding.outcome {
        Outcome::Better => Some(finding.second),
        Outcome::Worse => Some(finding.first),
        Outcome::Same | Outcome::CannotTell => None,
    }
}

/// Names, with commas and an "and".
fn list(names: &[String]) -> String {
    match names {
        [] => String::new(),
        [one] => one.clone(),
        [rest @ .., last] => format!("{} and {last}", rest.join(", ")),
    }
}

/// A lead in words: where it is large, as a factor, rounded down as well. Below 1 % it is best left
/// unsaid.
fn at_least(lead: f64) -> String {
    match lead {
        ..0.01 => String::new(),
        ..1.0 => format!(", by at least {}", percent(lead)),
        _ => format!(", by a factor of at least {:.1}", ((1.0 + lead) * 10.0).floor() / 10.0),
    }
}

/// A share as whole per cents, rounded down, so that nothing is claimed that is not so.
fn percent(share: f64) -> String {
    let percent = (share * 100.0 + 1e-9).floor();
    format!("{percent} %")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn per_cents_are_rounded_down() {
        assert_eq!(percent(0.1299), "12 %");
        assert_eq!(percent(0.05), "5 %");
        assert_eq!(percent(1.0 - 0.01), "99 %");
        assert_eq!(at_least(0.004), "");
        assert_eq!(at_least(0.994), ", by at least 99 %");
        assert_eq!(at_least(4.69), ", by a factor of at least 5.6");
    }
}
