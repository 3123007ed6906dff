//! Putting a comparison together, and running it.

use super::error::CompareError;
use super::host::profile::{Stopwatch, Timed};
use super::host::{self, Role, Spawn};
use super::load::Load;
use super::progress::Progress;
use super::report::Report;
use crate::backend::{Backend, Strategy};
use crate::handler::{Handler, Peer};
use crate::serve_error::ServeError;
use crate::server::{Builder, Server, ServerHandle};
use std::ffi::OsString;
use std::fmt;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Compares strategies for handlers of yours: see the [module](super).
///
/// ```
/// use polyserve::compare::{Comparison, Load};
/// use polyserve::{Action, BoxError, Context, Handler, Input, Strategy};
/// use std::time::Duration;
///
/// struct Echo;
/// impl Handler for Echo {
///     fn on_data(&mut self, input: &mut Input<'_>, cx: &mut Context<'_>) -> Result<Action, BoxError> {
///         cx.send(input.take());
///         Ok(Action::Continue)
///     }
/// }
///
/// let load = Load::echo(64).connections([2]).window(Duration::from_millis(20));
/// let report = Comparison::new()
///     .strategies(Strategy::ALL)
///     .case("echo", load, |_peer| Echo)
///     .rounds(2) // thirty where it counts
///     .in_process() // documentation tests cannot be started again as a server
///     .quiet()
///     .run()?;
/// println!("{report}");
/// assert!(report.cases()[0].cell(0, 0).throughput() > 0.0);
/// # Ok::<(), polyserve::compare::CompareError>(())
/// ```
pub struct Comparison {
    pub(super) contenders: Vec<Contender>,
    pub(super) cases: Vec<Case>,
    configure: Configure,
    pub(super) rounds: usize,
    pub(super) seed: u64,
    pub(super) margin: f64,
    pub(super) confidence: f64,
    pub(super) own_process: bool,
    pub(super) server_args: Vec<OsString>,
    is_quiet: bool,
}

/// Sets what all servers have in common.
type Configure = Arc<dyn Fn(Builder) -> Builder + Send + Sync>;

/// A strategy and its name.
pub(super) struct Contender {
    pub(super) name: String,
    pub(super) make: Box<dyn Fn() -> Box<dyn Backend> + Send + Sync>,
}

/// A handler and its load.
pub(super) struct Case {
    pub(super) name: String,
    pub(super) load: Load,
    spawn: Start,
}

/// Starts a server of these settings with a handler, whose calls are timed if there is a stopwatch.
pub(super) type Start =
    Box<dyn Fn(Builder, Option<Arc<Stopwatch>>) -> Result<ServerHandle, ServeError> + Send + Sync>;

/// What starts servers for this factory. The handler's type stays known to the server, so that
/// nothing is measured but what the server would do anyway.
pub(super) fn starter<F, H>(factory: F) -> Start
where
    F: Fn(&Peer) -> H + Send + Sync + 'static,
    H: Handler,
{
    let factory = Arc::new(factory);
    Box::new(move |builder, watch| {
        let factory = Arc::clone(&factory);
        match watch {
            None => builder.spawn(move |peer| factory(peer)),
            Some(watch) => builder.spawn(move |peer| Timed::new(factory(peer), Arc::clone(&watch))),
        }
    })
}

impl Comparison {
    /// A comparison without strategies and cases: 30 rounds, a random seed, a margin of 5 %, 99 %
    /// confidence, a process for each server, a progress line where standard error is a terminal.
    pub fn new() -> Self {
        Self {
            contenders: Vec::new(),
            cases: Vec::new(),
            configure: Arc::new(|builder| builder),
            rounds: 30,
            seed: RandomState::new().build_hasher().finish(),
            margin: 0.05,
            confidence: 0.99,
            own_process: true,
            server_args: std::env::args_os().skip(1).collect(),
            is_quiet: false,
        }
    }

    /// Adds built-in strategies, under their own names.
    pub fn strategies(mut self, strategies: impl IntoIterator<Item = Strategy>) -> Self {
        for strategy in strategies {
            self = self.backend(strategy.to_string(), move || strategy);
        }
        self
    }

    /// Adds a backend of your own, or a built-in one with other settings. `make` is called for
    /// each server.
    pub fn backend<B: Backend>(
        mut self,
        name: impl Into<String>,
        make: impl Fn() -> B + Send + Sync + 'static,
    ) -> Self {
        let make = Box::new(move || Box::new(make()) as Box<dyn Backend>);
        self.contenders.push(Contender { name: name.into(), make });
        self
    }

    /// Adds a case: a handler, by its factory, and the load that it gets. Each case has a verdict
    /// of its own.
    pub fn case<F, H>(mut self, name: impl Into<String>, load: Load, factory: F) -> Self
    where
        F: Fn(&Peer) -> H + Send + Sync + 'static,
        H: Handler,
    {
        self.cases.push(Case { name: name.into(), load, spawn: starter(factory) });
        self
    }

    /// Changes the settings of each server: limits, time-outs, a layer. Its backend and its address
    /// are set afterwards.
    pub fn server(
        mut self,
        configure: impl Fn(Builder) -> Builder + Send + Sync + 'static,
    ) -> Self {
        self.configure = Arc::new(configure);
        self
    }

    /// How many rounds there are (at least one). In each, every strategy is started anew and
    /// measured once at every setting, in an order drawn by lot. Below about 12 no claim is
    /// possible; 30 are the default.
    pub fn rounds(mut self, rounds: usize) -> Self {
        self.rounds = rounds.max(1);
        self
    }

