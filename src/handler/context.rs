//! What a callback is lent besides its input.

use super::control::Control;
use super::note::Note;
use super::outbox::{Outbox, Wake};
use super::peer::{ConnectionId, Peer};
use super::sender::Sender;
use crate::addr::Addr;
use crate::limit::Limit;
use crate::net::TakenStream;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What a handler can do and ask during a callback.
///
/// It is lent for the callback only. Whoever has to reach the connection later, or from elsewhere,
/// keeps a [`Sender`].
///
/// ```
/// use polyserve::{Action, BoxError, Context, Handler, Input};
/// use std::io::Write;
/// use std::time::Duration;
///
/// /// Greets, echoes, and says something whenever nothing was said for two seconds.
/// struct Chatty;
///
/// impl Handler for Chatty {
///     fn on_open(&mut self, cx: &mut Context<'_>) -> Result<Action, BoxError> {
///         let peer = cx.peer().clone();
///         writeln!(cx, "hello, {peer}")?; // as `send`, with formatting
///         cx.set_timer(Duration::from_secs(2));
///         Ok(Action::Continue)
///     }
///
///     fn on_data(&mut self, input: &mut Input<'_>, cx: &mut Context<'_>) -> Result<Action, BoxError> {
///         cx.send(input.take());
///         cx.set_timer(Duration::from_secs(2)); // in place of the one before
///         Ok(Action::Continue)
///     }
///
///     fn on_timer(&mut self, cx: &mut Context<'_>) -> Result<Action, BoxError> {
///         cx.send("still there?\n");
///         cx.set_timer(Duration::from_secs(2));
///         Ok(Action::Continue)
///     }
/// }
/// # use polyserve::{Client, Server};
/// # let server = Server::builder().bind("127.0.0.1:0")?.spawn(|_| Chatty)?;
/// # let mut client = Client::connect(&server.local_addrs()[0])?;
/// # assert!(client.recv_until(b"\n", 100)?.starts_with(b"hello, 127.0.0.1:"));
/// # client.send(b"hi\n")?;
/// # assert_eq!(client.recv_until(b"\n", 100)?, b"hi\n");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Context<'a> {
    /// The output, but for what is [lent](Requests::lent): see [`output`](Context::output).
    pub(crate) out: &'a mut Vec<u8>,
    /// What the callback was shown, where what it sends of that need not be copied.
    pub(crate) lendable: &'a [u8],
    /// Output of earlier callbacks that the system has not taken yet.
    pub(crate) held: usize,
    pub(crate) high_mark: usize,
    pub(crate) hard_mark: usize,
    /// Whether the handler is at work by its own word.
    pub(crate) busy: bool,
    /// Whether input was held when the callback began.
    pub(crate) holds_input: bool,
    pub(crate) requests: &'a mut Requests,
    pub(crate) outbox: &'a mut Option<Arc<Outbox>>,
    pub(crate) facts: &'a dyn Facts,
}

