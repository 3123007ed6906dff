//! The one accept loop that all backends share: limits, transient errors, wake-up, and the steps
//! of a drain.
//!
//! Nothing here blocks but [`Acceptor::accept`], and a drain always wakes it.

use crate::connection::{AtLimit, Phase, Wants};
use crate::handler::{ControlTarget, Peer, Wake};
use crate::net::{AcceptPolicy, Addr, Interest, Listener, Stream, WakeFd, accept_policy, wait_any};
use crate::observe::Refusal;
use crate::serve_error::ServeError;
use crate::session::{AcceptorReach, Core, DrainStep, Session};
use crossbeam_channel::Sender;
use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::{Duration, Instant};

/// Yields the sessions of a server, one after the other. Backends are handed one.
///
/// In the blocking style, [`accept`](Self::accept) waits for the next session. In the readiness
/// style, [`attach`](Self::attach) once, then call [`turn`](Self::turn): at first, when one of the
/// [`listeners`](Self::listeners) is readable, when its deadline has passed, and after a wake.
///
/// A backend creates everything that can fail before its first call of either: until then, an
/// error that [`Backend::run`](crate::Backend::run) returns means that the server never started.
///
/// Clones are handles of the same acceptor.
#[derive(Clone)]
pub struct Acceptor {
    inner: Arc<Inner>,
}

struct Inner {
    core: Arc<Core>,
    state: Mutex<State>,
    /// Told once, at the first call of the backend.
    started: Mutex<Option<Sender<()>>>,
    bell: OnceLock<Arc<WakeFd>>,
}

struct State {
    listeners: Vec<Arc<Listener>>,
    /// A connection that was accepted, and has its place when the one that is to make room has
    /// gone.
    candidate: Option<Candidate>,
    /// Which listener is asked first: each in turn.
    next: usize,
    paused_until: Option<Instant>,
    /// The listeners are about to be closed.
    closing: bool,
    /// How many accepts have failed since.
    failed_closing: usize,
    /// How often in a row each listener looked dead, by its position.
    dead_calls: Vec<u32>,
    /// The error of the last listener that died.
    failure: Option<ServeError>,
    /// What the observer is to be told, once the lock is free.
    news: VecDeque<News>,
}

/// What went wrong while the lock was held.
enum News {
    AcceptFailed { addr: Addr, error: io::Error, pause: Option<Duration> },
    ListenerFailed { addr: Addr, error: io::Error },
}

/// An acceptor as whoever owns the server sees it: what it holds is let go at the server's end.
pub(crate) struct WeakAcceptor(Weak<Inner>);

impl WeakAcceptor {
    /// Stops accepting, and gives the listeners away, open. It is done when this returns. There are
    /// none if they were taken, or closed, before.
    ///
    /// # Errors
    /// There are no descriptors for them: the server goes on accepting.
    pub(crate) fn take_listeners(&self) -> io::Result<Vec<Listener>> {
        match self.0.upgrade() {
            Some(inner) => Acceptor { inner }.take_listeners(),
            None => Ok(Vec::new()),
        }
    }
}

/// What a turn of the acceptor led to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use = "a backend must watch for what is wanted, or come to its end"]
pub enum AcceptTurn {
    /// Wait for this. `read` is about the listeners: watch all of them, or none.
    Wait(Wants),
    /// The server is over: no session will come any more, and all that were handed out have
    /// ended, or were given up on. Return from `run`.
    Finished,
}

/// How often in a row a listener may look dead before it counts as dead.
///
/// accept(2) gives EINVAL for a socket that does not listen; a single one was seen from listeners
/// that were well (Thousand Island, issue 162).
const DEAD_CALLS: u32 = 3;

/// How often accepting may fail at the end, when nobody joins the backlog any more: as often as there
/// are places in it by default. Errors that go on are of no connection, and would hold up the drain.
const MOST_FAILED_CLOSING: usize = 1024;
/// More threads than this are worth a word to the observer.
const MANY_THREADS: usize = 2_048;

/// A connection that is no session yet.
struct Candidate {
    listener: Arc<Listener>,
    stream: Stream,
    addr: Addr,
}

