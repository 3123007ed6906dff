//! Tables in Markdown, from records.

use crate::survive::{Outcome, Promise, Record, cases};
use std::collections::HashMap;
use std::fmt::Write;

/// The frameworks: their accept loop is their own. Everybody else's is an example's, or by hand.
const FRAMEWORKS: [&str; 4] = ["polyserve", "message-io", "mill-net", "tiny_http"];

/// How the columns are ordered.
const ORDER: [&str; 11] = [
    "polyserve threads",
    "polyserve pool",
    "polyserve event-loop",
    "std-threads",
    "book-pool",
    "mio ",
    "tokio ",
    "tokio-backoff ",
    "message-io ",
    "mill-net ",
    "tiny_http ",
];

/// One column for each server, one row for each fault.
pub fn rivals(records: &[Record]) -> String {
    let mut servers: Vec<&str> = records.iter().map(|record| &*record.backend).collect();
    let place = |server: &str| ORDER.iter().position(|begin| server.starts_with(begin));
    servers.sort_by_key(|server| (place(server).unwrap_or(ORDER.len()), *server));
    servers.dedup();
    // What ran last counts.
    let cells: Cells<'_> = records.iter().map(|r| ((&*r.row, &*r.case, &*r.backend), r)).collect();
    let mut text = format!(
        "| row | fault | {} |\n|---|---|{}\n",
        servers.join(" | "),
        ":-:|".repeat(servers.len())
    );
    for case in cases() {
        let row: Vec<Option<&&Record>> =
            servers.iter().map(|server| cells.get(&(case.row, &*case.name, *server))).collect();
        if row.iter().all(Option::is_none) {
            continue;
        }
        let shown: Vec<String> =
            row.iter().map(|record| cell(record.copied(), case.promise)).collect();
        let _ = writeln!(text, "| {} | {} | {} |", case.row, case.about, shown.join(" | "));
    }
    let counts: Vec<String> = servers.iter().map(|server| count(&cells, server)).collect();
    let _ = writeln!(text, "| | **survived, of those that happened** | {} |", counts.join(" | "));
    text.push_str(LEGEND);
    text
}

const LEGEND: &str = "
- `yes`: it survived: an existing connection, one that came during the fault and a later one were served,
  and the server did not spin.
- `ended`: the process ended. `deaf`: a connection was not served within 5 s. `cut`: a connection that
  could go on was ended. `spins`: 5 % of a core or more for nothing. `memory`: more than 1 MiB + 64 KiB for
  each connection. `keeps`: descriptors or threads were not given back within 10 s. `held`: for ever.
- Some of the deaf hear again: `tokio-backoff` pauses for 1 s, 2 s, 4 s ... after each error, and edge-triggered
  loops that stop accepting at an error go on when the next connection comes. That of tiny_http does not. Where
  its pool of threads is what fails, it fails in some runs and not in others.
- `-`: the server never makes the call that was to fail, so nothing happened to it; not counted.
- `skipped`: could not be done here; not counted.
- `°`: not a promise of that project: it is the loop of an example, or left to the user.
";

type Cells<'a> = HashMap<(&'a str, &'a str, &'a str), &'a Record>;

fn cell(record: Option<&Record>, promise: Promise) -> String {
    let Some(record) = record else { return "not run".to_owned() };
    match record.outcome {
        Outcome::Passed => "yes".to_owned(),
        Outcome::NotInjected => "-".to_owned(),
        Outcome::Skipped => "skipped".to_owned(),
        Outcome::Failed => {
            let mark = if is_promised(&record.backend, promise) { "" } else { "°" };
            format!("**{}**{mark}", sort(record.reason.as_deref().unwrap_or_default()))
        }
    }
}

/// A word for a reason.
fn sort(reason: &str) -> &'static str {
    const WORDS: [(&str, &str); 8] = [
        ("the server ended", "ended"),
        ("spins", "spins"),
        ("its memory", "memory"),
        ("not given back", "keeps"),
        ("the connection itself", "cut"),
        ("still held", "held"),
        ("served", "deaf"),
        ("connected to", "deaf"),
    ];
    let found = WORDS.iter().find(|(part, _)| reason.contains(part));
    found.map_or("no", |(_, word)| word)
}

fn is_promised(server: &str, promise: Promise) -> bool {
    let is = |names: &[&str]| names.iter().any(|name| server.starts_with(name));
    match promise {
        Promise::Accepting | Promise::Exchanging => is(&FRAMEWORKS),
        Promise::Limiting => is(&["polyserve"]),
    }
}

fn count(cells: &Cells<'_>, server: &str) -> String {
    let of =
        |outcome| cells.values().filter(|r| r.backend == server && r.outcome == outcome).count();
    let (passed, failed) = (of(Outcome::Passed), of(Outcome::Failed));
    format!("{passed} of {}", passed + failed)
}
