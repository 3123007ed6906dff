//! Between the socket and the handler: encryption, proxies' headers, compression.

use crate::handler::BoxError;

/// A transformation of the byte stream, from memory to memory, between the socket and the handler.
///
/// Plain connections have none and pay nothing. A server makes one for each connection by
/// [`Builder::layer`](crate::Builder::layer). The handler is made, and `on_open` called, when the
/// layer is ready. The calls of one layer never overlap.
///
/// A panic ends this connection alone, with [`CloseReason::Panic`](crate::CloseReason::Panic), and
/// the layer is not called again. A layer that leaves as much of the wire as the input limit (at
/// least 64 KiB) ends it as well, with [`CloseReason::InputLimit`](crate::CloseReason::InputLimit).
///
/// ```
/// use polyserve::{BoxError, Layer, Progress};
///
/// /// Turns every bit of the stream over. (No encryption, but the shape of one.)
/// struct Invert;
///
/// impl Layer for Invert {
///     fn read(
///         &mut self,
///         wire: &[u8],
///         plain: &mut Vec<u8>,
///         room: usize,
///         _out: &mut Vec<u8>, // what is to be sent in answer: nothing here
///     ) -> Result<Progress, BoxError> {
///         let n = wire.len().min(room);
///         plain.extend(wire[..n].iter().map(|byte| !byte));
///         Ok(Progress::consumed(n)) // the rest is shown again
///     }
///
///     fn write(&mut self, plain: &[u8], out: &mut Vec<u8>) -> Result<usize, BoxError> {
///         out.extend(plain.iter().map(|byte| !byte));
///         Ok(plain.len())
///     }
///
///     fn close(&mut self, _out: &mut Vec<u8>) {}
///
///     fn is_ready(&self) -> bool {
///         true // there is no handshake
///     }
/// }
/// # use polyserve::{Action, Client, Context, Handler, Input, Server};
/// # struct Echo;
/// # impl Handler for Echo {
/// #     fn on_data(&mut self, input: &mut Input<'_>, cx: &mut Context<'_>) -> Result<Action, BoxError> {
/// #         cx.send(input.take());
/// #         Ok(Action::Continue)
/// #     }
/// # }
/// # let server = Server::builder().layer(|| Invert).bind("127.0.0.1:0")?.spawn(|_| Echo)?;
/// # let mut client = Client::connect(&server.local_addrs()[0])?;
/// # client.send(b"hello")?;
/// # let mut reply = [0; 5];
/// # client.recv_exact(&mut reply)?;
/// # assert_eq!(&reply, b"hello"); // inverted twice
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub trait Layer: Send + 'static {
    /// Takes bytes from the `wire` (the socket) and appends at most `room` bytes of plaintext to
    /// `plain`. Whatever must be sent in answer is appended to `out`.
    ///
    /// It is called with new wire bytes, together with those that it did not consume before, and
    /// with an empty `wire` for as long as it says [`Progress::more`]: a layer that holds plaintext
    /// gives all of it before it takes more from the wire.
    ///
    /// # Errors
    /// An error ends the connection with [`CloseReason::Layer`](crate::CloseReason::Layer), after
    /// `out` (an alert, say) was written.
    fn read(
        &mut self,
        wire: &[u8],
        plain: &mut Vec<u8>,
        room: usize,
        out: &mut Vec<u8>,
    ) -> Result<Progress, BoxError>;

    /// Takes plaintext of the handler and appends what is to be sent to `out`. Returns how much it
    /// took; the rest is offered again after the next `read`. Before the handshake is done it may
    /// take nothing.
    ///
    /// # Errors
    /// As for [`read`](Self::read).
    fn write(&mut self, plain: &[u8], out: &mut Vec<u8>) -> Result<usize, BoxError>;

    /// The last thing to be sent (TLS: close_notify), before the connection is shut down for
    /// writing. Called at most once, and not if the connection failed.
    fn close(&mut self, out: &mut Vec<u8>);

    /// Whether the handshake is done.
    fn is_ready(&self) -> bool;
}

/// What [`Layer::read`] did.
#[derive(Default)]
#[non_exhaustive]
pub struct Progress {
    /// How many bytes of the wire it took.
    pub consumed: usize,
    /// It holds more plaintext than there was room for: call again without waiting for the wire.
    pub more: bool,
    /// It saw the end of the stream (TLS: the peer's close_notify). Where the socket ends before
    /// that, the connection ends with [`CloseReason::Truncated`](crate::CloseReason::Truncated).
    pub eof: bool,
    /// `Some(None)`: it steps aside, and from here on the bytes are plain. `Some(Some(layer))`:
    /// that one takes its place. A header of a proxy steps aside or becomes TLS, for example.
    pub next: Option<Option<Box<dyn Layer>>>,
}

impl Progress {
    /// It took this many bytes of the wire, and nothing else is to be said.
    pub fn consumed(n: usize) -> Self {
        Self { consumed: n, ..Self::default() }
    }

    /// Says that there is more plaintext.
    pub fn with_more(mut self, more: bool) -> Self {
        self.more = more;
        self
    }

    /// Says that the stream has ended.
    pub fn with_eof(mut self, eof: bool) -> Self {
        self.eof = eof;
        self
    }

    /// Names what takes the layer's place from here on.
    pub fn with_next(mut self, next: Option<Box<dyn Layer>>) -> Self {
        self.next = Some(next);
        self
    }
}

impl std::fmt::Debug for Progress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Progress")
            .field("consumed", &self.consumed)
            .field("more", &self.more)
            .field("eof", &self.eof)
            .field("next", &self.next.as_ref().map(Option::is_some))
            .finish()
    }
}

impl Layer for Box<dyn Layer> {
    fn read(
        &mut self,
        wire: &[u8],
        plain: &mut Vec<u8>,
        room: usize,
        out: &mut Vec<u8>,
    ) -> Result<Progress, BoxError> {
        (**self).read(wire, plain, room, out)
    }

    fn write(&mut self, plain: &[u8], out: &mut Vec<u8>) -> Result<usize, BoxError> {
        (**self).write(plain, out)
    }

    fn close(&mut self, out: &mut Vec<u8>) {
        (**self).close(out);
    }

    fn is_ready(&self) -> bool {
        (**self).is_ready()
    }
}
