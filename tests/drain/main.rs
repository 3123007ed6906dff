//! The end of a server while it is at work: drained under load, replaced under load, with clients and
//! handlers that are stuck, by signals; and its beginning with sockets that were passed to it.
//!
//! ```sh
//! cargo test --all-features --test drain                     # all of it, in short
//! POLYSERVE_ROUNDS=50 cargo test --release --all-features --test drain -- under-load
//! POLYSERVE_ROUNDS=20 cargo test --release --all-features --test drain -- replaced
//! ```
//! The program is both the tests and, started with `serve`, the server; with `conform`, it is the
//! conformance suite, to be disturbed. What needs a tool that is missing prints `SKIP`; with
//! `POLYSERVE_REQUIRE=1` it fails.

#[cfg(target_os = "linux")]
mod activated;
#[cfg(target_os = "linux")]
mod child;
#[cfg(target_os = "linux")]
#[path = "../support/documented.rs"]
mod documented;
#[cfg(target_os = "linux")]
mod load;
#[cfg(target_os = "linux")]
#[path = "../support/process.rs"]
mod process;
#[cfg(target_os = "linux")]
mod replaced;
#[cfg(target_os = "linux")]
mod rounds;
#[cfg(target_os = "linux")]
mod server;
#[cfg(target_os = "linux")]
mod signals;
#[cfg(target_os = "linux")]
mod stuck;

#[cfg(target_os = "linux")]
fn main() -> std::process::ExitCode {
    let args: Vec<String> = std::env::args().collect();
    match args.get(1).map(String::as_str) {
        Some("serve") => return server::main(),
        Some("conform") => return signals::conform(&args[2]),
        _ => (),
    }
    let mut arguments = libtest_mimic::Arguments::from_args();
    // Each has the machine to itself: it brings its load along.
    arguments.test_threads = Some(1);
    let trials = [
        rounds::trials(),
        replaced::trials(),
        stuck::trials(),
        signals::trials(),
        activated::trials(),
    ];
    let mut trials: Vec<_> = trials.into_iter().flatten().collect();
    let cases = trials.iter().map(|trial| case(trial.name()).to_owned()).collect();
    trials.push(documented::trial("drain", cases));
    libtest_mimic::run(&arguments, trials).exit_code()
}

/// What a test is called without its backend.
#[cfg(target_os = "linux")]
fn case(name: &str) -> &str {
    match name.rsplit_once('/') {
        Some((case, last)) if server::BACKENDS.contains(&last) => case,
        _ => name,
    }
}

/// A test that fails by a panic.
#[cfg(target_os = "linux")]
fn trial(name: String, test: impl FnOnce() + Send + 'static) -> libtest_mimic::Trial {
    libtest_mimic::Trial::test(name, move || {
        test();
        Ok(())
    })
}

#[cfg(not(target_os = "linux"))]
fn main() {
    println!("SKIP: servers are drained under load on Linux only");
}
