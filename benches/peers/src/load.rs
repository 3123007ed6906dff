//! A closed loop over any number of connections, on one thread with one epoll: each has one message
//! on its way (or some requests at once), and sends the next when the whole answer has come. Every
//! byte is checked.

use crate::protocol::GREETING;
use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::fd::OwnedFd;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// How long nothing may come before it counts as hung.
const PATIENCE: Duration = Duration::from_secs(10);

const REQUEST: &[u8] = b"GET /plaintext HTTP/1.1\r\nHost: localhost\r\n\r\n";

/// What a connection sends again and again.
#[derive(Debug, Clone, Copy)]
pub enum Work {
    /// This many bytes, to come back.
    Echo { size: usize },
    /// This many requests at once.
    Http { pipelined: usize },
}

pub struct Load {
    epoll: OwnedFd,
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
}

/// What a run came to.
#[derive(Debug, Clone, Copy)]
pub struct Done {
    pub requests: u64,
    pub took: Duration,
}

impl Load {
    /// Connects so often.
    ///
    /// # Errors
    /// The server cannot be connected to, or its first answer is none.
    pub fn connect(addr: SocketAddr, connections: usize, work: Work) -> io::Result<Self> {
        let bytes = match work {
            Work::Echo { size } => pattern(size + connections),
            Work::Http { pipelined } => REQUEST.repeat(pipelined),
        };
        let response = match work {
            Work::Echo { .. } => 0,
            Work::Http { .. } => response_length(addr)?,
        };
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        let mut clients = Vec::with_capacity(connections);
        for at in 0..connections {
            let client = Client::connect(addr)?;
            epoll::add(&epoll, &client.stream, EventData::new_u64(at as u64), EventFlags::IN)?;
            clients.push(client);
        }
        Ok(Self { epoll, clients, work, bytes, response, buffer: vec![0; 256 * 1024] })
    }

    /// Exchanges for so long, and until what is on its way then has been answered.
    ///
    /// # Errors
    /// A byte is not what it should be, a connection ends, or nothing comes for long.
    pub fn run(&mut self, time: Duration) -> io::Result<Done> {
        let start = Instant::now();
        let (mut active, mut messages) = (self.clients.len(), 0);
        for at in 0..self.clients.len() {
            self.write(at)?;
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
            let is_over = start.elapsed() >= time;
            for event in &events {
                // Copies: the system packs the two.
                let (flags, at) = (event.flags, event.data.u64() as usize);
                if flags.contains(EventFlags::OUT) {
                    self.write(at)?;
                }
                if !(flags - EventFlags::OUT).is_empty() && self.read(at)? {
                    messages += 1;
                    if is_over {
                        active -= 1;
                    } else {
                        self.write(at)?;
                    }
                }
            }
        }
        let each = match self.work {
            Work::Echo { .. } => 1,
            Work::Http { pipelined } => pipelined as u64,
        };
        Ok(Done { requests: messages * each, took: start.elapsed() })
    }

    fn message(&self, at: usize) -> &[u8] {
        match self.work {
            Work::Echo { size } => &self.bytes[at..at + size],
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
            Work::Echo { size } => {
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
    fn connect(addr: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(addr)?;
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        Ok(Self { stream, sent: 0, got: 0, answer: Vec::new(), waits_to_write: false })
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
