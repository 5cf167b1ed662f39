//! The journal on a real disk: a group of records of 100 bytes is appended and committed, with and without waiting for
//! the disk. What it costs is mostly what the disk's fdatasync costs: compare on one machine only.
//!
//! The folder is a temporary one: `TMPDIR` says on which disk, and one in memory measures nothing.

#[path = "support/suite.rs"]
mod suite;

use criterion::{BenchmarkId, Criterion, Throughput};
use pantala::store::{Journal, JournalOptions, Position, RealDisk, SyncMode, recover};
use std::hint::black_box;
use std::path::Path;

const RECORD: usize = 100;

/// `cargo bench` says `--bench`; anything else is criterion's test mode.
fn quick() -> bool {
    std::env::args().all(|arg| arg != "--bench")
}

/// Records in a group.
fn sizes() -> &'static [usize] {
    if quick() { &[1, 16] } else { &[1, 16, 128, 1_024] }
}

fn options(sync: SyncMode) -> JournalOptions {
    let usual = JournalOptions::new(7);
    let segment_bytes = if quick() { 64 << 10 } else { usual.segment_bytes };
    JournalOptions { sync, segment_bytes, ..usual }
}

fn open(folder: &Path, sync: SyncMode) -> Journal<RealDisk> {
    let disk = RealDisk::open(folder).expect("a folder");
    recover(disk, options(sync), Position(0)).and_then(|recovery| recovery.finish()).expect("a journal").0
}

fn commits(c: &mut Criterion) {
    for (mode, name) in [(SyncMode::Disk, "journal/commit-disk"), (SyncMode::Os, "journal/commit-os")] {
        let mut group = c.benchmark_group(name);
        for &records in sizes() {
            let folder = tempfile::tempdir().expect("a folder");
            let mut journal = open(folder.path(), mode);
            let payload = vec![b'x'; records * RECORD];
            group.throughput(Throughput::Elements(records as u64));
            group.bench_function(BenchmarkId::from_parameter(records), |b| {
                b.iter(|| {
                    let position = journal.append(black_box(&payload)).expect("room");
                    journal.commit().expect("a disk");
                    // As after a checkpoint, so that the disk does not fill up and files are used again.
                    if position.0.is_multiple_of(4_096) {
                        journal.free_before(position).expect("a disk");
                    }
                });
            });
        }
        group.finish();
    }
}

fn recovery(c: &mut Criterion) {
    let folder = tempfile::tempdir().expect("a folder");
    let groups = if quick() { 10 } else { 10_000 };
    let mut journal = open(folder.path(), SyncMode::Os);
    for _ in 0..groups {
        journal.append(&[b'x'; 16 * RECORD]).expect("room");
    }
    journal.sync().expect("a disk");
    drop(journal);
    let mut group = c.benchmark_group("journal/recovery");
    group.throughput(Throughput::Elements(groups));
    group.bench_function("16", |b| {
        b.iter(|| {
            let disk = RealDisk::open(folder.path()).expect("a folder");
            let mut recovery = recover(disk, options(SyncMode::Os), Position(0)).expect("a journal");
            let mut bytes = 0;
            while let Some(found) = recovery.next().expect("whole") {
                bytes += found.payload.len();
            }
            black_box(bytes)
        });
    });
    group.finish();
}

fn main() {
    let mut c = suite::criterion();
    commits(&mut c);
    recovery(&mut c);
    c.final_summary();
}
