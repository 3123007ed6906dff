//! Listeners that were passed to this process when it was started (feature `activation`).
//!
//! systemd, and others that have adopted its protocol, open the sockets of a service and start it with
//! them: descriptors from 3 on, told by the variables `LISTEN_FDS`, `LISTEN_PID` and `LISTEN_FDNAMES`
//! (sd_listen_fds(3)). The manager keeps the sockets, so the service can be started by its first client,
//! and can be replaced without a client being refused: those who come meanwhile wait in the backlog.
//!
//! [`Builder::activated_or_bind`](crate::Builder::activated_or_bind) is all that most programs need. A
//! program that tells its sockets apart takes them by [`take_listeners`]:
//!
//! ```
//! use polyserve::{Server, activation};
//! # use polyserve::{Action, BoxError, Context, Handler, Input};
//! # struct Echo;
//! # impl Handler for Echo {
//! #     fn on_data(&mut self, input: &mut Input<'_>, cx: &mut Context<'_>) -> Result<Action, BoxError> {
//! #         cx.send(input.take());
//! #         Ok(Action::Continue)
//! #     }
//! # }
//!
//! let (admin, public): (Vec<_>, Vec<_>) =
//!     activation::take_listeners()?.into_iter().partition(|passed| passed.name() == "admin");
//! let mut server = Server::builder().listeners(public)?;
//! if admin.is_empty() {
//!     // Nobody has passed any: started by hand.
//!     server = server.bind("127.0.0.1:0")?;
//! }
//! let server = server.spawn(|_peer| Echo)?;
//! # drop(server);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! ```ini
//! # app.socket
//! [Socket]
//! ListenStream=80
//! FileDescriptorName=public
//!
//! # app.service
//! [Service]
//! ExecStart=/usr/bin/app
//! ```

use super::bind_error::{BindError, BindErrorKind};
use super::listener::Listener;
use std::io;
use std::sync::{Mutex, PoisonError};

/// A listener that was passed to this process, and its name.
///
/// It is [shared](Listener::shared): who passed it has it as well.
#[derive(Debug)]
pub struct Passed {
    name: String,
    listener: Listener,
}

impl Passed {
    /// What whoever passed it calls it: systemd's `FileDescriptorName=`, which is the name of the socket
    /// unit if it is not set. Empty if names were not told.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The listener alone.
    pub fn into_listener(self) -> Listener {
        self.listener
    }
}

impl From<Passed> for Listener {
    fn from(passed: Passed) -> Self {
        passed.listener
    }
}

/// More than a service has, and few enough to count to.
const MAX_PASSED: usize = 4096;

/// Takes the listeners that were passed to this process, in their order. None if none were: if
/// `LISTEN_FDS` is not set, or if `LISTEN_PID` names another process, to whose descendants the
/// variables have come down. `LISTEN_PID` may be missing, as it is with some tools for developers.
///
/// They are taken once: a second call returns none. The variables `LISTEN_FDS` and `LISTEN_PID` are
/// removed, so that no child process takes them for its own; call it before other threads that may
/// read the environment are started. The descriptors are set not to be inherited by child processes.
///
/// Only on Unix; elsewhere it returns none.
///
/// # Errors
/// `LISTEN_FDS` is no number, or one of the sockets is none that listens for streams (TCP or
/// Unix): a socket for datagrams, a connection (`Accept=yes`), or a file. The error tells which. None
/// of them is taken then.
pub fn take_listeners() -> Result<Vec<Passed>, BindError> {
    // Two at once would both read the variables before either has removed them.
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _one = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    if !is_for_us() {
        return Ok(Vec::new());
    }
    check_count()?;
    let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
    let mut names = names.split(':');
    let mut passed = listenfd::ListenFd::from_env();
    (0..passed.len()).map(|at| take(&mut passed, at, names.next().unwrap_or_default())).collect()
}

/// Whether the variables are about this process.
fn is_for_us() -> bool {
    let pid = std::env::var("LISTEN_PID").unwrap_or_default();
    let is_ours = pid.is_empty() || pid.parse() == Ok(std::process::id());
    cfg!(unix) && is_ours && std::env::var_os("LISTEN_FDS").is_some()
}

fn check_count() -> Result<(), BindError> {
    let given = std::env::var("LISTEN_FDS").unwrap_or_else(|_| "text that is not UTF-8".into());
    match given.parse() {
        Ok(0..=MAX_PASSED) => Ok(()),
        _ => {
            let name = format!("the sockets of LISTEN_FDS=`{}`", given.escape_debug());
            Err(BindError::named(name, BindErrorKind::PassedCount, None))
        }
    }
}

fn take(passed: &mut listenfd::ListenFd, at: usize, name: &str) -> Result<Passed, BindError> {
    let called = match name {
        "" => format!("passed socket {at}"),
        name => format!("passed socket {at} (`{}`)", name.escape_debug()),
    };
    let listener = match take_socket(passed, at) {
        Ok(Some(socket)) => Listener::from_socket_named(socket, &called)?,
        Ok(None) => return Err(BindError::named(called, BindErrorKind::NotListening, None)),
        Err(source) => {
            return Err(BindError::named(called, BindErrorKind::NotListening, Some(source)));
        }
    };
    Ok(Passed { name: name.to_owned(), listener: listener.shared() })
}

/// The crate `listenfd` looks what kind of socket it is; sets it not to be inherited; and makes an
/// owned one of the number, which takes `unsafe` code.
#[cfg(unix)]
fn take_socket(passed: &mut listenfd::ListenFd, at: usize) -> io::Result<Option<socket2::Socket>> {
    match passed.take_tcp_listener(at) {
        Ok(tcp) => Ok(tcp.map(Into::into)),
        Err(_) => {
            let unix = passed.take_unix_listener(at)?;
            Ok(unix.map(|unix| std::os::fd::OwnedFd::from(unix).into()))
        }
    }
}

#[cfg(not(unix))]
fn take_socket(_: &mut listenfd::ListenFd, _: usize) -> io::Result<Option<socket2::Socket>> {
    Ok(None)
}
