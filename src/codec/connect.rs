//! CONNECT and CONNACK. [MQTT 3.1, 3.2]

use super::props::Place;
use super::text::{Reader, put_binary};
use super::{DecodeError, PacketType, Properties, ReasonCode, Version};
use crate::types::QoS;
use bytes::{BufMut, BytesMut};

const USER_NAME: u8 = 0x80;
const PASSWORD: u8 = 0x40;
const WILL_RETAIN: u8 = 0x20;
const WILL_QOS: u8 = 0x18;
const WILL: u8 = 0x04;
const CLEAN_START: u8 = 0x02;
const RESERVED: u8 = 0x01;
/// Bridges of Mosquitto and others set it in the protocol level of 3.1 and 3.1.1; it means nothing to a server.
const BRIDGE: u8 = 0x80;

/// A client's first packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Connect<'a> {
    /// The protocol version that the client speaks.
    pub version: Version,
    /// Clean Session before 5.0.
    pub clean_start: bool,
    /// Seconds; 0 turns it off.
    pub keep_alive_s: u16,
    /// 5.0 only.
    pub properties: Properties<'a>,
    /// Possibly empty.
    pub client_id: &'a str,
    /// What to publish when the client vanishes.
    pub will: Option<Will<'a>>,
    /// Who it is.
    pub username: Option<&'a str>,
    /// How it proves that.
    pub password: Option<&'a [u8]>,
}

/// A will as CONNECT carries it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Will<'a> {
    /// Not checked to be a topic name yet.
    pub topic: &'a str,
    /// The payload.
    pub payload: &'a [u8],
    /// QoS to publish it with.
    pub qos: QoS,
    /// RETAIN to publish it with.
    pub retain: bool,
    /// 5.0 only.
    pub properties: Properties<'a>,
}

impl<'a> Connect<'a> {
    /// Reads a CONNECT's body.
    ///
    /// # Errors
    /// Whatever is wrong with it.
    pub fn decode(body: &'a [u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(body, PacketType::Connect);
        let version = version(&mut reader)?;
        let flags = reader.u8()?;
        check_flags(flags, version)?;
        let keep_alive_s = reader.u16()?;
        let properties = Properties::read(&mut reader, version, Place::Packet(PacketType::Connect))?;
        let client_id = reader.text()?;
        let will = (flags & WILL != 0).then(|| Will::read(&mut reader, flags, version)).transpose()?;
        let username = (flags & USER_NAME != 0).then(|| reader.text()).transpose()?;
        let password = (flags & PASSWORD != 0).then(|| reader.binary()).transpose()?;
        reader.end()?;
        let clean_start = flags & CLEAN_START != 0;
        Ok(Self { version, clean_start, keep_alive_s, properties, client_id, will, username, password })
    }

    /// The protocol version of a CONNECT, whatever else is wrong with it: in whose words to refuse it.
    ///
    /// # Errors
    /// What keeps the version from being known.
    pub fn version_of(body: &[u8]) -> Result<Version, DecodeError> {
        version(&mut Reader::new(body, PacketType::Connect))
    }

    /// Writes what follows the fixed header.
    pub(super) fn write(&self, out: &mut BytesMut) {
        put_binary(out, if self.version == Version::V31 { b"MQIsdp" } else { b"MQTT" });
        out.put_u8(self.version as u8);
        let mut flags = if self.clean_start { CLEAN_START } else { 0 };
        if let Some(will) = &self.will {
            flags |= WILL | (will.qos as u8) << 3 | if will.retain { WILL_RETAIN } else { 0 };
        }
        flags |= if self.username.is_some() { USER_NAME } else { 0 };
        flags |= if self.password.is_some() { PASSWORD } else { 0 };
        out.put_u8(flags);
        out.put_u16(self.keep_alive_s);
        self.properties.write(self.version, out);
        put_binary(out, self.client_id.as_bytes());
        if let Some(will) = &self.will {
            will.properties.write(self.version, out);
            put_binary(out, will.topic.as_bytes());
            put_binary(out, will.payload);
        }
        for field in [self.username.map(str::as_bytes), self.password].into_iter().flatten() {
            put_binary(out, field);
        }
    }
}

impl<'a> Will<'a> {
    fn read(reader: &mut Reader<'a>, flags: u8, version: Version) -> Result<Self, DecodeError> {
        let properties = Properties::read(reader, version, Place::Will)?;
        let qos = QoS::from_bits((flags & WILL_QOS) >> 3).ok_or(DecodeError::WillQos)?;
        let (topic, payload) = (reader.text()?, reader.binary()?);
        Ok(Self { topic, payload, qos, retain: flags & WILL_RETAIN != 0, properties })
    }
}

