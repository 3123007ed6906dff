//! The two directions of a client with a codec, each for a thread of its own.

use super::Client;
use super::error::ClientError;
use super::halves::{ReadHalf, WriteHalf};
use super::inbound::Inbound;
use super::messages;
use crate::codec::{Codec, Decoder, Encoder, OwnedFrames};
use std::fmt;

/// The receiving direction of a [`Client`] with a codec.
pub struct FrameReader<C> {
    half: ReadHalf,
    codec: C,
    inbound: Inbound,
}

/// The sending direction of a [`Client`] with a codec.
pub struct FrameWriter<C> {
    half: WriteHalf,
    codec: C,
    out: Vec<u8>,
}

impl<C: Codec + Clone> Client<C> {
    /// Parts the two directions for good. Each has the codec, one of them a clone, so a codec
    /// that learns in one direction what it needs in the other cannot be parted. The connection
    /// is closed when both are dropped.
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
    /// let client = Client::builder().codec(Lines::new()).connect(echo_server)?;
    /// let (mut reader, mut writer) = client.into_frames();
    /// let sender = std::thread::spawn(move || writer.send("hello"));
    /// assert_eq!(reader.recv()?.as_deref(), Some("hello"));
    /// sender.join().unwrap()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn into_frames(self) -> (FrameReader<C>, FrameWriter<C>) {
        let Self { reader, writer, codec, messages } = self;
        let reader = FrameReader { half: reader, codec: codec.clone(), inbound: messages.inbound };
        (reader, FrameWriter { half: writer, codec, out: Vec::new() })
    }
}

impl<C: Decoder> FrameReader<C> {
    /// Waits for the next frame. `None` is the end of the stream between two frames.
    ///
    /// # Errors
    /// As [`Client::recv`](Client#method.recv-1).
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
        let patience = self.half.patience();
        self.inbound.next(&mut self.half, &mut self.codec, patience, on_frame)
    }

    /// The bytes below: time-outs, and the address of the other end. Bytes that are read from it
    /// are missing in the next frame.
    pub fn bytes(&mut self) -> &mut ReadHalf {
        &mut self.half
    }
}

impl<C: Encoder> FrameWriter<C> {
    /// Sends a message.
    ///
    /// # Errors
    /// [`ClientError::Encode`]; else as [`WriteHalf::send`].
    pub fn send(&mut self, message: C::Message<'_>) -> Result<(), ClientError> {
        messages::send(&mut self.half, &mut self.codec, &mut self.out, message)
    }

    /// Ends our stream and leaves the peer's open.
    ///
    /// # Errors
    /// [`ClientError::Write`] if the connection is gone already.
    pub fn shutdown(&mut self) -> Result<(), ClientError> {
        self.half.shutdown()
    }

    /// The bytes below: time-outs, and the address of the other end. Bytes that are written to it
    /// come between two messages.
    pub fn bytes(&mut self) -> &mut WriteHalf {
        &mut self.half
    }
}

impl<C> fmt::Debug for FrameReader<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FrameReader").field("peer", self.half.peer_addr()).finish_non_exhaustive()
    }
}

impl<C> fmt::Debug for FrameWriter<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FrameWriter").field("peer", self.half.peer_addr()).finish_non_exhaustive()
    }
}
