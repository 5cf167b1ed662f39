//! Hash maps and random numbers whose seeds are handed in, so that one seed replays a whole broker.

use foldhash::fast::FixedState;

/// A hash map that needs its seed to be made: `Map::with_hasher(seed.state())`.
pub type Map<K, V> = hashbrown::HashMap<K, V, FixedState>;
/// A hash set that needs its seed to be made.
pub type Set<K> = hashbrown::HashSet<K, FixedState>;

/// What a process' hashes start from: random in production, so that nobody can prepare topics that collide.
#[derive(Clone, Copy, Debug)]
pub struct HashSeed(pub u64);

impl HashSeed {
    /// A hasher for one map.
    pub fn state(self) -> FixedState {
        FixedState::with_seed(self.0)
    }

    /// An empty map.
    pub fn map<K, V>(self) -> Map<K, V> {
        Map::with_hasher(self.state())
    }

    /// An empty set.
    pub fn set<K>(self) -> Set<K> {
        Set::with_hasher(self.state())
    }
}

/// A small generator of random numbers (SplitMix64): for identifiers and workloads, not for secrets.
#[derive(Clone, Debug)]
pub struct Rng(u64);

impl Rng {
    /// A generator that draws the same sequence for the same seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// 64 random bits.
    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `bound`, which must not be 0. The bias is below `bound / 2^64`.
    pub fn below(&mut self, bound: u64) -> u64 {
        debug_assert!(bound > 0, "an empty range has no member");
        // The high half of the product is always below `bound`.
        ((u128::from(self.next_u64()) * u128::from(bound)) >> 64) as u64
    }

    /// True in `numerator` of `denominator` draws.
    pub fn chance(&mut self, numerator: u64, denominator: u64) -> bool {
        self.below(denominator) < numerator
    }

    /// One member of a slice that is not empty.
    pub fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        let index = usize::try_from(self.below(from.len() as u64)).expect("below the slice's length");
        &from[index]
    }
}
