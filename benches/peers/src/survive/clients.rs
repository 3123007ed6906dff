//! Clients that misbehave, without any injection: rows R1, R2, R5, R7, R8, R14 and E2b.

use super::client::{Client, REQUEST};
use super::{Case, Failure, Promise, Run};
use crate::child::Child;
use crate::servers::Speaks;
use std::io::{ErrorKind, Read, Write};
use std::net::Shutdown;
use std::thread;
use std::time::{Duration, Instant};

pub(super) fn cases() -> Vec<Case> {
    use Promise::{Exchanging, Limiting};
    let mut cases = Vec::new();
    let mut add = |row, name, about, whose, run: fn(&mut Run<'_>) -> Result<(), Failure>| {
        cases.push(Case::new(row, name, about, whose, run));
    };
    add(
        "R1",
        "half-close",
        "the answer to 1 MiB comes in full after the client's FIN",
        Exchanging,
        half_close,
    );
    add(
        "R1",
        "half-close-held",
        "a client that said FIN stays, without spin",
        Exchanging,
        half_closed,
    );
    add("R2", "reset", "50 clients reset their connections", Exchanging, resets);
    add("E2b", "urgent", "an urgent byte comes, and is not spun upon", Exchanging, urgent);
    add(
        "R14",
        "data-then-close",
        "200 clients send 100 KiB and close at once",
        Exchanging,
        data_then_close,
    );
    add("R5", "never-reading", "100 clients send 12 MiB and read nothing", Limiting, never_reading);
    add("R7", "drips", "40 clients drip: a normal one is served within 1 s", Limiting, drips);
    add(
        "R8",
        "silent",
        "40 clients say nothing: a normal one is served within 1 s",
        Limiting,
        silent,
    );
    add(
        "R8",
        "silent-ends",
        "a client that says nothing is let go within 15 s",
        Limiting,
        silent_ends,
    );
    add("idle", "idle-500", "500 idle connections cost no processor time", Limiting, idle);
    cases
}

/// The answers to many requests at once.
fn half_close(run: &mut Run<'_>) -> Result<(), Failure> {
    let server = run.start()?;
    let mut existing = run.open(&server)?;
    let mut client = run.connect(&server)?;
    let (request, times) = match run.subject.speaks {
        Speaks::Echo => (vec![b'x'; 1024 * 1024], 0),
        Speaks::Http => (REQUEST.repeat(1_000), 1_000),
    };
    let mut sender = client.stream.try_clone().expect("an open socket");
    let size = request.len();
    let sending = thread::spawn(move || {
        sender.write_all(&request).and_then(|()| sender.shutdown(Shutdown::Write))
    });
    let answered = match times {
        0 => read_all(&mut client, size),
        _ => (0..times).try_for_each(|_| client.response()).map_err(|error| error.to_string()),
    };
    run.injected = Some(1);
    answered
        .map_err(|why| super::explain(&server, format!("the answer is not complete: {why}")))?;
    let sent = sending.join().expect("it does not panic");
    sent.map_err(|error| format!("the request is not taken: {error}"))?;
    if !client.ended(super::PATIENCE) {
        return Err(Failure::Failed("the connection stays open after the answer".to_owned()));
    }
    run.probe(&server, &mut existing)
}

fn read_all(client: &mut Client, size: usize) -> Result<(), String> {
    let mut buffer = vec![0; 64 * 1024];
    let mut got = 0;
    while got < size {
        match client.stream.read(&mut buffer) {
            Ok(0) => return Err(format!("it ends after {got} of {size} bytes")),
            Ok(n) if buffer[..n].iter().all(|byte| *byte == b'x') => got += n,
            Ok(_) => return Err(format!("other bytes come after {got}")),
            Err(error) => return Err(format!("{error}, after {got} of {size} bytes")),
        }
    }
    Ok(())
}

fn half_closed(run: &mut Run<'_>) -> Result<(), Failure> {
    let server = run.start()?;
    let mut existing = run.open(&server)?;
    let client = run.open(&server)?;
    client.stream.shutdown(Shutdown::Write).map_err(|error| format!("no FIN: {error}"))?;
    run.injected = Some(1);
    run.no_spin(&server)?;
    run.probe(&server, &mut existing)
}

fn resets(run: &mut Run<'_>) -> Result<(), Failure> {
    let server = run.start()?;
    let mut existing = run.open(&server)?;
    let before = server.holds();
    for _ in 0..50 {
        let mut client = run.connect(&server)?;
        client.ask().map_err(|error| super::explain(&server, format!("cannot send: {error}")))?;
        client.reset().map_err(|error| error.to_string())?;
    }
    run.injected = Some(50);
    run.probe(&server, &mut existing)?;
    run.gives_back(&server, before)
}

fn urgent(run: &mut Run<'_>) -> Result<(), Failure> {
    let server = run.start()?;
    let mut existing = run.open(&server)?;
    let mut client = run.open(&server)?;
    let sent = socket2::SockRef::from(&client.stream).send_out_of_band(b"!");
    sent.map_err(|error| Failure::Skipped(format!("no urgent byte can be sent: {error}")))?;
    run.injected = Some(1);
    run.no_spin(&server)?;
    run.served(&server, &mut client, "the connection itself")?;
    run.probe(&server, &mut existing)
}

