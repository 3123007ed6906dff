//! A client that waits with a deadline, and knows what must come back.

use super::PATIENCE;
use crate::protocol::GREETING;
use crate::servers::Speaks;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

pub(super) const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";

pub(super) struct Client {
    pub(super) stream: TcpStream,
    speaks: Speaks,
    exchanges: u32,
}

impl Client {
    pub(super) fn connect(addr: SocketAddr, speaks: Speaks) -> io::Result<Self> {
        let stream = TcpStream::connect_timeout(&addr, PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, speaks, exchanges: 0 })
    }

    /// Sends a request, and checks the answer.
    pub(super) fn exchange(&mut self) -> io::Result<()> {
        self.ask()?;
        self.answered()
    }

    /// Sends a request.
    pub(super) fn ask(&mut self) -> io::Result<()> {
        self.exchanges += 1;
        let text = self.text();
        self.stream.write_all(&text)
    }

    fn text(&self) -> Vec<u8> {
        match self.speaks {
            Speaks::Echo => format!("exchange {:05}", self.exchanges).into_bytes(),
            Speaks::Http => REQUEST.to_vec(),
        }
    }

    /// Waits for the answer to a request, and checks it.
    pub(super) fn answered(&mut self) -> io::Result<()> {
        if self.speaks == Speaks::Http {
            return self.response();
        }
        let text = self.text();
        let mut back = vec![0; text.len()];
        self.read_exact(&mut back)?;
        check(back == text, "other bytes came back")
    }

    /// Reads one response to its end.
    pub(super) fn response(&mut self) -> io::Result<()> {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            self.read_exact(&mut byte)?;
            head.push(byte[0]);
        }
        check(head.starts_with(b"HTTP/1.1 200"), "the status is not 200")?;
        let mut body = vec![0; GREETING.len()];
        self.read_exact(&mut body)?;
        check(body == GREETING.as_bytes(), "another body came")
    }

    /// As `Read::read_exact`, within the client's patience in all.
    fn read_exact(&mut self, mut buffer: &mut [u8]) -> io::Result<()> {
        let deadline = Instant::now() + PATIENCE;
        while !buffer.is_empty() {
            let left = deadline.saturating_duration_since(Instant::now());
            self.stream.set_read_timeout(Some(left.max(Duration::from_millis(1))))?;
            match self.stream.read(buffer) {
                Ok(0) => return Err(io::Error::new(ErrorKind::UnexpectedEof, "it was closed")),
                Ok(n) => buffer = &mut buffer[n..],
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    let why = format!("nothing came for {PATIENCE:?}");
                    return Err(io::Error::new(ErrorKind::TimedOut, why));
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Waits until the server has ended the connection, in order or not.
    pub(super) fn ended(&mut self, patience: Duration) -> bool {
        let deadline = Instant::now() + patience;
        let mut buffer = [0; 4096];
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let timeout = left.max(Duration::from_millis(1));
            self.stream.set_read_timeout(Some(timeout)).expect("not zero");
            match self.stream.read(&mut buffer) {
                Ok(0) => return true,
                Ok(_) => (),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return false,
                Err(_) => return true,
            }
        }
    }

    /// Makes the close of the socket a reset.
    pub(super) fn reset(self) -> io::Result<()> {
        socket2::SockRef::from(&self.stream).set_linger(Some(Duration::ZERO))
    }
}

fn check(is: bool, otherwise: &'static str) -> io::Result<()> {
    if is { Ok(()) } else { Err(io::Error::new(ErrorKind::InvalidData, otherwise)) }
}
