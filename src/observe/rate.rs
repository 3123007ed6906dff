//! At most one line of a kind in five seconds.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// At most one line of a kind in this time.
const INTERVAL: Duration = Duration::from_secs(5);

/// Which kinds of lines were written when.
#[derive(Debug, Default)]
pub(super) struct Rate(Mutex<Vec<Kind>>);

#[derive(Debug)]
struct Kind {
    name: (&'static str, &'static str),
    last: Instant,
    left_out: u64,
}

impl Rate {
    /// Whether a line of this kind may be written now, and how many were not since the last. A kind
    /// has a name of two parts.
    pub(super) fn admit(&self, name: (&'static str, &'static str), now: Instant) -> Option<u64> {
        let mut kinds = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(kind) = kinds.iter_mut().find(|kind| kind.name == name) else {
            kinds.push(Kind { name, last: now, left_out: 0 });
            return Some(0);
        };
        if now.saturating_duration_since(kind.last) < INTERVAL {
            kind.left_out += 1;
            return None;
        }
        kind.last = now;
        Some(std::mem::take(&mut kind.left_out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_storm_of_failures_is_one_line_in_five_seconds() {
        let rate = Rate::default();
        let start = Instant::now();
        let after = |seconds| start + Duration::from_secs(seconds);
        let (a, b) = (("closed", "reset"), ("closed", "io"));
        assert_eq!(rate.admit(a, start), Some(0));
        assert_eq!(rate.admit(a, after(1)), None);
        assert_eq!(rate.admit(b, after(1)), Some(0));
        assert_eq!(rate.admit(a, after(4)), None);
        assert_eq!(rate.admit(a, after(5)), Some(2));
        assert_eq!(rate.admit(a, after(9)), None);
    }
}
