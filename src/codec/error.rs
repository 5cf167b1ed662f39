//! What can be wrong with bytes, each with its clause.

use super::{PacketType, ReasonCode};

/// The property whose bad values have a reason code of their own.
const TOPIC_ALIAS: u8 = 0x23;

/// Why bytes are no MQTT packet. Clause ids are 5.0's, and 3.1.1's where the rule stands under another number there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The first byte names no packet type.
    #[error("packet type {0} does not exist [MQTT 2.1.2]")]
    PacketType(u8),
    /// Flags of the fixed header that the packet does not allow.
    #[error("flags {1:#06b} are not allowed in {0:?} [MQTT-2.1.3-1]")]
    Flags(PacketType, u8),
    /// A variable byte integer of more than four bytes, or longer than it needs to be.
    #[error("variable byte integer of more than four bytes, or not in its shortest form [MQTT-1.5.5-1]")]
    VariableInteger,
    /// Larger than the receiver takes.
    #[error("packet of {0} bytes, more than the maximum of {1} [MQTT-3.2.2-15]")]
    TooLarge(u64, u32),
    /// The packet ends in the middle of a field.
    #[error("{0:?} ends in the middle of a field [MQTT 2.1.4]")]
    Short(PacketType),
    /// Bytes after the end of the last field.
    #[error("{0:?} has bytes after its last field [MQTT 2.1.4]")]
    TrailingBytes(PacketType),
    /// A string that is not UTF-8.
    #[error("string is not well-formed UTF-8 [MQTT-1.5.4-1] (3.1.1: [MQTT-1.5.3-1])")]
    Utf8,
    /// A string with U+0000.
    #[error("string contains U+0000 [MQTT-1.5.4-2] (3.1.1: [MQTT-1.5.3-2])")]
    Nul,
    /// Neither `MQTT` nor `MQIsdp`.
    #[error("protocol name is not MQTT [MQTT-3.1.2-1]")]
    ProtocolName,
    /// A protocol level that is not spoken.
    #[error("protocol version {0} is not supported [MQTT-3.1.2-2]")]
    ProtocolVersion(u8),
    /// The reserved flag of CONNECT is set.
    #[error("reserved flag of CONNECT is set [MQTT-3.1.2-3]")]
    ConnectReserved,
    /// Will QoS or Will Retain without a will.
    #[error("Will QoS or Will Retain without Will Flag [MQTT-3.1.2-11], [MQTT-3.1.2-13]")]
    WillFlags,
    /// Will QoS 3.
    #[error("Will QoS is 3 [MQTT-3.1.2-12]")]
    WillQos,
    /// A password without a user name, before 5.0.
    #[error("password without user name (3.1.1: [MQTT-3.1.2-22])")]
    PasswordWithoutUserName,
    /// QoS 3.
    #[error("QoS is 3 [MQTT-3.3.1-4]")]
    PublishQos,
    /// DUP with QoS 0.
    #[error("DUP is set with QoS 0 [MQTT-3.3.1-2]")]
    DupQos0,
    /// Packet identifier 0.
    #[error("packet identifier is 0 [MQTT-2.2.1-3] (3.1.1: [MQTT-2.3.1-1])")]
    PacketIdZero,
    /// SUBSCRIBE or UNSUBSCRIBE without a filter.
    #[error("{0:?} without a topic filter [MQTT-3.8.3-2], [MQTT-3.10.3-2]")]
    NoFilters(PacketType),
    /// Reserved bits, QoS 3 or Retain Handling 3 in the options of a subscription.
    #[error("subscription options {0:#010b} are not allowed [MQTT-3.8.3-5] (3.1.1: [MQTT-3.8.3-4])")]
    SubscriptionOptions(u8),
    /// A reason code that the packet does not allow.
    #[error("reason code {1:#04x} is not allowed in {0:?} [MQTT 2.4]")]
    ReasonCode(PacketType, u8),
    /// Connect Acknowledge Flags other than Session Present.
    #[error("reserved Connect Acknowledge Flags are set [MQTT 3.2.2.1]")]
    ConnAckFlags,
    /// A property that does not exist.
    #[error("property {0:#04x} does not exist [MQTT 2.2.2.2]")]
    UnknownProperty(u32),
    /// A property that this packet does not have.
    #[error("property {0:#04x} is not allowed in {1:?} [MQTT 2.2.2.2]")]
    MisplacedProperty(u8, PacketType),
    /// A property that is there twice.
    #[error("property {0:#04x} more than once [MQTT 2.2.2.2]")]
    RepeatedProperty(u8),
    /// A value that the property does not allow.
    #[error("value of property {0:#04x} is out of range [MQTT 2.2.2.2]")]
    PropertyValue(u8),
    /// Authentication data without a method.
    #[error("Authentication Data without Authentication Method [MQTT 3.1.2.11.10]")]
    DataWithoutMethod,
    /// A packet that exists in 5.0 only.
    #[error("{0:?} does not exist before 5.0 [MQTT 2.1.2]")]
    NotInVersion(PacketType),
}

impl DecodeError {
    /// What a 5.0 peer is told.
    pub const fn reason(self) -> ReasonCode {
        match self {
            // Reserved bits are malformed; QoS 3 and Retain Handling 3 are protocol errors. [MQTT 3.8.3.1]
            Self::SubscriptionOptions(options) if options & 0xc0 == 0 => ReasonCode::ProtocolError,
            // [MQTT-3.3.2-8]
            Self::PropertyValue(TOPIC_ALIAS) => ReasonCode::TopicAliasInvalid,
            Self::TooLarge(..) => ReasonCode::PacketTooLarge,
            Self::ProtocolName | Self::ProtocolVersion(_) => ReasonCode::UnsupportedProtocolVersion,
            Self::NoFilters(_)
            | Self::RepeatedProperty(_)
            | Self::PropertyValue(_)
            | Self::DataWithoutMethod => ReasonCode::ProtocolError,
            _ => ReasonCode::MalformedPacket,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_property_in_the_wrong_packet_is_malformed_and_one_twice_a_protocol_error_mqtt_2_2_2_2() {
        let misplaced = DecodeError::MisplacedProperty(0x24, PacketType::Publish);
        assert_eq!(misplaced.reason(), ReasonCode::MalformedPacket);
        assert_eq!(DecodeError::RepeatedProperty(0x01).reason(), ReasonCode::ProtocolError);
    }

    #[test]
    fn reserved_bits_of_a_subscription_are_malformed_and_values_of_3_protocol_errors_mqtt_3_8_3_1() {
        for reserved in [0x40, 0x80, 0xc1, 0x43] {
            assert_eq!(DecodeError::SubscriptionOptions(reserved).reason(), ReasonCode::MalformedPacket);
        }
        for value in [0x03, 0x30, 0x33] {
            assert_eq!(DecodeError::SubscriptionOptions(value).reason(), ReasonCode::ProtocolError);
        }
    }
}
