//! Connecting to one address, for clients.

use super::stream::Stream;
use crate::addr::{Addr, UnixName};
use socket2::{Protocol, SockAddr, Socket, Type};
use std::io;
use std::time::{Duration, Instant};

/// A poll of zero milliseconds would never find a connection, not even on this machine.
const LEAST_TIMEOUT: Duration = Duration::from_millis(1);

/// What an attempt without a time-out gets. Every system gives up on its own long before.
const LONGEST_TIMEOUT: Duration = Duration::from_secs(24 * 60 * 60);

/// Connects to one address within the time-out; without one, for as long as the system tries.
///
/// # Errors
/// `TimedOut` if there was no answer in time, else what the system said.
pub(crate) fn connect(addr: &Addr, timeout: Option<Duration>, nodelay: bool) -> io::Result<Stream> {
    let to = sock_addr(addr)?;
    let protocol = addr.as_tcp().map(|_| Protocol::TCP);
    let socket = Socket::new(to.domain(), Type::STREAM, protocol)?;
    apply_options(&socket, addr, nodelay)?;
    match addr {
        Addr::Tcp(_) => {
            let timeout = timeout.unwrap_or(LONGEST_TIMEOUT).max(LEAST_TIMEOUT);
            connect_tcp(&socket, &to, timeout)?;
            refuse_self_connect(&socket)?;
        }
        Addr::Unix(_) => connect_unix(&socket, &to, timeout)?,
    }
    let stream = Stream::new(socket);
    stream.make_ready_for_polling()?;
    Ok(stream)
}

fn sock_addr(addr: &Addr) -> io::Result<SockAddr> {
    match addr {
        Addr::Tcp(addr) => Ok((*addr).into()),
        Addr::Unix(UnixName::Path(path)) => SockAddr::unix(path),
        Addr::Unix(UnixName::Abstract(name)) => {
            let name = std::str::from_utf8(name)
                .map_err(|_| invalid("an abstract name to connect to must be UTF-8"))?;
            SockAddr::unix(format!("\0{name}"))
        }
        Addr::Unix(UnixName::Unnamed) => Err(invalid("a socket without a name cannot be found")),
    }
}

fn invalid(problem: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, problem)
}

fn apply_options(socket: &Socket, addr: &Addr, nodelay: bool) -> io::Result<()> {
    match addr {
        Addr::Tcp(_) => socket.set_tcp_nodelay(nodelay),
        Addr::Unix(_) => Ok(()),
    }
}

/// A peer that takes the connection and leaves at once was connected all the same: reading tells of
/// its end. Where poll(2) reports the end of one direction as that of both (Windows), socket2 makes
/// an error of it, which has no number.
pub(crate) fn connect_tcp(socket: &Socket, to: &SockAddr, timeout: Duration) -> io::Result<()> {
    match socket.connect_timeout(to, timeout) {
        Err(error)
            if error.raw_os_error().is_none()
                && error.kind() == io::ErrorKind::Other
                && socket.peer_addr().is_ok() =>
        {
            Ok(())
        }
        other => other,
    }
}

/// A Unix socket is connected at once, or waits in `connect` for room in the listener's backlog
/// for as long as `SO_SNDTIMEO` allows (unix(7) does not say so; `unix_stream_connect` in Linux
/// does). poll(2) cannot be used: without room there is nothing under way that it could tell of.
fn connect_unix(socket: &Socket, to: &SockAddr, timeout: Option<Duration>) -> io::Result<()> {
    let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
    let left = || deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
    let has_passed = || left() == Some(Duration::ZERO);
    loop {
        // Zero would be "for ever" to the system.
        socket.set_write_timeout(left().map(|left| left.max(LEAST_TIMEOUT)))?;
        match socket.connect(to) {
            Ok(()) => return socket.set_write_timeout(None),
            // signal(7): with a time-out set, SA_RESTART does not apply.
            Err(e) if e.kind() == io::ErrorKind::Interrupted && !has_passed() => (),
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                return Err(io::ErrorKind::TimedOut.into());
            }
            Err(e) => return Err(e),
        }
    }
}

/// A connect from this machine to a port of it on which nobody listens can meet itself, when the
/// system picks that very port for the client's end: a simultaneous open (RFC 9293, section 3.5)
/// with only one socket in it. The caller would talk to itself, and keep the server from binding
/// its port. Go's `net` guards against it too (`selfConnect` in `tcpsock_posix.go`, issue 2690).
fn refuse_self_connect(socket: &Socket) -> io::Result<()> {
    // A peer that has reset the connection has no address any more; the first read tells of it.
    let Ok(peer) = socket.peer_addr() else {
        return Ok(());
    };
    if socket.local_addr()?.as_socket() == peer.as_socket() {
        // A reset leaves no TIME_WAIT behind, which would hold the port for another minute.
        let _ = socket.set_linger(Some(Duration::ZERO));
        return Err(io::ErrorKind::ConnectionRefused.into());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use socket2::Domain;
    use std::net::{Ipv4Addr, TcpListener, TcpStream};

    #[test]
    fn a_socket_connected_to_itself_is_refused() {
        let any_port = SockAddr::from(std::net::SocketAddr::from((Ipv4Addr::LOCALHOST, 0)));
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.bind(&any_port).unwrap();
        socket.connect(&socket.local_addr().unwrap()).unwrap();
        let error = refuse_self_connect(&socket).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
    }

    #[test]
    fn a_peer_that_leaves_at_once_was_connected_all_the_same() {
        const ROUNDS: usize = 200;
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = Addr::Tcp(listener.local_addr().unwrap());
        let leaving = std::thread::spawn(move || {
            (0..ROUNDS).for_each(|_| drop(listener.accept().unwrap()));
        });
        for round in 0..ROUNDS {
            let stream = connect(&addr, Some(Duration::from_secs(10)), true);
            assert!(stream.is_ok(), "round {round}: {stream:?}");
        }
        leaving.join().unwrap();
    }

    #[test]
    fn a_socket_connected_to_another_is_not() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        refuse_self_connect(&stream.into()).unwrap();
    }
}
