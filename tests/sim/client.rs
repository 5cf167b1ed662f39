//! A client of the broker: bytes in, bytes out, and what a client has to remember of its session. [MQTT 4.1]

use super::oracle::{Oracle, Verdict, ensure};
use super::shadow::LifeId;
use bytes::BytesMut;
use pantala::codec::{
    Ack, Connect, Disconnect, Packet, Properties, PropertiesBuf, Property, Publish, ReasonCode, Split,
    Subscribe, SubscribeFilters, SubscriptionOptions, Unsubscribe, UnsubscribeFilters, Version, Will, decode,
    split,
};
use pantala::types::{Now, PacketId, QoS, Span};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::num::{NonZeroU16, NonZeroU32};

/// Packet ids that only messages have of which there are too many, and what a broker has to take at most for a client to
/// do that.
const OVERRUN_FROM: u16 = 201;
const OVERRUN_MAX: u16 = 20;

/// A message as a client makes it.
#[derive(Clone, Debug)]
pub(crate) struct Draft {
    pub(crate) topic: String,
    pub(crate) payload: Vec<u8>,
    pub(crate) qos: QoS,
    pub(crate) retain: bool,
    pub(crate) expiry_s: Option<u32>,
    pub(crate) content_type: Option<String>,
    pub(crate) user: Vec<(String, String)>,
    /// The alias to name the topic by, where the broker takes so many.
    pub(crate) alias: Option<NonZeroU16>,
}

impl Draft {
    fn properties(&self, delay_s: Option<u32>) -> PropertiesBuf {
        let mut properties = PropertiesBuf::default();
        let own = [
            self.expiry_s.map(Property::MessageExpiryInterval),
            self.content_type.as_deref().map(Property::ContentType),
            delay_s.map(Property::WillDelayInterval),
        ];
        own.into_iter().flatten().for_each(|property| properties.push(property));
        for (name, value) in &self.user {
            properties.push(Property::UserProperty((name, value)));
        }
        properties
    }
}

/// What a client says in CONNECT.
#[derive(Clone, Debug)]
pub(crate) struct Hello {
    pub(crate) version: Version,
    pub(crate) clean_start: bool,
    pub(crate) keep_alive_s: u16,
    pub(crate) expiry_s: Option<u32>,
    pub(crate) receive_maximum: Option<u16>,
    pub(crate) packet_bytes_max: Option<u32>,
    /// Topic aliases that the broker may use.
    pub(crate) aliases_max: Option<u16>,
    /// A message and the Will Delay Interval.
    pub(crate) will: Option<(Draft, Option<u32>)>,
}

/// How a client is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reading {
    Eager,
    /// A few bytes at a time.
    Slow,
    Never,
}

/// A message of a client that is not acknowledged for good.
#[derive(Debug)]
struct Outgoing {
    packet_id: PacketId,
    draft: Draft,
    /// PUBREC came: the broker has it.
    released: bool,
    /// It was sent twice on one connection: that the first was refused says nothing of the second.
    repeated: bool,
}

/// What a client remembers of a session over its connections.
#[derive(Debug, Default)]
pub(crate) struct Session {
    /// QoS 2 messages that it has and that are not released.
    inbound: BTreeSet<u16>,
    /// Messages that it refused, with their packet ids.
    refused: BTreeSet<(u16, Vec<u8>)>,
    outbound: Vec<Outgoing>,
    last_id: u16,
    pub(crate) filters: BTreeSet<String>,
}

impl Session {
    fn is_repeated(&self, packet_id: PacketId) -> bool {
        self.outbound.iter().any(|out| out.packet_id == packet_id && out.repeated)
    }
}

