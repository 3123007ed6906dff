//! A codec of a user's own: `5:hello,`.

use polyserve::codec::{DecodeError, Decoded, Decoder, EncodeError, Encoder, OwnedFrames};

/// Netstrings of at most `max_len` bytes.
#[derive(Debug, Clone)]
pub(crate) struct Netstrings {
    pub(crate) max_len: usize,
}

/// Digits that a length may have.
const MAX_DIGITS: usize = 7;

impl Decoder for Netstrings {
    type Frame<'a> = &'a [u8];

    fn decode<'a>(&mut self, input: &'a [u8]) -> Result<Decoded<&'a [u8]>, DecodeError> {
        let n_digits = input.iter().take_while(|b| b.is_ascii_digit()).count();
        if n_digits > MAX_DIGITS {
            return Err(DecodeError::malformed("the length has too many digits"));
        }
        let length =
            input[..n_digits].iter().fold(0, |n, digit| 10 * n + usize::from(digit - b'0'));
        match input.get(n_digits) {
            None => return Ok(Decoded::Incomplete { need: input.len() + 1 }),
            Some(b':') if n_digits > 0 => (),
            Some(_) => return Err(DecodeError::malformed("no colon after the length")),
        }
        if length > self.max_len {
            return Err(DecodeError::TooLong { got: length as u64, max: self.max_len });
        }
        let whole = n_digits + 1 + length + 1;
        match input.get(whole - 1) {
            None => Ok(Decoded::Incomplete { need: whole }),
            Some(b',') => {
                Ok(Decoded::Frame { frame: &input[n_digits + 1..whole - 1], consumed: whole })
            }
            Some(_) => Err(DecodeError::malformed("no comma after the last byte")),
        }
    }
}

impl Encoder for Netstrings {
    type Message<'a> = &'a [u8];

    fn encode(&mut self, message: &[u8], out: &mut Vec<u8>) -> Result<(), EncodeError> {
        if message.len() > self.max_len {
            return Err(EncodeError::TooLong { got: message.len(), max: self.max_len });
        }
        out.extend_from_slice(format!("{}:", message.len()).as_bytes());
        out.extend_from_slice(message);
        out.push(b',');
        Ok(())
    }
}

impl OwnedFrames for Netstrings {
    type Owned = Vec<u8>;

    fn to_owned(frame: &[u8]) -> Vec<u8> {
        frame.to_vec()
    }
}
