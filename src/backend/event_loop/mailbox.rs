//! What other threads leave for a loop.

use crate::handler::Wake;
use crate::net::Reactor;
use crate::serve_error::ServeError;
use crate::session::Session;
use crate::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use crate::sync::in_one_order;
use crossbeam_channel::{Receiver, Sender, unbounded};

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
    doze: Doze,
    /// How many connections the loop has, or will have when it has read its mail.
    pub(super) load: AtomicUsize,
}

impl Mailbox {
    pub(super) fn new(reactor: Reactor) -> Self {
        Self { reactor, mail: unbounded(), doze: Doze::new(), load: AtomicUsize::new(0) }
    }

    /// Leaves a message, and wakes the loop if it sleeps. A loop that is awake looks at its mail
    /// before it sleeps, so it need not be told: a loop's own handlers never make a system call
    /// here.
    pub(super) fn post(&self, mail: Mail) {
        // The receiver lives as long as the sender.
        let _ = self.mail.0.send(mail);
        if self.doze.disturb() {
            self.reactor.ring();
        }
    }

    /// How many messages have come since this was asked last: so many are to be read.
    pub(super) fn take_count(&self) -> usize {
        self.doze.take_count()
    }

    pub(super) fn next(&self) -> Option<Mail> {
        self.mail.1.try_recv().ok()
    }

    /// The loop is about to wait. `false` if there is mail to be read first.
    pub(super) fn fall_asleep(&self) -> bool {
        self.doze.begin()
    }

    pub(super) fn wake_up(&self) {
        self.doze.end();
    }
}

/// Whether a loop waits, or is about to: it has looked for mail for the last time. And how much mail
/// it has not looked at, which it can ask for by one plain load: it does so for every batch of events.
struct Doze {
    asleep: AtomicBool,
    count: AtomicUsize,
}

impl Doze {
    fn new() -> Self {
        Self { asleep: AtomicBool::new(false), count: AtomicUsize::new(0) }
    }

    /// Something was left for the loop. Whether it is to be woken: once for each sleep.
    fn disturb(&self) -> bool {
        self.count.fetch_add(1, Ordering::SeqCst);
        // In one order with `begin`: either the loop sees what was left, or we see it asleep.
        in_one_order();
        self.asleep.swap(false, Ordering::SeqCst)
    }

    /// How much was left since this was asked last.
    fn take_count(&self) -> usize {
        match self.count.load(Ordering::Relaxed) {
            0 => 0, // what has just come is found before the loop sleeps
            _ => self.count.swap(0, Ordering::Acquire),
        }
    }

    /// The loop is about to wait, unless there is something for it.
    fn begin(&self) -> bool {
        self.asleep.swap(true, Ordering::SeqCst);
        in_one_order();
        if self.count.load(Ordering::SeqCst) == 0 {
            return true;
        }
        self.end();
        false
    }

    fn end(&self) {
        self.asleep.store(false, Ordering::SeqCst);
    }
}

impl Wake for Mailbox {
    fn wake(&self, key: u64) {
        self.post(Mail::Wake(key));
    }
}

#[cfg(all(test, loom))]
mod model {
    use super::*;
    use crate::sync::Mutex;
    use loom::sync::Notify;
    use loom::thread;
    use std::sync::Arc;

    /// Two threads post while the loop sleeps and reads. Whatever the order, it gets all the mail,
    /// and never sleeps for good before.
    #[test]
    fn model_no_mail_is_slept_over() {
        let mut model = loom::model::Builder::new();
        // All orders with at most three preemptions: those with more are too many to wait for.
        model.preemption_bound = Some(3);
        model.check(|| {
            let shared = Arc::new((Doze::new(), Mutex::new(0), Notify::new()));
            let posting = [0, 1].map(|_| {
                let shared = Arc::clone(&shared);
                thread::spawn(move || {
                    let (doze, mail, bell) = &*shared;
                    *mail.lock().unwrap() += 1;
                    if doze.disturb() {
                        bell.notify();
                    }
                })
            });
            let (doze, mail, bell) = &*shared;
            let mut read = 0;
            while read < 2 {
                if doze.begin() {
                    bell.wait();
                    doze.end();
                }
                for _ in 0..doze.take_count() {
                    let left = &mut *mail.lock().unwrap();
                    *left = u32::checked_sub(*left, 1).expect("what is counted is there");
                    read += 1;
                }
            }
            posting.into_iter().for_each(|thread| thread.join().unwrap());
        });
    }
}
