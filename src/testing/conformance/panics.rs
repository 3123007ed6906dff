//! A panic ends one connection, and nothing else.
//!
//! Most panics here are raised without the panic hook, so that nothing is printed.

use super::client::Client;
use super::ends::{acting, provoke};
use super::role::Role;
use super::stage::{Asked, PATIENCE, Running, Stage, check};
use crate::handler::{Action, CloseKind};
use std::panic::resume_unwind;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Ten for each worker of a pool of four.
const TIMES: usize = 40;

fn panic_silently() -> ! {
    resume_unwind(Box::new("as asked"))
}

/// After so many panics the server serves on: who was there before, and several at once.
fn serves_on(server: &Running, bystander: &mut Client) -> Asked {
    server.log.wait("the end of all that panicked", |seen| seen.closed.len() >= TIMES)?;
    bystander.send(b"still here")?;
    bystander.expect(b"still here")?;
    let mut clients = (0..8).map(|_| server.connect()).collect::<Result<Vec<_>, _>>()?;
    clients.iter_mut().try_for_each(|client| client.send(b"new"))?;
    clients.iter_mut().try_for_each(|client| client.expect(b"new"))
}

/// One callback panics, on one connection after the other, while `armed`.
fn panic_in(stage: &Stage, callback: &'static str) -> Asked {
    let armed = Arc::new(AtomicBool::new(false));
    let its_armed = Arc::clone(&armed);
    let server = stage.serve(move |_, _| {
        if its_armed.load(Ordering::SeqCst) {
            acting(callback, |_| panic_silently())
        } else {
            Role::echo()
        }
    })?;
    let mut bystander = server.connect()?;
    server.log.wait_opened(1)?;
    armed.store(true, Ordering::SeqCst);
    for _ in 0..TIMES {
        let mut client = server.connect()?;
        provoke(&mut client, callback)?;
        client.read_to_any_end()?;
    }
    server.log.wait_closed(CloseKind::Panic, TIMES)?;
    armed.store(false, Ordering::SeqCst);
    serves_on(&server, &mut bystander)
}

pub(super) fn a_panic_in_on_open_ends_one_connection(stage: &Stage) -> Asked {
    panic_in(stage, "open")
}

pub(super) fn a_panic_in_on_data_ends_one_connection(stage: &Stage) -> Asked {
    panic_in(stage, "data")
}

pub(super) fn a_panic_in_on_eof_ends_one_connection(stage: &Stage) -> Asked {
    panic_in(stage, "eof")
}

pub(super) fn a_panic_in_on_writable_ends_one_connection(stage: &Stage) -> Asked {
    panic_in(stage, "writable")
}

pub(super) fn a_panic_in_on_wake_ends_one_connection(stage: &Stage) -> Asked {
    panic_in(stage, "wake")
}

pub(super) fn a_panic_in_on_timer_ends_one_connection(stage: &Stage) -> Asked {
    panic_in(stage, "timer")
}

pub(super) fn a_panic_in_on_shutdown_ends_one_connection(stage: &Stage) -> Asked {
    let server = stage.serve(|_, _| acting("shutdown", |_| panic_silently()))?;
    let clients = (0..TIMES).map(|_| server.connect()).collect::<Result<Vec<_>, _>>()?;
    server.log.wait_opened(TIMES)?;
    server.control().begin_drain(Duration::ZERO, PATIENCE);
    for mut client in clients {
        client.expect_end()?;
    }
    server.log.wait_closed(CloseKind::Panic, TIMES)
}

pub(super) fn a_panic_in_on_close_is_swallowed(stage: &Stage) -> Asked {
    let server = stage.serve(|_, _| Role::echo().close(|_| panic_silently()))?;
    let mut bystander = server.connect()?;
    for _ in 0..TIMES {
        server.connect()?;
    }
    server.log.wait_closed(CloseKind::PeerClosed, TIMES)?;
    serves_on(&server, &mut bystander)
}

