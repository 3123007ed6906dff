//! Rows A1 to A7, A10, A11 and A14: what can go wrong with `accept`.

use crate::client::{connect, echo, end, open, probe, reset, try_echo};
use crate::launch::{Launch, Server, number, text};
use crate::results::{figure, injected};
use crate::strace::{self, Attached};
use crate::table::{ALL, E, EP, EVERY, Needs, P, T, Table};
use std::io::Write;
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// accept(2): errors of one connection.
const OF_ONE_CONNECTION: &[&str] = &[
    "ECONNABORTED",
    "EPROTO",
    "ENETDOWN",
    "ENOPROTOOPT",
    "EHOSTDOWN",
    "ENONET",
    "EHOSTUNREACH",
    "EOPNOTSUPP",
    "ENETUNREACH",
    "ETIMEDOUT",
    "EPERM",
    "ECONNRESET",
];

/// What the system can be out of, and what nobody knows: accepting pauses.
const PAUSING: &[(&str, &str)] = &[
    ("A1/emfile", "EMFILE:when=1..5"),
    ("A1/enfile", "ENFILE:when=1..5"),
    ("A4/enobufs", "ENOBUFS:when=1+3"),
    ("A4/enomem", "ENOMEM:when=1..3"),
    ("A6/unknown", "EIO:when=1..3"),
];

pub(crate) fn rows(table: &mut Table) {
    for &(name, fault) in PAUSING {
        table.case(name, ALL, Needs::Strace, move |backend| pauses_and_resumes(backend, fault));
    }
    for (name, fault) in [("A1/emfile-lasting", "EMFILE"), ("A6/unknown-lasting", "EIO")] {
        table.case(name, ALL, Needs::Strace, move |backend| lasts_without_spin(backend, fault));
    }
    table.row("A1/real-ulimit", ALL, Needs::Strace, out_of_descriptors);
    table.row("A1/real-ulimit-at-start", ALL, Needs::Nothing, few_descriptors_from_the_start);
    table.row("A2/each-errno", ALL, Needs::Strace, errors_of_one_connection);
    table.timed("A2/no-delay", ALL, Needs::Strace, ten_errors_delay_nobody);
    table.row("A2/without-end", ALL, Needs::Strace, errors_without_end);
    table.row("A3/eintr", ALL, Needs::Strace, interrupted);
    table.row("A5/dead", ALL, Needs::Strace, the_listener_is_dead);
    table.row("A5/dead-for-real", ALL, Needs::Nothing, one_of_two_listeners_dies);
    table.row("A5/looked-dead-once", ALL, Needs::Strace, the_listener_looked_dead_once);
    table.row("A7/rounds-at-the-limit", ALL, Needs::Nothing, rounds_at_the_limit);
    table.row("A7/twenty-too-many", EVERY, Needs::Nothing, twenty_too_many);
    table.timed("A10/accept-storm", ALL, Needs::Nothing, accept_storm);
    table.row("A11/backlog-before-start", ALL, Needs::Nothing, backlog_before_start);
    table.row("A14/setsockopt", &[T, P, E, EP], Needs::Strace, options_are_refused);
    table.row("A14/no-calls-for-tcp", &[T, P, E, EP], Needs::Strace, no_calls_for_a_new_socket);
    table.row("A14/unix-options", &[T, P, E, EP], Needs::Strace, options_of_one_unix_socket);
}

/// The failures that the server was told of, and for how long each made it pause.
fn accept_failures(server: &Server) -> Vec<(String, u64)> {
    let failures = server.events("accept_failed").into_iter();
    let failures = failures.map(|l| (text(&l, "error").unwrap(), number(&l, "pause").unwrap()));
    // When strace goes while a call is on its way, this is left of the fault: ENOSYS, since strace
    // has put a call that does not exist in its place.
    failures.filter(|(error, _)| !error.contains("os error 38")).collect()
}

fn pauses_and_resumes(backend: &str, fault: &str) {
    let server = Launch::new(backend).start();
    let (mut existing, ..) = open(&server);
    let strace = attach(&server, fault);
    probe(&server, &mut existing);
    strace.detach_injected();
    server.wait_for("accept_failed", 1);
    let failures = accept_failures(&server);
    assert!(failures.iter().all(|(_, pause)| *pause == 100), "{failures:?}");
    drop(existing);
    server.finish();
}