fn data_then_close(run: &mut Run<'_>) -> Result<(), Failure> {
    const CLIENTS: u64 = 200;
    let server = run.start()?;
    let mut existing = run.open(&server)?;
    let before = server.holds();
    let data = REQUEST.repeat(100 * 1024 / REQUEST.len());
    for _ in 0..CLIENTS {
        let mut client = run.connect(&server)?;
        // The server may have closed its side: that is not what is asked here.
        let _ = client.stream.write_all(&data);
    }
    run.injected = Some(CLIENTS);
    run.probe(&server, &mut existing)?;
    run.gives_back(&server, before)
}

/// Memory stays below what each connection may hold, and others are served.
fn never_reading(run: &mut Run<'_>) -> Result<(), Failure> {
    const CLIENTS: usize = 100;
    const EACH: usize = 12 * 1024 * 1024;
    const ALLOWED: u64 = 1024 * 1024 + 64 * 1024;
    let server = run.start()?;
    let mut existing = run.open(&server)?;
    let before = server.memory().unwrap_or(0);
    let mut senders = Vec::new();
    for _ in 0..CLIENTS {
        let client = run.connect(&server)?;
        // What the systems hold between the two does not count.
        let _ = socket2::SockRef::from(&client.stream).set_recv_buffer_size(4096);
        senders.push(client);
    }
    let taken = push(&mut senders, EACH);
    run.injected = Some(CLIENTS as u64);
    let grown = server.memory().map_or(0, |now| now.saturating_sub(before));
    run.figure("sent to it", taken as f64 / CLIENTS as f64 / 1024.0, "KiB each");
    run.figure("memory", grown as f64 / CLIENTS as f64 / 1024.0, "KiB each");
    run.served(&server, &mut existing, "the existing connection")?;
    let began = Instant::now();
    run.new_is_served(&server, "a normal client")?;
    run.figure("served after", began.elapsed().as_secs_f64() * 1e3, "ms");
    run.no_spin(&server)?;
    if grown > ALLOWED * CLIENTS as u64 {
        let why = format!("its memory grows by {} KiB for each", grown / 1024 / CLIENTS as u64);
        return Err(Failure::Failed(why));
    }
    Ok(())
}

/// Sends to all what they take, in turns, until nobody takes anything for a while, or for
/// some seconds.
fn push(clients: &mut [Client], each: usize) -> usize {
    const QUIET: Duration = Duration::from_millis(500);
    let deadline = Instant::now() + super::PATIENCE;
    let data = REQUEST.repeat(64 * 1024 / REQUEST.len());
    let mut taken = vec![0; clients.len()];
    clients.iter().for_each(|client| {
        client.stream.set_nonblocking(true).expect("an open socket");
    });
    loop {
        let mut fds: Vec<rustix::event::PollFd<'_>> = clients
            .iter()
            .zip(&taken)
            .filter(|(_, taken)| **taken < each)
            .map(|(client, _)| {
                rustix::event::PollFd::new(&client.stream, rustix::event::PollFlags::OUT)
            })
            .collect();
        let ready = rustix::event::poll(&mut fds, Some(&super::timespec(QUIET))).unwrap_or(0);
        drop(fds);
        if ready == 0 || Instant::now() > deadline {
            return taken.iter().sum();
        }
        for (client, taken) in clients.iter_mut().zip(&mut taken) {
            // At most so much in a row that all have their turn.
            match client.stream.write(&data) {
                Ok(n) if *taken < each => *taken += n,
                Err(error) if error.kind() == ErrorKind::WouldBlock => (),
                // It was closed, as a limit may have it; or has sent enough.
                _ => *taken = (*taken).max(each),
            }
        }
    }
}

/// Many clients that have begun a request, and do not end it.
fn drips(run: &mut Run<'_>) -> Result<(), Failure> {
    let server = run.start()?;
    let mut others = Vec::new();
    for _ in 0..40 {
        let mut client = run.connect(&server)?;
        let sent = client.stream.write_all(&REQUEST[..1]);
        sent.map_err(|error| super::explain(&server, format!("cannot send: {error}")))?;
        others.push(client);
    }
    served_within_a_second(run, &server, &mut others)
}

fn silent(run: &mut Run<'_>) -> Result<(), Failure> {
    let server = run.start()?;
    let mut others = Vec::new();
    for _ in 0..40 {
        others.push(run.connect(&server)?);
    }
    served_within_a_second(run, &server, &mut others)
}

fn served_within_a_second(
    run: &mut Run<'_>,
    server: &Child,
    others: &mut [Client],
) -> Result<(), Failure> {
    run.injected = Some(others.len() as u64);
    let began = Instant::now();
    run.new_is_served(server, "a normal client")?;
    let took = began.elapsed();
    run.figure("served after", took.as_secs_f64() * 1e3, "ms");
    if took > Duration::from_secs(1) {
        return Err(Failure::Failed(format!("a normal client waits for {took:.1?}")));
    }
    run.no_spin(server)
}

/// Whether there is any limit to how long nothing may be said.
fn silent_ends(run: &mut Run<'_>) -> Result<(), Failure> {
    let server = run.start()?;
    let mut client = run.connect(&server)?;
    run.injected = Some(1);
    let began = Instant::now();
    if !client.ended(Duration::from_secs(15)) {
        return Err(Failure::Failed("it is still held after 15 s".to_owned()));
    }
    run.figure("let go after", began.elapsed().as_secs_f64(), "s");
    Ok(())
}

fn idle(run: &mut Run<'_>) -> Result<(), Failure> {
    let server = run.start()?;
    let mut clients = Vec::new();
    for _ in 0..500 {
        clients.push(run.open(&server)?);
    }
    run.injected = Some(clients.len() as u64);
    run.no_spin(&server)?;
    run.new_is_served(&server, "a later connection")
}
