//! The tallies of all connections, in places that never move.

use crate::connection::Tally;
use std::sync::OnceLock;

/// One [`Tally`] for each place in the table of live connections. They are found without a lock:
/// each turn of a connection looks its own up.
pub(super) struct Tallies {
    chunks: Box<[OnceLock<Box<[Tally; CHUNK]>>]>,
    /// For places beyond the last chunk, which share it, so that their figures are nonsense.
    spare: Tally,
}

const CHUNK: usize = 1 << CHUNK_BITS;
const CHUNK_BITS: u32 = 10;
/// Enough for two million connections, at 16 bytes a chunk.
const CHUNKS: usize = 2048;
/// Connections that are accepted one after the other usually run on different threads, so their
/// tallies must not share a cache line: the lowest bits of the place become the highest.
const SPREAD_BITS: u32 = 3;

impl Tallies {
    pub(super) fn new() -> Self {
        Self { chunks: (0..CHUNKS).map(|_| OnceLock::new()).collect(), spare: Tally::new() }
    }

    pub(super) fn get(&self, place: u32) -> &Tally {
        let (chunk, at) = (place as usize / CHUNK, spread(place));
        let chunk = self.chunks.get(chunk).and_then(OnceLock::get);
        chunk.map_or(&self.spare, |chunk| &chunk[at])
    }

    /// As `get`, for a place that may be new.
    pub(super) fn get_or_make(&self, place: u32) -> &Tally {
        if let Some(chunk) = self.chunks.get(place as usize / CHUNK) {
            chunk.get_or_init(make);
        }
        self.get(place)
    }
}

/// Made on the heap: threads may have small stacks.
fn make() -> Box<[Tally; CHUNK]> {
    let tallies: Box<[Tally]> = (0..CHUNK).map(|_| Tally::new()).collect();
    tallies.try_into().expect("it has the length that was asked for")
}

fn spread(place: u32) -> usize {
    let at = place as usize % CHUNK;
    at >> SPREAD_BITS | (at << (CHUNK_BITS - SPREAD_BITS) & (CHUNK - 1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn each_place_has_a_tally_of_its_own_which_neighbours_are_far_from() {
        let spread_out: HashSet<_> = (0..CHUNK as u32).map(spread).collect();
        assert_eq!(spread_out.len(), CHUNK);
        assert!(spread_out.into_iter().all(|at| at < CHUNK));
        assert!((1..8).all(|place| spread(place).abs_diff(spread(place - 1)) >= CHUNK / 8));
        let tallies = Tallies::new();
        for place in [0, 1, 8, CHUNK as u32 - 1, CHUNK as u32, 5 * CHUNK as u32 + 3] {
            assert_eq!(tallies.get_or_make(place).received(), 0);
            tallies.get(place).add_received(place as usize + 1);
        }
        assert_eq!(tallies.get(8).received(), 9);
        assert_eq!(tallies.get(CHUNK as u32).received(), CHUNK as u64 + 1);
    }

    #[test]
    fn there_are_never_too_many() {
        let tallies = Tallies::new();
        tallies.get_or_make(u32::MAX).add_sent(1);
        assert_eq!(tallies.get(u32::MAX).sent(), 1);
    }
}
