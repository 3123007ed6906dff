//! Rows A8, A12, A13 and E5: what a server cannot have when it starts, and threads that it cannot
//! have later.

use crate::client::{connect, echo, end, open, probe};
use crate::launch::Launch;
use crate::process::{Echo, backend as named};
use crate::strace::{Attached, injected};
use crate::table::{ALL, E, EP, Needs, P, PP, T, Table, skip, skip_feature};
use polyserve::{
    Action, BindError, BoxError, Context, Handler, Input, Server, ThreadPerConnection, ThreadPool,
};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

pub(crate) fn rows(table: &mut Table) {
    table.row("A8/no-thread", &[T], Needs::Strace, no_thread_for_a_connection);
    table.row("A8/no-thread-for-real", &[T], Needs::Nothing, no_thread_for_real);
    table.row("A8/no-thread-at-start", &[P, PP, E, EP], Needs::Strace, no_thread_at_the_start);
    table.row("A12/port-in-use", ALL, Needs::Nothing, port_in_use);
    table.row("A12/no-permission", ALL, Needs::Nothing, no_permission);
    // Nobody else may start a process meanwhile: it would hold a copy of the listener for a moment.
    table.timed("A12/nothing-left", ALL, Needs::Nothing, nothing_is_left_of_a_failed_bind);
    table.timed("A13/restart-at-once", ALL, Needs::Nothing, restart_at_once);
    table.row("S2/stack-size", &[T, P], Needs::Nothing, deep_stacks_are_had_for_the_asking);
    for call in ["epoll_create1", "eventfd2"] {
        table.case(&format!("E5/{call}"), ALL, Needs::Strace, move |b| no_poller(b, call));
    }
    table.row("E5/timerfd_create", &[P, PP, E, EP], Needs::Strace, no_timer_descriptor);
}

fn no_thread_for_a_connection(backend: &str) {
    for count in 1..=3 {
        let server = Launch::new(backend).start();
        let (mut existing, ..) = open(&server);
        let fault = format!("clone3:error=EAGAIN:when=1..{count}");
        let strace = Attached::to_process(server.pid, "clone3", Some(&fault));
        for _ in 0..count {
            let mut refused = connect(server.addr);
            echo(&mut existing, "an existing connection");
            end(&mut refused).expect("a clean close");
        }
        probe(&server, &mut existing);
        assert_eq!(injected(&strace.detach()), count);
        server.wait_for("refused", count);
        assert_eq!(server.events("refused").len(), count);
        drop(existing);
        server.finish();
    }
}

/// A group of processes that may have few threads; removed at the end.
struct Pids(PathBuf);

impl Pids {
    /// `None` where there is no such controller (cgroup v1), or it is not ours to use.
    fn new() -> Option<Self> {
        let root = Path::new("/sys/fs/cgroup/pids");
        root.join("cgroup.procs").exists().then_some(())?;
        let group = root.join(format!("polyserve-faults-{}", std::process::id()));
        std::fs::create_dir(&group).ok()?;
        Some(Self(group))
    }

    fn set(&self, file: &str, value: impl ToString) {
        std::fs::write(self.0.join(file), value.to_string()).expect("the group is ours");
    }

    fn current(&self) -> usize {
        let text = std::fs::read_to_string(self.0.join("pids.current")).unwrap();
        text.trim().parse().unwrap()
    }
}

impl Drop for Pids {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir(&self.0);
    }
}

fn no_thread_for_real(backend: &str) {
    let Some(pids) = Pids::new() else {
        return skip_feature("A8/no-thread-for-real", "pids controller of cgroup v1 that is ours");
    };
    let server = Launch::new(backend).start();
    pids.set("cgroup.procs", server.pid);
    let before = pids.current();
    pids.set("pids.max", before + 3);
    let mut served: Vec<TcpStream> = (0..3).map(|_| connect(server.addr)).collect();
    served.iter_mut().for_each(|client| echo(client, "a thread was left"));
    for _ in 0..3 {
        end(&mut connect(server.addr)).expect("a clean close");
    }
    server.wait_for("refused", 3);
    served.iter_mut().for_each(|client| echo(client, "still served"));
    drop(served);
    server.wait_for("closed", 3);
    // The event comes from the thread, a moment before its end.
    let deadline = Instant::now() + Duration::from_secs(5);
    while pids.current() > before {
        assert!(Instant::now() < deadline, "the threads of closed connections have not ended");
        std::thread::yield_now();
    }
    for _ in 0..3 {
        echo(&mut connect(server.addr), "a thread is left again");
    }
    server.finish();
}

