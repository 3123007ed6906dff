//! One server's part in a contest.

use super::{Calls, Cell, Entry, Extent, Measured, Spread, has_two_cores};
use crate::child::Child;
use crate::idle::Idle;
use crate::load::{Load, Work};
use crate::perf::Perf;
use crate::servers::Speaks;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

/// For how long its system calls are counted.
const LOOK: Duration = Duration::from_millis(500);

/// A server in its process, and what was measured of it.
pub(super) struct Runner {
    pub(super) entry: Entry,
    /// The idle connections end before their server does.
    _idle: Option<Idle>,
    child: Option<Child>,
    pub(super) rounds: Vec<Round>,
    calls: Option<Calls>,
    idle_bytes: Option<f64>,
    read_size: Option<u64>,
    pub(super) failed: Option<String>,
}

/// What came of one turn.
#[derive(Debug, Clone, Copy)]
pub(super) struct Round {
    /// Microseconds of processor time for each request.
    cpu: f64,
    per_second: f64,
    /// Microseconds.
    p50: f64,
    p999: f64,
}

impl Runner {
    pub(super) fn start(entry: Entry, cell: &Cell, extent: Extent) -> Self {
        let (child, failed) = match start(&entry, cell) {
            Ok(child) => (Some(child), None),
            Err(why) => (None, Some(why)),
        };
        let mut runner = Self {
            entry,
            _idle: None,
            child,
            rounds: Vec::new(),
            calls: None,
            idle_bytes: None,
            read_size: None,
            failed,
        };
        let count = runner.entry.idle / extent.idle_divisor;
        if count > 0
            && let Err(why) = runner.hold(count, cell)
        {
            runner.fail(why);
        }
        runner
    }

    /// Connects those that will be idle, and sees what they cost when the server is warm.
    fn hold(&mut self, count: usize, cell: &Cell) -> Result<(), String> {
        let Some(child) = &self.child else { return Ok(()) };
        let mut warm = Load::connect(child.addr, cell.connections, cell.work).map_err(told)?;
        warm.run(Duration::from_millis(200)).map_err(told)?;
        let before = child.memory();
        self._idle = Some(Idle::start(&peers(), child.addr, count)?);
        let grown = child.memory().zip(before).map(|(now, before)| now.saturating_sub(before));
        self.idle_bytes = grown.map(|grown| grown as f64 / count as f64);
        Ok(())
    }

    /// A failure ends this one's part, and is shown.
    pub(super) fn round(&mut self, cell: &Cell, time: Duration) {
        let Some(child) = &self.child else { return };
        match one_round(child, cell, time) {
            Ok(round) => self.rounds.push(round),
            Err(error) => self.fail(error.to_string()),
        }
    }

    fn fail(&mut self, why: String) {
        self.failed = Some(why);
        self._idle = None;
        self.child = None;
    }

    /// Looks at its system calls, in runs of their own, since that costs time.
    pub(super) fn look_inside(&mut self, cell: &Cell, time: Duration) {
        // Each thread of each kind of call takes a descriptor: with thousands there are not enough.
        if self.entry.idle > 0 || cell.connections > 1_000 {
            return;
        }
        let Some(child) = &self.child else { return };
        let Ok(mut load) = Load::connect(child.addr, cell.connections, cell.work) else { return };
        if load.run(Duration::from_millis(20)).is_err() {
            return;
        }
        self.calls = count_calls(child, &mut load, time.min(LOOK));
        if self.entry.is_baseline() && cell.is_small_echo() {
            self.read_size = read_size(child, &mut load);
        }
    }

    pub(super) fn measured(self, baseline: &[Round]) -> Measured {
        let of = |part: fn(&Round) -> f64| Spread::of(self.rounds.iter().map(part).collect());
        let ratio = |part: fn(&Round) -> f64| {
            let pairs = self.rounds.iter().zip(baseline);
            Spread::of(pairs.map(|(ours, base)| part(ours) / part(base)).collect())
        };
        Measured {
            cpu: of(|round| round.cpu),
            cpu_ratio: ratio(|round| round.cpu),
            per_second: of(|round| round.per_second),
            per_second_ratio: ratio(|round| round.per_second),
            p50: of(|round| round.p50),
            p999: of(|round| round.p999),
            entry: self.entry,
            calls: self.calls,
            idle_bytes: self.idle_bytes,
            read_size: self.read_size,
            failed: self.failed,
        }
    }
}

