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
//! # Messages
//!
//! With a codec a client speaks in messages: see [`Client`], its methods for codecs, and [`Pool`],
//! which keeps connections for many threads and replaces those that were lost. [`Retry`] is the
//! policy of trying again.
//!
//! # Time-outs
//!
//! | phase | setting | default | runs |
//! |---|---|---|---|
//! | [`Resolve`](Phase::Resolve) | [`resolve_timeout`](ClientBuilder::resolve_timeout) | 8 s | while a name is looked up |
//! | [`Connect`](Phase::Connect) | [`connect_timeout`](ClientBuilder::connect_timeout) | 10 s | over the lookup and all addresses together |
//! | [`Acquire`](Phase::Acquire) | [`acquire_timeout`](PoolBuilder::acquire_timeout) | 10 s | while all connections of a pool are in use |
//! | [`Write`](Phase::Write) | [`write_timeout`](ClientBuilder::write_timeout) | 30 s | from the start of a send until all of it has left |
//! | [`FirstByte`](Phase::FirstByte) | [`first_byte_timeout`](ClientBuilder::first_byte_timeout) | 30 s | from the start of a receive, or from the request's last byte, until something comes |
//! | [`Idle`](Phase::Idle) | [`idle_timeout`](ClientBuilder::idle_timeout) | 30 s | from each byte to the next |
//! | [`Read`](Phase::Read) | [`read_timeout`](ClientBuilder::read_timeout) | 30 s | from the start of a receive, or from the request's last byte, until all is there |
//!
//! The phase is part of the error. Each call begins its clocks anew, and the first that passes
//! ends it. A peer that sends a byte now and then prolongs `Idle` and nothing else. Two calls count
//! otherwise: in [`exchange`](Client::exchange) all clocks begin anew with every byte that moves, and
//! in [`pipeline`](Client::pipeline) with every reply. A time-out is turned off by
//! [`Limit::Unlimited`] and by no other value.

mod builder;
mod connect;
mod deadline;
mod endpoint;
mod error;
mod exchange;
mod halves;
mod inbound;
mod messages;
mod os;
mod patience;
mod pipeline;
mod pool;
mod raw;
mod resolve;
mod retry;
mod split;

pub use builder::ClientBuilder;
pub use endpoint::Endpoint;
pub use error::{Attempt, ClientError, ConnectError, Phase};
pub use exchange::Exchanged;
pub use halves::{ReadHalf, WriteHalf};
pub use pool::{Pool, PoolBuilder, PoolStats, Pooled};
pub use resolve::{Resolve, SystemResolver};
pub use retry::{Retry, Retryable, Schedule};
pub use split::{FrameReader, FrameWriter};

use crate::limit::Limit;
use crate::net::{Addr, Stream};
use halves::Link;
use messages::Messages;
use patience::ReadTimeouts;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

/// A connection to a server, over TCP or a Unix socket.
///
/// Without a codec its calls are about bytes; see the [module](self) for an example. With one
/// they are about messages:
///
/// ```
/// use polyserve::codec::Lines;
/// use polyserve::{Client, Framed, Server};
///
/// let server = Server::builder().bind("127.0.0.1:0")?.spawn(|_peer| {
///     Framed::new(Lines::new(), |line, replies| replies.send(&line.to_uppercase()))
/// })?;
///
/// let mut client = Client::builder().codec(Lines::new()).connect(&server.local_addrs()[0])?;
/// assert_eq!(client.call("hello")?, "HELLO");
/// assert_eq!(client.call_all(["one", "two", "three"])?, ["ONE", "TWO", "THREE"]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// Dropping it closes the connection.
pub struct Client<C = Raw> {
    reader: ReadHalf,
    writer: WriteHalf,
    codec: C,
    messages: Messages,
}

/// In place of a codec: the bytes as they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Raw;

/// How long the calls on a connected client may take.
#[derive(Debug, Clone, Copy)]
struct Timeouts {
    read: ReadTimeouts,
    write: Limit<Duration>,
}

impl Default for Timeouts {
    fn default() -> Self {
        let half_a_minute = Limit::At(Duration::from_secs(30));
        let read =
            ReadTimeouts { first_byte: half_a_minute, idle: half_a_minute, whole: half_a_minute };
        Self { read, write: half_a_minute }
    }
}

impl<C> Client<C> {
    fn new(stream: Stream, peer: Addr, timeouts: Timeouts, codec: C) -> Self {
        let link = Arc::new(Link { stream, peer });
        let reader = ReadHalf::new(Arc::clone(&link), timeouts.read);
        Self::from_halves(reader, WriteHalf::new(link, timeouts.write), codec)
    }

    fn from_halves(reader: ReadHalf, writer: WriteHalf, codec: C) -> Self {
        Self { reader, writer, codec, messages: Messages::default() }
    }

    /// Whether another request may follow the ones so far.
    fn is_reusable(&self) -> bool {
        let is_open = !self.reader.has_failed && !self.writer.is_spent;
        is_open && self.buffered().is_empty() && self.messages.is_in_step()
    }

    /// Ends our stream and leaves the peer's open, so that it knows that nothing more comes and
    /// can still answer (half-close).
    ///
    /// # Errors
    /// [`ClientError::Write`] if the connection is gone already.
    pub fn shutdown_write(&mut self) -> Result<(), ClientError> {
        self.writer.shutdown()
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

    /// Changes the [time-out for the first byte](ClientBuilder::first_byte_timeout).
    pub fn set_first_byte_timeout(&mut self, timeout: impl Into<Limit<Duration>>) {
        self.reader.set_first_byte_timeout(timeout);
    }

    /// Changes the [time-out between two bytes](ClientBuilder::idle_timeout).
    pub fn set_idle_timeout(&mut self, timeout: impl Into<Limit<Duration>>) {
        self.reader.set_idle_timeout(timeout);
    }

    fn set_timeouts(&mut self, timeouts: Timeouts) {
        self.reader.timeouts = timeouts.read;
        self.writer.timeout = timeouts.write;
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

impl<C> fmt::Debug for Client<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("peer", self.peer_addr()).finish_non_exhaustive()
    }
}
