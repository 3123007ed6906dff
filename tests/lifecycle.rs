//! Connections and servers from their first to their last moment, over real sockets, on each
//! backend: panics, half-close, slow and silent peers, drains and stops.
//!
//! `POLYSERVE_ROUNDS` sets how often what is repeated is repeated.

#![cfg(target_os = "linux")]

#[path = "support/life.rs"]
mod life;
#[path = "support/process.rs"]
mod process;

use life::{
    Echo, Gate, Kind, PATIENCE, PLANNED, Running, connect, echo, hush_planned_panics,
    on_each_backend, read_to_end, rounds, spawn, spawn_with, until, wait_for_end, within,
};
use polyserve::net::SocketOptions;
use polyserve::{
    Action, BoxError, CloseKind, CloseReason, Context, Control, Handler, Input, Limit, Sender,
    Server, ServerHandle, ThreadPool, Timeouts,
};
use process::TempDir;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Sender as Send_, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

on_each_backend! {
    a_panic_anywhere_ends_one_connection
    a_panic_while_draining_ends_one_connection
    every_call_is_allowed_in_every_callback
    a_handler_that_always_wakes_itself_still_hears_its_peer
    a_server_may_be_shut_down_in_any_way
    what_was_shut_down_before_it_started_ends_at_once
    a_half_closed_connection_gets_everything_and_costs_nothing
    small_buffers_and_a_slow_reader_lose_nothing
    data_before_a_close_arrives
    the_last_answer_survives_input_that_nobody_read
    a_client_that_never_reads_goes_within_the_stall_limit
    late_messages_never_reach_another_connection
    active_clients_do_not_starve_beside_idle_ones
    a_timer_that_is_always_due_lets_others_have_their_turn
    a_drain_that_is_brought_closer_ends_at_its_deadline
    a_drain_loses_no_request_that_was_there_before
    a_stop_under_load_ends_everything
    a_stuck_handler_is_reported_and_left
    a_dropped_handle_waits_for_a_stuck_handler_no_longer_than_its_deadline
    a_detached_server_runs_on
}

// Panics.

/// Where a handler panics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum At {
    Nowhere,
    Factory,
    Open,
    Data,
    Eof,
    Writable,
    Wake,
    Timer,
    Close,
    Drop,
    /// `on_data`, with a payload that panics when it is dropped.
    Payload,
}

const PLACES: [At; 10] = [
    At::Factory,
    At::Open,
    At::Data,
    At::Eof,
    At::Writable,
    At::Wake,
    At::Timer,
    At::Close,
    At::Drop,
    At::Payload,
];

/// Comes by all its callbacks, and panics in one of them. The others echo.
struct Panics {
    at: At,
    opened: Arc<AtomicUsize>,
    closed: Arc<AtomicUsize>,
}

/// More than the low mark, so that `on_writable` follows.
const MUCH: usize = 100_000;

impl Panics {
    fn come_by(&self, at: At) {
        if self.at == at {
            std::panic::panic_any(PLANNED);
        }
    }
}

impl Drop for Panics {
    fn drop(&mut self) {
        self.come_by(At::Drop);
    }
}

impl Handler for Panics {
    fn on_open(&mut self, _cx: &mut Context<'_>) -> Result<Action, BoxError> {
        self.opened.fetch_add(1, Ordering::SeqCst);
        self.come_by(At::Open);
        Ok(Action::Continue)
    }

    fn on_data(&mut self, input: &mut Input<'_>, cx: &mut Context<'_>) -> Result<Action, BoxError> {
        match self.at {
            At::Nowhere => cx.send(input.take()),
            At::Data => cx.send("to be discarded"),
            At::Payload => std::panic::panic_any(life::PlannedPayload),
            At::Writable => cx.send(vec![7; MUCH]),
            At::Wake => _ = cx.sender().wake(),
            At::Timer => cx.set_timer(Duration::ZERO),
            _ => (),
        }
        input.take();
        self.come_by(At::Data);
        Ok(Action::Continue)
    }

    fn on_eof(&mut self, _: &mut Input<'_>, _: &mut Context<'_>) -> Result<Action, BoxError> {
        self.come_by(At::Eof);
        Ok(Action::Close)
    }

    fn on_writable(&mut self, _cx: &mut Context<'_>) -> Result<Action, BoxError> {
        self.come_by(At::Writable);
        Ok(Action::Continue)
    }

    fn on_wake(&mut self, _cx: &mut Context<'_>) -> Result<Action, BoxError> {
        self.come_by(At::Wake);
        Ok(Action::Continue)
    }

    fn on_timer(&mut self, _cx: &mut Context<'_>) -> Result<Action, BoxError> {
        self.come_by(At::Timer);
        Ok(Action::Continue)
    }

    fn on_close(&mut self, _reason: &CloseReason) {
        self.closed.fetch_add(1, Ordering::SeqCst);
        self.come_by(At::Close);
    }
}

/// S1: ten times as often as there are workers, at every place; nothing else is touched by it.
fn a_panic_anywhere_ends_one_connection(kind: Kind) {
    hush_planned_panics();
    let at = Arc::new(AtomicU8::new(At::Nowhere as u8));
    let (opened, closed) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (at2, opened2, closed2) = (Arc::clone(&at), Arc::clone(&opened), Arc::clone(&closed));
    let server = spawn(kind, move |_peer| {
        let now = at2.load(Ordering::SeqCst);
        let at = PLACES.into_iter().find(|at| *at as u8 == now).unwrap_or(At::Nowhere);
        if at == At::Factory {
            std::panic::panic_any(PLANNED);
        }
        Panics { at, opened: Arc::clone(&opened2), closed: Arc::clone(&closed2) }
    });
    let mut old = server.connect();
    echo(&mut old, b"before");
    for place in PLACES {
        at.store(place as u8, Ordering::SeqCst);
        let panics = server.handle.control().stats().closed(CloseKind::Panic);
        let times = 10 * life::WORKERS;
        for _ in 0..times {
            let got = provoke(&server, place);
            let expected = if place == At::Writable { MUCH } else { 0 };
            assert_eq!(got.len(), expected, "{place:?}: what is sent before a panic is written");
        }
        at.store(At::Nowhere as u8, Ordering::SeqCst);
        echo(&mut old, b"the old one lives");
        server.probe();
        let counted = server.handle.control().stats().closed(CloseKind::Panic) - panics;
        let own_callback = !matches!(place, At::Close | At::Drop);
        assert_eq!(counted, if own_callback { times as u64 } else { 0 }, "{place:?}");
    }
    drop(old);
    let stats = server.handle.control();
    until("every connection is over", || stats.stats().live() == 0);
    assert_eq!(opened.load(Ordering::SeqCst), closed.load(Ordering::SeqCst));
    until("all workers are there", || server.tids.alive() == kind.idle_threads());
    server.end();
}

