//! Why a store does not open, in words that say what to do.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::database::Facts;
use super::folder::{Folder, Last};
use super::keeper::Fault;
use super::metadata::{self, Wrong};
use super::{LAYOUT, SledOptions};

/// Why a store cannot be opened.
///
/// Where sled was not healthy, or was not to write, it is left as it is with its lock: end the process, and try again in
/// another one. What sled did to its metadata is undone then, if the store was not closed in order before.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process or thread has it.
    #[error("{}: the store is in use", .0.display())]
    InUse(PathBuf),
    /// The world's, or sled's.
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
    /// The database is not whole.
    #[error("{}: {what}: restore the folder from a backup or import an export", .folder.display())]
    Damaged {
        /// The store's folder.
        folder: PathBuf,
        /// What was found.
        what: String,
    },
    /// The database is whole but not the last that there was.
    #[error(
        "{}: the database is older than what was settled last ({what}): put the newer one back, restore the folder as a \
         whole from a backup or import an export", .folder.display()
    )]
    Older {
        /// The store's folder.
        folder: PathBuf,
        /// What was found.
        what: String,
    },
    /// The file that says what was settled last is damaged.
    #[error(
        "{}: the file `position` is damaged, and so may be others: look after the disk; if it is the only one, remove it",
        .0.display()
    )]
    Position(PathBuf),
    /// An import was not finished.
    #[error("{}: an import into the store did not finish: remove the folder and import again", .0.display())]
    Importing(PathBuf),
    /// The database hangs, which a damaged one may do. The thread that opens it is lost.
    #[error(
        "{}: the database did not open, without progress for {} s: the disk is very busy, or the store's metadata damaged; \
         restore the folder from a backup or import an export", .folder.display(), .limit.as_secs()
    )]
    Hangs {
        /// The store's folder.
        folder: PathBuf,
        /// How long it was waited for progress.
        limit: Duration,
    },
}

/// Looks at a store from outside, and says what is wrong.
pub(super) struct Refusing<'a> {
    pub(super) path: &'a Path,
    pub(super) options: &'a SledOptions,
}

impl Refusing<'_> {
    pub(super) fn io(&self, source: io::Error) -> OpenError {
        let folder = self.path.to_owned();
        match source.kind() {
            io::ErrorKind::WouldBlock => OpenError::InUse(folder),
            io::ErrorKind::InvalidData => OpenError::Damaged { folder, what: source.to_string() },
            _ => OpenError::Io { folder, source },
        }
    }

    pub(super) fn fault(&self, fault: Fault) -> OpenError {
        let folder = self.path.to_owned();
        match fault {
            Fault::Failed(error) => self.io(error),
            Fault::Stalled(limit) => OpenError::Hangs { folder, limit },
            Fault::Panicked(_) | Fault::Broken(_) => {
                OpenError::Damaged { folder, what: format!("the database {fault}") }
            }
        }
    }

    fn wrong(&self, wrong: Wrong) -> OpenError {
        let folder = self.path.to_owned();
        match wrong {
            Wrong::Io(error) => self.io(error),
            Wrong::Damage(what) => OpenError::Damaged { folder, what },
            Wrong::Old(_) => OpenError::Older { folder, what: wrong.to_string() },
        }
    }

    /// What has to be right before sled is opened; and what was settled last.
    pub(super) fn before(&self, folder: &Folder) -> Result<Option<Last>, OpenError> {
        let io = |error| self.io(error);
        let unclean = folder.is_unclean().map_err(io)?;
        if !folder.is_made().map_err(io)? {
            folder.note_use().map_err(io)?;
            return Ok(None);
        }
        let last = folder.last().map_err(|error| match error.kind() {
            io::ErrorKind::InvalidData => OpenError::Position(self.path.to_owned()),
            _ => self.io(error),
        })?;
        folder.put_back().map_err(io)?;
        if let Some(missing) = folder.missing().map_err(io)? {
            return Err(OpenError::Torn { folder: self.path.to_owned(), missing });
        }
        metadata::check(&folder.metadata(), last.map(|last| last.mark)).map_err(|wrong| self.wrong(wrong))?;
        metadata::keep_snapshot(&folder.metadata()).map_err(|wrong| self.wrong(wrong))?;
        // sled writes a snapshot when it opens, and a copy may be made of what is there.
        let needed = folder.metadata_bytes().map_err(io)?.saturating_mul(2);
        if (self.options.free_bytes)(self.path).map_err(io)? < needed {
            return Err(io(io::ErrorKind::StorageFull.into()));
        }
        if unclean {
            folder.copy_aside().map_err(io)?;
        }
        folder.note_use().map_err(io)?;
        Ok(last)
    }

    /// What has to be right once sled is open.
    pub(super) fn after(
        &self,
        facts: Facts,
        last: Option<&Last>,
        made: io::Result<bool>,
    ) -> Result<(), OpenError> {
        let folder = self.path.to_owned();
        let made = made.map_err(|error| self.io(error))?;
        match (facts.layout, last) {
            (Some(found), _) if found != LAYOUT => Err(OpenError::Layout { folder, found }),
            (None, _) if made => Err(OpenError::Damaged { folder, what: "the database is empty".to_owned() }),
            (_, Some(last)) if facts.position < last.position => {
                let what = format!("it is at {}, and {} was settled", facts.position, last.position);
                Err(OpenError::Older { folder, what })
            }
            _ if facts.importing => Err(OpenError::Importing(folder)),
            _ => Ok(()),
        }
    }
}
