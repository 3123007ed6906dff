//! What the workers of a pool share.

use super::slots::{Entry, SharedSlots, State};
use crate::acceptor::{AcceptTurn, Acceptor};
use crate::backend::listeners::Listeners;
use crate::backend::slots::Key;
use crate::backend::timers::{Moment, TimerState, Timers};
use crate::connection::Ready;
use crate::handler::Wake;
use crate::net::{
    Events, FIRST_RESERVED_KEY, Interest, Mode, PortableEvents, Reactor, Registration, poller_key,
};
use crate::serve_error::ServeError;
use crate::session::Session;
use crossbeam_channel::{Receiver, Sender, unbounded};
use std::io;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

/// The key of the acceptor and its listeners.
pub(super) const ACCEPTOR: u64 = FIRST_RESERVED_KEY - 1;

/// When to try again to watch the listeners, if the system had no room for it.
const LISTENER_RETRY: Duration = Duration::from_millis(100);

/// "Never", among deadlines in microseconds.
const NEVER: u64 = u64::MAX;

pub(super) struct Shared {
    pub(super) reactor: Reactor,
    pub(super) acceptor: Acceptor,
    pub(super) slots: SharedSlots,
    /// Sessions that are to run without an event.
    pub(super) queue: (Sender<u64>, Receiver<u64>),
    /// For the thread that supervises.
    pub(super) news: (Sender<News>, Receiver<News>),
    accept: Mutex<Accept>,
    timers: Mutex<Timers>,
    /// The nearest deadline of all, in microseconds since `epoch`.
    nearest: AtomicU64,
    /// Until when each worker waits; `NEVER` if it does not wait, or waits without a deadline.
    waits_until: Box<[AtomicU64]>,
    /// How many workers wait, or are about to.
    waiting: AtomicUsize,
    /// Where only one may wait: who has the lock does, and leaves what it cannot do for others.
    leader: Mutex<PortableEvents>,
    leftover: (Sender<Event>, Receiver<Event>),
    stopping: AtomicBool,
    epoch: Instant,
    /// Itself, for sessions to be attached to.
    me: Weak<Shared>,
}

/// The part of the pool that accepts.
struct Accept {
    listeners: Listeners,
    /// Until when the supervisor waits, or will when it has read its news.
    supervisor_waits_until: Option<Instant>,
}

/// A key that is ready, and for what.
pub(super) type Event = (u64, Ready);

/// What the supervising thread is told.
pub(super) enum News {
    /// The acceptor wants to be asked.
    Look,
    /// A worker cannot go on.
    Failed(ServeError),
}

/// What the acceptor said.
pub(super) enum Accepted {
    /// Ask again then.
    AskAgain(Option<Instant>),
    Finished,
}

impl Shared {
    pub(super) fn new(reactor: Reactor, acceptor: Acceptor, workers: usize) -> Arc<Self> {
        Arc::new_cyclic(|me| Self {
            reactor,
            acceptor,
            slots: SharedSlots::new(),
            queue: unbounded(),
            news: unbounded(),
            accept: Mutex::new(Accept {
                listeners: Listeners::new(ACCEPTOR, Mode::Oneshot),
                supervisor_waits_until: None,
            }),
            timers: Mutex::default(),
            nearest: AtomicU64::new(NEVER),
            waits_until: (0..workers).map(|_| AtomicU64::new(NEVER)).collect(),
            waiting: AtomicUsize::new(0),
            leader: Mutex::new(PortableEvents::with_capacity(LEADER_EVENTS)),
            leftover: unbounded(),
            stopping: AtomicBool::new(false),
            epoch: Instant::now(),
            me: Weak::clone(me),
        })
    }

    pub(super) fn attach(&self) {
        if let Some(me) = self.me.upgrade() {
            self.acceptor.attach(me, ACCEPTOR);
        }
    }

