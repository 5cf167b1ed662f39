//! The journal: what was done since the last checkpoint, in order, in preallocated files ("segments").
//!
//! The unit is the group: the bytes that one commit makes durable, whatever they mean. A group is there whole or not
//! at all, and has a number ([`Position`]); numbers start at 1 and have no gaps.
//!
//! - [`Journal::append`] writes a group, [`Journal::commit`] is one fdatasync for all that was appended.
//! - Segments are made ahead, so that a full disk is met while there is still a whole segment left
//!   ([`Journal::room`]), and files that are free again are used again, because writing over written blocks is cheaper.
//! - After a failed write or fdatasync nothing is assumed: the journal refuses until it goes on in a new segment.
//! - [`recover`] reads everything after a position, or refuses ([`Refusal`]).
//!
//! # What a crash leaves
//!
//! Each group names the checksum of the one before it, so that nothing left over in a file is taken for a group, and
//! says up to where the journal was surely on disk when it was written. With that, the end is told from damage: where
//! a group cannot be read, and anything behind it says that it was on disk, it is damage; so it is in front of another
//! segment, because a segment is synced before the next one begins. Anything else is a torn tail: it was never
//! acknowledged, and is cut.
//!
//! Two things cannot be told from a torn tail, because nothing behind says otherwise: damage of the last committed
//! groups with nothing committed since, and the loss of the last segment as a whole file; and both only as long as the
//! settled state is not further itself ([`Refusal::BeyondEnd`]). Who commits an empty group when closing, and now and
//! then while idle, keeps what this concerns small. After a power cut with [`SyncMode::Os`], committed groups since
//! the last [`Journal::sync`] or new segment may be missing as well: that is what the mode gives away.
//!
//! A disk that does not write sectors of 512 bytes as a whole can destroy committed groups in the sector that is being
//! added to; that is found, and refused as damage as soon as another group stands behind it.

mod format;
mod reader;
mod recovery;
mod refusal;
mod segment;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::io;

use self::format::{GROUP_HEADER, GroupHeader, SEGMENT_HEADER, group_bytes};
pub use self::recovery::{Cut, Group, Recovery, RecoveryStats, recover};
pub use self::refusal::Refusal;
use self::segment::{Current, Spare, spare_name};
use crate::store::disk::{Disk, DiskFile};

/// Spare segments that are kept: one that is promised to the caller, one more so that freed files find a use.
const SPARES_MAX: usize = 2;

/// The number of a group; 0 is before the first.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position(pub u64);

/// When a commit is done. (Who wants neither has no journal.)
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SyncMode {
    /// When it is on the disk.
    Disk,
    /// When the system has it: survives the process, not the power.
    Os,
}

/// How a journal is kept.
#[derive(Debug, Clone)]
pub struct JournalOptions {
    /// The store that it belongs to, a random number: files of another store are refused. It goes into the checksums
    /// of groups too, so that nobody can send a message that looks like one.
    pub store_id: u128,
    /// The length of a segment; a group that is larger gets a segment of its own.
    pub segment_bytes: u64,
    /// When a commit is done.
    pub sync: SyncMode,
}

impl JournalOptions {
    /// Segments of 64 MiB, commits on disk.
    pub fn new(store_id: u128) -> Self {
        Self { store_id, segment_bytes: 64 << 20, sync: SyncMode::Disk }
    }
}

/// Why something was not written.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// There is no room for another segment. Nothing was written; what is there is whole, and the same call will work
    /// once space is freed.
    #[error("the disk has no room for another {bytes} bytes of journal")]
    Full {
        /// How large the segment was to be.
        bytes: u64,
    },
    /// A group can have almost 4 GiB.
    #[error("a group of {bytes} bytes is too large")]
    TooLarge {
        /// How large it was to be.
        bytes: usize,
    },
    /// The disk failed: what was not committed is not assumed written, and the journal refuses everything until
    /// [`Journal::reopen_after_failure`].
    #[error("the journal cannot be written: {0}")]
    Failed(#[source] io::Error),
    /// It failed before.
    #[error("the journal failed before and was not opened again")]
    Poisoned,
}

/// The end of a journal, ready to be written to.
#[derive(Debug)]
pub struct Journal<D: Disk> {
    disk: D,
    options: JournalOptions,
    /// Segments by the number of their first group; the length of each file.
    segments: BTreeMap<u64, u64>,
    /// The last segment; none until the first group after opening.
    current: Option<Current<D::File>>,
    spares: Vec<Spare>,
    /// Names of spares are not used twice, whatever became of the file.
    next_spare: u64,
    /// The number of the next group.
    next: u64,
    /// What the next group names as the checksum before it.
    chain: u32,
    /// The checksum of the last group, which is not `chain` at the beginning of a segment.
    last: u32,
    /// The checksum of the last group that is kept.
    kept_last: u32,
    /// The last group that is surely on disk.
    durable: u64,
    /// The last group that the caller was told is committed, or that is durable.
    kept: u64,
    poisoned: bool,
    /// A group on its way to the file.
    buffer: Vec<u8>,
}

