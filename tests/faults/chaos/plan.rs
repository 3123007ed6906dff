//! What is to happen to the bytes of a connection: a function of the seed and of the connection's
//! number, and of nothing else. So what was seen once can be seen again.

use std::time::Duration;

/// Numbers that look random (splitmix64; Steele, Lea and Flood, OOPSLA 2014).
#[derive(Debug, Clone)]
pub(crate) struct Random(u64);

impl Random {
    fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below this one.
    fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }
}

/// What is done with the bytes that come next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Step {
    /// They are held up for so long first.
    pub(crate) wait: Duration,
    /// So many are read at once, at most.
    pub(crate) read: usize,
    /// And written in pieces of this size.
    pub(crate) write: usize,
}

/// How a connection is ended in the middle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// Both sides get a FIN.
    Cut,
    /// Both sides get a RST.
    Reset,
}

/// One direction of a connection.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    random: Random,
    /// When so many bytes have passed, and how.
    pub(crate) end: Option<(usize, Fate)>,
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum Direction {
    ToServer,
    ToClient,
}

/// One connection in so many is ended in the middle, in each direction.
const ENDED: usize = 6;
/// By then so many bytes have passed, at most.
const ENDS_WITHIN: usize = 100_000;

impl Plan {
    pub(crate) fn new(seed: u64, connection: usize, direction: Direction) -> Self {
        let number = connection as u64 * 2 + direction as u64;
        let mut random = Random::new(seed.wrapping_mul(1_000_003).wrapping_add(number));
        let fate = [Fate::Cut, Fate::Reset][random.below(2)];
        let end = (random.below(ENDED) == 0).then(|| (random.below(ENDS_WITHIN), fate));
        Self { random, end }
    }

    /// Mostly nothing happens, or a delay; now and then bytes come one by one, or not for long.
    pub(crate) fn step(&mut self) -> Step {
        let random = &mut self.random;
        let wait = match random.below(20) {
            0 => 20 + random.below(60),
            1..4 => random.below(4),
            _ => 0,
        };
        let read = match random.below(8) {
            0 => 1 + random.below(20),
            1..4 => 1 + random.below(1_500),
            _ => 1 + random.below(30_000),
        };
        let write = match random.below(8) {
            0 => 1 + read / 40,
            1 => 1 + read / 3,
            _ => read,
        };
        Step { wait: Duration::from_millis(wait as u64), read, write }
    }
}
