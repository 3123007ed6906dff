//! Bytes on their way: what a callback is lent, and what a connection keeps.

use std::fmt;
use std::ops::Deref;

/// The bytes that a callback is lent: all that was received and not yet consumed.
///
/// It reads like a slice (`&input[..]`, `input.len()`, `input.iter()`). What a callback does not
/// consume is kept and shown again together with the bytes that come next.
///
/// The bytes live in a buffer of the thread that runs the callback, or in the connection's own
/// buffer while something was left over; they cannot be kept beyond the callback.
///
/// ```
/// use polyserve::Input;
///
/// let mut input = Input::new(b"GET key");
/// assert_eq!(input.take_n(4), Some(&b"GET "[..]));
/// assert_eq!(&input[..], b"key");
/// assert_eq!(input.take_n(4), None); // not there yet: nothing is consumed
/// assert_eq!(input.take(), b"key");
/// assert!(input.is_empty());
/// ```
pub struct Input<'a> {
    bytes: &'a [u8],
    /// Invariant: at most `bytes.len()`.
    consumed: usize,
}

impl<'a> Input<'a> {
    /// Lends `bytes`. The library does this for every callback; it is public so that a handler's
    /// parsing can be tested on its own.
    #[inline]
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, consumed: 0 }
    }

    /// The bytes not yet consumed. They stay borrowed from the buffer, not from this value, so
    /// that they can be read on after [`consume`](Self::consume).
    #[inline]
    pub fn as_slice(&self) -> &'a [u8] {
        &self.bytes[self.consumed..]
    }

    /// Consumes everything.
    #[inline]
    pub fn take(&mut self) -> &'a [u8] {
        let rest = self.as_slice();
        self.consumed = self.bytes.len();
        rest
    }

    /// Consumes `n` bytes, or returns `None` and consumes nothing if fewer are there.
    #[inline]
    pub fn take_n(&mut self, n: usize) -> Option<&'a [u8]> {
        let taken = self.as_slice().get(..n)?;
        self.consumed += n;
        Some(taken)
    }

    /// Consumes `n` bytes.
    ///
    /// # Panics
    /// If fewer than `n` bytes are left. In a callback, that ends this connection alone.
    #[inline]
    pub fn consume(&mut self, n: usize) {
        let left = self.bytes.len() - self.consumed;
        assert!(n <= left, "cannot consume {n} bytes of an input of {left}");
        self.consumed += n;
    }

    /// How many bytes were consumed through this value.
    #[inline]
    pub fn consumed(&self) -> usize {
        self.consumed
    }
}

impl Deref for Input<'_> {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        self.as_slice()
    }
}

impl fmt::Debug for Input<'_> {
    // Not the bytes: what a peer sent does not belong into a log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Input")
            .field("left", &self.as_slice().len())
            .field("consumed", &self.consumed)
            .finish()
    }
}

/// A growing buffer that is filled at its end and emptied at its front.
///
/// ```text
///  0        start        bytes.len()      capacity
///  | consumed |   unread   |    room        |
/// ```
///
/// Consuming moves the cursor. The unread bytes are moved to the front only when room is needed
/// and at least half of the buffer has been consumed, so that each byte is moved at most once for
/// each byte that came in.
#[derive(Debug, Default)]
pub(crate) struct Buffer {
    bytes: Vec<u8>,
    /// Invariant: at most `bytes.len()`, and zero whenever the buffer is empty.
    start: usize,
}

/// What a buffer may keep whatever it holds: room for one read, so that a stream of large messages is
/// not read in small pieces.
const ROOM_KEPT: usize = 64 * 1024;

impl Buffer {
    pub(crate) fn from_vec(bytes: Vec<u8>, consumed: usize) -> Self {
        let mut buffer = Self { bytes, start: 0 };
        buffer.consume(consumed);
        buffer
    }

    pub(crate) fn len(&self) -> usize {
        self.bytes.len() - self.start
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.start == self.bytes.len()
    }

    pub(crate) fn unread(&self) -> &[u8] {
        &self.bytes[self.start..]
    }

