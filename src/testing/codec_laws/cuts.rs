//! In which pieces an input comes.

/// Inputs up to this length are cut into two in every place.
const EVERY_PLACE: usize = 64;
/// In how many irregular ways any input is cut.
const IRREGULAR: usize = 8;

/// Where the pieces of an input end, for each way of cutting it: byte by byte, into two pieces, and
/// irregularly. The last piece always ends at its end.
pub(super) fn ways(input: &[u8]) -> Vec<Vec<usize>> {
    let len = input.len();
    let mut ways = vec![(1..=len).collect()];
    if len <= EVERY_PLACE {
        ways.extend((1..len).map(|at| vec![at, len]));
    }
    // The same for the same input, so that what fails once fails again.
    let mut random = Random::of(input);
    for _ in 0..IRREGULAR {
        let longest = random.below(len) + 1;
        let mut ends = Vec::new();
        let mut end = 0;
        while end < len {
            end = (end + random.below(longest) + 1).min(len);
            ends.push(end);
        }
        ways.push(ends);
    }
    ways
}

/// Numbers without an order that one sees, from a seed (SplitMix64, by Steele, Lea and Flood).
pub(super) struct Random(u64);

impl Random {
    pub(super) fn of(input: &[u8]) -> Self {
        let mix =
            |seed: u64, byte: &u8| (seed ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        Self(input.iter().fold(0xcbf2_9ce4_8422_2325, mix))
    }

    /// A number below `end`, or zero.
    pub(super) fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let number = z ^ (z >> 31);
        (number % (end.max(1) as u64)) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_reaches_the_end_piece_by_piece() {
        for len in [0, 1, 2, 63, 64, 65, 5000] {
            let input = vec![b'x'; len];
            for ends in ways(&input) {
                assert!(ends.is_sorted_by(|a, b| a < b), "{ends:?}");
                assert_eq!(ends.last().copied().unwrap_or(0), len);
                assert!(ends.first().is_none_or(|first| *first > 0));
            }
        }
    }

    #[test]
    fn irregular_ways_differ() {
        let ways = ways(&[b'x'; 1000]);
        let different: std::collections::HashSet<_> = ways.iter().collect();
        assert_eq!(different.len(), 1 + IRREGULAR);
    }
}
