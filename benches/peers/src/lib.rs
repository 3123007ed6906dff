//! The same echo server and the same HTTP server on this crate and on its rivals, and what measures
//! and torments them.
//!
//! `protocol` and `servers` are what is compared.

pub mod protocol;
pub mod servers;
pub mod versions;
