//! Who is measured at which load, and what is to be reached.

use super::figures::Figure::{self, Calls, Cpu, Idle, IdleMore, Rate};
use super::{Cell, Contest, Entry};
use crate::load::Work;
use crate::servers::Kind;

const SMALL: Work = Work::Echo { size: 64 };
const HTTP: Work = Work::Http { pipelined: 1 };

const fn cell(name: &'static str, connections: usize, work: Work) -> Cell {
    Cell { name, connections, work, both_cores: false }
}

const fn echo(name: &'static str, connections: usize, size: usize) -> Cell {
    cell(name, connections, Work::Echo { size })
}

impl Entry {
    fn new(name: &str, kind: Kind, options: &'static [&'static str]) -> Self {
        let (name, figures) = (name.to_owned(), Vec::new());
        Self { name, kind, options, idle: 0, baseline: 0, figures }
    }

    fn plain(kind: Kind) -> Self {
        Self::new(kind.name(), kind, &[])
    }

    fn ours(name: &str, options: &'static [&'static str]) -> Self {
        Self::new(name, Kind::Polyserve, options)
    }

    fn beside(self, idle: usize) -> Self {
        Self { idle, ..self }
    }

    fn to(self, baseline: usize, figures: impl Into<Vec<Figure>>) -> Self {
        Self { baseline, figures: figures.into(), ..self }
    }

    /// The same program, options and idle connections once more, compared with it.
    pub(super) fn is_again(&self) -> bool {
        self.name.ends_with(", again")
    }

    /// Whether it is the loop, or the threads, by hand.
    pub(super) fn is_baseline(&self) -> bool {
        matches!(self.kind, Kind::Epoll | Kind::StdThreads)
    }

    pub(super) fn is_ours(&self) -> bool {
        self.kind == Kind::Polyserve
    }
}

const EVENT_LOOP: &[&str] = &["--backend", "event-loop:1"];
const TWO_LOOPS: &[&str] = &["--backend", "event-loop:2"];
const PORTABLE: &[&str] = &["--backend", "event-loop:1", "--portable"];
const POOL: &[&str] = &["--backend", "pool:2"];
const POOL_OF_8: &[&str] = &["--backend", "pool:8"];
const POOL_OF_32: &[&str] = &["--backend", "pool:32"];
const THREADS: &[&str] = &["--backend", "threads"];

/// The loads at which this crate is compared with all others.
pub fn beside_others() -> Vec<Contest> {
    let cells = [
        echo("echo 32 B x 1", 1, 32),
        echo("echo 32 B x 50", 50, 32),
        echo("echo 32 B x 500", 500, 32),
        echo("echo 16 KiB x 1", 1, 16 * 1024),
        echo("echo 16 KiB x 50", 50, 16 * 1024),
        echo("echo 16 KiB x 500", 500, 16 * 1024),
        cell("http x 1", 1, HTTP),
        cell("http x 50", 50, HTTP),
        cell("http x 500", 500, HTTP),
        cell("http x 50, 16 at once", 50, Work::Http { pipelined: 16 }),
    ];
    let contest = |cell: Cell| {
        let speaks = |entry: &Entry| entry.kind.speaks(cell.speaks());
        Contest { cell, entries: everybody().into_iter().filter(speaks).collect() }
    };
    cells.map(contest).into()
}

/// The first is the baseline; the second is the same program once more.
fn everybody() -> Vec<Entry> {
    vec![
        Entry::plain(Kind::Epoll),
        Entry::new("epoll, again", Kind::Epoll, &[]),
        Entry::ours("polyserve event-loop:1", EVENT_LOOP),
        Entry::ours("polyserve pool:2", POOL),
        Entry::ours("polyserve threads", THREADS),
        Entry::plain(Kind::StdThreads),
        Entry::plain(Kind::BookPool),
        Entry::plain(Kind::Mio),
        Entry::plain(Kind::TokioCurrentThread),
        Entry::plain(Kind::Tokio),
        Entry::plain(Kind::MessageIo),
        Entry::plain(Kind::MillNet),
        Entry::plain(Kind::TinyHttp),
    ]
}

/// The loads at which this crate has figures to reach, each against the same by hand.
pub fn figures() -> Vec<Contest> {
    // Processor time for each request: of one loop, of two workers, and of threads.
    let mut all = vec![
        scenario(echo("echo 64 B x 1", 1, 64), [1.05, 1.25, 1.03]),
        scenario(echo("echo 64 B x 50", 50, 64), [1.05, 1.15, 1.03]),
        scenario(echo("echo 64 B x 1000", 1_000, 64), [1.05, 1.20, 1.03]),
        scenario(echo("echo 16 KiB x 50", 50, 16 * 1024), [1.05, 1.15, 1.03]),
        scenario(echo("echo 1 MiB x 8", 8, 1024 * 1024), [1.00, 1.00, 1.03]),
        scenario(cell("http x 100", 100, HTTP), [1.05, 1.15, 1.03]),
        scenario(
            cell("http x 100, 16 at once", 100, Work::Http { pipelined: 16 }),
            [1.05, 1.20, 1.03],
        ),
        beside_idle(),
        scenario(
            cell("new connections, 50 at a time", 50, Work::Churn { size: 64 }),
            [1.05, 1.25, 1.05],
        ),
    ];
    let calls = |contest: &mut Contest, most: [f64; 3]| {
        for (at, most) in OURS.into_iter().zip(most) {
            contest.entries[at].figures.push(Calls(most));
        }
    };
    calls(&mut all[0], [3.00, 5.0, 2.00]);
    calls(&mut all[1], [2.05, 3.2, 2.00]);
    all[1].entries.extend([
        Entry::ours("event-loop:1, portable", PORTABLE).to(0, [Cpu(1.10), Calls(2.3)]),
        Entry::ours("pool:8", POOL_OF_8).to(0, [Cpu(1.25)]),
        Entry::ours("pool:32", POOL_OF_32).to(0, [Cpu(1.25)]),
    ]);
    all.extend([beside_many_idle(), blocking(), burning(), two_loops()]);
    all
}

