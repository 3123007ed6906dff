//! What a user implements, and what it is lent.

mod action;
mod close;
mod context;
mod control;
mod group;
mod info;
mod note;
mod outbox;
mod peer;
mod sender;
mod waiting;

pub use action::Action;
pub use close::{CloseKind, CloseReason};
pub use context::Context;
pub(crate) use context::{Asked, Facts, Requests, TakeStream};
pub use control::Control;
pub(crate) use control::ControlTarget;
pub use group::{Delivered, Group, WhenFull};
pub use info::{ConnectionInfo, ConnectionState};
pub(crate) use note::Note;
pub use note::{Callback, Deadline};
pub use outbox::Wake;
pub(crate) use outbox::{Outbox, Signals};
pub use peer::{ConnectionId, Credentials, Peer};
pub use sender::{Message, SendError, SendErrorKind, Sender};

use crate::buffer::Input;

/// The error that a callback may return: any error at all.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// One connection's behaviour: bytes in, bytes out.
///
/// A server makes one value for each connection, by the factory given to
/// [`Server::serve`](crate::Server::serve). All state of the connection lives in it; shared state
/// is an `Arc` that the factory clones.
///
/// # What may be relied on, on every backend
///
/// - Callbacks of one connection never overlap. They may run on different threads, one after the
///   other.
/// - `on_open` comes first. `on_close` comes last, exactly once for each `on_open` that was called,
///   also if `on_open` itself failed or panicked. Nothing is called after it.
/// - Bytes that a callback leaves in `input` are kept and shown again together with the next ones.
///   `on_data` is called again for the *same* bytes only after [`Action::Pause`] and a resume, and
///   after [`Action::Yield`].
/// - [`Context::send`] only appends. What the callbacks of one read sent leaves in one write, after
///   the last of them returned.
/// - A panic ends this connection alone, with [`CloseReason::Panic`]. What that callback sent is
///   discarded, what was sent before is written.
/// - An `Err` is [`Action::Close`] with [`CloseReason::Handler`].
///
/// A callback that blocks holds up the thread that runs it: nothing else with
/// [`ThreadPerConnection`](crate::ThreadPerConnection), one worker of a
/// [`ThreadPool`](crate::ThreadPool), and all connections of its loop with an
/// [`EventLoop`](crate::EventLoop). [`Context::may_block`] tells which it is.
///
/// # Example
///
/// ```
/// use polyserve::{Action, BoxError, Context, Handler, Input};
///
/// /// Answers each byte with the number of bytes seen so far.
/// struct Count(u64);
///
/// impl Handler for Count {
///     fn on_data(&mut self, input: &mut Input<'_>, cx: &mut Context<'_>) -> Result<Action, BoxError> {
///         for _ in input.take() {
///             self.0 += 1;
///             cx.send(format!("{}\n", self.0));
///         }
///         Ok(Action::Continue)
///     }
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no `Handler`",
    note = "a `Service` is served by `Framed::service(codec, it)`, a closure by `Framed::new(codec, it)`"
)]
#[allow(unused_variables)] // the defaulted callbacks name their arguments for the docs
pub trait Handler: Send + 'static {
    /// The connection was accepted, and its layers (if any) are ready. The socket is open.
    ///
    /// Servers that speak first send their greeting here. Default: `Continue`.
    ///
    /// # Errors
    /// An error closes the connection; `on_close` follows.
    fn on_open(&mut self, cx: &mut Context<'_>) -> Result<Action, BoxError> {
        Ok(Action::Continue)
    }

    /// Bytes have come: `input` holds at least one byte, and at least as many as the last
    /// [`Action::Want`] asked for. The socket is open.
    ///
    /// # Errors
    /// An error closes the connection after what was sent is written; `on_close` follows.
    fn on_data(&mut self, input: &mut Input<'_>, cx: &mut Context<'_>) -> Result<Action, BoxError>;

    /// The peer has finished sending (half-close); `input` holds what is left, also when it is
    /// less than was wanted. Called at most once; `on_data` is not called after it. The socket is
    /// still open for writing.
    ///
    /// Default: [`Action::Close`], which writes what was sent and then closes. With `Continue` the
    /// connection stays half-open, for at most the half-closed time-out after the last progress
    /// of its output, until a callback closes it. What is left in `input` is dropped.
    ///
    /// # Errors
    /// An error closes the connection; `on_close` follows.
    fn on_eof(&mut self, input: &mut Input<'_>, cx: &mut Context<'_>) -> Result<Action, BoxError> {
        Ok(Action::Close)
    }

    /// The output that was held fell below the low mark, after it had reached it. The place to
    /// send the next part of a large reply: send until [`Context::is_writable`] says no, and go on
    /// at the next call. The socket is open. Default: `Continue`.
    ///
    /// # Errors
    /// An error closes the connection; `on_close` follows.
    fn on_writable(&mut self, cx: &mut Context<'_>) -> Result<Action, BoxError> {
        Ok(Action::Continue)
    }

    /// Somebody called [`Sender::wake`](crate::Sender::wake), once or several times, since the
    /// last call. The socket is open. Default: `Continue`.
    ///
    /// # Errors
    /// An error closes the connection; `on_close` follows.
    fn on_wake(&mut self, cx: &mut Context<'_>) -> Result<Action, BoxError> {
        Ok(Action::Continue)
    }

    /// The timer set by [`Context::set_timer`] has run out. It is not set any more. The socket is
    /// open. Default: `Continue`.
    ///
    /// # Errors
    /// An error closes the connection; `on_close` follows.
    fn on_timer(&mut self, cx: &mut Context<'_>) -> Result<Action, BoxError> {
        Ok(Action::Continue)
    }

    /// The server began to drain. Called once. What had arrived before was shown to `on_data`
    /// first. The socket is open.
    ///
    /// Default: `Close` if the connection is idle, else `Continue`. A connection that goes on is
    /// closed when it stops being busy (see [`Context::set_busy`]), at the latest at the drain's
    /// deadline. What this callback sends counts as well: to stay longer than until it is written,
    /// be busy. `Close` counts as [closed](crate::DrainReport::closed), and is no less orderly:
    /// what was sent is written first.
    ///
    /// So one that is idle here and returns `Continue` stays until it was busy once more, with a
    /// request for example, or until the deadline. Whoever only wants to say a last word, or to
    /// tidy up, returns `Close`, or what the default would: `Close` unless
    /// [`Context::is_busy`]. The drain waits for the peer to read a last word and to close, for at
    /// most [`Timeouts::lingering_idle`](crate::Timeouts::lingering_idle).
    ///
    /// # Errors
    /// An error closes the connection; `on_close` follows.
    fn on_shutdown(&mut self, cx: &mut Context<'_>) -> Result<Action, BoxError> {
        Ok(if cx.is_busy() { Action::Continue } else { Action::Close })
    }

    /// The connection has ended. Nothing can be sent any more, and nothing is called after this.
    /// The socket is still open, so that its number is not in use again, but it may be shut down.
    fn on_close(&mut self, reason: &CloseReason) {}
}

impl Handler for Box<dyn Handler> {
    fn on_open(&mut self, cx: &mut Context<'_>) -> Result<Action, BoxError> {
        (**self).on_open(cx)
    }

    fn on_data(&mut self, input: &mut Input<'_>, cx: &mut Context<'_>) -> Result<Action, BoxError> {
        (**self).on_data(input, cx)
    }

    fn on_eof(&mut self, input: &mut Input<'_>, cx: &mut Context<'_>) -> Result<Action, BoxError> {
        (**self).on_eof(input, cx)
    }

    fn on_writable(&mut self, cx: &mut Context<'_>) -> Result<Action, BoxError> {
        (**self).on_writable(cx)
    }

    fn on_wake(&mut self, cx: &mut Context<'_>) -> Result<Action, BoxError> {
        (**self).on_wake(cx)
    }

    fn on_timer(&mut self, cx: &mut Context<'_>) -> Result<Action, BoxError> {
        (**self).on_timer(cx)
    }

    fn on_shutdown(&mut self, cx: &mut Context<'_>) -> Result<Action, BoxError> {
        (**self).on_shutdown(cx)
    }

    fn on_close(&mut self, reason: &CloseReason) {
        (**self).on_close(reason)
    }
}
