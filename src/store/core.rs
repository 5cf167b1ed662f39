//! The store as a machine without threads or clocks: requests go in, groups go to the journal, checkpoints to the settled
//! state, and what was kept comes back. Threads drive it in the broker, a seed does in the simulator.
//!
//! ```text
//! submit → commit: one group in the journal → the active delta
//! checkpoint: the delta is frozen → settled, with the journal's position → older segments are free
//! fetch: pages of the settled state, then the frozen delta, then the active one
//! ```

mod restore;
#[cfg(test)]
mod tests;

use self::restore::{identify, settled_sessions};
use super::delta::{Changes, Delta};
use super::disk::Disk;
use super::elision::Elision;
use super::group::{Group, decode};
use super::journal::{Journal, JournalError, JournalOptions, Position, Refusal, SyncMode, recover};
use super::layout::{ALIVE_KEY, LAYOUT, NEXT_SESSION_KEY};
use super::read::PageRead;
use super::record::BadRecord;
use super::settle::{number, settle};
use super::settled::Settled;
use super::spent::Spent;
use super::sweep::Sweep;
use crate::engine::{Batch, Expired, Fetch};
use crate::types::{HashSeed, Now, SessionId, Set, ShardId};
use bytes::Bytes;
use std::io;
use std::sync::Arc;

/// How a store is kept.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// When a group counts as kept.
    pub sync: SyncMode,
    /// The length of a segment of the journal.
    pub segment_bytes: u64,
    /// What may gather in memory, and in the journal, before it is settled.
    pub checkpoint_bytes: u64,
    /// What the journal and the settled state may take on disk; 0 for any.
    pub bytes_max: u64,
}

impl Default for Options {
    fn default() -> Self {
        let (segment_bytes, checkpoint_bytes) = (64 << 20, 32 << 20);
        Self { sync: SyncMode::Disk, segment_bytes, checkpoint_bytes, bytes_max: 0 }
    }
}

/// Why a store does not open.
#[derive(Debug, thiserror::Error)]
pub enum OpenFailure {
    /// The journal does not fit the settled state, or is damaged.
    #[error(transparent)]
    Journal(#[from] Refusal),
    /// A group of the journal is whole and makes no sense.
    #[error("group {0} of the journal: {1}; restore the store's folder from a backup or import an export")]
    Group(u64, BadRecord),
    /// The settled state cannot be read.
    #[error(
        "the settled state cannot be read: {0}; restore the store's folder from a backup or import an export"
    )]
    Settled(#[from] io::Error),
    /// It is of a later version.
    #[error(
        "the store has layout {0}, and this version reads {LAYOUT}: start the version that wrote it, export, and import"
    )]
    Layout(u64),
}

/// Why nothing is kept at present.
#[derive(Debug, thiserror::Error)]
pub enum Refusing {
    /// There is no room.
    #[error("the disk is full: {0}")]
    Full(JournalError),
    /// There will be none when this segment is full.
    #[error("the disk has no room for another segment of the journal")]
    Filling,
    /// The disk failed.
    #[error("the disk failed: {0}")]
    Failed(JournalError),
    /// The settled state has no room for what the journal has.
    #[error("the disk has no room to settle what the journal has")]
    Unsettled,
    /// The operator's bound.
    #[error("the store takes {bytes} bytes, and may take {max} (store.bytes_max)")]
    Bound {
        /// What it takes.
        bytes: u64,
        /// What it may.
        max: u64,
    },
}

/// What a checkpoint is to settle.
#[derive(Clone, Debug)]
pub struct Checkpoint {
    delta: Arc<Delta>,
    position: Position,
}

impl Checkpoint {
    /// Does it. On the thread that owns the settled state.
    ///
    /// # Errors
    /// Those of [`Settled::apply`]: for want of space it may be tried again, otherwise the settled state is given up.
    pub fn run(&self, settled: &mut dyn Settled) -> io::Result<()> {
        self.run_and_sweep(settled, &mut Sweep::default())
    }

    /// The same, and takes out what has expired.
    ///
    /// # Errors
    /// See [`Checkpoint::run`].
    pub fn run_and_sweep(&self, settled: &mut dyn Settled, sweep: &mut Sweep) -> io::Result<()> {
        settle(settled, &self.delta, self.position.0, sweep)
    }
}

/// One store for all cores: its journal and what that holds beyond the settled state.
#[derive(Debug)]
pub struct Store<D: Disk> {
    journal: Journal<D>,
    options: Options,
    seed: HashSeed,
    active: Delta,
    frozen: Option<Checkpoint>,
    /// A checkpoint found no room and is to be tried again.
    unsettled: bool,
    /// All sessions that there are.
    known: Set<SessionId>,
    /// The settled ones as they were read when the store was opened, for [`Store::restore`]; none once that has them, or they
    /// have changed.
    read: Option<Vec<(SessionId, Bytes)>>,
    /// What is not committed.
    waiting: Vec<(ShardId, Batch)>,
    group: Group,
    elision: Elision,
    /// Bytes that went to the journal since the last checkpoint began.
    since_checkpoint: u64,
    /// What the settled state takes on disk, as it was last measured.
    settled_bytes: u64,
}