/// A connection as the client sees it.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) socket: usize,
    pub(crate) version: Version,
    /// Known from CONNACK on.
    pub(crate) life: Option<LifeId>,
    input: Vec<u8>,
    pub(crate) output: BytesMut,
    fussy: bool,
    /// Acknowledgements that are held back, in order.
    acks: VecDeque<BytesMut>,
    /// What the broker takes unacknowledged.
    receive_maximum: u16,
    /// Topic aliases that the broker takes, and what those in use stand for.
    aliases_max: u16,
    aliases: BTreeMap<NonZeroU16, String>,
    /// What the broker's aliases stand for.
    heard_aliases: BTreeMap<NonZeroU16, String>,
    keep_alive: Option<Span>,
    spoke: Now,
    /// Packet ids of SUBSCRIBE and UNSUBSCRIBE that are not answered.
    asked: BTreeSet<u16>,
    /// PUBLISH packets that came.
    pub(crate) came: u64,
}

/// A client.
#[derive(Debug)]
pub(crate) struct Client {
    /// Empty where the broker is to choose.
    pub(crate) name: String,
    pub(crate) version: Version,
    pub(crate) reading: Reading,
    /// Holds acknowledgements back.
    pub(crate) withholds: bool,
    pub(crate) persistent: bool,
    /// Refuses some QoS 2 messages, where its protocol version has a way to say so.
    pub(crate) fussy: bool,
    /// Says nothing though its keep alive is over.
    pub(crate) silent: bool,
    /// Only there to see the wills that are published late.
    pub(crate) witness: bool,
    pub(crate) link: Option<Link>,
    /// Messages received by topic, for the last check of retained messages.
    pub(crate) collected: Option<BTreeMap<String, Vec<u8>>>,
}

impl Client {
    pub(crate) fn new(name: &str, version: Version) -> Self {
        Self {
            name: name.to_owned(),
            version,
            reading: Reading::Eager,
            withholds: false,
            persistent: true,
            fussy: false,
            silent: false,
            witness: false,
            link: None,
            collected: None,
        }
    }

    /// Begins a connection.
    pub(crate) fn connect(&mut self, socket: usize, now: Now, hello: &Hello) {
        let mut properties = PropertiesBuf::default();
        let asked = [
            hello.expiry_s.map(Property::SessionExpiryInterval),
            hello.receive_maximum.and_then(NonZeroU16::new).map(Property::ReceiveMaximum),
            hello.packet_bytes_max.and_then(NonZeroU32::new).map(Property::MaximumPacketSize),
            hello.aliases_max.map(Property::TopicAliasMaximum),
        ];
        asked.into_iter().flatten().for_each(|property| properties.push(property));
        let will = hello.will.as_ref().map(|(draft, delay_s)| (draft, draft.properties(*delay_s)));
        let connect = Connect {
            version: hello.version,
            clean_start: hello.clean_start,
            keep_alive_s: hello.keep_alive_s,
            properties: properties.as_properties(),
            client_id: &self.name,
            will: will.as_ref().map(|(draft, properties)| Will {
                topic: &draft.topic,
                payload: &draft.payload,
                qos: draft.qos,
                retain: draft.retain,
                properties: properties.as_properties(),
            }),
            username: None,
            password: None,
        };
        let mut output = BytesMut::new();
        Packet::Connect(connect).encode(hello.version, &mut output);
        self.link = Some(Link {
            socket,
            version: hello.version,
            life: None,
            input: Vec::new(),
            output,
            fussy: self.fussy && hello.version.is_v5(),
            acks: VecDeque::new(),
            receive_maximum: 50,
            aliases_max: 0,
            aliases: BTreeMap::new(),
            heard_aliases: BTreeMap::new(),
            keep_alive: Some(hello.keep_alive_s).filter(|&s| s > 0).map(|s| Span::from_secs(s.into())),
            spoke: now,
            asked: BTreeSet::new(),
            came: 0,
        });
    }
}

