//! Rows R5 to R8, R11, R12 and R16: peers that read nothing, send too much, or send too slowly.

use crate::client::{connect, connect_small, echo, end, open, probe, reset};
use crate::launch::{Launch, Server, number};
use crate::pattern::{check, pattern};
use crate::results::{figure, injected};
use crate::table::{EVERY, Needs, Table};
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

pub(crate) fn rows(table: &mut Table) {
    table.timed("R5/never-read", EVERY, Needs::Nothing, a_hundred_never_read);
    table.row("R6/blocking-handler", EVERY, Needs::Nothing, a_flood_into_a_slow_handler);
    table.row("R6/paused", EVERY, Needs::Nothing, a_flood_into_a_paused_connection);
    table.timed("R7/drips", EVERY, Needs::Nothing, forty_drips);
    table.row("R8/silent", EVERY, Needs::Nothing, silent_clients_beyond_the_limit);
    table.timed("R11/empty-frames", EVERY, Needs::Nothing, a_flood_of_empty_lines);
    table.timed("R12/hog", EVERY, Needs::Nothing, a_hog_among_fifty);
    table.row("R16/close-to-nobody", EVERY, Needs::Nothing, a_close_that_nobody_reads);
}

const MIB: usize = 1 << 20;
const LARGE: usize = 64 * MIB;
const NEVER_READ: usize = 100;

/// 99 of 100 of so many echoes come back within this time.
fn p99(stream: &mut TcpStream, count: usize) -> Duration {
    let mut times: Vec<Duration> = (0..count).map(|_| timed_echo(stream)).collect();
    times.sort_unstable();
    times[count * 99 / 100]
}

fn timed_echo(stream: &mut TcpStream) -> Duration {
    let began = Instant::now();
    echo(stream, "how long?\n");
    began.elapsed()
}

fn note(name: &str, time: Duration) {
    figure(name, time.as_secs_f64() * 1e3, "ms");
}

/// A hundred clients ask for 64 MiB each and read nothing. What the server holds for them is bounded,
/// others are served as before, and a client that reads gets all of its 64 MiB.
fn a_hundred_never_read(backend: &str) {
    const STALL: Duration = Duration::from_secs(3);
    let launch = Launch::new(backend).option("--write-stall", STALL.as_millis());
    // The smaller the system's buffers, the sooner all stand still.
    let server = launch.option("--send-buffer", 64 << 10).start();
    let (mut existing, ..) = open(&server);
    whole_stream(&server, MIB);
    let before = p99(&mut existing, 300);
    let base = server.memory();
    let mut silent: Vec<(TcpStream, u64)> = Vec::new();
    for _ in 0..NEVER_READ {
        let mut stream = connect_small(server.addr, 16 << 10);
        stream.write_all(format!("STREAM {LARGE}\n").as_bytes()).unwrap();
        let (id, _) = server.opened(stream.local_addr().unwrap());
        // One byte of the answer, so that it has begun.
        stream.read_exact(&mut [0]).unwrap();
        silent.push((stream, id));
    }
    let began = Instant::now();
    // On a machine with other work, the best of five: a server that neglects the others does so
    // in each.
    let during = (0..5).map(|_| p99(&mut existing, 300)).min().unwrap();
    let grown = server.memory().saturating_sub(base);
    whole_stream(&server, LARGE);
    let most = server.memory().saturating_sub(base).max(grown);
    note("echo p99 before", before);
    note("echo p99 during", during);
    figure("memory growth", most as f64 / MIB as f64, "MiB");
    assert!(most < NEVER_READ * (MIB + (64 << 10)), "grown by {most} bytes");
    assert!(during < before * 2 + Duration::from_millis(2), "{before:?} before, {during:?} during");
    for (_, id) in &silent {
        let reason = server.reason(*id);
        assert!(["write_timeout", "slow_consumer"].contains(&&*reason), "{reason}");
    }
    let took = began.elapsed();
    note("all closed after", took);
    assert!(took < STALL + Duration::from_secs(2), "the last ended after {took:?}");
    injected(count_stalled(&server));
    probe(&server, &mut existing);
    drop((silent, existing));
    server.finish();
}

/// How many connections ended with far less sent than was asked for.
fn count_stalled(server: &Server) -> usize {
    let sent = server.events("closed").into_iter().filter_map(|line| number(&line, "sent"));
    let stalled = sent.filter(|sent| (1..LARGE as u64 / 2).contains(sent)).count();
    assert!(stalled >= NEVER_READ, "only {stalled} clients were stalled");
    NEVER_READ
}

/// Asks for so many bytes, reads them as they come, and checks each.
fn whole_stream(server: &Server, len: usize) {
    let mut stream = connect(server.addr);
    stream.write_all(format!("STREAM {len}\n").as_bytes()).unwrap();
    let (mut piece, mut at) = (vec![0; 256 << 10], 0);
    while at < len {
        let n = stream.read(&mut piece).unwrap();
        assert!(n > 0, "the stream ended after {at} of {len} bytes");
        check(at, &piece[..n]).unwrap();
        at += n;
    }
}

