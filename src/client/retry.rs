//! Trying again: how often, after how long, and after which errors.

use super::error::{ClientError, ConnectError};
use crate::limit::Limit;
use crossbeam_channel::never;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::time::{Duration, Instant};

/// A policy of trying again.
///
/// The waits between two attempts are random, between zero and a bound that doubles each time, up
/// to a cap. This is *exponential back-off with full jitter*, as Marc Brooker named and measured
/// it ("Exponential Backoff And Jitter", AWS Architecture Blog, 2015): it spreads the clients of a
/// server that was away best, so that they do not all come back in the same moment.
///
/// | | default |
/// |---|---|
/// | [attempts](Self::attempts), the first one included | 5 |
/// | [bound of the first wait](Self::first_delay) | 1 second |
/// | [cap of the bound](Self::max_delay) | 30 seconds |
/// | [time for all of it](Self::within) | 60 seconds |
///
/// ```
/// use polyserve::Client;
/// use polyserve::client::Retry;
/// use std::net::TcpListener;
/// use std::time::Duration;
///
/// let listener = TcpListener::bind("127.0.0.1:0")?;
/// let server = listener.local_addr()?;
/// let retry = Retry::new().first_delay(Duration::from_millis(200));
/// // Waits for a server that is not up yet.
/// let client = retry.run(|_attempt| Client::connect(server))?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # What is tried again
///
/// - After an error that [`is_retryable`](Retryable::is_retryable): nothing had left, so nothing
///   can happen twice, and it may pass.
/// - After one that [`is_ambiguous`](Retryable::is_ambiguous), only if you say that doing it twice
///   does no harm, by [`idempotent`](Self::idempotent).
/// - Never after any other: an address that is none, a message that cannot be encoded, a reply
///   that cannot be read, this machine being out of ports or descriptors.
#[derive(Debug, Clone)]
#[must_use]
pub struct Retry {
    attempts: Limit<u32>,
    first_delay: Duration,
    max_delay: Duration,
    within: Limit<Duration>,
    is_idempotent: bool,
    seed: Option<u64>,
}

/// An error that tells whether trying again is safe.
pub trait Retryable {
    /// Nothing was done yet, and the same may succeed later.
    fn is_retryable(&self) -> bool;

    /// Nobody can tell whether it was done.
    fn is_ambiguous(&self) -> bool {
        false
    }
}

impl Retryable for ClientError {
    fn is_retryable(&self) -> bool {
        self.is_retryable()
    }

    fn is_ambiguous(&self) -> bool {
        self.is_ambiguous()
    }
}

impl Retryable for ConnectError {
    fn is_retryable(&self) -> bool {
        self.is_retryable()
    }
}

impl Default for Retry {
    fn default() -> Self {
        Self {
            attempts: Limit::At(5),
            // A server that is away for three seconds sees each client about three times, and
            // more than six times once in 30,000.
            first_delay: Duration::from_secs(1),
            max_delay: Duration::from_secs(30),
            within: Limit::At(Duration::from_secs(60)),
            is_idempotent: false,
            seed: None,
        }
    }
}

impl Retry {
    /// The default policy.
    pub fn new() -> Self {
        Self::default()
    }

    /// One attempt and no more.
    pub fn never() -> Self {
        Self::new().attempts(1)
    }

    /// How many attempts there may be, the first one included. Zero is one. 5 if not set.
    pub fn attempts(mut self, attempts: impl Into<Limit<u32>>) -> Self {
        self.attempts = attempts.into();
        self
    }

    /// The longest that the first wait may be; it doubles from wait to wait. 1 second if not set.
    pub fn first_delay(mut self, delay: Duration) -> Self {
        self.first_delay = delay;
        self
    }

    /// The longest that any wait may be. 30 seconds if not set.
    pub fn max_delay(mut self, delay: Duration) -> Self {
        self.max_delay = delay;
        self
    }

    /// How long after the start of the first attempt another one may begin. A wait that would end
    /// later is not begun. An attempt that is under way is not cut short: it has its own
    /// time-outs. 60 seconds if not set.
    pub fn within(mut self, time: impl Into<Limit<Duration>>) -> Self {
        self.within = time.into();
        self
    }

    /// Says that what is tried does no harm when it is done twice, so that it is also tried again
    /// when nobody can tell whether it was done.
    pub fn idempotent(mut self) -> Self {
        self.is_idempotent = true;
        self
    }

