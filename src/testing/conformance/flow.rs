//! What a callback asks for by its action: more bytes, a turn for others, a pause.

use super::client::{Client, pattern};
use super::role::Role;
use super::stage::{Asked, PATIENCE, Stage, check};
use crate::connection::Limits;
use crate::handler::{Action, CloseKind, Sender};
use crate::net::SocketOptions;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, mpsc};
use std::time::Duration;

pub(super) fn wanted_bytes_are_waited_for(stage: &Stage) -> Asked {
    // The number of bytes of each call is the reply; the checker counts along.
    let server = stage.serve(|_, log| {
        let log = Arc::clone(log);
        Role::echo().open(|_| Ok(Action::Want(10))).data(move |input, cx| {
            cx.send(format!("{};", input.len()));
            log.note("data");
            input.take();
            Ok(Action::Want(3))
        })
    })?;
    let mut client = server.connect()?;
    for piece in ["123", "456", "789"] {
        client.send(piece.as_bytes())?;
    }
    client.send(b"0")?;
    client.expect(b"10;")?;
    client.send(b"ab")?;
    client.send(b"c")?;
    client.expect(b"3;")
}

pub(super) fn a_want_is_forgotten_at_the_next_call(stage: &Stage) -> Asked {
    let server = stage.serve(|_, _| {
        Role::echo().open(|_| Ok(Action::Want(100))).data(|input, cx| {
            cx.send(format!("{};", input.take().len()));
            Ok(Action::Continue)
        })
    })?;
    let mut client = server.connect()?;
    client.send(&[b'x'; 100])?;
    client.expect(b"100;")?;
    client.send(b"y")?;
    client.expect(b"1;")
}

pub(super) fn wanting_what_is_held_means_one_byte_more(stage: &Stage) -> Asked {
    let server = stage.serve(|_, _| {
        Role::echo().data(|input, cx| {
            cx.send(format!("{};", input.len()));
            Ok(Action::Want(1))
        })
    })?;
    let mut client = server.connect()?;
    client.send(b"abc")?;
    client.expect(b"3;")?;
    client.send(b"d")?;
    client.expect(b"4;")
}

pub(super) fn wanting_too_much_closes_at_once(stage: &Stage) -> Asked {
    let mut limits = Limits::default();
    limits.input = 1000;
    let server = stage.serve_with(
        |b| b.limits(limits),
        |_, _| {
            Role::echo().data(|input, cx| {
                cx.send(input.take());
                Ok(Action::Want(1001))
            })
        },
    )?;
    let mut client = server.connect()?;
    client.send(b"x")?;
    client.expect(b"x")?;
    client.expect_end()?;
    server.log.wait_closed(CloseKind::InputLimit, 1)
}

pub(super) fn input_that_is_left_has_a_limit(stage: &Stage) -> Asked {
    let mut limits = Limits::default();
    limits.input = 1000;
    let server = stage.serve_with(
        |b| b.limits(limits),
        |_, _| {
            Role::echo().data(|input, cx| {
                if input.len() == 1000 {
                    cx.send("all of it");
                }
                Ok(Action::Continue)
            })
        },
    )?;
    let mut client = server.connect()?;
    client.send(&[b'x'; 1000])?;
    client.expect(b"all of it")?;
    client.send(b"y")?;
    client.expect_end()?;
    server.log.wait_closed(CloseKind::InputLimit, 1)
}

pub(super) fn a_yield_is_called_again_with_the_same_input(stage: &Stage) -> Asked {
    let server = stage.serve(|_, _| {
        Role::echo().data(|input, cx| {
            // One byte for each turn.
            cx.send(input.take_n(1).unwrap_or_default());
            Ok(Action::Yield)
        })
    })?;
    let mut client = server.connect()?;
    let bytes = pattern(2000);
    check!(client.exchange(&bytes)? == bytes, "what was yielded over came back changed");
    Ok(())
}

