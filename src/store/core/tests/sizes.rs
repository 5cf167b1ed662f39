//! What a store takes, in memory and on disk, and what it does without room.

use super::super::{Options, Refusing, Store};
use super::world::{OPTIONS, message, open};
use super::{World, place, recipient, session};
use crate::engine::{Batch, Fetch, PersistOp, Restored};
use crate::session::ENTRY_BYTES;
use crate::store::disk::Disk;
use crate::store::journal::SyncMode;
use crate::store::read::Reading;
use crate::store::settle::SWEPT_PAGES;
use crate::store::settled::{Change, Entry, MemorySettled, Settled, Tree};
use crate::types::{HashSeed, Now, PacketId, SessionId, SessionKey, ShardId};
use std::io;

fn values(world: &World, tree: Tree) -> usize {
    world.tree(tree).iter().map(|(_, value)| value.len()).sum()
}

#[test]
fn a_message_for_a_hundred_sessions_is_written_once() {
    let mut world = World::with(1, Options { segment_bytes: 1 << 20, ..OPTIONS });
    world.keep((1..=100).map(session).collect(), Vec::new());
    let before = world.store.since_checkpoint;
    let payload = [b'x'; 10_000];
    world.keep(vec![message(0..100, &payload)], (1..=100).map(|id| recipient(id, 1)).collect());
    let written = world.store.since_checkpoint - before;
    assert!((10_000..10_500).contains(&written), "{written} bytes in the journal");
    assert!(world.store.active.bytes() < 10_000 + 100 * 5 * ENTRY_BYTES, "{}", world.store.active.bytes());
    world.checkpoint();
    let (bodies, queues) = (values(&world, Tree::Bodies), values(&world, Tree::Queues));
    assert!((10_000..10_050).contains(&bodies), "{bodies} bytes of content");
    assert!(queues < 100 * 10, "{queues} bytes of places");
    world.check_references();
    world.check_fetch(10, 1 << 20, |_| {});
}

#[test]
fn the_last_one_who_is_owed_a_message_has_it_in_his_own_page() {
    let mut world = World::new(1);
    world.keep(vec![session(1), session(2), message(0..2, b"both")], vec![recipient(1, 1), recipient(2, 1)]);
    world.keep(vec![PersistOp::Done(place(1, 1, b"both"))], Vec::new());
    world.checkpoint();
    assert_eq!((world.tree(Tree::Bodies).len(), world.tree(Tree::Queues).len()), (0, 1));
    world.check_fetch(10, 1 << 20, |_| {});
}

#[test]
fn what_came_and_went_between_two_commits_is_not_written_and_its_cores_are_told() {
    let mut world = World::new(1);
    world.keep(vec![session(1)], Vec::new());
    let (position, bytes) = (world.store.journal.position(), world.store.since_checkpoint);
    let batch = |ops, to, until| Batch { ops, to, until, now: Now(1_000) };
    world.submit(0, batch(vec![message(0..1, b"fast")], vec![recipient(1, 1)], 7));
    world.submit(1, batch(vec![PersistOp::Done(place(1, 1, b"fast"))], Vec::new(), 9));
    let mut told = Vec::new();
    world.store.commit(&mut |core, until| told.push((core, until))).expect("nothing can fail");
    assert_eq!(told, [(ShardId(0), 7), (ShardId(1), 9)]);
    assert_eq!((world.store.journal.position(), world.store.since_checkpoint), (position, bytes));
}

#[test]
fn a_message_that_came_and_went_leaves_nothing_in_memory_or_pages() {
    let mut world = World::new(1);
    world.keep(vec![session(1)], Vec::new());
    let before = world.store.bytes_in_memory();
    for seq in 1..=100 {
        world.keep(vec![message(0..1, b"one")], vec![recipient(1, seq)]);
        world.keep(vec![PersistOp::Done(place(1, seq, b"one"))], Vec::new());
    }
    assert_eq!(world.store.bytes_in_memory(), before);
    world.checkpoint();
    assert_eq!(world.tree(Tree::Queues), []);
}

/// Panics when messages are read.
struct Unread<'a>(&'a mut MemorySettled);

impl Settled for Unread<'_> {
    fn position(&self) -> u64 {
        self.0.position()
    }

    fn apply(&mut self, changes: &mut dyn Iterator<Item = Change>, position: u64) -> io::Result<()> {
        self.0.apply(changes, position)
    }

    fn get(&self, tree: Tree, key: &[u8]) -> io::Result<Option<bytes::Bytes>> {
        assert!(tree != Tree::Queues && tree != Tree::Bodies);
        self.0.get(tree, key)
    }

    fn scan(&self, tree: Tree, from: &[u8], limit: usize) -> io::Result<Vec<Entry>> {
        assert!(tree != Tree::Queues && tree != Tree::Bodies);
        self.0.scan(tree, from, limit)
    }

    fn bytes_on_disk(&self) -> io::Result<u64> {
        self.0.bytes_on_disk()
    }
}

