//! Settings of a pool.

use super::super::endpoint::Endpoint;
use super::super::error::ClientError;
use super::super::{Client, ClientBuilder, Raw, Retry};
use super::{Pool, Shared};
use crate::limit::Limit;
use std::fmt;
use std::time::Duration;

/// What is done with each new connection.
pub(super) type OnConnect<C> = Box<dyn Fn(&mut Client<C>) -> Result<(), ClientError> + Send + Sync>;

/// The settings of a [`Pool`]; from [`ClientBuilder::pool`].
#[must_use]
pub struct PoolBuilder<C = Raw> {
    pub(super) client: ClientBuilder<C>,
    pub(super) endpoint: Endpoint,
    pub(super) max_connections: usize,
    pub(super) max_idle_time: Limit<Duration>,
    pub(super) acquire_timeout: Limit<Duration>,
    pub(super) retry: Retry,
    pub(super) on_connect: Option<OnConnect<C>>,
}

impl<C> PoolBuilder<C> {
    pub(in super::super) fn new(client: ClientBuilder<C>, endpoint: Endpoint) -> Self {
        Self {
            client,
            endpoint,
            // Enough to keep a server of a few cores busy.
            max_connections: 10,
            // Half of the time after which our own servers close a connection that is idle.
            max_idle_time: Limit::At(Duration::from_secs(30)),
            acquire_timeout: Limit::At(Duration::from_secs(10)),
            retry: Retry::never(),
            on_connect: None,
        }
    }

    /// How many connections there may be, idle ones included. Zero is one. 10 if not set.
    pub fn max_connections(mut self, max: usize) -> Self {
        self.max_connections = max.max(1);
        self
    }

    /// How long a connection may wait to be used again. It should be less than the time after
    /// which the server closes it. 30 seconds if not set.
    ///
    /// There is no thread that watches the clock: older ones are closed when the pool is used
    /// next.
    pub fn max_idle_time(mut self, time: impl Into<Limit<Duration>>) -> Self {
        self.max_idle_time = time.into();
        self
    }

    /// How long to wait for a connection to come free when all are in use. 10 seconds if not set.
    pub fn acquire_timeout(mut self, timeout: impl Into<Limit<Duration>>) -> Self {
        self.acquire_timeout = timeout.into();
        self
    }

    /// How often and when [`Pool::call`] tries again. Never, if not set, but for the one retry
    /// that [`Pool`] describes.
    pub fn retry(mut self, retry: Retry) -> Self {
        self.retry = retry;
        self
    }

    /// What is done with each new connection before it is used: log in, choose a database,
    /// subscribe. If it fails, the connection is closed, and that is the error of the call that
    /// needed it.
    pub fn on_connect(
        mut self,
        greet: impl Fn(&mut Client<C>) -> Result<(), ClientError> + Send + Sync + 'static,
    ) -> Self {
        self.on_connect = Some(Box::new(greet));
        self
    }

    /// Makes the pool. It connects when it has to, not now.
    #[must_use]
    pub fn build(self) -> Pool<C> {
        Pool::new(Shared::new(self))
    }
}

impl<C> fmt::Debug for PoolBuilder<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PoolBuilder")
            .field("endpoint", &self.endpoint)
            .field("max_connections", &self.max_connections)
            .field("max_idle_time", &self.max_idle_time)
            .field("acquire_timeout", &self.acquire_timeout)
            .field("retry", &self.retry)
            .finish_non_exhaustive()
    }
}
