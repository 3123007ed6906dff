//! Rows S5, S9 and S10, and what servers within this process share.

use crate::client::{connect, echo, open, probe};
use crate::launch::{Launch, kill};
use crate::strace::{Attached, POLLS, WAITS};
use crate::table::{ALL, Needs, Table};
use polyserve::{
    Action, Backend, BoxError, Context, EventLoop, Handler, Input, Server, Strategy, ThreadPool,
};
use rustix::process::Signal;
use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

pub(crate) fn rows(table: &mut Table) {
    table.timed("S5/idle-shutdown", ALL, Needs::Nothing, idle_shutdown);
    table.row("S9/inherited-descriptors", ALL, Needs::Nothing, inherited_descriptors);
    table.row("S10/signals", ALL, Needs::Strace, signals_all_the_time);
    table.row("S12/stopped", ALL, Needs::Nothing, stopped_for_longer_than_the_time_outs);
}

/// Sends back what it receives, within this process.
pub(crate) struct Echo;

impl Handler for Echo {
    fn on_data(&mut self, input: &mut Input<'_>, cx: &mut Context<'_>) -> Result<Action, BoxError> {
        let bytes = input.take();
        cx.send(bytes);
        Ok(if bytes == b"BYE\n" { Action::Close } else { Action::Continue })
    }
}

/// The backend of this name of the table.
pub(crate) fn backend(name: &str) -> Box<dyn Backend> {
    match (name.strip_prefix("portable-").unwrap_or(name).parse().unwrap(), name) {
        (Strategy::EventLoop(Some(n)), name) if name.starts_with("portable-") => {
            Box::new(EventLoop::new().loops(n).portable(true))
        }
        (Strategy::Pool(Some(n)), name) if name.starts_with("portable-") => {
            Box::new(ThreadPool::new(n).portable(true))
        }
        (strategy, _) => strategy.into_backend(),
    }
}

const RUNS: usize = 11;

/// A server that nobody uses ends at once, wherever it listens, and also with a full backlog.
fn idle_shutdown(name: &str) {
    let path = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!(
        "s5-{}-{}.sock",
        std::process::id(),
        name.replace(':', "-")
    ));
    let unix = format!("unix:{}", path.display());
    for addr in ["127.0.0.1:0", "0.0.0.0:0", "[::]:0", &unix] {
        ends_soon(addr, || {
            let builder = Server::builder().backend(backend(name)).bind(addr).unwrap();
            let handle = builder.spawn(|_| Echo).unwrap();
            let began = Instant::now();
            let report = handle.drain(Duration::ZERO, Duration::from_secs(5));
            assert!(report.finished_all, "{addr}: {report}");
            began.elapsed()
        });
    }
    ends_soon("with a backlog", || {
        let builder = Server::builder().backend(backend(name)).bind("127.0.0.1:0").unwrap();
        let server = builder.build().unwrap();
        server.control().pause();
        let addr = server.local_addrs()[0].as_tcp().unwrap();
        let _backlog: Vec<_> = (0..200).map(|_| connect(addr)).collect();
        let handle = server.spawn(|_| Echo).unwrap();
        let began = Instant::now();
        handle.control().stop();
        handle.join().unwrap();
        began.elapsed()
    });
}

/// Half of the runs end within 50 ms, and none waits for a deadline of the drain: 5 s. (On a
/// machine that is quiet, all end within 50 ms; but a test cannot know whose turn it was.)
fn ends_soon(what: &str, run: impl Fn() -> Duration) {
    let mut took: Vec<Duration> = (0..RUNS).map(|_| run()).collect();
    took.sort_unstable();
    let (median, worst) = (took[RUNS / 2], took[RUNS - 1]);
    assert!(median < Duration::from_millis(50), "{what}: {took:?}");
    assert!(worst < Duration::from_secs(3), "{what}: {took:?}");
}

