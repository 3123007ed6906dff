//! Time that passes only when it is told to.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// A clock that stands still until it is advanced.
///
/// Every [`Script`](super::Script) has one. Give a clone of it to your handler for a callback that
/// takes its time:
///
/// ```
/// use polyserve::testing::{Clock, Script};
/// use polyserve::{Action, BoxError, Context, Handler, Input};
/// use std::time::Duration;
///
/// struct Slow(Clock);
///
/// impl Handler for Slow {
///     fn on_data(&mut self, input: &mut Input<'_>, cx: &mut Context<'_>) -> Result<Action, BoxError> {
///         self.0.advance(Duration::from_secs(3)); // instead of working for three seconds
///         cx.send(input.take());
///         Ok(Action::Continue)
///     }
/// }
///
/// let clock = Clock::new();
/// let mut script = Script::new({ let clock = clock.clone(); |_peer| Slow(clock) }).with_clock(&clock);
/// assert_eq!(script.recv(b"x").output(), b"x");
/// assert_eq!(script.elapsed(), Duration::from_secs(3));
/// ```
#[derive(Debug, Clone)]
pub struct Clock(Arc<Mutex<Instant>>);

impl Clock {
    /// A clock that starts now.
    pub fn new() -> Self {
        Self(Arc::new(Mutex::new(Instant::now())))
    }

    /// Its time.
    pub fn now(&self) -> Instant {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets time pass, and nobody looks meanwhile: as if the process had been stopped for a while,
    /// or a callback had taken that long. To have deadlines met as they come, use
    /// [`Script::advance`](super::Script::advance).
    ///
    /// # Panics
    /// If the time is beyond the range of `Instant`.
    pub fn advance(&self, by: Duration) {
        let mut now = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *now = now.checked_add(by).expect("a time within the range of `Instant`");
    }

    /// Moves on to `to`, unless it is later already.
    pub(super) fn reach(&self, to: Instant) {
        let mut now = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *now = to.max(*now);
    }
}

impl Default for Clock {
    fn default() -> Self {
        Self::new()
    }
}
