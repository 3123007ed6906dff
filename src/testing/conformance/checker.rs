//! Stands in front of every handler of the suite, and holds the backend to the order of events.

use super::stage::{Asked, Failure, PATIENCE};
use crate::buffer::Input;
use crate::handler::{Action, BoxError, CloseKind, CloseReason, Context, Handler};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// What all handlers of a server have told.
#[derive(Default)]
pub(super) struct Log {
    seen: Mutex<Seen>,
    changed: Condvar,
}

#[derive(Default, Clone, Debug)]
pub(super) struct Seen {
    pub(super) made: usize,
    pub(super) dropped: usize,
    pub(super) opened: Vec<u64>,
    pub(super) closed: Vec<(u64, CloseKind)>,
    /// The most connections that were open at the same time.
    pub(super) most_open: usize,
    /// What handlers of a question wrote down.
    pub(super) notes: Vec<String>,
    /// Promises that were broken.
    pub(super) violations: Vec<String>,
}

impl Seen {
    pub(super) fn open(&self) -> usize {
        self.opened.len() - self.closed.len().min(self.opened.len())
    }

    pub(super) fn count(&self, note: &str) -> usize {
        self.notes.iter().filter(|n| *n == note).count()
    }

    pub(super) fn closed_by(&self, kind: CloseKind) -> usize {
        self.closed.iter().filter(|(_, k)| *k == kind).count()
    }
}

impl Log {
    pub(super) fn seen(&self) -> Seen {
        self.lock().clone()
    }

    /// Writes something down.
    pub(super) fn note(&self, note: impl Into<String>) {
        self.change(|seen| seen.notes.push(note.into()));
    }

    pub(super) fn violation(&self, what: impl Into<String>) {
        self.change(|seen| seen.violations.push(what.into()));
    }

    /// Waits until `is_so`.
    pub(super) fn wait(&self, what: &str, is_so: impl Fn(&Seen) -> bool) -> Asked {
        let deadline = Instant::now() + PATIENCE;
        let mut seen = self.lock();
        loop {
            if let Some(violation) = seen.violations.first() {
                return Err(Failure::new(format!("a promise was broken: {violation}")));
            }
            if is_so(&seen) {
                return Ok(());
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                let text = format!("waited {PATIENCE:?} in vain for {what}; seen: {seen:?}");
                return Err(Failure::new(text));
            }
            let waited = self.changed.wait_timeout(seen, left);
            seen = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Waits for a note.
    pub(super) fn wait_note(&self, note: &str) -> Asked {
        self.wait_notes(note, 1)
    }

    pub(super) fn wait_notes(&self, note: &str, times: usize) -> Asked {
        self.wait(&format!("`{note}` {times} times"), |seen| seen.count(note) >= times)
    }

    /// Waits until this many connections have ended for this reason.
    pub(super) fn wait_closed(&self, kind: CloseKind, times: usize) -> Asked {
        let what = format!("{times} connections closed by {}", kind.name());
        self.wait(&what, |seen| seen.closed_by(kind) >= times)
    }

    pub(super) fn wait_opened(&self, times: usize) -> Asked {
        self.wait(&format!("{times} connections opened"), |seen| seen.opened.len() >= times)
    }

    fn change(&self, change: impl FnOnce(&mut Seen)) {
        change(&mut self.lock());
        self.changed.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A handler of a question, and what it may expect next.
pub(super) struct Checked {
    inner: Box<dyn Handler>,
    log: Arc<Log>,
    id: u64,
    /// A callback of this handler runs.
    inside: AtomicBool,
    life: Life,
    /// It has decided that the connection is to end: nothing but `on_close` may come.
    ending: bool,
    saw_eof: bool,
    saw_shutdown: bool,
    /// What it left of its input.
    left: Vec<u8>,
    /// How many bytes must be there for the next `on_data`.
    needed: usize,
}

#[derive(PartialEq, Clone, Copy, Debug)]
enum Life {
    New,
    Open,
    Closed,
}

/// Says that no callback runs any more, also after a panic.
struct Leave<'a>(&'a AtomicBool);

impl Drop for Leave<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::SeqCst);
    }
}

/// More than this is left only by questions that are about something else.
const MOST_COMPARED: usize = 256 * 1024;

impl Checked {
    pub(super) fn new(inner: Box<dyn Handler>, log: Arc<Log>) -> Self {
        log.change(|seen| seen.made += 1);
        Self {
            inner,
            log,
            id: 0,
            inside: AtomicBool::new(false),
            life: Life::New,
            ending: false,
            saw_eof: false,
            saw_shutdown: false,
            left: Vec::new(),
            needed: 1,
        }
    }

    fn violation(&self, what: &str) {
        self.log.violation(format!("connection {}: {what}", self.id));
    }

    /// A callback other than `on_open` and `on_close` begins.
    fn expect_open(&self, name: &str) {
        match self.life {
            Life::New => self.violation(&format!("{name} before on_open")),
            Life::Closed => self.violation(&format!("{name} after on_close")),
            Life::Open if self.ending => {
                self.violation(&format!("{name} after the end was decided"))
            }
            Life::Open => (),
        }
    }

