//! `pantala store`: looking into a store, and carrying it elsewhere.

use super::{Life, clean, persistent};
use crate::support::{Broker, publish};
use std::path::Path;
use std::process::{Command, Output};

fn store(action: &[&str], folder: &Path) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pantala"));
    command.arg("store").args(action).arg("--data").arg(folder).output().expect("the program runs")
}

#[track_caller]
fn told(action: &[&str], folder: &Path) -> String {
    let Output { status, stdout, stderr } = store(action, folder);
    assert!(status.success(), "{}", String::from_utf8_lossy(&stderr));
    String::from_utf8(stdout).expect("text")
}

/// A session that is owed two messages, and a retained one.
fn filled() -> Life {
    let life = Life::begin(2, "");
    let mut sleeper = persistent(&life, "sleeper", false);
    sleeper.subscribe("q/#", 1);
    drop(sleeper);
    let mut publisher = clean(&life, "publisher");
    for (id, topic) in [(1, "q/1"), (2, "q/2")] {
        publisher.send(&publish(2, topic, Some(id), b"kept"));
        publisher.expect(&[0x40, 2, 0, u8::try_from(id).expect("small")]);
    }
    publisher.send(&publish(3, "retained", Some(3), b"kept"));
    publisher.expect(&[0x40, 2, 0, 3]);
    life
}

/// What [`filled`] put into a store is there.
fn has_it_all(broker: &Broker) {
    let mut sleeper = persistent(broker, "sleeper", true);
    for (id, topic) in [(1, "q/1"), (2, "q/2")] {
        let got = sleeper.packet();
        let expected = [publish(2, topic, Some(id), b"kept"), publish(0xa, topic, Some(id), b"kept")];
        assert!(expected.contains(&got), "{got:02x?}");
    }
    let mut fresh = clean(broker, "fresh");
    fresh.subscribe("retained", 0);
    fresh.expect(&publish(1, "retained", None, b"kept"));
}

const NUMBERS: [&str; 4] =
    ["sessions 1\n", "subscriptions 1\n", "queued messages 2\n", "retained messages 1\n"];

#[test]
fn a_store_at_rest_is_verified_counted_exported_and_imported() {
    let mut life = filled();
    life.end();
    for action in ["verify", "stats"] {
        let shown = told(&[action], &life.path());
        assert!(NUMBERS.iter().all(|line| shown.contains(line)), "{shown}");
    }
    let (file, other) = (life.path().join("../all"), life.path().join("../other"));
    told(&["export", file.to_str().expect("text")], &life.path());
    let shown = told(&["import", file.to_str().expect("text")], &other);
    assert!(NUMBERS.iter().all(|line| shown.contains(line)), "{shown}");
    has_it_all(&Broker::over(&other, 3, ""));
    life.resume();
    has_it_all(&life);
}

#[test]
fn a_broker_that_runs_exports_what_it_has_acknowledged() {
    let life = filled();
    let (file, other) = (life.path().join("../all"), life.path().join("../other"));
    told(&["export", file.to_str().expect("text")], &life.path());
    let refused = store(&["stats"], &life.path());
    let why = String::from_utf8_lossy(&refused.stderr);
    assert!(!refused.status.success() && why.contains("in use by process"), "{why}");
    told(&["import", file.to_str().expect("text")], &other);
    has_it_all(&Broker::over(&other, 1, ""));
    has_it_all(&life);
}

#[test]
fn an_export_that_is_not_whole_and_a_folder_that_is_not_empty_are_refused() {
    let mut life = filled();
    life.end();
    let (file, other) = (life.path().join("../all"), life.path().join("../other"));
    told(&["export", file.to_str().expect("text")], &life.path());
    let again = store(&["import", file.to_str().expect("text")], &life.path());
    let why = String::from_utf8_lossy(&again.stderr);
    assert!(!again.status.success() && why.contains("empty"), "{why}");
    let whole = std::fs::read(&file).expect("an export");
    std::fs::write(&file, &whole[..whole.len() - 9]).expect("a file");
    let short = store(&["import", file.to_str().expect("text")], &other);
    assert!(!short.status.success(), "an export without its end");
    let nothing = store(&["verify"], &life.path().join("../nowhere"));
    let why = String::from_utf8_lossy(&nothing.stderr);
    assert!(!nothing.status.success() && why.contains("there is no store"), "{why}");
}
