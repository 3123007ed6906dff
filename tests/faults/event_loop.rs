//! Rows A15, E2b, E3, E4 and E6: pollers.

use crate::client::{connect, echo, open, probe, try_echo};
use crate::launch::{Launch, Server, number};
use crate::strace::{Attached, POLLS, WAITS, injected};
use crate::table::{ALL, E, EP, Needs, P, PP, T, Table};
use std::collections::{BTreeMap, HashSet};
use std::io::Write;
use std::net::TcpStream;
use std::time::{Duration, Instant};

pub(crate) fn rows(table: &mut Table) {
    table.row("A15/herd-of-loops", &["event-loop:4"], Needs::Strace, no_herd_of_loops);
    table.row("A15/herd-of-workers", &["pool:4"], Needs::Strace, no_herd_of_workers);
    table.row("E2b/urgent-byte", ALL, Needs::Nothing, an_urgent_byte);
    for nth in 1..=8 {
        let name = format!("E3/enospc-{nth}");
        table.case(&name, &[P, PP, E, EP], Needs::Strace, move |b| no_room_to_watch(b, nth));
    }
    table.row("E3/one-connection", &[P, E], Needs::Strace, no_room_for_one_connection);
    for errno in ["EINVAL", "EBADF", "ENOMEM"] {
        let name = format!("E4/{}", errno.to_lowercase());
        table.case(&name, ALL, Needs::Strace, move |b| waiting_fails(b, errno));
    }
    table.row("E6/delete-before-close", &[P, PP, E, EP], Needs::Strace, deleted_before_closed);
}

const CONNECTS: usize = 100;

/// Connects one after the other, each when the one before was opened; nobody says anything. How
/// many connections each thread got, and how many of its waits ended.
fn one_by_one(backend: &str) -> (Server, BTreeMap<u32, usize>, BTreeMap<u32, usize>) {
    let server = Launch::new(backend).start();
    let strace = Attached::to_process(server.pid, WAITS, None);
    let mut clients = Vec::new();
    for n in 1..=CONNECTS {
        clients.push(connect(server.addr));
        server.wait_for("opened", n);
    }
    let log = strace.detach();
    let mut served = BTreeMap::new();
    for line in server.events("opened") {
        *served.entry(number(&line, "tid").unwrap() as u32).or_default() += 1;
    }
    let mut woken = BTreeMap::new();
    for line in log.lines().filter(|line| line.contains("epoll_") && is_end_of_call(line)) {
        let tid = line.split_whitespace().next().unwrap().parse().unwrap();
        *woken.entry(tid).or_default() += 1;
    }
    clients.clear();
    (server, served, woken)
}

/// A wait that was interrupted when strace came is none that anything has ended.
fn is_end_of_call(line: &str) -> bool {
    !line.contains("<unfinished") && !line.contains("EINTR") && line.contains(" = ")
}

/// One loop accepts, and hands each connection to the loop that has the fewest: a loop that is not
/// given one is not woken.
fn no_herd_of_loops(backend: &str) {
    let (server, served, woken) = one_by_one(backend);
    println!("A15 {backend}: connections {served:?}, wake-ups {woken:?}");
    assert_eq!(served.len(), 4, "{served:?}");
    let (most, fewest) = (served.values().max().unwrap(), served.values().min().unwrap());
    assert!(*most as f64 / *fewest as f64 <= 1.2, "{served:?}");
    for (tid, count) in &served {
        let woken = woken.get(tid).copied().unwrap_or(0);
        // The first loop is the one that accepts; it runs on the thread that serves.
        let reasons = if *tid == server.pid { CONNECTS } else { *count };
        assert!(woken <= reasons + 5, "loop {tid} had {reasons} reasons, and woke {woken} times");
    }
    server.finish();
}

/// A connect wakes one worker to accept, and that one wakes another for the session. With all
/// workers woken it would be four times as many. A worker that accepts until nobody waits may
/// find the next client there already, and is not woken for it.
fn no_herd_of_workers(backend: &str) {
    let (server, served, woken) = one_by_one(backend);
    println!("A15 {backend}: connections {served:?}, wake-ups {woken:?}");
    let total: usize = woken.values().sum();
    assert!(total >= CONNECTS / 2, "the trace has seen too little: {woken:?}");
    assert!(total <= CONNECTS * 5 / 2, "{total} wake-ups for {CONNECTS} connections: {woken:?}");
    server.finish();
}

