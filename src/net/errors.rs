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

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use rustix::io::Errno;

    fn error(errno: Errno) -> io::Error {
        io::Error::from_raw_os_error(errno.raw_os_error())
    }

    fn check_accept(policy: AcceptPolicy, errnos: &[Errno]) {
        for errno in errnos {
            assert_eq!(accept_policy(&error(*errno)), policy, "{errno:?}");
        }
    }

    #[test]
    fn an_empty_backlog_is_waited_for() {
        check_accept(AcceptPolicy::WouldBlock, &[Errno::AGAIN, Errno::WOULDBLOCK]);
    }

    #[test]
    fn running_out_pauses_accepting() {
        let out_of = [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM];
        check_accept(AcceptPolicy::Pause, &out_of);
    }

    #[test]
    fn an_error_of_one_connection_takes_the_next_one_at_once() {
        let of_one_connection = [
            Errno::INTR,
            Errno::CONNABORTED,
            Errno::PROTO,
            Errno::NETDOWN,
            Errno::NOPROTOOPT,
            Errno::HOSTDOWN,
            #[cfg(target_os = "linux")]
            Errno::NONET,
            Errno::HOSTUNREACH,
            Errno::OPNOTSUPP,
            Errno::NETUNREACH,
            Errno::TIMEDOUT,
            Errno::PERM,
            Errno::CONNRESET,
        ];
        check_accept(AcceptPolicy::Retry, &of_one_connection);
    }

    #[test]
    fn only_what_names_the_listener_itself_is_its_end() {
        let of_the_listener = [Errno::BADF, Errno::INVAL, Errno::NOTSOCK];
        check_accept(AcceptPolicy::Dead, &of_the_listener);
    }

    #[test]
    fn an_unknown_error_pauses_and_never_ends_the_listener() {
        let unknown = [Errno::IO, Errno::ACCESS, Errno::NXIO, Errno::FAULT];
        check_accept(AcceptPolicy::Pause, &unknown);
        let unnumbered = io::Error::other("not of the system");
        assert_eq!(accept_policy(&unnumbered), AcceptPolicy::Pause);
    }

    #[test]
    fn an_error_without_a_number_goes_by_its_kind() {
        for (kind, policy) in [
            (io::ErrorKind::WouldBlock, AcceptPolicy::WouldBlock),
            (io::ErrorKind::Interrupted, AcceptPolicy::Retry),
            (io::ErrorKind::ConnectionAborted, AcceptPolicy::Retry),
            (io::ErrorKind::ConnectionReset, AcceptPolicy::Retry),
            (io::ErrorKind::InvalidInput, AcceptPolicy::Pause),
        ] {
            assert_eq!(accept_policy(&kind.into()), policy, "{kind:?}");
        }
    }

    #[test]
    fn each_error_of_a_connection_has_one_meaning() {
        for (errno, class) in [
            (Errno::INTR, IoClass::Retry),
            (Errno::AGAIN, IoClass::WouldBlock),
            (Errno::WOULDBLOCK, IoClass::WouldBlock),
            (Errno::TIMEDOUT, IoClass::TimedOut),
            (Errno::CONNRESET, IoClass::PeerGone),
            (Errno::CONNABORTED, IoClass::PeerGone),
            (Errno::PIPE, IoClass::PeerGone),
            (Errno::NOTCONN, IoClass::PeerGone),
            (Errno::BADF, IoClass::Fatal),
            (Errno::INVAL, IoClass::Fatal),
            (Errno::IO, IoClass::Fatal),
            (Errno::NOBUFS, IoClass::Fatal),
            (Errno::NOMEM, IoClass::Fatal),
            (Errno::HOSTUNREACH, IoClass::Fatal),
        ] {
            assert_eq!(io_class(&error(errno)), class, "{errno:?}");
        }
    }
}
