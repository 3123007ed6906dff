//! What observers are told: everything, once, in order, and under no lock.

use super::client::{Client, pattern};
use super::role::Role;
use super::stage::{Asked, Failure, OrFail, PATIENCE, Running, Stage, bind, check};
use crate::addr::Addr;
use crate::codec::Lines;
use crate::connection::Timeouts;
use crate::framed::Framed;
use crate::handler::{
    Action, Callback, CloseKind, ConnectionId, ConnectionInfo, ConnectionState, Control, Deadline,
    Peer,
};
use crate::net::SocketOptions;
use crate::observe::{Batch, Closed, Observer, Refusal, Snapshot};
use crate::server::Builder;
use crate::shutdown::DrainReport;
use crate::testing::server::Event;
use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

const MS: Duration = Duration::from_millis(1);

/// How far the telling of one connection has come.
#[derive(Debug, Default)]
struct Told {
    opened: bool,
    throttled: bool,
    closed: bool,
}

/// Checks the events of a server that has ended: each connection was accepted, opened at most once
/// and closed once, with pairs of back-pressure between; and the steps of the end are in order.
pub(super) fn check_order(events: &[Event]) -> Asked {
    let mut all: BTreeMap<u64, Told> = BTreeMap::new();
    let mut last_step = 0;
    let mut n_refused = 0;
    for event in events {
        let ok = match event {
            Event::Accepted(id) => all.insert(id.get(), Told::default()).is_none(),
            Event::Refused => {
                n_refused += 1;
                true
            }
            event => match (connection_of(event), step_of(event)) {
                (Some(id), _) => all.get_mut(&id.get()).is_some_and(|told| told.follow(event)),
                (_, Some(step)) => std::mem::replace(&mut last_step, step) < step,
                _ => true,
            },
        };
        check!(ok, "{event:?} was told out of order: {events:?}");
    }
    let left = all.values().filter(|told| !told.closed).count();
    check!(left == n_refused, "of {left} connections no end was told: {events:?}");
    check!(!all.values().any(|told| told.throttled), "back-pressure stayed on: {events:?}");
    check!(last_step == FINISHED, "the end was not told: {events:?}");
    Ok(())
}

fn connection_of(event: &Event) -> Option<ConnectionId> {
    match event {
        Event::Opened(id)
        | Event::BackpressureOn(id)
        | Event::BackpressureOff(id)
        | Event::TimedOut(id, _)
        | Event::Panicked(id, _)
        | Event::Stalled(id, _)
        | Event::Closed { id, .. } => Some(*id),
        _ => None,
    }
}

const FINISHED: u8 = 5;

/// The number of a step of the end. The listeners may be closed behind the deadline, by a stop.
fn step_of(event: &Event) -> Option<u8> {
    match event {
        Event::DrainBegan => Some(1),
        Event::DrainTold(_) => Some(3),
        Event::DrainDeadline(_) => Some(4),
        Event::Drained(_) => Some(FINISHED),
        _ => None,
    }
}

impl Told {
    /// Whether `event` may come now.
    fn follow(&mut self, event: &Event) -> bool {
        let after_the_end = matches!(
            event,
            Event::TimedOut(_, Deadline::Lingering) | Event::Panicked(_, Callback::IntoStream)
        );
        if self.closed || after_the_end {
            return self.closed && after_the_end;
        }
        match event {
            Event::Opened(_) => !std::mem::replace(&mut self.opened, true),
            Event::BackpressureOn(_) => {
                self.opened && !std::mem::replace(&mut self.throttled, true)
            }
            Event::BackpressureOff(_) => std::mem::replace(&mut self.throttled, false),
            Event::Closed { .. } => {
                self.closed = true;
                !self.throttled
            }
            _ => true,
        }
    }
}

/// The number of a client's connection, once it is accepted.
fn id_of(server: &Running, client: &Client) -> Result<ConnectionId, Failure> {
    let addr = client.local_addr()?;
    let mut id = None;
    wait_until("accepted connection", || {
        let listed = server.control().connections();
        id = listed.iter().find(|info| info.peer == addr).map(|info| info.id);
        id.is_some()
    })?;
    id.ok_or_else(|| Failure::new("it was there just before"))
}

