//! Rows R1 and E2: connections that nothing happens on cost no time, however they came to that.

use crate::client::{connect, echo, open, probe, reset};
use crate::launch::{Launch, Server};
use crate::results::{figure, injected};
use crate::table::{E, EP, EVERY, Needs, P, T, Table};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};

pub(crate) fn rows(table: &mut Table) {
    table.row("R1/half-closed", EVERY, Needs::Nothing, half_closed);
    table.row("E2/paused-and-reset", EVERY, Needs::Nothing, paused_and_reset);
    table.row("E2/paused-and-ended", EVERY, Needs::Nothing, paused_and_ended);
    table.timed("E2/idle-thousands", &[T, P, E, EP], Needs::Nothing, idle_thousands);
}

const FEW: usize = 20;

/// Connections that have been told this, and have answered.
fn told(server: &Server, command: &[u8]) -> Vec<(TcpStream, u64)> {
    let told = (0..FEW).map(|_| {
        let (mut stream, id, _) = open(server);
        stream.write_all(command).unwrap();
        let mut answer = [0; 3];
        stream.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"ok\n");
        (stream, id)
    });
    told.collect()
}

/// The client has ended its stream, and still reads: the socket is readable for ever.
fn half_closed(backend: &str) {
    let server = Launch::new(backend).option("--half-closed", 2_000).start();
    let (mut existing, ..) = open(&server);
    let streams = told(&server, b"HALF\n");
    for (stream, _) in &streams {
        stream.shutdown(Shutdown::Write).unwrap();
    }
    injected(streams.len());
    server.assert_no_spin();
    probe(&server, &mut existing);
    // The server ends them in time, as it would a client that never ends its reading.
    for (mut stream, id) in streams {
        assert_eq!(server.reason(id), "half_closed_timeout");
        assert_eq!(stream.read(&mut [0]).unwrap(), 0);
    }
    drop(existing);
    server.finish();
}

/// A reset of a connection that is not read is found within some seconds; until then, a poller that
/// still watched it would tell of it all the time.
fn paused_and_reset(backend: &str) {
    let server = Launch::new(backend).start();
    let (mut existing, ..) = open(&server);
    let ids: Vec<u64> = told(&server, b"PAUSE\n")
        .into_iter()
        .map(|(stream, id)| {
            reset(stream);
            id
        })
        .collect();
    injected(ids.len());
    server.assert_no_spin();
    probe(&server, &mut existing);
    for id in ids {
        assert_eq!(server.reason(id), "reset");
    }
    drop(existing);
    server.finish();
}

/// The end of a connection that is not read is not seen, and costs nothing.
fn paused_and_ended(backend: &str) {
    let server = Launch::new(backend).start();
    let (mut existing, ..) = open(&server);
    let mut streams = told(&server, b"PAUSE\n");
    for (stream, _) in &mut streams {
        stream.write_all(b"never read").unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
    }
    injected(streams.len());
    server.assert_no_spin();
    probe(&server, &mut existing);
    server.wait_for("closed", 2);
    assert_eq!(server.events("closed").len(), 2, "only those of the probe have ended");
    drop((streams, existing));
    server.finish();
}

/// As many as there may be descriptors, up to 9,000; threads up to 2,000, above which a server
/// warns.
fn idle_thousands(backend: &str) {
    let descriptors = getrlimit(Resource::Nofile).maximum.unwrap_or(1 << 20);
    let ours = Rlimit { current: Some(descriptors), maximum: Some(descriptors) };
    setrlimit(Resource::Nofile, ours).unwrap();
    let most = if backend == T { 2_000 } else { 9_000 };
    let count = most.min(usize::try_from(descriptors).unwrap() - 1_000);
    // They say nothing for longer than the default would wait.
    let launch = Launch::new(backend).arg("--nofile-max").option("--first-byte", 120_000);
    let server = launch.option("--max-connections", count + 10).start();
    let (mut existing, ..) = open(&server);
    let before = server.memory();
    let streams: Vec<TcpStream> = (0..count).map(|_| connect(server.addr)).collect();
    server.wait_for("opened", count + 1);
    injected(count);
    figure("connections", count as f64, "");
    figure("memory of each", (server.memory() - before) as f64 / count as f64, "B");
    server.assert_no_spin();
    probe(&server, &mut existing);
    streams.iter().step_by(100).for_each(|mut stream| echo(&mut stream, "still here"));
    // No thousands of ports in TIME_WAIT.
    streams.into_iter().for_each(reset);
    server.wait_for("closed", count + 2);
    drop(existing);
    server.finish();
}
