//! One readiness loop on epoll, with a place for one defect at a time. Without any it is sound.
//!
//! Each defect is a mistake that somebody who writes a backend may well make.

use polyserve::net::Listener;
use polyserve::{
    AcceptTurn, Acceptor, Backend, Ready, Scratch, ServeError, Session, Turn, Wake, Wants,
};
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::event::{EventfdFlags, Timespec, eventfd};
use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::ThreadId;
use std::time::{Duration, Instant};

/// What is wrong with a loop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Defect {
    // Wakes.
    /// Wakes of sessions are lost.
    LosesWakes,
    /// Sessions are never told whom to wake.
    ForgetsToAttach,
    /// A wake goes to the neighbour.
    WakesTheNeighbour,
    /// When a session ends, the last one takes its place and its key, but is still woken by its old
    /// one.
    KeepsStaleKeys,
    /// Of several wakes before a round, the last is remembered.
    RemembersOneWake,
    /// Wakes from within a turn are lost: the list is emptied after the round.
    LosesWakesOfItsOwnThread,

    // Deadlines and turns without an event.
    /// Deadlines of sessions are not waited for.
    IgnoresDeadlines,
    /// Every turn is told the instant at which the loop began.
    StopsTheClock,
    /// Nobody is called again.
    IgnoresAgain,
    /// A new session has no turn before its first bytes.
    SkipsTheFirstTurn,

    // Events of sockets.
    /// Room to write is not watched for.
    IgnoresWriteInterest,
    /// A socket that was watched for writing is not watched for reading any more.
    ForgetsToReadAfterWriting,
    /// An event is told of once, and the registration is not renewed if the interest is the same.
    NeverReArms,
    /// Edge-triggered, although a turn does not read to the end.
    IsEdgeTriggered,
    /// A socket that was not watched is never watched again.
    NeverWatchesAgain,
    /// A hang-up is taken for the end: what came before it is not read.
    DropsOnHangUp,
    /// A socket that nothing is wanted of stays in the poller, which reports its errors all the
    /// same.
    WatchesThePaused,
    /// A session that waits for nothing on its socket is taken for dead.
    DropsPaused,
    /// Each event is counted by reading a byte of it.
    StealsAByte,

    // Fairness.
    /// Each round serves the first socket that is ready.
    ServesTheFirstOnly,
    /// The oldest session is served until it ends.
    ServesOneAtATime,
    /// The loop blocks in accept, and serves whoever is ready when somebody connects.
    BlocksInAccept,

    // Ends of sessions.
    /// Sessions that are closed are not dropped.
    LeaksTheClosed,
    /// Sockets are closed with a linger time of zero, against TIME_WAIT.
    ResetsWhatItCloses,

    // The acceptor.
    /// Three connections are accepted.
    AcceptsThree,
    /// Only the first listener is watched.
    WatchesOneListener,
    /// The acceptor is not asked any more once it was full, as long as anybody is there.
    ForgetsTheAcceptorWhenFull,
    /// Listeners are watched also when the acceptor can take nobody.
    WatchesFullListeners,
    /// Wakes of the acceptor are lost.
    LosesWakesOfTheAcceptor,
    /// The acceptor's deadline is not waited for.
    IgnoresTheAcceptorsDeadline,
    /// Listeners are held for good.
    KeepsListeners,
    /// The loop ends when the listeners are closed, whatever sessions there are.
    ReturnsEarly,
    /// The loop ends when its last session does.
    ReturnsWhenEmpty,
}

/// A loop with a defect, or without.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FaultyLoop(pub(crate) Option<Defect>);

const ACCEPTOR: u64 = 0;
const BELL: u64 = u64::MAX;

impl Backend for FaultyLoop {
    fn run(&mut self, acceptor: &Acceptor) -> Result<(), ServeError> {
        let epoll = epoll::create(CreateFlags::CLOEXEC).map_err(start_failed)?;
        let bell = Arc::new(Bell::new(self.0).map_err(start_failed)?);
        let key = EventData::new_u64(BELL);
        epoll::add(&epoll, &bell.ring, key, EventFlags::IN).map_err(start_failed)?;
        acceptor.attach(Arc::clone(&bell) as Arc<dyn Wake>, ACCEPTOR);
        let server = Loop {
            defect: self.0,
            acceptor,
            accepting: Wants::AGAIN,
            accepted: 0,
            was_full: false,
            listeners: Vec::new(),
            kept: Vec::new(),
            epoll,
            bell,
            sessions: BTreeMap::new(),
            last_key: ACCEPTOR,
            scratch: Scratch::new(),
            began: Instant::now(),
        };
        server.run()
    }
}

