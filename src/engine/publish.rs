//! The way of a PUBLISH. [MQTT 3.3]

use super::durable::Asking;
use super::fanout::Reach;
use super::retain::Retained;
use super::{CloseReason, Effects, Engine, StoreState};
use crate::codec::{Publish, ReasonCode};
use crate::session::{AckKind, AliasesIn, Promise, Session, Violation};
use crate::topic::{BadTopic, TopicName};
use crate::types::{ConnKey, Delivery, Message, Now, PacketId, QoS, SessionId, SessionKey, ShardId, Span};
use bytes::{Bytes, BytesMut};
use std::cell::OnceCell;
use std::num::NonZeroU16;
use std::sync::Arc;

/// Topics below this are the broker's own.
pub(super) const RESERVED: &str = "$SYS";

/// A message on its way through one turn. It borrows the read buffer; what outlives the turn takes
/// [`Publication::message`].
pub(super) struct Publication<'a> {
    pub(super) topic: TopicName<'a>,
    pub(super) payload: &'a [u8],
    /// 5.0 properties to pass on, encoded.
    pub(super) properties: &'a [u8],
    pub(super) delivery: Delivery,
    /// Who published it, where No Local needs to know.
    pub(super) publisher: Option<SessionKey>,
    /// Who published it on another core, where that is to be held back.
    pub(super) remote: Option<(ShardId, ConnKey)>,
    /// The memory that the payload lies in, if that holds nothing else.
    shared: Option<&'a Bytes>,
    message: OnceCell<Arc<Message>>,
}

impl<'a> Publication<'a> {
    /// A message that has its own memory already.
    pub(super) fn of(message: &'a Arc<Message>) -> Self {
        Self {
            topic: TopicName::trusted(message.topic()),
            payload: message.payload(),
            properties: message.properties(),
            delivery: message.delivery,
            publisher: None,
            remote: None,
            shared: None,
            message: OnceCell::from(Arc::clone(message)),
        }
    }

    /// A message of another core. Nearly always nobody keeps it, and then it stays where it is.
    pub(super) fn of_peer(message: &'a Message) -> Self {
        Self {
            topic: TopicName::trusted(message.topic()),
            payload: message.payload(),
            properties: message.properties(),
            delivery: message.delivery,
            publisher: None,
            remote: None,
            shared: Some(message.memory()),
            message: OnceCell::new(),
        }
    }

    /// The message in memory of its own, made on first use and shared by all who keep it.
    pub(super) fn message(&self) -> &Arc<Message> {
        self.message.get_or_init(|| Arc::new(self.owned()))
    }

    /// The message for the only core that gets it from here. Unless somebody `keeps` it here, its memory is nobody else's: that is
    /// one allocation where sharing takes three.
    pub(super) fn for_peer(&self, keeps: bool) -> Message {
        if keeps || self.message.get().is_some() { Message::clone(self.message()) } else { self.owned() }
    }

    fn owned(&self) -> Message {
        let (topic, properties, payload) = (self.topic.as_str(), self.properties, self.payload);
        match self.shared {
            Some(frame) => Message::within(frame, topic, properties, payload, self.delivery),
            None => Message::new(topic, properties, payload, self.delivery),
        }
    }

    /// The payload to reference from outputs.
    pub(super) fn payload_bytes(&self) -> Bytes {
        self.shared.map_or_else(|| self.message().payload_bytes(), |frame| frame.slice_ref(self.payload))
    }
}

/// What became of a message: what its acknowledgement says and waits for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Outcome {
    pub(super) reason: ReasonCode,
    /// Until when the store has it for those who are to get it.
    pub(super) asking: Asking,
    /// The request to the store that retains it; 0 for none.
    pub(super) retained: u64,
    /// The core that has to retain it first, and how many it will have retained then.
    pub(super) retained_by: Option<(ShardId, u64)>,
}

impl Outcome {
    /// It waits for nothing.
    pub(super) fn at_once(reason: ReasonCode) -> Self {
        Self { reason, asking: Asking::Nobody, retained: 0, retained_by: None }
    }

    /// It waits for what it waited for before.
    fn again(promise: Promise) -> Self {
        let Promise { request, joint, retained, retained_by } = promise;
        let asking = joint.map_or(Asking::By(request), Asking::Jointly);
        Self { reason: ReasonCode::Success, asking, retained, retained_by }
    }

    fn promise(&self) -> Promise {
        let request = match self.asking {
            Asking::By(request) => request,
            _ => 0,
        };
        let Self { retained, retained_by, .. } = *self;
        Promise { request, joint: self.asking.joint(), retained, retained_by }
    }
}

