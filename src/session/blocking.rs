//! A session that has a thread to itself.
//!
//! When nothing is pending but the next bytes of the peer, the thread blocks in `recv`: two system
//! calls for a request and its reply. In every other state (output that waits, a timer, a sender
//! somewhere, input that is incomplete) it waits with poll(2) on the socket and its own bell.
//!
//! A thread that blocks in `recv` is reached by shutting its socket down for reading. That can not
//! be undone, so it is done for a drain or an order to close only, and only to threads that say that
//! they are parked:
//!
//! ```text
//!   session's thread                 who drains, or gives an order
//!   RUNNING -> PARKED                phase = Draining, or the order is noted
//!   look at the phase, and for one   PARKED -> CUT, and only then shut down
//! ```
//!
//! Both sides write first and look then, in one total order (`SeqCst`), so that at least one of
//! them sees the other. A thread that stops being parked finds out whether it was cut, before it
//! reads again: it never takes the cut for the peer's end. A handler that goes on after that is
//! still spoken to where the system keeps taking bytes (TCP on Linux), by edges; the peer's end
//! cannot be told from our own any more.
//!
//! Where a shutdown does not end a read (Windows), the thread never blocks in `recv`: it waits with a
//! poller, for the socket and the bell, in every state.

use super::routes::Reach;
use super::{Scratch, Session};
use crate::connection::{Phase, Ready, Turn, Wants};
use crate::handler::{CloseReason, Wake};
use crate::net::{EdgeWatch, Interest, SHUTDOWN_ENDS_READS, SharedStream, WakeFd, wait_any};
use std::io;
use std::net::Shutdown;
use std::sync::atomic::{AtomicU8, Ordering, fence};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

/// What other threads hold of a thread's session.
#[derive(Debug)]
pub(crate) struct BlockingHandle {
    socket: SharedStream,
    /// `RUNNING`, `PARKED` or `CUT`.
    state: AtomicU8,
    bell: OnceLock<Option<WakeFd>>,
}

/// The thread does not block in its read.
const RUNNING: u8 = 0;
/// It does, or is about to.
const PARKED: u8 = 1;
/// The socket was shut down for reading by us, or is about to be. There is no way back.
const CUT: u8 = 2;

impl BlockingHandle {
    fn new(socket: SharedStream) -> Self {
        Self { socket, state: AtomicU8::new(RUNNING), bell: OnceLock::new() }
    }

    /// Makes the bell, if there is none. Called on the session's own thread only.
    pub(super) fn prepare_bell(&self) {
        self.bell.get_or_init(|| WakeFd::new().ok());
    }

    fn bell(&self) -> Option<&WakeFd> {
        self.bell.get()?.as_ref()
    }

    /// Has the thread look at the phase, or for an order: what was changed before.
    pub(crate) fn interrupt(&self) {
        if self.exchange(PARKED, CUT) {
            self.socket.shutdown(Shutdown::Read);
        }
        // Pairs with the fence of `Driver::bell_is_in_time`.
        fence(Ordering::SeqCst);
        if let Some(bell) = self.bell() {
            bell.ring();
        }
    }

    /// The thread did not answer in time, and nobody waits for it any more: its peer should not
    /// either.
    pub(crate) fn sever(&self) {
        self.socket.shutdown(Shutdown::Both);
    }

    /// Says that the thread may be cut in on from here on. `false` if it was cut already.
    fn park(&self) -> bool {
        self.exchange(RUNNING, PARKED)
    }

    fn unpark(&self) {
        // What fails is that the thread was cut meanwhile.
        self.exchange(PARKED, RUNNING);
    }

    fn is_cut(&self) -> bool {
        self.state.load(Ordering::SeqCst) == CUT
    }

    fn exchange(&self, from: u8, to: u8) -> bool {
        self.state.compare_exchange(from, to, Ordering::SeqCst, Ordering::SeqCst).is_ok()
    }
}

impl Wake for BlockingHandle {
    fn wake(&self, _key: u64) {
        if let Some(bell) = self.bell() {
            bell.ring();
        }
    }
}

/// How much longer than the idle time-out a read may block: the clock is coarse, and a read that
/// ends before the deadline has to be made again.
const SLACK: Duration = Duration::from_millis(24);

/// Serves one session until its end.
pub(super) fn run(mut session: Session, scratch: &mut Scratch) {
    let may_block = std::mem::replace(&mut scratch.may_block, true);
    let handle = share(&mut session);
    let mut driver = Driver { session, handle, read_timeout: None, edges: None };
    driver.drive(scratch);
    drop(driver);
    scratch.may_block = may_block;
}

