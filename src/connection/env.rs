//! What all connections of a server have in common, and how they count time.

use super::held::Held;
use super::limits::{Limits, Timeouts};
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

/// The bounds, the clock's origin and the phase of the server's life.
#[derive(Debug)]
pub(crate) struct Env {
    pub(crate) limits: Limits,
    pub(crate) timeouts: Timeouts,
    pub(crate) held: Held,
    /// Somebody wants to be told what happens.
    pub(crate) observed: bool,
    /// And of requests, by the turn.
    pub(crate) batches: bool,
    /// How long a callback may take before that is told, if it is.
    pub(crate) stall: Option<Duration>,
    epoch: Instant,
    phase: AtomicU8,
}

/// Where a server is in its life, as far as connections are concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(crate) enum Phase {
    /// Serve.
    Running,
    /// Finish what was begun, then close.
    Draining,
    /// Close, whatever there is to do.
    Killing,
    /// Reset.
    Stopped,
}

/// A coarse instant: a number of [`Tick::LENGTH`]s since the server was made. It is small, because
/// every idle connection holds some. Differences of up to half a year can be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Tick(pub(super) u32);

impl Tick {
    pub(crate) const LENGTH: Duration = Duration::from_millis(8);

    /// How many ticks passed from here until `now`; none if this lies ahead.
    pub(crate) fn until(self, now: Tick) -> u32 {
        (now.0.wrapping_sub(self.0) as i32).max(0).unsigned_abs()
    }

    /// Whether it lies ahead of another.
    pub(super) fn is_after(self, other: Tick) -> bool {
        (self.0.wrapping_sub(other.0) as i32) > 0
    }
}

impl Env {
    pub(crate) fn new(limits: Limits, timeouts: Timeouts, epoch: Instant) -> Self {
        let held = Held::new(limits.total_held);
        let phase = AtomicU8::new(Phase::Running as u8);
        Self { limits, timeouts, held, observed: false, batches: false, stall: None, epoch, phase }
    }

    /// There is somebody who wants to be told what happens.
    pub(crate) fn observed(mut self, batches: bool) -> Self {
        self.observed = true;
        self.batches = batches;
        self.stall = self.timeouts.stall.get();
        self
    }

    pub(crate) fn phase(&self) -> Phase {
        // Pairs with the store of `set_phase`. A thread that parks in a read relies on the order
        // of this load and its own note that it is parked, see `session::blocking`.
        match self.phase.load(Ordering::SeqCst) {
            0 => Phase::Running,
            1 => Phase::Draining,
            2 => Phase::Killing,
            _ => Phase::Stopped,
        }
    }

    /// Moves on to `phase`. There is no way back.
    pub(crate) fn set_phase(&self, phase: Phase) {
        self.phase.fetch_max(phase as u8, Ordering::SeqCst);
    }

    /// The tick that `now` falls into.
    pub(crate) fn tick(&self, now: Instant) -> Tick {
        Self::tick_of(now.saturating_duration_since(self.epoch))
    }

    fn tick_of(since: Duration) -> Tick {
        let fraction = since.subsec_millis() / Tick::LENGTH.as_millis() as u32;
        // Seconds wrap along with the ticks: 125 ticks a second.
        Tick((since.as_secs() as u32).wrapping_mul(125).wrapping_add(fraction))
    }

    /// When `timeout` after `tick` is over for sure: never early. `None` is beyond the clock.
    pub(crate) fn after(&self, tick: Tick, timeout: Duration, now: Instant) -> Option<Instant> {
        let since = self.since(tick, now);
        // `tick` began at most `since` plus one tick before now; it ended at least `since` minus
        // one tick before. Counting from the start of now's tick keeps the result stable.
        let base = self.tick_start(now).checked_sub(since)?;
        base.checked_add(timeout)?.checked_add(Tick::LENGTH)
    }

    /// How long ago a tick was.
    pub(crate) fn since(&self, tick: Tick, now: Instant) -> Duration {
        // It may lie ahead of `now`: a callback took its time, and this `now` was taken before.
        let age = (self.tick(now).0.wrapping_sub(tick.0) as i32).max(0).unsigned_abs();
        Tick::LENGTH * age
    }

    /// When the server's clock began.
    pub(super) fn epoch(&self) -> Instant {
        self.epoch
    }

    /// When the tick of `now` began.
    fn tick_start(&self, now: Instant) -> Instant {
        self.tick_and_start(now).1
    }

    /// The tick that `now` falls into, and when it began.
    pub(super) fn tick_and_start(&self, now: Instant) -> (Tick, Instant) {
        let now = now.max(self.epoch); // what was before belongs to the first tick
        let since = now.saturating_duration_since(self.epoch);
        let into = since.subsec_nanos() % Tick::LENGTH.as_nanos() as u32;
        let start = now.checked_sub(Duration::from_nanos(into.into())).unwrap_or(now);
        (Self::tick_of(since), start)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_coarse_timeout_is_never_early_and_hardly_late(
            start in 0u64..100_000_000, timeout in 0u64..100_000, later in 0u64..100_000,
        ) {
            let epoch = Instant::now();
            let env = Env::new(Limits::default(), Timeouts::default(), epoch);
            let start = epoch + Duration::from_micros(start);
            let timeout = Duration::from_millis(timeout);
            let now = start + Duration::from_millis(later);
            let due = env.after(env.tick(start), timeout, now).unwrap();
            prop_assert!(due >= start + timeout, "{:?} early", start + timeout - due);
            prop_assert!(due <= start + timeout + 2 * Tick::LENGTH);
        }
    }

    #[test]
    fn a_tick_that_lies_ahead_counts_as_now() {
        let epoch = Instant::now();
        let env = Env::new(Limits::default(), Timeouts::default(), epoch);
        let (now, ahead) = (epoch + Duration::from_secs(1), epoch + Duration::from_secs(100));
        let timeout = Duration::from_secs(60);
        let due = env.after(env.tick(ahead), timeout, now).unwrap();
        assert!(due > now + timeout && due <= now + timeout + 2 * Tick::LENGTH);
    }

    #[test]
    fn never_is_beyond_the_clock() {
        let env = Env::new(Limits::default(), Timeouts::default(), Instant::now());
        let now = Instant::now();
        assert_eq!(env.after(env.tick(now), Duration::MAX, now), None);
    }
}
