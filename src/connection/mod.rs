//! One connection as a state machine over bytes and instants: no socket, no clock, no thread, no
//! lock (but that of the outbox, once somebody asked for a sender).
//!
//! ```text
//!             open()                  begin_close()            output written
//!  New ------------------> Open ---------------------> Closing ---------------> Lingering --> Done
//!   |   layer is ready      |  eof(): half-closed,       | on_close, then FIN               ^
//!   |                       |  while the handler wants   |                                  |
//!   +-----------------------+----------------------------+-- fail(): on_close, reset -------+
//! ```
//!
//! The driver (`session::pump`) brings the bytes, and asks afterwards what the connection
//! [wants](Connection::wants). Nothing here is called again for a connection that is `Done`.

mod closing;
mod coarse;
mod deadlines;
mod env;
mod extras;
mod flags;
mod held;
mod limits;
mod stalls;
mod tally;
mod wants;

pub(crate) use closing::guarded;
pub(crate) use coarse::{CoarseClock, Time};
pub(crate) use env::{Env, Phase, Tick};
pub(crate) use extras::{Extras, LayerState};
use flags::{Drain, Flags, PeerEnd, Throttle};
pub use limits::{AtLimit, Limits, Timeouts};
pub(crate) use stalls::StallWatch;
pub(crate) use tally::{Standing, Tally};
pub use wants::{Ready, Turn, Wants};

use crate::buffer::Input;
use crate::handler::{
    Action, Asked, BoxError, Callback, CloseReason, ConnectionState, Context, Facts, Handler, Note,
    Outbox, Requests,
};
use crate::layer::Layer;
use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long a paused connection may go without a look whether it was reset.
pub(crate) const PROBE_INTERVAL: Duration = Duration::from_secs(5);

/// One connection. An idle one is this, its handler and its [`Tally`], where it counts; everything
/// rare is in `extras`.
pub(crate) struct Connection {
    handler: Option<Box<dyn Handler>>,
    extras: Option<Box<Extras>>,
    /// Since when the connection is idle, if it is: the last byte received, or the end of its last
    /// being busy.
    idle_since: Tick,
    state: State,
    flags: Flags,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// There is no handler yet: its layer shakes hands, or nobody has called `open` yet.
    New,
    /// The handler decides what happens.
    Open,
    /// The reason is known; the output that is left is written.
    Closing,
    /// The handler is gone and we have shut down our side; wait for the peer to do so.
    Lingering,
    /// Over.
    Done,
}

/// What became of a callback: its result, or what it panicked with.
type Caught<R> = Result<R, Box<dyn Any + Send>>;

/// What surrounds a connection while a callback of it may run.
pub(crate) struct Around<'a> {
    pub(crate) out: &'a mut Vec<u8>,
    /// So much of the beginning of what a callback was shown is to go out from where it is. `out` is empty
    /// unless this is 0.
    pub(crate) lent: usize,
    pub(crate) env: &'a Env,
    pub(crate) facts: &'a dyn Facts,
    pub(crate) tally: &'a Tally,
    /// What the thread knows of stalls, if somebody is told of them.
    pub(crate) stalls: Option<&'a mut StallWatch>,
    pub(crate) clock: &'a CoarseClock,
    pub(crate) now: Instant,
}

impl Connection {
    pub(crate) fn new(now: Tick) -> Self {
        Self {
            handler: None,
            extras: None,
            idle_since: now,
            state: State::New,
            flags: Flags::default(),
        }
    }

    /// Puts a layer between the socket and the handler that is not made yet.
    pub(crate) fn set_layer(&mut self, layer: Box<dyn Layer>) {
        debug_assert_eq!(self.state, State::New);
        self.extras().layer = Some(Box::new(LayerState::new(layer)));
    }

    // What the driver asks.

    pub(crate) fn is_new(&self) -> bool {
        self.state == State::New
    }

    pub(crate) fn is_open(&self) -> bool {
        self.state == State::Open
    }

    pub(crate) fn is_closing(&self) -> bool {
        self.state == State::Closing
    }

    /// Whether it was idle, and makes room for another.
    pub(crate) fn is_evicted(&self) -> bool {
        let reason = self.extras.as_ref().and_then(|e| e.reason.as_ref());
        matches!(reason, Some(CloseReason::Evicted))
    }

    pub(crate) fn is_lingering(&self) -> bool {
        self.state == State::Lingering
    }

