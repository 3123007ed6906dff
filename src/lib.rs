//! TCP servers and clients without async: one handler, run by a thread for each connection, by a
//! thread pool, or by event loops.
//!
//! You write what one connection does, as a [`Handler`]: bytes in, bytes out. A [`Server`] accepts
//! connections, makes one handler for each, and runs them on the backend that one line chooses. The
//! behaviour is the same on all of them.
//!
//! ```
//! use polyserve::{Action, BoxError, Client, Context, EventLoop, Handler, Input, Server};
//! use std::time::Duration;
//!
//! struct Echo;
//!
//! impl Handler for Echo {
//!     fn on_data(&mut self, input: &mut Input<'_>, cx: &mut Context<'_>) -> Result<Action, BoxError> {
//!         cx.send(input.take());
//!         Ok(Action::Continue)
//!     }
//! }
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let server = Server::builder()
//!     .backend(EventLoop::new()) // or ThreadPool::new(8), or ThreadPerConnection::new()
//!     .bind("127.0.0.1:0")? // port 0: the system chooses one
//!     .spawn(|_peer| Echo)?; // `serve` would block instead
//!
//! let mut client = Client::connect(&server.local_addrs()[0])?;
//! client.send(b"Hello, world")?;
//! let mut reply = [0; 12];
//! client.recv_exact(&mut reply)?;
//! assert_eq!(&reply, b"Hello, world");
//! client.shutdown_write()?;
//!
//! let report = server.drain(Duration::ZERO, Duration::from_secs(5));
//! assert!(report.finished_all);
//! # Ok(())
//! # }
//! ```
//!
//! # Overview
//!
//! What nearly every program uses:
//!
//! - [`Framed`], which reads requests by a [`codec`] and gives each to a closure or a [`Service`],
//!   with [`Replies`] to answer by: at once, in parts, or [later](Reply).
//! - Or, for who wants the bytes themselves, [`Handler`], the one trait below it: eight callbacks,
//!   all but `on_data` defaulted. It is lent the received bytes as [`Input`], and a [`Context`] to
//!   send by; it answers with an [`Action`]: go on, want more, pause, close.
//! - [`Server::builder`], which binds addresses and sets limits; [`Builder::serve`] runs the server
//!   on the calling thread, [`Builder::spawn`] on another and returns a [`ServerHandle`].
//! - A backend: [`ThreadPerConnection`], [`ThreadPool`] or [`EventLoop`]; or [`Strategy`], which is
//!   any of the three by its name.
//! - [`Client`], which makes blocking calls with deadlines, and [`client::Pool`], which keeps
//!   connections for many threads and tries again where that is safe.
//!
//! What some programs use besides:
//!
//! - [`Sender`] sends to a connection from any thread, [`Group`] to many; [`Control`] steers a server from anywhere.
//! - [`Limits`] and [`Timeouts`] bound what connections may use; [`SocketOptions`] are what their
//!   sockets are set to. All have defaults that hold up against strangers. [`Limit::Unlimited`] is
//!   the only way to turn a time-out off.
//! - [`Observer`] is told what happens, [`CloseReason`] says why a connection ended. Errors are
//!   sorted by who must act: [`BindError`], [`ServeError`] (with [`ConfigError`]), [`SendError`],
//!   [`client::ConnectError`], [`client::ClientError`].
//! - [`Backend`], to decide yourself which thread runs a [`Session`] of the [`Acceptor`], and when;
//!   [`Layer`], to put encryption or a proxy's header between the socket and the handler.
//!
//! # Which backend?
//!
//! | | [`ThreadPerConnection`] | [`ThreadPool`] | [`EventLoop`] |
//! |---|---|---|---|
//! | may a handler block? | yes | yes; it occupies one worker | no; it holds up its loop |
//! | connections at once | hundreds to thousands | any number, most of them idle | any number |
//! | threads | one each | as many as you say | as many as you say |
//!
//! # What it does, and what it does not
//!
//! It does:
//!
//! - serve TCP over IPv4 and IPv6 and Unix-domain stream sockets, on several addresses at once;
//! - keep the order of callbacks, the limits and the time-outs the same on every backend;
//! - push back: a peer that does not read is not read from, and a sender is told when it is full;
//! - survive panics of handlers, resets of peers and a system that is out of descriptors or threads;
//! - drain: stop accepting, let busy connections finish, close the rest, and report.
//!
//! It does not:
//!
//! - use or offer async: there are no futures here;
//! - speak a protocol: bytes and frames are what it knows;
//! - serve UDP, or datagrams of any kind;
//! - log, install signal handlers or change limits of the process, unless it is asked to;
//! - end a thread that is stuck in a handler: no library can.
//!
//! # Features
//!
//! All are off by default. They add something and change nothing.
//!
//! - `testing`: kits for tests of your own.
//! - `compare`: measures a handler of yours on every strategy, and says which is best for it.
//! - `activation`: takes the listeners that a service manager passes, by
//!   `Builder::activated_or_bind`.
//! - `signals`: SIGTERM and SIGINT drain a server, by `signals::drain_on_signals`.
//! - `tracing`: `observe::TracingObserver`, which makes events of the `tracing` crate.
//!
//! # Platforms
//!
//! Developed and tested on Linux. What other systems need is there and tested as far as Linux can
//! run it; nobody has run it on those systems. The minimum supported Rust version is 1.86.
//!
//! # More to read
//!
//! - [The guide](_documentation::guide): how to write a server and its client, step by step
//! - [The ideas behind client and server](_documentation::client_server), one by one, each with a
//!   command that shows it
//! - [Running a server](_documentation::operations): the defaults and why, sizing, stopping, what to watch
//! - [Comparing strategies for a handler of yours](_documentation::comparing)
//! - [How the crate is built](_documentation::architecture)
//! - [Why it is built like that](_documentation::design)
//! - [What has changed](_documentation::changelog)

