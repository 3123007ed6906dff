//! The observers that come with the crate: what they tell, and what they never tell.

#[path = "support/process.rs"]
mod process;

use polyserve::codec::{DecodeError, LengthPrefixed, Lines};
use polyserve::observe::{Callback, Deadline, Prometheus, Refusal, TracingObserver};
use polyserve::testing::{Script, TestServer};
use polyserve::{
    Action, Addr, BoxError, CloseKind, ConnectionId, Context, DrainReport, Framed, Handler, Input,
    Layer, Observer, Peer, Progress, Server, StderrObserver, Strategy, ThreadPerConnection,
    ThreadPool, Timeouts,
};
use std::collections::BTreeMap;
use std::fmt::{self, Write as _};
use std::io::{self, Read, Write};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

/// What peers send, and nobody may find in a log.
const MARKER: &str = "MaRkEr-7d1f";

/// Set in the process that says everything that it has to say.
const CHILD: &str = "POLYSERVE_TEST_SAYS_EVERYTHING";

/// Gives each event to a function: its level, its message, and its fields.
struct Each<F>(F);

#[derive(Default)]
struct Fields(BTreeMap<String, String>);

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0.insert(field.name().to_owned(), format!("{value:?}"));
    }
}

impl<F: Fn(Level, &str, &BTreeMap<String, String>) + 'static> Subscriber for Each<F> {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == "polyserve"
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        panic!("there are no spans")
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let message = fields.0.remove("message").unwrap_or_default();
        (self.0)(*event.metadata().level(), &message, &fields.0);
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

/// Repeats what it was sent, in each way that there is.
struct Repeats;

impl Handler for Repeats {
    fn on_data(&mut self, input: &mut Input<'_>, _: &mut Context<'_>) -> Result<Action, BoxError> {
        let text = String::from_utf8_lossy(input).into_owned();
        match text.split_once(' ') {
            Some(("panic", rest)) => panic!("{rest}"),
            Some(("fail", rest)) => Err(rest.into()),
            Some(("malformed", rest)) => Err(DecodeError::malformed(rest.to_owned()).into()),
            Some(("other", rest)) => Err(DecodeError::other(rest).into()),
            Some(("io", rest)) => Err(io::Error::other(rest.to_owned()).into()),
            Some(("close", _)) => Ok(Action::Close),
            Some(("abort", _)) => Ok(Action::Abort),
            _ => Ok(Action::Want(1000)),
        }
    }
}

/// A layer that fails, or panics, with what it is given.
struct Spoils {
    panics: bool,
}

impl Layer for Spoils {
    fn read(
        &mut self,
        wire: &[u8],
        _: &mut Vec<u8>,
        _: usize,
        _: &mut Vec<u8>,
    ) -> Result<Progress, BoxError> {
        if wire.is_empty() {
            return Ok(Progress::default());
        }
        let text = String::from_utf8_lossy(wire).into_owned();
        assert!(!self.panics, "{text}");
        Err(text.into())
    }

    fn write(&mut self, plain: &[u8], out: &mut Vec<u8>) -> Result<usize, BoxError> {
        out.extend_from_slice(plain);
        Ok(plain.len())
    }

    fn close(&mut self, _: &mut Vec<u8>) {}

    fn is_ready(&self) -> bool {
        true
    }
}

/// A server with all observers, for one connection: they tell of each kind of failure only once in
/// a while.
struct Case {
    metrics: Arc<Prometheus>,
    builder: polyserve::Builder,
}

impl Case {
    fn on(strategy: Strategy) -> Self {
        let metrics = Arc::new(Prometheus::new());
        let mut timeouts = Timeouts::default();
        timeouts.message = Duration::from_millis(50).into();
        let observers =
            (StderrObserver::new(), (TracingObserver::new().batches(true), Arc::clone(&metrics)));
        let builder = Server::builder().backend(strategy).timeouts(timeouts).observer(observers);
        Self { metrics, builder }
    }

    /// Sends `bytes` to a server of such handlers, and waits for the end.
    fn send<H: Handler>(
        self,
        factory: impl Fn(&Peer) -> H + Send + Sync + 'static,
        bytes: &[u8],
    ) -> CloseKind {
        let server = TestServer::with(self.builder, factory).unwrap();
        server.client().write_all(bytes).unwrap();
        let is_end = |event: &_| matches!(event, polyserve::testing::Event::Closed { .. });
        let end = server.events().wait_for("the end", process::PATIENCE, is_end).unwrap();
        let polyserve::testing::Event::Closed { kind, .. } = end else { unreachable!() };
        let _ = server.client().read_to_end(&mut Vec::new());
        let stats = server.handle().control().stats();
        println!("{:?}\n{}", server.handle().control(), self.metrics.render(&stats));
        server.finish();
        kind
    }
}

