//! Replays what fuzzers have found: the corpus of each target, `fuzz/corpus/<target>`, and the inputs
//! that once broke a law, `fuzz/regressions/<target>`. It needs no fuzzer; DEVELOPERS.md tells how
//! to run one.

mod fuzzing;
// The codec of the example kv reads numbers by it.
#[path = "../examples/kv/number.rs"]
mod number;

use fuzzing::{Outcomes, TARGETS, Target};
use std::any::Any;
use std::collections::BTreeSet;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

/// The fewest inputs that the corpus of one target has, and all of them together.
const FEWEST: usize = 30;
const FEWEST_IN_ALL: usize = 1000;
/// Everybody who clones the repository fetches it.
const MOST_BYTES: usize = 3 * 1024 * 1024;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The files of a folder, sorted. There are none if it is not there.
fn files(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let mut files: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

fn corpus(target: &Target) -> Vec<PathBuf> {
    files(&root().join("fuzz/corpus").join(target.name))
}

fn regressions(target: &Target) -> Vec<PathBuf> {
    files(&root().join("fuzz/regressions").join(target.name))
}

/// Runs a target on a file, and tells what it has reached.
fn replay(target: &Target, file: &Path) -> Result<Outcomes, String> {
    let data = fs::read(file).unwrap();
    let run = catch_unwind(AssertUnwindSafe(|| (target.run)(&data)));
    run.map_err(|panic| {
        let file = file.strip_prefix(root()).unwrap_or(file).display();
        format!("{}, {file}: {}", target.name, message(&*panic))
    })
}

fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref().cloned()).unwrap_or_else(|| "a panic without words".into())
}

#[track_caller]
fn check(rule: &str, breaches: &[String]) {
    assert!(breaches.is_empty(), "{rule}:\n  {}", breaches.join("\n  "));
}

#[test]
fn nothing_in_the_corpus_breaks_a_law_and_it_reaches_what_it_should() {
    let (mut broken, mut missing) = (Vec::new(), Vec::new());
    for target in TARGETS {
        let mut reached = Outcomes::new();
        for file in corpus(target).iter().chain(&regressions(target)) {
            match replay(target, file) {
                Ok(outcomes) => reached.extend(outcomes),
                Err(breach) => broken.push(breach),
            }
        }
        let unreached = target.must_reach.iter().filter(|name| !reached.contains(*name));
        missing.extend(unreached.map(|name| format!("{}: {name}", target.name)));
    }
    check("laws that are broken", &broken);
    check("what the corpus does not reach any more", &missing);
}

#[test]
fn the_corpus_is_neither_poor_nor_heavy() {
    let (mut n_files, mut n_bytes) = (0, 0);
    for target in TARGETS {
        let files = corpus(target);
        assert!(files.len() >= FEWEST, "{} has {} inputs", target.name, files.len());
        n_files += files.len();
        n_bytes +=
            files.iter().map(|file| fs::metadata(file).unwrap().len() as usize).sum::<usize>();
    }
    assert!(n_files >= FEWEST_IN_ALL, "{n_files} inputs in all");
    assert!(n_bytes <= MOST_BYTES, "{n_bytes} bytes in all");
}

#[test]
fn every_target_has_a_program_and_every_corpus_a_target() {
    let ours: BTreeSet<String> = TARGETS.iter().map(|target| target.name.to_owned()).collect();
    assert_eq!(ours.len(), TARGETS.len(), "a name is there twice");
    let stem = |file: &PathBuf| file.file_stem().unwrap().to_str().unwrap().to_owned();
    let names = |folder| files(&root().join(folder)).iter().map(stem).collect::<BTreeSet<_>>();
    assert_eq!(names("fuzz/fuzz_targets"), ours);
    assert_eq!(names("fuzz/corpus"), ours);
    assert!(names("fuzz/regressions").is_subset(&ours));
    for name in &ours {
        let program = root().join("fuzz/fuzz_targets").join(name).with_extension("rs");
        let runs = format!("polyserve_fuzz::run(\"{name}\", data)");
        assert!(fs::read_to_string(program).unwrap().contains(&runs), "{name} runs another target");
    }
}

#[test]
fn a_broken_law_is_noticed() {
    fn broken(data: &[u8]) -> Outcomes {
        assert!(data.is_empty(), "there are bytes");
        Outcomes::new()
    }
    let target = Target { name: "broken", run: broken, must_reach: &[] };
    let file = root().join("Cargo.toml");
    assert_eq!(replay(&target, &file).unwrap_err(), "broken, Cargo.toml: there are bytes");
}

/// The codec of the documentation, and the copy of it that is fuzzed.
#[test]
fn the_netstrings_are_those_of_the_documentation() {
    let docs = fs::read_to_string(root().join("src/codec/mod.rs")).unwrap();
    let ours = fs::read_to_string(root().join("tests/fuzzing/netstrings.rs")).unwrap();
    let begin = "/// Netstrings: `5:hello,`. At most 999 bytes.";
    let shown: Vec<&str> = docs.lines().filter_map(|line| line.strip_prefix("//!")).collect();
    let shown: Vec<&str> =
        shown.iter().map(|line| line.strip_prefix(' ').unwrap_or(line)).collect();
    let from = shown.iter().position(|line| *line == begin).expect("the documentation shows them");
    let mut ours = ours.lines().skip_while(|line| *line != begin);
    for (number, shown) in shown[from..].iter().enumerate() {
        let copied = ours.next().expect("the copy has an end mark");
        if copied == "// The lines of the documentation end here." {
            assert!(number >= 40, "only {number} lines were compared");
            return;
        }
        assert_eq!(copied, *shown);
    }
    panic!("the documentation has fewer lines than the copy");
}
