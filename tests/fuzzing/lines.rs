//! Lines of text.

use super::Outcomes;
use super::choices::Choices;
use super::codec::{check_decoder, check_round_trip};
use polyserve::codec::{Encoder, Lines};

pub(crate) const MUST_REACH: &[&str] = &[
    "frame",
    "several frames",
    "clean end",
    "too long",
    "truncated",
    "no text",
    "round trip",
    "refused: too long",
    "refused: invalid",
];

/// Two choices, four lengths of pieces, then the stream.
pub(crate) fn target(data: &[u8]) -> Outcomes {
    let mut choices = Choices::new(data);
    let max_len = choices.one_of(&[8 * 1024, 0, 1, 16, usize::MAX]);
    let crlf = choices.byte() % 2 == 1;
    let pieces = choices.pieces();
    let stream = choices.rest();
    let make = || {
        let lines = Lines::new().max_len(max_len);
        if crlf { lines.crlf() } else { lines }
    };
    let mut outcomes = Outcomes::new();
    let read = check_decoder(make, stream, &pieces);
    read.note(&mut outcomes);
    assert!(read.frames.iter().all(|line| line.len() <= max_len));
    let ended = stream[..read.consumed].split_inclusive(|byte| *byte == b'\n');
    let without_end = |line: &'_ [u8]| {
        let line = line.strip_suffix(b"\n").expect("only whole lines are consumed");
        line.strip_suffix(b"\r").unwrap_or(line).to_vec()
    };
    assert!(ended.map(without_end).eq(read.frames.iter().map(|line| line.as_bytes())));
    // What was read may be written, unless it ends with a CR: that would be read as a part of the
    // line's end. So may whatever else is text.
    let texts: Vec<_> =
        pieces.clone().cut(stream).into_iter().map(String::from_utf8_lossy).collect();
    let messages: Vec<String> =
        read.frames.into_iter().chain(texts.into_iter().map(|text| text.into_owned())).collect();
    check_round_trip(
        make,
        &messages,
        |lines, message, out| lines.encode(message, out),
        |message| message.clone(),
        &pieces,
        &mut outcomes,
    );
    outcomes
}
