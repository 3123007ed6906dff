//! The connections that are there: how many, which, and how to reach each.

use super::chunked::Chunked;
use super::crowd::{Addresses, IdleSince, Uncounted};
use super::orders::{Order, Orders, Pending};
use super::routes::{Reach, Route, Wakers};
use super::tallies::{PLACES, Tallies};
use crate::addr::{Addr, UnixName};
use crate::connection::{Env, Tally, Tick};
use crate::handler::{CloseKind, ConnectionId, ConnectionInfo};
use crate::observe::{Counters, Snapshot};
use crate::sync::{Mutex, MutexGuard, PoisonError};
use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// All live connections of a server. A connection is live from before its accept until its socket
/// is closed, so their number is exact.
pub(crate) struct Live {
    table: Mutex<Table>,
    pending: Pending,
    tallies: Tallies,
    /// What entries count their age from.
    epoch: Instant,
}

impl Default for Live {
    fn default() -> Self {
        Self {
            table: Mutex::default(),
            pending: Pending::default(),
            tallies: Tallies::new(),
            epoch: Instant::now(),
        }
    }
}

#[derive(Default)]
struct Table {
    entries: Chunked<Option<Entry>>,
    free: Vec<u32>,
    /// Invariant: the number of entries that are taken, plus the places reserved.
    count: usize,
    last_id: u64,
    /// Somebody waits for a place.
    wanted: bool,
    counters: Counters,
    uncounted: Uncounted,
    addresses: Addresses,
    idle: IdleSince,
    orders: Orders,
    /// Those that look again when all together hold less.
    starved: HashSet<u32>,
    /// The addresses of the listeners that connections came by.
    locals: Vec<Addr>,
    /// Those peers whose addresses are none of TCP, by the place.
    others: HashMap<u32, Addr>,
    wakers: Wakers,
}

/// One connection. There is one for each, however idle, so it is kept small: who it is, is where
/// its tally is.
struct Entry {
    since: Millis,
    /// It is counted as closed, and so are its bytes and requests.
    ended: bool,
    /// Which of the listeners' addresses it came by.
    local: u16,
    route: Route,
}

/// Milliseconds since the epoch, for 34 years.
#[derive(Clone, Copy)]
struct Millis([u8; 5]);

impl Millis {
    fn new(since: Duration) -> Self {
        let millis = u64::try_from(since.as_millis()).unwrap_or(u64::MAX).min((1 << 40) - 1);
        let [a, b, c, d, e, ..] = millis.to_le_bytes();
        Self([a, b, c, d, e])
    }

    fn get(self) -> Duration {
        let [a, b, c, d, e] = self.0;
        Duration::from_millis(u64::from_le_bytes([a, b, c, d, e, 0, 0, 0]))
    }
}

/// Where a connection is in the table.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LiveKey(u32);

impl Live {
    /// Takes a place, if fewer than `max` are taken. If not, `release` will tell that one is free.
    pub(crate) fn reserve(&self, max: usize) -> bool {
        let mut table = self.lock();
        table.wanted = table.count - table.uncounted.len() >= max || table.count >= PLACES;
        if !table.wanted {
            table.count += 1;
            table.idle.settle();
        }
        !table.wanted
    }

    /// Takes a place above the limit, for a connection that is closed again at once.
    pub(crate) fn reserve_extra(&self) {
        self.lock().count += 1;
    }

    /// Gives back a place that was not used.
    pub(crate) fn unreserve(&self) {
        self.lock().count -= 1;
    }

    /// Fills a place that was reserved, with a connection that `local` has accepted.
    pub(crate) fn insert(&self, peer: &Addr, local: &Addr, now: Instant, env: &Env) -> LiveKey {
        let mut table = self.lock();
        table.last_id += 1;
        table.counters.accepted += 1;
        table.counters.open += 1;
        let id = table.last_id;
        let since = Millis::new(now.saturating_duration_since(self.epoch));
        let local = table.number_of(local);
        let entry = Some(Entry { since, ended: false, local, route: Route::Nobody });
        let key = match table.free.pop() {
            Some(key) => {
                table.entries[key] = entry;
                key
            }
            None => u32::try_from(table.entries.push(entry)).expect("fewer than 2^32 descriptors"),
        };
        if peer.as_tcp().is_none() {
            table.others.insert(key, peer.clone());
        }
        self.tallies.name(key, id, peer);
        self.tallies.get(key).restart(env.tick(now));
        LiveKey(key)
    }

