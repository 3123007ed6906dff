//! Frames with a header before their length.

use super::length_prefixed::Start;
use super::{DecodeError, Decoded, Decoder, EncodeError, Encoder, LengthPrefixed, OwnedFrames};

/// Frames of a header of `N` bytes, a length field, and a payload:
/// [`LengthPrefixed::with_header`].
///
/// A frame is a pair, `(header, payload)`, and so is a message. The header is an array, so it can be
/// taken apart by a pattern. The limit of the codec is that of the payload.
///
/// ```
/// use polyserve::Framed;
/// use polyserve::codec::LengthPrefixed;
/// use polyserve::testing::Script;
///
/// // MQTT: a byte of type and flags, then a varint with the length of the rest.
/// let packets = LengthPrefixed::varint().with_header::<1>();
/// let mut script = Script::new(|_peer| {
///     Framed::new(packets, |([kind], _payload), replies| match kind {
///         0xc0 => replies.send((&[0xd0], b"")), // a ping, and its answer
///         _ => Ok(()),
///     })
/// });
/// assert_eq!(script.recv(b"\xc0\x00").output(), b"\xd0\x00");
/// ```
///
/// The length may count more than the payload. In PostgreSQL's messages it counts itself, but not
/// the byte before it; in those of Diameter (RFC 6733) it counts the whole frame:
///
/// ```
/// use polyserve::codec::{Decoded, Decoder, LengthPrefixed};
///
/// let mut postgres = LengthPrefixed::u32().includes_header().with_header::<1>();
/// let decoded = postgres.decode(b"Q\x00\x00\x00\x09hello")?;
/// assert_eq!(decoded, Decoded::Frame { frame: (b"Q", &b"hello"[..]), consumed: 10 });
///
/// let mut diameter = LengthPrefixed::u24().with_header::<1>().includes_all();
/// let decoded = diameter.decode(b"\x01\x00\x00\x09hello")?;
/// assert_eq!(decoded, Decoded::Frame { frame: (b"\x01", &b"hello"[..]), consumed: 9 });
/// # Ok::<(), polyserve::codec::DecodeError>(())
/// ```
#[derive(Debug, Clone)]
pub struct Headed<const N: usize> {
    prefixed: LengthPrefixed,
}

impl<const N: usize> Headed<N> {
    pub(super) fn new(prefixed: LengthPrefixed) -> Self {
        Self { prefixed }
    }

    /// The length counts the whole frame: the header, the field and the payload. A frame that says
    /// less than the first two is [`TooShort`](DecodeError::TooShort).
    ///
    /// # Panics
    /// If not even a frame without payload can be counted: a header of 255 bytes and its field are
    /// more than a field of one byte can tell.
    #[must_use]
    pub fn includes_all(self) -> Self {
        Self { prefixed: self.prefixed.includes_all(N) }
    }
}

impl<const N: usize> Decoder for Headed<N> {
    type Frame<'a> = (&'a [u8; N], &'a [u8]);

    fn decode<'a>(
        &mut self,
        input: &'a [u8],
    ) -> Result<Decoded<(&'a [u8; N], &'a [u8])>, DecodeError> {
        let (from, to) = match self.prefixed.start(input, N)? {
            Start::Payload { from, to } => (from, to),
            Start::Incomplete { need } => return Ok(Decoded::Incomplete { need }),
        };
        Ok(match (input.first_chunk(), input.get(from..to)) {
            (Some(header), Some(payload)) => {
                Decoded::Frame { frame: (header, payload), consumed: to }
            }
            _ => Decoded::Incomplete { need: to },
        })
    }
}

impl<const N: usize> Encoder for Headed<N> {
    type Message<'a> = (&'a [u8; N], &'a [u8]);

    fn encode(
        &mut self,
        (header, payload): (&[u8; N], &[u8]),
        out: &mut Vec<u8>,
    ) -> Result<(), EncodeError> {
        self.prefixed.write(header, payload, out)
    }
}

impl<const N: usize> OwnedFrames for Headed<N> {
    type Owned = ([u8; N], Vec<u8>);

    fn to_owned((header, payload): (&[u8; N], &[u8])) -> ([u8; N], Vec<u8>) {
        (*header, payload.into())
    }
}
