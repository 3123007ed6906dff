//! The bounds that a connection keeps.

use crate::limit::Limit;
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
    /// Connections open at the same time, counted exactly, lingering ones included. At the limit
    /// the server stops accepting: new connections wait in the system's backlog. `None` takes the
    /// backend's own default (4,096 for a thread per connection, else 10,000), at most the
    /// process's limit of descriptors less 64. Default: `None`.
    pub max_connections: Option<usize>,
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
            input: (1024 + 64) * 1024,
            output_high: 256 * 1024,
            output_low: 64 * 1024,
            output_hard: 1024 * 1024,
            lingering: 1024 * 1024,
            accepts_per_turn: 64,
        }
    }
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
    /// [`FirstByteTimeout`](crate::CloseReason::FirstByteTimeout). Default: 10 s.
    pub first_byte: Limit<Duration>,
    /// Without a byte received, while the connection is not busy. What is sent does not count.
    /// Then it is closed with [`IdleTimeout`](crate::CloseReason::IdleTimeout). Default: 60 s.
    pub idle: Limit<Duration>,
    /// From the first byte that is left in the input until a callback consumes some: bytes that
    /// drip in do not reset it. While the output is above the high mark, so that the peer is not
    /// read, it does not run, and it starts anew afterwards. Then the connection is closed with
    /// [`MessageTimeout`](crate::CloseReason::MessageTimeout). Default: 30 s.
    pub message: Limit<Duration>,
    /// Without any progress of the output that waits. Then the connection is reset, with
    /// [`WriteTimeout`](crate::CloseReason::WriteTimeout) or
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
        }
    }
}
