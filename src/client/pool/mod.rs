//! Connections that are kept for the next call.

mod builder;
mod queue;

pub use builder::PoolBuilder;

use super::deadline::Deadline;
use super::error::ClientError;
use super::{Client, Raw, Retry};
use crate::codec::{Codec, OwnedFrames};
use queue::{Full, Queue};
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

/// Connections to one server that threads share. A clone is another handle to the same pool.
///
/// ```
/// use polyserve::codec::Lines;
/// use polyserve::{Client, Framed, Server};
///
/// let server = Server::builder().bind("127.0.0.1:0")?.spawn(|_peer| {
///     Framed::new(Lines::new(), |line, replies| replies.send(&line.to_uppercase()))
/// })?;
///
/// let pool = Client::builder()
///     .codec(Lines::new())
///     .pool(&server.local_addrs()[0])
///     .max_connections(4)
///     .build();
/// std::thread::scope(|scope| {
///     for _ in 0..100 {
///         scope.spawn(|| assert_eq!(pool.call("hello").unwrap(), "HELLO"));
///     }
/// });
/// assert!(pool.stats().connected <= 4);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Which calls are made again
///
/// A connection that has been idle may have been closed meanwhile. So it is looked at before it is
/// used again: the end of the stream, a reset, or bytes that nobody asked for are found there, and
/// it is replaced. A server may still close it in the very moment in which a request leaves. Then:
///
/// - If nothing of the request had left, [`call`](Self::call) makes the call once more, at once,
///   on a new connection.
/// - If something had left, nobody can tell whether the server has done it.
///   [`call_idempotent`](Self::call_idempotent), by which the caller says that it may be done
///   twice, makes the call once more in the same way; `call` returns the error.
/// - A call on a connection that is new is made again only as the [retry
///   policy](PoolBuilder::retry) says, with its waits; so are connects that failed.
/// - Calls on what [`get`](Self::get) returns are never made again: the pool does not see what
///   they mean.
///
/// A client that reconnects by itself is a pool of one connection; what a new connection needs
/// before it can be used is done by [`PoolBuilder::on_connect`].
///
/// # Which connections are used again
///
/// Those that have seen no error and are in step: as many frames received as messages sent, no
/// bytes left over, our stream not ended, and no panic while they were in use. The one that was
/// used last is used first.
///
/// Whoever waits for a connection gets it in the order of asking. There is no thread behind it.
pub struct Pool<C = Raw> {
    shared: Arc<Shared<C>>,
}

/// What the handles share.
struct Shared<C> {
    settings: PoolBuilder<C>,
    queue: Queue<Client<C>>,
    connected: AtomicU64,
    reused: AtomicU64,
    stale: AtomicU64,
    exhausted: AtomicU64,
}

/// What a [`Pool`] has, and what it has done since it was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct PoolStats {
    /// Connections that wait to be used.
    pub idle: usize,
    /// Connections that are in use, those that are being made included.
    pub in_use: usize,
    /// Calls that wait for a connection.
    pub waiting: usize,
    /// Connections that were made.
    pub connected: u64,
    /// How often one was used again.
    pub reused: u64,
    /// Idle connections that were found closed, or not silent, when they were to be used again.
    pub stale: u64,
    /// Calls that waited for a connection in vain.
    pub exhausted: u64,
}

/// A connection of a [`Pool`]. It goes back when this is dropped, if it is fit to be used again.
///
/// The pool can tell that from what went through the client. It cannot tell from bytes that were
/// sent without a codec whether an answer is still to come: [`discard`](Self::discard) a
/// connection that was left in the middle of something.
///
/// Time-outs that were changed on it, by [`set_read_timeout`](Client::set_read_timeout) and its
/// like, are those of the pool again for whoever gets it next. A codec that was changed stays so.
#[must_use]
pub struct Pooled<C = Raw> {
    shared: Arc<Shared<C>>,
    /// There is one but for the moment in which it is replaced.
    client: Option<Client<C>>,
    is_reused: bool,
}

impl<C> Pool<C> {
    fn new(shared: Shared<C>) -> Self {
        Self { shared: Arc::new(shared) }
    }

    /// Takes a connection: one that is idle, or a new one, or the next that comes free.
    ///
    /// # Errors
    /// [`ClientError::Exhausted`] if none came free in time; [`ClientError::Connect`]; and what
    /// [`on_connect`](PoolBuilder::on_connect) returns.
    pub fn get(&self) -> Result<Pooled<C>, ClientError>
    where
        C: Clone,
    {
        let mut pooled = self.seat()?;
        while let Some(client) = &pooled.client {
            if client.reader.is_quiet() {
                pooled.is_reused = true;
                count(&self.shared.reused);
                return Ok(pooled);
            }
            count(&self.shared.stale);
            pooled.client = self.shared.queue.exchange();
        }
        pooled.connect()?;
        Ok(pooled)
    }

