//! Random work on a disk that loses power, fails and fills up, from thousands of seeds.

use super::*;
use crate::store::disk::Disk;

/// One history: what the journal's owner knows, against which every recovery is held.
struct World {
    random: u64,
    disk: SimDisk,
    options: JournalOptions,
    journal: Journal<SimDisk>,
    /// Group `n` is at `n - 1`; a group that is appended again after a failure has other bytes.
    groups: Vec<Vec<u8>>,
    /// Groups up to here were acknowledged.
    committed: u64,
    /// What the settled state has.
    settled: u64,
    /// Makes every group different from all others.
    appended: u64,
}

#[derive(Debug, Default)]
struct Seen {
    cuts: u64,
    lost: u64,
    failures: u64,
    full: u64,
    torn: u64,
}

impl World {
    fn new(seed: u64) -> Self {
        let disk = SimDisk::new(seed);
        let options = options(1_536);
        let (_, journal, _) = read(&disk, &options, 0).expect("an empty folder");
        Self {
            random: !seed,
            disk,
            options,
            journal,
            groups: Vec::new(),
            committed: 0,
            settled: 0,
            appended: 0,
        }
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.random =
            self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.random >> 33) % bound
    }

    fn append(&mut self, seen: &mut Seen) {
        self.appended += 1;
        let length = if self.below(20) == 0 { self.below(4_000) } else { self.below(300) };
        let fill = u8::try_from(self.appended % 256).expect("a byte");
        let mut bytes = self.appended.to_le_bytes().to_vec();
        bytes.resize(8 + usize::try_from(length).expect("small"), fill);
        match self.journal.append(&bytes) {
            Ok(position) => {
                self.groups.push(bytes);
                assert_eq!(position.0, self.groups.len() as u64);
            }
            Err(JournalError::Full { .. }) => seen.full += 1,
            Err(_) => self.reopen(seen),
        }
    }

    fn commit(&mut self, seen: &mut Seen) {
        match self.journal.commit() {
            Ok(()) => self.committed = self.groups.len() as u64,
            Err(_) => self.reopen(seen),
        }
    }

    fn reopen(&mut self, seen: &mut Seen) {
        seen.failures += 1;
        // The disk may be full, or fail again, in which case nothing is acknowledged meanwhile.
        if let Ok(position) = self.journal.reopen_after_failure() {
            assert!(position.0 >= self.committed, "what was acknowledged is void");
            self.groups.truncate(usize::try_from(position.0).expect("small"));
        }
    }

    fn settle(&mut self) {
        if self.journal.sync().is_ok() {
            self.committed = self.groups.len() as u64;
            let step = self.below(self.committed - self.settled + 1);
            self.settled += step;
            let _ = self.journal.free_before(Position(self.settled));
        }
    }

    /// Loses the power, or only the process, and looks at what is left.
    fn crash(&mut self, seen: &mut Seen, seed: u64) {
        let power = self.below(4) > 0;
        if power {
            self.disk.cut();
            seen.cuts += 1;
        } else {
            self.disk.heal();
        }
        self.disk.set_capacity(u64::MAX);
        let (found, journal, stats) = read(&self.disk, &self.options, self.settled)
            .unwrap_or_else(|refusal| panic!("seed {seed}: {refusal}\n{:?}", self.disk.list()));
        let end = self.settled + found.len() as u64;
        assert!(end >= self.committed, "seed {seed}: {end} is left, and {} was acknowledged", self.committed);
        assert!(end <= self.groups.len() as u64, "seed {seed}: more than there was");
        for ((number, bytes), position) in found.iter().zip(self.settled + 1..) {
            assert_eq!(*number, position, "seed {seed}");
            let index = usize::try_from(number - 1).expect("small");
            assert!(*bytes == self.groups[index], "seed {seed}: group {number} is another");
        }
        seen.lost += self.groups.len() as u64 - end;
        seen.torn += u64::from(stats.cut.is_some());
        self.groups.truncate(usize::try_from(end).expect("small"));
        // What a recovery found counts: it was acted on.
        self.committed = end;
        self.journal = journal;
    }

    fn step(&mut self, seen: &mut Seen, seed: u64) {
        match self.below(100) {
            0..50 => self.append(seen),
            50..75 => self.commit(seen),
            75..83 => self.settle(),
            83..86 => {
                let good = self.below(6);
                self.disk.fail_sync_after(good);
            }
            86..88 => {
                let good = self.below(6);
                self.disk.fail_write_after(good);
            }
            88..90 => {
                let used: u64 = self.disk.list().expect("names").len() as u64 * 1_536;
                let more = self.below(4_000);
                self.disk.set_capacity(used + more);
            }
            90..93 => self.disk.set_capacity(u64::MAX),
            _ => self.crash(seen, seed),
        }
    }
}

#[test]
fn nothing_committed_is_lost_and_nothing_is_out_of_order() {
    let mut seen = Seen::default();
    for seed in 0..3_000 {
        let mut world = World::new(seed);
        for _ in 0..120 {
            world.step(&mut seen, seed);
        }
        world.crash(&mut seen, seed);
    }
    // The histories are worth something: each of these happened, often.
    let Seen { cuts, lost, failures, full, torn } = seen;
    assert!(cuts > 10_000 && lost > 1_000 && failures > 1_000 && full > 100 && torn > 100, "{seen:?}");
}
