//! Results of recent lookups: most messages go to a topic that had one just before.
//!
//! An entry is valid while nothing changed that could change it. A filter without wildcards concerns one topic, whose
//! entry is marked; a filter with wildcards may concern any, so it moves the generation and every entry is looked up
//! anew when its topic is next asked for. A hit costs one hash and one comparison of the name, and allocates nothing.
//!
//! At its bounds the cache replaces entries that were not used since it last came by (the clock algorithm), looking at
//! no more than a few of them per miss.

use super::arena::{Arena, HashIndex};
use super::matches::{Matches, Scratch};
use super::trie::Trie;
use super::{TopicFilter, TopicName};
use crate::types::HashSeed;
use foldhash::fast::FixedState;
use std::hash::{BuildHasher, Hasher};

/// Entries that one replacement passes over because they were used lately. Bounds the work of a miss.
const PASSED_OVER_MAX: usize = 8;
/// A result that would take more than this part of all memory is not kept.
const SHARE_MAX: usize = 8;
/// Generation of an entry whose own topic's subscriptions changed. The cache's own starts above it.
const STALE: u64 = 0;

/// How much a [`MatchCache`] keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CacheBounds {
    /// Topics.
    pub entries_max: usize,
    /// Bytes of their names and results, which is mostly the number of subscribers.
    pub bytes_max: usize,
}

impl Default for CacheBounds {
    fn default() -> Self {
        Self { entries_max: 64 << 10, bytes_max: 64 << 20 }
    }
}

/// Topic name to [`Matches`], valid while the trie stands.
#[derive(Debug)]
pub struct MatchCache {
    entries: Arena<Entry>,
    index: HashIndex,
    state: FixedState,
    generation: u64,
    bounds: CacheBounds,
    /// Invariant: the sum of [`Entry::bytes`] of all entries.
    bytes: usize,
    hand: u32,
    /// The result of a lookup on its way into an entry, or that was not kept.
    fresh: Matches,
    scratch: Scratch,
    hits: u64,
    misses: u64,
}

#[derive(Debug, Default)]
struct Entry {
    name: String,
    hash: u64,
    /// When it was looked up; valid only if that is the cache's.
    generation: u64,
    /// Since the hand last came by.
    used: bool,
    matches: Matches,
}

impl Entry {
    fn bytes(&self) -> usize {
        size_of::<Self>() + self.name.capacity() + self.matches.bytes_held()
    }
}

impl MatchCache {
    /// An empty cache.
    pub fn new(seed: HashSeed, bounds: CacheBounds) -> Self {
        Self {
            entries: Arena::new(),
            index: HashIndex::default(),
            state: seed.state(),
            generation: STALE + 1,
            bounds,
            bytes: 0,
            hand: 0,
            fresh: Matches::new(),
            scratch: Scratch::default(),
            hits: 0,
            misses: 0,
        }
    }

    /// Everybody who wants a message with this name. The trie must be the one whose changes
    /// [`on_change`](Self::on_change) was told.
    #[inline]
    pub fn lookup<'c>(&'c mut self, trie: &Trie, name: TopicName<'_>) -> &'c Matches {
        let hash = self.hash(name.as_str());
        let known = self.locate(name.as_str(), hash);
        if let Some(id) = known.filter(|&id| self.entries[id].generation == self.generation) {
            self.hits += 1;
            let entry = &mut self.entries[id];
            entry.used = true;
            return &entry.matches;
        }
        self.misses += 1;
        self.refresh(trie, name, hash, known)
    }

    /// To be called for each filter whose subscribers, their options, or whose interested cores changed.
    pub fn on_change(&mut self, filter: TopicFilter<'_>) {
        if filter.has_wildcard() {
            self.generation += 1;
        } else if let Some(id) = self.locate(filter.as_str(), self.hash(filter.as_str())) {
            self.entries[id].generation = STALE;
        }
    }

    /// Lookups that were answered from the cache.
    pub fn hits(&self) -> u64 {
        self.hits
    }

    /// Lookups that went to the trie.
    pub fn misses(&self) -> u64 {
        self.misses
    }

