//! Systems that are not Unix, which is to say Windows: no flag of a call says that it must not
//! wait, so that sockets are set to non-blocking mode, and every wait is that of a poller.

use crate::net::Interest;
use crate::net::registration::{Mode, Registration};
use polling::{Events, Poller};
use socket2::{SockAddr, Socket};
use std::io::{self, Read};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The most that one read appends: as much as is zeroed for it beforehand.
const MAX_APPEND: usize = 64 * 1024;

/// The longest wait. Some pollers are known to lose a wake-up now and then; the caller looks
/// after itself at least this often, so that a lost one is only late.
const MAX_WAIT: Duration = Duration::from_millis(500);

/// Such a read goes on until the peer sends something or ends.
#[cfg_attr(unix, allow(dead_code))] // compiled there for its tests only
pub(crate) const SHUTDOWN_ENDS_READS: bool = false;

/// The socket was shut down for writing.
const WSAESHUTDOWN: i32 = 10058;

pub(crate) fn recv(socket: &Socket, buf: &mut [u8], _may_block: bool) -> io::Result<usize> {
    let mut socket = socket;
    repeat(|| socket.read(buf))
}

pub(crate) fn recv_append(socket: &Socket, buf: &mut Vec<u8>) -> io::Result<usize> {
    debug_assert!(buf.capacity() > buf.len(), "a read needs room");
    let len = buf.len();
    let room = (buf.capacity() - len).min(MAX_APPEND);
    // No safe call reads into bytes that are not initialized.
    buf.resize(len + room, 0);
    let result = recv(socket, &mut buf[len..], false);
    buf.truncate(len + result.as_ref().map_or(0, |n| *n));
    result
}

pub(crate) fn send(socket: &Socket, bytes: &[u8]) -> io::Result<usize> {
    repeat(|| socket.send(bytes)).map_err(|error| match error.raw_os_error() {
        // The standard library has no kind for what other systems tell by EPIPE.
        Some(WSAESHUTDOWN) => io::ErrorKind::BrokenPipe.into(),
        _ => error,
    })
}

fn repeat(mut call: impl FnMut() -> io::Result<usize>) -> io::Result<usize> {
    loop {
        match call() {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => (),
            other => return other,
        }
    }
}

pub(crate) fn make_ready_for_polling(socket: &Socket) -> io::Result<()> {
    socket.set_nonblocking(true)
}

/// Takes one connection, for calls that do not wait: nobody would end a read that does.
pub(crate) fn accept(listener: &Socket) -> io::Result<(Socket, SockAddr)> {
    let (socket, addr) = listener.accept()?;
    make_ready_for_polling(&socket)?;
    Ok((socket, addr))
}

// Nothing is known that would do it.
#[cfg(not(unix))]
pub(crate) fn refuse_newcomers(_listener: &Socket, _is_tcp: bool) {}

/// What another thread rings to end a wait. Several rings may become one.
///
/// A socket and a bell cannot be waited for together but by a poller, which has a bell of its own.
#[derive(Debug)]
pub(crate) struct WakeFd {
    poller: Arc<Poller>,
}

impl WakeFd {
    pub(crate) fn new() -> io::Result<Self> {
        let poller = Arc::new(Poller::new()?);
        Ok(Self { poller })
    }

    pub(crate) fn ring(&self) {
        // It fails when the system is out of memory; then the wait ends by its limit.
        let _ = self.poller.notify();
    }

    #[cfg(test)]
    fn clear(&self) {
        let _ = self.poller.wait(&mut Events::new(), Some(Duration::ZERO));
    }
}

/// Waits until one of the sockets is ready for what it is wanted for, the bell rings, or the
/// deadline has passed; it may also return early, with nothing ready. The bell is cleared. Returns
/// whether any socket is ready for anything.
///
/// The sockets must not be in use with the same bell by another thread.
pub(crate) fn wait_any(
    sources: &[(&Socket, Interest)],
    wake: Option<&WakeFd>,
    deadline: Option<Instant>,
) -> io::Result<bool> {
    let poller = match wake {
        Some(wake) => Arc::clone(&wake.poller),
        None => Arc::new(Poller::new()?),
    };
    // They are deleted when this returns, whichever way.
    let _watched = sources
        .iter()
        .enumerate()
        .map(|(key, (socket, interest))| {
            Registration::new(Arc::clone(&poller), *socket, key, *interest, Mode::Oneshot)
        })
        .collect::<io::Result<Vec<_>>>()?;
    let mut events = Events::new();
    poller.wait(&mut events, Some(time_left(deadline)))?;
    Ok(!events.is_empty())
}

