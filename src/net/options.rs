//! The options of listening and connected sockets, as plain data.

use socket2::{Domain, Socket, TcpKeepalive};
use std::io;
use std::time::Duration;

/// What is set on the listening socket, and on every connection.
///
/// The fields can be read and assigned; the `with_` methods do the same in a chain. Nothing is
/// checked before the socket exists: the system is asked, and its refusal is the
/// [`BindError`](super::BindError) of the address, with the name of the option in it. An option
/// that a system does not have is ignored where the field says so, and refused otherwise.
///
/// ```
/// use polyserve::net::{SocketOptions, Stale};
///
/// let options = SocketOptions::new().with_backlog(4096).with_unix_stale(Stale::Remove);
/// assert!(options.nodelay);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SocketOptions {
    /// How many established connections may wait to be accepted. Default: 1,024.
    ///
    /// The system silently caps it (`net.core.somaxconn` on Linux, see listen(2)) and takes zero
    /// for "as few as possible". A full backlog drops further connection attempts, which clients
    /// repeat after a second. A listener that is handed in keeps its own.
    pub backlog: u32,

    /// Sends small segments at once (`TCP_NODELAY`, tcp(7)) rather than waiting for the peer's
    /// acknowledgement of the last one. Default: `true`.
    ///
    /// What the callbacks of one read sent leaves in one write anyway, so that Nagle's algorithm
    /// would only add its delay.
    pub nodelay: bool,

    /// Probes of an idle TCP connection, which find peers that have vanished without a word.
    /// Default: after 60 s, every 15 s, 4 times. `None` leaves the system's setting, which is off
    /// unless a listener was handed in with it on.
    ///
    /// Where [`user_timeout`](Self::user_timeout) is set, Linux and Android do not count the probes:
    /// they give the peer up when the next probe is due, at least one went unanswered, and nothing
    /// has come for that long (tcp(7)). With the defaults that is after 75 s, not 120 s.
    pub keepalive: Option<Keepalive>,

    /// How long sent bytes may stay unacknowledged before the system ends the connection
    /// (`TCP_USER_TIMEOUT`, tcp(7)). Default: 60 s. Linux and Android; ignored elsewhere.
    ///
    /// It counts in milliseconds; more than 49 days count as 49 days. `None` and zero leave it to
    /// the system, which gives up after about a quarter of an hour. While keep-alive probes go
    /// unanswered it decides in place of [`Keepalive::probes`].
    pub user_timeout: Option<Duration>,

    /// Bytes of the system's send buffer (`SO_SNDBUF`, socket(7)). Default: `None`, the system
    /// sizes it itself, by what the connection can use.
    ///
    /// Linux doubles the value, for its own bookkeeping, and silently moves it into its limits
    /// (`net.core.wmem_max`).
    pub send_buffer: Option<usize>,

    /// Bytes of the system's receive buffer (`SO_RCVBUF`, socket(7)). Default: `None`, the system
    /// sizes it itself. It is doubled and limited as the send buffer is (`net.core.rmem_max`).
    pub recv_buffer: Option<usize>,

    /// Lets several listeners of one user share an address and port (`SO_REUSEPORT`, socket(7)).
    /// Default: `false`. Refused where the system has no such option, Windows among them.
    ///
    /// It is made for several processes. It does **not** balance long-lived connections: Linux
    /// spreads *new* ones by a hash of the addresses, whatever each listener holds already. And it
    /// is a lossy way for a new server to take over from an old one: each listener has a backlog of
    /// its own, and who is in the old one's, or on the way there, when that closes is reset. Hand
    /// the listener itself on instead: [`Listener`](super::Listener#handing-it-on).
    pub reuse_port: bool,

    /// Keeps an IPv6 listener from taking IPv4 connections (`IPV6_V6ONLY`, ipv6(7)). Default:
    /// `false`, so that `[::]` alone takes both; IPv4 peers then show as `::ffff:192.0.2.1`.
    ///
    /// Set it to bind `0.0.0.0` and `[::]` to one port. It is always set one way or the other,
    /// because systems differ in their default; one that cannot have both on one socket (OpenBSD)
    /// refuses `false`, which is then ignored. Other addresses than IPv6 ones do not have it.
    pub only_v6: bool,

    /// The permission bits of a Unix socket's file. Default: `0o600`, the owner alone.
    ///
    /// They hold from the first moment that a client could connect, whatever the process' umask.
    /// Abstract names have no permissions: everybody in the network namespace may connect
    /// (unix(7)).
    pub unix_mode: u32,

    /// What is done about a socket file that a server before has left behind. Default:
    /// [`Stale::Fail`].
    pub unix_stale: Stale,
}