    /// How many topics are kept, valid or not.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether no topic is kept.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Memory that the entries take, in bytes.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Looks a topic up in the trie and keeps the result, if it is small enough.
    #[cold]
    fn refresh(&mut self, trie: &Trie, name: TopicName<'_>, hash: u64, known: Option<u32>) -> &Matches {
        self.fresh.clear();
        trie.matches_with(name, &mut self.fresh, &mut self.scratch);
        let bytes = size_of::<Entry>() + name.as_str().len() + self.fresh.bytes_used();
        if bytes > self.bounds.bytes_max / SHARE_MAX || self.bounds.entries_max == 0 {
            return &self.fresh;
        }
        let id = known.unwrap_or_else(|| self.make_entry(name.as_str(), hash));
        let entry = &mut self.entries[id];
        self.bytes -= entry.bytes();
        entry.matches.copy_from(&self.fresh);
        entry.generation = self.generation;
        // A topic that comes once is the first to go.
        entry.used = known.is_some();
        self.bytes += entry.bytes();
        while self.bytes > self.bounds.bytes_max && self.entries.len() > 1 {
            let victim = self.victim();
            if victim != id {
                self.evict(victim);
            }
        }
        &self.entries[id].matches
    }

    /// An entry for a topic that has none, whose matches are still to be filled in.
    fn make_entry(&mut self, name: &str, hash: u64) -> u32 {
        let id = if self.entries.len() < self.bounds.entries_max {
            let id = self.entries.insert(Entry::default());
            self.bytes += self.entries[id].bytes();
            id
        } else {
            let id = self.victim();
            self.index.remove(self.entries[id].hash, id);
            id
        };
        let entry = &mut self.entries[id];
        self.bytes -= entry.name.capacity();
        // The name before may have been very long.
        entry.name.clear();
        entry.name.shrink_to(2 * name.len());
        entry.name.push_str(name);
        entry.hash = hash;
        self.bytes += entry.name.capacity();
        self.index.insert(hash, id);
        id
    }

    /// The next entry to give up: one that is not valid or was not used lately, if there is one near.
    fn victim(&mut self) -> u32 {
        let mut passed_over = 0;
        loop {
            self.hand = self.entries.next_after(self.hand).expect("only a cache with entries gives one up");
            let entry = &mut self.entries[self.hand];
            if !entry.used || entry.generation != self.generation || passed_over == PASSED_OVER_MAX {
                return self.hand;
            }
            entry.used = false;
            passed_over += 1;
        }
    }

    fn evict(&mut self, id: u32) {
        let entry = self.entries.remove(id);
        self.index.remove(entry.hash, id);
        self.bytes -= entry.bytes();
    }

    fn locate(&self, name: &str, hash: u64) -> Option<u32> {
        self.index.find(hash, |id| self.entries[id].name == name)
    }

