//! What stands in for the socket.

use super::clock::Clock;
use crate::net::{IoClass, io_class};
use crate::session::Transport;
use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;
use std::time::Duration;

/// The peer, as far as it can be seen through a socket.
#[derive(Debug)]
pub(super) struct Wire(RefCell<State>);

#[derive(Debug)]
struct State {
    incoming: VecDeque<Incoming>,
    /// Errors of the next sends.
    send_errors: VecDeque<io::Error>,
    /// How many more bytes there is room for.
    room: usize,
    /// The most that one send takes.
    write_size: usize,
    sent: Vec<u8>,
    n_sends: usize,
    n_recvs: usize,
    moved: u64,
    fin: bool,
    reset: bool,
    /// How long the thread is stopped before the next call.
    stop: Option<(Clock, Duration)>,
}

/// What one call of `recv` finds.
#[derive(Debug)]
enum Incoming {
    Bytes(VecDeque<u8>),
    Error(io::Error),
    /// From here on there is nothing but this.
    End,
}

impl Default for Wire {
    fn default() -> Self {
        Self(RefCell::new(State {
            incoming: VecDeque::new(),
            send_errors: VecDeque::new(),
            room: usize::MAX,
            write_size: usize::MAX,
            sent: Vec::new(),
            n_sends: 0,
            n_recvs: 0,
            moved: 0,
            fin: false,
            reset: false,
            stop: None,
        }))
    }
}

impl Wire {
    pub(super) fn push(&self, bytes: &[u8]) {
        if !bytes.is_empty() {
            let piece = Incoming::Bytes(bytes.iter().copied().collect());
            self.0.borrow_mut().incoming.push_back(piece);
        }
    }

    pub(super) fn push_error(&self, error: io::Error) {
        self.0.borrow_mut().incoming.push_back(Incoming::Error(error));
    }

    pub(super) fn push_end(&self) {
        self.0.borrow_mut().incoming.push_back(Incoming::End);
    }

    pub(super) fn push_send_error(&self, error: io::Error) {
        self.0.borrow_mut().send_errors.push_back(error);
    }

    pub(super) fn set_room(&self, room: usize) {
        self.0.borrow_mut().room = room;
    }

    pub(super) fn add_room(&self, n: usize) {
        let mut state = self.0.borrow_mut();
        state.room = state.room.saturating_add(n);
    }

    pub(super) fn set_write_size(&self, n: usize) {
        self.0.borrow_mut().write_size = n.max(1);
    }

    pub(super) fn is_readable(&self) -> bool {
        !self.0.borrow().incoming.is_empty()
    }

    pub(super) fn is_writable(&self) -> bool {
        let state = self.0.borrow();
        state.room > 0 || !state.send_errors.is_empty()
    }

    pub(super) fn take_sent(&self) -> Vec<u8> {
        std::mem::take(&mut self.0.borrow_mut().sent)
    }

    pub(super) fn n_sends(&self) -> usize {
        self.0.borrow().n_sends
    }

    pub(super) fn n_recvs(&self) -> usize {
        self.0.borrow().n_recvs
    }

    /// How many things came in and bytes went out so far.
    pub(super) fn moved(&self) -> u64 {
        self.0.borrow().moved
    }

    pub(super) fn unread(&self) -> usize {
        let length = |incoming: &Incoming| match incoming {
            Incoming::Bytes(bytes) => bytes.len(),
            _ => 0,
        };
        self.0.borrow().incoming.iter().map(length).sum()
    }

    pub(super) fn fin(&self) -> bool {
        self.0.borrow().fin
    }

    pub(super) fn reset(&self) -> bool {
        self.0.borrow().reset
    }

    /// The descriptor is closed: the system sends a FIN, unless it was told to reset.
    pub(super) fn close(&self) {
        let mut state = self.0.borrow_mut();
        state.fin |= !state.reset;
    }

    pub(super) fn stop_before_next_call(&self, clock: Clock, by: Duration) {
        self.0.borrow_mut().stop = Some((clock, by));
    }

    /// Takes out what comes next: at most `room` bytes of one piece.
    fn next(&self, room: usize) -> io::Result<Vec<u8>> {
        let mut state = self.0.borrow_mut();
        state.pass_time();
        state.n_recvs += 1;
        let bytes = match state.incoming.front_mut() {
            None => return Err(io::ErrorKind::WouldBlock.into()),
            Some(Incoming::End) => return Ok(Vec::new()),
            Some(Incoming::Bytes(bytes)) => {
                let n = room.min(bytes.len());
                let taken: Vec<u8> = bytes.drain(..n).collect();
                let empty = bytes.is_empty();
                if empty {
                    state.incoming.pop_front();
                }
                Ok(taken)
            }
            Some(Incoming::Error(_)) => match state.incoming.pop_front() {
                Some(Incoming::Error(error)) => Err(error),
                _ => unreachable!("it was looked at just now"),
            },
        };
        state.moved += 1;
        bytes
    }
}

impl State {
    fn pass_time(&mut self) {
        if let Some((clock, by)) = self.stop.take() {
            clock.advance(by);
        }
    }
}

impl Transport for Wire {
    fn recv(&self, buf: &mut [u8]) -> io::Result<usize> {
        let bytes = self.next(buf.len())?;
        buf[..bytes.len()].copy_from_slice(&bytes);
        Ok(bytes.len())
    }

    fn recv_append(&self, buf: &mut Vec<u8>) -> io::Result<usize> {
        let room = buf.capacity() - buf.len();
        assert!(room > 0, "a read without room would look like the end of the stream");
        let bytes = self.next(room)?;
        buf.extend_from_slice(&bytes);
        Ok(bytes.len())
    }

    fn send(&self, bytes: &[u8]) -> io::Result<usize> {
        let mut state = self.0.borrow_mut();
        assert!(!bytes.is_empty(), "an empty send is a wasted system call");
        assert!(!state.fin, "bytes were sent after the end of the stream");
        state.pass_time();
        state.n_sends += 1;
        if let Some(error) = state.send_errors.pop_front() {
            return Err(error);
        }
        let n = bytes.len().min(state.room).min(state.write_size);
        if n == 0 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        if state.room != usize::MAX {
            state.room -= n;
        }
        state.moved += n as u64;
        state.sent.extend_from_slice(&bytes[..n]);
        Ok(n)
    }

    fn shutdown_both(&self) -> io::Result<()> {
        self.shutdown_write()
    }

    fn shutdown_write(&self) -> io::Result<()> {
        self.0.borrow_mut().fin = true;
        Ok(())
    }

    fn reset_on_close(&self) {
        self.0.borrow_mut().reset = true;
    }

    /// A failed socket tells so even while what came before is unread.
    fn take_error(&self) -> io::Result<Option<io::Error>> {
        let mut state = self.0.borrow_mut();
        let is_fatal = |incoming: &Incoming| match incoming {
            Incoming::Error(e) => !matches!(io_class(e), IoClass::Retry | IoClass::WouldBlock),
            _ => false,
        };
        let found = state.incoming.iter().position(is_fatal);
        match found.and_then(|at| state.incoming.remove(at)) {
            Some(Incoming::Error(error)) => Ok(Some(error)),
            _ => Ok(None),
        }
    }
}
