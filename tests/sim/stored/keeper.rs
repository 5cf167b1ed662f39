//! The store's two threads as one machine that a seed drives: the order of things is that of `src/shard/storage.rs`, and
//! when each happens is chance.

use super::broker::shard_id;
use super::bug::Bug;
use crate::oracle::Verdict;
use crate::shard::{Item, Placement};
use pantala::engine::{Engine, Fetched, Restored, RestoredSession, StoreState};
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
    pub(super) stuck: bool,
    beat: Now,
    beats: u64,
    bytes_seen: u64,
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
            stuck: false,
            beat: Now(0),
            beats: 0,
            bytes_seen: 0,
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

impl Committer {
    /// When the broker was last known to run.
    pub(super) fn alive(&self) -> Now {
        self.store.alive()
    }

    pub(super) fn next_session(&self) -> u64 {
        self.store.next_session()
    }

    fn push(&mut self, to: ShardId, item: Item) {
        self.outbox.push((to, item));
    }

    fn push_all(&mut self, item: impl Fn() -> Item) {
        for shard in (0..self.shards).map(ShardId) {
            self.push(shard, item());
        }
    }

    fn restore(&mut self, all: &[Restored], placement: Placement, (bug, before): (Option<Bug>, u16)) {
        let mut shares: Vec<Vec<Restored>> = (0..self.shards).map(|_| Vec::new()).collect();
        for restored in all {
            let owner = match restored {
                Restored::Session(session) => {
                    let owner = placement.owner(&session.stored.client_id);
                    ShardId(u16::try_from(owner).expect("few shards"))
                }
                Restored::Retained(message) => {
                    Engine::keeper_of(placement.seed, self.shards, message.topic())
                }
            };
            let Some(restored) = Bug::misread(bug, restored) else { continue };
            shares[owner.index()].push(restored);
        }
        if bug == Some(Bug::CoreForgotten) && before > self.shards {
            shares[0].clear();
        }
        for (owner, mut share) in (0..).map(ShardId).zip(shares) {
            while !share.is_empty() {
                let rest = share.split_off(share.len().min(RESTORED_MAX));
                self.push(owner, Item::Restored(std::mem::replace(&mut share, rest)));
            }
            self.push(owner, Item::RestoredAll);
        }
    }

    /// A turn of the thread that commits.
    pub(super) fn turn(&mut self, now: Now, keeper: &mut Keeper, rng: &mut Rng) {
        self.hear(keeper.bug, rng);
        self.results(keeper, rng);
        self.commit(keeper);
        if self.store.bytes_on_disk() > self.bytes_seen {
            self.look_at_disk(keeper);
        }
        if self.store.checkpoint_due() {
            self.checkpoint();
        }
        self.beat(now, keeper);
    }

    fn hear(&mut self, bug: Option<Bug>, rng: &mut Rng) {
        if self.store.is_swamped() && !self.store.is_unsettled() {
            return;
        }
        for _ in 0..BUDGET {
            let Some((from, item)) = self.inbox.pop_front() else { return };
            match item {
                Item::Persist(batch) if bug == Some(Bug::KeptTooLate) => {
                    self.push(from, Item::Durable(batch.until));
                    let before = std::mem::replace(&mut self.late, vec![(from, Item::Persist(batch))]);
                    for (from, item) in before {
                        if let Item::Persist(batch) = item {
                            self.store.submit(from, batch);
                        }
                    }
                }
                Item::Persist(batch) => {
                    if bug == Some(Bug::SaidTooEarly) {
                        self.push(from, Item::Durable(batch.until));
                    }
                    self.store.submit(from, batch);
                }
                Item::Fetch(fetch) => {
                    let read = self.store.fetch(fetch);
                    self.jobs.push_back(Job::Read(from, read));
                }
                other => unreachable!("{other:?} is not for the store"),
            }
            if rng.chance(1, 20) {
                return;
            }
        }
    }

    fn results(&mut self, keeper: &mut Keeper, rng: &mut Rng) {
        while let Some(done) = self.results.pop_front() {
            match done {
                Done::Read(to, mut fetched) => {
                    if keeper.bug == Some(Bug::AnswerCut) && fetched.messages.len() > 1 && rng.chance(1, 2) {
                        fetched.messages.remove(0);
                    }
                    self.push(to, Item::Fetched(fetched));
                }
                Done::Settled(bytes) => {
                    keeper.unflushed = false;
                    // Segments that cannot be given back now are found at the next start.
                    let _ = self.store.finish_checkpoint(bytes);
                    if bytes.is_none() {
                        self.refuse();
                    }
                }
            }
        }
    }

