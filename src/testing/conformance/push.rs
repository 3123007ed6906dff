//! What other threads send, wake, resume and close.

use super::client::{Client, pattern};
use super::role::Role;
use super::stage::{Asked, Failure, OrFail, PATIENCE, Running, Stage, check};
use crate::connection::Limits;
use crate::handler::{Action, CloseKind, Sender};
use crate::net::SocketOptions;
use crate::server::Builder;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};

/// A server that echoes, and the senders of all that connect to it.
struct Pushing {
    server: Arc<Running>,
    senders: mpsc::Receiver<Sender>,
}

impl Pushing {
    fn start(stage: &Stage) -> Result<Self, Failure> {
        Self::start_with(stage, |b| b)
    }

    fn start_with(
        stage: &Stage,
        settings: impl FnOnce(Builder) -> Builder,
    ) -> Result<Self, Failure> {
        let (give, senders) = mpsc::channel();
        let give = Mutex::new(give);
        let server = stage.serve_with(settings, move |_, log| {
            let (give, log) = (give.lock().unwrap().clone(), Arc::clone(log));
            Role::echo()
                .open(move |cx| {
                    let _ = give.send(cx.sender());
                    Ok(Action::Continue)
                })
                .wake(move |_| {
                    log.note("wake");
                    Ok(Action::Continue)
                })
        })?;
        Ok(Self { server, senders })
    }

    fn connect(&self) -> Result<(Client, Sender), Failure> {
        let client = self.server.connect()?;
        Ok((client, self.senders.recv_timeout(PATIENCE).or_fail("a sender")?))
    }
}

pub(super) fn a_message_reaches_a_connection_that_waits(stage: &Stage) -> Asked {
    // One after the other, so that the connection has nothing else to do when it comes.
    let pushing = Pushing::start(stage)?;
    let (mut client, sender) = pushing.connect()?;
    for n in 0..200 {
        let text = format!("{n};");
        sender.send(text.clone()).or_fail("an open connection is sent to")?;
        client.expect(text.as_bytes())?;
    }
    Ok(())
}

pub(super) fn messages_and_replies_share_a_connection(stage: &Stage) -> Asked {
    let pushing = Pushing::start(stage)?;
    let (mut client, sender) = pushing.connect()?;
    for _ in 0..100 {
        client.send(b"e")?;
        sender.send("p").or_fail("an open connection is sent to")?;
        let mut got = client.read(2)?;
        got.sort_unstable();
        check!(got == b"ep", "got `{}`", got.escape_ascii());
    }
    Ok(())
}

pub(super) fn what_was_pushed_can_be_put_before_a_reply(stage: &Stage) -> Asked {
    // Whoever holds it may push while it is true.
    let open = Arc::new(Mutex::new(false));
    let is_open = Arc::clone(&open);
    let (give, senders) = mpsc::channel();
    let give = Mutex::new(give);
    let server = stage.serve(move |_, _| {
        let (give, is_open) = (give.lock().unwrap().clone(), Arc::clone(&is_open));
        Role::echo().data(move |input, cx| {
            if input.take() == b"subscribe" {
                *is_open.lock().unwrap() = true;
                let _ = give.send(cx.sender());
            } else {
                *is_open.lock().unwrap() = false;
                cx.append_pushed();
                cx.send("|");
            }
            Ok(Action::Continue)
        })
    })?;
    let mut client = server.connect()?;
    for _ in 0..50 {
        client.send(b"subscribe")?;
        let sender = senders.recv_timeout(PATIENCE).or_fail("a sender")?;
        let is_open = Arc::clone(&open);
        let pusher = std::thread::spawn(move || {
            let push = || {
                // The lock is not a fair one: the handler, which waits for it, comes first.
                std::thread::yield_now();
                let is_open = is_open.lock().unwrap();
                // A client that does not read yet may be full.
                *is_open && sender.send("p").is_ok()
            };
            std::iter::repeat_with(push).take_while(|pushed| *pushed).count()
        });
        client.expect(b"p")?;
        client.send(b"leave")?;
        let got = client.read_until(b'|')?;
        let n = pusher.join().map_err(|_| Failure::new("a panic"))?;
        let before = got.iter().filter(|byte| **byte == b'p').count();
        check!(before + 1 == n, "{} of {n} messages came before the reply", before + 1);
    }
    Ok(())
}

