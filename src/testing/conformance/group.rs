//! What is broadcast to the members of a group.

use super::client::{Client, pattern};
use super::ends::{CALLBACKS, acting, provoke};
use super::role::Role;
use super::stage::{Asked, Failure, OrFail, PATIENCE, Running, Stage, check};
use crate::connection::Limits;
use crate::handler::{Action, CloseKind, Context, Delivered, Group, Sender, WhenFull};
use crate::limit::Limit;
use crate::net::SocketOptions;
use crate::server::Builder;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Instant;

/// A server whose connections join a group as they open, and greet. Each message that they are sent
/// goes to all: its speaker, its number, the length of its body, and the body.
struct Club {
    server: Arc<Running>,
    group: Group,
    senders: mpsc::Receiver<Sender>,
}

impl Club {
    fn start(stage: &Stage) -> Result<Self, Failure> {
        Self::start_with(stage, Group::new(), |b| b)
    }

    fn start_with(
        stage: &Stage,
        group: Group,
        settings: impl FnOnce(Builder) -> Builder,
    ) -> Result<Self, Failure> {
        let (give, senders) = mpsc::channel();
        let (give, its_group) = (Mutex::new(give), group.clone());
        // Most members only listen.
        let patient = |b: Builder| settings(b.first_byte_timeout(Limit::Unlimited));
        let server = stage.serve_with(patient, move |_, _| {
            let give = give.lock().unwrap().clone();
            let (joined, group) = (its_group.clone(), its_group.clone());
            Role::echo()
                .open(move |cx| {
                    greet(cx, &joined);
                    let _ = give.send(cx.sender());
                    Ok(Action::Continue)
                })
                .data(move |input, _| {
                    while let [_, _, length, ..] = **input {
                        let Some(message) = input.take_n(HEAD + usize::from(length)) else { break };
                        group.broadcast(message.to_vec());
                    }
                    Ok(Action::Continue)
                })
        })?;
        Ok(Self { server, group, senders })
    }

    fn connect(&self) -> Result<Client, Failure> {
        let mut client = self.server.connect()?;
        client.expect(b"hi;")?;
        Ok(client)
    }

    fn connect_all(&self, n: usize) -> Result<Vec<Client>, Failure> {
        (0..n).map(|_| self.connect()).collect()
    }
}

/// How many bytes a message has before its body.
const HEAD: usize = 3;

fn greet(cx: &mut Context<'_>, group: &Group) {
    group.join(&cx.sender());
    cx.send("hi;");
}

fn delivered(delivery: Delivered, sent: usize, full: usize, closed: usize) -> Asked {
    let as_expected = (delivery.sent, delivery.full, delivery.closed) == (sent, full, closed);
    check!(as_expected, "expected {sent} sent, {full} full, {closed} closed: {delivery:?}");
    Ok(())
}

pub(super) fn a_broadcast_reaches_members_that_wait(stage: &Stage) -> Asked {
    // One after the other, so that the connections have nothing else to do when it comes.
    let club = Club::start(stage)?;
    let mut clients = club.connect_all(8)?;
    for n in 0..100 {
        let text = format!("{n};");
        delivered(club.group.broadcast(text.clone()), 8, 0, 0)?;
        clients.iter_mut().try_for_each(|client| client.expect(text.as_bytes()))?;
    }
    Ok(())
}

pub(super) fn a_member_may_broadcast_in_every_callback(stage: &Stage) -> Asked {
    for callback in CALLBACKS {
        let group = Group::new();
        let its_group = group.clone();
        let server = stage.serve(move |_, _| {
            let group = its_group.clone();
            if group.is_empty() {
                return Role::echo().open(move |cx| {
                    greet(cx, &group);
                    Ok(Action::Continue)
                });
            }
            acting(callback, move |cx| {
                // A member that has joined before stays one.
                group.join(&cx.sender());
                group.broadcast("to all;");
                cx.send("said;");
                Ok(Action::Continue)
            })
        })?;
        let mut other = server.connect()?;
        other.expect(b"hi;")?;
        let mut speaker = server.connect()?;
        provoke(&mut speaker, callback)?;
        other.expect(b"to all;")?;
        let said = speaker.read_until(b';')?;
        check!(said.ends_with(b"said"), "by {callback}: `{}`", said.escape_ascii());
        speaker.expect(b"to all;")?;
        if callback == "eof" {
            server.control().stop(); // it is half-open for as long as it likes
        }
    }
    Ok(())
}