fn version(reader: &mut Reader<'_>) -> Result<Version, DecodeError> {
    let (name, level) = (reader.binary()?, reader.u8()?);
    match (name, level) {
        (b"MQTT", 5) => Ok(Version::V5),
        (b"MQTT", level) if level & !BRIDGE == 4 => Ok(Version::V311),
        (b"MQIsdp", level) if level & !BRIDGE == 3 => Ok(Version::V31),
        (b"MQTT" | b"MQIsdp", level) => Err(DecodeError::ProtocolVersion(level)),
        _ => Err(DecodeError::ProtocolName),
    }
}

fn check_flags(flags: u8, version: Version) -> Result<(), DecodeError> {
    if flags & RESERVED != 0 {
        return Err(DecodeError::ConnectReserved);
    }
    if flags & WILL == 0 && flags & (WILL_QOS | WILL_RETAIN) != 0 {
        return Err(DecodeError::WillFlags);
    }
    if flags & WILL_QOS == WILL_QOS {
        return Err(DecodeError::WillQos);
    }
    if version != Version::V5 && flags & PASSWORD != 0 && flags & USER_NAME == 0 {
        return Err(DecodeError::PasswordWithoutUserName);
    }
    Ok(())
}

/// The server's answer to CONNECT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnAck<'a> {
    /// Whether a session of earlier goes on.
    pub session_present: bool,
    /// A return code before 5.0 ([`ConnectReturn`]), a reason code in 5.0.
    pub code: u8,
    /// 5.0 only.
    pub properties: Properties<'a>,
}

impl<'a> ConnAck<'a> {
    /// Reads a CONNACK's body.
    ///
    /// # Errors
    /// Whatever is wrong with it.
    pub fn decode(body: &'a [u8], version: Version) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(body, PacketType::ConnAck);
        let flags = reader.u8()?;
        if flags > 1 {
            return Err(DecodeError::ConnAckFlags);
        }
        let code = reader.u8()?;
        let known = match version {
            Version::V5 => ReasonCode::from_byte(PacketType::ConnAck, code).is_some(),
            Version::V31 | Version::V311 => code <= ConnectReturn::NotAuthorized as u8,
        };
        if !known {
            return Err(DecodeError::ReasonCode(PacketType::ConnAck, code));
        }
        let properties = Properties::read(&mut reader, version, Place::Packet(PacketType::ConnAck))?;
        reader.end()?;
        Ok(Self { session_present: flags == 1, code, properties })
    }

    pub(super) fn write(&self, version: Version, out: &mut BytesMut) {
        out.put_u8(u8::from(self.session_present));
        out.put_u8(self.code);
        self.properties.write(version, out);
    }
}

/// CONNACK's return codes before 5.0. [MQTT 3.2.2.3 in 3.1.1]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum ConnectReturn {
    /// Accepted.
    Accepted = 0,
    /// The protocol level is not supported.
    UnacceptableProtocolVersion = 1,
    /// The client id is not allowed.
    IdentifierRejected = 2,
    /// Not available, whatever the reason.
    ServerUnavailable = 3,
    /// Unknown user or wrong password.
    BadUserNameOrPassword = 4,
    /// Not allowed to connect.
    NotAuthorized = 5,
}

impl ConnectReturn {
    /// The code for a reason. There is none for what is wrong with the CONNECT itself: its sender is not answered.
    /// [MQTT-3.2.2-6] in 3.1.1
    pub const fn of(reason: ReasonCode) -> Option<Self> {
        Some(match reason {
            ReasonCode::Success => Self::Accepted,
            ReasonCode::UnsupportedProtocolVersion => Self::UnacceptableProtocolVersion,
            ReasonCode::ClientIdentifierNotValid => Self::IdentifierRejected,
            ReasonCode::BadUserNameOrPassword => Self::BadUserNameOrPassword,
            ReasonCode::NotAuthorized | ReasonCode::Banned | ReasonCode::BadAuthenticationMethod => {
                Self::NotAuthorized
            }
            ReasonCode::MalformedPacket
            | ReasonCode::ProtocolError
            | ReasonCode::TopicNameInvalid
            | ReasonCode::QosNotSupported
            | ReasonCode::RetainNotSupported => return None,
            _ => Self::ServerUnavailable,
        })
    }
}
