//! Who is let in when the server is full, and who has to go.

use super::client::{Client, pattern};
use super::role::Role;
use super::stage::{Asked, Failure, OrFail, PATIENCE, Running, Stage, check, wait_until};
use crate::buffer::Input;
use crate::connection::{AtLimit, Limits};
use crate::handler::{Action, BoxError, CloseKind, ConnectionId, Context};
use crate::limit::Limit;
use crate::net::SocketOptions;
use crate::server::Builder;
use std::sync::Arc;
use std::time::{Duration, Instant};

fn limited(builder: Builder, max: usize, change: impl FnOnce(&mut Limits)) -> Builder {
    let mut limits = Limits::default();
    limits.max_connections = Some(max);
    change(&mut limits);
    builder.limits(limits)
}

/// Echoes; a connection can say of itself what it is.
fn obeys(input: &mut Input<'_>, cx: &mut Context<'_>) -> Result<Action, BoxError> {
    let said = input.take();
    match said {
        b"busy" => cx.set_busy(true),
        b"idle" => cx.set_busy(false),
        b"exempt" => cx.set_counted(false),
        b"counted" => cx.set_counted(true),
        _ => (),
    }
    cx.send(said);
    Ok(Action::Continue)
}

fn serve(
    stage: &Stage,
    max: usize,
    change: impl FnOnce(&mut Limits),
) -> Result<Arc<Running>, Failure> {
    stage.serve_with(|b| limited(b, max, change), |_, _| Role::echo().data(obeys))
}

fn say(client: &mut Client, word: &[u8]) -> Asked {
    client.send(word)?;
    client.expect(word)
}

/// A client that was let in, and has been answered.
fn admitted(server: &Running) -> Result<Client, Failure> {
    let mut client = server.connect()?;
    say(&mut client, b"hello")?;
    Ok(client)
}

pub(super) fn a_full_server_may_reject_with_a_word(stage: &Stage) -> Asked {
    let server = serve(stage, 2, |l| {
        l.at_limit = AtLimit::Reject;
        l.farewell = b"full\n".into();
    })?;
    let (mut first, second) = (admitted(&server)?, admitted(&server)?);
    for n in 1..=5 {
        let mut late = server.connect_silently()?;
        let word = late.read_to_any_end()?;
        check!(word == b"full\n", "who was rejected got {word:?}");
        wait_until("the refusal to be counted", || server.control().stats().refused() == n)?;
        say(&mut first, b"still here")?;
    }
    check!(server.log.seen().opened.len() == 2, "a handler was made for who was rejected");
    drop(second);
    wait_until("a free place", || server.control().stats().live() == 1)?;
    admitted(&server)?;
    Ok(())
}

pub(super) fn the_connection_idle_for_longest_makes_room(stage: &Stage) -> Asked {
    let server = serve(stage, 3, |l| l.at_limit = AtLimit::CloseOldestIdle)?;
    let mut clients = (0..3).map(|_| admitted(&server)).collect::<Result<Vec<_>, _>>()?;
    for round in 0..3 {
        // Those who speak are younger than the first by more than a clock may be coarse.
        let enough = Instant::now() + Duration::from_millis(100);
        let mut was_enough = false;
        while !was_enough {
            was_enough = Instant::now() >= enough;
            clients[1..].iter_mut().try_for_each(|client| say(client, b"here"))?;
        }
        let newcomer = admitted(&server)?;
        let mut oldest = clients.remove(0);
        oldest.expect_end()?;
        server.log.wait_closed(CloseKind::Evicted, round + 1)?;
        clients.push(newcomer);
    }
    clients.iter_mut().try_for_each(|client| say(client, b"still here"))?;
    let most = server.control().stats().refused();
    check!(most == 0, "{most} connections were refused, and none should be");
    Ok(())
}