pub(super) fn members_join_and_leave_in_callbacks(stage: &Stage) -> Asked {
    let group = Group::new();
    let its_group = group.clone();
    let server = stage.serve(move |_, _| {
        let group = its_group.clone();
        Role::echo().data(move |input, cx| {
            let changed = match input.take() {
                b"join" => group.join(&cx.sender()),
                _ => group.leave(&cx.sender()),
            };
            cx.send(if changed { "yes" } else { "no;" });
            Ok(Action::Continue)
        })
    })?;
    let mut clients = (0..3).map(|_| server.connect()).collect::<Result<Vec<_>, _>>()?;
    for round in 0..10 {
        for (n, client) in clients.iter_mut().enumerate() {
            for (request, reply) in [("join", "yes"), ("join", "no;")] {
                client.send(request.as_bytes())?;
                client.expect(reply.as_bytes())?;
            }
            delivered(group.broadcast(format!("{round}")), n + 1, 0, 0)?;
        }
        for (n, client) in clients.iter_mut().enumerate() {
            client.expect(format!("{round}").repeat(3 - n).as_bytes())?;
            for (request, reply) in [("leave", "yes"), ("leave", "no;")] {
                client.send(request.as_bytes())?;
                client.expect(reply.as_bytes())?;
            }
        }
        check!(group.is_empty(), "{} members are left", group.len());
        delivered(group.broadcast("to nobody"), 0, 0, 0)?;
    }
    Ok(())
}

pub(super) fn one_member_may_be_left_out(stage: &Stage) -> Asked {
    let club = Club::start(stage)?;
    let mut members = Vec::new();
    for _ in 0..4 {
        let client = club.connect()?;
        members.push((client, club.senders.recv_timeout(PATIENCE).or_fail("a sender")?));
    }
    for except in 0..members.len() {
        delivered(club.group.broadcast_except(&members[except].1, format!("{except};")), 3, 0, 0)?;
        for (n, (client, _)) in members.iter_mut().enumerate() {
            if n != except {
                client.expect(format!("{except};").as_bytes())?;
            }
        }
    }
    Ok(())
}

pub(super) fn all_members_see_broadcasts_in_one_order(stage: &Stage) -> Asked {
    // Two threads and two members speak at the same time.
    const EACH: u8 = 100;
    const SPEAKERS: u8 = 4;
    let message = |speaker: u8, n: u8| {
        let length = n.wrapping_mul(37) % 200;
        let mut bytes = vec![speaker; HEAD + usize::from(length)];
        (bytes[1], bytes[2]) = (n, length);
        bytes
    };
    let club = Club::start(stage)?;
    let mut clients = club.connect_all(5)?;
    let heard = std::thread::scope(|scope| {
        for speaker in 0..2 {
            let group = club.group.clone();
            scope.spawn(move || {
                for n in 0..EACH {
                    group.broadcast(message(speaker, n));
                    std::thread::yield_now();
                }
            });
        }
        for speaker in 2..SPEAKERS {
            let client = &mut clients[usize::from(speaker)];
            for n in 0..EACH {
                client.send(&message(speaker, n))?;
            }
        }
        let total = (0..EACH).map(|n| message(0, n).len()).sum::<usize>() * usize::from(SPEAKERS);
        clients.iter_mut().map(|client| client.read(total)).collect::<Result<Vec<_>, _>>()
    })?;
    check!(heard.windows(2).all(|pair| pair[0] == pair[1]), "members saw different orders");
    let (mut rest, mut next) = (&heard[0][..], [0; SPEAKERS as usize]);
    while let [speaker, n, length, ..] = *rest {
        let (body, after) = rest.split_at(HEAD + usize::from(length));
        check!(speaker < SPEAKERS && body[HEAD..].iter().all(|b| *b == speaker), "a torn message");
        let next = &mut next[usize::from(speaker)];
        check!(n == *next, "{speaker} was heard with {n}, not {next}");
        *next += 1;
        rest = after;
    }
    Ok(())
}

