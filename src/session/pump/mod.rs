//! Moves bytes between a connection and its socket: one `turn`.
//!
//! The socket is behind [`Transport`], so that a script can stand in for it.
//!
//! What a plain turn does is one function, and what it seldom does is not inlined into that. A thread has its
//! stack for itself: with a thousand of them, each line of it that a turn touches is fetched from memory, and
//! thirty lines more cost a fifth of the turn (docs/benchmarks.md).

mod layers;
mod output;
mod plain;

use super::orders::Order;
use super::scratch::Scratch;
use crate::connection::{
    Around, AtLimit, Connection, Env, Phase, Ready, StallWatch, Tally, Tick, Time, Turn, Wants,
};
use crate::handler::{Callback, CloseReason, Facts, Handler, Note, Signals};
use crate::net::{IoClass, Stream, io_class};
use std::io;
use std::net::Shutdown;
use std::time::Instant;

/// What a turn does with a socket. No call of it waits, or is cut short by a signal.
pub(crate) trait Transport {
    fn recv(&self, buf: &mut [u8]) -> io::Result<usize>;
    fn recv_append(&self, buf: &mut Vec<u8>) -> io::Result<usize>;
    fn send(&self, bytes: &[u8]) -> io::Result<usize>;
    fn shutdown_write(&self) -> io::Result<()>;
    /// Ends both directions: the peer finds the end, and on systems that can tell it so, learns that
    /// nobody reads any more.
    fn shutdown_both(&self) -> io::Result<()>;
    fn reset_on_close(&self);
    fn take_error(&self) -> io::Result<Option<io::Error>>;
    /// Whether the peer's end can be told from other ends. If not, nobody waits for it.
    fn sees_end(&self) -> bool {
        true
    }
}

impl Transport for Stream {
    #[inline]
    fn recv(&self, buf: &mut [u8]) -> io::Result<usize> {
        self.recv(buf)
    }

    fn recv_append(&self, buf: &mut Vec<u8>) -> io::Result<usize> {
        self.recv_append(buf)
    }

    #[inline]
    fn send(&self, bytes: &[u8]) -> io::Result<usize> {
        self.send(bytes)
    }

    fn shutdown_write(&self) -> io::Result<()> {
        self.shutdown(Shutdown::Write)
    }

    fn shutdown_both(&self) -> io::Result<()> {
        self.shutdown(Shutdown::Both)
    }

    fn reset_on_close(&self) {
        self.reset_on_close();
    }

    fn take_error(&self) -> io::Result<Option<io::Error>> {
        self.take_error()
    }

    fn sees_end(&self) -> bool {
        self.sees_end()
    }
}

/// What the pump needs from the server besides.
pub(crate) trait Host: Facts {
    fn env(&self) -> &Env;
    /// Makes the handler. May panic: it is the user's factory.
    fn make_handler(&self) -> Box<dyn Handler>;
    /// What the connection is ordered to do.
    fn order(&self) -> Option<Order>;
    /// Notes since when the connection is idle, if it is. `true` if it is to make room for another.
    fn note_idle(&self, since: Option<Tick>) -> bool;
    /// This connection is not read until all together hold less: has it look again then.
    fn starve(&self);
    /// All together hold less: those that were not read look again.
    fn relieve(&self);
    /// This connection was to make room, and is not idle any more.
    fn evict_another(&self, now: Instant);
    /// So many requests were served in this turn, and so many bytes received and sent.
    fn batch(&self, requests: u64, received: u64, sent: u64);
    /// The connection has ended, and its handler is about to be told.
    fn ended(&self, connection: &Connection, reason: &CloseReason);
    /// The handler is released: the connection is over for everybody but the socket.
    fn closed(&self, connection: &Connection, reason: &CloseReason);
}

/// The most that is read before others have their turn.
const READ_BUDGET: usize = 64 * 1024;
/// The most that `on_writable` may write before others have their turn.
const WRITE_BUDGET: usize = 256 * 1024;
/// The least room that a read into a connection's own buffer is given.
const MIN_ROOM: usize = 4 * 1024;
/// How many layers may take each other's place in one turn.
const MAX_REPLACED: usize = 16;
/// How often one turn looks again for what other threads left for it meanwhile.
const MAX_ROUNDS: usize = 8;
/// The most that is read, when a drain begins, of what had arrived before.
const DRAIN_BUDGET: usize = 1024 * 1024;
/// The most that is read from a peer that takes nothing any more.
const SALVAGE: usize = 1024 * 1024;
/// Output of this size or more that is left over is moved to the connection rather than copied.
const MOVE_OUTPUT: usize = 16 * 1024;

