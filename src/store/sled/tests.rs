//! The store in sled against the model, through what its process and its disk may do to it.

mod children;
mod damage;
mod figures;
mod slack;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use super::*;
use crate::store::settled::tests::{Model, changes, content, gets_what_the_model_has, model_after, step};

fn options() -> SledOptions {
    SledOptions { reserve_bytes: 0, ..SledOptions::default() }
}

fn open(folder: &Path) -> SledSettled {
    SledSettled::open(folder, options()).expect("a store")
}

/// A store of so many steps that was closed.
fn closed(steps: u64) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let mut store = open(folder.path());
    (1..=steps).for_each(|number| step(&mut store, number));
    store.close().expect("closed");
    folder
}

fn refusal(folder: &Path) -> OpenError {
    SledSettled::open(folder, options()).expect_err("it is not to open")
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path());
    let mut files: Vec<_> =
        entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect();
    files.sort();
    files
}

fn copy(from: &Path, to: &Path) {
    for file in files(from) {
        let copy = to.join(file.strip_prefix(from).expect("below"));
        fs::create_dir_all(copy.parent().expect("a parent")).expect("a folder");
        fs::copy(file, copy).expect("copied");
    }
}

/// A copy of a folder, as a process that was killed now would leave it.
fn killed(folder: &Path) -> tempfile::TempDir {
    let other = tempfile::tempdir().expect("a folder");
    copy(folder, other.path());
    other
}

#[test]
fn a_store_is_its_model_through_closing_and_opening() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut store = open(folder.path());
    for number in 1..=120 {
        step(&mut store, number);
        if number % 30 == 0 {
            store.close().expect("closed");
            store = open(folder.path());
            assert_eq!(store.position(), number);
            assert_eq!(content(&store).expect("readable"), model_after(number));
            gets_what_the_model_has(&store, &model_after(number));
        }
    }
}

#[test]
fn a_store_has_one_owner() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = open(folder.path());
    assert!(matches!(refusal(folder.path()), OpenError::InUse(_)));
    drop(store);
    open(folder.path());
}

#[test]
fn only_the_owner_sees_a_store() {
    let parent = tempfile::tempdir().expect("a folder");
    let folder = parent.path().join("store");
    let mut store = open(&folder);
    for number in 1..=40 {
        step(&mut store, number);
    }
    drop(store);
    drop(open(&folder));
    let mode = |path: &Path| fs::metadata(path).expect("there").permissions().mode() & 0o7777;
    let all = files(&folder);
    assert!(all.len() > 80, "{}", all.len());
    for file in all {
        assert_eq!(mode(&file), 0o600, "{}", file.display());
        for above in file.ancestors().skip(1).take_while(|above| above.starts_with(&folder)) {
            assert_eq!(mode(above), 0o700, "{}", above.display());
        }
    }
    // One that others could enter is closed to them.
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o755)).expect("its owner may");
    drop(open(&folder));
    assert_eq!(mode(&folder), 0o700);
}

#[test]
fn a_store_without_a_part_of_it_is_refused() {
    for part in ["sled/metadata", "sled/slabs", "sled"] {
        let folder = closed(1);
        fs::remove_dir_all(folder.path().join(part)).expect("removed");
        let refused = refusal(folder.path());
        assert!(matches!(refused, OpenError::Torn { .. }), "{part}: {refused}");
    }
}

#[test]
fn a_store_of_a_later_layout_is_refused() {
    let folder = closed(1);
    let store = open(folder.path());
    store.keeper.call(options().stall_limit, |kept| kept.database()?.flush(LAYOUT + 1, 1)).expect("flushed");
    drop(store);
    assert!(matches!(refusal(folder.path()), OpenError::Layout { found: 2, .. }));
}

/// What [`free_for_tests`] says.
static FREE: AtomicU64 = AtomicU64::new(u64::MAX);

fn free_for_tests(_: &Path) -> io::Result<u64> {
    Ok(FREE.load(Ordering::Relaxed))
}

