//! How a server comes to its end.

use super::client::Client;
use super::role::Role;
use super::stage::{Asked, Failure, OrFail, PATIENCE, Running, Stage, bind, check};
use crate::handler::{Action, CloseKind};
use std::io::{Read, Write};
use std::sync::{Arc, Mutex, Weak, mpsc};
use std::time::{Duration, Instant};

const MS: Duration = Duration::from_millis(1);

/// Clients that were served once, and are idle now.
fn idle_clients(server: &Running, n: usize) -> Result<Vec<Client>, Failure> {
    let mut clients = (0..n).map(|_| server.connect()).collect::<Result<Vec<_>, _>>()?;
    for client in &mut clients {
        client.send(b"x")?;
        client.expect(b"x")?;
    }
    Ok(clients)
}

pub(super) fn a_drain_closes_idle_connections_at_once(stage: &Stage) -> Asked {
    let server = stage.serve(|_, _| Role::echo())?;
    let clients = idle_clients(&server, 10)?;
    let report = server.handle().drain(Duration::ZERO, PATIENCE);
    check!(report.finished_all && report.closed == 10, "ten idle connections led to {report:?}");
    check!(report.took < PATIENCE / 2, "the drain took {:?}", report.took);
    for mut client in clients {
        client.expect_end()?;
    }
    server.log.wait_closed(CloseKind::Shutdown, 10)
}

pub(super) fn a_drain_of_a_server_without_connections_is_prompt(stage: &Stage) -> Asked {
    for _ in 0..10 {
        let server = stage.serve(|_, _| Role::echo())?;
        let report = server.handle().drain(Duration::ZERO, PATIENCE);
        check!(report.finished_all, "nothing to drain led to {report:?}");
        check!(report.took < PATIENCE / 2, "the drain took {:?}", report.took);
    }
    Ok(())
}

pub(super) fn nobody_connects_after_a_drain(stage: &Stage) -> Asked {
    let server = stage.serve(|_, _| Role::echo())?;
    let _idle = idle_clients(&server, 1)?;
    server.handle().drain(Duration::ZERO, PATIENCE);
    check!(Client::connect(server.addr(), None).is_err(), "the port is still open");
    // And it is free.
    let again = stage.ready(|builder| bind(builder, &server.addr().to_string()))?;
    stage.spawn(again, |_, _| Role::echo())?.probe(b"again", b"again")
}

pub(super) fn nobody_connects_during_a_drain(stage: &Stage) -> Asked {
    let server = stage.serve(|_, _| {
        Role::echo().open(|cx| {
            cx.set_busy(true);
            Ok(Action::Continue)
        })
    })?;
    let mut busy = idle_clients(&server, 1)?;
    server.control().begin_drain(Duration::ZERO, 2 * PATIENCE);
    let deadline = Instant::now() + PATIENCE;
    // Who serves a busy connection has looked at the acceptor, sooner or later.
    while stage.ready(|builder| bind(builder, &server.addr().to_string())).is_err() {
        busy[0].send(b"x")?;
        busy[0].expect(b"x")?;
        check!(Instant::now() < deadline, "the port is still open");
    }
    let refused = Client::connect(server.addr(), None);
    check!(refused.is_err(), "somebody listens on the port");
    busy[0].finish()?;
    busy[0].expect_end()
}

/// Says `begun` and is busy, until so long after the drain has begun; then it says `done`. From the
/// request on, the time would be up before a drain of a system that has much else to do.
fn worker(ms: u32) -> Role {
    Role::echo()
        .data(|input, cx| {
            input.take();
            cx.send("begun;");
            cx.set_busy(true);
            Ok(Action::Continue)
        })
        .shutdown(move |cx| {
            cx.set_timer(ms * MS);
            Ok(Action::Continue)
        })
        .timer(|cx| {
            cx.send("done;");
            cx.set_busy(false);
            Ok(Action::Continue)
        })
}

pub(super) fn a_drain_lets_busy_connections_finish(stage: &Stage) -> Asked {
    let server = stage.serve(|_, _| worker(40))?;
    let mut clients = (0..5).map(|_| server.connect()).collect::<Result<Vec<_>, _>>()?;
    for client in &mut clients {
        client.send(b"work")?;
        client.expect(b"begun;")?;
    }
    // Clients that leave when they see the end: the server lingers for those who do not.
    let ends = std::thread::spawn(move || clients.into_iter().try_for_each(sees_it_done));
    let report = server.handle().drain(Duration::ZERO, PATIENCE);
    check!(report.finished_all && report.finished == 5, "five at work led to {report:?}");
    ends.join().unwrap_or_else(|_| Err(Failure::new("a client panicked")))
}

