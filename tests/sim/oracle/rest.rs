//! What must be true once nothing is on its way any more and every client is connected and well.

use super::{Oracle, Verdict, ensure};
use crate::shadow::{Life, LifeId, PubId, matches};
use pantala::types::{ConnKey, Now, QoS};
use std::collections::{BTreeMap, BTreeSet};

impl Oracle {
    /// Everything that should be delivered is.
    pub(crate) fn at_rest(&self) -> Verdict {
        for (id, life) in self.shadow.lives.iter().enumerate() {
            if !life.ended {
                self.nothing_is_left(id, life)?;
                self.retained_came(id, life)?;
            }
            self.tallies(life)?;
        }
        for ((core, conn), state) in &self.shadow.conns {
            let client = &self.shadow.lives[state.life].client;
            ensure!(state.acks.is_empty(), "{client} waits for {:?}", state.acks);
            ensure!(
                state.subacks.is_empty(),
                "{client} waits for SUBACKs {:?} on {core}, {conn:?}",
                state.subacks
            );
        }
        self.interest_is_exact()?;
        self.last_values()
    }

    fn nothing_is_left(&self, id: LifeId, life: &Life) -> Verdict {
        let name = &life.client;
        ensure!(life.conn.is_some(), "{name} is not connected");
        ensure!(life.queue.is_empty(), "{name} still waits for {:?}", life.queue);
        ensure!(life.flight.is_empty(), "{name} acknowledges everything and owes {:?}", life.flight);
        ensure!(life.unreleased.is_empty(), "session {id} of {name} holds {:?}", life.unreleased);
        if let Some(&lost) = life.owed.first() {
            let publication = &self.shadow.publications[lost];
            return Err(format!("lost on its way to {name}: {publication:?}"));
        }
        Ok(())
    }

    /// What a client saw is what it was sent: exactly once with QoS 2, at least once with QoS 1, at most once with QoS 0.
    fn tallies(&self, life: &Life) -> Verdict {
        for ((topic, payload), tally) in &life.tally {
            let [sent, seen] = [tally.sent, tally.seen];
            let exactly = |qos: QoS| seen[qos as usize] + tally.excused >= sent[qos as usize] || life.ended;
            ensure!(
                seen[0] <= sent[0]
                    && seen[2] <= sent[2]
                    && exactly(QoS::AtLeastOnce)
                    && exactly(QoS::ExactlyOnce),
                "{} saw {tally:?} of {topic:?} {:?}",
                life.client,
                payload.escape_ascii().to_string()
            );
        }
        Ok(())
    }

    /// Each subscription that asked for retained messages got every topic's: replayed, or live if it came later.
    fn retained_came(&self, id: LifeId, life: &Life) -> Verdict {
        let asked: Vec<_> = life.replays.iter().filter(|replay| !replay.cancelled).collect();
        for (name, topic) in &self.shadow.topics {
            let Some(current) = topic.current else { continue };
            let publication = &self.shadow.publications[current];
            // What expires or is too large may rightly be missing.
            if publication.payload.is_empty() || publication.expiry.is_some() || life.limited {
                continue;
            }
            for replay in asked.iter().filter(|replay| matches(&replay.filter, name)) {
                let own = publication.life == Some(id);
                ensure!(
                    own || life.overtook(replay, name) || replay.sent.contains(name),
                    "{} subscribed to {:?} and did not get {publication:?}",
                    life.client,
                    replay.filter
                );
            }
        }
        Ok(())
    }

    /// Every core knows exactly the filters that others have subscribers for.
    fn interest_is_exact(&self) -> Verdict {
        for core in 0..self.shadow.cores.len() {
            let filters: BTreeSet<String> =
                self.shadow.lives_on(core).flat_map(|(_, life)| life.subscriptions.keys().cloned()).collect();
            for (other, knows) in self.shadow.cores.iter().enumerate().filter(|(other, _)| *other != core) {
                let knows = &knows.interest[core];
                ensure!(
                    *knows == filters,
                    "core {other} thinks that {core} wants {knows:?}, not {filters:?}"
                );
            }
        }
        Ok(())
    }

    /// The message that a topic retains is the last one: no later one of the same publisher, none that was published
    /// after its acknowledgement had left.
    fn last_values(&self) -> Verdict {
        let mut of_topic: BTreeMap<&str, Vec<PubId>> = BTreeMap::new();
        for (id, publication) in self.shadow.publications.iter().enumerate().filter(|(_, p)| p.retain) {
            ensure!(publication.stored, "never retained: {publication:?}");
            of_topic.entry(&publication.topic).or_default().push(id);
        }
        if self.shadow.cores.iter().any(|core| core.counters.dropped.retained_full > 0) {
            return Ok(());
        }
        for (topic, ids) in of_topic {
            let Some(current) = self.shadow.topics[topic].current else { continue };
            let kept = &self.shadow.publications[current];
            for later in ids.into_iter().filter(|&id| id > current) {
                let publication = &self.shadow.publications[later];
                let after = kept.acknowledged.is_some_and(|count| later >= count);
                ensure!(
                    publication.publisher != kept.publisher && !after,
                    "{topic:?} retains {kept:?}, older than {publication:?}"
                );
            }
        }
        Ok(())
    }

    /// What a new subscriber to everything is to get at rest.
    pub(crate) fn retained(&self, now: Now) -> BTreeMap<String, Vec<u8>> {
        let current = self.shadow.topics.values().filter_map(|topic| topic.current);
        current
            .map(|id| &self.shadow.publications[id])
            .filter(|publication| !publication.payload.is_empty() && !publication.expired(now))
            .map(|publication| (publication.topic.clone(), publication.payload.clone()))
            .collect()
    }

    /// PUBLISH packets that a connection's output took.
    pub(crate) fn published_to(&self, core: usize, conn: ConnKey) -> u64 {
        self.taken.get(&(core, conn)).copied().unwrap_or(0)
    }

    /// Sessions that go on without a connection.
    pub(crate) fn orphans(&self) -> Vec<String> {
        let living = self.shadow.lives.iter().filter(|life| !life.ended && life.conn.is_none());
        living.map(|life| life.client.clone()).collect()
    }
}
