//! What can be wrong with frames.

use std::borrow::Cow;
use std::error::Error;
use std::str::Utf8Error;

/// Why bytes are no frame. No text of it repeats what the peer sent.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// A frame is, or claims to be, longer than is allowed.
    #[error("a frame of {got} bytes exceeds the limit of {max}")]
    TooLong {
        /// Its length: the one that it claims, or the least that it has if its end has not come.
        got: u64,
        /// The limit.
        max: usize,
    },
    /// A frame claims to be shorter than its own header.
    #[error("a frame of {got} bytes is below the minimum of {min}")]
    TooShort {
        /// Its length, as it claims.
        got: u64,
        /// The least that it may be.
        min: usize,
    },
    /// The peer ended its stream in the middle of a frame. Behind a server this is
    /// [`CloseReason::Truncated`](crate::CloseReason::Truncated).
    #[error("the stream ended within a frame, after {got} bytes of it")]
    Truncated {
        /// The bytes of the frame that had come, and were not given away as a part of it.
        got: usize,
    },
    /// A frame is no UTF-8 text.
    #[error("a frame is no UTF-8 text")]
    Utf8(#[from] Utf8Error),
    /// The bytes break the rules of the protocol in another way.
    #[error("a frame is malformed: {problem}")]
    Malformed {
        /// Which rule.
        problem: Cow<'static, str>,
    },
    /// What a decoder of your own has to say.
    #[error(transparent)]
    Other(Box<dyn Error + Send + Sync>),
}

impl DecodeError {
    /// The bytes break this rule of the protocol.
    pub fn malformed(problem: impl Into<Cow<'static, str>>) -> Self {
        DecodeError::Malformed { problem: problem.into() }
    }

    /// An error of your own, with its type, for whoever looks into [`Other`](Self::Other).
    ///
    /// ```
    /// use polyserve::codec::DecodeError;
    ///
    /// let error = DecodeError::other("12x".parse::<u8>().unwrap_err());
    /// let DecodeError::Other(inner) = &error else { unreachable!() };
    /// assert!(inner.downcast_ref::<std::num::ParseIntError>().is_some());
    /// assert_eq!(error.to_string(), "invalid digit found in string");
    /// ```
    pub fn other(error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        DecodeError::Other(error.into())
    }
}

/// Why a message can not be written as a frame.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EncodeError {
    /// It is longer than the codec allows, or than its length field can tell.
    #[error("a message of {got} bytes exceeds the limit of {max}")]
    TooLong {
        /// Its length.
        got: usize,
        /// The limit.
        max: usize,
    },
    /// It has not the length that all messages have.
    #[error("a message of {got} bytes, expected {expected}")]
    WrongLength {
        /// Its length.
        got: usize,
        /// The length of all messages.
        expected: usize,
    },
    /// It holds what the protocol can not carry, such as a delimiter.
    #[error("a message can not be written: {problem}")]
    Invalid {
        /// Why.
        problem: Cow<'static, str>,
    },
    /// What an encoder of your own has to say.
    #[error(transparent)]
    Other(Box<dyn Error + Send + Sync>),
}

impl EncodeError {
    /// The message holds what the protocol can not carry.
    pub fn invalid(problem: impl Into<Cow<'static, str>>) -> Self {
        EncodeError::Invalid { problem: problem.into() }
    }

    /// An error of your own, with its type.
    pub fn other(error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        EncodeError::Other(error.into())
    }
}