fn sees_it_done(mut client: Client) -> Asked {
    client.expect(b"done;")?;
    client.expect_end()
}

pub(super) fn what_was_sent_before_a_drain_is_answered(stage: &Stage) -> Asked {
    // The requests may still be in the socket when the drain begins.
    let server = stage.serve(|_, log| {
        let log = Arc::clone(log);
        Role::echo().shutdown(move |cx| {
            cx.send("shutdown");
            log.note("shutdown");
            Ok(Action::Close)
        })
    })?;
    let mut clients = (0..10).map(|_| server.connect()).collect::<Result<Vec<_>, _>>()?;
    server.log.wait_opened(10)?;
    for client in &mut clients {
        client.send(b"request;")?;
    }
    server.control().begin_drain(Duration::ZERO, PATIENCE);
    for client in &mut clients {
        client.expect(b"request;shutdown")?;
        client.expect_end()?;
    }
    server.log.wait_notes("shutdown", 10)
}

pub(super) fn the_backlog_is_served_before_the_end(stage: &Stage) -> Asked {
    let ready = stage.ready(|b| bind(b, "127.0.0.1:0"))?;
    let addr = ready.server.local_addrs()[0].clone();
    let mut clients =
        (0..20).map(|_| Client::connect(&addr, None)).collect::<Result<Vec<_>, _>>()?;
    for client in &mut clients {
        client.send(b"request")?;
    }
    let control = ready.server.control();
    let server = stage.spawn(ready, |_, _| Role::echo())?;
    control.begin_drain(Duration::ZERO, PATIENCE);
    for client in &mut clients {
        client.expect(b"request")?;
        client.expect_end()?;
    }
    server.log.wait_closed(CloseKind::Shutdown, 20)
}

pub(super) fn a_drain_may_begin_before_the_server_runs(stage: &Stage) -> Asked {
    let ready = stage.ready(|b| bind(b, "127.0.0.1:0"))?;
    let addr = ready.server.local_addrs()[0].clone();
    let mut client = Client::connect(&addr, None)?;
    client.send(b"request")?;
    ready.server.control().begin_drain(Duration::ZERO, PATIENCE);
    let server = stage.spawn(ready, |_, _| Role::echo())?;
    client.expect(b"request")?;
    client.expect_end()?;
    drop(client);
    let report = server.handle().drain(Duration::ZERO, PATIENCE);
    check!(report.finished_all, "the drain led to {report:?}");
    Ok(())
}

pub(super) fn a_stop_before_the_server_runs_ends_it(stage: &Stage) -> Asked {
    let ready = stage.ready(|b| bind(b, "127.0.0.1:0"))?;
    let mut client = Client::connect(&ready.server.local_addrs()[0].clone(), None)?;
    ready.server.control().stop();
    let server = stage.spawn(ready, |_, _| Role::echo())?;
    client.read_to_any_end()?;
    let report = server.handle().drain(Duration::ZERO, PATIENCE);
    check!(report.finished_all, "the stop led to {report:?}");
    Ok(())
}

pub(super) fn on_shutdown_is_called_once(stage: &Stage) -> Asked {
    let server = stage.serve(|_, log| {
        let log = Arc::clone(log);
        Role::echo()
            .shutdown(move |cx| {
                log.note("shutdown");
                cx.set_busy(true);
                cx.send("shutdown;");
                Ok(Action::Continue)
            })
            .data(|input, cx| {
                cx.send(input.take());
                cx.set_busy(false);
                Ok(Action::Continue)
            })
    })?;
    let mut clients = idle_clients(&server, 5)?;
    for _ in 0..3 {
        server.control().begin_drain(Duration::ZERO, PATIENCE);
    }
    for client in &mut clients {
        client.expect(b"shutdown;")?;
        // It is still served, and then it is done.
        client.send(b"last")?;
        client.expect(b"last")?;
        client.expect_end()?;
    }
    check!(server.log.seen().count("shutdown") == 5, "on_shutdown was not called once for each");
    Ok(())
}

