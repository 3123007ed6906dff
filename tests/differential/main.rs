//! The same script, made of random numbers, on every backend: what comes out must be the same.
//!
//! ```sh
//! cargo test --all-features --test differential                # some hundred scripts
//! POLYSERVE_SCRIPTS=10000 cargo test --release --all-features --test differential -- --nocapture
//! POLYSERVE_SCRIPT=123 cargo test --all-features --test differential -- --nocapture
//! ```
//! The second makes the long run, whose result is in `docs/proofs.md`; the third plays one script,
//! and prints it. Each script is first played without a socket; see `generate.rs` for what they are
//! made of, and `handler.rs` for what of them is compared.

#![cfg(target_os = "linux")] // the clients have addresses of 127/8, which only Linux gives to all

mod coverage;
mod generate;
mod handler;
mod layer;
mod played;
mod program;
#[path = "../support/random.rs"]
mod random;
mod sockets;

use coverage::Coverage;
use generate::{MAX_EPISODES, generate};
use played::{Played, Style, Transcript, play};
use sockets::{BACKENDS, hush_scripts, play_all};
use std::sync::Arc;
use std::time::Instant;

/// How many scripts are played, if nobody asks for more.
const SCRIPTS: u64 = 400;
/// How many of them at a time.
const CHUNK: u64 = 500;

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} is a number")))
}

#[test]
fn every_backend_makes_the_same_of_a_script() {
    hush_scripts();
    if let Some(seed) = number("POLYSERVE_SCRIPT") {
        let program = generate(seed, MAX_EPISODES);
        println!("{program:#?}");
        let played = play_without_a_socket(seed, MAX_EPISODES);
        println!("{:#?}", played.transcript.log);
        check_all(seed..seed + 1, &mut columns());
        return;
    }
    let n = number("POLYSERVE_SCRIPTS").unwrap_or(SCRIPTS);
    let began = Instant::now();
    let mut columns = columns();
    let mut from = 0;
    while from < n {
        let to = n.min(from + CHUNK);
        check_all(from..to, &mut columns);
        from = to;
    }
    println!("{n} scripts gave the same on {BACKENDS:?} in {:?}", began.elapsed());
    coverage::report(&columns);
}

/// What each backend has come by, and the scripts without a socket.
fn columns() -> Vec<(String, Coverage)> {
    let names = std::iter::once("no socket").chain(BACKENDS);
    names.map(|name| (name.to_owned(), Coverage::default())).collect()
}

/// In each style of reading and writing it is the same.
fn play_without_a_socket(seed: u64, max_episodes: usize) -> Played {
    let program = Arc::new(generate(seed, max_episodes));
    let usual = play(&program, Style::Usual);
    for style in Style::ALL {
        let other = play(&program, style);
        if let Some(difference) = difference(&usual.transcript, &other.transcript) {
            panic!("script {seed}, {style:?}: {difference}");
        }
    }
    usual
}

fn check_all(seeds: std::ops::Range<u64>, columns: &mut [(String, Coverage)]) {
    let all: Vec<Played> =
        seeds.clone().map(|seed| play_without_a_socket(seed, MAX_EPISODES)).collect();
    all.iter().for_each(|played| columns[0].1.add(&played.coverage));
    for (name, coverage) in &mut columns[1..] {
        let mut failed = Vec::new();
        for ((seed, played), outcome) in seeds.clone().zip(&all).zip(play_all(name, &all)) {
            match outcome.and_then(|(transcript, seen)| {
                difference(&played.transcript, &transcript).map_or(Ok(seen), Err)
            }) {
                Ok(seen) => coverage.add(&seen),
                Err(difference) => failed.push((seed, difference)),
            }
        }
        if let Some((seed, difference)) = failed.first() {
            let seeds: Vec<u64> = failed.iter().map(|(seed, _)| *seed).collect();
            println!("{name}: scripts {seeds:?} failed");
            tell_smallest(name, *seed);
            panic!("{name}, POLYSERVE_SCRIPT={seed}: {difference}");
        }
    }
}

/// Leaves episodes out of a script for as long as it fails all the same, and prints what is left.
fn tell_smallest(name: &str, seed: u64) {
    for n_episodes in 0..=MAX_EPISODES {
        let played = play_without_a_socket(seed, n_episodes);
        let outcome = play_all(name, std::slice::from_ref(&played)).remove(0);
        let failed = match &outcome {
            Ok((transcript, _)) => difference(&played.transcript, transcript),
            Err(what) => Some(what.clone()),
        };
        if let Some(what) = failed {
            println!("with {n_episodes} episodes: {what}\n{:#?}", played.program);
            return println!("expected: {:?}", played.transcript.log);
        }
    }
    println!("script {seed} passes alone");
}

/// Where two transcripts differ, in words.
fn difference(expected: &Transcript, found: &Transcript) -> Option<String> {
    if expected == found {
        return None;
    }
    let same = expected.got.iter().zip(&found.got).take_while(|(a, b)| a == b).count();
    let shape = |t: &Transcript| {
        let Transcript { log, got, end, reason } = t;
        format!("{} bytes, {end:?}, {reason:?}, {log:?}", got.len())
    };
    Some(format!(
        "expected {}\nfound {}\nthe first {same} bytes are the same",
        shape(expected),
        shape(found)
    ))
}
