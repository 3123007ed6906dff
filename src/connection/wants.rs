//! What a session waits for, and what has come.

use std::time::Instant;

/// What a session or the acceptor waits for: what a backend must watch until the next `turn`.
///
/// A backend calls `turn` again when the socket is ready for something wanted, when the deadline
/// has passed, when the [`Wake`](crate::Wake) that it attached was called, and soon if `again` is
/// set. It may call `turn` at any other time: a spurious or late call does no harm.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Wants {
    /// Watch the socket for something to read. An end of the stream, a reset and urgent data count
    /// as something to read. Where neither this nor `write` is set, the socket must not be watched
    /// at all: several systems report errors of a watched socket without end.
    pub read: bool,
    /// Watch the socket for room to write.
    pub write: bool,
    /// There is work that needs no event: call `turn` again when the others had their turn.
    pub again: bool,
    /// Call `turn` at this instant, if nothing happens before. It may be late by a few tens of
    /// milliseconds, but must not be forgotten.
    pub deadline: Option<Instant>,
}

impl Wants {
    /// A turn, soon: what a session or the acceptor wants before its first one.
    pub const AGAIN: Wants = Wants { read: false, write: false, again: true, deadline: None };
    /// Bytes of the peer, and nothing else.
    pub(crate) const READ: Wants = Wants { read: true, write: false, again: false, deadline: None };
}

/// What a socket was reported to be ready for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Ready {
    /// Something may be read. Set it for every event that is not about writing: hang-up, errors
    /// and urgent data are found by reading.
    pub read: bool,
    /// Something may be written.
    pub write: bool,
}

impl Ready {
    /// No event: the turn comes from a deadline, a wake or `again`.
    pub const NONE: Ready = Ready { read: false, write: false };
    /// Something may be read.
    pub const READ: Ready = Ready { read: true, write: false };
    /// Something may be written.
    pub const WRITE: Ready = Ready { read: false, write: true };
    /// Both, also for a backend that does not know which.
    pub const BOTH: Ready = Ready { read: true, write: true };

    /// Puts two events together.
    pub fn and(self, other: Ready) -> Ready {
        Ready { read: self.read || other.read, write: self.write || other.write }
    }
}

/// What a `turn` led to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use = "a backend must watch for what is wanted, or drop what is closed"]
pub enum Turn {
    /// Wait for this.
    Wait(Wants),
    /// It is over: stop watching the socket, then drop the session.
    Closed,
}
