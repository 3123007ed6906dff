//! What a request and an idle connection cost the server: system calls, CPU time, memory.
//!
//! ```sh
//! cargo bench --bench cost                  # everything: about a minute
//! cargo bench --bench cost -- syscalls      # one of: syscalls, cpu, memory, idle, stream
//! ```
//! It prints the tables of `docs/benchmarks.md`. The server runs in a process of its own (this
//! program again, with `--serve`), the load in this one; where there are two cores, each has one to
//! itself. System calls are counted by `perf stat` in the kernel; without `perf`, or the right to
//! use it, that part says SKIP.

#[cfg(target_os = "linux")]
mod common;

#[cfg(target_os = "linux")]
#[path = "cost/mod.rs"]
mod cost;

#[cfg(target_os = "linux")]
fn main() {
    cost::main();
}

#[cfg(not(target_os = "linux"))]
fn main() {
    println!("SKIP: this bench reads Linux' /proc");
}
