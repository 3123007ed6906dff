//! `docs/reliability.md` names the cases of this suite: all of them, and no others.

use crate::table::Table;
use libtest_mimic::{Failed, Trial};
use std::collections::BTreeSet;

pub(crate) fn trial(table: &Table) -> Trial {
    let cases = table.cases().clone();
    Trial::test("documented", move || agrees(&cases))
}

fn agrees(cases: &BTreeSet<String>) -> Result<(), Failed> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/reliability.md");
    let text = std::fs::read_to_string(path)?;
    let tables = text.lines().filter(|line| line.starts_with('|'));
    let words = tables.flat_map(str::split_whitespace);
    let named: BTreeSet<String> = words
        .filter_map(|word| word.strip_prefix("`faults::")?.strip_suffix('`').map(str::to_owned))
        .collect();
    let unknown: Vec<_> = named.difference(cases).collect();
    let unnamed: Vec<_> = cases.difference(&named).collect();
    if unknown.is_empty() && unnamed.is_empty() {
        return Ok(());
    }
    Err(format!("there are no cases {unknown:?}, and it does not name {unnamed:?}").into())
}
