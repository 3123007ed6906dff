//! The pages, and where they are put.

use super::figures::Outcome;
use super::validity::checks;
use super::{Cell, Measured, Spread};
use crate::versions;
use std::fmt::Write;
use std::fs;
use std::path::Path;

/// Under which it was measured.
#[derive(Debug)]
pub struct Conditions {
    pub date: String,
    pub commit: String,
    pub command: String,
    pub machine: String,
    pub pinned: bool,
    /// Apart from all other connections of the machine.
    pub own_network: bool,
    pub rounds: usize,
    pub seconds: f64,
    /// Of the idle connections, one in so many.
    pub idle_divisor: usize,
}

impl Conditions {
    /// What a figure that is published needs, and these have not.
    fn lacking(&self) -> Vec<&'static str> {
        let wanted = [
            (!cfg!(debug_assertions), "a release build"),
            (self.pinned, "a core for the server and one for the load"),
            (self.rounds >= 15, "15 rounds"),
            (self.seconds >= 2.0, "rounds of 2 s"),
            (self.idle_divisor == 1, "all idle connections"),
        ];
        wanted.into_iter().filter(|(is, _)| !is).map(|(_, what)| what).collect()
    }
}

/// What the tables are about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Page {
    /// This crate beside all others.
    Others,
    /// What it should reach.
    Figures,
}

impl Page {
    /// Between these it stands in a file.
    fn markers(self) -> (&'static str, &'static str) {
        match self {
            Page::Others => {
                ("<!-- peers: begin; written by `speed --write` -->", "<!-- peers: end -->")
            }
            Page::Figures => (
                "<!-- figures: begin; written by `speed --figures --write` -->",
                "<!-- figures: end -->",
            ),
        }
    }
}

/// Puts the text between the markers of a file; at its end, if it has none.
///
/// # Errors
/// The file cannot be read or written.
pub fn write(file: &Path, page: Page, table: &str) -> std::io::Result<()> {
    let (begin_marker, end_marker) = page.markers();
    let text = fs::read_to_string(file)?;
    let (head, tail) = match (text.find(begin_marker), text.find(end_marker)) {
        (Some(begin), Some(end)) if begin < end => {
            (&text[..begin], &text[end + end_marker.len()..])
        }
        _ => (&*text, "\n"),
    };
    let gap = if head.ends_with("\n\n") || head.is_empty() { "" } else { "\n" };
    fs::write(file, format!("{head}{gap}{begin_marker}\n{table}\n{end_marker}{tail}"))
}

type Cells = [(Cell, Vec<Measured>)];

/// All of it in Markdown.
pub fn table(page: Page, conditions: &Conditions, cells: &Cells) -> String {
    let mut text = String::new();
    under(&mut text, conditions);
    match page {
        Page::Others => others(&mut text, cells),
        Page::Figures => {
            verdicts(&mut text, cells);
            details(&mut text, cells);
        }
    }
    validity(&mut text, cells);
    failures(&mut text, cells);
    text
}

/// Why figures that were measured so mean nothing: of the way itself, and of the baseline.
pub fn invalid(conditions: &Conditions, cells: &Cells) -> Vec<String> {
    let lacking = conditions.lacking().into_iter().map(|what| format!("it lacks {what}"));
    let broken = checks(cells).into_iter().filter(|check| !check.holds);
    let broken = broken
        .map(|check| format!("the baseline at {}: {}: {}", check.cell, check.what, check.measured));
    lacking.chain(broken).collect()
}

fn under(text: &mut String, conditions: &Conditions) {
    let Conditions { date, commit, command, machine, rounds, seconds, .. } = conditions;
    let pinned = match conditions.pinned {
        true => "the server on core 0, the load on core 1",
        false => "server and load not pinned",
    };
    let network = match conditions.own_network {
        true => " in a network namespace of their own, with 1,024 sockets in TIME-WAIT at most",
        false => "",
    };
    let lacking = match &conditions.lacking()[..] {
        [] => String::new(),
        some => format!(" **Not to be published: it lacks {}.**", some.join(", ")),
    };
    let versions: Vec<String> =
        versions::all().iter().map(|(name, version)| format!("{name} {version}")).collect();
    let _ = write!(
        text,
        "\n```sh\n{command}\n```\n\nMeasured on {date} at commit {commit}, {machine}; {rounds} \
         rounds of {seconds} s, in which all take turns in another order each; \
         {pinned}{network}. A closed loop that checks every byte.{lacking} {}.\n\nThe baseline `epoll` is a level-triggered loop \
         by hand. What is called `again` is the same program once more: what it is off 1.00, and \
         its interval, is the noise. Intervals hold the median in 95 of 100 cases.\n",
        versions.join(", "),
    );
}

