//! What all connections of a server hold together, and who is not read because of it.
//!
//! Limits of single connections multiply: ten thousand that may hold a MiB each may hold ten GiB.
//! So each tells at the end of its turn what it holds, and the sum has a limit of its own. Above it
//! those that hold more than their share are not read, and well above it nobody is. Time-outs go
//! on, and taking a little of the output does not extend them, so that whoever holds without end is
//! closed in the end.

use super::{Connection, Env, PROBE_INTERVAL, Phase, State};
use crate::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use crate::sync::in_one_order;
use std::time::Instant;

/// The sum, kept with the limit beside it.
#[derive(Debug)]
pub(crate) struct Held {
    limit: usize,
    total: AtomicUsize,
    /// How many connections hold something.
    holders: AtomicUsize,
    /// Some connection is not read, and is to be woken when the total has fallen.
    awaited: AtomicBool,
}

impl Held {
    pub(super) fn new(limit: usize) -> Self {
        Self {
            limit,
            total: AtomicUsize::new(0),
            holders: AtomicUsize::new(0),
            awaited: AtomicBool::new(false),
        }
    }

    pub(crate) fn total(&self) -> usize {
        self.total.load(Ordering::SeqCst)
    }

    /// Whether who holds nothing may be read, and nobody waits for the total to fall.
    pub(crate) fn is_calm(&self) -> bool {
        self.total() <= self.limit && !self.awaited.load(Ordering::SeqCst)
    }

    /// A connection that held `before` holds `now`.
    fn change(&self, before: usize, now: usize) {
        if (before == 0) != (now == 0) {
            let one = if now == 0 { usize::MAX } else { 1 };
            self.holders.fetch_add(one, Ordering::Relaxed);
        }
        self.total.fetch_add(now.wrapping_sub(before), Ordering::SeqCst);
        in_one_order();
    }

    /// Whether a connection that holds `own` may be read. One that is not read so far has to wait
    /// until the total has fallen by some more, so that it does not go back and forth.
    pub(super) fn allows(&self, own: usize, is_starved: bool) -> bool {
        let total = self.total();
        if total <= if is_starved { self.low() } else { self.limit } {
            return true;
        }
        let holders = self.holders.load(Ordering::Relaxed);
        total <= self.high() && own <= self.limit / holders.max(1)
    }

    /// Above this nobody is read.
    fn high(&self) -> usize {
        self.limit.saturating_add(self.limit / 4)
    }

    /// Below this everybody is read again.
    fn low(&self) -> usize {
        self.limit - self.limit / 8
    }

    /// Somebody wants to be woken when the total has fallen.
    pub(crate) fn await_fall(&self) {
        self.awaited.store(true, Ordering::SeqCst);
        in_one_order();
    }

    /// Whether the total has fallen so far that those who wait for it are to be woken now.
    ///
    /// Who waits sets the flag and then looks at the total; who gives back lowers the total and
    /// then looks at the flag. In the one order of these steps, one of the two sees the other.
    pub(crate) fn has_fallen(&self) -> bool {
        self.awaited.load(Ordering::SeqCst)
            && self.total() <= self.low()
            && self.awaited.swap(false, Ordering::SeqCst)
    }
}

impl Connection {
    /// Tells what is held now, and finds out whether the peer may be read. `true` if it may not.
    pub(crate) fn balance(&mut self, env: &Env, now: Instant) -> bool {
        self.tell_held(self.bytes_held(), env);
        let own = self.extras.as_ref().map_or(0, |e| e.told_held);
        let was_starved = self.is_starved();
        // The request of who holds nothing may be there already when a drain begins, and nobody comes
        // after it.
        let is_last_word = own == 0 && env.phase() >= Phase::Draining;
        let may_be_read = is_last_word || env.held.allows(own, was_starved);
        let is_starved = self.state == State::Open && !may_be_read;
        if is_starved != was_starved {
            self.starve(is_starved, now);
        }
        is_starved
    }

    fn starve(&mut self, is_starved: bool, now: Instant) {
        let is_paused = self.flags.paused();
        let extras = self.extras();
        extras.starved = is_starved;
        if is_starved {
            // A reset would go unseen, as with one that is paused.
            extras.probe_at = extras.probe_at.or(now.checked_add(PROBE_INTERVAL));
        } else if !is_paused {
            extras.probe_at = None;
        }
    }

    /// The connection is over: nothing of it is held any more.
    pub(crate) fn leave_held(&mut self, env: &Env) {
        self.tell_held(0, env);
    }

