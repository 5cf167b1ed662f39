//! The folder: whose it is, who may read it, and how much of a promise is wanted.

use super::{Life, clean, persistent};
use crate::support::{Broker, publish};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

#[test]
fn a_second_broker_on_the_same_folder_is_refused_and_told_by_whom() {
    let life = Life::begin(2, "");
    let refused = Broker::try_over(&life.path(), 2, "").err().expect("it is in use");
    assert_eq!(refused.status.code(), Some(1));
    let pid = life.pid().as_raw_nonzero().to_string();
    assert!(refused.log.contains(&pid), "{pid} is not in: {}", refused.log);
    assert!(refused.log.contains(&*life.path().to_string_lossy()), "{}", refused.log);
    life.serves();
}

#[test]
fn a_broker_that_was_killed_leaves_no_lock() {
    let mut life = Life::begin(1, "");
    for _ in 0..3 {
        life.restart();
        life.serves();
    }
}

/// Modes of everything in a folder.
fn modes(path: &Path, seen: &mut Vec<(String, bool, u32)>) {
    let about = path.metadata().expect("it is there");
    seen.push((path.display().to_string(), about.is_dir(), about.permissions().mode() & 0o777));
    if about.is_dir() {
        for entry in path.read_dir().expect("a folder") {
            modes(&entry.expect("an entry").path(), seen);
        }
    }
}

#[test]
fn nobody_else_may_look_into_the_folder() {
    let mut life = Life::begin(1, "checkpoint_bytes = 1_048_576");
    persistent(&life, "sleeper", false).subscribe("m", 1);
    let mut publisher = clean(&life, "publisher");
    (0..40).for_each(|_| publisher.publishes_v3(0, "m", &[b'x'; 50_000]));
    life.end = super::End::Stopped;
    life.restart();
    let mut seen = Vec::new();
    modes(&life.path(), &mut seen);
    assert!(seen.len() > 5, "{seen:?}");
    for (path, is_folder, mode) in seen {
        assert_eq!(mode, if is_folder { 0o700 } else { 0o600 }, "{path} has mode {mode:o}");
    }
}

#[test]
fn durability_on_disk_or_in_the_system_survives_a_kill_and_none_keeps_nothing() {
    for (durability, kept) in [("fsync", true), ("os", true), ("none", false)] {
        let mut life = Life::begin(2, &format!("durability = \"{durability}\""));
        life.serves();
        let mut sleeper = persistent(&life, "sleeper", false);
        sleeper.subscribe("d", 1);
        sleeper.leave_v3();
        let mut publisher = clean(&life, "publisher");
        publisher.publishes_v3(0, "d", b"queued");
        publisher.publishes_v3(1, "retained", b"x");
        if !kept {
            let mut sleeper = persistent(&life, "sleeper", true);
            sleeper.expect(&publish(2, "d", Some(1), b"queued"));
            assert!(!life.path().exists(), "it writes nothing");
        }
        life.restart();
        let mut reader = clean(&life, "reader");
        reader.subscribe("retained", 0);
        if kept {
            reader.expect(&publish(1, "retained", None, b"x"));
            persistent(&life, "sleeper", true).expect(&publish(2, "d", Some(1), b"queued"));
        } else {
            reader.expect_silence();
            persistent(&life, "sleeper", false).expect_silence();
        }
    }
}
