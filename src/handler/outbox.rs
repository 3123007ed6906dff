//! Where other threads leave what a connection is to send or to do.

use super::sender::{Message, SendError, SendErrorKind};
use super::waiting::Waiting;
use crate::sync::{Mutex, MutexGuard, PoisonError};
use std::fmt;
use std::sync::Arc;

/// How a session that waits is told to look again: what a backend gives to
/// [`Session::attach`](crate::Session::attach) and [`Acceptor::attach`](crate::Acceptor::attach).
pub trait Wake: Send + Sync {
    /// Asks for a `turn` of what was attached under `key`, soon. It is called from any thread, also
    /// from within a `turn` on the backend's own; it must not block, and must not call `turn`
    /// itself. A wake that comes too late, for a key that is gone, must be ignored.
    fn wake(&self, key: u64);
}

/// The part of a connection that its [`Sender`](crate::Sender)s share with it.
///
/// It exists only once a sender was asked for. It holds no descriptor and no slot of a backend but
/// by way of `Wake`, so a sender that outlives its connection reaches nothing.
pub(crate) struct Outbox {
    state: Mutex<State>,
    /// The most bytes that may wait for one connection: the hard mark.
    capacity: usize,
}

#[derive(Default)]
struct State {
    messages: Waiting,
    /// What the connection holds itself: output that the system has not taken yet.
    held: usize,
    signals: Signals,
    /// Nothing is accepted any more.
    closed: bool,
    /// The session will look again without being woken: it runs, or was woken already.
    awake: bool,
    target: Option<(Arc<dyn Wake>, u64)>,
}

/// What senders asked for besides sending.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Signals {
    pub(crate) wake: bool,
    pub(crate) resume: bool,
    pub(crate) close: bool,
    /// The peer does not keep up: it is given up, at once.
    pub(crate) give_up: bool,
}

impl Signals {
    fn any(self) -> bool {
        self.wake || self.resume || self.close || self.give_up
    }
}

/// What wakes a session for which something was left. It is rung when no lock is held any more.
#[must_use = "the session sleeps until it is rung"]
#[derive(Default)]
pub(crate) struct Bell(Option<(Arc<dyn Wake>, u64)>);

impl Bell {
    pub(crate) fn ring(self) {
        if let Some((wake, key)) = self.0 {
            wake.wake(key);
        }
    }

    /// Whether the session is awake anyway.
    pub(crate) fn is_needless(&self) -> bool {
        self.0.is_none()
    }
}

impl Outbox {
    /// Made in a callback, so the session is awake.
    pub(crate) fn new(capacity: usize, target: Option<(Arc<dyn Wake>, u64)>) -> Self {
        let state = State { awake: true, target, ..State::default() };
        Self { state: Mutex::new(state), capacity }
    }

    pub(crate) fn push(&self, message: Message) -> Result<(), SendError> {
        self.post(message).map(Bell::ring)
    }

    /// As `push`, but for the waking, which is left to the caller.
    pub(crate) fn post(&self, message: Message) -> Result<Bell, SendError> {
        let mut state = self.lock();
        if state.closed {
            return Err(SendError::new(SendErrorKind::Closed, message));
        }
        // The capacity counts bytes, so any number of such would find room.
        if message.is_empty() {
            return Ok(Bell::default());
        }
        if state.pending() + message.len() > self.capacity {
            return Err(SendError::new(SendErrorKind::Full, message));
        }
        state.messages.push(message);
        Ok(state.rouse())
    }

    /// Has the connection end at once, because its peer does not keep up. Nothing is accepted from
    /// here on, and what waits is dropped here and now, so that its memory does not depend on when
    /// the session has its turn. `None` if nothing is accepted anyway.
    pub(crate) fn give_up(&self) -> Option<Bell> {
        let mut state = self.lock();
        if state.closed {
            return None;
        }
        state.closed = true;
        state.signals.give_up = true;
        let messages = std::mem::take(&mut state.messages);
        let bell = state.rouse();
        drop(state);
        drop(messages);
        Some(bell)
    }

    /// Whether a message of this length could be accepted if nothing waited.
    pub(crate) fn has_room_for(&self, len: usize) -> bool {
        len <= self.capacity
    }

    /// Sets signals, and tells whether the connection is still there to see them.
    pub(crate) fn signal(&self, set: impl FnOnce(&mut Signals)) -> bool {
        let mut state = self.lock();
        if state.closed {
            return false;
        }
        set(&mut state.signals);
        let bell = state.rouse();
        drop(state);
        bell.ring();
        true
    }

    pub(crate) fn pending(&self) -> usize {
        self.lock().pending()
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.lock().closed
    }

