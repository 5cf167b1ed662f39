//! Who got which message through a shared subscription, and whether that is as it should be. [MQTT 4.8.2]
//!
//! The ledger does not say who has to get a message: any member may. It follows what the engines offer.

use crate::oracle::{Verdict, ensure};
use pantala::types::{Now, QoS, Span};
use std::collections::{BTreeMap, BTreeSet};

/// Index into [`Ledger::lives`].
pub(crate) type LifeId = usize;

/// The filters that are shared, each in all groups: the Subscription Identifier of each is its index and 1.
pub(crate) const FILTERS: [&str; 4] = ["$share/g/t/#", "$share/h/t/#", "$share/g/+/a", "$share/g/t/a"];

/// What a member may have asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Terms {
    pub(crate) qos: QoS,
    pub(crate) retain_as_published: bool,
}

/// A session's part in a group.
#[derive(Clone, Debug, Default)]
pub(crate) struct Membership {
    /// What waits in its queue may have been meant for earlier terms.
    terms: BTreeSet<Terms>,
    /// It is a member now, and its SUBACK has left.
    acknowledged: bool,
    /// It is a member now, with or without SUBACK; by the call that made it one.
    asked: Option<u64>,
}

/// A session from its beginning to its end.
#[derive(Debug, Default)]
pub(crate) struct Life {
    pub(crate) client: String,
    pub(crate) ended: bool,
    /// CONNACK has to say that no session was there.
    pub(crate) fresh: bool,
    /// Without a connection since.
    pub(crate) away: Option<Now>,
    /// `None`: never ends by itself.
    pub(crate) expiry: Option<Span>,
    pub(crate) groups: [Membership; FILTERS.len()],
}

#[derive(Debug)]
struct Publication {
    topic: String,
    qos: QoS,
    retain: bool,
    received: Now,
    expiry: Option<Span>,
    /// The call that it was published in.
    call: u64,
    /// By group: what became of it.
    fates: [Fate; FILTERS.len()],
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Fate {
    /// Not offered to anybody yet.
    #[default]
    Waits,
    Sent {
        life: LifeId,
        qos: QoS,
        acknowledged: bool,
    },
}

/// All of a run.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    pub(crate) lives: Vec<Life>,
    publications: BTreeMap<u64, Publication>,
    /// By group: the last call after which nobody was a member for sure.
    gaps: [u64; FILTERS.len()],
    pub(crate) calls: u64,
    /// Messages that a member was sent, by member and group.
    pub(crate) counts: BTreeMap<(LifeId, usize), u64>,
}

impl Ledger {
    /// A call of an engine is over.
    pub(crate) fn called(&mut self) {
        self.calls += 1;
        for (group, gap) in self.gaps.iter_mut().enumerate() {
            let sure = |life: &Life| !life.ended && life.groups[group].is_sure();
            if !self.lives.iter().any(sure) {
                *gap = self.calls;
            }
        }
    }

    pub(crate) fn begin(&mut self, client: &str) -> LifeId {
        self.lives.push(Life { client: client.to_owned(), ..Life::default() });
        self.lives.len() - 1
    }

    /// A session asks to be a member, or for other terms. Returns the call that made it a member.
    pub(crate) fn asks(&mut self, life: LifeId, group: usize, terms: Terms) -> u64 {
        let membership = &mut self.lives[life].groups[group];
        membership.terms.insert(terms);
        *membership.asked.get_or_insert(self.calls)
    }

    /// SUBACK leaves for what was asked in a call; the client may have left since.
    pub(crate) fn joined(&mut self, life: LifeId, group: usize, asked: u64) {
        let membership = &mut self.lives[life].groups[group];
        membership.acknowledged |= membership.asked == Some(asked);
    }

    pub(crate) fn leaves(&mut self, life: LifeId, group: usize) {
        let membership = &mut self.lives[life].groups[group];
        *membership = Membership::default();
    }

