//! S3: a drain under load loses nothing, takes no longer than it may, and serves those who come within
//! its grace.

use crate::load::{Run, Seen};
use crate::server::{BACKENDS, backend, upper};
use libtest_mimic::Trial;
use polyserve::{DrainReport, Server};
use std::thread;
use std::time::{Duration, Instant};

const CLIENTS: usize = 200;
const DEADLINE: Duration = Duration::from_secs(10);

pub(crate) fn trials() -> Vec<Trial> {
    let under_load = BACKENDS.iter().map(|&name| {
        Trial::test(format!("S3/under-load/{name}"), move || Ok(drained_under_load(name)))
    });
    let grace = BACKENDS.iter().map(|&name| {
        Trial::test(format!("S3/grace/{name}"), move || Ok(served_within_the_grace(name)))
    });
    under_load.chain(grace).collect()
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

const ONE_WHO_ASKS_ONCE: usize = 6;
