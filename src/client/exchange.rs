//! Sending and receiving at the same time, by one thread.

use super::Client;
use super::deadline::Deadline;
use super::error::ClientError;
use super::halves::{ReadHalf, WriteHalf};
use super::patience::Patience;
use crate::net::Interest;
use std::ops::ControlFlow;

/// Room for one read.
const READ_BYTES: usize = 64 * 1024;

/// What an exchange has moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Exchanged {
    /// Bytes of the request that left. Fewer than it has only if the receiver of the reply had
    /// enough before.
    pub sent: usize,
    /// Bytes of the reply that were handed to its receiver.
    pub received: u64,
    /// Whether the peer has ended its stream.
    pub ended: bool,
}

/// What is done when the whole request has left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Afterwards {
    StayOpen,
    HalfClose,
}

pub(super) fn exchange(
    client: &mut Client,
    request: &[u8],
    afterwards: Afterwards,
    on_reply: impl FnMut(&[u8]) -> ControlFlow<()>,
) -> Result<Exchanged, ClientError> {
    let mut exchange = Exchange {
        reader: &mut client.reader,
        writer: &mut client.writer,
        request,
        half_close: afterwards == Afterwards::HalfClose,
        on_reply,
        buf: vec![0; READ_BYTES],
        moved: Exchanged { sent: 0, received: 0, ended: false },
    };
    let result = exchange.run();
    let sent = exchange.moved.sent;
    client.writer.stopped_after(sent, request.len());
    result
}

struct Exchange<'a, F> {
    reader: &'a mut ReadHalf,
    writer: &'a mut WriteHalf,
    request: &'a [u8],
    /// Whether our stream is still to be ended.
    half_close: bool,
    on_reply: F,
    buf: Vec<u8>,
    moved: Exchanged,
}

/// What one try to move bytes came to.
enum Step {
    Moved,
    Nothing,
    /// The receiver has enough.
    Enough,
}

/// What is waited for when nothing moves.
enum Idle {
    Writing(Deadline),
    Reading(Patience),
}

impl<F: FnMut(&[u8]) -> ControlFlow<()>> Exchange<'_, F> {
    fn run(&mut self) -> Result<Exchanged, ClientError> {
        let mut idle = self.idle();
        loop {
            // Reading comes first: room in the peer's way out is what lets it read from us.
            let read = self.read()?;
            if matches!(read, Step::Enough) {
                return Ok(self.moved);
            }
            let wrote = self.write_or_read_the_last_words()?;
            if self.is_done() {
                return Ok(self.moved);
            }
            if matches!((read, wrote), (Step::Nothing, Step::Nothing)) {
                self.wait(&idle)?;
            } else {
                idle = self.idle();
            }
        }
    }

    /// Counted anew whenever something has moved.
    fn idle(&self) -> Idle {
        match self.is_sent() {
            false => Idle::Writing(Deadline::start(self.writer.timeout)),
            true => Idle::Reading(Patience::start(self.reader.timeouts, self.moved.received > 0)),
        }
    }

    fn is_sent(&self) -> bool {
        self.moved.sent == self.request.len()
    }

    fn is_done(&self) -> bool {
        self.moved.ended && self.is_sent() && !self.half_close
    }

    fn read(&mut self) -> Result<Step, ClientError> {
        if self.moved.ended {
            return Ok(Step::Nothing);
        }
        let n = match self.reader.recv_at_once(&mut self.buf)? {
            Some(n) => n,
            None => return Ok(Step::Nothing),
        };
        if n == 0 {
            self.moved.ended = true;
            return Ok(Step::Moved);
        }
        self.moved.received += n as u64;
        Ok(match (self.on_reply)(&self.buf[..n]) {
            ControlFlow::Continue(()) => Step::Moved,
            ControlFlow::Break(()) => Step::Enough,
        })
    }

    fn write(&mut self) -> Result<Step, ClientError> {
        if !self.is_sent() {
            let sent = self.writer.send_at_once(self.request, self.moved.sent)?;
            self.moved.sent += sent.unwrap_or(0);
            return Ok(sent.map_or(Step::Nothing, |_| Step::Moved));
        }
        if std::mem::take(&mut self.half_close) {
            self.writer.shutdown()?;
        }
        Ok(Step::Nothing)
    }

    /// A peer that refuses a request says why and closes. Its words may lie unread when our write
    /// fails because of the close.
    fn write_or_read_the_last_words(&mut self) -> Result<Step, ClientError> {
        let error = match self.write() {
            Ok(step) => return Ok(step),
            Err(error) => error,
        };
        while let Ok(Step::Moved) = self.read() {}
        Err(error)
    }

    fn wait(&mut self, idle: &Idle) -> Result<(), ClientError> {
        let interest = Interest { read: !self.moved.ended, write: !self.is_sent() };
        let deadline = match idle {
            Idle::Writing(deadline) => deadline,
            Idle::Reading(patience) => patience.nearest().0,
        };
        let ready = self.reader.link.wait(interest, deadline);
        if ready.map_err(|source| self.reader.broken(source))? {
            return Ok(());
        }
        let Exchanged { sent, received, .. } = self.moved;
        Err(match idle {
            Idle::Writing(deadline) => self.writer.timed_out(deadline, sent, self.request.len()),
            Idle::Reading(patience) => {
                let received = usize::try_from(received).unwrap_or(usize::MAX);
                self.reader.timed_out(patience, received, None)
            }
        })
    }
}
