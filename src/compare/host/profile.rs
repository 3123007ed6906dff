//! What a handler does with its time: it works, or it waits.

use super::clock::thread_cpu;
use crate::buffer::Input;
use crate::compare::latency::{histogram, record};
use crate::handler::{Action, BoxError, CloseReason, Context, Handler};
use hdrhistogram::Histogram;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// What one call of a handler's `on_data` spends, in the middle of all calls.
///
/// Measured in a server of its own, with one connection, so that nothing else adds to it. Work that
/// a handler gives to other threads is not in it.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct Profile {
    /// CPU time, the system calls of the handler included.
    pub cpu: Duration,
    /// Time in which the thread did not run: it slept, or waited for a disk, a lock or a socket.
    pub waits: Duration,
}

/// What a handler is like: what decides which strategies suit it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum HandlerKind {
    /// It neither waits nor works for long: below 25 µs of each.
    Quick,
    /// It works: its time is CPU time.
    CpuBound,
    /// It waits for at least as long as it works.
    Blocking,
}

/// From here on a call counts as long: about what one wake-up of a sleeping thread costs.
const LONG: Duration = Duration::from_micros(25);

impl Profile {
    /// Sorts it.
    pub fn kind(&self) -> HandlerKind {
        match (self.waits >= LONG && self.waits >= self.cpu, self.cpu >= LONG) {
            (true, _) => HandlerKind::Blocking,
            (false, true) => HandlerKind::CpuBound,
            (false, false) => HandlerKind::Quick,
        }
    }
}

impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (cpu, waits) = (Micros(self.cpu), Micros(self.waits));
        match self.kind() {
            HandlerKind::Quick => write!(f, "is quick: a call takes {cpu} of CPU time"),
            HandlerKind::CpuBound => write!(f, "burns CPU: a call takes {cpu} of CPU time"),
            HandlerKind::Blocking => {
                write!(f, "blocks: a call waits {waits}, and takes {cpu} of CPU time")
            }
        }
    }
}

/// A duration in microseconds, or in milliseconds where it is long.
pub(crate) struct Micros(pub(crate) Duration);

impl fmt::Display for Micros {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let micros = self.0.as_secs_f64() * 1e6;
        match micros {
            ..9.995 => write!(f, "{micros:.2} µs"),
            ..99.95 => write!(f, "{micros:.1} µs"),
            ..9_999.5 => write!(f, "{micros:.0} µs"),
            _ => write!(f, "{:.1} ms", micros / 1e3),
        }
    }
}

/// Collects what the calls of all handlers took.
pub(crate) struct Stopwatch {
    calls: Mutex<(Histogram<u64>, Histogram<u64>)>,
}

impl Stopwatch {
    pub(crate) fn new() -> Self {
        Self { calls: Mutex::new((histogram(), histogram())) }
    }

    fn add(&self, cpu: Duration, waited: Duration) {
        let mut calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
        record(&mut calls.0, cpu);
        record(&mut calls.1, waited);
    }

    /// The medians. `None` if there was no call, or the system does not tell.
    pub(crate) fn profile(&self) -> Option<Profile> {
        let calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
        let median = |of: &Histogram<u64>| Duration::from_nanos(of.value_at_quantile(0.5));
        (!calls.0.is_empty()).then(|| Profile { cpu: median(&calls.0), waits: median(&calls.1) })
    }
}

/// A handler whose `on_data` is timed.
pub(crate) struct Timed<H> {
    handler: H,
    watch: Arc<Stopwatch>,
}

impl<H> Timed<H> {
    pub(crate) fn new(handler: H, watch: Arc<Stopwatch>) -> Self {
        Self { handler, watch }
    }
}

impl<H: Handler> Handler for Timed<H> {
    fn on_data(&mut self, input: &mut Input<'_>, cx: &mut Context<'_>) -> Result<Action, BoxError> {
        let (began, before) = (Instant::now(), thread_cpu());
        let result = self.handler.on_data(input, cx);
        if let (Some(before), Some(after)) = (before, thread_cpu()) {
            let cpu = after.saturating_sub(before);
            self.watch.add(cpu, began.elapsed().saturating_sub(cpu));
        }
        result
    }

    fn on_open(&mut self, cx: &mut Context<'_>) -> Result<Action, BoxError> {
        self.handler.on_open(cx)
    }

    fn on_eof(&mut self, input: &mut Input<'_>, cx: &mut Context<'_>) -> Result<Action, BoxError> {
        self.handler.on_eof(input, cx)
    }

    fn on_writable(&mut self, cx: &mut Context<'_>) -> Result<Action, BoxError> {
        self.handler.on_writable(cx)
    }

    fn on_wake(&mut self, cx: &mut Context<'_>) -> Result<Action, BoxError> {
        self.handler.on_wake(cx)
    }

    fn on_timer(&mut self, cx: &mut Context<'_>) -> Result<Action, BoxError> {
        self.handler.on_timer(cx)
    }

    fn on_shutdown(&mut self, cx: &mut Context<'_>) -> Result<Action, BoxError> {
        self.handler.on_shutdown(cx)
    }

    fn on_close(&mut self, reason: &CloseReason) {
        self.handler.on_close(reason);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(cpu: u64, waits: u64) -> HandlerKind {
        Profile { cpu: Duration::from_micros(cpu), waits: Duration::from_micros(waits) }.kind()
    }

    #[test]
    fn what_takes_longest_decides() {
        assert_eq!(kind(2, 1), HandlerKind::Quick);
        assert_eq!(kind(50, 10), HandlerKind::CpuBound);
        assert_eq!(kind(5, 1_000), HandlerKind::Blocking);
        assert_eq!(kind(300, 200), HandlerKind::CpuBound);
        assert_eq!(kind(200, 300), HandlerKind::Blocking);
    }

    #[test]
    fn durations_have_about_three_digits() {
        let text = |nanos| Micros(Duration::from_nanos(nanos)).to_string();
        assert_eq!(text(1_234), "1.23 µs");
        assert_eq!(text(54_321), "54.3 µs");
        assert_eq!(text(1_054_321), "1054 µs");
        assert_eq!(text(54_321_000), "54.3 ms");
    }
}
