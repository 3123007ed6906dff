//! See `benches/instructions.rs`.

mod callgrind;
mod floor;
mod variant;

use callgrind::{Counted, count};
use std::collections::BTreeMap;
use std::io::Read;
use variant::Variant;

/// What something that is not used may add to a request.
const MOST: f64 = 20.0;
/// What adds more than that, and how much it adds at most: where the oldest idle connection makes room, each
/// turn notes, under the lock of all live ones, whether its own is idle. It is not a default.
const KNOWN: [(Variant, f64); 1] = [(Variant::OldestIdle, 300.0)];
const BACKENDS: [&str; 3] = ["event-loop:1", "pool:2", "threads"];
/// How many requests are made before, and how many more are then counted.
const BEFORE: u64 = 500;
const REQUESTS: u64 = 10_000;
const FEW_REQUESTS: u64 = 4_000;
/// How much more than they may they seem to add, where there are few requests: what the system's
/// scheduling adds to either run is a larger part of them then.
const BLUR: f64 = 20.0;
/// How many functions the profile names.
const NAMED: usize = 25;

pub(crate) fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if let [serve, backend, variant] = &args[..]
        && serve == "--serve"
    {
        return serve_until_stdin_ends(backend, variant);
    }
    if !callgrind::is_there() {
        let required = std::env::var_os("POLYSERVE_REQUIRE").is_some_and(|value| value == "1");
        assert!(!required, "required, but valgrind cannot be run");
        return println!("SKIP: valgrind cannot be run");
    }
    if args.iter().any(|arg| arg == "profile") {
        let named = args.iter().find_map(|arg| arg.parse::<Variant>().ok());
        return profile(named.unwrap_or(Variant::Everything));
    }
    floor::check();
    if args.iter().any(|arg| arg == "floor") {
        return;
    }
    if args.iter().any(|arg| arg == "--test") {
        return table(&BACKENDS[..1], FEW_REQUESTS, BLUR);
    }
    table(&BACKENDS, REQUESTS, 0.0);
}

/// The server's part: it ends when its parent closes the pipe, or is gone.
fn serve_until_stdin_ends(backend: &str, variant: &str) {
    let variant = variant.parse::<Variant>().expect("the name of a variant");
    let server = variant.start(backend.parse().expect("the name of a backend"));
    println!("{}", server.local_addrs()[0]);
    let _ = std::io::stdin().read_to_end(&mut Vec::new());
}

/// For each backend, what each variant adds to the one in which all is off.
fn table(backends: &[&str], requests: u64, blur: f64) {
    println!("\n#### Instructions for each 64-byte echo, in user space ({requests} requests)\n");
    println!("| what is on | {} |", backends.join(" | "));
    println!("|---|{}", "---:|".repeat(backends.len()));
    let each = |backend: &str, variant: Variant| {
        let (before, after) = counted(backend, variant, requests);
        (after.total - before.total) as f64 / requests as f64
    };
    let least: Vec<f64> = backends.iter().map(|backend| each(backend, Variant::Nothing)).collect();
    let cells: Vec<String> = least.iter().map(|n| format!("{n:.0}")).collect();
    println!("| {} | {} |", Variant::Nothing.describe(), cells.join(" | "));
    let mut too_many = Vec::new();
    for variant in Variant::ALL.into_iter().filter(|variant| *variant != Variant::Nothing) {
        let more: Vec<f64> =
            backends.iter().zip(&least).map(|(backend, n)| each(backend, variant) - n).collect();
        let cells: Vec<String> = more.iter().map(|n| format!("{n:+.1}")).collect();
        println!("| {} | {} |", variant.describe(), cells.join(" | "));
        // All of them together are told, and not judged.
        let most = most(variant) + blur;
        if variant != Variant::Everything && more.iter().any(|n| *n > most) {
            too_many.push((variant.describe(), most));
        }
    }
    assert!(too_many.is_empty(), "these add more instructions than they may: {too_many:?}");
}

fn most(variant: Variant) -> f64 {
    KNOWN.iter().find(|(known, _)| *known == variant).map_or(MOST, |(_, most)| *most)
}

fn counted(backend: &str, variant: Variant, requests: u64) -> (Counted, Counted) {
    (count(backend, variant, BEFORE), count(backend, variant, BEFORE + requests))
}

/// Which functions the instructions are in.
fn profile(variant: Variant) {
    for backend in BACKENDS {
        println!("\n#### Where the instructions of `{backend}` are, for each 64-byte echo\n");
        println!("On: {}\n", variant.describe());
        println!("| function | instructions |");
        println!("|---|---:|");
        let (before, after) = counted(backend, variant, REQUESTS);
        let mut each: BTreeMap<String, f64> = BTreeMap::new();
        for (function, n) in after.functions {
            let n = n - before.functions.get(&function).copied().unwrap_or(0).min(n);
            each.insert(function, n as f64 / REQUESTS as f64);
        }
        let mut each: Vec<(String, f64)> = each.into_iter().collect();
        each.sort_by(|(_, a), (_, b)| b.total_cmp(a));
        for (function, n) in each.iter().take(NAMED).filter(|(_, n)| *n >= 1.0) {
            println!("| `{function}` | {n:.0} |");
        }
        let total = (after.total - before.total) as f64 / REQUESTS as f64;
        println!("| all | {total:.0} |");
    }
}