impl Link {
    /// Handles bytes of the broker. `life` is the session that serves this connection, if CONNECT was accepted.
    pub(crate) fn hear(
        &mut self,
        bytes: &[u8],
        life: Option<LifeId>,
        sessions: &mut BTreeMap<LifeId, Session>,
        oracle: &mut Oracle,
        collected: &mut Option<BTreeMap<String, Vec<u8>>>,
    ) -> Verdict {
        self.input.extend_from_slice(bytes);
        let input = std::mem::take(&mut self.input);
        let mut at = 0;
        while let Split::Whole { frame, len } =
            split(&input[at..], u32::MAX).map_err(|error| format!("a client cannot read this: {error}"))?
        {
            let packet = decode(frame, self.version).map_err(|error| format!("{frame:02x?}: {error}"))?;
            if let Packet::Publish(publish) = &packet {
                let topic = resolve(&mut self.heard_aliases, publish)?;
                if let Some(collected) = collected.as_mut() {
                    collected.insert(topic.clone(), publish.payload.to_vec());
                }
                let publish = Publish { topic: &topic, ..*publish };
                self.packet(&Packet::Publish(publish), life, sessions, oracle)?;
            } else {
                self.packet(&packet, life, sessions, oracle)?;
            }
            at += len;
        }
        self.input = input[at..].to_vec();
        Ok(())
    }

    fn packet(
        &mut self,
        packet: &Packet<'_>,
        life: Option<LifeId>,
        sessions: &mut BTreeMap<LifeId, Session>,
        oracle: &mut Oracle,
    ) -> Verdict {
        if let Packet::ConnAck(connack) = packet {
            ensure!(self.life.is_none(), "a second CONNACK");
            if connack.code == 0 {
                ensure!(life.is_some(), "accepted by nobody");
                self.life = life;
                self.receive_maximum = connack.properties.receive_maximum().map_or(50, NonZeroU16::get);
                self.aliases_max = connack.properties.topic_alias_maximum().unwrap_or(0);
                if let Some(secs) = connack.properties.server_keep_alive() {
                    self.keep_alive = Some(Span::from_secs(secs.into()));
                }
                self.send_again(life.map(|life| sessions.entry(life).or_default()));
            }
            return Ok(());
        }
        let Some(life) = self.life else {
            return Err(format!("{packet:?} before CONNACK"));
        };
        let session = sessions.entry(life).or_default();
        match packet {
            Packet::Publish(publish) => self.message(publish, life, session, oracle),
            Packet::PubRel(ack) => {
                session.inbound.remove(&ack.packet_id.get());
                self.acknowledge(Packet::PubComp(Ack::new(ack.packet_id, ReasonCode::Success)));
            }
            Packet::PubAck(ack) => {
                session
                    .outbound
                    .retain(|out| out.packet_id != ack.packet_id || out.draft.qos != QoS::AtLeastOnce);
            }
            Packet::PubRec(ack) if ack.reason.is_error() && !session.is_repeated(ack.packet_id) => {
                session
                    .outbound
                    .retain(|out| out.packet_id != ack.packet_id || out.draft.qos != QoS::ExactlyOnce);
            }
            Packet::PubRec(ack) => {
                session
                    .outbound
                    .iter_mut()
                    .filter(|out| out.packet_id == ack.packet_id)
                    .for_each(|out| out.released = true);
                self.send(&Packet::PubRel(Ack::new(ack.packet_id, ReasonCode::Success)));
            }
            Packet::PubComp(ack) => {
                session.outbound.retain(|out| out.packet_id != ack.packet_id || !out.released);
            }
            Packet::SubAck(suback) => ensure!(self.asked.remove(&suback.packet_id.get()), "{suback:?}"),
            Packet::UnsubAck(unsuback) => {
                ensure!(self.asked.remove(&unsuback.packet_id.get()), "{unsuback:?}")
            }
            Packet::PingResp | Packet::Disconnect(_) => {}
            packet => return Err(format!("a client got {packet:?}")),
        }
        Ok(())
    }

    fn message(&mut self, publish: &Publish<'_>, life: LifeId, session: &mut Session, oracle: &mut Oracle) {
        self.came += 1;
        let mut fresh = true;
        match (publish.qos, publish.packet_id) {
            (QoS::AtLeastOnce, Some(id)) => {
                self.acknowledge(Packet::PubAck(Ack::new(id, ReasonCode::Success)))
            }
            (QoS::ExactlyOnce, Some(id)) if self.fussy && publish.payload.first() == Some(&b'7') => {
                // That is the end of it [MQTT 4.3.3], unless this does not arrive.
                fresh = session.refused.insert((id.get(), publish.payload.to_vec()));
                self.acknowledge(Packet::PubRec(Ack::new(id, ReasonCode::ImplementationSpecificError)));
            }
            (QoS::ExactlyOnce, Some(id)) => {
                fresh = session.inbound.insert(id.get());
                self.acknowledge(Packet::PubRec(Ack::new(id, ReasonCode::Success)));
            }
            _ => {}
        }
        oracle.seen(life, publish.topic, publish.payload, publish.qos, fresh);
    }

