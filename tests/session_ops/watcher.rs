//! The other end of the connections: knows what each client asked for and was granted, and panics at what it may not be
//! sent.

use super::ops::SLOTS;
use bytes::{Bytes, BytesMut};
use pantala::codec::{Ack, ConnAck, Connect, Packet, Publish, ReasonCode, Split, Version, decode, split};
use pantala::engine::{Batch, CloseReason, Effects, Fetch, Note, PeerMessage, Report};
use pantala::types::{ConnKey, Features, Limits, PacketId, QoS, ShardId};
use std::collections::BTreeMap;

/// What a connection is in, as its client sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// CONNECT was sent, CONNACK has not come.
    Hello,
    Served,
    Closed,
}

/// A message that the client has not acknowledged for good.
#[derive(Clone, Copy, Debug)]
struct Unacknowledged {
    qos: QoS,
    received: bool,
}

#[derive(Debug)]
struct Client {
    phase: Phase,
    generation: u32,
    version: Version,
    packet_bytes_max: usize,
    receive_maximum: usize,
    aliases_max: u16,
    aliases: BTreeMap<u16, String>,
    /// By packet id, what was sent on this connection.
    unacknowledged: BTreeMap<u16, Unacknowledged>,
    /// Acknowledgements that the broker owes: of QoS 1 and 2 messages, and of subscriptions.
    owed: [i64; 2],
    /// Takes no messages at the moment.
    full: bool,
    refused: bool,
}

/// All clients.
#[derive(Debug)]
pub(crate) struct Watcher {
    clients: Vec<Client>,
    /// Told to each core, in order.
    pub(crate) told: Vec<(usize, PeerMessage)>,
    pub(crate) packet_bytes_max: u32,
    queue_bytes_max: u64,
    sessions_max: u64,
    qos_max: QoS,
}

/// The watcher as one engine's way out.
pub(crate) struct On<'a> {
    watcher: &'a mut Watcher,
    engine: usize,
}

impl Watcher {
    pub(crate) fn new(limits: &Limits, features: &Features) -> Self {
        let client = || Client {
            phase: Phase::Closed,
            generation: 0,
            version: Version::V5,
            packet_bytes_max: 0,
            receive_maximum: 0,
            aliases_max: 0,
            aliases: BTreeMap::new(),
            unacknowledged: BTreeMap::new(),
            owed: [0; 2],
            full: false,
            refused: false,
        };
        Self {
            clients: std::iter::repeat_with(client).take(SLOTS).collect(),
            told: Vec::new(),
            packet_bytes_max: limits.packet_bytes_max,
            queue_bytes_max: limits.queue_bytes_max,
            sessions_max: limits.sessions_max.into(),
            qos_max: features.qos_max,
        }
    }

