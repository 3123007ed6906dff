//! S3: a drain under load loses nothing, takes no longer than it may, and serves those who come within
//! its grace.

use crate::load::{Run, Seen};
use crate::server::{BACKENDS, backend, upper};
use crate::trial;
use libtest_mimic::Trial;
use polyserve::{AtLimit, DrainReport, Limits, Server};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

const CLIENTS: usize = 200;
const DEADLINE: Duration = Duration::from_secs(10);

pub(crate) fn trials() -> Vec<Trial> {
    let under_load = BACKENDS
        .iter()
        .map(|&name| trial(format!("S3/under-load/{name}"), move || drained_under_load(name)));
    let full = BACKENDS.iter().flat_map(|&name| {
        let served = move || served_behind_a_full_server(name);
        let ended = move || ended_behind_a_full_server(name);
        [
            trial(format!("S3/behind-a-full-server/{name}"), served),
            trial(format!("S3/behind-a-full-server-for-ever/{name}"), ended),
        ]
    });
    let grace = BACKENDS
        .iter()
        .map(|&name| trial(format!("S3/grace/{name}"), move || served_within_the_grace(name)));
    under_load.chain(full).chain(grace).collect()
}

/// `POLYSERVE_ROUNDS`, or as many rounds as take little time.
pub(crate) fn rounds(default: usize) -> usize {
    std::env::var("POLYSERVE_ROUNDS")
        .map_or(default, |text| text.parse().expect("POLYSERVE_ROUNDS is a number"))
}

fn drained_under_load(name: &str) {
    let (mut all, mut slowest) = (Seen::default(), Duration::ZERO);
    let rounds = rounds(3);
    let mut finished = 0;
    for round in 0..rounds {
        let (seen, report) = one_round(name, round as u32);
        assert!(seen.failed.is_empty(), "{name}, round {round}: {:?}; {report}", seen.failed);
        assert!(report.finished_all && report.killed == 0, "{name}, round {round}: {report}");
        assert!(report.took <= DEADLINE + Duration::from_secs(1), "round {round}: {report}");
        slowest = slowest.max(report.took);
        finished += report.finished;
        all.add(seen);
    }
    println!(
        "{name}: {rounds} drains under {CLIENTS} clients: {} requests on {} connections answered, \
         0 failed, {} late, {finished} connections finished; the slowest took {slowest:.3?}",
        all.answered, all.connections, all.late,
    );
    assert!(all.answered > (rounds * CLIENTS) as u64, "that was no load: {all:?}");
}

/// A server is drained in the midst of 200 clients that have begun to ask.
fn one_round(name: &str, round: u32) -> (Seen, DrainReport) {
    let server = Server::builder().backend(backend(name)).bind("127.0.0.1:0").unwrap();
    let server = server.spawn(|_peer| upper()).unwrap();
    let addr = server.local_addrs()[0].as_tcp().unwrap();
    let run = Run::new(addr, false);
    thread::scope(|scope| {
        let run = &run;
        let clients: Vec<_> =
            (0..CLIENTS).map(|number| scope.spawn(move || run.ask(number))).collect();
        // Every round begins at another moment of the load.
        run.wait_for_answers(u64::from(1000 + 37 * (round % 10)));
        run.drain_begins();
        let report = server.drain(Duration::ZERO, DEADLINE);
        let mut seen = Seen::default();
        clients.into_iter().for_each(|client| seen.add(client.join().unwrap()));
        (seen, report)
    })
}

