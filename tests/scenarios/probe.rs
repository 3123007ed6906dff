//! A handler that does as it is told and writes down what it was called with.

use polyserve::testing::Script;
use polyserve::{Action, BoxError, CloseReason, Context, Handler, Input, Limits, Sender, Timeouts};
use std::sync::{Arc, Mutex};
use std::time::Duration;

pub(crate) type Outcome = Result<Action, BoxError>;
pub(crate) const SECOND: Duration = Duration::from_secs(1);

/// What a handler wrote down, also after it is gone.
#[derive(Clone, Default)]
pub(crate) struct Log(Arc<Mutex<Vec<String>>>);

impl Log {
    pub(crate) fn note(&self, entry: impl Into<String>) {
        self.0.lock().unwrap().push(entry.into());
    }

    /// Takes what was written down since the last call.
    pub(crate) fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

/// Where a test finds the sender that a handler made.
#[derive(Clone, Default)]
pub(crate) struct SenderSlot(Arc<Mutex<Option<Sender>>>);

impl SenderSlot {
    pub(crate) fn fill(&self, cx: &mut Context<'_>) {
        *self.0.lock().unwrap() = Some(cx.sender());
    }

    pub(crate) fn get(&self) -> Sender {
        self.0.lock().unwrap().clone().expect("the handler has made a sender")
    }
}

type OnInput = Box<dyn FnMut(&mut Input<'_>, &mut Context<'_>) -> Outcome + Send>;
type OnEvent = Box<dyn FnMut(&mut Context<'_>) -> Outcome + Send>;

/// By default it consumes everything, answers nothing and keeps the connection open.
#[derive(Default)]
pub(crate) struct Probe {
    log: Log,
    open: Option<OnEvent>,
    data: Option<OnInput>,
    eof: Option<OnInput>,
    writable: Option<OnEvent>,
    wake: Option<OnEvent>,
    timer: Option<OnEvent>,
    shutdown: Option<OnEvent>,
}

macro_rules! setters {
    ($($name:ident: $kind:ident, ($($arg:ty),*);)*) => {
        impl Probe {
            $(pub(crate) fn $name(
                mut self,
                call: impl FnMut($($arg),*) -> Outcome + Send + 'static,
            ) -> Self {
                self.$kind = Some(Box::new(call));
                self
            })*
        }
    };
}

setters! {
    on_open: open, (&mut Context<'_>);
    on_data: data, (&mut Input<'_>, &mut Context<'_>);
    on_eof: eof, (&mut Input<'_>, &mut Context<'_>);
    on_writable: writable, (&mut Context<'_>);
    on_wake: wake, (&mut Context<'_>);
    on_timer: timer, (&mut Context<'_>);
    on_shutdown: shutdown, (&mut Context<'_>);
}

impl Probe {
    pub(crate) fn new(log: &Log) -> Self {
        Self { log: log.clone(), ..Self::default() }
    }

    /// Answers everything with itself.
    pub(crate) fn echo(log: &Log) -> Self {
        Self::new(log).on_data(echo)
    }

    pub(crate) fn script(self) -> Script {
        Script::new(|_peer| self)
    }
}

pub(crate) fn echo(input: &mut Input<'_>, cx: &mut Context<'_>) -> Outcome {
    cx.send(input.take());
    Ok(Action::Continue)
}

/// Consumes nothing.
pub(crate) fn leave(_input: &mut Input<'_>, _cx: &mut Context<'_>) -> Outcome {
    Ok(Action::Continue)
}

impl Handler for Probe {
    fn on_open(&mut self, cx: &mut Context<'_>) -> Outcome {
        self.log.note("open");
        self.open.as_mut().map_or(Ok(Action::Continue), |call| call(cx))
    }

    fn on_data(&mut self, input: &mut Input<'_>, cx: &mut Context<'_>) -> Outcome {
        self.log.note(format!("data {}", input.escape_ascii()));
        match &mut self.data {
            Some(call) => call(input, cx),
            None => {
                input.take();
                Ok(Action::Continue)
            }
        }
    }

    fn on_eof(&mut self, input: &mut Input<'_>, cx: &mut Context<'_>) -> Outcome {
        self.log.note(format!("eof {}", input.escape_ascii()));
        self.eof.as_mut().map_or(Ok(Action::Close), |call| call(input, cx))
    }

    fn on_writable(&mut self, cx: &mut Context<'_>) -> Outcome {
        self.log.note("writable");
        self.writable.as_mut().map_or(Ok(Action::Continue), |call| call(cx))
    }

    fn on_wake(&mut self, cx: &mut Context<'_>) -> Outcome {
        self.log.note("wake");
        self.wake.as_mut().map_or(Ok(Action::Continue), |call| call(cx))
    }

    fn on_timer(&mut self, cx: &mut Context<'_>) -> Outcome {
        self.log.note("timer");
        self.timer.as_mut().map_or(Ok(Action::Continue), |call| call(cx))
    }

    fn on_shutdown(&mut self, cx: &mut Context<'_>) -> Outcome {
        self.log.note("shutdown");
        let default = if cx.is_busy() { Action::Continue } else { Action::Close };
        self.shutdown.as_mut().map_or(Ok(default), |call| call(cx))
    }

    fn on_close(&mut self, reason: &CloseReason) {
        self.log.note(format!("close {}", reason.kind().name()));
    }
}

pub(crate) fn limits(change: impl FnOnce(&mut Limits)) -> Limits {
    let mut limits = Limits::default();
    change(&mut limits);
    limits
}

pub(crate) fn timeouts(change: impl FnOnce(&mut Timeouts)) -> Timeouts {
    let mut timeouts = Timeouts::default();
    change(&mut timeouts);
    timeouts
}
