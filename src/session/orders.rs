//! What a session is told to do from outside of its connection, without a sender.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};

/// What a session is told to do at its next turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    /// Close in order.
    Close,
    /// Make room for another connection, if it is idle still.
    Evict,
}

/// How many orders there are: what every turn looks at, without a lock.
#[derive(Debug, Default)]
pub(super) struct Pending(AtomicUsize);

impl Pending {
    pub(super) fn any(&self) -> bool {
        // Whoever gives an order wakes its session afterwards, so that it is seen at that turn. A
        // thread that parks in a read relies on the order of this load and its own note that it is
        // parked, see `session::blocking`.
        self.0.load(Ordering::SeqCst) > 0
    }

    fn set(&self, n: usize) {
        self.0.store(n, Ordering::SeqCst);
    }
}

/// The orders themselves, by the place of the connection; kept under the lock of the table.
#[derive(Debug, Default)]
pub(super) struct Orders(HashMap<u32, Order>);

impl Orders {
    pub(super) fn give(&mut self, place: u32, order: Order, pending: &Pending) {
        // A close is not softened by an eviction.
        let given = self.0.entry(place).or_insert(order);
        if order == Order::Close {
            *given = order;
        }
        pending.set(self.0.len());
    }

    pub(super) fn are_there_for(&self, place: u32) -> bool {
        self.0.contains_key(&place)
    }

    pub(super) fn take(&mut self, place: u32, pending: &Pending) -> Option<Order> {
        let order = self.0.remove(&place);
        pending.set(self.0.len());
        order
    }
}
