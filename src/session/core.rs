//! What all sessions of a server share.

use super::live::Live;
use super::routes::Reach;
use super::steps::{DrainStep, Steps};
use crate::connection::{Env, Limits, Phase, Timeouts, drop_payload};
use crate::handler::{ConnectionId, ConnectionInfo, ControlTarget, Handler, Peer, Wake};
use crate::layer::Layer;
use crate::net::WakeFd;
use crate::observe::{Observer, Snapshot, wants_batches};
use crate::shutdown::{DrainReport, Shutdown};
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

pub(crate) type Factory = Box<dyn Fn(&Peer) -> Box<dyn Handler> + Send + Sync>;
pub(crate) type LayerFactory = Box<dyn Fn() -> Box<dyn Layer> + Send + Sync>;

/// The server behind its acceptor, its sessions and its handles.
pub(crate) struct Core {
    pub(crate) env: Env,
    pub(crate) live: Live,
    pub(crate) shutdown: Shutdown,
    observer: Option<Arc<dyn Observer>>,
    steps: Steps,
    pub(crate) layers: Option<LayerFactory>,
    /// From the start of the server to its end: what it captured is not kept by a `Control`.
    factory: Mutex<Option<Arc<Factory>>>,
    accepting: AtomicBool,
    max_connections: AtomicUsize,
    /// What that may be raised to: what descriptors and the backend leave room for.
    ceiling: AtomicUsize,
    /// How to have the acceptor look again.
    acceptor: Mutex<AcceptorReach>,
    /// The counters as they were when the end began.
    at_drain: OnceLock<Snapshot>,
}

thread_local! {
    /// The server whose session has its turn on this thread, by address.
    static HERE: Cell<usize> = const { Cell::new(0) };
}

/// While it lives, the thread counts as one of the server's own.
pub(crate) struct Here(usize);

impl Drop for Here {
    fn drop(&mut self) {
        HERE.set(self.0);
    }
}

/// Who waits on behalf of the acceptor.
#[derive(Clone, Default)]
pub(crate) enum AcceptorReach {
    #[default]
    Nobody,
    Wake(Arc<dyn Wake>, u64),
    Bell(Arc<WakeFd>),
}

impl Core {
    pub(crate) fn new(
        limits: Limits,
        timeouts: Timeouts,
        observer: Option<Arc<dyn Observer>>,
        layers: Option<LayerFactory>,
    ) -> Self {
        let env = Env::new(limits, timeouts, Instant::now());
        Self {
            env: match &observer {
                Some(observer) => env.observed(wants_batches(&**observer)),
                None => env,
            },
            live: Live::default(),
            shutdown: Shutdown::default(),
            observer,
            steps: Steps::default(),
            layers,
            factory: Mutex::default(),
            accepting: AtomicBool::new(true),
            max_connections: AtomicUsize::new(usize::MAX),
            ceiling: AtomicUsize::new(usize::MAX),
            acceptor: Mutex::default(),
            at_drain: OnceLock::new(),
        }
    }

    /// Callbacks run on this thread from here on, until the guard is dropped.
    pub(crate) fn enter(&self) -> Here {
        Here(HERE.replace(std::ptr::from_ref(self).addr()))
    }

    /// Whether this thread is within a callback of this server.
    pub(crate) fn is_own_thread(&self) -> bool {
        HERE.get() == std::ptr::from_ref(self).addr()
    }

    /// The counters as they were when the end began, which is now if it has not begun.
    pub(crate) fn drain_baseline(&self) -> &Snapshot {
        self.at_drain.get_or_init(|| self.live.snapshot())
    }

    /// Says how handlers are made.
    pub(crate) fn set_factory(&self, factory: Factory) {
        *lock(&self.factory) = Some(Arc::new(factory));
    }

    /// No handler will be made any more.
    pub(crate) fn drop_factory(&self) {
        let factory = lock(&self.factory).take();
        // A user's code, and not under the lock.
        drop_payload(catch_unwind(AssertUnwindSafe(|| drop(factory))));
    }

    pub(crate) fn make_handler(&self, peer: &Peer) -> Box<dyn Handler> {
        let factory = lock(&self.factory).clone().expect("a server that runs has a factory");
        factory(peer)
    }

    /// Whether anybody is told anything.
    pub(crate) fn is_observed(&self) -> bool {
        self.observer.is_some()
    }

    /// Tells the observer. To be called under no lock: it may call whatever it likes. If it panics,
    /// nobody but the panic hook takes notice.
    pub(crate) fn observe(&self, tell: impl FnOnce(&dyn Observer)) {
        if let Some(observer) = &self.observer {
            let _here = self.enter();
            drop_payload(catch_unwind(AssertUnwindSafe(|| tell(&**observer))));
        }
    }

    /// A step of the end is taken: tells it, once, and behind those before it.
    pub(crate) fn take_step(&self, step: DrainStep) {
        if self.is_observed() {
            self.steps.take(step);
            self.steps.tell_all(|step| self.observe(|o| step.tell(o)));
        }
    }

    /// Says how many connections there may be, and how many more at most later on.
    pub(crate) fn limit_connections(&self, max: usize, ceiling: usize) {
        self.ceiling.fetch_min(ceiling, Ordering::Relaxed);
        self.max_connections.store(max, Ordering::Relaxed);
    }

    /// The backend can not run more connections than this.
    pub(crate) fn lower_ceiling(&self, ceiling: usize) {
        self.ceiling.fetch_min(ceiling, Ordering::Relaxed);
    }

    /// Has the connection that has been idle for longest make room for another.
    pub(crate) fn evict_oldest(&self, now: Instant) {
        reach_out(&self.live.evict_oldest(self.env.tick(now)));
    }

