//! Random requests of several cores, with checkpoints, failures, power cuts and kills at random, against the model.

use super::super::Options;
use super::world::{OPTIONS, content, stored};
use super::{Model, World};
use crate::codec::{RetainHandling, SubscriptionOptions};
use crate::engine::{Batch, PersistOp, Place, Recipient};
use crate::session::connect::Will;
use crate::session::{ENTRY_BYTES, Subscription};
use crate::store::journal::SyncMode;
use crate::store::settled::{Lasting, Tree};
use crate::types::{Message, Now, PacketId, QoS, Rng, SessionId, Span};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Draws requests that a broker could make.
pub(super) struct Workload {
    rng: Rng,
    now: u64,
    next_session: u64,
    next_seq: BTreeMap<u64, u64>,
    /// Numbers that were given to messages, which another core asks for later.
    late: Vec<(u64, u64)>,
}

impl Workload {
    pub(super) fn new(seed: u64) -> Self {
        Self { rng: Rng::new(seed), now: 1_000, next_session: 1, next_seq: BTreeMap::new(), late: Vec::new() }
    }

    pub(super) fn batch(&mut self, view: &Model) -> Batch {
        let mut view = view.clone();
        let mut batch = Batch::default();
        for _ in 0..1 + self.rng.below(12) {
            let one = self.request(&view, &mut batch.to);
            // The next request is one about what there is after this one.
            view.apply(&Batch { ops: vec![one.clone()], to: batch.to.clone(), ..Batch::default() });
            batch.ops.push(one);
        }
        self.now += self.rng.below(50);
        batch.now = Now(self.now);
        batch
    }

    fn request(&mut self, view: &Model, to: &mut Vec<Recipient>) -> PersistOp {
        let Some(id) = self.session(view) else { return self.terms(None) };
        let session = SessionId(id);
        match self.rng.below(40) {
            0 => self.terms(None),
            1 => self.terms(Some(id)),
            2 if view.sessions.len() > 4 => PersistOp::End(session),
            3 | 4 => {
                PersistOp::Subscribe { session, filter: self.filter(), subscription: self.subscription() }
            }
            5 => PersistOp::Unsubscribe { session, filter: self.filter() },
            6 => PersistOp::Inbound { session, id: self.packet_id() },
            7 => PersistOp::Released { session, id: self.packet_id() },
            8 | 9 => self.retain(),
            10 => PersistOp::Nothing,
            11..=14 => self.owed(view, id).map_or(PersistOp::Nothing, PersistOp::Received),
            15..=22 => self.done(view, id).map_or(PersistOp::Nothing, PersistOp::Done),
            _ => self.message(view, to),
        }
    }

    fn session(&mut self, view: &Model) -> Option<u64> {
        let ids: Vec<_> = view.sessions.keys().copied().collect();
        (!ids.is_empty()).then(|| *self.rng.pick(&ids))
    }

    fn terms(&mut self, id: Option<u64>) -> PersistOp {
        let id = id.unwrap_or_else(|| {
            self.next_session += 1 + self.rng.below(3);
            self.next_session
        });
        let mut terms = stored(id);
        // Another core may have had messages kept meanwhile, with numbers that were given since these terms were asked for.
        terms.next_seq = self.next_seq.get(&id).copied().unwrap_or(1).saturating_sub(self.rng.below(4));
        terms.expiry = self.rng.chance(1, 2).then(|| Span(self.rng.below(1 << 40)));
        terms.away = self.rng.chance(1, 2).then_some(Now(self.now));
        terms.unsent_from = self.rng.chance(1, 2).then_some(terms.next_seq);
        if self.rng.chance(1, 3) {
            let message = content("will", b"gone");
            let will = Will { message, delay: Span(self.rng.below(1 << 30)) };
            terms.will = Some((Box::new(will), self.rng.chance(1, 2).then_some(Now(self.now + 9))));
        }
        PersistOp::Session(Box::new(terms))
    }

    fn filter(&mut self) -> Box<str> {
        ["a/#", "$share/g/a/+", "b", "\u{fc}/+"][self.rng.below(4) as usize].into()
    }