    /// Makes the waits the same each time, for tests. By default each use of the policy has its
    /// own.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self
    }

    /// Whether the policy allows another attempt after this error, as far as the error goes.
    pub fn allows(&self, error: &impl Retryable) -> bool {
        error.is_retryable() || (self.is_idempotent && error.is_ambiguous())
    }

    /// The waits between the attempts of one use, for whoever waits for more than the time alone.
    pub fn schedule(&self) -> Schedule {
        Schedule {
            attempts_left: self.attempts.get().map(|n| n.saturating_sub(1)),
            bound: self.first_delay.min(self.max_delay),
            max_delay: self.max_delay,
            within: self.within,
            random: SplitMix64(self.seed.unwrap_or_else(random_seed)),
        }
    }

    /// Calls `attempt` with 1, 2, and so on, until it succeeds, fails for good, or the policy ends;
    /// waits in between. It blocks the thread for as long.
    ///
    /// # Errors
    /// That of the last attempt.
    pub fn run<T, E: Retryable>(
        &self,
        mut attempt: impl FnMut(u32) -> Result<T, E>,
    ) -> Result<T, E> {
        let began = Instant::now();
        let mut schedule = self.schedule();
        let mut n = 1;
        loop {
            let error = match attempt(n) {
                Ok(done) => return Ok(done),
                Err(error) => error,
            };
            let delay = match self.allows(&error) {
                true => schedule.next_delay(began.elapsed()),
                false => None,
            };
            let Some(delay) = delay else { return Err(error) };
            wait(delay);
            n = n.saturating_add(1);
        }
    }
}

/// There is nothing to wait for but the time, which the schedule has held against its budget.
fn wait(delay: Duration) {
    let _ = never::<()>().recv_timeout(delay);
}

/// The waits of one use of a [`Retry`]: a function of the seed and of the time that has passed,
/// without a clock of its own.
///
/// ```
/// use polyserve::client::Retry;
/// use std::time::Duration;
///
/// let mut schedule = Retry::new().attempts(3).schedule();
/// assert!(schedule.next_delay(Duration::ZERO).unwrap() <= Duration::from_secs(1));
/// assert!(schedule.next_delay(Duration::from_secs(1)).unwrap() <= Duration::from_secs(2));
/// assert_eq!(schedule.next_delay(Duration::from_secs(3)), None);
/// ```
#[derive(Debug, Clone)]
pub struct Schedule {
    /// `None` where there is no limit.
    attempts_left: Option<u32>,
    /// Of the next wait.
    bound: Duration,
    max_delay: Duration,
    within: Limit<Duration>,
    random: SplitMix64,
}

impl Schedule {
    /// How long to wait before the next attempt, so long after the first one began. `None` if
    /// there is to be no other attempt.
    pub fn next_delay(&mut self, elapsed: Duration) -> Option<Duration> {
        self.attempts_left = match self.attempts_left {
            Some(n) => Some(n.checked_sub(1)?),
            None => None,
        };
        let delay = self.random.up_to(self.bound);
        self.bound = self.bound.saturating_mul(2).min(self.max_delay);
        let is_in_time = |within: Duration| elapsed.saturating_add(delay) <= within;
        self.within.get().is_none_or(is_in_time).then_some(delay)
    }
}

/// The generator of Steele, Lea and Flood ("Fast Splittable Pseudorandom Number Generators",
/// OOPSLA 2014). Waits need to be spread, not to be secret; so it takes no dependency.
#[derive(Debug, Clone)]
struct SplitMix64(u64);

impl SplitMix64 {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Any duration from zero up to and including `bound`.
    fn up_to(&mut self, bound: Duration) -> Duration {
        let nanos = u64::try_from(bound.as_nanos()).unwrap_or(u64::MAX);
        let scaled = u128::from(self.next()) * (u128::from(nanos) + 1);
        Duration::from_nanos((scaled >> 64) as u64)
    }
}