fn no_thread_at_the_start(backend: &str) {
    // The first is that of the signals, which belongs to the program.
    let threads = if backend.contains("pool") { 2..=3 } else { 2..=2 };
    for nth in threads {
        let fault = format!("clone3:error=EAGAIN:when={nth}");
        let failed = Launch::new(backend).traced("clone3", Some(&fault)).start_in_vain();
        assert_eq!(injected(&failed.log), 1, "thread {nth}");
        assert_eq!(failed.status.code(), Some(1), "thread {nth}: {}", failed.said);
        check_message(&failed.said, &["could not start", "os error 11"]);
        assert!(failed.took < Duration::from_secs(3), "thread {nth}: {:?}", failed.took);
    }
}

/// One clear line, and no panic.
fn check_message(said: &str, parts: &[&str]) {
    assert!(parts.iter().all(|part| said.contains(part)), "{said:?} should contain {parts:?}");
    assert!(said.lines().count() == 1 && !said.contains("panicked"), "{said}");
}

fn port_in_use(backend: &str) {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = taken.local_addr().unwrap().to_string();
    let failed = Launch::new(backend).listen(&addr).start_in_vain();
    assert_eq!(failed.status.code(), Some(1), "{}", failed.said);
    check_message(&failed.said, &[&addr]);
}

/// Without the capability, whoever we are.
fn no_permission(backend: &str) {
    let first = std::fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start");
    let first: u16 = first.ok().and_then(|text| text.trim().parse().ok()).unwrap_or(1024);
    if first < 2 {
        return skip_feature("A12/no-permission", "port that needs a privilege");
    }
    let addr = format!("127.0.0.1:{}", first - 1);
    let drop = ["setpriv", "--bounding-set=-net_bind_service", "--inh-caps=-net_bind_service"];
    let can = Command::new(drop[0]).args(&drop[1..]).arg("true").stderr(Stdio::null()).status();
    let mut launch = Launch::new(backend).listen(&addr);
    if rustix::process::geteuid().is_root() {
        if !can.is_ok_and(|status| status.success()) {
            return skip("A12/no-permission", "setpriv is missing").unwrap();
        }
        launch = launch.wrapped(&drop);
    }
    let failed = launch.start_in_vain();
    assert_eq!(failed.status.code(), Some(1), "{}", failed.said);
    check_message(&failed.said, &[&addr, "os error 13"]);
}

/// Binding is before any thread: this one, which has bound in vain, has the descriptors that it had.
fn nothing_is_left_of_a_failed_bind(backend: &str) {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = taken.local_addr().unwrap();
    let free = port_of_our_own();
    let error: BindError = Server::builder()
        .backend(named(backend))
        .bind(free)
        .and_then(|builder| builder.bind(addr))
        .expect_err("the port is taken");
    assert!(error.to_string().contains(&addr.to_string()), "{error}");
    // The first port was let go of.
    drop(TcpListener::bind(free).expect("the other port is free"));
}

/// A free port below those that the system gives to clients: while nobody listens on one of them,
/// some other test's client may get it. Each call gives another.
fn port_of_our_own() -> SocketAddr {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let first = 20_000 + (std::process::id() % 1_000) as u16 * 10;
    let ports = std::iter::repeat_with(|| first + NEXT.fetch_add(1, Ordering::Relaxed));
    let addrs = ports.take_while(|port| *port < 32_768).map(|port| ([127, 0, 0, 1], port).into());
    let mut free = addrs.filter(|addr: &SocketAddr| TcpListener::bind(addr).is_ok());
    free.next().expect("a free port")
}

