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
/// that comes nearer sets another wake-up. One that outlives its session is the next one's in the same
/// slot, so that what comes and goes leaves none behind.
#[derive(Debug, Default)]
pub(crate) struct Timers {
    heap: BinaryHeap<Reverse<WakeUp>>,
    /// The nearest of them, which is asked for again and again.
    next: Option<Instant>,
    /// The latest wake-up that was taken. All up to there were.
    passed: u64,
    /// What was set last: deadlines by the coarse clock are the same for everybody within a tick.
    last: Option<(Instant, Moment)>,
}

/// For when a session's wake-up is set: twice the moment and one, so that its lowest part tells
/// whether it is set; or zero.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct TimerState([u16; 3]);

/// A coarse instant: no earlier than what it was made of, and later by less than a quarter of a
/// millisecond. Those before the first ever asked for count as that one: they are due anyway.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Moment(NonZeroU64);

/// A moment, and below it the number of the slot that is to look then: 8 bytes, since there is one
/// for each idle connection. Whatever is in the slot knows whether it was meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct WakeUp(u64);

static EPOCH: LazyLock<Instant> = LazyLock::new(Instant::now);

/// How many moments there are in a second.
const RATE: u64 = 4096;

/// Enough for four million slots; a server has at most two million connections. Moments have the
/// rest, which is 34 years.
const SLOT_BITS: u32 = 22;
const LAST: u64 = u64::MAX >> SLOT_BITS;

impl Moment {
    fn of(at: Instant) -> Self {
        let since = at.saturating_duration_since(*EPOCH);
        let part = (u64::from(since.subsec_nanos()) * RATE).div_ceil(1_000_000_000);
        let moments = since.as_secs().saturating_mul(RATE).saturating_add(part);
        Self(NonZeroU64::MIN.saturating_add(moments.min(LAST - 1)))
    }

    /// A number that is the higher, the later it is.
    pub(crate) fn get(self) -> u64 {
        self.0.get()
    }

    fn instant(self) -> Instant {
        let moments = self.0.get() - 1;
        let part = (moments % RATE * 1_000_000_000).div_ceil(RATE);
        // 34 years are within the range of any clock.
        *EPOCH + Duration::from_secs(moments / RATE) + Duration::from_nanos(part)
    }
}

impl WakeUp {
    fn new(at: Moment, slot: u32) -> Self {
        debug_assert!(slot < 1 << SLOT_BITS);
        Self(at.get() << SLOT_BITS | u64::from(slot))
    }

    fn at(self) -> Moment {
        Moment(NonZeroU64::new(self.0 >> SLOT_BITS).unwrap_or(NonZeroU64::MIN))
    }

    fn slot(self) -> u32 {
        self.0 as u32 & ((1 << SLOT_BITS) - 1)
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
        let nearest = self.heap.peek().is_none_or(|Reverse(next)| moment < next.at());
        state.set(moment);
        self.heap.push(Reverse(WakeUp::new(moment, key.index)));
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

    /// Takes one wake-up that is due, and tells for which slot. It counts if
    /// [`TimerState::fires`] says so: there may be another session by now.
    pub(crate) fn pop_due(&mut self, now: Instant) -> Option<(u32, Moment)> {
        if self.next? > now {
            return None;
        }
        let Reverse(due) = self.heap.pop()?;
        self.next = self.heap.peek().map(|Reverse(next)| next.at().instant());
        self.passed = self.passed.max(due.at().get());
        Some((due.slot(), due.at()))
    }

    /// The number of the latest moment of which a wake-up was taken; zero before the first.
    pub(crate) fn passed(&self) -> u64 {
        self.passed
    }

    /// What a new session takes over from the last one in its slot.
    pub(crate) fn inherited(&self, mut left: TimerState) -> TimerState {
        left.forget_until(self.passed);
        left
    }
}

impl TimerState {
    pub(crate) fn is_set(self) -> bool {
        self.0[0] != 0
    }

    fn set(&mut self, moment: Moment) {
        let bits = moment.get() << 1 | 1;
        self.0 = [bits as u16, (bits >> 16) as u16, (bits >> 32) as u16];
    }

