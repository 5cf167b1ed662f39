//! What expires in the store is found once it has, and takes no space when it was let go of.

use super::world::{place, stored};
use super::{World, recipient, session};
use crate::engine::{Expired, PersistOp};
use crate::store::core::Options;
use crate::store::layout::{SessionRecord, entries, split_key};
use crate::store::settled::{MemorySettled, Tree};
use crate::store::sweep::Sweep;
use crate::types::{Delivery, Message, Now, QoS, Rng, SessionId, Span};
use std::collections::BTreeSet;
use std::sync::Arc;

const MESSAGES: u64 = 3_000;
const PAYLOAD: &[u8] = &[b'x'; 200];
/// When the messages were published.
const PUBLISHED: Now = Now(1_000);

fn expiring(to: std::ops::Range<u32>, expiry: Option<Span>) -> PersistOp {
    let delivery = Delivery { qos: QoS::AtLeastOnce, retain: false, received: PUBLISHED, expiry };
    let message = Arc::new(Message::new("a/b", &[], PAYLOAD, delivery));
    PersistOp::Message { message, left: to.end - to.start, to, inbound: None, instead_of: None }
}

fn world() -> World {
    World::with(1, Options { segment_bytes: 4 << 20, checkpoint_bytes: 4 << 20, ..super::world::OPTIONS })
}

/// A checkpoint that also takes out what has expired.
fn checkpoint(world: &mut World, sweep: &mut Sweep) {
    let checkpoint = world.store.begin_checkpoint().expect("something has changed");
    checkpoint.run_and_sweep(&mut world.settled, sweep).expect("settles");
    world.store.finish_checkpoint(Some(0)).expect("a disk");
}

/// A whole pass, and more: the next one is not due.
fn pass(sweep: &mut Sweep, settled: &MemorySettled, now: Now) -> Vec<Expired> {
    (0..50).flat_map(|_| sweep.step(settled, now).expect("readable")).collect()
}

fn places(expired: &[Expired]) -> BTreeSet<(u64, u64)> {
    expired.iter().flat_map(|one| &one.places).map(|place| (place.session.0, place.seq)).collect()
}

/// Everything that lies in pages.
fn settled(world: &World) -> BTreeSet<(u64, u64)> {
    let mut all = BTreeSet::new();
    for (key, page) in world.tree(Tree::Queues) {
        let (session, _) = split_key(&key).expect("a key");
        let page = entries(SessionId(session), &page).expect("a page");
        assert!(!page.is_empty(), "pages without anything go");
        all.extend(page.into_iter().map(|(recipient, _)| (session, recipient.seq)));
    }
    all
}

