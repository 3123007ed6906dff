//! What the two sides say to each other, and how it is written.
//!
//! A message is a number of four bytes, big-endian, and as many bytes of postcard (its format is
//! specified at <https://postcard.jamesmunns.com>). `LengthPrefixed` cuts the stream into frames, and
//! bounds them at 1 MiB; serde makes types of them.

use polyserve::codec::{
    DecodeError, Decoded, Decoder, EncodeError, Encoder, LengthPrefixed, OwnedFrames,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::marker::PhantomData;

/// What a client asks for. The number is the client's choice; all answers to the call carry it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Call {
    pub(crate) id: u64,
    pub(crate) method: Method,
}

/// The methods. Postcard writes the place in this list, so new ones come at its end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Method {
    /// The sum of all numbers.
    Add(Vec<i64>),
    /// All texts, one behind the other.
    Concat(Vec<String>),
    /// How many prime numbers there are below this one. It takes a while.
    Primes(u32),
    /// So many numbers from this one on, each in an answer of its own, and then the end.
    Numbers { from: u64, count: u64 },
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Answer {
    pub(crate) id: u64,
    pub(crate) result: Result<Value, Fault>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Value {
    Sum(i64),
    Text(String),
    Primes(u64),
    Number(u64),
    /// No more numbers follow.
    End,
}

/// Why a call has no value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Fault {
    /// The result does not fit into its type.
    Overflow,
    /// More was asked for than the server is willing to do.
    TooMuch { asked: u64, most: u64 },
    /// The server has too much to do at the moment. Nothing was done.
    Busy,
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Sum(n) => write!(f, "{n}"),
            Value::Text(text) => f.write_str(text),
            Value::Primes(n) | Value::Number(n) => write!(f, "{n}"),
            Value::End => Ok(()),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::Overflow => f.write_str("the result is too large"),
            Fault::TooMuch { asked, most } => write!(f, "{asked} is more than {most}"),
            Fault::Busy => f.write_str("the server has too much to do"),
        }
    }
}

impl std::error::Error for Fault {}

/// Values of the type `In` come in, values of the type `Out` go out.
pub(crate) struct Typed<In, Out> {
    frames: LengthPrefixed,
    types: PhantomData<fn(Out) -> In>,
}

/// The server's side.
pub(crate) type ServerCodec = Typed<Call, Answer>;

/// The client's side.
pub(crate) type ClientCodec = Typed<Answer, Call>;

impl<In, Out> Typed<In, Out> {
    pub(crate) fn new() -> Self {
        Self { frames: LengthPrefixed::u32(), types: PhantomData }
    }
}

// Derived, it would ask the types to be `Clone` as well.
impl<In, Out> Clone for Typed<In, Out> {
    fn clone(&self) -> Self {
        Self { frames: self.frames.clone(), types: PhantomData }
    }
}

impl<In: DeserializeOwned, Out> Decoder for Typed<In, Out> {
    type Frame<'a> = In;

    fn decode(&mut self, input: &[u8]) -> Result<Decoded<In>, DecodeError> {
        match self.frames.decode(input)? {
            Decoded::Incomplete { need } => Ok(Decoded::Incomplete { need }),
            Decoded::Frame { frame, consumed } => {
                let (frame, rest) = postcard::take_from_bytes(frame).map_err(DecodeError::other)?;
                if !rest.is_empty() {
                    return Err(DecodeError::malformed("bytes follow the message in its frame"));
                }
                Ok(Decoded::Frame { frame, consumed })
            }
        }
    }
}

impl<In, Out: Serialize + 'static> Encoder for Typed<In, Out> {
    type Message<'a> = &'a Out;

    fn encode(&mut self, message: &Out, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        let bytes = postcard::to_stdvec(message).map_err(EncodeError::other)?;
        self.frames.encode(&bytes, out)
    }
}

impl<In: DeserializeOwned, Out> OwnedFrames for Typed<In, Out> {
    type Owned = In;

    fn to_owned(frame: In) -> In {
        frame
    }
}
