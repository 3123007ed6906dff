//! A blocking client: every call ends by bytes, by an error that says where and when, or by its
//! deadline.
//!
//! ```
//! # use std::net::TcpListener;
//! # use std::io::{Read, Write};
//! use polyserve::Client;
//!
//! # let listener = TcpListener::bind("127.0.0.1:0")?;
//! # let server = listener.local_addr()?.to_string();
//! # std::thread::spawn(move || {
//! #     let (mut stream, _) = listener.accept().unwrap();
//! #     std::io::copy(&mut stream.try_clone().unwrap(), &mut stream).unwrap();
//! # });
//! let mut client = Client::connect(&server)?;
//! client.send(b"hello\n")?;
//! assert_eq!(client.recv_until(b"\n", 1024)?, b"hello\n");
//!
//! client.send(b"goodbye")?;
//! client.shutdown_write()?;
//! assert_eq!(client.recv_to_end(1024)?, b"goodbye");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Time-outs
//!
//! Each call has one deadline, counted from its start: connecting over all addresses and the
//! lookup of the name ([`connect_timeout`](ClientBuilder::connect_timeout)), a send over all of its
//! bytes, a receive until it has what it was called for. A peer that sends a byte now and then
//! does not prolong it. Only [`exchange`](Client::exchange) counts anew with every byte that moves.
//! A deadline is turned off by [`Limit::Unlimited`] and by no other value.

mod builder;
mod connect;
mod deadline;
mod endpoint;
mod error;
mod exchange;
mod halves;
mod os;
mod resolve;

pub use builder::ClientBuilder;
pub use endpoint::Endpoint;
pub use error::{Attempt, ClientError, ConnectError, Phase};
pub use exchange::Exchanged;
pub use halves::{ReadHalf, WriteHalf};
pub use resolve::{Resolve, SystemResolver};

use crate::limit::Limit;
use crate::net::{Addr, Stream};
use exchange::Afterwards;
use halves::Link;
use std::io;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

/// A connection to a server, over TCP or a Unix socket. See the [module](self) for an example.
///
/// Dropping it closes the connection.
#[derive(Debug)]
pub struct Client {
    reader: ReadHalf,
    writer: WriteHalf,
}

/// How long the calls on a connected client may take.
#[derive(Debug, Clone, Copy)]
struct Timeouts {
    read: Limit<Duration>,
    write: Limit<Duration>,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self { read: Limit::At(Duration::from_secs(30)), write: Limit::At(Duration::from_secs(30)) }
    }
}

impl Client {
    /// Connects with the default settings: to `"host:port"`, `"unix:/path"`, a
    /// [`SocketAddr`](std::net::SocketAddr), or whatever else is an [`Endpoint`].
    ///
    /// # Errors
    /// [`ConnectError`] names the phase, and lists what each address answered.
    pub fn connect(to: impl Into<Endpoint>) -> Result<Self, ConnectError> {
        Self::builder().connect(to)
    }

    /// The default settings, to be changed before connecting.
    pub fn builder() -> ClientBuilder {
        ClientBuilder::default()
    }

    fn new(stream: Stream, peer: Addr, timeouts: Timeouts) -> Self {
        let link = Arc::new(Link { stream, peer });
        Self {
            reader: ReadHalf::new(Arc::clone(&link), timeouts.read),
            writer: WriteHalf::new(link, timeouts.write),
        }
    }

    /// Hands all of `bytes` to the system, as [`WriteHalf::send`] tells in detail.
    ///
    /// # Errors
    /// Those of [`WriteHalf::send`]. After an error that tells of a part that left, nothing more
    /// can be sent; receiving still works.
    pub fn send(&mut self, bytes: &[u8]) -> Result<(), ClientError> {
        self.writer.send(bytes)
    }

    /// Receives what is there, or waits for it. Zero is the end of the stream, or an empty `buf`.
    ///
    /// # Errors
    /// [`ClientError::TimedOut`] and [`ClientError::Read`].
    pub fn recv(&mut self, buf: &mut [u8]) -> Result<usize, ClientError> {
        self.reader.recv(buf)
    }

    /// Fills `buf`.
    ///
    /// # Errors
    /// Those of [`ReadHalf::recv_exact`]: an end of the stream before is
    /// [`ClientError::UnexpectedEof`], never a short success.
    pub fn recv_exact(&mut self, buf: &mut [u8]) -> Result<(), ClientError> {
        self.reader.recv_exact(buf)
    }

    /// Receives up to and including `delimiter`, at most `max` bytes.
    ///
    /// # Errors
    /// Those of [`ReadHalf::recv_until`]. What had come is kept for the next call.
    pub fn recv_until(&mut self, delimiter: &[u8], max: usize) -> Result<Vec<u8>, ClientError> {
        self.reader.recv_until(delimiter, max)
    }

    /// Receives until the peer ends the stream, at most `max` bytes.
    ///
    /// # Errors
    /// Those of [`ReadHalf::recv_to_end`]. What had come is kept for the next call.
    pub fn recv_to_end(&mut self, max: usize) -> Result<Vec<u8>, ClientError> {
        self.reader.recv_to_end(max)
    }

