//! A topic's PUBLISH as bytes: what its publishers send, and what its subscribers get.

use crate::stamp::{STAMP, Stamp};
use bytes::BytesMut;
use pantala::codec::{DecodeError, Frame, Publish, PublishHead, Version};
use pantala::types::{PacketId, QoS};

/// The bytes that all messages of a topic have in common.
///
/// Comparing a received frame with them is both the fastest way to read it and the strictest check: fixed header,
/// topic, length and padding are those that were sent.
#[derive(Debug)]
pub(crate) struct Shape {
    topic: String,
    qos: QoS,
    version: Version,
    /// A PUBLISH with gaps for packet id and stamp.
    bytes: Vec<u8>,
    /// Where these are in `bytes`, in order: the body, the packet id, what follows it, the stamp.
    body_at: usize,
    id_at: usize,
    id_end: usize,
    stamp_at: usize,
}

/// A PUBLISH that came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Received {
    /// How it wants to be acknowledged.
    pub(crate) qos: QoS,
    pub(crate) packet_id: Option<PacketId>,
    /// `None` when it is not what was sent to this topic.
    pub(crate) stamp: Option<Stamp>,
}

impl Shape {
    /// Of messages with payloads of `payload` bytes, at least [`STAMP`].
    pub(crate) fn new(topic: &str, qos: QoS, version: Version, payload: usize) -> Self {
        let head = PublishHead {
            dup: false,
            qos,
            retain: false,
            topic,
            packet_id: (qos != QoS::AtMostOnce).then_some(PacketId::MIN),
            forward: &[],
            message_expiry: None,
            topic_alias: None,
            subscription_ids: &[],
            payload_len: payload,
        };
        let mut bytes = BytesMut::new();
        let packet_id_at = head.encode(version, &mut bytes);
        let stamp_at = bytes.len();
        let id_at = packet_id_at.unwrap_or(stamp_at);
        // The topic follows its length and precedes packet id and, in 5.0, the length of no properties.
        let topic_end = packet_id_at.unwrap_or_else(|| stamp_at - usize::from(version.is_v5()));
        bytes.resize(stamp_at + payload, b'x');
        Self {
            topic: topic.to_owned(),
            qos,
            version,
            bytes: bytes.to_vec(),
            body_at: topic_end - topic.len() - 2,
            id_at,
            id_end: packet_id_at.map_or(stamp_at, |at| at + 2),
            stamp_at,
        }
    }

    pub(crate) fn topic(&self) -> &str {
        &self.topic
    }

    /// Appends a message. `packet_id` is ignored with QoS 0.
    pub(crate) fn append(&self, packet_id: u16, stamp: Stamp, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(&self.bytes);
        let frame = &mut out[start..];
        if self.id_at < self.id_end {
            frame[self.id_at..self.id_end].copy_from_slice(&packet_id.to_be_bytes());
        }
        frame[self.stamp_at..self.stamp_at + STAMP].copy_from_slice(&stamp.to_bytes());
    }

    /// Reads a PUBLISH that came to a subscriber of the topic.
    ///
    /// # Errors
    /// It is malformed.
    #[inline]
    pub(crate) fn read(&self, frame: Frame<'_>) -> Result<Received, DecodeError> {
        let (body, sent) = (frame.body, &self.bytes[self.body_at..]);
        let [id_at, id_end, stamp_at] = [self.id_at, self.id_end, self.stamp_at].map(|at| at - self.body_at);
        let as_sent = frame.first == self.bytes[0]
            && body.len() == sent.len()
            && body[..id_at] == sent[..id_at]
            && body[id_end..stamp_at] == sent[id_end..stamp_at]
            && body[stamp_at + STAMP..] == sent[stamp_at + STAMP..];
        if !as_sent {
            return self.read_other(frame);
        }
        let id = body[id_at..id_end].try_into().map_or(0, u16::from_be_bytes);
        let packet_id = PacketId::new(id);
        if packet_id.is_none() && self.qos != QoS::AtMostOnce {
            return self.read_other(frame);
        }
        Ok(Received { qos: self.qos, packet_id, stamp: Stamp::of(&body[stamp_at..]) })
    }

    /// What was sent again or has got properties on its way is still the same message.
    #[cold]
    fn read_other(&self, frame: Frame<'_>) -> Result<Received, DecodeError> {
        let publish = Publish::decode(frame.first, frame.body, self.version)?;
        let sent = &self.bytes[self.stamp_at..];
        let same = publish.topic == self.topic
            && publish.qos == self.qos
            && !publish.retain
            && publish.payload.len() == sent.len()
            && publish.payload[STAMP..] == sent[STAMP..];
        let stamp = if same { Stamp::of(publish.payload) } else { None };
        Ok(Received { qos: publish.qos, packet_id: publish.packet_id, stamp })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pantala::codec::{Packet, Properties, PropertiesBuf, Property, Split, split};

    const QOS: [QoS; 3] = [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce];
    const VERSIONS: [Version; 3] = [Version::V31, Version::V311, Version::V5];

    fn stamp() -> Stamp {
        Stamp::new(3, 77, 123)
    }

    fn whole(bytes: &[u8]) -> Frame<'_> {
        match split(bytes, 1 << 20).unwrap() {
            Split::Whole { frame, len } if len == bytes.len() => frame,
            other => panic!("{other:?}"),
        }
    }

