//! A connection with its socket: all that a backend ever holds.

mod blocking;
mod chunked;
mod core;
mod crowd;
mod live;
mod orders;
mod pump;
mod routes;
mod scratch;
mod steps;
mod tallies;

pub(crate) use self::core::{AcceptorReach, Core, LayerFactory};
#[cfg(feature = "testing")]
pub(crate) use pump::Transport;
pub(crate) use pump::{Host, Pump};
pub use scratch::Scratch;
pub(crate) use steps::DrainStep;

use crate::connection::{Connection, Env, Ready, Tally, Tick, Turn, panic_message};
use crate::handler::{
    Callback, CloseReason, ConnectionId, Control, Facts, Handler, Note, Peer, Wake,
};
use crate::net::{Addr, Stream, TakenStream, UnixName};
use crate::observe::{Batch, Closed, Observer, Refusal, tell};
use live::LiveKey;
pub(crate) use orders::Order;
use routes::Reach;
use std::borrow::Cow;
use std::cell::OnceCell;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Instant;

/// One accepted connection: its socket, its handler, and what is on the way between the two.
///
/// A backend decides which thread runs it, and when, in one of two styles:
///
/// - **Blocking**: [`run`](Self::run) serves the connection on the calling thread until it ends.
/// - **Readiness**: [`attach`](Self::attach) once, then [`turn`](Self::turn) at first with
///   [`Ready::NONE`], and from then on whenever something that the last turn wanted has come. The
///   descriptor to watch is exposed by `AsFd` (`AsSocket` on Windows). After [`Turn::Closed`], stop
///   watching the descriptor and drop the session.
///
/// Dropping a session that has not ended closes it, with
/// [`CloseReason::Backend`]; `on_close` is called, and its place under the limit of connections is
/// given back. All callbacks run within `run`, `turn` and drop.
pub struct Session {
    conn: Connection,
    /// `None` only while the session is dropped.
    stream: Option<Stream>,
    identity: Identity,
}

/// Which connection it is, and whose.
struct Identity {
    live: LiveKey,
    /// Kept where the address alone, which is in the table, does not make it; or once it was lent.
    peer: OnceCell<Box<Peer>>,
    core: Arc<Core>,
    refused: bool,
}

/// How many reads a connection that is refused is worth: a first request and more, or 64 KiB.
const MAX_READS_WHEN_REFUSED: usize = 16;

impl Session {
    /// A connection that `local` has just accepted, in a place that was reserved for it.
    pub(crate) fn new(
        core: &Arc<Core>,
        stream: Stream,
        peer: Peer,
        local: &Addr,
        now: Instant,
    ) -> Self {
        let live = core.live.insert(peer.addr(), local, now, &core.env);
        let peer = if is_plain(&peer) { OnceCell::new() } else { Box::new(peer).into() };
        let identity = Identity { live, peer, core: Arc::clone(core), refused: false };
        let conn = Connection::new(core.env.tick(now));
        Self { conn, stream: Some(stream), identity }
    }

    /// Tells that it was accepted, and makes its layer: a user's code, and so under no lock.
    pub(crate) fn admit(&mut self) {
        self.tell_accepted();
        let core = &self.identity.core;
        let Some(make) = &core.layers else { return };
        let _here = core.enter();
        match catch_unwind(AssertUnwindSafe(make)) {
            Ok(layer) => self.conn.set_layer(layer),
            Err(payload) => {
                let message = panic_message(payload);
                self.identity.note(Note::Panicked(Callback::Layer, &message));
                self.conn.begin_close(CloseReason::Panic(message));
            }
        }
    }

    pub(crate) fn tell_accepted(&self) {
        let identity = &self.identity;
        identity.core.observe(|o| o.accepted(identity.id(), &identity.peer()));
    }

    /// The number of the connection.
    pub fn id(&self) -> ConnectionId {
        self.identity.id()
    }

    /// Who is at the other end.
    pub fn peer(&self) -> &Peer {
        self.identity.peer.get_or_init(|| Box::new(self.identity.plain_peer()))
    }

