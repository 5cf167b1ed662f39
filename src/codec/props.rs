//! Properties of MQTT 5.0: one table from id to type to the packets that may carry it. [MQTT 2.2.2]
//!
//! A block of properties stays as it came, checked once; getters look through it. Most packets have none or one.

use super::text::{Reader, put_binary, put_varint};
use super::{DecodeError, PacketType, Version};
use bytes::{BufMut, BytesMut};
use std::num::{NonZeroU16, NonZeroU32};

/// Where properties stand: a packet, or the will within CONNECT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Packet(PacketType),
    Will,
}

impl Place {
    const fn packet(self) -> PacketType {
        match self {
            Self::Packet(packet) => packet,
            Self::Will => PacketType::Connect,
        }
    }

    /// The place as a bit of a set.
    const fn bit(self) -> u32 {
        match self {
            Self::Packet(packet) => 1 << packet as u32,
            Self::Will => WILL,
        }
    }
}

const WILL: u32 = 1;

macro_rules! bit {
    (Will) => {
        WILL
    };
    ($packet:ident) => {
        Place::Packet(PacketType::$packet).bit()
    };
}

macro_rules! read {
    ($reader:ident, Byte) => {
        $reader.u8()?
    };
    ($reader:ident, Flag) => {
        match $reader.u8()? {
            0 => false,
            1 => true,
            _ => return Ok(None),
        }
    };
    ($reader:ident, U16) => {
        $reader.u16()?
    };
    ($reader:ident, NonZero16) => {
        match NonZeroU16::new($reader.u16()?) {
            Some(value) => value,
            None => return Ok(None),
        }
    };
    ($reader:ident, U32) => {
        $reader.u32()?
    };
    ($reader:ident, NonZero32) => {
        match NonZeroU32::new($reader.u32()?) {
            Some(value) => value,
            None => return Ok(None),
        }
    };
    ($reader:ident, NonZeroVar) => {
        match $reader.varint()? {
            0 => return Ok(None),
            value => value,
        }
    };
    ($reader:ident, Text) => {
        $reader.text()?
    };
    ($reader:ident, NoWildcards) => {
        match $reader.text()? {
            text if memchr::memchr2(b'+', b'#', text.as_bytes()).is_none() => text,
            _ => return Ok(None),
        }
    };
    ($reader:ident, Binary) => {
        $reader.binary()?
    };
    ($reader:ident, Pair) => {
        ($reader.text()?, $reader.text()?)
    };
}

macro_rules! write {
    ($out:ident, $value:ident, Byte) => {
        $out.put_u8($value)
    };
    ($out:ident, $value:ident, Flag) => {
        $out.put_u8(u8::from($value))
    };
    ($out:ident, $value:ident, U16) => {
        $out.put_u16($value)
    };
    ($out:ident, $value:ident, NonZero16) => {
        $out.put_u16($value.get())
    };
    ($out:ident, $value:ident, U32) => {
        $out.put_u32($value)
    };
    ($out:ident, $value:ident, NonZero32) => {
        $out.put_u32($value.get())
    };
    ($out:ident, $value:ident, NonZeroVar) => {
        put_varint($out, $value as usize)
    };
    ($out:ident, $value:ident, Text) => {
        put_binary($out, $value.as_bytes())
    };
    ($out:ident, $value:ident, NoWildcards) => {
        put_binary($out, $value.as_bytes())
    };
    ($out:ident, $value:ident, Binary) => {
        put_binary($out, $value)
    };
    ($out:ident, $value:ident, Pair) => {{
        put_binary($out, $value.0.as_bytes());
        put_binary($out, $value.1.as_bytes())
    }};
}

