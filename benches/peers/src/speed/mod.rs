//! Speed in turns: every round, each server works once at the same load, and only ratios within a
//! round are compared.

mod report;
mod statistics;

use crate::child::Child;
use crate::load::{Load, Work};
use crate::perf::Perf;
use crate::servers::{BoxError, Kind, Speaks};
pub use report::{Conditions, table, write};
use statistics::Spread;
use std::time::Duration;

/// A load, at which all servers are measured.
#[derive(Debug, Clone, Copy)]
pub struct Cell {
    pub name: &'static str,
    pub connections: usize,
    pub work: Work,
}

pub const CELLS: [Cell; 10] = [
    Cell { name: "echo 32 B x 1", connections: 1, work: Work::Echo { size: 32 } },
    Cell { name: "echo 32 B x 50", connections: 50, work: Work::Echo { size: 32 } },
    Cell { name: "echo 32 B x 500", connections: 500, work: Work::Echo { size: 32 } },
    Cell { name: "echo 16 KiB x 1", connections: 1, work: Work::Echo { size: 16 * 1024 } },
    Cell { name: "echo 16 KiB x 50", connections: 50, work: Work::Echo { size: 16 * 1024 } },
    Cell { name: "echo 16 KiB x 500", connections: 500, work: Work::Echo { size: 16 * 1024 } },
    Cell { name: "http x 1", connections: 1, work: Work::Http { pipelined: 1 } },
    Cell { name: "http x 50", connections: 50, work: Work::Http { pipelined: 1 } },
    Cell { name: "http x 500", connections: 500, work: Work::Http { pipelined: 1 } },
    Cell { name: "http x 50, 16 at once", connections: 50, work: Work::Http { pipelined: 16 } },
];

/// Who is measured. The first is the baseline; the second is the same program once more.
#[derive(Debug, Clone)]
pub struct Contender {
    pub name: String,
    kind: Kind,
    backend: Option<&'static str>,
}

pub fn contenders() -> Vec<Contender> {
    let one = |name: &str, kind, backend| Contender { name: name.to_owned(), kind, backend };
    let plain = |kind: Kind| one(kind.name(), kind, None);
    vec![
        plain(Kind::Epoll),
        one("epoll, again", Kind::Epoll, None),
        one("polyserve event-loop:1", Kind::Polyserve, Some("event-loop:1")),
        one("polyserve pool:2", Kind::Polyserve, Some("pool:2")),
        one("polyserve threads", Kind::Polyserve, Some("threads")),
        plain(Kind::StdThreads),
        plain(Kind::BookPool),
        plain(Kind::Mio),
        plain(Kind::TokioCurrentThread),
        plain(Kind::Tokio),
        plain(Kind::MessageIo),
        plain(Kind::MillNet),
        plain(Kind::TinyHttp),
    ]
}

/// How much is measured.
#[derive(Debug, Clone, Copy)]
pub struct Extent {
    pub rounds: usize,
    pub time: Duration,
}

/// What came out for one server at one load.
#[derive(Debug)]
pub struct Measured {
    pub contender: String,
    /// Microseconds of processor time for each request.
    pub cpu: Spread,
    /// The same, to the baseline's of the same round.
    pub cpu_ratio: Spread,
    pub per_second: Spread,
    pub per_second_ratio: Spread,
    pub system_calls: Option<f64>,
    /// Why there is nothing, if there is not.
    pub failed: Option<String>,
}

impl Contender {
    fn start(&self, cell: &Cell) -> Result<Child, String> {
        let peers = std::env::current_exe().map_err(|error| error.to_string())?;
        let peers = peers.with_file_name("peers").to_str().ok_or("a path of UTF-8")?.to_owned();
        let speaks = match cell.speaks() {
            Speaks::Echo => "echo",
            Speaks::Http => "http",
        };
        // It serves as many connections at once as it has workers, and no others ever.
        let workers = cell.connections.max(4).to_string();
        let mut command: Vec<&str> = Vec::new();
        if has_two_cores() {
            command.extend(["taskset", "-c", "0"]);
        }
        command.extend([&*peers, speaks, self.kind.name(), "--listen", "127.0.0.1:0"]);
        command.extend(["--workers", &workers]);
        command.extend(self.backend.iter().flat_map(|backend| ["--backend", backend]));
        Child::start(&command.into_iter().map(str::to_owned).collect::<Vec<_>>())
    }
}

