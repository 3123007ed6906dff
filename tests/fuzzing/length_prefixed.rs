//! Frames that begin with their length, with all that may stand around it.

use super::Outcomes;
use super::choices::{Choices, Pieces};
use super::codec::{check_decoder, check_round_trip};
use polyserve::codec::{DecodeError, Decoded, Decoder, Encoder, Headed, LengthPrefixed};

pub(crate) const MUST_REACH: &[&str] = &[
    "frame",
    "several frames",
    "clean end",
    "too long",
    "too short",
    "truncated",
    "malformed",
    "padded length",
    "length of more than 64 bits",
    "round trip",
    "refused: too long",
    "headed",
    "counts all",
];

/// The field, what it counts, the limit, four lengths of pieces, then the stream.
pub(crate) fn target(data: &[u8]) -> Outcomes {
    let mut choices = Choices::new(data);
    let fields = [
        LengthPrefixed::u8,
        LengthPrefixed::u16,
        LengthPrefixed::u24,
        LengthPrefixed::u32,
        LengthPrefixed::u64,
        LengthPrefixed::varint,
    ];
    let kind = choices.number() % fields.len();
    let flags = choices.byte();
    let max_len = choices.one_of(&[1024 * 1024, 0, 5, 130, usize::MAX]);
    let pieces = choices.pieces();
    let stream = choices.rest();
    let mut codec = fields[kind]().max_len(max_len);
    if flags & 1 != 0 {
        codec = codec.little_endian();
    }
    let counts_field = flags & 2 != 0;
    if counts_field {
        codec = codec.includes_header();
    }
    // A varint that counts itself may have been written wider than it needs to be.
    let has_one_form = kind != 5 || !(counts_field || flags & 4 != 0);
    let play = Play { stream, pieces, max_len, has_one_form };
    if !counts_field {
        let width = [1, 2, 3, 4, 8].get(kind).copied();
        play.check_first(&codec, width, flags & 1 != 0);
    }
    match flags >> 3 & 3 {
        0 | 1 => play.plain(&codec),
        2 => play.headed::<1>(codec.with_header(), flags & 4 != 0),
        _ => play.headed::<4>(codec.with_header(), flags & 4 != 0),
    }
}

struct Play<'a> {
    stream: &'a [u8],
    pieces: Pieces,
    max_len: usize,
    /// What was read is written again by the same bytes.
    has_one_form: bool,
}

impl Play<'_> {
    /// Compares the first length with what `u64` itself reads from the field.
    fn check_first(&self, codec: &LengthPrefixed, width: Option<usize>, little_endian: bool) {
        let Some(field) = width.and_then(|width| self.stream.get(..width)) else { return };
        let mut bytes = [0; 8];
        let length = if little_endian {
            bytes[..field.len()].copy_from_slice(field);
            u64::from_le_bytes(bytes)
        } else {
            bytes[8 - field.len()..].copy_from_slice(field);
            u64::from_be_bytes(bytes)
        };
        match codec.clone().decode(self.stream) {
            Ok(Decoded::Frame { frame, consumed }) => {
                assert_eq!(frame, &self.stream[field.len()..consumed]);
                assert_eq!(frame.len() as u64, length);
            }
            Ok(Decoded::Incomplete { need }) => {
                assert_eq!(need as u64, field.len() as u64 + length);
            }
            Err(DecodeError::TooLong { got, max }) => {
                assert_eq!((got, max), (length, self.max_len));
            }
            Err(error) => panic!("a field of {} bytes can not be wrong: {error}", field.len()),
        }
    }

    fn plain(&self, codec: &LengthPrefixed) -> Outcomes {
        let mut outcomes = Outcomes::new();
        let read = check_decoder(|| codec.clone(), self.stream, &self.pieces);
        read.note(&mut outcomes);
        if read.end == Err("malformed") {
            // Only a varint can be.
            let mut field = self.stream[read.consumed..].iter().take(10);
            let is_padded = field.find(|byte| **byte < 0x80) == Some(&0);
            outcomes.insert(if is_padded {
                "padded length"
            } else {
                "length of more than 64 bits"
            });
        }
        assert!(read.frames.iter().all(|frame| frame.len() <= self.max_len));
        let mut wire = Vec::new();
        for frame in &read.frames {
            codec.clone().encode(frame, &mut wire).expect("what was read can be written");
        }
        assert!(!self.has_one_form || wire == self.stream[..read.consumed]);
        let others = self.pieces.clone().cut(self.stream).into_iter().map(<[u8]>::to_vec);
        let messages: Vec<Vec<u8>> = read.frames.into_iter().chain(others).collect();
        check_round_trip(
            || codec.clone(),
            &messages,
            |codec, message, out| codec.encode(message, out),
            Vec::clone,
            &self.pieces,
            &mut outcomes,
        );
        outcomes
    }

    fn headed<const N: usize>(&self, codec: Headed<N>, counts_all: bool) -> Outcomes {
        let mut outcomes = Outcomes::from(["headed"]);
        let codec = if counts_all { codec.includes_all() } else { codec };
        if counts_all {
            outcomes.insert("counts all");
        }
        let read = check_decoder(|| codec.clone(), self.stream, &self.pieces);
        read.note(&mut outcomes);
        assert!(read.frames.iter().all(|(_, payload)| payload.len() <= self.max_len));
        let mut wire = Vec::new();
        for (header, payload) in &read.frames {
            let written = codec.clone().encode((header, payload), &mut wire);
            written.expect("what was read can be written");
        }
        assert!(!self.has_one_form || wire == self.stream[..read.consumed]);
        let others = self.pieces.clone().cut(self.stream).into_iter();
        let others = others.map(|piece| ([piece[0]; N], piece.to_vec()));
        let messages: Vec<([u8; N], Vec<u8>)> = read.frames.into_iter().chain(others).collect();
        check_round_trip(
            || codec.clone(),
            &messages,
            |codec, (header, payload), out| codec.encode((header, payload), out),
            Clone::clone,
            &self.pieces,
            &mut outcomes,
        );
        outcomes
    }
}
