//! What should be true, kept the slow obvious way: lists, and filters compared with topics level by level.
//!
//! The shadow knows the protocol, not the engine: it has no trie, no cache, no window by packet id. Of the engine's
//! construction it knows that a core delivers what reaches it at once, and that each topic's retained message has one
//! keeper.

use bytes::BytesMut;
use pantala::codec::{Properties, Property, SubscriptionOptions, Version};
use pantala::engine::Counters;
use pantala::session::{AckKind, ENTRY_BYTES};
use pantala::types::{ConnKey, Features, Limits, Now, QoS, Span};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::num::NonZeroU16;

/// Index into [`Shadow::lives`].
pub(crate) type LifeId = usize;
/// Index into [`Shadow::publications`]: messages in the order in which the broker took them.
pub(crate) type PubId = usize;

/// A message as the broker took it.
#[derive(Clone)]
pub(crate) struct Publication {
    pub(crate) topic: String,
    pub(crate) payload: Vec<u8>,
    /// Properties to pass on, encoded.
    pub(crate) properties: Vec<u8>,
    pub(crate) qos: QoS,
    pub(crate) retain: bool,
    pub(crate) expiry: Option<Span>,
    pub(crate) received: Now,
    /// Whose order it is part of: a client's own messages, or its wills.
    pub(crate) publisher: String,
    /// The session that must not get it under No Local.
    pub(crate) life: Option<LifeId>,
    pub(crate) origin: usize,
    /// Cores that it was forwarded to.
    pub(crate) sent_to: BTreeSet<usize>,
    /// Cores that delivered it to their sessions.
    pub(crate) reached: BTreeSet<usize>,
    /// The topic's keeper has handled it.
    pub(crate) stored: bool,
    /// The publishing core knows that the topic's keeper had no room for it.
    pub(crate) unretained: bool,
    /// The packet id that it came with, and whose, where that is taken until PUBREL.
    pub(crate) packet_id: Option<(LifeId, u16)>,
    /// Sessions of the publishing core that are subscribed to it, and how many of them had no room.
    pub(crate) subscribers: usize,
    pub(crate) refused: usize,
    /// How many messages there were when its acknowledgement left.
    pub(crate) acknowledged: Option<PubId>,
}

impl Publication {
    /// Whether a bound kept it from everybody, or from being retained: its acknowledgement says 0x97.
    pub(crate) fn is_refused(&self) -> bool {
        let nobody = self.subscribers > 0 && self.refused == self.subscribers && self.sent_to.is_empty();
        nobody || self.unretained
    }
}

/// A message to one session, with what the session's subscriptions make of it.
#[derive(Clone, Debug)]
pub(crate) struct Copy {
    pub(crate) publication: PubId,
    pub(crate) qos: QoS,
    pub(crate) retain: bool,
    /// Subscription Identifiers in ascending order.
    pub(crate) ids: Vec<u32>,
}

#[derive(Clone, Debug)]
pub(crate) struct Subscription {
    pub(crate) options: SubscriptionOptions,
    pub(crate) id: u32,
    /// The call that made it.
    pub(crate) since: u64,
    /// Its SUBACK has left.
    pub(crate) acknowledged: bool,
}

/// Retained messages that a subscription asked for.
#[derive(Clone, Debug)]
pub(crate) struct Replay {
    pub(crate) filter: String,
    pub(crate) qos: QoS,
    pub(crate) id: u32,
    /// The call that asked.
    pub(crate) since: u64,
    /// Unsubscribed since.
    pub(crate) cancelled: bool,
    /// Topics that came.
    pub(crate) sent: BTreeSet<String>,
}

#[derive(Clone, Debug)]
pub(crate) struct Will {
    /// `received` and `origin` are set when it is published.
    pub(crate) message: Publication,
    pub(crate) delay: Span,
}

/// A message that was sent and is not acknowledged.
#[derive(Clone, Debug)]
pub(crate) struct Flight {
    pub(crate) packet_id: u16,
    pub(crate) copy: Copy,
    /// PUBREC came.
    pub(crate) released: bool,
    /// Counts towards the client's Receive Maximum on this connection.
    pub(crate) counted: bool,
}