    /// The address at the other end, for which nothing has to be kept.
    pub(crate) fn peer_addr(&self) -> Cow<'_, Addr> {
        match self.identity.peer() {
            Cow::Borrowed(peer) => Cow::Borrowed(peer.addr()),
            Cow::Owned(peer) => Cow::Owned(peer.addr().clone()),
        }
    }

    /// Whether it came over TCP.
    pub(crate) fn is_tcp(&self) -> bool {
        self.identity.peer.get().is_none_or(|peer| peer.addr().as_tcp().is_some())
    }

    /// Serves the connection on this thread until it has ended. The thread blocks while there is
    /// nothing to do; a drain, a stop and senders wake it.
    pub fn run(self, scratch: &mut Scratch) {
        blocking::run(self, scratch);
    }

    /// Says how to have this session's [`turn`](Self::turn) called from other threads. To be
    /// called before the first turn; a later call moves the session to another `wake` or key.
    pub fn attach(&mut self, wake: Arc<dyn Wake>, key: u64) {
        if let Some(outbox) = self.conn.outbox() {
            outbox.set_target(Some((Arc::clone(&wake), key)));
        }
        self.identity.core.live.set_reach(self.identity.live, Reach::Wake(wake, key));
    }

    /// Does what there is to do, and tells what to wait for next. It never blocks, except in a
    /// handler that does. A turn that comes late, for no reason or with the wrong `ready` does no
    /// harm. `now` must not go back.
    pub fn turn(&mut self, ready: Ready, now: Instant, scratch: &mut Scratch) -> Turn {
        self.turn_with(ready, None, now, false, scratch)
    }

    /// As [`turn`](Self::turn), for whoever keeps a wake-up that is set until it fires, instead of
    /// moving it along with the deadline: while there `is_set` one, an answer without a deadline
    /// means that it comes early enough.
    pub(crate) fn turn_lazily(
        &mut self,
        ready: Ready,
        now: Instant,
        is_set: bool,
        scratch: &mut Scratch,
    ) -> Turn {
        self.turn_with(ready, None, now, is_set, scratch)
    }

    fn turn_with(
        &mut self,
        ready: Ready,
        received: Option<io::Result<usize>>,
        now: Instant,
        wake_is_set: bool,
        scratch: &mut Scratch,
    ) -> Turn {
        let Some(stream) = &self.stream else { return Turn::Closed };
        let host = SessionHost::new(&self.identity, stream, scratch.may_block);
        let tally = self.identity.tally();
        let _here = self.identity.core.enter();
        let mut pump = Pump::new(&mut self.conn, tally, stream, &host, now, scratch);
        pump.wake_is_set = wake_is_set;
        let turn = pump.turn(ready, received);
        scratch.trim();
        turn
    }

    /// Closes a connection that nobody will run, and counts it as refused.
    pub(crate) fn refuse(mut self, why: Refusal<'_>) {
        self.identity.refused = true;
        self.identity.core.live.count_refused();
        let core = &self.identity.core;
        core.observe(|o| o.refused(&self.identity.peer(), &why));
        let farewell = &core.env.limits.farewell;
        if why.is_by_limit() && !farewell.is_empty() {
            // As much as fits at once: nobody waits for a peer that is refused.
            let _ = self.stream().send(farewell);
        }
        // What the peer has sent already would turn the close into a reset.
        let mut unread = [0; 4096];
        for _ in 0..MAX_READS_WHEN_REFUSED {
            match self.stream().recv(&mut unread) {
                Ok(n) if n == unread.len() => (),
                _ => break,
            }
        }
        let _ = self.stream().shutdown(std::net::Shutdown::Write);
    }

    pub(crate) fn stream(&self) -> &Stream {
        self.stream.as_ref().expect("a session has its socket until it is dropped")
    }

    /// Hands the socket of a connection that has given back its place to whoever asked for it.
    fn hand_over(&mut self, stream: Stream, (id, peer): (ConnectionId, Peer)) {
        let Some(receiver) = self.conn.taker() else { return drop(stream) };
        let (unread, unsent) = self.conn.take_bytes();
        if let Ok(socket) = stream.into_socket() {
            let taken = TakenStream::new(socket, unread, unsent);
            if let Err(payload) = catch_unwind(AssertUnwindSafe(|| receiver(taken))) {
                let message = panic_message(payload);
                let note = Note::Panicked(Callback::IntoStream, &message);
                self.identity.core.observe(|o| tell(o, id, &peer, note));
            }
        }
    }

    /// The backend lets go of a connection that has not ended.
    fn abandon(&mut self) {
        self.conn.fail(CloseReason::Backend);
        let reason = self.conn.take_reason();
        self.identity.count_closed(&self.conn, &reason);
        let identity = &self.identity;
        self.conn.release_handler(&reason, &|note: Note<'_>| identity.note(note));
        self.identity.tell_closed(&self.conn, &reason);
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let core = Arc::clone(&self.identity.core);
        let _here = core.enter();
        if !self.conn.was_released() {
            self.abandon();
        }
        self.conn.leave_held(&core.env);
        if core.env.held.has_fallen() {
            core.relieve();
        }
        let live = self.identity.live;
        let taken = self.conn.is_taken();
        let stream = self.stream.take();
        core.live.set_reach(live, Reach::Nobody);
        if !taken {
            // The descriptor is free before its place is.
            drop(stream);
            let (wanted, last) = core.live.release(live);
            return core.place_free(wanted, last);
        }
        // Another may be in its place from then on.
        let who = (self.identity.id(), self.identity.peer().into_owned());
        let (wanted, last) = core.live.release(live);
        if let Some(stream) = stream {
            self.hand_over(stream, who);
        }
        core.place_free(wanted, last);
    }
}

