//! Responses as bytes.

use super::date::Clock;
use super::head::Persistence;
use http::StatusCode;
use polyserve::codec::EncodeError;

/// What goes out.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Message<'a> {
    /// 100 (Continue): the client may send the body.
    Continue,
    Response(Response<'a>),
    /// A part of a body whose length was told.
    Bytes(&'a [u8]),
    /// A part of a body in chunks.
    Chunk(&'a [u8]),
    /// The end of a body in chunks.
    LastChunk,
}

/// A response, with as much of its body as is there already.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Response<'a> {
    pub(crate) status: StatusCode,
    pub(crate) persistence: Persistence,
    pub(crate) length: Length,
    /// The fields besides those that every response has.
    pub(crate) fields: &'a [Field<'a>],
    pub(crate) body: &'a [u8],
}

/// A name and a value.
pub(crate) type Field<'a> = (&'static str, &'a str);

/// What the response says about its length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Length {
    /// Nothing: it has no body by its status (RFC 9110, 8.6).
    Untold,
    Sized(u64),
    Chunked,
}

/// Appends the bytes of a message. It allocates nothing but what `out` needs to grow.
pub(crate) fn write(
    message: Message<'_>,
    clock: Clock,
    out: &mut Vec<u8>,
) -> Result<(), EncodeError> {
    match message {
        Message::Continue => out.extend_from_slice(b"HTTP/1.1 100 Continue\r\n\r\n"),
        Message::Response(response) => response.write(clock, out)?,
        Message::Bytes(bytes) => out.extend_from_slice(bytes),
        // One of no length would be the end.
        Message::Chunk([]) => (),
        Message::Chunk(bytes) => {
            write_hex(bytes.len(), out);
            out.extend_from_slice(bytes);
            out.extend_from_slice(b"\r\n");
        }
        Message::LastChunk => out.extend_from_slice(b"0\r\n\r\n"),
    }
    Ok(())
}

impl Response<'_> {
    fn write(&self, clock: Clock, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        if self
            .fields
            .iter()
            .any(|(_, value)| memchr::memchr2(b'\r', b'\n', value.as_bytes()).is_some())
        {
            return Err(EncodeError::invalid("a field holds the end of a line"));
        }
        self.write_status(out);
        // RFC 9110, 6.6.1: a server with a clock sends the date.
        out.extend_from_slice(b"Server: polyserve\r\nDate: ");
        clock.write_date(out);
        out.extend_from_slice(b"\r\n");
        for (name, value) in self.fields {
            write_field(name, value, out);
        }
        match self.length {
            Length::Untold => (),
            Length::Sized(length) => {
                write_field("Content-Length", itoa::Buffer::new().format(length), out);
            }
            Length::Chunked => out.extend_from_slice(b"Transfer-Encoding: chunked\r\n"),
        }
        match self.persistence {
            Persistence::Default => (),
            Persistence::KeepAlive => out.extend_from_slice(b"Connection: keep-alive\r\n"),
            Persistence::Close => out.extend_from_slice(b"Connection: close\r\n"),
        }
        out.extend_from_slice(b"\r\n");
        out.extend_from_slice(self.body);
        Ok(())
    }

    fn write_status(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"HTTP/1.1 ");
        out.extend_from_slice(self.status.as_str().as_bytes());
        out.push(b' ');
        // RFC 9112, 4: the space stays where there is no reason.
        out.extend_from_slice(self.status.canonical_reason().unwrap_or_default().as_bytes());
        out.extend_from_slice(b"\r\n");
    }
}

fn write_field(name: &str, value: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(value.as_bytes());
    out.extend_from_slice(b"\r\n");
}

/// The line with the size of a chunk.
fn write_hex(size: usize, out: &mut Vec<u8>) {
    let n_digits = (usize::BITS - size.leading_zeros()).div_ceil(4).max(1);
    for n in (0..n_digits).rev() {
        out.push(b"0123456789abcdef"[(size >> (4 * n)) & 0xf]);
    }
    out.extend_from_slice(b"\r\n");
}