    fn hash(&self, name: &str) -> u64 {
        let mut hasher = self.state.build_hasher();
        hasher.write(name.as_bytes());
        hasher.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topic::{Subscriber, SubscriptionFlags};
    use crate::types::{QoS, SessionKey};

    const BOUNDS: CacheBounds = CacheBounds { entries_max: 4, bytes_max: 1 << 20 };

    struct Core {
        trie: Trie,
        cache: MatchCache,
    }

    impl Core {
        fn new(bounds: CacheBounds) -> Self {
            Self { trie: Trie::new(HashSeed(1)), cache: MatchCache::new(HashSeed(2), bounds) }
        }

        fn subscribe(&mut self, slot: u32, filter: &str) {
            let session = SessionKey { slot, generation: 0 };
            let options = SubscriptionFlags::new(QoS::AtMostOnce, false, false);
            self.trie.subscribe(
                TopicFilter::trusted(filter),
                Subscriber { session, options, subscription_id: slot + 1 },
            );
            self.cache.on_change(TopicFilter::trusted(filter));
        }

        /// The sessions found, and whether the trie was asked.
        fn lookup(&mut self, name: &str) -> (Vec<u32>, bool) {
            let misses = self.cache.misses();
            let found = self.cache.lookup(&self.trie, TopicName::trusted(name));
            let ids = found.locals.iter().flat_map(|local| found.subscription_ids(local));
            let from_ids: Vec<_> = ids.map(|id| id - 1).collect();
            let slots: Vec<_> = found.locals.iter().map(|local| local.session.slot).collect();
            assert_eq!(from_ids, slots);
            (slots, self.cache.misses() > misses)
        }
    }

    #[test]
    fn the_second_lookup_of_a_topic_does_not_ask_the_trie() {
        let mut core = Core::new(BOUNDS);
        core.subscribe(1, "a");
        assert_eq!(core.lookup("a"), (vec![1], true));
        assert_eq!(core.lookup("a"), (vec![1], false));
        assert_eq!(core.lookup("nobody"), (vec![], true));
        assert_eq!(core.lookup("nobody"), (vec![], false));
        assert_eq!((core.cache.hits(), core.cache.misses(), core.cache.len()), (2, 2, 2));
    }

    #[test]
    fn a_filter_without_wildcards_concerns_its_own_topic_only() {
        let mut core = Core::new(BOUNDS);
        core.lookup("a");
        core.lookup("b");
        core.subscribe(1, "a");
        assert_eq!((core.lookup("a"), core.lookup("b")), ((vec![1], true), (vec![], false)));
        assert_eq!(core.lookup("a"), (vec![1], false));
    }

    #[test]
    fn a_filter_with_wildcards_makes_every_entry_be_looked_up_again() {
        let mut core = Core::new(BOUNDS);
        core.subscribe(1, "a");
        core.lookup("a");
        core.lookup("b");
        core.subscribe(2, "+");
        assert_eq!((core.lookup("a"), core.lookup("b")), ((vec![1, 2], true), (vec![2], true)));
        assert_eq!(core.cache.len(), 2, "entries are filled anew where they are");
    }

    #[test]
    fn a_topic_that_is_in_use_outlives_topics_that_come_once() {
        let mut core = Core::new(BOUNDS);
        core.subscribe(1, "#");
        for i in 0..100 {
            core.lookup(&format!("once/{i}"));
            assert_eq!(core.lookup("often"), (vec![1], i == 0));
        }
        assert_eq!((core.cache.len(), core.cache.index.len()), (BOUNDS.entries_max, BOUNDS.entries_max));
    }

    #[test]
    fn memory_stays_within_its_bound_and_the_accounts_are_right() {
        let bounds = CacheBounds { entries_max: 1_000, bytes_max: 20_000 };
        let mut core = Core::new(bounds);
        for slot in 0..40 {
            core.subscribe(slot, "many/#");
        }
        core.subscribe(99, "#");
        for i in 0..500 {
            let sessions = core.lookup(&format!("many/{i}")).0.len();
            assert_eq!((sessions, core.lookup(&format!("{}/{i}", "few".repeat(i))).0), (41, vec![99]));
            let held: usize = core.cache.entries.iter().map(|(_, entry)| entry.bytes()).sum();
            assert_eq!(held, core.cache.bytes());
            assert!(held <= bounds.bytes_max && core.cache.len() == core.cache.index.len());
        }
        assert!(core.cache.len() > 5);
    }

    #[test]
    fn a_result_too_large_to_keep_is_right_every_time() {
        let mut core = Core::new(CacheBounds { entries_max: 100, bytes_max: 20_000 });
        core.subscribe(0, "small");
        for slot in 0..200 {
            core.subscribe(slot, "large");
        }
        for _ in 0..2 {
            assert_eq!(core.lookup("large"), ((0..200).collect(), true));
        }
        assert_eq!((core.lookup("small"), core.lookup("small")), ((vec![0], true), (vec![0], false)));
        let mut none = Core::new(CacheBounds { entries_max: 0, bytes_max: 20_000 });
        none.subscribe(1, "a");
        assert_eq!((none.lookup("a"), none.lookup("a")), ((vec![1], true), (vec![1], true)));
    }
}