    fn subscription(&mut self) -> Subscription {
        let qos = QoS::from_bits(self.rng.below(3) as u8).expect("below 3");
        let retain_handling =
            *self.rng.pick(&[RetainHandling::Always, RetainHandling::IfNew, RetainHandling::Never]);
        let (no_local, retain_as_published) = (self.rng.chance(1, 2), self.rng.chance(1, 2));
        let options = SubscriptionOptions { qos, no_local, retain_as_published, retain_handling };
        Subscription { options, id: self.rng.below(1 << 28) as u32 }
    }

    fn packet_id(&mut self) -> PacketId {
        PacketId::new(1 + self.rng.below(5) as u16).expect("at least 1")
    }

    fn retain(&mut self) -> PersistOp {
        let topic = format!("t/{}", self.rng.below(6));
        let payload: &[u8] = if self.rng.chance(1, 3) { b"" } else { b"state" };
        PersistOp::Retain(Arc::new(content(&topic, payload)))
    }

    /// A message that a session is owed.
    fn owed(&mut self, view: &Model, id: u64) -> Option<Place> {
        let owed = &view.sessions[&id].owed;
        // Mostly the oldest.
        let at = if self.rng.chance(3, 4) { 0 } else { self.rng.below(owed.len().max(1) as u64) as usize };
        let (&seq, (_, message)) = owed.iter().nth(at)?;
        let size = u32::try_from(message.size() as u64 + ENTRY_BYTES).expect("small");
        Some(Place { session: SessionId(id), seq, size })
    }

    fn done(&mut self, view: &Model, id: u64) -> Option<Place> {
        let completed = view.sessions[&id].received.first().copied();
        match completed.filter(|_| self.rng.chance(1, 2)) {
            Some(seq) => Some(Place { session: SessionId(id), seq, size: 0 }),
            None => self.owed(view, id),
        }
    }

    fn message(&mut self, view: &Model, to: &mut Vec<Recipient>) -> PersistOp {
        let begin = to.len() as u32;
        let mut ids: Vec<_> = view.sessions.keys().copied().collect();
        for _ in 0..1 + self.rng.below(4) * self.rng.below(4) {
            if ids.is_empty() {
                break;
            }
            let id = ids.swap_remove(self.rng.below(ids.len() as u64) as usize);
            let seq = self.seq(id);
            to.push(self.recipient(id, seq));
        }
        let left = to[begin as usize..].iter().filter(|to| to.session.is_some()).count() as u32;
        let pick = self.session(view).expect("there is one");
        let inbound = self.rng.chance(1, 4).then(|| (SessionId(pick), self.packet_id()));
        let instead_of = if self.rng.chance(1, 8) { self.owed(view, pick) } else { None };
        let message = Arc::new(self.content());
        PersistOp::Message { message, to: begin..to.len() as u32, left, inbound, instead_of }
    }

    fn seq(&mut self, id: u64) -> u64 {
        if self.rng.chance(1, 3)
            && let Some(at) = self.late.iter().position(|(late, _)| *late == id)
        {
            return self.late.remove(at).1;
        }
        let next = self.next_seq.entry(id).or_insert(1);
        if self.rng.chance(1, 10) {
            self.late.push((id, *next));
            *next += 1;
        }
        *next += 1;
        *next - 1
    }

    fn recipient(&mut self, id: u64, seq: u64) -> Recipient {
        let ids = self.rng.chance(1, 6).then(|| [1, 268_435_455].into());
        let share = self.rng.chance(1, 6).then(|| "$share/g/a/+".into());
        let qos = if self.rng.chance(1, 2) { QoS::AtLeastOnce } else { QoS::ExactlyOnce };
        let session = (!self.rng.chance(1, 10)).then_some(SessionId(id));
        Recipient { session, seq, qos, retain: self.rng.chance(1, 3), ids, share }
    }

    fn content(&mut self) -> Message {
        let len = if self.rng.chance(1, 20) { 5_000 } else { self.rng.below(200) };
        let payload: Vec<u8> = (0..len).map(|_| self.rng.below(256) as u8).collect();
        let mut message = content("a/topic", &payload);
        message.delivery.retain = self.rng.chance(1, 5);
        message.delivery.expiry = self.rng.chance(1, 5).then(|| Span(self.rng.below(1 << 50)));
        message
    }
}