#[cfg(unix)]
impl std::os::fd::AsFd for Session {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.stream().socket().as_fd()
    }
}

#[cfg(windows)]
impl std::os::windows::io::AsSocket for Session {
    fn as_socket(&self) -> std::os::windows::io::BorrowedSocket<'_> {
        self.stream().socket().as_socket()
    }
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session")
            .field("id", &self.id())
            .field("peer", self.peer())
            .field("received", &self.identity.tally().received())
            .field("sent", &self.identity.tally().sent())
            .finish_non_exhaustive()
    }
}

/// Whether a peer is its TCP address, and nothing more.
fn is_plain(peer: &Peer) -> bool {
    peer.addr().as_tcp().is_some() && peer.credentials().is_none()
}

impl Identity {
    fn id(&self) -> ConnectionId {
        self.core.live.id(self.live)
    }

    fn peer(&self) -> Cow<'_, Peer> {
        match self.peer.get() {
            Some(peer) => Cow::Borrowed(peer),
            None => Cow::Owned(self.plain_peer()),
        }
    }

    /// A peer that is not kept, made of its address.
    fn plain_peer(&self) -> Peer {
        let addr = self.core.live.tcp_addr(self.live);
        Peer::new(addr.map_or(Addr::Unix(UnixName::Unnamed), Addr::Tcp))
    }

    fn tally(&self) -> &Tally {
        self.core.live.tally(self.live)
    }

    /// Tells the observer something about this connection.
    #[cold]
    fn note(&self, note: Note<'_>) {
        self.core.observe(|o| tell(o, self.id(), &self.peer(), note));
    }

    /// Counts a connection that has ended, before anybody is told.
    fn count_closed(&self, conn: &Connection, reason: &CloseReason) {
        if !self.refused {
            self.core.live.count_closed(self.live, reason.kind(), conn.finished_in_drain());
        }
    }

    /// The handler is gone: tells the observer.
    fn tell_closed(&self, conn: &Connection, reason: &CloseReason) {
        let core = &self.core;
        if core.is_observed() && !self.refused {
            let age = core.live.age(self.live);
            let tally = self.tally();
            if conn.ends_throttled() {
                self.note(Note::Throttled(false, conn.output_held()));
            }
            let closed = Closed {
                id: self.id(),
                peer: &self.peer(),
                reason,
                received: tally.received(),
                sent: tally.sent(),
                requests: tally.requests(),
                age,
            };
            core.observe(|o| o.closed(&closed));
        }
    }
}