pub(super) fn ten_thousand_messages_arrive_in_order(stage: &Stage) -> Asked {
    let pushing = Pushing::start(stage)?;
    let (mut client, sender) = pushing.connect()?;
    std::thread::scope(|scope| {
        let sent = scope
            .spawn(move || (0..10_000_u32).try_for_each(|n| sender.send(n.to_be_bytes().to_vec())));
        let got = client.read(40_000);
        sent.join().map_err(|_| Failure::new("a panic"))?.or_fail("a message is accepted")?;
        let expected: Vec<u8> = (0..10_000_u32).flat_map(u32::to_be_bytes).collect();
        check!(got? == expected, "the messages came in another order");
        Ok(())
    })
}

pub(super) fn messages_of_many_threads_are_never_torn(stage: &Stage) -> Asked {
    const EACH: usize = 300;
    let pushing = Pushing::start(stage)?;
    let (mut client, sender) = pushing.connect()?;
    std::thread::scope(|scope| {
        for thread in 0..4_u8 {
            let sender = sender.clone();
            scope.spawn(move || {
                for n in 0..EACH {
                    // Number, length, and so many bytes of the thread's own.
                    let len = (n * 13 % 200) as u8;
                    let mut message = vec![thread; 3 + usize::from(len)];
                    message[1] = n as u8;
                    message[2] = len;
                    let _ = sender.send(message);
                }
            });
        }
        let mut next = [0_usize; 4];
        while next.iter().sum::<usize>() < 4 * EACH {
            let head = client.read(3)?;
            let body = client.read(head[2].into())?;
            let thread = usize::from(head[0]);
            check!(thread < 4 && body.iter().all(|b| *b == head[0]), "a message was torn");
            check!(next[thread] as u8 == head[1], "messages of one thread changed places");
            next[thread] += 1;
        }
        Ok(())
    })
}

pub(super) fn a_message_never_splits_the_output_of_a_callback(stage: &Stage) -> Asked {
    // Other threads send without pause while callbacks send twice each.
    let (give, take) = mpsc::channel::<Sender>();
    let give = Mutex::new(give);
    let server = stage.serve(move |_, _| {
        let give = give.lock().unwrap().clone();
        Role::echo()
            .open(move |cx| {
                let _ = give.send(cx.sender());
                Ok(Action::Continue)
            })
            .data(|input, cx| {
                input.take();
                cx.send("(");
                std::thread::yield_now();
                cx.send(")");
                Ok(Action::Continue)
            })
    })?;
    let mut client = server.connect()?;
    let sender = take.recv_timeout(PATIENCE).or_fail("a sender")?;
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                if sender.pending() < 1000 {
                    let _ = sender.send("-");
                }
                std::thread::yield_now();
            }
        });
        let asked = (0..200).try_for_each(|_| {
            client.send(b"x")?;
            while client.read(1)? != b"(" {}
            client.expect(b")")
        });
        stop.store(true, Ordering::Relaxed);
        asked
    })
}

pub(super) fn a_wake_calls_on_wake(stage: &Stage) -> Asked {
    let pushing = Pushing::start(stage)?;
    let (_client, sender) = pushing.connect()?;
    for n in 1..=200 {
        check!(sender.wake(), "the sender says that the connection has gone");
        pushing.server.log.wait_notes("wake", n)?;
    }
    Ok(())
}

pub(super) fn no_wake_is_lost(stage: &Stage) -> Asked {
    // Several threads wake without pause; after the last wake of all, a callback must begin.
    let (count, seen) = (Arc::new(Mutex::new(0)), Arc::new(Mutex::new(0)));
    let (give, take) = mpsc::channel::<Sender>();
    let give = Mutex::new(give);
    let (its_count, its_seen) = (Arc::clone(&count), Arc::clone(&seen));
    let server = stage.serve(move |_, log| {
        let (give, log) = (give.lock().unwrap().clone(), Arc::clone(log));
        let (count, seen) = (Arc::clone(&its_count), Arc::clone(&its_seen));
        Role::echo()
            .open(move |cx| {
                let _ = give.send(cx.sender());
                Ok(Action::Continue)
            })
            .wake(move |_| {
                *seen.lock().unwrap() = *count.lock().unwrap();
                log.note("wake");
                Ok(Action::Continue)
            })
    })?;
    let _client = server.connect()?;
    let sender = take.recv_timeout(PATIENCE).or_fail("a sender")?;
    for round in 1..=50 {
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    for _ in 0..10 {
                        *count.lock().unwrap() += 1;
                        sender.wake();
                    }
                });
            }
        });
        let all = || *seen.lock().unwrap() == round * 20;
        server.log.wait("the callback after the last wake", |_| all())?;
    }
    Ok(())
}

