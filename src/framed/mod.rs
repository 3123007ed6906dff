//! Requests and replies: a service behind a codec, as a handler.

mod later;
mod replies;
mod reply;
mod service;

pub use replies::Replies;
pub use reply::{Reply, ReplyError};
pub use service::{FnService, IntoAction, Service};

use crate::buffer::Input;
use crate::codec::{Codec, DecodeError, Decoded};
use crate::handler::{Action, BoxError, CloseReason, Context, Handler};
use later::{Ending, Later};
use std::fmt;

/// How many frames of one connection are served before others have their turn.
const FRAMES_PER_TURN: usize = 128;

/// How much is served in one go.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Pace {
    /// As much as is fair to other connections, and as the output has room for.
    Fair,
    /// Everything: nothing can be put off any more.
    All,
}

/// A [`Handler`] that reads requests by a codec and gives them to a [`Service`], or to a closure.
///
/// ```
/// use polyserve::codec::Lines;
/// use polyserve::{Client, Framed, Server};
///
/// let server = Server::builder().bind("127.0.0.1:0")?.spawn(|_peer| {
///     Framed::new(Lines::new(), |line, replies| replies.send(&line.to_uppercase()))
/// })?;
/// let mut client = Client::connect(&server.local_addrs()[0])?;
/// client.send(b"one\ntwo\n")?;
/// assert_eq!(client.recv_until(b"TWO\n", 100)?, b"ONE\nTWO\n");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// The closure gets the frame and the [`Replies`], and returns `()`, an [`Action`], or a `Result`
/// of either. State of the connection is what it captures.
///
/// # What may be relied on
///
/// - Requests are served one after the other, in the order in which they came. Their replies leave
///   in that order, also those that are [made later](Replies::defer), and the replies to what came
///   in one read leave in one write.
/// - After 128 frames, and while the output is above its high mark, other connections come first;
///   the peer is not read meanwhile. So a peer that sends many requests at once, and reads none of
///   the replies, costs no more memory than the high mark and one reply.
/// - A frame borrows from the input, and a reply is encoded into the output: a request that fits
///   the buffers allocates nothing.
/// - A connection is [busy](Context::set_busy) while a part of a frame is there, and while replies
///   are outstanding: a drain waits for it, and the idle time-out does not run. The
///   [message time-out](crate::Timeouts::message) runs from the first byte of a frame to its last.
/// - Bytes that are no frame close the connection with
///   [`CloseReason::Decode`], a stream that ends within a frame with [`CloseReason::Truncated`], in
///   both cases after the replies to the requests before; [`Service::on_decode_error`] may say a
///   last word.
/// - A panic ends the connection after the replies to the requests before. What the call that
///   panicked has sent itself is discarded; replies that are outstanding are not waited for.
///
/// The codec's limit must be below [`Limits::input`](crate::Limits::input), or that is what a long
/// frame runs into.
pub struct Framed<C, S> {
    codec: C,
    service: S,
    later: Option<Box<Later<C>>>,
}

impl<C, F, R> Framed<C, FnService<F, R>>
where
    C: Codec,
    F: for<'f, 'r, 'o> FnMut(C::Frame<'f>, &'r mut Replies<'o, C>) -> R,
    R: IntoAction,
{
    /// Serves each frame by a closure.
    pub fn new(codec: C, call: F) -> Self {
        Framed { codec, service: FnService::new(call), later: None }
    }
}

impl<C: Codec, S: Service<C>> Framed<C, S> {
    /// Serves each frame by a service, which can do more than a closure: see its other methods.
    pub fn service(codec: C, service: S) -> Self {
        Framed { codec, service, later: None }
    }

