//! Many requests on the way at once, by one thread.

use super::Client;
use super::deadline::Deadline;
use super::error::ClientError;
use super::messages::tidy;
use super::patience::Patience;
use crate::codec::{Codec, EncodeError};
use crate::net::Interest;
use std::iter::Peekable;
use std::ops::ControlFlow;

/// Requests that may be unanswered at a time: as many as our own server answers out of order
/// before it stops reading.
const MAX_UNANSWERED: usize = 1024;

/// Requests are encoded until there is so much to write.
const BATCH_BYTES: usize = 64 * 1024;

/// Frames that nobody has asked for are read until so many bytes of them are held: enough to find
/// the words behind them with which a server goes away, and no more than memory can be lent to it.
const MAX_UNASKED_BYTES: usize = 1024 * 1024;

/// Sends requests and receives replies until each request has one.
pub(super) struct Pipeline<'a, C: Codec, I: Iterator, F> {
    client: &'a mut Client<C>,
    requests: Peekable<I>,
    on_reply: F,
    /// Why the rest of the requests is not sent.
    refused: Option<EncodeError>,
    /// Requests that were encoded, and replies that were shown.
    asked: usize,
    answered: usize,
    /// Bytes of the batch that left, and bytes of all batches before it.
    sent: usize,
    sent_before: usize,
    /// For the batch that is being written.
    write_deadline: Deadline,
    /// For the reply that is waited for when nothing is left to write.
    patience: Patience,
}

