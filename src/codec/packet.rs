//! All packets, by type.

use super::text::put_varint;
use super::{
    Ack, Auth, ConnAck, Connect, DecodeError, Disconnect, Frame, Properties, Publish, SubAck, Subscribe,
    UnsubAck, Unsubscribe,
};
use bytes::{BufMut, BytesMut};

/// A version of the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Version {
    /// 3.1.
    V31 = 3,
    /// 3.1.1.
    V311 = 4,
    /// 5.0.
    V5 = 5,
}

impl Version {
    /// The standard's number.
    pub const fn name(self) -> &'static str {
        match self {
            Self::V31 => "3.1",
            Self::V311 => "3.1.1",
            Self::V5 => "5.0",
        }
    }

    /// Whether it is 5.0: reason codes and properties exist.
    pub const fn is_v5(self) -> bool {
        matches!(self, Self::V5)
    }
}

/// A control packet's type. [MQTT 2.1.2]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum PacketType {
    /// A client asks for a connection.
    Connect = 1,
    /// Its answer.
    ConnAck = 2,
    /// A message.
    Publish = 3,
    /// Acknowledges QoS 1.
    PubAck = 4,
    /// Acknowledges QoS 2, first part.
    PubRec = 5,
    /// Second part.
    PubRel = 6,
    /// Third part.
    PubComp = 7,
    /// A client subscribes.
    Subscribe = 8,
    /// Its answer.
    SubAck = 9,
    /// A client unsubscribes.
    Unsubscribe = 10,
    /// Its answer.
    UnsubAck = 11,
    /// Are you there?
    PingReq = 12,
    /// I am.
    PingResp = 13,
    /// Goodbye.
    Disconnect = 14,
    /// Authentication, in 5.0.
    Auth = 15,
}

impl PacketType {
    /// From the first byte of a packet.
    pub const fn from_first(first: u8) -> Option<Self> {
        Some(match first >> 4 {
            1 => Self::Connect,
            2 => Self::ConnAck,
            3 => Self::Publish,
            4 => Self::PubAck,
            5 => Self::PubRec,
            6 => Self::PubRel,
            7 => Self::PubComp,
            8 => Self::Subscribe,
            9 => Self::SubAck,
            10 => Self::Unsubscribe,
            11 => Self::UnsubAck,
            12 => Self::PingReq,
            13 => Self::PingResp,
            14 => Self::Disconnect,
            15 => Self::Auth,
            _ => return None,
        })
    }

    /// The flags that the fixed header must have, where they mean nothing.
    const fn flags(self) -> u8 {
        match self {
            Self::PubRel | Self::Subscribe | Self::Unsubscribe => 0b0010,
            _ => 0,
        }
    }
}

