//! Who is at the other end.

use crate::addr::Addr;
use std::fmt;
use std::net::{IpAddr, SocketAddr};

/// The number of a connection, unique within its server and never used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnectionId(pub(crate) u64);

impl ConnectionId {
    /// The number itself. The first connection of a server has number 1.
    pub fn get(self) -> u64 {
        self.0
    }
}

impl fmt::Display for ConnectionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}", self.0)
    }
}

/// Who is at the other end of a connection.
///
/// The factory gets it, and [`Context::peer`](crate::Context::peer) lends it to every callback. It
/// prints as its address, a Unix one with the process: `127.0.0.1:33486`, `unix:pid=4711`.
///
/// ```
/// use polyserve::Peer;
/// use std::net::SocketAddr;
///
/// let peer = Peer::new(SocketAddr::from(([127, 0, 0, 1], 33486)));
/// assert!(peer.ip().is_some_and(|ip| ip.is_loopback()));
/// assert_eq!(peer.to_string(), "127.0.0.1:33486");
/// ```
#[derive(Debug, Clone)]
pub struct Peer {
    addr: Addr,
    credentials: Option<Box<Credentials>>,
}

/// The process at the other end of a Unix socket, as it was when it connected (Linux:
/// `SO_PEERCRED`, unix(7)).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Credentials {
    /// The process.
    pub pid: i32,
    /// The user that it ran as.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
}

impl Peer {
    /// A peer with this address, for example for a test of a factory.
    pub fn new(addr: impl Into<Addr>) -> Self {
        Self { addr: addr.into(), credentials: None }
    }

    pub(crate) fn with_credentials(mut self, credentials: Option<(i32, u32, u32)>) -> Self {
        self.credentials =
            credentials.map(|(pid, uid, gid)| Box::new(Credentials { pid, uid, gid }));
        self
    }

    /// The address that the peer connected from. For TCP its port is the one that the peer's
    /// system chose, usually at random.
    pub fn addr(&self) -> &Addr {
        &self.addr
    }

    /// The IP address and port, unless the peer came over a Unix socket.
    pub fn socket_addr(&self) -> Option<SocketAddr> {
        self.addr.as_tcp()
    }

    /// The IP address, unless the peer came over a Unix socket.
    pub fn ip(&self) -> Option<IpAddr> {
        self.socket_addr().map(|addr| addr.ip())
    }

    /// The process at the other end of a Unix socket, where the system tells.
    pub fn credentials(&self) -> Option<&Credentials> {
        self.credentials.as_deref()
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.addr.fmt(f)?;
        match &self.credentials {
            Some(who) => write!(f, "pid={}", who.pid),
            None => Ok(()),
        }
    }
}
