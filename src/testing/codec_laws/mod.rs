//! What every codec must keep, held against one of yours.

mod cuts;
mod law;
mod play;

pub use law::{BrokenLaw, Law};

use crate::codec::{Encoder, OwnedFrames};
use crate::connection::{Limits, panic_message};
use law::shown;
use play::{Asking, Outcome, Play};
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// In how many places a stream of messages is broken off, at most.
const BREAKS: usize = 256;

/// Holds a decoder, and the encoder of the other side, against what a codec must keep: each [`Law`]
/// has a name.
///
/// Messages and bytes come from you. A property test is the best source: a generator for messages,
/// one for bytes that nobody would send in good faith, and both checks.
///
/// ```
/// use polyserve::codec::{DecodeError, Decoded, Decoder, EncodeError, Encoder, OwnedFrames};
/// use polyserve::testing::{BrokenLaw, CodecLaws};
///
/// /// Digits, then a semicolon, as in `12;7;`. At most four digits.
/// #[derive(Clone)]
/// struct Numbers;
///
/// impl Decoder for Numbers {
///     type Frame<'a> = u16;
///
///     fn decode(&mut self, input: &[u8]) -> Result<Decoded<u16>, DecodeError> {
///         let digits = input.iter().take_while(|b| b.is_ascii_digit()).count();
///         let number = std::str::from_utf8(&input[..digits.min(4)]).map(str::parse);
///         match (input.get(digits), number) {
///             (None, _) if digits <= 4 => Ok(Decoded::Incomplete { need: digits + 1 }),
///             (Some(b';'), Ok(Ok(frame))) if digits <= 4 => {
///                 Ok(Decoded::Frame { frame, consumed: digits + 1 })
///             }
///             _ => Err(DecodeError::malformed("not 1 to 4 digits and a semicolon")),
///         }
///     }
/// }
///
/// impl Encoder for Numbers {
///     type Message<'a> = u16;
///
///     fn encode(&mut self, number: u16, out: &mut Vec<u8>) -> Result<(), EncodeError> {
///         if number > 9999 {
///             return Err(EncodeError::invalid("more than four digits"));
///         }
///         out.extend(format!("{number};").bytes());
///         Ok(())
///     }
/// }
///
/// impl OwnedFrames for Numbers {
///     type Owned = u16;
///
///     fn to_owned(frame: u16) -> u16 {
///         frame
///     }
/// }
///
/// let laws = CodecLaws::new(Numbers).max_frame(5);
/// let n_written = laws.check_messages(&[0, 12, 9999, 10_000, 7], |number| *number)?;
/// assert_eq!(n_written, 4);
/// for bytes in [&b"1;22;"[..], b"12345;", b";", b"-1;", b"1", b"\xff\x00"] {
///     laws.check_bytes(bytes)?;
/// }
/// # Ok::<(), BrokenLaw>(())
/// ```
///
/// What it can not see from outside: how much a decoder allocates, and how often it looks at the
/// same bytes.
pub struct CodecLaws<D> {
    decoder: D,
    max_frame: usize,
}