/// Waits until the connection is told to have ended in this way.
fn wait_end(server: &Running, id: ConnectionId, kind: CloseKind) -> Asked {
    let is_it = |event: &Event| matches!(event, Event::Closed { id: i, .. } if *i == id);
    let end = server.events().wait_for(format_args!("end of {id}"), PATIENCE, is_it);
    let end = end.or_fail("it is told")?;
    check!(matches!(end, Event::Closed { kind: k, .. } if k == kind), "{end:?}, not {kind:?}");
    Ok(())
}

pub(super) fn each_end_is_told_with_what_led_to_it(stage: &Stage) -> Asked {
    let server = stage.serve(|_, _| {
        Role::echo().data(|input, cx| match input.take() {
            b"close" => Ok(Action::Close),
            b"abort" => Ok(Action::Abort),
            b"fail" => Err("it was told to fail".into()),
            other => {
                cx.send(other);
                Ok(Action::Continue)
            }
        })
    })?;
    let ends = [
        (&b"close"[..], CloseKind::Closed),
        (b"abort", CloseKind::Aborted),
        (b"fail", CloseKind::Handler),
    ];
    for (word, kind) in ends {
        let mut client = server.connect()?;
        client.send(b"x")?;
        client.expect(b"x")?;
        let id = id_of(&server, &client)?;
        server.wait_event(&Event::Opened(id))?;
        client.send(word)?;
        wait_end(&server, id, kind)?;
    }
    let mut leaves = server.connect()?;
    leaves.send(b"x")?;
    leaves.expect(b"x")?;
    let id = id_of(&server, &leaves)?;
    leaves.finish()?;
    wait_end(&server, id, CloseKind::PeerClosed)?;
    let sent = server.events().all().into_iter().find_map(|event| match event {
        Event::Closed { id: i, sent, .. } if i == id => Some(sent),
        _ => None,
    });
    check!(sent == Some(1) || stage.has_layer(), "one byte was sent, and {sent:?} are told");
    Ok(())
}

pub(super) fn time_outs_are_told_with_their_deadline(stage: &Stage) -> Asked {
    let mut timeouts = Timeouts::default();
    // Longer than a busy machine keeps a client from its part of a handshake, or from its next byte.
    timeouts.first_byte = (600 * MS).into();
    timeouts.idle = (400 * MS).into();
    timeouts.message = (100 * MS).into();
    timeouts.half_closed = (100 * MS).into();
    timeouts.lingering_idle = 100 * MS;
    let server = stage.serve_with(
        |builder| builder.timeouts(timeouts),
        |_, _| {
            Role::echo()
                .data(|input, cx| match input.first() {
                    Some(b'm') => Ok(Action::Want(100)),
                    Some(b'c') => {
                        input.take();
                        Ok(Action::Close)
                    }
                    _ => {
                        cx.send(input.take());
                        Ok(Action::Continue)
                    }
                })
                .eof(|_, _| Ok(Action::Continue))
        },
    )?;
    let said = [
        (&b""[..], Deadline::FirstByte, CloseKind::FirstByteTimeout),
        (b"x", Deadline::Idle, CloseKind::IdleTimeout),
        (b"m", Deadline::Message, CloseKind::MessageTimeout),
        (b"c", Deadline::Lingering, CloseKind::Closed),
    ];
    let mut clients = Vec::new();
    for (word, deadline, kind) in said {
        let mut client = server.connect()?;
        let id = id_of(&server, &client)?;
        if !word.is_empty() {
            client.send(word)?;
        }
        clients.push(client);
        server.wait_event(&Event::TimedOut(id, deadline))?;
        wait_end(&server, id, kind)?;
    }
    let mut half = server.connect()?;
    let id = id_of(&server, &half)?;
    half.send(b"x")?;
    half.expect(b"x")?;
    half.finish()?;
    server.wait_event(&Event::TimedOut(id, Deadline::HalfClosed))?;
    wait_end(&server, id, CloseKind::HalfClosedTimeout)
}

