//! The calls of a client without a codec: bytes out, bytes in.

use super::error::ClientError;
use super::exchange::{self, Afterwards, Exchanged};
use super::halves::{ReadHalf, WriteHalf};
use super::{Client, ClientBuilder, ConnectError, Endpoint, Raw};
use std::io;
use std::ops::ControlFlow;

impl Client<Raw> {
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

    /// Goes on in messages rather than in bytes, as
    /// [`ClientBuilder::codec`] does from the start. Bytes that were received and not yet handed
    /// out are the first of the first frame.
    ///
    /// ```
    /// # use std::net::{TcpListener, TcpStream};
    /// # use std::io::Write;
    /// use polyserve::Client;
    /// use polyserve::codec::Lines;
    ///
    /// # let listener = TcpListener::bind("127.0.0.1:0")?;
    /// # let stream = TcpStream::connect(listener.local_addr()?)?;
    /// # listener.accept()?.0.write_all(b"hello\n")?;
    /// let mut client = Client::try_from(stream)?.with_codec(Lines::new());
    /// assert_eq!(client.recv()?.as_deref(), Some("hello"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn with_codec<C>(self, codec: C) -> Client<C> {
        Client::from_halves(self.reader, self.writer, codec)
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
}

/// Receives as [`recv`](Client::recv) does; a time-out is `TimedOut` on every system.
impl io::Read for Client<Raw> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.reader.read(buf)
    }
}

/// Sends as [`WriteHalf`] does.
impl io::Write for Client<Raw> {
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