/// Not a test by itself: what the next one runs in a process of its own.
#[test]
fn says_everything() {
    if std::env::var_os(CHILD).is_none() {
        return;
    }
    // The hook of the standard library would print what a panic says, whatever that is.
    std::panic::set_hook(Box::new(|_| eprintln!("(a panic)")));
    let print = |level: Level, message: &str, fields: &BTreeMap<String, String>| {
        println!("tracing: {level} {message} {fields:?}");
    };
    tracing::subscriber::set_global_default(Each(print)).unwrap();
    for strategy in Strategy::ALL {
        let words = [
            ("panic", CloseKind::Panic),
            ("fail", CloseKind::Handler),
            ("malformed", CloseKind::Decode),
            ("other", CloseKind::Decode),
            ("io", CloseKind::Handler),
            ("close", CloseKind::Closed),
            ("abort", CloseKind::Aborted),
            ("part", CloseKind::MessageTimeout),
        ];
        for (word, kind) in words {
            let line = format!("{word} {MARKER}");
            assert_eq!(Case::on(strategy).send(|_| Repeats, line.as_bytes()), kind, "{word}");
        }
        let no_text = [MARKER.as_bytes(), b"\xff\n"].concat();
        let lines = |_: &Peer| Framed::new(Lines::new(), |_, _| ());
        assert_eq!(Case::on(strategy).send(lines, &no_text), CloseKind::Decode);
        let too_long = MARKER.repeat(1000);
        assert_eq!(Case::on(strategy).send(lines, too_long.as_bytes()), CloseKind::Decode);
        let prefixed = |_: &Peer| Framed::new(LengthPrefixed::u32(), |_, _| ());
        let end = Case::on(strategy).send(prefixed, MARKER.as_bytes());
        assert_eq!(end, CloseKind::Decode);
        for panics in [false, true] {
            let mut case = Case::on(strategy);
            case.builder = case.builder.layer(move || Spoils { panics });
            let kind = if panics { CloseKind::Panic } else { CloseKind::Layer };
            assert_eq!(case.send(|_| Repeats, MARKER.as_bytes()), kind);
        }
        #[cfg(target_os = "linux")]
        from_a_name_of_its_own(strategy);
    }
    println!("said everything");
}

/// On a Unix socket, a client chooses its own name.
#[cfg(target_os = "linux")]
fn from_a_name_of_its_own(strategy: Strategy) {
    use socket2::{Domain, SockAddr, Socket, Type};
    let dir = process::TempDir::new();
    let path = dir.file("server.sock");
    let Case { metrics, builder } = Case::on(strategy);
    let bind = format!("unix:{}", path.display());
    let server = builder.bind(bind.as_str()).unwrap().spawn(|_| Repeats).unwrap();
    for name in [dir.file(MARKER), format!("\0{MARKER}-{}", std::process::id()).into()] {
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
        socket.bind(&SockAddr::unix(&name).unwrap()).unwrap();
        socket.connect(&SockAddr::unix(&path).unwrap()).unwrap();
        (&socket).write_all(b"fail x").unwrap();
        assert!(!matches!((&socket).read(&mut [0]), Ok(1..)), "it was to close");
    }
    let control = server.control();
    server.drain(Duration::ZERO, process::PATIENCE);
    assert_eq!(control.stats().closed(CloseKind::Handler), 2);
    println!("{}", metrics.render(&control.stats()));
}

#[test]
fn no_byte_of_a_peer_is_in_any_log() {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["says_everything", "--exact", "--nocapture"]).env(CHILD, "1");
    let command = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let output = process::finish(command.spawn().unwrap(), "who says everything");
    let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap());
    assert!(output.status.success(), "{said:?}");
    let [stdout, stderr] = &said;
    assert!(stdout.contains("said everything"), "{stdout}");
    for (said, name) in [(stdout, "stdout"), (stderr, "stderr")] {
        let found = said.lines().find(|line| line.contains(MARKER) || line.contains("MaRk"));
        assert_eq!(found, None, "in {name}");
    }
    // Each of them did tell of it.
    for text in
        ["the handler failed", "on_data panicked", "a layer failed", "not completed in time"]
    {
        assert!(stderr.contains(text), "no {text:?} in {stderr}");
    }
    for text in ["ERROR panicked", "WARN closed", "INFO closed", "unix:pid="] {
        assert!(stdout.contains(text), "no {text:?} in {stdout}");
    }
    assert!(stdout.contains("polyserve_panics_total{callback=\"layer\"} 1"), "{stdout}");
}