/// One urgent byte, then nothing: a poller tells of it until something is read.
fn an_urgent_byte(backend: &str) {
    let server = Launch::new(backend).start();
    let (mut stream, ..) = open(&server);
    socket2::SockRef::from(&stream).send_out_of_band(b"!").unwrap();
    server.assert_no_spin();
    echo(&mut stream, "normal data");
    socket2::SockRef::from(&stream).send_out_of_band(b"!").unwrap();
    echo(&mut stream, "right behind an urgent byte");
    probe(&server, &mut stream);
    drop(stream);
    server.finish();
}

/// The nth registration that a thread makes finds no room. Either the server says at its start that
/// it cannot run, or it goes on, and at most the connection concerned is lost. `polling` arms its
/// own descriptors anew in every wait (there the kernel has always room); if even that is made to
/// fail, it is the wait that fails, which ends the server with an error.
fn no_room_to_watch(backend: &str, nth: usize) {
    let fault = format!("epoll_ctl:error=ENOSPC:when={nth}");
    let server = match Launch::new(backend).traced("epoll_ctl", Some(&fault)).try_start() {
        Ok(server) => server,
        Err(failed) => {
            assert_eq!((failed.status.code(), injected(&failed.log)), (Some(1), 1));
            let said = failed.said;
            assert!(said.contains("could not start") && !said.contains("panicked"), "{said}");
            // What comes when the pollers are made and their bells are hung.
            return assert!(nth <= 8 && (nth < 3 || backend != P), "{said}");
        }
    };
    match go_on(&server) {
        Ok(failures) => {
            let ended =
                server.events("closed").iter().filter(|l| l.contains("\"backend\"")).count();
            let count = injected(&server.finish());
            // Each thread counts its own calls.
            assert!(count > 0, "nothing was injected");
            assert!(failures <= ended && ended <= count, "{failures}, {ended} of {count} faults");
        }
        Err(_) => {
            // Those of the first and of the second loop.
            let bells: &[usize] = if backend == E { &[3, 4, 7, 8] } else { &[3, 4] };
            ends_for_want_of_a_wait(server, backend, bells.contains(&nth));
        }
    }
}

/// Serves ten pairs of clients, and the probe. How many of the clients were not served; an error
/// if the server has ended.
fn go_on(server: &Server) -> std::io::Result<usize> {
    let mut failures = 0;
    for _ in 0..10 {
        let mut streams = [try_connect(server)?, try_connect(server)?];
        for stream in &mut streams {
            let served = try_echo(stream, "hello").and_then(|()| try_echo(stream, "again"));
            failures += usize::from(served.is_err());
        }
    }
    // The probe.
    let mut existing = try_connect(server)?;
    for text in ["a blocked connection", "a later connection"] {
        try_echo(&mut existing, "an existing connection")?;
        try_echo(&mut try_connect(server)?, text)?;
    }
    try_echo(&mut existing, "an existing connection, once more")?;
    Ok(failures)
}

fn try_connect(server: &Server) -> std::io::Result<TcpStream> {
    let stream = TcpStream::connect(server.addr)?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    Ok(stream)
}

/// Only those who wait by `polling` may end so: by choice, or for want of the bells.
fn ends_for_want_of_a_wait(mut server: Server, backend: &str, without_bells: bool) {
    assert!(backend == EP || backend == PP || without_bells, "{:?}", server.err.all());
    assert_eq!(server.exit().code(), Some(1));
    let said = server.err.all().join("\n");
    assert!(said.contains("waiting for events has failed"), "{said}");
    assert!(said.contains("os error 28") && !said.contains("panicked"), "{said}");
    server.check_ends();
}