    /// Runs one callback of the handler, alone.
    fn alone<R>(&mut self, name: &str, call: impl FnOnce(&mut dyn Handler) -> R) -> R {
        if self.inside.swap(true, Ordering::SeqCst) {
            self.violation(&format!("{name} overlaps another callback"));
        }
        let _leave = Leave(&self.inside);
        call(&mut *self.inner)
    }

    fn step(
        &mut self,
        name: &str,
        call: impl FnOnce(&mut dyn Handler) -> Result<Action, BoxError>,
    ) -> Result<Action, BoxError> {
        // A panic ends the connection too: assume it, until the callback has returned.
        let before = std::mem::replace(&mut self.ending, true);
        let result = self.alone(name, call);
        self.ending = before || matches!(result, Err(_) | Ok(Action::Close | Action::Abort));
        result
    }

    fn compare_with_left(&self, input: &[u8], name: &str) {
        if !input.starts_with(&self.left) {
            self.violation(&format!("{name} does not begin with the bytes that were left"));
        }
    }
}

impl Handler for Checked {
    fn on_open(&mut self, cx: &mut Context<'_>) -> Result<Action, BoxError> {
        self.id = cx.id().get();
        if self.life != Life::New {
            self.violation("on_open twice");
        }
        self.life = Life::Open;
        let id = self.id;
        self.log.change(|seen| {
            if seen.opened.contains(&id) {
                seen.violations.push(format!("two connections have the number {id}"));
            }
            seen.opened.push(id);
            seen.most_open = seen.most_open.max(seen.open());
        });
        let result = self.step("on_open", |handler| handler.on_open(cx));
        if let Ok(Action::Want(n)) = result {
            self.needed = n.max(1);
        }
        result
    }

    fn on_data(&mut self, input: &mut Input<'_>, cx: &mut Context<'_>) -> Result<Action, BoxError> {
        self.expect_open("on_data");
        if self.saw_eof {
            self.violation("on_data after on_eof");
        }
        if input.len() < self.needed {
            let (got, needed) = (input.len(), self.needed);
            self.violation(&format!("on_data with {got} bytes, and {needed} were wanted"));
        }
        self.compare_with_left(input, "on_data");
        let result = self.step("on_data", |handler| handler.on_data(input, cx));
        self.left = input[..input.len().min(MOST_COMPARED)].to_vec();
        self.needed = match result {
            Ok(Action::Continue) => input.len() + 1,
            Ok(Action::Want(n)) => n.max(input.len() + 1),
            _ => 1,
        };
        result
    }

    fn on_eof(&mut self, input: &mut Input<'_>, cx: &mut Context<'_>) -> Result<Action, BoxError> {
        self.expect_open("on_eof");
        if std::mem::replace(&mut self.saw_eof, true) {
            self.violation("on_eof twice");
        }
        self.compare_with_left(input, "on_eof");
        self.step("on_eof", |handler| handler.on_eof(input, cx))
    }

    fn on_writable(&mut self, cx: &mut Context<'_>) -> Result<Action, BoxError> {
        self.expect_open("on_writable");
        self.step("on_writable", |handler| handler.on_writable(cx))
    }

    fn on_wake(&mut self, cx: &mut Context<'_>) -> Result<Action, BoxError> {
        self.expect_open("on_wake");
        self.step("on_wake", |handler| handler.on_wake(cx))
    }

    fn on_timer(&mut self, cx: &mut Context<'_>) -> Result<Action, BoxError> {
        self.expect_open("on_timer");
        self.step("on_timer", |handler| handler.on_timer(cx))
    }

    fn on_shutdown(&mut self, cx: &mut Context<'_>) -> Result<Action, BoxError> {
        self.expect_open("on_shutdown");
        if std::mem::replace(&mut self.saw_shutdown, true) {
            self.violation("on_shutdown twice");
        }
        self.step("on_shutdown", |handler| handler.on_shutdown(cx))
    }

    fn on_close(&mut self, reason: &CloseReason) {
        match self.life {
            Life::New => self.violation("on_close before on_open"),
            Life::Closed => self.violation("on_close twice"),
            Life::Open => (),
        }
        self.life = Life::Closed;
        // Told last, so that whoever waits for it finds what the handler noted.
        struct Tell<'a>(&'a Log, u64, CloseKind);
        impl Drop for Tell<'_> {
            fn drop(&mut self) {
                self.0.change(|seen| seen.closed.push((self.1, self.2)));
            }
        }
        let log = Arc::clone(&self.log);
        let _tell = Tell(&log, self.id, reason.kind());
        self.alone("on_close", |handler| handler.on_close(reason));
    }
}

impl Drop for Checked {
    fn drop(&mut self) {
        if self.life == Life::Open {
            self.violation("dropped without on_close");
        }
        self.log.change(|seen| seen.dropped += 1);
    }
}
