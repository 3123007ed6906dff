//! Reading requests.
//!
//! ```text
//! *2\r\n $4\r\n ECHO\r\n $5\r\n hello\r\n     or, typed by hand,     ECHO hello\r\n
//! ```

use super::{Resp, inline};
use crate::number;
use polyserve::codec::{DecodeError, Decoded, Decoder};
use smallvec::SmallVec;
use std::borrow::Cow;
use std::fmt;
use std::mem;
use std::ops::Range;

/// The most bytes of a whole request: as many as a connection may hold by the default of
/// `Limits::input`, above which the library would close it without a word.
pub(super) const MAX_REQUEST: usize = (1024 + 64) * 1024;
/// The most bytes of one argument. Redis takes 512 MB by default (`proto-max-bulk-len`), and
/// holds so much for every client that asks for it.
pub(super) const MAX_BULK: usize = 1024 * 1024;
/// The most arguments of a request: where each is remembered costs memory, too.
pub(super) const MAX_ARGS: usize = 64 * 1024;
/// The most bytes of a line, be it an inline command or a length (`PROTO_INLINE_MAX_SIZE`).
pub(super) const MAX_LINE: usize = 64 * 1024;

/// Where arguments are. Six fit without an allocation: that is every command with fixed arguments.
type Ranges = SmallVec<[Range<u32>; 6]>;

/// A request: the name of a command, and its arguments. It may be empty, which asks for nothing.
///
/// They are ranges of what the peer sent; only an inline command with quotes has bytes of its own.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Args<'a> {
    bytes: Cow<'a, [u8]>,
    ranges: Ranges,
}

impl Args<'_> {
    /// How many there are, the name included.
    pub(crate) fn len(&self) -> usize {
        self.ranges.len()
    }

    /// The argument at this place; the name is at 0. It must exist: a command knows how many it
    /// has.
    pub(crate) fn at(&self, index: usize) -> &[u8] {
        let Range { start, end } = &self.ranges[index];
        &self.bytes[*start as usize..*end as usize]
    }

    /// The arguments from this place on.
    pub(crate) fn from(&self, index: usize) -> impl ExactSizeIterator<Item = &[u8]> {
        (index..self.len()).map(|index| self.at(index))
    }

    /// A copy that can be kept.
    pub(crate) fn to_owned(&self) -> Args<'static> {
        Args { bytes: Cow::Owned(self.bytes.to_vec()), ranges: self.ranges.clone() }
    }

    /// About as many bytes as a copy takes.
    pub(crate) fn cost(&self) -> usize {
        self.bytes.len() + size_of_val(self) + size_of_val(self.ranges.as_slice())
    }
}

/// What is wrong with a request. The connection is closed after Redis' words for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ProtocolError {
    InvalidCount,
    InvalidLength,
    /// Another byte than the `$` of an argument.
    NoArgument {
        got: u8,
    },
    UnbalancedQuotes,
    TooBigInline,
    TooBigCount,
    TooBigLength,
    /// The request is longer than this server takes. Redis has no such limit.
    TooBigRequest,
}

impl ProtocolError {
    /// What the peer is told.
    pub(crate) fn reply(self) -> String {
        match self {
            ProtocolError::NoArgument { got } => {
                format!("ERR Protocol error: expected '$', got '{}'", char::from(got))
            }
            other => format!("ERR Protocol error: {other}"),
        }
    }
}

impl fmt::Display for ProtocolError {
    // For the log as well, so it says nothing that the peer has made up.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ProtocolError::InvalidCount => "invalid multibulk length",
            ProtocolError::InvalidLength => "invalid bulk length",
            ProtocolError::NoArgument { .. } => "expected '$', got something else",
            ProtocolError::UnbalancedQuotes => "unbalanced quotes in request",
            ProtocolError::TooBigInline => "too big inline request",
            ProtocolError::TooBigCount => "too big mbulk count string",
            ProtocolError::TooBigLength => "too big bulk count string",
            ProtocolError::TooBigRequest => "too big request",
        })
    }
}

impl std::error::Error for ProtocolError {}

impl From<ProtocolError> for DecodeError {
    fn from(error: ProtocolError) -> Self {
        DecodeError::other(error)
    }
}

/// How far a request has been read: whatever was looked at is not looked at again.
#[derive(Debug, Default, Clone)]
pub(super) struct Progress {
    /// The arguments that are still to come, once their number is known.
    left: Option<usize>,
    /// The length of the next argument, once it is known.
    length: Option<usize>,
    /// Everything before this is done with.
    at: usize,
    /// Bytes behind `at` that hold no end of a line.
    searched: usize,
    ranges: Ranges,
    /// What was wrong stays wrong.
    refused: Option<ProtocolError>,
}

/// More bytes are needed: so many in all.
struct Need(usize);

/// What came of a step: a value, or not yet.
type Step<T> = Result<Result<T, Need>, ProtocolError>;

/// Goes on with a step's value, or returns that more is needed.
macro_rules! ready {
    ($step:expr) => {
        match $step? {
            Ok(value) => value,
            Err(need) => return Ok(Err(need)),
        }
    };
}

impl Decoder for Resp {
    type Frame<'a> = Args<'a>;

