//! The servers: each file has one way to serve, as its maintainers show it.
//!
//! All have a read buffer of 64 KiB where they let one choose, and switch Nagle's algorithm off
//! where they can. What happens to errors is each one's own way: it is a part of what is compared.

mod book_pool;
// The baseline of the crate's own benches is the baseline here.
#[path = "../../../common/epoll.rs"]
mod epoll;
mod message_io;
mod mill_net;
mod mio;
mod polyserve;
mod std_threads;
mod tiny_http;
mod tokio;

use crate::protocol::{Echo, Http, Protocol};
use ::polyserve::Strategy;
pub use polyserve::Toll;
use std::error::Error;
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::str::FromStr;
use std::time::Duration;

pub type BoxError = Box<dyn Error + Send + Sync>;

/// What the servers read at once.
pub(crate) const BUFFER: usize = 64 * 1024;

/// What a server speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Speaks {
    Echo,
    Http,
}

/// Who serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Epoll,
    StdThreads,
    BookPool,
    Mio,
    Tokio,
    TokioBackOff,
    TokioCurrentThread,
    MessageIo,
    MillNet,
    TinyHttp,
    Polyserve,
}

/// What the options of the command line say.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    pub listen: SocketAddr,
    /// Of polyserve.
    pub backend: Strategy,
    /// Of polyserve: whether its event loop waits by `polling` alone.
    pub portable: bool,
    /// Of polyserve: how many connections it takes, idle ones for as long as they like.
    pub connections: Option<usize>,
    /// Of polyserve's echoes.
    pub toll: Option<Toll>,
    /// Of polyserve's event loops.
    pub busy_poll: Duration,
    /// Of the pool by the book.
    pub workers: usize,
}

impl Kind {
    pub const ALL: [Kind; 11] = [
        Kind::Epoll,
        Kind::StdThreads,
        Kind::BookPool,
        Kind::Mio,
        Kind::Tokio,
        Kind::TokioBackOff,
        Kind::TokioCurrentThread,
        Kind::MessageIo,
        Kind::MillNet,
        Kind::TinyHttp,
        Kind::Polyserve,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Kind::Epoll => "epoll",
            Kind::StdThreads => "std-threads",
            Kind::BookPool => "book-pool",
            Kind::Mio => "mio",
            Kind::Tokio => "tokio",
            Kind::TokioBackOff => "tokio-backoff",
            Kind::TokioCurrentThread => "tokio-current-thread",
            Kind::MessageIo => "message-io",
            Kind::MillNet => "mill-net",
            Kind::TinyHttp => "tiny_http",
            Kind::Polyserve => "polyserve",
        }
    }

    /// Where it comes from, and what is worth knowing of how it is used.
    pub fn about(self) -> &'static str {
        match self {
            Kind::Epoll => "one level-triggered loop over epoll(7) by hand, by rustix",
            Kind::StdThreads => "std::net by hand, a thread for each connection",
            Kind::BookPool => {
                "the pool of the last chapter of \"The Rust Programming Language\": a job is a \
                 connection, in an mpsc queue behind a mutex; 4 workers"
            }
            Kind::Mio => "as its example tcp_server",
            Kind::Tokio => "as its example echo-tcp, on the runtime with many threads",
            Kind::TokioBackOff => "as tokio, with the accept loop of its guide mini-redis",
            Kind::TokioCurrentThread => "as tokio, on the runtime of one thread",
            Kind::MessageIo => "as its example ping-pong, over Transport::Tcp",
            Kind::MillNet => "as its example tcp_echo_server",
            Kind::TinyHttp => "as its example hello-world, 4 threads",
            Kind::Polyserve => "this crate; --backend chooses",
        }
    }

    pub fn speaks(self, what: Speaks) -> bool {
        self != Kind::TinyHttp || what == Speaks::Http
    }

    /// Serves until it fails, or for ever. `ready` is told the address once it listens.
    ///
    /// # Errors
    /// As the server itself has them.
    pub fn serve(self, what: Speaks, options: &Options, ready: Ready) -> Result<(), BoxError> {
        match (what, self) {
            (Speaks::Echo, Kind::TinyHttp) => Err("tiny_http serves HTTP only".into()),
            (_, Kind::TinyHttp) => tiny_http::serve(options.listen, ready),
            (_, Kind::Polyserve) => polyserve::serve(what, options, ready),
            (Speaks::Echo, _) => self.serve_by::<Echo>(options, ready),
            (Speaks::Http, _) => self.serve_by::<Http>(options, ready),
        }
    }

    fn serve_by<P: Protocol>(self, options: &Options, ready: Ready) -> Result<(), BoxError> {
        let addr = options.listen;
        match self {
            Kind::Epoll => {
                let listener = listen(addr)?;
                ready(listener.local_addr()?);
                Ok(epoll::serve::<P>(listener)?)
            }
            Kind::StdThreads => std_threads::serve::<P>(addr, ready),
            Kind::BookPool => book_pool::serve::<P>(addr, options.workers, ready),
            Kind::Mio => mio::serve::<P>(addr, ready),
            Kind::Tokio => tokio::serve::<P>(addr, tokio::Variant::Threads, ready),
            Kind::TokioBackOff => tokio::serve::<P>(addr, tokio::Variant::BackOff, ready),
            Kind::TokioCurrentThread => {
                tokio::serve::<P>(addr, tokio::Variant::CurrentThread, ready)
            }
            Kind::MessageIo => message_io::serve::<P>(addr, ready),
            Kind::MillNet => mill_net::serve::<P>(addr, ready),
            Kind::TinyHttp | Kind::Polyserve => unreachable!("they have protocols of their own"),
        }
    }
}

impl FromStr for Kind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Kind::ALL.into_iter().find(|kind| kind.name() == text).ok_or_else(|| {
            let names: Vec<&str> = Kind::ALL.iter().map(|kind| kind.name()).collect();
            format!("no server {text:?}; there are {}", names.join(", "))
        })
    }
}

impl FromStr for Speaks {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "echo" => Ok(Speaks::Echo),
            "http" => Ok(Speaks::Http),
            _ => Err(format!("{text:?} is neither echo nor http")),
        }
    }
}

/// Is told the address that a server listens on.
pub type Ready = fn(SocketAddr);

/// With the backlog that the other servers have; the standard library's is 128.
fn listen(addr: SocketAddr) -> io::Result<TcpListener> {
    let socket =
        socket2::Socket::new(socket2::Domain::for_address(addr), socket2::Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    socket.bind(&addr.into())?;
    socket.listen(1024)?;
    Ok(socket.into())
}

/// A connection that has a thread to itself: blocking reads and writes until it ends.
fn blocking<P: Protocol>(mut stream: TcpStream) -> io::Result<()> {
    use std::io::{Read, Write};
    stream.set_nodelay(true)?;
    let (mut protocol, mut buffer, mut output) = (P::default(), vec![0; BUFFER], Vec::new());
    loop {
        match stream.read(&mut buffer)? {
            0 => return Ok(()),
            n => stream.write_all(protocol.answer(&buffer[..n], &mut output)?)?,
        }
    }
}
