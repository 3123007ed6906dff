//! How connections begin and end.

use super::checker::Log;
use super::client::{Client, pattern};
use super::role::Role;
use super::stage::{Asked, OrFail, Running, Stage, check};
use crate::connection::Timeouts;
use crate::handler::{Action, CloseKind, Context, Sender};
use crate::net::SocketOptions;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};

pub(super) fn a_server_may_speak_first(stage: &Stage) -> Asked {
    let server = stage.serve(|_, _| {
        Role::echo().open(|cx| {
            cx.send("220 ready\n");
            Ok(Action::Continue)
        })
    })?;
    let mut client = server.connect()?;
    client.expect(b"220 ready\n")?;
    client.send(b"hello")?;
    client.expect(b"hello")
}

pub(super) fn a_connection_may_be_closed_as_it_opens(stage: &Stage) -> Asked {
    let server = stage.serve(|_, _| {
        Role::echo().open(|cx| {
            cx.send("busy\n");
            Ok(Action::Close)
        })
    })?;
    for _ in 0..20 {
        let mut client = server.connect()?;
        client.expect(b"busy\n")?;
        client.expect_end()?;
    }
    server.log.wait_closed(CloseKind::Closed, 20)
}

pub(super) fn a_connection_may_be_aborted_as_it_opens(stage: &Stage) -> Asked {
    let server = stage.serve(|_, _| Role::echo().open(|_| Ok(Action::Abort)))?;
    for _ in 0..20 {
        // The reset may come before the client has had a chance to set itself up.
        let Ok(mut client) = server.connect() else { continue };
        client.read_to_any_end()?;
    }
    server.log.wait_closed(CloseKind::Aborted, 20)
}

pub(super) fn a_peer_that_says_nothing_and_leaves_is_closed(stage: &Stage) -> Asked {
    let server = stage.serve(|_, log| {
        let log = Arc::clone(log);
        Role::echo().eof(move |input, _| {
            log.note(if input.is_empty() { "eof" } else { "bytes" });
            Ok(Action::Close)
        })
    })?;
    for _ in 0..20 {
        server.connect()?;
    }
    server.log.wait_closed(CloseKind::PeerClosed, 20)?;
    check!(server.log.seen().count("eof") == 20, "on_eof was not called once for each");
    Ok(())
}

pub(super) fn a_half_close_after_a_mib_returns_it_all(stage: &Stage) -> Asked {
    let server = stage.serve(|_, _| Role::echo())?;
    let mut client = server.connect()?;
    let bytes = pattern(1024 * 1024);
    // The half-close is there before most of the echo is read.
    let mut reply = client.exchange(&bytes[..bytes.len() / 2])?;
    let rest = &bytes[bytes.len() / 2..];
    let (head, tail) = rest.split_at(rest.len() - 40_000);
    reply.extend(client.exchange(head)?);
    client.send(tail)?;
    client.finish()?;
    reply.extend(client.read_to_end()?);
    check!(reply == bytes, "{} of {} bytes came back, or changed", reply.len(), bytes.len());
    server.log.wait_closed(CloseKind::PeerClosed, 1)
}

pub(super) fn a_half_open_handler_goes_on_writing(stage: &Stage) -> Asked {
    let server = stage.serve(|_, _| {
        let mut left = 5;
        Role::echo()
            .eof(|input, cx| {
                cx.send(input.take());
                cx.set_timer(Duration::from_millis(1));
                Ok(Action::Continue)
            })
            .timer(move |cx| {
                cx.send(format!("{left};"));
                left -= 1;
                cx.set_timer(Duration::from_millis(1));
                Ok(if left == 0 { Action::Close } else { Action::Continue })
            })
    })?;
    let mut client = server.connect()?;
    client.send(b"bye;")?;
    client.finish()?;
    let reply = client.read_to_end()?;
    check!(reply == b"bye;5;4;3;2;1;", "got `{}`", reply.escape_ascii());
    server.log.wait_closed(CloseKind::Closed, 1)
}

