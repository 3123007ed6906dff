//! Sessions that move from worker to worker, each in the hands of at most one.
//!
//! ```text
//!            wake                 a worker takes it
//!   Idle ----------> Queued --------------------------> Running <---> RunningAgain
//!    ^  \       (an event meanwhile is noted)            ^  |    wake or event meanwhile:
//!    |   `--------- event: a worker takes it ------------'  |    run once more
//!    `---------------------- turn is over ------------------'
//! ```

use crate::backend::slots::{FIRST_GENERATION, Key, next_generation};
use crate::backend::timers::TimerState;
use crate::net::Registration;
use crate::session::Session;
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::sync::{Mutex, MutexGuard, PoisonError};
use std::sync::OnceLock;

/// What a slot is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum State {
    Free,
    /// Its session waits in the poller, or for a timer.
    Idle,
    /// It is in the run queue.
    Queued,
    /// It is in the run queue, and its socket has become ready meanwhile.
    QueuedReady,
    /// A worker has it.
    Running,
    /// A worker has it, and is to run it once more.
    RunningAgain,
}

pub(super) struct Entry {
    pub(super) session: Registration<Session>,
    pub(super) timer: TimerState,
}

pub(super) struct Slot {
    /// Generation and state in one, so that a stale key changes nothing.
    word: AtomicU64,
    entry: Mutex<Option<Entry>>,
}

/// All slots. They are found without a lock, and never move.
pub(super) struct SharedSlots {
    chunks: Box<[OnceLock<Box<[Slot]>>]>,
    free: Mutex<Free>,
}

struct Free {
    /// With the wake-up that the last session in it has left.
    list: Vec<(u32, TimerState)>,
    chunks: usize,
}

const CHUNK: usize = 512;
/// Enough for two million connections, at 16 bytes a chunk.
const CHUNKS: usize = 4096;

impl SharedSlots {
    pub(super) fn new() -> Self {
        Self {
            chunks: (0..CHUNKS).map(|_| OnceLock::new()).collect(),
            free: Mutex::new(Free { list: Vec::new(), chunks: 0 }),
        }
    }

    pub(super) fn get(&self, key: Key) -> Option<&Slot> {
        let index = key.index as usize;
        self.chunks.get(index / CHUNK)?.get()?.get(index % CHUNK)
    }

    /// The slot with this number, and the key of whatever is in it now.
    pub(super) fn find(&self, index: u32) -> Option<(Key, &Slot)> {
        let slot = self.get(Key { index, generation: 0 })?;
        Some((Key { index, generation: slot.generation() }, slot))
    }

    /// Takes a free slot, and says which, and what wake-up was left for it, which may have passed. `None`
    /// if there are no more.
    pub(super) fn take(&self) -> Option<(Key, TimerState)> {
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        if free.list.is_empty() {
            let chunk = free.chunks;
            self.chunks.get(chunk)?.get_or_init(|| (0..CHUNK).map(|_| Slot::new()).collect());
            free.chunks += 1;
            let first = chunk * CHUNK;
            free.list.extend(
                (first..first + CHUNK).rev().map(|index| (index as u32, TimerState::default())),
            );
        }
        let (index, left) = free.list.pop()?;
        drop(free);
        let generation = self.get(Key { index, generation: 0 })?.generation();
        Some((Key { index, generation }, left))
    }

    /// Gives back a slot whose entry was taken out, with the wake-up that is left.
    pub(super) fn give_back(&self, key: Key, left: TimerState) {
        let Some(slot) = self.get(key) else { return };
        // The slot's own: a key that comes from a poller may not have it.
        let next = next_generation(slot.generation());
        slot.word.store(word(next, State::Free), Ordering::SeqCst);
        self.free.lock().unwrap_or_else(PoisonError::into_inner).list.push((key.index, left));
    }

    /// All slots that were ever used.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Slot> {
        self.chunks.iter().map_while(OnceLock::get).flatten()
    }
}

impl Slot {
    fn new() -> Self {
        Self { word: AtomicU64::new(word(FIRST_GENERATION, State::Free)), entry: Mutex::new(None) }
    }

    /// The entry. Nobody but the worker that has the slot looks at it, so the lock is free.
    pub(super) fn entry(&self) -> MutexGuard<'_, Option<Entry>> {
        self.entry.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the entry out, if the slot is in nobody's hands.
    pub(super) fn try_take(&self) -> Option<Entry> {
        self.entry.try_lock().ok()?.take()
    }

    fn generation(&self) -> u32 {
        (self.word.load(Ordering::SeqCst) >> 32) as u32
    }

    /// Sets the state of a slot that is in the caller's hands.
    pub(super) fn set(&self, key: Key, state: State) {
        self.word.store(word(key.generation, state), Ordering::SeqCst);
    }

    /// Changes the state by `step`, which may leave it. Returns the state before; `None` if the key
    /// is stale.
    pub(super) fn change(&self, key: Key, step: impl Fn(State) -> Option<State>) -> Option<State> {
        let mut now = self.word.load(Ordering::SeqCst);
        loop {
            let generation = (now >> 32) as u32;
            let before = state(now);
            if !key.fits(generation) || before == State::Free {
                return None;
            }
            let Some(after) = step(before) else { return Some(before) };
            let next = word(generation, after);
            match self.word.compare_exchange(now, next, Ordering::SeqCst, Ordering::SeqCst) {
                Ok(_) => return Some(before),
                Err(other) => now = other,
            }
        }
    }
}

fn word(generation: u32, state: State) -> u64 {
    u64::from(generation) << 32 | state as u64
}