pub(super) fn wakes_reach_each_of_many_connections(stage: &Stage) -> Asked {
    let pushing = Pushing::start(stage)?;
    let mut all = (0..30).map(|_| pushing.connect()).collect::<Result<Vec<_>, _>>()?;
    for round in 0..5 {
        for (n, (_, sender)) in all.iter().enumerate() {
            sender.send(format!("{round}.{n};")).or_fail("an open connection is sent to")?;
        }
        for (n, (client, _)) in all.iter_mut().enumerate() {
            client.expect(format!("{round}.{n};").as_bytes())?;
        }
    }
    Ok(())
}

pub(super) fn a_full_connection_hands_the_message_back(stage: &Stage) -> Asked {
    let mut limits = Limits::default();
    limits.output_high = 16 * 1024;
    limits.output_low = 8 * 1024;
    limits.output_hard = 32 * 1024;
    let options = SocketOptions::new().with_send_buffer(Some(8 * 1024));
    let pushing = Pushing::start_with(stage, |b| b.limits(limits).socket_options(options))?;
    let mut client = pushing.server.connect_small(8 * 1024)?;
    let sender = pushing.senders.recv_timeout(PATIENCE).or_fail("a sender")?;
    let bytes = pattern(4096);
    let mut accepted = 0;
    // The system takes some; then the marks are reached for good.
    let error = loop {
        match sender.send(bytes.clone()) {
            Ok(()) => accepted += 1,
            Err(error) => break error,
        }
        check!(accepted < 10_000, "40 MB were accepted beyond a mark of 32 KiB");
    };
    check!(error.is_full(), "the error is {error}");
    check!(sender.pending() <= 32 * 1024, "{} bytes are pending", sender.pending());
    check!(error.into_message().as_ref() == bytes, "the message came back changed");
    let too_long = sender.send(vec![0; 32 * 1024 + 1]).map_err(|e| e.is_full());
    check!(too_long == Err(true), "a message above the mark led to {too_long:?}");
    for n in 0..accepted {
        check!(client.read(4096)? == bytes, "message {n} of {accepted} came changed");
    }
    // It is empty now, as far as the peer can see; soon it takes more.
    let deadline = Instant::now() + PATIENCE;
    while let Err(error) = sender.send("again") {
        check!(error.is_full() && Instant::now() < deadline, "not accepted again: {error}");
        std::thread::yield_now();
    }
    client.expect(b"again")
}

pub(super) fn nothing_is_accepted_after_the_end(stage: &Stage) -> Asked {
    let pushing = Pushing::start(stage)?;
    let (client, sender) = pushing.connect()?;
    drop(client);
    pushing.server.log.wait_closed(CloseKind::PeerClosed, 1)?;
    let result = sender.send("late").map_err(|e| (e.is_closed(), e.into_message().len()));
    check!(result == Err((true, 4)), "a late message led to {result:?}");
    check!(!sender.wake() && !sender.resume() && !sender.close(), "a late call says it was heard");
    check!(sender.is_closed() && sender.pending() == 0, "the sender says it is open");
    Ok(())
}

pub(super) fn a_late_message_reaches_nobody_else(stage: &Stage) -> Asked {
    // Each connection takes the place of the one before, whose sender goes on sending.
    let pushing = Pushing::start(stage)?;
    let stale: Mutex<Vec<Sender>> = Mutex::default();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                for sender in stale.lock().unwrap().iter() {
                    let _ = sender.send("stale");
                    sender.wake();
                    sender.close();
                    sender.resume();
                }
                std::thread::yield_now();
            }
        });
        let asked = (0..100).try_for_each(|n: u32| {
            let (mut client, sender) = pushing.connect()?;
            client.send(&n.to_be_bytes())?;
            client.expect(&n.to_be_bytes())?;
            drop(client);
            let closed = |seen: &super::checker::Seen| seen.closed.len() > n as usize;
            pushing.server.log.wait("the end of the connection", closed)?;
            let mut stale = stale.lock().unwrap();
            stale.push(sender);
            if stale.len() > 8 {
                stale.remove(0);
            }
            Ok(())
        });
        stop.store(true, Ordering::Relaxed);
        asked
    })?;
    check!(pushing.server.log.seen().count("wake") == 0, "a stale wake reached a connection");
    Ok(())
}