/// Makes the socket reachable from other threads.
fn share(session: &mut Session) -> Arc<BlockingHandle> {
    let stream = session.stream.take().expect("a session has its socket until it is dropped");
    let (stream, socket) = stream.into_shared();
    session.stream = Some(stream);
    let handle = Arc::new(BlockingHandle::new(socket));
    let identity = &session.identity;
    identity.core.live.set_reach(identity.live, Reach::Thread(Arc::clone(&handle)));
    handle
}

struct Driver {
    session: Session,
    handle: Arc<BlockingHandle>,
    /// The time-out that the socket has, if it has one: it is set only when it changes.
    read_timeout: Option<Duration>,
    /// Made once the socket is cut, if the system knows such a thing.
    edges: Option<EdgeWatch>,
}

impl Driver {
    fn drive(&mut self, scratch: &mut Scratch) {
        let mut ready = Ready::NONE;
        let mut received = None;
        let mut wanted = false;
        let mut received_before = 0;
        // Whether the last deadline that was told is the one that the read's time-out is set for.
        let mut knows_last = false;
        loop {
            let phase = self.phase();
            let now = Instant::now();
            // A time-out that was set for another deadline than the last may be far too long.
            let is_limited =
                knows_last && self.read_timeout.is_some_and(|timeout| timeout != Duration::MAX);
            knows_last = false;
            let turn = self.session.turn_with(ready, received.take(), now, is_limited, scratch);
            let Turn::Wait(wants) = turn else { return };
            let received_now = self.session.identity.tally().received();
            let heard = received_now > std::mem::replace(&mut received_before, received_now);
            let silent = std::mem::replace(&mut wanted, wants.read) && ready.read && !heard;
            if wants.again {
                ready = self.glance(&wants, now);
            } else if wants.read && !silent && self.note_cut() {
                // An edge tells only once: read until nothing is left.
                ready = Ready::READ;
            } else if self.may_park() {
                // Without a deadline, the one time-out does again: the peer was heard just now.
                if !is_limited || wants.deadline.is_some() {
                    self.limit_read(wants.deadline, scratch.now());
                }
                knows_last = true;
                (ready, received) = self.park(phase, scratch);
            } else if is_limited && heard && wants.deadline.is_none() {
                // The deadline was left out for a read with a time-out; a turn in which nothing is heard
                // tells it.
                ready = Ready::NONE;
            } else {
                ready = self.wait(phase, &wants);
            }
        }
    }

    /// Whether there is nothing to wait for but the peer's next bytes, and a drain can cut in.
    fn may_park(&self) -> bool {
        SHUTDOWN_ENDS_READS && self.session.conn.is_quiet() && !self.handle.is_cut()
    }

    fn phase(&self) -> Phase {
        self.session.identity.core.env.phase()
    }

    /// Whether nobody has a word for this session that it has not seen: an order, or another phase
    /// than the one `seen`.
    fn is_up_to_date(&self, seen: Phase) -> bool {
        let identity = &self.session.identity;
        self.phase() == seen && !identity.core.live.has_order(identity.live)
    }

    /// Says that this thread may be cut in on from here on. `false` if it is not up to date: whoever
    /// had a word for it may not have seen us parked, so we must look at it first.
    fn announce_parked(&self, seen: Phase) -> bool {
        let parked = self.handle.park() && self.is_up_to_date(seen);
        if !parked {
            self.handle.unpark();
        }
        parked
    }

