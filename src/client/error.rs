//! What can go wrong, for whom, and in which phase.

use super::deadline::Deadline;
use crate::codec::{DecodeError, EncodeError};
use crate::net::{Addr, IoClass, io_class};
use std::fmt;
use std::io;
use std::time::Duration;
use thiserror::Error;

/// The part of a conversation in which something went wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Phase {
    /// Finding the addresses of a name.
    Resolve,
    /// Connecting to them.
    Connect,
    /// Waiting for a [`Pool`](super::Pool) to have a connection free.
    Acquire,
    /// Sending.
    Write,
    /// Waiting for the first byte of what is to be received.
    FirstByte,
    /// Waiting for the next byte of it.
    Idle,
    /// Receiving all of it.
    Read,
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Phase::Resolve => "resolving",
            Phase::Connect => "connecting",
            Phase::Acquire => "waiting for a free connection",
            Phase::Write => "writing",
            Phase::FirstByte => "waiting for the first byte",
            Phase::Idle => "waiting for the next byte",
            Phase::Read => "reading",
        })
    }
}

/// Why no connection came about.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// The text is no address. Nothing was tried.
    #[error("{given:?} is no address: {problem}; expected host:port, [ipv6]:port or unix:path")]
    BadAddress {
        /// The text.
        given: Box<str>,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// The resolver failed, or no thread could be started for it.
    #[error("cannot resolve {host}")]
    Lookup {
        /// The name that was looked up.
        host: Box<str>,
        /// What the resolver, or the system, said.
        source: io::Error,
    },
    /// The resolver did not come back within the
    /// [resolve time-out](super::ClientBuilder::resolve_timeout), or within the
    /// [connect time-out](super::ClientBuilder::connect_timeout) if that is shorter.
    #[error("no answer about {host} within {timeout:?} while resolving")]
    LookupTimedOut {
        /// The name that was looked up.
        host: Box<str>,
        /// The time-out that has passed.
        timeout: Duration,
    },
    /// So many lookups of this process are still under way that this one found no place within
    /// the [resolve time-out](super::ClientBuilder::resolve_timeout).
    #[error("no room to resolve {host} within {timeout:?}: {limit} lookups have not come back yet")]
    LookupsBusy {
        /// The name that was to be looked up.
        host: Box<str>,
        /// How many lookups there may be at once.
        limit: usize,
        /// The time-out that has passed.
        timeout: Duration,
    },
    /// The resolver knows the name, but no address of it.
    #[error("{host} has no address")]
    NoAddress {
        /// The name that was looked up.
        host: Box<str>,
    },
    /// None of the addresses could be connected to.
    #[error("cannot connect to {target}: {}", list(.target, .attempts))]
    Unreachable {
        /// Where to, as it was given.
        target: Box<str>,
        /// What each address answered, in the order in which they were tried.
        attempts: Box<[Attempt]>,
    },
}

/// One address that was tried in vain.
#[derive(Debug)]
pub struct Attempt {
    pub(super) addr: Addr,
    /// How long it was given. `None` is as long as the system tries.
    pub(super) timeout: Option<Duration>,
    pub(super) error: io::Error,
}

impl Attempt {
    /// The address.
    pub fn addr(&self) -> &Addr {
        &self.addr
    }

    /// What the system said. The kind is `TimedOut` if there was no answer.
    pub fn error(&self) -> &io::Error {
        &self.error
    }
}

/// The address, and what happened there.
impl fmt::Display for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.addr, self.outcome())
    }
}

impl Attempt {
    fn outcome(&self) -> String {
        match self.timeout {
            Some(timeout) if self.error.kind() == io::ErrorKind::TimedOut => {
                let millis = u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX);
                format!("no answer within {:?}", Duration::from_millis(millis))
            }
            _ => self.error.to_string(),
        }
    }
}

/// What happened at each address. One that is alone and was given as such is not named twice.
fn list(target: &str, attempts: &[Attempt]) -> String {
    match attempts {
        [only] if only.addr.to_string() == target => only.outcome(),
        _ => {
            let texts: Vec<String> = attempts.iter().map(Attempt::to_string).collect();
            texts.join(", ")
        }
    }
}

impl ConnectError {
    /// In which phase it happened. An address that could not be read counts as not resolved.
    pub fn phase(&self) -> Phase {
        match self {
            ConnectError::Unreachable { .. } => Phase::Connect,
            _ => Phase::Resolve,
        }
    }

