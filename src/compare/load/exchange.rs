//! What a client says, and what it must hear.

use crate::codec::{Codec, DecodeError, Decoded};
use crate::handler::BoxError;
use std::fmt;

/// One connection's side of a conversation: the requests that the load sends, and the check of
/// what comes back.
///
/// One value is made for each connection. Requests of a connection are numbered from 0, and their
/// responses come in the same order. [`EchoExchange`], [`FixedExchange`] and [`CodecExchange`] are ready to use;
/// [`exchange`] makes one of two closures.
///
/// It runs on the load's thread for each request, so what it spends is time that the load lacks:
/// write into `out`, compare in place, allocate nothing.
pub trait Exchange: Send + 'static {
    /// Appends the request of this number to `out`, which may hold others already. At least one
    /// byte.
    fn request(&mut self, number: u64, out: &mut Vec<u8>);

    /// Says how many bytes of `input`, from its start, are the whole response to the request of
    /// this number, or `None` if there are not enough yet. It is called again with the same bytes
    /// and more behind them. `input` is never empty.
    ///
    /// # Errors
    /// The response is wrong. The whole comparison ends with this reason: what a server that
    /// answers wrongly is able to do does not matter.
    fn response(&mut self, number: u64, input: &[u8]) -> Result<Option<usize>, BoxError>;
}

impl Exchange for Box<dyn Exchange> {
    fn request(&mut self, number: u64, out: &mut Vec<u8>) {
        (**self).request(number, out);
    }

    fn response(&mut self, number: u64, input: &[u8]) -> Result<Option<usize>, BoxError> {
        (**self).response(number, input)
    }
}

/// Makes a [`Exchange`] of two closures: one appends the request of a number, the other looks for the
/// response, as [`Exchange::response`] says.
///
/// ```
/// use polyserve::BoxError;
/// use polyserve::compare::{Load, exchange};
///
/// // Sends `get 0`, `get 1` and so on, and expects the number back, each on a line.
/// let load = Load::new(|_connection| {
///     exchange(
///         |number, out| out.extend(format!("get {number}\n").bytes()),
///         |number, input| -> Result<_, BoxError> {
///             let Some(end) = input.iter().position(|byte| *byte == b'\n') else {
///                 return Ok(None);
///             };
///             match std::str::from_utf8(&input[..end])?.parse::<u64>()? == number {
///                 true => Ok(Some(end + 1)),
///                 false => Err("another number".into()),
///             }
///         },
///     )
/// });
/// ```
pub fn exchange<Q, R>(request: Q, response: R) -> impl Exchange
where
    Q: FnMut(u64, &mut Vec<u8>) + Send + 'static,
    R: FnMut(u64, &[u8]) -> Result<Option<usize>, BoxError> + Send + 'static,
{
    Closures { request, response }
}

struct Closures<Q, R> {
    request: Q,
    response: R,
}

impl<Q, R> Exchange for Closures<Q, R>
where
    Q: FnMut(u64, &mut Vec<u8>) + Send + 'static,
    R: FnMut(u64, &[u8]) -> Result<Option<usize>, BoxError> + Send + 'static,
{
    fn request(&mut self, number: u64, out: &mut Vec<u8>) {
        (self.request)(number, out);
    }

    fn response(&mut self, number: u64, input: &[u8]) -> Result<Option<usize>, BoxError> {
        (self.response)(number, input)
    }
}

/// Sends messages of one size, and wants each of them back, byte for byte.
///
/// Messages of different connections, and those that follow each other, differ.
#[derive(Debug, Clone)]
pub struct EchoExchange {
    /// Message `n` is the part from `n % PHASES` on.
    bytes: Vec<u8>,
    size: usize,
}

/// How many messages differ from each other.
const PHASES: usize = 61;

impl EchoExchange {
    /// Messages of `size` bytes (at least one) for the connection of this number.
    pub fn new(connection: usize, size: usize) -> Self {
        let size = size.max(1);
        // A multiplicative hash of the position: no short period, and others for each connection.
        let byte = |at: usize| ((at + connection * 7919).wrapping_mul(0x9e37_79b1) >> 16) as u8;
        Self { bytes: (0..size + PHASES).map(byte).collect(), size }
    }

    fn message(&self, number: u64) -> &[u8] {
        let from = (number % PHASES as u64) as usize;
        &self.bytes[from..from + self.size]
    }
}

impl Exchange for EchoExchange {
    fn request(&mut self, number: u64, out: &mut Vec<u8>) {
        out.extend_from_slice(self.message(number));
    }

    fn response(&mut self, number: u64, input: &[u8]) -> Result<Option<usize>, BoxError> {
        expect(self.message(number), input)
    }
}

/// Sends the same request again and again, and wants the same response each time.
#[derive(Debug, Clone)]
pub struct FixedExchange {
    request: Vec<u8>,
    response: Vec<u8>,
}

