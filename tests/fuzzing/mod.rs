//! What the fuzz targets do with their input.
//!
//! Each target is a plain function of bytes that panics when a law is broken, so it needs no fuzzer:
//! `tests/corpus.rs` plays the inputs that fuzzers have found, and `fuzz/` finds new ones. It
//! returns what it has seen, by name, so that a corpus which reaches less than it should is noticed.

mod codec;
mod connection;
mod delimited;
mod fixed;
mod framed;
mod http;
mod length_prefixed;
mod lines;
mod netstrings;
mod resp;

mod choices;
#[path = "../support/model.rs"]
mod model;

use std::collections::BTreeSet;

/// The names of what a run has reached.
pub(crate) type Outcomes = BTreeSet<&'static str>;

/// A fuzz target.
pub(crate) struct Target {
    /// Its name, which is also that of its program and of its corpus.
    pub(crate) name: &'static str,
    /// Runs it.
    pub(crate) run: fn(&[u8]) -> Outcomes,
    /// What its corpus has to reach.
    #[allow(dead_code)] // only the replay asks for it
    pub(crate) must_reach: &'static [&'static str],
}

/// All of them.
pub(crate) const TARGETS: &[Target] = &[
    Target { name: "lines", run: lines::target, must_reach: lines::MUST_REACH },
    Target { name: "delimited", run: delimited::target, must_reach: delimited::MUST_REACH },
    Target {
        name: "length_prefixed",
        run: length_prefixed::target,
        must_reach: length_prefixed::MUST_REACH,
    },
    Target { name: "fixed", run: fixed::target, must_reach: fixed::MUST_REACH },
    Target { name: "netstrings", run: netstrings::target, must_reach: netstrings::MUST_REACH },
    Target { name: "resp", run: resp::target, must_reach: resp::MUST_REACH },
    Target { name: "http", run: http::target, must_reach: http::MUST_REACH },
    Target { name: "framed", run: framed::target, must_reach: framed::MUST_REACH },
    Target { name: "connection", run: connection::target, must_reach: connection::MUST_REACH },
];
