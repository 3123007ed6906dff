//! Who works: one worker while turns are quick, all of them while turns are slow.
//!
//! While turns are **quick**, one worker leads: it waits for events, takes many at once, and serves
//! one after the other, as an event loop does. The others are parked, but for one that watches: it
//! looks each millisecond whether the leader has come further, and takes the lead if it has not.
//! What the leader had not come to yet is in a queue that all share, so the next leader goes on with
//! it. While turns are **slow**, nobody is parked: each worker waits for itself, and takes one event
//! at a time. What counts as slow is the time that turns take on average.

use crate::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::atomic::AtomicBool;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Above this average, a wake-up of another worker costs less than to wait for the one at work.
const SLOW: u64 = 25_000;
/// Below this average, in nanoseconds, one worker is enough.
const QUICK: u64 = 12_000;
/// The longest that one turn counts for, so that a thread that was held up by the machine once does
/// not pass for slow.
const CAP: u64 = 2_000_000;
/// The share of the newest turn in the average is one in this.
const TURNS: u64 = 128;

/// How often the leader is looked at.
const TICK: Duration = Duration::from_millis(1);
/// After so many looks at a leader that waits for events, nobody looks until it has worked again.
const QUIET_TICKS: u32 = 20;

pub(super) struct Pace {
    workers: usize,
    watch: Watch,
    /// The average time of a turn, in nanoseconds.
    mean: AtomicU64,
    slow: AtomicBool,
    ended: AtomicBool,
    parked: Mutex<Parked>,
    /// For those that are parked, and for the one that watches.
    bench: Condvar,
    alarm: Condvar,
    /// Somebody watches.
    watched: AtomicBool,
}

#[derive(Default)]
struct Parked {
    watcher: bool,
}

impl Pace {
    pub(super) fn new(workers: usize) -> Self {
        Self {
            workers,
            watch: Watch::new(),
            mean: AtomicU64::new(0),
            slow: AtomicBool::new(false),
            ended: AtomicBool::new(false),
            parked: Mutex::default(),
            bench: Condvar::new(),
            alarm: Condvar::new(),
            watched: AtomicBool::new(false),
        }
    }

    /// Returns when this worker is to work: at once if it leads, or if all do. If not, `hand_on` is
    /// called first: the bell may have rung for this worker, which will not look what for.
    pub(super) fn enter(&self, worker: usize, hand_on: impl Fn()) {
        while !self.may_work(worker) {
            hand_on();
            self.park(worker);
        }
        if self.watch.leads(worker) {
            self.begin_work(worker);
        }
    }

    fn may_work(&self, worker: usize) -> bool {
        self.watch.lead(worker) || self.is_slow() || self.ended.load(Ordering::SeqCst)
    }

    pub(super) fn is_slow(&self) -> bool {
        self.slow.load(Ordering::Relaxed)
    }

    /// Whether this worker goes on with what is left of its events: another may lead by now.
    pub(super) fn goes_on(&self, worker: usize) -> bool {
        self.is_slow() || self.watch.leads(worker)
    }

    /// Whether somebody takes the lead if the leader is held up. Whoever stops to watch looks first
    /// for what is left over.
    pub(super) fn is_watched(&self) -> bool {
        !self.is_slow() && self.watched.load(Ordering::SeqCst)
    }

    /// Whether a worker may take many events at once: somebody goes on with them if it is held up.
    pub(super) fn may_take_many(&self, worker: usize) -> bool {
        let is_safe = self.workers == 1 || self.is_watched();
        is_safe && self.watch.leads(worker)
    }

    /// This worker is about to wait for events.
    pub(super) fn begin_wait(&self, worker: usize) {
        self.watch.rest(worker);
    }

    /// This worker has waited. If it leads, somebody must see it if it is held up.
    pub(super) fn begin_work(&self, worker: usize) {
        if self.watch.work(worker) && self.watched.load(Ordering::SeqCst) {
            // Whoever watches is about to sleep, or sleeps: it holds the lock until it does.
            let _parked = self.lock();
            self.watch.watch();
            self.alarm.notify_one();
        }
    }

    /// A turn is over.
    pub(super) fn count_turn(&self, worker: usize, took: Duration) {
        self.watch.progress(worker);
        let took = u64::try_from(took.as_nanos()).unwrap_or(CAP).min(CAP);
        let before = self.mean.load(Ordering::Relaxed);
        let mean = (before * (TURNS - 1) + took) / TURNS;
        // One that is lost to another worker's is no harm.
        self.mean.store(mean, Ordering::Relaxed);
        if mean > SLOW && !self.is_slow() && self.workers > 1 {
            self.slow.store(true, Ordering::SeqCst);
            self.rouse_all();
        } else if mean < QUICK && self.is_slow() {
            self.slow.store(false, Ordering::SeqCst);
        }
    }

