//! Requests, good and bad, and what they are answered with: as data, for the tests that play them and
//! the tests that send them.

use Then::{Closes, Stays};

pub(crate) struct Row {
    pub(crate) request: Vec<u8>,
    /// One for each response.
    pub(crate) statuses: &'static [u16],
    pub(crate) then: Then,
}

/// What becomes of the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Then {
    /// The next request is answered.
    Stays,
    /// The server ends its stream.
    Closes,
}

/// The requests that are short.
const SHORT: &[(&str, &[u16], Then)] = &[
    // Good ones.
    ("GET /plaintext HTTP/1.1\r\nHost: h\r\n\r\n", &[200], Stays),
    ("GET /plaintext HTTP/1.1\r\nhOsT: h\r\n\r\n", &[200], Stays),
    ("GET /plaintext HTTP/1.1\r\nHost:\r\n\r\n", &[200], Stays),
    ("GET /plaintext HTTP/1.1\r\nHost: \t h:80 \t \r\n\r\n", &[200], Stays),
    ("GET /plaintext HTTP/1.1\r\nHost: [::1]:8080\r\n\r\n", &[200], Stays),
    ("GET /plaintext?a=b/../c HTTP/1.1\r\nHost: h\r\n\r\n", &[200], Stays),
    ("GET /%70laintext HTTP/1.1\r\nHost: h\r\n\r\n", &[200], Stays),
    ("GET http://other/plaintext HTTP/1.1\r\nHost: h\r\n\r\n", &[200], Stays),
    ("GET HTTP://h:80/plaintext HTTP/1.1\r\nHost: h\r\n\r\n", &[200], Stays),
    ("GET http://h HTTP/1.1\r\nHost: h\r\n\r\n", &[404], Stays),
    ("GET http://h?query HTTP/1.1\r\nHost: h\r\n\r\n", &[404], Stays),
    ("OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n", &[204], Stays),
    ("OPTIONS /echo HTTP/1.1\r\nHost: h\r\n\r\n", &[204], Stays),
    ("\r\n\r\nGET /plaintext HTTP/1.1\r\nHost: h\r\n\r\n", &[200], Stays),
    ("GET /plaintext HTTP/1.1\r\nHost: h\r\nX: \x7e\u{e9}\t\r\n\r\n", &[200], Stays),
    ("POST /echo HTTP/1.1\r\nHost: h\r\n\r\n", &[200], Stays),
    ("POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n", &[200], Stays),
    ("POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc", &[200], Stays),
    ("POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 3, 3\r\n\r\nabc", &[200], Stays),
    (
        "POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nContent-Length: 03\r\n\r\nabc",
        &[200],
        Stays,
    ),
    ("POST /echo HTTP/1.0\r\nContent-Length: 3\r\n\r\nabc", &[200], Closes),
    (
        "POST /echo HTTP/1.1\r\nHost: h\r\nConnection: close\r\nContent-Length: 3\r\n\r\nabc",
        &[200],
        Closes,
    ),
    (
        "POST /echo HTTP/1.1\r\nHost: h\r\nExpect: 100-Continue\r\nContent-Length: 3\r\n\r\nabc",
        &[100, 200],
        Stays,
    ),
    // HTTP/1.0 has no interim responses.
    ("POST /echo HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\nabc", &[200], Closes),
    // Which connections are kept: RFC 9112, 9.3.
    ("GET /plaintext HTTP/1.0\r\n\r\n", &[200], Closes),
    ("GET /plaintext HTTP/1.0\r\nHost: h\r\n\r\n", &[200], Closes),
    ("GET /plaintext HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", &[200], Stays),
    ("GET /plaintext HTTP/1.0\r\nConnection: x, Keep-Alive\r\n\r\n", &[200], Stays),
    ("GET /plaintext HTTP/1.0\r\nConnection: keep-alive, close\r\n\r\n", &[200], Closes),
    ("GET /plaintext HTTP/1.1\r\nHost: h\r\nConnection: Close\r\n\r\n", &[200], Closes),
    ("GET /plaintext HTTP/1.1\r\nHost: h\r\nConnection: x ,close\r\n\r\n", &[200], Closes),
    (
        "GET /plaintext HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\nGET / HTTP/1.1\r\n\r\n",
        &[200],
        Closes,
    ),
    // Requests that are understood, and for which there is no other answer.
    ("GET /nothing HTTP/1.1\r\nHost: h\r\n\r\n", &[404], Stays),
    ("GET //plaintext HTTP/1.1\r\nHost: h\r\n\r\n", &[404], Stays),
    ("GET /plaintext/ HTTP/1.1\r\nHost: h\r\n\r\n", &[404], Stays),
    ("GET /echo HTTP/1.1\r\nHost: h\r\n\r\n", &[405], Stays),
    ("POST /plaintext HTTP/1.1\r\nHost: h\r\n\r\n", &[405], Stays),
    ("DELETE /nothing HTTP/1.1\r\nHost: h\r\n\r\n", &[405], Stays),
    ("TRACE /plaintext HTTP/1.1\r\nHost: h\r\n\r\n", &[405], Stays),
    ("get /plaintext HTTP/1.1\r\nHost: h\r\n\r\n", &[501], Stays),
    ("BREW /plaintext HTTP/1.1\r\nHost: h\r\n\r\n", &[501], Stays),
    ("CONNECT h:80 HTTP/1.1\r\nHost: h:80\r\n\r\n", &[501], Stays),
    ("GET * HTTP/1.1\r\nHost: h\r\n\r\n", &[400], Stays),
    ("GET plaintext HTTP/1.1\r\nHost: h\r\n\r\n", &[400], Stays),
    ("GET ftp://h/plaintext HTTP/1.1\r\nHost: h\r\n\r\n", &[400], Stays),
    ("GET http:///plaintext HTTP/1.1\r\nHost: h\r\n\r\n", &[400], Stays),
    ("GET http://user@h/plaintext HTTP/1.1\r\nHost: h\r\n\r\n", &[400], Stays),
    ("GET /../plaintext HTTP/1.1\r\nHost: h\r\n\r\n", &[400], Stays),
    ("GET /%2e%2E/plaintext HTTP/1.1\r\nHost: h\r\n\r\n", &[400], Stays),
    ("GET /a%2fb HTTP/1.1\r\nHost: h\r\n\r\n", &[400], Stays),
    ("GET /a%00b HTTP/1.1\r\nHost: h\r\n\r\n", &[400], Stays),
    ("GET /a%5cb HTTP/1.1\r\nHost: h\r\n\r\n", &[400], Stays),
    ("GET /a%zz HTTP/1.1\r\nHost: h\r\n\r\n", &[400], Stays),
    ("GET /a% HTTP/1.1\r\nHost: h\r\n\r\n", &[400], Stays),
    ("GET /%ff HTTP/1.1\r\nHost: h\r\n\r\n", &[400], Stays),
    ("GET /plaintext HTTP/1.1\r\nHost: h\r\nExpect: 200-ok\r\n\r\n", &[417], Stays),
    // Bodies that nobody wants.
    ("GET /plaintext HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc", &[200], Stays),
    (
        "GET /plaintext HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n\
         3\r\nabc\r\n0\r\n\r\n",
        &[200],
        Stays,
    ),
    ("PUT /nothing HTTP/1.1\r\nHost: h\r\nContent-Length: 65537\r\n\r\nabc", &[413], Closes),
    (
        "PUT /nothing HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n",
        &[405],
        Closes,
    ),
    ("POST /echo HTTP/1.1\r\nHost: h\r\nExpect: x\r\nContent-Length: 3\r\n\r\n", &[417], Closes),
    // The request line: RFC 9112, 3.
    ("GET /plaintext\r\nHost: h\r\n\r\n", &[400], Closes),
    ("GET  /plaintext HTTP/1.1\r\nHost: h\r\n\r\n", &[400], Closes),
    ("GET /plaintext  HTTP/1.1\r\nHost: h\r\n\r\n", &[400], Closes),
    ("GET /plaintext HTTP/1.1 \r\nHost: h\r\n\r\n", &[400], Closes),
    (" GET /plaintext HTTP/1.1\r\nHost: h\r\n\r\n", &[400], Closes),
    ("GET\t/plaintext HTTP/1.1\r\nHost: h\r\n\r\n", &[400], Closes),
    ("G(T /plaintext HTTP/1.1\r\nHost: h\r\n\r\n", &[400], Closes),
    ("GET /pl\u{e4}intext HTTP/1.1\r\nHost: h\r\n\r\n", &[400], Closes),
    ("GET /plaintext#top HTTP/1.1\r\nHost: h\r\n\r\n", &[400], Closes),
    ("GET /plain\0text HTTP/1.1\r\nHost: h\r\n\r\n", &[400], Closes),
    ("GET /plaintext HTTP/1.1\rHost: h\r\n\r\n", &[400], Closes),
    ("GET /plaintext HTTP/1.1\nHost: h\r\n\r\n", &[400], Closes),
    ("\nGET /plaintext HTTP/1.1\r\nHost: h\r\n\r\n", &[400], Closes),
    // Versions: RFC 9112, 2.3.
    ("GET /plaintext HTTP/2.0\r\nHost: h\r\n\r\n", &[505], Closes),
    ("GET /plaintext HTTP/1.2\r\nHost: h\r\n\r\n", &[505], Closes),
    ("GET /plaintext HTTP/0.9\r\n\r\n", &[505], Closes),
    ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", &[505], Closes),
    ("GET /plaintext http/1.1\r\nHost: h\r\n\r\n", &[400], Closes),
    ("GET /plaintext HTTP/1.10\r\nHost: h\r\n\r\n", &[400], Closes),
    ("GET /plaintext HTTP/1,1\r\nHost: h\r\n\r\n", &[400], Closes),
    ("GET /plaintext HTTX/1.1\r\nHost: h\r\n\r\n", &[400], Closes),
    // Hosts: RFC 9112, 3.2.
    ("GET /plaintext HTTP/1.1\r\n\r\n", &[400], Closes),
    ("GET http://h/plaintext HTTP/1.1\r\n\r\n", &[400], Closes),
    ("GET /plaintext HTTP/1.1\r\nHost: h\r\nHost: h\r\n\r\n", &[400], Closes),
    ("GET /plaintext HTTP/1.0\r\nHost: h\r\nHost: i\r\n\r\n", &[400], Closes),
    ("GET /plaintext HTTP/1.1\r\nHost: h, i\r\n\r\n", &[400], Closes),
    ("GET /plaintext HTTP/1.1\r\nHost: h/path\r\n\r\n", &[400], Closes),
    ("GET /plaintext HTTP/1.1\r\nHost: user@h\r\n\r\n", &[400], Closes),
    ("GET /plaintext HTTP/1.1\r\nHost: h:port\r\n\r\n", &[400], Closes),
    ("GET /plaintext HTTP/1.1\r\nHost: [::1\r\n\r\n", &[400], Closes),
    // Fields: RFC 9112, 5 and 2.2.
    ("GET /plaintext HTTP/1.1\r\nHost : h\r\n\r\n", &[400], Closes),
    ("GET /plaintext HTTP/1.1\r\nHost\t: h\r\n\r\n", &[400], Closes),
    ("GET /plaintext HTTP/1.1\r\nHost: h\r\nX: a\r\n b\r\n\r\n", &[400], Closes),
    ("GET /plaintext HTTP/1.1\r\nHost: h\r\nX: a\r\n\tb\r\n\r\n", &[400], Closes),
    ("GET /plaintext HTTP/1.1\r\n Host: h\r\n\r\n", &[400], Closes),
    ("GET /plaintext HTTP/1.1\r\nHost: h\r\nX\r\n\r\n", &[400], Closes),
    ("GET /plaintext HTTP/1.1\r\nHost: h\r\n: x\r\n\r\n", &[400], Closes),
    ("GET /plaintext HTTP/1.1\r\nHost: h\r\nX(: x\r\n\r\n", &[400], Closes),
    ("GET /plaintext HTTP/1.1\r\nHost: h\r\nX: a\0b\r\n\r\n", &[400], Closes),
    ("GET /plaintext HTTP/1.1\r\nHost: h\r\nX: a\rb\r\n\r\n", &[400], Closes),
    ("GET /plaintext HTTP/1.1\r\nHost: h\r\nX: a\x0bb\r\n\r\n", &[400], Closes),
    ("GET /plaintext HTTP/1.1\r\nHost: h\nX: a\r\n\r\n", &[400], Closes),
    ("GET /plaintext HTTP/1.1\r\nHost: h\r\n\n", &[400], Closes),
    ("GET /plaintext HTTP/1.1\r\nHost: h\r\n\rX\r\n\r\n", &[400], Closes),
    // Lengths: RFC 9112, 6.2 and 6.3.
    ("POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length:\r\n\r\n", &[400], Closes),
    ("POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: +3\r\n\r\nabc", &[400], Closes),
    ("POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: -3\r\n\r\nabc", &[400], Closes),
    ("POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 0x3\r\n\r\nabc", &[400], Closes),
    ("POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 3 3\r\n\r\nabc", &[400], Closes),
    ("POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 3,\r\n\r\nabc", &[400], Closes),
    ("POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 3, 4\r\n\r\nabcd", &[400], Closes),
    (
        "POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
        &[400],
        Closes,
    ),
    (
        "POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 18446744073709551616\r\n\r\n",
        &[413],
        Closes,
    ),
    // Transfer codings: RFC 9112, 6.1 and 6.3.
    (
        "POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n\
         0\r\n\r\n",
        &[400],
        Closes,
    ),
    (
        "POST /echo HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n\
         0\r\n\r\n",
        &[400],
        Closes,
    ),
    ("POST /echo HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", &[400], Closes),
    ("POST /echo HTTP/1.1\r\nHost: h\r\nTransfer-Encoding:\r\n\r\n", &[400], Closes),
    ("POST /echo HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: gzip\r\n\r\n", &[400], Closes),
    ("POST /echo HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: identity\r\n\r\n", &[400], Closes),
    ("POST /echo HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: xchunked\r\n\r\n", &[400], Closes),
    ("POST /echo HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked, gzip\r\n\r\n", &[400], Closes),
    ("POST /echo HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked;q=1\r\n\r\n", &[400], Closes),
    ("POST /echo HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked,\r\n\r\n", &[400], Closes),
    (
        "POST /echo HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked, chunked\r\n\r\n",
        &[400],
        Closes,
    ),
    (
        "POST /echo HTTP/1.1\r\nHost: h\r\n\
         Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
        &[400],
        Closes,
    ),
    (
        "POST /echo HTTP/1.1\r\nHost: h\r\n\
         Transfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n\r\n",
        &[400],
        Closes,
    ),
    ("POST /echo HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", &[501], Closes),
];