pub(super) fn senders_reach_a_half_open_connection(stage: &Stage) -> Asked {
    let (give, take) = mpsc::channel::<Sender>();
    let give = Mutex::new(give);
    let server = stage.serve(move |_, _| {
        let give = give.lock().unwrap().clone();
        Role::echo().eof(move |_, cx| {
            let _ = give.send(cx.sender());
            Ok(Action::Continue)
        })
    })?;
    let mut client = server.connect()?;
    client.finish()?;
    let sender = take.recv().unwrap();
    for n in 0..100 {
        sender.send(format!("{n};")).or_fail("a half-open connection is sent to")?;
        client.expect(format!("{n};").as_bytes())?;
    }
    sender.close();
    client.expect_end()
}

pub(super) fn the_end_shows_what_was_left(stage: &Stage) -> Asked {
    let server = stage.serve(|_, _| {
        Role::echo()
            .open(|_| Ok(Action::Want(100)))
            .data(|_, cx| {
                cx.send("data;");
                Ok(Action::Continue)
            })
            .eof(|input, cx| {
                cx.send("eof;");
                cx.send(input.take());
                Ok(Action::Close)
            })
    })?;
    let mut client = server.connect()?;
    client.send(b"not a hundred")?;
    client.finish()?;
    let reply = client.read_to_end()?;
    check!(reply == b"eof;not a hundred", "got `{}`", reply.escape_ascii());
    Ok(())
}

/// Counts the bytes that came, and notes the number when the connection has ended.
fn counting(stage: &Stage) -> Result<Arc<Running>, super::Failure> {
    stage.serve(|_, log| {
        let (count, log) = (Arc::new(AtomicUsize::new(0)), Arc::clone(log));
        let total = Arc::clone(&count);
        Role::echo()
            .data(move |input, _| {
                count.fetch_add(input.take().len(), Ordering::Relaxed);
                Ok(Action::Continue)
            })
            .close(move |_| log.note(format!("{} bytes", total.load(Ordering::Relaxed))))
    })
}

pub(super) fn data_before_an_immediate_close_is_all_seen(stage: &Stage) -> Asked {
    let server = counting(stage)?;
    let bytes = pattern(100_000);
    for _ in 0..30 {
        server.connect()?.send(&bytes)?;
    }
    server.log.wait_closed(CloseKind::PeerClosed, 30)?;
    server.log.wait_notes("100000 bytes", 30)
}

pub(super) fn a_reset_is_told_once(stage: &Stage) -> Asked {
    let server = stage.serve(|_, _| Role::echo())?;
    let mut bystander = server.connect()?;
    for _ in 0..10 {
        let mut client = server.connect()?;
        client.send(b"x")?;
        client.expect(b"x")?;
        client.reset()?;
    }
    server.log.wait_closed(CloseKind::Reset, 10)?;
    bystander.send(b"still here")?;
    bystander.expect(b"still here")
}

pub(super) fn a_reset_among_output_is_told_once(stage: &Stage) -> Asked {
    let options = SocketOptions::new().with_send_buffer(Some(16 * 1024));
    let server = stage.serve_with(
        |b| b.socket_options(options),
        |_, log| {
            let log = Arc::clone(log);
            Role::echo().data(move |input, cx| {
                input.take();
                cx.send(pattern(1024 * 1024));
                log.note("flood");
                Ok(Action::Continue)
            })
        },
    )?;
    for n in 1..=3 {
        let mut client = server.connect_small(16 * 1024)?;
        client.send(b"x")?;
        server.log.wait_notes("flood", n)?;
        client.read(1)?;
        client.reset()?;
    }
    server.log.wait_closed(CloseKind::Reset, 3)
}

pub(super) fn a_close_with_unread_input_ends_cleanly(stage: &Stage) -> Asked {
    let server = stage.serve(|_, _| {
        Role::echo().data(|input, cx| {
            input.consume(1);
            cx.send("bye");
            Ok(Action::Close)
        })
    })?;
    let bytes = pattern(200_000);
    for _ in 0..30 {
        let mut client = server.connect()?;
        client.send(&bytes)?;
        client.expect(b"bye")?;
        client.expect_end()?;
    }
    server.log.wait_closed(CloseKind::Closed, 30)
}