    pub(crate) fn consume(&mut self, n: usize) {
        self.start += n;
        debug_assert!(self.start <= self.bytes.len());
        if self.is_empty() {
            self.bytes.clear();
            self.start = 0;
        }
    }

    pub(crate) fn append(&mut self, bytes: &[u8]) {
        self.make_room(bytes.len());
        self.bytes.extend_from_slice(bytes);
    }

    /// The vector to append to, with room for at least `n` more bytes.
    pub(crate) fn room(&mut self, n: usize) -> &mut Vec<u8> {
        self.make_room(n);
        &mut self.bytes
    }

    /// Gives back what is much more than the unread bytes need. Each byte that this moves stands for
    /// three that were consumed, so that it costs little however often it is called.
    pub(crate) fn trim(&mut self) {
        if self.bytes.capacity() > ROOM_KEPT.max(4 * self.len()) {
            self.bytes.drain(..self.start);
            self.start = 0;
            self.bytes.shrink_to(ROOM_KEPT);
        }
    }

    /// Gives the memory back.
    pub(crate) fn free(&mut self) {
        *self = Self::default();
    }

    pub(crate) fn into_vec(mut self) -> Vec<u8> {
        self.bytes.drain(..self.start);
        self.bytes
    }

    fn make_room(&mut self, n: usize) {
        if self.bytes.capacity() - self.bytes.len() >= n {
            return;
        }
        if self.start >= self.len() {
            self.bytes.copy_within(self.start.., 0);
            self.bytes.truncate(self.len());
            self.start = 0;
        }
        self.bytes.reserve(n);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn input_keeps_what_was_not_consumed() {
        let mut input = Input::new(b"abcdef");
        input.consume(2);
        assert_eq!(input.take_n(2), Some(&b"cd"[..]));
        assert_eq!(input.take_n(3), None);
        assert_eq!((input.as_slice(), input.consumed()), (&b"ef"[..], 4));
    }

    #[test]
    #[should_panic(expected = "cannot consume 4 bytes of an input of 3")]
    fn input_refuses_to_consume_what_is_not_there() {
        Input::new(b"abc").consume(4);
    }

    #[test]
    fn an_empty_buffer_starts_over_at_its_front() {
        let mut buffer = Buffer::default();
        buffer.append(b"abc");
        buffer.consume(3);
        buffer.append(b"d");
        assert_eq!((buffer.start, buffer.unread()), (0, &b"d"[..]));
    }

    #[test]
    fn what_is_left_of_much_keeps_little_memory() {
        let mut buffer = Buffer::default();
        buffer.append(&[1; 1_000_000]);
        buffer.append(b"abc");
        buffer.trim();
        assert_eq!(buffer.len(), 1_000_003);
        buffer.consume(1_000_001);
        buffer.trim();
        assert_eq!(buffer.unread(), b"bc");
        assert!(buffer.bytes.capacity() <= ROOM_KEPT, "{}", buffer.bytes.capacity());
    }

    #[test]
    fn moving_to_the_front_is_amortised() {
        let mut buffer = Buffer::default();
        let mut moved = 0;
        for _ in 0..10_000 {
            let before = (buffer.start, buffer.len());
            buffer.append(&[0; 100]);
            if buffer.start < before.0 {
                moved += before.1;
            }
            buffer.consume(99);
        }
        assert!(moved <= 1_000_000, "{moved} bytes were moved for 1,000,000 that came in");
    }

    proptest! {
        #[test]
        fn a_buffer_is_a_queue_of_bytes(steps in proptest::collection::vec(any::<(u8, bool)>(), 0..200)) {
            let mut buffer = Buffer::default();
            let mut model = std::collections::VecDeque::new();
            for (n, push) in steps {
                buffer.trim();
                if push {
                    let bytes: Vec<u8> = (0..n).collect();
                    buffer.append(&bytes);
                    model.extend(bytes);
                } else {
                    let n = usize::from(n).min(model.len());
                    buffer.consume(n);
                    model.drain(..n);
                }
                prop_assert!(buffer.unread().iter().eq(model.iter()));
                prop_assert!(!buffer.is_empty() || buffer.start == 0);
            }
            prop_assert!(buffer.into_vec().iter().eq(model.iter()));
        }
    }
}
