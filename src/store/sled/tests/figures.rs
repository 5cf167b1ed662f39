//! Not tests: what a store costs. `cargo test --release --lib store::sled::tests::figures -- --ignored --nocapture`
#![expect(clippy::disallowed_methods, reason = "measuring takes a clock")]

use std::time::Instant;

use super::*;

/// What the process has in memory, in MB.
fn resident() -> u64 {
    let status = fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a line");
    line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") / 1_024
}

/// Values that zstd makes nothing of, in the order of their keys as a journal's messages are.
fn pages(from: u64, count: u64, length: usize) -> impl Iterator<Item = Change> {
    (from..from + count).map(move |number| {
        let mut rng = crate::types::Rng::new(number);
        let value = std::iter::repeat_with(|| rng.next_u64().to_le_bytes()).flatten().take(length);
        Change {
            tree: Tree::Queues,
            key: Bytes::copy_from_slice(&number.to_be_bytes()),
            value: Some(value.collect()),
        }
    })
}

fn written(reopen_bytes: u64) {
    let folder = tempfile::tempdir().expect("a folder");
    let options = SledOptions { reopen_bytes, ..options() };
    let mut store = SledSettled::open(folder.path(), options).expect("a store");
    let begin = Instant::now();
    for step in 0..32 {
        let before = (Instant::now(), resident());
        store.apply(&mut pages(step * 1_024, 1_024, 32 << 10), step + 1).expect("room");
        let done = (store.changed_bytes == 0).then_some("opened again");
        println!(
            "{step}: {:?}, {} -> {} MB {}",
            before.0.elapsed(),
            before.1,
            resident(),
            done.unwrap_or_default()
        );
    }
    println!(
        "1 GiB in {:?}, opened again every {} MiB: {} MB",
        begin.elapsed(),
        reopen_bytes >> 20,
        resident()
    );
}

#[test]
#[ignore = "takes a while and says what it measures"]
fn memory_after_1_gib_written() {
    written(u64::MAX);
}

#[test]
#[ignore = "takes a while and says what it measures"]
fn memory_after_1_gib_written_with_reopening() {
    written(SledOptions::default().reopen_bytes);
}

#[test]
#[ignore = "takes a while and says what it measures"]
fn a_million_retained_messages() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut store = open(folder.path());
    let change = |number: u64| Change {
        tree: Tree::Retained,
        key: Bytes::from(format!("site/7/floor/3/sensor/{number:08}")),
        value: Some(Bytes::from(format!("{:064}", number.wrapping_mul(0x9E37_79B9_7F4A_7C15)))),
    };
    let begin = Instant::now();
    store.apply(&mut (0..1_000_000).map(change), 1).expect("room");
    println!("applied: {:?}, {} MB", begin.elapsed(), resident());
    store.close().expect("closed");
    println!("closed: {} MB", resident());
    let begin = Instant::now();
    let store = open(folder.path());
    println!("opened: {:?}, {} MB", begin.elapsed(), resident());
    let (begin, mut from, mut count) = (Instant::now(), Vec::new(), 0);
    loop {
        let entries = store.scan(Tree::Retained, &from, 1_024).expect("readable");
        let Some((last, _)) = entries.last() else { break };
        from = crate::store::settled::after(last);
        count += entries.len();
    }
    println!("scanned {count}: {:?}, {} MB", begin.elapsed(), resident());
}
