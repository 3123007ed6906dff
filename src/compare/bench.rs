//! What a benchmark harness needs to time a handler on several strategies.

use super::comparison::{Start, start, starter};
use super::host::clock::{process_cpu, thread_cpu};
use super::load::driver::Driver;
use super::load::schedule::Plan;
use super::load::{Load, Point};
use crate::backend::{Backend, Strategy};
use crate::handler::{Handler, Peer};
use crate::server::ServerHandle;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A handler on one strategy, to be timed by criterion or another harness. [`benches`] makes one for
/// each strategy.
///
/// The server and its connections are made at the first use, so that what a filter leaves out costs
/// nothing, and end when this is dropped. Server and load share the process and the machine: what
/// is timed is both of them. For what the server alone costs there is [`cpu`](Self::cpu); for a
/// comparison in processes of their own, with a verdict, [`Comparison`](super::Comparison).
pub struct Bench {
    name: String,
    point: Point,
    load: Load,
    spawn: Arc<Start>,
    make: Box<dyn Fn() -> Box<dyn Backend>>,
    // The connections end before their server does.
    running: Option<(Driver, ServerHandle)>,
}

/// A bench for each of these strategies at each setting of a load's closed loop. This is all that a
/// user's own bench needs, with whichever version of criterion:
///
/// ```
/// # use polyserve::{Action, BoxError, Context, Handler, Input};
/// # struct Echo;
/// # impl Handler for Echo {
/// #     fn on_data(&mut self, input: &mut Input<'_>, cx: &mut Context<'_>) -> Result<Action, BoxError> {
/// #         cx.send(input.take());
/// #         Ok(Action::Continue)
/// #     }
/// # }
/// use criterion::Criterion;
/// use polyserve::Strategy;
/// use polyserve::compare::{Load, benches};
///
/// fn strategies(criterion: &mut Criterion) {
///     let mut group = criterion.benchmark_group("echo");
///     for mut bench in benches(Strategy::ALL, Load::echo(64).connections([8]), |_peer| Echo) {
///         group.bench_function(bench.name(), |b| b.iter_custom(|n| bench.run(n)));
///     }
///     group.finish();
/// }
/// # let quick = Criterion::default().sample_size(10).without_plots();
/// # let short = std::time::Duration::from_millis(20);
/// # strategies(&mut quick.warm_up_time(short).measurement_time(short));
/// ```
///
/// One iteration is one request; with several connections they overlap, so that its time is one
/// divided by the throughput. Rates and idle connections of the load are left out.
///
/// # Panics
/// Neither here nor in [`Bench::name`], but [`Bench::run`] and [`Bench::cpu`] do if the server does
/// not start or a response is wrong: a benchmark has no better way out.
pub fn benches<F, H>(
    strategies: impl IntoIterator<Item = Strategy>,
    load: Load,
    factory: F,
) -> Vec<Bench>
where
    F: Fn(&Peer) -> H + Send + Sync + 'static,
    H: Handler,
{
    let spawn = Arc::new(starter(factory));
    let load = load.rates([]);
    let points = load.points();
    let mut benches = Vec::new();
    for strategy in strategies {
        for point in &points {
            let name = match points.len() {
                1 => strategy.to_string(),
                _ => format!("{strategy}, {}", point.label()),
            };
            let (load, spawn) = (load.clone(), Arc::clone(&spawn));
            let make = Box::new(move || strategy.into_backend());
            benches.push(Bench { name, point: *point, load, spawn, make, running: None });
        }
    }
    benches
}

impl Bench {
    /// The strategy's name, and the setting of the load if there are several.
    pub fn name(&self) -> String {
        self.name.clone()
    }

    /// Exchanges so many requests, and returns how long it took. Every response is checked.
    ///
    /// # Panics
    /// If the server cannot be started, a response is wrong, or none comes for 10 s.
    pub fn run(&mut self, requests: u64) -> Duration {
        let driver = self.driver();
        let began = Instant::now();
        drive(driver, requests);
        began.elapsed()
    }

    /// Exchanges so many requests, and returns the CPU time of the process without that of this
    /// thread, which makes the load: what the server has spent, if nothing else runs in the process.
    /// Zero where the system does not tell (not on Unix).
    ///
    /// # Panics
    /// As [`run`](Self::run).
    pub fn cpu(&mut self, requests: u64) -> Duration {
        let driver = self.driver();
        let spent = || process_cpu()?.checked_sub(thread_cpu()?);
        let before = spent();
        drive(driver, requests);
        let spent = before.and_then(|before| spent()?.checked_sub(before));
        spent.unwrap_or_default()
    }

    fn driver(&mut self) -> &mut Driver {
        let Self { point, load, spawn, make, running, name } = self;
        let connect = || {
            let server = start(spawn, &(Arc::new(|builder| builder) as _), make(), None);
            let server = server.unwrap_or_else(|problem| panic!("{name}: {problem}"));
            let addr = &server.local_addrs()[0];
            let (connections, in_flight) = (point.connections, point.in_flight);
            let driver = Driver::connect(addr, load.exchange(), 0, connections, in_flight);
            (driver.unwrap_or_else(|error| panic!("{name}: {}", told(&error))), server)
        };
        &mut running.get_or_insert_with(connect).0
    }
}

fn drive(driver: &mut Driver, requests: u64) {
    if let Err(error) = driver.run(Plan::Count(requests)) {
        panic!("{}", told(&error));
    }
}

/// An error and what is beneath it.
fn told(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {}", told(source)),
        None => error.to_string(),
    }
}

impl fmt::Debug for Bench {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bench").field("name", &self.name).finish_non_exhaustive()
    }
}
