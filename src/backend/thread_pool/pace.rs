//! Who works: one worker while turns are quick, all of them while turns are slow.
//!
//! While turns are **quick**, one worker leads: it waits for events, takes many at once, and serves
//! one after the other, as an event loop does. The others are parked, but for one that watches: it
//! looks each millisecond whether the leader has come further, and takes the lead if it has not.
//! What the leader had not come to yet is in a queue that all share, so the next leader goes on with
//! it. While turns are **slow**, nobody is parked: each worker waits for itself, and takes one event
//! at a time. What counts as slow is the time that turns take on average.

use super::lead::Lead;
use crate::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use crate::sync::{Condvar, Mutex, MutexGuard, PoisonError, wait_for};
use std::time::Duration;

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
const QUIET_TICKS: u32 = if cfg!(all(loom, test)) { 0 } else { 2 };

pub(super) struct Pace {
    workers: usize,
    lead: Lead,
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
            lead: Lead::new(),
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
        if self.lead.is_of(worker) {
            self.begin_work(worker);
        }
    }

    fn may_work(&self, worker: usize) -> bool {
        self.lead.is_of_or_free(worker) || self.is_slow() || self.ended.load(Ordering::SeqCst)
    }

    pub(super) fn is_slow(&self) -> bool {
        self.slow.load(Ordering::Relaxed)
    }

    /// Whether this worker goes on with what is left of its events: another may lead by now.
    pub(super) fn goes_on(&self, worker: usize) -> bool {
        self.is_slow() || self.lead.is_of(worker)
    }

    /// Whether this worker leads, and somebody takes the lead if it is held up. Whoever stops to
    /// watch looks first for what is left over.
    pub(super) fn is_covered(&self, worker: usize) -> bool {
        !self.is_slow() && self.lead.is_of(worker) && self.watched.load(Ordering::SeqCst)
    }

    /// Whether a worker may take many events at once: somebody goes on with them if it is held up.
    pub(super) fn may_take_many(&self, worker: usize) -> bool {
        self.workers == 1 || self.is_covered(worker)
    }

    /// This worker is about to wait for events.
    pub(super) fn begin_wait(&self, worker: usize) {
        self.lead.rest(worker);
    }

    /// This worker has waited. If it leads, somebody must see it if it is held up.
    pub(super) fn begin_work(&self, worker: usize) {
        if self.lead.work(worker) && self.watched.load(Ordering::SeqCst) {
            // Whoever watches is about to sleep, or sleeps: it holds the lock until it does.
            let _parked = self.lock();
            self.lead.look_at();
            self.alarm.notify_one();
        }
    }

    /// A turn is over.
    pub(super) fn count_turn(&self, worker: usize, took: Duration) {
        self.lead.progress(worker);
        let took = u64::try_from(took.as_nanos()).unwrap_or(CAP).min(CAP);
        let before = self.mean.load(Ordering::Relaxed);
        let mean = (before * (TURNS - 1) + took) / TURNS;
        // One that is lost to another worker's is no harm.
        self.mean.store(mean, Ordering::Relaxed);
        self.judge(mean);
    }

    fn judge(&self, mean: u64) {
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
        self.lead.look_at();
        let mut parked = self.keep_watch(worker, parked);
        parked.watcher = false;
        self.watched.store(false, Ordering::SeqCst);
        self.bench.notify_one();
    }

    /// Watches the leader until this worker may work.
    fn keep_watch<'a>(
        &'a self,
        worker: usize,
        mut parked: MutexGuard<'a, Parked>,
    ) -> MutexGuard<'a, Parked> {
        let (mut last, mut quiet) = (self.lead.look(), 0);
        while !self.may_work(worker) {
            if !self.lead.is_looked_at() {
                parked = self.alarm.wait(parked).unwrap_or_else(PoisonError::into_inner);
                (last, quiet) = (self.lead.look(), 0);
                continue;
            }
            let (guard, is_over) = wait_for(&self.alarm, &self.parked, parked, TICK);
            parked = guard;
            if !is_over {
                continue;
            }
            let now = self.lead.look();
            if now == last && now.is_at_work() && self.lead.take_over(worker, now) {
                break;
            }
            quiet = if now == last { quiet + 1 } else { 0 };
            if quiet > QUIET_TICKS {
                self.lead.look_away();
            }
            last = now;
        }
        parked
    }

    fn lock(&self) -> MutexGuard<'_, Parked> {
        self.parked.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(all(test, loom))]
