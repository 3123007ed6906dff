//! The buffers of a thread that runs sessions.

use crate::connection::{CoarseClock, StallWatch};
use std::time::Instant;

/// A thread's input and output buffers, lent to every session that it runs.
///
/// A backend makes one for each of its threads. Its pages cost memory only once they were used.
pub struct Scratch {
    pub(crate) input: Vec<u8>,
    pub(crate) output: Vec<u8>,
    pub(crate) may_block: bool,
    pub(crate) stalls: StallWatch,
    pub(crate) clock: CoarseClock,
}

/// One read's worth: 16 KiB make 1 MiB messages cost 1.7 times as much, more gains nothing.
const BUFFER: usize = 64 * 1024;

impl Scratch {
    /// Buffers for a thread on which handlers should not block, such as that of an event loop.
    pub fn new() -> Self {
        Self {
            input: vec![0; BUFFER],
            output: Vec::new(),
            may_block: false,
            stalls: StallWatch::default(),
            clock: CoarseClock::new(Instant::now()),
        }
    }

    /// Says whether handlers may block on this thread: what
    /// [`Context::may_block`](crate::Context::may_block) tells them.
    /// [`Session::run`](crate::Session::run) allows it by itself.
    pub fn allow_blocking(mut self, may_block: bool) -> Self {
        self.may_block = may_block;
        self
    }

    /// When the last session's turn on this thread ended, or almost: after its last callback.
    pub(crate) fn now(&self) -> Instant {
        self.clock.seen()
    }

    /// Gives back what one large reply has made the output buffer grow to.
    pub(crate) fn trim(&mut self) {
        self.keep_output(4 * BUFFER);
    }

    /// As [`trim`](Self::trim), for buffers that no thread has: they may never be needed again.
    pub(crate) fn trim_for_rest(&mut self) {
        self.keep_output(BUFFER);
    }

    fn keep_output(&mut self, most: usize) {
        if self.output.capacity() > most {
            self.output = Vec::new();
        }
    }
}

impl Default for Scratch {
    fn default() -> Self {
        Self::new()
    }
}

impl std::fmt::Debug for Scratch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Scratch")
            .field("input", &self.input.len())
            .field("output", &self.output.capacity())
            .finish_non_exhaustive()
    }
}
