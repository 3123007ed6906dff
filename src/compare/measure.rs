//! One measurement: a warm-up, a window, and what the server spent meanwhile.

use super::cell::Sample;
use super::error::LoadError;
use super::host::Host;
use super::host::clock::{Usage, thread_cpu};
use super::latency::histogram;
use super::load::crew::Crew;
use super::load::schedule::Plan;
use super::load::score::Tally;
use super::load::{Load, Point};
use hdrhistogram::Histogram;
use std::thread;
use std::time::{Duration, Instant};

/// Time between the word to begin and the beginning, so that all threads are there.
const HEAD_START: Duration = Duration::from_millis(1);

/// What ended a measurement without a result.
pub(super) enum Failed {
    Load(LoadError),
    Server(String),
}

impl From<LoadError> for Failed {
    fn from(error: LoadError) -> Self {
        Failed::Load(error)
    }
}

/// Measures a server at one setting of the load.
pub(super) fn measure(
    host: &mut Host,
    load: &Load,
    point: Point,
) -> Result<(Sample, Histogram<u64>), Failed> {
    let addr = host.addr();
    thread::scope(|scope| {
        // When all are connected, each connection was used once: the server has nothing to do, and
        // says at once what it has spent.
        let mut crew = Crew::connect(scope, &addr, load, point)?;
        let before = Spent::new(host.cpu().map_err(Failed::Server)?);
        let start = Instant::now() + HEAD_START;
        let (begin, end) = (start + load.warm_up, start + load.warm_up + load.window);
        let tallies = crew.run(plans(point, start, begin, end, load.threads))?;
        // So it is when everything that was sent is answered. In between, a server with more work
        // than cores might answer late, and for another time than it was asked for.
        let usage = host.usage().map_err(Failed::Server)?;
        let cpu = server_cpu(host, before, Spent::new(usage.cpu), &tallies);
        sample(load, usage, cpu, &tallies)
    })
}

/// The plan of each thread: in an open loop they take turns.
fn plans(point: Point, start: Instant, begin: Instant, end: Instant, threads: usize) -> Vec<Plan> {
    let threads = threads.min(point.connections);
    let plan = |thread: usize| match point.rate {
        None => Plan::Closed { begin, end },
        Some(rate) => {
            let turn = Duration::from_secs_f64(1.0 / rate);
            let start = start + turn * thread as u32;
            Plan::Open { start, interval: turn * threads as u32, begin, end }
        }
    };
    (0..threads).map(plan).collect()
}

/// CPU time so far.
struct Spent {
    /// Of the server's process.
    all: Option<Duration>,
    /// Of this thread, which is none of the server's.
    own: Option<Duration>,
}

impl Spent {
    fn new(all: Option<Duration>) -> Self {
        Self { all, own: thread_cpu() }
    }
}

fn sample(
    load: &Load,
    usage: Usage,
    cpu: Option<Duration>,
    tallies: &[Tally],
) -> Result<(Sample, Histogram<u64>), Failed> {
    let mut latency = histogram();
    tallies.iter().for_each(|tally| {
        latency.add(&tally.latency).expect("all histograms have the same bounds");
    });
    let requests: u64 = tallies.iter().map(|tally| tally.responses).sum();
    if latency.is_empty() || requests == 0 {
        return Err(LoadError::Silent { within: load.warm_up + load.window }.into());
    }
    let all: u64 = tallies.iter().map(|tally| tally.all).sum();
    let throughput = tallies.iter().map(|t| t.responses as f64 / t.window.as_secs_f64()).sum();
    let sample = Sample {
        requests,
        throughput,
        p50: Duration::from_nanos(latency.value_at_quantile(0.5)),
        p99: Sample::p99_of(&latency),
        nearest_p99: Sample::nearest_p99_of(&latency),
        cpu: cpu.map(|cpu| Duration::from_secs_f64(cpu.as_secs_f64() / all as f64)),
        load_busy: tallies.iter().map(|tally| tally.busy).fold(0.0, f64::max),
        unanswered: tallies.iter().map(|tally| tally.unanswered).sum(),
        threads: usage.threads,
        peak_memory: usage.peak_memory,
    };
    Ok((sample, latency))
}

/// What the server has spent. Within this process, that is what everything spent without the load
/// and this thread.
fn server_cpu(host: &Host, before: Spent, after: Spent, tallies: &[Tally]) -> Option<Duration> {
    let all = after.all?.checked_sub(before.all?)?;
    if host.pid().is_some() {
        return Some(all);
    }
    let own = after.own?.checked_sub(before.own?)?;
    let load = tallies.iter().map(|tally| tally.cpu).sum::<Option<Duration>>()?;
    Some(all.saturating_sub(own + load))
}
