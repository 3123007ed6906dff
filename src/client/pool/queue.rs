//! Who gets a connection, and when: seats, idle connections, and those who wait in a line.

use super::super::deadline::Deadline;
use crate::limit::Limit;

use crossbeam_channel::{Receiver, Sender, bounded};
use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Hands out at most `max` seats. A seat may have something on it that was left there by the one
/// before: a connection.
#[derive(Debug)]
pub(super) struct Queue<T> {
    max: usize,
    max_idle_time: Limit<Duration>,
    state: Mutex<State<T>>,
}

/// Invariant: while anything is idle, nobody waits.
#[derive(Debug)]
struct State<T> {
    /// Seats that are taken, and idle ones. At most `max`.
    open: usize,
    /// The one that was given back last is behind, and is taken first: the others then grow old.
    idle: VecDeque<Idle<T>>,
    /// First come, first served.
    waiting: VecDeque<Waiter<T>>,
    tickets: u64,
}

#[derive(Debug)]
struct Idle<T> {
    item: T,
    since: Instant,
}

#[derive(Debug)]
struct Waiter<T> {
    ticket: u64,
    grant: Sender<Option<T>>,
}

/// All seats were taken until the deadline.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Full;

/// How many there are of each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) idle: usize,
    pub(super) in_use: usize,
    pub(super) waiting: usize,
}

impl<T> Queue<T> {
    pub(super) fn new(max: usize, max_idle_time: Limit<Duration>) -> Self {
        let state = State { open: 0, idle: VecDeque::new(), waiting: VecDeque::new(), tickets: 0 };
        Self { max, max_idle_time, state: Mutex::new(state) }
    }

    pub(super) fn max(&self) -> usize {
        self.max
    }

    /// Waits for a seat. It must be given back.
    pub(super) fn take(&self, deadline: &Deadline) -> Result<Option<T>, Full> {
        self.expire();
        let mut state = self.lock();
        if let Some(idle) = state.idle.pop_back() {
            return Ok(Some(idle.item));
        }
        if state.open < self.max {
            state.open += 1;
            return Ok(None);
        }
        let (ticket, granted) = state.enqueue();
        drop(state);
        self.wait(ticket, &granted, deadline)
    }

    fn wait(
        &self,
        ticket: u64,
        granted: &Receiver<Option<T>>,
        deadline: &Deadline,
    ) -> Result<Option<T>, Full> {
        let grant = match deadline.at() {
            Some(at) => granted.recv_deadline(at).ok(),
            None => granted.recv().ok(),
        };
        if let Some(grant) = grant {
            return Ok(grant);
        }
        let mut state = self.lock();
        match state.waiting.iter().position(|waiter| waiter.ticket == ticket) {
            Some(at) => drop(state.waiting.remove(at)),
            // Grants are sent under the lock: this one came in the last moment.
            None => return granted.try_recv().map_err(|_| Full),
        }
        Err(Full)
    }

    /// Gives a seat back, with what the next one may use.
    pub(super) fn give_back(&self, mut item: Option<T>) {
        self.expire();
        let mut state = self.lock();
        while let Some(waiter) = state.waiting.pop_front() {
            match waiter.grant.try_send(item) {
                Ok(()) => return,
                // Its thread is gone.
                Err(error) => item = error.into_inner(),
            }
        }
        match item {
            Some(item) => state.idle.push_back(Idle { item, since: Instant::now() }),
            None => state.open -= 1,
        }
    }

    /// Gives an empty seat in exchange for one that has something on it, if there is one.
    pub(super) fn exchange(&self) -> Option<T> {
        let mut state = self.lock();
        let idle = state.idle.pop_back()?;
        state.open -= 1;
        Some(idle.item)
    }

    /// Lets go of what has been idle for too long.
    fn expire(&self) {
        if let Some(max) = self.max_idle_time.get() {
            let now = Instant::now();
            self.remove_idle(|since| now.saturating_duration_since(since) > max);
        }
    }

    /// Lets go of all that is idle.
    pub(super) fn clear(&self) {
        self.remove_idle(|_| true);
    }

    /// The oldest are in front. They are dropped when the lock is free again.
    fn remove_idle(&self, is_old: impl Fn(Instant) -> bool) {
        let mut state = self.lock();
        let n = state.idle.iter().take_while(|idle| is_old(idle.since)).count();
        let removed: Vec<_> = state.idle.drain(..n).collect();
        state.open -= n;
        drop(state);
        drop(removed);
    }