/// The standard library seeds its hash maps anew each time, from the system's randomness.
fn random_seed() -> u64 {
    RandomState::new().hash_one(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn delays(retry: &Retry, n: usize) -> Vec<Duration> {
        let mut schedule = retry.schedule();
        (0..n).map_while(|_| schedule.next_delay(Duration::ZERO)).collect()
    }

    fn unlimited() -> Retry {
        Retry::new().attempts(Limit::Unlimited).within(Limit::Unlimited)
    }

    #[test]
    fn the_generator_is_the_published_one() {
        // The first numbers for the seed 1234567, as the reference implementation gives them.
        let mut random = SplitMix64(1234567);
        let numbers = [6457827717110365317, 3203168211198807973, 9817491932198370423];
        assert_eq!([random.next(), random.next(), random.next()], numbers);
    }

    #[test]
    fn waits_stay_below_their_bounds_and_use_them() {
        let retry = unlimited().max_delay(Duration::from_secs(6));
        let mut longest = [Duration::ZERO; 5];
        for seed in 0..1000 {
            for (n, delay) in delays(&retry.clone().seed(seed), 5).into_iter().enumerate() {
                longest[n] = longest[n].max(delay);
            }
        }
        for (longest, bound) in longest.into_iter().zip([1, 2, 4, 6, 6]) {
            let bound = Duration::from_secs(bound);
            assert!(bound * 9 / 10 < longest && longest <= bound, "{longest:?} of {bound:?}");
        }
    }

    #[test]
    fn attempts_and_time_end_a_schedule() {
        assert_eq!(delays(&Retry::new().attempts(3), 9).len(), 2);
        assert_eq!(delays(&Retry::new().attempts(0), 9).len(), 0);
        assert_eq!(delays(&Retry::never(), 9).len(), 0);
        let mut schedule = unlimited().within(Duration::from_secs(5)).schedule();
        assert!(schedule.next_delay(Duration::from_secs(4)).is_some());
        assert_eq!(schedule.next_delay(Duration::from_secs(6)), None);
    }

    #[test]
    fn a_seed_makes_a_schedule_repeatable_and_none_makes_it_not() {
        assert_eq!(delays(&unlimited().seed(7), 9), delays(&unlimited().seed(7), 9));
        assert_ne!(delays(&unlimited().seed(7), 9), delays(&unlimited().seed(8), 9));
        assert_ne!(delays(&unlimited(), 9), delays(&unlimited(), 9));
    }

    #[test]
    fn a_hundred_clients_of_a_server_that_is_away_for_three_seconds_do_not_storm_it() {
        let away = Duration::from_secs(3);
        let window = Duration::from_millis(50);
        let mut all = Vec::new();
        for seed in 0..100 {
            let mut schedule = unlimited().seed(seed).schedule();
            let mut at = Duration::ZERO;
            let mut attempts = Vec::new();
            while at < away {
                attempts.push(at);
                at += schedule.next_delay(at).unwrap();
            }
            assert!(attempts.len() <= 6, "client {seed} tried {} times", attempts.len());
            // The one that succeeds; the first of all came when the server went away.
            all.extend(attempts.into_iter().skip(1).chain([at]));
        }
        all.sort();
        let crowd =
            |from: &Duration| all.iter().filter(|at| (*from..*from + window).contains(at)).count();
        let largest = all.iter().map(crowd).max().unwrap();
        assert!(largest <= 25, "{largest} of {} attempts within {window:?}", all.len());
    }

    #[derive(Debug, PartialEq)]
    enum Failure {
        Safe,
        Ambiguous,
        Final,
    }

    impl Retryable for Failure {
        fn is_retryable(&self) -> bool {
            *self == Failure::Safe
        }

        fn is_ambiguous(&self) -> bool {
            *self == Failure::Ambiguous
        }
    }

    #[test]
    fn what_is_tried_again_depends_on_the_error_and_on_the_caller() {
        let quick = Retry::new().attempts(4).first_delay(Duration::ZERO);
        let tries = |retry: &Retry, failure: fn() -> Failure| {
            let mut tries = 0;
            let result: Result<(), _> = retry.run(|n| {
                tries += 1;
                assert_eq!(n, tries);
                Err(failure())
            });
            assert_eq!(result, Err(failure()));
            tries
        };
        assert_eq!(tries(&quick, || Failure::Safe), 4);
        assert_eq!(tries(&quick, || Failure::Ambiguous), 1);
        assert_eq!(tries(&quick, || Failure::Final), 1);
        let quick = quick.idempotent();
        assert_eq!(tries(&quick, || Failure::Ambiguous), 4);
        assert_eq!(tries(&quick, || Failure::Final), 1);
    }

    #[test]
    fn a_success_ends_it_and_no_wait_outlives_the_budget() {
        let retry = Retry::new().first_delay(Duration::ZERO);
        let result = retry.run(|n| if n < 3 { Err(Failure::Safe) } else { Ok(n) });
        assert_eq!(result, Ok(3));
        let began = Instant::now();
        let hasty = unlimited().within(Duration::from_millis(20));
        let result: Result<(), _> = hasty.run(|_| Err(Failure::Safe));
        assert_eq!(result, Err(Failure::Safe));
        assert!(began.elapsed() < Duration::from_secs(20));
    }

    proptest! {
        #[test]
        fn no_setting_makes_a_schedule_panic_or_exceed_its_cap(
            first in any::<Duration>(), cap in any::<Duration>(), elapsed in any::<Duration>(),
            seed in any::<u64>(),
        ) {
            let retry = unlimited().first_delay(first).max_delay(cap).seed(seed);
            let mut schedule = retry.schedule();
            for _ in 0..70 {
                prop_assert!(schedule.next_delay(elapsed).unwrap() <= cap);
            }
        }
    }
}
