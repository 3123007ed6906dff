//! The keys, their values, and when they expire.
//!
//! Nothing runs in the background: what has expired is not seen any more, and is removed by the
//! commands that come later, a few keys each. While no key expires at all, nobody looks at a clock.

use crate::failure::Failure;
use crate::session::Facts;
use crate::value::{Bytes, Kind, Value};
use indexmap::IndexMap;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How many keys that have expired one command removes, at most.
const SWEEP: usize = 16;

/// All keys. It knows the time of the command that runs, and is told of each by [`Store::begin`].
#[derive(Debug)]
pub(crate) struct Store {
    // Its order is what a cursor of SCAN counts by.
    entries: IndexMap<Bytes, Entry>,
    /// The keys that expire, the next one first.
    deadlines: BTreeMap<Deadline, Bytes>,
    /// Tells deadlines at the same instant apart.
    serial: u64,
    /// Up to date only while there are deadlines.
    now: Instant,
    facts: Arc<Facts>,
}

#[derive(Debug)]
struct Entry {
    value: Value,
    deadline: Option<Deadline>,
}

type Deadline = (Instant, u64);

/// What setting a key does about its end.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Expiry {
    Never,
    After(Duration),
    Keep,
}

/// One step of a SCAN.
#[derive(Debug)]
pub(crate) struct Page<'a> {
    /// Where the next step begins; 0 after the last.
    pub(crate) next: u64,
    pub(crate) keys: Vec<(&'a [u8], &'a Value)>,
}

impl Store {
    pub(crate) fn new(facts: Arc<Facts>) -> Self {
        Self {
            entries: IndexMap::new(),
            deadlines: BTreeMap::new(),
            serial: 0,
            now: Instant::now(),
            facts,
        }
    }

    /// A command begins, or a transaction: for all of it, it is now. Removes a few of the keys that
    /// have expired.
    pub(crate) fn begin(&mut self) {
        if self.deadlines.is_empty() {
            return;
        }
        self.now = Instant::now();
        for _ in 0..SWEEP {
            let Some(next) = self.deadlines.first_entry().filter(|e| e.key().0 <= self.now) else {
                return;
            };
            let key = next.remove();
            self.entries.swap_remove(&key);
        }
    }

    /// What the server knows about itself, for those who tell it.
    pub(crate) fn facts(&self) -> &Facts {
        &self.facts
    }

    /// The number of keys.
    pub(crate) fn len(&self) -> usize {
        self.entries.len() - self.deadlines.range(..=(self.now, u64::MAX)).count()
    }

    /// The number of keys that will expire.
    pub(crate) fn n_expiring(&self) -> usize {
        self.deadlines.len()
    }

    pub(crate) fn get(&self, key: &[u8]) -> Option<&Value> {
        self.entry(key).map(|entry| &entry.value)
    }

    /// What the key holds, if it holds that.
    ///
    /// # Errors
    /// It holds something else.
    pub(crate) fn read<K: Kind>(&self, key: &[u8]) -> Result<Option<&K>, Failure> {
        let value = self.get(key);
        value.map(|value| K::of(value).ok_or(Failure::WRONG_TYPE)).transpose()
    }

    /// As [`read`](Self::read), to be changed. Call [`tidy`](Self::tidy) after having taken
    /// something away.
    pub(crate) fn change<K: Kind>(&mut self, key: &[u8]) -> Result<Option<&mut K>, Failure> {
        if self.entry(key).is_none() {
            return Ok(None);
        }
        let entry = self.entries.get_mut(key);
        entry.map(|entry| K::of_mut(&mut entry.value).ok_or(Failure::WRONG_TYPE)).transpose()
    }

    /// As [`change`](Self::change); a key that is not there gets an empty value.
    pub(crate) fn change_or_new<K: Kind>(&mut self, key: &[u8]) -> Result<&mut K, Failure> {
        if self.entry(key).is_none() {
            self.set(key, K::default(), Expiry::Never);
        }
        Ok(self.change(key)?.expect("the key is there by now"))
    }

    /// Removes a collection that has lost its last element.
    pub(crate) fn tidy(&mut self, key: &[u8]) {
        if self.get(key).is_some_and(Value::is_empty_collection) {
            self.remove(key);
        }
    }

    /// Sets a key, whatever it held.
    pub(crate) fn set(&mut self, key: &[u8], value: impl Into<Value>, expiry: Expiry) {
        let value = value.into();
        let Some(entry) = self.entries.get_mut(key) else {
            self.entries.insert(key.into(), Entry { value, deadline: None });
            return match expiry {
                Expiry::After(time) => self.expire(key, Some(time)),
                Expiry::Never | Expiry::Keep => (),
            };
        };
        entry.value = value;
        match expiry {
            Expiry::After(time) => self.expire(key, Some(time)),
            Expiry::Never | Expiry::Keep if entry.deadline.is_none() => (),
            // What has expired leaves nothing to keep.
            Expiry::Keep if entry.is_live(self.now) => (),
            Expiry::Never | Expiry::Keep => self.expire(key, None),
        }
    }

    /// Removes a key. Whether it was there.
    pub(crate) fn remove(&mut self, key: &[u8]) -> bool {
        let was_there = self.entry(key).is_some();
        if let Some(deadline) = self.entries.swap_remove(key).and_then(|entry| entry.deadline) {
            self.deadlines.remove(&deadline);
        }
        was_there
    }

    /// Forgets everything.
    pub(crate) fn clear(&mut self) {
        *self = Store::new(Arc::clone(&self.facts));
    }

