//! Why a store does not open, in words that say what to do.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use super::LAYOUT;

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
