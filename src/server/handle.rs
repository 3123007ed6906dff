//! A server that runs on a thread of its own, as its owner sees it.

use crate::acceptor::WeakAcceptor;
use crate::connection::panic_message;
use crate::handler::{Control, ControlTarget};
use crate::net::{Addr, Listener};
use crate::serve_error::ServeError;
use crate::session::Core;
use crate::shutdown::DrainReport;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// A server that runs in the background.
///
/// Dropping it drains the server with a deadline of 5 s, and waits for that. To let the server run
/// on without its handle, [`detach`](Self::detach) it.
///
/// ```
/// # use polyserve::{Action, BoxError, Context, Handler, Input};
/// # struct Echo;
/// # impl Handler for Echo {
/// #     fn on_data(&mut self, input: &mut Input<'_>, cx: &mut Context<'_>) -> Result<Action, BoxError> {
/// #         cx.send(input.take());
/// #         Ok(Action::Continue)
/// #     }
/// # }
/// use polyserve::Server;
/// use std::time::Duration;
///
/// let server = Server::builder().bind("127.0.0.1:0")?.spawn(|_peer| Echo)?;
/// println!("listening on {}", server.local_addrs()[0]);
///
/// let report = server.drain(Duration::ZERO, Duration::from_secs(10));
/// println!("{report}"); // drained in 0.000 s: 0 finished, 0 closed, 0 killed, 0 stuck
/// server.join()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "dropping the handle ends the server"]
pub struct ServerHandle {
    core: Arc<Core>,
    acceptor: WeakAcceptor,
    addrs: Vec<Addr>,
    thread: Option<JoinHandle<Result<(), ServeError>>>,
}

/// How long a server whose handle is dropped may take to finish.
const DROP_DEADLINE: Duration = Duration::from_secs(5);

impl ServerHandle {
    pub(super) fn new(
        core: Arc<Core>,
        acceptor: WeakAcceptor,
        addrs: Vec<Addr>,
        thread: JoinHandle<Result<(), ServeError>>,
    ) -> Self {
        Self { core, acceptor, addrs, thread: Some(thread) }
    }

    /// The addresses that the server listens on, in the order of the binds, with real ports.
    pub fn local_addrs(&self) -> &[Addr] {
        &self.addrs
    }

    /// A handle that steers the server from anywhere.
    pub fn control(&self) -> Control {
        Control(Arc::clone(&self.core) as _)
    }

    /// Drains the server and waits until that is done, or given up:
    ///
    /// | from | what happens |
    /// |---|---|
    /// | now | [`Control::is_draining`] is true. For `grace`, connections are still accepted and served. (Kubernetes ends a pod and takes it out of service at the same time, so new connections come for a while.) |
    /// | `grace` | Nobody can connect any more. The backlog is accepted, then the listeners are closed. Those that others accept from as well are left to them, with their backlogs: [`Listener::shared`]. |
    /// | then | Every handler is told by `on_shutdown`, after what its peer had sent before was shown to it. Idle connections are closed at once; busy ones may finish. One that was accepted less than 1 s ago and has said nothing yet is not idle: its first request is answered. |
    /// | `deadline` | What is left is closed: its output is written as far as the peer takes it at once, and it lingers for 0.8 s at most. |
    /// | `deadline` + 0.8 s | What is left is reset. |
    /// | `deadline` + 1 s | What is left is stuck: in a handler that does not return, or behind one on the same event loop. It is reported, and left to itself. This returns. |
    ///
    /// Each step comes as soon as the one before is done, so a server without busy connections is
    /// over in milliseconds after its grace; `grace` and `deadline` are both counted from now, and a
    /// `grace` beyond the deadline is cut to it. A server at its limit of connections tells its
    /// handlers first, and accepts its backlog as places become free, until the deadline.
    ///
    /// # What peers see
    ///
    /// No request is lost that the system had taken for the server before the drain told the
    /// handlers, nor the first request of any connection. A peer that sends another request on a
    /// connection that was idle may cross with the close: it finds a clean end before any byte of an
    /// answer, and knows that nothing was done. HTTP has the rule that it may ask again then (RFC
    /// 9112, section 9.5); [`client::Pool`](crate::client::Pool) does so. Where the protocol can say that
    /// the connection will be closed, a handler says so from [`Context::is_draining`] on, and the
    /// grace gives peers the time to hear it.
    ///
    /// On Linux nobody can connect between the last accept and the close, to be reset: the first
    /// packet of who tries is dropped, so that he is refused when he tries again a second later; where
    /// the backlog of a full server waits for places, when that is over, at the deadline at the latest.
    /// On other systems there is such a moment. On all of them, who had begun to connect before (his first
    /// packet was answered, his next is still on its way, as over a slow link) is reset when the listener
    /// closes, and knows that nothing was done.
    ///
    /// # Calling it twice
    ///
    /// It may be called again, also after [`Control::begin_drain`]; the earlier of all deadlines
    /// counts. On one of the server's own threads it begins the drain and returns at once, with a
    /// report that says `finished_all: false`.
    ///
    /// [`Context::is_draining`]: crate::Context::is_draining
    pub fn drain(&self, grace: Duration, deadline: Duration) -> DrainReport {
        self.core.begin_drain(grace, deadline);
        if !self.core.is_own_thread() {
            self.core.wait_for_end();
        }
        self.core.report(Instant::now())
    }

