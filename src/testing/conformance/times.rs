//! Timers and time-outs: never early, never forgotten.
//!
//! Where something must not happen, another connection with a clock of its own tells when enough
//! time has passed.

use super::client::Client;
use super::role::Role;
use super::stage::{Asked, PATIENCE, Running, Stage, check};
use crate::connection::Timeouts;
use crate::handler::{Action, CloseKind, Sender};
use crate::limit::Limit;
use crate::server::Builder;
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};

const MS: Duration = Duration::from_millis(1);
/// Longer than a busy machine keeps a client from its next byte.
const IDLE: Duration = Duration::from_millis(200);

/// Sets its timer to the milliseconds that it is told, and says `ok` or `early` when it runs out.
fn clock() -> Role {
    let due = Arc::new(Mutex::new(Instant::now()));
    let is_due = Arc::clone(&due);
    Role::echo()
        .data(move |input, cx| {
            let ms = String::from_utf8_lossy(input.take()).parse().unwrap_or(0);
            cx.set_timer(ms * MS);
            *due.lock().unwrap() = Instant::now() + ms * MS;
            Ok(Action::Continue)
        })
        .timer(move |cx| {
            let early = Instant::now() < *is_due.lock().unwrap();
            cx.send(if early { "early" } else { "ok" });
            Ok(Action::Continue)
        })
}

pub(super) fn a_timer_is_never_early_and_never_forgotten(stage: &Stage) -> Asked {
    let server = stage.serve(|_, _| clock())?;
    let mut clients = (0..20).map(|_| server.connect()).collect::<Result<Vec<_>, _>>()?;
    // The later ones run out first.
    for (n, client) in clients.iter_mut().enumerate() {
        client.send(format!("{}", 60 - 3 * n).as_bytes())?;
    }
    clients.iter_mut().try_for_each(|client| client.expect(b"ok"))?;
    for ms in [0, 1, 2, 10] {
        clients[0].send(format!("{ms}").as_bytes())?;
        clients[0].expect(b"ok")?;
    }
    Ok(())
}

pub(super) fn a_timer_may_be_set_again_and_again(stage: &Stage) -> Asked {
    let server = stage.serve(|_, _| {
        let mut left = 50;
        Role::echo()
            .open(|cx| {
                cx.set_timer(Duration::ZERO);
                cx.send("open;");
                Ok(Action::Continue)
            })
            .timer(move |cx| {
                cx.send("t;");
                cx.set_timer(Duration::ZERO);
                left -= 1;
                Ok(if left == 0 { Action::Close } else { Action::Continue })
            })
    })?;
    let mut client = server.connect()?;
    let reply = client.read_to_end()?;
    check!(reply == [b"open;".as_slice(), &b"t;".repeat(50)].concat(), "{}", reply.escape_ascii());
    Ok(())
}

pub(super) fn a_timer_replaces_the_one_before(stage: &Stage) -> Asked {
    let server = stage.serve(|_, log| {
        let log = Arc::clone(log);
        Role::echo()
            .data(move |input, cx| {
                input.take();
                cx.set_timer(MS);
                cx.set_timer(Duration::from_secs(3600));
                cx.set_timer(60 * MS);
                Ok(Action::Continue)
            })
            .timer(move |cx| {
                cx.send("timer");
                log.note("timer");
                Ok(Action::Continue)
            })
    })?;
    let mut client = server.connect()?;
    let began = Instant::now();
    client.send(b"x")?;
    client.expect(b"timer")?;
    check!(began.elapsed() >= 60 * MS, "the timer that was replaced ran out");
    client.send(b"x")?;
    client.send(b"x")?;
    client.expect(b"timer")?;
    Ok(())
}

pub(super) fn a_timer_that_is_cleared_or_never_does_not_run_out(stage: &Stage) -> Asked {
    let server = stage.serve(|_, log| {
        let log = Arc::clone(log);
        Role::echo()
            .data(move |input, cx| {
                cx.set_timer(MS);
                match input.take() {
                    b"clear" => cx.clear_timer(),
                    b"never" => cx.set_timer(Duration::MAX),
                    _ => cx.set_timer(40 * MS),
                }
                cx.send("set");
                Ok(Action::Continue)
            })
            .timer(move |_| {
                log.note("timer");
                Ok(Action::Continue)
            })
    })?;
    let mut clients = Vec::new();
    for text in ["clear", "never", "clock"] {
        let mut client = server.connect()?;
        client.send(text.as_bytes())?;
        client.expect(b"set")?;
        clients.push(client);
    }
    server.log.wait_note("timer")?;
    check!(server.log.seen().count("timer") == 1, "a timer ran out that was not set");
    Ok(())
}