#[test]
fn a_million_messages_for_one_who_sleeps_take_no_memory_and_opening_does_not_read_them() {
    const MESSAGES: u64 = 1_000_000;
    const BATCH: u64 = 2_000;
    let options = Options { segment_bytes: 4 << 20, checkpoint_bytes: 4 << 20, ..OPTIONS };
    let mut world = World::with(1, options);
    world.keep(vec![session(1)], Vec::new());
    let mut most = 0;
    for first in (1..=MESSAGES).step_by(BATCH as usize) {
        let to = (first..first + BATCH).map(|seq| recipient(1, seq)).collect();
        let ops = (0..BATCH as u32).map(|at| message(at..at + 1, b"sleeping")).collect();
        world.store.submit(ShardId(0), Batch { ops, to, until: first, now: Now(1_000) });
        world.store.commit(&mut |_, _| {}).expect("room");
        most = most.max(world.store.bytes_in_memory());
        if world.store.checkpoint_due() {
            world.checkpoint();
        }
    }
    assert!(most < 5 << 20, "{most} bytes in memory");
    let disk = world.disk.clone();
    let mut unread = Unread(&mut world.settled);
    let mut store = Store::open(disk, &mut unread, options, HashSeed(7), 0).expect("opens");
    let mut owed = 0;
    let take = &mut |restored| {
        if let Restored::Session(session) = restored {
            owed += session.backlog.messages;
        }
    };
    store.restore(&unread, take).expect("can be read");
    assert_eq!(owed, MESSAGES);
    drain(&store, &world.settled, MESSAGES);
}

/// All of them come back in order, and a page is not read over and over.
fn drain<D: Disk>(store: &Store<D>, settled: &MemorySettled, messages: u64) {
    let (mut reading, mut next) = (Reading::default(), 1);
    while next <= messages {
        let key = SessionKey { slot: 0, generation: 0 };
        let fetch = Fetch { key, session: SessionId(1), from: next, messages_max: 5_000, bytes_max: 1 << 20 };
        let fetched = store.fetch(fetch).run(settled, &mut reading).expect("can be read");
        assert!(!fetched.messages.is_empty());
        for (recipient, message) in fetched.messages {
            assert_eq!((recipient.seq, message.payload()), (next, &b"sleeping"[..]));
            next += 1;
        }
    }
}

#[test]
fn the_pages_of_a_large_queue_are_swept_in_steps_after_its_session() {
    let mut world = World::with(1, Options { segment_bytes: 1 << 20, ..OPTIONS });
    world.keep(vec![session(1), session(2)], Vec::new());
    let (payload, pages) = ([b'x'; 33_000], SWEPT_PAGES as u64 + 100);
    for first in (1..=pages).step_by(50) {
        let batch = first..(first + 50).min(pages + 1);
        let ops = (0..batch.clone().count() as u32).map(|at| message(at..at + 1, &payload)).collect();
        world.keep(ops, batch.map(|seq| recipient(1, seq)).collect());
        world.checkpoint();
    }
    assert_eq!(world.tree(Tree::Queues).len() as u64, pages);
    world.keep(vec![PersistOp::End(SessionId(1))], Vec::new());
    world.checkpoint();
    assert_eq!(world.tree(Tree::Queues).len(), 100);
    world.reopen(Options { segment_bytes: 1 << 20, ..OPTIONS }).expect("opens with a grave");
    world.keep(vec![session(2)], Vec::new());
    world.checkpoint();
    assert_eq!(world.tree(Tree::Queues), []);
    assert!(!world.tree(Tree::Meta).iter().any(|(key, _)| key.starts_with(b"grave")));
}

#[test]
fn what_finds_no_room_waits_and_is_kept_once_in_its_order_when_there_is() {
    let mut world = World::new(1);
    world.keep(vec![session(1)], Vec::new());
    world.disk.set_capacity(0);
    let mut seq = 0;
    loop {
        seq += 1;
        let batch = Batch {
            ops: vec![message(0..1, &[b'x'; 900])],
            to: vec![recipient(1, seq)],
            until: seq,
            now: Now(1),
        };
        world.submit(0, batch);
        match world.store.commit(&mut |_, _| {}) {
            Ok(()) => {}
            Err(Refusing::Full(_)) if seq % 5 == 0 => break,
            Err(Refusing::Full(_)) => {}
            Err(other) => panic!("{other}"),
        }
        assert!(seq < 1_000, "the disk is full");
    }
    assert!(world.store.has_waiting());
    world.disk.set_capacity(u64::MAX);
    assert!(world.commit() && !world.store.has_waiting());
    world.check_fetch(7, 1 << 20, |_| {});
    world.disk.cut();
    world.reopen(OPTIONS).expect("opens");
    world.check_fetch(7, 1 << 20, |_| {});
}