    pub(crate) fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// Whether there ever was a handler.
    pub(crate) fn was_opened(&self) -> bool {
        self.flags.opened()
    }

    /// Whether the handler is gone, and everybody was told why.
    pub(crate) fn was_released(&self) -> bool {
        self.flags.released()
    }

    /// Whether a drain found something to be done, and it was done.
    pub(crate) fn finished_in_drain(&self) -> bool {
        matches!(self.flags.drain(), Drain::Finishing | Drain::Followed)
    }

    /// Whether the peer is not read because of the output.
    fn is_throttled(&self) -> bool {
        self.flags.is_throttled()
    }

    /// Whether something is to be told of the throttle.
    pub(crate) fn has_throttle_change(&self) -> bool {
        matches!(self.flags.throttle(), Throttle::On | Throttle::OffUntold)
    }

    /// What is to be told of the throttle, if that has changed: whether it is on.
    pub(crate) fn take_throttle_change(&mut self) -> Option<bool> {
        match self.flags.throttle() {
            Throttle::Off | Throttle::OnTold => None,
            Throttle::On => {
                self.flags.set_throttle(Throttle::OnTold);
                Some(true)
            }
            Throttle::OffUntold => {
                self.flags.set_throttle(Throttle::Off);
                Some(false)
            }
        }
    }

    /// The connection is over: whether it was told last that the throttle is on.
    pub(crate) fn ends_throttled(&self) -> bool {
        matches!(self.flags.throttle(), Throttle::OnTold | Throttle::OffUntold)
    }

    /// How it stands, for whoever asks from outside.
    #[inline]
    pub(crate) fn standing(&self) -> Standing {
        if self.is_plainly_open() && self.flags.is_in_full_flow() {
            let (state, busy) = (ConnectionState::Open, self.flags.busy());
            return Standing { state, busy, idle_since: self.idle_since, output_held: 0 };
        }
        self.standing_otherwise()
    }

    /// It has nothing that is rare: nearly every connection, nearly always.
    fn is_plainly_open(&self) -> bool {
        self.state == State::Open && self.extras.is_none()
    }

    fn standing_otherwise(&self) -> Standing {
        let state = match self.state {
            State::New => ConnectionState::Opening,
            State::Open if self.flags.paused() => ConnectionState::Paused,
            State::Open if self.is_throttled() => ConnectionState::Throttled,
            State::Open if self.is_starved() => ConnectionState::Starved,
            State::Open if self.saw_eof() => ConnectionState::HalfClosed,
            State::Open => ConnectionState::Open,
            State::Closing => ConnectionState::Closing,
            State::Lingering | State::Done => ConnectionState::Lingering,
        };
        let (busy, output_held) = (self.is_busy(), self.output_held());
        Standing { state, busy, idle_since: self.idle_since, output_held }
    }

    pub(crate) fn saw_eof(&self) -> bool {
        self.flags.saw_eof()
    }

    pub(crate) fn is_paused(&self) -> bool {
        self.flags.paused()
    }

    /// Whether input is kept back until others had their turn, or until the output has fallen.
    pub(crate) fn is_held_up(&self) -> bool {
        self.flags.again() || self.is_throttled() || self.has_more_plaintext()
    }

    pub(crate) fn wants_reset(&self) -> bool {
        self.flags.reset()
    }

    /// Whether the held input is to be shown again now: not while whoever yielded because of the
    /// output would find it as it was.
    pub(crate) fn wants_again(&self, env: &Env) -> bool {
        let held = self.output_held();
        let has_room = held == 0 || held < env.limits.output_high;
        self.flags.again() && has_room && !self.is_throttled() && self.state == State::Open
    }

    /// Whether bytes of the peer are wanted: by the handler, or to be thrown away.
    pub(crate) fn wants_bytes(&self) -> bool {
        if self.saw_eof() {
            return false;
        }
        match self.state {
            State::New => self.extras.is_some() && !self.is_throttled(),
            State::Open => {
                let f = &self.flags;
                let held_up = f.paused() || self.is_throttled() || f.again() || self.is_starved();
                !held_up && !self.is_taken()
            }
            State::Closing | State::Lingering => self.linger_left() > 0,
            State::Done => false,
        }
    }

    pub(crate) fn has_output(&self) -> bool {
        self.extras.as_ref().is_some_and(|e| !e.output.is_empty())
    }