/// Each thread meets the fault once. (Not by `polling`, whose waits would fail, see above.)
fn no_room_for_one_connection(backend: &str) {
    let server = Launch::new(backend).start();
    let (mut existing, ..) = open(&server);
    let fault = "epoll_ctl:error=ENOSPC:when=1";
    let strace = Attached::to_process(server.pid, "epoll_ctl", Some(fault));
    let lost = (0..20).filter(|_| try_echo(&mut connect(server.addr), "hello").is_err()).count();
    let count = injected(&strace.detach_injected());
    assert!(lost <= count, "{lost} connections lost by {count} faults");
    // In level mode nothing is armed anew; in the pool, the fault may have hit the existing one.
    if backend == E {
        assert!(lost >= 1, "nobody was lost by {count} faults");
        echo(&mut existing, "an existing connection");
    }
    let (mut existing, ..) = open(&server);
    probe(&server, &mut existing);
    drop(existing);
    server.finish();
}

fn waiting_fails(backend: &str, errno: &str) {
    let calls = if backend == T { POLLS } else { WAITS };
    let mut server = Launch::new(backend).start();
    let (existing, ..) = open(&server);
    let fault = format!("{calls}:error={errno}:when=1+");
    let began = Instant::now();
    let strace = Attached::to_process(server.pid, calls, Some(&fault));
    // If no wait was begun anew when strace came, one is now. If one was, nobody is there.
    let _poke = TcpStream::connect(server.addr);
    let status = server.exit();
    let took = began.elapsed();
    assert_eq!(status.code(), Some(1), "{:?}", server.err.all());
    assert!(took < Duration::from_secs(1), "the end took {took:?}");
    let count = injected(&strace.ended());
    assert!((1..20).contains(&count), "{count} waits failed");
    let said = server.err.all().join("\n");
    assert!(said.contains("waiting for events has failed"), "{said}");
    assert!(!said.contains("panicked"), "{said}");
    server.check_ends();
    drop(existing);
}

/// The poller's own descriptors are no registrations. Their keys are the highest.
fn is_bell(call: &str) -> bool {
    let key = call.split_once("u64=").map(|(_, rest)| rest.split('}').next());
    key.flatten().and_then(|key| key.parse().ok()).is_some_and(|key: u64| key >= u64::MAX - 15)
}

/// What is in a poller is deleted from it before it is closed, on every path.
fn deleted_before_closed(backend: &str) {
    let server = Launch::new(backend).traced("epoll_ctl,close", None).start();
    for round in 0..10 {
        let mut streams: Vec<_> = (0..5).map(|_| connect(server.addr)).collect();
        streams.iter_mut().for_each(|stream| echo(stream, "hello"));
        if round % 2 == 0 {
            crate::client::reset(streams.pop().unwrap());
        }
        streams.pop().unwrap().write_all(b"BYE\n").unwrap();
    }
    server.wait_for("closed", 50);
    let _left: Vec<_> = (0..5).map(|_| open(&server)).collect();
    let log = server.finish();
    let mut watched: HashSet<(u32, u32)> = HashSet::new();
    let mut deleted = 0;
    for line in log.lines() {
        let call = line.split_once(' ').map_or("", |(_, call)| call.trim_start());
        if let Some(args) = call.strip_prefix("epoll_ctl(") {
            let mut args = args.split(", ");
            let epoll: u32 = args.next().unwrap().parse().unwrap();
            let what = args.next().unwrap();
            let digits: String =
                args.next().unwrap().chars().take_while(char::is_ascii_digit).collect();
            let place = (epoll, digits.parse().unwrap());
            if is_bell(call) {
                continue;
            }
            match what {
                "EPOLL_CTL_ADD" => drop(watched.insert(place)),
                "EPOLL_CTL_DEL" => deleted += usize::from(watched.remove(&place)),
                _ => (),
            }
        } else if let Some(args) = call.strip_prefix("close(") {
            let digits: String = args.chars().take_while(char::is_ascii_digit).collect();
            let fd: u32 = digits.parse().unwrap();
            // A poller that is closed has nothing in it any more.
            watched.retain(|(epoll, _)| *epoll != fd);
            let left: Vec<_> = watched.iter().filter(|(_, watched)| *watched == fd).collect();
            assert!(left.is_empty(), "{line} while it is in {left:?}");
        }
    }
    assert!(deleted >= 55, "only {deleted} deletions were seen");
}
