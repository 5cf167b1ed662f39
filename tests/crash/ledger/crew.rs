//! What a group of subscribers is owed as one: each message reaches a member, whoever of them leaves meanwhile.
//!
//! One of them never leaves, so that the group always has a member. What another one was sent of QoS 2 when its session
//! ended goes to nobody else [MQTT-4.8.2-5]: for each session that ends, a few of those may be missing.

use super::{Event, Ledger};
use crate::wire::Arrival;
use pantala::types::QoS;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

/// Where topics of the group begin.
pub(crate) const JOB: &str = "job/";

/// The books of a group.
#[derive(Debug, Default)]
pub(super) struct Crew {
    /// The member that never leaves is there.
    open: bool,
    owed: BTreeSet<usize>,
    /// How often members got a message, and whether once was exactly once.
    got: BTreeMap<usize, (u32, bool)>,
    /// So many messages of QoS 2 may be missing.
    excuses: usize,
}

impl Crew {
    /// A message is sent.
    pub(super) fn owe(&mut self, index: usize, topic: &str) {
        if self.open && topic.starts_with(JOB) {
            self.owed.insert(index);
        }
    }

    /// Nobody is owed it.
    pub(super) fn forgive(&mut self, index: usize) {
        self.owed.remove(&index);
    }
}

impl Ledger {
    /// The member is there that never leaves.
    pub(crate) fn crew_opens(&mut self) {
        self.crew.open = true;
    }

    /// A member's session ends, which was sent so many messages at most that it has not completed.
    pub(crate) fn crew_may_lose(&mut self, most: usize) {
        self.crew.excuses += most;
    }

    /// A message arrived at a member that is no repetition of one it still has the packet id of.
    pub(crate) fn crew_arrived(&mut self, who: usize, arrival: &Arrival, since: Instant) {
        let Some(index) = self.recognise(who, arrival) else { return };
        self.note(index, Event::Delivered { to: who, qos: arrival.qos, dup: arrival.dup });
        self.check_expiry(who, index, arrival, since);
        if arrival.qos != self.messages[index].qos {
            self.wrong(index, who, "with another QoS");
        }
        self.crew.owed.remove(&index);
        let (times, exactly_once) = self.crew.got.entry(index).or_default();
        *times += 1;
        *exactly_once |= arrival.qos == QoS::ExactlyOnce;
        let (times, exactly_once) = (*times, *exactly_once);
        self.counts.delivered += u64::from(times == 1);
        self.counts.duplicates += u64::from(times > 1 && !exactly_once);
        if times > 1 && exactly_once {
            self.wrong(index, who, "QoS 2, and the group got it more than once");
        }
    }

    /// What is acknowledged and not there, beyond what may be missing.
    fn crew_lacks(&self) -> Vec<usize> {
        let due = |index: &usize| self.is_due(*index);
        let exactly_once = |index: &usize| self.messages[*index].qos == QoS::ExactlyOnce;
        let (exact, mut lost): (Vec<_>, Vec<_>) =
            self.crew.owed.iter().copied().filter(due).partition(exactly_once);
        lost.extend(exact.into_iter().skip(self.crew.excuses));
        lost
    }

    /// Whether members have got all that has to come.
    pub(crate) fn crew_has_all(&self) -> bool {
        self.crew_lacks().is_empty()
    }

    /// The end of a round.
    pub(super) fn settle_crew(&mut self) {
        for index in self.crew_lacks() {
            self.counts.losses += 1;
            let story = self.story(index);
            self.tell(format!("lost: no member of the group got what was acknowledged\n{story}"));
        }
        let messages = &self.messages;
        self.crew.owed.retain(|index| messages[*index].acknowledged_at.is_none());
        self.crew.excuses = 0;
    }
}
