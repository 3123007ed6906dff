//! What other threads leave for a loop.

use crate::handler::Wake;
use crate::net::Reactor;
use crate::serve_error::ServeError;
use crate::session::Session;
use crossbeam_channel::{Receiver, Sender, unbounded};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// One message to a loop.
pub(super) enum Mail {
    /// Serve this connection.
    Adopt(Box<Session>),
    /// Look at what is under this key. There is at most one such message for each connection on
    /// the way, since a session that was woken is not woken again before its turn.
    Wake(u64),
    /// Another loop has failed.
    Failed(ServeError),
    /// Drop everything and end.
    Stop,
}

/// A loop as other threads see it: its reactor, its mail, and how much it has to do.
pub(super) struct Mailbox {
    pub(super) reactor: Reactor,
    mail: (Sender<Mail>, Receiver<Mail>),
    /// The loop waits, or is about to: it has looked for mail for the last time.
    asleep: AtomicBool,
    /// How many connections the loop has, or will have when it has read its mail.
    pub(super) load: AtomicUsize,
}

impl Mailbox {
    pub(super) fn new(reactor: Reactor) -> Self {
        Self {
            reactor,
            mail: unbounded(),
            asleep: AtomicBool::new(false),
            load: AtomicUsize::new(0),
        }
    }

    /// Leaves a message, and wakes the loop if it sleeps. A loop that is awake looks at its mail
    /// before it sleeps, so it need not be told: a loop's own handlers never make a system call
    /// here.
    pub(super) fn post(&self, mail: Mail) {
        // The receiver lives as long as the sender.
        let _ = self.mail.0.send(mail);
        // Full order with `fall_asleep`: either the loop sees the message, or we see it asleep.
        if self.asleep.swap(false, Ordering::SeqCst) {
            self.reactor.ring();
        }
    }

    /// How many messages there are.
    pub(super) fn waiting(&self) -> usize {
        self.mail.1.len()
    }

    pub(super) fn next(&self) -> Option<Mail> {
        self.mail.1.try_recv().ok()
    }

    /// The loop is about to wait. `false` if there is mail to be read first.
    pub(super) fn fall_asleep(&self) -> bool {
        self.asleep.store(true, Ordering::SeqCst);
        if self.mail.1.is_empty() {
            return true;
        }
        self.wake_up();
        false
    }

    pub(super) fn wake_up(&self) {
        self.asleep.store(false, Ordering::Relaxed);
    }
}

impl Wake for Mailbox {
    fn wake(&self, key: u64) {
        self.post(Mail::Wake(key));
    }
}
