//! A fixed number of threads for any number of connections.

mod backlog;
mod clock;
mod lead;
mod pace;
mod shared;
mod slots;
mod worker;

use super::Backend;
use super::threads::{STUCK, ThreadOptions, Threads, check_count};
use crate::acceptor::Acceptor;
use crate::net::Reactor;
use crate::serve_error::{ConfigError, ServeError};
use crossbeam_channel::RecvTimeoutError;
use shared::{Accepted, News, Shared};
use std::sync::Arc;
use std::time::Instant;

/// A fixed pool of workers.
///
/// Handlers may block: each holds up one worker. Workers are never tied to a connection that has
/// nothing to say: idle connections, however many, wait in the poller, and a worker takes whichever
/// is ready. So a pool of four serves thousands of silent connections beside those at work.
///
/// While callbacks are quick, one worker serves all that comes, at nearly the cost of an event loop,
/// and the others rest. If a callback holds it up, another goes on after a millisecond or two. While
/// callbacks are slow, each worker takes what comes next.
///
/// The thread that serves does not work: it keeps the clocks of the accept loop and of the drain,
/// and takes what is left after a drain's deadline if all workers are held up. While all workers
/// are held up, time-outs of connections come late.
///
/// ```
/// use polyserve::{Server, ThreadPool};
///
/// let eight_workers = Server::builder().backend(ThreadPool::new(8));
/// ```
#[derive(Debug, Clone)]
pub struct ThreadPool {
    workers: usize,
    portable: bool,
    threads: ThreadOptions,
}

impl ThreadPool {
    /// A pool of this many workers, named `polyserve-pool-N`. Zero is refused when the server
    /// starts, with [`ConfigError::NoWorkers`], and more than 8,192 with
    /// [`ConfigError::TooManyThreads`].
    pub fn new(workers: usize) -> Self {
        Self { workers, portable: false, threads: ThreadOptions::named("polyserve-pool") }
    }

    /// Whether to wait by `polling` alone also where the crate knows a shorter way (Linux). Workers
    /// wait one at a time then. Behaviour is the same. Default: `false`.
    pub fn portable(mut self, portable: bool) -> Self {
        self.portable = portable;
        self
    }

    /// What workers are called; `-` and a number follow. Linux shows the first 15 bytes.
    ///
    /// # Panics
    /// When the server starts, if the name holds a zero byte.
    pub fn thread_name(mut self, name: impl Into<String>) -> Self {
        self.threads.name = name.into();
        self
    }

    /// How large each worker's stack is, in bytes. Default: the standard library's, which
    /// is 2 MiB, or what the environment's `RUST_MIN_STACK` says.
    pub fn stack_size(mut self, bytes: usize) -> Self {
        self.threads.stack_size = Some(bytes);
        self
    }

    /// Runs `hook` first on each worker, with its number.
    /// A panic in it is caught, and the thread goes on.
    pub fn on_thread_start(mut self, hook: impl Fn(usize) + Send + Sync + 'static) -> Self {
        self.threads.on_start = Some(Arc::new(hook));
        self
    }
}

/// Two workers for each core, and at least four: some may block.
impl Default for ThreadPool {
    fn default() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, |n| n.get());
        Self::new((2 * cores).max(4))
    }
}

impl Backend for ThreadPool {
    fn run(&mut self, acceptor: &Acceptor) -> Result<(), ServeError> {
        let reactor =
            self.check().and_then(|()| Reactor::new(self.portable).map_err(ServeError::Start))?;
        acceptor.tell_of_threads(self.workers);
        let shared = Arc::new(Shared::new(reactor, acceptor.clone(), self.workers));
        let mut threads = Threads::new(self.threads.clone(), 0);
        let result = self.start(&shared, &mut threads).and_then(|()| {
            shared.attach();
            supervise(&shared)
        });
        shared.stop();
        let may_be_stuck = acceptor.live() > 0;
        threads.join_all(may_be_stuck.then_some(STUCK));
        shared.abandon_all();
        result
    }
}

impl ThreadPool {
    fn check(&self) -> Result<(), ServeError> {
        if self.workers == 0 {
            return Err(ConfigError::NoWorkers.into());
        }
        Ok(check_count(self.workers)?)
    }

    fn start(&self, shared: &Arc<Shared>, threads: &mut Threads) -> Result<(), ServeError> {
        for number in 0..self.workers {
            let shared = Arc::clone(shared);
            threads.start(move || worker::work(&shared, number)).map_err(ServeError::Start)?;
        }
        Ok(())
    }
}

/// Keeps the clocks of the accept loop until the server is over.
fn supervise(shared: &Shared) -> Result<(), ServeError> {
    loop {
        let deadline = match shared.accept_as_supervisor(Instant::now())? {
            // A worker that has seen the acceptor fail has said so before we could ask.
            Accepted::Finished => return shared.failure().map_or(Ok(()), Err),
            Accepted::AskAgain(deadline) => deadline,
        };
        if shared.acceptor.is_past_deadline() {
            worker::help_out(shared);
        }
        let news = match deadline {
            Some(deadline) => shared.news.1.recv_deadline(deadline),
            None => shared.news.1.recv().map_err(|_| RecvTimeoutError::Disconnected),
        };
        if let Ok(News::Failed(error)) = news {
            return Err(error);
        }
    }
}