/// The places of this crate's three backends in a scenario.
const OURS: [usize; 3] = [3, 4, 7];

fn scenario(cell: Cell, cpu: [f64; 3]) -> Contest {
    let entries = vec![
        Entry::plain(Kind::Epoll),
        Entry::new("epoll, again", Kind::Epoll, &[]),
        Entry::plain(Kind::Mio),
        Entry::ours("event-loop:1", EVENT_LOOP).to(0, [Cpu(cpu[0])]),
        Entry::ours("pool:2", POOL).to(0, [Cpu(cpu[1])]),
        Entry::plain(Kind::StdThreads).to(5, []),
        Entry::new("std-threads, again", Kind::StdThreads, &[]).to(5, []),
        Entry::ours("threads", THREADS).to(5, [Cpu(cpu[2])]),
    ];
    Contest { cell, entries }
}

/// Ten thousand idle connections, two thousand for threads.
fn beside_idle() -> Contest {
    let mut contest = scenario(
        echo("echo 64 B x 50 beside 10,000 idle (threads: 2,000)", 50, 64),
        [1.05, 1.15, 1.03],
    );
    for (at, entry) in contest.entries.iter_mut().enumerate() {
        entry.idle = if at < 5 { 10_000 } else { 2_000 };
    }
    for (at, figure) in OURS.into_iter().zip([Idle(200.0), Idle(200.0), IdleMore(1024.0)]) {
        contest.entries[at].figures.push(figure);
    }
    contest
}

/// What idle connections cost those who are active: nothing that can be told from noise.
fn beside_many_idle() -> Contest {
    let entries = vec![
        Entry::ours("event-loop:1", EVENT_LOOP),
        Entry::ours("event-loop:1, again", EVENT_LOOP),
        Entry::ours("event-loop:1 beside 19,000", EVENT_LOOP).beside(19_000).to(0, [Cpu(1.00)]),
        Entry::ours("pool:2", POOL).to(3, []),
        Entry::ours("pool:2, again", POOL).to(3, []),
        Entry::ours("pool:2 beside 19,000", POOL).beside(19_000).to(3, [Cpu(1.00)]),
    ];
    Contest { cell: echo("echo 64 B x 50, none and 19,000 idle", 50, 64), entries }
}

fn blocking() -> Contest {
    const ONE: &[&str] = &["--backend", "pool:1", "--toll", "block:1000"];
    const EIGHT: &[&str] = &["--backend", "pool:8", "--toll", "block:1000"];
    let entries = vec![
        Entry::ours("pool:1", ONE),
        Entry::ours("pool:1, again", ONE),
        Entry::ours("pool:8", EIGHT).to(0, [Rate(7.5)]),
    ];
    Contest { cell: cell("handler that blocks for 1 ms x 64", 64, SMALL), entries }
}

/// The load hardly takes any time, so that the server has both cores nearly to itself.
fn burning() -> Contest {
    const ONE: &[&str] = &["--backend", "event-loop:1", "--toll", "burn:500"];
    const TWO: &[&str] = &["--backend", "event-loop:2", "--toll", "burn:500"];
    let entries = vec![
        Entry::ours("event-loop:1", ONE),
        Entry::ours("event-loop:1, again", ONE),
        Entry::ours("event-loop:2", TWO).to(0, [Rate(1.8)]),
    ];
    let cell = cell("handler of 500 µs of CPU x 16, both cores", 16, SMALL);
    Contest { cell: Cell { both_cores: true, ..cell }, entries }
}

/// Published without a figure: here the load takes half of the machine.
fn two_loops() -> Contest {
    let entries = vec![
        Entry::ours("event-loop:1", EVENT_LOOP),
        Entry::ours("event-loop:1, again", EVENT_LOOP),
        Entry::ours("event-loop:2", TWO_LOOPS),
    ];
    let cell = cell("echo 64 B x 50, both cores", 50, SMALL);
    Contest { cell: Cell { both_cores: true, ..cell }, entries }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_figure_has_a_baseline_that_is_measured_against_itself() {
        for contest in figures() {
            for entry in contest.entries.iter().filter(|entry| !entry.figures.is_empty()) {
                let again = |other: &Entry| {
                    let base = &contest.entries[entry.baseline];
                    other.is_again()
                        && other.baseline == entry.baseline
                        && (other.options, other.idle) == (base.options, base.idle)
                };
                assert!(contest.entries.iter().any(again), "{}: {}", contest.cell.name, entry.name);
            }
        }
    }

    #[test]
    fn names_are_used_once() {
        for contests in [figures(), beside_others()] {
            let mut names: Vec<_> = contests.iter().map(|contest| contest.cell.name).collect();
            names.sort_unstable();
            names.dedup();
            assert_eq!(names.len(), contests.len());
        }
    }
}
