//! A loop that polls before it sleeps: when it does, and that it does sleep.
#![cfg(target_os = "linux")]

use polyserve::testing::TestServer;
use polyserve::{Action, BoxError, Context, EventLoop, Handler, Input};
use std::io::{Read, Write};
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(20);

struct Echo;

impl Handler for Echo {
    fn on_data(&mut self, input: &mut Input<'_>, cx: &mut Context<'_>) -> Result<Action, BoxError> {
        cx.send(input.take());
        Ok(Action::Continue)
    }
}

/// A server of one loop, and the number of the thread that runs it.
fn start(backend: EventLoop) -> (TestServer, i32) {
    let (tell, told) = mpsc::channel();
    let backend = backend.loops(1).on_thread_start(move |_| {
        let _ = tell.send(rustix::thread::gettid().as_raw_nonzero().get());
    });
    let server = TestServer::start(backend, |_peer| Echo).unwrap();
    (server, told.recv_timeout(PATIENCE).expect("the hook runs before the server is ready"))
}

/// Whether a thread of this process sleeps: proc(5), the field after the name in brackets.
fn sleeps(thread: i32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/self/task/{thread}/stat")).unwrap();
    stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with('S'))
}

fn exchange(server: &TestServer) {
    let mut client = std::net::TcpStream::connect(server.addr()).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut got = [0; 4];
    for _ in 0..3 {
        client.write_all(b"ping").unwrap();
        client.read_exact(&mut got).unwrap();
        assert_eq!(&got, b"ping");
    }
}

fn falls_asleep(thread: i32) {
    let start = Instant::now();
    while !sleeps(thread) {
        assert!(start.elapsed() < PATIENCE, "the loop polls on without an event");
        std::thread::yield_now();
    }
}

/// It sleeps when its time is over, is woken by the next request, and sleeps again.
#[test]
fn a_loop_polls_for_its_time_and_then_sleeps() {
    for portable in [false, true] {
        let backend = EventLoop::new().portable(portable).busy_poll(Duration::from_millis(5));
        let (server, thread) = start(backend);
        for _ in 0..3 {
            exchange(&server);
            falls_asleep(thread);
        }
    }
}

/// While it polls it is never seen asleep, however often one looks.
#[test]
fn a_loop_does_not_sleep_while_it_polls() {
    let (server, thread) = start(EventLoop::new().busy_poll(Duration::from_secs(3600)));
    exchange(&server);
    assert!((0..1_000).all(|_| !sleeps(thread)), "the loop sleeps within its time");
    // Who ends it does not wait for that time either.
    let start = Instant::now();
    drop(server);
    assert!(start.elapsed() < PATIENCE, "the end took {:?}", start.elapsed());
}