fn start_failed(error: rustix::io::Errno) -> ServeError {
    ServeError::Start(error.into())
}

struct Loop<'a> {
    defect: Option<Defect>,
    acceptor: &'a Acceptor,
    accepting: Wants,
    accepted: usize,
    was_full: bool,
    /// The listeners that are watched.
    listeners: Vec<Arc<Listener>>,
    kept: Vec<Arc<Listener>>,
    epoll: OwnedFd,
    bell: Arc<Bell>,
    sessions: BTreeMap<u64, Entry>,
    last_key: u64,
    scratch: Scratch,
    began: Instant,
}

struct Entry {
    session: Session,
    wants: Wants,
    /// What its socket is watched for now.
    watched: EventFlags,
    was_unwatched: bool,
    has_written: bool,
}

type Due = BTreeMap<u64, Ready>;

impl Loop<'_> {
    fn has(&self, defect: Defect) -> bool {
        self.defect == Some(defect)
    }

    fn run(mut self) -> Result<(), ServeError> {
        loop {
            for (key, ready) in self.wait().map_err(ServeError::Wait)? {
                if key != ACCEPTOR {
                    self.turn(key, ready);
                } else if self.accept()? {
                    return Ok(());
                }
            }
            if self.has(Defect::ReturnsWhenEmpty) && self.accepted > 0 && self.sessions.is_empty() {
                return Ok(());
            }
        }
    }

    fn now(&self) -> Instant {
        if self.has(Defect::StopsTheClock) { self.began } else { Instant::now() }
    }

    // The acceptor.

    /// Returns whether the server is over.
    fn accept(&mut self) -> Result<bool, ServeError> {
        let is_forgotten = self.was_full && !self.sessions.is_empty();
        if self.has(Defect::ForgetsTheAcceptorWhenFull) && is_forgotten {
            return Ok(false);
        }
        let mut admitted = Vec::new();
        match self.acceptor.turn(self.now(), &mut |session| admitted.push(session))? {
            AcceptTurn::Wait(wants) => self.accepting = wants,
            AcceptTurn::Finished => return Ok(true),
        }
        admitted.into_iter().for_each(|session| self.admit(session));
        self.was_full = self.acceptor.live() >= self.acceptor.max_connections();
        self.follow_the_acceptor().map_err(ServeError::Wait)?;
        Ok(self.has(Defect::ReturnsEarly) && self.acceptor.listeners().is_empty())
    }

    fn admit(&mut self, mut session: Session) {
        self.last_key += 1;
        self.accepted += 1;
        let key = self.last_key;
        if !self.has(Defect::ForgetsToAttach) {
            session.attach(Arc::clone(&self.bell) as Arc<dyn Wake>, key);
        }
        let mut wants = Wants::AGAIN;
        if self.has(Defect::SkipsTheFirstTurn) {
            wants = Wants::default();
            wants.read = true;
        }
        let watched = EventFlags::empty();
        let entry = Entry { session, wants, watched, was_unwatched: false, has_written: false };
        self.sessions.insert(key, entry);
    }

    /// Watches the listeners, or lets go of them.
    fn follow_the_acceptor(&mut self) -> io::Result<()> {
        if self.has(Defect::AcceptsThree) && self.accepted >= 3 {
            self.accepting.read = false;
        }
        let is_over = self.acceptor.listeners().is_empty();
        if self.has(Defect::WatchesFullListeners) && !is_over && !self.listeners.is_empty() {
            return Ok(());
        }
        if self.accepting.read != self.listeners.is_empty() {
            return Ok(());
        }
        for listener in self.listeners.drain(..) {
            epoll::delete(&self.epoll, listener)?;
        }
        if self.accepting.read {
            self.listeners = self.acceptor.listeners();
            if self.has(Defect::WatchesOneListener) {
                self.listeners.truncate(1);
            }
            for listener in &self.listeners {
                let key = EventData::new_u64(ACCEPTOR);
                epoll::add(&self.epoll, listener, key, EventFlags::IN)?;
            }
        }
        if self.has(Defect::KeepsListeners) {
            self.kept.extend(self.listeners.iter().cloned());
        }
        Ok(())
    }

    // Sessions.

    fn turn(&mut self, key: u64, ready: Ready) {
        let now = self.now();
        let Some(entry) = self.sessions.get_mut(&key) else { return };
        if self.defect == Some(Defect::StealsAByte) && ready.read {
            let flags = rustix::net::RecvFlags::DONTWAIT;
            let _ = rustix::net::recv(&entry.session, &mut [0_u8; 1][..], flags);
        }
        match entry.session.turn(ready, now, &mut self.scratch) {
            Turn::Wait(wants) => {
                entry.wants = wants;
                entry.has_written |= wants.write;
                match self.defect {
                    Some(Defect::IgnoresDeadlines) => entry.wants.deadline = None,
                    Some(Defect::IgnoresAgain) => entry.wants.again = false,
                    Some(Defect::DropsPaused) if is_paused(&wants) => self.remove(key),
                    _ => (),
                }
            }
            Turn::Closed => self.remove(key),
        }
    }

    fn remove(&mut self, key: u64) {
        let Some(entry) = self.sessions.remove(&key) else { return };
        if !entry.watched.is_empty() {
            let _ = epoll::delete(&self.epoll, &entry.session);
        }
        if self.has(Defect::KeepsStaleKeys) {
            self.move_the_last_to(key);
        }
        if self.has(Defect::ResetsWhatItCloses) {
            let socket = socket2::SockRef::from(&entry.session);
            let _ = socket.set_linger(Some(Duration::ZERO));
        }
        if self.has(Defect::LeaksTheClosed) {
            std::mem::forget(entry.session);
        }
    }

    fn move_the_last_to(&mut self, key: u64) {
        let Some(last) = self.sessions.last_entry().filter(|last| *last.key() > key) else {
            return;
        };
        let mut last = last.remove();
        if !last.watched.is_empty() {
            let _ = epoll::delete(&self.epoll, &last.session);
            last.watched = EventFlags::empty();
        }
        self.sessions.insert(key, last);
    }

    // Waiting.

    fn wait(&mut self) -> io::Result<Due> {
        self.watch_sessions()?;
        let mut due = self.ready_sockets()?;
        if self.has(Defect::ServesTheFirstOnly) {
            let first = due.keys().copied().find(|key| *key != ACCEPTOR);
            due.retain(|key, _| *key == ACCEPTOR || Some(*key) == first);
        }
        if self.has(Defect::BlocksInAccept) && due.contains_key(&ACCEPTOR) {
            due.extend(self.sessions.keys().map(|key| (*key, Ready::BOTH)));
        }
        let now = Instant::now();
        for (key, wants) in self.all_wants() {
            if wants.again || wants.deadline.is_some_and(|deadline| deadline <= now) {
                due.entry(key).or_insert(Ready::NONE);
            }
        }
        for key in self.bell.listen() {
            due.entry(key).or_insert(Ready::NONE);
        }
        Ok(due)
    }

    /// What is waited for besides sockets.
    fn all_wants(&self) -> impl Iterator<Item = (u64, Wants)> {
        let mut accepting = self.accepting;
        if self.has(Defect::IgnoresTheAcceptorsDeadline) {
            accepting.deadline = None;
        }
        let only = self.only_one();
        let sessions = self.sessions.iter().filter(move |(key, _)| only.is_none_or(|o| o == **key));
        let sessions = sessions.map(|(key, entry)| (*key, entry.wants));
        std::iter::once((ACCEPTOR, accepting)).chain(sessions)
    }

    /// The session that has the loop to itself.
    fn only_one(&self) -> Option<u64> {
        if !self.has(Defect::ServesOneAtATime) {
            return None;
        }
        self.sessions.keys().next().copied()
    }

    /// Brings the poller up to date.
    fn watch_sessions(&mut self) -> io::Result<()> {
        let (defect, only) = (self.defect, self.only_one());
        for (key, entry) in &mut self.sessions {
            let mut wanted = entry.wanted(defect);
            if only.is_some_and(|only| only != *key) {
                wanted = EventFlags::empty();
            }
            entry.was_unwatched |= wanted.is_empty() && !entry.watched.is_empty();
            let data = EventData::new_u64(*key);
            match (entry.watched.is_empty(), wanted.is_empty()) {
                _ if entry.watched == wanted => continue,
                (true, _) => epoll::add(&self.epoll, &entry.session, data, wanted)?,
                (_, true) if defect == Some(Defect::WatchesThePaused) => {
                    epoll::modify(&self.epoll, &entry.session, data, wanted)?;
                    continue;
                }
                (_, true) => epoll::delete(&self.epoll, &entry.session)?,
                _ => epoll::modify(&self.epoll, &entry.session, data, wanted)?,
            }
            entry.watched = wanted;
        }
        Ok(())
    }

    fn ready_sockets(&mut self) -> io::Result<Due> {
        let mut events = Vec::<Event>::with_capacity(256);
        let timeout = self.patience();
        let room = rustix::buffer::spare_capacity(&mut events);
        match epoll::wait(&self.epoll, room, timeout.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => (),
            Err(error) => return Err(error.into()),
        }
        let mut due = Due::new();
        for event in events {
            let (key, flags) = (event.data.u64(), event.flags);
            let hung_up = EventFlags::RDHUP | EventFlags::HUP;
            if self.has(Defect::DropsOnHangUp) && flags.intersects(hung_up) && key != ACCEPTOR {
                self.remove(key);
            } else if key != BELL {
                due.insert(key, ready(flags));
            }
        }
        Ok(due)
    }

    fn patience(&self) -> Option<Timespec> {
        let now = Instant::now();
        let soonest = |wants: Wants| if wants.again { Some(now) } else { wants.deadline };
        let first = self.all_wants().filter_map(|(_, wants)| soonest(wants)).min()?;
        Timespec::try_from(first.saturating_duration_since(now)).ok()
    }
}

