//! SUBSCRIBE, SUBACK, UNSUBSCRIBE and UNSUBACK. [MQTT 3.8 to 3.11]

use super::props::Place;
use super::text::{Reader, put_binary};
use super::{DecodeError, PacketType, Properties, ReasonCode, Version};
use crate::types::{PacketId, QoS};
use bytes::{BufMut, BytesMut};

/// When retained messages are sent for a subscription. [MQTT 3.8.3.1]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum RetainHandling {
    /// With every SUBSCRIBE. [MQTT-3.3.1-9]
    #[default]
    Always = 0,
    /// Only when the subscription is new. [MQTT-3.3.1-10]
    IfNew = 1,
    /// Not at all. [MQTT-3.3.1-11]
    Never = 2,
}

/// What a subscriber wants of a subscription.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SubscriptionOptions {
    /// The highest QoS to deliver with.
    pub qos: QoS,
    /// Not what the subscriber itself publishes. 5.0 only.
    pub no_local: bool,
    /// Leave RETAIN as the publisher set it. 5.0 only.
    pub retain_as_published: bool,
    /// When to send retained messages. 5.0 only.
    pub retain_handling: RetainHandling,
}

impl SubscriptionOptions {
    /// What a client before 5.0 can ask for.
    pub const fn of(qos: QoS) -> Self {
        Self { qos, no_local: false, retain_as_published: false, retain_handling: RetainHandling::Always }
    }

    /// From the byte on the wire; `None` where reserved bits or values are used. [MQTT-3.8.3-5]
    pub const fn from_bits(bits: u8, version: Version) -> Option<Self> {
        let reserved = if matches!(version, Version::V5) { 0xc0 } else { 0xfc };
        let (Some(qos), 0) = (QoS::from_bits(bits & 3), bits & reserved) else { return None };
        let retain_handling = match bits >> 4 & 3 {
            0 => RetainHandling::Always,
            1 => RetainHandling::IfNew,
            2 => RetainHandling::Never,
            _ => return None,
        };
        Some(Self { qos, no_local: bits & 4 != 0, retain_as_published: bits & 8 != 0, retain_handling })
    }

    /// The byte on the wire.
    pub const fn bits(self) -> u8 {
        self.qos as u8
            | (self.no_local as u8) << 2
            | (self.retain_as_published as u8) << 3
            | (self.retain_handling as u8) << 4
    }
}

/// SUBSCRIBE.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subscribe<'a> {
    /// For SUBACK.
    pub packet_id: PacketId,
    /// 5.0 only.
    pub properties: Properties<'a>,
    /// What to subscribe to.
    pub filters: SubscribeFilters<'a>,
}

/// The filters of a SUBSCRIBE, at least one, with their options: well-formed UTF-8, not checked to be filters yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SubscribeFilters<'a> {
    block: &'a [u8],
    version: Version,
}

impl<'a> SubscribeFilters<'a> {
    /// Checks a block of filters as SUBSCRIBE carries it.
    ///
    /// # Errors
    /// Whatever is wrong with it.
    pub fn parse(block: &'a [u8], version: Version) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(block, PacketType::Subscribe);
        if block.is_empty() {
            return Err(DecodeError::NoFilters(PacketType::Subscribe));
        }
        while !reader.rest.is_empty() {
            read_filter(&mut reader, version)?;
        }
        Ok(Self { block, version })
    }

    /// Appends one to a block.
    pub fn write(out: &mut BytesMut, filter: &str, options: SubscriptionOptions) {
        put_binary(out, filter.as_bytes());
        out.put_u8(options.bits());
    }

    /// All of them, in their order.
    pub fn iter(&self) -> impl Iterator<Item = (&'a str, SubscriptionOptions)> + use<'a> {
        let (mut reader, version) = (Reader::new(self.block, PacketType::Subscribe), self.version);
        std::iter::from_fn(move || read_filter(&mut reader, version).ok())
    }
}

fn read_filter<'a>(
    reader: &mut Reader<'a>,
    version: Version,
) -> Result<(&'a str, SubscriptionOptions), DecodeError> {
    let (filter, bits) = (reader.text()?, reader.u8()?);
    let options =
        SubscriptionOptions::from_bits(bits, version).ok_or(DecodeError::SubscriptionOptions(bits))?;
    Ok((filter, options))
}

impl<'a> Subscribe<'a> {
    /// Reads a SUBSCRIBE's body.
    ///
    /// # Errors
    /// Whatever is wrong with it.
    pub fn decode(body: &'a [u8], version: Version) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(body, PacketType::Subscribe);
        let packet_id = reader.packet_id()?;
        let properties = Properties::read(&mut reader, version, Place::Packet(PacketType::Subscribe))?;
        Ok(Self { packet_id, properties, filters: SubscribeFilters::parse(reader.rest, version)? })
    }

    pub(super) fn encode_body(&self, version: Version, out: &mut BytesMut) {
        out.put_u16(self.packet_id.get());
        self.properties.write(version, out);
        out.put_slice(self.filters.block);
    }
}

