//! Looking for a delimiter in bytes that come piece by piece.

use std::mem;

/// Remembers how far it looked, so that an endless frame costs linear work: each byte is looked
/// at once, and for each occurrence of the delimiter's last byte the delimiter is compared once.
#[derive(Debug, Clone, Default)]
pub(super) struct Search {
    /// The first bytes of the input, in which no delimiter ends.
    searched: usize,
}

impl Search {
    /// Where `delimiter` first ends in `input`. Until it is found, `input` is what it was at the
    /// last call, or that with more behind it.
    pub(super) fn find_end(&mut self, delimiter: &[u8], input: &[u8]) -> Option<usize> {
        self.find_end_by(memchr::memchr, delimiter, input)
    }

    fn find_end_by(
        &mut self,
        scan: impl Fn(u8, &[u8]) -> Option<usize>,
        delimiter: &[u8],
        input: &[u8],
    ) -> Option<usize> {
        let last = *delimiter.last()?;
        // Less than was searched is another stream: whoever gives it has not made a new codec.
        let mut from = if self.searched > input.len() { 0 } else { self.searched };
        while let Some(at) = scan(last, &input[from..]) {
            from += at + 1;
            if input[..from].ends_with(delimiter) {
                mem::take(&mut self.searched);
                return Some(from);
            }
        }
        self.searched = input.len();
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    /// Feeds `n` bytes of an input without end one by one, shows each part twice, and counts the
    /// bytes that are looked at.
    fn looked_at(delimiter: &[u8], fill: &[u8], n: usize) -> usize {
        let looked_at = Cell::new(0);
        let scan = |byte, bytes: &[u8]| {
            let found = memchr::memchr(byte, bytes);
            // What is compared with the delimiter counts as well.
            let compared = found.map_or(0, |_| delimiter.len());
            looked_at.set(looked_at.get() + found.map_or(bytes.len(), |at| at + 1) + compared);
            found
        };
        let input = fill.repeat(n / fill.len());
        let mut search = Search::default();
        for end in 1..=n {
            assert_eq!(search.find_end_by(scan, delimiter, &input[..end]), None);
            assert_eq!(search.find_end_by(scan, delimiter, &input[..end]), None);
        }
        looked_at.get()
    }

    #[test]
    fn each_byte_of_an_endless_frame_is_looked_at_once() {
        for n in [1024, 2048, 64 * 1024] {
            assert_eq!(looked_at(b"\n", b"x", n), n);
            assert_eq!(looked_at(b"\r\n", b"x", n), n);
        }
    }

    #[test]
    fn near_misses_cost_a_comparison_each() {
        for n in [1024, 2048, 64 * 1024] {
            assert_eq!(looked_at(b"\r\n", b"\n", n), n + 2 * n);
            assert_eq!(looked_at(b"baaa", b"a", n), n + 4 * n);
            assert_eq!(looked_at(b"aaab", b"a", n), n);
        }
    }

    #[test]
    fn the_first_end_is_found_also_where_delimiters_overlap() {
        let find = |delimiter: &[u8], input: &[u8]| Search::default().find_end(delimiter, input);
        assert_eq!(find(b"aa", b"aaaa"), Some(2));
        assert_eq!(find(b"aab", b"aaab"), Some(4));
        assert_eq!(find(b"aba", b"ababa"), Some(3));
        assert_eq!(find(b"\n", b"ab"), None);
    }

    #[test]
    fn another_stream_is_searched_from_its_start() {
        let mut search = Search::default();
        assert_eq!(search.find_end(b"\n", b"a long beginning"), None);
        assert_eq!(search.find_end(b"\n", b"short\n"), Some(6));
    }
}
