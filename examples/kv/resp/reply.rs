//! Writing replies.

use super::Resp;
use polyserve::codec::{EncodeError, Encoder};
use std::borrow::Cow;
use std::io::Write;

/// What a command answers. It may borrow what it shows from the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Reply<'a> {
    /// A word, such as `OK`.
    Status(&'a str),
    /// What is wrong, its first word the kind of error. Ends of lines in it become spaces.
    Error(Cow<'a, [u8]>),
    Integer(i64),
    /// Any bytes.
    Bulk(Cow<'a, [u8]>),
    /// Nothing, where there might be bytes.
    Nil,
    /// Nothing, where there might be an array.
    NilArray,
    Array(Vec<Reply<'a>>),
    /// The start of an array whose elements are sent one by one behind it.
    ArrayOf(usize),
    /// Several replies to one request.
    Several(Vec<Reply<'a>>),
}

impl<'a> Reply<'a> {
    pub(crate) const OK: Reply<'static> = Reply::Status("OK");

    /// Bytes that live elsewhere.
    pub(crate) fn bulk(bytes: &'a (impl AsRef<[u8]> + ?Sized)) -> Self {
        Reply::Bulk(Cow::Borrowed(bytes.as_ref()))
    }

    /// Bytes that were made for this reply.
    pub(crate) fn owned(bytes: impl Into<Vec<u8>>) -> Self {
        Reply::Bulk(Cow::Owned(bytes.into()))
    }

    /// Bytes, if there are any.
    pub(crate) fn bulk_or_nil(bytes: Option<&'a (impl AsRef<[u8]> + ?Sized)>) -> Self {
        bytes.map_or(Reply::Nil, Reply::bulk)
    }

    /// How many there are of something.
    pub(crate) fn count(n: usize) -> Self {
        // No collection in memory has more elements than that.
        Reply::Integer(i64::try_from(n).unwrap_or(i64::MAX))
    }

    pub(crate) fn array(elements: impl IntoIterator<Item = Reply<'a>>) -> Self {
        Reply::Array(elements.into_iter().collect())
    }

    /// About as many bytes as it has when it is written.
    pub(crate) fn cost(&self) -> usize {
        match self {
            Reply::Bulk(bytes) | Reply::Error(bytes) => bytes.len(),
            Reply::Array(replies) | Reply::Several(replies) => {
                replies.iter().map(|reply| reply.cost() + size_of_val(reply)).sum()
            }
            _ => 0,
        }
    }

    /// Appends the reply as bytes.
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        match self {
            Reply::Status(word) => line(out, b'+', word.as_bytes()),
            Reply::Error(text) => {
                let text = text.iter().map(|b| if matches!(b, b'\r' | b'\n') { b' ' } else { *b });
                out.push(b'-');
                out.extend(text);
                out.extend(b"\r\n");
            }
            Reply::Integer(n) => number(out, b':', n),
            Reply::Bulk(bytes) => {
                number(out, b'$', bytes.len());
                out.extend_from_slice(bytes);
                out.extend(b"\r\n");
            }
            Reply::Nil => out.extend(b"$-1\r\n"),
            Reply::NilArray => out.extend(b"*-1\r\n"),
            Reply::ArrayOf(n) => number(out, b'*', n),
            Reply::Array(elements) => {
                number(out, b'*', elements.len());
                elements.iter().for_each(|element| element.write(out));
            }
            Reply::Several(replies) => replies.iter().for_each(|reply| reply.write(out)),
        }
    }
}

fn line(out: &mut Vec<u8>, kind: u8, text: &[u8]) {
    out.push(kind);
    out.extend_from_slice(text);
    out.extend(b"\r\n");
}

fn number(out: &mut Vec<u8>, kind: u8, n: impl std::fmt::Display) {
    out.push(kind);
    write!(out, "{n}\r\n").expect("a vector takes everything");
}

impl Encoder for Resp {
    type Message<'a> = Reply<'a>;

    fn encode(&mut self, reply: Reply<'_>, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        reply.write(out);
        Ok(())
    }
}
