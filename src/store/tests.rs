//! The store against a model, through ends of its process, and damaged.
#![expect(clippy::disallowed_methods, reason = "waiting for a child process has no clock of ours")]

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use std::{env, fs, io, thread};

use bytes::Bytes;

use super::*;
use crate::types::Rng;

type Model = BTreeMap<(Tree, Bytes), Bytes>;

fn options() -> SledOptions {
    SledOptions {
        cache_bytes: 64 << 20,
        reserve_bytes: 0,
        open_timeout: Duration::from_secs(60),
        fatal: |error| {
            eprintln!("fatal: {error}");
            std::process::exit(3)
        },
    }
}

fn open(folder: &Path) -> SledSettled {
    SledSettled::open(folder, options()).expect("a store")
}

/// The changes of one step; the same for the same step.
fn changes(step: u64) -> Vec<Change> {
    let mut rng = Rng::new(step);
    (0..1 + rng.below(30))
        .map(|_| {
            let tree = *rng.pick(&Tree::ALL);
            let key = Bytes::from(format!("key {}", rng.below(300)));
            let length = usize::try_from(rng.below(200)).expect("short");
            let value =
                (!rng.chance(1, 3)).then(|| Bytes::from(vec![rng.next_u64().to_be_bytes()[0]; length]));
            Change { tree, key, value }
        })
        .collect()
}

fn follow(model: &mut Model, step: u64) {
    for Change { tree, key, value } in changes(step) {
        match value {
            Some(value) => model.insert((tree, key), value),
            None => model.remove(&(tree, key)),
        };
    }
}

fn model_after(steps: u64) -> Model {
    let mut model = Model::new();
    (1..=steps).for_each(|step| follow(&mut model, step));
    model
}

fn content(store: &dyn Settled) -> io::Result<Model> {
    let mut model = Model::new();
    for tree in Tree::ALL {
        let entries = store.scan(tree, b"", usize::MAX)?;
        model.extend(entries.into_iter().map(|(key, value)| ((tree, key), value)));
    }
    Ok(model)
}

fn step(store: &mut dyn Settled, step: u64) {
    store.apply(&mut changes(step).into_iter(), step).expect("room");
}

#[test]
fn a_store_is_its_model_through_closing_and_opening() {
    let folder = tempfile::tempdir().expect("a folder");
    let (mut store, mut memory) = (open(folder.path()), MemorySettled::default());
    for number in 1..=120 {
        step(&mut store, number);
        step(&mut memory, number);
        if number % 30 == 0 {
            store.close().expect("closed");
            store = open(folder.path());
            assert_eq!(store.position(), number);
            assert_eq!(content(&store).expect("readable"), model_after(number));
            assert_eq!(content(&memory).expect("readable"), model_after(number));
        }
    }
    verify(&store).expect("whole");
    assert_eq!(stats(&store).expect("readable").trees, stats(&memory).expect("readable").trees);
}

#[test]
fn an_export_carries_everything_and_shows_damage() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut store = open(folder.path());
    let mut memory = MemorySettled::default();
    (1..=60).for_each(|number| step(&mut memory, number));
    let empty = Change { tree: Tree::Meta, key: Bytes::new(), value: Some(Bytes::new()) };
    memory.apply(&mut [empty].into_iter(), 61).expect("memory");
    let mut dump = Vec::new();
    export(&memory, &mut dump).expect("written");
    import(&mut store, &mut &dump[..]).expect("read");
    assert_eq!(store.position(), 61);
    assert_eq!(content(&store).expect("readable"), content(&memory).expect("readable"));
    let mut again = Vec::new();
    export(&store, &mut again).expect("written");
    assert!(dump == again, "the same content, the same bytes");
    assert!(matches!(import(&mut store, &mut &dump[..]), Err(Damaged::NotEmpty)));

    for at in (0..dump.len()).step_by(61) {
        let mut bad = dump.clone();
        bad[at] ^= 1;
        assert!(import(&mut MemorySettled::default(), &mut &bad[..]).is_err(), "byte {at}");
        assert!(import(&mut MemorySettled::default(), &mut &dump[..at]).is_err(), "cut at {at}");
    }
}

#[test]
fn a_store_has_one_owner() {
    let folder = tempfile::tempdir().expect("a folder");
    let _store = open(folder.path());
    assert!(matches!(SledSettled::open(folder.path(), options()), Err(OpenError::InUse(_))));
}

#[test]
fn a_store_without_a_part_of_it_is_refused() {
    for part in ["sled/metadata", "sled/slabs", "sled"] {
        let folder = tempfile::tempdir().expect("a folder");
        let mut store = open(folder.path());
        step(&mut store, 1);
        store.close().expect("closed");
        fs::remove_dir_all(folder.path().join(part)).expect("removed");
        let refused = SledSettled::open(folder.path(), options());
        assert!(matches!(refused, Err(OpenError::Torn { .. })), "{part}: {refused:?}");
    }
}