    pub(crate) fn on(&mut self, engine: usize) -> On<'_> {
        On { watcher: self, engine }
    }

    /// The version that an open connection speaks.
    pub(crate) fn version(&self, slot: usize) -> Option<Version> {
        let client = &self.clients[slot];
        (client.phase != Phase::Closed).then_some(client.version)
    }

    pub(crate) fn is_open(&self, conn: ConnKey) -> bool {
        let client = &self.clients[slot_of(conn)];
        client.generation == conn.generation && client.phase != Phase::Closed
    }

    pub(crate) fn is_served(&self, slot: usize) -> bool {
        self.clients[slot].phase == Phase::Served
    }

    /// The connection that a slot has, or had.
    pub(crate) fn key(&self, slot: usize) -> ConnKey {
        let generation = self.clients[slot].generation;
        ConnKey { slot: u32::try_from(slot).expect("few slots"), generation }
    }

    /// A client connects.
    pub(crate) fn open(&mut self, slot: usize, connect: &Connect<'_>) -> ConnKey {
        let generation = self.clients[slot].generation + 1;
        let properties = &connect.properties;
        self.clients[slot] = Client {
            phase: Phase::Hello,
            generation,
            version: connect.version,
            packet_bytes_max: properties.maximum_packet_size().map_or(usize::MAX, |max| max.get() as usize),
            receive_maximum: properties.receive_maximum().map_or(65_535, |max| max.get().into()),
            aliases_max: properties.topic_alias_maximum().unwrap_or(0),
            aliases: BTreeMap::new(),
            unacknowledged: BTreeMap::new(),
            owed: [0; 2],
            full: false,
            refused: false,
        };
        self.key(slot)
    }

    pub(crate) fn lost(&mut self, slot: usize) {
        self.clients[slot].phase = Phase::Closed;
    }

    /// A client takes no messages until it is drained.
    pub(crate) fn fill(&mut self, slot: usize) {
        self.clients[slot].full = true;
    }

    /// Whether an engine has to be told that a client takes messages again.
    pub(crate) fn drain(&mut self, slot: usize) -> bool {
        let client = &mut self.clients[slot];
        client.full = false;
        std::mem::take(&mut client.refused) && client.phase == Phase::Served
    }

    /// What a client answers to the message that came first of those it has not acknowledged for good.
    pub(crate) fn answer(&self, slot: usize) -> Option<BytesMut> {
        let client = &self.clients[slot];
        let (&id, message) = client.unacknowledged.iter().next()?;
        let ack = Ack::new(PacketId::new(id)?, ReasonCode::Success);
        let packet = match message {
            Unacknowledged { qos: QoS::AtLeastOnce, .. } => Packet::PubAck(ack),
            Unacknowledged { received: false, .. } => Packet::PubRec(ack),
            Unacknowledged { received: true, .. } => Packet::PubComp(ack),
        };
        let mut out = BytesMut::new();
        packet.encode(client.version, &mut out);
        Some(out)
    }

    /// A client sends a packet.
    pub(crate) fn hears(&mut self, slot: usize, packet: &Packet<'_>) {
        let client = &mut self.clients[slot];
        let known = |id: u16| client.unacknowledged.get(&id).copied();
        match packet {
            Packet::Publish(publish) if publish.qos != QoS::AtMostOnce => client.owed[0] += 1,
            Packet::Subscribe(_) => client.owed[1] += 1,
            Packet::PubAck(ack) if known(ack.packet_id.get()).is_some_and(|m| m.qos == QoS::AtLeastOnce) => {
                client.unacknowledged.remove(&ack.packet_id.get());
            }
            Packet::PubRec(ack) => {
                let id = ack.packet_id.get();
                let Some(message) = known(id).filter(|message| message.qos == QoS::ExactlyOnce) else {
                    return;
                };
                if !ack.reason.is_error() {
                    client.unacknowledged.insert(id, Unacknowledged { received: true, ..message });
                } else if !message.received {
                    client.unacknowledged.remove(&id);
                }
            }
            Packet::PubComp(ack) if known(ack.packet_id.get()).is_some_and(|message| message.received) => {
                client.unacknowledged.remove(&ack.packet_id.get());
            }
            _ => {}
        }
    }

    /// An engine's own numbers are possible.
    pub(crate) fn agrees(&self, engine: usize, report: &Report) {
        let served =
            self.clients.iter().skip(engine).step_by(2).filter(|client| client.phase == Phase::Served);
        assert_eq!(report.connected, served.count() as u64, "connections of engine {engine}");
        assert!(report.connected <= report.sessions && report.sessions <= self.sessions_max, "{report:?}");
        assert!(report.queued_bytes <= self.queue_bytes_max * report.sessions, "{report:?}");
        assert_eq!(report.queued_messages == 0, report.queued_bytes == 0, "{report:?}");
    }
}

fn slot_of(conn: ConnKey) -> usize {
    conn.slot as usize
}

impl On<'_> {
    fn client(&mut self, conn: ConnKey) -> &mut Client {
        assert_eq!(slot_of(conn) % 2, self.engine, "another engine's connection");
        let client = &mut self.watcher.clients[slot_of(conn)];
        assert_eq!(client.generation, conn.generation, "to a connection of earlier");
        assert_ne!(client.phase, Phase::Closed, "to a connection that is closed");
        client
    }

    fn message(&mut self, conn: ConnKey, frame: &[u8]) -> bool {
        let qos_max = self.watcher.qos_max;
        let client = self.client(conn);
        assert_eq!(client.phase, Phase::Served, "a message before CONNACK [MQTT-3.2.0-1]");
        if client.full {
            client.refused = true;
            return false;
        }
        let Packet::Publish(publish) = whole(frame, client) else { panic!("{frame:02x?} is no PUBLISH") };
        assert!(publish.qos <= qos_max, "{publish:?} is above {qos_max:?}");
        client.topic(&publish);
        if let Some(id) = publish.packet_id {
            let before =
                client.unacknowledged.insert(id.get(), Unacknowledged { qos: publish.qos, received: false });
            assert!(before.is_none(), "packet id {id} is in use [MQTT-2.2.1-4]");
            let count = client.unacknowledged.len();
            assert!(count <= client.receive_maximum, "{count} in flight [MQTT-3.3.4-9]");
        }
        true
    }
}