/// Keep-alive probes of an idle TCP connection (tcp(7)).
///
/// Systems count in seconds: the durations are rounded up. Linux takes 1 s to 32,767 s and 1 to
/// 127 probes, and refuses anything else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Keepalive {
    /// Silence before the first probe (`TCP_KEEPIDLE`).
    pub idle: Duration,
    /// Time between two probes (`TCP_KEEPINTVL`). Ignored on OpenBSD and Solaris.
    pub interval: Duration,
    /// Probes without an answer that end the connection (`TCP_KEEPCNT`). Ignored on Windows, which
    /// sends 10, on OpenBSD, Solaris and illumos, and on Linux and Android while there is a
    /// [`SocketOptions::user_timeout`].
    pub probes: u32,
}

/// What is done about the file of a Unix socket on which nobody listens any more.
///
/// Such a file is left when a process ends without cleaning up, and it keeps the next one from
/// binding. Neither policy ever touches a file that is not a socket, or one that has a listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Stale {
    /// Binding fails; the error tells a file that is left behind from a server that lives.
    #[default]
    Fail,
    /// The file is removed, if it is a socket and connecting to it is refused.
    ///
    /// Looking and removing are two steps. A lock file beside the socket, its path with `.lock`
    /// added, keeps two servers that start at once from removing each other's socket: it is
    /// locked with flock(2) as long as the listener lives, and removed with it. All servers that
    /// share a path must therefore use this policy.
    Remove,
}

impl SocketOptions {
    /// The defaults, as each field names its own.
    pub const fn new() -> Self {
        Self {
            backlog: 1024,
            nodelay: true,
            keepalive: Some(Keepalive::new()),
            user_timeout: Some(Duration::from_secs(60)),
            send_buffer: None,
            recv_buffer: None,
            reuse_port: false,
            only_v6: false,
            unix_mode: 0o600,
            unix_stale: Stale::Fail,
        }
    }

    /// Sets [`backlog`](Self::backlog).
    #[must_use]
    pub const fn with_backlog(mut self, connections: u32) -> Self {
        self.backlog = connections;
        self
    }

    /// Sets [`nodelay`](Self::nodelay).
    #[must_use]
    pub const fn with_nodelay(mut self, on: bool) -> Self {
        self.nodelay = on;
        self
    }

    /// Sets [`keepalive`](Self::keepalive).
    #[must_use]
    pub const fn with_keepalive(mut self, keepalive: Option<Keepalive>) -> Self {
        self.keepalive = keepalive;
        self
    }

    /// Sets [`user_timeout`](Self::user_timeout).
    #[must_use]
    pub const fn with_user_timeout(mut self, timeout: Option<Duration>) -> Self {
        self.user_timeout = timeout;
        self
    }

    /// Sets [`send_buffer`](Self::send_buffer).
    #[must_use]
    pub const fn with_send_buffer(mut self, bytes: Option<usize>) -> Self {
        self.send_buffer = bytes;
        self
    }

    /// Sets [`recv_buffer`](Self::recv_buffer).
    #[must_use]
    pub const fn with_recv_buffer(mut self, bytes: Option<usize>) -> Self {
        self.recv_buffer = bytes;
        self
    }

    /// Sets [`reuse_port`](Self::reuse_port).
    #[must_use]
    pub const fn with_reuse_port(mut self, on: bool) -> Self {
        self.reuse_port = on;
        self
    }

    /// Sets [`only_v6`](Self::only_v6).
    #[must_use]
    pub const fn with_only_v6(mut self, on: bool) -> Self {
        self.only_v6 = on;
        self
    }

    /// Sets [`unix_mode`](Self::unix_mode).
    #[must_use]
    pub const fn with_unix_mode(mut self, mode: u32) -> Self {
        self.unix_mode = mode;
        self
    }

    /// Sets [`unix_stale`](Self::unix_stale).
    #[must_use]
    pub const fn with_unix_stale(mut self, stale: Stale) -> Self {
        self.unix_stale = stale;
        self
    }
}

impl Default for SocketOptions {
    fn default() -> Self {
        Self::new()
    }
}

impl Keepalive {
    /// The first probe after 60 s of silence, then one every 15 s, 4 in all.
    pub const fn new() -> Self {
        Self { idle: Duration::from_secs(60), interval: Duration::from_secs(15), probes: 4 }
    }
}

impl Default for Keepalive {
    fn default() -> Self {
        Self::new()
    }
}

/// An option that the system refused.
#[derive(Debug)]
pub(super) struct Refused {
    pub(super) option: &'static str,
    pub(super) source: io::Error,
}

