//! The table of faults: each row on each backend is a test with a name.

use crate::strace;
use libtest_mimic::Trial;
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

/// Tests that measure how long something takes have the machine to themselves; all others share it.
static QUIET: RwLock<()> = RwLock::new(());

#[derive(Default)]
pub(crate) struct Table(Vec<Trial>);

/// What a test needs from the outside.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Needs {
    Nothing,
    Strace,
}

impl Table {
    /// Adds a row that shares the machine with others.
    pub(crate) fn row(
        &mut self,
        name: &str,
        backends: &[&'static str],
        needs: Needs,
        test: fn(&str),
    ) {
        self.add(name, backends, needs, move |backend| {
            let _shared = QUIET.read().unwrap_or_else(PoisonError::into_inner);
            test(backend);
        });
    }

    /// Adds a row that measures time.
    pub(crate) fn timed(
        &mut self,
        name: &str,
        backends: &[&'static str],
        needs: Needs,
        test: fn(&str),
    ) {
        self.add(name, backends, needs, move |backend| {
            let _alone = QUIET.write().unwrap_or_else(PoisonError::into_inner);
            test(backend);
        });
    }

    /// Adds a row that shares the machine with others, and has its case in the closure.
    pub(crate) fn add(
        &mut self,
        name: &str,
        backends: &[&'static str],
        needs: Needs,
        test: impl Fn(&str) + Clone + Send + 'static,
    ) {
        for &backend in backends {
            let test = test.clone();
            let name = format!("{name}/{backend}");
            self.0.push(Trial::test(name.clone(), move || {
                if needs == Needs::Strace && !strace::works() {
                    return Ok(skip(&name, "strace is missing, or may not trace")?);
                }
                test(backend);
                Ok(())
            }));
        }
    }

    /// As [`add`](Self::add), sharing the machine.
    pub(crate) fn case(
        &mut self,
        name: &str,
        backends: &[&'static str],
        needs: Needs,
        test: impl Fn(&str) + Clone + Send + 'static,
    ) {
        self.add(name, backends, needs, move |backend| {
            let _shared = QUIET.read().unwrap_or_else(PoisonError::into_inner);
            test(backend);
        });
    }

    pub(crate) fn trials(self) -> Vec<Trial> {
        self.0
    }
}

/// Says that a test was skipped, unless nothing may be.
pub(crate) fn skip(name: &str, reason: &str) -> Result<(), String> {
    if std::env::var_os("POLYSERVE_REQUIRE").is_some_and(|value| value == "1") {
        return Err(format!("{name} cannot run: {reason}"));
    }
    println!("SKIP: {name}: {reason}");
    Ok(())
}

/// Says that a test was skipped because the kernel has no such feature, which is allowed always.
pub(crate) fn skip_feature(name: &str, feature: &str) {
    println!("SKIP: {name}: no {feature}");
}