impl<D: Disk> Store<D> {
    /// Opens the store that a settled state and a journal make, or a new one where both are empty. `random` becomes the new
    /// one's identity.
    ///
    /// # Errors
    /// See [`OpenFailure`]. Nothing was changed.
    pub fn open(
        disk: D,
        settled: &mut dyn Settled,
        options: Options,
        seed: HashSeed,
        random: u128,
    ) -> Result<Self, OpenFailure> {
        let store_id = identify(settled, random)?;
        let journal = JournalOptions { store_id, segment_bytes: options.segment_bytes, sync: options.sync };
        let read = settled_sessions(settled)?;
        let mut known = seed.set();
        known.extend(read.iter().map(|(id, _)| *id));
        let mut active = Delta::new(seed);
        let mut recovery = recover(disk, journal, Position(settled.position()))?;
        let mut since_checkpoint = 0;
        while let Some(group) = recovery.next()? {
            since_checkpoint += group.payload.len() as u64;
            if group.payload.is_empty() {
                continue;
            }
            let batch = decode(group.payload).map_err(|bad| OpenFailure::Group(group.position.0, bad))?;
            active.apply(batch, &mut known);
        }
        let (journal, _) = recovery.finish()?;
        active.now = active.now.max(Now(number(settled, ALIVE_KEY)?.unwrap_or(0)));
        active.next_session = active.next_session.max(number(settled, NEXT_SESSION_KEY)?.unwrap_or(0));
        Ok(Self {
            journal,
            options,
            seed,
            active,
            frozen: None,
            unsettled: false,
            known,
            read: Some(read),
            waiting: Vec::new(),
            group: Group::default(),
            elision: Elision::new(seed),
            since_checkpoint,
            settled_bytes: settled.bytes_on_disk()?,
        })
    }

    /// The lowest number that no session ever had.
    pub fn next_session(&self) -> u64 {
        self.active.next_session
    }

    /// When the broker was last known to run, by its own clock.
    pub fn alive(&self) -> Now {
        self.active.now
    }

    /// Takes what a core wants kept; it is after the next [`Store::commit`] that succeeds.
    pub fn submit(&mut self, core: ShardId, batch: Batch) {
        self.waiting.push((core, batch));
    }

    /// Whether something waits to be committed.
    pub fn has_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Keeps all that was submitted, in one step, and says so of each core's last request. When it fails, everything waits as
    /// before, and the next call tries again.
    ///
    /// # Errors
    /// Why nothing is kept.
    pub fn commit(&mut self, kept: &mut dyn FnMut(ShardId, u64)) -> Result<(), Refusing> {
        let now = self.waiting.iter().map(|(_, batch)| batch.now).max();
        let Some(now) = now else { return Ok(()) };
        self.elision.run(&mut self.waiting);
        self.group.begin(now);
        self.waiting.iter().for_each(|(_, batch)| self.group.add(batch));
        if !self.group.is_empty() {
            self.write()?;
        }
        for (core, batch) in self.waiting.drain(..) {
            let until = batch.until;
            self.active.apply(batch, &mut self.known);
            kept(core, until);
        }
        Ok(())
    }

    fn write(&mut self) -> Result<(), Refusing> {
        let refusing = |error| match error {
            JournalError::Full { .. } => Refusing::Full(error),
            error => Refusing::Failed(error),
        };
        if self.journal.is_poisoned() {
            self.journal.reopen_after_failure().map_err(refusing)?;
        }
        self.journal.append(self.group.bytes()).map_err(refusing)?;
        self.journal.commit().map_err(refusing)?;
        self.since_checkpoint += self.group.bytes().len() as u64;
        Ok(())
    }

    /// Notes that the broker runs, so that a session whose connection a crash ends is away since then. Nothing waits for it to
    /// be durable.
    pub fn heartbeat(&mut self, now: Now) {
        if self.known.is_empty() || self.journal.is_poisoned() || now <= self.active.now {
            return;
        }
        self.active.now = now;
        self.group.begin(now);
        // Without room there are other worries.
        let _ = self.journal.append(self.group.bytes());
    }

    /// Makes sure that the end of the journal can be told from a damaged one. For when the broker stops.
    pub fn close(&mut self) {
        let _ = self.journal.append(&[]).and_then(|_| self.journal.sync());
    }

    /// Why nothing new should be taken in: the store takes more than it may. What is submitted is kept all the same, since
    /// acknowledgements among it are what makes the store smaller.
    pub fn over_bound(&self) -> Option<Refusing> {
        let (bytes, max) = (self.bytes_on_disk(), self.options.bytes_max);
        (max > 0 && bytes > max).then_some(Refusing::Bound { bytes, max })
    }

