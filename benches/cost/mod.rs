//! See `benches/cost.rs`.

mod child;
mod perf;
mod stream;

use crate::common::load::Load;
use crate::common::servers::Contender;
use child::Child;
use perf::{Counts, Perf};
use std::io::Read;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

/// How much is measured.
struct Extent {
    exchanges: u64,
    rounds: usize,
    idle: usize,
    silent: usize,
    window: Duration,
}

const FULL: Extent = Extent {
    exchanges: 20_000,
    rounds: 15,
    idle: 19_000,
    silent: 1_000,
    window: Duration::from_secs(1),
};

/// Shows that everything works, and measures nothing.
const SHORT: Extent =
    Extent { exchanges: 200, rounds: 1, idle: 200, silent: 50, window: Duration::from_millis(50) };

const SIZE: usize = 64;

/// How many connections are opened before they are used, and how many come from one address.
const AT_A_TIME: usize = 100;
const FROM_ONE_ADDRESS: usize = 1_000;

pub(crate) fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if let [serve, name] = &args[..]
        && serve == "--serve"
    {
        return serve_until_stdin_ends(name);
    }
    let extent = if args.iter().any(|arg| arg == "--test") { SHORT } else { FULL };
    let parts: Vec<&str> =
        args.iter().map(String::as_str).filter(|arg| !arg.starts_with("--")).collect();
    let wanted = |part| parts.is_empty() || parts.contains(&part);
    child::raise_descriptor_limit();
    child::pin_load();
    if wanted("syscalls") {
        syscalls(&extent);
    }
    if wanted("idle") {
        idle(&extent);
    }
    if wanted("memory") {
        memory(&extent);
    }
    if wanted("cpu") {
        cpu(&extent);
    }
    if wanted("stream") {
        stream::compare(&extent);
    }
}

/// The server's part: it ends when its parent closes the pipe, or is gone.
fn serve_until_stdin_ends(name: &str) {
    child::raise_descriptor_limit();
    let server = contender(name).start();
    println!("{}", server.addr);
    let _ = std::io::stdin().read_to_end(&mut Vec::new());
}

fn contender(name: &str) -> Contender {
    name.parse().expect("the name of a contender")
}

fn syscalls(extent: &Extent) {
    println!("\n#### System calls of the server for each 64-byte echo\n");
    println!("| server | connections | all | wait | recv | send | epoll_ctl | other |");
    println!("|---|---:|---:|---:|---:|---:|---:|---:|");
    let names = ["epoll", "event-loop:1", "event-loop:2", "pool:2", "pool:8", "pool:32", "threads"];
    for name in names.into_iter().chain(["std-threads"]) {
        for connections in [1, 50] {
            let child = Child::start(contender(name));
            let mut load = Load::connect(child.addr, connections, SIZE).expect("it listens");
            load.run(20);
            let Some(perf) = Perf::attach(child.pid()) else {
                return println!("\nSKIP: `perf stat` cannot count system calls here");
            };
            let exchanges = (extent.exchanges / connections as u64).max(10);
            let counts = perf.count(|| _ = load.run(exchanges));
            print_counts(name, connections, &counts, (exchanges * connections as u64) as f64);
        }
    }
}

fn print_counts(name: &str, connections: usize, counts: &Counts, requests: f64) {
    let each = |n: u64| format!("{:.2}", n as f64 / requests);
    println!(
        "| {name} | {connections} | {} | {} | {} | {} | {} | {} |",
        each(counts.all),
        each(counts.wait),
        each(counts.recv),
        each(counts.send),
        each(counts.epoll_ctl),
        each(counts.other()),
    );
}

fn idle(extent: &Extent) {
    println!("\n#### System calls of a server with {} idle connections\n", extent.silent);
    println!("| server | within {:?} |", extent.window);
    println!("|---|---:|");
    for name in ["event-loop:1", "pool:4", "threads"] {
        let child = Child::start(contender(name));
        let mut load = Load::connect(child.addr, extent.silent, SIZE).expect("it listens");
        load.run(1);
        let Some(perf) = Perf::attach(child.pid()) else {
            return println!("\nSKIP: `perf stat` cannot count system calls here");
        };
        #[expect(clippy::disallowed_methods, reason = "see below")]
        // The length of the measurement itself; nothing is waited for.
        let counts = perf.count(|| std::thread::sleep(extent.window));
        println!("| {name} | {} |", counts.all);
    }
}

