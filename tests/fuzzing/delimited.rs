//! Frames that end with a delimiter.

use super::Outcomes;
use super::choices::Choices;
use super::codec::{check_decoder, check_round_trip};
use polyserve::codec::{Delimited, Encoder};

pub(crate) const MUST_REACH: &[&str] = &[
    "frame",
    "several frames",
    "clean end",
    "too long",
    "truncated",
    "round trip",
    "refused: too long",
    "refused: invalid",
];

/// A limit, a delimiter, four lengths of pieces, then the stream.
pub(crate) fn target(data: &[u8]) -> Outcomes {
    let mut choices = Choices::new(data);
    let max_len = choices.one_of(&[1024 * 1024, 0, 1, 7, 100, usize::MAX]);
    let delimiter = match choices.byte() % 8 {
        0 => None,
        1 => Some(Vec::new()),
        // Of two different bytes only, so that a delimiter often begins within itself.
        n => Some((0..n - 1).map(|_| b'a' + choices.byte() % 2).collect()),
    };
    let pieces = choices.pieces();
    let stream = choices.rest();
    let make = || {
        let delimited = match &delimiter {
            None => Delimited::lines(),
            Some(none) if none.is_empty() => Delimited::crlf_lines(),
            Some(bytes) => Delimited::new(bytes.clone()),
        };
        delimited.max_len(max_len)
    };
    let mut outcomes = Outcomes::new();
    let read = check_decoder(make, stream, &pieces);
    read.note(&mut outcomes);
    assert!(read.frames.iter().all(|frame| frame.len() <= max_len));
    let sought = delimiter.as_deref().filter(|bytes| !bytes.is_empty());
    assert_eq!(read.frames, split(&stream[..read.consumed], sought));
    if read.end.is_err_and(|name| name == "truncated") {
        let rest = &stream[read.consumed..];
        assert!(split(rest, sought).is_empty(), "a frame was overlooked");
    }
    let others = pieces.clone().cut(stream).into_iter().map(<[u8]>::to_vec);
    let messages: Vec<Vec<u8>> = read.frames.into_iter().chain(others).collect();
    check_round_trip(
        make,
        &messages,
        |delimited, message, out| delimited.encode(message, out),
        Vec::clone,
        &pieces,
        &mut outcomes,
    );
    outcomes
}

/// The frames of a stream, looked for at each place; of lines if there is no delimiter.
fn split(mut stream: &[u8], delimiter: Option<&[u8]>) -> Vec<Vec<u8>> {
    let sought = delimiter.unwrap_or(b"\n");
    let mut frames = Vec::new();
    while let Some(at) = stream.windows(sought.len()).position(|bytes| bytes == sought) {
        let frame = &stream[..at];
        let line = frame.strip_suffix(b"\r").filter(|_| delimiter.is_none());
        frames.push(line.unwrap_or(frame).to_vec());
        stream = &stream[at + sought.len()..];
    }
    frames
}
