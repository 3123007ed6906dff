//! One worker of a pool: take a session that is ready, give it its turn, put it back.

use super::shared::{ACCEPTOR, News, Shared};
use super::slots::{Slot, State};
use crate::backend::slots::Key;
use crate::connection::{Ready, Turn, Wants};
use crate::net::{Events, Interest, poller_key};
use crate::serve_error::ServeError;
use crate::session::Scratch;
use std::num::NonZeroUsize;
use std::time::Instant;

/// A worker takes one event at a time: a second one would wait for the handler of the first, which
/// may block, while other workers have nothing to do.
const ONE: NonZeroUsize = NonZeroUsize::new(1).unwrap();

/// Works until the pool stops.
pub(super) fn work(shared: &Shared, number: usize) {
    let mut worker = Worker { shared, scratch: Scratch::new().allow_blocking(true) };
    let mut events = Events::with_capacity(ONE);
    while !shared.is_stopping() {
        worker.run_queued();
        worker.run_due();
        match shared.wait(number, &mut events) {
            Ok(Some((key, ready))) => worker.serve(key, ready),
            Ok(None) => (),
            Err(error) => {
                let _ = shared.news.0.send(News::Failed(ServeError::Wait(error)));
                return;
            }
        }
    }
    // Where a ring wakes only one, each wakes the next.
    shared.reactor.ring_for_good();
}

/// Does the workers' work on another thread: runs all that is queued.
pub(super) fn help_out(shared: &Shared) {
    let mut helper = Worker { shared, scratch: Scratch::new().allow_blocking(true) };
    for _ in 0..shared.queue.1.len() {
        helper.run_queued();
    }
}

struct Worker<'a> {
    shared: &'a Shared,
    scratch: Scratch,
}

impl Worker<'_> {
    /// Runs one session of the queue; sockets have their turn before the next.
    fn run_queued(&mut self) {
        let Ok(key) = self.shared.queue.1.try_recv() else { return };
        if !self.shared.queue.1.is_empty() {
            // This one may take its time: let another worker see to the rest.
            self.shared.rouse();
        }
        let key = Key::from_u64(key);
        if let Some(slot) = self.shared.slots.get(key) {
            let before = slot.change(key, |_| Some(State::Running));
            let heard = before == Some(State::QueuedReady);
            self.run(slot, key, if heard { Ready::BOTH } else { Ready::NONE });
        }
    }

    /// Runs the sessions whose wake-ups are due.
    fn run_due(&mut self) {
        while let Some((key, at)) = self.shared.due(Instant::now()) {
            let Some(slot) = self.shared.slots.get(key) else { continue };
            // Whoever else has it, or takes it from the queue, sees what is due.
            if slot.change(key, claim) == Some(State::Idle) {
                if let Some(entry) = slot.entry().as_mut() {
                    entry.timer.fires(at);
                }
                self.run(slot, key, Ready::NONE);
            }
        }
    }

    fn serve(&mut self, key: u64, ready: Ready) {
        if key == ACCEPTOR || key == poller_key(ACCEPTOR) as u64 {
            return self.shared.accept_as_worker(Instant::now());
        }
        let key = Key::from_u64(key);
        let Some(slot) = self.shared.slots.get(key) else { return };
        if slot.change(key, claim_ready) == Some(State::Idle) {
            self.run(slot, key, ready);
        }
    }

    /// Gives a session its turn, and again for as long as something came meanwhile.
    fn run(&mut self, slot: &Slot, key: Key, mut ready: Ready) {
        loop {
            let mut guard = slot.entry();
            let Some(entry) = guard.as_mut() else { return };
            let now = Instant::now();
            let turn = entry.session.source_mut().turn(ready, now, &mut self.scratch);
            let wants = match turn {
                Turn::Wait(wants) if entry.session.set(Interest::from(wants)).is_ok() => wants,
                // It has ended, or the system has no room to watch it.
                _ => {
                    let ended = guard.take();
                    drop(guard);
                    // Deleted from the poller, then closed, and only then is the slot free.
                    drop(ended);
                    return self.shared.slots.give_back(key);
                }
            };
            // One that was due may have been taken by somebody who left it to us.
            entry.timer.forget_due(now);
            self.shared.set_timer(key, &mut entry.timer, wants.deadline);
            drop(guard);
            if self.put_back(slot, key, &wants) {
                return;
            }
            ready = Ready::BOTH;
        }
    }

    /// The turn is over. `false` if the session is to run once more.
    fn put_back(&self, slot: &Slot, key: Key, wants: &Wants) -> bool {
        let next = if wants.again { State::Queued } else { State::Idle };
        let before = slot.change(key, |state| after_turn(state, next));
        if before == Some(State::Running) && next == State::Queued {
            self.shared.enqueue(key);
        }
        before != Some(State::RunningAgain)
    }
}

/// Something has come for a slot: takes it, or has whoever has it run it once more. A state that
/// stays the same is written all the same, so that whoever takes the slot next does so after it.
pub(super) fn claim(state: State) -> Option<State> {
    match state {
        State::Idle => Some(State::Running),
        State::Running => Some(State::RunningAgain),
        other => Some(other),
    }
}

/// What becomes of a session after its turn: what it wants, unless something came meanwhile.
pub(super) fn after_turn(state: State, next: State) -> Option<State> {
    match state {
        State::RunningAgain => Some(State::Running),
        _ => Some(next),
    }
}

/// As `claim`, for an event of the socket. It comes once, so whoever takes the slot from the queue
/// must know of it.
pub(super) fn claim_ready(state: State) -> Option<State> {
    match state {
        State::Queued => Some(State::QueuedReady),
        other => claim(other),
    }
}