/// What there is for a connection that comes now.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Room {
    /// A place.
    Place,
    /// A place to be refused in.
    Refusal,
    /// A place as soon as another has made room.
    Later,
}

/// What the listeners had.
enum Accepted {
    Candidate(Candidate),
    Nothing,
    /// More errors than one turn may be spent on.
    Enough,
    /// The system is out of something.
    Exhausted,
}

/// What a look at the listeners, under the lock, led to.
enum Found {
    Session(Box<Session>),
    /// One that has to go again.
    Refused(Box<Session>, Refusal<'static>),
    Wait(Wants),
    Finished,
}

/// What one attempt to accept led to.
enum Attempt {
    Session(Box<Session>),
    Wait(Wants),
    Finished,
}

impl Acceptor {
    pub(crate) fn new(core: Arc<Core>, listeners: Vec<Listener>, started: Sender<()>) -> Self {
        let state = State {
            dead_calls: vec![0; listeners.len()],
            listeners: listeners.into_iter().map(Arc::new).collect(),
            candidate: None,
            next: 0,
            paused_until: None,
            closing: false,
            failed_closing: 0,
            failure: None,
            news: VecDeque::new(),
        };
        let inner = Inner {
            core,
            state: Mutex::new(state),
            started: Mutex::new(Some(started)),
            bell: OnceLock::new(),
        };
        Self { inner: Arc::new(inner) }
    }

    /// Waits for the next session. `None` once the server is over: a drain or a stop has closed
    /// the listeners, and every session has ended or was given up on.
    ///
    /// # Errors
    /// When the last listener has died, or there is no descriptor for the bell that wakes this
    /// call. What befalls one connection is told to the [`Observer`](crate::Observer) instead. The
    /// server is stopped then: its sessions end by themselves, and a backend may wait for them.
    pub fn accept(&self) -> Result<Option<Session>, ServeError> {
        let bell = self.bell()?;
        self.note_start();
        self.stopping_on_error(self.wait_for_session(&bell))
    }

    fn wait_for_session(&self, bell: &WakeFd) -> Result<Option<Session>, ServeError> {
        loop {
            match self.attempt(Instant::now())? {
                Attempt::Session(session) => return Ok(Some(*session)),
                Attempt::Finished => return Ok(None),
                Attempt::Wait(wants) => self.wait(&wants, bell)?,
            }
        }
    }

    /// Says how to have [`turn`](Self::turn) called from other threads. To be called before the
    /// first turn.
    pub fn attach(&self, wake: Arc<dyn Wake>, key: u64) {
        self.inner.core.set_acceptor_reach(AcceptorReach::Wake(wake, key));
        self.note_start();
    }

    /// The listeners that are open now, to be watched while `read` is wanted. A clone keeps its
    /// port open: let go of it when `read` is no longer wanted.
    pub fn listeners(&self) -> Vec<Arc<Listener>> {
        self.lock().listeners.clone()
    }

    /// Accepts what is there, at most a turn's worth, and gives each session to `admit`.
    ///
    /// # Errors
    /// When the last listener has died. The server is stopped then: every session ends at its next
    /// turn, for which it is woken, and a backend may give it that turn or drop it.
    pub fn turn(
        &self,
        now: Instant,
        admit: &mut dyn FnMut(Session),
    ) -> Result<AcceptTurn, ServeError> {
        self.note_start();
        self.stopping_on_error(self.accept_some(now, admit))
    }

    fn accept_some(
        &self,
        now: Instant,
        admit: &mut dyn FnMut(Session),
    ) -> Result<AcceptTurn, ServeError> {
        for _ in 0..self.inner.core.env.limits.accepts_per_turn.max(1) {
            match self.attempt(now)? {
                Attempt::Session(session) => admit(*session),
                Attempt::Wait(wants) => return Ok(AcceptTurn::Wait(wants)),
                Attempt::Finished => return Ok(AcceptTurn::Finished),
            }
        }
        // The listeners are readable still; those who wait for an edge need to be told.
        Ok(AcceptTurn::Wait(Wants { read: true, again: true, ..Wants::default() }))
    }

