//! The service without sockets: what it answers, in which order, and what it holds meanwhile.

use crate::process::TempDir;
use crate::requests::{CHUNKED_HEAD, PROBE, Then, rows};
use crate::stage::{DATE, next_response, responses, script, statuses};
use polyserve::CloseKind;
use std::fs::{self, File};
use std::time::Duration;

#[test]
fn every_request_of_the_table_is_answered_as_it_says() {
    let rows = rows();
    assert!(rows.len() > 150, "only {} rows", rows.len());
    for row in rows {
        let mut script = script(None);
        let name = row.name();
        let output = script.recv(&row.request).output();
        assert_eq!(statuses(&output), row.statuses, "{name}");
        for seen in responses(&output) {
            let says_close = seen.field("connection") == Some("close");
            let closes = row.then == Then::Closes;
            // A body that turns out to be too long is no news that could still be told.
            let untold = row.request.starts_with(b"PUT /nothing") && seen.status == 405;
            assert!(says_close == closes || untold || seen.status == 100, "{name}: {}", seen.head);
            assert_eq!(seen.field("allow").is_some(), [204, 405].contains(&seen.status), "{name}");
            if seen.status != 100 {
                assert_eq!(seen.field("date"), Some(DATE), "{name}");
                assert_eq!(seen.field("server"), Some("polyserve"), "{name}");
            }
        }
        assert_eq!(
            script.fin_sent(),
            row.then == Then::Closes,
            "{name}: {:?}",
            script.close_text()
        );
        if row.then == Then::Stays {
            assert_eq!(statuses(&script.recv(PROBE).output()), [200], "{name}: the probe");
        }
    }
}

#[test]
fn what_is_no_request_is_told_from_what_is_refused() {
    let mut malformed = script(None);
    malformed.recv(b"GET / HTTP/1.1\r\n\r\n");
    assert_eq!(malformed.close_kind(), Some(CloseKind::Decode));
    let text = malformed.close_text().unwrap();
    assert!(text.ends_with("400 Bad Request: there is no host"), "{text}");
    let mut refused = script(None);
    refused.recv(b"PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: 99999\r\n\r\n");
    assert_eq!(refused.close_kind(), Some(CloseKind::Closed));
}

#[test]
fn plaintext_is_what_comparisons_expect() {
    let output = script(None).recv(b"GET /plaintext HTTP/1.1\r\nHost: h\r\n\r\n").output();
    let expected = format!(
        "HTTP/1.1 200 OK\r\nServer: polyserve\r\nDate: {DATE}\r\nContent-Type: text/plain\r\n\
         Content-Length: 13\r\n\r\nHello, World!"
    );
    assert_eq!(String::from_utf8(output).unwrap(), expected);
}

#[test]
fn pipelined_requests_of_all_kinds_are_answered_in_order_in_one_write() {
    let dir = TempDir::new();
    fs::write(dir.file("small.txt"), "small").unwrap();
    let mut script = script(Some(&dir.file("")));
    let mut requests = Vec::new();
    for request in [
        "GET /plaintext HTTP/1.1\r\nHost: h\r\n\r\n",
        "POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\nbody",
        "GET /small.txt HTTP/1.1\r\nHost: h\r\n\r\n",
        "POST /echo HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nin\r\n0\r\n\r\n",
        "GET /none HTTP/1.1\r\nHost: h\r\n\r\n",
        "GET /small.txt HTTP/1.1\r\nHost: h\r\nRange: bytes=1-2\r\n\r\n",
        "PUT /small.txt HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\nGET ",
    ] {
        requests.extend_from_slice(request.as_bytes());
    }
    let output = script.recv(&requests).output();
    let seen = responses(&output);
    assert_eq!(statuses(&output), [200, 200, 200, 200, 404, 206, 405]);
    let bodies: Vec<&[u8]> = seen.iter().map(|seen| &seen.body[..]).collect();
    assert_eq!(bodies[..4], [&b"Hello, World!"[..], b"body", b"small", b"in"]);
    assert_eq!(bodies[5], b"ma");
    assert_eq!(script.sends(), 1);
    assert_eq!(script.close_kind(), None);
}

#[test]
fn head_is_get_without_the_body() {
    let dir = TempDir::new();
    fs::write(dir.file("small.txt"), "small").unwrap();
    File::create(dir.file("large")).unwrap().set_len(1 << 20).unwrap();
    for path in ["/plaintext", "/small.txt", "/large", "/none", "/"] {
        let ask = |method: &str| {
            let request = format!("{method} {path} HTTP/1.1\r\nHost: h\r\n\r\n");
            script(Some(&dir.file(""))).recv(request).output()
        };
        let (get, head) = (ask("GET"), ask("HEAD"));
        let get = next_response(&mut &get[..], false).unwrap();
        assert_eq!(String::from_utf8(head).unwrap(), get.head, "{path}");
        assert_eq!(get.field("content-length"), Some(&*get.body.len().to_string()), "{path}");
    }
}