    pub(crate) fn published(
        &mut self,
        number: u64,
        topic: &str,
        qos: QoS,
        retain: bool,
        expiry: Option<Span>,
        now: Now,
    ) {
        let publication = Publication {
            topic: topic.to_owned(),
            qos,
            retain,
            received: now,
            expiry,
            call: self.calls,
            fates: [Fate::Waits; FILTERS.len()],
        };
        self.publications.insert(number, publication);
    }

    /// A member is sent a message. Another one may be sent it only if it had QoS 1 and the session of the member that it
    /// was sent to before ended without acknowledging it. [MQTT-4.8.2-5]
    pub(crate) fn sent(
        &mut self,
        now: Now,
        life: LifeId,
        group: usize,
        number: u64,
        terms: Terms,
        dup: bool,
    ) -> Verdict {
        let Some(publication) = self.publications.get_mut(&number) else {
            return Err(format!("message {number}, which nobody published"));
        };
        let before = publication.fates[group];
        let who = &self.lives[life];
        let told = || format!("{number} of {group} to {} (life {life}): {publication:?}", who.client);
        if dup {
            let same = matches!(before, Fate::Sent { life: to, acknowledged: false, .. } if to == life);
            ensure!(same, "sent again for no reason: {}", told());
            return Ok(());
        }
        let Terms { qos, retain_as_published: retained } = terms;
        let suits = |terms: &Terms| {
            qos == publication.qos.min(terms.qos)
                && retained == (publication.retain && terms.retain_as_published)
        };
        ensure!(who.groups[group].is_member(), "to a client that has left: {}", told());
        ensure!(who.groups[group].terms.iter().any(suits), "not as it was asked for: {}", told());
        let expired = publication.expiry.is_some_and(|expiry| publication.received + expiry <= now);
        ensure!(!expired, "it has expired [MQTT-3.3.2-5]: {}", told());
        let free = match before {
            Fate::Waits => true,
            Fate::Sent { life, qos, acknowledged } => {
                qos == QoS::AtLeastOnce && !acknowledged && self.lives[life].ended
            }
        };
        ensure!(free, "to a second member [MQTT 4.8.2]: {}", told());
        publication.fates[group] = Fate::Sent { life, qos, acknowledged: false };
        *self.counts.entry((life, group)).or_default() += 1;
        Ok(())
    }

    /// A member acknowledged a message, or refused it for good. [MQTT-4.8.2-6]
    pub(crate) fn settled(&mut self, life: LifeId, group: usize, number: u64) {
        if let Some(publication) = self.publications.get_mut(&number)
            && let Fate::Sent { life: to, acknowledged, .. } = &mut publication.fates[group]
        {
            *acknowledged |= *to == life;
        }
    }

    /// At rest: messages that should have reached a member and did not.
    pub(crate) fn lost(&self, now: Now) -> Vec<String> {
        let mut lost = Vec::new();
        for (number, publication) in &self.publications {
            let expired = publication.expiry.is_some_and(|expiry| publication.received + expiry <= now);
            if expired || publication.qos == QoS::AtMostOnce {
                continue;
            }
            for (group, filter) in FILTERS.iter().enumerate() {
                let plain = filter.splitn(3, '/').last().unwrap_or_default();
                let owed =
                    crate::shadow::matches(plain, &publication.topic) && self.gaps[group] < publication.call;
                let got = match publication.fates[group] {
                    Fate::Waits => false,
                    // What was sent to it with QoS 2 nobody else may get.
                    Fate::Sent { life, qos, acknowledged } => {
                        acknowledged
                            || qos != QoS::AtLeastOnce && (self.lives[life].ended || qos == QoS::AtMostOnce)
                    }
                };
                if owed && !got {
                    lost.push(format!("{number} of {filter}: {publication:?}"));
                }
            }
        }
        lost
    }
}

impl Membership {
    /// Whether it takes what has to be acknowledged, whatever it asked for last.
    fn is_sure(&self) -> bool {
        self.acknowledged && self.terms.iter().all(|terms| terms.qos > QoS::AtMostOnce)
    }

    /// Whether it is one; its SUBACK may have been lost with a connection.
    pub(crate) fn is_member(&self) -> bool {
        self.asked.is_some()
    }
}
