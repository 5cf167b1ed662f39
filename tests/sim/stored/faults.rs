//! What goes wrong: disks that are slow, full or fail, brokers that are killed, power that is cut, and starts with another
//! number of cores.

use super::broker::Life;
use super::client::number;
use super::{CORES_MAX, Stored};
use crate::dice::index;
use crate::oracle::{Verdict, ensure};
use crate::shard::Cause;
use pantala::engine::Restored;
use pantala::types::{Rng, Span, TICK};
use std::collections::BTreeMap;

/// Turns in which a broker that is told to stop does so, or is killed.
const STOP_WITHIN: usize = 60;

/// The faults of a run.
#[derive(Debug)]
pub(super) struct Faults {
    /// How often the disk fails, and how often the broker ends.
    disk: u64,
    ends: u64,
    slow_until: u64,
    unsettled_until: u64,
    short_until: Option<u64>,
}

impl Faults {
    pub(super) fn new(rng: &mut Rng) -> Self {
        let (disk, ends) = (*rng.pick(&[0, 1, 4]), *rng.pick(&[1, 2, 5]));
        Self { disk, ends, slow_until: 0, unsettled_until: 0, short_until: None }
    }

    pub(super) fn disk_works(&self, step: u64) -> bool {
        self.slow_until <= step
    }

    pub(super) fn settling_works(&self, step: u64) -> bool {
        self.unsettled_until <= step
    }

    /// From now on all goes well.
    pub(super) fn end(&mut self) {
        (self.disk, self.ends, self.slow_until, self.unsettled_until) = (0, 0, 0, 0);
    }
}

impl Stored {
    /// Something goes wrong, or not.
    pub(super) fn go_wrong(&mut self) -> Verdict {
        if self.life.is_kept() || !self.life.committer.has_refused {
            self.clients.iter_mut().for_each(|client| client.former = None);
        }
        let rng = &mut self.dice.faults;
        let step = self.step;
        if self.faults.short_until.is_some_and(|until| until <= step) {
            self.faults.short_until = None;
            self.keeper.leave_free(None);
            self.say(|| "there is room again".to_owned());
        } else if rng.chance(self.faults.disk, 150) {
            self.fail_disk();
        }
        let rng = &mut self.dice.faults;
        if rng.chance(1, 300) {
            self.now = self.now + Span(TICK.0 * rng.below(400));
        }
        if self.dice.faults.chance(self.faults.ends, 500) {
            return match self.dice.faults.below(6) {
                0 => self.stop(),
                1..4 if self.keeper.may_cut() => self.crash(true),
                _ => self.crash(false),
            };
        }
        Ok(())
    }

    fn fail_disk(&mut self) {
        let rng = &mut self.dice.faults;
        let (what, good, until) = (rng.below(6), rng.below(3), self.step + rng.below(120));
        match what {
            0 => self.faults.slow_until = until,
            1 => self.faults.unsettled_until = until,
            2 => self.keeper.disk.fail_write_after(good),
            3 | 4 => self.keeper.disk.fail_sync_after(good),
            _ => {
                let free = rng.below(60 << 10);
                self.keeper.leave_free(Some(free));
                self.faults.short_until = Some(until);
            }
        }
        self.say(|| format!("disk: fault {what}"));
    }

    /// The process is killed, or the power is cut.
    fn crash(&mut self, cut: bool) -> Verdict {
        self.say(|| if cut { "power cut".to_owned() } else { "killed".to_owned() });
        self.keeper.crash(&self.life.committer, cut, &mut self.dice.faults);
        self.begin_again()
    }

    /// The broker is told to stop, and does so in the time that it has.
    pub(super) fn stop(&mut self) -> Verdict {
        self.say(|| "told to stop".to_owned());
        self.life.begin_stop();
        let count = self.life.shards.len();
        for _ in 0..STOP_WITHIN {
            for core in 0..count {
                self.turn(core, true)?;
                let phase = &mut self.life.phases[core];
                if phase.last_words + 1 >= count && !std::mem::replace(&mut phase.shut_down, true) {
                    self.call(core, &Cause::ShutDown)?;
                }
            }
            if self.faults.disk_works(self.step) {
                self.commit(true);
                self.life.committer.settle(&mut self.keeper)?;
            }
            (0..self.clients.len()).try_for_each(|at| self.listen(at, true))?;
        }
        let heard = self.life.arriving(count, true, &mut self.dice.network);
        self.life.committer.finish(heard, &mut self.keeper, &mut self.dice.schedule)?;
        self.begin_again()
    }

    /// The broker is gone, and is started again after a while.
    fn begin_again(&mut self) -> Verdict {
        for at in 0..self.clients.len() {
            // What is in the socket arrives.
            if self.dice.network.chance(1, 2) {
                self.listen(at, false)?;
            }
        }
        let is_known = self.life.is_kept();
        for at in 0..self.clients.len() {
            if self.clients[at].wire.is_some() {
                self.hang_up(at);
            }
            let client = &mut self.clients[at];
            client.may_be_forgotten(|message| self.ledger.expires(message));
            if let Some((_, last)) = client.gone.as_mut().filter(|_| !is_known) {
                *last = self.now;
            }
        }
        let ended = self.now;
        let pause = if self.dice.faults.chance(1, 3) { self.dice.faults.below(400) } else { 1 };
        self.now = self.now + Span(TICK.0 * pause);
        self.ledger.begins_again();
        self.keeper.disk.heal();
        self.keeper.leave_free(None);
        self.faults.short_until = None;
        let restored = self.begin_life()?;
        let alive = self.life.committer.alive();
        let born = self.clients.iter().map(|client| client.born).max().unwrap_or_default();
        ensure!(born <= alive && alive <= ended, "alive {alive:?}, but {born:?} and {ended:?}");
        for client in &mut self.clients {
            let former = client.former.take().unwrap_or(alive);
            client.gone = client.gone.map(|(first, last)| (first.min(alive).min(former), last));
        }
        self.look_at(&restored)
    }

    fn begin_life(&mut self) -> Verdict<Vec<Restored>> {
        let count = 1 + index(&mut self.dice.faults, CORES_MAX);
        let (life, restored) = Life::start(&mut self.keeper, count, &self.limits, &mut self.dice.faults)?;
        self.life = life;
        self.life.flush_store();
        self.say(|| format!("{count} cores, and {} things are restored", restored.len()));
        Ok(restored)
    }

    /// What comes back is what was promised.
    fn look_at(&mut self, restored: &[Restored]) -> Verdict {
        let mut found = BTreeMap::new();
        for restored in restored {
            match restored {
                Restored::Retained(message) => {
                    let topic = message.topic().to_owned();
                    let before = found.insert(topic, number(message.payload())?);
                    ensure!(before.is_none(), "{message:?} is retained twice");
                }
                Restored::Session(session) => self.say(|| format!("restored {session:?}")),
            }
        }
        self.ledger.audit(&found)
    }
}
