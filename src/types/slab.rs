//! A slab whose keys carry a generation: a key that outlives its entry finds nothing instead of a stranger.

use std::fmt;

/// A key into a [`Slab`]: a slot and how often that slot was handed out before.
pub trait Key: Copy {
    /// Puts a key together.
    fn new(slot: u32, generation: u32) -> Self;
    /// The slot.
    fn slot(self) -> u32;
    /// The generation.
    fn generation(self) -> u32;
}

macro_rules! slab_key {
    ($($name:ty),*) => {$(
        impl Key for $name {
            fn new(slot: u32, generation: u32) -> Self {
                Self { slot, generation }
            }
            fn slot(self) -> u32 {
                self.slot
            }
            fn generation(self) -> u32 {
                self.generation
            }
        }
    )*};
}
slab_key!(super::ConnKey, super::SessionKey, super::GroupKey);

/// Slots are allocated this many at a time and never move: growing copies nothing and leaves no holes behind.
const CHUNK: usize = 128;

struct Slot<T> {
    generation: u32,
    value: Option<T>,
}

/// Entries in slots that are reused. Insert, look up and remove take constant time.
pub struct Slab<K, T> {
    chunks: Vec<Vec<Slot<T>>>,
    /// Slots that were handed out at some time.
    slots: u32,
    free: Vec<u32>,
    key: std::marker::PhantomData<K>,
}

impl<K: Key, T> Slab<K, T> {
    /// An empty slab.
    pub const fn new() -> Self {
        Self { chunks: Vec::new(), slots: 0, free: Vec::new(), key: std::marker::PhantomData }
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.slots as usize - self.free.len()
    }

    /// Whether there is no entry.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Stores an entry under the key that `make` is told.
    ///
    /// # Panics
    /// At 2^32 entries.
    pub fn insert_with(&mut self, make: impl FnOnce(K) -> T) -> K {
        let slot = self.free.pop().unwrap_or_else(|| self.add_slot());
        let entry = &mut self.chunks[slot as usize / CHUNK][slot as usize % CHUNK];
        let key = K::new(slot, entry.generation);
        entry.value = Some(make(key));
        key
    }

    fn add_slot(&mut self) -> u32 {
        let slot = self.slots;
        self.slots = slot.checked_add(1).expect("fewer than 2^32 slots");
        if slot as usize / CHUNK == self.chunks.len() {
            self.chunks.push(Vec::with_capacity(CHUNK));
        }
        self.chunks[slot as usize / CHUNK].push(Slot { generation: 0, value: None });
        slot
    }

    /// Stores an entry.
    pub fn insert(&mut self, value: T) -> K {
        self.insert_with(|_| value)
    }

    #[inline]
    fn slot(&self, slot: u32) -> Option<&Slot<T>> {
        self.chunks.get(slot as usize / CHUNK)?.get(slot as usize % CHUNK)
    }

    #[inline]
    fn slot_mut(&mut self, slot: u32) -> Option<&mut Slot<T>> {
        self.chunks.get_mut(slot as usize / CHUNK)?.get_mut(slot as usize % CHUNK)
    }

    /// The entry under a key, unless it was removed since.
    #[inline]
    pub fn get(&self, key: K) -> Option<&T> {
        self.slot(key.slot()).filter(|slot| slot.generation == key.generation())?.value.as_ref()
    }

    /// The entry under a key, to change it.
    #[inline]
    pub fn get_mut(&mut self, key: K) -> Option<&mut T> {
        self.slot_mut(key.slot()).filter(|slot| slot.generation == key.generation())?.value.as_mut()
    }

    /// Removes and returns the entry; its slot gets a new generation.
    pub fn remove(&mut self, key: K) -> Option<T> {
        let slot = self.slot_mut(key.slot()).filter(|slot| slot.generation == key.generation())?;
        let value = slot.value.take()?;
        slot.generation = slot.generation.wrapping_add(1);
        self.free.push(key.slot());
        Some(value)
    }

    /// The key of the entry in a slot.
    pub fn key_at(&self, slot: u32) -> Option<K> {
        let entry = self.slot(slot)?;
        entry.value.as_ref().map(|_| K::new(slot, entry.generation))
    }

    /// All entries, by slot.
    pub fn iter(&self) -> impl Iterator<Item = (K, &T)> {
        let slots = (0..).zip(self.chunks.iter().flatten());
        slots.filter_map(|(slot, s)| Some((K::new(slot, s.generation), s.value.as_ref()?)))
    }

    /// All entries, to change them.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (K, &mut T)> {
        let slots = (0..).zip(self.chunks.iter_mut().flatten());
        slots.filter_map(|(slot, s)| Some((K::new(slot, s.generation), s.value.as_mut()?)))
    }
}

impl<K: Key, T> Default for Slab<K, T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<K, T> fmt::Debug for Slab<K, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Slab({} of {} slots used)", self.slots as usize - self.free.len(), self.slots)
    }
}

#[cfg(test)]
mod tests {
    use super::super::ConnKey;
    use super::*;

    #[test]
    fn a_key_does_not_outlive_its_entry() {
        let mut slab = Slab::<ConnKey, &str>::new();
        let first = slab.insert("first");
        assert_eq!(slab.remove(first), Some("first"));
        let second = slab.insert("second");
        assert_eq!(second.slot, first.slot, "slots are reused");
        assert_eq!((slab.get(first), slab.get(second)), (None, Some(&"second")));
        assert_eq!(slab.remove(first), None);
        assert_eq!((slab.len(), slab.key_at(second.slot)), (1, Some(second)));
        *slab.get_mut(second).unwrap() = "changed";
        assert_eq!(slab.iter().collect::<Vec<_>>(), [(second, &"changed")]);
    }
}
