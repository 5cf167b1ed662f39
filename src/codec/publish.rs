//! PUBLISH, the packet that everything is about. [MQTT 3.3]

use super::props::Place;
use super::text::{Reader, put_binary, put_varint, varint_len};
use super::{DecodeError, PacketType, Properties, Property, Version};
use crate::types::{PacketId, QoS};
use bytes::{BufMut, BytesMut};

const DUP: u8 = 0x08;
const RETAIN: u8 = 0x01;

/// A message, borrowed from the buffer that it was read into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Publish<'a> {
    /// It may have been sent before.
    pub dup: bool,
    /// Quality of service.
    pub qos: QoS,
    /// Towards a server: keep it. Towards a client: it was kept.
    pub retain: bool,
    /// Well-formed UTF-8; not checked to be a topic name yet. Empty where a topic alias stands for it.
    pub topic: &'a str,
    /// There with QoS 1 and 2.
    pub packet_id: Option<PacketId>,
    /// 5.0 only.
    pub properties: Properties<'a>,
    /// The payload.
    pub payload: &'a [u8],
}

impl<'a> Publish<'a> {
    /// Reads a PUBLISH from its first byte and its body.
    ///
    /// # Errors
    /// Whatever is wrong with it.
    #[inline]
    pub fn decode(first: u8, body: &'a [u8], version: Version) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(body, PacketType::Publish);
        let qos = QoS::from_bits(first >> 1 & 3).ok_or(DecodeError::PublishQos)?;
        let dup = first & DUP != 0;
        if dup && qos == QoS::AtMostOnce {
            return Err(DecodeError::DupQos0);
        }
        let topic = reader.text()?;
        let packet_id = if qos == QoS::AtMostOnce { None } else { Some(reader.packet_id()?) };
        let properties = Properties::read(&mut reader, version, Place::Packet(PacketType::Publish))?;
        Ok(Self { dup, qos, retain: first & RETAIN != 0, topic, packet_id, properties, payload: reader.rest })
    }

    pub(super) fn encode(&self, version: Version, out: &mut BytesMut) {
        let packet_id = if self.qos == QoS::AtMostOnce { 0 } else { 2 };
        let remaining =
            2 + self.topic.len() + packet_id + self.properties.wire_len(version) + self.payload.len();
        out.reserve(5 + remaining);
        out.put_u8(first_byte(self.dup, self.qos, self.retain));
        put_varint(out, remaining);
        put_binary(out, self.topic.as_bytes());
        if packet_id > 0 {
            out.put_u16(self.packet_id.map_or(0, PacketId::get));
        }
        self.properties.write(version, out);
        out.put_slice(self.payload);
    }
}

fn first_byte(dup: bool, qos: QoS, retain: bool) -> u8 {
    (PacketType::Publish as u8) << 4
        | if dup { DUP } else { 0 }
        | (qos as u8) << 1
        | if retain { RETAIN } else { 0 }
}

/// What goes before a PUBLISH's payload on its way to subscribers.
#[derive(Clone, Copy, Debug)]
pub struct PublishHead<'a> {
    /// It may have been sent before.
    pub dup: bool,
    /// Quality of service.
    pub qos: QoS,
    /// Whether it is a retained message.
    pub retain: bool,
    /// The topic name.
    pub topic: &'a str,
    /// With QoS 1 and 2; a caller that patches it per subscriber sets any.
    pub packet_id: Option<PacketId>,
    /// 5.0: properties passed on from the publisher, encoded; see [`Properties::forward`].
    pub forward: &'a [u8],
    /// 5.0: what is left of the Message Expiry Interval, in seconds.
    pub message_expiry: Option<u32>,
    /// 5.0: a number in place of the topic, or to stand for it from now on.
    pub topic_alias: Option<std::num::NonZeroU16>,
    /// 5.0: the matching subscriptions' identifiers. [MQTT-3.3.4-3]
    pub subscription_ids: &'a [u32],
    /// Bytes of the payload that the caller adds.
    pub payload_len: usize,
}

impl PublishHead<'_> {
    fn properties_len(&self) -> usize {
        let ids: usize = self.subscription_ids.iter().map(|&id| 1 + varint_len(id as usize)).sum();
        self.forward.len() + self.message_expiry.map_or(0, |_| 5) + self.topic_alias.map_or(0, |_| 3) + ids
    }

    fn remaining_len(&self, version: Version) -> usize {
        let packet_id = if self.qos == QoS::AtMostOnce { 0 } else { 2 };
        let properties = if version == Version::V5 {
            let len = self.properties_len();
            varint_len(len) + len
        } else {
            0
        };
        2 + self.topic.len() + packet_id + properties + self.payload_len
    }

    /// Bytes of the whole packet, payload included.
    pub fn encoded_len(&self, version: Version) -> usize {
        let remaining = self.remaining_len(version);
        1 + varint_len(remaining) + remaining
    }

    /// Writes everything up to the payload. Returns where the packet id stands within what was written; `None` for QoS 0.
    pub fn encode(&self, version: Version, out: &mut BytesMut) -> Option<usize> {
        let (start, remaining) = (out.len(), self.remaining_len(version));
        out.reserve(5 + remaining);
        out.put_u8(first_byte(self.dup, self.qos, self.retain));
        put_varint(out, remaining);
        put_binary(out, self.topic.as_bytes());
        let mut packet_id_at = None;
        if self.qos != QoS::AtMostOnce {
            packet_id_at = Some(out.len() - start);
            out.put_u16(self.packet_id.map_or(0, PacketId::get));
        }
        if version == Version::V5 {
            put_varint(out, self.properties_len());
            out.put_slice(self.forward);
            let expiry = self.message_expiry.map(Property::MessageExpiryInterval);
            let alias = self.topic_alias.map(Property::TopicAlias);
            [expiry, alias].into_iter().flatten().for_each(|property| property.encode(out));
            for &id in self.subscription_ids {
                Property::SubscriptionIdentifier(id).encode(out);
            }
        }
        packet_id_at
    }
}
