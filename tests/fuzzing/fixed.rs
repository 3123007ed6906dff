//! Frames that all have the same length.

use super::Outcomes;
use super::choices::Choices;
use super::codec::{check_decoder, check_round_trip};
use polyserve::codec::{Encoder, Fixed};

pub(crate) const MUST_REACH: &[&str] =
    &["frame", "several frames", "clean end", "truncated", "round trip", "refused: wrong length"];

/// A length, four lengths of pieces, then the stream.
pub(crate) fn target(data: &[u8]) -> Outcomes {
    let mut choices = Choices::new(data);
    let len = choices.number() + 1;
    let pieces = choices.pieces();
    let stream = choices.rest();
    let mut outcomes = Outcomes::new();
    let read = check_decoder(|| Fixed::new(len), stream, &pieces);
    read.note(&mut outcomes);
    assert_eq!(read.frames, stream.chunks_exact(len).collect::<Vec<_>>());
    let others = pieces.clone().cut(stream).into_iter().map(<[u8]>::to_vec);
    let messages: Vec<Vec<u8>> = read.frames.into_iter().chain(others).collect();
    check_round_trip(
        || Fixed::new(len),
        &messages,
        |fixed, message, out| fixed.encode(message, out),
        Vec::clone,
        &pieces,
        &mut outcomes,
    );
    outcomes
}
