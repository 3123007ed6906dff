//! Holds the verdict of a comparison against the truth, on real servers: a strategy against itself,
//! and against itself with 15 % more CPU time for each request; a handler that blocks, and one that
//! burns CPU.
//!
//! ```sh
//! cargo bench --features compare --bench planted                # a run of each: a minute
//! cargo bench --features compare --bench planted -- --runs 20   # a quarter of an hour
//! cargo bench --features compare --bench planted -- --overhead  # what the load itself costs
//! ```
//! Wanted, or it fails: of 20 runs against itself at most one claims a difference, 9 of 10 planted
//! ones are found, and the two handlers are told apart each time. Figures to publish need a machine
//! with nothing else to do.

use polyserve::compare::{Comparison, HandlerKind, Load, Metric, Outcome, Report, benches};
use polyserve::{
    Acceptor, Action, Backend, BoxError, Context, Handler, Input, Peer, ServeError, Strategy,
};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, ExitCode};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// What the handlers of this process do besides, in turns of [`spin`].
static TURNS: AtomicU64 = AtomicU64::new(0);

/// One loop, under whatever name.
const STRATEGY: Strategy = Strategy::EventLoop(Some(1));

const REQUEST: [u8; 64] = [b'x'; 64];

/// Sends everything back, and works as much as its process is told to.
struct Echo;

impl Handler for Echo {
    fn on_data(&mut self, input: &mut Input<'_>, cx: &mut Context<'_>) -> Result<Action, BoxError> {
        // A read may bring the requests of a pipeline.
        spin(TURNS.load(Ordering::Relaxed) * input.len() as u64 / REQUEST.len() as u64);
        cx.send(input.take());
        Ok(Action::Continue)
    }
}

/// Takes the same CPU time each time.
fn spin(turns: u64) {
    let mut state = 1u64;
    for _ in 0..turns {
        // A chain of dependent steps, which no processor does at once.
        state = std::hint::black_box(state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1));
    }
}

/// The strategy, with more work for the handlers: each server has a process of its own.
#[derive(Debug)]
struct Laden(u64);

impl Backend for Laden {
    fn run(&mut self, acceptor: &Acceptor) -> Result<(), ServeError> {
        TURNS.store(self.0, Ordering::Relaxed);
        STRATEGY.into_backend().run(acceptor)
    }
}

/// Calls its function for each request, and sends it back.
struct Slow(fn());

impl Handler for Slow {
    fn on_data(&mut self, input: &mut Input<'_>, cx: &mut Context<'_>) -> Result<Action, BoxError> {
        while input.len() >= REQUEST.len() {
            (self.0)();
            cx.send(&input[..REQUEST.len()]);
            input.consume(REQUEST.len());
        }
        Ok(Action::Want(REQUEST.len()))
    }
}

/// How long a call of the two slow handlers takes.
const CALL: Duration = Duration::from_micros(500);

fn burn() {
    let began = Instant::now();
    while began.elapsed() < CALL {
        spin(100);
    }
}

#[expect(clippy::disallowed_methods, reason = "see below")]
fn block() {
    // The handler that is measured is one that blocks.
    std::thread::sleep(CALL);
}

/// What this process is to do.
enum Task {
    /// All runs, each in a process of its own.
    All,
    /// What the load costs.
    Overhead,
    /// A comparison of two of the same, one of which does so many more turns of the spin.
    Planted { turns: u64, seed: u64 },
    /// A comparison of a handler that blocks and one that burns CPU.
    Kinds { seed: u64 },
}

struct Options {
    task: Task,
    runs: u64,
    rounds: usize,
    seed: u64,
    is_test: bool,
}

fn main() -> ExitCode {
    let options = parse();
    match options.task {
        Task::All => return all(&options),
        Task::Overhead => overhead(options.is_test),
        Task::Planted { turns, seed } => println!("{}", planted(&options, turns, seed)),
        Task::Kinds { seed } => println!("{}", kinds(seed)),
    }
    ExitCode::SUCCESS
}

fn parse() -> Options {
    let seed = RandomState::new().build_hasher().finish() >> 16;
    let mut options = Options { task: Task::All, runs: 1, rounds: 30, seed, is_test: false };
    let mut args = std::env::args().skip(1);
    let number = |args: &mut dyn Iterator<Item = String>| {
        args.next().and_then(|n| n.parse().ok()).expect("a number behind the option")
    };
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--runs" => options.runs = number(&mut args),
            "--rounds" => options.rounds = number(&mut args) as usize,
            "--seed" => options.seed = number(&mut args),
            "--overhead" => options.task = Task::Overhead,
            "--planted" => {
                options.task = Task::Planted { turns: number(&mut args), seed: number(&mut args) };
            }
            "--kinds" => options.task = Task::Kinds { seed: number(&mut args) },
            "--test" => (options.rounds, options.is_test) = (2, true),
            // What cargo adds, and names of other benches.
            _ => (),
        }
    }
    options
}

