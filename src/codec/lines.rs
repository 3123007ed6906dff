//! Lines of text.

use super::{DecodeError, Decoded, Decoder, EncodeError, Encoder, OwnedFrames};

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
    max_len: usize,
    crlf: bool,
    /// Bytes of the line that were searched already and hold no LF.
    searched: usize,
}

impl Lines {
    /// Lines of at most 8 KiB (nginx takes request lines of that length), written with LF.
    pub fn new() -> Self {
        Self { max_len: 8 * 1024, crlf: false, searched: 0 }
    }

    /// Sets the most bytes that a line may have, its end not counted. A longer one is
    /// [`TooLong`](DecodeError::TooLong), as soon as so much of it has come.
    #[must_use]
    pub fn max_len(mut self, max_len: usize) -> Self {
        self.max_len = max_len;
        self
    }

    /// Writes CRLF after each line, as Internet protocols of the textual kind do.
    #[must_use]
    pub fn crlf(mut self) -> Self {
        self.crlf = true;
        self
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
        // A line of the full length ends one byte later, or two.
        let within = &input[..input.len().min(self.max_len.saturating_add(2))];
        let Some(at) = within[self.searched..].iter().position(|b| *b == b'\n') else {
            self.searched = within.len();
            return match within.strip_suffix(b"\r").unwrap_or(within).len() {
                got if got > self.max_len => {
                    Err(DecodeError::TooLong { got: got as u64, max: self.max_len })
                }
                _ => Ok(Decoded::Incomplete { need: input.len() + 1 }),
            };
        };
        let end = self.searched + at;
        self.searched = 0;
        let line = &input[..end];
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.len() > self.max_len {
            return Err(DecodeError::TooLong { got: line.len() as u64, max: self.max_len });
        }
        Ok(Decoded::Frame { frame: std::str::from_utf8(line)?, consumed: end + 1 })
    }
}

impl Encoder for Lines {
    type Message<'a> = &'a str;

    fn encode(&mut self, message: &str, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        if message.len() > self.max_len {
            return Err(EncodeError::TooLong { got: message.len(), max: self.max_len });
        }
        // A CR at the end would be taken for a part of the line's end.
        if message.contains('\n') || message.ends_with('\r') {
            return Err(EncodeError::invalid("a line holds the end of a line"));
        }
        out.extend_from_slice(message.as_bytes());
        out.extend_from_slice(if self.crlf { b"\r\n" } else { b"\n" });
        Ok(())
    }
}

impl OwnedFrames for Lines {
    type Owned = String;

    fn to_owned(frame: &str) -> String {
        frame.into()
    }
}
