//! What a request is about: the target of its request line.

use super::framing::is_authority;
use super::refusal::Refusal;
use percent_encoding::percent_decode_str;
use std::borrow::Cow;

/// The target of a request.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Target<'a> {
    /// `*`: the server itself.
    Server,
    Path(TargetPath<'a>),
}

/// A path, and what followed it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct TargetPath<'a> {
    /// Decoded. It begins with a slash, and every slash of it separates: none came out of an escape.
    pub(crate) decoded: Cow<'a, str>,
    /// As it came.
    pub(crate) raw: &'a str,
    /// With its question mark; empty if there is none.
    pub(crate) query: &'a str,
}

impl<'a> Target<'a> {
    /// RFC 9112, 3.2. The form of `CONNECT` is none of these.
    pub(crate) fn parse(target: &'a str) -> Result<Self, Refusal> {
        if target == "*" {
            return Ok(Target::Server);
        }
        let target = if target.starts_with('/') { target } else { behind_authority(target)? };
        let (raw, query) =
            target.split_at(memchr::memchr(b'?', target.as_bytes()).unwrap_or(target.len()));
        let raw = if raw.is_empty() { "/" } else { raw };
        Ok(Target::Path(TargetPath { decoded: decode(raw)?, raw, query }))
    }
}

/// RFC 9112, 3.2.2: a server must take a whole URI, too. All hosts are this one.
fn behind_authority(uri: &str) -> Result<&str, Refusal> {
    let malformed = Refusal::bad_request("the target is neither a path nor a URI");
    let (scheme, rest) = uri.split_once("://").ok_or(malformed)?;
    let is_ours = ["http", "https"].iter().any(|ours| scheme.eq_ignore_ascii_case(ours));
    let (authority, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
    // RFC 9110, 4.2.1: a URI with an empty host is invalid.
    let is_host = !authority.is_empty() && is_authority(authority.as_bytes());
    if is_ours && is_host { Ok(path) } else { Err(malformed) }
}

/// Decodes the escapes of a path. Nothing is copied where there are none.
///
/// An escaped slash would become one that separates, a backslash separates on some systems, and a
/// NUL ends a name there: none of them is part of a name that is served.
fn decode(raw: &str) -> Result<Cow<'_, str>, Refusal> {
    if memchr::memchr3(b'%', b'.', b'\\', raw.as_bytes()).is_none() {
        return Ok(Cow::Borrowed(raw));
    }
    let decoded = decode_escapes(raw)?;
    // A client resolves dots before it sends a path (RFC 3986, 5.2.4), so these mean no good.
    let mut segments = decoded.split('/');
    if decoded.contains('\\') || segments.any(|segment| segment == "." || segment == "..") {
        return Err(Refusal::bad_request("the path has dots or backslashes to go elsewhere"));
    }
    Ok(decoded)
}

fn decode_escapes(raw: &str) -> Result<Cow<'_, str>, Refusal> {
    if !has_valid_escapes(raw) {
        return Err(Refusal::bad_request("an escape of the path is malformed"));
    }
    let mut escapes = raw.match_indices('%').map(|(at, _)| &raw[at + 1..at + 3]);
    if escapes.any(|hex| ["2f", "2F", "5c", "5C", "00"].contains(&hex)) {
        return Err(Refusal::bad_request("the path has an escaped slash, backslash or NUL"));
    }
    let decoded = percent_decode_str(raw).decode_utf8();
    decoded.map_err(|_| Refusal::bad_request("the path is no UTF-8 text"))
}

fn has_valid_escapes(raw: &str) -> bool {
    let bytes = raw.as_bytes();
    memchr::memchr_iter(b'%', bytes).all(|at| {
        bytes.get(at + 1..at + 3).is_some_and(|hex| hex.iter().all(u8::is_ascii_hexdigit))
    })
}
