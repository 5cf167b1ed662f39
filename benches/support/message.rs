//! The message that benches send.

use pantala::codec::{Properties, Publish, Version};
use pantala::types::{PacketId, QoS};

pub(crate) const VERSIONS: [(&str, Version); 2] = [("3.1.1", Version::V311), ("5.0", Version::V5)];
pub(crate) const LEVELS: [QoS; 3] = [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce];
pub(crate) const TOPIC: &str = "plant/7/line/3/temperature";
pub(crate) const PAYLOAD: [u8; 64] = [b'x'; 64];

pub(crate) fn publish(qos: QoS) -> Publish<'static> {
    Publish {
        dup: false,
        qos,
        retain: false,
        topic: TOPIC,
        packet_id: (qos != QoS::AtMostOnce).then_some(PacketId::MIN),
        properties: Properties::EMPTY,
        payload: &PAYLOAD,
    }
}