pub(super) fn a_yield_lets_others_have_their_turn(stage: &Stage) -> Asked {
    // The first yields until the second was served.
    let served = Arc::new(AtomicBool::new(false));
    let server = stage.serve(move |_, log| {
        let (served, log) = (Arc::clone(&served), Arc::clone(log));
        Role::echo().data(move |input, cx| match input.first() {
            Some(b'1') if !served.load(Ordering::SeqCst) => {
                log.note("yields");
                Ok(Action::Yield)
            }
            _ => {
                served.store(true, Ordering::SeqCst);
                cx.send(input.take());
                Ok(Action::Continue)
            }
        })
    })?;
    let (mut first, mut second) = (server.connect()?, server.connect()?);
    first.send(b"1")?;
    server.log.wait_note("yields")?;
    second.send(b"2")?;
    second.expect(b"2")?;
    first.expect(b"1")
}

pub(super) fn a_pause_stops_reading_until_a_resume_from_elsewhere(stage: &Stage) -> Asked {
    let (give, take) = mpsc::channel::<Sender>();
    let give = Mutex::new(give);
    let server = stage.serve(move |_, log| {
        let (give, log) = (give.lock().unwrap().clone(), Arc::clone(log));
        let its_log = Arc::clone(&log);
        Role::echo()
            .open(move |cx| {
                let _ = give.send(cx.sender());
                Ok(Action::Continue)
            })
            .data(move |input, cx| {
                log.note("data");
                cx.send(input.take());
                Ok(Action::Pause)
            })
            .wake(move |_| {
                its_log.note("awake");
                Ok(Action::Continue)
            })
    })?;
    let mut client = server.connect()?;
    let sender = take.recv().unwrap();
    for round in 1..=20 {
        client.send(b"x")?;
        client.expect(b"x")?;
        client.send(b"y")?;
        // It has had a turn since, and may have found the byte.
        sender.wake();
        server.log.wait_notes("awake", round)?;
        let calls = server.log.seen().count("data");
        check!(calls == 2 * round - 1, "on_data was called although the connection was paused");
        check!(sender.resume(), "the sender says that the connection has gone");
        client.expect(b"y")?;
        check!(sender.resume(), "the sender says that the connection has gone");
    }
    Ok(())
}

pub(super) fn a_resume_shows_what_was_left(stage: &Stage) -> Asked {
    // Pauses over the same three bytes twice, resumed by its own timer.
    let server = stage.serve(|_, log| {
        let log = Arc::clone(log);
        Role::echo()
            .data(move |input, cx| {
                log.note("data");
                if log.seen().count("data") < 3 {
                    cx.set_timer(Duration::from_millis(1));
                    return Ok(Action::Pause);
                }
                cx.send(input.take());
                Ok(Action::Continue)
            })
            .timer(|cx| {
                cx.resume();
                Ok(Action::Continue)
            })
    })?;
    let mut client = server.connect()?;
    client.send(b"abc")?;
    client.expect(b"abc")?;
    client.send(b"d")?;
    client.expect(b"d")
}

pub(super) fn the_end_of_a_paused_peer_is_seen_after_the_resume(stage: &Stage) -> Asked {
    let (give, take) = mpsc::channel::<Sender>();
    let give = Mutex::new(give);
    let server = stage.serve(move |_, log| {
        let (give, log) = (give.lock().unwrap().clone(), Arc::clone(log));
        Role::echo()
            .data(move |input, cx| {
                let _ = give.send(cx.sender());
                cx.send(input.take());
                Ok(Action::Pause)
            })
            .eof(move |_, _| {
                log.note("eof");
                Ok(Action::Close)
            })
    })?;
    let mut client = server.connect()?;
    client.send(b"a")?;
    client.expect(b"a")?;
    let sender = take.recv().unwrap();
    client.send(b"b")?;
    client.finish()?;
    sender.resume();
    client.expect(b"b")?;
    sender.resume();
    client.expect_end()?;
    server.log.wait_closed(CloseKind::PeerClosed, 1)?;
    check!(server.log.seen().count("eof") == 1, "on_eof was not called once");
    Ok(())
}