pub(super) fn panics_are_told_with_their_callback(stage: &Stage) -> Asked {
    let next = Arc::new(AtomicUsize::new(0));
    const PANICS: [Callback; 8] = [
        Callback::Factory,
        Callback::OnOpen,
        Callback::OnData,
        Callback::OnEof,
        Callback::OnWake,
        Callback::OnTimer,
        Callback::OnClose,
        Callback::Drop,
    ];
    let server = stage.serve(move |_, _| {
        let which = PANICS[next.fetch_add(1, Ordering::SeqCst)];
        let panics = move |here: Callback| assert!(which != here, "told to panic in {here}");
        panics(Callback::Factory);
        let at_drop = OnDrop(Some(Box::new(move || panics(Callback::Drop))));
        Role::echo()
            .open(move |cx| {
                panics(Callback::OnOpen);
                match which {
                    Callback::OnWake => _ = cx.sender().wake(),
                    Callback::OnTimer => cx.set_timer(Duration::ZERO),
                    _ => (),
                }
                Ok(Action::Continue)
            })
            .data(move |input, cx| {
                panics(Callback::OnData);
                cx.send(input.take());
                Ok(Action::Continue)
            })
            .eof(move |_, _| {
                panics(Callback::OnEof);
                Ok(Action::Close)
            })
            .wake(move |_| {
                panics(Callback::OnWake);
                Ok(Action::Continue)
            })
            .timer(move |_| {
                panics(Callback::OnTimer);
                Ok(Action::Continue)
            })
            .close(move |_| {
                let _until_the_handler_is_dropped = &at_drop;
                panics(Callback::OnClose);
            })
    })?;
    for which in PANICS {
        let mut client = server.connect_silently()?;
        // Whether it gets through a handshake or so far depends on where the panic is.
        let spoken = server.greet(&mut client).and_then(|()| client.send(b"x"));
        if spoken.is_ok() && matches!(which, Callback::OnEof | Callback::OnClose | Callback::Drop) {
            client.expect(b"x")?;
            client.finish()?;
        }
        let is_it = |event: &Event| matches!(event, Event::Panicked(_, here) if *here == which);
        let told = server.events().wait_for(format_args!("panic in {which}"), PATIENCE, is_it);
        let Event::Panicked(id, _) = told.or_fail("it is told")? else { continue };
        let at_the_end = matches!(which, Callback::OnClose | Callback::Drop);
        wait_end(&server, id, if at_the_end { CloseKind::PeerClosed } else { CloseKind::Panic })?;
    }
    Ok(())
}

/// Calls something when it is dropped.
struct OnDrop(Option<Box<dyn FnOnce() + Send>>);

impl Drop for OnDrop {
    fn drop(&mut self) {
        if let Some(call) = self.0.take() {
            call();
        }
    }
}

/// Answers each byte with many.
fn generous() -> Role {
    Role::echo().data(|input, cx| {
        for _ in input.take() {
            cx.send(pattern(PORTION));
        }
        Ok(Action::Continue)
    })
}

const PORTION: usize = 128 * 1024;

/// More than the sockets of both ends and the high mark take for a peer that does not read.
const MUCH: usize = 1024 * 1024;

/// Sockets that hold little, so that little has to be sent to fill them.
fn small_sockets(builder: Builder) -> Builder {
    builder.socket_options(SocketOptions::new().with_send_buffer(Some(16 * 1024)))
}

pub(super) fn back_pressure_is_told_in_pairs(stage: &Stage) -> Asked {
    const N: usize = MUCH / PORTION;
    let server = stage.serve_with(small_sockets, |_, _| generous())?;
    let mut client = server.connect_small(16 * 1024)?;
    let id = id_of(&server, &client)?;
    for _ in 0..3 {
        let before = n_told(&server, &Event::BackpressureOn(id));
        client.send(&[b'x'; N])?;
        wait_count(&server, &Event::BackpressureOn(id), before + 1)?;
        let info = info_of(&server, id)?;
        check!(info.state == ConnectionState::Throttled, "not throttled: {info:?}");
        check!(info.output_held > 256 * 1024 && info.idle.is_none(), "not much held: {info:?}");
        client.read(MUCH)?;
        wait_count(&server, &Event::BackpressureOff(id), before + 1)?;
    }
    // One that is closed while it does not read.
    let mut stuck = server.connect_small(16 * 1024)?;
    let id = id_of(&server, &stuck)?;
    stuck.send(&[b'x'; N])?;
    server.wait_event(&Event::BackpressureOn(id))?;
    stuck.reset()?;
    wait_end(&server, id, CloseKind::Reset)?;
    check!(n_told(&server, &Event::BackpressureOff(id)) == 1, "it was not told to be off");
    Ok(())
}

