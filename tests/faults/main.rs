//! What the system can do to a server, done to one: every fault is injected into the system calls
//! of a server in a process of its own (by `strace`), or made for real (limits of descriptors and
//! threads, ports that are taken, signals), on each backend.
//!
//! ```sh
//! cargo test --all-features --test faults              # all of them
//! cargo test --all-features --test faults -- A1/       # one row of the table of faults
//! ```
//! The program is both the tests and, started with `serve`, the server. Rows whose tool is missing
//! print `SKIP`; with `POLYSERVE_REQUIRE=1` they fail. Every injected run asserts that something
//! was injected. `POLYSERVE_RESULTS=FILE` appends what came out of each case to that file, in the
//! form that tests/support/results.rs describes.

#[cfg(target_os = "linux")]
mod accept;
#[cfg(target_os = "linux")]
mod chaos;
#[cfg(target_os = "linux")]
mod client;
#[cfg(target_os = "linux")]
#[path = "../support/documented.rs"]
mod documented;
#[cfg(target_os = "linux")]
mod event_loop;
#[cfg(target_os = "linux")]
mod idle;
#[cfg(target_os = "linux")]
mod io;
#[cfg(target_os = "linux")]
mod launch;
#[cfg(target_os = "linux")]
mod lines;
#[cfg(target_os = "linux")]
mod network;
#[cfg(target_os = "linux")]
mod packets;
#[cfg(target_os = "linux")]
mod pattern;
#[cfg(target_os = "linux")]
mod process;
#[cfg(target_os = "linux")]
#[path = "../support/results.rs"]
mod results;
#[cfg(target_os = "linux")]
mod server;
#[cfg(target_os = "linux")]
mod slow;
#[cfg(target_os = "linux")]
mod start;
#[cfg(target_os = "linux")]
mod strace;
#[cfg(target_os = "linux")]
mod table;
#[cfg(target_os = "linux")]
mod talk;

#[cfg(target_os = "linux")]
fn main() -> std::process::ExitCode {
    if std::env::args_os().nth(1).is_some_and(|arg| arg == "serve") {
        return server::main();
    }
    let mut arguments = libtest_mimic::Arguments::from_args();
    // They wait most of the time. Those that measure have the machine to themselves.
    arguments.test_threads.get_or_insert(4);
    let mut table = table::Table::default();
    accept::rows(&mut table);
    start::rows(&mut table);
    io::rows(&mut table);
    event_loop::rows(&mut table);
    idle::rows(&mut table);
    slow::rows(&mut table);
    packets::rows(&mut table);
    chaos::rows(&mut table);
    process::rows(&mut table);
    let documented = documented::trial("faults", table.cases().clone());
    let mut trials = table.trials();
    trials.push(documented);
    let conclusion = libtest_mimic::run(&arguments, trials);
    // Those count among the passed above.
    println!("skipped for want of a tool or a feature: {}\n", table::skipped());
    conclusion.exit_code()
}

#[cfg(not(target_os = "linux"))]
fn main() {
    println!("SKIP: faults are injected on Linux only");
}