/// What stands behind the head of a chunked request to be echoed: RFC 9112, 7.1. The response begins
/// with the first byte of the body itself, so an error behind it breaks the response off: then there
/// is no status to be seen.
const CHUNKED: &[(&str, &[u16], Then)] = &[
    ("0\r\n\r\n", &[200], Stays),
    ("3\r\nabc\r\n0\r\n\r\n", &[200], Stays),
    ("0003\r\nabc\r\n000\r\n\r\n", &[200], Stays),
    ("A\r\n0123456789\r\n2\r\n\r\n\r\n0\r\n\r\n", &[200], Stays),
    ("3;a;b=c;d=\"e f\"\r\nabc\r\n0;x\r\n\r\n", &[200], Stays),
    ("3 ; a = b\r\nabc\r\n0\r\n\r\n", &[200], Stays),
    ("3\r\nabc\r\n0\r\nTrailer: x\r\nOther: y\r\n\r\n", &[200], Stays),
    ("\r\n0\r\n\r\n", &[400], Closes),
    ("x\r\nabc\r\n0\r\n\r\n", &[400], Closes),
    ("-3\r\nabc\r\n0\r\n\r\n", &[400], Closes),
    ("+3\r\nabc\r\n0\r\n\r\n", &[400], Closes),
    ("0x3\r\nabc\r\n0\r\n\r\n", &[400], Closes),
    (" 3\r\nabc\r\n0\r\n\r\n", &[400], Closes),
    ("3 \r\nabc\r\n0\r\n\r\n", &[400], Closes),
    ("3 4\r\nabc\r\n0\r\n\r\n", &[400], Closes),
    ("3;a\rb\r\nabc\r\n0\r\n\r\n", &[400], Closes),
    ("3;\0\r\nabc\r\n0\r\n\r\n", &[400], Closes),
    ("3\nabc\r\n0\r\n\r\n", &[400], Closes),
    ("10000000000000000\r\nabc\r\n0\r\n\r\n", &[400], Closes),
    ("ffffffffffffffffffff\r\nabc\r\n0\r\n\r\n", &[400], Closes),
    ("0\r\nTrailer : x\r\n\r\n", &[400], Closes),
    ("0\r\nTrailer: x\n\r\n", &[400], Closes),
    ("0\r\n\n", &[400], Closes),
    ("0\r\nTrailer: x\r\n y\r\n\r\n", &[400], Closes),
];

