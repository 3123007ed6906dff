//! Messages that wait for their connection.

use super::sender::Message;
use std::collections::VecDeque;

/// A message of at most this many bytes is copied to those that wait before it: its place in the
/// queue and its allocation would take more memory than its bytes, by which it is counted.
const SMALL: usize = 256;

/// So many messages wait each by itself: where nobody falls behind, nothing is copied twice.
const APART: usize = 16;

/// How many bytes of small messages wait together.
const BATCH: usize = 4 * 1024;

/// Messages in order, in memory that is no more than a few times their bytes.
#[derive(Default)]
pub(super) struct Waiting {
    parts: VecDeque<Part>,
    bytes: usize,
}

enum Part {
    Message(Message),
    Batch(Vec<u8>),
}

impl Part {
    fn bytes(&self) -> &[u8] {
        match self {
            Part::Message(message) => message.as_ref(),
            Part::Batch(bytes) => bytes,
        }
    }
}

impl Waiting {
    /// How many bytes wait.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }

    pub(super) fn push(&mut self, message: Message) {
        self.bytes += message.len();
        if message.len() > SMALL || self.parts.len() < APART {
            return self.parts.push_back(Part::Message(message));
        }
        match self.parts.back_mut() {
            Some(Part::Batch(batch)) if batch.len() + message.len() <= BATCH => {
                batch.extend_from_slice(message.as_ref());
            }
            _ => {
                let mut batch = Vec::with_capacity(SMALL);
                batch.extend_from_slice(message.as_ref());
                self.parts.push_back(Part::Batch(batch));
            }
        }
    }

    /// Moves the first message to `out`, perhaps with some that follow, and tells how many bytes
    /// that was. `None` if nothing waits.
    pub(super) fn pop_into(&mut self, out: &mut Vec<u8>) -> Option<usize> {
        let part = self.parts.pop_front()?;
        out.extend_from_slice(part.bytes());
        self.bytes -= part.bytes().len();
        Some(part.bytes().len())
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn small_messages_share_their_memory_and_keep_their_order() {
        let mut waiting = Waiting::default();
        let mut expected = Vec::new();
        for n in 0..100_000_u32 {
            // Now and then a large one is among them.
            let size = if n % 5_000 == 0 { SMALL + 1 } else { 1 };
            let message = vec![n as u8; size];
            expected.extend_from_slice(&message);
            waiting.push(message.into());
        }
        assert_eq!(waiting.bytes(), expected.len());
        assert!(waiting.parts.len() < 100, "{} parts", waiting.parts.len());
        let mut out = Vec::new();
        while let Some(n) = waiting.pop_into(&mut out) {
            assert!(n <= BATCH);
        }
        assert_eq!(out, expected);
        assert_eq!((waiting.bytes(), waiting.is_empty()), (0, true));
    }
}
