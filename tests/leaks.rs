//! What is left of a server after its end, or after a start that failed: nothing. And how fast an
//! end is.
//!
//! Descriptors, threads and memory belong to the whole process, so everything here is one test.
//! `POLYSERVE_ROUNDS` sets how often servers are started and stopped (1,000 for a release).

#![cfg(target_os = "linux")]

#[path = "support/life.rs"]
mod life;
#[path = "support/process.rs"]
mod process;

use life::{
    ALL, Echo, Kind, PATIENCE, Tids, connect, echo, rounds, spawn_with, until, wait_for_end,
};
use polyserve::net::SocketOptions;
use polyserve::{
    Acceptor, Action, Addr, Backend, BoxError, ConfigError, Context, EventLoop, Handler, Input,
    Limits, Sender, ServeError, Server, ThreadPerConnection, ThreadPool,
};
use process::TempDir;
use std::io::Write;
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

#[test]
fn nothing_is_left_behind() {
    for kind in ALL {
        an_idle_server_ends_at_once(kind);
    }
    for kind in ALL {
        starting_and_stopping_leaves_nothing(kind);
        what_is_kept_of_a_server_keeps_no_descriptor(kind);
        dropping_a_server_that_never_ran_leaves_nothing(kind);
    }
    settings_that_cannot_work_start_nothing();
    a_backend_that_fails_is_told_and_leaves_nothing();
}

/// What a process holds.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Held {
    descriptors: usize,
    threads: usize,
}

impl Held {
    fn now() -> Self {
        // The directory itself is open while it is read.
        let descriptors = std::fs::read_dir("/proc/self/fd").unwrap().count() - 1;
        Self { descriptors, threads: status("Threads:") }
    }

    /// A thread that was joined may still be listed for a moment.
    #[track_caller]
    fn check_unchanged(&self, what: &str) {
        let end = Instant::now() + Duration::from_secs(2);
        while Held::now() != *self && Instant::now() < end {
            thread::yield_now();
        }
        assert_eq!(Held::now(), *self, "{what}");
    }
}

fn status(field: &str) -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(field)).unwrap();
    line.split_whitespace().next().unwrap().parse().unwrap()
}

const BACKLOG: u32 = 4;

/// S5: less than 50 ms, wherever it listens, and with a backlog full of clients that it does not
/// accept.
///
/// An end takes some changes of threads, and on a machine with other work each of them waits its
/// turn. So nine in ten must be in time, and none may have missed its wake-up. With
/// `POLYSERVE_STRICT`, all must be in time; the command that sees to it that other work does not
/// count is `POLYSERVE_STRICT=1 POLYSERVE_ROUNDS=1000 chrt -f 10 cargo test --test leaks`.
fn an_idle_server_ends_at_once(kind: Kind) {
    let dir = TempDir::new();
    let unix = format!("unix:{}", dir.file("s").display());
    let binds = ["127.0.0.1:0", "0.0.0.0:0", "[::]:0", &unix, "full"];
    let binds: Vec<&str> =
        binds.into_iter().filter(|bind| !bind.starts_with('[') || has_ipv6()).collect();
    let mut all: Vec<Duration> = Vec::new();
    for round in 0..rounds(100) {
        let bind = binds[round % binds.len()];
        let is_full = bind == "full";
        let options = SocketOptions::new().with_backlog(if is_full { BACKLOG } else { 1024 });
        let server = Server::builder().backend(kind.backend(&Tids::default()));
        let bind_to = if is_full { "127.0.0.1:0" } else { bind };
        let server = server.socket_options(options).bind(bind_to).unwrap().build().unwrap();
        let control = server.control();
        if is_full {
            control.pause();
        }
        let handle = server.spawn(|_peer| Echo).unwrap();
        let waiting = if is_full { fill(&handle.local_addrs()[0]) } else { Vec::new() };
        let began = Instant::now();
        if round % 2 == 0 {
            control.stop()
        } else {
            control.begin_drain(Duration::ZERO, PATIENCE)
        }
        // Those in the backlog are accepted by a drain, and leave when they are told to.
        let waiting = thread::spawn(move || {
            waiting.into_iter().for_each(|mut stream| wait_for_end(&mut stream));
        });
        handle.join().unwrap();
        let took = began.elapsed();
        waiting.join().unwrap();
        assert!(took < Duration::from_secs(5), "{kind:?} on {bind}: {took:?}");
        all.push(took);
    }
    all.sort();
    let (n, last) = (all.len(), all[all.len() - 1]);
    println!("{kind:?}: {n} ends took {:?} to {last:?}", all[0]);
    let strict = std::env::var_os("POLYSERVE_STRICT").is_some();
    let judged = if strict { last } else { all[n * 9 / 10] };
    assert!(judged < Duration::from_millis(50), "{kind:?}: {judged:?}");
}

fn has_ipv6() -> bool {
    std::net::TcpListener::bind("[::1]:0").is_ok()
}

