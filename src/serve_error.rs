//! Why a server does not run.

use crate::addr::Addr;
use std::io;

/// A setting that cannot work. Nothing was started.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// No address was bound and no listener given.
    #[error("the server has nothing to listen on: expected at least one bind")]
    NoListener,
    /// A pool or an event loop of zero threads.
    #[error("0 workers cannot serve anybody: expected at least 1")]
    NoWorkers,
    /// More threads than a process can be sure to hold.
    #[error("{wanted} threads are more than a process can hold for sure: expected at most {max}")]
    TooManyThreads {
        /// The number of threads that the settings ask for.
        wanted: usize,
        /// The most that is allowed.
        max: usize,
    },
    /// A limit of zero connections.
    #[error("a limit of 0 connections serves nobody: expected at least 1")]
    NoConnections,
    /// The low mark is above the high one, or the high one above the hard one.
    #[error(
        "the output marks {low}, {high} and {hard} are out of order: expected low <= high <= hard"
    )]
    Marks {
        /// [`Limits::output_low`](crate::Limits::output_low)
        low: usize,
        /// [`Limits::output_high`](crate::Limits::output_high)
        high: usize,
        /// [`Limits::output_hard`](crate::Limits::output_hard)
        hard: usize,
    },
    /// An input limit of zero bytes.
    #[error("an input limit of 0 bytes lets no message in: expected at least 1")]
    NoInput,
}

/// Why a server did not start, or came to its end before it was asked to.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// The settings cannot work. Nothing was started.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The system has no room for what the backend needs: a thread, or a poller's descriptor.
    /// Nothing was started.
    #[error("the backend could not start")]
    Start(#[source] io::Error),
    /// The last listener has died. All connections were closed.
    #[error("the listener on {addr} has failed")]
    Listener {
        /// The address that it listened on.
        addr: Box<Addr>,
        /// What `accept` said.
        source: io::Error,
    },
    /// Waiting for events has failed. All connections were closed.
    #[error("waiting for events has failed")]
    Wait(#[source] io::Error),
    /// The backend ended without a reason of the library's. All connections were closed.
    #[error("the backend has failed")]
    Backend(#[source] crate::handler::BoxError),
    /// The backend panicked, with this message. All connections were closed.
    #[error("the backend panicked: {0}")]
    Panic(String),
}
