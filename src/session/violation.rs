//! What a peer did against the protocol, with the standard's clause, and what it is told.
//!
//! Clause ids are 5.0's; where 3.1.1 numbers the same rule differently, the text is the same.

use crate::codec::{DecodeError, ReasonCode};
use crate::sasl;
use crate::topic::BadTopic;

/// A fault of the peer that ends its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// Bytes that are no MQTT packet.
    #[error(transparent)]
    Malformed(#[from] DecodeError),
    /// A topic name that is none.
    #[error("PUBLISH: {0}")]
    TopicName(BadTopic),
    /// A second CONNECT on one connection.
    #[error("second CONNECT [MQTT-3.1.0-2]")]
    ConnectTwice,
    /// Something before CONNECT.
    #[error("first packet is not CONNECT [MQTT-3.1.0-1]")]
    NotConnect,
    /// A packet that only a server sends.
    #[error("packet that only a server sends [MQTT 2.1.2]")]
    ServerPacket,
    /// AUTH without an authentication method.
    #[error("AUTH without Authentication Method in CONNECT [MQTT-4.12.0-1]")]
    UnexpectedAuth,
    /// AUTH with another method than CONNECT's.
    #[error("AUTH with another Authentication Method than CONNECT's [MQTT-4.12.1-1]")]
    AuthMethodChanged,
    /// A client that cannot prove anew who it is.
    #[error("re-authentication failed: {0} [MQTT-4.12.1-2]")]
    Authentication(sasl::Refused),
    /// A client that proves to be somebody else.
    #[error("re-authentication as another user [MQTT 4.12.1]")]
    UserChanged,
    /// More unacknowledged messages than the server takes.
    #[error("more than Receive Maximum messages in flight [MQTT-3.3.4-7]")]
    ReceiveMaximum,
    /// A QoS above the server's Maximum QoS.
    #[error("QoS above Maximum QoS [MQTT-3.2.2-11]")]
    QosNotSupported,
    /// RETAIN where messages are not retained.
    #[error("RETAIN, and messages are not retained here [MQTT-3.2.2-14]")]
    RetainNotSupported,
    /// A Topic Alias above the server's Topic Alias Maximum.
    #[error("Topic Alias above the server's maximum [MQTT-3.3.2-9]")]
    TopicAlias,
    /// A Topic Alias that was not set on this connection.
    #[error("empty topic name with a Topic Alias that stands for none [MQTT 3.3.2.3.4]")]
    UnknownAlias,
    /// An empty topic name without a Topic Alias.
    #[error("empty topic name without Topic Alias [MQTT 3.3.2.3.4] (3.1.1: [MQTT-4.7.3-1])")]
    NoTopic,
    /// A client that names subscriptions.
    #[error("Subscription Identifier in a PUBLISH from a client [MQTT-3.3.4-6]")]
    SubscriptionIdentifier,
    /// More messages, or bytes of them, than the client may publish in a second.
    #[error("more published in a second than [limits] allows")]
    MessageRate,
    /// A session that was to end with its connection cannot be prolonged.
    #[error("Session Expiry Interval in DISCONNECT after 0 in CONNECT [MQTT-3.14.2-2]")]
    ExpiryFromZero,
    /// Shared subscriptions with No Local.
    #[error("No Local on a shared subscription [MQTT-3.8.3-4]")]
    NoLocalShared,
}

impl Violation {
    /// What a 5.0 client is told.
    pub fn reason(self) -> ReasonCode {
        match self {
            Self::Malformed(error) => error.reason(),
            Self::TopicName(_) => ReasonCode::TopicNameInvalid,
            Self::MessageRate => ReasonCode::MessageRateTooHigh,
            Self::ReceiveMaximum => ReasonCode::ReceiveMaximumExceeded,
            Self::Authentication(_) | Self::UserChanged => ReasonCode::NotAuthorized,
            Self::QosNotSupported => ReasonCode::QosNotSupported,
            Self::RetainNotSupported => ReasonCode::RetainNotSupported,
            Self::TopicAlias => ReasonCode::TopicAliasInvalid,
            Self::ConnectTwice
            | Self::NotConnect
            | Self::ServerPacket
            | Self::UnexpectedAuth
            | Self::AuthMethodChanged
            | Self::UnknownAlias
            | Self::NoTopic
            | Self::SubscriptionIdentifier
            | Self::ExpiryFromZero
            | Self::NoLocalShared => ReasonCode::ProtocolError,
        }
    }
}
