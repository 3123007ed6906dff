//! A closed loop over any number of connections, on one thread with one epoll: each has one message
//! on its way (or some requests at once), and sends the next when the whole answer has come, or
//! makes place for a new connection. Every byte is checked.

use crate::protocol::GREETING;
use hdrhistogram::Histogram;
use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::fd::OwnedFd;
use socket2::{Domain, Socket, Type};
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpStream};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// How long nothing may come before it counts as hung.
const PATIENCE: Duration = Duration::from_secs(10);

const REQUEST: &[u8] = b"GET /plaintext HTTP/1.1\r\nHost: localhost\r\n\r\n";

/// What a connection sends again and again.
#[derive(Debug, Clone, Copy)]
pub enum Work {
    /// This many bytes, to come back.
    Echo { size: usize },
    /// One echo of this many bytes, each time over a new connection.
    Churn { size: usize },
    /// This many requests at once.
    Http { pipelined: usize },
}

pub struct Load {
    epoll: OwnedFd,
    server: SocketAddr,
    clients: Vec<Client>,
    work: Work,
    /// What client `i` of an echo sends begins at byte `i`, so that no two send the same.
    bytes: Vec<u8>,
    /// The length of one response.
    response: usize,
    buffer: Vec<u8>,
}

struct Client {
    stream: TcpStream,
    sent: usize,
    got: usize,
    /// The answer so far, of HTTP.
    answer: Vec<u8>,
    waits_to_write: bool,
    /// When its message began, or the connection for it.
    began: Instant,
}

/// What a run came to.
#[derive(Debug)]
pub struct Done {
    pub requests: u64,
    pub took: Duration,
    /// Of each message, in nanoseconds.
    pub latencies: Histogram<u32>,
}

impl Load {
    /// Connects so often.
    ///
    /// # Errors
    /// The server cannot be connected to, or its first answer is none.
    pub fn connect(addr: SocketAddr, connections: usize, work: Work) -> io::Result<Self> {
        let bytes = match work {
            Work::Echo { size } | Work::Churn { size } => pattern(size + connections),
            Work::Http { pipelined } => REQUEST.repeat(pipelined),
        };
        let response = match work {
            Work::Echo { .. } | Work::Churn { .. } => 0,
            Work::Http { .. } => response_length(addr)?,
        };
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        let (clients, buffer) = (Vec::with_capacity(connections), vec![0; 256 * 1024]);
        let server = addr;
        let mut load = Self { epoll, server, clients, work, bytes, response, buffer };
        for at in 0..connections {
            let client = load.client(at)?;
            load.clients.push(client);
        }
        Ok(load)
    }

    /// Exchanges for so long, and until what is on its way then has been answered.
    ///
    /// # Errors
    /// A byte is not what it should be, a connection ends, or nothing comes for long.
    pub fn run(&mut self, time: Duration) -> io::Result<Done> {
        let start = Instant::now();
        let mut active = self.clients.len();
        let mut latencies = Histogram::new_with_bounds(1, 60_000_000_000, 3)
            .expect("a minute in nanoseconds is within range");
        for at in 0..self.clients.len() {
            self.begin(at, Instant::now())?;
        }
        let mut events: Vec<Event> = Vec::with_capacity(1024);
        let patience = Timespec::try_from(PATIENCE).expect("some seconds");
        while active > 0 {
            events.clear();
            let room = rustix::buffer::spare_capacity(&mut events);
            if epoll::wait(&self.epoll, room, Some(&patience))? == 0 {
                return Err(io::Error::new(
                    ErrorKind::TimedOut,
                    format!("{active} have no answer"),
                ));
            }
            for event in &events {
                // Copies: the system packs the two.
                let (flags, at) = (event.flags, event.data.u64() as usize);
                if flags.contains(EventFlags::OUT) {
                    self.write(at)?;
                }
                if !(flags - EventFlags::OUT).is_empty() && self.read(at)? {
                    let now = Instant::now();
                    let took = now - self.clients[at].began;
                    latencies.saturating_record(took.as_nanos() as u64);
                    if let Work::Churn { .. } = self.work {
                        self.clients[at] = self.client(at)?;
                    }
                    match now - start < time {
                        true => self.begin(at, now)?,
                        false => active -= 1,
                    }
                }
            }
        }
        let each = match self.work {
            Work::Echo { .. } | Work::Churn { .. } => 1,
            Work::Http { pipelined } => pipelined as u64,
        };
        Ok(Done { requests: latencies.len() * each, took: start.elapsed(), latencies })
    }

    /// A new connection, watched under this key. What is closed watches itself no longer.
    fn client(&self, at: usize) -> io::Result<Client> {
        let stream = match (self.work, self.server) {
            (Work::Churn { .. }, SocketAddr::V4(server)) => connect_from_the_next(server)?,
            (_, server) => TcpStream::connect(server)?,
        };
        let client = Client::new(stream)?;
        epoll::add(&self.epoll, &client.stream, EventData::new_u64(at as u64), EventFlags::IN)?;
        Ok(client)
    }