    pub(crate) fn output_held(&self) -> usize {
        self.extras
            .as_ref()
            .map_or(0, |e| e.output.len() + e.layer.as_ref().map_or(0, |layer| layer.plain.len()))
    }

    pub(crate) fn holds_input(&self) -> bool {
        self.extras.as_ref().is_some_and(|e| !e.input.is_empty())
    }

    #[cfg(feature = "testing")]
    pub(crate) fn input_held(&self) -> usize {
        self.extras.as_ref().map_or(0, |e| e.input.len())
    }

    #[cfg(feature = "testing")]
    pub(crate) fn has_extras(&self) -> bool {
        self.extras.is_some()
    }

    pub(crate) fn outbox(&self) -> Option<&Arc<Outbox>> {
        self.extras.as_ref()?.outbox.as_ref()
    }

    pub(crate) fn layer(&mut self) -> Option<&mut LayerState> {
        self.extras.as_mut()?.layer.as_deref_mut()
    }

    pub(crate) fn has_layer(&self) -> bool {
        self.extras.as_ref().is_some_and(|e| e.layer.is_some())
    }

    /// Whether nothing is pending but bytes of the peer: nothing that a thread which blocks in a read
    /// would miss.
    pub(crate) fn is_quiet(&self) -> bool {
        self.is_plainly_open() && self.flags.is_quiet()
    }

    pub(crate) fn extras(&mut self) -> &mut Extras {
        self.extras.get_or_insert_default()
    }

    /// Gives back what an idle connection need not hold.
    pub(crate) fn tidy(&mut self) {
        let Some(extras) = &mut self.extras else { return };
        for buffer in [&mut extras.input, &mut extras.output] {
            match buffer.is_empty() {
                true => buffer.free(),
                false => buffer.trim(),
            }
        }
        if let Some(layer) = &mut extras.layer {
            layer.wire.trim();
        }
        if extras.is_idle() {
            self.extras = None;
        }
    }

    pub(crate) fn wants(&self, time: Time<'_>) -> Wants {
        let deadline = match self.state {
            State::New if !self.has_layer() => None,
            _ => self.next_deadline(time),
        };
        Wants { deadline, ..self.wants_but_deadline(time.env) }
    }

    /// What it wants for now, without what it wants later.
    pub(crate) fn wants_but_deadline(&self, env: &Env) -> Wants {
        if self.is_plainly_open() {
            let again = self.flags.again();
            let read = self.flags.is_in_full_flow() && !again;
            let again = again && !self.is_throttled();
            return Wants { read, write: false, again, deadline: None };
        }
        self.wants_otherwise(env)
    }

    fn wants_otherwise(&self, env: &Env) -> Wants {
        if self.state == State::New && !self.has_layer() {
            return Wants { again: true, ..Wants::default() };
        }
        let more = self.has_more_plaintext();
        Wants {
            // What the layer holds goes first.
            read: self.wants_bytes() && !more,
            write: self.has_output(),
            again: self.wants_again(env) || more,
            deadline: None,
        }
    }

    /// Whether the layer has something for the handler, its end included, without a further byte
    /// of the wire; and the handler would have it.
    pub(crate) fn has_more_plaintext(&self) -> bool {
        let more = |e: &Extras| e.layer.as_ref().is_some_and(|layer| layer.more || layer.eof);
        // What closes or lingers wants bytes of the wire alone, to throw them away.
        let has_handler = matches!(self.state, State::New | State::Open);
        has_handler && self.wants_bytes() && self.extras.as_deref().is_some_and(more)
    }

    // What the driver tells.

    /// A turn begins, or goes on. Whoever was busy until now has not been idle: returns whether it
    /// was.
    pub(crate) fn begin_turn(&mut self, now: Tick) -> bool {
        let was_busy = self.state == State::Open && self.is_busy();
        if was_busy {
            self.idle_since = now;
        }
        was_busy
    }

    /// The handler is there: everything is ready for `on_open`.
    pub(crate) fn open(&mut self, handler: Box<dyn Handler>, around: &mut Around<'_>) {
        debug_assert_eq!(self.state, State::New);
        self.handler = Some(handler);
        self.state = State::Open;
        self.flags.set_opened(true);
        match self.call(around, Callback::OnOpen, |handler, cx| handler.on_open(cx)) {
            Some(Action::Want(n)) => self.want(n, 0, around.env),
            Some(Action::Pause) => self.pause(around.now),
            other => self.end_by(other, CloseReason::Closed),
        }
    }