pub(super) fn late_messages_race_with_the_end(stage: &Stage) -> Asked {
    // Senders send while their connections end: whatever comes first, nothing is misdirected.
    let pushing = Pushing::start(stage)?;
    for n in 0..40_u8 {
        let (mut client, sender) = pushing.connect()?;
        std::thread::scope(|scope| {
            scope.spawn(move || while sender.send(vec![n; 10]).is_ok() {});
            if n % 2 == 0 {
                return client.reset();
            }
            let got = client.read(10)?;
            check!(got == [n; 10], "connection {n} got {got:?}");
            Ok(())
        })?;
    }
    Ok(())
}

pub(super) fn a_close_from_elsewhere_writes_what_was_sent(stage: &Stage) -> Asked {
    let pushing = Pushing::start(stage)?;
    for _ in 0..20 {
        let (mut client, sender) = pushing.connect()?;
        let bytes = pattern(200_000);
        for piece in bytes.chunks(20_000) {
            sender.send(piece.to_vec()).or_fail("an open connection is sent to")?;
        }
        check!(sender.close(), "the sender says that the connection has gone");
        check!(client.read_to_end()? == bytes, "the last messages came changed");
    }
    pushing.server.log.wait_closed(CloseKind::Closed, 20)
}

pub(super) fn closing_twice_is_closing_once(stage: &Stage) -> Asked {
    let pushing = Pushing::start(stage)?;
    for _ in 0..20 {
        let (mut client, sender) = pushing.connect()?;
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| while sender.close() {});
            }
        });
        client.expect_end()?;
    }
    pushing.server.log.wait_closed(CloseKind::Closed, 20)
}

pub(super) fn connections_may_send_to_each_other(stage: &Stage) -> Asked {
    // A room: whatever one says is sent to all others, from its own callback.
    let room: Arc<Mutex<Vec<Sender>>> = Arc::default();
    let server = stage.serve(move |_, _| {
        let (joined, room) = (Arc::clone(&room), Arc::clone(&room));
        Role::echo()
            .open(move |cx| {
                joined.lock().unwrap().push(cx.sender());
                cx.send("hi;");
                Ok(Action::Continue)
            })
            .data(move |input, cx| {
                let text = input.take().to_vec();
                for sender in room.lock().unwrap().iter() {
                    if sender.id() != cx.id() {
                        let _ = sender.send(text.clone());
                    }
                }
                Ok(Action::Continue)
            })
    })?;
    let mut clients = (0..8).map(|_| server.connect()).collect::<Result<Vec<_>, _>>()?;
    clients.iter_mut().try_for_each(|client| client.expect(b"hi;"))?;
    for speaker in 0..clients.len() {
        clients[speaker].send(format!("{speaker};").as_bytes())?;
        for (n, client) in clients.iter_mut().enumerate() {
            if n != speaker {
                client.expect(format!("{speaker};").as_bytes())?;
            }
        }
    }
    Ok(())
}

pub(super) fn what_is_pending_falls_to_nothing(stage: &Stage) -> Asked {
    let pushing = Pushing::start(stage)?;
    let (mut client, sender) = pushing.connect()?;
    for _ in 0..20 {
        sender.send(pattern(50_000)).or_fail("an open connection is sent to")?;
        client.read(50_000)?;
        let deadline = Instant::now() + PATIENCE;
        while sender.pending() > 0 {
            check!(Instant::now() < deadline, "{} bytes stay pending", sender.pending());
            std::thread::yield_now();
        }
    }
    Ok(())
}

