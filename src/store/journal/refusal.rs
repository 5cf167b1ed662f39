//! Why a journal is not replayed: what is wrong, where, and what can be done.

use std::io;

/// What a restored folder has to be: the two halves of a store only make sense together.
const RESTORE: &str = "restore the whole store from one backup";

/// A journal that does not hold everything that was committed, or cannot be read. Nothing in it was changed.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// Committed bytes are not what was written.
    #[error(
        "{file} is damaged at byte {offset}: {what}. Committed data is lost from there on: look after the disk, then \
         {RESTORE}"
    )]
    Damaged {
        /// The segment.
        file: String,
        /// Where in it.
        offset: u64,
        /// What is wrong there.
        what: String,
    },
    /// The file with these groups is not there.
    #[error(
        "groups {from} to {to} of the journal are missing: {file} ends before them at byte {offset}, and the file that \
         follows begins after them. Put the missing file back, or {RESTORE}"
    )]
    Missing {
        /// The segment before.
        file: String,
        /// Where it ends.
        offset: u64,
        /// The first missing group.
        from: u64,
        /// The last one.
        to: u64,
    },
    /// The settled state is older than the journal's beginning.
    #[error(
        "the settled state is older than the journal: it ends with group {after}, and the oldest file of the journal, \
         {file}, begins with group {first} (byte {offset}). It was rolled back or replaced by an older copy: bring back the newer one, or \
         {RESTORE}"
    )]
    Gap {
        /// The oldest segment.
        file: String,
        /// Where it begins.
        offset: u64,
        /// Its first group.
        first: u64,
        /// The last group in the settled state.
        after: u64,
    },
    /// The settled state is newer than the journal's end.
    #[error(
        "the settled state is newer than the journal: it holds group {after}, and the journal ends with group {end} \
         ({file}, byte {offset}). Files of the journal are lost or older copies: bring them back, or {RESTORE}"
    )]
    BeyondEnd {
        /// The last segment; `no file` where there is none.
        file: String,
        /// Where it ends.
        offset: u64,
        /// The last group in the journal.
        end: u64,
        /// The last group in the settled state.
        after: u64,
    },
    /// A file of another store is in the folder.
    #[error(
        "{file} belongs to another store (byte {offset}: {found:032x} instead of {expected:032x}). Take it away if it \
         was put there by mistake, or {RESTORE}"
    )]
    WrongStore {
        /// The segment.
        file: String,
        /// Where it says so.
        offset: u64,
        /// Whose it is.
        found: u128,
        /// Whose it should be.
        expected: u128,
    },
    /// It was written by a newer version.
    #[error(
        "{file} has layout {found} (byte {offset}), and this version knows layouts up to {known}: start the version that \
         wrote it, or a newer one"
    )]
    NewerLayout {
        /// The segment.
        file: String,
        /// Where it says so.
        offset: u64,
        /// Its layout.
        found: u32,
        /// The newest one known here.
        known: u32,
    },
    /// The disk does not give or take the bytes.
    #[error(
        "{file}: at byte {offset}: {error}. Look after the disk and the folder's permissions, then start again"
    )]
    Io {
        /// The file; `the folder` where it is none.
        file: String,
        /// Where in it.
        offset: u64,
        /// What the system said.
        #[source]
        error: io::Error,
    },
}

impl Refusal {
    pub(super) fn damaged(file: String, offset: u64, what: impl Into<String>) -> Self {
        Self::Damaged { file, offset, what: what.into() }
    }

    /// For `map_err`.
    pub(super) fn io(file: &str, offset: u64) -> impl FnOnce(io::Error) -> Self {
        move |error| Self::Io { file: file.to_owned(), offset, error }
    }
}