pub(super) fn who_comes_while_all_are_busy_waits_for_one_to_be_idle(stage: &Stage) -> Asked {
    let server = serve(stage, 2, |l| l.at_limit = AtLimit::CloseOldestIdle)?;
    let (mut first, mut second) = (admitted(&server)?, admitted(&server)?);
    say(&mut first, b"busy")?;
    say(&mut second, b"busy")?;
    let mut late = server.connect_silently()?;
    for _ in 0..10 {
        say(&mut first, b"at work")?;
        say(&mut second, b"at work")?;
    }
    check!(server.log.seen().closed.is_empty(), "a busy connection was closed to make room");
    say(&mut second, b"idle")?;
    server.greet(&mut late)?;
    say(&mut late, b"at last")?;
    second.expect_end()?;
    server.log.wait_closed(CloseKind::Evicted, 1)?;
    say(&mut first, b"still here")
}

pub(super) fn connections_of_one_address_are_limited(stage: &Stage) -> Asked {
    let server = serve(stage, 100, |l| {
        l.per_address = Limit::At(2);
        l.farewell = b"too many\n".into();
    })?;
    let (mut first, second) = (admitted(&server)?, admitted(&server)?);
    for n in 1..=5 {
        let word = server.connect_silently()?.read_to_any_end()?;
        check!(word == b"too many\n", "the third of an address got {word:?}");
        wait_until("the refusal to be counted", || server.control().stats().refused() == n)?;
    }
    say(&mut first, b"still here")?;
    drop(second);
    wait_until("a free place", || server.control().stats().live() == 1)?;
    let _third = admitted(&server)?;
    let word = server.connect_silently()?.read_to_any_end()?;
    check!(word == b"too many\n", "the next of the address got {word:?}");
    Ok(())
}

pub(super) fn the_limit_may_change_while_the_server_runs(stage: &Stage) -> Asked {
    let server = serve(stage, 1, |_| ())?;
    let control = server.control();
    let mut first = admitted(&server)?;
    let mut second = server.connect_silently()?;
    say(&mut first, b"alone")?;
    check!(control.stats().live() == 1, "the limit of one is not kept: {:?}", control.stats());
    let granted = control.set_max_connections(2);
    check!(granted == 2 && control.max_connections() == 2, "two became {granted}");
    server.greet(&mut second)?;
    say(&mut second, b"two")?;

    // A lower one closes nobody, and holds for those who come.
    check!(control.set_max_connections(0) == 1, "a limit of nothing is a limit of one");
    let mut third = server.connect_silently()?;
    say(&mut first, b"both stay")?;
    say(&mut second, b"both stay")?;
    drop(second);
    wait_until("one to be left", || control.stats().live() == 1)?;
    say(&mut first, b"alone again")?;
    check!(control.stats().accepted() == 2, "the lower limit is not kept");
    drop(first);
    server.greet(&mut third)?;
    say(&mut third, b"my turn")
}

pub(super) fn a_connection_may_be_exempt_from_the_limit(stage: &Stage) -> Asked {
    let server = serve(stage, 1, |_| ())?;
    let mut first = admitted(&server)?;
    let mut second = server.connect_silently()?;
    say(&mut first, b"exempt")?;
    server.greet(&mut second)?;
    say(&mut second, b"beside it")?;
    say(&mut first, b"still here")?;
    drop(second);
    wait_until("one to be left", || server.control().stats().live() == 1)?;
    say(&mut first, b"counted")?;
    let mut third = server.connect_silently()?;
    say(&mut first, b"alone")?;
    check!(server.control().stats().accepted() == 2, "a counted connection has a place");
    drop(first);
    server.greet(&mut third)?;
    say(&mut third, b"my turn")
}

fn close_by_number(server: &Running, client: &Client) -> Result<ConnectionId, Failure> {
    let addr = client.local_addr()?;
    let listed = server.control().connections();
    let Some(found) = listed.iter().find(|c| c.peer == addr) else {
        return Err(Failure::new(format!("{addr} is not among {listed:?}")));
    };
    check!(server.control().close(found.id), "{addr} is listed, and could not be closed");
    Ok(found.id)
}

