//! What is answered to which request.

use super::codec::{Event, Http};
use super::download::send_file;
use super::files::{Found, Site, UNKNOWN_TYPE};
use super::head::{BodyLength, Expectation, Head, Persistence};
use super::manner::{Lent, Manner, TEXT};
use super::refusal::Refusal;
use super::response::{Field, Length, Message, Response};
use super::target::{Target, TargetPath};
use http::StatusCode;
use polyserve::codec::DecodeError;
use polyserve::{Action, BoxError, Service};
use std::io::ErrorKind;
use std::sync::Arc;

/// The most of a body that nobody wants which is read, so that the connection can be kept.
const MAX_UNWANTED: u64 = 64 * 1024;

const HELLO: &[u8] = b"Hello, World!";

/// The service of one connection.
pub(crate) struct Web {
    site: Option<Arc<Site>>,
    body: Body,
    /// The server drains: this request is the last.
    draining: bool,
}

/// What becomes of the body that is being received.
enum Body {
    /// None is: a head comes next.
    None,
    /// It is sent back. The response begins with the body's first piece, so that a body that is
    /// malformed from the start can still be refused.
    Echo { begun: bool, length: Length, persistence: Persistence },
    /// It is thrown away, this much of it at the most; the response was sent.
    Discard { left: u64 },
}

/// What there is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Resource {
    Plaintext,
    Echo,
    File,
}

impl Resource {
    fn of(path: &str) -> Self {
        match path {
            "/plaintext" => Resource::Plaintext,
            "/echo" => Resource::Echo,
            _ => Resource::File,
        }
    }

    /// What can be done with it: RFC 9110, 10.2.1.
    fn allowed(self) -> Field<'static> {
        match self {
            Resource::Plaintext | Resource::File => ("Allow", "GET, HEAD, OPTIONS"),
            Resource::Echo => ("Allow", "POST, OPTIONS"),
        }
    }
}

impl Web {
    /// Without a site there are no files.
    pub(crate) fn new(site: Option<Arc<Site>>) -> Self {
        Self { site, body: Body::None, draining: false }
    }

    fn head(&mut self, head: &Head<'_>, replies: Lent<'_, '_>) -> Result<Action, BoxError> {
        let target = Target::parse(head.target);
        let is_echo = head.method == "POST"
            && matches!(&target, Ok(Target::Path(path)) if path.decoded == "/echo");
        let manner = self.manner(head, is_echo);
        if head.expectation == Expectation::Unknown {
            manner.error(StatusCode::EXPECTATION_FAILED, &[], replies)?;
        } else if is_echo {
            return self.echo(head, manner, replies);
        } else if matches!(head.body, BodyLength::Sized(length) if length > MAX_UNWANTED) {
            manner.error(StatusCode::PAYLOAD_TOO_LARGE, &[], replies)?;
        } else {
            self.answer(head, target, manner, replies)?;
        }
        if manner.persistence == Persistence::Close {
            return Ok(Action::Close);
        }
        if head.body != BodyLength::None {
            self.body = Body::Discard { left: MAX_UNWANTED };
        }
        Ok(Action::Continue)
    }

    /// A body that nobody wants is read for the sake of the connection; not so one that is too long
    /// for that, nor one that the client may not even send (RFC 9110, 10.1.1).
    fn manner(&self, head: &Head<'_>, is_wanted: bool) -> Manner {
        let is_too_much = match head.body {
            BodyLength::None => false,
            BodyLength::Sized(length) if length > MAX_UNWANTED => true,
            _ => head.expectation != Expectation::None,
        };
        let is_unread = is_too_much && (!is_wanted || head.expectation == Expectation::Unknown);
        let persistence = match self.draining || is_unread {
            true => Persistence::Close,
            false => head.persistence,
        };
        Manner { persistence, head_only: head.method == "HEAD" }
    }

    fn answer(
        &mut self,
        head: &Head<'_>,
        target: Result<Target<'_>, Refusal>,
        manner: Manner,
        replies: Lent<'_, '_>,
    ) -> Result<(), BoxError> {
        match head.method {
            "GET" | "HEAD" | "POST" | "PUT" | "DELETE" | "PATCH" | "OPTIONS" | "TRACE" => (),
            // RFC 9110, 9.1: case matters. Nor is this a tunnel, so that CONNECT is unknown here.
            _ => return manner.error(StatusCode::NOT_IMPLEMENTED, &[], replies),
        }
        let path = match target {
            Ok(Target::Path(path)) => path,
            Ok(Target::Server) if head.method == "OPTIONS" => {
                let allowed = ("Allow", "GET, HEAD, POST, OPTIONS");
                return manner.nothing(StatusCode::NO_CONTENT, &[allowed], replies);
            }
            Ok(Target::Server) => return manner.error(StatusCode::BAD_REQUEST, &[], replies),
            Err(refusal) => return manner.error(refusal.status, &[], replies),
        };
        let resource = Resource::of(&path.decoded);
        match (resource, head.method) {
            (Resource::Plaintext, "GET" | "HEAD") => {
                manner.whole(StatusCode::OK, &[TEXT], HELLO, replies)
            }
            (Resource::File, "GET" | "HEAD") => self.file(head, &path, manner, replies),
            (_, "OPTIONS") => {
                manner.nothing(StatusCode::NO_CONTENT, &[resource.allowed()], replies)
            }
            _ => manner.error(StatusCode::METHOD_NOT_ALLOWED, &[resource.allowed()], replies),
        }
    }

