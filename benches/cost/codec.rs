//! Layer 1: each packet read and written.

use super::Scenario;
use super::message::{VERSIONS, publish};
use super::packets::{encoded, packets, properties};
use bytes::BytesMut;
use pantala::codec::{Packet, Publish, Split, Version, decode, split};
use pantala::types::QoS;
use std::hint::black_box;

pub(super) fn scenarios() -> Vec<Scenario> {
    let mut all = Vec::new();
    for (version_name, version) in VERSIONS {
        for (name, packet) in packets(version) {
            all.push(decoding(format!("codec/decode/{version_name}/{name}"), &packet, version));
            all.push(Scenario::new(format!("codec/encode/{version_name}/{name}"), 1, move || {
                let mut out = BytesMut::with_capacity(1_024);
                move || {
                    out.clear();
                    black_box(&packet).encode(version, &mut out);
                    black_box(&out);
                }
            }));
        }
    }
    let properties = properties();
    let packet =
        Packet::Publish(Publish { properties: properties.as_properties(), ..publish(QoS::AtLeastOnce) });
    all.push(decoding("codec/decode/5.0/publish-properties".into(), &packet, Version::V5));
    all
}

fn decoding(name: String, packet: &Packet<'_>, version: Version) -> Scenario {
    let bytes = encoded(packet, version);
    Scenario::new(name, 1, move || {
        let bytes = bytes.clone();
        move || {
            let Ok(Split::Whole { frame, .. }) = split(black_box(&bytes), 1 << 20) else {
                panic!("a whole packet")
            };
            black_box(decode(frame, version)).expect("a valid packet");
        }
    })
}
