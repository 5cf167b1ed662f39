//! Reads a journal from a position on, and makes it one that can be written to.

use std::collections::BTreeMap;

use super::format::{NO_CHAIN, segment_first, segment_name};
use super::reader::{Behind, SegmentReader};
use super::refusal::Refusal;
use super::segment::{Spare, spare_number};
use super::{Journal, JournalOptions, Position, SPARES_MAX};
use crate::store::disk::{Disk, DiskFile};

/// Opens the journal in a folder to read what comes after a position, an empty one if there is none.
///
/// # Errors
///
/// See [`Refusal`]: here if it does not reach back to the position, while reading if it is damaged or too short.
pub fn recover<D: Disk>(disk: D, options: JournalOptions, after: Position) -> Result<Recovery<D>, Refusal> {
    const FOLDER: &str = "the folder";
    let names = disk.list().map_err(Refusal::io(FOLDER, 0))?;
    let mut segments = BTreeMap::new();
    for (name, first) in names.iter().filter_map(|name| Some((name, segment_first(name)?))) {
        let length = disk.open(name).and_then(|file| file.len()).map_err(Refusal::io(name, 0))?;
        segments.insert(first, length);
    }
    let spares = names.into_iter().filter(|name| spare_number(name).is_some()).collect();
    let start = segments.range(..=after.0.saturating_add(1)).next_back().map(|(first, _)| *first);
    let segment = match (start, segments.first_key_value()) {
        (Some(first), _) => Some(SegmentReader::open(&disk, options.store_id, first)?),
        (None, Some((&first, _))) => {
            let file = segment_name(first);
            return Err(Refusal::Gap { file, offset: 0, first, after: after.0 });
        }
        (None, None) if after.0 > 0 => {
            let file = "no file".to_owned();
            return Err(Refusal::BeyondEnd { file, offset: 0, end: 0, after: after.0 });
        }
        (None, None) => None,
    };
    let (next, chain, last) = segment.as_ref().map_or((1, NO_CHAIN, NO_CHAIN), |segment| {
        (segment.header.first, segment.checksum, segment.header.previous)
    });
    let stats = RecoveryStats { segments: usize::from(segment.is_some()), ..RecoveryStats::default() };
    Ok(Recovery {
        disk,
        options,
        after: after.0,
        segments,
        spares,
        segment,
        next,
        chain,
        last,
        ended: false,
        stats,
    })
}

/// A journal that is being read. Nothing of it is changed before [`Recovery::finish`].
#[derive(Debug)]
pub struct Recovery<D: Disk> {
    disk: D,
    options: JournalOptions,
    after: u64,
    segments: BTreeMap<u64, u64>,
    spares: Vec<String>,
    /// The segment that is being read, in the end the last one.
    segment: Option<SegmentReader<D::File>>,
    next: u64,
    chain: u32,
    /// The checksum of the last group.
    last: u32,
    ended: bool,
    stats: RecoveryStats,
}

/// A group that was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Group<'a> {
    /// Its number.
    pub position: Position,
    /// What was appended.
    pub payload: &'a [u8],
}

/// What was found.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct RecoveryStats {
    /// Segments that were read.
    pub segments: usize,
    /// Groups after the position.
    pub groups: u64,
    /// Bytes of their payloads.
    pub bytes: u64,
    /// The torn tail that was cut, if there was one. In a file that was used before, a tail of which no group is
    /// recognizable is not seen.
    pub cut: Option<Cut>,
}

/// A torn tail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cut {
    /// The segment.
    pub file: String,
    /// Where it is cut.
    pub offset: u64,
}

