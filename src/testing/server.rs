//! A server to test a handler with, through real sockets.

use crate::backend::Backend;
use crate::handler::{CloseKind, ConnectionId, Handler, Peer};
use crate::net::Addr;
use crate::observe::{Callback, Closed, Deadline, Observer, Refusal};
use crate::serve_error::ServeError;
use crate::server::{Builder, Server, ServerHandle};
use crate::shutdown::DrainReport;
use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How long the clients of a test server wait in one read or write, and how long its end may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// A server on a free port of 127.0.0.1, a client that is connected to it, and a record of what
/// happened.
///
/// ```
/// use polyserve::testing::{Event, TestServer};
/// use polyserve::{Action, BoxError, CloseKind, Context, EventLoop, Handler, Input};
/// use std::io::{Read, Write};
/// use std::time::Duration;
///
/// struct Echo;
/// impl Handler for Echo {
///     fn on_data(&mut self, input: &mut Input<'_>, cx: &mut Context<'_>) -> Result<Action, BoxError> {
///         cx.send(input.take());
///         Ok(Action::Continue)
///     }
/// }
///
/// let server = TestServer::start(EventLoop::new(), |_peer| Echo)?;
/// server.client().write_all(b"hello")?;
/// let mut reply = [0; 5];
/// server.client().read_exact(&mut reply)?;
/// assert_eq!(&reply, b"hello");
///
/// server.client().shutdown(std::net::Shutdown::Write)?;
/// let is_end = |e: &Event| matches!(e, Event::Closed { kind: CloseKind::PeerClosed, .. });
/// server.events().wait_for("the end of the connection", Duration::from_secs(5), is_end)?;
/// assert!(server.finish().finished_all);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// Dropping it drains the server, as dropping a [`ServerHandle`] does.
#[derive(Debug)]
pub struct TestServer {
    // Fields are dropped in this order: the client's end first, so that the drain need not wait.
    client: TcpStream,
    handle: ServerHandle,
    events: Arc<Events>,
    addr: SocketAddr,
}

impl TestServer {
    /// Starts a server with this backend and the default of everything else.
    ///
    /// # Errors
    /// The server did not start, or could not be connected to.
    pub fn start<F, H>(backend: impl Backend, factory: F) -> Result<Self, ServeError>
    where
        F: Fn(&Peer) -> H + Send + Sync + 'static,
        H: Handler,
    {
        Self::with(Server::builder().backend(backend), factory)
    }

    /// Starts a server of these settings. A bind to a free port is added to them, and the recorder
    /// of [`events`](Self::events) to their observers.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub fn with<F, H>(builder: Builder, factory: F) -> Result<Self, ServeError>
    where
        F: Fn(&Peer) -> H + Send + Sync + 'static,
        H: Handler,
    {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").map_err(ServeError::Start)?;
        let addr = listener.local_addr().map_err(ServeError::Start)?;
        let events = Arc::new(Events::default());
        let builder =
            builder.listener(listener).map_err(|e| ServeError::Start(io::Error::other(e)))?;
        let handle = builder.observer(Arc::clone(&events)).spawn(factory)?;
        let client = connect(addr).map_err(ServeError::Start)?;
        Ok(Self { client, handle, events, addr })
    }

    /// The client that is connected already. Each read and write of it waits for at most 5 s.
    pub fn client(&self) -> &TcpStream {
        &self.client
    }

    /// Connects another client, with the same time-outs.
    ///
    /// # Errors
    /// As connect(2).
    pub fn connect(&self) -> io::Result<TcpStream> {
        connect(self.addr)
    }

    /// Where the server listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// The server's handle.
    pub fn handle(&self) -> &ServerHandle {
        &self.handle
    }

    /// What has happened so far.
    pub fn events(&self) -> &Events {
        &self.events
    }

    /// Closes the client's end, and drains the server within 5 s.
    pub fn finish(self) -> DrainReport {
        let Self { client, handle, .. } = self;
        drop(client);
        handle.drain(Duration::ZERO, PATIENCE)
    }
}

fn connect(addr: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&addr, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// What happened in a server. Requests and what is said at the start are not recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// It listens on this address.
    Listening(Addr),
    /// A connection was accepted.
    Accepted(ConnectionId),
    /// A connection's handler was made.
    Opened(ConnectionId),
    /// A connection has ended; `on_close` was called.
    Closed {
        /// Its number.
        id: ConnectionId,
        /// Why it ended.
        kind: CloseKind,
        /// Bytes received.
        received: u64,
        /// Bytes sent.
        sent: u64,
    },
    /// A peer is not read any more, because of the output that waits for it.
    BackpressureOn(ConnectionId),
    /// It is read again, or its connection ends.
    BackpressureOff(ConnectionId),
    /// A deadline of a connection has passed.
    TimedOut(ConnectionId, Deadline),
    /// A callback of a connection panicked.
    Panicked(ConnectionId, Callback),
    /// A callback of a connection held up its event loop.
    Stalled(ConnectionId, Callback),
    /// A connection was accepted and closed again.
    Refused,
    /// `accept` failed.
    AcceptFailed,
    /// A listener has died.
    ListenerFailed(Addr),
    /// A drain began.
    DrainBegan,
    /// Nobody is accepted any more, because of a drain or a stop.
    ListenersClosed,
    /// This many connections are told of the drain.
    DrainTold(usize),
    /// The drain's deadline has passed, or the server was stopped, with this many connections left.
    DrainDeadline(usize),
    /// The drain, or the server's life, is over.
    Drained(DrainReport),
}

