//! Instructions of the server for each request, in user space, as callgrind counts them: with
//! everything that can be left out left out, and with each observer, limit and time-out on its own.
//! None of them may add more than a few, while it has nothing to do. And no request on one loop may take a
//! lock or allocate.
//!
//! ```sh
//! cargo bench --bench instructions                  # the table of docs/benchmarks.md: some minutes
//! cargo bench --bench instructions -- floor         # no lock and no allocation: some seconds
//! cargo bench --bench instructions -- --test        # the event loop, with fewer requests
//! cargo bench --bench instructions -- profile       # which functions they are in
//! cargo bench --bench instructions -- profile Idle  # and with one thing on
//! ```
//! The server is this program once more, under valgrind. It serves so many requests, and so many
//! more in another run: the difference is what the requests took, and nothing of the start is in it.
//! Without valgrind it says SKIP; with `POLYSERVE_REQUIRE=1` it fails.

#[cfg(target_os = "linux")]
mod common;

#[cfg(target_os = "linux")]
#[path = "instructions/mod.rs"]
mod instructions;

#[cfg(target_os = "linux")]
fn main() {
    instructions::main();
}

#[cfg(not(target_os = "linux"))]
fn main() {
    println!("SKIP: callgrind is run on Linux only");
}