/// Linux copies the options of the listener to the sockets that accept makes (`sock_clone`), so
/// that a new connection costs no further call. BSD does so for some of them, others for none.
/// A Unix socket is made by connect, not by the listener, and starts from the system's defaults.
const TCP_INHERITS: bool = cfg!(any(target_os = "linux", target_os = "android"));

impl SocketOptions {
    /// Sets what decides how a TCP socket binds. It comes before bind.
    pub(super) fn apply_before_bind(&self, socket: &Socket, domain: Domain) -> Result<(), Refused> {
        // Elsewhere than on Unix this option would let a stranger take over a port in use.
        #[cfg(unix)]
        named("reuse_address", socket.set_reuse_address(true))?;
        if domain == Domain::IPV6 {
            let result = socket.set_only_v6(self.only_v6);
            named("only_v6", if self.only_v6 { result } else { Ok(()) })?;
        }
        if self.reuse_port {
            named("reuse_port", set_reuse_port(socket))?;
        }
        Ok(())
    }

    /// Sets on a listener what its connections inherit. It comes before listen, because the
    /// receive buffer has its say in the window that the handshake offers (tcp(7)).
    pub(super) fn apply_to_listener(&self, listener: &Socket, is_tcp: bool) -> Result<(), Refused> {
        if is_tcp && TCP_INHERITS {
            self.apply(listener, is_tcp)?;
        }
        Ok(())
    }

    /// Sets what a connection has not inherited from its listener: nothing on Linux, if it is
    /// TCP. An error is that of the one connection, which may be dead already.
    pub(crate) fn apply_to_accepted(&self, socket: &Socket, is_tcp: bool) -> io::Result<()> {
        if is_tcp && TCP_INHERITS {
            return Ok(());
        }
        self.apply_to_stream(socket, is_tcp)
    }

    /// Sets everything that a connected socket can have.
    pub(crate) fn apply_to_stream(&self, socket: &Socket, is_tcp: bool) -> io::Result<()> {
        self.apply(socket, is_tcp).map_err(|refused| refused.source)
    }

    fn apply(&self, socket: &Socket, is_tcp: bool) -> Result<(), Refused> {
        if let Some(bytes) = self.send_buffer {
            named("send_buffer", socket.set_send_buffer_size(bytes))?;
        }
        if let Some(bytes) = self.recv_buffer {
            named("recv_buffer", socket.set_recv_buffer_size(bytes))?;
        }
        if !is_tcp {
            return Ok(());
        }
        named("nodelay", socket.set_tcp_nodelay(self.nodelay))?;
        if let Some(keepalive) = &self.keepalive {
            let params = keepalive.params();
            named("keepalive", socket.set_tcp_keepalive(&params))?;
        }
        #[cfg(any(target_os = "linux", target_os = "android"))]
        if let Some(timeout) = self.user_timeout {
            named("user_timeout", socket.set_tcp_user_timeout(Some(timeout)))?;
        }
        Ok(())
    }
}

impl Keepalive {
    fn params(&self) -> TcpKeepalive {
        let params = TcpKeepalive::new().with_time(whole_seconds(self.idle));
        #[cfg(not(any(target_os = "openbsd", target_os = "solaris")))]
        let params = params.with_interval(whole_seconds(self.interval));
        // Versions of Windows that do not have it would refuse every connection.
        #[cfg(not(any(
            windows,
            target_os = "openbsd",
            target_os = "solaris",
            target_os = "illumos"
        )))]
        let params = params.with_retries(self.probes);
        params
    }
}

fn whole_seconds(duration: Duration) -> Duration {
    let rest = u64::from(duration.subsec_nanos() > 0);
    Duration::from_secs(duration.as_secs().saturating_add(rest))
}

fn named(option: &'static str, result: io::Result<()>) -> Result<(), Refused> {
    result.map_err(|source| Refused { option, source })
}

#[cfg(all(unix, not(any(target_os = "solaris", target_os = "illumos"))))]
fn set_reuse_port(socket: &Socket) -> io::Result<()> {
    socket.set_reuse_port(true)
}

