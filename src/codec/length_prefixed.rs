//! Frames that begin with their length.

use super::length::{Field, Read};
use super::{DecodeError, Decoded, Decoder, EncodeError, Encoder, Headed, OwnedFrames};

/// Frames that begin with the number of their bytes: the length field, and as many bytes as it says.
///
/// The field is a number of 1, 2, 3, 4 or 8 bytes, big-endian unless
/// [`little_endian`](Self::little_endian) is set, or a [`varint`](Self::varint). The length is that
/// of the payload, unless it [includes the header](Self::includes_header). What stands before the
/// field in every frame (a type, a version) is read by
/// [`with_header`](Self::with_header).
///
/// A frame has at most 1 MiB, unless [`max_len`](Self::max_len) says something else. A longer one is
/// refused when its length is there, so before there is anything to hold; and nothing is ever
/// allocated because a peer claims a length.
///
/// ```
/// use polyserve::codec::{Decoded, Decoder, Encoder, LengthPrefixed};
///
/// let mut codec = LengthPrefixed::u16();
/// assert_eq!(codec.encode_to_vec(b"hello")?, b"\x00\x05hello");
/// let decoded = codec.decode(b"\x00\x05hello\x00")?;
/// assert_eq!(decoded, Decoded::Frame { frame: &b"hello"[..], consumed: 7 });
/// assert_eq!(codec.decode(b"\x00")?, Decoded::Incomplete { need: 2 });
///
/// let error = LengthPrefixed::u32().decode(b"\xff\xff\xff\xff").unwrap_err();
/// assert_eq!(error.to_string(), "a frame of 4294967295 bytes exceeds the limit of 1048576");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct LengthPrefixed {
    field: Field,
    counted: Counted,
    max_len: usize,
}

/// What the length counts besides the payload.
#[derive(Debug, Clone, Copy)]
enum Counted {
    /// Nothing.
    Payload,
    /// The field itself.
    Field,
    /// The field, and the header before it.
    All,
}

/// What a frame begins with.
pub(super) enum Start {
    /// The header and the length are there: where the payload is.
    Payload { from: usize, to: usize },
    /// They are not.
    Incomplete { need: usize },
}

impl LengthPrefixed {
    /// The length is one byte, so that a frame has at most 255.
    pub fn u8() -> Self {
        Self::fixed(1)
    }

    /// The length has two bytes, so that a frame has at most 64 KiB less one.
    pub fn u16() -> Self {
        Self::fixed(2)
    }

    /// The length has three bytes.
    pub fn u24() -> Self {
        Self::fixed(3)
    }

    /// The length has four bytes.
    pub fn u32() -> Self {
        Self::fixed(4)
    }

    /// The length has eight bytes.
    pub fn u64() -> Self {
        Self::fixed(8)
    }

    /// The length is unsigned LEB128, as Protocol Buffers write it before a message: seven bits in
    /// each byte, the lowest first, the high bit set in all but the last; at most ten bytes.
    ///
    /// A length of more than 64 bits is [`Malformed`](DecodeError::Malformed), and so is one that is
    /// written in more bytes than it needs. Then all who read the stream agree on it: some readers
    /// take padded numbers, others do not. MQTT 5.0 (section 1.5.5) demands the shortest form, and
    /// writers of Protocol Buffers use it.
    pub fn varint() -> Self {
        Self { field: Field::Varint, counted: Counted::Payload, max_len: super::MAX_FRAME }
    }

    fn fixed(width: usize) -> Self {
        Self { field: Field::Fixed { width, little_endian: false }, ..Self::varint() }
    }

    /// The lowest byte of the length comes first. A [`varint`](Self::varint) is that way anyhow.
    #[must_use]
    pub fn little_endian(mut self) -> Self {
        if let Field::Fixed { little_endian, .. } = &mut self.field {
            *little_endian = true;
        }
        self
    }

    /// Sets the most bytes that the payload may have: what is before it does not count. A frame that
    /// claims more is [`TooLong`](DecodeError::TooLong).
    ///
    /// Behind a server, [`Limits::input`](crate::Limits::input) must leave room for it.
    #[must_use]
    pub fn max_len(mut self, max_len: usize) -> Self {
        self.max_len = max_len;
        self
    }

