//! Events in words, without a byte that a peer has chosen.
//!
//! A peer chooses what it sends, and errors, panics and reasons may repeat that; and on a Unix
//! socket it chooses its own name. Whoever reads a log must not be deceived by either.

use crate::addr::Addr;
use crate::codec::DecodeError;
use crate::handler::{CloseReason, Peer};
use std::borrow::Cow;
use std::fmt;

/// A peer: its IP address and port, or the process at the other end of a Unix socket.
pub(super) struct Who<'a>(pub(super) &'a Peer);

impl fmt::Display for Who<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.0.addr(), self.0.credentials()) {
            (Addr::Tcp(addr), _) => addr.fmt(f),
            (Addr::Unix(_), Some(who)) => write!(f, "unix:pid={}", who.pid),
            (Addr::Unix(_), None) => f.write_str("unix:"),
        }
    }
}

/// A reason: as it prints itself, but for what a layer above or a codec of a user has to say.
pub(super) struct Why<'a>(pub(super) &'a CloseReason);

impl fmt::Display for Why<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            CloseReason::Handler(_) => f.write_str("the handler failed"),
            CloseReason::Panic(_) => f.write_str("the handler panicked"),
            CloseReason::Layer(_) => f.write_str("a layer failed"),
            CloseReason::Decode(error) if repeats_nothing(error) => self.0.fmt(f),
            CloseReason::Decode(_) => f.write_str("the peer broke the protocol"),
            reason => reason.fmt(f),
        }
    }
}

/// Whether the text of an error is made of numbers and of what stands in the program.
fn repeats_nothing(error: &DecodeError) -> bool {
    match error {
        DecodeError::Other(_) => false,
        DecodeError::Malformed { problem } => matches!(problem, Cow::Borrowed(_)),
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::addr::UnixName;

    #[test]
    fn texts_that_a_peer_may_have_chosen_are_left_out() {
        let said = || "MARKER".to_owned();
        let reasons = [
            CloseReason::Handler(said().into()),
            CloseReason::Panic(said()),
            CloseReason::Layer(said().into()),
            CloseReason::Decode(DecodeError::malformed(said())),
            CloseReason::Decode(DecodeError::other(said())),
        ];
        for reason in reasons {
            assert!(reason.to_string().contains("MARKER"), "{reason:?}");
            assert!(!Why(&reason).to_string().contains("MARKER"), "{reason:?}");
        }
        let named = UnixName::Path("/MARKER".into());
        assert_eq!(Who(&Peer::new(Addr::Unix(named))).to_string(), "unix:");
    }

    #[test]
    fn the_others_are_told_in_full() {
        let known = CloseReason::Decode(DecodeError::malformed("no digit"));
        assert_eq!(Why(&known).to_string(), known.to_string());
        let limit = CloseReason::InputLimit { wanted: 2, limit: 1 };
        assert_eq!(Why(&limit).to_string(), limit.to_string());
    }
}