#[test]
fn what_has_expired_is_found_and_its_space_is_free_once_it_is_let_go_of() {
    let (mut world, mut sweep, mut rng) = (world(), Sweep::new(None), Rng::new(7));
    world.keep((1..=3).map(session).collect(), Vec::new());
    let (mut expires, mut stays) = (BTreeSet::new(), BTreeSet::new());
    let (mut ops, mut to) = (Vec::new(), Vec::new());
    for seq in 1..=MESSAGES {
        let expiry = *rng.pick(&[None, Some(Span(5_000)), Some(Span(5_000)), Some(Span(90_000))]);
        let owners: Vec<u64> = (1..=3).filter(|_| rng.chance(1, 2)).collect();
        let begin = u32::try_from(to.len()).expect("few");
        to.extend(owners.iter().map(|id| recipient(*id, seq)));
        ops.push(expiring(begin..u32::try_from(to.len()).expect("few"), expiry));
        let which = if expiry == Some(Span(5_000)) { &mut expires } else { &mut stays };
        which.extend(owners.into_iter().map(|id| (id, seq)));
    }
    world.keep(ops, to);
    checkpoint(&mut world, &mut sweep);
    assert_eq!(settled(&world).len(), expires.len() + stays.len());
    assert!(pass(&mut sweep, &world.settled, Now(5_999)).is_empty(), "nothing has");
    let mut expired = pass(&mut sweep, &world.settled, Now(20_000));
    assert!(places(&expired) == expires);
    assert!(expired.iter().all(|one| one.client_id == stored(one.session.0).client_id));

    // Half of it is let go of, then the rest; something else happens to a session in between.
    let sizes: BTreeSet<u32> = expired.iter().flat_map(|one| &one.places).map(|place| place.size).collect();
    assert_eq!(sizes, BTreeSet::from([place(1, 1, PAYLOAD).size]));
    let (first, second): (Vec<_>, Vec<_>) = expires
        .iter()
        .map(|(id, seq)| PersistOp::Done(place(*id, *seq, PAYLOAD)))
        .partition(|_| rng.chance(1, 2));
    for half in [first, second] {
        world.keep(half, Vec::new());
        world.keep(vec![expiring(0..1, None)], vec![recipient(1, MESSAGES + stays.len() as u64)]);
        stays.insert((1, MESSAGES + stays.len() as u64));
        expired = expired.into_iter().map(|one| world.store.still_owed(one)).collect();
        checkpoint(&mut world, &mut sweep);
        let left = settled(&world).difference(&stays).copied().collect::<BTreeSet<_>>();
        assert!(left == places(&expired), "what was let go of is gone, and nothing else");
        world.check_references();
        world.check_fetch(100, 1 << 20, |_| {});
    }
    for (key, record) in world.tree(Tree::Sessions) {
        let (id, _) = split_key(&key).expect("a key");
        let record = SessionRecord::decode(SessionId(id), &record).expect("a record");
        let owed = stays.iter().filter(|(owner, _)| *owner == id).count() as u64;
        assert_eq!((record.done, record.backlog.messages), (Vec::new(), owed));
    }
    world.reopen(super::world::OPTIONS).expect("opens");
}

#[test]
fn what_was_let_go_of_before_the_start_takes_no_space_after_the_next_pass() {
    let (mut world, expiry) = (world(), Some(Span(5_000)));
    world.keep(vec![session(1)], Vec::new());
    let to = (1..=100).map(|seq| recipient(1, seq)).collect();
    world
        .keep((0..100).map(|at| expiring(at..at + 1, if at % 4 == 0 { None } else { expiry })).collect(), to);
    checkpoint(&mut world, &mut Sweep::new(None));
    let done = (1..=100).filter(|seq| (seq - 1) % 4 > 0).map(|seq| PersistOp::Done(place(1, seq, PAYLOAD)));
    world.keep(done.collect(), Vec::new());
    // What had found them is gone.
    checkpoint(&mut world, &mut Sweep::new(None));
    assert_eq!(settled(&world).len(), 100);
    let mut sweep = Sweep::new(None);
    assert!(pass(&mut sweep, &world.settled, Now(20_000)).is_empty());
    world.keep(vec![session(2)], Vec::new());
    checkpoint(&mut world, &mut sweep);
    assert_eq!(settled(&world).len(), 25);
    world.check_fetch(100, 1 << 20, |_| {});
    world.reopen(super::world::OPTIONS).expect("opens");
}

#[test]
fn messages_without_an_expiry_have_the_operators_and_a_pass_waits_for_the_first() {
    let (mut world, mut sweep) = (world(), Sweep::new(Some(Span(60_000))));
    assert!(pass(&mut sweep, &world.settled, Now(0)).is_empty(), "the one at the start");
    world.keep(vec![session(1), expiring(0..1, None)], vec![recipient(1, 1)]);
    checkpoint(&mut world, &mut sweep);
    assert!(pass(&mut sweep, &world.settled, Now(60_999)).is_empty());
    assert_eq!(places(&pass(&mut sweep, &world.settled, Now(61_000))), BTreeSet::from([(1, 1)]));
    // Whoever does not let go of it is asked again, but not all the time.
    assert!(pass(&mut sweep, &world.settled, Now(100_000)).is_empty());
    assert_eq!(places(&pass(&mut sweep, &world.settled, Now(400_000))), BTreeSet::from([(1, 1)]));
}
