//! A run of the store: what its two threads do, in the order in which they do it.

use super::{BEAT, BUDGET, Committer, Done, Job, Keeper, NOTED, RESERVE, RESERVE_PART, RESTORED_MAX};
use crate::oracle::Verdict;
use crate::shard::{Item, Placement};
use crate::stored::broker::shard_id;
use crate::stored::bug::Bug;
use pantala::engine::{Engine, Restored, StoreState};
use pantala::store::Settled;
use pantala::types::{Now, Rng, ShardId};

impl Committer {
    /// When the broker was last known to run.
    pub(in crate::stored) fn alive(&self) -> Now {
        self.store.alive()
    }

    pub(in crate::stored) fn next_session(&self) -> u64 {
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

    pub(super) fn restore(
        &mut self,
        all: &[Restored],
        placement: Placement,
        (bug, before): (Option<Bug>, u16),
    ) {
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
    pub(in crate::stored) fn turn(&mut self, now: Now, keeper: &mut Keeper, rng: &mut Rng) {
        self.hear(keeper.bug, rng);
        self.results(keeper, rng);
        self.commit(keeper);
        if self.takes() != self.seen {
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
        self.has_refused |= state == StoreState::Refusing;
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
        if self.stuck {
            self.push_all(|| Item::StoreStuck);
        }
        if self.store.is_unsettled() || self.state == StoreState::Refusing {
            self.checkpoint();
        }
        if self.beats.is_multiple_of(NOTED) {
            self.store.heartbeat(now);
        }
    }

    fn takes(&self) -> (usize, u64) {
        (self.store.segments(), self.store.bytes_on_disk())
    }

    fn look_at_disk(&mut self, keeper: &Keeper) {
        self.seen = self.takes();
        let over = self.store.over_bound().is_some() || self.store.is_on_last_segment();
        let low = keeper.is_short();
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
    pub(in crate::stored) fn settle(&mut self, keeper: &mut Keeper) -> Verdict {
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

    pub(in crate::stored) fn has_jobs(&self) -> bool {
        !self.jobs.is_empty()
    }

    /// Whether everything that was asked for is kept and answered.
    pub(in crate::stored) fn is_idle(&self) -> bool {
        self.inbox.is_empty()
            && self.outbox.is_empty()
            && self.jobs.is_empty()
            && self.results.is_empty()
            && !self.store.has_waiting()
            && !self.store.is_settling()
    }

    /// The cores have stopped: everything is kept, and settled.
    pub(in crate::stored) fn finish(
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
