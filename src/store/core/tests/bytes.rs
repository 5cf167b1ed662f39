//! Whatever the bytes on the disk are, they are read or refused.

use super::Model;
use super::random::Workload;
use super::world::World;
use crate::engine::Batch;
use crate::store::group::{Group, decode};
use crate::store::layout::{SessionRecord, bodies, entries, places, retained_of, subscription_of};
use crate::store::settled::Tree;
use crate::types::{Rng, SessionId};

fn group(batch: &Batch) -> Vec<u8> {
    let mut group = Group::default();
    group.begin(batch.now);
    group.add(batch);
    group.bytes().to_vec()
}

/// Everything that reads a value.
fn read_all(bytes: &[u8]) {
    let id = SessionId(1);
    let _ = (decode(bytes), SessionRecord::decode(id, bytes), entries(id, bytes), places(bytes));
    let _ = (bodies(bytes), retained_of(bytes), subscription_of(bytes));
}

#[test]
fn a_group_means_the_same_when_it_is_read() {
    let mut work = Workload::new(3);
    let (mut written, mut read) = (Model::default(), Model::default());
    for _ in 0..500 {
        let batch = work.batch(&written);
        let decoded = decode(&group(&batch)).expect("just written");
        assert_eq!(decoded.now, batch.now);
        written.apply(&batch);
        read.apply(&decoded);
        assert_eq!(written, read);
    }
}

#[test]
fn a_group_that_is_cut_says_so_or_is_a_shorter_one() {
    let mut work = Workload::new(4);
    let mut view = Model::default();
    for _ in 0..50 {
        let batch = work.batch(&view);
        let bytes = group(&batch);
        let whole = decode(&bytes).expect("just written").ops.len();
        for end in 0..bytes.len() {
            assert!(
                decode(&bytes[..end]).is_ok_and(|cut| cut.ops.len() < whole)
                    || decode(&bytes[..end]).is_err()
            );
        }
        view.apply(&batch);
    }
}

#[test]
fn bytes_of_no_meaning_are_no_reason_to_panic() {
    let mut rng = Rng::new(5);
    for _ in 0..50_000 {
        let len = rng.below(64);
        let mut bytes: Vec<u8> = (0..len).map(|_| rng.next_u64() as u8).collect();
        read_all(&bytes);
        // The form is the right one, more often than by chance.
        bytes.insert(0, 1);
        read_all(&bytes);
    }
}

#[test]
fn changed_bytes_are_no_reason_to_panic() {
    let mut work = Workload::new(6);
    let mut world = World::new(6);
    let mut samples = Vec::new();
    for _ in 0..60 {
        let batch = work.batch(&world.view);
        samples.push(group(&batch));
        world.submit(0, batch);
        assert!(world.commit());
    }
    world.checkpoint();
    samples.extend(Tree::ALL.iter().flat_map(|tree| world.tree(*tree)).map(|(_, value)| value.to_vec()));
    let mut rng = Rng::new(7);
    for sample in samples.iter().filter(|sample| !sample.is_empty()) {
        for _ in 0..50 {
            let mut bytes = sample.clone();
            for _ in 0..1 + rng.below(3) {
                let at = rng.below(bytes.len() as u64) as usize;
                bytes[at] = rng.next_u64() as u8;
            }
            read_all(&bytes);
        }
    }
}