pub(super) fn a_broadcast_never_splits_the_output_of_a_callback(stage: &Stage) -> Asked {
    let group = Group::new();
    let its_group = group.clone();
    let server = stage.serve(move |_, _| {
        let group = its_group.clone();
        Role::echo()
            .open(move |cx| {
                greet(cx, &group);
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
    client.expect(b"hi;")?;
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                group.broadcast("-"); // who is full is skipped
                std::thread::yield_now();
            }
        });
        let asked = (0..100).try_for_each(|_| {
            client.send(b"x")?;
            while client.read(1)? != b"(" {}
            client.expect(b")")
        });
        stop.store(true, Ordering::Relaxed);
        asked
    })
}

/// Settings by which a peer that does not read is full soon.
fn little_room(builder: Builder) -> Builder {
    let mut limits = Limits::default();
    (limits.output_low, limits.output_high, limits.output_hard) = (8 * 1024, 16 * 1024, 32 * 1024);
    builder.limits(limits).socket_options(SocketOptions::new().with_send_buffer(Some(8 * 1024)))
}

/// Broadcasts until the first member, who does not read, is full; the others get everything.
/// Returns how many broadcasts the first was sent.
fn fill(
    club: &Club,
    sender: &Sender,
    others: &mut [Client],
    bytes: &[u8],
) -> Result<usize, Failure> {
    for sent in 0..10_000 {
        let delivery = club.group.broadcast(bytes.to_vec());
        let asked: Asked = others.iter_mut().try_for_each(|client| client.expect(bytes));
        asked?;
        check!(sender.pending() <= 32 * 1024, "{} bytes wait", sender.pending());
        if delivery.full > 0 {
            delivered(delivery, others.len(), 1, 0)?;
            return Ok(sent);
        }
        delivered(delivery, others.len() + 1, 0, 0)?;
    }
    Err(Failure::new("40 MB were accepted beyond a mark of 32 KiB"))
}

pub(super) fn a_full_member_is_skipped_and_the_others_are_not(stage: &Stage) -> Asked {
    let club = Club::start_with(stage, Group::new(), little_room)?;
    let mut slow = club.server.connect_small(8 * 1024)?;
    let sender = club.senders.recv_timeout(PATIENCE).or_fail("a sender")?;
    let mut others = club.connect_all(3)?;
    let bytes = pattern(4096);
    let sent = fill(&club, &sender, &mut others, &bytes)?;
    slow.expect(b"hi;")?;
    for n in 0..sent {
        check!(slow.read(4096)? == bytes, "message {n} of {sent} came changed");
    }
    // It has room again, soon.
    let deadline = Instant::now() + PATIENCE;
    while sender.pending() > 0 {
        check!(Instant::now() < deadline, "{} bytes stay pending", sender.pending());
        std::thread::yield_now();
    }
    delivered(club.group.broadcast("again"), 4, 0, 0)?;
    slow.expect(b"again")
}

pub(super) fn a_full_member_is_closed_as_a_slow_consumer(stage: &Stage) -> Asked {
    let group = Group::new().when_full(WhenFull::Close);
    let club = Club::start_with(stage, group, little_room)?;
    let mut slow = club.server.connect_small(8 * 1024)?;
    let sender = club.senders.recv_timeout(PATIENCE).or_fail("a sender")?;
    let mut others = club.connect_all(3)?;
    fill(&club, &sender, &mut others, &pattern(4096))?;
    club.server.log.wait_closed(CloseKind::SlowConsumer, 1)?;
    check!(sender.is_closed() && sender.pending() == 0, "{} bytes wait", sender.pending());
    delivered(club.group.broadcast("more"), 3, 0, 0)?;
    others.iter_mut().try_for_each(|client| client.expect(b"more"))?;
    slow.expect_reset()
}

