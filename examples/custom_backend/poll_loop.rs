//! One loop on poll(2), the oldest way to wait for many sockets: the readiness style of a backend.
//!
//! Each round asks the system about every socket that wants something, and looks at the deadline of
//! every session. That is the whole idea of a readiness loop without its bookkeeping; for many
//! thousands of connections, a poller that remembers what it watches and a heap of deadlines take
//! the place of the two passes.

use polyserve::{
    AcceptTurn, Acceptor, Backend, Ready, Scratch, ServeError, Session, Turn, Wake, Wants,
};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// Runs all sessions on the thread that serves.
#[derive(Debug)]
pub(crate) struct PollLoop;

/// The acceptor's key. Sessions have those from 1 on. No key is used twice, so a wake that comes
/// too late finds nothing and does no harm.
const ACCEPTOR: u64 = 0;

impl Backend for PollLoop {
    fn run(&mut self, acceptor: &Acceptor) -> Result<(), ServeError> {
        // What can fail comes first: the server has started when its acceptor is used.
        let bell = Arc::new(Bell::new().map_err(ServeError::Start)?);
        acceptor.attach(Arc::clone(&bell) as Arc<dyn Wake>, ACCEPTOR);
        let (sessions, scratch) = (BTreeMap::new(), Scratch::new());
        let accepting = Wants::AGAIN;
        Loop { acceptor, accepting, bell, sessions, last_key: ACCEPTOR, scratch }.run()
    }
}

struct Loop<'a> {
    acceptor: &'a Acceptor,
    /// What the acceptor waits for.
    accepting: Wants,
    bell: Arc<Bell>,
    /// The sessions, each with what it waits for.
    sessions: BTreeMap<u64, (Session, Wants)>,
    last_key: u64,
    scratch: Scratch,
}

/// Whose turn it is, and what has come for it.
type Due = BTreeMap<u64, Ready>;

impl Loop<'_> {
    fn run(mut self) -> Result<(), ServeError> {
        loop {
            for (key, ready) in self.wait().map_err(ServeError::Wait)? {
                if key != ACCEPTOR {
                    self.turn(key, ready);
                } else if self.accept()? == AcceptTurn::Finished {
                    return Ok(());
                }
            }
        }
    }

    /// Accepts what is there. A new session has its first turn in the next round.
    fn accept(&mut self) -> Result<AcceptTurn, ServeError> {
        let mut admitted = Vec::new();
        let turn = self.acceptor.turn(Instant::now(), &mut |session| admitted.push(session))?;
        if let AcceptTurn::Wait(wants) = turn {
            self.accepting = wants;
        }
        for mut session in admitted {
            self.last_key += 1;
            session.attach(Arc::clone(&self.bell) as Arc<dyn Wake>, self.last_key);
            self.sessions.insert(self.last_key, (session, Wants::AGAIN));
        }
        Ok(turn)
    }

    /// One session does what there is to do, and says what it waits for next.
    fn turn(&mut self, key: u64, ready: Ready) {
        let Some((session, wants)) = self.sessions.get_mut(&key) else { return };
        match session.turn(ready, Instant::now(), &mut self.scratch) {
            Turn::Wait(next) => *wants = next,
            Turn::Closed => drop(self.sessions.remove(&key)),
        }
    }

    /// Waits until it is somebody's turn.
    fn wait(&self) -> io::Result<Due> {
        let mut due = self.poll()?;
        let now = Instant::now();
        let in_time = self.all_wants().filter(|(_, wants)| is_due(wants, now)).map(|(key, _)| key);
        for key in self.bell.listen().into_iter().chain(in_time) {
            due.entry(key).or_insert(Ready::NONE);
        }
        Ok(due)
    }

    /// Asks the system which sockets are ready, and waits for the first if there is nothing else
    /// to do.
    fn poll(&self) -> io::Result<Due> {
        // Listeners are held only while they are watched: a drain wants to close them.
        let listeners = if self.accepting.read { self.acceptor.listeners() } else { Vec::new() };
        let mut keys = vec![ACCEPTOR; listeners.len()];
        let mut sockets: Vec<_> =
            listeners.iter().map(|listener| PollFd::new(listener, PollFlags::IN)).collect();
        for (key, (session, wants)) in &self.sessions {
            // A socket that nothing is wanted of is left out. Polled for nothing, it would still
            // report its errors, again and again.
            if wants.read || wants.write {
                keys.push(*key);
                sockets.push(PollFd::new(session, flags(wants)));
            }
        }
        sockets.push(PollFd::new(&self.bell.ear, PollFlags::IN));
        match poll(&mut sockets, self.patience().as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => (),
            Err(error) => return Err(error.into()),
        }
        let reported = keys.into_iter().zip(sockets.iter().map(PollFd::revents));
        Ok(reported
            .filter(|(_, got)| !got.is_empty())
            .map(|(key, got)| (key, ready(got)))
            .collect())
    }

    /// How long to wait at most: for ever if nobody has a deadline.
    fn patience(&self) -> Option<Timespec> {
        let now = Instant::now();
        let soonest = |wants: &Wants| if wants.again { Some(now) } else { wants.deadline };
        let first = self.all_wants().filter_map(|(_, wants)| soonest(wants)).min()?;
        Timespec::try_from(first.saturating_duration_since(now)).ok()
    }

    fn all_wants(&self) -> impl Iterator<Item = (u64, &Wants)> {
        let sessions = self.sessions.iter().map(|(key, (_, wants))| (*key, wants));
        std::iter::once((ACCEPTOR, &self.accepting)).chain(sessions)
    }
}

/// Whether it is somebody's turn although its socket has nothing to say.
fn is_due(wants: &Wants, now: Instant) -> bool {
    wants.again || wants.deadline.is_some_and(|deadline| deadline <= now)
}

fn flags(wants: &Wants) -> PollFlags {
    let read = if wants.read { PollFlags::IN } else { PollFlags::empty() };
    let write = if wants.write { PollFlags::OUT } else { PollFlags::empty() };
    read | write
}

/// Whatever is not about writing, such as an error or a hang-up, is found by reading.
fn ready(reported: PollFlags) -> Ready {
    let mut ready = Ready::NONE;
    ready.write = reported.contains(PollFlags::OUT);
    ready.read = !(reported - PollFlags::OUT).is_empty();
    ready
}

/// How other threads end the wait: they note a key, and write a byte to a socket that is polled.
struct Bell {
    woken: Mutex<Vec<u64>>,
    mouth: UnixStream,
    ear: UnixStream,
}

impl Bell {
    fn new() -> io::Result<Self> {
        let (mouth, ear) = UnixStream::pair()?;
        mouth.set_nonblocking(true)?;
        ear.set_nonblocking(true)?;
        Ok(Self { woken: Mutex::default(), mouth, ear })
    }

    /// Whose turn was asked for. The bell is silenced before the keys are taken, so a wake that
    /// comes in between is seen now, or rings for the next round.
    fn listen(&self) -> Vec<u64> {
        while matches!((&self.ear).read(&mut [0; 64]), Ok(1..)) {}
        std::mem::take(&mut *self.keys())
    }

    fn keys(&self) -> MutexGuard<'_, Vec<u64>> {
        self.woken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Wake for Bell {
    fn wake(&self, key: u64) {
        self.keys().push(key);
        // It can only fail because the socket is full, and then the bell rings already.
        let _ = (&self.mouth).write(&[1]);
    }
}
