//! What no well-behaved client sends, over real sockets.

use crate::clients::serve;
use crate::process::{PATIENCE, TempDir};
use crate::requests::{PROBE, rows};
use crate::stage::{responses, statuses};
use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

fn connect(port: u16) -> TcpStream {
    let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

/// What comes until the server ends its stream.
fn until_end(stream: &mut TcpStream, what: &str) -> Vec<u8> {
    let mut output = Vec::new();
    let result = stream.read_to_end(&mut output);
    assert!(result.is_ok(), "{what}: {result:?} after {}", output.escape_ascii());
    output
}

pub(crate) fn every_request_of_the_table_is_answered_as_it_says(backend: &str) {
    let server = serve(backend, None, &[]);
    for row in rows() {
        let mut stream = connect(server.port(0));
        // The client sends on, as one does that pipelines; the server may have ended by then.
        stream.write_all(&[&row.request[..], PROBE].concat()).unwrap();
        let output = until_end(&mut stream, &row.name());
        assert_eq!(statuses(&output), row.statuses_with_probe(), "{}", row.name());
    }
}

/// Nothing resets its time-out, neither bytes nor lines; and nothing is said at the end of it.
pub(crate) fn a_head_that_does_not_end_is_given_up(backend: &str) {
    let server = serve(backend, None, &["--message-timeout", "700ms"]);
    let mut stream = connect(server.port(0));
    stream.write_all(b"GET /plaintext HTTP/1.1\r\nHost: h\r\n").unwrap();
    stream.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    let began = Instant::now();
    loop {
        assert!(began.elapsed() < PATIENCE, "a dripping head is still waited for");
        match stream.read(&mut [0]) {
            Ok(0) => break,
            // The drip may reach a server that has closed.
            Err(error) if error.kind() == ErrorKind::ConnectionReset => break,
            Err(error) if error.kind() == ErrorKind::WouldBlock => (),
            other => panic!("expected the end, got {other:?}"),
        }
        if stream.write_all(b"X: y\r\n").is_err() {
            break;
        }
    }
    assert!(began.elapsed() >= Duration::from_millis(600), "it ended after {:?}", began.elapsed());
    // Others were not disturbed.
    let mut other = connect(server.port(0));
    other.write_all(PROBE).unwrap();
    assert_eq!(statuses(&until_end(&mut other, "another client")), [200]);
}

pub(crate) fn a_drain_lets_an_upload_finish(backend: &str) {
    let server = serve(backend, None, &[]);
    let mut stream = connect(server.port(0));
    let mut idle = connect(server.port(0));
    idle.write_all(b"GET /plaintext HTTP/1.0\r\nConnection: keep-alive\r\n\r\n").unwrap();
    stream.write_all(b"POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 6\r\n\r\nabc").unwrap();
    let mut begun = [0; 12];
    stream.read_exact(&mut begun).unwrap();
    assert_eq!(&begun, b"HTTP/1.1 200");
    let ended = thread::scope(|scope| {
        let ended = scope.spawn(|| server.terminate());
        // Its end says that the drain has begun.
        until_end(&mut idle, "the idle connection");
        stream.write_all(b"def").unwrap();
        let output = [&begun[..], &until_end(&mut stream, "the upload")].concat();
        assert_eq!(responses(&output)[0].body, b"abcdef");
        drop(stream);
        ended.join().unwrap()
    });
    assert_eq!(ended.code, Some(0), "{:?}", ended.stderr);
    let [report] = &ended.stdout[..] else { panic!("{:?}", ended.stdout) };
    assert!(report.ends_with("0 killed, 0 stuck"), "{report}");
}

/// A client that has asked for everything, and then ends its own stream, is served all the same.
pub(crate) fn pipelined_files_all_arrive_after_a_half_close(backend: &str) {
    let dir = TempDir::new();
    let large: Vec<u8> = (0..3_000_000u32).map(|n| (n / 11) as u8).collect();
    fs::write(dir.file("large"), &large).unwrap();
    fs::write(dir.file("small"), "small").unwrap();
    let server = serve(backend, Some(&dir.file("")), &[]);
    let mut stream = connect(server.port(0));
    let ask = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: h\r\n\r\n");
    let requests = ["/large", "/small", "/large", "/large", "/small"].map(ask).concat();
    stream.write_all(requests.as_bytes()).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let output = until_end(&mut stream, "five files");
    let seen = responses(&output);
    let lengths: Vec<usize> = seen.iter().map(|seen| seen.body.len()).collect();
    assert_eq!(lengths, [3_000_000, 5, 3_000_000, 3_000_000, 5]);
    assert!([0, 2, 3].iter().all(|n| seen[*n].body == large));
}