    /// A turn begins: until it ends, nobody need wake the session. Returns what was asked for.
    pub(crate) fn begin(&self) -> Signals {
        let mut state = self.lock();
        state.awake = true;
        std::mem::take(&mut state.signals)
    }

    /// Whether messages wait.
    pub(crate) fn has_messages(&self) -> bool {
        !self.lock().messages.is_empty()
    }

    /// A turn ends. `false` if something came meanwhile that the turn must still look at; the
    /// session then stays awake. Messages alone do not count while the output is `full`.
    pub(crate) fn end(&self, held: usize, full: bool) -> bool {
        let mut state = self.lock();
        state.held = held;
        state.awake = state.signals.any() || (!full && !state.messages.is_empty());
        !state.awake
    }

    /// Moves messages to `out`, until that holds `room` bytes more or nothing is left.
    pub(crate) fn drain_into(&self, out: &mut Vec<u8>, room: usize) {
        self.lock().drain_into(out, room);
    }

    /// As `drain_into`, for a session that holds `held` itself by now. What the system has taken in
    /// this turn makes room from here on: a peer that takes all at once is never full, however
    /// long the turn.
    pub(crate) fn refill(&self, held: usize, out: &mut Vec<u8>, room: usize) {
        let mut state = self.lock();
        state.held = held;
        state.drain_into(out, room);
    }

    /// Whether the last turn left something that the next must look at.
    pub(crate) fn is_awake(&self) -> bool {
        self.lock().awake
    }

    /// Accepts nothing from here on. Whoever was given up stays so: the end that begins would wait
    /// for a peer that takes nothing.
    pub(crate) fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        state.signals = Signals { give_up: state.signals.give_up, ..Signals::default() };
    }

    /// Closes, and drops what was not taken yet.
    pub(crate) fn abandon(&self) {
        let mut state = self.lock();
        state.closed = true;
        state.held = 0;
        state.target = None;
        let messages = std::mem::take(&mut state.messages);
        drop(state);
        drop(messages); // a message may own something whose drop takes its time
    }

    pub(crate) fn set_target(&self, target: Option<(Arc<dyn Wake>, u64)>) {
        self.lock().target = target;
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // No code of a user runs under the lock, so a poisoned one holds no broken state.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn pending(&self) -> usize {
        self.messages.bytes() + self.held
    }

    fn drain_into(&mut self, out: &mut Vec<u8>, room: usize) {
        let full = out.len().saturating_add(room);
        while out.len() < full {
            let Some(n) = self.messages.pop_into(out) else { return };
            // Counted from here on, so that nobody fills the gap before they are sent.
            self.held += n;
        }
    }

    /// Something was left for the session: wakes it, unless it is awake.
    fn rouse(&mut self) -> Bell {
        if std::mem::replace(&mut self.awake, true) {
            return Bell::default();
        }
        Bell(self.target.clone())
    }
}

