//! The turn that most are: bytes have come, and nothing else is pending.
//!
//! It leaves out what would find nothing to do, and is the whole turn from where that is not so any
//! more.

use super::{Got, Pump, Transport};
use crate::connection::{Phase, Ready, Turn, Wants};
use std::io;

impl<T: Transport> Pump<'_, T> {
    /// Whether nothing but bytes of the peer is to be looked after.
    pub(super) fn is_plain(&self) -> bool {
        self.conn.is_quiet() && self.around.env.phase() == Phase::Running
    }

    /// Reads, shows, and writes.
    #[inline(always)]
    pub(super) fn run_plainly(&mut self, received: Option<io::Result<usize>>) -> Turn {
        self.make_no_room();
        let result = received.unwrap_or_else(|| self.io.recv(self.input));
        let got = self.take_read_plainly(result);
        let order = self.host.order();
        if order.is_some() || !got || !self.is_plain() {
            self.copy_lent();
            return self.end(order, Ready::READ, self.around.env.phase());
        }
        if !self.flush_plainly() || !self.around.env.held.is_calm() {
            return self.end_plainly();
        }
        if self.notes_idle() {
            self.make_room();
            if !self.conn.is_quiet() {
                return self.finish();
            }
        }
        if self.need_not_tell_deadline() {
            return Turn::Wait(Wants::READ);
        }
        Turn::Wait(self.wants())
    }

    /// Whether the peer was heard.
    fn take_read_plainly(&mut self, result: io::Result<usize>) -> bool {
        match result {
            Ok(n) if n > 0 => {
                self.conn.data_plainly(&self.input[..n], &mut self.around);
                true
            }
            other => matches!(self.take_read(other), Got::Bytes(_)),
        }
    }

    /// Offers the output, and tells whether the connection is as quiet as before.
    fn flush_plainly(&mut self) -> bool {
        let bytes = if self.around.lent == 0 {
            &self.around.out[..]
        } else {
            &self.input[..self.around.lent]
        };
        let n = bytes.len();
        if n == 0 {
            return true;
        }
        // `on_writable` is due then when it is written.
        let fills = n >= self.around.env.limits.output_low;
        if fills {
            self.conn.filling(n, self.around.env);
        }
        match self.io.send(bytes) {
            Ok(sent) if sent == n => {
                self.around.tally.add_sent(n);
                self.around.out.clear();
                self.around.lent = 0;
                !fills
            }
            other => {
                self.keep_unsent(other);
                false
            }
        }
    }

    #[inline(never)]
    fn keep_unsent(&mut self, result: io::Result<usize>) {
        self.copy_lent();
        let result = self.keep_rest(result);
        self.sent(result);
    }

    /// What was to go out from the input buffer goes into the output: the input may be read into again.
    #[inline(never)]
    fn copy_lent(&mut self) {
        let lent = std::mem::take(&mut self.around.lent);
        self.around.out.extend_from_slice(&self.input[..lent]);
    }

    /// What is left of a turn that was plain until the output was offered.
    #[inline(never)]
    fn end_plainly(&mut self) -> Turn {
        if !self.conn.is_quiet() {
            self.settle();
        }
        self.make_room();
        if self.conn.is_quiet() {
            self.balance();
        }
        if !self.conn.is_quiet() {
            return self.finish();
        }
        Turn::Wait(self.wants())
    }
}
