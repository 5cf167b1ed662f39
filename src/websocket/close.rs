//! Why a WebSocket ends: status codes and what they stand for. [RFC 6455 7.4]

/// A status code that may stand in a close frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CloseCode(u16);

impl CloseCode {
    /// All is done.
    pub const NORMAL: Self = Self(1000);
    /// The broker stops, or the page is left.
    pub const GOING_AWAY: Self = Self(1001);
    /// Against the rules of WebSocket.
    pub const PROTOCOL: Self = Self(1002);
    /// A kind of data that is not taken.
    pub const UNSUPPORTED: Self = Self(1003);
    /// A text that is not UTF-8.
    pub const INVALID_PAYLOAD: Self = Self(1007);
    /// Against the rules of the house: what MQTT or access control refuses.
    pub const POLICY: Self = Self(1008);
    /// More bytes than are taken.
    pub const TOO_BIG: Self = Self(1009);

    /// The code, if an endpoint may send it: one that is registered, or of those for libraries and applications.
    pub const fn new(code: u16) -> Option<Self> {
        match code {
            // 1004 is undefined; 1005, 1006 and 1015 stand for closes without a frame. [RFC 6455 7.4.1]
            1000..=1003 | 1007..=1014 | 3000..=4999 => Some(Self(code)),
            _ => None,
        }
    }

    /// Its number.
    pub const fn number(self) -> u16 {
        self.0
    }
}

/// What a peer does that WebSocket, or MQTT over it, does not allow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// A reserved bit is set, and no extension was agreed on.
    #[error("reserved bits are set without an extension [RFC 6455 5.2]")]
    Reserved,
    /// An opcode that does not exist.
    #[error("opcode {0:#x} does not exist [RFC 6455 5.2]")]
    Opcode(u8),
    /// A frame from a client that is not masked.
    #[error("frame of a client without a mask [RFC 6455 5.1]")]
    Unmasked,
    /// A frame from a server that is masked.
    #[error("frame of a server with a mask [RFC 6455 5.1]")]
    Masked,
    /// A length of more bytes than it takes, or with its first bit set.
    #[error("length not in its shortest form [RFC 6455 5.2]")]
    Length,
    /// A control frame in pieces.
    #[error("fragmented control frame [RFC 6455 5.5]")]
    FragmentedControl,
    /// A control frame with more than 125 bytes.
    #[error("control frame of more than 125 bytes [RFC 6455 5.5]")]
    LongControl,
    /// A continuation of nothing.
    #[error("continuation frame without a message to continue [RFC 6455 5.4]")]
    Continuation,
    /// A message begins before the last one ended.
    #[error("new message inside a fragmented one [RFC 6455 5.4]")]
    Interleaved,
    /// A text frame; MQTT travels in binary ones.
    #[error("text frame, where MQTT has binary ones [MQTT-6.0.0-1]")]
    Text,
    /// More bytes in one frame than are taken.
    #[error("frame of {0} bytes, more than the maximum of {1}")]
    TooLarge(u64, u32),
    /// A close frame with half a status code.
    #[error("close frame of one byte [RFC 6455 5.5.1]")]
    ShortClose,
    /// A status code that nobody may send.
    #[error("status code {0} may not be sent [RFC 6455 7.4]")]
    Code(u16),
    /// A reason that is not UTF-8.
    #[error("reason of a close frame is not UTF-8 [RFC 6455 5.5.1]")]
    Reason,
}

impl Violation {
    /// What the peer is told.
    pub const fn code(self) -> CloseCode {
        match self {
            Self::Text => CloseCode::UNSUPPORTED,
            Self::TooLarge(..) => CloseCode::TOO_BIG,
            Self::Reason => CloseCode::INVALID_PAYLOAD,
            _ => CloseCode::PROTOCOL,
        }
    }
}
