//! One input, cut in every place.

use super::Script;
use crate::handler::{Handler, Peer};
use std::sync::Arc;

/// Inputs up to this length are cut into three pieces as well: the number of ways grows with the
/// square of the length.
const THREE_PIECES: usize = 48;

/// Calls `check` with the whole input, with every way of cutting it into two pieces, with all its
/// bytes one by one, and, if it is at most 48 bytes long, with every way of cutting it into three.
///
/// If `check` panics, the pieces that it was given are printed to standard error.
///
/// ```
/// use polyserve::testing::for_every_split;
///
/// for_every_split(b"ab\ncd", |pieces| {
///     let lines: usize = pieces.iter().map(|p| p.iter().filter(|b| **b == b'\n').count()).sum();
///     assert_eq!(lines, 1);
/// });
/// ```
pub fn for_every_split(bytes: &[u8], mut check: impl FnMut(&[&[u8]])) {
    let mut check = |pieces: &[&[u8]]| {
        let guard = Announce(pieces);
        check(pieces);
        std::mem::forget(guard);
    };
    check(&[bytes]);
    for (left, right) in (1..bytes.len()).map(|at| bytes.split_at(at)) {
        check(&[left, right]);
        if bytes.len() <= THREE_PIECES {
            (1..right.len()).map(|at| right.split_at(at)).for_each(|(b, c)| check(&[left, b, c]));
        }
    }
    check(&bytes.chunks(1).collect::<Vec<_>>());
}

/// Checks that a handler answers `input` with `expected`, however the input is cut.
///
/// Each way of [`for_every_split`] is played into a connection of its own, whose peer then finishes
/// sending. Once the output may leave as it likes, and once it leaves byte by byte.
///
/// # Panics
/// If the output of one way differs from `expected`.
///
/// ```
/// use polyserve::testing::assert_split_independent;
/// use polyserve::{Action, BoxError, Context, Handler, Input};
///
/// /// Answers each line with its length.
/// struct Lengths;
///
/// impl Handler for Lengths {
///     fn on_data(&mut self, input: &mut Input<'_>, cx: &mut Context<'_>) -> Result<Action, BoxError> {
///         while let Some(end) = input.iter().position(|b| *b == b'\n') {
///             cx.send(format!("{end}\n"));
///             input.consume(end + 1);
///         }
///         Ok(Action::Continue)
///     }
/// }
///
/// assert_split_independent(|_peer| Lengths, b"one\nthree\n", b"3\n5\n");
/// ```
pub fn assert_split_independent<H, F>(factory: F, input: &[u8], expected: &[u8])
where
    H: Handler,
    F: Fn(&Peer) -> H + Send + Sync + 'static,
{
    let factory = Arc::new(factory);
    for_every_split(input, |pieces| {
        for write_size in [usize::MAX, 1] {
            let factory = Arc::clone(&factory);
            let mut script = Script::new(move |peer| factory(peer)).short_writes(write_size);
            let output = script.recv_pieces(pieces).eof().output();
            assert!(
                output == expected,
                "expected {:?}, got {:?} for {}",
                expected.escape_ascii().to_string(),
                output.escape_ascii().to_string(),
                describe(pieces),
            );
        }
    });
}

/// Tells, when it is dropped by a panic, which pieces led to it.
struct Announce<'a, 'b>(&'a [&'b [u8]]);

impl Drop for Announce<'_, '_> {
    fn drop(&mut self) {
        eprintln!("failed for {}", describe(self.0));
    }
}

fn describe(pieces: &[&[u8]]) -> String {
    let pieces: Vec<_> =
        pieces.iter().map(|piece| format!("\"{}\"", piece.escape_ascii())).collect();
    format!("the pieces [{}]", pieces.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_is_tried_once_and_is_whole() {
        let mut ways = std::collections::HashSet::new();
        for_every_split(b"abcd", |pieces| {
            assert_eq!(pieces.concat(), b"abcd");
            assert!(ways.insert(pieces.iter().map(|p| p.to_vec()).collect::<Vec<_>>()));
        });
        // One whole, three cuts into two, three into three, one into four.
        assert_eq!(ways.len(), 8);
    }

    #[test]
    fn an_empty_input_has_few_ways() {
        let mut calls = 0;
        for_every_split(b"", |pieces| {
            calls += 1;
            assert!(pieces.concat().is_empty());
        });
        assert_eq!(calls, 2);
    }
}