    /// Whether more time could have helped: the resolver, or one of the addresses, did not answer
    /// within its share.
    pub fn is_timeout(&self) -> bool {
        match self {
            ConnectError::LookupTimedOut { .. } | ConnectError::LookupsBusy { .. } => true,
            ConnectError::Unreachable { attempts, .. } => {
                let mut kinds = attempts.iter().map(|attempt| attempt.error.kind());
                kinds.any(|kind| kind == io::ErrorKind::TimedOut)
            }
            _ => false,
        }
    }

    /// Whether the same call may succeed later without anybody changing it: a server that is not
    /// up yet, a network that is down. Not so for an address that is none, for missing
    /// permissions, or when this machine is out of ports or descriptors: trying again at once
    /// makes the latter worse.
    pub fn is_retryable(&self) -> bool {
        match self {
            ConnectError::BadAddress { .. } => false,
            ConnectError::Unreachable { attempts, .. } => {
                attempts.iter().any(|attempt| may_pass(attempt.error.kind()))
            }
            _ => true,
        }
    }

    /// What each address answered, in the order in which they were tried.
    pub fn attempts(&self) -> &[Attempt] {
        match self {
            ConnectError::Unreachable { attempts, .. } => attempts,
            _ => &[],
        }
    }

    fn kind(&self) -> io::ErrorKind {
        match self {
            _ if self.is_timeout() => io::ErrorKind::TimedOut,
            ConnectError::BadAddress { .. } => io::ErrorKind::InvalidInput,
            // A thread that cannot be started is told by the kind of a read that would wait.
            ConnectError::Lookup { source, .. } if source.kind() != io::ErrorKind::WouldBlock => {
                source.kind()
            }
            ConnectError::NoAddress { .. } => io::ErrorKind::NotFound,
            ConnectError::Unreachable { attempts, .. } => match attempts.last() {
                Some(attempt) => attempt.error.kind(),
                None => io::ErrorKind::Other,
            },
            _ => io::ErrorKind::Other,
        }
    }
}

/// The kinds of failed connects that pass by themselves. `NotFound` is a Unix socket whose server
/// has not made it yet.
fn may_pass(kind: io::ErrorKind) -> bool {
    use io::ErrorKind as K;
    matches!(
        kind,
        K::ConnectionRefused
            | K::ConnectionReset
            | K::ConnectionAborted
            | K::TimedOut
            | K::HostUnreachable
            | K::NetworkUnreachable
            | K::NetworkDown
            | K::NotFound
    )
}

impl From<ConnectError> for io::Error {
    fn from(error: ConnectError) -> Self {
        io::Error::new(error.kind(), error)
    }
}

/// Why a call on a connected client failed.
///
/// After an error of reading, what had come is not lost unless the variant says so: the next call
/// goes on after it. After a message that left only in part, nothing more can be sent.
///
/// Its text names the peer and what was being done. What the system or the codec said is its
/// [`source`](std::error::Error::source), which the text does not repeat: print the whole chain.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ClientError {
    /// There is no connection.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// One of the [time-outs](super#time-outs) has passed; the phase says which.
    #[error("no answer from {peer} within {timeout:?} while {phase}{}", progress(*.done, *.total))]
    TimedOut {
        /// The other end.
        peer: Addr,
        /// What the call was doing.
        phase: Phase,
        /// The time-out that has passed.
        timeout: Duration,
        /// Bytes that the call had moved by then.
        done: usize,
        /// Bytes that it was to move, where that is known.
        total: Option<usize>,
    },
    /// The connection broke while reading.
    #[error("cannot read from {peer}")]
    Read {
        /// The other end.
        peer: Addr,
        /// What the system said.
        source: io::Error,
    },
    /// The connection broke while writing.
    #[error("cannot {} {peer}{}", intent(*.total), progress(*.sent, (*.total > 0).then_some(*.total)))]
    Write {
        /// The other end.
        peer: Addr,
        /// Bytes that the system had taken. How many of them arrived is not known.
        sent: usize,
        /// Bytes that the call was to write. None, if it was to end the stream.
        total: usize,
        /// What the system said.
        source: io::Error,
    },
    /// The peer ended its stream in the middle of what was to be received.
    #[error("{peer} ended the stream after {got} bytes, expected {}", wanted(*.expected))]
    UnexpectedEof {
        /// The other end.
        peer: Addr,
        /// Bytes that came before the end.
        got: usize,
        /// Bytes that were to come, where that is known. It is not when a delimiter, or a frame,
        /// was waited for.
        expected: Option<usize>,
    },
    /// More came than the caller allows. The bytes are kept for the next call.
    #[error("a message from {peer} exceeds the limit of {max} bytes: {got} have come")]
    TooLong {
        /// The other end.
        peer: Addr,
        /// Bytes held by now.
        got: usize,
        /// The limit.
        max: usize,
    },
    /// An earlier call could hand over only a part of its bytes, so that whatever followed would
    /// be taken for the rest of them. Nothing was sent; reading still works.
    #[error("cannot write to {peer} after a message of which only {sent} of {total} bytes left")]
    Incomplete {
        /// The other end.
        peer: Addr,
        /// Bytes of the earlier message that left.
        sent: usize,
        /// Bytes that it had.
        total: usize,
    },
    /// The peer sent what is no frame. What follows it cannot be read.
    #[error("{peer} sent what is no frame")]
    Decode {
        /// The other end.
        peer: Addr,
        /// What the codec said.
        source: DecodeError,
    },
    /// The message cannot be written as a frame. Nothing of it was sent, and the connection is as
    /// it was.
    #[error("cannot encode a message to {peer}")]
    Encode {
        /// The other end.
        peer: Addr,
        /// What the codec said.
        source: EncodeError,
    },
    /// The next frame would not be what the call waits for, or there can be none. Nothing was
    /// sent; a new connection is needed.
    #[error("cannot go on with the connection to {peer}: {problem}")]
    OutOfStep {
        /// The other end.
        peer: Addr,
        /// What happened before.
        problem: &'static str,
    },
    /// All connections of a [`Pool`](super::Pool) were in use for all of the time. Nothing was
    /// sent.
    #[error("no connection to {target} was free within {timeout:?}: all {limit} are in use")]
    Exhausted {
        /// Where the pool connects to, as it was given.
        target: Box<str>,
        /// How many connections it may have.
        limit: usize,
        /// The [time-out](super::PoolBuilder::acquire_timeout) that has passed.
        timeout: Duration,
    },
}

