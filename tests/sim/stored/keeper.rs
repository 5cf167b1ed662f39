//! The store's two threads as one machine that a seed drives: the order of things is that of `src/shard/storage/`, and
//! when each happens is chance.

mod committer;

use super::bug::Bug;
use crate::oracle::Verdict;
use crate::shard::{Item, Placement};
use pantala::engine::{Fetched, Restored, RestoredSession, StoreState};
use pantala::store::{
    Checkpoint, Entry, Lasting, MemorySettled, Options, PageRead, Reading, Settled, SimDisk, Store, SyncMode,
    Tree,
};
use pantala::types::{HashSeed, Now, Rng, ShardId, Span};
use std::collections::VecDeque;

/// As in the broker.
const BEAT: Span = Span::from_secs(1);
const NOTED: u64 = 10;
/// What one message restores at most: small, so that there are several.
const RESTORED_MAX: usize = 2;
/// Items taken per turn at most.
const BUDGET: usize = 64;
/// With less free space than this nothing more is taken, and with less than a part of it nothing can be settled.
const RESERVE: u64 = 40 << 10;
const RESERVE_PART: u64 = 2;

/// Something for the thread that owns the settled state.
enum Job {
    Settle(Checkpoint),
    Read(ShardId, PageRead),
}

/// What became of it.
enum Done {
    Settled(Option<u64>),
    Read(ShardId, Fetched),
}

/// What outlives the process.
pub(super) struct Keeper {
    pub(super) disk: SimDisk,
    pub(super) settled: MemorySettled,
    pub(super) options: Options,
    capacity: u64,
    bug: Option<Bug>,
    /// Groups that were kept.
    pub(super) commits: u64,
    /// Cores of the last run.
    shards: u16,
    /// Settled, but not said so: a power cut may take it back.
    unflushed: bool,
}

/// A run of the store.
pub(super) struct Committer {
    store: Store<SimDisk>,
    reading: Reading,
    /// What the cores said and is not heard, in the order in which it came.
    pub(super) inbox: VecDeque<(ShardId, Item)>,
    /// What is said to the cores.
    pub(super) outbox: Vec<(ShardId, Item)>,
    jobs: VecDeque<Job>,
    results: VecDeque<Done>,
    shards: u16,
    pub(super) state: StoreState,
    /// It took nothing for a while.
    pub(super) has_refused: bool,
    pub(super) stuck: bool,
    beat: Now,
    beats: u64,
    /// The journal's segments and what the store took when the free space was last looked at.
    seen: (usize, u64),
    /// A seeded bug: the group that is kept one commit too late.
    late: Vec<(ShardId, Item)>,
}

impl Keeper {
    pub(super) fn new(seed: u64, bug: Option<Bug>, rng: &mut Rng) -> Self {
        let mut options = Options {
            sync: if rng.chance(1, 5) { SyncMode::Os } else { SyncMode::Disk },
            segment_bytes: *rng.pick(&[4 << 10, 16 << 10]),
            checkpoint_bytes: *rng.pick(&[1 << 10, 8 << 10, 64 << 10]),
            bytes_max: *rng.pick(&[0, 0, 0, 100 << 10]),
        };
        if bug.is_some_and(Bug::needs_cuts) {
            options.sync = SyncMode::Disk;
        }
        let (disk, settled) = (SimDisk::new(seed), MemorySettled::default());
        let (commits, shards) = (0, 0);
        Self { disk, settled, options, capacity: u64::MAX, bug, commits, shards, unflushed: false }
    }

    pub(super) fn may_cut(&self) -> bool {
        self.options.sync == SyncMode::Disk
    }

