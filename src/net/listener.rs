//! Listening sockets: how they are made, and how one connection is taken from them.

use super::bind_addr::{BindAddr, Target};
use super::bind_error::{BindError, BindErrorKind, Failed};
use super::options::SocketOptions;
use super::platform;
#[cfg(unix)]
use super::socket_file::SocketFile;
use super::stream::Stream;
use crate::addr::Addr;
use socket2::{Domain, Protocol, Socket, Type};
use std::io;
use std::net::{SocketAddr, TcpListener, ToSocketAddrs};
#[cfg(unix)]
use std::os::fd::OwnedFd;
#[cfg(unix)]
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::Arc;

/// A socket that listens.
///
/// A server makes its own from the addresses that it is bound to. Convert a standard listener
/// into one where the socket comes from elsewhere: from a service manager, from a parent process,
/// or bound early, before privileges are dropped. Such a socket is set to non-blocking mode, which
/// it shares with every copy of its descriptor, and keeps its backlog, its permissions and its
/// file; the [options](SocketOptions) that belong to connections are set on it.
///
/// Dropping it closes the socket: connections that were not accepted are reset, unless another holds
/// the socket as well. The file of a Unix socket that a server has bound itself is removed then,
/// unless another has taken its place.
///
/// # Handing it on
///
/// A listener outlives its server. [`ServerHandle::take_listeners`] takes it from one that runs, and
/// [`Builder::listener`] gives it to the next, which finds in the backlog whoever has come meanwhile.
/// To hand it to another process, turn it into an `OwnedFd`, and start the process with that as its
/// standard input (`Stdio::from`), or by whatever else passes descriptors; there `Listener::try_from`
/// makes a listener of the descriptor again. (Other descriptors are not inherited, unless you clear
/// their flag `FD_CLOEXEC`.) The [guide](crate::_documentation::guide) shows both.
///
/// [`ServerHandle::take_listeners`]: crate::ServerHandle::take_listeners
/// [`Builder::listener`]: crate::Builder::listener
#[derive(Debug)]
pub struct Listener {
    /// Goes before the socket: as long as that is open, nobody else's file can have its inode.
    bound: Option<Arc<Bound>>,
    /// Invariant: listens, and is in non-blocking mode.
    socket: Socket,
    addr: Addr,
    /// What its connections are given, where they do not inherit it.
    options: SocketOptions,
    /// Others accept from it as well.
    shared: bool,
}

/// That this process has bound the socket itself. All clones of its listener share one.
#[derive(Debug, Default)]
struct Bound {
    #[cfg(unix)]
    file: Option<SocketFile>,
}

impl Listener {
    /// Binds the address and listens on it. Of a host name that stands for several addresses, the
    /// first that can be bound is taken, as the standard library does; the error is that of the
    /// last one.
    pub(crate) fn bind<A>(addr: A, options: &SocketOptions) -> Result<Self, BindError>
    where
        A: TryInto<BindAddr>,
        A::Error: Into<BindError>,
    {
        let addr = addr.try_into().map_err(Into::into)?;
        let bound = match &addr.0 {
            Target::Tcp(addr) => Self::bind_tcp(*addr, options),
            Target::Host(host, port) => Self::bind_host(host, *port, options),
            Target::Path(path) => Self::bind_path(path, options),
            Target::Abstract(name) => Self::bind_abstract(name, options),
        };
        bound.map_err(|failed| BindError::new(&addr, failed.kind, failed.source))
    }

    fn bind_host(host: &str, port: u16, options: &SocketOptions) -> Result<Self, Failed> {
        let addrs = (host, port).to_socket_addrs();
        let mut last = Failed::from(BindErrorKind::Resolve);
        for addr in addrs.map_err(Failed::at(BindErrorKind::Resolve))? {
            match Self::bind_tcp(addr, options) {
                Ok(listener) => return Ok(listener),
                Err(failed) => last = failed,
            }
        }
        Err(last)
    }

