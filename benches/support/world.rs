//! An engine with clients, whose effects do nothing: what is left is the engine's own cost.

use bytes::BytesMut;
use pantala::codec::{
    Connect, Packet, Properties, Split, Subscribe, SubscribeFilters, SubscriptionOptions, Version, split,
};
use pantala::engine::{Engine, Null, Setup};
use pantala::session::connect::ClientId;
use pantala::types::{ConnKey, HashSeed, Limits, Now, PacketId, QoS, ShardId};

pub(crate) struct World {
    pub(crate) engine: Engine,
    pub(crate) fx: Null,
    version: Version,
}

impl World {
    /// One of so many shards.
    pub(crate) fn new(version: Version, shards: u16) -> Self {
        let setup = Setup::new(ShardId(0), shards, Limits::default(), HashSeed(1));
        Self { engine: Engine::new(setup), fx: Null::default(), version }
    }

    pub(crate) fn connect(&mut self, slot: u32) -> ConnKey {
        let (conn, id) = (ConnKey { slot, generation: 0 }, format!("client-{slot}"));
        let connect = Connect {
            version: self.version,
            clean_start: true,
            keep_alive_s: 0,
            properties: Properties::EMPTY,
            client_id: &id,
            will: None,
            username: None,
            password: None,
        };
        self.engine.connect(Now(0), conn, &connect, ClientId { text: &id, assigned: false }, &mut self.fx);
        conn
    }

    pub(crate) fn subscribe(&mut self, conn: ConnKey, filter: &str, qos: QoS) {
        let mut block = BytesMut::new();
        SubscribeFilters::write(&mut block, filter, SubscriptionOptions::of(qos));
        let filters = SubscribeFilters::parse(&block, self.version).expect("a filter");
        let subscribe = Subscribe { packet_id: PacketId::MIN, properties: Properties::EMPTY, filters };
        self.send(conn, &self.bytes(&Packet::Subscribe(subscribe)));
    }

    pub(crate) fn bytes(&self, packet: &Packet<'_>) -> BytesMut {
        let mut out = BytesMut::new();
        packet.encode(self.version, &mut out);
        out
    }

    /// A packet comes off the wire.
    pub(crate) fn send(&mut self, conn: ConnKey, bytes: &[u8]) {
        let Ok(Split::Whole { frame, .. }) = split(bytes, 1 << 20) else { panic!("a whole packet") };
        self.engine.packet(Now(0), conn, frame, None, &mut self.fx);
    }

    /// Every subscriber acknowledges the message with this packet id.
    pub(crate) fn acknowledge(&mut self, subscribers: &[ConnKey], qos: QoS, id: u16) {
        let [high, low] = id.to_be_bytes();
        for &conn in subscribers {
            match qos {
                QoS::AtMostOnce => {}
                QoS::AtLeastOnce => self.send(conn, &[0x40, 2, high, low]),
                QoS::ExactlyOnce => {
                    self.send(conn, &[0x50, 2, high, low]);
                    self.send(conn, &[0x70, 2, high, low]);
                }
            }
        }
    }
}
