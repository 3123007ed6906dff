//! Steering a server from anywhere.

use super::info::ConnectionInfo;
use super::peer::ConnectionId;
use crate::observe::Snapshot;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// Steers a server from any thread, also from its own handlers.
///
/// From [`ServerHandle::control`](crate::ServerHandle::control),
/// [`Context::control`](crate::Context::control), and
/// [`Server::control`](crate::Server::control) before the server runs. No call of it blocks; all
/// may be repeated, and all do nothing once the server has ended.
///
/// ```
/// use polyserve::{Action, BoxError, Context, Handler, Input, Server};
/// use std::time::Duration;
///
/// /// A server that anybody may end.
/// struct Ends;
///
/// impl Handler for Ends {
///     fn on_data(&mut self, input: &mut Input<'_>, cx: &mut Context<'_>) -> Result<Action, BoxError> {
///         if input.take() == b"end" {
///             cx.control().begin_drain(Duration::ZERO, Duration::from_secs(5));
///         }
///         Ok(Action::Continue)
///     }
/// }
/// # use polyserve::Client;
/// # let server = Server::builder().bind("127.0.0.1:0")?.spawn(|_| Ends)?;
/// # let mut client = Client::connect(&server.local_addrs()[0])?;
/// # client.send(b"end")?;
/// # client.recv_to_end(10)?;
/// # drop(client);
/// # server.join()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Control(pub(crate) Arc<dyn ControlTarget>);

/// What a server does for its `Control`s.
pub(crate) trait ControlTarget: Send + Sync {
    fn begin_drain(&self, grace: Duration, deadline: Duration);
    fn stop(&self);
    fn is_draining(&self) -> bool;
    fn set_accepting(&self, accepting: bool);
    fn max_connections(&self) -> usize;
    fn set_max_connections(&self, max: usize) -> usize;
    fn close(&self, id: ConnectionId) -> bool;
    fn stats(&self) -> Snapshot;
    fn connections(&self) -> Vec<ConnectionInfo>;
}

impl Control {
    /// Begins to drain and returns at once: see
    /// [`ServerHandle::drain`](crate::ServerHandle::drain) for the steps and their times. Connections are still
    /// accepted for `grace`; those that are left after `deadline` (both counted from now) are
    /// closed by force. A later call can only bring the end closer.
    pub fn begin_drain(&self, grace: Duration, deadline: Duration) {
        self.0.begin_drain(grace, deadline);
    }

    /// Stops at once: listeners are closed, all connections are reset, with
    /// [`CloseReason::Killed`](crate::CloseReason::Killed).
    pub fn stop(&self) {
        self.0.stop();
    }

    /// Whether the server has begun to drain, or was stopped; also when it has ended. Connections are
    /// still accepted for the grace of the drain: what a probe for readiness is told is that no
    /// more should be sent here.
    ///
    /// ```
    /// use polyserve::codec::Lines;
    /// use polyserve::{Client, Framed, Server};
    /// use std::time::Duration;
    ///
    /// let server = Server::builder().bind("127.0.0.1:0")?.spawn(|_peer| {
    ///     Framed::new(Lines::new(), |_probe, replies| {
    ///         let ready = !replies.context().is_draining();
    ///         replies.send(if ready { "ready" } else { "not ready" })
    ///     })
    /// })?;
    ///
    /// let mut probe = Client::connect(&server.local_addrs()[0])?;
    /// probe.send(b"?\n")?;
    /// assert_eq!(probe.recv_until(b"\n", 20)?, b"ready\n");
    /// server.control().begin_drain(Duration::from_secs(5), Duration::from_secs(10));
    /// probe.send(b"?\n")?;
    /// assert_eq!(probe.recv_until(b"\n", 20)?, b"not ready\n");
    /// # drop(probe);
    /// # server.control().stop();
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn is_draining(&self) -> bool {
        self.0.is_draining()
    }

    /// Stops accepting until [`resume`](Self::resume). Connections that are open go on; new ones
    /// wait in the system's backlog.
    pub fn pause(&self) {
        self.0.set_accepting(false);
    }

    /// Accepts again after [`pause`](Self::pause).
    pub fn resume(&self) {
        self.0.set_accepting(true);
    }

    /// The most connections that may be open at the same time.
    pub fn max_connections(&self) -> usize {
        self.0.max_connections()
    }

    /// Changes [`Limits::max_connections`](crate::Limits::max_connections) from now on, and returns
    /// what it is then: at least 1, and at most what the process's limit of descriptors and the
    /// backend leave room for. Connections above a lowered limit are not closed.
    pub fn set_max_connections(&self, max: usize) -> usize {
        self.0.set_max_connections(max)
    }

    /// Closes a connection as [`Action::Close`](crate::Action::Close) does, soon: what it has sent
    /// is written first. Returns whether there is such a connection.
    pub fn close(&self, id: ConnectionId) -> bool {
        self.0.close(id)
    }

    /// The server's counters, all taken at the same instant.
    pub fn stats(&self) -> Snapshot {
        self.0.stats()
    }

    /// The connections that are live now, in no particular order: those that are open, and those
    /// that linger. It takes a short lock and looks at each of them once; none is disturbed.
    pub fn connections(&self) -> Vec<ConnectionInfo> {
        self.0.connections()
    }
}

impl fmt::Debug for Control {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Control").field(&self.stats()).finish()
    }
}
