//! What a comparison has found, as text, CSV, JSON and HTML.

mod data;
mod environment;
mod html;
mod plot;
mod plots;
mod table;

use super::cell::Cell;
use super::error::CompareError;
use super::host::profile::{HandlerKind, Profile};
use super::load::Point;
use super::verdict::Verdict;
use std::path::{Path, PathBuf};

/// What a [`Comparison`](super::Comparison) has found. It prints as tables with verdicts.
#[derive(Debug, Clone)]
pub struct Report {
    pub(super) cases: Vec<CaseReport>,
    pub(super) rounds: usize,
    pub(super) seed: u64,
    pub(super) margin: f64,
    pub(super) confidence: f64,
    pub(super) system: String,
    pub(super) warnings: Vec<String>,
}

/// What was found for one handler and its load.
#[derive(Debug, Clone)]
pub struct CaseReport {
    pub(super) name: String,
    pub(super) contenders: Vec<String>,
    pub(super) points: Vec<Point>,
    /// By contender, then by point.
    pub(super) cells: Vec<Vec<Cell>>,
    pub(super) profile: Option<Profile>,
    pub(super) verdict: Verdict,
    pub(super) idle: usize,
}

impl Report {
    pub(super) fn new(rounds: usize, seed: u64, margin: f64, confidence: f64) -> Self {
        let system = environment::system();
        let warnings = environment::warnings(environment::load_average());
        Self { cases: Vec::new(), rounds, seed, margin, confidence, system, warnings }
    }

    /// The cases, in the order in which they were added.
    pub fn cases(&self) -> &[CaseReport] {
        &self.cases
    }

    /// The case of this name.
    pub fn case(&self, name: &str) -> Option<&CaseReport> {
        self.cases.iter().find(|case| case.name == name)
    }

    /// The seed that the order of the rounds was drawn from.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// What makes the figures doubtful as a whole: a build without optimization, or a machine that
    /// was busy with something else at the start.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// A table with a line for each strategy at each setting, with a heading (RFC 4180). Times are
    /// in microseconds, memory is in bytes; what is not known is empty.
    pub fn to_csv(&self) -> String {
        data::csv(self)
    }

    /// Everything, each round included, for programs. Times are in nanoseconds, memory is in bytes;
    /// what is not known is `null`.
    pub fn to_json(&self) -> String {
        data::json(self)
    }

    /// A page with tables and plots. It needs nothing besides itself: no script, no font, no other
    /// file. It follows the reader's choice of dark or light.
    pub fn to_html(&self) -> String {
        html::page(self)
    }

    /// Writes `report.html`, `report.csv` and `report.json` into a directory, which is made if it is
    /// not there, and returns the path of the first.
    ///
    /// # Errors
    /// The directory cannot be made, or a file not be written.
    pub fn save(&self, dir: impl AsRef<Path>) -> Result<PathBuf, CompareError> {
        let dir = dir.as_ref();
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| CompareError::Write { path, source }
        };
        std::fs::create_dir_all(dir).map_err(failed(dir))?;
        let files = [("csv", self.to_csv()), ("json", self.to_json()), ("html", self.to_html())];
        let mut path = dir.to_owned();
        for (end, text) in files {
            path = dir.join(format!("report.{end}"));
            std::fs::write(&path, text).map_err(failed(&path))?;
        }
        Ok(path)
    }
}

impl CaseReport {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The names of the strategies. Their places are what [`cell`](Self::cell) and the verdict's
    /// findings tell of.
    pub fn contenders(&self) -> &[String] {
        &self.contenders
    }

    /// The settings of the load. Their places, as for the strategies.
    pub fn points(&self) -> &[Point] {
        &self.points
    }

    /// What was measured of a strategy at a setting, both by their places.
    ///
    /// # Panics
    /// If there is no such strategy or setting.
    pub fn cell(&self, contender: usize, point: usize) -> &Cell {
        &self.cells[contender][point]
    }

    /// What the handler does with its time. `None` if the system does not tell (not on Unix).
    pub fn profile(&self) -> Option<Profile> {
        self.profile
    }

    /// What the figures prove.
    pub fn verdict(&self) -> &Verdict {
        &self.verdict
    }

    /// A setting in words, with the idle connections beside it.
    fn label(&self, point: usize) -> String {
        let label = self.points[point].label();
        match self.idle {
            0 => label,
            idle => format!("{label}, beside {idle} idle"),
        }
    }

