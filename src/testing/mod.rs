//! Kits for tests of your own (feature `testing`).
//!
//! - [`TestServer`]: a server on a free port with a client that is connected to it.
//! - [`conformance`](mod@conformance): the questions that every backend has to answer, and
//!   [`conformance!`](crate::conformance!), which asks them all in a line or two.

pub mod conformance;
mod server;

pub use server::{Event, Events, Missing, TestServer};
