//! Clients that ask without a pause, and judge what they get.
//!
//! The rules, which are those of HTTP/1.1 for connections that persist (RFC 9112, section 9.5, and
//! RFC 9110, section 9.2.2): a server may close a connection that is idle whenever it likes. A client
//! whose request crosses with that close finds a clean end before any byte of an answer, and may ask
//! again elsewhere. So such a request is *late* and not lost, if it was sent after the drain began, and
//! not the first of its connection. Everything else that is not answered in full is *failed*: a reset, a
//! part of an answer, a request that was sent before the drain began, the first request of a connection.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// No server takes as long to answer, unless it is stuck.
const PATIENCE: Duration = Duration::from_secs(20);

/// What a client does with each of its connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Habit {
    /// Asks one request after the other.
    Keeps,
    /// Asks once, and connects again.
    Once,
    /// Asks eight at a time, and reads eight answers.
    Pipelines,
}

impl Habit {
    /// Of ten clients six keep their connections, three connect for each request, one pipelines.
    pub(crate) fn of(number: usize) -> Self {
        match number % 10 {
            0..6 => Self::Keeps,
            6..9 => Self::Once,
            _ => Self::Pipelines,
        }
    }

    fn depth(self) -> usize {
        if self == Self::Pipelines { 8 } else { 1 }
    }
}

/// What all clients of a run share.
pub(crate) struct Run {
    addr: SocketAddr,
    epoch: Instant,
    /// When each server in turn began to drain, in nanoseconds since `epoch`.
    drains: Mutex<Vec<u64>>,
    /// How many of those have ended.
    ended: AtomicUsize,
    /// The clients are to finish what they are at, and end.
    over: AtomicBool,
    /// How many requests were answered so far.
    answered: AtomicU64,
    /// Whether each server that drains is followed by another, so that nobody may be refused.
    goes_on: bool,
}

/// What a client has seen.
#[derive(Debug, Default, Clone)]
pub(crate) struct Seen {
    pub(crate) answered: u64,
    pub(crate) connections: u64,
    /// Requests that crossed with the close of an idle connection.
    pub(crate) late: u64,
    /// Connections that were refused. After the drain that is how it should be.
    pub(crate) refused: u64,
    /// What must not happen, in words.
    pub(crate) failed: Vec<String>,
}

impl Seen {
    pub(crate) fn add(&mut self, other: Self) {
        self.answered += other.answered;
        self.connections += other.connections;
        self.late += other.late;
        self.refused += other.refused;
        self.failed.extend(other.failed);
    }
}

/// How a connection went on.
enum Went {
    Well,
    /// The server has closed it in order.
    Closed,
    Failed(String),
}

impl Run {
    pub(crate) fn new(addr: SocketAddr, goes_on: bool) -> Self {
        Self {
            addr,
            epoch: Instant::now(),
            drains: Mutex::default(),
            ended: AtomicUsize::new(0),
            over: AtomicBool::new(false),
            answered: AtomicU64::new(0),
            goes_on,
        }
    }

    /// A server is about to be told to drain: requests that are sent from now on may come too late.
    pub(crate) fn drain_begins(&self) {
        self.drains.lock().unwrap().push(self.now());
    }

    /// That server is gone: whoever connects from now on has another.
    pub(crate) fn drain_has_ended(&self) {
        self.ended.fetch_add(1, Ordering::SeqCst);
    }

    pub(crate) fn end(&self) {
        self.over.store(true, Ordering::SeqCst);
    }

    /// Waits until the clients have had so many more answers.
    pub(crate) fn wait_for_answers(&self, more: u64) {
        let wanted = self.answered.load(Ordering::Relaxed) + more;
        let until = Instant::now() + PATIENCE;
        while self.answered.load(Ordering::Relaxed) < wanted && !self.is_over() {
            assert!(Instant::now() < until, "{more} more answers did not come in {PATIENCE:?}");
            std::thread::yield_now();
        }
    }

    fn is_over(&self) -> bool {
        self.over.load(Ordering::SeqCst)
    }