fn time_left(deadline: Option<Instant>) -> Duration {
    deadline.map_or(MAX_WAIT, |deadline| {
        deadline.saturating_duration_since(Instant::now()).min(MAX_WAIT)
    })
}

/// There is no such thing here: what comes after a shutdown for reading is dropped.
#[derive(Debug)]
#[cfg_attr(unix, allow(dead_code))] // compiled there for its tests only
pub(crate) enum EdgeWatch {}

#[cfg_attr(unix, allow(dead_code))]
impl EdgeWatch {
    pub(crate) fn new(_socket: &Socket) -> io::Result<Option<Self>> {
        Ok(None)
    }

    pub(crate) fn wait(
        &self,
        _socket: &Socket,
        _writes: bool,
        _wake: &WakeFd,
        _deadline: Option<Instant>,
    ) -> io::Result<bool> {
        match *self {}
    }
}

/// Process, user and group at the other end of a Unix socket: there are none here.
pub(crate) fn credentials(_socket: &Socket) -> Option<(i32, u32, u32)> {
    None
}

/// There is no limit of descriptors to speak of.
#[cfg_attr(unix, allow(dead_code))] // compiled there for its tests only
pub(crate) fn descriptor_limit() -> Option<usize> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use socket2::{Domain, Type};
    use std::net::{Ipv4Addr, SocketAddr};

    const READ: Interest = Interest::READ;
    const WRITE: Interest = Interest { read: false, write: true };

    fn listener() -> Socket {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        let any_port = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        socket.bind(&any_port.into()).unwrap();
        socket.listen(1).unwrap();
        socket.set_nonblocking(true).unwrap();
        socket
    }

    fn pair() -> (Socket, Socket) {
        let listener = listener();
        let client = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        client.connect(&listener.local_addr().unwrap()).unwrap();
        assert!(wait_for(&[(&listener, READ)], None));
        let (server, _) = accept(&listener).unwrap();
        (client, server)
    }

    fn soon() -> Option<Instant> {
        Some(Instant::now() + Duration::from_millis(10))
    }

    /// Waits until something is ready, over early returns.
    fn wait_for(sources: &[(&Socket, Interest)], wake: Option<&WakeFd>) -> bool {
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            let ready = wait_any(sources, wake, Some(deadline)).unwrap();
            if ready || Instant::now() > deadline {
                return ready;
            }
        }
    }

    #[test]
    fn a_connection_carries_bytes_both_ways() {
        let (client, server) = pair();
        assert_eq!(send(&client, b"hello").unwrap(), 5);
        assert!(wait_for(&[(&server, READ)], None));
        assert_eq!(recv(&server, &mut [0; 8], false).unwrap(), 5);
        let error = recv(&server, &mut [0; 8], false).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
        assert!(credentials(&server).is_none());
    }

    #[test]
    fn what_is_appended_stands_behind_what_is_there() {
        let (client, server) = pair();
        let mut buf = Vec::with_capacity(100);
        buf.extend_from_slice(b"ab");
        assert!(recv_append(&server, &mut buf).is_err());
        assert_eq!(buf, b"ab");
        send(&client, b"cd").unwrap();
        wait_for(&[(&server, READ)], None);
        assert_eq!(recv_append(&server, &mut buf).unwrap(), 2);
        assert_eq!(buf, b"abcd");
        drop(client);
        wait_for(&[(&server, READ)], None);
        assert_eq!(recv_append(&server, &mut buf).unwrap(), 0);
        assert_eq!(buf, b"abcd");
    }

    #[test]
    fn only_what_is_ready_is_told() {
        let wake = WakeFd::new().unwrap();
        let ((client, server), (_other, quiet)) = (pair(), pair());
        let sources = [(&quiet, READ), (&server, READ), (&quiet, Interest::default())];
        let quiet_all = wait_any(&sources, Some(&wake), soon()).unwrap();
        assert!(!quiet_all);
        send(&client, b"x").unwrap();
        assert!(wait_for(&sources, Some(&wake)));
        assert!(wait_for(&[(&quiet, WRITE)], Some(&wake)));
    }

    #[test]
    fn a_ring_ends_a_wait_before_or_during_it() {
        let wake = WakeFd::new().unwrap();
        let (_client, server) = pair();
        let wait = |deadline| wait_any(&[(&server, READ)], Some(&wake), deadline).unwrap();
        wake.ring();
        wake.ring();
        assert!(!wait(None));
        std::thread::scope(|scope| {
            scope.spawn(|| wake.ring());
            assert!(!wait(None));
        });
        wake.ring();
        wake.clear();
        let start = Instant::now();
        wait(Some(start + Duration::from_millis(20)));
        assert!(start.elapsed() >= Duration::from_millis(20));
    }
}
