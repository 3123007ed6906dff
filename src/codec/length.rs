//! How a length is written.

use super::DecodeError;
use std::ops::RangeInclusive;

/// The bytes of a `u64` in LEB128.
const MAX_VARINT: usize = 10;

/// A field that holds a length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Field {
    /// An unsigned number of this many bytes, 1 to 8.
    Fixed { width: usize, little_endian: bool },
    /// Unsigned LEB128: seven bits in each byte, the lowest first; all bytes but the last have
    /// their high bit set.
    Varint,
}

/// What is read of a field.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Read {
    /// All of it: the length that it tells, and the bytes that it took.
    Length { length: u64, width: usize },
    /// It needs this many bytes, as far as one can see.
    Incomplete { need: usize },
}

impl Field {
    /// Reads the field at the start of `bytes`.
    pub(super) fn read(self, bytes: &[u8]) -> Result<Read, DecodeError> {
        match self {
            Field::Fixed { width, little_endian } => Ok(match bytes.get(..width) {
                Some(field) => Read::Length { length: number(field, little_endian), width },
                None => Read::Incomplete { need: width },
            }),
            Field::Varint => read_varint(bytes),
        }
    }

    /// Writes a length of at most [`max`](Self::max).
    pub(super) fn write(self, length: u64, out: &mut Vec<u8>) {
        match self {
            Field::Fixed { width, little_endian: true } => {
                out.extend_from_slice(&length.to_le_bytes()[..width]);
            }
            Field::Fixed { width, little_endian: false } => {
                out.extend_from_slice(&length.to_be_bytes()[8 - width..]);
            }
            Field::Varint => write_varint(length, out),
        }
    }

    /// How many bytes it takes to write `length`.
    pub(super) fn width(self, length: u64) -> usize {
        match self {
            Field::Fixed { width, .. } => width,
            Field::Varint => varint_width(length),
        }
    }

    /// How many bytes it may have.
    pub(super) fn widths(self) -> RangeInclusive<usize> {
        match self {
            Field::Fixed { width, .. } => width..=width,
            Field::Varint => 1..=MAX_VARINT,
        }
    }

    /// The greatest length that it can tell.
    pub(super) fn max(self) -> u64 {
        match self {
            Field::Fixed { width, .. } => u64::MAX >> (64 - 8 * width),
            Field::Varint => u64::MAX,
        }
    }
}

fn number(bytes: &[u8], little_endian: bool) -> u64 {
    let append = |number: u64, byte: &u8| number << 8 | u64::from(*byte);
    match little_endian {
        true => bytes.iter().rev().fold(0, append),
        false => bytes.iter().fold(0, append),
    }
}

fn read_varint(bytes: &[u8]) -> Result<Read, DecodeError> {
    let mut length = 0;
    for (at, byte) in bytes.iter().take(MAX_VARINT).enumerate() {
        let bits = u64::from(byte & 0x7f);
        // The tenth byte has room for the highest of 64 bits, and no byte follows it.
        if at == MAX_VARINT - 1 && *byte > 1 {
            return Err(DecodeError::malformed("a length of more than 64 bits"));
        }
        length |= bits << (7 * at);
        if *byte == bits as u8 {
            if bits == 0 && at > 0 {
                return Err(DecodeError::malformed("a length in more bytes than it needs"));
            }
            return Ok(Read::Length { length, width: at + 1 });
        }
    }
    Ok(Read::Incomplete { need: bytes.len() + 1 })
}

fn write_varint(mut length: u64, out: &mut Vec<u8>) {
    while length > 0x7f {
        out.push(length as u8 | 0x80);
        length >>= 7;
    }
    out.push(length as u8);
}

fn varint_width(length: u64) -> usize {
    let bits = 64 - (length | 1).leading_zeros() as usize;
    bits.div_ceil(7)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(bytes: &[u8]) -> Result<Read, String> {
        Field::Varint.read(bytes).map_err(|error| error.to_string())
    }

    #[test]
    fn varints_have_one_form() {
        let cases: [(u64, &[u8]); 6] = [
            (0, &[0]),
            (127, &[0x7f]),
            (128, &[0x80, 1]),
            (300, &[0xac, 2]),
            (u64::from(u32::MAX), &[0xff, 0xff, 0xff, 0xff, 0x0f]),
            (u64::MAX, &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1]),
        ];
        for (length, bytes) in cases {
            let mut out = Vec::new();
            Field::Varint.write(length, &mut out);
            assert_eq!(out, bytes);
            assert_eq!(read(bytes), Ok(Read::Length { length, width: bytes.len() }));
            assert_eq!(Field::Varint.width(length), bytes.len());
        }
    }

    #[test]
    fn other_varints_are_refused() {
        let overlong = "a frame is malformed: a length in more bytes than it needs".to_owned();
        let overflow = "a frame is malformed: a length of more than 64 bits".to_owned();
        assert_eq!(read(&[0x80, 0]), Err(overlong.clone()));
        assert_eq!(read(&[0xff, 0x80, 0]), Err(overlong.clone()));
        assert_eq!(read(&[[0x80; 9].as_slice(), &[0]].concat()), Err(overlong));
        assert_eq!(read(&[[0xff; 9].as_slice(), &[2]].concat()), Err(overflow.clone()));
        assert_eq!(read(&[[0x80; 9].as_slice(), &[0x81]].concat()), Err(overflow.clone()));
        assert_eq!(read(&[0xff; 20]), Err(overflow));
        assert_eq!(read(&[0xff; 9]), Ok(Read::Incomplete { need: 10 }));
    }

    #[test]
    fn numbers_are_written_from_either_end() {
        for (width, bytes) in [(1, &[7][..]), (2, &[0, 7]), (3, &[0, 0, 7]), (4, &[0, 0, 0, 7])] {
            let mut out = Vec::new();
            Field::Fixed { width, little_endian: false }.write(7, &mut out);
            assert_eq!(out, bytes);
            out.clear();
            Field::Fixed { width, little_endian: true }.write(7, &mut out);
            assert!(out.iter().eq(bytes.iter().rev()));
        }
    }

    fn fields() -> impl Strategy<Value = Field> {
        let fixed = (1..=8_usize, any::<bool>())
            .prop_map(|(width, little_endian)| Field::Fixed { width, little_endian });
        prop_oneof![4 => fixed, 1 => Just(Field::Varint)]
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(field in fields(), length: u64, bits in 0..64_u32) {
            let length = (length >> bits) & field.max();
            let mut out = Vec::new();
            field.write(length, &mut out);
            let width = out.len();
            prop_assert_eq!(width, field.width(length));
            for part in 0..width {
                let Ok(Read::Incomplete { need }) = field.read(&out[..part]) else { panic!() };
                prop_assert!(part < need && need <= width);
            }
            out.push(0xff);
            prop_assert_eq!(field.read(&out).ok(), Some(Read::Length { length, width }));
        }
    }
}
