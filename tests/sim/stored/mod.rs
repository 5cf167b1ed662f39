//! A world with a store: brokers that live and die, one disk that outlives them, and clients who hold them to what they
//! acknowledged. Whatever is lost of a broker, of what the disk had not synced, and of what the settled state had not
//! flushed, nothing that was acknowledged is.
//!
//! It is apart from the other worlds because there every delivery is foretold, and here many things may rightly happen: the
//! ledger knows what clients know, and what they were promised.

mod acts;
mod broker;
mod bug;
mod client;
mod faults;
mod keeper;
mod ledger;
mod rest;
mod turn;

pub(crate) use bug::Bug;

use super::dice::{Dice, index};
use super::oracle::Verdict;
use super::shard::{Cause, Event};
use broker::Life;
use client::{Client, Habits};
use faults::Faults;
use keeper::Keeper;
use ledger::{GROUP, Ledger};
use pantala::codec::Version;
use pantala::types::{ConnKey, Limits, Now, QoS, Rng, Span, TICK};

/// Cores of a broker at most.
const CORES_MAX: usize = 4;
/// What subscribers may ask for; each with a QoS of their own. The groups' members ask for QoS 1: a message of QoS 2 that
/// was sent to one of them must not go to another. [MQTT-4.8.2-5] And their sessions outlive the broker: what one has that
/// does not is in no store.
const FILTERS: [&str; 7] = ["t/#", "t/0", "t/+", "t/1", "r/#", "w/#", "$share/g/s/#"];
const LEVELS: [QoS; 2] = [QoS::AtLeastOnce, QoS::ExactlyOnce];

/// Everything that a seed makes.
pub(crate) struct Stored {
    now: Now,
    step: u64,
    keeper: Keeper,
    life: Life,
    clients: Vec<Client>,
    ledger: Ledger,
    faults: Faults,
    limits: Limits,
    dice: Dice,
    pub(crate) loud: bool,
    pub(crate) story: Vec<String>,
}

impl Stored {
    pub(crate) fn new(seed: u64, bug: Option<Bug>) -> Verdict<Self> {
        let mut dice = Dice::new(seed);
        let rng = &mut dice.setup;
        let mut keeper = Keeper::new(seed, bug, rng);
        let limits = Limits {
            queue_memory_bytes: *rng.pick(&[100, 400, 2_000, 64 << 10]),
            output_bytes_max: *rng.pick(&[200, 4_000, 1 << 20]),
            inflight_max: *rng.pick(&[1, 3, 20]),
            session_expiry_max: None,
            ..Limits::default()
        };
        let mut ledger = Ledger::default();
        let clients =
            (0..2 + rng.below(6)).map(|number| Client::new(habits(number, rng), &mut ledger)).collect();
        let faults = Faults::new(rng);
        let count = 1 + index(rng, CORES_MAX);
        let (life, _) = Life::start(&mut keeper, count, &limits, rng)?;
        let (now, step, loud, story) = (Now(TICK.0), 0, false, Vec::new());
        let mut stored = Self { now, step, keeper, life, clients, ledger, faults, limits, dice, loud, story };
        stored.life.flush_store();
        Ok(stored)
    }

    /// Lives through a seed.
    pub(crate) fn run(&mut self) -> Verdict {
        let steps = 400 + self.dice.setup.below(1_600);
        for _ in 0..steps {
            self.step()?;
        }
        self.come_to_rest()?;
        self.leave_nothing()
    }

    fn say(&mut self, what: impl FnOnce() -> String) {
        if self.loud {
            let line = format!("{:5} {:>7}ms  {}", self.step, self.now.0, what());
            self.story.push(line);
        }
    }

    fn step(&mut self) -> Verdict {
        self.step += 1;
        let ticks = self.dice.schedule.below(4).saturating_sub(1);
        self.now = self.now + Span(TICK.0 * ticks);
        let Self { clients, ledger, now, .. } = self;
        clients.iter_mut().for_each(|client| client.may_have_expired(*now, ledger));
        self.go_wrong()?;
        match self.dice.schedule.below(100) {
            0..40 => {
                let core = index(&mut self.dice.schedule, self.life.shards.len());
                self.turn(core, false)
            }
            40..55 if self.faults.disk_works(self.step) => {
                self.commit(false);
                Ok(())
            }
            55..63 if self.faults.settling_works(self.step) => self.life.committer.settle(&mut self.keeper),
            40..63 => Ok(()),
            _ => {
                let at = index(&mut self.dice.schedule, self.clients.len());
                self.listen(at, false)?;
                self.act(at)
            }
        }
    }

    /// Calls an engine, and looks at what it did.
    fn call(&mut self, core: usize, cause: &Cause<'_>) -> Verdict {
        let shard = &mut self.life.shards[core];
        shard.sink.events.clear();
        let version = cause.conn().and_then(|conn| shard.sink.version(conn));
        shard.call(self.now, cause);
        let events = std::mem::take(&mut shard.sink.events);
        if self.loud && !(events.is_empty() && matches!(cause, Cause::Tick | Cause::TurnEnd)) {
            let sink = &self.life.shards[core].sink;
            let version = |conn: ConnKey| version.or_else(|| sink.version(conn)).unwrap_or(Version::V311);
            let mut lines = vec![super::trace::cause(cause, version)];
            lines.extend(events.iter().map(|event| format!("    {}", super::trace::event(event, version))));
            lines.into_iter().for_each(|line| self.say(|| format!("core {core}: {line}")));
        }
        events.iter().try_for_each(|event| self.event(core, event))
    }

    fn event(&mut self, core: usize, event: &Event) -> Verdict {
        match event {
            Event::Offered { conn, frame, taken: true } => self.offered(core, *conn, frame),
            Event::Sent { conn, frame } => self.sent(core, *conn, frame),
            Event::Closed { conn, .. } => {
                self.left(core, *conn);
                Ok(())
            }
            Event::Offered { taken: false, .. } | Event::Peer { .. } => Ok(()),
        }
    }

    /// A turn of the thread that commits.
    fn commit(&mut self, all: bool) {
        let heard = self.life.commit(self.now, &mut self.keeper, all, &mut self.dice.schedule);
        heard.into_iter().for_each(|item| self.say(|| format!("store hears {item}")));
        let (state, stuck) = (self.life.committer.state, self.life.committer.stuck);
        let groups = self.keeper.commits;
        self.say(|| format!("store: {state:?}, stuck {stuck}, {groups} groups"));
    }
}

/// What a client is like.
fn habits(number: u64, rng: &mut Rng) -> Habits {
    let version = *rng.pick(&[Version::V311, Version::V5, Version::V5]);
    let expiry_s = match rng.below(6) {
        0 => Some(0),
        1 if version.is_v5() => Some(20),
        _ => None,
    };
    let lasts = expiry_s != Some(0);
    let delay_s = if version.is_v5() { *rng.pick(&[0, 2, 10]) } else { 0 };
    let wishes = FILTERS.iter().filter(|filter| lasts || !filter.starts_with(GROUP)).map(|filter| {
        let shared = filter.starts_with(GROUP);
        (*filter, if shared { QoS::AtLeastOnce } else { *rng.pick(&LEVELS) })
    });
    let wishes = wishes.collect();
    Habits {
        name: format!("c{number}"),
        version,
        expiry_s,
        window: *rng.pick(&[None, Some(1), Some(4)]),
        will: (lasts && rng.chance(1, 3)).then(|| (format!("w/{number}"), delay_s)),
        wishes,
    }
}