pub(super) fn a_peer_that_never_reads_disturbs_nobody(stage: &Stage) -> Asked {
    let options = SocketOptions::new().with_send_buffer(Some(16 * 1024));
    let server = stage.serve_with(
        |b| b.socket_options(options),
        |_, log| {
            let log = Arc::clone(log);
            Role::echo().data(move |input, cx| {
                if input.take() == b"flood" {
                    cx.send(pattern(1024 * 1024));
                    log.note("flood");
                } else {
                    cx.send("ok");
                }
                Ok(Action::Continue)
            })
        },
    )?;
    let mut floods = Vec::new();
    for _ in 0..4 {
        let mut client = server.connect_small(16 * 1024)?;
        client.send(b"flood")?;
        floods.push(client);
    }
    server.log.wait_notes("flood", 4)?;
    let mut client = server.connect()?;
    for _ in 0..100 {
        client.send(b"?")?;
        client.expect(b"ok")?;
    }
    // Whoever leaves without reading gets no more of it.
    floods.into_iter().try_for_each(|client| client.reset())
}

pub(super) fn a_busy_peer_starves_nobody(stage: &Stage) -> Asked {
    let race = Arc::new(Race::default());
    let its_race = Arc::clone(&race);
    let server = stage.serve(move |_, _| {
        let race = Arc::clone(&its_race);
        Role::echo().data(move |input, cx| {
            match input.take() {
                b"?" => cx.send(b"?"),
                bytes => race.took(bytes.len()),
            }
            Ok(Action::Continue)
        })
    })?;
    let mut hog = server.connect()?;
    std::thread::scope(|scope| {
        let its_race = &race;
        scope.spawn(move || its_race.run(&mut hog));
        // From here on the hog's socket is ready whenever anybody looks.
        race.wait(|race| race.sent >= LEAST_LEAD);
        let asked = server.connect().and_then(|mut client| {
            (0..20).try_for_each(|_| {
                client.send(b"?")?;
                client.expect(b"?")
            })
        });
        race.change(|race| race.over = true);
        asked
    })
}

/// A peer that is always ahead of its handler: a callback does not return before more has come, so
/// its socket is never without something to read.
#[derive(Default)]
struct Race {
    state: Mutex<RaceState>,
    changed: Condvar,
}

#[derive(Default)]
struct RaceState {
    sent: usize,
    taken: usize,
    over: bool,
}

/// How much the peer sends at once.
const STEP: usize = 4 * 1024;
/// How far the peer is ahead at least.
const LEAST_LEAD: usize = 2 * STEP;
/// How far at most: no more than a receiver's window takes at once, since what waits in the sender
/// is nothing to read.
const MOST_LEAD: usize = 8 * STEP;

impl Race {
    /// The peer's part: sends until it is over.
    fn run(&self, hog: &mut Client) {
        while hog.try_send(&[0; STEP]).is_ok() {
            self.change(|race| race.sent += STEP);
            self.wait(|race| race.sent < race.taken + MOST_LEAD);
            if self.lock().over {
                return;
            }
        }
    }

    /// The handler's part.
    fn took(&self, n: usize) {
        self.change(|race| race.taken += n);
        self.wait(|race| race.sent >= race.taken + LEAST_LEAD);
    }

    fn change(&self, change: impl FnOnce(&mut RaceState)) {
        change(&mut self.lock());
        self.changed.notify_all();
    }

    fn wait(&self, is_so: impl Fn(&RaceState) -> bool) {
        let not_yet = |race: &mut RaceState| !race.over && !is_so(race);
        let waited = self.changed.wait_timeout_while(self.lock(), PATIENCE, not_yet);
        drop(waited.unwrap_or_else(PoisonError::into_inner));
    }

    fn lock(&self) -> MutexGuard<'_, RaceState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
