//! However the bytes of a request are cut, the bytes of the answer are the same.

use crate::process::TempDir;
use crate::requests::{CHUNKED_HEAD, PROBE, rows};
use crate::stage::{factory, next_response, script};
use polyserve::testing::{assert_split_independent, for_every_split};
use std::fs;

/// Requests up to this length are cut everywhere, longer ones into pieces of some sizes: the number of
/// ways, times the length, is what it costs.
const EVERYWHERE: usize = 300;

#[test]
fn every_request_of_the_table_may_be_cut_anywhere() {
    let (mut n_everywhere, mut n_echoes) = (0, 0);
    for row in rows() {
        let input = [&row.request[..], PROBE].concat();
        let expected = script(None).recv(&input).eof().output();
        let is_echo_in_chunks = row.request.starts_with(CHUNKED_HEAD) && row.statuses == [200];
        if is_echo_in_chunks {
            // The chunks that come back are cut as what came; what is in them is the same.
            n_echoes += 1;
            check_echo(&input, &expected);
        } else if input.len() <= EVERYWHERE {
            n_everywhere += 1;
            assert_split_independent(factory(None), &input, &expected);
        } else {
            for size in [1, 2, 3, 1000, 4096] {
                let pieces: Vec<&[u8]> = input.chunks(size).collect();
                let output = script(None).recv_pieces(&pieces).eof().output();
                assert!(output == expected, "pieces of {size}: {}", row.name());
            }
        }
    }
    assert!(n_everywhere > 100 && n_echoes > 5, "{n_everywhere} and {n_echoes}");
}

fn check_echo(input: &[u8], expected: &[u8]) {
    let read = |output: &[u8]| {
        let mut rest = output;
        let echo = next_response(&mut rest, false).expect("the echo is whole");
        (echo.head, echo.body, rest.to_vec())
    };
    let expected = read(expected);
    for_every_split(input, |pieces| {
        let output = script(None).recv_pieces(pieces).eof().output();
        assert_eq!(read(&output), expected);
    });
}

#[test]
fn conversations_about_files_may_be_cut_anywhere() {
    let dir = TempDir::new();
    fs::write(dir.file("a.html"), "<p>").unwrap();
    fs::write(dir.file("large.bin"), [7; 100_000]).unwrap();
    let root = dir.file("");
    let input = b"GET /a.html HTTP/1.1\r\nHost: h\r\n\r\n\
        HEAD /large.bin HTTP/1.0\r\nConnection: keep-alive\r\n\r\n\
        GET /large.bin HTTP/1.1\r\nHost: h\r\nRange: bytes=20000-99998\r\n\r\n\
        POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\nbody\
        GET /b.html HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n\
        GET /a.html HTTP/1.1\r\nHost: h\r\n\r\n";
    let expected = script(Some(&root)).recv(input).eof().output();
    assert_eq!(expected.windows(9).filter(|window| window == b"HTTP/1.1 ").count(), 5);
    for_every_split(input, |pieces| {
        let output = script(Some(&root)).recv_pieces(pieces).eof().output();
        assert!(output == expected, "{} bytes, expected {}", output.len(), expected.len());
    });
}
