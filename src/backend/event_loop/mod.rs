//! The other classic: wait until any socket is ready; if it is a listener, accept and add the new
//! connection to those watched; else handle the data of that connection.

mod mailbox;
mod run;

use super::Backend;
use super::threads::{STUCK, ThreadOptions, Threads};
use crate::acceptor::Acceptor;
use crate::net::{Alarm, Reactor};
use crate::serve_error::{ConfigError, ServeError};
use mailbox::{Mail, Mailbox};
use run::Loop;
use std::sync::Arc;
use std::time::Duration;

/// Event loops: each serves any number of connections on one thread.
///
/// A connection that has nothing to say costs about 200 bytes and no thread. A handler must not
/// block: it holds up all connections of its loop ([`Context::may_block`](crate::Context::may_block)
/// says `false`).
///
/// The first loop runs on the thread that serves, and accepts; each new connection goes to the loop
/// that has the fewest, and stays there.
///
/// ```
/// use polyserve::{EventLoop, Server};
///
/// let one_loop = Server::builder().backend(EventLoop::new().loops(1));
/// ```
#[derive(Debug, Clone)]
pub struct EventLoop {
    loops: Option<usize>,
    portable: bool,
    busy_poll: Duration,
    threads: ThreadOptions,
}

impl EventLoop {
    /// One loop for each core that the process may use.
    pub fn new() -> Self {
        Self {
            loops: None,
            portable: false,
            busy_poll: Duration::ZERO,
            threads: ThreadOptions::named("polyserve-loop"),
        }
    }

    /// This many loops. More than one gain only where the handlers' own work keeps a core busy.
    /// Zero is refused when the server starts, with [`ConfigError::NoWorkers`].
    pub fn loops(mut self, loops: usize) -> Self {
        self.loops = Some(loops);
        self
    }

    /// Whether to wait by `polling` alone also where the crate knows a shorter way (Linux).
    /// Behaviour is the same; the short way makes one system call for a wait in place of five.
    /// Default: `false`.
    pub fn portable(mut self, portable: bool) -> Self {
        self.portable = portable;
        self
    }

    /// How long a loop that has nothing to do looks again and again before it sleeps: busy polling, as the
    /// socket option `SO_BUSY_POLL` has it in the kernel. Default: zero, which is never.
    ///
    /// What comes while a loop looks is found at once: neither it nor a message of another thread has to
    /// wake a sleeping core, which is most of what a small request on few connections takes. The price
    /// is a core for each loop while it looks, and a system call for each look (five with
    /// [`portable`](Self::portable)), so:
    ///
    /// - Have no more loops than cores to give away. Where a loop shares its core with whoever is to send
    ///   the next request, it holds that one up.
    /// - Some times the usual gap between two requests is long enough, for example 50 µs to 1 ms.
    ///
    /// The time counts from the last event of a socket or message of another thread, for each loop on
    /// its own; then the loop sleeps as any other, and an idle server makes no system call. Nothing else
    /// changes: deadlines, drains and the order of callbacks are the same.
    ///
    /// ```
    /// use polyserve::{EventLoop, Server};
    /// use std::time::Duration;
    ///
    /// let quick = EventLoop::new().loops(1).busy_poll(Duration::from_micros(200));
    /// let server = Server::builder().backend(quick);
    /// ```
    pub fn busy_poll(mut self, time: Duration) -> Self {
        self.busy_poll = time;
        self
    }

    /// What the threads of all loops but the first are called; `-` and the loop's number follow.
    ///
    /// # Panics
    /// When the server starts, if the name holds a zero byte.
    pub fn thread_name(mut self, name: impl Into<String>) -> Self {
        self.threads.name = name.into();
        self
    }

    /// How large the stacks of those threads are, in bytes. Default: the standard library's, which
    /// is 2 MiB, or what the environment's `RUST_MIN_STACK` says.
    pub fn stack_size(mut self, bytes: usize) -> Self {
        self.threads.stack_size = Some(bytes);
        self
    }

    /// Runs `hook` first on each loop's thread, with the loop's number, for example to bind it to
    /// a core.
    /// A panic in it is caught, and the thread goes on.
    pub fn on_thread_start(mut self, hook: impl Fn(usize) + Send + Sync + 'static) -> Self {
        self.threads.on_start = Some(Arc::new(hook));
        self
    }

    fn count(&self) -> Result<usize, ConfigError> {
        match self.loops {
            Some(0) => Err(ConfigError::NoWorkers),
            Some(n) => Ok(n),
            None => Ok(std::thread::available_parallelism().map_or(1, |n| n.get())),
        }
    }
}

impl Default for EventLoop {
    fn default() -> Self {
        Self::new()
    }
}

impl Backend for EventLoop {
    fn run(&mut self, acceptor: &Acceptor) -> Result<(), ServeError> {
        let mailboxes = (0..self.count()?)
            .map(|_| Ok(Arc::new(Mailbox::new(Reactor::new(self.portable)?))))
            .collect::<Result<Arc<[Arc<Mailbox>]>, _>>()
            .map_err(ServeError::Start)?;
        // Before a server has started, it has made all that it holds.
        let mut alarms: Vec<_> = mailboxes.iter().map(|it| Alarm::new(&it.reactor)).collect();
        let mut others = self.start_others(&mailboxes, alarms.split_off(1))?;
        self.threads.greet(0);
        let alarm = alarms.pop().flatten();
        let result = Loop::first(mailboxes, alarm, acceptor.clone(), self.busy_poll).run();
        others.may_be_stuck = acceptor.live() > 0 || result.is_err();
        result
    }
}

impl EventLoop {
    /// Starts all loops but the first; when one fails to start, those before it are stopped.
    fn start_others(
        &self,
        mailboxes: &Arc<[Arc<Mailbox>]>,
        alarms: Vec<Option<Alarm>>,
    ) -> Result<Others, ServeError> {
        let threads = Threads::new(self.threads.clone(), 1);
        let mut others = Others { mailboxes: Arc::clone(mailboxes), threads, may_be_stuck: false };
        for (number, alarm) in (1..mailboxes.len()).zip(alarms) {
            let all = Arc::clone(mailboxes);
            let busy_poll = self.busy_poll;
            let body = move || {
                let first = Arc::clone(&all[0]);
                if let Err(error) = Loop::further(all, number, alarm, busy_poll).run() {
                    first.post(Mail::Failed(error));
                }
            };
            others.threads.start(body).map_err(ServeError::Start)?;
        }
        Ok(others)
    }
}

/// The threads of the loops but the first. They are stopped when this is dropped, also if the
/// first loop's thread panics.
struct Others {
    mailboxes: Arc<[Arc<Mailbox>]>,
    threads: Threads,
    /// Some may never end: they are not waited for, or not for long.
    may_be_stuck: bool,
}

impl Drop for Others {
    fn drop(&mut self) {
        for mailbox in &self.mailboxes[1..] {
            mailbox.post(Mail::Stop);
        }
        self.threads.join_all(self.may_be_stuck.then_some(STUCK));
    }
}
