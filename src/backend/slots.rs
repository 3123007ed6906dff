//! Where a backend keeps its sessions: slots with numbers that are used again, and keys that are
//! not.

/// A slot's number, and how often it was used before: the key of a session that is gone fits no
/// later one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Key {
    pub(crate) index: u32,
    pub(crate) generation: u32,
}

/// Zero is no generation: a key has it that comes from a poller with keys of 32 bits.
pub(crate) const FIRST_GENERATION: u32 = 1;

/// Generations wrap here, so that no key is ever one of a poller's reserved ones.
const LAST_GENERATION: u32 = u32::MAX - 1;

pub(crate) fn next_generation(generation: u32) -> u32 {
    if generation >= LAST_GENERATION { FIRST_GENERATION } else { generation + 1 }
}

impl Key {
    pub(crate) fn to_u64(self) -> u64 {
        u64::from(self.generation) << 32 | u64::from(self.index)
    }

    pub(crate) fn from_u64(key: u64) -> Self {
        Self { index: key as u32, generation: (key >> 32) as u32 }
    }

    /// Whether this is the key of a slot that is in its `generation`. A poller with keys of 32
    /// bits has lost the generation, and its key fits any; a turn that comes from an old event does
    /// no harm.
    pub(crate) fn fits(self, generation: u32) -> bool {
        self.generation == generation || (usize::BITS < 64 && self.generation == 0)
    }
}

/// Slots of one thread, in chunks: growing moves nothing and wastes little. Who leaves a slot may leave
/// something to the next in it.
#[derive(Debug)]
pub(crate) struct Slots<T, L = ()> {
    chunks: Vec<Vec<Slot<T>>>,
    free: Vec<(u32, L)>,
}

#[derive(Debug)]
struct Slot<T> {
    generation: u32,
    value: Option<T>,
}

const CHUNK: usize = 256;

impl<T, L: Copy + Default> Slots<T, L> {
    /// What one value takes.
    #[cfg(test)]
    pub(crate) const SIZE: usize = size_of::<Slot<T>>();

    pub(crate) fn new() -> Self {
        Self { chunks: Vec::new(), free: Vec::new() }
    }

    /// Whether all slots are free.
    pub(crate) fn is_empty(&self) -> bool {
        self.free.len() == self.chunks.len() * CHUNK
    }

    /// The key that the next insert will give.
    pub(crate) fn next_key(&mut self) -> Key {
        self.next_free().0
    }

    /// What the last in the slot of [`next_key`](Self::next_key) has left.
    pub(crate) fn left(&mut self) -> L {
        self.next_free().1
    }

    fn next_free(&mut self) -> (Key, L) {
        if self.free.is_empty() {
            self.grow();
        }
        let (index, left) = *self.free.last().expect("there is room after growing");
        let generation = self.slot_mut(index).map_or(FIRST_GENERATION, |slot| slot.generation);
        (Key { index, generation }, left)
    }

    /// Fills the slot of [`next_key`](Self::next_key).
    pub(crate) fn insert(&mut self, value: T) -> Key {
        let key = self.next_key();
        self.free.pop();
        if let Some(slot) = self.slot_mut(key.index) {
            slot.value = Some(value);
        }
        key
    }

    pub(crate) fn get_mut(&mut self, key: Key) -> Option<&mut T> {
        let slot = self.slot_mut(key.index)?;
        if key.fits(slot.generation) { slot.value.as_mut() } else { None }
    }

    /// The key of whatever is in a slot now.
    pub(crate) fn key_of(&mut self, index: u32) -> Option<Key> {
        let generation = self.slot_mut(index)?.generation;
        Some(Key { index, generation })
    }

    pub(crate) fn remove(&mut self, key: Key) -> Option<T> {
        self.remove_leaving(key, |_| L::default())
    }

    /// Removes, and asks what is left to the next.
    pub(crate) fn remove_leaving(&mut self, key: Key, left: impl FnOnce(&T) -> L) -> Option<T> {
        let slot = self.slot_mut(key.index).filter(|slot| key.fits(slot.generation))?;
        let value = slot.value.take()?;
        slot.generation = next_generation(slot.generation);
        self.free.push((key.index, left(&value)));
        Some(value)
    }

    fn grow(&mut self) {
        let first = self.chunks.len() * CHUNK;
        let chunk =
            (0..CHUNK).map(|_| Slot { generation: FIRST_GENERATION, value: None }).collect();
        self.chunks.push(chunk);
        // The lowest number is taken first, so that chunks fill up from the front.
        self.free.extend((first..first + CHUNK).rev().map(|index| (index as u32, L::default())));
    }

    fn slot_mut(&mut self, index: u32) -> Option<&mut Slot<T>> {
        self.chunks.get_mut(index as usize / CHUNK)?.get_mut(index as usize % CHUNK)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn generations_wrap_past_what_is_reserved() {
        let key = |generation| Key { index: u32::MAX, generation }.to_u64();
        assert_eq!(next_generation(FIRST_GENERATION), FIRST_GENERATION + 1);
        assert_eq!(next_generation(LAST_GENERATION), FIRST_GENERATION);
        assert!(key(LAST_GENERATION) < crate::net::FIRST_RESERVED_KEY);
    }

    proptest! {
        #[test]
        fn an_old_key_never_finds_a_new_value(
            steps in proptest::collection::vec(any::<(bool, u8)>(), 0..500),
        ) {
            let mut slots = Slots::<usize>::new();
            let mut alive: Vec<(Key, usize)> = Vec::new();
            let mut gone: Vec<Key> = Vec::new();
            for (number, (insert, which)) in steps.into_iter().enumerate() {
                if insert || alive.is_empty() {
                    alive.push((slots.insert(number), number));
                } else {
                    let (key, value) = alive.swap_remove(usize::from(which) % alive.len());
                    prop_assert_eq!(slots.remove(key), Some(value));
                    gone.push(key);
                }
                for key in &gone {
                    prop_assert_eq!(slots.get_mut(*key), None);
                    prop_assert_eq!(slots.remove(*key), None);
                }
                for (key, value) in &alive {
                    prop_assert_eq!(slots.get_mut(*key).copied(), Some(*value));
                    prop_assert_eq!(Key::from_u64(key.to_u64()), *key);
                }
            }
        }
    }

    #[test]
    fn what_is_left_is_for_the_next_in_the_slot() {
        let mut slots = Slots::<char, u8>::new();
        assert!(slots.is_empty());
        assert_eq!(slots.left(), 0);
        let (a, b) = (slots.insert('a'), slots.insert('b'));
        assert_eq!(slots.remove_leaving(a, |_| 7), Some('a'));
        assert!(!slots.is_empty());
        assert_eq!(slots.remove_leaving(b, |_| 8), Some('b'));
        assert!(slots.is_empty());
        for (index, left) in [(b.index, 8), (a.index, 7), (2, 0)] {
            assert_eq!((slots.next_key().index, slots.left()), (index, left));
            slots.insert('c');
        }
    }
}