impl Engine {
    pub(super) fn on_publish(
        &mut self,
        now: Now,
        key: SessionKey,
        publish: &Publish<'_>,
        shared: Option<&Bytes>,
        fx: &mut impl Effects,
    ) -> Result<(), Violation> {
        let (expiry, alias) = self.checked(publish)?;
        // The message borrows its topic from the table while it is delivered.
        let aliases;
        let topic = if alias.is_none() && !publish.topic.is_empty() {
            aliases = None;
            self.topic_name(publish.topic)?
        } else {
            aliases = self.take_aliases(key, alias, publish)?;
            let topic = aliases.as_ref().zip(alias).and_then(|((_, known), alias)| known.topic(alias));
            topic.ok_or(Violation::UnknownAlias)?
        };
        self.counters.publish_in[publish.qos as usize] += 1;
        let mut forward = BytesMut::new();
        let properties = publish.properties.forward_raw().unwrap_or_else(|| {
            publish.properties.forward(&mut forward);
            &forward
        });
        let publication = Publication {
            topic,
            payload: publish.payload,
            properties,
            delivery: Delivery { qos: publish.qos, retain: publish.retain, received: now, expiry },
            publisher: Some(key),
            remote: None,
            shared,
            message: OnceCell::new(),
        };
        match (publish.qos, publish.packet_id) {
            (QoS::AtLeastOnce, Some(id)) => {
                self.admit(key)?;
                if self.turned_away(now, key, &publication, None, fx) {
                    return Ok(());
                }
                let outcome = self.route_from_client(now, &publication, None, fx);
                self.acknowledge(key, id, AckKind::PubAck, outcome, fx);
            }
            (QoS::ExactlyOnce, Some(id)) => self.exactly_once(now, key, id, &publication, fx)?,
            _ => {
                self.route_from_client(now, &publication, None, fx);
            }
        }
        if let Some((conn, aliases)) = aliases {
            self.put_aliases(key, conn, aliases);
        }
        Ok(())
    }

    /// What the codec leaves to us to check; the Message Expiry Interval and the Topic Alias.
    #[inline]
    fn checked(&self, publish: &Publish<'_>) -> Result<(Option<Span>, Option<NonZeroU16>), Violation> {
        let features = &self.setup.features;
        if publish.qos > features.qos_max {
            return Err(Violation::QosNotSupported);
        }
        if publish.retain && !features.retain {
            return Err(Violation::RetainNotSupported);
        }
        if publish.properties.is_empty() {
            return Ok((None, None));
        }
        if publish.properties.subscription_identifiers().next().is_some() {
            return Err(Violation::SubscriptionIdentifier);
        }
        let expiry = publish.properties.message_expiry_interval();
        Ok((expiry.map(|s| Span::from_secs(u64::from(s))), publish.properties.topic_alias()))
    }

