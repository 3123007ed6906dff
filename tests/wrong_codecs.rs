//! Codecs that are wrong on purpose: each is caught, and by the law that it breaks.

use polyserve::codec::{DecodeError, Decoded, Decoder, EncodeError, Encoder, OwnedFrames};
use polyserve::testing::{BrokenLaw, CodecLaws, Law};

/// What the decoder of frames that end with CRLF does wrong. A frame has at most eight bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Decoding {
    Right,
    /// It looks for the delimiter in what is new only, and misses one that was cut.
    ForgetsTheCut,
    /// It takes what came in one piece for a frame.
    TrustsPieces,
    /// It takes the absence of new bytes for an error.
    CountsCalls,
    /// It consumes a delimiter that is not there.
    TakesTooMuch,
    /// It consumes nothing for an empty frame.
    TakesNothing,
    /// It asks for the longest frame, always.
    AsksForTheLongest,
    /// It has no limit.
    Endless,
    /// It refuses a CR, until it has seen the LF.
    IsHasty,
    /// It takes up what it refused, as if nothing had been.
    ChangesItsMind,
    /// It drops what is left at the end.
    DropsTheRest,
    /// It looks at a byte that need not be there.
    ReadsBeyond,
}

/// What the encoder does wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Encoding {
    Right,
    LowerCase,
    NoLimit,
    ForgetsTheEnd,
    LeavesAPart,
    ClearsTheOutput,
    Panics,
}

#[derive(Debug, Clone)]
struct Frames {
    decoding: Decoding,
    encoding: Encoding,
    seen: usize,
    refused: bool,
}

const MAX: usize = 8;

fn decoder(decoding: Decoding) -> Frames {
    Frames { decoding, encoding: Encoding::Right, seen: 0, refused: false }
}

fn encoder(encoding: Encoding) -> Frames {
    Frames { encoding, ..decoder(Decoding::Right) }
}

fn too_long(got: usize) -> DecodeError {
    DecodeError::TooLong { got: got as u64, max: MAX }
}

impl Frames {
    /// The right way.
    fn frame(input: &[u8], from: usize, max: usize) -> Result<Decoded<&[u8]>, DecodeError> {
        let end = input[from..].windows(2).position(|pair| pair == b"\r\n").map(|at| from + at);
        match end {
            Some(end) if end <= max => {
                Ok(Decoded::Frame { frame: &input[..end], consumed: end + 2 })
            }
            None if input.len() <= max || input.len() == max + 1 && input.ends_with(b"\r") => {
                Ok(Decoded::Incomplete { need: input.len() + 1 })
            }
            _ => Err(too_long(max + 1)),
        }
    }
}

impl Decoder for Frames {
    type Frame<'a> = &'a [u8];

    fn decode<'a>(&mut self, input: &'a [u8]) -> Result<Decoded<&'a [u8]>, DecodeError> {
        let seen = std::mem::replace(&mut self.seen, input.len());
        let right = Self::frame(input, 0, MAX);
        match (self.decoding, &right) {
            (Decoding::ForgetsTheCut, _) => {
                let decoded = Self::frame(input, seen.min(input.len()), MAX);
                if let Ok(Decoded::Frame { .. }) = decoded {
                    self.seen = 0;
                }
                decoded
            }
            (Decoding::TrustsPieces, Ok(Decoded::Incomplete { .. })) if input.len() > 2 => {
                Ok(Decoded::Frame { frame: input, consumed: input.len() })
            }
            (Decoding::CountsCalls, Ok(Decoded::Incomplete { .. })) if seen == input.len() => {
                Err(DecodeError::malformed("nothing has come"))
            }
            (Decoding::CountsCalls, Ok(Decoded::Frame { .. })) => {
                self.seen = 0;
                right
            }
            (Decoding::TakesTooMuch, Ok(Decoded::Frame { frame, consumed })) => {
                Ok(Decoded::Frame { frame, consumed: consumed + 2 })
            }
            (Decoding::TakesNothing, Ok(Decoded::Frame { frame: frame @ [], .. })) => {
                Ok(Decoded::Frame { frame, consumed: 0 })
            }
            (Decoding::AsksForTheLongest, Ok(Decoded::Incomplete { .. })) => {
                Ok(Decoded::Incomplete { need: MAX + 2 })
            }
            (Decoding::Endless, _) => Self::frame(input, 0, usize::MAX - 2),
            (Decoding::IsHasty, _) if input.ends_with(b"\r") => {
                Err(DecodeError::malformed("a CR without an LF"))
            }
            (Decoding::ChangesItsMind, Err(_)) => {
                match std::mem::replace(&mut self.refused, true) {
                    true => Ok(Decoded::Frame { frame: input, consumed: input.len() }),
                    false => right,
                }
            }
            (Decoding::ReadsBeyond, Ok(Decoded::Incomplete { .. })) if input[1] == b'\n' => right,
            _ => right,
        }
    }

    fn decode_eof<'a>(&mut self, rest: &'a [u8]) -> Result<Option<&'a [u8]>, DecodeError> {
        match rest.len() {
            0 => Ok(None),
            _ if self.decoding == Decoding::DropsTheRest => Ok(None),
            got => Err(DecodeError::Truncated { got }),
        }
    }
}

