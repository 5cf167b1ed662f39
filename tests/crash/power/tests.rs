//! Cuts of recordings that were made up.

use super::disk::{Cut, Disk, Tree};
use super::recording::{Event, Handle, events};
use pantala::types::Rng;
use std::collections::BTreeSet;

fn open(handle: Handle, path: &str) -> Event {
    Event::Open { handle, path: path.to_owned(), emptied: false }
}

fn open_folder(handle: Handle, path: &str) -> Event {
    Event::OpenFolder { handle, path: path.to_owned() }
}

fn write(handle: Handle, offset: u64, data: &[u8]) -> Event {
    Event::Write { handle, offset, data: data.to_vec(), length: offset + data.len() as u64 }
}

fn begin(handle: Handle, number: u64) -> Event {
    Event::SyncBegin { handle, number, length: None }
}

fn end(handle: Handle, number: u64) -> Event {
    Event::SyncEnd { handle, number }
}

fn rename(from: &str, to: &str) -> Event {
    Event::Rename { from: from.to_owned(), to: to.to_owned() }
}

/// What is left of these events, with many seeds.
fn left(events: &[Event]) -> BTreeSet<Vec<(String, Option<Vec<u8>>)>> {
    let trees = (0..300).map(|seed| {
        let mut disk = Disk::default();
        disk.play(events.iter().cloned());
        disk.cut(&mut Rng::new(seed));
        disk.tree().into_iter().collect()
    });
    trees.collect()
}

/// A file `a` whose name is on the disk.
fn named() -> Vec<Event> {
    vec![open(1, "a"), open_folder(2, ""), begin(2, 1), end(2, 1)]
}

fn file(bytes: &[u8]) -> Vec<(String, Option<Vec<u8>>)> {
    vec![("a".to_owned(), Some(bytes.to_vec()))]
}

#[test]
fn what_a_sync_covered_is_always_there() {
    let synced = [named(), vec![write(1, 0, b"safe"), begin(1, 2), end(1, 2)]].concat();
    assert_eq!(left(&synced), BTreeSet::from([file(b"safe")]));
}

#[test]
fn what_a_failed_sync_should_have_covered_is_gone_whatever_is_synced_later() {
    let failed = vec![write(1, 0, b"safe"), begin(1, 2), end(1, 2), write(1, 0, b"gone"), begin(1, 3)];
    let void = vec![Event::SyncFailed { handle: 1, number: 3 }, begin(1, 4), end(1, 4)];
    assert_eq!(left(&[named(), failed, void].concat()), BTreeSet::from([file(b"safe")]));
}

#[test]
fn what_no_sync_covered_is_there_or_not() {
    let after = [named(), vec![write(1, 0, b"safe"), begin(1, 2), end(1, 2), write(1, 0, b"lost")]].concat();
    assert_eq!(left(&after), BTreeSet::from([file(b"safe"), file(b"lost")]));
}

#[test]
fn a_sync_does_not_cover_what_is_written_while_it_runs() {
    let during = [named(), vec![write(1, 0, b"old"), begin(1, 2), write(1, 0, b"new"), end(1, 2)]].concat();
    assert_eq!(left(&during), BTreeSet::from([file(b"old"), file(b"new")]));
}

#[test]
fn a_sync_that_does_not_return_covers_nothing() {
    let cut = [named(), vec![write(1, 0, b"x"), begin(1, 2)]].concat();
    assert_eq!(left(&cut), BTreeSet::from([file(b""), file(b"x")]));
}

#[test]
fn a_sync_of_one_file_does_not_cover_another() {
    let other = vec![
        open(3, "b"),
        write(3, 0, b"b"),
        begin(2, 2),
        end(2, 2),
        write(1, 0, b"a"),
        begin(1, 3),
        end(1, 3),
    ];
    let trees = left(&[named(), other].concat());
    let with = |b: &[u8]| [file(b"a"), vec![("b".to_owned(), Some(b.to_vec()))]].concat();
    assert_eq!(trees, BTreeSet::from([with(b""), with(b"b")]));
}

