//! A store in memory, and cores that it outlives.

use super::*;
use crate::session::{Backlog, Subscription};
use crate::types::SessionId;
use std::collections::{BTreeMap, BTreeSet};

/// What is kept of one session.
#[derive(Default)]
struct Kept {
    terms: Option<StoredSession>,
    subscriptions: BTreeMap<Box<str>, Subscription>,
    owed: BTreeMap<u64, (Recipient, Arc<Message>)>,
    received: BTreeSet<u64>,
}

/// The store.
#[derive(Default)]
pub(super) struct Shelf {
    sessions: BTreeMap<SessionId, Kept>,
}

impl Shelf {
    /// How much its sessions are owed or have not completed.
    pub(super) fn owed(&self) -> usize {
        self.sessions.values().map(|kept| kept.owed.len() + kept.received.len()).sum()
    }

    /// How many sessions it has.
    pub(super) fn sessions(&self) -> usize {
        self.sessions.len()
    }

    fn apply(&mut self, batch: Batch) {
        for op in batch.ops {
            self.apply_one(op, &batch.to);
        }
    }

    fn apply_one(&mut self, op: PersistOp, all: &[Recipient]) {
        match op {
            PersistOp::Session(terms) => {
                let id = terms.id;
                self.sessions.entry(id).or_default().terms = Some(*terms);
            }
            PersistOp::End(id) => drop(self.sessions.remove(&id)),
            PersistOp::Subscribe { session, filter, subscription } => self.change(session, |kept| {
                kept.subscriptions.insert(filter, subscription);
            }),
            PersistOp::Unsubscribe { session, filter } => self.change(session, |kept| {
                kept.subscriptions.remove(&filter);
            }),
            PersistOp::Message { message, to, instead_of, .. } => {
                instead_of.into_iter().for_each(|place| self.done(place));
                for to in &all[to.start as usize..to.end as usize] {
                    let Some(session) = to.session else { continue };
                    let owed = (to.clone(), Arc::clone(&message));
                    self.change(session, |kept| drop(kept.owed.insert(to.seq, owed)));
                }
            }
            PersistOp::Done(place) => self.done(place),
            PersistOp::Received(place) => self.change(place.session, |kept| {
                kept.owed.remove(&place.seq);
                kept.received.insert(place.seq);
            }),
            PersistOp::Nothing
            | PersistOp::Inbound { .. }
            | PersistOp::Released { .. }
            | PersistOp::Retain(_) => {}
        }
    }

    fn change(&mut self, session: SessionId, change: impl FnOnce(&mut Kept)) {
        if let Some(kept) = self.sessions.get_mut(&session) {
            change(kept);
        }
    }

    fn done(&mut self, place: Place) {
        self.change(place.session, |kept| {
            kept.owed.remove(&place.seq);
            kept.received.remove(&place.seq);
        });
    }

    /// Few at a time, so that it takes several times.
    fn answer(&self, fetch: Fetch) -> Fetched {
        let Fetch { key, session, from, messages_max, .. } = fetch;
        let owed = self.sessions.get(&session).into_iter().flat_map(|kept| kept.owed.range(from..));
        let messages = owed.map(|(_, owed)| owed.clone()).take(messages_max.min(3) as usize).collect();
        Fetched { key, session, messages }
    }

    fn restored(&self) -> Vec<RestoredSession> {
        let restored = |kept: &Kept| {
            let stored = kept.terms.clone()?;
            let highest = kept.owed.keys().chain(&kept.received).max().map_or(0, |seq| seq + 1);
            let bytes =
                kept.owed.values().map(|(_, message)| message.size() as u64 + crate::session::ENTRY_BYTES);
            Some(RestoredSession {
                stored: StoredSession { next_seq: stored.next_seq.max(highest), ..stored },
                alive: Now(0),
                subscriptions: kept.subscriptions.clone().into_iter().collect(),
                inbound: Vec::new(),
                received: kept.received.iter().copied().collect(),
                backlog: Backlog { from: 0, messages: kept.owed.len() as u64, bytes: bytes.sum() },
            })
        };
        self.sessions.values().filter_map(restored).collect()
    }
}

