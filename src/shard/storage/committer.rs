//! The thread that commits what the shards ask for, and watches over the space on the disk.

use super::StorePlan;
use super::settler::{Done, Job};
use crate::engine::{Engine, Expired, Restored, StoreState};
use crate::mesh::Port;
use crate::shard::placement::Placement;
use crate::shard::{Clock, Item};
use crate::store::{RealDisk, Refusing, SledSettled, Store, free_bytes, take_request};
use crate::types::{HashSeed, Now, ShardId, Span};
use crossbeam_channel::{Receiver, Sender};
use rustix::event::{PollFd, PollFlags, Timespec, epoll, poll};
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::PathBuf;
use tracing::{error, info, warn};

/// What an event of the epoll set is about.
const OTHERS: u64 = 0;
const STOP: u64 = 1;
const EVENTS: usize = 4;
/// Items taken from the shards per turn.
const BUDGET: usize = 65_536;
/// How often the store notes that the broker runs, looks at the free space, and tries again what failed.
const BEAT: Span = Span::from_secs(1);
/// Every so many of them are noted in the journal.
const NOTED: u64 = 10;
/// While nothing is taken for want of space, so often what the settled state does not need is given back.
const GIVEN_BACK: u64 = 5;
/// What one message restores at most.
const RESTORED_MAX: usize = 128;
/// The thread that commits.
pub(super) struct Committer {
    port: Port<Item>,
    placement: Placement,
    seed: HashSeed,
    shards: u16,
    store: Store<RealDisk>,
    jobs: Sender<Job>,
    results: Receiver<Done>,
    /// The doorbell, the other thread's bell, and what is raised when the shards have stopped.
    epoll: OwnedFd,
    clock: Clock,
    plan: StorePlan,
    state: StoreState,
    /// By shard: its last request that is kept.
    kept: Vec<u64>,
    /// When the next beat is due, and how many there were.
    beat: Now,
    beats: u64,
    /// What [`Committer::takes`] was when the free space was last looked at.
    seen: (usize, u64),
    stopping: bool,
    /// The last commit failed.
    stuck: bool,
    /// A file that an operator wants everything in.
    export: Option<PathBuf>,
}

impl Committer {
    /// It sleeps until its port, the other thread's bell or the last bell of all rings, which means to stop.
    ///
    /// # Errors
    /// Out of descriptors.
    pub(super) fn new(
        (plan, store): (StorePlan, Store<RealDisk>),
        port: Port<Item>,
        (seed, shards): (HashSeed, u16),
        clock: Clock,
        (jobs, results): (Sender<Job>, Receiver<Done>),
        [bell, stop]: [BorrowedFd<'_>; 2],
    ) -> std::io::Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let (edge, level) = (epoll::EventFlags::IN | epoll::EventFlags::ET, epoll::EventFlags::IN);
        for (fd, flags, data) in [(port.doorbell(), edge, OTHERS), (bell, edge, OTHERS), (stop, level, STOP)]
        {
            epoll::add(&epoll, fd, epoll::EventData::new_u64(data), flags)?;
        }
        Ok(Self {
            port,
            epoll,
            placement: Placement::new(seed, shards),
            seed,
            shards,
            store,
            jobs,
            results,
            clock,
            plan,
            state: StoreState::Ready,
            kept: vec![0; usize::from(shards)],
            beat: Now(0),
            beats: 0,
            seen: (0, 0),
            stopping: false,
            stuck: false,
            export: None,
        })
    }

    /// Gives back to each shard what is its own.
    ///
    /// # Errors
    /// When the settled state cannot be read.
    pub(super) fn restore(&mut self, settled: &SledSettled) -> std::io::Result<()> {
        let mut shares: Vec<Vec<Restored>> =
            std::iter::repeat_with(Vec::new).take(usize::from(self.shards)).collect();
        let Self { port, placement, seed, shards, store, .. } = self;
        let (mut sessions, mut retained) = (0u64, 0u64);
        store.restore(settled, &mut |restored| {
            let owner = match &restored {
                Restored::Session(session) => {
                    sessions += 1;
                    placement.owner(&session.stored.client_id)
                }
                Restored::Retained(message) => {
                    retained += 1;
                    Engine::keeper_of(*seed, *shards, message.topic())
                }
            };
            let share = &mut shares[owner.index()];
            share.push(restored);
            if share.len() >= RESTORED_MAX {
                port.push(owner, Item::Restored(std::mem::take(share)));
                flush_all(port);
            }
        })?;
        for (owner, share) in (0..).map(ShardId).zip(shares) {
            self.port.push(owner, Item::Restored(share));
            self.port.push(owner, Item::RestoredAll);
        }
        flush_all(&mut self.port);
        info!(path = %self.plan.path.display(), sessions, retained, "store opened");
        Ok(())
    }