pub(super) fn a_sender_made_late_reaches_its_connection(stage: &Stage) -> Asked {
    // Asked for only after the connection has waited without one.
    let (give, take) = mpsc::channel::<Sender>();
    let give = Mutex::new(give);
    let server = stage.serve(move |_, _| {
        let give = give.lock().unwrap().clone();
        Role::echo().data(move |input, cx| {
            if input.first() == Some(&b'+') {
                let _ = give.send(cx.sender());
            }
            cx.send(input.take());
            Ok(Action::Continue)
        })
    })?;
    let mut client = server.connect()?;
    for text in [b"a", b"b", b"+"] {
        client.send(text)?;
        client.expect(text)?;
    }
    let sender = take.recv_timeout(PATIENCE).or_fail("a sender")?;
    sender.send("pushed").or_fail("an open connection is sent to")?;
    client.expect(b"pushed")?;
    drop(sender);
    client.send(b"c")?;
    client.expect(b"c")
}

pub(super) fn a_message_reaches_a_connection_with_a_far_deadline(stage: &Stage) -> Asked {
    // Timers and time-outs must not make a waiting connection deaf.
    let (give, take) = mpsc::channel::<Sender>();
    let give = Mutex::new(give);
    let server = stage.serve(move |_, _| {
        let give = give.lock().unwrap().clone();
        Role::echo().open(move |cx| {
            cx.set_timer(Duration::from_secs(3000));
            cx.set_idle_timeout(Duration::from_secs(2000));
            let _ = give.send(cx.sender());
            Ok(Action::Continue)
        })
    })?;
    let mut client = server.connect()?;
    let sender = take.recv_timeout(PATIENCE).or_fail("a sender")?;
    for n in 0..50 {
        sender.send(format!("{n};")).or_fail("an open connection is sent to")?;
        client.expect(format!("{n};").as_bytes())?;
        client.send(b"e")?;
        client.expect(b"e")?;
    }
    Ok(())
}

pub(super) fn a_connection_that_is_paused_or_wants_more_is_pushed_to(stage: &Stage) -> Asked {
    for (request, action) in [(b"p", Action::Pause), (b"w", Action::Want(1000))] {
        let (give, take) = mpsc::channel::<Sender>();
        let give = Mutex::new(give);
        let server = stage.serve(move |_, _| {
            let give = give.lock().unwrap().clone();
            Role::echo()
                .data(move |_, cx| {
                    cx.send("stopped;");
                    let _ = give.send(cx.sender());
                    Ok(action)
                })
                .wake(|cx| {
                    cx.send("woken;");
                    cx.set_timer(Duration::from_millis(1));
                    Ok(Action::Continue)
                })
                .timer(|cx| {
                    cx.send("timer;");
                    Ok(Action::Continue)
                })
        })?;
        let mut client = server.connect()?;
        client.send(request)?;
        client.expect(b"stopped;")?;
        let sender = take.recv_timeout(PATIENCE).or_fail("a sender")?;
        for n in 0..30 {
            sender.send(format!("{n};")).or_fail("an open connection is sent to")?;
            client.expect(format!("{n};").as_bytes())?;
            check!(sender.wake(), "the sender says that the connection has gone");
            client.expect(b"woken;timer;")?;
        }
        // What it holds keeps it busy, and a paused one does not see its peer leave.
        sender.close();
        client.expect_end()?;
    }
    Ok(())
}

pub(super) fn messages_that_wait_lead_to_on_writable(stage: &Stage) -> Asked {
    let mut limits = Limits::default();
    limits.output_high = 16 * 1024;
    limits.output_low = 8 * 1024;
    limits.output_hard = 32 * 1024;
    let options = SocketOptions::new().with_send_buffer(Some(8 * 1024));
    let (give, take) = mpsc::channel::<Sender>();
    let give = Mutex::new(give);
    let server = stage.serve_with(
        |b| b.limits(limits).socket_options(options),
        move |_, _| {
            let give = give.lock().unwrap().clone();
            Role::echo()
                .open(move |cx| {
                    let _ = give.send(cx.sender());
                    Ok(Action::Continue)
                })
                .writable(|cx| {
                    cx.send("!");
                    Ok(Action::Continue)
                })
        },
    )?;
    let mut client = server.connect_small(8 * 1024)?;
    let sender = take.recv_timeout(PATIENCE).or_fail("a sender")?;
    let deadline = Instant::now() + PATIENCE;
    // Once nothing more is taken for a peer that does not read, there is output that waits.
    while sender.send(vec![b'x'; 4096]).is_ok() {
        check!(Instant::now() < deadline, "no end of what a connection takes");
    }
    client.read_until(b'!').map(drop)
}