    /// Bytes came while nothing was held.
    pub(crate) fn data(&mut self, bytes: &[u8], around: &mut Around<'_>) {
        debug_assert!(!self.holds_input());
        self.note_received(bytes.len(), around);
        let consumed = self.show(bytes, around);
        let rest = &bytes[consumed..];
        if (self.state == State::Open || self.is_taken()) && !rest.is_empty() {
            self.extras().input.append(rest);
        }
    }

    /// As [`data`](Self::data), of all that may be lent, for a connection that
    /// [is quiet](Self::is_quiet).
    #[inline(always)]
    pub(crate) fn data_plainly(&mut self, bytes: &[u8], around: &mut Around<'_>) {
        debug_assert!(self.is_quiet() && !bytes.is_empty());
        around.tally.add_received(bytes.len());
        self.flags.set_any_data(true);
        let consumed = self.show_now(bytes, bytes, around);
        let rest = &bytes[consumed..];
        if !rest.is_empty() && (self.state == State::Open || self.is_taken()) {
            self.extras().input.append(rest);
        }
    }

    /// `n` bytes came and were appended to what was held.
    pub(crate) fn more_data(&mut self, n: usize, around: &mut Around<'_>) {
        self.note_received(n, around);
        self.show_held(around);
    }

    /// Shows the held input again, after a `Yield` or a resume.
    pub(crate) fn go_on(&mut self, around: &mut Around<'_>) {
        self.flags.set_again(false);
        self.show_held(around);
    }

    /// The peer has finished sending.
    pub(crate) fn eof(&mut self, around: &mut Around<'_>) {
        self.flags.set_peer(PeerEnd::Seen);
        if self.state != State::Open {
            return;
        }
        if self.layer().is_some_and(|layer| !layer.eof) {
            return self.begin_close(CloseReason::Truncated);
        }
        let held = self.extras.as_mut().map(|e| std::mem::take(&mut e.input)).unwrap_or_default();
        let mut input = Input::new(held.unread());
        let action =
            self.call(around, Callback::OnEof, |handler, cx| handler.on_eof(&mut input, cx));
        let consumed = input.consumed();
        if let Some(extras) = &mut self.extras {
            extras.message_deadline = None;
            extras.want = 0;
        }
        if self.is_taken() {
            let mut rest = held;
            rest.consume(consumed);
            self.extras().input = rest;
        }
        self.extend_half_closed(around);
        self.end_by(action, CloseReason::PeerClosed);
    }

    /// Somebody called `Sender::wake`.
    pub(crate) fn woken(&mut self, around: &mut Around<'_>) {
        let action = self.call(around, Callback::OnWake, |handler, cx| handler.on_wake(cx));
        self.follow(action, around);
    }

    /// The output is below the low mark again.
    pub(crate) fn writable(&mut self, around: &mut Around<'_>) {
        self.flags.set_filled(false);
        let action = self.call(around, Callback::OnWritable, |handler, cx| handler.on_writable(cx));
        self.follow(action, around);
    }

    pub(crate) fn resume(&mut self, now: Tick) {
        if !self.flags.paused() {
            return;
        }
        self.flags.set_paused(false);
        self.idle_since = now;
        self.flags.set_again(self.holds_input());
        if let Some(extras) = self.extras.as_mut().filter(|e| !e.starved) {
            extras.probe_at = None;
        }
    }

    /// The server drains, and all that had arrived before was shown.
    pub(crate) fn shutdown(&mut self, around: &mut Around<'_>) {
        if self.was_told() || self.state != State::Open {
            return;
        }
        // What keeps it busy now may be over before the turn is.
        self.flags.set_drain(if self.is_busy() { Drain::Finishing } else { Drain::Told });
        let action = self.call(around, Callback::OnShutdown, |handler, cx| handler.on_shutdown(cx));
        match action {
            // It gives up, whatever there was to do; a farewell is nothing that was to be done.
            Some(Action::Close | Action::Abort) => self.flags.set_drain(Drain::Told),
            // Whether its output is taken at once or later must make no difference.
            _ if self.is_busy() || !around.out.is_empty() => self.note_work(),
            _ => (),
        }
        match action {
            Some(Action::Pause) => self.pause(around.now),
            other => self.end_by(other, CloseReason::Shutdown),
        }
    }