/// A client that takes what it gets and remembers it over crashes.
#[derive(Default)]
struct Taker {
    got: Vec<u32>,
    /// Packet ids of QoS 2 messages that were not released.
    held: BTreeSet<u16>,
}

/// Cores with one store. Clients are connected to a core by a slot.
pub(super) struct Cores {
    cores: Vec<Bench>,
    pub(super) shelf: Shelf,
    limits: Limits,
    takers: BTreeMap<(usize, u32), Taker>,
    /// So many batches are made durable before the broker is killed.
    pub(super) commits_left: usize,
    /// How many were.
    pub(super) commits: usize,
    /// Batches on their way.
    handed: Vec<(usize, Batch)>,
    fetches: Vec<(usize, Fetch)>,
}

impl Cores {
    pub(super) fn new(count: u16, limits: &Limits) -> Self {
        let (commits_left, takers) = (usize::MAX, BTreeMap::new());
        let (shelf, handed, fetches) = (Shelf::default(), Vec::new(), Vec::new());
        let cores = begin(count, limits, 0);
        Self { cores, shelf, limits: limits.clone(), takers, commits_left, commits: 0, handed, fetches }
    }

    /// The broker is killed, and comes back. What was not durable is lost, and nobody is connected.
    pub(super) fn crash(&mut self) {
        let first = self.shelf.sessions.keys().last().map_or(0, |id| id.0 + 1);
        let count = u16::try_from(self.cores.len()).unwrap();
        self.cores = begin(count, &self.limits, first);
        (self.handed, self.fetches, self.commits_left) = (Vec::new(), Vec::new(), usize::MAX);
        for session in self.shelf.restored() {
            // The clients of the tests are named after their cores.
            let core = session.stored.client_id[..1].parse::<usize>().unwrap();
            let Bench { engine, fx, now } = &mut self.cores[core];
            engine.restore(*now, Restored::Session(Box::new(session)), fx);
        }
        self.settle();
    }

    /// Time passes, and begins to after a crash.
    pub(super) fn tick(&mut self, span: Span) {
        for core in &mut self.cores {
            core.now = core.now + span;
            core.engine.tick(core.now, &mut core.fx);
        }
        self.settle();
    }

    pub(super) fn lost(&mut self, core: usize, slot: u32) {
        self.cores[core].lost(slot);
        self.cores[core].taken(slot);
        self.settle();
    }

    pub(super) fn send(&mut self, core: usize, slot: u32, bytes: &[u8]) {
        let got = self.cores[core].send(slot, bytes);
        self.cores[core].fx.out.insert(slot, got);
        self.settle();
    }

    /// A client comes that takes everything. Its id begins with its core's number.
    pub(super) fn taker(&mut self, core: usize, slot: u32) {
        self.takers.entry((core, slot)).or_default();
        self.send(core, slot, &connect(&format!("{core}-{slot}"), false));
    }

    /// A member of `$share/g/t` that takes nothing.
    pub(super) fn member(&mut self, core: usize, slot: u32, qos: u8) {
        self.send(core, slot, &connect(&format!("{core}-{slot}"), false));
        self.send(core, slot, &subscribe("$share/g/t", qos));
    }

    /// The store takes nothing new.
    pub(super) fn refuse(&mut self) {
        self.cores.iter_mut().for_each(|core| core.engine.store_is(StoreState::Refusing));
    }

    /// What came to a client since the last look.
    pub(super) fn taken(&mut self, core: usize, slot: u32) -> Vec<u8> {
        self.cores[core].taken(slot)
    }

    /// What a taker took, in its order.
    pub(super) fn got(&self, core: usize, slot: u32) -> &[u32] {
        &self.takers[&(core, slot)].got
    }

    pub(super) fn report(&self, core: usize) -> Report {
        self.cores[core].engine.report()
    }

