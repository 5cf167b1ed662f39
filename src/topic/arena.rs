//! Entries under 32-bit numbers, and an index that finds a number by a hash.
//!
//! Numbers instead of pointers because there are millions of them and half the size counts. Entries lie in chunks that
//! never move: growing by a million neither copies half a gigabyte in one turn nor leaves it behind as spare memory. The
//! index keeps 32 bits of each hash beside the number, so growing it touches no entry, and an entry is looked at only
//! when its hash agrees. Memory is kept for reuse when entries go.

use hashbrown::HashTable;
use std::ops::{Index, IndexMut};

/// No entry. Never a number of one.
pub(super) const NONE: u32 = u32::MAX;

/// Entries of one chunk, as a power of two: 64 KiB of trie entries.
const CHUNK_BITS: u32 = 10;
const CHUNK: usize = 1 << CHUNK_BITS;

#[derive(Debug)]
enum Slot<T> {
    Full(T),
    /// The next free slot, or [`NONE`].
    Free(u32),
}

/// Entries under numbers that stay the same until they are removed.
#[derive(Debug)]
pub(super) struct Arena<T> {
    /// All but the last one are full; the first one grows as it must, the others are made at their full size.
    chunks: Vec<Vec<Slot<T>>>,
    free: u32,
    len: u32,
}

impl<T> Arena<T> {
    pub(super) const fn new() -> Self {
        Self { chunks: Vec::new(), free: NONE, len: 0 }
    }

    pub(super) fn len(&self) -> usize {
        self.len as usize
    }

    /// Stores an entry and says under which number.
    ///
    /// # Panics
    /// At 2^32 - 1 entries.
    pub(super) fn insert(&mut self, entry: T) -> u32 {
        self.len += 1;
        let id = self.free;
        if id == NONE {
            return self.push(entry);
        }
        let slot = self.slot_mut(id);
        let Slot::Free(next) = *slot else { unreachable!("slot {id} is on the free list") };
        *slot = Slot::Full(entry);
        self.free = next;
        id
    }

    fn push(&mut self, entry: T) -> u32 {
        if self.chunks.last().is_none_or(|chunk| chunk.len() == CHUNK) {
            let first = self.chunks.is_empty();
            self.chunks.push(Vec::with_capacity(if first { 0 } else { CHUNK }));
        }
        let id =
            u32::try_from(self.slots()).ok().filter(|&id| id != NONE).expect("fewer than 2^32 - 1 entries");
        self.chunks[chunk_of(id)].push(Slot::Full(entry));
        id
    }

    /// Takes an entry out, which must be there; its number is handed out again.
    pub(super) fn remove(&mut self, id: u32) -> T {
        let free = Slot::Free(self.free);
        let Slot::Full(entry) = std::mem::replace(self.slot_mut(id), free) else {
            unreachable!("entry {id} was removed before")
        };
        self.free = id;
        self.len -= 1;
        entry
    }

    /// The number of the entry behind this one, round about; `None` when there is no entry.
    pub(super) fn next_after(&self, id: u32) -> Option<u32> {
        let slots = u32::try_from(self.slots()).expect("each slot has a number");
        let after = id.saturating_add(1).min(slots);
        (after..slots).chain(0..after).find(|&id| matches!(self.slot(id), Slot::Full(_)))
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, &T)> {
        (0..).zip(self.chunks.iter().flatten()).filter_map(|(id, slot)| match slot {
            Slot::Full(entry) => Some((id, entry)),
            Slot::Free(_) => None,
        })
    }

    /// How many numbers were ever handed out at once.
    fn slots(&self) -> usize {
        self.chunks.last().map_or(0, |last| (self.chunks.len() - 1) * CHUNK + last.len())
    }

    #[inline]
    fn slot(&self, id: u32) -> &Slot<T> {
        &self.chunks[chunk_of(id)][id as usize % CHUNK]
    }

    #[inline]
    fn slot_mut(&mut self, id: u32) -> &mut Slot<T> {
        &mut self.chunks[chunk_of(id)][id as usize % CHUNK]
    }
}

