//! The head of a request.

use super::framing::Said;
use super::refusal::Refusal;
use http::StatusCode;
use httparse::Status;
use std::mem::MaybeUninit;

/// The most fields that a head may have (nginx' and Apache's order of magnitude).
const MAX_FIELDS: usize = 100;

/// The head of a request, in the connection's input.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Head<'a> {
    pub(crate) method: &'a str,
    /// As it stands in the request line: visible ASCII.
    pub(crate) target: &'a str,
    pub(crate) body: BodyLength,
    pub(crate) persistence: Persistence,
    pub(crate) expectation: Expectation,
    /// The lines behind the request line, each of which was checked.
    fields: &'a [u8],
}

/// How long the body of a message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BodyLength {
    /// No body, or an empty one.
    None,
    /// Never zero.
    Sized(u64),
    Chunked,
}

/// Whether the connection stays open, and how the client is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Persistence {
    /// It does: nothing need be said.
    Default,
    /// It does, with a client that expects otherwise.
    KeepAlive,
    Close,
}

/// What the client waits for before it sends the body: RFC 9110, 10.1.1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Expectation {
    None,
    Continue,
    Unknown,
}

impl<'a> Head<'a> {
    /// Reads a head that ends with its empty line, and has no empty line before.
    pub(crate) fn parse(head: &'a [u8]) -> Result<Self, Refusal> {
        let mut fields = [const { MaybeUninit::uninit() }; MAX_FIELDS];
        let mut request = httparse::Request::new(&mut []);
        let parsed = request.parse_with_uninit_headers(head, &mut fields);
        let parsed = parsed.map_err(|error| refuse(error, head))?;
        // Both the parser and `Section` must have found the same end.
        let (Status::Complete(length), Some(method), Some(target), Some(minor)) =
            (parsed, request.method, request.path, request.version)
        else {
            return Err(Refusal::bad_request("the head is not whole"));
        };
        if length != head.len() {
            return Err(Refusal::bad_request("the head ends within itself"));
        }
        // RFC 3986: a URI is ASCII, and its fragment stays with the client.
        if !target.is_ascii() || memchr::memchr(b'#', target.as_bytes()).is_some() {
            return Err(Refusal::bad_request("the target is no URI"));
        }
        let version = if minor == 0 { Version::Http10 } else { Version::Http11 };
        let said = Said::gather(request.headers)?;
        said.check_host(version)?;
        Ok(Self {
            method,
            target,
            body: said.body(version)?,
            persistence: said.persistence(version),
            expectation: said.expectation(version),
            fields: &head[memchr::memchr(b'\n', head).map_or(0, |lf| lf + 1)..],
        })
    }

    /// The values of the fields of this name, in their order, without the white space around them.
    pub(crate) fn values<'n>(&self, name: &'n str) -> impl Iterator<Item = &'a [u8]> + use<'a, 'n> {
        self.fields.split(|byte| *byte == b'\n').filter_map(move |line| {
            let (this, value) = line.split_at_checked(name.len())?;
            let value = value.strip_prefix(b":")?;
            this.eq_ignore_ascii_case(name.as_bytes()).then(|| value.trim_ascii())
        })
    }

    /// The value of a field that may not come twice; if it does, it is as if it were not there.
    pub(crate) fn value(&self, name: &str) -> Option<&'a [u8]> {
        let mut values = self.values(name);
        values.next().filter(|_| values.next().is_none())
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Version {
    Http10,
    Http11,
}

/// What the parser does not take.
fn refuse(error: httparse::Error, head: &[u8]) -> Refusal {
    match error {
        httparse::Error::TooManyHeaders => Refusal::new(
            StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            "the head has too many fields",
        ),
        httparse::Error::Version if names_a_version(head) => Refusal::new(
            StatusCode::HTTP_VERSION_NOT_SUPPORTED,
            "the version is neither HTTP/1.1 nor HTTP/1.0",
        ),
        // Among them: white space before a colon (RFC 9112, 5.1), a folded line (5.2), white space
        // before the first field (2.2), a CR alone (2.2), NUL (RFC 9110, 5.5).
        _ => Refusal::bad_request("the head is malformed"),
    }
}

/// Whether the request line is one, but for the number of its version: RFC 9112, 2.3 and 3.
fn names_a_version(head: &[u8]) -> bool {
    let line = head.split(|byte| *byte == b'\r').next().unwrap_or_default();
    let mut words = line.split(|byte| *byte == b' ');
    let is_word = |word: Option<&[u8]>| word.is_some_and(|word| !word.is_empty());
    let is_line = is_word(words.next()) && is_word(words.next());
    let version = words.next().and_then(|word| word.strip_prefix(b"HTTP/")).unwrap_or_default();
    let is_version = matches!(
        version,
        [major, b'.', minor] if major.is_ascii_digit() && minor.is_ascii_digit()
    );
    is_line && is_version && words.next().is_none()
}