#[cfg(not(all(unix, not(any(target_os = "solaris", target_os = "illumos")))))]
fn set_reuse_port(_socket: &Socket) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(any(target_os = "linux", target_os = "android"))]
    use crate::net::bind_error::BindErrorKind;
    use crate::net::listener::{Listener, tests::accept};
    use std::net::TcpStream;

    #[cfg(any(target_os = "linux", target_os = "android"))]
    #[test]
    fn a_connection_inherits_every_option_of_its_listener() {
        let keepalive = Keepalive {
            idle: Duration::from_millis(6_500),
            interval: Duration::from_secs(8),
            probes: 9,
        };
        let options = SocketOptions::new()
            .with_keepalive(Some(keepalive))
            .with_user_timeout(Some(Duration::from_millis(12_345)))
            .with_send_buffer(Some(20_000))
            .with_recv_buffer(Some(30_000));
        let listener = Listener::bind("127.0.0.1:0", &options).unwrap();
        let _client = TcpStream::connect(listener.local_addr().as_tcp().unwrap()).unwrap();
        let (stream, _) = accept(&listener);
        for socket in [listener.socket(), stream.socket()] {
            assert!(socket.tcp_nodelay().unwrap());
            assert!(socket.keepalive().unwrap());
            let seconds = Duration::from_secs;
            assert_eq!(socket.tcp_keepalive_time().unwrap(), seconds(7));
            assert_eq!(socket.tcp_keepalive_interval().unwrap(), seconds(8));
            assert_eq!(socket.tcp_keepalive_retries().unwrap(), 9);
            assert_eq!(socket.tcp_user_timeout().unwrap(), options.user_timeout);
            assert_eq!(socket.send_buffer_size().unwrap(), 40_000);
            assert_eq!(socket.recv_buffer_size().unwrap(), 60_000);
        }
    }

    #[test]
    fn a_connection_has_its_options_wherever_they_come_from() {
        for nodelay in [true, false] {
            let options = SocketOptions::new().with_nodelay(nodelay);
            let listener = Listener::bind("127.0.0.1:0", &options).unwrap();
            let client = TcpStream::connect(listener.local_addr().as_tcp().unwrap()).unwrap();
            let (stream, _) = accept(&listener);
            options.apply_to_accepted(stream.socket(), true).unwrap();
            let client = Socket::from(client);
            options.apply_to_stream(&client, true).unwrap();
            for socket in [stream.socket(), &client] {
                assert_eq!(socket.tcp_nodelay().unwrap(), nodelay);
                assert!(socket.keepalive().unwrap());
            }
        }
    }

    #[cfg(any(target_os = "linux", target_os = "android"))]
    #[test]
    fn what_is_none_is_left_to_the_system() {
        let options =
            SocketOptions::new().with_nodelay(false).with_keepalive(None).with_user_timeout(None);
        let set = Listener::bind("127.0.0.1:0", &options).unwrap();
        let plain = Socket::new(Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        assert!(!set.socket().keepalive().unwrap());
        assert_eq!(set.socket().tcp_user_timeout().unwrap(), None);
        let size = |s: &Socket| (s.send_buffer_size().unwrap(), s.recv_buffer_size().unwrap());
        assert_eq!(size(set.socket()), size(&plain));
    }

    #[cfg(any(target_os = "linux", target_os = "android"))]
    #[test]
    fn a_refused_option_is_named() {
        let forever = Duration::from_secs(u64::MAX);
        for (idle, probes) in [(Duration::ZERO, 4), (forever, 4), (Duration::from_secs(1), 0)] {
            let keepalive = Keepalive { idle, probes, ..Keepalive::new() };
            let options = SocketOptions::new().with_keepalive(Some(keepalive));
            let error = Listener::bind("127.0.0.1:0", &options).unwrap_err();
            assert_eq!(*error.kind(), BindErrorKind::Option("keepalive"));
            assert_eq!(
                error.to_string(),
                "cannot listen on 127.0.0.1:0: the system refused the socket option `keepalive`"
            );
        }
    }

    #[cfg(any(target_os = "linux", target_os = "android"))]
    #[test]
    fn a_listener_that_was_handed_in_passes_its_options_on_too() {
        let theirs = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let mut listener = Listener::try_from(theirs).unwrap();
        listener.set_options(&SocketOptions::new()).unwrap();
        let _client = TcpStream::connect(listener.local_addr().as_tcp().unwrap()).unwrap();
        let (stream, _) = accept(&listener);
        assert!(stream.socket().tcp_nodelay().unwrap());
        assert!(stream.socket().keepalive().unwrap());
    }

    #[cfg(any(target_os = "linux", target_os = "android"))]
    #[test]
    fn a_unix_connection_is_given_its_buffers() {
        let options = SocketOptions::new().with_send_buffer(Some(20_000));
        let name = format!("unix:@polyserve-options-{}", std::process::id());
        let listener = Listener::bind(&name, &options).unwrap();
        let client = Socket::new(Domain::UNIX, socket2::Type::STREAM, None).unwrap();
        let addr = listener.socket().local_addr().unwrap();
        client.connect(&addr).unwrap();
        let (stream, _) = accept(&listener);
        assert_ne!(stream.socket().send_buffer_size().unwrap(), 40_000);
        options.apply_to_accepted(stream.socket(), false).unwrap();
        assert_eq!(stream.socket().send_buffer_size().unwrap(), 40_000);
    }
}
