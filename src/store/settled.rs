//! The settled state: trees that change all at once, and remember how far in the journal they are.
//!
//! [`MemorySettled`] is the model of it, for tests and the simulator: a change happens at once or not at all, and it fails or
//! rolls back when it is told to, as a disk does when nobody asked.

#[cfg(test)]
pub(super) mod tests;

use std::collections::BTreeMap;
use std::io;
use std::ops::ControlFlow;

use bytes::Bytes;

/// The trees of a store. A number is on disk and in dumps, so that it never gets another meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Tree {
    /// What the store says about itself.
    Meta = 0,
    /// Sessions by number.
    Sessions = 1,
    /// Subscriptions by session and filter.
    Subscriptions = 2,
    /// Pages of messages by session and the first one's number.
    Queues = 3,
    /// Retained messages by topic.
    Retained = 4,
    /// Pages of messages that several sessions are owed, by a number that only grows.
    Bodies = 5,
    /// By page of them: how often messages in it are still referred to.
    Refs = 6,
}

impl Tree {
    /// Every tree, in the order of their numbers.
    pub const ALL: [Self; 7] = [
        Self::Meta,
        Self::Sessions,
        Self::Subscriptions,
        Self::Queues,
        Self::Retained,
        Self::Bodies,
        Self::Refs,
    ];

    /// The name on disk and in dumps.
    pub fn name(self) -> &'static str {
        match self {
            Self::Meta => "meta",
            Self::Sessions => "sessions",
            Self::Subscriptions => "subscriptions",
            Self::Queues => "queues",
            Self::Retained => "retained",
            Self::Bodies => "bodies",
            Self::Refs => "refs",
        }
    }

    /// The tree of that name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|tree| tree.name() == name)
    }

    /// Its place in [`Tree::ALL`].
    pub(crate) fn index(self) -> usize {
        usize::from(self as u8)
    }
}

/// One absolute change: done twice, it is the same as done once. That is what makes replaying a journal safe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Where.
    pub tree: Tree,
    /// Under which key.
    pub key: Bytes,
    /// The value from now on; none removes the key.
    pub value: Option<Bytes>,
}

/// A key and its value.
pub type Entry = (Bytes, Bytes);

/// A store of settled state. One owner at a time; a failed change ends its use, and what is on disk decides.
pub trait Settled {
    /// How far in the journal the state is: what the last [`Settled::apply`] that lasted was given, or 0.
    fn position(&self) -> u64;

    /// Makes the changes in order and lasting, with `position`, all or nothing, over all trees.
    ///
    /// # Errors
    /// The world's: a full or broken disk. A refusal for lack of space ([`io::ErrorKind::StorageFull`]) leaves the state as
    /// it was, and may be tried again. After every other error, of any call, the store must not be used again.
    ///
    /// # Panics
    /// When `position` is below the one that it is at: positions never go back.
    fn apply(&mut self, changes: &mut dyn Iterator<Item = Change>, position: u64) -> io::Result<()>;

    /// The value under a key.
    ///
    /// # Errors
    /// When it cannot be read.
    fn get(&self, tree: Tree, key: &[u8]) -> io::Result<Option<Bytes>>;

    /// At most `limit` entries from the first key that is not below `from`, in the order of keys. The next ones begin at
    /// [`after`] the last key.
    ///
    /// # Errors
    /// When they cannot be read.
    fn scan(&self, tree: Tree, from: &[u8], limit: usize) -> io::Result<Vec<Entry>>;

    /// What it takes on disk.
    ///
    /// # Errors
    /// When the folder cannot be read.
    fn bytes_on_disk(&self) -> io::Result<u64>;
}

/// The lowest key that is above `key`.
pub(crate) fn after(key: &[u8]) -> Vec<u8> {
    let mut next = Vec::with_capacity(key.len() + 1);
    next.extend_from_slice(key);
    next.push(0);
    next
}

/// Entries read at a time, and those that may have tens of kilobytes each.
const CHUNK: usize = 256;
const CHUNK_OF_PAGES: usize = 16;

