//! Addresses as the system reports them.

use crate::addr::{Addr, UnixName};

impl Addr {
    /// The address as socket2 reports it. An address of a family that this crate does not know
    /// counts as an unnamed Unix socket.
    pub(crate) fn from_sock_addr(addr: &socket2::SockAddr) -> Self {
        if let Some(addr) = addr.as_socket() {
            return Addr::Tcp(addr);
        }
        #[cfg(unix)]
        if let Some(path) = addr.as_pathname() {
            return Addr::Unix(UnixName::Path(path.to_path_buf()));
        }
        Addr::Unix(abstract_name(addr).map_or(UnixName::Unnamed, UnixName::Abstract))
    }
}

#[cfg(any(target_os = "linux", target_os = "android"))]
fn abstract_name(addr: &socket2::SockAddr) -> Option<Box<[u8]>> {
    addr.as_abstract_namespace().map(Into::into)
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn abstract_name(_addr: &socket2::SockAddr) -> Option<Box<[u8]>> {
    None
}
