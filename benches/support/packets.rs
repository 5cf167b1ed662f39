//! One packet of each type, as clients and the broker usually send them.

use super::message::{TOPIC, publish};
use bytes::BytesMut;
use pantala::codec::{
    Ack, Auth, ConnAck, Connect, Disconnect, Packet, Properties, PropertiesBuf, Property, ReasonCode, SubAck,
    Subscribe, SubscribeFilters, UnsubAck, Unsubscribe, UnsubscribeFilters, Version, Will,
};
use pantala::types::{PacketId, QoS};

/// A filter of 26 bytes, and QoS 1.
const SUBSCRIBE: &[u8] = b"\x00\x1aplant/7/line/3/temperature\x01";
const UNSUBSCRIBE: &[u8] = b"\x00\x1aplant/7/line/3/temperature";

pub(crate) fn encoded(packet: &Packet<'_>, version: Version) -> BytesMut {
    let mut out = BytesMut::new();
    packet.encode(version, &mut out);
    out
}

/// What a request of 5.0 may carry in a PUBLISH.
pub(crate) fn properties() -> PropertiesBuf {
    let mut properties = PropertiesBuf::default();
    properties.push(Property::ContentType("application/json"));
    properties.push(Property::ResponseTopic("plant/7/answers"));
    properties.push(Property::CorrelationData(&[7; 16]));
    properties.push(Property::UserProperty(("trace", "4bf92f3577b34da6")));
    properties
}

/// All types that the version has, each with a name.
pub(crate) fn packets(version: Version) -> Vec<(&'static str, Packet<'static>)> {
    let (packet_id, properties) = (PacketId::MIN, Properties::EMPTY);
    let ack = Ack::new(packet_id, ReasonCode::Success);
    let connect = Connect {
        version,
        clean_start: true,
        keep_alive_s: 60,
        properties,
        client_id: "device-00417",
        will: None,
        username: Some("device"),
        password: Some(b"secret"),
    };
    let will = Will { topic: TOPIC, payload: b"gone", qos: QoS::AtLeastOnce, retain: true, properties };
    let filters = SubscribeFilters::parse(SUBSCRIBE, version).expect("a filter");
    let names = UnsubscribeFilters::parse(UNSUBSCRIBE).expect("a filter");
    let unsubscribed: &[u8] = if version.is_v5() { &[0] } else { &[] };
    let mut packets = vec![
        ("connect", Packet::Connect(connect)),
        ("connect-will", Packet::Connect(Connect { will: Some(will), ..connect })),
        ("connack", Packet::ConnAck(ConnAck { session_present: false, code: 0, properties })),
        ("publish-qos0", Packet::Publish(publish(QoS::AtMostOnce))),
        ("publish-qos1", Packet::Publish(publish(QoS::AtLeastOnce))),
        ("publish-qos2", Packet::Publish(publish(QoS::ExactlyOnce))),
        ("puback", Packet::PubAck(ack)),
        ("pubrec", Packet::PubRec(ack)),
        ("pubrel", Packet::PubRel(ack)),
        ("pubcomp", Packet::PubComp(ack)),
        ("subscribe", Packet::Subscribe(Subscribe { packet_id, properties, filters })),
        ("suback", Packet::SubAck(SubAck { packet_id, properties, codes: &[1] })),
        ("unsubscribe", Packet::Unsubscribe(Unsubscribe { packet_id, properties, filters: names })),
        ("unsuback", Packet::UnsubAck(UnsubAck { packet_id, properties, codes: unsubscribed })),
        ("pingreq", Packet::PingReq),
        ("pingresp", Packet::PingResp),
        ("disconnect", Packet::Disconnect(Disconnect { reason: ReasonCode::Success, properties })),
    ];
    if version.is_v5() {
        packets.push(("auth", Packet::Auth(Auth { reason: ReasonCode::Success, properties })));
    }
    packets
}
