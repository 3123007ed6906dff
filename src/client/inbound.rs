//! From received bytes to frames.

use super::error::ClientError;
use super::halves::ReadHalf;
use super::patience::Patience;
use crate::codec::{DecodeError, Decoded, Decoder};

/// How far the reading of frames has come.
#[derive(Debug, Default)]
pub(super) struct Inbound {
    /// Bytes that there must be before it is worth to look again.
    need: usize,
    end: End,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum End {
    #[default]
    Open,
    /// The peer has finished, between two frames.
    Clean,
    /// A decoder's error is final.
    Broken,
}

impl Inbound {
    /// Waits for the next frame, and shows it. `None` is the end of the stream.
    pub(super) fn next<C: Decoder, T>(
        &mut self,
        reader: &mut ReadHalf,
        codec: &mut C,
        mut patience: Patience,
        mut on_frame: impl FnOnce(C::Frame<'_>) -> T,
    ) -> Result<Option<T>, ClientError> {
        loop {
            on_frame = match self.look(reader, codec, on_frame)? {
                Ok(shown) => return Ok(Some(shown)),
                Err(not_called) => not_called,
            };
            if self.has_ended() || reader.fill(&mut patience)? == 0 {
                return self.last(reader, codec, on_frame);
            }
        }
    }

    /// Shows the frame that is there already. If there is none, the function comes back.
    pub(super) fn look<C: Decoder, T, F: FnOnce(C::Frame<'_>) -> T>(
        &mut self,
        reader: &mut ReadHalf,
        codec: &mut C,
        on_frame: F,
    ) -> Result<Result<T, F>, ClientError> {
        self.check(reader)?;
        reader.tidy();
        let (held, start) = reader.parts();
        let input = &held[*start..];
        if input.is_empty() || input.len() < self.need {
            return Ok(Err(on_frame));
        }
        let error = match codec.decode(input) {
            Ok(Decoded::Incomplete { need }) => {
                self.need = need.max(input.len() + 1);
                return Ok(Err(on_frame));
            }
            Ok(Decoded::Frame { frame, consumed }) => {
                let is_possible = (1..=input.len()).contains(&consumed);
                assert!(is_possible, "a decoder must consume some bytes of its input for a frame");
                // Before the call: a frame that was shown is used up, also if that panics.
                *start += consumed;
                self.need = 0;
                return Ok(Ok(on_frame(frame)));
            }
            Err(error) => error,
        };
        Err(self.refuse(reader, error))
    }

    /// Shows what the codec makes of the end of the stream. It is asked once.
    pub(super) fn last<C: Decoder, T>(
        &mut self,
        reader: &mut ReadHalf,
        codec: &mut C,
        on_frame: impl FnOnce(C::Frame<'_>) -> T,
    ) -> Result<Option<T>, ClientError> {
        self.check(reader)?;
        if std::mem::replace(&mut self.end, End::Clean) == End::Clean {
            return Ok(None);
        }
        let (held, start) = reader.parts();
        let rest = &held[*start..];
        let error = match codec.decode_eof(rest) {
            Ok(frame) => {
                *start = held.len();
                return Ok(frame.map(on_frame));
            }
            Err(error) => error,
        };
        Err(self.refuse(reader, error))
    }

    /// Whether the peer has finished.
    pub(super) fn has_ended(&self) -> bool {
        self.end != End::Open
    }

    /// A decoder must not be called again after an error.
    fn check(&self, reader: &ReadHalf) -> Result<(), ClientError> {
        match self.end {
            End::Broken => Err(ClientError::OutOfStep {
                peer: reader.peer_addr().clone(),
                problem: "an earlier frame could not be read",
            }),
            _ => Ok(()),
        }
    }

    fn refuse(&mut self, reader: &mut ReadHalf, source: DecodeError) -> ClientError {
        self.end = End::Broken;
        reader.has_failed = true;
        match source {
            DecodeError::Truncated { got } => reader.unexpected_eof(got, None),
            source => ClientError::Decode { peer: reader.peer_addr().clone(), source },
        }
    }
}