    pub(super) fn counts(&self) -> Counts {
        let state = self.lock();
        let idle = state.idle.len();
        Counts { idle, in_use: state.open - idle, waiting: state.waiting.len() }
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> State<T> {
    fn enqueue(&mut self) -> (u64, Receiver<Option<T>>) {
        let (grant, granted) = bounded(1);
        let ticket = self.tickets;
        self.tickets += 1;
        self.waiting.push_back(Waiter { ticket, grant });
        (ticket, granted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc::channel;
    use std::thread;

    fn queue<T>(max: usize) -> Queue<T> {
        Queue::new(max, Limit::Unlimited)
    }

    fn at_once() -> Deadline {
        Deadline::start(Duration::ZERO.into())
    }

    fn in_time() -> Deadline {
        Deadline::start(Duration::from_secs(60).into())
    }

    /// Waits until so many are in the line.
    fn until_waiting<T>(queue: &Queue<T>, n: usize) {
        let deadline = in_time();
        while queue.counts().waiting < n {
            assert!(!deadline.has_passed(), "{n} never waited: {:?}", queue.counts());
            thread::yield_now();
        }
    }

    #[test]
    fn there_are_so_many_seats_and_no_more() {
        let queue = queue::<u8>(2);
        assert_eq!(queue.take(&at_once()), Ok(None));
        assert_eq!(queue.take(&at_once()), Ok(None));
        assert_eq!(queue.take(&at_once()), Err(Full));
        assert_eq!(queue.counts(), Counts { idle: 0, in_use: 2, waiting: 0 });
        queue.give_back(None);
        assert_eq!(queue.take(&at_once()), Ok(None));
    }

    #[test]
    fn what_was_given_back_last_is_taken_first() {
        let queue = queue(3);
        (0..3).for_each(|_| drop(queue.take(&at_once())));
        (0..3).for_each(|n| queue.give_back(Some(n)));
        assert_eq!(queue.counts(), Counts { idle: 3, in_use: 0, waiting: 0 });
        assert_eq!(queue.take(&at_once()), Ok(Some(2)));
        assert_eq!(queue.exchange(), Some(1), "in exchange for the seat");
        assert_eq!(queue.counts(), Counts { idle: 1, in_use: 1, waiting: 0 });
        queue.clear();
        assert_eq!(queue.counts(), Counts { idle: 0, in_use: 1, waiting: 0 });
    }

    #[test]
    fn what_is_idle_for_too_long_is_dropped() {
        let queue = Queue::new(3, Duration::ZERO.into());
        let item = std::sync::Arc::new(());
        assert!(queue.take(&at_once()).is_ok());
        queue.give_back(Some(std::sync::Arc::clone(&item)));
        let deadline = in_time();
        while queue.take(&at_once()) != Ok(None) {
            assert!(!deadline.has_passed(), "the clock does not move");
            queue.give_back(Some(std::sync::Arc::clone(&item)));
        }
        assert_eq!(std::sync::Arc::strong_count(&item), 1);
    }

    #[test]
    fn who_came_first_is_served_first() {
        let queue = queue(1);
        assert_eq!(queue.take(&at_once()), Ok(None));
        let (served, order) = channel();
        thread::scope(|scope| {
            for n in 0..10 {
                let (queue, served) = (&queue, served.clone());
                scope.spawn(move || {
                    let item = queue.take(&in_time()).expect("a seat");
                    served.send(n).unwrap();
                    queue.give_back(item);
                });
                until_waiting(queue, n + 1);
            }
            queue.give_back(Some("a connection"));
        });
        drop(served);
        assert!(order.iter().eq(0..10));
        assert_eq!(queue.counts(), Counts { idle: 1, in_use: 0, waiting: 0 });
    }

    #[test]
    fn who_gives_up_leaves_the_line() {
        let queue = queue(1);
        assert_eq!(queue.take(&at_once()), Ok(None));
        let short = Deadline::start(Duration::from_millis(10).into());
        assert_eq!(queue.take(&short), Err(Full));
        assert_eq!(queue.counts(), Counts { idle: 0, in_use: 1, waiting: 0 });
        queue.give_back(Some(7));
        assert_eq!(queue.take(&at_once()), Ok(Some(7)));
    }

    /// Deadlines of zero and seats that come back at the same moment: none may be lost.
    #[test]
    fn no_seat_is_lost_or_doubled_by_those_who_give_up() {
        const MAX: usize = 3;
        let queue = queue::<u32>(MAX);
        let in_use = AtomicUsize::new(0);
        let served = AtomicUsize::new(0);
        thread::scope(|scope| {
            for thread in 0..8u64 {
                let (queue, in_use, served) = (&queue, &in_use, &served);
                scope.spawn(move || {
                    for round in 0..2_000 {
                        let wait = Duration::from_micros((thread * 7 + round) % 50);
                        let Ok(item) = queue.take(&Deadline::start(wait.into())) else {
                            continue;
                        };
                        served.fetch_add(1, Ordering::Relaxed);
                        assert!(in_use.fetch_add(1, Ordering::SeqCst) < MAX);
                        in_use.fetch_sub(1, Ordering::SeqCst);
                        queue.give_back(match round % 3 {
                            0 => None,
                            _ => Some(item.unwrap_or(0)),
                        });
                    }
                });
            }
        });
        let counts = queue.counts();
        assert_eq!((counts.in_use, counts.waiting), (0, 0));
        assert!(counts.idle <= MAX && served.into_inner() > 0);
    }
}
