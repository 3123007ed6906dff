//! What an error of a socket call means, decided once for all callers.
//!
//! Both functions decide by the system's own error number where there is one: `EMFILE` and its
//! kind have no `io::ErrorKind` of their own, and a thread that cannot be spawned looks like
//! `WouldBlock` although no socket would block.

use std::io;

/// What the accept loop does about an error of `accept`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AcceptPolicy {
    /// Nobody waits in the backlog.
    WouldBlock,
    /// The error belongs to one connection (or to a signal): take the next one at once.
    Retry,
    /// The process or the system is out of something: stop accepting for a moment.
    Pause,
    /// The listener itself is dead.
    Dead,
}

/// What a session does about an error of `recv` or `send`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum IoClass {
    /// A signal came between: call again.
    Retry,
    /// Nothing to read, or no room to write.
    WouldBlock,
    /// The peer did not acknowledge in time (keep-alive or `TCP_USER_TIMEOUT`).
    TimedOut,
    /// The peer has reset or left the connection.
    PeerGone,
    /// Anything else: the connection cannot go on.
    Fatal,
}

/// Sorts an error of `accept`.
///
/// accept(2): "Linux accept() passes already-pending network errors on the new socket as an error
/// code from accept(). [...] the application should detect the network errors defined for the
/// protocol after accept() and treat them like EAGAIN by retrying."
pub(crate) fn accept_policy(error: &io::Error) -> AcceptPolicy {
    if let Some(policy) = sys::accept_policy(error) {
        return policy;
    }
    match error.kind() {
        io::ErrorKind::WouldBlock => AcceptPolicy::WouldBlock,
        io::ErrorKind::Interrupted
        | io::ErrorKind::ConnectionAborted
        | io::ErrorKind::ConnectionReset => AcceptPolicy::Retry,
        _ => AcceptPolicy::Pause,
    }
}

/// Sorts an error of `recv` or `send`.
pub(crate) fn io_class(error: &io::Error) -> IoClass {
    match error.kind() {
        io::ErrorKind::Interrupted => IoClass::Retry,
        io::ErrorKind::WouldBlock => IoClass::WouldBlock,
        io::ErrorKind::TimedOut => IoClass::TimedOut,
        io::ErrorKind::ConnectionReset
        | io::ErrorKind::ConnectionAborted
        | io::ErrorKind::BrokenPipe
        | io::ErrorKind::NotConnected => IoClass::PeerGone,
        _ => IoClass::Fatal,
    }
}

#[cfg(unix)]
mod sys {
    use super::AcceptPolicy;
    use rustix::io::Errno;
    use std::io;

    pub(super) fn accept_policy(error: &io::Error) -> Option<AcceptPolicy> {
        let errno = Errno::from_raw_os_error(error.raw_os_error()?);
        Some(match errno {
            e if e == Errno::AGAIN || e == Errno::WOULDBLOCK => AcceptPolicy::WouldBlock,
            Errno::INTR
            | Errno::CONNABORTED
            | Errno::CONNRESET
            | Errno::PROTO
            | Errno::NETDOWN
            | Errno::NOPROTOOPT
            | Errno::HOSTDOWN
            | Errno::HOSTUNREACH
            | Errno::OPNOTSUPP
            | Errno::NETUNREACH
            | Errno::TIMEDOUT
            | Errno::PERM => AcceptPolicy::Retry,
            #[cfg(any(target_os = "linux", target_os = "android"))]
            Errno::NONET => AcceptPolicy::Retry,
            Errno::BADF | Errno::INVAL | Errno::NOTSOCK => AcceptPolicy::Dead,
            _ => AcceptPolicy::Pause,
        })
    }
}

#[cfg(not(unix))]
mod sys {
    use super::AcceptPolicy;
    use std::io;

    const WSAEINTR: i32 = 10004;
    const WSAEBADF: i32 = 10009;
    const WSAEINVAL: i32 = 10022;
    const WSAENOTSOCK: i32 = 10038;

    pub(super) fn accept_policy(error: &io::Error) -> Option<AcceptPolicy> {
        match error.raw_os_error()? {
            WSAEINTR => Some(AcceptPolicy::Retry),
            WSAEBADF | WSAEINVAL | WSAENOTSOCK => Some(AcceptPolicy::Dead),
            _ => None,
        }
    }
}
