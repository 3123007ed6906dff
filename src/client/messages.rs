//! The calls of a client with a codec: messages out, frames in.

use super::error::ClientError;
use super::halves::WriteHalf;
use super::inbound::Inbound;
use super::patience::{Patience, ReadTimeouts};
use super::pipeline::Pipeline;
use super::{Client, Raw};
use crate::codec::{Codec, Encoder, OwnedFrames};
use crate::limit::Limit;
use std::ops::ControlFlow;
use std::time::Duration;

/// What a client with a codec remembers.
#[derive(Debug, Default)]
pub(super) struct Messages {
    pub(super) inbound: Inbound,
    /// Messages that are being sent. Empty between two calls; kept for its memory.
    pub(super) out: Vec<u8>,
    /// Messages sent less frames received.
    pub(super) unanswered: i64,
    /// Whether a call has failed whose reply may still come, and would be taken for that of the
    /// next one.
    pub(super) is_out_of_step: bool,
}

/// An output buffer that has grown beyond this is given back when it is empty.
const KEPT_BYTES: usize = 64 * 1024;

impl Messages {
    /// Whether the next frame will be the reply to the next request.
    pub(super) fn is_in_step(&self) -> bool {
        self.unanswered == 0 && !self.is_out_of_step && !self.inbound.has_ended()
    }
}