    /// Whether `on_shutdown` has been called.
    pub(crate) fn was_told(&self) -> bool {
        self.flags.was_told_to_drain()
    }

    /// `n` bytes of output were taken by the system.
    pub(crate) fn progressed(&mut self, n: usize, around: &Around<'_>) {
        if n > 0 {
            around.tally.add_sent(n);
            if let Some(extras) = &mut self.extras {
                // Whoever holds too much of what all hold must take it in time, not bit by bit.
                if around.env.held.allows(extras.told_held, false) {
                    extras.stall_deadline = None;
                }
            }
            self.extend_half_closed(around);
        }
    }

    /// The output was offered to the system, and this is what it has not taken: marks and the
    /// stall clock follow.
    pub(crate) fn measured(&mut self, env: &Env, now: Instant) {
        let held = self.output_held();
        if held > env.limits.output_high {
            self.flags.turn_throttle(true);
        } else if (held < env.limits.output_low || held == 0) && self.is_throttled() {
            self.flags.turn_throttle(false);
            self.restart_message_clock(env, now);
        }
        if held == 0 {
            if let Some(extras) = &mut self.extras {
                extras.stall_deadline = None;
            }
        } else if self.extras().stall_deadline.is_none() {
            self.extras().stall_deadline =
                env.timeouts.write_stall.get().and_then(|d| now.checked_add(d));
        }
    }

    /// `n` bytes of output are on their way: remember whether `on_writable` is due later.
    pub(crate) fn filling(&mut self, n: usize, env: &Env) {
        if n >= env.limits.output_low && n > 0 {
            self.flags.set_filled(true);
        }
    }

    /// Whether `on_writable` is due now.
    pub(crate) fn is_drained(&self, env: &Env) -> bool {
        let held = self.output_held();
        self.flags.filled()
            && self.state == State::Open
            && (held < env.limits.output_low || held == 0)
    }

    /// The turn is over: keeps the idle clock and the drain's promise to busy connections.
    pub(crate) fn settled(&mut self, now: Tick) {
        if self.state != State::Open {
            return;
        }
        if self.is_busy() {
            self.idle_since = now;
            self.note_work();
        } else if self.finished_in_drain() {
            self.begin_close(CloseReason::Shutdown);
        }
    }

    /// There is something to do: a drain that was told waits for it.
    fn note_work(&mut self) {
        if self.flags.drain() == Drain::Told {
            self.flags.set_drain(Drain::Finishing);
        }
    }

    /// Since when the connection is idle, if it is.
    pub(crate) fn idle_since(&self) -> Option<Tick> {
        let idle = match self.state {
            State::New => true,
            State::Open => !self.is_busy() && !self.flags.paused(),
            _ => false,
        };
        idle.then_some(self.idle_since)
    }

    fn is_busy(&self) -> bool {
        self.flags.busy() || self.holds_input() || self.output_held() > 0
    }

    fn note_received(&mut self, n: usize, around: &Around<'_>) {
        around.tally.add_received(n);
        self.flags.set_any_data(true);
        self.note_work();
        self.idle_since = around.time().tick();
    }

    fn show_held(&mut self, around: &mut Around<'_>) {
        let Some(extras) = &mut self.extras else { return };
        let mut held = std::mem::take(&mut extras.input);
        let consumed = self.show(held.unread(), around);
        if self.state != State::Open && !self.is_taken() {
            return;
        }
        held.consume(consumed);
        self.extras().input = held;
    }

    /// Calls `on_data` if enough is there, and tells how much was consumed.
    fn show(&mut self, bytes: &[u8], around: &mut Around<'_>) -> usize {
        let want = self.extras.as_ref().map_or(0, |e| e.want);
        if bytes.is_empty() || bytes.len() < want {
            // No callback looks at the clock, and the thread may have been stopped before the read.
            around.now = around.now.max(around.facts.clock());
            self.start_message_clock(bytes.len(), 0, around);
            return 0;
        }
        if let Some(extras) = &mut self.extras {
            extras.want = 0;
        }
        self.show_now(bytes, &[], around)
    }

