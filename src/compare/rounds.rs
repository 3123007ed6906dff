//! The rounds of a comparison: every strategy anew, in an order drawn by lot.

use super::cell::Cell;
use super::comparison::{Case, Comparison, Contender};
use super::error::{CompareError, LoadError};
use super::host::perf::Perf;
use super::host::profile::Profile;
use super::host::{Host, Role};
use super::load::driver::Driver;
use super::load::schedule::Plan;
use super::load::{Load, Point};
use super::measure::{Failed, measure};
use super::progress::Progress;
use super::report::CaseReport;
use super::verdict::stats::Random;
use super::verdict::{Demands, Measured, Verdict};
use std::time::Duration;

impl Comparison {
    pub(super) fn steps(&self, case: &Case) -> usize {
        self.contenders.len() * case.load.points().len() * (self.rounds + 1) + 1
    }

    pub(super) fn run_case(
        &self,
        at: usize,
        progress: &mut Progress,
    ) -> Result<CaseReport, CompareError> {
        let case = &self.cases[at];
        let points = case.load.points();
        let empty = |_: &Contender| vec![Cell::new(); points.len()];
        let mut cells: Vec<Vec<Cell>> = self.contenders.iter().map(empty).collect();
        let profile = self.profile(at, progress)?;
        let mut random = Random::new(self.seed);
        for round in 0..self.rounds {
            let mut order: Vec<usize> = (0..self.contenders.len()).collect();
            random.shuffle(&mut order);
            for contender in order {
                let label = format!("{}: round {} of {}", case.name, round + 1, self.rounds);
                self.visit(at, contender, &mut cells[contender], &label, progress)?;
            }
        }
        self.count_syscalls(at, &mut cells, progress)?;
        let contenders: Vec<_> = self.contenders.iter().map(|c| c.name.clone()).collect();
        let verdict = self.judge(&contenders, &points, &cells);
        let name = case.name.clone();
        let idle = case.load.idle;
        Ok(CaseReport { name, contenders, points, cells, profile, verdict, idle })
    }

    /// One round of one strategy: a fresh server, and every setting of the load.
    fn visit(
        &self,
        case: usize,
        contender: usize,
        cells: &mut [Cell],
        label: &str,
        progress: &mut Progress,
    ) -> Result<(), CompareError> {
        let load = &self.cases[case].load;
        let mut host = self.start(case, contender, false)?;
        let _idle = self.idle(case, contender, &host)?;
        for (cell, point) in cells.iter_mut().zip(load.points()) {
            progress.step(label, &self.contenders[contender].name);
            let measured = measure(&mut host, load, point);
            let (sample, latency) =
                measured.map_err(|failed| self.failed(case, contender, &point.label(), failed))?;
            cell.add(sample, &latency);
        }
        Ok(())
    }

    fn start(&self, case: usize, contender: usize, is_timed: bool) -> Result<Host, CompareError> {
        let started = match self.own_process {
            true => Host::process(Role { case, contender, is_timed }, &self.server_args),
            false => {
                let spawn = self.spawn_of(&self.cases[case]);
                Host::thread(&spawn, (self.contenders[contender].make)(), is_timed)
            }
        };
        started.map_err(|problem| self.failed(case, contender, "", Failed::Server(problem)))
    }

    /// Connections that stay open beside, each of which was used once.
    fn idle(
        &self,
        case: usize,
        contender: usize,
        host: &Host,
    ) -> Result<Option<Driver>, CompareError> {
        let load = &self.cases[case].load;
        if load.idle == 0 {
            return Ok(None);
        }
        let first = load.points().iter().map(|point| point.connections).max().unwrap_or(0);
        let connected = Driver::connect(&host.addr(), load.exchange(), first, load.idle, 1);
        connected
            .and_then(Driver::used_once)
            .map(Some)
            .map_err(|error| self.failed(case, contender, "the idle connections", error.into()))
    }

    /// What the handler does with its time, found out with one connection to the first strategy.
    fn profile(&self, at: usize, progress: &mut Progress) -> Result<Option<Profile>, CompareError> {
        let case = &self.cases[at];
        progress.step(&format!("{}: timing the handler", case.name), &self.contenders[0].name);
        let mut host = self.start(at, 0, true)?;
        let point = Point { connections: 1, in_flight: 1, rate: None };
        let load = case.load.clone().warm_up(Duration::ZERO);
        let load = load.window(case.load.window.max(Duration::from_millis(50)));
        measure(&mut host, &load, point)
            .map_err(|failed| self.failed(at, 0, "1 connection", failed))?;
        host.profile().map_err(|problem| self.failed(at, 0, "", Failed::Server(problem)))
    }

    /// Counts the system calls of each strategy at each setting, after the rounds, so that the
    /// counting slows none of them down.
    fn count_syscalls(
        &self,
        at: usize,
        cells: &mut [Vec<Cell>],
        progress: &mut Progress,
    ) -> Result<(), CompareError> {
        let load = &self.cases[at].load;
        let label = format!("{}: counting system calls", self.cases[at].name);
        for (contender, cells) in cells.iter_mut().enumerate() {
            let host = self.start(at, contender, false)?;
            let _idle = self.idle(at, contender, &host)?;
            for (cell, point) in cells.iter_mut().zip(load.points()) {
                progress.step(&label, &self.contenders[contender].name);
                // About a tenth of a second.
                let requests = (cell.throughput() / 10.0).clamp(20.0, 20_000.0) as u64;
                let requests = requests.max(point.connections as u64);
                let counted = syscalls(&host, load, point, requests);
                let counted =
                    counted.map_err(|e| self.failed(at, contender, &point.label(), e.into()))?;
                let Some(count) = counted else { return Ok(()) };
                cell.syscalls = Some(count as f64 / requests as f64);
            }
        }
        Ok(())
    }

    fn judge(&self, contenders: &[String], points: &[Point], cells: &[Vec<Cell>]) -> Verdict {
        let of_row = |row| <[Cell]>::iter(row).map(Cell::rounds).collect();
        let samples = cells.iter().map(|row| of_row(row)).collect();
        let measured = Measured { contenders, points, samples };
        let alpha = 1.0 - self.confidence;
        Verdict::of(&measured, Demands { alpha, margin: self.margin, seed: self.seed })
    }

    fn failed(&self, case: usize, contender: usize, point: &str, failed: Failed) -> CompareError {
        let case = self.cases[case].name.clone();
        let contender = self.contenders[contender].name.clone();
        match failed {
            Failed::Server(problem) => CompareError::Server { case, contender, problem },
            Failed::Load(source) => {
                CompareError::Load { case, contender, point: point.to_owned(), source }
            }
        }
    }
}

/// The system calls that a server makes for so many requests. `None` where they cannot be counted.
fn syscalls(
    host: &Host,
    load: &Load,
    point: Point,
    requests: u64,
) -> Result<Option<u64>, LoadError> {
    let Some(pid) = host.pid() else { return Ok(None) };
    let (connections, in_flight) = (point.connections, point.in_flight);
    let mut driver =
        Driver::connect(&host.addr(), load.exchange(), 0, connections, in_flight)?.used_once()?;
    let Some(mut perf) = Perf::attach(pid) else { return Ok(None) };
    if !perf.say("enable") {
        return Ok(None);
    }
    driver.run(Plan::Count(requests))?;
    perf.say("disable");
    Ok(perf.count())
}
