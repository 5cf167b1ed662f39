//! What is in sled's files and of no use any more, for the file system.
//!
//! sled uses a free slot again but gives none back, except at the end of a file that it saw being filled since it was
//! opened: a store that was full once would take that much of its disk for good. So, whenever sled is closed, its files are
//! cut off behind the last slot in use, and holes are made where whole blocks lie in free slots.
//!
//! That is safe at every point, also when the process or the machine dies in the middle. A slot is in use when sled's
//! metadata name it, and sled goes by nothing else; they are made lasting before anything is given back, so that no power
//! cut brings back older ones. Whichever part of it has happened, sled sees the same state.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read};
use std::path::{Path, PathBuf};

use rustix::fs::{FallocateFlags, FlockOperation, SeekFrom, fallocate, flock, seek};
use rustix::io::Errno;

use super::metadata::{Wrong, each_frame};

/// sled's files of slots, which it makes all at once. The metadata call them by their place in the order of sizes.
const FILES: usize = 78;
/// What is given back lies at multiples of it: the usual size of a file system's blocks.
const BLOCK_BYTES: u64 = 4 << 10;
/// An object's number, its tree's, its place and the length of its lowest key.
const OBJECT_BYTES: usize = 32;

/// What can be given back of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Piece {
    /// All that is not below this.
    End(PathBuf, u64),
    /// From here to there.
    Hole(PathBuf, u64, u64),
}

/// Gives back what is free in a folder of sled's, which must not be open.
///
/// # Errors
/// When it is open, its metadata name what is not there, or a file cannot be changed. That a file system has no holes, or no
/// room to note one, is no error.
pub(super) fn give_back(database: &Path, metadata: &Path, slabs: &Path) -> Result<(), Wrong> {
    // sled has it locked while it is open.
    let lock = File::open(database)?;
    flock(&lock, FlockOperation::NonBlockingLockExclusive).map_err(io::Error::from)?;
    for piece in pieces(metadata, slabs)? {
        piece.give_back()?;
    }
    Ok(())
}

/// What can be given back.
///
/// # Errors
/// See [`give_back`].
pub(super) fn pieces(metadata: &Path, slabs: &Path) -> Result<Vec<Piece>, Wrong> {
    let (files, used) = (files(slabs)?, used(metadata)?);
    let mut pieces = Vec::new();
    // Without one of them there is no telling which is meant.
    if files.len() == FILES {
        for (number, (size, path)) in files.iter().enumerate() {
            of_file(path, *size, used.get(&number).unwrap_or(&BTreeSet::new()), &mut pieces)?;
        }
    }
    Ok(pieces)
}

/// The files of slots, by the size of these, which is their name.
fn files(slabs: &Path) -> io::Result<BTreeMap<u64, PathBuf>> {
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(slabs)? {
        let path = entry?.path();
        let size = path.file_name().and_then(|name| name.to_str()?.parse().ok());
        if let Some(size) = size.filter(|size| *size > 0) {
            files.insert(size, path);
        }
    }
    Ok(files)
}

/// The slots in use, by the number of their file.
fn used(metadata: &Path) -> Result<BTreeMap<usize, BTreeSet<u64>>, Wrong> {
    let mut places = BTreeMap::new();
    each_frame(metadata, |frame| Ok(replace(&mut places, frame)?))?;
    let mut used: BTreeMap<_, BTreeSet<_>> = BTreeMap::new();
    for place in places.into_values() {
        let [file, slot @ ..] = u64::to_be_bytes(place);
        let [a, b, c, d, e, f, g] = slot;
        // Files are counted from 1, so that no place is 0.
        used.entry(usize::from(file) - 1).or_default().insert(u64::from_be_bytes([0, a, b, c, d, e, f, g]));
    }
    Ok(used)
}

/// Takes in where a frame says that objects are now, by their number.
fn replace(places: &mut BTreeMap<u64, u64>, frame: &[u8]) -> io::Result<()> {
    let mut objects = zstd::stream::read::Decoder::new(frame)?;
    loop {
        let mut head = Vec::with_capacity(OBJECT_BYTES);
        objects.by_ref().take(OBJECT_BYTES as u64).read_to_end(&mut head)?;
        let (numbers, []) = head.as_chunks::<8>() else { return Err(ErrorKind::InvalidData.into()) };
        let [object, _tree, place, key_bytes] = match numbers {
            [] => return Ok(()),
            numbers => {
                <[[u8; 8]; 4]>::try_from(numbers).map_err(|_| ErrorKind::InvalidData)?.map(u64::from_le_bytes)
            }
        };
        let passed = io::copy(&mut objects.by_ref().take(key_bytes), &mut io::sink())?;
        // The highest byte is the file, counted from 1; none at all is said of an object that is no more.
        if passed != key_bytes || place > 0 && place >> 56 == 0 {
            return Err(ErrorKind::InvalidData.into());
        }
        match place {
            0 => places.remove(&object),
            place => places.insert(object, place),
        };
    }
}

/// Adds what can be given back of one file.
fn of_file(path: &Path, size: u64, used: &BTreeSet<u64>, pieces: &mut Vec<Piece>) -> Result<(), Wrong> {
    let file = File::open(path)?;
    let length = file.metadata()?.len();
    let end = used.last().map_or(0, |last| last.saturating_add(1).saturating_mul(size));
    if end > length {
        let name = path.file_name().unwrap_or_default().display();
        return Err(Wrong::Damage(format!("slabs/{name} ends at byte {length}, and is used up to {end}")));
    }
    if end < length {
        pieces.push(Piece::End(path.to_owned(), end));
    }
    let mut free = 0_u64;
    for &slot in used {
        let (from, to) = (free.next_multiple_of(BLOCK_BYTES), slot * size / BLOCK_BYTES * BLOCK_BYTES);
        if from < to && has_blocks(&file, from, to)? {
            pieces.push(Piece::Hole(path.to_owned(), from, to));
        }
        free = (slot + 1) * size;
    }
    Ok(())
}

/// Whether there is more than a hole already.
fn has_blocks(file: &File, from: u64, to: u64) -> io::Result<bool> {
    match seek(file, SeekFrom::Data(from)) {
        Ok(data) => Ok(data < to),
        Err(Errno::NXIO) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

impl Piece {
    /// Gives it back. Done twice, it is the same as done once.
    ///
    /// # Errors
    /// See [`give_back`].
    pub(super) fn give_back(&self) -> io::Result<()> {
        let open = |path: &PathBuf| OpenOptions::new().write(true).open(path);
        let done = match self {
            Self::End(path, at) => open(path)?.set_len(*at),
            Self::Hole(path, from, to) => {
                let hole = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
                fallocate(open(path)?, hole, *from, to - from).map_err(io::Error::from)
            }
        };
        match done {
            Err(error) if matches!(error.kind(), ErrorKind::Unsupported | ErrorKind::StorageFull) => Ok(()),
            done => done,
        }
    }
}