pub(super) fn the_deadline_ends_what_is_left(stage: &Stage) -> Asked {
    let server = stage.serve(|_, _| worker(1_000_000))?;
    let mut clients = (0..5).map(|_| server.connect()).collect::<Result<Vec<_>, _>>()?;
    for client in &mut clients {
        client.send(b"work")?;
        client.expect(b"begun;")?;
    }
    let ends = std::thread::spawn(move || {
        clients.iter_mut().try_for_each(|client| client.read_to_any_end().map(drop))
    });
    let report = server.handle().drain(Duration::ZERO, 60 * MS);
    check!(report.finished_all && report.killed == 5, "five that never end led to {report:?}");
    let took = report.took;
    check!(took >= 60 * MS && took < PATIENCE / 2, "killed after {took:?}, and not 60 ms");
    ends.join().unwrap_or_else(|_| Err(Failure::new("a client panicked")))?;
    server.log.wait_closed(CloseKind::Killed, 5)
}

pub(super) fn a_stop_resets_everybody(stage: &Stage) -> Asked {
    let server = stage.serve(|_, _| worker(1_000_000))?;
    let mut clients = (0..10).map(|_| server.connect()).collect::<Result<Vec<_>, _>>()?;
    for client in clients.iter_mut().take(5) {
        client.send(b"work")?;
        client.expect(b"begun;")?;
    }
    server.log.wait_opened(10)?;
    let began = Instant::now();
    server.control().stop();
    clients.iter_mut().try_for_each(Client::expect_reset)?;
    check!(began.elapsed() < PATIENCE / 2, "the stop took {:?}", began.elapsed());
    server.log.wait_closed(CloseKind::Killed, 10)
}

pub(super) fn draining_twice_is_draining_once(stage: &Stage) -> Asked {
    let server = stage.serve(|_, _| worker(40))?;
    let mut client = server.connect()?;
    client.send(b"work")?;
    client.expect(b"begun;")?;
    std::thread::scope(|scope| {
        let end = scope.spawn(move || sees_it_done(client));
        let drains = [(); 3].map(|()| scope.spawn(|| server.handle().drain(MS, PATIENCE)));
        for drain in drains {
            let report = drain.join().map_err(|_| Failure::new("a drain panicked"))?;
            check!(report.finished_all && report.finished == 1, "a second drain: {report:?}");
        }
        end.join().unwrap_or_else(|_| Err(Failure::new("the client panicked")))
    })?;
    let again = server.handle().drain(Duration::ZERO, Duration::ZERO);
    check!(again.finished_all, "a drain after the end led to {again:?}");
    server.control().stop();
    Ok(())
}

pub(super) fn a_later_drain_brings_the_end_closer(stage: &Stage) -> Asked {
    let server = stage.serve(|_, _| worker(1_000_000))?;
    let mut client = server.connect()?;
    client.send(b"work")?;
    client.expect(b"begun;")?;
    server.control().begin_drain(Duration::ZERO, Duration::from_secs(3600));
    let end = std::thread::spawn(move || client.read_to_any_end().map(drop));
    let report = server.handle().drain(Duration::ZERO, 20 * MS);
    check!(report.finished_all && report.killed == 1, "the later drain led to {report:?}");
    end.join().unwrap_or_else(|_| Err(Failure::new("the client panicked")))
}

pub(super) fn a_drain_from_a_handler_begins_and_returns(stage: &Stage) -> Asked {
    let server_of: Arc<Mutex<Weak<Running>>> = Arc::default();
    let its_server = Arc::clone(&server_of);
    let server = stage.serve(move |_, _| {
        let server = Arc::clone(&its_server);
        Role::echo().data(move |input, cx| {
            input.take();
            let running = server.lock().unwrap().upgrade();
            if let Some(running) = running {
                let began = Instant::now();
                let report = running.handle().drain(Duration::ZERO, PATIENCE);
                let prompt = began.elapsed() < PATIENCE / 2;
                cx.send(format!("{} {prompt}", report.finished_all));
            }
            Ok(Action::Continue)
        })
    })?;
    *server_of.lock().unwrap() = Arc::downgrade(&server);
    let mut client = server.connect()?;
    client.send(b"drain")?;
    client.expect(b"false true")?;
    client.expect_end()
}