    /// Does what is asked for until all who ask have stopped, and everything is kept.
    pub(super) fn run(&mut self) {
        while !self.stopping || self.store.has_waiting() && self.state == StoreState::Ready {
            self.hear();
            self.results();
            self.commit();
            if self.takes() != self.seen {
                // Within a beat a fast disk could take the whole reserve, without which nothing can be settled.
                self.look_at_disk();
            }
            if self.store.checkpoint_due() {
                self.checkpoint();
            }
            self.beat();
            self.export();
            self.port.flush();
            self.wait();
        }
        self.finish();
    }

    /// Takes what the shards want, unless too much waits to be settled.
    fn hear(&mut self) {
        // Without room to settle, what was handed over is still committed: the shards hand over nothing more then.
        if self.store.is_swamped() && !self.store.is_unsettled() {
            return;
        }
        let Self { port, store, jobs, .. } = self;
        port.drain(BUDGET, &mut |from, item| match item {
            Item::Persist(batch) => store.submit(from, *batch),
            Item::Fetch(fetch) => {
                // As in `do_next`.
                let _ = jobs.send(Job::Read(from, store.fetch(fetch)));
            }
            _ => {}
        });
    }

    fn results(&mut self) {
        while let Ok(done) = self.results.try_recv() {
            self.take(done);
        }
    }

    /// Takes what the other thread has done.
    fn take(&mut self, done: Done) {
        match done {
            Done::Read(to, fetched) => self.port.push(to, Item::Fetched(Box::new(fetched))),
            Done::Settled(bytes) => {
                match self.store.finish_checkpoint(bytes) {
                    Ok(settled) => settled.into_iter().for_each(|settled| self.do_next(Job::Free(settled))),
                    Err(error) => warn!(%error, "segments of the journal cannot be removed"),
                }
                if bytes.is_none() {
                    self.refuse(&Refusing::Unsettled);
                }
            }
            Done::Expired(all) => all.into_iter().for_each(|expired| self.expired(expired)),
            Done::GivenBack(bytes) => self.store.settled_takes(bytes),
        }
    }

    /// Tells the core of a session what of it has expired.
    fn expired(&mut self, expired: Expired) {
        let owner = self.placement.owner(&expired.client_id);
        let expired = Expired { until: self.kept[owner.index()], ..self.store.still_owed(expired) };
        if !expired.places.is_empty() {
            self.port.push(owner, Item::Expired(Box::new(expired)));
        }
    }

    fn commit(&mut self) {
        let (port, all) = (&mut self.port, &mut self.kept);
        let kept = &mut |core: ShardId, until| {
            all[core.index()] = until;
            port.push(core, Item::Durable(until));
        };
        match self.store.commit(kept) {
            Ok(()) => self.stuck = false,
            Err(refusing) => {
                self.refuse(&refusing);
                if !std::mem::replace(&mut self.stuck, true) {
                    self.announce(|| Item::StoreStuck);
                }
            }
        }
    }

    fn refuse(&mut self, why: &Refusing) {
        if self.state == StoreState::Ready {
            error!(path = %self.plan.path.display(), %why, "nothing more is kept: messages for stored sessions are refused");
            self.tell(StoreState::Refusing);
        }
    }

    fn tell(&mut self, state: StoreState) {
        self.state = state;
        self.announce(|| Item::StoreIs(state));
    }

    fn announce(&mut self, item: impl Fn() -> Item) {
        for shard in (0..self.shards).map(ShardId) {
            self.port.push(shard, item());
        }
    }

    fn checkpoint(&mut self) {
        if let Some(checkpoint) = self.store.begin_checkpoint() {
            self.do_next(Job::Settle(checkpoint));
        }
    }

    fn do_next(&self, job: Job) {
        // The other thread ends after this one.
        let _ = self.jobs.send(job);
    }