macro_rules! rust_type {
    (Byte) => { u8 };
    (Flag) => { bool };
    (U16) => { u16 };
    (NonZero16) => { NonZeroU16 };
    (U32) => { u32 };
    (NonZero32) => { NonZeroU32 };
    (NonZeroVar) => { u32 };
    (Text) => { &'a str };
    (NoWildcards) => { &'a str };
    (Binary) => { &'a [u8] };
    (Pair) => { (&'a str, &'a str) };
}

macro_rules! properties {
    ($($(#[$doc:meta])* $name:ident $getter:ident = $id:literal $kind:ident in [$($place:ident),+];)*) => {
        /// One property and its value.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Property<'a> {
            $($(#[$doc])* $name(rust_type!($kind)),)*
        }

        impl<'a> Property<'a> {
            /// Its identifier.
            pub const fn id(&self) -> u8 {
                match self {
                    $(Self::$name(_) => $id,)*
                }
            }

            /// Writes identifier and value.
            pub fn encode(&self, out: &mut BytesMut) {
                out.put_u8(self.id());
                match *self {
                    $(Self::$name(value) => write!(out, value, $kind),)*
                }
            }

            /// Reads a value; `None` for one that the property does not allow.
            fn read(id: u8, reader: &mut Reader<'a>) -> Result<Option<Self>, DecodeError> {
                Ok(Some(match id {
                    $($id => Self::$name(read!(reader, $kind)),)*
                    _ => return Err(DecodeError::UnknownProperty(u32::from(id))),
                }))
            }
        }

        impl<'a> Properties<'a> {
            $($(#[$doc])*
            pub fn $getter(&self) -> Option<rust_type!($kind)> {
                self.iter().find_map(|property| match property {
                    Property::$name(value) => Some(value),
                    _ => None,
                })
            })*
        }

        /// Where a property may stand, as a set of places.
        const fn places(id: u8) -> Option<u32> {
            match id {
                $($id => Some($(bit!($place))|+),)*
                _ => None,
            }
        }
    };
}

properties! {
    /// What the payload is: unspecified bytes (false) or UTF-8 text.
    PayloadFormatIndicator payload_format_indicator = 0x01 Flag in [Publish, Will];
    /// How many seconds the message lives.
    MessageExpiryInterval message_expiry_interval = 0x02 U32 in [Publish, Will];
    /// The payload's type, in the application's terms.
    ContentType content_type = 0x03 Text in [Publish, Will];
    /// Where to answer. [MQTT-3.3.2-14]
    ResponseTopic response_topic = 0x08 NoWildcards in [Publish, Will];
    /// What the answer belongs to.
    CorrelationData correlation_data = 0x09 Binary in [Publish, Will];
    /// Which subscription: its number.
    SubscriptionIdentifier subscription_identifier = 0x0b NonZeroVar in [Publish, Subscribe];
    /// How many seconds the session outlives its connection.
    SessionExpiryInterval session_expiry_interval = 0x11 U32 in [Connect, ConnAck, Disconnect];
    /// The client id that the server chose.
    AssignedClientIdentifier assigned_client_identifier = 0x12 Text in [ConnAck];
    /// The keep alive that the server wants, in seconds.
    ServerKeepAlive server_keep_alive = 0x13 U16 in [ConnAck];
    /// The authentication method.
    AuthenticationMethod authentication_method = 0x15 Text in [Connect, ConnAck, Auth];
    /// Data of the authentication method.
    AuthenticationData authentication_data = 0x16 Binary in [Connect, ConnAck, Auth];
    /// Whether reason strings and user properties may be sent on failures.
    RequestProblemInformation request_problem_information = 0x17 Flag in [Connect];
    /// How many seconds after the connection's end the will is published.
    WillDelayInterval will_delay_interval = 0x18 U32 in [Will];
    /// Whether the server may send response information.
    RequestResponseInformation request_response_information = 0x19 Flag in [Connect];
    /// What response topics may be made of.
    ResponseInformation response_information = 0x1a Text in [ConnAck];
    /// Another server to use.
    ServerReference server_reference = 0x1c Text in [ConnAck, Disconnect];
    /// For people who look into a problem.
    ReasonString reason_string = 0x1f Text in [ConnAck, PubAck, PubRec, PubRel, PubComp, SubAck, UnsubAck, Disconnect, Auth];
    /// How many QoS 1 and 2 messages the sender takes unacknowledged.
    ReceiveMaximum receive_maximum = 0x21 NonZero16 in [Connect, ConnAck];
    /// The highest topic alias that the sender takes.
    TopicAliasMaximum topic_alias_maximum = 0x22 U16 in [Connect, ConnAck];
    /// A number in place of the topic.
    TopicAlias topic_alias = 0x23 NonZero16 in [Publish];
    /// The highest QoS that the server supports, when that is not 2: 0 (false) or 1.
    MaximumQos maximum_qos = 0x24 Flag in [ConnAck];
    /// Whether the server retains messages.
    RetainAvailable retain_available = 0x25 Flag in [ConnAck];
    /// Anything, as name and value.
    UserProperty user_property = 0x26 Pair in [Connect, ConnAck, Publish, Will, PubAck, PubRec, PubRel, PubComp, Subscribe, SubAck, Unsubscribe, UnsubAck, Disconnect, Auth];
    /// The largest packet that the sender takes, in bytes.
    MaximumPacketSize maximum_packet_size = 0x27 NonZero32 in [Connect, ConnAck];
    /// Whether the server supports wildcards.
    WildcardSubscriptionAvailable wildcard_subscription_available = 0x28 Flag in [ConnAck];
    /// Whether the server supports subscription identifiers.
    SubscriptionIdentifierAvailable subscription_identifier_available = 0x29 Flag in [ConnAck];
    /// Whether the server supports shared subscriptions.
    SharedSubscriptionAvailable shared_subscription_available = 0x2a Flag in [ConnAck];
}

const SUBSCRIPTION_IDENTIFIER: u8 = 0x0b;
const USER_PROPERTY: u8 = 0x26;

/// Properties that a server passes on unaltered. [MQTT-3.3.2-4], [MQTT-3.3.2-15], [MQTT-3.3.2-16], [MQTT-3.3.2-17],
/// [MQTT-3.3.2-18], [MQTT-3.3.2-20]
const FORWARDED: [u8; 5] = [0x01, 0x03, 0x08, 0x09, USER_PROPERTY];

/// A block of properties, checked: holding one is proof that [`Properties::iter`] reads it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Properties<'a>(&'a [u8]);

impl<'a> Properties<'a> {
    /// None at all.
    pub const EMPTY: Self = Self(&[]);

    /// Reads the block that stands at the reader. Before 5.0 there is none.
    #[inline]
    pub(super) fn read(reader: &mut Reader<'a>, version: Version, place: Place) -> Result<Self, DecodeError> {
        if version != Version::V5 {
            return Ok(Self(&[]));
        }
        // The usual block is the empty one.
        if let [0, rest @ ..] = reader.rest {
            reader.rest = rest;
            return Ok(Self(&[]));
        }
        let len = reader.varint()?;
        Self::check(reader.take(len as usize)?, place)
    }

    #[cold]
    fn check(block: &'a [u8], place: Place) -> Result<Self, DecodeError> {
        let packet = place.packet();
        let mut reader = Reader::new(block, packet);
        let mut seen = 0u64;
        while !reader.rest.is_empty() {
            let id = reader.varint()?;
            let known = u8::try_from(id).ok().and_then(|id| Some((id, places(id)?)));
            let (id, places) = known.ok_or(DecodeError::UnknownProperty(id))?;
            if places & place.bit() == 0 {
                return Err(DecodeError::MisplacedProperty(id, packet));
            }
            // Each of several matching subscriptions is named in a PUBLISH towards a client. [MQTT-3.3.4-4]
            let repeats =
                id == USER_PROPERTY || (id == SUBSCRIPTION_IDENTIFIER && packet == PacketType::Publish);
            if !repeats && seen & (1 << id) != 0 {
                return Err(DecodeError::RepeatedProperty(id));
            }
            seen |= 1 << id;
            Property::read(id, &mut reader)?.ok_or(DecodeError::PropertyValue(id))?;
        }
        const METHOD_AND_DATA: u64 = 1 << 0x15 | 1 << 0x16;
        if seen & METHOD_AND_DATA == 1 << 0x16 {
            return Err(DecodeError::DataWithoutMethod);
        }
        Ok(Self(block))
    }

    /// All of them, in their order.
    pub fn iter(&self) -> impl Iterator<Item = Property<'a>> + use<'a> {
        let mut reader = Reader::new(self.0, PacketType::Publish);
        std::iter::from_fn(move || {
            let id = u8::try_from(reader.varint().ok()?).ok()?;
            Property::read(id, &mut reader).ok().flatten()
        })
    }

    /// Whether there are none.
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The block as it stands on the wire, without its length.
    pub const fn raw(&self) -> &'a [u8] {
        self.0
    }

    /// The user properties, in their order. [MQTT-3.3.2-18]
    pub fn user_properties(&self) -> impl Iterator<Item = (&'a str, &'a str)> + use<'a> {
        self.iter().filter_map(|property| match property {
            Property::UserProperty(pair) => Some(pair),
            _ => None,
        })
    }

    /// The Subscription Identifiers: one in SUBSCRIBE, any number in a PUBLISH towards a client.
    pub fn subscription_identifiers(&self) -> impl Iterator<Item = u32> + use<'a> {
        self.iter().filter_map(|property| match property {
            Property::SubscriptionIdentifier(id) => Some(id),
            _ => None,
        })
    }

    /// The block itself, if a server passes all of it on unaltered.
    pub fn forward_raw(&self) -> Option<&'a [u8]> {
        self.iter().all(|property| FORWARDED.contains(&property.id())).then_some(self.0)
    }

    /// Writes what a server passes on unaltered: payload format, content type, response topic, correlation data and user
    /// properties in their order.
    pub fn forward(&self, out: &mut BytesMut) {
        for property in self.iter().filter(|property| FORWARDED.contains(&property.id())) {
            property.encode(out);
        }
    }

    /// Bytes of the block on the wire, with its length; none before 5.0.
    pub(super) fn wire_len(&self, version: Version) -> usize {
        if version == Version::V5 { super::text::varint_len(self.0.len()) + self.0.len() } else { 0 }
    }

    pub(super) fn write(&self, version: Version, out: &mut BytesMut) {
        if version == Version::V5 {
            put_varint(out, self.0.len());
            out.put_slice(self.0);
        }
    }
}

/// Properties to send. Which packet may carry which is for the caller to know.
#[derive(Clone, Debug, Default)]
pub struct PropertiesBuf(BytesMut);

impl PropertiesBuf {
    /// Adds one.
    pub fn push(&mut self, property: Property<'_>) {
        property.encode(&mut self.0);
    }

    /// What was collected.
    pub fn as_properties(&self) -> Properties<'_> {
        Properties(&self.0)
    }
}

impl From<Properties<'_>> for PropertiesBuf {
    fn from(properties: Properties<'_>) -> Self {
        Self(BytesMut::from(properties.0))
    }
}
