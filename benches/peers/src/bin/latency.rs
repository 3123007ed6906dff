//! How long a 64-byte echo on one connection takes: the servers of one thread, and a loop that polls
//! before it sleeps. They take turns; each has core 0 to itself, and the client core 1.
//!
//! ```sh
//! cargo build --release --bins && cargo run --release --bin latency
//! cargo run --release --bin latency -- --short      # shows that it works
//! ```

use peers::child::Child;
use peers::servers::BoxError;
use peers::speed::pin_load;
use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

const SIZE: usize = 64;
const PATIENCE: Duration = Duration::from_secs(10);

/// The arguments of `peers echo`. The first is the baseline.
const SERVERS: [&[&str]; 5] = [
    &["tokio-current-thread"],
    &["tokio-current-thread"],
    &["epoll"],
    &["polyserve", "--backend", "event-loop:1"],
    &["polyserve", "--backend", "event-loop:1", "--busy-poll", "200"],
];

/// How the client waits for an answer.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Client {
    /// In the read: its core sleeps, and must be woken as well.
    Sleeps,
    /// By reading again and again.
    Polls,
}

fn main() -> Result<(), BoxError> {
    let is_short = std::env::args().any(|arg| arg == "--short");
    let (rounds, exchanges) = if is_short { (1, 50) } else { (15, 3_000) };
    let pinned = pin_load();
    println!("\n#### A {SIZE}-byte echo on one connection, {rounds} rounds of {exchanges}\n");
    println!("| server | client | p50 | p99 | p50, ratio to the first |");
    println!("|---|---|---:|---:|---:|");
    for client in [Client::Sleeps, Client::Polls] {
        let children = SERVERS.map(|server| start(server, pinned));
        let children: Vec<Child> = children.into_iter().collect::<Result<_, _>>()?;
        let mut streams = Vec::new();
        for child in &children {
            streams.push(connect(child, client)?);
        }
        let mut seen: Vec<[Vec<f64>; 3]> = vec![Default::default(); SERVERS.len()];
        for round in 0..rounds {
            let mut of_round = vec![[0.0; 2]; SERVERS.len()];
            for turn in 0..SERVERS.len() {
                let at = (turn + round) % SERVERS.len(); // who is first changes
                of_round[at] = measure(&mut streams[at], client, exchanges)?;
            }
            for (seen, [p50, p99]) in seen.iter_mut().zip(&of_round) {
                seen[0].push(*p50);
                seen[1].push(*p99);
                seen[2].push(p50 / of_round[0][0]);
            }
        }
        for (server, seen) in SERVERS.iter().zip(&mut seen) {
            let [p50, p99] = [0, 1].map(|at: usize| quartiles(&mut seen[at])[1]);
            let ratio = quartiles(&mut seen[2]).map(|r| format!("{r:.2}")).join(" / ");
            let server = server.join(" ");
            println!("| {server} | {client:?} | {p50:.1} µs | {p99:.1} µs | {ratio} |");
        }
    }
    println!("\nMedians of the rounds; ratios: lower quartile / median / upper quartile.");
    Ok(())
}

fn start(server: &[&str], pinned: bool) -> Result<Child, BoxError> {
    let peers = std::env::current_exe()?.with_file_name("peers");
    let mut command: Vec<&str> = if pinned { vec!["taskset", "-c", "0"] } else { Vec::new() };
    command.extend([peers.to_str().ok_or("a path of UTF-8")?, "echo"]);
    command.extend(server);
    Ok(Child::start(&command.into_iter().map(str::to_owned).collect::<Vec<_>>())?)
}

fn connect(child: &Child, client: Client) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(child.addr)?;
    stream.set_nodelay(true)?;
    stream.set_nonblocking(client == Client::Polls)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    Ok(stream)
}

/// Microseconds in which half of the exchanges were over, and in which 99 of 100 were.
fn measure(stream: &mut TcpStream, client: Client, exchanges: usize) -> Result<[f64; 2], BoxError> {
    let (mut sent, mut times) = ([0; SIZE], Vec::with_capacity(exchanges));
    // The first wake what slept while the others had their turns.
    for number in 0..exchanges + exchanges / 10 {
        sent[..8].copy_from_slice(&number.to_be_bytes());
        let start = Instant::now();
        stream.write_all(&sent)?;
        let got = answer(stream, client, start)?;
        times.push(start.elapsed().as_secs_f64() * 1e6);
        if got != sent {
            return Err("other bytes came back".into());
        }
    }
    let times = &mut times[exchanges / 10..];
    times.sort_by(f64::total_cmp);
    Ok([times[times.len() / 2], times[times.len() * 99 / 100]])
}

fn answer(stream: &mut TcpStream, client: Client, start: Instant) -> io::Result<[u8; SIZE]> {
    let (mut got, mut n) = ([0; SIZE], 0);
    while n < SIZE {
        match stream.read(&mut got[n..]) {
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(more) => n += more,
            Err(error) if error.kind() != ErrorKind::WouldBlock => return Err(error),
            Err(error) if client == Client::Sleeps || start.elapsed() > PATIENCE => {
                return Err(error);
            }
            Err(_) => (),
        }
    }
    Ok(got)
}

fn quartiles(values: &mut [f64]) -> [f64; 3] {
    values.sort_by(f64::total_cmp);
    [1, 2, 3].map(|part| values[(values.len() - 1) * part / 4])
}
