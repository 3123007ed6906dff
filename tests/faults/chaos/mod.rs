//! Row R13: our clients and our server with a network between them that delays, cuts apart, holds
//! up, ends and resets. Every byte that arrives is the right one, and everything ends, once.
//!
//! `POLYSERVE_CHAOS=100` tries a hundred seeds in place of two; `POLYSERVE_CHAOS_SEED=7` begins with
//! that one.

mod plan;
mod proxy;

use crate::launch::{Launch, Server, is, number, text};
use crate::pattern::{check, pattern};
use crate::results::{figure, injected};
use crate::table::{EVERY, Needs, Table};
use plan::{Direction, Fate, Plan};
use polyserve::Client;
use polyserve::client::{ClientError, ReadHalf, Retry, WriteHalf};
use polyserve::codec::LengthPrefixed;
use proxy::{Passed, Proxy};
use std::net::SocketAddr;
use std::time::Duration;

pub(crate) fn rows(table: &mut Table) {
    table.row("R13/chaos-plans", &["-"], Needs::Nothing, plans_can_be_had_again);
    table.row("R13/chaos", EVERY, Needs::Nothing, nothing_but_what_was_planned);
}

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().expect("a number"))
}

fn plans_can_be_had_again(_: &str) {
    let steps = |seed, connection| {
        let mut plan = Plan::new(seed, connection, Direction::ToClient);
        let end = plan.end;
        ((0..1_000).map(|_| plan.step()).collect::<Vec<_>>(), end)
    };
    assert_eq!(steps(1, 2), steps(1, 2));
    assert_ne!(steps(1, 2).0, steps(2, 2).0);
    assert_ne!(steps(1, 2).0, steps(1, 3).0);
    let ends = |fate| (0..1_000).filter(|n| steps(1, *n).1.is_some_and(|(_, f)| f == fate)).count();
    assert!(ends(Fate::Cut) > 50 && ends(Fate::Reset) > 50);
}

fn nothing_but_what_was_planned(backend: &str) {
    let first = setting("POLYSERVE_CHAOS_SEED", 1);
    let seeds = setting("POLYSERVE_CHAOS", 2);
    let mut ended = 0;
    for seed in first..first + seeds {
        println!("R13 {backend}: seed {seed}");
        let server = Launch::new(backend).start();
        let before = server.held();
        let streams = clients_in_chaos(&server, seed);
        let pool = pool_in_chaos(&server, seed);
        each_has_ended(&server, &streams, &pool);
        // Their ends were told; the descriptors follow at once.
        server.holds_again(&before);
        server.finish();
        ended += [streams, pool].concat().iter().filter(|passed| passed.fate.is_some()).count();
    }
    figure("seeds", seeds as f64, "");
    figure("connections ended in the middle", ended as f64, "");
    assert!(ended > 0, "no connection was ended in the middle");
}

const CLIENTS: usize = 36;
const TIMEOUT: Duration = Duration::from_secs(30);

