//! What the engine costs per message, with effects that do nothing: a PUBLISH as it comes off the wire, to 1, 10, 100 and
//! 1,000 subscribers, at each QoS, for 3.1.1 and 5.0.

use bytes::BytesMut;
use criterion::{BenchmarkId, Criterion, Throughput};
use pantala::auth::acl::Acl;
use pantala::codec::{
    Ack, Connect, Frame, Packet, Properties, Publish, ReasonCode, Split, Subscribe, SubscribeFilters,
    SubscriptionOptions, Version, split,
};
use pantala::engine::{Engine, Introduction, Null, Setup};
use pantala::session::connect::ClientId;
use pantala::types::{ConnKey, HashSeed, Limits, Now, PacketId, QoS, ShardId};
use std::sync::Arc;

const TOPIC: &str = "plant/7/line/3/temperature";
const PAYLOAD: [u8; 64] = [b'x'; 64];
const VERSIONS: [(&str, Version); 2] = [("3.1.1", Version::V311), ("5.0", Version::V5)];
const LEVELS: [QoS; 3] = [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce];

/// `cargo bench` says `--bench`; anything else is criterion's test mode.
fn quick() -> bool {
    std::env::args().all(|arg| arg != "--bench")
}

struct World {
    engine: Engine,
    fx: Null,
    version: Version,
}

impl World {
    fn new(version: Version) -> Self {
        let setup = Setup::new(ShardId(0), 1, Limits::default(), HashSeed(1));
        Self { engine: Engine::new(setup), fx: Null::default(), version }
    }

    fn connect(&mut self, slot: u32) -> ConnKey {
        let conn = ConnKey { slot, generation: 0 };
        let id = format!("client-{slot}");
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

    fn subscribe(&mut self, conn: ConnKey, qos: QoS) {
        let mut block = BytesMut::new();
        SubscribeFilters::write(&mut block, TOPIC, SubscriptionOptions::of(qos));
        let filters = SubscribeFilters::parse(&block, self.version).expect("a filter");
        let subscribe = Subscribe { packet_id: PacketId::MIN, properties: Properties::EMPTY, filters };
        self.send(conn, &self.bytes(&Packet::Subscribe(subscribe)));
    }

    fn bytes(&self, packet: &Packet<'_>) -> BytesMut {
        let mut out = BytesMut::new();
        packet.encode(self.version, &mut out);
        out
    }

    fn send(&mut self, conn: ConnKey, bytes: &[u8]) {
        let Ok(Split::Whole { frame, .. }) = split(bytes, 1 << 20) else { panic!("a whole packet") };
        let Frame { first, body } = frame;
        self.engine.packet(Now(0), conn, Frame { first, body }, None, &mut self.fx);
    }
}

fn bench(c: &mut Criterion) {
    let counts: &[u32] = if quick() { &[1, 10] } else { &[1, 10, 100, 1_000] };
    for (name, version) in VERSIONS {
        for qos in LEVELS {
            let mut group = c.benchmark_group(format!("fanout/{name}/qos{}", qos as u8));
            for &count in counts {
                let mut world = World::new(version);
                let publisher = world.connect(0);
                let subscribers: Vec<ConnKey> = (1..=count).map(|slot| world.connect(slot)).collect();
                subscribers.iter().for_each(|&conn| world.subscribe(conn, qos));
                let publish = world.bytes(&Packet::Publish(Publish {
                    dup: false,
                    qos,
                    retain: false,
                    topic: TOPIC,
                    packet_id: (qos != QoS::AtMostOnce).then_some(PacketId::MIN),
                    properties: Properties::EMPTY,
                    payload: &PAYLOAD,
                }));
                let release = world.bytes(&Packet::PubRel(Ack::new(PacketId::MIN, ReasonCode::Success)));
                let mut ids = (1..=16).cycle();
                group.throughput(Throughput::Elements(u64::from(count)));
                group.bench_function(BenchmarkId::from_parameter(count), |b| {
                    b.iter(|| {
                        world.send(publisher, &publish);
                        if qos == QoS::ExactlyOnce {
                            world.send(publisher, &release);
                        }
                        if qos != QoS::AtMostOnce {
                            acknowledge(&mut world, &subscribers, qos, &mut ids);
                        }
                    });
                });
                assert_eq!(world.engine.report().queued_messages, 0, "all that was sent was acknowledged");
            }
            group.finish();
        }
    }
}

/// The same under 10,000 rules, each client with a name of its own that has them all.
fn ruled(c: &mut Criterion) {
    let mut group = c.benchmark_group("fanout/ruled/3.1.1/qos0");
    let lines: String = (0..10_000).map(|i| format!("topic readwrite plant/{i}/line/#\n")).collect();
    let acl = Acl::parse(format!("user ann\n{lines}").as_bytes(), 1, HashSeed(1)).expect("rules");
    let acl = Arc::new(acl);
    for count in if quick() { [1, 10] } else { [1, 100] } {
        let mut world = World::new(Version::V311);
        let conns: Vec<ConnKey> = (0..=count).map(|slot| world.connect(slot)).collect();
        conns[1..].iter().for_each(|&conn| world.subscribe(conn, QoS::AtMostOnce));
        world.engine.go_by(Some(Arc::clone(&acl)));
        for &conn in &conns {
            let introduction = Introduction { user: Some("ann".into()), ..Introduction::default() };
            world.engine.introduce(conn, "c", introduction);
        }
        let publish = world.bytes(&Packet::Publish(Publish {
            dup: false,
            qos: QoS::AtMostOnce,
            retain: false,
            topic: TOPIC,
            packet_id: None,
            properties: Properties::EMPTY,
            payload: &PAYLOAD,
        }));
        group.throughput(Throughput::Elements(u64::from(count)));
        group.bench_function(BenchmarkId::from_parameter(count), |b| {
            b.iter(|| world.send(conns[0], &publish));
        });
        let denied = world.engine.report().counters.dropped;
        assert_eq!((denied.publish_denied, denied.receive_denied), (0, 0), "the rules allow it");
    }
    group.finish();
}

/// Every subscriber acknowledges what it just got: with one message in flight, identifiers go round from 1 to 16.
fn acknowledge(world: &mut World, subscribers: &[ConnKey], qos: QoS, ids: &mut impl Iterator<Item = u16>) {
    let id = ids.next().unwrap_or(1);
    let [high, low] = id.to_be_bytes();
    for &conn in subscribers {
        if qos == QoS::AtLeastOnce {
            world.send(conn, &[0x40, 2, high, low]);
        } else {
            world.send(conn, &[0x50, 2, high, low]);
            world.send(conn, &[0x70, 2, high, low]);
        }
    }
}

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    bench(&mut criterion);
    ruled(&mut criterion);
    criterion.final_summary();
}
