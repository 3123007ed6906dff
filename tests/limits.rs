//! What a server does at its limits, while everything happens at once: connections that are closed from
//! outside, make room, are exempt, are handed out, or drip. On each backend.
//!
//! `POLYSERVE_ROUNDS` sets how often what is repeated is repeated.

#![cfg(target_os = "linux")]

#[path = "support/life.rs"]
mod life;

use life::{
    Echo, Gate, Kind, PATIENCE, connect, echo, on_each_backend, read_to_end, rounds, spawn_with,
    until, wait_for_end,
};
use polyserve::{
    Action, AtLimit, BoxError, Builder, CloseKind, Context, Control, Handler, Input, Limit, Limits,
    Timeouts,
};
use socket2::SockRef;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

on_each_backend! {
    a_connection_is_closed_by_its_number_at_whatever_moment
    who_is_in_a_callback_is_not_idle
    who_was_idle_makes_room_at_whatever_moment
    a_farewell_arrives_whatever_its_peer_has_sent
    who_speaks_when_it_is_to_make_room_is_heard_to_its_end
    a_drain_hears_who_was_not_read_for_what_others_hold
    every_place_is_given_back
}

/// No deadline comes to the help of who was forgotten.
fn patient() -> Timeouts {
    let mut timeouts = Timeouts::default();
    timeouts.first_byte = Limit::Unlimited;
    timeouts.idle = Limit::Unlimited;
    timeouts
}

fn limited(change: impl FnOnce(&mut Limits)) -> impl FnOnce(Builder) -> Builder {
    let mut limits = Limits::default();
    change(&mut limits);
    move |builder| builder.limits(limits).timeouts(patient())
}

fn nothing_is_left(control: &Control) {
    until("nothing to be left", || control.stats().live() == 0);
    let stats = control.stats();
    assert_eq!(stats.accepted(), stats.closed_total() + stats.refused(), "{stats:?}");
    assert_eq!(stats.held(), 0, "{stats:?}");
}

/// Who has the answer gives the order while the session is on its way to wait for more.
fn a_connection_is_closed_by_its_number_at_whatever_moment(kind: Kind) {
    let server = spawn_with(kind, limited(|_| ()), |_| Echo);
    let control = server.handle.control();
    for round in 0..rounds(300) {
        let mut client = server.connect();
        echo(&mut client, b"hello");
        // Each a little later than the one before.
        let at = Instant::now() + Duration::from_nanos(200) * (round % 100) as u32;
        while Instant::now() < at {
            std::hint::spin_loop();
        }
        let all = control.connections();
        assert_eq!(all.len(), 1, "{all:?}");
        assert!(control.close(all[0].id));
        wait_for_end(&mut client);
        drop(client);
        until("it to be gone", || control.stats().live() == 0);
    }
    nothing_is_left(&control);
    server.end();
}

/// Blocks at the gate when it is told to.
struct Blocks(Gate);

impl Handler for Blocks {
    fn on_data(&mut self, input: &mut Input<'_>, cx: &mut Context<'_>) -> Result<Action, BoxError> {
        let said = input.take();
        if said == b"block" {
            self.0.pass();
        }
        cx.send(said);
        Ok(Action::Continue)
    }
}

/// It was idle for longest when its request came.
fn who_is_in_a_callback_is_not_idle(kind: Kind) {
    if !kind.may_block() {
        return;
    }
    let gate = Gate::default();
    let set = limited(|l| {
        l.max_connections = Some(2);
        l.at_limit = AtLimit::CloseOldestIdle;
    });
    let theirs = gate.clone();
    let server = spawn_with(kind, set, move |_| Blocks(theirs.clone()));
    let mut works = server.connect();
    echo(&mut works, b"hello");
    let mut idle = server.connect();
    // Younger than the first by more than a clock may be coarse.
    let until = Instant::now() + Duration::from_millis(50);
    while Instant::now() < until {
        echo(&mut idle, b"hello");
    }
    works.write_all(b"block").unwrap();
    gate.wait_for_blocked(1);
    let mut newcomer = server.connect();
    newcomer.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    newcomer.write_all(b"hello").unwrap();
    let served = newcomer.read_exact(&mut [0; 5]);
    gate.open();
    served.expect("the one that is idle makes room while the other is at work");
    wait_for_end(&mut idle);
    works.read_exact(&mut [0; 5]).unwrap();
    echo(&mut works, b"still here");
    assert_eq!(server.handle.control().stats().closed(CloseKind::Evicted), 1);
    drop((works, idle, newcomer));
    nothing_is_left(&server.handle.control());
    server.end();
}

