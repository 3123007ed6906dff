//! Sends across threads, one at a time: each must reach its connection soon, whatever the thread
//! that runs it is doing, and none may be lost (RELIABILITY: lost wake-ups).
//!
//! `POLYSERVE_LOCKSTEP=1000000 cargo test --release --test lockstep -- --nocapture` makes the long
//! run; its result is in `docs/proofs.md`.

use polyserve::{
    Action, Backend, BoxError, Context, EventLoop, Handler, Input, Limit, Sender, Server,
    ThreadPerConnection, ThreadPool,
};
use std::io::Read;
use std::net::TcpStream;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

/// Sends on each backend, if nobody asks for more.
const SENDS: u64 = 20_000;

/// The longest that a send may take.
const SOON: Duration = Duration::from_millis(250);

/// How long the machine has kept a thread from running that had nothing to do but to look at the
/// clock: a send cannot be faster than that.
struct Stalls {
    nanos: Arc<AtomicU64>,
    _stop: mpsc::Sender<()>,
}

impl Stalls {
    fn watch() -> Self {
        let nanos = Arc::new(AtomicU64::new(0));
        let (stop, stopped) = mpsc::channel();
        let total = Arc::clone(&nanos);
        std::thread::spawn(move || {
            const TICK: Duration = Duration::from_millis(5);
            let mut before = Instant::now();
            while stopped.recv_timeout(TICK) == Err(mpsc::RecvTimeoutError::Timeout) {
                let late = before.elapsed().saturating_sub(TICK);
                before = Instant::now();
                total.fetch_add(late.as_nanos() as u64, Ordering::Relaxed);
            }
        });
        Self { nanos, _stop: stop }
    }

    fn total(&self) -> Duration {
        Duration::from_nanos(self.nanos.load(Ordering::Relaxed))
    }
}

/// Hands out its sender, and has nothing else to say.
struct Listening(mpsc::Sender<Sender>);

impl Handler for Listening {
    fn on_open(&mut self, cx: &mut Context<'_>) -> Result<Action, BoxError> {
        cx.set_idle_timeout(Limit::Unlimited);
        self.0.send(cx.sender())?;
        Ok(Action::Continue)
    }

    fn on_data(&mut self, input: &mut Input<'_>, _: &mut Context<'_>) -> Result<Action, BoxError> {
        input.take();
        Ok(Action::Continue)
    }
}

/// Sends a number, waits until the client has it, and sends the next.
fn in_lockstep(name: &str, backend: impl Backend) {
    let sends = match std::env::var("POLYSERVE_LOCKSTEP") {
        Ok(text) => text.parse().expect("POLYSERVE_LOCKSTEP is a number"),
        Err(_) => SENDS,
    };
    let (give, take) = mpsc::channel();
    let server = Server::builder()
        .backend(backend)
        .bind("127.0.0.1:0")
        .unwrap()
        .spawn(move |_peer| Listening(give.clone()))
        .unwrap();
    let addr = server.local_addrs()[0].as_tcp().unwrap();
    let mut client = TcpStream::connect(addr).unwrap();
    client.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let sender = take.recv_timeout(Duration::from_secs(10)).unwrap();

    let stalls = Stalls::watch();
    let mut slowest = Duration::ZERO;
    for number in 0..sends {
        let (start, stalled) = (Instant::now(), stalls.total());
        sender.send(number.to_be_bytes().to_vec()).unwrap();
        let mut got = [0; 8];
        client.read_exact(&mut got).unwrap_or_else(|e| panic!("{name}: number {number}: {e}"));
        assert_eq!(u64::from_be_bytes(got), number, "{name}: out of order");
        let (took, stalled) = (start.elapsed(), stalls.total() - stalled);
        assert!(took < SOON + stalled, "{name}: number {number} took {took:?}");
        slowest = slowest.max(took);
    }
    println!("{name}: {sends} sends, the slowest took {slowest:?}");
}

#[test]
fn a_thread_that_blocks_is_reached_by_every_send() {
    in_lockstep("threads", ThreadPerConnection::new());
}

#[test]
fn a_pool_is_reached_by_every_send() {
    in_lockstep("pool:2", ThreadPool::new(2));
}

#[test]
fn a_loop_is_reached_by_every_send() {
    in_lockstep("event-loop:1", EventLoop::new().loops(1));
}

#[test]
fn a_portable_loop_is_reached_by_every_send() {
    in_lockstep("event-loop:1, portable", EventLoop::new().loops(1).portable(true));
}

#[test]
fn a_portable_pool_is_reached_by_every_send() {
    in_lockstep("pool:2, portable", ThreadPool::new(2).portable(true));
}
