//! How many connections there are, which, and what is known of them.

use super::role::Role;
use super::stage::{Asked, PATIENCE, Stage, check};
use crate::handler::Action;
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Instant;

pub(super) fn the_limit_of_connections_is_exact(stage: &Stage) -> Asked {
    const LIMIT: usize = 5;
    let server = stage.serve_with(|b| b.max_connections(LIMIT), |_, _| Role::echo())?;
    let mut waiting = Vec::new();
    for _ in 0..LIMIT + 20 {
        // Those above the limit wait in the backlog: they cannot shake hands yet.
        let mut client = server.connect_silently()?;
        if waiting.len() < LIMIT {
            server.greet(&mut client)?;
            client.send(b"x")?;
            client.expect(b"x")?;
        }
        waiting.push(client);
    }
    for (n, mut client) in waiting.into_iter().enumerate() {
        let live = server.control().stats().live();
        check!(live <= LIMIT, "{live} connections are live, {LIMIT} at most were allowed");
        if n >= LIMIT {
            server.greet(&mut client)?;
        }
        client.send(b"y")?;
        client.expect(b"y")?;
    }
    server.log.wait_opened(LIMIT + 20)?;
    let most = server.log.seen().most_open;
    check!(most == LIMIT, "{most} connections were open at once, not {LIMIT}");
    Ok(())
}

pub(super) fn a_place_that_is_free_is_taken_at_once(stage: &Stage) -> Asked {
    let server = stage.serve_with(|b| b.max_connections(1), |_, _| Role::echo())?;
    let mut before = server.connect()?;
    for n in 0..80_u8 {
        let mut next = server.connect_silently()?;
        before.send(&[n])?;
        before.expect(&[n])?;
        drop(before);
        server.greet(&mut next)?;
        before = next;
    }
    before.send(b"last")?;
    before.expect(b"last")
}

pub(super) fn a_place_is_free_when_the_server_closes(stage: &Stage) -> Asked {
    // The server closes first, so that connections linger until their peers have seen it.
    let server = stage.serve_with(
        |b| b.max_connections(2),
        |_, _| {
            Role::echo().data(|input, cx| {
                cx.send(input.take());
                Ok(Action::Close)
            })
        },
    )?;
    for _ in 0..60 {
        let mut client = server.connect()?;
        client.send(b"x")?;
        client.expect(b"x")?;
        client.expect_end()?;
    }
    Ok(())
}

pub(super) fn accepting_can_be_paused(stage: &Stage) -> Asked {
    let server = stage.serve(|_, _| Role::echo())?;
    let control = server.control();
    let mut open = server.connect()?;
    for _ in 0..5 {
        open.send(b"a")?;
        open.expect(b"a")?;
        let before = control.stats().accepted();
        control.pause();
        let mut waiting = Vec::new();
        for _ in 0..5 {
            waiting.push(server.connect_silently()?);
            open.send(b"b")?;
            open.expect(b"b")?;
        }
        // An accept that had begun before the pause may take one.
        let accepted = control.stats().accepted() - before;
        check!(accepted <= 1, "{accepted} connections were accepted during a pause");
        control.resume();
        for client in &mut waiting {
            server.greet(client)?;
            client.send(b"c")?;
            client.expect(b"c")?;
        }
    }
    Ok(())
}

pub(super) fn connections_are_listed_and_counted(stage: &Stage) -> Asked {
    let server = stage.serve(|_, _| Role::echo())?;
    let control = server.control();
    let mut clients = (0..5).map(|_| server.connect()).collect::<Result<Vec<_>, _>>()?;
    for client in &mut clients {
        client.send(b"x")?;
        client.expect(b"x")?;
    }
    let stats = control.stats();
    check!(
        stats.accepted() == 5 && stats.open() == 5 && stats.live() == 5,
        "five connections are counted as {stats:?}"
    );
    let listed: HashSet<_> = control.connections().into_iter().map(|c| c.peer).collect();
    for client in &clients {
        let addr = client.local_addr()?;
        check!(listed.contains(&addr), "{addr} is not among {listed:?}");
    }
    check!(listed.len() == 5, "{listed:?} are listed");
    clients.truncate(2);
    server.log.wait("three ends", |seen| seen.closed.len() == 3)?;
    // They are counted and taken off the list right after on_close.
    let deadline = Instant::now() + PATIENCE;
    loop {
        let (stats, listed) = (control.stats(), control.connections().len());
        if stats.open() == 2 && stats.closed_total() == 3 && listed == 2 {
            return Ok(());
        }
        check!(Instant::now() < deadline, "two of five: {stats:?}, {listed} listed");
        std::thread::yield_now();
    }
}

