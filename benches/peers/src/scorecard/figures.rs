//! Which figures there are, what is aimed at, and where each is read from.

use super::logs::Logs;
use super::parse::{before, counts, duration, passed, rows};
use crate::survive::{Outcome, Record};
use std::collections::HashSet;
use std::fs;
use std::path::Path;
use std::time::Duration;

/// A line of the scorecard.
pub(super) struct Figure {
    pub(super) name: &'static str,
    /// The step whose log holds it.
    pub(super) step: &'static str,
    pub(super) first: Target,
    pub(super) world: Target,
    pub(super) measure: fn(&Logs) -> Option<Measured>,
}

pub(super) struct Target {
    pub(super) text: &'static str,
    /// `None` if what was measured cannot tell.
    pub(super) is_reached: fn(&Measured) -> Option<bool>,
}

/// What was measured, in words and as the numbers that targets are about.
pub(super) struct Measured {
    pub(super) text: String,
    /// How much, how many: more is better, unless the target says otherwise.
    pub(super) value: f64,
    /// Over how many, or what was lost.
    pub(super) of: f64,
}

const fn target(text: &'static str, is_reached: fn(&Measured) -> Option<bool>) -> Target {
    Target { text, is_reached }
}

fn never(_: &Measured) -> Option<bool> {
    None
}

fn measured(value: f64, of: f64, text: String) -> Option<Measured> {
    Some(Measured { text, value, of })
}

/// The tests that drive the test server, and count as tried faults: accept, spawn, read, write, epoll.
const ERRNO_ROWS: [&str; 14] =
    ["A1", "A2", "A3", "A4", "A5", "A6", "A8", "A14", "R2", "R3", "R19", "E3", "E4", "E5"];

