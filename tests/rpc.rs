//! The examples `rpc` and `lines`: what they say to each other, on each backend, and as programs.

#![cfg(unix)]

#[path = "../examples/rpc/client.rs"]
mod client;
#[path = "support/life.rs"]
mod life;
#[path = "support/process.rs"]
mod process;
#[path = "../examples/rpc/protocol.rs"]
mod protocol;
#[path = "../examples/rpc/service.rs"]
mod service;
#[path = "../examples/rpc/workers.rs"]
mod workers;

use client::{RpcClient, RpcError};
use life::{Kind, PATIENCE, Running, on_each_backend, spawn};
use polyserve::CloseKind;
use polyserve::codec::{Encoder, LengthPrefixed};
use polyserve::testing::{Script, assert_split_independent};
use process::{ServerProcess, example, run, run_well};
use protocol::{Answer, Call, ClientCodec, Fault, Method, ServerCodec, Value};
use service::Rpc;
use std::ops::ControlFlow;
use std::thread;
use workers::Workers;

fn serve(kind: Kind) -> (Running, RpcClient) {
    let workers = Workers::start(2, 16);
    let running = spawn(kind, move |_| Rpc::framed(&workers));
    let client = RpcClient::new(running.addr, PATIENCE);
    (running, client)
}

fn call(id: u64, method: Method) -> Vec<u8> {
    ClientCodec::new().encode_to_vec(&Call { id, method }).unwrap()
}

fn answer(id: u64, result: Result<Value, Fault>) -> Vec<u8> {
    ServerCodec::new().encode_to_vec(&Answer { id, result }).unwrap()
}

on_each_backend! {
    every_method_answers
    many_threads_share_a_client
    a_stream_may_be_left_early
}

fn every_method_answers(kind: Kind) {
    let (running, client) = serve(kind);
    assert_eq!(client.add(vec![1, -2, 30]).unwrap(), 29);
    assert_eq!(client.add(vec![]).unwrap(), 0);
    assert_eq!(client.concat(vec!["a".into(), "".into(), "ß".into()]).unwrap(), "aß");
    assert_eq!(client.primes(100_000).unwrap(), 9592);
    assert_eq!(client.primes(0).unwrap(), 0);
    let mut numbers = Vec::new();
    client.numbers(7, 1000, |n| keep(&mut numbers, n)).unwrap();
    assert_eq!(numbers, (7..1007).collect::<Vec<_>>());
    assert_fault(client.add(vec![i64::MAX, 1]), &Fault::Overflow);
    let most = 10_000_000;
    assert_fault(client.primes(most + 1), &Fault::TooMuch { asked: 10_000_001, most: most.into() });
    assert_fault(client.numbers(u64::MAX, 1, |_| ControlFlow::Continue(())), &Fault::Overflow);
    drop(client);
    running.end();
}

fn keep(numbers: &mut Vec<u64>, n: u64) -> ControlFlow<()> {
    numbers.push(n);
    ControlFlow::Continue(())
}

#[track_caller]
fn assert_fault<T: std::fmt::Debug>(result: Result<T, RpcError>, expected: &Fault) {
    match result {
        Err(RpcError::Fault(fault)) => assert_eq!(fault, *expected),
        other => panic!("expected {expected:?}, got {other:?}"),
    }
}

fn many_threads_share_a_client(kind: Kind) {
    let (running, client) = serve(kind);
    thread::scope(|scope| {
        for thread in 0..8 {
            let client = &client;
            scope.spawn(move || {
                for n in 0..50 {
                    assert_eq!(client.add(vec![thread, n]).unwrap(), thread + n);
                    assert_eq!(client.primes(10).unwrap(), 4);
                }
            });
        }
    });
    drop(client);
    running.end();
}

