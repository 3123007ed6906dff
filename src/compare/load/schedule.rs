//! Which request is sent when.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// When requests are sent, and which of them count.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Plan {
    /// So many, one after the other; all of them count.
    Count(u64),
    /// As fast as responses come. Those that come between the two instants count.
    Closed { begin: Instant, end: Instant },
    /// From `start` on, one in each interval. Those that are due between the other two count.
    Open { start: Instant, interval: Duration, begin: Instant, end: Instant },
}

impl Plan {
    /// From when to when it counts. `None` if all of it does.
    pub(super) fn window(self) -> Option<(Instant, Instant)> {
        match self {
            Plan::Count(_) => None,
            Plan::Closed { begin, end } | Plan::Open { begin, end, .. } => Some((begin, end)),
        }
    }
}

/// How long after its end an open loop still sends what was due: as long again as it was.
pub(super) fn grace(begin: Instant, end: Instant) -> Duration {
    (end - begin).max(Duration::from_millis(500))
}

/// Which request is sent when, and by whom.
pub(super) struct Schedule {
    plan: Plan,
    /// Requests that may still be begun, where they are counted.
    left: u64,
    /// Connections that may send, once for each request that they may have on their way besides.
    free: VecDeque<usize>,
    /// Requests that are due, and no connection is free: since when.
    waiting: VecDeque<Instant>,
    /// When the next request is due, in an open loop.
    next: Option<Instant>,
}

impl Schedule {
    pub(super) fn new(plan: Plan, conns: usize, in_flight: usize) -> Self {
        let free = (0..in_flight).flat_map(|_| 0..conns).collect();
        let left = if let Plan::Count(n) = plan { n } else { u64::MAX };
        let next = if let Plan::Open { start, .. } = plan { Some(start) } else { None };
        Self { plan, left, free, waiting: VecDeque::new(), next }
    }

    /// What is to be sent now: by which connection, and since when it has been due.
    pub(super) fn due(&mut self, now: Instant) -> Vec<(usize, Instant)> {
        let mut due = Vec::new();
        match self.plan {
            Plan::Open { interval, end, .. } => {
                while let Some(next) = self.next.filter(|next| *next <= now) {
                    match self.free.pop_front() {
                        Some(at) => due.push((at, next)),
                        None => self.waiting.push_back(next),
                    }
                    self.next = Some(next + interval).filter(|next| *next < end);
                }
            }
            Plan::Count(_) | Plan::Closed { .. } => {
                while self.left > 0
                    && let Some(at) = self.free.pop_front()
                {
                    self.left -= 1;
                    due.push((at, now));
                }
            }
        }
        due
    }

    /// A response has come: what its connection sends next, if it does.
    pub(super) fn next_of(&mut self, at: usize, now: Instant) -> Option<Instant> {
        match self.plan {
            Plan::Open { .. } => {
                let due = self.waiting.pop_front();
                if due.is_none() {
                    self.free.push_back(at);
                }
                due
            }
            Plan::Count(_) if self.left == 0 => None,
            Plan::Closed { end, .. } if now >= end => None,
            Plan::Count(_) | Plan::Closed { .. } => {
                self.left -= 1;
                Some(now)
            }
        }
    }

    /// Until when there is nothing to do but to wait for responses.
    pub(super) fn deadline(&self, now: Instant) -> Option<Instant> {
        let next = match self.plan {
            Plan::Count(_) => None,
            Plan::Closed { end, .. } => Some(end),
            Plan::Open { end, .. } if self.next.is_none() && now < end => Some(end),
            Plan::Open { begin, end, .. } => {
                let last = (!self.waiting.is_empty()).then(|| end + grace(begin, end));
                self.next.or(last)
            }
        };
        next.filter(|next| *next > now)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.next.is_none() && self.waiting.is_empty()
    }

    /// What is due and was not sent, since when: it will not be sent any more.
    pub(super) fn give_up(&mut self) -> impl Iterator<Item = Instant> {
        self.waiting.drain(..)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn at(due: &[(usize, Instant)], zero: Instant) -> Vec<(usize, u128)> {
        due.iter().map(|(conn, due)| (*conn, (*due - zero).as_millis())).collect()
    }

    #[test]
    fn a_closed_loop_sends_again_when_a_response_has_come() {
        let zero = Instant::now();
        let plan = Plan::Closed { begin: zero + MS, end: zero + 10 * MS };
        let mut schedule = Schedule::new(plan, 2, 2);
        // Each connection may have two on their way, and they take turns.
        assert_eq!(at(&schedule.due(zero), zero), [(0, 0), (1, 0), (0, 0), (1, 0)]);
        assert_eq!(schedule.due(zero + MS), []);
        assert_eq!(schedule.next_of(1, zero + 5 * MS), Some(zero + 5 * MS));
        assert_eq!(schedule.next_of(1, zero + 10 * MS), None);
        assert_eq!(schedule.deadline(zero + MS), Some(zero + 10 * MS));
        assert_eq!(schedule.deadline(zero + 10 * MS), None);
    }

    #[test]
    fn a_count_sends_so_many() {
        let zero = Instant::now();
        let mut schedule = Schedule::new(Plan::Count(3), 2, 1);
        assert_eq!(schedule.due(zero).len(), 2);
        assert!(schedule.next_of(0, zero).is_some());
        assert!(schedule.next_of(1, zero).is_none());
    }

    #[test]
    fn an_open_loop_keeps_to_its_rate_whatever_the_server_does() {
        let zero = Instant::now();
        let (begin, end) = (zero, zero + 50 * MS);
        let plan = Plan::Open { start: zero, interval: 10 * MS, begin, end };
        let mut schedule = Schedule::new(plan, 1, 1);
        assert_eq!(at(&schedule.due(zero), zero), [(0, 0)]);
        assert_eq!(schedule.deadline(zero), Some(zero + 10 * MS));
        // The server stands still: what is due meanwhile waits.
        assert_eq!(schedule.due(zero + 35 * MS), []);
        // It is sent late, and its time runs since it was due.
        let late = zero + 36 * MS;
        assert_eq!(schedule.next_of(0, late), Some(zero + 10 * MS));
        assert_eq!(schedule.next_of(0, late), Some(zero + 20 * MS));
        assert_eq!(schedule.next_of(0, late), Some(zero + 30 * MS));
        assert_eq!(schedule.next_of(0, late), None);
        // The server is back in time.
        assert_eq!(at(&schedule.due(zero + 40 * MS), zero), [(0, 40)]);
        assert!(schedule.is_empty());
        assert_eq!(schedule.due(zero + 80 * MS), []);
    }

    #[test]
    fn what_an_open_loop_could_not_send_in_time_is_given_up() {
        let zero = Instant::now();
        let (begin, end) = (zero, zero + 20 * MS);
        let plan = Plan::Open { start: zero, interval: 10 * MS, begin, end };
        let mut schedule = Schedule::new(plan, 1, 1);
        assert_eq!(schedule.due(zero + 20 * MS).len(), 1);
        assert!(!schedule.is_empty());
        assert_eq!(schedule.deadline(end), Some(end + Duration::from_millis(500)));
        assert_eq!(schedule.give_up().collect::<Vec<_>>(), [zero + 10 * MS]);
        assert!(schedule.is_empty());
    }
}
