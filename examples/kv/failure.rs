//! What a command answers when it can not be carried out, in the words of Redis.

use crate::resp::Reply;
use std::borrow::Cow;

/// What a command comes to.
pub(crate) type Outcome<'a> = Result<Reply<'a>, Failure>;

/// Why a command was not carried out: the text of the error, its first word the kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure(Cow<'static, [u8]>);

impl Failure {
    pub(crate) const WRONG_TYPE: Failure =
        Failure::new("WRONGTYPE Operation against a key holding the wrong kind of value");
    pub(crate) const SYNTAX: Failure = Failure::new("ERR syntax error");
    pub(crate) const NOT_AN_INTEGER: Failure =
        Failure::new("ERR value is not an integer or out of range");
    pub(crate) const ABORTED: Failure =
        Failure::new("EXECABORT Transaction discarded because of previous errors.");

    pub(crate) const fn new(text: &'static str) -> Self {
        Failure(Cow::Borrowed(text.as_bytes()))
    }

    /// A text that was made for this error. It may hold any bytes.
    pub(crate) fn of(text: impl Into<Vec<u8>>) -> Self {
        Failure(Cow::Owned(text.into()))
    }

    pub(crate) fn wrong_number_of_arguments(command: &str) -> Self {
        Failure::of(format!("ERR wrong number of arguments for '{command}' command"))
    }

    pub(crate) fn invalid_expire_time(command: &str) -> Self {
        Failure::of(format!("ERR invalid expire time in '{command}' command"))
    }

    /// The same, as the reason why a transaction was given up.
    pub(crate) fn aborting(self) -> Self {
        let text = self.0.strip_prefix(b"ERR ").unwrap_or(&self.0);
        Failure::of([b"EXECABORT Transaction discarded because of: ", text].concat())
    }
}

impl From<Failure> for Reply<'_> {
    fn from(failure: Failure) -> Self {
        Reply::Error(failure.0)
    }
}
