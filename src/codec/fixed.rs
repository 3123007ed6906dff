//! Frames that all have the same length.

use super::{DecodeError, Decoded, Decoder, EncodeError, Encoder, OwnedFrames};

/// Frames of the same number of bytes each, with nothing between them.
///
/// Their length is their limit: a connection holds less than one frame, so a length above
/// [`Limits::input`](crate::Limits::input) needs that raised.
///
/// ```
/// use polyserve::codec::{Decoded, Decoder, EncodeError, Encoder, Fixed};
///
/// let mut samples = Fixed::new(4);
/// let decoded = samples.decode(b"abcdef")?;
/// assert_eq!(decoded, Decoded::Frame { frame: &b"abcd"[..], consumed: 4 });
/// assert_eq!(samples.decode(b"ef")?, Decoded::Incomplete { need: 4 });
/// let error = samples.encode_to_vec(b"ef").unwrap_err();
/// assert!(matches!(error, EncodeError::WrongLength { got: 2, expected: 4 }));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct Fixed {
    /// Invariant: at least one.
    len: usize,
}

impl Fixed {
    /// Frames of `len` bytes.
    ///
    /// # Panics
    /// If `len` is zero: there would be frames without end in no bytes at all.
    pub fn new(len: usize) -> Self {
        assert!(len > 0, "a frame must have at least one byte");
        Self { len }
    }
}

impl Decoder for Fixed {
    type Frame<'a> = &'a [u8];

    fn decode<'a>(&mut self, input: &'a [u8]) -> Result<Decoded<&'a [u8]>, DecodeError> {
        Ok(match input.get(..self.len) {
            Some(frame) => Decoded::Frame { frame, consumed: self.len },
            None => Decoded::Incomplete { need: self.len },
        })
    }
}

impl Encoder for Fixed {
    type Message<'a> = &'a [u8];

    fn encode(&mut self, message: &[u8], out: &mut Vec<u8>) -> Result<(), EncodeError> {
        if message.len() != self.len {
            return Err(EncodeError::WrongLength { got: message.len(), expected: self.len });
        }
        out.extend_from_slice(message);
        Ok(())
    }
}

impl OwnedFrames for Fixed {
    type Owned = Vec<u8>;

    fn to_owned(frame: &[u8]) -> Vec<u8> {
        frame.into()
    }
}
