//! The handler that does what a program says, and the stage on which it is seen.

use crate::coverage::{Callback, Coverage};
use crate::program::{HIGH, Move, Next, Outcome, Program, received, sent};
use polyserve::codec::DecodeError;
use polyserve::net::TakenStream;
use polyserve::{
    Action, BoxError, CloseKind, CloseReason, ConnectionId, Context, Control, Handler, Input,
    Limit, Sender,
};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// What the handler says when it panics, so that no other panic is taken for it.
pub(crate) const LAST_WORDS: &str = "the script panics";

/// What happened, as far as it must be the same everywhere.
///
/// It does not say how often `on_data` was called, and with how much, for that depends on how the
/// system cuts the stream; nor what else `on_writable` was told, for that depends on how much of
/// the output the system takes at once.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Entry {
    Opened,
    /// This message was there, and its bytes were right.
    Unit(usize),
    /// The peer has finished, and so many bytes had not been consumed.
    Eof(usize),
    Woken,
    TimedOut,
    /// A stream has been written.
    Streamed,
    ShutDown,
    Closed(CloseKind),
    /// What became of a message that was pushed.
    Pushed(Result<(), polyserve::SendErrorKind>),
    /// Whoever took the socket has read so many bytes until the end.
    Owned(usize),
    /// Something that must not happen.
    Wrong(String),
}

/// One connection of one script, as its handler, its client and the server see it.
pub(crate) struct Stage {
    pub(crate) program: Arc<Program>,
    seen: Mutex<Seen>,
    changed: Condvar,
}

#[derive(Default)]
pub(crate) struct Seen {
    pub(crate) log: Vec<Entry>,
    pub(crate) sender: Option<Sender>,
    pub(crate) control: Option<(Control, ConnectionId)>,
    pub(crate) taken: Option<TakenStream>,
    /// What the server tells of the end.
    pub(crate) reason: Option<CloseKind>,
    /// The client's system knows of the connection: a reset that comes before would be a connect
    /// that fails.
    pub(crate) connected: bool,
    /// A timer is set that is going to run out.
    pub(crate) timer: bool,
    /// How many bytes were consumed, and sent.
    pub(crate) consumed: usize,
    pub(crate) coverage: Coverage,
    inside: bool,
    closed: bool,
}

impl Stage {
    pub(crate) fn new(program: &Arc<Program>) -> Arc<Self> {
        Arc::new(Self {
            program: Arc::clone(program),
            seen: Mutex::default(),
            changed: Condvar::new(),
        })
    }

    /// The handler of the connection. A factory may call for it, and panic then.
    pub(crate) fn handler(self: &Arc<Self>) -> Scripted {
        if self.program.factory_panics {
            std::panic::panic_any(LAST_WORDS);
        }
        Scripted {
            stage: Arc::clone(self),
            unit: 0,
            sent: 0,
            stream_left: None,
            streams: 0,
            wakes: 0,
            timers: 0,
        }
    }

    pub(crate) fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn note(&self, entry: Entry) {
        self.change(|seen| seen.log.push(entry));
    }

    pub(crate) fn change<R>(&self, change: impl FnOnce(&mut Seen) -> R) -> R {
        let result = change(&mut self.seen());
        self.changed.notify_all();
        result
    }

    /// Waits until something holds. What it waited for in vain is told with what was seen.
    pub(crate) fn wait_for(
        &self,
        what: &str,
        patience: Duration,
        holds: impl Fn(&Seen) -> bool,
    ) -> Result<(), String> {
        let end = Instant::now() + patience;
        let mut seen = self.seen();
        while !holds(&seen) {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(format!("no {what} within {patience:?}: {:?}", seen.log));
            }
            let waited = self.changed.wait_timeout(seen, left);
            seen = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        Ok(())
    }

    fn enter(&self, callback: Callback, entry: Option<Entry>) {
        self.change(|seen| {
            if seen.inside || seen.closed {
                seen.log.push(Entry::Wrong(format!("{callback:?} at the wrong time")));
            }
            seen.inside = true;
            seen.log.extend(entry);
        });
    }

    /// A callback returns, or is about to panic.
    fn leave(&self, callback: Callback, how: &str) {
        self.change(|seen| {
            seen.inside = false;
            seen.coverage.count(callback, how);
        });
    }
}