pub(super) fn a_close_writes_what_was_sent(stage: &Stage) -> Asked {
    const SIZE: usize = 3_000_000;
    let server = stage.serve(|_, _| {
        Role::echo().data(|input, cx| {
            input.take();
            cx.send(pattern(SIZE));
            Ok(Action::Close)
        })
    })?;
    let mut client = server.connect()?;
    client.send(b"go")?;
    check!(client.read_to_end()? == pattern(SIZE), "the last output came changed");
    server.log.wait_closed(CloseKind::Closed, 1)
}

pub(super) fn a_close_to_a_peer_that_never_reads_ends_by_the_stall(stage: &Stage) -> Asked {
    let mut timeouts = Timeouts::default();
    timeouts.write_stall = Duration::from_millis(100).into();
    let options = SocketOptions::new().with_send_buffer(Some(16 * 1024));
    let server = stage.serve_with(
        |b| b.timeouts(timeouts).socket_options(options),
        |_, log| {
            let log = Arc::clone(log);
            Role::echo().data(move |input, cx| {
                if input.take() == b"more" {
                    cx.send(pattern(2 * 1024 * 1024));
                } else {
                    cx.send(pattern(512 * 1024));
                }
                log.note("sent");
                Ok(Action::Close)
            })
        },
    )?;
    let mut client = server.connect_small(16 * 1024)?;
    let mut other = server.connect_small(16 * 1024)?;
    client.send(b"go")?;
    other.send(b"more")?;
    server.log.wait_closed(CloseKind::WriteTimeout, 1)?;
    server.log.wait_closed(CloseKind::SlowConsumer, 1)?;
    client.expect_reset()?;
    other.expect_reset()
}

pub(super) fn an_abort_is_a_reset(stage: &Stage) -> Asked {
    let server = stage.serve(|_, _| {
        Role::echo().data(|input, cx| {
            cx.send(input.take());
            Ok(Action::Abort)
        })
    })?;
    for _ in 0..10 {
        let mut client = server.connect()?;
        client.send(b"x")?;
        client.expect_reset()?;
    }
    server.log.wait_closed(CloseKind::Aborted, 10)
}

/// One of the callbacks that a client can bring about, by the request that does so.
pub(super) const CALLBACKS: [&str; 6] = ["open", "data", "eof", "writable", "wake", "timer"];

