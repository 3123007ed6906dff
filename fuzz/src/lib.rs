//! The bodies of the targets, for the programs in `fuzz_targets`.

#[path = "../../tests/fuzzing/mod.rs"]
mod fuzzing;
// The codec of the example kv reads numbers by it.
#[path = "../../examples/kv/number.rs"]
mod number;

/// Runs a target on the fuzzer's bytes. Panics if a law is broken.
pub fn run(name: &str, data: &[u8]) {
    let target = fuzzing::TARGETS.iter().find(|target| target.name == name);
    (target.expect("a program has the name of a target").run)(data);
}