fn n_told(server: &Running, event: &Event) -> usize {
    server.events().all().iter().filter(|seen| *seen == event).count()
}

/// Waits until an event was told as often as that.
fn wait_count(server: &Running, event: &Event, n: usize) -> Asked {
    wait_until(&format!("{n} times {event:?}"), || n_told(server, event) >= n)
}

/// Waits until something holds that nobody tells of.
fn wait_until(what: &str, mut holds: impl FnMut() -> bool) -> Asked {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        check!(Instant::now() < deadline, "no {what} within {PATIENCE:?}");
        std::thread::yield_now();
    }
    Ok(())
}

fn info_of(server: &Running, id: ConnectionId) -> Result<ConnectionInfo, Failure> {
    let listed = server.control().connections();
    let found = listed.iter().find(|info| info.id == id).cloned();
    found.ok_or_else(|| Failure::new(format!("{id} is not among {listed:?}")))
}

pub(super) fn a_callback_that_holds_up_a_loop_is_told(stage: &Stage) -> Asked {
    const LONG: Duration = Duration::from_millis(60);
    let mut timeouts = Timeouts::default();
    timeouts.stall = (20 * MS).into();
    let work = |how_long: Duration| {
        let began = Instant::now();
        while began.elapsed() < how_long {
            std::hint::spin_loop();
        }
    };
    let server = stage.serve_with(
        |builder| builder.timeouts(timeouts),
        move |_, _| {
            Role::echo()
                .data(move |input, cx| {
                    input.take();
                    work(LONG);
                    cx.send(if cx.may_block() { "block" } else { "loops" });
                    Ok(Action::Continue)
                })
                .close(move |_| work(LONG))
        },
    )?;
    let mut client = server.connect()?;
    let id = id_of(&server, &client)?;
    client.send(b"x")?;
    let may_block = client.read(5)? == b"block";
    client.finish()?;
    wait_end(&server, id, CloseKind::PeerClosed)?;
    for callback in [Callback::OnData, Callback::OnClose] {
        let n = n_told(&server, &Event::Stalled(id, callback));
        // The system may have held up a callback besides, so there may be more.
        let as_expected = if may_block { n == 0 } else { n >= 1 };
        check!(as_expected, "a stall in {callback} was told {n} times, may block: {may_block}");
    }
    Ok(())
}

/// Adds up batches.
#[derive(Debug, Default)]
struct Sums {
    requests: AtomicU64,
    received: AtomicU64,
    sent: AtomicU64,
    empty: AtomicBool,
}

impl Observer for Sums {
    fn wants_batches(&self) -> bool {
        true
    }

    fn batch(&self, batch: &Batch<'_>) {
        self.requests.fetch_add(batch.requests, Ordering::SeqCst);
        self.received.fetch_add(batch.received, Ordering::SeqCst);
        self.sent.fetch_add(batch.sent, Ordering::SeqCst);
        self.empty.fetch_or(batch.requests == 0, Ordering::SeqCst);
    }
}

pub(super) fn batches_add_up_to_what_was_served(stage: &Stage) -> Asked {
    const N: usize = 500;
    let sums = Arc::new(Sums::default());
    let observer: Box<dyn Observer> = Box::new(Arc::clone(&sums));
    let ready = stage.ready_observed(Some(observer), |b| bind(b, "127.0.0.1:0"))?;
    let server =
        stage.spawn(ready, |_, _| Framed::new(Lines::new(), |line, replies| replies.send(line)))?;
    let mut client = server.connect()?;
    let bytes = b"one\n".repeat(N);
    client.send(&bytes)?;
    check!(client.read(bytes.len())? == bytes, "the lines came back changed");
    client.send(b"a part")?;
    client.finish()?;
    server.log.wait("the end", |seen| seen.closed.len() == 1)?;
    let told = [&sums.requests, &sums.received, &sums.sent].map(|n| n.load(Ordering::SeqCst));
    check!(told[0] == N as u64, "{} requests were told, not {N}", told[0]);
    check!(told[1] >= 4 * N as u64, "{} bytes received were told: {}", told[1], 4 * N);
    check!(told[2] >= 4 * N as u64 || stage.has_layer(), "{} bytes sent were told", told[2]);
    check!(!sums.empty.load(Ordering::SeqCst), "a batch of nothing was told");
    wait_until("all counted", || server.control().stats().open() == 0)?;
    let stats = server.control().stats();
    let received = 4 * N as u64 + 6;
    check!((stats.requests(), stats.received()) == (N as u64, received), "{stats:?}");
    Ok(())
}