impl<D: Disk> Recovery<D> {
    /// The next group after the position, in order; `None` at the end. One group at a time is in memory.
    ///
    /// # Errors
    ///
    /// See [`Refusal`]; what was read until then is true, but is not all.
    #[expect(clippy::should_implement_trait, reason = "a group is borrowed from what reads it")]
    pub fn next(&mut self) -> Result<Option<Group<'_>>, Refusal> {
        if !self.seek()? {
            return Ok(None);
        }
        let segment = self.segment.as_ref().expect("a group was found in it");
        let payload = segment.payload();
        self.stats.groups += 1;
        self.stats.bytes += payload.len() as u64;
        Ok(Some(Group { position: Position(self.next - 1), payload }))
    }

    /// Steps to the next group after the position; false at the end.
    fn seek(&mut self) -> Result<bool, Refusal> {
        while let Some(segment) = self.segment.as_mut().filter(|_| !self.ended) {
            let following = self.segments.range(segment.header.first + 1..).next().map(|(first, _)| *first);
            // Groups that the following segment begins with again were given up.
            if following == Some(self.next) {
                self.follow(self.next)?;
                continue;
            }
            let offset = segment.offset;
            let found = segment.group(self.next, self.chain).map_err(Refusal::io(&segment.name, offset))?;
            let Some(checksum) = found else {
                self.end(following)?;
                continue;
            };
            self.chain = checksum;
            self.last = checksum;
            self.next += 1;
            if self.next - 1 > self.after {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Goes on in the segment that begins with the next group.
    fn follow(&mut self, first: u64) -> Result<(), Refusal> {
        let segment = SegmentReader::open(&self.disk, self.options.store_id, first)?;
        if segment.header.previous != self.last {
            let what = format!("the file does not continue group {} as it is in the file before", first - 1);
            return Err(Refusal::damaged(segment.name, 40, what));
        }
        self.chain = segment.checksum;
        self.segment = Some(segment);
        self.stats.segments += 1;
        Ok(())
    }

    /// Finds out what it means that the next group cannot be read.
    fn end(&mut self, following: Option<u64>) -> Result<(), Refusal> {
        let Some(segment) = &mut self.segment else { return Ok(()) };
        let (number, offset, file) = (self.next, segment.offset, segment.name.clone());
        if let Some(following) = following {
            return Err(if segment.ends().map_err(Refusal::io(&file, offset))? {
                Refusal::Missing { file, offset, from: number, to: following - 1 }
            } else {
                let what = format!("group {number} cannot be read, and the file is not the last");
                Refusal::damaged(file, offset, what)
            });
        }
        match segment.behind(number).map_err(Refusal::io(&file, offset))? {
            Behind::Proof { number: later, offset: at } => {
                let what = format!(
                    "group {number} cannot be read, and was on disk when group {later} was written at byte {at}"
                );
                return Err(Refusal::damaged(file, offset, what));
            }
            Behind::Torn => self.stats.cut = Some(Cut { file: file.clone(), offset }),
            Behind::Nothing => {}
        }
        self.ended = true;
        if number <= self.after {
            return Err(Refusal::BeyondEnd { file, offset, end: number - 1, after: self.after });
        }
        Ok(())
    }

    /// Makes a journal of it that goes on behind the last group; reads what was not read.
    ///
    /// It begins a new segment with the first group, so that nothing torn is ever written over. The groups that were
    /// read count only now: the last segment is written again and synced, because they may have been read from the
    /// system's memory.
    ///
    /// # Errors
    ///
    /// See [`Refusal`].
    pub fn finish(mut self) -> Result<(Journal<D>, RecoveryStats), Refusal> {
        while self.seek()? {
            self.stats.groups += 1;
            self.stats.bytes += self.segment.as_ref().map_or(0, |segment| segment.payload().len() as u64);
        }
        if let Some(segment) = &mut self.segment {
            segment.write_again().map_err(Refusal::io(&segment.name, 0))?;
            self.disk.sync_folder().map_err(Refusal::io("the folder", 0))?;
        }
        let end = self.next - 1;
        let mut journal = Journal {
            disk: self.disk,
            options: self.options,
            segments: self.segments,
            current: None,
            spares: Vec::new(),
            next_spare: self.spares.iter().filter_map(|name| spare_number(name)).max().unwrap_or(0),
            next: self.next,
            chain: NO_CHAIN,
            last: self.last,
            kept_last: self.last,
            durable: end,
            kept: end,
            poisoned: false,
            buffer: Vec::new(),
        };
        journal.take_up(self.spares);
        Ok((journal, self.stats))
    }
}

impl<D: Disk> Journal<D> {
    /// Uses spare files that are there, and removes those that are of no use.
    fn take_up(&mut self, names: Vec<String>) {
        for name in names {
            let length = self.disk.open(&name).and_then(|file| file.len());
            let fits = length.is_ok_and(|length| length == self.options.segment_bytes);
            if fits && self.spares.len() < SPARES_MAX {
                self.spares.push(Spare { name, recycled: true });
            } else {
                // A file that stays costs its space and nothing else.
                let _ = self.disk.remove(&name);
            }
        }
        // A full disk is met when it matters: reading a journal does not need room.
        let _ = self.make_spare();
    }
}
