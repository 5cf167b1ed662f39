//! The settled state in sled, and the rules under which 1.0.0-alpha.124 keeps what it is given.
//!
//! Each rule was learned from a failure that can be reproduced:
//! - One writer, single inserts and removes: `apply_batch` beside a `remove` deadlocks.
//! - A flush interval of a year, not none: with none, every dropped iterator flushes, in the middle of a group.
//! - After an error nothing of sled is dropped: a drop waits for a flush that never ends. sled lives on a thread of its own
//!   (`keeper`), which is parked for good with all that is sled's after the first error, panic or time without progress,
//!   whatever was asked: opening, reading, changing, flushing, closing. Every later call is refused at once
//!   ([`SledSettled::is_broken`]), and whoever has the store is to end the process; the journal makes up for it.
//! - sled never meets a full disk, after which it hangs: changes are counted, and the room they may take is looked for,
//!   before sled sees the first (`room`, `gathered`).
//! - On a damaged metadata log, sled hangs, or cuts and deletes the log and goes on with an older state, or with a mixture:
//!   the metadata is checked before sled opens it (`metadata`), copied aside after an unclean stop, and has to reach as far
//!   as the last flush, which is noted beside it with the position (`folder`).
//! - What was written since sled was opened stays in memory whatever the size of its cache, and of what was read a good
//!   deal: it is closed and opened again after [`SledOptions::reopen_bytes`].
//! - Its files do not shrink by much: while it is closed, what it does not use of them is given back (`slack`).
//!
//! One flush is one checksummed record in sled's metadata, hence atomic over all trees, and the position is among them. It
//! is noted in the folder afterwards: the note never claims more than what is lasting, and less only until the next one.

mod database;
mod folder;
mod gathered;
mod keeper;
mod metadata;
mod refusal;
mod room;
mod slack;
#[cfg(test)]
mod tests;

use std::fmt;
use std::fs::File;
use std::io;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;

use self::database::{Database, Facts};
use self::folder::{Folder, Last};
use self::gathered::{Gathered, Size};
use self::keeper::{Fault, Keeper};
use self::metadata::Wrong;
pub use self::refusal::OpenError;
use self::refusal::Refusing;
use self::room::Slots;
use super::disk::free_bytes;
use super::settled::{Change, Entry, Settled, Tree};

/// The layout of the folder that this program reads and writes.
const LAYOUT: u64 = 1;
/// A flush says nothing until it is done, however much it writes, nor does closing; and opening waits for every dirty page of
/// the machine, because sled runs `sync`. They have so many times as long as other things that do not move.
const SLOW_LIMITS: u32 = 4;

/// How a store is opened.
#[derive(Clone, Copy, Debug)]
pub struct SledOptions {
    /// What sled may cache. What was written since it was opened stays in memory regardless, and up to 512 leaves.
    pub cache_bytes: usize,
    /// When changes and what was read may take so much memory, sled is closed and opened again, which gives it back.
    pub reopen_bytes: u64,
    /// So much free space on the file system is left alone: changes that might need it are refused.
    pub reserve_bytes: u64,
    /// How long sled may be silent before it is given up. Opening, flushing and closing may take four times as long.
    pub stall_limit: Duration,
    /// Tells the free space on a folder's file system.
    pub free_bytes: fn(&Path) -> io::Result<u64>,
}

impl Default for SledOptions {
    fn default() -> Self {
        Self {
            cache_bytes: 32 << 20,
            reopen_bytes: 64 << 20,
            reserve_bytes: 64 << 20,
            stall_limit: Duration::from_secs(30),
            free_bytes,
        }
    }
}

/// A store in a folder. Whoever has it is the only one. It is closed when it is dropped, but then nobody hears of errors.
#[derive(Debug)]
pub struct SledSettled {
    folder: Folder,
    options: SledOptions,
    keeper: Keeper<Kept>,
    position: u64,
    /// Bytes of changes since sled was opened.
    changed_bytes: u64,
    /// There may be something to give back to the file system.
    slack: bool,
    closed: bool,
}

/// What lives on the thread of sled's: what must stay when sled is given up.
struct Kept {
    lock: Option<File>,
    database: Option<Database>,
}

impl fmt::Debug for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kept").field("open", &self.database.is_some()).finish_non_exhaustive()
    }
}