    /// The number of a connection.
    pub(crate) fn id(&self, key: LiveKey) -> ConnectionId {
        ConnectionId(self.tallies.id(key.0))
    }

    /// The address of its peer, if that is one of TCP.
    pub(crate) fn tcp_addr(&self, key: LiveKey) -> Option<SocketAddr> {
        self.tallies.addr(key.0)
    }

    /// Counts a connection for its address, and tells how many of that there are now.
    pub(crate) fn count_address(&self, peer: &Addr) -> usize {
        self.lock().addresses.add(peer)
    }

    /// Says whether a connection counts against the limit. Returns whether somebody waits for the
    /// place that this has freed.
    pub(crate) fn set_counted(&self, key: LiveKey, counted: bool) -> bool {
        let mut table = self.lock();
        if counted {
            table.uncounted.remove(&key.0);
            return false;
        }
        table.uncounted.insert(key.0) && std::mem::take(&mut table.wanted)
    }

    /// Notes since when a connection is idle, if it is. `true` if it is to make room.
    pub(crate) fn note_idle(&self, key: LiveKey, since: Option<Tick>) -> bool {
        let mut table = self.lock();
        let since = since.filter(|_| !table.uncounted.contains(&key.0));
        table.idle.note(key.0, since)
    }

    /// Orders the connection that has been idle for longest to make room, and returns how to have
    /// it look.
    pub(crate) fn evict_oldest(&self, now: Tick) -> Reach {
        let mut table = self.lock();
        let Table { idle, orders, .. } = &mut *table;
        let Some(place) = idle.take_oldest(now) else { return Reach::Nobody };
        orders.give(place, Order::Evict, &self.pending);
        table.reach(place)
    }

    /// Orders a connection to close, and returns how to have it look; `None` if it is not there.
    pub(crate) fn order_close(&self, id: ConnectionId) -> Option<Reach> {
        let mut table = self.lock();
        let mut known = (0..).zip(table.entries.iter());
        let is_it =
            |place, entry: &Option<Entry>| entry.is_some() && self.tallies.id(place) == id.0;
        let (place, _) = known.find(|(place, entry)| is_it(*place, entry))?;
        table.orders.give(place, Order::Close, &self.pending);
        Some(table.reach(place))
    }

    /// What a connection is ordered to do.
    pub(crate) fn take_order(&self, key: LiveKey) -> Option<Order> {
        match self.pending.any() {
            true => self.lock().orders.take(key.0, &self.pending),
            false => None,
        }
    }

    /// Whether a connection is ordered to do something at its next turn.
    pub(crate) fn has_order(&self, key: LiveKey) -> bool {
        self.pending.any() && self.lock().orders.are_there_for(key.0)
    }

    /// Notes that a connection is not read until all together hold less.
    pub(crate) fn note_starved(&self, key: LiveKey) {
        self.lock().starved.insert(key.0);
    }

    /// How to reach those that are not read.
    pub(crate) fn take_starved(&self) -> Vec<Reach> {
        let mut table = self.lock();
        let starved = std::mem::take(&mut table.starved);
        starved.iter().map(|place| table.reach(*place)).collect()
    }

    /// Where a connection counts. Only its own thread may write there.
    pub(crate) fn tally(&self, key: LiveKey) -> &Tally {
        self.tallies.get(key.0)
    }

    pub(crate) fn set_reach(&self, key: LiveKey, reach: Reach) {
        let mut table = self.lock();
        let Table { entries, wakers, .. } = &mut *table;
        let Some(entry) = &mut entries[key.0] else { return };
        // The new one first: it may be the old one, which is not forgotten then.
        let route = wakers.keep(reach);
        let before = wakers.forget(std::mem::replace(&mut entry.route, route));
        drop(table);
        drop(before); // may close a descriptor: not under the lock
    }

    pub(crate) fn reach(&self, key: LiveKey) -> Reach {
        self.lock().reach(key.0)
    }

    /// How long a connection has been there.
    pub(crate) fn age(&self, key: LiveKey) -> Duration {
        let table = self.lock();
        table.entries[key.0].as_ref().map_or(Duration::ZERO, |entry| self.age_of(entry))
    }