    /// The length counts its own field as well: an empty frame of [`u32`](Self::u32) says 4. One
    /// that says less is [`TooShort`](DecodeError::TooShort).
    #[must_use]
    pub fn includes_header(self) -> Self {
        Self { counted: Counted::Field, ..self }
    }

    /// `N` bytes stand before the length field of each frame. They are a part of the frame, which
    /// becomes a pair: see [`Headed`].
    pub fn with_header<const N: usize>(self) -> Headed<N> {
        Headed::new(self)
    }

    pub(super) fn includes_all(self, header: usize) -> Self {
        let counts_all = Self { counted: Counted::All, ..self };
        let least = counts_all.length(0, header);
        assert!(least.is_ok(), "the length field can not count a header of {header} bytes");
        counts_all
    }

    /// Reads the length behind a header of `header` bytes.
    pub(super) fn start(&self, input: &[u8], header: usize) -> Result<Start, DecodeError> {
        let field = input.get(header..).unwrap_or_default();
        let (length, from) = match self.field.read(field)? {
            Read::Length { length, width } => (length, header + width),
            Read::Incomplete { need } => return Ok(Start::Incomplete { need: header + need }),
        };
        let counted = self.counted(header, from - header);
        let too_short = || DecodeError::TooShort { got: length, min: counted };
        let payload = length.checked_sub(counted as u64).ok_or_else(too_short)?;
        let too_long = || DecodeError::TooLong { got: payload, max: self.max_len };
        if payload > self.max_len as u64 {
            return Err(too_long());
        }
        // The limit is a `usize`, so this is one, too.
        let to = from.checked_add(payload as usize).ok_or_else(too_long)?;
        Ok(Start::Payload { from, to })
    }

    /// What the length counts besides the payload.
    fn counted(&self, header: usize, width: usize) -> usize {
        match self.counted {
            Counted::Payload => 0,
            Counted::Field => width,
            Counted::All => header + width,
        }
    }

    /// The length that stands before a payload of `len` bytes.
    fn length(&self, len: usize, header: usize) -> Result<u64, EncodeError> {
        let fits = |width| {
            let length = (len as u64).checked_add(self.counted(header, width) as u64)?;
            (self.field.width(length) <= width && length <= self.field.max()).then_some(length)
        };
        // A varint that counts itself grows with what it counts. The first width that suffices is
        // filled: with a smaller number, the one before would have sufficed.
        match self.field.widths().find_map(fits) {
            Some(length) if len <= self.max_len => Ok(length),
            _ => Err(EncodeError::TooLong { got: len, max: self.max_payload(header) }),
        }
    }

    /// The most that the field can tell, and the limit allows.
    fn max_payload(&self, header: usize) -> usize {
        let counted = self.counted(header, *self.field.widths().start());
        let told = self.field.max().saturating_sub(counted as u64);
        usize::try_from(told).map_or(self.max_len, |told| told.min(self.max_len))
    }

    /// Writes the header, the length and the payload, or nothing.
    pub(super) fn write(
        &self,
        header: &[u8],
        payload: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), EncodeError> {
        let length = self.length(payload.len(), header.len())?;
        out.extend_from_slice(header);
        self.field.write(length, out);
        out.extend_from_slice(payload);
        Ok(())
    }
}

impl Decoder for LengthPrefixed {
    type Frame<'a> = &'a [u8];

    fn decode<'a>(&mut self, input: &'a [u8]) -> Result<Decoded<&'a [u8]>, DecodeError> {
        let (from, to) = match self.start(input, 0)? {
            Start::Payload { from, to } => (from, to),
            Start::Incomplete { need } => return Ok(Decoded::Incomplete { need }),
        };
        Ok(match input.get(from..to) {
            Some(frame) => Decoded::Frame { frame, consumed: to },
            None => Decoded::Incomplete { need: to },
        })
    }
}

impl Encoder for LengthPrefixed {
    type Message<'a> = &'a [u8];

    fn encode(&mut self, message: &[u8], out: &mut Vec<u8>) -> Result<(), EncodeError> {
        self.write(&[], message, out)
    }
}

impl OwnedFrames for LengthPrefixed {
    type Owned = Vec<u8>;

    fn to_owned(frame: &[u8]) -> Vec<u8> {
        frame.into()
    }
}
