//! What a callback wants to happen next.

/// What a callback wants to happen next.
///
/// Whatever is returned, the bytes that the callback sent are written first, together with those
/// of the other callbacks of the same read.
///
/// ```
/// use polyserve::{Action, BoxError, Context, Handler, Input};
///
/// /// Answers messages that begin with their length, as one byte, by that length in text.
/// struct Lengths;
///
/// impl Handler for Lengths {
///     fn on_data(&mut self, input: &mut Input<'_>, cx: &mut Context<'_>) -> Result<Action, BoxError> {
///         while let Some(length) = input.first() {
///             let whole = 1 + usize::from(*length);
///             if input.take_n(whole).is_none() {
///                 return Ok(Action::Want(whole)); // what is there stays in the input
///             }
///             cx.send(format!("{} ", whole - 1));
///         }
///         Ok(Action::Continue)
///     }
/// }
/// # use polyserve::{Client, Server};
/// # let server = Server::builder().bind("127.0.0.1:0")?.spawn(|_| Lengths)?;
/// # let mut client = Client::connect(&server.local_addrs()[0])?;
/// # client.send(b"\x03abc\x00\x02a")?;
/// # assert_eq!(client.recv_until(b"0 ", 100)?, b"3 0 ");
/// # client.send(b"b")?;
/// # assert_eq!(client.recv_until(b" ", 100)?, b"2 ");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Action {
    /// Go on: call again when more bytes have come. Bytes left in the input are kept.
    ///
    /// From another callback than `on_data` it changes nothing: it neither resumes a paused
    /// connection nor forgets a [`Want`](Action::Want).
    Continue,
    /// Do not call `on_data` before this many bytes are held. A number that is held already means
    /// at least one byte more. One above the input limit closes the connection at once with
    /// [`CloseReason::InputLimit`](crate::CloseReason::InputLimit). It is forgotten at the next
    /// `on_data`. Only `on_data` and `on_open` can want; from other callbacks it is `Continue`.
    Want(usize),
    /// Call `on_data` again with the same input, when other connections had their turn and the
    /// output is below the high mark. Nothing is read meanwhile. From other callbacks than
    /// `on_data` it is `Continue`.
    Yield,
    /// Stop reading until [`Context::resume`](crate::Context::resume) or
    /// [`Sender::resume`](crate::Sender::resume). Bytes left in the input are kept and shown again
    /// then. Meanwhile the idle time-out does not run and the peer's half-close is not seen; a
    /// reset is, within five seconds.
    Pause,
    /// End the connection in order: write what was sent, then close. Input that was not consumed
    /// is dropped. What senders pushed before is written as well; what they push later comes back
    /// as [`SendErrorKind::Closed`](crate::SendErrorKind::Closed).
    Close,
    /// End the connection at once by a reset (RST). What was not written yet is lost.
    Abort,
}
