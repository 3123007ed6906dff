//! The servers that are measured: this crate's, and what one would write by hand.

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

/// The handler that everything is measured with. It has no size of its own.
#[derive(Debug, Clone, Copy)]
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
            Contender::Epoll => by_hand(|listener| epoll::serve(listener).expect("epoll works")),
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
            _ => 15_000,
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

/// A level-triggered loop: one wait for all that is ready, one read, an immediate write.
#[cfg(target_os = "linux")]
mod epoll {
    use super::BUFFER;
    use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
    use rustix::fd::{AsRawFd, OwnedFd};
    use std::io::{self, ErrorKind, Read, Write};
    use std::net::{TcpListener, TcpStream};

    struct Conn {
        stream: TcpStream,
        /// What the system has not taken. While there is some, nothing is read.
        unsent: Vec<u8>,
    }

    struct Loop {
        epoll: OwnedFd,
        listener: TcpListener,
        /// By descriptor.
        conns: Vec<Option<Conn>>,
        buffer: Vec<u8>,
    }

    pub(super) fn serve(listener: TcpListener) -> io::Result<()> {
        listener.set_nonblocking(true)?;
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        epoll::add(&epoll, &listener, key(&listener), EventFlags::IN)?;
        let mut all = Loop { epoll, listener, conns: Vec::new(), buffer: vec![0; BUFFER] };
        let mut events: Vec<Event> = Vec::with_capacity(1024);
        loop {
            events.clear();
            epoll::wait(&all.epoll, rustix::buffer::spare_capacity(&mut events), None)?;
            for event in &events {
                all.serve(event.data.u64() as usize)?;
            }
        }
    }

    impl Loop {
        fn serve(&mut self, key: usize) -> io::Result<()> {
            if key == self.listener.as_raw_fd() as usize {
                return self.accept();
            }
            let Some(conn) = self.conns.get_mut(key).and_then(Option::as_mut) else {
                return Ok(());
            };
            let was_blocked = !conn.unsent.is_empty();
            if turn(conn, &mut self.buffer).is_err() {
                // Closing the descriptor takes it out of the epoll.
                self.conns[key] = None;
                return Ok(());
            }
            let is_blocked = !conn.unsent.is_empty();
            if was_blocked != is_blocked {
                let wanted = if is_blocked { EventFlags::OUT } else { EventFlags::IN };
                epoll::modify(&self.epoll, &conn.stream, EventData::new_u64(key as u64), wanted)?;
            }
            Ok(())
        }

        fn accept(&mut self) -> io::Result<()> {
            while let Ok((stream, _)) = self.listener.accept() {
                stream.set_nonblocking(true)?;
                stream.set_nodelay(true)?;
                let at = stream.as_raw_fd() as usize;
                epoll::add(&self.epoll, &stream, key(&stream), EventFlags::IN)?;
                if self.conns.len() <= at {
                    self.conns.resize_with(at + 1, || None);
                }
                self.conns[at] = Some(Conn { stream, unsent: Vec::new() });
            }
            Ok(())
        }
    }

    /// One read and one write; an error is the end of the connection.
    fn turn(conn: &mut Conn, buffer: &mut [u8]) -> io::Result<()> {
        if !conn.unsent.is_empty() {
            let n = conn.stream.write(&conn.unsent)?;
            conn.unsent.drain(..n);
            if conn.unsent.is_empty() {
                conn.unsent = Vec::new();
            }
            return Ok(());
        }
        let n = match conn.stream.read(buffer)? {
            0 => return Err(ErrorKind::UnexpectedEof.into()),
            n => n,
        };
        let sent = match conn.stream.write(&buffer[..n]) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => 0,
            other => other?,
        };
        conn.unsent.extend_from_slice(&buffer[sent..n]);
        Ok(())
    }

    fn key(source: &impl AsRawFd) -> EventData {
        EventData::new_u64(source.as_raw_fd() as u64)
    }
}