impl Encoder for Frames {
    type Message<'a> = &'a [u8];

    fn encode(&mut self, message: &[u8], out: &mut Vec<u8>) -> Result<(), EncodeError> {
        match self.encoding {
            Encoding::ClearsTheOutput => out.clear(),
            Encoding::LeavesAPart => out.extend(message),
            Encoding::Panics => assert!(message.len() < MAX, "no room for {}", message.len()),
            _ => (),
        }
        if message.windows(2).any(|pair| pair == b"\r\n") || message.ends_with(b"\r") {
            return Err(EncodeError::invalid("it holds what ends a frame"));
        }
        if message.len() > MAX && self.encoding != Encoding::NoLimit {
            return Err(EncodeError::TooLong { got: message.len(), max: MAX });
        }
        match self.encoding {
            Encoding::LowerCase => out.extend(message.to_ascii_lowercase()),
            Encoding::LeavesAPart => (),
            _ => out.extend(message),
        }
        if self.encoding != Encoding::ForgetsTheEnd {
            out.extend(b"\r\n");
        }
        Ok(())
    }
}

impl OwnedFrames for Frames {
    type Owned = Vec<u8>;

    fn to_owned(frame: &[u8]) -> Vec<u8> {
        frame.into()
    }
}

/// What a test of a codec would give: messages, and bytes that a peer may send.
fn check(codec: Frames) -> Result<usize, BrokenLaw> {
    let laws = CodecLaws::new(codec).max_frame(MAX + 2);
    let messages: [&[u8]; 5] = [b"One", b"two\n", b"eight by", b"nine byte", b"a\r\nb"];
    let n_written = laws.check_messages(&messages.map(<[u8]>::to_vec), |message| message)?;
    for bytes in
        [&b"one\r\n\r\ntwo\r\n"[..], b"two\r", b"ninebytes\r\n", b"xxxxxxxxxxxxx", b"", b"a\n\r"]
    {
        laws.check_bytes(bytes)?;
    }
    Ok(n_written)
}

#[track_caller]
fn caught(codec: Frames, law: Law) -> String {
    let wrong = format!("{codec:?}");
    let broken = check(codec).expect_err(&wrong);
    assert_eq!(broken.law(), law, "{wrong}: {broken}");
    broken.to_string()
}

#[test]
fn the_right_codec_keeps_every_law() {
    assert_eq!(check(decoder(Decoding::Right)).unwrap(), 3);
}

#[test]
fn a_wrong_decoder_is_caught_by_the_law_that_it_breaks() {
    for (decoding, law) in [
        (Decoding::ForgetsTheCut, Law::AnyCut),
        (Decoding::TrustsPieces, Law::AnyCut),
        (Decoding::CountsCalls, Law::AskedAgain),
        (Decoding::TakesTooMuch, Law::Consumed),
        (Decoding::TakesNothing, Law::Consumed),
        (Decoding::AsksForTheLongest, Law::Need),
        (Decoding::Endless, Law::Need),
        (Decoding::IsHasty, Law::AnyCut),
        (Decoding::ChangesItsMind, Law::Final),
        (Decoding::DropsTheRest, Law::Truncated),
        (Decoding::ReadsBeyond, Law::NoPanic),
    ] {
        caught(decoder(decoding), law);
    }
}

#[test]
fn a_wrong_encoder_is_caught_by_the_law_that_it_breaks() {
    for (encoding, law) in [
        (Encoding::LowerCase, Law::RoundTrip),
        (Encoding::ForgetsTheEnd, Law::NotRefused),
        (Encoding::NoLimit, Law::NotRefused),
        (Encoding::LeavesAPart, Law::OnlyAppends),
        (Encoding::ClearsTheOutput, Law::OnlyAppends),
        (Encoding::Panics, Law::NoPanic),
    ] {
        caught(encoder(encoding), law);
    }
}

#[test]
fn what_is_refused_too_early_breaks_the_law_of_finality() {
    let laws = CodecLaws::new(decoder(Decoding::IsHasty));
    assert_eq!(laws.check_bytes(b"a\r").unwrap_err().law(), Law::Final);
}

#[test]
fn a_broken_law_says_what_showed_it() {
    let text = caught(decoder(Decoding::TakesTooMuch), Law::Consumed);
    assert!(text.starts_with("Consumed (a frame takes at least one byte, and at most all) does not hold: a frame took"), "{text}");
    let broken = check(encoder(Encoding::LowerCase)).unwrap_err();
    assert_eq!(format!("{broken:?}"), broken.to_string());
    assert!(broken.to_string().contains("one\\r\\n"), "{broken}");
}
