//! One connection, played from a script.

mod clock;
mod host;
mod wire;

pub use clock::Clock;

use crate::connection::{Connection, Limits, Phase, Ready, Timeouts, Turn, Wants};
use crate::handler::{CloseKind, CloseReason, Handler, Peer};
use crate::layer::Layer;
use crate::observe::Observer;
use crate::session::{Host, Order, Pump, Scratch, Transport};
use host::{Factory, ScriptHost, Shared, default_peer};
use std::cell::RefCell;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};
use wire::Wire;

/// How many turns in a row may move nothing before the script gives up.
const MAX_IDLE_TURNS: usize = 10_000;
/// How much may come and go in one step before the script gives up.
const MAX_MOVED: u64 = 256 * 1024 * 1024;
/// How many deadlines `advance` meets before it gives up.
const MAX_DEADLINES: usize = 1_000_000;

/// Plays bytes, errors and time into one connection, and shows what it does: no socket, no thread,
/// no waiting.
///
/// It is the same code that runs behind every backend; only the socket and the clock are played.
/// After each step the connection gets its turns, as a fair backend would give them, until it waits
/// for the next step. The connection is accepted with the first step.
///
/// ```
/// use polyserve::testing::Script;
/// use polyserve::{Action, BoxError, CloseKind, Context, Handler, Input};
/// use std::time::Duration;
///
/// /// Answers each complete line with itself.
/// struct Lines;
///
/// impl Handler for Lines {
///     fn on_open(&mut self, cx: &mut Context<'_>) -> Result<Action, BoxError> {
///         cx.send("hello\n");
///         Ok(Action::Continue)
///     }
///
///     fn on_data(&mut self, input: &mut Input<'_>, cx: &mut Context<'_>) -> Result<Action, BoxError> {
///         while let Some(end) = input.iter().position(|b| *b == b'\n') {
///             cx.send(input.take_n(end + 1).expect("it was found"));
///         }
///         Ok(Action::Continue)
///     }
/// }
///
/// let mut script = Script::new(|_peer| Lines);
/// assert_eq!(script.open().output(), b"hello\n");
/// assert_eq!(script.recv(b"one\ntw").output(), b"one\n");
/// assert_eq!(script.recv(b"o\n").output(), b"two\n");
///
/// // A line that is never finished runs into the message time-out.
/// script.recv(b"thr").advance(Duration::from_secs(31));
/// assert_eq!(script.close_kind(), Some(CloseKind::MessageTimeout));
/// ```
///
/// With a peer that is slow to read:
///
/// ```
/// # use polyserve::testing::Script;
/// # use polyserve::{Action, BoxError, Context, Handler, Input};
/// # struct Echo;
/// # impl Handler for Echo {
/// #     fn on_data(&mut self, input: &mut Input<'_>, cx: &mut Context<'_>) -> Result<Action, BoxError> {
/// #         cx.send(input.take());
/// #         Ok(Action::Continue)
/// #     }
/// # }
/// let mut script = Script::new(|_peer| Echo);
/// script.block_output().recv(b"hello");
/// assert_eq!(script.output(), b"");
/// assert_eq!(script.accept_output(2).output(), b"he");
/// assert_eq!(script.unblock_output().output(), b"llo");
/// assert!(script.holds_nothing());
/// ```
///
/// Callbacks panic within the connection, as they do in a server: an assertion that fails in a
/// callback ends the connection with [`CloseKind::Panic`], so check [`close_kind`](Self::close_kind)
/// or assert outside of the handler.
///
/// # Panics
/// A step panics if the connection does not come to rest: a callback yields, wakes itself or sets a
/// timer of no length for ever, or `on_writable` sends without end.
pub struct Script {
    conn: Connection,
    wire: Wire,
    shared: Arc<Shared>,
    clock: Clock,
    began: Instant,
    peer: Peer,
    factory: RefCell<Option<Factory>>,
    scratch: Scratch,
    /// What the connection wanted after its last turn; before its first, a turn.
    wants: Wants,
    n_turns: usize,
    by_hand: bool,
    on_thread: bool,
    gone: bool,
    taken: Option<TakenBytes>,
}

/// What a connection keeps: see [`Script::held`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Held {
    /// Bytes of input that the handler has not consumed.
    pub input: usize,
    /// Bytes of output that the peer has not taken.
    pub output: usize,
    /// Anything beyond the connection and its handler: buffers, a timer, a sender, a layer.
    pub anything: bool,
}