/// A session from its beginning to its end.
#[derive(Debug)]
pub(crate) struct Life {
    pub(crate) client: String,
    pub(crate) core: usize,
    pub(crate) ended: bool,
    pub(crate) conn: Option<ConnKey>,
    /// Without a connection since.
    pub(crate) since: Now,
    pub(crate) expiry: Option<Span>,
    /// While connected: published when the client vanishes. Then: waits until its delay is over.
    pub(crate) will: Option<Will>,
    pub(crate) subscriptions: BTreeMap<String, Subscription>,
    /// Some connection of it had a Maximum Packet Size.
    pub(crate) limited: bool,
    /// Waits to be sent, in order.
    pub(crate) queue: VecDeque<Copy>,
    /// In the order of first sending.
    pub(crate) flight: Vec<Flight>,
    /// To be sent again on this connection.
    pub(crate) again: VecDeque<u16>,
    /// The output refused a message and has not drained since.
    pub(crate) blocked: bool,
    /// QoS 2 messages of the client by packet id.
    pub(crate) unreleased: BTreeMap<u16, PubId>,
    /// Published elsewhere after the SUBACK of a matching subscription, not delivered yet.
    pub(crate) owed: BTreeSet<PubId>,
    pub(crate) replays: Vec<Replay>,
    /// Retained messages that came live: the topic, the message, and in which call it came.
    pub(crate) live_retained: Vec<(String, PubId, u64)>,
    /// The newest message sent, by publisher, topic and QoS.
    pub(crate) newest: BTreeMap<(String, String, QoS), PubId>,
    pub(crate) tally: BTreeMap<(String, Vec<u8>), Tally>,
}

/// How often a session was sent a message, and its client saw it. By content: a message without payload has no other name.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tally {
    /// Sent for the first time, by QoS.
    pub(crate) sent: [u32; 3],
    /// Not repetitions as the client sees it, by QoS.
    pub(crate) seen: [u32; 3],
    /// Given up after it had been sent, because it is too large for a new connection.
    pub(crate) excused: u32,
}

/// An acknowledgement that a client is owed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AckDue {
    pub(crate) kind: AckKind,
    pub(crate) packet_id: u16,
    pub(crate) reason: u8,
    /// What it acknowledges, if that was not a repetition.
    pub(crate) publication: Option<PubId>,
}

/// What exists while a client is connected.
#[derive(Debug)]
pub(crate) struct Conn {
    pub(crate) life: LifeId,
    pub(crate) version: Version,
    pub(crate) receive_maximum: u16,
    pub(crate) packet_bytes_max: u32,
    /// Topic aliases that the client takes, and what the broker's and the client's stand for.
    pub(crate) aliases_max: u16,
    pub(crate) aliases_out: BTreeMap<NonZeroU16, String>,
    pub(crate) aliases_in: BTreeMap<NonZeroU16, String>,
    pub(crate) silence: Option<Span>,
    pub(crate) heard: Now,
    pub(crate) acks: VecDeque<AckDue>,
    /// By packet id.
    pub(crate) subacks: BTreeMap<u16, SubAckDue>,
}

/// A SUBACK that a client is owed.
#[derive(Debug)]
pub(crate) struct SubAckDue {
    pub(crate) codes: Vec<u8>,
    /// The subscriptions that were made, each with the call that made it.
    pub(crate) made: Vec<(String, u64)>,
}

/// A topic's retained message.
#[derive(Debug, Default)]
pub(crate) struct Topic {
    pub(crate) keeper: Option<usize>,
    pub(crate) current: Option<PubId>,
    /// Earlier ones, and the call that replaced each.
    pub(crate) replaced: BTreeMap<PubId, u64>,
}

#[derive(Debug)]
pub(crate) struct Core {
    pub(crate) counters: Counters,
    /// By core: filters that it has subscribers for, as far as this one knows.
    pub(crate) interest: Vec<BTreeSet<String>>,
    /// By core: messages that it was sent to be retained.
    pub(crate) sent_to_keep: Vec<Vec<PubId>>,
}

#[derive(Debug)]
pub(crate) struct Shadow {
    pub(crate) limits: Limits,
    pub(crate) features: Features,
    pub(crate) publications: Vec<Publication>,
    pub(crate) by_content: BTreeMap<(String, Vec<u8>), Vec<PubId>>,
    pub(crate) lives: Vec<Life>,
    /// Each client's session.
    pub(crate) clients: BTreeMap<String, LifeId>,
    pub(crate) conns: BTreeMap<(usize, ConnKey), Conn>,
    pub(crate) topics: BTreeMap<String, Topic>,
    pub(crate) cores: Vec<Core>,
    /// Calls of engines so far.
    pub(crate) calls: u64,
}