    fn age_of(&self, entry: &Entry) -> Duration {
        self.epoch.elapsed().saturating_sub(entry.since.get())
    }

    /// Counts a connection as ended, with its bytes and requests.
    pub(crate) fn count_closed(&self, key: LiveKey, kind: CloseKind, finished: bool) {
        let mut table = self.lock();
        let tally = self.tally(key);
        if let Some(entry) = &mut table.entries[key.0] {
            entry.ended = true;
        }
        let counters = &mut table.counters;
        counters.add(tally.received(), tally.sent(), tally.requests());
        counters.open -= 1;
        counters.closed[kind as usize] += 1;
        // One that was at work when it was killed, say, has not finished.
        counters.finished += u64::from(finished && kind == CloseKind::Shutdown);
    }

    pub(crate) fn count_refused(&self) {
        let counters = &mut self.lock().counters;
        counters.open -= 1;
        counters.refused += 1;
    }

    pub(crate) fn count_accept_error(&self) {
        self.lock().counters.accept_errors += 1;
    }

    /// Gives back a place, after the socket was closed. Returns whether somebody waits for a
    /// place, and whether this was the last.
    pub(crate) fn release(&self, key: LiveKey) -> (bool, bool) {
        let mut table = self.lock();
        table.count -= 1;
        table.uncounted.remove(&key.0);
        table.idle.forget(key.0);
        table.starved.remove(&key.0);
        table.orders.take(key.0, &self.pending);
        if let Some(peer) = self.tallies.addr(key.0) {
            table.addresses.remove(&peer.into());
        }
        table.others.remove(&key.0);
        let entry = table.entries[key.0].take();
        let before = entry.map(|entry| table.wakers.forget(entry.route));
        table.free.push(key.0);
        let told = (std::mem::take(&mut table.wanted), table.count == 0);
        drop(table);
        drop(before);
        told
    }

    /// Whether nobody is there, and nobody may be about to come.
    pub(crate) fn is_empty(&self) -> bool {
        self.lock().count == 0
    }

    /// How many connections there are: who only looks whether one has come is none.
    pub(crate) fn count(&self) -> usize {
        self.lock().taken()
    }

    /// The counters, with what the connections that are open have counted so far.
    pub(crate) fn snapshot(&self) -> Snapshot {
        let table = self.lock();
        let mut counters = table.counters.clone();
        for (place, entry) in (0..).zip(table.entries.iter()) {
            if entry.as_ref().is_some_and(|entry| !entry.ended) {
                let tally = self.tallies.get(place);
                counters.add(tally.received(), tally.sent(), tally.requests());
            }
        }
        counters.snapshot(table.taken())
    }

    pub(crate) fn list(&self, env: &Env) -> Vec<ConnectionInfo> {
        let table = self.lock();
        let now = Instant::now();
        let all = (0..).zip(table.entries.iter());
        let taken = all.filter_map(|(place, entry)| Some((place, entry.as_ref()?)));
        let info = |(place, entry): (u32, &Entry)| {
            let tally = self.tallies.get(place);
            let standing = tally.standing();
            ConnectionInfo {
                id: ConnectionId(self.tallies.id(place)),
                peer: self.addr(&table, place),
                local: table.locals[usize::from(entry.local)].clone(),
                age: self.age_of(entry),
                idle: (!standing.busy).then(|| env.since(standing.idle_since, now)),
                received: tally.received(),
                sent: tally.sent(),
                requests: tally.requests(),
                output_held: standing.output_held,
                state: standing.state,
            }
        };
        taken.map(info).collect()
    }

    /// Has every session look again, outside the lock.
    pub(crate) fn wake_all(&self, mut wake: impl FnMut(&Reach)) {
        let all: Vec<Reach> = self.lock().reaches();
        all.iter().for_each(&mut wake);
    }

