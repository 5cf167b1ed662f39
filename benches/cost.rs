//! One scenario, so many messages, nothing else: what `benches/instructions` counts the instructions of.
//!
//! `cost SCENARIO MESSAGES`. Subscribers acknowledge nothing: all is QoS 0.

use bytes::BytesMut;
use pantala::codec::{
    Connect, Packet, Properties, Publish, Split, Subscribe, SubscribeFilters, SubscriptionOptions, Version,
    split,
};
use pantala::engine::{Engine, Null, Setup};
use pantala::session::connect::ClientId;
use pantala::types::{ConnKey, HashSeed, Limits, Now, PacketId, QoS, ShardId};

const TOPIC: &str = "plant/7/line/3/temperature";
const PAYLOAD: [u8; 64] = [b'x'; 64];

/// Who publishes, who subscribes to what, and how.
struct Scenario {
    name: &'static str,
    version: Version,
    publishers: u32,
    subscribers: u32,
    filter: &'static str,
}

const SCENARIOS: [Scenario; 5] = [
    Scenario {
        name: "fan-out-3.1.1",
        version: Version::V311,
        publishers: 1,
        subscribers: 100,
        filter: TOPIC,
    },
    Scenario { name: "fan-out-5.0", version: Version::V5, publishers: 1, subscribers: 100, filter: TOPIC },
    Scenario { name: "pair-3.1.1", version: Version::V311, publishers: 1, subscribers: 1, filter: TOPIC },
    Scenario { name: "pair-5.0", version: Version::V5, publishers: 1, subscribers: 1, filter: TOPIC },
    Scenario {
        name: "shared-3.1.1",
        version: Version::V311,
        publishers: 1_000,
        subscribers: 5,
        filter: "$share/group/plant/7/line/3/temperature",
    },
];

struct World {
    engine: Engine,
    fx: Null,
    version: Version,
}

impl World {
    fn send(&mut self, conn: ConnKey, bytes: &[u8]) {
        let Ok(Split::Whole { frame, .. }) = split(bytes, 1 << 20) else { panic!("a whole packet") };
        self.engine.packet(Now(0), conn, frame, None, &mut self.fx);
    }

    fn connect(&mut self, slot: u32) -> ConnKey {
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

    fn bytes(&self, packet: &Packet<'_>) -> BytesMut {
        let mut out = BytesMut::new();
        packet.encode(self.version, &mut out);
        out
    }
}

fn run(scenario: &Scenario, messages: u32) {
    let setup = Setup::new(ShardId(0), 1, Limits::default(), HashSeed(1));
    let mut world = World { engine: Engine::new(setup), fx: Null::default(), version: scenario.version };
    let mut block = BytesMut::new();
    SubscribeFilters::write(&mut block, scenario.filter, SubscriptionOptions::of(QoS::AtMostOnce));
    let filters = SubscribeFilters::parse(&block, scenario.version).expect("a filter");
    let subscribe = Subscribe { packet_id: PacketId::MIN, properties: Properties::EMPTY, filters };
    let subscribe = world.bytes(&Packet::Subscribe(subscribe));
    for slot in 0..scenario.subscribers {
        let conn = world.connect(slot);
        world.send(conn, &subscribe);
    }
    let publishers: Vec<ConnKey> =
        (0..scenario.publishers).map(|slot| world.connect(scenario.subscribers + slot)).collect();
    let publish = world.bytes(&Packet::Publish(Publish {
        dup: false,
        qos: QoS::AtMostOnce,
        retain: false,
        topic: TOPIC,
        packet_id: None,
        properties: Properties::EMPTY,
        payload: &PAYLOAD,
    }));
    for &publisher in publishers.iter().cycle().take(messages as usize) {
        world.send(publisher, &publish);
    }
    let copies = if scenario.publishers == 1 { scenario.subscribers } else { 1 };
    assert_eq!(world.fx.offers, u64::from(messages) * u64::from(copies), "every message was delivered");
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let messages = arguments.get(2).and_then(|count| count.parse().ok());
    match (
        SCENARIOS.iter().find(|scenario| arguments.get(1).is_some_and(|name| name == scenario.name)),
        messages,
    ) {
        (Some(scenario), Some(messages)) => run(scenario, messages),
        // As criterion's benches do under `cargo test --benches`: everything once.
        _ => SCENARIOS.iter().for_each(|scenario| run(scenario, 10)),
    }
}
