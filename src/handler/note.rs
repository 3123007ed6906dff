//! What happens to a connection that its observers are told of.

use std::fmt;
use std::time::Duration;

/// Where the code of a user was called, as [`Observer::panicked`](crate::Observer::panicked) and
/// [`Observer::stalled`](crate::Observer::stalled) are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Callback {
    /// The factory that makes handlers.
    Factory,
    /// [`Handler::on_open`](crate::Handler::on_open).
    OnOpen,
    /// [`Handler::on_data`](crate::Handler::on_data).
    OnData,
    /// [`Handler::on_eof`](crate::Handler::on_eof).
    OnEof,
    /// [`Handler::on_writable`](crate::Handler::on_writable).
    OnWritable,
    /// [`Handler::on_wake`](crate::Handler::on_wake).
    OnWake,
    /// [`Handler::on_timer`](crate::Handler::on_timer).
    OnTimer,
    /// [`Handler::on_shutdown`](crate::Handler::on_shutdown).
    OnShutdown,
    /// [`Handler::on_close`](crate::Handler::on_close).
    OnClose,
    /// The `Drop` of the handler.
    Drop,
    /// A [`Layer`](crate::Layer), or what makes it.
    Layer,
    /// The receiver of [`Context::into_stream`](crate::Context::into_stream).
    IntoStream,
}

impl Callback {
    /// All of them, in the order of their numbers.
    pub const ALL: [Callback; 12] = [
        Callback::Factory,
        Callback::OnOpen,
        Callback::OnData,
        Callback::OnEof,
        Callback::OnWritable,
        Callback::OnWake,
        Callback::OnTimer,
        Callback::OnShutdown,
        Callback::OnClose,
        Callback::Drop,
        Callback::Layer,
        Callback::IntoStream,
    ];

    /// A short name for logs and metrics, such as `on_data`.
    pub fn name(self) -> &'static str {
        match self {
            Callback::Factory => "factory",
            Callback::OnOpen => "on_open",
            Callback::OnData => "on_data",
            Callback::OnEof => "on_eof",
            Callback::OnWritable => "on_writable",
            Callback::OnWake => "on_wake",
            Callback::OnTimer => "on_timer",
            Callback::OnShutdown => "on_shutdown",
            Callback::OnClose => "on_close",
            Callback::Drop => "drop",
            Callback::Layer => "layer",
            Callback::IntoStream => "into_stream",
        }
    }
}

impl fmt::Display for Callback {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Which of the [`Timeouts`](crate::Timeouts) has passed, as
/// [`Observer::timed_out`](crate::Observer::timed_out) is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Deadline {
    /// [`Timeouts::first_byte`](crate::Timeouts::first_byte).
    FirstByte,
    /// [`Timeouts::idle`](crate::Timeouts::idle), or the connection's own
    /// [idle time-out](crate::Context::set_idle_timeout).
    Idle,
    /// [`Timeouts::message`](crate::Timeouts::message).
    Message,
    /// [`Timeouts::write_stall`](crate::Timeouts::write_stall).
    WriteStall,
    /// [`Timeouts::half_closed`](crate::Timeouts::half_closed).
    HalfClosed,
    /// [`Timeouts::lingering_idle`](crate::Timeouts::lingering_idle) or
    /// [`lingering_total`](crate::Timeouts::lingering_total): the connection was over already, and
    /// its peer did not close its end in time.
    Lingering,
}

impl Deadline {
    /// All of them, in the order of their numbers.
    pub const ALL: [Deadline; 6] = [
        Deadline::FirstByte,
        Deadline::Idle,
        Deadline::Message,
        Deadline::WriteStall,
        Deadline::HalfClosed,
        Deadline::Lingering,
    ];

    /// A short name for logs and metrics, such as `first_byte`.
    pub fn name(self) -> &'static str {
        match self {
            Deadline::FirstByte => "first_byte",
            Deadline::Idle => "idle",
            Deadline::Message => "message",
            Deadline::WriteStall => "write_stall",
            Deadline::HalfClosed => "half_closed",
            Deadline::Lingering => "lingering",
        }
    }
}

impl fmt::Display for Deadline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Something that a connection tells whoever runs it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Note<'a> {
    /// Code of a user panicked.
    Panicked(Callback, &'a str),
    /// A callback took this long, where it may not block.
    Stalled(Callback, Duration),
    TimedOut(Deadline),
    /// The peer is not read, because this many bytes of output are held; or is read again.
    Throttled(bool, usize),
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn callbacks_and_deadlines_are_numbered_in_order_and_named_apart() {
        let names: HashSet<_> = Callback::ALL.into_iter().map(Callback::name).collect();
        assert_eq!(names.len(), Callback::ALL.len());
        assert!(Callback::ALL.into_iter().enumerate().all(|(n, callback)| callback as usize == n));
        let names: HashSet<_> = Deadline::ALL.into_iter().map(Deadline::name).collect();
        assert_eq!(names.len(), Deadline::ALL.len());
        assert!(Deadline::ALL.into_iter().enumerate().all(|(n, deadline)| deadline as usize == n));
    }
}