/// What a run says first if it claims what it is asked for.
const YES: &str = "yes: ";

fn all(options: &Options) -> ExitCode {
    let (runs, turns) = (options.runs, turns_for(0.15, options.is_test).to_string());
    println!("seeds from {}", options.seed);
    let claims = count(options, "the same against itself claims a difference", &["--planted", "0"]);
    let found = count(options, "15 % more CPU time is found", &["--planted", &turns]);
    let told = count(options, "a handler that blocks is told from one that burns", &["--kinds"]);
    let is_right = claims <= runs / 20 && 10 * found >= 9 * runs && told == runs;
    let (outcome, code) = match (options.is_test, is_right) {
        (true, _) => ("two rounds, which tell nothing", ExitCode::SUCCESS),
        (false, true) => ("as wanted", ExitCode::SUCCESS),
        (false, false) => ("NOT AS WANTED", ExitCode::FAILURE),
    };
    println!(
        "{claims} of {runs} runs against itself claim a difference; 15 % are found in {found} of \
         {runs}; blocking is told from burning in {told} of {runs}: {outcome}"
    );
    code
}

/// How many runs say yes. Each is this program again: a process runs one comparison.
fn count(options: &Options, question: &str, task: &[&str]) -> u64 {
    println!("== {question}?");
    let says_yes = |run: &u64| {
        let me = std::env::current_exe().expect("a program knows where it is");
        let ended = Command::new(me)
            .args(["--rounds", &options.rounds.to_string()])
            .args(task)
            .arg((options.seed + run).to_string())
            .output()
            .expect("this program can be started again");
        let said = String::from_utf8_lossy(&ended.stdout);
        assert!(ended.status.success(), "{said}{}", String::from_utf8_lossy(&ended.stderr));
        println!("{}", said.trim());
        said.starts_with(YES)
    };
    (0..options.runs).filter(says_yes).count() as u64
}

fn planted(options: &Options, turns: u64, seed: u64) -> String {
    let load = Load::fixed(REQUEST, REQUEST).connections([8, 50]);
    let report = Comparison::new()
        .backend("plain", || Laden(0))
        .backend("laden", move || Laden(turns))
        .case("echo", load, |_peer: &Peer| Echo)
        .rounds(options.rounds)
        .seed(seed)
        .quiet()
        .run()
        .expect("the servers answer");
    told(&report, turns > 0)
}

fn told(report: &Report, is_planted: bool) -> String {
    let verdict = report.cases()[0].verdict();
    let ratio = verdict.findings.iter().rfind(|f| f.metric == Metric::Cpu);
    let ratio = ratio.map_or("CPU time is not known".to_owned(), |f| {
        let (ratio, low, high) = (1.0 / f.ratio, 1.0 / f.high, 1.0 / f.low);
        format!("CPU time at 50 connections {ratio:.3} times as much, {low:.3} to {high:.3}")
    });
    // What was planted must be found where it is; against itself any claim is one too many.
    let is_found = match is_planted {
        true => verdict.outcome(Metric::Cpu, 1, 0, 1) == Some(Outcome::Better),
        false => verdict.claims_a_difference(),
    };
    if is_found == is_planted {
        return format!("{}{ratio}", if is_found { YES } else { "no: " });
    }
    format!("{}{ratio}\n{verdict}", if is_found { YES } else { "no: " })
}

fn kinds(seed: u64) -> String {
    let load = Load::fixed(REQUEST, REQUEST).connections([1]);
    let report = Comparison::new()
        .strategies([STRATEGY])
        .case("blocks", load.clone(), |_peer: &Peer| Slow(block))
        .case("burns", load, |_peer: &Peer| Slow(burn))
        .rounds(1)
        .seed(seed)
        .quiet()
        .run()
        .expect("the servers answer");
    let profiles = report.cases().iter().map(|case| case.profile().expect("the system tells"));
    let profiles: Vec<_> = profiles.collect();
    let kinds = [HandlerKind::Blocking, HandlerKind::CpuBound];
    let is_told = profiles.iter().map(|profile| profile.kind()).eq(kinds);
    format!("{}one {}; one {}", if is_told { YES } else { "no: " }, profiles[0], profiles[1])
}