    fn topic_name<'a>(&self, text: &'a str) -> Result<TopicName<'a>, Violation> {
        let limits = &self.setup.limits;
        if text.len() > usize::from(limits.topic_bytes_max) {
            return Err(Violation::TopicName(BadTopic::TooLongHere));
        }
        TopicName::parse(text, limits.topic_levels_max).map_err(Violation::TopicName)
    }

    /// A message with a Topic Alias, or without any topic: the client's aliases, with this one set if it is to be.
    #[cold]
    fn take_aliases(
        &mut self,
        key: SessionKey,
        alias: Option<NonZeroU16>,
        publish: &Publish<'_>,
    ) -> Result<Option<(ConnKey, Box<AliasesIn>)>, Violation> {
        let alias = alias.ok_or(Violation::NoTopic)?;
        if alias.get() > self.setup.features.topic_alias_max {
            return Err(Violation::TopicAlias);
        }
        let topic = match publish.topic {
            "" => None,
            text => Some(self.topic_name(text)?),
        };
        let Some(link) = self.sessions.get_mut(key).and_then(Session::link_mut) else { return Ok(None) };
        let mut aliases = link.aliases_in.take().unwrap_or_default();
        if let Some(topic) = topic {
            aliases.set(alias, topic);
        }
        Ok(Some((link.conn, aliases)))
    }

    #[cold]
    fn put_aliases(&mut self, key: SessionKey, conn: ConnKey, aliases: Box<AliasesIn>) {
        let link = self.sessions.get_mut(key).and_then(Session::link_mut);
        if let Some(link) = link.filter(|link| link.conn == conn) {
            link.aliases_in = Some(aliases);
        }
    }

    /// QoS 2: the first PUBLISH with an id is the message, repetitions until PUBREL are not. [MQTT-4.3.3-10]
    fn exactly_once(
        &mut self,
        now: Now,
        key: SessionKey,
        id: PacketId,
        publication: &Publication<'_>,
        fx: &mut impl Effects,
    ) -> Result<(), Violation> {
        let Some(session) = self.sessions.get(key) else { return Ok(()) };
        let outcome = match session.unreleased.get(id) {
            Some(Some(promise)) => Outcome::again(promise),
            Some(None) => self.retain_again(publication, fx),
            None => {
                let inbound = session.stored.map(|session| (session, id));
                self.admit(key)?;
                if self.turned_away(now, key, publication, inbound, fx) {
                    return Ok(());
                }
                self.route_from_client(now, publication, inbound, fx)
            }
        };
        if !outcome.reason.is_error()
            && let Some(session) = self.sessions.get_mut(key)
        {
            session.unreleased.received(id, Some(outcome.promise()));
        }
        self.acknowledge(key, id, AckKind::PubRec, outcome, fx);
        Ok(())
    }

    /// A message comes again that an earlier run of the broker took. That may have ended before the core which keeps the
    /// topic had it on disk, so that it is retained as of now. Its publisher has heard of no acknowledgement, so that this
    /// is true of its message whenever it was sent. Another client's may have replaced it, and is replaced in turn: to know,
    /// the store would have to have the packet id and what is retained in one request and in the keeper's order, and each
    /// such message a way to the keeper and back before it is delivered.
    fn retain_again(&mut self, publication: &Publication<'_>, fx: &mut impl Effects) -> Outcome {
        let mut outcome = Outcome::at_once(ReasonCode::Success);
        if publication.delivery.retain {
            self.retain_into(&mut outcome, publication, fx);
            // It was taken, and others have it: it is too late to refuse it.
            outcome.reason = ReasonCode::Success;
        }
        outcome
    }

    fn retain_into(&mut self, outcome: &mut Outcome, publication: &Publication<'_>, fx: &mut impl Effects) {
        match self.retain(publication.message(), fx) {
            Retained::Yes(request) => outcome.retained = request,
            Retained::No => outcome.reason = ReasonCode::QuotaExceeded,
            Retained::By(keeper, number) => outcome.retained_by = Some((keeper, number)),
        }
    }

    fn route_from_client(
        &mut self,
        now: Now,
        publication: &Publication<'_>,
        inbound: Option<(SessionId, PacketId)>,
        fx: &mut impl Effects,
    ) -> Outcome {
        if publication.topic.first_level() == RESERVED {
            self.counters.dropped.reserved_topic += 1;
            return Outcome::at_once(ReasonCode::NotAuthorized);
        }
        if let Some(conn) = publication.publisher.and_then(|key| Some(self.sessions.get(key)?.link()?.conn))
            && !self.rights.may_publish(conn, publication.topic)
        {
            self.counters.dropped.publish_denied += 1;
            return Outcome::at_once(ReasonCode::NotAuthorized);
        }
        if publication.delivery.qos != QoS::AtMostOnce && self.is_refused_by_store(publication, inbound) {
            self.counters.dropped.store_refused += 1;
            return Outcome::at_once(ReasonCode::QuotaExceeded);
        }
        self.route(now, publication, inbound, fx)
    }

    /// Clients older than 5.0 cannot be told that the store takes nothing at present: they are disconnected, without an
    /// acknowledgement for what it would have to keep.
    fn turned_away(
        &mut self,
        now: Now,
        key: SessionKey,
        publication: &Publication<'_>,
        inbound: Option<(SessionId, PacketId)>,
        fx: &mut impl Effects,
    ) -> bool {
        let told = self.durable.state != StoreState::Refusing
            || self.version_of(key).is_none_or(|version| version.is_v5());
        if told || !self.is_refused_by_store(publication, inbound) {
            return false;
        }
        self.counters.dropped.store_refused += 1;
        self.disconnect(now, key, CloseReason::StoreRefuses, fx);
        true
    }

    /// Whether a message needs the store, which takes nothing at present.
    fn is_refused_by_store(
        &mut self,
        publication: &Publication<'_>,
        inbound: Option<(SessionId, PacketId)>,
    ) -> bool {
        self.durable.state == StoreState::Refusing
            && (inbound.is_some() || publication.delivery.retain || self.is_for_the_store(publication))
    }

    /// Gives a message to everybody who wants it, on every core, and retains it if it is to be.
    pub(super) fn route(
        &mut self,
        now: Now,
        publication: &Publication<'_>,
        inbound: Option<(SessionId, PacketId)>,
        fx: &mut impl Effects,
    ) -> Outcome {
        let (reach, asking) = self.fan_out(now, publication, None, fx);
        let reason = match reach {
            Reach::Nobody => ReasonCode::NoMatchingSubscribers,
            Reach::Somebody => ReasonCode::Success,
            Reach::Refused => ReasonCode::QuotaExceeded,
        };
        let mut outcome = Outcome::at_once(reason);
        if publication.delivery.retain {
            self.retain_into(&mut outcome, publication, fx);
        }
        let inbound = inbound.filter(|_| !outcome.reason.is_error());
        if asking != Asking::Nobody || inbound.is_some() {
            let message = || Arc::clone(publication.message());
            outcome.asking = self.durable.asked(asking, message, inbound, None, fx);
        }
        outcome
    }

    /// Publishes a message of the broker itself.
    pub fn publish(&mut self, now: Now, message: Message, fx: &mut impl Effects) {
        self.route(now, &Publication::of(&Arc::new(message)), None, fx);
        self.evict(now, fx);
    }
}