#[test]
fn changes_are_refused_before_the_disk_is_full_and_taken_when_there_is_room_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let reserve_bytes = 1 << 30;
    let options = SledOptions { reserve_bytes, free_bytes: free_for_tests, ..options() };
    let mut store = SledSettled::open(folder.path(), options).expect("a store");
    step(&mut store, 1);
    let large = |value: Bytes| {
        let change = move |key: u8| Change {
            tree: Tree::Bodies,
            key: Bytes::copy_from_slice(&[key]),
            value: Some(value.clone()),
        };
        (0..12).map(change)
    };
    let value = Bytes::from(vec![7; 1 << 20]);
    for (free, enough) in [
        (0, false),
        (reserve_bytes, false),
        (reserve_bytes + (12 << 20), false),
        (reserve_bytes + (40 << 20), true),
    ] {
        FREE.store(free, Ordering::Relaxed);
        match store.apply(&mut large(value.clone()), 2) {
            Ok(()) => assert!(enough, "{free}"),
            Err(error) => {
                assert_eq!((error.kind(), enough), (io::ErrorKind::StorageFull, false), "{free}: {error}");
                assert_eq!((store.position(), content(&store).expect("readable")), (1, model_after(1)));
                assert!(!store.is_broken());
            }
        }
    }
    assert_eq!(store.position(), 2);
    assert_eq!(store.scan(Tree::Bodies, &[0], 12).expect("readable").len(), 12);
    // Nor does it close, which may write, on a disk that is full; nothing is lost by that.
    FREE.store(0, Ordering::Relaxed);
    assert_eq!(store.close().expect_err("no room").kind(), io::ErrorKind::StorageFull);
    assert_eq!(open(killed(folder.path()).path()).position(), 2);
}

#[test]
fn sled_opens_again_after_so_many_bytes_without_a_difference() {
    let folder = tempfile::tempdir().expect("a folder");
    let options = SledOptions { reopen_bytes: 100_000, ..options() };
    let mut store = SledSettled::open(folder.path(), options).expect("a store");
    let mut openings = 0;
    for number in 1..=120 {
        step(&mut store, number);
        openings += u32::from(store.changed_bytes == 0);
        assert_eq!(store.position(), number);
    }
    assert!(openings > 3, "{openings}");
    assert_eq!(content(&store).expect("readable"), model_after(120));
    assert!(matches!(refusal(folder.path()), OpenError::InUse(_)), "it is locked throughout");
    assert_eq!(content(&open(killed(folder.path()).path())).expect("readable"), model_after(120));
}

#[test]
fn what_was_read_counts_for_opening_again() {
    let folder = closed(120);
    // Opening reads fewer than so many leaves, and everything takes more.
    let options = SledOptions { reopen_bytes: 10 * (16 << 10), ..options() };
    let mut store = SledSettled::open(folder.path(), options).expect("a store");
    let change = || Change { tree: Tree::Meta, key: Bytes::from_static(b"key"), value: None };
    for (position, reads) in [(121, false), (122, true)] {
        if reads {
            content(&store).expect("readable");
        }
        store.apply(&mut [change()].into_iter(), position).expect("room");
        assert_eq!(store.changed_bytes == 0, reads, "{position}");
    }
}

#[test]
fn after_an_error_every_call_is_refused_and_what_is_on_disk_decides() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut store = open(folder.path());
    (1..=20).for_each(|number| step(&mut store, number));
    store.close().expect("closed");
    let mut store = open(folder.path());
    // Nothing is read yet but what opening needs; every leaf of the database is damaged under it.
    for slab in files(&folder.path().join("sled/slabs")) {
        let mut bytes = fs::read(&slab).expect("readable");
        bytes.iter_mut().for_each(|byte| *byte ^= 1);
        fs::write(slab, bytes).expect("written");
    }
    let failed = store.scan(Tree::Queues, b"", 10).expect_err("damaged");
    assert_eq!(failed.kind(), io::ErrorKind::InvalidData, "{failed}");
    assert!(store.is_broken());
    let refused = [
        store.get(Tree::Meta, b"key").map(drop),
        store.scan(Tree::Retained, b"", 1).map(drop),
        store.apply(&mut changes(21).into_iter(), 21),
        store.close(),
    ];
    for (at, refused) in refused.into_iter().enumerate() {
        let refused = refused.expect_err("refused").to_string();
        assert!(refused.starts_with("failed before and was given up: "), "{at}: {refused}");
    }
    assert!(matches!(refusal(folder.path()), OpenError::InUse(_)), "what is left behind keeps its lock");
}

#[test]
fn a_database_older_than_what_was_settled_last_is_refused() {
    let folder = closed(10);
    let older = killed(folder.path());
    let mut store = open(folder.path());
    (11..=30).for_each(|number| step(&mut store, number));
    store.close().expect("closed");
    // Only the metadata goes back: its slots hold something newer by now.
    let mixed = killed(folder.path());
    fs::remove_dir_all(mixed.path().join("sled/metadata")).expect("removed");
    copy(&older.path().join("sled/metadata"), &mixed.path().join("sled/metadata"));
    // The database goes back as a whole.
    let whole = killed(folder.path());
    fs::remove_dir_all(whole.path().join("sled")).expect("removed");
    copy(&older.path().join("sled"), &whole.path().join("sled"));
    for folder in [mixed, whole] {
        let refused = refusal(folder.path());
        assert!(matches!(refused, OpenError::Older { .. }), "{refused}");
        assert!(refused.to_string().contains("older than what was settled last"), "{refused}");
    }
    // Metadata that reaches far enough does not help a database that says otherwise.
    let last = Folder::take(older.path()).expect("free").0;
    let mark = metadata::mark(&last.metadata()).expect("readable");
    last.note_last(&Last { position: 11, mark }).expect("written");
    assert!(matches!(refusal(older.path()), OpenError::Older { .. }));
}