/// What the receiver of [`Context::into_stream`](crate::Context::into_stream) would have been given
/// along with the socket. The receiver itself is not called: there is no socket.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct TakenBytes {
    /// Input that the handler had not consumed.
    pub unread: Vec<u8>,
    /// Output that the peer had not taken.
    pub unsent: Vec<u8>,
}

/// How the connection is set up. All of it comes before the first step.
impl Script {
    /// A connection whose handler is made by `factory`, with the limits and time-outs of a server
    /// that was not told otherwise. Its peer is 192.0.2.1:49152.
    pub fn new<H, F>(factory: F) -> Self
    where
        H: Handler,
        F: FnOnce(&Peer) -> H + 'static,
    {
        let clock = Clock::new();
        let shared = Shared::new(Limits::default(), Timeouts::default(), clock.clone(), None);
        let began = clock.now();
        let factory: Factory = Box::new(move |peer| Box::new(factory(peer)));
        Self {
            conn: Connection::new(shared.env.tick(began)),
            wire: Wire::default(),
            shared: Arc::new(shared),
            clock,
            began,
            peer: default_peer(),
            factory: RefCell::new(Some(factory)),
            scratch: Scratch::new(),
            wants: Wants { again: true, ..Wants::default() },
            n_turns: 0,
            by_hand: false,
            on_thread: false,
            gone: false,
            taken: None,
        }
    }

    /// Sets the limits.
    pub fn limits(mut self, limits: Limits) -> Self {
        let timeouts = self.shared.env.timeouts.clone();
        self.set_env(limits, timeouts);
        self
    }

    /// Sets the time-outs.
    pub fn timeouts(mut self, timeouts: Timeouts) -> Self {
        let limits = self.shared.env.limits.clone();
        self.set_env(limits, timeouts);
        self
    }

    /// Tells this observer what happens to the connection: everything from `opened` to `closed`, on
    /// this thread. A panic in it fails the test.
    ///
    /// ```
    /// use polyserve::testing::Script;
    /// use polyserve::{Framed, codec::Lines, observe::Prometheus};
    /// use std::sync::Arc;
    ///
    /// let metrics = Arc::new(Prometheus::new());
    /// let mut script = Script::new(|_peer| Framed::new(Lines::new(), |line, _replies| assert_eq!(line, "two")));
    /// script = script.observer(Arc::clone(&metrics));
    /// script.recv(b"one\n");
    /// let text = metrics.render(&Default::default());
    /// assert!(text.contains("polyserve_panics_total{callback=\"on_data\"} 1\n"));
    /// ```
    pub fn observer(mut self, observer: impl Observer) -> Self {
        self.expect_unopened();
        let env = &self.shared.env;
        let (limits, timeouts) = (env.limits.clone(), env.timeouts.clone());
        let shared = Shared::new(limits, timeouts, self.clock.clone(), Some(Arc::new(observer)));
        self.shared = Arc::new(shared);
        self
    }

    /// Uses a clock that others hold already.
    pub fn with_clock(mut self, clock: &Clock) -> Self {
        self.clock = clock.clone();
        self.began = clock.now();
        let env = &self.shared.env;
        let (limits, timeouts) = (env.limits.clone(), env.timeouts.clone());
        self.set_env(limits, timeouts);
        self.conn = Connection::new(self.shared.env.tick(self.began));
        self
    }

    /// Puts a layer between the peer and the handler. To be called after
    /// [`with_clock`](Self::with_clock).
    pub fn layer(mut self, layer: impl Layer) -> Self {
        self.expect_unopened();
        self.conn = Connection::new(self.shared.env.tick(self.began));
        self.conn.set_layer(Box::new(layer));
        self
    }

    /// Says who the peer is.
    pub fn peer(mut self, peer: Peer) -> Self {
        self.expect_unopened();
        self.peer = peer;
        self
    }

    /// Says what [`Context::may_block`](crate::Context::may_block) tells. Default: `false`.
    pub fn may_block(mut self, may_block: bool) -> Self {
        self.scratch.may_block = may_block;
        self
    }

    /// The peer takes at most `n` bytes at a time (at least one).
    pub fn short_writes(self, n: usize) -> Self {
        self.wire.set_write_size(n);
        self
    }