    /// A backend that waits for its sessions before it reports an error must not wait for ever.
    fn stopping_on_error<T>(&self, result: Result<T, ServeError>) -> Result<T, ServeError> {
        if result.is_err() {
            self.inner.core.stop();
        }
        result
    }

    /// Closes a session that cannot be run, because no thread could be started for it, say; counts
    /// it as refused, and stops accepting for a moment.
    pub fn refuse(&self, session: Session, error: &io::Error) {
        session.refuse(Refusal::Backend(error));
        self.pause(Instant::now());
    }

    pub(crate) fn core(&self) -> &Arc<Core> {
        &self.inner.core
    }

    /// A handle that keeps nothing of the acceptor.
    pub(crate) fn downgrade(&self) -> WeakAcceptor {
        WeakAcceptor(Arc::downgrade(&self.inner))
    }

    fn take_listeners(&self) -> io::Result<Vec<Listener>> {
        let mut state = self.lock();
        if state.closing {
            return Ok(Vec::new());
        }
        // The backend may be watching ours, and lets go of them when it is woken.
        let clones: io::Result<Vec<_>> = state.listeners.iter().map(|l| l.try_clone()).collect();
        let clones = clones?;
        state.listeners.clear();
        state.dead_calls.clear();
        drop(state);
        self.inner.core.wake_acceptor();
        Ok(clones)
    }

    /// The backend has returned: lets go of the ports.
    pub(crate) fn close(&self) {
        self.lock().close_listeners();
    }

    /// The most connections that may be open at the same time. It can be changed while the server
    /// runs, up to what [`lower_ceiling`](Self::lower_ceiling) allows.
    pub fn max_connections(&self) -> usize {
        self.inner.core.max_connections()
    }

    /// Says how many connections this backend can run at most, whatever the limit is raised to.
    /// Default: as many as the process may have descriptors.
    pub fn lower_ceiling(&self, ceiling: usize) {
        self.inner.core.lower_ceiling(ceiling);
    }

    /// Tells the observer if this many threads are more than one would expect.
    pub(crate) fn tell_of_threads(&self, threads: usize) {
        if threads > MANY_THREADS {
            self.inner.core.observe(|o| o.many_threads(threads));
        }
    }

    /// As `tell_of_threads`, of a thread for each connection, if somebody asked for so many.
    pub(crate) fn tell_of_thread_each(&self) {
        if let Some(wanted) = self.inner.core.env.limits.max_connections {
            self.tell_of_threads(wanted.min(self.max_connections()));
        }
    }

    /// How many connections are live now: open ones, and those that linger.
    pub fn live(&self) -> usize {
        self.inner.core.live.count()
    }

    /// Whether a drain has reached its deadline, or the server was stopped: every session ends at
    /// its next turn. A backend whose threads are held up by handlers gives those turns on another.
    pub fn is_past_deadline(&self) -> bool {
        self.inner.core.env.phase() >= Phase::Killing
    }

    fn attempt(&self, now: Instant) -> Result<Attempt, ServeError> {
        let mut failures = 0;
        loop {
            let found = self.look(now, &mut failures);
            self.tell_news();
            return Ok(match found? {
                Found::Session(mut session) => {
                    session.admit();
                    Attempt::Session(session)
                }
                Found::Refused(session, why) => {
                    session.tell_accepted();
                    session.refuse(why);
                    failures += 1;
                    continue;
                }
                Found::Wait(wants) => Attempt::Wait(wants),
                Found::Finished => Attempt::Finished,
            });
        }
    }

    /// Tells what happened under the lock.
    fn tell_news(&self) {
        let core = &self.inner.core;
        while let Some(news) = self.next_news() {
            core.observe(|o| match news {
                News::AcceptFailed { addr, error, pause } => o.accept_failed(&addr, &error, pause),
                News::ListenerFailed { addr, error } => o.listener_failed(&addr, &error),
            });
        }
    }

    fn next_news(&self) -> Option<News> {
        self.lock().news.pop_front()
    }

