//! How many of what.

use crate::handler::CloseKind;
use std::fmt;

/// A server's counters at one instant.
///
/// They always agree with each other: `accepted() == open() + closed_total() + refused()`, and
/// `open() <= live()`. From one snapshot to the next, those that count what has happened never fall.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Snapshot {
    counters: Counters,
    live: usize,
    held: usize,
}

/// The counters themselves; kept under the lock of the live connections, so that they agree.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Counters {
    pub(crate) accepted: u64,
    pub(crate) open: u64,
    pub(crate) refused: u64,
    pub(crate) accept_errors: u64,
    pub(crate) closed: [u64; CloseKind::ALL.len()],
    /// Of those closed since a drain began: how many had something left to do, and did it.
    pub(crate) finished: u64,
    pub(crate) received: u64,
    pub(crate) sent: u64,
    pub(crate) requests: u64,
}

impl Counters {
    /// Adds what one connection has counted.
    pub(crate) fn add(&mut self, received: u64, sent: u64, requests: u64) {
        self.received += received;
        self.sent += sent;
        self.requests += requests;
    }

    pub(crate) fn snapshot(&self, live: usize) -> Snapshot {
        Snapshot { counters: self.clone(), live, held: 0 }
    }
}

impl Snapshot {
    /// Connections accepted so far.
    pub fn accepted(&self) -> u64 {
        self.counters.accepted
    }

    /// Connections accepted and closed again before anything was done with them.
    pub fn refused(&self) -> u64 {
        self.counters.refused
    }

    /// Connections whose handlers are alive, or about to be made.
    pub fn open(&self) -> u64 {
        self.counters.open
    }

    /// Connections that count against the limit: those open, and those that linger.
    pub fn live(&self) -> usize {
        self.live
    }

    /// Bytes that all connections hold together, as of the last turn of each: what
    /// [`Limits::total_held`](crate::Limits::total_held) bounds.
    pub fn held(&self) -> usize {
        self.held
    }

    /// Connections that ended for this kind of reason.
    pub fn closed(&self, kind: CloseKind) -> u64 {
        self.counters.closed[kind as usize]
    }

    /// Connections that ended, for any reason.
    pub fn closed_total(&self) -> u64 {
        self.counters.closed.iter().sum()
    }

    /// How often `accept` failed.
    pub fn accept_errors(&self) -> u64 {
        self.counters.accept_errors
    }

    pub(crate) fn with_held(self, held: usize) -> Self {
        Self { held, ..self }
    }

    /// Bytes received, by all connections so far: what their handlers were given, or left unread.
    pub fn received(&self) -> u64 {
        self.counters.received
    }

    /// Bytes that the system took for sending, of all connections so far.
    pub fn sent(&self) -> u64 {
        self.counters.sent
    }

    /// Requests of all connections so far: see
    /// [`Context::count_requests`](crate::Context::count_requests).
    pub fn requests(&self) -> u64 {
        self.counters.requests
    }

    pub(crate) fn finished(&self) -> u64 {
        self.counters.finished
    }
}

impl fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("Snapshot");
        out.field("accepted", &self.accepted())
            .field("open", &self.open())
            .field("live", &self.live())
            .field("held", &self.held())
            .field("refused", &self.refused())
            .field("accept_errors", &self.accept_errors())
            .field("received", &self.received())
            .field("sent", &self.sent())
            .field("requests", &self.requests());
        for kind in CloseKind::ALL {
            if self.closed(kind) > 0 {
                out.field(kind.name(), &self.closed(kind));
            }
        }
        out.finish()
    }
}
