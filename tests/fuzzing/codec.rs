//! The laws that every codec keeps.

use super::Outcomes;
use super::choices::Pieces;
use polyserve::codec::{Codec, DecodeError, Decoded, EncodeError, OwnedFrames};
use std::fmt::Debug;

/// What a decoder made of a stream.
#[derive(Debug, PartialEq)]
pub(super) struct Read<T> {
    pub(super) frames: Vec<T>,
    /// How many bytes the frames took.
    pub(super) consumed: usize,
    /// How it ended: the name of the error, if there was one.
    pub(super) end: Result<(), &'static str>,
}

impl<T> Read<T> {
    pub(super) fn note(&self, outcomes: &mut Outcomes) {
        outcomes.insert(self.end.err().unwrap_or("clean end"));
        if !self.frames.is_empty() {
            outcomes.insert("frame");
        }
        if self.frames.len() > 2 {
            outcomes.insert("several frames");
        }
    }
}

/// Whoever calls the decoder: as soon as there is anything new, or not before it asked to be.
#[derive(Clone, Copy, PartialEq)]
enum Patience {
    Eager,
    Obedient,
}

/// Decodes a stream in one piece, byte by byte and in the fuzzer's pieces, with and without heed to
/// what the decoder says it needs. All of them must come to the same. Returns it.
pub(super) fn check_decoder<D>(
    make: impl Fn() -> D,
    stream: &[u8],
    pieces: &Pieces,
) -> Read<D::Owned>
where
    D: OwnedFrames,
    D::Owned: PartialEq + Debug,
{
    check_decoder_by(make, stream, pieces, |read| read)
}

/// As `check_decoder`, for a decoder that gives parts of messages as they come: what is the same is
/// what `view` makes of its frames.
pub(super) fn check_decoder_by<D, V>(
    make: impl Fn() -> D,
    stream: &[u8],
    pieces: &Pieces,
    view: impl Fn(Read<D::Owned>) -> V,
) -> V
where
    D: OwnedFrames,
    V: PartialEq + Debug,
{
    let whole = view(read(make(), stream, &[stream], Patience::Eager));
    let singly = Pieces::SINGLE.cut(stream);
    let cut = pieces.clone().cut(stream);
    for pieces in [&singly, &cut] {
        for patience in [Patience::Eager, Patience::Obedient] {
            let other = view(read(make(), stream, pieces, patience));
            assert_eq!(other, whole, "it depends on where the stream is cut");
        }
    }
    whole
}

/// Encodes messages, and decodes them again however they are cut. A message that is refused leaves
/// no trace.
pub(super) fn check_round_trip<C, M>(
    make: impl Fn() -> C,
    messages: &[M],
    encode: impl Fn(&mut C, &M, &mut Vec<u8>) -> Result<(), EncodeError>,
    decoded: impl Fn(&M) -> C::Owned,
    pieces: &Pieces,
    outcomes: &mut Outcomes,
) where
    C: Codec + OwnedFrames,
    C::Owned: PartialEq + Debug,
{
    let (mut encoder, mut wire, mut expected) = (make(), Vec::new(), Vec::new());
    for message in messages {
        let before = wire.len();
        match encode(&mut encoder, message, &mut wire) {
            Ok(()) => expected.push(decoded(message)),
            Err(error) => {
                assert_eq!(wire.len(), before, "a message that was refused left something");
                outcomes.insert(encode_error_name(&error));
            }
        }
    }
    if !expected.is_empty() {
        outcomes.insert("round trip");
    }
    let consumed = wire.len();
    let read = check_decoder(make, &wire, pieces);
    assert_eq!(read, Read { frames: expected, consumed, end: Ok(()) });
}

fn read<D: OwnedFrames>(
    mut decoder: D,
    stream: &[u8],
    pieces: &[&[u8]],
    patience: Patience,
) -> Read<D::Owned> {
    let mut read = Read { frames: Vec::new(), consumed: 0, end: Ok(()) };
    let mut arrived = 0;
    let mut needed = 1;
    for piece in pieces {
        arrived += piece.len();
        loop {
            let input = &stream[read.consumed..arrived];
            if input.is_empty() || patience == Patience::Obedient && input.len() < needed {
                break;
            }
            match decoder.decode(input) {
                Ok(Decoded::Frame { frame, consumed }) => {
                    assert!((1..=input.len()).contains(&consumed), "it consumed {consumed} bytes");
                    assert!(input.len() >= needed, "a frame came before what it needed");
                    read.frames.push(<D as OwnedFrames>::to_owned(frame));
                    read.consumed += consumed;
                    needed = 1;
                }
                Ok(Decoded::Incomplete { need }) => {
                    needed = need.max(input.len() + 1);
                    break;
                }
                Err(error) => {
                    read.end = Err(error_name(&error));
                    return read;
                }
            }
        }
    }
    finish(decoder, stream, &mut read);
    read
}

fn finish<D: OwnedFrames>(mut decoder: D, stream: &[u8], read: &mut Read<D::Owned>) {
    match decoder.decode_eof(&stream[read.consumed..]) {
        Ok(None) => (),
        Ok(Some(frame)) => read.frames.push(<D as OwnedFrames>::to_owned(frame)),
        Err(error) => read.end = Err(error_name(&error)),
    }
}

/// The name of an error. Not its numbers: how much had come depends on where the stream was cut.
pub(super) fn error_name(error: &DecodeError) -> &'static str {
    assert!(!error.to_string().is_empty());
    match error {
        DecodeError::TooLong { .. } => "too long",
        DecodeError::TooShort { .. } => "too short",
        DecodeError::Truncated { .. } => "truncated",
        DecodeError::Utf8(_) => "no text",
        DecodeError::Malformed { .. } => "malformed",
        DecodeError::Other(_) => "other",
        _ => panic!("an error that these laws do not know: {error}"),
    }
}

fn encode_error_name(error: &EncodeError) -> &'static str {
    match error {
        EncodeError::TooLong { .. } => "refused: too long",
        EncodeError::WrongLength { .. } => "refused: wrong length",
        EncodeError::Invalid { .. } => "refused: invalid",
        EncodeError::Other(_) => "refused: other",
        _ => panic!("an error that these laws do not know: {error}"),
    }
}
