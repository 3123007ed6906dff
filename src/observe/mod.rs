//! What a server tells of itself: one trait, one method for each kind of event.
//!
//! The library never logs. It tells an [`Observer`], and counts.

mod counters;
mod prometheus;
mod rate;
mod several;
mod shown;
mod stderr;
#[cfg(feature = "tracing")]
mod tracing;

#[cfg(feature = "tracing")]
pub use self::tracing::TracingObserver;
pub use crate::handler::{Callback, Deadline};
pub(crate) use counters::Counters;
pub use counters::Snapshot;
pub use prometheus::Prometheus;
pub use stderr::StderrObserver;

use crate::addr::Addr;
use crate::connection::drop_payload;
use crate::handler::{CloseReason, ConnectionId, Note, Peer};
use crate::shutdown::DrainReport;
use std::fmt;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

/// Is told what happens in a server. Every method does nothing by default.
///
/// # What may be relied on
///
/// - A method is called on the thread on which the thing happened: the one that accepts, the one
///   that runs the connection, or the one that called for a drain. So all methods may be called at
///   the same time, on several threads.
/// - They are called between the callbacks of handlers and under no lock of the crate, so they may
///   call everything, [`Control`](crate::Control) included. A [`ServerHandle::drain`] or `join` on
///   such a thread begins and returns at once, as on all threads of the server. One that keeps a
///   `Control` of its own server is kept by what it keeps, and stays in memory for ever; one that
///   keeps a [`Weak`](std::sync::Weak) of it does not.
/// - A method that takes its time holds up what its thread does: on an event loop all connections of
///   that loop, on the thread that accepts all new ones. It should be quick, and not block.
/// - A panic in a method is caught and has no effect; the panic hook says what it was.
/// - For each connection: [`accepted`](Self::accepted) first, then either
///   [`refused`](Self::refused), or in this order at most one [`opened`](Self::opened), everything
///   else, and exactly one [`closed`](Self::closed). Only a time-out of kind
///   [`Lingering`](Deadline::Lingering) and panics of [`IntoStream`](Callback::IntoStream) come
///   after it.
/// - The counters of [`Control::stats`](crate::Control::stats) are changed before the method that
///   tells of the change is called.
///
/// Texts of errors, reasons and panics may repeat what a peer has sent. The observers that come with
/// the crate never show those.
///
/// A server without an observer pays nothing for it. With one, the methods about single connections
/// are called a few times in a connection's life, and a request costs as good as nothing;
/// [`batch`](Self::batch) alone is called as often as something is served, and only if
/// [`wants_batches`](Self::wants_batches) says so.
///
/// # Several at once
///
/// A pair of observers is one, and so are a `Vec`, an `Option`, a `Box` and an `Arc`; so whoever
/// keeps an `Arc` can look at its observer later. All are told, in their order, also when one panics.
///
/// ```
/// use polyserve::observe::{Closed, Prometheus};
/// use polyserve::{Observer, Server, StderrObserver};
/// use std::sync::Arc;
///
/// /// Prints one line for each connection that has ended.
/// struct Log;
///
/// impl Observer for Log {
///     fn closed(&self, connection: &Closed<'_>) {
///         let Closed { id, peer, reason, received, sent, age, .. } = connection;
///         println!("{id} {peer}: {received} bytes in, {sent} out in {age:?}: {}", reason.kind().name());
///     }
/// }
///
/// let metrics = Arc::new(Prometheus::new());
/// let builder = Server::builder().observer((Log, (StderrObserver::new(), Arc::clone(&metrics))));
/// ```
///
/// [`ServerHandle::drain`]: crate::ServerHandle::drain
#[allow(unused_variables)] // the arguments are named for the docs
pub trait Observer: Send + Sync + 'static {
    /// A listener is open; its server is about to accept. Once for each listener, before the server
    /// counts as started.
    fn listening(&self, addr: &Addr) {}

    /// A connection was accepted and has a number and a place. Its peer is the one of the socket; a
    /// layer may know better later. On the thread that accepts.
    fn accepted(&self, id: ConnectionId, peer: &Peer) {}

    /// A connection was accepted and closed again, because of a limit, or because no thread could
    /// be started for it.
    fn refused(&self, peer: &Peer, why: &Refusal<'_>) {}

    /// A connection's layer, if there is one, is ready, and its handler was made: `on_open` comes
    /// next. On the connection's own thread, as all methods that follow, up to `closed`.
    fn opened(&self, id: ConnectionId, peer: &Peer) {}

    /// A turn of a connection has served requests: for [`Framed`](crate::Framed) those frames that
    /// were decoded and given to the service, for other handlers what they
    /// [say](crate::Context::count_requests), or one for each `on_data`. Once for each turn in which
    /// there were any, so up to once for each request; the only method that is called that often. It
    /// is called only if [`wants_batches`](Self::wants_batches) says `true`.
    fn batch(&self, batch: &Batch<'_>) {}

    /// Whether [`batch`](Self::batch) is to be called. Asked once, when the server is built.
    /// Default: `false`.
    fn wants_batches(&self) -> bool {
        false
    }

    /// A peer does not take its output as fast as it asks for more: `held` bytes, more than
    /// [`Limits::output_high`](crate::Limits::output_high), wait for it, so it is not read any more.
    /// Told at the end of the turn in which that began.
    fn backpressure_on(&self, id: ConnectionId, peer: &Peer, held: usize) {}

    /// A peer is read again, because its output has fallen below
    /// [`Limits::output_low`](crate::Limits::output_low); or its connection ends, and `closed` is
    /// called next. Once for each `backpressure_on`.
    fn backpressure_off(&self, id: ConnectionId, peer: &Peer, held: usize) {}

    /// A deadline of a connection has passed, so it is closed, or what is left of it is. A drain's
    /// deadline and the timers of handlers are none of these.
    fn timed_out(&self, id: ConnectionId, peer: &Peer, deadline: Deadline) {}

    /// Code that was called for a connection panicked, which ends it (if it had not ended already).
    /// `message` is what the panic said, and may repeat what the peer has sent. The place of the
    /// panic is known to the [panic hook](std::panic::set_hook) alone.
    fn panicked(&self, id: ConnectionId, peer: &Peer, callback: Callback, message: &str) {}

    /// A callback `took` longer than [`Timeouts::stall`](crate::Timeouts::stall) (100 ms if not
    /// set) on a thread that many connections share, so that all of those had to wait. Only where
    /// [`Context::may_block`](crate::Context::may_block) says `false`.
    ///
    /// Told when the callback has returned. The time is that between two looks at the clock that
    /// are made anyway, so it includes the system calls around the callback, the making of the
    /// handler before `on_open`, and the time during which the system ran something else.
    fn stalled(&self, id: ConnectionId, peer: &Peer, callback: Callback, took: Duration) {}

    /// A connection has ended; `on_close` was called, and its handler dropped. Once for each
    /// connection that was accepted and not refused, also for those that were never opened. The
    /// socket may still linger.
    fn closed(&self, connection: &Closed<'_>) {}

    /// `accept` failed, or a connection ended before it was set up. With a `pause`, nothing is
    /// accepted for that long: the system is out of something. Without one, the error belonged to a
    /// single connection, or is tried again. On the thread that accepts.
    fn accept_failed(&self, addr: &Addr, error: &io::Error, pause: Option<Duration>) {}

    /// A listener is dead; the server goes on with the others, or ends if it was the last. On the
    /// thread that accepts.
    fn listener_failed(&self, addr: &Addr, error: &io::Error) {}

    /// The limit of connections was lowered when the server was built, to what the process's limit
    /// of descriptors leaves room for. On the thread that builds.
    fn limit_lowered(&self, wanted: usize, granted: usize) {}

    /// The backend may run as many as `threads` threads, because more than 2,048 were asked for: as
    /// workers, or as connections that have one each. That works, but they take room among the
    /// threads and memory maps of the process and of the system. (The default of 4,096 connections
    /// is not told of.) Once, when the server starts.
    fn many_threads(&self, threads: usize) {}

    /// A drain began: connections are accepted for `grace`, and what is left after `deadline` is
    /// closed by force; both are counted from now. On the thread that called for it.
    ///
    /// This and the next four are the steps of a server's end. Each is told at most once, one after
    /// the other, in this order, on whichever thread takes it. A stop has no beginning: it begins
    /// with `drain_deadline`. A server that fails is stopped.
    fn drain_began(&self, grace: Duration, deadline: Duration) {}

    /// Nobody is accepted any more: the backlogs are empty, and the listeners are let go of. If the
    /// server was full, that may be only after `drain_told`, when others have made places.
    fn drain_listeners_closed(&self) {}

    /// All connections, `live` of them, are woken to be told of the drain by `on_shutdown`.
    fn drain_told(&self, live: usize) {}

    /// The drain has reached its deadline, or the server was stopped: the connections that are
    /// `left` are closed by force. It is not called if nothing was left before. After a stop,
    /// `drain_listeners_closed` may come behind it.
    fn drain_deadline(&self, left: usize) {}

    /// The server has come to its end, and this is how. The steps of the end are told one after the
    /// other: if another thread is telling of one at that moment, it tells this one as well, and
    /// [`ServerHandle::drain`](crate::ServerHandle::drain) or `join` may have returned just before.
    fn drained(&self, report: &DrainReport) {}
}

/// Why a connection was refused, as [`Observer::refused`] is told.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub enum Refusal<'a> {
    /// The server was full, and is told to [reject](crate::AtLimit::Reject) then.
    Full {
        /// The limit.
        max: usize,
    },
    /// There were too many connections from its address: see
    /// [`Limits::per_address`](crate::Limits::per_address).
    Address {
        /// The limit.
        max: usize,
    },
    /// The backend could not run it.
    Backend(&'a io::Error),
}

impl Refusal<'_> {
    /// A short name for logs and metrics: `full`, `address` or `backend`.
    pub fn name(&self) -> &'static str {
        match self {
            Refusal::Full { .. } => "full",
            Refusal::Address { .. } => "address",
            Refusal::Backend(_) => "backend",
        }
    }

    /// Whether a limit was the reason, rather than a failure.
    pub fn is_by_limit(&self) -> bool {
        !matches!(self, Refusal::Backend(_))
    }
}

