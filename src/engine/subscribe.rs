//! SUBSCRIBE and UNSUBSCRIBE. [MQTT 3.8 to 3.11]

use super::groups::Member;
use super::{Effects, Engine, PersistOp, Setup, StoreState};
use crate::codec::{
    Packet, Properties, ReasonCode, RetainHandling, SubAck, Subscribe, SubscriptionOptions, UnsubAck,
    Unsubscribe,
};
use crate::session::{Subscription, Violation};
use crate::topic::{BadTopic, Subscriber, SubscriptionFlags, TopicFilter};
use crate::types::{ConnKey, Features, Now, QoS, SessionKey};

impl Engine {
    pub(super) fn on_subscribe(
        &mut self,
        now: Now,
        conn: ConnKey,
        key: SessionKey,
        subscribe: &Subscribe<'_>,
        fx: &mut impl Effects,
    ) -> Result<(), Violation> {
        let Some(version) = self.version_of(key) else { return Ok(()) };
        if subscribe.filters.iter().any(|(filter, options)| options.no_local && filter.starts_with(SHARE)) {
            return Err(Violation::NoLocalShared);
        }
        let id = subscribe.properties.subscription_identifiers().next().unwrap_or(0);
        let mut why = String::new();
        let before = self.durable.last();
        let codes: Vec<u8> = subscribe
            .filters
            .iter()
            .map(|(filter, options)| match self.subscribe_one(key, filter, options, id, fx) {
                Ok(granted) => granted as u8,
                Err(refused) => {
                    refused.explain(filter, &mut why);
                    if version.is_v5() { refused.reason as u8 } else { SUBSCRIBE_FAILURE }
                }
            })
            .collect();
        let suback = SubAck { packet_id: subscribe.packet_id, properties: Properties::EMPTY, codes: &codes };
        let fits = self.put_response(key, Packet::SubAck(suback), &why).is_some();
        let request = if self.durable.last() > before { self.durable.last() } else { 0 };
        if !self.interest.settled(self.interest.announced()) || !self.durable.has(request) {
            self.interest.hold(request, conn, key, if fits { &self.response } else { &[] });
        } else {
            if fits {
                fx.send(conn, &self.response);
            }
            self.replay(now, key, fx);
        }
        Ok(())
    }

    fn subscribe_one(
        &mut self,
        key: SessionKey,
        text: &str,
        options: SubscriptionOptions,
        id: u32,
        fx: &mut impl Effects,
    ) -> Result<QoS, Refused> {
        let Setup { limits, features, .. } = &self.setup;
        if text.len() > usize::from(limits.topic_bytes_max) {
            return Err(Refused::filter(BadTopic::TooLongHere));
        }
        let filter = TopicFilter::parse(text, limits.topic_levels_max).map_err(Refused::filter)?;
        allowed(filter, id, features)?;
        let options = SubscriptionOptions { qos: options.qos.min(features.qos_max), ..options };
        let session = self.sessions.get_mut(key).ok_or(Refused::GONE)?;
        let conn = session.link().ok_or(Refused::GONE)?.conn;
        if !self.rights.may_subscribe(conn, filter) {
            return Err(Refused::DENIED);
        }
        let full = session.subscriptions.len() >= limits.subscriptions_max as usize;
        if full && !session.subscriptions.contains_key(text) {
            return Err(Refused::TOO_MANY);
        }
        if session.stored.is_some() && self.durable.state == StoreState::Refusing {
            return Err(Refused::STORE);
        }
        let subscription = Subscription { options, id };
        let fresh = session.subscriptions.insert(text.into(), subscription).is_none();
        if let Some(session) = session.stored {
            self.durable.ask(PersistOp::Subscribe { session, filter: text.into(), subscription });
        }
        self.take_effect(key, filter, subscription, fresh, fx);
        if filter.share_group().is_some() {
            // Retained messages are not for groups. [MQTT 4.8.2]
            return Ok(options.qos);
        }
        // [MQTT-3.3.1-9] to [MQTT-3.3.1-11]
        let retained = match options.retain_handling {
            RetainHandling::Always => true,
            RetainHandling::IfNew => fresh,
            RetainHandling::Never => false,
        };
        if retained {
            self.interest.settle(filter.as_str(), fx);
            self.begin_replay(key, filter, options.qos, id);
        }
        Ok(options.qos)
    }

    /// Lets a subscription that its session has reach the trie, or its group, and the other cores.
    pub(super) fn take_effect(
        &mut self,
        key: SessionKey,
        filter: TopicFilter<'_>,
        subscription: Subscription,
        fresh: bool,
        fx: &mut impl Effects,
    ) {
        let Some(session) = self.sessions.get_mut(key) else { return };
        let Subscription { options, id } = subscription;
        let lasting = session.stored.is_some();
        self.gauges.subscriptions += u64::from(fresh);
        let flags = SubscriptionFlags::new(options.qos, options.no_local, options.retain_as_published);
        if filter.share_group().is_some() {
            session.shares += u32::from(fresh);
            return self.join(filter, Member { session: key, flags, id, lasting }, fx);
        }
        let subscribed =
            self.trie.subscribe(filter, Subscriber { session: key, options: flags, subscription_id: id });
        self.cache.on_change(filter);
        if subscribed.first_local {
            self.interest.add(filter.as_str(), fx);
        }
        if lasting && fresh {
            self.interest.add_lasting(filter.as_str(), fx);
        }
    }

