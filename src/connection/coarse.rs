//! What a thread remembers of the coarse clock.

use super::env::{Env, Tick};
use std::cell::Cell;
use std::time::{Duration, Instant};

/// The last answers of [`Env::tick`] and [`Env::after`]. Within one tick a busy thread asks for the
/// same ones thousands of times; the arithmetic of instants would cost more than the rest of a turn's
/// clocks, a comparison costs nothing.
///
/// It belongs to a thread, not to a server: what it remembers of one server is forgotten when the
/// thread asks for another.
#[derive(Debug)]
pub(crate) struct CoarseClock {
    /// When the thread last looked at the clock.
    seen: Cell<Instant>,
    epoch: Cell<Option<Instant>>,
    tick: Cell<Option<Span>>,
    deadline: Cell<Option<Deadline>>,
}

/// A tick, and from when until when it is now.
#[derive(Debug, Clone, Copy)]
struct Span {
    tick: Tick,
    begin: Instant,
    end: Instant,
}

/// What came of a tick and a time-out. It is the same whenever it is asked for.
#[derive(Debug, Clone, Copy)]
struct Deadline {
    since: Tick,
    timeout: Duration,
    at: Option<Instant>,
}

/// An instant, as one thread sees it for one server.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Time<'a> {
    pub(crate) env: &'a Env,
    pub(crate) clock: &'a CoarseClock,
    pub(crate) now: Instant,
}

impl CoarseClock {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            seen: Cell::new(now),
            epoch: Cell::new(None),
            tick: Cell::new(None),
            deadline: Cell::new(None),
        }
    }

    pub(crate) fn seen(&self) -> Instant {
        self.seen.get()
    }

    pub(crate) fn see(&self, now: Instant) {
        self.seen.set(now);
    }

    /// From here on it is asked for this server. `true` if that is another than before.
    pub(crate) fn follow(&self, env: &Env) -> bool {
        let is_another = self.epoch.get() != Some(env.epoch());
        if is_another {
            self.epoch.set(Some(env.epoch()));
            self.tick.set(None);
            self.deadline.set(None);
        }
        is_another
    }
}

impl Time<'_> {
    /// The tick that it falls into.
    #[inline]
    pub(crate) fn tick(self) -> Tick {
        match self.clock.tick.get() {
            Some(span) if span.begin <= self.now && self.now < span.end => span.tick,
            _ => self.look(),
        }
    }

    #[cold]
    fn look(self) -> Tick {
        // An instant before the server was made belongs to its first tick, but does not begin it.
        let (tick, begin) = self.env.tick_and_start(self.now);
        let end = begin.checked_add(Tick::LENGTH);
        debug_assert!(end.is_none_or(|end| self.env.tick(end) != tick));
        self.clock.tick.set(end.map(|end| Span { tick, begin, end }));
        tick
    }

    /// When `timeout` after `since` is over for sure: never early. `None` is beyond the clock.
    #[inline]
    pub(crate) fn after(self, since: Tick, timeout: Duration) -> Option<Instant> {
        match self.clock.deadline.get() {
            Some(known) if known.since == since && known.timeout == timeout => known.at,
            _ => self.calculate(since, timeout),
        }
    }

    #[cold]
    fn calculate(self, since: Tick, timeout: Duration) -> Option<Instant> {
        let at = self.env.after(since, timeout, self.now);
        // What lies ahead counts from now, and so will not be the same again.
        if !since.is_after(self.tick()) {
            self.clock.deadline.set(Some(Deadline { since, timeout, at }));
        }
        at
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connection::{Limits, Timeouts};
    use proptest::prelude::*;

    proptest! {
        /// Whatever was asked before, and of which server, the answers are those of the arithmetic.
        #[test]
        fn what_is_remembered_is_what_would_be_calculated(
            asked in prop::collection::vec((0usize..2, 0u64..40_000, 0u64..40, 0u64..3), 1..100),
        ) {
            let clock = CoarseClock::new(Instant::now());
            let begin = Instant::now();
            let env = |offset| {
                let epoch = begin + Duration::from_micros(offset);
                Env::new(Limits::default(), Timeouts::default(), epoch)
            };
            let servers = [env(0), env(3_500)];
            for (server, micros, age, timeout) in asked {
                let env = &servers[server];
                clock.follow(env);
                let now = begin + Duration::from_micros(micros);
                let time = Time { env, clock: &clock, now };
                prop_assert_eq!(time.tick(), env.tick(now));
                let since = env.tick(begin + Duration::from_micros(micros.saturating_sub(age)));
                let timeout = Duration::from_secs(timeout);
                prop_assert_eq!(time.after(since, timeout), env.after(since, timeout, now));
            }
        }
    }

    #[test]
    fn what_lies_ahead_is_not_remembered() {
        let env = Env::new(Limits::default(), Timeouts::default(), Instant::now());
        let clock = CoarseClock::new(Instant::now());
        clock.follow(&env);
        let (now, ahead) = (Instant::now(), Instant::now() + Duration::from_secs(5));
        let timeout = Duration::from_secs(1);
        let at = |now| Time { env: &env, clock: &clock, now };
        let early = at(now).after(env.tick(ahead), timeout).unwrap();
        let right = at(ahead).after(env.tick(ahead), timeout).unwrap();
        assert!(right >= ahead + timeout && early < right);
    }
}