    /// Whether the journal has come to the last segment that the disk has room for: what is asked for from now on may wait
    /// for long. It tries once more before it says so.
    pub fn is_on_last_segment(&mut self) -> bool {
        self.journal.prepare();
        self.journal.is_last_segment()
    }

    /// What the journal and the settled state take on disk.
    pub fn bytes_on_disk(&self) -> u64 {
        self.journal.bytes_on_disk() + self.settled_bytes
    }

    /// How many segments the journal has.
    pub fn segments(&self) -> usize {
        self.journal.segments()
    }

    /// Whether so much has gathered that it is time for a checkpoint.
    pub fn checkpoint_due(&self) -> bool {
        let bound = self.options.checkpoint_bytes;
        self.frozen.is_none() && (self.active.bytes() >= bound || self.since_checkpoint >= 2 * bound)
    }

    /// Whether so much has gathered while a checkpoint runs that nothing more should be taken in before it is done.
    pub fn is_swamped(&self) -> bool {
        self.frozen.is_some() && self.active.bytes() >= 2 * self.options.checkpoint_bytes
    }

    /// Begins a checkpoint, unless one is running or there is nothing to settle; or the one that found no room, again.
    pub fn begin_checkpoint(&mut self) -> Option<Checkpoint> {
        if std::mem::take(&mut self.unsettled) {
            return self.frozen.clone();
        }
        if self.frozen.is_some() || self.active.is_empty() && self.since_checkpoint == 0 {
            return None;
        }
        // The settled state must not be ahead of what the disk has of the journal.
        if self.journal.sync().is_err() {
            return None;
        }
        let mut next = Delta::new(self.seed);
        (next.now, next.next_session) = (self.active.now, self.active.next_session);
        let delta = Arc::new(std::mem::replace(&mut self.active, next));
        self.since_checkpoint = 0;
        self.frozen = Some(Checkpoint { delta, position: self.journal.committed() });
        self.frozen.clone()
    }

    /// The checkpoint is done, and the settled state takes so many bytes; or it found no room. Returns what is settled, whose
    /// memory somebody else is to free.
    ///
    /// # Errors
    /// When segments that are free cannot be given back.
    pub fn finish_checkpoint(&mut self, settled_bytes: Option<u64>) -> io::Result<Option<Spent>> {
        let Some(bytes) = settled_bytes else {
            self.unsettled = true;
            return Ok(None);
        };
        (self.settled_bytes, self.read) = (bytes, None);
        let settled = self.frozen.take();
        if let Some(checkpoint) = &settled {
            self.journal.free_before(checkpoint.position)?;
        }
        Ok(settled.and_then(|checkpoint| Arc::into_inner(checkpoint.delta)).map(Spent::new))
    }

    /// The settled state takes so many bytes by now.
    pub fn settled_takes(&mut self, bytes: u64) {
        self.settled_bytes = bytes;
    }

    /// Whether a checkpoint has begun and is not finished.
    pub fn is_settling(&self) -> bool {
        self.frozen.is_some()
    }

    /// Whether a checkpoint found no room and waits to be tried again.
    pub fn is_unsettled(&self) -> bool {
        self.unsettled
    }

    /// Looks for messages of a session. The rest of it is for the thread that owns the settled state.
    pub fn fetch(&self, fetch: Fetch) -> PageRead {
        let mut read = PageRead::new(fetch);
        if !self.known.contains(&fetch.session) {
            read.gone = true;
            return read;
        }
        let frozen = self.frozen.as_ref().map(|checkpoint| &*checkpoint.delta);
        let deltas = || frozen.into_iter().chain([&self.active]);
        for changes in deltas().filter_map(|delta| delta.sessions.get(&fetch.session)) {
            read.needless.extend(changes.done.range(fetch.from..));
            read.needless.extend(changes.received.range(fetch.from..));
        }
        for delta in deltas() {
            let PageRead { needless, memory, .. } = &mut read;
            delta.owed(fetch.session, fetch.from, fetch.messages_max as usize, needless, memory);
        }
        read
    }

    /// Of messages that lay in the settled state and have expired: those that their session is still owed.
    pub fn still_owed(&self, mut expired: Expired) -> Expired {
        let Expired { session, places, .. } = &mut expired;
        let frozen = self.frozen.as_ref().map(|checkpoint| &*checkpoint.delta);
        let deltas = frozen.into_iter().chain([&self.active]);
        let changes: Vec<_> = deltas.filter_map(|delta| delta.sessions.get(session)).collect();
        let known = self.known.contains(session);
        places.retain(|place| {
            let gone = |changes: &&Changes| {
                changes.ended || changes.done.contains(&place.seq) || changes.received.contains(&place.seq)
            };
            known && !changes.iter().any(gone)
        });
        expired
    }

    /// How many messages, sessions' changes included, are in memory.
    pub fn bytes_in_memory(&self) -> u64 {
        self.active.bytes() + self.frozen.as_ref().map_or(0, |checkpoint| checkpoint.delta.bytes())
    }
}
