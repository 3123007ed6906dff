//! What only many connections, slow peers and other threads can show.

use crate::Make;
use crate::desk::Desk;
use crate::life::PATIENCE;
use crate::netstrings::Netstrings;
use crate::on_each_backend;
use crate::work::{Kept, Workers};
use polyserve::codec::Encoder;
use polyserve::testing::{Event, TestServer};
use polyserve::{Action, BoxError, CloseKind, Framed, Replies, Service};
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::ops::ControlFlow;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::Duration;

on_each_backend! {
    later_replies_of_many_connections_keep_their_order
    a_long_stream_to_a_slow_reader_is_whole_and_bounded
    a_drain_waits_for_outstanding_replies
    a_client_that_half_closes_gets_outstanding_replies
}

fn codec() -> Netstrings {
    Netstrings { max_len: PART }
}

fn frame(message: impl AsRef<[u8]>) -> Vec<u8> {
    codec().encode_to_vec(message.as_ref()).unwrap()
}

const CONNECTIONS: usize = 50;
const REQUESTS: usize = 200;

/// Four threads make the replies, each at random one of those that wait.
fn later_replies_of_many_connections_keep_their_order(make: Make) {
    let workers = Workers::start(4);
    let work = workers.work();
    let server = TestServer::start(make(), move |_| Desk::framed(codec(), work.clone())).unwrap();
    let mut clients: Vec<_> = (0..CONNECTIONS).map(|_| server.connect().unwrap()).collect();
    thread::scope(|scope| {
        // Every third reply is made at once, and has to wait for those before it.
        let ask = |(c, n): (usize, usize)| format!("{}{c}.{n}", if n % 3 == 0 { 'e' } else { 'l' });
        for (c, client) in clients.iter().enumerate() {
            let requests: Vec<u8> = (0..REQUESTS).flat_map(|n| frame(ask((c, n)))).collect();
            let mut writer = client.try_clone().unwrap();
            scope.spawn(move || writer.write_all(&requests).unwrap());
        }
    });
    for (c, client) in clients.iter_mut().enumerate() {
        let expected: Vec<u8> = (0..REQUESTS).flat_map(|n| frame(format!("{c}.{n}"))).collect();
        expect(client, &expected);
    }
    drop(clients);
    assert!(server.finish().finished_all);
}

/// Reads exactly this.
fn expect(client: &mut TcpStream, expected: &[u8]) {
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut got = vec![0; expected.len()];
    client.read_exact(&mut got).unwrap();
    assert!(
        got == expected,
        "expected `{}`, got `{}`",
        expected.escape_ascii(),
        got.escape_ascii()
    );
}

/// The length of each frame of the long stream, and how many there are: 64 MiB.
const PART: usize = 16 * 1024;
const PARTS: usize = 4096;
/// The high mark of the output, and the frame that may exceed it.
const MOST: usize = 256 * 1024 + PART + 8;

/// How many bytes of output have waited at once.
#[derive(Default)]
struct Most(Mutex<usize>, Condvar);

fn part(number: usize) -> Vec<u8> {
    let mut part = vec![number as u8; PART];
    part[..8].copy_from_slice(&(number as u64).to_be_bytes());
    part
}

fn a_long_stream_to_a_slow_reader_is_whole_and_bounded(make: Make) {
    let most = Arc::new(Most::default());
    let its_most = Arc::clone(&most);
    let factory = move |_: &_| {
        let most = Arc::clone(&its_most);
        Framed::new(codec(), move |_, replies| stream(replies, &most))
    };
    let server = TestServer::start(make(), factory).unwrap();
    let mut client = server.client();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    client.write_all(&frame("go")).unwrap();
    // Nothing is read before the server has as much waiting as it may have.
    let is_low = |most: &mut usize| *most < 256 * 1024;
    let waited = most.1.wait_timeout_while(most.0.lock().unwrap(), PATIENCE, is_low).unwrap().1;
    assert!(!waited.timed_out(), "the output did not reach its high mark in {PATIENCE:?}");
    let mut got = vec![0; frame(part(0)).len()];
    for number in 0..PARTS {
        client.read_exact(&mut got).unwrap();
        assert!(got == frame(part(number)), "part {number} came changed");
    }
    let most = *most.0.lock().unwrap();
    assert!(most <= MOST, "{most} bytes waited at once");
    assert!(server.finish().finished_all);
}

