//! SUBSCRIBE and UNSUBSCRIBE. [MQTT 3.8 to 3.11]

use super::{Effects, Engine};
use crate::codec::{
    Packet, Properties, ReasonCode, RetainHandling, SubAck, Subscribe, SubscriptionOptions, UnsubAck,
    Unsubscribe, Version,
};
use crate::session::Subscription;
use crate::topic::{Subscriber, SubscriptionFlags, TopicFilter};
use crate::types::{ConnKey, Now, SessionKey};

impl Engine {
    pub(super) fn on_subscribe(
        &mut self,
        now: Now,
        conn: ConnKey,
        key: SessionKey,
        subscribe: &Subscribe<'_>,
        fx: &mut impl Effects,
    ) {
        let Some(version) = self.version_of(key) else { return };
        let id = subscribe.properties.subscription_identifiers().next().unwrap_or(0);
        let codes: Vec<u8> = subscribe
            .filters
            .iter()
            .map(|(filter, options)| match self.subscribe_one(key, filter, options, id, fx) {
                Ok(()) => options.qos as u8,
                Err(reason) if version == Version::V5 => reason as u8,
                Err(_) => SUBSCRIBE_FAILURE,
            })
            .collect();
        let suback =
            SubAck { packet_id: subscribe.packet_id, properties: Properties::default(), codes: &codes };
        self.response.clear();
        Packet::SubAck(suback).encode(version, &mut self.response);
        if self.interest.settled(self.interest.announced()) {
            fx.send(conn, &self.response);
            self.replay(now, key, fx);
        } else {
            self.interest.hold(conn, key, &self.response);
        }
    }

    fn subscribe_one(
        &mut self,
        key: SessionKey,
        text: &str,
        options: SubscriptionOptions,
        id: u32,
        fx: &mut impl Effects,
    ) -> Result<(), ReasonCode> {
        let limits = &self.setup.limits;
        let filter =
            TopicFilter::parse(text, limits.topic_levels_max).map_err(|_| ReasonCode::TopicFilterInvalid)?;
        if filter.share_group().is_some() {
            return Err(ReasonCode::SharedSubscriptionsNotSupported);
        }
        let session = self.sessions.get_mut(key).ok_or(ReasonCode::UnspecifiedError)?;
        let full = session.subscriptions.len() >= limits.subscriptions_max as usize;
        if full && !session.subscriptions.contains_key(text) {
            return Err(ReasonCode::QuotaExceeded);
        }
        let fresh = session.subscriptions.insert(text.into(), Subscription { options, id }).is_none();
        let flags = SubscriptionFlags::new(options.qos, options.no_local, options.retain_as_published);
        let subscribed =
            self.trie.subscribe(filter, Subscriber { session: key, options: flags, subscription_id: id });
        self.cache.on_change(filter);
        if subscribed.first_local {
            self.interest.add(filter.as_str(), fx);
        }
        self.gauges.subscriptions += u64::from(fresh);
        // [MQTT-3.3.1-9] to [MQTT-3.3.1-11]
        match options.retain_handling {
            RetainHandling::Always => self.begin_replay(key, filter, options.qos, id),
            RetainHandling::IfNew if fresh => self.begin_replay(key, filter, options.qos, id),
            RetainHandling::IfNew | RetainHandling::Never => {}
        }
        Ok(())
    }

    /// Sends the SUBACKs that waited for other cores, each before the retained messages of its subscriptions.
    pub(super) fn release_subacks(&mut self, now: Now, fx: &mut impl Effects) {
        while let Some(ready) = self.interest.next_ready() {
            if self.session_of(ready.conn) == Some(ready.session) {
                fx.send(ready.conn, &ready.bytes);
            }
            self.pump_if_waiting(now, ready.session, fx);
        }
    }

    pub(super) fn on_unsubscribe(
        &mut self,
        now: Now,
        conn: ConnKey,
        key: SessionKey,
        unsubscribe: &Unsubscribe<'_>,
        fx: &mut impl Effects,
    ) {
        let Some(version) = self.version_of(key) else { return };
        let codes: Vec<u8> = unsubscribe
            .filters
            .iter()
            .map(|filter| {
                let known =
                    self.sessions.get_mut(key).is_some_and(|s| s.subscriptions.remove(filter).is_some());
                if !known {
                    return ReasonCode::NoSubscriptionExisted as u8;
                }
                self.gauges.subscriptions -= 1;
                self.withdraw(key, filter, fx);
                self.replays.cancel(key, TopicFilter::trusted(filter));
                ReasonCode::Success as u8
            })
            .collect();
        let unsuback =
            UnsubAck { packet_id: unsubscribe.packet_id, properties: Properties::default(), codes: &codes };
        self.respond(conn, version, &Packet::UnsubAck(unsuback), fx);
        // Another subscription's retained messages may have waited behind those that were cancelled.
        self.pump_if_waiting(now, key, fx);
    }

    /// Takes a subscription out of the trie that its session does not have any more.
    pub(super) fn withdraw(&mut self, key: SessionKey, filter: &str, fx: &mut impl Effects) {
        let filter = TopicFilter::trusted(filter);
        if let Some(gone) = self.trie.unsubscribe(filter, key) {
            self.cache.on_change(filter);
            if gone.last_local {
                self.interest.remove(filter.as_str(), fx);
            }
        }
    }
}

/// SUBACK's only way to refuse in 3.1.1. [MQTT-3.9.3-2]
const SUBSCRIBE_FAILURE: u8 = 0x80;
