//! Finds callbacks that hold up a thread which many connections share.

use std::time::{Duration, Instant};

/// What a thread knows of its last looks at the clock. It is the thread's, not a connection's, so
/// that a callback is not charged with what others did before it.
#[derive(Debug, Default)]
pub(crate) struct StallWatch {
    /// The end of the last callback.
    seen: Option<Instant>,
    /// A callback that ends before this cannot have taken too long: it lies as far as that behind an
    /// instant at which another had ended already. So most callbacks cost one comparison.
    until: Option<Instant>,
}

impl StallWatch {
    /// A callback has ended `now`. Whether that is so soon that it cannot have taken too long.
    #[inline]
    pub(super) fn is_soon(&mut self, now: Instant) -> bool {
        let is_soon = self.until.is_some_and(|until| now <= until);
        if is_soon {
            self.seen = Some(now);
        }
        is_soon
    }

    /// A callback that began at `began` or later has ended `now`. Tells how long it took, if that is
    /// longer than `most`.
    #[cold]
    pub(super) fn judge(
        &mut self,
        began: Instant,
        now: Instant,
        most: Duration,
    ) -> Option<Duration> {
        let seen = self.seen.replace(now);
        self.until = now.checked_add(most);
        let took = now.saturating_duration_since(began.max(seen.unwrap_or(began)));
        Some(took).filter(|took| *took > most)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// What it tells is what one would tell who looks at each callback by itself.
        #[test]
        fn each_callback_that_takes_too_long_is_told(
            callbacks in prop::collection::vec((0u64..150, 0u64..150), 1..50),
        ) {
            let most = Duration::from_millis(100);
            let mut watch = StallWatch::default();
            let mut now = Instant::now();
            for (pause, took) in callbacks {
                let began = now + Duration::from_millis(pause);
                now = began + Duration::from_millis(took);
                let expected = (took > 100).then_some(now - began);
                prop_assert_eq!(look(&mut watch, began, now, most), expected);
            }
        }

        /// A backend may have looked at the clock before it gave many others their turns.
        #[test]
        fn nobody_is_charged_with_what_others_did(took in prop::collection::vec(0u64..150, 1..50)) {
            let most = Duration::from_millis(100);
            let mut watch = StallWatch::default();
            let began = Instant::now();
            let mut now = began;
            for took in took {
                now += Duration::from_millis(took);
                let expected = (took > 100).then_some(Duration::from_millis(took));
                prop_assert_eq!(look(&mut watch, began, now, most), expected);
            }
        }
    }

    fn look(
        watch: &mut StallWatch,
        began: Instant,
        now: Instant,
        most: Duration,
    ) -> Option<Duration> {
        if watch.is_soon(now) { None } else { watch.judge(began, now, most) }
    }

    #[test]
    fn a_limit_beyond_the_clock_is_never_reached() {
        let (mut watch, now) = (StallWatch::default(), Instant::now());
        for _ in 0..3 {
            assert_eq!(look(&mut watch, now, now + Duration::from_secs(1), Duration::MAX), None);
        }
    }
}
