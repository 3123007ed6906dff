//! What stands in for the server around a scripted connection.

use super::clock::Clock;
use super::wire::Wire;
use crate::connection::{Connection, Env, Limits, Phase, Tally, Tick, Timeouts};
use crate::handler::{
    CloseKind, CloseReason, ConnectionId, ConnectionInfo, ConnectionState, Control, ControlTarget,
    Facts, Handler, Note, Peer, Wake,
};
use crate::net::Addr;
use crate::observe::{Batch, Closed, Counters, Observer, Snapshot, tell};
use crate::session::{Host, Order};
use std::cell::RefCell;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

pub(super) type Factory = Box<dyn FnOnce(&Peer) -> Box<dyn Handler>>;

/// Addresses that belong to nobody (RFC 5737: for documentation).
const PEER: (Ipv4Addr, u16) = (Ipv4Addr::new(192, 0, 2, 1), 49152);
const LOCAL: (Ipv4Addr, u16) = (Ipv4Addr::new(192, 0, 2, 2), 7);

/// What other threads can reach: the bell, the phase and the outcome.
pub(super) struct Shared {
    pub(super) env: Env,
    pub(super) tally: Tally,
    observer: Option<Arc<dyn Observer>>,
    began: Instant,
    clock: Clock,
    bell: AtomicBool,
    n_wakes: AtomicUsize,
    order: Mutex<Option<Order>>,
    outcome: Mutex<Option<Outcome>>,
}

/// How a connection ended.
#[derive(Debug, Clone)]
pub(super) struct Outcome {
    pub(super) kind: CloseKind,
    pub(super) text: String,
}

impl Shared {
    pub(super) fn new(
        limits: Limits,
        timeouts: Timeouts,
        clock: Clock,
        observer: Option<Arc<dyn Observer>>,
    ) -> Self {
        let began = clock.now();
        let env = Env::new(limits, timeouts, began);
        let tally = Tally::default();
        tally.restart(env.tick(began));
        Self {
            env: match &observer {
                Some(observer) => env.observed(observer.wants_batches()),
                None => env,
            },
            tally,
            observer,
            began,
            clock,
            bell: AtomicBool::new(false),
            n_wakes: AtomicUsize::new(0),
            order: Mutex::default(),
            outcome: Mutex::new(None),
        }
    }

    pub(super) fn observer(&self) -> Option<Arc<dyn Observer>> {
        self.observer.clone()
    }

    /// Tells the observer, if there is one.
    fn observe(&self, tell: impl FnOnce(&dyn Observer)) {
        if let Some(observer) = &self.observer {
            tell(&**observer);
        }
    }

    /// Whether somebody rang since the last call.
    pub(super) fn take_bell(&self) -> bool {
        self.bell.swap(false, Ordering::AcqRel)
    }

    pub(super) fn is_rung(&self) -> bool {
        self.bell.load(Ordering::Acquire)
    }

    pub(super) fn n_wakes(&self) -> usize {
        self.n_wakes.load(Ordering::Acquire)
    }

    pub(super) fn outcome(&self) -> Option<Outcome> {
        self.lock().clone()
    }

    /// Orders the connection to do something, and has it look.
    pub(super) fn give(&self, order: Order) {
        *self.order.lock().unwrap_or_else(PoisonError::into_inner) = Some(order);
        self.bell.store(true, Ordering::Release);
    }

    /// Enters a phase of the server's end, and has the connection look.
    pub(super) fn enter(&self, phase: Phase) {
        self.env.set_phase(phase);
        self.bell.store(true, Ordering::Release);
    }

    fn lock(&self) -> MutexGuard<'_, Option<Outcome>> {
        // It is only replaced or copied under the lock.
        self.outcome.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Wake for Shared {
    fn wake(&self, _key: u64) {
        self.n_wakes.fetch_add(1, Ordering::AcqRel);
        self.bell.store(true, Ordering::Release);
    }
}

impl ControlTarget for Shared {
    fn begin_drain(&self, _grace: Duration, _deadline: Duration) {
        self.enter(Phase::Draining);
    }

    fn stop(&self) {
        self.enter(Phase::Stopped);
    }

    fn is_draining(&self) -> bool {
        self.env.phase() > Phase::Running
    }

    fn set_accepting(&self, _accepting: bool) {}

    fn max_connections(&self) -> usize {
        1
    }

    fn set_max_connections(&self, _max: usize) -> usize {
        1
    }

    fn close(&self, id: ConnectionId) -> bool {
        let is_here = id == ConnectionId(1) && self.outcome().is_none();
        if is_here {
            self.give(Order::Close);
        }
        is_here
    }