fn memory(extent: &Extent) {
    let idle = extent.idle.min(child::connections_allowed());
    println!("\n#### User-space memory of {idle} idle connections, each used once (bytes each)\n");
    if idle < extent.idle {
        println!("The system lets a process hold no more: {} were to be measured.\n", extent.idle);
    }
    println!("| server | anonymous memory before, KiB | bytes for each connection |");
    println!("|---|---:|---:|");
    for name in ["epoll", "event-loop:1", "event-loop:2", "pool:4"] {
        let child = Child::start(contender(name));
        let mut warm = Load::connect(child.addr, 50, SIZE).expect("it listens");
        warm.run(100);
        let before = child.anonymous_memory();
        let held = connect_and_use(child.addr, idle);
        let grown = child.anonymous_memory().saturating_sub(before);
        println!("| {name} | {} | {} |", before / 1024, grown / idle as u64);
        drop(held);
    }
}

/// Opens connections that are used once each: no more at a time than any server's backlog holds, and
/// from several addresses. One has some ten thousand ports to give, and takes long to find the last.
fn connect_and_use(addr: SocketAddr, connections: usize) -> Vec<Load> {
    let parts = connections.div_ceil(AT_A_TIME);
    let part = |number: usize| {
        let source = Ipv4Addr::new(127, 0, 1, (number * AT_A_TIME / FROM_ONE_ADDRESS) as u8 + 1);
        let n = (connections - number * AT_A_TIME).min(AT_A_TIME);
        let load = Load::connect_from(source, addr, n, SIZE);
        let mut load = load.expect("all of 127.0.0.0/8 is this machine");
        load.run(1);
        load
    };
    (0..parts).map(part).collect()
}

/// CPU time of the server for each request, in interleaved rounds.
fn cpu(extent: &Extent) {
    println!(
        "\n#### CPU time of the server for each 64-byte echo (medians, {} rounds)\n",
        extent.rounds
    );
    println!("| server | connections | microseconds | ratio to its baseline | baseline |");
    println!("|---|---:|---:|---:|---|");
    let pairs = [
        ("epoll", "epoll"),
        ("event-loop:1", "epoll"),
        ("pool:2", "epoll"),
        ("pool:8", "epoll"),
        ("pool:32", "epoll"),
        ("threads", "std-threads"),
        ("std-threads", "std-threads"),
    ];
    for (connections, part) in [(1, 5), (50, 50)] {
        // About as long for one connection, which waits for each wake-up, as for many.
        let exchanges = (extent.exchanges / part).max(10);
        for (name, baseline) in pairs {
            let mut times = Vec::new();
            let mut ratios = Vec::new();
            let measured = [name, baseline].map(|name| Child::start(contender(name)));
            let mut loads = [0, 1].map(|i: usize| {
                Load::connect(measured[i].addr, connections, SIZE).expect("it listens")
            });
            loads.iter_mut().for_each(|load| _ = load.run(exchanges / 10 + 1));
            for round in 0..extent.rounds {
                let mut spent = [0.0; 2];
                // Who is first alternates.
                for i in [round % 2, 1 - round % 2] {
                    let before = measured[i].cpu_time();
                    loads[i].run(exchanges);
                    let spent_here = measured[i].cpu_time() - before;
                    spent[i] =
                        spent_here.as_secs_f64() * 1e6 / (exchanges * connections as u64) as f64;
                }
                times.push(spent[0]);
                ratios.push(spent[0] / spent[1]);
            }
            println!(
                "| {name} | {connections} | {:.2} | {} | {baseline} |",
                quartiles(&mut times)[1],
                quartiles(&mut ratios).map(|r| format!("{r:.2}")).join(" / "),
            );
        }
    }
    println!("\nRatios: lower quartile / median / upper quartile of the rounds.");
}

fn quartiles(values: &mut [f64]) -> [f64; 3] {
    values.sort_by(f64::total_cmp);
    let at = |part: usize| values[(values.len() - 1) * part / 4];
    [at(1), at(2), at(3)]
}