pub(super) fn all() -> Vec<Figure> {
    vec![
        Figure {
            name: "conformance cases x ways to run and to wait",
            step: "conformance",
            first: target("80 x 5", |m| Some(m.value >= 80.0 && m.of >= 5.0)),
            world: target("150 x 6", |m| Some(m.value >= 150.0 && m.of >= 6.0)),
            measure: conformance,
        },
        Figure {
            name: "random scripts that give the same on all backends",
            step: "differential",
            first: target("10,000", |m| Some(m.value >= 10_000.0)),
            world: target("1,000,000", |m| Some(m.value >= 1e6)),
            measure: differential,
        },
        Figure {
            name: "errors of system calls survived / tried, over all backends",
            step: "faults",
            first: target("60 / 60", |m| Some(m.value == m.of && m.of >= 60.0)),
            world: target("120 / 120", |m| Some(m.value == m.of && m.of >= 120.0)),
            measure: faults,
        },
        Figure {
            name: "requests lost in drain under load",
            step: "drain",
            first: target("0 of 100,000", |m| Some(m.value == 0.0 && m.of >= 1e5)),
            world: target("0 of 10,000,000", |m| Some(m.value == 0.0 && m.of >= 1e7)),
            measure: drain,
        },
        Figure {
            name: "requests lost in replacing the process",
            step: "drain",
            first: target("0 in 20 restarts", |m| Some(m.value == 0.0 && m.of >= 20.0)),
            world: target("0 in 1,000 restarts", |m| Some(m.value == 0.0 && m.of >= 1e3)),
            measure: replaced,
        },
        Figure {
            name: "idle connections on an event loop, and user-space memory of each",
            step: "memory",
            first: target("9,000, < 300 B", |m| Some(m.of >= 9e3 && m.value < 300.0)),
            world: target("19,000, < 200 B", |m| Some(m.of >= 19e3 && m.value < 200.0)),
            measure: idle,
        },
        Figure {
            name: "threads held, one a connection, and memory of each",
            step: "faults",
            first: target("2,000, < 12 KiB", |m| Some(m.of >= 2e3 && m.value < 12.0)),
            world: target("8,000", |m| Some(m.of >= 8e3)),
            measure: threads,
        },
        Figure {
            name: "memory with 100 clients that never read",
            step: "faults",
            first: target("< 106.25 MiB", |m| Some(m.value < 106.25)),
            world: target("the same, and a total cap", never),
            measure: |logs| most(logs, &["R5/never-read"], "memory growth", "MiB"),
        },
        Figure {
            name: "40 slow clients: time until a normal one is served",
            step: "faults",
            first: target("< 31 s", |m| Some(m.value < 31e3)),
            world: target("< 1 s", |m| Some(m.value < 1e3)),
            measure: |logs| most(logs, &["R7/drips"], "slowest normal request", "ms"),
        },
        Figure {
            name: "processor time while: out of descriptors, half-closed, paused and reset, idle thousands",
            step: "faults",
            first: target("each < 5 %", |m| Some(m.value < 5.0)),
            world: target("each < 1 %", |m| Some(m.value < 1.0)),
            measure: |logs| {
                let rows = [
                    "A1/emfile-lasting",
                    "A1/real-ulimit",
                    "R1/half-closed",
                    "E2/paused-and-reset",
                    "E2/idle-thousands",
                ];
                most(logs, &rows, "cpu", "% of a core")
            },
        },
        Figure {
            name: "end of an idle server, the slowest",
            step: "leaks",
            first: target("< 50 ms of 1,000", |m| Some(m.value < 50.0 && m.of >= 1e3)),
            world: target("< 10 ms of 1,000", |m| Some(m.value < 10.0 && m.of >= 1e3)),
            measure: ends,
        },
        Figure {
            name: "soak: connections, and drift of descriptors, threads and memory",
            step: "soak",
            first: target("2 h, 10 M, 0 / 0 / < 5 %", |m| Some(m.value >= 7.2e3 && m.of >= 1e7)),
            world: target("24 h, 200 M", |m| Some(m.value >= 86.4e3 && m.of >= 2e8)),
            measure: soak,
        },
        Figure {
            name: "executions of the fuzz target with the fewest, no crash open",
            step: "fuzz",
            first: target("10^8", |m| Some(m.value >= 1e8)),
            world: target("10^10", |m| Some(m.value >= 1e10)),
            measure: fuzz,
        },
        Figure {
            name: "inputs of the corpus that are replayed for each change",
            step: "corpus",
            first: target("1,000", |m| Some(m.value >= 1e3)),
            world: target("20,000", |m| Some(m.value >= 2e4)),
            measure: corpus,
        },
        Figure {
            name: "loom models",
            step: "models",
            first: target("4", |m| Some(m.value >= 4.0)),
            world: target("10", |m| Some(m.value >= 10.0)),
            measure: models,
        },
        Figure {
            name: "mutants caught",
            step: "mutants",
            first: target("85 %", |m| Some(m.value >= 85.0)),
            world: target("95 %", |m| Some(m.value >= 95.0)),
            measure: mutants,
        },
        Figure {
            name: "line coverage",
            step: "coverage",
            first: target("90 %", |m| Some(m.value >= 90.0)),
            world: target("95 %", |m| Some(m.value >= 95.0)),
            measure: coverage,
        },
        Figure {
            name: "`unsafe` in src",
            step: "scorecard",
            first: target("at most 3, one module", |m| Some(m.value <= 3.0 && m.of <= 1.0)),
            world: target("1", |m| Some(m.value <= 1.0)),
            measure: unsafe_code,
        },
        Figure {
            name: "direct dependencies, default features, Unix",
            step: "dependencies",
            first: target("at most 6", |m| Some(m.value <= 6.0)),
            world: target("listed with reasons", never),
            measure: dependencies,
        },
    ]
}