    /// The process is gone, or the power: what of a checkpoint was under way is there or not.
    pub(super) fn crash(&mut self, committer: &Committer, cut: bool, rng: &mut Rng) {
        if let Some(Job::Settle(checkpoint)) = committer.jobs.front()
            && rng.chance(1, 2)
        {
            self.settled.fail_next(*rng.pick(&[Lasting::Gone, Lasting::There]));
            // The process has no use for what it says.
            let _ = checkpoint.run(&mut self.settled);
        }
        if cut {
            self.disk.cut();
            if std::mem::take(&mut self.unflushed) && rng.chance(1, 2) {
                self.settled.roll_back();
            }
        }
        self.unflushed = false;
    }

    /// Opens the store for another run and hands each core what is its own.
    pub(super) fn start(&mut self, seed: HashSeed, shards: u16) -> Verdict<(Committer, Vec<Restored>)> {
        let mut options = self.options;
        if self.bug == Some(Bug::SyncForgotten) {
            options.sync = SyncMode::Os;
        }
        let disk = self.disk.clone();
        let store = match self.bug {
            Some(Bug::PositionForgotten) => {
                let mut settled = Forgetful(&mut self.settled);
                Store::open(disk, &mut settled, options, seed, 0x5eed)
            }
            _ => Store::open(disk, &mut self.settled, options, seed, 0x5eed),
        };
        let mut store = store.map_err(|error| format!("the store does not open: {error}"))?;
        let mut all = Vec::new();
        let restored = store.restore(&self.settled, &mut |restored| all.push(restored));
        restored.map_err(|error| format!("the settled state cannot be read: {error}"))?;
        let mut committer = Committer {
            store,
            reading: Reading::default(),
            inbox: VecDeque::new(),
            outbox: Vec::new(),
            jobs: VecDeque::new(),
            results: VecDeque::new(),
            shards,
            state: StoreState::Ready,
            has_refused: false,
            stuck: false,
            beat: Now(0),
            beats: 0,
            seen: (0, 0),
            late: Vec::new(),
        };
        let before = std::mem::replace(&mut self.shards, shards);
        committer.restore(&all, Placement { seed, shards }, (self.bug, before));
        Ok((committer, all))
    }

    /// All that is settled in one of the trees.
    pub(super) fn tree(&self, tree: Tree) -> Vec<Entry> {
        self.settled.scan(tree, &[], usize::MAX).expect("memory")
    }

    fn free_bytes(&self) -> u64 {
        let settled = self.settled.bytes_on_disk().expect("memory");
        self.disk.free_bytes().saturating_sub(settled)
    }

    /// Leaves so much free space, or any.
    pub(super) fn leave_free(&mut self, bytes: Option<u64>) {
        let used = self.capacity.saturating_sub(self.free_bytes());
        self.capacity = bytes.map_or(u64::MAX, |bytes| used + bytes);
        self.disk.set_capacity(self.capacity);
    }

    /// Whether the disk is as small as it was made.
    pub(super) fn is_short(&self) -> bool {
        self.free_bytes() < RESERVE
    }
}

/// A seeded bug: the settled state as if it did not know how far in the journal it is.
struct Forgetful<'a>(&'a mut MemorySettled);

impl Settled for Forgetful<'_> {
    fn position(&self) -> u64 {
        0
    }

    fn apply(
        &mut self,
        changes: &mut dyn Iterator<Item = pantala::store::Change>,
        position: u64,
    ) -> std::io::Result<()> {
        self.0.apply(changes, position)
    }

    fn get(&self, tree: Tree, key: &[u8]) -> std::io::Result<Option<bytes::Bytes>> {
        self.0.get(tree, key)
    }

    fn scan(&self, tree: Tree, from: &[u8], limit: usize) -> std::io::Result<Vec<Entry>> {
        self.0.scan(tree, from, limit)
    }

    fn bytes_on_disk(&self) -> std::io::Result<u64> {
        self.0.bytes_on_disk()
    }
}

/// What a session was restored with, without what a seeded bug loses of it.
pub(super) fn without(session: &RestoredSession, lost: impl FnOnce(&mut RestoredSession)) -> Restored {
    let mut session = session.clone();
    lost(&mut session);
    Restored::Session(Box::new(session))
}