fn others(text: &mut String, cells: &Cells) {
    text.push_str(
        "\n`book-pool` has as many workers as there are connections, since it would never serve the \
         others. `tokio` has one worker thread, as it sees one core.\n",
    );
    section(text, cells, "Processor time of the server for each request, ratio to `epoll`", |m| {
        ratio(&m.cpu_ratio)
    });
    section(text, cells, "Requests each second, ratio to `epoll`", |m| ratio(&m.per_second_ratio));
    section(text, cells, "System calls of the server for each request", |m| {
        m.calls.map_or("-".to_owned(), |calls| format!("{:.2}", calls.all))
    });
    section(text, cells, "p50 of what a client waits, µs", |m| format!("{:.0}", m.p50.median));
    section(text, cells, "p99.9 of what a client waits, µs", |m| format!("{:.0}", m.p999.median));
    tails(text, cells);
    baseline(text, cells);
}

fn section(text: &mut String, cells: &Cells, title: &str, shown: impl Fn(&Measured) -> String) {
    let titles: Vec<&str> = cells.iter().map(|(cell, _)| cell.name).collect();
    let _ = writeln!(text, "\n#### {title}\n\n| | {} |", titles.join(" | "));
    let _ = writeln!(text, "|---|{}", "---:|".repeat(titles.len()));
    for name in names(cells) {
        let shown = |m: &Measured| m.failed.as_ref().map_or_else(|| shown(m), |_| "failed".into());
        let of = |all: &[Measured]| all.iter().find(|m| m.entry.name == name).map(shown);
        let row: Vec<String> = cells.iter().map(|(_, all)| of(all).unwrap_or_default()).collect();
        let _ = writeln!(text, "| {name} | {} |", row.join(" | "));
    }
}

/// Of all that take part, each once.
fn names(cells: &Cells) -> Vec<&str> {
    let mut names = Vec::new();
    for measured in cells.iter().flat_map(|(_, all)| all) {
        if !names.contains(&&*measured.entry.name) {
            names.push(&*measured.entry.name);
        }
    }
    names
}

/// The median, and the half of its 95 % interval.
fn ratio(spread: &Spread) -> String {
    match spread.half_width() {
        // Of one round alone, nothing can be said.
        0.0 => format!("{:.2}", spread.median),
        half => format!("{:.2} ± {half:.2}", spread.median),
    }
}

/// This crate's longest waits beside the shortest of the others. No worse are intervals that overlap.
fn tails(text: &mut String, cells: &Cells) {
    text.push_str("\n#### p99.9 beside the best of the others, µs\n\n");
    text.push_str("| load | server | p99.9 | best of the others | p99.9 | |\n");
    text.push_str("|---|---|---:|---|---:|---|\n");
    let interval = |s: &Spread| format!("{:.0} ({:.0} to {:.0})", s.median, s.low, s.high);
    for (cell, all) in cells {
        let known = || all.iter().filter(|m| m.failed.is_none() && m.p999.median.is_finite());
        let others = known().filter(|m| !m.entry.is_ours());
        let best = others.min_by(|a, b| a.p999.median.total_cmp(&b.p999.median));
        let Some(best) = best else { continue };
        for ours in known().filter(|m| m.entry.is_ours()) {
            let _ = writeln!(
                text,
                "| {} | {} | {} | {} | {} | {} |",
                cell.name,
                ours.entry.name,
                interval(&ours.p999),
                best.entry.name,
                interval(&best.p999),
                if ours.p999.low <= best.p999.high { "no worse" } else { "**worse**" },
            );
        }
    }
}

fn baseline(text: &mut String, cells: &Cells) {
    text.push_str("\n#### The baseline itself, and how far it is from itself\n\n");
    text.push_str(
        "| | µs of processor time | requests each second | A/A, processor time | A/A, requests |\n",
    );
    text.push_str("|---|---:|---:|---:|---:|\n");
    let interval = |s: &Spread| format!("{:.3} to {:.3}", s.low, s.high);
    for (cell, all) in cells {
        let [base, again, ..] = &all[..] else { continue };
        let _ = writeln!(
            text,
            "| {} | {:.2} | {:.0} | {} | {} |",
            cell.name,
            base.cpu.median,
            base.per_second.median,
            interval(&again.cpu_ratio),
            interval(&again.per_second_ratio),
        );
    }
    text.push_str("\nRatios: median of the rounds ± half of its 95 % interval.\n");
}

