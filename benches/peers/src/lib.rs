//! The same echo server and the same HTTP server on this crate and on its rivals, and what measures
//! and torments them.
//!
//! `protocol` and `servers` are what is compared; `child` starts one of them in a process of its own.
//! `survive` holds the faults of `bin/survive.rs`, `table` what is printed of them; `scorecard` makes a page
//! of the logs of all suites.

pub mod child;
pub mod protocol;
pub mod scorecard;
pub mod servers;
pub mod survive;
pub mod table;
pub mod versions;
