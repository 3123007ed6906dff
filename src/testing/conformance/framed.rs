//! Requests and replies: what a backend's turns and wakes must not change.

use super::client::Client;
use super::stage::{Asked, Failure, OrFail, PATIENCE, Running, Stage, check};
use crate::codec::{DecodeError, Lines};
use crate::framed::{Framed, Replies, Reply, Service};
use crate::handler::{Action, BoxError, CloseKind};
use crate::net::SocketOptions;
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

/// Answers lines: at once, or later if they begin with `later`, by whoever is given the reply.
struct Echo {
    give: mpsc::Sender<Reply<Lines>>,
    log: Arc<super::checker::Log>,
}

impl Service<Lines> for Echo {
    fn call(&mut self, line: &str, replies: &mut Replies<'_, Lines>) -> Result<Action, BoxError> {
        if line.starts_with("later") {
            let _ = self.give.send(replies.defer());
        } else {
            replies.send(line)?;
        }
        Ok(Action::Continue)
    }

    fn on_eof(&mut self, _: &mut Replies<'_, Lines>) -> Result<Action, BoxError> {
        self.log.note("eof");
        Ok(Action::Close)
    }

    fn on_decode_error(&mut self, _: &DecodeError, _: &mut Replies<'_, Lines>) {
        self.log.note("broken");
    }

    fn on_shutdown(&mut self, replies: &mut Replies<'_, Lines>) -> Result<Action, BoxError> {
        self.log.note("shutdown");
        Ok(if replies.context().is_busy() { Action::Continue } else { Action::Close })
    }
}

/// A server of such, and the replies that it owes.
struct Owing {
    server: Arc<Running>,
    replies: mpsc::Receiver<Reply<Lines>>,
}

impl Owing {
    fn start(stage: &Stage) -> Result<Self, Failure> {
        let (give, replies) = mpsc::channel();
        let give = Mutex::new(give);
        let server = stage.serve(move |_, log| {
            let give = give.lock().unwrap().clone();
            Framed::service(Lines::new(), Echo { give, log: Arc::clone(log) })
        })?;
        Ok(Self { server, replies })
    }

    /// A client that has asked for two later replies, with others among them.
    fn asked(&self) -> Result<(Client, [Reply<Lines>; 2]), Failure> {
        let mut client = self.server.connect()?;
        client.send(b"later 1\n2\nlater 3\n4\n")?;
        Ok((client, [self.owed()?, self.owed()?]))
    }

    fn owed(&self) -> Result<Reply<Lines>, Failure> {
        self.replies.recv_timeout(PATIENCE).or_fail("a request for a later reply")
    }
}

fn send(reply: Reply<Lines>, text: &str) -> Asked {
    reply.send(text).or_fail("a later reply is taken")
}

pub(super) fn pipelined_frames_are_answered_in_order(stage: &Stage) -> Asked {
    // More than one turn takes, so that the rest needs turns without any bytes coming.
    let owing = Owing::start(stage)?;
    let mut client = owing.server.connect()?;
    let lines: String = (0..5000).map(|n| format!("{n}\n")).collect();
    client.send(lines.as_bytes())?;
    client.expect(lines.as_bytes())?;
    client.finish()?;
    client.expect_end()?;
    owing.server.log.wait_closed(CloseKind::PeerClosed, 1)
}

pub(super) fn later_replies_keep_the_order_of_their_requests(stage: &Stage) -> Asked {
    let owing = Owing::start(stage)?;
    for _ in 0..20 {
        let (mut client, [first, third]) = owing.asked()?;
        send(third, "3")?;
        send(first, "1")?;
        client.expect(b"1\n2\n3\n4\n")?;
        client.send(b"5\n")?;
        client.expect(b"5\n")?;
    }
    Ok(())
}

