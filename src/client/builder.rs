//! Settings of a client.

use super::connect::connect;
use super::endpoint::Endpoint;
use super::error::ConnectError;
use super::pool::PoolBuilder;
use super::resolve::{Resolve, SystemResolver};
use super::{Client, Raw, Timeouts};
use crate::limit::Limit;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// The settings of a [`Client`], and the way to connect with them, as often as is needed.
///
/// A time-out is a [`Duration`]; turning one off is said by [`Limit::Unlimited`]. A time-out of
/// zero means: only what is possible at once. One that is longer than the clock can tell never
/// passes. [All of them](super#time-outs) are in one table.
///
/// ```
/// # use std::net::TcpListener;
/// use polyserve::Client;
/// use polyserve::Limit;
/// use std::time::Duration;
///
/// # let listener = TcpListener::bind("127.0.0.1:0")?;
/// # let server = listener.local_addr()?;
/// let client = Client::builder()
///     .connect_timeout(Duration::from_secs(2))
///     .read_timeout(Limit::Unlimited)
///     .connect(server)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
#[must_use]
pub struct ClientBuilder<C = Raw> {
    settings: Settings,
    codec: C,
}

/// All settings but the codec.
#[derive(Clone)]
pub(super) struct Settings {
    pub(super) resolve_timeout: Limit<Duration>,
    pub(super) connect_timeout: Limit<Duration>,
    pub(super) timeouts: Timeouts,
    pub(super) nodelay: bool,
    pub(super) resolver: Arc<dyn Resolve>,
}

impl Default for ClientBuilder {
    fn default() -> Self {
        let settings = Settings {
            // A system asks its second name server when the first has not answered for 5 seconds
            // (resolv.conf(5)); and then there should be time left to connect.
            resolve_timeout: Limit::At(Duration::from_secs(8)),
            connect_timeout: Limit::At(Duration::from_secs(10)),
            timeouts: Timeouts::default(),
            nodelay: true,
            resolver: Arc::new(SystemResolver),
        };
        Self { settings, codec: Raw }
    }
}

impl<C> ClientBuilder<C> {
    /// How long resolving the name may take, within the
    /// [connect time-out](Self::connect_timeout). 8 seconds if not set.
    pub fn resolve_timeout(mut self, timeout: impl Into<Limit<Duration>>) -> Self {
        self.settings.resolve_timeout = timeout.into();
        self
    }

    /// How long resolving the name and trying all of its addresses may take together. 10 seconds
    /// if not set.
    ///
    /// The time that is left is divided evenly over the addresses that are left, so that one that
    /// never answers does not use up the time of those behind it. An attempt gets at least a
    /// millisecond.
    pub fn connect_timeout(mut self, timeout: impl Into<Limit<Duration>>) -> Self {
        self.settings.connect_timeout = timeout.into();
        self
    }

    /// How long the first byte of what is received may keep a call waiting: the time that a
    /// server has to think. 30 seconds if not set.
    pub fn first_byte_timeout(mut self, timeout: impl Into<Limit<Duration>>) -> Self {
        self.settings.timeouts.read.first_byte = timeout.into();
        self
    }

    /// How long each further byte may keep a call waiting. 30 seconds if not set.
    pub fn idle_timeout(mut self, timeout: impl Into<Limit<Duration>>) -> Self {
        self.settings.timeouts.read.idle = timeout.into();
        self
    }

    /// How long one call that receives may take as a whole: until the reply is complete. 30
    /// seconds if not set.
    ///
    /// For replies of which nobody knows how long they take, [`Limit::Unlimited`] turns this one
    /// off; a server that has died is then still found by the
    /// [first byte's](Self::first_byte_timeout) and the [next byte's](Self::idle_timeout)
    /// time-out.
    pub fn read_timeout(mut self, timeout: impl Into<Limit<Duration>>) -> Self {
        self.settings.timeouts.read.whole = timeout.into();
        self
    }

    /// How long one call that sends may take as a whole. 30 seconds if not set.
    pub fn write_timeout(mut self, timeout: impl Into<Limit<Duration>>) -> Self {
        self.settings.timeouts.write = timeout.into();
        self
    }

    /// Whether small messages leave at once, in place of waiting for an acknowledgement of the
    /// one before (`TCP_NODELAY`). On if not set.
    pub fn nodelay(mut self, on: bool) -> Self {
        self.settings.nodelay = on;
        self
    }

    /// Who finds the addresses of names. The operating system, if not set. Literal addresses and
    /// Unix sockets are never asked for.
    pub fn resolver(mut self, resolver: impl Resolve) -> Self {
        self.settings.resolver = Arc::new(resolver);
        self
    }

    /// Makes clients of messages rather than of bytes, as this codec reads and writes them.
    pub fn codec<D>(self, codec: D) -> ClientBuilder<D> {
        ClientBuilder { settings: self.settings, codec }
    }

    /// Connects. The connection has a clone of the codec.
    ///
    /// # Errors
    /// [`ConnectError`] names the phase, and lists what each address answered.
    pub fn connect(&self, to: impl Into<Endpoint>) -> Result<Client<C>, ConnectError>
    where
        C: Clone,
    {
        self.connect_to(&to.into())
    }

    pub(super) fn connect_to(&self, to: &Endpoint) -> Result<Client<C>, ConnectError>
    where
        C: Clone,
    {
        let (stream, peer) = connect(to, &self.settings)?;
        Ok(Client::new(stream, peer, self.settings.timeouts, self.codec.clone()))
    }

    pub(super) fn timeouts(&self) -> Timeouts {
        self.settings.timeouts
    }

    /// Makes a [`Pool`](super::Pool) of connections with these settings. Nothing is connected
    /// before it is needed.
    pub fn pool(self, to: impl Into<Endpoint>) -> PoolBuilder<C> {
        PoolBuilder::new(self, to.into())
    }
}

impl<C> fmt::Debug for ClientBuilder<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientBuilder")
            .field("resolve_timeout", &self.settings.resolve_timeout)
            .field("connect_timeout", &self.settings.connect_timeout)
            .field("timeouts", &self.settings.timeouts)
            .field("nodelay", &self.settings.nodelay)
            .finish_non_exhaustive()
    }
}