impl<'a, 'm, C, I, F> Pipeline<'a, C, I, F>
where
    C: Codec,
    I: Iterator<Item = C::Message<'m>>,
    F: FnMut(C::Frame<'_>) -> ControlFlow<()>,
{
    pub(super) fn new(client: &'a mut Client<C>, requests: I, on_reply: F) -> Self {
        let write_deadline = Deadline::start(client.writer.timeout);
        let patience = client.reader.patience();
        // A panic while a message was encoded may have left a part of it.
        client.messages.out.clear();
        Self {
            client,
            requests: requests.peekable(),
            on_reply,
            refused: None,
            asked: 0,
            answered: 0,
            sent: 0,
            sent_before: 0,
            write_deadline,
            patience,
        }
    }

    /// Returns how many replies were shown.
    pub(super) fn run(mut self) -> Result<usize, ClientError> {
        let result = self.go();
        result?;
        match self.refused.take() {
            None => Ok(self.answered),
            Some(source) => {
                let peer = self.client.peer_addr().clone();
                Err(ClientError::Encode { peer, source })
            }
        }
    }

    fn go(&mut self) -> Result<(), ClientError> {
        loop {
            match self.turn() {
                Ok(ControlFlow::Continue(())) => (),
                Ok(ControlFlow::Break(())) => return Ok(()),
                // A server may answer a request of which it does not want to read the rest.
                Err(_) if self.is_asked() && self.answered == self.asked => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    }

    fn turn(&mut self) -> Result<ControlFlow<()>, ClientError> {
        self.encode();
        self.write_or_read_the_last_words()?;
        let is_over = self.show()?.is_break() || self.is_done();
        // More requests may be written at once, unless the system takes no more.
        let need_not_wait = is_over || self.read()? || (self.is_written() && self.may_ask());
        if !need_not_wait {
            self.wait()?;
        }
        Ok(if is_over { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
    }

    fn is_written(&self) -> bool {
        self.sent == self.client.messages.out.len()
    }

    fn may_ask(&mut self) -> bool {
        let has_room = self.asked - self.answered < MAX_UNANSWERED;
        has_room && self.refused.is_none() && self.requests.peek().is_some()
    }

    /// Whether no request is left.
    fn is_asked(&mut self) -> bool {
        self.refused.is_some() || self.requests.peek().is_none()
    }

    fn is_done(&mut self) -> bool {
        self.is_asked() && self.is_written() && self.answered == self.asked
    }

    /// Makes the next batch when the one before has left.
    fn encode(&mut self) {
        if !self.is_written() || !self.may_ask() {
            return;
        }
        self.sent_before += std::mem::take(&mut self.sent);
        self.client.messages.out.clear();
        while self.client.messages.out.len() < BATCH_BYTES && self.may_ask() {
            let Some(request) = self.requests.next() else { break };
            match self.client.codec.encode(request, &mut self.client.messages.out) {
                Ok(()) => self.asked += 1,
                Err(error) => self.refused = Some(error),
            }
        }
        self.write_deadline = Deadline::start(self.client.writer.timeout);
    }

    /// Writes as much as the system takes.
    fn write(&mut self) -> Result<(), ClientError> {
        if self.is_written() {
            return Ok(());
        }
        let Self { client, sent, .. } = self;
        while *sent < client.messages.out.len() {
            match client.writer.send_at_once(&client.messages.out, *sent) {
                Ok(Some(n)) => *sent += n,
                Ok(None) => return Ok(()),
                Err(error) => return Err(self.beyond(error)),
            }
        }
        // From here on the next reply is what is waited for.
        self.patience = client.reader.patience();
        Ok(())
    }

    /// A server that refuses a request says why and closes. Its words may lie unread when our
    /// write fails because of the close.
    fn write_or_read_the_last_words(&mut self) -> Result<(), ClientError> {
        let Err(error) = self.write() else { return Ok(()) };
        while let Ok(ControlFlow::Continue(())) = self.show() {
            if !matches!(self.read(), Ok(true)) || self.answered == self.asked {
                break;
            }
        }
        Err(error)
    }

    /// An error of writing tells of one batch; the caller has to know of all.
    fn beyond(&self, error: ClientError) -> ClientError {
        let before = self.sent_before;
        match error {
            ClientError::Write { peer, sent, total, source } => {
                ClientError::Write { peer, sent: before + sent, total: before + total, source }
            }
            ClientError::TimedOut { peer, phase, timeout, done, total } => {
                let total = total.map(|total| before + total);
                ClientError::TimedOut { peer, phase, timeout, done: before + done, total }
            }
            other => other,
        }
    }

    /// Shows the replies that are there. Frames that nobody asked for stay.
    fn show(&mut self) -> Result<ControlFlow<()>, ClientError> {
        while self.answered < self.asked {
            let Client { reader, codec, messages, .. } = &mut *self.client;
            let Ok(flow) = messages.inbound.look(reader, codec, &mut self.on_reply)? else {
                break;
            };
            self.answered += 1;
            self.patience = self.client.reader.patience();
            if flow.is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    /// Whether a reply is missing, or there is room for what else may come.
    fn may_read(&self) -> bool {
        self.answered < self.asked || self.client.buffered().len() < MAX_UNASKED_BYTES
    }

    /// One read without waiting. False is told when nothing was there.
    fn read(&mut self) -> Result<bool, ClientError> {
        if !self.may_read() {
            return Ok(false);
        }
        match self.client.reader.fill_at_once(&mut self.patience)? {
            None => Ok(false),
            Some(0) => self.end().map(|()| true),
            Some(_) => Ok(true),
        }
    }

    /// The stream has ended, and a reply is missing: unless the codec makes the last one of what
    /// is left.
    fn end(&mut self) -> Result<(), ClientError> {
        let Client { reader, codec, messages, .. } = &mut *self.client;
        let last = messages.inbound.last(reader, codec, &mut self.on_reply)?;
        self.answered += usize::from(last.is_some());
        if last.is_none() || !self.is_done() {
            return Err(self.client.reader.unexpected_eof(0, None));
        }
        Ok(())
    }

    fn wait(&mut self) -> Result<(), ClientError> {
        let is_written = self.is_written();
        let deadline = match is_written {
            false => &self.write_deadline,
            true => self.patience.nearest().0,
        };
        let interest = Interest { read: self.may_read(), write: !is_written };
        let Client { reader, writer, messages, .. } = &mut *self.client;
        let ready = reader.link.wait(interest, deadline);
        if ready.map_err(|source| reader.broken(source))? {
            return Ok(());
        }
        if is_written {
            return Err(reader.timed_out(&self.patience, reader.buffered().len(), None));
        }
        let error = writer.timed_out(&self.write_deadline, self.sent, messages.out.len());
        Err(self.beyond(error))
    }
}

/// Leaves the client as it is to be found by the next call: also if the requests, the codec or the
/// receiver of a reply have panicked, and somebody has caught that.
impl<C: Codec, I: Iterator, F> Drop for Pipeline<'_, C, I, F> {
    fn drop(&mut self) {
        let Client { writer, messages, .. } = &mut *self.client;
        let total = messages.out.len();
        writer.stopped_after(self.sent, total);
        let is_answered = self.answered == self.asked && self.sent == total;
        let has_left = self.sent_before + self.sent > 0;
        messages.is_out_of_step = has_left && !is_answered;
        tidy(&mut messages.out);
    }
}
