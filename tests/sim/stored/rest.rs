//! How a run ends: nothing goes wrong any more, everybody who has a session comes back and takes what is there for it, and
//! then nothing is left to be done, in the brokers or on the disk.

use super::Stored;
use super::client::{Client, Habits, Known};
use crate::oracle::{Verdict, ensure};
use pantala::codec::Version;
use pantala::engine::StoreState;
use pantala::store::Tree;
use pantala::types::{QoS, Span, TICK};

/// Turns after which a world without new work must be at rest.
const REST_WITHIN: usize = 3_000;
/// Who finds out what is retained, as any client may.
const AUDITOR: &str = "auditor";

impl Stored {
    pub(super) fn come_to_rest(&mut self) -> Verdict {
        self.say(|| "all is well from here on".to_owned());
        self.faults.end();
        self.keeper.disk.heal();
        self.keeper.leave_free(None);
        self.rest()?;
        let state = self.life.committer.state;
        ensure!(state == StoreState::Ready, "the disk is well, and the store is {state:?}");
        self.audit()?;
        self.ledger.settle(self.now)
    }

    /// Everything happens that can happen.
    fn rest(&mut self) -> Verdict {
        for _ in 0..REST_WITHIN {
            self.step += 1;
            self.now = self.now + TICK;
            for core in 0..self.life.shards.len() {
                self.turn(core, true)?;
            }
            self.commit(true);
            while self.life.committer.has_jobs() {
                self.life.committer.settle(&mut self.keeper)?;
            }
            for at in 0..self.clients.len() {
                if self.is_missed(at) {
                    self.come(at, false);
                }
                self.listen(at, true)?;
            }
            if self.is_at_rest() {
                return Ok(());
            }
        }
        let busy: Vec<_> =
            self.clients.iter().filter(|client| !is_done(client)).map(Client::affairs).collect();
        let queued: Vec<_> =
            self.life.shards.iter().map(|shard| shard.engine.report().queued_messages).collect();
        let (quiet, state) = (self.life.is_quiet(), self.life.committer.state);
        Err(format!("no rest: quiet {quiet}, {state:?}, queued {queued:?}\n{}", busy.join("\n")))
    }

    /// A client that has a session and no connection, whose will has had its time.
    fn is_missed(&self, at: usize) -> bool {
        let client = &self.clients[at];
        let waits = match (client.pending, &client.habits.will, client.gone) {
            (Some(_), Some((_, delay)), Some((_, last))) => {
                !self.life.is_kept() || self.now <= last + Span::from_secs((*delay).into()) + Span(3 * TICK.0)
            }
            _ => false,
        };
        client.wire.is_none() && client.known != Known::No && !waits
    }

    fn is_at_rest(&self) -> bool {
        let queued = |shard: &crate::shard::Shard| shard.engine.report().queued_messages;
        self.life.accepts()
            && self.life.is_quiet()
            && self.life.is_heard()
            && self.clients.iter().all(is_done)
            && self.life.shards.iter().all(|shard| queued(shard) == 0)
            && self.life.committer.state == StoreState::Ready
    }

    /// Somebody new asks for all that is retained.
    fn audit(&mut self) -> Verdict {
        let habits = Habits {
            name: AUDITOR.to_owned(),
            version: Version::V5,
            expiry_s: Some(0),
            window: None,
            will: None,
            wishes: vec![("r/#", QoS::AtLeastOnce)],
        };
        let at = self.clients.len();
        self.clients.push(Client::new(habits, &mut self.ledger));
        self.come(at, true);
        self.rest()?;
        let wish = self.clients[at].habits.wishes[0];
        self.clients[at].subscribe(wish, &mut self.ledger);
        self.speak(at);
        self.rest()?;
        self.ledger.audit(&self.clients[at].found)
    }

    /// The broker stops, and of all messages that were queued none is left on disk.
    pub(super) fn leave_nothing(&mut self) -> Verdict {
        self.stop()?;
        for tree in [Tree::Queues, Tree::Bodies, Tree::Refs] {
            let left = self.keeper.tree(tree);
            ensure!(left.is_empty(), "{} entries are left in {}: {left:?}", left.len(), tree.name());
        }
        Ok(())
    }
}

fn is_done(client: &Client) -> bool {
    client.is_idle() && (client.open || client.wire.is_none() && client.known == Known::No)
}