fn progress(done: usize, total: Option<usize>) -> String {
    match total {
        Some(total) => format!(" ({done} of {total} bytes)"),
        None if done > 0 => format!(" ({done} bytes)"),
        None => String::new(),
    }
}

/// A half-close writes nothing.
fn intent(total: usize) -> &'static str {
    match total {
        0 => "end the stream to",
        _ => "write to",
    }
}

fn wanted(expected: Option<usize>) -> String {
    match expected {
        Some(n) => n.to_string(),
        None => "more".to_owned(),
    }
}

impl ClientError {
    pub(super) fn timed_out(
        phase: Phase,
        peer: &Addr,
        deadline: &Deadline,
        done: usize,
        total: Option<usize>,
    ) -> Self {
        ClientError::TimedOut {
            peer: peer.clone(),
            phase,
            timeout: deadline.timeout(),
            done,
            total,
        }
    }

    /// In which phase it happened.
    pub fn phase(&self) -> Phase {
        match self {
            ClientError::Connect(error) => error.phase(),
            ClientError::TimedOut { phase, .. } => *phase,
            ClientError::Write { .. }
            | ClientError::Incomplete { .. }
            | ClientError::Encode { .. }
            | ClientError::OutOfStep { .. } => Phase::Write,
            ClientError::Read { .. }
            | ClientError::UnexpectedEof { .. }
            | ClientError::TooLong { .. }
            | ClientError::Decode { .. } => Phase::Read,
            ClientError::Exhausted { .. } => Phase::Acquire,
        }
    }

    /// Whether a time-out ended the call: the client's own, or the system's, which gave up on a
    /// peer that acknowledged nothing.
    pub fn is_timeout(&self) -> bool {
        match self {
            ClientError::Connect(error) => error.is_timeout(),
            ClientError::TimedOut { .. } | ClientError::Exhausted { .. } => true,
            ClientError::Read { source, .. } | ClientError::Write { source, .. } => {
                io_class(source) == IoClass::TimedOut
            }
            _ => false,
        }
    }

    /// Whether the call may be made again, on a new connection, without the peer getting anything
    /// twice: no byte of it had left.
    ///
    /// A failed read says nothing about what the peer did with the request before it, and is
    /// never retryable; that is for the caller to know, see [`is_ambiguous`](Self::is_ambiguous).
    pub fn is_retryable(&self) -> bool {
        match self {
            ClientError::Connect(error) => error.is_retryable(),
            ClientError::TimedOut { phase, done, .. } => *phase == Phase::Write && *done == 0,
            ClientError::Write { sent, total, .. } => *sent == 0 && *total > 0,
            ClientError::Incomplete { .. }
            | ClientError::OutOfStep { .. }
            | ClientError::Exhausted { .. } => true,
            _ => false,
        }
    }