    /// After a reconnect: what the broker has not acknowledged. [MQTT-4.4.0-1]
    fn send_again(&mut self, session: Option<&mut Session>) {
        for out in session.iter().flat_map(|session| &session.outbound) {
            if out.released {
                self.send(&Packet::PubRel(Ack::new(out.packet_id, ReasonCode::Success)));
            } else {
                self.send_publish(&out.draft, Some(out.packet_id), true);
            }
        }
    }

    /// Sends one of the messages that are not acknowledged once more, on the same connection.
    pub(crate) fn repeat(&mut self, session: &mut Session, pick: usize) {
        let twice = session.outbound.iter_mut().filter(|out| out.draft.qos == QoS::ExactlyOnce);
        let mut twice: Vec<_> = twice.collect();
        let count = twice.len().max(1);
        let Some(out) = twice.get_mut(pick % count) else { return };
        out.repeated = true;
        if out.released {
            self.send(&Packet::PubRel(Ack::new(out.packet_id, ReasonCode::Success)));
        } else {
            self.send_publish(&out.draft, Some(out.packet_id), true);
        }
    }

    pub(crate) fn send(&mut self, packet: &Packet<'_>) {
        packet.encode(self.version, &mut self.output);
    }

    fn acknowledge(&mut self, packet: Packet<'_>) {
        let mut bytes = BytesMut::new();
        packet.encode(self.version, &mut bytes);
        self.acks.push_back(bytes);
    }

    /// Lets acknowledgements go that were held back, in their order. [MQTT-4.6.0-2]
    pub(crate) fn release_acks(&mut self, most: usize) {
        for bytes in self.acks.drain(..most.min(self.acks.len())) {
            self.output.extend_from_slice(&bytes);
        }
    }

    pub(crate) fn acks_held(&self) -> usize {
        self.acks.len()
    }

    /// Whether the client has to say something soon.
    pub(crate) fn is_quiet(&self, now: Now) -> bool {
        self.keep_alive.is_some_and(|span| (now - self.spoke).0 >= span.0 / 2)
    }

    pub(crate) fn spoke(&mut self, now: Now) {
        self.spoke = now;
    }

    fn send_publish(&mut self, draft: &Draft, packet_id: Option<PacketId>, dup: bool) {
        let mut properties = draft.properties(None);
        let mut topic = &*draft.topic;
        if let Some(alias) = draft.alias.filter(|alias| alias.get() <= self.aliases_max) {
            properties.push(Property::TopicAlias(alias));
            if self.aliases.insert(alias, topic.to_owned()).as_deref() == Some(topic) {
                topic = "";
            }
        }
        let properties = if self.version.is_v5() { properties.as_properties() } else { Properties::EMPTY };
        self.send(&Packet::Publish(Publish {
            dup,
            qos: draft.qos,
            retain: draft.retain,
            topic,
            packet_id,
            properties,
            payload: &draft.payload,
        }));
    }

    /// Publishes one message of QoS 2 more than the broker takes unacknowledged. [MQTT-3.3.4-7]
    pub(crate) fn overrun(&mut self, session: &mut Session) {
        let again = session.outbound.iter().any(|out| out.packet_id.get() >= OVERRUN_FROM);
        if again || !self.version.is_v5() || self.receive_maximum > OVERRUN_MAX {
            return;
        }
        for packet_id in (OVERRUN_FROM..=OVERRUN_FROM + self.receive_maximum).filter_map(PacketId::new) {
            let draft = Draft {
                topic: "overrun".to_owned(),
                payload: format!("overrun {packet_id}").into_bytes(),
                qos: QoS::ExactlyOnce,
                retain: false,
                expiry_s: None,
                content_type: None,
                user: Vec::new(),
                alias: None,
            };
            self.send_publish(&draft, Some(packet_id), false);
            // Of those that the broker took it keeps the packet ids: they are released on the next connection, before what
            // is sent again needs their room.
            session.outbound.insert(0, Outgoing { packet_id, draft, released: true, repeated: false });
        }
    }

