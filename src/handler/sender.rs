//! Sending to a connection from anywhere.

use super::outbox::{Bell, Outbox};
use super::peer::ConnectionId;
use std::fmt;
use std::sync::Arc;

/// Sends to one connection from any thread, at any time.
///
/// [`Context::sender`](crate::Context::sender) makes it. It can be cloned and kept for as long as
/// you like: it holds neither the socket nor the connection's place in the server, so one that
/// outlives its connection gets [`SendErrorKind::Closed`] and can never reach another connection.
///
/// No call of it blocks. What one thread sends arrives in that order, each message in one piece;
/// what several threads send is interleaved message by message.
///
/// ```
/// use polyserve::{Action, BoxError, Context, Handler, Input, Sender};
/// use std::sync::{Arc, Mutex};
///
/// /// Passes what it receives on to everybody.
/// struct Member {
///     all: Arc<Mutex<Vec<Sender>>>,
/// }
///
/// impl Handler for Member {
///     fn on_open(&mut self, cx: &mut Context<'_>) -> Result<Action, BoxError> {
///         self.all.lock().unwrap().push(cx.sender());
///         Ok(Action::Continue)
///     }
///
///     fn on_data(&mut self, input: &mut Input<'_>, _: &mut Context<'_>) -> Result<Action, BoxError> {
///         let message: Arc<[u8]> = input.take().into(); // one copy for all
///         // Whoever is gone is forgotten; whoever is too slow misses this message.
///         self.all.lock().unwrap().retain(|member| match member.send(Arc::clone(&message)) {
///             Ok(()) => true,
///             Err(error) => error.is_full(),
///         });
///         Ok(Action::Continue)
///     }
/// }
/// # use polyserve::{Client, Server};
/// # let all = Arc::default();
/// # let server = Server::builder()
/// #     .bind("127.0.0.1:0")?
/// #     .spawn(move |_| Member { all: Arc::clone(&all) })?;
/// # let mut members = Vec::new();
/// # for text in ["one\n", "two\n"] {
/// #     let mut client = Client::connect(&server.local_addrs()[0])?;
/// #     client.send(text.as_bytes())?;
/// #     assert_eq!(client.recv_until(b"\n", 100)?, text.as_bytes());
/// #     members.push(client);
/// # }
/// # assert_eq!(members[0].recv_until(b"\n", 100)?, b"two\n");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Sender {
    outbox: Arc<Outbox>,
    id: ConnectionId,
}

impl Sender {
    pub(crate) fn new(outbox: Arc<Outbox>, id: ConnectionId) -> Self {
        Self { outbox, id }
    }

    pub(super) fn outbox(&self) -> &Outbox {
        &self.outbox
    }

    /// The connection that this sends to.
    pub fn id(&self) -> ConnectionId {
        self.id
    }

    /// Queues a message behind all that was accepted before.
    ///
    /// `Ok` means that it was accepted, not that the peer has it: the connection may still end
    /// before it is written.
    ///
    /// # Errors
    /// `Full` if the message and all that waits for this connection would exceed the hard mark of
    /// its output (a message longer than that mark is never accepted), `Closed` if the connection
    /// is closing or closed. Both hand the message back and leave the connection as it is.
    pub fn send(&self, message: impl Into<Message>) -> Result<(), SendError> {
        self.outbox.push(message.into())
    }

    /// Has the connection's `on_wake` called, soon. Several calls may lead to one callback.
    /// Returns whether the connection was there to be woken.
    pub fn wake(&self) -> bool {
        self.outbox.signal(|signals| signals.wake = true)
    }

    /// Resumes a connection that was paused by [`Action::Pause`](crate::Action::Pause); if it is
    /// not paused, nothing happens. Returns whether the connection was there.
    pub fn resume(&self) -> bool {
        self.outbox.signal(|signals| signals.resume = true)
    }

    /// Closes the connection as [`Action::Close`](crate::Action::Close) does: what was accepted
    /// before is written first. Returns whether the connection was there.
    pub fn close(&self) -> bool {
        self.outbox.signal(|signals| signals.close = true)
    }

    /// Ends the connection at once, by a reset, with
    /// [`CloseReason::SlowConsumer`](crate::CloseReason::SlowConsumer): for a peer that does not
    /// keep up, when messages come back as `Full` and must not be missed. What waits for it is
    /// lost, and its memory is free at once. Returns whether the connection was there; one that is
    /// closing already, and writes what is left, is not.
    ///
    /// A [`Group`](crate::Group) does so by itself if it is
    /// [told to](crate::WhenFull::Close).
    pub fn give_up(&self) -> bool {
        self.outbox.give_up().map(Bell::ring).is_some()
    }