pub(super) fn the_steps_of_a_drain_are_told_in_order(stage: &Stage) -> Asked {
    let server = stage.serve(|_, _| {
        Role::echo().open(|cx| {
            cx.set_busy(true);
            Ok(Action::Continue)
        })
    })?;
    let mut client = server.connect()?;
    client.send(b"x")?;
    client.expect(b"x")?;
    let report = server.handle().drain(20 * MS, 200 * MS);
    check!(report.killed == 1, "one was busy until the deadline: {report:?}");
    client.read_to_any_end()?;
    let steps: Vec<Event> = steps(&server);
    let expected =
        [Event::DrainBegan, Event::ListenersClosed, Event::DrainTold(1), Event::DrainDeadline(1)];
    check!(steps.len() == 5 && steps[..4] == expected, "{steps:?}");
    check!(matches!(steps[4], Event::Drained(r) if r.killed == 1), "{steps:?}");
    Ok(())
}

pub(super) fn a_stop_is_told_step_by_step(stage: &Stage) -> Asked {
    let server = stage.serve(|_, _| Role::echo())?;
    let mut client = server.connect()?;
    client.send(b"x")?;
    client.expect(b"x")?;
    server.control().stop();
    server.control().begin_drain(Duration::ZERO, Duration::ZERO);
    let is_over = |event: &Event| matches!(event, Event::Drained(_));
    server.events().wait_for("the end", PATIENCE, is_over).or_fail("it is told")?;
    let steps = steps(&server);
    check!(
        matches!(
            &steps[..],
            [Event::DrainDeadline(1), Event::ListenersClosed, Event::Drained(_)]
                | [Event::ListenersClosed, Event::DrainDeadline(1), Event::Drained(_)]
        ),
        "{steps:?}"
    );
    Ok(())
}

fn steps(server: &Running) -> Vec<Event> {
    let is_step =
        |event: &Event| step_of(event).is_some() || matches!(event, Event::ListenersClosed);
    server.events().all().into_iter().filter(is_step).collect()
}

/// Calls `reaction` from each of its methods.
struct Reacts<F>(F);

