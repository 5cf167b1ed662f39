//! The journal on disks that lose, fail and damage.

mod cuts;
mod damage;

use super::*;
use crate::store::disk::SimDisk;

pub(super) const STORE: u128 = 0x1234_5678_9abc_def0_0fed_cba9_8765_4321;

/// Small segments, so that a test sees many.
pub(super) fn options(segment_bytes: u64) -> JournalOptions {
    JournalOptions { segment_bytes, ..JournalOptions::new(STORE) }
}

/// A payload that tells its number, of a length that varies.
pub(super) fn payload(number: u64) -> Vec<u8> {
    let length = 8 + number * 37 % 101;
    let mut bytes = number.to_le_bytes().to_vec();
    bytes.extend((0..length).map(|at| u8::try_from((number * 31 + at) % 251).expect("below 251")));
    bytes
}

/// Everything after a position, and the journal.
pub(super) type Recovered = (Vec<(u64, Vec<u8>)>, Journal<SimDisk>, RecoveryStats);

pub(super) fn read(disk: &SimDisk, options: &JournalOptions, after: u64) -> Result<Recovered, Refusal> {
    let mut recovery = recover(disk.clone(), options.clone(), Position(after))?;
    let mut groups = Vec::new();
    while let Some(group) = recovery.next()? {
        groups.push((group.position.0, group.payload.to_vec()));
    }
    let (journal, stats) = recovery.finish()?;
    Ok((groups, journal, stats))
}

pub(super) fn open(disk: &SimDisk, segment_bytes: u64) -> Journal<SimDisk> {
    read(disk, &options(segment_bytes), 0).expect("a journal").1
}

/// Appends and commits groups up to a number, one by one.
pub(super) fn fill(journal: &mut Journal<SimDisk>, up_to: u64) {
    while journal.position().0 < up_to {
        let number = journal.position().0 + 1;
        assert_eq!(journal.append(&payload(number)).expect("room"), Position(number));
        journal.commit().expect("a disk");
    }
}

pub(super) fn expected(numbers: impl Iterator<Item = u64>) -> Vec<(u64, Vec<u8>)> {
    numbers.map(|number| (number, payload(number))).collect()
}

fn segments(disk: &SimDisk) -> Vec<u64> {
    disk.list().expect("names").iter().filter_map(|name| format::segment_first(name)).collect()
}

#[test]
fn what_was_committed_comes_back_in_order_over_many_segments() {
    let disk = SimDisk::new(1);
    let mut journal = open(&disk, 512);
    fill(&mut journal, 100);
    assert!(journal.segments() > 10);
    for after in [0, 1, 2, 50, 99, 100] {
        let (groups, journal, stats) = read(&disk, &options(512), after).expect("a journal");
        assert_eq!(groups, expected(after + 1..=100));
        assert_eq!(stats.groups, 100 - after);
        assert_eq!(stats.cut, None);
        assert_eq!((journal.position(), journal.committed()), (Position(100), Position(100)));
    }
}

#[test]
fn a_journal_goes_on_where_it_was() {
    let disk = SimDisk::new(1);
    for round in 1..20 {
        let (groups, mut journal, _) = read(&disk, &options(1_024), 0).expect("a journal");
        assert_eq!(groups, expected(1..=(round - 1) * 3));
        fill(&mut journal, round * 3);
    }
}

#[test]
fn opening_and_not_writing_leaves_no_segment_behind() {
    let disk = SimDisk::new(1);
    fill(&mut open(&disk, 1_024), 3);
    let before = segments(&disk);
    for _ in 0..5 {
        open(&disk, 1_024);
    }
    assert_eq!(segments(&disk), before);
}

#[test]
fn a_journal_is_finished_without_reading_what_is_left() {
    let disk = SimDisk::new(1);
    fill(&mut open(&disk, 512), 30);
    let mut recovery = recover(disk, options(512), Position(10)).expect("a journal");
    assert_eq!(recovery.next().expect("whole").expect("more").position, Position(11));
    let (journal, stats) = recovery.finish().expect("whole");
    assert_eq!((journal.position(), stats.groups), (Position(30), 20));
}

#[test]
fn empty_groups_and_groups_larger_than_a_segment_are_groups() {
    let disk = SimDisk::new(1);
    let mut journal = open(&disk, 1_024);
    let large = vec![9; 700_000];
    for payload in [&b""[..], &large, b"", b"x", &large] {
        journal.append(payload).expect("room");
        journal.commit().expect("a disk");
    }
    let (groups, _, _) = read(&disk, &options(1_024), 0).expect("a journal");
    let lengths: Vec<usize> = groups.iter().map(|(_, payload)| payload.len()).collect();
    assert_eq!(lengths, [0, 700_000, 0, 1, 700_000]);
    assert!(groups[4].1 == large);
}