/// Tests are named `backend::case`. Three backends and the portable way to wait, on Linux; poll(2) and
/// other systems count once each. Layers, and numbers of threads, are no other ways.
fn conformance(logs: &Logs) -> Option<Measured> {
    let (mut cases, mut ways) = (HashSet::new(), Vec::new());
    let (mut runs, mut failed) = (0, 0);
    for (step, other) in [
        ("conformance", None),
        ("conformance-poll", Some("poll(2)")),
        ("conformance-wine", Some("wine")),
    ] {
        let Some(log) = logs.log(step) else { continue };
        failed += counts(log).failed;
        for (backend, case) in passed(log).filter_map(|name| name.split_once("::")) {
            let kinds = ["portable", "threads", "pool", "loop"];
            let kind = other.or(kinds.into_iter().find(|kind| backend.contains(kind)));
            let Some(kind) = kind else { continue };
            if !ways.contains(&kind) {
                ways.push(kind);
            }
            cases.insert(case);
            runs += 1;
        }
    }
    (runs > 0).then_some(())?;
    let (count, of) = (cases.len(), ways.len());
    let text = format!("{count} x {of} ({}); {runs} runs passed, {failed} failed", ways.join(", "));
    measured(if failed == 0 { count as f64 } else { 0.0 }, of as f64, text)
}

fn differential(logs: &Logs) -> Option<Measured> {
    let line = line_with(logs.log("differential")?, " scripts gave the same")?;
    let scripts = before(line, " scripts gave the same")?;
    measured(scripts, 0.0, format!("{scripts} scripts"))
}

fn faults(logs: &Logs) -> Option<Measured> {
    let tried: Vec<&Record> = logs
        .records
        .iter()
        .filter(|r| r.suite == "faults" && ERRNO_ROWS.contains(&&*r.row))
        .filter(|r| r.outcome != Outcome::Skipped && r.injected.unwrap_or(0) > 0)
        .collect();
    let survived = tried.iter().filter(|r| r.outcome == Outcome::Passed).count();
    let cases: HashSet<(&str, &str)> = tried.iter().map(|r| (&*r.row, &*r.case)).collect();
    (!tried.is_empty()).then_some(())?;
    let text = format!("{survived} / {} ({} cases on the backends)", tried.len(), cases.len());
    measured(survived as f64, tried.len() as f64, text)
}

fn drain(logs: &Logs) -> Option<Measured> {
    let log = logs.log("drain")?;
    let lines =
        log.lines().filter(|line| line.contains(" drains under ") && line.contains(" 0 failed"));
    let (mut requests, mut rounds) = (0.0, 0.0);
    for line in lines {
        requests += before(line, " requests")?;
        rounds += before(line, " drains under ")?;
    }
    (requests > 0.0).then_some(())?;
    measured(0.0, requests, format!("0 of {requests} in {rounds} drains"))
}

fn replaced(logs: &Logs) -> Option<Measured> {
    let log = logs.log("drain")?;
    let clean = " 0 refused, 0 reset, 0 lost";
    let lines =
        log.lines().filter(|line| line.contains(" replacements under ") && line.contains(clean));
    let (mut requests, mut rounds) = (0.0, 0.0);
    for line in lines {
        requests += before(line, " requests")?;
        rounds += before(line, " replacements under ")?;
    }
    (requests > 0.0).then_some(())?;
    measured(0.0, rounds, format!("0 of {requests} in {rounds} restarts"))
}

/// The table of `cargo bench --bench cost -- memory`.
fn idle(logs: &Logs) -> Option<Measured> {
    let log = logs.log("memory")?;
    let count = before(line_with(log, " idle connections, each used once")?, " idle connections")?;
    let row = rows(log).find(|row| row.first() == Some(&"event-loop:1"))?;
    let bytes = row.last()?.parse::<f64>().ok()?;
    measured(bytes, count, format!("{count}, {bytes} B each"))
}

fn threads(logs: &Logs) -> Option<Measured> {
    let record = logs
        .records
        .iter()
        .find(|r| r.suite == "faults" && r.case == "idle-thousands" && r.backend == "threads")?;
    let figure = |name: &str| record.figures.iter().find(|f| f.name == name).map(|f| f.value);
    let (count, kib) = (figure("connections")?, figure("memory of each")? / 1024.0);
    measured(kib, count, format!("{count}, {kib:.1} KiB each"))
}