impl<D: Disk> Journal<D> {
    /// Writes one group; it is committed by the next [`Journal::commit`].
    ///
    /// # Errors
    ///
    /// See [`JournalError`]. After [`JournalError::Full`] and [`JournalError::TooLarge`] everything is as before.
    pub fn append(&mut self, payload: &[u8]) -> Result<Position, JournalError> {
        self.check()?;
        let length =
            u32::try_from(payload.len()).map_err(|_| JournalError::TooLarge { bytes: payload.len() })?;
        let bytes = group_bytes(length);
        if self.current.as_ref().is_none_or(|current| current.left() < bytes) {
            self.rotate(bytes)?;
        }
        let header =
            GroupHeader::new(self.options.store_id, payload, self.next, self.durable, self.chain, length);
        let checksum = header.write(&mut self.buffer, payload, self.options.store_id);
        let current = self.current.as_mut().expect("there is one after rotating");
        if let Err(error) = current.append(&self.buffer) {
            return Err(self.poison(error));
        }
        // One large group is no reason to hold on to its size.
        self.buffer.shrink_to(GROUP_HEADER + (1 << 20));
        self.chain = checksum;
        self.last = checksum;
        self.next += 1;
        Ok(self.position())
    }

    /// Makes everything that was appended durable, as far as the mode promises it.
    ///
    /// # Errors
    ///
    /// See [`JournalError`].
    pub fn commit(&mut self) -> Result<(), JournalError> {
        if self.options.sync == SyncMode::Disk {
            return self.sync();
        }
        self.check()?;
        self.keep();
        Ok(())
    }

    /// Puts everything that was appended on the disk, whatever the mode: before the settled state gets ahead of it.
    ///
    /// # Errors
    ///
    /// See [`JournalError`].
    pub fn sync(&mut self) -> Result<(), JournalError> {
        self.check()?;
        if let Some(current) = &mut self.current
            && self.durable + 1 < self.next
            && let Err(error) = current.file.sync_data()
        {
            return Err(self.poison(error));
        }
        self.durable = self.next - 1;
        self.keep();
        Ok(())
    }

    /// Goes on after a failure, in a new segment behind the last group that counts, which it returns: what was
    /// appended after that one is void and has to be appended again.
    ///
    /// With [`SyncMode::Os`] a failed write of the system may have cost committed groups, which nobody can tell until
    /// they are read: a checkpoint right after this makes them unnecessary.
    ///
    /// # Errors
    ///
    /// As long as it does not work the journal stays as it is, and this can be called again.
    pub fn reopen_after_failure(&mut self) -> Result<Position, JournalError> {
        if self.poisoned {
            let spare = self.take_spare(0)?;
            self.next = self.kept + 1;
            self.last = self.kept_last;
            self.start(spare)?;
        }
        Ok(Position(self.kept))
    }

    /// The last group that was appended.
    pub fn position(&self) -> Position {
        Position(self.next - 1)
    }

    /// The last group that is committed.
    pub fn committed(&self) -> Position {
        Position(self.kept)
    }

    /// Whether it refuses everything until it is opened again.
    pub fn is_poisoned(&self) -> bool {
        self.poisoned
    }

    /// How many bytes of groups ([`Journal::group_bytes`]) can be written for sure before the disk must have room for
    /// another segment. What a group leaves at the end of a segment because it does not fit is lost, and one that is
    /// larger than a segment needs room on the disk in any case.
    pub fn room(&self) -> u64 {
        let spares = self.spares.len() as u64;
        let current = self.current.as_ref().map_or(0, Current::left);
        current + spares * self.options.segment_bytes.saturating_sub(SEGMENT_HEADER as u64)
    }

    /// Whether the disk had no room for the segment after this one: what is left of this one is all there is.
    pub fn is_last_segment(&self) -> bool {
        self.current.is_some() && self.spares.is_empty()
    }

    /// Tries once more to make a segment ahead. [`Journal::is_last_segment`] tells whether there is one.
    pub fn prepare(&mut self) {
        if self.is_last_segment() {
            // Why not makes no difference before a segment is needed, and then it is said.
            let _ = self.make_spare();
        }
    }

    /// What a group takes in a segment.
    pub fn group_bytes(payload: usize) -> u64 {
        u32::try_from(payload).map_or(u64::MAX, group_bytes)
    }

    /// What all files take on the disk.
    pub fn bytes_on_disk(&self) -> u64 {
        self.segments.values().sum::<u64>() + self.spares.len() as u64 * self.options.segment_bytes
    }

    /// How many segments have groups, or are about to.
    pub fn segments(&self) -> usize {
        self.segments.len()
    }

