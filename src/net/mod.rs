//! The socket layer: every socket call of the crate is made below this module.

mod addr;
mod bind_addr;
mod bind_error;
mod errors;
mod listener;
mod options;
mod platform;
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
pub(crate) use platform::{WakeFd, wait_any};
pub(crate) use registration::{Mode, Registration};
pub(crate) use stream::Stream;

/// What a socket is watched for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Interest {
    pub(crate) read: bool,
    pub(crate) write: bool,
}
