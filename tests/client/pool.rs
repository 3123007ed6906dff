//! Connections that are kept.

use crate::{LONG, SHORT, assert_took, closed_port, lines, reset, say, serve_all};
use polyserve::Client;
use polyserve::client::{ClientError, Phase, Pool, PoolBuilder, Pooled};
use polyserve::codec::Lines;
use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

fn pool(addr: SocketAddr) -> PoolBuilder<Lines> {
    Client::builder().codec(Lines::new()).pool(addr)
}

fn echo_lines(_: usize, stream: TcpStream) {
    answer(&stream, |line| line);
}

/// Answers each line, until the peer is gone.
fn answer(stream: &TcpStream, mut reply: impl FnMut(String) -> String) {
    for line in lines(stream) {
        if say(stream, &reply(line)).is_err() {
            break;
        }
    }
}

#[test]
fn a_pool_is_shared_by_threads() {
    fn is_send_and_sync<T: Send + Sync>() {}
    is_send_and_sync::<Pool>();
    is_send_and_sync::<Pool<Lines>>();
    is_send_and_sync::<Pooled<Lines>>();
}

#[test]
fn nothing_is_connected_before_it_is_needed_and_then_it_is_used_again() {
    let pool = pool(serve_all(echo_lines)).build();
    assert_eq!(pool.stats().connected, 0);
    for n in 0..100 {
        assert_eq!(pool.call(&n.to_string()).unwrap(), n.to_string());
    }
    let stats = pool.stats();
    assert_eq!((stats.connected, stats.reused, stats.stale), (1, 99, 0));
    assert_eq!((stats.idle, stats.in_use, stats.waiting), (1, 0, 0));
    pool.close_idle();
    assert_eq!(pool.stats().idle, 0);
}

#[test]
fn time_outs_are_not_inherited_from_the_user_before() {
    let pool = pool(serve_all(echo_lines)).build();
    let mut pooled = pool.get().unwrap();
    assert_eq!(pooled.call("a").unwrap(), "a");
    pooled.set_first_byte_timeout(Duration::ZERO);
    pooled.set_read_timeout(Duration::ZERO);
    assert!(pooled.recv().unwrap_err().is_timeout());
    drop(pooled);
    let mut pooled = pool.get().unwrap();
    pooled.set_first_byte_timeout(Duration::ZERO);
    pooled.set_read_timeout(Duration::ZERO);
    drop(pooled);
    // With no time at all, an answer could not be waited for.
    assert_eq!(pool.call("b").unwrap(), "b");
}

#[test]
fn there_are_never_more_connections_than_allowed() {
    const MAX: usize = 4;
    let open = Arc::new(AtomicUsize::new(0));
    let most = Arc::new(AtomicUsize::new(0));
    let (counter, maximum) = (Arc::clone(&open), Arc::clone(&most));
    let addr = serve_all(move |_, stream| {
        let now = counter.fetch_add(1, Ordering::SeqCst) + 1;
        maximum.fetch_max(now, Ordering::SeqCst);
        answer(&stream, |line| line);
        counter.fetch_sub(1, Ordering::SeqCst);
    });
    let pool = pool(addr).max_connections(MAX).acquire_timeout(LONG).build();
    thread::scope(|scope| {
        for thread in 0..16 {
            let pool = pool.clone();
            scope.spawn(move || {
                for round in 0..200 {
                    let text = format!("{thread}:{round}");
                    assert_eq!(pool.call(&text).unwrap(), text);
                }
            });
        }
    });
    assert!(most.load(Ordering::SeqCst) <= MAX);
    let stats = pool.stats();
    assert!(stats.connected <= MAX as u64, "{stats:?}");
    assert_eq!(stats.connected + stats.reused, 16 * 200);
    assert_eq!((stats.in_use, stats.waiting, stats.exhausted), (0, 0, 0));
}

#[test]
fn who_waits_in_vain_is_told_of_the_limit_and_of_the_time() {
    let addr = serve_all(echo_lines);
    let pool = pool(addr).max_connections(2).acquire_timeout(SHORT).build();
    let (_one, _two) = (pool.get().unwrap(), pool.get().unwrap());
    let began = Instant::now();
    let error = pool.get().unwrap_err();
    assert_took(began, SHORT);
    let text = format!("no connection to {addr} was free within 60ms: all 2 are in use");
    assert_eq!(error.to_string(), text);
    assert!(matches!(error, ClientError::Exhausted { limit: 2, timeout: SHORT, .. }));
    assert_eq!(error.phase(), Phase::Acquire);
    assert!(error.is_timeout() && error.is_retryable());
    assert_eq!((pool.stats().exhausted, pool.stats().waiting), (1, 0));
}

