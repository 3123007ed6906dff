//! One worker of a pool: take a session that is ready, give it its turn, put it back.

use super::shared::{ACCEPTOR, Buffers, News, Shared};
use super::slots::{Entry, Slot, State};
use crate::backend::slots::Key;
use crate::connection::{Ready, Turn, Wants};
use crate::net::{Event, Interest, poller_key};
use crate::serve_error::ServeError;
use crate::session::Scratch;
use std::time::Instant;

/// Works until the pool stops.
pub(super) fn work(shared: &Shared, number: usize) {
    let mut worker = Worker::new(shared, number);
    let mut buffers = Buffers::new();
    loop {
        shared.pace.enter(number, || shared.rouse());
        if shared.is_stopping() {
            break;
        }
        worker.run_queued();
        worker.run_due();
        match shared.wait(number, &mut buffers) {
            Ok(Some(event)) => worker.serve_all(event),
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
    let mut helper = Worker::new(shared, NOBODY);
    for _ in 0..shared.queued() {
        helper.run_one_queued();
    }
}

/// The number of a worker that is none of the pool's, and never leads.
const NOBODY: usize = usize::MAX >> 2;

struct Worker<'a> {
    shared: &'a Shared,
    number: usize,
    scratch: Scratch,
}

impl<'a> Worker<'a> {
    fn new(shared: &'a Shared, number: usize) -> Self {
        Self { shared, number, scratch: Scratch::new().allow_blocking(true) }
    }

    /// Serves an event, and those that are left over for as long as this worker is to.
    fn serve_all(&mut self, first: Event) {
        let mut next = Some(first);
        while let Some(event) = next {
            self.serve(event);
            if !self.shared.pace.goes_on(self.number) {
                return;
            }
            next = self.shared.next_leftover(self.number);
        }
    }

    /// Runs sessions of the queue: all that are in it now, if this worker leads the others, who
    /// are parked; or one. Sockets have their turn before the next.
    fn run_queued(&mut self) {
        let alone = !self.shared.pace.is_slow();
        let n = if alone { self.shared.queued() } else { 1 };
        for _ in 0..n {
            self.run_one_queued();
            if !self.shared.pace.goes_on(self.number) {
                return;
            }
        }
    }

    fn run_one_queued(&mut self) {
        let Some(key) = self.shared.next_queued() else { return };
        if let Some(slot) = self.shared.slots.get(key) {
            let before = slot.change(key, |_| Some(State::Running));
            let heard = before == Some(State::QueuedReady);
            self.run(slot, key, if heard { SOMETHING } else { NOTHING });
        }
    }

    /// Runs the sessions whose wake-ups are due.
    fn run_due(&mut self) {
        if !self.shared.clock.may_be_due() {
            return; // without a look at the clock
        }
        // What becomes due meanwhile comes later: sockets have their turn before.
        let by = Instant::now();
        while let Some((index, at, is_more)) = self.shared.clock.due(by) {
            let Some((key, slot)) = self.shared.slots.find(index) else { continue };
            // Whoever else has it, or takes it from the queue, sees what is due.
            if slot.change(key, claim) == Some(State::Idle) {
                let fires = slot.entry().as_mut().is_some_and(|entry| entry.timer.fires(at));
                // A wake-up of a session that is gone, or one that another has outdated, is none;
                // unless somebody has left something meanwhile.
                let given_back = |state| (state == State::Running).then_some(State::Idle);
                if fires || slot.change(key, given_back) != Some(State::Running) {
                    if is_more {
                        self.shared.cover(self.number);
                    }
                    self.run(slot, key, if fires { NOTHING } else { SOMETHING });
                }
            }
        }
    }

    fn serve(&mut self, event: Event) {
        let Event { key, ready, only_bytes } = event;
        if key == ACCEPTOR || key == poller_key(ACCEPTOR) as u64 {
            return self.shared.accept_as_worker(Instant::now());
        }
        let key = Key::from_u64(key);
        let Some(slot) = self.shared.slots.get(key) else { return };
        if slot.change(key, claim_ready) == Some(State::Idle) {
            self.run(slot, key, Heard { ready, only_bytes });
        }
    }

    /// Gives a session its turn, and once more if something came meanwhile.
    fn run(&mut self, slot: &Slot, key: Key, mut heard: Heard) {
        let mut may_repeat = true;
        loop {
            let mut guard = slot.entry();
            let Some(entry) = guard.as_mut() else { return };
            // One that was due may have been taken by somebody who left it to us.
            self.shared.clock.forget_taken(&mut entry.timer);
            let now = Instant::now();
            let wants = entry.turn(key, heard, now, &mut self.scratch);
            let took = self.scratch.now().saturating_duration_since(now);
            self.shared.pace.count_turn(self.number, took);
            let Some(wants) = wants else {
                let left = entry.timer;
                let ended = guard.take();
                drop(guard);
                // Deleted from the poller, then closed, and only then is the slot free.
                drop(ended);
                return self.shared.slots.give_back(key, left);
            };
            self.shared.set_timer(key, &mut entry.timer, wants.deadline);
            drop(guard);
            if self.put_back(slot, key, &wants, may_repeat) {
                return;
            }
            (heard, may_repeat) = (SOMETHING, false);
        }
    }

    /// The turn is over. `false` if the session is to run once more.
    fn put_back(&self, slot: &Slot, key: Key, wants: &Wants, may_repeat: bool) -> bool {
        let next = if wants.again { State::Queued } else { State::Idle };
        let after = |state| after_turn(state, next, may_repeat);
        let after = slot.change(key, after).and_then(after);
        if matches!(after, Some(State::Queued | State::QueuedReady)) {
            self.shared.enqueue(key);
        }
        after != Some(State::Running)
    }
}

/// What is known of why a session has its turn.
#[derive(Debug, Clone, Copy)]
struct Heard {
    ready: Ready,
    /// Nothing has come but bytes to read, if anything has.
    only_bytes: bool,
}

/// A wake, or a deadline.
const NOTHING: Heard = Heard { ready: Ready::NONE, only_bytes: true };
/// An event of which nothing is known any more.
const SOMETHING: Heard = Heard { ready: Ready::BOTH, only_bytes: false };

impl Entry {
    /// Gives the session its turn, and sees to it that the poller tells of what it wants. `None` if
    /// it has ended, or the system has no room to watch it.
    fn turn(
        &mut self,
        key: Key,
        heard: Heard,
        now: Instant,
        scratch: &mut Scratch,
    ) -> Option<Wants> {
        let session = self.session.source_mut();
        if heard.ready != Ready::NONE {
            // The poller has told of it, and will not again.
            session.stream().set_drained(false);
        }
        let turn = session.turn_lazily(heard.ready, now, self.timer.is_set(), scratch);
        let Turn::Wait(wants) = turn else { return None };
        let is_tcp = session.is_tcp();
        // An end that has come with the last bytes is no byte, and is told of only once, too.
        let drained = heard.only_bytes && is_tcp && session.stream().is_drained();
        let (place, interest) = (poller_key(key.to_u64()), Interest::from(wants));
        if drained {
            self.session.set_drained(place, interest).ok()?;
        } else {
            self.session.set(place, interest).ok()?;
        }
        // From here on, the poller tells of whatever is there.
        self.session.source().stream().set_drained(true);
        Some(wants)
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

/// What becomes of a session after its turn: what it wants, unless something came meanwhile. Then
/// it runs once more; but others have their turn before it does so again.
pub(super) fn after_turn(state: State, next: State, may_repeat: bool) -> Option<State> {
    match state {
        State::RunningAgain if may_repeat => Some(State::Running),
        State::RunningAgain => Some(State::QueuedReady),
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
