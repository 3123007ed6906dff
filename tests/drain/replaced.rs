//! S8: a server is replaced by another, again and again under load, and no client is refused, reset or
//! left without an answer.

use crate::child::{self, Passing};
use crate::load::{Run, Seen};
use crate::rounds::rounds;
use crate::server::{BACKENDS, backend, upper};
use crate::trial;
use libtest_mimic::Trial;
use polyserve::{Server, ServerHandle};
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::Duration;

const CLIENTS: usize = 100;
const DEADLINE: Duration = Duration::from_secs(10);

pub(crate) fn trials() -> Vec<Trial> {
    let mut trials = Vec::new();
    let mut add = |what: &str, name: &'static str, test: fn(&str)| {
        trials.push(trial(format!("S8/{what}/{name}"), move || test(name)));
    };
    for name in BACKENDS {
        add("process-replaced", name, processes_are_replaced);
        add("server-replaced", name, servers_are_replaced);
        add("backlog-left", name, the_backlog_is_left_to_the_next);
        add("unix-file", name, the_socket_file_goes_with_the_listener);
    }
    trials
}

/// A load from its beginning to its end, with something going on meanwhile.
fn under_load(addr: SocketAddr, meanwhile: impl FnOnce(&Run)) -> Seen {
    let run = &Run::new(addr, true);
    thread::scope(|scope| {
        let clients: Vec<_> =
            (0..CLIENTS).map(|number| scope.spawn(move || run.ask(number))).collect();
        run.wait_for_answers(500);
        meanwhile(run);
        run.end();
        let mut seen = Seen::default();
        clients.into_iter().for_each(|client| seen.add(client.join().unwrap()));
        seen
    })
}

fn check(name: &str, rounds: usize, seen: &Seen) {
    assert!(seen.failed.is_empty() && seen.refused == 0, "{name}: {:?}", seen.failed);
    println!(
        "{name}: {rounds} replacements under {CLIENTS} clients: {} requests on {} connections \
         answered, 0 refused, 0 reset, 0 lost, {} late",
        seen.answered, seen.connections, seen.late,
    );
    assert!(seen.answered > 500 * rounds as u64, "{name}: that was no load: {seen:?}");
}

/// This process holds the listener, and its children serve: by turns, the next starts before the last
/// has ended, and after.
fn processes_are_replaced(name: &str) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let rounds = rounds(3);
    let passing = |round: usize| match round % 2 {
        0 => Passing::Stdin,
        _ => Passing::Activation,
    };
    let mut current = Some(child::start(name, &listener, Passing::Stdin, &[]));
    let seen = under_load(listener.local_addr().unwrap(), |run| {
        for round in 0..rounds {
            let old = current.take().unwrap();
            let start = || child::start(name, &listener, passing(round), &[]);
            let early = (round % 3 != 2).then(start);
            run.drain_begins();
            let ended = old.terminate();
            let said = ended.stdout.join("\n");
            assert_eq!(ended.code, Some(0), "{name}: {said} {:?}", ended.stderr);
            assert!(said.contains(" 0 killed, 0 stuck"), "{name}: {said}");
            assert!(ended.took < DEADLINE + Duration::from_secs(1), "{name}: {:?}", ended.took);
            run.drain_has_ended();
            current = Some(early.unwrap_or_else(start));
            run.wait_for_answers(500);
        }
    });
    check(name, rounds, &seen);
    assert_eq!(current.unwrap().terminate().code, Some(0));
}

fn spawn(name: &str, builder: polyserve::Builder) -> ServerHandle {
    builder.backend(backend(name)).spawn(|_peer| upper()).unwrap()
}

