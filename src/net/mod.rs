//! The socket layer: every socket call of the crate is made below this module.

#[cfg(feature = "activation")]
pub mod activation;
mod alarm;
mod bind_addr;
mod bind_error;
mod connect;
mod errors;
mod listener;
mod options;
mod platform;
mod reactor;
mod registration;
mod sock_addr;
#[cfg(unix)]
mod socket_file;
mod stream;

pub use crate::addr::{Addr, UnixName};
pub use bind_addr::{BindAddr, ParseBindAddrError};
pub use bind_error::{BindError, BindErrorKind};
pub use listener::Listener;
pub use options::{Keepalive, SocketOptions, Stale};

pub(crate) use alarm::Alarm;
pub(crate) use connect::connect;
#[cfg(feature = "testing")]
pub(crate) use connect::connect_tcp;
pub(crate) use errors::{AcceptPolicy, IoClass, accept_policy, io_class};
pub(crate) use platform::{
    EdgeWatch, SHUTDOWN_ENDS_READS, WakeFd, credentials, descriptor_limit, wait_any,
};
pub(crate) use reactor::{Event, Events, FIRST_RESERVED_KEY, PortableEvents, Reactor, poller_key};
pub(crate) use registration::{Mode, Registration};
pub use stream::TakenStream;
pub(crate) use stream::{SharedStream, Stream};

/// What a socket is watched for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Interest {
    pub(crate) read: bool,
    pub(crate) write: bool,
}

impl Interest {
    pub(crate) const READ: Interest = Interest { read: true, write: false };
}