    /// Reads as a thread does that has nothing else to do: while nothing is pending, the read comes
    /// before the turn. What the handler sees is the same.
    pub fn on_thread(mut self) -> Self {
        self.on_thread = true;
        self
    }

    /// Steps only prepare what happens; the connection gets its turns by [`turn`](Self::turn),
    /// [`turn_with`](Self::turn_with) and [`settle`](Self::settle) alone. This shows what happens
    /// between two turns, for example after [`Action::Yield`](crate::Action::Yield).
    pub fn by_hand(mut self) -> Self {
        self.by_hand = true;
        self
    }

    fn set_env(&mut self, limits: Limits, timeouts: Timeouts) {
        self.expect_unopened();
        let observer = self.shared.observer();
        self.shared = Arc::new(Shared::new(limits, timeouts, self.clock.clone(), observer));
    }

    fn expect_unopened(&self) {
        assert!(self.n_turns == 0, "a connection is set up before its first step");
    }
}

/// The steps.
impl Script {
    /// The connection is accepted. The first step of another kind does it by itself.
    pub fn open(&mut self) -> &mut Self {
        self.step()
    }

    /// The peer sends these bytes.
    pub fn recv(&mut self, bytes: impl AsRef<[u8]>) -> &mut Self {
        self.wire.push(bytes.as_ref());
        self.step()
    }

    /// The peer sends these pieces, one after the other; each is read by itself.
    pub fn recv_pieces<P: AsRef<[u8]>>(&mut self, pieces: &[P]) -> &mut Self {
        for piece in pieces {
            self.recv(piece);
        }
        self
    }

    /// The peer finishes sending (half-close).
    pub fn eof(&mut self) -> &mut Self {
        self.wire.push_end();
        self.step()
    }

    /// The next read fails in this way, behind all that was received before: by an
    /// [`io::ErrorKind`], or by a number with [`io::Error::from_raw_os_error`]. `Interrupted` and
    /// `WouldBlock` are harmless, and the connection reads again.
    pub fn error(&mut self, error: impl Into<io::Error>) -> &mut Self {
        self.wire.push_error(error.into());
        self.step()
    }

    /// The next write fails in this way.
    pub fn output_error(&mut self, error: impl Into<io::Error>) -> &mut Self {
        self.wire.push_send_error(error.into());
        self.step()
    }

    /// The peer takes nothing any more, until [`accept_output`](Self::accept_output) or
    /// [`unblock_output`](Self::unblock_output).
    pub fn block_output(&mut self) -> &mut Self {
        self.wire.set_room(0);
        self.step()
    }

    /// A peer that was [blocked](Self::block_output) takes `n` bytes more.
    pub fn accept_output(&mut self, n: usize) -> &mut Self {
        self.wire.add_room(n);
        self.step()
    }

    /// The peer takes everything again.
    pub fn unblock_output(&mut self) -> &mut Self {
        self.wire.set_room(usize::MAX);
        self.step()
    }

    /// Time passes, and every deadline on the way is met at its instant.
    ///
    /// # Panics
    /// If the time is beyond the range of `Instant`, or if a million deadlines are on the way.
    pub fn advance(&mut self, by: Duration) -> &mut Self {
        let end = self.now().checked_add(by).expect("a time within the range of `Instant`");
        if !self.by_hand {
            self.settle();
            let mut n_deadlines = 0;
            while let Some(at) = self.wants.deadline.filter(|at| *at <= end) {
                n_deadlines += 1;
                assert!(n_deadlines <= MAX_DEADLINES, "too many deadlines on the way");
                self.clock.reach(at);
                self.settle();
            }
        }
        self.clock.reach(end);
        self.step()
    }

    /// The thread will be stopped for this long right before its next read or write, when it has
    /// looked at the clock already: as by SIGSTOP, or by a system that has better things to do. The
    /// step that follows says what it finds then.
    ///
    /// ```
    /// use polyserve::testing::Script;
    /// # use polyserve::{Action, BoxError, Context, Handler, Input};
    /// # use std::time::Duration;
    /// # struct Echo;
    /// # impl Handler for Echo {
    /// #     fn on_data(&mut self, input: &mut Input<'_>, cx: &mut Context<'_>) -> Result<Action, BoxError> {
    /// #         cx.send(input.take());
    /// #         Ok(Action::Continue)
    /// #     }
    /// # }
    ///
    /// let mut script = Script::new(|_peer| Echo);
    /// script.open().stop_before_next_call(Duration::from_secs(100)).recv("late");
    /// assert_eq!((script.close_kind(), script.elapsed()), (None, Duration::from_secs(100)));
    /// ```
    pub fn stop_before_next_call(&mut self, by: Duration) -> &mut Self {
        self.wire.stop_before_next_call(self.clock.clone(), by);
        self
    }