/// Shows every entry of a tree, in bounded memory.
///
/// # Errors
/// What cannot be read, or is out of order; and those of `see`.
pub(super) fn each(
    settled: &dyn Settled,
    tree: Tree,
    mut see: impl FnMut(&Bytes, &Bytes) -> io::Result<()>,
) -> io::Result<()> {
    each_from(settled, tree, &[], |key, value| see(key, value).map(ControlFlow::Continue))
}

/// Shows the entries of a tree from the first key on that is not below `from`, until `see` has had enough.
///
/// # Errors
/// See [`each`].
pub(super) fn each_from(
    settled: &dyn Settled,
    tree: Tree,
    from: &[u8],
    mut see: impl FnMut(&Bytes, &Bytes) -> io::Result<ControlFlow<()>>,
) -> io::Result<()> {
    let chunk = if matches!(tree, Tree::Queues | Tree::Bodies) { CHUNK_OF_PAGES } else { CHUNK };
    let mut from = from.to_vec();
    loop {
        let entries = settled.scan(tree, &from, chunk)?;
        for (key, value) in &entries {
            if key[..] < from[..] {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "keys are out of order"));
            }
            if see(key, value)?.is_break() {
                return Ok(());
            }
            from = after(key);
        }
        if entries.len() < chunk {
            return Ok(());
        }
    }
}

type Trees = [BTreeMap<Bytes, Bytes>; Tree::ALL.len()];

/// A store in memory that can fail and roll back on demand.
#[derive(Clone, Debug, Default)]
pub struct MemorySettled {
    trees: Trees,
    position: u64,
    /// The state before the last change, to which the store can be rolled back behind the journal's back.
    before: Option<Box<(Trees, u64)>>,
    /// The next change fails, before or after it was made.
    failing: Option<Lasting>,
}

/// Whether a change that was reported as failed had lasted all the same: with a disk, both happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lasting {
    /// The change is gone.
    Gone,
    /// The change is there.
    There,
}

impl MemorySettled {
    /// Lets the next [`Settled::apply`] fail.
    pub fn fail_next(&mut self, lasting: Lasting) {
        self.failing = Some(lasting);
    }

    /// Goes back to the state before the last change, as a damaged database may do in silence. False if there is none.
    pub fn roll_back(&mut self) -> bool {
        let Some(before) = self.before.take() else { return false };
        (self.trees, self.position) = *before;
        true
    }
}

impl Settled for MemorySettled {
    fn position(&self) -> u64 {
        self.position
    }

    fn apply(&mut self, changes: &mut dyn Iterator<Item = Change>, position: u64) -> io::Result<()> {
        assert!(position >= self.position, "a position never goes back");
        let failing = self.failing.take();
        if failing == Some(Lasting::Gone) {
            return Err(io::Error::other("this change was to fail"));
        }
        self.before = Some(Box::new((self.trees.clone(), self.position)));
        for Change { tree, key, value } in changes {
            let tree = &mut self.trees[tree.index()];
            match value {
                Some(value) => tree.insert(key, value),
                None => tree.remove(&key),
            };
        }
        self.position = position;
        failing.map_or(Ok(()), |_| Err(io::Error::other("this change was to be reported as failed")))
    }

    fn get(&self, tree: Tree, key: &[u8]) -> io::Result<Option<Bytes>> {
        Ok(self.trees[tree.index()].get(key).cloned())
    }

    fn scan(&self, tree: Tree, from: &[u8], limit: usize) -> io::Result<Vec<Entry>> {
        let entries = self.trees[tree.index()].range(Bytes::copy_from_slice(from)..);
        Ok(entries.take(limit).map(|(key, value)| (key.clone(), value.clone())).collect())
    }

    fn bytes_on_disk(&self) -> io::Result<u64> {
        let entries = self.trees.iter().flatten();
        Ok(entries.map(|(key, value)| (key.len() + value.len()) as u64).sum())
    }
}