    /// Ends our stream and leaves the peer's open, so that it knows that nothing more comes and
    /// can still answer (half-close).
    ///
    /// # Errors
    /// [`ClientError::Write`] if the connection is gone already.
    pub fn shutdown_write(&mut self) -> Result<(), ClientError> {
        self.writer.shutdown()
    }

    /// Sends `request`, and hands what comes in, meanwhile and afterwards, to `on_reply`, until
    /// that says `Break` or the peer has ended its stream.
    ///
    /// A peer that answers while it reads, as an echo server does, stops reading when nobody
    /// takes its answers. Sending it more than the buffers between the two hold, and only then
    /// receiving, would wait for ever; this call does both at the same time.
    ///
    /// If the peer ends its stream early, the rest of the request is still sent. If `on_reply` has
    /// enough early, the rest is not, and nothing more can be sent.
    ///
    /// ```
    /// # use std::net::TcpListener;
    /// use polyserve::Client;
    /// use std::ops::ControlFlow;
    ///
    /// # let listener = TcpListener::bind("127.0.0.1:0")?;
    /// # let echo_server = listener.local_addr()?;
    /// # std::thread::spawn(move || {
    /// #     let (mut stream, _) = listener.accept().unwrap();
    /// #     std::io::copy(&mut stream.try_clone().unwrap(), &mut stream).unwrap();
    /// # });
    /// let mut client = Client::connect(echo_server)?;
    /// let request = vec![7; 8 << 20];
    /// let mut left = request.len();
    /// client.exchange(&request, |piece| {
    ///     left -= piece.len();
    ///     if left == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    /// })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As [`send`](Self::send) and [`recv`](Self::recv), but its time-outs count from the last
    /// byte that moved in either direction: the write time-out while there is something to send,
    /// then the read time-out. Everything that arrived before an error was handed to `on_reply`.
    pub fn exchange(
        &mut self,
        request: &[u8],
        on_reply: impl FnMut(&[u8]) -> ControlFlow<()>,
    ) -> Result<Exchanged, ClientError> {
        exchange::exchange(self, request, Afterwards::StayOpen, on_reply)
    }

    /// As [`exchange`](Self::exchange), but ends our stream after the request, as
    /// [`shutdown_write`](Self::shutdown_write) does: for peers that answer, or end, when they
    /// have seen the end.
    ///
    /// # Errors
    /// As [`exchange`](Self::exchange).
    pub fn exchange_to_end(
        &mut self,
        request: &[u8],
        on_reply: impl FnMut(&[u8]) -> ControlFlow<()>,
    ) -> Result<Exchanged, ClientError> {
        exchange::exchange(self, request, Afterwards::HalfClose, on_reply)
    }

    /// Lends the two directions, each to a thread of its own.
    ///
    /// ```
    /// # use std::net::TcpListener;
    /// # use polyserve::Client;
    /// # let listener = TcpListener::bind("127.0.0.1:0")?;
    /// # let echo_server = listener.local_addr()?;
    /// # std::thread::spawn(move || {
    /// #     let (mut stream, _) = listener.accept().unwrap();
    /// #     std::io::copy(&mut stream.try_clone().unwrap(), &mut stream).unwrap();
    /// # });
    /// let mut client = Client::connect(echo_server)?;
    /// let (reader, writer) = client.split();
    /// let mut replies = vec![0; 8 << 20];
    /// std::thread::scope(|scope| {
    ///     scope.spawn(|| writer.send(&vec![7; 8 << 20]));
    ///     reader.recv_exact(&mut replies)
    /// })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn split(&mut self) -> (&mut ReadHalf, &mut WriteHalf) {
        (&mut self.reader, &mut self.writer)
    }

    /// Parts the two directions for good. The connection is closed when both are dropped.
    pub fn into_split(self) -> (ReadHalf, WriteHalf) {
        (self.reader, self.writer)
    }

    /// Bytes that have been received and not yet been handed out. The next call begins with them.
    pub fn buffered(&self) -> &[u8] {
        self.reader.buffered()
    }

    /// Changes the [read time-out](ClientBuilder::read_timeout).
    pub fn set_read_timeout(&mut self, timeout: impl Into<Limit<Duration>>) {
        self.reader.set_timeout(timeout);
    }

    /// Changes the [write time-out](ClientBuilder::write_timeout).
    pub fn set_write_timeout(&mut self, timeout: impl Into<Limit<Duration>>) {
        self.writer.set_timeout(timeout);
    }

    /// The address of the other end, as it was connected to.
    pub fn peer_addr(&self) -> &Addr {
        self.reader.peer_addr()
    }

    /// The address of this end. A TCP client's port is one that the system chose.
    ///
    /// # Errors
    /// Whatever the system says; for a connected socket it normally says nothing.
    pub fn local_addr(&self) -> io::Result<Addr> {
        self.reader.link.stream.local_addr()
    }
}

/// Receives as [`recv`](Client::recv) does; a time-out is `TimedOut` on every system.
impl io::Read for Client {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.reader.read(buf)
    }
}

/// Sends as [`WriteHalf`] does.
impl io::Write for Client {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.writer.write(bytes)
    }

    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.writer.write_all(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.writer.flush()
    }
}
