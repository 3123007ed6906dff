//! The same echo server and the same HTTP server on this crate and on its rivals, and what measures
//! and torments them.
//!
//! `protocol` and `servers` are what is compared; `child` starts one of them in a process of its own.
//! `load` is the closed loop, `idle` holds connections beside it, and `speed` takes the turns, of `bin/speed.rs`.
//! `survive` holds the faults of `bin/survive.rs`, `table` what is printed of them; `scorecard` makes a page
//! of the logs of all suites.

pub mod child;
pub mod idle;
pub mod load;
// What counts system calls for the crate's own benches counts them here.
#[allow(dead_code, reason = "here, it does not matter which calls they are")]
#[path = "../../cost/perf.rs"]
mod perf;
pub mod protocol;
pub mod scorecard;
pub mod servers;
pub mod speed;
pub mod survive;
pub mod table;
pub mod versions;