    /// Nobody is parked from here on.
    pub(super) fn end(&self) {
        self.ended.store(true, Ordering::SeqCst);
        self.rouse_all();
    }

    fn rouse_all(&self) {
        let _parked = self.lock();
        self.bench.notify_all();
        self.alarm.notify_all();
    }

    /// Waits until this worker may be wanted.
    fn park(&self, worker: usize) {
        let mut parked = self.lock();
        if self.may_work(worker) {
            return;
        }
        if parked.watcher {
            // Woken for no reason, it comes back.
            drop(self.bench.wait(parked).unwrap_or_else(PoisonError::into_inner));
            return;
        }
        parked.watcher = true;
        self.watched.store(true, Ordering::SeqCst);
        self.watch.watch();
        let mut parked = self.keep_watch(worker, parked);
        parked.watcher = false;
        self.watched.store(false, Ordering::SeqCst);
        self.bench.notify_one();
    }

    /// Watches the leader until this worker may work.
    fn keep_watch<'a>(
        &self,
        worker: usize,
        mut parked: MutexGuard<'a, Parked>,
    ) -> MutexGuard<'a, Parked> {
        let mut seen = self.watch.look();
        let mut quiet = 0;
        loop {
            if self.may_work(worker) {
                return parked;
            }
            if !self.watch.is_watched() {
                parked = self.alarm.wait(parked).unwrap_or_else(PoisonError::into_inner);
                (seen, quiet) = (self.watch.look(), 0);
                continue;
            }
            let until = Instant::now() + TICK;
            let waited = self.alarm.wait_timeout(parked, TICK);
            parked = waited.unwrap_or_else(PoisonError::into_inner).0;
            if Instant::now() < until {
                continue;
            }
            let now = self.watch.look();
            if now == seen && now.is_at_work() && self.watch.take_over(worker, now) {
                return parked;
            }
            quiet = if now == seen { quiet + 1 } else { 0 };
            if quiet > QUIET_TICKS {
                self.watch.look_away();
            }
            seen = now;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Parked> {
        self.parked.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Who leads, whether it works or waits for events, and whether that is looked at.
struct Watch {
    /// 0 if nobody leads yet; else twice the worker's number from 1, and 1 more while it works.
    leader: AtomicUsize,
    /// How many turns leaders have ended.
    turns: AtomicU64,
    watched: AtomicBool,
}

/// A leader as the one that watches saw it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Look {
    leader: usize,
    turns: u64,
}

impl Look {
    fn is_at_work(self) -> bool {
        self.leader & WORKS != 0
    }
}

const WORKS: usize = 1;

fn at_rest(worker: usize) -> usize {
    (worker + 1) << 1
}

impl Watch {
    fn new() -> Self {
        Self {
            leader: AtomicUsize::new(0),
            turns: AtomicU64::new(0),
            watched: AtomicBool::new(false),
        }
    }

    fn leads(&self, worker: usize) -> bool {
        self.leader.load(Ordering::SeqCst) & !WORKS == at_rest(worker)
    }

    /// Whether this worker leads, also because nobody did.
    fn lead(&self, worker: usize) -> bool {
        self.leads(worker) || self.change(0, at_rest(worker))
    }

    fn change(&self, from: usize, to: usize) -> bool {
        self.leader.compare_exchange(from, to, Ordering::SeqCst, Ordering::SeqCst).is_ok()
    }

    fn rest(&self, worker: usize) {
        self.change(at_rest(worker) | WORKS, at_rest(worker));
    }

    /// The worker is at work. `true` if it leads, and nobody looks: somebody must be told to. In
    /// one order with `look_away`.
    fn work(&self, worker: usize) -> bool {
        let led = self.change(at_rest(worker), at_rest(worker) | WORKS) || self.leads(worker);
        led && !self.is_watched()
    }

    fn progress(&self, worker: usize) {
        if self.leads(worker) {
            // One that has lost the lead just now may undo a step: that is seen as one, too.
            self.turns.store(self.turns.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
        }
    }

    fn look(&self) -> Look {
        let turns = self.turns.load(Ordering::Relaxed);
        Look { leader: self.leader.load(Ordering::SeqCst), turns }
    }

    /// Takes the lead from a leader that is held up.
    fn take_over(&self, worker: usize, from: Look) -> bool {
        self.change(from.leader, at_rest(worker) | WORKS)
    }

    fn watch(&self) {
        self.watched.store(true, Ordering::SeqCst);
    }

    fn is_watched(&self) -> bool {
        self.watched.load(Ordering::SeqCst)
    }

    /// Nobody looks from here on, unless the leader works.
    fn look_away(&self) {
        self.watched.store(false, Ordering::SeqCst);
        if self.look().is_at_work() {
            self.watch();
        }
    }
}
