//! Waking up at a deadline without telling each wait of it.
//!
//! A wait with a time-out costs a busy loop more than all its other clocks: the time left has to be
//! calculated for each, and turned into the system's units. An alarm is set once for a deadline, and
//! each wait until then is one without end.

use super::Reactor;
use std::io;
use std::time::Instant;

/// Ends a wait on its reactor at a deadline: the nearest for which it was set. It belongs to
/// whoever knows the deadlines, who must set it again when one has passed.
#[derive(Debug)]
pub(crate) struct Alarm {
    timer: native::Timer,
    /// For when it is set. If that has passed, it has gone off.
    set_for: Option<Instant>,
}

impl Alarm {
    /// `None` where the system has no such thing, or no room for it: the waits need a time-out then.
    pub(crate) fn new(reactor: &Reactor) -> Option<Self> {
        Some(Self { timer: native::Timer::new(reactor)?, set_for: None })
    }

    /// Sees to it that a wait from now on ends at the deadline, or before. An error leaves it as it
    /// was.
    #[inline]
    pub(crate) fn set(&mut self, deadline: Instant, now: Instant) -> io::Result<()> {
        match self.set_for {
            Some(set_for) if set_for <= deadline && now < set_for => Ok(()),
            _ => self.move_to(deadline),
        }
    }

    /// For when it is set, or was last.
    #[cfg(test)]
    pub(crate) fn set_for(&self) -> Option<Instant> {
        self.set_for
    }

    #[cold]
    fn move_to(&mut self, deadline: Instant) -> io::Result<()> {
        self.timer.set(deadline.saturating_duration_since(Instant::now()))?;
        self.set_for = Some(deadline);
        Ok(())
    }
}

#[cfg(all(any(target_os = "linux", target_os = "android"), not(polling_test_poll_backend)))]
mod native {
    use crate::net::Reactor;
    use crate::net::reactor::ALARM;
    use rustix::event::epoll::{self, EventData, EventFlags};
    use rustix::fd::OwnedFd;
    use rustix::time::{
        Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
        timerfd_settime,
    };
    use std::io;
    use std::time::Duration;

    #[derive(Debug)]
    pub(super) struct Timer(OwnedFd);

    impl Timer {
        pub(super) fn new(reactor: &Reactor) -> Option<Self> {
            if !reactor.is_shareable() {
                return None;
            }
            let flags = TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK;
            // The clock of `Instant`.
            let timer = timerfd_create(TimerfdClockId::Monotonic, flags).ok()?;
            // Edge-triggered and never read: each time it goes off is one edge.
            let edge = EventFlags::IN | EventFlags::ET;
            epoll::add(reactor.poller(), &timer, EventData::new_u64(ALARM), edge).ok()?;
            Some(Self(timer))
        }

        pub(super) fn set(&self, after: Duration) -> io::Result<()> {
            let never = Timespec { tv_sec: 0, tv_nsec: 0 };
            // Zero would unset it.
            let after = after.max(Duration::from_nanos(1));
            let after = Timespec::try_from(after).map_err(|_| io::ErrorKind::InvalidInput)?;
            let once = Itimerspec { it_interval: never, it_value: after };
            timerfd_settime(&self.0, TimerfdTimerFlags::empty(), &once)?;
            Ok(())
        }
    }
}

#[cfg(not(all(any(target_os = "linux", target_os = "android"), not(polling_test_poll_backend))))]
mod native {
    use crate::net::Reactor;
    use std::io;
    use std::time::Duration;

    /// There is none here.
    #[derive(Debug)]
    pub(super) enum Timer {}

    impl Timer {
        pub(super) fn new(_reactor: &Reactor) -> Option<Self> {
            None
        }

        pub(super) fn set(&self, _after: Duration) -> io::Result<()> {
            match *self {}
        }
    }
}

#[cfg(all(test, target_os = "linux", not(polling_test_poll_backend)))]
mod tests {
    use super::*;
    use crate::net::Events;
    use std::num::NonZeroUsize;
    use std::time::Duration;

    const SOON: Duration = Duration::from_millis(20);

    /// Waits without a time-out, and tells when that ended.
    fn wait(reactor: &Reactor) -> Instant {
        let mut events = Events::with_capacity(NonZeroUsize::MIN);
        reactor.wait(&mut events, None).unwrap();
        assert!(events.ready().is_empty(), "an alarm is nobody's event");
        Instant::now()
    }

    #[test]
    fn a_wait_without_end_ends_at_the_deadline() {
        let reactor = Reactor::new(false).unwrap();
        let mut alarm = Alarm::new(&reactor).unwrap();
        // Each of them is an edge of its own.
        for _ in 0..3 {
            let now = Instant::now();
            alarm.set(now + SOON, now).unwrap();
            assert!(wait(&reactor) >= now + SOON);
        }
    }

    #[test]
    fn the_nearest_deadline_counts_until_it_has_passed() {
        let reactor = Reactor::new(false).unwrap();
        let mut alarm = Alarm::new(&reactor).unwrap();
        let now = Instant::now();
        let far = now + Duration::from_secs(3600);
        alarm.set(far, now).unwrap();
        alarm.set(now + SOON, now).unwrap();
        alarm.set(far, now).unwrap();
        let ended = wait(&reactor);
        assert!(ended >= now + SOON && ended < far);
        alarm.set(ended + SOON, ended).unwrap();
        assert!(wait(&reactor) >= ended + SOON);
    }

    #[test]
    fn a_deadline_that_has_passed_ends_a_wait_at_once() {
        let reactor = Reactor::new(false).unwrap();
        let mut alarm = Alarm::new(&reactor).unwrap();
        let now = Instant::now();
        alarm.set(now, now).unwrap();
        wait(&reactor);
    }

    #[test]
    fn a_portable_reactor_has_none() {
        assert!(Alarm::new(&Reactor::new(true).unwrap()).is_none());
    }
}