macro_rules! react {
    ($($method:ident($($type:ty),*);)*) => {
        impl<F: Fn(&'static str) + Send + Sync + 'static> Observer for Reacts<F> {
            fn wants_batches(&self) -> bool {
                true
            }

            $(fn $method(&self, $(_: $type),*) {
                (self.0)(stringify!($method));
            })*
        }
    };
}

react! {
    listening(&Addr);
    accepted(ConnectionId, &Peer);
    refused(&Peer, &Refusal<'_>);
    opened(ConnectionId, &Peer);
    batch(&Batch<'_>);
    backpressure_on(ConnectionId, &Peer, usize);
    backpressure_off(ConnectionId, &Peer, usize);
    timed_out(ConnectionId, &Peer, Deadline);
    panicked(ConnectionId, &Peer, Callback, &str);
    stalled(ConnectionId, &Peer, Callback, Duration);
    closed(&Closed<'_>);
    accept_failed(&Addr, &io::Error, Option<Duration>);
    listener_failed(&Addr, &io::Error);
    drain_began(Duration, Duration);
    drain_listeners_closed();
    drain_told(usize);
    drain_deadline(usize);
    drained(&DrainReport);
}

/// Has most of what can be told happen, with an observer that does `reaction` each time.
fn bring_about(
    stage: &Stage,
    reaction: impl Fn(&'static str) + Send + Sync + 'static,
    use_control: impl FnOnce(Control),
) -> Result<Arc<Running>, Failure> {
    let mut timeouts = Timeouts::default();
    // Longer than a busy machine keeps a client from its next byte.
    timeouts.idle = (250 * MS).into();
    timeouts.stall = MS.into();
    let observer: Box<dyn Observer> = Box::new(Reacts(reaction));
    let ready = stage.ready_observed(Some(observer), |builder| {
        let mut limits = crate::connection::Limits::default();
        limits.per_address = crate::limit::Limit::At(4);
        bind(small_sockets(builder).timeouts(timeouts).limits(limits), "127.0.0.1:0")
    })?;
    use_control(ready.server.control());
    let server = stage.spawn(ready, |_, _| {
        Role::echo().data(|input, cx| {
            match input.first() {
                Some(b'p') => panic!("it was told to panic"),
                Some(b'l') => {
                    let began = Instant::now();
                    while began.elapsed() < 5 * MS {
                        std::hint::spin_loop();
                    }
                }
                Some(b'm') => cx.send(pattern(MUCH)),
                Some(b'b') => cx.set_busy(true),
                _ => (),
            }
            cx.send(input.take());
            Ok(Action::Continue)
        })
    })?;
    let mut idle = server.connect()?;
    idle.send(b"l")?;
    idle.expect(b"l")?;
    idle.expect_end()?;
    idle.finish()?;
    let mut panics = server.connect()?;
    panics.send(b"p")?;
    panics.expect_end()?;
    let mut slow = server.connect_small(16 * 1024)?;
    let id = id_of(&server, &slow)?;
    slow.send(b"m")?;
    server.wait_event(&Event::BackpressureOn(id))?;
    slow.read(MUCH + 1)?;
    server.wait_event(&Event::BackpressureOff(id))?;
    let mut held: Vec<Client> = vec![slow, panics, idle];
    // Until one is too many for its address.
    for _ in 0..5 {
        let mut busy = server.connect_silently()?;
        if server.greet(&mut busy).and_then(|()| busy.send(b"b")).is_ok() {
            held.push(busy);
        }
    }
    server.wait_event(&Event::Refused)?;
    server.handle().drain(MS, 50 * MS);
    Ok(server)
}

pub(super) fn observers_may_call_everything(stage: &Stage) -> Asked {
    let control = Arc::new(OnceLock::<Control>::new());
    let calls = Arc::new(AtomicUsize::new(0));
    // One that kept the control itself would be kept by what it keeps.
    let (its_control, its_calls) = (Arc::downgrade(&control), Arc::clone(&calls));
    let reaction = move |_: &'static str| {
        let control = its_control.upgrade();
        let Some(control) = control.as_ref().and_then(|control| control.get()) else { return };
        its_calls.fetch_add(1, Ordering::SeqCst);
        let stats = control.stats();
        drop(control.connections());
        control.pause();
        control.resume();
        control.set_max_connections(control.max_connections());
        let _ = control.close(ConnectionId(u64::MAX));
        if stats.accepted() > 5 {
            control.begin_drain(Duration::from_secs(60), Duration::from_secs(60));
        }
        drop(format!("{control:?}"));
    };
    let server = bring_about(stage, reaction, |given| _ = control.set(given))?;
    let is_over = |event: &Event| matches!(event, Event::Drained(_));
    server.events().wait_for("the end", PATIENCE, is_over).or_fail("it is told")?;
    let n = calls.load(Ordering::SeqCst);
    check!(n > 20, "the observer was called {n} times only");
    Ok(())
}

pub(super) fn panics_of_observers_change_nothing(stage: &Stage) -> Asked {
    // It unwinds as a panic does, but says nothing on standard error.
    let reaction = |name: &'static str| std::panic::resume_unwind(Box::new(name));
    let server = bring_about(stage, reaction, drop)?;
    let is_over = |event: &Event| matches!(event, Event::Drained(_));
    server.events().wait_for("the end", PATIENCE, is_over).or_fail("it is told")?;
    Ok(())
}

pub(super) fn connections_tell_how_they_stand(stage: &Stage) -> Asked {
    let server = stage.serve(|_, _| {
        Role::echo()
            .data(|input, cx| {
                let word = input.take();
                let (pauses, busy) = (word == b"pause", word == b"busy");
                cx.send(word);
                cx.set_busy(busy);
                Ok(if pauses { Action::Pause } else { Action::Continue })
            })
            .eof(|_, _| Ok(Action::Continue))
    })?;
    let mut client = server.connect()?;
    let id = id_of(&server, &client)?;
    for (n, word) in [&b"hello"[..], b"busy", b"hello"].into_iter().enumerate() {
        client.send(word)?;
        client.expect(word)?;
        // What is told is how it stood at the end of the turn.
        wait_until("count of its requests", || {
            info_of(&server, id).is_ok_and(|info| info.requests == n as u64 + 1)
        })?;
        wait_until("published state", || {
            info_of(&server, id).is_ok_and(|info| info.idle.is_none() == (word == b"busy"))
        })?;
    }
    let info = info_of(&server, id)?;
    check!(info.state == ConnectionState::Open && info.output_held == 0, "{info:?}");
    check!((info.received, info.requests) == (14, 3), "{info:?}");
    check!(info.sent == 14 || stage.has_layer(), "{info:?}");
    check!(info.peer == client.local_addr()? && info.local == *server.addr(), "{info:?}");
    check!(info.idle.is_some_and(|idle| idle <= info.age + 20 * MS), "{info:?}");
    client.send(b"pause")?;
    client.expect(b"pause")?;
    wait_state(&server, id, ConnectionState::Paused)?;
    let mut other = server.connect()?;
    other.send(b"x")?;
    other.expect(b"x")?;
    let id = id_of(&server, &other)?;
    other.finish()?;
    wait_state(&server, id, ConnectionState::HalfClosed)?;
    drop((client, other));
    Ok(())
}

fn wait_state(server: &Running, id: ConnectionId, state: ConnectionState) -> Asked {
    wait_until(state.name(), || info_of(server, id).is_ok_and(|info| info.state == state))
}

pub(super) fn the_counters_agree_at_every_instant(stage: &Stage) -> Asked {
    let server = stage.serve_with(
        |builder| {
            let mut limits = crate::connection::Limits::default();
            limits.per_address = crate::limit::Limit::At(6);
            builder.limits(limits)
        },
        |_, _| Role::echo(),
    )?;
    let (control, stop) = (server.control(), AtomicBool::new(false));
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut before = control.stats();
            let mut n = 0_u64;
            while !stop.load(Ordering::SeqCst) {
                let now = control.stats();
                agree(&now, &before)?;
                before = now;
                n += 1;
            }
            Ok(n)
        });
        let came = come_and_go(&server);
        stop.store(true, Ordering::SeqCst);
        let read = reader.join().map_err(|_| Failure::new("the reader panicked"))?;
        check!(read? > 20, "there was hardly a look at the counters");
        came
    })?;
    let stats = control.stats();
    check!(stats.refused() > 0 && stats.closed_total() > 20, "not much has happened: {stats:?}");
    Ok(())
}