    /// Calls `on_data`, and tells how much was consumed. It may send of what is `lendable` from where it is.
    fn show_now(&mut self, bytes: &[u8], lendable: &[u8], around: &mut Around<'_>) -> usize {
        let mut input = Input::new(bytes);
        let action = self.call_lending(lendable, around, Callback::OnData, |handler, cx| {
            handler.on_data(&mut input, cx)
        });
        // The peer was not silent while the callback took its time: it was waiting.
        self.idle_since = around.time().tick();
        let consumed = input.consumed();
        let left = bytes.len() - consumed;
        if left > 0 || action != Some(Action::Continue) || self.extras.is_some() {
            self.follow_shown(action, left, consumed, around);
        }
        consumed
    }

    /// What `on_data` leads to, unless it has taken all and there is nothing more to it.
    #[inline(never)]
    fn follow_shown(
        &mut self,
        action: Option<Action>,
        left: usize,
        consumed: usize,
        around: &Around<'_>,
    ) {
        match action {
            Some(Action::Continue) if left == 0 => (),
            Some(Action::Continue) => self.limit_input(left + 1, around.env),
            Some(Action::Want(n)) => self.want(n, left, around.env),
            Some(Action::Yield) => self.flags.set_again(left > 0),
            Some(Action::Pause) => self.pause(around.now),
            other => self.end_by(other, CloseReason::Closed),
        }
        if left > 0 || self.extras.is_some() {
            self.start_message_clock(left, consumed, around);
        }
    }

    /// The handler wants `n` bytes, and holds some of them already.
    fn want(&mut self, n: usize, held: usize, env: &Env) {
        let wanted = n.max(held + 1);
        // A single byte need not be remembered: nobody is called with fewer.
        if wanted > 1 {
            self.extras().want = wanted;
        }
        self.limit_input(wanted, env);
    }

    /// Ends the connection if this many bytes at once are more than it may hold.
    fn limit_input(&mut self, wanted: usize, env: &Env) {
        let limit = env.limits.input;
        if wanted > limit {
            self.begin_close(CloseReason::InputLimit { wanted, limit });
        }
    }

    /// What the actions of the callbacks other than `on_data` and `on_open` lead to.
    fn follow(&mut self, action: Option<Action>, around: &Around<'_>) {
        match action {
            Some(Action::Pause) => self.pause(around.now),
            other if self.flags.peer() == PeerEnd::Followed => {
                self.end_by(other, CloseReason::PeerClosed);
            }
            other if self.flags.drain() == Drain::Followed => {
                self.end_by(other, CloseReason::Shutdown);
            }
            other => self.end_by(other, CloseReason::Closed),
        }
    }

    fn end_by(&mut self, action: Option<Action>, reason: CloseReason) {
        match action {
            Some(Action::Close) => self.begin_close(reason),
            Some(Action::Abort) => self.abort(CloseReason::Aborted),
            _ => (),
        }
    }

    fn pause(&mut self, now: Instant) {
        self.flags.set_paused(true);
        self.flags.set_again(false);
        let extras = self.extras();
        extras.message_deadline = None;
        extras.probe_at = now.checked_add(PROBE_INTERVAL);
    }