    fn commit(&mut self, keeper: &mut Keeper) {
        if !self.store.has_waiting() {
            return;
        }
        let (outbox, mut said) = (&mut self.outbox, 0u64);
        let silent = matches!(keeper.bug, Some(Bug::KeptTooLate | Bug::SaidTooEarly));
        let committed = self.store.commit(&mut |core, until| {
            said += 1;
            let lost = keeper.bug == Some(Bug::AnswerLost) && until.is_multiple_of(7);
            if !silent && !lost {
                outbox.push((core, Item::Durable(until)));
            }
        });
        match committed {
            Ok(()) => {
                self.stuck = false;
                keeper.commits += 1;
            }
            Err(_) => {
                self.refuse();
                if !std::mem::replace(&mut self.stuck, true) {
                    self.push_all(|| Item::StoreStuck);
                }
            }
        }
    }

    fn refuse(&mut self) {
        if self.state == StoreState::Ready {
            self.tell(StoreState::Refusing);
        }
    }

    fn tell(&mut self, state: StoreState) {
        self.state = state;
        self.push_all(|| Item::StoreIs(state));
    }

    fn checkpoint(&mut self) {
        if let Some(checkpoint) = self.store.begin_checkpoint() {
            self.jobs.push_back(Job::Settle(checkpoint));
        }
    }

    fn beat(&mut self, now: Now, keeper: &Keeper) {
        if now < self.beat {
            return;
        }
        self.beat = now + BEAT;
        self.beats += 1;
        self.look_at_disk(keeper);
        if self.store.is_unsettled() || self.state == StoreState::Refusing {
            self.checkpoint();
        }
        if self.beats.is_multiple_of(NOTED) {
            self.store.heartbeat(now);
        }
    }

    fn look_at_disk(&mut self, keeper: &Keeper) {
        self.bytes_seen = self.store.bytes_on_disk();
        let (low, over) = (keeper.is_short(), self.store.over_bound().is_some());
        match self.state {
            StoreState::Ready if over || low => self.tell(StoreState::Refusing),
            StoreState::Refusing
                if !low && !over && !self.store.has_waiting() && !self.store.is_unsettled() =>
            {
                self.tell(StoreState::Ready);
            }
            _ => {}
        }
    }

    /// A turn of the thread that owns the settled state: it does one thing.
    pub(super) fn settle(&mut self, keeper: &mut Keeper) -> Verdict {
        let Some(job) = self.jobs.pop_front() else { return Ok(()) };
        let failed = |error| format!("the settled state failed: {error}");
        let done = match job {
            Job::Settle(_) if keeper.free_bytes() < RESERVE / RESERVE_PART => Done::Settled(None),
            Job::Settle(_) if keeper.bug == Some(Bug::NothingSettled) => Done::Settled(Some(0)),
            Job::Settle(checkpoint) => {
                checkpoint.run(&mut keeper.settled).map_err(failed)?;
                keeper.unflushed = true;
                Done::Settled(Some(keeper.settled.bytes_on_disk().map_err(failed)?))
            }
            Job::Read(to, read) => {
                Done::Read(to, read.run(&keeper.settled, &mut self.reading).map_err(failed)?)
            }
        };
        self.results.push_back(done);
        Ok(())
    }

    pub(super) fn has_jobs(&self) -> bool {
        !self.jobs.is_empty()
    }

    /// Whether everything that was asked for is kept and answered.
    pub(super) fn is_idle(&self) -> bool {
        self.inbox.is_empty()
            && self.outbox.is_empty()
            && self.jobs.is_empty()
            && self.results.is_empty()
            && !self.store.has_waiting()
            && !self.store.is_settling()
    }

    /// The cores have stopped: everything is kept, and settled.
    pub(super) fn finish(
        &mut self,
        heard: Vec<(usize, Item)>,
        keeper: &mut Keeper,
        rng: &mut Rng,
    ) -> Verdict {
        self.inbox.extend(heard.into_iter().map(|(from, item)| (shard_id(from), item)));
        self.hear(keeper.bug, rng);
        self.commit(keeper);
        while self.store.is_settling() && !self.store.is_unsettled() {
            self.settle(keeper)?;
            self.results(keeper, rng);
        }
        if self.store.is_unsettled() || !self.store.is_settling() {
            self.checkpoint();
            while !self.jobs.is_empty() {
                self.settle(keeper)?;
                self.results(keeper, rng);
            }
        }
        self.store.close();
        keeper.unflushed = false;
        Ok(())
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
