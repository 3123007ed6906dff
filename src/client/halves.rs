//! The two directions of a connection. Each has its own time-out and its own calls, so that two
//! threads can use them at the same time.

use super::deadline::Deadline;
use super::error::{ClientError, Phase};
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
        wait_any(&[(self.stream.socket(), interest)], None, deadline.at())
    }
}

pub(super) const READABLE: Interest = Interest { read: true, write: false };
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

/// What is still read, without waiting, after the deadline: more than a receive buffer holds by
/// default, so that nothing that was there in time is missed; and an end to it, so that a peer
/// that sends without a pause cannot keep a call for ever.
const MAX_LATE_BYTES: usize = 8 * 1024 * 1024;

/// The receiving direction of a [`Client`](super::Client).
///
/// Each call has one deadline, which is counted from its start: the
/// [read time-out](super::ClientBuilder::read_timeout). It tries first and waits only when nothing
/// is there, so that a call for which everything has arrived succeeds with any time-out.
#[derive(Debug)]
pub struct ReadHalf {
    pub(super) link: Arc<Link>,
    pub(super) timeout: Limit<Duration>,
    /// Bytes that were received by a call that did not need them, or that failed later on. Those
    /// before `start` are used up.
    held: Vec<u8>,
    start: usize,
}

impl ReadHalf {
    pub(super) fn new(link: Arc<Link>, timeout: Limit<Duration>) -> Self {
        Self { link, timeout, held: Vec::new(), start: 0 }
    }

    /// Receives what is there, or waits for it. Zero is the end of the stream, or an empty `buf`.
    ///
    /// # Errors
    /// [`ClientError::TimedOut`] and [`ClientError::Read`].
    pub fn recv(&mut self, buf: &mut [u8]) -> Result<usize, ClientError> {
        self.recv_some(buf, &Deadline::start(self.timeout), 0, None)
    }

    /// Fills `buf`.
    ///
    /// # Errors
    /// [`ClientError::UnexpectedEof`] if the stream ends before, and as [`recv`](Self::recv). The
    /// error tells how many bytes are in `buf` by then.
    pub fn recv_exact(&mut self, buf: &mut [u8]) -> Result<(), ClientError> {
        let deadline = Deadline::start(self.timeout);
        let expected = buf.len();
        let mut got = 0;
        while got < expected {
            if got > 0 && deadline.has_passed() {
                return Err(self.timed_out(&deadline, got, Some(expected)));
            }
            let n = self.recv_some(&mut buf[got..], &deadline, got, Some(expected))?;
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
        let deadline = Deadline::start(self.timeout);
        let mut scanned = 0;
        let mut late = 0;
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
            if self.fill(&deadline, &mut late)? == 0 {
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
        let deadline = Deadline::start(self.timeout);
        let mut late = 0;
        loop {
            if self.buffered().len() > max {
                return Err(self.too_long(max));
            }
            if self.fill(&deadline, &mut late)? == 0 {
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
        self.timeout = timeout.into();
    }

    /// The address of the other end, as it was connected to.
    pub fn peer_addr(&self) -> &Addr {
        &self.link.peer
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
        deadline: &Deadline,
        done: usize,
        total: Option<usize>,
    ) -> Result<usize, ClientError> {
        loop {
            if let Some(n) = self.recv_at_once(buf)? {
                return Ok(n);
            }
            if !self.wait(deadline)? {
                return Err(self.timed_out(deadline, done, total));
            }
        }
    }

    /// One read, to be held. `late` counts what came after the deadline.
    fn fill(&mut self, deadline: &Deadline, late: &mut usize) -> Result<usize, ClientError> {
        if self.start > 0 {
            self.held.drain(..self.start);
            self.start = 0;
        }
        self.held.reserve(READ_BYTES);
        let n = loop {
            let read = at_once(self.link.stream.recv_append(&mut self.held));
            if let Some(n) = read.map_err(|source| self.broken(source))? {
                break n;
            }
            if !self.wait(deadline)? {
                return Err(self.timed_out(deadline, self.buffered().len(), None));
            }
        };
        if deadline.has_passed() {
            *late += n;
        }
        if *late > MAX_LATE_BYTES {
            return Err(self.timed_out(deadline, self.buffered().len(), None));
        }
        Ok(n)
    }

    fn wait(&self, deadline: &Deadline) -> Result<bool, ClientError> {
        self.link.wait(READABLE, deadline).map_err(|source| self.broken(source))
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
        if self.start == self.held.len() {
            self.held = Vec::new();
            self.start = 0;
        }
    }

    fn timed_out(&self, deadline: &Deadline, done: usize, total: Option<usize>) -> ClientError {
        ClientError::timed_out(Phase::Read, self.peer_addr(), deadline, done, total)
    }

    fn broken(&self, source: io::Error) -> ClientError {
        ClientError::Read { peer: self.peer_addr().clone(), source }
    }

    fn unexpected_eof(&self, got: usize, expected: Option<usize>) -> ClientError {
        ClientError::UnexpectedEof { peer: self.peer_addr().clone(), got, expected }
    }

    fn too_long(&self, max: usize) -> ClientError {
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
}

impl WriteHalf {
    pub(super) fn new(link: Arc<Link>, timeout: Limit<Duration>) -> Self {
        Self { link, timeout, cut: None }
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
        self.stopped_after(sent, total);
        ClientError::timed_out(Phase::Write, self.peer_addr(), deadline, sent, Some(total))
    }

    fn broken(&mut self, source: io::Error, sent: usize, total: usize) -> ClientError {
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