    /// Lets a key expire after this time, or never. A key that is not there stays so.
    pub(crate) fn expire(&mut self, key: &[u8], after: Option<Duration>) {
        let Some(entry) = self.entries.get_mut(key) else { return };
        if let Some(before) = entry.deadline.take() {
            self.deadlines.remove(&before);
        }
        let Some(after) = after else { return };
        if self.deadlines.is_empty() {
            self.now = Instant::now();
        }
        // What is beyond the clock's range is never.
        let Some(at) = self.now.checked_add(after) else { return };
        self.serial += 1;
        entry.deadline = Some((at, self.serial));
        self.deadlines.insert((at, self.serial), key.into());
    }

    /// How long the key has left: `None` if it is not there, `Some(None)` if it never expires.
    pub(crate) fn time_left(&self, key: &[u8]) -> Option<Option<Duration>> {
        let deadline = self.entry(key)?.deadline;
        Some(deadline.map(|(at, _)| at.saturating_duration_since(self.now)))
    }

    /// All keys, in no order to rely on.
    pub(crate) fn keys(&self) -> impl Iterator<Item = &[u8]> {
        let live = self.entries.iter().filter(|(_, entry)| entry.is_live(self.now));
        live.map(|(key, _)| &**key)
    }

    /// The next `count` keys of a SCAN.
    ///
    /// It goes from the last place to the first. A key that is removed leaves its place to the last
    /// one, which was seen already if this one was not; a new one comes last. So whatever is there
    /// all the time is seen, some of it perhaps twice, as Redis promises.
    pub(crate) fn scan(&self, cursor: u64, count: usize) -> Page<'_> {
        let last = self.entries.len();
        let end = match usize::try_from(cursor) {
            Ok(cursor @ 1..) if cursor < last => cursor,
            _ => last,
        };
        let start = end.saturating_sub(count);
        let entries = (start..end).rev().filter_map(|at| self.entries.get_index(at));
        let live = entries.filter(|(_, entry)| entry.is_live(self.now));
        Page { next: start as u64, keys: live.map(|(key, entry)| (&**key, &entry.value)).collect() }
    }

    /// The entry of a key, unless it has expired.
    fn entry(&self, key: &[u8]) -> Option<&Entry> {
        self.entries.get(key).filter(|entry| entry.is_live(self.now))
    }
}

impl Entry {
    fn is_live(&self, now: Instant) -> bool {
        self.deadline.is_none_or(|(at, _)| at > now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value::Text;

    fn empty() -> Store {
        let facts = Facts { started: Instant::now(), clients: Default::default() };
        Store::new(Arc::new(facts))
    }

    fn text(store: &Store, key: &str) -> Option<Text> {
        store.read::<Text>(key.as_bytes()).unwrap().cloned()
    }

    /// A store for which time goes on without anybody waiting.
    fn advance(store: &mut Store, by: Duration) {
        store.now += by;
    }

    #[test]
    fn what_has_expired_is_not_there() {
        let mut store = empty();
        let second = Duration::from_secs(1);
        store.set(b"a", Text::from("1"), Expiry::After(second));
        store.set(b"b", Text::from("2"), Expiry::Never);
        advance(&mut store, second);
        assert_eq!((text(&store, "a"), text(&store, "b")), (None, Some("2".into())));
        assert_eq!((store.len(), store.keys().count()), (1, 1));
        assert_eq!(store.time_left(b"a"), None);
        assert!(!store.remove(b"a"));
        assert_eq!(store.deadlines.len(), 0);
    }

    #[test]
    fn what_has_expired_leaves_no_deadline_to_keep() {
        let mut store = empty();
        store.set(b"a", Text::from("1"), Expiry::After(Duration::from_secs(1)));
        store.set(b"a", Text::from("2"), Expiry::Keep);
        assert!(store.time_left(b"a").unwrap().is_some());
        advance(&mut store, Duration::from_secs(1));
        store.set(b"a", Text::from("3"), Expiry::Keep);
        assert_eq!(store.time_left(b"a"), Some(None));
        assert_eq!(store.deadlines.len(), 0);
    }

    #[test]
    fn each_command_removes_a_few_that_have_expired() {
        let mut store = empty();
        for n in 0..100 {
            store.set(format!("{n}").as_bytes(), Text::new(), Expiry::After(Duration::ZERO));
        }
        let mut left = 100;
        while left > 0 {
            assert_eq!((store.entries.len(), store.len()), (left, 0));
            store.begin();
            left = left.saturating_sub(SWEEP);
        }
        assert_eq!((store.entries.len(), store.deadlines.len()), (0, 0));
    }

    #[test]
    fn a_scan_sees_all_that_stays_whatever_else_happens() {
        let key = |n: u32| format!("key:{n}").into_bytes();
        let mut store = empty();
        (0..200).for_each(|n| store.set(&key(n), Text::new(), Expiry::Never));
        let mut seen = std::collections::HashSet::new();
        let (mut cursor, mut step) = (0, 0);
        loop {
            let page = store.scan(cursor, 7);
            seen.extend(page.keys.iter().map(|(key, _)| key.to_vec()));
            cursor = page.next;
            if cursor == 0 {
                break;
            }
            // Odd ones go, from all places, and others come.
            for n in 0..3 {
                store.remove(&key(((step * 67 + n * 2) % 200) | 1));
                store.set(&key(1000 + step * 3 + n), Text::new(), Expiry::Never);
            }
            step += 1;
        }
        assert!((0..200).step_by(2).all(|n| seen.contains(&key(n))));
    }
}
