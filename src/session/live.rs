//! The connections that are there: how many, which, and how to reach each.

use super::blocking::BlockingHandle;
use crate::addr::Addr;
use crate::handler::{CloseKind, ConnectionId, ConnectionInfo, Wake};
use crate::observe::{Counters, Snapshot};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// All live connections of a server. A connection is live from before its accept until its socket
/// is closed, so their number is exact.
#[derive(Default)]
pub(crate) struct Live {
    table: Mutex<Table>,
}

#[derive(Default)]
struct Table {
    entries: Vec<Option<Entry>>,
    free: Vec<u32>,
    /// Invariant: the number of entries that are taken, plus the places reserved.
    count: usize,
    last_id: u64,
    /// Somebody waits for a place.
    wanted: bool,
    counters: Counters,
}

struct Entry {
    id: ConnectionId,
    peer: Addr,
    since: Instant,
    reach: Reach,
}

/// How to have a session look again.
#[derive(Clone)]
pub(crate) enum Reach {
    /// Nobody runs it yet: it will look when it begins.
    Nobody,
    /// A backend that waits for it.
    Wake(Arc<dyn Wake>, u64),
    /// A thread that may block in its read.
    Thread(Arc<BlockingHandle>),
}

/// Where a connection is in the table.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LiveKey(u32);

impl Live {
    /// Takes a place, if fewer than `max` are taken. If not, `release` will tell that one is free.
    pub(crate) fn reserve(&self, max: usize) -> bool {
        let mut table = self.lock();
        table.wanted = table.count >= max;
        if !table.wanted {
            table.count += 1;
        }
        !table.wanted
    }

    /// Gives back a place that was not used.
    pub(crate) fn unreserve(&self) {
        self.lock().count -= 1;
    }

    /// Fills a place that was reserved.
    pub(crate) fn insert(&self, peer: Addr, since: Instant) -> (LiveKey, ConnectionId) {
        let mut table = self.lock();
        table.last_id += 1;
        table.counters.accepted += 1;
        let id = ConnectionId(table.last_id);
        let entry = Some(Entry { id, peer, since, reach: Reach::Nobody });
        let key = match table.free.pop() {
            Some(key) => key,
            None => {
                table.entries.push(None);
                u32::try_from(table.entries.len() - 1).expect("fewer than 2^32 descriptors")
            }
        };
        table.entries[key as usize] = entry;
        (LiveKey(key), id)
    }

    pub(crate) fn set_reach(&self, key: LiveKey, reach: Reach) {
        let before = match &mut self.lock().entries[key.0 as usize] {
            Some(entry) => std::mem::replace(&mut entry.reach, reach),
            None => Reach::Nobody,
        };
        drop(before); // may close a descriptor: not under the lock
    }

    pub(crate) fn reach(&self, key: LiveKey) -> Reach {
        let table = self.lock();
        table.entries[key.0 as usize].as_ref().map_or(Reach::Nobody, |entry| entry.reach.clone())
    }

    pub(crate) fn since(&self, key: LiveKey) -> Option<Instant> {
        self.lock().entries[key.0 as usize].as_ref().map(|entry| entry.since)
    }

    /// Counts a connection as ended.
    pub(crate) fn count_closed(&self, kind: CloseKind, finished: bool) {
        let counters = &mut self.lock().counters;
        counters.closed[kind as usize] += 1;
        // One that was at work when it was killed, say, has not finished.
        counters.finished += u64::from(finished && kind == CloseKind::Shutdown);
    }

    pub(crate) fn count_refused(&self) {
        self.lock().counters.refused += 1;
    }

    pub(crate) fn count_accept_error(&self) {
        self.lock().counters.accept_errors += 1;
    }

    /// Gives back a place, after the socket was closed. Returns whether somebody waits for a
    /// place, and whether this was the last.
    pub(crate) fn release(&self, key: LiveKey) -> (bool, bool) {
        let mut table = self.lock();
        table.count -= 1;
        let entry = table.entries[key.0 as usize].take();
        table.free.push(key.0);
        let told = (std::mem::take(&mut table.wanted), table.count == 0);
        drop(table);
        drop(entry);
        told
    }

    pub(crate) fn count(&self) -> usize {
        self.lock().count
    }

    pub(crate) fn snapshot(&self) -> Snapshot {
        let table = self.lock();
        table.counters.snapshot(table.count)
    }

    pub(crate) fn list(&self) -> Vec<ConnectionInfo> {
        let table = self.lock();
        let info = |entry: &Entry| ConnectionInfo {
            id: entry.id,
            peer: entry.peer.clone(),
            age: entry.since.elapsed(),
        };
        table.entries.iter().flatten().map(info).collect()
    }

    /// Has every session look again, outside the lock.
    pub(crate) fn wake_all(&self, mut wake: impl FnMut(&Reach)) {
        let all: Vec<Reach> =
            self.lock().entries.iter().flatten().map(|entry| entry.reach.clone()).collect();
        all.iter().for_each(&mut wake);
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        // No code of a user runs under the lock, so a poisoned one holds no broken state.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Live {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Live").field("snapshot", &self.snapshot()).finish()
    }
}