fn attach(server: &Server, fault: &str) -> Attached {
    Attached::to_process(server.pid, "accept4", Some(&format!("accept4:error={fault}")))
}

/// As long as the fault lasts, others are served, and the processor is idle.
fn lasts_without_spin(backend: &str, fault: &str) {
    let server = Launch::new(backend).start();
    let (mut existing, ..) = open(&server);
    let strace = attach(&server, &format!("{fault}:when=1+"));
    let mut blocked = connect(server.addr);
    server.wait_for("accept_failed", 1);
    server.assert_no_spin();
    echo(&mut existing, "an existing connection");
    let log = strace.detach_injected();
    assert!(
        strace::injected(&log) <= 40,
        "{} accepts in little more than a second",
        strace::injected(&log)
    );
    echo(&mut blocked, "a blocked connection");
    echo(&mut connect(server.addr), "a later connection");
    drop((existing, blocked));
    server.finish();
}

fn out_of_descriptors(backend: &str) {
    let server = Launch::new(backend).option("--nofile-late", 24).start();
    let mut clients: Vec<TcpStream> = (0..60).map(|_| connect(server.addr)).collect();
    server.wait_for("accept_failed", 2);
    let (error, pause) = accept_failures(&server).remove(0);
    assert!(error.contains("os error 24") && pause == 100, "{error}, {pause} ms");
    // The backlog is a queue: those that were accepted connected first.
    let held = server.events("opened").len();
    assert!((1..24).contains(&held), "{held} connections with 24 descriptors");
    clients[..held].iter_mut().for_each(|client| echo(client, "held"));
    let strace = Attached::to_process(server.pid, "accept4", None);
    let began = Instant::now();
    server.assert_no_spin();
    let log = strace.detach();
    let (calls, allowed) = (log.matches("accept4(").count(), 20.0 * began.elapsed().as_secs_f64());
    assert!(calls > 0 && (calls as f64) <= allowed + 1.0, "{calls} calls, allowed {allowed}");
    clients[..held].iter_mut().for_each(|client| echo(client, "still held"));
    clients.clear();
    server.wait_for("closed", 60);
    let mut new: Vec<TcpStream> = (0..held).map(|_| connect(server.addr)).collect();
    new.iter_mut().for_each(|client| echo(client, "new"));
    drop(new);
    server.finish();
}

/// A limit that the server knows when it starts never becomes an error: fewer are let in.
fn few_descriptors_from_the_start(backend: &str) {
    let server = Launch::new(backend).option("--nofile", 24 + 64).start();
    server.wait_for("limit_lowered", 1);
    assert_eq!(number(&server.events("limit_lowered")[0], "granted"), Some(24));
    let mut clients: Vec<TcpStream> = (0..60).map(|_| connect(server.addr)).collect();
    clients[..24].iter_mut().for_each(|client| echo(client, "let in"));
    server.assert_no_spin();
    assert_eq!(server.events("opened").len(), 24);
    let waiting = clients.split_off(24);
    clients.clear();
    for mut client in waiting {
        echo(&mut client, "let in when others left");
    }
    assert_eq!(accept_failures(&server), []);
    server.finish();
}

fn errors_of_one_connection(backend: &str) {
    let server = Launch::new(backend).start();
    let (mut existing, ..) = open(&server);
    for (round, errno) in OF_ONE_CONNECTION.iter().enumerate() {
        let strace = attach(&server, &format!("{errno}:when=1..10"));
        probe(&server, &mut existing);
        let injected = strace::injected(&strace.detach_injected());
        assert!(injected >= 10, "{errno} was injected only {injected} times");
        server.wait_for("accept_failed", 10 * (round + 1));
    }
    let failures = accept_failures(&server);
    assert!(failures.iter().all(|(_, pause)| *pause == 0), "{failures:?}");
    drop(existing);
    server.finish();
}

/// The best of several tries: what is asked is that the server does not wait, not that nobody else
/// uses the machine.
fn ten_errors_delay_nobody(backend: &str) {
    let server = Launch::new(backend).start();
    let best = (0..5).map(|_| {
        let strace = attach(&server, "ECONNABORTED:when=1..10");
        let began = Instant::now();
        echo(&mut connect(server.addr), "hello");
        let took = began.elapsed();
        assert!(strace::injected(&strace.detach()) >= 10);
        took
    });
    let best = best.min().unwrap();
    assert!(best < Duration::from_millis(50), "ten errors delay a client by {best:?}");
    server.finish();
}