impl FixedExchange {
    /// This request, and this response. Neither may be empty.
    pub fn new(request: impl Into<Vec<u8>>, response: impl Into<Vec<u8>>) -> Self {
        Self { request: request.into(), response: response.into() }
    }
}

impl Exchange for FixedExchange {
    fn request(&mut self, _number: u64, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.request);
    }

    fn response(&mut self, _number: u64, input: &[u8]) -> Result<Option<usize>, BoxError> {
        expect(&self.response, input)
    }
}

/// Compares what has come so far, so that a wrong byte is found also where more had to come.
fn expect(expected: &[u8], input: &[u8]) -> Result<Option<usize>, BoxError> {
    let n = expected.len().min(input.len());
    if expected[..n] == input[..n] {
        return Ok((n == expected.len()).then_some(n));
    }
    let at = expected.iter().zip(input).position(|(a, b)| a != b).unwrap_or(0);
    let (want, got) = (expected[at], input[at]);
    Err(format!("byte {at} of {} is {got:#04x}, expected {want:#04x}", expected.len()).into())
}

/// Sends messages by a codec, and gives the frames that come back to a closure to be checked.
///
/// The codec is the client's side of the protocol. For the many in which both sides look alike,
/// such as [`Lines`](crate::codec::Lines), it is that of the server.
///
/// ```
/// use polyserve::codec::{Encoder, Lines};
/// use polyserve::compare::{CodecExchange, Load};
///
/// let load = Load::new(|_connection| {
///     CodecExchange::new(
///         Lines::new(),
///         |number, codec, out| codec.encode(&format!("request {number}"), out),
///         |number, line: &str| match line == format!("REQUEST {number}") {
///             true => Ok(()),
///             false => Err(format!("expected request {number} in capitals, got {line:?}").into()),
///         },
///     )
/// });
/// ```
pub struct CodecExchange<C, Q, R> {
    codec: C,
    request: Q,
    check: R,
}

impl<C, Q, R> CodecExchange<C, Q, R>
where
    C: Codec + Send + 'static,
    Q: FnMut(u64, &mut C, &mut Vec<u8>) -> Result<(), crate::codec::EncodeError> + Send + 'static,
    R: for<'f> FnMut(u64, C::Frame<'f>) -> Result<(), BoxError> + Send + 'static,
{
    /// `request` encodes the request of a number; `check` looks at the response to it.
    ///
    /// One frame is one response. What can not be encoded is a mistake of the program that
    /// compares: it panics, on the load's thread, and the comparison ends with that message.
    pub fn new(codec: C, request: Q, check: R) -> Self {
        Self { codec, request, check }
    }
}

impl<C, Q, R> Exchange for CodecExchange<C, Q, R>
where
    C: Codec + Send + 'static,
    Q: FnMut(u64, &mut C, &mut Vec<u8>) -> Result<(), crate::codec::EncodeError> + Send + 'static,
    R: for<'f> FnMut(u64, C::Frame<'f>) -> Result<(), BoxError> + Send + 'static,
{
    fn request(&mut self, number: u64, out: &mut Vec<u8>) {
        if let Err(error) = (self.request)(number, &mut self.codec, out) {
            panic!("request {number} can not be encoded: {error}");
        }
    }

    fn response(&mut self, number: u64, input: &[u8]) -> Result<Option<usize>, BoxError> {
        match self.codec.decode(input).map_err(|e: DecodeError| Box::new(e) as BoxError)? {
            Decoded::Incomplete { .. } => Ok(None),
            Decoded::Frame { frame, consumed } => {
                (self.check)(number, frame)?;
                Ok(Some(consumed))
            }
        }
    }
}

impl<C: fmt::Debug, Q, R> fmt::Debug for CodecExchange<C, Q, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CodecExchange").field("codec", &self.codec).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_that_follow_each_other_differ() {
        let mut exchange = EchoExchange::new(3, 64);
        let mut out = Vec::new();
        exchange.request(0, &mut out);
        exchange.request(1, &mut out);
        assert_ne!(out[..64], out[64..]);
        assert_eq!(exchange.response(0, &out).unwrap(), Some(64));
        assert!(exchange.response(1, &out).is_err());
        assert_ne!(EchoExchange::new(0, 64).message(0), EchoExchange::new(1, 64).message(0));
    }

    #[test]
    fn a_wrong_byte_is_named_before_the_rest_has_come() {
        let mut exchange = FixedExchange::new("ping", "pong");
        assert_eq!(exchange.response(0, b"po").unwrap(), None);
        let error = exchange.response(0, b"pa").unwrap_err().to_string();
        assert_eq!(error, "byte 1 of 4 is 0x61, expected 0x6f");
    }
}