    /// Waits for the right to have a connection.
    fn seat(&self) -> Result<Pooled<C>, ClientError> {
        let shared = &self.shared;
        let deadline = Deadline::start(shared.settings.acquire_timeout);
        let client = shared.queue.take(&deadline).map_err(|Full| {
            count(&shared.exhausted);
            ClientError::Exhausted {
                target: shared.settings.endpoint.to_string().into(),
                limit: shared.queue.max(),
                timeout: deadline.timeout(),
            }
        })?;
        Ok(Pooled { shared: Arc::clone(shared), client, is_reused: false })
    }

    /// Closes the connections that are idle. Those in use are not touched.
    pub fn close_idle(&self) {
        self.shared.queue.clear();
    }

    /// What it has, and what it has done.
    pub fn stats(&self) -> PoolStats {
        let counts = self.shared.queue.counts();
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        PoolStats {
            idle: counts.idle,
            in_use: counts.in_use,
            waiting: counts.waiting,
            connected: read(&self.shared.connected),
            reused: read(&self.shared.reused),
            stale: read(&self.shared.stale),
            exhausted: read(&self.shared.exhausted),
        }
    }
}

impl<C: Codec + OwnedFrames + Clone> Pool<C> {
    /// Makes a [call](Client::call) on one of the connections; again only if nothing of the
    /// request had left, as [above](Self#which-calls-are-made-again).
    ///
    /// # Errors
    /// Those of [`get`](Self::get) and of [`Client::call`].
    pub fn call<'m>(&self, request: C::Message<'m>) -> Result<C::Owned, ClientError>
    where
        C::Message<'m>: Clone,
    {
        self.call_by(&self.shared.settings.retry, request)
    }

    /// As [`call`](Self::call), for requests that do no harm when they are carried out twice: also
    /// made again when nobody can tell whether the server has seen them.
    ///
    /// # Errors
    /// As [`call`](Self::call).
    pub fn call_idempotent<'m>(&self, request: C::Message<'m>) -> Result<C::Owned, ClientError>
    where
        C::Message<'m>: Clone,
    {
        self.call_by(&self.shared.settings.retry.clone().idempotent(), request)
    }

    fn call_by<'m>(&self, retry: &Retry, request: C::Message<'m>) -> Result<C::Owned, ClientError>
    where
        C::Message<'m>: Clone,
    {
        retry.run(|_| {
            let mut pooled = self.get()?;
            match pooled.call(request.clone()) {
                Err(error) if pooled.is_reused && retry.allows(&error) => {
                    pooled.connect()?;
                    pooled.call(request.clone())
                }
                result => result,
            }
        })
    }
}

impl<C> Shared<C> {
    fn new(settings: PoolBuilder<C>) -> Self {
        let queue = Queue::new(settings.max_connections, settings.max_idle_time);
        let zero = || AtomicU64::new(0);
        let (connected, reused, stale, exhausted) = (zero(), zero(), zero(), zero());
        Self { settings, queue, connected, reused, stale, exhausted }
    }
}

fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

impl<C> Pooled<C> {
    /// Takes the connection out of the pool, which has room for another one then.
    pub fn into_inner(mut self) -> Client<C> {
        self.client.take().expect(PRESENT)
    }

    /// Closes the connection rather than giving it back.
    pub fn discard(mut self) {
        self.client = None;
    }

    /// Whether the connection has been used before.
    pub fn is_reused(&self) -> bool {
        self.is_reused
    }

    /// Makes a new connection in place of the one that was there.
    fn connect(&mut self) -> Result<(), ClientError>
    where
        C: Clone,
    {
        self.client = None;
        self.is_reused = false;
        let settings = &self.shared.settings;
        let mut client = settings.client.connect_to(&settings.endpoint)?;
        count(&self.shared.connected);
        if let Some(greet) = &settings.on_connect {
            greet(&mut client)?;
            client.set_timeouts(settings.client.timeouts());
        }
        self.client = Some(client);
        Ok(())
    }
}

const PRESENT: &str = "only a connection that is there is lent";

impl<C> Deref for Pooled<C> {
    type Target = Client<C>;

    fn deref(&self) -> &Client<C> {
        self.client.as_ref().expect(PRESENT)
    }
}

impl<C> DerefMut for Pooled<C> {
    fn deref_mut(&mut self) -> &mut Client<C> {
        self.client.as_mut().expect(PRESENT)
    }
}

impl<C> Drop for Pooled<C> {
    fn drop(&mut self) {
        // A panic may have left a reply half read.
        let is_fit = |client: &Client<C>| client.is_reusable() && !thread::panicking();
        let mut client = self.client.take().filter(is_fit);
        if let Some(client) = &mut client {
            // Whoever gets it next has not asked for the time-outs of this user.
            client.set_timeouts(self.shared.settings.client.timeouts());
        }
        self.shared.queue.give_back(client);
    }
}

impl<C> Clone for Pool<C> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared) }
    }
}

impl<C> fmt::Debug for Pool<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool")
            .field("endpoint", &self.shared.settings.endpoint)
            .field("stats", &self.stats())
            .finish_non_exhaustive()
    }
}

impl<C> fmt::Debug for Pooled<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pooled").field("client", &self.client).finish_non_exhaustive()
    }
}