/// One turn of one connection.
pub(crate) struct Pump<'a, T> {
    pub(crate) conn: &'a mut Connection,
    /// Its output is the thread's own, which is empty between turns; what is lent is of `input`.
    around: Around<'a>,
    pub(crate) io: &'a T,
    pub(crate) host: &'a dyn Host,
    pub(crate) input: &'a mut [u8],
    /// How much the connection had sent before this turn.
    sent_before: u64,
    /// How much it had received.
    received_before: u64,
    /// What it had counted besides, if that is to be told.
    requests_before: u64,
    /// A wake-up is set for an earlier deadline of this connection. One that moves away need not be
    /// calculated then.
    pub(crate) wake_is_set: bool,
    /// The system took less than it was offered in this turn: it is full.
    full: bool,
    /// The connection was busy when this turn began.
    was_busy: bool,
}

/// What a read led to.
#[derive(PartialEq)]
enum Got {
    Bytes(usize),
    Nothing,
    End,
}

impl<'a, T: Transport> Pump<'a, T> {
    pub(crate) fn new(
        conn: &'a mut Connection,
        tally: &'a Tally,
        io: &'a T,
        host: &'a dyn Host,
        now: Instant,
        scratch: &'a mut Scratch,
    ) -> Self {
        scratch.output.clear();
        let env = host.env();
        if scratch.clock.follow(env) {
            scratch.stalls = StallWatch::default(); // with another's limit
        }
        let watches = env.stall.is_some() && !scratch.may_block;
        Self {
            sent_before: tally.sent(),
            received_before: tally.received(),
            requests_before: 0,
            wake_is_set: false,
            full: false,
            was_busy: false,
            conn,
            around: Around {
                out: &mut scratch.output,
                lent: 0,
                env,
                facts: host,
                tally,
                // Where there may be no stalls, and somebody is told of them.
                stalls: Some(&mut scratch.stalls).filter(|_| watches),
                clock: &scratch.clock,
                now,
            },
            io,
            host,
            input: &mut scratch.input,
        }
    }

    /// Does what there is to do. `received` is the outcome of a read into the thread's input buffer
    /// that the caller has made already.
    #[inline(always)]
    pub(crate) fn turn(mut self, ready: Ready, received: Option<io::Result<usize>>) -> Turn {
        if self.around.env.batches {
            self.requests_before = self.around.tally.requests();
        }
        let turn = self.run(ready, received);
        self.around.clock.see(self.around.now);
        self.around.tally.publish(self.conn.standing());
        if self.around.env.batches || self.conn.has_throttle_change() {
            self.tell();
        }
        turn
    }

    #[inline(always)]
    fn run(&mut self, ready: Ready, received: Option<io::Result<usize>>) -> Turn {
        if ready == Ready::READ && self.is_plain() {
            return self.run_plainly(received);
        }
        self.run_wholly(ready, received)
    }

    #[inline(never)]
    fn run_wholly(&mut self, ready: Ready, received: Option<io::Result<usize>>) -> Turn {
        if self.conn.is_done() {
            return self.over();
        }
        let signals = self.conn.outbox().map(|outbox| outbox.begin()).unwrap_or_default();
        let phase = self.around.env.phase();
        if phase >= Phase::Killing {
            self.end_by_force(phase);
        }
        self.was_busy = self.conn.begin_turn(self.time().tick());
        self.make_no_room();
        // Who keeps the clocks late must find out first whether the peer would have been in time.
        if ready.read || ready.write || self.conn.is_stall_overdue(self.around.now) {
            self.begin();
            self.flush_held();
        } else {
            self.full = self.waits_for_room(signals, phase);
            self.begin();
        }
        self.obey(signals);
        if self.conn.wants_again(self.around.env) {
            self.call(|conn, around| conn.go_on(around));
        }
        match received {
            Some(result) => drop(self.take_read(result)),
            None if ready.read || self.conn.has_more_plaintext() => self.read(),
            None => (),
        }
        let order = self.host.order();
        self.end(order, ready, phase)
    }

