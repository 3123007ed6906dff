//! The two directions of a connection. Each has its own time-out and its own calls, so that two
//! threads can use them at the same time.

use super::deadline::Deadline;
use super::error::{ClientError, Phase};
use super::patience::{Patience, ReadTimeouts};
use crate::limit::Limit;
use crate::net::{Addr, Interest, IoClass, Stream, io_class, wait_any};
use std::io;
use std::net::Shutdown;
use std::sync::Arc;
use std::time::Duration;

/// What both directions share.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) stream: Stream,
    pub(super) peer: Addr,
}

impl Link {
    /// Waits for the socket. False is told when the deadline has passed first.
    pub(super) fn wait(&self, interest: Interest, deadline: &Deadline) -> io::Result<bool> {
        // It may end early, with nothing ready.
        loop {
            if wait_any(&[(self.stream.socket(), interest)], None, deadline.at())? {
                return Ok(true);
            }
            if deadline.has_passed() {
                return Ok(false);
            }
        }
    }
}

pub(super) const WRITABLE: Interest = Interest { read: false, write: true };

/// `None` where the call would have had to wait.
pub(super) fn at_once(result: io::Result<usize>) -> io::Result<Option<usize>> {
    match result {
        Ok(n) => Ok(Some(n)),
        Err(error) if io_class(&error) == IoClass::WouldBlock => Ok(None),
        Err(error) => Err(error),
    }
}

/// Room for one read of a size that is not known before.
const READ_BYTES: usize = 16 * 1024;

/// A buffer that has grown beyond this is given back when it is empty.
const KEPT_BYTES: usize = 64 * 1024;

/// The receiving direction of a [`Client`](super::Client).
///
/// Each call has a deadline that is counted from its start, the
/// [read time-out](super::ClientBuilder::read_timeout), and two more for single bytes: for the
/// [first one](super::ClientBuilder::first_byte_timeout), and for each
/// [after it](super::ClientBuilder::idle_timeout). It tries first and waits only when nothing is
/// there, so that a call for which everything has arrived succeeds with any time-out.
#[derive(Debug)]
pub struct ReadHalf {
    pub(super) link: Arc<Link>,
    pub(super) timeouts: ReadTimeouts,
    /// Bytes that were received by a call that did not need them, or that failed later on. Those
    /// before `start` are used up.
    held: Vec<u8>,
    start: usize,
    /// Whether a call has failed.
    pub(super) has_failed: bool,
}

impl ReadHalf {
    pub(super) fn new(link: Arc<Link>, timeouts: ReadTimeouts) -> Self {
        Self { link, timeouts, held: Vec::new(), start: 0, has_failed: false }
    }

    /// Receives what is there, or waits for it. Zero is the end of the stream, or an empty `buf`.
    ///
    /// # Errors
    /// [`ClientError::TimedOut`] and [`ClientError::Read`].
    pub fn recv(&mut self, buf: &mut [u8]) -> Result<usize, ClientError> {
        self.recv_some(buf, &mut self.patience(), 0, None)
    }

    /// Fills `buf`.
    ///
    /// # Errors
    /// [`ClientError::UnexpectedEof`] if the stream ends before, and as [`recv`](Self::recv). The
    /// error tells how many bytes are in `buf` by then.
    pub fn recv_exact(&mut self, buf: &mut [u8]) -> Result<(), ClientError> {
        let mut patience = self.patience();
        let expected = buf.len();
        let mut got = 0;
        while got < expected {
            if got > 0 && patience.whole().has_passed() {
                return Err(self.timed_out(&patience, got, Some(expected)));
            }
            let n = self.recv_some(&mut buf[got..], &mut patience, got, Some(expected))?;
            if n == 0 {
                return Err(self.unexpected_eof(got, Some(expected)));
            }
            got += n;
        }
        Ok(())
    }

