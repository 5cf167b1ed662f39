//! A client that waits for what it expects.

use super::PATIENCE;
use bytes::{Buf, BytesMut};
use pantala::codec::{Ack, ConnAck, Connect, Packet, Properties, PropertiesBuf, Property};
use pantala::codec::{
    Publish, ReasonCode, Split, Subscribe, SubscribeFilters, SubscriptionOptions, Version, decode, split,
};
use pantala::types::{PacketId, QoS};
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::num::NonZeroU16;

/// Few, so that messages wait in their queues. Only 5.0 can say so.
const IN_FLIGHT: NonZeroU16 = NonZeroU16::new(4).unwrap();

/// What the broker said, as far as these clients care.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    Publish { dup: bool, qos: QoS, retain: bool, topic: String, id: Option<PacketId>, payload: Vec<u8> },
    PubAck(PacketId),
    PubRec(PacketId),
    PubRel(PacketId),
    PubComp(PacketId),
    SubAck,
    PingResp,
}

/// A connection with a session that lasts.
#[derive(Debug)]
pub(crate) struct Client {
    stream: TcpStream,
    version: Version,
    inbox: BytesMut,
}

impl Client {
    /// Connects; says whether the session was there.
    pub(crate) fn connect(address: SocketAddr, id: &str, version: Version, clean: bool) -> (Self, bool) {
        let stream = TcpStream::connect(address).expect("the broker listens");
        stream.set_nodelay(true).expect("a live socket");
        stream.set_read_timeout(Some(PATIENCE)).expect("a live socket");
        stream.set_write_timeout(Some(PATIENCE)).expect("a live socket");
        let mut client = Self { stream, version, inbox: BytesMut::new() };
        let mut properties = PropertiesBuf::default();
        if version == Version::V5 {
            properties.push(Property::SessionExpiryInterval(u32::MAX));
            properties.push(Property::ReceiveMaximum(IN_FLIGHT));
        }
        client.say(&Packet::Connect(Connect {
            version,
            clean_start: clean,
            keep_alive_s: 0,
            properties: properties.as_properties(),
            client_id: id,
            will: None,
            username: None,
            password: None,
        }));
        let mut present = false;
        let answered = client.read(|packet| match packet {
            Packet::ConnAck(ConnAck { session_present, code: 0, .. }) => present = *session_present,
            other => panic!("{id} expected to be let in and got {other:?}"),
        });
        assert!(answered, "{id} expected to be let in and was not answered");
        (client, present)
    }

    pub(crate) fn say(&mut self, packet: &Packet<'_>) {
        let mut bytes = BytesMut::new();
        packet.encode(self.version, &mut bytes);
        // Where it cannot be written any more, there is nothing to be heard either.
        let _ = self.stream.write_all(&bytes);
    }

    pub(crate) fn publish(
        &mut self,
        dup: bool,
        qos: QoS,
        retain: bool,
        topic: &str,
        id: PacketId,
        payload: &[u8],
    ) {
        let packet_id = Some(id);
        let properties = Properties::EMPTY;
        self.say(&Packet::Publish(Publish { dup, qos, retain, topic, packet_id, properties, payload }));
    }

    pub(crate) fn acknowledge(&mut self, packet: impl FnOnce(Ack<'static>) -> Packet<'static>, id: PacketId) {
        self.say(&packet(Ack::new(id, ReasonCode::Success)));
    }

    /// Subscribes and waits until that is acknowledged; nothing else is on its way.
    pub(crate) fn subscribe(&mut self, filter: &str, qos: QoS) {
        self.ask_for(filter, qos);
        assert_eq!(self.hear(), Heard::SubAck);
    }

    pub(crate) fn ask_for(&mut self, filter: &str, qos: QoS) {
        let mut block = BytesMut::new();
        SubscribeFilters::write(&mut block, filter, SubscriptionOptions::of(qos));
        let filters = SubscribeFilters::parse(&block, self.version).expect("one filter");
        let packet_id = PacketId::new(1).expect("not 0");
        self.say(&Packet::Subscribe(Subscribe { packet_id, properties: Properties::EMPTY, filters }));
    }

    /// Waits for the next packet.
    pub(crate) fn hear(&mut self) -> Heard {
        self.hear_or_end().expect("the broker does not close the connection")
    }

    /// Waits for the next packet, or the end of the connection.
    pub(crate) fn hear_or_end(&mut self) -> Option<Heard> {
        let mut heard = None;
        self.read(|packet| {
            heard = Some(match packet {
                Packet::Publish(publish) => Heard::Publish {
                    dup: publish.dup,
                    qos: publish.qos,
                    retain: publish.retain,
                    topic: publish.topic.to_owned(),
                    id: publish.packet_id,
                    payload: publish.payload.to_vec(),
                },
                Packet::PubAck(ack) | Packet::PubRec(ack) if ack.reason.is_error() => panic!("{ack:?}"),
                Packet::PubAck(ack) => Heard::PubAck(ack.packet_id),
                Packet::PubRec(ack) => Heard::PubRec(ack.packet_id),
                Packet::PubRel(ack) => Heard::PubRel(ack.packet_id),
                Packet::PubComp(ack) => Heard::PubComp(ack.packet_id),
                Packet::SubAck(_) => Heard::SubAck,
                Packet::PingResp => Heard::PingResp,
                other => panic!("{other:?} was not expected"),
            });
        });
        heard
    }

    /// False when there is nothing more to be read.
    fn read(&mut self, take: impl FnOnce(&Packet<'_>)) -> bool {
        loop {
            if let Split::Whole { frame, len } = split(&self.inbox, u32::MAX).expect("a packet") {
                take(&decode(frame, self.version).expect("a packet"));
                self.inbox.advance(len);
                return true;
            }
            let mut buffer = [0; 16_384];
            let count = match self.stream.read(&mut buffer) {
                Ok(0) => return false,
                Err(error) if error.kind() == ErrorKind::ConnectionReset => return false,
                count => count.expect("the broker says something in time"),
            };
            self.inbox.extend_from_slice(&buffer[..count]);
        }
    }
}