    /// The address of the peer in a place that is taken.
    fn addr(&self, table: &Table, place: u32) -> Addr {
        match self.tallies.addr(place) {
            Some(addr) => addr.into(),
            None => table.others.get(&place).cloned().unwrap_or(Addr::Unix(UnixName::Unnamed)),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        // No code of a user runs under the lock, so a poisoned one holds no broken state.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    /// The number of a listener's address. A server has few of them.
    fn number_of(&mut self, local: &Addr) -> u16 {
        let known = self.locals.iter().position(|known| known == local);
        let number = known.unwrap_or_else(|| {
            self.locals.push(local.clone());
            self.locals.len() - 1
        });
        u16::try_from(number).expect("fewer than 65,536 listeners")
    }

    /// How many entries are taken: `count` without the places that are only reserved.
    fn taken(&self) -> usize {
        self.entries.len() - self.free.len()
    }

    fn reach(&self, place: u32) -> Reach {
        let entry = self.entries[place].as_ref();
        entry.map_or(Reach::Nobody, |entry| self.wakers.find(&entry.route))
    }

    fn reaches(&self) -> Vec<Reach> {
        self.entries.iter().flatten().map(|entry| self.wakers.find(&entry.route)).collect()
    }
}

impl std::fmt::Debug for Live {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Live").field("snapshot", &self.snapshot()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connection::{Limits, Timeouts};

    #[test]
    fn ages_are_kept_to_the_millisecond_for_decades() {
        for millis in [0, 1, 59_999, 86_400_000 * 365, (1 << 40) - 1] {
            let age = Duration::from_millis(millis);
            assert_eq!(Millis::new(age).get(), age);
        }
        assert_eq!(Millis::new(Duration::MAX).get(), Duration::from_millis((1 << 40) - 1));
    }

    #[test]
    fn a_place_reserved_is_no_connection_yet() {
        let live = Live::default();
        let env = Env::new(Limits::default(), Timeouts::default(), live.epoch);
        assert!(live.reserve(1) && !live.reserve(1), "the only place is taken");
        assert_eq!((live.is_empty(), live.count(), live.snapshot().live()), (false, 0, 0));
        live.unreserve();
        assert!(live.is_empty());
        assert!(live.reserve(1));
        let peer = Addr::from(SocketAddr::from(([127, 0, 0, 1], 1)));
        let key = live.insert(&peer, &peer, live.epoch, &env);
        assert_eq!((live.is_empty(), live.count(), live.snapshot().live()), (false, 1, 1));
        live.release(key);
        assert_eq!((live.is_empty(), live.count()), (true, 0));
    }

    #[cfg(target_pointer_width = "64")]
    #[test]
    fn an_entry_is_small() {
        assert_eq!(size_of::<Option<Entry>>(), 24);
    }
}

#[cfg(all(test, loom))]
mod model {
    use super::*;
    use crate::connection::{Limits, Timeouts};
    use loom::sync::Notify;
    use loom::thread;
    use std::net::Ipv4Addr;
    use std::sync::Arc;

    /// How many connections there may be.
    const MAX: usize = 2;

    fn addr(port: u16) -> Addr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, port)).into()
    }

    fn accepted(live: &Live, port: u16, env: &Env) -> LiveKey {
        live.insert(&addr(port), &addr(0), live.epoch, env)
    }

    /// The server is full. One connection ends, and the other is exempt from the limit and ends
    /// then, while the acceptor takes places for two more. It sleeps only as long as there is none,
    /// whatever the order; and what is there at the end is what was let in.
    #[test]
    fn model_nobody_who_waits_for_a_place_is_forgotten() {
        loom::model(|| {
            let (live, bell) = (Arc::new(Live::default()), Arc::new(Notify::new()));
            let env = Env::new(Limits::default(), Timeouts::default(), live.epoch);
            let mut keys = (1..=2).map(|port| {
                assert!(live.reserve(MAX));
                accepted(&live, port, &env)
            });
            let (first, second) = (keys.next().unwrap(), keys.next().unwrap());
            let ends = |key, exempt| {
                let (live, bell) = (Arc::clone(&live), Arc::clone(&bell));
                thread::spawn(move || {
                    if exempt && live.set_counted(key, false) {
                        bell.notify();
                    }
                    if live.release(key).0 {
                        bell.notify();
                    }
                })
            };
            let threads = [ends(first, false), ends(second, true)];
            for port in 3..=4 {
                while !live.reserve(MAX) {
                    bell.wait();
                }
                accepted(&live, port, &env);
            }
            assert!(!live.reserve(MAX), "one too many");
            threads.into_iter().for_each(|thread| thread.join().unwrap());
            assert_eq!((live.count(), live.list(&env).len()), (2, 2));
        });
    }
}