pub(crate) struct Scripted {
    stage: Arc<Stage>,
    unit: usize,
    sent: usize,
    /// How many parts of a stream are still to be sent.
    stream_left: Option<usize>,
    streams: usize,
    wakes: usize,
    timers: usize,
}

type Answer = Result<Action, BoxError>;

impl Scripted {
    fn send(&mut self, n: usize, cx: &mut Context<'_>) {
        let bytes: Vec<u8> = (0..n).map(|i| sent(self.sent + i)).collect();
        self.sent += n;
        cx.send(bytes);
    }

    /// Does what the program says, and tells how the callback is to end.
    fn perform(&mut self, callback: Callback, does: &Move, cx: &mut Context<'_>) -> Answer {
        self.send(does.sends, cx);
        if does.fickle {
            cx.set_timer(Duration::from_secs(7 * 24 * 60 * 60));
            cx.clear_timer();
        }
        if let Some(busy) = does.busy {
            cx.set_busy(busy);
        }
        if does.sender {
            let sender = cx.sender();
            let control = (cx.control(), cx.id());
            self.stage.change(|seen| {
                seen.sender = Some(sender);
                seen.control = Some(control);
            });
        }
        if does.resumes {
            cx.resume();
        }
        self.have_follow(does.next, cx);
        let action = self.conclude(callback, does.outcome, cx)?;
        Ok(action)
    }

    fn have_follow(&mut self, next: Next, cx: &mut Context<'_>) {
        match next {
            Next::Nothing => (),
            Next::Timer(ms) => {
                self.stage.change(|seen| seen.timer = true);
                cx.set_timer(Duration::from_millis(ms));
            }
            Next::Wake => _ = cx.sender().wake(),
            Next::Stream(parts) => {
                self.send(HIGH, cx);
                self.stream_left = Some(parts - 1);
            }
            Next::IdleOut(ms) => cx.set_idle_timeout(Limit::At(Duration::from_millis(ms))),
        }
    }

    fn conclude(&self, callback: Callback, outcome: Outcome, cx: &mut Context<'_>) -> Answer {
        let fail = |how: &str, error: BoxError| {
            self.stage.leave(callback, how);
            Err(error)
        };
        match outcome {
            Outcome::Act(action) => Ok(action),
            Outcome::Default => Ok(if cx.is_busy() { Action::Continue } else { Action::Close }),
            Outcome::Fail => fail("an error", "the script fails".into()),
            Outcome::Decode => {
                fail("DecodeError", DecodeError::malformed("the script says so").into())
            }
            Outcome::Truncated => {
                fail("DecodeError::Truncated", DecodeError::Truncated { got: 1 }.into())
            }
            Outcome::Panic => {
                self.stage.leave(callback, "a panic");
                std::panic::panic_any(LAST_WORDS)
            }
            Outcome::Take => {
                self.stage.leave(callback, "into_stream");
                let stage = Arc::clone(&self.stage);
                cx.into_stream(move |taken| stage.change(|seen| seen.taken = Some(taken)));
                Ok(Action::Continue)
            }
        }
    }

    /// A callback without input.
    fn event(&mut self, callback: Callback, does: Option<Move>, cx: &mut Context<'_>) -> Answer {
        let Some(does) = does else {
            self.stage.note(Entry::Wrong(format!("{callback:?} came once too often")));
            return self.left(callback, &Move::NONE, Action::Continue);
        };
        let action = self.perform(callback, &does, cx)?;
        self.left(callback, &does, action)
    }

    fn left(&self, callback: Callback, does: &Move, action: Action) -> Answer {
        if does.outcome != Outcome::Take {
            self.stage.leave(callback, &name(action));
        }
        Ok(action)
    }

