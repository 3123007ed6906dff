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
/// written, and `examples/custom_backend` for both of them. With the feature `testing`,
/// `polyserve::conformance!` holds a backend against everything that a
/// [`Handler`](crate::Handler) is promised.
///
/// # How a drain looks from here
///
/// A backend has nothing to do for a drain, a stop, a limit of connections or a pause: all of them
/// come as wakes, and as what the acceptor and the sessions want next. When a drain begins, the
/// acceptor is woken, wants no `read` any more (let go of the listeners then), and every session is
/// woken. The last of them to be dropped wakes the acceptor again, which then says that it is
/// finished. If a handler does not return, it says so one second after the drain's deadline.
///
/// # Example
///
/// A thread for each connection, all of them in one scope:
///
/// ```
/// use polyserve::{Acceptor, Backend, Scratch, ServeError};
///
/// #[derive(Debug)]
/// struct Scoped;
///
/// impl Backend for Scoped {
///     fn run(&mut self, acceptor: &Acceptor) -> Result<(), ServeError> {
///         std::thread::scope(|scope| {
///             while let Some(session) = acceptor.accept()? {
///                 scope.spawn(|| session.run(&mut Scratch::new()));
///             }
///             Ok(())
///         })
///     }
/// }
///
/// # use polyserve::{Action, BoxError, Context, Handler, Input, Server};
/// # use std::time::Duration;
/// # struct Echo;
/// # impl Handler for Echo {
/// #     fn on_data(&mut self, input: &mut Input<'_>, cx: &mut Context<'_>) -> Result<Action, BoxError> {
/// #         cx.send(input.take());
/// #         Ok(Action::Continue)
/// #     }
/// # }
/// let server = Server::builder().backend(Scoped).bind("127.0.0.1:0")?.spawn(|_peer| Echo)?;
/// assert!(server.drain(Duration::ZERO, Duration::from_secs(5)).finished_all);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
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