#[test]
fn a_flush_that_was_not_noted_any_more_is_kept() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut store = open(folder.path());
    step(&mut store, 1);
    let noted = fs::read(folder.path().join("position")).expect("noted");
    assert_eq!(store.folder.last().expect("whole").map(|last| last.position), Some(1));
    step(&mut store, 2);
    let killed = killed(folder.path());
    fs::write(killed.path().join("position"), noted).expect("written");
    let store = open(killed.path());
    assert_eq!((store.position(), content(&store).expect("readable")), (2, model_after(2)));
    assert_eq!(store.folder.last().expect("whole").map(|last| last.position), Some(2));
}

#[test]
fn a_damaged_note_is_refused_and_one_that_was_removed_is_made_anew() {
    let folder = closed(3);
    let note = folder.path().join("position");
    fs::write(&note, "3 1 0 #00000000\n").expect("written");
    assert!(matches!(refusal(folder.path()), OpenError::Position(_)));
    fs::remove_file(note).expect("removed");
    let store = open(folder.path());
    assert_eq!(content(&store).expect("readable"), model_after(3));
    assert_eq!(store.folder.last().expect("whole").map(|last| last.position), Some(3));
}

#[test]
fn a_power_cut_that_takes_the_empty_log_of_an_opening_takes_nothing_else() {
    let folder = closed(5);
    drop(open(folder.path()));
    for log in files(&folder.path().join("sled/metadata")) {
        let empty = fs::metadata(&log).expect("there").len() == 0;
        if empty && log.file_name().is_some_and(|name| name.to_string_lossy().starts_with("log_")) {
            fs::remove_file(log).expect("removed");
        }
    }
    // What sled would have deleted is missed by the opening after this one.
    for _ in 0..3 {
        assert_eq!(content(&open(folder.path())).expect("readable"), model_after(5));
    }
}

#[test]
fn metadata_that_is_not_whole_is_refused_before_sled_can_cut_it() {
    let folder = closed(5);
    let log = folder.path().join("sled/metadata/log_0000000000000001");
    let mut bytes = fs::read(&log).expect("the first log");
    let at = bytes.len() / 2;
    bytes[at] ^= 1;
    fs::write(&log, &bytes).expect("written");
    let before = files(folder.path());
    let refused = refusal(folder.path());
    assert!(matches!(refused, OpenError::Damaged { .. }), "{refused}");
    assert!(refused.to_string().contains("metadata/log_0000000000000001 is damaged at byte"), "{refused}");
    assert_eq!((files(folder.path()), fs::read(&log).expect("there")), (before, bytes));
}

#[test]
fn the_metadata_is_kept_aside_after_an_unclean_stop_until_the_store_changes() {
    let folder = closed(5);
    let there = |folder: &Path| ["metadata.aside", "metadata.kept"].map(|name| folder.join(name).exists());
    let store = open(folder.path());
    assert_eq!(there(folder.path()), [false, false], "it was closed");
    let killed = killed(folder.path());
    let mut store_after = open(killed.path());
    assert_eq!(there(killed.path()), [true, false]);
    step(&mut store_after, 6);
    assert_eq!(there(killed.path()), [false, true]);
    assert_eq!(content(&store_after).expect("readable"), model_after(6));
    drop((store, store_after));
    assert_eq!(content(&open(killed.path())).expect("readable"), model_after(6));
}

#[test]
fn an_opening_that_was_not_accepted_leaves_nothing_behind() {
    let folder = closed(5);
    let store = open(folder.path());
    let killed = killed(folder.path());
    drop(store);
    // An opening of which nothing came, and which cut the metadata down to nothing.
    let (unclean, _) = Folder::take(killed.path()).expect("free");
    unclean.copy_aside().expect("copied");
    for file in files(&unclean.metadata()) {
        fs::write(file, "").expect("written");
    }
    let store = open(killed.path());
    assert_eq!((store.position(), content(&store).expect("readable")), (5, model_after(5)));
}

#[test]
fn more_changes_than_fit_into_memory_are_made_at_once() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut store = open(folder.path());
    let change = |number: u64| Change {
        tree: Tree::Retained,
        key: Bytes::copy_from_slice(&number.to_be_bytes()),
        value: Some(Bytes::from(vec![7; 60])),
    };
    store.apply(&mut (0..100_000).map(change), 1).expect("room");
    let expected: Model =
        (0..100_000).map(change).map(|one| ((one.tree, one.key), one.value.expect("some"))).collect();
    assert!(content(&store).expect("readable") == expected);
}