    /// Receives up to and including `delimiter`, at most `max` bytes.
    ///
    /// # Errors
    /// [`ClientError::TooLong`] if the delimiter does not end within `max` bytes,
    /// [`ClientError::UnexpectedEof`] if the stream ends before it, and as [`recv`](Self::recv).
    /// What had come is kept for the next call.
    pub fn recv_until(&mut self, delimiter: &[u8], max: usize) -> Result<Vec<u8>, ClientError> {
        let mut patience = self.patience();
        let mut scanned = 0;
        loop {
            let within = &self.buffered()[..self.buffered().len().min(max)];
            if let Some(at) = find(&within[scanned..], delimiter) {
                return Ok(self.take(scanned + at + delimiter.len()));
            }
            // The delimiter may have begun in what was looked at.
            scanned = (within.len() + 1).saturating_sub(delimiter.len().max(1));
            if self.buffered().len() >= max {
                return Err(self.too_long(max));
            }
            if self.fill(&mut patience)? == 0 {
                return Err(self.unexpected_eof(self.buffered().len(), None));
            }
        }
    }

    /// Receives until the peer ends the stream, at most `max` bytes.
    ///
    /// # Errors
    /// [`ClientError::TooLong`] if more than `max` bytes come, and as [`recv`](Self::recv). What
    /// had come is kept for the next call.
    pub fn recv_to_end(&mut self, max: usize) -> Result<Vec<u8>, ClientError> {
        let mut patience = self.patience();
        loop {
            if self.buffered().len() > max {
                return Err(self.too_long(max));
            }
            if self.fill(&mut patience)? == 0 {
                return Ok(self.take(self.buffered().len()));
            }
        }
    }

    /// Bytes that have been received and not yet been handed out. The next call begins with them.
    pub fn buffered(&self) -> &[u8] {
        &self.held[self.start..]
    }

    /// Changes the [read time-out](super::ClientBuilder::read_timeout).
    pub fn set_timeout(&mut self, timeout: impl Into<Limit<Duration>>) {
        self.timeouts.whole = timeout.into();
    }

    /// Changes the [time-out for the first byte](super::ClientBuilder::first_byte_timeout).
    pub fn set_first_byte_timeout(&mut self, timeout: impl Into<Limit<Duration>>) {
        self.timeouts.first_byte = timeout.into();
    }

    /// Changes the [time-out between two bytes](super::ClientBuilder::idle_timeout).
    pub fn set_idle_timeout(&mut self, timeout: impl Into<Limit<Duration>>) {
        self.timeouts.idle = timeout.into();
    }

    /// The address of the other end, as it was connected to.
    pub fn peer_addr(&self) -> &Addr {
        &self.link.peer
    }

    /// The clocks of a call that begins now.
    pub(super) fn patience(&self) -> Patience {
        Patience::start(self.timeouts, !self.buffered().is_empty())
    }

    /// Whether there is nothing to receive, not even the end: so it is with a connection on which
    /// nothing was asked. What was there is lost.
    pub(super) fn is_quiet(&self) -> bool {
        let nothing = at_once(self.link.stream.recv(&mut [0]));
        self.buffered().is_empty() && matches!(nothing, Ok(None))
    }

    /// What is held, and how much of it is used up: bytes may be used up while they are looked
    /// at.
    pub(super) fn parts(&mut self) -> (&[u8], &mut usize) {
        (&self.held, &mut self.start)
    }

    pub(super) fn into_buffered(mut self) -> (Arc<Link>, Vec<u8>) {
        let held = self.take(self.buffered().len());
        (self.link, held)
    }

    /// One read without waiting, first from what is held.
    pub(super) fn recv_at_once(&mut self, buf: &mut [u8]) -> Result<Option<usize>, ClientError> {
        if buf.is_empty() {
            return Ok(Some(0));
        }
        if !self.buffered().is_empty() {
            return Ok(Some(self.unload(buf)));
        }
        at_once(self.link.stream.recv(buf)).map_err(|source| self.broken(source))
    }

    /// One read. `done` and `total` are for the message of a time-out.
    fn recv_some(
        &mut self,
        buf: &mut [u8],
        patience: &mut Patience,
        done: usize,
        total: Option<usize>,
    ) -> Result<usize, ClientError> {
        loop {
            if let Some(n) = self.recv_at_once(buf)? {
                // Its callers look at the deadline themselves.
                let _ = patience.received(n);
                return Ok(n);
            }
            if !self.wait(patience)? {
                return Err(self.timed_out(patience, done, total));
            }
        }
    }

