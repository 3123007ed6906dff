//! Why a connection ended.

use super::BoxError;
use crate::codec::DecodeError;
use std::fmt;
use std::io;

/// Why a connection ended. Every connection that was opened ends for exactly one reason, which
/// `on_close`, the counters and the [`Observer`](crate::Observer) are told alike.
///
/// ```
/// use polyserve::{CloseKind, CloseReason};
///
/// let reason = CloseReason::InputLimit { wanted: 2_000_000, limit: 1_048_576 };
/// assert_eq!(reason.kind(), CloseKind::InputLimit);
/// assert_eq!(
///     reason.to_string(),
///     "2000000 bytes were wanted at once, above the limit of 1048576"
/// );
/// assert!(!reason.is_timeout());
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub enum CloseReason {
    /// The peer finished sending, and the handler's `on_eof` let the connection end.
    PeerClosed,
    /// The handler returned [`Action::Close`](crate::Action::Close), or somebody called
    /// [`Sender::close`](crate::Sender::close) or [`Control::close`](crate::Control::close).
    Closed,
    /// The handler returned [`Action::Abort`](crate::Action::Abort).
    Aborted,
    /// A callback returned this error.
    Handler(BoxError),
    /// A callback or the factory panicked, with this message.
    Panic(String),
    /// The peer reset the connection, or left without reading what was sent.
    Reset(io::Error),
    /// The connection failed in another way, for example by the system's own time-out.
    Io(io::Error),
    /// The peer connected and sent nothing within the first-byte time-out.
    FirstByteTimeout,
    /// Nothing came for as long as the idle time-out.
    IdleTimeout,
    /// The rest of a message did not come within the message time-out.
    MessageTimeout,
    /// The peer took nothing of the output for as long as the write-stall time-out.
    WriteTimeout,
    /// The peer had finished sending, and the rest took longer than the half-closed time-out.
    HalfClosedTimeout,
    /// The peer did not keep up: as `WriteTimeout`, with more output waiting than the hard mark
    /// allows; or a [`Group`](crate::Group) or a [`Sender`](crate::Sender) gave it up.
    SlowConsumer,
    /// The handler wanted more bytes at once than the input limit allows.
    InputLimit {
        /// The number of bytes that the handler wanted to see at once.
        wanted: usize,
        /// The limit.
        limit: usize,
    },
    /// What the peer sent is no frame of the protocol: a callback returned a
    /// [`DecodeError`] as its error, as [`Framed`](crate::Framed) does. This is the peer's fault,
    /// where `Handler` is ours.
    Decode(DecodeError),
    /// A layer failed, for example a TLS handshake.
    Layer(BoxError),
    /// The peer's stream ended in the middle of a frame, or without the layer's own end mark (TLS:
    /// close_notify), so it may have been cut short by somebody else.
    Truncated,
    /// The server drained: the connection was idle, or its handler closed it on `on_shutdown`.
    Shutdown,
    /// The server stopped, or its drain reached the deadline.
    Killed,
    /// The server was full, and this connection was the one that had been idle for longest: see
    /// [`AtLimit::CloseOldestIdle`](crate::AtLimit::CloseOldestIdle).
    Evicted,
    /// The backend dropped the session.
    Backend,
    /// The handler took the socket out of the server by
    /// [`Context::into_stream`](crate::Context::into_stream).
    Taken,
}

/// The kinds of [`CloseReason`], without what they carry: what counters are kept by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
#[allow(missing_docs)] // each is the variant of `CloseReason` of the same name
pub enum CloseKind {
    PeerClosed,
    Closed,
    Aborted,
    Handler,
    Panic,
    Reset,
    Io,
    FirstByteTimeout,
    IdleTimeout,
    MessageTimeout,
    WriteTimeout,
    HalfClosedTimeout,
    SlowConsumer,
    InputLimit,
    Decode,
    Layer,
    Truncated,
    Shutdown,
    Killed,
    Evicted,
    Backend,
    Taken,
}

impl CloseKind {
    /// All kinds, in the order of their numbers.
    pub const ALL: [CloseKind; 22] = [
        CloseKind::PeerClosed,
        CloseKind::Closed,
        CloseKind::Aborted,
        CloseKind::Handler,
        CloseKind::Panic,
        CloseKind::Reset,
        CloseKind::Io,
        CloseKind::FirstByteTimeout,
        CloseKind::IdleTimeout,
        CloseKind::MessageTimeout,
        CloseKind::WriteTimeout,
        CloseKind::HalfClosedTimeout,
        CloseKind::SlowConsumer,
        CloseKind::InputLimit,
        CloseKind::Decode,
        CloseKind::Layer,
        CloseKind::Truncated,
        CloseKind::Shutdown,
        CloseKind::Killed,
        CloseKind::Evicted,
        CloseKind::Backend,
        CloseKind::Taken,
    ];

