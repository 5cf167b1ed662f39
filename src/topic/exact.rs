//! Filters without wildcards: found by one hash of the whole topic name, at any number of levels.

use super::arena::{Arena, HashIndex};
use super::text::Text;
use super::wants::Wants;
use crate::types::HashSeed;
use foldhash::fast::FixedState;
use std::hash::{BuildHasher, Hasher};

/// Filter to wants. Invariant between calls: each filter here is wanted by somebody.
#[derive(Debug)]
pub(super) struct ExactFilters {
    entries: Arena<Entry>,
    index: HashIndex,
    state: FixedState,
}

/// One cache line, most filters' text included: a lookup in a million is mostly waiting for memory.
#[derive(Debug)]
#[repr(align(64))]
struct Entry {
    filter: Text<38>,
    wants: Wants,
}

const _: () = assert!(size_of::<Entry>() == 64, "each filter without wildcards is one");

impl ExactFilters {
    pub(super) fn new(seed: HashSeed) -> Self {
        Self { entries: Arena::new(), index: HashIndex::default(), state: seed.state() }
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn find(&self, topic: &str) -> Option<&Wants> {
        self.locate(topic, self.hash(topic)).map(|id| &self.entries[id].wants)
    }

    /// The wants of a filter, made when it is new; the caller adds somebody.
    pub(super) fn entry(&mut self, filter: &str) -> &mut Wants {
        let hash = self.hash(filter);
        let id = self.locate(filter, hash).unwrap_or_else(|| {
            let id =
                self.entries.insert(Entry { filter: Text::new(filter.as_bytes()), wants: Wants::Nobody });
            self.index.insert(hash, id);
            id
        });
        &mut self.entries[id].wants
    }

    /// Changes the wants of a filter that is there, and drops it when nobody is left.
    pub(super) fn update<R>(&mut self, filter: &str, change: impl FnOnce(&mut Wants) -> R) -> Option<R> {
        let hash = self.hash(filter);
        let id = self.locate(filter, hash)?;
        let wants = &mut self.entries[id].wants;
        let outcome = change(wants);
        if wants.is_nobody() {
            self.index.remove(hash, id);
            self.entries.remove(id);
        }
        Some(outcome)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &Wants)> {
        self.entries.iter().map(|(_, entry)| {
            let filter = std::str::from_utf8(entry.filter.as_bytes()).expect("made from text");
            (filter, &entry.wants)
        })
    }

    fn locate(&self, text: &str, hash: u64) -> Option<u32> {
        self.index.find(hash, |id| self.entries[id].filter.as_bytes() == text.as_bytes())
    }

    fn hash(&self, text: &str) -> u64 {
        let mut hasher = self.state.build_hasher();
        hasher.write(text.as_bytes());
        hasher.finish()
    }
}