    /// Lends the service, and the replies for one callback.
    fn lend<'o>(&'o mut self, cx: &'o mut Context<'_>) -> (&'o mut S, Replies<'o, C>) {
        let mut replies = Replies::new(cx.reborrow(), &mut self.codec, &mut self.later);
        replies.keep();
        (&mut self.service, replies)
    }

    /// Serves the frames that are in `input`, as far as they may be served now.
    fn serve(
        &mut self,
        input: &mut Input<'_>,
        cx: &mut Context<'_>,
        pace: Pace,
    ) -> Result<Action, BoxError> {
        // A part of a frame is no request.
        cx.count_requests(0);
        let (service, mut replies) = self.lend(cx);
        for n in 0.. {
            if replies.must_wait() {
                if let Some(end) = replies.go_on()? {
                    return Ok(end);
                }
                if replies.must_wait() {
                    return Ok(Action::Pause);
                }
            }
            if input.is_empty() {
                break;
            }
            if pace == Pace::Fair && (n >= FRAMES_PER_TURN || !replies.context().is_writable()) {
                return Ok(Action::Yield);
            }
            match replies.decode(input.as_slice()) {
                Ok(Decoded::Incomplete { need }) => return Ok(Action::Want(need)),
                Ok(Decoded::Frame { frame, consumed }) => {
                    assert!(consumed > 0, "a decoder must consume at least one byte for a frame");
                    input.consume(consumed);
                    replies.keep_for_request();
                    match service.call(frame, &mut replies) {
                        Ok(Action::Continue | Action::Want(_)) => (),
                        Ok(Action::Close) if replies.is_outstanding() => replies.end(Ending::Close),
                        Ok(other) => return replies.go_on_and(other),
                        Err(error) => replies.fail(error)?,
                    }
                }
                Err(error) => {
                    service.on_decode_error(&error, &mut replies);
                    replies.fail(error.into())?;
                }
            }
        }
        Ok(Action::Continue)
    }

    /// What follows from a callback of the service, with a look at what is outstanding.
    fn conclude(&mut self, cx: &mut Context<'_>, asked: Action) -> Result<Action, BoxError> {
        if self.later.is_none() {
            return Ok(asked);
        }
        let (_, mut replies) = self.lend(cx);
        if asked == Action::Close && replies.is_outstanding() {
            replies.end(Ending::Close);
            return replies.go_on_and(Action::Continue);
        }
        match replies.go_on_and(asked)? {
            end @ (Action::Close | Action::Abort) => Ok(end),
            asked => Ok(self.waited_end(cx)?.unwrap_or(asked)),
        }
    }

    /// Goes on with what is outstanding. `Some` if that ends the connection.
    fn go_on(&mut self, cx: &mut Context<'_>) -> Result<Option<Action>, BoxError> {
        if self.later.is_none() {
            return Ok(None);
        }
        match self.lend(cx).1.go_on()? {
            None => self.waited_end(cx),
            end => Ok(end),
        }
    }

    /// The peer's end, if it had to wait for streams and they are over. `Some` if that ends the
    /// connection.
    fn waited_end(&mut self, cx: &mut Context<'_>) -> Result<Option<Action>, BoxError> {
        let waiting = self.later.as_mut().filter(|later| later.streams.is_empty());
        let Some(rest) = waiting.and_then(|later| later.eof.take()) else { return Ok(None) };
        let action = self.end_of_stream(&rest, cx)?;
        Ok(Some(action).filter(|action| matches!(action, Action::Close | Action::Abort)))
    }

    /// The peer has finished sending, and all whole frames were served.
    fn end_of_stream(&mut self, rest: &[u8], cx: &mut Context<'_>) -> Result<Action, BoxError> {
        let (service, mut replies) = self.lend(cx);
        match replies.decode_eof(rest) {
            Ok(None) => (),
            Ok(Some(frame)) => {
                replies.keep_for_request();
                match service.call(frame, &mut replies) {
                    Ok(end @ (Action::Close | Action::Abort)) => return self.conclude_end(cx, end),
                    // There is nothing behind it that could be kept or put off.
                    Ok(_) => (),
                    Err(error) => {
                        replies.fail(error)?;
                        return replies.go_on_and(Action::Continue);
                    }
                }
            }
            Err(error) => return self.refuse_end(error, cx),
        }
        let action = service.on_eof(&mut replies)?;
        self.conclude_end(cx, action)
    }

    /// As `conclude`, after the peer's end: that is why the connection closes, also if it has to
    /// wait for replies first.
    fn conclude_end(&mut self, cx: &mut Context<'_>, asked: Action) -> Result<Action, BoxError> {
        cx.requests.ask().peer_closed = asked == Action::Close;
        self.conclude(cx, asked)
    }

    fn refuse_end(&mut self, error: DecodeError, cx: &mut Context<'_>) -> Result<Action, BoxError> {
        let (service, mut replies) = self.lend(cx);
        service.on_decode_error(&error, &mut replies);
        replies.fail(error.into())?;
        replies.go_on_and(Action::Continue)
    }
}

impl<C, S> Handler for Framed<C, S>
where
    C: Codec + Send + 'static,
    S: Service<C>,
{
    fn on_open(&mut self, cx: &mut Context<'_>) -> Result<Action, BoxError> {
        let (service, mut replies) = self.lend(cx);
        let action = service.on_open(&mut replies)?;
        self.conclude(cx, action)
    }

    fn on_data(&mut self, input: &mut Input<'_>, cx: &mut Context<'_>) -> Result<Action, BoxError> {
        self.serve(input, cx, Pace::Fair)
    }

    fn on_eof(&mut self, input: &mut Input<'_>, cx: &mut Context<'_>) -> Result<Action, BoxError> {
        let served = self.serve(input, cx, Pace::All)?;
        if matches!(served, Action::Close | Action::Abort) {
            return Ok(served);
        }
        let rest = input.take();
        match self.later.as_mut() {
            // It ends already, for another reason.
            Some(later) if later.ending.is_some() => Ok(Action::Continue),
            Some(later) if !later.streams.is_empty() => {
                later.eof = Some(rest.into());
                Ok(Action::Continue)
            }
            _ => self.end_of_stream(rest, cx),
        }
    }

    fn on_writable(&mut self, cx: &mut Context<'_>) -> Result<Action, BoxError> {
        if let Some(end) = self.go_on(cx)? {
            return Ok(end);
        }
        let (service, mut replies) = self.lend(cx);
        let action = service.on_writable(&mut replies)?;
        self.conclude(cx, action)
    }

    fn on_wake(&mut self, cx: &mut Context<'_>) -> Result<Action, BoxError> {
        if let Some(end) = self.go_on(cx)? {
            return Ok(end);
        }
        let (service, mut replies) = self.lend(cx);
        let action = service.on_wake(&mut replies)?;
        self.conclude(cx, action)
    }

    fn on_timer(&mut self, cx: &mut Context<'_>) -> Result<Action, BoxError> {
        let (service, mut replies) = self.lend(cx);
        let action = service.on_timer(&mut replies)?;
        self.conclude(cx, action)
    }

    fn on_shutdown(&mut self, cx: &mut Context<'_>) -> Result<Action, BoxError> {
        let (service, mut replies) = self.lend(cx);
        let action = service.on_shutdown(&mut replies)?;
        // If it has to wait for replies first, this is still why the connection closes.
        let ends_already = self.later.as_ref().is_some_and(|later| later.ending.is_some());
        cx.requests.ask().shut_down = action == Action::Close && !ends_already;
        self.conclude(cx, action)
    }

    fn on_close(&mut self, reason: &CloseReason) {
        if let Some(later) = &self.later {
            later.abandon();
        }
        self.service.on_close(reason);
    }
}

impl<C: fmt::Debug, S> fmt::Debug for Framed<C, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Framed").field("codec", &self.codec).finish_non_exhaustive()
    }
}