    /// No code of a user is called here but its `Wake`: the lock is held.
    fn look(&self, now: Instant, failures: &mut usize) -> Result<Found, ServeError> {
        let core = &self.inner.core;
        if core.shutdown.closes_listeners(now) && core.env.phase() < Phase::Killing {
            if let Some(found) = self.last_of_backlog(now, failures) {
                return Ok(found);
            }
        }
        let (next, give_up) = core.advance(now);
        let mut state = self.lock();
        if core.env.phase() > Phase::Running {
            if core.env.phase() > Phase::Draining || give_up {
                state.close_listeners();
            }
            let has_closed = state.has_closed();
            let pause = state.paused_until.filter(|_| !has_closed);
            drop(state);
            if has_closed {
                core.take_step(DrainStep::ListenersClosed);
            }
            if give_up || (core.live.is_empty() && has_closed) {
                return Ok(Found::Finished);
            }
            let deadline = [next, pause].into_iter().flatten().min();
            return Ok(Found::Wait(Wants { deadline, ..Wants::default() }));
        }
        if let Some(until) = state.paused_until.filter(|until| *until > now) {
            let deadline = Some(next.map_or(until, |next| next.min(until)));
            return Ok(Found::Wait(Wants { deadline, ..Wants::default() }));
        }
        state.paused_until = None;
        let has_none = state.has_closed() && state.failure.is_none();
        if has_none || !core.is_accepting() {
            return Ok(Found::Wait(Wants { deadline: next, ..Wants::default() }));
        }
        self.try_listeners(&mut state, now, next, failures)
    }

    /// The listeners are about to be closed, which would reset the connections in their backlogs: they
    /// are accepted before. `None` when there are none, or no place for them: then handlers are told,
    /// whose end makes places.
    fn last_of_backlog(&self, now: Instant, failures: &mut usize) -> Option<Found> {
        let core = &self.inner.core;
        let mut state = self.lock();
        state.begin_to_close();
        if !state.has_closed() && state.paused_until.is_none_or(|until| until <= now) {
            state.paused_until = None;
            match self.try_listeners(&mut state, now, None, failures) {
                Ok(Found::Wait(wants)) if wants.again => {
                    state.failed_closing += *failures;
                    if state.failed_closing < MOST_FAILED_CLOSING {
                        return Some(Found::Wait(wants));
                    }
                    state.close_listeners();
                }
                Ok(Found::Wait(wants)) if !wants.read => (),
                Ok(found @ (Found::Session(_) | Found::Refused(..))) => return Some(found),
                // Nobody is there any more, or nobody can be heard of.
                _ => state.close_listeners(),
            }
        }
        let has_closed = state.has_closed();
        drop(state);
        if has_closed {
            core.take_step(DrainStep::ListenersClosed);
        }
        if core.env.phase() == Phase::Running {
            core.shutdown.handlers_may_be_told();
        }
        None
    }

    /// Takes one connection from whichever listener has one, if there is room for it.
    fn try_listeners(
        &self,
        state: &mut State,
        now: Instant,
        next: Option<Instant>,
        failures: &mut usize,
    ) -> Result<Found, ServeError> {
        let wait = |read, again| {
            Ok(Found::Wait(Wants { read, again, deadline: next, ..Wants::default() }))
        };
        loop {
            // Without room, the place that is given back next wakes us.
            let Some(room) = self.room(state) else { return wait(false, false) };
            let accepted = match state.candidate.take().filter(|_| room == Room::Place) {
                Some(candidate) => Accepted::Candidate(candidate),
                None => self.accept_one(state, failures),
            };
            if let Accepted::Candidate(candidate) = accepted {
                match self.admit(candidate, room, state, now) {
                    Ok(Some(found)) => return Ok(found),
                    Ok(None) => *failures += 1,
                    Err((addr, error)) => {
                        *failures += 1;
                        self.accept_failed(state, &addr, &error, false);
                    }
                }
                continue;
            }
            if room != Room::Later {
                self.unreserve();
            }
            match accepted {
                // However fast peers abort their connections, others have their turn.
                Accepted::Enough => return wait(true, true),
                Accepted::Exhausted => {
                    return Ok(Found::Wait(self.start_pause(state, now, next)));
                }
                Accepted::Nothing | Accepted::Candidate(_) => (),
            }
            return match state.failure.take() {
                Some(failure) if state.listeners.is_empty() => Err(failure),
                _ => wait(true, false),
            };
        }
    }