    /// Whether nobody wants anything in a turn without an event, which a clock has brought then, and output
    /// waits, of which the poller will tell when there is room. A little may have come free without the peer
    /// having read a byte, and that must not pass for progress.
    fn waits_for_room(&self, signals: Signals, phase: Phase) -> bool {
        let conn = &*self.conn;
        let is_asked = signals != Signals::default() || conn.wants_again(self.around.env);
        let has_messages = || conn.outbox().is_some_and(|outbox| outbox.has_messages());
        conn.has_output() && phase == Phase::Running && !is_asked && !has_messages()
    }

    /// What follows when the peer was heard.
    #[inline(never)]
    fn end(&mut self, order: Option<Order>, ready: Ready, phase: Phase) -> Turn {
        if let Some(order) = order {
            self.carry_out(order);
        }
        self.keep_clocks(ready);
        if phase == Phase::Draining {
            self.drain();
        }
        self.settle();
        self.make_room();
        self.finish()
    }

    fn carry_out(&mut self, order: Order) {
        if order == Order::Close {
            return self.conn.begin_close(CloseReason::Closed);
        }
        // Bytes that have come already count: their peer was not idle.
        if self.conn.wants_bytes() {
            self.read();
        }
        if self.conn.idle_since().is_some() && self.around.tally.received() == self.received_before
        {
            self.conn.begin_close(CloseReason::Evicted);
        } else {
            self.host.evict_another(self.around.now);
        }
    }

    /// However long its callbacks take, nobody is to wait for room from a connection that has its
    /// turn, while others are idle.
    fn make_no_room(&self) {
        if self.notes_idle() {
            self.host.note_idle(None);
        }
    }

    /// Whether the connection that is idle for longest makes room for new ones.
    fn notes_idle(&self) -> bool {
        self.around.env.limits.at_limit == AtLimit::CloseOldestIdle
    }

    /// Notes whether this connection is idle.
    #[inline(never)]
    fn make_room(&mut self) {
        if !self.notes_idle() {
            return;
        }
        let since = self.conn.idle_since();
        // Whose thread was cut in on, and had work at that moment, does not hear its peer's end.
        let is_running = self.host.env().phase() == Phase::Running;
        let is_deaf = since.is_some() && is_running && !self.io.sees_end();
        if self.host.note_idle(since) || is_deaf {
            self.conn.begin_close(CloseReason::Evicted);
            self.settle();
        }
    }

    /// Tells what came of this turn.
    #[inline(never)]
    fn tell(&mut self) {
        if self.conn.was_released() || !self.around.env.observed {
            return; // all was told before `closed`, or nobody is told
        }
        if self.around.env.batches {
            self.tell_batch();
        }
        if let Some(on) = self.conn.take_throttle_change() {
            self.host.note(Note::Throttled(on, self.conn.output_held()));
        }
    }

    fn tell_batch(&mut self) {
        let requests = self.around.tally.requests() - self.requests_before;
        if requests > 0 {
            self.requests_before += requests;
            let received = self.around.tally.received() - self.received_before;
            self.host.batch(requests, received, self.around.tally.sent() - self.sent_before);
        }
    }