fn a_stream_may_be_left_early(kind: Kind) {
    let (running, client) = serve(kind);
    let mut numbers = Vec::new();
    let stop_at_nine = |n| {
        let _ = keep(&mut numbers, n);
        if n == 9 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    client.numbers(0, u64::MAX, stop_at_nine).unwrap();
    assert_eq!(numbers, (0..10).collect::<Vec<_>>());
    assert_eq!(client.add(vec![1, 2]).unwrap(), 3, "the rest of the stream is nobody's answer");
    drop(client);
    running.end();
}

#[test]
fn calls_may_come_in_any_pieces() {
    let texts = vec!["x".to_owned(), "yz".to_owned()];
    let input = [
        call(1, Method::Add(vec![2, 3])),
        call(9, Method::Numbers { from: 5, count: 2 }),
        call(3, Method::Concat(texts)),
    ];
    let expected = [
        answer(1, Ok(Value::Sum(5))),
        answer(9, Ok(Value::Number(5))),
        answer(9, Ok(Value::Number(6))),
        answer(9, Ok(Value::End)),
        answer(3, Ok(Value::Text("xyz".into()))),
    ];
    let workers = Workers::start(0, 0);
    let factory = move |_: &_| Rpc::framed(&workers);
    assert_split_independent(factory, &input.concat(), &expected.concat());
}

#[test]
fn the_bytes_stay_what_they_are() {
    // Whoever changes them breaks the clients that are out there.
    assert_eq!(call(1, Method::Add(vec![2, -3])), b"\0\0\0\x05\x01\x00\x02\x04\x05");
    assert_eq!(call(200, Method::Concat(vec!["ab".into()])), b"\0\0\0\x07\xc8\x01\x01\x01\x02ab");
    assert_eq!(call(1, Method::Primes(5)), b"\0\0\0\x03\x01\x02\x05");
    assert_eq!(call(1, Method::Numbers { from: 1, count: 2 }), b"\0\0\0\x04\x01\x03\x01\x02");
    assert_eq!(answer(1, Ok(Value::End)), b"\0\0\0\x03\x01\x00\x04");
    assert_eq!(answer(1, Err(Fault::Busy)), b"\0\0\0\x03\x01\x01\x02");
}

#[test]
fn whoever_has_too_much_to_do_says_so() {
    // Without a thread nobody takes a job.
    let workers = Workers::start(0, 0);
    let mut script = Script::new(move |_| Rpc::framed(&workers));
    let both = [call(1, Method::Primes(10)), call(2, Method::Add(vec![]))].concat();
    let expected = [answer(1, Err(Fault::Busy)), answer(2, Ok(Value::Sum(0)))].concat();
    assert_eq!(script.recv(both).output(), expected);
}

#[test]
fn what_is_no_call_closes_the_connection() {
    let framed = |bytes: &[u8]| LengthPrefixed::u32().encode_to_vec(bytes).unwrap();
    let too_long = b"\x00\x10\x00\x01".to_vec();
    let unknown_method = framed(b"\x01\x04");
    // A list that claims more numbers than there are atoms.
    let claims = framed(b"\x01\x00\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01");
    let trailing = framed(b"\x01\x02\x05more");
    for bytes in [too_long, unknown_method, claims, trailing, framed(b"")] {
        let workers = Workers::start(0, 0);
        let mut script = Script::new(move |_| Rpc::framed(&workers));
        script.recv([call(1, Method::Add(vec![1])), bytes].concat());
        assert_eq!(script.output(), answer(1, Ok(Value::Sum(1))));
        assert_eq!(script.close_kind(), Some(CloseKind::Decode), "{:?}", script.close_text());
    }
}

const BATCH: &[u8] =
    b"primes 1000000\nadd 1 2\n\nnumbers 1 3\nadd 9223372036854775807 1\nconcat x y\n";
const BATCH_RESULTS: &str = "78498\n3\n1\n2\n3\nerror: the result is too large\nxy\n";

#[test]
fn the_programs_talk_to_each_other() {
    for backend in ["threads", "pool:2", "event-loop", "event-loop:1"] {
        let server = ServerProcess::example("rpc", backend, &["127.0.0.1:0"], &[]);
        let addr = &server.addrs[0];
        let call = |args: &[&str]| {
            let args = [&["call", "--connect", addr], args].concat();
            String::from_utf8(run_well(example("rpc"), &args, b"")).unwrap()
        };
        assert_eq!(call(&["add", "1", "-2", "30"]), "29\n", "{backend}");
        assert_eq!(call(&["--timeout", "20s", "concat", "a", "b c"]), "ab c\n", "{backend}");
        assert_eq!(call(&["primes", "100"]), "25\n", "{backend}");
        assert_eq!(call(&["numbers", "8", "3"]), "8\n9\n10\n", "{backend}");
        let batch = run_well(example("rpc"), &["batch", "--connect", addr], BATCH);
        assert_eq!(String::from_utf8(batch).unwrap(), BATCH_RESULTS, "{backend}");
        assert_eq!(server.terminate().code, Some(0), "{backend}");
    }
}

#[test]
fn mistakes_are_one_line_and_a_code() {
    let server = ServerProcess::example("rpc", "event-loop", &["127.0.0.1:0"], &[]);
    let addr = &server.addrs[0];
    let check = |args: &[&str], input: &[u8], code, expected: &str| {
        let output = run(example("rpc"), args, input);
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(code), "{args:?}: {stderr}");
        assert!(stderr.contains(expected) && stderr.lines().count() == 1, "{args:?}: {stderr}");
    };
    check(&["call", "--connect", addr, "add", "x"], b"", 2, "\"x\": invalid digit");
    check(&["call", "--connect", addr, "guess"], b"", 2, "there is no method \"guess\"");
    check(&["call", "--connect", addr], b"", 2, "no method is named");
    check(&["call", "--colour"], b"", 2, "--colour");
    check(&["batch", "--connect", addr], b"add 1\nprimes\n", 2, "line 2 of the standard input");
    check(&["call", "--connect", addr, "primes", "10000001"], b"", 1, "10000001 is more than");
    check(&["call", "--connect", "127.0.0.1:1", "--timeout", "1s", "add"], b"", 1, "127.0.0.1:1");
}

#[test]
fn lines_come_back_in_capital_letters() {
    for backend in ["threads", "pool:2", "event-loop", "event-loop:1"] {
        let server = ServerProcess::example("lines", backend, &["127.0.0.1:0"], &[]);
        let input = "hello\r\nGrüße\n\nlast\n".as_bytes();
        let output = run_well(example("client"), &[&server.addrs[0]], input);
        assert_eq!(String::from_utf8(output).unwrap(), "HELLO\nGRÜSSE\n\nLAST\n", "{backend}");
        // A line without an end is none, and the server says so to its operator.
        let output = run_well(example("client"), &[&server.addrs[0]], b"whole\ntorn");
        assert_eq!(output, b"WHOLE\n", "{backend}");
        let ended = server.terminate();
        assert_eq!(ended.code, Some(0), "{backend}");
        let told = ended.stderr.iter().any(|line| line.contains("the stream ended within a frame"));
        assert!(told, "{backend}: {:?}", ended.stderr);
    }
}
