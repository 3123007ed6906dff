//! What the fields of a head say about the message itself: where it ends, and what follows.
//!
//! Everything here is about agreement: where a server and whoever stands in front of it disagree
//! about the end of a request, a part of one becomes a request of its own. So what is not clear is
//! refused (RFC 9112, 11.2), and the connection is closed.

use super::head::{BodyLength, Expectation, Persistence, Version};
use super::refusal::Refusal;
use http::StatusCode;

/// What the fields say that have to do with the message itself.
#[derive(Default)]
pub(crate) struct Said<'a> {
    n_hosts: usize,
    host: &'a [u8],
    length: Option<u64>,
    codings: Codings,
    close: bool,
    keep_alive: bool,
    expects: Option<&'a [u8]>,
}

/// What the `Transfer-Encoding` fields say, taken together.
#[derive(Default)]
struct Codings {
    n: usize,
    n_chunked: usize,
    chunked_is_last: bool,
}

impl<'a> Said<'a> {
    pub(crate) fn gather(fields: &[httparse::Header<'a>]) -> Result<Self, Refusal> {
        let mut said = Self::default();
        for field in fields {
            let is = |name: &str| field.name.eq_ignore_ascii_case(name);
            if is("host") {
                said.n_hosts += 1;
                said.host = field.value;
            } else if is("connection") {
                said.connection(field.value);
            } else if is("content-length") {
                said.content_length(field.value)?;
            } else if is("transfer-encoding") {
                said.codings.add(field.value);
            } else if is("expect") {
                said.expects = Some(field.value);
            }
        }
        Ok(said)
    }

    fn connection(&mut self, value: &[u8]) {
        for option in list(value) {
            self.close |= option.eq_ignore_ascii_case(b"close");
            self.keep_alive |= option.eq_ignore_ascii_case(b"keep-alive");
        }
    }

    /// RFC 9112, 6.3 (5): several values that all are valid and equal are one; else they are an
    /// error. RFC 9110, 8.6: digits alone.
    fn content_length(&mut self, value: &[u8]) -> Result<(), Refusal> {
        for value in list(value) {
            if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
                return Err(Refusal::bad_request("the content length is no number"));
            }
            let length = std::str::from_utf8(value).ok().and_then(|digits| digits.parse().ok());
            let length = length.ok_or(TOO_LARGE)?;
            if self.length.replace(length).is_some_and(|before| before != length) {
                return Err(Refusal::bad_request("there are several content lengths"));
            }
        }
        Ok(())
    }

    /// RFC 9112, 3.2: a request of HTTP/1.1 without `Host` is refused, and so is one with several,
    /// or with a value that is none.
    pub(crate) fn check_host(&self, version: Version) -> Result<(), Refusal> {
        match (self.n_hosts, version) {
            (0, Version::Http11) => Err(Refusal::bad_request("there is no host")),
            (0, Version::Http10) => Ok(()),
            (1, _) if is_authority(self.host) => Ok(()),
            (1, _) => Err(Refusal::bad_request("the host is malformed")),
            _ => Err(Refusal::bad_request("there are several hosts")),
        }
    }

    /// RFC 9112, 6.3.
    pub(crate) fn body(&self, version: Version) -> Result<BodyLength, Refusal> {
        if self.codings.n == 0 {
            return Ok(match self.length {
                None | Some(0) => BodyLength::None,
                Some(length) => BodyLength::Sized(length),
            });
        }
        if self.length.is_some() {
            // 6.1: it may be an attempt at smuggling.
            return Err(Refusal::bad_request("both a length and a transfer coding are given"));
        }
        if version == Version::Http10 {
            // 6.1: the framing is faulty, since that version has no transfer codings.
            return Err(Refusal::bad_request("HTTP/1.0 has no transfer codings"));
        }
        self.codings.check()?;
        Ok(BodyLength::Chunked)
    }

    /// RFC 9112, 9.3.
    pub(crate) fn persistence(&self, version: Version) -> Persistence {
        match version {
            _ if self.close => Persistence::Close,
            Version::Http11 => Persistence::Default,
            Version::Http10 if self.keep_alive => Persistence::KeepAlive,
            Version::Http10 => Persistence::Close,
        }
    }

    /// RFC 9110, 10.1.1: a client of HTTP/1.0 is not known to understand the answer.
    pub(crate) fn expectation(&self, version: Version) -> Expectation {
        match self.expects {
            None => Expectation::None,
            Some(_) if version == Version::Http10 => Expectation::None,
            Some(value) if value.eq_ignore_ascii_case(b"100-continue") => Expectation::Continue,
            Some(_) => Expectation::Unknown,
        }
    }
}

impl Codings {
    fn add(&mut self, value: &[u8]) {
        for coding in list(value) {
            self.n += 1;
            self.chunked_is_last = coding.eq_ignore_ascii_case(b"chunked");
            self.n_chunked += usize::from(self.chunked_is_last);
        }
    }

    fn check(&self) -> Result<(), Refusal> {
        if !self.chunked_is_last {
            // 6.3 (4): the end of the body can not be told.
            return Err(Refusal::bad_request("the last transfer coding is not chunked"));
        }
        if self.n_chunked > 1 {
            return Err(Refusal::bad_request("the body is chunked twice"));
        }
        if self.n > 1 {
            // 6.1: a coding that is not understood.
            return Err(Refusal::new(
                StatusCode::NOT_IMPLEMENTED,
                "the body has other transfer codings than chunked",
            ));
        }
        Ok(())
    }
}

const TOO_LARGE: Refusal =
    Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, "the content length is beyond all bounds");

/// The elements of a list, empty ones included: RFC 9110, 5.6.1.
fn list(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii)
}

/// Whether this is a host with or without a port, or nothing: RFC 9110, 7.2, and RFC 3986, 3.2.
/// Names of users have no place in it.
pub(crate) fn is_authority(value: &[u8]) -> bool {
    let (host, port) = match value.iter().rposition(|byte| *byte == b':') {
        Some(colon) if !value.ends_with(b"]") => (&value[..colon], &value[colon + 1..]),
        _ => (value, &[][..]),
    };
    let is_host = match host.strip_prefix(b"[").map(|host| host.strip_suffix(b"]")) {
        None => host.iter().all(|byte| is_name_byte(*byte)),
        Some(None) => false,
        Some(Some(literal)) => literal.iter().all(|byte| is_name_byte(*byte) || *byte == b':'),
    };
    is_host && port.iter().all(u8::is_ascii_digit)
}

/// Unreserved characters, the percent sign of an escape, and sub-delimiters: RFC 3986, 3.2.2. The
/// comma among the last is left out, because two hosts that were joined to a list have one.
fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(
            byte,
            b'-' | b'.'
                | b'_'
                | b'~'
                | b'%'
                | b'!'
                | b'$'
                | b'&'
                | b'\''
                | b'('
                | b')'
                | b'*'
                | b'+'
                | b';'
                | b'='
        )
}
