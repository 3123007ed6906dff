//! The threads of a load, which connect, carry out a plan, and keep their connections until the end.

use super::driver::Driver;
use super::schedule::Plan;
use super::score::Tally;
use super::{Load, Point};
use crate::compare::error::LoadError;
use crate::connection::panic_message;
use crate::net::Addr;
use crossbeam_channel::{Receiver, Sender, bounded, unbounded};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread;

/// The load threads of a measurement. They keep their connections until this is dropped.
pub(crate) struct Crew {
    go: Vec<Sender<Plan>>,
    told: Receiver<Result<Option<Tally>, LoadError>>,
}

impl Crew {
    /// Starts the threads, and waits until each of their connections was used once.
    pub(crate) fn connect<'scope>(
        scope: &'scope thread::Scope<'scope, '_>,
        addr: &Addr,
        load: &Load,
        point: Point,
    ) -> Result<Self, LoadError> {
        let n = load.threads.min(point.connections);
        let (tell, told) = unbounded();
        let mut crew = Self { go: Vec::new(), told };
        let mut first = 0;
        for at in 0..n {
            let count = point.connections / n + usize::from(at < point.connections % n);
            let (go, plans) = bounded(1);
            let (addr, exchange, tell) = (addr.clone(), load.exchange().clone(), tell.clone());
            scope.spawn(move || {
                let connect = || Driver::connect(&addr, &exchange, first, count, point.in_flight);
                work(|| connect().and_then(Driver::used_once), &plans, &tell);
            });
            crew.go.push(go);
            first += count;
        }
        for _ in 0..n {
            crew.hear()?;
        }
        Ok(crew)
    }

    pub(crate) fn run(&mut self, plans: Vec<Plan>) -> Result<Vec<Tally>, LoadError> {
        for (go, plan) in self.go.iter().zip(plans) {
            // Nobody has ended: each has said that it is connected.
            let _ = go.send(plan);
        }
        (0..self.go.len()).filter_map(|_| self.hear().transpose()).collect()
    }

    fn hear(&self) -> Result<Option<Tally>, LoadError> {
        let gone = || LoadError::Panic { message: "without a word".to_owned() };
        self.told.recv().map_err(|_| gone())?
    }
}

/// A load thread: says when it is connected, carries out a plan, says what came of it, and keeps its
/// connections until nobody wants another plan.
fn work(
    connect: impl FnOnce() -> Result<Driver, LoadError>,
    plans: &Receiver<Plan>,
    tell: &Sender<Result<Option<Tally>, LoadError>>,
) {
    // Where nobody listens any more, another thread has failed.
    let mut driver = match caught(connect) {
        Ok(driver) => driver,
        Err(error) => return drop(tell.send(Err(error))),
    };
    let _ = tell.send(Ok(None));
    while let Ok(plan) = plans.recv() {
        let _ = tell.send(caught(|| driver.run(plan)).map(Some));
    }
}

/// The exchange is the user's, and may panic.
fn caught<T>(work: impl FnOnce() -> Result<T, LoadError>) -> Result<T, LoadError> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|payload| {
        Err(LoadError::Panic { message: panic_message(payload).to_string() })
    })
}
