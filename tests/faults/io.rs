//! Rows R2, R3, R4, R18 and R19: what can go wrong with reading and writing.

use crate::client::{connect, echo, open, probe, reset};
use crate::launch::{Launch, Server};
use crate::pattern::{check, pattern};
use crate::process::{Echo, backend as named};
use crate::strace::{Attached, POLLS, WAITS, injected};
use crate::table::{ALL, E, EP, Needs, P, PP, T, Table};
use rustix::process::Signal;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::process::ExitStatusExt;
use std::time::Duration;

/// One thread runs all connections, so that it is known whose calls a fault is injected into.
const ONE_THREAD: &[&str] =
    &[T, "pool:1", "event-loop:1", "portable-event-loop:1", "portable-pool:1"];

pub(crate) fn rows(table: &mut Table) {
    table.row("R2/real-reset", ALL, Needs::Nothing, a_client_resets);
    for (name, fault) in [
        ("R2/recvfrom-econnreset", "recvfrom:error=ECONNRESET:when=1"),
        ("R2/sendto-epipe", "sendto:error=EPIPE:when=1"),
        ("R2/sendto-econnreset", "sendto:error=ECONNRESET:when=1"),
    ] {
        table.case(name, ONE_THREAD, Needs::Strace, move |b| one_connection_is_reset(b, fault));
    }
    for (call, backends) in
        [("recvfrom", ALL), ("sendto", ALL), (WAITS, &[P, PP, E, EP]), (POLLS, &[T])]
    {
        let name = format!("R3/eintr-{}", call.trim_start_matches('?').split(',').next().unwrap());
        table.case(&name, backends, Needs::Strace, move |b| interrupted(b, call));
    }
    table.row("R4/short-write", ONE_THREAD, Needs::Strace, the_rest_of_a_short_write_follows);
    table.row("R4/slow-reader", ALL, Needs::Nothing, a_slow_reader_gets_every_byte);
    table.row("R18/sigpipe", ALL, Needs::Strace, no_write_raises_sigpipe);
    for fault in ["EAGAIN:when=1..5", "EAGAIN:when=1+2"] {
        let name = format!("R19/spurious-{}", fault.rsplit('=').next().unwrap());
        table.case(&name, ONE_THREAD, Needs::Strace, move |b| nothing_to_read(b, fault));
    }
}

fn a_client_resets(backend: &str) {
    let server = Launch::new(backend).start();
    let (mut existing, ..) = open(&server);
    for _ in 0..20 {
        let (stream, id, _) = open(&server);
        reset(stream);
        assert_eq!(server.reason(id), "reset");
        probe(&server, &mut existing);
    }
    drop(existing);
    server.finish();
}

fn one_connection_is_reset(backend: &str, fault: &str) {
    let server = Launch::new(backend).start();
    let (mut existing, ..) = open(&server);
    let (mut victim, id, tid) = open(&server);
    let call = fault.split(':').next().unwrap();
    let strace = Attached::to_thread(tid, call, Some(fault));
    // A thread that blocked in its read has met the fault already, and the reset of its socket
    // may be what this write meets.
    let _ = victim.write_all(b"hello");
    assert_eq!(server.reason(id), "reset");
    probe(&server, &mut existing);
    // The victim's own thread has ended, and strace with it.
    let log = if backend == T { strace.ended() } else { strace.detach() };
    assert_eq!(injected(&log), 1, "{log}");
    drop(existing);
    server.finish();
}

fn interrupted(backend: &str, calls: &str) {
    let server = Launch::new(backend).start();
    let (mut existing, ..) = open(&server);
    let fault = format!("{calls}:error=EINTR:when=1..3");
    let strace = Attached::to_process(server.pid, calls, Some(&fault));
    probe(&server, &mut existing);
    probe(&server, &mut existing);
    drop(existing);
    if calls == "sendto" {
        // Nobody waits in it. With faults left, the program would miss its signal, which writes to
        // itself.
        strace.detach_injected();
        server.finish();
    } else {
        // Threads that wait have faults left, see `Attached::detach`.
        server.finish();
        assert!(injected(&strace.ended()) > 0);
    }
}