fn start(entry: &Entry, cell: &Cell) -> Result<Child, String> {
    let peers = peers().to_str().ok_or("a path of UTF-8")?.to_owned();
    let speaks = match cell.speaks() {
        Speaks::Echo => "echo",
        Speaks::Http => "http",
    };
    // It serves as many connections at once as it has workers, and no others ever.
    let workers = cell.connections.max(4).to_string();
    let room = (cell.connections + entry.idle + 100).to_string();
    let mut command: Vec<&str> = Vec::new();
    if has_two_cores() {
        command.extend(["taskset", "-c", if cell.both_cores { "0,1" } else { "0" }]);
    }
    command.extend([&*peers, speaks, entry.kind.name(), "--listen", "127.0.0.1:0"]);
    command.extend(["--workers", &workers]);
    if entry.idle > 0 {
        command.extend(["--connections", &room]);
    }
    command.extend(entry.options);
    Child::start(&command.into_iter().map(str::to_owned).collect::<Vec<_>>())
}

/// The program that is a server, beside this one.
fn peers() -> PathBuf {
    std::env::current_exe().expect("a program knows where it is").with_file_name("peers")
}

fn told(error: std::io::Error) -> String {
    error.to_string()
}

/// New connections, a little to warm up, and then the time itself.
fn one_round(child: &Child, cell: &Cell, time: Duration) -> std::io::Result<Round> {
    let mut load = Load::connect(child.addr, cell.connections, cell.work)?;
    load.run(time / 20)?;
    let spent = || match cell.work {
        // Threads have ended by then; this counts them, in steps of 10 ms.
        Work::Churn { .. } => child.cpu().unwrap_or_default(),
        _ => child.cpu_of_threads(),
    };
    let before = spent();
    let done = load.run(time)?;
    let spent = spent() - before;
    let requests = done.requests as f64;
    let micros = |q: f64| done.latencies.value_at_quantile(q) as f64 / 1e3;
    Ok(Round {
        cpu: spent.as_secs_f64() * 1e6 / requests,
        per_second: requests / done.took.as_secs_f64(),
        p50: micros(0.5),
        p999: micros(0.999),
    })
}

/// `None` where `perf` cannot count.
fn count_calls(child: &Child, load: &mut Load, time: Duration) -> Option<Calls> {
    let perf = Perf::attach(child.pid())?;
    let mut requests = 0;
    let counts = perf.count(|| {
        requests = load.run(time).map_or(0, |done| done.requests);
    });
    let each = |count: u64| count as f64 / requests as f64;
    (requests > 0).then(|| Calls {
        all: each(counts.all),
        wait: each(counts.wait),
        recv: each(counts.recv),
        send: each(counts.send),
        epoll_ctl: each(counts.epoll_ctl),
    })
}

/// How many bytes its reads ask for, as strace sees it; `None` if they differ, or it cannot see.
fn read_size(child: &Child, load: &mut Load) -> Option<u64> {
    let file = std::env::temp_dir().join(format!("peers-reads-{}", child.pid()));
    let pid = child.pid().to_string();
    let mut strace = Command::new("strace")
        .args(["-f", "-e", "trace=recvfrom,read", "-s", "0", "-p", &pid, "-o"])
        .arg(&file)
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .ok()?;
    // It says that it is attached.
    let mut line = String::new();
    let _ = BufReader::new(strace.stderr.take()?).read_line(&mut line);
    let ran = load.run(Duration::from_millis(50));
    let _ = rustix::process::kill_process(
        rustix::process::Pid::from_child(&strace),
        rustix::process::Signal::INT,
    );
    let _ = strace.wait();
    let text = std::fs::read_to_string(&file).unwrap_or_default();
    let _ = std::fs::remove_file(&file);
    ran.ok()?;
    // recvfrom(7, ""..., 65536, 0, NULL, NULL) = 64
    let asked = |line: &str| line.split_once("..., ")?.1.split([',', ')']).next()?.parse().ok();
    let mut sizes = text.lines().filter_map(asked);
    let first: u64 = sizes.next()?;
    sizes.all(|size| size == first).then_some(first)
}
