//! The servers that are measured: this crate's, and what one would write by hand.

#[cfg(target_os = "linux")]
#[path = "epoll.rs"]
mod epoll;

use polyserve::{Action, BoxError, Context, Handler, Input, Limit, Server, ServerHandle, Strategy};
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::str::FromStr;
use std::sync::OnceLock;
use std::thread;
use std::time::{Duration, Instant};

/// One way to serve echoes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Contender {
    Polyserve(Strategy),
    /// `std::net`, a thread for each connection.
    StdThreads,
    /// One loop over epoll(7), by hand.
    #[cfg(target_os = "linux")]
    Epoll,
}

/// A server that runs in this process until it is dropped.
pub(crate) struct Running {
    pub(crate) addr: SocketAddr,
    /// The servers by hand have none. They are left to themselves, and end with the process.
    _handle: Option<ServerHandle>,
}

/// One connection's side of a protocol, of a server by hand.
#[cfg(target_os = "linux")]
trait Protocol: Default {
    /// Answers the bytes that came: the answer is made in `output`, or is a part of `input`.
    fn answer<'a>(&mut self, input: &'a [u8], output: &'a mut Vec<u8>) -> io::Result<&'a [u8]>;
}

#[cfg(target_os = "linux")]
impl Protocol for Echo {
    fn answer<'a>(&mut self, input: &'a [u8], _output: &'a mut Vec<u8>) -> io::Result<&'a [u8]> {
        Ok(input)
    }
}

/// The handler that everything is measured with. It has no size of its own.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Echo;

impl Handler for Echo {
    fn on_data(&mut self, input: &mut Input<'_>, cx: &mut Context<'_>) -> Result<Action, BoxError> {
        cx.send(input.take());
        Ok(Action::Continue)
    }
}

/// What a handler does before it echoes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Toll {
    None,
    /// 50 µs of CPU time.
    Burn,
    /// Its thread is blocked for a millisecond, as by a call of another server.
    Block,
}

/// Pays for each message of so many bytes.
#[derive(Debug, Clone, Copy)]
struct Slow {
    toll: Toll,
    size: usize,
}

impl Handler for Slow {
    fn on_data(&mut self, input: &mut Input<'_>, cx: &mut Context<'_>) -> Result<Action, BoxError> {
        while input.len() >= self.size {
            self.toll.pay();
            cx.send(&input[..self.size]);
            input.consume(self.size);
        }
        Ok(Action::Want(self.size))
    }
}

impl Toll {
    fn pay(self) {
        match self {
            Toll::None => (),
            Toll::Burn => spin(turns_of_50_micros()),
            #[expect(clippy::disallowed_methods, reason = "see below")]
            // What is measured: a handler that blocks.
            Toll::Block => thread::sleep(Duration::from_millis(1)),
        }
    }
}

/// A chain of dependent steps, which no processor does at once.
fn spin(turns: u64) {
    let mut state = 1u64;
    for _ in 0..turns {
        state = std::hint::black_box(state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1));
    }
}

/// The same work each time, rather than until a time of day: who has no core does none. Measured
/// once; the shortest of some tries is the one that nobody interrupted.
fn turns_of_50_micros() -> u64 {
    const TRIED: u64 = 100_000;
    static TURNS: OnceLock<u64> = OnceLock::new();
    *TURNS.get_or_init(|| {
        let took = (0..20).map(|_| {
            let began = Instant::now();
            spin(TRIED);
            began.elapsed()
        });
        let nanos = took.min().map_or(1, |least| least.as_nanos().max(1));
        (u128::from(TRIED) * 50_000 / nanos) as u64
    })
}

/// What a server by hand reads at once; this crate's do the same.
const BUFFER: usize = 64 * 1024;

impl Contender {
    pub(crate) fn name(self) -> String {
        match self {
            Contender::Polyserve(strategy) => strategy.to_string(),
            Contender::StdThreads => "std-threads".to_owned(),
            #[cfg(target_os = "linux")]
            Contender::Epoll => "epoll".to_owned(),
        }
    }

    /// Starts the server on a free port.
    pub(crate) fn start(self) -> Running {
        match self {
            Contender::Polyserve(strategy) => polyserve(strategy, Echo),
            Contender::StdThreads => by_hand(std_threads),
            #[cfg(target_os = "linux")]
            Contender::Epoll => {
                by_hand(|listener| epoll::serve::<Echo>(listener).expect("epoll works"))
            }
        }
    }

    /// As `start`, with a handler that does something for each message of `size` bytes.
    ///
    /// # Panics
    /// A server by hand has no other handler.
    pub(crate) fn start_with(self, toll: Toll, size: usize) -> Running {
        match (self, toll) {
            (_, Toll::None) => self.start(),
            (Contender::Polyserve(strategy), _) => polyserve(strategy, Slow { toll, size }),
            _ => panic!("{} only echoes", self.name()),
        }
    }
}

impl FromStr for Contender {
    type Err = polyserve::ParseStrategyError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "std-threads" => Ok(Contender::StdThreads),
            #[cfg(target_os = "linux")]
            "epoll" => Ok(Contender::Epoll),
            _ => text.parse().map(Contender::Polyserve),
        }
    }
}

fn polyserve(strategy: Strategy, handler: impl Handler + Copy + Sync) -> Running {
    let server = Server::builder()
        .backend(strategy)
        .idle_timeout(Limit::Unlimited)
        .max_connections(match strategy {
            Strategy::Threads => 4_096,
            _ => 30_000,
        })
        .bind("127.0.0.1:0")
        .expect("a free port on the loopback interface");
    let handle = server.spawn(move |_| handler).expect("the server starts");
    let addr = handle.local_addrs()[0].as_tcp().expect("it was bound to TCP");
    Running { addr, _handle: Some(handle) }
}

fn by_hand(serve: impl FnOnce(TcpListener) + Send + 'static) -> Running {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let addr = listener.local_addr().expect("it is bound");
    thread::spawn(move || serve(listener));
    Running { addr, _handle: None }
}

fn std_threads(listener: TcpListener) {
    for stream in listener.incoming().flatten() {
        // An error is the peer's end of the connection: the next one goes on.
        thread::spawn(move || drop(echo(stream)));
    }
}

fn echo(mut stream: TcpStream) -> io::Result<()> {
    let mut buffer = vec![0; BUFFER];
    stream.set_nodelay(true)?;
    loop {
        match stream.read(&mut buffer)? {
            0 => return Ok(()),
            n => stream.write_all(&buffer[..n])?,
        }
    }
}