/// Streams all parts, and says how much waits.
fn stream(replies: &mut Replies<'_, Netstrings>, most: &Arc<Most>) {
    let (mut numbers, most) = (0..PARTS, Arc::clone(most));
    replies.stream(move |replies| {
        let Some(number) = numbers.next() else { return Ok(ControlFlow::Break(())) };
        replies.send(&part(number))?;
        let pending = replies.context().pending();
        let mut waited = most.0.lock().unwrap();
        *waited = pending.max(*waited);
        most.1.notify_all();
        Ok(ControlFlow::Continue(()))
    });
}

/// Answers later, when it is told to, and says what happens meanwhile.
struct Keeper {
    kept: Kept,
    tell: Sender<&'static str>,
}

impl Service<Netstrings> for Keeper {
    fn call(
        &mut self,
        frame: &[u8],
        replies: &mut Replies<'_, Netstrings>,
    ) -> Result<Action, BoxError> {
        let (reply, frame) = (replies.defer(), frame.to_vec());
        (self.kept.work())(Box::new(move || reply.send(&frame).unwrap()));
        let _ = self.tell.send("asked");
        Ok(Action::Continue)
    }

    fn on_eof(&mut self, _: &mut Replies<'_, Netstrings>) -> Result<Action, BoxError> {
        let _ = self.tell.send("end");
        Ok(Action::Close)
    }

    fn on_shutdown(&mut self, replies: &mut Replies<'_, Netstrings>) -> Result<Action, BoxError> {
        if !replies.context().is_busy() {
            return Ok(Action::Close);
        }
        let _ = self.tell.send("drain");
        Ok(Action::Continue)
    }
}

/// A server of keepers, whose client has asked for two replies.
fn keep(make: Make) -> (TestServer, TcpStream, Kept, Receiver<&'static str>) {
    let (kept, (tell, told)) = (Kept::default(), channel());
    let (its_kept, tell) = (kept.clone(), Mutex::new(tell));
    let factory = move |_: &_| {
        let tell = tell.lock().unwrap().clone();
        Framed::service(codec(), Keeper { kept: its_kept.clone(), tell })
    };
    let server = TestServer::start(make(), factory).unwrap();
    let mut client = server.connect().unwrap();
    client.write_all(&[frame("one"), frame("two")].concat()).unwrap();
    wait_for("asked", &told);
    wait_for("asked", &told);
    (server, client, kept, told)
}

fn wait_for(event: &str, told: &Receiver<&'static str>) {
    assert_eq!(told.recv_timeout(PATIENCE), Ok(event), "waiting for {event:?}");
}

/// Makes the replies, and sees that they arrive before the end, which is of this kind.
fn answer_and_end(server: TestServer, mut client: TcpStream, kept: &Kept, kind: CloseKind) {
    assert!(kept.run(), "nothing was outstanding");
    expect(&mut client, &[frame("one"), frame("two")].concat());
    assert_eq!(client.read(&mut [0]).unwrap(), 0, "nothing follows but the end");
    drop(client);
    let is_end = |event: &Event| matches!(event, Event::Closed { kind: k, .. } if *k == kind);
    server.events().wait_for(format!("end by {}", kind.name()), PATIENCE, is_end).unwrap();
    let report = server.finish();
    assert!(report.finished_all && report.killed == 0, "{report:?}");
}

fn a_drain_waits_for_outstanding_replies(make: Make) {
    let (server, client, kept, told) = keep(make);
    server.handle().control().begin_drain(Duration::ZERO, PATIENCE);
    wait_for("drain", &told);
    answer_and_end(server, client, &kept, CloseKind::Shutdown);
}

fn a_client_that_half_closes_gets_outstanding_replies(make: Make) {
    let (server, client, kept, told) = keep(make);
    client.shutdown(Shutdown::Write).unwrap();
    wait_for("end", &told);
    answer_and_end(server, client, &kept, CloseKind::PeerClosed);
}
