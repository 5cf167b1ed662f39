//! What the journal relies on, of both disks.

use std::fs::Permissions;
use std::io;
use std::os::unix::fs::PermissionsExt;

use super::*;

/// The same for both.
fn keeps_files<D: Disk>(disk: &D) {
    let mut file = disk.create("a", 100).expect("room");
    assert_eq!(file.len().expect("a length"), 100);
    file.write_at(b"hello", 95).expect("inside");
    file.sync_data().expect("a disk");
    let mut read = [1; 8];
    assert_eq!(file.read_at(&mut read, 92).expect("bytes"), 8);
    assert_eq!(&read, b"\0\0\0hello");
    assert_eq!(file.read_at(&mut read, 98).expect("bytes"), 2, "up to the end");
    assert_eq!(file.read_at(&mut read, 500).expect("bytes"), 0, "behind the end");
    assert_eq!(disk.create("a", 1).expect_err("it is there").kind(), io::ErrorKind::AlreadyExists);

    disk.create("b", 0).expect("room");
    disk.rename("a", "b").expect("it is there");
    assert_eq!(disk.list().expect("names"), ["b"]);
    assert_eq!(disk.open("b").expect("it is there").len().expect("a length"), 100, "a replaced b");
    assert_eq!(disk.open("a").expect_err("it is gone").kind(), io::ErrorKind::NotFound);
    disk.sync_folder().expect("a disk");
    disk.remove("b").expect("it is there");
    assert_eq!(disk.remove("b").expect_err("it is gone").kind(), io::ErrorKind::NotFound);
    assert!(disk.list().expect("names").is_empty());
}

#[test]
fn a_folder_keeps_files() {
    let parent = tempfile::tempdir().expect("a folder");
    keeps_files(&RealDisk::open(&parent.path().join("journal")).expect("a folder"));
}

#[test]
fn a_simulated_folder_keeps_files() {
    keeps_files(&SimDisk::new(1));
}

#[test]
fn what_is_made_is_for_its_owner_only() {
    let parent = tempfile::tempdir().expect("a folder");
    let path = parent.path().join("journal");
    let disk = RealDisk::open(&path).expect("a folder");
    disk.create("a", 1).expect("room");
    let mode =
        |path| std::fs::metadata(path).map(|found| found.permissions().mode() & 0o777).expect("it is there");
    assert_eq!(mode(disk.path().to_owned()), 0o700);
    assert_eq!(mode(path.join("a")), 0o600);
    assert_eq!(mode(path.join("lock")), 0o600);
}

#[test]
fn a_second_opening_is_refused_with_the_pid_of_the_first() {
    let parent = tempfile::tempdir().expect("a folder");
    let path = parent.path().join("journal");
    let first = RealDisk::open(&path).expect("a folder");
    let refused = RealDisk::open(&path).expect_err("it is taken");
    assert!(
        matches!(refused, FolderError::Locked { pid: Some(pid), .. } if pid == std::process::id()),
        "{refused}"
    );
    assert!(refused.to_string().contains(&format!("in use by process {}", std::process::id())), "{refused}");
    drop(first);
    RealDisk::open(&path).expect("it is free again");
}

#[test]
fn a_lock_that_was_left_behind_locks_nobody_out() {
    let parent = tempfile::tempdir().expect("a folder");
    std::fs::write(parent.path().join("lock"), "123456789\n").expect("a file");
    std::fs::set_permissions(parent.path(), Permissions::from_mode(0o700)).expect("it is ours");
    RealDisk::open(parent.path()).expect("nobody has it");
    let lock = std::fs::read_to_string(parent.path().join("lock")).expect("a file");
    assert_eq!(lock, format!("{}\n", std::process::id()));
}

#[test]
fn a_folder_without_a_parent_is_refused_with_its_name() {
    let parent = tempfile::tempdir().expect("a folder");
    let path = parent.path().join("a/b");
    let refused = RealDisk::open(&path).expect_err("there is no a");
    assert!(refused.to_string().starts_with(path.to_str().expect("UTF-8")), "{refused}");
}