/// What a context can tell about its connection: the session knows.
pub(crate) trait Facts {
    fn id(&self) -> ConnectionId;
    fn peer(&self) -> &Peer;
    fn local_addr(&self) -> io::Result<Addr>;
    fn may_block(&self) -> bool;
    fn control(&self) -> Control;
    fn set_counted(&self, counted: bool);
    fn is_draining(&self) -> bool;
    fn wake_target(&self) -> Option<(Arc<dyn Wake>, u64)>;
    /// The time now, after a callback that may have taken long.
    fn clock(&self) -> Instant;
    /// Something has happened that an observer is told.
    fn note(&self, note: Note<'_>);
}

/// What a callback asked for, carried out when it has returned. It starts out empty for each.
#[derive(Default)]
pub(crate) struct Requests {
    /// Most ask for nothing of this.
    pub(crate) asked: Option<Asked>,
    /// So much of the beginning of `lendable` is sent from where it is. The output is empty unless this
    /// is 0.
    pub(crate) lent: usize,
    /// Output up to here is kept, should the callback panic: it answers what came before.
    pub(crate) kept: usize,
    /// How many requests this callback has served, if it says so.
    pub(crate) served: Option<u32>,
}

/// What changes how the connection goes on.
#[derive(Default)]
pub(crate) struct Asked {
    pub(crate) resume: bool,
    pub(crate) timer: Option<Option<Duration>>,
    pub(crate) busy: Option<bool>,
    /// The connection's own idle time-out from now on; `None` within is the server's.
    pub(crate) idle_timeout: Option<Option<Limit<Duration>>>,
    pub(crate) take: Option<TakeStream>,
    /// If this callback closes the connection, it is because of the peer's end, which `on_eof` has
    /// seen and not followed at once.
    pub(crate) peer_closed: bool,
    /// As `peer_closed`, of a drain that `on_shutdown` was told of.
    pub(crate) shut_down: bool,
}

impl Requests {
    pub(crate) fn ask(&mut self) -> &mut Asked {
        self.asked.get_or_insert_default()
    }
}

/// What is shorter is copied sooner than it is lent.
const WORTH_LENDING: usize = 4 * 1024;

/// Whom the socket is given to after `into_stream`.
pub(crate) type TakeStream = Box<dyn FnOnce(TakenStream) + Send>;

impl Context<'_> {
    /// The same context, lent for a part of the callback.
    pub(crate) fn reborrow(&mut self) -> Context<'_> {
        Context {
            out: self.out,
            lendable: self.lendable,
            held: self.held,
            high_mark: self.high_mark,
            hard_mark: self.hard_mark,
            busy: self.busy,
            holds_input: self.holds_input,
            requests: self.requests,
            outbox: self.outbox,
            facts: self.facts,
        }
    }

    /// Appends to the output. It is written after the callback has returned, together with all
    /// that the callbacks of the same read sent.
    ///
    /// It never blocks and never fails. The bytes are copied, unless they are the first 4 KiB or more of what
    /// [`on_data`](crate::Handler::on_data) was shown: those may leave from where they are. The output grows as far as you make it: a reply larger
    /// than the high mark is better sent in parts, from
    /// [`on_writable`](crate::Handler::on_writable). Messages of senders never come between two
    /// sends of one callback.
    #[inline]
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        let bytes = bytes.as_ref();
        if bytes.len() >= WORTH_LENDING && self.is_next_to_lend(bytes) {
            self.requests.lent += bytes.len();
        } else {
            self.output().extend_from_slice(bytes);
        }
    }

    /// The output, to append to.
    #[inline]
    pub(crate) fn output(&mut self) -> &mut Vec<u8> {
        if self.requests.lent > 0 {
            self.copy_lent();
        }
        self.out
    }

    #[cold]
    fn copy_lent(&mut self) {
        let lent = std::mem::take(&mut self.requests.lent);
        self.out.extend_from_slice(&self.lendable[..lent]);
    }

    /// Whether these are the very bytes that the callback was shown, from where it has sent the others
    /// before them, and nothing else goes before.
    #[inline]
    fn is_next_to_lend(&self, bytes: &[u8]) -> bool {
        let rest = &self.lendable[self.requests.lent..];
        bytes.as_ptr() == rest.as_ptr() && bytes.len() <= rest.len() && self.out.is_empty()
    }

    /// How many bytes of output wait: what this callback sent, and what the system has not taken
    /// yet of the output before.
    pub fn pending(&self) -> usize {
        self.held + self.requests.lent + self.out.len()
    }

    /// Whether the output is below the high mark, or empty. Above it, the peer is not read until it has
    /// fallen below the low mark; a handler that makes more output on its own should stop at
    /// `false` and go on in [`on_writable`](crate::Handler::on_writable).
    pub fn is_writable(&self) -> bool {
        self.pending() == 0 || self.pending() < self.high_mark
    }

    /// A handle that sends to this connection from any thread. All handles of a connection share
    /// one queue; a connection that never asks for one has none, and pays nothing.
    pub fn sender(&mut self) -> Sender {
        let outbox = self
            .outbox
            .get_or_insert_with(|| Arc::new(Outbox::new(self.hard_mark, self.facts.wake_target())));
        Sender::new(Arc::clone(outbox), self.facts.id())
    }

    /// Appends to the output what senders have pushed to this connection until now. It happens by
    /// itself after the callback; this is for protocols in which the order of pushed messages and
    /// replies matters.
    ///
    /// A handler that ends a subscription first sees to it that nothing more is pushed, then calls
    /// this, then confirms: no message comes after the confirmation, where the peer would take it
    /// for the reply to its next request. No more is appended than the hard mark lets senders push.
    ///
    /// ```
    /// use polyserve::testing::Script;
    /// use polyserve::{Action, BoxError, Context, Handler, Input};
    ///
    /// struct Leaver;
    ///
    /// impl Handler for Leaver {
    ///     fn on_data(&mut self, input: &mut Input<'_>, cx: &mut Context<'_>) -> Result<Action, BoxError> {
    ///         input.take();
    ///         cx.sender().send("news ")?; // as another thread might do it
    ///         cx.append_pushed();
    ///         cx.send("goodbye");
    ///         Ok(Action::Continue)
    ///     }
    /// }
    ///
    /// assert_eq!(Script::new(|_peer| Leaver).recv(b"leave").output(), b"news goodbye");
    /// ```
    pub fn append_pushed(&mut self) {
        self.output(); // and nothing is lent any more
        if let Some(outbox) = self.outbox {
            outbox.drain_into(self.out, usize::MAX);
        }
    }

    /// Has [`on_timer`](crate::Handler::on_timer) called once, this long after the end of the
    /// callback. There is one timer: setting it again replaces it. A duration beyond the range of
    /// the clock means never; zero means soon, but not within this callback.
    pub fn set_timer(&mut self, after: Duration) {
        self.requests.ask().timer = Some(Some(after));
    }

    /// Forgets the timer, if one is set.
    pub fn clear_timer(&mut self) {
        self.requests.ask().timer = Some(None);
    }

    /// Resumes the connection, if it was paused by [`Action::Pause`](crate::Action::Pause). Bytes
    /// that were left are shown to `on_data` again. If this same callback returns `Pause`, that
    /// wins.
    pub fn resume(&mut self) {
        self.requests.ask().resume = true;
    }

    /// Says that the handler is at work for this peer although nothing is held, for example while
    /// a reply is being made elsewhere. A busy connection does not run into the idle time-out, and
    /// a drain lets it finish.
    pub fn set_busy(&mut self, busy: bool) {
        self.requests.ask().busy = Some(busy);
        self.busy = busy;
    }

    /// Whether the connection is busy: input or output is held, or `set_busy(true)` is on.
    pub fn is_busy(&self) -> bool {
        self.busy || self.holds_input || self.pending() > 0
    }

    /// Changes the idle time-out of this connection. Subscriptions, whose peers are silent by
    /// nature, exempt themselves with [`Limit::Unlimited`]. It replaces the first-byte time-out
    /// as well, which is then not waited for any more. It holds until it is set again; zero ends
    /// the connection as soon as it is idle.
    pub fn set_idle_timeout(&mut self, timeout: impl Into<Limit<Duration>>) {
        self.requests.ask().idle_timeout = Some(Some(timeout.into()));
    }

    /// Takes back what [`set_idle_timeout`](Self::set_idle_timeout) said: the server's own
    /// [time-out](crate::Timeouts::idle) holds again, as for a subscriber that has left its last
    /// subscription.
    pub fn reset_idle_timeout(&mut self) {
        self.requests.ask().idle_timeout = Some(None);
    }

    /// Whether this connection counts against
    /// [`Limits::max_connections`](crate::Limits::max_connections), which all do at first. One that
    /// is not counted, such as a long-lived subscription or a neighbour in a cluster, takes no
    /// place from others and is never closed to make room; it still needs a descriptor and, with
    /// some backends, a thread. It holds at once, until it is set again.
    pub fn set_counted(&mut self, counted: bool) {
        self.facts.set_counted(counted);
    }

    /// Says how many requests this callback has served, for statistics: what
    /// [`ConnectionInfo::requests`](crate::ConnectionInfo::requests) and
    /// [`Observer::batch`](crate::Observer::batch) tell. Several calls add up.
    ///
    /// [`Framed`](crate::Framed) counts its frames by itself. A handler that says nothing has
    /// served one request by each call of its `on_data`, and none by its other callbacks.
    pub fn count_requests(&mut self, n: u32) {
        self.requests.served = Some(self.requests.served.unwrap_or(0).saturating_add(n));
    }

    /// The number of this connection, unique within the server.
    pub fn id(&self) -> ConnectionId {
        self.facts.id()
    }

    /// Who is at the other end.
    pub fn peer(&self) -> &Peer {
        self.facts.peer()
    }

    /// The address that the peer connected to: it tells which of several binds, and which of the
    /// machine's addresses, was used.
    ///
    /// # Errors
    /// As getsockname(2), on some systems also if the peer is gone already.
    pub fn local_addr(&self) -> io::Result<Addr> {
        self.facts.local_addr()
    }

    /// Whether blocking in a callback holds up at most one worker (`true`: threads, pool) or all
    /// connections of an event loop (`false`).
    pub fn may_block(&self) -> bool {
        self.facts.may_block()
    }

    /// Whether the server has begun to drain, or was stopped: as
    /// [`Control::is_draining`](crate::Control::is_draining), and cheap enough for every request. A
    /// protocol that can tell its peer to go elsewhere (HTTP's `Connection: close`) does so from then
    /// on, so that the peer does not find its next request on a connection that was just closed.
    pub fn is_draining(&self) -> bool {
        self.facts.is_draining()
    }

    /// A handle that steers the server.
    pub fn control(&self) -> Control {
        self.facts.control()
    }

    /// Takes the socket out of the server once this callback has returned, whatever it returns.
    ///
    /// `on_close` is called with [`CloseReason::Taken`](crate::CloseReason::Taken), and then
    /// `receiver` gets the open socket, the input that was not consumed and the output that was
    /// not written. It runs on the backend's thread: hand the socket to a thread of yours there.
    /// The connection no longer counts against the server's limit, and a drain does not wait for
    /// it.
    pub fn into_stream(&mut self, receiver: impl FnOnce(TakenStream) + Send + 'static) {
        self.requests.ask().take = Some(Box::new(receiver));
    }
}

/// `write!` and friends append to the output, as [`Context::send`] does, and never fail.
impl io::Write for Context<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.send(bytes);
        Ok(bytes.len())
    }

    /// Does nothing: the output is written after the callback.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl fmt::Debug for Context<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context")
            .field("id", &self.id())
            .field("peer", self.peer())
            .field("pending", &self.pending())
            .field("busy", &self.is_busy())
            .finish_non_exhaustive()
    }
}