/// Does what leads to each callback, and returns what the server said before it ended.
fn provoke(server: &Running, place: At) -> Vec<u8> {
    let mut stream = server.connect();
    // A server that is at its panic already may have closed before this arrives.
    let _ = stream.write_all(b"x");
    if matches!(place, At::Eof | At::Close | At::Drop) {
        let _ = stream.shutdown(Shutdown::Write);
    }
    let mut got = Vec::new();
    let end = stream.read_to_end(&mut got);
    if let Err(error) = end {
        assert_ne!(error.kind(), std::io::ErrorKind::WouldBlock, "no end came");
    }
    got
}

struct PanicsWhenTold;

impl Handler for PanicsWhenTold {
    fn on_data(&mut self, input: &mut Input<'_>, cx: &mut Context<'_>) -> Result<Action, BoxError> {
        cx.send(input.take());
        Ok(Action::Continue)
    }

    fn on_shutdown(&mut self, _cx: &mut Context<'_>) -> Result<Action, BoxError> {
        std::panic::panic_any(PLANNED);
    }
}

fn a_panic_while_draining_ends_one_connection(kind: Kind) {
    hush_planned_panics();
    let server = spawn(kind, |_peer| PanicsWhenTold);
    let mut clients: Vec<_> = (0..10 * life::WORKERS).map(|_| server.connect()).collect();
    clients.iter_mut().for_each(|client| echo(client, b"x"));
    let n_clients = clients.len() as u64;
    let control = server.handle.control();
    thread::scope(|scope| {
        scope.spawn(|| server.end());
        // Each leaves at the server's end, for which the server lingers.
        for mut client in clients {
            wait_for_end(&mut client);
        }
    });
    assert_eq!(control.stats().closed(CloseKind::Panic), n_clients);
}