    /// One read, to be held. Zero is the end of the stream.
    pub(super) fn fill(&mut self, patience: &mut Patience) -> Result<usize, ClientError> {
        loop {
            if let Some(n) = self.fill_at_once(patience)? {
                return Ok(n);
            }
            if !self.wait(patience)? {
                return Err(self.timed_out(patience, self.buffered().len(), None));
            }
        }
    }

    /// One read without waiting, to be held.
    pub(super) fn fill_at_once(
        &mut self,
        patience: &mut Patience,
    ) -> Result<Option<usize>, ClientError> {
        if self.start > 0 {
            self.held.drain(..self.start);
            self.start = 0;
        }
        self.held.reserve(READ_BYTES);
        let read = at_once(self.link.stream.recv_append(&mut self.held));
        let n = read.map_err(|source| self.broken(source))?;
        if n.is_some_and(|n| !patience.received(n)) {
            return Err(self.timed_out(patience, self.buffered().len(), None));
        }
        Ok(n)
    }

    fn wait(&mut self, patience: &Patience) -> Result<bool, ClientError> {
        let ready = self.link.wait(Interest::READ, patience.nearest().0);
        ready.map_err(|source| self.broken(source))
    }

    fn unload(&mut self, buf: &mut [u8]) -> usize {
        let n = buf.len().min(self.buffered().len());
        buf[..n].copy_from_slice(&self.buffered()[..n]);
        self.consume(n);
        n
    }

    fn take(&mut self, n: usize) -> Vec<u8> {
        if self.start == 0 && n == self.held.len() {
            return std::mem::take(&mut self.held);
        }
        let bytes = self.buffered()[..n].to_vec();
        self.consume(n);
        bytes
    }

    fn consume(&mut self, n: usize) {
        self.start += n;
        self.tidy();
    }

    /// Begins the buffer anew when all of it is used up.
    pub(super) fn tidy(&mut self) {
        if self.start < self.held.len() {
            return;
        }
        self.start = 0;
        match self.held.capacity() {
            ..=KEPT_BYTES => self.held.clear(),
            _ => self.held = Vec::new(),
        }
    }

    pub(super) fn timed_out(
        &mut self,
        patience: &Patience,
        done: usize,
        total: Option<usize>,
    ) -> ClientError {
        self.has_failed = true;
        let (deadline, phase) = patience.nearest();
        ClientError::timed_out(phase, self.peer_addr(), deadline, done, total)
    }

    pub(super) fn broken(&mut self, source: io::Error) -> ClientError {
        self.has_failed = true;
        ClientError::Read { peer: self.peer_addr().clone(), source }
    }

    pub(super) fn unexpected_eof(&mut self, got: usize, expected: Option<usize>) -> ClientError {
        self.has_failed = true;
        ClientError::UnexpectedEof { peer: self.peer_addr().clone(), got, expected }
    }

    fn too_long(&mut self, max: usize) -> ClientError {
        self.has_failed = true;
        ClientError::TooLong { peer: self.peer_addr().clone(), got: self.buffered().len(), max }
    }
}

fn find(bytes: &[u8], delimiter: &[u8]) -> Option<usize> {
    match delimiter {
        [] => Some(0),
        [byte] => bytes.iter().position(|b| b == byte),
        _ => bytes.windows(delimiter.len()).position(|w| w == delimiter),
    }
}

/// Receives as [`recv`](ReadHalf::recv) does; a time-out is `TimedOut` on every system.
impl io::Read for ReadHalf {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        Ok(self.recv(buf)?)
    }
}

/// The sending direction of a [`Client`](super::Client).
///
/// Each call has one deadline, which is counted from its start: the
/// [write time-out](super::ClientBuilder::write_timeout).
#[derive(Debug)]
pub struct WriteHalf {
    pub(super) link: Arc<Link>,
    pub(super) timeout: Limit<Duration>,
    /// How much of how much left, when a message was cut short.
    cut: Option<(usize, usize)>,
    /// Whether a call has failed, or our stream was ended.
    pub(super) is_spent: bool,
}

impl WriteHalf {
    pub(super) fn new(link: Arc<Link>, timeout: Limit<Duration>) -> Self {
        Self { link, timeout, cut: None, is_spent: false }
    }