    /// The server begins to drain.
    pub fn drain(&mut self) -> &mut Self {
        self.shared.enter(Phase::Draining);
        self.step()
    }

    /// The drain has reached its deadline: what is left is closed by force.
    pub fn kill(&mut self) -> &mut Self {
        self.shared.enter(Phase::Killing);
        self.step()
    }

    /// The server stops at once.
    pub fn stop(&mut self) -> &mut Self {
        self.shared.enter(Phase::Stopped);
        self.step()
    }

    /// The server is full, and has found that this connection has been idle for longest: it makes
    /// room for another, if it is idle.
    pub fn evict(&mut self) -> &mut Self {
        self.shared.give(Order::Evict);
        self.step()
    }

    /// The backend drops the session.
    pub fn abandon(&mut self) -> &mut Self {
        if !self.gone {
            self.conn.fail(CloseReason::Backend);
            self.over();
        }
        self
    }

    /// Gives the connection its turns until it waits for something. Every step does it; it is
    /// needed only after something else has happened, such as a [`Sender`](crate::Sender)'s push.
    pub fn settle(&mut self) -> &mut Self {
        let before = self.wire.moved();
        let mut moved = before;
        let mut n_idle = 0;
        while self.turn() {
            n_idle = if self.wire.moved() == moved { n_idle + 1 } else { 0 };
            moved = self.wire.moved();
            assert!(moved - before < MAX_MOVED, "the connection sends without end");
            assert!(
                n_idle < MAX_IDLE_TURNS,
                "the connection does not come to rest: after {n_idle} turns in which nothing came \
                 or went it wants {:?}",
                self.wants,
            );
        }
        self
    }

    /// One turn, if there is something to do now; tells whether there was.
    pub fn turn(&mut self) -> bool {
        if self.gone {
            return false;
        }
        let ready = Ready {
            read: self.wants.read && self.wire.is_readable(),
            write: self.wants.write && self.wire.is_writable(),
        };
        let due = self.wants.deadline.is_some_and(|deadline| deadline <= self.now());
        let something = ready != Ready::NONE || self.wants.again || due || self.shared.is_rung();
        if something {
            self.turn_with(ready);
        }
        something
    }

    /// One turn, with these events, whether or not they are true: a backend may be wrong about
    /// them.
    pub fn turn_with(&mut self, ready: Ready) -> &mut Self {
        if self.gone {
            return self;
        }
        self.n_turns += 1;
        self.shared.take_bell();
        let received = self.read_first(ready);
        let host =
            host(&self.shared, &self.clock, &self.peer, &self.factory, &self.wire, &self.scratch);
        let pump = Pump::new(
            &mut self.conn,
            &self.shared.tally,
            &self.wire,
            &host,
            self.clock.now(),
            &mut self.scratch,
        );
        match pump.turn(ready, received) {
            Turn::Wait(wants) => self.wants = wants,
            Turn::Closed => self.over(),
        }
        self
    }

    /// What a thread that blocks in its read hands to the turn.
    fn read_first(&mut self, ready: Ready) -> Option<io::Result<usize>> {
        let reads = self.on_thread && ready.read && self.conn.is_quiet();
        reads.then(|| self.wire.recv(&mut self.scratch.input))
    }

    fn step(&mut self) -> &mut Self {
        if self.by_hand {
            return self;
        }
        self.settle()
    }

    /// The session is dropped.
    fn over(&mut self) {
        self.gone = true;
        self.wants = Wants::default();
        if !self.conn.was_released() {
            let reason = self.conn.take_reason();
            self.conn.release_handler(&reason, &|_note| ());
            host(&self.shared, &self.clock, &self.peer, &self.factory, &self.wire, &self.scratch)
                .closed(&self.conn, &reason);
        }
        if self.conn.taker().is_some() {
            let (unread, unsent) = self.conn.take_bytes();
            self.taken = Some(TakenBytes { unread, unsent });
        } else {
            self.wire.close();
        }
    }
}