impl Kept {
    fn database(&self) -> io::Result<&Database> {
        self.database.as_ref().ok_or_else(|| io::Error::other("the store is closed"))
    }
}

impl SledSettled {
    /// Opens the store in a folder, or makes one (its parent has to be there).
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn open(path: &Path, options: SledOptions) -> Result<Self, OpenError> {
        let refusing = Refusing { path, options: &options };
        let (folder, lock) = Folder::take(path).map_err(|error| refusing.io(error))?;
        let last = refusing.before(&folder)?;
        let keeper = Keeper::start("store-sled", Kept { lock: Some(lock), database: None })
            .map_err(|error| refusing.io(error))?;
        let mut store =
            Self { folder, options, keeper, position: 0, changed_bytes: 0, slack: true, closed: false };
        let accepted = store
            .open_database()
            .map_err(|fault| refusing.fault(fault))
            .and_then(|facts| refusing.after(facts, last.as_ref(), store.folder.is_made()).map(|()| facts))
            .and_then(|facts| {
                store.position = facts.position;
                store.begin(facts, last).map_err(|error| refusing.io(error))
            });
        match accepted {
            Ok(()) => Ok(store),
            Err(error) => {
                store.closed = true;
                store.leave(&error);
                Err(error)
            }
        }
    }

    /// Closes the store in order.
    ///
    /// # Errors
    /// When it cannot be, which costs nothing but a more careful opening.
    pub fn close(mut self) -> io::Result<()> {
        self.finish()
    }

    /// Gives back to the file system what is free in sled's files, unless it was and nothing has changed since. sled is closed
    /// and opened again for it, which is not for every second.
    ///
    /// # Errors
    /// [`io::ErrorKind::StorageFull`] when less than the reserve is free, without which sled is not to be closed. After every
    /// other one the store must not be used again.
    pub fn give_back(&mut self) -> io::Result<()> {
        if !self.slack {
            return Ok(());
        }
        self.room(Size::default())?;
        let given = self.folder.accept().and_then(|()| self.reopen());
        given.inspect_err(|error| self.leave(error))
    }

    /// Whether every call is refused, because one has failed.
    pub fn is_broken(&self) -> bool {
        self.keeper.is_broken()
    }

    fn open_database(&self) -> Result<Facts, Fault> {
        let (path, cache, progress) =
            (self.folder.database(), self.options.cache_bytes, self.keeper.progress());
        self.keeper.call(self.slow_limit(), move |kept| {
            let (database, facts) = Database::open(&path, cache, &progress)?;
            kept.database = Some(database);
            Ok(facts)
        })
    }

    /// The store is what it should be: it is made, if it is new, and what is known of it is noted.
    fn begin(&self, facts: Facts, last: Option<Last>) -> io::Result<()> {
        if facts.layout.is_none() {
            self.room(Size { changes: 2, bytes: 64 })?;
            self.flush(0)?;
        }
        if facts.layout.is_none() || last.is_none_or(|last| last.position < facts.position) {
            self.note_last()?;
        }
        self.folder.note_made()?;
        self.folder.restrict()
    }

    fn slow_limit(&self) -> Duration {
        self.options.stall_limit * SLOW_LIMITS
    }

