//! sled itself: its handles, and what is asked of it. The only file that names it.
//!
//! Runs on: the thread of a [`super::keeper::Keeper`] only, which is the only writer; it goes on after an error never.

use std::io;
use std::path::Path;

use bytes::Bytes;
use sled::{Config, Db, InlineArray};

use super::keeper::Progress;
use crate::store::dump::IMPORTING_KEY;
use crate::store::settled::{Change, Entry, Tree};

/// Entries in a leaf, fixed when a store is made. Between 16 and 256, 64 cost least over both kinds of keys.
const LEAF_FANOUT: usize = 64;
/// A year: never, without the drop-flushes that sled makes of none.
const FLUSH_EVERY_MS: usize = 31_536_000_000;
/// The tree of what the store itself has to remember.
const OWN_TREE: &str = "settled";
const LAYOUT_KEY: &[u8] = b"layout";
const POSITION_KEY: &[u8] = b"position";

/// sled's handles, in the order in which they are dropped.
pub(super) struct Database {
    trees: [sled::Tree<LEAF_FANOUT>; Tree::ALL.len()],
    own: sled::Tree<LEAF_FANOUT>,
    db: Db<LEAF_FANOUT>,
}

/// What a database says of itself.
#[derive(Clone, Copy, Debug)]
pub(super) struct Facts {
    /// None in one that was just made.
    pub(super) layout: Option<u64>,
    /// How far in the journal it is.
    pub(super) position: u64,
    /// An import into it did not finish.
    pub(super) importing: bool,
}

impl Database {
    /// Opens the database in a folder, or makes one. sled waits for every dirty page of the machine when it opens.
    pub(super) fn open(path: &Path, cache_bytes: usize, progress: &Progress) -> io::Result<(Self, Facts)> {
        // sled writes on rayon's global pool; whoever made it first has decided its size, which only costs threads.
        let _ = rayon::ThreadPoolBuilder::new().num_threads(1).build_global();
        let db: Db<LEAF_FANOUT> = Config::new()
            .path(path)
            .cache_capacity_bytes(cache_bytes)
            .zstd_compression_level(1)
            .flush_every_ms(Some(FLUSH_EVERY_MS))
            .open()?;
        progress.step();
        // Until everything is there, an error leaks what is: dropping it might wait for ever.
        let db = Leaked::new(db);
        let tree = |name| {
            let tree = db.open_tree(name).map(Leaked::new);
            progress.step();
            tree
        };
        let own = tree(OWN_TREE)?;
        let layout = number(&own, LAYOUT_KEY)?;
        let position = number(&own, POSITION_KEY)?.unwrap_or(0);
        let mut trees = Leaked::new(Vec::new());
        for known in Tree::ALL {
            trees.push(Leaked::into_inner(tree(known.name())?));
        }
        let importing = trees[Tree::Meta.index()].get(IMPORTING_KEY)?.is_some();
        let (trees, own) = (Leaked::into_inner(trees), Leaked::into_inner(own));
        let Ok(trees) = trees.try_into() else { unreachable!("one for each of Tree::ALL") };
        let facts = Facts { layout, position, importing };
        Ok((Self { trees, own, db: Leaked::into_inner(db) }, facts))
    }

    pub(super) fn get(&self, tree: Tree, key: &[u8]) -> io::Result<Option<Bytes>> {
        Ok(self.trees[tree.index()].get(key)?.map(bytes))
    }

    pub(super) fn scan(&self, tree: Tree, from: &[u8], limit: usize) -> io::Result<Vec<Entry>> {
        let entries = self.trees[tree.index()].range(from..).take(limit);
        entries.map(|entry| entry.map(|(key, value)| (bytes(key), bytes(value)))).collect()
    }

    /// Makes changes, in memory.
    pub(super) fn change(&self, changes: Vec<Change>) -> io::Result<()> {
        for Change { tree, key, value } in changes {
            let tree = &self.trees[tree.index()];
            match value {
                Some(value) => tree.insert(&key[..], &value[..])?,
                None => tree.remove(&key[..])?,
            };
        }
        Ok(())
    }

    /// Makes all changes so far lasting, all or nothing, with the position.
    pub(super) fn flush(&self, layout: u64, position: u64) -> io::Result<()> {
        self.own.insert(LAYOUT_KEY, &layout.to_be_bytes()[..])?;
        self.own.insert(POSITION_KEY, &position.to_be_bytes()[..])?;
        self.db.flush().map(drop)
    }
}

/// What is not dropped unless it is taken out again.
type Leaked<T> = std::mem::ManuallyDrop<T>;

fn bytes(array: InlineArray) -> Bytes {
    Bytes::copy_from_slice(&array)
}

fn number(tree: &sled::Tree<LEAF_FANOUT>, key: &[u8]) -> io::Result<Option<u64>> {
    let Some(value) = tree.get(key)? else { return Ok(None) };
    let bytes = value.as_ref().try_into().map_err(|_| io::Error::from(io::ErrorKind::InvalidData))?;
    Ok(Some(u64::from_be_bytes(bytes)))
}
