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
/// written, and the example `custom_backend` for both of them.
///
/// The smallest of all serves one connection at a time, on the thread that serves:
///
/// ```
/// use polyserve::{Acceptor, Backend, Scratch, ServeError};
/// # use polyserve::{Action, BoxError, Client, Context, Handler, Input};
/// # struct Echo;
/// # impl Handler for Echo {
/// #     fn on_data(&mut self, input: &mut Input<'_>, cx: &mut Context<'_>) -> Result<Action, BoxError> {
/// #         cx.send(input.take());
/// #         Ok(Action::Continue)
/// #     }
/// # }
///
/// #[derive(Debug)]
/// struct OneAtATime;
///
/// impl Backend for OneAtATime {
///     fn run(&mut self, acceptor: &Acceptor) -> Result<(), ServeError> {
///         let mut scratch = Scratch::new();
///         while let Some(session) = acceptor.accept()? {
///             session.run(&mut scratch);
///         }
///         Ok(())
///     }
///
///     fn default_max_connections(&self) -> usize {
///         1 // the others wait in the backlog
///     }
/// }
/// # let server = polyserve::Server::builder().backend(OneAtATime).bind("127.0.0.1:0")?.spawn(|_| Echo)?;
/// # for _ in 0..2 {
/// #     let mut client = Client::connect(&server.local_addrs()[0])?;
/// #     client.send(b"hello")?;
/// #     client.shutdown_write()?;
/// #     assert_eq!(client.recv_to_end(100)?, b"hello");
/// # }
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