impl Client {
    /// The topic of a message, by its name or by an alias that the client knows.
    fn topic(&mut self, publish: &Publish<'_>) {
        let alias = publish.properties.topic_alias().map(std::num::NonZero::get);
        assert!(!publish.topic.contains(['+', '#']), "{publish:?} [MQTT-3.3.2-2]");
        match alias {
            None => assert!(!publish.topic.is_empty(), "{publish:?} has no topic"),
            Some(alias) => {
                assert!(alias <= self.aliases_max, "{publish:?}: above {} [MQTT-3.3.2-9]", self.aliases_max);
                if !publish.topic.is_empty() {
                    self.aliases.insert(alias, publish.topic.to_owned());
                }
                assert!(self.aliases.contains_key(&alias), "{publish:?}: it stands for nothing");
            }
        }
    }

    fn connack(&mut self, connack: &ConnAck<'_>) {
        assert_eq!(self.phase, Phase::Hello, "a second CONNACK");
        assert!(connack.code == 0 || !connack.session_present, "{connack:?} [MQTT-3.2.2-6]");
        if connack.code == 0 {
            self.phase = Phase::Served;
        }
    }
}

/// The one packet in a frame, no larger than its client takes.
fn whole<'a>(frame: &'a [u8], client: &Client) -> Packet<'a> {
    assert!(frame.len() <= client.packet_bytes_max, "{frame:02x?} is too large [MQTT-3.1.2-24]");
    match split(frame, u32::MAX) {
        Ok(Split::Whole { frame: whole, len }) if len == frame.len() => {
            decode(whole, client.version).unwrap_or_else(|error| panic!("{frame:02x?} to a client: {error}"))
        }
        other => panic!("{frame:02x?} to a client is not one packet: {other:?}"),
    }
}

impl Effects for On<'_> {
    fn persist(&mut self, _: Batch) {}

    fn fetch(&mut self, _: Fetch) {}

    fn cork(&mut self, _: ConnKey, _: bool) {}

    fn hold(&mut self, _: ConnKey, _: bool) {}

    fn send(&mut self, conn: ConnKey, bytes: &[u8]) {
        let client = self.client(conn);
        if bytes.is_empty() && client.phase == Phase::Hello {
            // A refusal that its version has no words for, or that the client does not take.
            return;
        }
        let packet = whole(bytes, client);
        match &packet {
            Packet::ConnAck(connack) => return client.connack(connack),
            Packet::Auth(_) => assert_eq!(client.version, Version::V5),
            packet => assert_eq!(client.phase, Phase::Served, "{packet:?} before CONNACK [MQTT-3.2.0-1]"),
        }
        match packet {
            Packet::PubAck(_) | Packet::PubRec(_) => client.owed[0] -= 1,
            Packet::SubAck(_) => client.owed[1] -= 1,
            Packet::Disconnect(disconnect) => {
                assert_eq!(client.version, Version::V5, "{disconnect:?}");
                assert_ne!(disconnect.reason, ReasonCode::Success, "the broker does not leave for no reason");
            }
            Packet::PubRel(_) | Packet::PubComp(_) | Packet::UnsubAck(_) => {}
            Packet::PingResp | Packet::Auth(_) => {}
            packet => panic!("{packet:?} sent to a client"),
        }
        assert!(client.owed.iter().all(|&owed| owed >= 0), "{packet:?} was not owed");
    }

    fn offer(&mut self, conn: ConnKey, frame: &[u8]) -> bool {
        self.message(conn, frame)
    }

    fn offer_shared(&mut self, conn: ConnKey, head: &[u8], payload: &Bytes) -> bool {
        self.message(conn, &[head, payload].concat())
    }

    fn close(&mut self, conn: ConnKey, why: CloseReason) {
        let client = self.client(conn);
        assert!(
            client.phase == Phase::Served || why != CloseReason::TakenOver,
            "{client:?} was never served"
        );
        client.phase = Phase::Closed;
    }

    fn peer(&mut self, to: ShardId, message: PeerMessage) {
        assert_ne!(to.index(), self.engine, "an engine talks to itself: {message:?}");
        self.watcher.told.push((to.index(), message));
    }

    fn note(&mut self, _: ConnKey, _: Note<'_>) {}
}