    /// Hands all of `bytes` to the system.
    ///
    /// That the system has taken them does not mean that the peer has: only its answer tells.
    ///
    /// A peer that does not read stops this call as soon as the buffers between the two are full.
    /// If it does not read because it waits for us to read, both wait until the time-out:
    /// [`Client::exchange`](super::Client::exchange) reads at the same time.
    ///
    /// # Errors
    /// [`ClientError::TimedOut`] and [`ClientError::Write`] tell how many bytes had left. If that
    /// was only a part, whatever came next would be taken for the rest; so nothing more can be
    /// sent, and every later call returns [`ClientError::Incomplete`].
    pub fn send(&mut self, bytes: &[u8]) -> Result<(), ClientError> {
        let deadline = Deadline::start(self.timeout);
        let mut sent = 0;
        while sent < bytes.len() {
            if sent > 0 && deadline.has_passed() {
                return Err(self.timed_out(&deadline, sent, bytes.len()));
            }
            sent += self.send_some(bytes, sent, &deadline)?;
        }
        Ok(())
    }

    /// Ends our stream, and leaves the peer's open: it reads the end of the stream after
    /// everything that was sent, and can still answer.
    ///
    /// # Errors
    /// [`ClientError::Write`] if the connection is gone already.
    pub fn shutdown(&mut self) -> Result<(), ClientError> {
        self.is_spent = true;
        let result = self.link.stream.shutdown(Shutdown::Write);
        result.map_err(|source| self.broken(source, 0, 0))
    }

    /// Changes the [write time-out](super::ClientBuilder::write_timeout).
    pub fn set_timeout(&mut self, timeout: impl Into<Limit<Duration>>) {
        self.timeout = timeout.into();
    }

    /// The address of the other end, as it was connected to.
    pub fn peer_addr(&self) -> &Addr {
        &self.link.peer
    }

    /// One write without waiting, of what is left of `bytes` after the first `sent`.
    pub(super) fn send_at_once(
        &mut self,
        bytes: &[u8],
        sent: usize,
    ) -> Result<Option<usize>, ClientError> {
        if let Some((sent, total)) = self.cut {
            return Err(ClientError::Incomplete { peer: self.peer_addr().clone(), sent, total });
        }
        at_once(self.link.stream.send(&bytes[sent..]))
            .map_err(|source| self.broken(source, sent, bytes.len()))
    }

    /// One write, of what is left of `bytes` after the first `sent`.
    fn send_some(
        &mut self,
        bytes: &[u8],
        sent: usize,
        deadline: &Deadline,
    ) -> Result<usize, ClientError> {
        loop {
            if let Some(n) = self.send_at_once(bytes, sent)? {
                return Ok(n);
            }
            let ready = self.link.wait(WRITABLE, deadline);
            if !ready.map_err(|source| self.broken(source, sent, bytes.len()))? {
                return Err(self.timed_out(deadline, sent, bytes.len()));
            }
        }
    }

    /// Remembers that a message was cut short, if it was.
    pub(super) fn stopped_after(&mut self, sent: usize, total: usize) {
        if 0 < sent && sent < total {
            self.cut = Some((sent, total));
        }
    }

    pub(super) fn timed_out(
        &mut self,
        deadline: &Deadline,
        sent: usize,
        total: usize,
    ) -> ClientError {
        self.is_spent = true;
        self.stopped_after(sent, total);
        ClientError::timed_out(Phase::Write, self.peer_addr(), deadline, sent, Some(total))
    }

    fn broken(&mut self, source: io::Error, sent: usize, total: usize) -> ClientError {
        self.is_spent = true;
        self.stopped_after(sent, total);
        ClientError::Write { peer: self.peer_addr().clone(), sent, total, source }
    }
}

/// Sends; a time-out is `TimedOut` on every system. A `write` that takes only a part says so, and
/// the next one goes on; a `write_all` is a [`send`](WriteHalf::send).
impl io::Write for WriteHalf {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if bytes.is_empty() {
            return Ok(0);
        }
        Ok(self.send_some(bytes, 0, &Deadline::start(self.timeout))?)
    }

    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        Ok(self.send(bytes)?)
    }

    /// Nothing is held back, so there is nothing to do.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
