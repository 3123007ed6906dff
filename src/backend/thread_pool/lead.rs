//! Which worker leads, and whether somebody looks whether it is held up.

use crate::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use crate::sync::in_one_order;

/// Who leads, whether it works or waits for events, and whether that is looked at.
pub(super) struct Lead {
    /// 0 if nobody leads yet; else twice the worker's number from 1, and 1 more while it works.
    leader: AtomicUsize,
    /// How many turns leaders have ended.
    turns: AtomicU64,
    looked_at: AtomicBool,
}

/// The leader, as it was seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Look {
    leader: usize,
    turns: u64,
}

impl Look {
    pub(super) fn is_at_work(self) -> bool {
        self.leader & WORKS != 0
    }
}

const WORKS: usize = 1;

fn at_rest(worker: usize) -> usize {
    (worker + 1) << 1
}

impl Lead {
    pub(super) fn new() -> Self {
        Self {
            leader: AtomicUsize::new(0),
            turns: AtomicU64::new(0),
            looked_at: AtomicBool::new(false),
        }
    }

    pub(super) fn is_of(&self, worker: usize) -> bool {
        self.leader.load(Ordering::SeqCst) & !WORKS == at_rest(worker)
    }

    /// Whether this worker leads, also because nobody did.
    pub(super) fn is_of_or_free(&self, worker: usize) -> bool {
        self.is_of(worker) || self.change(0, at_rest(worker))
    }

    fn change(&self, from: usize, to: usize) -> bool {
        self.leader.compare_exchange(from, to, Ordering::SeqCst, Ordering::SeqCst).is_ok()
    }

    /// The worker is about to wait for events.
    pub(super) fn rest(&self, worker: usize) {
        self.change(at_rest(worker) | WORKS, at_rest(worker));
    }

    /// The worker is at work. `true` if it leads, and nobody looks: somebody must be told to.
    pub(super) fn work(&self, worker: usize) -> bool {
        let leads = self.change(at_rest(worker), at_rest(worker) | WORKS) || self.is_of(worker);
        // Either we see that nobody looks, or whoever looks away sees us at work.
        in_one_order();
        leads && !self.is_looked_at()
    }

    /// A turn of the worker is over.
    pub(super) fn progress(&self, worker: usize) {
        if self.is_of(worker) {
            // One that has lost the lead just now may undo a step: that is seen as one, too.
            self.turns.store(self.turns.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
        }
    }

    pub(super) fn look(&self) -> Look {
        let turns = self.turns.load(Ordering::Relaxed);
        Look { leader: self.leader.load(Ordering::SeqCst), turns }
    }

    /// Takes the lead from a leader that is held up. `false` if it is another by now, or rests.
    pub(super) fn take_over(&self, worker: usize, from: Look) -> bool {
        self.change(from.leader, at_rest(worker) | WORKS)
    }

    pub(super) fn look_at(&self) {
        self.looked_at.store(true, Ordering::SeqCst);
    }

    pub(super) fn is_looked_at(&self) -> bool {
        self.looked_at.load(Ordering::SeqCst)
    }

    /// Nobody looks from here on, unless the leader works.
    pub(super) fn look_away(&self) {
        self.looked_at.store(false, Ordering::SeqCst);
        in_one_order();
        if self.look().is_at_work() {
            self.look_at();
        }
    }
}
