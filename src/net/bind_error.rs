//! Why an address could not be listened on.

use super::bind_addr::{BindAddr, ParseBindAddrError};
use super::options::Refused;
use std::convert::Infallible;
use std::fmt;
use std::io;

/// An address could not be listened on.
///
/// Nothing was started and nothing is left behind: no socket, no file. The message names the
/// address and what failed; what the system said is the [source](std::error::Error::source).
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {addr}: {kind}")]
pub struct BindError {
    addr: String,
    kind: BindErrorKind,
    source: Option<io::Error>,
}

/// What failed when an address was to be listened on.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum BindErrorKind {
    /// The text names no address.
    InvalidAddress(ParseBindAddrError),
    /// The host name could not be resolved, or has no address.
    Resolve,
    /// The system has no sockets of this kind.
    Unsupported,
    /// No socket could be made; the process may be out of descriptors.
    Socket,
    /// The system refused this option, named as in [`SocketOptions`](super::SocketOptions).
    Option(&'static str),
    /// The system refused the address: it is not one of this machine, or not allowed.
    Bind,
    /// The system refused to listen, or to tell the address.
    Listen,
    /// Another socket is bound to the address, or another server to the path.
    InUse,
    /// A socket file is in the way, and nobody listens on it. [`Stale::Remove`] removes such
    /// files.
    ///
    /// [`Stale::Remove`]: super::Stale::Remove
    StaleFile,
    /// Something that is not a socket has the path: a file, a directory, a symbolic link.
    NotASocket,
    /// The path, or abstract name, has `len` bytes, and the system takes `max`.
    NameTooLong {
        /// The length of the path or name.
        len: usize,
        /// The longest that the system takes.
        max: usize,
    },
    /// The path is empty or has a zero byte in it.
    InvalidPath,
    /// The socket file in the way could not be examined or removed.
    RemoveStale,
    /// The lock file of [`Stale::Remove`](super::Stale::Remove) could not be made or locked.
    Lock,
    /// The socket that was handed in does not listen, or is not a stream socket.
    NotListening,
    /// `LISTEN_FDS` does not say how many sockets were passed to this process.
    PassedCount,
}

impl fmt::Display for BindErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self {
            // The address stands before it already.
            Self::InvalidAddress(error) => return write!(f, "expected {}", error.expected()),
            Self::Option(name) => {
                return write!(f, "the system refused the socket option `{name}`");
            }
            Self::NameTooLong { len, max } => {
                return write!(f, "a name of {len} bytes exceeds the limit of {max}");
            }
            Self::Resolve => "the host name was not resolved to an address",
            Self::Unsupported => "this system has no such sockets",
            Self::Socket => "no socket could be made",
            Self::Bind => "the system refused the address",
            Self::Listen => "the system refused to listen",
            Self::InUse => "the address is already in use",
            Self::StaleFile => "the socket file exists, but nobody listens on it",
            Self::NotASocket => "the path exists and is not a socket",
            Self::InvalidPath => "expected a path that is not empty and has no zero byte",
            Self::RemoveStale => "the socket file in the way could not be removed",
            Self::Lock => "the lock file could not be locked",
            Self::NotListening => "expected a stream socket that listens",
            Self::PassedCount => "expected a number from 0 to 4096",
        };
        f.write_str(text)
    }
}

impl BindError {
    pub(super) fn new(addr: &BindAddr, kind: BindErrorKind, source: Option<io::Error>) -> Self {
        Self::named(addr.to_string(), kind, source)
    }

    pub(super) fn named(addr: String, kind: BindErrorKind, source: Option<io::Error>) -> Self {
        Self { addr, kind, source }
    }

    /// What failed.
    pub fn kind(&self) -> &BindErrorKind {
        &self.kind
    }

    /// The address, as it was given.
    pub fn addr(&self) -> &str {
        &self.addr
    }

    /// Whether something else has the address. On a Unix socket's path it may be anything: see
    /// [`kind`](Self::kind).
    pub fn is_addr_in_use(&self) -> bool {
        use BindErrorKind::{InUse, NotASocket, StaleFile};
        matches!(self.kind, InUse | NotASocket | StaleFile)
    }

    /// Whether the process may not use the address: a port below 1,024 without the privilege, or
    /// a directory that it cannot write to.
    pub fn is_permission_denied(&self) -> bool {
        let source = self.source.as_ref();
        source.is_some_and(|e| e.kind() == io::ErrorKind::PermissionDenied)
    }
}

impl From<ParseBindAddrError> for BindError {
    fn from(error: ParseBindAddrError) -> Self {
        Self::named(
            format!("`{}`", error.given().escape_debug()),
            BindErrorKind::InvalidAddress(error),
            None,
        )
    }
}

impl From<Infallible> for BindError {
    fn from(never: Infallible) -> Self {
        match never {}
    }
}

/// A failure before the address is put to it.
#[derive(Debug)]
pub(super) struct Failed {
    pub(super) kind: BindErrorKind,
    pub(super) source: Option<io::Error>,
}

impl Failed {
    /// For `map_err`: one kind whatever the system said.
    pub(super) fn at(kind: BindErrorKind) -> impl FnOnce(io::Error) -> Self {
        move |source| Self { kind, source: Some(source) }
    }

    /// For `map_err` after bind and listen, both of which may find the address in use.
    pub(super) fn at_or_in_use(kind: BindErrorKind) -> impl FnOnce(io::Error) -> Self {
        move |source| {
            let in_use = source.kind() == io::ErrorKind::AddrInUse;
            let kind = if in_use { BindErrorKind::InUse } else { kind };
            Self::at(kind)(source)
        }
    }
}

impl From<BindErrorKind> for Failed {
    fn from(kind: BindErrorKind) -> Self {
        Self { kind, source: None }
    }
}

impl From<Refused> for Failed {
    fn from(refused: Refused) -> Self {
        Self::at(BindErrorKind::Option(refused.option))(refused.source)
    }
}
