//! What the plots of a case show: figures over the settings of the load, and distributions.

use super::CaseReport;
use super::plot::{Axis, Line, Plot};
use crate::compare::cell::{Cell, Sample};
use crate::compare::latency::LATENCIES;

/// A figure that is plotted over the settings of the load.
struct Figure {
    title: &'static str,
    /// What stands beside its axis.
    unit: &'static str,
    scale: Scale,
    of: fn(&Sample) -> Option<f64>,
}

/// How a figure is laid out. On the logarithmic one its values are decimal logarithms of seconds.
#[derive(Clone, Copy, PartialEq)]
enum Scale {
    Linear,
    Logarithmic,
}

const FIGURES: [Figure; 3] = [
    Figure {
        title: "Throughput",
        unit: "requests/s",
        scale: Scale::Linear,
        of: |sample| Some(sample.throughput),
    },
    Figure {
        title: "Latency, 99th percentile",
        unit: "latency",
        scale: Scale::Logarithmic,
        of: |sample| Some(sample.p99?.as_secs_f64().max(1e-9).log10()),
    },
    Figure {
        title: "CPU time of the server for each request",
        unit: "µs",
        scale: Scale::Linear,
        of: |sample| Some(sample.cpu?.as_secs_f64() * 1e6),
    },
];

/// The plots of a case, each an `<svg>` element.
pub(super) fn of_case(case: &CaseReport) -> Vec<String> {
    let by_load = FIGURES.iter().filter_map(|figure| over_loads(case, figure));
    let distributions = (0..case.points.len()).map(|point| distribution(case, point));
    by_load.chain(distributions).collect()
}

/// `None` if a strategy lacks the figure in all rounds of a setting.
fn over_loads(case: &CaseReport, figure: &Figure) -> Option<String> {
    let lines = case
        .cells
        .iter()
        .enumerate()
        .map(|(at, row)| line(row, figure, beside(at, case.cells.len())))
        .collect::<Option<Vec<_>>>()?;
    let ends = lines.iter().flat_map(|line| &line.spread).flat_map(|(_, low, high)| [*low, *high]);
    let (low, high) = extremes(ends);
    let range = match figure.scale {
        Scale::Linear => (0.0, high * 1.08 + 1e-9),
        Scale::Logarithmic => (low - 0.15, high + 0.15),
    };
    let label: &dyn Fn(f64) -> String = match figure.scale {
        Scale::Linear => &short_number,
        Scale::Logarithmic => &log_seconds,
    };
    let n = case.points.len();
    let is_open = case.points.iter().any(|point| point.rate.is_some());
    let x = Axis {
        title: if is_open { "rate × connections" } else { "connections" },
        range: (-0.3, n as f64 - 0.7),
        labels: 2 * n + 1,
        label: &|value| setting(case, value).unwrap_or_default(),
    };
    let y = Axis { title: figure.unit, range, labels: 6, label };
    Some(Plot { title: figure.title, x, y, lines }.svg())
}

/// How far the points of a strategy stand beside their setting, so that the bars of several do not
/// hide each other.
fn beside(at: usize, of: usize) -> f64 {
    (at as f64 - (of - 1) as f64 / 2.0) * 0.035
}

/// The medians of a strategy, and the middle halves of its rounds.
fn line(row: &[Cell], figure: &Figure, beside: f64) -> Option<Line> {
    let mut line = Line { has_points: true, ..Line::default() };
    for (at, cell) in row.iter().enumerate() {
        let [low, middle, high] = quartiles(cell, figure.of)?;
        let x = at as f64 + beside;
        line.values.push((x, middle));
        line.spread.push((x, low, high));
    }
    Some(line)
}

fn quartiles(cell: &Cell, of: fn(&Sample) -> Option<f64>) -> Option<[f64; 3]> {
    let mut values: Vec<f64> = cell.rounds().iter().filter_map(of).collect();
    values.sort_by(f64::total_cmp);
    let at = |part: usize| values.get((values.len().checked_sub(1)?) * part / 4).copied();
    Some([at(1)?, at(2)?, at(3)?])
}

