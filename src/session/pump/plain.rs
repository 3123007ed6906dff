//! The turn that most are: bytes have come, and nothing else is pending.
//!
//! It leaves out what would find nothing to do, and is the whole turn from where that is not so any
//! more.

use super::{Pump, Transport};
use crate::connection::{Phase, Ready, Turn};

impl<T: Transport> Pump<'_, T> {
    /// Whether nothing but bytes of the peer is to be looked after.
    pub(super) fn is_plain(&self) -> bool {
        self.conn.is_quiet() && self.env.phase() == Phase::Running
    }

    /// Reads, shows, and writes.
    pub(super) fn run_plainly(&mut self) -> Turn {
        self.make_no_room();
        self.read_once();
        let order = self.host.order();
        if order.is_some() || !self.was_heard() || !self.is_plain() {
            return self.end(order, Ready::READ, self.env.phase());
        }
        self.flush();
        if !self.conn.is_quiet() {
            self.settle();
        }
        self.make_room();
        if !self.conn.is_quiet() {
            return self.finish();
        }
        self.balance();
        if !self.conn.is_quiet() {
            return self.finish();
        }
        Turn::Wait(self.wants())
    }
}