    /// All connections together hold less: those that were not read look again.
    pub(crate) fn relieve(&self) {
        for reach in self.live.take_starved() {
            match reach {
                Reach::Wake(wake, key) => wake.wake(key),
                Reach::Thread(handle) => handle.wake(0),
                Reach::Nobody => (),
            }
        }
    }

    pub(crate) fn is_accepting(&self) -> bool {
        self.accepting.load(Ordering::Relaxed)
    }

    pub(crate) fn set_acceptor_reach(&self, reach: AcceptorReach) {
        *lock(&self.acceptor) = reach;
    }

    /// Has the acceptor look again.
    pub(crate) fn wake_acceptor(&self) {
        let reach = lock(&self.acceptor).clone();
        match reach {
            AcceptorReach::Nobody => (),
            AcceptorReach::Wake(wake, key) => wake.wake(key),
            AcceptorReach::Bell(bell) => bell.ring(),
        }
    }

    /// Takes the steps of the shutdown that are due. Returns when the next is due, and whether
    /// nobody need wait any more.
    pub(crate) fn advance(&self, now: Instant) -> (Option<Instant>, bool) {
        let step = self.shutdown.advance(now);
        if let Some(phase) = step.enter {
            let n = self.live.count();
            self.take_step(match phase {
                Phase::Running | Phase::Draining => DrainStep::Told { live: n },
                Phase::Killing | Phase::Stopped => DrainStep::Deadline { left: n },
            });
            self.env.set_phase(phase);
            self.live.wake_all(reach_out);
            self.wake_acceptor();
        }
        if step.give_up {
            self.live.wake_all(|reach| {
                if let Reach::Thread(handle) = reach {
                    handle.sever();
                }
            });
        }
        (step.next, step.give_up)
    }

    /// A place was given back: whoever waits for one, or for the last, looks again.
    pub(crate) fn place_free(&self, wanted: bool, last: bool) {
        let draining = last && self.shutdown.began().is_some();
        if draining {
            self.shutdown.notify();
        }
        if wanted || draining {
            self.wake_acceptor();
        }
    }

    /// How the drain went so far.
    pub(crate) fn report(&self, now: Instant) -> DrainReport {
        use crate::handler::CloseKind;
        let before = self.drain_baseline();
        let after = self.live.snapshot();
        let since = |count: fn(&Snapshot) -> u64| count(&after) - count(before);
        let killed = since(|s| s.closed(CloseKind::Killed));
        let closed = since(|s| s.closed(CloseKind::Shutdown)) - since(Snapshot::finished);
        let began = self.shutdown.began().unwrap_or(now);
        DrainReport {
            finished: since(Snapshot::closed_total) - killed - closed,
            closed,
            killed,
            stuck: after.live(),
            took: now.saturating_duration_since(began),
            finished_all: after.live() == 0,
        }
    }
}

/// Has a session look at what was changed before, also if its thread blocks in a read.
fn reach_out(reach: &Reach) {
    match reach {
        Reach::Wake(wake, key) => wake.wake(*key),
        Reach::Nobody => (),
        Reach::Thread(handle) => handle.interrupt(),
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl ControlTarget for Core {
    fn begin_drain(&self, grace: Duration, deadline: Duration) {
        self.drain_baseline();
        self.take_step(DrainStep::Began { grace, deadline });
        self.shutdown.plan(Instant::now(), grace, deadline);
        self.wake_acceptor();
    }

    fn stop(&self) {
        self.drain_baseline();
        self.shutdown.plan_stop(Instant::now());
        self.advance(Instant::now());
        self.wake_acceptor();
    }

    fn is_draining(&self) -> bool {
        self.shutdown.has_begun()
    }

    fn set_accepting(&self, accepting: bool) {
        self.accepting.store(accepting, Ordering::Relaxed);
        self.wake_acceptor();
    }

    fn max_connections(&self) -> usize {
        self.max_connections.load(Ordering::Relaxed)
    }

    fn set_max_connections(&self, max: usize) -> usize {
        let granted = max.clamp(1, self.ceiling.load(Ordering::Relaxed).max(1));
        self.max_connections.store(granted, Ordering::Relaxed);
        self.wake_acceptor();
        granted
    }

    fn close(&self, id: ConnectionId) -> bool {
        let reach = self.live.order_close(id);
        reach.iter().for_each(reach_out);
        reach.is_some()
    }

    fn stats(&self) -> Snapshot {
        self.live.snapshot().with_held(self.env.held.total())
    }

    fn connections(&self) -> Vec<ConnectionInfo> {
        self.live.list(&self.env)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::handler::CloseKind;
    use crate::net::Addr;
    use std::net::{Ipv4Addr, SocketAddr};

    #[test]
    fn each_connection_counts_once_in_a_report() {
        let core = Core::new(Limits::default(), Timeouts::default(), None, None);
        core.begin_drain(Duration::ZERO, Duration::ZERO);
        let ends = [
            (CloseKind::Killed, true),
            (CloseKind::Shutdown, true),
            (CloseKind::Shutdown, false),
            (CloseKind::PeerClosed, true),
            (CloseKind::Closed, false),
            (CloseKind::Reset, true),
        ];
        for (kind, finishing) in ends {
            assert!(core.live.reserve(1));
            let peer = Addr::Tcp(SocketAddr::from((Ipv4Addr::LOCALHOST, 1)));
            let key = core.live.insert(&peer, &peer, Instant::now(), &core.env);
            core.live.count_closed(key, kind, finishing);
            core.live.release(key);
        }
        let report = core.report(Instant::now());
        assert_eq!((report.killed, report.closed, report.finished), (1, 1, 4));
    }
}