    fn shapes() -> impl Iterator<Item = Shape> {
        let kinds = QOS.into_iter().flat_map(|qos| VERSIONS.map(|version| (qos, version)));
        let all = kinds.flat_map(|(qos, version)| [16, 64, 5_000].map(|payload| (qos, version, payload)));
        all.map(|(qos, version, payload)| Shape::new("a/topic", qos, version, payload))
    }

    fn sent(shape: &Shape) -> Vec<u8> {
        let mut bytes = Vec::new();
        shape.append(9, stamp(), &mut bytes);
        bytes
    }

    /// What comes of `sent` when something on it is changed.
    fn changed<'a>(shape: &Shape, sent: &'a [u8], change: impl FnOnce(&mut Publish<'a>)) -> Received {
        let frame = whole(sent);
        let mut publish = Publish::decode(frame.first, frame.body, shape.version).unwrap();
        change(&mut publish);
        let mut bytes = BytesMut::new();
        Packet::Publish(publish).encode(shape.version, &mut bytes);
        shape.read(whole(&bytes)).unwrap()
    }

    #[test]
    fn what_is_sent_is_what_the_codec_would_send_and_comes_back() {
        for shape in shapes() {
            let expected = if shape.qos == QoS::AtMostOnce { None } else { Some(PacketId::new(9).unwrap()) };
            let received = changed(&shape, &sent(&shape), |publish| {
                assert_eq!((publish.topic, publish.qos, publish.packet_id), ("a/topic", shape.qos, expected));
                assert_eq!(Stamp::of(publish.payload), Some(stamp()));
            });
            assert_eq!(received, Received { qos: shape.qos, packet_id: expected, stamp: Some(stamp()) });
        }
    }

    #[test]
    fn another_topic_payload_qos_or_retain_flag_is_not_what_was_sent() {
        for shape in shapes() {
            let sent = sent(&shape);
            let other_payload = vec![b'y'; shape.bytes.len() - shape.stamp_at];
            let longer_payload = vec![b'x'; shape.bytes.len() - shape.stamp_at + 1];
            assert_eq!(changed(&shape, &sent, |publish| publish.topic = "b/topic").stamp, None);
            assert_eq!(changed(&shape, &sent, |publish| publish.topic = "a/topics").stamp, None);
            assert_eq!(changed(&shape, &sent, |publish| publish.retain = true).stamp, None);
            assert_eq!(changed(&shape, &sent, |publish| publish.payload = &longer_payload).stamp, None);
            assert_eq!(changed(&shape, &sent, |publish| publish.payload = &[]).stamp, None);
            if other_payload.len() > STAMP {
                assert_eq!(changed(&shape, &sent, |publish| publish.payload = &other_payload).stamp, None);
            }
            let received = changed(&shape, &sent, |publish| {
                publish.qos = if shape.qos == QoS::AtLeastOnce { QoS::ExactlyOnce } else { QoS::AtLeastOnce };
                publish.packet_id = PacketId::new(5);
            });
            assert_eq!((received.stamp, received.packet_id), (None, PacketId::new(5)));
        }
    }

    #[test]
    fn properties_and_the_dup_flag_do_not_make_another_message() {
        let mut properties = PropertiesBuf::default();
        properties.push(Property::MessageExpiryInterval(7));
        for shape in shapes() {
            if shape.version.is_v5() {
                let received =
                    changed(&shape, &sent(&shape), |publish| publish.properties = properties.as_properties());
                assert_eq!(received.stamp, Some(stamp()));
            }
            if shape.qos != QoS::AtMostOnce {
                assert_eq!(changed(&shape, &sent(&shape), |publish| publish.dup = true).stamp, Some(stamp()));
            }
            assert_eq!(
                changed(&shape, &sent(&shape), |publish| publish.properties = Properties::EMPTY).stamp,
                Some(stamp())
            );
        }
    }

    #[test]
    fn a_packet_id_of_0_is_malformed() {
        let shape = Shape::new("a/topic", QoS::AtLeastOnce, Version::V311, 16);
        let mut bytes = Vec::new();
        shape.append(0, stamp(), &mut bytes);
        assert!(shape.read(whole(&bytes)).is_err());
    }
}