    /// What is to be known before the figures: what the handler is like, what that means for the
    /// choice, and which figures are missing, and why.
    fn remarks(&self) -> Vec<String> {
        let mut remarks = Vec::new();
        if let Some(profile) = self.profile {
            remarks.push(format!("The handler {profile}."));
            remarks.extend(advice(profile.kind()).map(str::to_owned));
        }
        let is_none = |of: fn(&Cell) -> bool| self.cells.iter().flatten().all(of);
        if is_none(|cell| cell.syscalls().is_none()) {
            remarks.push(
                "System calls are not known: that takes Linux, a `perf` that may count them, and \
                 servers in processes of their own."
                    .to_owned(),
            );
        }
        if is_none(|cell| cell.cpu().is_none()) {
            remarks.push("CPU time is not known: this system does not tell it.".to_owned());
        }
        remarks
    }
}

/// What a handler's kind means for the choice, if anything.
fn advice(kind: HandlerKind) -> Option<&'static str> {
    match kind {
        HandlerKind::Quick => None,
        HandlerKind::CpuBound => Some(
            "Its work keeps a core busy: more threads than cores do not help, and one event loop \
             uses one core only.",
        ),
        HandlerKind::Blocking => Some(
            "An event loop stands still while a call waits, and all of its connections with it: \
             threads, or a pool with enough workers, are made for this.",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::cell::Sample;
    use crate::compare::latency::histogram;
    use serde_json::Value;
    use std::time::Duration;

    fn report() -> Report {
        let mut latency = histogram();
        (1..=200).for_each(|n| latency.record(n * 1_000).unwrap());
        let sample = Sample {
            requests: 200,
            throughput: 12_345.6,
            p50: Duration::from_micros(100),
            p99: Sample::p99_of(&latency),
            nearest_p99: Sample::nearest_p99_of(&latency),
            cpu: Some(Duration::from_micros(5)),
            load_busy: 0.5,
            unanswered: 0,
            threads: None,
            peak_memory: Some(3 << 20),
        };
        let mut cell = Cell::new();
        cell.add(sample, &latency);
        let verdict = Verdict { sentences: vec!["<It> is so.".into()], findings: Vec::new() };
        let mut report = Report::new(1, 7, 0.05, 0.99);
        report.cases.push(CaseReport {
            name: "a \"quoted\", <case>".into(),
            contenders: vec!["threads".into()],
            points: vec![Point { connections: 8, in_flight: 1, rate: None }],
            cells: vec![vec![cell]],
            profile: None,
            verdict,
            idle: 0,
        });
        report
    }

    #[test]
    fn a_table_has_a_line_for_each_strategy() {
        let text = report().to_string();
        assert!(text.contains("== a \"quoted\", <case>\nSystem calls are not known: "), "{text}");
        assert!(text.contains("\n\n8 connections\n"), "{text}");
        assert!(text.contains("  threads      12,346"), "{text}");
        assert!(text.contains("5.00 µs"), "{text}");
        assert!(text.ends_with("\n<It> is so.\n"), "{text}");
    }

    #[test]
    fn csv_quotes_what_must_be_quoted() {
        let text = report().to_csv();
        let lines: Vec<_> = text.split("\r\n").collect();
        let line = "\"a \"\"quoted\"\", <case>\",threads,8,1,,0,200,12345.6,";
        assert!(lines[1].starts_with(line), "{text}");
        assert_eq!(lines[0].split(',').count(), 18);
        // Two of the commas of the line are within the name.
        assert_eq!(lines[1].split(',').count(), 19);
        assert_eq!(lines[2], "");
    }

    #[test]
    fn json_is_read_back() {
        let value: Value = serde_json::from_str(&report().to_json()).unwrap();
        let cell = &value["cases"][0]["cells"][0];
        assert_eq!(cell["strategy"], "threads");
        assert_eq!(cell["cpu"], 5_000);
        assert_eq!(cell["threads"], Value::Null);
        assert_eq!(cell["p999"], Value::Null);
        assert_eq!(cell["rounds"][0]["requests"], 200);
    }

    #[test]
    fn a_page_stands_alone_and_escapes_names() {
        let page = report().to_html();
        assert!(page.starts_with("<!DOCTYPE html>"));
        assert!(page.contains("a &quot;quoted&quot;, &lt;case&gt;"), "{page}");
        assert!(page.contains("&lt;It&gt; is so.") && !page.contains("<It>"), "{page}");
        assert!(page.contains("<svg") && page.contains("prefers-color-scheme: dark"));
        for foreign in ["<script", "<link", "src=", "@import", "url("] {
            assert!(!page.contains(foreign), "{foreign}");
        }
    }
}
