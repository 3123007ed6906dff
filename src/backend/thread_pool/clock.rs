//! The deadlines of a pool's sessions, and who sees to them.
//!
//! Where there is an [`Alarm`], it ends the wait of one worker when the nearest is due, and no wait
//! has a time-out. Elsewhere each wait has one, and some worker has to wait for the nearest deadline
//! at any time.

use crate::backend::slots::Key;
use crate::backend::timers::{Moment, TimerState, Timers};
use crate::net::{Alarm, Reactor};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// "Never", among deadlines in microseconds.
const NEVER: u64 = u64::MAX;

pub(super) struct Clock {
    set: Mutex<Set>,
    /// The alarm is set for the nearest deadline, if there is one.
    is_alarmed: AtomicBool,
    /// It has gone off, so something may be due.
    went_off: AtomicBool,
    /// The latest wake-up that was taken. Those before it were taken as well.
    taken: AtomicU64,
    /// The nearest deadline of all, in microseconds since `epoch`.
    nearest: AtomicU64,
    /// Without an alarm: until when each worker waits; `NEVER` if it does not wait, or waits without a
    /// deadline.
    waits_until: Box<[AtomicU64]>,
    epoch: Instant,
}

struct Set {
    timers: Timers,
    alarm: Option<Alarm>,
}

impl Clock {
    pub(super) fn new(reactor: &Reactor, workers: usize) -> Self {
        let alarm = Alarm::new(reactor);
        Self {
            is_alarmed: AtomicBool::new(alarm.is_some()),
            set: Mutex::new(Set { timers: Timers::default(), alarm }),
            went_off: AtomicBool::new(false),
            taken: AtomicU64::new(0),
            nearest: AtomicU64::new(NEVER),
            waits_until: (0..workers).map(|_| AtomicU64::new(NEVER)).collect(),
            epoch: Instant::now(),
        }
    }

    /// Sets a session's wake-up. `true` if those who wait have to look at the clock anew.
    pub(super) fn set(&self, key: Key, state: &mut TimerState, deadline: Option<Instant>) -> bool {
        if deadline.is_none_or(|deadline| !state.is_later_than(deadline)) {
            return false;
        }
        let mut set = self.lock();
        let is_nearest = set.timers.set(key, state, deadline);
        let is_seen_to = self.note_nearest(&mut set);
        drop(set);
        is_seen_to || is_nearest && !self.is_alarmed()
    }

    /// Takes one wake-up that was due `by` then, and tells for which slot, and whether there are more.
    /// Nobody else is told of those: the caller takes them too, or sees to it that somebody does.
    pub(super) fn due(&self, by: Instant) -> Option<(u32, Moment, bool)> {
        if !self.may_be_due() {
            return None;
        }
        let mut set = self.lock();
        // What goes off from here on is seen by a later look.
        self.went_off.store(false, Ordering::SeqCst);
        let due = set.timers.pop_due(by);
        if due.is_some() {
            self.taken.store(set.timers.passed(), Ordering::SeqCst);
            // There may be more.
            self.went_off.store(true, Ordering::SeqCst);
        }
        let is_more = set.timers.next().is_some_and(|next| next <= by);
        self.note_nearest(&mut set);
        due.map(|(slot, at)| (slot, at, is_more))
    }

    /// Whether it is worth while to ask what is due.
    pub(super) fn may_be_due(&self) -> bool {
        if self.is_alarmed() {
            return self.went_off.load(Ordering::SeqCst);
        }
        let nearest = self.nearest.load(Ordering::SeqCst);
        nearest != NEVER && self.micros(Instant::now()) >= nearest
    }

    /// Takes a session's wake-up for used up, if somebody has taken it, and left the session to the
    /// caller.
    pub(super) fn forget_taken(&self, state: &mut TimerState) {
        state.forget_until(self.taken.load(Ordering::SeqCst));
    }

    /// The alarm has gone off.
    pub(super) fn go_off(&self) {
        self.went_off.store(true, Ordering::SeqCst);
    }

    /// A worker is about to wait, and whoever rings for one from here on knows of it: until when at
    /// most. Not at all, if the alarm went off and nobody has come to that yet.
    pub(super) fn begin_wait(&self, worker: usize) -> Option<Instant> {
        if self.is_alarmed() {
            return self.went_off.load(Ordering::SeqCst).then(Instant::now);
        }
        let nearest = self.nearest.load(Ordering::SeqCst);
        self.waits_until[worker].store(nearest, Ordering::SeqCst);
        self.instant(nearest)
    }

    /// It does not wait any more.
    pub(super) fn end_wait(&self, worker: usize) {
        if !self.is_alarmed() {
            self.waits_until[worker].store(NEVER, Ordering::SeqCst);
        }
    }

    /// A worker has waited, and has something else to do now, maybe for long. Whether another has to
    /// look at the clock, or to wait for it.
    pub(super) fn needs_another(&self) -> bool {
        if self.is_alarmed() {
            return self.went_off.load(Ordering::SeqCst);
        }
        let nearest = self.nearest.load(Ordering::SeqCst);
        let keeps = |until: &AtomicU64| until.load(Ordering::SeqCst) <= nearest;
        nearest != NEVER && !self.waits_until.iter().any(keeps)
    }