    /// Has all that is kept by now written to the file that was asked for, once a checkpoint can begin.
    fn export(&mut self) {
        if self.store.is_settling() {
            return;
        }
        if let Some(file) = self.export.take() {
            self.checkpoint();
            self.do_next(Job::Export(file));
        }
    }

    /// What is to be done now and then.
    fn beat(&mut self) {
        let now = self.clock.now();
        if now < self.beat {
            return;
        }
        self.beat = now + BEAT;
        self.beats += 1;
        self.look_at_disk();
        if self.stuck {
            // Who has begun to wait since then is to know as well.
            self.announce(|| Item::StoreStuck);
        }
        self.export = self.export.take().or_else(|| take_request(&self.plan.path));
        if self.store.is_unsettled() || self.state == StoreState::Refusing {
            if self.beats.is_multiple_of(GIVEN_BACK) {
                self.do_next(Job::GiveBack);
            }
            self.checkpoint();
        }
        self.do_next(Job::Sweep(now));
        if self.beats.is_multiple_of(NOTED) {
            self.store.heartbeat(now);
        }
    }

    /// The journal's segments, and what the store takes on disk: a segment that was made ahead is there before it counts.
    fn takes(&self) -> (usize, u64) {
        (self.store.segments(), self.store.bytes_on_disk())
    }

    /// Takes nothing more when the free space is less than the reserve, and goes on when it is not any more.
    fn look_at_disk(&mut self) {
        self.seen = self.takes();
        let free = free_bytes(&self.plan.path);
        let low = free.as_ref().is_ok_and(|free| *free < self.plan.reserve_bytes);
        let filling = self.store.is_on_last_segment().then_some(Refusing::Filling);
        let over = self.store.over_bound().or(filling);
        match self.state {
            StoreState::Ready if over.is_some() => over.iter().for_each(|over| self.refuse(over)),
            StoreState::Ready if low => {
                error!(
                    path = %self.plan.path.display(),
                    free = free.unwrap_or(0),
                    reserve = self.plan.reserve_bytes,
                    "the disk is nearly full: messages for stored sessions are refused"
                );
                self.tell(StoreState::Refusing);
            }
            StoreState::Refusing
                if !low && over.is_none() && !self.store.has_waiting() && !self.store.is_unsettled() =>
            {
                info!(path = %self.plan.path.display(), "the store takes messages again");
                self.tell(StoreState::Ready);
            }
            _ => {}
        }
    }

    /// Sleeps until a shard or the other thread has something, or the next beat.
    fn wait(&mut self) {
        let failed = self.store.has_waiting();
        if !self.port.prepare_sleep() && !failed && !self.store.is_swamped() {
            self.port.awake();
            return;
        }
        let span = self.beat - self.clock.now();
        let timeout = Timespec {
            tv_sec: i64::try_from(span.as_secs()).unwrap_or(1),
            tv_nsec: i64::try_from(span.0 % 1_000).unwrap_or(0) * 1_000_000,
        };
        let mut events = [const { MaybeUninit::uninit() }; EVENTS];
        // It fails only when interrupted, and then everything is looked at once more.
        if let Ok((happened, _)) = epoll::wait(&self.epoll, &mut events, Some(&timeout)) {
            self.stopping |= happened.iter().any(|event| event.data.u64() == STOP);
        }
        self.port.awake();
    }

    /// The shards have stopped: what they asked for is kept, and settled so that the next start is short.
    fn finish(&mut self) {
        self.hear();
        self.commit();
        self.await_checkpoint();
        self.checkpoint();
        self.await_checkpoint();
        self.store.close();
    }

    /// Waits until no checkpoint runs any more, or it turns out that there is no room for one.
    fn await_checkpoint(&mut self) {
        while self.store.is_settling() && !self.store.is_unsettled() {
            let Ok(done) = self.results.recv() else { return };
            self.take(done);
        }
    }
}

/// Sends everything, however long a shard takes.
fn flush_all(port: &mut Port<Item>) {
    port.flush();
    while port.congested() {
        if port.prepare_sleep() {
            let mut fds = [PollFd::from_borrowed_fd(port.doorbell(), PollFlags::IN)];
            // Interrupted or not, it is tried again.
            let _ = poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 10_000_000 }));
        }
        port.awake();
        port.flush();
    }
}
