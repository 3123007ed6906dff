//! `docs/reliability.md` names the cases of a suite: all of them, and no others. Only the suite
//! itself knows what they are called.

use libtest_mimic::{Failed, Trial};
use std::collections::BTreeSet;

/// The test of that. A case is named as `SUITE::CASE`, without the backend that it ran on.
pub(crate) fn trial(suite: &'static str, cases: BTreeSet<String>) -> Trial {
    Trial::test("documented", move || agrees(suite, &cases))
}

fn agrees(suite: &str, cases: &BTreeSet<String>) -> Result<(), Failed> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/reliability.md");
    let text = std::fs::read_to_string(path)?;
    let tables = text.lines().filter(|line| line.starts_with('|'));
    let words = tables.flat_map(str::split_whitespace);
    let prefix = format!("`{suite}::");
    let named: BTreeSet<String> = words
        .filter_map(|word| word.strip_prefix(&prefix)?.strip_suffix('`').map(str::to_owned))
        .collect();
    let unknown: Vec<_> = named.difference(cases).collect();
    let unnamed: Vec<_> = cases.difference(&named).collect();
    if unknown.is_empty() && unnamed.is_empty() {
        return Ok(());
    }
    Err(format!("there are no cases {unknown:?}, and it does not name {unnamed:?}").into())
}
