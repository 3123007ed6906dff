//! The connections that are there: how many, which, and how to reach each.

use super::blocking::BlockingHandle;
use crate::addr::Addr;
use crate::handler::{CloseKind, ConnectionId, ConnectionInfo, Wake};
use crate::observe::{Counters, Snapshot};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// All live connections of a server. A connection is live from before its accept until its socket
/// is closed, so their number is exact.
pub(crate) struct Live {
    table: Mutex<Table>,
    /// What entries count their age from.
    epoch: Instant,
}

impl Default for Live {
    fn default() -> Self {
        Self { table: Mutex::default(), epoch: Instant::now() }
    }
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

/// One connection. There is one for each, however idle, so it is kept small.
struct Entry {
    id: ConnectionId,
    peer: Addr,
    /// Nanoseconds since the epoch.
    since: u64,
    reach: Reach,
}

/// How to have a session look again.
#[derive(Clone)]
pub(crate) enum Reach {
    /// A backend that waits for it.
    Wake(Arc<dyn Wake>, u64),
    /// A thread that may block in its read; or nobody, and then it will look when it begins. (As a
    /// variant of its own, nobody would cost eight bytes a connection.)
    Thread(Option<Arc<BlockingHandle>>),
}

impl Reach {
    pub(crate) const NOBODY: Reach = Reach::Thread(None);
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
        let since = since.saturating_duration_since(self.epoch).as_nanos();
        let since = u64::try_from(since).unwrap_or(u64::MAX);
        let entry = Some(Entry { id, peer, since, reach: Reach::NOBODY });
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
            None => Reach::NOBODY,
        };
        drop(before); // may close a descriptor: not under the lock
    }

    pub(crate) fn reach(&self, key: LiveKey) -> Reach {
        let table = self.lock();
        table.entries[key.0 as usize].as_ref().map_or(Reach::NOBODY, |entry| entry.reach.clone())
    }

    /// How long a connection has been there.
    pub(crate) fn age(&self, key: LiveKey) -> Duration {
        let table = self.lock();
        table.entries[key.0 as usize].as_ref().map_or(Duration::ZERO, |entry| self.age_of(entry))
    }

    fn age_of(&self, entry: &Entry) -> Duration {
        self.epoch.elapsed().saturating_sub(Duration::from_nanos(entry.since))
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
            age: self.age_of(entry),
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

#[cfg(all(test, target_pointer_width = "64"))]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_small() {
        assert!(size_of::<Option<Entry>>() <= 72, "{}", size_of::<Option<Entry>>());
    }
}