/// UNSUBSCRIBE.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unsubscribe<'a> {
    /// For UNSUBACK.
    pub packet_id: PacketId,
    /// 5.0 only.
    pub properties: Properties<'a>,
    /// What to unsubscribe from.
    pub filters: UnsubscribeFilters<'a>,
}

/// The filters of an UNSUBSCRIBE, at least one: well-formed UTF-8, not checked to be filters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnsubscribeFilters<'a>(&'a [u8]);

impl<'a> UnsubscribeFilters<'a> {
    /// Checks a block of filters as UNSUBSCRIBE carries it.
    ///
    /// # Errors
    /// Whatever is wrong with it.
    pub fn parse(block: &'a [u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(block, PacketType::Unsubscribe);
        if block.is_empty() {
            return Err(DecodeError::NoFilters(PacketType::Unsubscribe));
        }
        while !reader.rest.is_empty() {
            reader.text()?;
        }
        Ok(Self(block))
    }

    /// Appends one to a block.
    pub fn write(out: &mut BytesMut, filter: &str) {
        put_binary(out, filter.as_bytes());
    }

    /// All of them, in their order.
    pub fn iter(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        let mut reader = Reader::new(self.0, PacketType::Unsubscribe);
        std::iter::from_fn(move || reader.text().ok())
    }
}

impl<'a> Unsubscribe<'a> {
    /// Reads an UNSUBSCRIBE's body.
    ///
    /// # Errors
    /// Whatever is wrong with it.
    pub fn decode(body: &'a [u8], version: Version) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(body, PacketType::Unsubscribe);
        let packet_id = reader.packet_id()?;
        let properties = Properties::read(&mut reader, version, Place::Packet(PacketType::Unsubscribe))?;
        Ok(Self { packet_id, properties, filters: UnsubscribeFilters::parse(reader.rest)? })
    }

    pub(super) fn encode_body(&self, version: Version, out: &mut BytesMut) {
        out.put_u16(self.packet_id.get());
        self.properties.write(version, out);
        out.put_slice(self.filters.0);
    }
}

/// SUBACK.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SubAck<'a> {
    /// Of the SUBSCRIBE.
    pub packet_id: PacketId,
    /// 5.0 only.
    pub properties: Properties<'a>,
    /// A code for each filter: the QoS granted, or why not.
    pub codes: &'a [u8],
}

impl<'a> SubAck<'a> {
    /// Reads a SUBACK's body.
    ///
    /// # Errors
    /// Whatever is wrong with it.
    pub fn decode(body: &'a [u8], version: Version) -> Result<Self, DecodeError> {
        let (packet_id, properties, codes) = decode_ack(PacketType::SubAck, body, version)?;
        for &code in codes {
            let known = match version {
                Version::V5 => ReasonCode::from_byte(PacketType::SubAck, code).is_some(),
                Version::V31 | Version::V311 => matches!(code, 0..=2 | 0x80),
            };
            if !known {
                return Err(DecodeError::ReasonCode(PacketType::SubAck, code));
            }
        }
        Ok(Self { packet_id, properties, codes })
    }

    pub(super) fn encode_body(&self, version: Version, out: &mut BytesMut) {
        out.put_u16(self.packet_id.get());
        self.properties.write(version, out);
        out.put_slice(self.codes);
    }
}

/// UNSUBACK.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnsubAck<'a> {
    /// Of the UNSUBSCRIBE.
    pub packet_id: PacketId,
    /// 5.0 only.
    pub properties: Properties<'a>,
    /// A reason code for each filter in 5.0; not on the wire before.
    pub codes: &'a [u8],
}

impl<'a> UnsubAck<'a> {
    /// Reads an UNSUBACK's body.
    ///
    /// # Errors
    /// Whatever is wrong with it.
    pub fn decode(body: &'a [u8], version: Version) -> Result<Self, DecodeError> {
        let (packet_id, properties, codes) = decode_ack(PacketType::UnsubAck, body, version)?;
        if version != Version::V5 && !codes.is_empty() {
            return Err(DecodeError::TrailingBytes(PacketType::UnsubAck));
        }
        let unknown = |&&code: &&u8| ReasonCode::from_byte(PacketType::UnsubAck, code).is_none();
        match codes.iter().find(unknown) {
            Some(&code) => Err(DecodeError::ReasonCode(PacketType::UnsubAck, code)),
            None => Ok(Self { packet_id, properties, codes }),
        }
    }

    pub(super) fn encode_body(&self, version: Version, out: &mut BytesMut) {
        out.put_u16(self.packet_id.get());
        self.properties.write(version, out);
        if version == Version::V5 {
            out.put_slice(self.codes);
        }
    }
}

fn decode_ack(
    packet: PacketType,
    body: &[u8],
    version: Version,
) -> Result<(PacketId, Properties<'_>, &[u8]), DecodeError> {
    let mut reader = Reader::new(body, packet);
    let packet_id = reader.packet_id()?;
    let properties = Properties::read(&mut reader, version, Place::Packet(packet))?;
    Ok((packet_id, properties, reader.rest))
}
