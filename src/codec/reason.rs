//! Reason codes of 5.0 and return codes of 3.1.1. [MQTT 2.4]

use super::PacketType;

macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident = $code:literal in [$($packet:ident),*];)*) => {
        /// A reason code of MQTT 5.0.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum ReasonCode {
            $($(#[$doc])* $name = $code,)*
        }

        impl ReasonCode {
            /// The reason code with this value, if the standard lets this packet carry it.
            pub const fn from_byte(packet: PacketType, byte: u8) -> Option<Self> {
                match (byte, packet) {
                    $(($code, $(PacketType::$packet)|*) => Some(Self::$name),)*
                    _ => None,
                }
            }
        }
    };
}

reasons! {
    /// Success, Normal disconnection, or Granted QoS 0.
    Success = 0x00 in [ConnAck, PubAck, PubRec, PubRel, PubComp, SubAck, UnsubAck, Disconnect, Auth];
    /// Granted QoS 1.
    GrantedQos1 = 0x01 in [SubAck];
    /// Granted QoS 2.
    GrantedQos2 = 0x02 in [SubAck];
    /// Disconnect, and publish the will.
    DisconnectWithWillMessage = 0x04 in [Disconnect];
    /// Nobody is subscribed to the topic.
    NoMatchingSubscribers = 0x10 in [PubAck, PubRec];
    /// There was nothing to unsubscribe.
    NoSubscriptionExisted = 0x11 in [UnsubAck];
    /// Authentication goes on.
    ContinueAuthentication = 0x18 in [Auth];
    /// A new authentication begins.
    ReAuthenticate = 0x19 in [Auth];
    /// Something else is wrong.
    UnspecifiedError = 0x80 in [ConnAck, PubAck, PubRec, SubAck, UnsubAck, Disconnect];
    /// No MQTT packet.
    MalformedPacket = 0x81 in [ConnAck, Disconnect];
    /// A packet that is not allowed here.
    ProtocolError = 0x82 in [ConnAck, Disconnect];
    /// A limit of the implementation.
    ImplementationSpecificError = 0x83 in [ConnAck, PubAck, PubRec, SubAck, UnsubAck, Disconnect];
    /// A protocol version that is not supported.
    UnsupportedProtocolVersion = 0x84 in [ConnAck];
    /// A client id that is not allowed.
    ClientIdentifierNotValid = 0x85 in [ConnAck];
    /// Unknown user or wrong password.
    BadUserNameOrPassword = 0x86 in [ConnAck];
    /// Not allowed to.
    NotAuthorized = 0x87 in [ConnAck, PubAck, PubRec, SubAck, UnsubAck, Disconnect];
    /// Not available.
    ServerUnavailable = 0x88 in [ConnAck];
    /// Try again later.
    ServerBusy = 0x89 in [ConnAck, Disconnect];
    /// Banned by an administrator.
    Banned = 0x8a in [ConnAck];
    /// The server stops.
    ServerShuttingDown = 0x8b in [Disconnect];
    /// An authentication method that is not supported.
    BadAuthenticationMethod = 0x8c in [ConnAck, Disconnect];
    /// Silence for one and a half times the keep alive.
    KeepAliveTimeout = 0x8d in [Disconnect];
    /// Another connection uses the client id.
    SessionTakenOver = 0x8e in [Disconnect];
    /// A filter that is not allowed here.
    TopicFilterInvalid = 0x8f in [SubAck, UnsubAck, Disconnect];
    /// A topic name that is not allowed here.
    TopicNameInvalid = 0x90 in [ConnAck, PubAck, PubRec, Disconnect];
    /// The packet id is in use.
    PacketIdentifierInUse = 0x91 in [PubAck, PubRec, SubAck, UnsubAck];
    /// The packet id is not known.
    PacketIdentifierNotFound = 0x92 in [PubRel, PubComp];
    /// More than Receive Maximum.
    ReceiveMaximumExceeded = 0x93 in [Disconnect];
    /// A topic alias above the maximum, or unknown.
    TopicAliasInvalid = 0x94 in [Disconnect];
    /// Larger than Maximum Packet Size.
    PacketTooLarge = 0x95 in [ConnAck, Disconnect];
    /// Too many messages per time.
    MessageRateTooHigh = 0x96 in [Disconnect];
    /// A bound of the server.
    QuotaExceeded = 0x97 in [ConnAck, PubAck, PubRec, SubAck, Disconnect];
    /// Closed by an administrator.
    AdministrativeAction = 0x98 in [Disconnect];
    /// The payload is not what its format indicator says.
    PayloadFormatInvalid = 0x99 in [ConnAck, PubAck, PubRec, Disconnect];
    /// Retained messages are not supported.
    RetainNotSupported = 0x9a in [ConnAck, Disconnect];
    /// A QoS above Maximum QoS.
    QosNotSupported = 0x9b in [ConnAck, Disconnect];
    /// Use another server for now.
    UseAnotherServer = 0x9c in [ConnAck, Disconnect];
    /// Use another server from now on.
    ServerMoved = 0x9d in [ConnAck, Disconnect];
    /// Shared subscriptions are not supported.
    SharedSubscriptionsNotSupported = 0x9e in [SubAck, Disconnect];
    /// Too many connections per time.
    ConnectionRateExceeded = 0x9f in [ConnAck, Disconnect];
    /// Connected for as long as allowed.
    MaximumConnectTime = 0xa0 in [Disconnect];
    /// Subscription identifiers are not supported.
    SubscriptionIdentifiersNotSupported = 0xa1 in [SubAck, Disconnect];
    /// Wildcards are not supported.
    WildcardSubscriptionsNotSupported = 0xa2 in [SubAck, Disconnect];
}

impl ReasonCode {
    /// Whether something went wrong. [MQTT 2.4]
    pub const fn is_error(self) -> bool {
        self as u8 >= 0x80
    }
}
