//! The requests of HTTP/1.1, as the example `http` reads them.

// The parts of the example that read bytes, under the names by which they know each other. What
// they need for their answers is not used here.
macro_rules! parts {
    ($($name:ident = $path:literal;)*) => {
        $(#[path = $path]
        #[allow(dead_code)]
        mod $name;)*
    };
}

parts! {
    chunked = "../../examples/http/web/chunked.rs";
    codec = "../../examples/http/web/codec.rs";
    date = "../../examples/http/web/date.rs";
    framing = "../../examples/http/web/framing.rs";
    head = "../../examples/http/web/head.rs";
    refusal = "../../examples/http/web/refusal.rs";
    response = "../../examples/http/web/response.rs";
    section = "../../examples/http/web/section.rs";
}

use super::Outcomes;
use super::choices::Choices;
use super::codec::{Read, check_decoder_by};
use codec::{Event, Http};
use polyserve::codec::{DecodeError, Decoded, Decoder, OwnedFrames};
use std::time::UNIX_EPOCH;

pub(crate) const MUST_REACH: &[&str] =
    &["clean end", "truncated", "other", "head", "several heads", "body", "chunked body"];

/// A head in words, or a part of a body.
#[derive(Debug, PartialEq)]
enum Owned {
    Head { words: String, body: head::BodyLength },
    Body { bytes: Vec<u8>, last: bool },
}

struct Events(Http);

impl Decoder for Events {
    type Frame<'a> = Event<'a>;

    fn decode<'a>(&mut self, input: &'a [u8]) -> Result<Decoded<Event<'a>>, DecodeError> {
        self.0.decode(input)
    }

    fn decode_eof<'a>(&mut self, rest: &'a [u8]) -> Result<Option<Event<'a>>, DecodeError> {
        self.0.decode_eof(rest)
    }
}

impl OwnedFrames for Events {
    type Owned = Owned;

    fn to_owned(event: Event<'_>) -> Owned {
        match event {
            Event::Head(head) => Owned::Head { words: format!("{head:?}"), body: head.body },
            Event::Body { piece, last } => Owned::Body { bytes: piece.to_vec(), last },
        }
    }
}

/// Four lengths of pieces, then the stream.
pub(crate) fn target(data: &[u8]) -> Outcomes {
    let mut choices = Choices::new(data);
    let pieces = choices.pieces();
    let stream = choices.rest();
    let make = || Events(Http::new(date::Clock::Fixed(UNIX_EPOCH)));
    let (messages, end) = check_decoder_by(make, stream, &pieces, messages);
    let mut outcomes = Outcomes::from([end.err().unwrap_or("clean end")]);
    let heads = messages.iter().filter(|message| matches!(message, Owned::Head { .. }));
    match heads.count() {
        0 => (),
        1 => drop(outcomes.insert("head")),
        _ => drop(outcomes.insert("several heads")),
    }
    let mut expected = None;
    for message in &messages {
        match message {
            Owned::Head { body, .. } => {
                assert_eq!(expected, None, "a head within a body");
                expected = Some(*body).filter(|body| *body != head::BodyLength::None);
            }
            Owned::Body { bytes, last } => {
                match expected.expect("a body belongs to a head") {
                    head::BodyLength::Sized(length) if *last => {
                        assert_eq!(bytes.len() as u64, length);
                        outcomes.insert("body");
                    }
                    head::BodyLength::Sized(length) => assert!((bytes.len() as u64) < length),
                    _ if *last => drop(outcomes.insert("chunked body")),
                    _ => (),
                }
                expected = expected.filter(|_| !*last);
            }
        }
    }
    assert!(expected.is_none() || end.is_err(), "a body without its end is a clean end");
    outcomes
}

/// Puts the parts of each body together.
fn messages(read: Read<Owned>) -> (Vec<Owned>, Result<(), &'static str>) {
    let mut messages: Vec<Owned> = Vec::new();
    for part in read.frames {
        match (messages.last_mut(), part) {
            (
                Some(Owned::Body { bytes, last: last @ false }),
                Owned::Body { bytes: more, last: ended },
            ) => {
                bytes.extend(more);
                *last = ended;
            }
            // Only what surrounds the body has come.
            (_, Owned::Body { bytes, last: false }) if bytes.is_empty() => (),
            (_, part) => messages.push(part),
        }
    }
    (messages, read.end)
}