/// A session as its connection sees it.
struct SessionHost<'a> {
    identity: &'a Identity,
    stream: &'a Stream,
    may_block: bool,
    /// Made when it is asked for, and not kept beyond the turn.
    peer: OnceCell<Peer>,
}

impl<'a> SessionHost<'a> {
    fn new(identity: &'a Identity, stream: &'a Stream, may_block: bool) -> Self {
        Self { identity, stream, may_block, peer: OnceCell::new() }
    }
}

impl Facts for SessionHost<'_> {
    fn note(&self, note: Note<'_>) {
        self.identity.note(note);
    }

    fn id(&self) -> ConnectionId {
        self.identity.id()
    }

    fn peer(&self) -> &Peer {
        match self.identity.peer.get() {
            Some(peer) => peer,
            None => self.peer.get_or_init(|| self.identity.plain_peer()),
        }
    }

    fn local_addr(&self) -> io::Result<Addr> {
        self.stream.local_addr()
    }

    fn may_block(&self) -> bool {
        self.may_block
    }

    fn control(&self) -> Control {
        Control(Arc::clone(&self.identity.core) as _)
    }

    fn is_draining(&self) -> bool {
        self.identity.core.shutdown.has_begun()
    }

    fn clock(&self) -> Instant {
        Instant::now()
    }

    fn set_counted(&self, counted: bool) {
        let core = &self.identity.core;
        if core.live.set_counted(self.identity.live, counted) {
            core.wake_acceptor();
        }
    }

    fn wake_target(&self) -> Option<(Arc<dyn Wake>, u64)> {
        match self.identity.core.live.reach(self.identity.live) {
            Reach::Wake(wake, key) => Some((wake, key)),
            Reach::Thread(handle) => {
                handle.prepare_bell();
                Some((handle, 0))
            }
            Reach::Nobody => None,
        }
    }
}

impl Host for SessionHost<'_> {
    fn env(&self) -> &Env {
        &self.identity.core.env
    }

    fn make_handler(&self) -> Box<dyn Handler> {
        let handler = self.identity.core.make_handler(self.peer());
        self.identity.core.observe(|o| o.opened(self.id(), self.peer()));
        handler
    }

    fn order(&self) -> Option<Order> {
        self.identity.core.live.take_order(self.identity.live)
    }

    fn note_idle(&self, since: Option<Tick>) -> bool {
        self.identity.core.live.note_idle(self.identity.live, since)
    }

    fn evict_another(&self, now: Instant) {
        self.identity.core.evict_oldest(now);
    }

    fn starve(&self) {
        let Identity { core, live, .. } = self.identity;
        if let Reach::Thread(handle) = core.live.reach(*live) {
            // There must be something to ring from here on.
            handle.prepare_bell();
        }
        core.live.note_starved(*live);
    }

    fn relieve(&self) {
        self.identity.core.relieve();
    }

    fn batch(&self, requests: u64, received: u64, sent: u64) {
        let tell = |o: &dyn Observer| {
            o.batch(&Batch { id: self.id(), peer: self.peer(), requests, received, sent });
        };
        self.identity.core.observe(tell);
    }

    fn ended(&self, conn: &Connection, reason: &CloseReason) {
        self.identity.count_closed(conn, reason);
    }

    fn closed(&self, conn: &Connection, reason: &CloseReason) {
        self.identity.tell_closed(conn, reason);
    }
}

#[cfg(all(test, target_pointer_width = "64"))]
mod tests {
    use super::*;

    /// There is one of each for every idle connection.
    #[test]
    fn an_idle_session_is_small() {
        let parts = [size_of::<Connection>(), size_of::<Stream>(), size_of::<Identity>()];
        assert_eq!((parts, size_of::<Session>()), ([32, 16, 24], 72));
    }
}