/// Calls every method of an observer once, the failures three times.
fn call_all(observer: &dyn Observer, id: ConnectionId) {
    let addr = Addr::from(std::net::SocketAddr::from(([127, 0, 0, 1], 1)));
    let peer = Peer::new(addr.clone());
    let error = io::Error::other("no");
    let second = Duration::from_secs(1);
    observer.listening(&addr);
    observer.accepted(id, &peer);
    observer.opened(id, &peer);
    observer.backpressure_on(id, &peer, 1);
    observer.backpressure_off(id, &peer, 0);
    for _ in 0..3 {
        observer.timed_out(id, &peer, Deadline::Idle);
        observer.panicked(id, &peer, Callback::OnData, MARKER);
        observer.stalled(id, &peer, Callback::OnData, second);
        observer.refused(&peer, &Refusal::Backend(&error));
        observer.accept_failed(&addr, &error, Some(second));
    }
    observer.accept_failed(&addr, &error, None);
    observer.listener_failed(&addr, &error);
    observer.limit_lowered(2, 1);
    observer.many_threads(3);
    observer.drain_began(second, second);
    observer.drain_listeners_closed();
    observer.drain_told(1);
    observer.drain_deadline(1);
}

#[test]
fn every_event_is_one_of_tracing_and_storms_are_cut_short() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let into = Arc::clone(&seen);
    let note = move |level: Level, message: &str, fields: &BTreeMap<String, String>| {
        into.lock().unwrap().push((level, message.to_owned(), fields.clone()));
    };
    // A connection's number and a report, which only servers make.
    let server = TestServer::start(Strategy::EventLoop(Some(1)), |_| Repeats).unwrap();
    let is_open = |event: &_| matches!(event, polyserve::testing::Event::Opened(_));
    let opened = server.events().wait_for("a connection", process::PATIENCE, is_open).unwrap();
    let polyserve::testing::Event::Opened(id) = opened else { unreachable!() };
    let report = server.finish();

    let observer = Arc::new(TracingObserver::new().batches(true));
    tracing::subscriber::with_default(Each(note), || {
        call_all(&observer, id);
        observer.drained(&report);
        for word in ["close", "malformed", "malformed", "fail", "fail"] {
            let mut script = Script::new(|_| Repeats).observer(Arc::clone(&observer));
            script.recv(format!("{word} {MARKER}"));
        }
    });
    let seen = seen.lock().unwrap();
    let levels = |name: &str| -> Vec<Level> {
        let named = seen.iter().filter(|(_, message, _)| message == name);
        named.map(|(level, ..)| *level).collect()
    };
    let expected = [
        ("listening", vec![Level::INFO]),
        ("accepted", vec![Level::TRACE]),
        ("opened", vec![Level::DEBUG; 6]),
        ("batch", vec![Level::TRACE; 5]),
        ("backpressure_on", vec![Level::DEBUG]),
        ("backpressure_off", vec![Level::DEBUG]),
        ("timed_out", vec![Level::DEBUG; 3]),
        ("panicked", vec![Level::ERROR]),
        ("stalled", vec![Level::WARN]),
        ("refused", vec![Level::WARN]),
        ("accept_failed", vec![Level::WARN, Level::DEBUG]),
        ("listener_failed", vec![Level::ERROR]),
        ("limit_lowered", vec![Level::WARN]),
        ("many_threads", vec![Level::WARN]),
        ("drain_began", vec![Level::INFO]),
        ("drain_listeners_closed", vec![Level::INFO]),
        ("drain_told", vec![Level::INFO]),
        ("drain_deadline", vec![Level::WARN]),
        // Of those that are the peer's affair, or ours, one each.
        ("closed", vec![Level::DEBUG, Level::INFO, Level::WARN]),
        ("drained", vec![Level::INFO]),
    ];
    for (name, expected) in &expected {
        assert_eq!(levels(name), *expected, "{name}");
    }
    let n: usize = expected.iter().map(|(_, levels)| levels.len()).sum();
    assert_eq!(seen.len(), n, "{seen:?}");
    let closed = seen.iter().find(|(_, message, _)| message == "closed").unwrap();
    let fields: Vec<&str> = closed.2.keys().map(String::as_str).collect();
    let all = ["connection", "peer", "reason", "received", "requests", "seconds", "sent", "why"];
    assert_eq!(fields, all);
    let mut text = String::new();
    write!(text, "{seen:?}").unwrap();
    assert!(!text.contains(MARKER), "{text}");
}