pub(super) fn a_timer_counts_from_the_end_of_its_callback(stage: &Stage) -> Asked {
    let server = stage.serve(|_, log| {
        let log = Arc::clone(log);
        let ended = Arc::new(Mutex::new(Instant::now()));
        let its_end = Arc::clone(&ended);
        Role::echo()
            .data(move |input, cx| {
                input.take();
                cx.set_timer(20 * MS);
                // The callback takes its time.
                let began = Instant::now();
                while began.elapsed() < 25 * MS {
                    std::hint::spin_loop();
                }
                *ended.lock().unwrap() = Instant::now();
                Ok(Action::Continue)
            })
            .timer(move |cx| {
                if its_end.lock().unwrap().elapsed() < 20 * MS {
                    log.violation("the timer counted from the beginning of the callback");
                }
                cx.send("timer");
                Ok(Action::Continue)
            })
    })?;
    let mut client = server.connect()?;
    client.send(b"x")?;
    client.expect(b"timer")
}

/// Time-outs, all off but those that `set` sets.
fn only(builder: Builder, set: impl FnOnce(&mut Timeouts)) -> Builder {
    let mut timeouts = Timeouts::default();
    timeouts.first_byte = Limit::Unlimited;
    timeouts.idle = Limit::Unlimited;
    timeouts.message = Limit::Unlimited;
    timeouts.half_closed = Limit::Unlimited;
    set(&mut timeouts);
    builder.timeouts(timeouts)
}

/// The connection is closed, not before `after` from `began` on.
fn ends_after(client: &mut Client, began: Instant, after: Duration) -> Asked {
    client.read_to_end()?;
    let took = began.elapsed();
    check!(took >= after, "closed after {took:?}, and {after:?} were allowed");
    Ok(())
}

pub(super) fn an_idle_connection_is_closed(stage: &Stage) -> Asked {
    let server = stage.serve_with(|b| only(b, |t| t.idle = IDLE.into()), |_, _| Role::echo())?;
    let mut clients = Vec::new();
    for _ in 0..5 {
        let mut client = server.connect()?;
        let began = Instant::now();
        client.send(b"x")?;
        clients.push((client, began));
    }
    for (client, began) in &mut clients {
        ends_after(client, *began, IDLE)?;
    }
    server.log.wait_closed(CloseKind::IdleTimeout, 5)
}

pub(super) fn a_byte_restarts_the_idle_clock_and_output_does_not(stage: &Stage) -> Asked {
    let server = stage.serve_with(
        // Longer than a busy machine keeps this client from its next byte.
        |b| only(b, |t| t.idle = (600 * MS).into()),
        |_, _| {
            Role::echo()
                .open(|cx| {
                    cx.set_timer(5 * MS);
                    Ok(Action::Continue)
                })
                .timer(|cx| {
                    cx.send(".");
                    cx.set_timer(5 * MS);
                    Ok(Action::Continue)
                })
        },
    )?;
    let mut client = server.connect()?;
    let began = Instant::now();
    // Each byte that comes is answered by one.
    let mut last = began;
    while began.elapsed() < 700 * MS {
        client.read(1)?;
        last = Instant::now();
        client.send(b"!")?;
    }
    ends_after(&mut client, last, 600 * MS)?;
    server.log.wait_closed(CloseKind::IdleTimeout, 1)
}

pub(super) fn a_peer_that_connects_and_says_nothing_is_closed(stage: &Stage) -> Asked {
    let server =
        stage.serve_with(|b| only(b, |t| t.first_byte = (200 * MS).into()), |_, _| Role::echo())?;
    let mut speaker = server.connect()?;
    speaker.send(b"x")?;
    speaker.expect(b"x")?;
    let began = Instant::now();
    let mut silent = server.connect()?;
    ends_after(&mut silent, began, 200 * MS)?;
    server.log.wait_closed(CloseKind::FirstByteTimeout, 1)?;
    speaker.send(b"y")?;
    speaker.expect(b"y")
}

pub(super) fn drips_do_not_restart_the_message_clock(stage: &Stage) -> Asked {
    let server = stage.serve_with(
        |b| only(b, |t| t.message = (60 * MS).into()),
        |_, _| {
            Role::echo().data(|input, cx| {
                cx.send(".");
                if input.ends_with(b"\n") {
                    input.take();
                }
                Ok(Action::Continue)
            })
        },
    )?;
    let mut client = server.connect()?;
    // Whole messages never run into it.
    let began = Instant::now();
    while began.elapsed() < 80 * MS {
        client.send(b"\n")?;
        client.expect(b".")?;
    }
    let began = Instant::now();
    while client.try_send(b"x").is_ok() && client.expect(b".").is_ok() {
        check!(began.elapsed() < PATIENCE, "the message clock was restarted by drips");
    }
    check!(began.elapsed() >= 60 * MS, "closed before the message time-out");
    server.log.wait_closed(CloseKind::MessageTimeout, 1)
}

pub(super) fn a_half_closed_connection_ends_in_time(stage: &Stage) -> Asked {
    let server = stage.serve_with(
        |b| only(b, |t| t.half_closed = (50 * MS).into()),
        |_, _| Role::echo().eof(|_, _| Ok(Action::Continue)),
    )?;
    let mut client = server.connect()?;
    let began = Instant::now();
    client.finish()?;
    ends_after(&mut client, began, 50 * MS)?;
    server.log.wait_closed(CloseKind::HalfClosedTimeout, 1)
}