impl Entry {
    /// What its socket is to be watched for.
    fn wanted(&self, defect: Option<Defect>) -> EventFlags {
        let Wants { read, write, .. } = self.wants;
        let has = |d| defect == Some(d);
        let read = read && !(self.has_written && has(Defect::ForgetsToReadAfterWriting));
        let write = write && !has(Defect::IgnoresWriteInterest);
        let mut wanted = EventFlags::empty();
        wanted.set(EventFlags::IN | EventFlags::RDHUP, read);
        wanted.set(EventFlags::OUT, write);
        let never =
            has(Defect::BlocksInAccept) || (has(Defect::NeverWatchesAgain) && self.was_unwatched);
        if wanted.is_empty() || never {
            return EventFlags::empty();
        }
        wanted.set(EventFlags::ET, has(Defect::IsEdgeTriggered));
        wanted.set(EventFlags::ONESHOT, has(Defect::NeverReArms));
        wanted
    }
}

fn ready(flags: EventFlags) -> Ready {
    let failed = EventFlags::HUP | EventFlags::ERR;
    let mut ready = Ready::NONE;
    ready.read = flags.intersects(failed | EventFlags::IN | EventFlags::PRI | EventFlags::RDHUP);
    ready.write = flags.intersects(failed | EventFlags::OUT);
    ready
}