/// A child of a handler has what a child of ours has: nothing of the server's.
fn inherited_descriptors(backend: &str) {
    let server = Launch::new(backend).start();
    let mut others: Vec<_> = (0..5).map(|_| open(&server)).collect();
    let (mut stream, ..) = open(&server);
    stream.write_all(b"FDS\n").unwrap();
    let lines = BufReader::new(&stream).lines().map(Result::unwrap);
    let theirs: BTreeSet<String> = lines.take_while(|line| line != ".").collect();
    let ours = Command::new("ls").arg("/proc/self/fd").output().unwrap().stdout;
    let ours: BTreeSet<String> =
        String::from_utf8(ours).unwrap().lines().map(str::to_owned).collect();
    assert!(theirs.contains("1"), "{theirs:?}");
    assert!(theirs.is_subset(&ours), "a child of the server has {theirs:?}, one of ours {ours:?}");
    let open = std::fs::read_dir(format!("/proc/{}/fd", server.pid)).unwrap().count();
    assert!(open > theirs.len() + 6, "the server itself has {open}");
    others.iter_mut().for_each(|(stream, ..)| echo(stream, "still here"));
    drop((stream, others));
    server.finish();
}

/// From one signal to the next.
const TICK: Duration = Duration::from_millis(5);

/// 200 signals a second, to each thread in turn, whose handler does nothing. (It is installed with
/// SA_RESTART, as all that can be installed without `unsafe` are; polls, and reads with a time-out,
/// are interrupted all the same, see signal(7). The log tells that they were.)
fn signals_all_the_time(backend: &str) {
    let server = Launch::new(backend).arg("--on-usr1").start();
    let (mut existing, ..) = open(&server);
    let trace = format!("recvfrom,accept4,{WAITS},{POLLS}");
    let strace = Attached::to_process(server.pid, &trace, None);
    let (stop, stopped) = channel::<()>();
    let (pid, count) = (server.pid, Arc::new(AtomicUsize::new(0)));
    let counted = Arc::clone(&count);
    let sender = std::thread::spawn(move || {
        let mut sent = 0;
        while stopped.recv_timeout(TICK) == Err(RecvTimeoutError::Timeout) {
            let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten();
            let tids: Vec<u32> =
                tasks.filter_map(|task| task.ok()?.file_name().to_str()?.parse().ok()).collect();
            kill(tids[sent % tids.len()], Signal::USR1);
            sent += 1;
            counted.store(sent, Ordering::Relaxed);
        }
        sent
    });
    let mut echoes = 0;
    // Signals that come while one is pending are one: on a busy machine fewer come than are sent.
    while echoes < 2_000 || count.load(Ordering::Relaxed) < 300 {
        echo(&mut existing, "in the midst of signals");
        if echoes % 100 == 0 {
            echo(&mut connect(server.addr), "a new one in the midst of signals");
        }
        echoes += 1;
    }
    drop(stop);
    let sent = sender.join().unwrap();
    probe(&server, &mut existing);
    let log = strace.detach();
    let came = log.matches("--- SIGUSR1").count();
    let interrupted = log.lines().filter(|l| l.contains(" EINTR ") || l.contains(" ERESTART"));
    let interrupted = interrupted.count();
    println!("S10 {backend}: {sent} sent, {came} came, {interrupted} calls interrupted");
    assert!(came >= 50 && interrupted >= 20, "{sent} sent, {came} came, {interrupted} interrupted");
    drop(existing);
    server.finish();
}

/// All time-outs have passed when the process goes on. But what was sent in time is there to be read,
/// and is read first.
fn stopped_for_longer_than_the_time_outs(backend: &str) {
    let launch = Launch::new(backend).option("--idle", 1_000);
    let server = launch.option("--first-byte", 1_000).start();
    let mut clients: Vec<_> = (0..20).map(|_| open(&server).0).collect();
    server.signal(Signal::STOP);
    // Each thread stops on its own; from then on all of them do nothing.
    server.wait_until_stopped();
    clients.iter_mut().for_each(|client| client.write_all(b"in time").unwrap());
    // Nothing happens in a process that is stopped; time is what it must miss.
    let (_keep, never) = channel::<()>();
    assert_eq!(never.recv_timeout(Duration::from_secs(3)), Err(RecvTimeoutError::Timeout));
    server.signal(Signal::CONT);
    for client in &mut clients {
        let mut back = [0; 7];
        client.read_exact(&mut back).unwrap();
        assert_eq!(&back, b"in time");
    }
    assert_eq!(server.events("closed"), [] as [String; 0]);
    clients.iter_mut().for_each(|client| echo(client, "in time again"));
    probe(&server, &mut clients[0]);
    drop(clients);
    server.finish();
}
