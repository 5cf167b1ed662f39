//! What sled does not need goes back to the file system, and nothing else does.

use super::*;
use crate::store::sled::slack::{Piece, pieces};
use crate::types::Rng;

const LARGE: u64 = 1_280;

/// Values that zstd makes nothing of, so that each leaf is large.
fn large(keys: impl Iterator<Item = u64>) -> impl Iterator<Item = Change> {
    keys.map(|number| {
        let mut rng = Rng::new(number);
        let noise = std::iter::repeat_with(move || rng.next_u64().to_le_bytes()).flatten();
        let key = Bytes::copy_from_slice(&number.to_be_bytes());
        Change { tree: Tree::Bodies, key, value: Some(noise.take(4_000).collect()) }
    })
}

fn none(keys: impl Iterator<Item = u64>) -> impl Iterator<Item = Change> {
    large(keys).map(|change| Change { value: None, ..change })
}

/// Where there is something to be given back in every way: a store that was full and of which little is left, in places.
fn thinned() -> (tempfile::TempDir, Model) {
    let folder = tempfile::tempdir().expect("a folder");
    let mut store = open(folder.path());
    let mut position = 0;
    let mut apply = |store: &mut SledSettled, changes: &mut dyn Iterator<Item = Change>| {
        position += 1;
        store.apply(changes, position).expect("room");
    };
    for part in 0..8 {
        apply(&mut store, &mut large((0..LARGE).filter(|number| number % 8 == part)));
    }
    // One leaf in three stays as it is. With more than this change sled would move them together.
    apply(&mut store, &mut none((0..LARGE).filter(|number| number / 64 % 3 > 0)));
    let model = content(&store).expect("readable");
    let copy = killed(folder.path());
    (copy, model)
}

#[test]
fn a_store_that_was_emptied_gives_its_disk_back() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut store = open(folder.path());
    let empty = store.bytes_on_disk().expect("readable");
    store.apply(&mut large(0..LARGE), 1).expect("room");
    let full = store.bytes_on_disk().expect("readable");
    assert!(full > 4_000_000, "{full}");
    // Opened again, sled does not know that the files were ever needed.
    store.give_back().expect("given back");
    assert!(store.bytes_on_disk().expect("readable") > 4_000_000, "all of it is needed");
    store.apply(&mut none(0..LARGE), 2).expect("room");
    store.give_back().expect("given back");
    let left = store.bytes_on_disk().expect("readable");
    assert!(left < empty + 500_000, "{left} of {full}");
    store.apply(&mut large(0..10), 3).expect("room");
    let expected: Model = large(0..10).map(|one| ((one.tree, one.key), one.value.expect("some"))).collect();
    assert_eq!(content(&store).expect("readable"), expected);
}

#[test]
fn whatever_part_was_given_back_when_the_power_went_the_store_is_the_same() {
    let (original, model) = thinned();
    let folder =
        |copy: &tempfile::TempDir| [copy.path().join("sled/metadata"), copy.path().join("sled/slabs")];
    let [metadata, slabs] = folder(&original);
    let all = pieces(&metadata, &slabs).expect("whole");
    let holes = all.iter().filter(|piece| matches!(piece, Piece::Hole(..))).count();
    assert!(holes > 1 && all.len() > holes + 1, "{all:?}");
    for seed in 0..12 {
        let mut rng = Rng::new(seed);
        let copy = killed(original.path());
        let [metadata, slabs] = folder(&copy);
        let given = pieces(&metadata, &slabs).expect("whole");
        // None of them is lasting before the next sync: any of them may be.
        let given: Vec<_> = given.into_iter().filter(|_| seed == 0 || rng.chance(1, 2)).collect();
        given.iter().for_each(|piece| piece.give_back().expect("given back"));
        let mut store = open(copy.path());
        assert!(content(&store).expect("readable") == model, "seed {seed}: {given:?}");
        store.give_back().expect("given back");
        assert!(content(&store).expect("readable") == model, "seed {seed}");
        drop(store);
        assert_eq!(pieces(&metadata, &slabs).expect("whole"), [], "closed, it has nothing left to give");
    }
}

#[test]
fn files_that_end_before_what_is_in_use_are_not_touched() {
    let (folder, _) = thinned();
    let [metadata, slabs] = ["sled/metadata", "sled/slabs"].map(|name| folder.path().join(name));
    for file in files(&slabs) {
        let file = File::options().write(true).open(file).expect("ours");
        let length = file.metadata().expect("there").len();
        file.set_len(length.min(4_096)).expect("cut");
    }
    let refused = pieces(&metadata, &slabs).expect_err("damaged");
    assert!(refused.to_string().contains("ends at byte 4096, and is used up to"), "{refused}");
}
