//! How long a receiving call waits: three clocks, of which the first to pass ends it.

use super::deadline::Deadline;
use super::error::Phase;
use crate::limit::Limit;
use std::time::Duration;

/// What is still read, without waiting, after the deadline: more than a receive buffer holds by
/// default, so that nothing that was there in time is missed; and an end to it, so that a peer
/// that sends without a pause cannot keep a call for ever.
const MAX_LATE_BYTES: usize = 8 * 1024 * 1024;

/// The settings of the three clocks.
#[derive(Debug, Clone, Copy)]
pub(super) struct ReadTimeouts {
    /// From the start of the call to the first byte.
    pub(super) first_byte: Limit<Duration>,
    /// From one byte to the next.
    pub(super) idle: Limit<Duration>,
    /// From the start of the call to its end.
    pub(super) whole: Limit<Duration>,
}

impl ReadTimeouts {
    /// One clock for the whole call, and no other.
    pub(super) fn within(whole: Limit<Duration>) -> Self {
        Self { first_byte: Limit::Unlimited, idle: Limit::Unlimited, whole }
    }
}

/// The clocks of one receiving call.
#[derive(Debug)]
pub(super) struct Patience {
    idle: Limit<Duration>,
    whole: Deadline,
    /// For the next byte.
    next: Deadline,
    /// What the next byte is: the first one, or another.
    phase: Phase,
    /// Bytes that came after the deadline.
    late: usize,
}

impl Patience {
    /// Starts the clocks. What has `begun` has its first byte already.
    pub(super) fn start(timeouts: ReadTimeouts, begun: bool) -> Self {
        let (phase, next) = match begun {
            false => (Phase::FirstByte, timeouts.first_byte),
            true => (Phase::Idle, timeouts.idle),
        };
        Self {
            idle: timeouts.idle,
            whole: Deadline::start(timeouts.whole),
            next: Deadline::start(next),
            phase,
            late: 0,
        }
    }

    /// The clock that passes first, and what it is that did not come then. Of two that pass
    /// together it is the whole's, which is begun first.
    pub(super) fn nearest(&self) -> (&Deadline, Phase) {
        match self.next.is_before(&self.whole) {
            true => (&self.next, self.phase),
            false => (&self.whole, Phase::Read),
        }
    }

    /// The clock of the whole call.
    pub(super) fn whole(&self) -> &Deadline {
        &self.whole
    }

    /// Bytes have come. False is told when they come too late to be waited for any longer.
    #[must_use]
    pub(super) fn received(&mut self, n: usize) -> bool {
        self.phase = Phase::Idle;
        self.next = Deadline::start(self.idle);
        if self.whole.has_passed() {
            self.late += n;
        }
        self.late <= MAX_LATE_BYTES
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHORT: Limit<Duration> = Limit::At(Duration::from_secs(1));
    const LONG: Limit<Duration> = Limit::At(Duration::from_secs(1000));

    #[track_caller]
    fn check(
        first_byte: Limit<Duration>,
        idle: Limit<Duration>,
        whole: Limit<Duration>,
        n: &[Phase],
    ) {
        let mut patience = Patience::start(ReadTimeouts { first_byte, idle, whole }, false);
        assert_eq!(patience.nearest().1, n[0], "before the first byte");
        assert!(patience.received(1));
        assert_eq!(patience.nearest().1, n[1], "after it");
    }

    #[test]
    fn the_clock_that_passes_first_is_told() {
        use Phase::{FirstByte, Idle, Read};
        check(SHORT, LONG, LONG, &[FirstByte, Read]);
        check(LONG, SHORT, LONG, &[Read, Idle]);
        check(LONG, LONG, SHORT, &[Read, Read]);
        check(SHORT, SHORT, Limit::Unlimited, &[FirstByte, Idle]);
        check(Limit::Unlimited, Limit::Unlimited, Limit::Unlimited, &[Read, Read]);
    }

    #[test]
    fn what_has_begun_waits_for_another_byte() {
        let timeouts = ReadTimeouts { first_byte: SHORT, idle: SHORT, whole: LONG };
        assert_eq!(Patience::start(timeouts, true).nearest().1, Phase::Idle);
    }

    #[test]
    fn what_comes_late_is_taken_up_to_a_limit() {
        let at_once = ReadTimeouts::within(Duration::ZERO.into());
        let mut patience = Patience::start(at_once, false);
        assert!(patience.received(MAX_LATE_BYTES));
        assert!(!patience.received(1));
    }
}