pub(super) fn grace_serves_those_who_still_come(stage: &Stage) -> Asked {
    let server = stage.serve(|_, _| Role::echo())?;
    let grace = Duration::from_secs(3600);
    server.control().begin_drain(grace, grace);
    for _ in 0..5 {
        server.probe(b"still", b"still")?;
    }
    let mut open = server.connect()?;
    open.send(b"open")?;
    open.expect(b"open")?;
    // A later drain ends the grace.
    let report = server.handle().drain(Duration::ZERO, PATIENCE);
    check!(report.finished_all, "the end of the grace led to {report:?}");
    open.expect_end()
}

pub(super) fn handlers_see_a_drain_in_its_grace(stage: &Stage) -> Asked {
    let server = stage.serve(|_, _| {
        Role::echo().data(|input, cx| {
            input.take();
            // From the handler, and from anywhere.
            cx.send(match (cx.is_draining(), cx.control().is_draining()) {
                (true, true) => "yes",
                (false, false) => "no;",
                _ => "they disagree",
            });
            Ok(Action::Continue)
        })
    })?;
    let mut client = server.connect()?;
    client.send(b"draining?")?;
    client.expect(b"no;")?;
    let grace = Duration::from_secs(3600);
    server.control().begin_drain(grace, grace);
    client.send(b"draining?")?;
    client.expect(b"yes")?;
    server.probe(b"draining?", b"yes")?;
    let control = server.control();
    server.handle().drain(Duration::ZERO, PATIENCE);
    client.expect_end()?;
    check!(control.is_draining(), "a server that has ended does not drain");
    Ok(())
}

pub(super) fn a_farewell_is_no_work(stage: &Stage) -> Asked {
    let server = stage.serve(|_, _| {
        Role::echo().shutdown(|cx| {
            cx.send("farewell");
            Ok(Action::Close)
        })
    })?;
    let mut clients = idle_clients(&server, 3)?;
    let ends = std::thread::spawn(move || {
        clients.iter_mut().try_for_each(|client| {
            client.expect(b"farewell")?;
            client.expect_end()
        })
    });
    let report = server.handle().drain(Duration::ZERO, PATIENCE);
    check!((report.closed, report.finished) == (3, 0), "three farewells led to {report:?}");
    ends.join().unwrap_or_else(|_| Err(Failure::new("a client panicked")))
}

pub(super) fn a_server_gives_its_listeners_to_the_next(stage: &Stage) -> Asked {
    let old = stage.serve(|_, _| Role::echo())?;
    let mut served = idle_clients(&old, 2)?;
    let taken = old.handle().take_listeners().or_fail("the listeners")?;
    check!(taken.len() == 1, "{} listeners were given away", taken.len());
    let again = old.handle().take_listeners().or_fail("no listeners")?;
    check!(again.is_empty(), "listeners were given away twice");
    // Whoever comes now waits for the next server, and those who are served go on.
    let waits =
        std::net::TcpStream::connect(old.addr().as_tcp().ok_or("none").or_fail("a TCP address")?);
    let mut waits = waits.or_fail("a place in the backlog")?;
    served[0].send(b"still here")?;
    served[0].expect(b"still here")?;
    let mut listeners = taken.into_iter();
    let next = stage.ready(|builder| {
        let listener = listeners.next().ok_or("none").or_fail("a listener")?;
        builder.listener(listener).or_fail("a server on the listener")
    })?;
    let report = old.handle().drain(Duration::ZERO, PATIENCE);
    check!(report.closed == 2 && report.finished_all, "the old server's drain led to {report:?}");
    served.iter_mut().try_for_each(Client::expect_end)?;
    let next = stage.spawn(next, |_, _| Role::echo())?;
    check!(next.addr() == old.addr(), "the next one listens on {}", next.addr());
    waits.write_all(b"waited").or_fail("to send")?;
    waits.set_read_timeout(Some(PATIENCE)).or_fail("a time-out")?;
    let mut answer = [0; 6];
    waits.read_exact(&mut answer).or_fail("an answer of the next server")?;
    check!(&answer == b"waited", "the next server answered {answer:?}");
    next.probe(b"a new one", b"a new one")
}

pub(super) fn grace_ends_by_itself(stage: &Stage) -> Asked {
    let server = stage.serve(|_, _| Role::echo())?;
    let mut idle = idle_clients(&server, 2)?;
    let began = Instant::now();
    let report = server.handle().drain(40 * MS, PATIENCE);
    // Not by force, at the deadline.
    check!(report.finished_all && report.closed == 2, "the drain led to {report:?}");
    check!(began.elapsed() >= 40 * MS, "the grace ended after {:?}", began.elapsed());
    idle.iter_mut().try_for_each(Client::expect_end)
}

