//! A handler put together from closures, because most questions need one or two callbacks.

use crate::buffer::Input;
use crate::handler::{Action, BoxError, CloseReason, Context, Handler};

pub(super) type Told = Result<Action, BoxError>;
type Step = Box<dyn FnMut(&mut Context<'_>) -> Told + Send>;
type Bytes = Box<dyn FnMut(&mut Input<'_>, &mut Context<'_>) -> Told + Send>;
type Close = Box<dyn FnMut(&CloseReason) + Send>;

/// What is left out behaves as the defaults of [`Handler`] do; `data` echoes.
#[derive(Default)]
pub(super) struct Role {
    open: Option<Step>,
    data: Option<Bytes>,
    eof: Option<Bytes>,
    writable: Option<Step>,
    wake: Option<Step>,
    timer: Option<Step>,
    shutdown: Option<Step>,
    close: Option<Close>,
}

macro_rules! setters {
    ($($name:ident($($arg:ty),*);)*) => {
        $(pub(super) fn $name(
            mut self,
            call: impl FnMut($($arg),*) -> Told + Send + 'static,
        ) -> Self {
            self.$name = Some(Box::new(call));
            self
        })*
    };
}

impl Role {
    pub(super) fn echo() -> Self {
        Self::default()
    }

    setters! {
        open(&mut Context<'_>);
        data(&mut Input<'_>, &mut Context<'_>);
        eof(&mut Input<'_>, &mut Context<'_>);
        writable(&mut Context<'_>);
        wake(&mut Context<'_>);
        timer(&mut Context<'_>);
        shutdown(&mut Context<'_>);
    }

    pub(super) fn close(mut self, call: impl FnMut(&CloseReason) + Send + 'static) -> Self {
        self.close = Some(Box::new(call));
        self
    }
}

fn step(call: &mut Option<Step>, cx: &mut Context<'_>) -> Told {
    call.as_mut().map_or(Ok(Action::Continue), |call| call(cx))
}

impl Handler for Role {
    fn on_open(&mut self, cx: &mut Context<'_>) -> Told {
        step(&mut self.open, cx)
    }

    fn on_data(&mut self, input: &mut Input<'_>, cx: &mut Context<'_>) -> Told {
        match &mut self.data {
            Some(call) => call(input, cx),
            None => {
                cx.send(input.take());
                Ok(Action::Continue)
            }
        }
    }

    fn on_eof(&mut self, input: &mut Input<'_>, cx: &mut Context<'_>) -> Told {
        self.eof.as_mut().map_or(Ok(Action::Close), |call| call(input, cx))
    }

    fn on_writable(&mut self, cx: &mut Context<'_>) -> Told {
        step(&mut self.writable, cx)
    }

    fn on_wake(&mut self, cx: &mut Context<'_>) -> Told {
        step(&mut self.wake, cx)
    }

    fn on_timer(&mut self, cx: &mut Context<'_>) -> Told {
        step(&mut self.timer, cx)
    }

    fn on_shutdown(&mut self, cx: &mut Context<'_>) -> Told {
        match &mut self.shutdown {
            Some(call) => call(cx),
            None if cx.is_busy() => Ok(Action::Continue),
            None => Ok(Action::Close),
        }
    }

    fn on_close(&mut self, reason: &CloseReason) {
        if let Some(call) = &mut self.close {
            call(reason);
        }
    }
}