    pub(super) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::SeqCst)
    }

    /// Has all workers end after what they are at.
    pub(super) fn stop(&self) {
        self.stopping.store(true, Ordering::SeqCst);
        self.reactor.ring_for_good();
    }

    /// Drops the sessions that are in nobody's hands.
    pub(super) fn abandon_all(&self) {
        for slot in self.slots.iter() {
            if let Some(entry) = slot.try_take() {
                drop(entry);
            }
        }
    }

    /// Accepts what is there, on the supervisor: tells when to ask again.
    pub(super) fn accept_as_supervisor(&self, now: Instant) -> Result<Accepted, ServeError> {
        let mut accept = lock(&self.accept);
        let accepted = self.accept(&mut accept, now)?;
        if let Accepted::AskAgain(deadline) = accepted {
            accept.supervisor_waits_until = deadline;
        }
        Ok(accepted)
    }

    /// Accepts what is there, on a worker. The supervisor is told only what it does not know.
    pub(super) fn accept_as_worker(&self, now: Instant) {
        let mut accept = lock(&self.accept);
        let news = match self.accept(&mut accept, now) {
            Ok(Accepted::AskAgain(None)) => return,
            Ok(Accepted::AskAgain(Some(deadline))) => {
                if accept.supervisor_waits_until.is_some_and(|until| until <= deadline) {
                    return;
                }
                accept.supervisor_waits_until = Some(deadline);
                News::Look
            }
            Ok(Accepted::Finished) => News::Look,
            Err(error) => News::Failed(error),
        };
        let _ = self.news.0.send(news);
    }

    /// The failure that a worker has told of, if one has.
    pub(super) fn failure(&self) -> Option<ServeError> {
        self.news.1.try_iter().find_map(|news| match news {
            News::Failed(error) => Some(error),
            News::Look => None,
        })
    }

    fn accept(&self, accept: &mut Accept, now: Instant) -> Result<Accepted, ServeError> {
        let turn = self.acceptor.turn(now, &mut |session| self.adopt(session))?;
        let AcceptTurn::Wait(wants) = turn else { return Ok(Accepted::Finished) };
        let mut deadline = wants.deadline;
        if accept.listeners.follow(&self.acceptor, &wants, &self.reactor).is_err() {
            let retry = now + LISTENER_RETRY;
            deadline = Some(deadline.map_or(retry, |deadline| deadline.min(retry)));
        }
        Ok(Accepted::AskAgain(deadline))
    }

    /// Takes on a connection: its first turn is some worker's.
    fn adopt(&self, mut session: Session) {
        let (Some(key), Some(me)) = (self.slots.take(), self.me.upgrade()) else {
            return self.acceptor.refuse(session, &io::Error::other("the pool is full"));
        };
        let Some(slot) = self.slots.get(key) else { return };
        session.attach(me, key.to_u64());
        let (poller, place) = (Arc::clone(self.reactor.poller()), poller_key(key.to_u64()));
        // Nothing is registered yet, so nothing can fail.
        let registered =
            Registration::new(poller, session, place, Interest::default(), Mode::Oneshot);
        if let Ok(session) = registered {
            *slot.entry() = Some(Entry { session, timer: TimerState::default() });
            slot.set(key, State::Queued);
            self.enqueue(key);
        }
    }

    /// Puts a slot that is `Queued` into the queue, and sees to it that somebody looks.
    pub(super) fn enqueue(&self, key: Key) {
        // The receiver lives as long as the sender.
        let _ = self.queue.0.send(key.to_u64());
        self.rouse();
    }

    /// Wakes a worker, if one waits. Full order with `begin_wait`: either it sees what was done
    /// before, or we see it wait.
    pub(super) fn rouse(&self) {
        if self.waiting.load(Ordering::SeqCst) > 0 {
            self.reactor.ring();
        }
    }

    /// Waits for an event, until the nearest deadline; not at all if there is a queue.
    pub(super) fn wait(&self, number: usize, events: &mut Events) -> io::Result<Option<Event>> {
        self.waiting.fetch_add(1, Ordering::SeqCst);
        let nearest = self.nearest.load(Ordering::SeqCst);
        self.waits_until[number].store(nearest, Ordering::SeqCst);
        let event = if self.queue.1.is_empty() && !self.is_stopping() {
            self.wait_until(self.instant(nearest), events)
        } else {
            self.wait_until(Some(self.epoch), events)
        };
        self.waits_until[number].store(NEVER, Ordering::SeqCst);
        self.waiting.fetch_sub(1, Ordering::SeqCst);
        if matches!(event, Ok(Some(_))) && nearest != NEVER {
            self.hand_on_clock(nearest);
        }
        event
    }

    fn wait_until(
        &self,
        deadline: Option<Instant>,
        events: &mut Events,
    ) -> io::Result<Option<Event>> {
        if !self.reactor.is_shareable() {
            return self.lead(deadline);
        }
        self.reactor.wait(events, deadline)?;
        Ok(events.ready().first().copied())
    }

    /// Waits on behalf of all workers, if nobody else does; takes one event and leaves the others.
    fn lead(&self, deadline: Option<Instant>) -> io::Result<Option<Event>> {
        if let Ok(event) = self.leftover.1.try_recv() {
            return Ok(Some(event));
        }
        let mut events = lock(&self.leader);
        if let Ok(event) = self.leftover.1.try_recv() {
            return Ok(Some(event));
        }
        let deadline = if self.queue.1.is_empty() && !self.is_stopping() {
            deadline
        } else {
            Some(self.epoch)
        };
        self.reactor.wait_portably(&mut events, deadline)?;
        let Some((first, others)) = events.ready().split_first() else { return Ok(None) };
        for event in others {
            let _ = self.leftover.0.send(*event);
        }
        Ok(Some(*first))
    }

    /// This worker has waited for the nearest deadline, and has something else to do now, maybe for
    /// long. If no other waits for that deadline, one is woken to do so.
    fn hand_on_clock(&self, nearest: u64) {
        let kept = self.waits_until.iter().any(|until| until.load(Ordering::SeqCst) <= nearest);
        if !kept {
            self.rouse();
        }
    }

    /// Sets a session's wake-up.
    pub(super) fn set_timer(&self, key: Key, state: &mut TimerState, deadline: Option<Instant>) {
        if deadline.is_none_or(|deadline| !state.is_later_than(deadline)) {
            return;
        }
        let mut timers = lock(&self.timers);
        let is_nearest = timers.set(key, state, deadline);
        self.note_nearest(&timers);
        drop(timers);
        if is_nearest {
            // Those who wait do not know of it.
            self.rouse();
        }
    }

    /// Takes one wake-up that is due.
    pub(super) fn due(&self, now: Instant) -> Option<(Key, Moment)> {
        if self.micros(now) < self.nearest.load(Ordering::SeqCst) {
            return None;
        }
        let mut timers = lock(&self.timers);
        let due = timers.pop_due(now);
        self.note_nearest(&timers);
        due
    }

    fn note_nearest(&self, timers: &MutexGuard<'_, Timers>) {
        let nearest = timers.next().map_or(NEVER, |at| self.micros(at));
        self.nearest.store(nearest, Ordering::SeqCst);
    }

    /// Rounded down: a wait that ends too early is begun again.
    fn micros(&self, at: Instant) -> u64 {
        let since = at.saturating_duration_since(self.epoch).as_micros();
        u64::try_from(since).unwrap_or(NEVER - 1)
    }

    fn instant(&self, micros: u64) -> Option<Instant> {
        // One microsecond more makes up for the rounding.
        let since = Duration::from_micros(micros).checked_add(Duration::from_micros(1))?;
        if micros == NEVER { None } else { self.epoch.checked_add(since) }
    }
}

/// How many events a leader takes at once, where only one may wait.
const LEADER_EVENTS: NonZeroUsize = NonZeroUsize::new(64).unwrap();

impl Wake for Shared {
    fn wake(&self, key: u64) {
        if key == ACCEPTOR {
            let _ = self.news.0.send(News::Look);
            return;
        }
        let key = Key::from_u64(key);
        let Some(slot) = self.slots.get(key) else { return };
        if slot.change(key, woken) == Some(State::Idle) {
            self.enqueue(key);
        }
    }
}

/// What becomes of a session that is woken: it goes into the queue, or is run once more.
pub(super) fn woken(state: State) -> Option<State> {
    match state {
        State::Idle => Some(State::Queued),
        State::Running => Some(State::RunningAgain),
        // Written all the same: whoever takes it next does so after what was left for it.
        other => Some(other),
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
