//! Frames in bytes: where each begins and ends, and what it says.
//!
//! A codec is a [`Decoder`] and an [`Encoder`]. It sees bytes only: no socket, no connection, no
//! clock, so it works the same behind [`Framed`](crate::Framed), in a
//! [`Client`](crate::Client), and on its own in a test.
//!
//! | codec | a frame is | its limit, unless you set another |
//! |---|---|---|
//! | [`Lines`] | a line of UTF-8 text, ended by LF or CRLF | 8 KiB |
//! | [`Delimited::lines`] | a line of bytes, ended by LF or CRLF | 8 KiB |
//! | [`Delimited`] | bytes, ended by a delimiter of yours | 1 MiB |
//! | [`LengthPrefixed`] | bytes behind their length: of 1, 2, 3, 4 or 8 bytes, big- or little-endian, or a varint | 1 MiB |
//! | [`Headed`] | the same behind some bytes of header: a pair | 1 MiB, the header not counted |
//! | [`Fixed`] | so many bytes | its length |
//!
//! Each is a plain value that is made for a connection, and borrows its frames from the input. None
//! allocates anything to decode.
//!
//! # One of your own
//!
//! ```
//! use polyserve::codec::{DecodeError, Decoded, Decoder, EncodeError, Encoder};
//!
//! /// Netstrings: `5:hello,`. At most 999 bytes.
//! struct Netstrings;
//!
//! impl Decoder for Netstrings {
//!     type Frame<'a> = &'a [u8];
//!
//!     fn decode<'a>(&mut self, input: &'a [u8]) -> Result<Decoded<&'a [u8]>, DecodeError> {
//!         let malformed = |problem: &'static str| DecodeError::malformed(problem);
//!         let Some(colon) = input.iter().take(4).position(|b| *b == b':') else {
//!             return match input.len() {
//!                 ..4 => Ok(Decoded::Incomplete { need: input.len() + 1 }),
//!                 _ => Err(malformed("no colon after a length of at most three digits")),
//!             };
//!         };
//!         let length = std::str::from_utf8(&input[..colon]).ok().and_then(|n| n.parse().ok());
//!         let length: usize = length.ok_or_else(|| malformed("the length is no number"))?;
//!         let whole = colon + 1 + length + 1;
//!         match input.get(whole - 1) {
//!             None => Ok(Decoded::Incomplete { need: whole }),
//!             Some(b',') => {
//!                 Ok(Decoded::Frame { frame: &input[colon + 1..whole - 1], consumed: whole })
//!             }
//!             Some(_) => Err(malformed("no comma after the last byte")),
//!         }
//!     }
//! }
//!
//! impl Encoder for Netstrings {
//!     type Message<'a> = &'a [u8];
//!
//!     fn encode(&mut self, message: &[u8], out: &mut Vec<u8>) -> Result<(), EncodeError> {
//!         if message.len() > 999 {
//!             return Err(EncodeError::TooLong { got: message.len(), max: 999 });
//!         }
//!         out.extend(format!("{}:", message.len()).bytes());
//!         out.extend(message);
//!         out.push(b',');
//!         Ok(())
//!     }
//! }
//!
//! assert_eq!(Netstrings.encode_to_vec(b"hello")?, b"5:hello,");
//! let decoded = Netstrings.decode(b"5:hello,3:abc")?;
//! assert_eq!(decoded, Decoded::Frame { frame: &b"hello"[..], consumed: 8 });
//! assert_eq!(Netstrings.decode(b"5:he")?, Decoded::Incomplete { need: 8 });
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! That is all that [`Framed`](crate::Framed) needs. The rest of the crate needs three lines more:
//!
//! - `#[derive(Clone)]`, for [`Replies::defer`](crate::Replies::defer), for
//!   [`ClientBuilder::connect`](crate::client::ClientBuilder::connect), of which each connection has a
//!   codec of its own, and for `testing::CodecLaws`;
//! - [`OwnedFrames`], for the calls of a [`Client`](crate::Client) or a [`Pool`](crate::client::Pool)
//!   that return a reply, and for `testing::CodecLaws`.

mod delimited;
mod error;
mod fixed;
mod headed;
mod length;
mod length_prefixed;
mod lines;
mod search;

pub use delimited::Delimited;
pub use error::{DecodeError, EncodeError};
pub use fixed::Fixed;
pub use headed::Headed;
pub use length_prefixed::LengthPrefixed;
pub use lines::Lines;

