//! A handler in front of the real one that breaks a promise of the trait.
//!
//! A session keeps these promises by itself, whatever its backend does, so they are broken here in
//! its stead: the questions must find out all the same, or they would not notice a session that is
//! wrong.

use polyserve::{Action, BoxError, CloseReason, Context, Handler, Input};

/// Which promise is broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Broken {
    /// `on_open` is called twice.
    OpensTwice,
    /// `on_open` is not called.
    SkipsOpen,
    /// `on_close` is called twice.
    ClosesTwice,
    /// `on_close` is not called.
    SkipsClose,
    /// `on_close` comes before the last callback.
    CallsBackAfterClose,
    /// `on_eof` comes twice.
    EndsTwice,
    /// `on_data` comes after `on_eof`.
    HasDataAfterTheEnd,
    /// `on_eof` comes without the bytes that were left.
    LosesWhatWasLeft,
    /// Bytes that were left are shown again without new ones.
    RepeatsWhatWasLeft,
    /// What is received first is shown last.
    Reorders,
    /// Bytes are sent twice.
    SendsTwice,
    /// An error is not seen.
    SwallowsErrors,
    /// `on_wake` is not called.
    SkipsWake,
    /// `on_timer` is not called.
    SkipsTimer,
    /// `on_writable` is not called.
    SkipsWritable,
    /// `on_shutdown` is not called.
    SkipsShutdown,
    /// `on_shutdown` is called twice.
    ShutsDownTwice,
}

pub(crate) struct FaultyHandler {
    inner: Box<dyn Handler>,
    broken: Broken,
}

type Told = Result<Action, BoxError>;

impl FaultyHandler {
    pub(crate) fn new(inner: Box<dyn Handler>, broken: Broken) -> Self {
        Self { inner, broken }
    }

    fn is(&self, broken: Broken) -> bool {
        self.broken == broken
    }

    /// Holds the first byte back, and shows it after the others.
    fn reorder(&mut self, input: &mut Input<'_>, cx: &mut Context<'_>) -> Told {
        let bytes = input.take();
        let (first, rest) = bytes.split_at(1);
        if !rest.is_empty() {
            let _ = self.inner.on_data(&mut Input::new(rest), cx)?;
        }
        self.inner.on_data(&mut Input::new(first), cx)
    }
}

impl Handler for FaultyHandler {
    fn on_open(&mut self, cx: &mut Context<'_>) -> Told {
        match self.broken {
            Broken::SkipsOpen => return Ok(Action::Continue),
            Broken::OpensTwice => drop(self.inner.on_open(cx)?),
            _ => (),
        }
        self.inner.on_open(cx)
    }

    fn on_data(&mut self, input: &mut Input<'_>, cx: &mut Context<'_>) -> Told {
        if self.is(Broken::Reorders) {
            return self.reorder(input, cx);
        }
        let bytes = input.as_slice();
        let before = input.len();
        let mut told = self.inner.on_data(input, cx);
        match self.broken {
            Broken::SendsTwice => cx.send(&bytes[..before - input.len()]),
            Broken::RepeatsWhatWasLeft if !input.is_empty() => {
                told = self.inner.on_data(input, cx);
            }
            Broken::SwallowsErrors if told.is_err() => told = Ok(Action::Continue),
            _ => (),
        }
        told
    }

    fn on_eof(&mut self, input: &mut Input<'_>, cx: &mut Context<'_>) -> Told {
        match self.broken {
            Broken::CallsBackAfterClose => self.inner.on_close(&CloseReason::PeerClosed),
            Broken::EndsTwice => drop(self.inner.on_eof(input, cx)?),
            Broken::LosesWhatWasLeft => drop(input.take()),
            _ => (),
        }
        let told = self.inner.on_eof(input, cx);
        if self.is(Broken::HasDataAfterTheEnd) {
            let _ = self.inner.on_data(&mut Input::new(b"late"), cx)?;
        }
        told
    }

    fn on_writable(&mut self, cx: &mut Context<'_>) -> Told {
        match self.broken {
            Broken::SkipsWritable => Ok(Action::Continue),
            _ => self.inner.on_writable(cx),
        }
    }

    fn on_wake(&mut self, cx: &mut Context<'_>) -> Told {
        match self.broken {
            Broken::SkipsWake => Ok(Action::Continue),
            _ => self.inner.on_wake(cx),
        }
    }

    fn on_timer(&mut self, cx: &mut Context<'_>) -> Told {
        match self.broken {
            Broken::SkipsTimer => Ok(Action::Continue),
            _ => self.inner.on_timer(cx),
        }
    }

    fn on_shutdown(&mut self, cx: &mut Context<'_>) -> Told {
        match self.broken {
            Broken::SkipsShutdown => return Ok(Action::Continue),
            Broken::ShutsDownTwice => drop(self.inner.on_shutdown(cx)?),
            _ => (),
        }
        self.inner.on_shutdown(cx)
    }

    fn on_close(&mut self, reason: &CloseReason) {
        match self.broken {
            Broken::SkipsClose | Broken::CallsBackAfterClose => return,
            Broken::ClosesTwice => self.inner.on_close(reason),
            _ => (),
        }
        self.inner.on_close(reason);
    }
}
