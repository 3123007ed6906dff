//! RESP2, the protocol of Redis, from the server's side: requests in, replies out.
//!
//! A codec of our own, because the crate `redis-protocol` is made for clients: it knows no inline
//! commands, does not say what is wrong in the words that Redis answers with, begins again at the
//! first byte whenever more of a request arrives, and makes a vector for each.

mod inline;
mod reply;
mod request;

#[cfg(test)]
pub(crate) use inline::unquote;
pub(crate) use reply::Reply;
pub(crate) use request::{Args, ProtocolError};

/// The codec of one connection: a decoder of requests and an encoder of replies.
#[derive(Debug, Default, Clone)]
pub(crate) struct Resp {
    /// How far the request that is arriving has been read.
    progress: request::Progress,
}

#[cfg(test)]
mod tests;
