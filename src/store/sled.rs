//! The settled state in sled, and the rules under which 1.0.0-alpha.124 keeps what it is given.
//!
//! Each rule was learned from a failure that can be reproduced:
//! - One writer, single inserts and removes: `apply_batch` beside a `remove` deadlocks.
//! - A flush interval of a year, not none: with none, every dropped iterator flushes, in the middle of a group.
//! - After an error nothing of sled is dropped: a drop waits for a flush that never ends. [`SledOptions::fatal`] is called
//!   once and is to end the process; the journal makes up for it at the next start.
//! - sled never meets a full disk, after which it hangs: free space is looked at before each change.
//! - Opening may hang on a damaged metadata log, and may cut and delete it: it runs under a watchdog, and the log is copied
//!   aside after an unclean stop, until the first change proves that the store was accepted.
//!
//! One flush is one checksummed record in sled's metadata, hence atomic over all trees, and the position is among them.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use sled::{Config, Db};

use super::settled::{Change, Entry, Settled, Tree};

/// Entries in a leaf, fixed when a store is made. Between 16 and 256, 64 cost least over both kinds of keys.
const LEAF_FANOUT: usize = 64;
/// A year: never, without the drop-flushes that sled makes of none.
const FLUSH_EVERY_MS: usize = 31_536_000_000;
/// The layout that this program reads and writes.
const LAYOUT: u64 = 1;
/// The tree of what the store itself has to remember.
const OWN_TREE: &str = "settled";
const LAYOUT_KEY: &[u8] = b"layout";
const POSITION_KEY: &[u8] = b"position";

/// sled's own folder in the store's.
const DATABASE: &str = "sled";
/// The copy of sled's metadata from before an opening after an unclean stop.
const ASIDE: &str = "metadata.aside";
/// There once the store is made, so that a folder that lost its database is not taken for a new one.
const MADE: &str = "made";
/// There while nobody has the store open and the last one closed it.
const CLEAN: &str = "clean";

/// How a store is opened.
#[derive(Clone, Copy, Debug)]
pub struct SledOptions {
    /// What sled may cache. What was written since the start stays in memory regardless.
    pub cache_bytes: usize,
    /// Below this much free space on the file system, changes are refused.
    pub reserve_bytes: u64,
    /// For how long opening may take. sled waits for every dirty page of the machine when it opens.
    pub open_timeout: Duration,
    /// Called once, after the first error of sled's: it should end the process without running destructors.
    pub fatal: fn(&io::Error) -> !,
}

/// Why a store cannot be opened. Nothing was changed that could be put back from the copy of the metadata.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process or thread has it.
    #[error("{}: the store is in use", .0.display())]
    InUse(PathBuf),
    /// The world's.
    #[error("{}: {source}", .folder.display())]
    Io {
        /// The store's folder.
        folder: PathBuf,
        /// What went wrong.
        source: io::Error,
    },
    /// Parts that a store cannot be without are missing.
    #[error("{}: {missing} is missing: restore the folder from a backup or import an export", .folder.display())]
    Torn {
        /// The store's folder.
        folder: PathBuf,
        /// The part.
        missing: &'static str,
    },
    /// It is of a later version.
    #[error("{}: the store has layout {found}, and this version reads {LAYOUT}", .folder.display())]
    Layout {
        /// The store's folder.
        folder: PathBuf,
        /// Its layout.
        found: u64,
    },
    /// The database stopped short.
    #[error("{}: the database is damaged and did not open: restore the folder from a backup or import an export", .0.display())]
    Damaged(PathBuf),
    /// The database hangs, which a damaged one may do. The thread that opens it is lost: end the process.
    #[error("{}: the database did not open within {} s: the disk is very busy or the database damaged", .folder.display(), .timeout.as_secs())]
    Hangs {
        /// The store's folder.
        folder: PathBuf,
        /// How long it was waited for.
        timeout: Duration,
    },
}

/// A store in a folder. Whoever has it is the only one.
pub struct SledSettled {
    folder: PathBuf,
    options: SledOptions,
    /// None after an error: then it was leaked on purpose.
    open: Option<Open>,
    position: u64,
    /// The copy of the metadata is still there.
    aside: bool,
}

/// sled's handles, in the order in which they are dropped.
struct Open {
    trees: [sled::Tree<LEAF_FANOUT>; Tree::ALL.len()],
    own: sled::Tree<LEAF_FANOUT>,
    db: Db<LEAF_FANOUT>,
}