fn state(word: u64) -> State {
    match word as u8 {
        0 => State::Free,
        1 => State::Idle,
        2 => State::Queued,
        3 => State::QueuedReady,
        4 => State::Running,
        _ => State::RunningAgain,
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_slot_that_was_given_back_knows_its_old_key_no_more() {
        let slots = SharedSlots::new();
        let (old, _) = slots.take().unwrap();
        slots.get(old).unwrap().set(old, State::Idle);
        assert_eq!(slots.get(old).unwrap().change(old, |_| None), Some(State::Idle));
        slots.give_back(old, TimerState::default());
        let (new, _) = slots.take().unwrap();
        assert_eq!((new.index, new.generation), (old.index, old.generation + 1));
        slots.get(new).unwrap().set(new, State::Idle);
        let stale = slots.get(old).unwrap().change(old, |_| Some(State::Queued));
        assert_eq!(stale, None);
        assert_eq!(slots.get(new).unwrap().change(new, |_| None), Some(State::Idle));
    }

    #[test]
    fn slots_come_in_order_and_beyond_one_chunk() {
        let slots = SharedSlots::new();
        let taken: Vec<u32> = (0..2 * CHUNK).map(|_| slots.take().unwrap().0.index).collect();
        assert!(taken.into_iter().eq(0..2 * CHUNK as u32));
        assert_eq!(slots.iter().count(), 2 * CHUNK);
    }

    /// There is one for every idle connection, and 80 bytes elsewhere, as for a loop's: 192, where 200
    /// are promised.
    #[cfg(target_pointer_width = "64")]
    #[test]
    fn a_slot_is_small() {
        assert_eq!(size_of::<Slot>(), 112);
    }
}

#[cfg(all(test, loom))]
mod model {
    use super::*;
    use loom::sync::Notify;
    use loom::thread;
    use std::sync::Arc;

    const KEY: Key = Key { index: 0, generation: FIRST_GENERATION };

    struct Pool {
        slot: Slot,
        /// What was left for the session, by those who wake it: each of its turns sees that.
        left: Mutex<u32>,
        /// What its socket has been told to have: only a turn that knows of it looks there.
        came: Mutex<u32>,
        /// How many workers have the session.
        held: Mutex<u32>,
        seen: Mutex<u32>,
        queue: Notify,
    }

    impl Pool {
        /// What `Shared::wake` does.
        fn wake(&self) {
            *self.left.lock().unwrap() += 1;
            if self.slot.change(KEY, super::super::shared::woken) == Some(State::Idle) {
                self.queue.notify();
            }
        }

        /// What `Worker::serve` does with an event, which comes once.
        fn event(&self) {
            *self.came.lock().unwrap() += 1;
            let claim = super::super::worker::claim_ready;
            if self.slot.change(KEY, claim) == Some(State::Idle) {
                self.run(true);
            }
        }

        /// What a worker does with a session of the queue.
        fn run_queued(&self) {
            let before = self.slot.change(KEY, |_| Some(State::Running));
            self.run(before == Some(State::QueuedReady));
        }

        /// What a worker does with a session that it took.
        fn run(&self, mut heard: bool) {
            let mut may_repeat = true;
            loop {
                *self.held.lock().unwrap() += 1;
                assert_eq!(*self.held.lock().unwrap(), 1, "two workers have one session");
                *self.seen.lock().unwrap() += std::mem::take(&mut *self.left.lock().unwrap());
                if heard {
                    *self.seen.lock().unwrap() += std::mem::take(&mut *self.came.lock().unwrap());
                }
                *self.held.lock().unwrap() -= 1;
                let after =
                    |state| super::super::worker::after_turn(state, State::Idle, may_repeat);
                match self.slot.change(KEY, after).and_then(after) {
                    Some(State::Running) => (heard, may_repeat) = (true, false),
                    Some(State::QueuedReady) => return self.queue.notify(),
                    _ => return,
                }
            }
        }
    }

    /// A thread wakes an idle session while events come for it, which are told only once. Whatever
    /// the order, never do two have it at once, and all that was left for it or came is seen.
    fn check(preemptions: usize, wakes: usize, events: usize) {
        let mut model = loom::model::Builder::new();
        // Those with more preemptions are too many to wait for.
        model.preemption_bound = Some(preemptions);
        model.check(move || {
            let pool = Arc::new(Pool {
                slot: Slot::new(),
                left: Mutex::new(0),
                came: Mutex::new(0),
                held: Mutex::new(0),
                seen: Mutex::new(0),
                queue: Notify::new(),
            });
            pool.slot.set(KEY, State::Idle);
            let deeds = (0..wakes).map(|_| Pool::wake as fn(&Pool));
            let deeds = deeds.chain((0..events).map(|_| Pool::event as fn(&Pool)));
            let others: Vec<_> = deeds
                .map(|deed| {
                    let pool = Arc::clone(&pool);
                    thread::spawn(move || deed(&pool))
                })
                .collect();
            while *pool.seen.lock().unwrap() < (wakes + events) as u32 {
                // A worker of the queue; it ends when all was seen, by whomever.
                let state = pool.slot.change(KEY, |_| None);
                if matches!(state, Some(State::Queued | State::QueuedReady)) {
                    pool.queue.wait();
                    pool.run_queued();
                } else {
                    thread::yield_now();
                }
            }
            others.into_iter().for_each(|other| other.join().unwrap());
        });
    }

    #[test]
    fn model_a_session_is_run_by_one_and_misses_nothing() {
        check(3, 1, 1);
    }

    #[test]
    fn model_an_event_that_comes_during_a_turn_is_not_lost() {
        check(2, 0, 3);
    }
}