/// Two thirds of the clients send a stream and read it at the same time, the others call.
fn clients_in_chaos(server: &Server, seed: u64) -> Vec<Passed> {
    let proxy = Proxy::start(server.addr, seed);
    // One after the other, so that each has its own plan in every run.
    let clients: Vec<Client> = (0..CLIENTS).map(|_| connect(proxy.addr)).collect();
    let results: Vec<Result<(), String>> = std::thread::scope(|scope| {
        let clients = clients.into_iter().enumerate();
        let threads: Vec<_> = clients
            .map(|(n, client)| {
                scope.spawn(move || match n % 3 {
                    0 => calls(n, client).map_err(|error| error.to_string()),
                    _ => stream(n, client),
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    injected(proxy.done().total());
    let done = format!("{:?}", proxy.done());
    let passed = proxy.finish();
    assert_eq!(passed.len(), CLIENTS);
    for (n, (result, passed)) in results.iter().zip(&passed).enumerate() {
        // Without a fault that ends it, everything comes; with one, whatever came was right.
        assert!(result.is_ok() || passed.fate.is_some(), "client {n}: {result:?}, {done}");
    }
    passed
}

fn connect(addr: SocketAddr) -> Client {
    Client::builder().read_timeout(TIMEOUT).write_timeout(TIMEOUT).connect(addr).unwrap()
}

/// Where the bytes of a client begin in the pattern: what is somebody else's is wrong.
fn begin(client: usize) -> usize {
    client * 1_777
}

fn stream(n: usize, client: Client) -> Result<(), String> {
    const LEN: usize = 150_000;
    let (reader, writer) = client.into_split();
    let (sent, got) = std::thread::scope(|scope| {
        let writer = scope.spawn(move || send(writer, &pattern(begin(n), LEN)));
        let got = receive(reader, begin(n));
        (writer.join().unwrap(), got)
    });
    let got = got.map_err(|error| error.to_string())?;
    sent.map_err(|error| error.to_string())?;
    if got == LEN { Ok(()) } else { Err(format!("the end came after {got} of {LEN} bytes")) }
}

fn send(mut writer: WriteHalf, bytes: &[u8]) -> Result<(), ClientError> {
    bytes.chunks(7_000).try_for_each(|piece| writer.send(piece))?;
    writer.shutdown()
}

/// Reads to the end, whatever that is; every byte before it must be right.
fn receive(mut reader: ReadHalf, begin: usize) -> Result<usize, ClientError> {
    let (mut piece, mut total) = (vec![0; 5_000], 0);
    loop {
        let n = reader.recv(&mut piece)?;
        check(begin + total, &piece[..n]).unwrap();
        total += n;
        if n == 0 {
            return Ok(total);
        }
    }
}

fn calls(n: usize, client: Client) -> Result<(), ClientError> {
    let mut client = client.with_codec(LengthPrefixed::u16());
    for call in 0..20 {
        let message = pattern(begin(n) + call, call * 97);
        assert_eq!(client.call(&message)?, message);
    }
    let messages: Vec<Vec<u8>> = (0..30).map(|m| pattern(begin(n) + m, m * 113)).collect();
    let replies = client.call_all(messages.iter().map(Vec::as_slice))?;
    assert_eq!(replies, messages);
    Ok(())
}

/// A pool that may repeat its calls answers all of them, whatever happens to its connections.
fn pool_in_chaos(server: &Server, seed: u64) -> Vec<Passed> {
    // Another seed, of other plans.
    let proxy = Proxy::start(server.addr, !seed);
    let retry = Retry::new().attempts(20).first_delay(Duration::from_millis(1)).idempotent();
    let builder = Client::builder().codec(LengthPrefixed::u16()).read_timeout(TIMEOUT);
    let pool = builder.pool(proxy.addr).max_connections(4).retry(retry).build();
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let pool = &pool;
            scope.spawn(move || {
                for call in 0..60 {
                    let message = pattern(begin(thread) + call, 3_000);
                    let reply = pool.call_idempotent(&message);
                    assert_eq!(reply.expect("one attempt of many succeeds"), message);
                }
            });
        }
    });
    drop(pool);
    injected(proxy.done().total());
    proxy.finish()
}

/// Each connection that came through the proxy has ended at the server, for a reason that fits.
fn each_has_ended(server: &Server, streams: &[Passed], pool: &[Passed]) {
    for (passed, is_pooled) in
        streams.iter().map(|p| (p, false)).chain(pool.iter().map(|p| (p, true)))
    {
        let (id, _) = server.opened(passed.upstream);
        let reason = server.reason(id);
        // A pool leaves what it gives up with bytes unread, which is a reset, too.
        let allowed: &[&str] = match passed.fate {
            None if !is_pooled => &["peer_closed"],
            _ => &["peer_closed", "reset", "io"],
        };
        assert!(allowed.contains(&&*reason), "{passed:?} ended by {reason}");
    }
    let closed: Vec<String> = server.out.so_far().into_iter().filter(|l| is(l, "closed")).collect();
    for line in &closed {
        let (received, sent) = (number(line, "received"), number(line, "sent"));
        assert!(sent <= received, "an echo that is longer: {line}");
        let whole = text(line, "reason").as_deref() == Some("peer_closed");
        assert!(!whole || sent == received, "an end in order with output lost: {line}");
    }
}