/// Servers of this process, each of which takes the listeners of the one before.
fn servers_are_replaced(name: &str) {
    let rounds = rounds(3);
    let mut current = spawn(name, Server::builder().bind("127.0.0.1:0").unwrap());
    let seen = under_load(current.local_addrs()[0].as_tcp().unwrap(), |run| {
        for _ in 0..rounds {
            let taken = current.take_listeners().unwrap();
            assert_eq!(taken.len(), 1);
            assert!(current.take_listeners().unwrap().is_empty(), "they are taken once");
            let next = spawn(name, Server::builder().listeners(taken).unwrap());
            let old = std::mem::replace(&mut current, next);
            run.drain_begins();
            let report = old.drain(Duration::ZERO, DEADLINE);
            assert!(report.finished_all && report.killed == 0, "{name}: {report}");
            old.join().unwrap();
            run.drain_has_ended();
            run.wait_for_answers(500);
        }
    });
    check(name, rounds, &seen);
    let report = current.drain(Duration::ZERO, DEADLINE);
    assert!(report.finished_all && report.killed == 0, "{name}: {report}");
}

/// Those whom a server that drains has no place for any more are served by the next one.
fn the_backlog_is_left_to_the_next(name: &str) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    let full = ["--max-connections", "1", "--deadline", "300"];
    let old = child::start(name, &listener, Passing::Activation, &full);
    let mut holder = TcpStream::connect(addr).unwrap();
    ask(&mut holder, "first");
    holder.write_all(b"hold\n").unwrap();
    let mut waiting: Vec<_> = (0..10).map(|_| TcpStream::connect(addr).unwrap()).collect();
    waiting.iter_mut().for_each(|stream| stream.write_all(b"waits\n").unwrap());
    let ended = old.terminate();
    assert_eq!(ended.code, Some(0), "{:?} {:?}", ended.stdout, ended.stderr);
    let next = child::start(name, &listener, Passing::Stdin, &[]);
    for stream in &waiting {
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        let mut answer = String::new();
        BufReader::new(stream).read_line(&mut answer).unwrap();
        assert_eq!(answer, "WAITS\n", "{name}");
    }
    drop(waiting);
    assert_eq!(next.terminate().code, Some(0));
}

fn ask(stream: &mut (impl Write + std::io::Read), line: &str) {
    stream.write_all(format!("{line}\n").as_bytes()).unwrap();
    let mut answer = vec![0; line.len() + 1];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(String::from_utf8_lossy(&answer), line.to_uppercase() + "\n");
}

/// The server that gave a Unix listener away does not remove its file, the last one does; and nobody
/// does when the socket has left the process.
fn the_socket_file_goes_with_the_listener(name: &str) {
    let dir = crate::process::TempDir::new();
    let path = dir.file("s");
    let old = spawn(name, Server::builder().bind(path.as_path()).unwrap());
    let mut served = UnixStream::connect(&path).unwrap();
    ask(&mut served, "old");
    let new = spawn(name, Server::builder().listeners(old.take_listeners().unwrap()).unwrap());
    let old_report = old.drain(Duration::ZERO, DEADLINE);
    assert!(old_report.finished_all, "{name}: {old_report}");
    drop(old);
    ask(&mut UnixStream::connect(&path).unwrap(), "new");

    let listener = new.take_listeners().unwrap().remove(0);
    let copy = listener.try_clone().unwrap();
    let socket = std::os::fd::OwnedFd::from(listener);
    new.drain(Duration::ZERO, DEADLINE);
    drop((new, copy));
    assert!(path.exists(), "{name}: the file was removed though the socket was handed on");
    let last = polyserve::net::Listener::try_from(socket).unwrap();
    let last = spawn(name, Server::builder().listener(last).unwrap());
    ask(&mut UnixStream::connect(&path).unwrap(), "last");
    last.drain(Duration::ZERO, DEADLINE);
    assert!(path.exists(), "{name}: it is not the file of the process that was handed the socket");

    std::fs::remove_file(&path).unwrap();
    let only = spawn(name, Server::builder().bind(path.as_path()).unwrap());
    let next = spawn(name, Server::builder().listeners(only.take_listeners().unwrap()).unwrap());
    only.drain(Duration::ZERO, DEADLINE);
    drop(only);
    assert!(path.exists(), "{name}");
    next.drain(Duration::ZERO, DEADLINE);
    assert!(!path.exists(), "{name}: the last server of this process has left the file");
}
