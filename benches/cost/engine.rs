//! Layer 3: a PUBLISH comes off the wire and becomes frames, or a message to another core.

use super::Scenario;
use super::message::{LEVELS, PAYLOAD, TOPIC, VERSIONS, publish};
use super::world::World;
use bytes::BytesMut;
use pantala::codec::{Ack, Packet, Publish, ReasonCode, Version};
use pantala::engine::PeerMessage;
use pantala::types::{ConnKey, Delivery, Message, Now, PacketId, QoS, ShardId};

pub(super) fn scenarios() -> Vec<Scenario> {
    let mut all = Vec::new();
    for (name, version) in VERSIONS {
        for qos in LEVELS {
            for subscribers in [1, 10, 100, 1_000] {
                let name = format!("engine/fan-out/{name}/qos{}/{subscribers}", qos as u8);
                all.push(fan_out(name, version, qos, subscribers));
            }
        }
        all.push(shared(format!("engine/shared/{name}/qos0/5"), version));
        all.push(pairs(format!("engine/pairs/{name}/qos0/50"), version));
    }
    all.push(fan_in());
    for subscribers in [1, 100] {
        all.push(forwarded(subscribers));
    }
    all.push(forwarding());
    all
}

/// One publisher, and what it sends for each message.
struct Publisher {
    conn: ConnKey,
    publish: BytesMut,
    release: BytesMut,
    qos: QoS,
}

impl Publisher {
    fn new(world: &mut World, slot: u32, topic: &str, qos: QoS) -> Self {
        let conn = world.connect(slot);
        let publish = world.bytes(&Packet::Publish(Publish { topic, ..publish(qos) }));
        let release = world.bytes(&Packet::PubRel(Ack::new(PacketId::MIN, ReasonCode::Success)));
        Self { conn, publish, release, qos }
    }

    fn publish(&self, world: &mut World) {
        world.send(self.conn, &self.publish);
        if self.qos == QoS::ExactlyOnce {
            world.send(self.conn, &self.release);
        }
    }
}

/// All subscribers acknowledge at once: with one message in flight, packet ids go round from 1 to 16.
fn fan_out(name: String, version: Version, qos: QoS, subscribers: u32) -> Scenario {
    Scenario::new(name, subscribers, move || {
        let mut world = World::new(version, 1);
        let conns: Vec<_> = (0..subscribers).map(|slot| world.connect(slot)).collect();
        conns.iter().for_each(|&conn| world.subscribe(conn, TOPIC, qos));
        let publisher = Publisher::new(&mut world, subscribers, TOPIC, qos);
        let mut ids = (1..=16).cycle();
        move || {
            let before = world.fx.offers;
            publisher.publish(&mut world);
            world.acknowledge(&conns, qos, ids.next().expect("endless"));
            assert_eq!(world.fx.offers - before, u64::from(subscribers), "everybody got it");
        }
    })
}

/// 50 publishers, each with a subscriber of its own, in turn.
fn pairs(name: String, version: Version) -> Scenario {
    const PAIRS: u32 = 50;
    Scenario::new(name, PAIRS, move || {
        let mut world = World::new(version, 1);
        let topic = |pair| format!("plant/{pair}/line/3/temperature");
        for pair in 0..PAIRS {
            let conn = world.connect(pair);
            world.subscribe(conn, &topic(pair), QoS::AtMostOnce);
        }
        let publishers: Vec<_> = (0..PAIRS)
            .map(|pair| Publisher::new(&mut world, PAIRS + pair, &topic(pair), QoS::AtMostOnce))
            .collect();
        move || publishers.iter().for_each(|publisher| publisher.publish(&mut world))
    })
}

/// 100 publishers, each with a topic of its own, and one who wants them all.
fn fan_in() -> Scenario {
    const PUBLISHERS: u32 = 100;
    Scenario::new("engine/fan-in/3.1.1/qos0/100".into(), PUBLISHERS, || {
        let mut world = World::new(Version::V311, 1);
        let conn = world.connect(0);
        world.subscribe(conn, "plant/+/line/#", QoS::AtMostOnce);
        let topic = |i| format!("plant/{i}/line/3/temperature");
        let publishers: Vec<_> = (1..=PUBLISHERS)
            .map(|slot| Publisher::new(&mut world, slot, &topic(slot), QoS::AtMostOnce))
            .collect();
        move || publishers.iter().for_each(|publisher| publisher.publish(&mut world))
    })
}

/// 1,000 publishers to 5 who share.
fn shared(name: String, version: Version) -> Scenario {
    const PUBLISHERS: u32 = 1_000;
    const MEMBERS: u32 = 5;
    Scenario::new(name, PUBLISHERS, move || {
        let mut world = World::new(version, 1);
        let members: Vec<_> = (0..MEMBERS).map(|slot| world.connect(slot)).collect();
        let filter = format!("$share/group/{TOPIC}");
        members.iter().for_each(|&conn| world.subscribe(conn, &filter, QoS::AtMostOnce));
        let publishers: Vec<_> = (0..PUBLISHERS)
            .map(|slot| Publisher::new(&mut world, MEMBERS + slot, TOPIC, QoS::AtMostOnce))
            .collect();
        move || publishers.iter().for_each(|publisher| publisher.publish(&mut world))
    })
}

/// A message that another core has forwarded.
fn forwarded(subscribers: u32) -> Scenario {
    Scenario::new(format!("engine/forwarded/3.1.1/qos0/{subscribers}"), subscribers, move || {
        let mut world = World::new(Version::V311, 2);
        for slot in 0..subscribers {
            let conn = world.connect(slot);
            world.subscribe(conn, TOPIC, QoS::AtMostOnce);
        }
        let delivery = Delivery { qos: QoS::AtMostOnce, retain: false, received: Now(0), expiry: None };
        let message = Message::new(TOPIC, &[], &PAYLOAD, delivery);
        move || {
            let publish = PeerMessage::Publish { message: message.clone(), joint: None, publisher: None };
            world.engine.peer(Now(0), ShardId(1), publish, &mut world.fx);
        }
    })
}

/// A message that nobody wants but another core.
fn forwarding() -> Scenario {
    Scenario::new("engine/forwarding/3.1.1/qos0/1".into(), 1, || {
        let mut world = World::new(Version::V311, 2);
        let interest = PeerMessage::InterestAdd { filter: TOPIC.into(), number: 1, lasting: false };
        world.engine.peer(Now(0), ShardId(1), interest, &mut world.fx);
        let publisher = Publisher::new(&mut world, 0, TOPIC, QoS::AtMostOnce);
        move || publisher.publish(&mut world)
    })
}
