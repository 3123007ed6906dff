//! Every event of a server as an event of the `tracing` crate.

use super::rate::Rate;
use super::shown::{Who, Why};
use super::{Batch, Callback, Closed, Deadline, Observer, Refusal};
use crate::addr::Addr;
use crate::handler::{CloseKind, ConnectionId, Peer};
use crate::shutdown::DrainReport;
use ::tracing::{debug, error, info, trace, warn};
use std::io;
use std::time::{Duration, Instant};

/// Makes an event of the [`tracing`](https://docs.rs/tracing) crate of everything that happens, with
/// the target `polyserve` and typed fields. It needs the feature `tracing`.
///
/// | level | events |
/// |---|---|
/// | error | `panicked`, `listener_failed` |
/// | warn | `stalled`, `refused`, `accept_failed` with a pause, `limit_lowered`, `many_threads`, `drain_deadline` with something left, `closed` for a failure of the server (`handler`, `io`, `backend`, `killed`) |
/// | info | `listening`, the other steps of a drain, `closed` because of what a peer did or did not do (time-outs, `decode`, `input_limit`, `slow_consumer` and the like) |
/// | debug | `opened`, `closed` in order, `timed_out`, `backpressure_on` and `_off`, `accept_failed` without a pause |
/// | trace | `accepted`; `batch`, if [`batches`](Self::batches) asks for it |
///
/// What a peer can cause is at most one event in five seconds of each kind (and reason, deadline or
/// callback) at the levels from `info` on; the field `left_out` says how many were not told since
/// the last. Below, everything is told.
///
/// No field holds a byte that a peer has chosen: not the texts of panics and of errors of handlers,
/// layers and codecs, and not the name of a Unix socket. There are no spans: a connection has its
/// number in each event, in the field `connection`.
///
/// ```
/// use polyserve::Server;
/// use polyserve::observe::TracingObserver;
///
/// let builder = Server::builder().observer(TracingObserver::new());
/// ```
#[derive(Debug, Default)]
pub struct TracingObserver {
    rate: Rate,
    batches: bool,
}

impl TracingObserver {
    /// An observer that has told nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether to tell of requests, one event for each turn in which there were some. Default:
    /// `false`, because that costs something for each request, whatever level is on.
    pub fn batches(mut self, batches: bool) -> Self {
        self.batches = batches;
        self
    }

    /// Whether an event that a peer can cause may be told now, and how many were left out.
    fn admit(&self, event: &'static str, kind: &'static str) -> Option<u64> {
        self.rate.admit((event, kind), Instant::now())
    }
}

/// An event of ours: its level, its fields, and its name as the message.
macro_rules! event {
    ($level:ident, $name:literal $(, $($fields:tt)+)?) => {
        $level!(target: "polyserve", $($($fields)+,)? $name)
    };
}

impl Observer for TracingObserver {
    fn listening(&self, addr: &Addr) {
        event!(info, "listening", addr = %addr);
    }

    fn accepted(&self, id: ConnectionId, peer: &Peer) {
        event!(trace, "accepted", connection = id.get(), peer = %Who(peer));
    }

    fn refused(&self, peer: &Peer, why: &Refusal<'_>) {
        let kind = why.name();
        let Some(left_out) = self.admit("refused", kind) else { return };
        event!(warn, "refused", peer = %Who(peer), kind, %why, left_out);
    }

    fn opened(&self, id: ConnectionId, peer: &Peer) {
        event!(debug, "opened", connection = id.get(), peer = %Who(peer));
    }

    fn wants_batches(&self) -> bool {
        self.batches
    }

    fn batch(&self, batch: &Batch<'_>) {
        let Batch { id, requests, received, sent, .. } = *batch;
        event!(trace, "batch", connection = id.get(), requests, received, sent);
    }

    fn backpressure_on(&self, id: ConnectionId, peer: &Peer, held: usize) {
        event!(debug, "backpressure_on", connection = id.get(), peer = %Who(peer), held);
    }

    fn backpressure_off(&self, id: ConnectionId, peer: &Peer, held: usize) {
        event!(debug, "backpressure_off", connection = id.get(), peer = %Who(peer), held);
    }