    /// Blocks in a read, until bytes come, the time-out passes or a drain cuts in.
    fn park(&mut self, seen: Phase, scratch: &mut Scratch) -> (Ready, Option<io::Result<usize>>) {
        if !self.announce_parked(seen) {
            return (Ready::NONE, None);
        }
        let result = self.session.stream().recv_blocking(&mut scratch.input);
        self.handle.unpark();
        let cut = self.note_cut();
        match result {
            Ok(0) if cut => (Ready::NONE, None),
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                // It was too short, or the deadline is due: set it anew before the next read.
                self.read_timeout = Some(Duration::MAX);
                (Ready::NONE, None)
            }
            // However often that happens, the deadline stays what it is.
            Err(e) if e.kind() == io::ErrorKind::Interrupted => (Ready::NONE, None),
            result => (Ready::READ, Some(result)),
        }
    }

    /// Whether the socket was shut down by us. Reads do not take that for the peer's end then.
    fn note_cut(&mut self) -> bool {
        let cut = self.handle.is_cut();
        if let Some(stream) = self.session.stream.as_mut().filter(|_| cut) {
            stream.ignore_end();
        }
        cut
    }

    /// Sees to it that a read that begins `now` ends soon after the deadline. Ending too early does no
    /// harm, so a shorter time-out is left as it is until it has passed. One that is too long would stay:
    /// while the peer is heard, the deadline is not looked at again.
    #[inline(never)]
    fn limit_read(&mut self, deadline: Option<Instant>, now: Instant) {
        let needed = deadline.map(|deadline| deadline.saturating_duration_since(now) + SLACK);
        let suffices = match (self.read_timeout, needed) {
            (Some(set), Some(needed)) => set <= needed + SLACK,
            (None, None) => true,
            _ => false,
        };
        if !suffices && self.session.stream().set_read_timeout(needed).is_ok() {
            self.read_timeout = needed;
        }
    }

    /// Waits for what is wanted, the bell or the deadline. Not inlined, as `pump` has it.
    #[inline(never)]
    fn wait(&mut self, seen: Phase, wants: &Wants) -> Ready {
        self.handle.prepare_bell();
        if self.handle.bell().is_none() {
            // The system has no descriptor for a bell. A drain can cut in instead, but nobody
            // could keep the promise that was made to senders.
            if self.session.conn.outbox().is_some() {
                return self.fail(io::Error::other("no descriptor for the bell of a sender"));
            }
            if self.handle.is_cut() {
                return self.fail(io::Error::other("no descriptor for the bell of a drain"));
            }
            if !self.announce_parked(seen) {
                return Ready::NONE;
            }
        } else if !self.bell_is_in_time(seen) {
            return Ready::NONE;
        }
        let woken = self.watch(wants);
        self.handle.unpark();
        self.note_cut();
        match woken {
            Ok(true) => Ready::BOTH,
            Ok(false) => Ready::NONE,
            Err(error) => self.fail(error),
        }
    }

    /// Looks at the socket without waiting: a session that goes on and on by itself must hear its
    /// peer all the same.
    #[inline(never)]
    fn glance(&mut self, wants: &Wants, now: Instant) -> Ready {
        if !wants.read && !wants.write {
            return Ready::NONE;
        }
        match self.watch(&Wants { deadline: Some(now), ..*wants }) {
            Ok(true) => Ready::BOTH,
            Ok(false) => Ready::NONE,
            Err(error) => self.fail(error),
        }
    }

    /// Whether this thread is up to date. If not, the word for it may have come before there was a
    /// bell to ring, so we must look at it first.
    fn bell_is_in_time(&self, seen: Phase) -> bool {
        // Between the making of the bell and the look; who has a word has it the other way round.
        fence(Ordering::SeqCst);
        self.is_up_to_date(seen)
    }

    /// Watches the socket, if anything is wanted of it, and the bell, with poll(2).
    fn watch(&mut self, wants: &Wants) -> io::Result<bool> {
        // A socket that was cut is readable for ever.
        let cut = self.note_cut();
        if cut && wants.read && self.edges.is_none() {
            self.edges = EdgeWatch::new(self.session.stream().socket())?;
        }
        let bell = self.handle.bell();
        if let (Some(edges), Some(bell)) = (self.edges.as_ref().filter(|_| wants.read), bell) {
            let socket = self.session.stream().socket();
            return edges.wait(socket, wants.write, bell, wants.deadline);
        }
        let interest = Interest { read: wants.read && !cut, write: wants.write };
        if interest == Interest::default() {
            return wait_any(&[], bell, wants.deadline);
        }
        wait_any(&[(self.session.stream().socket(), interest)], bell, wants.deadline)
    }

    #[inline(never)]
    fn fail(&mut self, error: io::Error) -> Ready {
        self.session.conn.fail(CloseReason::Io(error));
        Ready::NONE
    }
}

#[cfg(test)]
mod tests {
    use crate::handler::{Action, BoxError, Context, Handler};
    use crate::{Input, Server, ThreadPerConnection};
    use std::io::Read;
    use std::time::Duration;

    /// Asks for the bell only after it was rung.
    struct Stops;

    impl Handler for Stops {
        fn on_open(&mut self, cx: &mut Context<'_>) -> Result<Action, BoxError> {
            cx.control().stop();
            cx.sender();
            Ok(Action::Continue)
        }

        fn on_data(&mut self, _: &mut Input<'_>, _: &mut Context<'_>) -> Result<Action, BoxError> {
            Ok(Action::Continue)
        }
    }

    #[test]
    fn a_stop_reaches_the_thread_that_called_for_it() {
        let server = Server::builder().backend(ThreadPerConnection::new());
        let handle = server.bind("127.0.0.1:0").unwrap().spawn(|_peer| Stops).unwrap();
        let addr = handle.local_addrs()[0].as_tcp().unwrap();
        let mut client = std::net::TcpStream::connect(addr).unwrap();
        client.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let end = client.read(&mut [0]);
        assert!(!matches!(&end, Err(e) if e.kind() == std::io::ErrorKind::WouldBlock), "no end");
        let report = handle.drain(Duration::ZERO, Duration::from_secs(10));
        assert_eq!((report.killed, report.stuck), (1, 0));
    }
}
