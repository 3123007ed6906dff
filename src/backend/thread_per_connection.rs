//! The classic: accept, and run a thread for the connection.

use super::Backend;
use super::threads::{MAX_THREADS, STUCK, ThreadOptions, Threads, check_count};
use crate::acceptor::Acceptor;
use crate::serve_error::ServeError;
use crate::session::{Scratch, Session};
use std::io;
use std::sync::{Arc, Mutex};

/// A thread for each connection.
///
/// Handlers may block for as long as they like: each has a thread to itself. A request and its
/// reply cost two system calls. A connection costs a thread: about 20 KiB of memory, a stack that
/// is reserved, and a place among the system's threads; so the limit of connections is 4,096 by
/// default, and at most 8,192. Up to eight threads that have ended leave their buffers, of 64 KiB each at
/// least, to those that come.
///
/// A drain reaches a thread that blocks in its read by shutting the socket down for reading, which
/// cannot be undone. So a connection that is quite idle when a drain begins, and whose handler
/// answers `on_shutdown` with `Continue` all the same, can send but not receive from then on; on a
/// Unix socket its peer's writes fail with `EPIPE`. A handler that wants to go on says so before,
/// by [`Context::set_busy`](crate::Context::set_busy).
///
/// ```
/// use polyserve::{Server, ThreadPerConnection};
///
/// let small_stacks = ThreadPerConnection::new().stack_size(256 * 1024);
/// let a_thread_each = Server::builder().backend(small_stacks).max_connections(200);
/// ```
#[derive(Debug, Clone)]
pub struct ThreadPerConnection {
    threads: ThreadOptions,
}

/// Stacks are this large if nothing else is said. Their pages cost memory only once touched.
const STACK_SIZE: usize = 1024 * 1024;

impl ThreadPerConnection {
    /// Threads named `polyserve-conn-N`, with stacks of 1 MiB.
    pub fn new() -> Self {
        let mut threads = ThreadOptions::named("polyserve-conn");
        threads.stack_size = Some(STACK_SIZE);
        Self { threads }
    }

    /// What threads are called; `-` and a number follow. Linux shows the first 15 bytes.
    ///
    /// # Panics
    /// When a thread is started, if the name holds a zero byte.
    pub fn thread_name(mut self, name: impl Into<String>) -> Self {
        self.threads.name = name.into();
        self
    }

    /// How large each thread's stack is, in bytes. Systems have a lower bound, to which smaller
    /// sizes are raised. A handler that overflows its stack aborts the process.
    pub fn stack_size(mut self, bytes: usize) -> Self {
        self.threads.stack_size = Some(bytes);
        self
    }

    /// Runs `hook` first on each new thread, with the thread's number.
    /// A panic in it is caught, and the thread goes on.
    pub fn on_thread_start(mut self, hook: impl Fn(usize) + Send + Sync + 'static) -> Self {
        self.threads.on_start = Some(Arc::new(hook));
        self
    }
}

impl Default for ThreadPerConnection {
    fn default() -> Self {
        Self::new()
    }
}

impl Backend for ThreadPerConnection {
    fn run(&mut self, acceptor: &Acceptor) -> Result<(), ServeError> {
        check_count(acceptor.max_connections())?;
        acceptor.lower_ceiling(MAX_THREADS);
        acceptor.tell_of_thread_each();
        let mut threads = Threads::new(self.threads.clone(), 0);
        let spare = Arc::new(Spare::default());
        while let Some(session) = acceptor.accept()? {
            threads.reap();
            if let Err((session, error)) = start(&mut threads, session, &spare) {
                acceptor.refuse(*session, &error);
            }
        }
        let stuck = acceptor.live() > 0;
        threads.join_all(stuck.then_some(STUCK));
        Ok(())
    }

    fn default_max_connections(&self) -> usize {
        4_096
    }
}

/// The buffers of threads that have ended: to clear new ones costs more than the rest of their making.
#[derive(Default)]
struct Spare(Mutex<Vec<Scratch>>);

/// So many are kept, of at most 128 KiB each: 1 MiB for a server without a connection.
const SPARE: usize = 8;

impl Spare {
    fn take(&self) -> Scratch {
        self.0.lock().ok().and_then(|mut spare| spare.pop()).unwrap_or_default()
    }

    fn give(&self, mut scratch: Scratch) {
        scratch.trim_for_rest();
        match self.0.lock() {
            Ok(mut spare) if spare.len() < SPARE => spare.push(scratch),
            _ => (),
        }
    }
}

/// Starts a thread for a session. If there can be none, the session comes back: what a failed start was
/// given is lost, so it is given a place to look into.
fn start(
    threads: &mut Threads,
    session: Session,
    spare: &Arc<Spare>,
) -> Result<(), (Box<Session>, io::Error)> {
    let place = Arc::new(Mutex::new(Some(session)));
    let take = |place: &Mutex<Option<Session>>| place.lock().ok()?.take();
    let (theirs, spare) = (Arc::clone(&place), Arc::clone(spare));
    let started = threads.start(move || {
        let session = take(&theirs);
        drop(theirs);
        if let Some(session) = session {
            let mut scratch = spare.take();
            session.run(&mut scratch);
            spare.give(scratch);
        }
    });
    let Err(error) = started else { return Ok(()) };
    match take(&place) {
        Some(session) => Err((Box::new(session), error)),
        None => Ok(()),
    }
}