    fn timed_out(&self, id: ConnectionId, peer: &Peer, deadline: Deadline) {
        let (peer, deadline) = (Who(peer), deadline.name());
        event!(debug, "timed_out", connection = id.get(), %peer, deadline);
    }

    fn panicked(&self, id: ConnectionId, peer: &Peer, callback: Callback, _message: &str) {
        let Some(left_out) = self.admit("panicked", callback.name()) else { return };
        let (peer, callback) = (Who(peer), callback.name());
        event!(error, "panicked", connection = id.get(), %peer, callback, left_out);
    }

    fn stalled(&self, id: ConnectionId, peer: &Peer, callback: Callback, took: Duration) {
        let Some(left_out) = self.admit("stalled", callback.name()) else { return };
        let (peer, callback, seconds) = (Who(peer), callback.name(), took.as_secs_f64());
        event!(warn, "stalled", connection = id.get(), %peer, callback, seconds, left_out);
    }

    fn closed(&self, connection: &Closed<'_>) {
        let Closed { id, peer, reason, received, sent, requests, age } = *connection;
        let (id, peer, kind, seconds) = (id.get(), Who(peer), reason.kind(), age.as_secs_f64());
        /// The event at one of the levels.
        macro_rules! closed {
            ($level:ident $(, $left_out:ident)?) => {
                event!(
                    $level, "closed", connection = id, %peer, reason = kind.name(),
                    why = %Why(reason), received, sent, requests, seconds $(, $left_out)?
                )
            };
        }
        let severity = Severity::of(kind);
        if severity == Severity::Usual {
            return closed!(debug);
        }
        let Some(left_out) = self.admit("closed", kind.name()) else { return };
        match severity {
            Severity::Ours => closed!(warn, left_out),
            _ => closed!(info, left_out),
        }
    }

    fn accept_failed(&self, addr: &Addr, error: &io::Error, pause: Option<Duration>) {
        let Some(pause) = pause else {
            return event!(debug, "accept_failed", addr = %addr, error = %error);
        };
        let Some(left_out) = self.admit("accept_failed", "") else { return };
        let pause = pause.as_secs_f64();
        event!(warn, "accept_failed", addr = %addr, error = %error, pause, left_out);
    }

    fn listener_failed(&self, addr: &Addr, error: &io::Error) {
        event!(error, "listener_failed", addr = %addr, error = %error);
    }

    fn limit_lowered(&self, wanted: usize, granted: usize) {
        event!(warn, "limit_lowered", wanted, granted);
    }

    fn many_threads(&self, threads: usize) {
        event!(warn, "many_threads", threads);
    }

    fn drain_began(&self, grace: Duration, deadline: Duration) {
        let (grace, deadline) = (grace.as_secs_f64(), deadline.as_secs_f64());
        event!(info, "drain_began", grace, deadline);
    }

    fn drain_listeners_closed(&self) {
        event!(info, "drain_listeners_closed");
    }

    fn drain_told(&self, live: usize) {
        event!(info, "drain_told", live);
    }

    fn drain_deadline(&self, left: usize) {
        match left {
            0 => event!(info, "drain_deadline", left),
            _ => event!(warn, "drain_deadline", left),
        }
    }

    fn drained(&self, report: &DrainReport) {
        let DrainReport { finished, closed, killed, stuck, took, .. } = *report;
        let seconds = took.as_secs_f64();
        event!(info, "drained", finished, closed, killed, stuck, seconds);
    }
}

/// Whose affair the end of a connection is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Severity {
    /// Nobody's: connections end.
    Usual,
    /// The peer's, by what it did or did not do.
    Peers,
    /// The server's.
    Ours,
}

impl Severity {
    fn of(kind: CloseKind) -> Self {
        match kind {
            CloseKind::PeerClosed
            | CloseKind::Closed
            | CloseKind::Aborted
            | CloseKind::Reset
            | CloseKind::Shutdown
            | CloseKind::Taken
            // `panicked` has told it.
            | CloseKind::Panic => Severity::Usual,
            CloseKind::Handler | CloseKind::Io | CloseKind::Backend | CloseKind::Killed => {
                Severity::Ours
            }
            _ => Severity::Peers,
        }
    }
}
