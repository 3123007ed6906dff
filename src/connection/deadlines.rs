//! The clocks of a connection: when the next one runs out, and what happens then.
//!
//! Deadlines are lazy. Moving one is an assignment; the wake-up that was set for the earlier
//! instant finds nothing due and asks again.

use super::{Around, Connection, Env, PROBE_INTERVAL, Phase, State, Time};
use crate::handler::{Callback, CloseReason, Deadline, Note};
use std::time::{Duration, Instant};

/// How long after its accept a connection that has said nothing yet is not idle for a drain: its
/// first request may be on its way. A round trip between continents takes less.
const FRESH: Duration = Duration::from_secs(1);

/// Clocks that are read later than this are read too late: the process was stopped, or starved.
const LATE: Duration = Duration::from_secs(1);

impl Connection {
    /// When something is due next.
    pub(super) fn next_deadline(&self, time: Time<'_>) -> Option<Instant> {
        let idle = self.idle_deadline(time);
        let Some(extras) = &self.extras else {
            return earlier(idle, self.fresh_until(time));
        };
        let linger = extras
            .linger
            .as_ref()
            .filter(|_| self.state == State::Lingering)
            .map(|linger| linger.idle_deadline.min(linger.deadline));
        [
            idle,
            self.fresh_until(time),
            linger,
            extras.timer,
            extras.message_deadline.filter(|_| !self.is_throttled()),
            extras.stall_deadline,
            extras.half_closed_deadline.filter(|_| self.state == State::Open),
            extras.probe_at,
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// Whether there is no clock but the idle time-out. Nothing can be due then right after the peer
    /// was heard, and the deadline has moved away.
    pub(crate) fn counts_silence_alone(&self) -> bool {
        let f = &self.flags;
        self.state == State::Open
            && self.extras.is_none()
            && f.any_data()
            && !(f.busy() || f.paused() || self.saw_eof())
    }

    /// Whether the deadline that was told last is that of the idle time-out, which can only have moved
    /// away since.
    pub(crate) fn has_told_of_silence(&self) -> bool {
        self.flags.told_of_silence() && self.counts_silence_alone()
    }

    /// The deadline as it is now is told.
    pub(crate) fn note_told(&mut self) {
        self.flags.set_told_of_silence(self.counts_silence_alone());
    }

    /// Whether a deadline has passed that a byte of the peer would have moved: whoever keeps it
    /// should look for one before.
    pub(crate) fn is_silence_due(&self, time: Time<'_>) -> bool {
        let message = self.extras.as_ref().and_then(|e| e.message_deadline);
        let message = message.filter(|_| !self.is_throttled());
        is_due(self.idle_deadline(time), time.now) || is_due(message, time.now)
    }

    /// Whether the stall clock ran out some time ago: the process was stopped, say. Right when it
    /// runs out, the system may still take a little more into a buffer that nobody empties, which
    /// is no progress.
    pub(crate) fn is_stall_overdue(&self, now: Instant) -> bool {
        let stall = self.extras.as_ref().and_then(|e| e.stall_deadline);
        stall.is_some_and(|deadline| now.saturating_duration_since(deadline) > LATE)
    }

    /// Whether a paused connection is to be probed, and from when on again.
    pub(crate) fn take_probe(&mut self, now: Instant) -> bool {
        let Some(extras) = &mut self.extras else { return false };
        let due = is_due(extras.probe_at, now);
        if due {
            extras.probe_at = now.checked_add(PROBE_INTERVAL);
        }
        due
    }

    /// Carries out what is due.
    pub(crate) fn expire(&mut self, around: &mut Around<'_>) {
        let now = around.now;
        if self.is_taken() {
            return; // the clocks are those of the new owner
        }
        if let Some(deadline) = self.passed(around.time()) {
            return self.time_out(deadline, around);
        }
        let Some(extras) = &mut self.extras else { return };
        if self.state == State::Open && is_due(extras.timer, now) {
            extras.timer = None;
            let action = self.call(around, Callback::OnTimer, |handler, cx| handler.on_timer(cx));
            self.follow(action, around);
        }
    }

    /// Whether a drain should wait for the first word of a connection that was accepted just now.
    pub(crate) fn is_fresh(&self, time: Time<'_>) -> bool {
        self.fresh_until(time).is_some_and(|until| time.now < until)
    }

    /// When a drain has waited for the first word for long enough. Nothing is waited for from whoever
    /// is at work already, or does not read.
    #[inline]
    fn fresh_until(&self, time: Time<'_>) -> Option<Instant> {
        if self.flags.any_data() || time.env.phase() != Phase::Draining {
            return None;
        }
        let waits = !(self.saw_eof() || self.was_told());
        let since = self.idle_since().filter(|_| waits)?;
        time.after(since, FRESH)
    }

    /// The deadline that has passed, if one has.
    fn passed(&self, time: Time<'_>) -> Option<Deadline> {
        let now = time.now;
        if is_due(self.idle_deadline(time), now) {
            let first = self.awaits_first_byte();
            return Some(if first { Deadline::FirstByte } else { Deadline::Idle });
        }
        let extras = self.extras.as_ref()?;
        let linger = extras.linger.as_ref().filter(|_| self.state == State::Lingering);
        if linger.is_some_and(|linger| now >= linger.idle_deadline.min(linger.deadline)) {
            return Some(Deadline::Lingering);
        }
        if is_due(extras.stall_deadline, now) {
            return Some(Deadline::WriteStall);
        }
        // While the output is throttled the peer is not read, so it can not finish its message.
        if is_due(extras.message_deadline, now) && !self.is_throttled() {
            return Some(Deadline::Message);
        }
        let half_closed = self.state == State::Open && is_due(extras.half_closed_deadline, now);
        half_closed.then_some(Deadline::HalfClosed)
    }

    /// A deadline has passed: ends the connection, or what is left of it.
    #[cold]
    fn time_out(&mut self, deadline: Deadline, around: &Around<'_>) {
        around.facts.note(Note::TimedOut(deadline));
        match deadline {
            Deadline::FirstByte => self.begin_close(CloseReason::FirstByteTimeout),
            Deadline::Idle => self.begin_close(CloseReason::IdleTimeout),
            Deadline::Message => self.begin_close(CloseReason::MessageTimeout),
            Deadline::HalfClosed => self.begin_close(CloseReason::HalfClosedTimeout),
            Deadline::WriteStall if self.output_held() > around.env.limits.output_hard => {
                self.abort(CloseReason::SlowConsumer);
            }
            Deadline::WriteStall => self.abort(CloseReason::WriteTimeout),
            Deadline::Lingering => {
                // Whoever was killed and still holds on gets a reset.
                if around.env.phase() >= Phase::Killing {
                    self.flags.set_reset(true);
                }
                self.done();
            }
        }
    }

    /// The instant at which the peer has been silent for too long, where that counts.
    #[inline]
    fn idle_deadline(&self, time: Time<'_>) -> Option<Instant> {
        let counts = match self.state {
            State::New => true,
            State::Open => {
                !(self.flags.paused() || self.is_starved() || self.saw_eof() || self.is_busy())
            }
            _ => false,
        };
        if !counts {
            return None;
        }
        let own = self.extras.as_ref().and_then(|e| e.idle_timeout);
        let timeout = match own {
            Some(own) => own,
            None if self.awaits_first_byte() => time.env.timeouts.first_byte,
            None => time.env.timeouts.idle,
        };
        time.after(self.idle_since, timeout.get()?)
    }

    #[inline]
    fn awaits_first_byte(&self) -> bool {
        let own = self.extras.as_ref().and_then(|e| e.idle_timeout);
        !self.flags.any_data() && own.is_none()
    }

    /// Starts, keeps or stops the clock of a message of which `left` bytes are there, after
    /// `consumed` bytes of input were consumed.
    pub(super) fn start_message_clock(
        &mut self,
        left: usize,
        consumed: usize,
        around: &Around<'_>,
    ) {
        let waits_for_peer =
            self.state == State::Open && !self.flags.again() && !self.flags.paused();
        if left == 0 || !waits_for_peer {
            if let Some(extras) = &mut self.extras {
                extras.message_deadline = None;
            }
            return;
        }
        let extras = self.extras();
        if extras.message_deadline.is_none() || consumed > 0 {
            let timeout = around.env.timeouts.message.get();
            extras.message_deadline = timeout.and_then(|d| around.now.checked_add(d));
        }
    }

    /// The peer is read again, so what is left of a message may come in now.
    pub(super) fn restart_message_clock(&mut self, env: &Env, now: Instant) {
        let Some(extras) = &mut self.extras else { return };
        if extras.message_deadline.is_some() {
            extras.message_deadline =
                env.timeouts.message.get().and_then(|timeout| now.checked_add(timeout));
        }
    }

    /// The half-closed clock starts anew: the peer has finished just now, or took output.
    pub(super) fn extend_half_closed(&mut self, around: &Around<'_>) {
        if self.state == State::Open && self.saw_eof() {
            let timeout = around.env.timeouts.half_closed.get();
            self.extras().half_closed_deadline = timeout.and_then(|d| around.now.checked_add(d));
        }
    }
}

fn earlier(a: Option<Instant>, b: Option<Instant>) -> Option<Instant> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}

fn is_due(deadline: Option<Instant>, now: Instant) -> bool {
    deadline.is_some_and(|deadline| deadline <= now)
}