    /// Gives back segments whose groups are all at or before `position`, but for the newest of them: should the
    /// settled state turn out to be an older one than it was, there is a chance that the journal still reaches it.
    ///
    /// Then sees to a spare segment, which may have been missing since the disk was full.
    ///
    /// # Errors
    ///
    /// A file that cannot be removed; the journal itself is unharmed, and the next call tries again.
    pub fn free_before(&mut self, position: Position) -> io::Result<()> {
        let firsts: Vec<u64> = self.segments.keys().copied().collect();
        let done = firsts.windows(2).take_while(|pair| pair[1] - 1 <= position.0).count();
        let (mut recycled, mut failed) = (Vec::new(), Ok(()));
        for first in firsts.into_iter().take(done.saturating_sub(1)) {
            let room = self.spares.len() + recycled.len() < SPARES_MAX;
            match self.free(first, room) {
                Ok(spare) => recycled.extend(spare),
                Err(error) => failed = failed.and(Err(error)),
            }
        }
        if done > 1 {
            // A spare is written to from its beginning: no name may lead to it as an old segment any more.
            self.disk.sync_folder()?;
        }
        self.spares.extend(recycled);
        failed?;
        self.make_spare().or_else(|error| if is_full(&error) { Ok(()) } else { Err(error) })
    }

    /// Takes one segment away or makes it a spare.
    fn free(&mut self, first: u64, recycle: bool) -> io::Result<Option<Spare>> {
        let name = format::segment_name(first);
        let spare = if recycle && self.segments.get(&first) == Some(&self.options.segment_bytes) {
            let spare = Spare { name: self.spare_name(), recycled: true };
            self.disk.rename(&name, &spare.name)?;
            Some(spare)
        } else {
            self.disk.remove(&name)?;
            None
        };
        self.segments.remove(&first);
        Ok(spare)
    }

    fn keep(&mut self) {
        self.kept = self.next - 1;
        self.kept_last = self.last;
    }

    fn check(&self) -> Result<(), JournalError> {
        if self.poisoned { Err(JournalError::Poisoned) } else { Ok(()) }
    }

    fn poison(&mut self, error: io::Error) -> JournalError {
        self.poisoned = true;
        JournalError::Failed(error)
    }

    /// Ends the current segment and begins another one that has room for a group of `bytes`.
    fn rotate(&mut self, bytes: u64) -> Result<(), JournalError> {
        let spare = self.take_spare(bytes)?;
        // Where there is a next segment, everything before it is on disk: that is how damage is told from a torn tail.
        if let Err(error) = self.sync() {
            self.put_back(spare);
            return Err(error);
        }
        self.start(spare)
    }

    fn start(&mut self, (spare, length): (Spare, u64)) -> Result<(), JournalError> {
        match Current::start(&self.disk, &self.options, &spare, length, self.next, self.last) {
            Ok((current, checksum)) => {
                self.chain = checksum;
                self.current = Some(current);
                self.segments.insert(self.next, length);
                self.poisoned = false;
                // Whether there is room for another is the question of a later rotation, or of whoever frees space.
                let _ = self.make_spare();
                Ok(())
            }
            Err(error) => {
                // Half a start may have left it under either name; if it is a spare still, it is not to be trusted.
                let _ = self.disk.remove(&spare.name);
                Err(self.poison(error))
            }
        }
    }

    /// A spare segment for a group of `bytes`, and its length.
    fn take_spare(&mut self, bytes: u64) -> Result<(Spare, u64), JournalError> {
        let needed = bytes + SEGMENT_HEADER as u64;
        let length = self.options.segment_bytes.max(needed);
        if length == self.options.segment_bytes
            && let Some(spare) = self.spares.pop()
        {
            return Ok((spare, length));
        }
        match self.create_spare(length) {
            Ok(spare) => Ok((spare, length)),
            Err(error) if is_full(&error) => Err(JournalError::Full { bytes: length }),
            Err(error) => Err(self.poison(error)),
        }
    }

    /// A spare that was not needed after all.
    fn put_back(&mut self, (spare, length): (Spare, u64)) {
        if length == self.options.segment_bytes {
            self.spares.push(spare);
        } else {
            // Where it cannot be removed it is found when the journal is opened the next time.
            let _ = self.disk.remove(&spare.name);
        }
    }

    fn make_spare(&mut self) -> io::Result<()> {
        if self.spares.is_empty() {
            let spare = self.create_spare(self.options.segment_bytes)?;
            self.spares.push(spare);
        }
        Ok(())
    }

    fn create_spare(&mut self, length: u64) -> io::Result<Spare> {
        let name = self.spare_name();
        self.disk.create(&name, length)?;
        Ok(Spare { name, recycled: false })
    }

    fn spare_name(&mut self) -> String {
        self.next_spare += 1;
        spare_name(self.next_spare)
    }
}

fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}