mod acceptor;
mod addr;
mod backend;
mod buffer;
pub mod client;
pub mod codec;
#[cfg(feature = "compare")]
pub mod compare;
mod connection;
mod framed;
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
pub use connection::{AtLimit, Limits, Ready, Timeouts, Turn, Wants};
pub use framed::{FnService, Framed, IntoAction, Replies, Reply, ReplyError, Service};
pub use handler::{
    Action, BoxError, CloseKind, CloseReason, ConnectionId, ConnectionInfo, ConnectionState,
    Context, Control, Credentials, Delivered, Group, Handler, Message, Peer, SendError,
    SendErrorKind, Sender, Wake, WhenFull,
};
pub use layer::{Layer, Progress};
pub use limit::Limit;
#[cfg(feature = "activation")]
pub use net::activation;
pub use net::{BindError, SocketOptions};
pub use observe::{Observer, StderrObserver};
pub use serve_error::{ConfigError, ServeError};
pub use server::{Builder, Server, ServerHandle};
pub use session::{Scratch, Session};
pub use shutdown::DrainReport;

/// Longer texts about the crate. They are `docs/*.md` of the repository.
#[cfg(doc)]
pub mod _documentation {
    #[doc = include_str!("../docs/guide.md")]
    pub mod guide {}
    #[doc = include_str!("../docs/client-server.md")]
    pub mod client_server {}
    #[doc = include_str!("../docs/operations.md")]
    pub mod operations {}
    #[doc = include_str!("../docs/architecture.md")]
    pub mod architecture {}
    #[doc = include_str!("../docs/design.md")]
    pub mod design {}
    #[doc = include_str!("../docs/comparing.md")]
    pub mod comparing {}
    #[doc = include_str!("../docs/benchmarks.md")]
    pub mod benchmarks {}
    #[doc = include_str!("../docs/proofs.md")]
    pub mod proofs {}
    #[doc = include_str!("../CHANGELOG.md")]
    pub mod changelog {}
}

/// The examples of the README are tests, too.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