/// strace lies to the server: of the first write one byte was taken, it says, and none was. So the
/// client gets all but the first byte.
fn the_rest_of_a_short_write_follows(backend: &str) {
    let server = Launch::new(backend).start();
    let (mut existing, ..) = open(&server);
    let (mut stream, _, tid) = open(&server);
    let fault = "sendto:retval=1:when=1+2";
    let strace = Attached::to_thread(tid, "sendto", Some(fault));
    let text = "the quick brown fox jumps over the lazy dog";
    stream.write_all(text.as_bytes()).unwrap();
    let mut back = vec![0; text.len() - 1];
    stream.read_exact(&mut back).unwrap();
    assert_eq!(String::from_utf8_lossy(&back), text[1..]);
    let log = strace.detach_injected();
    assert!(log.matches("sendto(").count() >= 2, "{log}");
    echo(&mut existing, "an existing connection");
    drop((stream, existing));
    server.finish();
}

const MUCH: usize = 8 << 20;

/// The smallest send buffer and a client that reads in small pieces: hundreds of writes are short.
fn a_slow_reader_gets_every_byte(backend: &str) {
    let options = polyserve::SocketOptions::new().with_send_buffer(Some(4096));
    let server = polyserve::Server::builder().backend(named(backend)).socket_options(options);
    let handle = server.bind("127.0.0.1:0").unwrap().spawn(|_| Echo).unwrap();
    let mut reader = connect(handle.local_addrs()[0].as_tcp().unwrap());
    let mut writer = reader.try_clone().unwrap();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            writer.write_all(&pattern(0, MUCH)).unwrap();
            writer.shutdown(std::net::Shutdown::Write).unwrap();
        });
        let (mut piece, mut at) = ([0; 3000], 0);
        loop {
            let n = reader.read(&mut piece).unwrap();
            if n == 0 {
                break;
            }
            check(at, &piece[..n]).unwrap();
            at += n;
        }
        assert_eq!(at, MUCH);
    });
    let report = handle.drain(Duration::ZERO, Duration::from_secs(5));
    assert!(report.finished_all, "{report}");
}

/// In a process where SIGPIPE means death, as in a library of a C or Python program.
fn no_write_raises_sigpipe(backend: &str) {
    let mut server = Launch::new(backend).arg("--sigpipe-default").start();
    let (mut existing, ..) = open(&server);
    let strace = Attached::to_process(server.pid, "sendto,sendmsg,writev,sendmmsg", None);
    for _ in 0..20 {
        into_a_reset(&server);
        echo(&mut existing, "an existing connection");
    }
    let log = strace.detach();
    let sends: Vec<&str> = log.lines().filter(|line| line.contains("sendto(")).collect();
    assert!(sends.len() >= 40, "{log}");
    assert!(log.contains("EPIPE") || log.contains("ECONNRESET"), "nobody wrote in vain");
    let bare = log.lines().filter(|line| {
        let write = ["sendto(", "sendmsg(", "writev(", "sendmmsg("];
        let begins = write.iter().any(|call| line.contains(call));
        begins && !line.contains("MSG_NOSIGNAL") && !line.contains("<unfinished")
    });
    assert_eq!(bare.collect::<Vec<_>>(), [] as [&str; 0]);
    assert!(!log.contains("SIGPIPE"), "{log}");
    // The signal would have killed it indeed.
    server.signal(Signal::PIPE);
    assert_eq!(server.exit().signal(), Some(Signal::PIPE.as_raw()));
}

/// A client that asks for much, reads nothing and resets: the server writes into the void.
fn into_a_reset(server: &Server) {
    let (mut stream, id, _) = open(server);
    stream.write_all(b"BIG 8000000\n").unwrap();
    // Its answer has begun.
    stream.read_exact(&mut [0; 1000]).unwrap();
    reset(stream);
    assert_eq!(server.reason(id), "reset");
}

fn nothing_to_read(backend: &str, fault: &str) {
    let server = Launch::new(backend).start();
    let (mut existing, ..) = open(&server);
    let (mut stream, _, tid) = open(&server);
    let strace = Attached::to_thread(tid, "recvfrom", Some(&format!("recvfrom:error={fault}")));
    for _ in 0..5 {
        echo(&mut stream, "read after a while");
    }
    probe(&server, &mut existing);
    strace.detach_injected();
    drop::<[TcpStream; 2]>([stream, existing]);
    server.finish();
}