pub(super) fn a_drain_reaches_whoever_waits_for_something_else(stage: &Stage) -> Asked {
    // Paused, in need of more bytes, with a timer, with a sender, half-closed.
    let (give, take) = mpsc::channel();
    let give = Mutex::new(give);
    let server = stage.serve(move |_, _| {
        let give = give.lock().unwrap().clone();
        Role::echo()
            .data(move |input, cx| {
                cx.send("ready");
                match input.first() {
                    Some(b'p') => return Ok(Action::Pause),
                    Some(b'w') => return Ok(Action::Want(1000)),
                    Some(b't') => cx.set_timer(Duration::from_secs(3600)),
                    Some(b's') => drop(give.send(cx.sender())),
                    _ => (),
                }
                input.take();
                Ok(Action::Continue)
            })
            .eof(|_, cx| {
                cx.send("eof");
                Ok(Action::Continue)
            })
            .shutdown(|cx| {
                cx.send("end");
                Ok(Action::Close)
            })
    })?;
    let mut clients = Vec::new();
    for first in [b"p", b"w", b"t", b"s", b"h"] {
        let mut client = server.connect()?;
        client.send(first)?;
        client.expect(b"ready")?;
        if first == b"h" {
            client.finish()?;
            client.expect(b"eof")?;
        }
        clients.push(client);
    }
    let sender = take.recv().or_fail("a sender")?;
    server.control().begin_drain(Duration::ZERO, PATIENCE);
    for client in &mut clients {
        client.expect(b"end")?;
        client.expect_end()?;
    }
    check!(sender.send("late").is_err(), "a message was accepted after the end");
    Ok(())
}

pub(super) fn a_server_can_be_joined(stage: &Stage) -> Asked {
    let server = stage.serve_apart(|_, _| Role::echo())?;
    let control = server.control();
    let addr = server.local_addrs()[0].clone();
    let client = Client::connect(&addr, None)?;
    let joined = std::thread::spawn(move || server.join());
    control.begin_drain(Duration::ZERO, PATIENCE);
    drop(client);
    let result = joined.join().map_err(|_| Failure::new("join panicked"))?;
    result.or_fail("the server ended well")?;
    check!(control.stats().live() == 0, "connections are left: {:?}", control.stats());
    Ok(())
}

pub(super) fn dropping_the_handle_drains(stage: &Stage) -> Asked {
    let server = stage.serve_apart(|_, _| Role::echo())?;
    let control = server.control();
    let mut client = Client::connect(&server.local_addrs()[0].clone(), None)?;
    if !stage.has_layer() {
        client.send(b"x")?;
        client.expect(b"x")?;
    }
    drop(server);
    client.read_to_any_end()?;
    check!(control.stats().live() == 0, "connections are left: {:?}", control.stats());
    Ok(())
}

pub(super) fn a_drain_while_clients_come_and_go_loses_no_request(stage: &Stage) -> Asked {
    // A request that was taken is answered, whenever the drain begins.
    let server = stage.serve(|_, _| Role::echo())?;
    std::thread::scope(|scope| {
        let (begin, began) = mpsc::channel();
        let mut loops = Vec::new();
        for _ in 0..4 {
            let (begin, server) = (begin.clone(), &server);
            loops.push(scope.spawn(move || {
                let mut client = server.connect()?;
                let mut rounds = 0;
                loop {
                    let sent = client.try_send(b"request").is_ok();
                    let reply = client.read(7);
                    if !sent || reply.is_err() {
                        return Ok(rounds);
                    }
                    rounds += 1;
                    if rounds == 20 {
                        let _ = begin.send(());
                    }
                }
            }));
        }
        for _ in 0..4 {
            began.recv_timeout(PATIENCE).or_fail("twenty round trips of each")?;
        }
        let report = server.handle().drain(Duration::ZERO, PATIENCE);
        check!(report.finished_all && report.killed == 0, "the drain led to {report:?}");
        for client in loops {
            let rounds = client.join().map_err(|_| Failure::new("a client panicked"))??;
            check!(rounds >= 20, "a client was served {rounds} times only");
        }
        Ok::<_, Failure>(())
    })
}
