//! The locks and atomics of what is checked by a model: those of `loom` in a model's build.
//!
//! `RUSTFLAGS="--cfg loom" cargo test --release --lib model` runs the models.

#[cfg(not(all(loom, test)))]
pub(crate) use std::sync::{Mutex, MutexGuard, PoisonError, atomic};

#[cfg(all(loom, test))]
pub(crate) use loom::sync::{Mutex, MutexGuard, atomic};
#[cfg(all(loom, test))]
pub(crate) use std::sync::PoisonError;

/// Stands between two `SeqCst` accesses whose place in the one order of all such matters. They have it
/// anyway; but `loom` takes them for `AcqRel` ones, and knows that order of fences alone.
pub(crate) fn in_one_order() {
    #[cfg(all(loom, test))]
    atomic::fence(atomic::Ordering::SeqCst);
}
