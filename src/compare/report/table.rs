//! A report as tables on a terminal.

use super::{CaseReport, Report};
use crate::compare::cell::Cell;
use crate::compare::host::profile::Micros;
use std::fmt;

/// A heading, what a cell says under it.
pub(super) type Column = (&'static str, fn(&Cell) -> String);

/// The columns of a case's tables.
pub(super) fn columns(case: &CaseReport) -> Vec<Column> {
    let is_open = case.points.iter().any(|point| point.rate.is_some());
    let mut columns: Vec<Column> = COLUMNS.into();
    if is_open {
        columns.insert(5, ("unanswered", |cell| thousands(cell.unanswered() as f64)));
    }
    columns
}

const COLUMNS: [Column; 10] = [
    ("requests/s", |cell| thousands(cell.throughput())),
    ("p50", |cell| known(cell.latency(0.5), Micros)),
    ("p99", |cell| known(cell.latency(0.99), Micros)),
    ("p99.9", |cell| known(cell.latency(0.999), Micros)),
    ("max", |cell| known(cell.latency(1.0), Micros)),
    ("CPU/request", |cell| known(cell.cpu(), Micros)),
    ("syscalls", |cell| known(cell.syscalls(), |n| format!("{n:.2}"))),
    ("threads", |cell| known(cell.threads(), |n| n)),
    ("memory", |cell| known(cell.peak_memory(), |n| format!("{:.1} MiB", n as f64 / 1_048_576.0))),
    ("load busy", |cell| {
        let mark = if cell.is_load_bound() { "!" } else { "" };
        format!("{:.0} %{mark}", cell.load_busy() * 100.0)
    }),
];

/// A dash stands for what is not known.
fn known<T, D: fmt::Display>(value: Option<T>, show: impl Fn(T) -> D) -> String {
    value.map_or("–".to_owned(), |value| show(value).to_string())
}

/// With commas between the thousands.
fn thousands(number: f64) -> String {
    let digits = format!("{number:.0}");
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.system)?;
        self.warnings.iter().try_for_each(|warning| writeln!(f, "WARNING: {warning}"))?;
        self.cases.iter().try_for_each(|case| write!(f, "\n{case}"))
    }
}

impl fmt::Display for CaseReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "== {}", self.name)?;
        self.remarks().iter().try_for_each(|remark| writeln!(f, "{remark}"))?;
        for point in 0..self.points.len() {
            writeln!(f, "\n{}", self.label(point))?;
            write_table(f, self, point)?;
        }
        write!(f, "\n{}", self.verdict)
    }
}

fn write_table(f: &mut fmt::Formatter<'_>, case: &CaseReport, point: usize) -> fmt::Result {
    let columns = columns(case);
    let mut rows = vec![columns.iter().map(|(head, _)| (*head).to_owned()).collect::<Vec<_>>()];
    let row = |cells: &Vec<Cell>| columns.iter().map(|(_, of)| of(&cells[point])).collect();
    rows.extend(case.cells.iter().map(row));
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max();
    let widths: Vec<usize> = (0..columns.len()).map(|column| width(column).unwrap_or(0)).collect();
    let first = case.contenders.iter().map(|name| name.chars().count()).max().unwrap_or(0);
    let names = std::iter::once("").chain(case.contenders.iter().map(String::as_str));
    for (name, row) in names.zip(&rows) {
        write!(f, "  {name:<first$}")?;
        for (text, width) in row.iter().zip(&widths) {
            write!(f, "  {text:>width$}")?;
        }
        writeln!(f)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_numbers_have_commas() {
        assert_eq!(thousands(999.4), "999");
        assert_eq!(thousands(1_000.0), "1,000");
        assert_eq!(thousands(1_234_567.0), "1,234,567");
    }
}
