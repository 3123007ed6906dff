//! Where a socket lives: an IP address and port, or a Unix-domain name.

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// The address of a socket, of either family.
///
/// It prints as `127.0.0.1:50007`, `[::1]:50007`, `unix:/run/app.sock`, `unix:@name` (a name in
/// Linux' abstract namespace) or `unix:` (a Unix socket without a name, as clients have it).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Addr {
    /// An IPv4 or IPv6 address and a port.
    Tcp(SocketAddr),
    /// A Unix-domain socket.
    Unix(UnixName),
}

/// The name of a Unix-domain socket.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum UnixName {
    /// The socket was never bound to a name. A client's end usually looks like this.
    Unnamed,
    /// A path in the file system.
    Path(PathBuf),
    /// A name in Linux' abstract namespace, without its leading zero byte.
    Abstract(Box<[u8]>),
}

impl Addr {
    /// The IP address and port, if this is a TCP address.
    pub fn as_tcp(&self) -> Option<SocketAddr> {
        match self {
            Addr::Tcp(addr) => Some(*addr),
            Addr::Unix(_) => None,
        }
    }

    /// The path, if this is a Unix socket that has one.
    pub fn as_path(&self) -> Option<&Path> {
        match self {
            Addr::Unix(UnixName::Path(path)) => Some(path),
            _ => None,
        }
    }
}

impl From<SocketAddr> for Addr {
    fn from(addr: SocketAddr) -> Self {
        Addr::Tcp(addr)
    }
}

impl fmt::Display for Addr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Addr::Tcp(addr) => addr.fmt(f),
            Addr::Unix(UnixName::Unnamed) => f.write_str("unix:"),
            Addr::Unix(UnixName::Path(path)) => write!(f, "unix:{}", path.display()),
            Addr::Unix(UnixName::Abstract(name)) => {
                write!(f, "unix:@{}", name.escape_ascii())
            }
        }
    }
}

#[cfg(all(test, target_pointer_width = "64"))]
mod tests {
    /// Each connection has one or two. A path is larger on Windows.
    #[test]
    fn an_address_is_small() {
        let path = size_of::<std::path::PathBuf>();
        assert!(size_of::<super::Addr>() <= 8 + path, "{}", size_of::<super::Addr>());
    }
}