/// The name of the setting at a place of the axis, if there is one.
fn setting(case: &CaseReport, place: f64) -> Option<String> {
    let at = place.round();
    let point = case.points.get(at as usize).filter(|_| (place - at).abs() < 1e-6)?;
    Some(match point.rate {
        Some(rate) => format!("{}/s × {}", short_number(rate), point.connections),
        None => point.connections.to_string(),
    })
}

/// The latencies at one setting: the quantile on a scale that spreads the slow end.
fn distribution(case: &CaseReport, point: usize) -> String {
    let lines: Vec<Line> = case.cells.iter().map(|row| quantiles(&row[point])).collect();
    let (low, high) = extremes(lines.iter().flat_map(|line| &line.values).map(|(_, y)| *y));
    let (_, right) = extremes(lines.iter().flat_map(|line| &line.values).map(|(x, _)| *x));
    let title = format!("Latencies, {}", case.points[point].label());
    let x = Axis {
        title: "share of the requests that are faster",
        range: (0.0, right),
        labels: right.ceil() as usize + 1,
        label: &quantile_label,
    };
    let y =
        Axis { title: "latency", range: (low - 0.1, high + 0.1), labels: 6, label: &log_seconds };
    Plot { title: &title, x, y, lines }.svg()
}

/// Steps of a distribution for each nine of the quantile.
const STEPS: f64 = 40.0;

/// The quantiles, up to where one request is expected beyond.
fn quantiles(cell: &Cell) -> Line {
    let most = (cell.latency.len() as f64).max(10.0).log10();
    let value = |step: usize| {
        let x = step as f64 / STEPS;
        let nanos = cell.latency.value_at_quantile(1.0 - 10f64.powf(-x)).max(LATENCIES.0);
        (x, (nanos as f64 * 1e-9).log10())
    };
    Line { values: (0..=(most * STEPS) as usize).map(value).collect(), ..Line::default() }
}

fn extremes(values: impl Iterator<Item = f64>) -> (f64, f64) {
    values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), v| (low.min(v), high.max(v)))
}

/// 1 is 90 %, 2 is 99 %, and so on.
fn quantile_label(value: f64) -> String {
    let nines = value.round();
    if (value - nines).abs() > 1e-6 {
        return String::new();
    }
    match nines as usize {
        0 => "0 %".to_owned(),
        1 => "90 %".to_owned(),
        2 => "99 %".to_owned(),
        n => format!("99.{} %", "9".repeat(n - 2)),
    }
}

/// A time by its decimal logarithm in seconds: short, as it stands beside a line of the grid.
fn log_seconds(value: f64) -> String {
    // Half a per mille of tolerance, or what is 1 ms but for rounding would be 1000 µs.
    let (unit, name) = match value + 2e-4 {
        0.0.. => (1.0, "s"),
        -3.0.. => (1e-3, "ms"),
        -6.0.. => (1e-6, "µs"),
        _ => (1e-9, "ns"),
    };
    let number = 10f64.powf(value) / unit;
    match number {
        9.95.. => format!("{number:.0} {name}"),
        _ => format!("{number:.1} {name}").replace(".0 ", " "),
    }
}

fn short_number(value: f64) -> String {
    match value.abs() {
        1e6.. => format!("{:.2} M", value / 1e6),
        1e4.. => format!("{:.0} k", value / 1e3),
        1e3.. => format!("{:.1} k", value / 1e3),
        10.0.. => format!("{value:.0}"),
        _ => format!("{value:.1}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_short() {
        assert_eq!(quantile_label(3.0), "99.9 %");
        assert_eq!(quantile_label(2.5), "");
        let times = [0.0, -1.0, -2.602, -3.0, -5.0, -9.0].map(log_seconds);
        assert_eq!(times, ["1 s", "100 ms", "2.5 ms", "1 ms", "10 µs", "1 ns"]);
        assert_eq!(short_number(123_456.0), "123 k");
        assert_eq!(short_number(1_500.0), "1.5 k");
        assert_eq!(short_number(2.0), "2.0");
    }
}
