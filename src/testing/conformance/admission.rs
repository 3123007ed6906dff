//! Who is let in when the server is full, and who has to go.

use super::client::Client;
use super::role::Role;
use super::stage::{Asked, Failure, PATIENCE, Running, Stage, check};
use crate::buffer::Input;
use crate::connection::{AtLimit, Limits};
use crate::handler::{Action, BoxError, CloseKind, ConnectionId, Context};
use crate::limit::Limit;
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

/// Waits for a condition that no event tells of.
fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) -> Asked {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        check!(Instant::now() < deadline, "waited {PATIENCE:?} in vain for {what}");
        std::thread::yield_now();
    }
    Ok(())
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
        let spoken = Instant::now() + Duration::from_millis(100);
        while Instant::now() < spoken {
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

pub(super) fn a_connection_can_be_closed_by_its_number(stage: &Stage) -> Asked {
    let server = serve(stage, 100, |_| ())?;
    let control = server.control();
    let (mut stays, mut goes) = (admitted(&server)?, admitted(&server)?);
    say(&mut goes, b"busy")?;
    let addr = goes.local_addr()?;
    let listed = control.connections();
    let Some(found) = listed.iter().find(|c| c.peer == addr) else {
        return Err(Failure::new(format!("{addr} is not among {listed:?}")));
    };
    check!(control.close(found.id), "{addr} is listed, and could not be closed");
    goes.expect_end()?;
    drop(goes);
    server.log.wait_closed(CloseKind::Closed, 1)?;
    wait_until("one to be left", || control.stats().live() == 1)?;
    for id in [found.id, ConnectionId(u64::MAX)] {
        check!(!control.close(id), "a connection that is not there was closed: {id}");
    }
    say(&mut stays, b"still here")
}