/// Newcomers that come while the only connection is on its way to wait for more.
fn who_was_idle_makes_room_at_whatever_moment(kind: Kind) {
    let set = limited(|l| {
        l.max_connections = Some(1);
        l.at_limit = AtLimit::CloseOldestIdle;
    });
    let server = spawn_with(kind, set, |_| Echo);
    let mut before = server.connect();
    echo(&mut before, b"hello");
    let n = rounds(300);
    for _ in 0..n {
        before.write_all(b"again").unwrap();
        let mut newcomer = server.connect();
        newcomer.write_all(b"hello").unwrap();
        newcomer.read_exact(&mut [0; 5]).expect("a newcomer is served");
        wait_for_end(&mut before);
        before = newcomer;
    }
    let control = server.handle.control();
    assert_eq!(control.stats().closed(CloseKind::Evicted), n as u64, "{:?}", control.stats());
    drop(before);
    nothing_is_left(&control);
    server.end();
}

/// What was not read would make a reset of the close.
fn a_farewell_arrives_whatever_its_peer_has_sent(kind: Kind) {
    // More than arrives before the close.
    const FAREWELL: &[u8] = &[b'!'; 200_000];
    let set = limited(|l| {
        l.max_connections = Some(1);
        l.at_limit = AtLimit::Reject;
        l.farewell = FAREWELL.into();
    });
    let server = spawn_with(kind, set, |_| Echo);
    let control = server.handle.control();
    let mut first = server.connect();
    echo(&mut first, b"hello");
    for size in [0, 1, 4096, 5000, 30_000, 60_000] {
        // Nobody is accepted until all of it has come.
        control.pause();
        let mut late = connect(server.addr);
        late.write_all(&vec![1; size]).unwrap();
        echo(&mut first, b"time passes");
        control.resume();
        let mut got = Vec::new();
        let end = late.read_to_end(&mut got);
        assert!(end.is_ok(), "after {size} bytes: {end:?}, and {} bytes", got.len());
        assert!(got == FAREWELL, "after {size} bytes: {} came", got.len());
    }
    drop(first);
    nothing_is_left(&control);
    server.end();
}

/// One is told to make room at the moment in which its next request comes: it stays, and the other goes.
fn who_speaks_when_it_is_to_make_room_is_heard_to_its_end(kind: Kind) {
    let set = limited(|l| {
        l.max_connections = Some(2);
        l.at_limit = AtLimit::CloseOldestIdle;
    });
    let server = spawn_with(kind, set, |_| Echo);
    for round in 0..rounds(60) {
        let mut speaks = server.connect();
        echo(&mut speaks, b"hello");
        let mut idle = server.connect();
        let until = Instant::now() + Duration::from_millis(20);
        while Instant::now() < until {
            echo(&mut idle, b"hello");
        }
        let start = Barrier::new(2);
        let newcomer = thread::scope(|scope| {
            let newcomer = scope.spawn(|| {
                start.wait();
                let mut newcomer = server.connect();
                echo(&mut newcomer, b"hello");
                newcomer
            });
            start.wait();
            let at = Instant::now() + Duration::from_micros(2) * (round % 50) as u32;
            while Instant::now() < at {
                std::hint::spin_loop();
            }
            let said = speaks.write_all(b"again");
            // It was answered, or closed before it was heard.
            let answered = said.is_ok() && speaks.read_exact(&mut [0; 5]).is_ok();
            if answered {
                let _ = speaks.shutdown(Shutdown::Write);
                wait_for_end(&mut speaks);
            }
            newcomer.join().unwrap()
        });
        drop((speaks, idle, newcomer));
        nothing_is_left(&server.handle.control());
    }
    server.end();
}

/// Echoes, but keeps what begins with a `!`.
struct Keeps;

impl Handler for Keeps {
    fn on_data(&mut self, input: &mut Input<'_>, cx: &mut Context<'_>) -> Result<Action, BoxError> {
        if input[0] != b'!' {
            cx.send(input.take());
        }
        Ok(Action::Continue)
    }
}

/// Its first request was there before the drain, and it holds nothing itself.
fn a_drain_hears_who_was_not_read_for_what_others_hold(kind: Kind) {
    const PART: usize = 60_000;
    let server = spawn_with(kind, limited(|l| l.total_held = 64 * 1024), |_| Keeps);
    let control = server.handle.control();
    let mut greedy = server.connect();
    for held in [PART, 2 * PART] {
        greedy.write_all(&[b'!'; PART]).unwrap();
        until("it to be held", || control.stats().held() == held);
    }
    let mut modest = server.connect();
    modest.write_all(b"request").unwrap();
    until("it to be accepted", || control.stats().live() == 2);
    control.begin_drain(Duration::ZERO, PATIENCE);
    assert_eq!(read_to_end(&mut modest), b"request");
    drop((greedy, modest));
    // The first is not read, so that its end is not seen.
    control.connections().iter().for_each(|left| _ = control.close(left.id));
    nothing_is_left(&control);
    server.end();
}

