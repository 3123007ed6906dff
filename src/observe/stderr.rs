//! One line on standard error for each event that somebody should see.

use super::rate::Rate;
use super::shown::{Who, Why};
use super::{Callback, Closed, Deadline, Observer, Refusal};
use crate::addr::Addr;
use crate::handler::{CloseKind, ConnectionId, Peer};
use crate::shutdown::DrainReport;
use std::fmt::Display;
use std::io;
use std::time::{Duration, Instant};

/// Writes one line to standard error for each failure and each step of a drain.
///
/// Connections that come and go as they should make no line. No byte that a peer has chosen is ever
/// written: of errors and panics of handlers only that they happened. Of each kind of failure there
/// is at most one line in five seconds: the next line tells how many were left out.
#[derive(Debug, Default)]
pub struct StderrObserver {
    rate: Rate,
}

impl StderrObserver {
    /// An observer that has written nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    fn failure(&self, event: &'static str, kind: &'static str, what: &dyn Display) {
        match self.rate.admit((event, kind), Instant::now()) {
            Some(0) => eprintln!("polyserve: {what}"),
            Some(n) => eprintln!("polyserve: {what} ({n} more like it were not shown)"),
            None => (),
        }
    }
}

impl Observer for StderrObserver {
    fn refused(&self, peer: &Peer, why: &Refusal<'_>) {
        let what = format_args!("refused a connection from {}: {why}", Who(peer));
        self.failure("refused", why.name(), &what);
    }

    fn panicked(&self, id: ConnectionId, peer: &Peer, callback: Callback, _message: &str) {
        let what = format_args!("connection {id} from {}: {callback} panicked", Who(peer));
        self.failure("panicked", callback.name(), &what);
    }

    fn stalled(&self, id: ConnectionId, peer: &Peer, callback: Callback, took: Duration) {
        let (who, ms) = (Who(peer), took.as_millis());
        let what = format_args!(
            "connection {id} from {who}: {callback} held up its event loop for {ms} ms"
        );
        self.failure("stalled", callback.name(), &what);
    }

    fn timed_out(&self, _: ConnectionId, _: &Peer, _: Deadline) {
        // `closed` tells why; and that a peer leaves its end open is no failure of ours.
    }

    fn closed(&self, connection: &Closed<'_>) {
        let Closed { id, peer, reason, .. } = connection;
        match reason.kind() {
            CloseKind::PeerClosed
            | CloseKind::Closed
            | CloseKind::Aborted
            | CloseKind::Reset
            | CloseKind::Shutdown
            | CloseKind::Taken => (),
            CloseKind::Panic => (), // `panicked` has told it
            kind => {
                let what = format_args!("connection {id} from {}: {}", Who(peer), Why(reason));
                self.failure("closed", kind.name(), &what);
            }
        }
    }

    fn accept_failed(&self, addr: &Addr, error: &io::Error, pause: Option<Duration>) {
        if let Some(pause) = pause {
            let what = format_args!("cannot accept on {addr}, pausing for {pause:?}: {error}");
            self.failure("accept", "", &what);
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

    fn many_threads(&self, threads: usize) {
        eprintln!(
            "polyserve: up to {threads} threads: \
             see that the system's limits of threads and memory maps leave room for them"
        );
    }

    fn drain_began(&self, grace: Duration, deadline: Duration) {
        eprintln!(
            "polyserve: draining, accepting for {grace:?}, closing by force after {deadline:?}"
        );
    }

    fn drain_deadline(&self, left: usize) {
        if left > 0 {
            eprintln!("polyserve: closing by force what is left: {left} connections");
        }
    }

    fn drained(&self, report: &DrainReport) {
        eprintln!("polyserve: {report}");
    }
}