/// Each figure beside what came out.
fn verdicts(text: &mut String, cells: &Cells) {
    let (mut rows, mut outcomes) = (String::new(), Vec::new());
    for (cell, all) in cells {
        for (at, ours) in all.iter().enumerate() {
            for figure in &ours.entry.figures {
                let verdict = figure.verdict(all, at);
                let _ = writeln!(
                    rows,
                    "| {} | {} | {} | {} | {} | {} | {} | {} |",
                    cell.name,
                    ours.entry.name,
                    verdict.what,
                    verdict.measured,
                    verdict.wanted,
                    all[ours.entry.baseline].entry.name,
                    verdict.noise,
                    verdict.outcome.words(),
                );
                outcomes.push(verdict.outcome);
            }
        }
    }
    let met = outcomes.iter().filter(|outcome| **outcome == Outcome::Met).count();
    let _ = writeln!(
        text,
        "\nA figure that is a ratio is met if the median of the rounds is at most the figure (or at \
         least, where more is better) and the half of the interval that the baseline has against \
         itself.\n\n**{met} of {} figures are met.**\n\n| load | server | what | measured | figure | \
         baseline | against itself | |\n|---|---|---|---:|---:|---|---:|---|\n{rows}",
        outcomes.len(),
    );
    // One empty line is enough.
    text.pop();
}

/// All that was measured, in absolute numbers.
fn details(text: &mut String, cells: &Cells) {
    text.push_str("\n#### Absolute numbers, medians\n\n");
    text.push_str(
        "| load | server | µs of processor time | ratio | requests each second | p50, µs | p99.9, µs | \
         system calls | bytes, idle |\n|---|---|---:|---:|---:|---:|---:|---:|---:|\n",
    );
    for (cell, all) in cells {
        for measured in all {
            let _ = writeln!(
                text,
                "| {} | {} | {:.2} | {} | {:.0} | {:.0} | {:.0} | {} | {} |",
                cell.name,
                measured.entry.name,
                measured.cpu.median,
                ratio(&measured.cpu_ratio),
                measured.per_second.median,
                measured.p50.median,
                measured.p999.median,
                measured.calls.map_or(String::new(), |calls| format!("{:.2}", calls.all)),
                measured.idle_bytes.map_or(String::new(), |bytes| format!("{bytes:.0}")),
            );
        }
    }
}

/// What makes the baseline one that ratios may be told of.
fn validity(text: &mut String, cells: &Cells) {
    let checks = checks(cells);
    let broken = checks.iter().filter(|check| !check.holds).count();
    text.push_str("\n#### Is the baseline valid?\n\n");
    let _ = match (checks.len(), broken) {
        (0, _) => writeln!(text, "**Not checked**: no load of these tells."),
        (_, 0) => writeln!(text, "Yes.\n"),
        (all, broken) => writeln!(text, "**No: {broken} of {all} conditions do not hold.**\n"),
    };
    if checks.is_empty() {
        return;
    }
    text.push_str("| load | condition | measured | |\n|---|---|---:|---|\n");
    for check in checks {
        let holds = if check.holds { "holds" } else { "**does not hold**" };
        let _ =
            writeln!(text, "| {} | {} | {} | {holds} |", check.cell, check.what, check.measured);
    }
}

fn failures(text: &mut String, cells: &Cells) {
    for (cell, all) in cells {
        for measured in all {
            if let Some(why) = &measured.failed {
                let why = why.lines().next().unwrap_or_default();
                let _ =
                    writeln!(text, "\n`{}` failed at {}: {why}", measured.entry.name, cell.name);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_between_the_markers_is_replaced() {
        let file = std::env::temp_dir().join(format!("peers-report-{}.md", std::process::id()));
        fs::write(&file, "# Before\n").unwrap();
        write(&file, Page::Figures, "one").unwrap();
        let first = fs::read_to_string(&file).unwrap();
        fs::write(&file, format!("{first}after\n")).unwrap();
        write(&file, Page::Figures, "two").unwrap();
        let second = fs::read_to_string(&file).unwrap();
        fs::remove_file(&file).unwrap();
        let (begin, end) = Page::Figures.markers();
        assert_eq!(first, format!("# Before\n\n{begin}\none\n{end}\n"));
        assert_eq!(second, format!("# Before\n\n{begin}\ntwo\n{end}\nafter\n"));
    }
}