    fn now(&self) -> u64 {
        self.epoch.elapsed().as_nanos() as u64
    }

    fn drains_so_far(&self) -> usize {
        self.drains.lock().unwrap().len()
    }

    /// Asks until the server refuses, or the run is over. What failed ends the whole run.
    pub(crate) fn ask(&self, number: usize) -> Seen {
        let mut seen = Seen::default();
        while !self.is_over() && seen.refused == 0 {
            self.ask_once(number, &mut seen);
            if !seen.failed.is_empty() {
                self.end();
            }
        }
        seen
    }

    /// Connects, and asks until that connection is over.
    pub(crate) fn ask_once(&self, number: usize, seen: &mut Seen) {
        let ended_before = self.ended.load(Ordering::SeqCst);
        match TcpStream::connect(self.addr) {
            Ok(stream) => {
                seen.connections += 1;
                if let Err(what) = self.converse(stream, number, ended_before, seen) {
                    seen.failed.push(format!("{:?}: {what}", Habit::of(number)));
                }
            }
            Err(error) => {
                seen.refused += 1;
                let expected = !self.goes_on && self.drains_so_far() > 0;
                if error.kind() != io::ErrorKind::ConnectionRefused || !expected {
                    seen.failed.push(format!("connect: {error}"));
                }
            }
        }
    }

    /// The life of one connection, which was made when so many servers had gone.
    fn converse(
        &self,
        mut stream: TcpStream,
        number: usize,
        ended_before: usize,
        seen: &mut Seen,
    ) -> Result<(), String> {
        let habit = Habit::of(number);
        prepare(&stream).map_err(|error| format!("options: {error}"))?;
        let mut first = true;
        while !self.is_over() {
            let answered = seen.answered;
            let (went, sent_at) = self.exchange(&mut stream, number, habit.depth(), seen);
            match went {
                Went::Well => (),
                Went::Failed(what) if first => return Err(format!("the first request: {what}")),
                Went::Failed(what) => return Err(format!("a later request: {what}")),
                Went::Closed if first && seen.answered == answered => {
                    return Err("the first request was not answered".to_owned());
                }
                Went::Closed => {
                    seen.late += 1;
                    // Its server is the one that goes next, or a later one.
                    return match self.drains.lock().unwrap().get(ended_before) {
                        Some(&began) if sent_at >= began => Ok(()),
                        Some(_) => Err("a request from before the drain was not answered".into()),
                        None => Err("closed without a drain".into()),
                    };
                }
            }
            first = false;
            if habit == Habit::Once {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Sends so many requests, and reads their answers. Tells when they were sent.
    fn exchange(
        &self,
        stream: &mut TcpStream,
        number: usize,
        n: usize,
        seen: &mut Seen,
    ) -> (Went, u64) {
        let requests: Vec<String> =
            (0..n as u64).map(|i| format!("request {number} {}\n", seen.answered + i)).collect();
        // An error of a write is found again, or explained, by the read that follows.
        let _ = stream.write_all(requests.concat().as_bytes());
        let sent_at = self.now();
        for request in requests {
            match read_answer(stream, &request.to_uppercase()) {
                Went::Well => {
                    seen.answered += 1;
                    self.answered.fetch_add(1, Ordering::Relaxed);
                }
                other => return (other, sent_at),
            }
        }
        (Went::Well, sent_at)
    }
}

fn prepare(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))
}

fn read_answer(stream: &mut TcpStream, expected: &str) -> Went {
    let mut answer = vec![0; expected.len()];
    let mut got = 0;
    while got < answer.len() {
        match stream.read(&mut answer[got..]) {
            Ok(0) if got == 0 => return Went::Closed,
            Ok(0) => return Went::Failed(format!("an answer was cut after {got} bytes")),
            Ok(n) => got += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => (),
            Err(error) => return Went::Failed(format!("after {got} bytes of an answer: {error}")),
        }
    }
    match answer == expected.as_bytes() {
        true => Went::Well,
        false => {
            Went::Failed(format!("the answer to another: {:?}", String::from_utf8_lossy(&answer)))
        }
    }
}
