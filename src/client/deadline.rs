//! How long one call may take.

use crate::limit::Limit;
use std::time::{Duration, Instant};

/// The instant at which a call gives up, and the time-out that it was made from.
#[derive(Debug, Clone, Copy)]
pub(super) struct Deadline {
    /// Neither is there for a call without a limit. The instant alone is missing when the limit
    /// lies beyond what the clock can tell, some hundred billion years from now.
    timeout: Option<Duration>,
    at: Option<Instant>,
}

impl Deadline {
    pub(super) fn start(limit: Limit<Duration>) -> Self {
        let timeout = limit.get();
        Self { timeout, at: timeout.and_then(|timeout| Instant::now().checked_add(timeout)) }
    }

    pub(super) fn at(&self) -> Option<Instant> {
        self.at
    }

    /// Whether this one passes first. One without an end passes never.
    pub(super) fn is_before(&self, other: &Deadline) -> bool {
        match (self.at, other.at) {
            (Some(this), Some(other)) => this < other,
            (this, _) => this.is_some(),
        }
    }

    /// A deadline of its own, but no later than this one.
    pub(super) fn within(&self, limit: Limit<Duration>) -> Deadline {
        let own = Deadline::start(limit);
        match own.is_before(self) {
            true => own,
            false => *self,
        }
    }

    /// The time-out, for the message of an error that says it has passed.
    pub(super) fn timeout(&self) -> Duration {
        self.timeout.unwrap_or(Duration::MAX)
    }

    pub(super) fn has_passed(&self) -> bool {
        self.at.is_some_and(|at| Instant::now() >= at)
    }

    /// An equal part of the time that is left for `n` tries, this one included. A try that needs
    /// less leaves the rest to those after it, and one that gets no answer cannot use up all.
    pub(super) fn share(&self, n: usize) -> Option<Duration> {
        let left = self.at?.saturating_duration_since(Instant::now());
        Some(left / u32::try_from(n.max(1)).unwrap_or(u32::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zero_has_passed_at_once_and_the_longest_never() {
        assert!(Deadline::start(Duration::ZERO.into()).has_passed());
        assert!(!Deadline::start(Duration::MAX.into()).has_passed());
        assert!(!Deadline::start(Limit::Unlimited).has_passed());
    }

    #[test]
    fn the_earlier_of_two_counts() {
        let start = |secs| Deadline::start(Duration::from_secs(secs).into());
        let never = Deadline::start(Limit::Unlimited);
        assert!(start(1).is_before(&start(9)) && !start(9).is_before(&start(1)));
        assert!(start(1).is_before(&never));
        assert!(!never.is_before(&start(1)) && !never.is_before(&never));
        assert_eq!(start(9).within(start(1).timeout().into()).timeout(), Duration::from_secs(1));
        assert_eq!(start(1).within(Limit::Unlimited).timeout(), Duration::from_secs(1));
    }

    #[test]
    fn the_time_left_is_shared_evenly() {
        let deadline = Deadline::start(Duration::from_secs(9).into());
        let share = deadline.share(3).unwrap();
        assert!(share <= Duration::from_secs(3) && share > Duration::from_secs(2));
        assert_eq!(Deadline::start(Limit::Unlimited).share(3), None);
        assert_eq!(Deadline::start(Duration::ZERO.into()).share(0), Some(Duration::ZERO));
    }
}
