//! The service that is asked everywhere.

use crate::life::PLANNED;
use crate::work::Work;
use polyserve::codec::{DecodeError, Decoder, Encoder, OwnedFrames};
use polyserve::{Action, BoxError, Framed, Replies, Service};
use std::marker::PhantomData;
use std::ops::ControlFlow;
use std::panic::panic_any;

/// A codec whose frames are bytes, in both directions.
pub(crate) trait ByteFrames:
    for<'a> Decoder<Frame<'a> = &'a [u8]>
    + for<'a> Encoder<Message<'a> = &'a [u8]>
    + OwnedFrames<Owned = Vec<u8>>
    + Clone
    + Send
    + 'static
{
}

impl<C> ByteFrames for C where
    C: for<'a> Decoder<Frame<'a> = &'a [u8]>
        + for<'a> Encoder<Message<'a> = &'a [u8]>
        + OwnedFrames<Owned = Vec<u8>>
        + Clone
        + Send
        + 'static
{
}

/// Answers in every way that a service can. The first byte of a request says in which, the rest is
/// what to say. An empty request has an empty reply.
pub(crate) struct Desk<C> {
    work: Work,
    codec: PhantomData<fn() -> C>,
}

/// The length of each frame of a `S`tream.
pub(crate) const LARGE_PART: usize = 900;

impl<C: ByteFrames> Desk<C> {
    pub(crate) fn framed(codec: C, work: Work) -> Framed<C, Self> {
        Framed::service(codec, Desk { work, codec: PhantomData })
    }

    /// Has a reply made by somebody else.
    fn later(&self, replies: &mut Replies<'_, C>, parts: Vec<Vec<u8>>) {
        let mut reply = replies.defer();
        (self.work)(Box::new(move || {
            // A connection that ended meanwhile needs no reply.
            if parts.iter().all(|part| reply.write(part).is_ok()) {
                reply.finish();
            }
        }));
    }
}

impl<C: ByteFrames> Service<C> for Desk<C> {
    fn call(&mut self, frame: &[u8], replies: &mut Replies<'_, C>) -> Result<Action, BoxError> {
        let Some((way, text)) = frame.split_first() else {
            replies.send(b"")?;
            return Ok(Action::Continue);
        };
        let numbered = |n: usize| [text, n.to_string().as_bytes()].concat();
        match way {
            b'e' => replies.send(text)?,
            b'm' => (1..=3).try_for_each(|n| replies.send(&numbered(n)))?,
            b'n' => (),
            b'l' => self.later(replies, vec![text.to_vec()]),
            b'p' => self.later(replies, (1..=3).map(numbered).collect()),
            b'f' => self.later(replies, Vec::new()),
            b's' => stream(replies, text, |n| n.to_string().into_bytes())?,
            b'S' => stream(replies, text, |n| vec![b'a' + (n % 26) as u8; LARGE_PART])?,
            b'q' => {
                replies.send(text)?;
                return Ok(Action::Close);
            }
            b'y' => {
                replies.send(text)?;
                return Ok(Action::Yield);
            }
            b'x' => {
                replies.send(text)?;
                return Err("this is what is asked for by x".into());
            }
            b'!' => {
                replies.send(text)?;
                panic_any(PLANNED);
            }
            other => return Err(format!("no request begins with {other}").into()),
        }
        Ok(Action::Continue)
    }

    fn on_decode_error(&mut self, _: &DecodeError, replies: &mut Replies<'_, C>) {
        replies.send(LAST_WORD).expect("it is short enough");
    }
}

/// What a peer is told that broke the protocol.
pub(crate) const LAST_WORD: &[u8] = b"what?";

/// Sends as many frames as `text` says, made by `frame` of their numbers.
fn stream<C: ByteFrames>(
    replies: &mut Replies<'_, C>,
    text: &[u8],
    frame: impl Fn(u32) -> Vec<u8> + Send + 'static,
) -> Result<(), BoxError> {
    let total: u32 = std::str::from_utf8(text)?.parse()?;
    let mut numbers = 0..total;
    replies.stream(move |replies| {
        let Some(n) = numbers.next() else { return Ok(ControlFlow::Break(())) };
        replies.send(&frame(n))?;
        Ok(ControlFlow::Continue(()))
    });
    Ok(())
}