#[test]
fn a_body_comes_back_as_it_comes() {
    let mut script = script(None);
    script.recv(b"POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 6\r\n\r\n");
    assert_eq!(script.output(), b"", "the response begins with the body");
    let output = script.recv(b"ab").output();
    assert!(output.ends_with(b"Content-Length: 6\r\n\r\nab"), "{}", output.escape_ascii());
    assert!(script.holds_nothing(), "between two pieces nothing is held");
    assert_eq!(script.recv(b"cd").output(), b"cd");
    assert_eq!(script.recv([b"ef", PROBE].concat()).output()[..2], *b"ef");
    assert_eq!(script.close_kind(), Some(CloseKind::Closed));
}

#[test]
fn a_chunked_body_comes_back_in_chunks() {
    let mut script = script(None);
    let output = script.recv([CHUNKED_HEAD, b"5\r\nab"].concat()).output();
    assert!(output.ends_with(b"Transfer-Encoding: chunked\r\n\r\n2\r\nab\r\n"));
    assert_eq!(script.recv(b"c").output(), b"1\r\nc\r\n");
    assert_eq!(script.recv(b"de\r").output(), b"2\r\nde\r\n");
    assert_eq!(script.recv(b"\n1").output(), b"");
    let long = [&b"2\r\n"[..], &[b'x'; 18], b"\r\n0\r\nA: b\r\n\r\n"].concat();
    let expected = [&b"12\r\n"[..], &[b'x'; 18], b"\r\n0\r\n\r\n"].concat();
    assert_eq!(script.recv(long).output(), expected);
    assert!(script.holds_nothing());
}

#[test]
fn a_client_that_waits_is_told_to_continue() {
    let mut script = script(None);
    let head =
        b"POST /echo HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n";
    assert_eq!(script.recv(head).output(), b"HTTP/1.1 100 Continue\r\n\r\n");
    assert_eq!(statuses(&script.recv(b"ab").output()), [200]);
    assert_eq!(script.close_kind(), None);
}

/// A response that has begun can not be taken back. That its end is missing tells the client.
#[test]
fn an_error_in_a_body_that_is_on_its_way_back_breaks_the_response_off() {
    for rest in ["x\r\n", "1\r\nab", "1\r\na\r\n0\r\nA : b\r\n\r\n", "1\r\na\r\n\r\n"] {
        let mut script = script(None);
        let output = script.recv([CHUNKED_HEAD, b"2\r\nxy\r\n", rest.as_bytes()].concat()).output();
        assert_eq!(next_response(&mut &output[..], false).map(|seen| seen.status), None, "{rest}");
        assert!(output.starts_with(b"HTTP/1.1 200 OK\r\n"), "{rest}");
        assert_eq!(output.windows(5).filter(|window| window == b"HTTP/").count(), 1, "{rest}");
        assert_eq!(script.close_kind(), Some(CloseKind::Decode), "{rest}");
    }
}

/// What is ignored must not be the greater part of what is sent.
#[test]
fn the_extensions_of_chunks_are_bounded_in_all() {
    let chunk = format!("1;{}\r\nx\r\n", "e".repeat(199));
    let mut script = script(None);
    script.recv(CHUNKED_HEAD);
    for n in 1..=41 {
        assert_eq!(script.close_kind(), None, "after {} extensions of 200 bytes", n - 1);
        script.recv(&chunk);
    }
    assert_eq!(script.close_kind(), Some(CloseKind::Decode));
}

#[test]
fn a_stream_that_ends_within_a_request_is_truncated() {
    let cases: [(&[u8], &[u16]); 5] = [
        (b"GET /plaintext HTTP/1.1\r\nHost: h\r\n", &[400]),
        (b"POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\n", &[400]),
        (b"PUT /x HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nx", &[405]),
        (b"GET /plaintext HTTP/1.1\r\nHost: h\r\n\r\nG", &[200, 400]),
        (
            b"POST /echo HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nA: b\r\n",
            &[400],
        ),
    ];
    for (bytes, expected) in cases {
        let mut script = script(None);
        assert_eq!(statuses(&script.recv(bytes).eof().output()), expected);
        assert_eq!(script.close_kind(), Some(CloseKind::Truncated));
    }
    // Between two requests it is a clean end, and empty lines are nothing.
    for rest in ["", "\r\n", "\r"] {
        let mut script = script(None);
        script.recv("GET /plaintext HTTP/1.1\r\nHost: h\r\n\r\n").recv(rest);
        assert_eq!(statuses(&script.eof().output()), [200]);
        assert_eq!(script.close_kind(), Some(CloseKind::PeerClosed), "{rest:?}");
    }
}

