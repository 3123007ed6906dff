//! Who makes the replies that are made later.

use std::sync::{Arc, Condvar, Mutex};
use std::thread::{self, JoinHandle};

pub(crate) type Job = Box<dyn FnOnce() + Send>;

/// Takes the jobs of a service.
pub(crate) type Work = Arc<dyn Fn(Job) + Send + Sync>;

/// Keeps jobs until somebody runs them.
#[derive(Clone, Default)]
pub(crate) struct Kept(Arc<Mutex<Vec<Job>>>);

impl Kept {
    pub(crate) fn work(&self) -> Work {
        let kept = Arc::clone(&self.0);
        Arc::new(move |job| kept.lock().unwrap().push(job))
    }

    /// Runs what was kept, the last first, and tells whether there was anything.
    pub(crate) fn run(&self) -> bool {
        let jobs = std::mem::take(&mut *self.0.lock().unwrap());
        let any = !jobs.is_empty();
        jobs.into_iter().rev().for_each(|job| job());
        any
    }
}

/// Threads that run jobs in no particular order: each takes one at random of those that wait.
pub(crate) struct Workers {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    jobs: Vec<Job>,
    over: bool,
    /// Of a small generator of numbers that look like chance, and are the same in each run.
    random: u64,
}

impl Workers {
    pub(crate) fn start(n: usize) -> Self {
        let shared = Arc::new(Shared::default());
        let start = |_| {
            let shared = Arc::clone(&shared);
            thread::spawn(move || {
                while let Some(job) = shared.next() {
                    job()
                }
            })
        };
        Self { threads: (0..n).map(start).collect(), shared }
    }

    pub(crate) fn work(&self) -> Work {
        let shared = Arc::clone(&self.shared);
        Arc::new(move |job| {
            shared.state.lock().unwrap().jobs.push(job);
            shared.changed.notify_one();
        })
    }
}

impl Shared {
    fn next(&self) -> Option<Job> {
        let idle = |state: &mut State| state.jobs.is_empty() && !state.over;
        let mut state = self.changed.wait_while(self.state.lock().unwrap(), idle).unwrap();
        state.random = state.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let (n, random) = (state.jobs.len(), state.random >> 33);
        (n > 0).then(|| state.jobs.swap_remove(random as usize % n))
    }
}

impl Drop for Workers {
    /// Finishes what was begun, so that no reply is left open.
    fn drop(&mut self) {
        self.shared.state.lock().unwrap().over = true;
        self.shared.changed.notify_all();
        self.threads.drain(..).for_each(|thread| drop(thread.join()));
    }
}