mod model {
    use super::super::backlog::Backlog;
    use super::*;
    use loom::thread;
    use std::sync::Arc;

    /// A pool whose events are numbers, and whose poller is a list.
    struct Pool {
        pace: Pace,
        backlog: Backlog<u32>,
        poller: Mutex<Poller>,
        told: Condvar,
        /// How many turns have begun. Each is held up until all of them have.
        begun: Mutex<usize>,
        all_begun: Condvar,
        turns: usize,
    }

    #[derive(Default)]
    struct Poller {
        events: Vec<u32>,
        rung: bool,
        stopped: bool,
    }

    impl Pool {
        fn new(workers: usize, events: usize) -> Arc<Self> {
            Arc::new(Self {
                pace: Pace::new(workers),
                backlog: Backlog::with_capacity(0),
                poller: Mutex::default(),
                told: Condvar::new(),
                begun: Mutex::new(0),
                all_begun: Condvar::new(),
                turns: events,
            })
        }

        fn poller(&self) -> MutexGuard<'_, Poller> {
            self.poller.lock().unwrap()
        }

        /// One event comes, and one of those who wait is told.
        fn come(&self, event: u32) {
            self.poller().events.push(event);
            self.told.notify_one();
        }

        // From here on: what `Shared` and `Worker` do.

        fn rouse(&self) {
            if self.backlog.must_ring() {
                self.poller().rung = true;
                self.told.notify_one();
            }
        }

        fn stop(&self) {
            self.pace.end();
            self.poller().stopped = true;
            self.told.notify_all();
        }

        fn cover(&self, worker: usize) {
            if !self.pace.is_covered(worker) {
                self.rouse();
            }
        }

        fn next_leftover(&self, worker: usize) -> Option<u32> {
            self.backlog.pop().map(|left| self.take_left(left, worker))
        }

        fn take_left(&self, (event, is_more): (u32, bool), worker: usize) -> u32 {
            if is_more {
                self.cover(worker);
            }
            event
        }

        fn wait(&self, worker: usize) -> Option<u32> {
            let mut left = self.backlog.begin_wait();
            if left.is_none() {
                self.pace.begin_wait(worker);
                left = self.poll(worker);
                self.pace.begin_work(worker);
            }
            self.backlog.end_wait();
            left.map(|left| self.take_left(left, worker))
        }

        fn poll(&self, worker: usize) -> Option<(u32, bool)> {
            let many = self.pace.may_take_many(worker);
            let mut poller = self.poller();
            while poller.events.is_empty() && !poller.rung && !poller.stopped {
                poller = self.told.wait(poller).unwrap();
            }
            let n = poller.events.len().min(if many { usize::MAX } else { 1 });
            let taken: Vec<u32> = poller.events.drain(..n).collect();
            let rung = (many || n == 0) && std::mem::take(&mut poller.rung);
            drop(poller);
            if rung {
                self.backlog.heard();
            }
            self.leave_over(&taken)
        }

        fn leave_over(&self, events: &[u32]) -> Option<(u32, bool)> {
            let (first, others) = events.split_first()?;
            if !others.is_empty() {
                self.backlog.leave(others);
            }
            Some((*first, !others.is_empty()))
        }

        fn work(&self, worker: usize) {
            loop {
                self.pace.enter(worker, || self.rouse());
                if self.pace.ended.load(Ordering::SeqCst) {
                    return;
                }
                let mut next = self.wait(worker);
                while next.is_some() {
                    self.serve();
                    if !self.pace.goes_on(worker) {
                        break;
                    }
                    next = self.next_leftover(worker);
                }
            }
        }

