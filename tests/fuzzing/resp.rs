//! The requests of Redis' protocol, as the example `kv` reads them.

// The parts of the example that read bytes, under the names by which they know each other.
#[path = "../../examples/kv/resp/inline.rs"]
mod inline;
#[path = "../../examples/kv/resp/reply.rs"]
#[allow(dead_code)] // requests are read here, and hardly any replies written
mod reply;
#[path = "../../examples/kv/resp/request.rs"]
#[allow(dead_code)]
mod request;

use super::Outcomes;
use super::choices::Choices;
use super::codec::check_decoder;
use polyserve::codec::{DecodeError, Decoded, Decoder, OwnedFrames};

pub(crate) const MUST_REACH: &[&str] = &[
    "frame",
    "several frames",
    "clean end",
    "truncated",
    "other",
    "several arguments",
    "round trip",
];

/// The codec, as the example has it.
#[derive(Debug, Default)]
struct Resp {
    progress: request::Progress,
}

/// Its requests, as lists of arguments.
#[derive(Default)]
struct Requests(Resp);

impl Decoder for Requests {
    type Frame<'a> = request::Args<'a>;

    fn decode<'a>(&mut self, input: &'a [u8]) -> Result<Decoded<Self::Frame<'a>>, DecodeError> {
        self.0.decode(input)
    }

    fn decode_eof<'a>(&mut self, rest: &'a [u8]) -> Result<Option<Self::Frame<'a>>, DecodeError> {
        self.0.decode_eof(rest)
    }
}

impl OwnedFrames for Requests {
    type Owned = Vec<Vec<u8>>;

    fn to_owned(args: request::Args<'_>) -> Vec<Vec<u8>> {
        args.from(0).map(<[u8]>::to_vec).collect()
    }
}

/// Four lengths of pieces, then the stream.
pub(crate) fn target(data: &[u8]) -> Outcomes {
    let mut choices = Choices::new(data);
    let pieces = choices.pieces();
    let stream = choices.rest();
    let mut outcomes = Outcomes::new();
    let read = check_decoder(Requests::default, stream, &pieces);
    read.note(&mut outcomes);
    // Whatever was asked for, in whichever way, can be asked for as an array.
    let requests: Vec<_> = read.frames.into_iter().filter(|args| !args.is_empty()).collect();
    if requests.iter().any(|args| args.len() > 2) {
        outcomes.insert("several arguments");
    }
    let mut wire = Vec::new();
    for args in &requests {
        let args = args.iter().map(reply::Reply::bulk);
        reply::Reply::array(args).write(&mut wire);
    }
    let again = check_decoder(Requests::default, &wire, &pieces);
    assert_eq!((again.frames, again.end), (requests, Ok(())));
    if !wire.is_empty() {
        outcomes.insert("round trip");
    }
    outcomes
}
