//! The codec's hot paths: each packet read and written, in 3.1.1 and 5.0, the head of a PUBLISH to subscribers, and a read full of
//! messages.

#[path = "support/message.rs"]
mod message;
#[path = "support/packets.rs"]
mod packets;
#[path = "support/suite.rs"]
mod suite;

use bytes::BytesMut;
use criterion::{Criterion, Throughput};
use message::{LEVELS, PAYLOAD, TOPIC, VERSIONS, publish};
use packets::{encoded, packets, properties};
use pantala::codec::{Packet, Publish, PublishHead, Split, Version, decode, split};
use pantala::types::{PacketId, QoS};
use std::hint::black_box;

/// As a shard reads it: first where it ends, then what it says.
fn decoding(c: &mut Criterion, name: &str, packet: &Packet<'_>, version: Version) {
    let bytes = encoded(packet, version);
    let mut group = c.benchmark_group("codec/decode");
    group.throughput(Throughput::Elements(1));
    group.bench_function(name, |b| {
        b.iter(|| {
            let Ok(Split::Whole { frame, .. }) = split(black_box(&bytes), 1 << 20) else {
                panic!("a whole packet")
            };
            black_box(decode(frame, version).is_ok())
        });
    });
    group.finish();
}

fn all_packets(c: &mut Criterion) {
    for (version_name, version) in VERSIONS {
        for (name, packet) in packets(version) {
            let name = format!("{version_name}/{name}");
            decoding(c, &name, &packet, version);
            let mut out = BytesMut::with_capacity(1_024);
            let mut group = c.benchmark_group("codec/encode");
            group.throughput(Throughput::Elements(1));
            group.bench_function(&name, |b| {
                b.iter(|| {
                    out.clear();
                    black_box(&packet).encode(version, &mut out);
                    black_box(&out);
                });
            });
            group.finish();
        }
    }
    let properties = properties();
    let with = Publish { properties: properties.as_properties(), ..publish(QoS::AtLeastOnce) };
    decoding(c, "5.0/publish-properties", &Packet::Publish(with), Version::V5);
}

/// What a fan-out writes once for all subscribers of a kind.
fn heads(c: &mut Criterion) {
    let mut group = c.benchmark_group("codec/head");
    group.throughput(Throughput::Elements(1));
    for (name, version) in VERSIONS {
        for qos in LEVELS {
            let head = PublishHead {
                dup: false,
                qos,
                retain: false,
                topic: TOPIC,
                packet_id: (qos != QoS::AtMostOnce).then_some(PacketId::MIN),
                forward: &[],
                message_expiry: None,
                topic_alias: None,
                subscription_ids: &[],
                payload_len: PAYLOAD.len(),
            };
            let mut out = BytesMut::with_capacity(1_024);
            group.bench_function(format!("{name}/qos{}", qos as u8), |b| {
                b.iter(|| {
                    out.clear();
                    black_box(&head).encode(version, &mut out)
                });
            });
        }
    }
    group.finish();
}

fn stream(c: &mut Criterion) {
    const PACKETS: usize = 1_000;
    let mut group = c.benchmark_group("codec/stream");
    group.throughput(Throughput::Elements(PACKETS as u64));
    for (name, version) in VERSIONS {
        let bytes = encoded(&Packet::Publish(publish(QoS::AtMostOnce)), version).repeat(PACKETS);
        group.bench_function(format!("{name}/{PACKETS}"), |b| {
            b.iter(|| {
                let (mut at, mut payload) = (0, 0);
                while let Ok(Split::Whole { frame, len }) = split(black_box(&bytes[at..]), 1 << 20) {
                    at += len;
                    payload +=
                        Publish::decode(frame.first, frame.body, version).map_or(0, |p| p.payload.len());
                }
                assert_eq!(payload, PACKETS * PAYLOAD.len());
            });
        });
    }
    group.finish();
}

fn main() {
    let mut criterion = suite::criterion();
    all_packets(&mut criterion);
    heads(&mut criterion);
    stream(&mut criterion);
    criterion.final_summary();
}
