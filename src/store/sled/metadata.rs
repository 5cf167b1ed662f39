//! Whether sled's metadata is whole, looked at before sled does: sled cuts a log at the first bad frame, makes a snapshot of
//! what is left and deletes the log, and with what is left it may hang, or read slots that hold something newer by now.
//!
//! The folder holds a snapshot and the logs after it, numbered without gaps. Both are frames: a length (6 bytes, little
//! endian, and 2 of its CRC), that many bytes, and the CRC of all of it. Only the last log may end within a frame, which is
//! how a write looks that the process did not survive, and not before the [`Mark`] of the last flush.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};

use crc32fast::Hasher;

/// What sled adds to its checksums so that none is zero.
const SALT: u32 = 0xAF;
const HEADER_BYTES: u64 = 8;
const SUM_BYTES: u64 = 4;

/// How far the metadata reaches: what the last flush left behind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Mark {
    /// The last log.
    pub(super) log: u64,
    /// How long it is.
    pub(super) bytes: u64,
}

/// What is wrong with the metadata; or the world's error.
#[derive(Debug, thiserror::Error)]
pub(super) enum Wrong {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("{0}")]
    Damage(String),
    /// It is whole, but is not the last that there was.
    #[error("metadata ends before log {:016x}, byte {}", .0.log, .0.bytes)]
    Old(Mark),
}

/// The files by number.
struct Files {
    snapshot: Option<(u64, PathBuf)>,
    /// Those that the snapshot does not hold.
    logs: BTreeMap<u64, PathBuf>,
}

impl Files {
    fn list(folder: &Path) -> Result<Self, Wrong> {
        let (mut snapshots, mut logs) = (BTreeMap::new(), BTreeMap::new());
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            // What sled did not finish, or does not read.
            if name.ends_with(".tmp") || !name.starts_with("log") && !name.starts_with("snapshot") {
                continue;
            }
            let number = |kind| name.strip_prefix(kind).filter(|digits| digits.len() == 16);
            let parsed = |digits| u64::from_str_radix(digits, 16).ok();
            if let Some(number) = number("log_").and_then(parsed) {
                logs.insert(number, path);
            } else if let Some(number) = number("snapshot_").and_then(parsed) {
                snapshots.insert(number, path);
            } else {
                return Err(Wrong::Damage(format!("metadata/{name} is no name of a log or snapshot")));
            }
        }
        let snapshot = snapshots.pop_last();
        logs.retain(|number, _| snapshot.as_ref().is_none_or(|(held, _)| number > held));
        Ok(Self { snapshot, logs })
    }

    /// The number of the last log that there is or was.
    fn last(&self) -> u64 {
        let held = self.snapshot.as_ref().map_or(0, |(number, _)| *number);
        self.logs.last_key_value().map_or(held, |(number, _)| *number)
    }
}

/// Where the metadata ends. Nothing may be flushing.
///
/// # Errors
/// When it cannot be read.
pub(super) fn mark(folder: &Path) -> Result<Mark, Wrong> {
    let files = Files::list(folder)?;
    let log = files.last();
    let bytes = files.logs.get(&log).map_or(Ok(0), |path| fs::metadata(path).map(|data| data.len()))?;
    Ok(Mark { log, bytes })
}

/// Looks through the metadata of a database that is not open. `mark` is how far it has to reach at least.
///
/// # Errors
/// What is wrong.
pub(super) fn check(folder: &Path, mark: Option<Mark>) -> Result<(), Wrong> {
    let files = Files::list(folder)?;
    let Some((held, snapshot)) = &files.snapshot else {
        return Err(Wrong::Damage("metadata has no snapshot".to_owned()));
    };
    if Frames::open(snapshot)?.next()?.is_none() {
        return Err(damaged(snapshot, 0));
    }
    let last = files.last();
    for (number, (expected, path)) in (held + 1..).zip(&files.logs) {
        if number != *expected {
            return Err(Wrong::Damage(format!("metadata/log_{number:016x} is missing")));
        }
        let mut frames = Frames::open(path)?;
        while frames.next()?.is_some() {}
        let needed = match mark {
            _ if number < last => frames.length,
            Some(mark) if mark.log == number => mark.bytes,
            _ => 0,
        };
        if frames.at < needed {
            return Err(if frames.length < needed { old(mark) } else { damaged(path, frames.at) });
        }
    }
    match mark {
        // A log's name lasts from its first frame on.
        Some(Mark { log, bytes }) if log > last + u64::from(bytes == 0) => Err(old(mark)),
        _ => Ok(()),
    }
}

/// Sees to it that there is a log after the snapshot. sled makes one when it opens, whose name a power cut may take; and
/// without any it deletes the snapshot, which holds everything.
///
/// # Errors
/// When it cannot be made.
pub(super) fn keep_snapshot(folder: &Path) -> Result<(), Wrong> {
    let files = Files::list(folder)?;
    if files.logs.is_empty() {
        File::create(folder.join(format!("log_{:016x}", files.last() + 1)))?.sync_all()?;
        File::open(folder)?.sync_all()?;
    }
    Ok(())
}

fn old(mark: Option<Mark>) -> Wrong {
    Wrong::Old(mark.unwrap_or_default())
}

fn damaged(path: &Path, at: u64) -> Wrong {
    let name = path.file_name().unwrap_or_default().display();
    Wrong::Damage(format!("metadata/{name} is damaged at byte {at}"))
}

/// The frames of a file, as far as they are whole.
struct Frames {
    file: BufReader<File>,
    length: u64,
    /// Where the next one begins.
    at: u64,
}

impl Frames {
    fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        let length = file.metadata()?.len();
        Ok(Self { file: BufReader::with_capacity(64 << 10, file), length, at: 0 })
    }

    /// Passes over the next frame; none when there is no whole one.
    fn next(&mut self) -> io::Result<Option<()>> {
        let left = self.length - self.at;
        if left < HEADER_BYTES + SUM_BYTES {
            return Ok(None);
        }
        let mut header = [0; 8];
        self.file.read_exact(&mut header)?;
        let (size, sum) = header.split_at(6);
        if crc32fast::hash(size).to_le_bytes()[..2] != *sum {
            return Ok(None);
        }
        let mut bytes = [0; 8];
        bytes[..6].copy_from_slice(size);
        let bytes = u64::from_le_bytes(bytes);
        if bytes > left - HEADER_BYTES - SUM_BYTES {
            return Ok(None);
        }
        let mut hasher = Hasher::new();
        hasher.update(&header);
        let mut rest = (&mut self.file).take(bytes);
        loop {
            let chunk = io::BufRead::fill_buf(&mut rest)?;
            if chunk.is_empty() {
                break;
            }
            hasher.update(chunk);
            let read = chunk.len();
            io::BufRead::consume(&mut rest, read);
        }
        let mut sum = [0; 4];
        self.file.read_exact(&mut sum)?;
        if hasher.finalize() ^ SALT != u32::from_le_bytes(sum) {
            return Ok(None);
        }
        self.at += HEADER_BYTES + bytes + SUM_BYTES;
        Ok(Some(()))
    }
}