    /// How many bytes wait for this connection: accepted messages, and output of the connection
    /// that the system has not taken yet (as of the end of its last turn).
    pub fn pending(&self) -> usize {
        self.outbox.pending()
    }

    /// Whether the connection takes nothing more.
    pub fn is_closed(&self) -> bool {
        self.outbox.is_closed()
    }
}

impl fmt::Debug for Sender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sender").field("id", &self.id).field("outbox", &self.outbox).finish()
    }
}

/// Bytes to be sent, owned or shared: made from a `Vec<u8>`, a `String`, a `Box<[u8]>`, a
/// `&'static` string or slice, or an `Arc<[u8]>` that many connections share.
#[derive(Clone)]
pub struct Message(Bytes);

#[derive(Clone)]
enum Bytes {
    Owned(Box<[u8]>),
    Shared(Arc<[u8]>),
    Static(&'static [u8]),
}

impl Message {
    /// The number of bytes.
    pub fn len(&self) -> usize {
        self.as_ref().len()
    }

    /// Whether there are no bytes.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The same bytes, so that clones share them.
    pub(super) fn into_shared(self) -> Self {
        match self.0 {
            Bytes::Owned(bytes) => Message(Bytes::Shared(bytes.into())),
            shared => Message(shared),
        }
    }
}

impl AsRef<[u8]> for Message {
    fn as_ref(&self) -> &[u8] {
        match &self.0 {
            Bytes::Owned(bytes) => bytes,
            Bytes::Shared(bytes) => bytes,
            Bytes::Static(bytes) => bytes,
        }
    }
}

impl From<Vec<u8>> for Message {
    fn from(bytes: Vec<u8>) -> Self {
        Message(Bytes::Owned(bytes.into_boxed_slice()))
    }
}

impl From<Box<[u8]>> for Message {
    fn from(bytes: Box<[u8]>) -> Self {
        Message(Bytes::Owned(bytes))
    }
}

impl From<String> for Message {
    fn from(text: String) -> Self {
        text.into_bytes().into()
    }
}

impl From<Arc<[u8]>> for Message {
    fn from(bytes: Arc<[u8]>) -> Self {
        Message(Bytes::Shared(bytes))
    }
}

impl From<&'static [u8]> for Message {
    fn from(bytes: &'static [u8]) -> Self {
        Message(Bytes::Static(bytes))
    }
}

impl<const N: usize> From<&'static [u8; N]> for Message {
    fn from(bytes: &'static [u8; N]) -> Self {
        Message(Bytes::Static(bytes))
    }
}

impl From<&'static str> for Message {
    fn from(text: &'static str) -> Self {
        Message(Bytes::Static(text.as_bytes()))
    }
}

impl fmt::Debug for Message {
    // Not the bytes: what users send does not belong into a log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Message({} bytes)", self.len())
    }
}

/// A message that was not accepted, and why. It hands the message back.
#[derive(Debug, thiserror::Error)]
#[error("a message of {} bytes was not accepted: {kind}", .message.len())]
pub struct SendError {
    kind: SendErrorKind,
    message: Message,
}

/// Why a message was not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SendErrorKind {
    /// Too many bytes wait for this connection already. Try again when
    /// [`Sender::pending`] has fallen.
    Full,
    /// The connection is closing or closed, and takes nothing more.
    Closed,
}

impl SendError {
    #[cold]
    pub(crate) fn new(kind: SendErrorKind, message: Message) -> Self {
        Self { kind, message }
    }

    /// Why it was not accepted.
    pub fn kind(&self) -> SendErrorKind {
        self.kind
    }

    /// Whether too many bytes wait for the connection. It is open, and a later try may succeed.
    pub fn is_full(&self) -> bool {
        self.kind == SendErrorKind::Full
    }

    /// Whether the connection takes nothing more.
    pub fn is_closed(&self) -> bool {
        self.kind == SendErrorKind::Closed
    }

    /// The message, as it was given.
    pub fn into_message(self) -> Message {
        self.message
    }
}

impl fmt::Display for SendErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            SendErrorKind::Full => "too many bytes wait for the connection",
            SendErrorKind::Closed => "the connection is closed",
        })
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_shared_message_is_copied_at_most_once() {
        let arc: Arc<[u8]> = Arc::from(*b"abc");
        let at = arc.as_ptr();
        assert_eq!(Message::from(arc).into_shared().as_ref().as_ptr(), at);
        let text = "abc";
        assert_eq!(Message::from(text).into_shared().as_ref().as_ptr(), text.as_ptr());
        for owned in [Message::from(vec![1, 2]), Message::from("ab".to_owned())] {
            let shared = owned.clone().into_shared();
            assert_eq!(shared.as_ref(), owned.as_ref());
            assert_eq!(shared.clone().as_ref().as_ptr(), shared.as_ref().as_ptr());
        }
    }
}