// Re-entrancy.

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum In {
    Factory,
    Open,
    Data,
    Eof,
    Writable,
    Wake,
    Timer,
    Shutdown,
    Close,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Do {
    SendToSelf,
    SendToOther,
    WakeBoth,
    ResumeBoth,
    CloseSelf,
    CloseOther,
    Look,
    PauseAndResume,
    BeginDrain,
    Drain,
    Stop,
}

const CALLBACKS: [In; 9] = [
    In::Factory,
    In::Open,
    In::Data,
    In::Eof,
    In::Writable,
    In::Wake,
    In::Timer,
    In::Shutdown,
    In::Close,
];

const CALLS: [Do; 11] = [
    Do::SendToSelf,
    Do::SendToOther,
    Do::WakeBoth,
    Do::ResumeBoth,
    Do::CloseSelf,
    Do::CloseOther,
    Do::Look,
    Do::PauseAndResume,
    Do::BeginDrain,
    Do::Drain,
    Do::Stop,
];

/// What all connections of a re-entrancy test share.
struct World {
    when: In,
    what: Do,
    handle: Mutex<Option<Arc<ServerHandle>>>,
    control: Mutex<Option<Control>>,
    senders: Mutex<Vec<Sender>>,
    done: AtomicBool,
    opened: AtomicUsize,
    closed: AtomicUsize,
}

impl World {
    fn come_by(&self, here: In, me: Option<&Sender>) {
        if here != self.when {
            return;
        }
        let Some(control) = self.control.lock().unwrap().clone() else { return };
        let others: Vec<Sender> = self.senders.lock().unwrap().clone();
        let others = others.iter().filter(|other| me.is_none_or(|me| me.id() != other.id()));
        let both = me.into_iter().chain(others.clone());
        match self.what {
            Do::SendToSelf => me.into_iter().for_each(|me| drop(me.send("to myself"))),
            Do::SendToOther => others.for_each(|other| drop(other.send("to you"))),
            Do::WakeBoth => both.for_each(|sender| _ = sender.wake()),
            Do::ResumeBoth => both.for_each(|sender| _ = sender.resume()),
            Do::CloseSelf => me.into_iter().for_each(|me| _ = me.close()),
            Do::CloseOther => others.for_each(|other| _ = other.close()),
            Do::Look => _ = (control.stats(), control.connections()),
            Do::PauseAndResume => {
                control.pause();
                control.resume();
            }
            Do::BeginDrain => control.begin_drain(Duration::ZERO, PATIENCE),
            Do::Drain => {
                let handle = self.handle.lock().unwrap().clone();
                let report = handle.unwrap().drain(Duration::ZERO, PATIENCE);
                assert!(here == In::Close || !report.finished_all, "it has only begun");
            }
            Do::Stop => control.stop(),
        }
        self.done.store(true, Ordering::SeqCst);
    }
}

struct Reentrant {
    world: Arc<World>,
    me: Option<Sender>,
}

impl Reentrant {
    fn come_by(&mut self, here: In, cx: &mut Context<'_>) -> Result<Action, BoxError> {
        let me = self.me.get_or_insert_with(|| cx.sender());
        self.world.come_by(here, Some(me));
        Ok(Action::Continue)
    }
}

impl Handler for Reentrant {
    fn on_open(&mut self, cx: &mut Context<'_>) -> Result<Action, BoxError> {
        self.world.opened.fetch_add(1, Ordering::SeqCst);
        self.world.senders.lock().unwrap().push(cx.sender());
        self.come_by(In::Open, cx)
    }

    fn on_data(&mut self, input: &mut Input<'_>, cx: &mut Context<'_>) -> Result<Action, BoxError> {
        if input.take() == b"go" {
            cx.send(vec![7; MUCH]);
            cx.sender().wake();
            cx.set_timer(Duration::ZERO);
        }
        self.come_by(In::Data, cx)
    }

    fn on_eof(&mut self, _: &mut Input<'_>, cx: &mut Context<'_>) -> Result<Action, BoxError> {
        self.come_by(In::Eof, cx)?;
        Ok(Action::Close)
    }

    fn on_writable(&mut self, cx: &mut Context<'_>) -> Result<Action, BoxError> {
        self.come_by(In::Writable, cx)
    }

    fn on_wake(&mut self, cx: &mut Context<'_>) -> Result<Action, BoxError> {
        self.come_by(In::Wake, cx)
    }

    fn on_timer(&mut self, cx: &mut Context<'_>) -> Result<Action, BoxError> {
        self.come_by(In::Timer, cx)
    }

    fn on_shutdown(&mut self, cx: &mut Context<'_>) -> Result<Action, BoxError> {
        self.come_by(In::Shutdown, cx)?;
        Ok(Action::Close)
    }

    fn on_close(&mut self, _reason: &CloseReason) {
        self.world.closed.fetch_add(1, Ordering::SeqCst);
        self.world.come_by(In::Close, self.me.as_ref());
    }
}

/// E9: everything that a handle offers, from everywhere, with another connection beside.
fn every_call_is_allowed_in_every_callback(kind: Kind) {
    for when in CALLBACKS {
        for what in CALLS {
            within(PATIENCE, &format!("{what:?} in {when:?}"), move || reenter(kind, when, what));
        }
    }
}

fn reenter(kind: Kind, when: In, what: Do) {
    let world = Arc::new(World {
        when,
        what,
        handle: Mutex::default(),
        control: Mutex::default(),
        senders: Mutex::default(),
        done: AtomicBool::new(false),
        opened: AtomicUsize::new(0),
        closed: AtomicUsize::new(0),
    });
    let shared = Arc::clone(&world);
    let server = spawn(kind, move |_peer| {
        shared.come_by(In::Factory, None);
        Reentrant { world: Arc::clone(&shared), me: None }
    });
    let Running { handle, addr, .. } = server;
    let handle = Arc::new(handle);
    let mut other = connect(addr);
    other.write_all(b"hello").unwrap();
    // It leaves at the server's end, for which the server lingers.
    let other = thread::spawn(move || wait_for_end(&mut other));
    until("the other is there", || world.opened.load(Ordering::SeqCst) == 1);
    *world.handle.lock().unwrap() = Some(Arc::clone(&handle));
    *world.control.lock().unwrap() = Some(handle.control());
    // A call may have ended the server at any of these steps.
    if let Ok(mut stream) = TcpStream::connect(addr) {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let _ = stream.write_all(b"go");
        let mut reply = vec![0; MUCH];
        let _ = stream.read_exact(&mut reply);
        if matches!(when, In::Timer | In::Wake) {
            until("it was called", || world.done.load(Ordering::SeqCst));
        }
        let _ = stream.shutdown(Shutdown::Write);
        wait_for_end(&mut stream);
    }
    let report = handle.drain(Duration::ZERO, PATIENCE);
    other.join().unwrap();
    assert!(report.finished_all && report.stuck == 0, "{what:?} in {when:?}: {report:?}");
    assert!(world.done.load(Ordering::SeqCst), "{when:?} was never called");
    let (opened, closed) = (&world.opened, &world.closed);
    assert_eq!(opened.load(Ordering::SeqCst), closed.load(Ordering::SeqCst));
    *world.handle.lock().unwrap() = None;
    Arc::into_inner(handle).unwrap().join().unwrap();
}

/// Echoes, and wakes itself for ever once it has been written to.
struct Restless;

impl Handler for Restless {
    fn on_data(&mut self, input: &mut Input<'_>, cx: &mut Context<'_>) -> Result<Action, BoxError> {
        cx.send(input.take());
        cx.sender().wake();
        Ok(Action::Continue)
    }

    fn on_wake(&mut self, cx: &mut Context<'_>) -> Result<Action, BoxError> {
        cx.sender().wake();
        Ok(Action::Continue)
    }
}

/// Sessions that are ready without their sockets do not keep sockets from being looked at.
fn a_handler_that_always_wakes_itself_still_hears_its_peer(kind: Kind) {
    let backends: Vec<Box<dyn polyserve::Backend>> = match kind {
        Kind::Pool => vec![kind.backend(&Default::default()), Box::new(ThreadPool::new(1))],
        _ => vec![kind.backend(&Default::default())],
    };
    for backend in backends {
        let server = Server::builder().backend(backend).bind("127.0.0.1:0").unwrap();
        let handle = server.spawn(|_peer| Restless).unwrap();
        let addr = handle.local_addrs()[0].as_tcp().unwrap();
        let (mut one, mut other) = (connect(addr), connect(addr));
        for _ in 0..10 {
            echo(&mut one, b"one");
            echo(&mut other, b"other");
        }
        one.shutdown(Shutdown::Write).unwrap();
        assert!(read_to_end(&mut one).is_empty());
        drop((one, other));
        assert!(handle.drain(Duration::ZERO, PATIENCE).finished_all);
    }
}

// Shutdown.

/// What a handler is told to do to its server.
type Deed = Box<dyn Fn(&mut Context<'_>) + Send + Sync>;

struct Does(Arc<Deed>);

impl Handler for Does {
    fn on_data(&mut self, input: &mut Input<'_>, cx: &mut Context<'_>) -> Result<Action, BoxError> {
        input.take();
        (self.0)(cx);
        Ok(Action::Continue)
    }
}

fn spawn_doing(kind: Kind, deed: impl Fn(&mut Context<'_>) + Send + Sync + 'static) -> Running {
    let deed: Arc<Deed> = Arc::new(Box::new(deed));
    spawn(kind, move |_peer| Does(Arc::clone(&deed)))
}

/// S7.
fn a_server_may_be_shut_down_in_any_way(kind: Kind) {
    within(PATIENCE, "twice, one after the other", move || {
        let server = spawn(kind, |_peer| Echo);
        let mut client = server.connect();
        echo(&mut client, b"x");
        for _ in 0..3 {
            let report = server.handle.drain(Duration::ZERO, PATIENCE);
            assert!(report.finished_all && report.closed == 1, "{report:?}");
        }
        let control = server.handle.control();
        server.handle.join().unwrap();
        control.stop();
        control.begin_drain(Duration::ZERO, Duration::ZERO);
        control.pause();
        control.resume();
        assert_eq!(control.stats().live(), 0);
    });
    within(PATIENCE, "from many threads at once", move || {
        let server = spawn(kind, |_peer| Echo);
        let mut clients: Vec<_> = (0..8).map(|_| server.connect()).collect();
        clients.iter_mut().for_each(|client| echo(client, b"x"));
        thread::scope(|scope| {
            for n in 0..8 {
                let handle = &server.handle;
                scope.spawn(move || match n % 4 {
                    3 => handle.control().stop(),
                    _ => assert!(handle.drain(Duration::ZERO, PATIENCE).finished_all),
                });
            }
        });
        server.handle.join().unwrap();
    });
    within(PATIENCE, "drained, then stopped, with a client that stays busy", move || {
        let server = spawn_doing(kind, |cx| cx.set_busy(true));
        let control = server.handle.control();
        let mut client = server.connect();
        client.write_all(b"x").unwrap();
        until("it is busy", || control.stats().accepted() == 1);
        control.begin_drain(Duration::ZERO, Duration::MAX);
        until("the listener is closed", || TcpStream::connect(server.addr).is_err());
        control.stop();
        control.stop();
        server.handle.join().unwrap();
        wait_for_end(&mut client);
    });
    type OfControl = fn(&Control);
    let from_handlers: [(&str, OfControl); 3] = [
        ("a handler drains", |control| control.begin_drain(Duration::ZERO, PATIENCE)),
        ("a handler stops", |control| control.stop()),
        ("a handler does all of it twice", |control| {
            for _ in 0..2 {
                control.begin_drain(Duration::from_secs(1), PATIENCE);
                control.stop();
            }
        }),
    ];
    for (what, deed) in from_handlers {
        within(PATIENCE, what, move || {
            let server = spawn_doing(kind, move |cx| deed(&cx.control()));
            let mut client = server.connect();
            client.write_all(b"x").unwrap();
            wait_for_end(&mut client);
            server.handle.join().unwrap();
        });
    }
    within(PATIENCE, "a handler drops the handle", move || {
        end_by_handle(kind, drop);
    });
    within(PATIENCE, "a handler joins", move || {
        end_by_handle(kind, |handle| {
            handle.control().stop();
            handle.join().unwrap();
        });
    });
    within(PATIENCE, "a handler drains by the handle", move || {
        end_by_handle(kind, |handle| {
            assert!(!handle.drain(Duration::ZERO, PATIENCE).finished_all);
            handle.detach();
        });
    });
    within(PATIENCE, "a dropped handle ends the server", move || {
        let server = spawn(kind, |_peer| Echo);
        let mut client = server.connect();
        echo(&mut client, b"x");
        drop(server.handle);
        wait_for_end(&mut client);
        assert!(TcpStream::connect(server.addr).is_err());
    });
}

/// A handler is given the server's only handle, and does this with it.
fn end_by_handle(kind: Kind, deed: impl Fn(ServerHandle) + Send + Sync + 'static) {
    let place: Arc<Mutex<Option<ServerHandle>>> = Arc::default();
    let taken = Arc::clone(&place);
    let server = spawn_doing(kind, move |_cx| {
        let handle = taken.lock().unwrap().take();
        handle.into_iter().for_each(&deed);
    });
    let Running { handle, addr, tids } = server;
    let control = handle.control();
    *place.lock().unwrap() = Some(handle);
    let mut client = connect(addr);
    client.write_all(b"x").unwrap();
    wait_for_end(&mut client);
    until("all threads have ended", || tids.alive() == 0);
    assert_eq!(control.stats().live(), 0);
}

/// S7: before the start. Who is in the backlog then is served and sent away in order.
fn what_was_shut_down_before_it_started_ends_at_once(kind: Kind) {
    within(PATIENCE, "what was drained or stopped before it started", move || {
        for stop in [false, true] {
            let tids = life::Tids::default();
            let server =
                Server::builder().backend(kind.backend(&tids)).bind("127.0.0.1:0").unwrap();
            let server = server.build().unwrap();
            let addr = server.local_addrs()[0].as_tcp().unwrap();
            let mut early = connect(addr);
            early.write_all(b"early").unwrap();
            match stop {
                true => server.control().stop(),
                false => server.control().begin_drain(Duration::ZERO, PATIENCE),
            }
            // It leaves at the server's end, for which the server lingers.
            let early = thread::spawn(move || match stop {
                true => wait_for_end(&mut early),
                false => assert_eq!(read_to_end(&mut early), b"early"),
            });
            server.serve(|_peer| Echo).unwrap();
            early.join().unwrap();
            assert!(TcpStream::connect(addr).is_err());
        }
    });
}

// Half-close.

/// Echoes, stays half-open for a second, and has a last word.
struct Lingers(Duration);

impl Handler for Lingers {
    fn on_data(&mut self, input: &mut Input<'_>, cx: &mut Context<'_>) -> Result<Action, BoxError> {
        cx.send(input.take());
        Ok(Action::Continue)
    }

    fn on_eof(&mut self, _: &mut Input<'_>, cx: &mut Context<'_>) -> Result<Action, BoxError> {
        cx.set_timer(self.0);
        Ok(Action::Continue)
    }

    fn on_timer(&mut self, cx: &mut Context<'_>) -> Result<Action, BoxError> {
        cx.send("the last word");
        Ok(Action::Close)
    }
}

/// R1.
fn a_half_closed_connection_gets_everything_and_costs_nothing(kind: Kind) {
    let server = spawn(kind, |_peer| Lingers(Duration::from_secs(1)));
    let mut stream = server.connect();
    let data = pattern(1 << 20);
    let mut writer = stream.try_clone().unwrap();
    let mut got = vec![0; data.len()];
    thread::scope(|scope| {
        scope.spawn(|| {
            writer.write_all(&data).unwrap();
            writer.shutdown(Shutdown::Write).unwrap();
        });
        stream.read_exact(&mut got).unwrap();
    });
    assert!(got == data);
    let rest = server.tids.rest_during(|| read_to_end(&mut stream));
    assert_eq!(rest, b"the last word");
    server.end();
}

fn pattern(len: usize) -> Vec<u8> {
    (0..len as u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect()
}

// Slow readers and small buffers.

/// Answers `w` with everything at once, and `s` with one part after the other.
struct Sends {
    data: Arc<[u8]>,
    sent: usize,
}

impl Sends {
    fn send_more(&mut self, cx: &mut Context<'_>) -> Action {
        while cx.is_writable() && self.sent < self.data.len() {
            let end = (self.sent + 10_007).min(self.data.len());
            cx.send(&self.data[self.sent..end]);
            self.sent = end;
        }
        if self.sent == self.data.len() { Action::Close } else { Action::Continue }
    }
}

impl Handler for Sends {
    fn on_data(&mut self, input: &mut Input<'_>, cx: &mut Context<'_>) -> Result<Action, BoxError> {
        if input.take() == b"w" {
            cx.send(&self.data);
            return Ok(Action::Close);
        }
        Ok(self.send_more(cx))
    }

    fn on_writable(&mut self, cx: &mut Context<'_>) -> Result<Action, BoxError> {
        Ok(self.send_more(cx))
    }
}

/// R4: 8 MiB through buffers of 4 KiB.
fn small_buffers_and_a_slow_reader_lose_nothing(kind: Kind) {
    let data: Arc<[u8]> = pattern(8 << 20).into();
    let sends = Arc::clone(&data);
    let small = SocketOptions::new().with_send_buffer(Some(4096));
    let server = spawn_with(
        kind,
        |builder| builder.socket_options(small),
        move |_peer| Sends { data: Arc::clone(&sends), sent: 0 },
    );
    for how in [b"w", b"s"] {
        let socket =
            socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        socket.set_recv_buffer_size(4096).unwrap();
        socket.connect(&server.addr.into()).unwrap();
        let mut stream = TcpStream::from(socket);
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(how).unwrap();
        let mut got = Vec::with_capacity(data.len());
        let mut part = [0; 3001];
        loop {
            match stream.read(&mut part).unwrap() {
                0 => break,
                n => got.extend_from_slice(&part[..n]),
            }
        }
        assert!(got == *data, "{how:?}: {} of {} bytes, or not those sent", got.len(), data.len());
    }
    server.end();
}

// Closing.

/// Counts what comes until the end.
struct Counts {
    got: usize,
    total: Send_<(usize, CloseKind)>,
}

impl Handler for Counts {
    fn on_data(&mut self, input: &mut Input<'_>, _: &mut Context<'_>) -> Result<Action, BoxError> {
        self.got += input.take().len();
        Ok(Action::Continue)
    }

    fn on_close(&mut self, reason: &CloseReason) {
        self.total.send((self.got, reason.kind())).unwrap();
    }
}

/// R14.
fn data_before_a_close_arrives(kind: Kind) {
    const SIZE: usize = 100 << 10;
    let (send, totals) = channel();
    let send = Mutex::new(send);
    let server = spawn(kind, move |_peer| Counts { got: 0, total: send.lock().unwrap().clone() });
    let data = pattern(SIZE);
    for round in 0..rounds(2_000) {
        server.connect().write_all(&data).unwrap();
        if round % 8 == 7 {
            for _ in 0..8 {
                let end = totals.recv_timeout(PATIENCE).expect("a connection's end");
                assert_eq!(end, (SIZE, CloseKind::PeerClosed));
            }
        }
    }
    let control = server.handle.control();
    server.end();
    assert!(totals.iter().all(|end| end == (SIZE, CloseKind::PeerClosed)));
    assert_eq!(control.stats().accepted(), rounds(2_000) as u64);
    println!("{kind:?}: {} connections of {SIZE} bytes", control.stats().accepted());
}

/// Says "bye" and closes, at once or at the first byte.
struct Bye(bool);

impl Handler for Bye {
    fn on_open(&mut self, cx: &mut Context<'_>) -> Result<Action, BoxError> {
        if !self.0 {
            return Ok(Action::Continue);
        }
        cx.send("bye");
        Ok(Action::Close)
    }

    fn on_data(&mut self, _: &mut Input<'_>, cx: &mut Context<'_>) -> Result<Action, BoxError> {
        cx.send("bye");
        Ok(Action::Close)
    }
}

/// R15: a close with unread input would be a reset, which destroys the answer.
fn the_last_answer_survives_input_that_nobody_read(kind: Kind) {
    let number = AtomicUsize::new(0);
    let server = spawn(kind, move |_peer| Bye(number.fetch_add(1, Ordering::Relaxed) % 2 == 0));
    let data = pattern(1 << 20);
    for round in 0..rounds(1_000) {
        let mut stream = server.connect();
        stream.write_all(&data).unwrap_or_else(|error| panic!("round {round}: {error}"));
        let mut got = Vec::new();
        let end = stream.read_to_end(&mut got);
        assert!(end.is_ok() && got == b"bye", "round {round}: {end:?}, {got:?}");
    }
    let control = server.handle.control();
    server.end();
    assert_eq!(control.stats().accepted(), rounds(1_000) as u64);
    println!("{kind:?}: {} answers before input that nobody read", control.stats().accepted());
}

/// Sends far more than the system holds, closes, and tells when it is over.
struct Floods {
    began: Send_<()>,
    ended: Send_<(CloseKind, Instant)>,
}

impl Handler for Floods {
    fn on_data(&mut self, input: &mut Input<'_>, cx: &mut Context<'_>) -> Result<Action, BoxError> {
        if input.take() != b"flood" {
            cx.send("probe");
            return Ok(Action::Continue);
        }
        cx.send(vec![7; 16 << 20]);
        self.began.send(()).unwrap();
        Ok(Action::Close)
    }

    fn on_close(&mut self, reason: &CloseReason) {
        // Nobody asks about the others.
        let _ = self.ended.send((reason.kind(), Instant::now()));
    }
}

/// R16.
fn a_client_that_never_reads_goes_within_the_stall_limit(kind: Kind) {
    const STALL: Duration = Duration::from_secs(2);
    let mut timeouts = Timeouts::default();
    timeouts.write_stall = Limit::At(STALL);
    let ((began, has_begun), (ended, has_ended)) = (channel(), channel());
    let senders = Mutex::new((began, ended));
    let server = spawn_with(
        kind,
        |builder| builder.timeouts(timeouts),
        move |_peer| {
            let (began, ended) = senders.lock().unwrap().clone();
            Floods { began, ended }
        },
    );
    let mut other = server.connect();
    let mut silent = server.connect();
    silent.write_all(b"flood").unwrap();
    has_begun.recv_timeout(PATIENCE).expect("the flood");
    other.write_all(b"probe").unwrap();
    other.read_exact(&mut [0; 5]).unwrap();
    let from = Instant::now();
    let (reason, at) =
        server.tids.rest_during(|| has_ended.recv_timeout(PATIENCE)).expect("the end");
    let took = at - from;
    println!("{kind:?}: gone after {took:?}");
    assert!(matches!(reason, CloseKind::SlowConsumer | CloseKind::WriteTimeout), "{reason:?}");
    assert!(took < STALL + Duration::from_millis(1900), "it took {took:?}");
    other.write_all(b"probe").unwrap();
    other.read_exact(&mut [0; 5]).unwrap();
    drop((silent, other));
    server.end();
}

// Numbers that are used again.

/// Its first word is its tag. Gives its sender to whoever sends late.
struct Tagged(Option<Send_<(u64, Sender)>>);

impl Handler for Tagged {
    fn on_data(&mut self, input: &mut Input<'_>, cx: &mut Context<'_>) -> Result<Action, BoxError> {
        let Some(tag) = input.take_n(8) else { return Ok(Action::Want(8)) };
        cx.send(tag);
        let tag = u64::from_le_bytes(tag.try_into().unwrap());
        if let Some(late) = self.0.take() {
            late.send((tag, cx.sender())).unwrap();
        }
        Ok(Action::Continue)
    }
}

/// R20: a descriptor, and a slot, is used again at once. Unix sockets have no ports to run out of.
fn late_messages_never_reach_another_connection(kind: Kind) {
    const CLIENTS: u64 = 4;
    /// How many connections a sender outlives before it is used for the last time.
    const KEPT: usize = 64;
    let per_client = (rounds(10_000) as u64).div_ceil(CLIENTS);
    let dir = TempDir::new();
    let unix = format!("unix:{}", dir.file("s").display());
    let (give, late) = channel::<(u64, Sender)>();
    let give = Mutex::new(give);
    let server = spawn_with(
        kind,
        |builder| builder.bind(&*unix).unwrap(),
        move |_peer| Tagged(Some(give.lock().unwrap().clone())),
    );
    let late = thread::spawn(move || {
        let mut kept = std::collections::VecDeque::new();
        let (mut accepted, mut closed) = (0_u64, 0_u64);
        for (tag, sender) in late {
            kept.push_back((tag, sender));
            if kept.len() > KEPT {
                kept.pop_front();
            }
            for (tag, sender) in [&kept[0], &kept[kept.len() / 2], &kept[kept.len() - 1]] {
                match sender.send(tag.to_le_bytes().to_vec()) {
                    Ok(()) => accepted += 1,
                    Err(error) if error.is_closed() => closed += 1,
                    Err(error) => panic!("{error}"),
                }
                sender.wake();
            }
        }
        (accepted, closed)
    });
    let path = dir.file("s");
    let received: u64 = thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|client| {
                let path = &path;
                scope.spawn(move || {
                    let tags = (0..per_client).map(|n| client << 32 | n);
                    tags.map(|tag| hear_own_tag(path, tag)).sum::<u64>()
                })
            })
            .collect();
        clients.into_iter().map(|client| client.join().unwrap()).sum()
    });
    let stats = server.handle.control();
    server.end();
    let stats = stats.stats();
    assert_eq!(stats.accepted(), per_client * CLIENTS);
    assert_eq!(stats.accepted(), stats.closed_total(), "{stats:?}");
    let (accepted, closed) = late.join().unwrap();
    // Each tag is echoed once; whatever else came was sent late.
    let heard_late = received - per_client * CLIENTS;
    assert!(heard_late > 0 && heard_late <= accepted, "{heard_late} of {accepted} were heard");
    assert!(closed > 0, "no sender outlived its connection");
}

/// One short connection. Returns how many words it received, each of which must be its own.
fn hear_own_tag(path: &std::path::Path, tag: u64) -> u64 {
    let mut stream = UnixStream::connect(path).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(&tag.to_le_bytes()).unwrap();
    let mut word = [0; 8];
    let mut heard = 0;
    // Some leave at once, some when the late word has come, some in order.
    let wanted = 1 + tag % 2;
    while heard < wanted {
        stream.read_exact(&mut word).unwrap();
        assert_eq!(u64::from_le_bytes(word), tag, "somebody else's word");
        heard += 1;
    }
    if tag % 3 == 0 {
        stream.shutdown(Shutdown::Write).unwrap();
        for word in read_to_end(&mut stream).chunks(8) {
            assert_eq!(word, tag.to_le_bytes(), "somebody else's word");
            heard += 1;
        }
    }
    heard
}

// Many.

/// Two workers, or loops; or a thread for each of the two thousand.
fn active_clients_do_not_starve_beside_idle_ones(kind: Kind) {
    const IDLE: usize = 2_000;
    const ACTIVE: usize = 16;
    const REQUESTS: u32 = 200;
    raise_descriptor_limit();
    let server =
        spawn_with(kind, |builder| builder.first_byte_timeout(Limit::Unlimited), |_peer| Echo);
    let mut idle: Vec<_> = (0..IDLE).map(|_| server.connect()).collect();
    let control = server.handle.control();
    until("all are accepted", || control.stats().accepted() == IDLE as u64);
    let slowest: Vec<Duration> = thread::scope(|scope| {
        let active: Vec<_> = (0..ACTIVE)
            .map(|n| {
                scope.spawn({
                    let server = &server;
                    move || {
                        let mut stream = server.connect();
                        let request = |r: u32| {
                            let began = Instant::now();
                            echo(&mut stream, format!("request {r} of {n}").as_bytes());
                            began.elapsed()
                        };
                        (0..REQUESTS).map(request).max().unwrap()
                    }
                })
            })
            .collect();
        active.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let (fastest, slowest) = (slowest.iter().min().unwrap(), slowest.iter().max().unwrap());
    println!("{kind:?}: the slowest request of each client took {fastest:?} to {slowest:?}");
    assert!(*slowest < Duration::from_secs(5), "a request took {slowest:?}");
    idle.iter_mut().step_by(100).for_each(|stream| echo(stream, b"I am still here"));
    drop(idle);
    server.end();
}

fn raise_descriptor_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    setrlimit(Resource::Nofile, raised).unwrap();
}

// The end, under load.

/// What a client that loops requests has seen of a drain.
#[derive(Debug, Default, Clone, Copy)]
struct Seen {
    answered: u64,
    /// Requests that were sent before the drain and got no answer.
    lost: u64,
    /// Answers that were cut short.
    torn: u64,
    /// Requests that came too late.
    late: u64,
}

const REQUEST: [u8; 64] = [42; 64];

/// Loops requests until the server ends; `drain_began` tells in nanoseconds since `epoch`.
fn ask_until_the_end(mut stream: TcpStream, epoch: Instant, drain_began: &AtomicU64) -> Seen {
    let mut seen = Seen::default();
    let mut reply = [0; REQUEST.len()];
    loop {
        let sent = stream.write_all(&REQUEST);
        let sent_at = epoch.elapsed().as_nanos() as u64;
        let mut got = 0;
        while got < reply.len() {
            match stream.read(&mut reply[got..]) {
                Ok(0) | Err(_) => break,
                Ok(n) => got += n,
            }
        }
        if got == reply.len() && reply == REQUEST {
            seen.answered += 1;
            continue;
        }
        seen.torn += u64::from(got > 0);
        let before = sent.is_ok() && sent_at < drain_began.load(Ordering::SeqCst);
        seen.lost += u64::from(before);
        seen.late += u64::from(!before);
        return seen;
    }
}

/// S3, in short.
fn a_drain_loses_no_request_that_was_there_before(kind: Kind) {
    const CLIENTS: usize = 20;
    let mut answered = 0;
    for round in 0..rounds(10) {
        let server = spawn(kind, |_peer| Echo);
        let (epoch, began) = (Instant::now(), AtomicU64::new(u64::MAX));
        let seen: Vec<Seen> = thread::scope(|scope| {
            let clients: Vec<_> = (0..CLIENTS)
                .map(|_| {
                    let (stream, began) = (server.connect(), &began);
                    scope.spawn(move || ask_until_the_end(stream, epoch, began))
                })
                .collect();
            let control = server.handle.control();
            until("the load is there", || control.stats().accepted() == CLIENTS as u64);
            began.store(epoch.elapsed().as_nanos() as u64, Ordering::SeqCst);
            let report = server.handle.drain(Duration::ZERO, PATIENCE);
            assert!(report.finished_all && report.killed == 0, "round {round}: {report:?}");
            assert!(report.took < Duration::from_secs(5), "round {round}: {report:?}");
            clients.into_iter().map(|client| client.join().unwrap()).collect()
        });
        for client in &seen {
            assert_eq!((client.lost, client.torn), (0, 0), "round {round}: {seen:?}");
            answered += client.answered;
        }
        server.handle.join().unwrap();
    }
    println!("{kind:?}: {answered} requests were answered, none was lost");
}

fn a_stop_under_load_ends_everything(kind: Kind) {
    for _ in 0..rounds(10) {
        let Running { handle, addr, tids } = spawn(kind, |_peer| Echo);
        let (epoch, began) = (Instant::now(), AtomicU64::new(0));
        thread::scope(|scope| {
            for _ in 0..20 {
                let (stream, began) = (connect(addr), &began);
                scope.spawn(move || ask_until_the_end(stream, epoch, began));
            }
            let control = handle.control();
            until("the load is there", || control.stats().accepted() == 20);
            let stopped = Instant::now();
            control.stop();
            handle.join().unwrap();
            let took = stopped.elapsed();
            assert!(took < Duration::from_secs(1), "the stop took {took:?}");
            assert_eq!(control.stats().live(), 0);
        });
        until("no thread is left", || tids.alive() == 0);
    }
}

/// Blocks in `on_data` when it is told to.
struct Sticks(Gate);

impl Handler for Sticks {
    fn on_data(&mut self, input: &mut Input<'_>, cx: &mut Context<'_>) -> Result<Action, BoxError> {
        if input.as_slice() == b"stick" {
            self.0.pass();
        }
        cx.send(input.take());
        Ok(Action::Continue)
    }
}

/// A server with one handler that is stuck.
fn spawn_stuck(kind: Kind) -> (Running, Gate, TcpStream) {
    let gate = Gate::default();
    let gates = gate.clone();
    let server = spawn(kind, move |_peer| Sticks(gates.clone()));
    let mut stuck = server.connect();
    stuck.write_all(b"stick").unwrap();
    gate.wait_for_blocked(1);
    (server, gate, stuck)
}

/// S4.
fn a_stuck_handler_is_reported_and_left(kind: Kind) {
    const DEADLINE: Duration = Duration::from_millis(300);
    let (server, gate, mut stuck) = spawn_stuck(kind);
    let mut idle = kind.may_block().then(|| server.connect());
    idle.iter_mut().for_each(|stream| echo(stream, b"others are served"));
    let began = Instant::now();
    let report = server.handle.drain(Duration::ZERO, DEADLINE);
    let took = began.elapsed();
    // One second more, and what a busy machine adds.
    assert!(took > DEADLINE && took < DEADLINE + Duration::from_secs(4), "{took:?}");
    assert_eq!((report.stuck, report.finished_all), (1, false), "{report:?}");
    idle.iter_mut().for_each(wait_for_end);
    if kind == Kind::Threads {
        // Its socket is shut down under it; elsewhere nobody but its own thread can reach it.
        wait_for_end(&mut stuck);
    }
    let control = server.handle.control();
    let began = Instant::now();
    server.handle.join().unwrap();
    assert!(began.elapsed() < Duration::from_secs(1), "join waits for what is stuck");
    assert!(gate_is_shut(&gate), "the handler is still stuck");
    gate.open();
    wait_for_end(&mut stuck);
    until("the stuck one is over", || control.stats().live() == 0);
    until("no thread is left", || server.tids.alive() == 0);
    assert_eq!(control.stats().open(), 0);
}

fn gate_is_shut(gate: &Gate) -> bool {
    gate.wait_for_blocked(1);
    true
}

fn a_dropped_handle_waits_for_a_stuck_handler_no_longer_than_its_deadline(kind: Kind) {
    let (server, gate, _stuck) = spawn_stuck(kind);
    let Running { handle, tids, .. } = server;
    let began = Instant::now();
    drop(handle);
    let took = began.elapsed();
    let (least, most) = (Duration::from_secs(5), Duration::from_millis(6_700));
    assert!(took > least && took < most, "it took {took:?}");
    gate.open();
    until("no thread is left", || tids.alive() == 0);
}

fn a_detached_server_runs_on(kind: Kind) {
    let server = spawn(kind, |_peer| Echo);
    let Running { handle, addr, tids } = server;
    let control = handle.control();
    let mut client = connect(addr);
    echo(&mut client, b"before");
    handle.detach();
    echo(&mut client, b"after");
    echo(&mut connect(addr), b"and others");
    control.begin_drain(Duration::ZERO, PATIENCE);
    wait_for_end(&mut client);
    until("no thread is left", || tids.alive() == 0);
    assert!(TcpStream::connect(addr).is_err());
}

// Clocks.

/// Its timer is due again as soon as it has run out.
struct Ticking;

impl Handler for Ticking {
    fn on_data(&mut self, input: &mut Input<'_>, cx: &mut Context<'_>) -> Result<Action, BoxError> {
        cx.set_timer(Duration::ZERO);
        cx.send(input.take());
        Ok(Action::Continue)
    }

    fn on_timer(&mut self, cx: &mut Context<'_>) -> Result<Action, BoxError> {
        cx.set_timer(Duration::ZERO);
        Ok(Action::Continue)
    }
}

fn a_timer_that_is_always_due_lets_others_have_their_turn(kind: Kind) {
    within(2 * PATIENCE, "others beside timers that are always due", move || {
        let server = spawn(kind, |_peer| Ticking);
        let mut clients: Vec<_> = (0..3).map(|_| server.connect()).collect();
        for _ in 0..3 {
            clients.iter_mut().for_each(|client| echo(client, b"tick"));
        }
        server.probe();
        server.end();
    });
}

/// It is never done.
struct Busy;

impl Handler for Busy {
    fn on_data(&mut self, input: &mut Input<'_>, cx: &mut Context<'_>) -> Result<Action, BoxError> {
        cx.set_busy(true);
        cx.send(input.take());
        Ok(Action::Continue)
    }
}

fn a_drain_that_is_brought_closer_ends_at_its_deadline(kind: Kind) {
    let server = spawn(kind, |_peer| Busy);
    let mut client = server.connect();
    let control = server.handle.control();
    let deadline = Duration::from_secs(1);
    control.begin_drain(deadline / 4, deadline);
    // When it is served for the second time, the server waits for the end of the grace.
    echo(&mut client, b"busy");
    echo(&mut client, b"busy");
    control.begin_drain(Duration::ZERO, deadline);
    // Nobody else looks at the clock of the drain.
    wait_for_end(&mut client);
    server.handle.join().unwrap();
}

/// Waits at the gate when it is told to, and echoes.
struct AtGate(Gate);

impl Handler for AtGate {
    fn on_data(&mut self, input: &mut Input<'_>, cx: &mut Context<'_>) -> Result<Action, BoxError> {
        let bytes = input.take();
        if bytes == b"slow" {
            self.0.pass();
        }
        cx.send(bytes);
        Ok(Action::Continue)
    }
}

/// What comes after a callback that took its time is as late as after a quick one.
fn a_slow_callback_delays_no_later_time_out(kind: Kind) {
    let (gate, idle) = (Gate::default(), Duration::from_millis(400));
    let its_gate = gate.clone();
    let mut timeouts = Timeouts::default();
    (timeouts.idle, timeouts.first_byte) = (idle.into(), Limit::Unlimited);
    let server = spawn_with(kind, |b| b.timeouts(timeouts), move |_| AtGate(its_gate.clone()));
    let mut slow = server.connect();
    slow.write_all(b"slow").unwrap();
    gate.wait_for_blocked(1);
    let others_end = |n| {
        for _ in 0..n {
            let mut other = server.connect();
            echo(&mut other, b"quick");
            wait_for_end(&mut other);
        }
    };
    others_end(4);
    gate.open();
    let mut reply = [0; 4];
    slow.read_exact(&mut reply).unwrap();
    echo(&mut slow, b"quick");
    others_end(2);
    slow.set_nonblocking(true).unwrap();
    let end = slow.read(&mut reply);
    assert!(matches!(end, Ok(0)), "after twice the time-out: {end:?}");
    drop(slow);
    server.end();
}

/// Where others are served beside a callback that takes its time.
#[test]
fn a_slow_callback_delays_no_later_time_out_where_it_may_block() {
    for kind in life::ALL.into_iter().filter(|kind| kind.may_block()) {
        within(2 * PATIENCE, "time-outs after a slow callback", move || {
            a_slow_callback_delays_no_later_time_out(kind);
        });
    }
}

/// Answers with much, as soon as the gate is open, and asks for no more than that.
struct Large(Gate);

const LARGE: usize = 512 * 1024;

impl Handler for Large {
    fn on_data(&mut self, input: &mut Input<'_>, cx: &mut Context<'_>) -> Result<Action, BoxError> {
        let bytes = input.take();
        if bytes == b"large" {
            self.0.pass();
            cx.send(vec![b'l'; LARGE]);
        } else {
            cx.send(bytes);
        }
        Ok(Action::Continue)
    }
}

/// The first turn writes so much that others come before the next, in which the peer is heard.
#[test]
fn whoever_is_heard_right_after_a_large_reply_is_idle_in_time() {
    for kind in life::ALL.into_iter().filter(|kind| kind.may_block()) {
        let gate = Gate::default();
        let its_gate = gate.clone();
        let mut timeouts = Timeouts::default();
        timeouts.idle = Duration::from_millis(400).into();
        timeouts.first_byte = (10 * PATIENCE).into();
        let sockets = SocketOptions::new().with_send_buffer(Some(4 * LARGE));
        let set = |b: polyserve::Builder| b.timeouts(timeouts).socket_options(sockets);
        let server = spawn_with(kind, set, move |_| Large(its_gate.clone()));
        let mut client = server.connect();
        client.write_all(b"large").unwrap();
        gate.wait_for_blocked(1);
        client.write_all(b"quick").unwrap();
        gate.open();
        let mut reply = vec![0; LARGE + 5];
        client.read_exact(&mut reply).unwrap();
        assert!(reply.ends_with(b"lquick"), "{kind:?}");
        wait_for_end(&mut client);
        drop(client);
        server.end();
    }
}
