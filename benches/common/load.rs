//! A closed loop over any number of connections, on one thread: each has one message on its way,
//! and sends the next when the whole of the last has come back.

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use socket2::{Domain, Socket, Type};
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// How long a whole run may take before it counts as hung.
const DEADLINE: Duration = Duration::from_secs(60);

/// Connections to an echo server, and what each of them sends.
pub(crate) struct Load {
    clients: Vec<Client>,
    /// Client `i` sends `size` bytes from the `i`th on, so that no two send the same.
    bytes: Vec<u8>,
    size: usize,
    buffer: Vec<u8>,
}

struct Client {
    stream: TcpStream,
    sent: usize,
    got: usize,
    /// How many messages are still to come back.
    left: u64,
}

impl Load {
    /// Connects `connections` times.
    pub(crate) fn connect(addr: SocketAddr, connections: usize, size: usize) -> io::Result<Self> {
        Self::connect_from(Ipv4Addr::LOCALHOST, addr, connections, size)
    }

    /// As `connect`, from another address than usual: each has its own ports.
    pub(crate) fn connect_from(
        source: Ipv4Addr,
        addr: SocketAddr,
        connections: usize,
        size: usize,
    ) -> io::Result<Self> {
        let clients =
            (0..connections).map(|_| Client::connect(source, addr)).collect::<io::Result<_>>()?;
        Ok(Self { clients, bytes: pattern(size + connections), size, buffer: vec![0; 256 * 1024] })
    }

    /// How many there are.
    pub(crate) fn connections(&self) -> usize {
        self.clients.len()
    }

    /// Exchanges `messages` messages on each connection, and returns how long it took.
    ///
    /// # Panics
    /// If a byte is not what was sent, a connection ends, or it takes too long.
    pub(crate) fn run(&mut self, messages: u64) -> Duration {
        let start = Instant::now();
        self.clients.iter_mut().for_each(|client| client.left = messages);
        for at in 0..self.clients.len() {
            self.write(at);
        }
        while self.clients.iter().any(|client| client.left > 0) {
            assert!(start.elapsed() < DEADLINE, "the echoes did not come within {DEADLINE:?}");
            for (at, (readable, writable)) in self.ready().into_iter().enumerate() {
                if writable {
                    self.write(at);
                }
                if readable {
                    self.read(at);
                }
            }
        }
        start.elapsed()
    }

    /// Waits, and tells which connections can be read and written.
    fn ready(&self) -> Vec<(bool, bool)> {
        let wanted = |client: &Client| match client.left {
            0 => PollFlags::empty(),
            _ if client.sent < self.size => PollFlags::IN | PollFlags::OUT,
            _ => PollFlags::IN,
        };
        let mut fds: Vec<PollFd<'_>> =
            self.clients.iter().map(|client| PollFd::new(&client.stream, wanted(client))).collect();
        let patience = Timespec::try_from(DEADLINE).expect("a minute is within range");
        poll(&mut fds, Some(&patience)).expect("poll fails only out of memory");
        fds.iter()
            .zip(&self.clients)
            .map(|(fd, client)| {
                let told = fd.revents();
                (
                    client.left > 0 && !(told - PollFlags::OUT).is_empty(),
                    told.contains(PollFlags::OUT),
                )
            })
            .collect()
    }

    /// Sends what the connection takes of the message that it is at.
    fn write(&mut self, at: usize) {
        let client = &mut self.clients[at];
        let rest = &self.bytes[at + client.sent..at + self.size];
        if client.left == 0 || rest.is_empty() {
            return;
        }
        match client.stream.write(rest) {
            Ok(n) => client.sent += n,
            Err(error) if error.kind() == ErrorKind::WouldBlock => (),
            Err(error) => panic!("connection {at} takes nothing more: {error}"),
        }
    }

    /// Reads once, checks, and begins with the next message where one is complete.
    fn read(&mut self, at: usize) {
        let client = &mut self.clients[at];
        let n = match client.stream.read(&mut self.buffer) {
            Ok(0) => panic!("connection {at} has ended"),
            Ok(n) => n,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return,
            Err(error) => panic!("connection {at} failed: {error}"),
        };
        let expected = &self.bytes[at + client.got..at + self.size];
        assert!(expected.get(..n) == Some(&self.buffer[..n]), "connection {at}: wrong bytes");
        client.got += n;
        if client.got == self.size {
            (client.got, client.sent) = (0, 0);
            client.left -= 1;
            self.write(at);
        }
    }
}

impl Client {
    fn connect(source: Ipv4Addr, addr: SocketAddr) -> io::Result<Self> {
        let stream = if source == Ipv4Addr::LOCALHOST {
            TcpStream::connect(addr)?
        } else {
            let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
            socket.bind(&SocketAddr::from((source, 0)).into())?;
            socket.connect(&addr.into())?;
            socket.into()
        };
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        Ok(Self { stream, sent: 0, got: 0, left: 0 })
    }
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
