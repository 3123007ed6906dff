//! A reply that is made later, perhaps elsewhere.

use super::later::Queue;
use crate::codec::{EncodeError, Encoder};
use crate::handler::Sender;
use std::fmt;
use std::sync::Arc;

/// The place of a reply that is made later, by any thread: what [`Replies::defer`] returns.
///
/// Its place among the other replies of the connection is that of its request. It takes one
/// message by [`send`](Self::send), or several by [`write`](Self::write) and
/// [`finish`](Self::finish). Dropping it without ends the connection with an error
/// ([`CloseReason::Handler`](crate::CloseReason::Handler)), because the peer would take the next
/// reply for this one.
///
/// No call of it blocks, and none waits for the peer.
///
/// ```
/// use polyserve::codec::Lines;
/// use polyserve::{Client, Framed, Server};
/// use std::thread;
///
/// let server = Server::builder().bind("127.0.0.1:0")?.spawn(|_peer| {
///     Framed::new(Lines::new(), |line, replies| match line {
///         "slow" => {
///             let reply = replies.defer();
///             thread::spawn(move || reply.send("at last"));
///         }
///         _ => replies.send("at once").unwrap(),
///     })
/// })?;
/// let mut client = Client::connect(&server.local_addrs()[0])?;
/// client.send(b"slow\nquick\n")?;
/// assert_eq!(client.recv_until(b"once\n", 100)?, b"at last\nat once\n");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// [`Replies::defer`]: crate::Replies::defer
#[must_use = "dropping a reply that was promised ends the connection"]
pub struct Reply<C> {
    encoder: C,
    queue: Arc<Queue>,
    ticket: u64,
    sender: Sender,
    finished: bool,
}

/// Why a deferred reply was not taken.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReplyError {
    /// The message can not be written as a frame.
    #[error(transparent)]
    Encode(#[from] EncodeError),
    /// The connection is over.
    #[error("the connection is closed")]
    Closed,
}

impl<C> Reply<C> {
    pub(super) fn new(encoder: C, queue: Arc<Queue>, sender: Sender) -> Self {
        let ticket = queue.reserve();
        Self { encoder, queue, ticket, sender, finished: false }
    }

    /// Whether the connection is over, so that the reply need not be made.
    ///
    /// A peer that has closed its end, and may be gone, does not make it so: its connection is over
    /// when replies are made and written, or cannot be. See
    /// [`Service::on_eof`](super::Service::on_eof).
    pub fn is_closed(&self) -> bool {
        self.queue.is_closed()
    }

    /// How many bytes wait: of this reply, and of the connection's output before it. Whoever makes
    /// a large reply in parts can wait until the peer has taken some; or
    /// [stream](crate::Replies::stream) it, which does that by itself.
    pub fn pending(&self) -> usize {
        self.queue.waiting(self.ticket) + self.sender.pending()
    }

    /// Ends the reply. Without a message before, it is an empty one: nothing is sent for this
    /// request.
    pub fn finish(mut self) {
        self.end(true);
    }

    fn end(&mut self, whole: bool) {
        self.finished = true;
        self.queue.finish(self.ticket, whole);
        self.sender.wake();
    }
}

impl<C: Encoder> Reply<C> {
    /// Sends the message, and ends the reply.
    ///
    /// `Ok` means that it was accepted, not that the peer has it: as for
    /// [`Sender::send`](crate::Sender::send), the connection may still end before it is written.
    ///
    /// # Errors
    /// The message can not be written, which ends the connection as dropping the reply does; or
    /// the connection is over already.
    pub fn send(mut self, message: C::Message<'_>) -> Result<(), ReplyError> {
        self.write(message)?;
        self.finish();
        Ok(())
    }

    /// Sends one message of several. Once all replies before this one are made, it leaves at once.
    /// Nothing bounds how much of a reply may [wait](Self::pending) but you.
    ///
    /// # Errors
    /// The message can not be written, in which case another may be; or the connection is over.
    pub fn write(&mut self, message: C::Message<'_>) -> Result<(), ReplyError> {
        let bytes = self.encoder.encode_to_vec(message)?;
        if !self.queue.write(self.ticket, &bytes) {
            return Err(ReplyError::Closed);
        }
        self.sender.wake();
        Ok(())
    }
}

impl<C> Drop for Reply<C> {
    fn drop(&mut self) {
        if !self.finished {
            self.end(false);
        }
    }
}

impl<C> fmt::Debug for Reply<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reply")
            .field("connection", &self.sender.id())
            .field("ticket", &self.ticket)
            .finish_non_exhaustive()
    }
}