    fn time(&self) -> Time<'a> {
        Time { env: self.around.env, clock: self.around.clock, now: self.around.now }
    }

    fn call<R>(&mut self, call: impl FnOnce(&mut Connection, &mut Around<'_>) -> R) -> R {
        call(self.conn, &mut self.around)
    }

    /// A connection without a handler gets one, as soon as its layer is ready.
    fn begin(&mut self) {
        if !self.conn.is_new() {
            return;
        }
        if self.conn.has_layer() {
            self.run_layer();
        }
        if self.conn.layer().is_some_and(|state| !state.layer.is_ready()) || !self.conn.is_new() {
            return;
        }
        let host = self.host;
        let made = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| host.make_handler()));
        match made {
            Ok(handler) => {
                self.call(|conn, around| conn.open(handler, around));
                if self.conn.holds_input() && self.conn.is_open() && !self.conn.is_paused() {
                    self.call(|conn, around| conn.more_data(0, around));
                }
            }
            Err(payload) => {
                let message = crate::connection::panic_message(payload);
                self.host.note(Note::Panicked(Callback::Factory, &message));
                self.conn.begin_close(CloseReason::Panic(message));
            }
        }
    }

    fn obey(&mut self, signals: Signals) {
        if signals.give_up {
            return self.conn.abort(CloseReason::SlowConsumer);
        }
        if signals.resume {
            self.conn.resume(self.time().tick());
        }
        if signals.wake && self.conn.is_open() {
            self.call(|conn, around| conn.woken(around));
        }
        if signals.close {
            self.conn.begin_close(CloseReason::Closed);
        }
    }

    fn keep_clocks(&mut self, ready: Ready) {
        if self.was_heard() && self.conn.counts_silence_alone() {
            return;
        }
        // What came in time but was not looked at yet counts: a process that was stopped and
        // continued must not take all its peers for silent.
        if !ready.read && self.conn.wants_bytes() && self.conn.is_silence_due(self.time()) {
            self.read();
        }
        let is_deaf = self.conn.is_paused() || self.conn.is_starved();
        if self.conn.take_probe(self.around.now) && is_deaf {
            if let Ok(Some(error)) | Err(error) = self.io.take_error() {
                return self.receive_failed(error);
            }
        }
        self.call(|conn, around| conn.expire(around));
    }

    /// The server does not wait any longer.
    fn end_by_force(&mut self, phase: Phase) {
        if phase == Phase::Stopped {
            return self.conn.abort(CloseReason::Killed);
        }
        if self.conn.is_lingering() {
            return;
        }
        self.conn.begin_close(CloseReason::Killed);
        self.flush_all();
        if self.conn.output_held() > 0 {
            self.conn.abort(CloseReason::Killed);
        }
    }

    /// Shows what had arrived, then tells the handler.
    fn drain(&mut self) {
        let env = self.around.env;
        if self.conn.is_new() && !self.conn.is_fresh(self.time()) {
            return self.conn.begin_close(CloseReason::Shutdown);
        }
        if self.conn.was_told() || !self.conn.is_open() {
            return;
        }
        // Who was not read for what all hold may be now.
        self.conn.balance(env, self.around.now);
        let mut budget = DRAIN_BUDGET;
        while self.conn.wants_bytes() && budget > 0 {
            match self.read_once() {
                Got::Nothing => break,
                Got::Bytes(n) => budget = budget.saturating_sub(n.max(1)),
                Got::End => (),
            }
            self.flush_all();
        }
        if self.may_tell_of_drain() {
            // What is written already does not make it busy.
            self.flush_all();
            self.call(|conn, around| conn.shutdown(around));
        }
    }

    /// Whether `on_shutdown` is due. What can not be shown yet, but will be without a further word of
    /// the peer, comes before; so does the first word of a peer that connected just now.
    fn may_tell_of_drain(&self) -> bool {
        let is_ready = self.conn.is_open() && !self.conn.was_told() && !self.conn.is_held_up();
        is_ready && !self.conn.is_fresh(self.time())
    }

    fn read(&mut self) {
        if self.conn.is_closing() || self.conn.is_lingering() {
            return self.throw_away();
        }
        if self.conn.wants_bytes() {
            self.read_once();
        }
    }

    /// One read, and the callbacks that follow from it. What a layer holds goes before.
    fn read_once(&mut self) -> Got {
        if self.conn.has_more_plaintext() {
            self.run_layer();
            return Got::Bytes(0);
        }
        let result = if self.conn.has_layer() || !self.conn.holds_input() {
            self.io.recv(self.input)
        } else {
            let room = self.room();
            let vec = self.conn.extras().input.room(room);
            let before = vec.len();
            let result = self.io.recv_append(vec);
            return match result {
                Ok(n) if n > 0 => {
                    debug_assert!(vec.len() == before + n);
                    self.call(|conn, around| conn.more_data(n, around));
                    Got::Bytes(n)
                }
                other => self.take_read(other),
            };
        };
        self.take_read(result)
    }

    /// How much to read into the connection's own buffer: it doubles with what arrived, never by
    /// more than one read's worth at a time.
    fn room(&mut self) -> usize {
        self.conn.extras().input.len().clamp(MIN_ROOM, READ_BUDGET)
    }

    #[inline(never)]
    fn take_read(&mut self, result: io::Result<usize>) -> Got {
        match result {
            Ok(0) => {
                self.end_of_stream();
                Got::End
            }
            Ok(n) if self.conn.has_layer() => {
                self.unwrap_layer(n);
                Got::Bytes(n)
            }
            Ok(n) => {
                let bytes = &self.input[..n];
                self.conn.data(bytes, &mut self.around);
                Got::Bytes(n)
            }
            Err(error) => match io_class(&error) {
                IoClass::WouldBlock | IoClass::Retry => Got::Nothing,
                _ => {
                    self.receive_failed(error);
                    Got::End
                }
            },
        }
    }

    fn end_of_stream(&mut self) {
        if self.conn.is_new() {
            self.call(|conn, around| conn.eof(around));
            return self.conn.begin_close(CloseReason::PeerClosed);
        }
        self.call(|conn, around| conn.eof(around));
    }

    fn receive_failed(&mut self, error: io::Error) {
        let reason = match io_class(&error) {
            IoClass::PeerGone => CloseReason::Reset(error),
            _ => CloseReason::Io(error),
        };
        self.conn.fail(reason);
    }

    fn throw_away(&mut self) {
        let mut budget = READ_BUDGET;
        while self.conn.wants_bytes() && budget > 0 {
            match self.io.recv(self.input) {
                Ok(0) => {
                    self.call(|conn, around| conn.eof(around));
                    if self.conn.is_lingering() {
                        self.conn.done();
                    }
                    return;
                }
                Ok(n) => {
                    self.conn.thrown_away(n, self.around.env, self.around.now);
                    budget = budget.saturating_sub(n);
                    if n < self.input.len() {
                        return;
                    }
                }
                Err(e) if matches!(io_class(&e), IoClass::WouldBlock | IoClass::Retry) => return,
                Err(e) => return self.receive_failed(e),
            }
        }
    }

    /// The turn is over: either the connection is, or these are its wants.
    #[inline(never)]
    fn finish(&mut self) -> Turn {
        self.hand_over();
        for _ in 0..MAX_ROUNDS {
            if self.conn.is_done() {
                return self.over();
            }
            let full = self.conn.has_output();
            let held = self.conn.output_held();
            let Some(outbox) = self.conn.outbox() else { break };
            if outbox.end(held, full) {
                break;
            }
            let signals = outbox.begin();
            self.obey(signals);
            self.settle();
            self.hand_over();
        }
        if self.conn.is_done() {
            return self.over();
        }
        self.balance();
        let env = self.around.env;
        let mut wants = self.wants();
        wants.again |= self.conn.is_drained(env);
        // What held its drain up may have been undone by the last callback of this turn.
        wants.again |= env.phase() == Phase::Draining && self.may_tell_of_drain();
        // Still awake after so many rounds: nobody will wake us, so come again unasked.
        wants.again |= self.conn.outbox().is_some_and(|o| o.is_awake());
        self.conn.tidy();
        Turn::Wait(wants)
    }

    #[inline(never)]
    fn wants(&mut self) -> Wants {
        if self.was_heard() && self.need_not_tell_deadline() {
            return self.conn.wants_but_deadline(self.around.env);
        }
        self.conn.note_told();
        self.conn.wants(self.time())
    }

    /// Whether who was heard in this turn has a wake-up that comes early enough.
    fn need_not_tell_deadline(&self) -> bool {
        let is_set = self.wake_is_set || self.around.env.timeouts.idle.get().is_none();
        is_set && self.conn.has_told_of_silence()
    }

    fn was_heard(&self) -> bool {
        self.around.tally.received() != self.received_before
    }

    /// Tells what the connection holds, and obeys if that is too much.
    #[inline(never)]
    fn balance(&mut self) {
        let env = self.around.env;
        if self.conn.balance(env, self.around.now) {
            self.host.starve();
            // What has fallen before that was noted woke nobody.
            env.held.await_fall();
            self.conn.balance(env, self.around.now);
        }
        if env.held.has_fallen() {
            self.host.relieve();
        }
    }

    /// Ends a connection whose socket was taken. Its new owner gets what senders pushed as well.
    fn hand_over(&mut self) {
        if !self.conn.is_taken() || self.conn.is_done() {
            return;
        }
        if let Some(outbox) = self.conn.outbox() {
            outbox.close();
            outbox.drain_into(self.around.out, usize::MAX);
        }
        self.flush();
        self.conn.fail(CloseReason::Taken);
    }

    fn over(&mut self) -> Turn {
        if !self.conn.was_released() {
            self.release();
        }
        if self.conn.wants_reset() {
            self.io.reset_on_close();
        }
        self.around.out.clear();
        Turn::Closed
    }
}
