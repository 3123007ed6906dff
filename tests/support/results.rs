//! What came out of each case, for programs to read: with `POLYSERVE_RESULTS=FILE` in the
//! environment, every case that ran appends one line of JSON to that file.
//!
//! ```json
//! {"suite":"faults","row":"A1","case":"real-ulimit","backend":"pool:2","outcome":"passed","injected":61,"figures":[{"name":"cpu","value":0.4,"unit":"% of a core"}],"ms":1520,"reason":null}
//! ```
//! The keys, always all of them and in this order:
//!
//! - `suite`: the tests that the case belongs to: `faults`, or the name of another test program
//! - `row`: the row of docs/reliability.md that the case proves, such as `A1` or `E2b`
//! - `case`: what was done, unique within its row
//! - `backend`: as it is named on the command line of the examples, with `portable-` before those
//!   that wait by `polling` alone; `-` where no server's backend matters
//! - `outcome`: `passed`, `failed`, or `skipped`, which is neither
//! - `injected`: how often the fault was seen to happen: failed calls, packets dropped, bytes held
//!   up, clients that misbehave; null where the case is no fault, or asserts it in another way
//! - `figures`: what was measured, each with `name`, `value` (a number) and `unit`
//! - `ms`: how long the case took, in milliseconds, without waiting for the machine
//! - `reason`: the message of a failure, or why the case was skipped; else null
//!
//! Lines are appended whole, also by several programs at once, in no particular order. A case that
//! ran several times has several lines.

// Every test binary compiles this file for itself, and uses a part of it.
#![allow(dead_code)]

use std::any::Any;
use std::cell::RefCell;
use std::fs::OpenOptions;
use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::time::Instant;

/// What the case that runs on this thread has told of itself.
#[derive(Default)]
struct Told {
    injected: Option<u64>,
    figures: Vec<(String, f64, String)>,
    skipped: Option<String>,
}

thread_local! {
    static TOLD: RefCell<Told> = RefCell::default();
}

/// The case that runs on this thread has seen this many more faults.
pub(crate) fn injected(count: usize) {
    TOLD.with_borrow_mut(|told| *told.injected.get_or_insert(0) += count as u64);
}

/// The case that runs on this thread has measured something.
pub(crate) fn figure(name: &str, value: f64, unit: &str) {
    assert!(value.is_finite(), "{name} is no number: {value}");
    TOLD.with_borrow_mut(|told| told.figures.push((name.to_owned(), value, unit.to_owned())));
}

/// The case that runs on this thread cannot do what it is for.
pub(crate) fn skipped(reason: &str) {
    TOLD.with_borrow_mut(|told| told.skipped = Some(reason.to_owned()));
}

/// How a case ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Outcome {
    Passed,
    Failed,
    Skipped,
}

/// Which case it is that runs.
pub(crate) struct Case<'a> {
    pub(crate) suite: &'a str,
    pub(crate) row: &'a str,
    pub(crate) case: &'a str,
    pub(crate) backend: &'a str,
}

impl Case<'_> {
    /// Runs the case on this thread, and appends what came out of it. A panic is its failure, and
    /// goes on when that is written; so does an `Err`.
    pub(crate) fn run(&self, test: impl FnOnce() -> Result<(), String>) -> Result<Outcome, String> {
        TOLD.take();
        let began = Instant::now();
        let ended = catch_unwind(AssertUnwindSafe(test));
        let ms = began.elapsed().as_millis();
        let told = TOLD.take();
        let (outcome, reason) = match &ended {
            Err(panic) => (Outcome::Failed, Some(message(&**panic))),
            Ok(Err(error)) => (Outcome::Failed, Some(error.clone())),
            Ok(Ok(())) if told.skipped.is_some() => (Outcome::Skipped, told.skipped.clone()),
            Ok(Ok(())) => (Outcome::Passed, None),
        };
        append(&self.line(outcome, &told, ms, reason.as_deref()));
        ended.unwrap_or_else(|panic| resume_unwind(panic)).map(|()| outcome)
    }

    fn line(&self, outcome: Outcome, told: &Told, ms: u128, reason: Option<&str>) -> String {
        let figures = told.figures.iter().map(|(name, value, unit)| {
            format!(r#"{{"name":{},"value":{value},"unit":{}}}"#, quoted(name), quoted(unit))
        });
        let figures = figures.collect::<Vec<_>>().join(",");
        let outcome = format!("{outcome:?}").to_lowercase();
        let injected = told.injected.map_or("null".to_owned(), |count| count.to_string());
        let reason = reason.map_or("null".to_owned(), quoted);
        let [suite, row, case, backend] =
            [self.suite, self.row, self.case, self.backend].map(quoted);
        format!(
            r#"{{"suite":{suite},"row":{row},"case":{case},"backend":{backend},"outcome":"{outcome}","injected":{injected},"figures":[{figures}],"ms":{ms},"reason":{reason}}}"#
        )
    }
}

fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
    text.unwrap_or_else(|| "a panic without a message".to_owned())
}

/// A string of JSON (RFC 8259, section 7).
fn quoted(text: &str) -> String {
    let mut quoted = String::from('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            c if c < ' ' => quoted.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

/// One write to a file that is open for appending does not mix with those of others.
fn append(line: &str) {
    let Some(path) = std::env::var_os("POLYSERVE_RESULTS") else { return };
    let file = OpenOptions::new().create(true).append(true).open(&path);
    let written = file.and_then(|mut file| file.write_all(format!("{line}\n").as_bytes()));
    written.unwrap_or_else(|error| panic!("{path:?} cannot be written: {error}"));
}