/// One packet, borrowed from the buffer that it was read into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is documented as a type, and in PacketType")]
pub enum Packet<'a> {
    Connect(Connect<'a>),
    ConnAck(ConnAck<'a>),
    Publish(Publish<'a>),
    PubAck(Ack<'a>),
    PubRec(Ack<'a>),
    PubRel(Ack<'a>),
    PubComp(Ack<'a>),
    Subscribe(Subscribe<'a>),
    SubAck(SubAck<'a>),
    Unsubscribe(Unsubscribe<'a>),
    UnsubAck(UnsubAck<'a>),
    PingReq,
    PingResp,
    Disconnect(Disconnect<'a>),
    Auth(Auth<'a>),
}

impl<'a> Packet<'a> {
    /// Its properties; none before 5.0.
    pub const fn properties(&self) -> Properties<'a> {
        match self {
            Self::Connect(connect) => connect.properties,
            Self::ConnAck(connack) => connack.properties,
            Self::Publish(publish) => publish.properties,
            Self::PubAck(ack) | Self::PubRec(ack) | Self::PubRel(ack) | Self::PubComp(ack) => ack.properties,
            Self::Subscribe(subscribe) => subscribe.properties,
            Self::SubAck(suback) => suback.properties,
            Self::Unsubscribe(unsubscribe) => unsubscribe.properties,
            Self::UnsubAck(unsuback) => unsuback.properties,
            Self::Disconnect(disconnect) => disconnect.properties,
            Self::Auth(auth) => auth.properties,
            Self::PingReq | Self::PingResp => Properties::EMPTY,
        }
    }

    /// The same packet with other properties; one that has none stays as it is.
    #[must_use]
    pub fn with_properties<'b>(self, properties: Properties<'b>) -> Packet<'b>
    where
        'a: 'b,
    {
        let ack = |ack: Ack<'b>| Ack { properties, ..ack };
        match self {
            Self::Connect(connect) => Packet::Connect(Connect { properties, ..connect }),
            Self::ConnAck(connack) => Packet::ConnAck(ConnAck { properties, ..connack }),
            Self::Publish(publish) => Packet::Publish(Publish { properties, ..publish }),
            Self::PubAck(puback) => Packet::PubAck(ack(puback)),
            Self::PubRec(pubrec) => Packet::PubRec(ack(pubrec)),
            Self::PubRel(pubrel) => Packet::PubRel(ack(pubrel)),
            Self::PubComp(pubcomp) => Packet::PubComp(ack(pubcomp)),
            Self::Subscribe(subscribe) => Packet::Subscribe(Subscribe { properties, ..subscribe }),
            Self::SubAck(suback) => Packet::SubAck(SubAck { properties, ..suback }),
            Self::Unsubscribe(unsubscribe) => Packet::Unsubscribe(Unsubscribe { properties, ..unsubscribe }),
            Self::UnsubAck(unsuback) => Packet::UnsubAck(UnsubAck { properties, ..unsuback }),
            Self::Disconnect(disconnect) => Packet::Disconnect(Disconnect { properties, ..disconnect }),
            Self::Auth(auth) => Packet::Auth(Auth { properties, ..auth }),
            Self::PingReq => Packet::PingReq,
            Self::PingResp => Packet::PingResp,
        }
    }
}

/// Reads a packet. `version` is what CONNECT settled; for CONNECT itself it does not matter.
///
/// # Errors
/// Whatever is wrong with it.
pub fn decode(frame: Frame<'_>, version: Version) -> Result<Packet<'_>, DecodeError> {
    let Frame { first, body } = frame;
    let packet = frame.packet_type().ok_or(DecodeError::PacketType(first >> 4))?;
    if packet != PacketType::Publish && frame.flags() != packet.flags() {
        return Err(DecodeError::Flags(packet, frame.flags()));
    }
    Ok(match packet {
        PacketType::Connect => Packet::Connect(Connect::decode(body)?),
        PacketType::ConnAck => Packet::ConnAck(ConnAck::decode(body, version)?),
        PacketType::Publish => Packet::Publish(Publish::decode(first, body, version)?),
        PacketType::PubAck => Packet::PubAck(Ack::decode(packet, body, version)?),
        PacketType::PubRec => Packet::PubRec(Ack::decode(packet, body, version)?),
        PacketType::PubRel => Packet::PubRel(Ack::decode(packet, body, version)?),
        PacketType::PubComp => Packet::PubComp(Ack::decode(packet, body, version)?),
        PacketType::Subscribe => Packet::Subscribe(Subscribe::decode(body, version)?),
        PacketType::SubAck => Packet::SubAck(SubAck::decode(body, version)?),
        PacketType::Unsubscribe => Packet::Unsubscribe(Unsubscribe::decode(body, version)?),
        PacketType::UnsubAck => Packet::UnsubAck(UnsubAck::decode(body, version)?),
        PacketType::PingReq | PacketType::PingResp if !body.is_empty() => {
            return Err(DecodeError::TrailingBytes(packet));
        }
        PacketType::PingReq => Packet::PingReq,
        PacketType::PingResp => Packet::PingResp,
        PacketType::Disconnect => Packet::Disconnect(Disconnect::decode(body, version)?),
        PacketType::Auth => Packet::Auth(Auth::decode(body, version)?),
    })
}

impl Packet<'_> {
    /// Its type.
    pub const fn packet_type(&self) -> PacketType {
        match self {
            Self::Connect(_) => PacketType::Connect,
            Self::ConnAck(_) => PacketType::ConnAck,
            Self::Publish(_) => PacketType::Publish,
            Self::PubAck(_) => PacketType::PubAck,
            Self::PubRec(_) => PacketType::PubRec,
            Self::PubRel(_) => PacketType::PubRel,
            Self::PubComp(_) => PacketType::PubComp,
            Self::Subscribe(_) => PacketType::Subscribe,
            Self::SubAck(_) => PacketType::SubAck,
            Self::Unsubscribe(_) => PacketType::Unsubscribe,
            Self::UnsubAck(_) => PacketType::UnsubAck,
            Self::PingReq => PacketType::PingReq,
            Self::PingResp => PacketType::PingResp,
            Self::Disconnect(_) => PacketType::Disconnect,
            Self::Auth(_) => PacketType::Auth,
        }
    }

    /// Appends the packet to a buffer.
    ///
    /// # Panics
    /// When a string is longer than 65,535 bytes or the packet larger than MQTT can say.
    pub fn encode(&self, version: Version, out: &mut BytesMut) {
        if let Self::Publish(publish) = self {
            return publish.encode(version, out);
        }
        let packet = self.packet_type();
        out.put_u8((packet as u8) << 4 | packet.flags());
        // Nearly all of these packets are shorter than 128 bytes: the length has one byte, and is moved where not.
        let length_at = out.len();
        out.put_u8(0);
        self.encode_body(version, out);
        let remaining = out.len() - length_at - 1;
        match u8::try_from(remaining) {
            Ok(short @ 0..0x80) => out[length_at] = short,
            _ => {
                let body = out.split_off(length_at + 1);
                out.truncate(length_at);
                put_varint(out, remaining);
                out.put_slice(&body);
            }
        }
    }

    fn encode_body(&self, version: Version, out: &mut BytesMut) {
        match self {
            Self::Connect(connect) => connect.write(out),
            Self::ConnAck(connack) => connack.write(version, out),
            Self::PubAck(ack) | Self::PubRec(ack) | Self::PubRel(ack) | Self::PubComp(ack) => {
                ack.encode_body(version, out);
            }
            Self::Subscribe(subscribe) => subscribe.encode_body(version, out),
            Self::SubAck(suback) => suback.encode_body(version, out),
            Self::Unsubscribe(unsubscribe) => unsubscribe.encode_body(version, out),
            Self::UnsubAck(unsuback) => unsuback.encode_body(version, out),
            Self::Disconnect(disconnect) => disconnect.encode_body(version, out),
            Self::Auth(auth) => auth.encode_body(version, out),
            Self::Publish(_) | Self::PingReq | Self::PingResp => {}
        }
    }
}
