//! What a process takes, once a second.

use std::fmt::Write;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// One moment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sample {
    pub(crate) millis: u64,
    /// Blocks of the files in the folder.
    pub(crate) disk: u64,
    /// VmRSS.
    pub(crate) memory: u64,
}

/// One of the things that are looked at.
pub(crate) type Series = (&'static str, fn(&Sample) -> u64);

/// All of them.
pub(crate) const SERIES: [Series; 2] = [("disk", |sample| sample.disk), ("memory", |sample| sample.memory)];

/// Looks on until it is stopped.
#[derive(Debug)]
pub(crate) struct Sampler {
    stop: Sender<()>,
    thread: JoinHandle<Vec<Sample>>,
}

impl Sampler {
    pub(crate) fn start(folder: &Path, pid: u32) -> Self {
        let (stop, stopped) = channel();
        let (folder, start) = (folder.to_owned(), Instant::now());
        let thread = std::thread::spawn(move || {
            let mut samples = Vec::new();
            loop {
                let millis = u64::try_from(start.elapsed().as_millis()).expect("not that long");
                samples.push(Sample { millis, disk: disk(&folder), memory: memory(pid) });
                if stopped.recv_timeout(Duration::from_secs(1)) != Err(RecvTimeoutError::Timeout) {
                    return samples;
                }
            }
        });
        Self { stop, thread }
    }

    pub(crate) fn stop(self) -> Vec<Sample> {
        drop(self.stop);
        self.thread.join().expect("it only looks")
    }
}

/// Files may come and go while this looks.
fn disk(folder: &Path) -> u64 {
    let (mut bytes, mut folders): (u64, Vec<PathBuf>) = (0, vec![folder.to_owned()]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let Ok(metadata) = entry.metadata() else { continue };
            if metadata.is_dir() {
                folders.push(entry.path());
            }
            bytes += metadata.blocks() * 512;
        }
    }
    bytes
}

fn memory(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("it has memory");
    let kib: u64 = line.trim().trim_end_matches(" kB").parse().expect("a number of KiB");
    kib << 10
}

pub(crate) fn csv(samples: &[Sample]) -> String {
    let mut csv = "seconds,disk_bytes,memory_bytes\n".to_owned();
    for Sample { millis, disk, memory } in samples {
        writeln!(csv, "{}.{:03},{disk},{memory}", millis / 1_000, millis % 1_000).expect("room");
    }
    csv
}
