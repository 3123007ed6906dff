//! What a user implements to answer requests.

use super::replies::Replies;
use crate::codec::{Codec, DecodeError};
use crate::handler::{Action, BoxError, CloseReason};
use std::fmt;
use std::marker::PhantomData;

/// One connection's behaviour: requests in, replies out.
///
/// A server makes one value for each connection; see [`Framed::service`](crate::Framed::service).
/// All methods but `call` are defaulted. They are called as those of a
/// [`Handler`](crate::Handler) are, and the same may be relied on; what they send goes through the
/// codec.
///
/// ```
/// use polyserve::codec::Lines;
/// use polyserve::testing::Script;
/// use polyserve::{Action, BoxError, Framed, Replies, Service};
///
/// /// Adds up the numbers that it is sent.
/// struct Sum(i64);
///
/// impl Service<Lines> for Sum {
///     fn on_open(&mut self, replies: &mut Replies<'_, Lines>) -> Result<Action, BoxError> {
///         replies.send("numbers, please")?;
///         Ok(Action::Continue)
///     }
///
///     fn call(&mut self, line: &str, replies: &mut Replies<'_, Lines>) -> Result<Action, BoxError> {
///         match line.parse::<i64>() {
///             Ok(n) => self.0 += n,
///             Err(_) => return Ok(Action::Close),
///         }
///         replies.send(&self.0.to_string())?;
///         Ok(Action::Continue)
///     }
/// }
///
/// let mut script = Script::new(|_peer| Framed::service(Lines::new(), Sum(0)));
/// assert_eq!(script.recv(b"1\n2\nquit\n").output(), b"numbers, please\n1\n3\n");
/// ```
#[allow(unused_variables)] // the defaulted methods name their arguments for the docs
pub trait Service<C: Codec>: Send + 'static {
    /// A request. The socket is open.
    ///
    /// `Continue` goes on with the next request. `Close` ends the connection once all replies,
    /// those that are outstanding included, are written; requests behind this one are not served.
    /// `Pause` keeps them until the connection is resumed. `Yield` puts them off until other
    /// connections had their turn. `Want` is `Continue`: what is wanted is the codec's business.
    ///
    /// # Errors
    /// An error ends the connection as `Close` does, with [`CloseReason::Handler`]. One of the
    /// other methods does so at once: replies that are outstanding are not waited for.
    fn call(
        &mut self,
        frame: C::Frame<'_>,
        replies: &mut Replies<'_, C>,
    ) -> Result<Action, BoxError>;

    /// As [`Handler::on_open`](crate::Handler::on_open). Default: `Continue`.
    ///
    /// # Errors
    /// An error closes the connection after what was sent is written.
    fn on_open(&mut self, replies: &mut Replies<'_, C>) -> Result<Action, BoxError> {
        Ok(Action::Continue)
    }

    /// The peer has finished sending, between two frames, and [`call`](Self::call) was called for
    /// all its requests; replies may still be outstanding, but no [stream](Replies::stream). It can
    /// still be answered. Not called if the connection ends already, for example because a request
    /// was answered with `Close`. Default: `Close`, which is carried out once all replies are made
    /// and written, but the half-closed time-out counts meanwhile.
    ///
    /// A peer that is gone, because it was closed or killed while it waited, looks the same until
    /// something is written to it: until then a [`Reply`](super::Reply) for it is accepted, and
    /// lost. A service whose replies must not be lost, such as jobs of a queue, takes them back
    /// here, and gives up peers that only half-close.
    ///
    /// # Errors
    /// An error closes the connection after what was sent is written.
    fn on_eof(&mut self, replies: &mut Replies<'_, C>) -> Result<Action, BoxError> {
        Ok(Action::Close)
    }

    /// What came is no frame, or the stream ended within one. The connection is closed afterwards;
    /// what is sent here is the last that the peer sees. Default: nothing is sent.
    fn on_decode_error(&mut self, error: &DecodeError, replies: &mut Replies<'_, C>) {}

    /// As [`Handler::on_writable`](crate::Handler::on_writable). Default: `Continue`.
    ///
    /// # Errors
    /// An error closes the connection after what was sent is written.
    fn on_writable(&mut self, replies: &mut Replies<'_, C>) -> Result<Action, BoxError> {
        Ok(Action::Continue)
    }

    /// As [`Handler::on_wake`](crate::Handler::on_wake). It may also be called when a
    /// [`Reply`](crate::Reply) was made, without anybody having called
    /// [`Sender::wake`](crate::Sender::wake). Default: `Continue`.
    ///
    /// # Errors
    /// An error closes the connection after what was sent is written.
    fn on_wake(&mut self, replies: &mut Replies<'_, C>) -> Result<Action, BoxError> {
        Ok(Action::Continue)
    }

    /// As [`Handler::on_timer`](crate::Handler::on_timer). Default: `Continue`.
    ///
    /// # Errors
    /// An error closes the connection after what was sent is written.
    fn on_timer(&mut self, replies: &mut Replies<'_, C>) -> Result<Action, BoxError> {
        Ok(Action::Continue)
    }

    /// As [`Handler::on_shutdown`](crate::Handler::on_shutdown). Default: `Close` if the
    /// connection is idle, else `Continue`: it is closed when it has become idle.
    ///
    /// # Errors
    /// An error closes the connection after what was sent is written.
    fn on_shutdown(&mut self, replies: &mut Replies<'_, C>) -> Result<Action, BoxError> {
        Ok(if replies.context().is_busy() { Action::Continue } else { Action::Close })
    }

    /// As [`Handler::on_close`](crate::Handler::on_close).
    fn on_close(&mut self, reason: &CloseReason) {}
}

/// What a closure of [`Framed::new`](crate::Framed::new) may return: `()`, an [`Action`], or a
/// `Result` of either, whose error closes the connection.
#[diagnostic::on_unimplemented(
    message = "a service's closure can not return `{Self}`",
    note = "return `()`, an `Action`, or a `Result` of either whose error is any error"
)]
pub trait IntoAction {
    /// What [`Service::call`] would return.
    ///
    /// # Errors
    /// The closure's own.
    fn into_action(self) -> Result<Action, BoxError>;
}

impl IntoAction for () {
    fn into_action(self) -> Result<Action, BoxError> {
        Ok(Action::Continue)
    }
}

impl IntoAction for Action {
    fn into_action(self) -> Result<Action, BoxError> {
        Ok(self)
    }
}

impl<T: IntoAction, E: Into<BoxError>> IntoAction for Result<T, E> {
    fn into_action(self) -> Result<Action, BoxError> {
        self.map_err(Into::into)?.into_action()
    }
}

/// The [`Service`] that a closure makes: see [`Framed::new`](crate::Framed::new).
pub struct FnService<F, R> {
    call: F,
    returns: PhantomData<fn() -> R>,
}

impl<F, R> FnService<F, R> {
    pub(super) fn new(call: F) -> Self {
        Self { call, returns: PhantomData }
    }
}

impl<C, F, R> Service<C> for FnService<F, R>
where
    C: Codec,
    F: for<'f, 'r, 'o> FnMut(C::Frame<'f>, &'r mut Replies<'o, C>) -> R + Send + 'static,
    R: IntoAction + 'static,
{
    fn call(
        &mut self,
        frame: C::Frame<'_>,
        replies: &mut Replies<'_, C>,
    ) -> Result<Action, BoxError> {
        (self.call)(frame, replies).into_action()
    }
}

impl<F, R> fmt::Debug for FnService<F, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FnService").finish_non_exhaustive()
    }
}