fn is_paused(wants: &Wants) -> bool {
    !wants.read && !wants.write && !wants.again
}

/// How other threads end the wait.
struct Bell {
    defect: Option<Defect>,
    ring: OwnedFd,
    woken: Mutex<Vec<u64>>,
    own_thread: ThreadId,
}

impl Bell {
    fn new(defect: Option<Defect>) -> rustix::io::Result<Self> {
        let ring = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Self { defect, ring, woken: Mutex::default(), own_thread: std::thread::current().id() })
    }

    fn listen(&self) -> Vec<u64> {
        let _ = rustix::io::read(self.ring.as_fd(), &mut [0_u8; 8][..]);
        std::mem::take(&mut *self.keys())
    }

    fn keys(&self) -> MutexGuard<'_, Vec<u64>> {
        self.woken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Wake for Bell {
    fn wake(&self, mut key: u64) {
        let is_session = key != ACCEPTOR;
        let is_own = std::thread::current().id() == self.own_thread;
        match self.defect {
            Some(Defect::LosesWakes) if is_session => return,
            Some(Defect::LosesWakesOfTheAcceptor) if !is_session => return,
            Some(Defect::LosesWakesOfItsOwnThread) if is_own => return,
            Some(Defect::WakesTheNeighbour) if is_session => key += 1,
            Some(Defect::RemembersOneWake) => self.keys().retain(|other| *other == ACCEPTOR),
            _ => (),
        }
        self.keys().push(key);
        let _ = rustix::io::write(&self.ring, &1_u64.to_ne_bytes());
    }
}
