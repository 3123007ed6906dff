//! The bounds that a connection keeps.

use crate::limit::Limit;
use std::borrow::Cow;
use std::time::Duration;

/// How much of everything a server and each of its connections may use.
///
/// All are on by default; see each field for what happens at the limit.
///
/// ```
/// use polyserve::Limits;
///
/// let mut limits = Limits::default();
/// limits.input = 16 * 1024;
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// Connections open at the same time, counted exactly, lingering ones included. What happens
    /// to one that comes at the limit is said by `at_limit`. `None` takes the backend's own
    /// default (4,096 for a thread per connection, else 10,000), at most the process's limit of
    /// descriptors less 64. It can be changed while the server runs, by
    /// [`Control::set_max_connections`](crate::Control::set_max_connections). Default: `None`.
    pub max_connections: Option<usize>,
    /// What happens to a connection that comes when `max_connections` are open. Default:
    /// [`AtLimit::Wait`].
    pub at_limit: AtLimit,
    /// Connections from one IP address at the same time; IPv6 addresses count by their first 64
    /// bits, which is what one customer is given (RFC 6177), and Unix sockets do not count. One
    /// more is refused. It is the address of the socket that counts, whatever a layer says of the
    /// peer (PROXY). Off by default, since many users may share one address (NAT).
    pub per_address: Limit<usize>,
    /// What a connection that is refused for one of the two limits is sent before it is closed, as
    /// far as its send buffer takes it. It goes to the socket as it is, past any layer. Default:
    /// nothing.
    pub farewell: Cow<'static, [u8]>,
    /// Bytes that a handler may leave in its input and still ask for more. Above it the connection
    /// is closed with [`CloseReason::InputLimit`](crate::CloseReason::InputLimit). Default: 1 MiB and
    /// 64 KiB, room for a frame of the codecs' limit and what surrounds it.
    pub input: usize,
    /// The high mark: when more output than this waits, the peer is not read until it has fallen
    /// below the low mark. Default: 256 KiB.
    pub output_high: usize,
    /// The low mark: `on_writable` is called when the output falls below it. Default: 64 KiB.
    pub output_low: usize,
    /// The hard mark: senders get `Full` above it, and a peer that takes nothing for the
    /// write-stall time-out while more than this waits is a
    /// [`SlowConsumer`](crate::CloseReason::SlowConsumer). Default: 1 MiB.
    pub output_hard: usize,
    /// Bytes that all connections hold together: input that was left, and output that waits. (Not
    /// the messages of senders that still wait as such, which many connections may share.) Above it
    /// those connections are not read that hold more than their share of it, and a quarter above it
    /// none is, until it has fallen by an eighth. All time-outs but the idle one go on meanwhile, and
    /// the write-stall time-out is not moved by the progress of a connection that holds too much: a
    /// peer that takes its output too slowly, or never ends its message, is closed in the end.
    /// `usize::MAX` lifts it. Default: 256 MiB.
    pub total_held: usize,
    /// Bytes of unread input that a connection which was closed still reads and throws away, so
    /// that its last output is not destroyed by a reset. Default: 1 MiB.
    pub lingering: usize,
    /// Connections accepted in one go before those that are open have their turn. Default: 64.
    pub accepts_per_turn: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_connections: None,
            at_limit: AtLimit::Wait,
            per_address: Limit::Unlimited,
            farewell: Cow::Borrowed(&[]),
            input: (1024 + 64) * 1024,
            output_high: 256 * 1024,
            output_low: 64 * 1024,
            output_hard: 1024 * 1024,
            total_held: 256 * 1024 * 1024,
            lingering: 1024 * 1024,
            accepts_per_turn: 64,
        }
    }
}

/// What happens to a connection that comes when the server is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum AtLimit {
    /// It waits in the system's backlog until there is a place. When the backlog is full as well,
    /// the system ignores further attempts, and clients try again by themselves (tcp(7)).
    #[default]
    Wait,
    /// It is accepted, sent [`Limits::farewell`], and closed. The observer is told
    /// [`refused`](crate::Observer::refused).
    Reject,
    /// The connection that has been idle for longest is closed to make room, with
    /// [`CloseReason::Evicted`](crate::CloseReason::Evicted). Those that are busy, or whose bytes
    /// have just come, are not idle; while all are busy, the new one waits.
    CloseOldestIdle,
}

/// How long a server waits for what.
///
/// All are on by default; lifting one takes [`Limit::Unlimited`]. They are kept to within about
/// 20 ms: never too early, and late only when the thread that keeps them is busy.
///
/// ```
/// use polyserve::{Limit, Timeouts};
/// use std::time::Duration;
///
/// let mut timeouts = Timeouts::default();
/// timeouts.idle = Limit::Unlimited;
/// timeouts.message = Duration::from_secs(5).into();
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Timeouts {
    /// From the accept to the first byte that the handler sees (a layer's handshake included).
    /// Then the connection is closed with
    /// [`FirstByteTimeout`](crate::CloseReason::FirstByteTimeout), and without lingering if nothing
    /// was sent either. Default: 10 s.
    pub first_byte: Limit<Duration>,
    /// Without a byte received, while the connection is not busy. What is sent does not count.
    /// Then it is closed with [`IdleTimeout`](crate::CloseReason::IdleTimeout). Default: 60 s.
    pub idle: Limit<Duration>,
    /// From the first byte that is left in the input until a callback consumes some: bytes that
    /// drip in do not reset it. While the output is above the high mark, so that the peer is not
    /// read, it does not run, and it starts anew afterwards. Then the connection is closed with
    /// [`MessageTimeout`](crate::CloseReason::MessageTimeout). Default: 30 s.
    pub message: Limit<Duration>,
    /// Without any progress of the output that waits; or, while all connections hold more than
    /// [`Limits::total_held`] and this one more than its share, until all of it is taken. Then the
    /// connection is reset, with [`WriteTimeout`](crate::CloseReason::WriteTimeout) or
    /// [`SlowConsumer`](crate::CloseReason::SlowConsumer). Default: 30 s.
    pub write_stall: Limit<Duration>,
    /// From the peer's half-close, or the last progress of the output after it, until the handler
    /// closes. Then the connection is closed with
    /// [`HalfClosedTimeout`](crate::CloseReason::HalfClosedTimeout). Default: 30 s.
    pub half_closed: Limit<Duration>,
    /// How long a connection that was closed waits for the peer's end while nothing comes.
    /// Default: 5 s (nginx' `lingering_timeout`).
    pub lingering_idle: Duration,
    /// How long it waits in all. Default: 30 s (nginx' `lingering_time`).
    pub lingering_total: Duration,
    /// How long a server stops accepting when the system is out of descriptors or memory.
    /// Default: 100 ms.
    pub accept_pause: Duration,
    /// How long a callback may hold up an event loop before
    /// [`Observer::stalled`](crate::Observer::stalled) is told. Nothing ends by it.
    /// Default: 100 ms.
    pub stall: Limit<Duration>,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            first_byte: Limit::At(Duration::from_secs(10)),
            idle: Limit::At(Duration::from_secs(60)),
            message: Limit::At(Duration::from_secs(30)),
            write_stall: Limit::At(Duration::from_secs(30)),
            half_closed: Limit::At(Duration::from_secs(30)),
            lingering_idle: Duration::from_secs(5),
            lingering_total: Duration::from_secs(30),
            accept_pause: Duration::from_millis(100),
            stall: Limit::At(Duration::from_millis(100)),
        }
    }
}