impl fmt::Debug for Outbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.lock();
        f.debug_struct("Outbox")
            .field("queued", &state.messages.bytes())
            .field("held", &state.held)
            .field("capacity", &self.capacity)
            .field("closed", &state.closed)
            .finish_non_exhaustive()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[derive(Default)]
    struct Bells(AtomicUsize);

    impl Wake for Bells {
        fn wake(&self, _key: u64) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn outbox() -> (Outbox, Arc<Bells>) {
        let bell = Arc::new(Bells::default());
        let target: Arc<dyn Wake> = bell.clone();
        (Outbox::new(10, Some((target, 7))), bell)
    }

    #[test]
    fn a_sleeping_session_is_woken_once() {
        let (outbox, bell) = outbox();
        assert!(outbox.end(0, false));
        outbox.push("a".into()).unwrap();
        outbox.push("b".into()).unwrap();
        assert!(outbox.signal(|s| s.wake = true));
        assert_eq!(bell.0.load(Ordering::Relaxed), 1);
        assert_eq!(outbox.begin(), Signals { wake: true, ..Signals::default() });
        let mut out = Vec::new();
        outbox.drain_into(&mut out, 100);
        assert_eq!(out, b"ab");
    }

    #[test]
    fn what_comes_during_a_turn_keeps_it_awake() {
        let (outbox, bell) = outbox();
        outbox.begin();
        outbox.push("a".into()).unwrap();
        assert!(!outbox.end(0, false), "a message is waiting");
        assert!(outbox.end(0, true), "but there is no room for it");
        assert_eq!(bell.0.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn the_capacity_counts_what_the_connection_holds() {
        let (outbox, _) = outbox();
        outbox.end(7, false);
        let refused = outbox.push("1234".into()).unwrap_err();
        assert_eq!(refused.kind(), SendErrorKind::Full);
        assert_eq!(refused.into_message().as_ref(), b"1234");
        outbox.push("123".into()).unwrap();
        assert_eq!(outbox.pending(), 10);
    }

    #[test]
    fn a_closed_outbox_takes_nothing_and_keeps_what_it_has() {
        let (outbox, _) = outbox();
        outbox.push("a".into()).unwrap();
        outbox.close();
        assert_eq!(outbox.push("b".into()).unwrap_err().kind(), SendErrorKind::Closed);
        assert!(!outbox.signal(|s| s.close = true));
        assert_eq!(outbox.pending(), 1);
        outbox.abandon();
        assert_eq!(outbox.pending(), 0);
    }

    #[test]
    fn one_that_was_given_up_takes_nothing_and_holds_nothing() {
        let (outbox, bell) = outbox();
        let shared: Arc<[u8]> = Arc::from(*b"abc");
        outbox.push(Arc::clone(&shared).into()).unwrap();
        assert!(outbox.end(5, true));
        outbox.give_up().unwrap().ring();
        assert_eq!(bell.0.load(Ordering::Relaxed), 1);
        assert_eq!(Arc::strong_count(&shared), 1, "the message is still held");
        assert_eq!(outbox.pending(), 5, "what the connection holds is its own");
        assert!(outbox.push("b".into()).unwrap_err().is_closed());
        assert!(outbox.give_up().is_none(), "it was given up before");
        outbox.close();
        assert!(outbox.begin().give_up, "an orderly end has come in between");
    }

    #[test]
    fn a_bell_may_ring_late() {
        let (outbox, bell) = outbox();
        assert!(outbox.end(0, false));
        let late = outbox.post("a".into()).unwrap();
        assert!(outbox.post("b".into()).unwrap().is_needless());
        assert_eq!(bell.0.load(Ordering::Relaxed), 0);
        late.ring();
        assert_eq!(bell.0.load(Ordering::Relaxed), 1);
    }
}

#[cfg(all(test, loom))]
mod model {
    use super::*;
    use loom::sync::Notify;
    use loom::thread;

    /// A backend that sleeps until it is woken.
    struct Bells(Notify);

    impl Wake for Bells {
        fn wake(&self, _key: u64) {
            self.0.notify();
        }
    }

    /// Two threads send, signal and close while the session sleeps and has turns. Whatever the
    /// order, the session sees all of it, and never sleeps for good before.
    #[test]
    fn model_nothing_left_for_a_session_is_lost() {
        loom::model(|| {
            let bell = Arc::new(Bells(Notify::new()));
            let target: Arc<dyn Wake> = bell.clone();
            let outbox = Arc::new(Outbox::new(100, Some((target, 0))));
            let sending = {
                let outbox = Arc::clone(&outbox);
                thread::spawn(move || {
                    outbox.push("ab".into()).unwrap();
                    outbox.push("c".into()).unwrap();
                })
            };
            let signalling = {
                let outbox = Arc::clone(&outbox);
                thread::spawn(move || assert!(outbox.signal(|signals| signals.wake = true)))
            };
            let (mut out, mut woken) = (Vec::new(), false);
            // The session was made in a turn of its own, so it is awake at first.
            while out.len() < 3 || !woken {
                woken |= outbox.begin().wake;
                outbox.drain_into(&mut out, 100);
                if outbox.end(0, false) && (out.len() < 3 || !woken) {
                    bell.0.wait();
                }
            }
            assert_eq!(out, b"abc");
            sending.join().unwrap();
            signalling.join().unwrap();
        });
    }

    /// One thread posts and rings later, as a group does; another gives the connection up. The
    /// session sees that it was given up, whatever it was doing, and is left nothing.
    #[test]
    fn model_whoever_is_given_up_finds_out() {
        loom::model(|| {
            let bell = Arc::new(Bells(Notify::new()));
            let target: Arc<dyn Wake> = bell.clone();
            let outbox = Arc::new(Outbox::new(100, Some((target, 0))));
            let sending = {
                let outbox = Arc::clone(&outbox);
                thread::spawn(move || {
                    let bells = ["ab", "c"].map(|text| outbox.post(text.into()));
                    bells.into_iter().flatten().for_each(Bell::ring);
                })
            };
            let giving_up = {
                let outbox = Arc::clone(&outbox);
                thread::spawn(move || outbox.give_up().unwrap().ring())
            };
            let mut out = Vec::new();
            while !outbox.begin().give_up {
                outbox.drain_into(&mut out, 100);
                if outbox.end(0, false) {
                    bell.0.wait();
                }
            }
            assert!([&b""[..], b"ab", b"abc"].contains(&&*out), "{out:?}");
            sending.join().unwrap();
            giving_up.join().unwrap();
            let left = out.len();
            outbox.drain_into(&mut out, 100);
            assert_eq!(out.len(), left, "something was accepted after the end");
        });
    }
}