    /// Whether nobody can tell if the peer has done what the call asked for: the request, or a
    /// part of it, had left, and the answer did not come. Such a call may be made again only if it
    /// does no harm twice (if it is *idempotent*).
    pub fn is_ambiguous(&self) -> bool {
        match self {
            ClientError::TimedOut { .. } | ClientError::Write { .. } => !self.is_retryable(),
            ClientError::Read { .. } | ClientError::UnexpectedEof { .. } => true,
            _ => false,
        }
    }

    fn kind(&self) -> io::ErrorKind {
        match self {
            ClientError::Connect(error) => error.kind(),
            ClientError::TimedOut { .. } | ClientError::Exhausted { .. } => io::ErrorKind::TimedOut,
            ClientError::Read { source, .. } | ClientError::Write { source, .. } => source.kind(),
            ClientError::UnexpectedEof { .. } => io::ErrorKind::UnexpectedEof,
            ClientError::TooLong { .. } | ClientError::Decode { .. } => io::ErrorKind::InvalidData,
            ClientError::Encode { .. } => io::ErrorKind::InvalidInput,
            ClientError::Incomplete { .. } | ClientError::OutOfStep { .. } => {
                io::ErrorKind::BrokenPipe
            }
        }
    }
}

/// Keeps the error as the inner one, so that its message and type are not lost. A time-out is
/// `TimedOut` on every system.
impl From<ClientError> for io::Error {
    fn from(error: ClientError) -> Self {
        io::Error::new(error.kind(), error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::SocketAddr;

    fn peer() -> Addr {
        SocketAddr::from(([127, 0, 0, 1], 5000)).into()
    }

    fn unreachable(kinds: &[io::ErrorKind]) -> ConnectError {
        let attempt = |kind: &io::ErrorKind| Attempt {
            addr: peer(),
            timeout: Some(Duration::from_millis(1500)),
            error: (*kind).into(),
        };
        ConnectError::Unreachable {
            target: "localhost:5000".into(),
            attempts: kinds.iter().map(attempt).collect(),
        }
    }

    #[test]
    fn errors_are_small_enough_to_be_returned() {
        assert!(size_of::<ClientError>() < 100, "{}", size_of::<ClientError>());
        assert!(size_of::<ConnectError>() < 100);
    }

    #[test]
    fn messages_name_the_address_the_phase_and_both_values() {
        let timed_out = |phase, done, total| ClientError::TimedOut {
            peer: peer(),
            phase,
            timeout: Duration::from_secs(2),
            done,
            total,
        };
        for (error, text) in [
            (
                timed_out(Phase::Read, 0, None),
                "no answer from 127.0.0.1:5000 within 2s while reading",
            ),
            (
                timed_out(Phase::Write, 3, Some(8)),
                "no answer from 127.0.0.1:5000 within 2s while writing (3 of 8 bytes)",
            ),
            (
                ClientError::UnexpectedEof { peer: peer(), got: 3, expected: Some(8) },
                "127.0.0.1:5000 ended the stream after 3 bytes, expected 8",
            ),
        ] {
            assert_eq!(error.to_string(), text);
        }
        assert_eq!(
            unreachable(&[io::ErrorKind::ConnectionRefused, io::ErrorKind::TimedOut]).to_string(),
            "cannot connect to localhost:5000: 127.0.0.1:5000: connection refused, \
             127.0.0.1:5000: no answer within 1.5s"
        );
    }

    #[test]
    fn a_failed_connect_tells_whether_another_may_succeed() {
        use io::ErrorKind as K;
        for (kinds, timeout, retryable) in [
            (&[K::ConnectionRefused][..], false, true),
            (&[K::TimedOut, K::ConnectionRefused], true, true),
            (&[K::AddrNotAvailable], false, false),
            (&[K::PermissionDenied], false, false),
        ] {
            let error = unreachable(kinds);
            assert_eq!(error.is_timeout(), timeout, "{error}");
            assert_eq!(error.is_retryable(), retryable, "{error}");
        }
    }

    #[test]
    fn a_write_is_retryable_only_while_nothing_has_left() {
        for (sent, retryable) in [(0, true), (1, false)] {
            let error = ClientError::Write {
                peer: peer(),
                sent,
                total: 2,
                source: io::ErrorKind::BrokenPipe.into(),
            };
            assert_eq!(error.is_retryable(), retryable);
        }
    }

    #[test]
    fn a_lookup_without_a_thread_does_not_look_like_a_read_that_would_wait() {
        let error =
            ConnectError::Lookup { host: "h".into(), source: io::ErrorKind::WouldBlock.into() };
        assert_eq!(io::Error::from(error).kind(), io::ErrorKind::Other);
    }
}
