//! Choices, as a fuzzer makes them: byte by byte.

/// A cursor over the fuzzer's bytes. Where they have ended, every choice is zero.
pub(super) struct Choices<'a>(&'a [u8]);

impl<'a> Choices<'a> {
    pub(super) fn new(data: &'a [u8]) -> Self {
        Self(data)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    pub(super) fn number(&mut self) -> usize {
        self.byte().into()
    }

    pub(super) fn one_of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.number() % all.len()]
    }

    /// The lengths of pieces, over and over again.
    pub(super) fn pieces(&mut self) -> Pieces {
        Pieces { lengths: [self.byte(), self.byte(), self.byte(), self.byte()], at: 0 }
    }

    /// All that is left.
    pub(super) fn rest(self) -> &'a [u8] {
        self.0
    }
}

/// Where a stream is cut.
#[derive(Debug, Clone)]
pub(super) struct Pieces {
    lengths: [u8; 4],
    at: usize,
}

impl Pieces {
    /// Byte by byte.
    pub(super) const SINGLE: Pieces = Pieces { lengths: [0; 4], at: 0 };

    /// The length of the next piece: most are short, and 255 is a long one.
    pub(super) fn next(&mut self) -> usize {
        let length = self.lengths[self.at % self.lengths.len()];
        self.at += 1;
        if length == u8::MAX { 16 * 1024 } else { usize::from(length) + 1 }
    }

    /// Cuts `bytes`.
    pub(super) fn cut(mut self, bytes: &[u8]) -> Vec<&[u8]> {
        let mut pieces = Vec::new();
        let mut rest = bytes;
        while !rest.is_empty() {
            let (piece, behind) = rest.split_at(self.next().min(rest.len()));
            pieces.push(piece);
            rest = behind;
        }
        pieces
    }
}
