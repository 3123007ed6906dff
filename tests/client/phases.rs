//! Each phase of a call ends by its own time-out, and the error says which.

#[cfg(target_os = "linux")]
use crate::black_hole;
use crate::{LONG, SHORT, assert_took, lookups, serve};
use polyserve::Client;
use polyserve::client::{ClientBuilder, ConnectError, Phase};
use polyserve::codec::Lines;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

/// Nothing passes but what a test sets.
fn patient() -> ClientBuilder<Lines> {
    Client::builder()
        .codec(Lines::new().max_len(64 << 20))
        .resolve_timeout(LONG)
        .connect_timeout(LONG)
        .write_timeout(LONG)
        .first_byte_timeout(LONG)
        .idle_timeout(LONG)
        .read_timeout(LONG)
}

/// Calls a server that does this, and returns the phase in which the client gave up.
fn call(
    client: ClientBuilder<Lines>,
    server: impl FnOnce(TcpStream, Receiver<()>) + Send + 'static,
) -> Phase {
    let (done, is_done) = channel();
    let (addr, server) = serve(move |stream| server(stream, is_done));
    let mut client = client.connect(addr).unwrap();
    let began = Instant::now();
    let error = client.call(&"x".repeat(32 << 20)).unwrap_err();
    assert_took(began, SHORT);
    drop(done);
    server.join().unwrap();
    assert!(error.is_timeout(), "{error}");
    assert!(!error.is_retryable() && error.is_ambiguous(), "something had left");
    let expected = format!("no answer from {addr} within 60ms while {}", error.phase());
    assert!(error.to_string().starts_with(&expected), "{error}");
    error.phase()
}

fn read_request(stream: &mut TcpStream) {
    stream.read_exact(&mut vec![0; (32 << 20) + 1]).unwrap();
}

#[test]
fn a_name_that_is_not_resolved_in_time() {
    let _alone = lookups();
    let (let_go, hold) = channel::<()>();
    let hold = Mutex::new(hold);
    let client = patient().resolve_timeout(SHORT).resolver(move |_: &str, _: u16| {
        let _ = hold.lock().unwrap().recv_timeout(LONG);
        Ok(Vec::new())
    });
    let began = Instant::now();
    let error = client.connect("slow:1").unwrap_err();
    assert_took(began, SHORT);
    assert!(matches!(error, ConnectError::LookupTimedOut { timeout: SHORT, .. }), "{error}");
    assert_eq!(error.phase(), Phase::Resolve);
    assert!(error.is_timeout() && error.is_retryable());
    drop(let_go);
}

#[test]
fn the_budget_of_a_connect_holds_for_its_lookup_too() {
    let _alone = lookups();
    let (let_go, hold) = channel::<()>();
    let hold = Mutex::new(hold);
    let client = patient().connect_timeout(SHORT).resolver(move |_: &str, _: u16| {
        let _ = hold.lock().unwrap().recv_timeout(LONG);
        Ok(Vec::new())
    });
    let error = client.connect("slow:1").unwrap_err();
    assert!(matches!(error, ConnectError::LookupTimedOut { timeout: SHORT, .. }), "{error}");
    drop(let_go);
}

#[test]
#[cfg(target_os = "linux")] // elsewhere a full backlog refuses
fn addresses_that_never_answer_share_one_budget() {
    let _alone = lookups();
    let holes: Vec<_> = (0..3).map(|_| black_hole()).collect();
    let addrs: Vec<_> = holes.iter().map(|(addr, _)| *addr).collect();
    let given = addrs.clone();
    let budget = Duration::from_millis(600);
    let client =
        patient().connect_timeout(budget).resolver(move |_: &str, _: u16| Ok(given.clone()));
    let began = Instant::now();
    let error = client.connect("holes:1").unwrap_err();
    assert_took(began, budget - Duration::from_millis(10));
    assert_eq!(error.phase(), Phase::Connect);
    assert!(error.is_timeout() && error.is_retryable());
    let tried: Vec<_> = error.attempts().iter().filter_map(|a| a.addr().as_tcp()).collect();
    assert_eq!(tried, addrs);
}

#[test]
fn a_request_that_does_not_leave() {
    let phase = call(patient().write_timeout(SHORT), |_stream, is_done| {
        let _ = is_done.recv_timeout(LONG);
    });
    assert_eq!(phase, Phase::Write);
}

#[test]
fn a_reply_that_does_not_begin() {
    let phase = call(patient().first_byte_timeout(SHORT), |mut stream, is_done| {
        read_request(&mut stream);
        let _ = is_done.recv_timeout(LONG);
    });
    assert_eq!(phase, Phase::FirstByte);
}

#[test]
fn a_reply_that_stops() {
    let phase = call(patient().idle_timeout(SHORT), |mut stream, is_done| {
        read_request(&mut stream);
        stream.write_all(b"half a li").unwrap();
        let _ = is_done.recv_timeout(LONG);
    });
    assert_eq!(phase, Phase::Idle);
}

#[test]
fn a_reply_that_drips() {
    let phase = call(patient().read_timeout(SHORT), |mut stream, is_done| {
        read_request(&mut stream);
        let pause = Duration::from_millis(2);
        while is_done.recv_timeout(pause) == Err(std::sync::mpsc::RecvTimeoutError::Timeout) {
            if stream.write_all(b"x").is_err() {
                break;
            }
        }
    });
    assert_eq!(phase, Phase::Read);
}

#[test]
fn no_reply_at_all_is_the_whole_ones_time_out_where_that_is_the_shortest() {
    let phase = call(patient().read_timeout(SHORT), |mut stream, is_done| {
        read_request(&mut stream);
        let _ = is_done.recv_timeout(LONG);
    });
    assert_eq!(phase, Phase::Read);
}

#[test]
fn the_time_of_the_request_does_not_count_for_the_reply() {
    let (addr, server) = serve(|mut stream| {
        // The client waits for room meanwhile, for longer than a reply may take.
        let (_keep, never) = channel::<()>();
        assert!(never.recv_timeout(Duration::from_secs(3)).is_err());
        read_request(&mut stream);
        stream.write_all(b"ok\n").unwrap();
    });
    let client = patient().read_timeout(Duration::from_millis(2500));
    let began = Instant::now();
    let reply = client.connect(addr).unwrap().call(&"x".repeat(32 << 20));
    assert_eq!(reply.unwrap(), "ok");
    assert_took(began, Duration::from_millis(2900));
    server.join().unwrap();
}

#[test]
fn bytes_have_the_same_phases() {
    for (phase, bytes) in [(Phase::FirstByte, &b""[..]), (Phase::Idle, b"x")] {
        let (done, is_done) = channel::<()>();
        let (addr, server) = serve(move |mut stream| {
            stream.write_all(bytes).unwrap();
            let _ = is_done.recv_timeout(LONG);
        });
        let mut client = Client::connect(addr).unwrap();
        client.set_first_byte_timeout(if bytes.is_empty() { SHORT } else { LONG });
        client.set_idle_timeout(SHORT);
        let began = Instant::now();
        let error = client.recv_exact(&mut [0; 2]).unwrap_err();
        assert_took(began, SHORT);
        assert_eq!(error.phase(), phase, "{error}");
        drop(done);
        server.join().unwrap();
    }
}
