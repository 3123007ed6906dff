//! The socket layer: every socket call of the crate is made below this module.

mod addr;
mod bind_addr;
mod bind_error;
mod errors;
mod listener;
mod options;
mod platform;
mod reactor;
mod registration;
#[cfg(unix)]
mod socket_file;
mod stream;

pub use addr::{Addr, UnixName};
pub use bind_addr::{BindAddr, ParseBindAddrError};
pub use bind_error::{BindError, BindErrorKind};
pub use listener::Listener;
pub use options::{Keepalive, SocketOptions, Stale};

pub(crate) use errors::{AcceptPolicy, IoClass, accept_policy, io_class};
pub(crate) use platform::{WakeFd, credentials, descriptor_limit, wait_any};
pub(crate) use reactor::{Events, FIRST_RESERVED_KEY, PortableEvents, Reactor, poller_key};
pub(crate) use registration::{Mode, Registration};
pub(crate) use stream::Stream;
pub use stream::TakenStream;

/// What a socket is watched for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Interest {
    pub(crate) read: bool,
    pub(crate) write: bool,
}