/// What can be seen.
impl Script {
    /// What the peer has taken since the last call.
    pub fn output(&mut self) -> Vec<u8> {
        self.wire.take_sent()
    }

    /// Whether the handler is gone: `on_close` was called, if there was one.
    pub fn is_closed(&self) -> bool {
        self.shared.outcome().is_some()
    }

    /// Why the connection ended, if it did.
    pub fn close_kind(&self) -> Option<CloseKind> {
        self.shared.outcome().map(|outcome| outcome.kind)
    }

    /// The reason in words, as [`CloseReason`] prints it.
    pub fn close_text(&self) -> Option<String> {
        self.shared.outcome().map(|outcome| outcome.text)
    }

    /// Whether the socket is closed as well. Between the end of the connection and this it lingers,
    /// for the sake of its last output.
    pub fn is_gone(&self) -> bool {
        self.gone
    }

    /// Whether the peer was sent the end of our stream (FIN).
    pub fn fin_sent(&self) -> bool {
        self.wire.fin()
    }

    /// Whether the peer was sent a reset (RST).
    pub fn reset_sent(&self) -> bool {
        self.gone && self.wire.reset()
    }

    /// What the connection waits for.
    pub fn wants(&self) -> Wants {
        self.wants
    }

    /// How far away the next deadline is, if there is one.
    pub fn next_deadline(&self) -> Option<Duration> {
        self.wants.deadline.map(|at| at.saturating_duration_since(self.now()))
    }

    /// What the connection keeps at the moment.
    pub fn held(&self) -> Held {
        Held {
            input: self.conn.input_held(),
            output: self.conn.output_held(),
            anything: self.conn.has_extras(),
        }
    }

    /// Whether the connection keeps nothing but itself and its handler, as an idle one should.
    pub fn holds_nothing(&self) -> bool {
        self.held() == Held::default()
    }

    /// How many bytes of the peer were not read yet.
    pub fn unread(&self) -> usize {
        self.wire.unread()
    }

    /// How many bytes the handler was given in all, those that it has not consumed included.
    pub fn received(&self) -> u64 {
        self.shared.tally.received()
    }

    /// How many bytes the peer has taken in all.
    pub fn sent(&self) -> u64 {
        self.shared.tally.sent()
    }

    /// How many requests the handler has served in all: see
    /// [`Context::count_requests`](crate::Context::count_requests).
    pub fn requests(&self) -> u64 {
        self.shared.tally.requests()
    }

    /// How many system calls that send there would have been.
    pub fn sends(&self) -> usize {
        self.wire.n_sends()
    }

    /// How many system calls that receive there would have been.
    pub fn recvs(&self) -> usize {
        self.wire.n_recvs()
    }

    /// How many turns there were.
    pub fn turns(&self) -> usize {
        self.n_turns
    }

    /// How often [`Sender`](crate::Sender)s have woken the connection. Several calls before it has
    /// had its turn are one.
    pub fn wakes(&self) -> usize {
        self.shared.n_wakes()
    }

    /// What was handed over, once the handler has taken the socket out of the server.
    pub fn taken(&self) -> Option<&TakenBytes> {
        self.taken.as_ref()
    }

    /// The connection's clock.
    pub fn clock(&self) -> Clock {
        self.clock.clone()
    }

    /// The time of its clock.
    pub fn now(&self) -> Instant {
        self.clock.now()
    }

    /// How much time has passed since the connection was made.
    pub fn elapsed(&self) -> Duration {
        self.now().saturating_duration_since(self.began)
    }
}

impl Drop for Script {
    fn drop(&mut self) {
        self.abandon();
    }
}

impl fmt::Debug for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Script")
            .field("elapsed", &self.elapsed())
            .field("close_kind", &self.close_kind())
            .field("wants", &self.wants)
            .field("held", &self.held())
            .finish_non_exhaustive()
    }
}

fn host<'a>(
    shared: &'a Arc<Shared>,
    clock: &'a Clock,
    peer: &'a Peer,
    factory: &'a RefCell<Option<Factory>>,
    wire: &'a Wire,
    scratch: &Scratch,
) -> ScriptHost<'a> {
    ScriptHost { shared, clock, peer, factory, wire, may_block: scratch.may_block }
}