    fn begin(&mut self, at: usize, now: Instant) -> io::Result<()> {
        self.clients[at].began = now;
        self.write(at)
    }

    fn message(&self, at: usize) -> &[u8] {
        match self.work {
            Work::Echo { size } | Work::Churn { size } => &self.bytes[at..at + size],
            Work::Http { .. } => &self.bytes,
        }
    }

    /// Sends what the connection takes of its message.
    fn write(&mut self, at: usize) -> io::Result<()> {
        let message = self.message(at).len();
        while self.clients[at].sent < message {
            let sent = self.clients[at].sent;
            let n = match (&self.clients[at].stream).write(&self.message(at)[sent..]) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                other => other?,
            };
            self.clients[at].sent += n;
        }
        let waits = self.clients[at].sent < message;
        if waits != self.clients[at].waits_to_write {
            self.clients[at].waits_to_write = waits;
            let wanted = if waits { EventFlags::IN | EventFlags::OUT } else { EventFlags::IN };
            let key = EventData::new_u64(at as u64);
            epoll::modify(&self.epoll, &self.clients[at].stream, key, wanted)?;
        }
        Ok(())
    }

    /// Reads once, checks, and tells whether the answer is complete.
    fn read(&mut self, at: usize) -> io::Result<bool> {
        let client = &mut self.clients[at];
        let n = match client.stream.read(&mut self.buffer) {
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
            other => other?,
        };
        let is_whole = match self.work {
            Work::Echo { size } | Work::Churn { size } => {
                let expected = &self.bytes[at + client.got..at + size];
                check(expected.get(..n) == Some(&self.buffer[..n]))?;
                client.got += n;
                client.got == size
            }
            Work::Http { pipelined } => {
                client.answer.extend_from_slice(&self.buffer[..n]);
                client.is_answered(self.response, pipelined)?
            }
        };
        if is_whole {
            (client.got, client.sent) = (0, 0);
        }
        Ok(is_whole)
    }
}

impl Client {
    fn new(stream: TcpStream) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        let (answer, began) = (Vec::new(), Instant::now());
        Ok(Self { stream, sent: 0, got: 0, answer, waits_to_write: false, began })
    }

    fn is_answered(&mut self, response: usize, pipelined: usize) -> io::Result<bool> {
        if self.answer.len() < response * pipelined {
            return Ok(false);
        }
        check(self.answer.len() == response * pipelined)?;
        for one in self.answer.chunks(response) {
            check(one.starts_with(b"HTTP/1.1 200 OK\r\n") && one.ends_with(GREETING.as_bytes()))?;
        }
        self.answer.clear();
        Ok(true)
    }
}

/// A connection from another port, or another address of the loopback network, each time. Who closes
/// first keeps a port for a minute, and one address has ports for a second of new connections.
fn connect_from_the_next(server: SocketAddrV4) -> io::Result<TcpStream> {
    const ADDRESSES: u32 = 128;
    /// Below those that systems give to who asks for none: a port that was asked for is given to nobody
    /// else for that minute, at whichever address.
    const PORTS: std::ops::Range<u32> = 10_000..32_000;
    static NEXT: AtomicU32 = AtomicU32::new(0);
    loop {
        let at = NEXT.fetch_add(1, Ordering::Relaxed);
        let ip = Ipv4Addr::new(127, 0, 1, (1 + at / PORTS.len() as u32 % ADDRESSES) as u8);
        let source = SocketAddrV4::new(ip, (PORTS.start + at % PORTS.len() as u32) as u16);
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        socket.set_reuse_address(true)?;
        match socket.bind(&source.into()).and_then(|()| socket.connect(&server.into())) {
            // Somebody has this very port.
            Err(error) if is_in_use(&error) => (),
            other => return other.map(|()| socket.into()),
        }
    }
}

fn is_in_use(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::AddrInUse | ErrorKind::AddrNotAvailable)
}

/// Asks once, and reads to the greeting: all responses of a server have the same length.
fn response_length(addr: SocketAddr) -> io::Result<usize> {
    let mut stream = TcpStream::connect(addr)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(REQUEST)?;
    let mut answer = Vec::new();
    let mut buffer = [0; 4096];
    while !answer.ends_with(GREETING.as_bytes()) {
        match stream.read(&mut buffer)? {
            0 => return Err(ErrorKind::UnexpectedEof.into()),
            n => answer.extend_from_slice(&buffer[..n]),
        }
    }
    Ok(answer.len())
}

fn check(is: bool) -> io::Result<()> {
    if is { Ok(()) } else { Err(io::Error::new(ErrorKind::InvalidData, "other bytes came back")) }
}

/// Bytes without a short period.
fn pattern(size: usize) -> Vec<u8> {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let next = || {
        // xorshift64, Marsaglia 2003.
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    std::iter::repeat_with(next).take(size).collect()
}
