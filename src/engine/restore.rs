//! What outlived the broker comes back: sessions with what they asked for, and retained messages. What sessions are owed
//! stays with the store until their clients are back.

use super::retain::keeper;
use super::{Effects, Engine, Restored, RestoredSession};
use crate::session::{Presence, Session};
use crate::topic::{TopicFilter, TopicName};
use crate::types::{HashSeed, Message, Now, ShardId, Span};

impl Engine {
    /// The core that keeps a topic's retained message.
    pub fn keeper_of(seed: HashSeed, shards: u16, topic: &str) -> ShardId {
        keeper(seed, u64::from(shards), topic)
    }

    /// Takes back something that the store kept, before any client is served.
    pub fn restore(&mut self, now: Now, restored: Restored, fx: &mut impl Effects) {
        match restored {
            Restored::Session(session) => self.restore_session(now, *session, fx),
            Restored::Retained(message) => self.restore_retained(now, message),
        }
    }

    /// Whether all cores know what this one was given back, so that clients may be served.
    pub fn is_settled(&self) -> bool {
        self.interest.settled(self.interest.announced())
    }

    fn restore_retained(&mut self, now: Now, message: Message) {
        if message.delivery.expired(now) {
            return;
        }
        let index = &mut self.retention.index;
        index.set(TopicName::trusted(message.topic()), message.clone());
    }

    fn restore_session(&mut self, now: Now, restored: RestoredSession, fx: &mut impl Effects) {
        let RestoredSession { stored, alive, subscriptions, inbound, received, backlog } = restored;
        // It ended with its connection, which ended with the broker, or was about to: it does as soon as time passes.
        let ends = stored.expiry == Some(Span(0));
        let (since, was_connected) = (stored.away.unwrap_or(alive), stored.away.is_none());
        let mut session = Session::new(&stored.client_id, since, self.setup.seed);
        session.stored = Some(stored.id);
        session.expiry = stored.expiry;
        session.next_seq = stored.next_seq;
        session.unsent_from = stored.unsent_from.unwrap_or(stored.next_seq);
        if stored.unsent_from.is_none() {
            // They are sent in their order, and not more at a time than its window takes.
            session.sent_exactly_once = u32::from(self.setup.limits.inflight_max);
        }
        session.strays = backlog.messages > 0;
        let will = stored.will.map(|(will, due)| (due.unwrap_or(since + will.delay), will));
        session.presence = Presence::Away { since, will };
        for id in inbound {
            session.unreleased.received(id, None);
        }
        received.into_iter().for_each(|seq| session.outbound.restore_received(seq));
        session.queue.restore(backlog, session.next_seq);
        self.gauges.queued_messages += session.queue.len() as u64;
        self.gauges.queued_bytes += session.queue.bytes();
        let key = self.sessions.insert(session);
        if ends {
            return self.arm(now, key);
        }
        self.by_client.insert(stored.client_id, key);
        for (filter, subscription) in subscriptions {
            self.take_effect(key, TopicFilter::trusted(&filter), subscription, true, fx);
            if let Some(session) = self.sessions.get_mut(key) {
                session.subscriptions.insert(filter, subscription);
            }
        }
        if was_connected {
            // A later start must not take it to be away since that one: it would never expire, nor would its will be due.
            self.store_session(key);
        }
        self.arm(now, key);
    }
}
