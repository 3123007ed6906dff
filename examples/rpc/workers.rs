//! Threads for what takes long.

use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

type Job = Box<dyn FnOnce(bool) + Send>;

/// A handle on some threads that run jobs in the order in which they came. They end with the last
/// handle.
#[derive(Clone)]
pub(crate) struct Workers(SyncSender<Job>);

impl Workers {
    /// Starts so many threads, for which so many jobs may wait.
    pub(crate) fn start(threads: usize, waiting: usize) -> Self {
        let (give, take) = sync_channel(waiting);
        let take = Arc::new(Mutex::new(take));
        for _ in 0..threads {
            let take = Arc::clone(&take);
            thread::spawn(move || {
                while let Some(job) = next(&take) {
                    job(true)
                }
            });
        }
        Self(give)
    }

    /// Has a job run. It is called with `false`, at once and here, if too many wait already.
    pub(crate) fn run(&self, job: impl FnOnce(bool) + Send + 'static) {
        match self.0.try_send(Box::new(job)) {
            Ok(()) => (),
            Err(TrySendError::Full(job) | TrySendError::Disconnected(job)) => job(false),
        }
    }
}

fn next(take: &Mutex<Receiver<Job>>) -> Option<Job> {
    take.lock().unwrap_or_else(PoisonError::into_inner).recv().ok()
}