#[test]
fn who_waits_gets_the_next_that_comes_free() {
    let pool = pool(serve_all(echo_lines)).max_connections(1).acquire_timeout(LONG).build();
    let first = pool.get().unwrap();
    thread::scope(|scope| {
        let waiting = scope.spawn(|| pool.call("hello").unwrap());
        let began = Instant::now();
        while pool.stats().waiting == 0 {
            assert!(began.elapsed() < LONG, "nobody waits: {:?}", pool.stats());
            thread::yield_now();
        }
        drop(first);
        assert_eq!(waiting.join().unwrap(), "hello");
    });
    assert_eq!((pool.stats().connected, pool.stats().reused), (1, 1));
}

/// A server that answers one line, does something to the connection when it is told to, and tells
/// when it is done.
fn treacherous(act: fn(TcpStream)) -> (SocketAddr, Sender<()>, Receiver<()>) {
    let (go, gone) = channel::<()>();
    let (did, done) = channel();
    let shared = Mutex::new((gone, did));
    let addr = serve_all(move |_, stream| {
        let line = lines(&stream).next().unwrap();
        say(&stream, &line).unwrap();
        let shared = shared.lock().unwrap();
        if shared.0.recv_timeout(LONG).is_ok() {
            act(stream);
            shared.1.send(()).unwrap();
        }
    });
    (addr, go, done)
}

#[test]
fn an_idle_connection_that_the_server_has_left_is_never_used() {
    let keep_but_talk = |stream: TcpStream| {
        (&stream).write_all(b"bye\n").unwrap();
        // It stays open: what shows is only that nobody asked for this.
        std::mem::forget(stream);
    };
    for act in [drop, reset, keep_but_talk] {
        let (addr, go, done) = treacherous(act);
        let pool = pool(addr).build();
        for round in 0..30 {
            let text = format!("round {round}");
            assert_eq!(pool.call(&text).unwrap(), text, "no error reaches the caller");
            go.send(()).unwrap();
            done.recv_timeout(LONG).unwrap();
        }
        let stats = pool.stats();
        assert_eq!((stats.connected, stats.reused, stats.stale), (30, 0, 29));
    }
}

/// The server closes at a moment of its own, which may fall between the look and the request.
#[test]
fn a_server_that_closes_all_the_time_shows_no_error_to_idempotent_calls() {
    let addr = serve_all(|_, stream| {
        let line = lines(&stream).next();
        if let Some(line) = line {
            let _ = say(&stream, &line);
        }
    });
    let pool = pool(addr).max_connections(4).build();
    thread::scope(|scope| {
        for thread in 0..4 {
            let pool = &pool;
            scope.spawn(move || {
                for round in 0..250 {
                    let text = format!("{thread}:{round}");
                    assert_eq!(pool.call_idempotent(&text).unwrap(), text);
                }
            });
        }
    });
    let stats = pool.stats();
    assert_eq!((stats.in_use, stats.waiting), (0, 0));
}

/// A server whose connections read each request, note it, and answer the first one only; the
/// connections after the first answer all.
fn forgetful() -> (SocketAddr, Arc<Mutex<Vec<String>>>) {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let list = Arc::clone(&seen);
    let addr = serve_all(move |n, stream| {
        for (i, line) in lines(&stream).enumerate() {
            list.lock().unwrap().push(line.clone());
            if n == 0 && i == 1 {
                return;
            }
            say(&stream, &line).unwrap();
        }
    });
    (addr, seen)
}

#[test]
fn a_request_that_has_left_is_repeated_only_if_the_caller_allows_it() {
    let (addr, seen) = forgetful();
    let pool_of_one = || pool(addr).max_connections(1).build();
    let pool = pool_of_one();
    assert_eq!(pool.call("first").unwrap(), "first");
    let error = pool.call("pay").unwrap_err();
    assert!(error.is_ambiguous(), "{error}");
    assert_eq!(*seen.lock().unwrap(), ["first", "pay"], "once and not twice");
    assert_eq!(pool.stats().idle, 0, "a connection that failed is not kept");
    assert_eq!(pool.call("next").unwrap(), "next");

    let (addr, seen) = forgetful();
    let pool = self::pool(addr).max_connections(1).build();
    assert_eq!(pool.call("first").unwrap(), "first");
    assert_eq!(pool.call_idempotent("look").unwrap(), "look");
    assert_eq!(*seen.lock().unwrap(), ["first", "look", "look"]);
    assert_eq!(pool.stats().connected, 2);
}

