//! Packets that hold little more than a reason: PUBACK, PUBREC, PUBREL, PUBCOMP, DISCONNECT, AUTH.
//! [MQTT 3.4 to 3.7, 3.14, 3.15]

use super::props::Place;
use super::text::Reader;
use super::{DecodeError, PacketType, Properties, ReasonCode, Version};
use crate::types::PacketId;
use bytes::{BufMut, BytesMut};

/// PUBACK, PUBREC, PUBREL or PUBCOMP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ack<'a> {
    /// Of the PUBLISH.
    pub packet_id: PacketId,
    /// Success where the packet has none.
    pub reason: ReasonCode,
    /// 5.0 only.
    pub properties: Properties<'a>,
}

impl<'a> Ack<'a> {
    /// An acknowledgement without properties.
    pub const fn new(packet_id: PacketId, reason: ReasonCode) -> Self {
        Self { packet_id, reason, properties: Properties::EMPTY }
    }

    /// Reads the body of one of the four.
    ///
    /// # Errors
    /// Whatever is wrong with it.
    #[inline]
    pub fn decode(packet: PacketType, body: &'a [u8], version: Version) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(body, packet);
        let packet_id = reader.packet_id()?;
        if reader.rest.is_empty() {
            return Ok(Self::new(packet_id, ReasonCode::Success));
        }
        let (reason, properties) = reason(packet, reader, version)?;
        Ok(Self { packet_id, reason, properties })
    }

    pub(super) fn encode_body(&self, version: Version, out: &mut BytesMut) {
        out.put_u16(self.packet_id.get());
        encode_reason(self.reason, self.properties, version, out);
    }
}

/// DISCONNECT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Disconnect<'a> {
    /// Normal disconnection where the packet has none.
    pub reason: ReasonCode,
    /// 5.0 only.
    pub properties: Properties<'a>,
}

impl<'a> Disconnect<'a> {
    /// Reads a DISCONNECT's body.
    ///
    /// # Errors
    /// Whatever is wrong with it.
    pub fn decode(body: &'a [u8], version: Version) -> Result<Self, DecodeError> {
        let (reason, properties) =
            reason(PacketType::Disconnect, Reader::new(body, PacketType::Disconnect), version)?;
        Ok(Self { reason, properties })
    }

    /// A reason is always followed by properties, although none at all would do [MQTT 3.14.2.2.1]: rumqttc 0.25 does not
    /// read a reason that stands alone.
    pub(super) fn encode_body(&self, version: Version, out: &mut BytesMut) {
        if version == Version::V5 && self.reason != ReasonCode::Success {
            out.put_u8(self.reason as u8);
            self.properties.write(version, out);
        } else {
            encode_reason(self.reason, self.properties, version, out);
        }
    }
}

/// AUTH. 5.0 only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Auth<'a> {
    /// Success where the packet has none.
    pub reason: ReasonCode,
    /// Method and data.
    pub properties: Properties<'a>,
}

impl<'a> Auth<'a> {
    /// Reads an AUTH's body.
    ///
    /// # Errors
    /// Whatever is wrong with it.
    pub fn decode(body: &'a [u8], version: Version) -> Result<Self, DecodeError> {
        if version != Version::V5 {
            return Err(DecodeError::NotInVersion(PacketType::Auth));
        }
        let (reason, properties) = reason(PacketType::Auth, Reader::new(body, PacketType::Auth), version)?;
        Ok(Self { reason, properties })
    }

    pub(super) fn encode_body(&self, version: Version, out: &mut BytesMut) {
        encode_reason(self.reason, self.properties, version, out);
    }
}

/// A reason code and properties, either of which may be left out from the end.
fn reason<'a>(
    packet: PacketType,
    mut reader: Reader<'a>,
    version: Version,
) -> Result<(ReasonCode, Properties<'a>), DecodeError> {
    if reader.rest.is_empty() {
        return Ok((ReasonCode::Success, Properties::EMPTY));
    }
    if version != Version::V5 {
        return Err(DecodeError::TrailingBytes(packet));
    }
    let code = reader.u8()?;
    let reason = ReasonCode::from_byte(packet, code).ok_or(DecodeError::ReasonCode(packet, code))?;
    if reader.rest.is_empty() {
        return Ok((reason, Properties::EMPTY));
    }
    let properties = Properties::read(&mut reader, version, Place::Packet(packet))?;
    reader.end()?;
    Ok((reason, properties))
}

fn encode_reason(reason: ReasonCode, properties: Properties<'_>, version: Version, out: &mut BytesMut) {
    if version != Version::V5 || (reason == ReasonCode::Success && properties.is_empty()) {
        return;
    }
    out.put_u8(reason as u8);
    if !properties.is_empty() {
        properties.write(version, out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::Packet;

    fn bytes(packet: Packet<'_>, version: Version) -> Vec<u8> {
        let mut out = BytesMut::new();
        packet.encode(version, &mut out);
        out.to_vec()
    }

    #[test]
    fn a_goodbye_s_reason_is_followed_by_its_properties_and_none_is_left_out() {
        let goodbye = |reason| Packet::Disconnect(Disconnect { reason, properties: Properties::EMPTY });
        let stops = ReasonCode::ServerShuttingDown;
        assert_eq!(bytes(goodbye(stops), Version::V5), [0xe0, 2, 0x8b, 0]);
        assert_eq!(bytes(goodbye(stops), Version::V311), [0xe0, 0]);
        assert_eq!(bytes(goodbye(ReasonCode::Success), Version::V5), [0xe0, 0]);
    }

    #[test]
    fn an_acknowledgement_leaves_out_what_it_can() {
        let packet_id = PacketId::new(7).unwrap();
        let ack = |reason| Packet::PubAck(Ack { packet_id, reason, properties: Properties::EMPTY });
        assert_eq!(bytes(ack(ReasonCode::Success), Version::V5), [0x40, 2, 0, 7]);
        assert_eq!(bytes(ack(ReasonCode::NoMatchingSubscribers), Version::V5), [0x40, 3, 0, 7, 0x10]);
        assert_eq!(bytes(ack(ReasonCode::NoMatchingSubscribers), Version::V311), [0x40, 2, 0, 7]);
    }
}