    fn is_alarmed(&self) -> bool {
        self.is_alarmed.load(Ordering::SeqCst)
    }

    /// Sees to it that somebody looks when the nearest is due. Returns whether it is, and somebody who has
    /// found others due will come to it: to set the alarm once more costs more than all else, and
    /// thousands may be due at once.
    fn note_nearest(&self, set: &mut MutexGuard<'_, Set>) -> bool {
        let (nearest, now) = (set.timers.next(), Instant::now());
        let is_seen_to = self.went_off.load(Ordering::SeqCst)
            && self.is_alarmed()
            && nearest.is_some_and(|nearest| nearest <= now);
        if !is_seen_to {
            let is_alarmed = set
                .alarm
                .as_mut()
                .is_some_and(|alarm| nearest.is_none_or(|nearest| alarm.set(nearest, now).is_ok()));
            self.is_alarmed.store(is_alarmed, Ordering::SeqCst);
        }
        let nearest = nearest.map_or(NEVER, |at| self.micros(at));
        self.nearest.store(nearest, Ordering::SeqCst);
        is_seen_to
    }

    /// Rounded down: a wait that ends too early is begun again.
    fn micros(&self, at: Instant) -> u64 {
        let since = at.saturating_duration_since(self.epoch).as_micros();
        u64::try_from(since).unwrap_or(NEVER - 1)
    }

    fn instant(&self, micros: u64) -> Option<Instant> {
        // One microsecond more makes up for the rounding.
        let since = Duration::from_micros(micros).checked_add(Duration::from_micros(1))?;
        if micros == NEVER { None } else { self.epoch.checked_add(since) }
    }

    fn lock(&self) -> MutexGuard<'_, Set> {
        self.set.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::slots::FIRST_GENERATION;

    const KEY: Key = Key { index: 3, generation: FIRST_GENERATION };
    const PAST: Duration = Duration::from_millis(1);
    const FAR: Duration = Duration::from_secs(3600);

    /// With an alarm, where there is such a thing, and without.
    fn clocks() -> impl Iterator<Item = Clock> {
        [false, true].into_iter().map(|portable| Clock::new(&Reactor::new(portable).unwrap(), 2))
    }

    #[test]
    fn each_wake_up_is_taken_once_and_forgotten_then() {
        for clock in clocks() {
            let (mut near, mut far) = (TimerState::default(), TimerState::default());
            let now = Instant::now();
            clock.set(KEY, &mut far, Some(now + FAR));
            clock.set(KEY, &mut near, Some(now - PAST));
            clock.go_off();
            let due = clock.due(Instant::now());
            assert_eq!(due.map(|(slot, _, more)| (slot, more)), Some((KEY.index, false)));
            assert_eq!(clock.due(Instant::now()), None);
            clock.forget_taken(&mut near);
            clock.forget_taken(&mut far);
            assert_eq!((near.is_set(), far.is_set()), (false, true));
        }
    }

    /// To set it costs more than all else.
    #[test]
    fn the_alarm_is_not_set_while_more_is_due() {
        for clock in clocks() {
            let now = Instant::now();
            for _ in 0..100 {
                clock.set(KEY, &mut TimerState::default(), Some(now - PAST));
            }
            clock.set(KEY, &mut TimerState::default(), Some(now + FAR));
            clock.go_off();
            let set_for = || clock.lock().alarm.as_ref().map(Alarm::set_for);
            let before = set_for();
            for left in (0..100).rev() {
                assert!(clock.may_be_due());
                let (_, _, more) = clock.due(now).unwrap();
                assert_eq!(more, left > 0);
                // Whoever was asked says when to ask again.
                let told = clock.set(KEY, &mut TimerState::default(), Some(now + FAR));
                assert_eq!(told, more && clock.is_alarmed(), "somebody waits for nothing");
                assert_eq!(set_for() == before, more || before.is_none(), "{left}");
                // Who is about to wait looks first.
                let is_left = clock.begin_wait(0).is_some_and(|until| until <= Instant::now());
                assert!(is_left || !clock.is_alarmed());
            }
            assert_eq!(clock.due(now), None);
            assert!(!clock.may_be_due());
            assert!(clock.begin_wait(0).is_none_or(|until| until > Instant::now()));
        }
    }

    #[test]
    fn somebody_always_waits_for_the_nearest() {
        for clock in clocks() {
            assert_eq!(clock.begin_wait(0), None);
            let told = clock.set(KEY, &mut TimerState::default(), Some(Instant::now() + FAR));
            if clock.is_alarmed() {
                assert!(!told && !clock.needs_another() && clock.begin_wait(0).is_none());
                clock.go_off();
                assert!(clock.needs_another());
            } else {
                assert!(told, "worker 0 waits without end");
                assert!(clock.begin_wait(1).is_some() && !clock.needs_another());
                clock.end_wait(1);
                assert!(clock.needs_another());
            }
        }
    }
}