#[test]
fn freeing_keeps_the_newest_segment_before_the_position() {
    let disk = SimDisk::new(1);
    let mut journal = open(&disk, 512);
    fill(&mut journal, 60);
    let before = segments(&disk);
    let keep = before.len() / 2;
    // The group before the first of `before[keep]` is in the segment that has to stay.
    journal.free_before(Position(before[keep] - 1)).expect("a disk");
    assert_eq!(segments(&disk), before[keep - 1..]);
    let (groups, ..) = read(&disk, &options(512), before[keep] - 1).expect("a journal");
    assert_eq!(groups, expected(before[keep]..=60));
    journal.free_before(Position(60)).expect("a disk");
    assert_eq!(segments(&disk).len(), 2, "the current one and the one before");
    journal.free_before(Position(60)).expect("a disk");
    assert_eq!(segments(&disk).len(), 2);
    assert_eq!(journal.bytes_on_disk(), 512 * disk.list().expect("names").len() as u64);
    fill(&mut journal, 61);
}

#[test]
fn files_are_used_again_and_what_is_left_in_them_is_nothing() {
    let disk = SimDisk::new(1);
    let mut journal = open(&disk, 512);
    for round in 1..200 {
        fill(&mut journal, round);
        journal.free_before(Position(round - 1)).expect("a disk");
        assert!(disk.list().expect("names").len() <= 2 + SPARES_MAX, "it does not grow");
        let (groups, _, stats) = read(&disk.clone(), &options(512), round - 1).expect("a journal");
        assert_eq!(groups, expected(round..=round));
        assert_eq!(stats.cut, None);
        journal = read(&disk, &options(512), round).expect("a journal").1;
    }
}

#[test]
fn a_full_disk_is_met_a_segment_ahead() {
    let disk = SimDisk::new(1);
    disk.set_capacity(3 * 1_024);
    let mut journal = open(&disk, 1_024);
    let mut full = None;
    for number in 1..100 {
        let (room, bytes) = (journal.room(), Journal::<SimDisk>::group_bytes(payload(number).len()));
        match journal.append(&payload(number)) {
            Ok(_) => journal.commit().expect("a disk"),
            Err(error) => {
                assert!(matches!(error, JournalError::Full { bytes: 1_024 }), "{error}");
                assert!(room < bytes, "{room} were promised");
                full = Some(number);
                break;
            }
        }
    }
    let full = full.expect("three segments are soon full");
    assert_eq!(segments(&disk).len(), 3);
    assert!(!journal.is_poisoned());
    journal.commit().expect("what is there works");
    assert_eq!(read(&disk, &options(1_024), 0).expect("a journal").0, expected(1..=full - 1));
    assert!(matches!(journal.append(&payload(full)), Err(JournalError::Full { .. })), "still full");
    journal.free_before(Position(full - 1)).expect("a disk");
    assert!(journal.room() >= 1_024 - SEGMENT_HEADER as u64, "a freed segment is the spare one");
    fill(&mut journal, full + 5);
    assert_eq!(read(&disk, &options(1_024), full).expect("a journal").0, expected(full + 1..=full + 5));
}

#[test]
fn room_that_is_promised_is_there() {
    let disk = SimDisk::new(1);
    disk.set_capacity(2 * 1_024);
    let mut journal = open(&disk, 1_024);
    fill(&mut journal, 1);
    while journal.room() >= Journal::<SimDisk>::group_bytes(0) {
        journal.append(b"").expect("there is room");
    }
    assert!(matches!(journal.append(b""), Err(JournalError::Full { .. })));
}

#[test]
fn a_segment_without_another_after_it_is_told_until_there_is_room() {
    let disk = SimDisk::new(1);
    disk.set_capacity(3 * 1_024 - 1);
    let mut journal = open(&disk, 1_024);
    assert!(!journal.is_last_segment(), "the first is made when it is needed");
    fill(&mut journal, 1);
    assert!(!journal.is_last_segment());
    let mut number = 1;
    while segments(&disk).len() == 1 {
        number += 1;
        fill(&mut journal, number);
    }
    assert!(journal.is_last_segment(), "the second is the last");
    journal.prepare();
    assert!(journal.is_last_segment());
    disk.set_capacity(3 * 1_024);
    journal.prepare();
    assert!(!journal.is_last_segment());
}

