//! The locks and atomics of what is checked by a model: those of `loom` in a model's build.
//!
//! `RUSTFLAGS="--cfg loom" cargo test --release --lib model` runs the models.

#[cfg(not(all(loom, test)))]
pub(crate) use std::sync::{Condvar, Mutex, MutexGuard, PoisonError, atomic};

#[cfg(all(loom, test))]
pub(crate) use loom::sync::{Condvar, Mutex, MutexGuard, atomic};
#[cfg(all(loom, test))]
pub(crate) use std::sync::PoisonError;

/// Stands between two `SeqCst` accesses whose place in the one order of all such matters. They have it
/// anyway; but `loom` takes them for `AcqRel` ones, and knows that order of fences alone.
pub(crate) fn in_one_order() {
    #[cfg(all(loom, test))]
    atomic::fence(atomic::Ordering::SeqCst);
}

/// Waits on `condvar` for at most `time`, and says whether it has passed. In a model it passes at
/// any moment.
pub(crate) fn wait_for<'a, T>(
    condvar: &Condvar,
    mutex: &'a Mutex<T>,
    guard: MutexGuard<'a, T>,
    time: std::time::Duration,
) -> (MutexGuard<'a, T>, bool) {
    #[cfg(not(all(loom, test)))]
    {
        let _ = mutex;
        let until = std::time::Instant::now() + time;
        let waited = condvar.wait_timeout(guard, time);
        let guard = waited.unwrap_or_else(PoisonError::into_inner).0;
        (guard, std::time::Instant::now() >= until)
    }
    #[cfg(all(loom, test))]
    {
        let _ = (condvar, time);
        drop(guard);
        loom::thread::yield_now();
        (mutex.lock().unwrap_or_else(PoisonError::into_inner), true)
    }
}
