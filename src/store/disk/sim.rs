//! A folder in memory that loses power, fills up and fails like a disk does, from one seed.
//!
//! It holds two versions of everything: what reads see (Linux's page cache) and what would be left without power. A
//! write reaches the platter in sectors of 512 bytes, at any time until the sync that waits for it, and in any order;
//! names likewise, until the folder is synced. A sync that fails leaves its pages readable and forgets to write them,
//! as Linux does: only another write of the same bytes brings them to the disk.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::{Arc, MutexGuard, PoisonError};

use super::{Disk, DiskFile};

/// What a disk writes whole or not at all.
const SECTOR: usize = 512;

/// A handle of the disk; clones are the same disk.
#[expect(clippy::disallowed_types, reason = "a disk is what threads share, and this one waits for nobody")]
#[derive(Debug, Clone)]
pub struct SimDisk(Arc<std::sync::Mutex<State>>);

/// A file of a [`SimDisk`]; it can be used for as long as it has a name.
#[derive(Debug)]
pub struct SimFile {
    disk: SimDisk,
    inode: u64,
}

#[derive(Debug)]
struct State {
    random: u64,
    files: BTreeMap<u64, Content>,
    next_inode: u64,
    names: BTreeMap<String, u64>,
    lasting_names: BTreeMap<String, u64>,
    /// Changes of names since the folder was synced, oldest first.
    unsynced_names: Vec<Renaming>,
    capacity: u64,
    /// How many writes go well before one fails.
    writes_left: Option<u64>,
    /// How many syncs of files or the folder go well before one fails.
    syncs_left: Option<u64>,
    cuts: u64,
}

#[derive(Debug)]
struct Content {
    seen: Vec<u8>,
    /// As long as `seen`, unless the length was never synced.
    lasting: Vec<u8>,
    /// Sectors whose write is under way.
    dirty: BTreeSet<usize>,
}

#[derive(Debug)]
struct Renaming {
    gone: Option<String>,
    /// The new name and its file.
    there: Option<(String, u64)>,
}

impl SimDisk {
    /// An empty disk of unlimited size.
    #[expect(clippy::disallowed_types, reason = "see the type")]
    pub fn new(seed: u64) -> Self {
        Self(Arc::new(std::sync::Mutex::new(State {
            random: seed,
            files: BTreeMap::new(),
            next_inode: 0,
            names: BTreeMap::new(),
            lasting_names: BTreeMap::new(),
            unsynced_names: Vec::new(),
            capacity: u64::MAX,
            writes_left: None,
            syncs_left: None,
            cuts: 0,
        })))
    }

    /// Limits the bytes of all files together; what is there stays.
    pub fn set_capacity(&self, bytes: u64) {
        self.state().capacity = bytes;
    }

    /// What is left of it.
    pub fn free_bytes(&self) -> u64 {
        let state = self.state();
        state.capacity.saturating_sub(state.used())
    }

    /// Lets `good` more writes succeed and the one after them fail, half written.
    pub fn fail_write_after(&self, good: u64) {
        self.state().writes_left = Some(good);
    }

    /// Lets `good` more syncs succeed and the one after them fail.
    pub fn fail_sync_after(&self, good: u64) {
        self.state().syncs_left = Some(good);
    }

    /// Takes back failures that were ordered and have not happened.
    pub fn heal(&self) {
        let mut state = self.state();
        state.writes_left = None;
        state.syncs_left = None;
    }

    /// Loses power: of what was not synced, some sectors and names are there and some are not.
    pub fn cut(&self) {
        self.state().cut();
    }

    /// How often the power was lost.
    pub fn cuts(&self) -> u64 {
        self.state().cuts
    }

    /// A file's bytes as a read sees them; for tests that look at or damage them.
    pub fn bytes(&self, name: &str) -> Option<Vec<u8>> {
        let state = self.state();
        Some(state.files[state.names.get(name)?].seen.clone())
    }

    /// Puts a file in place with all it holds, synced, whatever was there under the name.
    pub fn put(&self, name: &str, bytes: &[u8]) {
        let mut state = self.state();
        let inode = state.add(bytes.to_vec());
        state.files.get_mut(&inode).expect("just added").lasting = bytes.to_vec();
        state.names.insert(name.to_owned(), inode);
        state.lasting_names.insert(name.to_owned(), inode);
        state.sweep();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A test that panicked on another thread says so itself.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// SplitMix64.
    fn random(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.random;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn chance(&mut self) -> bool {
        self.random() & 1 == 0
    }

    fn add(&mut self, seen: Vec<u8>) -> u64 {
        self.next_inode += 1;
        self.files.insert(self.next_inode, Content { seen, lasting: Vec::new(), dirty: BTreeSet::new() });
        self.next_inode
    }

    fn used(&self) -> u64 {
        let named: BTreeSet<u64> = self.names.values().copied().collect();
        named.iter().map(|inode| self.files[inode].seen.len() as u64).sum()
    }

    fn inode(&self, name: &str) -> io::Result<u64> {
        self.names.get(name).copied().ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))
    }

    /// Forgets files that no name leads to, now or after a cut.
    fn sweep(&mut self) {
        let pending = self.unsynced_names.iter().filter_map(|change| Some(change.there.as_ref()?.1));
        let named: BTreeSet<u64> =
            self.names.values().chain(self.lasting_names.values()).copied().chain(pending).collect();
        self.files.retain(|inode, _| named.contains(inode));
    }

    fn renamed(&mut self, gone: Option<&str>, there: Option<(&str, u64)>) {
        let change = Renaming {
            gone: gone.map(str::to_owned),
            there: there.map(|(name, inode)| (name.to_owned(), inode)),
        };
        change.apply(&mut self.names);
        self.unsynced_names.push(change);
    }