/// What it is told of its listener, and what it does then.
struct Failing {
    server: std::sync::OnceLock<polyserve::ServerHandle>,
    takes_listeners: bool,
    told: mpsc::SyncSender<&'static str>,
}

impl Failing {
    fn react(&self, name: &'static str) {
        if let Some(server) = self.server.get() {
            let control = server.control();
            control.pause();
            control.resume();
            let _ = (control.stats(), control.connections());
            if self.takes_listeners {
                assert!(server.take_listeners().is_ok());
            }
        }
        let _ = self.told.try_send(name);
    }
}

impl Observer for Failing {
    fn accept_failed(&self, _: &Addr, _: &io::Error, _: Option<Duration>) {
        self.react("accept_failed");
    }

    fn listener_failed(&self, _: &Addr, _: &io::Error) {
        self.react("listener_failed");
    }

    fn drained(&self, _: &DrainReport) {
        self.react("drained");
    }
}

#[test]
fn who_is_told_of_a_failing_listener_may_call_everything() {
    for strategy in Strategy::ALL {
        for takes_listeners in [false, true] {
            let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            let addr = listener.local_addr().unwrap();
            let killer = socket2::Socket::from(listener.try_clone().unwrap());
            let (tell, told) = mpsc::sync_channel(64);
            let server = std::sync::OnceLock::new();
            let observer = Arc::new(Failing { server, takes_listeners, told: tell });
            let builder = Server::builder().backend(strategy).observer(Arc::clone(&observer));
            let handle = builder.listener(listener).unwrap().spawn(|_| Repeats).unwrap();
            observer.server.set(handle).unwrap();
            let client = std::net::TcpStream::connect(addr).unwrap();
            // From here on, accept fails with EINVAL.
            killer.shutdown(std::net::Shutdown::Both).unwrap();
            let mut expected = vec!["accept_failed"];
            if !takes_listeners {
                expected.extend(["accept_failed", "accept_failed", "listener_failed", "drained"]);
            }
            for name in expected {
                let next = told.recv_timeout(process::PATIENCE);
                assert_eq!(next, Ok(name), "{strategy}, takes listeners: {takes_listeners}");
            }
            let server = observer.server.get().unwrap();
            let report = server.drain(Duration::ZERO, process::PATIENCE);
            assert!(report.finished_all, "{strategy}: {report:?}");
            drop(client);
        }
    }
}

/// Says how many threads there may be.
struct ManyThreads(mpsc::Sender<usize>);

impl Observer for ManyThreads {
    fn many_threads(&self, threads: usize) {
        self.0.send(threads).unwrap();
    }
}

/// What a server with these settings tells of its threads, and its limit of connections.
fn told_of_threads(builder: polyserve::Builder) -> (Option<usize>, usize) {
    let (tell, told) = mpsc::channel();
    let server = builder.observer(ManyThreads(tell)).bind("127.0.0.1:0").unwrap();
    let handle = server.spawn(|_| Repeats).unwrap();
    let max = handle.control().max_connections();
    assert!(handle.drain(Duration::ZERO, Duration::from_secs(10)).finished_all);
    let all: Vec<usize> = told.try_iter().collect();
    assert!(all.len() <= 1, "{all:?}");
    (all.first().copied(), max)
}

#[test]
fn more_threads_than_usual_are_told_of() {
    let builder = Server::builder;
    let pool = |workers| ThreadPool::new(workers).stack_size(64 * 1024);
    assert_eq!(told_of_threads(builder().backend(pool(2_049))).0, Some(2_049));
    assert_eq!(told_of_threads(builder().backend(pool(4)).max_connections(3_000)).0, None);
    let each = || builder().backend(ThreadPerConnection::new());
    assert_eq!(told_of_threads(each()).0, None, "the default");
    assert_eq!(told_of_threads(each().max_connections(2_048)).0, None);
    let (told, max) = told_of_threads(each().max_connections(2_500));
    // The limit of descriptors may leave room for fewer.
    assert_eq!(told, Some(max).filter(|max| *max > 2_048));
}