pub(super) fn a_sender_may_give_its_connection_up(stage: &Stage) -> Asked {
    // Idle ones, and one whose output waits.
    let club = Club::start_with(stage, Group::new(), little_room)?;
    for n in 1..=10 {
        let mut client = club.server.connect_small(8 * 1024)?;
        let sender = club.senders.recv_timeout(PATIENCE).or_fail("a sender")?;
        while n == 10 && sender.send(pattern(4096)).is_ok() {}
        check!(sender.give_up(), "the sender says that the connection has gone");
        check!(!sender.give_up() && sender.is_closed(), "it can be given up twice");
        client.expect_reset()?;
        club.server.log.wait_closed(CloseKind::SlowConsumer, n)?;
    }
    Ok(())
}

pub(super) fn members_that_are_gone_are_forgotten(stage: &Stage) -> Asked {
    let club = Club::start(stage)?;
    let mut stays = club.connect()?;
    for round in 1..=10 {
        let passing = club.connect_all(5)?;
        check!(club.group.len() == 6, "{} members, not 6", club.group.len());
        for (n, client) in passing.into_iter().enumerate() {
            if n % 2 == 0 {
                client.reset()?;
            }
        }
        let all = |seen: &super::checker::Seen| seen.closed.len() == round * 5;
        club.server.log.wait("the ends of those who left", all)?;
        let expected = if round % 2 == 0 { 0 } else { 5 };
        if expected == 0 {
            check!(club.group.len() == 1, "{} members are left", club.group.len());
        }
        delivered(club.group.broadcast("x"), 1, 0, expected)?;
        stays.expect(b"x")?;
    }
    Ok(())
}

pub(super) fn the_last_callback_may_broadcast(stage: &Stage) -> Asked {
    let group = Group::new();
    let its_group = group.clone();
    let server = stage.serve(move |_, _| {
        let (joined, left) = (its_group.clone(), its_group.clone());
        Role::echo()
            .open(move |cx| {
                greet(cx, &joined);
                Ok(Action::Continue)
            })
            .close(move |_| {
                left.broadcast("one has left;");
            })
    })?;
    let mut clients = (0..5).map(|_| server.connect()).collect::<Result<Vec<_>, _>>()?;
    clients.iter_mut().try_for_each(|client| client.expect(b"hi;"))?;
    while let Some(client) = clients.pop() {
        drop(client);
        clients.iter_mut().try_for_each(|client| client.expect(b"one has left;"))?;
    }
    Ok(())
}

pub(super) fn broadcasts_race_with_those_who_come_and_go(stage: &Stage) -> Asked {
    let club = Club::start(stage)?;
    let mut stays = club.connect()?;
    let sender = club.senders.recv_timeout(PATIENCE).or_fail("a sender")?;
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let heard = scope.spawn(|| stays.read_until(b'.'));
        let broadcasts = scope.spawn(|| {
            let mut n = 0;
            while !stop.load(Ordering::Relaxed) {
                // Not more than it takes, so that it misses nothing.
                if sender.pending() < 1000 {
                    club.group.broadcast("m");
                    n += 1;
                }
                std::thread::yield_now();
            }
            club.group.broadcast(".");
            n
        });
        let asked = (0..50).try_for_each(|n| {
            let mut client = club.connect()?;
            client.expect(b"m")?;
            if n % 2 == 0 { client.reset() } else { client.finish() }
        });
        stop.store(true, Ordering::Relaxed);
        let n = broadcasts.join().map_err(|_| Failure::new("a panic"))?;
        let heard = heard.join().map_err(|_| Failure::new("a panic"))?;
        asked?;
        check!(heard? == vec![b'm'; n], "the {n} broadcasts came otherwise");
        Ok(())
    })
}