#[test]
fn a_sync_of_everything_covers_files_and_names() {
    let all = [Event::SyncAllBegin { number: 9 }, Event::SyncAllEnd { number: 9 }];
    let synced = [vec![open(1, "a"), write(1, 0, b"a")], all.to_vec()].concat();
    assert_eq!(left(&synced), BTreeSet::from([file(b"a")]));
}

#[test]
fn a_name_needs_a_sync_of_its_folder() {
    let unnamed = [open(1, "a"), write(1, 0, b"x"), begin(1, 1), end(1, 1)];
    assert_eq!(left(&unnamed), BTreeSet::from([vec![], file(b"x")]));
}

#[test]
fn a_rename_is_whole_or_not_at_all() {
    let renamed = [
        named(),
        vec![
            write(1, 0, b"x"),
            begin(1, 2),
            end(1, 2),
            open(3, "b"),
            write(3, 0, b"y"),
            begin(3, 3),
            end(3, 3),
        ],
        vec![begin(2, 4), end(2, 4), rename("b", "a")],
    ]
    .concat();
    let both = vec![("a".to_owned(), Some(b"x".to_vec())), ("b".to_owned(), Some(b"y".to_vec()))];
    assert_eq!(left(&renamed), BTreeSet::from([both, file(b"y")]));
}

#[test]
fn a_move_to_another_folder_is_whole_or_not_at_all() {
    let folders = [
        vec![Event::MakeFolder { path: "f".to_owned() }, Event::MakeFolder { path: "g".to_owned() }],
        vec![open(1, "f/a"), open_folder(2, ""), open_folder(3, "f"), open_folder(4, "g")],
        vec![begin(2, 1), end(2, 1), begin(3, 2), end(3, 2), rename("f/a", "g/b")],
    ]
    .concat();
    let with = |path: &str| {
        let mut tree = vec![("f".to_owned(), None), ("g".to_owned(), None), (path.to_owned(), Some(vec![]))];
        tree.sort();
        tree
    };
    assert_eq!(left(&folders), BTreeSet::from([with("f/a"), with("g/b")]));
    for synced in [3, 4] {
        let moved = [folders.clone(), vec![begin(synced, 3), end(synced, 3)]].concat();
        assert_eq!(left(&moved), BTreeSet::from([with("g/b")]));
    }
}

#[test]
fn a_file_whose_removal_was_not_synced_may_come_back() {
    let removed =
        [named(), vec![write(1, 0, b"x"), begin(1, 2), end(1, 2), Event::Remove { path: "a".to_owned() }]]
            .concat();
    assert_eq!(left(&removed), BTreeSet::from([vec![], file(b"x")]));
    let synced = [removed, vec![begin(2, 3), end(2, 3)]].concat();
    assert_eq!(left(&synced), BTreeSet::from([vec![]]));
}

#[test]
fn a_file_made_again_is_another_one() {
    let again = vec![
        write(1, 0, b"old"),
        begin(1, 2),
        end(1, 2),
        Event::Remove { path: "a".to_owned() },
        open(3, "a"),
        write(3, 0, b"new"),
        begin(3, 3),
        end(3, 3),
    ];
    assert_eq!(left(&[named(), again].concat()), BTreeSet::from([file(b"old"), vec![], file(b"new")]));
}

#[test]
fn what_is_in_a_folder_goes_with_its_name() {
    let inside = [
        Event::MakeFolder { path: "f".to_owned() },
        open(1, "f/a"),
        open_folder(2, "f"),
        begin(2, 1),
        end(2, 1),
    ];
    let there = vec![("f".to_owned(), None), ("f/a".to_owned(), Some(vec![]))];
    assert_eq!(left(&inside), BTreeSet::from([vec![], there]));
}