impl<C: Codec> Client<C> {
    /// Sends a request, and returns its reply: the next frame that comes.
    ///
    /// It sends and receives at the same time, so a request that is larger than the buffers
    /// between the two cannot stop a server that answers while it reads.
    ///
    /// A server that also [pushes](Self::recv) frames mixes them with the replies; only the
    /// caller can tell them apart, by `send` and `recv`.
    ///
    /// # Errors
    /// - [`ClientError::Encode`]: nothing was sent, and the connection is as it was.
    /// - [`ClientError::TimedOut`] names the [phase](super#time-outs). [`ClientError::Write`],
    ///   [`ClientError::Read`]: the connection broke.
    /// - [`ClientError::UnexpectedEof`]: the server ended its stream before the reply, or within
    ///   it. [`ClientError::Decode`]: what came is no frame.
    /// - [`ClientError::OutOfStep`]: an earlier call failed when its request had left. Its reply
    ///   may still come, and would be taken for this one's; so a new connection is needed. (After
    ///   such an error [`recv`](Self::recv) still works.)
    pub fn call(&mut self, request: C::Message<'_>) -> Result<C::Owned, ClientError>
    where
        C: OwnedFrames,
    {
        self.call_with(request, |frame| C::to_owned(frame))
    }

    /// As [`call`](Self::call), but shows the reply where it was received, and copies nothing.
    ///
    /// ```
    /// # use std::net::TcpListener;
    /// # use polyserve::Client;
    /// # use polyserve::codec::Lines;
    /// # let listener = TcpListener::bind("127.0.0.1:0")?;
    /// # let echo_server = listener.local_addr()?;
    /// # std::thread::spawn(move || {
    /// #     let (mut stream, _) = listener.accept().unwrap();
    /// #     std::io::copy(&mut stream.try_clone().unwrap(), &mut stream).unwrap();
    /// # });
    /// let mut client = Client::builder().codec(Lines::new()).connect(echo_server)?;
    /// let length = client.call_with("hello", |line| line.len())?;
    /// assert_eq!(length, 5);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As [`call`](Self::call).
    pub fn call_with<T>(
        &mut self,
        request: C::Message<'_>,
        on_reply: impl FnOnce(C::Frame<'_>) -> T,
    ) -> Result<T, ClientError> {
        let mut on_reply = Some(on_reply);
        let mut reply = None;
        self.pipeline([request], |frame| {
            reply = on_reply.take().map(|on_reply| on_reply(frame));
            ControlFlow::Continue(())
        })?;
        Ok(reply.expect("a pipeline of one request ends by one reply or by an error"))
    }

    /// Sends many requests without waiting for the replies in between, and returns all replies,
    /// in the order of the requests.
    ///
    /// # Errors
    /// As [`pipeline`](Self::pipeline). The replies that came before an error are lost.
    pub fn call_all<'m, I>(&mut self, requests: I) -> Result<Vec<C::Owned>, ClientError>
    where
        C: OwnedFrames,
        I: IntoIterator<Item = C::Message<'m>>,
    {
        let mut replies = Vec::new();
        self.pipeline(requests, |frame| {
            replies.push(C::to_owned(frame));
            ControlFlow::Continue(())
        })?;
        Ok(replies)
    }

    /// Sends many requests without waiting for the replies in between, and shows each reply as it
    /// comes, in the order of the requests, until all have come or `on_reply` says `Break`.
    /// Returns how many replies it has shown.
    ///
    /// It sends and receives at the same time, so the two sides cannot wait for each other with
    /// full buffers, however many requests there are. At most 1,024 requests are unanswered, and
    /// about 64 KiB of them encoded, at a time.
    ///
    /// ```
    /// # use std::net::TcpListener;
    /// # use polyserve::Client;
    /// # use polyserve::codec::Lines;
    /// use std::ops::ControlFlow;
    ///
    /// # let listener = TcpListener::bind("127.0.0.1:0")?;
    /// # let echo_server = listener.local_addr()?;
    /// # std::thread::spawn(move || {
    /// #     let (mut stream, _) = listener.accept().unwrap();
    /// #     std::io::copy(&mut stream.try_clone().unwrap(), &mut stream).unwrap();
    /// # });
    /// let mut client = Client::builder().codec(Lines::new()).connect(echo_server)?;
    /// let requests: Vec<String> = (0..100_000).map(|n| n.to_string()).collect();
    /// let mut sum = 0;
    /// client.pipeline(requests.iter().map(String::as_str), |line| {
    ///     sum += line.parse::<u64>().unwrap();
    ///     ControlFlow::Continue(())
    /// })?;
    /// assert_eq!(sum, 4_999_950_000);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As [`call`](Self::call), with these time-outs: the write time-out for each 64 KiB of
    /// requests, and the receiving ones for each reply, counted from the one before. Replies that
    /// came before an error were shown.
    ///
    /// A request that cannot be encoded ends the sending. The error is returned when the requests
    /// before it are answered, and the connection is as it was.
    ///
    /// `Break` while there are requests on the way leaves the connection
    /// [out of step](ClientError::OutOfStep).
    pub fn pipeline<'m, I, F>(&mut self, requests: I, on_reply: F) -> Result<usize, ClientError>
    where
        I: IntoIterator<Item = C::Message<'m>>,
        F: FnMut(C::Frame<'_>) -> ControlFlow<()>,
    {
        if self.messages.is_out_of_step {
            return Err(ClientError::OutOfStep {
                peer: self.peer_addr().clone(),
                problem: "an earlier call has not got its reply",
            });
        }
        Pipeline::new(self, requests.into_iter(), on_reply).run()
    }

    /// Sends a message, and waits for no reply.
    ///
    /// # Errors
    /// [`ClientError::Encode`]; else as [`WriteHalf::send`].
    pub fn send(&mut self, message: C::Message<'_>) -> Result<(), ClientError> {
        send(&mut self.writer, &mut self.codec, &mut self.messages.out, message)?;
        self.messages.unanswered += 1;
        Ok(())
    }

    /// Waits for the next frame, whether it was asked for or not. `None` is the end of the stream
    /// between two frames.
    ///
    /// # Errors
    /// - [`ClientError::TimedOut`]: nothing is lost, and the next call goes on.
    /// - [`ClientError::UnexpectedEof`] if the stream ends within a frame, and
    ///   [`ClientError::Decode`] if what came is no frame. Nothing more can be received then.
    /// - [`ClientError::Read`]: the connection broke.
    pub fn recv(&mut self) -> Result<Option<C::Owned>, ClientError>
    where
        C: OwnedFrames,
    {
        self.recv_with(|frame| C::to_owned(frame))
    }

    /// As [`recv`](Self::recv), but shows the frame where it was received, and copies nothing.
    ///
    /// # Errors
    /// As [`recv`](Self::recv).
    pub fn recv_with<T>(
        &mut self,
        on_frame: impl FnOnce(C::Frame<'_>) -> T,
    ) -> Result<Option<T>, ClientError> {
        let patience = self.reader.patience();
        self.next(patience, on_frame)
    }

    /// As [`recv`](Self::recv), with a deadline of its own in place of all others: for frames
    /// that come when the server has something to say.
    ///
    /// ```
    /// # use std::net::TcpListener;
    /// # use std::io::Write;
    /// # use polyserve::Client;
    /// # use polyserve::codec::Lines;
    /// # use std::time::Duration;
    /// # let listener = TcpListener::bind("127.0.0.1:0")?;
    /// # let server = listener.local_addr()?;
    /// # std::thread::spawn(move || {
    /// #     listener.accept().unwrap().0.write_all(b"news\nmore news\n").unwrap();
    /// # });
    /// let mut client = Client::builder().codec(Lines::new()).connect(server)?;
    /// loop {
    ///     match client.recv_within(Duration::from_secs(3600)) {
    ///         Ok(Some(news)) => println!("{news}"),
    ///         Ok(None) => break, // the server has ended
    ///         Err(error) if error.is_timeout() => println!("no news for an hour"),
    ///         Err(error) => return Err(error.into()),
    ///     }
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As [`recv`](Self::recv).
    pub fn recv_within(
        &mut self,
        timeout: impl Into<Limit<Duration>>,
    ) -> Result<Option<C::Owned>, ClientError>
    where
        C: OwnedFrames,
    {
        let timeouts = ReadTimeouts::within(timeout.into());
        self.next(Patience::start(timeouts, false), |frame| C::to_owned(frame))
    }

    /// As [`recv`](Self::recv), but does not wait.
    ///
    /// # Errors
    /// As [`recv`](Self::recv): a time-out ([`is_timeout`](ClientError::is_timeout)) if no whole
    /// frame is there.
    pub fn try_recv(&mut self) -> Result<Option<C::Owned>, ClientError>
    where
        C: OwnedFrames,
    {
        self.recv_within(Duration::ZERO)
    }

    fn next<T>(
        &mut self,
        patience: Patience,
        on_frame: impl FnOnce(C::Frame<'_>) -> T,
    ) -> Result<Option<T>, ClientError> {
        let Self { reader, codec, messages, .. } = self;
        let shown = messages.inbound.next(reader, codec, patience, on_frame)?;
        messages.unanswered -= i64::from(shown.is_some());
        Ok(shown)
    }

    /// The codec, for example to change it when the protocol does.
    pub fn codec(&mut self) -> &mut C {
        &mut self.codec
    }

    /// Goes on in bytes: for protocols that change into another one. Bytes that were received and
    /// not yet handed out are [kept](Client::buffered).
    pub fn into_raw(self) -> Client<Raw> {
        Client::from_halves(self.reader, self.writer, Raw)
    }
}

/// Encodes a message and sends it; `out` is empty afterwards.
pub(super) fn send<C: Encoder>(
    writer: &mut WriteHalf,
    codec: &mut C,
    out: &mut Vec<u8>,
    message: C::Message<'_>,
) -> Result<(), ClientError> {
    out.clear(); // a panic while a message was encoded may have left a part of it
    let encoded = codec.encode(message, out).map_err(|source| {
        let peer = writer.peer_addr().clone();
        ClientError::Encode { peer, source }
    });
    let sent = encoded.and_then(|()| writer.send(out));
    tidy(out);
    sent
}

/// Empties an output buffer.
pub(super) fn tidy(out: &mut Vec<u8>) {
    match out.capacity() {
        ..=KEPT_BYTES => out.clear(),
        _ => *out = Vec::new(),
    }
}