    /// Sends the SUBACKs that waited for other cores, each before the retained messages of its subscriptions.
    pub(super) fn release_subacks(&mut self, now: Now, fx: &mut impl Effects) {
        while let Some(ready) = self.interest.next_ready(&self.durable) {
            if let Some((conn, bytes)) = ready.answer
                && self.session_of(conn) == Some(ready.session)
            {
                fx.send(conn, &bytes);
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
        let before = self.durable.last();
        let codes: Vec<u8> = unsubscribe
            .filters
            .iter()
            .map(|filter| {
                let session = self.sessions.get_mut(key);
                let Some((session, _)) =
                    session.and_then(|s| s.subscriptions.remove(filter).map(|known| (s.stored, known)))
                else {
                    return ReasonCode::NoSubscriptionExisted as u8;
                };
                self.gauges.subscriptions -= 1;
                self.withdraw(now, key, filter, session.is_some(), fx);
                if let Some(session) = session {
                    self.durable.ask(PersistOp::Unsubscribe { session, filter: (*filter).into() });
                }
                self.replays.cancel(key, TopicFilter::trusted(filter));
                ReasonCode::Success as u8
            })
            .collect();
        let unsuback =
            UnsubAck { packet_id: unsubscribe.packet_id, properties: Properties::EMPTY, codes: &codes };
        let request = if self.durable.last() > before { self.durable.last() } else { 0 };
        if self.durable.has(request) {
            self.respond(key, Packet::UnsubAck(unsuback), fx);
        } else if self.put_response(key, Packet::UnsubAck(unsuback), "").is_some() {
            self.interest.hold(request, conn, key, &self.response);
        }
        // Another subscription's retained messages may have waited behind those that were cancelled.
        self.pump_if_waiting(now, key, fx);
    }

    /// Takes a subscription out of the trie that its session does not have any more.
    pub(super) fn withdraw(
        &mut self,
        now: Now,
        key: SessionKey,
        filter: &str,
        lasting: bool,
        fx: &mut impl Effects,
    ) {
        let filter = TopicFilter::trusted(filter);
        if filter.share_group().is_some() {
            self.leave(now, filter, key, fx);
        } else if let Some(gone) = self.trie.unsubscribe(filter, key) {
            self.cache.on_change(filter);
            if lasting {
                self.interest.remove_lasting(filter.as_str(), fx);
            }
            if gone.last_local {
                self.interest.remove(filter.as_str(), fx);
            }
        }
    }
}

/// SUBACK's only way to refuse in 3.1.1. [MQTT-3.9.3-2]
const SUBSCRIBE_FAILURE: u8 = 0x80;

/// What the filters of shared subscriptions begin with. [MQTT-4.8.2-1]
const SHARE: &str = "$share/";

/// Characters of a filter that a reason repeats.
const FILTER_SHOWN_MAX: usize = 100;

/// Why one filter was not subscribed to.
#[derive(Clone, Copy, Debug)]
struct Refused {
    reason: ReasonCode,
    why: Why,
}

#[derive(Clone, Copy, Debug)]
enum Why {
    Filter(BadTopic),
    Words(&'static str),
}

impl Refused {
    const GONE: Self = Self::new(ReasonCode::UnspecifiedError, "the session has ended");
    const DENIED: Self =
        Self::new(ReasonCode::NotAuthorized, "the rules here let this client receive nothing of it");
    const TOO_MANY: Self =
        Self::new(ReasonCode::QuotaExceeded, "the session has as many subscriptions as it may have");
    const STORE: Self = Self::new(ReasonCode::QuotaExceeded, "the store takes nothing at present");
    const SHARED: Self =
        Self::new(ReasonCode::SharedSubscriptionsNotSupported, "there are no shared subscriptions here");
    const WILDCARD: Self =
        Self::new(ReasonCode::WildcardSubscriptionsNotSupported, "filters have no wildcards here");
    const IDENTIFIER: Self =
        Self::new(ReasonCode::SubscriptionIdentifiersNotSupported, "subscriptions have no identifiers here");

    const fn new(reason: ReasonCode, words: &'static str) -> Self {
        Self { reason, why: Why::Words(words) }
    }

    fn filter(bad: BadTopic) -> Self {
        Self { reason: ReasonCode::TopicFilterInvalid, why: Why::Filter(bad) }
    }

    /// Adds the reason to what a client is told; of several the first has to do.
    fn explain(self, filter: &str, told: &mut String) {
        if told.is_empty() {
            told.extend(filter.chars().take(FILTER_SHOWN_MAX));
            told.push_str(": ");
            told.push_str(&match self.why {
                Why::Filter(bad) => bad.to_string(),
                Why::Words(words) => words.to_owned(),
            });
        }
    }
}

/// Whether the operator offers what a subscription asks for. [MQTT 3.2.2.3.11 to 3.2.2.3.13]
fn allowed(filter: TopicFilter<'_>, id: u32, features: &Features) -> Result<(), Refused> {
    if filter.share_group().is_some() && !features.shared_subscriptions {
        return Err(Refused::SHARED);
    }
    if filter.has_wildcard() && !features.wildcard_subscriptions {
        return Err(Refused::WILDCARD);
    }
    if id != 0 && !features.subscription_ids {
        return Err(Refused::IDENTIFIER);
    }
    Ok(())
}
