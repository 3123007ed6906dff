//! The deadlines of many sessions, nearest first.

use super::slots::Key;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::num::NonZeroU64;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

/// A heap of wake-ups.
///
/// It is lazy: a session remembers for when its wake-up is set. A deadline that moves away leaves
/// the wake-up where it is; the session is asked then, and says when to ask again. Only a deadline
/// that comes nearer sets another wake-up.
#[derive(Debug, Default)]
pub(crate) struct Timers {
    heap: BinaryHeap<Reverse<(Moment, u64)>>,
    /// The nearest of them, which is asked for again and again.
    next: Option<Instant>,
    /// What was set last: deadlines by the coarse clock are the same for everybody within a tick.
    last: Option<(Instant, Moment)>,
}

/// For when a session's wake-up is set.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct TimerState(Option<Moment>);

/// An instant in half the space, since there are two for each idle connection. Those before the
/// first ever asked for count as that one: they are due anyway.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Moment(NonZeroU64);

static EPOCH: LazyLock<Instant> = LazyLock::new(Instant::now);

impl Moment {
    fn of(at: Instant) -> Self {
        let nanos = at.saturating_duration_since(*EPOCH).as_nanos();
        // 2^64 nanoseconds are 584 years.
        let nanos = u64::try_from(nanos).unwrap_or(u64::MAX);
        Self(NonZeroU64::MIN.saturating_add(nanos))
    }

    /// A number that is the higher, the later it is.
    pub(crate) fn get(self) -> u64 {
        self.0.get()
    }

    fn instant(self) -> Instant {
        // It is within the range of the clock, since it was made from an instant.
        *EPOCH + Duration::from_nanos(self.0.get() - 1)
    }
}

impl Timers {
    /// Sees to it that the session under `key` is asked at its deadline at the latest. Returns
    /// whether that is now the nearest wake-up of all.
    #[inline]
    pub(crate) fn set(
        &mut self,
        key: Key,
        state: &mut TimerState,
        deadline: Option<Instant>,
    ) -> bool {
        let Some(deadline) = deadline else { return false };
        match self.last {
            Some((last, moment)) if last == deadline && !state.is_later(moment) => false,
            _ => self.set_nearer(key, state, deadline),
        }
    }

    #[inline(never)]
    fn set_nearer(&mut self, key: Key, state: &mut TimerState, deadline: Instant) -> bool {
        let moment = self.moment(deadline);
        if !state.is_later(moment) {
            return false;
        }
        let nearest = self.heap.peek().is_none_or(|Reverse((next, _))| moment < *next);
        state.0 = Some(moment);
        self.heap.push(Reverse((moment, key.to_u64())));
        if nearest {
            self.next = Some(moment.instant());
        }
        nearest
    }

    fn moment(&mut self, deadline: Instant) -> Moment {
        match self.last {
            Some((last, moment)) if last == deadline => moment,
            _ => self.last.insert((deadline, Moment::of(deadline))).1,
        }
    }

    /// When the nearest wake-up is.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.next
    }

    /// Takes one wake-up that is due. It counts if [`TimerState::fires`] says so.
    pub(crate) fn pop_due(&mut self, now: Instant) -> Option<(Key, Moment)> {
        if self.next? > now {
            return None;
        }
        let Reverse((at, key)) = self.heap.pop()?;
        self.next = self.heap.peek().map(|Reverse((next, _))| next.instant());
        Some((Key::from_u64(key), at))
    }
}

impl TimerState {
    pub(crate) fn is_set(self) -> bool {
        self.0.is_some()
    }

    /// Whether no wake-up is set up to this instant.
    pub(crate) fn is_later_than(self, deadline: Instant) -> bool {
        self.is_later(Moment::of(deadline))
    }

    fn is_later(self, deadline: Moment) -> bool {
        self.0.is_none_or(|set| deadline < set)
    }

    /// Takes the wake-up for used up, if it was set for this moment or an earlier one.
    pub(crate) fn forget_until(&mut self, moment: u64) {
        if self.0.is_some_and(|at| at.get() <= moment) {
            self.0 = None;
        }
    }

    /// Whether the wake-up that was set for `at` is the current one; it is used up then.
    pub(crate) fn fires(&mut self, at: Moment) -> bool {
        let current = self.0 == Some(at);
        if current {
            self.0 = None;
        }
        current
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    const KEY: Key = Key { index: 3, generation: 1 };

    #[test]
    fn moving_a_deadline_away_sets_nothing() {
        let now = Instant::now();
        let (mut timers, mut state) = (Timers::default(), TimerState::default());
        assert!(timers.set(KEY, &mut state, Some(now + Duration::from_secs(1))));
        assert!(!timers.set(KEY, &mut state, Some(now + Duration::from_secs(2))));
        assert!(!timers.set(KEY, &mut state, None));
        assert_eq!(timers.heap.len(), 1);
        let (key, at) = timers.pop_due(now + Duration::from_secs(1)).unwrap();
        assert_eq!(key, KEY);
        assert!(state.fires(at));
        assert!(!state.fires(at));
    }

    #[test]
    fn a_nearer_deadline_outdates_the_farther() {
        let now = Instant::now();
        let (mut timers, mut state) = (Timers::default(), TimerState::default());
        timers.set(KEY, &mut state, Some(now + Duration::from_secs(5)));
        assert!(timers.set(KEY, &mut state, Some(now + Duration::from_secs(1))));
        assert_eq!(timers.pop_due(now), None);
        let fired: Vec<bool> = std::iter::from_fn(|| timers.pop_due(now + Duration::from_secs(9)))
            .map(|(_, at)| state.fires(at))
            .collect();
        assert_eq!(fired, [true, false]);
    }
}