#[test]
fn a_head_that_drips_in_runs_into_the_message_timeout() {
    let mut script = script(None);
    script.recv(b"GET /plaintext HTTP/1.1\r\n");
    for _ in 0..29 {
        script.advance(Duration::from_secs(1)).recv(b"X: y\r\n");
        assert_eq!(script.close_kind(), None);
    }
    script.advance(Duration::from_secs(2));
    assert_eq!(script.close_kind(), Some(CloseKind::MessageTimeout));
    assert_eq!(script.output(), b"");
}

#[test]
fn a_client_that_stops_within_a_body_runs_into_the_idle_timeout() {
    let mut script = script(None);
    script.recv(b"POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\nab");
    script.advance(Duration::from_secs(59)).recv(b"c").advance(Duration::from_secs(59));
    assert_eq!(script.close_kind(), None);
    script.advance(Duration::from_secs(2));
    assert_eq!(script.close_kind(), Some(CloseKind::IdleTimeout));
}

/// What a connection may hold of a reply: the output's high mark, one part, and a head.
const ENOUGH: usize = (256 + 64 + 1) * 1024;

#[test]
fn a_file_for_a_client_that_does_not_read_costs_little_memory() {
    let dir = TempDir::new();
    const LENGTH: usize = 64 << 20;
    File::create(dir.file("large")).unwrap().set_len(LENGTH as u64).unwrap();
    let mut script = script(Some(&dir.file("")));
    let get = b"GET /large HTTP/1.1\r\nHost: h\r\n\r\n";
    script.block_output().recv([&get[..], get].concat());
    let mut n = 0;
    while n < LENGTH {
        let held = script.held();
        assert!(held.output > 0 && held.output <= ENOUGH && held.input <= get.len(), "{held:?}");
        n += script.accept_output(1 << 20).output().len();
    }
    script.unblock_output().recv(PROBE);
    assert_eq!(script.close_kind(), Some(CloseKind::Closed));
    n += script.output().len();
    assert!((2 * LENGTH..2 * LENGTH + 1000).contains(&n), "{n} bytes came");
}

#[test]
fn an_upload_from_a_client_that_does_not_read_costs_little_memory() {
    let mut script = script(None);
    script.block_output().recv(CHUNKED_HEAD);
    let chunk = [&b"8000\r\n"[..], &[b'x'; 0x8000], b"\r\n"].concat();
    for _ in 0..640 {
        script.recv(&chunk);
        let held = script.held();
        assert!(held.output <= ENOUGH && held.input <= 64 * 1024, "{held:?}");
    }
    assert!(script.unread() > 19 << 20, "it is not read while it does not read");
    let output = script.unblock_output().recv([b"0\r\n\r\n", PROBE].concat()).output();
    let seen = responses(&output);
    assert_eq!(seen[0].body.len(), 640 * 0x8000);
    assert_eq!(seen[1].body, b"Hello, World!");
}

#[test]
fn a_drain_lets_requests_finish_and_says_so() {
    // Between two requests.
    let mut idle = script(None);
    idle.recv(b"GET /plaintext HTTP/1.1\r\nHost: h\r\n\r\n").drain();
    assert_eq!(idle.close_kind(), Some(CloseKind::Shutdown));
    // Within a head.
    let mut head = script(None);
    head.recv(b"GET /plaintext HTTP/1.1\r\n").drain();
    assert_eq!(head.close_kind(), None);
    let output = head.recv(b"Host: h\r\n\r\n").output();
    assert_eq!(responses(&output)[0].field("connection"), Some("close"));
    assert!(head.is_closed());
    // Within a body, of which nothing is held.
    let mut body = script(None);
    body.recv(b"POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\nab").drain();
    assert_eq!(body.recv(b"c").close_kind(), None);
    let output = body.recv(b"d").output();
    assert!(output.ends_with(b"abcd"), "{}", output.escape_ascii());
    assert!(body.is_closed());
}

#[test]
fn a_file_that_becomes_shorter_ends_the_response_before_its_length() {
    let dir = TempDir::new();
    let file = File::create(dir.file("large")).unwrap();
    file.set_len(1 << 20).unwrap();
    let mut script = script(Some(&dir.file("")));
    script.block_output().recv(b"GET /large HTTP/1.1\r\nHost: h\r\n\r\n");
    file.set_len(1 << 19).unwrap();
    let output = script.unblock_output().output();
    assert!((1 << 19..1 << 20).contains(&output.len()), "{} bytes", output.len());
    assert_eq!(script.close_kind(), Some(CloseKind::Handler));
}