    /// Looks at the messages that are there, until one of them has it stop.
    fn look(&mut self, input: &mut Input<'_>, cx: &mut Context<'_>) -> Answer {
        let program = Arc::clone(&self.stage.program);
        let mut worked = false;
        loop {
            let Some(unit) = program.units.get(self.unit) else {
                return self.left(Callback::Data, &Move::NONE, Action::Continue);
            };
            if input.len() < unit.wait_for {
                let ask = if unit.wants { Action::Want(unit.wait_for) } else { Action::Continue };
                return self.left(Callback::Data, &Move::NONE, ask);
            }
            if unit.alone && worked {
                return self.left(Callback::Data, &Move::NONE, Action::Yield);
            }
            worked = true;
            self.check(&input[..unit.size]);
            input.consume(unit.size);
            let (number, size) = (self.unit, unit.size);
            self.stage.change(|seen| {
                seen.log.push(Entry::Unit(number));
                seen.consumed += size;
            });
            self.unit += 1;
            let action = self.perform(Callback::Data, &unit.does, cx)?;
            if action != Action::Continue || unit.does.outcome == Outcome::Take {
                return self.left(Callback::Data, &unit.does, action);
            }
        }
    }

    fn check(&self, bytes: &[u8]) {
        let at = self.stage.seen().consumed;
        if !bytes.iter().enumerate().all(|(i, byte)| *byte == received(at + i)) {
            self.stage.note(Entry::Wrong(format!("other bytes than were sent, from {at} on")));
        }
    }

    /// The next part of a stream, or its end.
    fn go_on(&mut self, cx: &mut Context<'_>) -> Answer {
        match self.stream_left {
            None => self.left(Callback::Writable, &Move::NONE, Action::Continue),
            Some(0) => {
                self.stream_left = None;
                self.stage.note(Entry::Streamed);
                let does = self.stage.program.streams.get(self.streams).cloned();
                self.streams += 1;
                self.event(Callback::Writable, does, cx)
            }
            Some(left) => {
                self.stream_left = Some(left - 1);
                self.send(HIGH, cx);
                self.left(Callback::Writable, &Move::NONE, Action::Continue)
            }
        }
    }
}

/// An action without its number.
fn name(action: Action) -> String {
    let text = format!("{action:?}");
    text.split('(').next().unwrap_or_default().to_owned()
}

impl Handler for Scripted {
    fn on_open(&mut self, cx: &mut Context<'_>) -> Answer {
        self.stage.enter(Callback::Open, Some(Entry::Opened));
        let does = self.stage.program.open.clone();
        self.event(Callback::Open, Some(does), cx)
    }

    fn on_data(&mut self, input: &mut Input<'_>, cx: &mut Context<'_>) -> Answer {
        self.stage.enter(Callback::Data, None);
        self.look(input, cx)
    }

    fn on_eof(&mut self, input: &mut Input<'_>, cx: &mut Context<'_>) -> Answer {
        self.stage.enter(Callback::Eof, Some(Entry::Eof(input.len())));
        self.check(input);
        let does = self.stage.program.eof.clone();
        self.event(Callback::Eof, Some(does), cx)
    }

    fn on_writable(&mut self, cx: &mut Context<'_>) -> Answer {
        self.stage.enter(Callback::Writable, None);
        self.go_on(cx)
    }

    fn on_wake(&mut self, cx: &mut Context<'_>) -> Answer {
        self.stage.enter(Callback::Wake, Some(Entry::Woken));
        let does = self.stage.program.wakes.get(self.wakes).cloned();
        self.wakes += 1;
        self.event(Callback::Wake, does, cx)
    }

    fn on_timer(&mut self, cx: &mut Context<'_>) -> Answer {
        self.stage.change(|seen| seen.timer = false);
        self.stage.enter(Callback::Timer, Some(Entry::TimedOut));
        let does = self.stage.program.timers.get(self.timers).cloned();
        self.timers += 1;
        self.event(Callback::Timer, does, cx)
    }

    fn on_shutdown(&mut self, cx: &mut Context<'_>) -> Answer {
        self.stage.enter(Callback::Shutdown, Some(Entry::ShutDown));
        let does = self.stage.program.shutdown.clone();
        self.event(Callback::Shutdown, Some(does), cx)
    }

    fn on_close(&mut self, reason: &CloseReason) {
        self.stage.enter(Callback::Close, Some(Entry::Closed(reason.kind())));
        if let CloseReason::Panic(text) = reason
            && text != LAST_WORDS
        {
            self.stage.note(Entry::Wrong(format!("a panic of somebody else: {text}")));
        }
        let panics = self.stage.program.on_close_panics;
        self.stage.leave(Callback::Close, if panics { "a panic" } else { "nothing" });
        self.stage.change(|seen| seen.closed = true);
        if panics {
            std::panic::panic_any(LAST_WORDS);
        }
    }
}