    /// Stops accepting, and gives back the listeners, open, for another server to go on with. When
    /// it returns, this server will not accept any more: who comes from then on, and who waits in a
    /// backlog, is the successor's. Connections that are open go on, until [`drain`](Self::drain).
    ///
    /// So a server takes over from another without a client being refused or reset, here in the
    /// same process. How to hand a listener to another process is told at [`Listener`].
    ///
    /// ```
    /// # use polyserve::{Action, BoxError, Context, Handler, Input};
    /// # struct Echo;
    /// # impl Handler for Echo {
    /// #     fn on_data(&mut self, input: &mut Input<'_>, cx: &mut Context<'_>) -> Result<Action, BoxError> {
    /// #         cx.send(input.take());
    /// #         Ok(Action::Continue)
    /// #     }
    /// # }
    /// use polyserve::{Client, Server, ThreadPool};
    /// use std::time::Duration;
    ///
    /// let old = Server::builder().bind("127.0.0.1:0")?.spawn(|_peer| Echo)?;
    /// let addr = old.local_addrs()[0].clone();
    ///
    /// let new = Server::builder().backend(ThreadPool::new(2));
    /// let new = new.listeners(old.take_listeners()?)?.spawn(|_peer| Echo)?;
    /// assert!(old.drain(Duration::ZERO, Duration::from_secs(15)).finished_all);
    ///
    /// let mut client = Client::connect(&addr)?;
    /// client.send(b"hello")?;
    /// assert_eq!(client.recv_until(b"o", 10)?, b"hello");
    /// # drop(client);
    /// # new.drain(Duration::ZERO, Duration::from_secs(15));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// A second call, and one after a drain has closed the listeners, returns none. The socket file
    /// of a Unix listener goes with the listener: the server that gave it away does not remove it.
    ///
    /// # Errors
    /// The process is out of descriptors. Nothing was taken, and the server goes on accepting.
    pub fn take_listeners(&self) -> io::Result<Vec<Listener>> {
        self.acceptor.take_listeners()
    }

    /// Waits until the server has ended, and tells why. It does not end it: that is up to a drain,
    /// a stop or a failure. A server that has ended with stuck handlers is not waited for.
    ///
    /// On one of the server's own threads it returns `Ok` at once.
    ///
    /// # Errors
    /// The server came to its end unasked; see [`ServeError`].
    pub fn join(mut self) -> Result<(), ServeError> {
        self.wait()
    }

    /// Lets the server run on without its handle.
    pub fn detach(mut self) {
        self.thread = None;
    }

    fn wait(&mut self) -> Result<(), ServeError> {
        let Some(thread) = self.thread.take() else { return Ok(()) };
        if self.core.is_own_thread() {
            return Ok(());
        }
        if !self.core.wait_for_end() && !thread.is_finished() {
            return Ok(()); // stuck: left to itself
        }
        match thread.join() {
            Ok(result) => result,
            Err(payload) => Err(ServeError::Panic(panic_message(payload))),
        }
    }
}

impl Drop for ServerHandle {
    fn drop(&mut self) {
        if self.thread.is_some() {
            self.core.begin_drain(Duration::ZERO, DROP_DEADLINE);
            let _ = self.wait();
        }
    }
}

impl fmt::Debug for ServerHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerHandle")
            .field("addrs", &self.addrs)
            .field("live", &self.core.live)
            .finish_non_exhaustive()
    }
}

impl Core {
    /// Waits until the backend has returned (`true`), or a drain has given up on what is left.
    fn wait_for_end(&self) -> bool {
        loop {
            let version = self.shutdown.version();
            let (next, give_up) = self.advance(Instant::now());
            if self.shutdown.has_ended() {
                return true;
            }
            if give_up {
                return self.wait_for_the_rest();
            }
            self.shutdown.wait(version, next);
        }
    }

    /// The server has given up on what is stuck. The backend may need a moment to come to its end
    /// with what it is left with.
    fn wait_for_the_rest(&self) -> bool {
        let until = Instant::now() + LAST_WAIT;
        loop {
            let version = self.shutdown.version();
            if self.shutdown.has_ended() || Instant::now() >= until {
                return self.shutdown.has_ended();
            }
            self.shutdown.wait(version, Some(until));
        }
    }
}

/// How long a backend may take to return after the server has given up on what is stuck.
const LAST_WAIT: Duration = Duration::from_millis(200);