#[test]
fn changes_are_refused_before_the_disk_is_full() {
    let folder = tempfile::tempdir().expect("a folder");
    open(folder.path()).close().expect("closed");
    let full = SledOptions { reserve_bytes: u64::MAX, ..options() };
    let mut store = SledSettled::open(folder.path(), full).expect("a store");
    let refused = store.apply(&mut changes(1).into_iter(), 1).expect_err("no room");
    assert_eq!(refused.kind(), io::ErrorKind::StorageFull);
    assert_eq!((store.position(), content(&store).expect("readable")), (0, Model::new()));
}

/// Runs one of the tests below, that are ignored elsewhere, as a process of its own.
fn child(role: &str, folder: &Path) -> Command {
    let mut command = Command::new(env::current_exe().expect("this program"));
    command.args(["--exact", &format!("store::tests::{role}"), "--ignored", "--nocapture"]);
    command.env("STORE_FOLDER", folder).stdout(Stdio::piped()).stderr(Stdio::null());
    command
}

#[test]
#[ignore = "a child process of other tests"]
fn child_that_changes() {
    let mut store = open(Path::new(&env::var_os("STORE_FOLDER").expect("a folder")));
    for number in store.position() + 1.. {
        step(&mut store, number);
        println!("\nsettled {number}");
    }
}

#[test]
#[ignore = "a child process of other tests"]
fn child_that_reads() {
    let mut store = open(Path::new(&env::var_os("STORE_FOLDER").expect("a folder")));
    let position = store.position();
    if content(&store).expect("readable") != model_after(position) {
        println!("\nwrong {position}");
    }
    step(&mut store, position + 1);
    println!("\nwhole {position}");
}

#[test]
fn what_was_settled_outlives_a_killed_process() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut acknowledged = 0;
    for kill in 0..12 {
        let mut writer = child("child_that_changes", folder.path()).spawn().expect("a child");
        let lines = BufReader::new(writer.stdout.take().expect("piped")).lines();
        let settled = lines.filter_map(|line| line.ok()?.strip_prefix("settled ")?.parse::<u64>().ok());
        let mut settled = settled.skip(kill * 3 % 11);
        acknowledged = settled.next().expect("progress").max(acknowledged);
        writer.kill().and_then(|()| writer.wait()).expect("killed");
        acknowledged = settled.last().unwrap_or(acknowledged);
        let store = open(folder.path());
        assert!(store.position() >= acknowledged, "{} of {acknowledged}", store.position());
        assert_eq!(content(&store).expect("readable"), model_after(store.position()));
        if kill % 2 == 0 {
            store.close().expect("closed");
        }
    }
}

/// Whether the process ended in time, and what it printed.
fn outcome(mut command: Command, limit: Duration) -> Option<String> {
    let mut reader = command.spawn().expect("a child");
    let start = Instant::now();
    while reader.try_wait().expect("a child").is_none() {
        if start.elapsed() > limit {
            reader.kill().and_then(|()| reader.wait()).expect("killed");
            return None;
        }
        thread::sleep(Duration::from_millis(5));
    }
    Some(io::read_to_string(reader.stdout.take().expect("piped")).unwrap_or_default())
}

fn files(folder: &Path) -> Vec<std::path::PathBuf> {
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

/// A damaged store may be older in silence, which the journal finds out; but what it says is as it was at that position.
/// `STORE_DAMAGE` is the number of bytes flipped, each in a store of its own.
#[test]
fn a_damaged_store_is_refused_or_what_it_was_at_its_position() {
    let original = tempfile::tempdir().expect("a folder");
    let mut store = open(original.path());
    (1..=40).for_each(|number| step(&mut store, number));
    store.close().expect("closed");
    let runs = env::var("STORE_DAMAGE").map_or(16, |runs| runs.parse().expect("a number"));
    let (mut whole, mut refused, mut hung, mut older) = (0, 0, 0, 0);
    for seed in 0..runs {
        let mut rng = Rng::new(seed);
        let folder = tempfile::tempdir().expect("a folder");
        copy(original.path(), folder.path());
        let all = files(folder.path());
        let all: Vec<_> =
            all.iter().filter(|file| file.metadata().is_ok_and(|data| data.len() > 0)).collect();
        let file = rng.pick(&all);
        let mut bytes = fs::read(file).expect("readable");
        let at = usize::try_from(rng.below(bytes.len() as u64)).expect("in it");
        bytes[at] ^= 1 << rng.below(8);
        fs::write(file, bytes).expect("written");
        let said = outcome(child("child_that_reads", folder.path()), Duration::from_secs(8));
        assert!(!said.as_ref().is_some_and(|said| said.contains("\nwrong")), "seed {seed}: wrong in silence");
        let position =
            said.as_ref().map(|said| said.lines().find_map(|line| line.strip_prefix("whole ")?.parse().ok()));
        match position {
            Some(Some(40)) => whole += 1,
            Some(Some(position)) => {
                assert!(position < 40_u64, "seed {seed}: {position} was never settled");
                older += 1;
            }
            Some(None) => {
                refused += 1;
            }
            None => hung += 1,
        }
    }
    println!("{runs} flipped: {whole} whole, {refused} refused, {hung} hung, {older} older");
}
