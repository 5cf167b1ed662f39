//! Bytes that are not what was written, and files that are not there: an exact prefix or a refusal, nothing else.

use super::*;

/// A journal of `groups` groups, each committed.
fn journal(groups: u64, segment_bytes: u64) -> SimDisk {
    let disk = SimDisk::new(1);
    fill(&mut open(&disk, segment_bytes), groups);
    disk
}

/// A disk with the same files, one of them changed.
fn with(disk: &SimDisk, name: &str, bytes: &[u8]) -> SimDisk {
    let copy = SimDisk::new(2);
    for name in disk.list().expect("names") {
        copy.put(&name, &disk.bytes(&name).expect("it is there"));
    }
    copy.put(name, bytes);
    copy
}

fn segment_names(disk: &SimDisk) -> Vec<String> {
    segments(disk).into_iter().map(format::segment_name).collect()
}

/// Reads a damaged journal: at least `least` of `groups` groups, as they were, or a refusal.
fn prefix_or_refusal(disk: &SimDisk, segment_bytes: u64, least: u64, groups: u64, what: &str) -> bool {
    match read(disk, &options(segment_bytes), 0) {
        Ok((found, ..)) => {
            assert!(found.len() as u64 >= least, "{what}: {} groups are left", found.len());
            assert!(found.len() as u64 <= groups, "{what}");
            assert_eq!(found, expected(1..=found.len() as u64), "{what}");
            true
        }
        Err(refusal) => {
            assert!(refusal.to_string().contains("byte"), "{refusal}");
            false
        }
    }
}

#[test]
fn every_flipped_byte_is_harmless_or_refused() {
    const GROUPS: u64 = 12;
    let disk = journal(GROUPS, 512);
    let names = segment_names(&disk);
    assert!(names.len() >= 3);
    let (mut read, mut refused) = (0, 0);
    for name in &names {
        let bytes = disk.bytes(name).expect("it is there");
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1 << (at % 8);
            let what = format!("{name}, byte {at}");
            // The last group is all that can go without a trace: nothing behind it says that it was there.
            let whole = prefix_or_refusal(&with(&disk, name, &damaged), 512, GROUPS - 1, GROUPS, &what);
            *if whole { &mut read } else { &mut refused } += 1;
        }
    }
    assert!(read > 50 && refused > 1_000, "{read} and {refused}");
}

#[test]
fn every_zeroed_byte_and_sector_is_harmless_or_refused() {
    const GROUPS: u64 = 30;
    let disk = journal(GROUPS, 2_048);
    for name in segment_names(&disk) {
        let bytes = disk.bytes(&name).expect("it is there");
        for (at, length) in (0..bytes.len()).map(|at| (at, 1)).chain((0..4).map(|sector| (sector * 512, 512)))
        {
            let mut damaged = bytes.clone();
            damaged[at..(at + length).min(bytes.len())].fill(0);
            let last_ones = if length == 1 { 1 } else { 9 };
            let what = format!("{name}, {length} from {at}");
            prefix_or_refusal(&with(&disk, &name, &damaged), 2_048, GROUPS - last_ones, GROUPS, &what);
        }
    }
}

#[test]
fn a_file_that_is_cut_short_anywhere_is_refused() {
    let disk = journal(12, 512);
    for name in segment_names(&disk) {
        let bytes = disk.bytes(&name).expect("it is there");
        for length in 0..bytes.len() {
            let short = with(&disk, &name, &bytes[..length]);
            let refusal = read(&short, &options(512), 0).expect_err("it is short");
            assert!(matches!(&refusal, Refusal::Damaged { file, .. } if *file == name), "{refusal}");
        }
    }
}

/// The last segment, and where its groups end.
fn last_segment(disk: &SimDisk) -> (String, Vec<u8>, usize) {
    let name = segment_names(disk).pop().expect("a segment");
    let bytes = disk.bytes(&name).expect("it is there");
    let mut end = SEGMENT_HEADER;
    while let Some((header, _)) = GroupHeader::decode(&bytes[end..], STORE) {
        end += usize::try_from(group_bytes(header.length)).expect("small");
    }
    (name, bytes, end)
}