impl fmt::Display for Refusal<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::Full { max } => write!(f, "{max} connections are open, which is the limit"),
            Refusal::Address { max } => {
                write!(f, "{max} connections of its address are open, which is the limit")
            }
            Refusal::Backend(error) => error.fmt(f),
        }
    }
}

/// Whether an observer wants to be told of batches. One that panics does not.
pub(crate) fn wants_batches(observer: &dyn Observer) -> bool {
    catch_unwind(AssertUnwindSafe(|| observer.wants_batches())).unwrap_or_else(|payload| {
        drop_payload(Err::<(), _>(payload));
        false
    })
}

/// Tells what a connection has noted.
pub(crate) fn tell(observer: &dyn Observer, id: ConnectionId, peer: &Peer, note: Note<'_>) {
    match note {
        Note::Panicked(callback, message) => observer.panicked(id, peer, callback, message),
        Note::Stalled(callback, took) => observer.stalled(id, peer, callback, took),
        Note::TimedOut(deadline) => observer.timed_out(id, peer, deadline),
        Note::Throttled(true, held) => observer.backpressure_on(id, peer, held),
        Note::Throttled(false, held) => observer.backpressure_off(id, peer, held),
    }
}

/// What one turn of a connection has served, as [`Observer::batch`] is told.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Batch<'a> {
    /// The connection's number.
    pub id: ConnectionId,
    /// Who is at the other end.
    pub peer: &'a Peer,
    /// How many requests were served; at least one.
    pub requests: u64,
    /// Bytes received in this turn. Requests may have come, in part, in turns before.
    pub received: u64,
    /// Bytes that the system took for sending in this turn.
    pub sent: u64,
}

/// A connection that has ended, as [`Observer::closed`] is told.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Closed<'a> {
    /// Its number.
    pub id: ConnectionId,
    /// Who was at the other end.
    pub peer: &'a Peer,
    /// Why it ended.
    pub reason: &'a CloseReason,
    /// Bytes received.
    pub received: u64,
    /// Bytes that the system took for sending.
    pub sent: u64,
    /// Requests that were served: see [`Context::count_requests`](crate::Context::count_requests).
    pub requests: u64,
    /// From the accept to the end.
    pub age: Duration,
}