    fn decode<'a>(&mut self, input: &'a [u8]) -> Result<Decoded<Args<'a>>, DecodeError> {
        let step = match (self.progress.refused, input[0]) {
            (Some(error), _) => Err(error),
            (None, b'*') => self.progress.array(input),
            (None, _) => self.progress.inline(input),
        };
        Ok(match step.inspect_err(|error| self.progress.refused = Some(*error))? {
            Err(Need(need)) => Decoded::Incomplete { need },
            Ok(frame) => {
                let consumed = mem::take(&mut self.progress.at);
                Decoded::Frame { frame, consumed }
            }
        })
    }
}

impl Progress {
    /// A request as programs send it.
    fn array<'a>(&mut self, input: &'a [u8]) -> Step<Args<'a>> {
        if self.left.is_none() {
            let header = ready!(self.header(input, ProtocolError::TooBigCount));
            let count = number::parse(&header[1..]).ok_or(ProtocolError::InvalidCount)?;
            let count = usize::try_from(count).unwrap_or(0); // nothing is asked for
            if count > MAX_ARGS {
                return Err(ProtocolError::InvalidCount);
            }
            self.left = Some(count);
        }
        while self.left > Some(0) {
            let range = ready!(self.argument(input));
            self.ranges.push(range);
            self.left = self.left.map(|left| left - 1);
        }
        self.left = None;
        let bytes = Cow::Borrowed(&input[..self.at]);
        Ok(Ok(Args { bytes, ranges: mem::take(&mut self.ranges) }))
    }

    /// One argument: `$`, its length, its bytes, and two bytes that Redis does not look at.
    fn argument(&mut self, input: &[u8]) -> Step<Range<u32>> {
        let length = match self.length {
            Some(length) => length,
            None => ready!(self.argument_length(input)),
        };
        let range = self.at..self.at + length;
        let whole = range.end + 2;
        if whole > MAX_REQUEST {
            return Err(ProtocolError::TooBigRequest);
        }
        if input.len() < whole {
            self.length = Some(length);
            return Ok(Err(Need(whole)));
        }
        (self.at, self.length) = (whole, None);
        Ok(Ok(narrow(range)))
    }

    fn argument_length(&mut self, input: &[u8]) -> Step<usize> {
        let header = ready!(self.header(input, ProtocolError::TooBigLength));
        let Some(length) = header.strip_prefix(b"$") else {
            let got = *header.first().unwrap_or(&b'\r');
            return Err(ProtocolError::NoArgument { got });
        };
        let length = number::parse(length).and_then(|length| usize::try_from(length).ok());
        let length = length.filter(|length| *length <= MAX_BULK);
        Ok(Ok(length.ok_or(ProtocolError::InvalidLength)?))
    }

    /// The line that begins at `self.at`, up to its CR. The LF is there, but Redis does not look
    /// whether it is one.
    fn header<'a>(&mut self, input: &'a [u8], too_big: ProtocolError) -> Step<&'a [u8]> {
        let line = &input[self.at..];
        let within = &line[..line.len().min(MAX_LINE + 1)];
        let end = within[self.searched..].iter().position(|b| *b == b'\r');
        let end = end.map(|end| self.searched + end);
        if let Some(end) = end.filter(|end| *end + 1 < line.len()) {
            self.at += end + 2;
            self.searched = 0;
            return Ok(Ok(&line[..end]));
        }
        if end.is_none() && within.len() > MAX_LINE {
            return Err(too_big);
        }
        if input.len() >= MAX_REQUEST {
            return Err(ProtocolError::TooBigRequest);
        }
        self.searched = end.unwrap_or(within.len());
        Ok(Err(Need(input.len() + 1)))
    }

    /// A request as a person types it.
    fn inline<'a>(&mut self, input: &'a [u8]) -> Step<Args<'a>> {
        let within = &input[..input.len().min(MAX_LINE + 1)];
        let Some(end) = within[self.searched..].iter().position(|b| *b == b'\n') else {
            if within.len() > MAX_LINE {
                return Err(ProtocolError::TooBigInline);
            }
            self.searched = within.len();
            return Ok(Err(Need(input.len() + 1)));
        };
        let line = &input[..self.searched + end];
        self.at = line.len() + 1;
        self.searched = 0;
        let has_quotes = line.iter().any(|b| matches!(b, b'"' | b'\''));
        if !has_quotes {
            let ranges = inline::words(line).map(narrow).collect();
            return Ok(Ok(Args { bytes: Cow::Borrowed(line), ranges }));
        }
        let (bytes, ranges) = inline::unquote(line).ok_or(ProtocolError::UnbalancedQuotes)?;
        let ranges = ranges.into_iter().map(narrow).collect();
        Ok(Ok(Args { bytes: Cow::Owned(bytes), ranges }))
    }
}

#[cfg(test)]
impl Args<'_> {
    /// Whether nothing was copied, and nothing allocated.
    pub(super) fn is_borrowed(&self) -> bool {
        matches!(self.bytes, Cow::Borrowed(_)) && !self.ranges.spilled()
    }
}

#[cfg(test)]
impl Progress {
    /// The input was a part of a request: what was looked at will not be looked at again.
    pub(super) fn assert_remembers(&self, input: &[u8]) {
        let known = self.length.is_some() || self.at + self.searched + 1 >= input.len();
        assert!(known, "{self:?} for {} bytes", input.len());
    }

    pub(super) fn is_small(&self) -> bool {
        !self.ranges.spilled()
    }
}

/// A range within a request.
fn narrow(range: Range<usize>) -> Range<u32> {
    let narrow = |at| u32::try_from(at).expect("a request is shorter than 4 GiB");
    narrow(range.start)..narrow(range.end)
}