    fn stats(&self) -> Snapshot {
        let outcome = self.outcome();
        let open = u64::from(outcome.is_none());
        let mut counters = Counters { accepted: 1, open, ..Counters::default() };
        if let Some(outcome) = &outcome {
            counters.closed[outcome.kind as usize] = 1;
        }
        counters.add(self.tally.received(), self.tally.sent(), self.tally.requests());
        counters.snapshot(usize::from(outcome.is_none())).with_held(self.env.held.total())
    }

    fn connections(&self) -> Vec<ConnectionInfo> {
        let now = self.clock.now();
        let standing = self.tally.standing();
        let info = ConnectionInfo {
            id: ConnectionId(1),
            peer: default_peer().addr().clone(),
            local: SocketAddr::from(LOCAL).into(),
            age: now.saturating_duration_since(self.began),
            idle: (!standing.busy).then(|| self.env.since(standing.idle_since, now)),
            received: self.tally.received(),
            sent: self.tally.sent(),
            requests: self.tally.requests(),
            output_held: standing.output_held,
            state: standing.state,
        };
        let is_over = standing.state == ConnectionState::Lingering && self.outcome().is_some();
        Vec::from_iter((!is_over).then_some(info))
    }
}

pub(super) fn default_peer() -> Peer {
    Peer::new(SocketAddr::from(PEER))
}

/// The server as one turn of the connection sees it.
pub(super) struct ScriptHost<'a> {
    pub(super) shared: &'a Arc<Shared>,
    pub(super) clock: &'a Clock,
    pub(super) peer: &'a Peer,
    pub(super) factory: &'a RefCell<Option<Factory>>,
    pub(super) wire: &'a Wire,
    pub(super) may_block: bool,
}

impl Facts for ScriptHost<'_> {
    fn id(&self) -> ConnectionId {
        ConnectionId(1)
    }

    fn peer(&self) -> &Peer {
        self.peer
    }

    fn local_addr(&self) -> io::Result<Addr> {
        Ok(SocketAddr::from(LOCAL).into())
    }

    fn may_block(&self) -> bool {
        self.may_block
    }

    fn control(&self) -> Control {
        Control(Arc::clone(self.shared) as _)
    }

    fn set_counted(&self, _counted: bool) {}

    fn wake_target(&self) -> Option<(Arc<dyn Wake>, u64)> {
        Some((Arc::clone(self.shared) as _, 0))
    }

    fn is_draining(&self) -> bool {
        self.shared.is_draining()
    }

    fn clock(&self) -> Instant {
        self.clock.now()
    }

    fn note(&self, note: Note<'_>) {
        self.shared.observe(|o| tell(o, ConnectionId(1), self.peer, note));
    }
}

impl Host for ScriptHost<'_> {
    fn env(&self) -> &Env {
        &self.shared.env
    }

    fn make_handler(&self) -> Box<dyn Handler> {
        let factory = self.factory.borrow_mut().take();
        let handler = factory.expect("a handler is made once for each connection")(self.peer);
        self.shared.observe(|o| o.opened(ConnectionId(1), self.peer));
        handler
    }

    fn batch(&self, requests: u64, received: u64, sent: u64) {
        let (id, peer) = (ConnectionId(1), self.peer);
        self.shared.observe(|o| o.batch(&Batch { id, peer, requests, received, sent }));
    }

    fn order(&self) -> Option<Order> {
        self.shared.order.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn note_idle(&self, _since: Option<Tick>) -> bool {
        false
    }

    fn evict_another(&self, _now: Instant) {}

    // There is no other that could give anything back.
    fn starve(&self) {}

    fn relieve(&self) {}

    fn ended(&self, _conn: &Connection, _reason: &CloseReason) {}

    fn closed(&self, conn: &Connection, reason: &CloseReason) {
        assert!(!self.wire.fin(), "the stream was ended before `on_close`");
        let outcome = Outcome { kind: reason.kind(), text: reason.to_string() };
        let before = self.shared.lock().replace(outcome);
        assert!(before.is_none(), "a connection ended twice: {before:?}, then {reason}");
        if conn.ends_throttled() {
            self.note(Note::Throttled(false, conn.output_held()));
        }
        let Shared { tally, began, .. } = &**self.shared;
        let closed = Closed {
            id: ConnectionId(1),
            peer: self.peer,
            reason,
            received: tally.received(),
            sent: tally.sent(),
            requests: tally.requests(),
            age: self.clock.now().saturating_duration_since(*began),
        };
        self.shared.observe(|o| o.closed(&closed));
    }
}