    /// What there is for a connection that comes now: a place is reserved, if it is one.
    fn room(&self, state: &State) -> Option<Room> {
        let core = &self.inner.core;
        if core.live.reserve(core.max_connections()) {
            return Some(Room::Place);
        }
        match core.env.limits.at_limit {
            AtLimit::Wait => None,
            AtLimit::Reject => {
                core.live.reserve_extra();
                Some(Room::Refusal)
            }
            AtLimit::CloseOldestIdle => state.candidate.is_none().then_some(Room::Later),
        }
    }

    /// Makes a session of a connection, or keeps it until there is a place.
    fn admit(
        &self,
        candidate: Candidate,
        room: Room,
        state: &mut State,
        now: Instant,
    ) -> Result<Option<Found>, (Addr, io::Error)> {
        let core = &self.inner.core;
        if room == Room::Later {
            state.candidate = Some(candidate);
            core.evict_oldest(now);
            return Ok(None);
        }
        let Candidate { listener, stream, addr } = candidate;
        let session = self.set_up(&listener, stream, addr, now);
        let session = session.map_err(|error| {
            self.unreserve();
            (listener.local_addr().clone(), error)
        })?;
        let objection = self.objection(&session, room);
        let session = Box::new(session);
        Ok(Some(match objection {
            Some(why) => Found::Refused(session, why),
            None => Found::Session(session),
        }))
    }

    /// Why a connection has to go again, if it has. It is counted for its address in any case.
    fn objection(&self, session: &Session, room: Room) -> Option<Refusal<'static>> {
        let core = &self.inner.core;
        let per_address = core.env.limits.per_address.get();
        let is_many = |max: &usize| core.live.count_address(&session.peer_addr()) > *max;
        let crowd = per_address.filter(is_many).map(|max| Refusal::Address { max });
        let full = Refusal::Full { max: core.max_connections() };
        (room == Room::Refusal).then_some(full).or(crowd)
    }

    /// Asks each listener in turn, until one has a connection or all have none.
    fn accept_one(&self, state: &mut State, failures: &mut usize) -> Accepted {
        let mut asked = 0;
        while asked < state.listeners.len() {
            if *failures > self.inner.core.env.limits.accepts_per_turn {
                return Accepted::Enough;
            }
            let at = state.next % state.listeners.len();
            let listener = Arc::clone(&state.listeners[at]);
            let error = match listener.accept() {
                Ok((stream, addr)) => {
                    state.dead_calls[at] = 0;
                    return Accepted::Candidate(Candidate { listener, stream, addr });
                }
                Err(error) => error,
            };
            match accept_policy(&error) {
                AcceptPolicy::WouldBlock => {
                    asked += 1;
                    state.next += 1;
                }
                AcceptPolicy::Retry => {
                    *failures += 1;
                    self.accept_failed(state, listener.local_addr(), &error, false);
                }
                AcceptPolicy::Pause => {
                    self.accept_failed(state, listener.local_addr(), &error, true);
                    return Accepted::Exhausted;
                }
                AcceptPolicy::Dead => {
                    state.dead_calls[at] += 1;
                    self.accept_failed(state, listener.local_addr(), &error, false);
                    if state.dead_calls[at] >= DEAD_CALLS {
                        self.bury(state, at, error);
                    }
                }
            }
        }
        Accepted::Nothing
    }

    /// Makes a session of a connection, in the place that was reserved.
    fn set_up(
        &self,
        listener: &Listener,
        stream: Stream,
        addr: Addr,
        now: Instant,
    ) -> io::Result<Session> {
        listener.prepare(&stream)?;
        let credentials = match addr {
            Addr::Unix(_) => crate::net::credentials(stream.socket()),
            Addr::Tcp(_) => None,
        };
        let peer = Peer::new(addr).with_credentials(credentials);
        Ok(Session::new(&self.inner.core, stream, peer, listener.local_addr(), now))
    }