    /// A short name for logs and metrics, such as `idle_timeout`.
    pub fn name(self) -> &'static str {
        match self {
            CloseKind::PeerClosed => "peer_closed",
            CloseKind::Closed => "closed",
            CloseKind::Aborted => "aborted",
            CloseKind::Handler => "handler",
            CloseKind::Panic => "panic",
            CloseKind::Reset => "reset",
            CloseKind::Io => "io",
            CloseKind::FirstByteTimeout => "first_byte_timeout",
            CloseKind::IdleTimeout => "idle_timeout",
            CloseKind::MessageTimeout => "message_timeout",
            CloseKind::WriteTimeout => "write_timeout",
            CloseKind::HalfClosedTimeout => "half_closed_timeout",
            CloseKind::SlowConsumer => "slow_consumer",
            CloseKind::InputLimit => "input_limit",
            CloseKind::Decode => "decode",
            CloseKind::Layer => "layer",
            CloseKind::Truncated => "truncated",
            CloseKind::Shutdown => "shutdown",
            CloseKind::Killed => "killed",
            CloseKind::Evicted => "evicted",
            CloseKind::Backend => "backend",
            CloseKind::Taken => "taken",
        }
    }
}

impl CloseReason {
    /// The reason for an error that a callback returned.
    pub(crate) fn of_error(error: BoxError) -> Self {
        match error.downcast::<DecodeError>() {
            Ok(error) => match *error {
                DecodeError::Truncated { .. } => CloseReason::Truncated,
                error => CloseReason::Decode(error),
            },
            Err(error) => CloseReason::Handler(error),
        }
    }

    /// Which kind of reason this is.
    pub fn kind(&self) -> CloseKind {
        match self {
            CloseReason::PeerClosed => CloseKind::PeerClosed,
            CloseReason::Closed => CloseKind::Closed,
            CloseReason::Aborted => CloseKind::Aborted,
            CloseReason::Handler(_) => CloseKind::Handler,
            CloseReason::Panic(_) => CloseKind::Panic,
            CloseReason::Reset(_) => CloseKind::Reset,
            CloseReason::Io(_) => CloseKind::Io,
            CloseReason::FirstByteTimeout => CloseKind::FirstByteTimeout,
            CloseReason::IdleTimeout => CloseKind::IdleTimeout,
            CloseReason::MessageTimeout => CloseKind::MessageTimeout,
            CloseReason::WriteTimeout => CloseKind::WriteTimeout,
            CloseReason::HalfClosedTimeout => CloseKind::HalfClosedTimeout,
            CloseReason::SlowConsumer => CloseKind::SlowConsumer,
            CloseReason::InputLimit { .. } => CloseKind::InputLimit,
            CloseReason::Decode(_) => CloseKind::Decode,
            CloseReason::Layer(_) => CloseKind::Layer,
            CloseReason::Truncated => CloseKind::Truncated,
            CloseReason::Shutdown => CloseKind::Shutdown,
            CloseReason::Killed => CloseKind::Killed,
            CloseReason::Evicted => CloseKind::Evicted,
            CloseReason::Backend => CloseKind::Backend,
            CloseReason::Taken => CloseKind::Taken,
        }
    }

    /// Whether the peer was too slow: a time-out of any kind, or `SlowConsumer`.
    pub fn is_timeout(&self) -> bool {
        matches!(
            self,
            CloseReason::FirstByteTimeout
                | CloseReason::IdleTimeout
                | CloseReason::MessageTimeout
                | CloseReason::WriteTimeout
                | CloseReason::HalfClosedTimeout
                | CloseReason::SlowConsumer
        )
    }
}

impl fmt::Display for CloseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CloseReason::PeerClosed => f.write_str("the peer closed the connection"),
            CloseReason::Closed => f.write_str("the handler closed the connection"),
            CloseReason::Aborted => f.write_str("the handler aborted the connection"),
            CloseReason::Handler(e) => write!(f, "the handler failed: {e}"),
            CloseReason::Panic(message) => write!(f, "the handler panicked: {message}"),
            CloseReason::Reset(e) => write!(f, "the peer reset the connection: {e}"),
            CloseReason::Io(e) => write!(f, "the connection failed: {e}"),
            CloseReason::FirstByteTimeout => f.write_str("the peer sent nothing in time"),
            CloseReason::IdleTimeout => f.write_str("the peer was idle for too long"),
            CloseReason::MessageTimeout => f.write_str("a message was not completed in time"),
            CloseReason::WriteTimeout => f.write_str("the peer took no output in time"),
            CloseReason::HalfClosedTimeout => {
                f.write_str("the half-closed connection did not end in time")
            }
            CloseReason::SlowConsumer => {
                f.write_str("the peer did not keep up, and too much output was waiting for it")
            }
            CloseReason::InputLimit { wanted, limit } => {
                write!(f, "{wanted} bytes were wanted at once, above the limit of {limit}")
            }
            CloseReason::Decode(e) => write!(f, "the peer broke the protocol: {e}"),
            CloseReason::Layer(e) => write!(f, "a layer failed: {e}"),
            CloseReason::Truncated => {
                f.write_str("the stream ended within a frame, or without its end mark")
            }
            CloseReason::Shutdown => f.write_str("the server drained"),
            CloseReason::Killed => {
                f.write_str("the server stopped, or its drain reached the deadline")
            }
            CloseReason::Evicted => {
                f.write_str("the connection was idle, and made room for another")
            }
            CloseReason::Backend => f.write_str("the backend dropped the session"),
            CloseReason::Taken => f.write_str("the handler took the socket"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_numbered_in_order_and_named_apart() {
        let mut names = std::collections::HashSet::new();
        for (number, kind) in CloseKind::ALL.into_iter().enumerate() {
            assert_eq!(kind as usize, number);
            assert!(names.insert(kind.name()), "{} is there twice", kind.name());
        }
    }
}
