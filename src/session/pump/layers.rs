//! A layer between the socket and the connection.

use super::{MAX_REPLACED, Pump, READ_BUDGET, Transport};
use crate::connection::{LayerState, guarded};
use crate::handler::{BoxError, Callback, CloseReason, Note};
use crate::layer::{Layer, Progress};

impl<T: Transport> Pump<'_, T> {
    /// The first `n` bytes of the input buffer came from the wire.
    pub(super) fn unwrap_layer(&mut self, n: usize) {
        let bytes = &self.input[..n];
        if let Some(state) = self.conn.layer() {
            state.wire.append(bytes);
        }
        if self.conn.is_new() {
            return self.begin();
        }
        self.run_layer();
    }

    /// Lets the layer read, and shows what came out.
    pub(super) fn run_layer(&mut self) {
        let mut n_plain = 0;
        let mut n_replaced = 0;
        loop {
            let Some((progress, n)) = self.read_layer() else { return };
            n_plain += n;
            let Some(state) = self.conn.layer() else { break };
            state.wire.consume(progress.consumed);
            state.eof |= progress.eof;
            let stuck = progress.consumed == 0 && n == 0;
            // One that says so without giving anything is waiting for the wire nevertheless.
            state.more = progress.more && !stuck;
            if let Some(next) = progress.next {
                n_replaced += 1;
                n_plain += self.replace_layer(next);
                if n_replaced <= MAX_REPLACED {
                    continue;
                }
            }
            let Some(state) = self.conn.layer() else { break };
            let goes_on = !stuck && (state.more || !state.wire.is_empty());
            if !goes_on {
                break;
            }
            if n_plain >= READ_BUDGET {
                state.more = true;
                break;
            }
        }
        if self.is_wire_full() {
            return;
        }
        if n_plain > 0 && self.conn.is_open() {
            self.call(|conn, around| conn.more_data(n_plain, around));
        }
        let ended = self.conn.layer().is_some_and(|state| state.eof && !state.more);
        // Not before the handler would have it: it may have paused, or yielded.
        if ended && self.conn.is_open() && self.conn.wants_bytes() {
            self.call(|conn, around| conn.eof(around));
        }
    }

    /// One call of the layer's `read`, and how much plaintext it gave. `None` if it failed.
    pub(super) fn read_layer(&mut self) -> Option<(Progress, usize)> {
        let limit = self.around.env.limits.input;
        let extras = self.conn.extras();
        let room = limit.saturating_sub(extras.input.len()).clamp(1, READ_BUDGET);
        let Some(state) = extras.layer.as_deref_mut() else {
            return Some((Progress::default(), 0));
        };
        let (plain, out) = (extras.input.room(0), extras.output.room(0));
        let before = plain.len();
        let LayerState { layer, wire, .. } = state;
        let result = attempt(|| layer.read(wire.unread(), plain, room, out));
        let n = plain.len() - before;
        match result {
            Ok(progress) => Some((progress, n)),
            Err(reason) => {
                self.layer_failed(reason);
                None
            }
        }
    }

    /// Ends a connection whose layer leaves more than the limit in the wire.
    pub(super) fn is_wire_full(&mut self) -> bool {
        let limit = self.around.env.limits.input.max(READ_BUDGET);
        let wanted = match self.conn.layer() {
            Some(state) if !state.more && state.wire.len() >= limit => state.wire.len() + 1,
            _ => return false,
        };
        self.conn.begin_close(CloseReason::InputLimit { wanted, limit });
        true
    }

    /// Puts `next` in the layer's place, and tells how many bytes of the wire became plain by that.
    pub(super) fn replace_layer(&mut self, next: Option<Box<dyn Layer>>) -> usize {
        let extras = self.conn.extras();
        let Some(state) = extras.layer.as_deref_mut() else { return 0 };
        match next {
            Some(layer) => {
                state.layer = layer;
                state.eof = false;
                state.more = false;
                0
            }
            None => {
                let rest = std::mem::take(&mut state.wire).into_vec();
                let plain = std::mem::take(&mut state.plain);
                extras.input.append(&rest);
                extras.output.append(&plain);
                extras.layer = None;
                rest.len()
            }
        }
    }

    /// Moves the handler's output through the layer.
    pub(super) fn wrap_layer(&mut self) {
        if !self.conn.has_layer() {
            return;
        }
        let extras = self.conn.extras();
        let Some(state) = extras.layer.as_deref_mut() else { return };
        if state.closed {
            return self.around.out.clear();
        }
        state.plain.append(self.around.out);
        let LayerState { layer, plain, .. } = state;
        while !plain.is_empty() {
            match attempt(|| layer.write(plain, extras.output.room(0))) {
                Ok(0) => return,
                Ok(n) => drop(plain.drain(..n)),
                Err(reason) => return self.layer_failed(reason),
            }
        }
    }

    /// Whether the layer has said its last words (or there is none), and they are written.
    pub(super) fn farewell(&mut self) -> bool {
        let extras = self.conn.extras();
        let Some(state) = extras.layer.as_deref_mut() else { return true };
        if !state.closed {
            state.closed = true;
            let (layer, out) = (&mut state.layer, extras.output.room(0));
            // If it has no last words because it panicked, the peer will miss them.
            let host = self.host;
            guarded(Callback::Layer, &|note| host.note(note), || layer.close(out));
            self.flush();
        }
        !self.conn.has_output()
    }

    pub(super) fn layer_failed(&mut self, reason: CloseReason) {
        if let CloseReason::Panic(message) = &reason {
            self.host.note(Note::Panicked(Callback::Layer, message));
        }
        if let Some(state) = self.conn.layer() {
            // It is broken: its last words are those of the error, which are in the output.
            state.closed = true;
            state.more = false;
            state.plain.clear();
        }
        self.conn.begin_close(reason);
    }
}

/// Calls a layer. If it fails or panics, that is the reason of the connection's end.
fn attempt<R>(call: impl FnOnce() -> Result<R, BoxError>) -> Result<R, CloseReason> {
    match std::panic::catch_unwind(std::panic::AssertUnwindSafe(call)) {
        Ok(result) => result.map_err(CloseReason::Layer),
        Err(payload) => Err(CloseReason::Panic(crate::connection::panic_message(payload))),
    }
}
