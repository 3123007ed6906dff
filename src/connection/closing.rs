//! The end of a connection: in order, or at once, and what lingers after it.

use super::extras::Linger;
use super::{Connection, Env, Phase, State, Tally, panic_message};
use crate::handler::{Callback, CloseReason, Note, TakeStream};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

/// How long a connection that was killed waits for the peer's end.
const LINGER_WHEN_KILLED: Duration = Duration::from_secs(1);

impl Connection {
    /// Ends the connection in order: the output is written first. The first reason counts; that the
    /// socket was taken is one.
    pub(crate) fn begin_close(&mut self, reason: CloseReason) {
        if !self.is_taken() {
            self.close_for(reason);
        }
    }

    fn close_for(&mut self, reason: CloseReason) {
        if !matches!(self.state, State::New | State::Open) {
            return;
        }
        self.state = State::Closing;
        self.flags.set_again(false);
        self.flags.set_paused(false);
        let extras = self.extras();
        extras.reason = Some(reason);
        if extras.take.is_none() {
            extras.input.free();
        }
        extras.message_deadline = None;
        extras.timer = None;
        extras.probe_at = None;
        if let Some(outbox) = &extras.outbox {
            outbox.close();
        }
    }

    /// Ends the connection now. What was not written is lost, and the reason says so, unless an
    /// error was the reason already.
    pub(crate) fn fail(&mut self, reason: CloseReason) {
        let is_error = |r: &CloseReason| {
            matches!(
                r,
                CloseReason::Handler(_)
                    | CloseReason::Panic(_)
                    | CloseReason::Decode(_)
                    | CloseReason::Layer(_)
            )
        };
        match self.state {
            State::Done | State::Lingering => self.state = State::Done,
            _ => {
                let before = self.extras().reason.take();
                self.close_for(CloseReason::Closed);
                let worse = match self.is_taken() {
                    // The new owner will find out what is wrong with the socket.
                    true => CloseReason::Taken,
                    false => before.filter(is_error).unwrap_or(reason),
                };
                self.extras().reason = Some(worse);
                self.state = State::Done;
            }
        }
    }

    /// As `fail`, and the peer is told by a reset.
    pub(crate) fn abort(&mut self, reason: CloseReason) {
        self.flags.set_reset(true);
        self.fail(reason);
    }

    /// The output is written, or lost: this is why the connection has ended. The handler is to be
    /// released next.
    pub(crate) fn take_reason(&mut self) -> CloseReason {
        self.flags.set_released(true);
        self.extras().reason.take().unwrap_or(CloseReason::Closed)
    }

    /// Calls `on_close`, and lets go of the handler. A panic there changes nothing any more, but is
    /// told.
    pub(crate) fn release_handler(&mut self, reason: &CloseReason, tell: &dyn Fn(Note<'_>)) {
        if let Some(mut handler) = self.handler.take() {
            if self.flags.opened() {
                guarded(Callback::OnClose, tell, || handler.on_close(reason));
            }
            guarded(Callback::Drop, tell, || drop(handler));
        }
        if let Some(outbox) = self.extras().outbox.take() {
            outbox.abandon();
        }
    }

    /// Our side is shut down: wait for the peer's end, for the sake of our last bytes.
    pub(crate) fn linger(&mut self, env: &Env, now: Instant) {
        let (idle, total) = if env.phase() >= Phase::Killing {
            (LINGER_WHEN_KILLED, LINGER_WHEN_KILLED)
        } else {
            (env.timeouts.lingering_idle, env.timeouts.lingering_total)
        };
        let left = self.linger_left_of(env);
        let after = |d| now.checked_add(d).unwrap_or(now);
        self.extras().linger =
            Some(Linger { left, idle, idle_deadline: after(idle), deadline: after(total) });
        self.state = State::Lingering;
    }

    pub(crate) fn done(&mut self) {
        self.state = State::Done;
    }

    /// Whether it ends because the peer has said nothing, and was told nothing either: there is no
    /// byte that lingering could save, and whoever only connects keeps no place for longer.
    pub(crate) fn is_mute(&self, tally: &Tally) -> bool {
        let reason = self.extras.as_ref().and_then(|e| e.reason.as_ref());
        matches!(reason, Some(CloseReason::FirstByteTimeout)) && tally.sent() == 0
    }

    /// Bytes came that nobody wants.
    pub(crate) fn thrown_away(&mut self, n: usize, env: &Env, now: Instant) {
        let left = self.linger_left_of(env).saturating_sub(n);
        let linger = self.extras().linger.get_or_insert(Linger {
            left,
            idle: Duration::ZERO,
            idle_deadline: now,
            deadline: now,
        });
        linger.left = left;
        linger.idle_deadline = now.checked_add(linger.idle).unwrap_or(now);
        if left == 0 && self.state == State::Lingering {
            self.state = State::Done;
        }
    }

    /// Takes out whoever is to get the socket.
    pub(crate) fn taker(&mut self) -> Option<TakeStream> {
        self.extras.as_mut()?.take.take()
    }

    pub(crate) fn is_taken(&self) -> bool {
        self.extras.as_ref().is_some_and(|e| e.take.is_some())
    }

    /// What the new owner of the socket gets along with it: unread input, unwritten output.
    pub(crate) fn take_bytes(&mut self) -> (Vec<u8>, Vec<u8>) {
        let extras = self.extras();
        let input = std::mem::take(&mut extras.input).into_vec();
        (input, std::mem::take(&mut extras.output).into_vec())
    }

    pub(super) fn linger_left(&self) -> usize {
        self.extras.as_ref().and_then(|e| e.linger.as_ref()).map_or(usize::MAX, |l| l.left)
    }

    fn linger_left_of(&self, env: &Env) -> usize {
        self.linger_left().min(env.limits.lingering)
    }
}

/// Calls code of a user that has nothing to answer; if it panics, that is told.
pub(crate) fn guarded(which: Callback, tell: &dyn Fn(Note<'_>), call: impl FnOnce()) {
    if let Err(payload) = catch_unwind(AssertUnwindSafe(call)) {
        tell(Note::Panicked(which, &panic_message(payload)));
    }
}
