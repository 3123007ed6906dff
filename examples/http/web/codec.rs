//! The codec: requests out of bytes.

use super::chunked::{Chunked, Step};
use super::date::Clock;
use super::head::{BodyLength, Head};
use super::refusal::Refusal;
use super::response::{Message, write};
use super::section::{Bounds, Problem, Section};
use http::StatusCode;
use polyserve::codec::{DecodeError, Decoded, Decoder, EncodeError, Encoder};

/// 8 KiB for the request line (RFC 9112, 3 asks for 8,000 bytes at least), 16 KiB for the head.
const HEAD: Bounds = Bounds { first_line: 8 * 1024 + 2, all: 16 * 1024 };

/// HTTP/1.1, and 1.0, from the server's side.
///
/// A request is its head, and then, if [`Head::body`] says that there is one, its body in pieces as
/// they come; so a body of any length costs no memory.
#[derive(Debug)]
pub(crate) struct Http {
    expected: Expected,
    section: Section,
    clock: Clock,
}

/// What comes next.
#[derive(Debug)]
enum Expected {
    Head,
    /// So many bytes of a body: never zero.
    Sized(u64),
    Chunked(Chunked),
}

/// What comes in.
#[derive(Debug)]
pub(crate) enum Event<'a> {
    Head(Head<'a>),
    Body {
        /// May be empty, where only what surrounds the body has come.
        piece: &'a [u8],
        /// Nothing more follows. Exactly one piece of each body has it.
        last: bool,
    },
}

impl Http {
    /// The clock is for the `Date` of the responses.
    pub(crate) fn new(clock: Clock) -> Self {
        Self { expected: Expected::Head, section: Section::default(), clock }
    }

    pub(crate) fn clock(&self) -> Clock {
        self.clock
    }

    fn head<'a>(&mut self, input: &'a [u8]) -> Result<Decoded<Event<'a>>, DecodeError> {
        self.section.skip_empty_lines(input, HEAD);
        let found = self.section.find(input, HEAD).map_err(|problem| refuse(problem, input))?;
        let Some(found) = found else {
            return Ok(Decoded::Incomplete { need: input.len() + 1 });
        };
        let head = Head::parse(&input[found.start..found.end])?;
        self.expected = match head.body {
            BodyLength::None => Expected::Head,
            BodyLength::Sized(length) => Expected::Sized(length),
            BodyLength::Chunked => Expected::Chunked(Chunked::default()),
        };
        Ok(Decoded::Frame { frame: Event::Head(head), consumed: found.end })
    }

    fn sized<'a>(&mut self, input: &'a [u8], left: u64) -> Decoded<Event<'a>> {
        let length = usize::try_from(left).map_or(input.len(), |left| left.min(input.len()));
        let left = left - length as u64;
        self.expected = if left == 0 { Expected::Head } else { Expected::Sized(left) };
        self.piece(&input[..length], left == 0, length)
    }

    fn piece<'a>(&self, piece: &'a [u8], last: bool, consumed: usize) -> Decoded<Event<'a>> {
        Decoded::Frame { frame: Event::Body { piece, last }, consumed }
    }

    fn chunked<'a>(&mut self, input: &'a [u8]) -> Result<Decoded<Event<'a>>, DecodeError> {
        let Expected::Chunked(chunked) = &mut self.expected else {
            unreachable!("only called while a chunked body is expected");
        };
        let mut at = 0;
        loop {
            match chunked.step(&input[at..])? {
                Step::Around(length) => at += length,
                Step::Data(length) => {
                    return Ok(self.piece(&input[at..at + length], false, at + length));
                }
                Step::End(length) => {
                    self.expected = Expected::Head;
                    return Ok(self.piece(&[], true, at + length));
                }
                Step::Need(need) if at == 0 => return Ok(Decoded::Incomplete { need }),
                // What was looked at is not looked at again.
                Step::Need(_) => return Ok(self.piece(&[], false, at)),
            }
        }
    }
}

fn refuse(problem: Problem, input: &[u8]) -> Refusal {
    match problem {
        Problem::BareLf => Refusal::bad_request("a line of the head ends with LF alone"),
        Problem::TooLong => Refusal::new(
            StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            "the head is longer than 16 KiB",
        ),
        // RFC 9112, 3: the target is too long, unless it has not even begun.
        Problem::FirstLine { start, end } if input[start..end].contains(&b' ') => {
            Refusal::new(StatusCode::URI_TOO_LONG, "the request line is longer than 8 KiB")
        }
        Problem::FirstLine { .. } => {
            Refusal::new(StatusCode::NOT_IMPLEMENTED, "the method is longer than 8 KiB")
        }
    }
}

impl Decoder for Http {
    type Frame<'a> = Event<'a>;

    fn decode<'a>(&mut self, input: &'a [u8]) -> Result<Decoded<Event<'a>>, DecodeError> {
        match self.expected {
            Expected::Head => self.head(input),
            Expected::Sized(left) => Ok(self.sized(input, left)),
            Expected::Chunked(_) => self.chunked(input),
        }
    }

    /// RFC 9112, 8: a message without its end is incomplete. Empty lines are no message.
    fn decode_eof<'a>(&mut self, rest: &'a [u8]) -> Result<Option<Event<'a>>, DecodeError> {
        let between = matches!(self.expected, Expected::Head);
        match between && rest.iter().all(|byte| b"\r\n".contains(byte)) {
            true => Ok(None),
            false => Err(DecodeError::Truncated { got: rest.len() }),
        }
    }
}

impl Encoder for Http {
    type Message<'a> = Message<'a>;

    fn encode(&mut self, message: Message<'_>, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        write(message, self.clock, out)
    }
}
