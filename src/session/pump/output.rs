//! The way out: from callbacks and senders to the socket, and the orderly end.

use super::{Got, MOVE_OUTPUT, Pump, READ_BUDGET, SALVAGE, Transport, WRITE_BUDGET};
use crate::connection::Phase;
use crate::handler::{Callback, CloseReason};
use crate::net::{IoClass, io_class};
use std::io;

impl<T: Transport> Pump<'_, T> {
    /// Writes until the output, the senders' messages and what `on_writable` adds are written or
    /// the system takes no more; ends what is closing.
    pub(super) fn settle(&mut self) {
        loop {
            self.flush_all();
            let env = self.around.env;
            if !self.conn.is_drained(env)
                || self.around.tally.sent() - self.sent_before > WRITE_BUDGET as u64
            {
                break;
            }
            self.call(|conn, around| conn.writable(around));
        }
        self.conn.settled(self.time().tick());
        if self.conn.is_closing() {
            self.flush_all();
            self.close_if_written();
        }
    }

    pub(super) fn flush_all(&mut self) {
        loop {
            self.flush();
            if !self.fetch_messages() {
                return;
            }
        }
    }

    /// Takes messages of senders, as many as the output has room for.
    pub(super) fn fetch_messages(&mut self) -> bool {
        if self.conn.is_done() || self.conn.has_output() {
            return false;
        }
        // What is closing takes no more messages, so there the end is in sight.
        if self.conn.is_open() && self.around.tally.sent() - self.sent_before > WRITE_BUDGET as u64
        {
            return false;
        }
        let Some(outbox) = self.conn.outbox() else { return false };
        let held = self.conn.output_held() + self.around.out.len();
        outbox.refill(held, self.around.out, READ_BUDGET);
        !self.around.out.is_empty()
    }

    pub(super) fn flush_held(&mut self) {
        if self.conn.has_output() {
            self.flush();
        }
    }

    /// Offers the output to the system, once.
    pub(super) fn flush(&mut self) {
        if self.conn.is_done() || self.conn.is_lingering() {
            return self.around.out.clear();
        }
        // A layer may pack what the handler sent, which counts what it sent by the same marks.
        let sent = self.conn.output_held() + self.around.out.len();
        self.wrap_layer();
        if self.conn.is_taken() {
            self.conn.extras().output.append(self.around.out);
            return self.around.out.clear();
        }
        let on_the_way = self.conn.output_held() + self.around.out.len();
        if on_the_way == 0 {
            return;
        }
        self.conn.filling(on_the_way.max(sent), self.around.env);
        if self.full {
            self.conn.extras().output.append(self.around.out);
            self.around.out.clear();
            return self.conn.measured(self.around.env, self.around.now);
        }
        let result = if self.conn.has_output() { self.send_held() } else { self.send_fresh() };
        self.sent(result);
    }

    /// What came of offering the output.
    pub(super) fn sent(&mut self, result: io::Result<usize>) {
        match result {
            Ok(n) => {
                self.conn.progressed(n, &self.around);
                self.full = self.conn.has_output();
            }
            Err(error) => self.send_failed(error),
        }
        self.conn.measured(self.around.env, self.around.now);
    }

    /// Older output is waiting: the new goes behind it.
    pub(super) fn send_held(&mut self) -> io::Result<usize> {
        let output = &mut self.conn.extras().output;
        output.append(self.around.out);
        self.around.out.clear();
        let n = would_block_is_zero(self.io.send(output.unread()))?;
        // The thread may have been stopped since it looked at the clock, and the peer had nothing to
        // answer until now.
        self.around.now = self.around.now.max(self.host.clock());
        if self.was_busy {
            self.conn.begin_turn(self.time().tick());
        }
        self.conn.extras().output.consume(n);
        Ok(n)
    }

    /// Nothing is waiting: the thread's own buffer goes out, and only what is left is kept.
    pub(super) fn send_fresh(&mut self) -> io::Result<usize> {
        if self.around.out.is_empty() {
            return Ok(0);
        }
        let result = self.io.send(self.around.out);
        self.keep_rest(result)
    }

    /// The thread's own buffer was offered: keeps what is left of it.
    pub(super) fn keep_rest(&mut self, result: io::Result<usize>) -> io::Result<usize> {
        let n = would_block_is_zero(result)?;
        let left = self.around.out.len() - n;
        if left >= MOVE_OUTPUT {
            let out = std::mem::take(self.around.out);
            self.conn.extras().output = crate::buffer::Buffer::from_vec(out, n);
        } else if left > 0 {
            let rest = &self.around.out[n..];
            self.conn.extras().output.append(rest);
        }
        self.around.out.clear();
        Ok(n)
    }

    /// The peer takes nothing any more. What it sent before it left is still shown.
    pub(super) fn send_failed(&mut self, error: io::Error) {
        self.around.out.clear();
        let reason = match io_class(&error) {
            IoClass::PeerGone => CloseReason::Reset(error),
            _ => CloseReason::Io(error),
        };
        self.conn.extras().output.free();
        let before = self.around.tally.received();
        while self.conn.is_open()
            && self.conn.wants_bytes()
            && (self.around.tally.received() - before) < SALVAGE as u64
        {
            let got = self.read_once();
            self.around.out.clear();
            if !matches!(got, Got::Bytes(_)) {
                break;
            }
        }
        self.conn.fail(reason);
    }

    /// The output of a closing connection is written: say goodbye.
    pub(super) fn close_if_written(&mut self) {
        // A layer's last words alone are nothing to linger for.
        let idle = self.is_idle_in_drain()
            || self.conn.is_evicted()
            || self.conn.is_mute(self.around.tally);
        if !self.conn.is_closing() || self.conn.output_held() > 0 || !self.farewell() {
            return;
        }
        if self.conn.is_done() {
            return; // its last words could not be written
        }
        self.release();
        if self.conn.saw_eof() {
            return self.conn.done();
        }
        if idle || !self.io.sees_end() {
            return self.leave();
        }
        match self.io.shutdown_write() {
            Ok(()) => {
                self.conn.linger(self.around.env, self.around.now);
                self.throw_away();
            }
            // The peer has gone.
            Err(_) => self.conn.done(),
        }
    }

    /// Nobody waits for the peer's end. What it may have sent since we last looked would make a reset of
    /// the close: the peer is to find our end before that.
    fn leave(&mut self) {
        let _ = self.io.shutdown_both();
        self.throw_away();
        self.conn.done();
    }

    /// An idle connection that a drain has found: its last output is long gone, so there is nothing
    /// to linger for.
    pub(super) fn is_idle_in_drain(&self) -> bool {
        // One that never came as far as to a handler has said nothing worth lingering for either.
        let said_nothing = !self.conn.was_opened()
            || (self.conn.was_told() && self.around.tally.sent() == self.sent_before);
        self.around.env.phase() == Phase::Draining && said_nothing
    }

    pub(super) fn release(&mut self) {
        if self.around.env.batches {
            self.tell_batch();
        }
        let host = self.host;
        let reason = self.conn.take_reason();
        host.ended(self.conn, &reason);
        self.conn.release_handler(&reason, &|note| host.note(note));
        if self.around.stalls.is_some() {
            // The clock is not read after `on_close` otherwise: there is nothing left to count.
            self.call(|_, around| around.note_time(Callback::OnClose));
        }
        host.closed(self.conn, &reason);
    }
}

fn would_block_is_zero(result: io::Result<usize>) -> io::Result<usize> {
    match result {
        Err(e) if matches!(io_class(&e), IoClass::WouldBlock | IoClass::Retry) => Ok(0),
        other => other,
    }
}