/// The server closes first, so that its end is in TIME_WAIT when the next one binds the port.
fn restart_at_once(backend: &str) {
    let addr = port_of_our_own();
    for round in 0..50 {
        let builder = Server::builder().backend(named(backend));
        let builder = builder.bind(addr).unwrap_or_else(|e| panic!("round {round}: {e}"));
        let handle = builder.spawn(|_| Echo).unwrap();
        let mut stream = connect(addr);
        echo(&mut stream, "BYE\n");
        end(&mut stream).unwrap();
        drop(stream);
        let report = handle.drain(Duration::ZERO, Duration::from_secs(5));
        assert!(report.finished_all, "round {round}: {report}");
    }
}

/// Whichever descriptor it is that the system has no room for: an error at the start, not later. Or
/// there is another way: the poller takes a pipe for want of its eventfd.
fn no_poller(backend: &str, call: &str) {
    let makes = Launch::new(backend).traced(call, None).start().finish();
    let makes = makes.matches(&format!("{call}(")).count();
    let mut refused = 0;
    for nth in 1..=makes {
        let fault = format!("{call}:error=EMFILE:when={nth}");
        match Launch::new(backend).traced(call, Some(&fault)).try_start() {
            Ok(server) => {
                let (mut existing, ..) = open(&server);
                probe(&server, &mut existing);
                drop(existing);
                assert!(injected(&server.finish()) > 0, "{call} {nth}");
            }
            Err(failed) => {
                assert!(injected(&failed.log) > 0, "{call} {nth}");
                assert_eq!(failed.status.code(), Some(1), "{call} {nth}: {}", failed.said);
                check_message(&failed.said, &["could not start", "os error 24"]);
                assert!(failed.took < Duration::from_secs(3), "{call} {nth}: {:?}", failed.took);
                refused += 1;
            }
        }
    }
    println!("E5 {backend}: {makes} calls of {call}, {refused} of them vital");
    let vital = match (call, backend) {
        ("epoll_create1", T) => 0,
        ("epoll_create1", P | PP) | ("eventfd2", T) => 1,
        ("eventfd2", EP | PP) => 0,
        ("eventfd2", P) => 2,
        ("epoll_create1", _) => 2,
        _ => 4,
    };
    assert_eq!(refused, vital, "of {makes} calls of {call}");
}

/// Only waits with a time-out would need it, and there is another way.
fn no_timer_descriptor(backend: &str) {
    let fault = "timerfd_create:error=EMFILE:when=1+";
    let server = Launch::new(backend).traced("timerfd_create", Some(fault)).start();
    let (mut existing, ..) = open(&server);
    probe(&server, &mut existing);
    drop(existing);
    assert!(injected(&server.finish()) > 0);
}

/// (The first event loop runs on the caller's thread, whose stack is the caller's.) Eight MiB deep,
/// which would be the end of a process whose threads have the default's one.
fn deep_stacks_are_had_for_the_asking(backend: &str) {
    const STACK: usize = 16 << 20;
    let builder = Server::builder();
    let builder = match backend {
        T => builder.backend(ThreadPerConnection::new().stack_size(STACK)),
        _ => builder.backend(ThreadPool::new(2).stack_size(STACK)),
    };
    let handle = builder.bind("127.0.0.1:0").unwrap().spawn(|_| Deep).unwrap();
    let addr = handle.local_addrs()[0].as_tcp().unwrap();
    // Each worker.
    let mut streams: Vec<TcpStream> = (0..4).map(|_| connect(addr)).collect();
    streams.iter_mut().for_each(|stream| echo(stream, "how deep?"));
    drop(streams);
    assert!(handle.drain(Duration::ZERO, Duration::from_secs(5)).finished_all);
}

struct Deep;

impl Handler for Deep {
    fn on_data(&mut self, input: &mut Input<'_>, cx: &mut Context<'_>) -> Result<Action, BoxError> {
        cx.send(input.take());
        assert_eq!(deep(8 << 20), 8 << 20);
        Ok(Action::Continue)
    }
}

/// Uses this much of the stack.
fn deep(left: usize) -> usize {
    const FRAME: usize = 64 << 10;
    let frame = [0_u8; FRAME];
    let below = if left == 0 { 0 } else { FRAME + deep(left - FRAME) };
    // So that it is there, and is still needed.
    std::hint::black_box(&frame);
    below
}
