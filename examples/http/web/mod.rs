//! HTTP/1.1 behind [`Framed`](polyserve::Framed): a codec, and the service of this example.
//!
//! The sections that the comments name are those of RFC 9110 (semantics) and RFC 9112 (HTTP/1.1).

mod chunked;
mod codec;
mod conditions;
mod date;
mod download;
mod files;
mod framing;
mod head;
mod manner;
mod refusal;
mod response;
mod section;
mod service;
mod target;

pub(crate) use codec::Http;
pub(crate) use date::Clock;
pub(crate) use files::Site;
pub(crate) use service::Web;
