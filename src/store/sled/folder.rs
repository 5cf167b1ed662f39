//! The folder of a store, beside sled's own: who may see it, who has it, what was in it last.
//!
//! | name | what it is |
//! |---|---|
//! | `sled/` | the database |
//! | `made` | there once the database was made, so that a folder that lost it is not taken for a new one |
//! | `in-use` | there while a process has the store, and after one that did not close it |
//! | `position` | what the last flush made lasting ([`Last`]); never more than that |
//! | `metadata.aside` | sled's metadata from before an opening after an unclean stop, until the store is accepted |
//! | `metadata.kept` | the one before that |
//!
//! The copy aside is put back by the next opening when the one before it was not accepted: each then sees the same. It is
//! valid until the first flush, because only a flush writes to slots that were free when it was made.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::FlockOperation;

use super::metadata::Mark;
use super::room::taken;

const FOLDER_MODE: u32 = 0o700;
const FILE_MODE: u32 = 0o600;

const DATABASE: &str = "sled";
const METADATA: &str = "sled/metadata";
const SLABS: &str = "sled/slabs";
const MADE: &str = "made";
const IN_USE: &str = "in-use";
const POSITION: &str = "position";
const ASIDE: &str = "metadata.aside";
const KEPT: &str = "metadata.kept";
/// A copy that is not whole yet.
const PART: &str = "metadata.part";

/// What the last flush made lasting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Last {
    pub(super) position: u64,
    /// How far sled's metadata reaches with it.
    pub(super) mark: Mark,
}

/// A folder, by its path.
#[derive(Clone, Debug)]
pub(super) struct Folder(PathBuf);

impl Folder {
    /// Makes the folder if it is not there, for its owner only, and takes it for this process while the file is open.
    ///
    /// # Errors
    /// [`ErrorKind::WouldBlock`] when it is taken.
    pub(super) fn take(path: &Path) -> io::Result<(Self, File)> {
        match DirBuilder::new().mode(FOLDER_MODE).create(path) {
            Ok(()) => {
                let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
                sync(parent.unwrap_or_else(|| Path::new(".")))?;
            }
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
        restrict(path)?;
        let lock = File::open(path)?;
        rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive)?;
        Ok((Self(path.to_owned()), lock))
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    pub(super) fn database(&self) -> PathBuf {
        self.0.join(DATABASE)
    }

    pub(super) fn metadata(&self) -> PathBuf {
        self.0.join(METADATA)
    }

    pub(super) fn slabs(&self) -> PathBuf {
        self.0.join(SLABS)
    }

    /// Where changes wait that are too many for memory.
    pub(super) fn spool(&self) -> PathBuf {
        self.0.join("changes.part")
    }

    /// Whether there was a database once.
    pub(super) fn is_made(&self) -> io::Result<bool> {
        Ok(self.0.join(MADE).try_exists()? || self.0.join(POSITION).try_exists()?)
    }

    /// A part of the database that is not there.
    pub(super) fn missing(&self) -> io::Result<Option<&'static str>> {
        for part in [METADATA, SLABS] {
            if !self.0.join(part).try_exists()? {
                return Ok(Some(part));
            }
        }
        Ok(None)
    }

    /// Notes that the database is there.
    pub(super) fn note_made(&self) -> io::Result<()> {
        if self.0.join(MADE).try_exists()? {
            return Ok(());
        }
        // sled syncs what is in its folders, but not their names.
        sync(&self.database())?;
        self.write(MADE, "")
    }

    /// Whether the last process that had the store did not close it.
    pub(super) fn is_unclean(&self) -> io::Result<bool> {
        self.0.join(IN_USE).try_exists()
    }

    /// Notes that a process has the store.
    pub(super) fn note_use(&self) -> io::Result<()> {
        self.write(IN_USE, "")
    }

    /// Notes that the store was closed in order.
    pub(super) fn note_closed(&self) -> io::Result<()> {
        fs::remove_file(self.0.join(IN_USE))?;
        sync(&self.0)
    }

    /// Puts back the metadata of a store that was opened and not accepted.
    pub(super) fn put_back(&self) -> io::Result<()> {
        let (aside, part) = (self.0.join(ASIDE), self.0.join(PART));
        if aside.try_exists()? {
            copy(&aside, &part)?;
            remove_folder(&self.metadata())?;
            fs::rename(part, self.metadata())?;
            sync(&self.database())?;
        }
        Ok(())
    }

    /// Keeps the metadata as it is. A copy that is there is what has just been put back.
    pub(super) fn copy_aside(&self) -> io::Result<()> {
        let (aside, part) = (self.0.join(ASIDE), self.0.join(PART));
        if !aside.try_exists()? {
            copy(&self.metadata(), &part)?;
            fs::rename(part, aside)?;
            sync(&self.0)?;
        }
        Ok(())
    }

    /// The store is accepted, and about to change: the copy aside takes the place of the one before it.
    pub(super) fn accept(&self) -> io::Result<()> {
        let (aside, kept) = (self.0.join(ASIDE), self.0.join(KEPT));
        if aside.try_exists()? {
            remove_folder(&kept)?;
            fs::rename(aside, kept)?;
            sync(&self.0)?;
        }
        Ok(())
    }