    fn ask<T: Send + 'static>(
        &self,
        job: impl FnOnce(&Database) -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        Ok(self.keeper.call(self.options.stall_limit, |kept| job(kept.database()?))?)
    }

    /// Makes what sled has in memory lasting.
    fn flush(&self, position: u64) -> io::Result<()> {
        let limit = self.slow_limit();
        Ok(self.keeper.call(limit, move |kept| kept.database()?.flush(LAYOUT, position))?)
    }

    /// Notes what is lasting.
    fn note_last(&self) -> io::Result<()> {
        let mark = metadata::mark(&self.folder.metadata()).map_err(io::Error::other)?;
        self.folder.note_last(&Last { position: self.position, mark })?;
        self.folder.restrict()
    }

    /// Whether there is room for changes.
    fn room(&self, size: Size) -> io::Result<()> {
        let free = (self.options.free_bytes)(self.folder.path())?;
        let needed = Slots::of(&self.folder.slabs())?.estimate(size.changes, size.bytes);
        let short = free < self.options.reserve_bytes.saturating_add(needed);
        if short { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }

    fn change(&mut self, mut changes: Gathered, position: u64) -> io::Result<()> {
        self.folder.accept()?;
        loop {
            let batch = changes.next_batch()?;
            if batch.is_empty() {
                break;
            }
            self.ask(move |database| database.change(batch))?;
        }
        self.flush(position)?;
        self.position = position;
        self.note_last()?;
        self.changed_bytes += changes.size.bytes;
        self.slack = true;
        let leaves = self.ask(|database| Ok(database.leaves_read()))?;
        let read_bytes = Slots::of(&self.folder.slabs())?.in_memory(leaves);
        if self.changed_bytes.saturating_add(read_bytes) >= self.options.reopen_bytes {
            self.reopen()?;
        }
        Ok(())
    }

    /// Has sled give back the memory that holds what was written, and the disk what holds nothing. The store is accepted.
    fn reopen(&mut self) -> io::Result<()> {
        self.drop_database()?;
        self.trim()?;
        metadata::keep_snapshot(&self.folder.metadata()).map_err(io::Error::other)?;
        let facts = self.open_database()?;
        if facts.position != self.position {
            let what = format!("opened again at {} instead of {}", facts.position, self.position);
            return Err(io::Error::new(io::ErrorKind::InvalidData, what));
        }
        (self.changed_bytes, self.slack) = (0, false);
        self.folder.restrict()
    }

    /// Gives the file system what is free in the files of sled, which is closed.
    fn trim(&self) -> io::Result<()> {
        let folder = &self.folder;
        let given = slack::give_back(&folder.database(), &folder.metadata(), &folder.slabs());
        given.map_err(|wrong| match wrong {
            Wrong::Io(error) => error,
            wrong => io::Error::new(io::ErrorKind::InvalidData, wrong),
        })
    }

    fn drop_database(&self) -> io::Result<()> {
        Ok(self.keeper.call(self.slow_limit(), |kept| {
            drop(kept.database.take());
            Ok(())
        })?)
    }

    fn finish(&mut self) -> io::Result<()> {
        if std::mem::replace(&mut self.closed, true) {
            return Ok(());
        }
        self.ask(|_| Ok(()))?;
        // sled may move things about when it is dropped.
        self.room(Size::default()).inspect_err(|error| self.leave(error))?;
        self.folder.accept()?;
        self.drop_database()?;
        self.trim()?;
        self.note_last()?;
        self.folder.note_closed()?;
        Ok(self.keeper.call(self.options.stall_limit, |kept| {
            drop(kept.lock.take());
            Ok(())
        })?)
    }

    /// Leaves sled as it is, for good.
    fn leave(&self, why: &dyn fmt::Display) {
        let why = io::Error::other(why.to_string());
        // A job that fails is how sled is left.
        let _ = self.keeper.call(self.options.stall_limit, |_| Err::<(), _>(why));
    }
}

impl Drop for SledSettled {
    fn drop(&mut self) {
        // Whoever wants to know closes it.
        let _ = self.finish();
    }
}

impl Settled for SledSettled {
    fn position(&self) -> u64 {
        self.position
    }

    /// Refuses changes with [`io::ErrorKind::StorageFull`] when less is free than the reserve and what they may take at most,
    /// before sled sees any of them.
    fn apply(&mut self, changes: &mut dyn Iterator<Item = Change>, position: u64) -> io::Result<()> {
        assert!(position >= self.position, "a position never goes back");
        self.ask(|_| Ok(()))?;
        let gathered = match Gathered::take(changes, &self.folder.spool(), &|size| self.room(size)) {
            Err(error) if error.kind() == io::ErrorKind::StorageFull => return Err(error),
            gathered => gathered,
        };
        let changed = gathered.and_then(|gathered| self.change(gathered, position));
        changed.inspect_err(|error| self.leave(error))
    }

    fn get(&self, tree: Tree, key: &[u8]) -> io::Result<Option<Bytes>> {
        let key = Bytes::copy_from_slice(key);
        self.ask(move |database| database.get(tree, &key))
    }

    fn scan(&self, tree: Tree, from: &[u8], limit: usize) -> io::Result<Vec<Entry>> {
        let from = Bytes::copy_from_slice(from);
        self.ask(move |database| database.scan(tree, &from, limit))
    }

    fn bytes_on_disk(&self) -> io::Result<u64> {
        self.folder.bytes()
    }
}
