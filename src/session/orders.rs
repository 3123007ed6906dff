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
        // Whoever gives an order wakes its session afterwards, so that it is seen at that turn.
        self.0.load(Ordering::Acquire) > 0
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
        pending.0.store(self.0.len(), Ordering::Release);
    }

    pub(super) fn take(&mut self, place: u32, pending: &Pending) -> Option<Order> {
        let order = self.0.remove(&place);
        pending.0.store(self.0.len(), Ordering::Release);
        order
    }
}
