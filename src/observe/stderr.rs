//! One line on standard error for each event that somebody should see.

use super::{Closed, Observer, Refusal};
use crate::addr::Addr;
use crate::handler::{CloseKind, Peer};
use crate::shutdown::DrainReport;
use std::fmt::Display;
use std::io;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Writes one line to standard error for each failure and each step of a drain.
///
/// Connections that come and go as they should make no line. No byte of a peer is ever written,
/// and of each kind of failure at most one line in five seconds: the next line tells how many were
/// left out.
#[derive(Debug, Default)]
pub struct StderrObserver {
    kinds: Mutex<Vec<Kind>>,
}

#[derive(Debug)]
struct Kind {
    name: &'static str,
    last: Instant,
    left_out: u64,
}

/// At most one line of a kind in this time.
const INTERVAL: Duration = Duration::from_secs(5);

impl StderrObserver {
    /// An observer that has written nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    fn failure(&self, kind: &'static str, what: &dyn Display) {
        match self.admit(kind, Instant::now()) {
            Some(0) => eprintln!("polyserve: {what}"),
            Some(n) => eprintln!("polyserve: {what} ({n} more like it were not shown)"),
            None => (),
        }
    }

    /// Whether a line of this kind may be written now, and how many were not since the last.
    fn admit(&self, name: &'static str, now: Instant) -> Option<u64> {
        let mut kinds = self.kinds.lock().unwrap_or_else(PoisonError::into_inner);
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

impl Observer for StderrObserver {
    fn closed(&self, connection: &Closed<'_>) {
        let Closed { id, peer, reason, .. } = connection;
        match reason.kind() {
            CloseKind::PeerClosed
            | CloseKind::Closed
            | CloseKind::Aborted
            | CloseKind::Reset
            | CloseKind::Shutdown
            | CloseKind::Taken => (),
            kind => {
                self.failure(kind.name(), &format_args!("connection {id} from {peer}: {reason}"))
            }
        }
    }

    fn refused(&self, peer: &Peer, why: &Refusal<'_>) {
        self.failure("refused", &format_args!("refused a connection from {peer}: {why}"));
    }

    fn accept_failed(&self, addr: &Addr, error: &io::Error, pause: Option<Duration>) {
        if let Some(pause) = pause {
            let what = format_args!("cannot accept on {addr}, pausing for {pause:?}: {error}");
            self.failure("accept", &what);
        }
    }

    fn listener_failed(&self, addr: &Addr, error: &io::Error) {
        eprintln!("polyserve: the listener on {addr} has failed: {error}");
    }

    fn limit_lowered(&self, wanted: usize, granted: usize) {
        eprintln!(
            "polyserve: at most {granted} connections in place of {wanted}: \
             the limit of open files leaves room for no more"
        );
    }

    fn drain_began(&self, grace: Duration, deadline: Duration) {
        eprintln!(
            "polyserve: draining, accepting for {grace:?}, closing by force after {deadline:?}"
        );
    }

    fn drained(&self, report: &DrainReport) {
        eprintln!("polyserve: {report}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_storm_of_failures_is_one_line_in_five_seconds() {
        let observer = StderrObserver::new();
        let start = Instant::now();
        assert_eq!(observer.admit("a", start), Some(0));
        assert_eq!(observer.admit("a", start + Duration::from_secs(1)), None);
        assert_eq!(observer.admit("b", start + Duration::from_secs(1)), Some(0));
        assert_eq!(observer.admit("a", start + Duration::from_secs(4)), None);
        assert_eq!(observer.admit("a", start + Duration::from_secs(5)), Some(2));
    }
}
