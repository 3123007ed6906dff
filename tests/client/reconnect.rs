//! A server that goes away and comes back.

use crate::results::{self, Case};
use crate::{LONG, accept_all, closed_port, lines, say};
use polyserve::client::Retry;
use polyserve::codec::Lines;
use polyserve::{Client, Limit};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Mutex;
use std::sync::mpsc::channel;
use std::thread;
use std::time::{Duration, Instant};

fn echo_lines(_: usize, stream: TcpStream) {
    for line in lines(&stream) {
        let _ = say(&stream, &line);
    }
}

/// Listens on the port that the socket holds, so that nobody else gets it before.
fn open(holder: socket2::Socket) -> TcpListener {
    holder.listen(1024).unwrap();
    holder.into()
}

#[test]
fn a_pool_of_one_waits_for_its_server_and_goes_on() {
    let (addr, holder) = closed_port();
    let (tried, tries) = channel();
    let pool = Client::builder()
        .codec(Lines::new())
        .resolver(move |_: &str, _: u16| {
            tried.send(()).unwrap();
            Ok(vec![addr])
        })
        .pool("server:1")
        .max_connections(1)
        .retry(
            Retry::new()
                .attempts(Limit::Unlimited)
                .first_delay(Duration::from_millis(5))
                .max_delay(Duration::from_millis(20))
                .within(LONG),
        )
        .build();
    let _alone = crate::lookups();
    thread::scope(|scope| {
        let call = scope.spawn(|| pool.call("are you there?").unwrap());
        // It has been refused, and tries again.
        for _ in 0..3 {
            tries.recv_timeout(LONG).unwrap();
        }
        accept_all(open(holder), echo_lines);
        assert_eq!(call.join().unwrap(), "are you there?");
    });
    assert_eq!(pool.call("still there?").unwrap(), "still there?");
    assert_eq!(pool.stats().connected, 1);
}

/// C3. All of them lose it at the same moment, and it stays away for three seconds.
#[test]
fn clients_that_lost_their_server_do_not_come_back_all_at_once_nor_too_often() {
    let case = Case { suite: "client", row: "C3", case: "reconnect", backend: "-" };
    case.run(|| {
        a_hundred_lose_their_server();
        Ok(())
    })
    .unwrap();
}

fn a_hundred_lose_their_server() {
    const CLIENTS: u64 = 100;
    const AWAY: Duration = Duration::from_secs(3);
    let (addr, holder) = closed_port();
    let attempts = Mutex::new(Vec::new());
    let began = Instant::now();
    thread::scope(|scope| {
        for seed in 0..CLIENTS {
            let attempts = &attempts;
            scope.spawn(move || reconnect(seed, addr, began, attempts));
        }
        // The port stays closed for so long; nothing else tells when it is over.
        let (_keep, never) = channel::<()>();
        assert!(never.recv_timeout(AWAY).is_err());
        accept_all(open(holder), echo_lines);
    });
    let mut attempts = attempts.into_inner().unwrap();
    let tries = |client| {
        let of_it = |(seed, at): &&(u64, Duration)| *seed == client && *at < AWAY;
        attempts.iter().filter(of_it).count()
    };
    let most = (0..CLIENTS).map(tries).max().unwrap();
    assert!((0..CLIENTS).all(|client| tries(client) >= 1) && most <= 6, "{most} attempts");
    // All began together, when they lost it. After that, no 50 ms have them all.
    attempts.sort_by_key(|(_, at)| *at);
    let again: Vec<Duration> = attempts.iter().map(|(_, at)| *at).skip(CLIENTS as usize).collect();
    let window = Duration::from_millis(50);
    let crowd =
        |from: &Duration| again.iter().filter(|at| (*from..*from + window).contains(at)).count();
    let largest = again.iter().map(crowd).max().unwrap();
    results::injected(attempts.len());
    results::figure("attempts of a client", most as f64, "");
    results::figure("attempts within 50 ms", largest as f64, "of 100");
    assert!(largest < CLIENTS as usize, "{largest} attempts within {window:?}");
}

fn reconnect(seed: u64, addr: SocketAddr, began: Instant, attempts: &Mutex<Vec<(u64, Duration)>>) {
    let retry = Retry::new().attempts(Limit::Unlimited).within(LONG).seed(seed);
    let mut client = retry
        .run(|_| {
            attempts.lock().unwrap().push((seed, began.elapsed()));
            Client::builder().codec(Lines::new()).connect(addr)
        })
        .unwrap();
    assert_eq!(client.call("back").unwrap(), "back");
}