impl std::fmt::Debug for SledSettled {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SledSettled")
            .field("folder", &self.folder)
            .field("position", &self.position)
            .finish_non_exhaustive()
    }
}

impl SledSettled {
    /// Opens the store in a folder, or makes one.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn open(folder: &Path, options: SledOptions) -> Result<Self, OpenError> {
        let io = |source| OpenError::Io { folder: folder.to_owned(), source };
        let made = folder.join(MADE).try_exists().map_err(io)?;
        let metadata = folder.join(DATABASE).join("metadata");
        for (part, path) in
            [("sled/metadata", &metadata), ("sled/slabs", &folder.join(DATABASE).join("slabs"))]
        {
            if made && !path.try_exists().map_err(io)? {
                return Err(OpenError::Torn { folder: folder.to_owned(), missing: part });
            }
        }
        fs::create_dir_all(folder).map_err(io)?;
        let clean = folder.join(CLEAN).try_exists().map_err(io)?;
        let aside = made && !clean;
        if aside {
            copy_aside(&metadata, folder).map_err(io)?;
        }
        let (open, layout, position) = watched(folder, options)?;
        match layout {
            Some(LAYOUT) => {}
            Some(found) => return Err(OpenError::Layout { folder: folder.to_owned(), found }),
            None if made => return Err(OpenError::Damaged(folder.to_owned())),
            None => {}
        }
        let mut store = Self { folder: folder.to_owned(), options, open: Some(open), position, aside };
        if !made {
            store.make().map_err(io)?;
        }
        remove_if_there(&folder.join(CLEAN)).and_then(|()| sync(folder)).map_err(io)?;
        Ok(store)
    }

    /// Closes the store in order, so that the next opening need not be careful.
    ///
    /// # Errors
    /// When that cannot be noted, which costs nothing but the care.
    pub fn close(mut self) -> io::Result<()> {
        drop(self.open.take().ok_or_else(failed)?);
        fs::write(self.folder.join(CLEAN), "")?;
        sync(&self.folder)
    }

    fn make(&mut self) -> io::Result<()> {
        let layout = self.handles()?.own.insert(LAYOUT_KEY, &LAYOUT.to_be_bytes()[..]);
        let flushed = layout.and_then(|_| self.handles()?.db.flush());
        self.lasting(flushed)?;
        fs::write(self.folder.join(MADE), "")?;
        sync(&self.folder)
    }

    fn handles(&self) -> io::Result<&Open> {
        self.open.as_ref().ok_or_else(failed)
    }

    /// Passes a result of a change through; after an error the store is given up without dropping it.
    fn lasting<T>(&mut self, result: io::Result<T>) -> io::Result<T> {
        result.inspect_err(|error| {
            if let Some(open) = self.open.take() {
                std::mem::forget(open);
                (self.options.fatal)(error);
            }
        })
    }

    fn change(&self, changes: &mut dyn Iterator<Item = Change>, position: u64) -> io::Result<()> {
        let open = self.handles()?;
        for Change { tree, key, value } in changes {
            let tree = &open.trees[tree.index()];
            match value {
                Some(value) => tree.insert(&key[..], &value[..])?,
                None => tree.remove(&key[..])?,
            };
        }
        open.own.insert(POSITION_KEY, &position.to_be_bytes()[..])?;
        open.db.flush().map(drop)
    }
}

impl Settled for SledSettled {
    fn position(&self) -> u64 {
        self.position
    }

    fn apply(&mut self, changes: &mut dyn Iterator<Item = Change>, position: u64) -> io::Result<()> {
        assert!(position >= self.position, "a position never goes back");
        self.handles()?;
        let disk = rustix::fs::statvfs(&self.folder)?;
        if disk.f_bavail.saturating_mul(disk.f_frsize) < self.options.reserve_bytes {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let changed = self.change(changes, position);
        self.lasting(changed)?;
        self.position = position;
        if std::mem::take(&mut self.aside) {
            fs::remove_dir_all(self.folder.join(ASIDE))?;
        }
        Ok(())
    }

    fn get(&self, tree: Tree, key: &[u8]) -> io::Result<Option<Bytes>> {
        let value = self.handles()?.trees[tree.index()].get(key)?;
        Ok(value.map(|value| Bytes::copy_from_slice(&value)))
    }

    fn scan(&self, tree: Tree, from: &[u8], limit: usize) -> io::Result<Vec<Entry>> {
        let entries = self.handles()?.trees[tree.index()].range::<&[u8], _>(from..).take(limit);
        let copied = |(key, value): (sled::InlineArray, sled::InlineArray)| {
            (Bytes::copy_from_slice(&key), Bytes::copy_from_slice(&value))
        };
        entries.map(|entry| entry.map(copied)).collect()
    }

    fn bytes_on_disk(&self) -> io::Result<u64> {
        let (mut bytes, mut folders) = (0, vec![self.folder.clone()]);
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder)? {
                let entry = entry?;
                let metadata = entry.metadata()?;
                if metadata.is_dir() {
                    folders.push(entry.path());
                } else {
                    bytes += metadata.len();
                }
            }
        }
        Ok(bytes)
    }
}