    /// What it was set to; zero if it is not set.
    fn get(self) -> u64 {
        let [low, middle, high] = self.0.map(u64::from);
        (high << 32 | middle << 16 | low) >> 1
    }

    /// Whether no wake-up is set up to this instant.
    pub(crate) fn is_later_than(self, deadline: Instant) -> bool {
        self.is_later(Moment::of(deadline))
    }

    fn is_later(self, deadline: Moment) -> bool {
        !self.is_set() || deadline.get() < self.get()
    }

    /// Takes the wake-up for used up, if it was set for this moment or an earlier one.
    pub(crate) fn forget_until(&mut self, moment: u64) {
        if self.get() <= moment {
            *self = Self::default();
        }
    }

    /// Whether the wake-up that was set for `at` is the current one; it is used up then.
    pub(crate) fn fires(&mut self, at: Moment) -> bool {
        let current = self.get() == at.get();
        if current {
            *self = Self::default();
        }
        current
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const KEY: Key = Key { index: 3, generation: 1 };

    proptest! {
        #[test]
        fn a_moment_is_never_early_and_hardly_late(nanos in 0u64..1 << 59, slot in 0u32..1 << 22) {
            let at = *EPOCH + Duration::from_nanos(nanos);
            let moment = Moment::of(at);
            prop_assert!(moment.instant() >= at);
            prop_assert!(moment.instant() < at + Duration::from_micros(245));
            let wake_up = WakeUp::new(moment, slot);
            prop_assert_eq!((wake_up.at(), wake_up.slot()), (moment, slot));
            let mut state = TimerState::default();
            state.set(moment);
            prop_assert_eq!(state.get(), moment.get());
            prop_assert!(state.is_set() && state.fires(moment) && !state.is_set());
        }
    }

    #[test]
    fn what_is_beyond_all_moments_is_the_last() {
        let far = *EPOCH + Duration::from_secs(100 * 365 * 86_400);
        let last = Moment::of(far);
        assert_eq!(last.get(), LAST);
        assert_eq!((WakeUp::new(last, 7).at(), WakeUp::new(last, 7).slot()), (last, 7));
        assert!(last.instant() > *EPOCH + Duration::from_secs(33 * 365 * 86_400));
    }

    /// There is one of each for every idle connection.
    #[test]
    fn they_are_small() {
        assert_eq!((size_of::<WakeUp>(), size_of::<TimerState>()), (8, 6));
    }

    #[test]
    fn moving_a_deadline_away_sets_nothing() {
        let now = Instant::now();
        let (mut timers, mut state) = (Timers::default(), TimerState::default());
        assert!(timers.set(KEY, &mut state, Some(now + Duration::from_secs(1))));
        assert!(!timers.set(KEY, &mut state, Some(now + Duration::from_secs(2))));
        assert!(!timers.set(KEY, &mut state, None));
        assert_eq!(timers.heap.len(), 1);
        let (slot, at) = timers.pop_due(now + Duration::from_millis(1001)).unwrap();
        assert_eq!(slot, KEY.index);
        assert!(state.fires(at));
        assert!(!state.fires(at));
    }

    #[test]
    fn a_wake_up_that_is_left_is_the_next_ones_until_it_has_passed() {
        let now = Instant::now();
        let at = |seconds| now + Duration::from_secs(seconds);
        let mut timers = Timers::default();
        let mut left = TimerState::default();
        for second in 0..1000 {
            let mut state = timers.inherited(left);
            while let Some((_, moment)) = timers.pop_due(at(second)) {
                state.fires(moment);
            }
            // Its own comes later, or is set.
            timers.set(KEY, &mut state, Some(at(second + 10)));
            assert!(state.is_set() && !state.is_later_than(at(second + 10)));
            assert!(timers.heap.len() <= 2, "{}", timers.heap.len());
            left = state;
        }
        // Nobody was in the slot when it came.
        while timers.pop_due(at(5000)).is_some() {}
        assert!(!timers.inherited(left).is_set());
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
