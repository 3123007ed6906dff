//! The laws by name.

use std::fmt;

/// What every codec must keep: see [`CodecLaws`](super::CodecLaws).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Law {
    /// What was encoded is decoded to what it was, nothing more, nothing less.
    RoundTrip,
    /// What was encoded is not refused by the decoder.
    NotRefused,
    /// The encoder appends to what is there, and writes nothing of a message that it refuses.
    OnlyAppends,
    /// The frames, and whether the stream is refused, do not depend on how the bytes were cut.
    AnyCut,
    /// The same bytes, shown again, mean the same.
    AskedAgain,
    /// A frame takes at least one byte, and at most those that are there.
    Consumed,
    /// A decoder does not ask for more than the longest frame has, nor for more than this frame turns
    /// out to have: a peer that waits for its reply would send no more.
    Need,
    /// What was refused stays refused, whatever comes behind it.
    Final,
    /// Bytes that are left when the stream ends are a frame or an error; they are not forgotten.
    Truncated,
    /// Nothing panics.
    NoPanic,
}

impl fmt::Display for Law {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Law::RoundTrip => "what is encoded is decoded to what it was",
            Law::NotRefused => "what is encoded is not refused",
            Law::OnlyAppends => "an encoder appends whole messages, or nothing",
            Law::AnyCut => "the result does not depend on how the bytes are cut",
            Law::AskedAgain => "the same bytes mean the same when they are shown again",
            Law::Consumed => "a frame takes at least one byte, and at most all",
            Law::Need => "a decoder asks for no more than the frame has",
            Law::Final => "what was refused stays refused",
            Law::Truncated => "bytes at the end of the stream are not forgotten",
            Law::NoPanic => "nothing panics",
        })
    }
}

/// A law that a codec does not keep, and what showed it.
#[derive(Clone, PartialEq, Eq)]
pub struct BrokenLaw {
    law: Law,
    evidence: String,
}

impl BrokenLaw {
    pub(super) fn new(law: Law, evidence: impl Into<String>) -> Self {
        Self { law, evidence: evidence.into() }
    }

    /// Which law.
    pub fn law(&self) -> Law {
        self.law
    }
}

impl fmt::Display for BrokenLaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} ({}) does not hold: {}", self.law, self.law, self.evidence)
    }
}

/// As [`Display`](fmt::Display), because that is what `unwrap` shows.
impl fmt::Debug for BrokenLaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::error::Error for BrokenLaw {}

/// Bytes as text, and not too much of it.
pub(super) fn shown(bytes: &[u8]) -> String {
    const MOST: usize = 200;
    let part = &bytes[..bytes.len().min(MOST)];
    let more =
        if bytes.len() > MOST { format!(".. ({} bytes)", bytes.len()) } else { String::new() };
    format!("\"{}\"{more}", part.escape_ascii())
}