#[test]
fn a_tail_that_is_torn_at_any_byte_is_cut_there_and_reported() {
    let disk = SimDisk::new(1);
    let mut journal = open(&disk, 4_096);
    fill(&mut journal, 3);
    let start = last_segment(&disk).2;
    journal.append(&payload(4)).expect("room");
    let (name, bytes, end) = last_segment(&disk);
    let last_byte = start + GROUP_HEADER + payload(4).len();
    for at in start..last_byte {
        let mut torn = bytes.clone();
        torn[at..end].fill(0);
        let torn = with(&disk, &name, &torn);
        let (groups, mut journal, stats) = read(&torn, &options(4_096), 0).expect("a torn tail is normal");
        let whole = bytes[at..end].iter().all(|byte| *byte == 0);
        assert_eq!(groups.len(), if whole { 4 } else { 3 });
        let cut = Cut { file: name.clone(), offset: start as u64 };
        assert_eq!(stats.cut, (!whole && at > start).then_some(cut), "byte {at}");
        let more = groups.len() as u64 + 2;
        fill(&mut journal, more);
        assert_eq!(read(&torn, &options(4_096), 0).expect("a journal").0, expected(1..=more));
    }
}

#[test]
fn groups_that_reached_the_disk_before_their_predecessors_are_a_torn_tail() {
    let disk = SimDisk::new(1);
    let mut journal = open(&disk, 4_096);
    fill(&mut journal, 3);
    let lost = last_segment(&disk).2;
    for number in 4..=6 {
        journal.append(&payload(number)).expect("room");
    }
    let (name, mut bytes, _) = last_segment(&disk);
    bytes[lost + 5] ^= 1;
    let torn = with(&disk, &name, &bytes);
    let (groups, _, stats) = read(&torn, &options(4_096), 0).expect("none of them was committed");
    assert_eq!(groups, expected(1..=3));
    assert_eq!(stats.cut, Some(Cut { file: name.clone(), offset: lost as u64 }));
    // The same bytes are damage once a group behind them knows that they were on disk.
    journal.commit().expect("a disk");
    fill(&mut journal, 7);
    let mut bytes = disk.bytes(&name).expect("it is there");
    bytes[lost + 5] ^= 1;
    let refusal = read(&with(&disk, &name, &bytes), &options(4_096), 0).expect_err("it was committed");
    assert!(matches!(refusal, Refusal::Damaged { offset, .. } if offset == lost as u64), "{refusal}");
    assert!(
        refusal.to_string().contains("group 4 cannot be read, and was on disk when group 7"),
        "{refusal}"
    );
}

#[test]
fn a_settled_state_older_than_the_journal_is_refused() {
    let disk = SimDisk::new(1);
    let mut journal = open(&disk, 512);
    fill(&mut journal, 60);
    journal.free_before(Position(50)).expect("a disk");
    let first = segments(&disk)[0];
    assert!(read(&disk, &options(512), first - 1).is_ok());
    let refusal = read(&disk, &options(512), first - 2).expect_err("group first - 1 is gone");
    assert!(
        matches!(refusal, Refusal::Gap { first: found, after, .. } if found == first && after == first - 2)
    );
    assert!(refusal.to_string().contains("older than the journal"), "{refusal}");
}

#[test]
fn a_settled_state_newer_than_the_journal_is_refused() {
    let disk = journal(5, 512);
    let refusal = read(&disk, &options(512), 6).expect_err("there is no group 6");
    assert!(matches!(refusal, Refusal::BeyondEnd { end: 5, after: 6, .. }), "{refusal}");
    let refusal = read(&SimDisk::new(1), &options(512), 1).expect_err("there is no journal");
    assert!(matches!(refusal, Refusal::BeyondEnd { end: 0, after: 1, .. }), "{refusal}");
    // A damaged group is no torn tail where the settled state knows of it.
    let (name, mut bytes, end) = last_segment(&disk);
    bytes[end - 9] ^= 1;
    let refusal = read(&with(&disk, &name, &bytes), &options(512), 5).expect_err("5 is settled");
    assert!(matches!(refusal, Refusal::BeyondEnd { end: 4, after: 5, .. }), "{refusal}");
}

