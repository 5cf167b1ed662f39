//! A message that outlives the turn it came in: queued, in flight, retained, or on its way to another core.

use super::{Now, Span};
use bytes::Bytes;

/// Quality of service. [MQTT 4.3]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum QoS {
    /// At most once.
    AtMostOnce = 0,
    /// At least once.
    AtLeastOnce = 1,
    /// Exactly once.
    ExactlyOnce = 2,
}

impl QoS {
    /// From its two bits on the wire; 3 means nothing. [MQTT-3.3.1-4]
    pub const fn from_bits(bits: u8) -> Option<Self> {
        match bits {
            0 => Some(Self::AtMostOnce),
            1 => Some(Self::AtLeastOnce),
            2 => Some(Self::ExactlyOnce),
            _ => None,
        }
    }
}

/// An application message in memory of its own: never a slice of a read buffer, so that ten bytes do not pin
/// sixteen thousand. Clones share that memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// A valid topic name.
    pub topic: Bytes,
    /// The payload.
    pub payload: Bytes,
    /// The 5.0 properties that are passed on unaltered, encoded, without their length: payload format, content type,
    /// response topic, correlation data, user properties. Empty for messages of older clients.
    pub properties: Bytes,
    /// What the publisher asked for.
    pub qos: QoS,
    /// RETAIN as the publisher set it.
    pub retain: bool,
    /// When the broker received it, and how long it may live from then on. [MQTT-3.3.2-5]
    pub received: Now,
    /// Message Expiry Interval; `None` lives for ever.
    pub expiry: Option<Span>,
}

impl Message {
    /// Bytes that count towards the bounds of queues and of the retained index.
    pub fn size(&self) -> usize {
        self.topic.len() + self.payload.len() + self.properties.len()
    }

    /// Whether its Message Expiry Interval is over.
    pub fn expired(&self, now: Now) -> bool {
        self.expiry.is_some_and(|expiry| self.received + expiry <= now)
    }
}
