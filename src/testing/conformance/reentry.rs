//! Everything may be called from every callback, on the own connection and on others.

use super::client::Client;
use super::ends::{CALLBACKS, acting, provoke};
use super::role::Role;
use super::stage::{Asked, PATIENCE, Running, Stage, check};
use crate::handler::{Action, Context, Sender};
use crate::limit::Limit;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// The senders of all connections of a server.
type All = Arc<Mutex<Vec<Sender>>>;

/// Makes every call that leaves the connections open.
fn call_everything(cx: &mut Context<'_>, all: &All) {
    let own = cx.sender();
    let mut senders = all.lock().unwrap().clone();
    senders.push(own.clone());
    for sender in senders {
        let _ = sender.send("sent;");
        sender.wake();
        sender.resume();
        sender.pending();
        sender.is_closed();
    }
    let control = cx.control();
    control.pause();
    control.resume();
    control.stats();
    control.connections();
    cx.set_timer(Duration::from_secs(60));
    cx.clear_timer();
    cx.resume();
    cx.set_busy(true);
    cx.set_busy(false);
    cx.set_idle_timeout(Limit::Unlimited);
    let _ = (cx.id(), cx.peer().ip(), cx.local_addr(), cx.may_block(), cx.is_writable());
    cx.send("called;");
}

/// A server whose first connection joins `all`, and whose others do something in one callback.
fn server_of(
    stage: &Stage,
    callback: &'static str,
    act: fn(&mut Context<'_>, &All),
) -> Result<(Arc<Running>, Client, All), super::Failure> {
    let all = All::default();
    let its_all = Arc::clone(&all);
    let server = stage.serve(move |_, log| {
        let (all, log) = (Arc::clone(&its_all), Arc::clone(log));
        if all.lock().unwrap().is_empty() {
            return Role::echo().open(move |cx| {
                all.lock().unwrap().push(cx.sender());
                cx.send("first;");
                Ok(Action::Continue)
            });
        }
        let mut done = false;
        acting(callback, move |cx| {
            // A wake of its own must not lead to another without end.
            if !std::mem::replace(&mut done, true) {
                act(cx, &all);
                log.note("acted");
            }
            Ok(Action::Continue)
        })
    })?;
    let mut first = server.connect()?;
    first.expect(b"first;")?;
    Ok((server, first, all))
}

pub(super) fn everything_may_be_called_from_every_callback(stage: &Stage) -> Asked {
    for callback in CALLBACKS {
        let (server, mut first, all) = server_of(stage, callback, call_everything)?;
        let mut client = server.connect()?;
        provoke(&mut client, callback)?;
        server.log.wait_note("acted")?;
        first.expect(b"sent;")?;
        // What it said itself comes before what it sent to itself.
        let mut reply = client.read(b"called;sent;".len())?;
        while !reply.ends_with(b"called;sent;") {
            reply.extend(client.read(1)?);
        }
        first.send(b"alive")?;
        first.expect(b"alive")?;
        if callback == "eof" {
            all.lock().unwrap().clear();
            server.control().stop(); // it is half-open for as long as it likes
        }
    }
    Ok(())
}

fn close_all(cx: &mut Context<'_>, all: &All) {
    cx.send("bye");
    cx.sender().close();
    for sender in all.lock().unwrap().iter() {
        sender.close();
    }
}

pub(super) fn every_callback_may_close_itself_and_others(stage: &Stage) -> Asked {
    for callback in CALLBACKS {
        let (server, mut first, _all) = server_of(stage, callback, close_all)?;
        let mut client = server.connect()?;
        provoke(&mut client, callback)?;
        let reply = client.read_to_end()?;
        check!(reply.ends_with(b"bye"), "after {callback}: `{}`", reply.escape_ascii());
        first.expect_end()?;
    }
    Ok(())
}

fn drain(cx: &mut Context<'_>, _all: &All) {
    cx.control().begin_drain(Duration::ZERO, PATIENCE);
    cx.send("draining");
}

pub(super) fn every_callback_may_begin_a_drain(stage: &Stage) -> Asked {
    for callback in CALLBACKS {
        let (server, mut first, _all) = server_of(stage, callback, drain)?;
        let mut client = server.connect()?;
        provoke(&mut client, callback)?;
        let reply = client.read_to_end()?;
        check!(reply.ends_with(b"draining"), "after {callback}: `{}`", reply.escape_ascii());
        first.expect_end()?;
        let report = server.handle().drain(Duration::ZERO, PATIENCE);
        check!(report.finished_all, "a drain begun by {callback} led to {report:?}");
    }
    Ok(())
}

fn stop(cx: &mut Context<'_>, _all: &All) {
    cx.control().stop();
}

pub(super) fn every_callback_may_stop_the_server(stage: &Stage) -> Asked {
    for callback in CALLBACKS {
        let (server, mut first, _all) = server_of(stage, callback, stop)?;
        // The stop may come before the client is through with its handshake.
        let client = server.connect();
        if let Ok(mut client) = client {
            provoke(&mut client, callback)?;
            client.read_to_any_end()?;
        }
        first.expect_reset()?;
        let report = server.handle().drain(Duration::ZERO, PATIENCE);
        check!(report.finished_all, "a stop by {callback} led to {report:?}");
    }
    Ok(())
}

pub(super) fn the_last_callback_may_call_everything_but_speak(stage: &Stage) -> Asked {
    let all = All::default();
    let its_all = Arc::clone(&all);
    let server = stage.serve(move |_, log| {
        let (all, late, log) = (Arc::clone(&its_all), Arc::clone(&its_all), Arc::clone(log));
        let its_own = Arc::new(Mutex::new(None::<(Sender, crate::Control)>));
        let keeps = Arc::clone(&its_own);
        Role::echo()
            .open(move |cx| {
                all.lock().unwrap().push(cx.sender());
                *keeps.lock().unwrap() = Some((cx.sender(), cx.control()));
                cx.send("open;");
                Ok(Action::Continue)
            })
            .close(move |_| {
                let Some((sender, control)) = its_own.lock().unwrap().take() else { return };
                if sender.send("x").is_ok() || sender.wake() || sender.close() {
                    log.violation("a connection took something in on_close");
                }
                control.stats();
                control.connections();
                for other in late.lock().unwrap().iter() {
                    let _ = other.send("one left;");
                }
            })
    })?;
    let mut stays = server.connect()?;
    stays.expect(b"open;")?;
    let mut leaves = server.connect()?;
    leaves.expect(b"open;")?;
    drop(leaves);
    stays.expect(b"one left;")
}
