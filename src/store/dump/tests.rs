//! Exports and imports, between both kinds of stores.

use std::path::Path;

use bytes::Bytes;

use super::*;
use crate::store::settled::MemorySettled;
use crate::store::settled::tests::{content, step};
use crate::store::sled::{OpenError, SledOptions, SledSettled};

fn open(folder: &Path) -> SledSettled {
    SledSettled::open(folder, SledOptions::default()).expect("a store")
}

/// A store with something in it, of which an empty key and value are part.
fn fill(store: &mut dyn Settled) {
    (1..=60).for_each(|number| step(store, number));
    let empty = Change { tree: Tree::Meta, key: Bytes::new(), value: Some(Bytes::new()) };
    store.apply(&mut [empty].into_iter(), 61).expect("room");
}

fn dump_of(store: &dyn Settled) -> Vec<u8> {
    let mut dump = Vec::new();
    export(store, &mut dump).expect("written");
    dump
}

fn filled() -> MemorySettled {
    let mut store = MemorySettled::default();
    fill(&mut store);
    store
}

/// The same lines with right checksums, changed.
fn rewritten(dump: &[u8], change: impl Fn(usize, &str) -> String) -> Vec<u8> {
    let (mut sum, mut lines) = (Hasher::new(), Vec::new());
    for (at, line) in std::str::from_utf8(dump).expect("ASCII").lines().enumerate() {
        let text = change(at, line.rsplit_once(" #").expect("a checksum").0);
        sum.update(text.as_bytes());
        let end = format!(" #{:08x}\n", sum.clone().finalize());
        sum.update(end.as_bytes());
        lines.extend([text.as_bytes(), end.as_bytes()].concat());
    }
    lines
}

fn import_into_memory(dump: &[u8]) -> Result<MemorySettled, Damaged> {
    let mut store = MemorySettled::default();
    import(&mut store, &mut &*dump).map(|()| store)
}

#[test]
fn an_export_carries_everything_between_stores_of_both_kinds() {
    let folders = [(); 2].map(|()| tempfile::tempdir().expect("a folder"));
    let [mut first, mut second] = folders.each_ref().map(|folder| open(folder.path()));
    fill(&mut first);
    let dump = dump_of(&first);
    assert!(dump == dump_of(&filled()), "the same content, the same bytes");
    let mut memory = import_into_memory(&dump).expect("read");
    import(&mut second, &mut &dump[..]).expect("read");
    let stores: [&mut dyn Settled; 2] = [&mut memory, &mut second];
    for store in stores {
        assert_eq!(store.position(), 61);
        assert_eq!(content(store).expect("readable"), content(&first).expect("readable"));
        assert!(dump == dump_of(store));
        verify(store).expect("whole");
        assert!(matches!(import(store, &mut &dump[..]), Err(Damaged::NotEmpty)));
    }
    let (counted, expected) = (stats(&second).expect("readable"), stats(&memory).expect("readable"));
    assert_eq!((counted.trees, counted.position), (expected.trees, 61));
    second.close().expect("closed");
    assert_eq!(content(&open(folders[1].path())).expect("readable"), content(&first).expect("readable"));
}

#[test]
fn every_flipped_bit_and_missing_end_is_noticed() {
    let dump = dump_of(&filled());
    for at in (0..dump.len()).step_by(61) {
        let mut bad = dump.clone();
        bad[at] ^= 1 << (at % 8);
        assert!(import_into_memory(&bad).is_err(), "byte {at}");
        assert!(import_into_memory(&dump[..at]).is_err(), "cut at {at}");
    }
    let lines: Vec<&[u8]> = dump.split_inclusive(|byte| *byte == b'\n').collect();
    let without_end = lines[..lines.len() - 1].concat();
    assert!(matches!(import_into_memory(&without_end), Err(Damaged::Short(_))));
    assert!(matches!(import_into_memory(&[&dump[..], b"\n"].concat()), Err(Damaged::Line(_))));
    for at in 1..lines.len() - 1 {
        let mut moved = lines.clone();
        moved.swap(at, at + 1);
        assert!(import_into_memory(&moved.concat()).is_err(), "line {at} moved");
        moved = lines.clone();
        moved.remove(at);
        assert!(import_into_memory(&moved.concat()).is_err(), "line {at} lost");
    }
}

#[test]
fn an_export_of_a_later_version_or_layout_is_refused_with_both_numbers() {
    let dump = dump_of(&filled());
    assert!(import_into_memory(&rewritten(&dump, |_, line| line.to_owned())).is_ok());
    for (first, version, layout) in [("pantala store 2 1 61", 2, 1), ("pantala store 1 9 61", 1, 9)] {
        let later = rewritten(&dump, |at, line| if at == 0 { first.to_owned() } else { line.to_owned() });
        let refused = import_into_memory(&later).map(drop);
        assert!(
            matches!(refused, Err(Damaged::Newer { version: v, layout: l }) if (v, l) == (version, layout)),
            "{refused:?}"
        );
    }
    for first in ["pantala store", "pantala store 1 1", "pantala store 1 1 61 0", "pantala store 1 x 61", ""]
    {
        let bad = rewritten(&dump, |at, line| if at == 0 { first.to_owned() } else { line.to_owned() });
        assert!(matches!(import_into_memory(&bad), Err(Damaged::Line(1))), "{first}");
    }
}

#[test]
fn a_count_that_is_wrong_is_refused_although_every_line_is_right() {
    let dump = dump_of(&filled());
    let bad = rewritten(&dump, |_, line| match line.strip_prefix("end ") {
        Some(count) => format!("end {}", count.parse::<u64>().expect("a number") + 1),
        None => line.to_owned(),
    });
    assert!(matches!(import_into_memory(&bad), Err(Damaged::Line(_))));
}

#[test]
fn a_store_whose_import_did_not_finish_is_empty_or_does_not_open() {
    // More than an import makes lasting at a time.
    let mut large = MemorySettled::default();
    let value = Bytes::from(vec![7; IMPORT_BYTES / 16]);
    let changes = (0..40_u8).map(|number| Change {
        tree: Tree::Bodies,
        key: Bytes::copy_from_slice(&[number]),
        value: Some(value.clone()),
    });
    large.apply(&mut { changes }, 5).expect("memory");
    let dump = dump_of(&large);
    for (cut, begun) in [(IMPORT_BYTES / 2, false), (dump.len() - 1, true)] {
        let folder = tempfile::tempdir().expect("a folder");
        let mut store = open(folder.path());
        let failed = import(&mut store, &mut &dump[..cut]);
        assert!(matches!(failed, Err(Damaged::Short(_))), "{failed:?}");
        store.close().expect("closed");
        match SledSettled::open(folder.path(), SledOptions::default()) {
            Ok(store) => assert_eq!((begun, content(&store).expect("readable").len()), (false, 0)),
            Err(error) => {
                assert!(begun && matches!(error, OpenError::Importing(_)), "{error}");
                assert!(error.to_string().contains("import again"), "{error}");
            }
        }
    }
}
