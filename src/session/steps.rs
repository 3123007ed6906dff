//! The steps of a server's end, told in their order.
//!
//! They are taken on different threads: whoever waits takes those that are due. An observer is told
//! one after the other all the same, and under no lock, so that it may call whatever it likes.

use crate::observe::Observer;
use crate::shutdown::DrainReport;
use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// One step of the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DrainStep {
    Began { grace: Duration, deadline: Duration },
    ListenersClosed,
    Told { live: usize },
    Deadline { left: usize },
    Finished(DrainReport),
}

/// What is to be told, by whoever comes first.
#[derive(Debug, Default)]
pub(super) struct Steps(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// Bits of the steps that were taken: each is told once.
    taken: u8,
    waiting: VecDeque<DrainStep>,
    /// Somebody is telling, and will tell what comes meanwhile.
    telling: bool,
}

const FINISHED: u8 = 16;

impl DrainStep {
    fn bit(self) -> u8 {
        match self {
            DrainStep::Began { .. } => 1,
            DrainStep::ListenersClosed => 2,
            DrainStep::Told { .. } => 4,
            DrainStep::Deadline { .. } => 8,
            DrainStep::Finished(_) => FINISHED,
        }
    }

    pub(super) fn tell(self, observer: &dyn Observer) {
        match self {
            DrainStep::Began { grace, deadline } => observer.drain_began(grace, deadline),
            DrainStep::ListenersClosed => observer.drain_listeners_closed(),
            DrainStep::Told { live } => observer.drain_told(live),
            DrainStep::Deadline { left } => observer.drain_deadline(left),
            DrainStep::Finished(report) => observer.drained(&report),
        }
    }
}

impl Steps {
    /// A step is taken. It is told later, by `tell_all`. `Began` counts only as the first, and
    /// nothing behind the last: a server that has ended may be drained again.
    pub(super) fn take(&self, step: DrainStep) {
        let mut state = self.lock();
        let begins_late = matches!(step, DrainStep::Began { .. }) && state.taken != 0;
        let late = begins_late || state.taken & FINISHED != 0;
        if state.taken & step.bit() == 0 && !late {
            state.taken |= step.bit();
            state.waiting.push_back(step);
        }
    }

    /// Tells what was not told yet, unless somebody is about it already.
    pub(super) fn tell_all(&self, mut tell: impl FnMut(DrainStep)) {
        while let Some(step) = self.next() {
            tell(step);
            self.lock().telling = false;
        }
    }

    fn next(&self) -> Option<DrainStep> {
        let mut state = self.lock();
        if state.telling {
            return None;
        }
        let next = state.waiting.pop_front();
        state.telling = next.is_some();
        next
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEGAN: DrainStep =
        DrainStep::Began { grace: Duration::ZERO, deadline: Duration::from_secs(1) };

    #[test]
    fn each_step_is_told_once_and_in_order_also_from_within() {
        let steps = Steps::default();
        let mut told = Vec::new();
        steps.take(BEGAN);
        steps.take(BEGAN);
        steps.tell_all(|step| {
            told.push(step);
            if step == BEGAN {
                steps.take(DrainStep::ListenersClosed);
                steps.tell_all(|_| panic!("told while another is being told"));
                steps.take(DrainStep::Deadline { left: 1 });
            }
        });
        let expected = [BEGAN, DrainStep::ListenersClosed, DrainStep::Deadline { left: 1 }];
        assert_eq!(told, expected);
    }

    #[test]
    fn nothing_is_told_behind_the_end() {
        let steps = Steps::default();
        let report = DrainReport {
            finished: 0,
            closed: 0,
            killed: 0,
            stuck: 0,
            took: Duration::ZERO,
            finished_all: true,
        };
        steps.take(DrainStep::Finished(report));
        steps.take(DrainStep::Deadline { left: 0 });
        let mut told = Vec::new();
        steps.tell_all(|step| told.push(step));
        assert_eq!(told, [DrainStep::Finished(report)]);
    }

    #[test]
    fn a_drain_that_comes_after_a_stop_is_none() {
        let steps = Steps::default();
        steps.take(DrainStep::Deadline { left: 0 });
        steps.take(BEGAN);
        let mut told = Vec::new();
        steps.tell_all(|step| told.push(step));
        assert_eq!(told, [DrainStep::Deadline { left: 0 }]);
    }
}
