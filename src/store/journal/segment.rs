//! The segment that is written to, and the spare ones.

use std::io;

use super::format::{LAYOUT, SEGMENT_HEADER, SegmentHeader, segment_name};
use super::{JournalOptions, SyncMode};
use crate::store::disk::{Disk, DiskFile};

/// How far ahead of its groups a new segment is written. Of a million messages, a fdatasync in 60 makes a note then.
const AHEAD_BYTES: u64 = 1 << 20;
const PREFIX: &str = "spare-";
const SUFFIX: &str = ".journal";

/// A file of the right length that is no segment yet.
#[derive(Debug)]
pub(super) struct Spare {
    pub(super) name: String,
    /// Whether it has been one.
    pub(super) recycled: bool,
}

/// The name of a spare file.
pub(super) fn spare_name(number: u64) -> String {
    format!("{PREFIX}{number}{SUFFIX}")
}

/// The number of the spare file of that name, if it is one.
pub(super) fn spare_number(name: &str) -> Option<u64> {
    name.strip_prefix(PREFIX)?.strip_suffix(SUFFIX)?.parse().ok()
}

/// The last segment.
#[derive(Debug)]
pub(super) struct Current<F> {
    pub(super) file: F,
    length: u64,
    /// Where the next group goes.
    end: u64,
    /// Up to here writing needs no note in the file system.
    written: u64,
}

impl<F: DiskFile> Current<F> {
    /// Makes a spare file the segment that begins with group `first`. It has its name only once its header is on disk,
    /// and it has it for good when this returns. Also returns the checksum of its header.
    pub(super) fn start<D: Disk<File = F>>(
        disk: &D,
        options: &JournalOptions,
        spare: &Spare,
        length: u64,
        first: u64,
        previous: u32,
    ) -> io::Result<(Self, u32)> {
        let store_id = options.store_id;
        let header =
            SegmentHeader { layout: LAYOUT, store_id, first, previous, recycled: spare.recycled, length };
        let (bytes, checksum) = header.encode();
        let mut file = disk.open(&spare.name)?;
        file.write_at(&bytes, 0)?;
        file.sync_data()?;
        disk.rename(&spare.name, &segment_name(first))?;
        disk.sync_folder()?;
        let end = SEGMENT_HEADER as u64;
        // What was a segment is written already, and without fdatasync nobody waits for notes.
        let written = if spare.recycled || options.sync == SyncMode::Os { length } else { end };
        Ok((Self { file, length, end, written }, checksum))
    }

    /// Writes a group that fits.
    pub(super) fn append(&mut self, group: &[u8]) -> io::Result<()> {
        self.file.write_at(group, self.end)?;
        self.end += group.len() as u64;
        if self.end > self.written {
            self.written = self.length.min(self.end + AHEAD_BYTES);
            self.file.write_ahead(self.end, self.written - self.end)?;
        }
        Ok(())
    }
}

impl<F> Current<F> {
    /// Bytes for more groups.
    pub(super) fn left(&self) -> u64 {
        self.length.saturating_sub(self.end)
    }
}