    fn cut(&mut self) {
        self.cuts += 1;
        for change in std::mem::take(&mut self.unsynced_names) {
            if self.chance() {
                change.apply(&mut self.lasting_names);
            }
        }
        self.names = self.lasting_names.clone();
        let mut files = std::mem::take(&mut self.files);
        for content in files.values_mut() {
            // Half of the cuts come right behind a sync and lose all, or right before one and lose little.
            let chances = 1 + self.random() % 7;
            for sector in std::mem::take(&mut content.dirty) {
                if self.random() % 8 < chances {
                    content.write_back(sector);
                }
            }
            content.seen = content.lasting.clone();
        }
        self.files = files;
        self.writes_left = None;
        self.syncs_left = None;
        self.sweep();
    }
}

impl Renaming {
    fn apply(&self, names: &mut BTreeMap<String, u64>) {
        if let Some(gone) = &self.gone {
            names.remove(gone);
        }
        if let Some((name, inode)) = &self.there {
            names.insert(name.clone(), *inode);
        }
    }
}

impl Content {
    fn write_back(&mut self, sector: usize) {
        let range = sector * SECTOR..((sector + 1) * SECTOR).min(self.seen.len());
        if self.lasting.len() < range.end {
            self.lasting.resize(self.seen.len(), 0);
        }
        self.lasting[range.clone()].copy_from_slice(&self.seen[range]);
    }

    fn write(&mut self, bytes: &[u8], offset: usize) {
        let end = offset + bytes.len();
        if self.seen.len() < end {
            self.seen.resize(end, 0);
        }
        self.seen[offset..end].copy_from_slice(bytes);
        self.dirty.extend(offset / SECTOR..end.div_ceil(SECTOR));
    }
}

/// Counts one more operation; true when it is the one that fails.
fn is_last(left: &mut Option<u64>) -> bool {
    match left {
        Some(0) => {
            *left = None;
            true
        }
        Some(good) => {
            *good -= 1;
            false
        }
        None => false,
    }
}

impl Disk for SimDisk {
    type File = SimFile;

    fn create(&self, name: &str, length: u64) -> io::Result<SimFile> {
        let mut state = self.state();
        if state.names.contains_key(name) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        if state.used().saturating_add(length) > state.capacity {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let length = usize::try_from(length).map_err(|_| io::ErrorKind::StorageFull)?;
        let inode = state.add(vec![0; length]);
        state.renamed(None, Some((name, inode)));
        Ok(SimFile { disk: self.clone(), inode })
    }

    fn open(&self, name: &str) -> io::Result<SimFile> {
        let inode = self.state().inode(name)?;
        Ok(SimFile { disk: self.clone(), inode })
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut state = self.state();
        state.inode(name)?;
        state.renamed(Some(name), None);
        Ok(())
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut state = self.state();
        let inode = state.inode(from)?;
        state.renamed(Some(from), Some((to, inode)));
        Ok(())
    }

    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.state().names.keys().cloned().collect())
    }

    fn sync_folder(&self) -> io::Result<()> {
        let mut state = self.state();
        if is_last(&mut state.syncs_left) {
            return Err(io::Error::other("the simulated disk failed"));
        }
        state.unsynced_names.clear();
        state.lasting_names = state.names.clone();
        state.sweep();
        Ok(())
    }
}

impl SimFile {
    fn with<T>(&self, act: impl FnOnce(&mut State, &mut Content) -> io::Result<T>) -> io::Result<T> {
        let mut state = self.disk.state();
        // Nothing is left of a file without a name; the journal lets go of a file before it removes it.
        let mut content = state.files.remove(&self.inode).ok_or(io::ErrorKind::NotFound)?;
        let result = act(&mut state, &mut content);
        state.files.insert(self.inode, content);
        result
    }
}

impl DiskFile for SimFile {
    fn len(&self) -> io::Result<u64> {
        self.with(|_, content| Ok(content.seen.len() as u64))
    }

    fn read_at(&self, into: &mut [u8], offset: u64) -> io::Result<usize> {
        self.with(|_, content| {
            let from = usize::try_from(offset).map_or(content.seen.len(), |at| at.min(content.seen.len()));
            let part = &content.seen[from..];
            let length = part.len().min(into.len());
            into[..length].copy_from_slice(&part[..length]);
            Ok(length)
        })
    }

    fn write_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.with(|state, content| {
            let offset = usize::try_from(offset).map_err(|_| io::ErrorKind::StorageFull)?;
            if is_last(&mut state.writes_left) {
                content.write(&bytes[..bytes.len() / 2], offset);
                return Err(io::Error::other("the simulated disk failed"));
            }
            // The system may write back at any moment, also between two writes to one sector.
            let background: Vec<usize> =
                content.dirty.iter().copied().filter(|_| state.random().is_multiple_of(16)).collect();
            for sector in background {
                content.dirty.remove(&sector);
                content.write_back(sector);
            }
            content.write(bytes, offset);
            Ok(())
        })
    }

    fn sync_data(&mut self) -> io::Result<()> {
        self.with(|state, content| {
            let fails = is_last(&mut state.syncs_left);
            if content.lasting.len() != content.seen.len() && !fails {
                content.lasting.resize(content.seen.len(), 0);
            }
            for sector in std::mem::take(&mut content.dirty) {
                if !fails || state.chance() {
                    content.write_back(sector);
                }
            }
            if fails { Err(io::Error::other("the simulated disk failed")) } else { Ok(()) }
        })
    }
}