/// A handler that blocks at each look is read no faster than it can take.
fn a_flood_into_a_slow_handler(backend: &str) {
    const MUCH: usize = 100 * MIB;
    let server = Launch::new(backend).start();
    let (mut existing, ..) = open(&server);
    let base = server.memory();
    let (mut stream, ..) = open(&server);
    stream.set_write_timeout(Some(Duration::from_secs(60))).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    stream.write_all(b"SINK 1\n").unwrap();
    stream.read_exact(&mut [0; 3]).unwrap();
    let mut most = 0;
    for at in (0..MUCH).step_by(MIB) {
        stream.write_all(&pattern(at, MIB)).unwrap();
        most = most.max(server.memory().saturating_sub(base));
    }
    stream.shutdown(Shutdown::Write).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert_eq!(answer, format!("{MUCH}\n"));
    figure("memory growth", most as f64 / MIB as f64, "MiB");
    assert!(most < 10 * MIB, "grown by {most} bytes");
    probe(&server, &mut existing);
    drop(existing);
    server.finish();
}

/// What a paused connection is sent stays with the system, until that takes no more.
fn a_flood_into_a_paused_connection(backend: &str) {
    let server = Launch::new(backend).start();
    let (mut existing, ..) = open(&server);
    let base = server.memory();
    let (mut stream, ..) = open(&server);
    stream.write_all(b"PAUSE\n").unwrap();
    stream.read_exact(&mut [0; 3]).unwrap();
    stream.set_write_timeout(Some(Duration::from_millis(500))).unwrap();
    let mut taken = 0;
    let error = loop {
        match stream.write(&[b'x'; 64 << 10]) {
            Ok(n) => taken += n,
            Err(error) => break error,
        }
        assert!(taken < 100 * MIB, "somebody reads");
    };
    assert_eq!(error.kind(), ErrorKind::WouldBlock, "{error}");
    let grown = server.memory().saturating_sub(base);
    injected(1);
    figure("memory growth", grown as f64 / MIB as f64, "MiB");
    figure("taken by the system", taken as f64 / MIB as f64, "MiB");
    assert!(taken > 64 << 10 && grown < 10 * MIB, "{taken} bytes taken, grown by {grown}");
    server.assert_no_spin();
    probe(&server, &mut existing);
    drop((stream, existing));
    server.finish();
}

/// Forty clients send a byte of a line now and then, and never its end. Others are served at once,
/// and the forty are closed in time, whatever they drip.
fn forty_drips(backend: &str) {
    const DRIPS: usize = 40;
    const MESSAGE: Duration = Duration::from_secs(2);
    let launch = Launch::new(backend).arg("--lines");
    let server = launch.option("--message", MESSAGE.as_millis()).start();
    let began = Instant::now();
    let mut drips: Vec<TcpStream> = (0..DRIPS).map(|_| connect(server.addr)).collect();
    let mut dripped = 0;
    let mut drip = || {
        drips.iter_mut().for_each(|stream| dripped += usize::from(stream.write(b"d").is_ok()));
        dripped
    };
    drip();
    server.wait_for("opened", DRIPS);
    let mut slowest = Duration::ZERO;
    let (_keep, never) = channel::<()>();
    // Nothing tells when the next byte is due.
    while began.elapsed() < MESSAGE - Duration::from_millis(500) {
        assert_eq!(never.recv_timeout(Duration::from_millis(250)), Err(RecvTimeoutError::Timeout));
        drip();
        let asked = Instant::now();
        let mut normal = connect(server.addr);
        normal.write_all(b"hello\n").unwrap();
        let mut answer = [0; 6];
        normal.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"HELLO\n");
        slowest = slowest.max(asked.elapsed());
    }
    note("slowest normal request", slowest);
    assert!(slowest < Duration::from_secs(1), "a normal client waited for {slowest:?}");
    let count = drip();
    injected(count);
    let reasons = |reason: &str| {
        let closed = server.events("closed").into_iter();
        closed.filter(|line| line.contains(&format!("\"reason\":\"{reason}\""))).count()
    };
    while reasons("message_timeout") < DRIPS {
        assert!(began.elapsed() < MESSAGE + Duration::from_secs(2), "not all drips were closed");
        assert_eq!(never.recv_timeout(Duration::from_millis(20)), Err(RecvTimeoutError::Timeout));
        drip();
    }
    note("all drips closed after", began.elapsed());
    assert!(began.elapsed() >= MESSAGE, "closed before their time");
    drop(drips);
    server.finish();
}