    /// Publishes a message, unless too many are unacknowledged.
    pub(crate) fn publish(&mut self, session: Option<&mut Session>, draft: Draft) {
        if draft.qos == QoS::AtMostOnce {
            return self.send_publish(&draft, None, false);
        }
        let Some(session) = session else { return };
        if session.outbound.len() < usize::from(self.receive_maximum.min(50)) {
            let packet_id = self.fresh_id(session);
            self.send_publish(&draft, Some(packet_id), false);
            session.outbound.push(Outgoing { packet_id, draft, released: false, repeated: false });
        }
    }

    fn fresh_id(&self, session: &mut Session) -> PacketId {
        loop {
            session.last_id = session.last_id % 200 + 1;
            let id = PacketId::new(session.last_id).expect("above 0");
            let in_use =
                self.asked.contains(&id.get()) || session.outbound.iter().any(|out| out.packet_id == id);
            if !in_use {
                return id;
            }
        }
    }

    pub(crate) fn subscribe(
        &mut self,
        session: &mut Session,
        filters: &[(String, SubscriptionOptions)],
        id: Option<u32>,
    ) {
        let mut block = BytesMut::new();
        for (filter, options) in filters {
            SubscribeFilters::write(&mut block, filter, *options);
            session.filters.insert(filter.clone());
        }
        let mut properties = PropertiesBuf::default();
        id.filter(|_| self.version.is_v5())
            .into_iter()
            .for_each(|id| properties.push(Property::SubscriptionIdentifier(id)));
        let packet_id = self.fresh_id(session);
        self.asked.insert(packet_id.get());
        let filters = SubscribeFilters::parse(&block, self.version).expect("a block of filters");
        self.send(&Packet::Subscribe(Subscribe {
            packet_id,
            properties: properties.as_properties(),
            filters,
        }));
    }

    pub(crate) fn unsubscribe(&mut self, session: &mut Session, filters: &[String]) {
        let mut block = BytesMut::new();
        for filter in filters {
            UnsubscribeFilters::write(&mut block, filter);
            session.filters.remove(filter);
        }
        let packet_id = self.fresh_id(session);
        self.asked.insert(packet_id.get());
        let filters = UnsubscribeFilters::parse(&block).expect("a block of filters");
        self.send(&Packet::Unsubscribe(Unsubscribe { packet_id, properties: Properties::EMPTY, filters }));
    }

    pub(crate) fn disconnect(&mut self, reason: ReasonCode, expiry_s: Option<u32>) {
        let mut properties = PropertiesBuf::default();
        expiry_s.into_iter().for_each(|secs| properties.push(Property::SessionExpiryInterval(secs)));
        let properties = if self.version.is_v5() { properties.as_properties() } else { Properties::EMPTY };
        self.send(&Packet::Disconnect(Disconnect { reason, properties }));
    }

    /// Whether everything that the client began is finished.
    pub(crate) fn at_rest(&self, session: &Session) -> bool {
        self.life.is_some()
            && self.acks.is_empty()
            && self.output.is_empty()
            && self.asked.is_empty()
            && session.outbound.is_empty()
    }
}

/// The topic of a message whose sender may name it by an alias. [MQTT 3.3.2.3.4]
pub(crate) fn resolve(aliases: &mut BTreeMap<NonZeroU16, String>, publish: &Publish<'_>) -> Verdict<String> {
    let Some(alias) = publish.properties.topic_alias() else { return Ok(publish.topic.to_owned()) };
    if !publish.topic.is_empty() {
        aliases.insert(alias, publish.topic.to_owned());
    }
    aliases.get(&alias).cloned().ok_or_else(|| format!("alias {alias} stands for nothing [MQTT-3.3.2-12]"))
}