/// What is too long to be written down.
fn long() -> Vec<Row> {
    let get = |line: &str, fields: &str| format!("GET {line} HTTP/1.1\r\nHost: h\r\n{fields}\r\n");
    let path = |length: usize| format!("/{}", "x".repeat(length - 1));
    let field = |length: usize| format!("X: {}\r\n", "y".repeat(length - 5));
    let fields = |n: usize| "X: y\r\n".repeat(n);
    let chunked = |body: String| {
        format!("POST /echo HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n{body}")
    };
    // All of the line but its end and the path.
    let line = 8 * 1024 - "GET  HTTP/1.1".len();
    let head = 16 * 1024 - get("/", "").len();
    let row = |request: String, statuses, then| Row { request: request.into(), statuses, then };
    vec![
        row(get(&path(line), ""), &[404], Stays),
        row(get(&path(line + 1), ""), &[414], Closes),
        row(format!("GET {}", path(20_000)), &[414], Closes),
        row("G".repeat(9_000), &[501], Closes),
        row(get("/", &field(head)), &[404], Stays),
        row(get("/", &field(head + 1)), &[431], Closes),
        row(get("/", &field(1 << 19)), &[431], Closes),
        row(get("/", &fields(99)), &[404], Stays),
        row(get("/", &fields(100)), &[431], Closes),
        row("\r\n".repeat(100) + &get("/", ""), &[404], Stays),
        row("\r\n".repeat(10_000), &[431], Closes),
        row(chunked(format!("0;{}\r\n\r\n", "x".repeat(250))), &[200], Stays),
        row(chunked(format!("0;{}\r\n\r\n", "x".repeat(254))), &[400], Closes),
        row(chunked(format!("{}0\r\n\r\n", "0".repeat(300))), &[400], Closes),
        row(chunked(format!("0\r\n{}\r\n", fields(100))), &[200], Stays),
        row(chunked(format!("0\r\n{}\r\n", fields(101))), &[431], Closes),
        row(chunked(format!("0\r\n{}\r\n", field(16 * 1024))), &[431], Closes),
        // Sent by a client that knows nothing of limits.
        row(
            format!(
                "PUT /nothing HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n{}",
                format!("4000\r\n{}\r\n", "z".repeat(0x4000)).repeat(5)
            ),
            &[405],
            Closes,
        ),
    ]
}

impl Row {
    /// What the row's request, and [`PROBE`] behind it, are answered with.
    pub(crate) fn statuses_with_probe(&self) -> Vec<u16> {
        let served: &[u16] = if self.then == Stays { &[200] } else { &[] };
        [self.statuses, served].concat()
    }

    /// The beginning, for messages.
    pub(crate) fn name(&self) -> String {
        self.request[..self.request.len().min(150)].escape_ascii().to_string()
    }
}

/// What is sent behind a row's request: it is served if the connection stayed, and ends it.
pub(crate) const PROBE: &[u8] =
    b"GET /plaintext HTTP/1.1\r\nHost: probe\r\nConnection: close\r\n\r\n";

/// All rows.
pub(crate) fn rows() -> Vec<Row> {
    let short = SHORT.iter().map(|(request, statuses, then)| Row {
        request: request.as_bytes().to_vec(),
        statuses,
        then: *then,
    });
    let chunked = CHUNKED.iter().map(|(body, statuses, then)| Row {
        request: [CHUNKED_HEAD, body.as_bytes()].concat(),
        statuses,
        then: *then,
    });
    short.chain(chunked).chain(long()).collect()
}

pub(crate) const CHUNKED_HEAD: &[u8] =
    b"POST /echo HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n";