#[test]
fn what_is_not_fit_is_not_kept() {
    type Act = fn(Pooled<Lines>);
    let acts: [(&str, Act, usize); 7] = [
        ("used well", |mut client| drop(client.call("x").unwrap()), 1),
        ("not used", drop, 1),
        ("sent and not received", |mut client| client.send("x").unwrap(), 0),
        ("ended", |mut client| client.shutdown_write().unwrap(), 0),
        ("a time-out", |mut client| drop(client.try_recv().unwrap_err()), 0),
        ("discarded", Pooled::discard, 0),
        ("taken out", |client| drop(client.into_inner()), 0),
    ];
    for (what, act, kept) in acts {
        let pool = pool(serve_all(echo_lines)).max_connections(1).build();
        act(pool.get().unwrap());
        let stats = pool.stats();
        assert_eq!((stats.idle, stats.in_use), (kept, 0), "{what}");
        assert_eq!(pool.call("y").unwrap(), "y", "{what}");
    }
}

#[test]
fn a_panic_does_not_keep_a_connection_nor_its_place() {
    let pool = pool(serve_all(echo_lines)).max_connections(1).build();
    let panicked = thread::scope(|scope| {
        let thread = scope.spawn(|| {
            let _client = pool.get().unwrap();
            panic!("on purpose");
        });
        thread.join().is_err()
    });
    assert!(panicked);
    assert_eq!((pool.stats().idle, pool.stats().in_use), (0, 0));
    assert_eq!(pool.call("x").unwrap(), "x");
}

#[test]
fn old_connections_are_let_go() {
    let pool = pool(serve_all(echo_lines)).max_idle_time(Duration::ZERO).build();
    let until = Instant::now() + LONG;
    for _ in 0..3 {
        assert_eq!(pool.call("x").unwrap(), "x");
        let idle_since = Instant::now();
        while Instant::now() == idle_since {
            assert!(Instant::now() < until, "the clock does not move");
        }
    }
    assert_eq!((pool.stats().connected, pool.stats().reused), (3, 0));
}

#[test]
fn each_new_connection_is_prepared_before_it_is_used() {
    let (addr, go, done) = treacherous(drop);
    let pool = pool(addr)
        .on_connect(|client| {
            assert_eq!(client.call("login")?, "login");
            client.shutdown_write()
        })
        .build();
    drop(pool.get().unwrap());
    go.send(()).unwrap();
    done.recv_timeout(LONG).unwrap();
    drop(pool.get().unwrap());
    assert_eq!(pool.stats().connected, 2);

    let refusing = self::pool(addr)
        .max_connections(1)
        .on_connect(|client| Err(client.try_recv().unwrap_err()))
        .build();
    for _ in 0..2 {
        assert!(refusing.get().unwrap_err().is_timeout());
        assert_eq!(refusing.stats().in_use, 0, "its place is free");
    }
}

#[test]
fn a_failed_connect_gives_its_place_back() {
    let (addr, _holder) = closed_port();
    let pool = pool(addr).max_connections(1).build();
    for _ in 0..3 {
        let error = pool.call("x").unwrap_err();
        assert!(matches!(error, ClientError::Connect(_)) && error.is_retryable(), "{error}");
    }
    let stats = pool.stats();
    assert_eq!((stats.idle, stats.in_use, stats.connected), (0, 0, 0));
}

#[test]
fn bytes_can_be_pooled_too() {
    let pool = Client::builder().pool(serve_all(echo_lines)).max_connections(1).build();
    for is_reused in [false, true] {
        let mut client = pool.get().unwrap();
        assert_eq!(client.is_reused(), is_reused);
        client.send(b"hello\n").unwrap();
        assert_eq!(client.recv_until(b"\n", 9).unwrap(), b"hello\n");
    }
    // Bytes that were received and not looked at would be the start of the next reply.
    let addr = serve_all(|_, stream| {
        (&stream).write_all(b"one\ntwo\n").unwrap();
        let _ = lines(&stream).next();
    });
    let pool = Client::builder().pool(addr).max_connections(1).build();
    for _ in 0..2 {
        let mut client = pool.get().unwrap();
        assert!(!client.is_reused());
        assert_eq!(client.recv_until(b"\n", 9).unwrap(), b"one\n");
    }
}
