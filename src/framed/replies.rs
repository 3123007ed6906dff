//! What a service answers with.

use super::later::{Ending, Later, Queue, Stream};
use super::reply::Reply;
use crate::codec::{Codec, DecodeError, Decoded, EncodeError};
use crate::handler::{Action, BoxError, Context};
use std::fmt;
use std::ops::ControlFlow;
use std::sync::Arc;

/// What a [`Service`](crate::Service) answers with. It is lent for the callback only.
///
/// A request may be answered by one message, by several, by none, or [later](Self::defer): what
/// counts is only the order.
pub struct Replies<'o, C> {
    cx: Context<'o>,
    codec: &'o mut C,
    later: &'o mut Option<Box<Later<C>>>,
}

impl<'o, C: Codec> Replies<'o, C> {
    pub(super) fn new(
        cx: Context<'o>,
        codec: &'o mut C,
        later: &'o mut Option<Box<Later<C>>>,
    ) -> Self {
        Self { cx, codec, later }
    }

    /// Sends a message: behind all replies to the requests before, those that are not made yet
    /// included.
    ///
    /// It never blocks, and the output grows as far as you make it: a reply larger than the high
    /// mark is better [streamed](Self::stream).
    ///
    /// # Errors
    /// The message can not be written; nothing of it was.
    #[inline]
    pub fn send(&mut self, message: C::Message<'_>) -> Result<(), EncodeError> {
        match self.later {
            None => self.codec.encode(message, self.cx.output()),
            Some(_) => self.send_behind(message),
        }
    }

    #[cold]
    fn send_behind(&mut self, message: C::Message<'_>) -> Result<(), EncodeError> {
        let queue = self.later.as_ref().and_then(|later| later.queue.as_ref());
        match queue.filter(|queue| !queue.is_empty()) {
            Some(queue) => {
                queue.append(&self.codec.encode_to_vec(message)?);
                Ok(())
            }
            None => self.codec.encode(message, self.cx.output()),
        }
    }

    /// Keeps a place for a reply that is made later, perhaps by another thread. Replies to the
    /// requests behind it wait for it.
    ///
    /// The connection is busy until it is made. When 1,024 replies are outstanding, or more
    /// bytes than the output's high mark wait behind one, no further request is read.
    ///
    /// The reply is encoded by a clone of the codec.
    pub fn defer(&mut self) -> Reply<C>
    where
        C: Clone,
    {
        let sender = self.cx.sender();
        let later = self.later.get_or_insert_default();
        let queue = later.queue.get_or_insert_with(|| Arc::new(Queue::default()));
        let reply = Reply::new(self.codec.clone(), Arc::clone(queue), sender);
        self.cx.set_busy(true);
        reply
    }

    /// Sends a large reply part by part, never more ahead of the peer than the output's high mark
    /// and one part.
    ///
    /// `part` is called as often as there is room, first when this callback has returned, and
    /// sends the next part of the reply each time, until it returns `Break`. No further request is
    /// served before, nor is the peer's end. When it has sent nothing and returns `Continue`, because there is nothing to
    /// send yet, it is called again after [`Sender::wake`](crate::Sender::wake).
    ///
    /// What this callback itself sends leaves before the stream, and so do replies that are
    /// outstanding; a stream behind another follows it. Each part is made of whole messages, so
    /// what is pushed to the connection meanwhile comes between two of them.
    ///
    /// ```
    /// use polyserve::Framed;
    /// use polyserve::codec::Lines;
    /// use polyserve::testing::Script;
    /// use std::ops::ControlFlow;
    ///
    /// let mut script = Script::new(|_peer| {
    ///     Framed::new(Lines::new(), |line, replies| {
    ///         let mut left = line.parse::<u64>()?;
    ///         replies.stream(move |replies| {
    ///             if left == 0 {
    ///                 return Ok(ControlFlow::Break(()));
    ///             }
    ///             left -= 1;
    ///             replies.send("another line")?;
    ///             Ok(ControlFlow::Continue(()))
    ///         });
    ///         Ok::<(), polyserve::BoxError>(())
    ///     })
    /// });
    /// let output = script.recv(b"1000000\n").output();
    /// assert_eq!(output.len(), 13_000_000);
    /// ```
    ///
    /// An error of `part` closes the connection after what was sent is written. While a stream waits
    /// to be woken, the connection is paused: the peer's end is not seen before something is sent.
    /// What has nothing to say for long, such as a subscription, is better served by a
    /// [`Sender`](crate::Sender) or a [`Group`](crate::Group).
    pub fn stream<P>(&mut self, part: P)
    where
        P: FnMut(&mut Replies<'_, C>) -> Result<ControlFlow<()>, BoxError> + Send + 'static,
    {
        let later = self.later.get_or_insert_default();
        later.streams.push_back(Box::new(part));
        self.cx.set_busy(true);
    }

    /// The handler's context: the peer, the timer, a [`Sender`](crate::Sender), and so on.
    ///
    /// What is sent by [`Context::send`] does not go through the codec, and does not wait for
    /// replies that are outstanding. Use [`set_busy`](Self::set_busy) of this type.
    pub fn context(&mut self) -> &mut Context<'o> {
        &mut self.cx
    }

