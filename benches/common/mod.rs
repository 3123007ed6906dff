//! What the benches share: echo servers to measure, and a load that checks every byte.
#![allow(dead_code, reason = "each bench uses its own part")]

pub(crate) mod load;
pub(crate) mod servers;