#[test]
fn after_a_failed_sync_nothing_is_taken_until_it_is_opened_again() {
    let disk = SimDisk::new(1);
    let mut journal = open(&disk, 4_096);
    fill(&mut journal, 5);
    disk.fail_sync_after(0);
    journal.append(b"six").expect("a write");
    assert!(matches!(journal.commit(), Err(JournalError::Failed(_))));
    for _ in 0..2 {
        assert!(matches!(journal.append(b"seven"), Err(JournalError::Poisoned)));
        assert!(matches!(journal.commit(), Err(JournalError::Poisoned)), "also when the disk would take it");
    }
    disk.fail_sync_after(0);
    assert!(matches!(journal.reopen_after_failure(), Err(JournalError::Failed(_))), "the disk still fails");
    assert!(journal.is_poisoned());
    assert_eq!(journal.reopen_after_failure().expect("the disk works"), Position(5));
    fill(&mut journal, 9);
    // The failed segment may hold its own sixth group, which reads still see: it is void.
    assert_eq!(read(&disk, &options(4_096), 0).expect("a journal").0, expected(1..=9));
    disk.cut();
    assert_eq!(read(&disk, &options(4_096), 0).expect("a journal").0, expected(1..=9));
}

#[test]
fn after_a_failed_write_it_goes_on_behind_what_was_committed() {
    let disk = SimDisk::new(1);
    let mut journal = open(&disk, 4_096);
    fill(&mut journal, 2);
    journal.append(b"void").expect("a write");
    disk.fail_write_after(0);
    assert!(matches!(journal.append(b"fails"), Err(JournalError::Failed(_))));
    assert_eq!(journal.reopen_after_failure().expect("the disk works"), Position(2));
    assert_eq!(journal.position(), Position(2));
    fill(&mut journal, 4);
    assert_eq!(read(&disk, &options(4_096), 0).expect("a journal").0, expected(1..=4));
}

#[test]
fn opening_again_without_a_failure_changes_nothing() {
    let disk = SimDisk::new(1);
    let mut journal = open(&disk, 4_096);
    fill(&mut journal, 2);
    journal.append(&payload(3)).expect("a write");
    assert_eq!(journal.reopen_after_failure().expect("nothing to do"), Position(2));
    assert_eq!(journal.position(), Position(3));
}

#[test]
fn what_a_failed_process_could_not_write_is_written_before_it_counts() {
    for seed in 0..100 {
        let disk = SimDisk::new(seed);
        let mut journal = open(&disk, 4_096);
        fill(&mut journal, 3);
        journal.append(&payload(4)).expect("a write");
        disk.fail_sync_after(0);
        journal.commit().expect_err("it was told to");
        drop(journal);
        // The next process sees group 4 in the system's memory, and may have acted on it.
        let (groups, mut journal, _) = read(&disk, &options(4_096), 0).expect("a journal");
        assert_eq!(groups, expected(1..=4));
        fill(&mut journal, 5);
        disk.cut();
        assert_eq!(read(&disk, &options(4_096), 0).expect("a journal").0, expected(1..=5), "seed {seed}");
    }
}

#[test]
fn commits_to_the_system_alone_survive_the_process() {
    let disk = SimDisk::new(1);
    let options = JournalOptions { sync: SyncMode::Os, ..options(512) };
    let mut journal = read(&disk, &options, 0).expect("a journal").1;
    fill(&mut journal, 2);
    disk.fail_sync_after(0);
    journal.append(&payload(3)).expect("a write");
    journal.commit().expect("no sync");
    disk.heal();
    fill(&mut journal, 40);
    drop(journal);
    assert_eq!(read(&disk, &options, 0).expect("a journal").0, expected(1..=40));
}

#[test]
fn a_journal_on_a_real_folder_comes_back() {
    let parent = tempfile::tempdir().expect("a folder");
    let path = parent.path().join("journal");
    for round in 0..3 {
        let disk = crate::store::disk::RealDisk::open(&path).expect("a folder");
        let mut recovery = recover(disk, options(4_096), Position(0)).expect("a journal");
        for number in 1..=round * 50 {
            let group = recovery.next().expect("whole").expect("more");
            assert_eq!((group.position, group.payload), (Position(number), payload(number).as_slice()));
        }
        let (mut journal, stats) = recovery.finish().expect("whole");
        assert_eq!((stats.groups, stats.cut), (round * 50, None));
        for number in round * 50 + 1..=(round + 1) * 50 {
            journal.append(&payload(number)).expect("room");
            journal.commit().expect("a disk");
        }
        journal.free_before(Position(0)).expect("a disk");
    }
}

#[test]
fn no_name_leads_to_a_file_that_is_used_again() {
    for seed in 0..100 {
        let disk = SimDisk::new(seed);
        let mut journal = open(&disk, 512);
        fill(&mut journal, 60);
        journal.free_before(Position(50)).expect("a disk");
        // The next segment has its header, and its name is not on disk when the power goes.
        disk.fail_sync_after(1);
        while journal.append(&payload(journal.position().0 + 1)).is_ok() {}
        disk.cut();
        let refusal = read(&disk, &options(512), 0).expect_err("the first segments are gone");
        assert!(matches!(refusal, Refusal::Gap { .. }), "seed {seed}: {refusal}");
    }
}
