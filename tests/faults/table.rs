//! The table of faults: each row on each backend is a test with a name.

use crate::network::{self, Network};
use crate::results::{self, Case, Outcome};
use crate::strace;
use libtest_mimic::Trial;
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{PoisonError, RwLock};

/// A thread for each connection.
pub(crate) const T: &str = "threads";
/// A pool.
pub(crate) const P: &str = "pool:2";
/// Event loops.
pub(crate) const E: &str = "event-loop:2";
/// Event loops that wait by `polling` alone.
pub(crate) const EP: &str = "portable-event-loop:2";
/// A pool that waits by `polling` alone.
pub(crate) const PP: &str = "portable-pool:2";

pub(crate) const ALL: &[&str] = &[T, P, E, EP, PP];

/// For what depends on how many threads there are: also a larger pool, and a single loop.
pub(crate) const EVERY: &[&str] = &[T, "pool:4", "event-loop:1", E, EP, PP];

/// Tests that measure how long something takes have the machine to themselves; all others share it.
static QUIET: RwLock<()> = RwLock::new(());

/// How many cases could not run here.
static SKIPPED: AtomicUsize = AtomicUsize::new(0);

#[derive(Default)]
pub(crate) struct Table {
    trials: Vec<Trial>,
    /// The names, without the backends.
    cases: BTreeSet<String>,
}

/// What a test needs from the outside.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Needs {
    Nothing,
    Strace,
    /// A network of its own, with rules for packets.
    Network,
}

/// Why a test cannot run here.
enum Missing {
    Tool(String),
    Feature(&'static str),
}

impl Needs {
    fn missing(self) -> Option<Missing> {
        let is_missing = |tool: &&&str| !has(tool);
        match self {
            Needs::Strace if !strace::works() => {
                Some(Missing::Tool("strace is missing, or may not trace".to_owned()))
            }
            Needs::Network => match network::TOOLS.iter().find(is_missing) {
                Some(tool) => Some(Missing::Tool(format!("{tool} is missing"))),
                None if !Network::works() => Some(Missing::Feature("network namespace")),
                None => None,
            },
            _ => None,
        }
    }
}

/// Whether a program of this name is installed.
fn has(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|dir| dir.join(program).is_file())
}

/// Which of the other tests may run meanwhile.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Machine {
    Shared,
    Alone,
}

impl Machine {
    /// Runs a test when the machine is as it should be.
    fn run<R>(self, test: impl FnOnce() -> R) -> R {
        match self {
            Machine::Shared => {
                let _shared = QUIET.read().unwrap_or_else(PoisonError::into_inner);
                test()
            }
            Machine::Alone => {
                let _alone = QUIET.write().unwrap_or_else(PoisonError::into_inner);
                test()
            }
        }
    }
}

impl Table {
    /// Adds a row that shares the machine with others. Its name is that of the row of
    /// docs/reliability.md, and after a slash that of the case.
    pub(crate) fn row(
        &mut self,
        name: &str,
        backends: &[&'static str],
        needs: Needs,
        test: fn(&str),
    ) {
        self.add(name, backends, needs, Machine::Shared, test);
    }

    /// Adds a row that measures time, or binds a port again: alone.
    pub(crate) fn timed(
        &mut self,
        name: &str,
        backends: &[&'static str],
        needs: Needs,
        test: fn(&str),
    ) {
        self.add(name, backends, needs, Machine::Alone, test);
    }

    /// Adds a row that shares the machine with others, and has its case in the closure.
    pub(crate) fn case(
        &mut self,
        name: &str,
        backends: &[&'static str],
        needs: Needs,
        test: impl Fn(&str) + Clone + Send + 'static,
    ) {
        self.add(name, backends, needs, Machine::Shared, test);
    }

    fn add(
        &mut self,
        name: &str,
        backends: &[&'static str],
        needs: Needs,
        machine: Machine,
        test: impl Fn(&str) + Clone + Send + 'static,
    ) {
        assert!(self.cases.insert(name.to_owned()), "{name} is there twice");
        for &backend in backends {
            let (test, name) = (test.clone(), name.to_owned());
            self.trials.push(Trial::test(format!("{name}/{backend}"), move || {
                let (row, case) = name.split_once('/').expect("a row and a case");
                let case = Case { suite: "faults", row, case, backend };
                let outcome = machine.run(|| {
                    case.run(|| {
                        let name = format!("{name}/{backend}");
                        match needs.missing() {
                            Some(Missing::Tool(reason)) => return skip(&name, &reason),
                            Some(Missing::Feature(feature)) => skip_feature(&name, feature),
                            None => test(backend),
                        }
                        Ok(())
                    })
                })?;
                let skipped = usize::from(outcome == Outcome::Skipped);
                SKIPPED.fetch_add(skipped, Ordering::Relaxed);
                Ok(())
            }));
        }
    }

    pub(crate) fn cases(&self) -> &BTreeSet<String> {
        &self.cases
    }

    pub(crate) fn trials(self) -> Vec<Trial> {
        self.trials
    }
}

/// How many cases were skipped, of those that ran so far.
pub(crate) fn skipped() -> usize {
    SKIPPED.load(Ordering::Relaxed)
}

/// Says that a test was skipped, unless nothing may be.
pub(crate) fn skip(name: &str, reason: &str) -> Result<(), String> {
    if std::env::var_os("POLYSERVE_REQUIRE").is_some_and(|value| value == "1") {
        return Err(format!("{name} cannot run: {reason}"));
    }
    println!("SKIP: {name}: {reason}");
    results::skipped(reason);
    Ok(())
}

/// What a kernel may lack, and some do: only for want of one of these may a case be skipped where
/// every tool is required.
const FEATURES: [&str; 3] = [
    "pids controller of cgroup v1 that is ours",
    "port that needs a privilege",
    "network namespace",
];

/// Says that a test was skipped because the kernel has no such feature, which is allowed always.
pub(crate) fn skip_feature(name: &str, feature: &str) {
    assert!(FEATURES.contains(&feature), "{feature:?} is none of those that may be missing");
    println!("SKIP: {name}: no {feature}");
    results::skipped(&format!("no {feature}"));
}
