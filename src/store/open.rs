//! Opening a store's folder: the lock, the settled state, the journal after it; and what an operator does with it.

use super::core::{OpenFailure, Options, Store};
use super::disk::{FolderError, RealDisk};
use super::dump::{Damaged, Stats, export, import, stats, verify};
use super::layout::STORE_ID_KEY;
use super::settled::{Change, Settled, Tree};
use super::sled::{OpenError, SledOptions, SledSettled};
use crate::engine::Restored;
use crate::types::HashSeed;
use bytes::Bytes;
use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

/// Why a store cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum NoStore {
    /// Its folder is another process's, or cannot be made.
    #[error("store: {0}")]
    Folder(#[from] FolderError),
    /// The settled state does not open.
    #[error("store: {0}")]
    Settled(#[from] OpenError),
    /// Journal and settled state are damaged or do not fit.
    #[error("store {}: {failure}", .path.display())]
    Open {
        /// The folder.
        path: PathBuf,
        /// What is wrong.
        failure: OpenFailure,
    },
    /// Something of it cannot be read or written.
    #[error("store {}: {error}", .path.display())]
    Io {
        /// The folder, or the file of an export.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// An export that cannot be imported.
    #[error("{}: {damaged}", .path.display())]
    Import {
        /// The export.
        path: PathBuf,
        /// What is wrong with it.
        damaged: Damaged,
    },
    /// Out of descriptors or threads.
    #[error("store: {0}")]
    Resources(#[from] io::Error),
}

/// A folder's journal and settled state, which belong to this process from now on.
#[derive(Debug)]
pub struct Parts {
    /// The folder's lock is with it.
    pub store: Store<RealDisk>,
    /// Below the folder.
    pub settled: SledSettled,
}

/// Where the settled state is.
const SETTLED: &str = "settled";

/// Opens the store of a folder, or makes one. `reserve_bytes` are left free by the settled state.
///
/// # Errors
/// See [`NoStore`].
pub fn open(
    path: &Path,
    options: Options,
    reserve_bytes: u64,
    seed: HashSeed,
    random: u128,
) -> Result<Parts, NoStore> {
    let disk = RealDisk::open(path)?;
    let options_of_sled = SledOptions { reserve_bytes, ..SledOptions::default() };
    let mut settled = SledSettled::open(&path.join(SETTLED), options_of_sled)?;
    let store = Store::open(disk, &mut settled, options, seed, random)
        .map_err(|failure| NoStore::Open { path: path.to_owned(), failure })?;
    Ok(Parts { store, settled })
}

/// What an operator can know of a store.
#[derive(Clone, Copy, Debug)]
pub struct Summary {
    /// Sessions.
    pub sessions: u64,
    /// Their subscriptions.
    pub subscriptions: u64,
    /// Messages that they are owed.
    pub queued_messages: u64,
    /// What those count towards the sessions' bounds, in bytes.
    pub queued_bytes: u64,
    /// Retained messages.
    pub retained_messages: u64,
    /// The settled state, tree by tree.
    pub stats: Stats,
    /// What all that takes, with the journal.
    pub bytes_on_disk: u64,
}

/// A store that no broker runs on, all of it settled.
#[derive(Debug)]
pub struct AtRest {
    path: PathBuf,
    parts: Parts,
}

impl AtRest {
    /// Takes a store's folder, and settles what its journal has.
    ///
    /// # Errors
    /// See [`NoStore`]; a broker that runs has it.
    pub fn open(path: &Path, random: u128) -> Result<Self, NoStore> {
        if !path.join(SETTLED).is_dir() {
            let error = io::Error::new(io::ErrorKind::NotFound, "there is no store");
            return Err(NoStore::Io { path: path.to_owned(), error });
        }
        let mut parts = open(path, Options::default(), 0, HashSeed(0), random)?;
        let io = |error| NoStore::Io { path: path.to_owned(), error };
        if let Some(checkpoint) = parts.store.begin_checkpoint() {
            checkpoint.run(&mut parts.settled).map_err(io)?;
            let bytes = parts.settled.bytes_on_disk().map_err(io)?;
            parts.store.finish_checkpoint(Some(bytes)).map_err(io)?;
        }
        Ok(Self { path: path.to_owned(), parts })
    }

    fn io(&self, error: io::Error) -> NoStore {
        NoStore::Io { path: self.path.clone(), error }
    }

    /// Reads everything.
    ///
    /// # Errors
    /// What cannot be read, or makes no sense.
    pub fn summary(&mut self) -> Result<Summary, NoStore> {
        let io = |error| NoStore::Io { path: self.path.clone(), error };
        let Parts { store, settled } = &mut self.parts;
        let stats = stats(settled).map_err(io)?;
        let (mut sessions, mut subscriptions, mut queued_messages, mut queued_bytes) = (0, 0, 0, 0);
        let mut retained_messages = 0;
        let restored = store.restore(settled, &mut |restored| match restored {
            Restored::Session(session) => {
                sessions += 1;
                subscriptions += session.subscriptions.len() as u64;
                queued_messages += session.backlog.messages;
                queued_bytes += session.backlog.bytes;
            }
            Restored::Retained(_) => retained_messages += 1,
        });
        restored.map_err(io)?;
        let bytes_on_disk = store.bytes_on_disk();
        Ok(Summary {
            sessions,
            subscriptions,
            queued_messages,
            queued_bytes,
            retained_messages,
            stats,
            bytes_on_disk,
        })
    }

    /// Reads everything, finds each entry by its key, and takes every message apart.
    ///
    /// # Errors
    /// What cannot be read, or makes no sense.
    pub fn verify(&mut self) -> Result<Summary, NoStore> {
        let settled = &self.parts.settled;
        let whole = verify(settled).and_then(|()| super::read::verify(settled));
        whole.map_err(|error| self.io(error))?;
        self.summary()
    }

    /// Writes all of it to a file, which appears when it is whole.
    ///
    /// # Errors
    /// What cannot be read or written.
    pub fn export(&self, file: &Path) -> Result<(), NoStore> {
        export_to(&self.parts.settled, file).map_err(|error| NoStore::Io { path: file.to_owned(), error })
    }

    /// Ends in order.
    ///
    /// # Errors
    /// When that cannot be noted.
    pub fn close(mut self) -> Result<(), NoStore> {
        self.parts.store.close();
        let Self { path, parts } = self;
        parts.settled.close().map_err(|error| NoStore::Io { path, error })
    }
}

/// Writes a settled state to a file, which appears when it is whole and on the disk.
///
/// # Errors
/// What cannot be read or written.
pub fn export_to(settled: &dyn Settled, file: &Path) -> io::Result<()> {
    let mut part = file.as_os_str().to_owned();
    part.push(".part");
    let mut out = BufWriter::new(File::create(&part)?);
    export(settled, &mut out)?;
    out.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()?;
    fs::rename(&part, file)
}

/// Makes a store of an export, in a folder that has none.
///
/// # Errors
/// See [`NoStore`]. What was made of it until then does not open, and is to be removed.
pub fn import_from(path: &Path, file: &Path, random: u128) -> Result<(), NoStore> {
    let of_file = |error| NoStore::Io { path: file.to_owned(), error };
    let mut from = BufReader::new(File::open(file).map_err(of_file)?);
    let _disk = RealDisk::open(path)?;
    let io = |error| NoStore::Io { path: path.to_owned(), error };
    let mut settled = SledSettled::open(&path.join(SETTLED), SledOptions::default())?;
    import(&mut settled, &mut from).map_err(|damaged| NoStore::Import { path: file.to_owned(), damaged })?;
    // It is another store from now on: no journal of the old one fits it.
    let id = Change {
        tree: Tree::Meta,
        key: Bytes::from_static(STORE_ID_KEY),
        value: Some(Bytes::copy_from_slice(&random.to_be_bytes())),
    };
    settled.apply(&mut std::iter::once(id), 0).map_err(io)?;
    settled.close().map_err(io)
}

/// Where a broker that runs finds what it is to export, and says when that is done.
const REQUEST: &str = "export.request";
const ANSWER: &str = "export.answer";

/// Asks the broker that has a folder for an export. [`answer_to`] says what came of it.
///
/// # Errors
/// When the folder cannot be written to.
pub fn request_export(path: &Path, file: &Path) -> io::Result<()> {
    let _ = fs::remove_file(path.join(ANSWER));
    let part = path.join("export.request.part");
    fs::write(&part, file.as_os_str().as_encoded_bytes())?;
    fs::rename(part, path.join(REQUEST))
}

/// The answer to a request, once there is one: nothing, or what went wrong.
///
/// # Errors
/// When it cannot be read.
pub fn answer_to(path: &Path) -> io::Result<Option<String>> {
    match fs::read_to_string(path.join(ANSWER)) {
        Ok(answer) => {
            fs::remove_file(path.join(ANSWER))?;
            Ok(Some(answer))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// The file of a request that waits; it is taken by this.
pub fn take_request(path: &Path) -> Option<PathBuf> {
    let request = path.join(REQUEST);
    let mut file = String::new();
    File::open(&request).ok()?.read_to_string(&mut file).ok()?;
    fs::remove_file(&request).ok()?;
    Some(PathBuf::from(file))
}

/// Answers a request.
///
/// # Errors
/// When the folder cannot be written to.
pub fn answer(path: &Path, outcome: &io::Result<()>) -> io::Result<()> {
    let part = path.join("export.answer.part");
    let mut out = File::create(&part)?;
    if let Err(error) = outcome {
        write!(out, "{error}")?;
    }
    fs::rename(part, path.join(ANSWER))
}
