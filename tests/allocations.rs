//! A request that is answered from what came allocates nothing, on any backend: neither bytes nor
//! pipelined frames. And connections that come and go leave nothing that grows.
//!
//! The allocator of this program counts what the server's own threads allocate (and give back, and
//! resize), and those alone.

#[path = "support/counting.rs"]
mod counting;

use counting::Counter;
use polyserve::codec::{LengthPrefixed, Lines};
use polyserve::{
    Action, Backend, BoxError, Context, EventLoop, Framed, Handler, Input, Server,
    ThreadPerConnection, ThreadPool,
};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, Barrier};
use std::time::Duration;

/// Echoes. A message that begins with `MEET` is answered when two threads have one in hand, so
/// that both are known to have worked; one that begins with `KEEP` allocates.
struct Echo(Arc<Barrier>);

const MEET: u8 = b'M';
const KEEP: u8 = b'K';
const PLAIN: u8 = b'p';

impl Handler for Echo {
    fn on_data(&mut self, input: &mut Input<'_>, cx: &mut Context<'_>) -> Result<Action, BoxError> {
        receive(input.first(), input, &self.0);
        cx.send(input.take());
        Ok(Action::Continue)
    }
}

/// What to do about a message that begins with this byte.
fn receive(first: Option<&u8>, message: &[u8], meeting: &Barrier) {
    match first {
        Some(&MEET) => drop(meeting.wait()),
        Some(&KEEP) => drop(std::hint::black_box(message.to_vec())),
        _ => (),
    }
}

/// A server that echoes, and the messages that it is sent.
#[derive(Clone, Copy)]
struct Talk {
    handler: fn(Arc<Barrier>) -> Box<dyn Handler>,
    /// A message of this size, all in all, that begins with this byte.
    message: fn(u8, usize) -> Vec<u8>,
}

const BYTES: Talk = Talk {
    handler: |meeting| Box::new(Echo(meeting)),
    message: |first, size| {
        let mut message = vec![PLAIN; size];
        message[0] = first;
        message
    },
};

/// Requests that leave in one write.
const PIPELINED: usize = 16;

const LINES: Talk = Talk {
    handler: |meeting| {
        Box::new(Framed::new(Lines::new(), move |line: &str, replies| {
            receive(line.as_bytes().first(), line.as_bytes(), &meeting);
            replies.send(line)
        }))
    },
    message: |first, size| {
        let mut message = vec![PLAIN; size];
        message.chunks_mut(size / PIPELINED).for_each(|line| line[line.len() - 1] = b'\n');
        message[0] = first;
        message
    },
};

const LENGTH_PREFIXED: Talk = Talk {
    handler: |meeting| {
        Box::new(Framed::new(LengthPrefixed::u32(), move |frame: &[u8], replies| {
            receive(frame.first(), frame, &meeting);
            replies.send(frame)
        }))
    },
    message: |first, size| {
        let mut message = vec![PLAIN; size];
        for frame in message.chunks_mut(size / PIPELINED) {
            let length = frame.len() as u32 - 4;
            frame[..4].copy_from_slice(&length.to_be_bytes());
        }
        message[4] = first;
        message
    },
};

/// Anything that is to run on a thread of a backend.
type Hook = Box<dyn Fn(usize) + Send + Sync>;

/// Checks each way to talk on a backend, which gets the hook for its threads; so many of its
/// threads are to be warmed up by a meeting.
fn check<B: Backend>(meeting: usize, backend: impl Fn(Hook) -> B) {
    check_talk(BYTES, meeting, &backend);
    check_talk(LINES, meeting, &backend);
    check_talk(LENGTH_PREFIXED, meeting, &backend);
}

