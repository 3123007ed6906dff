//! What the workers of a pool share.

use super::backlog::Backlog;
use super::clock::Clock;
use super::pace::Pace;
use super::slots::{Entry, SharedSlots, State};
use crate::acceptor::{AcceptTurn, Acceptor};
use crate::backend::listeners::Listeners;
use crate::backend::slots::Key;
use crate::backend::timers::TimerState;
use crate::handler::Wake;
use crate::net::{
    Event, Events, FIRST_RESERVED_KEY, Interest, Mode, PortableEvents, Reactor, Registration,
    poller_key,
};
use crate::serve_error::ServeError;
use crate::session::Session;
use crossbeam_channel::{Receiver, Sender, unbounded};
use std::collections::VecDeque;
use std::io;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

/// The key of the acceptor and its listeners.
pub(super) const ACCEPTOR: u64 = FIRST_RESERVED_KEY - 1;

/// When to try again to watch the listeners, if the system had no room for it.
const LISTENER_RETRY: Duration = Duration::from_millis(100);

pub(super) struct Shared {
    pub(super) reactor: Reactor,
    pub(super) acceptor: Acceptor,
    pub(super) slots: SharedSlots,
    /// Who works, and who is parked.
    pub(super) pace: Pace,
    /// Sessions that are to run without an event.
    queue: Mutex<VecDeque<u64>>,
    /// For the thread that supervises.
    pub(super) news: (Sender<News>, Receiver<News>),
    accept: Mutex<Accept>,
    pub(super) clock: Clock,
    /// What one wait has brought and nobody has come to yet.
    backlog: Backlog<Event>,
    /// Where only one may wait: who has the lock does.
    waiter: Mutex<PortableEvents>,
    stopping: AtomicBool,
    /// Itself, for sessions to be attached to.
    me: Weak<Shared>,
}