/// Connections end in several ways, and some are refused.
fn come_and_go(server: &Running) -> Asked {
    for n in 0..60 {
        let mut clients = Vec::new();
        for _ in 0..8 {
            let mut client = server.connect_silently()?;
            if server.greet(&mut client).and_then(|()| client.send(b"x")).is_ok() {
                clients.push(client);
            }
        }
        for mut client in clients {
            // One that is refused hears nothing.
            let served = client.expect(b"x").is_ok();
            match n % 3 {
                0 if served => client.finish()?,
                1 => client.reset()?,
                _ => drop(client),
            }
        }
        if n >= 10 && server.control().stats().refused() > 0 {
            break;
        }
    }
    Ok(())
}

fn agree(now: &Snapshot, before: &Snapshot) -> Asked {
    let sum = now.open() + now.closed_total() + now.refused();
    check!(now.accepted() == sum, "{} accepted, but {sum} in all: {now:?}", now.accepted());
    check!(now.open() <= now.live() as u64, "more open than live: {now:?}");
    let counts = |s: &Snapshot| [s.accepted(), s.refused(), s.received(), s.sent(), s.requests()];
    let fell = counts(now).iter().zip(counts(before)).any(|(now, before)| *now < before);
    let closed_fell = CloseKind::ALL.into_iter().any(|k| now.closed(k) < before.closed(k));
    check!(!fell && !closed_fell, "a count fell: {before:?}, then {now:?}");
    Ok(())
}