/// Opens the database on a thread that may be given up, with its layout and position.
fn watched(folder: &Path, options: SledOptions) -> Result<(Open, Option<u64>, u64), OpenError> {
    let (done, opened) = mpsc::channel();
    let path = folder.join(DATABASE);
    let io = |source| OpenError::Io { folder: folder.to_owned(), source };
    thread::Builder::new()
        .name("store-open".to_owned())
        .spawn(move || {
            // Nobody is left to hear it when the time is up.
            let _ = done.send(open_database(&path, options.cache_bytes));
        })
        .map_err(io)?;
    match opened.recv_timeout(options.open_timeout) {
        Ok(Ok(opened)) => Ok(opened),
        Ok(Err(error)) if error.kind() == io::ErrorKind::WouldBlock => {
            Err(OpenError::InUse(folder.to_owned()))
        }
        Ok(Err(error)) => Err(io(error)),
        Err(mpsc::RecvTimeoutError::Disconnected) => Err(OpenError::Damaged(folder.to_owned())),
        Err(mpsc::RecvTimeoutError::Timeout) => {
            Err(OpenError::Hangs { folder: folder.to_owned(), timeout: options.open_timeout })
        }
    }
}

fn open_database(path: &Path, cache_bytes: usize) -> io::Result<(Open, Option<u64>, u64)> {
    // sled writes on rayon's global pool; whoever made it first has decided its size, which only costs threads.
    let _ = rayon::ThreadPoolBuilder::new().num_threads(1).build_global();
    let db: Db<LEAF_FANOUT> = Config::new()
        .path(path)
        .cache_capacity_bytes(cache_bytes)
        .zstd_compression_level(1)
        .flush_every_ms(Some(FLUSH_EVERY_MS))
        .open()?;
    // From here on an error leaks what is open: dropping it might wait for ever.
    let db = std::mem::ManuallyDrop::new(db);
    let own = std::mem::ManuallyDrop::new(db.open_tree(OWN_TREE)?);
    let (layout, position) = (number(&own, LAYOUT_KEY)?, number(&own, POSITION_KEY)?.unwrap_or(0));
    let mut trees = std::mem::ManuallyDrop::new(Vec::new());
    for tree in Tree::ALL {
        trees.push(db.open_tree(tree.name())?);
    }
    let into = std::mem::ManuallyDrop::into_inner;
    let trees = std::mem::ManuallyDrop::into_inner(trees);
    let Ok(trees) = trees.try_into() else { unreachable!("one for each of Tree::ALL") };
    Ok((Open { trees, own: std::mem::ManuallyDrop::into_inner(own), db: into(db) }, layout, position))
}

fn number(tree: &sled::Tree<LEAF_FANOUT>, key: &[u8]) -> io::Result<Option<u64>> {
    let Some(value) = tree.get(key)? else { return Ok(None) };
    let bytes = value.as_ref().try_into().map_err(|_| io::Error::from(io::ErrorKind::InvalidData))?;
    Ok(Some(u64::from_be_bytes(bytes)))
}

/// Keeps the metadata as it was. A copy that is there is older and was never proven needless: it stays.
fn copy_aside(metadata: &Path, folder: &Path) -> io::Result<()> {
    let (aside, part) = (folder.join(ASIDE), folder.join("metadata.part"));
    if aside.try_exists()? {
        return Ok(());
    }
    if part.try_exists()? {
        fs::remove_dir_all(&part)?;
    }
    fs::create_dir(&part)?;
    for entry in fs::read_dir(metadata)? {
        let entry = entry?;
        if entry.metadata()?.is_file() {
            let copy = part.join(entry.file_name());
            fs::copy(entry.path(), &copy)?;
            fs::File::open(copy)?.sync_all()?;
        }
    }
    sync(&part)?;
    fs::rename(part, aside)?;
    sync(folder)
}

fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn sync(folder: &Path) -> io::Result<()> {
    fs::File::open(folder)?.sync_all()
}

fn failed() -> io::Error {
    io::Error::other("the store failed before and was given up")
}
