//! A connected socket of either family, and the few calls that sessions make on it.

use super::platform;
use crate::addr::Addr;
use crate::sync::atomic::{AtomicBool, Ordering};
use socket2::Socket;
use std::io;
use std::net::Shutdown;
use std::sync::Arc;
use std::time::Duration;

/// A connected stream socket.
///
/// No call of it is cut short by a signal, none raises `SIGPIPE`, and only [`recv_blocking`] ever
/// waits.
///
/// [`recv_blocking`]: Stream::recv_blocking
#[derive(Debug)]
pub(crate) enum Stream {
    /// Most sockets have one owner. With it: whether the last read left nothing behind. Only who
    /// reads looks at it; it is atomic so that others may hold the stream as well.
    Own(Socket, AtomicBool),
    /// A thread that blocks in a read shares its socket, so that a drain can shut it down from
    /// outside.
    Shared {
        socket: Arc<Socket>,
        /// The end of the stream is of our own making: reads tell `WouldBlock` in its place.
        end_is_ours: bool,
    },
}

/// What another thread holds of a stream, to cut it short. It keeps the descriptor open.
#[derive(Debug)]
pub(crate) struct SharedStream(Arc<Socket>);

impl SharedStream {
    /// Ends one or both directions; a thread that blocks in a read is woken by the end of it.
    pub(crate) fn shutdown(&self, how: Shutdown) {
        // It fails only where the connection has ended already, which wakes the thread as well.
        let _ = self.0.shutdown(how);
    }
}

impl Stream {
    pub(crate) fn new(socket: Socket) -> Self {
        Self::Own(socket, AtomicBool::new(false))
    }

    #[inline]
    pub(crate) fn socket(&self) -> &Socket {
        match self {
            Self::Own(socket, _) => socket,
            Self::Shared { socket, .. } => socket,
        }
    }

    /// Splits off a handle that keeps the descriptor open as long as it lives.
    pub(crate) fn into_shared(self) -> (Self, SharedStream) {
        let (socket, end_is_ours) = match self {
            Self::Own(socket, _) => (Arc::new(socket), false),
            Self::Shared { socket, end_is_ours } => (socket, end_is_ours),
        };
        let shared = SharedStream(Arc::clone(&socket));
        (Self::Shared { socket, end_is_ours }, shared)
    }

    /// Reads what is there. Zero is the end of the stream.
    #[inline]
    pub(crate) fn recv(&self, buf: &mut [u8]) -> io::Result<usize> {
        let result = platform::recv(self.socket(), buf, false);
        self.note_read(&result, buf.len());
        self.judge_end(result)
    }

    /// Reads, and waits until there is something to read, or the read time-out has passed, which
    /// is told as `WouldBlock`, or a signal has come, which is told as `Interrupted`. Nobody but
    /// the peer is sure to end the wait unless [`SHUTDOWN_ENDS_READS`](platform::SHUTDOWN_ENDS_READS).
    pub(crate) fn recv_blocking(&self, buf: &mut [u8]) -> io::Result<usize> {
        platform::recv(self.socket(), buf, true)
    }

    /// Reads what is there into the spare room of `buf`, which must have some.
    pub(crate) fn recv_append(&self, buf: &mut Vec<u8>) -> io::Result<usize> {
        let room = buf.capacity() - buf.len();
        let result = platform::recv_append(self.socket(), buf);
        self.note_read(&result, room);
        self.judge_end(result)
    }

    /// A read that was given less than it had room for has found no more, on TCP. One that would
    /// block says nothing: where it does so for no reason, the poller is asked again.
    fn note_read(&self, result: &io::Result<usize>, room: usize) {
        self.set_drained(matches!(result, Ok(n) if (1..room).contains(n)));
    }

    /// Whether the last read left nothing behind, or `set_drained` has said so since. Not to be
    /// relied on for Unix sockets: messages with descriptors are given one by one.
    pub(crate) fn is_drained(&self) -> bool {
        matches!(self, Self::Own(_, drained) if drained.load(Ordering::Relaxed))
    }

    /// What whoever watches the socket knows of it.
    pub(crate) fn set_drained(&self, is_drained: bool) {
        if let Self::Own(_, drained) = self {
            drained.store(is_drained, Ordering::Relaxed);
        }
    }

    /// The socket was shut down for reading by us: its end is not the peer's.
    pub(crate) fn ignore_end(&mut self) {
        if let Self::Shared { end_is_ours, .. } = self {
            *end_is_ours = true;
        }
    }

    /// Whether the end of the stream can be told from our own shutdown.
    pub(crate) fn sees_end(&self) -> bool {
        !matches!(self, Self::Shared { end_is_ours: true, .. })
    }

    fn judge_end(&self, result: io::Result<usize>) -> io::Result<usize> {
        match result {
            Ok(0) if !self.sees_end() => Err(io::ErrorKind::WouldBlock.into()),
            other => other,
        }
    }