/// How many turns make a request dearer by this share, at 50 connections. A turn costs less in a long
/// loop than in a short one, so it is tried.
fn turns_for(share: f64, is_test: bool) -> u64 {
    let (rounds, requests) = if is_test { (1, 1_000) } else { (15, 20_000) };
    let load = Load::fixed(REQUEST, REQUEST).connections([50]);
    let mut bench = benches([STRATEGY], load, |_peer: &Peer| Echo).remove(0);
    let mut cost = |turns| {
        TURNS.store(turns, Ordering::Relaxed);
        bench.cpu(requests).as_secs_f64() / requests as f64
    };
    let mut turns = 200.0;
    for _ in 0..4 {
        let mut ratios: Vec<f64> = (0..rounds).map(|_| cost(turns as u64) / cost(0)).collect();
        ratios.sort_by(f64::total_cmp);
        let ratio = ratios[rounds / 2];
        println!("{turns:.0} turns of the spin make a request {ratio:.3} times as dear");
        // A step too far would not come back.
        turns = (turns * (share / (ratio - 1.0).max(share / 4.0)).max(0.25)).round();
    }
    TURNS.store(0, Ordering::Relaxed);
    println!("planted: {turns:.0} turns");
    turns as u64
}

/// What the load's own work costs for each request: at one connection, beside a loop of bare writes
/// and reads on the same kind of server, in turns.
fn overhead(is_test: bool) {
    let (rounds, requests) = if is_test { (2, 100) } else { (15, 20_000) };
    let load = Load::fixed(REQUEST, REQUEST).connections([1]);
    let mut bench = benches([Strategy::Threads], load, |_peer: &Peer| Echo).remove(0);
    let mut bare = bare_client();
    let mut times = Vec::new();
    for _ in 0..=rounds {
        let driven = own_time(|| _ = bench.run(requests));
        let by_hand = own_time(|| exchange(&mut bare, requests));
        times.push([driven, by_hand, driven / by_hand]);
    }
    // The first warms up.
    times.remove(0);
    let quartile = |of: usize, part: usize| {
        let mut values: Vec<f64> = times.iter().map(|time| time[of]).collect();
        values.sort_by(f64::total_cmp);
        values[(rounds - 1) * part / 4]
    };
    let micros = |of: usize| quartile(of, 2) / requests as f64 * 1e6;
    println!(
        "CPU time of the load's thread for a request: {:.2} µs, by hand {:.2} µs; ratio {:.2} / \
         {:.2} / {:.2} (quartiles of {rounds} rounds)",
        micros(0),
        micros(1),
        quartile(2, 1),
        quartile(2, 2),
        quartile(2, 3),
    );
}

/// A connection to a thread that echoes by hand, and ends with it.
fn bare_client() -> TcpStream {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let client =
        TcpStream::connect(listener.local_addr().expect("it is bound")).expect("it listens");
    client.set_nodelay(true).expect("a TCP socket");
    let (mut server, _) = listener.accept().expect("the client above");
    server.set_nodelay(true).expect("a TCP socket");
    std::thread::spawn(move || {
        let mut buffer = [0; 64 * 1024];
        while let Ok(n @ 1..) = server.read(&mut buffer) {
            server.write_all(&buffer[..n]).expect("the client reads");
        }
    });
    client
}

fn exchange(stream: &mut TcpStream, requests: u64) {
    let mut buffer = [0; 64];
    for _ in 0..requests {
        stream.write_all(&REQUEST).expect("the server reads");
        stream.read_exact(&mut buffer).expect("the server answers");
        assert_eq!(buffer, REQUEST);
    }
}

/// The CPU time of this thread that something takes, in seconds.
#[cfg(not(any(not(unix), target_os = "netbsd", target_os = "illumos", target_os = "solaris")))]
fn own_time(work: impl FnOnce()) -> f64 {
    use rustix::time::{ClockId, clock_gettime};
    let now = || {
        let time = clock_gettime(ClockId::ThreadCPUTime);
        time.tv_sec as f64 + time.tv_nsec as f64 * 1e-9
    };
    let before = now();
    work();
    now() - before
}

#[cfg(any(not(unix), target_os = "netbsd", target_os = "illumos", target_os = "solaris"))]
fn own_time(work: impl FnOnce()) -> f64 {
    // Nobody tells; here it is the time that it takes.
    let began = Instant::now();
    work();
    began.elapsed().as_secs_f64()
}