/// [MQTT 4.7] in the words of the standard.
pub(crate) fn matches(filter: &str, topic: &str) -> bool {
    if topic.starts_with('$') && filter.starts_with(['+', '#']) {
        return false;
    }
    let mut levels = topic.split('/');
    for wanted in filter.split('/') {
        if wanted == "#" {
            return true;
        }
        let Some(given) = levels.next() else { return false };
        if wanted != "+" && wanted != given {
            return false;
        }
    }
    levels.next().is_none()
}

/// The properties that a server passes on unaltered.
pub(crate) fn passed_on(properties: &Properties<'_>) -> Vec<u8> {
    let mut out = BytesMut::new();
    for property in properties.iter() {
        match property {
            Property::PayloadFormatIndicator(_)
            | Property::ContentType(_)
            | Property::ResponseTopic(_)
            | Property::CorrelationData(_)
            | Property::UserProperty(_) => property.encode(&mut out),
            _ => {}
        }
    }
    out.to_vec()
}

impl Publication {
    pub(crate) fn content(&self) -> (String, Vec<u8>) {
        (self.topic.clone(), self.payload.clone())
    }

    pub(crate) fn expired(&self, now: Now) -> bool {
        self.expiry.is_some_and(|expiry| self.received + expiry <= now)
    }
}

impl fmt::Debug for Publication {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { topic, payload, qos, retain, publisher, received, .. } = self;
        let payload = payload[..payload.len().min(12)].escape_ascii();
        write!(f, "{topic:?} \"{payload}\" {qos:?} retain {retain} of {publisher} at {received:?}")
    }
}

impl Replay {
    /// The Subscription Identifiers that go along.
    pub(crate) fn ids(&self) -> Vec<u32> {
        Some(self.id).filter(|&id| id != 0).into_iter().collect()
    }
}

impl Life {
    pub(crate) fn new(client: &str, core: usize, now: Now) -> Self {
        Self {
            client: client.to_owned(),
            core,
            ended: false,
            conn: None,
            since: now,
            expiry: None,
            will: None,
            subscriptions: BTreeMap::new(),
            limited: false,
            queue: VecDeque::new(),
            flight: Vec::new(),
            again: VecDeque::new(),
            blocked: false,
            unreleased: BTreeMap::new(),
            owed: BTreeSet::new(),
            replays: Vec::new(),
            live_retained: Vec::new(),
            newest: BTreeMap::new(),
            tally: BTreeMap::new(),
        }
    }

    /// Whether it ends with its connection.
    pub(crate) fn ephemeral(&self) -> bool {
        self.expiry == Some(Span(0))
    }

    /// Messages that count towards the client's Receive Maximum.
    pub(crate) fn window(&self) -> usize {
        self.flight.iter().filter(|flight| flight.counted).count()
    }

    /// Forgets repetitions that are not needed any more because the client acknowledged the message meanwhile.
    pub(crate) fn prune_again(&mut self) {
        while let Some(&id) = self.again.front()
            && !self.flight.iter().any(|flight| flight.packet_id == id)
        {
            self.again.pop_front();
        }
    }

    /// What its subscriptions make of a message, if anything.
    pub(crate) fn copy_of(&self, id: PubId, publication: &Publication, own: bool) -> Option<Copy> {
        let matching: Vec<_> = self
            .subscriptions
            .iter()
            .filter(|(filter, subscription)| {
                matches(filter, &publication.topic) && !(own && subscription.options.no_local)
            })
            .map(|(_, subscription)| subscription)
            .collect();
        let qos = matching.iter().map(|subscription| subscription.options.qos).max()?;
        let as_published = matching.iter().any(|subscription| subscription.options.retain_as_published);
        let mut ids: Vec<_> =
            matching.iter().map(|subscription| subscription.id).filter(|&id| id != 0).collect();
        ids.sort_unstable();
        Some(Copy {
            publication: id,
            qos: qos.min(publication.qos),
            retain: publication.retain && as_published,
            ids,
        })
    }

    /// Whether a retained message came live since a replay began, so that the replay need not bring the topic's.
    pub(crate) fn overtook(&self, replay: &Replay, topic: &str) -> bool {
        self.live_retained.iter().any(|(live, _, call)| live == topic && *call >= replay.since)
    }

    /// Whether a subscription whose SUBACK has left matches.
    pub(crate) fn is_promised(&self, topic: &str) -> bool {
        self.subscriptions
            .iter()
            .any(|(filter, subscription)| subscription.acknowledged && matches(filter, topic))
    }

    pub(crate) fn tally(&mut self, content: (String, Vec<u8>)) -> &mut Tally {
        self.tally.entry(content).or_default()
    }
}

