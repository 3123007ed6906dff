//! Replies that are not made yet, and what has to wait for them.
//!
//! ```text
//!  requests    1          2 (deferred)      3          4 (deferred)      5
//!  replies     output  |  slot: reply       after   |  slot: reply       after
//!                         ^ front: leaves as it is made
//! ```
//!
//! While nothing is deferred, none of this exists and replies go straight into the output.

use super::replies::Replies;
use crate::handler::BoxError;
use crate::sync::{Mutex, MutexGuard, PoisonError};
use std::collections::VecDeque;
use std::ops::ControlFlow;
use std::sync::Arc;

/// The most replies of one connection that may be outstanding before its requests have to wait.
const MAX_OUTSTANDING: usize = 1024;

/// What makes a large reply, part by part.
pub(super) type Stream<C> =
    Box<dyn FnMut(&mut Replies<'_, C>) -> Result<ControlFlow<()>, BoxError> + Send>;

/// How the connection is to end, once nothing is outstanding any more.
pub(super) enum Ending {
    Close,
    Error(BoxError),
}

/// What a connection has outstanding.
pub(super) struct Later<C> {
    pub(super) queue: Option<Arc<Queue>>,
    /// Behind all of the queue; no further request is served before they are over.
    pub(super) streams: VecDeque<Stream<C>>,
    pub(super) ending: Option<Ending>,
    /// What the peer left at its end, which is served when the streams are over, as a request is.
    pub(super) eof: Option<Vec<u8>>,
    /// What the service itself says about being busy.
    pub(super) busy: bool,
    /// Requests had to wait, so the connection is paused.
    pub(super) paused: bool,
}

impl<C> Default for Later<C> {
    fn default() -> Self {
        Self {
            queue: None,
            streams: VecDeque::new(),
            ending: None,
            eof: None,
            busy: false,
            paused: false,
        }
    }
}

impl<C> Later<C> {
    pub(super) fn is_outstanding(&self) -> bool {
        !self.streams.is_empty() || self.eof.is_some() || self.awaits_replies()
    }

    /// Whether a reply is made elsewhere.
    pub(super) fn awaits_replies(&self) -> bool {
        self.queue.as_ref().is_some_and(|queue| !queue.is_empty())
    }

    /// Whether requests have to wait.
    pub(super) fn must_wait(&self, high_mark: usize) -> bool {
        self.ending.is_some()
            || !self.streams.is_empty()
            || self.queue.as_ref().is_some_and(|queue| queue.is_full(high_mark))
    }

    /// The connection is over: whoever still makes a reply is told.
    pub(super) fn abandon(&self) {
        if let Some(queue) = &self.queue {
            queue.close();
        }
    }
}

/// A reply was given up: [`Reply`](crate::Reply) was dropped before it was finished. Its place can
/// not be left empty, or the peer would take the replies after it for others.
#[derive(Debug, thiserror::Error)]
#[error("a reply that was to be made later was dropped")]
pub(super) struct ReplyDropped;

/// The deferred replies of a connection, in the order of their requests.
#[derive(Default)]
pub(super) struct Queue {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    slots: VecDeque<Slot>,
    /// The ticket of the first slot.
    first: u64,
    /// The bytes in all slots.
    held: usize,
    closed: bool,
}

struct Slot {
    reply: Vec<u8>,
    progress: Progress,
    /// Replies to the requests behind this one that were made at once.
    after: Vec<u8>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Progress {
    Open,
    Finished,
    Dropped,
}

impl Queue {
    /// A place for a reply, behind all others. Returns its ticket.
    pub(super) fn reserve(&self) -> u64 {
        let mut state = self.lock();
        state.slots.push_back(Slot {
            reply: Vec::new(),
            progress: Progress::Open,
            after: Vec::new(),
        });
        state.first + state.slots.len() as u64 - 1
    }

    pub(super) fn is_empty(&self) -> bool {
        self.lock().slots.is_empty()
    }

    fn is_full(&self, high_mark: usize) -> bool {
        let state = self.lock();
        state.slots.len() >= MAX_OUTSTANDING || state.held >= high_mark
    }

    /// Whether the connection takes nothing more.
    pub(super) fn is_closed(&self) -> bool {
        self.lock().closed
    }

    /// Appends behind the last slot. There must be one, and there is: only the connection itself
    /// takes them away.
    pub(super) fn append(&self, bytes: &[u8]) {
        let mut state = self.lock();
        if let Some(last) = state.slots.back_mut() {
            last.after.extend_from_slice(bytes);
            state.held += bytes.len();
        }
    }

    /// Adds to a reply. `false` if the connection is over.
    pub(super) fn write(&self, ticket: u64, bytes: &[u8]) -> bool {
        let mut state = self.lock();
        let Some(slot) = state.slot(ticket) else { return false };
        slot.reply.extend_from_slice(bytes);
        state.held += bytes.len();
        true
    }

    /// Ends a reply.
    pub(super) fn finish(&self, ticket: u64, whole: bool) {
        let mut state = self.lock();
        if let Some(slot) = state.slot(ticket) {
            slot.progress = if whole { Progress::Finished } else { Progress::Dropped };
        }
    }

    /// Moves what may leave to `out`. `false` once nothing is outstanding any more.
    pub(super) fn drain_into(&self, out: &mut Vec<u8>) -> Result<bool, ReplyDropped> {
        let mut state = self.lock();
        let before = out.len();
        while let Some(front) = state.slots.front_mut() {
            out.append(&mut front.reply);
            match front.progress {
                Progress::Open => break,
                Progress::Dropped => return Err(ReplyDropped),
                Progress::Finished => out.append(&mut front.after),
            }
            state.slots.pop_front();
            state.first += 1;
        }
        state.held -= out.len() - before;
        Ok(!state.slots.is_empty())
    }

    /// The bytes of a reply that have not left yet.
    pub(super) fn waiting(&self, ticket: u64) -> usize {
        self.lock().slot(ticket).map_or(0, |slot| slot.reply.len())
    }

    fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        state.held = 0;
        state.slots.clear();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // No code of a user runs under the lock, so a poisoned one holds no broken state.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn slot(&mut self, ticket: u64) -> Option<&mut Slot> {
        let at = ticket.checked_sub(self.first)?;
        self.slots.get_mut(usize::try_from(at).ok()?)
    }
}