/// The part of the pool that accepts.
struct Accept {
    listeners: Listeners,
    /// Until when the supervisor waits, or will when it has read its news.
    supervisor_waits_until: Option<Instant>,
}

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
            clock: Clock::new(&reactor, workers),
            reactor,
            acceptor,
            pace: Pace::new(workers),
            slots: SharedSlots::new(),
            queue: Mutex::default(),
            news: unbounded(),
            accept: Mutex::new(Accept {
                listeners: Listeners::new(ACCEPTOR, Mode::Oneshot),
                supervisor_waits_until: None,
            }),
            backlog: Backlog::with_capacity(2 * MANY.get()),
            waiter: Mutex::new(PortableEvents::with_capacity(MANY)),
            stopping: AtomicBool::new(false),
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
        self.pace.end();
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
        let (Some((key, timer)), Some(me)) = (self.slots.take(), self.me.upgrade()) else {
            return self.acceptor.refuse(session, &io::Error::other("the pool is full"));
        };
        let Some(slot) = self.slots.get(key) else { return };
        session.attach(me, key.to_u64());
        let (poller, place) = (Arc::clone(self.reactor.poller()), poller_key(key.to_u64()));
        // Nothing is registered yet, so nothing can fail.
        let registered = Registration::new(
            poller,
            session,
            place,
            Interest::default(),
            self.reactor.shared_mode(),
        );
        if let Ok(session) = registered {
            *slot.entry() = Some(Entry { session, timer });
            slot.set(key, State::Queued);
            self.enqueue(key);
        }
    }

    /// Puts a slot that is `Queued` into the queue, and sees to it that somebody looks.
    pub(super) fn enqueue(&self, key: Key) {
        lock(&self.queue).push_back(key.to_u64());
        self.rouse();
    }

    /// How many sessions are in the queue.
    pub(super) fn queued(&self) -> usize {
        lock(&self.queue).len()
    }

    /// Takes the first of the queue. If there are more, another worker is told: this one may take
    /// its time.
    pub(super) fn next_queued(&self) -> Option<Key> {
        let mut queue = lock(&self.queue);
        let key = queue.pop_front()?;
        let is_more = !queue.is_empty();
        drop(queue);
        if is_more {
            self.rouse();
        }
        Some(Key::from_u64(key))
    }

    /// Wakes a worker, if one waits and none is being woken already: something was left.
    pub(super) fn rouse(&self) {
        if self.backlog.must_ring() {
            self.reactor.ring();
        }
    }

    /// Waits for events, until the nearest deadline; not at all if there is something left to do.
    /// Returns one of them; the others, if it may take many, are left over.
    pub(super) fn wait(&self, number: usize, buffers: &mut Buffers) -> io::Result<Option<Event>> {
        let left = self.backlog.begin_wait();
        let has_waited = left.is_none();
        let taken = match left {
            Some(left) => Ok(Some(left)),
            None => self.wait_for_events(number, buffers),
        };
        // From here on, this worker rings for others, and not for itself.
        self.backlog.end_wait();
        let Some(taken) = taken? else { return Ok(None) };
        if has_waited && self.clock.needs_another() {
            self.rouse();
        }
        Ok(Some(self.take_left(taken, number)))
    }

    /// The first event, and whether others were left over.
    fn wait_for_events(
        &self,
        number: usize,
        buffers: &mut Buffers,
    ) -> io::Result<Option<(Event, bool)>> {
        let deadline = self.clock.begin_wait(number);
        let taken = if self.is_idle() {
            self.pace.begin_wait(number);
            let taken = self.wait_until(deadline, number, buffers);
            self.pace.begin_work(number);
            taken
        } else {
            self.wait_until(Some(Instant::now()), number, buffers)
        };
        self.clock.end_wait(number);
        taken
    }

    fn is_idle(&self) -> bool {
        self.queued() == 0 && !self.is_stopping()
    }

    fn wait_until(
        &self,
        deadline: Option<Instant>,
        number: usize,
        buffers: &mut Buffers,
    ) -> io::Result<Option<(Event, bool)>> {
        if !self.reactor.is_shareable() {
            return self.wait_alone(deadline);
        }
        let many = self.pace.may_take_many(number);
        let events = if many { &mut buffers.many } else { &mut buffers.one };
        self.reactor.wait(events, deadline)?;
        if events.rung() {
            self.backlog.heard();
        }
        if events.alarmed() {
            self.clock.go_off();
        }
        Ok(self.leave_over(events.ready()))
    }

    /// Waits on behalf of all workers, if nobody else does.
    fn wait_alone(&self, deadline: Option<Instant>) -> io::Result<Option<(Event, bool)>> {
        let mut events = lock(&self.waiter);
        if let Some(left) = self.backlog.pop() {
            return Ok(Some(left));
        }
        let deadline = if self.is_idle() { deadline } else { Some(Instant::now()) };
        let waited = self.reactor.wait_portably(&mut events, deadline);
        self.backlog.heard();
        waited?;
        Ok(self.leave_over(events.ready()))
    }

    /// The first, and whoever comes takes the others.
    fn leave_over(&self, events: &[Event]) -> Option<(Event, bool)> {
        let (first, others) = events.split_first()?;
        if !others.is_empty() {
            self.backlog.leave(others);
        }
        Some((*first, !others.is_empty()))
    }

    /// Takes one of those that were left over.
    pub(super) fn next_leftover(&self, number: usize) -> Option<Event> {
        self.backlog.pop().map(|left| self.take_left(left, number))
    }

    fn take_left(&self, (event, is_more): (Event, bool), number: usize) -> Event {
        if is_more {
            self.cover(number);
        }
        event
    }

    /// This worker may be held up from here on, and there is more to do: if nobody watches it,
    /// one who waits for events sees to the rest.
    pub(super) fn cover(&self, number: usize) {
        if !self.pace.is_covered(number) {
            self.rouse();
        }
    }

    /// Sets a session's wake-up.
    pub(super) fn set_timer(&self, key: Key, state: &mut TimerState, deadline: Option<Instant>) {
        if self.clock.set(key, state, deadline) {
            self.rouse();
        }
    }
}

/// How many events one wait brings at most.
const MANY: NonZeroUsize = NonZeroUsize::new(64).unwrap();
const ONE: NonZeroUsize = NonZeroUsize::new(1).unwrap();

/// What a worker waits with.
pub(super) struct Buffers {
    many: Events,
    /// Where nobody would see to a second event while the handler of the first blocks.
    one: Events,
}

impl Buffers {
    pub(super) fn new() -> Self {
        Self { many: Events::with_capacity(MANY), one: Events::with_capacity(ONE) }
    }
}

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