/// A peer that makes every accept fail must neither starve those who are served, nor keep the
/// server from its end.
fn errors_without_end(backend: &str) {
    let server = Launch::new(backend).start();
    let (mut existing, ..) = open(&server);
    let strace = attach(&server, "ECONNABORTED:when=1+");
    let blocked = connect(server.addr);
    server.wait_for("accept_failed", 200);
    for _ in 0..10 {
        echo(&mut existing, "an existing connection");
    }
    drop((existing, blocked));
    server.finish();
    assert!(strace::injected(&strace.ended()) >= 200);
}

fn interrupted(backend: &str) {
    let server = Launch::new(backend).start();
    let (mut existing, ..) = open(&server);
    let strace = attach(&server, "EINTR:when=1..3");
    probe(&server, &mut existing);
    strace.detach_injected();
    assert!(accept_failures(&server).iter().all(|(_, pause)| *pause == 0));
    drop(existing);
    server.finish();
}

fn the_listener_is_dead(backend: &str) {
    for errno in ["EINVAL", "EBADF", "ENOTSOCK"] {
        let mut server = Launch::new(backend).start();
        let (mut existing, ..) = open(&server);
        let strace = attach(&server, &format!("{errno}:when=1+"));
        let began = Instant::now();
        let _blocked = TcpStream::connect(server.addr); // reset if the server is quick
        let status = server.exit();
        let took = began.elapsed();
        assert_eq!(status.code(), Some(1), "{errno}");
        assert!(took < Duration::from_secs(1), "{errno}: the end took {took:?}");
        // No spin: the listener was asked a few times, and then no more.
        let injected = strace::injected(&strace.ended());
        assert!((1..20).contains(&injected), "{errno}: {injected} times");
        server.check_ends();
        let said = server.err.all().join("\n");
        assert!(said.contains(&server.addr.to_string()) && !said.contains("panicked"), "{said}");
        assert_eq!(server.events("listener_failed").len(), 1, "{errno}");
        let _ = end(&mut existing); // in order or by a reset: but it has ended
    }
}

fn the_listener_looked_dead_once(backend: &str) {
    let server = Launch::new(backend).start();
    let (mut existing, ..) = open(&server);
    let strace = attach(&server, "EINVAL:when=1");
    probe(&server, &mut existing);
    strace.detach_injected();
    assert_eq!(server.events("listener_failed").len(), 0);
    drop(existing);
    server.finish();
}

/// A listener that is shut down gives EINVAL for ever (Linux). The other one lives on; when it
/// dies as well, the server ends.
fn one_of_two_listeners_dies(backend: &str) {
    use crate::process::{Echo, backend as named};
    let listen = || std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let (first, second) = (listen(), listen());
    let addrs = [&first, &second].map(|listener| listener.local_addr().unwrap());
    let copies = [&first, &second].map(|listener| listener.try_clone().unwrap());
    let kill = |at: usize| socket2::SockRef::from(&copies[at]).shutdown(Shutdown::Both).unwrap();
    let server = polyserve::Server::builder().backend(named(backend));
    let server = server.listener(first).unwrap().listener(second).unwrap();
    let handle = server.spawn(|_| Echo).unwrap();
    let mut existing = connect(addrs[0]);
    echo(&mut existing, "by the first listener");
    kill(0);
    echo(&mut existing, "by the first listener, which is dead");
    for _ in 0..3 {
        echo(&mut connect(addrs[1]), "by the second listener");
    }
    kill(1);
    let error = handle.join().expect_err("a server without listeners must end");
    assert!(error.to_string().contains(&addrs[1].to_string()), "{error}");
    let _ = end(&mut existing);
}