/// The most bytes of a frame, if nothing else was said: a server's
/// [`Limits::input`](crate::Limits::input) has room for it and for what surrounds it.
const MAX_FRAME: usize = 1024 * 1024;
/// The most bytes of a line: nginx takes request lines of that length.
const MAX_LINE: usize = 8 * 1024;

/// Finds frames in bytes.
///
/// # What a decoder must keep
///
/// - The result does not depend on how the bytes were cut: what it says of a part of the input it
///   must not take back when more has come.
/// - It never panics, whatever the peer sends, and never allocates what a peer merely claims.
/// - It does not look at the same bytes again and again: while a frame is incomplete, `decode` is
///   called with the same bytes and more behind them, so it can remember how far it got.
/// - `need` is never beyond the end of the frame: who waits for it would wait for ever.
/// - The same bytes may be shown again with nothing behind them, as at the end of a pause, and mean
///   the same.
/// - An error is final: no bytes behind it make a frame of what came. `decode` is not called again
///   for this connection, and where it is, it says so again.
///
/// `testing::CodecLaws` (feature `testing`) hold a decoder of yours, and an encoder, against this.
pub trait Decoder {
    /// A frame. It borrows from the input alone, so that a request costs no allocation.
    type Frame<'a>;

    /// Looks for a frame at the start of `input`, which is never empty.
    ///
    /// What an earlier call consumed is gone from `input`; what it did not consume is there again.
    ///
    /// # Errors
    /// The input can not be the start of a frame, or exceeds a limit. Behind a server this closes
    /// the connection with [`CloseReason::Decode`](crate::CloseReason::Decode).
    fn decode<'a>(&mut self, input: &'a [u8]) -> Result<Decoded<Self::Frame<'a>>, DecodeError>;

    /// The peer has finished sending; `rest` is what is left behind the last frame, and may be
    /// empty. Called at most once; `decode` is not called after it.
    ///
    /// Default: no frame if `rest` is empty, else [`DecodeError::Truncated`]. A decoder whose last
    /// frame ends with the stream returns it here. One that knows that more had to come, also when
    /// `rest` is empty, returns `Truncated`.
    ///
    /// # Errors
    /// The stream must not end here.
    fn decode_eof<'a>(&mut self, rest: &'a [u8]) -> Result<Option<Self::Frame<'a>>, DecodeError> {
        match rest.len() {
            0 => Ok(None),
            got => Err(DecodeError::Truncated { got }),
        }
    }
}

/// What a [`Decoder`] found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Decoded<F> {
    /// A frame.
    Frame {
        /// The frame.
        frame: F,
        /// The bytes that it took, from the start of the input: at least one, at most all.
        consumed: usize,
    },
    /// The input is the start of a frame.
    Incomplete {
        /// How many bytes there must be, from the start of the input, before it is worth to look
        /// again. A number that is there already means one byte more.
        need: usize,
    },
}

/// Writes messages as bytes.
pub trait Encoder {
    /// What is written. It may borrow, for the call only.
    type Message<'a>;

    /// Appends `message` to `out`, which may hold other messages already.
    ///
    /// # Errors
    /// The message can not be written, for example because the decoder at the other end would
    /// refuse it. `out` must be as it was before.
    fn encode(&mut self, message: Self::Message<'_>, out: &mut Vec<u8>) -> Result<(), EncodeError>;

    /// The bytes of `message`, for a [`Sender`](crate::Sender), which takes bytes.
    ///
    /// # Errors
    /// As [`encode`](Self::encode).
    fn encode_to_vec(&mut self, message: Self::Message<'_>) -> Result<Vec<u8>, EncodeError> {
        let mut out = Vec::new();
        self.encode(message, &mut out)?;
        Ok(out)
    }
}

/// Both directions of a protocol, seen from one side: a server decodes requests and encodes
/// replies. Every type that is a [`Decoder`] and an [`Encoder`] is one.
pub trait Codec: Decoder + Encoder {}

impl<T: Decoder + Encoder> Codec for T {}

/// A decoder whose frames can be kept: what a [`Client`](crate::Client) needs to return a reply
/// rather than to show it.
pub trait OwnedFrames: Decoder {
    /// A frame that borrows from nothing.
    type Owned;

    /// Copies what the frame borrows.
    fn to_owned(frame: Self::Frame<'_>) -> Self::Owned;
}
