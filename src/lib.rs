//! TCP servers and clients without async.

mod acceptor;
mod addr;
mod backend;
mod buffer;
pub mod client;
mod connection;
mod handler;
mod layer;
mod limit;
pub mod net;
pub mod observe;
mod serve_error;
mod server;
mod session;
mod shutdown;
#[cfg(feature = "signals")]
pub mod signals;
mod sync;
#[cfg(feature = "testing")]
pub mod testing;

pub use acceptor::{AcceptTurn, Acceptor};
pub use addr::Addr;
pub use backend::{
    Backend, EventLoop, ParseStrategyError, Strategy, ThreadPerConnection, ThreadPool,
};
pub use buffer::Input;
pub use client::Client;
pub use connection::{Limits, Ready, Timeouts, Turn, Wants};
pub use handler::{
    Action, BoxError, CloseKind, CloseReason, ConnectionId, ConnectionInfo, Context, Control,
    Credentials, Handler, Message, Peer, SendError, SendErrorKind, Sender, Wake,
};
pub use layer::{Layer, Progress};
pub use limit::Limit;
pub use net::{BindError, SocketOptions};
pub use observe::{Observer, StderrObserver};
pub use serve_error::{ConfigError, ServeError};
pub use server::{Builder, Server, ServerHandle};
pub use session::{Scratch, Session};
pub use shutdown::DrainReport;
