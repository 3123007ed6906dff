//! The load of one thread: its connections, driven over a poller.

use super::MakeExchange;
use super::conn::{Conn, Heard};
use super::schedule::{Plan, Schedule, grace};
use super::score::{Meter, Score, Tally};
use crate::compare::error::LoadError;
use crate::net::{Addr, Event, Events, Reactor, connect};
use std::num::NonZeroUsize;
use std::time::{Duration, Instant};

/// Events taken by one wait.
const EVENTS: NonZeroUsize = NonZeroUsize::new(1024).unwrap();

/// Bytes read at once.
const READ: usize = 64 * 1024;

/// How long a connection may take to be made, and a response to come, where nothing else says so.
const PATIENCE: Duration = Duration::from_secs(10);

/// Connections, and the thread-bound means to drive them.
pub(crate) struct Driver {
    reactor: Reactor,
    events: Events,
    conns: Vec<Conn>,
    buffer: Vec<u8>,
    in_flight: usize,
}

impl Driver {
    /// Connects `count` times; the connections are numbered from `first` on.
    pub(crate) fn connect(
        addr: &Addr,
        exchange: &MakeExchange,
        first: usize,
        count: usize,
        in_flight: usize,
    ) -> Result<Self, LoadError> {
        let wait = |source| LoadError::Wait { source };
        let reactor = Reactor::new(false).map_err(wait)?;
        let mut conns = Vec::with_capacity(count);
        for number in first..first + count {
            let refused = |source| LoadError::Connect { connection: number, source };
            let stream = connect(addr, Some(PATIENCE), true).map_err(refused)?;
            let key = conns.len();
            let conn = Conn::new(stream, reactor.poller(), key, number, exchange(number));
            conns.push(conn.map_err(refused)?);
        }
        let events = Events::with_capacity(EVENTS);
        Ok(Self { reactor, events, conns, buffer: vec![0; READ], in_flight })
    }

    /// Exchanges one request on each connection, so that the server has made all of them its own.
    pub(crate) fn used_once(mut self) -> Result<Self, LoadError> {
        self.run(Plan::Count(self.conns.len() as u64))?;
        Ok(self)
    }

    /// Carries out a plan. When it returns, the server has nothing left to do for it.
    pub(crate) fn run(&mut self, plan: Plan) -> Result<Tally, LoadError> {
        let mut run = Run::new(plan, self.conns.len(), self.in_flight);
        loop {
            for (at, due) in run.begin_turn() {
                self.conns[at].ask(due)?;
            }
            if run.is_over(&self.conns) {
                return Ok(run.finish());
            }
            let wait = |source| LoadError::Wait { source };
            self.reactor.wait(&mut self.events, Some(run.deadline())).map_err(wait)?;
            run.woken();
            self.hear(&mut run)?;
            if run.is_silent() && !self.conns.iter().all(Conn::is_idle) {
                return Err(LoadError::Silent { within: PATIENCE });
            }
        }
    }

    /// Reads once from each connection that is ready.
    fn hear(&mut self, run: &mut Run) -> Result<(), LoadError> {
        for at in 0..self.events.ready().len() {
            let Event { key, ready, .. } = self.events.ready()[at];
            let conn = &mut self.conns[key as usize];
            if let Heard::Bytes { n, at } = conn.turn(ready, &mut self.buffer)? {
                conn.hear(&self.buffer[..n], at, &mut run.schedule, &mut run.score)?;
                (run.now, run.last_word) = (at, at);
            }
        }
        Ok(())
    }
}

/// A plan that is being carried out.
struct Run {
    plan: Plan,
    schedule: Schedule,
    score: Score,
    meter: Meter,
    now: Instant,
    /// When the server last said something.
    last_word: Instant,
}

impl Run {
    fn new(plan: Plan, conns: usize, in_flight: usize) -> Self {
        let schedule = Schedule::new(plan, conns, in_flight);
        let now = Instant::now();
        Self { plan, schedule, score: Score::new(plan), meter: Meter::new(), now, last_word: now }
    }

    /// What is to be sent now: by which connection, and since when it has been due.
    fn begin_turn(&mut self) -> Vec<(usize, Instant)> {
        self.meter.look(self.now, self.plan);
        let due = self.schedule.due(self.now);
        self.give_up_what_came_too_late();
        due
    }

    /// What is due counts, so it is still sent for a while after the end. Then the rest is given up.
    fn give_up_what_came_too_late(&mut self) {
        if let Plan::Open { begin, end, .. } = self.plan
            && self.now >= end + grace(begin, end)
        {
            for due in self.schedule.give_up() {
                self.score.give_up(due, self.now);
            }
        }
    }

    /// Until when there is nothing to do but to wait for responses.
    fn deadline(&self) -> Instant {
        let silence = self.last_word + PATIENCE;
        self.schedule.deadline(self.now).map_or(silence, |next| next.min(silence))
    }

    fn woken(&mut self) {
        let woken = Instant::now();
        self.meter.waited(self.now, woken);
        self.now = woken;
    }

    fn is_silent(&self) -> bool {
        self.now >= self.last_word + PATIENCE
    }

    /// All that was sent is waited for: the server's CPU time counts until it is answered.
    fn is_over(&self, conns: &[Conn]) -> bool {
        let is_answered = || conns.iter().all(Conn::is_idle);
        match self.plan {
            Plan::Count(n) => self.score.all() >= n,
            Plan::Closed { end, .. } => self.now >= end && is_answered(),
            Plan::Open { end, .. } => self.now >= end && self.schedule.is_empty() && is_answered(),
        }
    }

    fn finish(self) -> Tally {
        let (busy, cpu) = (self.meter.busy(), self.meter.cpu());
        self.score.finish(busy, cpu)
    }
}