pub(super) fn a_connection_can_be_closed_by_its_number(stage: &Stage) -> Asked {
    let server = serve(stage, 100, |_| ())?;
    let control = server.control();
    let (mut stays, mut goes) = (admitted(&server)?, admitted(&server)?);
    say(&mut goes, b"busy")?;
    let id = close_by_number(&server, &goes)?;
    goes.expect_end()?;
    drop(goes);
    server.log.wait_closed(CloseKind::Closed, 1)?;
    wait_until("one to be left", || control.stats().live() == 1)?;
    for id in [id, ConnectionId(u64::MAX)] {
        check!(!control.close(id), "a connection that is not there was closed: {id}");
    }
    say(&mut stays, b"still here")
}

/// Sends until neither the server nor the system takes more.
fn stuff(client: &Client) -> Result<Vec<u8>, Failure> {
    let mut sent = Vec::new();
    let chunk = pattern(64 * 1024);
    let socket = client.socket();
    socket.set_send_buffer_size(chunk.len()).or_fail("SO_SNDBUF")?;
    socket.set_write_timeout(Some(Duration::from_millis(100))).or_fail("SO_SNDTIMEO")?;
    while let Ok(n) = socket.send(&chunk) {
        sent.extend_from_slice(&chunk[..n]);
    }
    socket.set_write_timeout(Some(PATIENCE)).or_fail("SO_SNDTIMEO")?;
    Ok(sent)
}

pub(super) fn what_all_hold_together_is_limited(stage: &Stage) -> Asked {
    const LIMIT: usize = 512 * 1024;
    const CLIENTS: usize = 8;
    const SMALL: usize = 16 * 1024;
    // The system is to hold little besides.
    let small =
        SocketOptions::default().with_recv_buffer(Some(SMALL)).with_send_buffer(Some(SMALL));
    let server = stage.serve_with(
        |b| limited(b, 100, |l| l.total_held = LIMIT).socket_options(small),
        |_, _| Role::echo(),
    )?;
    let mut clients = Vec::new();
    for _ in 0..CLIENTS {
        let client = server.connect_small(SMALL)?;
        let sent = stuff(&client)?;
        clients.push((client, sent));
    }
    let held = server.control().stats().held();
    // Each may hold its share, and what one more read has brought.
    let most = LIMIT + LIMIT / 4 + CLIENTS * 64 * 1024;
    check!(held <= most, "{held} bytes are held, {most} at most were allowed");
    check!(held > LIMIT / 2, "{held} bytes are held: nothing was put to the test");
    // All at once: who waits for its own bytes must not keep the others from giving back.
    std::thread::scope(|scope| {
        let read_all = |(mut client, sent): (Client, Vec<u8>)| {
            let came = client.read(sent.len())?;
            check!(came == sent, "what came back is not what was sent");
            Ok(())
        };
        let all: Vec<_> = clients.into_iter().map(|it| scope.spawn(move || read_all(it))).collect();
        all.into_iter().try_for_each(|one| one.join().expect("a reader does not panic"))
    })?;
    wait_until("nothing to be held", || server.control().stats().held() == 0)
}

pub(super) fn who_holds_nothing_is_served_while_others_hold_too_much(stage: &Stage) -> Asked {
    const LIMIT: usize = 512 * 1024;
    // Messages of which the end never comes.
    let server = stage.serve_with(
        |b| limited(b, 100, |l| l.total_held = LIMIT),
        |_, _| {
            Role::echo().data(|input, cx| {
                if input.first() != Some(&b'!') {
                    cx.send(input.take());
                }
                Ok(Action::Continue)
            })
        },
    )?;
    let mut endless = server.connect()?;
    endless.send(b"!")?;
    let mut honest = server.connect()?;
    let chunk = pattern(16 * 1024);
    let enough = LIMIT + 64 * 1024;
    for _ in 0..enough / chunk.len() {
        if endless.socket().send(&chunk).is_err() {
            break;
        }
        say(&mut honest, b"served")?;
    }
    wait_until("the limit to be reached", || server.control().stats().held() > LIMIT)?;
    for _ in 0..20 {
        say(&mut honest, b"served")?;
    }
    // It is not read, so that its end would be found out late.
    close_by_number(&server, &endless)?;
    endless.expect_end()?;
    wait_until("nothing to be held", || server.control().stats().held() == 0)
}
