//! One server, its clients, and what it holds when they have gone, again and again.

use crate::clients::{self, World};
use crate::gauge::Gauge;
use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

/// How long the clients are at work on each backend, if nobody asks for more.
const USUAL: Duration = Duration::from_secs(7);
/// From how long on memory has to stay as it is.
const LONG: Duration = Duration::from_secs(300);
/// How often everybody goes, so that the server can be looked at.
const ROUNDS: usize = 12;
/// What the process makes once and keeps is there after so many of them.
const WARM_UP: usize = 4;
/// Of how many of them the average is taken.
const FEW: usize = 4;
/// The most that a thread of a server keeps of its output buffer, in KiB.
const THREADS_BUFFER: usize = 256;
/// The most that all the buffers take that threads of a connection each have left, in KiB.
const LEFT_BUFFERS: usize = 8 * (64 + 64);
/// How many clients there are at the same time.
const CLIENTS: u64 = 8;
/// For what should take no time at all. (A connection lingers for at most 5 s.)
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) fn soak(backend: &str) {
    let mut server = Server::start(backend);
    let world = World::new(server.addr.parse().expect("an address"));
    let first = server.gauge();
    let (began, mut gauges) = (Instant::now(), Vec::new());
    for round in 0..ROUNDS {
        one_round(&mut server, &world, round as u64, length() / ROUNDS as u32);
        gauges.push(server.at_rest(&first, &world));
        println!("{backend}: round {round}: {}", gauges[round]);
    }
    check_memory(&gauges);
    let stats = server.stats();
    check_stats(&stats, &world);
    let count = |count: &std::sync::atomic::AtomicU64| count.load(Ordering::Relaxed);
    println!(
        "| `{backend}` | {} s | {} | {} | {} | {} | {} | {} | {} | {} KiB | {} → {} KiB |",
        began.elapsed().as_secs(),
        count(&world.connections),
        count(&world.checked) / (1024 * 1024),
        stats["reset"],
        stats["panic"],
        stats["accept_errors"],
        count(&world.lost),
        format_args!("{} / {}", first.descriptors, first.threads),
        format_args!("{} → {}", gauges[WARM_UP].heap, gauges[ROUNDS - 1].heap),
        average(&gauges[WARM_UP..][..FEW]),
        average(&gauges[ROUNDS - FEW..]),
    );
    server.finish();
}

/// `POLYSERVE_SOAK`, in seconds.
fn length() -> Duration {
    match std::env::var("POLYSERVE_SOAK") {
        Ok(text) => Duration::from_secs(text.parse().expect("POLYSERVE_SOAK is a number")),
        Err(_) => USUAL,
    }
}

/// The clients are at work for so long. For a part of it the server is out of descriptors.
fn one_round(server: &mut Server, world: &World, round: u64, length: Duration) {
    world.stop.store(false, Ordering::SeqCst);
    let (failed, failure) = channel();
    std::thread::scope(|scope| {
        for number in 0..CLIENTS {
            let failed = failed.clone();
            scope.spawn(move || {
                let _tells = TellsOfPanic(failed);
                clients::run(world, round * CLIENTS + number);
            });
        }
        // Nothing else is waited for than a client that fails.
        let pass = |part: u32| failure.recv_timeout(length * part / 10).is_ok();
        let mut has_failed = pass(6);
        if !has_failed {
            world.starving.store(true, Ordering::SeqCst);
            server.say("starve");
            has_failed = pass(2);
            server.say("feed");
            server.stats(); // it has heard all that
            has_failed |= pass(1);
            world.starving.store(false, Ordering::SeqCst);
        }
        has_failed |= !has_failed && pass(1);
        world.stop.store(true, Ordering::SeqCst);
        assert!(!has_failed, "a client has failed: see above");
    });
}

struct TellsOfPanic(Sender<()>);

impl Drop for TellsOfPanic {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let _ = self.0.send(());
        }
    }
}

