//! The locks and atomics of what is checked by a model: those of `loom` in a model's build.
//!
//! `RUSTFLAGS="--cfg loom" cargo test --release --lib model` runs the models.

#[cfg(not(all(loom, test)))]
pub(crate) use std::sync::{Mutex, MutexGuard, PoisonError, atomic};

#[cfg(all(loom, test))]
pub(crate) use loom::sync::{Mutex, MutexGuard, atomic};
#[cfg(all(loom, test))]
pub(crate) use std::sync::PoisonError;
