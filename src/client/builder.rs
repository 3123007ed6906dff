//! Settings of a client.

use super::connect::connect;
use super::endpoint::Endpoint;
use super::error::ConnectError;
use super::resolve::{Resolve, SystemResolver};
use super::{Client, Timeouts};
use crate::limit::Limit;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// The settings of a [`Client`], and the way to connect with them, as often as is needed.
///
/// A time-out is a [`Duration`]; turning one off is said by [`Limit::Unlimited`]. A time-out of
/// zero means: only what is possible at once. One that is longer than the clock can tell never
/// passes.
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
pub struct ClientBuilder {
    pub(super) connect_timeout: Limit<Duration>,
    pub(super) timeouts: Timeouts,
    pub(super) nodelay: bool,
    pub(super) resolver: Arc<dyn Resolve>,
}

impl Default for ClientBuilder {
    fn default() -> Self {
        Self {
            connect_timeout: Limit::At(Duration::from_secs(10)),
            timeouts: Timeouts::default(),
            nodelay: true,
            resolver: Arc::new(SystemResolver),
        }
    }
}

impl ClientBuilder {
    /// How long resolving the name and trying all of its addresses may take together. 10 seconds
    /// if not set.
    ///
    /// The time that is left is divided evenly over the addresses that are left, so that one that
    /// never answers does not use up the time of those behind it. An attempt gets at least a
    /// millisecond.
    pub fn connect_timeout(mut self, timeout: impl Into<Limit<Duration>>) -> Self {
        self.connect_timeout = timeout.into();
        self
    }

    /// How long one call that receives may take as a whole. 30 seconds if not set.
    pub fn read_timeout(mut self, timeout: impl Into<Limit<Duration>>) -> Self {
        self.timeouts.read = timeout.into();
        self
    }

    /// How long one call that sends may take as a whole. 30 seconds if not set.
    pub fn write_timeout(mut self, timeout: impl Into<Limit<Duration>>) -> Self {
        self.timeouts.write = timeout.into();
        self
    }

    /// Whether small messages leave at once, in place of waiting for an acknowledgement of the
    /// one before (`TCP_NODELAY`). On if not set.
    pub fn nodelay(mut self, on: bool) -> Self {
        self.nodelay = on;
        self
    }

    /// Who finds the addresses of names. The operating system, if not set. Literal addresses and
    /// Unix sockets are never asked for.
    pub fn resolver(mut self, resolver: impl Resolve) -> Self {
        self.resolver = Arc::new(resolver);
        self
    }

    /// Connects.
    ///
    /// # Errors
    /// [`ConnectError`] names the phase, and lists what each address answered.
    pub fn connect(&self, to: impl Into<Endpoint>) -> Result<Client, ConnectError> {
        let (stream, peer) = connect(&to.into(), self)?;
        Ok(Client::new(stream, peer, self.timeouts))
    }
}

impl fmt::Debug for ClientBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientBuilder")
            .field("connect_timeout", &self.connect_timeout)
            .field("timeouts", &self.timeouts)
            .field("nodelay", &self.nodelay)
            .finish_non_exhaustive()
    }
}