    fn accept_failed(&self, state: &mut State, addr: &Addr, error: &io::Error, pausing: bool) {
        let core = &self.inner.core;
        core.live.count_accept_error();
        if core.is_observed() {
            let pause = pausing.then_some(core.env.timeouts.accept_pause);
            let (addr, error) = (addr.clone(), copy(error));
            state.news.push_back(News::AcceptFailed { addr, error, pause });
        }
    }

    /// A listener is dead: goes on without it.
    fn bury(&self, state: &mut State, at: usize, error: io::Error) {
        let listener = state.listeners.remove(at);
        state.dead_calls.remove(at);
        let addr = listener.local_addr().clone();
        if self.inner.core.is_observed() {
            let news = News::ListenerFailed { addr: addr.clone(), error: copy(&error) };
            state.news.push_back(news);
        }
        state.failure = Some(ServeError::Listener { addr: Box::new(addr), source: error });
    }

    fn pause(&self, now: Instant) {
        let mut state = self.lock();
        self.start_pause(&mut state, now, None);
    }

    fn start_pause(&self, state: &mut State, now: Instant, next: Option<Instant>) -> Wants {
        let until = now + self.inner.core.env.timeouts.accept_pause;
        state.paused_until = Some(until);
        let deadline = Some(next.map_or(until, |next| next.min(until)));
        Wants { deadline, ..Wants::default() }
    }

    fn unreserve(&self) {
        let core = &self.inner.core;
        core.live.unreserve();
        if core.shutdown.began().is_some() {
            core.shutdown.notify();
        }
    }

    /// Waits for the listeners (if they are wanted), the bell, or the deadline.
    fn wait(&self, wants: &Wants, bell: &WakeFd) -> Result<(), ServeError> {
        if wants.again {
            return Ok(());
        }
        let listeners = if wants.read { self.listeners() } else { Vec::new() };
        let interest = Interest { read: true, write: false };
        let sources: Vec<_> = listeners.iter().map(|l| (l.socket(), interest)).collect();
        wait_any(&sources, Some(bell), wants.deadline).map_err(ServeError::Wait)?;
        Ok(())
    }

    fn bell(&self) -> Result<Arc<WakeFd>, ServeError> {
        if let Some(bell) = self.inner.bell.get() {
            return Ok(Arc::clone(bell));
        }
        let bell = Arc::new(WakeFd::new().map_err(ServeError::Start)?);
        let bell = self.inner.bell.get_or_init(|| bell);
        self.inner.core.set_acceptor_reach(AcceptorReach::Bell(Arc::clone(bell)));
        Ok(Arc::clone(bell))
    }

    /// The backend has come as far as to accept: the server has started.
    fn note_start(&self) {
        let started = self.inner.started.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(started) = started {
            for listener in self.listeners() {
                self.inner.core.observe(|o| o.listening(listener.local_addr()));
            }
            let _ = started.send(());
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.inner.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Lets go of the ports, and of whoever waits for a place.
    fn close_listeners(&mut self) {
        self.listeners.clear();
        self.candidate = None;
    }

    fn has_closed(&self) -> bool {
        self.listeners.is_empty() && self.candidate.is_none()
    }

    /// The grace is over. Those in the backlogs are accepted yet, but nobody joins them; the
    /// backlogs that others accept from are left to those.
    fn begin_to_close(&mut self) {
        if self.listeners.iter().any(|listener| listener.is_shared()) {
            self.listeners.retain(|listener| !listener.is_shared());
            self.dead_calls = vec![0; self.listeners.len()];
        }
        if !std::mem::replace(&mut self.closing, true) {
            self.listeners.iter().for_each(|listener| listener.refuse_newcomers());
        }
    }
}

/// Errors cannot be cloned; those of the system are their number.
fn copy(error: &io::Error) -> io::Error {
    match error.raw_os_error() {
        Some(number) => io::Error::from_raw_os_error(number),
        None => io::Error::new(error.kind(), error.to_string()),
    }
}

impl std::fmt::Debug for Acceptor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Acceptor")
            .field("max_connections", &self.max_connections())
            .field("live", &self.inner.core.live)
            .finish_non_exhaustive()
    }
}
