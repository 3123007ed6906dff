//! The tables, and where they are put.

use super::{Cell, Measured, Spread};
use crate::load::Work;
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
    pub rounds: usize,
    pub seconds: f64,
}

const BEGIN: &str = "<!-- peers: begin; written by `speed --write` -->";
const END: &str = "<!-- peers: end -->";

/// Puts the text between the markers of a file; at its end, if it has none.
///
/// # Errors
/// The file cannot be read or written.
pub fn write(file: &Path, table: &str) -> std::io::Result<()> {
    let text = fs::read_to_string(file)?;
    let (head, tail) = match (text.find(BEGIN), text.find(END)) {
        (Some(begin), Some(end)) if begin < end => (&text[..begin], &text[end + END.len()..]),
        _ => (&*text, "\n"),
    };
    let gap = if head.ends_with("\n\n") || head.is_empty() { "" } else { "\n" };
    fs::write(file, format!("{head}{gap}{BEGIN}\n{table}\n{END}{tail}"))
}

/// All of it in Markdown.
pub fn table(conditions: &Conditions, cells: &[(Cell, Vec<Measured>)]) -> String {
    let mut text = String::from("\n## Beside others\n\n");
    let Conditions { date, commit, command, machine, rounds, seconds, .. } = conditions;
    let pinned = match conditions.pinned {
        true => "the server on core 0, the load on core 1",
        false => "server and load not pinned",
    };
    let versions: Vec<String> =
        versions::all().iter().map(|(name, version)| format!("{name} {version}")).collect();
    let _ = write!(
        text,
        "```sh\n{command}\n```\n\nMeasured on {date} at commit {commit}, {machine}; {rounds} rounds \
         of {seconds} s, in which all take turns in another order each; {pinned}. A closed loop \
         that checks every byte. {}.\n\nThe baseline is a level-triggered loop over epoll by hand. \
         `epoll, again` is the same program once more: what it is off 1.00, and its interval, is \
         the noise. `book-pool` has as many workers as there are connections, since it would never \
         serve the others. `tokio` has one worker thread, as it sees one core.\n",
        versions.join(", "),
    );
    section(
        &mut text,
        cells,
        "Processor time of the server for each request, ratio to `epoll`",
        |m| ratio(&m.cpu_ratio),
    );
    section(&mut text, cells, "Requests each second, ratio to `epoll`", |m| {
        ratio(&m.per_second_ratio)
    });
    section(&mut text, cells, "System calls of the server for each request", |m| {
        m.system_calls.map_or("-".to_owned(), |calls| format!("{calls:.2}"))
    });
    baseline(&mut text, cells);
    validity(&mut text, cells);
    failures(&mut text, cells);
    text
}

fn section(
    text: &mut String,
    cells: &[(Cell, Vec<Measured>)],
    title: &str,
    shown: impl Fn(&Measured) -> String,
) {
    let names: Vec<&str> = cells.iter().map(|(cell, _)| cell.name).collect();
    let _ = writeln!(text, "\n#### {title}\n\n| | {} |", names.join(" | "));
    let _ = writeln!(text, "|---|{}", "---:|".repeat(names.len()));
    for contender in super::contenders() {
        let row: Vec<String> = cells
            .iter()
            .map(|(_, all)| {
                let found = all.iter().find(|m| m.contender == contender.name);
                found.map_or("".to_owned(), |m| match m.failed {
                    Some(_) => "failed".to_owned(),
                    None => shown(m),
                })
            })
            .collect();
        if row.iter().any(|cell| !cell.is_empty()) {
            let _ = writeln!(text, "| {} | {} |", contender.name, row.join(" | "));
        }
    }
}

/// The median, and the half of its 95 % interval.
fn ratio(spread: &Spread) -> String {
    match spread.half_width() {
        // Of one round alone, nothing can be said.
        0.0 => format!("{:.2}", spread.median),
        half => format!("{:.2} ± {half:.2}", spread.median),
    }
}

/// Whether the baseline is what a loop by hand should be: the calls that it must make and no others,
/// and as fast as mio, which does the same.
fn validity(text: &mut String, cells: &[(Cell, Vec<Measured>)]) {
    for (cell, all) in cells {
        let allowed = match (cell.work, cell.connections) {
            (Work::Http { pipelined }, _) if pipelined > 1 => continue,
            (_, 1) => 3.005,
            _ => 2.06,
        };
        let calls = all.first().and_then(|base| base.system_calls);
        if calls.is_none_or(|calls| calls > allowed) {
            let _ =
                writeln!(text, "\nNot valid at {}: {calls:?} calls for each request.", cell.name);
        }
        let noise = all.get(1).map_or(0.0, |again| again.cpu_ratio.half_width());
        let mio = all.iter().find(|m| m.contender == "mio").map(|m| m.cpu_ratio.median);
        if mio.is_none_or(|ratio| (ratio - 1.0).abs() > 0.05 + noise) {
            let _ = writeln!(text, "\nNot valid at {}: mio is at {mio:?} of it.", cell.name);
        }
    }
}

fn baseline(text: &mut String, cells: &[(Cell, Vec<Measured>)]) {
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

fn failures(text: &mut String, cells: &[(Cell, Vec<Measured>)]) {
    for (cell, all) in cells {
        for measured in all {
            if let Some(why) = &measured.failed {
                let why = why.lines().next().unwrap_or_default();
                let _ = writeln!(text, "\n`{}` failed at {}: {why}", measured.contender, cell.name);
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
        write(&file, "one").unwrap();
        let first = fs::read_to_string(&file).unwrap();
        fs::write(&file, format!("{first}after\n")).unwrap();
        write(&file, "two").unwrap();
        let second = fs::read_to_string(&file).unwrap();
        fs::remove_file(&file).unwrap();
        assert_eq!(first, format!("# Before\n\n{BEGIN}\none\n{END}\n"));
        assert_eq!(second, format!("# Before\n\n{BEGIN}\ntwo\n{END}\nafter\n"));
    }
}
