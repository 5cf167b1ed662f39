//! What the engine costs per message, with effects that do nothing: a PUBLISH as it comes off the wire, to 1, 10, 100 and
//! 1,000 subscribers, at each QoS, for 3.1.1 and 5.0.

#[path = "support/message.rs"]
mod message;
#[path = "support/suite.rs"]
mod suite;
#[path = "support/world.rs"]
mod world;

use criterion::{BenchmarkId, Criterion, Throughput};
use message::{LEVELS, TOPIC, VERSIONS, publish};
use pantala::auth::acl::Acl;
use pantala::codec::{Ack, Packet, ReasonCode, Version};
use pantala::engine::Introduction;
use pantala::types::{ConnKey, HashSeed, PacketId, QoS};
use std::sync::Arc;
use world::World;

/// `cargo bench` says `--bench`; anything else is criterion's test mode.
fn quick() -> bool {
    std::env::args().all(|arg| arg != "--bench")
}

fn bench(c: &mut Criterion) {
    let counts: &[u32] = if quick() { &[1, 10] } else { &[1, 10, 100, 1_000] };
    for (name, version) in VERSIONS {
        for qos in LEVELS {
            let mut group = c.benchmark_group(format!("fanout/{name}/qos{}", qos as u8));
            for &count in counts {
                let mut world = World::new(version, 1);
                let publisher = world.connect(0);
                let subscribers: Vec<ConnKey> = (1..=count).map(|slot| world.connect(slot)).collect();
                subscribers.iter().for_each(|&conn| world.subscribe(conn, TOPIC, qos));
                let publish = world.bytes(&Packet::Publish(publish(qos)));
                let release = world.bytes(&Packet::PubRel(Ack::new(PacketId::MIN, ReasonCode::Success)));
                let mut ids = (1..=16).cycle();
                group.throughput(Throughput::Elements(u64::from(count)));
                group.bench_function(BenchmarkId::from_parameter(count), |b| {
                    b.iter(|| {
                        world.send(publisher, &publish);
                        if qos == QoS::ExactlyOnce {
                            world.send(publisher, &release);
                        }
                        // With one message in flight, identifiers go round.
                        world.acknowledge(&subscribers, qos, ids.next().unwrap_or(1));
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
        let mut world = World::new(Version::V311, 1);
        let conns: Vec<ConnKey> = (0..=count).map(|slot| world.connect(slot)).collect();
        conns[1..].iter().for_each(|&conn| world.subscribe(conn, TOPIC, QoS::AtMostOnce));
        world.engine.go_by(Some(Arc::clone(&acl)));
        for &conn in &conns {
            let introduction = Introduction { user: Some("ann".into()), ..Introduction::default() };
            world.engine.introduce(conn, "c", introduction);
        }
        let publish = world.bytes(&Packet::Publish(publish(QoS::AtMostOnce)));
        group.throughput(Throughput::Elements(u64::from(count)));
        group.bench_function(BenchmarkId::from_parameter(count), |b| {
            b.iter(|| world.send(conns[0], &publish));
        });
        let denied = world.engine.report().counters.dropped;
        assert_eq!((denied.publish_denied, denied.receive_denied), (0, 0), "the rules allow it");
    }
    group.finish();
}

fn main() {
    let mut criterion = suite::criterion();
    bench(&mut criterion);
    ruled(&mut criterion);
    criterion.final_summary();
}