/// After the warm-up, what the server holds stays within a twentieth, but for the buffers of its threads:
/// each keeps as much as its last replies have taken, up to a limit, or leaves a part of it to the
/// threads of connections to come. What it has asked for is looked at each time; what the system has
/// given it goes up and down with what was freed where, so there it is the average. A short run is over
/// before the allocator has all that it will ever have.
fn check_memory(gauges: &[Gauge]) {
    let buffers = (gauges[0].threads * THREADS_BUFFER).max(LEFT_BUFFERS);
    let slack = if length() < LONG { 2 * 1024 } else { 0 };
    let heap: Vec<usize> = gauges[WARM_UP..].iter().map(|gauge| gauge.heap).collect();
    let most = heap[0] + heap[0] / 20 + buffers;
    assert!(heap.iter().all(|heap| *heap <= most), "the heap has grown, in KiB: {heap:?}");
    let (first, last) = (average(&gauges[WARM_UP..][..FEW]), average(&gauges[ROUNDS - FEW..]));
    let memory: Vec<usize> = gauges[WARM_UP..].iter().map(|gauge| gauge.memory).collect();
    let most = first + first / 20 + slack;
    assert!(last <= most, "memory has grown, in KiB: {memory:?}");
}

fn average(gauges: &[Gauge]) -> usize {
    gauges.iter().map(|gauge| gauge.memory).sum::<usize>() / gauges.len()
}

/// The counters agree with each other and with the clients, and every fault has come up.
fn check_stats(stats: &HashMap<String, u64>, world: &World) {
    let connections = world.connections.load(Ordering::SeqCst);
    assert_eq!(stats["accepted"], stats["refused"] + stats["closed_total"], "{stats:?}");
    // What was reset in the backlog may never have been accepted.
    assert!(stats["accepted"] <= connections, "{connections}, {stats:?}");
    for fault in ["reset", "panic", "peer_closed", "closed", "accept_errors"] {
        assert!(stats[fault] > 0, "{fault} did not come up: {stats:?}");
    }
}

struct Server {
    process: Child,
    input: Option<ChildStdin>,
    output: Receiver<String>,
    addr: String,
}

impl Server {
    fn start(backend: &str) -> Self {
        let me = std::env::current_exe().expect("a program knows where it is");
        let mut process = Command::new(me)
            .args(["serve", backend])
            // glibc is to give back what it is given back, memory as well as the stacks of threads:
            // what it keeps for later is not what is measured.
            .env("GLIBC_TUNABLES", "glibc.pthread.stack_cache_size=0")
            .env("MALLOC_ARENA_MAX", "1")
            .env("MALLOC_MMAP_THRESHOLD_", "32768")
            .env("MALLOC_TRIM_THRESHOLD_", "65536")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("this program can be started again");
        let (input, out) = (process.stdin.take(), process.stdout.take());
        let (send, output) = channel();
        let out = BufReader::new(out.expect("it is piped"));
        std::thread::spawn(move || {
            out.lines().map_while(Result::ok).for_each(|line| _ = send.send(line));
        });
        let mut server = Self { process, input, output, addr: String::new() };
        let line = server.hear();
        server.addr = line.strip_prefix("listening on ").expect("where it listens").to_owned();
        server
    }

    fn say(&mut self, command: &str) {
        let input = self.input.as_mut().expect("it is piped");
        writeln!(input, "{command}").expect("the server is alive");
    }

    fn hear(&self) -> String {
        self.output.recv_timeout(PATIENCE).expect("the server answers")
    }

    fn stats(&mut self) -> HashMap<String, u64> {
        self.say("stats");
        let line = self.hear();
        let numbers = line.split(' ').filter_map(|word| word.split_once('='));
        numbers.map(|(name, n)| (name.to_owned(), n.parse().expect("a number"))).collect()
    }

    fn gauge(&mut self) -> Gauge {
        let heap = self.stats()["heap"];
        Gauge::read(self.process.id(), heap)
    }

    /// Waits until the server has only what it had at first, memory apart.
    fn at_rest(&mut self, first: &Gauge, world: &World) -> Gauge {
        let end = Instant::now() + PATIENCE;
        loop {
            let stats = self.stats();
            let gauge = Gauge::read(self.process.id(), stats["heap"]);
            if stats["live"] == 0 && gauge.same_but_memory(first) {
                return gauge;
            }
            let connections = world.connections.load(Ordering::Relaxed);
            let late = Instant::now() > end;
            assert!(!late, "not as before, {first}: {gauge}, {connections} clients, {stats:?}");
            // The system tells no one when a thread has gone; asking is a wait for the answer.
            std::thread::yield_now();
        }
    }

    /// Drains it, and waits for its end.
    fn finish(mut self) {
        self.input = None;
        let report = self.hear();
        let status = self.process.wait().expect("a child can be waited for");
        assert!(status.success(), "{status}: {report}");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.input = None;
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
