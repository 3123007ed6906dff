//! The scorecard: what has been measured, against what is aimed at, from the logs of the commands
//! that measured it.

mod figures;
mod logs;
mod parse;

use crate::survive::Outcome;
use crate::table;
use figures::{Figure, Measured, Target};
pub use logs::Logs;
use logs::Step;
use std::fmt::Write;

/// The page in Markdown.
pub fn text(logs: &Logs) -> String {
    let mut text = String::from(HEAD);
    for (name, value) in &logs.machine {
        let _ = writeln!(text, "- {name}: {value}");
    }
    figures(&mut text, logs);
    commands(&mut text, logs);
    failures(&mut text, logs);
    rivals(&mut text, logs);
    text
}

const HEAD: &str = "# Scorecard

Written by `.ci/scorecard` from the logs of the commands below, and never by hand: a figure that no log
holds is *not measured*. Most commands run in a quick form here; longer runs are in
[proofs.md](proofs.md), and what they publish is quoted only where the source says so.

";

fn figures(text: &mut String, logs: &Logs) {
    text.push_str(
        "\n## Figures\n\n| figure | measured | first target | world-class target | log |\n",
    );
    text.push_str("|---|---|---|---|---|\n");
    for Figure { name, step, first, world, measure } in figures::all() {
        let measured = measure(logs);
        let shown = measured.as_ref().map_or("*not measured*", |m| &m.text);
        let failed = logs.step(step).is_some_and(|step| step.code != 0);
        let complaint = if failed { " (**the command failed**)" } else { "" };
        // Of a run that failed, nothing is claimed.
        let judge = |target| judged(&target, measured.as_ref().filter(|_| !failed));
        let [first, world] = [first, world].map(judge);
        let _ = writeln!(text, "| {name} | {shown}{complaint} | {first} | {world} | `{step}` |");
    }
}

fn judged(target: &Target, measured: Option<&Measured>) -> String {
    let verdict = match measured.and_then(|measured| (target.is_reached)(measured)) {
        Some(true) => "**reached**",
        Some(false) => "*not reached*",
        None => "-",
    };
    format!("{}: {verdict}", target.text)
}

fn commands(text: &mut String, logs: &Logs) {
    text.push_str(
        "\n## Commands\n\nIn the order in which they ran. Counts are those that the test ",
    );
    text.push_str(
        "programs print; a skip is a case that printed `SKIP`, and counts as passed there.\n\n",
    );
    text.push_str("| log | command | date | commit | exit code | seconds | passed | failed | ignored | skips |\n");
    text.push_str("|---|---|---|---|---:|---:|---:|---:|---:|---:|\n");
    for Step { name, command, code, seconds, date, commit } in &logs.steps {
        let counts = parse::counts(logs.log(name).unwrap_or_default());
        let _ = writeln!(
            text,
            "| `{name}` | `{}` | {date} | {commit} | {code} | {seconds} | {} | {} | {} | {} |",
            command.replace('|', "\\|"),
            counts.passed,
            counts.failed,
            counts.ignored,
            counts.skips.len(),
        );
    }
}

fn failures(text: &mut String, logs: &Logs) {
    text.push_str("\n## Failures and skips\n\n");
    let before = text.len();
    for Step { name, code, .. } in &logs.steps {
        let counts = parse::counts(logs.log(name).unwrap_or_default());
        for test in &counts.failures {
            let _ = writeln!(text, "- failed in `{name}`: {test}");
        }
        if *code != 0 && counts.failures.is_empty() {
            let _ = writeln!(text, "- `{name}` ended with code {code}");
        }
        for skip in &counts.skips {
            let _ = writeln!(text, "- skipped in `{name}`: {skip}");
        }
    }
    for record in logs.records.iter().filter(|record| record.suite != "survive") {
        if record.outcome == Outcome::Failed {
            let why = record.reason.as_deref().unwrap_or_default();
            let why = why.lines().next().unwrap_or_default();
            let (suite, row, case) = (&record.suite, &record.row, &record.case);
            let _ = writeln!(text, "- failed: {suite} {row}/{case} on {}: {why}", record.backend);
        }
    }
    if text.len() == before {
        text.push_str("None.\n");
    }
}

fn rivals(text: &mut String, logs: &Logs) {
    text.push_str("\n## The same faults, done to others\n\n");
    let records: Vec<_> =
        logs.records.iter().filter(|record| record.suite == "survive").cloned().collect();
    if records.is_empty() {
        text.push_str("*Not measured.*\n");
        return;
    }
    text.push_str(
        "`benches/peers` serves an echo (tiny_http: HTTP) on each of them, as its maintainers show \
         it, and asks all the same questions; `peers --help` tells whose example each follows.\n\n",
    );
    text.push_str(&table::rivals(&records));
}