/// Two hundred connect to a server that lets in a hundred, and say nothing: those behind them are
/// served when the first-byte time has passed.
fn silent_clients_beyond_the_limit(backend: &str) {
    const SILENT: usize = 200;
    const FIRST_BYTE: Duration = Duration::from_secs(1);
    let launch = Launch::new(backend).option("--max-connections", SILENT / 2);
    let server = launch.option("--first-byte", FIRST_BYTE.as_millis()).start();
    let began = Instant::now();
    let silent: Vec<TcpStream> = (0..SILENT).map(|_| connect(server.addr)).collect();
    injected(SILENT);
    let mut new = connect(server.addr);
    new.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    echo(&mut new, "behind two hundred");
    let took = began.elapsed();
    note("served after", took);
    // Two batches of a hundred, one after the other.
    assert!(took >= FIRST_BYTE * 2, "served after {took:?}: there is no limit");
    assert!(took < FIRST_BYTE * 2 + Duration::from_secs(2), "served after {took:?}");
    server.wait_for("closed", SILENT);
    let timeouts = server.events("closed");
    assert!(timeouts.iter().all(|line| line.contains("first_byte_timeout")), "{timeouts:?}");
    assert_eq!(timeouts.len(), SILENT);
    for mut stream in silent {
        end(&mut stream).unwrap();
    }
    drop(new);
    server.finish();
}

/// Requests that cost their sender a byte each, by the ten thousand: others are served in between.
fn a_flood_of_empty_lines(backend: &str) {
    let server = Launch::new(backend).arg("--lines").start();
    let mut other = connect(server.addr);
    let flood = connect(server.addr);
    let lines = vec![b'\n'; 64 << 10];
    let answered = beside(&flood, &lines, || fifty_echoes(&mut other, "HELLO\n"));
    injected(answered);
    reset(flood);
    drop(other);
    server.finish();
}

/// A client that sends as fast as it can, and reads what comes back.
fn a_hog_among_fifty(backend: &str) {
    let server = Launch::new(backend).start();
    let mut others: Vec<TcpStream> = (0..50).map(|_| connect(server.addr)).collect();
    let hog = connect(server.addr);
    let answered = beside(&hog, &[b'h'; 64 << 10], || {
        let began = Instant::now();
        others.iter_mut().for_each(|other| echo(other, "hello\n"));
        began.elapsed()
    });
    injected(answered);
    reset(hog);
    drop(others);
    server.finish();
}

fn fifty_echoes(other: &mut TcpStream, answer: &str) -> Duration {
    let times = (0..50).map(|_| {
        let began = Instant::now();
        other.write_all(b"hello\n").unwrap();
        let mut back = vec![0; answer.len()];
        other.read_exact(&mut back).unwrap();
        assert_eq!(back, answer.as_bytes());
        began.elapsed()
    });
    times.max().unwrap()
}

/// What `measured` took while one client sends this again and again; the best of five, for the
/// reason given in `accept`. How many bytes came back to that client.
fn beside(hog: &TcpStream, what: &[u8], mut measured: impl FnMut() -> Duration) -> usize {
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let (began, has_begun) = channel();
        scope.spawn(|| {
            let mut hog = hog;
            while !over.load(Ordering::Relaxed) {
                if hog.write_all(what).is_err() {
                    return;
                }
            }
        });
        let reader = scope.spawn(move || {
            let (mut hog, mut piece, mut total) = (hog, vec![0; 64 << 10], 0);
            loop {
                let Ok(n @ 1..) = hog.read(&mut piece) else { return total };
                total += n;
                if total > MIB {
                    let _ = began.send(());
                }
            }
        });
        has_begun.recv_timeout(Duration::from_secs(20)).expect("the first MiB of the flood");
        let best = (0..5).map(|_| measured()).min().unwrap();
        over.store(true, Ordering::Relaxed);
        // What is still on the way, in either direction, nobody needs.
        hog.shutdown(Shutdown::Both).unwrap();
        note("others wait at most", best);
        let total = reader.join().unwrap();
        assert!(best < Duration::from_millis(50), "others waited {best:?} beside {total} bytes");
        total
    })
}

/// The answer is more than the system takes, the peer reads none of it, and the server closes.
fn a_close_that_nobody_reads(backend: &str) {
    const STALL: Duration = Duration::from_secs(1);
    let server = Launch::new(backend).option("--write-stall", STALL.as_millis()).start();
    let (mut existing, ..) = open(&server);
    let (mut silent, id, _) = open(&server);
    silent.write_all(format!("LAST {}\n", 16 * MIB).as_bytes()).unwrap();
    silent.read_exact(&mut [0]).unwrap();
    let began = Instant::now();
    server.assert_no_spin();
    let reason = server.reason(id);
    let took = began.elapsed();
    note("gone after", took);
    assert!(["write_timeout", "slow_consumer"].contains(&&*reason), "{reason}");
    assert!(took < STALL + Duration::from_secs(1), "gone after {took:?}");
    injected(1);
    probe(&server, &mut existing);
    drop((silent, existing));
    server.finish();
}
