//! Starting threads, and waiting for those that end.

use super::slots::{Key, Slots};
use crate::connection::drop_payload;
use crate::serve_error::ConfigError;
use crossbeam_channel::{Receiver, Sender, unbounded};
use std::fmt;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

/// How long to wait for threads that are stuck in a handler after a server has given up on them.
pub(crate) const STUCK: Duration = Duration::from_millis(50);

/// More threads than this are refused on any system.
pub(crate) const MAX_THREADS: usize = 8_192;

/// What a thread may take of the process's memory maps: its stack, the guard page of that, the
/// alternative signal stack and its guard page, and as much again for what it does.
const MAPS_PER_THREAD: usize = 8;

/// Checks that a process can hold this many threads for sure. Where the memory maps run out in the
/// middle of a thread's start, the whole process is aborted, which nothing can catch
/// (rust-lang/rust issue 78497).
pub(crate) fn check_count(wanted: usize) -> Result<(), ConfigError> {
    let max =
        max_map_count().map_or(MAX_THREADS, |maps| MAX_THREADS.min(maps.div_ceil(MAPS_PER_THREAD)));
    if wanted > max {
        return Err(ConfigError::TooManyThreads { wanted, max });
    }
    Ok(())
}

/// How many memory maps a process may have, where the system says so (Linux: proc(5)).
fn max_map_count() -> Option<usize> {
    std::fs::read_to_string("/proc/sys/vm/max_map_count").ok()?.trim().parse().ok()
}

/// How threads are started: their name, their stack, and what each runs first.
#[derive(Clone)]
pub(crate) struct ThreadOptions {
    pub(crate) name: String,
    /// `None` takes the standard library's default (2 MiB, or `RUST_MIN_STACK`).
    pub(crate) stack_size: Option<usize>,
    pub(crate) on_start: Option<Arc<dyn Fn(usize) + Send + Sync>>,
}

impl ThreadOptions {
    pub(crate) fn named(name: &str) -> Self {
        Self { name: name.to_owned(), stack_size: None, on_start: None }
    }

    /// Runs the hook on the thread that calls. One that panics has said so by the panic hook; the
    /// thread goes on without it.
    pub(crate) fn greet(&self, number: usize) {
        if let Some(on_start) = &self.on_start {
            drop_payload(catch_unwind(AssertUnwindSafe(|| on_start(number))));
        }
    }
}

impl fmt::Debug for ThreadOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ThreadOptions")
            .field("name", &self.name)
            .field("stack_size", &self.stack_size)
            .field("on_start", &self.on_start.is_some())
            .finish()
    }
}

/// The threads that a backend has started and that have not been joined yet.
///
/// They tell when they end, so that joining never waits for one that is stuck.
#[derive(Debug)]
pub(crate) struct Threads {
    options: Arc<ThreadOptions>,
    running: Slots<JoinHandle<()>>,
    /// The number of the next.
    number: usize,
    ended: (Sender<Key>, Receiver<Key>),
}

/// Tells, when it is dropped, that the thread has ended.
struct Ended(Sender<Key>, Key);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.send(self.1);
    }
}

impl Threads {
    /// `first` is the number of the first thread.
    pub(crate) fn new(options: ThreadOptions, first: usize) -> Self {
        let (options, running) = (Arc::new(options), Slots::new());
        Self { options, running, number: first, ended: unbounded() }
    }

    /// Starts a thread.
    ///
    /// # Errors
    /// As `std::thread::Builder::spawn`. Note that "out of threads" has the kind `WouldBlock`.
    pub(crate) fn start(&mut self, body: impl FnOnce() + Send + 'static) -> io::Result<()> {
        let number = self.number;
        let (ended, key) = (self.ended.0.clone(), self.running.next_key());
        let options = Arc::clone(&self.options);
        let mut builder = Builder::new().name(format!("{}-{number}", options.name));
        if let Some(size) = options.stack_size {
            builder = builder.stack_size(size);
        }
        let thread = builder.spawn(move || {
            let _ended = Ended(ended, key);
            options.greet(number);
            body();
        })?;
        self.running.insert(thread);
        self.number += 1;
        Ok(())
    }

    /// Joins those that have ended.
    pub(crate) fn reap(&mut self) {
        while let Ok(key) = self.ended.1.try_recv() {
            self.join(key);
        }
    }

    /// Joins all; with `patience`, only those that end within it. The others are left to
    /// themselves.
    pub(crate) fn join_all(&mut self, patience: Option<Duration>) {
        let until = patience.and_then(|patience| Instant::now().checked_add(patience));
        while !self.running.is_empty() {
            let ended = match until {
                Some(until) => self.ended.1.recv_deadline(until).ok(),
                None => self.ended.1.recv().ok(),
            };
            let Some(key) = ended else { return };
            self.join(key);
        }
    }

    fn join(&mut self, key: Key) {
        if let Some(thread) = self.running.remove(key) {
            // The panics of handlers and of the start hook are caught long before.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_threads_than_a_process_can_hold_are_refused() {
        check_count(1).unwrap();
        for wanted in [MAX_THREADS + 1, usize::MAX] {
            let refused = check_count(wanted).unwrap_err();
            assert!(
                matches!(refused, ConfigError::TooManyThreads { wanted: w, .. } if w == wanted)
            );
        }
    }
}
