//! Random numbers that are the same everywhere, for ever.

// Every test binary compiles this file for itself, and uses a part of it.
#![allow(dead_code)]

/// SplitMix64 (Steele, Lea, Flood 2014).
pub(crate) struct Random(u64);

impl Random {
    /// Each part of a script has numbers of its own, so that leaving one out changes no other.
    pub(crate) fn new(seed: u64, part: u64) -> Self {
        let mut this = Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ part.rotate_left(32));
        this.next();
        this
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// From `least` to `most`, both included.
    pub(crate) fn between(&mut self, least: usize, most: usize) -> usize {
        least + (self.next() % (most - least + 1) as u64) as usize
    }

    /// True in so many of a hundred cases.
    pub(crate) fn percent(&mut self, chance: u64) -> bool {
        self.next() % 100 < chance
    }

    pub(crate) fn one_of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.between(0, all.len() - 1)]
    }

    /// As `one_of`, of weighted ones.
    pub(crate) fn weighted<T: Copy>(&mut self, all: &[(u64, T)]) -> T {
        let total: u64 = all.iter().map(|(weight, _)| weight).sum();
        let mut at = self.next() % total;
        for (weight, value) in all {
            if at < *weight {
                return *value;
            }
            at -= weight;
        }
        unreachable!("the weights sum up to the total")
    }

    /// Cuts a length into pieces.
    pub(crate) fn cut(&mut self, length: usize) -> Vec<usize> {
        let (mut pieces, mut left) = (Vec::new(), length);
        let most = self.one_of(&[length, 1 + length / 2, 1 + length / 5]).max(1);
        while left > 0 {
            let piece = self.between(1, most).min(left);
            pieces.push(piece);
            left -= piece;
        }
        pieces
    }
}
