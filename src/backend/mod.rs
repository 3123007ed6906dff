//! Who runs a session, and when: the concurrency strategies.

mod event_loop;
mod listeners;
mod slots;
mod strategy;
mod thread_per_connection;
mod thread_pool;
mod threads;
mod timers;

pub use event_loop::EventLoop;
pub use strategy::{ParseStrategyError, Strategy};
pub use thread_per_connection::ThreadPerConnection;
pub use thread_pool::ThreadPool;

use crate::acceptor::Acceptor;
use crate::serve_error::ServeError;
use std::fmt::Debug;

/// A concurrency strategy: decides which thread runs a session, and when, and nothing else.
///
/// The three that come with the crate use nothing that is not public (but for the poller, in whose
/// place a backend of your own brings one), so a fourth is as good as they are. See
/// [`Session`](crate::Session) and [`Acceptor`] for the two styles in which a backend can be
/// written, and `examples/custom_backend.rs` for both of them.
pub trait Backend: Debug + Send + 'static {
    /// Runs the server until [`Acceptor::accept`] has returned `None`, or [`Acceptor::turn`]
    /// `Finished`. No session may be left when it returns, but those whose handlers are stuck.
    ///
    /// # Errors
    /// What makes the backend unable to run. Before the first call of the acceptor it means that
    /// the server did not start; later, the server is stopped.
    fn run(&mut self, acceptor: &Acceptor) -> Result<(), ServeError>;

    /// How many connections may be open at the same time, if
    /// [`Limits::max_connections`](crate::Limits::max_connections) does not say. Default: 10,000.
    fn default_max_connections(&self) -> usize {
        10_000
    }
}

impl Backend for Box<dyn Backend> {
    fn run(&mut self, acceptor: &Acceptor) -> Result<(), ServeError> {
        (**self).run(acceptor)
    }

    fn default_max_connections(&self) -> usize {
        (**self).default_max_connections()
    }
}