/// The largest of a figure over all backends, and which had it.
fn most(logs: &Logs, cases: &[&str], name: &str, unit: &str) -> Option<Measured> {
    let mut seen = HashSet::new();
    let mut found: Vec<(f64, String)> = Vec::new();
    for record in logs.records.iter().filter(|r| r.suite == "faults") {
        let case = format!("{}/{}", record.row, record.case);
        if !cases.contains(&&*case) {
            continue;
        }
        for figure in record.figures.iter().filter(|f| f.name == name && f.unit == unit) {
            found.push((figure.value, format!("{case} on {}", record.backend)));
            seen.insert(case.clone());
        }
    }
    // The largest of some is not the largest of all.
    (seen.len() == cases.len()).then_some(())?;
    let (value, whose) = found.into_iter().max_by(|a, b| a.0.total_cmp(&b.0))?;
    measured(value, 0.0, format!("at most {value:.1} {unit} ({whose})"))
}

fn ends(logs: &Logs) -> Option<Measured> {
    let mut slowest: Option<(Duration, f64)> = None;
    for line in logs.log("leaks")?.lines().filter(|line| line.contains(" ends took ")) {
        let (n, (_, last)) = (before(line, " ends took ")?, line.rsplit_once(" to ")?);
        let (last, n) = (duration(last)?, n);
        slowest = Some(slowest.map_or((last, n), |(other, m)| (other.max(last), f64::min(m, n))));
    }
    let (last, n) = slowest?;
    let ms = last.as_secs_f64() * 1e3;
    measured(ms, n, format!("{ms:.2} ms of {n} on each backend"))
}

fn fuzz(logs: &Logs) -> Option<Measured> {
    let count = |row: &Vec<&str>| -> Option<f64> {
        // Name, executions, each second, corpus, memory.
        (row.len() == 5 && row[4].ends_with("MiB")).then(|| row[1].parse().ok())?
    };
    let of = |log: &str| {
        let mut found = std::collections::HashMap::new();
        rows(log).filter_map(|row| Some((row[0].to_owned(), count(&row)?))).for_each(
            |(name, n)| {
                found.insert(name, n);
            },
        );
        let least = found.values().copied().reduce(f64::min);
        least.map(|least| (least, found.len(), found.values().sum::<f64>()))
    };
    let published = fs::read_to_string(logs.root.join("docs/proofs.md")).ok();
    let published = published.as_deref().and_then(of);
    let (least, targets, sum) = of(logs.log("fuzz")?)?;
    let published = published.map_or_else(String::new, |(least, _, sum)| {
        format!("; published in docs/proofs.md: {least}, {sum} in all")
    });
    let failed = logs.step("fuzz").is_none_or(|step| step.code != 0);
    let value = if failed { 0.0 } else { least };
    measured(value, 0.0, format!("{least} ({targets} targets, {sum} in all){published}"))
}

fn corpus(logs: &Logs) -> Option<Measured> {
    let result = counts(logs.log("corpus")?);
    (result.passed > 0 && result.failed == 0).then_some(())?;
    let of = |folder: &str| files(&logs.root.join("fuzz").join(folder));
    let (corpus, regressions) = (of("corpus"), of("regressions"));
    let sum = (corpus + regressions) as f64;
    measured(sum, 0.0, format!("{sum} ({regressions} of them once broke a law)"))
}

fn files(folder: &Path) -> usize {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|e| if e.path().is_dir() { files(&e.path()) } else { 1 }).sum()
}

fn models(logs: &Logs) -> Option<Measured> {
    let log = logs.log("models")?;
    let count = passed(log).filter(|name| name.contains("model")).count();
    (count > 0).then_some(())?;
    measured(count as f64, 0.0, format!("{count}, every order of their steps"))
}

