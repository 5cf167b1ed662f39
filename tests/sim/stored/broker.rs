//! A life of the broker: engines, their links to each other and to the store, and the store's threads; from its start, with
//! what is given back, to its end.

use super::keeper::{Committer, Keeper};
use crate::dice::index;
use crate::oracle::Verdict;
use crate::shard::{self, Item, Placement, Shard};
use bytes::BytesMut;
use pantala::engine::{Restored, Setup, StoreState};
use pantala::types::{ConnKey, HashSeed, Limits, Now, Rng, ShardId};
use std::collections::VecDeque;

/// A connection between a client and a core.
#[derive(Debug)]
pub(super) struct Wire {
    pub(super) client: usize,
    pub(super) core: usize,
    pub(super) key: ConnKey,
    /// What the client said and the core has not read.
    pub(super) up: VecDeque<BytesMut>,
    /// The client is gone.
    pub(super) hung_up: bool,
}

/// How far a core's start and end have come.
#[derive(Clone, Debug, Default)]
pub(super) struct Phase {
    restored: bool,
    settled: bool,
    others_settled: usize,
    pub(super) serving: bool,
    pub(super) last_words: usize,
    pub(super) shut_down: bool,
}

/// From a start to an end.
pub(super) struct Life {
    pub(super) shards: Vec<Shard>,
    pub(super) phases: Vec<Phase>,
    /// By sender and receiver, the store last: batches on the way.
    links: Vec<Vec<VecDeque<Vec<Item>>>>,
    pub(super) committer: Committer,
    pub(super) placement: Placement,
    pub(super) wires: Vec<Wire>,
}

pub(super) fn shard_id(at: usize) -> ShardId {
    ShardId(u16::try_from(at).expect("few shards"))
}

impl Life {
    pub(super) fn start(
        keeper: &mut Keeper,
        count: usize,
        limits: &Limits,
        rng: &mut Rng,
    ) -> Verdict<(Self, Vec<Restored>)> {
        let (seed, shards) = (HashSeed(rng.next_u64()), shard_id(count).0);
        let (committer, all) = keeper.start(seed, shards)?;
        let setup = |shard| Setup {
            store: StoreState::Ready,
            first_session: committer.next_session(),
            ..Setup::new(ShardId(shard), shards, limits.clone(), seed)
        };
        let life = Self {
            shards: (0..shards).map(|shard| Shard::new(setup(shard))).collect(),
            phases: vec![Phase::default(); count],
            links: (0..=count).map(|_| (0..=count).map(|_| VecDeque::new()).collect()).collect(),
            committer,
            placement: Placement { seed, shards },
            wires: Vec::new(),
        };
        Ok((life, all))
    }

    /// Whether a client finds somebody who accepts it.
    pub(super) fn accepts(&self) -> bool {
        self.phases.iter().any(|phase| phase.serving)
    }

    pub(super) fn is_stopping(&self) -> bool {
        self.phases.iter().any(|phase| phase.last_words > 0 || phase.shut_down)
    }

    /// Items that have come for a core, or for the store: all that there are, or some.
    pub(super) fn arriving(&mut self, to: usize, all: bool, rng: &mut Rng) -> Vec<(usize, Item)> {
        let mut items = Vec::new();
        for (from, links) in self.links.iter_mut().enumerate() {
            let waiting = links[to].len();
            let count = if all { waiting } else { index(rng, waiting + 1) };
            let batches = links[to].drain(..count).flatten();
            items.extend(batches.map(|item| (from, item)));
        }
        items
    }

    /// What a core says to others goes on its way.
    pub(super) fn flush(&mut self, core: usize) {
        for (to, items) in self.shards[core].sink.links.iter_mut().enumerate() {
            if !items.is_empty() {
                self.links[core][to].push_back(std::mem::take(items));
            }
        }
    }

    /// The same for the store.
    pub(super) fn flush_store(&mut self) {
        let store = self.shards.len();
        for (to, item) in self.committer.outbox.drain(..) {
            self.links[store][to.index()].push_back(vec![item]);
        }
    }

    /// A turn of the thread that commits; returns what it hears.
    pub(super) fn commit(&mut self, now: Now, keeper: &mut Keeper, calm: bool, rng: &mut Rng) -> Vec<String> {
        let heard = self.arriving(self.shards.len(), calm, rng);
        let told = heard.iter().map(|(from, item)| format!("{from}: {item:?}")).collect();
        self.committer.inbox.extend(heard.into_iter().map(|(from, item)| (shard_id(from), item)));
        self.committer.turn(now, keeper, rng);
        self.flush_store();
        told
    }

    /// What a core hears of that is for nobody's engine.
    pub(super) fn note(&mut self, core: usize, item: Item) -> Verdict {
        let phase = &mut self.phases[core];
        match item {
            Item::RestoredAll => phase.restored = true,
            Item::Settled => phase.others_settled += 1,
            Item::LastWord => phase.last_words += 1,
            other => return Err(format!("core {core} hears {other:?}")),
        }
        Ok(())
    }

    /// As `Shard::serve`: clients are let in and time passes once all cores have back what the store had.
    pub(super) fn serve(&mut self, core: usize) {
        let count = self.shards.len();
        let Shard { engine, sink } = &mut self.shards[core];
        let phase = &mut self.phases[core];
        if phase.serving || !phase.restored || !engine.is_settled() {
            return;
        }
        if !std::mem::replace(&mut phase.settled, true) {
            let others = (0..count).filter(|&other| other != core);
            others.for_each(|other| sink.links[other].push(Item::Settled));
        }
        phase.serving = phase.others_settled + 1 >= count;
    }

    /// Every core says its last word: nothing more is read.
    pub(super) fn begin_stop(&mut self) {
        let count = self.shards.len();
        for core in 0..count {
            for other in (0..count).filter(|&other| other != core) {
                self.shards[core].sink.links[other].push(Item::LastWord);
            }
            self.flush(core);
        }
    }

    /// Whether all that clients sent was read, and those who are gone are known to be.
    pub(super) fn is_heard(&self) -> bool {
        let mut conns = self.shards.iter().flat_map(|shard| shard.sink.conns.iter());
        conns.all(|(_, conn)| {
            let wire = &self.wires[conn.socket];
            conn.phase == shard::Phase::Closing || wire.up.is_empty() && !wire.hung_up
        })
    }

    /// Whether all that was to be kept is.
    pub(super) fn is_kept(&self) -> bool {
        let kept = |shard: &Shard| shard.engine.is_kept() && shard.sink.links.iter().all(Vec::is_empty);
        self.links.iter().flatten().all(VecDeque::is_empty)
            && self.committer.is_idle()
            && self.shards.iter().all(kept)
    }

    /// Whether all is said and done.
    pub(super) fn is_quiet(&self) -> bool {
        let mut conns = self.shards.iter().flat_map(|shard| shard.sink.conns.iter());
        self.is_kept() && conns.all(|(_, conn)| conn.output.is_empty() && !conn.refused)
    }
}