    /// Whether the peer is not read because of what all connections hold.
    pub(crate) fn is_starved(&self) -> bool {
        self.extras.as_ref().is_some_and(|e| e.starved)
    }

    fn tell_held(&mut self, held: usize, env: &Env) {
        let Some(extras) = &mut self.extras else { return };
        let before = std::mem::replace(&mut extras.told_held, held);
        if before != held {
            env.held.change(before, held);
        }
    }

    /// Input that was left and output that waits, on both sides of a layer.
    fn bytes_held(&self) -> usize {
        let wire = |e: &super::Extras| e.layer.as_ref().map_or(0, |layer| layer.wire.len());
        let input = self.extras.as_ref().map_or(0, |e| e.input.len() + wire(e));
        input + self.output_held()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn whoever_holds_more_than_its_share_is_stopped_first_and_then_everybody() {
        let held = Held::new(1_000);
        held.change(0, 800);
        held.change(0, 200);
        assert!(held.allows(800, false), "the limit itself may be reached");
        held.change(200, 300);
        assert!(!held.allows(800, false) && held.allows(300, false) && held.allows(0, false));
        held.change(300, 451);
        assert!(!held.allows(300, false) && !held.allows(0, false), "{held:?}");
    }

    #[test]
    fn what_was_stopped_goes_on_when_the_total_has_fallen_by_some_more() {
        let held = Held::new(1_000);
        held.change(0, 1_100);
        assert!(!held.allows(1_100, false));
        held.await_fall();
        held.change(1_100, 900);
        assert!(!held.has_fallen() && held.allows(900, false), "{held:?}");
        held.change(900, 875);
        assert!(held.allows(875, true));
        assert!(held.has_fallen() && !held.has_fallen(), "it is told once");
        held.change(875, 0);
        assert_eq!((held.total(), held.holders.into_inner()), (0, 0));
    }

    #[test]
    fn without_a_limit_nobody_waits() {
        let held = Held::new(usize::MAX);
        held.change(0, usize::MAX / 2);
        assert!(held.allows(usize::MAX / 2, false));
    }
}

#[cfg(all(test, loom))]
mod model {
    use super::*;
    use crate::sync::Mutex;
    use loom::sync::Notify;
    use loom::thread;
    use std::sync::Arc;

    /// A server with one connection that is not read because of what two others hold.
    struct Server {
        held: Held,
        /// The connection is to be woken by whoever finds that the total has fallen.
        starved: Mutex<bool>,
        bell: Notify,
    }

    impl Server {
        fn relieve(&self) {
            let starved = std::mem::take(&mut *self.starved.lock().unwrap());
            if starved {
                self.bell.notify();
            }
        }

        /// The end of a turn of the connection that holds `own`, as the pump has it. Whether it is
        /// read from here on.
        fn balance(&self, own: usize, was_starved: bool) -> bool {
            let mut is_read = self.held.allows(own, was_starved);
            if !is_read {
                *self.starved.lock().unwrap() = true;
                self.held.await_fall();
                is_read = self.held.allows(own, true);
            }
            if self.held.has_fallen() {
                self.relieve();
            }
            is_read
        }

        /// The end of a turn of one that gives back all that it holds.
        fn give_back(&self, own: usize) {
            self.held.change(own, 0);
            if self.held.has_fallen() {
                self.relieve();
            }
        }
    }

    /// Two connections give back what they hold while a third finds that it may not be read. It has
    /// a turn again after the total has fallen, whatever the order.
    #[test]
    fn model_whoever_is_not_read_because_of_the_total_is_woken() {
        let mut model = loom::model::Builder::new();
        // All orders with at most four preemptions: those with more are too many to wait for.
        model.preemption_bound = Some(4);
        model.check(|| {
            let held = Held::new(8);
            [6, 3, 3].into_iter().for_each(|n| held.change(0, n));
            let (starved, bell) = (Mutex::new(false), Notify::new());
            let server = Arc::new(Server { held, starved, bell });
            let others = [(); 2].map(|()| {
                let server = Arc::clone(&server);
                thread::spawn(move || server.give_back(3))
            });
            let mut was_starved = false;
            while !server.balance(6, was_starved) {
                was_starved = true;
                server.bell.wait();
            }
            others.into_iter().for_each(|other| other.join().unwrap());
            assert_eq!(server.held.total(), 6);
        });
    }
}
