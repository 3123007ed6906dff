//! One stream of bytes, played to one decoder.

use super::law::{BrokenLaw, Law, shown};
use crate::codec::{DecodeError, Decoded, OwnedFrames};
use crate::connection::panic_message;
use std::fmt;
use std::mem::{Discriminant, discriminant};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// When a decoder is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asking {
    /// At each piece, whatever it said that it needs.
    AtEachPiece,
    /// At each piece, and if it has no frame, once more.
    Twice,
    /// When what it needs is there, and at the end, as a server does.
    AsNeeded,
}

/// What became of a stream.
pub(super) struct Outcome<F> {
    pub(super) frames: Vec<F>,
    /// How many of them had come before the end of the stream was told.
    pub(super) before_end: usize,
    pub(super) refused: Option<Refused>,
}

/// That a stream was refused.
pub(super) struct Refused {
    kind: Discriminant<DecodeError>,
    pub(super) text: String,
    /// How much of the stream had come; `None` if it was refused because it ended.
    pub(super) at: Option<usize>,
}

impl Refused {
    fn new(error: &DecodeError, at: Option<usize>) -> Self {
        Self { kind: discriminant(error), text: error.to_string(), at }
    }
}

impl<F: PartialEq> Outcome<F> {
    /// Whether it means the same to a peer.
    pub(super) fn is_like(&self, other: &Self) -> bool {
        let kind = |outcome: &Self| outcome.refused.as_ref().map(|refused| refused.kind);
        self.frames == other.frames && kind(self) == kind(other)
    }
}

impl<F: fmt::Debug> fmt::Display for Outcome<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let frames = format!("{:?}", self.frames);
        write!(f, "{}", shown(frames.as_bytes()))?;
        match &self.refused {
            Some(refused) => write!(f, ", then \"{}\"", refused.text),
            None => write!(f, ", then the end"),
        }
    }
}

/// A decoder in the middle of a stream.
pub(super) struct Play<'a, D: OwnedFrames> {
    decoder: D,
    asking: Asking,
    max_frame: usize,
    input: &'a [u8],
    /// How much of the input was consumed.
    start: usize,
    /// The most bytes that the decoder said it needs for the frame that begins there.
    need: usize,
    frames: Vec<D::Owned>,
}

impl<'a, D: OwnedFrames> Play<'a, D> {
    pub(super) fn new(decoder: D, asking: Asking, max_frame: usize, input: &'a [u8]) -> Self {
        Self { decoder, asking, max_frame, input, start: 0, need: 0, frames: Vec::new() }
    }

    /// Plays the pieces that end at `ends`, and the end of the stream.
    pub(super) fn run(mut self, ends: &[usize]) -> Result<Outcome<D::Owned>, BrokenLaw> {
        for end in ends {
            if self.asking == Asking::AsNeeded && end - self.start < self.need {
                continue;
            }
            if let Some(refused) = self.take_frames(*end)? {
                return Ok(self.outcome_before_end(Some(refused)));
            }
        }
        let before_end = self.frames.len();
        if self.asking == Asking::AsNeeded {
            if let Some(refused) = self.take_frames(self.input.len())? {
                return Ok(Outcome { before_end, ..self.outcome_before_end(Some(refused)) });
            }
        }
        let refused = self.end_of_stream()?;
        Ok(Outcome { before_end, ..self.outcome_before_end(refused) })
    }

    fn outcome_before_end(self, refused: Option<Refused>) -> Outcome<D::Owned> {
        Outcome { before_end: self.frames.len(), frames: self.frames, refused }
    }

    /// Asks for frames until there is none in the first `end` bytes.
    fn take_frames(&mut self, end: usize) -> Result<Option<Refused>, BrokenLaw> {
        while self.start < end {
            match self.ask(end)? {
                Ok(Some(())) => (),
                Ok(None) => {
                    self.ask_twice(end)?;
                    return Ok(None);
                }
                Err(error) => {
                    if self.ask(end)?.is_ok() {
                        let told = format!("asked again, it takes what it refused: {error}");
                        return Err(self.broken(Law::Final, end, &told));
                    }
                    return Ok(Some(Refused::new(&error, Some(end))));
                }
            }
        }
        Ok(None)
    }

    fn ask_twice(&mut self, end: usize) -> Result<(), BrokenLaw> {
        if self.asking == Asking::Twice && !matches!(self.ask(end)?, Ok(None)) {
            return Err(self.broken(
                Law::AskedAgain,
                end,
                "there was no frame when it was first asked",
            ));
        }
        Ok(())
    }

    /// Asks for one frame in the first `end` bytes, and keeps it.
    fn ask(&mut self, end: usize) -> Result<Result<Option<()>, DecodeError>, BrokenLaw> {
        let held = &self.input[self.start..end];
        let decoder = &mut self.decoder;
        let asked = catch_unwind(AssertUnwindSafe(|| match decoder.decode(held)? {
            Decoded::Frame { frame, consumed } => Ok(Ok((D::to_owned(frame), consumed))),
            Decoded::Incomplete { need } => Ok(Err(need)),
        }));
        match asked {
            Err(payload) => Err(self.broken(Law::NoPanic, end, &panic_message(payload))),
            Ok(Err(error)) => Ok(Err(error)),
            Ok(Ok(Ok((frame, consumed)))) => self.keep(frame, consumed, end).map(|()| Ok(Some(()))),
            Ok(Ok(Err(need))) => self.note_need(need, end).map(|()| Ok(None)),
        }
    }

    fn keep(&mut self, frame: D::Owned, consumed: usize, end: usize) -> Result<(), BrokenLaw> {
        let held = end - self.start;
        if consumed == 0 || consumed > held {
            let told = format!("a frame took {consumed} of {held} bytes");
            return Err(self.broken(Law::Consumed, end, &told));
        }
        if self.need > consumed {
            let told = format!("it asked for {} bytes, and the frame has {consumed}", self.need);
            return Err(self.broken(Law::Need, end, &told));
        }
        self.frames.push(frame);
        self.start += consumed;
        self.need = 0;
        Ok(())
    }

    fn note_need(&mut self, need: usize, end: usize) -> Result<(), BrokenLaw> {
        // A number that is there already means one byte more.
        self.need = need.max(end - self.start + 1);
        if self.need > self.max_frame {
            let told = format!(
                "it asks for {} bytes, and a frame has at most {}",
                self.need, self.max_frame
            );
            return Err(self.broken(Law::Need, end, &told));
        }
        Ok(())
    }

    fn end_of_stream(&mut self) -> Result<Option<Refused>, BrokenLaw> {
        let rest = &self.input[self.start..];
        let decoder = &mut self.decoder;
        let ended =
            catch_unwind(AssertUnwindSafe(|| decoder.decode_eof(rest).map(|f| f.map(D::to_owned))));
        let end = self.input.len();
        match ended {
            Err(payload) => Err(self.broken(Law::NoPanic, end, &panic_message(payload))),
            Ok(Err(error)) => Ok(Some(Refused::new(&error, None))),
            Ok(Ok(Some(frame))) => {
                self.frames.push(frame);
                Ok(None)
            }
            Ok(Ok(None)) if rest.is_empty() => Ok(None),
            Ok(Ok(None)) => {
                let told = format!("the stream ended with {} bytes that are no frame", rest.len());
                Err(self.broken(Law::Truncated, end, &told))
            }
        }
    }

    fn broken(&self, law: Law, end: usize, told: &str) -> BrokenLaw {
        let (before, held) = (self.frames.len(), &self.input[self.start..end]);
        BrokenLaw::new(law, format!("{told}; it held {}, after {before} frames", shown(held)))
    }
}
