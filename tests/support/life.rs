//! Servers within the test's own process, on each backend, and what the system says of their
//! threads.

// Every test binary compiles this file for itself, and uses a part of it.
#![allow(dead_code)]

use polyserve::{
    Action, Addr, Backend, BoxError, Builder, Context, EventLoop, Handler, Input, Observer, Peer,
    Server, ServerHandle, ThreadPerConnection, ThreadPool,
};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::PathBuf;
use std::sync::mpsc::channel;
use std::sync::{Arc, Condvar, Mutex, Once};
use std::thread;
use std::time::{Duration, Instant};

/// For what should take no time at all, on a machine that has other work as well.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// A backend as the tests run it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Threads,
    Pool,
    PoolPortable,
    Loops,
    LoopsPortable,
    OneLoop,
}

pub(crate) const ALL: [Kind; 6] = [
    Kind::Threads,
    Kind::Pool,
    Kind::PoolPortable,
    Kind::Loops,
    Kind::LoopsPortable,
    Kind::OneLoop,
];

/// How many workers or loops a backend has here, where it has any.
pub(crate) const WORKERS: usize = 2;

impl Kind {
    pub(crate) fn backend(self, tids: &Tids) -> Box<dyn Backend> {
        let tids = tids.clone();
        let hook = move |_number| tids.note();
        match self {
            Kind::Threads => Box::new(ThreadPerConnection::new().on_thread_start(hook)),
            Kind::Pool => Box::new(ThreadPool::new(WORKERS).on_thread_start(hook)),
            Kind::PoolPortable => {
                Box::new(ThreadPool::new(WORKERS).portable(true).on_thread_start(hook))
            }
            Kind::Loops => Box::new(EventLoop::new().loops(WORKERS).on_thread_start(hook)),
            Kind::LoopsPortable => {
                Box::new(EventLoop::new().loops(WORKERS).portable(true).on_thread_start(hook))
            }
            Kind::OneLoop => Box::new(EventLoop::new().loops(1).on_thread_start(hook)),
        }
    }

    /// How many threads a server has that has no connection.
    pub(crate) fn idle_threads(self) -> usize {
        match self {
            Kind::Threads | Kind::OneLoop => 1,
            Kind::Pool | Kind::PoolPortable => 1 + WORKERS,
            Kind::Loops | Kind::LoopsPortable => WORKERS,
        }
    }

    /// Whether one blocked handler leaves the server able to serve others.
    pub(crate) fn may_block(self) -> bool {
        matches!(self, Kind::Threads | Kind::Pool | Kind::PoolPortable)
    }
}

