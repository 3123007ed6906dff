//! A server under load and faults for minutes: every byte is checked, and what the server holds when
//! all have gone must not grow.
//!
//! ```sh
//! cargo test --all-features --test soak                                        # some seconds each
//! POLYSERVE_SOAK=600 cargo test --release --all-features --test soak -- --test-threads=5
//! ```
//! The second makes the long run, ten minutes for each backend, whose result is in
//! `docs/proofs.md`. The server is this program once more, in a process of its own. See `clients.rs`
//! for what is done to it.

#[cfg(target_os = "linux")]
mod account;
#[cfg(target_os = "linux")]
mod clients;
#[cfg(target_os = "linux")]
mod gauge;
#[cfg(target_os = "linux")]
#[path = "../support/random.rs"]
mod random;
#[cfg(target_os = "linux")]
mod run;
#[cfg(target_os = "linux")]
mod server;
#[cfg(target_os = "linux")]
mod wire;

#[cfg(target_os = "linux")]
fn main() -> std::process::ExitCode {
    if let Some(backend) = std::env::args().skip_while(|arg| arg != "serve").nth(1) {
        return server::main(&backend);
    }
    let arguments = libtest_mimic::Arguments::from_args();
    let trials = server::BACKENDS.map(|backend| {
        libtest_mimic::Trial::test(format!("soak/{backend}"), move || {
            run::soak(backend);
            Ok(())
        })
    });
    libtest_mimic::run(&arguments, trials.into()).exit_code()
}

#[cfg(not(target_os = "linux"))]
fn main() {
    println!("SKIP: what a process holds is read from Linux' /proc");
}