    /// Calls the handler, and carries out what it asked for. `None` if there is nothing to follow:
    /// it panicked or failed, it took the socket out, or the connection is not open any more.
    fn call<F>(&mut self, around: &mut Around<'_>, which: Callback, callback: F) -> Option<Action>
    where
        F: FnOnce(&mut dyn Handler, &mut Context<'_>) -> Result<Action, BoxError>,
    {
        self.call_lending(&[], around, which, callback)
    }

    /// As [`call`](Self::call); what is `lendable` may be sent from where it is.
    #[inline(always)]
    fn call_lending<F>(
        &mut self,
        lendable: &[u8],
        around: &mut Around<'_>,
        which: Callback,
        callback: F,
    ) -> Option<Action>
    where
        F: FnOnce(&mut dyn Handler, &mut Context<'_>) -> Result<Action, BoxError>,
    {
        if self.state != State::Open || self.is_taken() {
            return None;
        }
        let mut handler = self.handler.take()?;
        let mut outbox = self.extras.as_mut().and_then(|e| e.outbox.take());
        let mut requests = Requests::default();
        debug_assert_eq!(around.lent, 0, "what another was lent has gone out, or was copied");
        let already_sent = around.out.len();
        let limits = &around.env.limits;
        let mut cx = Context {
            held: self.output_held(),
            busy: self.flags.busy(),
            holds_input: self.holds_input(),
            high_mark: limits.output_high,
            hard_mark: limits.output_hard,
            out: around.out,
            lendable,
            requests: &mut requests,
            outbox: &mut outbox,
            facts: around.facts,
        };
        let result = catch_unwind(AssertUnwindSafe(|| callback(&mut *handler, &mut cx)));
        self.handler = Some(handler);
        around.note_time(which);
        // One that fails has served what it says, too.
        let served = requests.served.unwrap_or(u32::from(which == Callback::OnData));
        around.tally.add_requests(served);
        if outbox.is_some() {
            self.extras().outbox = outbox;
        }
        if result.is_ok() {
            around.lent = requests.lent;
        }
        match result {
            Ok(Ok(action)) if requests.asked.is_none() && self.extras.is_none() => Some(action),
            other => self.follow_call(other, which, &mut requests, already_sent, around),
        }
    }

    /// What a callback leads to that has asked for something, or has failed. Not inlined, so that the others
    /// take less of their thread's stack.
    #[inline(never)]
    fn follow_call(
        &mut self,
        result: Caught<Result<Action, BoxError>>,
        which: Callback,
        requests: &mut Requests,
        already_sent: usize,
        around: &mut Around<'_>,
    ) -> Option<Action> {
        match result {
            Ok(Ok(action)) => {
                if let Some(asked) = requests.asked.take() {
                    self.carry_out(asked, around);
                }
                Some(action).filter(|_| !self.is_taken())
            }
            Ok(Err(error)) => {
                self.begin_close(CloseReason::of_error(error));
                None
            }
            Err(payload) => {
                around.out.truncate(already_sent.max(requests.kept));
                let message = panic_message(payload);
                around.facts.note(Note::Panicked(which, &message));
                self.begin_close(CloseReason::Panic(message));
                None
            }
        }
    }

    fn carry_out(&mut self, asked: Asked, around: &Around<'_>) {
        if asked.peer_closed {
            self.flags.set_peer(PeerEnd::Followed);
        }
        if asked.shut_down {
            self.flags.set_drain(Drain::Followed);
        }
        if let Some(busy) = asked.busy {
            let was_busy = self.flags.busy();
            self.flags.set_busy(busy);
            if was_busy && !busy {
                self.idle_since = around.time().tick();
            }
        }
        if asked.resume {
            self.resume(around.time().tick());
        }
        if let Some(timer) = asked.timer {
            let at = timer.and_then(|after| around.now.checked_add(after));
            if at.is_some() || self.extras.is_some() {
                self.extras().timer = at;
            }
        }
        if let Some(timeout) = asked.idle_timeout {
            if timeout.is_some() || self.extras.is_some() {
                self.extras().idle_timeout = timeout;
            }
        }
        if let Some(take) = asked.take {
            self.extras().take = Some(take);
        }
    }
}

impl Around<'_> {
    pub(crate) fn time(&self) -> Time<'_> {
        Time { env: self.env, clock: self.clock, now: self.now }
    }

    /// A callback has returned. All clocks count from here on, however long it took; and if it has
    /// held up a thread that others need, that is told. What it took is counted from the last look
    /// at the clock, so that it takes no second one.
    pub(crate) fn note_time(&mut self, which: Callback) {
        let began = self.now;
        self.now = self.facts.clock().max(began);
        if self.stalls.as_mut().is_some_and(|stalls| !stalls.is_soon(self.now)) {
            self.judge_stall(which, began);
        }
    }

    #[cold]
    fn judge_stall(&mut self, which: Callback, began: Instant) {
        let (Some(stalls), Some(most)) = (&mut self.stalls, self.env.stall) else { return };
        if let Some(took) = stalls.judge(began, self.now, most) {
            self.facts.note(Note::Stalled(which, took));
        }
    }
}

/// What a panic said, if it said it in words. Dropping a payload may panic again, so that is caught.
pub(crate) fn panic_message(payload: Box<dyn Any + Send>) -> String {
    let message = payload
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| payload.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "a value that is no text".to_owned());
    drop_payload(Err::<(), _>(payload));
    message
}

/// Drops what a caught panic carried, and what the drop of that panics with, and so on. A payload of
/// which each drop panics with another is given up on.
pub(crate) fn drop_payload<T>(result: Result<T, Box<dyn Any + Send>>) {
    let mut left = result.err();
    for _ in 0..8 {
        let Some(payload) = left else { return };
        left = catch_unwind(AssertUnwindSafe(|| drop(payload))).err();
    }
    std::mem::forget(left);
}
