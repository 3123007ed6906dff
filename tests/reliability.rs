//! `docs/reliability.md` held against the tests that it names. (The suites of faults and of the drain do
//! that for their own cases, since they alone know all their names.)

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// The rows that there must be.
const ROWS: [(&str, u32); 7] =
    [("A", 15), ("R", 20), ("E", 10), ("S", 12), ("U", 4), ("C", 5), ("K", 1)];

/// Where the tests of a suite are.
const SUITES: [(&str, &str); 17] = [
    ("architecture", "tests/architecture.rs"),
    ("client", "tests/client"),
    ("codec_memory", "tests/codec_memory.rs"),
    ("codecs", "tests/codecs.rs"),
    ("corpus", "tests/corpus.rs"),
    ("framed", "tests/framed.rs"),
    ("leaks", "tests/leaks.rs"),
    ("lifecycle", "tests/lifecycle.rs"),
    ("lockstep", "tests/lockstep.rs"),
    ("model", "src"),
    ("observers", "tests/observers.rs"),
    ("pool", "tests/pool.rs"),
    ("scenarios", "tests/scenarios"),
    ("services", "tests/services"),
    ("unit", "src"),
    ("unix", "tests/unix.rs"),
    ("wrong_backends", "tests/wrong_backends"),
];

/// The rows of all tables: the row's name, and its proofs, as suite and test.
fn rows() -> Vec<(String, Vec<(String, String)>)> {
    let text = fs::read_to_string("docs/reliability.md").unwrap();
    let lines = text.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| row"));
    let rows = lines.map(|line| {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        assert_eq!(cells.len(), 6, "four columns: {line}");
        assert!(cells[1..5].iter().all(|cell| !cell.is_empty()), "nothing is left out: {line}");
        let proofs = cells[4].split_whitespace().map(|proof| {
            let name = proof.strip_prefix('`').and_then(|proof| proof.strip_suffix('`'));
            let (suite, test) = name.and_then(|name| name.split_once("::")).expect(proof);
            (suite.to_owned(), test.to_owned())
        });
        (cells[1].to_owned(), proofs.collect())
    });
    rows.collect()
}

/// All sources below a path, in one text.
fn sources(path: &Path) -> String {
    if path.is_file() {
        return fs::read_to_string(path).unwrap();
    }
    let entries = fs::read_dir(path).unwrap_or_else(|error| panic!("{path:?}: {error}"));
    entries.map(|entry| sources(&entry.unwrap().path())).collect()
}

fn text_of(suite: &str, path: &Path) -> String {
    if suite == "corpus" && !path.exists() { String::new() } else { sources(path) }
}

#[test]
fn each_row_is_there_once_and_has_a_proof() {
    let rows = rows();
    let names: BTreeSet<&str> = rows.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names.len(), rows.len(), "a row is there twice");
    for (letter, count) in ROWS {
        for name in (1..=count).map(|number| format!("{letter}{number}")) {
            assert!(names.contains(&*name), "there is no row {name}");
        }
    }
    for (name, proofs) in &rows {
        assert!(!proofs.is_empty(), "row {name} has no proof");
    }
}

#[test]
fn each_test_that_is_named_exists() {
    let conformance = fs::read_to_string("src/testing/conformance/list.rs").unwrap();
    let suites: Vec<(&str, String)> =
        SUITES.iter().map(|(suite, path)| (*suite, text_of(suite, Path::new(path)))).collect();
    for (row, proofs) in rows() {
        for (suite, test) in proofs {
            let exists = match suite.as_str() {
                "faults" => test.starts_with(&format!("{row}/")),
                // What is named after no row belongs where it is named.
                "drain" => test.starts_with(&format!("{row}/")) || test.starts_with("activated/"),
                // The package leaves the corpus out.
                "corpus" if !Path::new("tests/corpus.rs").exists() => true,
                "conformance" => conformance.contains(&format!(" {test};")),
                _ => {
                    let (_, text) = suites.iter().find(|(name, _)| *name == suite).expect(&suite);
                    text.contains(&format!("fn {test}("))
                }
            };
            assert!(exists, "row {row} names {suite}::{test}, which does not exist");
        }
    }
}