/// Each test, once on each backend.
#[allow(unused_macros)]
macro_rules! on_each_backend {
    ($($test:ident)*) => {
        on_each_backend!(@ threads Threads $($test)*);
        on_each_backend!(@ pool Pool $($test)*);
        on_each_backend!(@ pool_portable PoolPortable $($test)*);
        on_each_backend!(@ loops Loops $($test)*);
        on_each_backend!(@ loops_portable LoopsPortable $($test)*);
        on_each_backend!(@ one_loop OneLoop $($test)*);
    };
    (@ $name:ident $kind:ident $($test:ident)*) => {
        mod $name {
            $(#[test] fn $test() { super::$test(crate::life::Kind::$kind); })*
        }
    };
}
#[allow(unused_imports)]
pub(crate) use on_each_backend;

/// The threads of a server, as Linux lists them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tids(Arc<Mutex<Vec<PathBuf>>>);

impl Tids {
    /// Counts the calling thread among them.
    pub(crate) fn note(&self) {
        if let Ok(task) = std::fs::read_link("/proc/thread-self") {
            let (task, mut all) = (PathBuf::from("/proc").join(task), self.0.lock().unwrap());
            if !all.contains(&task) {
                all.push(task);
            }
        }
    }

    /// How many of them live.
    pub(crate) fn alive(&self) -> usize {
        self.0.lock().unwrap().iter().filter(|task| task.exists()).count()
    }

    /// How long those that live have run so far.
    pub(crate) fn cpu(&self) -> Duration {
        let ran = |task: &PathBuf| {
            let stat = std::fs::read_to_string(task.join("schedstat")).ok()?;
            stat.split(' ').next()?.parse::<u64>().ok()
        };
        let all = self.0.lock().unwrap();
        assert!(!all.is_empty(), "no thread of the server is known");
        Duration::from_nanos(all.iter().filter_map(ran).sum())
    }

    /// Runs `body`, which takes a second or so, and fails if these threads were at work for more
    /// than a twentieth of that.
    pub(crate) fn rest_during<R>(&self, body: impl FnOnce() -> R) -> R {
        let (began, before) = (Instant::now(), self.cpu());
        let result = body();
        let (ran, took) = (self.cpu().saturating_sub(before), began.elapsed());
        assert!(took > Duration::from_millis(500), "{took:?} are too short to tell");
        assert!(ran < took / 20, "the server ran for {ran:?} of {took:?}");
        result
    }
}

/// Notes the thread that serves.
struct Noting(Tids);

impl Observer for Noting {
    fn listening(&self, _addr: &Addr) {
        self.0.note();
    }
}

/// A server in the background, and where it listens first.
pub(crate) struct Running {
    pub(crate) handle: ServerHandle,
    pub(crate) addr: SocketAddr,
    pub(crate) tids: Tids,
}

/// Starts a server on a free port.
pub(crate) fn spawn<H: Handler>(
    kind: Kind,
    factory: impl Fn(&Peer) -> H + Send + Sync + 'static,
) -> Running {
    spawn_with(kind, |builder| builder, factory)
}

/// As [`spawn`], with other settings.
pub(crate) fn spawn_with<H: Handler>(
    kind: Kind,
    set: impl FnOnce(Builder) -> Builder,
    factory: impl Fn(&Peer) -> H + Send + Sync + 'static,
) -> Running {
    let tids = Tids::default();
    let builder = Server::builder().backend(kind.backend(&tids)).observer(Noting(tids.clone()));
    let handle = set(builder).bind("127.0.0.1:0").unwrap().spawn(factory).unwrap();
    let addr = handle.local_addrs().iter().find_map(Addr::as_tcp).unwrap();
    Running { handle, addr, tids }
}

impl Running {
    pub(crate) fn connect(&self) -> TcpStream {
        connect(self.addr)
    }

    /// Fails unless a new client is served: by an echo.
    pub(crate) fn probe(&self) {
        echo(&mut self.connect(), b"probe");
    }

    /// Drains, which must leave nothing.
    pub(crate) fn end(self) {
        let report = self.handle.drain(Duration::ZERO, PATIENCE);
        assert!(report.finished_all && report.killed == 0, "{report:?}");
        self.handle.join().unwrap();
    }
}

/// A connection whose reads and writes end.
pub(crate) fn connect(addr: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(addr).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

/// Sends this, and fails unless it comes back.
pub(crate) fn echo(stream: &mut (impl Read + Write), bytes: &[u8]) {
    stream.write_all(bytes).unwrap();
    let mut reply = vec![0; bytes.len()];
    stream.read_exact(&mut reply).unwrap();
    assert_eq!(reply, bytes);
}

/// All that comes until the peer's end, which must be an orderly one.
pub(crate) fn read_to_end(stream: &mut impl Read) -> Vec<u8> {
    let mut got = Vec::new();
    stream.read_to_end(&mut got).unwrap();
    got
}

/// Waits for the peer's end, be it orderly or not.
pub(crate) fn wait_for_end(stream: &mut impl Read) {
    let mut buf = [0; 4096];
    loop {
        match stream.read(&mut buf) {
            Ok(0) => return,
            Ok(_) => (),
            Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => {
                panic!("no end came in {PATIENCE:?}")
            }
            Err(_) => return,
        }
    }
}

pub(crate) struct Echo;

impl Handler for Echo {
    fn on_data(&mut self, input: &mut Input<'_>, cx: &mut Context<'_>) -> Result<Action, BoxError> {
        cx.send(input.take());
        Ok(Action::Continue)
    }
}

/// `POLYSERVE_ROUNDS`, or as many rounds as take little time.
pub(crate) fn rounds(default: usize) -> usize {
    match std::env::var("POLYSERVE_ROUNDS") {
        Ok(text) => text.parse().expect("POLYSERVE_ROUNDS is a number"),
        Err(_) => default,
    }
}

/// Runs `body` on a thread of its own, and fails when that takes longer than `limit`.
pub(crate) fn within<R: Send + 'static>(
    limit: Duration,
    what: &str,
    body: impl FnOnce() -> R + Send + 'static,
) -> R {
    let (send, done) = channel();
    let thread = thread::spawn(move || {
        let result = catch_unwind(AssertUnwindSafe(body));
        let _ = send.send(());
        result
    });
    match done.recv_timeout(limit) {
        Ok(()) => thread.join().unwrap().unwrap_or_else(|payload| resume_unwind(payload)),
        Err(_) => panic!("{what} was not over in {limit:?}"),
    }
}

/// Looks until the condition holds. For what the system tells only if asked; everything else has
/// an event to wait for.
pub(crate) fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < end, "not within {PATIENCE:?}: {what}");
        thread::yield_now();
    }
}

/// A gate at which handlers block until it is opened.
#[derive(Debug, Clone, Default)]
pub(crate) struct Gate(Arc<(Mutex<GateState>, Condvar)>);

#[derive(Debug, Default)]
struct GateState {
    open: bool,
    blocked: usize,
}

impl Gate {
    /// Blocks until the gate is opened. A test that forgets it must end all the same.
    pub(crate) fn pass(&self) {
        let (state, changed) = &*self.0;
        let mut state = state.lock().unwrap();
        state.blocked += 1;
        changed.notify_all();
        let waited = changed.wait_timeout_while(state, 2 * PATIENCE, |state| !state.open).unwrap();
        let mut state = waited.0;
        state.blocked -= 1;
        changed.notify_all();
    }

    /// Waits until this many are blocked at it.
    pub(crate) fn wait_for_blocked(&self, n: usize) {
        let (state, changed) = &*self.0;
        let state = state.lock().unwrap();
        let (state, timeout) =
            changed.wait_timeout_while(state, PATIENCE, |state| state.blocked != n).unwrap();
        assert!(!timeout.timed_out(), "{} of {n} are at the gate", state.blocked);
    }

    pub(crate) fn open(&self) {
        let (state, changed) = &*self.0;
        state.lock().unwrap().open = true;
        changed.notify_all();
    }
}

/// What planned panics say: those are not printed.
pub(crate) const PLANNED: &str = "a planned panic";

/// What a planned panic may carry: it panics once more when it is dropped.
pub(crate) struct PlannedPayload;

impl Drop for PlannedPayload {
    fn drop(&mut self) {
        std::panic::panic_any(PLANNED);
    }
}

/// Keeps planned panics out of the output.
pub(crate) fn hush_planned_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let loud = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            let payload = info.payload();
            let is_planned = payload.downcast_ref::<&str>() == Some(&PLANNED);
            if !is_planned && !payload.is::<PlannedPayload>() {
                loud(info);
            }
        }));
    });
}