#[test]
fn beyond_its_bound_a_store_says_so_and_still_takes_what_makes_it_smaller() {
    let options = Options { bytes_max: 300_000, ..OPTIONS };
    let mut world = World::with(1, options);
    world.keep(vec![session(1)], Vec::new());
    assert!(world.store.over_bound().is_none());
    let payload = [b'x'; 5_000];
    let mut seq = 0;
    while world.store.over_bound().is_none() {
        seq += 1;
        world.keep(vec![message(0..1, &payload)], vec![recipient(1, seq)]);
        world.checkpoint();
        assert!(seq < 1_000, "there is a bound");
    }
    world.keep((1..=seq).map(|seq| PersistOp::Done(place(1, seq, &payload))).collect(), Vec::new());
    world.checkpoint();
    assert!(world.store.over_bound().is_none(), "{} bytes", world.store.bytes_on_disk());
}

#[test]
fn a_broker_that_only_ran_is_known_to_have_run() {
    let mut world = World::new(1);
    world.keep(vec![session(1)], Vec::new());
    world.store.heartbeat(Now(70_000));
    let store = open(&world.disk, &mut world.settled, OPTIONS).expect("opens");
    assert_eq!(store.alive(), Now(70_000));
    world.store = store;
    world.checkpoint();
    let store = open(&world.disk, &mut world.settled, OPTIONS).expect("opens");
    assert_eq!(store.alive(), Now(70_000));
}

#[test]
fn a_page_that_came_late_is_read_although_later_ones_were() {
    let mut world = World::new(1);
    let ops = |count| (0..count).map(|at| message(at..at + 1, b"x")).collect::<Vec<_>>();
    let to = |seqs: &[u64]| seqs.iter().map(|&seq| recipient(1, seq)).collect::<Vec<_>>();
    world.keep(vec![session(1)], Vec::new());
    for seqs in [&[1, 2, 3][..], &[10, 20]] {
        world.keep(ops(seqs.len() as u32), to(seqs));
        world.checkpoint();
    }
    let read = |world: &mut World, from| -> Vec<u64> {
        let key = SessionKey { slot: 0, generation: 0 };
        let fetch = Fetch { key, session: SessionId(1), from, messages_max: 4, bytes_max: 1 << 20 };
        let fetched = world.store.fetch(fetch).run(&world.settled, &mut world.reading).expect("can be read");
        fetched.messages.iter().map(|(recipient, _)| recipient.seq).collect()
    };
    assert_eq!(read(&mut world, 0), [1, 2, 3, 10]);
    world.keep(ops(2), to(&[5, 15]));
    world.checkpoint();
    assert_eq!(read(&mut world, 11), [15, 20]);
    assert_eq!(read(&mut world, 0), [1, 2, 3, 5]);
}

#[test]
fn after_a_checkpoint_a_power_cut_is_no_refusal_even_where_commits_do_not_wait_for_the_disk() {
    let options = Options { sync: SyncMode::Os, ..OPTIONS };
    for seed in 0..20 {
        let mut world = World::with(seed, options);
        world.keep(vec![session(1), message(0..1, b"kept")], vec![recipient(1, 1)]);
        world.checkpoint();
        world.disk.cut();
        world.reopen(options).expect("the journal reaches as far as what is settled");
        world.check_fetch(7, 1 << 20, |_| {});
    }
}

#[test]
fn of_a_message_that_nobody_needs_any_more_the_packet_id_is_kept() {
    let mut world = World::new(1);
    world.keep(vec![session(1), session(2), message(0..1, b"old")], vec![recipient(2, 1)]);
    let PersistOp::Message { message: new, to, left, .. } = message(0..1, b"new") else { unreachable!() };
    let inbound = PacketId::new(9).map(|id| (SessionId(2), id));
    let instead_of = Some(place(2, 1, b"old"));
    let moved = PersistOp::Message { message: new, to, left, inbound, instead_of };
    for done in [place(1, 1, b"new"), place(1, 2, b"new")] {
        // The second time there is no place that it leaves.
        let mut moved = moved.clone();
        if let PersistOp::Message { instead_of, .. } = &mut moved
            && done.seq == 2
        {
            *instead_of = None;
            world.keep(
                vec![PersistOp::Released { session: SessionId(2), id: inbound.expect("9").1 }],
                Vec::new(),
            );
        }
        world.keep(vec![moved, PersistOp::Done(done)], vec![recipient(1, done.seq)]);
        world.disk.cut();
        world.reopen(OPTIONS).expect("opens");
        assert_eq!(world.kept.sessions[&2].inbound.len(), 1);
        assert!(world.kept.sessions[&2].owed.is_empty());
        world.check_fetch(7, 1 << 20, |_| {});
    }
}

#[test]
fn no_number_is_given_twice_though_what_is_said_of_a_session_comes_late() {
    let mut world = World::new(1);
    world.keep(vec![session(1), message(0..1, b"x")], vec![recipient(1, 7)]);
    world.checkpoint();
    // Its core said this before another one asked for the message.
    world.keep(vec![session(1)], Vec::new());
    for settled in [false, true] {
        if settled {
            world.checkpoint();
        }
        world.reopen(OPTIONS).expect("opens");
        let mut next = None;
        let take = &mut |restored| {
            if let Restored::Session(session) = restored {
                next = Some(session.stored.next_seq);
            }
        };
        world.store.restore(&world.settled, take).expect("can be read");
        assert_eq!(next, Some(8), "settled: {settled}");
    }
}
