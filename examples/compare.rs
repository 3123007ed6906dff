//! Compares the strategies for three handlers: one that echoes, one that works for 50 µs for each
//! request, and one that waits for 1 ms. It prints tables and verdicts, and writes a page with
//! plots.
//!
//! ```sh
//! cargo run --release --features compare --example compare            # under two minutes
//! cargo run --release --features compare --example compare -- --quick # about half a minute
//! ```

use polyserve::compare::{Comparison, Load};
use polyserve::{Action, BoxError, Context, Handler, Input, Peer, Strategy};
use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

const HELP: &str = "compare: which strategy is best for which handler

Options:
  --quick              14 rounds, 1 and 64 connections, one strategy less: the big differences
  --rounds N           (default: 20)
  --case NAME          only this one: echo, burns, blocks; may be repeated
  --strategy NAME      threads, pool[:N], event-loop[:N]; may be repeated
                       (default: threads, pool:8, event-loop:1, event-loop:2)
  --connections N      may be repeated (default: 1, 8, 64)
  --rate N             requests a second: an open loop; may be repeated
  --seed N             draws the order of the rounds
  --out DIR            where the report goes (default: target/compare)
  --help               this text
";

/// What each message is.
const SIZE: usize = 64;

/// Sends everything back, after some work or some waiting for each message.
struct Slow(fn());

impl Handler for Slow {
    fn on_data(&mut self, input: &mut Input<'_>, cx: &mut Context<'_>) -> Result<Action, BoxError> {
        while input.len() >= SIZE {
            (self.0)();
            cx.send(&input[..SIZE]);
            input.consume(SIZE);
        }
        Ok(Action::Want(SIZE))
    }
}

struct Echo;

impl Handler for Echo {
    fn on_data(&mut self, input: &mut Input<'_>, cx: &mut Context<'_>) -> Result<Action, BoxError> {
        cx.send(input.take());
        Ok(Action::Continue)
    }
}

fn burn() {
    let began = Instant::now();
    while began.elapsed() < Duration::from_micros(50) {
        std::hint::spin_loop();
    }
}

#[expect(clippy::disallowed_methods, reason = "see below")]
fn block() {
    // Stands for a database or a file that a real handler waits for.
    std::thread::sleep(Duration::from_millis(1));
}

struct Options {
    rounds: usize,
    cases: Vec<String>,
    strategies: Vec<Strategy>,
    connections: Vec<usize>,
    rates: Vec<f64>,
    seed: Option<u64>,
    out: PathBuf,
}

fn main() -> ExitCode {
    let options = match parse(lexopt::Parser::from_env()) {
        Ok(Some(options)) => options,
        Ok(None) => {
            print!("{HELP}");
            return ExitCode::SUCCESS;
        }
        Err(error) => {
            eprintln!("error: {error}");
            return ExitCode::from(2);
        }
    };
    match compare(&options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprint!("error: {error}");
            let causes = std::iter::successors(error.source(), |&cause| cause.source());
            causes.for_each(|cause| eprint!(": {cause}"));
            eprintln!();
            ExitCode::FAILURE
        }
    }
}

fn compare(options: &Options) -> Result<(), Box<dyn Error>> {
    let load = Load::echo(SIZE)
        .connections(options.connections.iter().copied())
        .rates(options.rates.iter().copied())
        .warm_up(Duration::from_millis(20))
        .window(Duration::from_millis(60));
    let mut comparison =
        Comparison::new().strategies(options.strategies.iter().copied()).rounds(options.rounds);
    if let Some(seed) = options.seed {
        comparison = comparison.seed(seed);
    }
    let is_wanted = |name| options.cases.is_empty() || options.cases.iter().any(|c| c == name);
    if is_wanted("echo") {
        comparison = comparison.case("echo", load.clone(), |_peer: &Peer| Echo);
    }
    if is_wanted("burns") {
        comparison = comparison.case("burns", load.clone(), |_peer: &Peer| Slow(burn));
    }
    if is_wanted("blocks") {
        // At 1 ms a request, a window of 60 ms would hold too few for a 99th percentile.
        let longer = load.window(Duration::from_millis(150));
        comparison = comparison.case("blocks", longer, |_peer: &Peer| Slow(block));
    }
    // In the processes that are started as servers, this does not return.
    let report = comparison.run()?;
    println!("{report}");
    println!("{}", report.save(&options.out)?.display());
    Ok(())
}

fn parse(mut args: lexopt::Parser) -> Result<Option<Options>, Box<dyn Error>> {
    use lexopt::prelude::*;
    let mut options = Options::default();
    while let Some(arg) = args.next()? {
        match arg {
            Long("quick") => options.be_quick(),
            Long("rounds") => options.rounds = args.value()?.parse()?,
            Long("case") => options.cases.push(case(args.value()?.string()?)?),
            Long("strategy") => options.strategies.push(args.value()?.parse()?),
            Long("connections") => options.connections.push(args.value()?.parse()?),
            Long("rate") => options.rates.push(args.value()?.parse()?),
            Long("seed") => options.seed = Some(args.value()?.parse()?),
            Long("out") => options.out = args.value()?.into(),
            Long("help") | Short('h') => return Ok(None),
            other => return Err(other.unexpected().into()),
        }
    }
    if options.strategies.is_empty() {
        let loops = [Some(1), Some(2)].map(Strategy::EventLoop);
        options.strategies = vec![Strategy::Threads, Strategy::Pool(Some(8)), loops[0], loops[1]];
    }
    if options.connections.is_empty() {
        options.connections = vec![1, 8, 64];
    }
    Ok(Some(options))
}

fn case(name: String) -> Result<String, Box<dyn Error>> {
    match ["echo", "burns", "blocks"].contains(&&*name) {
        true => Ok(name),
        false => Err(format!("{name:?} is no case: expected echo, burns or blocks").into()),
    }
}

impl Default for Options {
    fn default() -> Self {
        Self {
            rounds: 20,
            cases: Vec::new(),
            strategies: Vec::new(),
            connections: Vec::new(),
            rates: Vec::new(),
            seed: None,
            out: PathBuf::from("target/compare"),
        }
    }
}

impl Options {
    fn be_quick(&mut self) {
        self.rounds = 14;
        self.connections = vec![1, 64];
        self.strategies =
            vec![Strategy::Threads, Strategy::Pool(Some(8)), Strategy::EventLoop(Some(1))];
    }
}