impl<D> CodecLaws<D>
where
    D: OwnedFrames + Clone,
    D::Owned: PartialEq + fmt::Debug,
{
    /// The laws for this decoder, of which every check takes clones. It has seen nothing yet.
    pub fn new(decoder: D) -> Self {
        Self { decoder, max_frame: Limits::default().input }
    }

    /// Sets the most bytes that a frame may have, with all that belongs to it: header, delimiter.
    /// The decoder must not ask for more. Default: 1 MiB and 64 KiB, what a
    /// [server](crate::Limits::input) holds.
    #[must_use]
    pub fn max_frame(mut self, bytes: usize) -> Self {
        self.max_frame = bytes;
        self
    }

    /// Checks what holds for any bytes that a peer may send: they are cut byte by byte, into two and
    /// irregularly, and the decoder is asked at each piece, twice, and when what it needs is there.
    ///
    /// Up to 64 bytes are cut into two in every place; the irregular cuts depend on nothing but the
    /// bytes.
    ///
    /// # Errors
    /// The first law that was found not to hold.
    pub fn check_bytes(&self, bytes: &[u8]) -> Result<(), BrokenLaw> {
        let whole = self.play(bytes, &[bytes.len()], Asking::AtEachPiece)?;
        for ends in cuts::ways(bytes) {
            for (asking, law) in [
                (Asking::AtEachPiece, Law::AnyCut),
                (Asking::Twice, Law::AskedAgain),
                (Asking::AsNeeded, Law::Need),
            ] {
                let outcome = self.play(bytes, &ends, asking)?;
                let early = law != Law::Need || outcome.before_end == whole.before_end;
                if !(outcome.is_like(&whole) && early) {
                    let pieces = shown(format!("{ends:?}").as_bytes());
                    return Err(BrokenLaw::new(
                        law,
                        format!(
                            "{} as a whole is {whole}; in pieces that end at {pieces}, {outcome}",
                            shown(bytes)
                        ),
                    ));
                }
            }
        }
        self.check_final(bytes)
    }

    /// Nothing that comes behind what was refused makes a frame of it.
    fn check_final(&self, bytes: &[u8]) -> Result<(), BrokenLaw> {
        let byte_by_byte: Vec<_> = (1..=bytes.len()).collect();
        let first = self.play(bytes, &byte_by_byte, Asking::AtEachPiece)?;
        let Some(at) = first.refused.as_ref().and_then(|refused| refused.at) else { return Ok(()) };
        for more in [&b"\0"[..], b"\n", b"\r\n", b"\xff\xff\xff\xff", b"0123456789", bytes] {
            let longer = [&bytes[..at], more].concat();
            let outcome = self.play(&longer, &[longer.len()], Asking::AtEachPiece)?;
            if !outcome.is_like(&first) {
                let (before, after) = (shown(&bytes[..at]), shown(&longer));
                let told = format!("{before} is {first}; {after} is {outcome}");
                return Err(BrokenLaw::new(Law::Final, told));
            }
        }
        Ok(())
    }

    /// Checks a codec whose frames are its messages: see [`check_written_by`](Self::check_written_by).
    ///
    /// `lend` makes a message of what the decoder's owned frames are, for example
    /// `|text| text.as_str()`.
    ///
    /// # Errors
    /// The first law that was found not to hold.
    pub fn check_messages(
        &self,
        messages: &[D::Owned],
        lend: impl for<'a> Fn(&'a D::Owned) -> D::Message<'a>,
    ) -> Result<usize, BrokenLaw>
    where
        D: Encoder,
    {
        self.check_written_by(&self.decoder, messages, lend)
    }

    /// Checks what holds for messages that the encoder of the other side writes: a client's requests
    /// for the decoder of a server. All are written to one stream, which is decoded as a whole, and
    /// as [`check_bytes`](Self::check_bytes) does, and broken off at up to 256 places.
    ///
    /// Messages that the encoder refuses are left out. Returns the number of those that it wrote.
    ///
    /// # Errors
    /// The first law that was found not to hold.
    pub fn check_written_by<E: Encoder + Clone>(
        &self,
        encoder: &E,
        messages: &[D::Owned],
        lend: impl for<'a> Fn(&'a D::Owned) -> E::Message<'a>,
    ) -> Result<usize, BrokenLaw> {
        let mut encoder = encoder.clone();
        let mut stream = Stream { bytes: Vec::new(), messages: Vec::new(), ends: Vec::new() };
        for message in messages {
            stream.write(message, |out| encoder.encode(lend(message), out))?;
        }
        let whole = self.play(&stream.bytes, &[stream.bytes.len()], Asking::AtEachPiece)?;
        stream.check_outcome(&whole)?;
        self.check_bytes(&stream.bytes)?;
        self.check_breaks(&stream)?;
        Ok(stream.messages.len())
    }

    /// A stream that ends early has the messages that are whole, and does not forget the last.
    fn check_breaks(&self, stream: &Stream<'_, D::Owned>) -> Result<(), BrokenLaw> {
        let len = stream.bytes.len();
        let mut random = cuts::Random::of(&stream.bytes);
        let places: Vec<_> = match len <= BREAKS {
            true => (0..len).collect(),
            false => (0..BREAKS).map(|_| random.below(len)).collect(),
        };
        for at in places {
            let part = &stream.bytes[..at];
            let outcome = self.play(part, &[at], Asking::AtEachPiece)?;
            let n_whole = stream.ends.iter().filter(|end| **end <= at).count();
            let begins_like_it =
                outcome.frames.iter().zip(&stream.messages).take(n_whole).all(|(a, b)| a == *b);
            if outcome.before_end != n_whole || !begins_like_it {
                let told =
                    format!("{} has {n_whole} whole messages, and is {outcome}", shown(part));
                return Err(BrokenLaw::new(Law::AnyCut, told));
            }
        }
        Ok(())
    }

    fn play(
        &self,
        bytes: &[u8],
        ends: &[usize],
        asking: Asking,
    ) -> Result<Outcome<D::Owned>, BrokenLaw> {
        Play::new(self.decoder.clone(), asking, self.max_frame, bytes).run(ends)
    }
}

/// What an encoder wrote.
struct Stream<'a, M> {
    bytes: Vec<u8>,
    messages: Vec<&'a M>,
    /// Where each message ends.
    ends: Vec<usize>,
}

impl<'a, M: PartialEq + fmt::Debug> Stream<'a, M> {
    fn write<E>(
        &mut self,
        message: &'a M,
        encode: impl FnOnce(&mut Vec<u8>) -> Result<(), E>,
    ) -> Result<(), BrokenLaw> {
        let broken = |law, told: String| Err(BrokenLaw::new(law, format!("{message:?}: {told}")));
        let before = self.bytes.clone();
        let written = match catch_unwind(AssertUnwindSafe(|| encode(&mut self.bytes))) {
            Ok(written) => written,
            Err(payload) => return broken(Law::NoPanic, panic_message(payload)),
        };
        let now = &self.bytes;
        if written.is_err() && *now != before {
            return broken(Law::OnlyAppends, format!("refused, but the output is {}", shown(now)));
        }
        if !now.starts_with(&before) {
            return broken(Law::OnlyAppends, "what was there before has changed".to_owned());
        }
        if written.is_ok() {
            self.messages.push(message);
            self.ends.push(now.len());
        }
        Ok(())
    }

    /// The stream, decoded as a whole, is what was written.
    fn check_outcome(&self, outcome: &Outcome<M>) -> Result<(), BrokenLaw> {
        let broken = |law| {
            let messages = shown(format!("{:?}", self.messages).as_bytes());
            let told =
                format!("{messages} is written as {}, and read as {outcome}", shown(&self.bytes));
            Err(BrokenLaw::new(law, told))
        };
        if outcome.refused.as_ref().is_some_and(|refused| refused.at.is_some()) {
            return broken(Law::NotRefused);
        }
        if outcome.refused.is_some() || !outcome.frames.iter().eq(self.messages.iter().copied()) {
            return broken(Law::RoundTrip);
        }
        Ok(())
    }
}

impl<D: fmt::Debug> fmt::Debug for CodecLaws<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CodecLaws")
            .field("decoder", &self.decoder)
            .field("max_frame", &self.max_frame)
            .finish()
    }
}