        /// A turn that goes on until every other has begun. The last one ends it all.
        fn serve(&self) {
            let mut begun = self.begun.lock().unwrap();
            *begun += 1;
            if *begun == self.turns {
                self.stop();
                return self.all_begun.notify_all();
            }
            while *begun < self.turns {
                begun = self.all_begun.wait(begun).unwrap();
            }
        }
    }

    /// Plays with as many events as workers, on the first worker before it works, and on a thread
    /// beside them.
    fn check(preemptions: usize, workers: usize, before: fn(&Pool), beside: Option<fn(&Pool)>) {
        let mut model = loom::model::Builder::new();
        // Those with more preemptions are too many to wait for.
        model.preemption_bound = Some(preemptions);
        model.max_branches = 20_000;
        model.check(move || {
            let pool = Pool::new(workers, workers);
            let mut others: Vec<_> = (1..workers)
                .map(|worker| {
                    let pool = Arc::clone(&pool);
                    thread::spawn(move || pool.work(worker))
                })
                .collect();
            others.extend(beside.map(|beside| {
                let pool = Arc::clone(&pool);
                thread::spawn(move || beside(&pool))
            }));
            before(&pool);
            pool.work(0);
            others.into_iter().for_each(|other| other.join().unwrap());
        });
    }

    // In the following, as many handlers block as there are workers, until all do. So whatever is
    // not served while a worker is free ends in a deadlock.

    #[test]
    fn model_a_leader_that_is_held_up_holds_up_nothing() {
        check(2, 2, |pool| (1..=2).for_each(|event| pool.come(event)), None);
    }

    #[test]
    fn model_each_of_three_goes_on_with_what_the_others_left() {
        check(2, 3, |pool| (1..=3).for_each(|event| pool.come(event)), None);
    }

    #[test]
    fn model_whoever_watches_a_leader_that_waits_hears_when_it_works() {
        check(2, 2, |_| (), Some(|pool| (1..=2).for_each(|event| pool.come(event))));
    }

    #[test]
    fn model_nothing_is_left_when_turns_become_slow_and_quick_again() {
        let changes = |pool: &Pool| {
            pool.pace.judge(SLOW + 1);
            pool.come(2);
            pool.pace.judge(0);
        };
        check(2, 2, |pool| pool.come(1), Some(changes));
    }

    #[test]
    fn model_a_stop_reaches_everybody() {
        check(2, 2, |_| (), Some(Pool::stop));
        check(1, 3, |_| (), Some(Pool::stop));
    }

    /// A leader leaves an event over while it loses the lead to one who waits for more, with another
    /// that watches by then.
    #[test]
    fn model_whoever_has_lost_the_lead_calls_the_one_that_has_it() {
        loom::model(|| {
            let pool = Pool::new(3, 0);
            pool.pace.enter(0, || ());
            pool.pace.watched.store(true, Ordering::SeqCst);
            let seen = pool.pace.lead.look();
            let taking = {
                let pool = Arc::clone(&pool);
                thread::spawn(move || {
                    assert!(pool.pace.lead.take_over(1, seen));
                    while pool.wait(1).is_none() {}
                })
            };
            let taken = pool.leave_over(&[1, 2]).unwrap();
            pool.take_left(taken, 0);
            taking.join().unwrap();
        });
    }

    /// Two wait, one of whom is not to work any more since turns are quick. It may be the one that
    /// hears the bell, and then the other has to.
    #[test]
    fn model_a_bell_that_the_wrong_one_hears_rings_once_more() {
        let mut model = loom::model::Builder::new();
        model.preemption_bound = Some(2);
        model.check(|| {
            let pool = Pool::new(2, 1);
            pool.pace.enter(0, || ());
            let threads = [0, 1].map(|worker| {
                let pool = Arc::clone(&pool);
                thread::spawn(move || {
                    if worker == 1 && pool.wait(1).is_some() {
                        pool.serve();
                    }
                    pool.work(worker);
                })
            });
            pool.backlog.leave(&[1]);
            pool.rouse();
            threads.into_iter().for_each(|thread| thread.join().unwrap());
        });
    }
}