fn check_talk<B: Backend>(talk: Talk, meeting: usize, backend: impl Fn(Hook) -> B) {
    let counter = Counter::new();
    let backend = backend(counter.hook());
    let barrier = Arc::new(Barrier::new(meeting.max(1)));
    let server = Server::builder().backend(backend).bind("127.0.0.1:0").unwrap();
    let server = server.spawn(move |_| (talk.handler)(Arc::clone(&barrier))).unwrap();
    let addr = server.local_addrs()[0].as_tcp().unwrap();
    let mut clients: Vec<TcpStream> = (0..meeting.max(2)).map(|_| connect(addr)).collect();

    // Everything that grows, has grown.
    for size in [MAX, MIN] {
        for first in [PLAIN, MEET, PLAIN] {
            if first == PLAIN || meeting > 0 {
                exchange_all(talk, &mut clients, first, size);
            }
        }
    }
    let allocated = |clients: &mut [TcpStream], first, size, rounds| {
        let before = counter.get();
        (0..rounds).for_each(|_| exchange_all(talk, clients, first, size));
        counter.get() - before
    };
    assert!(counter.get() > 0, "the server's threads are not counted");
    let rounds = 500;
    assert_eq!(allocated(&mut clients, PLAIN, MIN, rounds), 0, "{MIN} bytes");
    assert_eq!(allocated(&mut clients, PLAIN, MAX, rounds), 0, "{MAX} bytes");
    // The count would have noticed: here are an allocation and its end for each.
    let expected = 2 * rounds * clients.len();
    assert_eq!(allocated(&mut clients, KEEP, MIN, rounds), expected);
}

/// What one read of the server takes for sure, and a message that is small.
const MAX: usize = 4096;
const MIN: usize = 128;

/// One message on each connection, all under way at the same time.
fn exchange_all(talk: Talk, clients: &mut [TcpStream], first: u8, size: usize) {
    let message = (talk.message)(first, size);
    let mut reply = vec![0; size];
    for client in &mut *clients {
        client.write_all(&message).unwrap();
    }
    for client in clients {
        client.read_exact(&mut reply).expect("the echo comes within the time-out");
        assert!(message == reply, "these are not the bytes that were sent");
    }
}

fn connect(addr: SocketAddr) -> TcpStream {
    let client = TcpStream::connect(addr).unwrap();
    client.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    client.set_nodelay(true).unwrap();
    client
}

#[test]
fn echoes_on_an_event_loop_allocate_nothing() {
    check(0, |hook| EventLoop::new().loops(2).on_thread_start(hook));
}

#[test]
fn echoes_on_a_portable_event_loop_allocate_nothing() {
    check(0, |hook| EventLoop::new().loops(2).portable(true).on_thread_start(hook));
}

#[test]
#[cfg_attr(windows, ignore = "a thread tells a poller anew each time what it waits for")]
fn echoes_on_a_thread_of_its_own_allocate_nothing() {
    check(0, |hook| ThreadPerConnection::new().on_thread_start(hook));
}

#[test]
#[cfg_attr(windows, ignore = "the poller allocates for each registration that is armed again")]
fn echoes_on_a_pool_allocate_nothing() {
    check(2, |hook| ThreadPool::new(2).on_thread_start(hook));
}

/// A list with an entry for each connection that there ever was would be larger by far in the end.
const COME_AND_GO: usize = 3_000;
const LARGEST: usize = COME_AND_GO;

fn check_short_connections<B: Backend>(backend: impl Fn(Hook) -> B) {
    let counter = Counter::new();
    let server = Server::builder().backend(backend(counter.hook())).bind("127.0.0.1:0").unwrap();
    let meeting = Arc::new(Barrier::new(1));
    let server = server.spawn(move |_| Echo(Arc::clone(&meeting))).unwrap();
    let addr = server.local_addrs()[0].as_tcp().unwrap();
    let come_and_go = |n| {
        counter.take_largest();
        (0..n).for_each(|_| exchange_all(BYTES, &mut [connect(addr)], PLAIN, MIN));
        counter.take_largest()
    };
    // The first of them make room for all.
    come_and_go(100);
    let largest = come_and_go(COME_AND_GO);
    assert!((1..LARGEST).contains(&largest), "{largest} bytes at once");
}

#[test]
fn connections_that_come_and_go_leave_nothing_in_a_loop() {
    check_short_connections(|hook| EventLoop::new().on_thread_start(hook));
}

#[test]
fn connections_that_come_and_go_leave_nothing_in_a_portable_loop() {
    check_short_connections(|hook| EventLoop::new().portable(true).on_thread_start(hook));
}

#[test]
fn connections_that_come_and_go_leave_nothing_in_a_pool() {
    check_short_connections(|hook| ThreadPool::new(2).on_thread_start(hook));
}