#[test]
fn a_write_is_torn_between_sectors_of_the_file() {
    let written = [named(), vec![write(1, 500, &[7; 600])]].concat();
    let trees = left(&written);
    let contents: BTreeSet<Vec<u8>> =
        trees.into_iter().map(|tree| tree[0].1.clone().expect("a file")).collect();
    let sectors = [500..512, 512..1024, 1024..1100];
    // Each of three sectors is there or not; the file ends with the last one.
    assert_eq!(contents.len(), 8);
    for content in contents {
        for sector in &sectors {
            let bytes = content.get(sector.clone()).unwrap_or_default();
            assert!(bytes.iter().all(|byte| *byte == 7) || bytes.iter().all(|byte| *byte == 0), "{bytes:?}");
        }
    }
}

#[test]
fn later_writes_may_be_there_without_earlier_ones() {
    let twice = [named(), vec![write(1, 0, b"a"), write(1, 1, b"b")]].concat();
    assert!(left(&twice).contains(&file(b"\0b")));
}

#[test]
fn room_that_was_reserved_is_zeros_once_it_is_synced() {
    let reserved = vec![
        Event::Length { handle: 1, length: 4 },
        begin(1, 2),
        end(1, 2),
        Event::Write { handle: 1, offset: 0, data: b"x".to_vec(), length: 4 },
    ];
    assert_eq!(left(&[named(), reserved].concat()), BTreeSet::from([file(b"\0\0\0\0"), file(b"x\0\0\0")]));
}

#[test]
fn a_length_that_changed_unseen_is_taken_from_the_next_event() {
    let unseen = vec![
        Event::Write { handle: 1, offset: 0, data: b"x".to_vec(), length: 3 },
        begin(1, 2),
        end(1, 2),
        Event::SyncBegin { handle: 1, number: 3, length: Some(5) },
        end(1, 3),
    ];
    assert_eq!(left(&[named(), unseen].concat()), BTreeSet::from([file(b"x\0\0\0\0"), file(b"x\0\0")]));
}

#[test]
fn a_cut_is_the_start_of_the_next_life() {
    let mut disk = Disk::default();
    disk.play([named(), vec![write(1, 0, b"one"), begin(1, 2), end(1, 2)]].concat());
    assert_eq!(disk.cut(&mut Rng::new(1)), Cut::default());
    // Numbers of handles and syncs start again.
    disk.play([open(1, "a"), write(1, 3, b"two"), begin(1, 1), end(1, 1)]);
    assert_eq!(disk.cut(&mut Rng::new(1)), Cut::default());
    assert_eq!(disk.tree(), Tree::from_iter(file(b"onetwo")));
}

#[test]
fn the_same_seed_cuts_alike() {
    let all = [named(), (0..40).map(|at| write(1, at * 700, &[1; 900])).collect()].concat();
    let cut = |seed| {
        let mut disk = Disk::default();
        disk.play(all.iter().cloned());
        (disk.cut(&mut Rng::new(seed)), disk.tree())
    };
    assert_eq!(cut(5), cut(5));
    assert!((0..20).any(|seed| cut(seed) != cut(5)));
}

#[test]
fn a_recording_may_end_in_the_middle_of_an_event() {
    let header = |op: u32, path: u32, numbers: [u64; 4]| {
        let numbers: Vec<u8> = numbers.iter().flat_map(|number| number.to_ne_bytes()).collect();
        [&op.to_ne_bytes()[..], &path.to_ne_bytes(), &numbers].concat()
    };
    // Handle, offset, size, data.
    let recording =
        [header(1, 1, [1, 0, 0, 0]), b"a".to_vec(), header(2, 0, [1, 2, 5, 3]), b"xyz".to_vec()].concat();
    let whole = vec![open(1, "a"), write(1, 2, b"xyz")];
    assert_eq!(events(&recording), whole);
    for len in 0..recording.len() {
        let read = events(&recording[..len]);
        assert_eq!(read, whole[..read.len()]);
        assert_eq!(read.len(), usize::from(len > 40));
    }
}
