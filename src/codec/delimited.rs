//! Frames that end with a delimiter.

use super::search::Search;
use super::{DecodeError, Decoded, Decoder, EncodeError, Encoder, OwnedFrames};
use std::borrow::Cow;

/// Frames of bytes, each ended by a delimiter that is no part of it.
///
/// A frame that is never ended is [`Truncated`](DecodeError::Truncated) when the stream ends.
///
/// ```
/// use polyserve::codec::{Decoded, Decoder, Delimited, Encoder};
///
/// let mut records = Delimited::new(b"\0");
/// let decoded = records.decode(b"one\0tw")?;
/// assert_eq!(decoded, Decoded::Frame { frame: &b"one"[..], consumed: 4 });
/// assert_eq!(records.decode(b"tw")?, Decoded::Incomplete { need: 3 });
/// assert_eq!(records.encode_to_vec(b"two")?, b"two\0");
/// assert!(records.encode_to_vec(b"t\0o").is_err()); // it would be read as two
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct Delimited {
    delimiter: Delimiter,
    max_len: usize,
    search: Search,
}

#[derive(Debug, Clone)]
enum Delimiter {
    /// These bytes, at least one.
    Bytes(Cow<'static, [u8]>),
    /// LF, or CR and LF.
    LineEnd { crlf: bool },
}

impl Delimited {
    /// Frames of at most 1 MiB, ended by `delimiter`: `b"\0"`, `b"\r\n.\r\n"`, a `Vec<u8>`.
    ///
    /// For lines, [`lines`](Self::lines) is more tolerant.
    ///
    /// # Panics
    /// If the delimiter is empty.
    pub fn new(delimiter: impl Into<Cow<'static, [u8]>>) -> Self {
        let delimiter = delimiter.into();
        assert!(!delimiter.is_empty(), "a delimiter must have at least one byte");
        Self::by(Delimiter::Bytes(delimiter), super::MAX_FRAME)
    }

    /// Lines of at most 8 KiB (nginx takes request lines of that length), ended by LF, or by CR and
    /// LF; written with LF. They may hold any other byte: [`Lines`](super::Lines) are of text.
    pub fn lines() -> Self {
        Self::by(Delimiter::LineEnd { crlf: false }, super::MAX_LINE)
    }

    /// As [`lines`](Self::lines), but written with CR and LF, as Internet protocols of the textual
    /// kind do.
    pub fn crlf_lines() -> Self {
        Self::by(Delimiter::LineEnd { crlf: true }, super::MAX_LINE)
    }

    fn by(delimiter: Delimiter, max_len: usize) -> Self {
        Self { delimiter, max_len, search: Search::default() }
    }

    /// Sets the most bytes that a frame may have, its delimiter not counted. A longer one is
    /// [`TooLong`](DecodeError::TooLong), as soon as so much of it has come that it can be nothing
    /// else.
    #[must_use]
    pub fn max_len(mut self, max_len: usize) -> Self {
        self.max_len = max_len;
        self
    }

    /// It tells what the frame has at least, so that it is the same however much has come.
    fn too_long(&self) -> DecodeError {
        DecodeError::TooLong { got: (self.max_len as u64).saturating_add(1), max: self.max_len }
    }

    pub(super) fn crlf(mut self) -> Self {
        self.delimiter = Delimiter::LineEnd { crlf: true };
        self
    }
}

impl Delimiter {
    /// What is searched for: a frame ends where this first ends.
    fn sought(&self) -> &[u8] {
        match self {
            Delimiter::Bytes(bytes) => bytes,
            Delimiter::LineEnd { .. } => b"\n",
        }
    }

    /// The longest that may stand behind a frame. It holds the other forms that there are.
    fn longest(&self) -> &[u8] {
        match self {
            Delimiter::Bytes(bytes) => bytes,
            Delimiter::LineEnd { .. } => b"\r\n",
        }
    }

    fn written(&self) -> &[u8] {
        match self {
            Delimiter::LineEnd { crlf: false } => b"\n",
            _ => self.longest(),
        }
    }

    /// The frame, of bytes that end with what was sought.
    fn strip<'a>(&self, ended: &'a [u8]) -> &'a [u8] {
        let frame = &ended[..ended.len() - self.sought().len()];
        match self {
            Delimiter::Bytes(_) => frame,
            Delimiter::LineEnd { .. } => frame.strip_suffix(b"\r").unwrap_or(frame),
        }
    }

    /// Whether a frame of at most `max_len` bytes may still end, when no end of one is in `input`.
    fn may_follow(&self, input: &[u8], max_len: usize) -> bool {
        if input.len() <= max_len {
            return true;
        }
        // A part of the delimiter may be there already, and must begin within the limit.
        let longest = self.longest();
        let first = input.len().saturating_sub(longest.len() - 1);
        (first..=max_len).any(|start| longest.starts_with(&input[start..]))
    }
}

impl Decoder for Delimited {
    type Frame<'a> = &'a [u8];

    fn decode<'a>(&mut self, input: &'a [u8]) -> Result<Decoded<&'a [u8]>, DecodeError> {
        let Some(end) = self.search.find_end(self.delimiter.sought(), input) else {
            if self.delimiter.may_follow(input, self.max_len) {
                return Ok(Decoded::Incomplete { need: input.len() + 1 });
            }
            return Err(self.too_long());
        };
        match self.delimiter.strip(&input[..end]) {
            frame if frame.len() <= self.max_len => Ok(Decoded::Frame { frame, consumed: end }),
            _ => Err(self.too_long()),
        }
    }
}

impl Encoder for Delimited {
    type Message<'a> = &'a [u8];

    fn encode(&mut self, message: &[u8], out: &mut Vec<u8>) -> Result<(), EncodeError> {
        if message.len() > self.max_len {
            return Err(EncodeError::TooLong { got: message.len(), max: self.max_len });
        }
        let start = out.len();
        out.extend_from_slice(message);
        out.extend_from_slice(self.delimiter.written());
        // The delimiter may also begin in the message and end in itself: "a" before "aa".
        let written = &out[start..];
        let end = Search::default().find_end(self.delimiter.sought(), written);
        // A CR at the end of a line would be taken for a part of the line's end.
        let is_line = matches!(self.delimiter, Delimiter::LineEnd { .. });
        if end != Some(written.len()) || is_line && message.ends_with(b"\r") {
            out.truncate(start);
            return Err(EncodeError::invalid("it holds what ends a frame"));
        }
        Ok(())
    }
}

impl OwnedFrames for Delimited {
    type Owned = Vec<u8>;

    fn to_owned(frame: &[u8]) -> Vec<u8> {
        frame.into()
    }
}
