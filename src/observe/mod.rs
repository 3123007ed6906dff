//! What a server tells of itself: one trait, one method for each kind of event.
//!
//! The library never logs. It tells an [`Observer`], and counts.

mod counters;
mod stderr;

pub(crate) use counters::Counters;
pub use counters::Snapshot;
pub use stderr::StderrObserver;

use crate::addr::Addr;
use crate::handler::{CloseReason, ConnectionId, Peer};
use crate::shutdown::DrainReport;
use std::fmt;
use std::io;
use std::time::Duration;

/// Is told what happens in a server. Every method does nothing by default.
///
/// The methods are called on the server's own threads, between callbacks: they should be quick,
/// and must neither block nor panic. None of them is called for a single request or read.
///
/// ```
/// use polyserve::observe::Closed;
/// use polyserve::{Observer, Server};
///
/// /// Prints one line for each connection that has ended.
/// struct Log;
///
/// impl Observer for Log {
///     fn closed(&self, connection: &Closed<'_>) {
///         let Closed { id, peer, reason, received, sent, age, .. } = connection;
///         println!("{id} {peer}: {received} bytes in, {sent} out in {age:?}: {reason}");
///     }
/// }
///
/// let builder = Server::builder().observer(Log);
/// ```
#[allow(unused_variables)] // the arguments are named for the docs
pub trait Observer: Send + Sync + 'static {
    /// A listener is open; its server is about to accept.
    fn listening(&self, addr: &Addr) {}

    /// A connection was accepted, and its handler was made: `on_open` comes next.
    fn opened(&self, id: ConnectionId, peer: &Peer) {}

    /// A connection has ended; `on_close` was called. Called once for each connection that was
    /// accepted and not refused, also for those that ended before they were opened.
    fn closed(&self, connection: &Closed<'_>) {}

    /// A connection was accepted and closed again, because of a limit, or because no thread could
    /// be started for it.
    fn refused(&self, peer: &Peer, why: &Refusal<'_>) {}

    /// `accept` failed. With a `pause`, nothing is accepted for that long: the system is out of
    /// something. Without one, the error belonged to a single connection, or is tried again.
    fn accept_failed(&self, addr: &Addr, error: &io::Error, pause: Option<Duration>) {}

    /// A listener is dead; the server goes on with the others, or ends if it was the last.
    fn listener_failed(&self, addr: &Addr, error: &io::Error) {}

    /// The limit of connections was lowered at the start, to what the process's limit of
    /// descriptors leaves room for.
    fn limit_lowered(&self, wanted: usize, granted: usize) {}

    /// A drain began: connections are accepted for `grace`, and what is left after `deadline` is
    /// closed by force.
    fn drain_began(&self, grace: Duration, deadline: Duration) {}

    /// The drain is over.
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
    /// From the accept to the end.
    pub age: Duration,
}
