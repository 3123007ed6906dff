//! One connection of the load.

use super::exchange::Exchange;
use super::schedule::Schedule;
use super::score::Score;
use crate::compare::error::LoadError;
use crate::connection::Ready;
use crate::net::{Interest, Mode, Registration, Stream};
use polling::Poller;
use socket2::Socket;
use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};
use std::sync::Arc;
use std::time::Instant;

pub(super) struct Conn {
    socket: Registration<Socket>,
    key: usize,
    /// Its number among all connections of the load.
    number: usize,
    exchange: Box<dyn Exchange>,
    /// Requests that are not sent yet, from `sent` on.
    out: Vec<u8>,
    sent: usize,
    /// The beginning of a response.
    held: Vec<u8>,
    /// Since when each request that is on its way has been due.
    on_the_way: VecDeque<Instant>,
    /// The number of the request whose response comes next.
    answered: u64,
}

/// What a turn has brought.
pub(super) enum Heard {
    Nothing,
    /// So many bytes are in the buffer, since then.
    Bytes {
        n: usize,
        at: Instant,
    },
}

impl Conn {
    pub(super) fn new(
        stream: Stream,
        poller: &Arc<Poller>,
        key: usize,
        number: usize,
        exchange: Box<dyn Exchange>,
    ) -> io::Result<Self> {
        let socket = stream.into_socket()?;
        socket.set_nonblocking(true)?;
        let read = Interest { read: true, write: false };
        let socket = Registration::new(Arc::clone(poller), socket, key, read, Mode::Level)?;
        Ok(Self {
            socket,
            key,
            number,
            exchange,
            out: Vec::new(),
            sent: 0,
            held: Vec::new(),
            on_the_way: VecDeque::new(),
            answered: 0,
        })
    }

    /// Sends a request that has been due since then.
    pub(super) fn ask(&mut self, due: Instant) -> Result<(), LoadError> {
        self.begin(due);
        self.flush()
    }

    fn begin(&mut self, due: Instant) {
        let number = self.answered + self.on_the_way.len() as u64;
        self.exchange.request(number, &mut self.out);
        self.on_the_way.push_back(due);
    }

    /// The socket is ready: sends what is left, and reads once.
    pub(super) fn turn(&mut self, ready: Ready, buffer: &mut [u8]) -> Result<Heard, LoadError> {
        if ready.write {
            self.flush()?;
        }
        if !ready.read {
            self.watch()?;
            return Ok(Heard::Nothing);
        }
        match self.socket.source_mut().read(buffer) {
            Ok(0) => Err(LoadError::Closed { connection: self.number }),
            Ok(n) => Ok(Heard::Bytes { n, at: Instant::now() }),
            Err(error) if is_temporary(&error) => {
                self.watch()?;
                Ok(Heard::Nothing)
            }
            Err(source) => Err(LoadError::Socket { connection: self.number, source }),
        }
    }

    /// Takes the responses out of what was read, and sends what comes after them.
    pub(super) fn hear(
        &mut self,
        bytes: &[u8],
        now: Instant,
        schedule: &mut Schedule,
        score: &mut Score,
    ) -> Result<(), LoadError> {
        let mut held = std::mem::take(&mut self.held);
        let used = if held.is_empty() {
            self.take_responses(bytes, now, schedule, score)?
        } else {
            held.extend_from_slice(bytes);
            self.take_responses(&held, now, schedule, score)?
        };
        if held.is_empty() {
            held.extend_from_slice(&bytes[used..]);
        } else {
            held.drain(..used);
        }
        self.held = held;
        self.flush()
    }

    /// How many bytes the whole responses at the start of `bytes` are.
    fn take_responses(
        &mut self,
        bytes: &[u8],
        now: Instant,
        schedule: &mut Schedule,
        score: &mut Score,
    ) -> Result<usize, LoadError> {
        let (connection, mut used) = (self.number, 0);
        while used < bytes.len() {
            let Some(due) = self.on_the_way.front().copied() else {
                return Err(LoadError::Unasked { connection, got: bytes.len() - used });
            };
            let number = self.answered;
            let wrong = |source| LoadError::WrongResponse { connection, number, source };
            match self.exchange.response(number, &bytes[used..]).map_err(wrong)? {
                None => break,
                Some(n) if n == 0 || n > bytes.len() - used => {
                    let problem = format!("its check took {n} of {} bytes", bytes.len() - used);
                    return Err(wrong(problem.into()));
                }
                Some(n) => used += n,
            }
            self.answered += 1;
            self.on_the_way.pop_front();
            score.response(due, now);
            if let Some(due) = schedule.next_of(self.key, now) {
                self.begin(due);
            }
        }
        Ok(used)
    }

    fn flush(&mut self) -> Result<(), LoadError> {
        while self.sent < self.out.len() {
            match self.socket.source_mut().write(&self.out[self.sent..]) {
                Ok(n) => self.sent += n,
                Err(error) if is_temporary(&error) => break,
                Err(source) => {
                    return Err(LoadError::Socket { connection: self.number, source });
                }
            }
        }
        if self.sent == self.out.len() {
            self.out.clear();
            self.sent = 0;
        }
        self.watch()
    }

    /// Watches for what matters now. In level mode it is free unless that changes.
    fn watch(&mut self) -> Result<(), LoadError> {
        let wanted = Interest { read: true, write: !self.out.is_empty() };
        self.socket
            .set(self.key, wanted)
            .map_err(|source| LoadError::Socket { connection: self.number, source })
    }

    pub(super) fn is_idle(&self) -> bool {
        self.on_the_way.is_empty()
    }
}

fn is_temporary(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}
