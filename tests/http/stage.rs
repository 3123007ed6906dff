//! What the tests share: the service without sockets, and what a response says.

use crate::web::{Clock, Http, Site, Web};
use polyserve::testing::Script;
use polyserve::{Framed, Peer};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// What every `Date` says: 2024-02-29 12:00:00.
pub(crate) const DATE: &str = "Thu, 29 Feb 2024 12:00:00 GMT";

pub(crate) fn now() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_709_208_000)
}

/// What makes the service of a connection, with the files of this directory.
pub(crate) fn factory(root: Option<&Path>) -> impl Fn(&Peer) -> Framed<Http, Web> + use<> {
    let site = root.map(|root| Arc::new(Site::new(root).unwrap()));
    move |_peer| Framed::service(Http::new(Clock::Fixed(now())), Web::new(site.clone()))
}

pub(crate) fn script(root: Option<&Path>) -> Script {
    Script::new(factory(root))
}

/// A response, taken apart by other means than the example's own.
#[derive(Debug)]
pub(crate) struct Seen {
    pub(crate) status: u16,
    pub(crate) head: String,
    /// Without the framing of chunks.
    pub(crate) body: Vec<u8>,
}

impl Seen {
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (this, value) = line.split_once(": ")?;
            this.eq_ignore_ascii_case(name).then_some(value)
        })
    }
}

/// Takes one whole response off the front, if there is one.
pub(crate) fn next_response(bytes: &mut &[u8], to_head: bool) -> Option<Seen> {
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
    let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
    let status = head.strip_prefix("HTTP/1.1 ").unwrap()[..3].parse().unwrap();
    let mut seen = Seen { status, head, body: Vec::new() };
    let rest = &bytes[end..];
    let length = seen.field("content-length").map(|length| length.parse::<usize>().unwrap());
    let bodiless = to_head || status < 200 || status == 204 || status == 304;
    let consumed = if bodiless {
        0
    } else if seen.field("transfer-encoding") == Some("chunked") {
        unchunk(rest, &mut seen.body)?
    } else {
        let length = length.expect("a response with a body says how long it is");
        seen.body = rest.get(..length)?.to_vec();
        length
    };
    *bytes = &bytes[end + consumed..];
    Some(seen)
}

fn unchunk(bytes: &[u8], body: &mut Vec<u8>) -> Option<usize> {
    let mut at = 0;
    loop {
        let line = bytes[at..].windows(2).position(|window| window == b"\r\n")?;
        let size = std::str::from_utf8(&bytes[at..at + line]).unwrap();
        let size = usize::from_str_radix(size, 16).unwrap();
        at += line + 2;
        body.extend_from_slice(bytes.get(at..at + size)?);
        assert_eq!(bytes.get(at + size..at + size + 2)?, b"\r\n", "a chunk ends with CRLF");
        at += size + 2;
        if size == 0 {
            return Some(at);
        }
    }
}

/// All responses. There must be nothing but whole ones.
pub(crate) fn responses(mut bytes: &[u8]) -> Vec<Seen> {
    let mut all = Vec::new();
    while !bytes.is_empty() {
        let Some(seen) = next_response(&mut bytes, false) else {
            panic!("no whole response: {:?}", bytes.escape_ascii().to_string())
        };
        all.push(seen);
    }
    all
}

pub(crate) fn statuses(bytes: &[u8]) -> Vec<u16> {
    responses(bytes).iter().map(|seen| seen.status).collect()
}