#[test]
fn a_cut_keeps_what_was_synced() {
    for seed in 0..100 {
        let disk = SimDisk::new(seed);
        let mut file = disk.create("a", 4_096).expect("room");
        file.write_at(&[7; 4_096], 0).expect("a disk");
        file.sync_data().expect("a disk");
        disk.sync_folder().expect("a disk");
        disk.remove("a").expect("it is there");
        disk.rename("a", "b").expect_err("it is gone");
        disk.cut();
        let bytes = disk.bytes("a").unwrap_or_else(|| vec![7; 4_096]);
        assert_eq!(bytes, [7; 4_096], "seed {seed}");
    }
}

/// Runs `make` on fresh disks and counts in how many the check holds after a cut.
fn after_cuts(make: impl Fn(&SimDisk), check: impl Fn(&SimDisk) -> bool) -> usize {
    (0..200)
        .filter(|&seed| {
            let disk = SimDisk::new(seed);
            make(&disk);
            disk.cut();
            check(&disk)
        })
        .count()
}

#[test]
fn a_cut_tears_and_reorders_what_was_not_synced() {
    let make = |disk: &SimDisk| {
        let mut file = disk.create("a", 4 * 512).expect("room");
        file.sync_data().expect("a disk");
        disk.sync_folder().expect("a disk");
        file.write_at(&[1; 1_024], 0).expect("a disk");
        file.write_at(&[2; 1_024], 1_024).expect("a disk");
    };
    let sectors = |disk: &SimDisk| -> Vec<u8> {
        let bytes = disk.bytes("a").expect("its name was synced");
        bytes
            .chunks(512)
            .map(|sector| {
                assert!(sector.iter().all(|byte| *byte == sector[0]), "a sector is whole");
                sector[0]
            })
            .collect()
    };
    for expected in [[0, 0, 0, 0], [1, 1, 2, 2], [1, 0, 0, 0], [0, 0, 2, 2], [0, 1, 0, 2]] {
        assert!(after_cuts(make, |disk| sectors(disk) == expected) > 0, "{expected:?}");
    }
}

#[test]
fn a_cut_may_undo_names_that_were_not_synced() {
    let make = |disk: &SimDisk| {
        disk.create("old", 1).expect("room");
        disk.sync_folder().expect("a disk");
        disk.rename("old", "new").expect("it is there");
        disk.create("more", 1).expect("room");
    };
    for expected in [&["old"][..], &["new"], &["more", "old"], &["more", "new"]] {
        assert!(after_cuts(make, |disk| disk.list().expect("names") == expected) > 0, "{expected:?}");
    }
}

#[test]
fn a_failed_sync_forgets_what_it_could_not_write() {
    let lost = after_cuts(
        |disk| {
            let mut file = disk.create("a", 4_096).expect("room");
            file.sync_data().expect("a disk");
            disk.sync_folder().expect("a disk");
            file.write_at(&[1; 4_096], 0).expect("a disk");
            disk.fail_sync_after(0);
            file.sync_data().expect_err("it was told to");
            file.sync_data().expect("as on Linux");
            assert_eq!(disk.bytes("a").expect("it is there"), [1; 4_096], "reads see it");
        },
        |disk| disk.bytes("a").expect("it is there").contains(&0),
    );
    assert!(lost > 150, "{lost}");
}

#[test]
fn a_full_disk_takes_no_more_files_until_some_are_removed() {
    let disk = SimDisk::new(1);
    disk.set_capacity(100);
    disk.create("a", 60).expect("room");
    assert_eq!(disk.create("b", 41).expect_err("no room").kind(), io::ErrorKind::StorageFull);
    disk.remove("a").expect("it is there");
    disk.create("b", 41).expect("room");
}

#[test]
fn the_write_that_was_chosen_fails_half_done() {
    let disk = SimDisk::new(1);
    let mut file = disk.create("a", 4).expect("room");
    disk.fail_write_after(1);
    file.write_at(b"ab", 0).expect("the first");
    file.write_at(b"cd", 2).expect_err("the second");
    assert_eq!(disk.bytes("a").expect("it is there"), b"abc\0");
    file.write_at(b"cd", 2).expect("the third");
}