    fn bind_tcp(addr: SocketAddr, options: &SocketOptions) -> Result<Self, Failed> {
        let domain = Domain::for_address(addr);
        let socket = new_socket(domain, Some(Protocol::TCP))?;
        options.apply_before_bind(&socket, domain)?;
        options.apply_to_listener(&socket, true)?;
        let bound = socket.bind(&addr.into());
        bound.map_err(Failed::at_or_in_use(BindErrorKind::Bind))?;
        Self::listen(socket, options)
    }

    #[cfg(unix)]
    fn bind_path(path: &Path, options: &SocketOptions) -> Result<Self, Failed> {
        use std::os::unix::ffi::OsStrExt;
        let name = path.as_os_str().as_bytes();
        if name.is_empty() || name.contains(&0) {
            return Err(BindErrorKind::InvalidPath.into());
        }
        let addr = unix_addr(name, name.len())?;
        let socket = new_socket(Domain::UNIX, None)?;
        // From here on the file goes away again if anything fails. It is made before listen, so
        // that nobody can connect until its mode is set.
        let file = SocketFile::bind(&socket, path, &addr, options)?;
        let mut listener = Self::listen(socket, options)?;
        listener.bound = Some(Arc::new(Bound { file: Some(file) }));
        Ok(listener)
    }

    #[cfg(any(target_os = "linux", target_os = "android"))]
    fn bind_abstract(name: &[u8], options: &SocketOptions) -> Result<Self, Failed> {
        let addr = unix_addr(&[b"\0", name].concat(), name.len())?;
        let socket = new_socket(Domain::UNIX, None)?;
        let bound = socket.bind(&addr);
        bound.map_err(Failed::at_or_in_use(BindErrorKind::Bind))?;
        Self::listen(socket, options)
    }

    #[cfg(not(unix))]
    fn bind_path(_path: &Path, _options: &SocketOptions) -> Result<Self, Failed> {
        Err(BindErrorKind::Unsupported.into())
    }

    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    fn bind_abstract(_name: &[u8], _options: &SocketOptions) -> Result<Self, Failed> {
        Err(BindErrorKind::Unsupported.into())
    }

    fn listen(socket: Socket, options: &SocketOptions) -> Result<Self, Failed> {
        let backlog = i32::try_from(options.backlog).unwrap_or(i32::MAX);
        let listening = socket.listen(backlog);
        listening.map_err(Failed::at_or_in_use(BindErrorKind::Listen))?;
        let mut listener = Self::listening(socket).map_err(Failed::at(BindErrorKind::Listen))?;
        listener.options = options.clone();
        listener.bound = Some(Arc::default());
        Ok(listener)
    }

