//! Lines of text.

use super::{DecodeError, Decoded, Decoder, Delimited, EncodeError, Encoder, OwnedFrames};

/// Lines of UTF-8 text, ended by LF; a CR before it is not part of the line. Written with LF, or
/// with CRLF on request.
///
/// A line that is never ended is [`Truncated`](DecodeError::Truncated) when the stream ends.
///
/// ```
/// use polyserve::codec::{Decoded, Decoder, Lines};
///
/// let mut lines = Lines::new();
/// assert_eq!(lines.decode(b"one\r\ntwo")?, Decoded::Frame { frame: "one", consumed: 5 });
/// assert_eq!(lines.decode(b"two")?, Decoded::Incomplete { need: 4 });
/// assert_eq!(lines.decode(b"two\n")?, Decoded::Frame { frame: "two", consumed: 4 });
/// # Ok::<(), polyserve::codec::DecodeError>(())
/// ```
#[derive(Debug, Clone)]
pub struct Lines {
    bytes: Delimited,
}

impl Lines {
    /// Lines of at most 8 KiB (nginx takes request lines of that length), written with LF.
    pub fn new() -> Self {
        Self { bytes: Delimited::lines() }
    }

    /// Sets the most bytes that a line may have, its end not counted. A longer one is
    /// [`TooLong`](DecodeError::TooLong), as soon as so much of it has come.
    #[must_use]
    pub fn max_len(self, max_len: usize) -> Self {
        Self { bytes: self.bytes.max_len(max_len) }
    }

    /// Writes CRLF after each line, as Internet protocols of the textual kind do.
    #[must_use]
    pub fn crlf(self) -> Self {
        Self { bytes: self.bytes.crlf() }
    }
}

impl Default for Lines {
    fn default() -> Self {
        Self::new()
    }
}

impl Decoder for Lines {
    type Frame<'a> = &'a str;

    fn decode<'a>(&mut self, input: &'a [u8]) -> Result<Decoded<&'a str>, DecodeError> {
        Ok(match self.bytes.decode(input)? {
            Decoded::Incomplete { need } => Decoded::Incomplete { need },
            Decoded::Frame { frame, consumed } => {
                Decoded::Frame { frame: std::str::from_utf8(frame)?, consumed }
            }
        })
    }
}

impl Encoder for Lines {
    type Message<'a> = &'a str;

    fn encode(&mut self, message: &str, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        self.bytes.encode(message.as_bytes(), out)
    }
}

impl OwnedFrames for Lines {
    type Owned = String;

    fn to_owned(frame: &str) -> String {
        frame.into()
    }
}
