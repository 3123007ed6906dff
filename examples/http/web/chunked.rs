//! A body in chunks: RFC 9112, 7.1.

use super::refusal::Refusal;
use super::section::{Bounds, Problem, Section};
use http::StatusCode;

/// The longest line with the size of a chunk, extensions and line end included.
const MAX_SIZE_LINE: usize = 256;
/// The most bytes of extensions in one body. They are ignored, and must not become the way to make a
/// server read much for little: RFC 9112, 7.1.1.
const MAX_EXTENSIONS: usize = 8 * 1024;
/// The trailers, which are ignored, are bounded as a head is.
const TRAILERS: Bounds = Bounds { first_line: 16 * 1024, all: 16 * 1024 };
const MAX_TRAILERS: usize = 100;
/// More digits than a `u64` has are refused: RFC 9112, 7.1 asks to expect overflows.
const MAX_DIGITS: usize = 16;

/// Where in a chunked body the input begins.
#[derive(Debug, Default)]
pub(crate) struct Chunked {
    place: Place,
    /// Bytes of extensions that this body had so far.
    extensions: usize,
    trailers: Section,
}

#[derive(Debug, Default, Clone, Copy)]
enum Place {
    #[default]
    Size,
    Data {
        left: u64,
    },
    /// The line end behind a chunk's data.
    DataEnd,
    Trailers,
}

/// What is at the start of the input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// So many bytes of the body itself.
    Data(usize),
    /// So many bytes of what surrounds it.
    Around(usize),
    /// So many bytes, which end it.
    End(usize),
    /// So many bytes must be there.
    Need(usize),
}

impl Chunked {
    pub(crate) fn step(&mut self, input: &[u8]) -> Result<Step, Refusal> {
        match self.place {
            Place::Size => self.size_line(input),
            Place::Data { left } => Ok(self.data(input, left)),
            Place::DataEnd => self.data_end(input),
            Place::Trailers => self.end(input),
        }
    }

    fn data(&mut self, input: &[u8], left: u64) -> Step {
        if input.is_empty() {
            return Step::Need(1);
        }
        let length = usize::try_from(left).map_or(input.len(), |left| left.min(input.len()));
        self.place = match left - length as u64 {
            0 => Place::DataEnd,
            left => Place::Data { left },
        };
        Step::Data(length)
    }

    fn data_end(&mut self, input: &[u8]) -> Result<Step, Refusal> {
        if input.starts_with(b"\r\n") {
            self.place = Place::Size;
            return Ok(Step::Around(2));
        }
        match b"\r\n".starts_with(input) {
            true => Ok(Step::Need(2)),
            false => Err(Refusal::bad_request("a chunk is longer than its size")),
        }
    }

    fn size_line(&mut self, input: &[u8]) -> Result<Step, Refusal> {
        let within = &input[..input.len().min(MAX_SIZE_LINE)];
        let Some(lf) = memchr::memchr(b'\n', within) else {
            return match within.len() {
                MAX_SIZE_LINE => {
                    Err(Refusal::bad_request("the line of a chunk's size is too long"))
                }
                _ => Ok(Step::Need(input.len() + 1)),
            };
        };
        let line = within[..lf].strip_suffix(b"\r");
        let line = line.ok_or(Refusal::bad_request("a chunk's size ends with LF alone"))?;
        let (size, extensions) = parse_size(line)?;
        self.extensions += extensions;
        if self.extensions > MAX_EXTENSIONS {
            return Err(Refusal::bad_request("a body has too many chunk extensions"));
        }
        self.place = match size {
            0 => Place::Trailers,
            left => Place::Data { left },
        };
        Ok(Step::Around(lf + 1))
    }

    fn end(&mut self, input: &[u8]) -> Result<Step, Refusal> {
        let found = self.trailers.find(input, TRAILERS).map_err(|problem| match problem {
            Problem::BareLf => Refusal::bad_request("a trailer ends with LF alone"),
            Problem::FirstLine { .. } | Problem::TooLong => TOO_LARGE,
        })?;
        let Some(found) = found else { return Ok(Step::Need(input.len() + 1)) };
        let mut trailers = [httparse::EMPTY_HEADER; MAX_TRAILERS];
        match httparse::parse_headers(&input[..found.end], &mut trailers) {
            Ok(_) => Ok(Step::End(found.end)),
            Err(httparse::Error::TooManyHeaders) => Err(TOO_LARGE),
            Err(_) => Err(Refusal::bad_request("a trailer is malformed")),
        }
    }
}

const TOO_LARGE: Refusal =
    Refusal::new(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "the trailers are too large");

/// The size, and how many bytes of extensions follow it: `1*HEXDIG [BWS ";" ...]`.
fn parse_size(line: &[u8]) -> Result<(u64, usize), Refusal> {
    let malformed = Refusal::bad_request("a chunk's size is malformed");
    let n_digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
    let (digits, extensions) = line.split_at(n_digits);
    if digits.len() > MAX_DIGITS {
        return Err(malformed);
    }
    let digits = std::str::from_utf8(digits).map_err(|_| malformed)?;
    let size = u64::from_str_radix(digits, 16).map_err(|_| malformed)?;
    let is_clean = !extensions.iter().any(|byte| byte.is_ascii_control() && *byte != b'\t');
    let is_begun = extensions.trim_ascii_start().starts_with(b";");
    match extensions.is_empty() || (is_clean && is_begun) {
        true => Ok((size, extensions.len())),
        false => Err(malformed),
    }
}