/// Waits until two connections in a row, that did nothing, were closed for being idle: whoever was
/// idle all that time would have been closed as well.
fn two_idle_times(server: &Running) -> Asked {
    for _ in 0..2 {
        let mut client = server.connect()?;
        client.send(b"x")?;
        client.read_to_end()?;
    }
    Ok(())
}

pub(super) fn a_connection_may_exempt_itself_from_the_idle_clock(stage: &Stage) -> Asked {
    let server = stage.serve_with(
        |b| only(b, |t| t.idle = IDLE.into()),
        |_, _| {
            Role::echo().data(|input, cx| {
                match input.first() {
                    Some(b'+') => cx.set_idle_timeout(Limit::Unlimited),
                    Some(b'-') => cx.reset_idle_timeout(),
                    _ => (),
                }
                cx.send(input.take());
                Ok(Action::Continue)
            })
        },
    )?;
    let mut client = server.connect()?;
    client.send(b"+")?;
    client.expect(b"+")?;
    two_idle_times(&server)?;
    let began = Instant::now();
    client.send(b"-")?;
    client.expect(b"-")?;
    ends_after(&mut client, began, IDLE)
}

pub(super) fn a_connection_may_shorten_its_idle_clock(stage: &Stage) -> Asked {
    let server = stage.serve(|_, _| {
        Role::echo().open(|cx| {
            cx.set_idle_timeout(40 * MS);
            Ok(Action::Continue)
        })
    })?;
    let began = Instant::now();
    let mut client = server.connect()?;
    ends_after(&mut client, began, 40 * MS)?;
    server.log.wait_closed(CloseKind::IdleTimeout, 1)
}

pub(super) fn a_busy_connection_is_not_idle(stage: &Stage) -> Asked {
    let server = stage.serve_with(
        |b| only(b, |t| t.idle = IDLE.into()),
        |_, _| {
            Role::echo().data(|input, cx| {
                match input.first() {
                    Some(b'+') => cx.set_busy(true),
                    Some(b'-') => cx.set_busy(false),
                    _ => (),
                }
                cx.send(input.take());
                Ok(Action::Continue)
            })
        },
    )?;
    let mut client = server.connect()?;
    client.send(b"+")?;
    client.expect(b"+")?;
    two_idle_times(&server)?;
    let began = Instant::now();
    client.send(b"-")?;
    client.expect(b"-")?;
    ends_after(&mut client, began, IDLE)?;
    server.log.wait_closed(CloseKind::IdleTimeout, 3)
}

/// The idle clock comes and goes; what is set meanwhile for much later is not in its way afterwards.
pub(super) fn a_far_timer_does_not_hide_the_idle_clock(stage: &Stage) -> Asked {
    let server = stage.serve_with(
        |b| only(b, |t| t.idle = IDLE.into()),
        |_, _| {
            Role::echo().data(|input, cx| {
                match input.first() {
                    Some(b'+') => {
                        cx.set_busy(true);
                        cx.set_timer(3600 * 1000 * MS);
                    }
                    Some(b'-') => {
                        cx.set_busy(false);
                        cx.clear_timer();
                    }
                    _ => (),
                }
                cx.send(input.take());
                Ok(Action::Continue)
            })
        },
    )?;
    let mut client = server.connect()?;
    let say = |client: &mut Client, words: &[&[u8]]| -> Asked {
        for word in words {
            client.send(word)?;
            client.expect(word)?;
        }
        Ok(())
    };
    say(&mut client, &[b"x", b"x", b"+"])?;
    two_idle_times(&server)?;
    let began = Instant::now();
    say(&mut client, &[b"-", b"x", b"x"])?;
    ends_after(&mut client, began, IDLE)?;
    server.log.wait_closed(CloseKind::IdleTimeout, 3)
}

pub(super) fn a_paused_connection_is_not_idle(stage: &Stage) -> Asked {
    let (give, take) = mpsc::channel::<Sender>();
    let give = Mutex::new(give);
    let server = stage.serve_with(
        |b| only(b, |t| t.idle = IDLE.into()),
        move |_, _| {
            let give = give.lock().unwrap().clone();
            Role::echo().data(move |input, cx| {
                let pauses = input.first() == Some(&b'+');
                cx.send(input.take());
                if pauses {
                    let _ = give.send(cx.sender());
                    return Ok(Action::Pause);
                }
                Ok(Action::Continue)
            })
        },
    )?;
    let mut client = server.connect()?;
    client.send(b"+")?;
    client.expect(b"+")?;
    two_idle_times(&server)?;
    let began = Instant::now();
    check!(take.recv().unwrap().resume(), "a paused connection was closed for being idle");
    ends_after(&mut client, began, IDLE)
}