    /// Lets everything happen that can, until nothing does or the broker is to be killed.
    pub(super) fn settle(&mut self) {
        loop {
            let (mut told, mut idle) = (Vec::new(), true);
            for (at, core) in self.cores.iter_mut().enumerate() {
                core.engine.turn_end(core.now, &mut core.fx);
                told.extend(core.fx.peers.drain(..).map(|(to, message)| (at, to, message)));
                self.handed.extend(core.fx.batches.drain(..).map(|batch| (at, batch)));
                self.fetches.extend(core.fx.fetches.drain(..).map(|fetch| (at, fetch)));
            }
            for (from, to, message) in told {
                idle = false;
                let core = &mut self.cores[usize::from(to)];
                core.engine.peer(core.now, ShardId(u16::try_from(from).unwrap()), message, &mut core.fx);
            }
            idle &= !self.take() && !self.answer();
            if idle && !self.commit() {
                let lingering = self.cores.iter().any(|core| core.engine.durable.deadline().is_some());
                if !lingering || self.commits_left == 0 {
                    return;
                }
                self.cores.iter_mut().for_each(|core| core.now = core.now + Span::from_millis(10));
            }
        }
    }

    /// Makes the oldest batch durable.
    fn commit(&mut self) -> bool {
        if self.handed.is_empty() || self.commits_left == 0 {
            return false;
        }
        self.commits_left -= 1;
        self.commits += 1;
        let (core, batch) = self.handed.remove(0);
        let until = batch.until;
        self.shelf.apply(batch);
        let core = &mut self.cores[core];
        core.engine.durable(core.now, until, &mut core.fx);
        true
    }

    fn answer(&mut self) -> bool {
        let fetches = std::mem::take(&mut self.fetches);
        for &(core, fetch) in &fetches {
            let (fetched, core) = (self.shelf.answer(fetch), &mut self.cores[core]);
            core.engine.fetched(core.now, fetched, &mut core.fx);
        }
        !fetches.is_empty()
    }

    /// Takers acknowledge what they have got.
    fn take(&mut self) -> bool {
        let mut taken = false;
        let mut takers = std::mem::take(&mut self.takers);
        for (&(core, slot), taker) in &mut takers {
            let bytes = self.cores[core].taken(slot);
            let mut rest = &bytes[..];
            while let Ok(Split::Whole { frame, len }) = split(rest, 1 << 20) {
                taken = true;
                if let Some(answer) = taker.take(&decode(frame, Version::V311).unwrap()) {
                    let conn = ConnKey { slot, generation: 0 };
                    let Ok(Split::Whole { frame, .. }) = split(&answer, 1 << 20) else { panic!("whole") };
                    let bench = &mut self.cores[core];
                    bench.engine.packet(bench.now, conn, frame, None, &mut bench.fx);
                }
                rest = &rest[len..];
            }
        }
        self.takers = takers;
        taken
    }
}

impl Taker {
    fn take(&mut self, packet: &Packet<'_>) -> Option<[u8; 4]> {
        let pair = |first: u8, id: u16| [first, 2, id.to_be_bytes()[0], id.to_be_bytes()[1]];
        match packet {
            Packet::Publish(publish) => {
                let id = publish.packet_id?.get();
                let twice = publish.qos == QoS::ExactlyOnce && !self.held.insert(id);
                if !twice {
                    self.got.push(std::str::from_utf8(publish.payload).unwrap().parse().unwrap());
                }
                Some(pair(if publish.qos == QoS::ExactlyOnce { 0x50 } else { 0x40 }, id))
            }
            Packet::PubRel(ack) => {
                self.held.remove(&ack.packet_id.get());
                Some(pair(0x70, ack.packet_id.get()))
            }
            _ => None,
        }
    }
}

fn begin(count: u16, limits: &Limits, first_session: u64) -> Vec<Bench> {
    let core = |shard| {
        let setup = Setup::new(ShardId(shard), count, limits.clone(), HashSeed(5));
        let setup = Setup { store: StoreState::Ready, first_session, ..setup };
        Bench { engine: Engine::new(setup), fx: Recorder::default(), now: Now(0) }
    };
    (0..count).map(core).collect()
}