impl Cell {
    fn speaks(&self) -> Speaks {
        match self.work {
            Work::Echo { .. } => Speaks::Echo,
            Work::Http { .. } => Speaks::Http,
        }
    }

    /// Measures all that speak what it asks.
    ///
    /// # Errors
    /// The baseline cannot be measured.
    pub fn measure(&self, extent: Extent) -> Result<Vec<Measured>, BoxError> {
        let contenders: Vec<Contender> =
            contenders().into_iter().filter(|c| c.kind.speaks(self.speaks())).collect();
        let mut runners: Vec<Runner> =
            contenders.into_iter().map(|contender| Runner::start(contender, self)).collect();
        for round in 0..extent.rounds {
            let count = runners.len();
            // Everybody follows everybody else.
            for turn in 0..count {
                let runner = &mut runners[(turn * coprime(round, count) + round) % count];
                runner.round(self, extent.time);
            }
        }
        runners.iter_mut().for_each(|runner| runner.count_calls(self));
        if let Some(why) = &runners[0].failed {
            return Err(format!("{}: the baseline failed: {why}", self.name).into());
        }
        let baseline = runners[0].rounds.clone();
        Ok(runners.into_iter().map(|runner| runner.measured(&baseline)).collect())
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

/// A server in its process, and what was measured of it.
struct Runner {
    contender: Contender,
    child: Option<Child>,
    /// Processor time for each request, in microseconds, and requests each second.
    rounds: Vec<(f64, f64)>,
    system_calls: Option<f64>,
    failed: Option<String>,
}

impl Runner {
    fn start(contender: Contender, cell: &Cell) -> Self {
        let (child, failed) = match contender.start(cell) {
            Ok(child) => (Some(child), None),
            Err(why) => (None, Some(why)),
        };
        Self { contender, child, rounds: Vec::new(), system_calls: None, failed }
    }

    /// A failure ends this one's part, and is shown.
    fn round(&mut self, cell: &Cell, time: Duration) {
        let Some(child) = &self.child else { return };
        match one_round(child, cell, time) {
            Ok(round) => self.rounds.push(round),
            Err(error) => {
                self.failed = Some(error.to_string());
                self.child = None;
            }
        }
    }

    /// A run of its own, since counting costs time.
    fn count_calls(&mut self, cell: &Cell) {
        let Some(child) = &self.child else { return };
        let Ok(mut load) = Load::connect(child.addr, cell.connections, cell.work) else { return };
        if load.run(Duration::from_millis(20)).is_err() {
            return;
        }
        let Some(perf) = Perf::attach(child.pid()) else { return };
        let mut requests = 0;
        let counts = perf.count(|| {
            requests = load.run(Duration::from_millis(500)).map_or(0, |done| done.requests);
        });
        self.system_calls = (requests > 0).then(|| counts.all as f64 / requests as f64);
    }

    fn measured(self, baseline: &[(f64, f64)]) -> Measured {
        let of = |part: fn(&(f64, f64)) -> f64| Spread::of(self.rounds.iter().map(part).collect());
        let ratio = |part: fn(&(f64, f64)) -> f64| {
            let pairs = self.rounds.iter().zip(baseline);
            Spread::of(pairs.map(|(ours, base)| part(ours) / part(base)).collect())
        };
        Measured {
            cpu: of(|round| round.0),
            cpu_ratio: ratio(|round| round.0),
            per_second: of(|round| round.1),
            per_second_ratio: ratio(|round| round.1),
            contender: self.contender.name,
            system_calls: self.system_calls,
            failed: self.failed,
        }
    }
}

/// New connections, a little to warm up, and then the time itself.
fn one_round(child: &Child, cell: &Cell, time: Duration) -> std::io::Result<(f64, f64)> {
    let mut load = Load::connect(child.addr, cell.connections, cell.work)?;
    load.run(time / 20)?;
    let before = child.cpu_of_threads();
    let done = load.run(time)?;
    let spent = child.cpu_of_threads() - before;
    let requests = done.requests as f64;
    Ok((spent.as_secs_f64() * 1e6 / requests, requests / done.took.as_secs_f64()))
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
