//! A vector that grows without moving what is in it.

use std::iter::Flatten;
use std::ops::{Index, IndexMut};
use std::slice;

/// Growing copies nothing, so that a lock on it is held no longer for many than for few, and gives no memory
/// back, which an allocator would keep for others: it has an arena for each thread, and another may come.
pub(super) struct Chunked<T>(Vec<Vec<T>>);

const CHUNK: usize = 1024;

impl<T> Default for Chunked<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T> Chunked<T> {
    /// Adds one at the end, and returns how many there were before.
    pub(super) fn push(&mut self, value: T) -> usize {
        if self.0.last().is_none_or(|last| last.len() == CHUNK) {
            self.0.push(Vec::with_capacity(CHUNK));
        }
        let before = self.len();
        self.0.last_mut().expect("there is one with room").push(value);
        before
    }

    pub(super) fn len(&self) -> usize {
        self.0.last().map_or(0, |last| (self.0.len() - 1) * CHUNK + last.len())
    }

    pub(super) fn iter(&self) -> Flatten<slice::Iter<'_, Vec<T>>> {
        self.0.iter().flatten()
    }
}

impl<T> Index<u32> for Chunked<T> {
    type Output = T;

    fn index(&self, index: u32) -> &T {
        &self.0[index as usize / CHUNK][index as usize % CHUNK]
    }
}

impl<T> IndexMut<u32> for Chunked<T> {
    fn index_mut(&mut self, index: u32) -> &mut T {
        &mut self.0[index as usize / CHUNK][index as usize % CHUNK]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_in_it_stays_where_it_is() {
        let mut all = Chunked::default();
        assert_eq!((all.len(), all.push(0), all.len()), (0, 0, 1));
        let first = std::ptr::from_ref(&all[0]);
        for n in 1..3 * CHUNK {
            assert_eq!(all.push(n), n);
        }
        assert_eq!(all.len(), 3 * CHUNK);
        assert!(std::ptr::eq(first, &raw const all[0]));
        all[CHUNK as u32] += 1;
        let expected = (0..3 * CHUNK).map(|n| n + usize::from(n == CHUNK));
        assert!(all.iter().copied().eq(expected));
    }
}