    /// Hands bytes to the system. A short count means that it took no more.
    #[inline]
    pub(crate) fn send(&self, bytes: &[u8]) -> io::Result<usize> {
        platform::send(self.socket(), bytes)
    }

    /// Makes the socket fit for calls that must not wait, where a flag of the call cannot say so.
    pub(crate) fn make_ready_for_polling(&self) -> io::Result<()> {
        platform::make_ready_for_polling(self.socket())
    }

    pub(crate) fn set_read_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        // A zero time-out would mean "for ever" to the system and is an error to socket2.
        let timeout = timeout.map(|t| t.max(Duration::from_millis(1)));
        self.socket().set_read_timeout(timeout)
    }

    pub(crate) fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        self.socket().shutdown(how)
    }

    /// Makes the close that follows a reset (RST) in place of an orderly end.
    pub(crate) fn reset_on_close(&self) {
        // Where the system refuses, the close is an orderly one: nothing better is left to do.
        let _ = self.socket().set_linger(Some(Duration::ZERO));
    }

    /// An error that the system holds for this socket, such as a reset seen by nobody yet.
    pub(crate) fn take_error(&self) -> io::Result<Option<io::Error>> {
        self.socket().take_error()
    }

    pub(crate) fn local_addr(&self) -> io::Result<Addr> {
        Ok(Addr::from_sock_addr(&self.socket().local_addr()?))
    }

    pub(crate) fn peer_addr(&self) -> io::Result<Addr> {
        Ok(Addr::from_sock_addr(&self.socket().peer_addr()?))
    }

    /// Takes the socket out, if nobody else holds it.
    pub(crate) fn into_socket(self) -> io::Result<Socket> {
        match self {
            Self::Own(socket, _) => Ok(socket),
            Self::Shared { socket, .. } => Arc::try_unwrap(socket).or_else(|s| s.try_clone()),
        }
    }
}

/// A socket that was taken out of a server by [`Context::into_stream`](crate::Context::into_stream),
/// and the bytes that were on the way.
///
/// The socket is open and in blocking mode; read and write time-outs may be set. What the peer sent
/// first is in [`unread`](Self::unread), then in the socket. What the handler sent and the system
/// had not taken is in [`unsent`](Self::unsent): whoever goes on must write it first. Turning it into
/// a stream of the standard library drops both, so look at them before.
///
/// ```
/// use polyserve::{Action, BoxError, Context, Handler, Input, Server};
/// use std::io::Write;
///
/// /// Hands each connection to a thread of its own, once something has come.
/// struct HandOver;
///
/// impl Handler for HandOver {
///     fn on_data(&mut self, _: &mut Input<'_>, cx: &mut Context<'_>) -> Result<Action, BoxError> {
///         cx.into_stream(|taken| {
///             std::thread::spawn(move || {
///                 let first = [taken.unsent(), taken.unread()].concat();
///                 let mut stream = taken.into_tcp();
///                 let mut from = stream.try_clone()?;
///                 stream.write_all(&first)?;
///                 std::io::copy(&mut from, &mut stream)
///             });
///         });
///         Ok(Action::Continue)
///     }
/// }
/// # use polyserve::Client;
/// # let server = Server::builder().bind("127.0.0.1:0")?.spawn(|_| HandOver)?;
/// # let mut client = Client::connect(&server.local_addrs()[0])?;
/// # client.send(b"hello")?;
/// # client.shutdown_write()?;
/// # assert_eq!(client.recv_to_end(10)?, b"hello");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct TakenStream {
    socket: Socket,
    unread: Vec<u8>,
    unsent: Vec<u8>,
}

impl TakenStream {
    pub(crate) fn new(socket: Socket, unread: Vec<u8>, unsent: Vec<u8>) -> Self {
        // A thread's own read time-out must not surprise the new owner, who may set another.
        let _ = socket.set_read_timeout(None);
        let _ = socket.set_nonblocking(false);
        Self { socket, unread, unsent }
    }

    /// Input that was received and not consumed.
    pub fn unread(&self) -> &[u8] {
        &self.unread
    }

    /// Output that was sent by the handler and is not written yet.
    pub fn unsent(&self) -> &[u8] {
        &self.unsent
    }

    /// The address of the peer.
    ///
    /// # Errors
    /// As getpeername(2), for example if the peer is gone.
    pub fn peer_addr(&self) -> io::Result<Addr> {
        Ok(Addr::from_sock_addr(&self.socket.peer_addr()?))
    }

    /// The socket as a TCP stream. For one that is a Unix socket, every call that only TCP knows
    /// will fail.
    pub fn into_tcp(self) -> std::net::TcpStream {
        self.socket.into()
    }

    /// The socket as a Unix stream.
    #[cfg(unix)]
    pub fn into_unix(self) -> std::os::unix::net::UnixStream {
        self.socket.into()
    }
}

#[cfg(unix)]
impl From<TakenStream> for std::os::fd::OwnedFd {
    fn from(taken: TakenStream) -> Self {
        taken.socket.into()
    }
}