fn chunk_of(id: u32) -> usize {
    (id >> CHUNK_BITS) as usize
}

impl<T> Index<u32> for Arena<T> {
    type Output = T;
    #[inline]
    fn index(&self, id: u32) -> &T {
        match self.slot(id) {
            Slot::Full(entry) => entry,
            Slot::Free(_) => unreachable!("entry {id} was removed"),
        }
    }
}

impl<T> IndexMut<u32> for Arena<T> {
    #[inline]
    fn index_mut(&mut self, id: u32) -> &mut T {
        match self.slot_mut(id) {
            Slot::Full(entry) => entry,
            Slot::Free(_) => unreachable!("entry {id} was removed"),
        }
    }
}

#[derive(Clone, Copy, Debug)]
struct Place {
    hash: u32,
    id: u32,
}

/// From hashes to numbers. What the hash is of, the caller knows.
#[derive(Debug, Default)]
pub(super) struct HashIndex(HashTable<Place>);

impl HashIndex {
    /// The number under this hash for which `is` holds. `is` sees next to nothing but the right number.
    #[inline]
    pub(super) fn find(&self, hash: u64, mut is: impl FnMut(u32) -> bool) -> Option<u32> {
        let kept = kept(hash);
        self.0.find(spread(kept), |place| place.hash == kept && is(place.id)).map(|place| place.id)
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn insert(&mut self, hash: u64, id: u32) {
        let hash = kept(hash);
        self.0.insert_unique(spread(hash), Place { hash, id }, |place| spread(place.hash));
    }

    /// Removes a number, which must be there under this hash.
    pub(super) fn remove(&mut self, hash: u64, id: u32) {
        let entry = self.0.find_entry(spread(kept(hash)), |place| place.id == id);
        entry.expect("an entry is indexed under its hash").remove();
    }
}

fn kept(hash: u64) -> u32 {
    (hash >> 32) as u32
}

/// The table takes the bucket from the low bits and its tag from the high ones.
fn spread(kept: u32) -> u64 {
    u64::from(kept) << 32 | u64::from(kept)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_reused_and_entries_stay_where_they_are() {
        let mut arena = Arena::new();
        let ids: Vec<u32> = (0..3 * CHUNK).map(|i| arena.insert(i)).collect();
        assert!(ids.iter().enumerate().all(|(i, &id)| arena[id] == i));
        for &id in ids.iter().step_by(2) {
            arena.remove(id);
        }
        assert_eq!(arena.len(), 3 * CHUNK / 2);
        let again: Vec<u32> = ids.iter().step_by(2).map(|_| arena.insert(0)).collect();
        assert!(again.iter().all(|id| ids.contains(id)), "no new numbers while old ones are free");
        assert_eq!(arena.iter().filter(|&(_, &entry)| entry == 0).count(), 3 * CHUNK / 2);
        arena[ids[1]] += 41;
        assert_eq!(arena[ids[1]], 42);
    }

    #[test]
    fn going_round_finds_each_entry_and_ends_in_an_empty_arena() {
        let mut arena = Arena::new();
        assert_eq!(arena.next_after(0), None);
        let ids = [(); 4].map(|()| arena.insert('x'));
        arena.remove(ids[1]);
        assert_eq!([0, 2, 3, 99].map(|id| arena.next_after(id)), [Some(2), Some(3), Some(0), Some(0)]);
        ids.iter().filter(|&&id| id != 1).for_each(|&id| _ = arena.remove(id));
        assert_eq!(arena.next_after(2), None);
    }

    #[test]
    fn equal_hashes_are_told_apart_by_what_they_are_of() {
        let mut index = HashIndex::default();
        let names = ["a", "b", "c"];
        (0..3).for_each(|id| index.insert(42, id));
        index.insert(42 << 32, 3);
        let find = |index: &HashIndex, name| index.find(42, |id| names[id as usize] == name);
        assert_eq!((find(&index, "b"), find(&index, "d")), (Some(1), None));
        index.remove(42, 1);
        assert_eq!((find(&index, "b"), find(&index, "c")), (None, Some(2)));
        assert_eq!(index.find(42 << 32, |_| true), Some(3));
    }
}