    /// What the order in the rounds is drawn from, so that a run can be repeated. The report says
    /// which one it was.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// From which difference on you care: 0.05 is 5 %, the default. Smaller ones are not claimed,
    /// and strategies that are proven to be nearer to each other count as the same. Values below
    /// zero count as zero.
    pub fn margin(mut self, margin: f64) -> Self {
        self.margin = margin.max(0.0);
        self
    }

    /// How sure the verdict of a case must be: 0.99 is the default. It is the probability that no
    /// wrong difference is claimed in the whole case. Kept between 0.5 and 0.9999.
    pub fn confidence(mut self, confidence: f64) -> Self {
        self.confidence = confidence.clamp(0.5, 0.9999);
        self
    }

    /// Runs the servers as threads of this process, rather than in processes of their own: for
    /// programs that cannot be started again. The CPU time of a server is then that of the process
    /// without the load threads, so nothing else may run in it meanwhile; threads, peak memory and
    /// system calls are missing.
    pub fn in_process(mut self) -> Self {
        self.own_process = false;
        self
    }

    /// The arguments with which this program is started again as a server. They must make it come
    /// to this very [`run`](Self::run). Default: those that it was started with.
    pub fn server_args<A: Into<OsString>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.server_args = args.into_iter().map(Into::into).collect();
        self
    }

    /// Shows no progress.
    pub fn quiet(mut self) -> Self {
        self.is_quiet = true;
        self
    }

    /// How long a run takes at least: the warm-ups and windows of all cells.
    pub fn least_time(&self) -> Duration {
        let of = |case: &Case| {
            let cells = case.load.points().len() * self.contenders.len() * self.rounds;
            (case.load.warm_up + case.load.window) * cells as u32
        };
        self.cases.iter().map(of).sum()
    }

    /// Measures everything.
    ///
    /// # This program is started again
    ///
    /// Each server is this very program in a process of its own, started with the same arguments:
    /// it comes to the same `run`, which then serves and **does not return**. So what stands before
    /// it in `main` is done in every one of those processes as well: keep it short, and without
    /// side effects. A program may run one such comparison, with as many cases as it likes. See
    /// [`in_process`](Self::in_process) for programs to which this does not suit, criterion's
    /// benches among them.
    ///
    /// # Errors
    /// There is no strategy or no case, a server did not start, or a response was wrong. See
    /// [`CompareError`].
    pub fn run(self) -> Result<Report, CompareError> {
        self.check()?;
        if self.own_process {
            if let Some(role) = Role::of_process() {
                self.serve(role);
            }
            // The servers of a second one would come to the first one.
            static HAS_RUN: AtomicBool = AtomicBool::new(false);
            if HAS_RUN.swap(true, Ordering::Relaxed) {
                return Err(setup(
                    "a program may run one comparison with servers in processes of their own; \
                     put all cases into it, or run them in process",
                ));
            }
        }
        let steps = self.cases.iter().map(|case| self.steps(case)).sum();
        let mut progress = Progress::new(steps, self.is_quiet);
        let mut report = Report::new(self.rounds, self.seed, self.margin, self.confidence);
        for case in 0..self.cases.len() {
            report.cases.push(self.run_case(case, &mut progress)?);
        }
        Ok(report)
    }

    fn check(&self) -> Result<(), CompareError> {
        if self.contenders.is_empty() {
            return Err(setup("no strategy was added"));
        }
        if self.cases.is_empty() {
            return Err(setup("no case was added"));
        }
        match self.cases.iter().find(|case| case.load.points().is_empty()) {
            Some(case) => Err(setup(format!("the load of {:?} has no connections", case.name))),
            None => Ok(()),
        }
    }

    /// The life of a server's process.
    fn serve(&self, role: Role) -> ! {
        let (Some(case), Some(contender)) =
            (self.cases.get(role.case), self.contenders.get(role.contender))
        else {
            eprintln!("this program, started again, has another comparison than before");
            std::process::exit(2);
        };
        host::serve(&self.spawn_of(case), (contender.make)(), role.is_timed)
    }

    pub(super) fn spawn_of<'a>(&'a self, case: &'a Case) -> Spawn<'a> {
        Box::new(move |backend, watch| start(&case.spawn, &self.configure, backend, watch))
    }
}

/// Starts a server on a free port of this machine.
pub(super) fn start(
    spawn: &Start,
    configure: &Configure,
    backend: Box<dyn Backend>,
    watch: Option<Arc<Stopwatch>>,
) -> Result<ServerHandle, String> {
    let builder = configure(Server::builder()).backend(backend);
    let builder = builder.bind("127.0.0.1:0").map_err(|error| error.to_string())?;
    spawn(builder, watch).map_err(|error| error.to_string())
}

fn setup(problem: impl Into<String>) -> CompareError {
    CompareError::Setup { problem: problem.into() }
}

impl Default for Comparison {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let contenders: Vec<_> = self.contenders.iter().map(|c| &c.name).collect();
        let cases: Vec<_> = self.cases.iter().map(|c| (&c.name, &c.load)).collect();
        f.debug_struct("Comparison")
            .field("contenders", &contenders)
            .field("cases", &cases)
            .field("rounds", &self.rounds)
            .field("seed", &self.seed)
            .field("margin", &self.margin)
            .field("confidence", &self.confidence)
            .field("own_process", &self.own_process)
            .finish_non_exhaustive()
    }
}
