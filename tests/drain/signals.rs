//! S7, S10 and S12: servers that are signalled.

use crate::child;
use crate::process::{PATIENCE, ServerProcess, TempDir, has, run_well, signal};
use crate::server::{BACKENDS, backend};
use crate::trial;
use libtest_mimic::Trial;
use polyserve::testing::conformance::{Subject, questions};
use rustix::process::Signal;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::process::{Command, ExitCode, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::thread;
use std::time::{Duration, Instant};

pub(crate) fn trials() -> Vec<Trial> {
    let mut trials = Vec::new();
    let mut add = |what: &str, name: &'static str, test: fn(&str)| {
        trials.push(trial(format!("{what}/{name}"), move || test(name)));
    };
    for name in BACKENDS {
        add("S7/second-signal", name, a_second_signal_stops_at_once);
        add("S10/interrupted-calls", name, signals_that_interrupt_every_call);
        add("S12/stopped-and-continued", name, a_process_that_was_stopped);
    }
    trials
}

fn start(name: &str, more: &[&str]) -> ServerProcess {
    let mut command = child::command(name);
    ServerProcess::start(command.args(["--from", "127.0.0.1:0"]).args(more), 1)
}

fn connect(server: &ServerProcess) -> TcpStream {
    let stream = TcpStream::connect(&server.addrs[0]).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

fn ask(stream: &mut TcpStream, line: &str) -> std::io::Result<()> {
    stream.write_all(format!("{line}\n").as_bytes())?;
    let mut answer = vec![0; line.len() + 1];
    stream.read_exact(&mut answer)?;
    assert_eq!(String::from_utf8_lossy(&answer), line.to_uppercase() + "\n");
    Ok(())
}

/// The first signal drains, for which a busy connection has a minute; the second ends it now.
fn a_second_signal_stops_at_once(name: &str) {
    for first in [Signal::TERM, Signal::INT] {
        let server = start(name, &["--deadline", "60000"]);
        let mut busy = connect(&server);
        ask(&mut busy, "hello").unwrap();
        busy.write_all(b"hold\n").unwrap();
        let mut idle = connect(&server);
        ask(&mut idle, "idle").unwrap();
        signal(server.pid(), first);
        assert_eq!(idle.read(&mut [0; 8]).unwrap(), 0, "{name}: the drain has closed the idle one");
        let until = Instant::now() + PATIENCE;
        while TcpStream::connect(&server.addrs[0]).is_ok() {
            assert!(Instant::now() < until, "{name}: the drain has not closed the listener");
        }
        let ended = server.terminate();
        assert_eq!(ended.code, Some(0), "{name}: {:?}", ended.stderr);
        assert!(ended.took < Duration::from_secs(2), "{name}: {:?}", ended.took);
        let said = ended.stdout.join("\n");
        assert!(said.contains("0 finished, 1 closed, 1 killed, 0 stuck"), "{name}: {said}");
        let end = busy.read(&mut [0; 8]).map_err(|error| error.kind());
        assert_eq!(end, Err(ErrorKind::ConnectionReset), "{name}");
    }
}

/// Time passes for a process that does not run. What its clients sent meanwhile is read before their
/// silence counts.
fn a_process_that_was_stopped(name: &str) {
    let server = start(name, &["--idle-timeout", "1000"]);
    let mut talks: Vec<_> = (0..20).map(|_| connect(&server)).collect();
    talks.iter_mut().for_each(|client| ask(client, "before").unwrap());
    let mut silent = connect(&server);
    ask(&mut silent, "before").unwrap();
    signal(server.pid(), Signal::STOP);
    wait_until_stopped(server.pid());
    talks.iter_mut().for_each(|client| client.write_all(b"meanwhile\n").unwrap());
    // Nothing happens that could be waited for: time itself is what the test is about.
    let (_never, nothing) = channel::<()>();
    let _ = nothing.recv_timeout(Duration::from_secs(3));
    signal(server.pid(), Signal::CONT);
    for client in &mut talks {
        let mut answer = [0; 10];
        client.read_exact(&mut answer).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(&answer, b"MEANWHILE\n");
        ask(client, "after").unwrap_or_else(|error| panic!("{name}: {error}"));
    }
    // Whoever was silent for all that time has left, and no sooner than it had to.
    assert_eq!(silent.read(&mut [0; 8]).unwrap(), 0, "{name}");
    drop((silent, talks));
    let ended = server.terminate();
    assert_eq!(ended.code, Some(0), "{name}: {:?}", ended.stderr);
}

/// A signal stops each thread when it comes by the kernel next; until then it may go on.
fn wait_until_stopped(pid: u32) {
    let until = Instant::now() + PATIENCE;
    let runs = |task: std::io::Result<std::fs::DirEntry>| {
        // After the name, which is in brackets, comes the state (proc(5)).
        let stat = std::fs::read_to_string(task.unwrap().path().join("stat")).unwrap();
        !stat.rsplit(") ").next().unwrap().starts_with('T')
    };
    while std::fs::read_dir(format!("/proc/{pid}/task")).unwrap().any(runs) {
        assert!(Instant::now() < until, "the process was not stopped");
    }
}

/// The conformance suite in a process whose serving threads are signalled 200 times a second each, by a
/// handler that does nothing and was installed without SA_RESTART: so every call that can be
/// interrupted is. What a program in Rust without `unsafe` cannot install, a library in C does.
fn signals_that_interrupt_every_call(name: &str) {
    if !has("cc") {
        return;
    }
    let dir = TempDir::new();
    let library = dir.file("interrupt.so");
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/drain/interrupt.c");
    let library = library.to_str().unwrap();
    run_well("cc", &["-shared", "-fPIC", "-O1", "-pthread", "-o", library, source], b"");
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["conform", name]).env("LD_PRELOAD", library);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let output = crate::process::finish(command.spawn().unwrap(), "the suite");
    let (said, errors) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{name}: {said} {errors}");
    let sent = errors.lines().find_map(|line| line.strip_prefix("interrupts: "));
    let sent: u64 = sent.expect("the library tells what it did").parse().unwrap();
    println!("{name}: {} with {sent} signals", said.trim());
    assert!(sent > 500, "{name}: {sent} signals were sent");
}

/// Asks the questions of the suite, four at a time.
pub(crate) fn conform(name: &str) -> ExitCode {
    let name = name.to_owned();
    let subject = Subject::new(move || backend(&name));
    let (next, failed) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let ask_some = || {
        while let Some(question) = questions().get(next.fetch_add(1, Ordering::Relaxed)) {
            if let Err(failure) = question.ask(&subject) {
                println!("{}: {failure}", question.name());
                failed.fetch_add(1, Ordering::Relaxed);
            }
        }
    };
    thread::scope(|scope| {
        (0..4).for_each(|_| drop(scope.spawn(ask_some)));
    });
    let failed = failed.into_inner();
    println!("{} questions, {failed} failed", questions().len());
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