/// A record of what happened in a server, which can be waited for. It is an [`Observer`].
#[derive(Debug, Default)]
pub struct Events {
    seen: Mutex<Vec<Event>>,
    changed: Condvar,
}

/// What was waited for did not happen in time.
#[derive(Debug, thiserror::Error)]
#[error("no {what} within {patience:?}; these events were seen: {seen:?}")]
pub struct Missing {
    what: String,
    patience: Duration,
    seen: Vec<Event>,
}

impl Events {
    /// All events so far, oldest first.
    pub fn all(&self) -> Vec<Event> {
        self.lock().clone()
    }

    /// Waits until an event is there that matches, which may have happened before, and returns it.
    ///
    /// # Errors
    /// None came within `patience`. The error's text names `what` was waited for.
    pub fn wait_for(
        &self,
        what: impl fmt::Display,
        patience: Duration,
        matches: impl Fn(&Event) -> bool,
    ) -> Result<Event, Missing> {
        let deadline = Instant::now() + patience;
        let mut seen = self.lock();
        loop {
            if let Some(event) = seen.iter().find(|event| matches(event)) {
                return Ok(event.clone());
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(Missing { what: what.to_string(), patience, seen: seen.clone() });
            }
            let waited = self.changed.wait_timeout(seen, left);
            seen = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn push(&self, event: Event) {
        self.lock().push(event);
        self.changed.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Event>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Observer for Events {
    fn listening(&self, addr: &Addr) {
        self.push(Event::Listening(addr.clone()));
    }

    fn accepted(&self, id: ConnectionId, _peer: &Peer) {
        self.push(Event::Accepted(id));
    }

    fn opened(&self, id: ConnectionId, _peer: &Peer) {
        self.push(Event::Opened(id));
    }

    fn backpressure_on(&self, id: ConnectionId, _peer: &Peer, _held: usize) {
        self.push(Event::BackpressureOn(id));
    }

    fn backpressure_off(&self, id: ConnectionId, _peer: &Peer, _held: usize) {
        self.push(Event::BackpressureOff(id));
    }

    fn timed_out(&self, id: ConnectionId, _peer: &Peer, deadline: Deadline) {
        self.push(Event::TimedOut(id, deadline));
    }

    fn panicked(&self, id: ConnectionId, _peer: &Peer, callback: Callback, _message: &str) {
        self.push(Event::Panicked(id, callback));
    }

    fn stalled(&self, id: ConnectionId, _peer: &Peer, callback: Callback, _took: Duration) {
        self.push(Event::Stalled(id, callback));
    }

    fn closed(&self, connection: &Closed<'_>) {
        let Closed { id, reason, received, sent, .. } = *connection;
        self.push(Event::Closed { id, kind: reason.kind(), received, sent });
    }

    fn refused(&self, _peer: &Peer, _why: &Refusal<'_>) {
        self.push(Event::Refused);
    }

    fn accept_failed(&self, _addr: &Addr, _error: &io::Error, _pause: Option<Duration>) {
        self.push(Event::AcceptFailed);
    }

    fn drain_began(&self, _grace: Duration, _deadline: Duration) {
        self.push(Event::DrainBegan);
    }

    fn listener_failed(&self, addr: &Addr, _error: &io::Error) {
        self.push(Event::ListenerFailed(addr.clone()));
    }

    fn drain_listeners_closed(&self) {
        self.push(Event::ListenersClosed);
    }

    fn drain_told(&self, live: usize) {
        self.push(Event::DrainTold(live));
    }

    fn drain_deadline(&self, left: usize) {
        self.push(Event::DrainDeadline(left));
    }

    fn drained(&self, report: &DrainReport) {
        self.push(Event::Drained(*report));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_happen_is_named() {
        let events = Arc::new(Events::default());
        events.drain_began(Duration::ZERO, Duration::ZERO);
        let began = |e: &Event| *e == Event::DrainBegan;
        assert_eq!(events.wait_for("drain", Duration::ZERO, began).unwrap(), Event::DrainBegan);
        let missing = events.wait_for("refusal", Duration::ZERO, |e| *e == Event::Refused);
        let text = missing.unwrap_err().to_string();
        assert_eq!(text, "no refusal within 0ns; these events were seen: [DrainBegan]");
    }
}
