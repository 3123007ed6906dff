//! What a script is: what the client and the rest of the world do, and what the handler answers.

use polyserve::net::SocketOptions;
use polyserve::{Action, AtLimit, Limits, Timeouts};
use std::time::Duration;

/// The marks and limits are low, so that scripts of a few hundred bytes reach them.
pub(crate) const LOW: usize = 1024;
pub(crate) const HIGH: usize = 4 * 1024;
pub(crate) const HARD: usize = 64 * 1024;
pub(crate) const INPUT: usize = 1000;

/// More than the buffers of the system take of a peer that does not read, and the hard mark.
pub(crate) const BIG: usize = 512 * 1024;
/// More than those buffers take, and with them less than [`MILD_HARD`].
pub(crate) const MILD: usize = 320 * 1024;
/// The hard mark where a stalled peer is to be no slow consumer.
const MILD_HARD: usize = 900 * 1024;
/// The sizes of the system's buffers at both ends. They take 112 KiB in all.
pub(crate) const SYSTEM_BUFFER: usize = 32 * 1024;

/// How long what is to run out soon takes.
const BRIEF: Duration = Duration::from_millis(120);
/// What is never to run out, even on a machine that is busy elsewhere.
const LONG: Duration = Duration::from_secs(300);

/// The server that a script is played on. Whatever holds for a whole server, an end of it by a
/// drain for example, groups the scripts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Setting {
    Plain,
    /// With a layer between the socket and the handler: see `layer.rs`.
    Layered,
    /// The time-outs of messages, half-closed connections and stalled writes are brief.
    Brief,
    /// As `Brief`, with a hard mark that the output does not reach.
    Mild,
    /// The first-byte time-out is brief.
    Silent,
    /// The system itself gives up on a peer that takes nothing.
    Unacknowledged,
    /// The server drains when all scripts have come so far.
    Drained,
    /// It drains, and then runs into its deadline.
    Killed,
    /// It stops.
    Stopped,
    /// It is full, and closes the connection that has been idle for longest to make room.
    Full,
}

impl Setting {
    pub(crate) const ALL: [Setting; 10] = [
        Setting::Plain,
        Setting::Layered,
        Setting::Brief,
        Setting::Mild,
        Setting::Silent,
        Setting::Unacknowledged,
        Setting::Drained,
        Setting::Killed,
        Setting::Stopped,
        Setting::Full,
    ];

    pub(crate) fn limits(self) -> Limits {
        let mut limits = Limits::default();
        (limits.output_low, limits.output_high, limits.output_hard) = (LOW, HIGH, HARD);
        if self == Setting::Mild {
            limits.output_hard = MILD_HARD;
        }
        if self == Setting::Full {
            limits.at_limit = AtLimit::CloseOldestIdle;
        }
        limits.input = INPUT;
        limits
    }

    pub(crate) fn timeouts(self) -> Timeouts {
        let mut timeouts = Timeouts::default();
        timeouts.first_byte = LONG.into();
        timeouts.idle = LONG.into();
        timeouts.message = LONG.into();
        timeouts.write_stall = LONG.into();
        timeouts.half_closed = LONG.into();
        match self {
            Setting::Silent => timeouts.first_byte = BRIEF.into(),
            Setting::Brief | Setting::Mild => {
                timeouts.message = BRIEF.into();
                timeouts.write_stall = BRIEF.into();
                timeouts.half_closed = BRIEF.into();
            }
            _ => (),
        }
        timeouts
    }

    pub(crate) fn socket_options(self) -> SocketOptions {
        let options = SocketOptions::new().with_send_buffer(Some(SYSTEM_BUFFER));
        match self {
            Setting::Unacknowledged => options.with_user_timeout(Some(BRIEF)),
            _ => options,
        }
    }
}