/// The place that one connection gives back wakes the one that waits for it: every time.
fn rounds_at_the_limit(backend: &str) {
    let server = Launch::new(backend).option("--max-connections", 2).start();
    let addr = server.addr;
    let rounds = |()| {
        for _ in 0..250 {
            let began = Instant::now();
            let mut stream = connect(addr);
            echo(&mut stream, "round");
            stream.shutdown(Shutdown::Write).unwrap();
            end(&mut stream).unwrap();
            let took = began.elapsed();
            assert!(took < Duration::from_secs(1), "a round took {took:?}");
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| rounds(()));
        }
    });
    server.wait_for("closed", 1000);
    assert_eq!(most_at_once(&server), 2);
    server.finish();
}

/// Whoever comes too many is served as soon as somebody leaves; there are never more than allowed.
fn twenty_too_many(backend: &str) {
    const LIMIT: usize = 10;
    let server = Launch::new(backend).option("--max-connections", LIMIT).start();
    let mut clients: Vec<TcpStream> = (0..LIMIT + 20).map(|_| connect(server.addr)).collect();
    clients[..LIMIT].iter_mut().for_each(|client| echo(client, "let in"));
    injected(clients.len() - LIMIT);
    server.assert_no_spin();
    assert_eq!(server.events("opened").len(), LIMIT);
    for mut client in clients {
        // All before it have left.
        echo(&mut client, "let in now, or before");
    }
    server.wait_for("closed", LIMIT + 20);
    assert_eq!(most_at_once(&server), LIMIT);
    server.finish();
}

/// How many connections were open at the same time, at most.
fn most_at_once(server: &Server) -> usize {
    let mut open: usize = 0;
    let counts = server.out.so_far().into_iter().map(|line| {
        open += usize::from(crate::launch::is(&line, "opened"));
        open = open.saturating_sub(usize::from(crate::launch::is(&line, "closed")));
        open
    });
    counts.max().unwrap_or(0)
}

/// `POLYSERVE_STORM`, or as many connects as take little time.
fn storm_size() -> usize {
    let set = std::env::var("POLYSERVE_STORM").ok();
    set.map_or(3_000, |text| text.parse().expect("POLYSERVE_STORM is a number"))
}

/// The best of three storms, for the reason given at `ten_errors_delay_nobody`: a server that lets
/// those who come starve those who are there does so in each. All are served in each.
fn accept_storm(backend: &str) {
    let server = Launch::new(backend).start();
    let (mut existing, ..) = open(&server);
    let mut worst = Vec::new();
    for round in 1..=3 {
        worst.push(echoes_in_a_storm(&server, &mut existing));
        server.wait_for("opened", round * storm_size() + 1);
        if worst[round - 1] < Duration::from_millis(100) {
            break;
        }
    }
    injected(worst.len() * storm_size());
    println!("A10 {backend}: p99 of the echoes during the storm: {worst:?}");
    figure("echo p99", worst.last().unwrap().as_secs_f64() * 1e3, "ms");
    assert!(*worst.last().unwrap() < Duration::from_millis(100), "p99 {worst:?}");
    drop(existing);
    server.finish();
}

/// The time within which 99 of 100 echoes of an existing connection come back meanwhile. If it had
/// hardly any, for want of a processor or of a server that hears it, that says nothing good.
fn echoes_in_a_storm(server: &Server, existing: &mut TcpStream) -> Duration {
    let over = AtomicBool::new(false);
    let addr = server.addr;
    let mut times = std::thread::scope(|scope| {
        let storm = [(); 2].map(|()| scope.spawn(|| storm(addr, storm_size() / 2)));
        let existing = scope.spawn(|| {
            let mut times = Vec::new();
            while !over.load(Ordering::Relaxed) {
                let began = Instant::now();
                echo(existing, "an existing connection");
                times.push(began.elapsed());
            }
            times
        });
        storm.into_iter().for_each(|thread| thread.join().unwrap());
        over.store(true, Ordering::Relaxed);
        existing.join().unwrap()
    });
    times.sort_unstable();
    if times.len() < 20 { Duration::MAX } else { times[times.len() * 99 / 100] }
}

/// Connects without a pause; each connection is served. They end by a reset: thousands that wait in
/// TIME_WAIT would take the ports from other tests.
fn storm(addr: SocketAddr, count: usize) {
    let mut wave = Vec::new();
    for _ in 0..count {
        let mut stream = connect(addr);
        stream.write_all(b"x").unwrap();
        wave.push(stream);
        if wave.len() == 50 {
            wave.drain(..).for_each(served);
        }
    }
    wave.into_iter().for_each(served);
}

