//! What can be told of a connection from outside of it.

use super::peer::ConnectionId;
use crate::addr::Addr;
use std::fmt;
use std::time::Duration;

/// A live connection, as [`Control::connections`](crate::Control::connections) lists it.
///
/// What its own thread counts (bytes, requests, what is held, the state) is as it was at the end of
/// the connection's last turn; each figure is true by itself, and bytes may be a turn ahead of the
/// rest.
///
/// ```
/// use polyserve::{Client, Framed, Server, codec::Lines};
///
/// let server = Server::builder().bind("127.0.0.1:0")?.spawn(|_peer| {
///     Framed::new(Lines::new(), |line, replies| replies.send(&line.to_uppercase()))
/// })?;
/// let mut client = Client::connect(&server.local_addrs()[0])?;
/// client.send(b"one\ntwo\n")?;
/// client.recv_until(b"TWO\n", 100)?;
///
/// for connection in server.control().connections() {
///     println!("{connection}"); // #1 127.0.0.1:41234 open, 0 s, 8 bytes in, 8 out, ...
///     assert_eq!(connection.received, 8);
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ConnectionInfo {
    /// Its number.
    pub id: ConnectionId,
    /// Where it comes from.
    pub peer: Addr,
    /// The address of the listener that accepted it. One that listens on all addresses of the
    /// machine says so here; [`Context::local_addr`](crate::Context::local_addr) knows which of
    /// them was connected to.
    pub local: Addr,
    /// How long it has been there.
    pub age: Duration,
    /// How long its peer has sent nothing; `None` while the connection is
    /// [busy](crate::Context::is_busy). In steps of 8 ms.
    pub idle: Option<Duration>,
    /// Bytes that the handler was given, or that it holds unread: those of a layer, if there is
    /// one, are not counted.
    pub received: u64,
    /// Bytes that the system took for sending.
    pub sent: u64,
    /// How many requests it has made: see [`Context::count_requests`](crate::Context::count_requests).
    pub requests: u64,
    /// Bytes of output that the system has not taken yet. Above 256 MiB it says 256 MiB.
    pub output_held: usize,
    /// Where it is in its life.
    pub state: ConnectionState,
}

/// Where a connection is in its life, and whether its peer is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ConnectionState {
    /// Accepted; its handler is not made yet: it waits for its first turn, or its layer shakes
    /// hands.
    Opening,
    /// The handler serves it.
    Open,
    /// Open, and not read: the handler has [paused](crate::Action::Pause) it.
    Paused,
    /// Open, and not read: its output is above the high mark (back-pressure).
    Throttled,
    /// Open, and not read: all connections together hold too much.
    Starved,
    /// Open; the peer has finished sending.
    HalfClosed,
    /// Its end is decided, and its last output is written.
    Closing,
    /// It is over for its handler. The socket waits for the peer's end, so that the last bytes
    /// are not lost.
    Lingering,
}

impl ConnectionState {
    /// A short name for logs and metrics, such as `half_closed`.
    pub fn name(self) -> &'static str {
        match self {
            ConnectionState::Opening => "opening",
            ConnectionState::Open => "open",
            ConnectionState::Paused => "paused",
            ConnectionState::Throttled => "throttled",
            ConnectionState::Starved => "starved",
            ConnectionState::HalfClosed => "half_closed",
            ConnectionState::Closing => "closing",
            ConnectionState::Lingering => "lingering",
        }
    }
}

impl fmt::Display for ConnectionState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// One line for an operator.
impl fmt::Display for ConnectionInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { id, peer, local, age, received, sent, requests, output_held, state, idle } =
            self;
        write!(
            f,
            "{id} {peer} on {local} {state}, {} s, {received} bytes in, {sent} out, \
             {output_held} held, {requests} requests",
            age.as_secs(),
        )?;
        match idle {
            Some(idle) => write!(f, ", idle for {} s", idle.as_secs()),
            None => f.write_str(", busy"),
        }
    }
}