pub(super) fn a_handler_knows_both_addresses_and_its_number(stage: &Stage) -> Asked {
    let server = stage.serve(|peer, _| {
        let made_for = peer.addr().clone();
        Role::echo().data(move |input, cx| {
            input.take();
            let same = cx.peer().addr() == &made_for;
            let local = cx.local_addr()?;
            cx.send(format!("{} {} {} {same}\n", cx.id(), cx.peer().addr(), local));
            Ok(Action::Continue)
        })
    })?;
    let mut numbers = HashSet::new();
    let mut clients = (0..5).map(|_| server.connect()).collect::<Result<Vec<_>, _>>()?;
    for client in &mut clients {
        client.send(b"?")?;
        let line = String::from_utf8_lossy(&client.read_until(b'\n')?).into_owned();
        let (number, rest) = line.split_once(' ').unwrap_or_default();
        let expected = format!("{} {} true", client.local_addr()?, server.addr());
        check!(rest == expected, "the handler knows `{rest}`, not `{expected}`");
        check!(numbers.insert(number.to_owned()), "two connections are called {number}");
    }
    Ok(())
}

pub(super) fn silent_connections_take_nothing_from_others(stage: &Stage) -> Asked {
    // Far more than any pool has workers.
    let server = stage.serve(|_, _| Role::echo())?;
    let silent = (0..100).map(|_| server.connect()).collect::<Result<Vec<_>, _>>()?;
    server.log.wait_opened(silent.len())?;
    let mut active = (0..8).map(|_| server.connect()).collect::<Result<Vec<_>, _>>()?;
    for _ in 0..10 {
        for client in &mut active {
            client.send(b"x")?;
        }
        for client in &mut active {
            client.expect(b"x")?;
        }
    }
    Ok(())
}

pub(super) fn a_burst_of_connections_is_all_accepted(stage: &Stage) -> Asked {
    // They wait in the backlog before the server runs, more than one turn accepts.
    let ready = stage.ready(|b| super::stage::bind(b, "127.0.0.1:0"))?;
    let addr = ready.server.local_addrs()[0].clone();
    let mut clients = (0..150)
        .map(|_| super::client::Client::connect(&addr, None))
        .collect::<Result<Vec<_>, _>>()?;
    let server = stage.spawn(ready, |_, _| Role::echo())?;
    for client in &mut clients {
        server.greet(client)?;
        client.send(b"x")?;
    }
    clients.iter_mut().try_for_each(|client| client.expect(b"x"))
}

pub(super) fn a_blocking_handler_says_where_it_may(stage: &Stage) -> Asked {
    // Where a handler may block, one that does so must not stop another connection.
    let gate = Arc::new(std::sync::Barrier::new(2));
    let server = stage.serve(move |_, _| {
        let gate = Arc::clone(&gate);
        Role::echo().data(move |input, cx| {
            if input.take() == b"meet" && cx.may_block() {
                gate.wait();
            }
            cx.send(if cx.may_block() { "blocks" } else { "runs on" });
            Ok(Action::Continue)
        })
    })?;
    let (mut first, mut second) = (server.connect()?, server.connect()?);
    first.send(b"ask")?;
    let first_says = first.read(6)?;
    if first_says == b"blocks" {
        first.send(b"meet")?;
        second.send(b"meet")?;
        first.expect(b"blocks")?;
        return second.expect(b"blocks");
    }
    first.expect(b"n")?;
    second.send(b"meet")?;
    second.expect(b"runs on")
}