pub(super) fn a_panic_in_a_handlers_drop_is_swallowed(stage: &Stage) -> Asked {
    struct Bomb;
    impl Drop for Bomb {
        fn drop(&mut self) {
            panic_silently()
        }
    }
    let server = stage.serve(|_, _| {
        let bomb = Bomb;
        Role::echo().close(move |_| {
            let _held = &bomb;
        })
    })?;
    let mut bystander = server.connect()?;
    for _ in 0..TIMES {
        server.connect()?;
    }
    server.log.wait_closed(CloseKind::PeerClosed, TIMES)?;
    serves_on(&server, &mut bystander)
}

pub(super) fn a_panic_in_the_factory_ends_one_connection(stage: &Stage) -> Asked {
    let armed = Arc::new(AtomicBool::new(false));
    let its_armed = Arc::clone(&armed);
    let server = stage.serve(move |_, log| {
        if its_armed.load(Ordering::SeqCst) {
            log.note("factory");
            panic_silently();
        }
        Role::echo()
    })?;
    let mut bystander = server.connect()?;
    server.log.wait_opened(1)?;
    armed.store(true, Ordering::SeqCst);
    for _ in 0..TIMES {
        server.connect()?.read_to_any_end()?;
    }
    server.log.wait_notes("factory", TIMES)?;
    armed.store(false, Ordering::SeqCst);
    bystander.send(b"still here")?;
    bystander.expect(b"still here")?;
    server.probe(b"new", b"new")?;
    let closed = server.control().stats().closed(CloseKind::Panic);
    check!(closed == TIMES as u64, "{closed} connections were counted as panicked");
    Ok(())
}

pub(super) fn a_panic_keeps_the_output_before_it(stage: &Stage) -> Asked {
    let server = stage.serve(|_, _| {
        let mut calls = 0;
        Role::echo().data(move |input, cx| {
            calls += 1;
            cx.send(format!("{calls};"));
            if calls == 3 {
                panic_silently();
            }
            input.consume(1);
            Ok(Action::Yield)
        })
    })?;
    let mut client = server.connect()?;
    client.send(b"abc")?;
    let reply = client.read_to_end()?;
    check!(reply == b"1;2;", "got `{}`", reply.escape_ascii());
    Ok(())
}

pub(super) fn a_payload_that_panics_is_dropped_with_care(stage: &Stage) -> Asked {
    struct Bomb;
    impl Drop for Bomb {
        fn drop(&mut self) {
            panic_silently()
        }
    }
    let server = stage.serve(|_, _| {
        Role::echo().data(|input, cx| {
            if input.first() == Some(&b'!') {
                resume_unwind(Box::new(Bomb));
            }
            cx.send(input.take());
            Ok(Action::Continue)
        })
    })?;
    let mut bystander = server.connect()?;
    for _ in 0..TIMES {
        let mut client = server.connect()?;
        client.send(b"!")?;
        client.read_to_any_end()?;
    }
    server.log.wait_closed(CloseKind::Panic, TIMES)?;
    serves_on(&server, &mut bystander)
}

pub(super) fn a_panic_under_a_lock_of_the_users_poisons_nothing_else(stage: &Stage) -> Asked {
    // One with words: those are the reason that is told.
    let shared = Arc::new(std::sync::Mutex::new(()));
    let server = stage.serve(move |_, log| {
        let (shared, log) = (Arc::clone(&shared), Arc::clone(log));
        Role::echo()
            .data(move |input, cx| {
                let control = cx.control();
                if input.first() == Some(&b'!') {
                    let _guard = shared.lock();
                    let sender = cx.sender();
                    let _ = sender.send("lost");
                    resume_unwind(Box::new(format!("on {}", control.connections().len())));
                }
                cx.send(input.take());
                Ok(Action::Continue)
            })
            .close(move |reason| log.note(reason.to_string()))
    })?;
    let mut bystander = server.connect()?;
    server.log.wait_opened(1)?;
    let mut client = server.connect()?;
    client.send(b"!")?;
    client.read_to_any_end()?;
    server.log.wait_note("the handler panicked: on 2")?;
    bystander.send(b"still here")?;
    bystander.expect(b"still here")?;
    server.log.wait_closed(CloseKind::Panic, 1)?;
    check!(server.control().stats().closed(CloseKind::Panic) == 1, "the panic was not counted");
    Ok(())
}