/// As Kubernetes does it: clients are sent to the server for a while after it was told to end.
fn served_within_the_grace(name: &str) {
    const GRACE: Duration = Duration::from_secs(3);
    let server = Server::builder().backend(backend(name)).bind("127.0.0.1:0").unwrap();
    let server = server.spawn(|_peer| upper()).unwrap();
    let addr = server.local_addrs()[0].as_tcp().unwrap();
    let (control, began) = (server.control(), Instant::now());
    assert!(!control.is_draining());
    control.begin_drain(GRACE, DEADLINE);
    assert!(control.is_draining(), "not ready any more, and it accepts");
    let run = Run::new(addr, true);
    let mut seen = Seen::default();
    // One client after the other, until one is refused.
    while seen.failed.is_empty() {
        run.ask_once(ONE_WHO_ASKS_ONCE, &mut seen);
    }
    let refused = began.elapsed();
    assert!(seen.failed[0].starts_with("connect:"), "{name}: {:?} after {refused:?}", seen.failed);
    assert!(refused >= GRACE, "{name}: refused {refused:?} after the drain began");
    assert!(seen.answered > 100, "{name}: {} were served", seen.answered);
    let report = server.drain(GRACE, DEADLINE);
    assert!(report.finished_all && report.killed == 0, "{name}: {report}");
    assert!(report.took < GRACE + Duration::from_secs(2), "{name}: {report}");
    println!("{name}: {} clients were served within the grace; {report}", seen.answered);
    server.join().unwrap();
}

/// Those who wait behind a full server are served as it empties.
fn served_behind_a_full_server(name: &str) {
    const PLACES: usize = 2;
    for at_limit in [AtLimit::Wait, AtLimit::CloseOldestIdle] {
        let mut limits = Limits::default();
        limits.at_limit = at_limit;
        let builder = Server::builder().backend(backend(name)).limits(limits);
        let server = builder.max_connections(PLACES).bind("127.0.0.1:0").unwrap().build().unwrap();
        let addr = server.local_addrs()[0].as_tcp().unwrap();
        let connect = || {
            let stream = TcpStream::connect(addr).unwrap();
            stream.set_read_timeout(Some(DEADLINE)).unwrap();
            stream
        };
        let server = server.spawn(|_peer| upper()).unwrap();
        // They are not idle, or they would make room at once: one answer shows that what came in the
        // same segment, half a line, was read too. To be counted as open would show nothing of it.
        let mut first: Vec<_> = (0..PLACES).map(|_| connect()).collect();
        for stream in &mut first {
            stream.write_all(b"a line\nhalf a line").unwrap();
            let mut answer = [0; 7];
            stream.read_exact(&mut answer).unwrap();
            assert_eq!(&answer, b"A LINE\n", "{name}");
        }
        let control = server.control();
        let mut waiting: Vec<_> = (0..10).map(|_| connect()).collect();
        waiting.iter_mut().for_each(|stream| stream.write_all(b"waits\n").unwrap());
        control.begin_drain(Duration::ZERO, DEADLINE);
        // Now they finish what they are at, and leave.
        for stream in &mut first {
            stream.write_all(b"\n").unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).unwrap();
            assert_eq!(answer, "HALF A LINE\n", "{name}");
        }
        drop(first);
        for mut stream in waiting {
            let mut answer = String::new();
            stream.read_to_string(&mut answer).unwrap();
            assert_eq!(answer, "WAITS\n", "{name}, {at_limit:?}");
        }
        assert!(TcpStream::connect(addr).is_err(), "{name}: the listener is still open");
        let report = server.drain(Duration::ZERO, DEADLINE);
        assert!(report.finished_all && report.killed == 0, "{name}: {report}");
        server.join().unwrap();
    }
}

/// Where no place becomes free, the deadline holds for the backlog as well.
fn ended_behind_a_full_server(name: &str) {
    let deadline = Duration::from_millis(300);
    let builder = Server::builder().backend(backend(name)).max_connections(1);
    let server = builder.bind("127.0.0.1:0").unwrap().spawn(|_peer| upper()).unwrap();
    let addr = server.local_addrs()[0].as_tcp().unwrap();
    let mut busy = TcpStream::connect(addr).unwrap();
    busy.write_all(b"first\nhold\n").unwrap();
    busy.read_exact(&mut [0; 6]).unwrap();
    let mut waits = TcpStream::connect(addr).unwrap();
    waits.set_read_timeout(Some(DEADLINE)).unwrap();
    let report = server.drain(Duration::ZERO, deadline);
    assert!(report.took < deadline + Duration::from_secs(2), "{name}: {report}");
    assert_eq!((report.killed, report.finished_all), (1, true), "{name}: {report}");
    assert!(!matches!(waits.read(&mut [0; 8]), Ok(1..)), "{name}");
    server.join().unwrap();
}

const ONE_WHO_ASKS_ONCE: usize = 6;