/// A role in which one callback does something, and which the request of [`provoke`] gets there.
pub(super) fn acting(
    callback: &str,
    act: impl FnMut(&mut Context<'_>) -> super::role::Told + Send + 'static,
) -> Role {
    let role = Role::echo().data(|input, cx| {
        match input.take() {
            b"writable" => cx.send(vec![b'x'; 100_000]),
            b"wake" => drop(cx.sender().wake()),
            b"timer" => cx.set_timer(Duration::from_millis(1)),
            other => cx.send(other),
        }
        Ok(Action::Continue)
    });
    let mut act = act;
    match callback {
        "open" => role.open(act),
        "data" => role.data(move |input, cx| {
            input.take();
            act(cx)
        }),
        "eof" => role.eof(move |_, cx| act(cx)),
        "writable" => role.writable(act),
        "wake" => role.wake(act),
        "timer" => role.timer(act),
        "shutdown" => role.shutdown(act),
        other => unreachable!("no callback {other}"),
    }
}

/// Has a client bring about a callback of [`acting`].
pub(super) fn provoke(client: &mut Client, callback: &str) -> Asked {
    match callback {
        "open" => Ok(()),
        "eof" => client.finish(),
        other => client.send(other.as_bytes()),
    }
}

pub(super) fn an_error_of_any_callback_closes_after_its_output(stage: &Stage) -> Asked {
    for callback in CALLBACKS {
        let server = stage.serve(move |_, _| {
            acting(callback, |cx| {
                cx.send("sorry");
                Err("it failed".into())
            })
        })?;
        let mut client = server.connect()?;
        provoke(&mut client, callback)?;
        let reply = client.read_to_end()?;
        check!(reply.ends_with(b"sorry"), "no output of {callback}: {} bytes", reply.len());
        server.log.wait_closed(CloseKind::Handler, 1)?;
    }
    Ok(())
}

pub(super) fn any_callback_may_close(stage: &Stage) -> Asked {
    for callback in CALLBACKS {
        let server = stage.serve(move |_, _| {
            acting(callback, |cx| {
                cx.send("done");
                Ok(Action::Close)
            })
        })?;
        let mut client = server.connect()?;
        provoke(&mut client, callback)?;
        let reply = client.read_to_end()?;
        check!(reply.ends_with(b"done"), "no output of {callback}: {} bytes", reply.len());
        let kind = if callback == "eof" { CloseKind::PeerClosed } else { CloseKind::Closed };
        server.log.wait_closed(kind, 1)?;
    }
    Ok(())
}

pub(super) fn any_callback_may_abort(stage: &Stage) -> Asked {
    for callback in CALLBACKS.into_iter().filter(|c| *c != "open") {
        let server = stage.serve(move |_, _| acting(callback, |_| Ok(Action::Abort)))?;
        let mut client = server.connect()?;
        provoke(&mut client, callback)?;
        client.expect_reset()?;
        server.log.wait_closed(CloseKind::Aborted, 1)?;
    }
    Ok(())
}

pub(super) fn a_peer_that_left_before_the_accept_harms_nobody(stage: &Stage) -> Asked {
    let ready = stage.ready(|b| super::stage::bind(b, "127.0.0.1:0"))?;
    let addr = ready.server.local_addrs()[0].clone();
    for n in 0..20 {
        let client = Client::connect(&addr, None)?;
        if n % 2 == 0 {
            client.reset()?;
        }
    }
    let server = stage.spawn(ready, |_, _| Role::echo())?;
    server.probe(b"hello", b"hello")
}

pub(super) fn short_connections_leave_nothing(stage: &Stage) -> Asked {
    let server = stage.serve(|_, _| Role::echo())?;
    for n in 0..50_u32 {
        let mut clients = (0..4).map(|_| server.connect()).collect::<Result<Vec<_>, _>>()?;
        for client in &mut clients {
            client.send(&n.to_le_bytes())?;
        }
        for client in &mut clients {
            client.expect(&n.to_le_bytes())?;
        }
    }
    server.log.wait("200 ends", |seen| seen.closed.len() == 200)
}

pub(super) fn a_socket_can_be_taken_out_of_the_server(stage: &Stage) -> Asked {
    use std::io::{Read, Write};
    let (give, take) = mpsc::channel();
    let give = Mutex::new(give);
    let server = stage.serve_with(
        |b| b.max_connections(1),
        move |_, _| {
            let give = give.lock().unwrap().clone();
            Role::echo().data(move |input, cx| {
                let give = give.clone();
                input.take_n(4);
                cx.into_stream(move |taken| drop(give.send(taken)));
                Ok(Action::Continue)
            })
        },
    )?;
    for _ in 0..5 {
        let mut client = server.connect()?;
        client.send(b"takethis")?;
        let taken = take.recv_timeout(super::stage::PATIENCE).or_fail("the socket is taken")?;
        let unread = taken.unread().to_vec();
        let mut stream = taken.into_tcp();
        stream.set_read_timeout(Some(super::stage::PATIENCE)).or_fail("a time-out is set")?;
        stream.write_all(&unread).or_fail("the new owner writes")?;
        client.send(b"more")?;
        // What came after the first read is still in the socket.
        let mut rest = vec![0; 8 - unread.len()];
        stream.read_exact(&mut rest).or_fail("the new owner reads")?;
        stream.write_all(&rest).or_fail("the new owner writes")?;
        client.expect(b"thismore")?;
    }
    server.log.wait_closed(CloseKind::Taken, 5)
}

pub(super) fn urgent_data_is_no_reason_to_spin(stage: &Stage) -> Asked {
    // While the urgent byte is there, the connection's thread must sleep between its timers.
    let server = stage.serve(|_, log| calm(log))?;
    let mut clients = (0..4).map(|_| server.connect()).collect::<Result<Vec<_>, _>>()?;
    for client in &mut clients {
        client.send(b"a")?;
        client.expect(b"a")?;
        client.socket().send_out_of_band(b"!").or_fail("an urgent byte is sent")?;
    }
    server.log.wait_notes("timer", 4 * clients.len())?;
    for client in &mut clients {
        client.send(b"c")?;
        client.expect(b"c")?;
    }
    Ok(())
}

pub(super) fn a_reset_of_a_paused_connection_is_no_reason_to_spin(stage: &Stage) -> Asked {
    let server = stage.serve(|_, log| {
        let its_log = Arc::clone(log);
        calm(log).data(move |input, cx| {
            if input.take() == b"p" {
                its_log.note("paused");
                return Ok(Action::Pause);
            }
            cx.send("a");
            cx.set_timer(Duration::from_millis(20));
            Ok(Action::Continue)
        })
    })?;
    let mut clients = (0..8).map(|_| server.connect()).collect::<Result<Vec<_>, _>>()?;
    for client in &mut clients[..4] {
        client.send(b"p")?;
    }
    server.log.wait_notes("paused", 4)?;
    clients.drain(..4).try_for_each(Client::reset)?;
    for client in &mut clients {
        client.send(b"a")?;
        client.expect(b"a")?;
    }
    server.log.wait_notes("timer", 4 * clients.len())
}

pub(super) fn a_full_server_is_no_reason_to_spin(stage: &Stage) -> Asked {
    let server = stage.serve_with(|b| b.max_connections(4), |_, log| calm(log))?;
    let mut clients = (0..4).map(|_| server.connect()).collect::<Result<Vec<_>, _>>()?;
    // They wait in the backlog.
    let waiting = (0..4).map(|_| server.connect_silently()).collect::<Result<Vec<_>, _>>()?;
    for client in &mut clients {
        client.send(b"a")?;
        client.expect(b"a")?;
    }
    server.log.wait_notes("timer", 4 * clients.len())?;
    drop(waiting);
    Ok(())
}

/// Echoes, and looks from time to time whether its thread has slept meanwhile.
fn calm(log: &Arc<Log>) -> Role {
    let log = Arc::clone(log);
    let mut before: Option<Look> = None;
    Role::echo()
        .data(|input, cx| {
            cx.send(input.take());
            cx.set_timer(Duration::from_millis(20));
            Ok(Action::Continue)
        })
        .timer(move |cx| {
            let look = Look::now();
            if before.as_ref().is_some_and(|before| look.is_busy_since(before)) {
                log.violation("the thread spins");
            }
            before = Some(look);
            log.note("timer");
            cx.set_timer(Duration::from_millis(20));
            Ok(Action::Continue)
        })
}

/// What a thread has used of its core by now, where the system tells.
struct Look {
    thread: std::thread::ThreadId,
    at: Instant,
    used: Duration,
    /// How long it was ready to run, but others ran.
    waited: Duration,
}

/// Linux: nanoseconds on the core, nanoseconds of waiting for it, and more. Elsewhere such a file may
/// be that of somebody else (under wine, that of its server), if there is one.
fn read_schedstat() -> Option<String> {
    let is_ours = cfg!(target_os = "linux");
    is_ours.then(|| std::fs::read_to_string("/proc/thread-self/schedstat").ok())?
}

impl Look {
    fn now() -> Self {
        let text = read_schedstat().unwrap_or_default();
        let mut fields = text.split(' ').map(|ns| ns.parse().unwrap_or_default());
        let mut next = || fields.next().map(Duration::from_nanos).unwrap_or_default();
        let (used, waited) = (next(), next());
        Self { thread: std::thread::current().id(), at: Instant::now(), used, waited }
    }

    /// Of the time that the system gave it, it has used the larger part. (Where it waited for its
    /// core until its next timer was due, it was given no more than that timer needs.)
    fn is_busy_since(&self, before: &Self) -> bool {
        let waited = self.waited.saturating_sub(before.waited);
        let given = (self.at - before.at).saturating_sub(waited);
        let used = self.used.saturating_sub(before.used);
        self.thread == before.thread && used > (given / 2).max(Duration::from_millis(5))
    }
}
