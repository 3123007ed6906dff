//! Speed in turns: every round, each server works once at the same load, and only ratios within a
//! round are compared.

mod contests;
mod figures;
mod report;
mod runner;
mod statistics;
mod validity;

use crate::load::Work;
use crate::servers::{BoxError, Kind, Speaks};
pub use contests::{beside_others, figures};
pub use figures::Figure;
pub use report::{Conditions, Page, invalid, table, write};
use runner::Runner;
use statistics::Spread;
use std::time::Duration;

/// A load, at which all servers of a contest are measured.
#[derive(Debug, Clone, Copy)]
pub struct Cell {
    pub name: &'static str,
    pub connections: usize,
    pub work: Work,
    /// Whether the server may use the load's core as well.
    pub both_cores: bool,
}

/// Who takes turns at a load.
#[derive(Debug, Clone)]
pub struct Contest {
    pub cell: Cell,
    pub entries: Vec<Entry>,
}

/// One of them.
#[derive(Debug, Clone)]
pub struct Entry {
    pub name: String,
    kind: Kind,
    /// Of the command line of its server.
    options: &'static [&'static str],
    /// Connections beside, which say nothing.
    idle: usize,
    /// The place of the entry that it is compared with.
    baseline: usize,
    /// What it should reach.
    figures: Vec<Figure>,
}

/// How much is measured.
#[derive(Debug, Clone, Copy)]
pub struct Extent {
    pub rounds: usize,
    pub time: Duration,
    /// Of the idle connections, one in so many.
    pub idle_divisor: usize,
}

/// What came out for one server at one load.
#[derive(Debug)]
pub struct Measured {
    pub entry: Entry,
    /// Microseconds of processor time for each request.
    pub cpu: Spread,
    /// The same, to the baseline's of the same round.
    pub cpu_ratio: Spread,
    pub per_second: Spread,
    pub per_second_ratio: Spread,
    /// Microseconds.
    pub p50: Spread,
    pub p999: Spread,
    pub calls: Option<Calls>,
    /// Bytes of user-space memory for each idle connection.
    pub idle_bytes: Option<f64>,
    /// What each read of a baseline asks for, if all ask for the same.
    pub read_size: Option<u64>,
    /// Why there is nothing, if there is not.
    pub failed: Option<String>,
}

/// System calls for each request.
#[derive(Debug, Clone, Copy)]
pub struct Calls {
    pub all: f64,
    pub wait: f64,
    pub recv: f64,
    pub send: f64,
    pub epoll_ctl: f64,
}

impl Cell {
    fn speaks(&self) -> Speaks {
        match self.work {
            Work::Echo { .. } | Work::Churn { .. } => Speaks::Echo,
            Work::Http { .. } => Speaks::Http,
        }
    }

    /// Whether requests and responses are small, one of each at a time on each connection.
    fn is_small_echo(&self) -> bool {
        matches!(self.work, Work::Echo { size } if size <= 1024)
    }
}

impl Contest {
    /// Measures all of them.
    ///
    /// # Errors
    /// The first, which is a baseline, cannot be measured.
    pub fn measure(&self, extent: Extent) -> Result<Vec<Measured>, BoxError> {
        let start = |entry: &Entry| Runner::start(entry.clone(), &self.cell, extent);
        let mut runners: Vec<Runner> = self.entries.iter().map(start).collect();
        for round in 0..extent.rounds {
            let count = runners.len();
            // Everybody follows everybody else.
            for turn in 0..count {
                let runner = &mut runners[(turn * coprime(round, count) + round) % count];
                runner.round(&self.cell, extent.time);
            }
        }
        runners.iter_mut().for_each(|runner| runner.look_inside(&self.cell, extent.time));
        if let Some(why) = &runners[0].failed {
            return Err(format!("{}: the baseline failed: {why}", self.cell.name).into());
        }
        let baseline = |runner: &Runner| runners[runner.entry.baseline].rounds.clone();
        let baselines: Vec<_> = runners.iter().map(baseline).collect();
        let pairs = runners.into_iter().zip(&baselines);
        Ok(pairs.map(|(runner, baseline)| runner.measured(baseline)).collect())
    }
}

/// A step that visits all of `count` places, another in each round.
fn coprime(round: usize, count: usize) -> usize {
    let gcd = |mut a: usize, mut b: usize| {
        while b > 0 {
            (a, b) = (b, a % b);
        }
        a
    };
    (1 + round % count..).find(|step| gcd(*step, count) == 1).expect("one more than a multiple is")
}

/// Keeps the load off the server's core. Tells whether that could be done.
pub fn pin_load() -> bool {
    use rustix::thread::{CpuSet, sched_setaffinity};
    let mut one = CpuSet::new();
    one.set(1);
    has_two_cores() && sched_setaffinity(None, &one).is_ok()
}

/// Whether there are two cores, and a way to choose one. Asked first before the load is pinned.
fn has_two_cores() -> bool {
    static TWO: std::sync::OnceLock<bool> = std::sync::OnceLock::new();
    *TWO.get_or_init(|| {
        let tried = std::process::Command::new("taskset").args(["-c", "0", "true"]).status();
        std::thread::available_parallelism().is_ok_and(|n| n.get() >= 2)
            && tried.is_ok_and(|status| status.success())
    })
}
