//! What can end a comparison.

use crate::handler::BoxError;
use std::io;
use std::time::Duration;

/// Why a comparison came to no result.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CompareError {
    /// There is nothing to compare, or what was asked for contradicts itself.
    #[error("nothing can be compared: {problem}")]
    Setup {
        /// What is missing.
        problem: String,
    },
    /// A server did not start, or did not say what it spent.
    #[error("the server of {contender} for {case:?} {problem}")]
    Server {
        /// The case.
        case: String,
        /// The strategy.
        contender: String,
        /// What it did, or did not.
        problem: String,
    },
    /// The load could not be made, or was answered wrongly.
    #[error("{contender} at {point} for {case:?}")]
    Load {
        /// The case.
        case: String,
        /// The strategy.
        contender: String,
        /// The setting of the load, in words.
        point: String,
        /// What happened.
        source: LoadError,
    },
    /// A report could not be written.
    #[error("the report can not be written to {path:?}")]
    Write {
        /// The file or directory.
        path: std::path::PathBuf,
        /// Why not.
        source: io::Error,
    },
}

/// What ended the load on a server.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoadError {
    /// A connection was not to be had.
    #[error("connection {connection} could not be made")]
    Connect {
        /// Its number, from 0.
        connection: usize,
        /// Why not.
        source: io::Error,
    },
    /// A response was not what it had to be.
    #[error("the response to request {number} on connection {connection} is wrong")]
    WrongResponse {
        /// The connection's number, from 0.
        connection: usize,
        /// The request's number on that connection, from 0.
        number: u64,
        /// What is wrong with it.
        source: BoxError,
    },
    /// Bytes came that nobody asked for.
    #[error("{got} bytes came on connection {connection} behind the last response")]
    Unasked {
        /// The connection's number, from 0.
        connection: usize,
        /// How many bytes.
        got: usize,
    },
    /// The server closed a connection.
    #[error("the server closed connection {connection}")]
    Closed {
        /// The connection's number, from 0.
        connection: usize,
    },
    /// A socket failed.
    #[error("connection {connection} failed")]
    Socket {
        /// The connection's number, from 0.
        connection: usize,
        /// How.
        source: io::Error,
    },
    /// Waiting for the sockets failed.
    #[error("the load can not wait for its sockets")]
    Wait {
        /// How.
        source: io::Error,
    },
    /// There was no response in time.
    #[error("no response within {within:?}")]
    Silent {
        /// How long was waited.
        within: Duration,
    },
    /// A load thread panicked: most likely in the [`Exchange`](super::Exchange).
    #[error("a thread of the load panicked: {message}")]
    Panic {
        /// What it said.
        message: String,
    },
}
