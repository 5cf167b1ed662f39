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
    if Frames::open(snapshot)?.next(&mut |_| {})?.is_none() {
        return Err(damaged(snapshot, 0));
    }
    let last = files.last();
    for (number, (expected, path)) in (held + 1..).zip(&files.logs) {
        if number != *expected {
            return Err(Wrong::Damage(format!("metadata/log_{number:016x} is missing")));
        }
        let mut frames = Frames::open(path)?;
        while frames.next(&mut |_| {})?.is_some() {}
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

/// Shows what is in each frame, in order: first the snapshot's. All of it is on the disk by then.
///
/// # Errors
/// When it cannot be read, or `see` fails.
pub(super) fn each_frame(
    folder: &Path,
    mut see: impl FnMut(&[u8]) -> Result<(), Wrong>,
) -> Result<(), Wrong> {
    let Files { snapshot, logs } = Files::list(folder)?;
    let mut frame = Vec::new();
    for path in snapshot.iter().map(|(_, path)| path).chain(logs.values()) {
        let mut frames = Frames::open(path)?;
        frames.file.get_ref().sync_all()?;
        while frames.next(&mut |piece| frame.extend_from_slice(piece))?.is_some() {
            see(&frame)?;
            frame.clear();
        }
        frame.clear();
    }
    Ok(File::open(folder)?.sync_all()?)
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

    /// Passes over the next frame, and shows what is in it piece by piece; none when there is no whole one, which is known
    /// only after that.
    fn next(&mut self, see: &mut dyn FnMut(&[u8])) -> io::Result<Option<()>> {
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
            see(chunk);
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

#[cfg(test)]
mod tests {
    use super::*;

    /// A frame as sled writes it. What is in it is sled's.
    fn frame(payload: &[u8]) -> Vec<u8> {
        let length = (payload.len() as u64).to_le_bytes();
        let mut frame = length[..6].to_vec();
        frame.extend(&crc32fast::hash(&length[..6]).to_le_bytes()[..2]);
        frame.extend(payload);
        frame.extend((crc32fast::hash(&frame) ^ SALT).to_le_bytes());
        frame
    }

    /// Metadata as a folder: a snapshot of the logs up to 3, and logs 4 and 5 of so many frames.
    fn folder(logs: [usize; 2]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().expect("a folder");
        let write = |name: &str, text: Vec<u8>| fs::write(folder.path().join(name), text).expect("written");
        write("DO_NOT_PUT_YOUR_FILES_HERE", Vec::new());
        write("snapshot_0000000000000003", frame(b"a snapshot"));
        for (frames, number) in logs.into_iter().zip(4..) {
            let frames = (0..frames).flat_map(|at| frame(format!("of frame {at}").as_bytes()));
            write(&format!("log_{number:016x}"), frames.collect());
        }
        folder
    }

    fn log(folder: &tempfile::TempDir, number: u64) -> PathBuf {
        folder.path().join(format!("log_{number:016x}"))
    }

    #[test]
    fn metadata_is_whole_up_to_its_mark_and_after_it() {
        for logs in [[0, 0], [3, 0], [3, 2]] {
            let folder = folder(logs);
            let now = mark(folder.path()).expect("readable");
            assert_eq!(now, Mark { log: 5, bytes: logs[1] as u64 * 22 });
            check(folder.path(), Some(now)).expect("whole");
            check(folder.path(), None).expect("whole");
            check(folder.path(), Some(Mark { log: 3, bytes: 999 })).expect("the snapshot has it");
            assert!(matches!(
                check(folder.path(), Some(Mark { bytes: now.bytes + 1, ..now })),
                Err(Wrong::Old(_))
            ));
            assert!(matches!(check(folder.path(), Some(Mark { log: 6, bytes: 1 })), Err(Wrong::Old(_))));
            // A log that is empty may have lost its name.
            check(folder.path(), Some(Mark { log: 6, bytes: 0 })).expect("whole");
        }
    }

    #[test]
    fn every_flipped_bit_and_every_cut_is_found() {
        let folder = folder([3, 2]);
        let now = mark(folder.path()).expect("readable");
        let snapshot = folder.path().join("snapshot_0000000000000003");
        for path in [snapshot, log(&folder, 4), log(&folder, 5)] {
            let whole = fs::read(&path).expect("readable");
            for at in 0..whole.len() {
                let mut bad = whole.clone();
                bad[at] ^= 1 << (at % 8);
                fs::write(&path, bad).expect("written");
                assert!(check(folder.path(), Some(now)).is_err(), "{}: byte {at}", path.display());
                fs::write(&path, &whole[..at]).expect("written");
                let cut = check(folder.path(), Some(now));
                // A log that ends with a frame does not tell that there were more, unless it is the one of the mark.
                let unseen = path == log(&folder, 4) && at % 22 == 0;
                assert_eq!(cut.is_ok(), unseen, "{}: cut at {at}", path.display());
            }
            fs::write(&path, whole).expect("written");
        }
        check(folder.path(), Some(now)).expect("whole again");
    }

    #[test]
    fn a_write_that_was_cut_off_after_the_mark_is_no_damage() {
        let folder = folder([3, 2]);
        let now = mark(folder.path()).expect("readable");
        let whole = fs::read(log(&folder, 5)).expect("readable");
        for torn in 0..22 {
            fs::write(log(&folder, 5), [&whole[..], &frame(b"of frame 2")[..torn]].concat())
                .expect("written");
            check(folder.path(), Some(now)).expect("whole");
        }
    }

    #[test]
    fn files_that_are_missing_or_not_of_sleds_names_are_found() {
        let names = ["snapshot_0000000000000003", "log_0000000000000004", "log_0000000000000005"];
        for name in names {
            let folder = folder([3, 2]);
            let now = mark(folder.path()).expect("readable");
            fs::remove_file(folder.path().join(name)).expect("removed");
            assert!(check(folder.path(), Some(now)).is_err(), "{name}");
        }
        for name in ["log_", "log_5", "log_000000000000000x", "snapshot", "snapshot_00000000000000004"] {
            let folder = folder([3, 2]);
            fs::write(folder.path().join(name), "").expect("written");
            assert!(matches!(check(folder.path(), None), Err(Wrong::Damage(_))), "{name}");
        }
    }

    #[test]
    fn a_snapshot_without_a_log_after_it_gets_one() {
        let folder = folder([0, 0]);
        for number in [4, 5] {
            fs::remove_file(log(&folder, number)).expect("removed");
        }
        keep_snapshot(folder.path()).expect("made");
        assert!(log(&folder, 4).exists());
        keep_snapshot(folder.path()).expect("nothing to do");
        assert!(!log(&folder, 5).exists());
    }
}
