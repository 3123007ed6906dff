//! The baseline: one level-triggered loop by hand. One wait for all that is ready, one read, an
//! immediate write, one buffer for all. The package of peers has it as well.

use super::{BUFFER, Protocol};
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::fd::{AsRawFd, OwnedFd};
use std::io::{self, ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};

struct Conn<P> {
    stream: TcpStream,
    protocol: P,
    /// What the system has not taken. While there is some, nothing is read.
    unsent: Vec<u8>,
}

struct Loop<P> {
    epoll: OwnedFd,
    listener: TcpListener,
    /// By descriptor.
    conns: Vec<Option<Conn<P>>>,
    buffer: Vec<u8>,
    output: Vec<u8>,
}

pub(super) fn serve<P: Protocol>(listener: TcpListener) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    let epoll = epoll::create(CreateFlags::CLOEXEC)?;
    epoll::add(&epoll, &listener, key(&listener), EventFlags::IN)?;
    let (conns, buffer, output) = (Vec::new(), vec![0; BUFFER], Vec::new());
    let mut all = Loop::<P> { epoll, listener, conns, buffer, output };
    let mut events: Vec<Event> = Vec::with_capacity(1024);
    loop {
        events.clear();
        match epoll::wait(&all.epoll, rustix::buffer::spare_capacity(&mut events), None) {
            Err(error) if error == rustix::io::Errno::INTR => continue,
            other => other?,
        };
        for event in &events {
            all.serve(event.data.u64() as usize)?;
        }
    }
}

impl<P: Protocol> Loop<P> {
    fn serve(&mut self, key: usize) -> io::Result<()> {
        if key == self.listener.as_raw_fd() as usize {
            return self.accept();
        }
        let Some(conn) = self.conns.get_mut(key).and_then(Option::as_mut) else {
            return Ok(());
        };
        let was_blocked = !conn.unsent.is_empty();
        if conn.turn(&mut self.buffer, &mut self.output).is_err() {
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
            let _ = stream.set_nodelay(true);
            let at = stream.as_raw_fd() as usize;
            epoll::add(&self.epoll, &stream, key(&stream), EventFlags::IN)?;
            if self.conns.len() <= at {
                self.conns.resize_with(at + 1, || None);
            }
            self.conns[at] = Some(Conn { stream, protocol: P::default(), unsent: Vec::new() });
        }
        Ok(())
    }
}

impl<P: Protocol> Conn<P> {
    /// One read and one write; an error is the end of the connection.
    fn turn(&mut self, buffer: &mut [u8], output: &mut Vec<u8>) -> io::Result<()> {
        if !self.unsent.is_empty() {
            let n = self.stream.write(&self.unsent)?;
            self.unsent.drain(..n);
            if self.unsent.is_empty() {
                self.unsent = Vec::new();
            }
            return Ok(());
        }
        let n = match self.stream.read(buffer) {
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Err(error) if is_spurious(&error) => return Ok(()),
            other => other?,
        };
        let answer = self.protocol.answer(&buffer[..n], output)?;
        if answer.is_empty() {
            return Ok(());
        }
        let sent = match self.stream.write(answer) {
            Err(error) if is_spurious(&error) => 0,
            other => other?,
        };
        self.unsent.extend_from_slice(&answer[sent..]);
        Ok(())
    }
}

fn is_spurious(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}

fn key(source: &impl AsRawFd) -> EventData {
    EventData::new_u64(source.as_raw_fd() as u64)
}