    /// What the last flush made lasting; none when that was never noted.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidData`] when the file is damaged.
    pub(super) fn last(&self) -> io::Result<Option<Last>> {
        let text = match fs::read(self.0.join(POSITION)) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            text => text?,
        };
        parse(&text).map(Some).ok_or_else(|| ErrorKind::InvalidData.into())
    }

    /// Notes what a flush has made lasting.
    pub(super) fn note_last(&self, last: &Last) -> io::Result<()> {
        self.write(POSITION, &text(last))
    }

    /// Writes a file, whole or not at all.
    fn write(&self, name: &str, text: &str) -> io::Result<()> {
        let part = self.0.join(format!("{name}.part"));
        let mut file =
            OpenOptions::new().write(true).create(true).truncate(true).mode(FILE_MODE).open(&part)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(part, self.0.join(name))?;
        sync(&self.0)
    }

    /// Takes from others what sled let them see. Whatever is made between two calls is in a folder that they cannot enter.
    pub(super) fn restrict(&self) -> io::Result<()> {
        each(&self.0, &mut |path, _| restrict(path))
    }

    /// What the folder takes on the disk.
    pub(super) fn bytes(&self) -> io::Result<u64> {
        sum_below(&self.0, taken)
    }

    /// What is in sled's metadata.
    pub(super) fn metadata_bytes(&self) -> io::Result<u64> {
        sum_below(&self.metadata(), fs::Metadata::len)
    }
}

fn sum_below(folder: &Path, of: fn(&fs::Metadata) -> u64) -> io::Result<u64> {
    let mut bytes = 0;
    each(folder, &mut |_, data| {
        bytes += if data.is_file() { of(data) } else { 0 };
        Ok(())
    })?;
    Ok(bytes)
}

/// Shows everything below, but what vanishes meanwhile: sled removes logs on a thread of its own.
fn each(folder: &Path, see: &mut dyn FnMut(&Path, &fs::Metadata) -> io::Result<()>) -> io::Result<()> {
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            let seen = entry.metadata().and_then(|data| {
                if data.is_dir() {
                    folders.push(entry.path());
                }
                see(&entry.path(), &data)
            });
            match seen {
                Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
    }
    Ok(())
}

fn restrict(path: &Path) -> io::Result<()> {
    let data = fs::metadata(path)?;
    let mode = if data.is_dir() { FOLDER_MODE } else { FILE_MODE };
    if data.permissions().mode() & 0o777 == mode {
        return Ok(());
    }
    fs::set_permissions(path, Permissions::from_mode(mode))
}

/// Copies the files of a folder, so that they last, to one that is made anew.
fn copy(from: &Path, to: &Path) -> io::Result<()> {
    remove_folder(to)?;
    DirBuilder::new().mode(FOLDER_MODE).create(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        if entry.metadata()?.is_file() {
            let copy = to.join(entry.file_name());
            fs::copy(entry.path(), &copy)?;
            restrict(&copy)?;
            File::open(copy)?.sync_all()?;
        }
    }
    sync(to)
}

fn remove_folder(path: &Path) -> io::Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn sync(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

fn text(Last { position, mark }: &Last) -> String {
    let said = format!("{position} {} {}", mark.log, mark.bytes);
    format!("{said} #{:08x}\n", crc32fast::hash(said.as_bytes()))
}

fn parse(bytes: &[u8]) -> Option<Last> {
    let mut numbers = std::str::from_utf8(bytes).ok()?.split(' ').map_while(|word| word.parse().ok());
    let mut next = || numbers.next();
    let last = Last { position: next()?, mark: Mark { log: next()?, bytes: next()? } };
    // Nothing else says the same.
    (text(&last).as_bytes() == bytes).then_some(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_with_any_bit_changed_or_byte_missing_is_none() {
        let last = Last { position: 1_234_567, mark: Mark { log: 12, bytes: 3_456 } };
        let whole = text(&last).into_bytes();
        assert_eq!(parse(&whole), Some(last));
        for at in 0..whole.len() {
            assert_eq!(parse(&whole[..at]), None, "cut at {at}");
            for bit in 0..8 {
                let mut flipped = whole.clone();
                flipped[at] ^= 1 << bit;
                assert_eq!(parse(&flipped), None, "byte {at}, bit {bit}");
            }
        }
    }

    #[test]
    fn at_most_two_copies_of_the_metadata_are_kept_and_an_opening_that_failed_sees_the_same() {
        let path = tempfile::tempdir().expect("a folder");
        let (folder, _lock) = Folder::take(path.path()).expect("free");
        fs::create_dir_all(folder.metadata()).expect("a folder");
        let write = |text: &str| fs::write(folder.metadata().join("log"), text).expect("written");
        let read = |name: &str| fs::read_to_string(path.path().join(name).join("log")).ok();
        for opening in ["one", "two", "three"] {
            write(opening);
            // Twice it is not accepted, and what it did to the metadata is undone.
            for _ in 0..2 {
                folder.put_back().expect("put back");
                folder.copy_aside().expect("copied");
                assert_eq!(read(METADATA).as_deref(), Some(opening));
                write("cut");
            }
            folder.put_back().expect("put back");
            folder.copy_aside().expect("copied");
            folder.accept().expect("moved");
            assert_eq!((read(ASIDE), read(KEPT).as_deref()), (None, Some(opening)));
        }
        // Cut off in the middle of putting back.
        folder.copy_aside().expect("copied");
        fs::remove_dir_all(folder.metadata()).expect("removed");
        folder.put_back().expect("put back");
        assert_eq!(read(METADATA).as_deref(), Some("three"));
    }
}