pub(super) fn later_replies_of_many_threads_are_all_sent(stage: &Stage) -> Asked {
    // More than may be outstanding at once.
    const N: usize = 2000;
    let owing = Owing::start(stage)?;
    let mut client = owing.server.connect()?;
    std::thread::scope(|scope| {
        let expected: String = (0..N).map(|n| format!("{n}\n")).collect();
        let came = scope.spawn(move || {
            client.send(&b"later\n".repeat(N))?;
            client.expect(expected.as_bytes())
        });
        // Two threads make them, each as fast as it can.
        let makers = [(); 2].map(|()| {
            let (give, take) = mpsc::channel::<(Reply<Lines>, usize)>();
            let make = move || take.iter().try_for_each(|(reply, n)| send(reply, &n.to_string()));
            (give, scope.spawn(make))
        });
        for n in 0..N {
            let _ = makers[n % 2].0.send((owing.owed()?, n));
        }
        for (give, made) in makers {
            drop(give);
            made.join().map_err(|_| Failure::new("a panic"))??;
        }
        came.join().map_err(|_| Failure::new("a panic"))?
    })
}

pub(super) fn a_streamed_reply_arrives_whole(stage: &Stage) -> Asked {
    const LINES: usize = 1000;
    // Neither system takes much, so most of it has to wait for the client.
    let options = SocketOptions::new().with_send_buffer(Some(16 * 1024));
    let factory = |_: &_, _: &_| {
        Framed::new(Lines::new(), |line, replies| -> Result<(), BoxError> {
            if line != "stream" {
                return Ok(replies.send(line)?);
            }
            let mut left = LINES;
            replies.stream(move |replies| {
                if left == 0 {
                    return Ok(ControlFlow::Break(()));
                }
                left -= 1;
                replies.send(&format!("{left:0999}"))?;
                Ok(ControlFlow::Continue(()))
            });
            Ok(())
        })
    };
    let server = stage.serve_with(|b| b.socket_options(options), factory)?;
    let mut client = server.connect_small(16 * 1024)?;
    client.send(b"stream\nnext\n")?;
    for left in (0..LINES).rev() {
        client.expect(format!("{left:0999}\n").as_bytes())?;
    }
    client.expect(b"next\n")
}

pub(super) fn a_broken_frame_closes_after_the_replies_before_it(stage: &Stage) -> Asked {
    let owing = Owing::start(stage)?;
    let (mut client, [first, third]) = owing.asked()?;
    client.send(b"\xff\nnever\n")?;
    owing.server.log.wait_note("broken")?;
    send(first, "1")?;
    client.expect(b"1\n2\n")?;
    // The callback that found the broken frame has returned: only a wake tells of this one.
    send(third, "3")?;
    client.expect(b"3\n4\n")?;
    client.expect_end()?;
    owing.server.log.wait_closed(CloseKind::Decode, 1)
}

pub(super) fn an_end_within_a_frame_is_told_as_such(stage: &Stage) -> Asked {
    let owing = Owing::start(stage)?;
    let mut client = owing.server.connect()?;
    client.send(b"one\ntw")?;
    client.finish()?;
    check!(client.read_to_end()? == b"one\n", "the replies before the end are others");
    owing.server.log.wait_closed(CloseKind::Truncated, 1)
}

pub(super) fn outstanding_replies_outlive_a_half_close(stage: &Stage) -> Asked {
    let owing = Owing::start(stage)?;
    let (mut client, [first, third]) = owing.asked()?;
    client.finish()?;
    owing.server.log.wait_note("eof")?;
    send(third, "3")?;
    send(first, "1")?;
    client.expect(b"1\n2\n3\n4\n")?;
    client.expect_end()?;
    owing.server.log.wait_closed(CloseKind::PeerClosed, 1)
}

pub(super) fn a_drain_waits_for_outstanding_replies(stage: &Stage) -> Asked {
    let owing = Owing::start(stage)?;
    let (mut client, [first, third]) = owing.asked()?;
    owing.server.control().begin_drain(Duration::ZERO, PATIENCE);
    owing.server.log.wait_note("shutdown")?;
    send(first, "1")?;
    send(third, "3")?;
    client.expect(b"1\n2\n3\n4\n")?;
    client.expect_end()?;
    owing.server.log.wait_closed(CloseKind::Shutdown, 1)
}

pub(super) fn a_dropped_reply_ends_the_connection(stage: &Stage) -> Asked {
    let owing = Owing::start(stage)?;
    let (mut client, [first, third]) = owing.asked()?;
    send(first, "1")?;
    drop(third);
    check!(client.read_to_end()? == b"1\n2\n", "the replies before the dropped one are others");
    owing.server.log.wait_closed(CloseKind::Handler, 1)
}