/// One life after the other of one store.
fn lives(seed: u64, options: Options, steps: u32) {
    let mut work = Workload::new(seed);
    let mut world = World::with(seed, options);
    for _ in 0..steps {
        step(&mut world, &mut work, options);
    }
    world.disk.heal();
    assert!(world.commit());
    world.check_fetch(3, 2_000, |_| {});
}

fn step(world: &mut World, work: &mut Workload, options: Options) {
    match work.rng.below(100) {
        0..60 => {
            let batch = work.batch(&world.view);
            world.submit(work.rng.below(3) as u16, batch);
        }
        60..80 => drop(world.commit()),
        80..84 => {
            world.checkpoint();
            world.check_references();
        }
        84..86 => no_room(world),
        86..90 => fetch(world, work),
        90..92 => world.disk.fail_sync_after(work.rng.below(3)),
        92..94 => world.disk.fail_write_after(work.rng.below(3)),
        94 => world.store.heartbeat(Now(work.now)),
        _ => crash(world, work, options),
    }
}

/// A checkpoint that is to be tried again.
fn no_room(world: &mut World) {
    if world.store.begin_checkpoint().is_some() {
        world.store.finish_checkpoint(None).expect("nothing is freed");
        assert!(world.store.is_unsettled());
    }
}

fn fetch(world: &mut World, work: &mut Workload) {
    world.disk.heal();
    if world.commit() {
        let (messages_max, bytes_max) = (1 + work.rng.below(9) as u32, 1 + work.rng.below(4_000));
        let mut checkpoint = work.rng.chance(1, 2);
        // What was asked for before a checkpoint is read behind it.
        world.check_fetch(messages_max, bytes_max, |world| {
            if std::mem::take(&mut checkpoint) {
                world.checkpoint();
            }
        });
    }
}

/// The process ends, or the power, in the middle of a checkpoint or not.
fn crash(world: &mut World, work: &mut Workload, options: Options) {
    if work.rng.chance(1, 2)
        && let Some(checkpoint) = world.store.begin_checkpoint()
    {
        match work.rng.below(3) {
            0 => world.settled.fail_next(Lasting::Gone),
            1 => world.settled.fail_next(Lasting::There),
            _ => {}
        }
        let _ = checkpoint.run(&mut world.settled);
    }
    if options.sync == SyncMode::Disk && work.rng.chance(1, 2) {
        world.disk.cut();
    }
    world.disk.heal();
    work.late.clear();
    if work.rng.chance(1, 4) {
        let settled = world.settled.clone();
        if world.settled.roll_back() && world.reopen(options).is_ok() {
            return;
        }
        world.settled = settled;
    }
    world.reopen(options).expect("what is whole opens");
}

#[test]
fn whatever_is_committed_comes_back_and_nothing_else() {
    for seed in 0..50 {
        lives(seed, OPTIONS, 400);
    }
}

#[test]
fn the_same_when_the_system_is_trusted_with_the_writing() {
    for seed in 0..30 {
        lives(seed, Options { sync: SyncMode::Os, ..OPTIONS }, 400);
    }
}

#[test]
fn nothing_is_left_of_sessions_that_have_ended() {
    for seed in 0..30 {
        let mut work = Workload::new(seed);
        let mut world = World::new(seed);
        for at in 0..200 {
            let batch = work.batch(&world.view);
            world.submit(0, batch);
            if at % 3 == 0 {
                assert!(world.commit());
            }
            if at % 17 == 0 {
                world.checkpoint();
            }
        }
        let ends = world.view.sessions.keys().map(|&id| PersistOp::End(SessionId(id)));
        let clears = world.view.retained.keys().map(|topic| PersistOp::Retain(Arc::new(content(topic, b""))));
        world.keep(ends.chain(clears).collect(), Vec::new());
        world.checkpoint();
        for tree in Tree::ALL.into_iter().filter(|tree| *tree != Tree::Meta) {
            assert_eq!(world.tree(tree), [], "seed {seed}: {}", tree.name());
        }
        assert!(!world.tree(Tree::Meta).iter().any(|(key, _)| key.starts_with(b"grave")));
    }
}
