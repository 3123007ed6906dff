//! A proxy that does to bytes and connections what networks do.

use super::plan::{Direction, Fate, Plan};
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

/// What was done, over all connections.
#[derive(Default, Debug)]
pub(crate) struct Done {
    pub(crate) delays: AtomicUsize,
    pub(crate) splits: AtomicUsize,
    pub(crate) cuts: AtomicUsize,
    pub(crate) resets: AtomicUsize,
}

impl Done {
    pub(crate) fn total(&self) -> usize {
        let all = [&self.delays, &self.splits, &self.cuts, &self.resets];
        all.into_iter().map(|count| count.load(Ordering::Relaxed)).sum()
    }
}

/// What became of one connection.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Passed {
    /// The address that the server knows it by.
    pub(crate) upstream: SocketAddr,
    /// How it was ended in the middle, if it was.
    pub(crate) fate: Option<Fate>,
}

pub(crate) struct Proxy {
    pub(crate) addr: SocketAddr,
    shared: Arc<Shared>,
    acceptor: Option<JoinHandle<Vec<Arc<Relay>>>>,
}

#[derive(Default)]
struct Shared {
    over: AtomicBool,
    done: Done,
}

impl Proxy {
    /// Passes everything on to this server, with what the plans of this seed do to it.
    pub(crate) fn start(server: SocketAddr, seed: u64) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        let shared = Arc::new(Shared::default());
        let theirs = Arc::clone(&shared);
        let acceptor = std::thread::spawn(move || accept(&listener, server, seed, &theirs));
        Self { addr, shared, acceptor: Some(acceptor) }
    }

    pub(crate) fn done(&self) -> &Done {
        &self.shared.done
    }

    /// Waits until all connections have ended: what became of each, in the order in which they came.
    pub(crate) fn finish(mut self) -> Vec<Passed> {
        let relays = self.stop().expect("it was not stopped before");
        relays.iter().map(|relay| relay.passed()).collect()
    }

    fn stop(&mut self) -> Option<Vec<Arc<Relay>>> {
        self.shared.over.store(true, Ordering::Relaxed);
        // Whoever waits for a connection gets one.
        let acceptor = self.acceptor.take()?;
        let _ = TcpStream::connect(self.addr);
        acceptor.join().ok()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.stop();
    }
}

fn accept(
    listener: &TcpListener,
    server: SocketAddr,
    seed: u64,
    shared: &Arc<Shared>,
) -> Vec<Arc<Relay>> {
    let (mut relays, mut threads) = (Vec::new(), Vec::new());
    for client in listener.incoming().map_while(Result::ok) {
        if shared.over.load(Ordering::Relaxed) {
            break;
        }
        let (relay, sockets) = Relay::new(client, server);
        for direction in [Direction::ToServer, Direction::ToClient] {
            let plan = Plan::new(seed, relays.len(), direction);
            let (relay, sockets) = (Arc::clone(&relay), Arc::clone(&sockets));
            let shared = Arc::clone(shared);
            let run = move || relay.run(&sockets, direction, plan, &shared.done);
            threads.push(std::thread::spawn(run));
        }
        relays.push(relay);
    }
    threads.into_iter().for_each(|thread| thread.join().expect("a relay does not panic"));
    relays
}

/// Between its looks at whether the other direction has ended the connection.
const TICK: Duration = Duration::from_millis(20);

struct Relay {
    upstream: SocketAddr,
    fate: Mutex<Option<Fate>>,
}

impl Relay {
    /// It and its sockets, the client's and the server's, which close when both directions are over.
    fn new(client: TcpStream, server: SocketAddr) -> (Arc<Self>, Arc<[TcpStream; 2]>) {
        let server = TcpStream::connect(server).expect("the server listens");
        let upstream = server.local_addr().unwrap();
        for socket in [&client, &server] {
            socket.set_nodelay(true).unwrap();
            socket.set_read_timeout(Some(TICK)).unwrap();
            socket.set_write_timeout(Some(TICK)).unwrap();
        }
        (Arc::new(Self { upstream, fate: Mutex::default() }), Arc::new([client, server]))
    }

    fn passed(&self) -> Passed {
        Passed { upstream: self.upstream, fate: self.fate() }
    }

    fn fate(&self) -> Option<Fate> {
        *self.fate.lock().unwrap()
    }

    /// Passes the bytes of one direction on.
    fn run(&self, sockets: &[TcpStream; 2], direction: Direction, mut plan: Plan, done: &Done) {
        let [client, server] = sockets;
        let (from, to) = match direction {
            Direction::ToServer => (client, server),
            Direction::ToClient => (server, client),
        };
        let mut passed = 0;
        while let Some(n) = self.pass(from, to, &mut plan, passed, done) {
            passed += n;
        }
    }

    /// One step. `None` when the direction is over.
    fn pass(
        &self,
        mut from: &TcpStream,
        to: &TcpStream,
        plan: &mut Plan,
        passed: usize,
        done: &Done,
    ) -> Option<usize> {
        let step = plan.step();
        if !step.wait.is_zero() {
            done.delays.fetch_add(1, Ordering::Relaxed);
            delay(step.wait);
        }
        let left = plan.end.map_or(usize::MAX, |(at, _)| at - passed);
        let mut bytes = vec![0; step.read.min(left)];
        if left == 0 {
            self.end(plan.end?.1, [from, to], done);
            return None;
        }
        let n = loop {
            match from.read(&mut bytes) {
                Ok(n) => break n,
                Err(error) if is_tick(&error) && self.fate().is_none() => (),
                // A reset is passed on as one.
                Err(_) => {
                    refuse([from, to]);
                    return None;
                }
            }
        };
        if n == 0 {
            let _ = to.shutdown(Shutdown::Write);
            return None;
        }
        done.splits.fetch_add(usize::from(step.write < n), Ordering::Relaxed);
        bytes[..n].chunks(step.write).try_for_each(|piece| self.write_all(to, piece))?;
        Some(n)
    }

    fn write_all(&self, mut to: &TcpStream, mut bytes: &[u8]) -> Option<()> {
        while !bytes.is_empty() {
            match to.write(bytes) {
                Ok(n) => bytes = &bytes[n..],
                Err(error) if is_tick(&error) && self.fate().is_none() => (),
                // Whoever writes to this direction is to notice.
                Err(_) => {
                    let _ = to.shutdown(Shutdown::Both);
                    return None;
                }
            }
        }
        Some(())
    }

    fn end(&self, fate: Fate, sockets: [&TcpStream; 2], done: &Done) {
        let mut first = self.fate.lock().unwrap();
        if first.is_some() {
            return;
        }
        *first = Some(fate);
        match fate {
            Fate::Cut => {
                done.cuts.fetch_add(1, Ordering::Relaxed);
                for socket in sockets {
                    let _ = socket.shutdown(Shutdown::Write);
                }
            }
            Fate::Reset => {
                done.resets.fetch_add(1, Ordering::Relaxed);
                refuse(sockets);
            }
        }
    }
}

/// Their close, when both directions have noticed, will be a reset.
fn refuse(sockets: [&TcpStream; 2]) {
    for socket in sockets {
        let _ = socket2::SockRef::from(socket).set_linger(Some(Duration::ZERO));
    }
}

fn is_tick(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted)
}

/// The fault is the passing of time.
fn delay(time: Duration) {
    let (_keep, never) = channel::<()>();
    let _ = never.recv_timeout(time);
}