fn served(mut stream: TcpStream) {
    let mut back = [0];
    std::io::Read::read_exact(&mut stream, &mut back).unwrap();
    reset(stream);
}

fn backlog_before_start(backend: &str) {
    use crate::process::{Echo, backend as named};
    let server = polyserve::Server::builder().backend(named(backend));
    let server = server.bind("127.0.0.1:0").unwrap().build().unwrap();
    let addr = server.local_addrs()[0].as_tcp().unwrap();
    let mut clients: Vec<TcpStream> = (0..500).map(|_| connect(addr)).collect();
    injected(clients.len());
    clients.iter_mut().for_each(|client| client.write_all(b"before the start").unwrap());
    let handle = server.spawn(|_| Echo).unwrap();
    for client in &mut clients {
        let mut back = [0; 16];
        std::io::Read::read_exact(client, &mut back).unwrap();
        assert_eq!(&back, b"before the start");
        echo(client, "after it");
    }
    drop(clients);
    let report = handle.drain(Duration::ZERO, Duration::from_secs(5));
    assert!(report.finished_all, "{report}");
}

/// No option of a socket is worth a connection that lives.
fn options_are_refused(backend: &str) {
    let server = Launch::new(backend).start();
    let (mut existing, ..) = open(&server);
    let fault = "setsockopt:error=EINVAL:when=1+";
    let strace = Attached::to_process(server.pid, "setsockopt", Some(fault));
    probe(&server, &mut existing);
    let log = strace.detach();
    // Only a thread that blocks in its read has anything to set: its time-out.
    assert_eq!(strace::injected(&log) > 0, backend == T, "{log}");
    drop(existing);
    server.finish();
}

/// On Linux a new connection inherits its options, and `accept` tells its address: there is no call
/// that could fail on a socket that died meanwhile.
fn no_calls_for_a_new_socket(backend: &str) {
    let server = Launch::new(backend).start();
    let trace = "accept4,setsockopt,getsockopt,getpeername,getsockname,fcntl,ioctl";
    let strace = Attached::to_process(server.pid, trace, None);
    let (mut stream, ..) = open(&server);
    echo(&mut stream, "hello");
    let log = strace.detach();
    let calls = log.lines().filter(|line| {
        ["setsockopt(", "getsockopt(", "getpeername(", "getsockname(", "fcntl(", "ioctl("]
            .iter()
            .any(|call| line.contains(call))
    });
    let others: Vec<&str> = calls.filter(|line| !line.contains("SO_RCVTIMEO")).collect();
    assert!(log.contains("accept4("), "{log}");
    assert!(others.is_empty(), "{others:#?}");
    drop(stream);
    server.finish();
}

/// Options that a Unix socket does not inherit are set on each new one. Where that fails, it is the
/// end of that connection, and of no other.
fn options_of_one_unix_socket(backend: &str) {
    let name = format!("polyserve-faults-{}-{backend}", std::process::id());
    let launch = Launch::new(backend).option("--send-buffer", 20_000);
    let server = launch.listen(&format!("unix:@{name}")).start();
    let connect = || {
        use std::os::linux::net::SocketAddrExt;
        let addr = std::os::unix::net::SocketAddr::from_abstract_name(&name).unwrap();
        let stream = UnixStream::connect_addr(&addr).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        stream
    };
    let mut existing = connect();
    echo(&mut existing, "an existing connection");
    let fault = "setsockopt:error=EINVAL:when=1";
    let strace = Attached::to_process(server.pid, "setsockopt", Some(fault));
    let refused = std::iter::repeat_with(|| {
        let mut stream = connect();
        try_echo(&mut stream, "is it this one?").is_err()
    });
    // A thread sets a time-out, too; so an injection may have hit that instead.
    let refused = refused.take(3).filter(|refused| *refused).count();
    let log = strace.detach_injected();
    echo(&mut existing, "an existing connection, once more");
    echo(&mut connect(), "a later connection");
    server.wait_for("accept_failed", refused);
    let failures = accept_failures(&server);
    assert_eq!(refused, failures.len(), "{failures:?}");
    assert!(refused >= 1 && failures.iter().all(|(_, pause)| *pause == 0), "{failures:?}: {log}");
    drop(existing);

    server.finish();
}
