//! The codec that the documentation of `polyserve::codec` shows as one of your own.

use super::Outcomes;
use super::choices::Choices;
use super::codec::{check_decoder, check_round_trip};
use polyserve::codec::{DecodeError, Decoded, Decoder, EncodeError, Encoder, OwnedFrames};

pub(crate) const MUST_REACH: &[&str] = &[
    "frame",
    "several frames",
    "clean end",
    "truncated",
    "malformed",
    "round trip",
    "refused: too long",
];

// The next lines are those of the documentation; `tests/corpus.rs` compares them.
/// Netstrings: `5:hello,`. At most 999 bytes.
struct Netstrings;

impl Decoder for Netstrings {
    type Frame<'a> = &'a [u8];

    fn decode<'a>(&mut self, input: &'a [u8]) -> Result<Decoded<&'a [u8]>, DecodeError> {
        let malformed = |problem: &'static str| DecodeError::malformed(problem);
        let Some(colon) = input.iter().take(4).position(|b| *b == b':') else {
            return match input.len() {
                ..4 => Ok(Decoded::Incomplete { need: input.len() + 1 }),
                _ => Err(malformed("no colon after a length of at most three digits")),
            };
        };
        let length = std::str::from_utf8(&input[..colon]).ok().and_then(|n| n.parse().ok());
        let length: usize = length.ok_or_else(|| malformed("the length is no number"))?;
        let whole = colon + 1 + length + 1;
        match input.get(whole - 1) {
            None => Ok(Decoded::Incomplete { need: whole }),
            Some(b',') => {
                Ok(Decoded::Frame { frame: &input[colon + 1..whole - 1], consumed: whole })
            }
            Some(_) => Err(malformed("no comma after the last byte")),
        }
    }
}

impl Encoder for Netstrings {
    type Message<'a> = &'a [u8];

    fn encode(&mut self, message: &[u8], out: &mut Vec<u8>) -> Result<(), EncodeError> {
        if message.len() > 999 {
            return Err(EncodeError::TooLong { got: message.len(), max: 999 });
        }
        out.extend(format!("{}:", message.len()).bytes());
        out.extend(message);
        out.push(b',');
        Ok(())
    }
}
// The lines of the documentation end here.

impl OwnedFrames for Netstrings {
    type Owned = Vec<u8>;

    fn to_owned(frame: &[u8]) -> Vec<u8> {
        frame.into()
    }
}

/// Four lengths of pieces, then the stream.
pub(crate) fn target(data: &[u8]) -> Outcomes {
    let mut choices = Choices::new(data);
    let pieces = choices.pieces();
    let stream = choices.rest();
    let mut outcomes = Outcomes::new();
    check_decoder(|| Netstrings, stream, &pieces).note(&mut outcomes);
    check_round_trip(
        || Netstrings,
        &pieces.clone().cut(stream),
        |netstrings, message, out| netstrings.encode(message, out),
        |message| message.to_vec(),
        &pieces,
        &mut outcomes,
    );
    outcomes
}
