//! Whether there is room on the disk for a change, before sled sees it: after a full disk sled hangs.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// A slot is at most half as large again as what is in it.
const SLOT_PER_BYTES: (u64, u64) = (3, 2);
/// What a changed leaf takes in the metadata's log and in the snapshot that is made of it, next to its key.
const METADATA_BYTES: u64 = 256;

/// How much smaller a leaf is on the disk than in memory, and what the smallest takes there for its 64 keys and values.
const COMPRESSED: u64 = 2;
const LEAF_BYTES_MIN: u64 = 16 << 10;

/// In which files' sizes on the disk are told, whatever its own blocks are.
const STAT_BLOCK_BYTES: u64 = 512;

/// What a file takes on the disk: less than its length when it has holes.
pub(super) fn taken(file: &fs::Metadata) -> u64 {
    file.blocks().saturating_mul(STAT_BLOCK_BYTES)
}

/// The slots of a database.
#[derive(Debug, Default)]
pub(super) struct Slots {
    /// By size, the largest first, how many of them have room on the disk.
    sizes: Vec<(u64, u64)>,
    /// What the disk has to have for slots that sled moves into holes of its files, which it does to make these shorter.
    moved_bytes: u64,
}

impl Slots {
    /// Those of a folder of sled's, where a file has the size of its slots as its name.
    ///
    /// # Errors
    /// When it cannot be read.
    pub(super) fn of(slabs: &Path) -> io::Result<Self> {
        let mut slots = Self::default();
        for entry in fs::read_dir(slabs)? {
            let entry = entry?;
            let size: Option<u64> = entry.file_name().to_str().and_then(|name| name.parse().ok());
            if let Some(size) = size.filter(|size| *size > 0) {
                let (length, taken) = (entry.metadata()?.len(), taken(&entry.metadata()?));
                slots.sizes.push((size, length.min(taken).div_ceil(size)));
                slots.moved_bytes += length.saturating_sub(taken).min(taken);
            }
        }
        slots.sizes.sort_unstable_by(|a, b| b.cmp(a));
        Ok(slots)
    }

    /// What that many changes may take on the disk at most, with keys and values of so many bytes.
    ///
    /// What is new takes a slot and a half. Since a leaf with a change is written anew before its old slot is free, each
    /// change may cost the largest slot that no other one has: at most what the database takes by now. And what has holes
    /// before it may be moved there.
    pub(super) fn estimate(&self, changes: u64, bytes: u64) -> u64 {
        let new = bytes.saturating_mul(SLOT_PER_BYTES.0) / SLOT_PER_BYTES.1;
        let (mut left, mut anew) = (changes, 0_u64);
        for (size, count) in &self.sizes {
            let taken = left.min(*count);
            anew = anew.saturating_add(taken.saturating_mul(*size));
            left -= taken;
        }
        let metadata = changes.saturating_mul(METADATA_BYTES).saturating_add(bytes);
        new.saturating_add(anew).saturating_add(metadata).saturating_add(self.moved_bytes)
    }

    /// What that many leaves, as they were read from their slots, take in memory: an estimate.
    pub(super) fn in_memory(&self, leaves: u64) -> u64 {
        let all: u64 = self.sizes.iter().map(|(size, count)| size * count).sum();
        let count: u64 = self.sizes.iter().map(|(_, count)| count).sum();
        let middling = all.checked_div(count).unwrap_or(0);
        leaves.saturating_mul(LEAF_BYTES_MIN.max(middling.saturating_mul(COMPRESSED)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_change_may_cost_the_largest_leaf_that_is_left() {
        let folder = tempfile::tempdir().expect("a folder");
        for (name, bytes) in [("1024", 2_048), ("64", 640), ("65536", 65_536), ("README", 9)] {
            fs::write(folder.path().join(name), vec![0; bytes]).expect("written");
        }
        let slots = Slots::of(folder.path()).expect("readable");
        let anew = |changes| slots.estimate(changes, 0) - changes * METADATA_BYTES;
        assert_eq!(anew(0), 0);
        assert_eq!(anew(1), 65_536);
        assert_eq!(anew(2), 65_536 + 1_024);
        assert_eq!(anew(4), 65_536 + 2 * 1_024 + 64);
        assert_eq!(anew(1_000), 65_536 + 2_048 + 640, "never more than there is");
        assert_eq!(slots.estimate(0, 1_000), 2_500, "a slot and a half, and all keys in the metadata");
        assert_eq!(slots.estimate(u64::MAX, u64::MAX), u64::MAX);
        assert_eq!(slots.in_memory(2), 2 * LEAF_BYTES_MIN, "13 of 5 KB are small");
        let large = Slots { sizes: vec![(1 << 20, 3)], moved_bytes: 0 };
        assert_eq!(
            [large.in_memory(5), large.in_memory(0), Slots::default().in_memory(1)],
            [10 << 20, 0, 16 << 10]
        );
    }
}