#[test]
fn a_missing_segment_is_refused_with_the_groups_in_it() {
    let disk = journal(30, 512);
    let firsts = segments(&disk);
    for missing in 1..firsts.len() - 1 {
        let copy = with(&disk, "other", b"");
        copy.remove(&format::segment_name(firsts[missing])).expect("it is there");
        let refusal = read(&copy, &options(512), 0).expect_err("a file is missing");
        let (from, to) = (firsts[missing], firsts[missing + 1] - 1);
        assert!(
            matches!(refusal, Refusal::Missing { from: f, to: t, .. } if f == from && t == to),
            "{refusal} instead of {from} to {to}"
        );
        assert!(read(&copy, &options(512), to).is_ok(), "nobody needs what is settled");
    }
}

#[test]
fn a_segment_of_another_time_is_refused() {
    let (disk, other) = (journal(30, 512), SimDisk::new(1));
    let mut journal = open(&other, 512);
    while journal.position().0 < 30 {
        let number = journal.position().0 + 1;
        let mut different = payload(number);
        different[9] ^= 1;
        journal.append(&different).expect("room");
        journal.commit().expect("a disk");
    }
    let name = &segment_names(&disk)[2];
    let mixed = with(&disk, name, &other.bytes(name).expect("the same lengths"));
    let refusal = read(&mixed, &options(512), 0).expect_err("it continues another journal");
    assert!(refusal.to_string().contains("does not continue group"), "{refusal}");
}

#[test]
fn files_of_another_store_are_refused() {
    let disk = journal(3, 512);
    let other = JournalOptions { store_id: STORE + 1, ..options(512) };
    let refusal = read(&disk, &other, 0).expect_err("it is another store");
    assert!(matches!(refusal, Refusal::WrongStore { found: STORE, .. }), "{refusal}");
}

#[test]
fn a_newer_layout_is_refused_as_such() {
    let disk = journal(3, 4_096);
    let (name, mut bytes, _) = last_segment(&disk);
    let (header, _) = format::SegmentHeader::decode(&bytes).expect("whole");
    let newer = format::SegmentHeader { layout: format::LAYOUT + 1, ..header };
    bytes[..SEGMENT_HEADER].copy_from_slice(&newer.encode().0);
    let refusal = read(&with(&disk, &name, &bytes), &options(4_096), 0).expect_err("it is newer");
    assert!(matches!(refusal, Refusal::NewerLayout { found: 2, known: 1, .. }), "{refusal}");
}

#[test]
fn a_message_that_looks_like_a_group_is_not_one() {
    let disk = SimDisk::new(1);
    let mut journal = open(&disk, 4_096);
    fill(&mut journal, 2);
    // Somebody who does not know the store's number sends a group that claims to prove group 3.
    let mut forged = Vec::new();
    GroupHeader::new(0, b"", 4, 3, 0, 0).write(&mut forged, b"", 0);
    let torn = last_segment(&disk).2;
    journal.append(&forged.repeat(3)).expect("room");
    let (name, mut bytes, _) = last_segment(&disk);
    bytes[torn] ^= 1;
    let (groups, ..) = read(&with(&disk, &name, &bytes), &options(4_096), 0).expect("a torn tail");
    assert_eq!(groups, expected(1..=2));
}

#[test]
fn groups_of_another_use_of_the_file_are_not_taken_even_where_their_numbers_fit() {
    let disk = journal(3, 4_096);
    let (name, mut bytes, _) = last_segment(&disk);
    let (header, _) = format::SegmentHeader::decode(&bytes).expect("whole");
    let again = format::SegmentHeader { recycled: true, ..header };
    bytes[..SEGMENT_HEADER].copy_from_slice(&again.encode().0);
    let mut first = bytes[SEGMENT_HEADER..].to_vec();
    first.truncate(
        usize::try_from(group_bytes(u32::try_from(payload(1).len()).expect("small"))).expect("small"),
    );
    bytes[SEGMENT_HEADER + first.len()..].fill(0);
    let (groups, ..) = read(&with(&disk, &name, &bytes), &options(4_096), 0).expect("a journal");
    assert!(groups.is_empty(), "{groups:?}");
}
