//! What one wait has brought and nobody has come to yet, and whether somebody is to be called.

use crate::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use crate::sync::{Mutex, MutexGuard, PoisonError};
use std::collections::VecDeque;

/// Events that were left over, and the bell for those who wait for more.
pub(super) struct Backlog<E> {
    left: Mutex<VecDeque<E>>,
    /// How many workers wait, or are about to: they look for work once more.
    waiting: AtomicUsize,
    /// The bell was rung, and nobody has heard it yet.
    rung: AtomicBool,
}

impl<E: Copy> Backlog<E> {
    pub(super) fn with_capacity(capacity: usize) -> Self {
        Self {
            left: Mutex::new(VecDeque::with_capacity(capacity)),
            waiting: AtomicUsize::new(0),
            rung: AtomicBool::new(false),
        }
    }

    /// Leaves events to whoever comes.
    pub(super) fn leave(&self, events: &[E]) {
        self.lock().extend(events);
    }

    /// Takes an event that was left over, and whether there is another.
    pub(super) fn pop(&self) -> Option<(E, bool)> {
        let mut left = self.lock();
        let event = left.pop_front()?;
        Some((event, !left.is_empty()))
    }

    /// A worker is about to wait. What it is to see must be looked for after this: either it is
    /// seen then, or whoever leaves it sees the worker wait.
    pub(super) fn begin_wait(&self) {
        self.waiting.fetch_add(1, Ordering::SeqCst);
    }

    pub(super) fn end_wait(&self) {
        self.waiting.fetch_sub(1, Ordering::SeqCst);
    }

    /// A worker that waited has heard the bell. It looks for work after this, or calls another.
    pub(super) fn heard(&self) {
        // A swap, so that what was left by those who found the bell rung is seen.
        self.rung.swap(false, Ordering::SeqCst);
    }

    /// Something was left. Whether the bell is to be rung: if a worker waits, and none is being
    /// called already.
    pub(super) fn must_ring(&self) -> bool {
        self.waiting.load(Ordering::SeqCst) > 0 && !self.rung.swap(true, Ordering::SeqCst)
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<E>> {
        self.left.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
