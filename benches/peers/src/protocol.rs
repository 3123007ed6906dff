//! What the servers answer: the bytes that came, or HTTP/1.1.

use std::io::{self, ErrorKind};

/// One connection's side of a protocol, as a function of bytes.
pub trait Protocol: Default + Send + 'static {
    /// Whether a connection has nothing to remember between two calls.
    const STATELESS: bool;

    /// Answers the bytes that came: the answer is made in `output`, or is a part of `input`.
    ///
    /// # Errors
    /// The bytes are no request that is served here. The connection should end.
    fn answer<'a>(&mut self, input: &'a [u8], output: &'a mut Vec<u8>) -> io::Result<&'a [u8]>;
}

/// Sends back what came.
#[derive(Debug, Default)]
pub struct Echo;

impl Protocol for Echo {
    const STATELESS: bool = true;

    fn answer<'a>(&mut self, input: &'a [u8], _output: &'a mut Vec<u8>) -> io::Result<&'a [u8]> {
        Ok(input)
    }
}

/// Answers each request with the same text, keeps the connection, and takes any number of requests
/// at once, in any pieces.
#[derive(Debug, Default)]
pub struct Http {
    /// The beginning of a request.
    held: Vec<u8>,
}

pub const GREETING: &str = "Hello, World!";

const RESPONSE: &[u8] = b"HTTP/1.1 200 OK\r\nServer: peers\r\nContent-Type: text/plain\r\n\
    Content-Length: 13\r\n\r\nHello, World!";

/// The longest head of a request.
const MAX_HEAD: usize = 8 * 1024;
const MAX_HEADERS: usize = 32;

impl Protocol for Http {
    const STATELESS: bool = false;

    fn answer<'a>(&mut self, input: &'a [u8], output: &'a mut Vec<u8>) -> io::Result<&'a [u8]> {
        output.clear();
        if self.held.is_empty() {
            let used = answer_all(input, |response| output.extend_from_slice(response))?;
            self.held.extend_from_slice(&input[used..]);
        } else {
            self.held.extend_from_slice(input);
            let used = answer_all(&self.held, |response| output.extend_from_slice(response))?;
            self.held.drain(..used);
        }
        Ok(output)
    }
}

/// Answers all whole requests, and returns how many bytes they had.
///
/// # Errors
/// A request is malformed, too long, or has a body.
pub fn answer_all(input: &[u8], mut send: impl FnMut(&'static [u8])) -> io::Result<usize> {
    let mut used = 0;
    while used < input.len() {
        let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
        let mut request = httparse::Request::new(&mut headers);
        let parsed = request.parse(&input[used..]);
        match parsed.map_err(|error| io::Error::new(ErrorKind::InvalidData, error))? {
            httparse::Status::Partial if input.len() - used > MAX_HEAD => {
                return Err(ErrorKind::InvalidData.into());
            }
            httparse::Status::Partial => break,
            httparse::Status::Complete(_) if has_body(request.headers) => {
                return Err(ErrorKind::Unsupported.into());
            }
            httparse::Status::Complete(length) => used += length,
        }
        send(RESPONSE);
    }
    Ok(used)
}

fn has_body(headers: &[httparse::Header<'_>]) -> bool {
    let is = |header: &httparse::Header<'_>, name: &str| header.name.eq_ignore_ascii_case(name);
    headers.iter().any(|h| is(h, "transfer-encoding") || is(h, "content-length") && h.value != b"0")
}

#[cfg(test)]
mod tests {
    use super::*;

    const REQUESTS: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\n\r\nGET /b HTTP/1.1\r\nHost: a\r\n\r\n";

    #[test]
    fn requests_may_arrive_in_any_pieces() {
        for first in 0..REQUESTS.len() {
            for second in first..REQUESTS.len() {
                let mut http = Http::default();
                let mut all = Vec::new();
                for piece in [&REQUESTS[..first], &REQUESTS[first..second], &REQUESTS[second..]] {
                    all.extend_from_slice(http.answer(piece, &mut Vec::new()).unwrap());
                }
                assert_eq!(all, [RESPONSE, RESPONSE].concat(), "cut at {first} and {second}");
            }
        }
    }

    #[test]
    fn what_is_no_request_is_refused() {
        let refused = |bytes: &[u8]| Http::default().answer(bytes, &mut Vec::new()).is_err();
        assert!(refused(b"\x16\x03\x01"));
        assert!(refused(b"POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello"));
        assert!(refused(&[b"GET /", &[b'a'; 2 * MAX_HEAD][..]].concat()));
        assert!(!refused(b"GET / HTTP/1.1\r\nContent-Length: 0\r\n\r\n"));
    }
}