/// Connections that nobody accepts, as many as there is room for. They have said something, so that
/// a drain does not wait for their first word.
fn fill(addr: &Addr) -> Vec<TcpStream> {
    let addr = addr.as_tcp().unwrap();
    // Linux lets one more in than the backlog says.
    let mut waiting: Vec<_> = (0..=BACKLOG).map(|_| connect(addr)).collect();
    waiting.iter_mut().for_each(|stream| stream.write_all(b"x").unwrap());
    let one_more = TcpStream::connect_timeout(&addr, Duration::from_millis(20));
    assert!(one_more.is_err(), "the backlog is not full");
    waiting
}

/// S6.
fn starting_and_stopping_leaves_nothing(kind: Kind) {
    let dir = TempDir::new();
    let unix = format!("unix:{}", dir.file("s").display());
    let once = |round: usize| {
        let server = spawn_with(kind, |builder| builder.bind(&*unix).unwrap(), |_peer| Echo);
        let mut client = server.connect();
        echo(&mut client, b"over TCP");
        let mut local = UnixStream::connect(dir.file("s")).unwrap();
        local.set_read_timeout(Some(PATIENCE)).unwrap();
        echo(&mut local, b"over a Unix socket");
        match round % 3 {
            0 => server.end(),
            1 => drop(server.handle),
            _ => {
                server.handle.control().stop();
                server.handle.join().unwrap();
            }
        }
        wait_for_end(&mut client);
        wait_for_end(&mut local);
    };
    // What the process makes once and keeps is there after the first rounds.
    (0..6).for_each(once);
    let (before, memory) = (Held::now(), status("VmRSS:"));
    let n = rounds(100);
    (0..n).for_each(once);
    before.check_unchanged(&format!("{kind:?}: after {n} servers"));
    let grown = status("VmRSS:").saturating_sub(memory);
    println!("{kind:?}: {n} servers later: {before:?}, {memory} KiB and {grown} more");
    // A twentieth, and in few rounds what an arena of the allocator may add to a small process.
    let arena = if n < 1000 { 1024 } else { 0 };
    assert!(grown <= memory / 20 + arena, "{kind:?}: {memory} KiB have grown by {grown}");
    assert!(dir.names().is_empty(), "{:?}", dir.names());
}

/// Gives its sender away.
struct Gives(Arc<Mutex<Vec<Sender>>>);

impl Handler for Gives {
    fn on_data(&mut self, input: &mut Input<'_>, cx: &mut Context<'_>) -> Result<Action, BoxError> {
        cx.send(input.take());
        self.0.lock().unwrap().push(cx.sender());
        Ok(Action::Continue)
    }
}

/// Senders and controls outlive servers; pollers, listeners and threads do not hang on them.
fn what_is_kept_of_a_server_keeps_no_descriptor(kind: Kind) {
    let senders: Arc<Mutex<Vec<Sender>>> = Arc::default();
    let mut controls = Vec::new();
    let before = Held::now();
    for _ in 0..10 {
        let given = Arc::clone(&senders);
        let server = spawn_with(kind, |builder| builder, move |_peer| Gives(Arc::clone(&given)));
        let mut client = server.connect();
        echo(&mut client, b"x");
        controls.push(server.handle.control());
        server.end();
        wait_for_end(&mut client);
    }
    before.check_unchanged(&format!("{kind:?}: with senders and controls of ended servers"));
    let senders = senders.lock().unwrap();
    assert_eq!((senders.len(), controls.len()), (10, 10));
    assert!(senders.iter().all(|sender| sender.is_closed() && !sender.wake()));
}

fn dropping_a_server_that_never_ran_leaves_nothing(kind: Kind) {
    let dir = TempDir::new();
    let unix = format!("unix:{}", dir.file("s").display());
    let before = Held::now();
    for _ in 0..10 {
        let tids = Tids::default();
        let server = Server::builder().backend(kind.backend(&tids));
        let server = server.bind("127.0.0.1:0").unwrap().bind(&*unix).unwrap().build().unwrap();
        let addr = server.local_addrs()[0].as_tcp().unwrap();
        let control = server.control();
        control.begin_drain(Duration::ZERO, Duration::ZERO);
        drop(server);
        assert!(TcpStream::connect(addr).is_err());
        assert_eq!(tids.alive(), 0);
    }
    before.check_unchanged(&format!("{kind:?}: after servers that never ran"));
    assert!(dir.names().is_empty(), "{:?}", dir.names());
}

/// Tries to start a server with these settings, which must fail: nothing starts.
fn refused(backend: impl Backend, limits: Limits) -> ServeError {
    let dir = TempDir::new();
    let unix = format!("unix:{}", dir.file("s").display());
    let before = Held::now();
    let factory_ran = Arc::new(AtomicBool::new(false));
    let ran = Arc::clone(&factory_ran);
    let builder = Server::builder().backend(backend).limits(limits);
    let started = builder.bind("127.0.0.1:0").unwrap().bind(&*unix).unwrap().spawn(move |_peer| {
        ran.store(true, Ordering::SeqCst);
        Echo
    });
    let error = started.expect_err("it has started");
    before.check_unchanged(&error.to_string());
    assert!(!factory_ran.load(Ordering::SeqCst));
    assert!(dir.names().is_empty(), "{:?}", dir.names());
    error
}

