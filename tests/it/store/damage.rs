//! Damaged stores: bytes are flipped and files are cut at random, and the broker either has everything that it acknowledged
//! or says which file is not what it was.
//!
//! The stores were closed in order: what was committed last, with nothing behind it, cannot be told from a write that never
//! ended, and closing puts an empty group behind everything. `STORE_DAMAGE=500` makes many more attempts than the few that
//! run by default; `STORE_DAMAGE_SEED=7` makes one again.

use super::{Life, SMALL, clean, persistent};
use crate::support::{Broker, Refused, publish};
use std::collections::BTreeMap;
use std::fs::{copy, create_dir_all, read, read_dir, write};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};

/// Waiting messages: some are settled, the last ones are in the journal alone.
const MESSAGES: u16 = 120;
const RETAINED: u16 = 40;

/// Numbers that look random and are made again from the same seed.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from((self.0 >> 33) % bound as u64).expect("fits")
    }
}

fn settings() -> String {
    format!("{SMALL}\ncheckpoint_bytes = 1_048_576")
}

/// Something that neither compresses nor repeats.
fn noise(n: u16) -> Vec<u8> {
    let mut random = Random(u64::from(n));
    let tail = std::iter::repeat_with(|| u8::try_from(random.below(256)).expect("a byte"));
    n.to_be_bytes().into_iter().chain(tail.take(20_000)).collect()
}

/// A store with sessions, subscriptions, retained messages and a queue: part of it settled, part of it in the journal.
fn make() -> Life {
    let mut life = Life::ending((super::End::Killed, 1, 1), "checkpoint_bytes = 1_048_576");
    let mut sleeper = persistent(&life, "sleeper", false);
    sleeper.subscribe("q", 1);
    sleeper.leave_v3();
    for part in 0..2 {
        let mut publisher = clean(&life, "publisher");
        let half = |all: u16| part * all / 2..(part + 1) * all / 2;
        half(MESSAGES).for_each(|n| publisher.publishes_v3(0, "q", &noise(n)));
        half(RETAINED).for_each(|n| publisher.publishes_v3(1, &format!("r/{n}"), &n.to_be_bytes()));
        let mut other = persistent(&life, &format!("other-{part}"), false);
        other.subscribe("elsewhere", 1);
        // What a crash leaves is replayed and settled later, and closing puts something behind it.
        life.restart();
    }
    life.end = super::End::Stopped;
    life.end();
    life
}

/// Panics if something is missing.
fn everything_is_there(broker: &Broker) {
    let mut reader = clean(broker, "reader");
    reader.subscribe("r/+", 0);
    let mut retained: Vec<u16> = (0..RETAINED)
        .map(|_| {
            let packet = reader.packet();
            u16::from_be_bytes(packet[packet.len() - 2..].try_into().expect("two bytes"))
        })
        .collect();
    retained.sort_unstable();
    assert!(retained.into_iter().eq(0..RETAINED), "retained messages");
    for part in 0..2 {
        persistent(broker, &format!("other-{part}"), true);
    }
    let mut sleeper = persistent(broker, "sleeper", true);
    for n in 0..MESSAGES {
        let packet = sleeper.packet();
        let payload = &packet[packet.len() - 20_002..];
        assert!(payload == noise(n), "message {n}");
    }
    // It was subscribed as well.
    clean(broker, "publisher").publishes_v3(0, "q", b"new");
    let last = sleeper.packet();
    assert!(last.ends_with(b"new") && last[0] == publish(2, "q", Some(1), b"")[0]);
}

/// All files of a folder, relative to it.
fn files(folder: &Path, below: &Path, found: &mut Vec<PathBuf>) {
    for entry in read_dir(folder.join(below)).expect("a folder") {
        let entry = entry.expect("an entry");
        let path = below.join(entry.file_name());
        if entry.file_type().expect("is told").is_dir() {
            files(folder, &path, found);
        } else {
            found.push(path);
        }
    }
    found.sort();
}

fn copy_all(from: &Path, to: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    files(from, Path::new(""), &mut found);
    for path in &found {
        create_dir_all(to.join(path).parent().expect("has one")).expect("a folder");
        copy(from.join(path), to.join(path)).expect("a copy");
    }
    found
}

/// What is done to a file; says so.
fn damage(path: &Path, random: &mut Random) -> String {
    let mut bytes = read(path).expect("a file");
    let at = random.below(bytes.len());
    let what = match random.below(4) {
        0 => {
            bytes[at] ^= 1 << random.below(8);
            format!("one bit at {at}")
        }
        1 => {
            let end = bytes.len().min(at + 512);
            bytes[at..end].fill(0);
            format!("zeros at {at}")
        }
        2 => {
            let end = bytes.len().min(at + 64);
            bytes[at..end]
                .iter_mut()
                .for_each(|byte| *byte = u8::try_from(random.below(256)).expect("a byte"));
            format!("noise at {at}")
        }
        _ => {
            bytes.truncate(at);
            format!("cut to {at}")
        }
    };
    write(path, bytes).expect("is ours");
    what
}

/// A refusal is a message, not a crash, and names what is damaged.
fn is_clear(refused: &Refused, store: &Path) {
    let code = refused.status.code();
    assert!(matches!(code, Some(1 | 74)), "{}: {}", refused.status, refused.log);
    assert!(refused.log.contains(&*store.to_string_lossy()), "no file or folder is named: {}", refused.log);
}

#[test]
fn a_damaged_store_is_complete_or_refused() {
    let number = |name: &str| std::env::var(name).ok().map(|value| value.parse().expect("a number"));
    let one: Option<u64> = number("STORE_DAMAGE_SEED");
    let seeds = match one {
        Some(seed) => seed..seed + 1,
        None => 0..number("STORE_DAMAGE").unwrap_or(12),
    };
    let life = make();
    let mut outcomes: BTreeMap<(String, &str), u32> = BTreeMap::new();
    for seed in seeds {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let store = folder.path().join("store");
        let mut found = copy_all(&life.path(), &store);
        found.retain(|path| store.join(path).metadata().is_ok_and(|about| about.len() > 0));
        let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        random.below(2);
        let file = &found[random.below(found.len())];
        let what = damage(&store.join(file), &mut random);
        eprintln!("STORE_DAMAGE_SEED={seed}: {}: {what}", file.display());
        let outcome = match Broker::try_over(&store, 1, &settings()) {
            Ok(mut broker) => {
                let looked = catch_unwind(AssertUnwindSafe(|| everything_is_there(&broker)));
                match looked {
                    Ok(()) => "complete",
                    Err(missing) if !broker.log().contains("the broker ends") => resume_unwind(missing),
                    // What is settled is read when it is needed.
                    Err(_) => {
                        is_clear(&Refused { status: broker.wait(), log: broker.log() }, &store);
                        "refused when it was read"
                    }
                }
            }
            Err(refused) => {
                eprintln!("  {}", refused.log.trim().lines().last().unwrap_or(""));
                is_clear(&refused, &store);
                "refused"
            }
        };
        let kind =
            if file.starts_with("settled") { "settled".to_owned() } else { file.display().to_string() };
        *outcomes.entry((kind, outcome)).or_default() += 1;
    }
    eprintln!("outcomes: {outcomes:#?}");
}

#[test]
fn an_undamaged_copy_of_a_store_has_everything() {
    let life = make();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let store = folder.path().join("store");
    copy_all(&life.path(), &store);
    everything_is_there(&Broker::over(&store, 2, &settings()));
}
