//! What a request costs of the allocator, on any backend.

use crate::counting::Counter;
use crate::web::{Clock, Http, Web};
use polyserve::{
    Backend, EventLoop, Framed, Server, ServerHandle, ThreadPerConnection, ThreadPool,
};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// Sends the request `n` times in one write, and takes the responses.
struct Asking {
    stream: TcpStream,
    requests: Vec<u8>,
    responses: Vec<u8>,
}

impl Asking {
    /// Asks once, to learn how long a response is.
    fn new(server: &ServerHandle, request: &[u8], end: &[u8], n: usize) -> Self {
        let mut stream = TcpStream::connect(server.local_addrs()[0].as_tcp().unwrap()).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.write_all(request).unwrap();
        let mut response = Vec::new();
        while !response.ends_with(end) {
            let mut byte = [0];
            stream.read_exact(&mut byte).expect("a response comes within the time-out");
            response.push(byte[0]);
        }
        Self { stream, requests: request.repeat(n), responses: vec![0; response.len() * n] }
    }

    fn ask(&mut self) {
        self.stream.write_all(&self.requests).unwrap();
        self.stream.read_exact(&mut self.responses).expect("all responses come");
    }

    /// How often the server asks the allocator for anything, in so many rounds.
    fn cost(&mut self, counter: &Counter, rounds: usize) -> usize {
        // Whatever grows, has grown: on each worker of a pool, if it runs on one.
        (0..300).for_each(|_| self.ask());
        let before = counter.get();
        (0..rounds).for_each(|_| self.ask());
        counter.get() - before
    }
}

const GET: &[u8] = b"GET /plaintext HTTP/1.1\r\nHost: 127.0.0.1:8080\r\nUser-Agent: test\r\n\r\n";
const POST: &[u8] = b"POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\n0123456789";
const MISSING: &[u8] = b"GET /none HTTP/1.1\r\nHost: h\r\n\r\n";

fn check<B: Backend>(backend: impl FnOnce(Box<dyn Fn(usize) + Send + Sync>) -> B) {
    let counter = Counter::new();
    let server = Server::builder().backend(backend(counter.hook())).bind("127.0.0.1:0").unwrap();
    let factory = |_: &_| Framed::service(Http::new(Clock::System), Web::new(None));
    let server = server.spawn(factory).unwrap();
    let rounds = 200;
    for n in [1, 16] {
        let mut plaintext = Asking::new(&server, GET, b"Hello, World!", n);
        assert_eq!(plaintext.cost(counter, rounds), 0, "GET /plaintext, {n} in a write");
        let mut echo = Asking::new(&server, POST, b"0123456789", n);
        assert_eq!(echo.cost(counter, rounds), 0, "POST /echo, {n} in a write");
        // The count would have noticed: an error is put into words.
        let mut missing = Asking::new(&server, MISSING, b"404 Not Found\n", n);
        assert!(missing.cost(counter, rounds) >= rounds * n, "GET /none, {n} in a write");
    }
}

#[test]
fn a_request_on_an_event_loop_allocates_nothing() {
    check(|hook| EventLoop::new().loops(2).on_thread_start(hook));
}

#[test]
fn a_request_on_a_thread_of_its_own_allocates_nothing() {
    check(|hook| ThreadPerConnection::new().on_thread_start(hook));
}

#[test]
fn a_request_on_a_pool_allocates_nothing() {
    // One worker: that it has been warmed up is then no matter of chance.
    check(|hook| ThreadPool::new(1).on_thread_start(hook));
}
