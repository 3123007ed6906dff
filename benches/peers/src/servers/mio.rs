//! mio, in the shape of its example `tcp_server`: a map of tokens, an error of `accept` ends the
//! server. Unlike the example's, an error of one connection ends that connection alone, and a read
//! that was short is the last (which mio's documentation allows where `is_read_closed` is heeded).

use super::{BUFFER, BoxError, Ready};
use crate::protocol::Protocol;
use mio::event::Event;
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Registry, Token};
use std::collections::HashMap;
use std::io::{self, ErrorKind, Read, Write};
use std::net::SocketAddr;

const LISTENER: Token = Token(0);

struct Conn<P> {
    stream: TcpStream,
    protocol: P,
    /// What the system has not taken. While there is some, nothing is read.
    unsent: Vec<u8>,
    /// Whether the peer had more to say when reading stopped.
    unread: bool,
}

struct Buffers {
    input: Vec<u8>,
    output: Vec<u8>,
}

pub(super) fn serve<P: Protocol>(addr: SocketAddr, ready: Ready) -> Result<(), BoxError> {
    let mut poll = Poll::new()?;
    let mut events = Events::with_capacity(1024);
    let mut listener = TcpListener::bind(addr)?;
    poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
    ready(listener.local_addr()?);
    let mut conns: HashMap<Token, Conn<P>> = HashMap::new();
    let mut buffers = Buffers { input: vec![0; BUFFER], output: Vec::new() };
    let mut next = LISTENER.0 + 1;
    loop {
        match poll.poll(&mut events, None) {
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            other => other?,
        }
        for event in events.iter() {
            if event.token() == LISTENER {
                accept(poll.registry(), &listener, &mut conns, &mut next)?;
                continue;
            }
            let Some(conn) = conns.get_mut(&event.token()) else { continue };
            if conn.turn(poll.registry(), event, &mut buffers).is_err() {
                conns.remove(&event.token());
            }
        }
    }
}

fn accept<P: Protocol>(
    registry: &Registry,
    listener: &TcpListener,
    conns: &mut HashMap<Token, Conn<P>>,
    next: &mut usize,
) -> io::Result<()> {
    loop {
        let mut stream = match listener.accept() {
            Ok((stream, _)) => stream,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error),
        };
        let token = Token(*next);
        *next += 1;
        registry.register(&mut stream, token, Interest::READABLE)?;
        // Not the example's, so it may not end the server.
        let _ = stream.set_nodelay(true);
        let conn = Conn { stream, protocol: P::default(), unsent: Vec::new(), unread: false };
        conns.insert(token, conn);
    }
}

impl<P: Protocol> Conn<P> {
    fn turn(&mut self, registry: &Registry, event: &Event, with: &mut Buffers) -> io::Result<()> {
        let was_blocked = !self.unsent.is_empty();
        if was_blocked && event.is_writable() {
            self.flush()?;
        }
        if event.is_readable() || self.unread {
            self.read(event.is_read_closed(), with)?;
        }
        let is_blocked = !self.unsent.is_empty();
        if was_blocked != is_blocked {
            let wanted = match is_blocked {
                true => Interest::READABLE.add(Interest::WRITABLE),
                false => Interest::READABLE,
            };
            registry.reregister(&mut self.stream, event.token(), wanted)?;
        }
        Ok(())
    }

    /// Reads until a read is short, or the answer is not taken.
    fn read(&mut self, to_the_end: bool, with: &mut Buffers) -> io::Result<()> {
        self.unread = true;
        while self.unsent.is_empty() {
            let n = match self.stream.read(&mut with.input) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(n) => n,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.unread = false;
                    return Ok(());
                }
                Err(error) => return Err(error),
            };
            let answer = self.protocol.answer(&with.input[..n], &mut with.output)?;
            let sent = write(&mut self.stream, answer)?;
            self.unsent.extend_from_slice(&answer[sent..]);
            if n < with.input.len() && !to_the_end {
                self.unread = false;
                return Ok(());
            }
        }
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        let sent = write(&mut self.stream, &self.unsent)?;
        self.unsent.drain(..sent);
        Ok(())
    }
}

/// Writes what the system takes.
fn write(stream: &mut TcpStream, bytes: &[u8]) -> io::Result<usize> {
    let mut sent = 0;
    while sent < bytes.len() {
        match stream.write(&bytes[sent..]) {
            Ok(n) => sent += n,
            Err(error) if error.kind() == ErrorKind::Interrupted => (),
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            Err(error) => return Err(error),
        }
    }
    Ok(sent)
}