    /// The codec, for example to change it when the protocol does.
    pub fn codec(&mut self) -> &mut C {
        self.codec
    }

    /// Says that the service is at work for this peer although nothing is held, as
    /// [`Context::set_busy`] does. Outstanding replies make a connection busy by themselves.
    pub fn set_busy(&mut self, busy: bool) {
        if busy || self.later.is_some() {
            self.later.get_or_insert_default().busy = busy;
        }
        let outstanding = self.is_outstanding();
        self.cx.set_busy(busy || outstanding);
    }
}

/// What `Framed` needs besides.
impl<C: Codec> Replies<'_, C> {
    #[inline]
    pub(super) fn decode<'a>(
        &mut self,
        input: &'a [u8],
    ) -> Result<Decoded<C::Frame<'a>>, DecodeError> {
        self.codec.decode(input)
    }

    pub(super) fn decode_eof<'a>(
        &mut self,
        rest: &'a [u8],
    ) -> Result<Option<C::Frame<'a>>, DecodeError> {
        self.codec.decode_eof(rest)
    }

    /// What was sent so far answers what came before: a panic of the next call takes back its own
    /// output alone, however the requests were cut.
    #[inline]
    pub(super) fn keep(&mut self) {
        self.cx.requests.kept = self.cx.output().len();
    }

    /// As `keep`, for a request that is served next.
    #[inline]
    pub(super) fn keep_for_request(&mut self) {
        self.keep();
        self.cx.count_requests(1);
    }

    /// Whether replies are to come that are not made yet.
    pub(super) fn is_outstanding(&self) -> bool {
        self.later.as_ref().is_some_and(|later| later.is_outstanding())
    }

    /// Whether no request may be served now. If so, somebody will call `go_on`.
    #[inline]
    pub(super) fn must_wait(&mut self) -> bool {
        match &mut *self.later {
            None => false,
            Some(later) => {
                later.paused = later.must_wait(self.cx.high_mark);
                later.paused
            }
        }
    }

    /// Does what the service asks for, and goes on with what is outstanding: a stream that begins
    /// in this callback must not wait for another.
    pub(super) fn go_on_and(&mut self, asked: Action) -> Result<Action, BoxError> {
        match (asked, &mut *self.later) {
            (Action::Close | Action::Abort, _) | (_, None) => return Ok(asked),
            // What is outstanding must not resume what the service itself has paused.
            (Action::Pause, Some(later)) => later.paused = false,
            _ => (),
        }
        Ok(self.go_on()?.unwrap_or(asked))
    }

    /// Ends the connection once nothing is outstanding any more. The first ending counts.
    pub(super) fn end(&mut self, ending: Ending) {
        let later = self.later.get_or_insert_default();
        later.eof = None;
        later.ending.get_or_insert(ending);
    }

    /// Ends the connection by an error: now, or once nothing is outstanding any more.
    pub(super) fn fail(&mut self, error: BoxError) -> Result<(), BoxError> {
        if !self.is_outstanding() {
            return Err(error);
        }
        self.end(Ending::Error(error));
        Ok(())
    }

    /// Sends what can be sent now of what is outstanding. `Some` if the connection is to end.
    pub(super) fn go_on(&mut self) -> Result<Option<Action>, BoxError> {
        let Some(later) = self.later.as_mut() else { return Ok(None) };
        if let Some(queue) = &later.queue {
            queue.drain_into(self.cx.output())?;
        }
        self.go_on_streaming()?;
        let Some(later) = self.later.as_mut() else { return Ok(None) };
        let outstanding = later.is_outstanding();
        if !outstanding {
            match later.ending.take() {
                Some(Ending::Close) => return Ok(Some(Action::Close)),
                Some(Ending::Error(error)) => return Err(error),
                None => (),
            }
        }
        if later.paused && !later.must_wait(self.cx.high_mark) {
            later.paused = false;
            self.cx.resume();
        }
        let busy = later.busy;
        self.cx.set_busy(busy || outstanding);
        if !busy && !outstanding {
            *self.later = None;
        }
        Ok(None)
    }

    /// Calls the streams in turn while there is room, and no reply before them is outstanding.
    fn go_on_streaming(&mut self) -> Result<(), BoxError> {
        while let Some(mut stream) = self.next_stream() {
            self.keep();
            let before = self.cx.pending();
            let progress = stream(self)?;
            if progress.is_break() {
                continue;
            }
            let stalled = self.cx.pending() == before;
            self.later.get_or_insert_default().streams.push_front(stream);
            if stalled {
                break;
            }
        }
        Ok(())
    }

    fn next_stream(&mut self) -> Option<Stream<C>> {
        let later = self.later.as_mut()?;
        if later.awaits_replies() || !self.cx.is_writable() {
            return None;
        }
        later.streams.pop_front()
    }
}

impl<C: Codec> fmt::Debug for Replies<'_, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Replies")
            .field("context", &self.cx)
            .field("outstanding", &self.is_outstanding())
            .finish_non_exhaustive()
    }
}
