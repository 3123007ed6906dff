//! The end of a server, step by step.
//!
//! ```text
//!  begin          begin + grace                   deadline      + 0.8 s     + 1 s
//!    | still accepting | backlog emptied,             | what is     | what is   | what is left
//!    |                 | listeners closed,            | left is     | left is   | is stuck, and
//!    |                 | handlers told: Draining      | closed:     | reset:    | reported
//!    |                 |                              | Killing     | Stopped   |
//! ```
//!
//! If there is no place for those in the backlog, handlers are told first, and the backlog is accepted
//! as places become free.
//!
//! Nobody need watch the clock for it but those who wait anyway: the acceptor, and whoever called
//! `drain` or `join`. Each of them [advances](Shutdown::advance) the steps that are due.

use crate::connection::Phase;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How long after the deadline connections may linger before they are reset.
const LINGER: Duration = Duration::from_millis(800);
/// How long after the deadline the server gives up on what is left.
const GIVE_UP: Duration = Duration::from_secs(1);

/// The plan of the end, and the bell of all who wait for it.
#[derive(Debug, Default)]
pub(crate) struct Shutdown {
    state: Mutex<State>,
    changed: Condvar,
    /// There is a plan: what handlers may ask at each request, without the lock.
    planned: AtomicBool,
}

#[derive(Debug, Default)]
struct State {
    plan: Option<Plan>,
    /// The backlogs are empty, or wait for places that only the end of others makes.
    may_tell: bool,
    /// The last phase that was announced to the connections.
    announced: Option<Phase>,
    /// The backend has returned.
    ended: bool,
    /// Counts the changes, so that none is missed between a look and a wait.
    version: u64,
}

#[derive(Debug, Clone, Copy)]
struct Plan {
    began: Instant,
    grace_until: Instant,
    deadline: Instant,
}

/// What is due now, and when to ask again.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Step {
    /// Enter this phase, and wake all connections.
    pub(crate) enter: Option<Phase>,
    /// When the next step is due.
    pub(crate) next: Option<Instant>,
    /// Nobody need wait any more, whatever is still there.
    pub(crate) give_up: bool,
}

impl Shutdown {
    /// Plans the end, or brings it closer. Returns whether this was the first plan.
    pub(crate) fn plan(&self, now: Instant, grace: Duration, deadline: Duration) -> bool {
        let far = now + Duration::from_secs(60 * 60 * 24 * 365);
        let grace_until = now.checked_add(grace.min(deadline)).unwrap_or(far);
        let deadline = now.checked_add(deadline).unwrap_or(far);
        let mut state = self.lock();
        let first = state.plan.is_none();
        let plan = state.plan.get_or_insert(Plan { began: now, grace_until, deadline });
        plan.grace_until = plan.grace_until.min(grace_until);
        plan.deadline = plan.deadline.min(deadline);
        self.planned.store(true, Ordering::Relaxed);
        self.announce(state);
        first
    }

    /// Plans the end for now, with nothing left to wait for.
    pub(crate) fn plan_stop(&self, now: Instant) -> bool {
        let past = now.checked_sub(LINGER).unwrap_or(now);
        let mut state = self.lock();
        let first = state.plan.is_none();
        let began = state.plan.map_or(now, |plan| plan.began);
        let deadline = state.plan.map_or(past, |plan| plan.deadline.min(past));
        state.plan = Some(Plan { began, grace_until: now, deadline });
        self.planned.store(true, Ordering::Relaxed);
        self.announce(state);
        first
    }

    /// Whether the grace is over, so that listeners are to be closed.
    pub(crate) fn closes_listeners(&self, now: Instant) -> bool {
        self.lock().plan.is_some_and(|plan| plan.grace_until <= now)
    }

    /// The backlogs are empty, or wait for places: the phase may become `Draining`.
    pub(crate) fn handlers_may_be_told(&self) {
        let mut state = self.lock();
        state.may_tell = true;
        self.announce(state);
    }

    /// The backend has returned.
    pub(crate) fn has_come_to_its_end(&self) {
        let mut state = self.lock();
        state.ended = true;
        self.announce(state);
    }

    /// Whether the backend has returned.
    pub(crate) fn has_ended(&self) -> bool {
        self.lock().ended
    }

    /// Which change was the last.
    pub(crate) fn version(&self) -> u64 {
        self.lock().version
    }

    /// Whether the end has begun.
    pub(crate) fn has_begun(&self) -> bool {
        self.planned.load(Ordering::Relaxed)
    }

    /// When the drain began, if it did.
    pub(crate) fn began(&self) -> Option<Instant> {
        self.lock().plan.map(|plan| plan.began)
    }

