//! How a request is answered, whatever the answer is.

use super::codec::Http;
use super::head::Persistence;
use super::response::{Field, Length, Message, Response};
use http::StatusCode;
use polyserve::{BoxError, Replies};

/// What every function gets that answers.
pub(crate) type Lent<'a, 'o> = &'a mut Replies<'o, Http>;

/// What the type of a response in words is.
pub(crate) const TEXT: Field<'static> = ("Content-Type", "text/plain");

/// What a response depends on besides what it says.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Manner {
    pub(crate) persistence: Persistence,
    /// The request was HEAD: everything but the body is sent (RFC 9110, 9.3.2).
    pub(crate) head_only: bool,
}

impl Manner {
    /// A response whose body is there.
    pub(crate) fn whole(
        self,
        status: StatusCode,
        fields: &[Field<'_>],
        body: &[u8],
        replies: Lent<'_, '_>,
    ) -> Result<(), BoxError> {
        let length = Length::Sized(body.len() as u64);
        let body = if self.head_only { &[] } else { body };
        let response = Response { status, persistence: self.persistence, length, fields, body };
        Ok(replies.send(Message::Response(response))?)
    }

    /// A response that has no body by its status.
    pub(crate) fn nothing(
        self,
        status: StatusCode,
        fields: &[Field<'_>],
        replies: Lent<'_, '_>,
    ) -> Result<(), BoxError> {
        let (persistence, length) = (self.persistence, Length::Untold);
        let response = Response { status, persistence, length, fields, body: &[] };
        Ok(replies.send(Message::Response(response))?)
    }

    /// A response that says of itself what it is.
    pub(crate) fn error(
        self,
        status: StatusCode,
        more: &[Field<'_>],
        replies: Lent<'_, '_>,
    ) -> Result<(), BoxError> {
        let body = format!("{status}\n");
        let mut fields = vec![TEXT];
        fields.extend_from_slice(more);
        self.whole(status, &fields, body.as_bytes(), replies)
    }
}