    /// A socket that listens already.
    fn listening(socket: Socket) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        let addr = Addr::from_sock_addr(&socket.local_addr()?);
        Ok(Self { bound: None, socket, addr, options: SocketOptions::default(), shared: false })
    }

    /// Takes over a socket that was made elsewhere, once it is clear that it listens.
    pub(crate) fn from_socket(socket: Socket) -> Result<Self, BindError> {
        Self::from_socket_named(socket, "a socket handed in")
    }

    /// As [`from_socket`](Self::from_socket), with the name that errors give it.
    pub(crate) fn from_socket_named(socket: Socket, name: &str) -> Result<Self, BindError> {
        let failed = |kind, source| BindError::named(name.to_owned(), kind, source);
        match is_listening(&socket) {
            Ok(true) => Self::listening(socket)
                .map_err(|source| failed(BindErrorKind::Listen, Some(source))),
            Ok(false) => Err(failed(BindErrorKind::NotListening, None)),
            Err(source) => Err(failed(BindErrorKind::NotListening, Some(source))),
        }
    }

    /// Sets what connections inherit from a listener that was handed in. One that was bound with
    /// the options has them.
    pub(crate) fn set_options(&mut self, options: &SocketOptions) -> Result<(), BindError> {
        self.options = options.clone();
        options.apply_to_listener(&self.socket, self.is_tcp()).map_err(|refused| {
            let kind = BindErrorKind::Option(refused.option);
            BindError::named(self.addr.to_string(), kind, Some(refused.source))
        })
    }

    /// Takes one connection, or returns `WouldBlock`. The options that it has not inherited are
    /// yet to be [set](SocketOptions::apply_to_accepted): an error of that is the connection's,
    /// one of this call may be the listener's.
    pub(crate) fn accept(&self) -> io::Result<(Stream, Addr)> {
        let (socket, addr) = platform::accept(&self.socket)?;
        Ok((Stream::new(socket), Addr::from_sock_addr(&addr)))
    }

    /// Sets the options that a connection has not inherited. An error is that of the connection,
    /// which may be dead already.
    pub(crate) fn prepare(&self, stream: &Stream) -> io::Result<()> {
        self.options.apply_to_accepted(stream.socket(), self.is_tcp())
    }

    /// The address that it listens on, with the port that the system chose where 0 was asked for.
    pub fn local_addr(&self) -> &Addr {
        &self.addr
    }

    /// Says that another process, or another part of this one, holds the same socket and accepts
    /// from it, now or later.
    ///
    /// A server that drains empties the backlog of its listeners before it closes them, because
    /// nobody else would. It leaves that of a shared one to the others from the moment that its
    /// grace is over. Listeners that a service manager has passed are shared from the beginning:
    /// the manager keeps the socket, and starts the next server for it.
    ///
    /// If nobody else holds the socket after all, those who wait in its backlog are reset when the
    /// server closes it.
    #[must_use]
    pub fn shared(mut self) -> Self {
        self.shared = true;
        self
    }

    /// Whether others accept from it as well.
    pub fn is_shared(&self) -> bool {
        self.shared
    }

    /// A second handle of the same socket: both accept from the same backlog, and the socket is
    /// closed when both are dropped.
    ///
    /// # Errors
    /// The process is out of descriptors.
    pub fn try_clone(&self) -> io::Result<Self> {
        Ok(Self {
            bound: self.bound.clone(),
            socket: self.socket.try_clone()?,
            addr: self.addr.clone(),
            options: self.options.clone(),
            shared: self.shared,
        })
    }

    /// Has the system turn away whoever comes from now on, while those who wait in the backlog can
    /// still be accepted, so that none is there when the socket is closed. Where the system has no
    /// such thing, or another may hold the socket, it does nothing.
    pub(crate) fn refuse_newcomers(&self) {
        let is_ours = self.bound.as_ref().is_some_and(|bound| Arc::strong_count(bound) == 1);
        if is_ours && !self.shared {
            platform::refuse_newcomers(&self.socket, self.is_tcp());
        }
    }

    /// The socket alone, to be handed to somebody else: a socket file stays where it is.
    #[cfg(any(unix, windows))]
    fn into_socket(self) -> Socket {
        if let Some(bound) = self.bound {
            #[cfg(unix)]
            bound.file.iter().for_each(SocketFile::leave);
            // For whoever has a clone it is never again the only one.
            std::mem::forget(bound);
        }
        self.socket
    }

    pub(crate) fn socket(&self) -> &Socket {
        &self.socket
    }

    pub(crate) fn is_tcp(&self) -> bool {
        self.addr.as_tcp().is_some()
    }
}

fn new_socket(domain: Domain, protocol: Option<Protocol>) -> Result<Socket, Failed> {
    Socket::new(domain, Type::STREAM, protocol).map_err(Failed::at(BindErrorKind::Socket))
}

/// The longest path or abstract name: `sun_path` (unix(7)) less its zero byte.
#[cfg(unix)]
const MAX_UNIX_NAME: usize = if cfg!(any(
    target_vendor = "apple",
    target_os = "freebsd",
    target_os = "netbsd",
    target_os = "openbsd",
    target_os = "dragonfly",
)) {
    103
} else {
    107
};