    /// What is due at `now`. Each phase is entered once, by whoever asks first.
    pub(crate) fn advance(&self, now: Instant) -> Step {
        let mut state = self.lock();
        let Some(plan) = state.plan else { return Step::default() };
        let (stop_at, end) = (plan.deadline + LINGER, plan.deadline + GIVE_UP);
        let (phase, next) = if now >= stop_at {
            (Some(Phase::Stopped), Some(end))
        } else if now >= plan.deadline {
            (Some(Phase::Killing), Some(stop_at))
        } else if state.may_tell {
            (Some(Phase::Draining), Some(plan.deadline))
        } else if now < plan.grace_until {
            (None, Some(plan.grace_until))
        } else {
            (None, Some(plan.deadline))
        };
        let give_up = now >= end;
        let enter = phase.filter(|phase| state.announced.is_none_or(|last| last < *phase));
        state.announced = state.announced.max(phase);
        Step { enter, next: next.filter(|_| !give_up), give_up }
    }

    /// Waits until something has changed since `version`, or for `next`.
    pub(crate) fn wait(&self, version: u64, next: Option<Instant>) {
        let state = self.lock();
        let same = |state: &mut State| state.version == version;
        match next {
            None => {
                let waited = self.changed.wait_while(state, same);
                drop(waited.unwrap_or_else(PoisonError::into_inner));
            }
            Some(next) => {
                let left = next.saturating_duration_since(Instant::now());
                let waited = self.changed.wait_timeout_while(state, left, same);
                drop(waited.unwrap_or_else(PoisonError::into_inner));
            }
        }
    }

    /// Has all who wait look again. What they look at must have changed before.
    pub(crate) fn notify(&self) {
        self.announce(self.lock());
    }

    fn announce(&self, mut state: MutexGuard<'_, State>) {
        state.version += 1;
        drop(state);
        self.changed.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How a drain went.
///
/// [`ServerHandle::drain`](crate::ServerHandle::drain) returns it. Of a drain that was begun
/// otherwise, by a signal or by [`Control::begin_drain`](crate::Control::begin_drain), an
/// [`Observer`](crate::Observer) is told it, by `drained`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct DrainReport {
    /// Connections that ended by themselves since the drain began: those that had something left to
    /// do when their handler was told, and did it; and those that ended before they were told, within
    /// the grace, or for another reason, such as a reset.
    pub finished: u64,
    /// Connections that were idle, or that their handler gave up: `on_shutdown` returned `Close`.
    /// What it sends with that is a farewell, written and lingered for, but no work that was
    /// finished.
    pub closed: u64,
    /// Connections that were left at the deadline, and were closed by force.
    pub killed: u64,
    /// Connections whose handler did not return even then, and with an event loop, whose loop did
    /// not because of another's handler: nobody else may run them. They are left to themselves,
    /// because a thread cannot be ended, and end when that handler returns. With a thread for each
    /// connection their sockets are shut down, which ends a handler that blocks in one.
    pub stuck: usize,
    /// From the beginning of the drain until now.
    pub took: Duration,
    /// Whether the drain is over and nothing is left: `false` if something is stuck, or if the
    /// drain was asked for on one of the server's own threads and has only begun.
    pub finished_all: bool,
}

impl fmt::Display for DrainReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "drained in {:.3} s: {} finished, {} closed, {} killed, {} stuck",
            self.took.as_secs_f64(),
            self.finished,
            self.closed,
            self.killed,
            self.stuck,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: Duration = Duration::from_secs(1);

    #[test]
    fn the_steps_come_in_order_and_once() {
        let now = Instant::now();
        let shutdown = Shutdown::default();
        assert_eq!(shutdown.advance(now), Step::default());
        assert!(shutdown.plan(now, 2 * S, 10 * S));
        assert_eq!(shutdown.advance(now).next, Some(now + 2 * S));
        assert!(!shutdown.closes_listeners(now + S));
        assert!(shutdown.closes_listeners(now + 2 * S));
        shutdown.handlers_may_be_told();
        let step = shutdown.advance(now + 2 * S);
        assert_eq!((step.enter, step.next), (Some(Phase::Draining), Some(now + 10 * S)));
        assert_eq!(shutdown.advance(now + 3 * S).enter, None);
        assert_eq!(shutdown.advance(now + 10 * S).enter, Some(Phase::Killing));
        let step = shutdown.advance(now + 11 * S);
        assert_eq!((step.enter, step.give_up), (Some(Phase::Stopped), true));
    }

    #[test]
    fn a_second_plan_can_only_bring_the_end_closer() {
        let now = Instant::now();
        let shutdown = Shutdown::default();
        assert!(shutdown.plan(now, S, 10 * S));
        assert!(!shutdown.plan(now, 5 * S, 20 * S));
        assert_eq!(shutdown.advance(now).next, Some(now + S));
        assert!(!shutdown.plan_stop(now));
        assert_eq!(shutdown.advance(now).enter, Some(Phase::Stopped));
    }

    #[test]
    fn never_is_a_long_time() {
        let shutdown = Shutdown::default();
        shutdown.plan(Instant::now(), Duration::MAX, Duration::MAX);
        assert!(!shutdown.advance(Instant::now()).give_up);
    }
}