/// `N mutants tested in T: A missed, B caught, C unviable`, as cargo-mutants ends.
fn mutants(logs: &Logs) -> Option<Measured> {
    let line = line_with(logs.log("mutants")?, " mutants tested")?;
    let part = |what| before(line, what).unwrap_or(0.0);
    let (missed, caught) = (part(" missed"), part(" caught") + part(" timeouts"));
    (missed + caught > 0.0).then_some(())?;
    let percent = 100.0 * caught / (missed + caught);
    measured(percent, 0.0, format!("{percent:.0} % of {}", missed + caught))
}

/// The last line of cargo-llvm-cov: the lines' percentage is the third of three, or of four.
fn coverage(logs: &Logs) -> Option<Measured> {
    let line = line_with(logs.log("coverage")?, "TOTAL")?;
    let percents: Vec<f64> =
        line.split_whitespace().filter_map(|word| word.strip_suffix('%')?.parse().ok()).collect();
    let percent = *percents.get(2)?;
    measured(percent, 0.0, format!("{percent} %"))
}

fn unsafe_code(logs: &Logs) -> Option<Measured> {
    let (mut count, mut modules) = (0, 0);
    each_source(&logs.root.join("src"), &mut |text| {
        let here = text
            .lines()
            .map(|line| line.split("//").next().unwrap_or_default())
            .flat_map(|line| line.split(|c: char| !c.is_alphanumeric() && c != '_'))
            .filter(|word| *word == "unsafe")
            .count();
        count += here;
        modules += usize::from(here > 0);
    });
    let text = format!("{count}, in {modules} file{}", if modules == 1 { "" } else { "s" });
    measured(count as f64, modules as f64, text)
}

fn each_source(folder: &Path, look: &mut impl FnMut(&str)) {
    for path in fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()) {
        if path.is_dir() {
            each_source(&path, look);
        } else if let Ok(text) = fs::read_to_string(&path) {
            look(&text);
        }
    }
}

/// `cargo metadata --no-deps`.
fn dependencies(logs: &Logs) -> Option<Measured> {
    let line = line_with(logs.log("dependencies")?, "\"packages\"")?;
    let metadata: serde_json::Value = serde_json::from_str(line).ok()?;
    let all = metadata["packages"][0]["dependencies"].as_array()?;
    let mut names: Vec<&str> = all
        .iter()
        .filter(|d| d["kind"].is_null() && d["optional"] == false)
        .filter_map(|d| d["name"].as_str())
        .collect();
    names.sort_unstable();
    names.dedup();
    measured(names.len() as f64, 0.0, format!("{}: {}", names.len(), names.join(", ")))
}

/// The rows that `tests/soak` prints: backend, seconds, connections, MiB checked, ..., memory before
/// and after. It fails by itself when descriptors or threads are not as before, or memory grows.
fn soak(logs: &Logs) -> Option<Measured> {
    let (mut least, mut connections, mut mib, mut growth) = (f64::INFINITY, 0.0, 0.0, f64::MIN);
    for row in rows(logs.log("soak")?).filter(|row| row.len() == 11) {
        let number = |cell: &str| cell.trim_end_matches([' ', 's']).parse::<f64>().ok();
        let (before, after) = row[10].trim_end_matches(" KiB").split_once(" → ")?;
        let (before, after) = (number(before)?, number(after)?);
        least = f64::min(least, number(row[1])?);
        connections += number(row[2])?;
        mib += number(row[3])?;
        growth = f64::max(growth, 100.0 * (after - before) / before);
    }
    (connections > 0.0).then_some(())?;
    let text = format!(
        "{least} s on each backend, {connections} connections, {mib} MiB checked; memory {growth:+.1} \
         % at most, descriptors and threads as before"
    );
    measured(least, connections, text)
}

fn line_with<'a>(log: &'a str, part: &str) -> Option<&'a str> {
    log.lines().rfind(|line| line.contains(part))
}