/// `len` is what counts against the limit: an abstract name begins with the one zero byte that a
/// path ends with.
#[cfg(unix)]
fn unix_addr(name: &[u8], len: usize) -> Result<socket2::SockAddr, Failed> {
    use std::os::unix::ffi::OsStrExt;
    let max = MAX_UNIX_NAME;
    if len > max {
        return Err(BindErrorKind::NameTooLong { len, max }.into());
    }
    socket2::SockAddr::unix(std::ffi::OsStr::from_bytes(name))
        .map_err(Failed::at(BindErrorKind::Bind))
}

fn is_listening(socket: &Socket) -> io::Result<bool> {
    Ok(socket.r#type()? == Type::STREAM && has_acceptconn(socket)?)
}

#[cfg(all(unix, not(target_vendor = "apple")))]
fn has_acceptconn(socket: &Socket) -> io::Result<bool> {
    Ok(rustix::net::sockopt::socket_acceptconn(socket)?)
}

// Apple declares the option and does not have it; socket2 does not offer it on Windows. There a
// socket that does not listen is found when it is first accepted from.
#[cfg(not(all(unix, not(target_vendor = "apple"))))]
fn has_acceptconn(_socket: &Socket) -> io::Result<bool> {
    Ok(true)
}

/// See [`Listener`] for what happens to the socket. For a socket that another process handed over.
///
/// # Errors
/// The descriptor is not a stream socket that listens.
#[cfg(unix)]
impl TryFrom<OwnedFd> for Listener {
    type Error = BindError;

    fn try_from(socket: OwnedFd) -> Result<Self, BindError> {
        Self::from_socket(socket.into())
    }
}

/// To hand the socket to another process, or to another library. It stays in non-blocking mode. The
/// file of a Unix socket stays where it is, for its new owner, and no clone of the listener removes it.
#[cfg(unix)]
impl From<Listener> for OwnedFd {
    fn from(listener: Listener) -> Self {
        listener.into_socket().into()
    }
}

/// See [`Listener`] for what happens to the socket. For a socket that another process handed over.
///
/// # Errors
/// The handle is not a stream socket that listens.
#[cfg(windows)]
impl TryFrom<std::os::windows::io::OwnedSocket> for Listener {
    type Error = BindError;

    fn try_from(socket: std::os::windows::io::OwnedSocket) -> Result<Self, BindError> {
        Self::from_socket(socket.into())
    }
}

/// To hand the socket to another process, or to another library. It stays in non-blocking mode.
#[cfg(windows)]
impl From<Listener> for std::os::windows::io::OwnedSocket {
    fn from(listener: Listener) -> Self {
        listener.into_socket().into()
    }
}

/// See [`Listener`] for what happens to the socket.
///
/// # Errors
/// The descriptor is not a stream socket that listens.
impl TryFrom<TcpListener> for Listener {
    type Error = BindError;

    fn try_from(listener: TcpListener) -> Result<Self, BindError> {
        Self::from_socket(listener.into())
    }
}

/// See [`Listener`] for what happens to the socket. Its file is not removed.
///
/// # Errors
/// The descriptor is not a stream socket that listens.
#[cfg(unix)]
impl TryFrom<UnixListener> for Listener {
    type Error = BindError;

    fn try_from(listener: UnixListener) -> Result<Self, BindError> {
        Self::from_socket(OwnedFd::from(listener).into())
    }
}

#[cfg(unix)]
impl std::os::fd::AsFd for Listener {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

#[cfg(windows)]
impl std::os::windows::io::AsSocket for Listener {
    fn as_socket(&self) -> std::os::windows::io::BorrowedSocket<'_> {
        self.socket.as_socket()
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::net::Interest;
    use std::error::Error;
    use std::io::{Read, Write};
    use std::net::TcpStream;
    use std::time::{Duration, Instant};

    /// Waits for a connection, and takes it.
    pub(in crate::net) fn accept(listener: &Listener) -> (Stream, Addr) {
        wait_to_read(listener.socket());
        listener.accept().expect("a client has connected")
    }

    fn wait_to_read(socket: &Socket) {
        let interest = Interest { read: true, write: false };
        let deadline = Instant::now() + Duration::from_secs(10);
        while Instant::now() < deadline {
            if platform::wait_any(&[(socket, interest)], None, Some(deadline)).unwrap() {
                return;
            }
        }
        panic!("there is nothing to read in 10 s");
    }

    fn bind(addr: &str) -> Result<Listener, BindError> {
        Listener::bind(addr, &SocketOptions::new())
    }

    fn tcp_addr(listener: &Listener) -> SocketAddr {
        listener.local_addr().as_tcp().unwrap()
    }

    /// The message with its source, as an application prints it.
    fn chain(error: &BindError) -> String {
        match error.source() {
            Some(source) => format!("{error}: {source}"),
            None => error.to_string(),
        }
    }

    #[test]
    fn it_listens_on_the_port_that_it_tells() {
        for addr in ["127.0.0.1:0", "localhost:0"] {
            let listener = bind(addr).unwrap();
            assert_ne!(tcp_addr(&listener).port(), 0);
            let client = TcpStream::connect(tcp_addr(&listener)).unwrap();
            let (stream, peer) = accept(&listener);
            assert_eq!(peer, Addr::Tcp(client.local_addr().unwrap()));
            assert_eq!(stream.local_addr().unwrap(), *listener.local_addr());
        }
    }

    #[test]
    fn accept_never_waits() {
        let error = bind("127.0.0.1:0").unwrap().accept().unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
    }

    #[cfg(unix)]
    #[test]
    fn neither_listener_nor_connection_is_inherited_by_programs_that_are_started() {
        use rustix::io::{FdFlags, fcntl_getfd};
        let listener = bind("127.0.0.1:0").unwrap();
        let _client = TcpStream::connect(tcp_addr(&listener)).unwrap();
        let (stream, _) = accept(&listener);
        for socket in [listener.socket(), stream.socket()] {
            assert!(fcntl_getfd(socket).unwrap().contains(FdFlags::CLOEXEC));
        }
        assert!(listener.socket().nonblocking().unwrap());
        assert!(!stream.socket().nonblocking().unwrap());
    }

    #[test]
    fn the_backlog_takes_any_number() {
        for backlog in [0, 1, u32::MAX] {
            let options = SocketOptions::new().with_backlog(backlog);
            let listener = Listener::bind("127.0.0.1:0", &options).unwrap();
            let _client = TcpStream::connect(tcp_addr(&listener)).unwrap();
            accept(&listener);
        }
    }

    #[test]
    fn a_port_in_use_is_an_error_that_names_it() {
        let first = bind("127.0.0.1:0").unwrap();
        let addr = first.local_addr().to_string();
        let error = bind(&addr).unwrap_err();
        assert!(error.is_addr_in_use() && !error.is_permission_denied());
        assert_eq!(*error.kind(), BindErrorKind::InUse);
        assert_eq!(error.addr(), addr);
        let message = format!("cannot listen on {addr}: the address is already in use");
        assert_eq!(error.to_string(), message);
    }

    #[test]
    fn an_address_of_another_machine_is_refused_by_the_system() {
        let error = bind("192.0.2.1:0").unwrap_err();
        assert_eq!(*error.kind(), BindErrorKind::Bind);
        assert!(!error.is_addr_in_use());
        let start = "cannot listen on 192.0.2.1:0: the system refused the address: ";
        assert!(chain(&error).starts_with(start), "{}", chain(&error));
    }

    #[test]
    fn a_name_that_cannot_exist_is_not_resolved() {
        let addr = format!("{}:0", "a".repeat(300));
        let error = bind(&addr).unwrap_err();
        assert_eq!(*error.kind(), BindErrorKind::Resolve);
        assert!(error.source().is_some());
    }

    #[test]
    fn a_text_that_is_no_address_is_told_once() {
        let error = bind("50007").unwrap_err();
        assert_eq!(
            chain(&error),
            "cannot listen on `50007`: expected a port after a colon, as in `127.0.0.1:50007`"
        );
    }

    /// Root may bind any port, so that it runs this test once more as somebody else.
    #[cfg(target_os = "linux")]
    #[test]
    fn a_privileged_port_needs_the_privilege() {
        let start = "/proc/sys/net/ipv4/ip_unprivileged_port_start";
        let start: u16 = std::fs::read_to_string(start)
            .map_or(1024, |text| text.trim().parse().expect("a port"));
        if start < 2 {
            eprintln!("SKIP: this system has no privileged ports");
            return;
        }
        if rustix::process::geteuid().is_root() {
            return run_as_nobody("a_privileged_port_needs_the_privilege");
        }
        let error = bind("127.0.0.1:1").unwrap_err();
        assert!(error.is_permission_denied() && !error.is_addr_in_use());
        assert_eq!(*error.kind(), BindErrorKind::Bind);
    }

    #[cfg(target_os = "linux")]
    fn run_as_nobody(test: &str) {
        let name = format!("{}::{test}", module_path!().split_once("::").unwrap().1);
        let output = std::process::Command::new("setpriv")
            .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
            .arg(std::env::current_exe().unwrap())
            .args(["--exact", &name, "--nocapture"])
            .output();
        match output {
            // What env(1) and its kind tell of a program that they cannot start.
            Ok(output) if !matches!(output.status.code(), Some(126 | 127)) => {
                let stdout = String::from_utf8_lossy(&output.stdout);
                assert!(output.status.success(), "{stdout}");
                assert!(stdout.contains("1 passed"), "{stdout}");
            }
            _ => eprintln!("SKIP: no setpriv(1), or nobody may not run this file"),
        }
    }

    #[test]
    fn a_restart_has_its_port_back_at_once() {
        // An address of our own where there are many: no other test then takes the port between.
        let ip = if cfg!(target_os = "linux") { "127.0.0.77" } else { "127.0.0.1" };
        let mut listener = bind(&format!("{ip}:0")).unwrap();
        let addr = tcp_addr(&listener);
        for _ in 0..50 {
            let mut client = TcpStream::connect(addr).unwrap();
            // The side that closes first is left in TIME-WAIT.
            drop(accept(&listener));
            assert_eq!(client.read(&mut [0]).unwrap(), 0);
            drop(client);
            drop(listener);
            listener = bind(&addr.to_string()).unwrap();
        }
    }

    #[test]
    fn one_socket_takes_both_families_unless_it_must_not() {
        for only_v6 in [false, true] {
            let options = SocketOptions::new().with_only_v6(only_v6);
            let Ok(listener) = Listener::bind("[::]:0", &options) else {
                eprintln!("SKIP: no IPv6");
                return;
            };
            assert_eq!(listener.socket().only_v6().unwrap(), only_v6);
            let port = tcp_addr(&listener).port();
            // Somebody else may have the port on IPv4, so that only our own answer tells.
            if !only_v6 {
                let _client = TcpStream::connect(("127.0.0.1", port)).unwrap();
                let (_, peer) = accept(&listener);
                let peer = peer.as_tcp().unwrap().ip();
                assert_eq!(peer.to_canonical(), std::net::Ipv4Addr::LOCALHOST);
            } else {
                let _ = TcpStream::connect(("127.0.0.1", port));
                assert!(listener.accept().is_err());
            }
        }
    }

    #[test]
    fn a_port_on_ipv6_alone_leaves_that_on_ipv4() {
        let options = SocketOptions::new().with_only_v6(true);
        let both = |_| {
            let v6 = Listener::bind("[::]:0", &options).ok()?;
            let v4 = Listener::bind(("0.0.0.0", tcp_addr(&v6).port()), &options);
            v4.ok().map(|v4| (v6, v4))
        };
        if Listener::bind("[::1]:0", &options).is_err() {
            return eprintln!("SKIP: no IPv6");
        }
        // Somebody else may have one of the ports, or two.
        assert!((0..20).find_map(both).is_some(), "20 ports were taken on IPv4");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_port_is_shared_only_by_those_who_ask_for_it() {
        let sharing = SocketOptions::new().with_reuse_port(true);
        let first = Listener::bind("127.0.0.1:0", &sharing).unwrap();
        Listener::bind(tcp_addr(&first), &sharing).unwrap();
        let alone = Listener::bind(tcp_addr(&first), &SocketOptions::new());
        assert!(alone.unwrap_err().is_addr_in_use());
    }

    #[test]
    fn a_standard_listener_goes_on_as_one_of_ours() {
        let theirs = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = theirs.local_addr().unwrap();
        let listener = Listener::try_from(theirs).unwrap();
        assert_eq!(*listener.local_addr(), Addr::Tcp(addr));
        let would_block = listener.accept().unwrap_err().kind();
        assert_eq!(would_block, io::ErrorKind::WouldBlock);
        let mut client = TcpStream::connect(addr).unwrap();
        client.write_all(b"x").unwrap();
        let (stream, _) = accept(&listener);
        wait_to_read(stream.socket());
        assert_eq!(stream.recv(&mut [0; 4]).unwrap(), 1);
    }

    #[cfg(all(unix, not(target_vendor = "apple")))]
    #[test]
    fn a_socket_that_does_not_listen_is_not_taken_for_a_listener() {
        use std::os::fd::OwnedFd;
        let bound = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        let datagrams = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let file = std::fs::File::open("/dev/null").unwrap();
        for fd in [bound.into(), datagrams.into(), OwnedFd::from(file)] {
            let error = Listener::try_from(TcpListener::from(fd)).unwrap_err();
            assert_eq!(*error.kind(), BindErrorKind::NotListening);
        }
    }

    #[cfg(any(target_os = "linux", target_os = "android"))]
    #[test]
    fn an_abstract_name_is_bound_and_told_as_given() {
        let name = format!("unix:@polyserve\\x00{}", std::process::id());
        let listener = bind(&name).unwrap();
        assert_eq!(listener.local_addr().to_string(), name);
        assert!(bind(&name).unwrap_err().is_addr_in_use());
        drop(listener);
        bind(&name).unwrap();
    }

    #[cfg(unix)]
    #[test]
    fn a_name_that_does_not_fit_is_an_error() {
        let kind = |addr: BindAddr| {
            let bound = Listener::bind(addr, &SocketOptions::new());
            bound.unwrap_err().kind().clone()
        };
        let (max, len) = (MAX_UNIX_NAME, MAX_UNIX_NAME + 1);
        let too_long = BindErrorKind::NameTooLong { len, max };
        assert_eq!(kind(Path::new(&"p".repeat(len)).into()), too_long);
        assert_eq!(kind(Path::new("").into()), BindErrorKind::InvalidPath);
        assert_eq!(kind(Path::new("a\0b").into()), BindErrorKind::InvalidPath);
        assert_eq!(kind(Path::new("\0a").into()), BindErrorKind::InvalidPath);
        if cfg!(target_os = "linux") {
            let name = format!("unix:@{}", "n".repeat(len));
            assert_eq!(kind(name.parse().unwrap()), too_long);
            let name = format!("unix:@{}", "n".repeat(max));
            assert_eq!(bind(&name).unwrap().local_addr().to_string(), name);
        }
    }
}