impl Shadow {
    pub(crate) fn new(shards: usize, limits: Limits, features: Features) -> Self {
        let core = || Core {
            counters: Counters::default(),
            interest: vec![BTreeSet::new(); shards],
            sent_to_keep: vec![Vec::new(); shards],
        };
        Self {
            limits,
            features,
            publications: Vec::new(),
            by_content: BTreeMap::new(),
            lives: Vec::new(),
            clients: BTreeMap::new(),
            conns: BTreeMap::new(),
            topics: BTreeMap::new(),
            cores: std::iter::repeat_with(core).take(shards).collect(),
            calls: 0,
        }
    }

    /// Messages with this content, in the order of their publication.
    pub(crate) fn with_content(&self, topic: &str, payload: &[u8]) -> &[PubId] {
        self.by_content.get(&(topic.to_owned(), payload.to_vec())).map_or(&[], Vec::as_slice)
    }

    pub(crate) fn lives_on(&self, core: usize) -> impl Iterator<Item = (LifeId, &Life)> {
        self.lives.iter().enumerate().filter(move |(_, life)| life.core == core && !life.ended)
    }

    /// The connection of a session.
    pub(crate) fn conn_of(&self, life: LifeId) -> Option<&Conn> {
        let life = &self.lives[life];
        self.conns.get(&(life.core, life.conn?))
    }

    /// Bytes of a copy as a PUBLISH to a client of this version.
    pub(crate) fn wire_len(&self, copy: &Copy, version: Version) -> usize {
        let varint_len =
            |value: usize| [0x80, 0x4000, 0x20_0000].iter().filter(|&&end| value >= end).count() + 1;
        let publication = &self.publications[copy.publication];
        let packet_id = if copy.qos == QoS::AtMostOnce { 0 } else { 2 };
        let properties = publication.properties.len()
            + publication.expiry.map_or(0, |_| 5)
            + copy.ids.iter().map(|&id| 1 + varint_len(id as usize)).sum::<usize>();
        let properties = if version.is_v5() { varint_len(properties) + properties } else { 0 };
        let remaining = 2 + publication.topic.len() + packet_id + properties + publication.payload.len();
        1 + varint_len(remaining) + remaining
    }

    /// A message was refused: its packet id is free, so that it may come again.
    pub(crate) fn let_go(&mut self, id: PubId) {
        if let Some((life, packet_id)) = self.publications[id].packet_id {
            self.lives[life].unreleased.remove(&packet_id);
        }
    }

    /// Whether a copy is larger than the connected client takes.
    pub(crate) fn too_large(&self, life: LifeId, copy: &Copy) -> bool {
        self.conn_of(life)
            .is_some_and(|conn| self.wire_len(copy, conn.version) > conn.packet_bytes_max as usize)
    }

    /// What a copy counts towards its queue's bound in bytes.
    pub(crate) fn queued_size(&self, copy: &Copy) -> u64 {
        let publication = &self.publications[copy.publication];
        let size = publication.topic.len() + publication.payload.len() + publication.properties.len();
        size as u64 + ENTRY_BYTES
    }

    pub(crate) fn queued_bytes(&self, life: &Life) -> u64 {
        life.queue.iter().map(|copy| self.queued_size(copy)).sum()
    }

    /// A new message: its number.
    pub(crate) fn take(&mut self, publication: Publication) -> PubId {
        let id = self.publications.len();
        self.by_content.entry(publication.content()).or_default().push(id);
        self.publications.push(publication);
        id
    }

    /// Whether a topic's retained message was this one at some time since a call.
    pub(crate) fn was_retained(&self, topic: &str, id: PubId, since: u64) -> bool {
        self.topics.get(topic).is_some_and(|topic| {
            topic.current == Some(id) || topic.replaced.get(&id).is_some_and(|&replaced| replaced >= since)
        })
    }

    /// A session ends.
    pub(crate) fn end(&mut self, id: LifeId) {
        let life = &mut self.lives[id];
        life.ended = true;
        life.owed.clear();
        life.queue.clear();
        self.clients.remove(&life.client);
    }

    /// Forgets what was owed for subscriptions that are no more.
    pub(crate) fn forget_owed(&mut self, id: LifeId) {
        let Self { lives, publications, .. } = self;
        let life = &mut lives[id];
        let owed = std::mem::take(&mut life.owed);
        life.owed = owed.into_iter().filter(|&id| life.is_promised(&publications[id].topic)).collect();
    }
}