fn settings_that_cannot_work_start_nothing() {
    raise_descriptor_limit();
    let fine = Limits::default;
    let config = |error| match error {
        ServeError::Config(error) => error,
        other => panic!("expected a ConfigError: {other:?}"),
    };
    assert_eq!(config(refused(ThreadPool::new(0), fine())), ConfigError::NoWorkers);
    assert_eq!(config(refused(EventLoop::new().loops(0), fine())), ConfigError::NoWorkers);
    let too_many = |wanted| ConfigError::TooManyThreads { wanted, max: 8_192 };
    assert_eq!(config(refused(ThreadPool::new(8_193), fine())), too_many(8_193));
    let mut many = fine();
    many.max_connections = Some(100_000);
    let error = config(refused(ThreadPerConnection::new(), many));
    let ConfigError::TooManyThreads { wanted, max: 8_192 } = error else { panic!("{error:?}") };
    assert!(wanted > 8_192, "{wanted}");
    // More loops than there are descriptors for: the system says no, in the middle.
    let error = refused(EventLoop::new().loops(100_000), fine());
    let is_out = |error: &std::io::Error| error.raw_os_error() == Some(libc_emfile());
    assert!(matches!(&error, ServeError::Start(error) if is_out(error)), "{error:?}");
    let mut zero = fine();
    zero.max_connections = Some(0);
    assert_eq!(config(refused(ThreadPool::new(1), zero)), ConfigError::NoConnections);
    let mut deaf = fine();
    deaf.input = 0;
    assert_eq!(config(refused(ThreadPool::new(1), deaf)), ConfigError::NoInput);
    for (low, high, hard) in [(3, 2, 4), (1, 5, 4), (9, 8, 7)] {
        let mut marks = fine();
        (marks.output_low, marks.output_high, marks.output_hard) = (low, high, hard);
        let error = config(refused(ThreadPool::new(1), marks));
        assert_eq!(error, ConfigError::Marks { low, high, hard });
    }
    let before = Held::now();
    let error = Server::builder().spawn(|_peer| Echo).expect_err("it listens nowhere");
    assert!(matches!(error, ServeError::Config(ConfigError::NoListener)), "{error:?}");
    before.check_unchanged("no listener");
}

fn libc_emfile() -> i32 {
    rustix::io::Errno::MFILE.raw_os_error()
}

fn raise_descriptor_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    setrlimit(Resource::Nofile, raised).unwrap();
}

/// Comes to a bad end: before it accepts, or with its first session in hand.
#[derive(Debug, Clone, Copy)]
enum Fails {
    BeforeStart,
    WithSession,
    PanicsBeforeStart,
    PanicsWithSession,
    ReturnsBeforeStart,
}

impl Backend for Fails {
    fn run(&mut self, acceptor: &Acceptor) -> Result<(), ServeError> {
        match self {
            Fails::BeforeStart => return Err(ServeError::Backend("planned".into())),
            Fails::PanicsBeforeStart => std::panic::panic_any(life::PLANNED),
            Fails::ReturnsBeforeStart => return Ok(()),
            Fails::WithSession | Fails::PanicsWithSession => (),
        }
        let session = acceptor.accept()?;
        if matches!(self, Fails::PanicsWithSession) {
            std::panic::panic_any(life::PLANNED);
        }
        drop(session);
        Err(ServeError::Backend("planned".into()))
    }
}

fn a_backend_that_fails_is_told_and_leaves_nothing() {
    life::hush_planned_panics();
    let is_backend = |error: &ServeError| matches!(error, ServeError::Backend(_));
    let is_panic = |error: &ServeError| matches!(error, ServeError::Panic(m) if m == life::PLANNED);
    assert!(is_backend(&refused(Fails::BeforeStart, Limits::default())));
    assert!(is_backend(&refused(Fails::ReturnsBeforeStart, Limits::default())));
    assert!(is_panic(&refused(Fails::PanicsBeforeStart, Limits::default())));
    let before = Held::now();
    for fails in [Fails::WithSession, Fails::PanicsWithSession] {
        let server = Server::builder().backend(fails).bind("127.0.0.1:0").unwrap();
        let handle = server.spawn(|_peer| Echo).unwrap();
        let addr = handle.local_addrs()[0].as_tcp().unwrap();
        wait_for_end(&mut connect(addr));
        let control = handle.control();
        let error = handle.join().expect_err("it has failed");
        assert!(is_backend(&error) || is_panic(&error), "{error:?}");
        assert!(TcpStream::connect(addr).is_err(), "the port is free");
        until("no connection is left", || control.stats().live() == 0);
    }
    before.check_unchanged("after backends that failed");
}