#[derive(Debug, Clone)]
pub(crate) struct Program {
    pub(crate) setting: Setting,
    pub(crate) factory_panics: bool,
    pub(crate) on_close_panics: bool,
    pub(crate) open: Move,
    pub(crate) units: Vec<Unit>,
    pub(crate) eof: Move,
    /// What the first, second, ... of these callbacks does.
    pub(crate) wakes: Vec<Move>,
    pub(crate) timers: Vec<Move>,
    /// What `on_writable` does when a stream has been written.
    pub(crate) streams: Vec<Move>,
    pub(crate) shutdown: Move,
    pub(crate) acts: Vec<Act>,
}

/// A message of the client. The handler knows its length, and shows by its answer that it was
/// there as a whole: so it does not matter in which pieces it came.
#[derive(Debug, Clone)]
pub(crate) struct Unit {
    pub(crate) size: usize,
    /// How many bytes are to be there before it is looked at: as many as it has, or more.
    pub(crate) wait_for: usize,
    /// Waits by `Want`, not by `Continue`.
    pub(crate) wants: bool,
    /// To be the first of its callback, because that is going to take back what it has sent.
    pub(crate) alone: bool,
    pub(crate) does: Move,
}

/// What a callback does.
#[derive(Debug, Clone)]
pub(crate) struct Move {
    /// How many bytes it sends.
    pub(crate) sends: usize,
    pub(crate) busy: Option<bool>,
    /// Asks for a sender.
    pub(crate) sender: bool,
    pub(crate) resumes: bool,
    /// Sets a timer for next week, and clears it again.
    pub(crate) fickle: bool,
    pub(crate) next: Next,
    pub(crate) outcome: Outcome,
}

impl Move {
    pub(crate) const NONE: Move = Move {
        sends: 0,
        busy: None,
        sender: false,
        resumes: false,
        fickle: false,
        next: Next::Nothing,
        outcome: Outcome::Act(Action::Continue),
    };
}

/// What a callback has follow it. Of these there is only one at a time, and nobody else does
/// anything until it has come: so their order is the same everywhere.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Next {
    Nothing,
    /// A timer of so many milliseconds.
    Timer(u64),
    /// It wakes itself, by a sender.
    Wake,
    /// So many parts, each as large as the high mark, one for each `on_writable`.
    Stream(usize),
    /// The connection is to be idle for so many milliseconds only.
    IdleOut(u64),
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Outcome {
    Act(Action),
    /// What the default of `on_shutdown` does.
    Default,
    Fail,
    /// Fails as a protocol does.
    Decode,
    Truncated,
    Panic,
    /// Takes the socket out of the server.
    Take,
}

/// What the world does.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Act {
    /// The client sends the next bytes of the stream, in these pieces.
    Send(Vec<usize>),
    /// The client sends a byte that is meant for the layer.
    ToLayer(u8),
    /// The client finishes sending.
    Finish,
    /// It closes the socket.
    Leave,
    /// It resets the connection.
    Reset,
    StopReading,
    ReadAgain,
    /// Somebody uses the connection's sender.
    Push(usize),
    Wake,
    Resume,
    Close,
    GiveUp,
    /// Somebody closes the connection by its number.
    CloseById,
    /// Everybody waits until all that follows from the acts so far has happened.
    Await,
    /// As `Await`, but not for what the client is to receive.
    AwaitHandler,
    /// Time passes, until something has run out.
    Expire,
    /// Whoever took the socket writes what was left, says so, and reads to the end.
    Own,
    Drain,
    Kill,
    Stop,
    /// As many other clients come as there are connections.
    Crowd,
}

/// The byte at each place of what the client sends. Those above are for the layer.
pub(crate) fn received(at: usize) -> u8 {
    (at % 113) as u8
}

/// The byte at each place of what the callbacks send.
pub(crate) fn sent(at: usize) -> u8 {
    (at % 127) as u8
}

/// The bytes of a message that is pushed.
pub(crate) fn pushed(size: usize) -> Vec<u8> {
    (0..size).map(|at| (at % 31 + 64) as u8).collect()
}
