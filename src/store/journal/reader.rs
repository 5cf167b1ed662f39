//! Reads one segment, a window at a time.

use std::io;
use std::ops::Range;

use super::format::{
    ALIGN, GROUP_HEADER, GroupHeader, LAYOUT, SEGMENT_HEADER, SegmentHeader, checksum, group_bytes,
    number_in, segment_name,
};
use super::refusal::Refusal;
use crate::store::disk::{Disk, DiskFile};

/// How much is read at once.
const WINDOW: usize = 256 << 10;

/// An open segment whose header is sound.
#[derive(Debug)]
pub(super) struct SegmentReader<F> {
    file: F,
    pub(super) name: String,
    pub(super) header: SegmentHeader,
    /// The checksum of its header.
    pub(super) checksum: u32,
    store_id: u128,
    /// Where the next group begins.
    pub(super) offset: u64,
    window: Vec<u8>,
    window_start: u64,
    /// Where in the window.
    payload: Range<usize>,
}

/// What stands where a group should be.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Behind {
    /// Nothing, or what the file held when it was another segment.
    Nothing,
    /// Bytes that no committed group can have left there.
    Torn,
    /// A group that was written when the one that should be there was on disk.
    Proof { number: u64, offset: u64 },
}

impl<F: DiskFile> SegmentReader<F> {
    /// Opens the segment that begins with a group, and sees to it that it is one of this store.
    pub(super) fn open<D: Disk<File = F>>(disk: &D, store_id: u128, first: u64) -> Result<Self, Refusal> {
        let name = segment_name(first);
        let file = disk.open(&name).map_err(Refusal::io(&name, 0))?;
        let length = file.len().map_err(Refusal::io(&name, 0))?;
        let mut bytes = [0; SEGMENT_HEADER];
        file.read_at(&mut bytes, 0).map_err(Refusal::io(&name, 0))?;
        let Some((header, checksum)) = SegmentHeader::decode(&bytes) else {
            return Err(Refusal::damaged(name, 0, "this is not the beginning of a journal file"));
        };
        if header.layout > LAYOUT {
            return Err(Refusal::NewerLayout { file: name, offset: 8, found: header.layout, known: LAYOUT });
        }
        if header.store_id != store_id {
            let (found, expected) = (header.store_id, store_id);
            return Err(Refusal::WrongStore { file: name, offset: 16, found, expected });
        }
        if header.first != first {
            let what = format!("the file begins with group {}, not with the one in its name", header.first);
            return Err(Refusal::damaged(name, 32, what));
        }
        if length < header.length {
            let what = format!("the file ends here, and was made with {} bytes", header.length);
            return Err(Refusal::damaged(name, length, what));
        }
        let (offset, window, window_start) = (SEGMENT_HEADER as u64, Vec::new(), 0);
        Ok(Self { file, name, header, checksum, store_id, offset, window, window_start, payload: 0..0 })
    }

    /// Steps over group `number` and returns its checksum, if it is whole and follows `chain`.
    pub(super) fn group(&mut self, number: u64, chain: u32) -> io::Result<Option<u32>> {
        let (start, store_id) = (self.offset, self.store_id);
        let left = self.header.length.saturating_sub(start);
        let Some((header, checksum_of_it)) = GroupHeader::decode(self.at(start, GROUP_HEADER)?, store_id)
        else {
            return Ok(None);
        };
        let bytes = group_bytes(header.length);
        if header.number != number || header.previous != chain || bytes > left {
            return Ok(None);
        }
        let length = usize::try_from(header.length).map_err(io::Error::other)?;
        let payload = self.at(start, GROUP_HEADER + length)?.get(GROUP_HEADER..).unwrap_or_default();
        if payload.len() != length || checksum(store_id, payload) != header.payload {
            return Ok(None);
        }
        let from = usize::try_from(start - self.window_start).map_err(io::Error::other)? + GROUP_HEADER;
        self.payload = from..from + length;
        self.offset += bytes;
        Ok(Some(checksum_of_it))
    }

    /// The payload of the group that was just stepped over.
    pub(super) fn payload(&self) -> &[u8] {
        &self.window[self.payload.clone()]
    }

    /// What stands where group `number` should be, at the segment's end.
    pub(super) fn behind(&mut self, number: u64) -> io::Result<Behind> {
        let (store_id, recycled) = (self.store_id, self.header.recycled);
        // No group is shorter than its header, which bounds the numbers that can stand behind.
        let numbers = number..=number.saturating_add(self.header.length / GROUP_HEADER as u64);
        let mut found = Behind::Nothing;
        let mut offset = self.offset;
        while offset + GROUP_HEADER as u64 <= self.header.length {
            let bytes = self.at(offset, GROUP_HEADER)?;
            if !recycled && bytes.iter().any(|byte| *byte != 0) {
                found = Behind::Torn;
            }
            if numbers.contains(&number_in(bytes))
                && let Some((header, _)) = GroupHeader::decode(bytes, store_id)
            {
                if header.durable >= number && header.durable < header.number {
                    return Ok(Behind::Proof { number: header.number, offset });
                }
                found = Behind::Torn;
            }
            offset += ALIGN as u64;
        }
        Ok(found)
    }

    /// Whether the segment simply ends here: there is no room, nothing was written, or it is from before it was this
    /// segment.
    pub(super) fn ends(&mut self) -> io::Result<bool> {
        let (store_id, first) = (self.store_id, self.header.first);
        let bytes = self.at(self.offset, GROUP_HEADER)?;
        let old = GroupHeader::decode(bytes, store_id).is_some_and(|(header, _)| header.number < first);
        Ok(old || bytes.len() < GROUP_HEADER || bytes.iter().all(|byte| *byte == 0))
    }

    /// Writes everything up to the segment's end once more and syncs it: what can be read may still be on its way to
    /// the disk, or may have failed to get there when the process before this one gave up.
    pub(super) fn write_again(&mut self) -> io::Result<()> {
        let mut at = 0;
        while at < self.offset {
            let length = usize::try_from(self.offset - at).map_or(WINDOW, |left| left.min(WINDOW));
            self.at(at, length)?;
            let start = usize::try_from(at - self.window_start).map_err(io::Error::other)?;
            let bytes = &self.window[start..];
            let bytes = &bytes[..bytes.len().min(length)];
            if bytes.is_empty() {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            self.file.write_at(bytes, at)?;
            at += bytes.len() as u64;
        }
        self.file.sync_data()
    }

    /// The bytes at an offset; fewer at the end of the file.
    fn at(&mut self, offset: u64, length: usize) -> io::Result<&[u8]> {
        let end = offset + length as u64;
        if offset < self.window_start || end > self.window_start + self.window.len() as u64 {
            let wanted = length.max(WINDOW);
            let rest = usize::try_from(self.header.length.saturating_sub(offset)).unwrap_or(wanted);
            self.window.resize(wanted.min(rest), 0);
            self.window.shrink_to(WINDOW);
            self.window_start = offset;
            let read = self.file.read_at(&mut self.window, offset)?;
            self.window.truncate(read);
        }
        let start = usize::try_from(offset - self.window_start).map_err(io::Error::other)?;
        let bytes = &self.window[start..];
        Ok(&bytes[..bytes.len().min(length)])
    }
}