/// Takes what happens at random from its own generator.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, n: u64) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % n
    }
}

/// Does what it is told.
struct Obeys;

impl Handler for Obeys {
    fn on_data(&mut self, input: &mut Input<'_>, cx: &mut Context<'_>) -> Result<Action, BoxError> {
        match input.first() {
            // The rest of it never comes.
            Some(b'p') => return Ok(Action::Continue),
            Some(b'b') => cx.set_busy(true),
            Some(b'i') => cx.set_busy(false),
            Some(b'x') => cx.set_counted(false),
            Some(b'c') => cx.set_counted(true),
            Some(b't') => cx.into_stream(drop),
            Some(b'w') => _ = cx.sender().wake(),
            Some(b'q') => return Ok(Action::Close),
            Some(b'!') => return Ok(Action::Abort),
            _ => (),
        }
        cx.send(input.take());
        Ok(Action::Continue)
    }
}

/// A client that does this and that until the time is over.
fn misbehave(addr: SocketAddr, seed: u64, until: Instant) {
    let mut dice = Dice(seed);
    while Instant::now() < until {
        let Ok(mut stream) = TcpStream::connect_timeout(&addr, PATIENCE) else { continue };
        stream.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        for _ in 0..dice.roll(6) {
            let word = [b"pbixctwq!eeeeee"[dice.roll(15) as usize]];
            if stream.write_all(&word).is_err() || !matches!(stream.read(&mut [0]), Ok(1)) {
                break;
            }
        }
        match dice.roll(4) {
            0 => _ = SockRef::from(&stream).set_linger(Some(Duration::ZERO)),
            1 => _ = stream.shutdown(Shutdown::Write),
            _ => (),
        }
    }
}

/// Whoever steers it is no more considerate.
fn steer(control: &Control, until: Instant) {
    let mut dice = Dice(7);
    while Instant::now() < until {
        match dice.roll(4) {
            0 => _ = control.set_max_connections(1 + dice.roll(6) as usize),
            1 => control.pause(),
            2 => control.resume(),
            _ => {
                let all = control.connections();
                if !all.is_empty() {
                    control.close(all[dice.roll(all.len() as u64) as usize].id);
                }
            }
        }
        thread::yield_now();
    }
    control.resume();
    control.set_max_connections(8);
}

/// Whether this client is served, and not refused.
fn answers(client: &mut TcpStream) -> bool {
    let mut reply = [0];
    client.write_all(b"e").is_ok() && client.read_exact(&mut reply).is_ok() && reply == *b"e"
}

/// Nothing may be lost count of, whatever meets whatever.
fn every_place_is_given_back(kind: Kind) {
    const CLIENTS: u64 = 8;
    for at_limit in [AtLimit::Wait, AtLimit::Reject, AtLimit::CloseOldestIdle] {
        let set = limited(|l| {
            l.max_connections = Some(4);
            l.at_limit = at_limit;
            l.per_address = Limit::At(6);
            l.farewell = b"no\n".into();
        });
        let server = spawn_with(kind, set, |_| Obeys);
        let control = server.handle.control();
        let until_then = Instant::now() + Duration::from_millis(rounds(300) as u64);
        thread::scope(|scope| {
            for n in 0..CLIENTS {
                scope.spawn(move || misbehave(server.addr, n, until_then));
            }
            steer(&control, until_then);
        });
        if kind == Kind::Threads && at_limit == AtLimit::CloseOldestIdle {
            // A thread that was cut in on for room when work had just come does not hear its peer's
            // end any more. Who is busy without end then stays, until keep-alive probes find out.
            control.connections().iter().for_each(|left| _ = control.close(left.id));
        }
        // Some who left were not accepted yet: whoever is answered was accepted after them all.
        until("everybody's turn", || answers(&mut server.connect()));
        nothing_is_left(&control);
        // As many as one address may have have places, and no more.
        let all: Vec<_> = (0..6)
            .map(|_| {
                let mut client = server.connect();
                echo(&mut client, b"e");
                client
            })
            .collect();
        let mut late = server.connect();
        assert_eq!(read_to_end(&mut late), b"no\n", "{at_limit:?}");
        drop((all, late));
        nothing_is_left(&control);
        server.end();
    }
}
