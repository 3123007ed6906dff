//! SIGTERM and SIGINT begin a drain (feature `signals`).
//!
//! The library itself never installs a signal handler; a program asks for it here. Only Unix has this
//! module: elsewhere nothing is sent that a program could wait for without polling.
#![cfg(unix)]

use crate::handler::Control;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::{Handle, Signals};
use std::io;
use std::thread::JoinHandle;
use std::time::Duration;

/// Drains the server on the first SIGTERM or SIGINT, and stops it on the second, until the returned
/// guard is dropped.
///
/// `grace` and `deadline` are those of [`Control::begin_drain`]. A thread named
/// `polyserve-signals` waits for the signals. Signals that come after the guard was dropped do
/// nothing: the system's default action is not put back (see the crate `signal-hook`).
///
/// [`Server::serve`](crate::Server::serve) returns when the drain is over. Its report is told to
/// [`Observer::drained`](crate::Observer::drained).
///
/// ```
/// use polyserve::{Server, signals};
/// # use polyserve::{Action, BoxError, Context, Handler, Input};
/// # struct Echo;
/// # impl Handler for Echo {
/// #     fn on_data(&mut self, input: &mut Input<'_>, cx: &mut Context<'_>) -> Result<Action, BoxError> {
/// #         cx.send(input.take());
/// #         Ok(Action::Continue)
/// #     }
/// # }
/// use std::time::Duration;
///
/// let server = Server::builder().bind("127.0.0.1:0")?.build()?;
/// let control = server.control();
/// let _signals = signals::drain_on_signals(control.clone(), Duration::ZERO, Duration::from_secs(15))?;
/// # control.stop();
/// server.serve(|_peer| Echo)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// The handlers cannot be installed, or the thread cannot be started.
pub fn drain_on_signals(
    control: Control,
    grace: Duration,
    deadline: Duration,
) -> io::Result<SignalGuard> {
    let mut signals = Signals::new([SIGTERM, SIGINT])?;
    let handle = signals.handle();
    let thread =
        std::thread::Builder::new().name("polyserve-signals".to_owned()).spawn(move || {
            let mut draining = false;
            for _signal in signals.forever() {
                if draining {
                    control.stop();
                } else {
                    control.begin_drain(grace, deadline);
                }
                draining = true;
            }
        })?;
    Ok(SignalGuard { handle, thread: Some(thread) })
}

/// Signals are heard while it lives.
#[derive(Debug)]
#[must_use = "dropping the guard ends the hearing of signals"]
pub struct SignalGuard {
    handle: Handle,
    thread: Option<JoinHandle<()>>,
}

impl Drop for SignalGuard {
    fn drop(&mut self) {
        self.handle.close();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
