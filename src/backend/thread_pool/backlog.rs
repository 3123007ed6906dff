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

    /// A worker is about to wait, unless something was left over, which it takes. What else it is
    /// to see must be looked for after this: either it is seen then, or whoever leaves it sees the
    /// worker wait.
    pub(super) fn begin_wait(&self) -> Option<(E, bool)> {
        self.waiting.fetch_add(1, Ordering::SeqCst);
        self.pop()
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

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_thousand_calls_ring_once_for_each_that_hears() {
        let backlog = Backlog::<u32>::with_capacity(0);
        assert!(!backlog.must_ring(), "nobody waits");
        assert!(backlog.begin_wait().is_none() && backlog.begin_wait().is_none());
        assert_eq!((0..1_000).filter(|_| backlog.must_ring()).count(), 1);
        backlog.heard();
        backlog.end_wait();
        assert_eq!((0..1_000).filter(|_| backlog.must_ring()).count(), 1, "another waits");
        backlog.heard();
        backlog.end_wait();
        assert!(!backlog.must_ring(), "nobody waits any more");
    }

    #[test]
    fn what_is_left_is_taken_in_its_order() {
        let backlog = Backlog::with_capacity(2);
        backlog.leave(&[1, 2]);
        backlog.leave(&[3]);
        let taken: Vec<_> = std::iter::from_fn(|| backlog.pop()).collect();
        assert_eq!(taken, [(1, true), (2, true), (3, false)]);
    }
}

#[cfg(all(test, loom))]
mod model {
    use super::*;
    use loom::sync::Notify;
    use loom::thread;
    use std::sync::Arc;

    /// Two leave an event each and are held up until both are taken. Whatever the order, whoever
    /// waits takes them.
    #[test]
    fn model_nobody_waits_while_something_is_left() {
        let mut model = loom::model::Builder::new();
        // Those with more preemptions are too many to wait for.
        model.preemption_bound = Some(3);
        model.check(|| {
            let pool = Arc::new((Backlog::with_capacity(0), Notify::new()));
            let leaving = [1, 2].map(|event| {
                let pool = Arc::clone(&pool);
                thread::spawn(move || {
                    let (backlog, bell) = &*pool;
                    backlog.leave(&[event]);
                    if backlog.must_ring() {
                        bell.notify();
                    }
                })
            });
            let (backlog, bell) = &*pool;
            let mut taken = 0;
            while taken < 2 {
                match backlog.begin_wait() {
                    Some(_) => taken += 1,
                    None => {
                        bell.wait();
                        backlog.heard();
                    }
                }
                backlog.end_wait();
            }
            leaving.into_iter().for_each(|thread| thread.join().unwrap());
        });
    }
}
