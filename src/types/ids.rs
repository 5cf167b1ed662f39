//! Identifiers, each its own type, so that a session can never be looked up by a connection's number.

use std::fmt;
use std::num::NonZeroU16;

/// Most shards one broker can run; half the width of a [`ShardSet`].
pub const SHARDS_MAX: usize = 256;

/// A shard: one pinned core's engine and connections. Numbered from 0 without gaps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ShardId(pub u16);

impl ShardId {
    /// The shard's number as an index.
    pub fn index(self) -> usize {
        usize::from(self.0)
    }

    /// The same shard where it also keeps what it is sent in the store: a second member of a [`ShardSet`], not a shard.
    pub const fn lasting(self) -> Self {
        Self(self.0 + LASTING)
    }

    /// Whether it is a shard, and not what [`ShardId::lasting`] made of one.
    pub const fn is_shard(self) -> bool {
        self.0 < LASTING
    }
}

/// Where the second members of a [`ShardSet`] begin.
const LASTING: u16 = 256;
const _: () = assert!(LASTING as usize == SHARDS_MAX);

impl fmt::Display for ShardId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A connection slot on the shard that owns it. `generation` guards against slot reuse.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnKey {
    /// Index into the shard's slab of connections.
    pub slot: u32,
    /// How often the slot was handed out before.
    pub generation: u32,
}

/// A session slot in the engine that owns it. `generation` guards against slot reuse.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionKey {
    /// Index into the engine's slab of sessions.
    pub slot: u32,
    /// How often the slot was handed out before.
    pub generation: u32,
}

/// The group of a shared subscription in the engine that made the key. `generation` guards against slot reuse.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct GroupKey {
    /// Index into the engine's slab of groups.
    pub slot: u32,
    /// How often the slot was handed out before.
    pub generation: u32,
}

/// A session in the store, over all cores and restarts. Never given twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionId(pub u64);

/// A packet identifier: 1 to 65,535. [MQTT-2.3.1-1], [MQTT-2.2.1-3] in 5.0.
pub type PacketId = NonZeroU16;

/// A set of shards, and of those that are [`ShardId::lasting`], as a bitmap.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct ShardSet([u64; SHARDS_MAX / 32]);

impl ShardSet {
    /// The set without members.
    pub const EMPTY: Self = Self([0; SHARDS_MAX / 32]);

    /// Adds a shard; false when it was there already.
    pub fn insert(&mut self, shard: ShardId) -> bool {
        let (word, bit) = Self::place(shard);
        let fresh = self.0[word] & bit == 0;
        self.0[word] |= bit;
        fresh
    }

    /// Takes a shard out; false when it was not there.
    pub fn remove(&mut self, shard: ShardId) -> bool {
        let (word, bit) = Self::place(shard);
        let present = self.0[word] & bit != 0;
        self.0[word] &= !bit;
        present
    }

    /// Whether the shard is a member.
    pub fn contains(&self, shard: ShardId) -> bool {
        let (word, bit) = Self::place(shard);
        self.0[word] & bit != 0
    }

    /// Whether there is no member.
    pub fn is_empty(&self) -> bool {
        self.0.iter().all(|&word| word == 0)
    }

    /// Adds all members of `other`.
    pub fn union(&mut self, other: &Self) {
        for (word, more) in self.0.iter_mut().zip(other.0) {
            *word |= more;
        }
    }

    /// The members in ascending order.
    pub fn iter(&self) -> impl Iterator<Item = ShardId> + use<> {
        let words = self.0;
        (0u16..).zip(words).flat_map(|(index, mut word)| {
            std::iter::from_fn(move || {
                let bit = u16::try_from(word.trailing_zeros()).ok().filter(|_| word != 0)?;
                word &= word - 1;
                Some(ShardId(index * 64 + bit))
            })
        })
    }

    fn place(shard: ShardId) -> (usize, u64) {
        (shard.index() / 64, 1 << (shard.index() % 64))
    }
}

impl fmt::Debug for ShardSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter().map(|shard| shard.0)).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shard_set_lists_its_members_in_order() {
        let mut set = ShardSet::EMPTY;
        for shard in [255, 0, 64, 63, 7] {
            assert!(set.insert(ShardId(shard)));
        }
        assert!(!set.insert(ShardId(7)));
        assert_eq!(set.iter().map(|s| s.0).collect::<Vec<_>>(), [0, 7, 63, 64, 255]);
        assert!(set.remove(ShardId(64)) && !set.remove(ShardId(64)));
        assert!(!set.contains(ShardId(64)) && set.contains(ShardId(255)));
        let mut other = ShardSet::EMPTY;
        assert!(other.is_empty());
        other.union(&set);
        assert_eq!(other, set);
    }
}
