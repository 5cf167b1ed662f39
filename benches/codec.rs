//! The codec's hot paths: splitting a stream, reading and writing PUBLISH and acknowledgements.

use bytes::BytesMut;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use pantala::codec::{
    Ack, Connect, Frame, Packet, PacketType, Properties, Publish, PublishHead, ReasonCode, Split, Version,
    decode, split,
};
use pantala::types::{PacketId, QoS};
use std::hint::black_box;

const VERSIONS: [(&str, Version); 2] = [("3.1.1", Version::V311), ("5.0", Version::V5)];
const LEVELS: [QoS; 3] = [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce];
const PAYLOAD: [u8; 64] = [b'x'; 64];
const TOPIC: &str = "plant/7/line/3/temperature";

fn publish(qos: QoS) -> Packet<'static> {
    Packet::Publish(Publish {
        dup: false,
        qos,
        retain: false,
        topic: TOPIC,
        packet_id: (qos != QoS::AtMostOnce).then_some(PacketId::MIN),
        properties: Properties::EMPTY,
        payload: &PAYLOAD,
    })
}

fn encoded(packet: &Packet<'_>, version: Version) -> BytesMut {
    let mut out = BytesMut::new();
    packet.encode(version, &mut out);
    out
}

fn publish_packets(c: &mut Criterion) {
    let mut group = c.benchmark_group("codec/publish");
    group.throughput(Throughput::Elements(1));
    for (name, version) in VERSIONS {
        for qos in LEVELS {
            let bytes = encoded(&publish(qos), version);
            group.bench_function(format!("decode/{name}/qos{}", qos as u8), |b| {
                b.iter(|| {
                    let Ok(Split::Whole { frame, .. }) = split(black_box(&bytes), 1 << 20) else {
                        return None;
                    };
                    Publish::decode(frame.first, frame.body, version)
                        .ok()
                        .map(|publish| publish.payload.len())
                });
            });
            let mut out = BytesMut::with_capacity(1_024);
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
            group.bench_function(format!("head/{name}/qos{}", qos as u8), |b| {
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
    let bytes = encoded(&publish(QoS::AtMostOnce), Version::V311).repeat(PACKETS);
    let mut group = c.benchmark_group("codec/stream");
    group.throughput(Throughput::Elements(PACKETS as u64));
    group.bench_function("1000 QoS 0 messages in one read", |b| {
        b.iter(|| {
            let (mut at, mut payload) = (0, 0);
            while let Ok(Split::Whole { frame, len }) = split(&bytes[at..], 1 << 20) {
                at += len;
                payload +=
                    Publish::decode(frame.first, frame.body, Version::V311).map_or(0, |p| p.payload.len());
            }
            assert_eq!(payload, PACKETS * PAYLOAD.len());
        });
    });
    group.finish();
}

fn other_packets(c: &mut Criterion) {
    let ack = Ack::new(PacketId::MIN, ReasonCode::Success);
    let connect = Connect {
        version: Version::V5,
        clean_start: true,
        keep_alive_s: 60,
        properties: Properties::EMPTY,
        client_id: "device-00417",
        will: None,
        username: Some("device"),
        password: Some(b"secret"),
    };
    let packets = [
        Packet::Connect(connect),
        Packet::PubAck(ack),
        Packet::PubRec(ack),
        Packet::PubRel(ack),
        Packet::PubComp(ack),
        Packet::PingReq,
    ];
    let mut group = c.benchmark_group("codec/other");
    for packet in packets {
        let (kind, bytes) = (packet.packet_type(), encoded(&packet, Version::V5));
        group.bench_function(format!("decode/{}", name(kind)), |b| {
            b.iter(|| {
                let frame = Frame { first: bytes[0], body: black_box(&bytes[2..]) };
                decode(frame, Version::V5).map(|packet| packet.packet_type())
            });
        });
        let mut out = BytesMut::with_capacity(256);
        group.bench_function(format!("encode/{}", name(kind)), |b| {
            b.iter(|| {
                out.clear();
                black_box(&packet).encode(Version::V5, &mut out);
            });
        });
    }
    group.finish();
}

fn name(kind: PacketType) -> String {
    format!("{kind:?}").to_uppercase()
}

criterion_group!(benches, publish_packets, stream, other_packets);
criterion_main!(benches);