    fn echo(
        &mut self,
        head: &Head<'_>,
        manner: Manner,
        replies: Lent<'_, '_>,
    ) -> Result<Action, BoxError> {
        let length = match head.body {
            BodyLength::None => Length::Sized(0),
            BodyLength::Sized(length) => Length::Sized(length),
            BodyLength::Chunked => Length::Chunked,
        };
        self.body = Body::Echo { begun: false, length, persistence: manner.persistence };
        if head.body == BodyLength::None {
            return self.body(&[], true, replies);
        }
        if head.expectation == Expectation::Continue {
            replies.send(Message::Continue)?;
        }
        Ok(Action::Continue)
    }

    fn body(
        &mut self,
        piece: &[u8],
        last: bool,
        replies: Lent<'_, '_>,
    ) -> Result<Action, BoxError> {
        match &mut self.body {
            // The codec shows a body only after a head that announced it.
            Body::None => unreachable!("there is a body without a request"),
            Body::Discard { left } => match left.checked_sub(piece.len() as u64) {
                // It comes in chunks, and its end is not in sight.
                None => return Ok(Action::Close),
                Some(less) => *left = less,
            },
            Body::Echo { begun, length, persistence } => {
                if !*begun && (last || !piece.is_empty()) {
                    *begun = true;
                    replies.send(Message::Response(Response {
                        status: StatusCode::OK,
                        persistence: *persistence,
                        length: *length,
                        fields: &[("Content-Type", UNKNOWN_TYPE)],
                        body: &[],
                    }))?;
                }
                match *length {
                    Length::Chunked => replies.send(Message::Chunk(piece))?,
                    _ => replies.send(Message::Bytes(piece))?,
                }
                if last && *length == Length::Chunked {
                    replies.send(Message::LastChunk)?;
                }
            }
        }
        if last { self.end_of_body() } else { Ok(Action::Continue) }
    }

    fn end_of_body(&mut self) -> Result<Action, BoxError> {
        let body = std::mem::replace(&mut self.body, Body::None);
        let close = matches!(body, Body::Echo { persistence: Persistence::Close, .. });
        Ok(if close || self.draining { Action::Close } else { Action::Continue })
    }

    fn file(
        &self,
        head: &Head<'_>,
        path: &TargetPath<'_>,
        manner: Manner,
        replies: Lent<'_, '_>,
    ) -> Result<(), BoxError> {
        let found = match &self.site {
            Some(site) => site.find(&path.decoded),
            None => Ok(Found::Nothing),
        };
        match found {
            Ok(Found::File(file)) => send_file(head, file, manner, replies),
            Ok(Found::Directory) => {
                let location = format!("{}/{}", path.raw, path.query);
                let location = ("Location", &*location);
                manner.error(StatusCode::MOVED_PERMANENTLY, &[location], replies)
            }
            Ok(Found::Nothing) => manner.error(StatusCode::NOT_FOUND, &[], replies),
            Err(error) if error.kind() == ErrorKind::PermissionDenied => {
                manner.error(StatusCode::FORBIDDEN, &[], replies)
            }
            Err(_) => manner.error(StatusCode::INTERNAL_SERVER_ERROR, &[], replies),
        }
    }
}

impl Service<Http> for Web {
    fn call(&mut self, event: Event<'_>, replies: Lent<'_, '_>) -> Result<Action, BoxError> {
        match event {
            Event::Head(head) => self.head(&head, replies),
            Event::Body { piece, last } => self.body(piece, last, replies),
        }
    }

    /// The client is told what was wrong, unless it was told something else already: a response
    /// that breaks off says as much. Then the connection is closed, since nobody knows where the
    /// next request would begin.
    fn on_decode_error(&mut self, error: &DecodeError, replies: Lent<'_, '_>) {
        if matches!(self.body, Body::None | Body::Echo { begun: false, .. }) {
            let manner = Manner { persistence: Persistence::Close, head_only: false };
            // What can not be written is not sent; the connection ends in any case.
            let _ = manner.error(Refusal::status_of(error), &[], replies);
        }
    }

    /// A request that has begun is finished, and its response says that it is the last. Between
    /// requests the connection is closed at once.
    fn on_shutdown(&mut self, replies: Lent<'_, '_>) -> Result<Action, BoxError> {
        self.draining = true;
        if !matches!(self.body, Body::None) {
            // Between two pieces of a body nothing is held. The drain's deadline ends this.
            replies.set_busy(true);
        }
        Ok(if replies.context().is_busy() { Action::Continue } else { Action::Close })
    }
}
