//! Kits for tests of your own (feature `testing`).
//!
//! - [`Script`] plays bytes, errors and time into one connection, without a socket and without
//!   waiting: the way to test a [`Handler`](crate::Handler) of yours.
//! - [`for_every_split`] and [`assert_split_independent`] cut an input in every place: what comes
//!   in two pieces must mean the same as what comes in one.
//! - [`CodecLaws`] hold a codec of yours against what every codec must keep.
//! - [`TestServer`]: a server on a free port with a client that is connected to it.
//! - [`conformance`](mod@conformance): the questions that every backend has to answer, and
//!   [`conformance!`](crate::conformance!), which asks them all in a line or two.

mod codec_laws;
pub mod conformance;
mod script;
mod server;
mod split;

pub use codec_laws::{BrokenLaw, CodecLaws, Law};
pub use script::{Clock, Held, Script, TakenBytes};
pub use server::{Event, Events, Missing, TestServer};
pub use split::{assert_split_independent, for_every_split};
